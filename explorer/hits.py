"""Known pairs among the most similar ones at a budget: a description of two lists, never the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from explorer.aggregate import PerturbationMap
from explorer.errors import InputError
from explorer.known import KnownPairs, Units
from explorer.relate import TIE_DECIMALS

Rows = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

_BLOCK_VALUES = 2**22
_FIRST_BLOCK_VALUES = 2**18
_TIE = 10.0**-TIE_DECIMALS


@dataclass(frozen=True, slots=True, eq=False)
class TopPairs:
    """The most similar undirected pairs of a map, ties by name.

    Attributes
    ----------
    codes
        ``row · n_perturbations + other row`` with row < other row, most similar first, shape (n_listed,).
    similarities
        Signed cosines to six decimals, in the same order.
    n_tied_last
        Pairs of the map whose cosine equals the last one listed, listed or not.
    n_perturbations
        Of the map.
    """

    codes: Codes = field(repr=False)
    similarities: Floats = field(repr=False)
    n_tied_last: int
    n_perturbations: int

    @property
    def n_listed(self) -> int:
        """Number of pairs."""
        return len(self.codes)

    def rows(self, budget: int) -> tuple[Rows, Rows]:
        """Rows of the first `budget` pairs."""
        first, second = np.divmod(self.codes[:budget], self.n_perturbations)
        return first.astype(np.intp), second.astype(np.intp)

    def credit(self, similarities: npt.ArrayLike, budget: int) -> Floats:
        """Probability of pairs of these cosines to be among the first `budget` when ties are broken at random."""
        values = np.asarray(similarities, dtype=np.float64)
        last = self.similarities[budget - 1]
        above = int(np.searchsorted(-self.similarities, -last, side="left"))
        is_end = last == self.similarities[-1]
        tied = self.n_tied_last if is_end else int((self.similarities == last).sum())
        return np.where(values > last, 1.0, np.where(values == last, (budget - above) / tied, 0.0))


def top_pairs(perturbation_map: PerturbationMap, n_listed: int) -> TopPairs:
    """List the pairs of largest signed cosine, exactly, a block of rows at a time.

    Raises
    ------
    InputError
        When the map has fewer pairs with a cosine than asked for, or none is asked for.
    """
    n = perturbation_map.n_perturbations
    n_usable = int((perturbation_map.norms > 0).sum())
    most = n_usable * (n_usable - 1) // 2
    if isinstance(n_listed, bool) or not isinstance(n_listed, int) or not 1 <= n_listed <= most:
        message = f"a budget of {n_listed} pairs can't be had: choose from 1 to {most:,}, the pairs of this map"
        raise InputError(message)
    usable = np.flatnonzero(perturbation_map.norms > 0)
    unit = _unit_profiles(perturbation_map)[usable]
    values, codes = np.empty(0), np.empty(0, dtype=np.int64)
    cutoff, n_tied, start, block = -np.inf, 0, 0, _FIRST_BLOCK_VALUES
    while start < len(usable) - 1:
        rest = len(usable) - start - 1
        stop = min(len(usable) - 1, start + max(1, block // rest))
        # After a first look few values enter, so that large blocks cost little more than their product.
        block = _BLOCK_VALUES
        scores = unit[start:stop] @ unit[start + 1 :].T
        scores[:, : stop - start][np.tri(stop - start, k=-1, dtype=bool)] = -np.inf
        line, column = np.nonzero(scores >= cutoff - _TIE)
        entering = np.round(scores[line, column], TIE_DECIMALS) + 0.0
        enters = (entering >= cutoff) & (entering > -np.inf)
        new_codes = usable[start + line[enters]].astype(np.int64) * n + usable[start + 1 + column[enters]]
        entering, start = entering[enters], stop
        merged, merged_codes = np.concatenate([values, entering]), np.concatenate([codes, new_codes])
        if len(merged) < n_listed:
            values, codes = merged, merged_codes
            continue
        new = np.partition(merged, len(merged) - n_listed)[len(merged) - n_listed]
        # What lies above an old cutoff was all kept, so ties at a higher one can be counted here.
        n_tied = n_tied + int((entering == new).sum()) if new == cutoff else int((merged == new).sum())
        above, level = np.flatnonzero(merged > new), np.flatnonzero(merged == new)
        level = level[np.argsort(merged_codes[level], kind="stable")][: n_listed - len(above)]
        keep = np.concatenate([above, level])
        values, codes, cutoff = merged[keep], merged_codes[keep], new
    order = np.lexsort((codes, -values))
    return TopPairs(codes[order], values[order], n_tied, n)


def pair_similarities(perturbation_map: PerturbationMap, first: Rows, second: Rows) -> Floats:
    """Cosines of some pairs to six decimals; −inf where a profile has length zero."""
    unit = _unit_profiles(perturbation_map)
    found = np.empty(len(first))
    step = max(1, _BLOCK_VALUES // max(1, unit.shape[1]))
    for start in range(0, len(first), step):
        part = slice(start, start + step)
        found[part] = np.einsum("ij,ij->i", unit[first[part]], unit[second[part]])
    found = np.round(found, TIE_DECIMALS) + 0.0
    silent = perturbation_map.norms == 0
    found[silent[first] | silent[second]] = -np.inf
    return found


@dataclass(frozen=True, slots=True, eq=False)
class PooledPairs:
    """The known pairs of all sources, each once, and the unit that each belongs to.

    Attributes
    ----------
    first, second
        Rows, ``first < second``, shape (n_pairs,).
    unit
        Number of the smallest unit that holds both, or, for a pair that links two units, a number of that link.
    names
        Names of units and links, by number.
    """

    first: Rows = field(repr=False)
    second: Rows = field(repr=False)
    unit: Rows = field(repr=False)
    names: tuple[str, ...] = field(repr=False)

    @property
    def n_pairs(self) -> int:
        """Number of pairs."""
        return len(self.first)


def pool_pairs(sources: Sequence[KnownPairs], units: Units) -> PooledPairs:
    """Pool the pairs of all sources and give each to the smallest unit that holds both of its members."""
    n = len(sources[0].names)
    codes = np.unique(np.concatenate([source.first.astype(np.int64) * n + source.second for source in sources]))
    unit = np.full(len(codes), -1, dtype=np.intp)
    smallest = np.full(n, -1, dtype=np.intp)
    # From the largest to the smallest, so that the smallest has the last word.
    for number in sorted(range(units.n_units), key=lambda place: -len(units.members[place])):
        rows = units.members[number]
        one, other = np.triu_indices(len(rows), k=1)
        inside = rows[one].astype(np.int64) * n + rows[other]
        place = np.minimum(np.searchsorted(codes, inside), len(codes) - 1)
        unit[place[codes[place] == inside]] = number
        smallest[rows] = number
    first, second = (part.astype(np.intp) for part in np.divmod(codes, n))
    loose = np.flatnonzero(unit < 0)
    names = list(units.names)
    if len(loose):
        ends = np.sort(np.column_stack([smallest[first[loose]], smallest[second[loose]]]), axis=1)
        links, link = np.unique(ends, axis=0, return_inverse=True)
        unit[loose] = units.n_units + link.ravel()
        alone = [*units.names, "no group"]
        names += [f"between {alone[one]} and {alone[other]}" for one, other in links.tolist()]
    return PooledPairs(first, second, unit, tuple(names))


def known_credit(perturbation_map: PerturbationMap, listed: TopPairs, pooled: PooledPairs, *, budget: int) -> Floats:
    """Probability of each known pair to be among the first `budget` of a map, shape (n_pairs,)."""
    return listed.credit(pair_similarities(perturbation_map, pooled.first, pooled.second), budget)


def by_unit(pooled: PooledPairs, per_pair: Floats) -> Floats:
    """Sum what known pairs contribute over units and links, shape (n_names,)."""
    return np.asarray(np.bincount(pooled.unit, weights=per_pair, minlength=len(pooled.names)), dtype=np.float64)


def _unit_profiles(perturbation_map: PerturbationMap) -> Floats:
    norms = perturbation_map.norms
    return np.asarray(perturbation_map.profiles / np.where(norms > 0, norms, 1.0)[:, None], dtype=np.float64)
