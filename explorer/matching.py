"""Which row of another file belongs to which row of a screen: by name, else by number and order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.errors import InputError, listed, shown
from explorer.screen import Roles
from explorer.stored import ROW_NAMES

Order = npt.NDArray[np.intp]


class RowNames:
    """How the rows of a screen are called: by row name, and by perturbation where that is unique.

    Parameters
    ----------
    rows, roles
        Of the screen.
    """

    def __init__(self, rows: pl.DataFrame, roles: Roles) -> None:
        self.n_rows = rows.height
        self.columns = tuple(dict.fromkeys((ROW_NAMES, "row", roles.perturbation)))
        present = {column: rows[column].cast(pl.String) for column in self.columns if column in rows.columns}
        if ROW_NAMES in present:
            # A table beside an h5ad file calls the obs_names "row".
            present.setdefault("row", present[ROW_NAMES])
        self._unique = {column: names for column, names in present.items() if names.n_unique() == rows.height}
        self._repeated = {column: names for column, names in present.items() if column not in self._unique}

    def order_of_table(self, table: pl.DataFrame, origin: str) -> Order | None:
        """Find the line of a table for each row of the screen.

        Returns
        -------
        numpy.ndarray or None
            Shape (n_rows,); None where the order is the same already, or the table has no names.

        Raises
        ------
        InputError
            When the table names other rows.
        """
        for column in self.columns:
            if column in table.columns and column in self._unique:
                return _order(table[column].cast(pl.String), self._unique[column], origin)
        named = self._column_of_names(table, origin)
        if named is not None:
            return _order(*named, origin)
        for column, own in self._repeated.items():
            if column in table.columns:
                _same_order(table[column].cast(pl.String), own, origin)
        return None

    def order_of_names(self, names: pl.Series, origin: str) -> Order | None:
        """Find the row of an h5ad or zarr file, by its obs_names, for each row of the screen; as `order_of_table`."""
        if _are_counters(names):
            return None
        for own in self._candidates():
            if set(own) == set(names):
                return _order(names, own, origin)
        first = next(self._candidates(), None)
        return None if first is None else _order(names, first, origin)

    def _column_of_names(self, table: pl.DataFrame, origin: str) -> tuple[pl.Series, pl.Series] | None:
        """Find a text column, whatever it is called, that names the rows of the screen.

        A column of names that are not the screen's must not be passed over: taking the rows in their order would
        scramble the representation without a word.
        """
        candidates = list(self._candidates())
        texts = [
            table[column].cast(pl.String)
            for column in table.columns
            if column not in self.columns and not table.schema[column].is_numeric()
        ]
        texts = [names for names in texts if names.n_unique() == len(names) > 1 and not _are_counters(names)]
        for names in texts:
            for own in candidates:
                if set(own) & set(names):
                    return names, own
        if texts and candidates:
            message = (
                f"{origin!r} has a column {shown(texts[0].name)} of names, and none of them is a row of the screen "
                f"({listed(candidates[0], limit=3)}): give it the screen's names, or leave it out to use the order"
            )
            raise InputError(message)
        return None

    def _candidates(self) -> Iterator[pl.Series]:
        return (names for names in self._unique.values() if not _are_counters(names))


def _are_counters(names: pl.Series) -> bool:
    """Whether names are what anndata makes up where there is none: they name nothing."""
    return names.to_list() == [str(number) for number in range(len(names))]


def _order(names: pl.Series, own: pl.Series, origin: str) -> Order | None:
    if names.n_unique() != len(names):
        repeated = names.filter(names.is_duplicated()).unique().sort()
        msg = f"{origin!r} names rows more than once: {listed(repeated)}; make its row names unique"
        raise InputError(msg)
    places = {name: place for place, name in enumerate(names)}
    missing = [name for name in own if name not in places]
    wanted = set(own)
    extra = [name for name in names if name not in wanted]
    if missing or extra:
        lacks = f"lacks {len(missing):,} rows ({listed(missing, limit=3)})" if missing else ""
        adds = f"has {len(extra):,} rows the screen has not ({listed(extra, limit=3)})" if extra else ""
        message = f"{origin!r} {' and '.join(part for part in (lacks, adds) if part)}: give it the screen's rows"
        raise InputError(message)
    order = np.fromiter((places[name] for name in own), dtype=np.intp, count=len(own))
    return None if np.array_equal(order, np.arange(len(order))) else order


def _same_order(names: pl.Series, own: pl.Series, origin: str) -> None:
    """Check names that repeat: they match no rows, but they show that the order is not the screen's."""
    if len(names) != len(own):
        return  # an error of its own, with both numbers of rows
    for line, (name, wanted) in enumerate(zip(names, own, strict=True), start=1):
        if name != wanted:
            message = (
                f"{origin!r} is in another order than the screen: row {line:,} is {shown(name)} there and "
                f"{shown(wanted)} in the screen; names repeat, so put its rows in the screen's order"
            )
            raise InputError(message)
