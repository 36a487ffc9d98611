"""The sealed key of a blind list: who proposed which pair, in a file of its own that nobody reads at a glance."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from explorer.errors import InputError, shown
from explorer.store import write_atomically
from explorer.table_text import TYPES

KEY_FORMAT = "explorer sealed key 1"
# Bytes of a list or of a key; of 2,000 rows either takes less than one MB.
MOST_BYTES = 16 * 2**20
_NOTE = (
    "Who proposed which pair of a blind list. Leave it closed, best with a colleague, until every row of the list says "
    "hit, no hit or failed."
)


@dataclass(frozen=True, slots=True)
class Opening:
    """When a key was first opened, and for which results.

    Attributes
    ----------
    date
        ISO 8601.
    results
        SHA-256 of the results it was opened for.
    complete
        Whether every row said hit, no hit or failed.
    """

    date: str
    results: str
    complete: bool


@dataclass(frozen=True, slots=True)
class SealedKey:
    """Who proposed which pair of a blind list.

    The seal keeps an eye from wandering and tells of openings by this program. Somebody who unpacks it by hand leaves
    no trace, and nor does whoever keeps a second copy: give the key to a colleague until all results are in.

    Attributes
    ----------
    list_rows
        SHA-256 of the pairs of the list, in their order.
    payload
        Key rows and salt as JSON, deflated, in base64.
    sha256
        Of the payload; the frozen list names it.
    opened
        The first opening; None before it.
    """

    list_rows: str
    payload: str = field(repr=False)
    sha256: str
    opened: Opening | None = None


def canonical(value: object) -> str:
    """Write JSON in the one way that is digested: keys sorted, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256_of(text: str) -> str:
    """SHA-256 of a text in UTF-8, 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def read_bounded(source: Path | bytes, *, name: str, what: str) -> bytes:
    """Read a small file whole, or take bytes as they are.

    Parameters
    ----------
    source
        The file, or its content.
    name, what
        What the file is called, and what is expected, in messages.

    Raises
    ------
    InputError
        When it can't be read, or is larger than `MOST_BYTES`.
    """
    if isinstance(source, Path):
        if not source.is_file():
            message = f"no file {shown(name)}: expected {what}; check the name"
            raise InputError(message)
        try:
            with source.open("rb") as stream:
                source = stream.read(MOST_BYTES + 1)
        except OSError as error:
            message = f"can't read {shown(name)}: {error.strerror or error}; check who may read it"
            raise InputError(message) from error
    if len(source) > MOST_BYTES:
        message = f"{shown(name)} is larger than {MOST_BYTES // 2**20} MB: expected {what}; is it another file?"
        raise InputError(message)
    return source


def seal(rows: pl.DataFrame, *, list_rows: str, salt: bytes) -> SealedKey:
    """Seal who proposed which pair.

    Parameters
    ----------
    rows
        The key rows, in the order of the list; text, Int64, Float64 and Boolean.
    list_rows
        SHA-256 of the list's pairs.
    salt
        Random bytes, without which somebody could try out what the digest fits.
    """
    columns = [[column.name, str(column.dtype)] for column in rows]
    inside = {"columns": columns, "list": list_rows, "rows": [list(row) for row in rows.rows()], "salt": salt.hex()}
    payload = base64.b64encode(zlib.compress(canonical(inside).encode(), 9)).decode()
    return SealedKey(list_rows=list_rows, payload=payload, sha256=sha256_of(payload))


def unsealed(key: SealedKey, *, name: str = "the key") -> pl.DataFrame:
    """Unpack the rows of a key.

    Raises
    ------
    InputError
        When they are not what `seal` packed.
    """
    try:
        packed = zlib.decompressobj()
        text = packed.decompress(base64.b64decode(key.payload, validate=True), MOST_BYTES)
        inside = json.loads(text)
        whole = packed.eof and not packed.unconsumed_tail and inside["list"] == key.list_rows
        schema = {column: TYPES[kind] for column, kind in inside["columns"]}
        rows = pl.DataFrame(inside["rows"], schema=schema, orient="row", strict=True)
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error, zlib.error, pl.exceptions.PolarsError):
        whole = False
    if not whole:
        message = (
            f"{shown(name)} does not hold what a key holds: it was changed after freezing; use it as it was written"
        )
        raise InputError(message)
    return rows


def marked_open(key: SealedKey, *, results_digest: str, complete: bool, date: str) -> SealedKey:
    """Mark a key as opened; the first opening is what counts and is never overwritten."""
    if key.opened is not None:
        return key
    return replace(key, opened=Opening(date=date, results=results_digest, complete=complete))


def opened_early(key: SealedKey, results_digest: str) -> str:
    """Say why a test with these results was not blind: the key was opened before they were complete, or for others.

    Parameters
    ----------
    key
        As it came out of `explorer.frozen.open_key`, or as it is read again.
    results_digest
        SHA-256 of the results that are scored now.

    Returns
    -------
    str
        The reason; empty where the key was opened for these very results, complete, or not at all.
    """
    if key.opened is None:
        return ""
    if not key.opened.complete:
        return f"the key was opened on {key.opened.date}, before all results were in"
    if key.opened.results != results_digest:
        return f"the key was opened on {key.opened.date} for other results than these: some were changed since"
    return ""


def key_text(key: SealedKey) -> str:
    """Write a key as the text of its file, JSON with a digest of its own."""
    opened = key.opened and {"date": key.opened.date, "results": key.opened.results, "complete": key.opened.complete}
    content = {
        "format": KEY_FORMAT,
        "note": _NOTE,
        "list rows": key.list_rows,
        "sha256": key.sha256,
        "opened": opened,
        "payload": key.payload,
    }
    return json.dumps(content | {"digest": sha256_of(canonical(content))}, indent=1) + "\n"


def read_key(source: Path | bytes, *, name: str = "") -> SealedKey:
    """Read a sealed key; it stays sealed.

    Parameters
    ----------
    source
        The file, or its content.
    name
        What messages call it; the file's own name where it is empty.

    Raises
    ------
    InputError
        When it is no key, or was changed.
    """
    name = name or (source.name if isinstance(source, Path) else "the key")
    content = read_bounded(source, name=name, what="the sealed key of a list")
    try:
        found = json.loads(content.decode("utf-8-sig"))
        is_key = isinstance(found, dict) and str(found.get("format", "")).startswith("explorer sealed key")
    except (ValueError, RecursionError):
        is_key = False
    if not is_key:
        message = f"{shown(name)} is no sealed key, or not a whole one: expected the file STEM-key.json of a blind list"
        raise InputError(message)
    key = _key_of(found)
    if key is None:
        message = (
            f"{shown(name)} was changed after it was written, so nothing it says can be used: take the key as it was "
            "written"
        )
        raise InputError(message)
    unsealed(key, name=name)
    return key


def _key_of(found: Mapping[str, Any]) -> SealedKey | None:
    """Take a key from what its file says; None where that does not fit its digests."""
    rest = {key: value for key, value in found.items() if key != "digest"}
    opened = found.get("opened")
    try:
        right = found["format"] == KEY_FORMAT and found["digest"] == sha256_of(canonical(rest))
        opening = None
        if opened is not None:
            opening = Opening(date=opened["date"], results=opened["results"], complete=opened["complete"])
            right = right and isinstance(opening.complete, bool)
            right = right and isinstance(opening.date, str) and isinstance(opening.results, str)
        key = SealedKey(found["list rows"], found["payload"], found["sha256"], opening)
        right = right and isinstance(key.list_rows, str) and sha256_of(key.payload) == key.sha256
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return None
    return key if right else None


def write_opened_key(path: Path, key: SealedKey) -> None:
    """Write a key back to its file once it is marked as opened.

    Raises
    ------
    InputError
        When the file holds another key or an earlier opening, or can't be written.
    """
    before = read_key(path)
    if before.sha256 != key.sha256:
        message = f"{shown(path.name)} holds another key: an opened key is written back to its own file alone"
        raise InputError(message)
    if before.opened not in (None, key.opened):
        message = (
            f"{shown(path.name)} says that it was opened on {before.opened.date} already, and the first opening counts"
        )
        raise InputError(message)
    try:
        write_atomically(path, lambda stream: _write(stream, key_text(key)))
    except OSError as error:
        message = f"can't mark {shown(path.name)} as opened: {error.strerror or error}; it must be writable"
        raise InputError(message) from error


def _write(stream: Any, text: str) -> None:
    stream.write(text.encode())
