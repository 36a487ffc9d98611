"""Predictions of unseen perturbations: against loops, on planted truth, and the words in their order."""

import hashlib
import itertools
import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from builders import map_of as built_map
from builders import names_of

from explorer.crossfit import cross_predict
from explorer.errors import InputError
from explorer.folds import block_sets, group_folds
from explorer.known import known_pairs, pool_units
from explorer.predict import (
    PredictionTest,
    block_means,
    common_names,
    decide_prediction,
    jackknife_half_width,
    predict_unseen,
)
from explorer.prediction_scores import residual_correlation
from explorer.predictors import ridge
from explorer.relationships import GeneSets, Relationships
from explorer.targets import Target

# t(.975; 19)
T_19 = 2.093024054408263


def map_of(profiles, *args, **options):
    """Build a map whose values have a digest of their own, as what is read from files has."""
    made = built_map(profiles, *args, **options)
    source = hashlib.sha256(np.ascontiguousarray(made.profiles).tobytes()).hexdigest()
    return replace(made, recipe=replace(made.recipe, source=source))


def groups(n, *, size=3, n_grouped=None):
    """Groups of neighbours in the order of names; the last ones are in none."""
    names = names_of(n)
    last = n if n_grouped is None else n_grouped
    sets = {f"G{start:03d}": names[start : start + size] for start in range(0, last - size + 1, size)}
    return known_pairs(GeneSets("toy", sets), names)


