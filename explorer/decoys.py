"""How alike technical noise alone would be: pairs of a map against pairs of pseudo-perturbations made of controls."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.aggregate import Aggregate, PerturbationMap, aggregate_rows
from explorer.align import Alignment, fit_alignment, moments_for
from explorer.cosine_counts import count_steps, step_blocks
from explorer.errors import InputError, listed
from explorer.gather import HeldOut, Units, aligned_units, held_out_controls
from explorer.moments import ScreenMoments
from explorer.replicates import lengths, profiles
from explorer.rowsums import sum_runs
from explorer.screen import Representation, Screen

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

NAME = "FDR against technical noise"
CAPTION = (
    "How often technical noise alone would be this similar. It is not a probability of sharing a complex: "
    "perturbations that have nothing but a stress response in common pass it too."
)
LEVELS = (0.05, 0.10, 0.20)
# Cosines are equal to six decimals, as everywhere.
_RESOLUTION = 10**6
# Decoys are drawn again and again until there are as many pairs of them as of perturbations, up to these limits.
_MOST_DECOY_PAIRS = 2_000_000
_MOST_ROUNDS = 1_000
# Controls that make fewer decoys at a time say too little of the tail of their cosines. Measured with half of the
# perturbations inactive, at a nominal 5 %: 13 % of called pairs are wrong with two decoys at a time, 4 ± 5 % (mean and
# standard deviation over screens) with four, 3 ± 3 % with eight.
FEWEST_DECOYS = 8
# Of the perturbations, so many may have too many rows to be imitated.
_MOST_UNMATCHED = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class TechnicalFdr:
    """Pairs of a map that technical noise alone does not explain.

    Attributes
    ----------
    table
        One line a level: ``level, threshold, n_pairs``: the pairs of the largest cosines among which at most this
        share is expected from technical noise, and the least cosine of them; NaN and 0 where there are none.
    curve
        Where the FDR falls, ascending: ``similarity, fdr``; empty where there is none.
    n_real, n_decoy
        Pairs of perturbations, and of decoys that share no control.
    n_decoys
        Decoys that the held-out controls make at a time, on average.
    reason
        Why there is no FDR, in a sentence; None where there is one.
    seed
        Of the draws.
    notes
        What the reader must know, in sentences.
    """

    table: pl.DataFrame
    curve: pl.DataFrame = field(repr=False)
    n_real: int
    n_decoy: int
    n_decoys: float
    reason: str | None
    seed: int
    notes: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """What was found, in a sentence that can't be misread."""
        if self.reason is not None:
            return f"No {NAME}: {self.reason}."
        counts = ", ".join(f"{n:,} at {level:g}" for level, _, n in self.table.iter_rows())
        return f"{NAME}: of {self.n_real:,} pairs {counts}."

    def fdr(self, similarities: npt.ArrayLike) -> Floats:
        """Look the FDR of pairs up by their cosine; NaN where there is none or the cosine is NaN."""
        values = np.asarray(similarities, dtype=np.float64)
        if self.reason is not None:
            return np.full(values.shape, np.nan)
        # Both ascend: the last step at or below the cosine, which has the smallest FDR of all below.
        steps = self.curve["similarity"].to_numpy()
        place = np.searchsorted(steps, np.round(values, 6) + 0.5 / _RESOLUTION, side="right")
        found = np.r_[1.0, self.curve["fdr"].to_numpy()][place]
        return np.where(np.isnan(values), np.nan, found)


