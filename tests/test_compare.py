"""Agreement of two maps: fixtures of its definition, ties, chance, and the merged table."""

import math
from itertools import pairwise

import numpy as np
import pytest
from builders import map_of, module_profiles, names_of, random_map
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.compare import (
    ONLY_LEFT,
    ONLY_RIGHT,
    SHARED,
    OverlapDistribution,
    common_maps,
    compare_query,
    expected_overlap,
    graph_overlap,
    known_counts,
    merged_table,
    overlap_distribution,
    rank_biased_overlap,
)
from explorer.errors import InputError
from explorer.relate import membership, neighborhood, neighborhoods
from explorer.relationships import Knowledge, Relationships

PERMUTATIONS = st.permutations(range(8))


def scores_of(order, n: int | None = None) -> np.ndarray:
    """Scores that rank items in a given order."""
    scores = np.full(n or len(order), -np.inf)
    scores[list(order)] = np.arange(len(order), 0, -1)
    return scores


def rank_biased_overlap_in_a_loop(left, right, p=0.9):
    """Webber et al. 2010, equation 32, of two lists without ties."""
    depth = len(left)
    shared = [len(set(left[:seen]) & set(right[:seen])) for seen in range(1, depth + 1)]
    total = sum(x / seen * p**seen for seen, x in enumerate(shared, start=1))
    return shared[-1] / depth * p**depth + (1 - p) / p * total


