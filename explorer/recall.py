"""How many known pairs lie in the tails of all cosines of a map; and how many pairs like them but for being known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from explorer.aggregate import PerturbationMap
from explorer.errors import InputError, shown
from explorer.known import KnownPairs
from explorer.tails import (
    COSINE_DECIMALS,
    TAILS,
    Flags,
    Floats,
    NullThresholds,
    Rows,
    Tails,
    null_thresholds,
    pair_hits,
)

N_EFFECT_BINS = 10
N_DEGREE_BINS = 4
# Draws of a control pair before all that there are get listed.
_DRAWS = 32


@dataclass(frozen=True, slots=True)
class Recall:
    """Share of known pairs in the tails of all cosines of a map; more is better, NaN where there is no pair.

    Attributes
    ----------
    both, upper, lower
        Share in either tail (as published), in the upper (similar) and in the lower one (opposite).
    macro
        Mean over groups of the share of the group's own pairs in either tail: every group counts the same, where
        otherwise a few large ones decide.
    n_pairs, n_groups
        Numbers of pairs, and of groups that have one.
    chance
        Share that random pairs would have.
    source
        Name of the source.
    n_silent
        Pairs of which a profile has length zero: they have no cosine, and count as missed.
    n_degree_relaxed, n_effect_relaxed, n_unmatched
        Of a matched control: pairs that were matched on effect size alone, on neither, and not at all, since no
        other pair was left. The last are not among the pairs.
    """

    both: float
    upper: float
    lower: float
    macro: float
    n_pairs: int
    n_groups: int
    chance: float
    source: str = ""
    n_silent: int = 0
    n_degree_relaxed: int = 0
    n_effect_relaxed: int = 0
    n_unmatched: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class ControlPairs:
    """Random pairs that are like the known pairs of a source, but not known.

    Attributes
    ----------
    first, second
        Rows of the map, one pair for each known pair, in its order; −1 where there is none.
    relaxed
        What the pair is matched on: 0 effect size and degree, 1 effect size, 2 nothing but being annotated.
    """

    first: Rows = field(repr=False)
    second: Rows = field(repr=False)
    relaxed: npt.NDArray[np.int8] = field(repr=False)


def relationship_recall(
    perturbation_map: PerturbationMap,
    known: Sequence[KnownPairs],
    *,
    tails: Tails = TAILS,
    thresholds: NullThresholds | None = None,
) -> tuple[Recall, ...]:
    """Measure which share of the known pairs of each source lies in the tails of all cosines of a map.

    Parameters
    ----------
    perturbation_map
        The map.
    known
        Sources, looked up in it by `known_pairs`.
    tails
        As in `hits_in_tails`.
    thresholds
        Of this map and these tails, where they have been found already.

    Returns
    -------
    tuple of Recall
        One for each source. A known pair of which a profile has length zero counts as missed.

    Raises
    ------
    InputError
        When a source was looked up in another map, or the thresholds are of other tails.

    References
    ----------
    Celik et al. 2024, doi:10.1371/journal.pcbi.1012463 (the benchmark, with both tails summed).
    """
    _check_same_map(perturbation_map, known)
    thresholds = _checked(perturbation_map, tails, thresholds)
    silent = perturbation_map.norms == 0
    found = []
    for source in known:
        lower, upper = pair_hits(perturbation_map, source.first, source.second, thresholds=thresholds)
        n_silent = int((silent[source.first] | silent[source.second]).sum())
        found.append(_summary(source, lower, upper, thresholds=thresholds, n_silent=n_silent))
    return tuple(found)


def matched_control(
    perturbation_map: PerturbationMap,
    known: Sequence[KnownPairs],
    *,
    tails: Tails = TAILS,
    thresholds: NullThresholds | None = None,
    seed: int = 0,
) -> tuple[Recall, ...]:
    """Measure the recall that random pairs have which are like the known ones but for being known.

    Two strong perturbations are often similar or opposite whatever they do, so recall says little until it is held
    against pairs of the same strength: `control_pairs` says how they are drawn.

    Parameters
    ----------
    perturbation_map, known, tails, thresholds
        As in `relationship_recall`.
    seed
        Of the draw.

    Returns
    -------
    tuple of Recall
        One for each source; macro is over the controls of each group's own pairs.

    Raises
    ------
    InputError
        As `relationship_recall`.
    """
    thresholds = _checked(perturbation_map, tails, thresholds)
    silent = perturbation_map.norms == 0
    found = []
    for source, drawn in zip(known, control_pairs(perturbation_map, known, seed=seed), strict=True):
        kept = drawn.first >= 0
        first, second = drawn.first[kept], drawn.second[kept]
        lower, upper = np.zeros(len(kept), dtype=bool), np.zeros(len(kept), dtype=bool)
        lower[kept], upper[kept] = pair_hits(perturbation_map, first, second, thresholds=thresholds)
        found.append(
            _summary(
                source,
                lower,
                upper,
                thresholds=thresholds,
                kept=kept,
                n_silent=int((silent[first] | silent[second]).sum()),
                n_degree_relaxed=int((kept & (drawn.relaxed == 1)).sum()),
                n_effect_relaxed=int((kept & (drawn.relaxed == 2)).sum()),
                n_unmatched=int((~kept).sum()),
            )
        )
    return tuple(found)


def control_pairs(
    perturbation_map: PerturbationMap, known: Sequence[KnownPairs], *, seed: int = 0
) -> tuple[ControlPairs, ...]:
    """Draw for every known pair of each source a random pair like it that no source knows.

    Each member is replaced by a perturbation that the same source annotates, of the same tenth of the map by length
    of the profile (profiles of length zero apart) and the same quarter of the annotated by number of known
    partners. Where all such pairs are known the number of partners is given up first, then the length.

    Parameters
    ----------
    perturbation_map, known
        As in `relationship_recall`.
    seed
        Of the draw; every allowed pair has the same probability.
    """
    _check_same_map(perturbation_map, known)
    n = perturbation_map.n_perturbations
    if not known:
        return ()
    taken = np.unique(np.concatenate([_codes(source.first, source.second, n) for source in known]))
    effect = effect_bins(perturbation_map.norms)
    rng = np.random.default_rng(seed)
    return tuple(_drawn(source, effect, taken, rng=rng) for source in known)


def _check_same_map(perturbation_map: PerturbationMap, known: Sequence[KnownPairs]) -> None:
    for source in known:
        if source.names != perturbation_map.names:
            msg = (
                f"{shown(source.name)} was looked up among {len(source.names):,} other perturbations than the "
                f"{perturbation_map.n_perturbations:,} of the map: call known_pairs with the names of this map"
            )
            raise InputError(msg)


def _checked(perturbation_map: PerturbationMap, tails: Tails, thresholds: NullThresholds | None) -> NullThresholds:
    """Take the thresholds given, or find them."""
    if thresholds is None:
        return null_thresholds(perturbation_map, tails=tails)
    if tuple(thresholds.tails) != tuple(tails):
        msg = f"the thresholds are those of the tails {thresholds.tails}, asked for is {tails}: give the same to both"
        raise InputError(msg)
    return thresholds


def _summary(
    source: KnownPairs,
    lower: Flags,
    upper: Flags,
    *,
    thresholds: NullThresholds,
    kept: Flags | None = None,
    n_silent: int = 0,
    n_degree_relaxed: int = 0,
    n_effect_relaxed: int = 0,
    n_unmatched: int = 0,
) -> Recall:
    """Count hits over pairs and over groups."""
    kept = np.ones(len(lower), dtype=bool) if kept is None else kept
    hit, n_pairs = (lower | upper) & kept, int(kept.sum())
    own_hits, own = _within_groups(source, hit), _within_groups(source, kept)
    has_pairs = own > 0

    def share(flags: Flags) -> float:
        return float((flags & kept).sum() / n_pairs) if n_pairs and thresholds.n_null else float("nan")

    some = bool(has_pairs.any()) and thresholds.n_null > 0
    return Recall(
        both=share(hit),
        upper=share(upper),
        lower=share(lower),
        macro=float((own_hits[has_pairs] / own[has_pairs]).mean()) if some else float("nan"),
        n_pairs=n_pairs,
        n_groups=int(has_pairs.sum()),
        chance=round(thresholds.tails[0] + 1 - thresholds.tails[1], COSINE_DECIMALS),
        source=source.name,
        n_silent=n_silent,
        n_degree_relaxed=n_degree_relaxed,
        n_effect_relaxed=n_effect_relaxed,
        n_unmatched=n_unmatched,
    )


def _within_groups(source: KnownPairs, chosen: Flags) -> Floats:
    """Count the chosen pairs with both members in each group, shape (n_groups,)."""
    from scipy import sparse

    groups = tuple(source.groups.values())
    if not groups:
        return np.zeros(0)
    n, owner = len(source.names), np.repeat(np.arange(len(groups)), [len(rows) for rows in groups])
    member = sparse.csr_matrix((np.ones(len(owner)), (np.concatenate(groups), owner)), shape=(n, len(groups)))
    first, second = source.first[chosen], source.second[chosen]
    pairs = sparse.csr_matrix((np.ones(len(first)), (first, second)), shape=(n, n))
    return np.asarray((pairs @ member).multiply(member).sum(axis=0)).ravel()


def effect_bins(norms: Floats) -> Rows:
    """Tell which tenth of the map each perturbation is in by the length of its profile.

    Parameters
    ----------
    norms
        Length of each profile, shape (n_perturbations,).

    Returns
    -------
    numpy.ndarray
        From 1, the shortest; 0 for a length of zero.
    """
    bins = np.zeros(len(norms), dtype=np.intp)
    has_effect = norms > 0
    if has_effect.any():
        edges = np.quantile(norms[has_effect], np.arange(1, N_EFFECT_BINS) / N_EFFECT_BINS)
        bins[has_effect] = 1 + np.searchsorted(edges, norms[has_effect], side="left")
    return bins


def _codes(first: Rows, second: Rows, n: int) -> npt.NDArray[np.int64]:
    """One number for each unordered pair of rows."""
    return np.asarray(np.minimum(first, second) * np.int64(n) + np.maximum(first, second), dtype=np.int64)


def _drawn(source: KnownPairs, effect: Rows, taken: npt.NDArray[np.int64], *, rng: np.random.Generator) -> ControlPairs:
    """Draw one pair for each known pair, giving up what it is matched on where nothing else is left."""
    annotated = source.annotated
    if not len(annotated):
        return ControlPairs(source.first, source.second, np.zeros(0, dtype=np.int8))
    edges = np.quantile(source.degree[annotated], np.arange(1, N_DEGREE_BINS) / N_DEGREE_BINS)
    degree = np.searchsorted(edges, source.degree, side="left")
    first, second = np.full(source.n_pairs, -1), np.full(source.n_pairs, -1)
    relaxed = np.zeros(source.n_pairs, dtype=np.int8)
    left = np.arange(source.n_pairs)
    for level, cell in enumerate((effect * N_DEGREE_BINS + degree, effect, np.zeros_like(effect))):
        if not len(left):
            break
        one, other = pairs_of_cells(cell, annotated, (source.first[left], source.second[left]), taken=taken, rng=rng)
        first[left], second[left], relaxed[left] = one, other, level
        left = left[one < 0]
    return ControlPairs(first, second, relaxed)


def pairs_of_cells(
    cell: Rows,
    candidates: Rows,
    like: tuple[Rows, Rows],
    *,
    taken: npt.NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[Rows, Rows]:
    """Draw for each pair another one whose members lie in the same cells.

    Parameters
    ----------
    cell
        Cell of each perturbation, from 0, shape (n_perturbations,).
    candidates
        Rows that may be drawn, one or more of each cell that a pair is in.
    like
        First and second rows of the pairs.
    taken
        Pairs that may not be drawn, one or more: ``lower row × n_perturbations + higher row``, sorted.
    rng
        What draws.

    Returns
    -------
    tuple
        First and second rows, a pair for each of `like`, not always different ones; −1 where no pair is left.
    """
    n = len(cell)
    members = candidates[np.argsort(cell[candidates], kind="stable")]
    n_cells = int(cell.max()) + 1
    size = np.bincount(cell[candidates], minlength=n_cells)
    begin = np.cumsum(size) - size
    own, others = cell[like[0]], cell[like[1]]
    first, second = np.full(len(own), -1), np.full(len(own), -1)

    def allowed(one: Rows, other: Rows) -> Flags:
        code = _codes(one, other, n)
        place = np.minimum(np.searchsorted(taken, code), len(taken) - 1)
        return np.asarray((one != other) & (taken[place] != code))

    left = np.arange(len(own))
    for _ in range(_DRAWS):
        if not len(left):
            return first, second
        one, other = (
            members[begin[part] + np.floor(rng.random(len(left)) * size[part]).astype(np.intp)]
            for part in (own[left], others[left])
        )
        good = allowed(one, other)
        first[left[good]], second[left[good]] = one[good], other[good]
        left = left[~good]
    # Nearly all pairs of these cells are known: list those that are not.
    cells = own * n_cells + others
    for number in np.unique(cells[left]).tolist():
        waiting = left[cells[left] == number]
        here, there = (members[begin[part] : begin[part] + size[part]] for part in divmod(number, n_cells))
        one, other = (part.ravel() for part in np.meshgrid(here, there, indexing="ij"))
        free = np.flatnonzero(allowed(one, other))
        if len(free):
            chosen = free[rng.integers(len(free), size=len(waiting))]
            first[waiting], second[waiting] = one[chosen], other[chosen]
    return first, second
