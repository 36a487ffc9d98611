"""The files of a frozen list: parquet, CSV, the sheet for the bench and the sealed key; what was changed is said."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from explorer.errors import InputError, listed, shown
from explorer.frozen import (
    FORMAT,
    MODES,
    MOST_ROWS,
    PAIR_COLUMNS,
    SHORT_DIGEST,
    FrozenList,
    Mode,
    check_key,
    header_digest,
    list_digest,
    pair_digest,
    pair_text,
    pairs_digest,
    rows_text,
)
from explorer.quarantine import read_quarantined
from explorer.sealed import SealedKey, canonical, key_text, read_bounded, sha256_of
from explorer.store import write_new_atomically
from explorer.table_text import TYPES, Cell, as_line, of_line

_TITLE = "# explorer shortlist "
_DIGEST = "# digest: "
_AS_WRITTEN = "a frozen list can't be changed, so use the file as it was written"


# ---------------------------------------------------------------- forms


def csv_text(frozen: FrozenList) -> str:
    """Write a list as CSV below three lines of comment: title, header and digest.

    Every row is one line, whatever the names hold (`explorer.table_text`).
    """
    return f"{_TITLE}{FORMAT}\n# {canonical(frozen.header)}\n{_DIGEST}{frozen.digest}\n{rows_text(frozen.rows)}"


def parquet_bytes(frozen: FrozenList) -> bytes:
    """Write a list as parquet, header and digest beside the columns."""
    buffer = io.BytesIO()
    metadata = {
        "explorer.shortlist": str(FORMAT),
        "explorer.header": canonical(frozen.header),
        "explorer.digest": frozen.digest,
    }
    frozen.rows.write_parquet(buffer, metadata=metadata)
    return buffer.getvalue()


def sheet_csv(frozen: FrozenList, results: Sequence[str | None] | None = None) -> str:
    r"""Write what goes to the bench: row, first, second and an empty result.

    A name that a spreadsheet would take for a formula begins with a backslash, which `explorer.outcomes.read_results`
    takes away again.

    Parameters
    ----------
    frozen
        The list.
    results
        Result of each row, to fill in; None for none yet.
    """
    lines = [f"# explorer sheet of list {frozen.digest}"]
    if frozen.key_sha256:
        lines.append(f"# sealed key (SHA-256): {frozen.key_sha256}")
    lines += ["# result: hit / no hit / failed; blank while it is not back", "row,first,second,result"]
    filled = [None] * frozen.n_rows if results is None else list(results)
    for row, result in zip(frozen.rows.select(PAIR_COLUMNS).rows(), filled, strict=True):
        lines.append(as_line((*row, result)))
    return "\n".join(lines) + "\n"


def frozen_paths(path: Path, *, mode: Mode) -> dict[str, Path]:
    """Name the files of a list: parquet, csv, sheet and in compare mode key.

    Parameters
    ----------
    path
        Where they shall stand; an ending ``.parquet`` or ``.csv`` is taken away.
    mode
        Of the list.
    """
    stem = path.name
    for ending in (".parquet", ".csv"):
        stem = stem.removesuffix(ending)
    names = {"parquet": f"{stem}.parquet", "csv": f"{stem}.csv", "sheet": f"{stem}-sheet.csv"}
    if mode == "compare":
        names["key"] = f"{stem}-key.json"
    return {form: path.with_name(name) for form, name in names.items()}


def write_frozen(path: Path, frozen: FrozenList, *, key: SealedKey | None = None) -> tuple[Path, ...]:
    """Write the files of a list, all of them or none.

    A program that is killed meanwhile may leave some of them, each whole, and no list without its key.

    Parameters
    ----------
    path
        As in `frozen_paths`.
    frozen, key
        The list, and in compare mode its key.

    Returns
    -------
    tuple
        The files: parquet, csv, sheet, key.

    Raises
    ------
    InputError
        When one of them exists, since a frozen list can't be changed, or can't be written.
    """
    if (frozen.mode == "compare") != (key is not None):
        message = "a compare list is written with its key, and no other list has one"
        raise InputError(message)
    paths = frozen_paths(path, mode=frozen.mode)
    contents = {
        "parquet": parquet_bytes(frozen),
        "csv": csv_text(frozen).encode(),
        "sheet": sheet_csv(frozen).encode(),
    }
    if key is not None:
        check_key(frozen, key)
        contents["key"] = key_text(key).encode()
    if taken := [one.name for one in paths.values() if one.exists() or one.is_symlink()]:
        message = f"{listed(taken)} exists already and a frozen list can't be changed: choose another name"
        raise InputError(message)
    written: list[Path] = []
    try:
        # The key first: of a list without one nothing could ever be said.
        for form in reversed(paths):
            write_new_atomically(paths[form], _writer(contents[form]))
            written.append(paths[form])
    except BaseException as error:
        for one in written:
            with contextlib.suppress(OSError):
                one.unlink()
        if isinstance(error, FileExistsError) and path.parent.is_dir():
            message = f"{shown(path.name)} was written by somebody else meanwhile: choose another name"
            raise InputError(message) from error
        if isinstance(error, OSError):
            message = f"can't write the list to {shown(path.name)}: {error.strerror or error}"
            raise InputError(message) from error
        raise
    return tuple(paths.values())


def _writer(content: bytes) -> Callable[[BinaryIO], None]:
    def write(stream: BinaryIO) -> None:
        stream.write(content)

    return write


# ---------------------------------------------------------------- reading


def read_frozen(source: Path | bytes, *, name: str = "") -> FrozenList:
    """Read a frozen list in either form, and hold it against its digests.

    Parameters
    ----------
    source
        The file, or its content; parquet or csv by what it holds, not by its name. A csv file may have come through a
        program that writes other line ends.
    name
        What messages call it; the file's own name where it is empty.

    Raises
    ------
    InputError
        When it is no list, or was changed: a row, their order or number, the header, or the digest.
    """
    name = name or (source.name if isinstance(source, Path) else "the list")
    content = read_bounded(source, name=name, what="a frozen list")
    return _of_parquet(content, name) if content.startswith(b"PAR1") else _of_csv(content, name)


@dataclass(frozen=True, slots=True, eq=False)
class _Claimed:
    """What a file says before it is believed: rows as cells, None for one that can't be read."""

    header: dict[str, Any]
    columns: list[str]
    rows: list[list[Cell] | None]
    digest: str
    is_cut: bool = False


