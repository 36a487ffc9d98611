"""What is to be predicted: one neutral profile a perturbation, its controls, its halves, and where it lay."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.aggregate import PerturbationMap, build_map, map_from_moments
from explorer.align import fit_alignment, moments_for, needs_covariance
from explorer.digits import counted
from explorer.errors import InputError, listed, shown
from explorer.halves import can_be_halved, replicate_halves
from explorer.labels import label_rows
from explorer.moments import ScreenMoments, range_moments
from explorer.numbering import number_names
from explorer.screen import Representation, Screen

Floats = npt.NDArray[np.float64]

# A well of a plate of 96, 384 or 1,536: its row, and its column. "17q21" is none, and "Xq28" is none.
_WELL = re.compile(r"(?P<row>[A-Z]|A[A-F])[-_ ]?(?P<column>\d{1,2})")
# A column of more labels is no layout but a name.
MOST_PLACES = 200
# Halves of a screen whose table of units is larger are not made: their moments have no room.
MOST_HALVED_BYTES = 2**30


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """Measured profiles that are to be predicted.

    Attributes
    ----------
    label
        What to call it: context and representation.
    profiles
        A map of neutral features: raw or aligned, never a learned space; features that are the same for every
        perturbation are left out.
    control
        Mean profile of the controls, aligned as the profiles are, shape (n_features,); None without controls.
    halves
        Profiles of two disjoint halves of the replicates less those of disjoint halves of the controls, shape
        (n_perturbations, n_features) each, in the order of `profiles`, NaN where a half has no replicate of a
        perturbation; None without replicates.
    wells
        Features of where each perturbation lay (row and column of its wells, one-hot and smooth, averaged),
        shape (n_perturbations, n_places); None where no layout is declared.
    notes
        What the reader must know.
    features
        Names of the features; empty where they have none.
    """

    label: str
    profiles: PerturbationMap = field(repr=False)
    control: Floats | None = field(repr=False, default=None)
    halves: tuple[Floats, Floats] | None = field(repr=False, default=None)
    wells: Floats | None = field(repr=False, default=None)
    notes: tuple[str, ...] = ()
    features: tuple[str, ...] = field(repr=False, default=())


def target_of(
    screen: Screen,
    representation: str,
    *,
    alignment: str = "none",
    moments: ScreenMoments | None = None,
    layout: Sequence[str] | None = None,
    features: Sequence[str] = (),
    seed: int = 0,
) -> Target:
    """Make a target of a screen: its map, and all that is needed to say how well it can be predicted.

    Parameters
    ----------
    screen, representation
        The rows, and which of their representations; neutral features.
    alignment
        One of `explorer.align.METHODS`; the profiles, the controls and the halves are all aligned by it.
    moments
        Of all rows, where they have been collected.
    layout
        Columns that say where a row lay; without it those among ``roles.group`` that hold wells, such as B07.
    features
        Names of the features of the representation; empty where they have none.
    seed
        Of the halves.

    Raises
    ------
    InputError
        As `explorer.aggregate.build_map`, when no feature varies between perturbations, or a column of the layout is
        not there.
    """
    source = screen.representation(representation)
    whole = _whole_map(screen, source, alignment=alignment, moments=moments)
    names = tuple(features) if len(features) == source.n_features else ()
    controls = _control_means(screen, source, alignment=alignment, moments=moments, seed=seed)
    halves, why_not = _halves(screen, source, whole, alignment=alignment, moments=moments, controls=controls, seed=seed)
    notes = list(whole.recipe.notes)
    if controls is None:
        notes.append(
            "no controls are declared: what all perturbations share is taken to be their mean profile, as of effects "
            "whose controls are 0"
        )
    elif screen.roles.keep_controls:
        notes.append(
            "the controls of the target are perturbations too: they are predicted like all others, and their mean is "
            "what others are held against"
        )
    if why_not:
        notes.append(why_not)
    varies = np.ptp(whole.profiles, axis=0) > 0
    if not varies.any():
        message = (
            f"no feature of {shown(representation)} differs between perturbations of {shown(screen.context.name)}: "
            "choose a target that varies"
        )
        raise InputError(message)
    if not varies.all():
        constant = [name for name, own in zip(names, varies.tolist(), strict=True) if not own] if names else []
        which = f" ({listed(constant)})" if constant else ""
        n_constant = int((~varies).sum())
        verbs = ("is", "was") if n_constant == 1 else ("are", "were")
        notes.append(
            f"{counted(n_constant, 'feature')} of {len(varies):,}{which} {verbs[0]} the same for every perturbation "
            f"and {verbs[1]} left out"
        )
        whole = PerturbationMap(whole.names, whole.profiles[:, varies], whole.table, whole.recipe)
        names = tuple(name for name, own in zip(names, varies.tolist(), strict=True) if own) if names else ()
        halves = None if halves is None else (halves[0][:, varies], halves[1][:, varies])
    return Target(
        label=f"{representation} of {screen.context.name}",
        profiles=whole,
        control=None if controls is None else controls[0][varies],
        halves=halves,
        wells=well_features(screen, whole.names, layout=layout),
        notes=tuple(notes),
        features=names,
    )


def well_features(screen: Screen, names: Sequence[str], *, layout: Sequence[str] | None = None) -> Floats | None:
    """Say of every perturbation where its rows lay: its rows and columns on the plates, and how far out they are.

    Parameters
    ----------
    screen
        The rows.
    names
        Perturbations.
    layout
        Columns of places; without it those among ``roles.group`` that hold wells, such as B07. Wells are taken apart
        into row and column, other labels are taken as they are.

    Returns
    -------
    numpy.ndarray or None
        Averages over the rows of each perturbation, shape (n_perturbations, n_places): which row and which column of
        the plate, one-hot, and of wells row, column, their squares and their product too, since what a place does to
        cells changes smoothly towards the edge. None where no such column is declared, or it names more than 200
        places and no wells.

    Raises
    ------
    InputError
        When a column is not there.
    """
    parts: list[Floats] = []
    owner: npt.NDArray[np.intp] | None = None
    for column in screen.roles.group if layout is None else layout:
        if column not in screen.rows.columns:
            message = f"the column {shown(column)} of the layout is not there; columns: {listed(screen.rows.columns)}"
            raise InputError(message)
        codes, labels = number_names(screen.rows[column].cast(pl.String))
        places = _places(labels, wells_only=layout is None)
        if places is None:
            continue
        if owner is None:
            owner = _rows_of_names(screen, names)
        parts.append(_means_within(owner, places[codes], n=len(names)))
    return np.column_stack(parts) if parts else None


def _rows_of_names(screen: Screen, names: Sequence[str]) -> npt.NDArray[np.intp]:
    """Find the place of each row's perturbation among names; −1 where it is none of them."""
    place = {name: row for row, name in enumerate(names)}
    perturbation, every = number_names(screen.rows[screen.roles.perturbation])
    return np.array([place.get(str(name), -1) for name in every], dtype=np.intp)[perturbation]


