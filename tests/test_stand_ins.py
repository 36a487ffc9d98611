"""The neighbourhood graph and its decoys: against loops, and every decoy against every rule."""

import numpy as np
import pytest
from builders import map_of, names_of, random_map
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.axis import Strata, axis_strata, centered
from explorer.errors import InputError
from explorer.known import KnownPairs
from explorer.relate import TIE_DECIMALS
from explorer.stand_ins import Decoys, Graph, draw_decoys, known_sources, neighbor_graph


def pairs_known(names, pairs, source="source"):
    """Known pairs of a source without groups."""
    rows = np.array(sorted({tuple(sorted(pair)) for pair in pairs}), dtype=np.intp).reshape(-1, 2)
    return KnownPairs(source, tuple(names), rows[:, 0].copy(), rows[:, 1].copy(), {}, "communities", 0)


def naive_edges(profiles, k):
    """Join each row with its k nearest, ties by row, one row at a time; and say which pairs choose each other."""
    norms = np.linalg.norm(profiles, axis=1)
    chosen = {}
    for i in range(len(profiles)):
        cosine = {
            j: round(float(profiles[i] @ profiles[j] / norms[i] / norms[j]), TIE_DECIMALS)
            for j in range(len(profiles))
            if j != i and norms[i] > 0 and norms[j] > 0
        }
        chosen[i] = set(sorted(cosine, key=lambda j: (-cosine[j], j))[:k])
    edges = sorted({(min(i, j), max(i, j)) for i, near in chosen.items() for j in near})
    return edges, [i in chosen[j] and j in chosen[i] for i, j in edges]


def within(graph, n_steps):
    """Rows at most so many steps away from each row, by walking."""
    near = [set() for _ in range(graph.n)]
    for i, j in zip(graph.first.tolist(), graph.second.tolist(), strict=True):
        near[i].add(j)
        near[j].add(i)
    if n_steps == 1:
        return [{i} | near[i] for i in range(graph.n)]
    return [{i} | near[i] | {far for j in near[i] for far in near[j]} for i in range(graph.n)]


