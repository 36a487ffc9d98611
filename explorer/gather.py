"""What activity is judged from: aligned units, held-out controls, and replicates as directions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from explorer.align import Alignment
from explorer.moments import Floats, ScreenMoments, selected_rows
from explorer.pseudo import CROWDED, Controls
from explorer.retrieval import unit_vectors
from explorer.rowsums import sum_runs
from explorer.screen import Representation, Screen

Integers = npt.NDArray[np.int64]

# Average precision ranks at most so many replicates of a perturbation, among at most so many controls of a batch.
MOST_REPLICATES = 32
MOST_NEGATIVES = 256
# Comparisons of a replicate with a control that it may cost in all, before large screens rank fewer replicates.
_MOST_COMPARISONS = 2**28


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """Units of a screen that have rows, aligned.

    Attributes
    ----------
    names
        Perturbations, sorted.
    owner, guide, batch
        Numbers of the perturbation (from 0), guide and batch of each unit, shape (n_units,).
    count, aligned
        Rows of each unit, and their mean, shapes (n_units,) and (n_units, n_features).
    by_guide
        Whether a replicate is a unit; else it is a row.
    across_batches
        Whether pairs of replicates must lie in two batches.
    """

    names: tuple[str, ...]
    owner: Integers
    guide: Integers
    batch: Integers
    count: Integers
    aligned: Floats
    by_guide: bool
    across_batches: bool

    @property
    def pairing(self) -> dict[str, Integers | None]:
        """Batch and guide as pairs of replicates need them."""
        return {"batch": self.batch if self.across_batches else None, "guide": self.guide if self.by_guide else None}


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Held-out controls by batch.

    Attributes
    ----------
    controls
        Aligned.
    owner
        Perturbation that each is a row of, −1 where it is of none.
    """

    controls: Controls
    owner: Mapping[int, Integers]

    @property
    def perturbations(self) -> Integers:
        """Perturbations that are controls themselves."""
        every = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *self.owner.values()]))
        return every[every >= 0]

    def sizes(self, batches: Iterable[int]) -> dict[int, int]:
        """Count the controls of some batches."""
        return {batch: len(self.controls.values[batch]) for batch in batches}


@dataclass(frozen=True, slots=True, eq=False)
class Replicates:
    """Replicates as directions.

    Attributes
    ----------
    sums, counts
        Sum of the directions of each unit, and their number, shapes (n_units, n_features) and (n_units,).
    kept, kept_unit
        Those kept one by one, shape (n_kept, n_features), and the unit of each.
    """

    sums: Floats
    counts: Integers
    kept: npt.NDArray[np.float32]
    kept_unit: Integers


def aligned_units(screen: Screen, moments: ScreenMoments, fitted: Alignment) -> Units:
    """Align the means of units, and number their perturbations."""
    labels = moments.labels
    present, owner = np.unique(labels.unit_perturbation[moments.unit], return_inverse=True)
    batch = moments.unit_batch.astype(np.int64)
    return Units(
        names=tuple(labels.perturbations[number] for number in present.tolist()),
        owner=owner.astype(np.int64),
        guide=labels.unit_guide[moments.unit].astype(np.int64),
        batch=batch,
        count=moments.unit_count,
        aligned=fitted.apply(moments.unit_mean, batch),
        by_guide=screen.roles.guide is not None,
        across_batches=len(labels.batches) > 1,
    )


def held_out_controls(moments: ScreenMoments, fitted: Alignment, units: Units) -> HeldOut:
    """Align the held-out controls of the batches that have units."""
    held = moments.held_out
    place = _unit_places(moments)[moments.labels.unit[held.row]]
    owner = np.where(place >= 0, units.owner[place], -1)
    values, directions, owners = {}, {}, {}
    for number in np.unique(units.batch).tolist():
        own = held.batch == number
        values[number] = fitted.apply(held.values[own], held.batch[own]).astype(np.float32)
        directions[number] = unit_vectors(values[number])
        owners[number] = owner[own]
    return HeldOut(Controls(values, directions), owners)


def _unit_places(moments: ScreenMoments) -> Integers:
    """Place of each unit number among the units that have rows, −1 for others; the last entry serves number −1."""
    places = np.full(moments.labels.n_units + 1, -1, dtype=np.int64)
    places[moments.unit] = np.arange(len(moments.unit))
    return places


