"""Do replicates find each other, and do controls find their own position: average precision with its chance level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from explorer.errors import unknown_name

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]
Vectors = npt.NDArray[np.floating]
F = TypeVar("F", bound=np.floating)
W = TypeVar("W", bound=np.integer)

Against = Literal["controls", "others"]
AGAINST: tuple[Against, ...] = get_args(Against)

# Similarities equal to six decimals are tied, as everywhere else; ties are broken at random.
_STEPS = 1e6
_TIE_BITS = 20
# Below every cosine.
_LAST = -2.0
# Similarities that are looked at together, few enough to stay in the processor's cache.
_CACHED_CELLS = 2**17
# Similarities held at once.
_MOST_CELLS = 2**22


@dataclass(frozen=True, slots=True, eq=False)
class Retrieval:
    """How well each query ranks its positives above its negatives.

    Attributes
    ----------
    average_precision
        Shape (n_queries,), 1 when every positive comes first; NaN without a positive or a negative.
    n_positive, n_negative
        Of each query, shape (n_queries,).
    """

    average_precision: Floats
    n_positive: npt.NDArray[np.int64]
    n_negative: npt.NDArray[np.int64]

    @property
    def chance(self) -> Floats:
        """Mean average precision of a random ranking, shape (n_queries,)."""
        return chance_precision(self.n_positive, self.n_positive + self.n_negative)

    @property
    def normalized(self) -> Floats:
        """``(AP - chance) / (1 - chance)``, so that prevalences compare: 0 by chance, 1 at best."""
        chance = self.chance
        return (self.average_precision - chance) / (1 - chance)


def chance_precision(n_positive: npt.ArrayLike, n_total: npt.ArrayLike) -> Floats:
    """Compute the expected average precision of a random ranking, exactly.

    Parameters
    ----------
    n_positive, n_total
        Positives, and positives and negatives together, shape (n,).

    Returns
    -------
    numpy.ndarray
        Shape (n,); NaN where there is no positive or no negative.

    References
    ----------
    Bestgen 2015, doi:10.1515/pralin-2015-0007.
    """
    positive, total = np.asarray(n_positive, dtype=np.int64), np.asarray(n_total, dtype=np.int64)
    harmonic = np.cumsum(np.r_[0.0, 1.0 / np.arange(1, int(total.max(initial=1)) + 1)])[total]
    rest = (positive - 1) / np.maximum(total - 1, 1)
    expected = (rest * (total - harmonic) + harmonic) / np.maximum(total, 1)
    return np.where((positive > 0) & (total > positive), expected, np.nan)


def unit_vectors(values: npt.NDArray[F]) -> npt.NDArray[F]:
    """Scale rows to length 1; a row of length 0 stays what it is."""
    length = np.sqrt(np.einsum("ij,ij->i", values, values, dtype=np.float64))
    scaled: npt.NDArray[F] = np.divide(values, np.where(length > 0, length, 1.0)[:, None], dtype=values.dtype)
    return scaled


def replicate_precision(
    values: Vectors,
    perturbation: Integers,
    *,
    batch: Integers | None = None,
    against: Against = "controls",
    seed: int = 0,
) -> Retrieval:
    """Rank each replicate's own kind above the rest by cosine.

    Positives are rows of the same perturbation in another batch (any other row where no batch is given).

    Parameters
    ----------
    values
        Rows, shape (n_rows, n_features), aligned units.
    perturbation
        Number of the perturbation of each row, shape (n_rows,); −1 marks controls, which query nothing.
    batch
        Number of the batch of each row, shape (n_rows,).
    against
        What the negatives are: ``"controls"`` of the query's own batch, or the ``"others"``: rows of other
        perturbations, in other batches where there are any, controls not among them.
    seed
        Of the order of ties: a stable order would put the positives first and give constant features a score of 1.

    Returns
    -------
    Retrieval
        One line a row; NaN for controls.

    Raises
    ------
    InputError
        When `against` is unknown.

    References
    ----------
    Kalinin et al. 2025, doi:10.1038/s41467-025-60306-2.
    """
    if against not in AGAINST:
        msg = "choice of negatives"
        raise unknown_name(msg, against, AGAINST)
    vectors = unit_vectors(np.asarray(values))
    perturbation = np.asarray(perturbation)
    queries = np.flatnonzero(perturbation >= 0)
    place = np.zeros(len(vectors), dtype=np.int64) if batch is None else np.unique(batch, return_inverse=True)[1]
    found = Retrieval(
        np.full(len(vectors), np.nan), np.zeros(len(vectors), dtype=np.int64), np.zeros(len(vectors), dtype=np.int64)
    )
    if not len(queries):
        return found
    own_batch = None if batch is None else place[queries]
    if against == "controls":
        controls = [vectors[(perturbation < 0) & (place == number)] for number in range(int(place.max()) + 1)]
        part = precision_against_pools(
            vectors[queries],
            owner=perturbation[queries],
            batch=own_batch,
            pool=place[queries],
            pools=controls,
            seed=seed,
        )
    else:
        part = _precision_against_others(vectors[queries], perturbation[queries], own_batch, seed=seed)
    found.average_precision[queries] = part.average_precision
    found.n_positive[queries], found.n_negative[queries] = part.n_positive, part.n_negative
    return found


def precision_against_pools(
    vectors: Vectors,
    *,
    owner: Integers,
    batch: Integers | None,
    pool: Integers,
    pools: Sequence[Vectors],
    pool_owner: Sequence[Integers] | None = None,
    member: Integers | None = None,
    seed: int = 0,
) -> Retrieval:
    """Rank rows of the same owner above a pool of negatives.

    Parameters
    ----------
    vectors
        Rows of length 1, shape (n_rows, n_features).
    owner, batch
        Whose row each is, and its batch, shape (n_rows,); positives lie in another batch, and anywhere without one.
    pool, pools
        Number of each row's pool, shape (n_rows,), and the pools, each of shape (n_negatives, n_features).
    pool_owner
        Owner of each negative, where it may have one: nobody's own row is a negative of theirs.
    member
        Where the rows were drawn from the pools themselves: each row's place in its pool, shape (n_rows,). Rows of
        the same owner are then no negatives of each other.
    seed
        Of the order of ties.
    """
    rng = np.random.default_rng(seed)
    n_rows = len(vectors)
    positive, slots = _positive_scores(vectors, owner, batch)
    above = np.zeros(positive.shape, dtype=np.int64)
    n_negative = np.zeros(n_rows, dtype=np.int64)
    for number in np.unique(pool).tolist():
        negatives = pools[number]
        queries = np.flatnonzero(pool == number)
        step = max(16, _CACHED_CELLS // max(1, len(negatives)))
        for start in range(0, len(queries) if len(negatives) else 0, step):
            own = queries[start : start + step]
            scores = negatives @ vectors[own].T
            n_negative[own] = len(negatives)
            if pool_owner is not None:
                kindred = pool_owner[number][:, None] == owner[own]
                scores[kindred] = _LAST
                n_negative[own] -= np.count_nonzero(kindred, axis=0)
            if member is not None:
                kin = slots[own]
                line, column = np.nonzero((kin >= 0) & (pool[kin] == number))
                scores[member[kin[line, column]], line] = _LAST
                n_negative[own] -= np.bincount(line, minlength=len(own))
            above[own] = _count_above(scores, positive[own], rng)
    return _retrieval(positive, above, n_negative)


def _precision_against_others(vectors: Vectors, owner: Integers, batch: Integers | None, *, seed: int) -> Retrieval:
    rng = np.random.default_rng(seed)
    positive, _ = _positive_scores(vectors, owner, batch)
    above = np.zeros(positive.shape, dtype=np.int64)
    n_negative = np.zeros(len(vectors), dtype=np.int64)
    step = max(1, _MOST_CELLS // len(vectors))
    for start in range(0, len(vectors), step):
        here = slice(start, start + step)
        scores = vectors @ vectors[here].T
        left_out = owner[:, None] == owner[here]
        if batch is not None:
            left_out |= batch[:, None] == batch[here]
        scores[left_out] = _LAST
        n_negative[here] = len(vectors) - np.count_nonzero(left_out, axis=0)
        above[here] = _count_above(scores, positive[here], rng)
    return _retrieval(positive, above, n_negative)


def _positive_scores(
    vectors: Vectors, owner: Integers, batch: Integers | None
) -> tuple[Vectors, npt.NDArray[np.int64]]:
    """Similarity of each row to the rows of its owner, NaN where that is no positive; and which rows those are.

    Both have shape (n_rows, most rows of an owner); numbers are −1 where an owner has fewer.
    """
    n_rows = len(vectors)
    order = np.argsort(owner, kind="stable")
    first = np.flatnonzero(np.r_[True, np.diff(owner[order]) != 0]) if n_rows else np.empty(0, dtype=np.int64)
    size = np.diff(np.r_[first, n_rows])
    most = int(size.max(initial=1))
    scores = np.full((n_rows, most), np.nan, dtype=vectors.dtype)
    slots = np.full((n_rows, most), -1, dtype=np.int64)
    for count in np.unique(size).tolist():
        every = order[first[size == count][:, None] + np.arange(count)]
        step = max(1, _MOST_CELLS // (count * max(count, vectors.shape[1])))
        for start in range(0, len(every), step):
            rows = every[start : start + step]
            own = vectors[rows]
            similarity = own @ own.transpose(0, 2, 1)
            other = ~np.eye(count, dtype=bool) if batch is None else batch[rows][:, :, None] != batch[rows][:, None, :]
            scores[rows, :count] = np.where(other, similarity, np.nan)
            slots[rows, :count] = rows[:, None, :]
    return scores, slots


def _count_above(scores: Vectors, positive: Vectors, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Count the negatives ranked above each positive; those tied with it fall on either side at random.

    Scores have one column a query, shape (n_negatives, n_queries), since sums down columns are the fast ones.
    """
    negative = np.rint(scores * scores.dtype.type(_STEPS)).astype(np.int32)
    # What is no positive lies above everything, and counts nothing.
    wanted = np.rint(np.where(np.isnan(positive), 3.0, positive) * _STEPS).astype(np.int32)
    above = _count_larger(negative, wanted)
    tied = np.flatnonzero((_count_larger(negative, wanted - 1) != above).any(axis=1))
    if len(tied):
        fine, fine_wanted = (part.astype(np.int64) << _TIE_BITS for part in (negative[:, tied], wanted[tied]))
        fine += rng.integers(2**_TIE_BITS, size=fine.shape)
        fine_wanted += rng.integers(2**_TIE_BITS, size=fine_wanted.shape)
        above[tied] = _count_larger(fine, fine_wanted)
    return above


