"""Error, coverage and power of the judge on planted maps, and procedures that fail on them: why it is as it is.

The refuted procedures live here only. Bounds are binomial: what keeps to its nominal rate breaks one in a thousand
times or less, and seeds are fixed. ``tests/benchmarks/calibration.py`` does the same with thousands of screens.
"""

import json
import sys
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import pytest
from conftest import PROJECT
from scipy.sparse.csgraph import connected_components
from scipy.stats import binom

from explorer.hits import by_unit, known_credit, pair_similarities, pool_pairs, top_pairs
from explorer.known import known_pairs, pool_units
from explorer.partners import partner_recall
from explorer.planted import NULL_KINDS, PlantedDesign, simulate_maps
from explorer.relate import neighborhoods
from explorer.significance import sign_flip
from explorer.verdict import FEWEST_UNITS, judge

sys.path.insert(0, str(PROJECT / "tests" / "benchmarks"))
import calibration

RARELY = 1e-3
MOST_ERROR = 0.04
NORMAL = NormalDist()
# The hardest null for what counts pairs or genes: few huge groups, each better in one map or the other.
HUGE_PREFERENCES = replace(PlantedDesign.of_kind("huge groups"), shared_noise=0.5, preferences=0.15)


@dataclass(frozen=True)
class Drawn:
    """One screen: its maps, what is known, neighbours and partner recall of both maps."""

    seed: int
    maps: object
    known: object
    units: object
    near: tuple
    recalls: tuple

    @property
    def difference(self):
        return self.recalls[1] - self.recalls[0]

    @property
    def interval(self):
        return flipped(self.difference, self.seed)


@lru_cache(maxsize=200)
def drawn(design, seed):
    maps = simulate_maps(design, seed=seed)
    known = known_pairs(maps.known, maps.simple.names)
    units = pool_units([known])
    found = [neighborhoods(made, k=10) for made in (maps.simple, maps.learned)]
    recalls = tuple(partner_recall(one, units.members) for one in found)
    return Drawn(seed, maps, known, units, tuple(one.rows for one in found), recalls)


def screens(design, n):
    return [drawn(design, seed) for seed in range(n)]


@lru_cache
def intervals_of(design, n):
    return [screen.interval for screen in screens(design, n)]


def flipped(contributions, seed=0):
    test = sign_flip(contributions, seed=seed)
    return test.low, test.high


def covered(intervals, truth=0.0):
    return sum(low <= truth <= high for low, high in intervals)


def found_better(intervals):
    return sum(low > 0 for low, _ in intervals)


def keeps(n_covered, n, *, nominal=0.95):
    """Whether a coverage may be the nominal one."""
    return binom.cdf(n_covered, n, nominal) > RARELY


def at_most(count, n, rate):
    """Whether a count may come from a rate, or a smaller one."""
    return binom.sf(count - 1, n, rate) > RARELY


# The procedure


def test_the_bounds_can_fail():
    assert keeps(470, 500)
    assert not keeps(455, 500)
    assert at_most(22, 500, MOST_ERROR)
    assert not at_most(40, 500, MOST_ERROR)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[pytest.mark.slow] if kind in ("huge groups", "exchangeable") else [])
        for kind in NULL_KINDS
    ],
)
def test_equal_maps_are_seldom_told_apart(kind):
    intervals = intervals_of(PlantedDesign.of_kind(kind), 80)
    assert at_most(found_better(intervals), 80, MOST_ERROR)
    assert at_most(sum(high < 0 for _, high in intervals), 80, MOST_ERROR)
    assert keeps(covered(intervals), 80)


def test_over_all_kinds_error_and_coverage_are_nominal():
    intervals = [interval for kind in NULL_KINDS for interval in intervals_of(PlantedDesign.of_kind(kind), 80)]
    n = len(intervals)
    assert at_most(found_better(intervals), n, 0.025)
    assert at_most(sum(high < 0 for _, high in intervals), n, 0.025)
    assert 0.92 <= covered(intervals) / n <= 0.98


@pytest.mark.parametrize("kind", ["preferences", pytest.param("shared noise and preferences", marks=pytest.mark.slow)])
def test_an_advantage_of_a_fifth_is_found_in_seven_of_ten(kind):
    design = PlantedDesign.of_kind(kind, advantage=0.2)
    intervals = [screen.interval for screen in screens(design, 80)]
    # Not fewer than what a power of .71 leaves.
    assert binom.cdf(found_better(intervals), 80, 0.71) > RARELY
    assert found_better(intervals) / 80 > 0.55
    assert not any(high < 0 for _, high in intervals)
    truth = np.mean([screen.difference.mean() for screen in screens(design, 80)])
    assert keeps(covered(intervals, truth), 80)


@pytest.mark.slow
def test_the_smallest_detectable_difference_is_found_four_times_in_five():
    design = PlantedDesign()
    tests = [sign_flip(screen.difference, seed=screen.seed) for screen in screens(design, 60)]
    simple = np.mean([screen.recalls[0].mean() for screen in screens(design, 60)])
    detectable = np.mean([test.smallest_detectable for test in tests])
    planted = replace(design, advantage=float(np.round(detectable / simple, 3)))
    found = found_better([screen.interval for screen in screens(planted, 60)])
    assert 0.65 <= found / 60 <= 0.95


