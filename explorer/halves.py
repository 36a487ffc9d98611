"""Maps of disjoint halves of the replicates: the yardstick of any agreement."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from explorer.aggregate import PerturbationMap, build_map, map_from_moments
from explorer.labels import RowLabels, label_rows
from explorer.moments import Integers, ScreenMoments, collect_moments
from explorer.screen import Screen


def replicate_halves(
    screen: Screen,
    representation: str,
    *,
    alignment: str = "none",
    moments: ScreenMoments | None = None,
    seed: int = 0,
) -> tuple[PerturbationMap, PerturbationMap] | None:
    """Make two maps of disjoint halves of every perturbation's replicates.

    Halved at random are the guides where they are declared; else the batches, where perturbations stand in
    several, since rows of one plate agree on the plate too; else the rows. Each half has half of the data, so
    the agreement of the whole with its own repeat would be higher. All controls align both halves.

    Parameters
    ----------
    screen, representation, alignment
        As in `explorer.aggregate.build_map`.
    moments
        Of all rows, where they have been collected: halves of guides and of batches need no row then.
    seed
        Of the halving.

    Returns
    -------
    tuple or None
        The two maps, or None where perturbations have no replicates (a median of one guide or row).
    """
    labels = moments.labels if moments is not None else label_rows(screen)
    unit_half, kind = _halve_units(screen, labels, seed=seed)
    if unit_half is not None:
        source = screen.representation(representation)
        whole = moments if moments is not None else collect_moments(screen, source)
        one, other = (
            map_from_moments(
                screen,
                source,
                _with_units(whole, unit_half == number),
                alignment=alignment,
                filter_name=f"half {number + 1} of 2 of the {kind}",
                seed=seed,
            )
            for number in (0, 1)
        )
        return one, other
    row_half = _halve(labels.unit_perturbation[labels.unit], labels.unit >= 0, seed=seed)
    if row_half is None:
        return None
    controls = screen.is_control() & ~np.bool_(screen.roles.keep_controls)
    one, other = (
        build_map(
            screen,
            representation,
            alignment=alignment,
            rows=(row_half == number) | controls,
            filter_name=f"half {number + 1} of 2 of the rows",
            seed=seed,
        )
        for number in (0, 1)
    )
    return one, other


def can_be_halved(screen: Screen) -> bool:
    """Whether perturbations have replicates to halve; known from the labels of the rows, none of which is read."""
    labels = label_rows(screen)
    units, _ = _halve_units(screen, labels, seed=0)
    return units is not None or _halve(labels.unit_perturbation[labels.unit], labels.unit >= 0, seed=0) is not None


def _halve_units(screen: Screen, labels: RowLabels, *, seed: int) -> tuple[npt.NDArray[np.int8] | None, str]:
    """Choose a half for every unit by its guide or its batch; None where neither is a replicate."""
    if screen.roles.guide:
        owner = labels.guide_perturbation
        half = _halve(owner, np.ones(len(owner), dtype=bool), seed=seed)
        # Where most perturbations have one guide, nothing else is a replicate of it.
        return (None if half is None else half[labels.unit_guide]), "guides"
    if screen.roles.batch:
        half = _halve(labels.unit_perturbation, np.ones(labels.n_units, dtype=bool), seed=seed)
        return half, "batches"
    return None, "rows"


def _halve(owner: npt.NDArray[np.integer], enters: npt.NDArray[np.bool_], *, seed: int) -> npt.NDArray[np.int8] | None:
    """Deal each owner's replicates to two halves in random order; None where most owners have fewer than two."""
    replicates = np.flatnonzero(enters)
    if not len(replicates) or float(np.median(np.unique(owner[replicates], return_counts=True)[1])) < 2:
        return None
    shuffled = replicates[np.random.default_rng(seed).permutation(len(replicates))]
    order = shuffled[np.argsort(owner[shuffled], kind="stable")]
    first = np.r_[True, np.diff(owner[order]) != 0]
    begin = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    half = np.full(len(owner), -1, dtype=np.int8)
    half[order] = (np.arange(len(order)) - begin) % 2
    return half


def _with_units(moments: ScreenMoments, keep: npt.NDArray[np.bool_]) -> ScreenMoments:
    """Take some units; the labels of the rows of the others say that they enter none."""
    labels = moments.labels
    entering = np.where((labels.unit >= 0) & keep[labels.unit], labels.unit, -1).astype(np.int32)
    chosen: Integers = np.flatnonzero(keep[moments.unit])
    return replace(
        moments,
        labels=replace(labels, unit=entering),
        unit=moments.unit[chosen],
        unit_count=moments.unit_count[chosen],
        unit_mean=moments.unit_mean[chosen],
    )
