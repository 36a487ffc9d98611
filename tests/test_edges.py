"""Edges that hold: ranks and p against loops, fixtures, planted truth, and maps in which nothing can hold."""

import numpy as np
import pytest
from builders import map_of, module_profiles, random_map
from hypothesis import given, settings
from hypothesis import strategies as st
from test_stand_ins import pairs_known

from explorer import edges
from explorer.axis import axis_strata, centered
from explorer.edges import HOLDS_Q, edge_tests, mutual_ranks, partial_conjunction
from explorer.errors import InputError
from explorer.relate import TIE_DECIMALS
from explorer.significance import add_one_p, benjamini_hochberg
from explorer.stand_ins import draw_decoys, neighbor_graph

N_MODULES, SIZE = 20, 6


def planted(*, seed, n_features=40, order=None, noise=0.5):
    """Map of a context with the planted modules; its directions are its own, and who is in which may be shuffled."""
    profiles, _ = module_profiles(
        n_modules=N_MODULES, size=SIZE, n_others=120, n_features=n_features, noise=noise, seed=seed
    )
    return centered(map_of(profiles if order is None else profiles[order]))


def together(tests):
    """Whether the partners of each edge are in one planted module."""
    module = np.r_[np.repeat(np.arange(N_MODULES), SIZE), -1 - np.arange(120)]
    return module[tests.first] == module[tests.second]


def naive_ranks(profiles, i, j):
    """Rank of j for i, those that are equally near sharing their mean rank."""
    unit = profiles / np.linalg.norm(profiles, axis=1)[:, None]
    cosine = np.round(unit @ unit[i], TIE_DECIMALS)
    others = [row for row in range(len(unit)) if row != i]
    above = sum(cosine[row] > cosine[j] for row in others)
    equal = sum(cosine[row] == cosine[j] for row in others)
    return above + (1 + equal) / 2


def test_the_p_of_the_fixture():
    assert add_one_p(-np.array([3.0, 5, 8, 9]), -np.array([3.0])) == pytest.approx([0.4])


def test_ranks_of_1_and_300_make_a_mutual_rank_of_300():
    # On an arc: the second is the first one's nearest, and nearer to all others.
    angles = np.r_[0.0, 1.0, np.linspace(1.1, 1.9, 299)]
    arc = map_of(np.column_stack([np.cos(angles), np.sin(angles)]))
    assert naive_ranks(arc.profiles.astype(float), 0, 1) == 1
    assert naive_ranks(arc.profiles.astype(float), 1, 0) == 300
    assert mutual_ranks(arc, np.array([0, 1]), np.array([1, 0])).tolist() == [300, 300]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), levels=st.integers(1, 3), n=st.integers(3, 25))
def test_ranks_are_those_of_a_loop_with_any_ties(seed, levels, n):
    rng = np.random.default_rng(seed)
    profiles = rng.integers(-levels, levels + 1, size=(n, 3)).astype(float) + np.array([0.5, 0, 0])
    first, second = np.triu_indices(n, k=1)
    found = mutual_ranks(map_of(profiles), first, second)
    expected = [
        max(naive_ranks(profiles, i, j), naive_ranks(profiles, j, i))
        for i, j in zip(first.tolist(), second.tolist(), strict=True)
    ]
    assert found.tolist() == expected
    assert mutual_ranks(map_of(profiles), second, first).tolist() == expected


def test_ranks_do_not_depend_on_blocks(monkeypatch):
    here = random_map(40, 6, seed=1)
    first, second = np.triu_indices(40, k=1)
    whole = mutual_ranks(here, first, second)
    monkeypatch.setattr("explorer.relate._BLOCK_BYTES", 8 * 40 * 3)
    assert (mutual_ranks(here, first, second) == whole).all()
    chosen = np.array([5, 700, 5, 9])
    assert (mutual_ranks(here, first[chosen], second[chosen]) == whole[chosen]).all()


def test_profiles_of_length_zero_have_no_rank_and_take_none():
    profiles = np.random.default_rng(0).normal(size=(8, 3))
    silent = np.r_[profiles, np.zeros((3, 3))]
    first, second = np.triu_indices(11, k=1)
    found = mutual_ranks(map_of(silent), first, second)
    active = second < 8
    assert np.isnan(found[~active]).all()
    assert (found[active] == mutual_ranks(map_of(profiles), *np.triu_indices(8, k=1))).all()