# Fixtures of the definition


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ([0, 1, 2], [2, 1, 0], 0.855),
        ([0, 1, 2], [0, 1, 2], 1.0),
        ([0, 1, 2], [3, 4, 5], 0.0),
        ([0], [0], 1.0),
        ([0], [1], 0.0),
    ],
)
def test_rank_biased_overlap_by_hand(left, right, expected):
    found = rank_biased_overlap(scores_of(left, 6), scores_of(right, 6), depth=len(left))
    assert found == pytest.approx(expected, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(left=PERMUTATIONS, right=PERMUTATIONS, depth=st.integers(1, 8), p=st.floats(0.05, 0.95))
def test_rank_biased_overlap_is_that_of_a_loop(left, right, depth, p):
    found = rank_biased_overlap(scores_of(left), scores_of(right), depth=depth, persistence=p)
    assert found == pytest.approx(rank_biased_overlap_in_a_loop(left[:depth], right[:depth], p), abs=1e-12)
    assert found == pytest.approx(rank_biased_overlap(scores_of(right), scores_of(left), depth=depth, persistence=p))


def test_first_ranks_weigh_most():
    base = list(range(8))
    first, last = [1, 0, *base[2:]], [*base[:6], 7, 6]
    scores = [rank_biased_overlap(scores_of(base), scores_of(other), depth=8) for other in (first, last)]
    assert scores[0] < scores[1] < 1


def test_tied_ranks_give_the_expected_rank_biased_overlap():
    left, right = np.array([2.0, 1, 1, 0]), np.array([1.0, 1, 2, 0])
    rng, found = np.random.default_rng(0), []
    for _ in range(3000):
        one, other = (np.lexsort((rng.random(4), -scores))[:3].tolist() for scores in (left, right))
        found.append(rank_biased_overlap_in_a_loop(one, other))
    assert rank_biased_overlap(left, right, depth=3) == pytest.approx(np.mean(found), abs=0.01)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_scores_of_one_query(k):
    left, right = random_map(30, 5, seed=0), random_map(30, 5, seed=1)
    for query in left.names[:10]:
        found = compare_query(left, right, query, k=k).agreement
        sides = [neighborhood(side, query, k=k).names for side in (left, right)]
        shared = len(set(sides[0]) & set(sides[1]))
        assert found.overlap == pytest.approx(shared / k)
        assert found.jaccard == pytest.approx(shared / len(set(sides[0]) | set(sides[1])))
        assert found.jaccard == pytest.approx(found.overlap / (2 - found.overlap))
        assert found.chance == pytest.approx(k / 29)
        assert found.kappa == pytest.approx((found.overlap - k / 29) / (1 - k / 29))
        assert found.rank_biased_overlap == pytest.approx(rank_biased_overlap_in_a_loop(*map(list, sides)))
        assert (found.k, found.n_perturbations) == (k, 30)


def test_equal_maps_agree_fully():
    made = random_map(30, 5, seed=2)
    found = compare_query(made, made, "P0003", k=7)
    assert (found.agreement.overlap, found.agreement.kappa, found.agreement.jaccard) == (1, 1, 1)
    assert found.agreement.rank_biased_overlap == pytest.approx(1)
    assert set(found.sides.values()) == {SHARED}
    assert overlap_distribution(made, made, k=7).mean == 1
    assert graph_overlap(neighborhoods(made, k=7), neighborhoods(made, k=7)) == 1


def test_disjoint_neighbourhoods_share_nothing():
    # On a circle the nearest are those beside; in the other map the nearest are those across.
    angle = np.arange(12) * 2 * np.pi / 12
    beside = map_of(np.column_stack([np.cos(angle), np.sin(angle)]))
    twice = np.column_stack([np.cos(5 * angle), np.sin(5 * angle)])
    found = compare_query(beside, map_of(twice), "P0000", k=2)
    assert set(found.left.names) == {"P0001", "P0011"}
    assert set(found.right.names) == {"P0005", "P0007"}
    assert (found.agreement.overlap, found.agreement.jaccard, found.agreement.rank_biased_overlap) == (0, 0, 0)
    assert found.agreement.kappa == pytest.approx((0 - 2 / 11) / (1 - 2 / 11))


def test_all_neighbours_say_nothing():
    found = compare_query(random_map(6, 3, seed=0), random_map(6, 3, seed=1), "P0000", k=5).agreement
    assert found.overlap == found.chance == 1
    assert math.isnan(found.kappa)


def test_opposites_are_compared_with_opposites():
    left, right = random_map(30, 5, seed=3), random_map(30, 5, seed=4)
    found = compare_query(left, right, "P0004", k=6, opposite=True)
    mirrored = [map_of(np.where(np.arange(30)[:, None] == 4, -side.profiles, side.profiles)) for side in (left, right)]
    expected = compare_query(*mirrored, "P0004", k=6)
    assert found.opposite
    assert (found.left.names, found.right.names) == (expected.left.names, expected.right.names)
    assert found.agreement == expected.agreement


# Ties


def test_a_constant_map_agrees_with_itself_by_chance_alone():
    constant = map_of(np.tile(np.random.default_rng(0).normal(size=9), (21, 1)))
    found = compare_query(constant, constant, "P0007", k=5)
    assert found.left.names == found.right.names == ("P0000", "P0001", "P0002", "P0003", "P0004")
    assert found.agreement.overlap == pytest.approx(found.agreement.chance)
    assert found.agreement.kappa == pytest.approx(0)
    distribution = overlap_distribution(constant, constant, k=5)
    np.testing.assert_allclose(distribution.overlaps, 5 / 20)
    assert distribution.mean == pytest.approx(distribution.chance)


@pytest.mark.parametrize("other", ["constant", "random"])
def test_a_constant_map_agrees_with_any_map_by_chance_alone(other):
    constant = map_of(np.ones((40, 4)))
    compared = map_of(np.ones((40, 2))) if other == "constant" else random_map(40, 4, seed=0)
    np.testing.assert_allclose(overlap_distribution(constant, compared, k=6).overlaps, 6 / 39)
    # Undirected edges: i~j when either chose the other, p = 1 − (1 − k/(n−1))².
    rng, drawn = np.random.default_rng(1), []
    for _ in range(60):
        graphs = []
        for side in ("constant", other):
            edges = set()
            for i in range(40):
                chosen = rng.choice(np.setdiff1d(np.arange(40), i), 6, replace=False)
                if side == "random":
                    chosen = neighborhood(compared, compared.names[i], k=6).rows
                edges |= {(min(i, int(j)), max(i, int(j))) for j in chosen}
            graphs.append(edges)
        drawn.append(len(graphs[0] & graphs[1]) / len(graphs[0] | graphs[1]))
    found = graph_overlap(neighborhoods(constant, k=6), neighborhoods(compared, k=6))
    assert found == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / np.sqrt(60) + 0.005)


