"""What a learned representation is worth in replicates: how many of them would let the simple map do as well.

The set is shown because its coverage has been measured: at a nominal 95 % it held the true number in
93.4 to 98.0 % of 500 planted screens of each of 23 designs, maps that prefer other groups and maps made of the
same rows among them, and in hardly any did it span everything. `COVERAGE` has the figures,
``tests/benchmarks/exchange_coverage.py`` makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.aggregate import PerturbationMap, map_from_moments
from explorer.align import fit_alignment, moments_for
from explorer.errors import InputError
from explorer.gather import Units, aligned_units
from explorer.known import known_pairs, pool_units
from explorer.moments import ScreenMoments
from explorer.partners import DEFAULT_K, partner_recall
from explorer.relate import check_k, neighborhoods
from explorer.relationships import GeneSets, Relationships
from explorer.replicates import profiles
from explorer.screen import Screen
from explorer.significance import N_FLIPS, sign_flips

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Progress = Callable[[str, float], None]

N_DRAWS = 5
TRAINED_ON_ALL = (
    "a learned representation that was trained on all replicates knows more than those its map is made of, so its rate "
    "is rather too high"
)
# Maps are made of at most so many numbers of replicates, evenly spaced in their logarithm.
_MOST_NUMBERS = 10
# Numbers of replicates that are tested, from the fewest to the most at hand.
_GRID = 200
# So many perturbations must have the replicates that the largest map is made of; the others are left out.
_SHARE_WITH_ALL = 0.8


@dataclass(frozen=True, slots=True)
class MeasuredCoverage:
    """How often the set of one kind of planted screen held the true number of replicates.

    Attributes
    ----------
    kind, truth
        The kind of screen, and the number of replicates of the simple map that equal two of the learned one in truth.
    coverage, says_nothing
        Share of screens whose set held it, and of those whose set ruled nothing out.
    n_screens
        Number of screens.
    """

    kind: str
    truth: float
    coverage: float
    says_nothing: float
    n_screens: int


# Measured by tests/benchmarks/exchange_coverage.py.
COVERAGE = (
    MeasuredCoverage("exchangeable", 2.00, 0.968, 0.000, 500),
    MeasuredCoverage("exchangeable", 3.68, 0.966, 0.000, 500),
    MeasuredCoverage("stress axis", 2.01, 0.960, 0.000, 500),
    MeasuredCoverage("stress axis", 4.11, 0.968, 0.000, 500),
    MeasuredCoverage("huge groups", 2.01, 0.940, 0.000, 500),
    MeasuredCoverage("huge groups", 3.58, 0.970, 0.000, 500),
    MeasuredCoverage("half inactive", 2.02, 0.966, 0.000, 500),
    MeasuredCoverage("half inactive", 4.91, 0.962, 0.000, 500),
    MeasuredCoverage("overlapping groups", 2.00, 0.968, 0.000, 500),
    MeasuredCoverage("overlapping groups", 4.86, 0.980, 0.000, 500),
    MeasuredCoverage("shared noise", 2.01, 0.950, 0.000, 500),
    MeasuredCoverage("shared noise", 3.68, 0.962, 0.000, 500),
    MeasuredCoverage("preferences", 1.99, 0.946, 0.000, 500),
    MeasuredCoverage("preferences", 3.65, 0.956, 0.000, 500),
    MeasuredCoverage("shared noise and preferences", 2.00, 0.942, 0.000, 500),
    MeasuredCoverage("shared noise and preferences", 3.65, 0.950, 0.000, 500),
    MeasuredCoverage("strong preferences", 1.97, 0.942, 0.000, 500),
    MeasuredCoverage("strong preferences", 4.71, 0.936, 0.000, 500),
    MeasuredCoverage("strong preferences and shared noise", 1.97, 0.936, 0.000, 500),
    MeasuredCoverage("strong preferences and shared noise", 4.70, 0.944, 0.000, 500),
    MeasuredCoverage("very strong preferences", 1.93, 0.934, 0.006, 500),
    MeasuredCoverage("25 groups", 2.01, 0.962, 0.000, 500),
    MeasuredCoverage("25 groups", 3.68, 0.964, 0.000, 500),
)


def coverage_sentence() -> str:
    """Say how far the set can be relied on, from `COVERAGE`."""
    lowest, highest = (100 * end(line.coverage for line in COVERAGE) for end in (min, max))
    worst = min(COVERAGE, key=lambda line: line.coverage)
    return (
        f"On planted screens the 95 % set held the true number in {lowest:.1f} to {highest:.1f} % of cases, least "
        f"often with {worst.kind} ({worst.n_screens:,} screens of each kind)."
    )


@dataclass(frozen=True, slots=True, eq=False)
class ExchangeRate:
    """Numbers of replicates at which the simple map can't be told from the learned one: a set, never a point.

    Attributes
    ----------
    n_learned
        Replicates that the learned map is made of.
    n_available
        Most replicates that a simple map was made of.
    n_units
        Units of the test.
    intervals
        The accepted numbers of replicates, ascending, each from a least to a largest: 0 where fewer than one could do,
        infinity where more than are available could be needed. Ends are rounded outwards, by 1 % at most.
    curve
        What was tested, one line a number: ``n_replicates, difference, low, high, p, accepted``; the difference is
        learned − simple in mean partner recall, with its 95 % interval.
    reason
        Why there is no exchange rate, in a sentence; None where there is one.
    seed
        Of the signs and of the choice of replicates.
    notes
        What the reader must know, in sentences.
    """

    n_learned: int
    n_available: int
    n_units: int
    intervals: tuple[tuple[float, float], ...]
    curve: pl.DataFrame = field(repr=False)
    reason: str | None
    seed: int
    notes: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether nothing is ruled out, so that the set says nothing."""
        return self.intervals == ((0.0, float("inf")),)

    @property
    def text(self) -> str:
        """The set in a few characters: ``2.9 to 6.1``, ``> 8``, ``< 1``; ``any`` where nothing is ruled out."""
        if self.reason is not None:
            return "not known"
        return " or ".join(_interval_text(low, high) for low, high in self.intervals)

    @property
    def sentence(self) -> str:
        """The set in a sentence."""
        if self.reason is not None:
            return f"No exchange rate: {self.reason}."
        learned = f"the learned map of {_replicates(self.n_learned)}"
        if self.is_open:
            return (
                f"How many replicates the simple map would need to equal {learned} can't be told: no number from 1 to "
                f"{self.n_available} is ruled out."
            )
        return (
            f"To equal {learned}, the simple map would need {self.text} replicates (95 % set; {self.n_available} are "
            "available)."
        )