def _count_larger(values: npt.NDArray[W], limits: npt.NDArray[W]) -> npt.NDArray[np.int64]:
    """Count in each column of values those above each limit of its line, shape (n_columns, n_limits)."""
    found = np.zeros((limits.shape[1], limits.shape[0]), dtype=np.int64)
    by_slot = np.ascontiguousarray(limits.T)
    # As many lines at once as a byte can count.
    for start in range(0, len(values), 255):
        part = values[start : start + 255]
        for slot, limit in enumerate(by_slot):
            found[slot] += np.add.reduce((part > limit).view(np.uint8), axis=0, dtype=np.uint8)
    return found.T


def _retrieval(positive: Vectors, above: npt.NDArray[np.int64], n_negative: npt.NDArray[np.int64]) -> Retrieval:
    n_positive = (~np.isnan(positive)).sum(axis=1)
    precision = precision_of_counts(np.where(np.isnan(positive), -1, above))
    return Retrieval(np.where(n_negative > 0, precision, np.nan), n_positive, n_negative)


def precision_of_counts(above: npt.NDArray[np.int64]) -> Floats:
    """Average precision from the number of negatives above each positive.

    Parameters
    ----------
    above
        Shape (n_queries, n_slots); −1 for a slot that holds no positive.

    Returns
    -------
    numpy.ndarray
        Shape (n_queries,); NaN without a positive.
    """
    # The order among positives does not matter: sorted, the j-th has j - 1 positives above it.
    ranked = np.sort(np.where(above < 0, np.iinfo(np.int64).max // 2, above), axis=1)
    place = np.arange(1, above.shape[1] + 1)
    count = (above >= 0).sum(axis=1)
    total = np.where(place <= count[:, None], place / (place + ranked), 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
