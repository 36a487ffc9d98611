"""Similarity as the chance of a known pair: one isotonic curve, judged on groups that did not fit it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.aggregate import PerturbationMap
from explorer.cosine_counts import step_blocks
from explorer.errors import InputError
from explorer.hits import PooledPairs, pool_pairs
from explorer.known import KnownPairs, pool_units
from explorer.significance import effective_units

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

CAPTION = (
    "The chance that a pair this similar is annotated in these sources, not that it is true: a pair that nobody has "
    "annotated may be true all the same."
)
WHY_NO_INTERVAL = (
    "No interval is drawn: pairs that share a perturbation are not independent, so Wilson's would be far too narrow, "
    "and a bin whose known pairs come from a few groups has too few of them for another; their effective number is "
    "given instead."
)
N_FOLDS = 5
N_BINS = 10
# Cosines are rounded to this before they are counted, so that a curve has at most 2,001 steps whatever the map.
STEP = 1e-3
_CENTRE = round(1 / STEP)
_N_STEPS = 2 * _CENTRE + 1


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """How likely a pair of a given similarity is to be known, and whether that can be relied on.

    Attributes
    ----------
    curve
        One line a step of similarity that has pairs, ascending: ``similarity, probability, n_pairs, n_known``; the
        probability never falls with similarity.
    table
        One line a bin of predicted probability, ascending: ``predicted, observed`` (means over its pairs, each
        predicted by folds it was not in), ``n_pairs, n_known`` and ``effective_groups``, the number of groups that
        make up its known pairs, equal ones counting 1 each. Bins hold equal shares of the known pairs expected.
    expected_calibration_error
        Mean of |predicted − observed| over bins, weighted by pairs, from 0 to 1, 0 is best. It can't exceed twice the
        base rate by much, so it is read beside that. NaN where there are fewer than two groups.
    base_rate
        Share of known pairs among all.
    n_perturbations, n_pairs, n_known, n_groups
        Annotated perturbations with a profile, their pairs, the known ones, and groups.
    n_folds, seed
        Of the cross-validation, and of whatever was dealt at random.
    sources
        Names of the sources; a pair is known when it is in any.
    notes
        What the reader must know, in sentences.
    """

    curve: pl.DataFrame = field(repr=False)
    table: pl.DataFrame = field(repr=False)
    expected_calibration_error: float
    base_rate: float
    n_perturbations: int
    n_pairs: int
    n_known: int
    n_groups: int
    n_folds: int
    seed: int
    sources: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def relative_error(self) -> float:
        """Expected calibration error as a share of the base rate: known pairs are rare, and so are errors."""
        return self.expected_calibration_error / self.base_rate

    def probability(self, similarities: npt.ArrayLike) -> Floats:
        """Look the chance of being annotated up, shape of `similarities`; NaN for NaN."""
        curve = self.curve
        return np.asarray(
            np.interp(
                np.asarray(similarities, dtype=np.float64),
                curve["similarity"].to_numpy(),
                curve["probability"].to_numpy(),
            ),
            dtype=np.float64,
        )


def calibrate_similarity(
    perturbation_map: PerturbationMap,
    known: Sequence[KnownPairs],
    *,
    n_folds: int = N_FOLDS,
    seed: int = 0,
) -> Reliability:
    """Say how likely a pair is to be known, given its cosine, and how far that can be relied on.

    The pairs are all those among perturbations that have a known partner. The probability is isotonic in the cosine.
    It is cross-validated by groups, so that no group helps to predict itself: groups are dealt to folds, the one with
    most pairs first, each to the fold that has fewest; a known pair goes with the smallest group that holds both
    of its members, a known pair outside all groups, and every other pair, to a fold at random.

    Parameters
    ----------
    perturbation_map
        The map.
    known
        What is known of its perturbations, one entry a source.
    n_folds
        Number of folds, two or more; fewer where there are fewer groups.
    seed
        Of the folds of pairs outside groups.

    Returns
    -------
    Reliability
        From one pass over the cosines; memory does not grow with the pairs that are not known.

    Raises
    ------
    InputError
        When there is no source, a source was looked up in another map, or no known pair has two profiles.

    References
    ----------
    Zadrozny and Elkan 2002, doi:10.1145/775047.775151 (isotonic calibration); Naeini, Cooper and Hauskrecht 2015,
    doi:10.1609/aaai.v29i1.9602 (expected calibration error).
    """
    _check(perturbation_map, known, n_folds=n_folds)
    units = pool_units(known)
    pooled = pool_pairs(known, units)
    annotated = np.unique(np.concatenate([pooled.first, pooled.second]))
    rows = annotated[perturbation_map.norms[annotated] > 0]
    pooled = _with_profiles(pooled, perturbation_map.norms > 0)
    if not pooled.n_pairs:
        message = (
            f"no known pair has two profiles of a length above zero in {perturbation_map.recipe.representation!r}: "
            "check the representation"
        )
        raise InputError(message)
    n_pairs, step = _count_steps(perturbation_map, rows, pooled)
    n_known = np.bincount(step, minlength=_N_STEPS)
    met = np.flatnonzero(n_pairs)
    probability = isotonic_share(n_pairs, n_known)[met]
    curve = pl.DataFrame(
        {
            "similarity": (met - _CENTRE) * STEP,
            "probability": probability,
            "n_pairs": n_pairs[met],
            "n_known": n_known[met],
        }
    )
    notes = [f"{len(annotated) - len(rows):,} annotated perturbations have no profile"] * (len(rows) < len(annotated))
    folds = min(n_folds, len(np.unique(pooled.unit[pooled.unit < units.n_units])))
    if folds < 2:
        table, error = _no_table(), float("nan")
        notes.append("fewer than two groups: the curve can't be judged on groups that did not fit it")
    else:
        table = _judged(n_pairs, step, pooled, n_units=units.n_units, n_folds=folds, seed=seed)
        error = expected_calibration_error(table)
    return Reliability(
        curve=curve,
        table=table,
        expected_calibration_error=error,
        base_rate=pooled.n_pairs / int(n_pairs.sum()),
        n_perturbations=len(rows),
        n_pairs=int(n_pairs.sum()),
        n_known=pooled.n_pairs,
        n_groups=units.n_units,
        n_folds=folds,
        seed=seed,
        sources=tuple(source.name for source in known),
        notes=tuple(notes),
    )


def reliability_table(
    predicted: npt.ArrayLike, n_pairs: npt.ArrayLike, n_known: npt.ArrayLike, *, n_bins: int = N_BINS
) -> pl.DataFrame:
    """Compare predicted with observed shares, in bins that expect equal numbers of known pairs.

    Parameters
    ----------
    predicted, n_pairs, n_known
        Probability given to a set of pairs, their number, and how many are known, shape (n_sets,).
    n_bins
        Number of bins at most; sets of one probability stay together.

    Returns
    -------
    polars.DataFrame
        Ascending: ``predicted, observed, n_pairs, n_known``; bins without a pair are left out.
    """
    chance, pairs, hits = (np.asarray(part, dtype=np.float64) for part in (predicted, n_pairs, n_known))
    number = _bins(chance, pairs, n_bins=n_bins)
    used = number >= 0
    expected, found, count = (np.bincount(number[used], weights=part[used]) for part in (chance * pairs, hits, pairs))
    return pl.DataFrame(
        {
            "predicted": expected / count,
            "observed": found / count,
            "n_pairs": count.astype(np.int64),
            "n_known": found.astype(np.int64),
        }
    )


def expected_calibration_error(table: pl.DataFrame) -> float:
    """Mean of |predicted − observed| over the bins of a `reliability_table`, weighted by pairs."""
    gap = (table["predicted"] - table["observed"]).abs().to_numpy()
    return float(np.average(gap, weights=table["n_pairs"].to_numpy()))


def _check(perturbation_map: PerturbationMap, known: Sequence[KnownPairs], *, n_folds: int) -> None:
    if not known:
        msg = "no source of known pairs: give at least one"
        raise InputError(msg)
    for source in known:
        if source.names != perturbation_map.names:
            msg = f"{source.name!r} was looked up in another map: look it up in the names of this one"
            raise InputError(msg)
    if isinstance(n_folds, bool) or not isinstance(n_folds, int) or n_folds < 2:
        msg = f"n_folds is {n_folds}, expected a whole number of 2 or more"
        raise InputError(msg)


def _with_profiles(pooled: PooledPairs, usable: npt.NDArray[np.bool_]) -> PooledPairs:
    both = usable[pooled.first] & usable[pooled.second]
    return PooledPairs(pooled.first[both], pooled.second[both], pooled.unit[both], pooled.names)


def _count_steps(
    perturbation_map: PerturbationMap, rows: npt.NDArray[np.intp], pooled: PooledPairs
) -> tuple[Integers, npt.NDArray[np.intp]]:
    """Count the pairs of `rows` at each step of the cosine; returns the counts, and the step of each known pair."""
    place = np.full(perturbation_map.n_perturbations, -1, dtype=np.intp)
    place[rows] = np.arange(len(rows))
    # Known pairs are sorted by their first row, so those of a block of rows stand together.
    first, second = place[pooled.first], place[pooled.second]
    counts = np.zeros(_N_STEPS + 1, dtype=np.int64)
    step = np.empty(len(first), dtype=np.intp)
    unit = perturbation_map.profiles[rows].astype(np.float64) / perturbation_map.norms[rows][:, None]
    for start, stop, steps in step_blocks(unit, resolution=_CENTRE):
        counts += np.bincount(steps.ravel(), minlength=_N_STEPS + 1)
        left, right = np.searchsorted(first, [start, stop])
        # Read from the same block, or rounding could put a pair into two steps.
        step[left:right] = steps[first[left:right] - start, second[left:right] - start - 1]
    return counts[:_N_STEPS], step


def _judged(
    n_pairs: Integers,
    step: npt.NDArray[np.intp],
    pooled: PooledPairs,
    *,
    n_units: int,
    n_folds: int,
    seed: int,
) -> pl.DataFrame:
    """Predict every fold by the others, and compare."""
    rng = np.random.default_rng(seed)
    fold = _deal(pooled.unit, n_units=n_units, n_folds=n_folds, rng=rng)
    known = np.zeros((n_folds, _N_STEPS), dtype=np.int64)
    np.add.at(known, (fold, step), 1)
    # Pairs that are not known are dealt one by one, which a multinomial split of their counts does exactly.
    others = rng.multinomial(n_pairs - known.sum(axis=0), np.full(n_folds, 1 / n_folds)).T
    every = known + others
    predicted = np.stack(
        [isotonic_share(n_pairs - every[own], known.sum(axis=0) - known[own]) for own in range(n_folds)]
    )
    table = reliability_table(predicted.ravel(), every.ravel(), known.ravel())
    # The same bins again, for the known pairs one by one: whose are they?
    number = _bins(predicted.ravel(), every.ravel().astype(np.float64)).reshape(predicted.shape)
    own = np.zeros((table.height, len(pooled.names)))
    np.add.at(own, (number[fold, step], pooled.unit), 1)
    effective = [effective_units(line) for line in own]
    return table.with_columns(pl.Series("effective_groups", effective, dtype=pl.Float64))


def _no_table() -> pl.DataFrame:
    numbers = dict.fromkeys(("predicted", "observed"), pl.Float64) | dict.fromkeys(("n_pairs", "n_known"), pl.Int64)
    return pl.DataFrame(schema=numbers | {"effective_groups": pl.Float64})


def _deal(unit: npt.NDArray[np.intp], *, n_units: int, n_folds: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Give each known pair a fold: that of its unit, or any where it is in none."""
    pairs_of = np.bincount(unit, minlength=n_units)[:n_units]
    fold_of = np.zeros(n_units, dtype=np.intp)
    filled = np.zeros(n_folds, dtype=np.int64)
    for number in np.argsort(-pairs_of, kind="stable").tolist():
        fold_of[number] = smallest = int(filled.argmin())
        filled[smallest] += pairs_of[number]
    fold = rng.integers(n_folds, size=len(unit))
    inside = unit < n_units
    fold[inside] = fold_of[unit[inside]]
    return fold


