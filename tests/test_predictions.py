"""Predictions of a catalog: what is planned, refused, locked and kept, and the same numbers as without a catalog."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from files import (
    FORMATS,
    STORED_FORMATS,
    feature_table,
    toy_anndata,
    write_anndata,
    write_card,
    write_format,
    write_table,
)
from toys import write_known

from explorer import predictions
from explorer.aggregate import build_map
from explorer.catalog import Catalog, open_catalog, shared_screen
from explorer.errors import InputError
from explorer.keeping import Shared
from explorer.known import known_pairs
from explorer.load import feature_names, load_dataset
from explorer.pairs import predict_pairs
from explorer.placebos import make_placebos
from explorer.predict import predict_unseen
from explorer.predictions import (
    PredictionPlan,
    check_plan,
    default_plan,
    default_target,
    prediction_json,
    shared_prediction,
    target_names,
    unstated_sides,
    usual_context,
)
from explorer.targets import target_of
from explorer.text import json_text

NAMES = tuple(f"G{number:03d}" for number in range(125))
CONTROL = "ctrl"
CARD = {
    "title": "Toy",
    "license": "CC0",
    "citation": "none",
    "relationships": "known",
    "roles": {"perturbation": "gene", "control": CONTROL, "batch": "plate", "group": ["well"]},
    "contexts": {"skin": {"rows": "skin.parquet"}, "soft": {"rows": "soft.parquet"}},
    "representations": {
        "pca": {"kind": "simple", "source": "X", "transform": "pca", "components": 3},
        "other": {"kind": "simple", "source": "other_{context}.parquet"},
        "raw": {"kind": "simple", "source": "X"},
        "latent": {"kind": "learned", "source": "latent_{context}.parquet", "of": "raw"},
        "noise": {"kind": "placebo", "source": "noise_{context}.parquet"},
        "joint": {"kind": "learned", "source": "latent_{context}.parquet", "saw": ["skin", "soft"]},
        "words": {"kind": "learned", "source": "words.parquet", "saw": []},
        "letters": {"kind": "simple", "source": "letters.parquet", "saw": []},
    },
    "defaults": {"left": "raw", "right": "latent"},
}


def write_toy(root, changes=None, *, names=NAMES, n_plates=2, contexts=("skin", "soft"), known=True):
    """Write contexts that share effects: the latent space shows them with less noise than the raw features do."""
    folder = write_card(root / "toy", changes, card=CARD)
    rng = np.random.default_rng(0)
    factors = (
        rng.normal(size=(len(names), 4)) + np.repeat(rng.normal(size=(-(-len(names) // 5), 4)), 5, axis=0)[: len(names)]
    )
    effects = {name: factors[row] for row, name in enumerate(names)} | {CONTROL: np.zeros(4)}
    labels = [*names, *[CONTROL] * 6] * n_plates
    plates = np.repeat([f"p{number}" for number in range(n_plates)], len(labels) // n_plates)
    wells = [f"{chr(65 + place % 16)}{place // 16 + 1:02d}" for place in range(len(labels) // n_plates)] * n_plates
    signal = np.array([effects[name] for name in labels])
    loadings = rng.normal(size=(4, 12))
    for context in contexts:
        rows = pl.DataFrame(
            {"row": [f"r{place}" for place in range(len(labels))], "gene": labels, "plate": plates, "well": wells}
        )
        made = {
            "": signal @ loadings + 1.0 + 4 * rng.normal(size=(len(labels), 12)),
            "other_": signal @ loadings[:, :6] + 6 * rng.normal(size=(len(labels), 6)),
            "latent_": signal + 0.3 * rng.normal(size=signal.shape),
            "noise_": rng.normal(size=(len(labels), 3)),
        }
        for name, values in made.items():
            metadata = rows if not name else rows.select("row")
            write_table(folder / f"{name}{context}.parquet", feature_table(metadata, values.astype(np.float32)))
        write_table(folder / "words.parquet", feature_table(rows.select("row"), made["latent_"].astype(np.float32)))
        write_table(folder / "letters.parquet", feature_table(rows.select("row"), made["noise_"].astype(np.float32)))
    if known:
        write_known(root, names)
    return root


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return open_catalog(write_toy(tmp_path_factory.mktemp("catalog")))


PLAN = PredictionPlan("transfer", "toy", "soft", "raw", "skin", "raw", "latent", "center")


# ---------------------------------------------------------------- what is planned


def test_only_neutral_features_are_predicted(toy):
    assert target_names(toy, "toy") == ("raw", "other", "letters")
    with pytest.raises(InputError, match="unknown dataset 'tay': did you mean 'toy'"):
        target_names(toy, "tay")


def test_what_is_planned_where_nothing_is_chosen(toy):
    assert default_plan(toy, "toy", "soft") == PLAN
    assert default_plan(toy, "toy", "skin") == replace(PLAN, context="skin", source="soft")
    assert check_plan(toy, default_plan(toy, "toy", "soft")) == PLAN


def test_one_context_is_predicted_from_an_embedding(tmp_path):
    catalog = open_catalog(write_toy(tmp_path, {"contexts/skin": None, "representations/joint": None}))
    plan = default_plan(catalog, "toy", "soft")
    assert (plan.task, plan.source, plan.simple, plan.learned) == ("prior", "soft", "letters", "words")
    assert check_plan(catalog, plan) == plan


ALONE = {"contexts/skin": None, **{f"representations/{name}": None for name in ("joint", "words", "letters")}}


def test_one_context_and_nothing_else(tmp_path):
    catalog = open_catalog(write_toy(tmp_path, ALONE))
    with pytest.raises(
        InputError, match=r"'toy' has one context only, no embedding from elsewhere and no pairs of pert"
    ):
        default_plan(catalog, "toy", "soft")


def test_pairs_are_predicted_where_there_is_nothing_else(tmp_path):
    names = sorted(
        [*(f"G{number}" for number in range(10, 22)), *(f"G{number}+G{number + 1}" for number in range(10, 18))]
    )
    catalog = open_catalog(write_toy(tmp_path, {**ALONE, "relationships": None}, names=names, known=False))
    plan = default_plan(catalog, "toy", "soft")
    assert (plan.task, plan.source, plan.simple, plan.learned) == ("pairs", "", "", "")
    assert check_plan(catalog, replace(plan, source="soft", simple="raw", learned="latent")) == plan
    found = shared_prediction(catalog, plan)
    screen = shared_screen(catalog.dataset("toy"), "soft")
    target = target_of(screen, "raw", alignment=plan.align)
    singles = {name: tuple(name.split("+")) for name in names if "+" in name}
    expected = predict_pairs(target, pairs=singles)
    assert (found.verdict, found.reason, found.primary) == (expected.verdict, expected.reason, expected.primary)
    assert found.n_perturbations == 8
    assert prediction_json(found, plan)["task"] == "pairs"


def test_no_neutral_representation(tmp_path):
    learned = {f"representations/{name}/kind": "learned" for name in ("raw", "other", "letters")}
    catalog = open_catalog(write_toy(tmp_path, learned))
    with pytest.raises(InputError, match="'toy' has no neutral representation to predict"):
        default_plan(catalog, "toy", "soft")


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "guess"}, "unknown task 'guess'"),
        ({"dataset": "tay"}, "unknown dataset 'tay'"),
        ({"context": "sift"}, "unknown context 'sift': did you mean 'soft'"),
        ({"target": "rw"}, "unknown representation to predict 'rw': did you mean 'raw'"),
        ({"target": "latent"}, "'latent' is no neutral representation, and what one .* choose 'raw' or 'other'"),
        ({"target": "pca"}, "'pca' is no neutral representation"),
        ({"source": "skim"}, "unknown context to predict from 'skim': did you mean 'skin'"),
        ({"source": "tay/skin"}, "unknown dataset 'tay'"),
        ({"source": ""}, "no context to predict from: name one of 'skin'"),
        ({"simple": "row"}, "unknown representation 'row': did you mean 'raw'"),
        ({"learned": "raw"}, "'raw' can't be compared with itself"),
        ({"align": "centre"}, "unknown alignment 'centre': did you mean 'center'"),
        ({"sources": ("Pears",)}, "unknown source 'Pears': did you mean 'Pairs'"),
        ({"source": "soft"}, "'soft' can't be transferred to itself: choose another context to predict from, 'skin'"),
        (
            {"source": "soft", "task": "prior"},
            "same cells: 'raw', 'latent' were made from the cells of 'soft' that are",
        ),
        ({"source": "toy/soft", "task": "prior", "simple": "words"}, "same cells: 'latent' was made from the cells of"),
        ({"source": "soft", "task": "prior", "simple": "words", "learned": "joint"}, "same cells: 'joint' was made"),
    ],
)
def test_plans_that_are_refused(toy, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        check_plan(toy, replace(PLAN, **changes))
    assert "\n" not in str(caught.value)


def test_seeds_are_checked(toy):
    with pytest.raises(InputError, match="a seed of -1 can't be used"):
        shared_prediction(toy, PLAN, seed=-1)


def test_names_of_the_source_are_written_as_the_card_does(toy):
    assert check_plan(toy, replace(PLAN, source="toy/skin")) == PLAN
    assert check_plan(toy, replace(PLAN, sources=("Sets",))).sources == ("Sets",)
    assert check_plan(toy, replace(PLAN, simple="", learned="")) == PLAN


# ---------------------------------------------------------------- what comes of it


def test_the_same_as_without_a_catalog(toy):
    found = shared_prediction(toy, PLAN)
    dataset = toy.dataset("toy")
    skin, soft = (shared_screen(dataset, context) for context in ("skin", "soft"))
    target = target_of(soft, "raw", alignment="center", features=feature_names(dataset, "soft", "raw"))
    simple, learned = (build_map(skin, name, alignment="center") for name in ("raw", "latent"))
    pairs = next(source for source in predictions._sources_of(dataset).values() if source.name == "Pairs")
    expected = predict_unseen(
        target,
        simple,
        learned,
        known=[known_pairs(pairs, target.profiles.names)],
        placebos={
            "noise": build_map(skin, "noise", alignment="center"),
            **make_placebos(skin, simple, learned, inputs=["raw"]),
        },
        rivals={name: build_map(skin, name, alignment="center") for name in ("pca", "other", "letters")},
        task="transfer",
        copy=simple,
    )
    assert (found.verdict, found.reason) == (expected.verdict, expected.reason)
    assert found.primary == expected.primary
    assert found.tests == expected.tests
    assert found.scores.equals(expected.scores)
    assert found.perturbations.equals(expected.perturbations)
    assert found.truth == pytest.approx(expected.truth)


def test_what_is_said_of_the_toy(toy):
    found = shared_prediction(toy, PLAN)
    assert found.verdict == "predicts better"
    assert (found.task, found.target, found.simple, found.learned) == ("transfer", "raw of soft", "raw", "latent")
    assert {"well position", "noise", "random projection of raw", "latent with labels shuffled"} <= {
        test.against for test in found.tests if test.kind == "placebo"
    }
    assert [test.against for test in found.tests if test.kind == "baseline"] == ["mean", "no change", "copy"]
    # Embeddings that saw nothing stand beside the other simple ones.
    assert set(found.scores.filter(pl.col("kind") == "simple")["name"]) == {"raw", "pca", "other", "letters"}
    assert found.features == feature_names(toy.dataset("toy"), "soft", "raw")
    assert len(found.features) == 12
    assert found.n_perturbations == len(NAMES)
    assert set(found.fingerprints) == {"target", "simple", "learned"}


def test_what_saw_the_target_is_shown_and_locked(toy):
    found = shared_prediction(toy, replace(PLAN, learned="joint"))
    assert found.verdict == "locked"
    assert found.reason.startswith("saw target: joint was made from soft too, which is to be predicted")
    assert found.primary.excludes_zero
    both = shared_prediction(toy, replace(PLAN, task="prior", simple="letters", learned="words", source="soft"))
    assert both.verdict != "locked"


def test_an_embedding_of_one_file_saw_all_of_its_contexts(toy):
    dataset = toy.dataset("toy")
    contexts = {name: replace(entry, rows="one.h5ad") for name, entry in dataset.card.contexts.items()}
    cards = dict(dataset.card.representations)

    def lock(rows, **changes):
        changed = {**cards, "latent": replace(cards["latent"], **changes)}
        card = replace(dataset.card, contexts=rows, representations=changed)
        return predictions._lock(Catalog({"toy": replace(dataset, card=card)}), PLAN)

    said = lock(contexts, source="obsm/latent")
    assert said.startswith("saw target: latent was made from soft too")
    assert said.endswith(
        'latent is a joint representation of one file; say saw = ["skin"] in the card if made from skin alone'
    )
    # Where the card says so, or the file is the context's own, or what was measured is in it, it saw its own alone.
    assert lock(contexts, source="obsm/latent", saw=("skin",)) == ""
    assert lock(dataset.card.contexts, source="obsm/latent") == ""
    assert lock(contexts, source="layers/latent") == lock(contexts, source="X") == ""


def test_what_is_predicted_first(toy):
    dataset = toy.dataset("toy")
    assert (default_target(dataset), usual_context(dataset, "soft")) == ("soft", "skin")
    assert (default_target(dataset, source="soft"), usual_context(dataset, "skin")) == ("skin", "soft")
    known = replace(dataset, card=replace(dataset.card, defaults={"context": "soft"}))
    assert (default_target(known), usual_context(known, "skin")) == ("skin", "soft")


def test_what_cards_leave_unsaid(toy):
    assert unstated_sides(toy, PLAN) == ("raw", "latent")
    assert unstated_sides(toy, replace(PLAN, learned="words")) == ("raw",)
    assert unstated_sides(toy, replace(PLAN, task="pairs", source="")) == ()


def test_without_known_groups_it_is_locked(tmp_path):
    catalog = open_catalog(write_toy(tmp_path, {"relationships": None}, known=False))
    found = shared_prediction(catalog, PLAN)
    assert found.verdict == "locked"
    assert found.reason.startswith("nothing is known of groups of these perturbations")
    assert found.n_blocks == len(NAMES)


def test_groups_that_name_others_are_said(tmp_path):
    root = write_toy(tmp_path)
    write_known(root, [f"X{name}" for name in NAMES])
    found = shared_prediction(open_catalog(root), PLAN)
    assert found.verdict == "locked"
    assert any(note.startswith("no groups: 'Pairs' relates 0 perturbations of the map") for note in found.notes)


def test_sources_may_be_chosen(toy):
    one, other = shared_prediction(toy, PLAN), shared_prediction(toy, replace(PLAN, sources=("Sets",)))
    assert one.n_blocks != other.n_blocks
    assert other.n_blocks == 25


def test_another_dataset_is_a_source(tmp_path):
    root = write_toy(tmp_path)
    card = {
        "contexts": {"cells": {"rows": "rows.parquet"}},
        "representations": {
            "plain": {"kind": "simple", "source": "X", "saw": ["toy/soft"]},
            "deep": {"kind": "learned", "source": "latent.parquet"},
        },
        "relationships": None, "roles": {"perturbation": "gene"}, "defaults": None,
    }  # fmt: skip
    write_card(root / "elsewhere", card, card=CARD)
    screen = shared_screen(open_catalog(root).dataset("toy"), "skin")
    for name, representation in (("rows", "raw"), ("latent", "latent")):
        made = build_map(screen, representation)
        # One name is spelled otherwise here, and 44 are not there.
        names = [*made.names[:80], made.names[80].lower()]
        write_table(
            root / "elsewhere" / f"{name}.parquet",
            feature_table(pl.DataFrame({"gene": names}), made.profiles[:81]),
        )
    catalog = open_catalog(root)
    plan = replace(PLAN, source="elsewhere/cells", simple="plain", learned="deep", task="prior")
    assert check_plan(catalog, plan) == plan
    found = shared_prediction(catalog, plan)
    assert found.verdict == "locked"
    assert "saw target: plain was made from soft too" in found.reason
    assert found.n_perturbations == 80
    said = " ".join(found.notes)
    assert "45 of 125 perturbations of the target (36 %) have no profile in plain and were left out" in said
    assert "1 name of raw of soft differs from plain in spelling alone and was not matched: 'G080' and 'g080'." in said
    assert "the representations of elsewhere/cells are not aligned, since no controls are declared there" in said


# ---------------------------------------------------------------- kept


def test_made_once_and_kept_on_disk(toy, monkeypatch, tmp_path):
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path / "kept"))
    monkeypatch.setattr(predictions, "_remembered", Shared())
    plan = replace(PLAN, learned="joint")
    first = shared_prediction(toy, plan)
    monkeypatch.setattr(predictions, "_remembered", Shared())

    def refuse(*_args, **_options):
        pytest.fail("it was made again")

    monkeypatch.setattr(predictions, "predict_unseen", refuse)
    again = shared_prediction(toy, plan)
    assert json_text(prediction_json(again, plan)) == json_text(prediction_json(first, plan))
    assert np.array_equal(again.predicted["learned"], first.predicted["learned"])
    assert again.tests == first.tests
    monkeypatch.undo()
    assert shared_prediction(toy, plan, seed=1).primary != first.primary


def test_json_is_all_that_is_shown(toy):
    found = shared_prediction(toy, PLAN)
    told = json.loads(json_text(prediction_json(found, PLAN)))
    assert told["verdict"] == "predicts better"
    assert told["primary"]["low"] == pytest.approx(found.primary.low)
    assert [line["name"] for line in told["scores"]] == found.scores["name"].to_list()
    assert len(told["perturbations"]) == found.n_perturbations
    assert told["plan"]["source"] == "skin"
    assert told["recipes"].keys() == told["fingerprints"].keys()
    assert told["tests"][0].keys() == told["primary"].keys()


def test_progress_goes_on_and_may_cancel(toy, monkeypatch):
    monkeypatch.setattr(predictions, "_remembered", Shared())
    told = []
    shared_prediction(toy, PLAN, seed=7, progress=lambda what, share: told.append(share))
    assert told == sorted(told)
    assert told[-1] == 1

    class Stopped(Exception):
        pass

    def stop(what, share):
        if share > 0.3:
            raise Stopped

    with pytest.raises(Stopped):
        shared_prediction(toy, PLAN, seed=8, progress=stop)
    assert shared_prediction(toy, PLAN, seed=8).verdict == "predicts better"


# ---------------------------------------------------------------- names of features


def test_names_of_features(toy):
    dataset = toy.dataset("toy")
    assert feature_names(dataset, "soft", "raw") == tuple(f"feature_{number}" for number in range(12))
    assert len(feature_names(dataset, "soft", "latent")) == 4
    assert feature_names(dataset, "soft", "pca") == ()


@pytest.mark.parametrize("form", FORMATS)
def test_names_of_features_in_every_format(tmp_path, form):
    dataset = open_catalog(write_format(tmp_path / "toy", form)).dataset("toy")
    screen = shared_screen(dataset, "cells")
    for name in screen.representations:
        found = feature_names(dataset, "cells", name)
        # Those of anndata are counted, and an array has none.
        expected = 0 if form in STORED_FORMATS or form == "npy" else screen.representation(name).n_features
        assert len(found) == expected


@pytest.mark.parametrize("ending", ["h5ad", "zarr"])
def test_names_of_genes(tmp_path, ending):
    cells = toy_anndata()
    cells.var_names = [f"GENE{number}" for number in range(cells.n_vars)]
    write_anndata(tmp_path / f"cells.{ending}", cells)
    dataset = load_dataset(tmp_path / f"cells.{ending}")
    assert feature_names(dataset, "all", "X") == tuple(cells.var_names)
    assert feature_names(dataset, "all", "layers/scaled") == tuple(cells.var_names)
    assert feature_names(dataset, "all", "obsm/latent") == ()
