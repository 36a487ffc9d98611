"""What can be taken away from a judgement: its tables as CSV, its figures as SVG and PNG."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import polars as pl

from explorer import judge_charts
from explorer.archive import packed
from explorer.catalog import Catalog
from explorer.charts import figure_bytes
from explorer.judge_details import found_budget, found_checks, grid_of, reliability_frame, technical_frame
from explorer.judged import (
    Judged,
    forest_table,
    group_table,
    judge_link,
    judgement_json,
    plan_table,
    recipes_judged,
    sides,
    source_table,
)
from explorer.passport import passport_of

FIGURE_FORMATS: tuple[Literal["svg", "png"], ...] = ("svg", "png")


def labelled_csv(table: pl.DataFrame, judged: Judged, *, catalog: Catalog) -> str:
    """Write a table as CSV that says on every line how it was made, and in which conditions."""
    made_of = judge_link(judged.view, recipes=recipes_judged(judged.judgement))
    made_of["conditions"] = passport_of(catalog.dataset(judged.view.dataset), judged.view.context).sentence
    return table.with_columns(
        pl.lit(value).alias(name if name not in table.columns else f"{name} judged") for name, value in made_of.items()
    ).write_csv()


def written_json(catalog: Catalog, judged: Judged) -> str:
    """Write a judgement as ``explorer judge --json`` prints it."""
    passport = passport_of(catalog.dataset(judged.view.dataset), judged.view.context)
    return judgement_json(judged.judgement, judged.view, passport=passport)


def tables(catalog: Catalog, judged: Judged) -> dict[str, pl.DataFrame]:
    """Collect every table of a judgement by name, those of work that is not finished left out."""
    budget, checks = found_budget(catalog, judged.view), found_checks(catalog, judged.view)
    grid = grid_of(catalog, judged.view, begin=False)
    found: dict[str, pl.DataFrame | None] = {
        "differences": forest_table(judged.judgement),
        "recall-by-source": source_table(judged.judgement),
        "groups": group_table(judged.judgement),
        "what-would-change-it": plan_table(judged.judgement),
        "budget-curve": budget.curve if budget is not None else None,
        "disagreement": budget.pairs if budget is not None else None,
        "strata": checks.strata if checks is not None else None,
        "calibration": reliability_frame(checks) if checks is not None else None,
        "technical-noise": technical_frame(checks) if checks is not None else None,
        "replicates": checks.replicates if checks is not None else None,
        "attribution": grid.result if grid is not None else None,
    }
    return {name: table for name, table in found.items() if table is not None}


def figures(catalog: Catalog, judged: Judged) -> dict[str, Any]:
    """Draw every figure of a judgement, by name, those of work that is not finished left out."""
    names, made = sides(judged), tables(catalog, judged)
    drawn: dict[str, Callable[[], Any]] = {
        "differences": lambda: judge_charts.forest(made["differences"]),
        "recall-by-source": lambda: judge_charts.matched_recall(made["recall-by-source"], names=names),
        "budget-curve": lambda: judge_charts.budget_curve(made["budget-curve"], budget=judged.view.budget, names=names),
        "strata": lambda: judge_charts.strata_chart(made["strata"], names=names),
        "calibration": lambda: judge_charts.reliability_chart(made["calibration"], names=names),
        "attribution": lambda: judge_charts.grid_heat(made["attribution"], marked=names, alignment=judged.view.align),
    }
    return {name: draw() for name, draw in drawn.items() if name in made and made[name].height}


def tables_zip(catalog: Catalog, judged: Judged) -> bytes:
    """Pack every table as CSV."""
    return packed(
        {
            f"{name}.csv": labelled_csv(table, judged, catalog=catalog).encode()
            for name, table in tables(catalog, judged).items()
        }
    )


def figures_zip(catalog: Catalog, judged: Judged) -> bytes:
    """Pack every figure as SVG and as PNG."""
    view = judged.view
    heading = (
        f"{view.learned} against {view.simple} · {view.dataset}, {view.context} · alignment {view.align} · recipes "
        f"{recipes_judged(judged.judgement)}\n{passport_of(catalog.dataset(view.dataset), view.context).sentence}"
    )
    return packed(
        {
            f"{name}.{file_format}": figure_bytes(chart, file_format, heading=heading)
            for name, chart in figures(catalog, judged).items()
            for file_format in FIGURE_FORMATS
        }
    )
