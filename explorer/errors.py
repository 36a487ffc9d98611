"""The one error that users see, and the nearest valid name that goes with it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# Characters of a name that are compared with those of the valid ones.
_LONGEST = 1_000


class InputError(ValueError):
    """What the user gave can't be used; the message is one sentence that says how to mend it.

    Whatever names of files and columns it quotes, the message is one line: signs that can't be seen are escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in message))


def as_text(value: object) -> str:
    """Write a value as text, whatever it is: Python writes no number of thousands of digits, and no endless nesting."""
    try:
        return str(value)
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} too long to be shown"


def shown(value: object, *, limit: int = 60) -> str:
    """Quote a value for a message: on one line, control characters escaped, cut at `limit` characters."""
    text = repr(as_text(value))
    return text if len(text) <= limit else f"{text[: limit - 2]}…'"


def listed(names: Iterable[object], *, limit: int = 5) -> str:
    """Name the first few of many: ``'a', 'b', 'c' … and 4 more``."""
    every = list(names)
    text = ", ".join(shown(name) for name in every[:limit])
    return text if len(every) <= limit else f"{text} … and {len(every) - limit:,} more"


def nearest_names(name: object, options: Iterable[object], *, limit: int = 3) -> list[str]:
    """Find the options most like `name`, ignoring case, best first.

    Parameters
    ----------
    name
        What the user wrote.
    options
        The valid names.
    limit
        How many to return at the most.

    Returns
    -------
    list of str
        Valid names; empty when none is alike.
    """
    # No name that is offered is this long, and comparing takes as long as both names together.
    wanted = as_text(name)[:_LONGEST].casefold()
    by_folded: dict[str, str] = {}
    for option in options:
        by_folded.setdefault(str(option).casefold(), str(option))
    starts = sorted((key for key in by_folded if wanted and key.startswith(wanted)), key=len)
    alike = difflib.get_close_matches(wanted, by_folded.keys(), n=limit, cutoff=0.6)
    best = list(dict.fromkeys([*alike, *starts]))[:limit]
    return [by_folded[key] for key in best]


def unknown_name(kind: str, name: object, options: Iterable[object]) -> InputError:
    """Build the error for a name that does not exist, with the nearest ones that do."""
    every = [str(option) for option in options]
    near = nearest_names(name, every)
    if near:
        hint = f"did you mean {' or '.join(shown(option) for option in near)}?"
    elif every:
        hint = f"choose one of {listed(every)}"
    else:
        hint = "there is none"
    return InputError(f"unknown {kind} {shown(name)}: {hint}")
