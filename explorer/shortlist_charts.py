"""Charts of a shortlist: tidy frames in, ``alt.Chart`` out, as in `explorer.charts`."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import polars as pl

from explorer.charts import INK, OTHER_COLOR, SIDE_COLORS, quotable

if TYPE_CHECKING:
    import altair as alt

    Chart: TypeAlias = alt.LayerChart | alt.FacetChart

APART = "annotated apart"
# Who proposed a pair, as the other charts colour the two sides and what both share.
PROPOSER_COLORS = {
    "simple": SIDE_COLORS["only left"],
    "learned": SIDE_COLORS["only right"],
    "both": SIDE_COLORS["shared"],
    APART: OTHER_COLOR,
}
PROPOSER_SHAPES = {"simple": "circle", "learned": "diamond", "both": "square", APART: "cross"}
# From the fullest annotation to the emptiest: the emptier, the more hits are left to find.
_STEPS = ("#2F86C9", "#009E73", "#C9A227", "#D55E00", "#CC79A7")


def both_maps(frame: pl.DataFrame, *, names: tuple[str, str]) -> Chart:
    """Show where the pairs of a list stand in both maps.

    Parameters
    ----------
    frame
        As `explorer.proposed_tables.places_table` gives it.
    names
        Of the simple and the learned map.
    """
    import altair as alt

    there = [name for name in PROPOSER_COLORS if name in set(frame["proposer"])]
    words = {"simple": f"higher in {names[0]}", "learned": f"higher in {names[1]}", "both": "both alike"}
    legend = [words.get(name, name) for name in there]
    labelled = frame.with_columns(pl.col("proposer").replace_strict(words, default=pl.col("proposer")).alias("by"))
    values = [*frame["simple"], *frame["learned"]]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = max(0.04 * (high - low), 0.05)
    domain = [low - room, high + room]
    scale = alt.Scale(domain=domain, nice=False)
    x = alt.X(
        "simple:Q", title=f"normal score in {quotable(names[0])}", scale=scale, axis=alt.Axis(grid=False, tickCount=5)
    )
    y = alt.Y(
        "learned:Q", title=f"normal score in {quotable(names[1])}", scale=scale, axis=alt.Axis(grid=False, tickCount=5)
    )
    tooltip = [
        alt.Tooltip("pair:N"),
        alt.Tooltip("rank:Q", title="place in the list"),
        alt.Tooltip("by:N", title="proposed by"),
        alt.Tooltip("simple:Q", format=".2f", title="in the simple map"),
        alt.Tooltip("learned:Q", format=".2f", title="in the learned map"),
    ]
    color = alt.Color(
        "by:N",
        title=None,
        scale=alt.Scale(domain=legend, range=[PROPOSER_COLORS[name] for name in there]),
        legend=alt.Legend(orient="top", labelLimit=260),
    )
    shape = alt.Shape(
        "by:N",
        title=None,
        scale=alt.Scale(domain=legend, range=[PROPOSER_SHAPES[name] for name in there]),
        legend=alt.Legend(orient="top", labelLimit=260),
    )
    diagonal = pl.DataFrame({"simple": domain, "learned": domain})
    line = alt.Chart(diagonal).mark_line(color=INK, strokeDash=[4, 4], strokeWidth=1).encode(x=x, y=y)
    points = (
        alt.Chart(labelled)
        .mark_point(filled=True, size=70, opacity=0.85)
        .encode(x=x, y=y, color=color, shape=shape, tooltip=tooltip)
    )
    chart: Chart = alt.layer(line, points).properties(width="container", height=380, background="transparent")
    return chart


def expected_curve(frame: pl.DataFrame) -> Chart:
    """Show how many hits to expect after so many pairs of a list, for what the annotation may hold.

    Parameters
    ----------
    frame
        As `explorer.proposed_tables.expected_table` gives it.
    """
    import altair as alt

    order = list(dict.fromkeys(frame["completeness"].to_list()))
    color = alt.Color(
        "completeness:N",
        title=None,
        scale=alt.Scale(domain=order, range=list(_STEPS[: len(order)])),
        legend=alt.Legend(orient="top"),
    )
    lines = (
        alt.Chart(frame)
        .mark_line(strokeWidth=2.5)
        .encode(
            x=alt.X("tested:Q", title="pairs tested, from the top of the list", axis=alt.Axis(grid=False, format=",d")),
            y=alt.Y("expected:Q", title="expected hits", axis=alt.Axis(grid=True, tickCount=5)),
            color=color,
            strokeDash=alt.StrokeDash("completeness:N", scale=alt.Scale(domain=order), legend=None),
            tooltip=[
                alt.Tooltip("tested:Q", format=",", title="pairs tested"),
                alt.Tooltip("completeness:N", title="of the truth"),
                alt.Tooltip("expected:Q", format=".1f", title="expected hits"),
            ],
        )
    )
    chart: Chart = alt.layer(lines).properties(width="container", height=200, background="transparent")
    return chart


def record_points(frame: pl.DataFrame) -> Chart:
    """Show of every list of a track record the hits that were found against those expected.

    Parameters
    ----------
    frame
        Columns ``expected, found, tested, dataset, context, mode, scored``; lists without an expectation are left out.
    """
    import altair as alt

    there = frame.drop_nulls("expected")
    most = max([1.0, *there["expected"], *(float(value) for value in there["found"])])
    domain = [0.0, 1.08 * most]
    scale = alt.Scale(domain=domain, nice=False)
    x = alt.X("expected:Q", title="hits expected", scale=scale, axis=alt.Axis(grid=False, tickCount=5))
    y = alt.Y("found:Q", title="hits found", scale=scale, axis=alt.Axis(grid=False, tickCount=5))
    line = (
        alt.Chart(pl.DataFrame({"expected": domain, "found": domain}))
        .mark_line(color=INK, strokeDash=[4, 4], strokeWidth=1)
        .encode(x=x, y=y)
    )
    points = (
        alt.Chart(there)
        .mark_point(filled=True, size=90, opacity=0.9)
        .encode(
            x=x,
            y=y,
            color=alt.Color(
                "mode:N",
                title=None,
                scale=alt.Scale(
                    domain=["discover", "compare"], range=[SIDE_COLORS["only left"], SIDE_COLORS["only right"]]
                ),
                legend=alt.Legend(orient="top"),
            ),
            tooltip=[
                alt.Tooltip("dataset:N"),
                alt.Tooltip("context:N"),
                alt.Tooltip("scored:N"),
                alt.Tooltip("tested:Q"),
                alt.Tooltip("expected:Q", format=".1f"),
                alt.Tooltip("found:Q"),
            ],
        )
    )
    chart: Chart = alt.layer(line, points).properties(width="container", height=260, background="transparent")
    return chart
