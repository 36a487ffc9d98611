"""The exchange rate: a set that agrees with the test it inverts, open ends, and screens whose true rate is known."""

import math
import sys
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from builders import CONTROL, Rows
from conftest import PROJECT
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.aggregate import build_map
from explorer.errors import InputError
from explorer.exchange import (
    COVERAGE,
    TRAINED_ON_ALL,
    coverage_sentence,
    exchange_rate,
    screen_exchange_rate,
)
from explorer.known import known_pairs, pool_units
from explorer.moments import collect_moments
from explorer.partners import partner_recall
from explorer.planted import NULL_KINDS
from explorer.relate import neighborhoods
from explorer.relationships import GeneSets
from explorer.significance import sign_flip

sys.path.insert(0, str(PROJECT / "tests" / "benchmarks"))

from exchange_coverage import EXTRA, LEAST_COVERAGE, measure, true_number

INFINITE = float("inf")


def p_naive(contributions):
    """Share of all choices of signs whose absolute sum reaches the observed one."""
    total = abs(sum(contributions))
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, contributions, strict=True)))
        for signs in product((1, -1), repeat=len(contributions))
    ]
    return np.mean([value >= total - 1e-12 for value in sums])


def recall_at(n, simple):
    """Recall of every unit between two numbers of replicates: a straight line in log n."""
    numbers = sorted(simple)
    left = max(number for number in numbers if number <= n + 1e-12)
    if left == numbers[-1]:
        return list(simple[left])
    right = min(number for number in numbers if number > left)
    weight = (math.log(n) - math.log(left)) / (math.log(right) - math.log(left))
    return [(1 - weight) * one + weight * other for one, other in zip(simple[left], simple[right], strict=True)]


def holds(rate, n):
    return any(low <= n <= high for low, high in rate.intervals)


def test_the_set_is_the_test_inverted_in_a_loop():
    rng = np.random.default_rng(0)
    simple = {n: np.clip(0.2 * n + 0.1 * rng.normal(size=9), 0, 1) for n in (1, 2, 4)}
    learned = np.clip(0.45 + 0.1 * rng.normal(size=9), 0, 1)
    rate = exchange_rate(simple, learned, n_learned=2)
    assert rate.curve.height >= 200
    for n, difference, low, high, p, accepted in rate.curve.gather_every(9).iter_rows():
        contributions = [one - other for one, other in zip(learned, recall_at(n, simple), strict=True)]
        assert difference == pytest.approx(np.mean(contributions))
        assert p == pytest.approx(p_naive(contributions))
        assert accepted == (p > 0.05) == (low <= 0 <= high)
        assert holds(rate, n) or not accepted
    (low, high), *_ = rate.intervals
    assert 1 < low < high < 4
    # Outside the set nothing is accepted, and its ends are a grid step from what is.
    inside = rate.curve.filter("accepted")["n_replicates"]
    assert low < inside.min() <= low * 1.01
    assert inside.max() < high <= inside.max() * 1.01


def test_many_units_are_tested_as_the_verdict_tests_them():
    rng = np.random.default_rng(1)
    simple = {n: rng.random(40) * n / 8 for n in (1, 3, 8)}
    learned = rng.random(40) * 0.4
    rate = exchange_rate(simple, learned, n_learned=3, seed=5)
    for n in (1, 3, 8):
        row = rate.curve.filter(rate.curve["n_replicates"] == n)
        alone = sign_flip(learned - simple[n], seed=5)
        assert row["p"].item() == alone.p
        assert row["low"].item() == pytest.approx(alone.low)


def test_an_interval_narrower_than_the_grid_is_not_missed():
    # A hundred units that agree exactly: all but one number is ruled out.
    simple = {n: np.full(100, 0.1 * math.log(n)) for n in (1, 2, 5, 9)}
    rate = exchange_rate(simple, np.full(100, 0.1 * math.log(3.3)), n_learned=2)
    ((low, high),) = rate.intervals
    assert low <= 3.3 <= high
    assert high / low < 1.03
    assert rate.text == "3.3 to 3.3" or rate.text == "3.3 to 3.4" or rate.text == "3.2 to 3.3"


@pytest.mark.parametrize(
    ("learned", "intervals", "text"),
    [
        (0.95, ((4.0, INFINITE),), "> 4"),
        (0.01, ((0.0, 1.0),), "< 1"),
    ],
)
def test_what_lies_beyond_the_maps_at_hand_is_left_open(learned, intervals, text):
    simple = {n: np.full(30, 0.2 * n) for n in (1, 2, 4)}
    rate = exchange_rate(simple, np.full(30, learned), n_learned=1)
    assert rate.intervals == intervals
    assert rate.text == text
    assert f"would need {text} replicates (95 % set; 4 are available)" in rate.sentence


