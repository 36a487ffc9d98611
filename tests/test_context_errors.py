"""Error and power of comparisons of contexts on planted truth, and procedures that fail on it.

The refuted procedures live here only. Bounds are binomial: what keeps to its nominal rate breaks one in a thousand
times or less, and seeds are fixed. ``tests/benchmarks/context_calibration.py`` does the same with hundreds of screens
of every kind.
"""

import json
import sys
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from conftest import PROJECT
from scipy.stats import binom

from explorer.axis import Strata, axis_strata, centered
from explorer.contexts import compare_contexts
from explorer.edges import HOLDS_Q, edge_tests, partial_conjunction
from explorer.known import known_pairs, pool_units
from explorer.overlap import adjusted_overlap, compare_overlaps, group_means
from explorer.planted_contexts import ContextDesign, simulate_contexts
from explorer.significance import benjamini_hochberg, sign_flip
from explorer.stand_ins import neighbor_graph

sys.path.insert(0, str(PROJECT / "tests" / "benchmarks"))
import context_calibration as calibration

RARELY = 1e-3
# On either side, and of the edges said to hold.
NOMINAL, NOMINAL_FALSE, MOST_FALSE = 0.025, 0.10, 0.16
SMALL = ContextDesign(perturbations=300, general=30, specific=10, features=40, more_features=10)
NULL = replace(SMALL, shared_noise=0.5)


def at_most(count, n, rate):
    """Whether a count may come from a rate, or a smaller one."""
    return binom.sf(count - 1, n, rate) > RARELY


def strata_of(made, side, kind):
    """Strata as they are, of the axis alone, and everybody in one."""
    strata = axis_strata(made, layout=side.layout)
    if kind == "all":
        return strata
    one = np.zeros(len(strata.names), dtype=np.intp)
    return replace(strata, layout=None) if kind == "axis" else Strata(strata.names, one, one, None)


@lru_cache(maxsize=300)
def drawn(design, seed):
    made = simulate_contexts(design, seed=seed)
    maps = {name: [centered(side.perturbation_map) for side in getattr(made, name)] for name in ("simple", "learned")}
    return made, maps


def overlaps(design, seed, kind="all"):
    made, maps = drawn(design, seed)
    return [
        adjusted_overlap(
            *maps[name], strata=tuple(strata_of(m, s, kind) for m, s in zip(maps[name], made.simple, strict=True))
        )
        for name in ("simple", "learned")
    ]


def units_of(made):
    return pool_units([known_pairs(made.known, made.design.names)])


def sides_of(design, n, kind="all"):
    """How often the learned map is said to hold better, and worse, by the procedure with some strata."""
    found = []
    for seed in range(n):
        simple, learned = overlaps(design, seed, kind)
        found.append(compare_overlaps(learned, simple, units_of(drawn(design, seed)[0]), seed=seed))
    return sum(test.low > 0 for test in found), sum(test.high < 0 for test in found)


def better_by_raw(design, n):
    """The same by the raw overlap."""
    better = 0
    for seed in range(n):
        simple, learned = overlaps(design, seed)
        contributions = group_means(learned.raw - simple.raw, units_of(drawn(design, seed)[0]))
        better += sign_flip(contributions, seed=seed).low > 0
    return better


def test_the_bounds_can_fail():
    assert at_most(3, 30, NOMINAL)
    assert not at_most(6, 30, NOMINAL)
    assert not at_most(4, 12, NOMINAL)


# Map level


def test_maps_that_differ_in_noise_alone_are_seldom_told_apart():
    better, worse = sides_of(NULL, 30)
    assert at_most(better, 30, NOMINAL)
    assert at_most(worse, 30, NOMINAL)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["exchangeable", "stress axis", "hubs", "half inactive"])
def test_equal_maps_of_every_kind_are_seldom_told_apart(kind):
    # Perturbations of one stratum are not independent, so that either side comes to up to .045.
    better, worse = sides_of(ContextDesign.of_kind(kind), 60)
    assert at_most(better, 60, 0.045)
    assert at_most(worse, 60, 0.045)


@pytest.mark.slow
def test_a_better_map_is_found():
    better, worse = sides_of(ContextDesign(shared_noise=0.5, learned_noise=0.9), 30)
    assert better >= 18
    assert worse == 0


def test_more_shared_layout_is_no_better_map():
    more = replace(NULL, learned_layout=1.2)
    better, _ = sides_of(more, 10)
    assert better == 0
    # Refuted: the raw overlap, and strata without the layout, which is why it is said where none is declared.
    assert not at_most(better_by_raw(more, 10), 10, NOMINAL)
    assert not at_most(sides_of(more, 10, "axis")[0], 10, NOMINAL)