def edge_fdr(
    real: npt.ArrayLike, decoy: npt.ArrayLike, *, n_real: int | None = None, n_decoy: int | None = None
) -> Floats:
    """Estimate the false discovery rate at each real score from the scores of decoys.

    ``FDR(t) = (1 + #decoy ≥ t) / max(1, #real ≥ t) · n_real / n_decoy``, at most 1, and the smallest of all
    thresholds at or below the score, so that it never rises with the score.

    Parameters
    ----------
    real, decoy
        Scores, larger is better, shapes (n,) and (m,): all of them, or the largest of either.
    n_real, n_decoy
        Number of real and decoy pairs in all, where only the largest scores are given.

    Returns
    -------
    numpy.ndarray
        Shape (n,); NaN where the score is NaN, and everywhere where there is no decoy.

    References
    ----------
    Elias and Gygi 2007, doi:10.1038/nmeth1019 (decoys); He et al. 2015, doi:10.48550/arXiv.1501.00537 (the 1 that
    is added).
    """
    scores = np.asarray(real, dtype=np.float64)
    decoys = np.asarray(decoy, dtype=np.float64)
    decoys = np.sort(decoys[~np.isnan(decoys)])
    told = ~np.isnan(scores)
    total, against = int(told.sum()) if n_real is None else n_real, len(decoys) if n_decoy is None else n_decoy
    found = np.full(scores.shape, np.nan)
    if against == 0 or not told.any():
        return found
    threshold, place, count = np.unique(scores[told], return_inverse=True, return_counts=True)
    at_least = np.cumsum(count[::-1])[::-1]
    found[told] = _monotone(at_least, len(decoys) - np.searchsorted(decoys, threshold), ratio=total / against)[place]
    return found


def technical_fdr(
    screen: Screen,
    perturbation_map: PerturbationMap,
    *,
    moments: ScreenMoments | None = None,
    levels: tuple[float, ...] = LEVELS,
    seed: int = 0,
) -> TechnicalFdr:
    """Say how many of a map's most similar pairs technical noise alone does not explain.

    Decoys are pseudo-perturbations: held-out controls in the numbers, batches and guides of perturbations drawn at
    random, put through the alignment and the aggregation of the map. Decoys drawn at a time share no control,
    and only those are paired. Perturbations and decoys are both aligned by the controls that are not held out, so that
    neither is nearer to them; the map itself is aligned by all controls, so its own cosines differ a little.

    Parameters
    ----------
    screen
        The rows.
    perturbation_map
        A map made of them; its recipe says how.
    moments
        Of the rows of that map, where they have been collected.
    levels
        Levels of the false discovery rate, each between 0 and 1.
    seed
        Of the draws (and of the controls held out, where moments are collected here).

    Returns
    -------
    TechnicalFdr
        With a `reason` in place of numbers where the screen has no controls, or too few.

    Raises
    ------
    InputError
        When the map was made of a part of the rows and their moments are not given, or of another screen.
    """
    recipe = perturbation_map.recipe
    source = screen.representation(recipe.representation)
    if any(not 0 < level < 1 for level in levels):
        msg = f"levels of a false discovery rate lie between 0 and 1, got {listed(levels)}"
        raise InputError(msg)
    if moments is None and recipe.filter != "all rows":
        msg = f"the map was made of {recipe.filter!r}, not of all rows: give the moments of those rows"
        raise InputError(msg)
    n = int((perturbation_map.norms > 0).sum())
    n_real = n * (n - 1) // 2

    def without(reason: str, *, n_decoys: float = 0.0) -> TechnicalFdr:
        return TechnicalFdr(_levels_table(levels), _curve(), n_real, 0, n_decoys, reason, seed)

    if not screen.is_control().any():
        return without("the screen has no controls, so nothing says how alike technical noise would be")
    try:
        moments = moments_for(recipe.alignment, screen, source, moments=moments, seed=seed)
        fitted = fit_alignment(moments, recipe.alignment, controls="fitting")
    except InputError as error:
        return without(f"half of the controls can't fit the alignment ({error})")
    units = aligned_units(screen, moments, fitted)
    if set(perturbation_map.names) - set(units.names):
        missing = sorted(set(perturbation_map.names) - set(units.names))
        msg = f"the map has perturbations that the screen has not: {listed(missing)}; give the screen it was made of"
        raise InputError(msg)
    wanted = np.flatnonzero(np.isin(units.names, perturbation_map.names))
    maker = _DecoyMaker(units, held_out_controls(moments, fitted, units), wanted, aggregate=recipe.aggregate)
    if len(maker.owners) < (1 - _MOST_UNMATCHED) * len(wanted):
        return without(
            f"{len(wanted) - len(maker.owners):,} of {len(wanted):,} perturbations have more rows in a batch than half "
            "of the controls that are held out there, so two decoys like them can't be made"
        )
    rng = np.random.default_rng(seed)
    steps, n_decoys = _decoy_steps(maker, n_real, rng=rng)
    if n_decoys < FEWEST_DECOYS:
        return without(
            f"the held-out controls make {n_decoys:.1f} decoys at a time, expected at least {FEWEST_DECOYS}; measure "
            "more controls",
            n_decoys=n_decoys,
        )
    notes = list(fitted.notes)
    if screen.roles.keep_controls:
        notes.append(
            "controls are perturbations of this map too, so what they have in common counts as noise: the FDR is "
            "rather too large"
        )
    if len(maker.owners) < len(wanted):
        notes.append(
            f"{len(wanted) - len(maker.owners):,} perturbations have more rows in a batch than half of the controls "
            "held out there, and no decoy is like them"
        )
    real = count_steps(
        _unit(_real_profiles(source, moments, fitted, units=units, wanted=wanted, aggregate=recipe.aggregate)),
        resolution=_RESOLUTION,
    )
    decoy = np.bincount(steps, minlength=len(real))
    met = np.flatnonzero(real)
    at_least, decoys_at_least = (np.cumsum(count[::-1])[::-1][met] for count in (real, decoy))
    n_real = int(real.sum())
    fdr = _monotone(at_least, decoys_at_least, ratio=n_real / len(steps))
    similarity = (met - _RESOLUTION) / _RESOLUTION
    # Where the FDR falls; in between it stays.
    falls = np.flatnonzero(np.diff(fdr, prepend=1.0) < 0)
    return TechnicalFdr(
        table=_levels_table(levels, fdr, similarity, at_least),
        curve=_curve(similarity[falls], fdr[falls]),
        n_real=n_real,
        n_decoy=len(steps),
        n_decoys=n_decoys,
        reason=None,
        seed=seed,
        notes=tuple(notes),
    )