def _of_csv(content: bytes, name: str) -> FrozenList:
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        message = f"{shown(name)} is not a frozen list: it is neither parquet nor text in UTF-8, or was damaged"
        raise InputError(message) from error
    is_cut = not text.endswith("\n")
    lines = text.rstrip("\n").split("\n")
    _check_format(lines[0].removeprefix(_TITLE).rstrip(",") if lines[0].startswith(_TITLE) else "", name)
    if len(lines) < 4 or not lines[1].startswith("# ") or not lines[2].startswith(_DIGEST):
        message = f"the first lines of {shown(name)} are not those of a frozen list: {_AS_WRITTEN}"
        raise InputError(message)
    header = _checked_header(lines[1][2:], name)
    types = [kind for _, kind in header["columns"]]
    rows = [_cells(line, types) for line in lines[4:]]
    try:
        columns = [str(cell) for cell in of_line(lines[3], ["String"] * len(types))]
    except ValueError:
        columns = []
    return _believed(_Claimed(header, columns, rows, lines[2].removeprefix(_DIGEST).rstrip(","), is_cut), name)


def _cells(line: str, types: Sequence[str]) -> list[Cell] | None:
    try:
        return of_line(line, types)
    except ValueError:
        return None


def _of_parquet(content: bytes, name: str) -> FrozenList:
    try:
        found = read_quarantined(content)
    except ValueError as error:
        message = f"can't read {shown(name)}: {error}; is the file whole, and a frozen list?"
        raise InputError(message) from error
    _check_format(found.metadata.get("explorer.shortlist", ""), name)
    header = _checked_header(found.metadata.get("explorer.header", ""), name)
    if [list(column) for column in found.types] != header["columns"]:
        message = f"the columns of {shown(name)} are not those that were frozen: {_AS_WRITTEN}"
        raise InputError(message)
    rows: list[list[Cell] | None] = [list(row) for row in zip(*found.columns, strict=True)]
    columns = [column for column, _ in found.types]
    return _believed(_Claimed(header, columns, rows, found.metadata.get("explorer.digest", "")), name)


def _check_format(version: str, name: str) -> None:
    if not version:
        message = (
            f"{shown(name)} is not a frozen list: expected the STEM.parquet or STEM.csv that freezing wrote, not the "
            "sheet, the key or the results"
        )
        raise InputError(message)
    if version != str(FORMAT):
        message = f"{shown(name)} is a list of format {shown(version)}, and this version reads format {FORMAT}"
        raise InputError(message)


def _checked_header(text: str, name: str) -> dict[str, Any]:
    """Read a header and hold it against its own digest."""
    try:
        header = json.loads(text)
        right = isinstance(header, dict) and canonical(header) == text
        right = right and header.get("header_sha256") == header_digest(header) and _has_shape(header)
    except (ValueError, TypeError, KeyError, RecursionError):
        right = False
    if not right:
        message = f"the header of {shown(name)} was changed after freezing, or is not whole: {_AS_WRITTEN}"
        raise InputError(message)
    return dict(header)


