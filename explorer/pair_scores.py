"""How near all pairs of a map are once hubs are corrected for, as normal scores of their rank."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from explorer.aggregate import PerturbationMap
from explorer.errors import InputError
from explorer.relate import TIE_DECIMALS, neighborhoods

# Highest cosines whose mean says how crowded it is around a perturbation.
N_CROWD = 10
# Scores are counted and compared on this grid, on which cosines are equal where they are to six decimals.
_GRID = 10**TIE_DECIMALS
_BLOCK_VALUES = 2**21

Rows = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class PairScores:
    """Similarity of all pairs of one map, corrected for hubs, and what share of all pairs is less similar.

    Attributes
    ----------
    perturbation_map
        The map.
    crowding
        r, mean of the ten highest cosines of each perturbation, shape (n_perturbations,); NaN where a profile has
        length zero.
    n_pairs
        Pairs that have a score.
    """

    perturbation_map: PerturbationMap
    crowding: Floats = field(repr=False)
    n_pairs: int
    _unit: Floats = field(repr=False)
    _lowest: int = field(repr=False)
    _above: Floats = field(repr=False)
    _normal: Floats = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Perturbations of the map, sorted."""
        return self.perturbation_map.names

    def csls(self, first: Rows, second: Rows) -> Floats:
        """Score pairs of rows: cosine less the mean crowding of the two; NaN where a profile has length zero."""
        return np.asarray(self._steps(first, second)[0] / _GRID)

    def ranks(self, first: Rows, second: Rows) -> Floats:
        """Rank pairs of rows among all pairs, 1 the nearest; equal ones share their mean rank."""
        return self._looked_up(self._above, first, second)

    def normal_scores(self, first: Rows, second: Rows) -> Floats:
        """Look up the normal score of pairs of rows: 0 in the middle of all pairs, larger is nearer."""
        return self._looked_up(self._normal, first, second)

    def normal_rows(self, rows: Rows) -> Floats:
        """Score some perturbations with all, normal, shape (n_rows, n_perturbations); NaN with themselves."""
        scores = self._unit[rows] @ self._unit.T - 0.5 * (self.crowding[rows][:, None] + self.crowding)
        scores[np.arange(len(rows)), rows] = np.nan
        return self._of_scores(scores)

    def normal_block(self, start: int, stop: int) -> Floats:
        """Score rows with themselves and all later rows, normal, shape (stop − start, n_perturbations − start).

        NaN where a pair is met elsewhere (row with itself, or with one before it), or has no score.
        """
        scores = self._unit[start:stop] @ self._unit[start:].T
        scores -= 0.5 * (self.crowding[start:stop][:, None] + self.crowding[start:])
        scores[:, : stop - start][np.tri(stop - start, dtype=bool)] = np.nan
        return self._of_scores(scores)

    def _of_scores(self, scores: Floats) -> Floats:
        told = ~np.isnan(scores)
        place = np.rint(np.where(told, scores, 0.0) * _GRID).astype(np.int64) - self._lowest
        return np.where(told, self._normal[np.clip(place, 0, len(self._normal) - 1)], np.nan)

    def _steps(self, first: Rows, second: Rows) -> tuple[Floats, Flags]:
        cosines = np.einsum("ij,ij->i", self._unit[first], self._unit[second])
        scores = cosines - 0.5 * (self.crowding[first] + self.crowding[second])
        return np.rint(scores * _GRID), ~np.isnan(scores)

    def _looked_up(self, table: Floats, first: Rows, second: Rows) -> Floats:
        steps, told = self._steps(first, second)
        # A product summed in another order may fall on the next step, where no pair was counted.
        place = np.clip(np.where(told, steps, 0).astype(np.int64) - self._lowest, 0, len(table) - 1)
        return np.where(told, table[place], np.nan)