def placebo_tests(n):
    design = PlantedDesign.of_kind("shared noise and preferences", advantage=0.4, placebos=(0.4, -0.5))
    for screen in screens(design, n):
        against = []
        for made in screen.maps.placebos.values():
            against.append(screen.recalls[1] - partner_recall(neighborhoods(made, k=10), screen.units.members))
        yield screen, against


@pytest.mark.slow
def test_a_placebo_as_good_as_the_learned_map_is_seldom_beaten_and_a_poor_one_costs_no_power():
    false, by_points, power, with_poor = 0, 0, 0, 0
    for screen, (good, poor) in placebo_tests(60):
        is_better = screen.interval[0] > 0
        power += is_better
        false += is_better and flipped(good, screen.seed)[0] > 0
        by_points += is_better and good.mean() > 0
        with_poor += is_better and flipped(poor, screen.seed)[0] > 0
    assert at_most(false, 60, MOST_ERROR)
    # Comparing points is a toss of a coin.
    assert by_points / 60 > 0.35
    assert power == with_poor > 55


@pytest.mark.parametrize(
    ("kind", "advantage"),
    [("preferences", 0.0), pytest.param("overlapping groups", 0.4, marks=pytest.mark.slow)],
)
def test_the_whole_verdict_says_what_the_test_says(kind, advantage):
    for screen in screens(PlantedDesign.of_kind(kind, advantage=advantage), 8):
        judged = judge(screen.maps.simple, screen.maps.learned, [screen.maps.known], seed=screen.seed)
        assert judged.primary.test == sign_flip(screen.difference, seed=screen.seed)
        low, high = screen.interval
        assert judged.verdict == ("worth it" if low > 0 else "worse" if high < 0 else "not shown")


# Refuted: each fails where the procedure above does not


def in_upper_tail(made, known):
    """Known pairs in the upper 5 % of all cosines."""
    n = made.n_perturbations
    last = top_pairs(made, n * (n - 1) // 40).similarities[-1]
    return (pair_similarities(made, known.first, known.second) >= last).astype(float)


def pair_contributions(screen):
    simple, learned = (in_upper_tail(made, screen.known) for made in (screen.maps.simple, screen.maps.learned))
    return learned - simple


def normal_interval(values):
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    return values.mean() - half, values.mean() + half


def test_the_procedure_holds_where_pairs_and_genes_do_not():
    assert keeps(covered([screen.interval for screen in screens(HUGE_PREFERENCES, 70)]), 70)


def test_pairs_as_units_cover_a_third():
    intervals = [normal_interval(pair_contributions(screen)) for screen in screens(HUGE_PREFERENCES, 70)]
    assert not keeps(covered(intervals), 70)
    assert covered(intervals) / 70 < 0.5


def mcnemar_p(screen):
    """Exact: of pairs that differ, as many would be gained as lost."""
    values = pair_contributions(screen)
    gained, lost = int((values > 0).sum()), int((values < 0).sum())
    return min(1.0, 2 * binom.cdf(min(gained, lost), gained + lost, 0.5))


def partners_of(screen):
    """Whether each pair of perturbations is known, shape (n, n)."""
    n = screen.maps.simple.n_perturbations
    partner = np.zeros((n, n))
    partner[screen.known.first, screen.known.second] = partner[screen.known.second, screen.known.first] = 1
    return partner


def gene_contributions(screen):
    """Difference of each gene in the share of its known partners among its ten nearest."""
    partner = partners_of(screen)
    degree = partner.sum(axis=1)
    simple, learned = (np.take_along_axis(partner, rows, axis=1).sum(axis=1) for rows in screen.near)
    return ((learned - simple) / np.minimum(10, np.maximum(degree, 1)))[degree > 0]


def any_partner_contributions(screen):
    """Difference of each group in the share of its members that have any known partner among the ten nearest."""
    partner = partners_of(screen)
    simple, learned = (np.take_along_axis(partner, rows, axis=1).any(axis=1).astype(float) for rows in screen.near)
    return [(learned - simple)[rows].mean() for rows in screen.units.members]


def test_mcnemar_on_pairs_finds_a_difference_in_most_nulls():
    false = sum(mcnemar_p(screen) <= 0.05 for screen in screens(HUGE_PREFERENCES, 70))
    assert not at_most(false, 70, 0.05)
    assert false / 70 > 0.5


def test_genes_as_units_cover_too_little():
    intervals = [flipped(gene_contributions(screen)) for screen in screens(HUGE_PREFERENCES, 70)]
    assert not keeps(covered(intervals), 70)
    assert covered(intervals) / 70 < 0.75


def hits_by_unit(screen, budget):
    """Difference of known pairs among the most similar, by unit."""
    pooled = pool_pairs([screen.known], screen.units)
    simple, learned = (
        by_unit(pooled, known_credit(made, top_pairs(made, budget), pooled, budget=budget))
        for made in (screen.maps.simple, screen.maps.learned)
    )
    return learned - simple


def bca_interval(values, seed, *, n_resamples=1000):
    """Bias-corrected and accelerated bootstrap of a mean (Efron 1987, doi:10.1080/01621459.1987.10478410)."""
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), (n_resamples, len(values)))].mean(axis=1)
    below = ((means < values.mean()).mean() + (means <= values.mean()).mean()) / 2
    bias = NORMAL.inv_cdf(min(max(below, 1 / n_resamples), 1 - 1 / n_resamples))
    left_out = (values.sum() - values) / (len(values) - 1)
    spread = left_out.mean() - left_out
    acceleration = (spread**3).sum() / max(6 * (spread @ spread) ** 1.5, 1e-300)
    shifted = [bias + (bias + z) / (1 - acceleration * (bias + z)) for z in (-1.96, 1.96)]
    return tuple(np.quantile(means, [NORMAL.cdf(z) for z in shifted]))


