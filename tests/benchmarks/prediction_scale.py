"""Predict ten thousand unseen perturbations from eight representations, jackknife and all: time, memory, agreement.

From the top of a checkout::

    python tests/benchmarks/prediction_scale.py [--perturbations 10000] [--features 2000] [--columns 512]
        [--representations 8] [--subset 1000] [--sets 20]

Planted causes are seen with different noise in each representation and in the profiles; groups of 3 to 30 overlap.
First the whole comparison: folds, ridge regressions, nearest neighbours, scores, and everything again without each of
20 sets of blocks. Then the ridge regressions of two representations on fewer perturbations, beside what one would
write with scikit-learn: `RidgeCV` on every fold and every set, at the same penalties. Its criterion is leave-one-out
and ours the generalised one, so the predictions (ours are kept in single precision) are compared at the penalty that
we chose (`Ridge`), and how often both choose the same or a neighbouring one is counted. Both sides run on the same
number of threads, in turn. Prints a table, asserts nothing; a figure counts on a calm machine only (`uptime` below 1).
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parent.parent.parent))
from explorer.crossfit import CrossPrediction, cross_predict
from explorer.folds import Folds, block_sets, group_folds
from explorer.kernels import thread_count
from explorer.known import GIVEN, KnownPairs, pool_units
from explorer.prediction_scores import residual_correlation
from explorer.predictors import PENALTIES

N_CAUSES = 60
REPEATS = 3

Values = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


def planted(
    n: int, n_features: int, n_columns: int, *, n_representations: int, seed: int = 0
) -> tuple[dict[str, Values], Values, Folds]:
    """Representations and profiles of common causes, and folds of overlapping groups."""
    rng = np.random.default_rng(seed)
    causes = rng.normal(size=(n, N_CAUSES)).astype(np.float32)
    target = seen(causes, n_features, noise=3.0, rng=rng)
    priors = {
        f"representation {number + 1}": seen(causes, n_columns, noise=2.0 + number, rng=rng)
        for number in range(n_representations)
    }
    groups = {
        f"group {number}": np.sort(rng.choice(n, size=rng.integers(3, 31), replace=False)) for number in range(n // 25)
    }
    none = np.empty(0, dtype=np.intp)
    source = KnownPairs("planted", tuple(f"P{row:06d}" for row in range(n)), none, none, groups, GIVEN, 0)
    return priors, target, group_folds(n, pool_units([source]), [source], seed=seed)


def seen(causes: Values, n_columns: int, *, noise: float, rng: np.random.Generator) -> Values:
    """See causes through random weights and noise."""
    weights = rng.normal(size=(causes.shape[1], n_columns)).astype(np.float32) / np.sqrt(causes.shape[1], dtype="f4")
    return causes @ weights + np.float32(noise) * rng.standard_normal((len(causes), n_columns), dtype=np.float32)


def peak_megabytes() -> float:
    """Most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def with_scikit_learn(
    priors: Mapping[str, Values], target: Values, folds: Folds, *, sets: npt.NDArray[np.intp]
) -> dict[str, dict[tuple[int, int], float]]:
    """Fit a pipeline of its own to every fold without every set; the chosen penalties, by fold and set (−1: none)."""
    from sklearn.linear_model import RidgeCV

    chosen: dict[str, dict[tuple[int, int], float]] = {name: {} for name in priors}
    for name, values in priors.items():
        for fold in range(folds.n_folds):
            for number in range(-1, int(sets.max()) + 1):
                training, tested = (
                    rows[sets[folds.block[rows]] != number] for rows in (folds.training(fold), folds.tested(fold))
                )
                prior, profiles = values[training].astype(np.float64), target[training].astype(np.float64)
                unit = squared_length(prior)
                model = RidgeCV(alphas=PENALTIES * unit).fit(prior, profiles)
                mean = profiles.mean(axis=0)
                predicted = model.predict(values[tested].astype(np.float64)) - mean
                residual_correlation(predicted, target[tested] - mean, shared=mean)
                chosen[name][fold, number] = float(model.alpha_) / unit
    return chosen


def squared_length(prior: Floats) -> float:
    """Mean squared length of the rows of a representation less their mean."""
    return float(((prior - prior.mean(axis=0)) ** 2).sum(axis=1).mean())


