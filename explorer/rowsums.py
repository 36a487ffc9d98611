"""Sums of rows by group: the inner loop of the one pass, compiled for large screens and plain for small ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt

# Below this many values compiling the loop (about a second) costs more than it saves.
COMPILE_ABOVE = 2**24
# Once it is compiled, it is used from here on.
COMPILED_ABOVE = 2**20

# Exponent bits of a float32; all of them set means NaN or infinite.
_SIGN_OFF, _INFINITE = 0x7FFFFFFF, 0x7F800000

N = TypeVar("N", bound=np.generic)
Totals = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]
AddRows = Callable[[npt.NDArray[np.float32], npt.NDArray[np.int32], Totals], npt.NDArray[np.bool_]]


def row_adder(n_values: int) -> AddRows:
    """Choose the loop for a pass over this many values.

    Returns
    -------
    callable
        Either of `add_rows_plain` and its compiled twin; both give the same sums to rounding.
    """
    ready = bool(_compiled.cache_info().currsize) and n_values >= COMPILED_ABOVE
    return _add_rows_compiled if ready or n_values >= COMPILE_ABOVE else add_rows_plain


def add_rows_plain(
    values: npt.NDArray[np.float32],
    slot: npt.NDArray[np.int32],
    totals: Totals,
) -> npt.NDArray[np.bool_]:
    """Add each finite row to the sum of its group, in place.

    Parameters
    ----------
    values
        Rows, shape (n, n_features).
    slot
        Group of each row, −1 for rows that enter none, shape (n,).
    totals
        Sums and counts so far, shapes (n_groups, n_features) and (n_groups,); both are added to.

    Returns
    -------
    numpy.ndarray
        Whether each row is finite, shape (n,); rows that are not are added to nothing.
    """
    from scipy import sparse

    sums, counts = totals
    finite = np.asarray(np.isfinite(values).all(axis=1))
    enters = np.flatnonzero(finite & (slot >= 0))
    present, place = np.unique(slot[enters], return_inverse=True)
    ones = np.ones(len(enters))
    indicator = sparse.csr_matrix((ones, (place, np.arange(len(enters)))), shape=(len(present), len(enters)))
    sums[present] += indicator @ values[enters].astype(np.float64)
    counts[present] += np.bincount(place, minlength=len(present))
    return finite


def sum_runs(values: npt.NDArray[N], first: npt.NDArray[np.intp]) -> npt.NDArray[N]:
    """Add up runs of lines, each beginning at one of `first`; that is `numpy.add.reduceat`, but fast for even runs."""
    size = np.diff(np.r_[first, len(values)])
    if len(size) and (size == size[0]).all() and first[0] == 0:
        shaped = values.reshape(len(first), int(size[0]), *values.shape[1:])
        total: npt.NDArray[N] = shaped[:, 0] if size[0] == 1 else shaped.sum(axis=1)
        return total
    if values.ndim == 1:
        return np.add.reduceat(values, first)
    from scipy import sparse

    shape = (len(first), len(values))
    member = sparse.csr_matrix(
        (np.ones(len(values), dtype=values.dtype), np.arange(len(values)), np.r_[first, len(values)]), shape=shape
    )
    return np.asarray(member @ values)


def _add_rows_compiled(
    values: npt.NDArray[np.float32],
    slot: npt.NDArray[np.int32],
    totals: Totals,
) -> npt.NDArray[np.bool_]:
    finite: npt.NDArray[np.bool_] = np.empty(len(values), dtype=np.bool_)
    rows = np.ascontiguousarray(values)
    _compiled()[0](rows, rows.view(np.uint32), slot, *totals, finite)
    return finite


def add_aligned_rows(
    values: npt.NDArray[np.float32],
    numbers: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]],
    shifts: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    *,
    totals: Totals,
) -> npt.NDArray[np.bool_]:
    """Align each finite row by the offset and scale of its batch and add it to the sum of its group, in place.

    Parameters
    ----------
    values
        Rows, shape (n, n_features).
    numbers
        Group of each row, −1 for rows that enter none, and its batch, shape (n,) each.
    shifts
        Offset and scale of each batch, shape (n_batches, n_features) each.
    totals
        Sums and counts so far, shapes (n_groups, n_features) and (n_groups,); both are added to.

    Returns
    -------
    numpy.ndarray
        Whether each row is finite, shape (n,); rows that are not are added to nothing.
    """
    finite: npt.NDArray[np.bool_] = np.empty(len(values), dtype=np.bool_)
    rows = np.ascontiguousarray(values)
    group, batch = (np.ascontiguousarray(codes, dtype=np.int32) for codes in numbers)
    offset, scale = (np.ascontiguousarray(part) for part in shifts)
    _compiled()[1](rows, rows.view(np.uint32), group, batch, offset, scale, *totals, finite)
    return finite


@cache
def _compiled() -> tuple[Callable[..., None], Callable[..., None]]:
    """Compile both loops once a process; they hold no lock, so that reading goes on meanwhile."""
    import numba
    from numba import types

    # What is only read may be locked, as memory-mapped and shared arrays are.
    rows, bits = (types.Array(kind, 2, "C", readonly=True) for kind in (types.float32, types.uint32))
    codes = types.Array(types.int32, 1, "C", readonly=True)
    table = types.Array(types.float64, 2, "C", readonly=True)
    totals = types.float64[:, ::1], types.int64[::1], types.boolean[::1]

    @numba.njit(types.boolean(types.Array(types.uint32, 1, "C", readonly=True)), nogil=True, inline="always")
    def is_finite(bits):  # type: ignore[no-untyped-def]  # pragma: no cover
        largest = np.uint32(0)
        for feature in range(bits.shape[0]):
            largest = max(largest, bits[feature] & np.uint32(_SIGN_OFF))
        return largest < np.uint32(_INFINITE)

    @numba.njit(types.void(rows, bits, codes, *totals), nogil=True)
    def add_rows(values, bits, slot, sums, counts, finite):  # type: ignore[no-untyped-def]  # pragma: no cover
        for row in range(values.shape[0]):
            finite[row] = is_finite(bits[row])
            group = slot[row]
            if group >= 0 and finite[row]:
                counts[group] += 1
                for feature in range(values.shape[1]):
                    sums[group, feature] += values[row, feature]

    @numba.njit(types.void(rows, bits, codes, codes, table, table, *totals), nogil=True)
    def add_aligned(  # type: ignore[no-untyped-def]
        values, bits, slot, batch, offset, scale, sums, counts, finite
    ):  # pragma: no cover
        for row in range(values.shape[0]):
            finite[row] = is_finite(bits[row])
            group = slot[row]
            if group >= 0 and finite[row]:
                counts[group] += 1
                own = batch[row]
                for feature in range(values.shape[1]):
                    sums[group, feature] += (values[row, feature] - offset[own, feature]) * scale[own, feature]

    return add_rows, add_aligned
