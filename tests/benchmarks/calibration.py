"""How often the judge is wrong, and what it finds: thousands of planted pairs of maps of every kind of null.

From the top of a checkout, less than ten minutes on one core::

    python tests/benchmarks/calibration.py --json OUT [--screens 2000]

Every screen goes through the public API. Error is the share of screens in which the difference is significant
although both maps have the same expected macro partner recall at 10; power is that share where the learned map's is
higher. Coverage is the share of 95 % intervals that hold the *expected difference over groups like these*: its mean
over truths (groups, and how strong each is in each map) and over noise, which is 0 where the maps are exchangeable and
otherwise the mean over all screens of the line. Two other truths stand beside it: the expected difference of *these*
groups, measured again and again with other noise; and the difference over as many groups of the same two maps that
nobody listed, of which the interval does not claim to speak.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from explorer import __version__
from explorer.known import known_pairs, pool_units
from explorer.partners import partner_recall
from explorer.planted import NULL_KINDS, PlantedDesign, PlantedMaps, simulate_maps
from explorer.relate import neighborhoods
from explorer.relationships import Relationships
from explorer.significance import SignFlip, sign_flip, sign_flips
from explorer.verdict import judge

K = 10
ADVANTAGES = (0.1, 0.2, 0.4)
# The advantage whose power is drawn as often as a null.
MAIN_ADVANTAGE = 0.2
# Error on either side, and coverage, that a judge must keep to.
MOST_ERROR = 0.04
LEAST_COVERAGE, MOST_COVERAGE = 0.92, 0.98
# Advantage of the learned map over the simple one where placebos are tried: one as good as it, and a poor one.
GUARDED, POOR = 0.4, -0.5
# Draws of noise that the expected difference of one truth is estimated from.
DRAWS = 25
# Truths measured again and again, and screens put through the whole verdict.
TRUTHS, JUDGED = 150, 25

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Line:
    """Figures of one design.

    Attributes
    ----------
    kind, advantage, n_screens
        The design, and how often it was drawn.
    worth_it, worse
        Shares of screens in which the interval lies above 0, and below.
    truth, coverage
        Expected difference over groups like these, and the share of intervals that hold it.
    simple, half_width, detectable
        Means of the simple map's score, of the interval's half width and of the smallest detectable difference.
    """

    kind: str
    advantage: float
    n_screens: int
    worth_it: float
    worse: float
    truth: float
    coverage: float
    simple: float
    half_width: float
    detectable: float


def recalls(maps: PlantedMaps, source: Relationships) -> dict[str, Floats]:
    """Compute partner recall over the units of a source, of every map."""
    units = pool_units([known_pairs(source, maps.simple.names)])
    every = {"simple": maps.simple, "learned": maps.learned, **maps.placebos}
    return {name: partner_recall(neighborhoods(made, k=K), units.members) for name, made in every.items()}


def difference(maps: PlantedMaps, source: Relationships) -> Floats:
    """Compute learned − simple over the units of a source."""
    found = recalls(maps, source)
    return found["learned"] - found["simple"]


def share(flags: Sequence[bool]) -> float:
    """Share of what is true."""
    return float(np.mean(flags))


def better(test: SignFlip) -> bool:
    """Whether the learned map is significantly better."""
    return test.excludes_zero and test.estimate > 0


def run_line(kind: str, advantage: float, n_screens: int) -> Line:
    """Test the difference in many screens of one design."""
    design = PlantedDesign.of_kind(kind, advantage=advantage)
    tests, simple = [], []
    for seed in range(n_screens):
        maps = simulate_maps(design, seed=seed)
        found = recalls(maps, maps.known)
        tests.append(sign_flip(found["learned"] - found["simple"], seed=seed))
        simple.append(found["simple"].mean())
    truth = float(np.mean([test.estimate for test in tests])) if advantage else 0.0
    return Line(
        kind=kind,
        advantage=advantage,
        n_screens=n_screens,
        worth_it=share([better(test) for test in tests]),
        worse=share([test.high < 0 for test in tests]),
        truth=truth,
        coverage=share([test.low <= truth <= test.high for test in tests]),
        simple=float(np.mean(simple)),
        half_width=float(np.mean([test.half_width for test in tests])),
        detectable=float(np.mean([test.smallest_detectable for test in tests])),
    )


def run_other_truths(kind: str, n_truths: int) -> dict[str, float]:
    """Compute coverage of what the interval might be taken to speak of, and of what it does not."""
    design = PlantedDesign.of_kind(kind)
    listed = replace(design, hidden_groups=design.groups, perturbations=2 * design.perturbations)
    same, hidden = [], []
    for seed in range(n_truths):
        draws = []
        for draw in range(DRAWS):
            maps = simulate_maps(design, seed=seed, draw=draw)
            draws.append(difference(maps, maps.known))
        test = sign_flip(draws[0], seed=seed)
        same.append(test.low <= np.mean(draws[1:]) <= test.high)
    for seed in range(4 * n_truths):
        maps = simulate_maps(listed, seed=seed)
        test = sign_flip(difference(maps, maps.known), seed=seed)
        hidden.append(test.low <= difference(maps, maps.hidden).mean() <= test.high)
    return {"these groups": share(same), "unlisted groups of these maps": share(hidden)}


def run_placebos(kind: str, n_screens: int) -> dict[str, float]:
    """Try the guard against a placebo as good as the learned map, and a poor one."""
    design = PlantedDesign.of_kind(kind, advantage=GUARDED, placebos=(GUARDED, POOR))
    alone, points, good, poor = [], [], [], []
    for seed in range(n_screens):
        maps = simulate_maps(design, seed=seed)
        found = recalls(maps, maps.known)
        learned = found["learned"]
        against = [learned - found[name] for name in ("simple", "placebo 1", "placebo 2")]
        simple, same, weak = (better(test) for test in sign_flips(against, seed=seed))
        alone.append(simple)
        points.append(simple and against[1].mean() > 0)
        good.append(simple and same)
        poor.append(simple and weak)
    return {
        "false with the guard": share(good),
        "false by comparison of points": share(points),
        "power without placebos": share(alone),
        "power with a poor placebo": share(poor),
    }


def run_detectable(null: Line, n_screens: int) -> tuple[float, float]:
    """Plant the smallest detectable difference of a null, and find how often it is found."""
    advantage = null.detectable / null.simple
    return advantage, run_line(null.kind, advantage, n_screens).worth_it


def run_judge(kind: str, advantage: float, n_screens: int) -> dict[str, int]:
    """Put screens through the whole verdict and count where it differs from the test alone."""
    design = PlantedDesign.of_kind(kind, advantage=advantage, placebos=(POOR,))
    counts = {"judged": 0, "another interval": 0, "another word": 0, "lists disagree": 0}
    for seed in range(n_screens):
        maps = simulate_maps(design, seed=seed)
        judged = judge(maps.simple, maps.learned, [maps.known], placebos=maps.placebos, seed=seed)
        found = recalls(maps, maps.known)
        learned = found["learned"]
        test, guard = sign_flips([learned - found["simple"], learned - found["placebo 1"]], seed=seed)
        counts["judged"] += 1
        counts["another interval"] += judged.primary.test != test
        lists_disagree = judged.known_hits is not None and judged.known_hits.test.high < 0
        passed = better(test) and better(guard)
        counts["lists disagree"] += passed and lists_disagree
        word = "worse" if test.high < 0 else "worth it" if passed and not lists_disagree else "not shown"
        counts["another word"] += judged.verdict != word
    return counts


def percent(value: float) -> str:
    """Write a share in per cent."""
    return f"{100 * value:.1f}"


def as_markdown(lines: Sequence[Line], placebos: dict[str, dict[str, float]]) -> str:
    """Write the table of the README."""
    head = ["null", "worth it, %", "worse, %", "coverage of 95 %"]
    head += [f"power at +{100 * advantage:.0f} %" for advantage in ADVANTAGES]
    head += ["false beside a placebo as good, %", "the same by points, %"]
    rows = [head, ["---"] * len(head)]
    for kind in dict.fromkeys(line.kind for line in lines):
        own = {line.advantage: line for line in lines if line.kind == kind}
        null, guard = own[0.0], placebos[kind]
        rows.append(
            [kind, percent(null.worth_it), percent(null.worse), percent(null.coverage)]
            + [f"{100 * own[advantage].worth_it:.0f}" for advantage in ADVANTAGES]
            + [percent(guard["false with the guard"]), f"{100 * guard['false by comparison of points']:.0f}"]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def failures(lines: Sequence[Line], placebos: dict[str, dict[str, float]], judged: dict[str, int]) -> list[str]:
    """Say what is not as it must be."""
    found = []
    for line in lines:
        if line.advantage == 0 and max(line.worth_it, line.worse) > MOST_ERROR:
            found.append(f"{line.kind}: {percent(line.worth_it)} worth it, {percent(line.worse)} worse")
        if line.advantage == 0 and not LEAST_COVERAGE <= line.coverage <= MOST_COVERAGE:
            found.append(f"{line.kind}: coverage {percent(line.coverage)}")
    for kind, guard in placebos.items():
        if guard["false with the guard"] > MOST_ERROR:
            found.append(f"{kind}: {percent(guard['false with the guard'])} false beside a placebo as good")
    found += [f"{what}: {judged[what]}" for what in ("another interval", "another word") if judged[what]]
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all, print the table and what is not as it must be, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, metavar="OUT", help="file for all figures")
    parser.add_argument("--screens", type=int, default=2000, help="of each null; the others are in proportion")
    parser.add_argument("--kinds", nargs="+", choices=NULL_KINDS, default=NULL_KINDS, metavar="KIND")
    options = parser.parse_args(arguments)
    some = max(1, options.screens // 4)
    started = time.perf_counter()
    lines: list[Line] = []
    placebos, others, detectable = {}, {}, {}
    judged = {"judged": 0, "another interval": 0, "another word": 0, "lists disagree": 0}
    for kind in options.kinds:
        null = run_line(kind, 0.0, options.screens)
        lines.append(null)
        for advantage in ADVANTAGES:
            lines.append(run_line(kind, advantage, options.screens if advantage == MAIN_ADVANTAGE else some))
        placebos[kind] = run_placebos(kind, some)
        detectable[kind] = run_detectable(null, some)
        for advantage in (0.0, GUARDED):
            for what, count in run_judge(kind, advantage, max(1, JUDGED * options.screens // 2000)).items():
                judged[what] += count
        if PlantedDesign.of_kind(kind).preferences:
            others[kind] = run_other_truths(kind, max(2, TRUTHS * options.screens // 2000))
        print(f"{kind}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    table = as_markdown(lines, placebos)
    wrong = failures(lines, placebos, judged)
    report = {
        "explorer": __version__,
        "python": platform.python_version(),
        "seconds": time.perf_counter() - started,
        "seconds of the processor": time.process_time(),
        "lines": [asdict(line) for line in lines],
        "placebos": placebos,
        "smallest detectable": {
            kind: {"advantage": advantage, "power": power} for kind, (advantage, power) in detectable.items()
        },
        "coverage of other truths": others,
        "whole verdict": judged,
        "failures": wrong,
    }
    options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    print(f"{table}\n")
    for line in lines:
        print(
            f"{line.kind}, {line.advantage:+.0%}: simple {line.simple:.3f}, true difference {line.truth:+.3f} ± "
            f"{line.half_width:.3f}, worth it {percent(line.worth_it)}, worse {percent(line.worse)}, coverage "
            f"{percent(line.coverage)}"
        )
    for kind, (advantage, power) in detectable.items():
        print(f"{kind}: power {percent(power)} at the smallest detectable difference ({advantage:+.0%})")
    for kind, shares in others.items():
        print(f"{kind}: coverage of {', of '.join(f'{what} {percent(value)}' for what, value in shares.items())}")
    for kind, guard in placebos.items():
        print(f"{kind}: {', '.join(f'{what} {percent(value)}' for what, value in guard.items())}")
    print(f"whole verdict: {judged}")
    print(f"not as it must be: {'; '.join(wrong) or 'nothing'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
