"""Folds by groups and their buffers: nothing that shares a group with a tested perturbation trains for it."""

import itertools

import numpy as np
import pytest
from builders import names_of
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.errors import InputError
from explorer.folds import block_sets, group_folds
from explorer.known import GIVEN, KnownPairs, pool_units

NONE = np.empty(0, dtype=np.intp)


def source_of(groups, n, name="source"):
    """Source of groups by rows, without a lookup."""
    rows = {f"g{place:03d}": np.array(sorted(group), dtype=np.intp) for place, group in enumerate(groups)}
    return KnownPairs(name, names_of(n), NONE, NONE, rows, GIVEN, 0)


def folds_of(groups, n, **options):
    source = source_of(groups, n)
    return group_folds(n, pool_units([source]), [source], **options)


def shares_group(groups, one, other):
    return any(one in group and other in group for group in groups)


GROUPS = st.lists(st.sets(st.integers(0, 29), min_size=2, max_size=9), max_size=9)


@settings(max_examples=60, deadline=None)
@given(groups=GROUPS, n_folds=st.integers(2, 6), seed=st.integers(0, 5))
def test_no_perturbation_trains_for_one_that_shares_a_group_with_it(groups, n_folds, seed):
    n = 30
    found = folds_of(groups, n, n_folds=n_folds, seed=seed)
    assert sorted(np.concatenate([found.tested(fold) for fold in range(n_folds)]).tolist()) == list(range(n))
    for fold in range(n_folds):
        tested, training = found.tested(fold).tolist(), found.training(fold).tolist()
        kept = [i for i in range(n) if i not in tested and not any(shares_group(groups, i, j) for j in tested)]
        assert training == kept
        assert found.share_kept[fold] == pytest.approx(len(kept) / (n - len(tested)) if len(tested) < n else 1)


