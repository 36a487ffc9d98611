r"""Rows of a table as lines of text: one line a row whatever names hold, exact both ways, harmless in a spreadsheet.

A name may hold commas, quotes, line breaks, or begin like a formula. Signs that would break a line are written
``\n``, ``\r``, ``\t``, ``\x00`` or ``\u2028``, a backslash as ``\\``, and one more stands before the sign with which a
formula begins: ``\=cmd()``. Nothing between quotes is nothing, and no quotes mean that there is no value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

Cell = str | int | float | bool | None

# What a table of ours holds.
TYPES: Mapping[str, pl.DataType] = {
    "String": pl.String(),
    "Int64": pl.Int64(),
    "Float64": pl.Float64(),
    "Boolean": pl.Boolean(),
}
# Digits of a fraction that are kept, so that its text is short and exact.
SIGNIFICANT = 6
_BREAKING = re.compile("[\\\\\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]")
_SHORT = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_LONG = {short[1]: sign for sign, short in _SHORT.items()}
# Where a spreadsheet splits cells at semicolons, a formula may begin inside of ours.
_FORMULA = re.compile(r"(^\s*|[,;|]\s*)(?=[=+\-@＝＋－＠])")
_ESCAPED = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|.?)")
_CELL = re.compile(r'(?:"((?:[^"]|"")*)"|([^,"]*))(?:,|$)')
_WHOLE = re.compile(r"-?[0-9]{1,19}")
_FRACTION = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?")


def escaped(text: str) -> str:
    """Write a text on one line, so that no spreadsheet takes it for a formula."""
    return _FORMULA.sub(r"\1\\", _BREAKING.sub(_code, text))


def _code(found: re.Match[str]) -> str:
    sign = found[0]
    return _SHORT.get(sign) or (f"\\x{ord(sign):02x}" if ord(sign) < 256 else f"\\u{ord(sign):04x}")


def unescaped(text: str) -> str:
    """Read what `escaped` wrote; any other sign after a backslash stands for itself."""
    return _ESCAPED.sub(lambda found: _sign(found[1]), text)


def _sign(code: str) -> str:
    return chr(int(code[1:], 16)) if len(code) > 1 else _LONG.get(code, code)


def as_line(values: Iterable[Cell]) -> str:
    """Write the values of a row as a line of CSV, without its end."""
    return ",".join(_written(value) for value in values)


def _written(value: Cell) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return repr(value)
    text = escaped(value)
    quoted = not text or text != text.strip() or any(sign in text for sign in ',";')
    return '"' + text.replace('"', '""') + '"' if quoted else text


def of_line(line: str, types: Sequence[str]) -> list[Cell]:
    """Read a line that `as_line` wrote.

    Parameters
    ----------
    line
        Without its end.
    types
        Type of each cell: String, Int64, Float64 or Boolean.

    Raises
    ------
    ValueError
        When it holds other cells.
    """
    cells: list[str | None] = []
    place = 0
    while place <= len(line):
        found = _CELL.match(line, place)
        if found is None:
            msg = "a quote is not closed"
            raise ValueError(msg)
        cells.append(found[2] or None if found[1] is None else found[1].replace('""', '"'))
        place = found.end() if found[0].endswith(",") and found.end() > place else len(line) + 1
    if len(cells) != len(types):
        msg = f"{len(cells)} cells where {len(types)} are expected"
        raise ValueError(msg)
    return [None if cell is None else _read(cell, kind) for cell, kind in zip(cells, types, strict=True)]


def _read(text: str, kind: str) -> Cell:
    if kind == "String":
        return unescaped(text)
    if kind == "Boolean" and text.casefold() in ("true", "false"):
        return text.casefold() == "true"
    if kind == "Int64" and _WHOLE.fullmatch(text) and -(2**63) <= int(text) < 2**63:
        return int(text)
    if kind == "Float64" and _FRACTION.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    msg = f"{text[:40]!r} is no {kind}"
    raise ValueError(msg)


def settled(table: pl.DataFrame) -> pl.DataFrame:
    """Bring a table to the four types of cells, fractions to 6 significant digits, undefined ones to null.

    Raises
    ------
    ValueError
        When a column is of another kind, such as a list.
    """
    return pl.DataFrame([_settled(column) for column in table])


def _settled(column: pl.Series) -> pl.Series:
    kind = column.dtype
    if kind.is_float():
        rounded = [
            # −0 and 0 are one number and two texts.
            None if value is None or not math.isfinite(value) else float(f"{value:.{SIGNIFICANT}g}") + 0.0
            for value in column.cast(pl.Float64).to_list()
        ]
        return pl.Series(column.name, rounded, dtype=pl.Float64)
    if kind.is_integer():
        return column.cast(pl.Int64)
    if kind in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        return column.cast(pl.String)
    if kind == pl.Boolean:
        return column
    msg = f"the column {column.name!r} holds {kind}: expected text, numbers or truth values"
    raise ValueError(msg)
