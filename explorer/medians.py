"""Medians of rows by group, exactly, in bounded memory: rows are sorted into stretches of a scratch file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from typing import IO

import numpy as np
import numpy.typing as npt

from explorer.errors import InputError

# Rows that are sorted and halved at once; below this size nothing is written to disk.
STRETCH_BYTES = 64 * 2**20

Block = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]


def group_medians(
    blocks: Iterable[Block], counts: npt.NDArray[np.intp], *, n_features: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Take the median of every feature over the rows of each group.

    Parameters
    ----------
    blocks
        Group of each row, shape (n,), and rows, shape (n, n_features); every row once, in any order.
    counts
        Rows of each group, shape (n_groups,).
    n_features
        Number of features.

    Returns
    -------
    tuple
        Groups that have rows, ascending, and their medians, shape (n_present, n_features).

    Raises
    ------
    InputError
        When the temporary folder has no room for the rows.
    """
    present = np.flatnonzero(counts)
    medians = np.empty((len(present), n_features))
    # The group travels with its row, as the bits of one more column.
    width = n_features + 1
    most = max(1, STRETCH_BYTES // (4 * width))
    first_of_stretch = _stretches(counts[present], most)
    stretch_of_group = np.zeros(len(counts), dtype=np.int64)
    stretch_of_group[present] = np.searchsorted(first_of_stretch, np.arange(len(present)), side="right") - 1
    ends = np.cumsum(np.add.reduceat(counts[present], first_of_stretch)) if len(present) else np.empty(0, dtype=int)
    try:
        with tempfile.SpooledTemporaryFile(max_size=STRETCH_BYTES) as scratch:
            _sort_into(scratch, blocks, stretch_of_group, begins=np.r_[0, ends[:-1]], width=width)
            for number, first in enumerate(first_of_stretch.tolist()):
                last = first_of_stretch[number + 1] if number + 1 < len(first_of_stretch) else len(present)
                begin = int(ends[number - 1]) if number else 0
                bounds = begin, int(ends[number])
                if last - first == 1:
                    medians[first] = _median_of_one(scratch, bounds, width=width)
                else:
                    rows = _read(scratch, bounds, width=width)
                    group = np.ascontiguousarray(rows[:, -1]).view(np.int32)
                    order = np.argsort(group, kind="stable")
                    cuts = np.cumsum(counts[present[first:last]])[:-1]
                    for place, own in enumerate(np.split(order, cuts)):
                        medians[first + place] = np.median(rows[own, :-1], axis=0)
    except OSError as error:
        size = 4 * width * int(counts.sum()) / 2**30
        message = (
            f"can't keep {size:.2g} GiB of rows for their medians in the temporary folder ({error.strerror or error}): "
            "free some space, or name another folder with TMPDIR"
        )
        raise InputError(message) from error
    return present, medians


def _stretches(counts: npt.NDArray[np.intp], most: int) -> npt.NDArray[np.intp]:
    """First group of each stretch of at most `most` rows; a larger group stands alone."""
    firsts: list[int] = []
    total = 0
    for place, count in enumerate(counts.tolist()):
        if not firsts or total + count > most:
            firsts.append(place)
            total = 0
        total += count
    return np.array(firsts, dtype=np.intp)


def _sort_into(
    scratch: IO[bytes],
    blocks: Iterable[Block],
    stretch_of_group: npt.NDArray[np.int64],
    *,
    begins: npt.NDArray[np.integer],
    width: int,
) -> None:
    """Write each row into the stretch of its group."""
    filled = begins.astype(np.int64).copy()
    for group, values in blocks:
        stretch = stretch_of_group[group]
        order = np.argsort(stretch, kind="stable")
        rows = np.empty((len(group), width), dtype=np.float32)
        rows[:, :-1] = values[order]
        rows[:, -1] = group[order].astype(np.int32).view(np.float32)
        cuts = np.flatnonzero(np.diff(stretch[order])) + 1
        for part, first in zip(np.split(rows, cuts), np.r_[0, cuts].tolist(), strict=True):
            if len(part):
                number = stretch[order[first]]
                scratch.seek(4 * width * int(filled[number]))
                scratch.write(np.ascontiguousarray(part).data)
                filled[number] += len(part)


def _read(scratch: IO[bytes], bounds: tuple[int, int], *, width: int) -> npt.NDArray[np.float32]:
    scratch.seek(4 * width * bounds[0])
    data = scratch.read(4 * width * (bounds[1] - bounds[0]))
    return np.frombuffer(data, dtype=np.float32).reshape(-1, width)


def _median_of_one(scratch: IO[bytes], bounds: tuple[int, int], *, width: int) -> npt.NDArray[np.float64]:
    """Take the medians of one group, as many features at a time as fit."""
    n_rows = bounds[1] - bounds[0]
    at_once = max(1, min(width - 1, STRETCH_BYTES // (4 * n_rows)))
    step = max(1, STRETCH_BYTES // (4 * width))
    medians = np.empty(width - 1)
    for left in range(0, width - 1, at_once):
        features = slice(left, min(left + at_once, width - 1))
        parts = [rows[:, features].copy() for rows in _read_steps(scratch, bounds, width=width, step=step)]
        medians[features] = np.median(np.concatenate(parts), axis=0)
    return medians


def _read_steps(
    scratch: IO[bytes], bounds: tuple[int, int], *, width: int, step: int
) -> Iterator[npt.NDArray[np.float32]]:
    for start in range(*bounds, step):
        yield _read(scratch, (start, min(start + step, bounds[1])), width=width)