def exchange_rate(
    simple_by_n: Mapping[int, npt.ArrayLike],
    learned: npt.ArrayLike,
    *,
    n_learned: int,
    seed: int = 0,
    n_flips: int = N_FLIPS,
) -> ExchangeRate:
    """Find the numbers of replicates at which the simple map is not told from the learned one by the sign-flip test.

    Between the numbers that maps were made of, the recall of each unit is a straight line in log n. Beyond
    them nothing is known: the set is open above unless the simple map of most replicates is told to be better, and
    open below unless that of fewest is told to be worse.

    Parameters
    ----------
    simple_by_n
        Recall of each unit in simple maps, by the number of replicates that these are made of, shape (n_units,) each.
    learned
        Recall of each unit in the learned map, shape (n_units,).
    n_learned
        Replicates that the learned map is made of.
    seed, n_flips
        Of the signs.

    Returns
    -------
    ExchangeRate
        All n with p > .05.

    Raises
    ------
    InputError
        When there is no simple map, a number of replicates is below 1, or units differ.

    References
    ----------
    Fisher 1935, The Design of Experiments (inversion of a test).
    """
    target = np.asarray(learned, dtype=np.float64)
    numbers = sorted(simple_by_n)
    if not numbers or numbers[0] < 1 or n_learned < 1:
        msg = f"numbers of replicates are {numbers} and {n_learned} (learned), expected at least one each, 1 or more"
        raise InputError(msg)
    simple = [np.asarray(simple_by_n[number], dtype=np.float64) for number in numbers]
    if any(line.shape != target.shape or target.ndim != 1 for line in simple):
        msg = f"recall has shapes {[line.shape for line in simple]} and {target.shape}: give the same units throughout"
        raise InputError(msg)
    differences = target[None, :] - np.stack(simple)
    grid = _grid(numbers, differences.mean(axis=1)) if len(target) else np.array(numbers, dtype=np.float64)
    tests = sign_flips(list(_interpolated(grid, numbers, differences)), seed=seed, n_flips=n_flips)
    accepted = np.array([not test.excludes_zero for test in tests])
    estimate = np.array([test.estimate for test in tests])
    curve = pl.DataFrame(
        {
            "n_replicates": grid,
            "difference": estimate,
            "low": [test.low for test in tests],
            "high": [test.high for test in tests],
            "p": [test.p for test in tests],
            "accepted": accepted,
        }
    )
    return ExchangeRate(
        n_learned=n_learned,
        n_available=numbers[-1],
        n_units=len(target),
        intervals=_accepted_intervals(grid, accepted, estimate),
        curve=curve,
        reason=None,
        seed=seed,
    )


