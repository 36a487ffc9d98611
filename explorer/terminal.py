"""What every command prints: notes and progress on standard error, one JSON object or text on standard output."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from explorer.text import json_text

Line = tuple[str, ...]


def one_line(text: str) -> str:
    """Keep control characters of names from the terminal."""
    return "".join(character if character.isprintable() else "�" for character in text)


def print_lines(lines: Iterable[str]) -> None:
    """Print lines, whatever is in them."""
    sys.stdout.write("".join(f"{one_line(line)}\n" for line in lines))


def print_json(value: object) -> None:
    """Print one JSON object."""
    sys.stdout.write(json_text(value))


def say_error(message: str) -> None:
    """Say on standard error, in one line, why the input can't be used."""
    sys.stderr.write(f"explorer: {one_line(' '.join(message.split()))}\n")


def say_notes(notes: Iterable[str]) -> None:
    """Say on standard error what the reader must know, each note once."""
    # A note of the alignment may stand in the map's recipe and with the activity.
    for note in dict.fromkeys(notes):
        sys.stderr.write(f"note: {one_line(note)}\n")


def in_columns(head: Line, rows: Sequence[Line]) -> list[str]:
    """Set cells in columns: names to the left, figures to the right; short rows are filled up."""
    whole = [(*row, *[""] * (len(head) - len(row))) for row in (head, *rows)]
    widths = [max(len(row[place]) for row in whole) for place in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in whole
    ]


@contextmanager
def rows_bar(n_rows: int) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how many rows were read, how fast, and how long it will take."""
    from tqdm import tqdm

    with tqdm(total=n_rows, unit=" rows", unit_scale=True, disable=None, file=sys.stderr, dynamic_ncols=True) as bar:

        def advance(rows: int) -> None:
            if bar.n >= n_rows:
                # Where units are too many for one table the rows are read a second time.
                bar.reset(total=n_rows)
                bar.set_description("second pass")
            bar.update(rows)
            if bar.n >= n_rows:
                bar.set_description("rows read, judging activity")

        yield advance


@contextmanager
def steps_bar() -> Iterator[Callable[[str, float], None]]:
    """Show on a terminal what is being done, and how far the whole is."""
    from tqdm import tqdm

    form = "{percentage:3.0f} % {bar} {desc}"
    with tqdm(total=1.0, bar_format=form, leave=False, disable=None, file=sys.stderr, dynamic_ncols=True) as bar:

        def advance(what: str, share: float) -> None:
            bar.set_description_str(one_line(what), refresh=False)
            bar.update(share - bar.n)
            bar.refresh()

        yield advance
