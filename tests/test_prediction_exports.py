"""What can be taken away from a prediction: every table, every figure, each saying how it was made."""

import io
import zipfile
from dataclasses import replace

import polars as pl
import toy_predictions
from test_charts import texts_of
from toy_predictions import PLAN, pairs, predicted, prediction

from explorer.charts import figure_bytes
from explorer.prediction_exports import (
    figure_heading,
    figures,
    figures_zip,
    labelled_csv,
    made_of,
    tables,
    tables_zip,
)


def names_in(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return archive.namelist()


def test_every_table_and_figure():
    found = predicted()
    assert names_in(tables_zip(found)) == ["differences.csv", "scores.csv", "perturbations.csv"]
    assert names_in(tables_zip(found, perturbation="GENE01"))[-1] == "features.csv"
    assert names_in(figures_zip(found, perturbation="GENE01")) == [
        f"{name}.{kind}" for name in ("differences", "scores", "profile") for kind in ("svg", "png")
    ]
    assert tables_zip(found) == tables_zip(found), "equal content is equal bytes"


def test_what_was_not_tested_is_left_out():
    found = predicted(pairs())
    assert set(figures(found)) == {"scores"}
    assert tables(found)["differences"].height == 0
    nothing = predicted(replace(prediction(), scores=toy_predictions.scores()))
    assert set(figures(nothing)) == {"differences"}


def test_a_table_says_how_it_was_made_on_every_line():
    found = predicted()
    written = pl.read_csv(labelled_csv(tables(found)["perturbations"], found).encode())
    assert written.height == 60
    assert written["perturbation"][0] == "GENE00"
    for name, value in {
        "dataset": "toy", "context": "alpha", "task": "transfer", "source": "beta", "verdict": "predicts better",
        "learned of the plan": "latent", "simple of the plan": "raw", "learned recipe": "latent of beta",
        "recipes": ".".join((12 * "a", 12 * "b", 12 * "c")),
        "target conditions": toy_predictions.passport("alpha").sentence,
        "source conditions": toy_predictions.passport("beta").sentence,
    }.items():  # fmt: skip
        assert set(written[name]) == {value}
    assert "They differ in cell system" in written["what differs"][0]


def test_conditions_of_pairs_are_the_target_s_alone():
    labels = made_of(predicted(pairs()))
    assert "source conditions" not in labels
    assert labels["target conditions"]


def test_features_name_their_perturbation():
    table = tables(predicted(), perturbation="GENE03")["features"]
    assert set(table["perturbation"]) == {"GENE03"}
    assert table["feature"].to_list() == list(toy_predictions.FEATURES)


def test_a_figure_says_what_it_shows_and_in_which_conditions():
    found = predicted()
    heading = figure_heading(found, "profile", "GENE03")
    text, _, _ = texts_of(figure_bytes(figures(found, perturbation="GENE03")["profile"], "svg", heading=heading))
    for said in ("GENE03", "latent against raw from beta", "raw of toy, alpha", "alignment none", "beta cells"):
        assert said in text
    assert "GENE03" not in figure_heading(found, "scores", "GENE03")
    assert "From:" not in figure_heading(predicted(pairs()), "scores", "")


def test_another_plan_is_another_file():
    table = pl.DataFrame({"value": [1]})
    other = predicted(plan=replace(PLAN, align="center"))
    assert labelled_csv(table, predicted()) != labelled_csv(table, other)