def test_two_values_with_many_ties_give_the_expected_overlap():
    rng = np.random.default_rng(1)
    kinds = rng.integers(0, 2, size=(2, 24))
    left, right = (map_of(np.where(kind[:, None] == 1, [[1.0, 0.2]], [[0.1, 1.0]])) for kind in kinds)
    distribution = overlap_distribution(left, right, k=5)
    for row, query in enumerate(left.names):
        rankings = compare_query(left, right, query, k=5)
        drawn = []
        for _ in range(800):
            sides = [
                set(np.lexsort((rng.random(24), -ranking.scores))[:5].tolist())
                for ranking in (rankings.left_ranking, rankings.right_ranking)
            ]
            drawn.append(len(sides[0] & sides[1]) / 5)
        assert distribution.overlaps[row] == pytest.approx(np.mean(drawn), abs=0.04)
        assert distribution.overlaps[row] == pytest.approx(rankings.agreement.overlap)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 11), opposite=st.booleans())
def test_swapping_the_maps_changes_nothing(seed, k, opposite):
    rng = np.random.default_rng(seed)
    left, right = (map_of(rng.integers(-2, 3, size=(12, 3))) for _ in range(2))
    one, other = (overlap_distribution(*sides, k=k, opposite=opposite) for sides in ((left, right), (right, left)))
    np.testing.assert_array_equal(one.queries, other.queries)
    np.testing.assert_allclose(one.overlaps, other.overlaps)
    for row, query in enumerate(left.names):
        if row not in one.queries:
            continue
        forth = compare_query(left, right, query, k=k, opposite=opposite)
        back = compare_query(right, left, query, k=k, opposite=opposite)
        assert forth.agreement.overlap == pytest.approx(back.agreement.overlap)
        assert forth.agreement.rank_biased_overlap == pytest.approx(back.agreement.rank_biased_overlap)
        assert forth.agreement.chance == one.chance
        assert one.overlaps[one.queries == row] == pytest.approx(forth.agreement.overlap)
        swapped = {SHARED: SHARED, ONLY_LEFT: ONLY_RIGHT, ONLY_RIGHT: ONLY_LEFT}
        assert back.sides == {name: swapped[side] for name, side in forth.sides.items()}
    graphs = [neighborhoods(side, k=k, opposite=opposite) for side in (left, right)]
    assert graph_overlap(*graphs) == pytest.approx(graph_overlap(*graphs[::-1]), nan_ok=True)


@settings(max_examples=30, deadline=None)
@given(
    left=st.lists(st.integers(0, 3), min_size=6, max_size=6),
    right=st.lists(st.integers(0, 3), min_size=6, max_size=6),
    k=st.integers(1, 6),
)
def test_expected_overlap_stays_between_none_and_all(left, right, k):
    sides = [membership(np.array(scores, dtype=float), k) for scores in (left, right)]
    found = expected_overlap(*sides)
    assert max(0, 2 * k - 6) - 1e-9 <= found <= k + 1e-9


# Distributions and graphs


def test_graph_overlap_in_a_loop():
    left, right = random_map(40, 6, seed=5), random_map(40, 6, seed=6)
    edges = [
        {frozenset((name, other)) for name in side.names for other in neighborhood(side, name, k=4).names}
        for side in (left, right)
    ]
    expected = len(edges[0] & edges[1]) / len(edges[0] | edges[1])
    assert graph_overlap(neighborhoods(left, k=4), neighborhoods(right, k=4)) == pytest.approx(expected)


def test_graphs_without_edges_have_no_overlap():
    nothing = neighborhoods(map_of(np.zeros((5, 2))), k=2)
    assert math.isnan(graph_overlap(nothing, nothing))


