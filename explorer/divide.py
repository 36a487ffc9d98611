"""Contexts inside one file without a card: each value of a column is one, with what other columns state of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.card import ContextCard
from explorer.digits import counted
from explorer.errors import InputError, listed, shown, unknown_name
from explorer.numbering import number_names
from explorer.roles import USUAL_CONDITIONS
from explorer.screen import Context, Roles, RowTable, check_labels, holds_labels

# A map has three perturbations or more.
LEAST_PERTURBATIONS = 3
# Values of a column that are too many to be contexts are something else: guides, wells, cells.
MOST_CONTEXTS = 200
# Of 80 signs that a name may have, room is left for a number.
_LONGEST = 74
_NO_SIGN = re.compile(r"[^A-Za-z0-9 ._+-]")


@dataclass(frozen=True, slots=True, eq=False)
class Division:
    """The contexts of one file.

    Attributes
    ----------
    contexts
        By name, sorted by the column's values.
    n_rows
        Rows of the smallest.
    notes
        What was assumed, and who is left out, in sentences.
    """

    contexts: Mapping[str, ContextCard]
    n_rows: int
    notes: tuple[str, ...] = ()


def divide_rows(rows: RowTable, roles: Roles, *, column: str, file: str) -> Division:
    """Make a context of each value of a column that has 3 perturbations or more.

    Parameters
    ----------
    rows, roles
        The row table, and which column plays which part.
    column
        The column whose values are the contexts.
    file
        Name of the file.

    Raises
    ------
    InputError
        When there is no such column, it names the perturbations, or its values can't be contexts.
    """
    if column not in rows.columns:
        msg = "context column"
        raise unknown_name(msg, column, rows.columns)
    check_labels("context", column, rows.schema[column])
    another = "name the column that says in which cell line, at which time or the like a row was measured"
    if column == roles.perturbation:
        message = f"the column {shown(column)} names the perturbations, not contexts: {another}"
        raise InputError(message)
    numbers, labels = number_names(rows[column])
    table = _counts(rows, roles, numbers).with_columns(pl.Series("label", labels, dtype=pl.String))
    named = table.drop_nulls("label").filter(pl.col("label").str.strip_chars() != "")
    kept = named.filter(pl.col("n_perturbations") >= LEAST_PERTURBATIONS)
    if not kept.height:
        message = (
            f"no value of the column {shown(column)} has {LEAST_PERTURBATIONS} perturbations or more to be a context: "
            f"{another}"
        )
        raise InputError(message)
    if kept.height > MOST_CONTEXTS:
        message = (
            f"the column {shown(column)} has {kept.height:,} values, too many to be contexts (at most "
            f"{MOST_CONTEXTS}): {another}"
        )
        raise InputError(message)
    conditions, taken = _conditions(rows, numbers, column)
    contexts: dict[str, ContextCard] = {}
    for place, label in zip(kept["place"].to_list(), kept["label"].to_list(), strict=True):
        context = Context(_context_name(label, contexts), **conditions.get(place, {}))
        contexts[context.name] = ContextCard(context, file, where=((column, (label,)),))
    small = named.filter(pl.col("n_perturbations") < LEAST_PERTURBATIONS)["label"].to_list()
    bare = kept.filter(pl.col("n_controls") == 0)["label"].to_list() if int(table["n_controls"].sum()) else []
    n_blank = int(table["n_rows"].sum()) - int(named["n_rows"].sum())
    said = (
        f"contexts are the values of the column {shown(column)}: {listed(kept['label'])}",
        f"conditions are taken from the columns {listed(taken, limit=8)}" if taken else "",
        f"no contexts, for want of {LEAST_PERTURBATIONS} perturbations: {listed(small)}" if small else "",
        f"{counted(n_blank, 'row is', 'rows are')} of no context: {shown(column)} is blank there" if n_blank else "",
        f"no controls are among the rows of {listed(bare)}" if bare else "",
    )
    return Division(contexts, int(kept["n_rows"].min()), tuple(text for text in said if text))  # type: ignore[arg-type]


def _counts(rows: RowTable, roles: Roles, numbers: npt.NDArray[np.int32]) -> pl.DataFrame:
    """Count rows, perturbations of the map and controls of each value: a line a value, by its number."""
    labels = rows[roles.perturbation]
    if roles.control_column is not None and roles.control_column in rows.columns:
        flags = rows[roles.control_column]
        is_control = (
            flags.fill_null(value=False) if flags.dtype == pl.Boolean else pl.repeat(False, len(flags), eager=True)
        )
    else:
        is_control = labels.cast(pl.String).is_in(list(roles.control)).fill_null(value=False)
    table = pl.DataFrame({"place": numbers, "perturbation": labels, "control": is_control})
    stays = pl.lit(value=True) if roles.keep_controls else ~pl.col("control")
    return (
        table.group_by("place")
        .agg(
            pl.len().alias("n_rows"),
            pl.col("perturbation").filter(stays).drop_nulls().n_unique().alias("n_perturbations"),
            pl.col("control").sum().alias("n_controls"),
        )
        .sort("place")
    )


def _conditions(
    rows: RowTable, numbers: npt.NDArray[np.int32], column: str
) -> tuple[dict[int, dict[str, Any]], list[str]]:
    """Read conditions off columns of the usual names that have one value in each context."""
    found: dict[int, dict[str, Any]] = {}
    taken = []
    for condition, usual in USUAL_CONDITIONS.items():
        present = [name for name in usual if name in rows.columns and holds_labels(name, rows.schema[name])]
        if not present:
            continue
        name = column if column in present else present[0]
        pairs = pl.DataFrame({"place": numbers, "label": rows[name].cast(pl.String)}).unique().drop_nulls()
        if pairs["place"].n_unique() != pairs.height:
            continue  # what has several values in one context is no condition of it
        for place, label in pairs.iter_rows():
            if label.strip():
                found.setdefault(place, {})[condition] = " ".join(label.split())
        taken.append(name)
    return found, taken


def _context_name(label: str, taken: Collection[str]) -> str:
    """Write a label so that it can stand in links and file names; those that become the same are numbered."""
    plain = _NO_SIGN.sub("-", label).lstrip(" ._+-")[:_LONGEST].rstrip() or "context"
    name, number = plain, 1
    while name in taken:
        number += 1
        name = f"{plain}-{number}"
    return name