def test_sets_may_be_open_on_one_side():
    rng = np.random.default_rng(2)
    simple = {n: np.clip(0.2 * n + 0.1 * rng.normal(size=30), 0, 1) for n in (1, 2, 4)}
    high, low = (exchange_rate(simple, simple[n], n_learned=1) for n in (4, 1))
    assert high.intervals[0][0] > 2
    assert high.intervals[-1][1] == INFINITE
    assert high.text.startswith("> ")
    assert low.intervals[0][0] == 0
    assert low.intervals[-1][1] < 2
    assert low.text.startswith("< ")


def test_nothing_is_ruled_out_with_too_few_units_to_tell():
    rate = exchange_rate({1: [0.1, 0.2, 0.1], 2: [0.5, 0.5, 0.4]}, [0.9, 0.9, 0.9], n_learned=1)
    assert rate.is_open
    assert rate.text == "any"
    assert rate.sentence == (
        "How many replicates the simple map would need to equal the learned map of 1 replicate can't be told: no "
        "number from 1 to 2 is ruled out."
    )


def test_a_recall_that_turns_gives_two_intervals():
    heights = {1: 0.2, 2: 0.5, 4: 0.2}
    simple = {n: np.full(40, height) for n, height in heights.items()}
    rate = exchange_rate(simple, np.full(40, 0.35), n_learned=1)
    # Where even the last map is told to be worse, more replicates than there are could be needed too.
    assert len(rate.intervals) == 3
    assert rate.text.count(" or ") == 2
    assert holds(rate, math.sqrt(2))
    assert holds(rate, math.sqrt(8))
    assert not holds(rate, 2)
    assert rate.intervals[-1] == (4.0, INFINITE)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(6, 20))
def test_the_map_itself_is_always_in_its_own_set(seed, number, n_units):
    rng = np.random.default_rng(seed)
    simple = {n: rng.random(n_units) for n in (1, 2, 4, 8)}
    target = recall_at(number, simple)
    assert holds(exchange_rate(simple, target, n_learned=1, n_flips=199), number)


@pytest.mark.parametrize(
    ("simple", "learned", "n_learned", "message"),
    [
        ({}, [0.1], 1, "expected at least one each, 1 or more"),
        ({0: [0.1]}, [0.1], 1, "expected at least one each, 1 or more"),
        ({1: [0.1]}, [0.1], 0, "expected at least one each, 1 or more"),
        ({1: [0.1, 0.2]}, [0.1], 1, "give the same units throughout"),
    ],
)
def test_bad_input(simple, learned, n_learned, message):
    with pytest.raises(InputError, match=message):
        exchange_rate(simple, learned, n_learned=n_learned)


