"""Scores of pairs: cosine less crowding, ranks with ties and normal scores against loops, in blocks and at once."""

import numpy as np
import pytest
from builders import cosines, map_of, names_of, random_map
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, rankdata

from explorer.errors import InputError
from explorer.pair_scores import N_CROWD, row_blocks, score_pairs
from explorer.relate import TIE_DECIMALS

GRID = 10**TIE_DECIMALS


def naive_scores(profiles):
    """Scores of all pairs in the order of an upper triangle, on the grid; NaN for profiles of length zero."""
    cosine = cosines(profiles)
    n = len(cosine)
    crowding = []
    for i in range(n):
        others = sorted((cosine[i][j] for j in range(n) if j != i and not np.isnan(cosine[i][j])), reverse=True)
        nearest = others[:N_CROWD]
        crowding.append(sum(nearest) / len(nearest) if nearest else np.nan)
    return [
        np.rint((cosine[i][j] - (crowding[i] + crowding[j]) / 2) * GRID) / GRID
        for i in range(n)
        for j in range(i + 1, n)
    ]


def naive_ranks(scores):
    """Rank from the largest, those that are equal sharing their mean rank, one by one."""
    told = [score for score in scores if not np.isnan(score)]
    return [
        np.nan if np.isnan(score) else sum(other > score for other in told) + (1 + sum(o == score for o in told)) / 2
        for score in scores
    ]


def upper(found):
    return np.triu_indices(len(found.names), k=1)


def with_a_zero(profiles, *rows):
    profiles = np.array(profiles)
    profiles[list(rows)] = 0
    return profiles


@pytest.mark.parametrize(
    "profiles",
    [
        np.random.default_rng(0).normal(size=(30, 5)),
        np.random.default_rng(1).normal(size=(3, 4)),
        with_a_zero(np.random.default_rng(2).normal(size=(20, 6)), 0, 7, 19),
        with_a_zero(np.random.default_rng(3).normal(size=(5, 3)), 2, 4),
        np.repeat(np.random.default_rng(4).normal(size=(6, 4)), 4, axis=0),
    ],
    ids=["random", "three", "without effect", "two without effect of five", "duplicates"],
)
def test_scores_ranks_and_normal_scores_are_those_of_a_loop(profiles):
    found = score_pairs(map_of(profiles))
    first, second = upper(found)
    expected = naive_scores(found.perturbation_map.profiles)
    np.testing.assert_allclose(found.csls(first, second), expected, atol=1e-12)
    ranks = naive_ranks(expected)
    np.testing.assert_array_equal(found.ranks(first, second), ranks)
    n_pairs = int(np.sum(~np.isnan(ranks)))
    assert found.n_pairs == n_pairs
    expected_normal = norm.ppf(1 - (np.array(ranks) - 0.5) / n_pairs)
    np.testing.assert_allclose(found.normal_scores(first, second), expected_normal, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(4, 16), levels=st.integers(1, 2))
def test_ranks_are_mid_ranks_whatever_ties(seed, n, levels):
    # Whole numbers, so that many cosines are equal; the lengths of some are zero.
    profiles = np.random.default_rng(seed).integers(-levels, levels + 1, size=(n, 3)).astype(float)
    if (np.linalg.norm(profiles, axis=1) > 0).sum() < 3:
        return
    found = score_pairs(map_of(profiles))
    first, second = upper(found)
    scores = found.csls(first, second)
    told = ~np.isnan(scores)
    np.testing.assert_array_equal(found.ranks(first, second)[told], rankdata(-np.rint(scores[told] * GRID)))
    np.testing.assert_allclose(scores, naive_scores(profiles), atol=1.5 / GRID)
    assert np.isnan(found.ranks(first, second)[~told]).all()
    swapped = found.normal_scores(second, first)
    np.testing.assert_array_equal(swapped, found.normal_scores(first, second))


def test_equal_profiles_all_tie_in_the_middle():
    found = score_pairs(map_of(np.tile([1.0, 2.0, 3.0], (7, 1))))
    first, second = upper(found)
    assert set(found.ranks(first, second)) == {11.0}
    np.testing.assert_allclose(found.normal_scores(first, second), 0, atol=1e-12)


@pytest.mark.parametrize("values", [1, 50, 137, 900])
def test_ragged_blocks_are_as_one(monkeypatch, values):
    profiles = with_a_zero(np.random.default_rng(5).normal(size=(41, 7)), 3, 40)
    one_map = map_of(profiles)
    whole = score_pairs(one_map)
    first, second = upper(whole)
    monkeypatch.setattr("explorer.pair_scores._BLOCK_VALUES", values)
    assert len(list(row_blocks(41))) > 1
    parts = score_pairs(one_map)
    assert parts.n_pairs == whole.n_pairs == 39 * 38 // 2
    np.testing.assert_array_equal(parts.ranks(first, second), whole.ranks(first, second))
    np.testing.assert_array_equal(parts.normal_scores(first, second), whole.normal_scores(first, second))


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 60), values=st.integers(1, 400))
def test_blocks_hold_every_pair_once(n, values):
    import explorer.pair_scores as module

    usual, module._BLOCK_VALUES = module._BLOCK_VALUES, values
    try:
        blocks = list(row_blocks(n))
    finally:
        module._BLOCK_VALUES = usual
    met = [(i, j) for start, stop in blocks for i in range(start, stop) for j in range(i + 1, n)]
    assert met == [(i, j) for i in range(n) for j in range(i + 1, n)]
    # A block is no larger than asked for, but that it holds a row.
    assert all(stop - start == 1 or (stop - start) * (n - start) <= values for start, stop in blocks)