def collect_replicates(
    source: Representation,
    moments: ScreenMoments,
    fitted: Alignment,
    *,
    units: Units,
    held: HeldOut,
    seed: int,
    notes: list[str],
) -> Replicates:
    """Take directions of replicates: of units where guides are declared, else of rows, which are read once more.

    Parameters
    ----------
    source, moments, fitted
        The rows, what is known of them, and their alignment.
    units, held
        Of these moments.
    seed
        Of the choice of replicates that are kept one by one.
    notes
        Sentences are added to it.
    """
    n_features = units.aligned.shape[1]
    if units.by_guide:
        directions = unit_vectors(units.aligned)
        kept = _kept(units.owner, seed=seed, notes=notes)
        some = directions if kept.all() else directions[kept]
        return Replicates(directions, _nonzero(directions), some.astype(np.float32), np.flatnonzero(kept))
    sums, counts = np.zeros(units.aligned.shape), np.zeros(len(units.owner), dtype=np.int64)
    # Only perturbations with two rows, in two batches where there are any, have a pair.
    paired = np.bincount(units.owner, None if units.across_batches else units.count) > 1
    place = _unit_places(moments)[moments.labels.unit]
    wanted = (place >= 0) & paired[units.owner[place]]
    wanted[moments.excluded] = False
    kept = np.zeros(len(wanted), dtype=bool)
    unit_of = place[wanted]
    controls = np.zeros(int(units.batch.max(initial=0)) + 1, dtype=np.int64)
    for number, values in held.controls.values.items():
        controls[number] = len(values)
    crowd = np.stack([units.batch[unit_of], controls[units.batch[unit_of]]])
    kept[wanted] = _kept(units.owner[unit_of], seed=seed, notes=notes, crowd=crowd)
    chosen = np.empty((int(kept.sum()), n_features), dtype=np.float32)
    chosen_unit = np.empty(len(chosen), dtype=np.int64)
    filled = 0
    for numbered, values in selected_rows(source, wanted):
        directions = unit_vectors(fitted.apply(values, moments.labels.batch[numbered]))
        unit = place[numbered]
        # Rows of a unit together, so that each unit is added to once.
        by_unit = np.argsort(unit, kind="stable")
        first = np.flatnonzero(np.r_[True, np.diff(unit[by_unit]) != 0])
        here = unit[by_unit[first]]
        sums[here] += sum_runs(directions[by_unit], first)
        counts[here] += sum_runs(_nonzero(directions)[by_unit], first)
        own = kept[numbered]
        until = filled + int(own.sum())
        chosen[filled:until], chosen_unit[filled:until] = directions[own], unit[own]
        filled = until
    return Replicates(sums, counts, chosen, chosen_unit)


def _nonzero(directions: Floats) -> Integers:
    """Count 1 for a row that has a direction, 0 for one of length 0."""
    return np.asarray(np.count_nonzero(directions, axis=1) > 0, dtype=np.int64)


def _kept(owner: Integers, *, seed: int, notes: list[str], crowd: Integers | None = None) -> npt.NDArray[np.bool_]:
    """Choose the replicates that average precision ranks, as many of each owner as can be afforded.

    With `crowd`, whose lines are the batch of each replicate and the controls there, none is chosen where an owner
    would have a quarter as many replicates as there are controls.
    """
    affordable = math.isqrt(_MOST_COMPARISONS // (MOST_NEGATIVES * max(1, len(np.unique(owner)))))
    most = max(4, min(MOST_REPLICATES, affordable))
    chance = np.random.default_rng([seed, 1]).random(len(owner))
    kept = np.ones(len(owner), dtype=bool)
    if crowd is not None:
        batch, controls = crowd
        order = np.lexsort((chance, batch, owner))
        fair = np.maximum(1, np.ceil(CROWDED * np.minimum(controls, MOST_NEGATIVES)) - 1)[order]
        kept[order] = _places(owner[order] * (int(batch.max(initial=0)) + 1) + batch[order]) < fair
    order = np.lexsort((chance, ~kept, owner))
    kept[order] &= _places(owner[order]) < most
    if not kept.all():
        notes.append(
            f"average precision ranks at most {most} replicates of a perturbation, and fewer than a quarter as many in "
            "a batch as it has held-out controls, chosen at random"
        )
    return kept


def _places(group: Integers) -> Integers:
    """Place of each line within its run of equal numbers, from 0."""
    return np.arange(len(group)) - np.searchsorted(group, group)
