"""Loops that are compiled for large maps: one query against all rows, the largest of many scores, all pairs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

# A line of scores is a whole number of tiles; of each tile the largest of every `LANES`-th score is looked at first.
LANES = 64
DEPTH = 16
TILE = LANES * DEPTH
# What the search for a threshold may leave: a few candidates too many cost less than another look.
_HALVINGS = 40
_MOST_THREADS = 8


@dataclass(frozen=True, slots=True)
class Kernels:
    """The compiled loops; none of them holds the interpreter's lock.

    Attributes
    ----------
    products
        ``(profiles, row, products, start, stop)``: inner products of one row, float64, with rows `start` to
        `stop` of profiles, float32, shape (n, n_features); each is summed in float64, and equal profiles have
        equal products.
    candidates
        ``(scores, own, least, margin, rows, counts, start, stop)``: for lines `start` to `stop` of scores, shape
        (n_lines, whole tiles), every column within `margin` of the `least`-th largest, in any order, to `rows`,
        shape (n_lines, capacity), and their number to `counts`; −1 where there are more than the capacity. The
        line's own column is left out, and its score is overwritten.
    refine
        ``(profiles, norms, queries, sign, scale, rows, counts, values, start, stop)``: cosines of the candidates
        in float64, times `sign`, rounded to one in `scale`, to `values`; candidates and values are put in order,
        largest first and ties by row.
    """

    products: Callable[..., None]
    candidates: Callable[..., None]
    refine: Callable[..., None]


@dataclass(frozen=True, slots=True)
class PairKernels:
    """The compiled loops over pairs of unit vectors; none of them holds the interpreter's lock.

    Attributes
    ----------
    cosines
        ``(unit, first, second, found, start, stop)``: inner products of pairs `start` to `stop` of rows of unit,
        float64, shape (n, n_features), to `found`.
    tails
        ``(scores, windows, counts, lower, upper, start, stop)``: for lines `start` to `stop` of scores, float32, shape
        (n_lines, n_columns), and the columns beyond each line's own number: how many scores lie below and within each
        of two windows, shape (2, 2), ends included, to line `start` of `counts`, shape (n_lines, 4): below and within
        the first, then the second. The places, line × n_columns + column, of those within the first go to `lower`, of
        those within the second to `upper`, shape (n_lines × n_columns,), from start × n_columns on; what stands there
        beyond their number means nothing.
    """

    cosines: Callable[..., None]
    tails: Callable[..., None]


_lock = threading.Lock()
_made: list[Kernels] = []
_made_for_pairs: list[PairKernels] = []


def compiled() -> Kernels:
    """Compile the loops (one to two seconds, once a process), or take them as they are."""
    with _lock:
        if not _made:
            _made.append(_compile())
        return _made[0]


def compiled_for_pairs() -> PairKernels:
    """Compile the loops over pairs (about a second, once a process), or take them as they are."""
    # Apart from the others, so that a click on a large map never waits for them.
    with _lock:
        if not _made_for_pairs:
            _made_for_pairs.append(_compile_for_pairs())
        return _made_for_pairs[0]


def compiled_already() -> Kernels | None:
    """Take the compiled loops if they stand ready; never waits."""
    return _made[0] if _made else None


def compile_meanwhile() -> threading.Thread:
    """Compile in a thread of its own, so that nobody waits for it."""
    # Not a daemon: an interpreter that ends in the middle of a compilation may crash.
    thread = threading.Thread(target=compiled, name="compile-kernels")
    thread.start()
    return thread


def thread_count() -> int:
    """Threads worth starting: one a core that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST_THREADS)


def make_pool() -> ThreadPoolExecutor:
    """Make the threads for one call. numba's own can't be used: its default pool fails when two sessions enter it."""
    return ThreadPoolExecutor(thread_count())


