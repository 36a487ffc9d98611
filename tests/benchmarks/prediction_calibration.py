"""How often the comparison of predictions is wrong, and what it finds: planted priors, hundreds of every kind.

From the top of a checkout, about half an hour on one core for 500 screens of each kind::

    python tests/benchmarks/prediction_calibration.py --json OUT [--screens 500] [--minutes 60]

What is done is kept in OUT every 25 screens, and a second call goes on from there; ``--minutes`` says when to stop.
Every screen goes through the public API. Four questions are asked.

*Equal priors*: how often is a difference significant where both priors carry the same truth under noise of the same
length (nominal 5 %), by the interval D ± max(q, h) that is used, by random signs alone (q), and by the jackknife alone
(h); and how often does the interval hold 0 (nominal 95 %)?

*A better prior*: how often is it found, and how often does the interval hold the mean difference over all screens?

*A placebo as good as the learned prior*: how often is "predicts better" said (at most 5 %), and how often would it be
by a comparison of points; and how often beside a poor placebo, where it is true?

*Fellows in training*: what does a prior score that knows who belongs together and nothing of what they do?
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from explorer import __version__
from explorer.known import KnownPairs, known_pairs
from explorer.planted_predictions import PREDICTION_KINDS, PlantedPrediction, PredictionDesign, simulate_prediction
from explorer.predict import Prediction, predict_unseen

AT_ONCE = 25
# What a procedure must keep to: error of both sides, coverage, and "predicts better" beside a placebo as good.
MOST_ERROR, LEAST_COVERAGE = 0.06, 0.94
MOST_FOOLED = 0.05

NULLS: Mapping[str, PredictionDesign] = {
    **{kind: PredictionDesign.of_kind(kind) for kind in PREDICTION_KINDS},
    "noisy target": PredictionDesign(noise=2.0),
    "single perturbations": PredictionDesign(groups=7, signal=0.25),
}
POWERED: Mapping[str, PredictionDesign] = {
    f"noise × {factor:.2f}": PredictionDesign(learned_noise=factor) for factor in (0.7, 0.55, 0.4)
}
GUARDED: Mapping[str, PredictionDesign] = {
    "as good": PredictionDesign(learned_noise=0.5, placebos=(0.5,)),
    "poor": PredictionDesign(learned_noise=0.5, placebos=(2.0,)),
}
FELLOWS: Mapping[str, PredictionDesign] = {
    "groups apart": PredictionDesign(groups=30, cohesion=0.9),
    "overlapping groups": PredictionDesign(groups=40, cohesion=0.9, overlap=0.5),
}

Row = dict[str, float]
Floats = npt.NDArray[np.float64]


def groups_of(made: PlantedPrediction) -> list[KnownPairs]:
    """Look the planted groups up."""
    return [known_pairs(made.known, made.design.names)]


def rho_of(found: Prediction, name: str) -> float:
    """Mean over blocks of what a predictor scores."""
    return float(found.scores.filter(found.scores["name"] == name)["rho"][0])


def comparison_row(design: PredictionDesign, seed: int) -> Row:
    """Compare two priors: D, q, h, and what the simple one scores."""
    made = simulate_prediction(design, seed=seed)
    found = predict_unseen(made.target, made.simple, made.learned, known=groups_of(made), seed=seed)
    test = found.primary
    return {
        "estimate": test.estimate, "sign flip": test.sign_flip, "jackknife": test.jackknife,
        "simple": rho_of(found, "simple"), "blocks": float(test.n_blocks),
        "better": float(found.verdict == "predicts better"), "worse": float(found.verdict == "predicts worse"),
    }  # fmt: skip


def guard_row(design: PredictionDesign, seed: int) -> Row:
    """Compare two priors beside a placebo: the verdict, and what points would say."""
    made = simulate_prediction(design, seed=seed)
    known = groups_of(made)
    found = predict_unseen(made.target, made.simple, made.learned, known=known, placebos=made.placebos, seed=seed)
    test = found.primary
    (placebo,) = (test for test in found.tests if test.against == "placebo 1")
    alone = test.estimate > test.half_width
    return {
        "better": float(found.verdict == "predicts better"), "without guard": float(alone),
        "by points": float(alone and placebo.estimate > 0), "placebo": placebo.estimate,
    }  # fmt: skip


def fellows_row(design: PredictionDesign, seed: int) -> Row:
    """Score a prior that knows who belongs together, with groups apart and a buffer, and with folds at random."""
    made = simulate_prediction(design, seed=seed)
    row = {}
    for name, known in (("apart", groups_of(made)), ("at random", [])):
        found = predict_unseen(made.target, made.nothing, made.membership, known=known, seed=seed)
        row |= {
            f"{name} rho": rho_of(found, "membership"),
            f"{name} better": float(found.primary.estimate > found.primary.half_width),
        }
    return row


PARTS: Mapping[str, tuple[Mapping[str, PredictionDesign], Callable[[PredictionDesign, int], Row]]] = {
    "equal priors": (NULLS, comparison_row),
    "a better prior": (POWERED, comparison_row),
    "placebos": (GUARDED, guard_row),
    "fellows": (FELLOWS, fellows_row),
}


def wilson(count: float, n: float) -> tuple[float, float]:
    """95 % interval of a share."""
    z = 1.959964
    share, spread = (count + z**2 / 2) / (n + z**2), z * np.sqrt(count * (n - count) / n + z**2 / 4) / (n + z**2)
    return max(0.0, share - spread), min(1.0, share + spread)


def percent(count: float, n: float) -> str:
    """Write a share in per cent, with its interval."""
    low, high = wilson(count, n)
    return f"{100 * count / n:.1f} ({100 * low:.1f}-{100 * high:.1f})"


def column(rows: Sequence[Row], name: str) -> Floats:
    """Take one figure of all screens."""
    return np.array([row[name] for row in rows], dtype=np.float64)


def half_width(rows: Sequence[Row]) -> Floats:
    """Half width of the interval that is used."""
    return np.maximum(column(rows, "sign flip"), column(rows, "jackknife"))


def outside(rows: Sequence[Row], half: Floats, truth: float = 0.0) -> int:
    """Count intervals that do not hold the truth."""
    return int((np.abs(column(rows, "estimate") - truth) > half).sum())


def null_table(found: Mapping[str, Sequence[Row]]) -> list[str]:
    """Write the table of equal priors."""
    lines = [
        "| equal priors | screens | error, %: max(q, h) | better | worse | coverage, % | signs alone (q) | coverage "
        "| jackknife alone (h) | ρ⊥ | blocks |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, rows in found.items():
        n, half = len(rows), half_width(rows)
        cells = [
            percent(outside(rows, half), n),
            percent(column(rows, "better").sum(), n),
            percent(column(rows, "worse").sum(), n),
            percent(n - outside(rows, half), n),
            percent(wrong := outside(rows, column(rows, "sign flip")), n),
            percent(n - wrong, n),
            percent(outside(rows, column(rows, "jackknife")), n),
            f"{column(rows, 'simple').mean():.3f}",
            f"{column(rows, 'blocks').mean():.0f}",
        ]
        lines.append(f"| {kind} | {n} | {' | '.join(cells)} |")
    return lines


def power_table(found: Mapping[str, Sequence[Row]]) -> list[str]:
    """Write the table of a better prior."""
    lines = [
        "| learned prior | screens | D | half width | power, % | coverage, % | signs alone: power | coverage |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind, rows in found.items():
        n, half, signs = len(rows), half_width(rows), column(rows, "sign flip")
        estimate = column(rows, "estimate")
        truth = float(estimate.mean())
        cells = [
            f"{truth:+.3f}",
            f"{half.mean():.3f}",
            percent((estimate > half).sum(), n),
            percent(n - outside(rows, half, truth), n),
            percent((estimate > signs).sum(), n),
            percent(n - outside(rows, signs, truth), n),
        ]
        lines.append(f"| {kind} | {n} | {' | '.join(cells)} |")
    return lines


def guard_table(found: Mapping[str, Sequence[Row]]) -> list[str]:
    """Write the table of placebos."""
    lines = [
        "| placebo | screens | predicts better, % | without the guard | by a comparison of points |",
        "|---|---|---|---|---|",
    ]
    for kind, rows in found.items():
        cells = [percent(column(rows, name).sum(), len(rows)) for name in ("better", "without guard", "by points")]
        lines.append(f"| {kind} | {len(rows)} | {' | '.join(cells)} |")
    return lines


def fellows_table(found: Mapping[str, Sequence[Row]]) -> list[str]:
    """Write the table of a prior that knows who belongs together."""
    lines = [
        "| membership alone | screens | ρ⊥, groups apart with a buffer | better than noise, % | ρ⊥, folds at random | "
        "better than noise, % |",
        "|---|---|---|---|---|---|",
    ]
    for kind, rows in found.items():
        cells = []
        for name in ("apart", "at random"):
            cells += [
                f"{column(rows, f'{name} rho').mean():.3f}",
                percent(column(rows, f"{name} better").sum(), len(rows)),
            ]
        lines.append(f"| {kind} | {len(rows)} | {' | '.join(cells)} |")
    return lines


TABLES = {"equal priors": null_table, "a better prior": power_table, "placebos": guard_table, "fellows": fellows_table}


def failures(found: Mapping[str, Mapping[str, Sequence[Row]]]) -> list[str]:
    """Say what is not as it must be."""
    wrong = []
    for kind, rows in found.get("equal priors", {}).items():
        count = outside(rows, half_width(rows))
        if wilson(count, len(rows))[0] > MOST_ERROR:
            wrong.append(f"{kind}: {percent(count, len(rows))} % significant where nothing differs")
    for kind, rows in found.get("a better prior", {}).items():
        held = len(rows) - outside(rows, half_width(rows), float(column(rows, "estimate").mean()))
        if wilson(held, len(rows))[1] < LEAST_COVERAGE:
            wrong.append(f"{kind}: coverage {percent(held, len(rows))} %")
    rows = found.get("placebos", {}).get("as good", [])
    if rows and wilson(fooled := column(rows, "better").sum(), len(rows))[0] > MOST_FOOLED:
        wrong.append(f"placebo as good: {percent(fooled, len(rows))} % said to predict better")
    for kind, rows in found.get("fellows", {}).items():
        if wilson(fooled := column(rows, "apart better").sum(), len(rows))[0] > MOST_FOOLED:
            wrong.append(f"membership alone, {kind}: {percent(fooled, len(rows))} % better than noise")
    return wrong


def show(found: Mapping[str, Mapping[str, Sequence[Row]]]) -> str:
    """Write everything."""
    lines = []
    for part, kinds in found.items():
        lines += [*TABLES[part](kinds), ""]
    return "\n".join([*lines, f"not as it must be: {'; '.join(failures(found)) or 'nothing'}"])


def run(path: Path, parts: Sequence[str], *, screens: int, minutes: float) -> dict[str, dict[str, list[Row]]]:
    """Draw screens, a few of every kind in turn, and keep them; go on from what was kept."""
    until = time.monotonic() + 60 * minutes
    kept = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else {}
    rows = {part: {kind: kept.get(part, {}).get(kind, []) for kind in PARTS[part][0]} for part in PARTS}
    for wanted in [*range(AT_ONCE, screens, AT_ONCE), screens]:
        for part in parts:
            designs, measure = PARTS[part]
            for kind, design in designs.items():
                own = rows[part][kind]
                while len(own) < wanted and time.monotonic() < until:
                    own.append(measure(design, len(own)))
                keep(path, rows)
        done = {part: min(map(len, rows[part].values())) for part in parts}
        print(f"{time.strftime('%H:%M:%S')} {done}", file=sys.stderr, flush=True)
        if time.monotonic() >= until:
            break
    return {part: {kind: own for kind, own in kinds.items() if own} for part, kinds in rows.items()}


def keep(path: Path, rows: Mapping[str, Mapping[str, Sequence[Row]]]) -> None:
    """Write what there is, all or nothing."""
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps({"explorer": __version__, "rows": rows}), encoding="utf-8")
    beside.replace(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all, print the tables and what is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, metavar="OUT", help="file for the figures of all screens")
    parser.add_argument("--screens", type=int, default=500, help="of each kind; 0 prints what is there")
    parser.add_argument("--minutes", type=float, default=np.inf, help="when to stop")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    options = parser.parse_args(arguments)
    rows = run(options.json, options.parts, screens=options.screens, minutes=options.minutes)
    print(show(rows))
    return 1 if failures(rows) else 0


if __name__ == "__main__":
    sys.exit(main())
