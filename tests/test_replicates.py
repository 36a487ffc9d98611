"""Consistency without pairs, profiles, and pseudo-perturbations, each against a loop."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer import replicates as replicates_module
from explorer.replicates import lengths, pair_consistency, profile_lengths, profiles
from explorer.retrieval import unit_vectors
from explorer.rowsums import sum_runs


def consistency_naive(rows, owner, *, batch=None, guide=None):
    """Mean cosine over the admissible pairs, pair by pair."""
    found = []
    for number in range(owner.max() + 1):
        own = [row for row in np.flatnonzero(owner == number) if rows[row].any()]
        several = guide is not None and len({guide[row] for row in own}) > 1
        cosines = [
            rows[i] @ rows[j] / np.linalg.norm(rows[i]) / np.linalg.norm(rows[j])
            for i, j in itertools.combinations(own, 2)
            if (batch is None or batch[i] != batch[j]) and (not several or guide[i] != guide[j])
        ]
        found.append(np.mean(cosines) if cosines else math.nan)
    return np.array(found)


def profiles_naive(rows, owner, guide=None):
    found = []
    for number in range(owner.max() + 1):
        own = owner == number
        if guide is None:
            found.append(rows[own].mean(axis=0))
        else:
            found.append(np.mean([rows[own & (guide == g)].mean(axis=0) for g in np.unique(guide[own])], axis=0))
    return np.array(found)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.booleans())
def test_consistency_of_replicates_is_the_mean_over_pairs(seed, batches, guides):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(5, 40))
    rows, owner = rng.normal(size=(n, 4)), np.sort(rng.integers(0, 5, n))
    rows[rng.random(n) < 0.1] = 0
    owner = np.unique(owner, return_inverse=True)[1]
    batch = rng.integers(0, 3, n) if batches else None
    guide = owner * 3 + rng.integers(0, 3, n) if guides else None
    found = pair_consistency(unit_vectors(rows), rows.any(axis=1).astype(int), owner, batch=batch, guide=guide)
    np.testing.assert_allclose(found, consistency_naive(rows, owner, batch=batch, guide=guide), atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.booleans(), st.sampled_from([1, 8 * 4 * 9]))
def test_owners_taken_in_stretches_do_not_matter(seed, batches, guides, block_bytes):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(5, 40))
    # Some owners have no line.
    rows, owner = rng.normal(size=(n, 4)), np.sort(rng.integers(0, 9, n))
    batch = rng.integers(0, 3, n) if batches else None
    guide = np.sort(rng.integers(0, 3, n) + 3 * owner) if guides else None
    counts = rng.integers(1, 4, n)
    consistency = pair_consistency(unit_vectors(rows), counts, owner, batch=batch, guide=guide)
    length = profile_lengths(rows, counts, owner, guide=guide)
    np.testing.assert_allclose(length, lengths(profiles(rows, counts, owner, guide=guide)), rtol=1e-12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replicates_module, "_MOST_WHOLE", 0)
        patch.setattr(replicates_module, "_BLOCK_BYTES", block_bytes)
        found = pair_consistency(unit_vectors(rows), counts, owner, batch=batch, guide=guide)
        np.testing.assert_allclose(found, consistency, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(profile_lengths(rows, counts, owner, guide=guide), length, rtol=1e-12)
        # Lines in any order are put in order as a whole.
        turned = {name: None if key is None else key[::-1] for name, key in (("batch", batch), ("guide", guide))}
        found = pair_consistency(unit_vectors(rows)[::-1], counts[::-1], owner[::-1], **turned)
    np.testing.assert_allclose(found, consistency, rtol=1e-9, atol=1e-12)


def test_sums_of_cells_give_what_single_replicates_give():
    rng = np.random.default_rng(0)
    rows, owner, batch = rng.normal(size=(60, 6)), np.repeat(np.arange(3), 20), rng.integers(0, 4, 60)
    cells, place = np.unique(np.stack([owner, batch], axis=1), axis=0, return_inverse=True)
    sums = np.zeros((len(cells), 6))
    np.add.at(sums, place.reshape(-1), unit_vectors(rows))
    found = pair_consistency(sums, np.bincount(place.reshape(-1)), cells[:, 0], batch=cells[:, 1])
    np.testing.assert_allclose(found, consistency_naive(rows, owner, batch=batch), atol=1e-12)


def test_where_no_pair_is_admissible_consistency_is_undefined():
    rows = unit_vectors(np.random.default_rng(0).normal(size=(4, 3)))
    one = np.ones(4, dtype=int)
    owner = np.array([0, 0, 1, 2])
    found = pair_consistency(rows, one, owner)
    assert np.isfinite(found[0])
    assert np.isnan(found[1:]).all()
    assert np.isnan(pair_consistency(rows, one, owner, batch=np.array([1, 1, 0, 0])))[0]
    # Two guides in one batch: pairs across guides only where no batches are given.
    guide = np.array([0, 1, 2, 3])
    assert np.isfinite(pair_consistency(rows, one, owner, guide=guide)[0])
    assert np.isnan(pair_consistency(rows, one, owner, guide=guide, batch=np.zeros(4, dtype=int))[0])
    assert pair_consistency(rows[:0], one[:0], owner[:0]).shape == (0,)


def test_one_guide_is_paired_with_itself_across_batches_and_several_are_not():
    rows = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    one, owner, batch = np.ones(4, dtype=int), np.zeros(4, dtype=int), np.array([0, 1, 0, 1])
    same = pair_consistency(rows[:2], one[:2], owner[:2], batch=batch[:2], guide=np.array([0, 0]))
    assert same[0] == pytest.approx(1)
    two = pair_consistency(rows, one, owner, batch=batch, guide=np.array([0, 0, 1, 1]))
    assert two[0] == pytest.approx(0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_profiles_are_means_of_guides_weighted_by_rows(seed, guides):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(6, 50))
    owner = np.unique(rng.integers(0, 4, n), return_inverse=True)[1]
    guide, batch = owner * 2 + rng.integers(0, 2, n), rng.integers(0, 3, n)
    rows = rng.normal(size=(n, 5))
    units, place = np.unique(np.stack([owner, guide, batch], axis=1), axis=0, return_inverse=True)
    count = np.bincount(place.reshape(-1))
    means = np.zeros((len(units), 5))
    np.add.at(means, place.reshape(-1), rows)
    found = profiles(means / count[:, None], count, units[:, 0], guide=units[:, 1] if guides else None)
    np.testing.assert_allclose(found, profiles_naive(rows, owner, guide if guides else None), atol=1e-12)


@pytest.mark.parametrize("first", [[0, 2, 4], [0, 1, 2, 3, 4, 5], [0, 1, 4], [0]])
def test_sums_of_runs(first):
    values = np.random.default_rng(0).normal(size=(6, 3))
    np.testing.assert_allclose(sum_runs(values, np.array(first)), np.add.reduceat(values, first, axis=0))
