"""Macro partner recall, against a loop over members and random orders of ties."""

import numpy as np
import pytest
from builders import map_of, module_profiles, random_map
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.partners import chance_recall, partner_recall
from explorer.relate import TIE_DECIMALS, neighborhoods


def naive_recall(profiles, groups, k):
    """Follow the definition, member by member, ties shared by their number."""
    norms = np.linalg.norm(profiles, axis=1)
    unit = profiles / np.where(norms > 0, norms, 1)[:, None]
    recalls = []
    for group in groups:
        shares = []
        for i in group:
            others = [j for j in range(len(unit)) if j != i and norms[j] > 0 and norms[i] > 0]
            cosine = {j: round(float(unit[i] @ unit[j]), TIE_DECIMALS) for j in others}
            ranked = sorted(cosine.values(), reverse=True)
            credit = 0.0
            if ranked:
                last = ranked[min(k, len(ranked)) - 1]
                above = [j for j in others if cosine[j] > last]
                tied = [j for j in others if cosine[j] == last]
                share = min(1.0, (k - len(above)) / len(tied))
                credit = sum(j in group for j in above) + share * sum(j in group for j in tied)
            shares.append(credit / min(k, len(group) - 1))
        recalls.append(np.mean(shares))
    return recalls


def test_a_constant_map_finds_partners_by_chance():
    found = neighborhoods(map_of(np.ones((10, 3))), k=2)
    assert partner_recall(found, [np.array([0, 1, 2])]) == pytest.approx([2 / 9])


def test_each_member_counts_once():
    # A and B are nearest to one another; C is nearest to X.
    profiles = [[1, 0, 0], [1, 0.1, 0], [0, 0, 1], [0, 0.1, 1]]
    found = neighborhoods(map_of(profiles, names=["A", "B", "C", "X"]), k=1)
    assert partner_recall(found, [np.array([0, 1, 2])]) == pytest.approx([2 / 3])


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    k=st.integers(1, 8),
    levels=st.integers(1, 4),
    groups=st.lists(st.sets(st.integers(0, 17), min_size=2, max_size=7), min_size=1, max_size=5),
)
def test_recall_follows_the_definition_with_any_ties(seed, k, levels, groups):
    profiles = np.random.default_rng(seed).integers(0, levels + 1, size=(18, 3)).astype(float)
    members = [np.array(sorted(group)) for group in groups]
    found = partner_recall(neighborhoods(map_of(profiles), k=k), members)
    np.testing.assert_allclose(found, naive_recall(profiles, groups, k), atol=1e-12)


def test_planted_modules_are_found_and_random_maps_score_by_chance():
    profiles, module = module_profiles(noise=0.2)
    groups = [np.flatnonzero(module == number) for number in range(6)]
    assert partner_recall(neighborhoods(map_of(profiles), k=10), groups).min() > 0.95
    chance = chance_recall(groups, n_perturbations=60, k=10)
    scores = [partner_recall(neighborhoods(random_map(60, 40, seed=seed), k=10), groups).mean() for seed in range(60)]
    assert np.mean(scores) == pytest.approx(chance.mean(), abs=4 * np.std(scores) / np.sqrt(len(scores)))


def test_no_group_gives_no_number():
    assert len(partner_recall(neighborhoods(random_map(10, 3, seed=0), k=2), [])) == 0