def _places(labels: Sequence[str | None], *, wells_only: bool) -> Floats | None:
    """Describe the place that each label names, shape (n_labels, n_features); NaN where it names none."""
    wells = [None if label is None else _WELL.fullmatch(label.strip()) for label in labels]
    if any(wells) and all(well is not None for well, label in zip(wells, labels, strict=True) if label is not None):
        row = np.array([np.nan if well is None else _row_number(well["row"]) for well in wells])
        column = np.array([np.nan if well is None else float(well["column"]) for well in wells])
        down, across = _coordinate(row), _coordinate(column)
        smooth = np.column_stack([down, across, down**2, across**2, down * across])
        return np.column_stack([smooth, _one_hot(row.tolist()), _one_hot(column.tolist())])
    if wells_only or len(labels) > MOST_PLACES:
        return None
    return _one_hot([np.nan if label is None else float(code) for code, label in enumerate(labels)])


def _row_number(letters: str) -> float:
    """Count the rows of a plate: A to Z are 1 to 26, AA to AF 27 to 32, as on plates of 1,536 wells."""
    return float(sum((ord(letter) - 64) * 26**power for power, letter in enumerate(reversed(letters))))


def _coordinate(values: Floats) -> Floats:
    """Bring positions to a mean square of about 1 about the middle of the plate; 0 throughout on a plate of one."""
    low, high = np.nanmin(values), np.nanmax(values)
    return np.asarray(np.sqrt(3) * (2 * values - low - high) / max(float(high - low), 1.0))


def _one_hot(values: list[float]) -> Floats:
    """Give each value that is no NaN a column of its own; a NaN has NaN in all."""
    column = {value: place for place, value in enumerate(sorted({value for value in values if value == value}))}
    table = np.zeros((len(values), len(column)))
    for row, value in enumerate(values):
        if value == value:
            table[row, column[value]] = 1
        else:
            table[row] = np.nan
    return table


