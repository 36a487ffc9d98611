"""Where the tails of all cosines of a map begin, exactly, without keeping them; and which pairs lie in the tails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import numpy as np
import numpy.typing as npt

from explorer import kernels
from explorer.aggregate import PerturbationMap
from explorer.errors import InputError
from explorer.relate import COMPILED_SCORES

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]
Tails = tuple[float, float]
# Number of values below a window, and the values within it.
_Found = tuple[int, Floats]
TAILS: Tails = (0.05, 0.95)
# Cosines are computed in float64 and rounded to this many decimals. A sum depends on its order in the last bits, so
# without it a known pair would lie above or below its own cosine among all pairs, profiles that are equal would not
# tie, and a constant map would score by rounding errors instead of 0.
COSINE_DECIMALS = 9
_ROUNDING = 10.0**-COSINE_DECIMALS
# Half the distance from 1 to the next float32.
_HALF_STEP = 2.0**-24
# Scores of all pairs, some lines at a time: a block that two threads work on for a while.
_BLOCK_BYTES = 32 * 2**20
_SMALL_BLOCK_BYTES = 4 * 2**20
# Values of gathered pairs at once; they stay in the processor's cache.
_GATHERED_VALUES = 2**18
# Up to so many pairs all are collected; beyond, n_pairs ** (2 / 3) are drawn to see where to look.
_FEW_PAIRS = 2**17
# Half widths of the windows round an order statistic, in standard errors of the draw; the last holds everything.
_WIDTHS = (5.0, 25.0, np.inf)
# Collected values beyond this number are kept as different ones and their numbers, since a map may be all ties.
_MOST_COLLECTED = 2**23
_SEED_OF_SAMPLE = 0


@dataclass(frozen=True, slots=True)
class NullThresholds:
    """Where the tails of all cosines of a map begin: a pair is a hit below `lower` or above `upper`, never on them.

    Attributes
    ----------
    lower, upper
        Two of the cosines themselves, to nine decimals; infinite where a tail holds all, NaN where there are none.
    n_null
        Number of pairs of perturbations with a profile longer than zero.
    tails
        The two shares that they belong to.
    """

    lower: float
    upper: float
    n_null: int
    tails: Tails = TAILS


def hits_in_tails(null: npt.ArrayLike, query: npt.ArrayLike, *, tails: Tails = TAILS) -> tuple[Flags, Flags]:
    """Tell which values lie in the tails of others.

    Parameters
    ----------
    null
        The others, shape (n_null,).
    query
        Values, shape (n_query,); NaN lies in no tail.
    tails
        ``(lo, hi)``: a value is in the lower tail when at most the share `lo` of the others is below or equal to
        it, and in the upper tail when at least the share `hi` is below it.

    Returns
    -------
    tuple
        Whether each is in the lower tail, and in the upper, shape (n_query,).
    """
    values = np.sort(np.asarray(null, dtype=np.float64).ravel())
    asked = np.asarray(query, dtype=np.float64)
    if not len(values):
        return np.zeros(asked.shape, dtype=bool), np.zeros(asked.shape, dtype=bool)
    to_lower, to_upper = _tail_ranks(len(values), tails)
    lower = values[to_lower] if to_lower < len(values) else np.inf
    upper = values[to_upper] if to_upper >= 0 else -np.inf
    return asked < lower, asked > upper


def null_thresholds(perturbation_map: PerturbationMap, *, tails: Tails = TAILS) -> NullThresholds:
    """Find where the tails of all cosines of a map begin, exactly, in one pass that keeps no matrix of them.

    A random draw of pairs says where the two order statistics lie; the pass counts what lies below a narrow window
    round each, and collects what lies within, which the order statistic is then taken from. Where it is not within
    (once in a million maps), the pass is repeated with wider windows.

    Parameters
    ----------
    perturbation_map
        The map; profiles of length zero have no cosine and are left out.
    tails
        As in `hits_in_tails`.

    Raises
    ------
    InputError
        When the shares are not two numbers from 0 to 1 in order.
    """
    unit = np.ascontiguousarray(_unit(perturbation_map)[perturbation_map.norms > 0])
    n_null = len(unit) * (len(unit) - 1) // 2
    to_lower, to_upper = _tail_ranks(n_null, tails)
    if n_null == 0:
        return NullThresholds(np.nan, np.nan, 0, tails)
    lower, upper = _order_statistics(unit, (min(to_lower, n_null - 1), max(to_upper, 0)))
    return NullThresholds(
        lower if to_lower < n_null else np.inf, upper if to_upper >= 0 else -np.inf, n_null, (tails[0], tails[1])
    )


def pair_cosines(perturbation_map: PerturbationMap, first: Rows, second: Rows) -> Floats:
    """Compute cosines of pairs of rows, to nine decimals, shape (n_pairs,); NaN where a profile has length zero."""
    found = np.round(_products(_unit(perturbation_map), first, second), COSINE_DECIMALS)
    silent = perturbation_map.norms == 0
    found[silent[first] | silent[second]] = np.nan
    return found


def pair_hits(
    perturbation_map: PerturbationMap, first: Rows, second: Rows, *, thresholds: NullThresholds
) -> tuple[Flags, Flags]:
    """Tell which pairs of rows lie in the lower and in the upper tail of all cosines, shape (n_pairs,) each."""
    found = pair_cosines(perturbation_map, first, second)
    return found < thresholds.lower, found > thresholds.upper


def _tail_ranks(n_null: int, tails: Tails) -> tuple[int, int]:
    """Ranks, from 0, of the values that a hit must be below, and above; n_null and −1 where any value is."""
    if len(tails) != 2 or not 0 <= tails[0] <= tails[1] <= 1:
        msg = f"tails = {tails!r}: give two shares from 0 to 1, the lower one first, such as (0.05, 0.95)"
        raise InputError(msg)
    low, high = tails
    below, needed = floor(low * n_null), ceil(high * n_null)
    # The shares are compared as quotients, as published, which may round otherwise than the products above.
    while below < n_null and (below + 1) / n_null <= low:
        below += 1
    while below > 0 and below / n_null > low:
        below -= 1
    while needed > 0 and (needed - 1) / n_null >= high:
        needed -= 1
    while needed < n_null and needed / n_null < high:
        needed += 1
    return below, needed - 1


def _unit(perturbation_map: PerturbationMap) -> Floats:
    """Profiles of length one, float64; of length zero where they are."""
    norms = perturbation_map.norms
    return np.asarray(perturbation_map.profiles / np.where(norms > 0, norms, 1.0)[:, None])


def _products(unit: Floats, first: Rows, second: Rows) -> Floats:
    """Inner products of pairs of rows."""
    found = np.empty(len(first))
    if _is_large(unit):
        pairs = (np.ascontiguousarray(rows, dtype=np.int64).copy() for rows in (first, second))
        with kernels.make_pool() as pool:
            kernels.run_in_parts(pool, kernels.compiled_for_pairs().cosines, len(found), unit, *pairs, found)
        return found
    step = max(1, _GATHERED_VALUES // unit.shape[1])
    for start in range(0, len(found), step):
        part = slice(start, start + step)
        found[part] = np.einsum("ij,ij->i", unit[first[part]], unit[second[part]])
    return found


def _order_statistics(unit: Floats, ranks: tuple[int, int]) -> tuple[float, float]:
    """Two of the cosines of all pairs, by their rank from 0.

    Exact, although large maps are looked through in float32: such a score is off by at most `error` (rounding of
    n_features products of unit vectors, in any order; Higham 2002, doi:10.1137/1.9780898718027), those within a
    window are computed again in float64, and one of them is taken only where it lies further than that from the
    ends of the window, so that all that was counted as below is below, and all beyond is above.
    """
    error = _ROUNDING
    if _is_large(unit):
        n_rounded = (unit.shape[1] + 4) * _HALF_STEP
        error += n_rounded / (1 - n_rounded)
    n_pairs = len(unit) * (len(unit) - 1) // 2
    sample = np.zeros(0)
    if n_pairs > _FEW_PAIRS:
        rng = np.random.default_rng(_SEED_OF_SAMPLE)
        n_drawn = int(n_pairs ** (2 / 3))
        first, second = rng.integers(len(unit), size=n_drawn), rng.integers(len(unit) - 1, size=n_drawn)
        sample = np.sort(_products(unit, first, second + (second >= first)))
    for width in _WIDTHS:
        # To float32, so that scores of either precision are compared with the very same numbers.
        ends = [_window(sample, (rank + 1) / n_pairs, width=width, slack=2 * error) for rank in ranks]
        windows = np.array(ends, dtype=np.float32)
        below, inside = _counted(unit, windows)
        found = [
            _select(rank - n_below, part, window, error=error)
            for rank, n_below, part, window in zip(ranks, below, inside, windows.tolist(), strict=True)
        ]
        if found[0] is not None and found[1] is not None:
            return found[0], found[1]
    msg = "an order statistic must lie among all values"
    raise AssertionError(msg)


def _is_large(unit: Floats) -> bool:
    """Whether compiled loops pay."""
    return len(unit) ** 2 >= COMPILED_SCORES


def _window(sample: Floats, share: float, *, width: float, slack: float) -> tuple[float, float]:
    """Where the value lies which a share of all is below, from a sorted draw of them."""
    n = len(sample)
    if n == 0 or not np.isfinite(width):
        return -np.inf, np.inf
    reach = width * np.sqrt(n * share * (1 - share)) + 2
    low, high = floor(share * n - reach), ceil(share * n + reach)
    return (
        float(sample[low]) - slack if low >= 0 else -np.inf,
        float(sample[high]) + slack if high < n else np.inf,
    )


class _Collected:
    """Values, rounded; where there are very many, different ones and how many there are of each."""

    def __init__(self) -> None:
        self.fresh: list[Floats] = []
        self.n_fresh = 0
        self.values: Floats = np.zeros(0)
        self.counts: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def add(self, values: Floats) -> None:
        """Keep values."""
        self.fresh.append(np.round(values, COSINE_DECIMALS))
        self.n_fresh += len(values)
        if self.n_fresh > _MOST_COLLECTED:
            self._merge()

    def at(self, place: int) -> float | None:
        """Take the value at a place of all in order, from 0; None where there are not so many."""
        if not 0 <= place < self.n_fresh + int(self.counts.sum()):
            return None
        if not len(self.values):
            return float(np.partition(np.concatenate(self.fresh), place)[place])
        self._merge()
        return float(self.values[np.searchsorted(np.cumsum(self.counts), place, side="right")])

    def _merge(self) -> None:
        every = np.concatenate([self.values, *self.fresh])
        weights = np.concatenate([self.counts, np.ones(self.n_fresh, dtype=np.int64)])
        self.values, place = np.unique(every, return_inverse=True)
        self.counts = np.bincount(place, weights=weights, minlength=len(self.values)).astype(np.int64)
        self.fresh, self.n_fresh = [], 0


def _select(place: int, inside: _Collected, window: list[float], *, error: float) -> float | None:
    """Take the value at a place, from 0, of those within a window; None where it can't be told."""
    value, (low, high) = inside.at(place), window
    return value if value is not None and low + error <= value <= high - error else None


