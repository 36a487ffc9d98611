"""Sums of aligned rows by guide: what a map of means or of guide medians is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from explorer.align import Alignment
from explorer.digits import counted
from explorer.labels import RowLabels
from explorer.memory import require_memory
from explorer.moments import Floats, Integers, Progress, ScreenMoments, block_moments, read_ahead
from explorer.rowsums import COMPILE_ABOVE, add_aligned_rows, row_adder, sum_runs
from explorer.screen import Representation
from explorer.threads import one_thread_products

_BLOCK_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True, eq=False)
class GuideTotals:
    """Sums of aligned rows of every guide; two of them, of disjoint rows, can be merged.

    Attributes
    ----------
    labels
        What the numbers stand for.
    count, total
        Rows of each guide, and the sum of their aligned profiles, shapes (n_guides,) and (n_guides, n_features).
    unit_count
        Rows of each unit, shape (n_units,).
    excluded
        Row numbers left out because a value was NaN or infinite.
    """

    labels: RowLabels
    count: Integers
    total: Floats
    unit_count: Integers
    excluded: Integers

    def means_of(self, guides: npt.NDArray[np.intp]) -> Floats:
        """Mean profiles of some guides that have rows, shape (n, n_features)."""
        return self.total[guides] / self.count[guides][:, None]


def unit_totals(moments: ScreenMoments, alignment: Alignment) -> GuideTotals:
    """Add up the units of moments, weighted by their rows: a mean commutes with an affine map."""
    found = _empty(moments.labels, moments.n_features)
    _add_units(found, moments, alignment)
    return replace(found, excluded=moments.excluded)


def range_totals(
    representation: Representation,
    labels: RowLabels,
    alignment: Alignment,
    *,
    start: int = 0,
    stop: int | None = None,
    progress: Progress | None = None,
) -> GuideTotals:
    """Read a range of rows once, align and add up block by block; no table of units is kept.

    Parameters
    ----------
    representation, labels
        The rows, and their labels or those of a range that holds them.
    alignment
        Already fitted.
    start, stop
        The range; all rows without it.
    progress
        Called with the number of rows after each block.

    Raises
    ------
    InputError
        When the sums have no room in memory.
    """
    found = _empty(labels, representation.n_features)
    end = representation.n_rows if stop is None else stop
    large = (end - start) * representation.n_features >= COMPILE_ABOVE
    add = _add_large if large else _add_small
    excluded = [found.excluded]
    with one_thread_products(when=large):
        for first, values in read_ahead(representation.chunks(start=start, stop=end)):
            excluded.append(add(found, (first, values), alignment))
            if progress is not None:
                progress(len(values))
    return replace(found, excluded=np.concatenate(excluded))


def merge_totals(one: GuideTotals, other: GuideTotals) -> GuideTotals:
    """Merge the totals of two disjoint sets of rows."""
    return GuideTotals(
        one.labels,
        one.count + other.count,
        one.total + other.total,
        one.unit_count + other.unit_count,
        np.union1d(one.excluded, other.excluded),
    )


def require_totals_memory(labels: RowLabels, n_features: int) -> None:
    """Check that the sums by guide, and the profiles of the perturbations beside them, have room in memory.

    Raises
    ------
    InputError
        When they have none.
    """
    n_guides, n_perturbations = len(labels.guide_perturbation), len(labels.perturbations)
    what = "perturbation" if all(guide is None for guide in labels.guides) else "guide"
    of = f"{counted(n_guides, what)} × {counted(n_features, 'feature')}"
    require_memory((8 * n_guides + 4 * n_perturbations) * n_features, of=of)


def _empty(labels: RowLabels, n_features: int) -> GuideTotals:
    require_totals_memory(labels, n_features)
    n_guides = len(labels.guide_perturbation)
    return GuideTotals(
        labels,
        count=np.zeros(n_guides, dtype=np.int64),
        total=np.zeros((n_guides, n_features)),
        unit_count=np.zeros(labels.n_units, dtype=np.int64),
        excluded=np.empty(0, dtype=np.int64),
    )


def _add_small(found: GuideTotals, block: tuple[int, npt.NDArray[np.float32]], alignment: Alignment) -> Integers:
    """Add the means of the block's units, aligned; returns the rows left out."""
    first, values = block
    moments = block_moments(values, found.labels.only_units(), start=first)
    _add_units(found, moments, alignment)
    return moments.excluded


def _add_large(found: GuideTotals, block: tuple[int, npt.NDArray[np.float32]], alignment: Alignment) -> Integers:
    """Align and add row by row, in a compiled loop; returns the rows left out."""
    first, values = block
    labels = found.labels
    here = slice(first - labels.first, first - labels.first + len(values))
    unit = labels.unit[here]
    guide = np.where(unit >= 0, labels.unit_guide[unit], np.int32(-1))
    totals = found.total, found.count
    if alignment.matrix is None:
        shifts = alignment.offset, alignment.scale
        finite = add_aligned_rows(values, (guide, labels.batch[here]), shifts, totals=totals)
    else:
        finite = np.asarray(np.isfinite(values).all(axis=1))
        add = row_adder(COMPILE_ABOVE)
        entering = np.where(finite, guide, np.int32(-1))
        for number in np.unique(labels.batch[here][entering >= 0]).tolist():
            rows = np.flatnonzero((entering >= 0) & (labels.batch[here] == number))
            shifted = (values[rows] - alignment.offset[number]) * alignment.scale[number]
            # Single precision from here: a mean of many rows loses less than their own rounding.
            add(shifted.astype(np.float32) @ alignment.matrix[number].astype(np.float32), guide[rows], totals)
    np.add.at(found.unit_count, unit[finite & (unit >= 0)], 1)
    return np.flatnonzero(~finite & (unit >= 0)) + first


def _add_units(found: GuideTotals, moments: ScreenMoments, alignment: Alignment) -> None:
    """Add units in place, a block of them at a time."""
    labels = found.labels
    found.unit_count[moments.unit] += moments.unit_count
    step = max(1, _BLOCK_BYTES // (8 * found.total.shape[1]))
    for start in range(0, len(moments.unit), step):
        unit, count = (part[start : start + step] for part in (moments.unit, moments.unit_count))
        aligned = alignment.apply(moments.unit_mean[start : start + step], labels.unit_batch[unit])
        aligned *= count[:, None]
        # Units are sorted by perturbation, guide and batch, so each guide is one run of lines.
        guide = labels.unit_guide[unit]
        run = np.flatnonzero(np.r_[True, np.diff(guide) != 0])
        found.total[guide[run]] += sum_runs(aligned, run)
        found.count[guide[run]] += sum_runs(count, run)
