"""Names that two screens share: exactly the same ones; what differs in spelling alone is shown and never matched."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

from explorer.digits import counted
from explorer.errors import InputError, nearest_names, shown

FEWEST_SHARED = 3
MOST_SHOWN = 3
# Comparing one name with all others by letters takes a while; of so many the nearest is still found at once.
_MOST_COMPARED = 20_000
# What databases append to an identifier that stays the same: ENSG00000141510.18, NM_000546.6, guide v2.
_VERSION = re.compile(r"(?<=\w)(?:\.\d{1,3}|[\s_-]v\d{1,3})$")
_BETWEEN = re.compile(r"[\s_-]+")


@dataclass(frozen=True, slots=True)
class SharedNames:
    """Names that stand in both of two screens.

    Attributes
    ----------
    names
        Exactly the same on both sides, sorted.
    alike
        Pairs that differ in spelling alone, the first screen's name first; they are *not* among `names`.
    sentence
        Says of `alike` that they were not matched; empty where there is none.
    """

    names: tuple[str, ...] = field(repr=False)
    alike: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    sentence: str = ""


def shared_names(
    one: Iterable[str],
    other: Iterable[str],
    *,
    labels: tuple[str, str] = ("the first", "the second"),
    at_least: int = FEWEST_SHARED,
) -> SharedNames:
    """Find the names that stand in both of two screens.

    Parameters
    ----------
    one, other
        Names of the perturbations of each; repeated ones count once.
    labels
        What the screens are called in sentences.
    at_least
        Fewer shared names are an error.

    Returns
    -------
    SharedNames
        Nothing is matched that is not the same to the letter.

    Raises
    ------
    InputError
        When fewer are shared; the message shows the nearest spellings.
    """
    first, second = set(one), set(other)
    both = first & second
    alike = _alike(sorted(first - both), sorted(second - both))
    if len(both) >= at_least:
        return SharedNames(tuple(sorted(both)), alike, _sentence(alike, labels))
    how_many = "no perturbation" if not both else f"only {counted(len(both), 'perturbation')}"
    near = alike or _nearest(sorted(first - both), sorted(second - both))
    hint = (
        f"the nearest are {_written(near)}, and nothing is matched that is spelled in two ways: rename them in one of "
        "the two"
        if near
        else "no name is like another: do they name perturbations in the same way (symbols or identifiers)?"
    )
    message = f"{labels[0]} and {labels[1]} share {how_many}, expected {at_least} or more: {hint}"
    raise InputError(message)


def fold_spelling(name: str) -> str:
    """Write a name without what spellings differ in: case, spaces, ``-`` and ``_``, and a version at its end."""
    return _BETWEEN.sub("", _VERSION.sub("", name.strip())).casefold()


def _alike(first: list[str], second: list[str]) -> tuple[tuple[str, str], ...]:
    by_folded: dict[str, str] = {}
    for name in second:
        by_folded.setdefault(fold_spelling(name), name)
    pairs = ((name, by_folded.get(fold_spelling(name))) for name in first)
    return tuple((name, found) for name, found in pairs if found is not None)


def _nearest(first: list[str], second: list[str]) -> tuple[tuple[str, str], ...]:
    """Look for names that resemble each other letter by letter, for a message: of the first few that have one."""
    options = second[:_MOST_COMPARED]
    found = ((name, nearest_names(name, options, limit=1)) for name in first[: 4 * MOST_SHOWN])
    return tuple(islice(((name, near[0]) for name, near in found if near), MOST_SHOWN))


def _sentence(alike: tuple[tuple[str, str], ...], labels: tuple[str, str]) -> str:
    if not alike:
        return ""
    one = len(alike) == 1
    return (
        f"{counted(len(alike), 'name')} of {labels[0]} {'differs' if one else 'differ'} from {labels[1]} in spelling "
        f"alone and {'was' if one else 'were'} not matched: {_written(alike)}."
    )


def _written(pairs: tuple[tuple[str, str], ...]) -> str:
    text = ", ".join(f"{shown(name)} and {shown(near)}" for name, near in pairs[:MOST_SHOWN])
    more = len(pairs) - MOST_SHOWN
    return f"{text} and {more:,} more" if more > 0 else text