def _counted(unit: Floats, windows: npt.NDArray[np.float32]) -> tuple[list[int], tuple[_Collected, _Collected]]:
    """Count the cosines of all pairs below two windows, and collect those within each."""
    below, inside = [0, 0], (_Collected(), _Collected())
    for found in _scans_compiled(unit, windows) if _is_large(unit) else _scans(unit, windows):
        for number, (n_below, values) in enumerate(found):
            below[number] += n_below
            inside[number].add(values)
    return below, inside


def _upper_triangle(unit: npt.NDArray[Any], n_values: int) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Cosines of some rows with themselves and all later rows, a block at a time, and the first row.

    In line i of a block those beyond column i are of pairs not seen before. A block is overwritten by the next.
    """
    n, start = len(unit), 0
    values = np.empty(max(n_values, n), dtype=unit.dtype)
    while start < n:
        stop = min(n, start + max(1, n_values // (n - start)))
        scores = values[: (stop - start) * (n - start)].reshape(stop - start, n - start)
        np.matmul(unit[start:stop], unit[start:].T, out=scores)
        yield start, scores
        start = stop


def _scans(unit: Floats, windows: npt.NDArray[np.float32]) -> Iterator[list[_Found]]:
    """Count below each window and collect within it, a block at a time."""
    for _, scores in _upper_triangle(unit, _SMALL_BLOCK_BYTES // 8):
        for line in range(len(scores)):
            # NaN compares as false.
            scores[line, : line + 1] = np.nan
        yield [
            (int(np.count_nonzero(scores < low)), scores[(scores >= low) & (scores <= high)])
            for low, high in windows.tolist()
        ]


def _scans_compiled(unit: Floats, windows: npt.NDArray[np.float32]) -> Iterator[list[_Found]]:
    """Do the same as `_scans` with scores in float32; what lies within the windows is computed again."""
    loops, rounded = kernels.compiled_for_pairs(), unit.astype(np.float32)
    n_values = max(_BLOCK_BYTES // 4, len(unit))
    # Hardly more of the room is ever touched than is found.
    room = (np.empty(n_values, dtype=np.int64), np.empty(n_values, dtype=np.int64))
    with kernels.make_pool() as pool:
        for first, scores in _upper_triangle(rounded, n_values):
            height, width = scores.shape
            counts = np.zeros((height, 4), dtype=np.int64)
            kernels.run_in_parts(pool, loops.tails, height, scores, windows, counts, *room)
            starts = np.flatnonzero(counts.any(axis=1)).tolist()
            found = []
            for number, places in enumerate(room):
                below, within = counts[:, 2 * number], counts[:, 2 * number + 1]
                parts = [places[start * width : start * width + int(within[start])] for start in starts]
                lines, columns = np.divmod(np.concatenate([places[:0], *parts]), width)
                values = np.empty(len(lines))
                kernels.run_in_parts(pool, loops.cosines, len(lines), unit, lines + first, columns + first, values)
                found.append((int(below.sum()), values))
            yield found
