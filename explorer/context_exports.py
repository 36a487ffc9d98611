"""What can be taken away from a comparison of contexts: its tables as CSV, its figures as SVG and PNG, all as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import polars as pl

from explorer import context_charts
from explorer.archive import packed
from explorer.catalog import Catalog
from explorer.charts import figure_bytes
from explorer.context_json import contexts_json
from explorer.held import SEED, Held, found_overlaps, held_link, places_of, sides
from explorer.held_tables import counts_table, label_table, neighbor_table, overlap_table
from explorer.text import json_text
from explorer.wording_contexts import figure_heading, passport_rows

FIGURE_FORMATS: tuple[Literal["svg", "png"], ...] = ("svg", "png")


def labelled_csv(table: pl.DataFrame, held: Held) -> str:
    """Write a table as CSV that says on every line how it was made, and the conditions of every context."""
    made_of = {key: value for key, value in held_link(held.view, recipes=held.recipes).items() if key != "query"}
    made_of |= {f"conditions of {name}": sentence for name, sentence in passport_rows(held)}
    return table.with_columns(
        pl.lit(value).alias(name if name not in table.columns else f"{name} asked") for name, value in made_of.items()
    ).write_csv()


def tables(catalog: Catalog, held: Held, *, query: str = "") -> dict[str, pl.DataFrame]:
    """Collect every table of a comparison by name, those of work that is not finished left out."""
    overlaps = found_overlaps(catalog, held.view)
    near = neighbor_table(held.report, query, doubtful=held.doubtful) if query else None
    found: dict[str, pl.DataFrame | None] = {
        "neighbours": None if near is None else near.with_columns(pl.lit(query).alias("query")),
        "edges": label_table(held.report),
        "labels": counts_table(held.report),
        "overlap": overlap_table(held.report, overlaps) if overlaps is not None else None,
    }
    return {name: table for name, table in found.items() if table is not None}


def figures(catalog: Catalog, held: Held) -> dict[str, Any]:
    """Draw every figure of a comparison, by name, those of work that is not finished left out."""
    made, pair = tables(catalog, held), sides(held.view)
    drawn: dict[str, tuple[str, Callable[[pl.DataFrame], Any]]] = {
        "labels": ("labels", context_charts.label_bars),
        "adjusted-overlap": ("overlap", lambda frame: context_charts.overlap_intervals(frame, marked=pair)),
        "raw-overlap": ("overlap", lambda frame: context_charts.overlap_parts(frame, marked=pair)),
    }
    return {name: draw(made[of]) for name, (of, draw) in drawn.items() if of in made and made[of].height}


def tables_zip(catalog: Catalog, held: Held, *, query: str = "") -> bytes:
    """Pack every table as CSV."""
    made = tables(catalog, held, query=query)
    return packed({f"{name}.csv": labelled_csv(table, held).encode() for name, table in made.items()})


def figures_zip(catalog: Catalog, held: Held) -> bytes:
    """Pack every figure as SVG and as PNG."""
    return packed(
        {
            f"{name}.{file_format}": figure_bytes(chart, file_format, heading=figure_heading(held))
            for name, chart in figures(catalog, held).items()
            for file_format in FIGURE_FORMATS
        }
    )


def contexts_text(catalog: Catalog, held: Held) -> str:
    """Write a comparison as the command line prints it; what is not defined is null."""
    places = (held.view.here, *places_of(catalog, held.view))
    overlaps = found_overlaps(catalog, held.view) or ()
    return json_text(contexts_json(catalog, held.report, overlaps, places=places, seed=SEED))
