"""The view of a prediction, checked; the work behind it; its tables."""

import contextlib
import json
import threading
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import toy_predictions
import toys
import verdicts
from files import PAYLOADS
from test_view import HOSTILE
from toy_predictions import PAIRS_PLAN, PLAN, against, pairs, predicted, prediction

from explorer import predicted as page
from explorer.catalog import open_catalog
from explorer.errors import InputError
from explorer.keeping import Shared
from explorer.predicted import (
    MOST_LISTED,
    MOST_POINTS,
    TASKS,
    Kept,
    PredictView,
    Tried,
    better_simple,
    checked_plan,
    chosen_perturbation,
    extreme_tables,
    feature_table,
    file_stem,
    first_predict_view,
    first_sides,
    first_source,
    forest_table,
    is_pairs,
    mean_test,
    option_of_task,
    perturbation_options,
    perturbation_table,
    picked_name,
    predict_link,
    predict_link_warning,
    read_predict_view,
    recipes_predicted,
    score_table,
    scores_of,
    side_options,
    source_dataset,
    source_options,
    start_predicting,
    target_options,
    unbeaten,
    usual_plan,
    usual_source,
    with_task,
    written_json,
)
from explorer.work import Workshop

ASKED = {
    "task": "transfer", "dataset": "toy", "context": "alpha", "target": "raw", "source": "beta", "simple": "raw",
    "learned": "latent", "align": "none",
}  # fmt: skip
NAN = float("nan")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    # The usual context is what is known, so that the other one is predicted.
    changes = {"defaults/align": "none", "defaults/context": "beta"}
    return toys.write_catalog(tmp_path_factory.mktemp("predicted"), changes)


