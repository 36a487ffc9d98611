"""A prediction that is saved: whole, escaped, with the figures of the page, and nothing in it that is loaded."""

from dataclasses import replace

import polars as pl
import pytest
import toy_predictions
import toys
from pages import PAYLOADS
from test_portable import check_closed
from toy_predictions import PLAN, against, pairs, predicted, prediction

from explorer import __version__
from explorer.catalog import open_catalog
from explorer.passport import PassportComparison
from explorer.portable_predict import predict_page
from explorer.predicted import forest_table


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return open_catalog(toys.write_catalog(tmp_path_factory.mktemp("saved")))


def test_page_holds_what_the_app_shows(catalog):
    text = predict_page(catalog, predicted(), perturbation="GENE03")
    page = check_closed(text)
    for said in (
        "Predicts better", "From beta, latent predicts perturbations that nobody has made in alpha",
        "For your next experiments", "With what right", "Split", "Predicted against measured: GENE03",
        "Predicted best", "Predicted worst", "They differ in cell system", "the technique is stated in neither",
        "CC0", "nobody", "a" * 12, "c" * 12, f"explorer {__version__}", "explorer predict", "--task=transfer",
    ):  # fmt: skip
        assert said in page.text, said
    lines = page.table("kind", "label")
    assert [line[1] for line in lines] == forest_table(prediction())["label"].to_list()
    assert lines[0][2:5] == ["+.050", "+.030", "+.070"]
    assert page.table("perturbation", "groups")[0][0] == "GENE00"
    assert len(page.block("charts")) == 3
    assert predict_page(catalog, predicted(), perturbation="GENE03") == text


def test_page_without_a_perturbation(catalog):
    page = check_closed(predict_page(catalog, predicted()))
    assert len(page.block("charts")) == 2
    assert "Predicted against measured" not in page.text


def test_pairs_that_are_shown_and_not_tested(catalog):
    page = check_closed(predict_page(catalog, predicted(pairs()), perturbation="GENE00+GENE10"))
    assert "Shown, not tested" in page.text
    assert "Every difference" not in page.text
    assert "larger single alone" in page.text


def test_nothing_predicted(catalog):
    nothing = replace(
        prediction(primary=None, tests=(), verdict="underpowered", scores=toy_predictions.scores()),
        perturbations=prediction().perturbations[:0],
    )
    page = check_closed(predict_page(catalog, predicted(nothing)))
    assert page.block("charts") is None
    assert "Predicted best" not in page.text


def test_names_that_attack(catalog):
    made = prediction(
        learned=PAYLOADS[0],
        notes=PAYLOADS,
        tests=tuple(against(name, "placebo", 0.2, 0.1) for name in PAYLOADS),
        features=tuple(PAYLOADS[place % len(PAYLOADS)] for place in range(12)),
    )
    names = [PAYLOADS[1], *made.perturbations["perturbation"][1:]]
    made = replace(
        made,
        perturbations=made.perturbations.with_columns(
            pl.Series("perturbation", names), pl.lit(PAYLOADS[2]).alias("groups")
        ),
        scores=made.scores.with_columns(pl.Series("name", [*PAYLOADS[:5]])),
    )
    comparison = PassportComparison(
        toy_predictions.passport(PAYLOADS[3]), toy_predictions.passport(PAYLOADS[2]), ("time",), PAYLOADS
    )
    found = predicted(made, plan=replace(PLAN, target=PAYLOADS[2]), comparison=comparison)
    text = predict_page(catalog, found, perturbation=PAYLOADS[1])
    page = check_closed(text)
    for payload in PAYLOADS[:4]:
        assert payload not in text
        assert payload in page.text
