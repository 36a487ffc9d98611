"""What the position on a plate alone retrieves: a confound of every score of replicates that share it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from explorer.retrieval import chance_precision, unit_vectors

# Similarities equal to six decimals are tied; ties are broken at random.
_STEPS = 1e6
_TIE_BITS = 20
# Pairs of a control and one at its own position that every permutation looks at; with more, fewer controls query.
_MOST_PAIRS = 2**17


def position_retrieval(
    values: npt.NDArray[np.floating],
    position: npt.NDArray[np.integer],
    batch: npt.NDArray[np.integer],
    *,
    n_null: int = 999,
    seed: int = 0,
) -> tuple[float, float, float, int]:
    """Measure whether controls find the controls at their own position in other batches: a layout confound.

    Positives are controls at the same position in other batches, negatives those at other positions there.

    Parameters
    ----------
    values
        Controls, shape (n_controls, n_features), aligned units.
    position, batch
        Numbers, shape (n_controls,).
    n_null
        Permutations of the positions within every batch.
    seed
        Of the permutations and of the order of ties.

    Returns
    -------
    tuple
        Mean average precision, its chance level, p, and the number of controls that query (chosen at random where they
        have very many partners); NaN, NaN, NaN and 0 where
        no position occurs in two batches.
    """
    rng = np.random.default_rng(seed)
    elsewhere = batch[:, None] != batch[None, :]
    partner = (position[:, None] == position[None, :]) & elsewhere
    queries = np.flatnonzero(partner.any(axis=1) & (elsewhere & ~partner).any(axis=1))
    if not len(queries):
        return np.nan, np.nan, np.nan, 0
    vectors = unit_vectors(np.asarray(values))
    # Smallest for the most similar; ties are told apart at random.
    key = -np.rint(vectors @ vectors.T * _STEPS).astype(np.int64) << _TIE_BITS
    key += rng.integers(2**_TIE_BITS, size=key.shape)
    key[~elsewhere] = np.iinfo(np.int64).max
    # Rank among the controls of other batches, from 1; positions move, these ranks stay.
    rank = np.empty(key.shape, dtype=np.int32)
    np.put_along_axis(rank, np.argsort(key, axis=1), np.arange(1, len(key) + 1, dtype=np.int32)[None, :], axis=1)
    n_positive = partner[queries].sum(axis=1)
    if int(n_positive.sum()) > _MOST_PAIRS:
        shuffled = rng.permutation(len(queries))
        few = np.sort(shuffled[np.cumsum(n_positive[shuffled]) <= _MOST_PAIRS])
        queries, n_positive = queries[few], n_positive[few]
    width = int(n_positive.max())
    # Partners first, whatever their order; slots beyond a query's own partners are blank.
    partners = np.argsort(~partner[queries], axis=1, kind="stable")[:, :width]
    blank = np.arange(width) >= n_positive[:, None]
    place = np.arange(1, width + 1)

    def score(moved: npt.NDArray[np.int64]) -> float:
        ranks = np.where(blank, np.iinfo(np.int32).max, rank[moved[queries][:, None], moved[partners]])
        ranks.sort(axis=1)
        return float((np.where(blank, 0.0, place / ranks).sum(axis=1) / n_positive).mean())

    observed = score(np.arange(len(key)))
    groups = [np.flatnonzero(batch == number) for number in np.unique(batch)]
    exceeded = 0
    for _ in range(n_null):
        moved = np.empty(len(key), dtype=np.int64)
        for group in groups:
            moved[group] = rng.permutation(group)
        exceeded += score(moved) >= observed - 1e-12
    n_total = elsewhere[queries].sum(axis=1)
    chance = float(chance_precision(n_positive, n_total).mean())
    return observed, chance, (1 + exceeded) / (1 + n_null), len(queries)