def screen_exchange_rate(
    screen: Screen,
    simple: str,
    learned: str,
    *,
    sources: Sequence[Relationships | GeneSets],
    alignment: str = "none",
    n_learned: int | None = None,
    k: int = DEFAULT_K,
    n_draws: int = N_DRAWS,
    moments: tuple[ScreenMoments, ScreenMoments] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ExchangeRate:
    """Say how many replicates the simple map would need to equal the learned one, on macro partner recall at k.

    A replicate is the mean of the rows of one guide in one batch. Maps are made of the first n replicates of every
    perturbation in a random order, the same ones in both representations, and recall is averaged over a few orders.
    All controls align all maps.

    Parameters
    ----------
    screen
        The rows.
    simple, learned
        Names of two of its representations.
    sources
        What is known: groups of all are pooled into units.
    alignment
        One of `explorer.align.METHODS`, of both.
    n_learned
        Replicates that the learned map is made of; half of those available without it.
    k
        Number of neighbours.
    n_draws
        Random orders of the replicates.
    moments
        Of all rows of the simple and of the learned representation, where they have been collected.
    seed
        Of the orders and of the signs.
    progress
        Called with a name and the share done after each map.

    Returns
    -------
    ExchangeRate
        With a `reason` in place of a set where there are no replicates.

    Raises
    ------
    InputError
        When a name is unknown, `n_learned` is not available, k is out of range, or a source knows too little.
    """
    found = [screen.representation(name) for name in (simple, learned)]
    given = moments or (None, None)
    collected = [
        moments_for(alignment, screen, source, moments=own, seed=seed) for source, own in zip(found, given, strict=True)
    ]
    units = [aligned_units(screen, own, fit_alignment(own, alignment)) for own in collected]
    replicates = _Replicates(collected, units)
    names, most = replicates.names, replicates.n_available
    if most < 2:
        return ExchangeRate(
            n_learned or 1, most, 0, (), _no_curve(),
            "most perturbations have one replicate (a guide in a batch), and a map of fewer can't be made", seed,
        )  # fmt: skip
    of_learned = max(1, most // 2) if n_learned is None else n_learned
    if isinstance(of_learned, bool) or not isinstance(of_learned, int) or not 1 <= of_learned <= most:
        msg = f"a learned map of {of_learned} replicates can't be made: choose from 1 to {most}"
        raise InputError(msg)
    check_k(k, len(names))
    pooled = pool_units([known_pairs(source, names) for source in sources]).members
    base = [
        map_from_moments(screen, source, own, alignment=alignment, seed=seed).restricted_to(names)
        for source, own in zip(found, collected, strict=True)
    ]
    numbers = _numbers(most)
    totals = {number: np.zeros(len(pooled)) for number in numbers}
    of_target = np.zeros(len(pooled))
    for draw in range(n_draws):
        order = replicates.shuffled(np.random.default_rng([seed, draw]))
        for place, number in enumerate(numbers):
            made = _map_of(base[0], units[0], replicates.first(order, number, side=0), number=number, seed=seed)
            totals[number] += partner_recall(neighborhoods(made, k=k), pooled) / n_draws
            if progress is not None:
                progress("exchange rate", (draw + (place + 1) / (len(numbers) + 1)) / n_draws)
        made = _map_of(base[1], units[1], replicates.first(order, of_learned, side=1), number=of_learned, seed=seed)
        of_target += partner_recall(neighborhoods(made, k=k), pooled) / n_draws
        if progress is not None:
            progress("exchange rate", (draw + 1) / n_draws)
    notes = []
    if found[1].kind == "learned":
        notes.append(TRAINED_ON_ALL)
    if replicates.n_left_out:
        notes.append(
            f"{replicates.n_left_out:,} perturbations with fewer than {most} replicates in both representations are "
            "left out"
        )
    return replace(exchange_rate(totals, of_target, n_learned=of_learned, seed=seed), notes=tuple(notes))


class _Replicates:
    """Replicates that both representations have, of the perturbations that have enough of them."""

    def __init__(self, moments: Sequence[ScreenMoments], units: Sequence[Units]) -> None:
        labels = moments[0].labels
        common = np.intersect1d(moments[0].unit, moments[1].unit)
        owner = labels.unit_perturbation[common].astype(np.int64)
        counts = np.bincount(owner, minlength=len(labels.perturbations))
        met = np.flatnonzero(counts)
        ranked = np.sort(counts[met])[::-1]
        self.n_available = int(ranked[max(0, int(np.ceil(_SHARE_WITH_ALL * len(ranked))) - 1)]) if len(met) else 0
        chosen = np.flatnonzero(counts >= max(1, self.n_available))
        self.n_left_out = len(met) - len(chosen)
        self.names = tuple(labels.perturbations[number] for number in chosen.tolist())
        kept = np.isin(owner, chosen)
        self._owner = owner[kept]
        self._places = [np.searchsorted(own.unit, common[kept]) for own in moments]

    def shuffled(self, rng: np.random.Generator) -> Integers:
        """Rank the replicates of every perturbation in a random order, from 0."""
        order = np.lexsort((rng.random(len(self._owner)), self._owner))
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order)) - np.searchsorted(self._owner, self._owner)
        return rank

    def first(self, rank: Integers, number: int, *, side: int) -> npt.NDArray[np.intp]:
        """Units of one representation that are among the first of their perturbation."""
        return self._places[side][rank < number]


