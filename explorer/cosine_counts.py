"""Cosines of all pairs of rows, counted on a grid while they stream by: no matrix of pairs is kept."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

_BLOCK_VALUES = 2**22


def step_blocks(unit: npt.NDArray[np.float64], *, resolution: int) -> Iterator[tuple[int, int, Integers]]:
    """Round the cosine of every pair to a grid, some rows at a time.

    Parameters
    ----------
    unit
        Rows of length 1, shape (n, n_features).
    resolution
        Steps between a cosine of 0 and one of 1.

    Yields
    ------
    tuple
        First row and the row after the last; and the steps of these rows to all rows after the first, shape (stop −
        start, n − start − 1): 0 for a cosine of −1, 2 · resolution for 1, and 2 · resolution + 1 where the other row
        is not below this one, so that no pair is met twice.
    """
    start, last = 0, len(unit) - 1
    while start < last:
        rest = last - start
        stop = min(last, start + max(1, _BLOCK_VALUES // rest))
        scores = unit[start:stop] @ unit[start + 1 :].T
        scores *= resolution
        np.rint(scores, out=scores)
        # Rounding may leave equal rows a hair beyond 1.
        np.clip(scores, -resolution, resolution, out=scores)
        steps = scores.astype(np.int64)
        steps += resolution
        steps[np.arange(rest)[None, :] < np.arange(stop - start)[:, None]] = 2 * resolution + 1
        yield start, stop, steps
        start = stop


def count_steps(unit: npt.NDArray[np.float64], *, resolution: int) -> Integers:
    """Count the pairs of rows at each step of the cosine, shape (2 · resolution + 1,)."""
    n_steps = 2 * resolution + 1
    counts = np.zeros(n_steps + 1, dtype=np.int64)
    for _, _, steps in step_blocks(unit, resolution=resolution):
        counts += np.bincount(steps.ravel(), minlength=n_steps + 1)
    return counts[:n_steps]
