"""What a prediction is worth: fixtures, plain loops, and what must change nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.prediction_scores import (
    beyond_shared,
    discrimination,
    mean_absolute_error,
    noise_ceiling,
    noise_ceiling_of_halves,
    residual_correlation,
    skill,
)

V = np.array([1.0, 1, 0, 0])
P = np.array([[1.0, -1, 0, 0]])
T = np.array([[1.0, -1, 1, -1]])
SEEDS = st.integers(0, 1000)


def drawn(seed, n=9, n_features=6):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n, n_features))
    return truth + rng.normal(size=truth.shape), truth, rng.normal(size=n_features)


def naive_rho(predicted, truth, shared):
    """Regress the constant and the shared direction out, row by row, and take the cosine."""
    found = []
    design = np.stack([np.ones(len(shared)), shared], axis=1)
    for p, t in zip(predicted, truth, strict=True):
        one, other = (row - design @ np.linalg.lstsq(design, row, rcond=None)[0] for row in (p, t))
        found.append(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
    return np.array(found)


def test_the_fixture_and_what_leaves_it_unchanged():
    for predicted, truth in ((P, T), (P + 7 * V + 3, T), (P, T - 2 * V + 5), (40 * P, T), (P, 0.01 * T)):
        assert residual_correlation(predicted, truth, shared=V) == pytest.approx(0.70711, abs=5e-6)
    assert residual_correlation(-3 * P, T, shared=V) == pytest.approx(-0.70711, abs=5e-6)


def test_what_is_nothing_but_the_shared_direction_is_undefined():
    for predicted in (2 * V[None, :], np.full((1, 4), 3.0), np.zeros((1, 4)), 2 * V[None, :] + 1e-9 * P):
        assert np.isnan(residual_correlation(predicted, T, shared=V))
        assert np.isnan(residual_correlation(T, predicted, shared=V))


def test_a_residual_of_rounding_beside_its_whole_the_direction_or_the_median_truth_is_undefined():
    small = np.array([[1.0, -1, 0, 0]])
    defined = {
        "alone": residual_correlation(1e-5 * small, T, shared=V),
        "beside a long prediction": residual_correlation(1e-5 * small + 100 * V, T, shared=V),
        "beside a long direction": residual_correlation(1e-5 * small, T, shared=100 * V),
        "beside the median truth": residual_correlation(1e-5 * small, 100 * T, shared=V),
        "a truth beside others": residual_correlation(np.repeat(T, 3, axis=0), [[1e-5], [100], [100]] * T, shared=V),
    }
    assert np.isfinite(defined.pop("alone"))
    for name, values in defined.items():
        assert np.isnan(values[0]), name
    assert np.isfinite(values[1:]).all()


def test_the_mean_of_the_others_is_opposite_to_what_is_left_out_of_the_mean_of_all():
    # Why m must not contain the test fold: against the mean of all, the mean of the others points away, exactly.
    rng = np.random.default_rng(0)
    profiles = rng.normal(size=(12, 8))
    mean = profiles.mean(axis=0)
    others = (profiles.sum(axis=0) - profiles) / 11
    found = residual_correlation(others - mean, profiles - mean, shared=rng.normal(size=8))
    np.testing.assert_allclose(found, -1, atol=1e-13)
    # And its skill is below 0 by as much as it overshoots.
    assert skill(others - mean, profiles - mean) == pytest.approx(1 - (12 / 11) ** 2)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_rho_follows_the_definition(seed):
    predicted, truth, shared = drawn(seed)
    expected = naive_rho(predicted, truth, shared)
    np.testing.assert_allclose(residual_correlation(predicted, truth, shared=shared), expected, atol=1e-12)
    beyond = beyond_shared(truth, shared=shared)
    np.testing.assert_allclose(beyond.correlation_with(predicted), expected, atol=1e-12)
    np.testing.assert_allclose(beyond.axes @ beyond.axes.T, np.eye(2), atol=1e-14)
    each = np.random.default_rng(seed + 5000).normal(size=truth.shape)
    rows = [naive_rho(predicted[[i]], truth[[i]], each[i])[0] for i in range(len(truth))]
    np.testing.assert_allclose(residual_correlation(predicted, truth, shared=each), rows, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    seed=SEEDS,
    a=st.floats(-50, 50),
    c=st.floats(-50, 50),
    stretch=st.floats(0.01, 100),
)
def test_what_is_shared_and_how_long_profiles_are_changes_nothing(seed, a, c, stretch):
    predicted, truth, shared = drawn(seed)
    expected = residual_correlation(predicted, truth, shared=shared)
    for one, other in (
        (predicted + a * shared + c, truth),
        (predicted, truth + a * shared + c),
        (stretch * predicted, truth),
        (predicted, stretch * truth),
    ):
        np.testing.assert_allclose(residual_correlation(one, other, shared=shared), expected, atol=1e-10)
    np.testing.assert_allclose(residual_correlation(-predicted, truth, shared=shared), -expected, atol=1e-12)
    np.testing.assert_allclose(residual_correlation(truth, predicted, shared=shared), expected, atol=1e-12)
    np.testing.assert_allclose(residual_correlation(predicted, truth, shared=-2 * shared), expected, atol=1e-12)


def test_without_a_shared_direction_it_is_the_correlation():
    predicted, truth, _ = drawn(1)
    expected = [np.corrcoef(p, t)[0, 1] for p, t in zip(predicted, truth, strict=True)]
    for shared in (np.zeros(6), np.full(6, 0.1)):
        np.testing.assert_allclose(residual_correlation(predicted, truth, shared=shared), expected, atol=1e-13)
        assert len(beyond_shared(truth, shared=shared).axes) == 1


def test_a_repeat_of_no_effect_correlates_by_its_control_and_not_beyond():
    # Two measurements of nothing, against one control: what they share is the control.
    rng = np.random.default_rng(0)
    control, others = rng.normal(size=400), 0.1 * rng.normal(size=(2, 400))
    one, other = rng.normal(size=(2, 200, 400))
    plain = [np.corrcoef(a - control, b - control)[0, 1] for a, b in zip(one, other, strict=True)]
    assert np.mean(plain) == pytest.approx(0.5, abs=0.02)
    mean = others[0]
    beyond = residual_correlation(one - mean, other - mean, shared=mean - control)
    assert abs(beyond.mean()) < 0.01


def test_no_rows_and_few_features():
    empty = np.zeros((0, 4))
    assert residual_correlation(empty, empty, shared=V).shape == (0,)
    assert beyond_shared(empty, shared=V).correlation_with(empty).shape == (0,)
    # Two features are spanned by the mean and the direction: nothing is left.
    two = np.random.default_rng(0).normal(size=(5, 2))
    assert np.isnan(residual_correlation(two, two, shared=np.array([1.0, 0.0]))).all()


def test_skill():
    _, truth, _ = drawn(3)
    assert skill(truth, truth) == 1
    assert skill(np.zeros_like(truth), truth) == 0
    assert skill(-truth, truth) == pytest.approx(-3)
    assert skill(11 * truth, truth) == pytest.approx(-99)
    assert np.isnan(skill(truth, np.zeros_like(truth)))


def naive_discrimination(predicted, truth):
    scores = []
    for i, p in enumerate(predicted):
        likeness = [np.corrcoef(p, t)[0, 1] for t in truth]
        others = [likeness[j] for j in range(len(truth)) if j != i]
        scores.append(np.mean([(other < likeness[i]) + 0.5 * (other == likeness[i]) for other in others]))
    return np.array(scores)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, stretch=st.floats(0.001, 1000), shift=st.floats(-20, 20))
def test_discrimination_follows_the_definition_and_ignores_scale(seed, stretch, shift):
    predicted, truth, _ = drawn(seed)
    expected = naive_discrimination(predicted, truth)
    np.testing.assert_allclose(discrimination(predicted, truth), expected)
    np.testing.assert_allclose(discrimination(stretch * predicted + shift, truth), expected)
    np.testing.assert_allclose(discrimination(predicted, stretch * truth), expected)
    order = np.random.default_rng(seed).permutation(len(truth))
    np.testing.assert_allclose(discrimination(predicted[order], truth[order]), expected[order])


def test_a_prediction_that_is_the_same_for_all_discriminates_nothing():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(12, 30))
    assert discrimination(np.tile(rng.normal(size=30), (12, 1)), truth).mean() == pytest.approx(0.5)
    for nothing in (0.0, 3.0):
        np.testing.assert_array_equal(discrimination(np.full((12, 30), nothing), truth), np.full(12, 0.5))


def test_truths_that_are_alike_tie():
    truth = np.repeat(np.random.default_rng(0).normal(size=(3, 20)), 2, axis=0)
    # Of the five others, four are less like it, one the same.
    np.testing.assert_allclose(discrimination(truth, 7 * truth), np.full(6, 0.9))


def test_a_truth_without_direction_is_not_to_be_found():
    truth = np.random.default_rng(0).normal(size=(5, 8))
    predicted = truth.copy()
    truth[2] = 1.5
    found = discrimination(predicted, truth)
    assert np.isnan(found[2])
    np.testing.assert_array_equal(np.delete(found, 2), np.ones(4))
    assert np.isnan(discrimination(truth[:1], truth[:1])).all()
    assert discrimination(truth[:0], truth[:0]).shape == (0,)


def test_blocks_of_predictions_cut_anywhere_score_the_same(monkeypatch):
    predicted, truth, _ = drawn(5, n=40)
    whole = discrimination(predicted, truth)
    monkeypatch.setattr("explorer.prediction_scores._BLOCK_BYTES", 8 * 40 * 3)
    np.testing.assert_array_equal(discrimination(predicted, truth), whole)


def test_mean_absolute_error():
    predicted, truth, _ = drawn(6)
    expected = [np.mean([abs(a - b) for a, b in zip(p, t, strict=True)]) for p, t in zip(predicted, truth, strict=True)]
    np.testing.assert_allclose(mean_absolute_error(predicted, truth), expected)


def test_the_ceiling_is_suppressed_where_halves_hardly_agree():
    found = noise_ceiling([1.0, 0.5, 0.1, 0.0999, 0.0, -0.4, np.nan])
    np.testing.assert_allclose(found[:3], [1, np.sqrt(2 / 3), np.sqrt(0.2 / 1.1)])
    assert np.isnan(found[3:]).all()
    assert float(noise_ceiling(1 / 3)) == pytest.approx(np.sqrt(0.5))


def test_the_ceiling_is_what_the_truth_itself_reaches():
    # The whole is the mean of two halves; the noiseless effect correlates with it as highly as anything can.
    rng = np.random.default_rng(0)
    effect = rng.normal(size=(60, 800))
    one, other = effect + 1.2 * rng.normal(size=(2, *effect.shape))
    shared = rng.normal(size=800)
    reached = residual_correlation(effect, (one + other) / 2, shared=shared)
    np.testing.assert_allclose(noise_ceiling_of_halves(one, other, shared=shared).mean(), reached.mean(), atol=0.01)
    r = residual_correlation(one, other, shared=shared)
    np.testing.assert_array_equal(noise_ceiling_of_halves(one, other, shared=shared), noise_ceiling(r))