def test_p_and_q_follow_the_definition():
    here, there = planted(seed=1), planted(seed=2, n_features=25)
    strata = axis_strata(here, layout=np.arange(240) % 3)
    known = pairs_known(here.names, [(i, i + 1) for i in range(0, 120, 2)])
    tests = edge_tests(here, there, strata=strata, known=[known], k=5, seed=7)
    decoys = draw_decoys(neighbor_graph(here, k=5), strata, layouts=[strata.layout], known=[known], seed=7)

    def kind(i, j):
        return (*sorted((strata.tertile[i], strata.tertile[j])), strata.layout[i] == strata.layout[j])

    pooled = {}
    ranks = mutual_ranks(there, decoys.kept, decoys.stand_in)
    for i, j, rank in zip(decoys.kept.tolist(), decoys.stand_in.tolist(), ranks.tolist(), strict=True):
        pooled.setdefault(kind(i, j), []).append(rank)
    numbers, own_ranks = {}, mutual_ranks(there, tests.first, tests.second)
    for edge in range(0, len(tests.p), 7):
        i, j, own = tests.first[edge], tests.second[edge], own_ranks[edge]
        null = pooled[kind(i, j)]
        assert tests.mutual_rank[edge] == own
        assert tests.n_decoys[edge] == len(null)
        assert tests.p[edge] == pytest.approx((1 + sum(rank <= own for rank in null)) / (1 + len(null)))
        assert numbers.setdefault(tests.decoy_class[edge], kind(i, j)) == kind(i, j)
    np.testing.assert_allclose(tests.q, benjamini_hochberg(tests.p))
    assert (tests.holds == (tests.q <= HOLDS_Q)).all()
    limit = tests.p[tests.holds].max()
    shown = [
        (1 + np.sum(np.array(null) <= rank)) / (1 + len(null)) <= limit for null in pooled.values() for rank in null
    ]
    assert tests.decoy_share == pytest.approx(np.mean(shown))


def test_planted_modules_hold_and_chance_neighbours_do_not():
    found, wrong, n_true = 0, 0, 0
    for seed in range(3):
        here, there = planted(seed=10 + seed), planted(seed=20 + seed, n_features=30)
        tests = edge_tests(here, there, strata=axis_strata(here), seed=seed)
        true = together(tests)
        found, wrong, n_true = (
            found + (tests.holds & true).sum(),
            wrong + (tests.holds & ~true).sum(),
            n_true + true.sum(),
        )
        assert tests.decoy_share < 0.05
    assert found > 0.9 * n_true
    # Nominal .1.
    assert wrong < 0.16 * (found + wrong)


def test_names_dealt_anew_hold_at_the_nominal_rate_at_most():
    shares, called = [], []
    for seed in range(6):
        here = planted(seed=seed)
        there = planted(seed=100 + seed, order=np.random.default_rng(seed).permutation(240))
        tests = edge_tests(here, there, strata=axis_strata(here), seed=seed)
        shares.append((tests.p <= 0.05).mean())
        called.append(int(tests.holds.sum()))
    assert np.mean(shares) < 0.07
    assert sum(number > 0 for number in called) <= 2


def test_hubs_do_not_hold():
    # Hubs lie along the axis that all others vary on: near everybody in both contexts, and nobody is near them.
    rng = np.random.default_rng(3)
    hub = np.zeros(240)
    hub[:8] = 1.0
    sides = []
    for _ in range(2):
        profiles = rng.normal(size=(240, 30))
        axis = rng.normal(size=30) / np.sqrt(30)
        lean = 2.5 * np.abs(rng.normal(size=240))
        sides.append(centered(map_of(np.where(hub[:, None] > 0, 8 * axis, profiles + lean[:, None] * axis))))
    here, there = sides
    found = edge_tests(here, there, strata=axis_strata(here))
    touches = (hub[found.first] + hub[found.second]) == 1
    assert touches.sum() > 100
    assert (found.holds & touches).sum() == 0


def test_a_shared_axis_alone_does_not_hold():
    # The same loads on an axis in both contexts, whose directions have nothing in common.
    rng = np.random.default_rng(5)
    load = rng.normal(size=300)
    here, there = (
        centered(map_of(rng.normal(size=(300, 30)) + 0.7 * load[:, None] * rng.normal(size=30))) for _ in range(2)
    )
    tests = edge_tests(here, there, strata=axis_strata(here))
    assert np.median(tests.mutual_rank) < 150  # by chance some 210
    assert tests.holds.mean() < 0.01