def isotonic_share(n_pairs: npt.NDArray[np.integer], n_known: npt.NDArray[np.integer]) -> Floats:
    """Fit the probability of being known at each step, isotonic, shape (n_steps,).

    Steps without pairs lie between their neighbours'.

    Parameters
    ----------
    n_pairs, n_known
        Pairs at each step, and those of them that are known, shape (n_steps,); one step has a pair at least.

    Returns
    -------
    numpy.ndarray
        Probabilities, not decreasing.

    References
    ----------
    Zadrozny and Elkan 2002, doi:10.1145/775047.775151 (isotonic calibration).
    """
    from scipy.optimize import isotonic_regression

    met = np.flatnonzero(n_pairs > 0)
    fitted = isotonic_regression(n_known[met] / n_pairs[met], weights=n_pairs[met].astype(np.float64)).x
    # Steps without a pair carry no weight; between steps that do, the curve is a straight line.
    return np.asarray(np.interp(np.arange(len(n_pairs)), met, fitted), dtype=np.float64)


def _bins(predicted: Floats, n_pairs: Floats, *, n_bins: int = N_BINS) -> npt.NDArray[np.intp]:
    """Bin of each set of pairs, −1 where it has none: equal shares of the known pairs expected, ties together."""
    number = np.full(len(predicted), -1, dtype=np.intp)
    used = np.flatnonzero(n_pairs > 0)
    _, place = np.unique(predicted[used], return_inverse=True)
    expected = np.bincount(place, weights=(predicted * n_pairs)[used])
    middle = (np.cumsum(expected) - expected / 2) / max(float(expected.sum()), np.finfo(float).tiny)
    bins = np.minimum((middle * n_bins).astype(np.intp), n_bins - 1)
    # Numbered without gaps.
    number[used] = np.unique(bins, return_inverse=True)[1][place]
    return number