def test_two_random_maps_agree_by_chance():
    # Overlaps of n queries, each hypergeometric; queries are nearly independent.
    n, k = 400, 10
    found = overlap_distribution(random_map(n, 30, seed=7), random_map(n, 30, seed=8), k=k)
    p = k / (n - 1)
    assert found.chance == pytest.approx(p)
    assert abs(found.mean - p) < 4 * np.sqrt(p * (1 - p) / k / n)
    graphs = [neighborhoods(random_map(n, 30, seed=seed), k=k) for seed in (7, 8)]
    n_edges = [
        len({frozenset((row, other)) for row, line in enumerate(graph.rows.tolist()) for other in line})
        for graph in graphs
    ]
    common = n_edges[0] * n_edges[1] / (n * (n - 1) / 2)
    expected = common / (sum(n_edges) - common)
    assert abs(graph_overlap(*graphs) - expected) < 5 * np.sqrt(common) / sum(n_edges)


def test_two_maps_of_the_same_modules_agree_and_shuffled_ones_do_not():
    profiles, module = module_profiles(n_modules=8, size=6, n_others=0, seed=0)
    again, _ = module_profiles(n_modules=8, size=6, n_others=0, seed=1)
    left, right = map_of(profiles), map_of(again)
    assert overlap_distribution(left, right, k=5).mean > 0.95
    order = np.random.default_rng(2).permutation(len(module))
    found = overlap_distribution(left, map_of(again[order]), k=5)
    assert found.mean < found.chance + 0.1


def test_perturbations_without_a_profile_are_no_queries():
    profiles = np.random.default_rng(9).normal(size=(10, 4))
    holes = profiles.copy()
    holes[[2, 7]] = 0
    found = overlap_distribution(map_of(profiles), map_of(holes), k=3)
    assert found.queries.tolist() == [0, 1, 3, 4, 5, 6, 8, 9]
    for row, overlap in zip(found.queries, found.overlaps, strict=True):
        expected = compare_query(map_of(profiles), map_of(holes), names_of(10)[row], k=3)
        assert overlap == pytest.approx(expected.agreement.overlap)
    nothing = overlap_distribution(map_of(profiles), map_of(np.zeros((10, 2))), k=3)
    assert math.isnan(nothing.mean)
    assert math.isnan(nothing.share_below(0.5))


def test_large_maps_are_sampled_with_the_seed(monkeypatch):
    monkeypatch.setattr("explorer.compare.FULL_BELOW", 200)
    monkeypatch.setattr("explorer.compare.SAMPLED_QUERIES", 20)
    left, right = random_map(201, 4, seed=1), random_map(201, 4, seed=2)
    one, again, other = (overlap_distribution(left, right, k=5, seed=seed) for seed in (0, 0, 1))
    assert (one.seed, other.seed, len(one.queries)) == (0, 1, 20)
    np.testing.assert_array_equal(one.queries, again.queries)
    assert not np.array_equal(one.queries, other.queries)
    monkeypatch.undo()
    every = overlap_distribution(left, right, k=5)
    assert every.seed is None
    np.testing.assert_allclose(one.overlaps, every.overlaps[one.queries])


def test_share_of_queries_that_agree_less():
    found = OverlapDistribution(np.arange(4), np.array([0.1, 0.2, 0.2, 0.5]), n_perturbations=50, k=10, seed=None)
    assert [found.share_below(value) for value in (0.0, 0.1, 0.2, 0.3, 0.5, 0.6)] == pytest.approx(
        [0, 0.125, 0.5, 0.75, 0.875, 1]
    )


# Common perturbations


def test_only_perturbations_in_both_maps_count():
    whole = random_map(12, 4, seed=3)
    part = whole.restricted_to(names_of(12)[::2])
    one, other = common_maps(whole, part)
    assert one.names == other.names == part.names
    np.testing.assert_array_equal(one.profiles, other.profiles)
    found = compare_query(whole, part, "P0002", k=3)
    assert found.agreement.overlap == 1
    assert found.agreement.n_perturbations == 6
    assert overlap_distribution(part, whole, k=3).mean == 1
    with pytest.raises(InputError, match="unknown perturbation 'P0001': did you mean"):
        compare_query(whole, part, "P0001", k=3)


