"""Every statistical chart and every exported figure: tidy frames in, ``alt.Chart`` out."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

if TYPE_CHECKING:
    import altair as alt

# Green, blue and orange after Okabe and Ito: told apart by colour-blind readers, on light and on dark pages.
# Where a label stands beside its point: on the outer side of each column.
_LABELS: tuple[tuple[str, Literal["left", "right"], int], ...] = (("left", "right", -13), ("right", "left", 13))
SIDE_COLORS: Mapping[str, str] = {"shared": "#009E73", "only left": "#2F86C9", "only right": "#E07A2C"}
OTHER_COLOR = "#9AA1AB"
# marimo does not tell Python the theme that the browser follows, so text is a grey that reads on both.
INK = "#767D87"
_UNQUOTABLE = re.compile(r'[\\"\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]')
# What the menu of a chart offers: saving it. The others show source code or send it to a site elsewhere.
# Signs of a heading on one line, so that it is not much wider than a figure.
_HEADING_WIDTH = 110
_MENU = {"export": True, "source": False, "compiled": False, "editor": False}
_UNDRAWABLE = re.compile(r"[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def side_palette() -> list[str]:
    """Colours of *other, shared, only left, only right*, in this order."""
    return [OTHER_COLOR, *SIDE_COLORS.values()]


def side_labels() -> list[str]:
    """Legend of `side_palette`; the backdrop has none."""
    return ["", *SIDE_COLORS]


def side_codes(names: Sequence[str], sides: Mapping[str, str]) -> npt.NDArray[np.int64]:
    """Give every point the number of its category: 0 other, 1 shared, 2 only left, 3 only right."""
    number = {side: code for code, side in enumerate(SIDE_COLORS, start=1)}
    codes = np.zeros(len(names), dtype=np.int64)
    # A click colours a few of perhaps a hundred thousand.
    rows = list(compress(range(len(names)), map(sides.__contains__, names)))
    codes[rows] = [number[sides[names[row]]] for row in rows]
    return codes


def overlap_strip(
    frame: pl.DataFrame,
    *,
    query: str,
    overlap: float,
    chance: float,
    yardsticks: Mapping[str, float],
) -> alt.LayerChart | alt.FacetChart:
    """Show where one query's overlap stands among all queries.

    Parameters
    ----------
    frame
        Columns ``overlap`` and ``perturbations``, one line a distinct overlap.
    query, overlap, chance
        The query, its overlap, and the overlap by chance.
    yardsticks
        Further overlaps to mark, by what they are (between seeds, between replicate halves).
    """
    import altair as alt

    shared = SIDE_COLORS["shared"]
    bars = (
        alt.Chart(frame)
        .mark_bar(color=OTHER_COLOR, size=14)
        .encode(
            x=alt.X(
                "overlap:Q",
                title="overlap of the two neighbourhoods",
                scale=alt.Scale(domain=[-0.03, 1.03], nice=False),
                axis=alt.Axis(format="%", values=[0, 0.2, 0.4, 0.6, 0.8, 1]),
            ),
            y=alt.Y("perturbations:Q", title="perturbations"),
            tooltip=[alt.Tooltip("overlap:Q", format=".0%"), alt.Tooltip("perturbations:Q", format=",")],
        )
    )
    marks = pl.DataFrame(
        {
            "what": [f"{query}, this query", "chance", *yardsticks],
            "overlap": [overlap, chance, *yardsticks.values()],
        }
    )
    # The order is given by the domain alone: vega-lite writes names of a `sort` into expressions.
    order = marks["what"].to_list()
    lines = (
        alt.Chart(marks)
        .mark_rule(strokeWidth=2.5)
        .encode(
            x="overlap:Q",
            color=alt.Color(
                "what:N",
                title=None,
                scale=alt.Scale(domain=order, range=[shared, "#CC79A7", "#E69F00", "#9A8C98"][: len(order)]),
                legend=alt.Legend(orient="right", labelLimit=280),
            ),
            strokeDash=alt.StrokeDash("what:N", scale=alt.Scale(domain=order), legend=None),
            tooltip=["what:N", alt.Tooltip("overlap:Q", format=".1%")],
        )
    )
    strip: alt.LayerChart | alt.FacetChart = alt.layer(bars, lines).properties(
        width="container", height=110, background="transparent"
    )
    return strip


def overlap_counts(overlaps: npt.NDArray[np.float64]) -> pl.DataFrame:
    """Count the queries at each overlap, to three decimals: columns ``overlap, perturbations``."""
    values, counts = np.unique(np.round(overlaps, 3), return_counts=True)
    return pl.DataFrame({"overlap": values, "perturbations": counts})


class Displayed:
    """A chart as a page shows it: its specification, written once and not checked again.

    Left to itself a notebook writes every chart twice and checks it against the whole grammar, which takes longer than
    all else that a click needs; that the charts are valid is for the tests to say. Its menu saves it as SVG or PNG.

    Parameters
    ----------
    chart
        Any Altair chart.
    """

    __slots__ = ("_grammar", "_specification")

    def __init__(self, chart: alt.TopLevelMixin) -> None:
        import altair as alt

        self._grammar = alt.SCHEMA_VERSION.partition(".")[0]
        self._specification = json.dumps(
            chart.to_dict(validate=False) | {"usermeta": {"embedOptions": {"actions": _MENU}}}
        )

    def _mime_(self) -> tuple[str, str]:
        return f"application/vnd.vegalite.{self._grammar}+json", self._specification


def rank_ladder(table: pl.DataFrame, *, titles: tuple[str, str], k: int) -> alt.LayerChart | alt.FacetChart:
    """Show both neighbourhoods as ranked columns, lines joining what is shared.

    Parameters
    ----------
    table
        As `explorer.compare.merged_table` gives it.
    titles
        Names of the left and the right representation.
    k
        Neighbours a side.
    """
    import altair as alt

    color = alt.Color(
        "neighbour of:N",
        title=None,
        scale=alt.Scale(domain=list(SIDE_COLORS), range=list(SIDE_COLORS.values())),
        legend=alt.Legend(orient="top"),
    )
    ends = _ladder_ends(table, k)
    y = alt.Y(
        "rank:Q",
        title="rank (1 is the nearest)",
        scale=alt.Scale(domain=[0.4, k + 0.6], reverse=True, nice=False),
        axis=alt.Axis(values=_rank_ticks(k), grid=False, format="d"),
    )
    x = alt.X("x:Q", title=None, axis=None, scale=alt.Scale(domain=[-0.6, 1.6]))
    left, right = (quotable(title) for title in titles)
    tooltip = [
        alt.Tooltip("perturbation:N"),
        alt.Tooltip("neighbour of:N"),
        alt.Tooltip("left rank:Q", title=f"rank, {left}"),
        alt.Tooltip("left similarity:Q", format=".3f", title=f"cosine, {left}"),
        alt.Tooltip("right rank:Q", title=f"rank, {right}"),
        alt.Tooltip("right similarity:Q", format=".3f", title=f"cosine, {right}"),
        alt.Tooltip("known:N", title="known relationship"),
    ]
    base = alt.Chart(ends)
    lines = (
        base.transform_filter(alt.datum["neighbour of"] == "shared")
        .mark_line(strokeWidth=2, opacity=0.7)
        .encode(x=x, y=y, detail="perturbation:N", color=color)
    )
    points = base.mark_circle(size=60, opacity=1).encode(x=x, y=y, color=color, tooltip=tooltip)
    rings = (
        base.transform_filter(alt.datum["known"] != "")
        .mark_point(size=170, strokeWidth=1.6, filled=False)
        .encode(x=x, y=y, color=alt.value(INK), tooltip=tooltip)
    )
    labels = [
        base.transform_filter(alt.datum["side"] == side)
        .mark_text(align=align, dx=offset, fontSize=12)
        .encode(
            x=x,
            y=y,
            text="label:N",
            color=alt.value(INK),
            tooltip=tooltip,
        )
        for side, align, offset in _LABELS
    ]
    heads = (
        alt.Chart(pl.DataFrame({"x": [0.0, 1.0], "text": list(titles)}))
        .mark_text(fontWeight="bold", fontSize=12, baseline="bottom", limit=190)
        .encode(x=x, y=alt.value(-6), text="text:N", color=alt.value(INK))
    )
    return alt.layer(lines, points, rings, *labels, heads).properties(
        width="container",
        height=max(150, 24 * k),
        padding={"top": 24, "left": 5, "right": 5, "bottom": 5},
        background="transparent",
    )


def quotable(title: str) -> str:
    """Leave out of a title what could end a string: titles of axes and tooltips become part of an expression."""
    return _UNQUOTABLE.sub(" ", title)


def _rank_ticks(k: int) -> list[int]:
    """Every rank of a short list, every fifth of a long one."""
    return list(range(1, k + 1)) if k <= 20 else [1, *range(5, k + 1, 5)]


def _ladder_ends(table: pl.DataFrame, k: int) -> pl.DataFrame:
    """One line for each end of the ladder: a perturbation within the first k of a side."""
    sides = []
    for place, side in enumerate(("left", "right")):
        here = table.filter(pl.col("neighbour of").is_in(["shared", f"only {side}"]), pl.col(f"{side} rank") <= k)
        texts = [
            f"{name}  {similarity:.2f}" if side == "left" else f"{similarity:.2f}  {name}"
            for name, similarity in here.select("perturbation", f"{side} similarity").iter_rows()
        ]
        sides.append(
            here.with_columns(
                pl.lit(float(place)).alias("x"),
                pl.col(f"{side} rank").alias("rank"),
                pl.lit(side).alias("side"),
                pl.Series("label", texts, dtype=pl.String),
            )
        )
    return pl.concat(sides)


def static_pair(frame: pl.DataFrame, *, titles: tuple[str, str], captions: tuple[str, str]) -> alt.HConcatChart:
    """Draw the two maps as one figure for export.

    Parameters
    ----------
    frame
        Columns ``perturbation, side (left, right), x, y, neighbour of, known, query``, one line a point and side.
    titles, captions
        A title and a line below it for each side.
    """
    import altair as alt

    domain = ["other", *SIDE_COLORS]
    panels = []
    for side, title, caption in zip(("left", "right"), titles, captions, strict=True):
        here = frame.filter((pl.col("side") == side) & pl.col("x").is_finite() & pl.col("y").is_finite())
        axes: dict[str, Any] = {"title": None, "axis": None}
        x = alt.X("x:Q", scale=alt.Scale(zero=False, nice=False), **axes)
        y = alt.Y("y:Q", scale=alt.Scale(zero=False, nice=False), **axes)
        color = alt.Color(
            "neighbour of:N",
            title=None,
            sort=domain,
            scale=alt.Scale(domain=domain, range=side_palette()),
            legend=alt.Legend(orient="bottom"),
        )
        rest = here.filter(pl.col("neighbour of") == "other")
        found = here.filter((pl.col("neighbour of") != "other") & ~pl.col("query"))
        asked = here.filter(pl.col("query"))
        # Thousands of grey points are only a backdrop: an export stays small with a sample of them.
        backdrop = rest.sample(min(rest.height, 4_000), seed=0)
        layers = [
            alt.Chart(backdrop).mark_circle(size=7, opacity=0.5, color=OTHER_COLOR).encode(x=x, y=y),
            alt.Chart(found.filter(pl.col("known") != ""))
            .mark_point(size=130, color=INK, strokeWidth=1.3)
            .encode(x=x, y=y),
            alt.Chart(found).mark_circle(size=55, opacity=1).encode(x=x, y=y, color=color),
            alt.Chart(asked).mark_point(shape="cross", size=160, filled=True, color=INK, opacity=1).encode(x=x, y=y),
            alt.Chart(pl.concat([found, asked]))
            .mark_text(dx=7, dy=-6, align="left", fontSize=10, color=INK)
            .encode(x=x, y=y, text="perturbation:N"),
        ]
        panels.append(
            alt.layer(*layers).properties(
                width=420, height=420, title=alt.Title(title, subtitle=caption, anchor="start")
            )
        )
    return alt.hconcat(*panels)


def figure_bytes(
    chart: Any, file_format: Literal["svg", "png"], *, heading: str = "", background: str = "white"
) -> bytes:
    """Draw a chart as an SVG or PNG file, offline.

    Parameters
    ----------
    chart
        An Altair chart.
    file_format
        ``"svg"`` or ``"png"`` (at twice the screen's resolution).
    heading
        What the figure shows and how it was made, written above it; lines after the first are smaller.
    background
        Colour behind it.
    """
    import json

    import vl_convert

    title = {"title": _heading(heading)} if heading else {}
    specification = _drawable({**chart.to_dict(), **title})
    # "container" means the page's width; a file has none.
    text = json.dumps({**specification, "background": background}).replace('"width": "container"', '"width": 560')
    if file_format == "svg":
        return str(vl_convert.vegalite_to_svg(text)).encode()
    return bytes(vl_convert.vegalite_to_png(text, scale=2))


def _heading(heading: str) -> dict[str, Any]:
    first, *others = heading.splitlines()
    below = [part for line in others for part in textwrap.wrap(line, _HEADING_WIDTH)]
    subtitle = {"subtitle": below, "subtitleFontSize": 11} if below else {}
    return {"text": first, "anchor": "start", "fontSize": 12, "offset": 12, **subtitle}


def _drawable(value: Any) -> Any:
    """Replace the characters of names that XML has no place for; a null character would end the process."""
    if isinstance(value, str):
        return _UNDRAWABLE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_drawable(key): _drawable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_drawable(item) for item in value]
    return value
