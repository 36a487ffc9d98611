"""A list of pairs that can't be changed afterwards: one digest over what it says and every row it holds.

The digest guards against accidents and second thoughts. Somebody who rewrites the list and its digest too is only
caught where the digest was noted elsewhere: in a lab book, in a track record, on the sheet that went to the bench.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import polars as pl

from explorer.digits import counted
from explorer.errors import InputError, listed, shown
from explorer.sealed import SealedKey as SealedKey
from explorer.sealed import canonical, marked_open, seal, sha256_of, unsealed
from explorer.table_text import as_line, settled

Mode = Literal["discover", "compare"]

FORMAT = 1
MODES: tuple[Mode, ...] = ("discover", "compare")
PROPOSERS = ("simple", "learned", "both", "background")
# The share of all pairs as similar as this one that are known already.
KNOWN_RATE = "known rate"
# What a frozen list holds; a list is for a bench.
MOST_ROWS = 10_000
# What every row has.
PAIR_COLUMNS = ("row", "first", "second")
# Digits of a digest that tell rows of a list apart, and that a message shows.
SHORT_DIGEST = 12
# What freezing adds to the header.
_OWN = (
    "columns", "date", "format", "header_sha256", "key_sha256", "mode", "n_rows", "pair_digests", "pairs_sha256",
    "row_digests",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class FrozenList:
    """A list of pairs as it was frozen.

    Attributes
    ----------
    header
        What the list says of itself, fit for JSON: what the caller told, and format, mode, date, columns and digests.
    rows
        ``row`` (1 to n), ``first, second``, and in discover mode whatever stood beside them.
    digest
        SHA-256 of header and rows.
    """

    header: Mapping[str, Any] = field(repr=False)
    rows: pl.DataFrame = field(repr=False)
    digest: str

    @property
    def mode(self) -> Mode:
        """Whether the list looks for hits (discover) or compares two maps blind (compare)."""
        return "compare" if self.header["mode"] == "compare" else "discover"

    @property
    def date(self) -> str:
        """When it was frozen, ISO 8601."""
        return str(self.header["date"])

    @property
    def n_rows(self) -> int:
        """Pairs of the list."""
        return self.rows.height

    @property
    def budget(self) -> int | None:
        """Pairs that were asked for; None where the header does not say."""
        return _whole(self.header.get("budget"))

    @property
    def depth(self) -> int | None:
        """Pairs that either map proposed; None where the header does not say, as in discover mode."""
        return _whole(self.header.get("depth"))

    @property
    def key_sha256(self) -> str:
        """SHA-256 of the sealed key; empty in discover mode."""
        return str(self.header.get("key_sha256", ""))

    @property
    def pairs_sha256(self) -> str:
        """SHA-256 of the pairs in their order, by which a key knows its list."""
        return str(self.header["pairs_sha256"])

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The pairs in their order."""
        return tuple(zip(self.rows["first"].to_list(), self.rows["second"].to_list(), strict=True))

    @property
    def expected(self) -> dict[float, float]:
        """Hits that were expected for each completeness of the annotation, the largest first; NaN where undefined."""
        stated = self.header.get("expected")
        found = {}
        for text, value in stated.items() if isinstance(stated, dict) else ():
            with contextlib.suppress(ValueError):
                share = float(text)
                is_number = isinstance(value, int | float) and not isinstance(value, bool)
                if 0 < share <= 1:
                    found[share] = float(value) if is_number else float("nan")
        return dict(sorted(found.items(), reverse=True))


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


# ---------------------------------------------------------------- freezing