def test_an_axis_that_drowns_all_else_needs_decoys_that_are_nearer(monkeypatch):
    # Two steps along such an axis reach all that is like an edge's partners; what is left is farther off than they are.
    rng = np.random.default_rng(5)
    load = rng.normal(size=300)
    here, there = (
        centered(map_of(rng.normal(size=(300, 30)) + 1.5 * load[:, None] * rng.normal(size=30))) for _ in range(2)
    )
    tests = edge_tests(here, there, strata=axis_strata(here))
    assert tests.holds.mean() < 0.01
    assert (tests.p <= 0.05).mean() < 0.1
    assert "most perturbations are within two steps of one another" in tests.note
    # The same, were all decoys farther than two steps away.
    monkeypatch.setattr(edges, "LEAST_LEFT", 0.0)
    assert edge_tests(here, there, strata=axis_strata(here)).holds.mean() > 0.05


def test_classes_in_which_two_steps_leave_enough_are_left_alone():
    here, there = planted(seed=1), planted(seed=2)
    tests = edge_tests(here, there, strata=axis_strata(here), k=3)
    graph, strata = neighbor_graph(here, k=3), axis_strata(here)
    far, near = (draw_decoys(graph, strata, n_steps=steps).n_able for steps in (2, 1))
    for number in np.unique(tests.decoy_class):
        inside = tests.decoy_class == number
        assert far[inside].sum() > 0.5 * near[inside].sum()
    assert not tests.note


def test_a_shared_layout_alone_does_not_hold():
    rng = np.random.default_rng(6)
    unit = np.arange(300) % 6
    here, there = (
        centered(map_of(rng.normal(size=(300, 30)) + 0.8 * rng.normal(size=(6, 30))[unit])) for _ in range(2)
    )
    blind = edge_tests(here, there, strata=axis_strata(here))
    declared = edge_tests(here, there, strata=axis_strata(here, layout=unit))
    elsewhere = edge_tests(here, there, strata=axis_strata(here), other_layout=unit)
    assert blind.holds.sum() > 500
    assert not declared.holds.any()
    # Whichever of the two declares it.
    np.testing.assert_array_equal(declared.p, elsewhere.p)


def test_order_of_rows_and_swapped_signs_change_nothing():
    here, there = planted(seed=1), planted(seed=2)
    tests = edge_tests(here, there, strata=axis_strata(here), seed=4)
    order = np.random.default_rng(0).permutation(240)
    names = [here.names[row] for row in order]
    moved = [map_of(side.profiles[order], names) for side in (here, there)]
    again = edge_tests(moved[0], moved[1], strata=axis_strata(moved[0]), seed=4)
    other = edge_tests(here, there, strata=axis_strata(here), seed=5)
    for name in ("first", "second", "mutual_rank", "p", "q", "decoy_class", "n_decoys"):
        np.testing.assert_array_equal(getattr(tests, name), getattr(again, name))
    np.testing.assert_array_equal(tests.mutual_rank, other.mutual_rank)
    assert (tests.p != other.p).any()
    assert (tests.first < tests.second).all()


def test_a_map_in_which_all_are_alike_shows_nothing():
    here = planted(seed=1)
    strata = axis_strata(here)
    # Two directions alone: everybody is nearest to half of all.
    sign = np.where(np.arange(240) % 2, 1.0, -1.0)[:, None] * np.ones((240, 2))
    tied = edge_tests(here, map_of(sign), strata=strata)
    assert not tied.holds.any()
    assert np.unique(tied.mutual_rank).tolist() == [60.0, 179.5]
    constant = edge_tests(here, centered(map_of(np.ones((240, 2)))), strata=strata)
    assert np.isnan(constant.p).all()
    assert np.isnan(constant.mutual_rank).all()
    assert not constant.holds.any()
    assert np.isnan(constant.decoy_share)
    assert "a partner's profile is zero there" in constant.note


def test_profiles_of_length_zero_are_not_tested_and_stand_in_for_nobody():
    here, there = planted(seed=1), planted(seed=2)
    silent = np.arange(240) % 10 == 0
    half = map_of(np.where(silent[:, None], 0, there.profiles))
    tests = edge_tests(here, half, strata=axis_strata(here))
    touched = silent[tests.first] | silent[tests.second]
    assert np.isnan(tests.p[touched]).all()
    assert not np.isnan(tests.p[~touched]).any()
    assert (
        tests.note
        == f"{touched.sum()} of {len(tests.p):,} edges can't be tested, since a partner's profile is zero there"
    )
    gone = map_of(np.where(silent[:, None], 0, here.profiles))
    fewer = edge_tests(gone, there, strata=axis_strata(gone))
    assert not (silent[fewer.first] | silent[fewer.second]).any()


