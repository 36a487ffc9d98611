"""How many known pairs lie in the tails of all cosines of a map; and how many pairs like them but for being known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil, floor
from typing import Any

import numpy as np
import numpy.typing as npt

from explorer import kernels
from explorer.aggregate import PerturbationMap
from explorer.errors import InputError, shown
from explorer.known import KnownPairs
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
N_EFFECT_BINS = 10
N_DEGREE_BINS = 4
# Draws of a control pair before all that there are get listed.
_DRAWS = 32
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


@dataclass(frozen=True, slots=True)
class Recall:
    """Share of known pairs in the tails of all cosines of a map; more is better, NaN where there is no pair.

    Attributes
    ----------
    both, upper, lower
        Share in either tail (as published), in the upper (similar) and in the lower one (opposite).
    macro
        Mean over groups of the share of the group's own pairs in either tail: every group counts the same, where
        otherwise a few large ones decide.
    n_pairs, n_groups
        Numbers of pairs, and of groups that have one.
    chance
        Share that random pairs would have.
    source
        Name of the source.
    n_silent
        Pairs of which a profile has length zero: they have no cosine, and count as missed.
    n_degree_relaxed, n_effect_relaxed, n_unmatched
        Of a matched control: pairs that were matched on effect size alone, on neither, and not at all, since no
        other pair was left. The last are not among the pairs.
    """

    both: float
    upper: float
    lower: float
    macro: float
    n_pairs: int
    n_groups: int
    chance: float
    source: str = ""
    n_silent: int = 0
    n_degree_relaxed: int = 0
    n_effect_relaxed: int = 0
    n_unmatched: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class ControlPairs:
    """Random pairs that are like the known pairs of a source, but not known.

    Attributes
    ----------
    first, second
        Rows of the map, one pair for each known pair, in its order; −1 where there is none.
    relaxed
        What the pair is matched on: 0 effect size and degree, 1 effect size, 2 nothing but being annotated.
    """

    first: Rows = field(repr=False)
    second: Rows = field(repr=False)
    relaxed: npt.NDArray[np.int8] = field(repr=False)


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


def relationship_recall(
    perturbation_map: PerturbationMap,
    known: Sequence[KnownPairs],
    *,
    tails: Tails = TAILS,
    thresholds: NullThresholds | None = None,
) -> tuple[Recall, ...]:
    """Measure which share of the known pairs of each source lies in the tails of all cosines of a map.

    Parameters
    ----------
    perturbation_map
        The map.
    known
        Sources, looked up in it by `known_pairs`.
    tails
        As in `hits_in_tails`.
    thresholds
        Of this map and these tails, where they have been found already.

    Returns
    -------
    tuple of Recall
        One for each source. A known pair of which a profile has length zero counts as missed.

    Raises
    ------
    InputError
        When a source was looked up in another map, or the thresholds are of other tails.

    References
    ----------
    Celik et al. 2024, doi:10.1371/journal.pcbi.1012463 (the benchmark, with both tails summed).
    """
    _check_same_map(perturbation_map, known)
    thresholds = _checked(perturbation_map, tails, thresholds)
    silent = perturbation_map.norms == 0
    found = []
    for source in known:
        lower, upper = pair_hits(perturbation_map, source.first, source.second, thresholds=thresholds)
        n_silent = int((silent[source.first] | silent[source.second]).sum())
        found.append(_summary(source, lower, upper, thresholds=thresholds, n_silent=n_silent))
    return tuple(found)


def matched_control(
    perturbation_map: PerturbationMap,
    known: Sequence[KnownPairs],
    *,
    tails: Tails = TAILS,
    thresholds: NullThresholds | None = None,
    seed: int = 0,
) -> tuple[Recall, ...]:
    """Measure the recall that random pairs have which are like the known ones but for being known.

    Two strong perturbations are often similar or opposite whatever they do, so recall says little until it is held
    against pairs of the same strength: `control_pairs` says how they are drawn.

    Parameters
    ----------
    perturbation_map, known, tails, thresholds
        As in `relationship_recall`.
    seed
        Of the draw.

    Returns
    -------
    tuple of Recall
        One for each source; macro is over the controls of each group's own pairs.

    Raises
    ------
    InputError
        As `relationship_recall`.
    """
    thresholds = _checked(perturbation_map, tails, thresholds)
    silent = perturbation_map.norms == 0
    found = []
    for source, drawn in zip(known, control_pairs(perturbation_map, known, seed=seed), strict=True):
        kept = drawn.first >= 0
        first, second = drawn.first[kept], drawn.second[kept]
        lower, upper = np.zeros(len(kept), dtype=bool), np.zeros(len(kept), dtype=bool)
        lower[kept], upper[kept] = pair_hits(perturbation_map, first, second, thresholds=thresholds)
        found.append(
            _summary(
                source,
                lower,
                upper,
                thresholds=thresholds,
                kept=kept,
                n_silent=int((silent[first] | silent[second]).sum()),
                n_degree_relaxed=int((kept & (drawn.relaxed == 1)).sum()),
                n_effect_relaxed=int((kept & (drawn.relaxed == 2)).sum()),
                n_unmatched=int((~kept).sum()),
            )
        )
    return tuple(found)


def control_pairs(
    perturbation_map: PerturbationMap, known: Sequence[KnownPairs], *, seed: int = 0
) -> tuple[ControlPairs, ...]:
    """Draw for every known pair of each source a random pair like it that no source knows.

    Each member is replaced by a perturbation that the same source annotates, of the same tenth of the map by length
    of the profile (profiles of length zero apart) and the same quarter of the annotated by number of known
    partners. Where all such pairs are known the number of partners is given up first, then the length.

    Parameters
    ----------
    perturbation_map, known
        As in `relationship_recall`.
    seed
        Of the draw; every allowed pair has the same probability.
    """
    _check_same_map(perturbation_map, known)
    n = perturbation_map.n_perturbations
    if not known:
        return ()
    taken = np.unique(np.concatenate([_codes(source.first, source.second, n) for source in known]))
    effect = _effect_bins(perturbation_map.norms)
    rng = np.random.default_rng(seed)
    return tuple(_drawn(source, effect, taken, rng=rng) for source in known)


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


def _check_same_map(perturbation_map: PerturbationMap, known: Sequence[KnownPairs]) -> None:
    for source in known:
        if source.names != perturbation_map.names:
            msg = (
                f"{shown(source.name)} was looked up among {len(source.names):,} other perturbations than the "
                f"{perturbation_map.n_perturbations:,} of the map: call known_pairs with the names of this map"
            )
            raise InputError(msg)


def _checked(perturbation_map: PerturbationMap, tails: Tails, thresholds: NullThresholds | None) -> NullThresholds:
    """Take the thresholds given, or find them."""
    if thresholds is None:
        return null_thresholds(perturbation_map, tails=tails)
    if tuple(thresholds.tails) != tuple(tails):
        msg = f"the thresholds are those of the tails {thresholds.tails}, asked for is {tails}: give the same to both"
        raise InputError(msg)
    return thresholds


def _summary(
    source: KnownPairs,
    lower: Flags,
    upper: Flags,
    *,
    thresholds: NullThresholds,
    kept: Flags | None = None,
    n_silent: int = 0,
    n_degree_relaxed: int = 0,
    n_effect_relaxed: int = 0,
    n_unmatched: int = 0,
) -> Recall:
    """Count hits over pairs and over groups."""
    kept = np.ones(len(lower), dtype=bool) if kept is None else kept
    hit, n_pairs = (lower | upper) & kept, int(kept.sum())
    own_hits, own = _within_groups(source, hit), _within_groups(source, kept)
    has_pairs = own > 0

    def share(flags: Flags) -> float:
        return float((flags & kept).sum() / n_pairs) if n_pairs and thresholds.n_null else float("nan")

    some = bool(has_pairs.any()) and thresholds.n_null > 0
    return Recall(
        both=share(hit),
        upper=share(upper),
        lower=share(lower),
        macro=float((own_hits[has_pairs] / own[has_pairs]).mean()) if some else float("nan"),
        n_pairs=n_pairs,
        n_groups=int(has_pairs.sum()),
        chance=round(thresholds.tails[0] + 1 - thresholds.tails[1], COSINE_DECIMALS),
        source=source.name,
        n_silent=n_silent,
        n_degree_relaxed=n_degree_relaxed,
        n_effect_relaxed=n_effect_relaxed,
        n_unmatched=n_unmatched,
    )


def _within_groups(source: KnownPairs, chosen: Flags) -> Floats:
    """Count the chosen pairs with both members in each group, shape (n_groups,)."""
    from scipy import sparse

    groups = tuple(source.groups.values())
    if not groups:
        return np.zeros(0)
    n, owner = len(source.names), np.repeat(np.arange(len(groups)), [len(rows) for rows in groups])
    member = sparse.csr_matrix((np.ones(len(owner)), (np.concatenate(groups), owner)), shape=(n, len(groups)))
    first, second = source.first[chosen], source.second[chosen]
    pairs = sparse.csr_matrix((np.ones(len(first)), (first, second)), shape=(n, n))
    return np.asarray((pairs @ member).multiply(member).sum(axis=0)).ravel()


def _effect_bins(norms: Floats) -> Rows:
    """Tenth of the map, from 1, by length of the profile; 0 for a length of zero."""
    bins = np.zeros(len(norms), dtype=np.intp)
    has_effect = norms > 0
    if has_effect.any():
        edges = np.quantile(norms[has_effect], np.arange(1, N_EFFECT_BINS) / N_EFFECT_BINS)
        bins[has_effect] = 1 + np.searchsorted(edges, norms[has_effect], side="left")
    return bins


def _codes(first: Rows, second: Rows, n: int) -> npt.NDArray[np.int64]:
    """One number for each unordered pair of rows."""
    return np.asarray(np.minimum(first, second) * np.int64(n) + np.maximum(first, second), dtype=np.int64)


def _drawn(source: KnownPairs, effect: Rows, taken: npt.NDArray[np.int64], *, rng: np.random.Generator) -> ControlPairs:
    """Draw one pair for each known pair, giving up what it is matched on where nothing else is left."""
    annotated = source.annotated
    if not len(annotated):
        return ControlPairs(source.first, source.second, np.zeros(0, dtype=np.int8))
    edges = np.quantile(source.degree[annotated], np.arange(1, N_DEGREE_BINS) / N_DEGREE_BINS)
    degree = np.searchsorted(edges, source.degree, side="left")
    first, second = np.full(source.n_pairs, -1), np.full(source.n_pairs, -1)
    relaxed = np.zeros(source.n_pairs, dtype=np.int8)
    left = np.arange(source.n_pairs)
    for level, cell in enumerate((effect * N_DEGREE_BINS + degree, effect, np.zeros_like(effect))):
        if not len(left):
            break
        one, other = _pairs_of_cells(cell, annotated, (source.first[left], source.second[left]), taken=taken, rng=rng)
        first[left], second[left], relaxed[left] = one, other, level
        left = left[one < 0]
    return ControlPairs(first, second, relaxed)


def _pairs_of_cells(
    cell: Rows,
    candidates: Rows,
    like: tuple[Rows, Rows],
    *,
    taken: npt.NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[Rows, Rows]:
    """Draw for each pair another one whose members lie in the same cells, not taken; −1 where there is none."""
    n = len(cell)
    members = candidates[np.argsort(cell[candidates], kind="stable")]
    n_cells = int(cell.max()) + 1
    size = np.bincount(cell[candidates], minlength=n_cells)
    begin = np.cumsum(size) - size
    own, others = cell[like[0]], cell[like[1]]
    first, second = np.full(len(own), -1), np.full(len(own), -1)

    def allowed(one: Rows, other: Rows) -> Flags:
        code = _codes(one, other, n)
        place = np.minimum(np.searchsorted(taken, code), len(taken) - 1)
        return np.asarray((one != other) & (taken[place] != code))

    left = np.arange(len(own))
    for _ in range(_DRAWS):
        if not len(left):
            return first, second
        one, other = (
            members[begin[part] + np.floor(rng.random(len(left)) * size[part]).astype(np.intp)]
            for part in (own[left], others[left])
        )
        good = allowed(one, other)
        first[left[good]], second[left[good]] = one[good], other[good]
        left = left[~good]
    # Nearly all pairs of these cells are known: list those that are not.
    cells = own * n_cells + others
    for number in np.unique(cells[left]).tolist():
        waiting = left[cells[left] == number]
        here, there = (members[begin[part] : begin[part] + size[part]] for part in divmod(number, n_cells))
        one, other = (part.ravel() for part in np.meshgrid(here, there, indexing="ij"))
        free = np.flatnonzero(allowed(one, other))
        if len(free):
            chosen = free[rng.integers(len(free), size=len(waiting))]
            first[waiting], second[waiting] = one[chosen], other[chosen]
    return first, second
