"""One pass over the rows: mergeable counts, means and control covariances, from which all else follows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from explorer.digits import counted
from explorer.errors import InputError, listed
from explorer.labels import FITTING, NOT_CONTROL, SAMPLED, RowLabels, label_rows
from explorer.memory import require_memory
from explorer.rowsums import COMPILE_ABOVE, AddRows, row_adder
from explorer.screen import Representation, Screen
from explorer.threads import one_thread_products

# Above this size the control covariances (batches × features²) are not collected; TVN and sphering then
# need fewer features first.
MOST_COVARIANCE_BYTES = 2**30
# Controls are set aside until there are so many bytes of them, since products of large matrices are faster.
_PENDING_BYTES = 2 * 2**20
# Held-out controls kept as they are, and controls of which a median is taken at once.
MOST_KEPT_BYTES = 16 * 2**20

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
ControlPart = Literal["all", "fitting"]
Progress = Callable[[int], None]
T = TypeVar("T")
N = TypeVar("N", bound=np.generic)


@dataclass(frozen=True, slots=True, eq=False)
class ControlMoments:
    """Moments of controls, batch by batch.

    Attributes
    ----------
    count, mean
        Controls of each batch, and their mean, shapes (n_batches,) and (n_batches, n_features).
    scatter
        Sum of outer products about the batch mean, shape (n_batches, n_features, n_features); only its diagonal,
        shape (n_batches, n_features), where full covariances were not collected.
    rows
        The controls themselves and their batches while there are fewer than two for each feature (a covariance of
        so few must be shrunk, and the shrinkage needs them); otherwise None.
    medians
        Median and median absolute deviation of each batch, shape (n_batches, n_features) each, where collected.
    """

    count: Integers
    mean: Floats
    scatter: Floats
    rows: tuple[Floats, Integers] | None
    medians: tuple[Floats, Floats] | None = None

    @property
    def has_covariance(self) -> bool:
        """Whether full covariances were collected."""
        return self.scatter.ndim == 3


@dataclass(frozen=True, slots=True, eq=False)
class HeldOutControls:
    """Controls that fit no alignment by which activity is judged, kept as they are.

    Attributes
    ----------
    values
        Shape (n, n_features), float32, not aligned.
    batch, row
        Batch, and number of the row in the screen, shape (n,).
    """

    values: npt.NDArray[np.float32]
    batch: Integers
    row: Integers


@dataclass(frozen=True, slots=True, eq=False)
class ScreenMoments:
    """Moments of some rows of a screen: a sparse table of units and of controls; two of them can be merged.

    Controls are counted apart for two halves of every batch; group ``2 * batch`` fits every alignment, group
    ``2 * batch + 1`` is held out where activity is judged.

    Attributes
    ----------
    labels
        What the numbers stand for.
    unit, unit_count, unit_mean
        Numbers of the units that these rows belong to, ascending, the rows of each, and their mean, shapes
        (n_present,), (n_present,) and (n_present, n_features).
    control, control_count, control_mean, control_scatter
        The same for groups of controls, with the sum of outer products about the mean, shape (n_groups, n_features,
        n_features), or its diagonal alone, shape (n_groups, n_features).
    control_rows
        Controls and their groups while one half has fewer than two for each feature; otherwise None.
    held_out
        Sample of the controls held out.
    excluded
        Row numbers left out because a value was NaN or infinite.
    medians
        Median and median absolute deviation of the controls of each batch, for all of them and for the fitting half,
        where they were asked for.
    """

    labels: RowLabels
    unit: Integers
    unit_count: Integers
    unit_mean: Floats
    control: Integers
    control_count: Integers
    control_mean: Floats
    control_scatter: Floats
    control_rows: tuple[npt.NDArray[np.float32], Integers] | None
    held_out: HeldOutControls
    excluded: Integers
    medians: dict[ControlPart, tuple[Floats, Floats]] | None = None

    @property
    def n_features(self) -> int:
        """Number of features."""
        return int(self.control_mean.shape[1])

    @property
    def unit_batch(self) -> npt.NDArray[np.int32]:
        """Batch of each unit present, shape (n_present,)."""
        return self.labels.unit_batch[self.unit]

    def controls(self, part: ControlPart = "all") -> ControlMoments:
        """Take the controls batch by batch: all of them, or the half that is not held out."""
        n_batches, n_features = len(self.labels.batches), self.n_features
        halves = []
        for half in (0, 1) if part == "all" else (0,):
            own = self.control % 2 == half
            place = self.control[own] // 2
            count = np.zeros(n_batches, dtype=np.int64)
            mean = np.zeros((n_batches, n_features))
            scatter = np.zeros((n_batches, *self.control_scatter.shape[1:]))
            count[place], mean[place] = self.control_count[own], self.control_mean[own]
            scatter[place] = self.control_scatter[own]
            halves.append((count, mean, scatter))
        count, mean, scatter = halves[0] if len(halves) == 1 else _merge_scatters(*halves)
        rows = None
        if self.control_rows is not None:
            values, group = self.control_rows
            wanted = group % 2 == 0 if part == "fitting" else np.ones(len(group), dtype=bool)
            if int(wanted.sum()) < 2 * n_features:
                rows = values[wanted].astype(np.float64), group[wanted] // 2
        return ControlMoments(count, mean, scatter, rows, None if self.medians is None else self.medians[part])


def block_moments(values: npt.NDArray[np.float32], labels: RowLabels, *, start: int) -> ScreenMoments:
    """Collect the moments of one block of rows.

    Parameters
    ----------
    values
        Rows `start` to ``start + len(values)`` of the screen, shape (n_block, n_features).
    labels
        Labels of these rows, or of more.
    start
        Number of the block's first row.

    Returns
    -------
    ScreenMoments
        Of this block alone; rows with a NaN or infinite value are left out and counted.
    """
    collector = _Collector(labels, (start, start + len(values)), n_features=values.shape[1])
    collector.add(np.asarray(values, dtype=np.float32), start)
    return collector.finish()


def range_moments(
    representation: Representation,
    labels: RowLabels,
    *,
    start: int = 0,
    stop: int | None = None,
    chunk_rows: int | None = None,
    covariance: bool = True,
    progress: Progress | None = None,
) -> ScreenMoments:
    """Read a range of rows once, a block at a time, and keep its moments.

    Parameters
    ----------
    representation, labels
        The rows, and their labels or those of a range that holds them.
    start, stop
        The range; all rows without it.
    chunk_rows
        Rows of a block; by default as many as fit in 8 MiB.
    covariance
        Whether full covariances of the controls are wanted, not only variances.
    progress
        Called with the number of rows after each block.

    Raises
    ------
    InputError
        When the table of units has no room in memory.
    """
    end = representation.n_rows if stop is None else stop
    require_moments_memory(labels, representation.n_features, n_rows=end - start)
    adder = row_adder((end - start) * representation.n_features)
    collector = _Collector(
        labels, (start, end), n_features=representation.n_features, covariance=covariance, adder=adder
    )
    large = (end - start) * representation.n_features >= COMPILE_ABOVE
    with one_thread_products(when=large):
        for first, values in read_ahead(representation.chunks(chunk_rows, start=start, stop=end)):
            collector.add(values, first)
            if progress is not None:
                progress(len(values))
        return collector.finish()


def merge_moments(one: ScreenMoments, other: ScreenMoments) -> ScreenMoments:
    """Merge the moments of two disjoint sets of rows, by Chan's update.

    References
    ----------
    Chan, Golub and LeVeque 1983, doi:10.1080/00031305.1983.10483115.
    """
    unit, (ours, theirs) = _union(one.unit, other.unit)
    unit_count, unit_mean, _ = _merge_means(
        (_spread(one.unit_count, ours, len(unit)), _spread(one.unit_mean, ours, len(unit))),
        (_spread(other.unit_count, theirs, len(unit)), _spread(other.unit_mean, theirs, len(unit))),
    )
    control, places = _union(one.control, other.control)
    n = len(control)
    sides = [
        (
            _spread(side.control_count, place, n),
            _spread(side.control_mean, place, n),
            _spread(side.control_scatter, place, n),
        )
        for side, place in zip((one, other), places, strict=True)
    ]
    count, mean, scatter = _merge_scatters(*sides)
    rows = None
    if one.control_rows is not None and other.control_rows is not None:
        rows = _while_few(
            np.concatenate([one.control_rows[0], other.control_rows[0]]),
            np.concatenate([one.control_rows[1], other.control_rows[1]]),
        )
    held = (one.held_out, other.held_out)
    row = np.concatenate([side.row for side in held])
    order = np.argsort(row, kind="stable")
    return ScreenMoments(
        labels=one.labels,
        unit=unit,
        unit_count=unit_count,
        unit_mean=unit_mean,
        control=control,
        control_count=count,
        control_mean=mean,
        control_scatter=scatter,
        control_rows=rows,
        held_out=HeldOutControls(
            np.concatenate([side.values for side in held])[order],
            np.concatenate([side.batch for side in held])[order],
            row[order],
        ),
        excluded=np.union1d(one.excluded, other.excluded),
    )


def collect_moments(
    screen: Screen,
    representation: Representation,
    *,
    rows: npt.NDArray[np.bool_] | None = None,
    chunk_rows: int | None = None,
    covariance: bool = True,
    medians: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> ScreenMoments:
    """Read a representation once, a block at a time, and keep its moments.

    Parameters
    ----------
    screen, representation
        The rows.
    rows
        Rows to use, shape (n_rows,); all without it.
    chunk_rows
        Rows of a block; by default as many as fit in 8 MiB.
    covariance
        Whether full covariances of the controls are wanted, not only variances.
    medians
        Whether medians of the controls are wanted, for robust alignment; their rows are read once more.
    seed
        Of the choice of the controls that are held out where activity is judged.
    progress
        Called with the number of rows after each block.

    Raises
    ------
    InputError
        When no row is left, or the table of units has no room in memory.
    """
    labels = label_rows(screen, rows=rows, most_sampled=sample_size(representation.n_features), seed=seed)
    found = range_moments(representation, labels, chunk_rows=chunk_rows, covariance=covariance, progress=progress)
    require_rows(found, representation)
    return with_control_medians(found, representation) if medians else found


def sample_size(n_features: int) -> int:
    """Say how many held-out controls are kept as they are: their size must not grow with the rows."""
    return max(1, MOST_KEPT_BYTES // (4 * max(1, n_features)))


def require_moments_memory(labels: RowLabels, n_features: int, *, n_rows: int) -> None:
    """Check that the tables of a pass, of means by unit and of controls by batch, have room in memory.

    Parameters
    ----------
    labels, n_features
        Whose tables.
    n_rows
        How many rows the pass reads: no more units than these are met.

    Raises
    ------
    InputError
        When they have none.
    """
    # Mean and variance of two halves of the controls of every batch.
    n_units = min(labels.n_units, n_rows)
    n_lines = n_units + 4 * len(labels.batches) * bool(labels.control.any())
    of = f"{counted(n_units, 'unit')} (perturbation × guide × batch) × {counted(n_features, 'feature')}"
    require_memory(8 * n_lines * n_features, of=of)


def require_rows(moments: ScreenMoments, representation: Representation) -> None:
    """Check that some row is left.

    Raises
    ------
    InputError
        When every row was NaN, infinite or outside the filter.
    """
    if not moments.unit_count.any():
        raise _no_rows(representation)


def excluded_rows(screen: Screen, representation: Representation) -> Integers:
    """Read a representation once and find the rows that no map can use; no table is made, however many columns.

    Returns
    -------
    numpy.ndarray
        Numbers of the rows with a NaN or infinite value, ascending; of those that a map or an alignment would use.

    Raises
    ------
    InputError
        When no row is left.
    """
    labels = label_rows(screen, most_sampled=0)
    found, n_left = [], 0
    for start, values in read_ahead(representation.chunks()):
        here = slice(start, start + len(values))
        finite = np.isfinite(values).all(axis=1)
        enters = labels.unit[here] >= 0
        n_left += int((finite & enters).sum())
        found.append(np.flatnonzero(~finite & (enters | (labels.role[here] != NOT_CONTROL))) + start)
    if not n_left:
        raise _no_rows(representation)
    return _joined(found)


def _no_rows(representation: Representation) -> InputError:
    return InputError(f"representation {representation.name!r} has no row of finite numbers to make a map of")


def selected_rows(
    representation: Representation, wanted: npt.NDArray[np.bool_], *, chunk_rows: int | None = None
) -> Iterator[tuple[Integers, npt.NDArray[np.float32]]]:
    """Read some rows, a block at a time; stretches of blocks without a wanted row are not read.

    Parameters
    ----------
    representation
        The rows.
    wanted
        Shape (n_rows,).
    chunk_rows
        Rows of a block; by default as many as fit in 8 MiB.

    Yields
    ------
    tuple
        Numbers of wanted rows, ascending, and those rows, float32.
    """
    numbers = np.flatnonzero(wanted)
    if not len(numbers):
        return
    step = chunk_rows or max(1, 2**21 // max(1, representation.n_features))
    for stretch in np.split(numbers, np.flatnonzero(np.diff(numbers) > step) + 1):
        start, stop = int(stretch[0]), int(stretch[-1]) + 1
        for first, values in representation.chunks(step, start=start, stop=stop):
            here = np.flatnonzero(wanted[first : first + len(values)])
            if len(here):
                yield here + first, values[here]


def with_control_medians(moments: ScreenMoments, representation: Representation) -> ScreenMoments:
    """Add median and median absolute deviation of the controls of each batch, exactly, in bounded memory.

    Medians can't be merged, so the controls are read again: the batches in groups, and a batch that is too large
    by itself a few features at a time.
    """
    labels = moments.labels
    usable = labels.control.copy()
    usable[moments.excluded] = False
    shape = (len(labels.batches), moments.n_features)
    parts: tuple[ControlPart, ...] = ("all", "fitting")
    found = {part: (np.full(shape, np.nan), np.full(shape, np.nan)) for part in parts}
    counts = np.bincount(labels.batch[usable], minlength=len(labels.batches))
    most_rows = max(1, MOST_KEPT_BYTES // (4 * moments.n_features))
    for batches in _groups(counts, most_rows):
        wanted = usable & np.isin(labels.batch, batches)
        n_rows = int(wanted.sum())
        width = max(1, min(moments.n_features, MOST_KEPT_BYTES // (4 * max(1, n_rows))))
        for left in range(0, moments.n_features, width):
            features = slice(left, left + width)
            values = np.empty((n_rows, min(width, moments.n_features - left)), dtype=np.float32)
            rows = np.empty(n_rows, dtype=np.int64)
            filled = 0
            for numbers, block in selected_rows(representation, wanted):
                values[filled : filled + len(block)] = block[:, features]
                rows[filled : filled + len(block)] = numbers
                filled += len(block)
            for number in batches.tolist():
                own = labels.batch[rows] == number
                for part in parts:
                    chosen = values[own if part == "all" else own & (labels.role[rows] == FITTING)]
                    if len(chosen):
                        # The middle of two float32 values may not be one.
                        chosen = chosen.astype(np.float64)
                        median = np.median(chosen, axis=0)
                        found[part][0][number, features] = median
                        found[part][1][number, features] = np.median(np.abs(chosen - median), axis=0)
    return replace(moments, medians=found)


def describe_excluded(excluded: Integers, screen: Screen) -> str:
    """Say how many rows were left out for NaN or infinite values, and whose; empty where none was."""
    if not len(excluded):
        return ""
    names = dict.fromkeys(screen.rows[screen.roles.perturbation].gather(excluded).cast(str).to_list())
    return f"{counted(len(excluded), 'row')} with NaN or infinite values left out: {listed(names)}"


class _Collector:
    """Totals that grow while the blocks of one range of rows go by."""

    def __init__(
        self,
        labels: RowLabels,
        bounds: tuple[int, int],
        *,
        n_features: int,
        covariance: bool = True,
        adder: AddRows | None = None,
    ) -> None:
        self._labels = labels
        self._adder = adder or row_adder(0)
        here = slice(bounds[0] - labels.first, bounds[1] - labels.first)
        whole = not labels.is_part and bounds[1] - bounds[0] == labels.n_rows
        self._first = bounds[0]
        if whole:
            self._units, self._slots = np.arange(labels.n_units), labels.unit
        else:
            # −1, rows that enter no unit, sorts first where it occurs.
            found, place = np.unique(labels.unit[here], return_inverse=True)
            self._units = found[found >= 0].astype(np.int64)
            self._slots = (place - (len(found) - len(self._units))).astype(np.int32)
        self._sums = np.zeros((len(self._units), n_features))
        self._counts = np.zeros(len(self._units), dtype=np.int64)

        role = labels.role[here]
        groups = _groups_of(labels.batch[here], role)[role != NOT_CONTROL]
        self._groups = np.flatnonzero(np.bincount(groups, minlength=2 * len(labels.batches)))
        self._group_slots = np.full(2 * len(labels.batches), -1)
        self._group_slots[self._groups] = np.arange(len(self._groups))
        n_groups = len(self._groups)
        narrow = covariance and 8 * len(labels.batches) * n_features**2 <= MOST_COVARIANCE_BYTES
        shape = (n_groups, n_features, n_features) if narrow else (n_groups, n_features)
        self._control = np.zeros(n_groups, dtype=np.int64), np.zeros((n_groups, n_features)), np.zeros(shape)
        self._rows: list[tuple[npt.NDArray[np.float32], Integers]] | None = [] if narrow else None
        self._n_fitting = 0
        self._pending: list[tuple[npt.NDArray[np.float32], Integers]] = []
        self._pending_bytes = 0
        self._held: list[tuple[npt.NDArray[np.float32], Integers, Integers]] = []
        self._excluded: list[Integers] = []
        self._n_features = n_features

    def add(self, values: npt.NDArray[np.float32], start: int) -> None:
        """Add the rows from number `start` on."""
        first = start - self._labels.first
        here = slice(first, first + len(values))
        unit, role, batch = self._labels.unit[here], self._labels.role[here], self._labels.batch[here]
        slots = self._slots[start - self._first : start - self._first + len(values)]
        controls = np.flatnonzero(role != NOT_CONTROL)
        if len(self._units):
            finite = self._adder(values, slots, (self._sums, self._counts))
        else:
            # A pass over controls alone need not look at the other rows.
            finite = np.ones(len(values), dtype=bool)
            finite[controls] = np.isfinite(values[controls]).all(axis=1)
        controls = controls[finite[controls]]
        if len(controls):
            groups = _groups_of(batch[controls], role[controls])
            self._pending.append((values[controls], groups))
            self._pending_bytes += 4 * len(controls) * self._n_features
            if self._pending_bytes >= _PENDING_BYTES:
                self._flush()
            sampled = controls[role[controls] == SAMPLED]
            if len(sampled):
                self._held.append((values[sampled], batch[sampled].astype(np.int64), sampled + start))
        if not finite.all():
            wrong = np.flatnonzero(~finite & ((unit >= 0) | (role != NOT_CONTROL)))
            self._excluded.append(wrong + start)

    def finish(self) -> ScreenMoments:
        """Close the totals."""
        self._flush()
        filled = np.flatnonzero(self._counts)
        every = len(filled) == len(self._counts)
        counts, means = (self._counts, self._sums) if every else (self._counts[filled], self._sums[filled])
        means /= counts[:, None]
        count, mean, scatter = self._control
        met = np.flatnonzero(count)
        rows = None
        if self._rows is not None:
            values = [part[0] for part in self._rows] or [np.empty((0, self._n_features), dtype=np.float32)]
            rows = _while_few(np.concatenate(values), _joined([part[1] for part in self._rows]))
        held = [part[0] for part in self._held] or [np.empty((0, self._n_features), dtype=np.float32)]
        return ScreenMoments(
            labels=self._labels,
            unit=self._units[filled],
            unit_count=counts,
            unit_mean=means,
            control=self._groups[met],
            control_count=count[met],
            control_mean=mean[met],
            control_scatter=scatter[met] if len(met) < len(count) else scatter,
            control_rows=rows,
            held_out=HeldOutControls(
                np.concatenate(held),
                _joined([part[1] for part in self._held]),
                _joined([part[2] for part in self._held]),
            ),
            excluded=_joined(self._excluded),
        )

    def _flush(self) -> None:
        """Merge the controls set aside into the totals of their groups."""
        if not self._pending:
            return
        values = np.concatenate([part[0] for part in self._pending])
        groups = np.concatenate([part[1] for part in self._pending])
        self._pending, self._pending_bytes = [], 0
        if self._rows is not None:
            self._rows.append((values, groups))
            self._n_fitting += int((groups % 2 == 0).sum())
            if self._n_fitting >= 2 * self._n_features:
                self._rows = None
        order = np.argsort(groups, kind="stable")
        bounds = np.flatnonzero(np.r_[True, np.diff(groups[order]) > 0, True])
        count, mean, scatter = self._control
        for left, right in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            own = values[order[left:right]].astype(np.float64)
            slot = self._group_slots[groups[order[left]]]
            own_mean = own.mean(axis=0)
            own -= own_mean
            shift = own_mean - mean[slot]
            total = count[slot] + len(own)
            weight = count[slot] * len(own) / total
            if scatter.ndim == 3:
                scatter[slot] += own.T @ own
                if weight:
                    scatter[slot] += weight * np.outer(shift, shift)
            else:
                scatter[slot] += np.einsum("ij,ij->j", own, own) + weight * shift**2
            mean[slot] += shift * (len(own) / total)
            count[slot] = total


def read_ahead(blocks: Iterator[T]) -> Iterator[T]:
    """Read the next block in another thread while the last one is used."""
    with ThreadPoolExecutor(1) as reader:
        pending = reader.submit(next, blocks, None)
        while (block := pending.result()) is not None:
            pending = reader.submit(next, blocks, None)
            yield block


def _groups_of(batch: npt.NDArray[np.int32], role: npt.NDArray[np.int8]) -> Integers:
    return 2 * batch.astype(np.int64) + (role > FITTING)


def _joined(parts: Iterable[Integers]) -> Integers:
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])


def _while_few(values: npt.NDArray[np.float32], groups: Integers) -> tuple[npt.NDArray[np.float32], Integers] | None:
    """Keep controls while those of the fitting half are fewer than two a feature."""
    return (values, groups) if int((groups % 2 == 0).sum()) < 2 * values.shape[1] else None


def _groups(counts: npt.NDArray[np.intp], most: int) -> Iterator[npt.NDArray[np.intp]]:
    """Put batches with controls together until they have `most` rows; a larger one stands alone."""
    batches = np.flatnonzero(counts)
    start, total = 0, 0
    for place, number in enumerate(batches.tolist()):
        if place > start and total + int(counts[number]) > most:
            yield batches[start:place]
            start, total = place, 0
        total += int(counts[number])
    if len(batches):
        yield batches[start:]


def _union(one: Integers, other: Integers) -> tuple[Integers, tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    numbers = np.union1d(one, other)
    return numbers, (np.searchsorted(numbers, one), np.searchsorted(numbers, other))


def _spread(values: npt.NDArray[N], place: npt.NDArray[np.intp], n: int) -> npt.NDArray[N]:
    """Put the lines of a sparse table at their places among n; the others are zero."""
    if len(place) == n:
        return values
    full = np.zeros((n, *values.shape[1:]), dtype=values.dtype)
    full[place] = values
    return full


def _merge_means(one: tuple[Integers, Floats], other: tuple[Integers, Floats]) -> tuple[Integers, Floats, Floats]:
    (n_one, mean_one), (n_other, mean_other) = one, other
    count = n_one + n_other
    shift = mean_other - mean_one
    share = (n_other / np.maximum(count, 1))[:, None]
    # An empty side must not move the mean: its own is a placeholder of zeros.
    merged = np.where((n_one == 0)[:, None], mean_other, mean_one + shift * share)
    return count, merged, shift


def _merge_scatters(
    one: tuple[Integers, Floats, Floats], other: tuple[Integers, Floats, Floats]
) -> tuple[Integers, Floats, Floats]:
    count, mean, shift = _merge_means(one[:2], other[:2])
    weight = one[0] * other[0] / np.maximum(count, 1)
    products = np.einsum("bi,bj->bij", shift, shift) if one[2].ndim == 3 else shift**2
    return count, mean, one[2] + other[2] + weight.reshape(-1, *(1,) * (products.ndim - 1)) * products
