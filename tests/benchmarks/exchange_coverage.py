"""Does the set that the exchange rate gives hold the true number of replicates? Thousands of planted screens.

From the top of a checkout, about half an hour on one core::

    python tests/benchmarks/exchange_coverage.py --json OUT [--screens 500]

A screen has eight replicates of every perturbation in a simple and in a learned representation; a map is the mean of
some of them. The true number is the n at which the simple map's expected macro partner recall at 10 equals that of the
learned map of two replicates, both expectations taken over all screens of the line, recall in between a straight line
in log n as in the definition. Coverage is the share of screens whose set holds it.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from explorer import __version__
from explorer.exchange import exchange_rate
from explorer.known import known_pairs, pool_units
from explorer.partners import partner_recall
from explorer.planted import NULL_KINDS, PlantedDesign, simulate_maps
from explorer.relate import neighborhoods

K = 10
N_AVAILABLE, N_LEARNED, N_ORDERS = 8, 2, 3
# Noise of one replicate: recall at 10 is .12 with one, .27 with two and .96 with all eight.
NOISE = 3.0
# How much better one replicate of the learned representation is: not at all, and about as good as two.
ADVANTAGES = (0.0, 1.0)
# What the nulls of the judge do not try: maps that see very different groups, and few groups.
EXTRA = {
    "strong preferences": {"preferences": 0.5},
    "strong preferences and shared noise": {"preferences": 0.5, "shared_noise": 0.5},
    "very strong preferences": {"preferences": 1.0},
    "25 groups": {"groups": 25},
}
LEAST_COVERAGE = 0.92

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Line:
    """Figures of one design.

    Attributes
    ----------
    kind, advantage, n_screens
        The design, and how many screens.
    truth
        Number of replicates of the simple map that equal two of the learned one; infinite beyond eight.
    coverage, too_high, too_low
        Share of screens whose set holds it; that lie above it, and below.
    says_nothing
        Share of screens in which no number is ruled out.
    bounded
        Share of screens whose set is bounded on both sides.
    low, high
        Median ends of the set.
    """

    kind: str
    advantage: float
    n_screens: int
    truth: float
    coverage: float
    too_high: float
    too_low: float
    says_nothing: float
    bounded: float
    low: float
    high: float


def design_of(kind: str, advantage: float) -> PlantedDesign:
    """Take the design of a line."""
    base = PlantedDesign(**EXTRA[kind]) if kind in EXTRA else PlantedDesign.of_kind(kind)
    return replace(base, noise=NOISE, advantage=advantage)


def recalls(design: PlantedDesign, seed: int) -> tuple[dict[int, Floats], Floats]:
    """Recall of each unit in simple maps of one to all replicates, and in the learned map of some."""
    drawn = [simulate_maps(design, seed=seed, draw=draw) for draw in range(N_AVAILABLE)]
    first = drawn[0]
    units = pool_units([known_pairs(first.known, first.simple.names)]).members
    # Replicates are exchangeable, so one order for all perturbations does as well as one for each.
    orders = [np.random.default_rng([seed, number]).permutation(N_AVAILABLE) for number in range(N_ORDERS)]

    def mean_recall(side: str, number: int) -> Floats:
        base = getattr(first, side)
        found = []
        for order in orders[: 1 if number == N_AVAILABLE else None]:
            profiles = np.mean([getattr(drawn[place], side).profiles for place in order[:number]], axis=0)
            found.append(partner_recall(neighborhoods(replace(base, profiles=profiles), k=K), units))
        return np.asarray(np.mean(found, axis=0))

    simple = {number: mean_recall("simple", number) for number in range(1, N_AVAILABLE + 1)}
    return simple, mean_recall("learned", N_LEARNED)


def true_number(simple: dict[int, float], learned: float) -> float:
    """Number of replicates at which two expected recalls are equal: a straight line in log n; infinite beyond all."""
    numbers = sorted(simple)
    heights = [simple[number] for number in numbers]
    if learned > heights[-1]:
        return float("inf")
    return float(np.exp(np.interp(learned, heights, np.log(numbers))))


def measure(kind: str, *, advantage: float, n_screens: int, first_seed: int = 0) -> Line:
    """Measure one design."""
    design = design_of(kind, advantage)
    screens = [recalls(design, first_seed + number) for number in range(n_screens)]
    simple = {
        number: float(np.mean([found[number].mean() for found, _ in screens])) for number in range(1, N_AVAILABLE + 1)
    }
    truth = true_number(simple, float(np.mean([learned.mean() for _, learned in screens])))
    rates = [
        exchange_rate(found, learned, n_learned=N_LEARNED, seed=number)
        for number, (found, learned) in enumerate(screens)
    ]
    # Infinite ends hold whatever lies beyond what is available.
    inside = [any(low <= truth <= high for low, high in rate.intervals) for rate in rates]
    above = [rate.intervals[0][0] > truth for rate in rates]
    below = [rate.intervals[-1][1] < truth for rate in rates]
    lows, highs = ([rate.intervals[place][place] for rate in rates] for place in (0, -1))
    return Line(
        kind=kind,
        advantage=advantage,
        n_screens=n_screens,
        truth=truth,
        coverage=float(np.mean(inside)),
        too_high=float(np.mean(above)),
        too_low=float(np.mean(below)),
        says_nothing=float(np.mean([rate.is_open for rate in rates])),
        bounded=float(np.mean([low > 0 and np.isfinite(high) for low, high in zip(lows, highs, strict=True)])),
        low=float(np.median(lows)),
        high=float(np.median(highs)),
    )


def markdown(lines: list[Line]) -> str:
    """Write the figures as a table."""
    text = [
        "| screens | true n | coverage | too high / too low | says nothing | median set |",
        "|---|---|---|---|---|---|",
    ]
    for line in lines:
        text.append(
            f"| {line.kind}, {line.advantage:+.0%} | {line.truth:.2f} | {100 * line.coverage:.1f} "
            f"| {100 * line.too_high:.1f} / {100 * line.too_low:.1f} | {100 * line.says_nothing:.1f} "
            f"| {line.low:.2f} to {line.high:.2f} |"
        )
    return "\n".join(text)


def main() -> int:
    """Measure all designs and print them; fails where coverage is below what may be shown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--screens", type=int, default=500, help="screens of each design")
    parser.add_argument("--kind", action="append", help="one kind; all without it")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    chosen = parser.parse_args()
    lines = []
    for kind in chosen.kind or [*NULL_KINDS, *EXTRA]:
        for advantage in ADVANTAGES:
            began = time.perf_counter()
            lines.append(measure(kind, advantage=advantage, n_screens=chosen.screens, first_seed=chosen.first_seed))
            print(markdown(lines[-1:]).splitlines()[-1], f"{time.perf_counter() - began:.0f} s", file=sys.stderr)
    print(markdown(lines))
    if chosen.json is not None:
        content = {
            "version": __version__, "python": platform.python_version(), "numpy": np.__version__,
            "lines": [asdict(line) for line in lines],
        }  # fmt: skip
        chosen.json.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return int(min(line.coverage for line in lines) < LEAST_COVERAGE)


if __name__ == "__main__":
    sys.exit(main())