def freeze(
    rows: pl.DataFrame,
    *,
    mode: Mode,
    header: Mapping[str, Any],
    date: datetime | str,
    key_rows: pl.DataFrame | None = None,
    salt: bytes | None = None,
) -> tuple[FrozenList, SealedKey | None]:
    """Freeze a list of pairs, in compare mode blind.

    Parameters
    ----------
    rows
        ``first, second`` and in discover mode any columns beside them, among them ``known rate``; the best first.
        Fractions are kept to 6 significant digits, undefined ones as null.
    mode
        In compare mode the rows are shuffled and hold the pairs alone.
    header
        What the list shall say of itself: data, contexts, recipes, seeds, budget, expected hits …
    date
        Of freezing; text in ISO 8601.
    key_rows
        In compare mode ``first, second, proposer`` (simple | learned | both | background) of the same pairs and
        whatever else must stay unseen until the results are in.
    salt
        Random bytes from which the order follows and that go into the key; drawn where None.

    Returns
    -------
    tuple
        The list and, in compare mode, its sealed key.

    Raises
    ------
    InputError
        When the pairs are no different pairs in order, the key has others, or the header does not fit JSON.
    """
    if mode not in MODES:
        message = f"a list can't be frozen in mode {shown(mode)}: choose one of {listed(MODES)}"
        raise InputError(message)
    pairs = _checked_pairs(rows)
    when = utc_text(date)
    told = _plain(header)
    if clash := sorted(set(told) & (set(_OWN) - {"mode"})):
        message = f"the header says {listed(clash)}, which freezing adds: leave it out"
        raise InputError(message)
    if (mode == "compare") != (key_rows is not None):
        message = "a compare list needs the rows of its key, and no other list has a key"
        raise InputError(message)
    key = None
    if key_rows is None:
        table = _settled(rows.drop("row", strict=False))
        table = table.select("first", "second", pl.exclude("first", "second"))
    else:
        salt = secrets.token_bytes(32) if salt is None else salt
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(salt).digest()))
        # From one order, whatever the given one was, so that the salt alone decides.
        ordered = sorted(pairs)
        pairs = [ordered[place] for place in rng.permutation(len(ordered)).tolist()]
        table = pl.DataFrame(pairs, schema={"first": pl.String, "second": pl.String}, orient="row")
        proposers = _ordered_key(key_rows, pairs)
        key = seal(proposers, list_rows=pairs_digest(pairs), salt=salt)
    numbers = pl.Series("row", np.arange(1, table.height + 1), dtype=pl.Int64)
    table = table.with_columns(numbers).select("row", pl.exclude("row"))
    full = told | {
        "format": FORMAT,
        "mode": mode,
        "date": when,
        "columns": [[column.name, str(column.dtype)] for column in table],
        "n_rows": table.height,
        "row_digests": [sha256_of(as_line(row))[:SHORT_DIGEST] for row in table.rows()],
        "pair_digests": [pair_digest(*pair) for pair in pairs],
        "pairs_sha256": pairs_digest(pairs),
    }
    if key is not None:
        full["key_sha256"] = key.sha256
    full["header_sha256"] = header_digest(full)
    return FrozenList(full, table, list_digest(full, table)), key


def _checked_pairs(rows: pl.DataFrame) -> list[tuple[str, str]]:
    if missing := [name for name in ("first", "second") if rows.schema.get(name) != pl.String]:
        message = f"a list needs the columns first and second as text: {listed(missing)} is not there or is none"
        raise InputError(message)
    if not 1 <= rows.height <= MOST_ROWS:
        message = f"a list of {counted(rows.height, 'pair')} can't be frozen: expected 1 to {MOST_ROWS:,}"
        raise InputError(message)
    pairs = [(str(first), str(second)) for first, second in rows.select("first", "second").rows()]
    if rows["first"].null_count() or rows["second"].null_count() or any(first >= second for first, second in pairs):
        wrong = next((pair for pair in pairs if pair[0] >= pair[1]), ("a name", "nothing"))
        message = f"{pair_text(*wrong)} is no pair in order: write the name that sorts first as the first"
        raise InputError(message)
    if len(set(pairs)) < len(pairs):
        twice = next(pair for place, pair in enumerate(pairs) if pair in pairs[:place])
        message = f"the pair {pair_text(*twice)} stands in the list twice: name each pair once"
        raise InputError(message)
    return pairs


def _ordered_key(key_rows: pl.DataFrame, pairs: Sequence[tuple[str, str]]) -> pl.DataFrame:
    """Bring the rows of a key into the order of the list."""
    own = _checked_pairs(key_rows)
    if set(own) != set(pairs):
        strange = next(iter(sorted(set(own) ^ set(pairs))))
        message = f"key and list are not of the same pairs: {pair_text(*strange)} stands in one of them alone"
        raise InputError(message)
    proposers = key_rows["proposer"].to_list() if "proposer" in key_rows.columns else [None]
    if wrong := [word for word in proposers if word not in PROPOSERS]:
        message = f"the key says {shown(wrong[0])} of who proposed a pair: expected one of {listed(PROPOSERS)}"
        raise InputError(message)
    place = {pair: number for number, pair in enumerate(own)}
    ordered = _settled(key_rows.drop("row", strict=False))[[place[pair] for pair in pairs]]
    numbers = pl.Series("row", np.arange(1, len(pairs) + 1), dtype=pl.Int64)
    return ordered.with_columns(numbers).select(*PAIR_COLUMNS, pl.exclude(*PAIR_COLUMNS))


def _settled(table: pl.DataFrame) -> pl.DataFrame:
    try:
        return settled(table)
    except (ValueError, pl.exceptions.PolarsError) as error:
        message = f"the list can't be frozen: {str(error).splitlines()[0]}"
        raise InputError(message) from error