def run_in_parts(pool: Executor, kernel: Callable[..., None], n_rows: int, *arguments: Any) -> None:
    """Run a kernel whose last two arguments are the first and the last row, each thread on a part of the rows."""
    bounds = np.linspace(0, n_rows, thread_count() + 1).astype(np.int64).tolist()
    for done in [pool.submit(kernel, *arguments, start, stop) for start, stop in pairwise(bounds) if start < stop]:
        done.result()


def whole_tiles(n: int) -> int:
    """Round a number of columns up to whole tiles."""
    return -(-n // TILE) * TILE


def _compile() -> Kernels:
    import numba
    from numba import float32, float64, int32, int64, void

    # The arrays of a map are read-only, which is part of an array's type here.
    profiles_type = numba.types.Array(float32, 2, "C", readonly=True)
    norms_type = numba.types.Array(float64, 1, "C", readonly=True)
    # Sums may be reordered, which is what fills the registers; NaN and infinity keep their meaning.
    reordered = {"reassoc", "contract"}

    @numba.njit(nogil=True, fastmath=reordered)
    def product(profiles, row, target):  # type: ignore[no-untyped-def]  # pragma: no cover
        total = 0.0
        for feature in range(profiles.shape[1]):
            total += np.float64(profiles[row, feature]) * target[feature]
        return total

    @numba.njit(void(profiles_type, int64, float64[::1], int64, int64), nogil=True)
    def products(profiles, row, found, start, stop):  # type: ignore[no-untyped-def]  # pragma: no cover
        target = profiles[row].astype(np.float64)
        for other in range(start, stop):
            found[other] = product(profiles, other, target)

    @numba.njit(nogil=True)
    def threshold(values, least):  # type: ignore[no-untyped-def]  # pragma: no cover
        # A number that at least `least` of the values reach, and hardly more: found by halving, since counting
        # is one instruction for many values where sorting branches on each.
        low, high = np.float32(np.inf), np.float32(-np.inf)
        for place in range(values.size):
            value = values[place]
            low = value if -np.inf < value < low else low
            high = value if value > high else high
        for _ in range(_HALVINGS):
            middle = np.float32(0.5) * low + np.float32(0.5) * high
            if not low < middle < high:
                break
            reached = np.int32(0)
            for place in range(values.size):
                reached += np.int32(1) if values[place] >= middle else np.int32(0)
            if reached < least:
                high = middle
            else:
                low = middle
                if reached <= least + least // 16:
                    break
        return low

    @numba.njit(void(float32[:, ::1], int64[::1], int64, float32, int32[:, ::1], int64[::1], int64, int64), nogil=True)
    def candidates(scores, own, least, margin, rows, counts, start, stop):  # type: ignore[no-untyped-def]  # pragma: no cover
        n_tiles = scores.shape[1] // TILE
        capacity = rows.shape[1]
        largest = np.empty(n_tiles * LANES, dtype=np.float32)
        for line in range(start, stop):
            scores[line, own[line]] = -np.inf
            for tile in range(n_tiles):
                for lane in range(LANES):
                    largest[tile * LANES + lane] = scores[line, tile * TILE + lane]
                for depth in range(1, DEPTH):
                    at = tile * TILE + depth * LANES
                    for lane in range(LANES):
                        score, so_far = scores[line, at + lane], largest[tile * LANES + lane]
                        largest[tile * LANES + lane] = score if score > so_far else so_far
            # As many groups as `least` reach it, so at least as many scores do.
            reached = threshold(largest, least) - margin
            if reached == -np.inf:
                counts[line] = -1
                continue
            count = 0
            for group in range(n_tiles * LANES):
                if largest[group] >= reached:
                    first = group // LANES * TILE + group % LANES
                    for column in range(first, first + TILE, LANES):
                        if scores[line, column] >= reached:
                            if count < capacity:
                                rows[line, count] = column
                            count += 1
            counts[line] = count if count <= capacity else -1

    outcome = (int32[:, ::1], int64[::1], float64[:, ::1], int64, int64)

    @numba.njit(void(profiles_type, norms_type, int64[::1], float64, float64, *outcome), nogil=True)
    def refine(profiles, norms, queries, sign, scale, rows, counts, values, start, stop):  # type: ignore[no-untyped-def]  # pragma: no cover
        for line in range(start, stop):
            query = queries[line]
            target = profiles[query].astype(np.float64)
            for place in range(counts[line]):
                row = rows[line, place]
                cosine = sign * product(profiles, row, target) / (norms[row] * norms[query])
                value = np.rint(cosine * scale) / scale
                before = place
                while before > 0 and (
                    values[line, before - 1] < value
                    or (values[line, before - 1] == value and rows[line, before - 1] > row)
                ):
                    values[line, before] = values[line, before - 1]
                    rows[line, before] = rows[line, before - 1]
                    before -= 1
                values[line, before], rows[line, before] = value, row

    return Kernels(products, candidates, refine)


def _compile_for_pairs() -> PairKernels:
    import numba
    from numba import float32, float64, int64, void

    table, bounds = float64[:, ::1], (int64, int64)

    @numba.njit(
        void(table, int64[::1], int64[::1], float64[::1], *bounds), nogil=True, fastmath={"reassoc", "contract"}
    )
    def cosines(unit, first, second, found, start, stop):  # type: ignore[no-untyped-def]  # pragma: no cover
        for pair in range(start, stop):
            total = 0.0
            for feature in range(unit.shape[1]):
                total += unit[first[pair], feature] * unit[second[pair], feature]
            found[pair] = total

    scored = float32[:, ::1]

    @numba.njit(void(scored, scored, int64[:, ::1], int64[::1], int64[::1], *bounds), nogil=True)
    def tails(scores, windows, counts, lower, upper, start, stop):  # type: ignore[no-untyped-def]  # pragma: no cover
        first_low, first_high, second_low, second_high = windows[0, 0], windows[0, 1], windows[1, 0], windows[1, 1]
        n_columns = scores.shape[1]
        at_lower, at_upper = start * n_columns, start * n_columns
        below_first, below_second = 0, 0
        holds = np.empty(n_columns // DEPTH + 1, dtype=np.int32)
        for line in range(start, stop):
            # Slices, since an index that begins beyond 0 keeps the loops from taking many scores at once.
            beyond, before = scores[line, line + 1 :], line * n_columns + line + 1
            first_count, second_count = np.int32(0), np.int32(0)
            for place in range(beyond.size):
                first_count += np.int32(1) if beyond[place] < first_low else np.int32(0)
                second_count += np.int32(1) if beyond[place] < second_low else np.int32(0)
            below_first += int(first_count)
            below_second += int(second_count)
            # Which groups of every n_groups-th score hold one within a window; few do.
            n_groups = beyond.size // DEPTH
            flags = holds[:n_groups]
            flags[:] = 0
            for depth in range(DEPTH):
                part = beyond[depth * n_groups : (depth + 1) * n_groups]
                for group in range(n_groups):
                    score = part[group]
                    within_first = (score >= first_low) & (score <= first_high)
                    flags[group] |= np.int32(within_first | ((score >= second_low) & (score <= second_high)))
            for group in range(n_groups + 1):
                # Those that make no whole group are looked at one by one.
                if group < n_groups and flags[group] == 0:
                    continue
                begin, step = (group, n_groups) if group < n_groups else (DEPTH * n_groups, 1)
                end = DEPTH * n_groups if group < n_groups else beyond.size
                for place in range(begin, end, step):
                    score = beyond[place]
                    if first_low <= score <= first_high:
                        lower[at_lower] = before + place
                        at_lower += 1
                    if second_low <= score <= second_high:
                        upper[at_upper] = before + place
                        at_upper += 1
        counts[start, 0], counts[start, 1] = below_first, at_lower - start * n_columns
        counts[start, 2], counts[start, 3] = below_second, at_upper - start * n_columns

    return PairKernels(cosines, tails)
