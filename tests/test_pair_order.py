"""Pairs in order: against sorting all of them, with any filter, block size and number kept; caps; ties by name."""

import numpy as np
import pytest
from builders import map_of, names_of, random_map
from hypothesis import given, settings
from hypothesis import strategies as st
from test_annotated import grouped
from test_stand_ins import pairs_known

from explorer.annotated import annotate
from explorer.errors import InputError
from explorer.pair_order import (
    N_STEPS,
    ORDERS,
    FirstPairs,
    Ordered,
    PairOrder,
    capped,
    capped_until,
    order_pairs,
    step_of,
)
from explorer.pair_scores import score_pairs


def scored(n, *, seed, silent=(), dimensions=(5, 8), levels=None):
    rng = np.random.default_rng(seed)
    made = []
    for number, d in enumerate(dimensions):
        profiles = rng.normal(size=(n, d)) if levels is None else rng.integers(-levels, levels + 1, (n, d)) + 0.25
        for row in silent[number] if number < len(silent) else ():
            profiles[row] = 0
        made.append(score_pairs(map_of(profiles)))
    return tuple(made)


def combined(order, contexts, first, second):
    """Scores of an order in plain words."""
    values = []
    for simple, learned in contexts:
        one, other = simple.normal_scores(first, second), learned.normal_scores(first, second)
        values.append(
            {
                "either map": np.where(np.isnan(one), other, np.where(np.isnan(other), one, np.maximum(one, other))),
                "both maps": np.where(np.isnan(one) | np.isnan(other), np.nan, np.minimum(one, other)),
                "simple": one,
                "learned": other,
                "learned minus simple": other - one,
            }[order]
        )
    return sum(values) / len(values)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("n_contexts", [1, 2])
def test_orders_are_as_named(order, n_contexts):
    maps = scored(20, seed=1, silent=[(3,), (3, 8), (), (5,)], dimensions=(4, 9, 6, 5)[: 2 * n_contexts])
    contexts = tuple(zip(maps[::2], maps[1::2], strict=True))
    made = PairOrder(contexts, order)
    first, second = np.triu_indices(20, k=1)
    expected = combined(order, contexts, first, second)
    np.testing.assert_allclose(made.of(first, second), expected)
    block = made.block(0, 20)
    np.testing.assert_allclose(block[first, second], expected)
    assert np.isnan(block[second, first]).all()
    np.testing.assert_allclose(made.rows(np.arange(20))[second, first], expected)
    assert made.names == names_of(20)


def test_an_unknown_order_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="either map"):
        PairOrder((scored(5, seed=0),), "either maps")  # type: ignore[arg-type]


@st.composite
def settings_of(draw):
    n = draw(st.integers(3, 24))
    return {
        "n": n,
        "seed": draw(st.integers(0, 1_000)),
        "order": draw(st.sampled_from(ORDERS)),
        "levels": draw(st.sampled_from([None, 1])),
        "n_first": draw(st.sampled_from([1, 3, 10, 1_000])),
        "n_apart": draw(st.sampled_from([0, 2, 1_000])),
        "values": draw(st.sampled_from([1, 30, 200, 2**21])),
        "filtered": draw(st.booleans()),
    }


