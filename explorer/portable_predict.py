"""A prediction as one page of HTML that travels: the word, what it rests on, and every chart."""

from __future__ import annotations

import shlex

from explorer import predicted, prediction_exports, wording_predict
from explorer.catalog import Catalog
from explorer.map_card import CATALOG, CATALOG_NOTE
from explorer.page import made_with
from explorer.portable import CHART_NOTE, portable_page
from explorer.portable_parts import Drawing, Facts, Heading, Part, Points, Rows, Said, Section
from explorer.predicted import Predicted
from explorer.predictions import PredictionPlan

_FOREST_FORMATS = {name: "{:+.3f}" for name in ("estimate", "low", "high")} | {"p": "{:.2g}"}


def predict_page(catalog: Catalog, found: Predicted, *, perturbation: str = "") -> str:
    """Write a prediction as one page of HTML that works offline, with interactive charts.

    Parameters
    ----------
    catalog
        The datasets on offer.
    found
        What was predicted.
    perturbation
        The one whose profile is drawn; none by default.

    Returns
    -------
    str
        A whole document, see `explorer.portable.portable_page`. Nothing is computed for it.
    """
    prediction, plan = found.prediction, found.plan
    word = wording_predict.head(found)
    front = [
        Said(wording_predict.verdict_sentence(found), "said"),
        Said(wording_predict.meaning_sentence(found)),
    ]
    sections = [
        Section("", front),
        Section("What it rests on", [Points(wording_predict.evidence(found))]),
        *_scores(found),
        *_one(found, perturbation),
        *_lists(found),
        Section(
            "What it hangs on",
            [
                Facts(wording_predict.conditions(found)),
                *(Said(text, "warned") for text in wording_predict.condition_warnings(found)),
            ],
        ),
        Section("", [Said(CHART_NOTE, "faint")]),
        Section("Data, recipes and licences", [Facts(wording_predict.about_rows(catalog, found))]),
        Section(
            "To make it again",
            [
                Facts(
                    [
                        ("command", command_line(catalog, plan, seed=prediction.seed)),
                        (CATALOG, CATALOG_NOTE),
                        *_again(found, perturbation),
                    ]
                )
            ],
        ),
    ]
    title = f"{word}: {prediction.learned} against {prediction.simple}, {plan.dataset}, {plan.context}"
    return portable_page(
        title,
        sections,
        above=f"{wording_predict.QUESTION} {wording_predict.context_line(catalog, found)}",
        word=word,
        tone=wording_predict.tone(found),
    )


def _scores(found: Predicted) -> list[Section]:
    charts = prediction_exports.figures(found)
    differences: list[Part] = []
    if "differences" in charts:
        differences = [
            Drawing(charts["differences"], "differences and their intervals", zoom=("x",)),
            Said(wording_predict.FOREST_NOTE, "faint"),
            Rows(predicted.forest_table(found.prediction), _FOREST_FORMATS),
        ]
    scores: list[Part] = []
    if "scores" in charts:
        scores = [
            Drawing(charts["scores"], "correlation beyond the shared effect, by predictor", zoom=("x",)),
            Rows(predicted.score_table(found.prediction), predicted.SCORE_FORMATS),
            Said(wording_predict.SCORE_NOTE, "faint"),
        ]
    every = (("Every difference, with its 95 % interval", differences), ("Every predictor", scores))
    return [Section(heading, parts) for heading, parts in every if parts]


def _one(found: Predicted, perturbation: str) -> list[Section]:
    if not perturbation:
        return []
    chart = prediction_exports.figures(found, perturbation=perturbation)["profile"]
    return [
        Section(
            f"Predicted against measured: {perturbation}",
            [
                Said(wording_predict.perturbation_sentence(found, perturbation)),
                Drawing(chart, "predicted against measured features of one perturbation"),
                Said(wording_predict.scatter_note(found.prediction), "faint"),
            ],
        )
    ]


def _lists(found: Predicted) -> list[Section]:
    best, worst = predicted.extreme_tables(found.prediction)
    if not best.height:
        return []
    parts: list[Part] = [Said(wording_predict.lists_sentence(found.prediction))]
    for heading, table in (("Predicted best", best), ("Predicted worst", worst)):
        if table.height:
            parts += [Heading(heading), Rows(table, predicted.LIST_FORMATS)]
    return [Section("Perturbation by perturbation", [*parts, Said(wording_predict.LIST_NOTE, "faint")])]


def command_line(catalog: Catalog, plan: PredictionPlan, *, seed: int) -> str:
    """Write the command that predicts again; `CATALOG` in it is the folder that holds the data."""
    there = predicted.source_dataset(catalog, plan.dataset, plan.source)
    # A source in another dataset needs the catalog of both, and then the dataset of the target has to be said.
    is_own = there.name == plan.dataset
    path = f"{CATALOG}/{catalog.dataset(plan.dataset).path.name}" if is_own else CATALOG
    options = [
        ("--task", plan.task), ("--context", plan.context if is_own else f"{plan.dataset}/{plan.context}"),
        ("--target", plan.target), ("--source-context", plan.source), ("--simple", plan.simple),
        ("--learned", plan.learned), ("--align", plan.align), *(("--source", name) for name in plan.sources),
        ("--seed", str(seed)),
    ]  # fmt: skip
    # An option and its value are one word, whatever the value begins with.
    return shlex.join(["explorer", "predict", path, *(f"{name}={value}" for name, value in options if value)])


def _again(found: Predicted, perturbation: str) -> list[tuple[str, str]]:
    link = predicted.predict_link(
        found.plan, perturbation=perturbation, recipes=predicted.recipes_predicted(found.prediction)
    )
    rows = [(name, value) for name, value in link.items() if value]
    return [*rows, *wording_predict.again_rows(found), ("versions", made_with())]
