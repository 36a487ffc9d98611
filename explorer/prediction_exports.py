"""What can be taken away from a prediction: its tables as CSV, its figures as SVG and PNG."""

from __future__ import annotations

from typing import Any, Literal

import polars as pl

from explorer import prediction_charts
from explorer.archive import packed
from explorer.charts import figure_bytes
from explorer.predicted import (
    Predicted,
    feature_table,
    forest_table,
    perturbation_table,
    predict_link,
    recipes_predicted,
    scores_of,
)

FIGURE_FORMATS: tuple[Literal["svg", "png"], ...] = ("svg", "png")


def made_of(found: Predicted) -> dict[str, str]:
    """Say how a prediction was made: its plan, the recipes, and the conditions of the target and of the source."""
    recipes = recipes_predicted(found.prediction)
    labels = {name: text for name, text in predict_link(found.plan, recipes=recipes).items() if name != "perturbation"}
    labels |= {"seed": str(found.prediction.seed), "verdict": found.prediction.verdict}
    labels |= {f"{side} recipe": text for side, text in found.prediction.recipes.items()}
    labels["target conditions"] = found.passport.sentence
    if found.comparison is not None:
        labels |= {"source conditions": found.comparison.one.sentence, "what differs": found.comparison.sentence}
    return labels


def labelled_csv(table: pl.DataFrame, found: Predicted) -> str:
    """Write a table as CSV that says on every line how it was made."""
    return table.with_columns(
        pl.lit(value).alias(name if name not in table.columns else f"{name} of the plan")
        for name, value in made_of(found).items()
    ).write_csv()


def tables(found: Predicted, *, perturbation: str = "") -> dict[str, pl.DataFrame]:
    """Collect every table of a prediction by name.

    Parameters
    ----------
    found
        What was predicted.
    perturbation
        The one whose features are to be there; none by default.
    """
    every = {
        "differences": forest_table(found.prediction),
        "scores": found.prediction.scores,
        "perturbations": perturbation_table(found.prediction),
    }
    if perturbation:
        features = feature_table(found.prediction, perturbation)
        every["features"] = features.select(pl.lit(perturbation).alias("perturbation"), pl.all())
    return every


def figures(found: Predicted, *, perturbation: str = "") -> dict[str, Any]:
    """Draw every figure of a prediction by name, those of which there is nothing to draw left out."""
    prediction = found.prediction
    made = tables(found, perturbation=perturbation)
    drawn: dict[str, Any] = {}
    if made["differences"].height:
        drawn["differences"] = prediction_charts.differences(made["differences"])
    if made["scores"].height:
        drawn["scores"] = prediction_charts.score_bars(made["scores"], ceiling=prediction.ceiling)
    if "features" in made:
        drawn["profile"] = prediction_charts.profile_scatter(
            made["features"],
            names={"simple": prediction.simple, "learned": prediction.learned},
            scores=scores_of(prediction, perturbation),
        )
    return drawn


def tables_zip(found: Predicted, *, perturbation: str = "") -> bytes:
    """Pack every table as CSV."""
    made = tables(found, perturbation=perturbation)
    return packed({f"{name}.csv": labelled_csv(table, found).encode() for name, table in made.items()})


def figures_zip(found: Predicted, *, perturbation: str = "") -> bytes:
    """Pack every figure as SVG and as PNG."""
    made = figures(found, perturbation=perturbation)
    return packed(
        {
            f"{name}.{file_format}": figure_bytes(chart, file_format, heading=figure_heading(found, name, perturbation))
            for name, chart in made.items()
            for file_format in FIGURE_FORMATS
        }
    )


def figure_heading(found: Predicted, name: str, perturbation: str) -> str:
    """Say what a figure shows and how it was made, and below that in which conditions."""
    plan, prediction = found.plan, found.prediction
    source = f" from {plan.source}" if plan.source else ""
    what = f"{perturbation} · " if name == "profile" else ""
    lines = [
        f"{what}{prediction.learned} against {prediction.simple}{source} · {plan.target} of {plan.dataset}, "
        f"{plan.context} · alignment {plan.align} · recipes {recipes_predicted(prediction)}",
        f"Predicted: {found.passport.sentence}",
    ]
    if found.comparison is not None:
        lines.append(f"From: {found.comparison.one.sentence}")
    return "\n".join(lines)
