"""Ridge and nearest neighbours against plain loops, scikit-learn, and what must change nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.predictors import (
    NEIGHBOR_COUNTS,
    PENALTIES,
    SHRINKAGES,
    nearest_neighbors,
    principal_prior,
    ridge,
    ridge_training,
)

SHAPES = ((60, 5, 7), (40, 39, 6), (40, 40, 6), (30, 70, 5), (25, 200, 30), (200, 20, 3))


def linear(n, p, n_features, *, seed=0, noise=1.0):
    """Rows of a representation, and profiles that depend on them and on noise."""
    rng = np.random.default_rng(seed)
    prior = rng.normal(size=(n, p)) * rng.uniform(0.1, 3, size=p) + 5 * rng.normal(size=p)
    target = prior @ rng.normal(size=(p, n_features)) / np.sqrt(p) + noise * rng.normal(size=(n, n_features)) + 2
    return prior, target


def naive_ridge(prior, target, asked):
    """Follow the definition: hat matrices and residuals, one penalty at a time."""
    n = len(prior)
    mean, centred = prior.mean(axis=0), prior - prior.mean(axis=0)
    deviations = target - target.mean(axis=0)
    scale = np.sqrt((centred**2).sum(axis=1).mean())
    x = centred / scale
    errors, coefficients = [], []
    for penalty in PENALTIES:
        solved = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T)
        hat = x @ solved
        residual = ((deviations - hat @ deviations) ** 2).sum()
        errors.append(n * residual / (n - 1 - np.trace(hat)) ** 2)
        coefficients.append(solved @ deviations)
    best = int(np.argmin(errors))
    if errors[best] >= n * (deviations**2).sum() / (n - 1) ** 2:
        return np.inf, np.zeros((len(asked), target.shape[1]))
    return PENALTIES[best], (asked - mean) / scale @ coefficients[best]


@pytest.mark.parametrize("noise", [0.1, 1.0, 5.0])
@pytest.mark.parametrize(("n", "p", "n_features"), SHAPES)
def test_ridge_follows_the_definition(n, p, n_features, noise):
    prior, target = linear(n, p, n_features, seed=p, noise=noise)
    asked = linear(15, p, 1, seed=p + 1)[0]
    fit = ridge_training(prior, target).fit()
    penalty, naive = naive_ridge(prior, target, asked)
    assert fit.penalty == penalty
    np.testing.assert_allclose(fit.predict(asked), naive, rtol=1e-10, atol=1e-10 * np.abs(naive).max())
    np.testing.assert_array_equal(ridge(prior, target, asked), fit.predict(asked))
    np.testing.assert_allclose(fit.target_mean, target.mean(axis=0), atol=1e-13)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.sampled_from(SHAPES),
    seed=st.integers(0, 100),
    share=st.sampled_from([0.02, 0.05, 0.3]),
    noise=st.sampled_from([0.1, 1.0, 10.0]),
)
def test_leaving_rows_out_is_fitting_to_the_others(shape, seed, share, noise):
    n, p, n_features = shape
    prior, target = linear(n, p, n_features, seed=seed, noise=noise)
    asked = linear(10, p, 1, seed=seed + 1)[0]
    gone = np.random.default_rng(seed).permutation(n)[: max(1, int(share * n))]
    training = ridge_training(prior, target)
    left = np.setdiff1d(np.arange(n), gone)
    one, other = training.fit(excluding=gone), ridge_training(prior[left], target[left]).fit()
    assert one.penalty == other.penalty
    expected = other.predict(asked)
    np.testing.assert_allclose(one.predict(asked), expected, atol=1e-10 * max(1, np.abs(expected).max()))
    np.testing.assert_allclose(one.target_mean, other.target_mean, atol=1e-12)
    # The sums themselves are left as they were.
    np.testing.assert_array_equal(training.fit().predict(asked), ridge_training(prior, target).fit().predict(asked))


def test_leaving_no_row_or_nearly_all_rows_out():
    prior, target = linear(10, 3, 2)
    training = ridge_training(prior, target)
    np.testing.assert_array_equal(
        training.fit(excluding=np.empty(0, dtype=np.intp)).predict(prior), training.fit().predict(prior)
    )
    for n_gone in (8, 9, 10):
        assert training.fit(excluding=np.arange(n_gone)).is_mean


def test_scikit_learn_agrees_at_the_chosen_penalty():
    from sklearn.linear_model import Ridge

    for n, p, n_features in SHAPES:
        prior, target = linear(n, p, n_features, seed=3)
        fit = ridge_training(prior, target).fit()
        squared_length = ((prior - prior.mean(axis=0)) ** 2).sum(axis=1).mean()
        other = Ridge(alpha=fit.penalty * squared_length, solver="cholesky").fit(prior, target)
        asked = linear(12, p, 1, seed=4)[0]
        np.testing.assert_allclose(fit.predict(asked) + fit.target_mean, other.predict(asked), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("noise", [0.3, 3.0, 10.0])
def test_scikit_learn_chooses_the_same_penalty_where_every_row_has_the_same_leverage(noise):
    # Its criterion is leave-one-out, which is the generalised one on such a design: waves of a period.
    from sklearn.linear_model import RidgeCV

    n, rng = 48, np.random.default_rng(1)
    waves = [wave(2 * np.pi * np.arange(n) * turn / n) for turn in range(1, 9) for wave in (np.cos, np.sin)]
    prior = np.stack(waves, axis=1) * np.repeat(rng.uniform(0.2, 2, size=8), 2)
    target = prior @ rng.normal(size=(16, 5)) + noise * rng.normal(size=(n, 5))
    squared_length = (prior**2).sum(axis=1).mean()
    other = RidgeCV(alphas=PENALTIES * squared_length).fit(prior, target)
    fit = ridge_training(prior, target).fit()
    # The mean of all targets' errors is what both minimise.
    assert fit.penalty * squared_length == pytest.approx(float(other.alpha_))
    np.testing.assert_allclose(fit.predict(prior) + fit.target_mean, other.predict(prior), atol=1e-10)


@pytest.mark.parametrize(("n", "p", "n_features"), [(60, 6, 5), (30, 50, 5)])
def test_a_rotation_or_rescaling_of_the_representation_changes_nothing(n, p, n_features):
    prior, target = linear(n, p, n_features, seed=2)
    asked = linear(10, p, 1, seed=3)[0]
    prior, asked = prior - prior.mean(axis=0), asked - prior.mean(axis=0)
    expected = ridge(prior, target, asked)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(p, p)))[0]
    size = np.abs(expected).max()
    for changed in (ridge(prior @ turn, target, asked @ turn), ridge(prior * 371.3, target, asked * 371.3)):
        np.testing.assert_allclose(changed, expected, atol=1e-13 * size)
    # Exact, since it is a power of 2.
    np.testing.assert_array_equal(ridge(prior / 1024, target, asked / 1024), expected)


def test_a_column_keeps_its_own_scale():
    # Dividing each column by its deviation would let 30 columns of tiny noise drown the one that predicts.
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(80, 1))
    prior = np.hstack([signal, 1e-3 * rng.normal(size=(80, 30))])
    target = signal @ rng.normal(size=(1, 4)) + 0.5 * rng.normal(size=(80, 4))
    alone, together = ridge(prior[:60, :1], target[:60], prior[60:, :1]), ridge(prior[:60], target[:60], prior[60:])
    np.testing.assert_allclose(together, alone, atol=0.02)


def test_the_mean_is_predicted_where_nothing_is_better():
    rng = np.random.default_rng(4)
    noise = rng.normal(size=(200, 30))
    fits = {
        "constant": ridge_training(np.ones((200, 3)), noise).fit(),
        "nothing to predict": ridge_training(rng.normal(size=(200, 3)), np.ones((200, 4))).fit(),
        "two rows": ridge_training(rng.normal(size=(2, 3)), noise[:2]).fit(),
    }
    for name, fit in fits.items():
        assert fit.is_mean, name
        assert fit.penalty == np.inf, name
        assert not fit.predict(np.ones((5, 3))).any(), name
    # Unrelated representations: the mean in about half of them, nothing to speak of in the others.
    chosen = [ridge_training(rng.normal(size=(200, 3)), noise).fit() for _ in range(40)]
    assert 5 < sum(fit.is_mean for fit in chosen) < 40
    assert max(np.abs(fit.predict(np.eye(3))).max() for fit in chosen) < 0.1 * np.abs(noise).max()


def test_what_lies_beyond_axes_is_the_prediction_less_its_part_along_them():
    for n, p in ((50, 6), (20, 40)):
        prior, target = linear(n, p, 12)
        axes = np.linalg.qr(np.random.default_rng(1).normal(size=(12, 2)))[0].T
        fit = ridge_training(prior, target).fit()
        asked = linear(9, p, 1, seed=9)[0]
        whole = fit.predict(asked)
        residuals, lengths = fit.predict_beyond(asked, axes)
        np.testing.assert_allclose(residuals, whole - whole @ axes.T @ axes, atol=1e-12)
        np.testing.assert_allclose(lengths, np.linalg.norm(whole, axis=1), rtol=1e-12)
    mean = ridge_training(np.ones((20, 2)), target[:20]).fit()
    residuals, lengths = mean.predict_beyond(np.ones((3, 2)), axes)
    assert residuals.shape == (3, 12)
    assert not residuals.any()
    assert not lengths.any()


def naive_neighbors(prior, target, asked, blocks):
    """Follow the definition, row by row; no ties."""
    mean, center = target.mean(axis=0), prior.mean(axis=0)
    cosine = lambda a, b: (a - center) @ (b - center) / np.linalg.norm(a - center) / np.linalg.norm(b - center)  # noqa: E731

    def predict(row, allowed, k):
        near = sorted(allowed, key=lambda j: -cosine(row, prior[j]))[:k]
        weights = [max(cosine(row, prior[j]), 0) for j in near]
        if sum(weights) == 0:
            return np.zeros(target.shape[1])
        return sum(weight * (target[j] - mean) for weight, j in zip(weights, near, strict=True)) / sum(weights)

    best = (np.inf, 0, 0.0)
    rows = range(len(prior))
    for share in SHRINKAGES:
        for k in (k for k in NEIGHBOR_COUNTS if k < len(prior)):
            error = sum(
                (
                    (target[i] - mean - share * predict(prior[i], [j for j in rows if blocks[j] != blocks[i]], k)) ** 2
                ).sum()
                for i in rows
            )
            if error < best[0] - 1e-9:
                best = (error, k, share)
    return np.array([best[2] * predict(row, rows, best[1]) for row in asked])


@pytest.mark.parametrize("noise", [0.3, 3.0])
def test_nearest_neighbors_follow_the_definition(noise):
    prior, target = linear(26, 4, 5, seed=1, noise=noise)
    asked = linear(6, 4, 1, seed=2)[0]
    blocks = np.arange(26) // 2
    found = nearest_neighbors(prior, target, asked, blocks=blocks)
    np.testing.assert_allclose(found, naive_neighbors(prior, target, asked, blocks), atol=1e-12)


def test_blocks_of_rows_cut_anywhere_predict_the_same(monkeypatch):
    prior, target = linear(120, 4, 5, seed=1)
    asked, blocks = linear(40, 4, 1, seed=2)[0], np.arange(120) // 3
    whole = nearest_neighbors(prior, target, asked, blocks=blocks)
    monkeypatch.setattr("explorer.predictors._BLOCK_BYTES", 8 * 140 * 7)
    np.testing.assert_allclose(nearest_neighbors(prior, target, asked, blocks=blocks), whole, atol=1e-13)
    fit = ridge_training(prior, target).fit().predict(asked)
    monkeypatch.undo()
    np.testing.assert_allclose(fit, ridge(prior, target, asked), atol=1e-12)


def test_neighbors_of_ones_own_block_teach_nothing():
    # Twins in a block are alike in everything, others have nothing in common: the neighbours are not believed.
    rng = np.random.default_rng(0)
    prior, target = np.repeat(rng.normal(size=(100, 5)), 2, axis=0), np.repeat(rng.normal(size=(100, 8)), 2, axis=0)
    prior = prior + 1e-3 * rng.normal(size=prior.shape)
    asked = rng.normal(size=(10, 5))
    honest = nearest_neighbors(prior, target, asked, blocks=np.arange(200) // 2)
    leaking = nearest_neighbors(prior, target, asked, blocks=np.arange(200))
    assert np.abs(honest).max() < 0.5 * np.abs(leaking).max()


def test_the_order_of_training_rows_changes_no_neighbors():
    prior, target = linear(80, 4, 5, seed=1)
    asked, blocks = linear(20, 4, 1, seed=2)[0], np.arange(80) // 2
    order = np.random.default_rng(0).permutation(80)
    one = nearest_neighbors(prior, target, asked, blocks=blocks)
    other = nearest_neighbors(prior[order], target[order], asked, blocks=blocks[order])
    np.testing.assert_allclose(other, one, atol=1e-12)


def test_tied_neighbors_are_drawn_from_all_that_tie():
    # Two places only: of the 60 rows at each, any three may be asked, so that no row has a say in all predictions.
    place = np.arange(120) % 2
    prior = np.stack([place, 1 - place], axis=1).astype(float)
    target = np.random.default_rng(0).normal(size=(120, 3)) + 3 * place[:, None]
    asked = np.tile([[1.0, 0.0]], (300, 1))
    found = nearest_neighbors(prior, target, asked, blocks=np.arange(120))
    # All 60 of a place, or a draw for each.
    assert np.unique(found.round(9), axis=0).shape[0] in (1, 300)
    np.testing.assert_allclose(found.mean(axis=0), (target[1::2] - target.mean(axis=0)).mean(axis=0), atol=0.2)


def test_neighbors_of_a_representation_that_says_nothing_predict_the_mean():
    rng = np.random.default_rng(0)
    found = nearest_neighbors(np.ones((30, 3)), rng.normal(size=(30, 4)), np.ones((5, 3)), blocks=np.arange(30))
    assert not found.any()


def test_many_training_rows_are_sampled_for_the_choice_alone(monkeypatch):
    prior, target = linear(300, 4, 5, seed=1, noise=0.1)
    asked = linear(30, 4, 1, seed=2)[0]
    whole = nearest_neighbors(prior, target, asked, blocks=np.arange(300))
    monkeypatch.setattr("explorer.predictors.MOST_INNER", 150)
    sampled = nearest_neighbors(prior, target, asked, blocks=np.arange(300))
    assert np.corrcoef(whole.ravel(), sampled.ravel())[0, 1] > 0.9
    np.testing.assert_array_equal(sampled, nearest_neighbors(prior, target, asked, blocks=np.arange(300)))


def test_fewer_rows_than_neighbors():
    prior, target = linear(3, 2, 4)
    found = nearest_neighbors(prior, target, prior, blocks=np.arange(3))
    assert found.shape == (3, 4)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("shape", [(50, 12), (20, 60)])
def test_a_narrow_representation_is_kept_and_a_wide_one_loses_its_smallest_axes(shape):
    rng = np.random.default_rng(0)
    prior = rng.normal(size=shape) * np.linspace(3, 0.1, shape[1])
    same, share = principal_prior(prior, most=min(shape))
    assert same is prior
    assert share == 1
    kept, share = principal_prior(prior, most=5)
    centred = prior - prior.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    assert kept.shape == (shape[0], 5)
    assert share == pytest.approx((values[:5] ** 2).sum() / (values**2).sum())
    np.testing.assert_allclose(kept @ kept.T, left[:, :5] * values[:5] ** 2 @ left[:, :5].T, atol=1e-9)
