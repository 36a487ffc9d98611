"""What two maps share and where they differ: agreement of neighbourhoods, and the merged neighbour table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.aggregate import PerturbationMap
from explorer.errors import InputError
from explorer.relate import Neighborhood, Neighborhoods, Ranking, check_k, membership, neighborhoods, rank_all
from explorer.relationships import Knowledge

SHARED, ONLY_LEFT, ONLY_RIGHT = "shared", "only left", "only right"
SIDES = (SHARED, ONLY_LEFT, ONLY_RIGHT)
PERSISTENCE = 0.9
# Beyond this many perturbations the distribution over queries is taken from a random sample of them: a share
# is then known to about two in a hundred.
FULL_BELOW = 5_000
SAMPLED_QUERIES = 500


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two neighbourhoods of one query agree.

    Attributes
    ----------
    k, n_perturbations
        Neighbours a side, and perturbations in both maps.
    overlap
        Share of the k neighbours in both, ties at the k-th place counted by probability; larger is more alike.
    chance
        The overlap of two random neighbourhoods, k / (n − 1).
    kappa
        (overlap − chance) / (1 − chance): 0 by chance, 1 when equal; NaN where chance is 1.
    jaccard
        overlap / (2 − overlap).
    rank_biased_overlap, rank_biased_chance
        Extrapolated, p = .9; weighs the first ranks most; 1 when equal, 0 when disjoint; and its mean over
        random rankings.
    """

    k: int
    n_perturbations: int
    overlap: float
    chance: float
    kappa: float
    jaccard: float
    rank_biased_overlap: float
    rank_biased_chance: float


@dataclass(frozen=True, slots=True, eq=False)
class OverlapDistribution:
    """Overlap at k of every query of two maps, or of a random sample of queries.

    Attributes
    ----------
    queries, overlaps
        Rows of the common map, and their overlap, shape (n_queries,); those whose profile has length zero on
        either side have no neighbours and are left out.
    n_perturbations, k
        As in `Agreement`.
    seed
        Seed of the sample; None where every query was taken.
    """

    queries: npt.NDArray[np.intp]
    overlaps: npt.NDArray[np.float64]
    n_perturbations: int
    k: int
    seed: int | None

    @property
    def mean(self) -> float:
        """Mean overlap; NaN where no perturbation has neighbours on both sides."""
        return float(self.overlaps.mean()) if len(self.overlaps) else float("nan")

    @property
    def chance(self) -> float:
        """Overlap of random neighbourhoods; NaN where there are fewer than k to choose from."""
        return self.k / (self.n_perturbations - 1) if self.n_perturbations > self.k else float("nan")

    def share_below(self, overlap: float) -> float:
        """Share of queries that agree less than this, those that agree equally counted half."""
        if not len(self.overlaps):
            return float("nan")
        less = (self.overlaps < overlap - 1e-9).mean()
        equal = (np.abs(self.overlaps - overlap) <= 1e-9).mean()
        return float(less + equal / 2)


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """One query in two maps of the same perturbations.

    Attributes
    ----------
    query, k, opposite
        What was asked.
    left, right
        The neighbourhoods.
    left_ranking, right_ranking
        All similarities, from which the rank of any perturbation on either side is read.
    agreement
        How far they agree.
    """

    query: str
    k: int
    opposite: bool
    left: Neighborhood
    right: Neighborhood
    left_ranking: Ranking
    right_ranking: Ranking
    agreement: Agreement

    @property
    def sides(self) -> dict[str, str]:
        """Every neighbour of either side, and whether it is shared, only left or only right."""
        left, right = set(self.left.names), set(self.right.names)
        ordered = dict.fromkeys((*self.left.names, *self.right.names))
        return {
            name: SHARED if name in left and name in right else ONLY_LEFT if name in left else ONLY_RIGHT
            for name in ordered
        }


def common_maps(left: PerturbationMap, right: PerturbationMap) -> tuple[PerturbationMap, PerturbationMap]:
    """Restrict two maps to the perturbations that both have, in the same order.

    Raises
    ------
    InputError
        When fewer than three are shared.
    """
    if left.names is right.names or left.names == right.names:
        return left, right
    shared = set(left.names) & set(right.names)
    if len(shared) < 3:
        message = (
            f"{left.recipe.representation!r} and {right.recipe.representation!r} share {len(shared)} perturbations, "
            "expected at least 3: do they name perturbations alike?"
        )
        raise InputError(message)
    return left.restricted_to(shared), right.restricted_to(shared)


