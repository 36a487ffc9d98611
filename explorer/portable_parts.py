"""What a saved page is made of: sections of sentences, tables, charts and maps, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence: plain, the one that counts, an aside, or a warning."""

    text: str
    kind: Literal["plain", "said", "faint", "warned"] = "plain"


@dataclass(frozen=True, slots=True)
class Points:
    """A list of sentences, each with a word in bold before it; an empty word is left out."""

    items: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Facts:
    """Pairs of a name and a text."""

    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading within a section."""

    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """A table that sorts; numbers are written with the formats given by column, and what is missing is blank."""

    frame: pl.DataFrame = field(repr=False)
    formats: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """An Altair chart, what it shows in words, and the axes along which a reader may zoom."""

    chart: Any = field(repr=False)
    label: str
    zoom: tuple[Literal["x", "y"], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """Two linked maps.

    Attributes
    ----------
    state
        As `explorer.panels.still_maps` gives it.
    sides
        Name of the left and of the right map, and the rank of each perturbation in it, 0 for none.
    """

    state: Mapping[str, Any] = field(repr=False)
    sides: tuple[tuple[str, npt.NDArray[np.uint32]], tuple[str, npt.NDArray[np.uint32]]]


Part: TypeAlias = Said | Points | Facts | Heading | Rows | Drawing | Maps


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """A heading (may be empty) and what stands below it."""

    heading: str
    parts: Sequence[Part]