class _DecoyMaker:
    """Makes sets of decoys that share no control."""

    def __init__(self, units: Units, held: HeldOut, wanted: Integers, *, aggregate: Aggregate) -> None:
        self._units, self._aggregate = units, aggregate
        bounds = np.searchsorted(units.owner, np.arange(len(units.names) + 1))
        self._lines = [
            list(zip(*(part[left:right].tolist() for part in (units.guide, units.batch, units.count)), strict=True))
            for left, right in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
        ]
        sizes = held.sizes(held.controls.values)
        self._first = dict(zip(sizes, np.cumsum([0, *sizes.values()])[:-1].tolist(), strict=True))
        self._sizes = sizes
        self._values = np.concatenate([np.asarray(part, dtype=np.float64) for part in held.controls.values.values()])
        self._needs = [self._rows_by_batch(lines) for lines in self._lines]
        self.owners = np.array(
            [
                own
                for own in wanted.tolist()
                if all(2 * rows <= sizes[batch] for batch, rows in self._needs[own].items())
            ],
            dtype=np.int64,
        )

    @staticmethod
    def _rows_by_batch(lines: list[tuple[int, int, int]]) -> dict[int, int]:
        rows: dict[int, int] = {}
        for _, batch, count in lines:
            rows[batch] = rows.get(batch, 0) + count
        return rows

    @property
    def n_different(self) -> int:
        """Different pairs of decoys there are at most, where every decoy is one control; else very many."""
        if any(sum(self._needs[own].values()) > 1 for own in self.owners.tolist()):
            return _MOST_DECOY_PAIRS
        return len(self._values) * (len(self._values) - 1) // 2

    def make(self, rng: np.random.Generator) -> Floats:
        """Make decoys like perturbations drawn at random until one does not fit any more, shape (n, n_features)."""
        shuffled = {batch: rng.permutation(size) + self._first[batch] for batch, size in self._sizes.items()}
        used = dict.fromkeys(self._sizes, 0)
        drawn: list[Integers] = []
        lines: list[tuple[int, int, int]] = []
        for number, own in enumerate(rng.permutation(self.owners).tolist()):
            # To leave this one out and go on would favour small ones.
            if any(used[batch] + rows > self._sizes[batch] for batch, rows in self._needs[own].items()):
                break
            for guide, batch, rows in self._lines[own]:
                drawn.append(shuffled[batch][used[batch] : used[batch] + rows])
                used[batch] += rows
                lines.append((number, guide, rows))
        owner, guide, count = np.array(lines, dtype=np.int64).reshape(-1, 3).T
        if not len(owner):
            return np.empty((0, self._values.shape[1]))
        values = self._values[np.concatenate(drawn)]
        begin = np.r_[0, np.cumsum(count)[:-1]]
        if self._aggregate == "median" and not self._units.by_guide:
            rows_of = np.add.reduceat(count, np.searchsorted(owner, np.unique(owner)))
            return np.stack([np.median(part, axis=0) for part in np.split(values, np.cumsum(rows_of)[:-1])])
        means = sum_runs(values, begin) / count[:, None]
        return _aggregated(means, count, owner, guide=guide if self._units.by_guide else None, how=self._aggregate)