def compare_query(
    left: PerturbationMap, right: PerturbationMap, query: str, *, k: int = 10, opposite: bool = False
) -> Comparison:
    """Compare the neighbourhoods of one query in two maps.

    Parameters
    ----------
    left, right
        The maps; only perturbations in both count.
    query
        A perturbation in both.
    k, opposite
        As in `explorer.relate.neighborhood`.

    Raises
    ------
    InputError
        When the query is unknown or k is out of range.

    References
    ----------
    Webber et al. 2010, doi:10.1145/1852102.1852106 (rank-biased overlap).
    """
    left, right = common_maps(left, right)
    check_k(k, left.n_perturbations)
    one, other = (rank_all(side, query, opposite=opposite) for side in (left, right))
    return Comparison(
        query=query,
        k=k,
        opposite=opposite,
        left=one.nearest(k),
        right=other.nearest(k),
        left_ranking=one,
        right_ranking=other,
        agreement=agreement(one, other, k=k),
    )


def agreement(left: Ranking, right: Ranking, *, k: int) -> Agreement:
    """Score the agreement of two rankings of the same perturbations at depth k."""
    # A profile of length zero is nobody's neighbour, so it does not count among those there are to choose from.
    n = int((np.isfinite(left.scores) & np.isfinite(right.scores)).sum()) + 1
    enough = n - 1 >= k
    overlap = expected_overlap(left.membership(k), right.membership(k)) / k if enough else float("nan")
    chance = k / (n - 1) if enough else float("nan")
    # At every depth d, random rankings share d² / (n − 1) on average, a share of d / (n − 1).
    depths = np.arange(1, k + 1)
    return Agreement(
        k=k,
        n_perturbations=n,
        overlap=overlap,
        chance=chance,
        kappa=(overlap - chance) / (1 - chance) if chance < 1 else float("nan"),
        jaccard=overlap / (2 - overlap),
        rank_biased_overlap=rank_biased_overlap(left.scores, right.scores, depth=k) if enough else float("nan"),
        rank_biased_chance=_extrapolated(depths / (n - 1), PERSISTENCE) if enough else float("nan"),
    )


def expected_overlap(
    left: tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]],
    right: tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]],
) -> float:
    """Count the common members to be expected of two neighbourhoods whose ties are broken independently."""
    probability = dict(zip(right[0].tolist(), right[1].tolist(), strict=True))
    return float(
        sum(weight * probability.get(row, 0.0) for row, weight in zip(left[0].tolist(), left[1].tolist(), strict=True))
    )


def rank_biased_overlap(
    left: npt.ArrayLike, right: npt.ArrayLike, *, depth: int, persistence: float = PERSISTENCE
) -> float:
    """Rank-biased overlap of two rankings of the same items, extrapolated from a depth.

    Parameters
    ----------
    left, right
        Scores of the items, larger first, shape (n,); −inf for items out of the ranking. Ties are broken at
        random and independently: the expected value is returned.
    depth
        Number of ranks seen.
    persistence
        p, the probability of looking one rank further.

    Returns
    -------
    float
        1 when the rankings are equal, 0 when they share nothing.

    References
    ----------
    Webber et al. 2010, doi:10.1145/1852102.1852106, equation 32.
    """
    # Only what stands within the depth, or is tied with its last place, can be in a shorter list.
    heads = [_head(np.asarray(scores, dtype=np.float64), depth) for scores in (left, right)]
    shares = np.array([_overlap_at(heads[0], heads[1], seen) / seen for seen in range(1, depth + 1)])
    return _extrapolated(shares, persistence)


def _extrapolated(shares: npt.NDArray[np.float64], persistence: float) -> float:
    """Weigh the shares that two rankings have in common at depths 1, 2, … (equation 32)."""
    weights = persistence ** np.arange(1, len(shares) + 1)
    return float(shares[-1] * weights[-1] + (1 - persistence) / persistence * (shares * weights).sum())


def _head(scores: npt.NDArray[np.float64], depth: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    rows, _ = membership(scores, depth)
    return rows, scores[rows]


def _overlap_at(
    left: tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]],
    right: tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]],
    depth: int,
) -> float:
    members = []
    for rows, scores in (left, right):
        places, probabilities = membership(scores, depth)
        members.append((rows[places], probabilities))
    return expected_overlap(members[0], members[1])


