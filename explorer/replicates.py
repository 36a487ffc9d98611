"""How well replicates agree, and how large their profile is: sums in place of pairs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from explorer.rowsums import sum_runs

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]
Values = npt.NDArray[np.floating]
# Values in float64 that are averaged at once, and the number of values up to which nothing is split.
_BLOCK_BYTES = 8 * 2**20
_MOST_WHOLE = 2**23


def pair_consistency(
    sums: Values,
    counts: Integers,
    owner: Integers,
    *,
    batch: Integers | None = None,
    guide: Integers | None = None,
) -> Floats:
    """Mean cosine over the admissible pairs of replicates of each owner, from sums of their unit vectors.

    A pair is admissible when it lies in two batches, where batches are given, and has two guides, where the owner has
    more than one. The sum over pairs is a squared length minus those of the batches and guides, plus those of the
    batch × guide cells, so no pair is ever formed.

    Parameters
    ----------
    sums
        Sum of the unit vectors of each group of replicates, shape (n_groups, n_features). A group lies in one batch
        and has one guide.
    counts
        Replicates of each group, shape (n_groups,); those of length 0 have no direction and don't count.
    owner
        Perturbation of each group, shape (n_groups,), from 0.
    batch, guide
        Of each group, shape (n_groups,).

    Returns
    -------
    numpy.ndarray
        Shape (n_owners,); NaN where no pair is admissible.
    """
    if sums.size <= _MOST_WHOLE or (np.diff(owner) < 0).any():
        return _consistency_of(sums, counts, owner, batch=batch, guide=guide)
    # Some owners at a time, since the sums are put in order for each of the keys.
    found = np.full(int(owner.max()) + 1, np.nan)
    for start, stop in _owner_blocks(owner, sums.shape[1]):
        first, last = int(owner[start]), int(owner[stop - 1])
        own_batch, own_guide = (None if key is None else key[start:stop] for key in (batch, guide))
        found[first : last + 1] = _consistency_of(
            sums[start:stop], counts[start:stop], owner[start:stop] - first, batch=own_batch, guide=own_guide
        )
    return found


def _owner_blocks(owner: Integers, n_features: int) -> list[tuple[int, int]]:
    """Split lines that are sorted by owner into stretches of whole owners, a few megabytes each."""
    starts = np.flatnonzero(np.r_[True, np.diff(owner) != 0])[: len(owner)]
    step = max(1, _BLOCK_BYTES * len(starts) // (8 * max(1, len(owner) * n_features)))
    return list(pairwise([*starts[::step].tolist(), len(owner)]))


def _consistency_of(
    sums: Values, counts: Integers, owner: Integers, *, batch: Integers | None, guide: Integers | None
) -> Floats:
    n_owners = int(owner.max(initial=-1)) + 1
    counts = np.asarray(counts, dtype=np.float64)

    def squares(*keys: Integers) -> Floats:
        """Squared length, and squared count, of each group, added up by owner, shape (n_owners, 2)."""
        code = np.asarray(owner, dtype=np.int64)
        for key in keys:
            code = code * (int(key.max(initial=0)) + 1) + key
        if (np.diff(code) < 0).any():
            order = np.argsort(code, kind="stable")
            code, ordered, number = code[order], sums[order], counts[order]
        else:
            order, ordered, number = np.arange(len(code)), sums, counts
        first = np.flatnonzero(np.r_[True, np.diff(code) != 0])
        total, many = sum_runs(ordered, first), sum_runs(number, first)
        whose = owner[order[first]]
        length = np.einsum("ij,ij->i", total, total, dtype=np.float64)
        return np.stack(
            [np.bincount(whose, weights, minlength=n_owners) for weights in (length, many**2)],
            axis=1,
        )

    if not len(owner):
        return np.empty(0)
    pairs = squares()
    several = np.zeros(n_owners, dtype=bool)
    if guide is not None:
        used = counts > 0
        several = _distinct(owner[used], guide[used], n_owners) > 1
    with_guides = several[:, None].astype(np.float64)
    if batch is not None:
        pairs = pairs - squares(batch)
        if guide is not None and several.any():
            pairs -= with_guides * (squares(guide) - squares(batch, guide))
    else:
        replicates = np.bincount(owner, counts, minlength=n_owners)[:, None]
        within = replicates if guide is None else np.where(several[:, None], squares(guide), replicates)
        pairs = pairs - within
    number = np.rint(pairs[:, 1])
    return np.where(number > 0, pairs[:, 0] / np.maximum(number, 1), np.nan)


def _distinct(owner: Integers, key: Integers, n_owners: int) -> npt.NDArray[np.intp]:
    width = int(key.max(initial=0)) + 1
    return np.bincount(np.unique(owner.astype(np.int64) * width + key) // width, minlength=n_owners)


def profiles(means: Values, counts: Integers, owner: Integers, *, guide: Integers | None = None) -> Values:
    """Average units into profiles: rows to guides by their number, guides to perturbations equally.

    Parameters
    ----------
    means, counts
        Mean of the rows of each unit, shape (n_units, n_features), and their number, shape (n_units,).
    owner, guide
        Perturbation and guide of each unit, shape (n_units,); sorted by owner, then guide.
    """
    weights = np.asarray(counts, dtype=means.dtype)
    guides = np.zeros(len(owner), dtype=np.int64) if guide is None else np.asarray(guide)
    first = np.flatnonzero(np.r_[True, (np.diff(owner) != 0) | (np.diff(guides) != 0)])
    of_guide = sum_runs(means * weights[:, None], first) / sum_runs(weights, first)[:, None]
    whose = owner[first]
    start = np.flatnonzero(np.r_[True, np.diff(whose) != 0])
    n_guides = np.diff(np.r_[start, len(whose)]).astype(means.dtype)
    averaged: Values = sum_runs(of_guide, start) / n_guides[:, None]
    return averaged


def profile_lengths(means: Values, counts: Integers, owner: Integers, *, guide: Integers | None = None) -> Floats:
    """Length of each of the `profiles` of these units, some at a time: no table of them is made.

    Parameters
    ----------
    means, counts, owner, guide
        As for `profiles`.
    """
    found = [
        lengths(profiles(means[a:b], counts[a:b], owner[a:b], guide=None if guide is None else guide[a:b]))
        for a, b in _owner_blocks(owner, means.shape[1])
    ]
    return np.concatenate([np.empty(0), *found])


def lengths(values: Values) -> Floats:
    """Length of each row, shape (n,)."""
    length: Floats = np.sqrt(np.einsum("ij,ij->i", values, values, dtype=np.float64))
    return length
