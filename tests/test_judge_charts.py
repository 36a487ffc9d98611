"""Charts of a judgement: valid, exported offline, readable, and names in them are text."""

import re
from xml.etree import ElementTree

import polars as pl
import pytest
from files import PAYLOADS
from hypothesis import given
from hypothesis import strategies as st
from test_charts import DRAWN, SVG, texts_of
from verdicts import compared, judgement

from explorer import judge_charts
from explorer.benchmark import STRATA_SCHEMA
from explorer.charts import figure_bytes
from explorer.judge_charts import (
    budget_curve,
    forest,
    grid_heat,
    matched_recall,
    reliability_chart,
    strata_chart,
)
from explorer.judged import forest_table, source_table

NAN = float("nan")


def forest_of(name):
    found = judgement(learned=name, placebos=(compared(name, 0.1, 0.2, 0.05), compared(name, 0.1, 0.1, 0.05)))
    return forest(forest_table(found))


def curve_of(name):
    frame = pl.DataFrame(
        {
            "budget": [10, 100, 1000],
            "simple": [5.0, 40.0, 200.0],
            "learned": [6.0, 45.0, 190.0],
            "best placebo": [1.0, 5.0, NAN],
            "placebo": [name, name, ""],
            "chance": [0.1, 1.0, 10.0],
            "difference": [1.0, 5.0, -10.0],
            "half width": [3.0, 20.0, 60.0],
        }
    )
    return budget_curve(frame, budget=100, names=(name, name))


def grid_frame(name, scores=(0.1, 0.4, 0.8, NAN)):
    return pl.DataFrame(
        {
            "representation": [name, name, "raw", "raw"],
            "kind": ["learned", "learned", "simple", "simple"],
            "alignment": ["none", "center", "none", "center"],
            "score": list(scores),
            "chance": [0.01] * 4,
            "reason": ["", "", "", f"no controls in {name}"],
        }
    )


def grid_of(name):
    return grid_heat(grid_frame(name), marked=(name, "raw"), alignment="none")


def recall_of(name):
    found = judgement(learned=name)
    table = source_table(found)
    return matched_recall(pl.concat([table, table.with_columns(pl.lit(name).alias("source"))]), names=("raw", name))


def strata_of(name):
    lines = [
        (source, kind, stratum, 40, 100, 0.2, 0.3, 0.1)
        for source in ("Pairs", name)
        for kind, stratum in (("effect size", "weakest third"), ("effect size", "strongest third"))
    ]
    lines.append((name, "position", "within", 3, 4, None, None, None))
    return strata_chart(pl.DataFrame(lines, schema=STRATA_SCHEMA, orient="row"), names=("raw", name))


def reliability_of(name):
    frame = pl.DataFrame(
        {
            "side": ["simple", "simple", "learned"],
            "predicted": [0.01, 0.2, 0.3],
            "observed": [0.0, 0.25, 0.2],
            "n_pairs": [100, 10, 10],
            "n_known": [1, 2, 3],
            "effective_groups": [1.0, 2.0, 3.0],
        }
    )
    return reliability_chart(frame, names=("raw", name))


CHARTS = {
    "forest": forest_of, "curve": curve_of, "grid": grid_of, "recall": recall_of, "strata": strata_of,
    "reliability": reliability_of,
}  # fmt: skip


@pytest.mark.parametrize("make", CHARTS.values(), ids=CHARTS)
def test_exported_figure(make):
    chart = make("latent")
    svg = figure_bytes(chart, "svg", heading="latent against raw")
    text, drawn, _ = texts_of(svg)
    assert drawn <= DRAWN
    assert "latent against raw" in text
    assert not re.findall(rb"https?://(?!www\.w3\.org/)", svg)


@pytest.mark.parametrize("make", CHARTS.values(), ids=CHARTS)
@pytest.mark.parametrize("name", [PAYLOADS[2], PAYLOADS[5], PAYLOADS[-1], '\\"+alert(1)+"', "raw"])
def test_names_are_text(make, name):
    chart = make(name)
    root = ElementTree.fromstring(figure_bytes(chart, "svg"))
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= DRAWN
    assert not {key for element in root.iter() for key in element.attrib if key.startswith("on")}
    # Nothing from data stands in an expression, which a browser would run.
    for expression in expressions_of(chart.to_dict()):
        assert name == "raw" or name not in expression