def overlap_distribution(
    left: PerturbationMap, right: PerturbationMap, *, k: int = 10, opposite: bool = False, seed: int = 0
) -> OverlapDistribution:
    """Overlap at k of every query, so that one query can be seen among all.

    Parameters
    ----------
    left, right
        The maps; only perturbations in both count.
    k, opposite
        As in `explorer.relate.neighborhood`.
    seed
        Of the sample of 500 queries that is taken from a map of more than 5,000.
    """
    left, right = common_maps(left, right)
    check_k(k, left.n_perturbations)
    # Without a profile there are no neighbours to agree on, and nobody's neighbour to be.
    queries = np.flatnonzero((left.norms > 0) & (right.norms > 0))
    n = len(queries)
    if n - 1 < k:
        return OverlapDistribution(queries[:0], np.empty(0), n, k, None)
    sampled = len(queries) > FULL_BELOW
    if sampled:
        queries = np.sort(np.random.default_rng(seed).choice(queries, size=SAMPLED_QUERIES, replace=False))
    one, other = (neighborhoods(side, k=k, opposite=opposite, queries=queries) for side in (left, right))
    return OverlapDistribution(queries, overlaps(one, other), n, k, seed if sampled else None)


def overlaps(left: Neighborhoods, right: Neighborhoods) -> npt.NDArray[np.float64]:
    """Overlap of each query's two neighbourhoods, ties at the k-th place counted by probability.

    Returns
    -------
    numpy.ndarray
        Shape (n_queries,), from 0 to 1.
    """
    k = left.k
    result = np.empty(len(left.rows))
    step = max(1, 2**24 // (k * k))
    for start in range(0, len(result), step):
        one, other = left.rows[start : start + step], right.rows[start : start + step]
        same = (one[:, :, None] == other[:, None, :]) & (one >= 0)[:, :, None]
        result[start : start + step] = same.any(axis=2).sum(axis=1) / k
    for line in left.ties.keys() | right.ties.keys():
        result[line] = expected_overlap(_members(left, line), _members(right, line)) / k
    return result


def _members(side: Neighborhoods, line: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    rows = side.rows[line][side.rows[line] >= 0]
    return side.ties.get(line, (rows, np.ones(len(rows))))


def graph_overlap(left: Neighborhoods, right: Neighborhoods) -> float:
    """Share of the undirected edges of two neighbour graphs that both have (Jaccard).

    Ties at the k-th place are broken at random, independently on each side: the expected number of common edges
    over the expected number of edges of either.
    """

    def edges(side: Neighborhoods) -> dict[tuple[int, int], float]:
        absent: dict[tuple[int, int], float] = {}
        for line, query in enumerate(side.queries.tolist()):
            for row, probability in zip(*(part.tolist() for part in _members(side, line)), strict=True):
                pair = min(query, row), max(query, row)
                absent[pair] = absent.get(pair, 1.0) * (1.0 - probability)
        return {pair: 1.0 - probability for pair, probability in absent.items()}

    one, other = edges(left), edges(right)
    both = sum(probability * other.get(pair, 0.0) for pair, probability in one.items())
    either = sum(one.values()) + sum(other.values()) - both
    return both / either if either else float("nan")


def merged_table(
    comparison: Comparison,
    *,
    knowledge: Knowledge | None = None,
    elsewhere: Mapping[str, Mapping[str, str]] | None = None,
) -> pl.DataFrame:
    """Put the neighbours of both sides into one table.

    Parameters
    ----------
    comparison
        The query in two maps.
    knowledge
        Known relationships.
    elsewhere
        What became of each neighbour in other contexts, by context and name; blank where nothing is said.

    Returns
    -------
    polars.DataFrame
        ``perturbation, neighbour of, left rank, left similarity, right rank, right similarity, known`` and, for
        each other context, ``in CONTEXT``. Sorted by the better rank.
    """
    sides = comparison.sides
    names = list(sides)
    rows = comparison.left_ranking.rows_of(names)
    known = (knowledge or Knowledge()).sources_of(comparison.query, names)
    table = pl.DataFrame(
        {
            "perturbation": names,
            "neighbour of": [sides[name] for name in names],
            "left rank": pl.Series(comparison.left_ranking.ranks_of(rows), dtype=pl.Int64, strict=False),
            "left similarity": comparison.left_ranking.similarities[rows],
            "right rank": pl.Series(comparison.right_ranking.ranks_of(rows), dtype=pl.Int64, strict=False),
            "right similarity": comparison.right_ranking.similarities[rows],
            "known": [", ".join(sources) for sources in known],
        }
    )
    for context, said in (elsewhere or {}).items():
        there = pl.Series(f"in {context}", [said.get(name, "") for name in names], dtype=pl.String)
        table = table.with_columns(there)
    return table.sort(pl.min_horizontal("left rank", "right rank"), "perturbation")


def known_counts(comparison: Comparison, partners: Iterable[str]) -> tuple[int, int]:
    """Count the known partners among the neighbours on the left and on the right."""
    known = set(partners)
    return len(known.intersection(comparison.left.names)), len(known.intersection(comparison.right.names))
