"""Small lists to freeze: names that spreadsheets, CSV and HTML would choke on among them."""

import itertools

import numpy as np
import polars as pl

from explorer.frozen import freeze

ODD_NAMES = ("=cmd()", "A,B", 'q"x', "n\nl", "<b>", "\\=cmd()", " lead", "Ω", "-1", "a + b", "r\rt\t", "x;=1")
DATE = "2026-01-31T12:00:00Z"
SALT = bytes(range(32))
HEADER = {
    "dataset": "depmap", "context": "skin", "budget": 10, "made with": "explorer 0.1.0",
    "expected": {"0.7": 1.5, "0.5": 3.5, "0.4": 5.25},
}  # fmt: skip


def pairs_of(n, names=ODD_NAMES):
    """First n different pairs of names, each in order."""
    return list(itertools.islice(itertools.combinations(sorted(names), 2), n))


def rows_of(pairs, **columns):
    first, second = zip(*pairs, strict=True)
    return pl.DataFrame({"first": first, "second": second, **columns})


def discover(n=10, *, header=HEADER, rate=0.2, pairs=None, date=DATE):
    """Freeze a list in which all pairs are known as often."""
    pairs = pairs_of(n) if pairs is None else pairs
    notes = [None, "", "=note", "a,b"]
    rows = rows_of(
        pairs,
        **{"known rate": np.full(len(pairs), rate), "rank here": range(len(pairs))},
        note=[notes[place % 4] for place in range(len(pairs))],
        active=[(True, False, None)[place % 3] for place in range(len(pairs))],
    )
    return freeze(rows, mode="discover", header=header, date=date)[0]


def names(n, start="G"):
    return [f"{start}{number:03d}" for number in range(n)]


def compare(n_each=6, *, n_both=2, n_background=3, salt=SALT, **header):
    """Freeze a blind list of disjoint pairs: as many of either map, some of both, some of neither."""
    words = ["simple"] * n_each + ["learned"] * n_each + ["both"] * n_both + ["background"] * n_background
    every = names(2 * len(words))
    key = rows_of(
        list(zip(every[::2], every[1::2], strict=True)),
        proposer=words,
        **{"simple rank": [place if word != "learned" else None for place, word in enumerate(words)]},
        **{"known rate": np.linspace(0.1, 0.3, len(words))},
    )
    told = HEADER | {"depth": n_each + n_both, "budget": 2 * n_each + n_both} | header
    return freeze(key.select("first", "second"), mode="compare", header=told, key_rows=key, date=DATE, salt=salt)