def strata_of(axis, *, layout=None):
    """Strata with given bins."""
    bins = np.asarray(axis, dtype=np.intp)
    units = None if layout is None else np.asarray(layout, dtype=np.intp)
    return Strata(names_of(len(bins)), bins, np.where(bins < 0, -1, bins * 3 // 20), units)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 6), levels=st.integers(1, 4))
def test_the_graph_is_that_of_a_loop_with_any_ties(seed, k, levels):
    profiles = np.random.default_rng(seed).integers(0, levels + 1, size=(14, 3)).astype(float)
    graph = neighbor_graph(map_of(profiles), k=k)
    edges, reciprocal = naive_edges(profiles, k)
    assert list(zip(graph.first.tolist(), graph.second.tolist(), strict=True)) == edges
    assert graph.is_reciprocal.tolist() == reciprocal
    assert (graph.matrix().toarray() == graph.matrix().toarray().T).all()
    assert graph.matrix().sum() == 2 * len(edges)


def test_a_map_without_profiles_has_no_edges():
    graph = neighbor_graph(map_of(np.zeros((5, 2))), k=2)
    assert len(graph.first) == 0
    with pytest.raises(InputError, match="k = 5 neighbours"):
        neighbor_graph(map_of(np.ones((5, 2))), k=5)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    k=st.integers(1, 4),
    n_units=st.integers(0, 3),
    n_known=st.integers(0, 60),
    n_decoys=st.integers(1, 8),
    n_steps=st.integers(1, 2),
)
def test_every_decoy_obeys_every_rule(seed, k, n_units, n_known, n_decoys, n_steps):
    rng = np.random.default_rng(seed)
    n = 60
    graph = neighbor_graph(random_map(n, 6, seed=seed), k=k)
    layouts = [rng.integers(-1, 3, size=n) for _ in range(n_units)]
    strata = strata_of(rng.integers(-1, 8, size=n), layout=layouts[0] if layouts else None)
    usable = rng.random(n) < 0.9
    known = pairs_known(strata.names, rng.integers(0, n, size=(n_known, 2))[:, :2].tolist())
    options = {"layouts": layouts, "usable": usable, "known": [known], "n_steps": n_steps, "seed": seed}
    decoys = draw_decoys(graph, strata, n_decoys=n_decoys, **options)
    near, related = within(graph, n_steps), {*zip(known.first.tolist(), known.second.tolist(), strict=True)}

    def may_stand_in(other, gone, stays):
        return (
            other not in near[stays]
            and strata.axis[other] == strata.axis[gone] >= 0
            and strata.axis[stays] >= 0
            and usable[other]
            and usable[stays]
            and (min(other, stays), max(other, stays)) not in related
            and all(min(units[other], units[stays], units[gone]) >= 0 for units in layouts)
            and all((units[other] == units[stays]) == (units[gone] == units[stays]) for units in layouts)
        )

    drawn = {}
    for edge, stays, gone, other in zip(
        *(part.tolist() for part in (decoys.edge, decoys.kept, decoys.replaced, decoys.stand_in)), strict=True
    ):
        assert {stays, gone} == {int(graph.first[edge]), int(graph.second[edge])}
        assert other not in (stays, gone)
        assert may_stand_in(other, gone, stays)
        drawn.setdefault((edge, stays), []).append(other)
    for edge, (i, j) in enumerate(zip(graph.first.tolist(), graph.second.tolist(), strict=True)):
        for stays, gone in ((i, j), (j, i)):
            found = drawn.get((edge, stays), [])
            able = sum(may_stand_in(other, gone, stays) for other in range(n))
            unplaced = any(units[gone] < 0 for units in layouts)
            assert len(set(found)) == len(found) == (0 if unplaced else min(n_decoys, able))


def test_draws_depend_on_the_seed_alone():
    graph, strata = neighbor_graph(random_map(200, 10, seed=1), k=5), strata_of(np.arange(200) // 10)
    one, same, another = (draw_decoys(graph, strata, seed=seed) for seed in (3, 3, 4))
    assert isinstance(one, Decoys)
    assert (one.stand_in == same.stand_in).all()
    assert len(one.stand_in) == len(another.stand_in)
    assert (one.stand_in != another.stand_in).any()


def test_blocks_change_nothing_that_is_drawn(monkeypatch):
    here = centered(random_map(150, 10, seed=2))
    graph, strata = neighbor_graph(here, k=4), axis_strata(here)
    # As many as there are, so that nothing depends on chance.
    whole = draw_decoys(graph, strata, n_decoys=150)
    monkeypatch.setattr("explorer.stand_ins._FLAGS_AT_ONCE", 150 * 7)
    monkeypatch.setattr("explorer.stand_ins._CHOICES_AT_ONCE", 31)
    parts = draw_decoys(graph, strata, n_decoys=150)
    for name in ("edge", "kept", "replaced", "stand_in"):
        assert (getattr(whole, name) == getattr(parts, name)).all()


def test_where_all_is_known_or_near_nobody_can_stand_in():
    n = 12
    graph = neighbor_graph(random_map(n, 4, seed=0), k=2)
    everyone = [(i, j) for i in range(n) for j in range(i)]
    known = pairs_known(names_of(n), everyone)
    assert len(draw_decoys(graph, strata_of(np.zeros(n)), known=[known]).edge) == 0
    crowded = neighbor_graph(random_map(n, 4, seed=0), k=n - 1)
    assert len(draw_decoys(crowded, strata_of(np.zeros(n))).edge) == 0
    nobody = Graph(n, *(np.empty(0, dtype=np.intp) for _ in range(2)), np.empty(0, dtype=bool))
    assert len(draw_decoys(nobody, strata_of(np.zeros(n))).edge) == 0
    assert len(draw_decoys(graph, strata_of(np.full(n, -1))).edge) == 0


def test_known_pairs_are_found_by_name_in_whatever_map_they_were_looked_up():
    names = ("A", "B", "C", "D")
    other = pairs_known(("A", "C", "D", "X"), [(0, 1), (1, 2), (0, 3)], "one")
    second = pairs_known(names, [(0, 2), (0, 1)], "two")
    asked = (np.array([0, 0, 2, 1]), np.array([1, 2, 3, 3]))
    assert known_sources([other, second], names, asked) == ["two", "one, two", "one", ""]
    assert known_sources([], names, asked) == [""] * 4
