"""What one pass needs to know of every row, as numbers: its unit, its batch, and its part among the controls."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.digits import counted
from explorer.errors import InputError
from explorer.numbering import number_names
from explorer.screen import Screen

NOT_CONTROL, FITTING, HELD_OUT, SAMPLED = 0, 1, 2, 3
"""Parts a row plays among the controls: none; fits every alignment; is held out of those that activity is judged
by; is held out and kept as it is, to draw pseudo-perturbations from."""

# Pairs of codes are counted in a table up to this many cells, and sorted beyond.
_MOST_CELLS = 2**22


@dataclass(frozen=True, slots=True, eq=False)
class RowLabels:
    """Numbers for every row; made once, shared by all blocks.

    Attributes
    ----------
    unit
        Unit (perturbation × guide × batch) of each row, shape (n_rows,); −1 for rows that enter no unit (controls
        that leave the map, rows outside the filter).
    batch
        Batch of each row, shape (n_rows,).
    role
        Part of each row among the controls, shape (n_rows,): `NOT_CONTROL`, `FITTING`, `HELD_OUT` or `SAMPLED`.
    unit_guide, unit_batch
        Guide and batch of each unit, shape (n_units,); units are sorted by the names of perturbation, guide, batch.
    guide_perturbation
        Perturbation of each guide, shape (n_guides,); where no guide is declared each perturbation has one, without
        a name.
    perturbations, guides, batches
        Their names, sorted; a guide's is None where none is declared.
    first
        Number of the first row, where these are the labels of a range of rows.
    is_part
        Whether these are the labels of a range of rows.
    """

    unit: npt.NDArray[np.int32]
    batch: npt.NDArray[np.int32]
    role: npt.NDArray[np.int8]
    unit_guide: npt.NDArray[np.int32]
    unit_batch: npt.NDArray[np.int32]
    guide_perturbation: npt.NDArray[np.int32]
    perturbations: tuple[str, ...]
    guides: tuple[str | None, ...]
    batches: tuple[str, ...]
    first: int = 0
    is_part: bool = False

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.unit)

    @property
    def stop(self) -> int:
        """Number of the row after the last."""
        return self.first + self.n_rows

    @property
    def control(self) -> npt.NDArray[np.bool_]:
        """Whether each row is a control that may fit an alignment, shape (n_rows,)."""
        return np.asarray(self.role != NOT_CONTROL)

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.unit_batch)

    @property
    def unit_perturbation(self) -> npt.NDArray[np.int32]:
        """Perturbation of each unit, shape (n_units,)."""
        return self.guide_perturbation[self.unit_guide]

    @property
    def units(self) -> pl.DataFrame:
        """One line a unit, columns ``perturbation, guide, batch``."""
        names = {
            "perturbation": (self.perturbations, self.unit_perturbation),
            "guide": (self.guides, self.unit_guide),
            "batch": (self.batches, self.unit_batch),
        }
        return pl.DataFrame({role: pl.Series(of, dtype=pl.String).gather(code) for role, (of, code) in names.items()})

    def part(self, start: int, stop: int) -> RowLabels:
        """Take the labels of a range of rows, without the names, to send to where those rows are read."""
        here = slice(start - self.first, stop - self.first)
        return replace(
            self,
            unit=self.unit[here],
            batch=self.batch[here],
            role=self.role[here],
            perturbations=(),
            guides=(),
            first=start,
            is_part=True,
        )

    def without_units(self) -> RowLabels:
        """Leave out what stands for the units: a task that only counts them need not be sent it."""
        return replace(
            self, unit_guide=self.unit_guide[:0], unit_batch=self.unit_batch[:0],
            guide_perturbation=self.guide_perturbation[:0],
        )  # fmt: skip

    def only_controls(self) -> RowLabels:
        """Take the labels of a pass that looks at controls alone."""
        nobody = np.full(len(self.unit), -1, dtype=np.int32)
        return replace(self, unit=nobody, unit_guide=self.unit_guide[:0], unit_batch=self.unit_batch[:0])

    def only_units(self) -> RowLabels:
        """Take the labels of a pass that looks at units alone."""
        return replace(self, role=np.zeros(len(self.role), dtype=np.int8))


def label_rows(
    screen: Screen, *, rows: npt.NDArray[np.bool_] | None = None, most_sampled: int = 100_000, seed: int = 0
) -> RowLabels:
    """Give numbers to the units (perturbation × guide × batch) and batches of a screen.

    Half of the controls of every batch, chosen by the seed, are held out: they fit the map's alignment like all
    others, but not the one by which activity is judged.

    Parameters
    ----------
    screen
        The rows and their roles.
    rows
        Rows to use, shape (n_rows,); all without it. Rows left out enter neither units nor controls.
    most_sampled
        How many of the held-out controls are kept as they are.
    seed
        Of the choice of the controls held out.

    Raises
    ------
    InputError
        When rows have no batch.
    """
    roles = screen.roles
    height = screen.rows.height
    used = np.ones(height, dtype=bool) if rows is None else np.asarray(rows, dtype=bool)
    perturbation, perturbations = number_names(screen.rows[roles.perturbation])
    if roles.control_column is None:
        # As `Screen.is_control` does, without numbering the names again.
        control = np.array([name in roles.control for name in perturbations], dtype=bool)[perturbation] & used
    else:
        control = screen.is_control() & used
    enters = used if roles.keep_controls else used & ~control
    one: npt.NDArray[np.int32] = np.zeros(height, dtype=np.int32)
    guide, guides = number_names(screen.rows[roles.guide]) if roles.guide else (one, [None])
    batch, batches = number_names(screen.rows[roles.batch]) if roles.batch else (one, ["all"])
    if None in batches:
        blank = screen.rows[str(roles.batch)].null_count()
        message = (
            f"{counted(blank, 'row has', 'rows have')} no batch in column {roles.batch!r}: name it, or drop the role"
        )
        raise InputError(message)
    pair, of_pair = _number_pairs(perturbation, guide, enters)
    unit, of_unit = _number_pairs(pair, batch, enters)
    return RowLabels(
        unit=unit,
        batch=batch,
        role=_parts(control, batch, most_sampled=most_sampled, seed=seed),
        unit_guide=of_unit[0].astype(np.int32),
        unit_batch=of_unit[1].astype(np.int32),
        guide_perturbation=of_pair[0].astype(np.int32),
        perturbations=tuple(str(name) for name in perturbations),
        guides=tuple(guides[code] for code in of_pair[1].tolist()),
        batches=tuple(str(name) for name in batches),
    )


def _number_pairs(
    one: npt.NDArray[np.int32], other: npt.NDArray[np.int32], enters: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int32], tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Give numbers to the pairs of codes that occur among the rows that enter, in their order; −1 for the other rows.

    Returns
    -------
    tuple
        Number of each row, and both codes of each number.
    """
    width = int(other.max(initial=-1)) + 1
    # One at least: where every row is a control there is no pair, but rows of none are looked up all the same.
    cells = max(1, (int(one.max(initial=-1)) + 1) * width)
    if cells <= _MOST_CELLS:
        key = one * np.int32(width)
        key += other
        seen = np.zeros(cells, dtype=bool)
        seen[key[enters]] = True
        found = np.flatnonzero(seen)
        lookup = np.full(cells, -1, dtype=np.int32)
        lookup[found] = np.arange(len(found), dtype=np.int32)
        numbers = lookup[key]
    else:
        owner = np.full(width, -1, dtype=np.int32)
        owner[other[enters]] = one[enters]
        if bool((owner[other[enters]] == one[enters]).all()):
            # A guide belongs to one perturbation, so its code alone says both.
            second = np.flatnonzero(owner >= 0)
            second = second[np.argsort(owner[second], kind="stable")]
            lookup = np.full(width, -1, dtype=np.int32)
            lookup[second] = np.arange(len(second), dtype=np.int32)
            numbers = lookup[other]
            found = owner[second].astype(np.int64) * width + second
        else:
            wide = one.astype(np.int64) * width + other
            found = np.unique(wide[enters])
            numbers = np.minimum(np.searchsorted(found, wide), max(0, len(found) - 1)).astype(np.int32)
    numbers[~enters] = -1
    return numbers, (found // max(width, 1), found % max(width, 1))


def _parts(
    control: npt.NDArray[np.bool_], batch: npt.NDArray[np.int32], *, most_sampled: int, seed: int
) -> npt.NDArray[np.int8]:
    """Hold out half of the controls of every batch, and mark evenly over batches those that are kept as they are."""
    role = control.astype(np.int8)
    rows = np.flatnonzero(control)
    generator = np.random.default_rng(seed)
    # Shuffled, then grouped by batch: the place within the batch is random.
    shuffled = rows[generator.permutation(len(rows))]
    shuffled = shuffled[np.argsort(batch[shuffled], kind="stable")]
    counts = np.bincount(batch[shuffled], minlength=int(batch.max(initial=0)) + 1)
    place = np.arange(len(shuffled)) - np.repeat(np.cumsum(counts) - counts, counts)
    half = np.repeat(counts // 2, counts)
    held = place < half
    role[shuffled[held]] = HELD_OUT
    n_batches = max(1, int((counts > 1).sum()))
    share = max(1, most_sampled // n_batches) if most_sampled else 0
    role[shuffled[held & (place < share)]] = SAMPLED
    return role