def test_a_larger_stress_axis_is_no_better_map():
    more = replace(NULL, learned_stress=5.0)
    better, _ = sides_of(more, 10)
    assert better == 0
    # Refuted: the raw overlap.
    assert not at_most(better_by_raw(more, 10), 10, NOMINAL)


def test_perturbations_as_units_call_more_hubs_a_better_map():
    more = replace(NULL, learned_hubs=20)
    better, _ = sides_of(more, 16)
    assert at_most(better, 16, NOMINAL)
    by_perturbation = 0
    for seed in range(16):
        simple, learned = overlaps(more, seed)
        difference = learned.adjusted - simple.adjusted
        by_perturbation += sign_flip(difference[~np.isnan(difference)], seed=seed).low > 0
    assert not at_most(by_perturbation, 16, NOMINAL)


def test_adjusted_overlap_is_what_its_definition_says():
    design = replace(SMALL, perturbations=100, general=8, specific=3, layout_units=2)
    made, maps = drawn(design, 1)
    one, other = maps["simple"]
    strata = tuple(axis_strata(m, layout=side.layout) for m, side in zip(maps["simple"], made.simple, strict=True))
    found = adjusted_overlap(one, other, strata=strata)

    def nearest(m):
        unit = m.profiles.astype(float) / m.norms[:, None]
        cosine = np.round(unit @ unit.T, 6)
        return [set(sorted((j for j in range(100) if j != i), key=lambda j: (-cosine[i, j], j))[:10])
                for i in range(100)]  # fmt: skip

    near = nearest(one), nearest(other)
    n_undefined = 0
    for i in range(100):
        assert found.raw[i] == pytest.approx(len(near[0][i] & near[1][i]) / 10)
        sides = []
        for here, there in ((0, 1), (1, 0)):
            stratum = strata[there].stratum
            shares = []
            for j in near[here][i]:
                others = [x for x in range(100) if x not in (i, j) and stratum[x] == stratum[i]]
                shares.append(np.mean([j in near[there][x] for x in others]) if others else np.nan)
            sides.append(np.sum(shares) / 10)
        expected = np.mean(sides)
        n_undefined += np.isnan(expected)
        np.testing.assert_allclose(found.expected[i], expected, atol=1e-9)
        np.testing.assert_allclose(found.adjusted[i], found.raw[i] - expected, atol=1e-9)
    assert 0 < n_undefined < 60


# Edge level


@lru_cache(maxsize=100)
def edges(design, seed, kind="all"):
    """Edges said to hold, and those that are of a module that acts in both contexts."""
    made, maps = drawn(design, seed)
    here, there = maps["simple"]
    tests = edge_tests(here, there, strata=strata_of(here, made.simple[0], kind), seed=seed)
    together = made.together[:, tests.first, tests.second]
    return tests.holds, together[1], together.all(axis=0), tests


def false_and_found(design, n, kind="all"):
    """Share of held edges that are none, over all screens, and share of true edges that are held."""
    held, false, true, found = (0, 0, 0, 0)
    for seed in range(n):
        holds, there, both, _ = edges(design, seed, kind)
        held, false = held + holds.sum(), false + (holds & ~there).sum()
        true, found = true + both.sum(), found + (holds & both).sum()
    return false / max(held, 1), found / true


EASY = replace(SMALL, smallest=8, largest=12, general=20, specific=5, noise=1.0)


def test_edges_that_hold_are_true_and_many_true_ones_are_found():
    false, found = false_and_found(EASY, 8)
    assert false < MOST_FALSE
    assert found > 0.29
    # Refuted: decoys that are not matched.
    unmatched, _ = false_and_found(replace(EASY, stress=1.5), 6, "none")
    assert unmatched > 2 * NOMINAL_FALSE
    matched, _ = false_and_found(replace(EASY, stress=1.5), 6)
    assert matched < 0.7 * unmatched


def test_a_layout_that_is_not_declared_looks_like_replication():
    laid = replace(EASY, layout=0.7)
    declared, _ = false_and_found(laid, 6)
    silent, _ = false_and_found(laid, 6, "axis")
    assert silent > 2 * NOMINAL_FALSE
    assert declared < MOST_FALSE
    made, _ = drawn(replace(laid, declares_layout=False), 0)
    report = compare_contexts(made.simple[0], made.simple[1:])
    assert any("layout not declared" in note for note in report.notes)


def test_nothing_holds_where_nothing_is_shared():
    held = [edges(replace(SMALL, general=1, specific=40), seed)[0].sum() for seed in range(6)]
    assert np.mean(held) < 3