def _map_of(
    base: PerturbationMap, units: Units, chosen: npt.NDArray[np.intp], *, number: int, seed: int
) -> PerturbationMap:
    guide = units.guide[chosen] if units.by_guide else None
    values = profiles(units.aligned[chosen], units.count[chosen], units.owner[chosen], guide=guide)
    recipe = replace(base.recipe, filter=f"{_replicates(number)} of each perturbation", seed=seed)
    return replace(base, profiles=values.astype(np.float32), recipe=recipe)


def _numbers(most: int) -> list[int]:
    """Numbers of replicates that maps are made of: all, or some that are evenly spaced in their logarithm."""
    if most <= _MOST_NUMBERS:
        return list(range(1, most + 1))
    return sorted({round(number) for number in np.geomspace(1, most, _MOST_NUMBERS).tolist()})


def _grid(numbers: Sequence[int], differences: Floats) -> Floats:
    """Numbers to test: evenly spaced in their logarithm, those given, and where the mean difference is 0."""
    points = [np.asarray(numbers, dtype=np.float64)]
    if len(numbers) > 1:
        points.append(np.geomspace(numbers[0], numbers[-1], _GRID))
        for (one, other), (here, there) in zip(pairwise(numbers), pairwise(differences.tolist()), strict=True):
            # An interval narrower than the grid must not be missed.
            if here * there < 0:
                points.append(np.array([one * (other / one) ** (here / (here - there))]))
    return np.unique(np.clip(np.concatenate(points), numbers[0], numbers[-1]))


def _interpolated(grid: Floats, numbers: Sequence[int], differences: Floats) -> Floats:
    """Contributions of the units at each number of the grid, shape (n_grid, n_units)."""
    if len(numbers) == 1:
        return np.repeat(differences, len(grid), axis=0)
    logs, at = np.log(np.asarray(numbers, dtype=np.float64)), np.log(grid)
    left = np.clip(np.searchsorted(logs, at, side="right") - 1, 0, len(numbers) - 2)
    weight = np.clip((at - logs[left]) / (logs[left + 1] - logs[left]), 0.0, 1.0)[:, None]
    return np.asarray((1 - weight) * differences[left] + weight * differences[left + 1])


def _accepted_intervals(
    grid: Floats, accepted: npt.NDArray[np.bool_], estimate: Floats
) -> tuple[tuple[float, float], ...]:
    """Turn the accepted points into intervals that reach to the next point rejected."""
    # Below the first number and above the last one only a test that told the maps apart says anything.
    below = bool(accepted[0] or estimate[0] < 0)
    above = bool(accepted[-1] or estimate[-1] > 0)
    inside = np.r_[below, accepted, above]
    ends = np.r_[0.0, grid, np.inf]
    change = np.flatnonzero(np.diff(np.r_[False, inside, False].astype(np.int8)))
    found = []
    for first, last in change.reshape(-1, 2).tolist():
        low = ends[first - 1] if first > 0 else 0.0
        high = ends[last] if last < len(ends) else np.inf
        found.append((float(low), float(high)))
    return tuple(found)


def _no_curve() -> pl.DataFrame:
    numbers = dict.fromkeys(("n_replicates", "difference", "low", "high", "p"), pl.Float64)
    return pl.DataFrame(schema=numbers | {"accepted": pl.Boolean})


def _interval_text(low: float, high: float) -> str:
    if low == 0 and np.isinf(high):
        return "any"
    if low == 0:
        return f"< {high:.2g}"
    return f"> {low:.2g}" if np.isinf(high) else f"{low:.2g} to {high:.2g}"


def _replicates(number: int) -> str:
    return f"{number} replicate{'' if number == 1 else 's'}"
