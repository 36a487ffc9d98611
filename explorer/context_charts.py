"""Charts of what holds in other contexts: tidy frames in, ``alt.Chart`` out, as in `explorer.charts`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import polars as pl

from explorer.charts import INK, OTHER_COLOR, SIDE_COLORS
from explorer.digits import number, signed

if TYPE_CHECKING:
    import altair as alt

    Chart: TypeAlias = alt.LayerChart | alt.FacetChart | alt.HConcatChart

KIND_COLORS = {"simple": SIDE_COLORS["only left"], "learned": SIDE_COLORS["only right"], "placebo": "#B07AA1"}
KIND_SHAPES = {"simple": "circle", "learned": "diamond", "placebo": "square"}
# Where the raw overlap comes from, in the order of the bar: what is not about a perturbation itself first.
PART_COLORS = {"hubs": OTHER_COLOR, "shared axis": "#C9A227", "layout": "#CC79A7", "remainder": "#009E73"}
LABEL_COLORS = {"holds": "#009E73", "not seen": "#E07A2C", "silent": "#C9A227", "cannot be judged": OTHER_COLOR}
_LABEL_LIMIT = 260
_ROW = 26
_WIDTH = 780
# Room for the figures at the end of a bar.
_FIGURES = 84
_NO_ZERO = "replace(replace(datum.label, '0.', '.'), /^[+]?0$/, '0')"


def overlap_intervals(frame: pl.DataFrame, *, marked: tuple[str, ...] = ()) -> Chart:
    """Show the adjusted overlap of every representation with its 95 % interval, a panel for each other context.

    Parameters
    ----------
    frame
        As `explorer.held.overlap_table` gives it.
    marked
        Representations that are compared, which stand first.
    """
    import altair as alt

    # The interval is that of the mean over groups; without groups there is the mean over perturbations alone.
    ordered = _ordered(frame, marked).with_columns(pl.coalesce("in groups", "adjusted").alias("point"))
    values = [value for name in ("low", "high", "point") for value in ordered[name].drop_nulls().drop_nans()]
    low, high = min([0.0, *values]), max([0.0, *values])
    span = max(high - low, 1e-6)
    kinds = [kind for kind in KIND_COLORS if kind in set(ordered["kind"])]
    x = alt.X(
        "point:Q",
        title="adjusted overlap (0: no more than chance)",
        scale=alt.Scale(domain=[low - 0.04 * span, high + 0.34 * span], nice=False),
        axis=alt.Axis(grid=False, format="~g", tickCount=4, labelExpr=_NO_ZERO),
    )
    color = alt.Color(
        "kind:N",
        title=None,
        scale=alt.Scale(domain=kinds, range=[KIND_COLORS[kind] for kind in kinds]),
        legend=alt.Legend(orient="top"),
    )
    shape = alt.Shape(
        "kind:N", title=None, scale=alt.Scale(domain=kinds, range=[KIND_SHAPES[kind] for kind in kinds]), legend=None
    )
    tooltip = [
        alt.Tooltip("other:N", title="in"),
        alt.Tooltip("representation:N"),
        alt.Tooltip("point:Q", format="+.4f", title="mean over groups"),
        *(alt.Tooltip(f"{name}:Q", format="+.4f") for name in ("low", "high")),
        alt.Tooltip("adjusted:Q", format="+.4f", title="mean over perturbations"),
        alt.Tooltip("p:Q", format=".2~g"),
        alt.Tooltip("raw:Q", format=".4f", title="raw overlap"),
        alt.Tooltip("n:Q", format=",", title="perturbations"),
    ]
    zero = alt.Chart(pl.DataFrame({"x": [0.0]})).mark_rule(color=INK, strokeDash=[2, 3]).encode(x="x:Q")

    def panel(here: pl.DataFrame, y: alt.Y) -> Chart:
        texts = [signed(value) if value is not None else "" for value in here["point"]]
        base = alt.Chart(here.with_columns(pl.Series("text", texts, dtype=pl.String)))
        bars = base.mark_rule(strokeWidth=2.5).encode(x=alt.X("low:Q"), x2="high:Q", y=y, color=color, tooltip=tooltip)
        points = base.mark_point(filled=True, size=75, opacity=1).encode(
            x=x, y=y, color=color, shape=shape, tooltip=tooltip
        )
        figures = base.mark_text(align="right", fontSize=11, dx=-4).encode(
            x=alt.value("width"), y=y, text="text:N", color=alt.value(INK), tooltip=tooltip
        )
        return alt.layer(zero, bars, points, figures)

    return _panels(ordered, panel)


def overlap_parts(frame: pl.DataFrame, *, marked: tuple[str, ...] = ()) -> Chart:
    """Show where the raw overlap of every representation comes from, as bars of hubs, shared axis, layout, remainder.

    Parameters
    ----------
    frame, marked
        As for `overlap_intervals`.
    """
    import altair as alt

    ordered = _ordered(frame, marked)
    every = list(PART_COLORS)
    # A part that no map has, such as a layout that is not declared, needs no colour.
    parts = [part for part in every if (ordered[part].fill_null(0.0).fill_nan(0.0) != 0).any()] or every[-1:]
    upper = [
        sum(max(value, 0.0) for value in row if value is not None and value == value)
        for row in ordered.select(parts).rows()
    ]
    high = max([*upper, 1e-6])
    lower = [
        sum(min(value, 0.0) for value in row if value is not None and value == value)
        for row in ordered.select(parts).rows()
    ]
    x = alt.X(
        "share:Q",
        title="share of the ten neighbours that both contexts have",
        stack="zero",
        # Room on the right for the figures, also beside the longest bar.
        scale=alt.Scale(domain=[min([0.0, *lower]) * 1.05, high / (1 - _FIGURES / _width(ordered))], nice=False),
        axis=alt.Axis(grid=False, format="~g", tickCount=4, labelExpr=_NO_ZERO),
    )
    color = alt.Color(
        "part:N",
        title=None,
        scale=alt.Scale(domain=parts, range=[PART_COLORS[part] for part in parts]),
        legend=alt.Legend(orient="top"),
    )
    tooltip = [
        alt.Tooltip("other:N", title="in"),
        alt.Tooltip("representation:N"),
        alt.Tooltip("part:N"),
        alt.Tooltip("share:Q", format=".4f"),
        alt.Tooltip("raw:Q", format=".4f", title="raw overlap"),
    ]

    def panel(here: pl.DataFrame, y: alt.Y) -> Chart:
        long = here.unpivot(
            parts, index=["other", "representation", "raw", "row"], variable_name="part", value_name="share"
        )
        order = pl.col("part").replace_strict({part: place for place, part in enumerate(parts)}, return_dtype=pl.Int64)
        base = alt.Chart(long.with_columns(pl.col("share").fill_null(0.0).fill_nan(0.0), order.alias("place")))
        bars = base.mark_bar(height=15).encode(x=x, y=y, color=color, order=alt.Order("place:Q"), tooltip=tooltip)
        texts = [
            "" if raw is None or rest is None else f"{signed(rest).removeprefix('+')} of {number(raw)}"
            for raw, rest in here.select("raw", "remainder").rows()
        ]
        figures = (
            alt.Chart(here.with_columns(pl.Series("text", texts, dtype=pl.String)))
            .mark_text(align="right", fontSize=11, dx=-4)
            .encode(x=alt.value("width"), y=y, text="text:N", color=alt.value(INK))
        )
        return alt.layer(bars, figures)

    return _panels(ordered, panel)


def label_bars(frame: pl.DataFrame) -> Chart:
    """Show how many edges have each label in each other context.

    Parameters
    ----------
    frame
        Columns ``context, label, edges``.
    """
    import altair as alt

    contexts = list(dict.fromkeys(frame["context"].to_list()))
    labels = [label for label in LABEL_COLORS if label in set(frame["label"])]
    place = pl.col("label").replace_strict({label: n for n, label in enumerate(labels)}, return_dtype=pl.Int64)
    bars = (
        alt.Chart(frame.with_columns(place.alias("place")))
        .mark_bar(height=16)
        .encode(
            x=alt.X("edges:Q", title="edges of this map", stack="zero", axis=alt.Axis(grid=False, format=",d")),
            y=alt.Y(
                "context:N",
                title=None,
                scale=alt.Scale(domain=contexts),
                axis=alt.Axis(labelLimit=_LABEL_LIMIT, ticks=False, domain=False, labelPadding=8),
            ),
            color=alt.Color(
                "label:N",
                title=None,
                scale=alt.Scale(domain=labels, range=[LABEL_COLORS[label] for label in labels]),
                legend=alt.Legend(orient="top"),
            ),
            order=alt.Order("place:Q"),
            tooltip=["context:N", "label:N", alt.Tooltip("edges:Q", format=",")],
        )
    )
    return alt.layer(bars).properties(width="container", height=_ROW * max(len(contexts), 2), background="transparent")


def _ordered(frame: pl.DataFrame, marked: tuple[str, ...]) -> pl.DataFrame:
    """Put the representations that are compared first, then by kind; each line of the figure is named by ``row``."""
    kinds = {kind: place for place, kind in enumerate(KIND_COLORS)}
    return (
        frame.with_columns(
            (~pl.col("representation").is_in(list(marked))).alias("rest"),
            pl.col("kind").replace_strict(kinds, default=len(kinds), return_dtype=pl.Int64).alias("kind order"),
            pl.col("representation").alias("row"),
        )
        .sort(["rest", "kind order"], maintain_order=True)
        .drop("rest", "kind order")
        .with_columns(pl.col(pl.Float64).fill_nan(None))
    )


def _width(ordered: pl.DataFrame) -> int:
    """Width of one panel."""
    n_others = ordered["other"].n_unique()
    return max(160, (_WIDTH - 24 * n_others) // max(n_others, 1))


def _panels(ordered: pl.DataFrame, panel: Any) -> Chart:
    """Put one panel for each other context side by side, with the names of the lines before the first."""
    import altair as alt

    rows = list(dict.fromkeys(ordered["row"].to_list()))
    others = list(dict.fromkeys(ordered["other"].to_list()))
    height = _ROW * max(len(rows), 2)

    def y_of(place: int) -> alt.Y:
        # The order is given by the domain alone: vega-lite writes names of a `sort` into expressions.
        axis = alt.Axis(labelLimit=_LABEL_LIMIT, ticks=False, domain=False, labelPadding=8, labels=place == 0)
        return alt.Y("row:N", title=None, scale=alt.Scale(domain=rows), axis=axis)

    def titled(other: str) -> alt.Title:
        return alt.Title(f"in {other}", color=INK, fontSize=12, fontWeight="normal", anchor="start")

    if len(others) == 1:
        only: Chart = panel(ordered, y_of(0)).properties(
            width="container", height=height, background="transparent", title=titled(others[0])
        )
        return only
    width = _width(ordered)
    made = [
        panel(ordered.filter(pl.col("other") == other), y_of(place)).properties(
            width=width, height=height, title=titled(other)
        )
        for place, other in enumerate(others)
    ]
    chart: Chart = alt.hconcat(*made, background="transparent").resolve_scale(x="shared")
    return chart