def _plain(header: Mapping[str, Any]) -> dict[str, Any]:
    """Bring a header to what JSON gives back, undefined numbers as null."""
    try:
        found = json.loads(canonical(_without_nan(dict(header))))
    except (TypeError, ValueError, RecursionError) as error:
        message = f"the header of a list must fit JSON: {str(error).splitlines()[0]}"
        raise InputError(message) from error
    return dict(found)


def _without_nan(value: object) -> object:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value


def utc_text(date: datetime | str) -> str:
    """Write a date with its time in UTC: ``2026-01-31T12:00:00Z``; one without a time zone is taken for UTC.

    Raises
    ------
    InputError
        When it is no date in ISO 8601.
    """
    try:
        found = datetime.fromisoformat(date) if isinstance(date, str) else date
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        message = f"the date {shown(date)} can't be read: expected ISO 8601, such as 2026-01-31T12:00:00Z"
        raise InputError(message) from error
    return found.strftime("%Y-%m-%dT%H:%M:%SZ")


def pair_text(first: str, second: str) -> str:
    """Quote a pair for a message: ``'A' + 'B'``."""
    return f"{shown(first)} + {shown(second)}"


# ---------------------------------------------------------------- digests


def pair_digest(first: object, second: object) -> str:
    """Digest a pair, to twelve digits."""
    return sha256_of(canonical([first, second]))[:SHORT_DIGEST]


def pairs_digest(pairs: Sequence[tuple[str, str]]) -> str:
    """SHA-256 of pairs in their order."""
    return sha256_of(canonical([list(pair) for pair in pairs]))


def header_digest(header: Mapping[str, Any]) -> str:
    """SHA-256 of a header but for the place where it stands itself."""
    return sha256_of(canonical({key: value for key, value in header.items() if key != "header_sha256"}))


def list_digest(header: Mapping[str, Any], rows: pl.DataFrame) -> str:
    """SHA-256 of a list: its header, and its rows as text."""
    return sha256_of(f"{canonical(header)}\n{rows_text(rows)}")


def rows_text(rows: pl.DataFrame) -> str:
    """Write rows below the names of their columns, one line each."""
    return "\n".join([as_line(rows.columns), *(as_line(row) for row in rows.rows())]) + "\n"


# ---------------------------------------------------------------- the key


def check_key(frozen: FrozenList, key: SealedKey) -> None:
    """Hold a key against its list.

    Raises
    ------
    InputError
        When the list has none, the key is another list's, or it was changed after freezing.
    """
    if frozen.mode != "compare":
        message = "a discover list has no key: nothing about it is sealed"
        raise InputError(message)
    if key.sha256 == frozen.key_sha256 and key.list_rows == frozen.pairs_sha256:
        return
    if key.list_rows == frozen.pairs_sha256:
        message = (
            f"the key was changed after freezing: its SHA-256 begins {key.sha256[:SHORT_DIGEST]}, and the list names "
            f"{frozen.key_sha256[:SHORT_DIGEST]}"
        )
        raise InputError(message)
    message = (
        f"this is the key of another list: its SHA-256 begins {key.sha256[:SHORT_DIGEST]}, and this list names "
        f"{frozen.key_sha256[:SHORT_DIGEST]}; take the -key.json that was written beside the list"
    )
    raise InputError(message)


def open_key(
    frozen: FrozenList, key: SealedKey, *, results_digest: str, complete: bool, date: datetime | str
) -> tuple[pl.DataFrame, SealedKey]:
    """Open the key of a list for some results.

    Parameters
    ----------
    frozen, key
        The list and its key.
    results_digest, complete
        SHA-256 of the results it is opened for, and whether every row says hit, no hit or failed.
    date
        Of the opening; text in ISO 8601.

    Returns
    -------
    tuple
        ``row, first, second, proposer`` and whatever else was sealed, in the order of the list; and the key marked as
        opened, to be written back with `explorer.sealed.write_opened_key`. The first opening is what counts.

    Raises
    ------
    InputError
        As `check_key`, or when the key holds other rows than the list.
    """
    check_key(frozen, key)
    when = utc_text(date)
    rows = unsealed(key)
    own = frozen.rows.select(PAIR_COLUMNS)
    right = (
        set(PAIR_COLUMNS) <= set(rows.columns) and rows.select(PAIR_COLUMNS).equals(own) and "proposer" in rows.columns
    )
    if not right or not rows["proposer"].is_in(PROPOSERS).fill_null(value=False).all():
        message = "the key does not hold the rows of this list: it was not written by freezing it"
        raise InputError(message)
    return rows, marked_open(key, results_digest=results_digest, complete=complete, date=when)