def _has_shape(header: Mapping[str, Any]) -> bool:
    """Whether a header holds what freezing adds; a stranger can make any with a digest that fits."""
    n, columns, mode = header["n_rows"], header["columns"], header["mode"]
    texts = (*header["row_digests"], *header["pair_digests"], header["pairs_sha256"], header["date"])
    names = [column for column, _ in columns]
    return (
        header["format"] == FORMAT
        and mode in MODES
        and (mode == "compare") == isinstance(header.get("key_sha256"), str)
        and isinstance(n, int)
        and 1 <= n <= MOST_ROWS
        and len(header["row_digests"]) == len(header["pair_digests"]) == n
        and all(isinstance(text, str) for text in texts)
        and columns[:3] == [["row", "Int64"], ["first", "String"], ["second", "String"]]
        and (mode == "discover" or len(columns) == 3)
        and all(isinstance(column, str) and kind in TYPES for column, kind in columns)
        and len(set(names)) == len(names)
    )


def _believed(claimed: _Claimed, name: str) -> FrozenList:
    """Hold rows and digest against the header."""
    header = claimed.header
    lines = [None if row is None else as_line(row) for row in claimed.rows]
    own = [None if line is None else sha256_of(line)[:SHORT_DIGEST] for line in lines]
    if own != header["row_digests"]:
        message = f"{shown(name)}: {_what_changed(claimed, own)}: {_AS_WRITTEN}"
        raise InputError(message)
    if claimed.columns != [column for column, _ in header["columns"]]:
        message = f"{shown(name)}: the names of the columns were changed after freezing: {_AS_WRITTEN}"
        raise InputError(message)
    schema = {column: TYPES[kind] for column, kind in header["columns"]}
    rows = pl.DataFrame(claimed.rows, schema=schema, orient="row", strict=True)
    digest = list_digest(header, rows)
    if claimed.digest != digest:
        message = (
            f"{shown(name)}: the digest was changed after freezing: it says {shown(claimed.digest[:SHORT_DIGEST])} "
            f"where header and rows make {digest[:SHORT_DIGEST]}"
        )
        raise InputError(message)
    pairs = list(zip(rows["first"].to_list(), rows["second"].to_list(), strict=True))
    numbered = rows["row"].to_list() == list(range(1, rows.height + 1))
    ordered = all(isinstance(one, str) and isinstance(two, str) and one < two for one, two in pairs)
    if not numbered or not ordered or len(set(pairs)) < len(pairs) or pairs_digest(pairs) != header["pairs_sha256"]:
        message = f"{shown(name)} was not written by freezing: its rows are no numbered list of different pairs"
        raise InputError(message)
    return FrozenList(header, rows, digest)


def _what_changed(claimed: _Claimed, own: Sequence[str | None]) -> str:
    """Say what is wrong with rows that do not fit the digests of a header."""
    frozen = {digest: number for number, digest in enumerate(claimed.header["row_digests"], start=1)}
    n = claimed.header["n_rows"]
    for place, digest in enumerate(own, start=1):
        if digest in frozen:
            continue
        if claimed.is_cut and place == len(own) and place <= n:
            return f"it is cut short in row {place} of {n}"
        return _what_row(claimed, place)
    numbers = [frozen[digest] for digest in own if digest is not None]
    if len(set(numbers)) < len(numbers):
        twice = next(number for place, number in enumerate(numbers) if number in numbers[:place])
        return f"row {twice} stands there twice"
    if missing := sorted(set(range(1, n + 1)) - set(numbers)):
        some = ", ".join(str(number) for number in missing[:5]) + (" …" if len(missing) > 5 else "")
        is_tail = missing == list(range(n - len(missing) + 1, n + 1))
        which = f"row {some} is" if len(missing) == 1 else f"rows {some} are"
        return f"{which} missing of {n}" + (", so the file is cut short" if is_tail else "")
    place = next(place for place, number in enumerate(numbers) if number != place + 1)
    return f"the rows were put into another order: row {numbers[place]} stands where row {place + 1} was"


def _what_row(claimed: _Claimed, place: int) -> str:
    """Say what is wrong with a row that was not frozen as it stands."""
    row = claimed.rows[place - 1]
    if row is None:
        return f"row {place} can't be read: it was changed after freezing"
    number, first, second = row[:3]
    pairs = claimed.header["pair_digests"]
    digest = pair_digest(first, second)
    if digest in pairs:
        was = pairs.index(digest) + 1
        if number == was:
            return f"row {was}, {pair_text(str(first), str(second))}, was changed after freezing"
        return f"row {_number_text(number)} was row {was} when the list was frozen: its number was changed"
    return (
        f"row {_number_text(number)}, {pair_text(str(first), str(second))}, is not of this list: it was changed after "
        "freezing, or comes from another list"
    )


def _number_text(value: Cell) -> str:
    return str(value) if isinstance(value, int) else "without a number"
