"""Folds, scores and the jackknife, against a loop that fits everything anew."""

import numpy as np
import pytest
from builders import names_of

from explorer.crossfit import cross_predict
from explorer.errors import InputError
from explorer.folds import Folds, block_sets, group_folds
from explorer.known import GIVEN, KnownPairs, pool_units
from explorer.prediction_scores import discrimination, mean_absolute_error, residual_correlation, skill
from explorer.predictors import nearest_neighbors, ridge, ridge_training

NONE = np.empty(0, dtype=np.intp)
N, N_FEATURES = 90, 12


def design(seed=0, n=N):
    """Folds of overlapping groups, and sets of their blocks."""
    rng = np.random.default_rng(seed)
    groups = {f"g{place}": np.sort(rng.choice(n, size=rng.integers(2, 6), replace=False)) for place in range(n // 4)}
    source = KnownPairs("source", names_of(n), NONE, NONE, groups, GIVEN, 0)
    folds = group_folds(n, pool_units([source]), [source])
    return folds, block_sets(folds.n_blocks, n_sets=6)


def planted(seed=0, n=N):
    """Two representations of a common cause, one of nothing, one wider than its rows, and profiles."""
    rng = np.random.default_rng(seed)
    cause = rng.normal(size=(n, 4))
    target = cause @ rng.normal(size=(4, N_FEATURES)) + rng.normal(size=(n, N_FEATURES)) + 3
    priors = {
        "close": cause + 0.3 * rng.normal(size=(n, 4)),
        "far": cause + 2 * rng.normal(size=(n, 4)),
        "noise": rng.normal(size=(n, 3)),
        "wide": cause @ rng.normal(size=(4, 2 * n)) + rng.normal(size=(n, 2 * n)),
    }
    return priors, target, rng.normal(size=N_FEATURES)


def naive_rho(prior, target, control, folds, gone):
    """Leave rows out, then go through the folds as if they had never been there."""
    found = np.full(len(target), np.nan)
    for fold in range(folds.n_folds):
        training = [i for i in folds.training(fold) if not gone[i]]
        tested = [i for i in folds.tested(fold) if not gone[i]]
        mean = target[training].mean(axis=0)
        predicted = ridge(prior[training], target[training], prior[tested])
        found[tested] = residual_correlation(predicted, target[tested] - mean, shared=mean - control)
    return found


def test_every_score_is_that_of_a_loop_over_folds_and_sets():
    folds, sets = design()
    priors, target, control = planted()
    copy = target + np.random.default_rng(5).normal(size=target.shape)
    found = cross_predict(
        priors, target, folds, control=control, sets=sets, fixed={"copy": copy, "no change": control},
        kept=("close", "copy"), neighbors=("far",),
    )  # fmt: skip
    nobody = np.zeros(N, dtype=bool)
    for name, prior in priors.items():
        np.testing.assert_allclose(found.rho[name], naive_rho(prior, target, control, folds, nobody), atol=1e-9)
        for place in range(6):
            gone = sets[folds.block] == place
            np.testing.assert_array_equal(found.left_out_rows[place], gone)
            expected = naive_rho(prior, target, control, folds, gone)
            np.testing.assert_allclose(found.left_out[name][place], expected, atol=1e-9)
    truth, predicted = np.zeros_like(target), {name: np.zeros_like(target) for name in ("close", "copy", "far")}
    for fold in range(folds.n_folds):
        training, tested = folds.training(fold), folds.tested(fold)
        mean = target[training].mean(axis=0)
        truth[tested] = target[tested] - mean
        predicted["copy"][tested] = copy[tested] - mean
        predicted["close"][tested] = ridge(priors["close"][training], target[training], priors["close"][tested])
        near = nearest_neighbors(
            priors["far"][training], target[training], priors["far"][tested], blocks=folds.block[training]
        )
        rho = residual_correlation(near, truth[tested], shared=mean - control)
        np.testing.assert_allclose(found.rho_neighbors["far"][tested], rho, atol=1e-12)
        np.testing.assert_allclose(found.means[fold], mean)
        np.testing.assert_allclose(found.shared[fold], mean - control)
        penalty = ridge_training(priors["close"][training], target[training]).fit().penalty
        assert found.penalty["close"][fold] == penalty
        for name in ("close", "copy"):
            scores = discrimination(predicted[name][tested], truth[tested])
            np.testing.assert_allclose(found.discrimination[name][tested], scores)
    np.testing.assert_allclose(found.truth, truth, rtol=1e-6)
    for name in ("close", "copy"):
        np.testing.assert_allclose(found.predicted[name], predicted[name], rtol=1e-5, atol=1e-6)
        assert found.skill[name] == pytest.approx(skill(predicted[name], truth))
        np.testing.assert_allclose(found.mae[name], mean_absolute_error(predicted[name], truth))
    assert set(found.predicted) == {"close", "copy"}
    assert set(found.rho_neighbors) == {"far"}
    assert set(found.penalty) == set(priors)
    assert set(found.rho) == {*priors, "copy", "no change", "mean"}


def test_the_mean_and_no_change_say_nothing_beyond_what_is_shared():
    folds, sets = design()
    _, target, control = planted()
    found = cross_predict({}, target, folds, control=control, sets=sets, fixed={"no change": control})
    for name in ("mean", "no change"):
        assert np.isnan(found.rho[name]).all()
        assert np.isnan(found.left_out[name]).all()
    assert found.skill["mean"] == 0
    assert found.skill["no change"] < 0
    np.testing.assert_array_equal(found.discrimination["mean"], np.full(N, 0.5))


def test_fixed_profiles_are_scored_again_without_each_set():
    folds, sets = design()
    _, target, control = planted()
    copy = target + np.random.default_rng(5).normal(size=target.shape)
    found = cross_predict({}, target, folds, control=control, sets=sets, fixed={"copy": copy})
    gone = found.left_out_rows[2]
    for fold in range(folds.n_folds):
        training = [i for i in folds.training(fold) if not gone[i]]
        tested = [i for i in folds.tested(fold) if not gone[i]]
        mean = target[training].mean(axis=0)
        expected = residual_correlation(copy[tested] - mean, target[tested] - mean, shared=mean - control)
        np.testing.assert_allclose(found.left_out["copy"][2, tested], expected, atol=1e-12)
    assert np.isnan(found.left_out["copy"][2, gone]).all()


def test_what_a_fold_tests_never_reaches_its_prediction():
    folds, _ = design()
    priors, target, control = planted()
    kept = ("close", "wide")
    before = cross_predict(priors, target, folds, control=control, kept=kept)
    changed = target.copy()
    tested, buffered = folds.tested(0), np.flatnonzero(folds.buffered[0])
    changed[np.concatenate([tested, buffered])] += 100
    after = cross_predict(priors, changed, folds, control=control, kept=kept)
    for name in kept:
        np.testing.assert_array_equal(after.predicted[name][tested], before.predicted[name][tested])
    assert len(buffered)


def test_an_unrelated_representation_predicts_nothing():
    rng = np.random.default_rng(0)
    folds, _ = design(n=600)
    target = rng.normal(size=(600, 40)) + rng.normal(size=40)
    found = cross_predict({"noise": rng.normal(size=(600, 8))}, target, folds, neighbors=("noise",))
    for rho in (found.rho["noise"], found.rho_neighbors["noise"]):
        assert abs(np.nan_to_num(rho).mean()) < 3 / np.sqrt(600 * 40)
    assert found.skill["noise"] < 0.01


def test_effects_have_a_control_of_zero():
    folds, _ = design()
    priors, target, _ = planted()
    one = cross_predict(priors, target, folds)
    other = cross_predict(priors, target, folds, control=np.zeros(N_FEATURES))
    np.testing.assert_array_equal(one.rho["close"], other.rho["close"])
    np.testing.assert_array_equal(one.shared, one.means)
    assert one.left_out == {}
    assert one.left_out_rows.shape == (0, N)


def test_single_precision_profiles_and_threads_change_next_to_nothing(monkeypatch):
    folds, sets = design()
    priors, target, control = planted()
    said = []
    one = cross_predict(priors, target, folds, control=control, sets=sets, progress=lambda *what: said.append(what))
    monkeypatch.setattr("explorer.kernels._MOST_THREADS", 1)
    alone = cross_predict(priors, target, folds, control=control, sets=sets)
    single = {name: prior.astype(np.float32) for name, prior in priors.items()}
    rounded = cross_predict(single, target.astype(np.float32), folds, control=control, sets=sets)
    for name in priors:
        np.testing.assert_array_equal(one.left_out[name], alone.left_out[name])
        np.testing.assert_allclose(rounded.rho[name], one.rho[name], atol=1e-4)
    shares = [share for _, share in said]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert said[0][0] == "fold 1 of 5"


def test_a_set_that_leaves_a_fold_no_perturbation_leaves_it_without_scores():
    fold = np.repeat([0, 1], [2, 20])
    folds = Folds(fold=fold, block=np.arange(22), n_folds=2, n_blocks=22, buffered=np.zeros((2, 22), dtype=bool))
    priors, target, control = planted(n=22)
    sets = np.r_[0, 0, np.arange(20) % 3 + 1]
    found = cross_predict({"close": priors["close"]}, target, folds, control=control, sets=sets)
    assert np.isnan(found.left_out["close"][0, :2]).all()
    # Two rows are too few for a ridge: the mean is predicted, and without them nothing at all.
    assert np.isnan(found.left_out["close"][0]).all()
    assert np.isfinite(found.left_out["close"][1, :2]).all()


def test_predictors_of_one_name_and_folds_that_nobody_may_train_for_are_refused():
    folds, _ = design()
    priors, target, _ = planted()
    with pytest.raises(InputError, match=r"two predictors are called 'close'.*rename one"):
        cross_predict(priors, target, folds, fixed={"close": target})
    with pytest.raises(InputError, match="two predictors are called 'mean'"):
        cross_predict({"mean": priors["close"]}, target, folds)
    source = KnownPairs("source", names_of(N), NONE, NONE, {"all": np.arange(N)}, GIVEN, 0)
    one_group = group_folds(N, pool_units([source]), [source])
    with pytest.raises(InputError, match=r"only 0 perturbations may train for the 20 of fold 1, .*smaller groups"):
        cross_predict(priors, target, one_group)