def _decoy_steps(maker: _DecoyMaker, n_real: int, *, rng: np.random.Generator) -> tuple[Integers, float]:
    """Pair decoys that are made together; returns the steps of their cosines, and how many are made at a time."""
    enough = min(n_real, _MOST_DECOY_PAIRS, maker.n_different)
    steps: list[Integers] = []
    n_pairs = 0
    made: list[int] = []
    while n_pairs < enough and len(made) < _MOST_ROUNDS:
        decoys = _unit(maker.make(rng))
        made.append(len(decoys))
        for _, _, block in step_blocks(decoys, resolution=_RESOLUTION):
            steps.append(block[block <= 2 * _RESOLUTION])
            n_pairs += len(steps[-1])
        if len(made) == 10 and np.mean(made) < FEWEST_DECOYS:
            break
    return np.concatenate([np.empty(0, dtype=np.int64), *steps]), float(np.mean(made)) if made else 0.0


def _real_profiles(
    source: Representation,
    moments: ScreenMoments,
    fitted: Alignment,
    *,
    units: Units,
    wanted: Integers,
    aggregate: Aggregate,
) -> Floats:
    if aggregate == "median" and not units.by_guide:
        names, found = aggregate_rows(source, moments, fitted)
        return found[np.isin(names, [units.names[own] for own in wanted.tolist()])]
    guide = units.guide if units.by_guide else None
    return _aggregated(units.aligned, units.count, units.owner, guide=guide, how=aggregate)[wanted]


def _aggregated(means: Floats, count: Integers, owner: Integers, *, guide: Integers | None, how: Aggregate) -> Floats:
    """Units to perturbations as the map does: rows to guides by their number, guides equally or their median."""
    if how == "mean" or guide is None:
        return np.asarray(profiles(means, count, owner, guide=guide), dtype=np.float64)
    first = np.flatnonzero(np.r_[True, (np.diff(owner) != 0) | (np.diff(guide) != 0)])
    of_guide = sum_runs(means * count[:, None], first) / sum_runs(count, first)[:, None]
    start = np.flatnonzero(np.r_[True, np.diff(owner[first]) != 0])
    return np.stack([np.median(part, axis=0) for part in np.split(of_guide, start[1:])])


def _unit(values: Floats) -> Floats:
    """Scale to length 1 what a map would hold in single precision; profiles of length zero are left out."""
    single = values.astype(np.float32).astype(np.float64)
    length = lengths(single)
    told = length > 0
    return np.asarray(single[told] / length[told, None])


def _monotone(at_least: npt.NDArray[np.integer], decoys_at_least: npt.NDArray[np.integer], *, ratio: float) -> Floats:
    """FDR at ascending thresholds from the numbers of scores at or above each."""
    plain = (1 + decoys_at_least) / np.maximum(1, at_least) * ratio
    return np.asarray(np.minimum.accumulate(np.minimum(1.0, plain)), dtype=np.float64)


def _curve(similarity: Floats | None = None, fdr: Floats | None = None) -> pl.DataFrame:
    empty = np.empty(0)
    return pl.DataFrame(
        {"similarity": empty if similarity is None else similarity, "fdr": empty if fdr is None else fdr}
    )


def _levels_table(
    levels: tuple[float, ...],
    fdr: Floats | None = None,
    similarity: Floats | None = None,
    at_least: Integers | None = None,
) -> pl.DataFrame:
    threshold, n_pairs = [float("nan")] * len(levels), [0] * len(levels)
    if fdr is not None and similarity is not None and at_least is not None:
        for place, level in enumerate(levels):
            passed = np.flatnonzero(fdr <= level)
            if len(passed):
                threshold[place], n_pairs[place] = float(similarity[passed[0]]), int(at_least[passed[0]])
    return pl.DataFrame({"level": list(levels), "threshold": threshold, "n_pairs": n_pairs})
