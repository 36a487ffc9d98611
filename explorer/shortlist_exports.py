"""What can be taken away from a shortlist: its tables as CSV, its figures as SVG and PNG, all as JSON.

Of a comparison all of it is blind: pairs by name, and what is said of the whole.
"""

from __future__ import annotations

from typing import Any, Literal

import polars as pl

from explorer.archive import packed
from explorer.charts import figure_bytes
from explorer.digits import counted
from explorer.gathered_evidence import Evidence
from explorer.proposed import Proposed, linked
from explorer.proposed_tables import (
    apart_table,
    expectation_table,
    expected_table,
    full_table,
    places_table,
)
from explorer.shortlist_charts import both_maps, expected_curve
from explorer.shortlist_json import list_json
from explorer.text import json_text
from explorer.wording_shortlist import figure_heading, passport_rows

FIGURE_FORMATS: tuple[Literal["svg", "png"], ...] = ("svg", "png")


def labelled_csv(table: pl.DataFrame, made: Proposed) -> str:
    """Write a table as CSV that says on every line how it was made, and the conditions of every context."""
    made_of = linked(made) | {f"conditions of {name}": sentence for name, sentence in passport_rows(made.found)}
    return table.with_columns(
        pl.lit(value).alias(name if name not in table.columns else f"{name} asked") for name, value in made_of.items()
    ).write_csv()


def tables(made: Proposed, evidence: Evidence | None = None) -> dict[str, pl.DataFrame]:
    """Collect every table of a list by name; of a comparison the pairs, by name, and the expectation."""
    found = {"list": full_table(made.found, evidence), "expectation": expectation_table(made.found.expectation)}
    if made.is_blind:
        return found
    return found | {"annotated-apart": apart_table(made.found), "expected-along-the-list": expected_table(made.found)}


def figures(made: Proposed) -> dict[str, Any]:
    """Draw every figure of a list, by name; of a comparison there is none."""
    drawn: dict[str, Any] = {}
    if made.is_blind:
        return drawn
    places, expected = places_table(made.found), expected_table(made.found)
    if places.height:
        drawn["both-maps"] = both_maps(places, names=(made.found.plan.simple, made.found.plan.learned))
    if expected.height:
        drawn["expected-hits"] = expected_curve(expected)
    return drawn


def tables_zip(made: Proposed, evidence: Evidence | None = None) -> bytes:
    """Pack every table as CSV."""
    return packed({f"{name}.csv": labelled_csv(table, made).encode() for name, table in tables(made, evidence).items()})


def figures_zip(made: Proposed) -> bytes:
    """Pack every figure as SVG and as PNG."""
    return packed(
        {
            f"{name}.{file_format}": figure_bytes(chart, file_format, heading=figure_heading(made.found))
            for name, chart in figures(made).items()
            for file_format in FIGURE_FORMATS
        }
    )


def list_text(made: Proposed, evidence: Evidence | None = None) -> str:
    """Write a list as JSON; what is not defined is null."""
    return json_text(list_json(made.found, evidence))


def rows_left_out(n_rows: int, most: int) -> str:
    """Say that a saved page lists the first rows alone; empty where it lists all."""
    return "" if n_rows <= most else f"The first {most:,} of {counted(n_rows, 'pair')}; all are in the tables."
