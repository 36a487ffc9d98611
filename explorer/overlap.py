"""How much of two contexts' neighbourhoods agree, and how much of that is the axis, the hubs or the layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from explorer.aggregate import PerturbationMap
from explorer.axis import Strata, axis_strata
from explorer.errors import InputError, shown
from explorer.known import Units
from explorer.relate import Neighborhoods, check_k, neighborhoods
from explorer.significance import SignFlip, sign_flip
from explorer.spelling import shared_names

PARTS = ("hubs", "shared axis", "layout", "remainder")

Floats = npt.NDArray[np.float64]
# Pairs of a perturbation and a neighbour, with the probability that it is one: rows, columns, weights, by row.
_Pairs = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Floats]


@dataclass(frozen=True, slots=True, eq=False)
class AdjustedOverlap:
    """Overlap of neighbourhoods in two contexts, less what perturbations of the same stratum have by chance.

    Attributes
    ----------
    names
        Perturbations of both maps, sorted.
    raw, expected, adjusted
        Share of the k neighbours in common, its expectation under the strata, and the difference, shape
        (n_perturbations,); NaN where undefined. Larger is more alike.
    parts
        Where the mean raw overlap comes from, in this order: ``hubs`` (with chance), ``shared axis``, ``layout`` (0
        where none is declared), ``remainder``; their sum is the mean of `raw` over the perturbations where all are
        defined.
    k, n_defined
        Neighbours compared, and perturbations whose adjusted overlap is defined.
    notes
        What the reader must know.
    """

    names: tuple[str, ...] = field(repr=False)
    raw: Floats = field(repr=False)
    expected: Floats = field(repr=False)
    adjusted: Floats = field(repr=False)
    parts: Mapping[str, float]
    k: int
    n_defined: int
    notes: tuple[str, ...] = ()


def adjusted_overlap(
    one: PerturbationMap,
    other: PerturbationMap,
    *,
    strata: tuple[Strata, Strata] | None = None,
    k: int = 10,
) -> AdjustedOverlap:
    """Compare the neighbourhoods of two contexts over the perturbations of both.

    A neighbour j of i is in i's neighbourhood of the other context by chance as often as it is in the neighbourhoods
    of others that share i's stratum there: that share, averaged over the neighbours of i, is expected, once in either
    direction.

    Parameters
    ----------
    one, other
        The maps as their neighbours are to be found: `explorer.axis.centered` ones for centred cosine. Features may
        differ, since neighbours are compared and never coordinates.
    strata
        Of the perturbations of both, in the order of their names; those of the shared axis without it.
    k
        Number of neighbours. Neighbours tied at the k-th place count by the probability that a random order of the
        ties puts them in, in each map independently.

    Returns
    -------
    AdjustedOverlap
        NaN for perturbations without neighbours, and (expected and adjusted) where nobody else shares the stratum.

    Raises
    ------
    InputError
        When too few perturbations are shared (60 without strata, and k + 1 with them; the nearest spellings are given
        where none is), too few have a profile, or the strata are of others.
    """
    left, right = _on_common(one, other)
    if strata is None:
        strata = axis_strata(left), axis_strata(right)
    for side in (left, right):
        _require_enough(side, k)
    for divided in strata:
        if divided.names is not left.names and divided.names != left.names:
            message = (
                f"strata of {len(divided.names):,} perturbations for two maps that share {left.n_perturbations:,}, "
                "expected those of the shared ones in the same order: restrict the maps before dividing them"
            )
            raise InputError(message)
    pairs = _pairs_of(neighborhoods(left, k=k)), _pairs_of(neighborhoods(right, k=k))
    usable = left.norms > 0, right.norms > 0
    n = left.n_perturbations
    raw = np.where(usable[0] & usable[1], _in_common(*pairs, n=n) / k, np.nan)

    def expected(*numbers: npt.NDArray[np.intp]) -> Floats:
        one_way, back = (
            _by_stand_ins(pairs[a], pairs[1 - a], np.where(usable[1 - a], numbers[1 - a], -1)) / k for a in (0, 1)
        )
        return np.where(np.isnan(raw), np.nan, (one_way + back) / 2)

    everyone = np.zeros(n, dtype=np.intp)
    under_hubs = expected(everyone, everyone)
    under_axis = expected(strata[0].axis, strata[1].axis)
    has_layout = any(divided.layout is not None for divided in strata)
    under_all = expected(strata[0].stratum, strata[1].stratum) if has_layout else under_axis
    adjusted = raw - under_all
    defined = ~np.isnan(adjusted)
    means = [_mean(values[defined & ~np.isnan(under_axis)]) for values in (under_hubs, under_axis, under_all, raw)]
    steps = (means[0], *np.diff(means))
    for array in (raw, under_all, adjusted):
        array.setflags(write=False)
    return AdjustedOverlap(
        names=left.names,
        raw=raw,
        expected=under_all,
        adjusted=adjusted,
        parts={part: float(step) for part, step in zip(PARTS, steps, strict=True)},
        k=k,
        n_defined=int(defined.sum()),
        notes=tuple(dict.fromkeys((*_undefined(raw, adjusted), *(s.note for s in strata if s.note)))),
    )


def overlap_test(overlap: AdjustedOverlap, units: Units, *, seed: int = 0) -> SignFlip:
    """Test over groups whether the adjusted overlap is above 0, with its interval.

    Parameters
    ----------
    overlap
        Of all perturbations that two contexts share.
    units
        Groups, as rows of ``overlap.names``. A group counts by the mean of its members that have an adjusted overlap,
        and one without such a member is left out.
    seed
        Of the random signs.

    Returns
    -------
    SignFlip
        NaN where there is no group.
    """
    return sign_flip(group_means(overlap.adjusted, units), seed=seed)


def compare_overlaps(learned: AdjustedOverlap, simple: AdjustedOverlap, units: Units, *, seed: int = 0) -> SignFlip:
    """Test over groups whether the learned map's neighbourhoods hold better than the simple one's.

    Parameters
    ----------
    learned, simple
        Of the same perturbations and k; positive differences speak for the learned one.
    units, seed
        As in `overlap_test`.

    Raises
    ------
    InputError
        When the two are of other perturbations, or of another k.
    """
    if learned.names != simple.names or learned.k != simple.k:
        message = (
            f"overlaps of {len(learned.names):,} perturbations at k = {learned.k} and of {len(simple.names):,} at "
            f"k = {simple.k} can't be compared: take both over the same perturbations with the same k"
        )
        raise InputError(message)
    return sign_flip(group_means(learned.adjusted - simple.adjusted, units), seed=seed)


def group_means(values: npt.ArrayLike, units: Units) -> Floats:
    """Mean of each group over its members that have a value; groups without one are left out.

    Parameters
    ----------
    values
        Shape (n_perturbations,), NaN where there is none.
    units
        Groups, as rows of the values.

    Raises
    ------
    InputError
        When a group has a member beyond the values.
    """
    values = np.asarray(values, dtype=np.float64)
    means = []
    for members in units.members:
        if len(members) and int(members[-1]) >= len(values):
            message = (
                f"a group has a member in row {int(members[-1]):,} of {len(values):,} perturbations: look the sources "
                "up among the names of the overlap"
            )
            raise InputError(message)
        own = values[members]
        own = own[~np.isnan(own)]
        if len(own):
            means.append(float(own.mean()))
    return np.array(means, dtype=np.float64)


def _on_common(one: PerturbationMap, other: PerturbationMap) -> tuple[PerturbationMap, PerturbationMap]:
    if one.names is other.names or one.names == other.names:
        return one, other
    names = shared_names(one.names, other.names, labels=(one.recipe.context, other.recipe.context)).names
    return one.restricted_to(names), other.restricted_to(names)


def _require_enough(side: PerturbationMap, k: int) -> None:
    check_k(k, side.n_perturbations)
    n_usable = int((side.norms > 0).sum())
    least = k + 1
    if n_usable < least:
        message = (
            f"{n_usable:,} of {side.n_perturbations:,} profiles of {shown(side.recipe.representation)} in "
            f"{shown(side.recipe.context)} are longer than zero, expected at least {least}: choose a representation "
            "that varies"
        )
        raise InputError(message)


def _pairs_of(found: Neighborhoods) -> _Pairs:
    """List the neighbours of every perturbation, those tied at the k-th place with their probability."""
    n, k = found.rows.shape
    lines, rows = np.repeat(np.arange(n), k), found.rows.ravel()
    is_tied = np.zeros(n, dtype=bool)
    is_tied[list(found.ties)] = True
    certain = (rows >= 0) & ~is_tied[lines]
    tied = [(np.full(len(places), line), places, share) for line, (places, share) in found.ties.items()]
    parts = [(lines[certain], rows[certain], np.ones(int(certain.sum()))), *tied]
    line, row, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    return line, row, weight


def _sparse(pairs: _Pairs, n: int) -> Any:
    from scipy import sparse

    return sparse.csr_matrix((pairs[2], (pairs[0], pairs[1])), shape=(n, n))


def _in_common(one: _Pairs, other: _Pairs, *, n: int) -> Floats:
    """Count the neighbours that both contexts are expected to have, shape (n,)."""
    return np.asarray(_sparse(one, n).multiply(_sparse(other, n)).sum(axis=1)).ravel()


def _by_stand_ins(asked: _Pairs, there: _Pairs, stratum: npt.NDArray[np.intp]) -> Floats:
    """Count how many neighbours of each perturbation others of its stratum have in the other context, on average.

    Parameters
    ----------
    asked
        Neighbours whose presence is asked for.
    there
        Neighbours in the other context.
    stratum
        In the other context, shape (n,); −1 for a member of none.

    Returns
    -------
    numpy.ndarray
        Shape (n,); NaN where a neighbour has nobody to be asked of.
    """
    from scipy import sparse

    n = len(stratum)
    n_strata = int(stratum.max(initial=-1)) + 1
    placed = np.flatnonzero(stratum >= 0)
    member = sparse.csr_matrix((np.ones(len(placed)), (stratum[placed], placed)), shape=(max(1, n_strata), n))
    near = _sparse(there, n)
    # How often each perturbation is a neighbour of a stratum's members, looked up for each that is asked for.
    counts = (member @ near).tocsr()
    line, row, weight = asked
    own = stratum[line]
    found = np.asarray(counts[np.maximum(own, 0), row]).ravel() - np.asarray(near[line, row]).ravel()
    sizes = np.bincount(stratum[placed], minlength=max(1, n_strata))
    others = sizes[np.maximum(own, 0)] - 1 - (stratum[row] == own)
    share = np.full(len(line), np.nan)
    asked_of = (own >= 0) & (others > 0)
    # What rounding leaves below 0 is 0.
    share[asked_of] = np.maximum(found[asked_of], 0.0) / others[asked_of]
    total: Floats = np.bincount(line, weights=weight * share, minlength=n).astype(np.float64)
    return total


def _undefined(raw: Floats, adjusted: Floats) -> list[str]:
    """Say how many perturbations are left out, and why."""
    n_silent = int(np.isnan(raw).sum())
    n_alone = int((np.isnan(adjusted) & ~np.isnan(raw)).sum())
    notes = []
    if n_silent:
        notes.append(f"{n_silent:,} of {len(raw):,} perturbations have no neighbours in one of the contexts")
    if n_alone:
        notes.append(
            f"{n_alone:,} of {len(raw):,} perturbations share their part of the axis and of the layout with too few "
            "others to say what is expected of them, and are left out"
        )
    return notes


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")