def score_pairs(perturbation_map: PerturbationMap) -> PairScores:
    """Score all pairs of a map by cosine less how crowded it is around the two (CSLS), and rank them.

    ``c_ij − ½ (r_i + r_j)``, where r is the mean of a perturbation's ten highest cosines: a hub, which is near to
    everything, is near to nobody in particular. Its normal score is Φ⁻¹(1 − (rank − ½) / n_pairs), so that maps
    of different dimensions compare.

    Parameters
    ----------
    perturbation_map
        The map.

    Returns
    -------
    PairScores
        Exact, from one pass over all pairs that keeps a histogram and no pair.

    Raises
    ------
    InputError
        When fewer than three profiles have a length.

    References
    ----------
    Lample et al. 2018, doi:10.48550/arXiv.1710.04087 (CSLS). Blom 1958, Statistical estimates and transformed
    beta-variables (normal scores).
    """
    from scipy.special import ndtri

    norms = perturbation_map.norms
    usable = norms > 0
    if usable.sum() < 3:
        message = (
            f"{int(usable.sum())} profiles of {perturbation_map.recipe.representation!r} have a length, a list of "
            "pairs takes 3 or more: are these the right rows?"
        )
        raise InputError(message)
    unit = np.asarray(perturbation_map.profiles / np.where(usable, norms, 1.0)[:, None], dtype=np.float64)
    near = neighborhoods(perturbation_map, k=min(N_CROWD, perturbation_map.n_perturbations - 1)).rows
    # Their cosines anew: those of neighbourhoods are rounded, and a rounded mean puts one pair in twenty a step off.
    cosines = np.array([np.where(column >= 0, np.einsum("ij,ij->i", unit, unit[column]), 0.0) for column in near.T])
    crowding = np.where(usable, cosines.sum(axis=0) / np.maximum((near >= 0).sum(axis=1), 1), np.nan)
    # A cosine is at most 1 and crowding at least −1, and the other way round.
    lowest, n_steps = -2 * _GRID - 1, 4 * _GRID + 3
    counts = np.zeros(n_steps, dtype=np.int64)
    least, most = n_steps, 0
    for start, stop in row_blocks(len(norms)):
        scores = unit[start:stop] @ unit[start:].T
        scores -= 0.5 * (crowding[start:stop][:, None] + crowding[start:])
        scores[:, : stop - start][np.tri(stop - start, dtype=bool)] = np.nan
        steps = np.rint(scores[~np.isnan(scores)] * _GRID).astype(np.int64)
        if len(steps):
            # From the least score met, so that a small map does not count steps that nobody takes.
            first = int(steps.min())
            met = np.bincount(steps - first)
            begin = first - lowest
            counts[begin : begin + len(met)] += met
            least, most = min(least, begin), max(most, begin + len(met))
    counts, lowest = counts[least:most], lowest + least
    n_pairs = int(counts.sum())
    # Between two steps that pairs take the ranks are one, so that few of them need their normal score.
    taken = np.flatnonzero(counts)
    at_least = np.cumsum(counts[taken][::-1])[::-1]
    ranks = np.empty(2 * len(taken) - 1)
    ranks[::2], ranks[1::2] = at_least - (counts[taken] - 1) / 2, at_least[1:] + 0.5
    widths = np.ones(len(ranks), dtype=np.intp)
    widths[1::2] = np.diff(taken) - 1
    above = np.repeat(ranks, widths)
    normal = np.repeat(ndtri(1 - (np.minimum(ranks, n_pairs) - 0.5) / n_pairs), widths)
    for array in (crowding, unit, above, normal):
        array.setflags(write=False)
    return PairScores(perturbation_map, crowding, n_pairs, unit, lowest, above, normal)


def row_blocks(n: int) -> Iterator[tuple[int, int]]:
    """Divide the rows of an upper triangle into blocks that hold about as many pairs each."""
    start = 0
    while start < n - 1:
        stop = min(n, start + max(1, _BLOCK_VALUES // (n - start)))
        yield start, stop
        start = stop
