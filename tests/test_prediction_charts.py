"""Charts of a prediction: valid, exported offline, readable, and names in them are text."""

import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import polars as pl
import pytest
import toy_predictions
from files import PAYLOADS
from test_charts import DRAWN, SVG, texts_of
from test_judge_charts import expressions_of, rows_of

from explorer.charts import figure_bytes
from explorer.predicted import feature_table, forest_table
from explorer.prediction_charts import KIND_COLORS, differences, profile_scatter, score_bars

NAN = float("nan")


def forest_of(name):
    against = toy_predictions.against
    tests = (against("mean", "baseline", 0.2, 0.05), against(name, "placebo", 0.1, 0.05))
    return differences(forest_table(toy_predictions.prediction(learned=name, tests=tests)))


def bars_of(name, *, ceiling=0.8):
    scores = toy_predictions.scores(
        (name, "learned", "ridge", True, 0.3, 0.2, 0.1, 0.7, 0.5, 60),
        (name, "simple", "ridge", True, -0.1, NAN, 0.1, 0.7, 0.5, 60),
        ("mean", "baseline", "mean", True, NAN, NAN, 0.0, 0.5, 0.5, 60),
    )
    return score_bars(scores, ceiling=ceiling)


def scatter_of(name):
    found = toy_predictions.prediction(features=(name, *toy_predictions.FEATURES[1:]))
    return profile_scatter(
        feature_table(found, "GENE00"), names={"simple": name, "learned": name}, scores={"learned": -0.25}
    )


CHARTS = {"forest": forest_of, "bars": bars_of, "scatter": scatter_of}


@pytest.mark.parametrize("make", CHARTS.values(), ids=CHARTS)
def test_exported_figure(make):
    svg = figure_bytes(make("latent"), "svg", heading="latent against raw")
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


def test_forest_begins_with_the_difference_that_decides():
    chart = forest_of("latent").to_dict()
    assert chart["layer"][2]["encoding"]["y"]["scale"]["domain"] == ["latent − raw", "latent − mean", "latent − latent"]
    text, _, _ = texts_of(figure_bytes(forest_of("latent"), "svg"))
    assert "+.050  (+.030 … +.070)" in text
    assert "recall" not in text, "it is no difference in recall"


def test_two_predictors_of_one_name_are_two_bars():
    rows = [row for row in rows_of(bars_of("latent")) if "predictor" in row]
    assert [row["predictor"] for row in rows] == ["latent", "latent (2)", "mean"]
    assert [row["text"] for row in rows] == [".300", "−.100", "–"]
    assert [row["end"] for row in rows] == [0.3, 0, 0], "figures of what lies left of 0 stand right of it"


def test_ceiling_is_drawn_where_it_is_known():
    assert "replicates allow .80" in texts_of(figure_bytes(bars_of("latent"), "svg"))[0]
    assert "replicates allow" not in texts_of(figure_bytes(bars_of("latent", ceiling=NAN), "svg"))[0]


def test_bars_of_nothing_that_is_defined():
    scores = toy_predictions.scores(("mean", "baseline", "mean", True, NAN, NAN, NAN, NAN, NAN, 0))
    figure_bytes(score_bars(scores, ceiling=NAN), "svg")


def test_scatter_holds_every_feature_in_a_panel_for_each_side():
    chart = scatter_of("latent").to_dict()
    assert [panel["title"]["subtitle"] for panel in chart["hconcat"]] == ["ρ⊥ −.250", "ρ⊥ –"]
    points = [row for row in rows_of(scatter_of("latent")) if "feature" in row]
    assert len(points) == len(toy_predictions.FEATURES)
    colors = [panel["layer"][-1]["mark"]["color"] for panel in chart["hconcat"]]
    assert colors == [KIND_COLORS["learned"], KIND_COLORS["simple"]]


def test_scatter_of_values_that_are_not_there_or_all_the_same():
    frame = pl.DataFrame({"feature": ["a", "b"], "measured": [0.0, 0.0], "simple": [NAN, 0.0], "learned": [NAN, NAN]})
    text, _, _ = texts_of(figure_bytes(profile_scatter(frame, names={"simple": "s", "learned": "l"}, scores={}), "svg"))
    assert "predicted" in text
    only = replace(toy_predictions.prediction(), predicted={"learned": toy_predictions.prediction().truth})
    chart = profile_scatter(feature_table(only, "GENE00"), names={"learned": "l"}, scores={"learned": math.nan})
    assert len(chart.to_dict()["hconcat"]) == 1