@settings(max_examples=80, deadline=None)
@given(case=settings_of())
def test_the_first_pairs_and_the_counts_are_those_of_sorting_all(case):
    import explorer.pair_scores as module

    n, rng = case["n"], np.random.default_rng(case["seed"])
    maps = scored(n, seed=case["seed"], levels=case["levels"])
    order = PairOrder((maps,), case["order"])
    names = names_of(n)
    known = [pairs_known(names, [tuple(rng.choice(n, 2, replace=False)) for _ in range(n // 2)])]
    known.append(grouped(names, [rng.choice(n, 2, replace=False).tolist() for _ in range(3)]))
    annotation = annotate(known, names)
    able = rng.random((n, n)) < 0.6
    usual, module._BLOCK_VALUES = module._BLOCK_VALUES, case["values"]
    told = []
    try:
        found = order_pairs(
            order,
            annotation,
            n_first=case["n_first"],
            n_apart=case["n_apart"],
            may_be_listed=(lambda start, stop: able[start:stop, start:]) if case["filtered"] else None,
            say=told.append,
        )
    finally:
        module._BLOCK_VALUES = usual
    first, second = np.triu_indices(n, k=1)
    scores = order.of(first, second)
    is_known, is_apart = annotation.known(first, second), annotation.apart(first, second)
    listable = able[first, second] if case["filtered"] else np.ones(len(first), dtype=bool)
    for kept, mask, most, n_met in (
        (found.candidates, ~is_known & ~is_apart & listable, case["n_first"], found.n_candidates),
        (found.apart, is_apart & listable, case["n_apart"], found.n_apart),
    ):
        rows = sorted(np.flatnonzero(mask).tolist(), key=lambda row: (-scores[row], first[row], second[row]))
        assert n_met == len(rows)
        assert kept.is_all == (len(rows) <= most)
        assert kept.first.tolist() == first[rows[:most]].tolist()
        assert kept.second.tolist() == second[rows[:most]].tolist()
        np.testing.assert_array_equal(kept.scores, scores[rows[:most]])
    # What may be listed does not change what is counted.
    assert found.n_pairs.tolist() == np.bincount(step_of(scores), minlength=N_STEPS).tolist()
    assert found.n_known.tolist() == np.bincount(step_of(scores[is_known]), minlength=N_STEPS).tolist()
    assert told == sorted(told)
    assert told[-1] == 1


def test_a_profile_without_length_is_asked_in_the_other_map_only():
    maps = scored(9, seed=3, silent=[(2,), (2, 4)])
    annotation = annotate([], names_of(9))
    either = order_pairs(PairOrder((maps,)), annotation, n_first=100)
    # Nobody says anything of row 2; the simple map does of row 4.
    assert either.n_candidates == 8 * 7 // 2
    assert not (either.candidates.first == 2).any()
    assert ((either.candidates.first == 4) | (either.candidates.second == 4)).sum() == 7
    both = order_pairs(PairOrder((maps,), "both maps"), annotation, n_first=100)
    assert both.n_candidates == 7 * 6 // 2


def test_steps_are_ordered_and_within_bounds():
    scores = np.array([-1e9, -16, -3, -0.0004, 0, 0.0004, 0.0006, 5, 16, 1e9])
    steps = step_of(scores)
    assert (np.diff(steps) >= 0).all()
    assert steps[0] == 0
    assert steps[-1] == N_STEPS - 1
    assert steps[4] == steps[3] == steps[5] == (N_STEPS - 1) // 2
    assert steps[6] == steps[4] + 1


def naive_capped(pairs, most):
    kept = []
    for place, pair in enumerate(pairs):
        so_far = [name for number in kept for name in pairs[number]]
        if all(so_far.count(name) < most for name in pair):
            kept.append(place)
    return kept


@settings(max_examples=60, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 6), st.integers(7, 12)), max_size=40, unique=True),
    most=st.integers(1, 4),
    n_wanted=st.one_of(st.none(), st.integers(0, 12)),
)
def test_caps_are_those_of_counting(pairs, most, n_wanted):
    first, second = (np.array([pair[side] for pair in pairs], dtype=np.intp) for side in (0, 1))
    kept = capped(first, second, most=most, n_wanted=n_wanted)
    assert kept.tolist() == naive_capped(pairs, most)[:n_wanted]


def test_more_pairs_are_looked_at_until_enough_are_left():
    # One perturbation is nearest to all, so that the first thousands of pairs are its own.
    asked = []

    def find(*, n_first):
        asked.append(n_first)
        first = np.r_[np.zeros(4_999, dtype=np.intp), np.arange(5_000, 5_100)]
        second = np.r_[np.arange(1, 5_000), np.arange(6_000, 6_100)]
        part = FirstPairs(first[:n_first], second[:n_first], np.zeros(min(n_first, 5_099)), is_all=n_first >= 5_099)
        return Ordered(part, part, np.zeros(1), np.zeros(1), 5_099, 0)

    found, kept = capped_until(find, lambda pairs: capped(pairs.first, pairs.second, most=3, n_wanted=50), n_wanted=50)
    assert asked == [2_000, 16_000]
    assert kept.tolist() == [0, 1, 2, *range(4_999, 5_046)]
    assert found.candidates.is_all
    # And there are no more than there are.
    _, kept = capped_until(find, lambda pairs: capped(pairs.first, pairs.second, most=3), n_wanted=2_000)
    assert len(kept) == 103


def test_two_thousand_perturbations_in_blocks():
    one = score_pairs(random_map(2_000, 32, seed=0))
    other = score_pairs(random_map(2_000, 32, seed=1))
    order = PairOrder(((one, other),))
    annotation = annotate([], one.names)
    found, kept = capped_until(
        lambda n_first: order_pairs(order, annotation, n_first=n_first),
        lambda pairs: capped(pairs.first, pairs.second, most=1, n_wanted=990),
        n_wanted=990,
    )
    # So many pairs of different perturbations lie far down the list.
    assert len(kept) == 990
    assert len(found.candidates.first) == 19_800 * 8
    first, second = np.triu_indices(2_000, k=1)
    scores = order.of(first, second)
    best = np.lexsort((first * 2_000 + second, -scores))[:19_800]
    assert (found.candidates.first[:19_800] * 2_000 + found.candidates.second[:19_800]).tolist() == (
        first[best] * 2_000 + second[best]
    ).tolist()
    assert found.n_pairs.sum() == found.n_candidates == len(first)
    assert len({*found.candidates.first[kept], *found.candidates.second[kept]}) == 1_980
