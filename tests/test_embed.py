"""Simple and placebo representations: what they keep and what they lose."""

import numpy as np
import pytest
from builders import batched_rows, cosines
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from explorer.aggregate import build_map
from explorer.embed import double_center, effect_norm, principal_components, random_projection, with_representation
from explorer.errors import InputError

MAKERS = {
    "double_center": double_center,
    "principal_components": lambda values: principal_components(values, n_components=2),
    "random_projection": lambda values: random_projection(values, n_components=2),
    "effect_norm": effect_norm,
}


def matrix(n: int = 30, d: int = 8, *, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) * rng.uniform(1, 3, d) + rng.normal(size=(n, 1)) + rng.normal(size=d)


def test_double_centring_in_a_loop():
    values = matrix()
    expected = [
        [values[i, j] - values[i].mean() - values[:, j].mean() + values.mean() for j in range(8)] for i in range(30)
    ]
    found = double_center(values)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(found.mean(axis=1), 0, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_double_centring_removes_what_is_added_to_rows_or_columns(seed):
    rng, values = np.random.default_rng(seed), matrix(seed=seed)
    shifted = values + rng.normal(size=(30, 1)) * 5 + rng.normal(size=8) * 5
    np.testing.assert_allclose(double_center(shifted), double_center(values), atol=1e-10)
    np.testing.assert_allclose(double_center(double_center(values)), double_center(values), atol=1e-12)


@pytest.mark.parametrize("n_components", [1, 3, 8])
def test_principal_components_are_the_published_ones(n_components):
    values = matrix()
    found = principal_components(values, n_components=n_components)
    expected = PCA(n_components, svd_solver="full").fit_transform(values)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-10)
    np.testing.assert_allclose(found.T @ found, np.diag((expected**2).sum(axis=0)), atol=1e-8)


def test_signs_of_principal_components_repeat():
    values = matrix()
    order = np.random.default_rng(1).permutation(30)
    one, other = principal_components(values, n_components=4), principal_components(values[order], n_components=4)
    np.testing.assert_allclose(other, one[order], atol=1e-9)
    np.testing.assert_allclose(principal_components(values, n_components=2), one[:, :2], atol=1e-12)


@pytest.mark.parametrize("n_components", [0, 9, 31])
def test_impossible_numbers_of_principal_components(n_components):
    with pytest.raises(InputError, match=f"can't take {n_components} principal components of 30 × 8 values"):
        principal_components(matrix(), n_components=n_components)


def test_random_projection_keeps_lengths_and_cosines_up_to_its_noise():
    values = matrix(20, 300)
    lengths = np.linalg.norm(random_projection(values, n_components=2000, seed=1), axis=1)
    np.testing.assert_allclose(lengths, np.linalg.norm(values, axis=1), rtol=0.1)
    error = cosines(random_projection(values, n_components=2000, seed=1)) - cosines(values)
    assert np.sqrt((error**2).mean()) < 1.5 / np.sqrt(2000)
    coarse = cosines(random_projection(values, n_components=20, seed=1)) - cosines(values)
    assert np.sqrt((coarse**2).mean()) > 2 * np.sqrt((error**2).mean())


def test_random_projection_is_linear_and_repeats_with_the_seed():
    values = matrix()
    one, again, other = (random_projection(values, n_components=3, seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)
    np.testing.assert_allclose(random_projection(2 * values, n_components=3, seed=5), 2 * one)
    assert np.linalg.matrix_rank(np.column_stack([values, one])) == 8
    with pytest.raises(InputError, match="n_components is 0, expected 1 or more"):
        random_projection(values, n_components=0)


def test_effect_norm_keeps_length_and_mean_and_nothing_else():
    values = matrix()
    found = effect_norm(values)
    np.testing.assert_allclose(found[:, 0], [np.sqrt(sum(x * x for x in row)) for row in values])
    np.testing.assert_allclose(found[:, 1], [sum(row) / len(row) for row in values])
    columns = np.random.default_rng(0).permutation(8)
    np.testing.assert_allclose(effect_norm(values[:, columns]), found)


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[1.0, np.nan], [1, 2], [np.inf, 0]]), "2 rows hold NaN or infinite values"),
        (np.ones(4), "expected a matrix of rows × features, got an array of shape"),
    ],
)
def test_what_can_not_be_embedded(maker, values, message):
    with pytest.raises(InputError, match=message):
        MAKERS[maker](values)


@pytest.mark.parametrize("maker", MAKERS)
def test_arguments_are_not_edited(maker):
    values = matrix()
    MAKERS[maker](values)
    np.testing.assert_array_equal(values, matrix())


def test_a_representation_is_added_to_a_new_screen():
    screen = batched_rows().screen
    values = principal_components(screen.representation("raw").source.values, n_components=2)
    more = with_representation(screen, "PCA", values, kind="placebo")
    assert list(screen.representations) == ["raw"]
    assert list(more.representations) == ["raw", "PCA"]
    assert build_map(more, "PCA").recipe.kind == "placebo"
    np.testing.assert_allclose(more.representation("PCA").source.read(0, 5), values[:5], rtol=1e-6)
    values[:] = 0
    assert more.representation("PCA").source.values.any()


def test_a_representation_of_other_rows_is_an_error():
    with pytest.raises(InputError, match="representation 'short' has 3 rows, the screen 'all' has 128"):
        with_representation(batched_rows().screen, "short", np.ones((3, 2)))