@settings(max_examples=60, deadline=None)
@given(groups=GROUPS, n_folds=st.integers(2, 6), seed=st.integers(0, 5))
def test_folds_hold_no_more_than_their_capacity(groups, n_folds, seed):
    sizes = np.bincount(folds_of(groups, 30, n_folds=n_folds, seed=seed).fold, minlength=n_folds)
    assert sizes.max() <= -(-11 * 30 // (10 * n_folds))


@settings(max_examples=60, deadline=None)
@given(groups=GROUPS)
def test_the_block_is_the_largest_merged_group_or_the_perturbation_alone(groups):
    n, source = 30, source_of(groups, 30)
    units = pool_units([source])
    found = group_folds(n, units, [source])
    assert sorted(set(found.block.tolist())) == list(range(found.n_blocks))
    for i in range(n):
        own = [(-len(members), name) for name, members in zip(units.names, units.members, strict=True) if i in members]
        if not own:
            assert (found.block == found.block[i]).sum() == 1
            continue
        largest = units.members[units.names.index(min(own)[1])]
        assert set(np.flatnonzero(found.block == found.block[i])) <= set(largest.tolist())


def test_separate_groups_stay_whole_and_folds_are_even():
    groups = [range(start, start + 4) for start in range(0, 80, 4)]
    found = folds_of(groups, 100)
    for group in groups:
        assert len(set(found.fold[list(group)])) == 1
    assert np.bincount(found.fold).tolist() == [20] * 5
    assert not found.buffered.any()
    np.testing.assert_array_equal(found.share_kept, np.ones(5))
    assert found.n_blocks == 20 + 20


def test_a_group_goes_to_the_fold_that_holds_most_of_it():
    # The two large groups part; the small ones follow the one with which they share two members of three.
    groups = [range(10), range(10, 20), [0, 1, 20], [10, 11, 21], [2, 3, 22], [12, 13, 23]]
    found = folds_of(groups, 40, n_folds=2)
    assert found.fold[0] != found.fold[10]
    assert [found.fold[row] == found.fold[0] for row in (20, 21, 22, 23)] == [True, False, True, False]
    assert not found.buffered.any()


def test_overlapping_groups_that_are_parted_are_buffered_not_tested_with_training_partners():
    # A chain: each group shares a member with the next, so no division keeps all of them whole.
    groups = [range(start, start + 6) for start in range(0, 95, 5)]
    found = folds_of(groups, 100)
    assert found.buffered.any()
    for fold in range(5):
        assert not any(
            shares_group(groups, i, j)
            for i, j in itertools.product(found.training(fold).tolist(), found.tested(fold).tolist())
        )
        assert not found.buffered[fold][found.tested(fold)].any()


def test_a_group_larger_than_a_fold_is_divided_and_its_members_train_for_none_of_it():
    groups = [range(40), range(40, 50)]
    found = folds_of(groups, 100)
    assert len(set(found.fold[:40])) > 1
    for fold in range(5):
        if (found.fold[:40] == fold).any():
            assert not (found.training(fold) < 40).any()
    assert np.bincount(found.fold).max() <= 22
    assert len(set(found.block[:40])) == 1


def test_the_buffer_follows_original_groups_of_every_source_not_merged_ones():
    # {0..4} and {0..5} merge; 5 shares no original group with what {0, 6} alone holds.
    one, two = source_of([range(5), range(6)], 30, name="one"), source_of([[0, 6]], 30, name="two")
    found = group_folds(30, pool_units([one, two]), [one, two], n_folds=3)
    away = found.fold[6]
    if away != found.fold[0]:
        assert found.buffered[away].nonzero()[0].tolist() == [0]
    assert found.fold[5] == found.fold[0]


def test_the_seed_decides_and_nothing_else():
    groups = [range(start, start + 4) for start in range(0, 40, 4)]
    one, same, other = (folds_of(groups, 100, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.fold, same.fold)
    assert (one.fold != other.fold).any()
    np.testing.assert_array_equal(one.block, other.block)


def test_the_order_of_rows_and_of_groups_changes_no_fold():
    rng = np.random.default_rng(0)
    groups = [list(range(start, start + 4)) for start in range(0, 60, 4)]
    source = source_of(groups, 60)
    order = rng.permutation(60)
    # Row `order[i]` was row i; the groups come in another order too.
    moved = {name: np.sort(order[rows]) for name, rows in reversed(source.groups.items())}
    other = KnownPairs("source", names_of(60), NONE, NONE, moved, GIVEN, 0)
    one, two = (group_folds(60, pool_units([each]), [each]) for each in (source, other))
    np.testing.assert_array_equal(two.fold[order], one.fold)


def test_without_groups_folds_are_even_and_blocks_single():
    found = folds_of([], 52)
    assert sorted(np.bincount(found.fold).tolist()) == [10, 10, 10, 11, 11]
    assert found.n_blocks == 52
    np.testing.assert_array_equal(found.share_kept, np.ones(5))


def test_arrays_are_read_only():
    found = folds_of([range(4)], 20)
    with pytest.raises(ValueError, match="read-only"):
        found.fold[0] = 1


@pytest.mark.parametrize(("n", "n_folds"), [(4, 5), (10, 1)])
def test_folds_without_a_perturbation_are_refused(n, n_folds):
    with pytest.raises(InputError, match=f"{n} perturbations cannot be dealt to {n_folds} folds: expected 2"):
        folds_of([], n, n_folds=n_folds)


@settings(max_examples=30, deadline=None)
@given(n_blocks=st.integers(1, 90), n_sets=st.integers(2, 20), seed=st.integers(0, 3))
def test_sets_of_blocks_are_of_nearly_equal_size(n_blocks, n_sets, seed):
    found = block_sets(n_blocks, n_sets=n_sets, seed=seed)
    sizes = np.bincount(found)
    assert len(found) == n_blocks
    assert len(sizes) == min(n_blocks, n_sets)
    assert sizes.max() - sizes.min() <= 1
    np.testing.assert_array_equal(found, block_sets(n_blocks, n_sets=n_sets, seed=seed))


def test_sets_of_blocks_are_drawn():
    assert (block_sets(200, seed=0) != block_sets(200, seed=1)).mean() > 0.8
