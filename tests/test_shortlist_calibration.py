"""What lists find and promise on planted truth, how seldom equal maps are told apart, and procedures that fail on it.

The refuted procedures live here only. Bounds are binomial: what keeps to its nominal rate breaks one in a thousand
times or less, and seeds are fixed. ``tests/benchmarks/shortlist_calibration.py`` does the same with hundreds of
screens.
"""

import json
import sys
from dataclasses import replace
from functools import lru_cache

import numpy as np
import polars as pl
import pytest
from conftest import PROJECT
from scipy.stats import binom, binomtest

from explorer.head_to_head import judge_census
from explorer.pair_order import ORDERS
from explorer.planted import PlantedDesign

sys.path.insert(0, str(PROJECT / "tests" / "benchmarks"))
import shortlist_calibration as calibration

RARELY = 1e-3
NOMINAL = 0.025
HALF = "30 of 60 groups, stress axis"


def at_most(count, n, rate):
    """Whether a count may come from a rate, or a smaller one."""
    return binom.sf(count - 1, n, rate) > RARELY


@lru_cache(maxsize=8)
def rows_of(part, kind, n):
    designs, measure = calibration.PARTS[part]
    return [measure(designs[kind], seed) for seed in range(n)]


def means(rows):
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def test_the_bounds_can_fail():
    assert at_most(3, 30, NOMINAL)
    assert not at_most(6, 30, NOMINAL)


# Orders


@pytest.mark.parametrize("kind", ["shared noise, stress axis", "shared noise"])
def test_where_maps_share_their_noise_either_map_finds_most(kind):
    # As maps made of the same cells do.
    hits = means(rows_of("orders", kind, 6))
    assert hits["either map"] > hits["both maps"] > hits["learned minus simple"]
    assert hits["either map"] > max(hits["simple"], hits["learned"])
    # Disagreement of the maps is the worst of all, a second context the best.
    assert hits["learned minus simple"] == min(hits[order] for order in ORDERS)
    assert hits["two contexts"] > 1.3 * hits["either map"]


def test_where_noise_is_independent_agreement_finds_most():
    hits = means(rows_of("orders", "noise of its own", 4))
    assert hits["both maps"] > 1.15 * hits["either map"]
    assert hits["two contexts"] > hits["both maps"]


def test_a_stress_axis_misleads_cosines_and_hardly_a_list():
    hits = means(rows_of("orders", "shared noise, stress axis", 6))
    assert hits["learned"] > 1.5 * hits["cosine of the learned map"]


def test_shuffled_names_find_what_chance_does():
    rows = [row for kind in ("shared noise, stress axis", "shared noise") for row in rows_of("orders", kind, 6)]
    found, chance = (sum(row[name] for row in rows) for name in ("shuffled names", "chance"))
    assert at_most(found, 100 * len(rows), chance / (100 * len(rows)))
    assert means(rows)["either map"] > 20 * means(rows)["chance"]


# Promises


def ratio(rows, word):
    return sum(row[f"{word} expected"] for row in rows) / sum(row[f"{word} found"] for row in rows)


def off(rows, name, found):
    """Root mean square of how far off a promise is, of the mean found."""
    values = np.array([[row[name], row[found]] for row in rows])
    return float(np.sqrt(((values[:, 0] - values[:, 1]) ** 2).mean()) / values[:, 1].mean())


def test_with_completeness_known_and_random_annotation_as_many_hits_come_as_promised():
    rows = rows_of("promises", HALF, 12)
    assert ratio(rows, "random") == pytest.approx(1, abs=0.15)
    assert means(rows)["random completeness"] == pytest.approx(0.5, abs=0.01)


def test_with_strong_groups_annotated_first_too_many_are_promised():
    rows = rows_of("promises", HALF, 12)
    assert 1.25 < ratio(rows, "strong first") < 2


def test_the_first_results_mend_the_promise():
    rows = rows_of("promises", HALF, 12)
    # Twenty results from all of the list, and its first twenty.
    for which, most in (("any", 0.8), ("top", 0.9)):
        found = f"strong first {which} left found"
        before = off(rows, f"strong first {which} left expected", found)
        assert off(rows, f"strong first {which} left corrected", found) < most * before
    # A promise that holds is not spoilt by them.
    found = "random any left found"
    assert off(rows, "random any left corrected", found) < 1.2 * off(rows, "random any left expected", found)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(calibration.PROMISED))
def test_promises_of_every_kind(kind):
    rows = rows_of("promises", kind, 25)
    # Less than comes where much is annotated: pairs annotated apart count among those this similar.
    assert 0.7 < ratio(rows, "random") < 1.15
    assert 1.1 < ratio(rows, "strong first") < 2


# Head to head


def verdicts(kind, n, budget=100):
    rows = rows_of("duels", kind, n)
    return tuple(int(sum(row[f"{budget} {word}"] for row in rows)) for word in ("learned", "simple"))


