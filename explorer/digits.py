"""Numbers as sentences, figures and tables write them: no leading zero, a real minus, never 0 for what is not 0."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import partial

# Differences this small come from rounding.
_ROUNDING = 1e-9
_ZERO = re.compile(r"(?<![\d.])0(?=\.\d)")
_MINUS = re.compile(r"(?<![\w)])-(?=\.?\d)")


def signed(value: float, digits: int = 3) -> str:
    """Write a difference with its sign: ``−.018``; what would round to 0 keeps its first digit, and so its sign."""
    if math.isnan(value):
        return "not defined"
    text = f"{abs(value):.{digits}f}"
    if value != 0 and float(text) == 0:
        text = f"{abs(value):.{-math.floor(math.log10(abs(value)))}f}" if abs(value) > _ROUNDING else "0"
    if float(text) == 0:
        return "0"
    return ("−" if value < 0 else "+") + (text[1:] if text.startswith("0.") else text)


def plain(text: str) -> str:
    """Write the numbers of a sentence as all others are written: no leading zero, a real minus."""
    return _MINUS.sub("−", _ZERO.sub("", text))


def cells(patterns: Mapping[str, str]) -> dict[str, Callable[[object], str]]:
    """Write the numbers of a table as sentences write them; what is not there is blank.

    Parameters
    ----------
    patterns
        How Python writes each column, such as ``{:.3f}``.
    """
    return {name: partial(_cell, pattern) for name, pattern in patterns.items()}


def _cell(pattern: str, value: object) -> str:
    if not isinstance(value, int | float):
        return "" if value is None else str(value)
    return "" if math.isnan(value) else plain(pattern.format(value))


def number(value: float, digits: int = 3) -> str:
    """Write a number without a leading zero, below 0 with a real minus; NaN means that there is none."""
    return "not defined" if math.isnan(value) else plain(f"{value:z.{digits}f}")


def brief(value: float) -> str:
    """Write a round number with no more digits than it has: ``.05``."""
    return _ZERO.sub("", f"{value:g}")


def percent(share: float) -> str:
    """Write a share as a percentage, to two digits that say something."""
    if math.isnan(share):
        return "not defined"
    value = 100 * share
    text = f"{value:.0f}" if value >= 10 or value == 0 else f"{value:.1f}"
    if value > 0 and float(text) == 0:
        return "less than .1 %"
    return f"{text[1:] if text.startswith('0.') else text.removesuffix('.0')} %"


def small(p: float) -> str:
    """Write a probability to two digits, never as 0."""
    return "not defined" if math.isnan(p) else _ZERO.sub("", f"{p:.2g}")


def count(value: float, *, sign: bool = False) -> str:
    """Write an expected number of pairs: whole where it is, else to one decimal."""
    if math.isnan(value):
        return "not defined"
    size = f"{abs(value):,.1f}".removesuffix(".0")
    mark = "−" if value < 0 and size != "0" else "+" if sign and value > 0 and size != "0" else ""
    return mark + (size[1:] if size.startswith("0.") else size)


def counted(n: int, one: str, several: str = "") -> str:
    """Write a number of things: ``1 row``, ``1,000 rows``.

    Parameters
    ----------
    n
        How many.
    one, several
        What one is called, and what several are; with an s where that is not given.
    """
    return f"{n:,} {one if n == 1 else several or f'{one}s'}"


def width_of(share: float) -> str:
    """Write a share as the width of a bar; a little of it shows from the start."""
    return f"{max(2.0, 100 * share):.0f}%"