def _means_within(owner: npt.NDArray[np.intp], values: Floats, *, n: int) -> Floats:
    """Average the rows of each owner, shape (n, n_features); one without a place has the mean of the others."""
    used = (owner >= 0) & np.isfinite(values).all(axis=1)
    count = np.bincount(owner[used], minlength=n)
    sums = np.column_stack([np.bincount(owner[used], weights=column, minlength=n) for column in values[used].T])
    means = sums / np.maximum(count, 1)[:, None]
    if (count == 0).any() and (count > 0).any():
        means[count == 0] = means[count > 0].mean(axis=0)
    return np.asarray(means)


def _whole_map(
    screen: Screen, source: Representation, *, alignment: str, moments: ScreenMoments | None
) -> PerturbationMap:
    if moments is None:
        return build_map(screen, source.name, alignment=alignment)
    return map_from_moments(screen, source, moments, alignment=alignment)


def _control_means(
    screen: Screen, source: Representation, *, alignment: str, moments: ScreenMoments | None, seed: int
) -> tuple[Floats, Floats | None, Floats | None] | None:
    """Take the mean of the aligned controls: of all, and of two disjoint halves of those of every batch."""
    if not screen.is_control().any():
        return None
    if moments is None:
        # Controls alone: the table of units of a large screen is never made.
        labels = label_rows(screen, most_sampled=0, seed=seed).only_controls()
        moments = range_moments(source, labels, covariance=needs_covariance(alignment))
    moments = moments_for(alignment, screen, source, moments=moments)
    if not moments.control_count.any():
        return None
    fitted = fit_alignment(moments, alignment)
    # An affine map and a mean can change places.
    aligned = fitted.apply(moments.control_mean, moments.control // 2)

    def mean_of(used: npt.NDArray[np.bool_]) -> Floats | None:
        weight = np.where(used, moments.control_count, 0).astype(np.float64)
        return np.asarray(weight @ aligned / weight.sum()) if weight.any() else None

    half = moments.control % 2
    every = mean_of(np.ones(len(half), dtype=bool))
    assert every is not None
    return every, mean_of(half == 0), mean_of(half == 1)


def _halves(
    screen: Screen,
    source: Representation,
    whole: PerturbationMap,
    *,
    alignment: str,
    moments: ScreenMoments | None,
    controls: tuple[Floats, Floats | None, Floats | None] | None,
    seed: int,
) -> tuple[tuple[Floats, Floats] | None, str]:
    """Take the profiles of two halves of the replicates less their own controls; None, and why, where there are none.

    Halves that shared controls would agree on what the controls happened to be.
    """
    if not can_be_halved(screen):
        return None, ""
    if moments is None:
        n_bytes = 8 * label_rows(screen, most_sampled=0).n_units * source.n_features
        if n_bytes > MOST_HALVED_BYTES:
            return None, "the screen is too large to be halved, so that its own repeatability is not known"
    made = replicate_halves(screen, source.name, alignment=alignment, moments=moments, seed=seed)
    if made is None:
        return None, ""
    references: list[Floats | None] = [None, None] if controls is None else [controls[1], controls[2]]
    if controls is not None and any(reference is None for reference in references):
        return None, "one control can't be halved, so that the repeatability of the target is not known"
    found = []
    for half, reference in zip(made, references, strict=True):
        place = {name: row for row, name in enumerate(half.names)}
        rows = np.array([place.get(name, -1) for name in whole.names], dtype=np.intp)
        profiles = half.profiles[rows].astype(np.float64)
        profiles[rows < 0] = np.nan
        found.append(profiles if reference is None else profiles - reference)
    return (found[0], found[1]), ""


def restricted_target(target: Target, names: Sequence[str]) -> Target:
    """Take some perturbations of a target; they stay sorted.

    Raises
    ------
    InputError
        When one is not among them.
    """
    wanted = sorted(set(names))
    if wanted == list(target.profiles.names):
        return target
    rows = np.array([target.profiles.position(name) for name in wanted], dtype=np.intp)
    return replace(
        target,
        profiles=target.profiles.restricted_to(wanted),
        halves=None if target.halves is None else (target.halves[0][rows], target.halves[1][rows]),
        wells=None if target.wells is None else target.wells[rows],
    )