def test_p_of_edges_that_are_none_is_uniform_or_larger():
    p = np.concatenate([edges(SMALL, seed)[3].p[~edges(SMALL, seed)[1]] for seed in range(6)])
    for level in (0.01, 0.05, 0.2, 0.5):
        assert np.mean(p <= level) < 1.5 * level
    true = np.concatenate([edges(SMALL, seed)[3].p[edges(SMALL, seed)[2]] for seed in range(6)])
    assert np.mean(true <= 0.05) > 0.5


def test_edges_that_hold_in_all_others_do():
    design = replace(EASY, contexts=3, partial=6, general=18, stress=0.5)
    false, held = {1: 0, 2: 0}, {1: 0, 2: 0}
    for seed in range(4):
        made, maps = drawn(design, seed)
        here, *others = maps["simple"]
        strata = strata_of(here, made.simple[0], "all")
        tests = [edge_tests(here, other, strata=strata, seed=seed) for other in others]
        n_there = made.together[1:, tests[0].first, tests[0].second].sum(axis=0)
        p = np.column_stack([test.p for test in tests])
        for wanted in (1, 2):
            holds = benjamini_hochberg(partial_conjunction(p, at_least=wanted)) <= HOLDS_Q
            held[wanted] += holds.sum()
            false[wanted] += (holds & (n_there < wanted)).sum()
    assert held[1] > held[2] > 100
    assert false[1] / held[1] < MOST_FALSE
    assert false[2] / held[2] < MOST_FALSE


# Absence


def absent_sets(design, n):
    rows = [calibration.edge_row(design, seed) for seed in range(n)]
    return {name: sum(row[name] for row in rows) for name in rows[0]}


def test_what_is_not_near_elsewhere_is_often_there():
    # Edges that most contexts share, in maps that show three of four.
    design = ContextDesign(perturbations=300, general=20, specific=4, smallest=10, largest=14, noise=0.8, features=40)
    total = absent_sets(design, 3)
    assert total["naive absent"] > 100
    assert total["naive wrong"] / total["naive absent"] > 0.25
    # The procedure names none of them: more than a quarter would be wrong.
    assert total["sets"] == total["set edges"] == 0
    made, _ = drawn(design, 0)
    report = compare_contexts(made.simple[0], made.simple[1:])
    assert "more than 25 %" in report.absent["context 2"].reason
    assert not report.labels["absent"].any()


def test_sets_that_are_named_are_wrong_as_often_as_announced_or_less():
    design = ContextDesign(perturbations=300, general=10, specific=13, smallest=10, largest=14, noise=0.5, features=40,
                           stress=0.5, hubs=0, layout=0.0)  # fmt: skip
    total = absent_sets(design, 3)
    assert total["sets"] == 3
    assert total["set edges"] > 300
    assert total["set wrong"] <= total["set expected wrong"] <= 0.25 * total["set edges"]


def test_the_graph_of_the_planted_maps_shows_modules():
    made, maps = drawn(EASY, 0)
    graph = neighbor_graph(maps["simple"][0])
    assert made.together[0][graph.first, graph.second].mean() > 0.3


# The benchmark


def test_the_benchmark_finds_what_does_not_keep_its_rate(tmp_path, capsys, monkeypatch):
    few = {"maps": ({"exchangeable": SMALL}, calibration.map_row), "edges": ({"default": SMALL}, calibration.edge_row)}
    monkeypatch.setattr(calibration, "PARTS", few)
    out = tmp_path / "figures.json"
    arguments = ["--json", str(out), "--screens", "2"]
    assert calibration.main(arguments) == 0
    assert "not as it must be: nothing" in capsys.readouterr().out
    kept = json.loads(out.read_text())["rows"]
    assert len(kept["maps"]["exchangeable"]) == len(kept["edges"]["default"]) == 2
    # It goes on from there: nothing is drawn again.
    assert calibration.main([*arguments, "--minutes", "0"]) == 0
    assert json.loads(out.read_text())["rows"] == kept
    row, edge = kept["maps"]["exchangeable"][0], kept["edges"]["default"][0]
    better = row | {"adjusted estimate": 1.0, "adjusted half_width": 0.5}
    equal = row | {"adjusted estimate": 0.1, "adjusted half_width": 0.5}
    false = edge | {"held": 10.0, "held false": 5.0}
    found = {
        "maps": {"hubs": [better] * 20 + [equal] * 80, "exchangeable": [equal] * 100, "learned noise .9": [better] * 9},
        "edges": {
            "layout": [false] * 20,
            "layout not declared": [false] * 20,
            "plain": [edge | {"held": 0.0, "held false": 0.0}] * 20,
        },
    }
    assert [text.split(":")[0] for text in calibration.failures(found)] == ["maps, hubs", "edges, layout"]
    assert "20.0 (13.3-28.9)" in calibration.show(found)