def test_where_all_pairs_are_known_nothing_can_be_tested():
    here = planted(seed=1)
    everyone = pairs_known(here.names, [(i, j) for i in range(240) for j in range(i)])
    tests = edge_tests(here, planted(seed=2), strata=axis_strata(here), known=[everyone])
    assert np.isnan(tests.p).all()
    assert (tests.n_decoys == 0).all()
    assert not tests.holds.any()
    assert tests.note == (
        f"{len(tests.p):,} of {len(tests.p):,} edges can't be tested, since no pair is left to compare them with: "
        "28,680 of 28,680 pairs are known, and only others can be decoys"
    )


def test_where_everybody_is_near_everybody_nothing_can_be_tested():
    here = planted(seed=1)
    tests = edge_tests(here, planted(seed=2), strata=axis_strata(here), k=239)
    assert np.isnan(tests.p).all()
    assert "with 239 neighbours each, nearly all of 240 perturbations are neighbours" in tests.note


def test_edges_of_perturbations_without_a_position_are_not_tested():
    here = planted(seed=1)
    layout = np.where(np.arange(240) < 30, -1, np.arange(240) % 2)
    tests = edge_tests(here, planted(seed=2), strata=axis_strata(here, layout=layout))
    without = (tests.first < 30) | (tests.second < 30)
    assert np.isnan(tests.p[without]).all()
    assert (tests.decoy_class[without] == -1).all()
    assert not np.isnan(tests.p[~without]).any()
    assert tests.note.endswith("edges can't be tested, since a partner has no position in the layout")


def test_few_decoys_can_not_show_that_an_edge_holds():
    here, there = centered(random_map(60, 8, seed=0)), centered(random_map(60, 8, seed=1))
    tests = edge_tests(here, there, strata=axis_strata(here), k=57)
    assert ((tests.n_decoys > 0) & (tests.n_decoys < 9)).any()
    assert "have too few pairs to compare them with, so that they can't hold" in tests.note


def test_maps_of_different_perturbations_are_refused():
    here, other = planted(seed=1), map_of(np.eye(240), [f"Q{number:03d}" for number in range(240)])
    with pytest.raises(InputError, match="restrict all to the common ones"):
        edge_tests(here, other, strata=axis_strata(here))
    with pytest.raises(InputError, match="k = 240 neighbours"):
        edge_tests(here, here, strata=axis_strata(here), k=240)


def test_partial_conjunction_of_the_fixture():
    p = [[0.01, 0.03, 0.4], [0.4, 0.01, 0.03], [0.9, 0.8, 0.7]]
    assert partial_conjunction(p, at_least=2) == pytest.approx([0.06, 0.06, 1.0])
    assert partial_conjunction(p, at_least=1) == pytest.approx([0.03, 0.03, 1.0])
    assert partial_conjunction(p, at_least=3) == pytest.approx([0.4, 0.4, 0.9])


def test_partial_conjunction_where_contexts_could_not_be_tested():
    p = [[0.01, np.nan, 0.02], [0.01, np.nan, np.nan], [np.nan] * 3]
    np.testing.assert_allclose(partial_conjunction(p, at_least=2), [0.04, np.nan, np.nan])
    np.testing.assert_allclose(partial_conjunction(p, at_least=1), [0.03, 0.03, np.nan])


@pytest.mark.parametrize("at_least", [0, 4, True, 1.5])
def test_partial_conjunction_of_more_contexts_than_there_are_is_refused(at_least):
    with pytest.raises(InputError, match="choose from 1 to 3"):
        partial_conjunction([[0.1, 0.2, 0.3]], at_least=at_least)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(1, 5), u=st.integers(1, 5))
def test_partial_conjunction_is_valid_where_too_few_hold(seed, n, u):
    u = min(u, n)
    rng = np.random.default_rng(seed)
    p = rng.random((400, n))
    p[:, : u - 1] = 0  # all but u - 1 are none
    assert (partial_conjunction(p, at_least=u) <= 0.1).mean() < 0.1 + 4 * 0.015