def planted(
    n=90, *, n_features=24, n_factors=4, size=3, noise=0.5, signal=1.0, poor=0.0, seed=0, control=True, halves=False
):
    """Target, a prior that says little of it, and one that says much: factors shared within groups, plus noise."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(n, n_factors))
    factors = factors + np.repeat(rng.normal(size=(-(-n // size), n_factors)), size, axis=0)[:n]
    effect = factors @ rng.normal(size=(n_factors, n_features)) + 2.0
    target = effect + noise * rng.normal(size=effect.shape)
    good = signal * factors + noise * rng.normal(size=factors.shape)
    bad = poor * factors + rng.normal(size=factors.shape)
    repeats = tuple(effect + noise * rng.normal(size=effect.shape) for _ in range(2)) if halves else None
    made = Target(
        "raw of toy", map_of(target), control=np.zeros(n_features) if control else None, halves=repeats,
        features=tuple(f"f{number}" for number in range(n_features)),
    )  # fmt: skip
    return made, map_of(bad, representation="bad"), map_of(good, representation="good")


def rho_of(found, name):
    return found.scores.filter(pl.col("name") == name)["rho"][0]


# ---------------------------------------------------------------- a loop


def naive_prediction(target, prior, folds, control):
    """Predict each fold by ridge, and score it perturbation by perturbation."""
    profiles = np.asarray(target, dtype=np.float64)
    rho = np.full(len(profiles), np.nan)
    for fold in range(folds.n_folds):
        training, tested = folds.training(fold), folds.tested(fold)
        mean = profiles[training].mean(axis=0)
        predicted = ridge(np.asarray(prior, dtype=np.float64)[training], profiles[training] - mean,
                          np.asarray(prior, dtype=np.float64)[tested])  # fmt: skip
        rho[tested] = residual_correlation(predicted, profiles[tested] - mean, shared=mean - control)
    return np.where(np.isnan(rho), 0, rho)


def naive_mean(values, block):
    return np.mean([values[block == number].mean() for number in np.unique(block)])


def test_estimate_and_jackknife_as_a_loop_would():
    target, bad, good = planted(60, seed=3)
    known = groups(60)
    found = predict_unseen(target, bad, good, known=[known], seed=1)
    folds = group_folds(60, pool_units([known]), [known], seed=1)
    control = target.control
    differences = [naive_prediction(target.profiles.profiles, made.profiles, folds, control) for made in (good, bad)]
    assert found.primary.estimate == pytest.approx(naive_mean(differences[0] - differences[1], folds.block), abs=1e-8)
    assert found.perturbations["learned"].to_numpy() == pytest.approx(differences[0], abs=1e-8)
    assert rho_of(found, "bad") == pytest.approx(naive_mean(differences[1], folds.block), abs=1e-8)

    sets = block_sets(folds.n_blocks, seed=1)
    left_out = []
    for number in range(20):
        rows = np.flatnonzero(sets[folds.block] != number)
        part = replace(
            folds, fold=folds.fold[rows], block=np.unique(folds.block[rows], return_inverse=True)[1],
            buffered=folds.buffered[:, rows], n_blocks=len(np.unique(folds.block[rows])),
        )  # fmt: skip
        one, other = (
            naive_prediction(target.profiles.profiles[rows], made.profiles[rows], part, control) for made in (good, bad)
        )
        left_out.append(naive_mean(one - other, part.block))
    left_out = np.array(left_out)
    half_width = T_19 * math.sqrt(19 / 20 * ((left_out - left_out.mean()) ** 2).sum())
    assert found.primary.jackknife == pytest.approx(half_width, rel=1e-6)
    assert found.primary.half_width == max(found.primary.jackknife, found.primary.sign_flip)
    assert found.primary.n_blocks == 20


def test_jackknife_formula():
    assert jackknife_half_width(np.zeros(20)) == 0
    values = np.arange(20.0)
    assert jackknife_half_width(values) == pytest.approx(T_19 * math.sqrt(0.95 * ((values - 9.5) ** 2).sum()))
    # Of a mean of independent values it is the usual standard error.
    sample = np.random.default_rng(0).normal(size=20)
    without = (sample.sum() - sample) / 19
    assert jackknife_half_width(without) == pytest.approx(T_19 * sample.std(ddof=1) / math.sqrt(20))
    assert math.isnan(jackknife_half_width([0.3]))


def test_block_means():
    assert block_means(np.array([1.0, 3, 5]), np.array([0, 0, 1]), 2).tolist() == [2, 5]


# ---------------------------------------------------------------- planted truth


def test_a_prior_that_carries_the_truth_predicts_better():
    target, bad, good = planted(halves=True)
    shuffled = map_of(good.profiles[np.random.default_rng(0).permutation(90)], representation="good shuffled")
    found = predict_unseen(target, bad, good, known=[groups(90)], placebos={"good shuffled": shuffled})
    assert found.verdict == "predicts better"
    assert "good − bad: +" in found.reason
    assert "every baseline and every placebo are beaten" in found.reason
    assert (found.primary.against, found.primary.kind) == ("bad", "simple")
    assert [(test.against, test.kind) for test in found.tests] == [
        ("mean", "baseline"), ("no change", "baseline"), ("good shuffled", "placebo"),
    ]  # fmt: skip
    assert rho_of(found, "good") > 0.5
    assert abs(rho_of(found, "good shuffled")) < 0.15
    assert rho_of(found, "mean") == rho_of(found, "no change") == 0
    assert found.ceiling > rho_of(found, "good")
    assert found.ceiling_note == ""
    assert (found.n_perturbations, found.n_blocks, found.task) == (90, 30, "prior")
    assert found.features[0] == "f0"
    assert found.truth.shape == found.predicted["learned"].shape == (90, 24)
    assert set(found.predicted) == {"simple", "learned"}
    table = found.perturbations
    assert table.columns == [
        "perturbation", "fold", "block", "groups", "simple", "learned", "difference", "magnitude", "ceiling",
    ]  # fmt: skip
    assert table["groups"][0] == "G000"
    assert found.scores.columns == [
        "name", "kind", "method", "judged", "rho", "rho_neighbors", "skill", "discrimination", "mae", "n",
    ]  # fmt: skip
    scores = {line["name"]: line for line in found.scores.iter_rows(named=True)}
    assert scores["mean"]["skill"] == 0
    assert scores["mean"]["discrimination"] == 0.5
    assert scores["good"]["skill"] > 0.3 > scores["no change"]["skill"]
    assert scores["good"]["discrimination"] > 0.8
    assert math.isnan(scores["mean"]["rho_neighbors"])
    assert scores["good"]["rho_neighbors"] > 0.3


def test_a_prior_that_knows_nothing_is_not_shown():
    target, bad, _ = planted()
    other = map_of(np.random.default_rng(9).normal(size=(90, 4)), representation="noise")
    found = predict_unseen(target, bad, other, known=[groups(90)])
    assert found.verdict == "not shown"
    assert abs(rho_of(found, "noise")) < 0.15


def test_predicted_and_measured_are_those_that_are_scored():
    target, bad, good = planted(60)
    found = predict_unseen(target, bad, good, known=[groups(60)])
    folds = group_folds(60, pool_units([groups(60)]), [groups(60)])
    profiles = target.profiles.profiles.astype(np.float64)
    for row in (0, 17, 59):
        mean = profiles[folds.training(int(folds.fold[row]))].mean(axis=0)
        assert found.truth[row] == pytest.approx(profiles[row] - mean, abs=1e-5)
        rho = residual_correlation(
            found.predicted["learned"][[row]].astype(float), found.truth[[row]].astype(float), shared=mean
        )
        assert rho[0] == pytest.approx(found.perturbations["learned"][row], abs=1e-5)


def test_turned_round_only_the_sign_changes():
    target, bad, good = planted(60, poor=0.3)
    known = [groups(60)]
    one, other = predict_unseen(target, bad, good, known=known), predict_unseen(target, good, bad, known=known)
    assert (one.verdict, other.verdict) == ("predicts better", "predicts worse")
    assert other.primary.estimate == pytest.approx(-one.primary.estimate)
    assert other.primary.half_width == pytest.approx(one.primary.half_width)
    assert other.primary.p == one.primary.p


def test_a_placebo_as_good_as_the_learned_one_is_named():
    target, bad, good = planted(seed=5)
    wells = good.profiles + 0.01 * np.random.default_rng(1).normal(size=good.profiles.shape)
    found = predict_unseen(replace(target, wells=wells), bad, good, known=[groups(90)])
    assert found.verdict == "not shown"
    assert "the placebo 'well position' is not beaten" in found.reason
    assert found.tests[-1].against == "well position"


def test_a_better_simple_representation_is_named():
    target, bad, good = planted(poor=0.2, noise=0.8, seed=2)
    best = map_of(target.profiles.profiles[:, :12], representation="best")
    found = predict_unseen(target, bad, good, known=[groups(90)], rivals={"best": best})
    assert found.verdict == "predicts better"
    assert "bad is not the best simple one: best scores ." in found.reason
    line = found.scores.filter(pl.col("name") == "best").row(0, named=True)
    assert (line["kind"], line["judged"]) == ("simple", False)
    assert "best" not in [test.against for test in found.tests]
    alone = predict_unseen(target, bad, good, known=[groups(90)])
    assert "is not the best" not in alone.reason
    assert alone.primary == found.primary


def test_a_copy_is_a_baseline_and_is_said_where_it_does_as_well():
    target, bad, good = planted(noise=0.3)
    noise = 0.2 * target.profiles.profiles.std() * np.random.default_rng(1).normal(size=target.profiles.profiles.shape)
    copied = map_of(target.profiles.profiles + noise, representation="raw")
    found = predict_unseen(target, bad, good, known=[groups(90)], copy=copied, task="transfer")
    assert found.verdict == "not shown"
    assert "the baseline 'copy' is not beaten" in found.reason
    assert 0.9 < rho_of(found, "copy") < 0.99
    with pytest.raises(InputError, match=r"a copy takes the features of the target, 24, and .raw. of .* has 5"):
        predict_unseen(target, bad, good, known=[groups(90)], copy=map_of(np.ones((90, 5))))


def test_the_target_under_another_name_is_refused():
    target, bad, good = planted(60)
    profiles = target.profiles.profiles
    nearly = profiles * 3 + 7 + 0.01 * np.random.default_rng(0).normal(size=profiles.shape)
    same = replace(good, recipe=replace(good.recipe, source=target.profiles.recipe.source))
    for given, why in (
        ({"learned": map_of(nearly, representation="other")}, r"'other' of 'all' .* correlate by 1\.000 \(median\)"),
        ({"simple": map_of(nearly[:50], names_of(60)[:50], representation="other")}, "'other' of 'all' holds the very"),
        ({"learned": same}, "'good' of 'all' .* both were read from the same values with the same labels"),
        # Where the priors hide it, since they are of other features, the copy shows it.
        ({"copy": map_of(nearly, representation="copied")}, "'copied' of 'all' holds the very profiles of raw of toy"),
    ):
        with pytest.raises(InputError, match=f"{why}.*choose another context to predict from"):
            predict_unseen(target, **{"simple": bad, "learned": good, **given}, known=[groups(60)])


def test_two_features_are_too_few_to_know_the_same_cells_by():
    target, bad, _ = planted(60, n_features=2)
    other = map_of(np.random.default_rng(3).normal(size=(60, 2)), representation="two")
    assert predict_unseen(target, bad, other, known=[groups(60)]).n_perturbations == 60


def test_locked_shows_all_points_and_tests():
    target, bad, good = planted()
    found = predict_unseen(target, bad, good, known=[groups(90)], locked="saw target: good was made from it")
    assert (found.verdict, found.reason) == ("locked", "saw target: good was made from it")
    assert found.primary.excludes_zero
    assert found.tests


def test_everything_repeats():
    target, bad, good = planted(60)
    one = predict_unseen(target, bad, good, known=[groups(60)], seed=4)
    again = predict_unseen(target, bad, good, known=[groups(60)], seed=4)
    assert one.primary == again.primary
    assert one.scores.equals(again.scores)


# ---------------------------------------------------------------- what is undefined


def test_what_is_undefined_counts_zero_in_differences():
    target, _, good = planted(60)
    known = [groups(60)]
    constant = map_of(np.tile([1.0, 2.0], (60, 1)), representation="constant")
    found = predict_unseen(target, constant, good, known=known)
    # It predicts the mean throughout, which has no correlation with anything.
    assert found.perturbations["simple"].is_nan().all()
    assert found.perturbations["difference"].to_numpy() == pytest.approx(found.perturbations["learned"].to_numpy())
    assert rho_of(found, "constant") == 0
    assert found.primary.estimate == pytest.approx(rho_of(found, "good"))
    baseline = next(test for test in found.tests if test.against == "mean")
    assert baseline.estimate == pytest.approx(found.primary.estimate)


def test_two_that_say_nothing_are_underpowered():
    target, _, _ = planted(60)
    one, other = (map_of(np.full((60, 2), number), representation=name) for number, name in ((1, "a"), (2, "b")))
    other = replace(other, recipe=replace(other.recipe, source="other"))
    found = predict_unseen(target, one, other, known=[groups(60)])
    assert found.verdict == "underpowered"
    assert found.reason.startswith("the two differ on 0 of 20 units, and it takes 6 for a verdict")
    assert found.perturbations["difference"].is_nan().all()


def test_without_controls_the_mean_profile_is_what_is_shared():
    target, bad, good = planted(60, control=False)
    with_zero = replace(target, control=np.zeros(24))
    known = [groups(60)]
    found, expected = (predict_unseen(made, bad, good, known=known) for made in (target, with_zero))
    assert found.primary == expected.primary
    assert "no change" not in found.scores["name"].to_list()


def test_no_ceiling_without_replicates_or_where_halves_do_not_agree():
    target, bad, good = planted(60)
    found = predict_unseen(target, bad, good, known=[groups(60)])
    assert math.isnan(found.ceiling)
    assert "no replicates" in found.ceiling_note
    rng = np.random.default_rng(0)
    noise = replace(target, halves=tuple(rng.normal(size=(60, 24)) for _ in range(2)))
    found = predict_unseen(noise, bad, good, known=[groups(60)])
    assert math.isnan(found.ceiling)
    assert "too little to say what a repeat would allow" in found.ceiling_note


# ---------------------------------------------------------------- bad input


def test_without_groups_the_verdict_is_locked():
    target, bad, good = planted()
    found = predict_unseen(target, bad, good, known=[])
    assert found.verdict == "locked"
    assert "relatives of a tested one may train for it" in found.reason
    assert found.n_blocks == 90
    assert found.primary.estimate > 0


def test_few_perturbations_are_points():
    target, bad, good = planted(45)
    found = predict_unseen(target, bad, good, known=[groups(45)])
    assert (found.verdict, found.primary, found.tests) == ("underpowered", None, ())
    assert found.reason.startswith("shown, not tested: 45 perturbations, and it takes 50 for a verdict")
    assert rho_of(found, "good") > 0.3


def test_few_blocks_are_points():
    target, bad, good = planted(72, size=6)
    found = predict_unseen(target, bad, good, known=[groups(72, size=6)])
    assert found.verdict == "underpowered"
    assert "12 units of related perturbations, and it takes 20" in found.reason


def test_a_prior_of_half_of_the_perturbations():
    target, bad, good = planted(120)
    half = good.restricted_to(names_of(120)[::2])
    found = predict_unseen(target, bad, half, known=[groups(120)])
    assert found.n_perturbations == 60
    assert any(
        note == "60 of 120 perturbations of the target (50 %) have no profile in good and were left out: nothing is "
        "said of them" for note in found.notes
    )  # fmt: skip
    assert found.perturbations["perturbation"].to_list() == list(half.names)


def test_groups_are_those_of_the_perturbations_predicted():
    target, bad, good = planted(120)
    half = good.restricted_to(names_of(120)[:60])
    found = predict_unseen(target, bad, half, known=[groups(120)])
    expected = predict_unseen(target, bad, half, known=[replace(groups(60), name="toy")])
    assert found.primary == expected.primary
    assert found.n_blocks == 20


def test_hardly_any_name_in_common():
    target, bad, good = planted(60)
    strangers = map_of(good.profiles, [f"x{number}" for number in range(60)], representation="other")
    with pytest.raises(InputError, match="raw of toy and other share no perturbation, expected 10 or more"):
        predict_unseen(target, bad, strangers, known=[])
    lower = map_of(good.profiles, [name.lower() for name in names_of(60)], representation="lower")
    with pytest.raises(InputError, match="the nearest are 'P0000' and 'p0000'"):
        predict_unseen(target, bad, lower, known=[])
    first, last = bad.restricted_to(names_of(60)[:32]), good.restricted_to(names_of(60)[28:])
    with pytest.raises(InputError, match="4 perturbations have a profile in raw of toy, bad and good, expected 10"):
        predict_unseen(target, first, last, known=[])
    assert common_names(target, bad, good) == (names_of(60), [])


def test_a_group_of_nearly_all_leaves_nothing_to_train_on():
    target, bad, good = planted(60)
    names = names_of(60)
    known = known_pairs(GeneSets("toy", {"most": names[:30], "rest": names[20:50], "last": names[40:]}), names)
    with pytest.raises(InputError, match="share a group with"):
        predict_unseen(target, bad, good, known=[known])


def test_where_all_pairs_are_known_nothing_is_left_to_train_on():
    target, bad, good = planted(60)
    names = names_of(60)
    every = Relationships("all", {name: frozenset(names) - {name} for name in names}, 60 * 59 // 2)
    with pytest.raises(InputError, match=r"may train for the .* of fold 1, since the others share a group with them"):
        predict_unseen(target, bad, good, known=[known_pairs(every, names)])


def test_against_itself():
    target, bad, _ = planted(60)
    with pytest.raises(InputError, match="'bad' can't be compared with itself"):
        predict_unseen(target, bad, bad, known=[groups(60)])


def test_a_prior_that_is_not_finite():
    target, bad, good = planted(60)
    broken = np.array(good.profiles)
    broken[3, 0] = np.nan
    with pytest.raises(InputError, match="'broken' has values that are NaN or infinite"):
        predict_unseen(target, bad, map_of(broken, representation="broken"), known=[groups(60)])


def test_a_placebo_that_lacks_perturbations_predicts_their_mean():
    target, bad, good = planted(60)
    few = map_of(np.random.default_rng(1).normal(size=(50, 3)), names_of(50), representation="few")
    found = predict_unseen(target, bad, good, known=[groups(60)], placebos={"few": few})
    assert "few has no profile of 10 perturbations, which it predicts as the mean" in found.notes


def test_a_wide_prior_is_turned_onto_principal_axes(monkeypatch):
    from explorer import predict

    monkeypatch.setattr(predict, "MOST_PRIOR", 8)
    target, bad, good = planted(60)
    wide = map_of(good.profiles @ np.random.default_rng(0).normal(size=(4, 40)) * 1.0, representation="wide")
    found = predict_unseen(target, bad, wide, known=[groups(60)])
    assert any("wide was turned onto its first 8 principal axes of 40 features" in note for note in found.notes)
    assert rho_of(found, "wide") > 0.4


def test_progress_is_told_and_may_cancel():
    target, bad, good = planted(60)
    told = []
    predict_unseen(target, bad, good, known=[groups(60)], progress=lambda what, share: told.append(share))
    assert told == sorted(told)
    assert told[-1] == 1

    class Stopped(Exception):
        pass

    def stop(what, share):
        if share > 0.3:
            raise Stopped

    with pytest.raises(Stopped):
        predict_unseen(target, bad, good, known=[groups(60)], progress=stop)


# ---------------------------------------------------------------- the words


def word(primary=None, *tests, locked="", n=60, n_blocks=30):
    return decide_prediction(
        primary, tests, locked=locked, n_perturbations=n, n_blocks=n_blocks, names=("raw", "latent")
    )


def difference(estimate, width=0.05, *, kind="simple", against="raw", n_discordant=30):
    return PredictionTest(against, kind, estimate, width, width / 2, 0.01, 30, n_discordant)


def test_words_in_their_order():
    placebo = difference(0.2, kind="placebo", against="noise")
    level = difference(0.01, kind="placebo", against="wells")
    worse_level = difference(-0.2, kind="placebo", against="layout")
    assert word(difference(-0.2), locked="saw target")[0] == "locked"
    assert word(None, n=49)[0] == "underpowered"
    assert word(None, n_blocks=19)[0] == "underpowered"
    assert word(difference(0.2, n_discordant=5))[0] == "underpowered"
    assert word(difference(-0.2), level)[0] == "predicts worse"
    assert word(difference(0.04), level)[0] == "not shown"
    assert "includes 0" in word(difference(0.04))[1]
    assert word(difference(0.2), placebo, level, worse_level) == (
        "not shown",
        "correlation beyond the mean effect, latent − raw: +.200 (+.150 to +.250) over 30 units, but the placebo "
        "'layout' is not beaten: latent − placebo −.200 (−.250 to −.150)",
    )
    assert word(difference(0.2), placebo) == (
        "predicts better",
        "correlation beyond the mean effect, latent − raw: +.200 (+.150 to +.250) over 30 units, and every placebo is "
        "beaten",
    )
    copy = difference(0.01, kind="baseline", against="copy")
    assert word(difference(0.2), placebo, copy) == (
        "not shown",
        "correlation beyond the mean effect, latent − raw: +.200 (+.150 to +.250) over 30 units, but the baseline "
        "'copy' is not beaten: latent − baseline +.010 (−.040 to +.060)",
    )
    mean = difference(0.3, kind="baseline", against="mean")
    assert word(difference(0.2), mean, placebo)[1].endswith("and every baseline and every placebo are beaten")
    assert word(difference(0.2))[1].endswith("though no placebo was run")


@pytest.mark.parametrize(("estimate", "width"), list(itertools.product((-0.2, 0, 0.2), (0.05, 0.3))))
def test_the_interval_agrees_with_the_word(estimate, width):
    test = difference(estimate, width)
    assert (test.low, test.high) == (estimate - width, estimate + width)
    assert test.excludes_zero == (test.low > 0 or test.high < 0)


def test_cross_prediction_is_what_is_shown():
    target, bad, good = planted(60)
    known = groups(60)
    found = predict_unseen(target, bad, good, known=[known])
    folds = group_folds(60, pool_units([known]), [known])
    run = cross_predict({"good": good.profiles}, target.profiles.profiles, folds, control=target.control)
    assert found.perturbations["learned"].to_numpy() == pytest.approx(run.rho["good"])
    assert found.share_kept == pytest.approx(folds.share_kept.mean())