def test_blocks_and_rows_hold_what_pairs_hold():
    found = score_pairs(map_of(with_a_zero(np.random.default_rng(6).normal(size=(25, 4)), 11)))
    first, second = upper(found)
    table = np.full((25, 25), np.nan)
    table[first, second] = table[second, first] = found.normal_scores(first, second)
    rows = np.array([4, 11, 0, 24])
    np.testing.assert_allclose(found.normal_rows(rows), table[rows])
    block = found.normal_block(5, 9)
    assert block.shape == (4, 20)
    expected = table[5:9, 5:].copy()
    expected[:, :4][np.tri(4, dtype=bool)] = np.nan
    np.testing.assert_allclose(block, expected)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(5, 30))
def test_neither_the_order_of_rows_nor_the_names_matter(seed, n):
    rng = np.random.default_rng(seed)
    profiles, names = rng.normal(size=(n, 6)), names_of(n)
    order = rng.permutation(n)
    new_names = [f"{number:03d}, <b>\n{name}" for number, name in zip(rng.permutation(n), names, strict=True)]
    usual = score_pairs(map_of(profiles, names))
    reordered = score_pairs(map_of(profiles[order], [names[row] for row in order]))
    renamed = score_pairs(map_of(profiles, new_names))
    first, second = np.triu_indices(n, k=1)
    np.testing.assert_array_equal(reordered.ranks(first, second), usual.ranks(first, second))
    place = np.array([renamed.names.index(name) for name in new_names])
    # Profiles are summed in another order, which may move a score by a step of the grid and no more.
    moved = renamed.csls(place[first], place[second]) - usual.csls(first, second)
    assert np.abs(moved).max() <= 1.5 / GRID
    assert np.mean(renamed.ranks(place[first], place[second]) == usual.ranks(first, second)) > 0.9


def test_the_length_of_profiles_and_a_rotation_do_not_matter():
    rng = np.random.default_rng(8)
    profiles = rng.normal(size=(40, 5))
    turned, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    first, second = np.triu_indices(40, k=1)
    usual = score_pairs(map_of(profiles)).ranks(first, second)
    changed = score_pairs(map_of(profiles @ turned * rng.uniform(0.1, 10, size=(40, 1)))).ranks(first, second)
    np.testing.assert_allclose(changed, usual, atol=2)


def test_a_hub_is_near_to_nobody_in_particular():
    # All but two have the common direction by half; the hub is that direction.
    rng = np.random.default_rng(9)
    profiles = np.c_[np.full(60, 1.0), rng.normal(size=(60, 30)) * 0.3]
    profiles[0, 1:] = 0
    profiles[1:3, 1:] = rng.normal(size=30) + 0.1 * rng.normal(size=(2, 30))
    found = score_pairs(map_of(profiles))
    hub = found.ranks(np.zeros(57, dtype=int), np.arange(3, 60))
    cosine = cosines(profiles)
    first, second = upper(found)
    by_cosine = rankdata(-cosine[first, second]).reshape(-1)[(first == 0) & (second > 2)]
    assert found.ranks(np.array([1]), np.array([2]))[0] == 1
    # By cosine the hub holds the first places, of 1,770.
    assert np.median(by_cosine) < 100
    assert np.median(hub) > 1.5 * np.median(by_cosine)


def test_it_can_be_asked_about_a_thousand_perturbations():
    found = score_pairs(random_map(1_500, 24, seed=0))
    first, second = upper(found)
    scores = found.normal_scores(first, second)
    assert found.n_pairs == len(first)
    np.testing.assert_array_equal(
        np.argsort(np.argsort(scores)[:50]), np.argsort(np.argsort(found.csls(first, second))[:50])
    )
    # Normal scores are as many normal quantiles.
    assert abs(scores.mean()) < 1e-9
    assert scores.std() == pytest.approx(1, abs=1e-3)
    assert found.ranks(first, second).sum() == found.n_pairs * (found.n_pairs + 1) / 2


def test_nothing_can_be_changed():
    found = score_pairs(random_map(12, 3, seed=0))
    with pytest.raises(ValueError, match="read-only"):
        found.crowding[0] = 1


def test_maps_without_effects_are_refused():
    profiles = with_a_zero(np.random.default_rng(0).normal(size=(6, 3)), 0, 1, 2, 3)
    with pytest.raises(InputError, match=r"^2 profiles of 'raw' have a length, a list of pairs takes 3 or more"):
        score_pairs(map_of(profiles))