def test_our_bca_is_the_published_one():
    from scipy.stats import bootstrap

    values = np.random.default_rng(0).exponential(size=40)
    published = bootstrap((values,), np.mean, method="BCa", n_resamples=20_000, rng=1).confidence_interval
    np.testing.assert_allclose(bca_interval(values, 2, n_resamples=20_000), published, atol=0.03)


@pytest.mark.slow
def test_bca_covers_too_little_where_few_groups_make_up_the_hits():
    screens_ = screens(PlantedDesign.of_kind("stress axis"), 150)
    contributions = [hits_by_unit(screen, 500) for screen in screens_]
    bca = covered([bca_interval(values, seed) for seed, values in enumerate(contributions)])
    flips = covered([flipped(values, seed) for seed, values in enumerate(contributions)])
    assert not keeps(bca, 150)
    assert bca / 150 < 0.92
    assert keeps(flips, 150)


def test_connected_blocks_of_groups_leave_nothing_to_test():
    n_blocks = []
    for screen in screens(PlantedDesign.of_kind("overlapping groups", advantage=0.4), 40):
        inside = np.zeros((screen.maps.simple.n_perturbations, screen.units.n_units))
        for number, rows in enumerate(screen.units.members):
            inside[rows, number] = 1
        n_blocks.append(connected_components(inside.T @ inside)[0])
    # One block holds nearly all groups, so a verdict would never come; groups find the difference.
    assert max(n_blocks) < FEWEST_UNITS / 2
    intervals = [screen.interval for screen in screens(PlantedDesign.of_kind("overlapping groups", advantage=0.4), 40)]
    assert found_better(intervals) >= 36


@pytest.mark.slow
def test_any_partner_in_the_top_is_wrong_under_overlap():
    design = PlantedDesign.of_kind("overlapping groups")
    any_partner = [flipped(any_partner_contributions(screen), screen.seed) for screen in screens(design, 150)]
    assert not keeps(covered(any_partner), 150)
    assert 1 - covered(any_partner) / 150 > 0.08
    assert keeps(covered([screen.interval for screen in screens(design, 150)]), 150)


@pytest.mark.slow
def test_hits_at_a_hundred_have_no_power():
    design = PlantedDesign.of_kind("preferences", advantage=0.2)
    chosen = screens(design, 80)
    hits = found_better([flipped(hits_by_unit(screen, 100), screen.seed) for screen in chosen])
    recall = found_better([screen.interval for screen in chosen])
    assert hits / 80 < 0.08
    assert recall / 80 > 0.55


# The benchmark


@pytest.mark.slow
def test_the_benchmark_runs_and_writes_what_it_found(tmp_path, capsys):
    out = tmp_path / "figures.json"
    calibration.main(["--json", str(out), "--screens", "4", "--kinds", "exchangeable"])
    report = json.loads(out.read_text(encoding="utf-8"))
    assert [line["advantage"] for line in report["lines"]] == [0.0, 0.1, 0.2, 0.4]
    assert report["whole verdict"] == {"judged": 2, "another interval": 0, "another word": 0, "lists disagree": 0}
    table = capsys.readouterr().out.splitlines()
    assert table[0].startswith("| null | worth it, % | worse, % | coverage of 95 % | power at +10 % |")
    assert table[2].startswith("| exchangeable |")


def test_the_benchmark_says_what_is_wrong():
    good = calibration.Line("exchangeable", 0.0, 1000, 0.02, 0.03, 0.0, 0.95, 0.5, 0.08, 0.1)
    guard = {"exchangeable": {"false with the guard": 0.02}}
    none = {"another interval": 0, "another word": 0}
    assert calibration.failures([good], guard, none) == []
    # Under an advantage neither error nor coverage of 0 is asked for.
    assert calibration.failures([replace(good, advantage=0.2, worth_it=0.9, coverage=0.99)], guard, none) == []
    for wrong in ({"worth_it": 0.05}, {"worse": 0.041}, {"coverage": 0.9}, {"coverage": 0.99}):
        assert len(calibration.failures([replace(good, **wrong)], guard, none)) == 1
    assert calibration.failures([good], {"exchangeable": {"false with the guard": 0.3}}, none)
    assert calibration.failures([good], guard, {"another interval": 0, "another word": 1}) == ["another word: 1"]
