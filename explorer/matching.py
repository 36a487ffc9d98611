"""Which row of another file belongs to which row of a screen: by name, else by number and order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.digits import counted
from explorer.errors import InputError, listed, shown, unknown_name
from explorer.numbering import number_names
from explorer.screen import Roles, RowTable, check_labels, holds_labels
from explorer.spelling import shared_names
from explorer.stored import ROW_NAMES

Order = npt.NDArray[np.intp]


class SelectedRows:
    """Some rows of a row table, those of one context: each column is read when it is asked for.

    Parameters
    ----------
    table
        The row table.
    rows
        Its rows that are wanted, shape (n_rows,).
    """

    def __init__(self, table: RowTable, rows: Order) -> None:
        self.columns: list[str] = list(table.columns)
        self.schema: Mapping[str, Any] = table.schema
        self.height = len(rows)
        self._table, self._rows = table, rows

    def __getitem__(self, name: str, /) -> pl.Series:
        """Read one column."""
        return self._table[name].gather(self._rows)


def rows_where(table: RowTable, where: Mapping[str, tuple[str, ...]], *, origin: str) -> Order:
    """Find the rows of one context among several in a file.

    Parameters
    ----------
    table
        The row table.
    where
        Columns, and the labels that a row of the context may have in each; all must hold.
    origin
        What to call the file in a message.

    Returns
    -------
    numpy.ndarray
        Numbers of the rows, ascending.

    Raises
    ------
    InputError
        When a column or label is not there (the nearest is named), or no row is left.
    """
    chosen = np.ones(table.height, dtype=bool)
    for column, labels in where.items():
        if column not in table.columns:
            msg = f"column of {origin!r} under 'where'"
            raise unknown_name(msg, column, table.columns)
        check_labels("where", column, table.schema[column])
        numbers, names = number_names(table[column])
        for label in labels:
            if label not in names:
                msg = f"label under 'where' in column {shown(column)} of {origin!r}"
                raise unknown_name(msg, label, [name for name in names if name is not None])
        chosen &= np.isin(numbers, [names.index(label) for label in labels])
    if not chosen.any():
        wanted = " and ".join(f"{shown(column)} is {listed(labels, limit=3)}" for column, labels in where.items())
        message = f"no row of {origin!r} is left where {wanted}: name labels that occur together"
        raise InputError(message)
    return np.flatnonzero(chosen)


class RowNames:
    """How the rows of a screen are called: by row name, and by perturbation where that is unique.

    The names are read when a file is to be matched by them, and not before.

    Parameters
    ----------
    rows, roles
        Of the screen.
    """

    def __init__(self, rows: RowTable, roles: Roles) -> None:
        self.n_rows = rows.height
        self.columns = tuple(dict.fromkeys((ROW_NAMES, "row", roles.perturbation)))
        self._rows = rows

    def order_of_table(self, table: RowTable, origin: str) -> Order | None:
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
            if _names_rows(table, column) and column in self._unique:
                return _order(table[column].cast(pl.String), self._unique[column], origin)
        named = self._column_of_names(table, origin)
        if named is not None:
            return _order(*named, origin)
        for column, own in self._repeated.items():
            if _names_rows(table, column):
                _same_order(table[column].cast(pl.String), own, origin)
        return None

    def order_of_names(self, names: pl.Series, origin: str) -> Order | None:
        """Find the row of an h5ad or zarr file, by its obs_names, for each row of the screen; as `order_of_table`."""
        if _are_counters(names):
            return None
        distinct = names.unique()
        for own in self._candidates():
            if len(distinct) == len(own) == _n_shared(own, distinct):
                return _order(names, own, origin)
        first = next(self._candidates(), None)
        return None if first is None else _order(names, first, origin)

    @cached_property
    def _names(self) -> tuple[dict[str, pl.Series], dict[str, pl.Series]]:
        present = {name: self._rows[name].cast(pl.String) for name in self.columns if _names_rows(self._rows, name)}
        if ROW_NAMES in present:
            # A table beside an h5ad file calls the obs_names "row".
            present.setdefault("row", present[ROW_NAMES])
        unique = {column: names for column, names in present.items() if names.n_unique() == self.n_rows}
        return unique, {column: names for column, names in present.items() if column not in unique}

    @property
    def _unique(self) -> dict[str, pl.Series]:
        return self._names[0]

    @property
    def _repeated(self) -> dict[str, pl.Series]:
        return self._names[1]

    def _column_of_names(self, table: RowTable, origin: str) -> tuple[pl.Series, pl.Series] | None:
        """Find a text column, whatever it is called, that names the rows of the screen.

        A column of names that are not the screen's must not be passed over: taking the rows in their order would
        scramble the representation without a word.
        """
        candidates = list(self._candidates())
        texts = [
            table[column].cast(pl.String)
            for column in table.columns
            if column not in self.columns and _names_rows(table, column) and not table.schema[column].is_numeric()
        ]
        texts = [names for names in texts if names.n_unique() == len(names) > 1 and not _are_counters(names)]
        for names in texts:
            for own in candidates:
                if _n_shared(own, names):
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


def places_by_perturbation(table: RowTable, labels: pl.Series, *, column: str, origin: str) -> Order:
    """Find, for each row of a screen, the line of a table that has one line a perturbation.

    Its names may stand in any text column, or in the index: the column that names most perturbations is taken.

    Parameters
    ----------
    table
        One line a perturbation, in any order; lines of perturbations that the screen has not are passed over.
    labels
        Perturbation of each row of the screen, shape (n_rows,).
    column
        Name of the screen's column of perturbations, whose namesake may hold numbers.
    origin
        What to call the table in a message.

    Returns
    -------
    numpy.ndarray
        Line of each row, shape (n_rows,); −1 where its perturbation has none.

    Raises
    ------
    InputError
        When no column names three of the perturbations (the nearest are named), or a name has several lines.
    """
    own = labels.cast(pl.String)
    distinct = own.drop_nulls().unique().sort()
    texts = [table[name].cast(pl.String) for name in table.columns if _may_name(table, name, column)]
    if not texts:
        message = f"{origin!r} names no perturbations: give it a text column of them, one row each"
        raise InputError(message)
    # The first of equals: the column that is called as the screen's, where there is one.
    names = max(texts, key=lambda found: (_n_shared(distinct, found.unique()), found.name == column))
    shared_names(names.drop_nulls(), distinct, labels=(repr(origin), "the screen"))
    both = names.filter(names.is_in(distinct.implode()))
    if both.n_unique() != len(both):
        repeated = both.filter(both.is_duplicated()).unique().sort()
        message = f"{origin!r} names perturbations more than once: {listed(repeated)}; give it one row each"
        raise InputError(message)
    lines = _one_column(names).with_row_index("line")
    found = _one_column(own).join(lines, on="name", how="left", maintain_order="left")
    return found["line"].cast(pl.Int64).fill_null(-1).to_numpy().astype(np.intp)


def _may_name(table: RowTable, name: str, column: str) -> bool:
    return _names_rows(table, name) and (name == column or not table.schema[name].is_numeric())


def _names_rows(table: RowTable, column: str) -> bool:
    return column in table.columns and holds_labels(column, table.schema[column])


def _are_counters(names: pl.Series) -> bool:
    """Whether names are what anndata makes up where there is none: they name nothing."""
    if len(names) and (names[0] != "0" or names[-1] != str(len(names) - 1)):
        return False
    return names.equals(pl.int_range(len(names), eager=True).cast(pl.String), null_equal=True)


def _n_shared(own: pl.Series, names: pl.Series) -> int:
    """Count the names of one series that the other has too."""
    return _one_column(own).join(_one_column(names), on="name", how="semi", nulls_equal=True).height


def _one_column(names: pl.Series) -> pl.DataFrame:
    return names.alias("name").to_frame()


def _order(names: pl.Series, own: pl.Series, origin: str) -> Order | None:
    if names.n_unique() != len(names):
        repeated = names.filter(names.is_duplicated()).unique().sort()
        msg = f"{origin!r} names rows more than once: {listed(repeated)}; make its row names unique"
        raise InputError(msg)
    places = _one_column(names).with_row_index("place")
    found = _one_column(own).join(places, on="name", how="left", nulls_equal=True, maintain_order="left")
    missing = own.filter(found["place"].is_null())
    extra = _one_column(names).join(_one_column(own), on="name", how="anti", nulls_equal=True, maintain_order="left")
    if len(missing) or extra.height:
        lacks = f"lacks {counted(len(missing), 'row')} ({listed(missing, limit=3)})" if len(missing) else ""
        more = counted(extra.height, "row")
        adds = f"has {more} the screen has not ({listed(extra['name'], limit=3)})" if extra.height else ""
        message = f"{origin!r} {' and '.join(part for part in (lacks, adds) if part)}: give it the screen's rows"
        raise InputError(message)
    order = found["place"].to_numpy().astype(np.intp)
    return None if np.array_equal(order, np.arange(len(order))) else order


def _same_order(names: pl.Series, own: pl.Series, origin: str) -> None:
    """Check names that repeat: they match no rows, but they show that the order is not the screen's."""
    if len(names) != len(own):
        return  # an error of its own, with both numbers of rows
    different = names.ne_missing(own).arg_true()
    if len(different):
        line = int(different[0])
        message = (
            f"{origin!r} is in another order than the screen: row {line + 1:,} is {shown(names[line])} there and "
            f"{shown(own[line])} in the screen; names repeat, so put its rows in the screen's order"
        )
        raise InputError(message)