def replicated(seed=0, *, n=120, replicates=6, n_features=24, guides=True, noise=(3.0, 1.8), missing=0):
    """A screen of modules of four whose learned representation has less noise in every replicate."""
    rng = np.random.default_rng(seed)
    effect = rng.normal(size=(n // 4, n_features))[np.arange(n) // 4]
    labels = [f"P{number:03d}" for number in range(n) for _ in range(replicates)] + [CONTROL] * 40
    signal = np.concatenate([effect.repeat(replicates, axis=0), np.zeros((40, n_features))])
    values = [(signal + level * rng.normal(size=signal.shape)).astype(np.float32) for level in noise]
    column = [f"{name}-{place % replicates % 3}" for place, name in enumerate(labels)]
    batch = [f"b{place % replicates // 3}" for place in range(len(labels))]
    rows = Rows(
        labels,
        values[0],
        batch if guides else [f"b{place % replicates}" for place in range(len(labels))],
        column if guides else None,
        extra={"learned": values[1]},
    )
    rows = rows if not missing else trimmed(rows, missing, replicates)
    groups = {
        f"module {number}": tuple(f"P{4 * number + member:03d}" for member in range(4)) for number in range(n // 4)
    }
    return rows, GeneSets("modules", groups)


def trimmed(rows, missing, replicates):
    """Leave the first few perturbations with one replicate."""
    first = {f"P{number:03d}" for number in range(missing)}
    keep = [place for place, name in enumerate(rows.perturbations) if name not in first or place % replicates == 0]
    return Rows(
        [rows.perturbations[place] for place in keep],
        rows.values[keep],
        None if rows.batch is None else [rows.batch[place] for place in keep],
        None if rows.guide is None else [rows.guide[place] for place in keep],
        extra={name: values[keep] for name, values in rows.extra.items()},
    )


@pytest.mark.parametrize("guides", [True, False])
def test_the_planted_rate_of_a_screen_is_found(guides):
    rows, source = replicated(guides=guides)
    seen = []
    rate = screen_exchange_rate(
        rows.screen, "raw", "learned", sources=[source], n_learned=1, n_draws=3,
        progress=lambda name, share: seen.append((name, share)),
    )  # fmt: skip
    assert (rate.n_available, rate.n_units, rate.n_learned) == (6, 30, 1)
    # A replicate of the learned representation is worth (3 / 1.8)² of the simple one.
    assert holds(rate, (3.0 / 1.8) ** 2)
    assert not rate.is_open
    assert not holds(rate, 1)
    shares = [share for _, share in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert {name for name, _ in seen} == {"exchange rate"}


def test_what_a_learned_map_has_seen_is_said():
    rows, source = replicated(n=60)
    screen = rows.screen
    learned = replace(screen.representation("learned"), kind="learned")
    screen = replace(screen, representations={**screen.representations, "learned": learned})
    plain, noted = (
        screen_exchange_rate(of, "raw", "learned", sources=[source], n_draws=1) for of in (rows.screen, screen)
    )
    assert plain.notes == ()
    assert noted.notes == (TRAINED_ON_ALL,)


def test_equal_representations_are_worth_their_own_replicates():
    rows, source = replicated(noise=(2.0, 2.0))
    rows.extra["learned"] = rows.values
    rate = screen_exchange_rate(rows.screen, "raw", "learned", sources=[source], n_draws=2)
    assert rate.n_learned == 3
    assert holds(rate, 3)
    same = screen_exchange_rate(rows.screen, "raw", "learned", sources=[source], n_draws=2)
    assert same.curve.equals(rate.curve)
    point = rate.curve.filter(rate.curve["n_replicates"] == 3)
    assert point["difference"].item() == 0


@pytest.mark.parametrize("alignment", ["none", "center-scale"])
def test_the_map_of_all_replicates_is_the_map(alignment):
    rows, source = replicated()
    screen = rows.screen
    moments = tuple(collect_moments(screen, screen.representation(name)) for name in ("raw", "learned"))
    rate = screen_exchange_rate(
        screen, "raw", "learned", sources=[source], alignment=alignment, n_learned=6, n_draws=2, moments=moments
    )
    recall = []
    for name in ("raw", "learned"):
        whole = build_map(screen, name, alignment=alignment)
        units = pool_units([known_pairs(source, whole.names)]).members
        recall.append(partner_recall(neighborhoods(whole, k=10), units).mean())
    point = rate.curve.filter(rate.curve["n_replicates"] == 6)
    assert point["difference"].item() == pytest.approx(recall[1] - recall[0], abs=1e-9)


def test_perturbations_with_few_replicates_are_left_out_and_said_so():
    rows, source = replicated(missing=8)
    rate = screen_exchange_rate(rows.screen, "raw", "learned", sources=[source], n_draws=1)
    assert rate.n_available == 6
    assert rate.n_units == 28
    assert rate.notes == ("8 perturbations with fewer than 6 replicates in both representations are left out",)


def test_a_screen_without_replicates_says_why_there_is_no_rate():
    rows, source = replicated(missing=100)
    rate = screen_exchange_rate(rows.screen, "raw", "learned", sources=[source])
    assert rate.intervals == ()
    assert rate.text == "not known"
    assert rate.sentence.startswith("No exchange rate: most perturbations have one replicate")
    assert rate.curve.is_empty()


def test_bad_input_of_a_screen():
    rows, source = replicated()
    with pytest.raises(InputError, match="a learned map of 7 replicates can't be made: choose from 1 to 6"):
        screen_exchange_rate(rows.screen, "raw", "learned", sources=[source], n_learned=7)
    with pytest.raises(InputError, match="did you mean 'learned'"):
        screen_exchange_rate(rows.screen, "raw", "learnt", sources=[source])


def test_many_replicates_are_tried_at_some_numbers():
    rows, source = replicated(replicates=18, guides=False, n=60)
    rate = screen_exchange_rate(rows.screen, "raw", "learned", sources=[source], n_draws=1)
    assert rate.n_available == 18
    assert rate.n_learned == 9


def test_the_true_number_lies_where_expectations_meet():
    heights = {1: 0.1, 2: 0.3, 4: 0.5}
    assert true_number(heights, 0.3) == pytest.approx(2)
    assert true_number(heights, 0.4) == pytest.approx(math.sqrt(8))
    assert true_number(heights, 0.6) == INFINITE


@pytest.mark.slow
def test_the_set_holds_the_true_number():
    # The benchmark does this with hundreds of screens of every kind. Equal maps of two replicates are worth two.
    line = measure("exchangeable", advantage=0.0, n_screens=12)
    assert line.coverage >= 0.75
    assert line.says_nothing == 0
    assert 1.7 < line.truth < 2.3


def test_the_coverage_that_is_printed_was_measured():
    assert all(LEAST_COVERAGE <= figures.coverage <= 1 for figures in COVERAGE)
    assert all(figures.n_screens >= 500 for figures in COVERAGE)
    kinds = {figures.kind for figures in COVERAGE}
    assert kinds == {*NULL_KINDS, *EXTRA}
    lowest = min(COVERAGE, key=lambda figures: figures.coverage)
    assert f"held the true number in {100 * lowest.coverage:.1f} to " in coverage_sentence()
    assert f"often with {lowest.kind} ({lowest.n_screens} screens" in coverage_sentence()