def largest_difference(
    priors: Mapping[str, Values], target: Values, folds: Folds, *, ours: CrossPrediction
) -> tuple[float, float]:
    """Largest difference of predictions at our penalties, in standard deviations of the predictions; and of ρ⊥."""
    from sklearn.linear_model import Ridge

    largest, largest_rho = 0.0, 0.0
    for name, values in priors.items():
        for fold in range(folds.n_folds):
            training, tested = folds.training(fold), folds.tested(fold)
            penalty = ours.penalty[name][fold]
            if not np.isfinite(penalty):
                continue
            prior, profiles = values[training].astype(np.float64), target[training].astype(np.float64)
            model = Ridge(alpha=penalty * squared_length(prior), solver="cholesky").fit(prior, profiles)
            mean = profiles.mean(axis=0)
            predicted = model.predict(values[tested].astype(np.float64)) - mean
            largest = max(largest, float(np.abs(predicted - ours.predicted[name][tested]).max() / predicted.std()))
            rho = residual_correlation(predicted, target[tested] - mean, shared=mean)
            largest_rho = max(largest_rho, float(np.abs(rho - ours.rho[name][tested]).max()))
    return largest, largest_rho


def whole(options: argparse.Namespace) -> None:
    """Time the whole comparison, and print where the time went."""
    n, n_features, n_columns = options.perturbations, options.features, options.columns
    priors, target, folds = planted(n, n_features, n_columns, n_representations=options.representations)
    before = peak_megabytes()
    steps: dict[str, float] = {}
    names = list(priors)
    used, began = time.process_time(), time.perf_counter()
    found = cross_predict(
        priors,
        target,
        folds,
        sets=block_sets(folds.n_blocks, n_sets=options.sets),
        fixed={"no change": np.zeros(n_features)},
        kept=names[:2],
        neighbors=names,
        progress=lambda what, share: steps.__setitem__(what, time.perf_counter() - began),
    )
    print(
        f"{n:,} perturbations × {n_features:,} features, {len(priors)} representations of {n_columns} columns, "
        f"{folds.n_folds} folds of {folds.n_blocks:,} blocks, {options.sets} sets, {thread_count()} threads"
    )
    print(f"  {'whole comparison, s':44} {time.perf_counter() - began:10.1f}")
    print(f"  {'the same in processor time, s':44} {time.process_time() - used:10.1f}")
    for what, seconds in steps.items():
        print(f"  {f'until the end of {what}, s':44} {seconds:10.1f}")
    print(f"  {'most memory, MB':44} {peak_megabytes():10,.0f}")
    print(f"  {'most memory before it began, MB':44} {before:10,.0f}")
    print(f"  {'share of training that the buffer left':44} {folds.share_kept.mean():10.2f}")
    for name in names[:2]:
        rho, near = np.nanmean(found.rho[name]), np.nanmean(found.rho_neighbors[name])
        print(f"  {f'{name}: ρ⊥ of ridge, of neighbours':44} {rho:10.3f} {near:10.3f}")


def beside_scikit_learn(options: argparse.Namespace) -> None:
    """Time the jackknife of two representations beside a plain pipeline, in turn, and print how far they agree."""
    n = options.subset
    n_features, n_columns = min(options.features, 500), min(options.columns, 128)
    priors, target, folds = planted(n, n_features, n_columns, n_representations=2)
    sets = block_sets(folds.n_blocks, n_sets=options.sets)
    ours, theirs = [], []
    for _ in range(REPEATS):
        began = time.perf_counter()
        found = cross_predict(priors, target, folds, sets=sets, kept=list(priors))
        ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        chosen = with_scikit_learn(priors, target, folds, sets=sets)
        theirs.append(time.perf_counter() - began)
    largest, largest_rho = largest_difference(priors, target, folds, ours=found)
    steps = [
        abs(np.log10(chosen[name][fold, -1] / found.penalty[name][fold])) / 0.5
        for name in priors
        for fold in range(folds.n_folds)
    ]
    print(
        f"{n:,} perturbations × {n_features:,} features, 2 representations of {n_columns} columns, {options.sets} sets"
    )
    print(f"  {f'ours, s, median of {REPEATS}':44} {statistics.median(ours):10.2f}")
    print(f"  {'RidgeCV in a loop, s':44} {statistics.median(theirs):10.2f}")
    ratio = statistics.median(other / one for one, other in zip(ours, theirs, strict=True))
    print(f"  {'ratio':44} {ratio:10.1f}")
    print(f"  {'largest difference of a prediction, in sd':44} {largest:10.1e}")
    print(f"  {'largest difference of a ρ⊥':44} {largest_rho:10.1e}")
    print(f"  {'penalty the same or the next one':44} {np.mean(np.array(steps) < 1.5):10.2f}")


def main() -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--perturbations", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=2_000)
    parser.add_argument("--columns", type=int, default=512)
    parser.add_argument("--representations", type=int, default=8)
    parser.add_argument("--subset", type=int, default=1_000)
    parser.add_argument("--sets", type=int, default=20)
    options = parser.parse_args()
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")
    whole(options)
    beside_scikit_learn(options)


if __name__ == "__main__":
    main()
