"""Charts of other contexts: valid, with the figures of their frames, and in the order that is asked for."""

import json

import held_toys
import polars as pl
import pytest

from explorer.charts import Displayed, figure_bytes
from explorer.context_charts import PART_COLORS, label_bars, overlap_intervals, overlap_parts
from explorer.held_tables import OVERLAP_SCHEMA, counts_table, overlap_table

ONE = overlap_table(held_toys.report(), [held_toys.overlap()])
TWO = overlap_table(held_toys.report(others=("beta", "gamma")), [held_toys.overlap(), held_toys.overlap("gamma")])


def values_of(chart) -> list[dict]:
    return [line for rows in chart.to_dict()["datasets"].values() for line in rows]


def domains(chart, channel: str) -> list[list]:
    """Every domain that a channel is given."""
    found = []

    def walk(node):
        if isinstance(node, dict):
            scale = (node.get("encoding", {}).get(channel) or {}).get("scale") or {}
            if "domain" in scale:
                found.append(scale["domain"])
            for part in node.values():
                walk(part)
        elif isinstance(node, list):
            for part in node:
                walk(part)

    walk(chart.to_dict())
    return found


@pytest.mark.parametrize("frame", [ONE, TWO], ids=["one other", "two others"])
@pytest.mark.parametrize("draw", [overlap_intervals, overlap_parts])
def test_charts_can_be_drawn_and_put_the_compared_first(frame, draw):
    chart = draw(frame, marked=("noise", "latent"))
    assert all(domain == ["latent", "noise", "raw"] for domain in domains(chart, "y"))
    assert b"<svg" in figure_bytes(chart, "svg", heading="What holds")
    kind, text = Displayed(chart)._mime_()
    assert "vegalite" in kind
    assert json.loads(text)["usermeta"]["embedOptions"]["actions"]["export"]


def test_every_other_context_has_a_panel():
    assert len(overlap_intervals(TWO).to_dict()["hconcat"]) == 2
    assert "hconcat" not in overlap_intervals(ONE).to_dict()
    titles = [panel["title"]["text"] for panel in overlap_parts(TWO).to_dict()["hconcat"]]
    assert titles == ["in beta", "in gamma"]


def test_parts_add_up_to_the_raw_overlap_and_those_that_no_map_has_are_left_out():
    lines = [line for line in values_of(overlap_parts(ONE)) if "part" in line]
    assert {line["part"] for line in lines} == set(PART_COLORS) - {"layout"}
    for name in ("raw", "latent", "noise"):
        own = [line for line in lines if line["representation"] == name]
        assert sum(line["share"] for line in own) == pytest.approx(own[0]["raw"], abs=2e-4)
        assert [line["place"] for line in own] == [0, 1, 2]


def test_what_has_no_interval_is_a_point_alone():
    line = next(line for line in values_of(overlap_intervals(ONE)) if line.get("representation") == "noise")
    assert line["low"] is None
    assert line["point"] == pytest.approx(-0.0001)
    assert line["text"].startswith("−")


def test_nothing_but_nan():
    empty = ONE.with_columns(
        pl.lit(float("nan")).alias(name) for name, kind in OVERLAP_SCHEMA.items() if kind == pl.Float64
    )
    for draw in (overlap_intervals, overlap_parts):
        assert b"<svg" in figure_bytes(draw(empty), "svg")


def test_labels_are_counted_in_one_order():
    frame = counts_table(held_toys.report(others=("beta", "gamma")))
    chart = label_bars(frame)
    assert domains(chart, "color") == [["holds", "not seen", "silent", "cannot be judged"]]
    assert sum(line["edges"] for line in values_of(chart)) == 2 * len(held_toys.EDGES)
    assert b"<svg" in figure_bytes(chart, "svg")


def test_names_that_are_expressions():
    hostile = "<img src=x onerror=1> \\\" ' ${datum} datum['x'] ]} \n"
    frame = ONE.with_columns(pl.lit(hostile).alias("other"), pl.col("representation") + hostile)
    for draw in (overlap_intervals, overlap_parts):
        assert b"<svg" in figure_bytes(draw(frame), "svg")
    counts = counts_table(held_toys.report()).with_columns(pl.lit(hostile).alias("context"))
    assert b"<svg" in figure_bytes(label_bars(counts), "svg")