def test_equal_maps_are_seldom_told_apart():
    learned, simple = verdicts("equal, stress axis", 25)
    assert at_most(learned, 25, NOMINAL)
    assert at_most(simple, 25, NOMINAL)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in calibration.DUELS if kind.startswith("equal")])
def test_equal_maps_of_every_kind_are_seldom_told_apart(kind):
    learned, simple = verdicts(kind, 60)
    assert at_most(learned, 60, NOMINAL)
    assert at_most(simple, 60, NOMINAL)


def test_a_much_better_map_is_found():
    design = calibration.Duel(replace(calibration.EQUAL, advantage=0.6))
    rows = [calibration.duel_row(design, seed) for seed in range(8)]
    assert sum(row["100 learned"] for row in rows) >= 5
    assert sum(row["100 simple"] for row in rows) == 0


def test_random_pairs_hit_as_often_as_the_assay_by_itself():
    rows = rows_of("duels", "equal, stress axis", 25)
    n_random = 10 * len(rows)
    found = sum(10 * row["100 background"] for row in rows)
    # Matched in effect and annotation, they are true more often than any pair, and far less than those proposed.
    assert at_most(found, n_random, 4 * rows[0]["100 rate"])
    assert means(rows)["100 hits"] / means(rows)["100 pairs"] > 0.25


def clustered(seed, *, n_units=20, size=5):
    """Census of two equal maps in which the pairs of one perturbation are hits all together or not at all."""
    rng = np.random.default_rng(seed)
    rows = []
    for unit in range(n_units):
        proposer, result = rng.choice(["simple", "learned"]), rng.choice(["hit", "no hit"])
        rows += [(f"hub {unit}", f"partner {unit}-{number}", str(proposer), str(result)) for number in range(size)]
    return pl.DataFrame(rows, schema=["first", "second", "proposer", "result"], orient="row")


def test_a_sign_test_on_pairs_takes_one_lucky_perturbation_for_many():
    tested = refuted = 0
    for seed in range(60):
        rows = clustered(seed)
        found = judge_census(rows, depth=50, budget=100, seed=seed)
        tested += found.verdict in ("learned finds more", "simple finds more")
        hit = rows.filter(pl.col("result") == "hit")["proposer"]
        won = int((hit == "learned").sum())
        refuted += binomtest(won, len(hit)).pvalue <= 2 * NOMINAL if len(hit) else 0
    assert at_most(tested, 60, 2 * NOMINAL)
    # Refuted.
    assert not at_most(refuted, 60, 2 * NOMINAL)


# The benchmark


def test_the_benchmark_writes_its_tables_and_goes_on(tmp_path, capsys, monkeypatch):
    small = PlantedDesign(perturbations=120, groups=10, hidden_groups=12)
    monkeypatch.setattr(
        calibration,
        "PARTS",
        {
            "orders": ({"shared noise": small}, calibration.order_row),
            "promises": ({"half": small}, calibration.promise_row),
            "duels": ({"equal": calibration.DUELS["equal"]}, calibration.duel_row),
        },
    )
    monkeypatch.setattr(calibration, "DUELS", {"equal": calibration.Duel(replace(small, perturbations=200), (50,))})
    monkeypatch.setitem(calibration.PARTS["duels"][0], "equal", calibration.DUELS["equal"])
    out = tmp_path / "out.json"
    calibration.main(["--json", str(out), "--screens", "1"])
    kept = json.loads(out.read_text(encoding="utf-8"))["rows"]
    assert [len(rows) for kinds in kept.values() for rows in kinds.values()] == [1, 1, 1]
    calibration.main(["--json", str(out), "--screens", "2"])
    again = json.loads(out.read_text(encoding="utf-8"))["rows"]
    assert again["duels"]["equal"][0] == kept["duels"]["equal"][0]
    assert len(again["orders"]["shared noise"]) == 2
    printed = capsys.readouterr().out
    assert "| either map |" in printed
    assert "| half | strong first | top |" in printed
    assert "| equal | 50 | 2 |" in printed


def test_the_benchmark_says_what_is_not_as_it_must_be():
    order = dict.fromkeys([*ORDERS, "two contexts"], 10.0)
    good = {"orders": {"shared noise": [order]}}
    assert calibration.failures(good) == []
    bad = calibration.failures({"orders": {"shared noise": [order | {"both maps": 20.0}]}})
    assert len(bad) == 2
    many = [{"100 learned": 1.0, "100 simple": 0.0}] * 60
    assert calibration.failures({"duels": {"equal, stress axis": many}})[0].startswith("duels, equal, stress axis, 100")
    # A better map may be found.
    assert calibration.failures({"duels": {"learned +60 %": many}}) == []
    promised = {"random expected": 14.0, "random found": 10.0}
    assert calibration.failures({"promises": {"half": [promised]}}) == [
        "promises, half: 1.40 hits expected for one found"
    ]