def test_maps_of_other_perturbations():
    left = map_of(np.eye(4), ["A", "B", "C", "D"], representation="raw")
    right = map_of(np.eye(4), ["a", "b", "C", "D"], representation="learned")
    with pytest.raises(InputError, match="'raw' and 'learned' share 2 perturbations, expected at least 3"):
        common_maps(left, right)


@pytest.mark.parametrize("k", [0, 12])
def test_impossible_k(k):
    made = random_map(12, 4, seed=3)
    for ask in (lambda: compare_query(made, made, "P0000", k=k), lambda: overlap_distribution(made, made, k=k)):
        with pytest.raises(InputError, match=f"k = {k} neighbours can't be had from 12 perturbations"):
            ask()


# The merged table


def test_merged_table_holds_both_sides():
    left, right = random_map(30, 5, seed=10), random_map(30, 5, seed=11)
    found = compare_query(left, right, "P0005", k=6)
    partner = found.left.names[0]
    knowledge = Knowledge(
        (
            Relationships.from_pairs("one", ["P0005", partner], [partner, "P0001"]),
            Relationships.from_pairs("two", [partner], ["P0005"]),
        )
    )
    table = merged_table(found, knowledge=knowledge)
    assert set(table["perturbation"]) == set(found.left.names) | set(found.right.names)
    assert table["perturbation"].n_unique() == table.height
    for line in table.iter_rows(named=True):
        name = line["perturbation"]
        in_left, in_right = name in found.left.names, name in found.right.names
        assert line["neighbour of"] == (SHARED if in_left and in_right else ONLY_LEFT if in_left else ONLY_RIGHT)
        for side, made in (("left", left), ("right", right)):
            full = neighborhood(made, "P0005", k=29)
            place = full.names.index(name)
            assert line[f"{side} rank"] == place + 1
            assert line[f"{side} similarity"] == full.similarities[place]
        assert line["known"] == ("one, two" if name == partner else "")
    best = table.select("left rank", "right rank").min_horizontal().to_list()
    assert all(one <= other for one, other in pairwise(best))
    assert known_counts(found, knowledge.partners_of("P0005")) == (1, int(partner in found.right.names))


def test_merged_table_of_profiles_without_length():
    profiles = np.random.default_rng(12).normal(size=(8, 3))
    holes = profiles.copy()
    holes[3] = 0
    table = merged_table(compare_query(map_of(profiles), map_of(holes), "P0000", k=7))
    line = table.row(table["perturbation"].to_list().index("P0003"), named=True)
    assert line["neighbour of"] == ONLY_LEFT
    assert line["right rank"] is None


def test_merged_table_says_what_holds_elsewhere():
    left, right = random_map(20, 5, seed=13), random_map(20, 5, seed=14)
    here = compare_query(left, right, "P0000", k=4)
    said = {name: f"said of {name}" for name in here.left.names}
    table = merged_table(here, elsewhere={"soft tissue": said, "blood": {}})
    assert table.columns[-2:] == ["in soft tissue", "in blood"]
    assert set(table["in blood"]) == {""}
    for line in table.iter_rows(named=True):
        assert line["in soft tissue"] == said.get(line["perturbation"], "")


def test_rank_biased_chance_is_the_mean_over_random_rankings():
    generator = np.random.default_rng(0)
    found = [rank_biased_overlap(generator.permutation(40), generator.permutation(40), depth=5) for _ in range(4_000)]
    left, right = random_map(41, 5, seed=1), random_map(41, 5, seed=2)
    chance = compare_query(left, right, left.names[0], k=5).agreement.rank_biased_chance
    assert np.mean(found) == pytest.approx(chance, abs=4 * np.std(found) / np.sqrt(len(found)))


def test_agreement_is_undefined_where_fewer_than_k_have_a_profile():
    profiles = np.zeros((10, 3))
    profiles[:4] = np.random.default_rng(0).normal(size=(4, 3))
    found = compare_query(map_of(profiles), map_of(profiles), names_of(10)[0], k=5).agreement
    assert found.n_perturbations == 4
    assert all(math.isnan(value) for value in (found.overlap, found.chance, found.kappa, found.rank_biased_overlap))
