"""How many of a group's members are among one another's nearest: the primary statistic of every verdict."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from explorer.relate import Neighborhoods

DEFAULT_K = 10


def partner_recall(found: Neighborhoods, groups: Sequence[npt.NDArray[np.intp]]) -> npt.NDArray[np.float64]:
    """Mean share of a member's fellow members that are among its k nearest, for each group.

    ``r_g = mean over i in g of |top_k(i) ∩ g| / min(k, |g| − 1)``; fellows tied at the k-th place count by the
    probability that a random order of the ties puts them in.

    Parameters
    ----------
    found
        Neighbourhoods of all perturbations of a map, in its order.
    groups
        Rows of the members of each group, shape (n_members,), two or more.

    Returns
    -------
    numpy.ndarray
        Shape (n_groups,), from 0 to 1, 1 is better; 0 counts for a member without a profile.
    """
    from scipy import sparse

    n, k = len(found.queries), found.k
    lines = np.repeat(np.arange(n), k)
    places, weights = found.rows.ravel(), (found.rows >= 0).ravel().astype(np.float64)
    weights[np.isin(lines, list(found.ties))] = 0.0
    tied = [(np.full(len(rows), line), rows, share) for line, (rows, share) in found.ties.items()]
    line, place, weight = (np.concatenate(parts) for parts in zip((lines, places, weights), *tied, strict=True))
    used = weight > 0
    near = sparse.csr_matrix((weight[used], (line[used], place[used])), shape=(n, n))
    sizes = np.array([len(rows) for rows in groups], dtype=np.int64)
    member = (
        np.concatenate([np.asarray(rows, dtype=np.intp) for rows in groups]) if len(groups) else np.empty(0, np.intp)
    )
    owner = np.repeat(np.arange(len(groups)), sizes)
    inside = sparse.csr_matrix((np.ones(len(member)), (member, owner)), shape=(n, len(groups)))
    hits = np.asarray((near @ inside)[member, owner]).ravel() if len(member) else np.empty(0)
    totals = np.bincount(owner, weights=hits, minlength=len(groups))
    return np.asarray(totals / (sizes * np.minimum(k, sizes - 1)))


def chance_recall(groups: Sequence[npt.NDArray[np.intp]], *, n_perturbations: int, k: int) -> npt.NDArray[np.float64]:
    """Partner recall of neighbourhoods drawn at random, for each group, shape (n_groups,)."""
    fellows = np.array([len(rows) - 1 for rows in groups], dtype=np.float64)
    return np.asarray(k * fellows / (n_perturbations - 1) / np.minimum(k, fellows))
