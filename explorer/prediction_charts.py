"""Charts of a prediction: tidy frames in, ``alt.Chart`` out, as in `explorer.charts`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

import polars as pl

from explorer.charts import INK, OTHER_COLOR
from explorer.digits import number
from explorer.judge_charts import LEARNED_COLOR, PLACEBO_COLOR, SIMPLE_COLOR, distinct_labels, forest

if TYPE_CHECKING:
    import altair as alt

    Chart: TypeAlias = alt.LayerChart | alt.FacetChart | alt.HConcatChart

KIND_COLORS = {
    "learned": LEARNED_COLOR, "simple": SIMPLE_COLOR, "placebo": PLACEBO_COLOR, "baseline": OTHER_COLOR,
}  # fmt: skip
FOREST_COLORS = {"learned − simple": LEARNED_COLOR, "baseline": OTHER_COLOR, "placebo": PLACEBO_COLOR}
_LABEL_LIMIT = 330
_ROW = 26
# Width and height of a panel of the scatter, so that two fill the page.
_PANEL = (410, 300)
# Of the strokes that lie on bars.
_STROKE, _HALO = "#16181D", "#FFFFFF"
_NO_ZERO = "replace(datum.label, '0.', '.')"


def differences(frame: pl.DataFrame) -> Chart:
    """Show every difference in ρ⊥ with its 95 % interval.

    Parameters
    ----------
    frame
        As `explorer.predicted.forest_table` gives it.
    """
    title = "difference in the correlation beyond the shared effect (right of 0: the first is better)"
    return forest(frame, title=title, colors=FOREST_COLORS)


def score_bars(frame: pl.DataFrame, *, ceiling: float) -> Chart:
    """Show ρ⊥ of every predictor as a bar, of nearest neighbours as a stroke, and what replicates allow as a line.

    Parameters
    ----------
    frame
        Scores as `explorer.predict.Prediction` has them, a line a predictor.
    ceiling
        What replicates allow; NaN where it is not known.
    """
    import altair as alt

    labels = distinct_labels(frame["name"].to_list())
    # NaN has no place on an axis.
    tidy = (
        frame.fill_nan(None)
        .with_columns(
            pl.Series("predictor", labels, dtype=pl.String),
            pl.Series("text", [_written(value) for value in frame["rho"]], dtype=pl.String),
        )
        .with_columns(pl.max_horizontal("rho", "rho_neighbors", pl.lit(0.0)).alias("end"))
    )
    ends = [value for name in ("rho", "rho_neighbors") for value in tidy[name].drop_nulls()]
    ends += [0.0] if math.isnan(ceiling) else [0.0, ceiling]
    span = max(max(ends) - min(ends), 1e-6)
    x = alt.X(
        "rho:Q",
        title="correlation beyond the shared effect, ρ⊥ (0: no better than a mean; 1: perfect)",
        scale=alt.Scale(
            domain=[min(ends) - (0.08 * span if min(ends) < 0 else 0), max(ends) + 0.12 * span], nice=False
        ),
        axis=alt.Axis(grid=False, tickCount=6, format="~f", labelExpr=_NO_ZERO),
    )
    y = alt.Y(
        "predictor:N",
        title=None,
        scale=alt.Scale(domain=labels, paddingInner=0.35),
        axis=alt.Axis(labelLimit=_LABEL_LIMIT, ticks=False, domain=False, labelPadding=8),
    )
    kinds = {kind: color for kind, color in KIND_COLORS.items() if kind in set(frame["kind"])}
    color = alt.Color(
        "kind:N",
        title=None,
        scale=alt.Scale(domain=list(kinds), range=list(kinds.values())),
        legend=alt.Legend(orient="top"),
    )
    tooltip = [
        alt.Tooltip("predictor:N"),
        alt.Tooltip("method:N"),
        alt.Tooltip("rho:Q", format=".3f", title="ρ⊥"),
        alt.Tooltip("rho_neighbors:Q", format=".3f", title="ρ⊥ of nearest neighbours"),
        alt.Tooltip("skill:Q", format="+.3f"),
        alt.Tooltip("discrimination:Q", format=".3f", title="discrimination"),
    ]
    base = alt.Chart(tidy)
    bars = base.mark_bar(opacity=0.85).encode(x=x, y=y, color=color, tooltip=tooltip)
    # Dark within light: seen on a bar of any colour, and on either theme.
    strokes = [
        base.mark_tick(thickness=thickness, size=size, color=color_of_stroke, opacity=1).encode(
            x=alt.X("rho_neighbors:Q"), y=y, tooltip=tooltip
        )
        for thickness, size, color_of_stroke in ((5.5, 18, _HALO), (2.5, 16, _STROKE))
    ]
    # To the right of 0 also where the bar is to its left.
    texts = base.mark_text(align="left", dx=6, fontSize=12, fontWeight="bold").encode(
        x=alt.X("end:Q"), y=y, text="text:N", color=alt.value(INK), tooltip=tooltip
    )
    layers = [bars, *strokes, texts]
    if not math.isnan(ceiling):
        mark = alt.Chart(pl.DataFrame({"ceiling": [ceiling], "text": [f"replicates allow {number(ceiling, 2)}"]}))
        layers += [
            mark.mark_rule(color=INK, strokeDash=[4, 3]).encode(x="ceiling:Q"),
            mark.mark_text(align="right", dx=-5, dy=-4, baseline="bottom", color=INK, fontSize=11).encode(
                x="ceiling:Q", y=alt.value(0), text="text:N"
            ),
        ]
    return alt.layer(*layers).properties(width="container", height=_ROW * max(tidy.height, 2), background="transparent")


def profile_scatter(frame: pl.DataFrame, *, names: Mapping[str, str], scores: Mapping[str, float]) -> Chart:
    """Hold predicted against measured features of one perturbation, a panel for each side.

    The dashed line is where a perfect prediction would lie.

    Parameters
    ----------
    frame
        As `explorer.predicted.feature_table` gives it.
    names
        What predicted, by side: *learned* and *simple*.
    scores
        ρ⊥ by side, NaN where it is not defined.
    """
    import altair as alt

    sides = [side for side in ("learned", "simple") if side in frame.columns]
    tidy = frame.fill_nan(None)
    low_x, high_x = _ends([*tidy["measured"].drop_nulls()])
    low_y, high_y = _ends([value for side in sides for value in tidy[side].drop_nulls()])
    x = alt.X(
        "measured:Q",
        title="measured (deviation from the training mean)",
        scale=alt.Scale(domain=[low_x, high_x], nice=False),
        axis=alt.Axis(grid=False, tickCount=5, format="~f", labelExpr=_NO_ZERO),
    )
    low, high = max(low_x, low_y), min(high_x, high_y)
    diagonal = pl.DataFrame({"from": [low], "to": [high]})
    panels = []
    for place, side in enumerate(sides):
        y = alt.Y(
            f"{side}:Q",
            title="predicted" if place == 0 else None,
            scale=alt.Scale(domain=[low_y, high_y], nice=False),
            axis=alt.Axis(grid=False, tickCount=5, format="~f", labelExpr=_NO_ZERO),
        )
        zero = alt.Chart(pl.DataFrame({"zero": [0.0]}))
        lines = [
            zero.mark_rule(color=INK, opacity=0.35).encode(x="zero:Q"),
            zero.mark_rule(color=INK, opacity=0.35).encode(y="zero:Q"),
            alt.Chart(diagonal)
            .mark_rule(color=INK, strokeDash=[4, 3], clip=True)
            .encode(x="from:Q", x2="to:Q", y="from:Q", y2="to:Q"),
        ]
        points = (
            alt.Chart(tidy)
            .mark_circle(size=28, opacity=0.55, color=KIND_COLORS[side], clip=True)
            .encode(
                x=x,
                y=y,
                tooltip=[
                    alt.Tooltip("feature:N"),
                    alt.Tooltip("measured:Q", format="+.3f"),
                    alt.Tooltip(f"{side}:Q", format="+.3f", title="predicted"),
                ],
            )
        )
        title = alt.Title(
            f"{names[side]} ({side})",
            subtitle=f"ρ⊥ {_written(scores.get(side, math.nan))}",
            color=INK, subtitleColor=INK, fontSize=12, anchor="start",
        )  # fmt: skip
        panels.append(alt.layer(*lines, points).properties(width=_PANEL[0], height=_PANEL[1], title=title))
    chart: Chart = alt.hconcat(*panels, background="transparent")
    return chart


def _written(value: float) -> str:
    return "–" if math.isnan(value) else number(value)


def _ends(values: list[float]) -> tuple[float, float]:
    """Range of an axis with a little room, never empty."""
    low, high = min([*values, 0.0]), max([*values, 0.0])
    room = 0.06 * max(high - low, 1e-9)
    return low - room, high + room