def expressions_of(value, key=""):
    if isinstance(value, dict):
        for name, item in value.items():
            if name != "datasets":
                yield from expressions_of(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from expressions_of(item, key)
    elif isinstance(value, str) and key in ("expr", "filter", "calculate", "labelExpr", "test"):
        yield value


def rows_of(chart):
    return [row for rows in chart.to_dict()["datasets"].values() for row in rows]


def test_forest_writes_every_difference_with_its_interval():
    text, _, _ = texts_of(figure_bytes(forest_of("latent"), "svg"))
    assert "+.100  (+.070 … +.130)" in text
    assert "latent − latent (2)" in text, "two maps of one name are two lines"


def test_forest_begins_with_the_verdict():
    chart = forest(forest_table(judgement())).to_dict()
    domain = chart["layer"][2]["encoding"]["y"]["scale"]["domain"]
    assert domain[0] == "all sources: latent − raw"
    ticks = chart["layer"][2]["encoding"]["x"]["axis"]["values"]
    assert 0 in ticks
    assert max(ticks) <= 0.3


def test_forest_of_one_map_against_itself():
    found = judgement(seeds=(compared("latent", 0.3, 0.0, 0.0),), placebos=(), rivals=())
    figure_bytes(forest(forest_table(found)), "svg")


def test_curve_band_is_round_the_simple_map_and_within_what_can_be():
    band = [row for row in rows_of(curve_of("latent")) if "low" in row]
    assert [(row["low"], row["high"]) for row in band] == [(2, 8), (20, 60), (140, 260)]
    assert all(0 <= row["low"] <= row["high"] <= row["budget"] for row in band)


def test_curve_leaves_out_what_is_not_defined():
    best = [row for row in rows_of(curve_of("latent")) if row.get("list") == "best placebo"]
    assert [row["budget"] for row in best] == [10, 100]


def test_grid_shows_what_could_not_be_had_and_why():
    cells = [row for row in rows_of(grid_of("latent")) if "text" in row]
    assert [row["text"] for row in cells] == [".10", ".40", ".80", "–"]
    assert cells[3]["score"] is None
    assert cells[3]["reason"] == "no controls in latent"
    assert [row["framed"] for row in cells] == [True, False, True, False]


def test_grid_of_nothing():
    frame = grid_frame("latent", (NAN,) * 4)
    figure_bytes(grid_heat(frame), "svg")


def contrast(one, other):
    def luminance(color):
        parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@given(st.floats(0, 1))
def test_numbers_are_readable_on_every_colour_of_the_grid(share):
    ramp = judge_charts._RAMP
    place = share * (len(ramp) - 1)
    below = min(int(place), len(ramp) - 2)
    mixed = [
        round(
            int(ramp[below][k : k + 2], 16) * (1 - place + below)
            + int(ramp[below + 1][k : k + 2], 16) * (place - below)
        )
        for k in (1, 3, 5)
    ]
    # 4.5 is what the accessibility guidelines ask of text.
    assert contrast("#{:02x}{:02x}{:02x}".format(*mixed), judge_charts._ink_on(share)) > 4.4


@given(st.floats(-5, 0), st.floats(0, 5))
def test_ticks_are_few_round_and_inside(low, high):
    if high - low < 1e-3:
        return
    ticks = judge_charts.round_ticks(low, high)
    assert 1 <= len(ticks) <= 8
    assert 0 in ticks
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)


def test_strata_without_pairs_are_left_out():
    chart = strata_of("latent")
    assert "position: within" not in {row.get("row") for row in rows_of(chart)}
    assert [panel["title"]["text"] for panel in chart.to_dict()["hconcat"]] == ["Pairs", "latent"]


def test_reliability_leaves_out_what_has_no_logarithm():
    shown = [row for row in rows_of(reliability_of("latent")) if "n_pairs" in row]
    assert len(shown) == 2
    empty = reliability_chart(pl.DataFrame(schema={"side": pl.String, "predicted": pl.Float64, "observed": pl.Float64,
                                                   "n_pairs": pl.Int64, "n_known": pl.Int64,
                                                   "effective_groups": pl.Float64}), names=("a", "b"))  # fmt: skip
    figure_bytes(empty, "svg")


def test_legend_names_only_what_is_drawn():
    found = judgement(placebos=(), seeds=(), rivals=())
    text, _, _ = texts_of(figure_bytes(forest(forest_table(found)), "svg"))
    assert "verdict" in text
    for absent in ("placebo", "seed", "other simple"):
        assert absent not in text
    assert list(judge_charts.KIND_COLORS) == ["verdict", "source", "seed", "other simple", "placebo"]
