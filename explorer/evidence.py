"""What stands beside a pair: agreement of seeds, support under resampling of replicates, gene sets that both share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from explorer.aggregate import PerturbationMap, map_from_moments
from explorer.align import Alignment, check_method, fit_alignment, moments_for
from explorer.digits import counted
from explorer.errors import InputError, shown
from explorer.moments import ScreenMoments
from explorer.relate import check_k, neighborhoods
from explorer.relationships import GeneSetIndex, enrichment_of
from explorer.screen import Representation, Screen
from explorer.sources import SpreadSource
from explorer.totals import unit_totals

N_RESAMPLES = 50
# Of a pair whose neighbourhoods share many gene sets, so many are named.
MOST_SETS = 2
# Aligned rows that are kept to be drawn again and again, where there is nothing but rows to draw.
MOST_ROW_BYTES = 64 * 2**20

Pairs = Sequence[tuple[str, str]]
Rows = npt.NDArray[np.intp]
Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True, eq=False)
class Resampled:
    """How often pairs are edges of maps made of replicates that were drawn anew.

    Attributes
    ----------
    share
        Share of the resamples in which each pair is an edge, shape (n_pairs,). NaN where there is no support, and for
        pairs of which a partner is not in the map, has a profile of length zero, or has a single replicate: that one
        is drawn every time, which shows nothing.
    n_resamples
        Number of resamples; 0 where there is no support.
    unit
        What was drawn: ``guides``, ``batches`` or ``rows``; empty where there is no support.
    reason
        Why there is no support, in a sentence; empty where there is.
    """

    share: Floats = field(repr=False)
    n_resamples: int
    unit: str
    reason: str = ""


def edge_chances(
    perturbation_map: PerturbationMap, first: Sequence[str], second: Sequence[str], *, k: int = 10
) -> Floats:
    """Say which pairs are edges of a map's neighbourhood graph: either partner is among the k nearest of the other.

    Parameters
    ----------
    perturbation_map
        The map, whose neighbours are by cosine, as it is.
    first, second
        Names of the partners; the order of a pair does not matter.
    k
        Number of neighbours.

    Returns
    -------
    numpy.ndarray
        Shape (n_pairs,): 1 for an edge, else 0; in between where a partner shares the k-th place with others, and is
        there by chance. NaN where the map lacks a partner, or the profile of one has length zero.

    Raises
    ------
    InputError
        When k is out of range.
    """
    check_k(k, perturbation_map.n_perturbations)
    one, other = (_rows_of(perturbation_map, names) for names in (first, second))
    return _chances(perturbation_map, one, other, k=k)


def edge_support(
    maps: Sequence[PerturbationMap], first: Sequence[str], second: Sequence[str], *, k: int = 10
) -> Floats:
    """Say in what share of maps pairs are edges of the neighbourhood graph, such as maps of seeds of one model.

    Parameters
    ----------
    maps
        The maps.
    first, second, k
        As in `edge_chances`.

    Returns
    -------
    numpy.ndarray
        Shape (n_pairs,): mean over the maps that have both partners; NaN where none has.

    Raises
    ------
    InputError
        When k is out of range.
    """
    chances = np.array([edge_chances(one, first, second, k=k) for one in maps]).reshape(len(maps), len(first))
    told = ~np.isnan(chances)
    n_told = told.sum(axis=0)
    total = np.where(told, chances, 0.0).sum(axis=0)
    return np.asarray(np.where(n_told > 0, total / np.maximum(n_told, 1), np.nan))


def resampled_support(
    screen: Screen,
    representation: str,
    pairs: Pairs,
    *,
    alignment: str = "none",
    moments: ScreenMoments | None = None,
    k: int = 10,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
) -> Resampled:
    """Say how often pairs are edges of maps whose replicates were drawn anew: how much hangs on single replicates.

    Drawn with replacement, as many as there are and within every perturbation, are its guides where they are declared
    and most perturbations have two or more; else its batches; else its rows, where these are few. Rows, guides and
    perturbations are then averaged as in the map. The alignment stays as it was fitted on all controls, and no row is
    read again but where rows are drawn.

    It is no probability that a pair is real: pairs that share a technical effect in all of their replicates keep it.
    And pairs that were chosen for being near are near partly by luck, which is in every resample.

    Parameters
    ----------
    screen, representation
        The rows, and the name of one of their representations.
    pairs
        Names of the partners of each pair.
    alignment
        As in `explorer.aggregate.build_map`.
    moments
        Of all rows of this representation, where they have been collected; otherwise they are.
    k
        Neighbours that make the graph.
    n_resamples
        Number of resamples.
    seed
        Of the draws.
    progress
        Told what is done, and what share is behind; it may raise, to cancel.

    Returns
    -------
    Resampled
        With a `reason` in place of numbers where there are no replicates to draw.

    Raises
    ------
    InputError
        When a name of the screen is unknown, or k or the number of resamples is out of range.

    References
    ----------
    Felsenstein 1985, doi:10.1111/j.1558-5646.1985.tb00420.x (support of what a bootstrap finds again).
    """
    if isinstance(n_resamples, bool) or not isinstance(n_resamples, int) or n_resamples < 1:
        msg = f"{shown(n_resamples)} resamples can't be drawn: choose a whole number of 1 or more"
        raise InputError(msg)
    check_method(alignment)
    source = screen.representation(representation)
    nothing = np.full(len(pairs), np.nan)
    if isinstance(source.source, SpreadSource):
        return Resampled(nothing, 0, "", "an embedding with one row a perturbation has no replicates to draw anew")
    moments = moments_for(alignment, screen, source, moments=moments)
    fitted = fit_alignment(moments, alignment)
    found = _replicates(screen, source, moments, fitted=fitted)
    if isinstance(found, str):
        return Resampled(nothing, 0, "", found)
    whole = map_from_moments(screen, source, moments, alignment=alignment)
    check_k(k, whole.n_perturbations)
    first, second = (_rows_of(whole, [pair[side] for pair in pairs]) for side in (0, 1))
    told = (first >= 0) & (second >= 0)
    for rows in (first, second):
        told[told] = (whole.norms[rows[told]] > 0) & (found.n_replicates[rows[told]] > 1)
    if not told.any():
        return Resampled(nothing, n_resamples, found.unit)
    rng = np.random.default_rng(seed)
    total = np.zeros(int(told.sum()))
    for number in range(n_resamples):
        if progress is not None:
            progress(f"drawing {found.unit} anew", number / n_resamples)
        drawn = replace(whole, profiles=found.profiles(found.draw(rng)).astype(np.float32))
        # Replicates that cancel each other leave no neighbours, and so no edge.
        total += np.nan_to_num(_chances(drawn, first[told], second[told], k=k))
    nothing[told] = total / n_resamples
    return Resampled(nothing, n_resamples, found.unit)


def shared_gene_sets(
    maps: Sequence[PerturbationMap], pairs: Pairs, index: GeneSetIndex, *, k: int = 10, q_below: float = 0.05
) -> tuple[str, ...]:
    """Name the gene sets that the neighbourhoods of both partners of a pair are enriched in.

    The partners may be among each other's neighbours, and in the set.

    Parameters
    ----------
    maps
        Maps in which the neighbourhoods are looked at; a set counts where both are enriched in one and the same map.
    pairs
        Names of the partners of each pair.
    index
        The sets, as `explorer.relationships.index_gene_sets` finds them among the perturbations of the maps.
    k
        Number of neighbours.
    q_below
        The q of a set must be at or below this in both neighbourhoods, each over all sets tested there.

    Returns
    -------
    tuple of str
        For each pair up to two sets, the smaller the larger of the two q the sooner, with the neighbours of the first
        and of the second partner that are in it: ``SAGA complex (5 and 4 of 10)``. Empty where there is none.

    Raises
    ------
    InputError
        When k is out of range.
    """
    best: list[dict[tuple[str, str], tuple[float, str]]] = [{} for _ in pairs]
    for one in maps:
        check_k(k, one.n_perturbations)
        first, second = (_rows_of(one, [pair[side] for pair in pairs]) for side in (0, 1))
        here = np.flatnonzero((first >= 0) & (second >= 0))
        asked = np.unique(np.r_[first[here], second[here]])
        enriched = _enriched_sets(one, asked, index, k=k, q_below=q_below)
        for place in here.tolist():
            own, theirs = enriched[int(first[place])], enriched[int(second[place])]
            for name in own.keys() & theirs.keys():
                (q, n, of), (other_q, other_n, other_of) = own[name], theirs[name]
                counts = f"{n} and {other_n} of {of}" if of == other_of else f"{n} of {of} and {other_n} of {other_of}"
                found = max(q, other_q), f"{name[0]} ({counts})"
                best[place][name] = min(found, best[place].get(name, found))
    return tuple("; ".join(text for _, text in sorted(sets.values())[:MOST_SETS]) for sets in best)


# ---------------------------------------------------------------- edges


def _rows_of(perturbation_map: PerturbationMap, names: Sequence[str]) -> Rows:
    """Rows of some perturbations; −1 for those that the map has not."""
    rows = [perturbation_map.position(name) if name in perturbation_map else -1 for name in names]
    return np.array(rows, dtype=np.intp)


def _chances(perturbation_map: PerturbationMap, first: Rows, second: Rows, *, k: int) -> Floats:
    """`edge_chances` of rows, −1 for partners that are not there."""
    found = np.full(len(first), np.nan)
    told = (first >= 0) & (second >= 0)
    told[told] = (perturbation_map.norms[first[told]] > 0) & (perturbation_map.norms[second[told]] > 0)
    asked = np.unique(np.r_[first[told], second[told]])
    near = neighborhoods(perturbation_map, k=k, queries=asked)

    def chance(query: Rows, other: Rows) -> Floats:
        line = np.searchsorted(asked, query)
        inside: Floats = np.where((near.rows[line] == other[:, None]).any(axis=1), 1.0, 0.0)
        for place in np.flatnonzero(np.isin(line, list(near.ties))).tolist():
            rows, probability = near.ties[int(line[place])]
            inside[place] = probability[rows == other[place]].sum()
        return inside

    one, back = chance(first[told], second[told]), chance(second[told], first[told])
    found[told] = 1 - (1 - one) * (1 - back)
    return found


# ---------------------------------------------------------------- replicates


@dataclass(frozen=True, slots=True, eq=False)
class _Replicates:
    """What a map is made of, so that some of it can be counted more often than other.

    Attributes
    ----------
    unit
        What a replicate is.
    values, weight
        Aligned profiles, and the rows that each stands for, shapes (n_parts, n_features) and (n_parts,).
    replicate
        Replicate that each part belongs to, shape (n_parts,).
    group
        What parts are averaged to first: their guide, or their perturbation where nothing lies between.
    owner
        Row in the map of the perturbation of each part, shape (n_parts,).
    replicate_owner
        The same of each replicate, shape (n_replicates,).
    """

    unit: str
    values: Floats
    weight: Floats
    replicate: Rows
    group: Rows
    owner: Rows
    replicate_owner: Rows

    @property
    def n_replicates(self) -> Integers:
        """Number of replicates of every perturbation."""
        return np.bincount(self.replicate_owner, minlength=int(self.owner.max()) + 1)

    def draw(self, rng: np.random.Generator) -> Integers:
        """Draw replicates within every perturbation, with replacement; returns how often each was drawn."""
        order = np.argsort(self.replicate_owner, kind="stable")
        size = self.n_replicates
        begin = np.cumsum(size) - size
        own = self.replicate_owner[order]
        return np.bincount(order[begin[own] + rng.integers(0, size[own])], minlength=len(order))

    def profiles(self, times: Integers) -> Floats:
        """Average as the map does, each replicate taken so many times, shape (n_perturbations, n_features)."""
        from scipy import sparse

        weight = self.weight * times[self.replicate]
        of_group = np.bincount(self.group, weights=weight)
        group_owner = np.zeros(len(of_group), dtype=np.intp)
        group_owner[self.group] = self.owner
        n = int(self.owner.max()) + 1
        n_groups = np.bincount(group_owner[of_group > 0], minlength=n)
        used = np.flatnonzero(weight)
        share = weight[used] / (of_group[self.group[used]] * n_groups[self.owner[used]])
        mixing = sparse.csr_matrix((share, (self.owner[used], used)), shape=(n, len(weight)))
        return np.asarray(mixing @ self.values)


def _replicates(
    screen: Screen, source: Representation, moments: ScreenMoments, *, fitted: Alignment
) -> _Replicates | str:
    """Find what can be drawn anew; a sentence that says why where there is nothing."""
    labels, unit = moments.labels, moments.unit
    of_unit, guide, batch = labels.unit_perturbation[unit], labels.unit_guide[unit], labels.unit_batch[unit]
    # Numbers of the labels become rows of the map: both are in the order of the names.
    present, owner = np.unique(of_unit, return_inverse=True)
    if screen.roles.guide:
        own = np.searchsorted(present, labels.guide_perturbation[np.unique(guide)])
        if _has_replicates(own):
            totals = unit_totals(moments, fitted)
            every = np.arange(len(own))
            means = totals.means_of(np.flatnonzero(totals.count))
            return _Replicates("guides", means, np.ones(len(own)), every, own, own, own)
    if screen.roles.batch:
        stretch = len(labels.batches)
        code, place = np.unique(owner * np.int64(stretch) + batch, return_inverse=True)
        own = code // stretch
        if _has_replicates(own):
            aligned = fitted.apply(moments.unit_mean, batch)
            weight = moments.unit_count.astype(np.float64)
            return _Replicates("batches", aligned, weight, place, np.unique(guide, return_inverse=True)[1], owner, own)
    enters = labels.unit >= 0
    enters[moments.excluded] = False
    rows = np.flatnonzero(enters)
    own = np.searchsorted(present, labels.unit_perturbation[labels.unit[rows]])
    if not _has_replicates(own):
        return (
            "there are no replicates to draw anew: most perturbations have a single guide or batch, and a single row"
            if screen.roles.guide or screen.roles.batch
            else "there are no replicates to draw anew: most perturbations have a single row"
        )
    if 8 * len(rows) * source.n_features > MOST_ROW_BYTES:
        return (
            "there are only rows to draw anew, since most perturbations have a single guide or batch, and "
            f"{counted(len(rows), 'row')} × {counted(source.n_features, 'feature')} are too many to be kept for that"
        )
    values = np.empty((len(rows), source.n_features))
    for start, block in source.chunks():
        here = slice(*np.searchsorted(rows, [start, start + len(block)]).tolist())
        values[here] = fitted.apply(block[rows[here] - start], labels.batch[rows[here]])
    of_row = np.unique(labels.unit_guide[labels.unit[rows]], return_inverse=True)[1]
    return _Replicates("rows", values, np.ones(len(rows)), np.arange(len(rows)), of_row, own, own)


def _has_replicates(owner: npt.NDArray[np.integer]) -> bool:
    """Whether the median perturbation has two replicates or more."""
    return len(owner) > 0 and float(np.median(np.unique(owner, return_counts=True)[1])) >= 2


# ---------------------------------------------------------------- gene sets


def _enriched_sets(
    perturbation_map: PerturbationMap, asked: Rows, index: GeneSetIndex, *, k: int, q_below: float
) -> dict[int, dict[tuple[str, str], tuple[float, int, int]]]:
    """Find the sets that neighbourhoods are enriched in: by name and source q, neighbours in it, and neighbours."""
    near = neighborhoods(perturbation_map, k=k, queries=asked)
    names, enriched = perturbation_map.names, {}
    for query, rows in zip(asked.tolist(), near.rows.tolist(), strict=True):
        table = enrichment_of([names[row] for row in rows if row >= 0], index, query=names[query])
        lines = table.select("gene set", "source", "q", "overlap", "of neighbours").iter_rows()
        enriched[query] = {(name, source): (q, n, of) for name, source, q, n, of in lines if q <= q_below}
    return enriched