@pytest.fixture(scope="module")
def catalog(root):
    return open_catalog(root)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two datasets, of which the other has no representation of the same name but one."""
    folder = tmp_path_factory.mktemp("two")
    toys.write_catalog(folder, {"defaults/align": "none"})
    (folder / "toy").rename(folder / "own")
    kinds = {"representations/latent": None, "representations/latent-seed-1": None, "defaults": None}
    kinds["representations/other"] = {"kind": "learned", "source": "latent_{context}.parquet"}
    toys.write_catalog(folder, kinds)
    return open_catalog(folder)


@pytest.fixture(autouse=True)
def _own_workshop(monkeypatch):
    monkeypatch.setattr(page, "shared_workshop", Workshop())


# ---------------------------------------------------------------- the view


def test_nothing_asked_is_the_usual_plan(catalog):
    view, problems = read_predict_view({}, catalog)
    assert problems == ()
    assert view == PredictView(PLAN)
    assert usual_plan(catalog, "toy", "beta") == replace(PLAN, context="beta", source="alpha")


def test_link_there_and_back(catalog):
    plan = replace(PLAN, task="prior", learned="latent-seed-1", align="center")
    link = predict_link(plan, perturbation="GENE03", recipes="a.b.c")
    view, problems = read_predict_view(link, catalog)
    assert (view, problems) == (PredictView(plan, "GENE03", "a.b.c"), ())
    view, problems = read_predict_view(predict_link(PAIRS_PLAN), catalog)
    assert (view, problems) == (PredictView(PAIRS_PLAN), ())


def test_what_a_link_can_not_have_is_said_and_replaced(catalog):
    link = dict.fromkeys(("dataset", "context", "task", "target", "source", "simple", "learned", "align"), PAYLOADS[0])
    view, problems = read_predict_view({**link, "perturbation": ["GENE01", "GENE02"]}, catalog)
    assert view == PredictView(PLAN, "GENE01")
    assert len(problems) == 8
    assert all("; showing '" in text and "\n" not in text for text in problems)
    # Of pairs there is no source to be wrong.
    assert len(read_predict_view({**link, "task": "pairs"}, catalog)[1]) == 4


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: repr(value)[:20])
def test_whatever_a_browser_sends(catalog, value):
    names = ("dataset", "context", "task", "target", "source", "simple", "learned", "align")
    view, problems = read_predict_view({name: value for name in (*names, "perturbation", "recipes")}, catalog)
    # A list stands for its first name, which exists; that both sides are one is refused later, in a sentence.
    assert view.plan == (replace(PLAN, learned="raw") if value == ["raw", "latent"] else PLAN)
    assert all("\n" not in text for text in problems)
    assert predict_link(view.plan)["dataset"] == "toy"
    for name in names:
        with contextlib.suppress(InputError):
            checked_plan(catalog, **{**ASKED, name: value})
    name, notice = chosen_perturbation(catalog, predicted(), value)
    assert name in toy_predictions.NAMES
    assert "\n" not in notice


def test_tasks_have_a_name_each():
    assert list(TASKS.values()) == ["prior", "transfer", "pairs"]
    assert all(TASKS[option_of_task(task)] == task for task in TASKS.values())
    assert is_pairs("pairs")
    assert not is_pairs("transfer")
    assert not is_pairs(None)


def test_from_pairs_to_a_task_that_needs_a_source(catalog):
    assert with_task(catalog, PAIRS_PLAN, "transfer") == PLAN
    assert with_task(catalog, PLAN, "pairs") == PAIRS_PLAN


def test_controls_are_there_where_nothing_can_be_predicted(tmp_path):
    changes = {"contexts/beta": None, "representations": {"latent": toys.REPRESENTATIONS["latent"]}, "defaults": None}
    catalog = open_catalog(toys.write_catalog(tmp_path, changes))
    view, problems = read_predict_view({}, catalog)
    assert problems == ()
    assert (view.plan.task, view.plan.source, view.plan.target) == ("transfer", "alpha", "")
    assert target_options(catalog, view.plan) == ()
    assert usual_source(catalog, "toy", "alpha") == "alpha"


def test_sources_of_other_datasets(two):
    assert source_options(two, "own") == ("alpha", "beta", "toy/alpha", "toy/beta")
    assert source_dataset(two, "own", "beta").name == "own"
    assert source_dataset(two, "own", "toy/beta").name == "toy"
    assert source_dataset(two, "own", "nowhere/beta").name == "own"
    view, problems = read_predict_view({"dataset": "own", "source": "toy/beta", "learned": "other"}, two)
    assert problems == ()
    assert (view.plan.source, view.plan.simple, view.plan.learned) == ("toy/beta", "raw", "other")
    assert side_options(two, view.plan, "learned") == ("other", "raw")
    assert side_options(two, view.plan, "simple") == ("raw", "other")
    asked = {**ASKED, "dataset": "own", "context": "beta", "source": "toy/beta", "learned": "other"}
    assert checked_plan(two, **asked) == view.plan
    with pytest.raises(InputError, match="unknown learned representation 'latent'"):
        checked_plan(two, **{**asked, "learned": "latent"})


def test_menus_keep_what_was_chosen_where_it_can_be_had(two):
    plan = usual_plan(two, "own", "alpha")
    kept = Kept()
    assert first_source(two, plan, "alpha", kept=kept) == "beta"
    assert first_source(two, plan, "beta", kept=kept) == "alpha", "never the target's own context by itself"
    kept.keeper("source")("toy/beta")
    assert first_source(two, plan, "beta", kept=kept) == "toy/beta"
    kept.keeper("learned")("latent-seed-1")
    assert first_sides(two, plan, "beta", kept=kept).learned == "latent-seed-1"
    assert first_sides(two, plan, "toy/beta", kept=kept).learned == "other"
    for hostile in (PAYLOADS[0], None, 7):
        kept.keeper("source")(hostile)
        assert first_source(two, plan, "beta", kept=kept) == "alpha"
        assert first_sides(two, plan, hostile, kept=kept).simple == "raw"


def test_link_s_own_source_may_be_the_target_s_context(catalog):
    plan = replace(PLAN, task="prior", source="alpha")
    assert first_source(catalog, plan, "alpha", kept=Kept()) == "alpha"


def test_first_view_of_another_dataset(two):
    linked = PredictView(usual_plan(two, "own", "beta"), "GENE01", "a.b.c")
    assert first_predict_view("own", linked, two) is linked
    assert first_predict_view("toy", linked, two).plan.dataset == "toy"
    with pytest.raises(InputError, match="unknown dataset"):
        first_predict_view(PAYLOADS[0], linked, two)


def test_every_control_is_checked(catalog):
    assert checked_plan(catalog, **ASKED) == PLAN
    assert checked_plan(catalog, **{**ASKED, "task": "pairs", "source": None, "simple": 7}) == PAIRS_PLAN
    for name, kind in (
        ("dataset", "dataset"), ("task", "task"), ("context", "context"), ("target", "representation to predict"),
        ("source", "context to predict from"), ("simple", "simple representation"),
        ("learned", "learned representation"), ("align", "alignment"),
    ):  # fmt: skip
        for value in (PAYLOADS[0], None, ["alpha"]):
            with pytest.raises(InputError, match=f"unknown {kind}"):
                checked_plan(catalog, **{**ASKED, name: value})


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"source": "alpha"}, "can't be transferred to itself"),
        ({"task": "prior", "source": "alpha"}, "same cells"),
    ],
)
def test_plans_that_are_refused(catalog, changes, match):
    with pytest.raises(InputError, match=match):
        checked_plan(catalog, **{**ASKED, **changes})


def test_link_of_other_data_is_told():
    found = predicted()
    recipes = recipes_predicted(found.prediction)
    assert recipes == ".".join((12 * "a", 12 * "b", 12 * "c"))
    assert predict_link_warning(PredictView(PLAN, "", recipes), found) == ""
    assert predict_link_warning(PredictView(PLAN, "", ""), found) == ""
    assert predict_link_warning(PredictView(replace(PLAN, learned="other"), "", "x.y.z"), found) == ""
    assert "the data or the method changed since this link was made" in predict_link_warning(
        PredictView(PLAN, "GENE01", "x.y.z"), found
    )


def test_names_of_files():
    assert file_stem(PLAN) == "predicted-latent-against-raw-from-beta-toy-alpha"
    assert file_stem(PAIRS_PLAN) == "predicted-pairs-toy-alpha"


def test_plans_that_had_a_verdict_are_counted():
    tried = Tried()
    assert tried.add(predicted()) == 1
    assert tried.add(predicted()) == 1
    assert tried.add(predicted(plan=replace(PLAN, align="center"))) == 2
    assert tried.add(predicted(pairs())) == 2, "what was not tested can't be false"
    assert tried.add(predicted(plan=replace(PLAN, dataset="other"))) == 1


# ---------------------------------------------------------------- the work


def test_work_gives_the_prediction_and_what_it_hangs_on(catalog, monkeypatch):
    asked = toy_predictions.stand_in(monkeypatch)
    ticket = start_predicting(catalog, PLAN)
    assert ticket.wait(60)
    found = ticket.result
    assert set(asked) == {PLAN}
    assert found.plan == PLAN
    assert (found.passport.context, found.comparison.one.context) == ("alpha", "beta")
    assert start_predicting(catalog, PAIRS_PLAN).wait(60)
    assert start_predicting(catalog, PAIRS_PLAN).result.comparison is None


def test_conditions_of_a_source_in_another_dataset(two, monkeypatch):
    toy_predictions.stand_in(monkeypatch)
    ticket = start_predicting(two, replace(PLAN, dataset="own", source="toy/beta"))
    assert ticket.wait(60)
    one, other = ticket.result.comparison.one, ticket.result.comparison.other
    assert (one.dataset, one.context, other.dataset, other.context) == ("toy", "beta", "own", "alpha")


def test_why_there_is_nothing_is_one_sentence(catalog):
    ticket = start_predicting(catalog, replace(PLAN, align="nonsense"))
    assert ticket.wait(60)
    assert ticket.state == "failed"
    assert ticket.problem.count("\n") == 0
    assert "nonsense" in ticket.problem


def test_cancelled_work_stops(catalog, monkeypatch):
    go, begun = threading.Event(), threading.Event()

    def slow(progress):
        begun.set()
        go.wait(20)
        progress("never said", 0.5)
        return prediction()

    # Kept as the real one is, so that the page does not make it itself.
    kept = Shared()
    monkeypatch.setattr(
        page, "shared_prediction", lambda catalog, plan, *, seed, progress: kept.get(plan, lambda: slow(progress))
    )
    ticket = start_predicting(catalog, PLAN)
    assert begun.wait(20)
    ticket.cancel()
    go.set()
    assert ticket.wait(20)
    assert ticket.state == "cancelled"


def test_the_real_thing_on_a_toy(tmp_path):
    catalog = open_catalog(verdicts.write_catalog(tmp_path))
    ticket = start_predicting(catalog, PLAN)
    assert ticket.wait(60)
    assert ticket.problem == ""
    found = ticket.result
    # Modules of the toy have nothing in common between its contexts.
    assert found.prediction.verdict == "not shown"
    assert found.prediction.n_perturbations == 109
    assert forest_table(found.prediction)["label"][0] == "latent − raw"
    name, notice = chosen_perturbation(catalog, found, "")
    assert notice == ""
    assert feature_table(found.prediction, name).columns == ["feature", "measured", "simple", "learned"]
    written = json.loads(written_json(found))
    assert (written["verdict"], written["plan"]["source"]) == ("not shown", "beta")
    again = start_predicting(catalog, PLAN)
    assert again.is_finished, "the same plan is carried out once"
    assert again.result.prediction is found.prediction


def test_a_toy_of_which_too_little_is_known(catalog):
    ticket = start_predicting(catalog, PLAN)
    assert ticket.wait(60)
    assert ticket.result.prediction.verdict == "locked"
    assert forest_table(ticket.result.prediction).height == 0


# ---------------------------------------------------------------- tables


def test_forest():
    table = forest_table(prediction())
    assert table["kind"].to_list() == ["learned − simple", "baseline", "placebo", "placebo"]
    assert table["label"].to_list()[0] == "latent − raw"
    assert table.row(0, named=True)["low"] == pytest.approx(0.03)
    # A test against the simple one among the others is not drawn twice.
    twice = prediction(tests=(against("raw", "simple", 0.05, 0.02), against("mean", "baseline", 0.3, 0.05)))
    assert forest_table(twice)["label"].to_list() == ["latent − raw", "latent − mean"]
    assert forest_table(prediction(primary=None, tests=())).height == 0


def test_scores_keep_the_order_of_the_prediction():
    table = score_table(prediction())
    assert table.columns == ["predictor", "what it is", "ρ⊥", "ρ⊥, neighbours", "skill", "PDS", "MAE", "n"]
    assert table["predictor"].to_list()[:2] == ["latent", "raw"]
    assert table["what it is"].to_list()[0] == "learned, ridge"


def test_what_is_not_beaten():
    tests = (against("mean", "baseline", 0.0, 0.1), against("a", "placebo", 0.05, 0.1), against("b", "placebo", 0, 0.1))
    found = prediction(tests=tests)
    assert [test.against for test in unbeaten(found, "placebo")] == ["b", "a"]
    assert [test.against for test in unbeaten(found, "baseline")] == ["mean"]
    assert mean_test(found) is tests[0]
    assert mean_test(prediction(tests=tests[1:])) is None


def test_a_better_simple_representation():
    assert better_simple(prediction()) is None
    assert better_simple(pairs()) is None, "the larger single is no rival of itself"
    lines = [
        ("latent", "learned", "ridge", True, 0.3), ("raw", "simple", "ridge", True, 0.2),
        ("one", "simple", "ridge", False, 0.25), ("two", "simple", "ridge", False, 0.28),
        ("none", "simple", "ridge", False, NAN),
    ]  # fmt: skip
    scores = toy_predictions.scores(*((*line, NAN, NAN, NAN, NAN, 60) for line in lines))
    assert better_simple(prediction(scores=scores)) == ("two", 0.28)
    assert better_simple(prediction(scores=scores[:2])) is None
    assert better_simple(prediction(scores=scores[:0])) is None


def test_best_and_worst():
    table = perturbation_table(prediction())
    assert table["perturbation"].to_list()[:2] == ["GENE00", "GENE01"]
    assert table["perturbation"].to_list()[-1] == "GENE59", "what has no score comes last"
    best, worst = extreme_tables(prediction())
    assert best["perturbation"].to_list()[:2] == ["GENE00", "GENE01"]
    assert worst["perturbation"].to_list()[:2] == ["GENE58", "GENE57"]
    assert not set(best["perturbation"]) & set(worst["perturbation"])
    names = tuple(f"P{number}" for number in range(300))
    assert [table.height for table in extreme_tables(prediction(names=names))] == [MOST_LISTED, MOST_LISTED]


def test_lists_of_one_and_of_none():
    one = prediction(names=("A", "B"))
    best, worst = extreme_tables(one)
    assert (best["perturbation"].to_list(), worst.height) == (["A"], 0)
    none = replace(one, perturbations=one.perturbations[:0])
    assert [table.height for table in extreme_tables(none)] == [0, 0]


def test_no_column_of_ceilings_where_none_is_known():
    found = prediction()
    without = replace(found, perturbations=found.perturbations.with_columns(pl.lit(NAN).alias("ceiling")))
    assert "ceiling" in extreme_tables(found)[0].columns
    assert "ceiling" not in extreme_tables(without)[0].columns


def test_what_was_selected_in_a_list():
    best, _ = extreme_tables(prediction())
    assert picked_name(best[:1]) == "GENE00"
    for nothing in (best[:0], None, [], [{"perturbation": "GENE00"}], pl.DataFrame({"other": [1]})):
        assert picked_name(nothing) == ""


def test_perturbation_to_draw(catalog, tmp_path):
    found = predicted()
    assert chosen_perturbation(catalog, found, "GENE07") == ("GENE07", "")
    # No query in the card: the one predicted neither well nor badly.
    assert chosen_perturbation(catalog, found, "") == ("GENE29", "")
    name, notice = chosen_perturbation(catalog, found, "gene07")
    assert name == "GENE29"
    assert notice.startswith("unknown predicted perturbation 'gene07': did you mean 'GENE07'")
    assert notice.endswith("; showing 'GENE29' instead")
    for hostile in (PAYLOADS[0], 7, ["GENE07"]):
        name, notice = chosen_perturbation(catalog, found, hostile)
        assert name == "GENE29"
        assert "\n" not in notice
    own = open_catalog(toys.write_catalog(tmp_path, {"defaults/query": "GENE05"}))
    assert chosen_perturbation(own, found, "") == ("GENE05", "")
    empty = replace(found.prediction, perturbations=found.prediction.perturbations[:0])
    assert chosen_perturbation(catalog, predicted(empty), "GENE07") == ("", "")
    none = found.prediction.perturbations.with_columns(pl.lit(NAN).alias("learned"))
    assert chosen_perturbation(catalog, predicted(replace(found.prediction, perturbations=none)), "")[0] == "GENE00"


def test_perturbations_to_choose_from_are_sorted():
    assert perturbation_options(prediction(names=("B", "A", "C"))) == ["A", "B", "C"]


def test_features_of_one_perturbation():
    found = prediction()
    table = feature_table(found, "GENE02")
    assert table["feature"].to_list() == list(toy_predictions.FEATURES)
    np.testing.assert_array_equal(table["measured"], found.truth[2])
    np.testing.assert_array_equal(table["learned"], found.predicted["learned"][2])
    assert scores_of(found, "GENE00")["learned"] == pytest.approx(0.9)
    assert np.isnan(scores_of(found, "GENE59")["learned"])


def test_many_features_are_drawn_at_random_the_same_each_time():
    found = prediction(n_features=MOST_POINTS + 500)
    table = feature_table(found, "GENE02")
    assert table.height == MOST_POINTS
    assert table["feature"][0].startswith("feature ")
    assert table.equals(feature_table(found, "GENE02"))
    rows = [int(name.removeprefix("feature ")) - 1 for name in table["feature"]]
    assert rows == sorted(rows)
    np.testing.assert_array_equal(table["measured"], found.truth[2][rows])


def test_pairs():
    found = pairs()
    assert forest_table(found).height == 0
    assert score_table(found)["predictor"].to_list()[:2] == ["sum of the singles", "larger single alone"]
    assert recipes_predicted(found) == 12 * "a"
    assert [table.height for table in extreme_tables(found)] == [2, 2], "one of the five has no score"
    whole = replace(found, perturbations=found.perturbations.with_columns(pl.col("learned").fill_nan(0.0)))
    assert [table.height for table in extreme_tables(whole)] == [3, 2], "none is in neither list"
