"""Names of a column as numbers: four bytes a row, whatever the names are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl


def number_names(column: pl.Series) -> tuple[npt.NDArray[np.int32], list[str | None]]:
    """Give numbers to a column's names in their order.

    Parameters
    ----------
    column
        Text, categories, or anything that can be written as text, shape (n_rows,).

    Returns
    -------
    tuple
        Number of each row's name, shape (n_rows,), and the names that occur, sorted; null is a name of its own and
        comes first.
    """
    if column.dtype not in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String).cast(pl.Categorical)
    present = column.unique()
    names: list[str | None] = present.cast(pl.String).to_list()
    codes = present.to_physical().cast(pl.Int64).to_list()
    highest = max((code for code in codes if code is not None), default=-1)
    order = sorted(range(len(names)), key=lambda place: (names[place] is not None, names[place] or ""))
    # One place more than there are codes: null is looked up in the last.
    lookup = np.zeros(highest + 2, dtype=np.int32)
    for rank, place in enumerate(order):
        code = codes[place]
        lookup[highest + 1 if code is None else code] = rank
    physical = column.to_physical().cast(pl.UInt32)
    numbers = (physical.fill_null(highest + 1) if physical.null_count() else physical).to_numpy()
    return lookup[numbers], [names[place] for place in order]
