"""Charts of a judgement: tidy frames in, ``alt.Chart`` out, as in `explorer.charts`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import polars as pl

from explorer.charts import INK, OTHER_COLOR, SIDE_COLORS
from explorer.digits import number, signed

if TYPE_CHECKING:
    import altair as alt

    Chart: TypeAlias = alt.LayerChart | alt.FacetChart | alt.HConcatChart

SIMPLE_COLOR, LEARNED_COLOR = SIDE_COLORS["only left"], SIDE_COLORS["only right"]
PLACEBO_COLOR = "#B07AA1"
KIND_COLORS = {
    "verdict": LEARNED_COLOR,
    "source": "#009E73",
    "seed": "#C9A227",
    "other simple": SIMPLE_COLOR,
    "placebo": PLACEBO_COLOR,
}
# Of the grid, from the lowest to the highest score.
_RAMP = ("#E8EEF4", "#4A86BD", "#0B2E4F")
_LABEL_LIMIT = 330
_ROW = 24
_NO_ZERO = "replace(replace(datum.label, '0.', '.'), '+0', '0')"


def forest(
    frame: pl.DataFrame,
    *,
    title: str = "difference in recall of known partners (right of 0: the first is better)",
    colors: Mapping[str, str] = KIND_COLORS,
) -> Chart:
    """Show differences with their 95 % intervals, one a line, and the line of no difference.

    Parameters
    ----------
    frame
        As `explorer.judged.forest_table` gives it: ``kind, label, estimate, low, high, p``, and more columns of numbers
        that a reader may point at.
    title
        What the differences are of, and which side is better.
    colors
        Of the kinds, in the order of the legend.
    """
    import altair as alt

    texts = [f"{signed(e)}  ({signed(low)} … {signed(high)})" for e, low, high in _columns(frame, "estimate low high")]
    # Two maps may have one name, and a label must be one line of the figure.
    labels = distinct_labels(frame["label"].to_list())
    tidy = frame.with_columns(
        pl.Series("difference", labels, dtype=pl.String), pl.Series("text", texts, dtype=pl.String)
    )
    ends = [value for value in (*tidy["low"], *tidy["high"], 0.0) if value is not None and value == value]
    span = max(max(ends) - min(ends), 1e-6)
    # Room on the right for the figures, also beside the longest bar.
    x = alt.X(
        "estimate:Q",
        title=title,
        scale=alt.Scale(domain=[min(ends) - 0.04 * span, max(ends) + 0.7 * span], nice=False),
        axis=alt.Axis(grid=False, format="+.3~f", values=round_ticks(min(ends), max(ends)), labelExpr=_NO_ZERO),
    )
    # The order is given by the domain alone: vega-lite writes names of a `sort` into expressions.
    y = alt.Y(
        "difference:N",
        title=None,
        scale=alt.Scale(domain=labels),
        axis=alt.Axis(labelLimit=_LABEL_LIMIT, ticks=False, domain=False, labelPadding=8),
    )
    kinds = {kind: color for kind, color in colors.items() if kind in set(frame["kind"])}
    color = alt.Color(
        "kind:N",
        title=None,
        scale=alt.Scale(domain=list(kinds), range=list(kinds.values())),
        legend=alt.Legend(orient="top"),
    )
    tooltip = [
        alt.Tooltip("difference:N"),
        *(alt.Tooltip(f"{name}:Q", format="+.4f") for name in ("estimate", "low", "high")),
        *(alt.Tooltip(f"{name}:Q", format=".2~g") for name in ("p", "q") if name in frame.columns),
        *(alt.Tooltip(f"{name}:Q", format=",") for name in ("groups", "units") if name in frame.columns),
    ]
    base = alt.Chart(tidy)
    zero = alt.Chart(pl.DataFrame({"x": [0.0]})).mark_rule(color=INK, strokeWidth=1).encode(x="x:Q")
    bars = base.mark_rule(strokeWidth=2.5).encode(x=alt.X("low:Q"), x2="high:Q", y=y, color=color, tooltip=tooltip)
    points = base.mark_point(filled=True, size=75, opacity=1).encode(x=x, y=y, color=color, tooltip=tooltip)
    figures = base.mark_text(align="right", fontSize=11, dx=-8).encode(
        x=alt.value("width"), y=y, text="text:N", color=alt.value(INK), tooltip=tooltip
    )
    return alt.layer(zero, bars, points, figures).properties(
        width="container", height=_ROW * max(tidy.height, 2), background="transparent"
    )


def _columns(frame: pl.DataFrame, names: str) -> list[tuple[Any, ...]]:
    return frame.select(names.split()).rows()


def _repeated(labels: list[str]) -> list[tuple[str, int]]:
    """Give a number to what stands for the second time and later."""
    seen: dict[str, int] = {}
    found = []
    for label in labels:
        place = seen.get(label, 0)
        seen[label] = place + 1
        found.append((label, place + 1 if place else 0))
    return found


def budget_curve(frame: pl.DataFrame, *, budget: int, names: tuple[str, str]) -> Chart:
    """Show known pairs against the number of pairs listed, and where a difference would be within chance.

    Parameters
    ----------
    frame
        As `explorer.judgements.shared_curve` gives it.
    budget
        The budget to mark.
    names
        Of the simple and of the learned representation.
    """
    import altair as alt

    lines = {"simple": names[0], "learned": names[1], "best placebo": "best placebo", "chance": "chance"}
    labels = distinct_labels(list(lines.values()))
    long = pl.concat(
        frame.select(
            "budget", pl.col(column).alias("known pairs"), pl.lit(label).alias("list"), pl.col("placebo"),
            pl.lit(place).alias("place"),
        ).drop_nans("known pairs")
        for place, (column, label) in enumerate(zip(lines, labels, strict=True))
    )  # fmt: skip
    band = frame.select(
        "budget",
        (pl.col("simple") - pl.col("half width")).clip(lower_bound=0).alias("low"),
        pl.min_horizontal(pl.col("simple") + pl.col("half width"), pl.col("budget")).alias("high"),
    )
    most = int(frame["budget"].max() or 1)  # type: ignore[arg-type]
    ticks = [tick for tick in (10, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000) if tick <= most]
    x = alt.X(
        "budget:Q",
        title="budget: number of most similar pairs",
        scale=alt.Scale(type="sqrt", domain=[0, most], nice=False),
        axis=alt.Axis(values=ticks, format=",d", grid=False),
    )
    y = alt.Y("known pairs:Q", title="known pairs among them", scale=alt.Scale(type="sqrt"), axis=alt.Axis(format=",d"))
    color = alt.Color(
        "list:N",
        title=None,
        scale=alt.Scale(domain=labels, range=[SIMPLE_COLOR, LEARNED_COLOR, PLACEBO_COLOR, INK]),
        legend=alt.Legend(orient="top", labelLimit=_LABEL_LIMIT),
    )
    area = alt.Chart(band).mark_area(color=SIMPLE_COLOR, opacity=0.16).encode(x=x, y=alt.Y("low:Q"), y2="high:Q")
    base = alt.Chart(long)
    dash = alt.StrokeDash("list:N", scale=alt.Scale(domain=labels, range=[[1, 0], [1, 0], [5, 3], [2, 3]]), legend=None)
    tooltip = [
        alt.Tooltip("list:N"),
        alt.Tooltip("budget:Q", format=","),
        alt.Tooltip("known pairs:Q", format=",.1f"),
        alt.Tooltip("placebo:N", title="best placebo here"),
    ]
    drawn = base.mark_line(strokeWidth=2.2).encode(x=x, y=y, color=color, strokeDash=dash)
    points = base.mark_circle(size=36, opacity=1).encode(x=x, y=y, color=color, tooltip=tooltip)
    mark = alt.Chart(pl.DataFrame({"budget": [budget], "text": [f"your budget: {budget:,}"]})).transform_filter(
        alt.datum["budget"] <= most
    )
    rule = mark.mark_rule(color=INK, strokeDash=[4, 3]).encode(x="budget:Q")
    text = mark.mark_text(align="left", dx=5, dy=8, baseline="top", color=INK).encode(
        x="budget:Q", y=alt.value(0), text="text:N"
    )
    return alt.layer(area, rule, text, drawn, points).properties(
        width="container", height=280, background="transparent"
    )


def grid_heat(frame: pl.DataFrame, *, marked: tuple[str, ...] = (), alignment: str = "") -> Chart:
    """Show the score of every representation under every alignment as a table of coloured numbers.

    Parameters
    ----------
    frame
        As `explorer.judgements.shared_grid` gives it.
    marked, alignment
        Representations and the alignment of the verdict, whose cells are framed.
    """
    import altair as alt

    scores = [value for value in frame["score"] if value == value]
    low, high = (min(scores), max(scores)) if scores else (0.0, 1.0)
    span = max(high - low, 1e-9)
    texts = ["–" if value != value else _short(value) for value in frame["score"]]
    # Black or white, whichever reads on the colour of its own cell: the page may be light or dark.
    inks = [INK if value != value else _ink_on((value - low) / span) for value in frame["score"]]
    rows = [f"{name} · {kind}" for name, kind in frame.select("representation", "kind").rows()]
    tidy = frame.with_columns(
        pl.Series("row", rows, dtype=pl.String),
        pl.Series("text", texts, dtype=pl.String),
        pl.Series("ink", inks, dtype=pl.String),
        pl.col("score").fill_nan(None),
        (pl.col("representation").is_in(list(marked)) & (pl.col("alignment") == alignment)).alias("framed"),
    )
    methods = list(dict.fromkeys(frame["alignment"].to_list()))
    x = alt.X(
        "alignment:N",
        title=None,
        scale=alt.Scale(domain=methods, paddingInner=0.04),
        axis=alt.Axis(orient="top", labelAngle=0, ticks=False, domain=False),
    )
    y = alt.Y(
        "row:N",
        title=None,
        scale=alt.Scale(domain=list(dict.fromkeys(rows)), paddingInner=0.08),
        axis=alt.Axis(labelLimit=_LABEL_LIMIT, ticks=False, domain=False, labelPadding=8),
    )
    tooltip = [
        alt.Tooltip("representation:N"),
        alt.Tooltip("alignment:N"),
        alt.Tooltip("score:Q", format=".4f", title="partner recall"),
        alt.Tooltip("chance:Q", format=".4f"),
        alt.Tooltip("reason:N", title="why there is none"),
    ]
    base = alt.Chart(tidy)
    cells = base.mark_rect(cornerRadius=3).encode(
        x=x,
        y=y,
        color=alt.Color(
            "score:Q", scale=alt.Scale(range=list(_RAMP), domain=[low, (low + high) / 2, high]),
            legend=None,
        ),
        tooltip=tooltip,
    )  # fmt: skip
    frames = (
        base.transform_filter(alt.datum["framed"])
        .mark_rect(filled=False, stroke=LEARNED_COLOR, strokeWidth=2.5, cornerRadius=3)
        .encode(x=x, y=y)
    )
    figures = base.mark_text(fontSize=12).encode(
        x=x, y=y, text="text:N", color=alt.Color("ink:N", scale=None), tooltip=tooltip
    )
    # The ink is no scale of the colours, and must not be merged with it.
    chart: Chart = (
        alt.layer(cells, frames, figures)
        .properties(width="container", height=26 * max(len(set(rows)), 2), background="transparent")
        .resolve_scale(color="independent")
    )
    return chart


def matched_recall(frame: pl.DataFrame, *, names: tuple[str, str]) -> Chart:
    """Show recall of the known pairs of each source beside that of random pairs as strong and as well annotated.

    Parameters
    ----------
    frame
        As `explorer.judged.source_table` gives it.
    names
        Of the simple and of the learned representation.
    """
    import altair as alt

    labels = dict(zip(("simple", "learned"), distinct_labels(list(names)), strict=True))
    tidy = frame.with_columns(
        pl.col("side").replace_strict(labels, return_dtype=pl.String).alias("map"),
    )
    sources = list(dict.fromkeys(frame["source"].to_list()))
    y = alt.Y(
        "source:N",
        title=None,
        scale=alt.Scale(domain=sources, padding=0.35),
        axis=alt.Axis(labelLimit=_LABEL_LIMIT, ticks=False, domain=False, labelPadding=8),
    )
    color = _side_color(labels)
    tooltip = [
        alt.Tooltip("source:N"),
        alt.Tooltip("map:N"),
        alt.Tooltip("both:Q", format=".3f", title="known pairs"),
        alt.Tooltip("matched:Q", format=".3f", title="matched random pairs"),
        alt.Tooltip("pairs:Q", format=",", title="number of known pairs"),
    ]
    axis = alt.Axis(format=".0%", grid=False, tickCount=8)
    title = "recall: share of pairs in the highest 5 % and the lowest 5 % of all cosines (dotted: chance)"
    x = alt.X("both:Q", title=title, scale=alt.Scale(zero=True), axis=axis)
    # Shifted by the marks themselves: vega-lite writes names that it offsets by into expressions.
    layers = []
    for side, offset in (("simple", -8), ("learned", 8)):
        base = alt.Chart(tidy.filter(pl.col("side") == side))
        common = {"y": y, "color": color, "tooltip": tooltip}
        layers += [
            base.mark_rule(strokeWidth=1.5, opacity=0.6, yOffset=offset).encode(x=x, x2="matched:Q", **common),
            base.mark_tick(thickness=3, size=15, opacity=1, yOffset=offset).encode(x=alt.X("matched:Q"), **common),
            base.mark_circle(size=85, opacity=1, yOffset=offset).encode(x=x, **common),
        ]
    chance = alt.Chart(frame.select("chance").head(1)).mark_rule(color=INK, strokeDash=[2, 3]).encode(x="chance:Q")
    return alt.layer(chance, *layers).properties(
        width="container", height=62 * max(len(sources), 1), background="transparent"
    )


def strata_chart(frame: pl.DataFrame, *, names: tuple[str, str]) -> Chart:
    """Show recall within strata, a panel a source, so that a lead among the strong or well studied alone is seen.

    Parameters
    ----------
    frame
        As `explorer.benchmark.strata` gives it.
    names
        Of the simple and of the learned representation.
    """
    import altair as alt

    labels = dict(zip(("simple", "learned"), distinct_labels(list(names)), strict=True))
    tidy = frame.drop_nulls(["simple", "learned"]).with_columns(
        (pl.col("stratum kind") + ": " + pl.col("stratum")).alias("row")
    )
    long = pl.concat(
        tidy.select("source", "row", "n_pairs", pl.col(side).alias("recall"), pl.lit(label).alias("map"))
        for side, label in labels.items()
    )
    rows = list(dict.fromkeys(tidy["row"].to_list()))
    sources = list(dict.fromkeys(tidy["source"].to_list()))
    x = alt.X("recall:Q", title="recall", axis=alt.Axis(format=".0%", grid=False, tickCount=4))
    tooltip = [
        alt.Tooltip("source:N"),
        alt.Tooltip("row:N", title="stratum"),
        alt.Tooltip("map:N"),
        alt.Tooltip("recall:Q", format=".3f"),
        alt.Tooltip("n_pairs:Q", format=",", title="pairs"),
    ]
    width = max(120, (780 - 24 * len(sources)) // max(len(sources), 1))
    panels = []
    for place, source in enumerate(sources):
        # Names are only on the first panel.
        axis = alt.Axis(labelLimit=_LABEL_LIMIT, ticks=False, domain=False, labelPadding=8, labels=place == 0)
        y = alt.Y("row:N", title=None, scale=alt.Scale(domain=rows), axis=axis)
        base = alt.Chart(long.filter(pl.col("source") == source))
        joined = base.mark_line(color=OTHER_COLOR, strokeWidth=1.5).encode(x=x, y=y, detail="row:N")
        points = base.mark_circle(size=70, opacity=1).encode(x=x, y=y, color=_side_color(labels), tooltip=tooltip)
        panels.append(
            alt.layer(joined, points).properties(
                width=width,
                height=_ROW * max(len(rows), 2),
                title=alt.Title(source, color=INK, fontSize=12, fontWeight="normal"),
            )
        )
    chart: Chart = alt.hconcat(*panels, background="transparent").resolve_scale(x="shared")
    return chart


def reliability_chart(frame: pl.DataFrame, *, names: tuple[str, str]) -> Chart:
    """Show how often pairs are known against how often they were predicted to be.

    Parameters
    ----------
    frame
        Columns ``side (simple, learned), predicted, observed, n_pairs, n_known, effective_groups``.
    names
        Of the simple and of the learned representation.
    """
    import altair as alt

    labels = dict(zip(("simple", "learned"), distinct_labels(list(names)), strict=True))
    tidy = frame.with_columns(pl.col("side").replace_strict(labels, return_dtype=pl.String).alias("map")).filter(
        (pl.col("predicted") > 0) & (pl.col("observed") > 0)
    )
    values = [*tidy["predicted"], *tidy["observed"]]
    low, high = (min(values) / 1.3, min(1.0, max(values) * 1.3)) if values else (0.001, 1.0)
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    axis = alt.Axis(format="~p", tickCount=5, grid=False)
    x = alt.X("predicted:Q", title="predicted share of known pairs", scale=scale, axis=axis)
    y = alt.Y("observed:Q", title="observed, on groups held out", scale=scale, axis=axis)
    diagonal = (
        alt.Chart(pl.DataFrame({"predicted": [low, high], "observed": [low, high]}))
        .mark_line(color=INK, strokeDash=[3, 3])
        .encode(x=x, y=y)
    )
    color = _side_color(labels)
    tooltip = [
        alt.Tooltip("map:N"),
        *(alt.Tooltip(f"{name}:Q", format=".2~%") for name in ("predicted", "observed")),
        alt.Tooltip("n_pairs:Q", format=",", title="pairs"),
        alt.Tooltip("n_known:Q", format=",", title="known"),
        alt.Tooltip("effective_groups:Q", format=".1f", title="effective groups"),
    ]
    base = alt.Chart(tidy)
    joined = base.mark_line(strokeWidth=1.2, opacity=0.5).encode(x=x, y=y, color=color)
    points = base.mark_circle(size=60, opacity=1).encode(x=x, y=y, color=color, tooltip=tooltip)
    return alt.layer(diagonal, joined, points).properties(width=360, height=300, background="transparent")


def _side_color(labels: Mapping[str, str]) -> alt.Color:
    import altair as alt

    return alt.Color(
        "map:N",
        title=None,
        scale=alt.Scale(domain=list(labels.values()), range=[SIMPLE_COLOR, LEARNED_COLOR]),
        legend=alt.Legend(orient="top", labelLimit=_LABEL_LIMIT),
    )


def round_ticks(low: float, high: float) -> list[float]:
    """Choose round numbers from low to high, some six of them, 0 among them."""
    rough = max(high - low, 1e-9) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(step * place, 10) for place in range(first, last + 1)]


def _ink_on(share: float) -> str:
    """Choose black or white, whichever has more contrast on the colour of `_RAMP` at a share from 0 to 1."""
    place = min(max(share, 0.0), 1.0) * (len(_RAMP) - 1)
    below = min(int(place), len(_RAMP) - 2)
    channels = []
    for start in (1, 3, 5):
        one, other = (int(color[start : start + 2], 16) / 255 for color in _RAMP[below : below + 2])
        value = one + (place - below) * (other - one)
        channels.append(value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4)
    luminance = 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]
    return "#000000" if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else "#FFFFFF"


def _short(value: float) -> str:
    return number(value, 3 if value < 0.1 else 2)


def distinct_labels(labels: list[str]) -> list[str]:
    """Tell apart what has one name, since a label must be one line of a figure."""
    return [f"{label} ({place})" if place else label for label, place in _repeated(labels)]
