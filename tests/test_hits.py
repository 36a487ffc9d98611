"""Known pairs among the most similar ones, against sorted lists of all pairs."""

from itertools import combinations

import numpy as np
import pytest
from builders import map_of, random_map
from hypothesis import given, settings
from hypothesis import strategies as st
from test_known import source_of

from explorer import hits
from explorer.errors import InputError
from explorer.hits import by_unit, known_credit, pair_similarities, pool_pairs, top_pairs
from explorer.known import GIVEN, KnownPairs, pool_units
from explorer.relate import TIE_DECIMALS


def all_pairs(profiles):
    """Cosines of all pairs with a profile, most similar first, ties by row."""
    norms = np.linalg.norm(profiles, axis=1)
    found = [
        (-round(float(profiles[i] @ profiles[j] / norms[i] / norms[j]), TIE_DECIMALS) + 0.0, i, j)
        for i, j in combinations(range(len(profiles)), 2)
        if norms[i] > 0 and norms[j] > 0
    ]
    return sorted(found)


def known_of(pairs, groups, *, n, name="source"):
    first, second = (np.array(part, dtype=np.intp) for part in zip(*sorted(pairs), strict=True))
    rows = {f"g{place}": np.array(sorted(group), dtype=np.intp) for place, group in enumerate(groups)}
    return KnownPairs(name, source_of(n=n).names, first, second, rows, GIVEN, 0)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), levels=st.integers(1, 5), budget=st.integers(1, 60), block=st.integers(1, 60))
def test_lists_hold_the_most_similar_pairs_whatever_the_blocks(seed, levels, budget, block):
    profiles = np.random.default_rng(seed).integers(0, levels + 1, size=(13, 3)).astype(float)
    expected = all_pairs(profiles)
    if len(expected) < budget:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hits, "_BLOCK_VALUES", block)
        patch.setattr(hits, "_FIRST_BLOCK_VALUES", block // 2)
        found = top_pairs(map_of(profiles), budget)
    np.testing.assert_allclose(found.similarities, [-value for value, *_ in expected[:budget]])
    assert list(zip(*(part.tolist() for part in found.rows(budget)), strict=True)) == [
        (i, j) for _, i, j in expected[:budget]
    ]
    last = expected[budget - 1][0]
    assert found.n_tied_last == sum(value == last for value, *_ in expected)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), levels=st.integers(1, 5), listed=st.integers(8, 40), share=st.floats(0.1, 1))
def test_ties_at_the_last_place_count_by_probability(seed, levels, listed, share):
    rng = np.random.default_rng(seed)
    profiles = rng.integers(0, levels + 1, size=(13, 3)).astype(float)
    expected = all_pairs(profiles)
    if len(expected) < listed:
        return
    budget = max(1, int(share * listed))
    pairs = [pair for pair in combinations(range(13), 2) if rng.random() < 0.4] or [(0, 1)]
    known = known_of(pairs, [], n=13)
    pooled = pool_pairs([known], pool_units([known]))
    made = map_of(profiles, names=known.names)
    credit = known_credit(made, top_pairs(made, listed), pooled, budget=budget)
    last = expected[budget - 1][0]
    above = sum(value < last for value, *_ in expected)
    tied = sum(value == last for value, *_ in expected)
    value_of = {(i, j): value for value, i, j in expected}
    naive = [
        0.0 if pair not in value_of or value_of[pair] > last
        else 1.0 if value_of[pair] < last
        else (budget - above) / tied
        for pair in sorted(pairs)
    ]  # fmt: skip
    np.testing.assert_allclose(credit, naive)


def test_each_pair_belongs_to_its_smallest_unit_and_links_have_units_of_their_own():
    groups = [range(8), [0, 1, 2], [10, 11]]
    known = known_of([(0, 1), (0, 5), (1, 10), (2, 11), (10, 11), (20, 21)], groups, n=30)
    units = pool_units([known])
    pooled = pool_pairs([known], units)
    names = [pooled.names[number] for number in pooled.unit.tolist()]
    assert names == [
        "source: g1", "source: g0", "between source: g1 and source: g2", "between source: g1 and source: g2",
        "source: g2", "between no group and no group",
    ]  # fmt: skip
    np.testing.assert_array_equal(by_unit(pooled, np.ones(6)).sum(), 6)


def test_a_pair_of_two_sources_counts_once():
    one = known_of([(0, 1), (2, 3)], [[0, 1]], n=10)
    other = known_of([(0, 1), (4, 5)], [[4, 5]], n=10, name="other")
    assert pool_pairs([one, other], pool_units([one, other])).n_pairs == 3


def test_budgets_that_cannot_be_had_are_refused():
    made = random_map(6, 3, seed=0)
    assert top_pairs(made, 15).n_listed == 15
    for wrong in (0, 16, -1, True):
        with pytest.raises(InputError, match="choose from 1 to 15"):
            top_pairs(made, wrong)


def test_profiles_of_length_zero_are_in_no_pair():
    profiles = np.random.default_rng(0).normal(size=(6, 3))
    profiles[2] = 0
    made = map_of(profiles)
    first, second = top_pairs(made, 10).rows(10)
    assert 2 not in {*first.tolist(), *second.tolist()}
    assert pair_similarities(made, np.array([0]), np.array([2]))[0] == -np.inf
