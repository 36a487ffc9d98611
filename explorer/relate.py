"""Who is near whom: exact cosine neighbours in the native space, one query or all of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from explorer import kernels
from explorer.aggregate import PerturbationMap
from explorer.errors import InputError

# Cosines are rounded to this many decimals, and ties are equal ones. They are computed in float64, or products of
# equal profiles would differ by enough to fall on either side of a rounding boundary.
TIE_DECIMALS = 6
_TIE = 10.0**-TIE_DECIMALS
# Candidates beyond k that are looked at before a row is searched in full for ties.
_PADDING = 8
_BLOCK_BYTES = 64 * 2**20
# Unit vectors of a map, in float64, that are made at once.
_UNIT_BYTES = 64 * 2**20
# Scores in float32 that candidates are taken from; a smaller block keeps two threads waiting for each other.
_SCORES_BYTES = 64 * 2**20
# A block converted to float64 for one query stays in the processor's cache.
_QUERY_BYTES = 2**20
# From here on compiled loops pay for their compilation: values that one query reads, and scores of many queries.
COMPILED_QUERY = 2**23
COMPILED_SCORES = 2**26
# The same in products: a few hundred queries to a map of many features are as much work.
COMPILED_PRODUCTS = 2**33
# Beyond so many neighbours, or so few perturbations for each, lines are sorted whole.
_MOST_COMPILED_K = 256
_LEAST_ROWS_PER_NEIGHBOR = 64
# Tied perturbations beyond which ranks are read off a full sort.
_MOST_TIED = 64
# Half the distance from 1 to the next float32.
_HALF_STEP = 2.0**-24

# Rows, and the probability of each.
Membership = tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]
# Lines of the queries, their first k and the scores of those, and the memberships of tied lines.
_Found = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float64], Mapping[int, Membership]]


@dataclass(frozen=True, slots=True, eq=False)
class Neighborhood:
    """The k perturbations most similar to one query, or most opposite to it; never the query itself.

    Attributes
    ----------
    query
        The perturbation asked about.
    names, rows
        Neighbours, nearest first, and their rows in the map; ties are broken by name.
    similarities
        Cosines, shape (k,).
    opposite
        Whether the most negative cosines were asked for.
    """

    query: str
    names: tuple[str, ...]
    rows: npt.NDArray[np.intp]
    similarities: npt.NDArray[np.float64]
    opposite: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Cosines of one query to every perturbation of a map.

    Attributes
    ----------
    query, names
        The perturbation asked about, and all of the map.
    similarities
        Cosines to six decimals, shape (n_perturbations,); NaN for the query and for profiles of length zero.
    opposite
        Whether the most negative cosine ranks first.
    """

    query: str
    names: tuple[str, ...] = field(repr=False)
    similarities: npt.NDArray[np.float64] = field(repr=False)
    opposite: bool = False

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """Similarities with the sign that ranks largest first; −inf where there is none."""
        signed = -self.similarities if self.opposite else self.similarities
        return np.where(np.isnan(signed), -np.inf, signed)

    def nearest(self, k: int) -> Neighborhood:
        """Take the first k; fewer where fewer have a similarity."""
        scores = self.scores
        rows, _ = _top_of_row(scores, min(k, len(scores) - 1))
        rows = rows[np.isfinite(scores[rows])]
        return Neighborhood(
            query=self.query,
            names=tuple(self.names[row] for row in rows.tolist()),
            rows=rows,
            similarities=self.similarities[rows],
            opposite=self.opposite,
        )

    def rows_of(self, names: Iterable[str]) -> npt.NDArray[np.intp]:
        """Rows of some perturbations; −1 for those that the map has not."""
        every = self.names
        # A dictionary of a hundred thousand names would take longer than all the rest of a click.
        rows = [(bisect_left(every, name), name) for name in names]
        return np.array([row if every[row : row + 1] == (name,) else -1 for row, name in rows], dtype=np.intp)

    def ranks_of(self, rows: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Rank of some perturbations among all, 1 the nearest; NaN where there is no similarity."""
        scores = self.scores
        asked = np.asarray(rows, dtype=np.intp)
        wanted, ordered = -scores[asked], np.sort(-scores)
        above = np.searchsorted(ordered, wanted, side="left")
        tied = np.flatnonzero(np.searchsorted(ordered, wanted, side="right") - above > 1)
        ranks = above + 1.0
        # Equal scores stand in the order of their names.
        if len(tied) <= _MOST_TIED:
            for place in tied.tolist():
                ranks[place] += np.count_nonzero(scores[: asked[place]] == scores[asked[place]])
        else:
            places = np.empty(len(scores))
            places[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
            ranks = places[asked]
        return np.where(np.isfinite(wanted), ranks, np.nan)

    def membership(self, k: int) -> Membership:
        """Rows that may be among the first k when ties are broken at random, and the probability of each."""
        return membership(self.scores, k)


@dataclass(frozen=True, slots=True, eq=False)
class Neighborhoods:
    """The neighbourhoods of many queries.

    Attributes
    ----------
    queries
        Rows of the map that were asked about, shape (n_queries,).
    rows, similarities
        Neighbours, nearest first, ties broken by name, and their cosines, shape (n_queries, k); −1 and NaN
        where there are fewer than k.
    ties
        For a query whose k-th place is tied with others beyond it: rows and probabilities of `membership`.
    """

    queries: npt.NDArray[np.intp]
    rows: npt.NDArray[np.intp]
    similarities: npt.NDArray[np.float32]
    ties: Mapping[int, Membership]

    @property
    def k(self) -> int:
        """Number of neighbours."""
        return int(self.rows.shape[1])


def check_k(k: int, n_perturbations: int) -> int:
    """Check that a map is large enough for k neighbours.

    Raises
    ------
    InputError
        When k is not between 1 and n_perturbations − 1.
    """
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k < n_perturbations:
        message = (
            f"k = {k} neighbours can't be had from {n_perturbations:,} perturbations: "
            f"choose k from 1 to {n_perturbations - 1:,}"
        )
        raise InputError(message)
    return k


def rank_all(perturbation_map: PerturbationMap, query: str, *, opposite: bool = False) -> Ranking:
    """Rank every perturbation of a map by its cosine to one query.

    Raises
    ------
    InputError
        When the query is not in the map (the nearest names are given), or its profile has length zero.
    """
    row = perturbation_map.position(query)
    if perturbation_map.norms[row] == 0:
        message = (
            f"the profile of {query!r} is zero in {perturbation_map.recipe.representation!r}: it has no neighbours"
        )
        raise InputError(message)
    norms = perturbation_map.norms
    similarities = _products(perturbation_map.profiles, row) / (np.where(norms > 0, norms, 1.0) * norms[row])
    similarities = np.round(similarities, TIE_DECIMALS)
    similarities[perturbation_map.norms == 0] = np.nan
    similarities[row] = np.nan
    # Rounding may leave a duplicate profile a hair outside the range of a cosine.
    return Ranking(query, perturbation_map.names, np.clip(similarities, -1.0, 1.0), opposite)


def prepare_queries(perturbation_map: PerturbationMap) -> None:
    """Compile in the background what questions to a large map will need; until then they are answered without it."""
    profiles = perturbation_map.profiles
    if profiles.size >= COMPILED_QUERY or len(profiles) ** 2 >= COMPILED_SCORES:
        kernels.compile_meanwhile()


def _products(profiles: npt.NDArray[np.float32], row: int) -> npt.NDArray[np.float64]:
    """Inner products of one row with all."""
    # float64 throughout: in float32 the sixth decimal would depend on the order of the features.
    products = np.empty(len(profiles))
    loops = kernels.compiled_already() if profiles.size >= COMPILED_QUERY else None
    if loops is not None:
        with kernels.make_pool() as pool:
            kernels.run_in_parts(pool, loops.products, len(profiles), profiles, row, products)
        return products
    target = profiles[row].astype(np.float64)
    step = max(1, _QUERY_BYTES // (8 * len(target)))
    for start in range(0, len(products), step):
        products[start : start + step] = profiles[start : start + step].astype(np.float64) @ target
    return products


def neighborhood(perturbation_map: PerturbationMap, query: str, *, k: int = 10, opposite: bool = False) -> Neighborhood:
    """Find the k perturbations most similar to one query (or most opposite), by cosine, exactly.

    Parameters
    ----------
    perturbation_map
        The map.
    query
        Name of a perturbation in it.
    k
        Number of neighbours, from 1 to n_perturbations − 1.
    opposite
        Whether to take the most negative cosines.

    Raises
    ------
    InputError
        When the query is unknown, its profile is zero, or k is out of range.
    """
    check_k(k, perturbation_map.n_perturbations)
    return rank_all(perturbation_map, query, opposite=opposite).nearest(k)


def neighborhoods(
    perturbation_map: PerturbationMap,
    *,
    k: int = 10,
    opposite: bool = False,
    queries: npt.ArrayLike | None = None,
) -> Neighborhoods:
    """Find the neighbourhoods of many queries, exactly, a block of rows at a time.

    Parameters
    ----------
    perturbation_map
        The map.
    k, opposite
        As in `neighborhood`.
    queries
        Rows of the map, shape (n_queries,); all without it.

    Returns
    -------
    Neighborhoods
        In the order of `queries`; memory grows with n_queries × k, never with n_perturbations².
    """
    check_k(k, perturbation_map.n_perturbations)
    n = perturbation_map.n_perturbations
    asked = np.arange(n) if queries is None else np.asarray(queries, dtype=np.intp)
    rows = np.full((len(asked), k), -1, dtype=np.intp)
    similarities = np.full((len(asked), k), np.nan, dtype=np.float32)
    ties: dict[int, Membership] = {}
    for lines, top, values, tied in _search(perturbation_map, asked, k, opposite=opposite):
        found = np.isfinite(values)
        rows[lines] = np.where(found, top, -1)
        similarities[lines] = np.where(found, -values if opposite else values, np.nan)
        ties |= tied
    return Neighborhoods(asked, rows, similarities, ties)


def membership(scores: npt.NDArray[np.floating], k: int) -> Membership:
    """Probability of each row to be among the k largest when ties are broken at random.

    Parameters
    ----------
    scores
        Shape (n,), −inf where a row can't be chosen.
    k
        Number chosen.

    Returns
    -------
    tuple
        Rows with a probability above zero, and the probabilities; they sum to k, or to the number of finite
        scores where that is less.
    """
    finite = int(np.isfinite(scores).sum())
    if finite <= k:
        rows = np.flatnonzero(np.isfinite(scores))
        return rows, np.ones(len(rows))
    rounded = np.round(scores.astype(np.float64), TIE_DECIMALS)
    threshold = np.partition(rounded, len(rounded) - k)[len(rounded) - k]
    above = np.flatnonzero(rounded > threshold)
    tied = np.flatnonzero(rounded == threshold)
    share = (k - len(above)) / len(tied)
    return np.concatenate([above, tied]), np.concatenate([np.ones(len(above)), np.full(len(tied), share)])


def score_blocks(
    perturbation_map: PerturbationMap, queries: npt.NDArray[np.intp], *, opposite: bool = False
) -> Iterator[tuple[int, npt.NDArray[np.float64]]]:
    """Score all perturbations against many queries, a block of queries at a time.

    Parameters
    ----------
    perturbation_map
        The map.
    queries
        Rows of the map, shape (n_queries,).
    opposite
        Whether the most negative cosine ranks first.

    Yields
    ------
    tuple
        Place of the block's first query, and its cosines, not rounded, with the sign that ranks largest first,
        shape (≤ n_queries, n_perturbations); −inf for the query itself and where a profile has length zero.
    """
    usable = perturbation_map.norms > 0
    profiles, norms = perturbation_map.profiles, np.where(usable, perturbation_map.norms, 1.0)[:, None]
    n, n_features = profiles.shape
    # Unit vectors in float64 take twice the memory of the map: of a large one, some rows at a time.
    width = max(1, _UNIT_BYTES // (8 * n_features))
    whole = profiles / norms if n <= width else None
    step = max(1, _BLOCK_BYTES // (8 * n))
    for start in range(0, len(queries), step):
        asked = queries[start : start + step]
        if whole is not None:
            scores = whole[asked] @ whole.T
        else:
            own, scores = profiles[asked] / norms[asked], np.empty((len(asked), n))
            for left in range(0, n, width):
                columns = slice(left, left + width)
                np.matmul(own, (profiles[columns] / norms[columns]).T, out=scores[:, columns])
        if opposite:
            np.negative(scores, out=scores)
        scores[:, ~usable] = -np.inf
        scores[~usable[asked]] = -np.inf
        scores[np.arange(len(asked)), asked] = -np.inf
        yield start, scores


def unit_rows(profiles: npt.NDArray[np.float32], norms: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Divide profiles by their length in float64, some rows at a time: no table of float64 stands beside the map.

    Parameters
    ----------
    profiles, norms
        Shapes (n, n_features) and (n,).
    """
    unit = np.empty_like(profiles)
    step = max(1, _QUERY_BYTES // (8 * max(1, profiles.shape[1])))
    for start in range(0, len(unit), step):
        block = slice(start, start + step)
        unit[block] = profiles[block] / norms[block, None]
    return unit


def _search(
    perturbation_map: PerturbationMap, asked: npt.NDArray[np.intp], k: int, *, opposite: bool
) -> Iterator[_Found]:
    """Answer all queries, some at a time: by the compiled loops where they pay, the others by whole lines."""
    left = np.ones(len(asked), dtype=bool)
    n_usable = int((perturbation_map.norms > 0).sum())
    n_scores = len(asked) * n_usable
    pays = n_scores >= COMPILED_SCORES or n_scores * perturbation_map.profiles.shape[1] >= COMPILED_PRODUCTS
    if pays and k <= _MOST_COMPILED_K and n_usable >= k * _LEAST_ROWS_PER_NEIGHBOR:
        for found in _search_candidates(perturbation_map, asked, k, opposite=opposite):
            left[found[0]] = False
            yield found
    lines = np.flatnonzero(left)
    for start, scores in score_blocks(perturbation_map, asked[lines], opposite=opposite):
        block = lines[start : start + len(scores)]
        top, values, tied = _top_of_block(scores, k)
        yield block, top, values, {int(block[line]): found for line, found in tied.items()}


def _search_candidates(
    perturbation_map: PerturbationMap, asked: npt.NDArray[np.intp], k: int, *, opposite: bool
) -> Iterator[_Found]:
    """Answer queries from candidates: scores in float32 leave few, which are scored again in float64.

    Exact: a score in float32 is off by at most `error` (rounding of n_features products of unit vectors, in any
    order; Higham 2002, doi:10.1137/1.9780898718027), so whatever ranks among the first k after rounding to six
    decimals, ties included, lies within two errors and one decimal of the k-th largest float32 score. A query
    with more candidates than there is room for is left out.
    """
    loops = kernels.compiled()
    usable = np.flatnonzero(perturbation_map.norms > 0)
    profiles, norms = perturbation_map.profiles, perturbation_map.norms
    if len(usable) < len(norms):
        profiles, norms = profiles[usable], norms[usable]
    unit = unit_rows(profiles, norms)
    n, n_features = unit.shape
    error = (n_features + 4) * _HALF_STEP / (1 - (n_features + 4) * _HALF_STEP)
    margin, sign = np.float32(2 * error + 1.01 * _TIE), -1.0 if opposite else 1.0
    queries = np.full(len(perturbation_map.norms), -1)
    queries[usable] = np.arange(n)
    queries = queries[asked]
    silent = np.flatnonzero(queries < 0)
    yield silent, np.full((len(silent), k), -1), np.full((len(silent), k), -np.inf), {}
    lines = np.flatnonzero(queries >= 0)
    width, capacity = kernels.whole_tiles(n), 2 * k + 128
    height = max(1, min(_SCORES_BYTES // (4 * width), len(lines)))
    scores = np.full((height, width), -np.inf, dtype=np.float32)
    rows, values = np.empty((height, capacity), dtype=np.int32), np.empty((height, capacity))
    counts = np.empty(height, dtype=np.int64)
    with kernels.make_pool() as pool:
        for start in range(0, len(lines), height):
            block = lines[start : start + height]
            own = queries[block]
            np.matmul(np.float32(sign) * unit[own], unit.T, out=scores[: len(own), :n])
            kernels.run_in_parts(pool, loops.candidates, len(own), scores, own, k, margin, rows, counts)
            exact = (profiles, norms, own, sign, 10.0**TIE_DECIMALS, rows, counts, values)
            kernels.run_in_parts(pool, loops.refine, len(own), *exact)
            done = np.flatnonzero(counts[: len(own)] >= 0)
            tied = done[(counts[done] > k) & (values[done, k - 1] == values[done, k])]
            memberships = {
                int(block[line]): _shared_places(usable[rows[line, : counts[line]]], values[line, : counts[line]], k)
                for line in tied.tolist()
            }
            yield block[done], usable[rows[done, :k]], values[done, :k], memberships


def _shared_places(rows: npt.NDArray[np.intp], values: npt.NDArray[np.float64], k: int) -> Membership:
    """`membership` of candidates in order, largest first."""
    above, tied = np.sort(rows[values > values[k - 1]]), rows[values == values[k - 1]]
    share = (k - len(above)) / len(tied)
    return np.concatenate([above, tied]), np.concatenate([np.ones(len(above)), np.full(len(tied), share)])


def _top_of_block(
    scores: npt.NDArray[np.float64], k: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64], dict[int, Membership]]:
    """First k of every line, largest first and ties by row number; and the lines whose k-th place is tied."""
    n = scores.shape[1]
    width = min(n, k + _PADDING)
    candidates = (
        np.argpartition(scores, n - width, axis=1)[:, n - width :]
        if width < n
        else np.tile(np.arange(n), (len(scores), 1))
    )
    values = np.round(np.take_along_axis(scores, candidates, axis=1), TIE_DECIMALS)
    order = np.lexsort((candidates, -values), axis=1)
    candidates = np.take_along_axis(candidates, order, axis=1)
    values = np.take_along_axis(values, order, axis=1)
    overflow = {}
    if width > k:
        tied = np.isfinite(values[:, k]) & np.isclose(values[:, k - 1], values[:, k], rtol=0, atol=_TIE / 2)
        for line in np.flatnonzero(tied).tolist():
            full, exact = _top_of_row(scores[line], k)
            candidates[line, :k], values[line, :k] = full, exact
            overflow[line] = membership(scores[line], k)
    return candidates[:, :k], values[:, :k], overflow


def _top_of_row(scores: npt.NDArray[np.floating], k: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.floating]]:
    rounded = np.round(scores, TIE_DECIMALS)
    threshold = np.partition(rounded, len(rounded) - k)[len(rounded) - k]
    above = np.flatnonzero(rounded >= threshold)
    rows = above[np.lexsort((above, -rounded[above]))][:k]
    return rows, rounded[rows]
