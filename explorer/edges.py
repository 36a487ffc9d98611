"""Which edges of one context's neighbourhood graph hold in another: mutual ranks against matched decoys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from explorer.aggregate import PerturbationMap
from explorer.axis import N_TERTILES, Strata
from explorer.errors import InputError
from explorer.known import KnownPairs
from explorer.relate import TIE_DECIMALS, score_blocks
from explorer.significance import add_one_p, benjamini_hochberg
from explorer.stand_ins import N_DECOYS, N_STEPS, draw_decoys, known_rows, neighbor_graph

HOLDS_Q = 0.1
# Where an axis or a layout draws most perturbations of a class together, nearly all who could stand in lie within two
# steps, and those beyond are unlike an edge there: they let the axis itself hold. Measured on planted screens: of edges
# that hold there 16 to 54 % are none; with decoys from two steps away, too, 0 to 9 %. In the simulated Perturb-seq
# screen, of 120 perturbations, 22 and 30 % (pseudobulk, scVI) against 8 and 13 %.
LEAST_LEFT = 0.5

# Cosines on this grid are equal where they are to six decimals.
_GRID = 10**TIE_DECIMALS

Rows = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class EdgeTests:
    """Undirected edges of one context's graph, each tested in another; arrays of shape (n_edges,).

    Attributes
    ----------
    names
        Perturbations of both maps, sorted.
    first, second
        Rows of the edges, ``first < second``, in order.
    is_reciprocal
        Whether each is among the other's k in the discovering context.
    mutual_rank
        The larger of the two ranks in the other context, where 1 is the nearest and equal cosines share their mean
        rank; NaN where a profile there is zero.
    p, q
        Against decoys of the same class, add-one; Benjamini-Hochberg over all edges. NaN where not testable.
    decoy_class, n_decoys
        Number of the class (pair of axis thirds × same or other layout unit; −1 where the layout of a partner is not
        known), and decoys pooled in it.
    decoy_share
        Share of the decoys of all classes that would hold at the threshold of `q` ≤ .1: what matched decoys show.
        0 where no edge holds, NaN without decoys.
    note
        Why nothing could be tested, or what the reader must know; else empty.
    """

    names: tuple[str, ...] = field(repr=False)
    first: Rows = field(repr=False)
    second: Rows = field(repr=False)
    is_reciprocal: Flags = field(repr=False)
    mutual_rank: Floats = field(repr=False)
    p: Floats = field(repr=False)
    q: Floats = field(repr=False)
    decoy_class: Rows = field(repr=False)
    n_decoys: Rows = field(repr=False)
    decoy_share: float
    note: str = ""

    @property
    def holds(self) -> Flags:
        """Whether each edge holds in the other context, q ≤ .1; False where it was not tested."""
        return np.asarray(np.nan_to_num(self.q, nan=1.0) <= HOLDS_Q)


def edge_tests(
    discovery: PerturbationMap,
    other: PerturbationMap,
    *,
    strata: Strata,
    known: Sequence[KnownPairs] = (),
    other_layout: npt.NDArray[np.intp] | None = None,
    k: int = 10,
    n_decoys: int = N_DECOYS,
    n_steps: int = N_STEPS,
    seed: int = 0,
) -> EdgeTests:
    """Test every edge of the discovering context's graph in another context.

    An edge is scored by its mutual rank in the other context: a hub ranks high for others, and they don't for it.
    That is held against the mutual ranks of decoys, pairs in which one partner was replaced by a perturbation like
    it; ``p = (1 + #{M_decoy ≤ M}) / (1 + #decoys)`` over the decoys of the edge's class. The coordinates of the two
    contexts are never compared, so their features may differ.

    Parameters
    ----------
    discovery, other
        Maps of the same perturbations, each centred (`explorer.axis.centered`).
    strata
        Those of the discovering map.
    known
        Known pairs, which are no decoys; perturbations that the maps have not are passed over.
    other_layout
        Layout unit of each perturbation in the other context, shape (n_perturbations,), −1 where it is not known;
        None where none is declared. Decoys then have the same relation in both layouts.
    k
        Neighbours that make the graph.
    n_decoys, n_steps
        As in `explorer.stand_ins.draw_decoys`: decoys drawn for either partner, and steps that must lie between. In a
        class of edges where two steps leave less than half of those whom one step leaves, one step is taken.
    seed
        Of the draw.

    Returns
    -------
    EdgeTests
        Equal cosines share their mean rank: a map in which all are alike shows nothing.

    Raises
    ------
    InputError
        When the maps or the strata are not of the same perturbations, or k is out of range.

    References
    ----------
    Phipson and Smyth 2010, doi:10.2202/1544-6115.1585 (add-one p). Benjamini and Hochberg 1995,
    doi:10.1111/j.2517-6161.1995.tb02031.x.
    """
    if not discovery.names == other.names == strata.names:
        msg = "the two maps and the strata must have the same perturbations: restrict all to the common ones"
        raise InputError(msg)
    graph = neighbor_graph(discovery, k=k)
    layouts = tuple(layout for layout in (strata.layout, other_layout) if layout is not None)
    usable = (discovery.norms > 0) & (other.norms > 0)
    drawn = [
        draw_decoys(graph, strata, layouts=layouts, usable=usable, known=known, n_decoys=n_decoys, n_steps=n, seed=seed)
        for n in range(n_steps, 0, -1)
    ]
    n_edges = len(graph.first)
    edge_class = _classes(strata, layouts, graph.first, graph.second)
    is_crowded = _crowded(edge_class, drawn[0].n_able, drawn[-1].n_able)
    taken = [~is_crowded[drawn[0].edge], is_crowded[drawn[-1].edge]]
    kept, stand_in = (
        np.concatenate([rows[some] for rows, some in zip(pair, taken, strict=True)])
        for pair in ((drawn[0].kept, drawn[-1].kept), (drawn[0].stand_in, drawn[-1].stand_in))
    )
    both = mutual_ranks(other, np.r_[graph.first, kept], np.r_[graph.second, stand_in])
    own, theirs = both[:n_edges], both[n_edges:]
    their_class = _classes(strata, layouts, kept, stand_in)
    p, their_p = np.full(n_edges, np.nan), np.full(len(theirs), np.nan)
    pooled = np.zeros(n_edges, dtype=np.intp)
    for number in np.unique(edge_class[edge_class >= 0]).tolist():
        inside, among = edge_class == number, their_class == number
        pooled[inside] = among.sum()
        # A small rank is near, and p is the share of a null that is as large.
        p[inside], their_p[among] = (add_one_p(-theirs[among], -ranks) for ranks in (own[inside], theirs[among]))
    q = benjamini_hochberg(p)
    called = p[np.nan_to_num(q, nan=1.0) <= HOLDS_Q]
    threshold = float(called.max()) if len(called) else 0.0
    judged = their_p[~np.isnan(their_p)]
    for array in (p, q, own, pooled, edge_class):
        array.setflags(write=False)
    return EdgeTests(
        names=discovery.names,
        first=graph.first,
        second=graph.second,
        is_reciprocal=graph.is_reciprocal,
        mutual_rank=own,
        p=p,
        q=q,
        decoy_class=edge_class,
        n_decoys=pooled,
        decoy_share=float((judged <= threshold).mean()) if len(judged) else float("nan"),
        note="; ".join(
            said
            for said in (
                _note(p, own, pooled, placed=edge_class >= 0, why=_why_none(discovery.names, known, k=k)),
                _crowded_note(is_crowded),
            )
            if said
        ),
    )


def partial_conjunction(p: npt.ArrayLike, *, at_least: int) -> npt.NDArray[np.float64]:
    """Combine p-values of one edge in n contexts: p that at least `at_least` of them hold.

    ``(n − u + 1) · p_(u)``, where p_(u) is the u-th smallest, at most 1: valid whatever the contexts have in common.

    Parameters
    ----------
    p
        Shape (n_edges, n_contexts), without the discovering context; NaN marks what was not tested, and counts as
        no evidence.
    at_least
        u, from 1 to n_contexts.

    Returns
    -------
    numpy.ndarray
        Shape (n_edges,); NaN where fewer than u contexts could be tested.

    Raises
    ------
    InputError
        When `at_least` is out of range.

    References
    ----------
    Benjamini and Heller 2008, doi:10.1111/j.1541-0420.2007.00984.x.
    """
    values = np.asarray(p, dtype=np.float64)
    n_contexts = values.shape[1]
    if isinstance(at_least, bool) or not isinstance(at_least, int) or not 1 <= at_least <= n_contexts:
        msg = f"at least {at_least} of {n_contexts} contexts can't be asked for: choose from 1 to {n_contexts}"
        raise InputError(msg)
    # NaN sorts last.
    ordered = np.sort(values, axis=1)[:, at_least - 1]
    return np.asarray(np.minimum(1.0, (n_contexts - at_least + 1) * ordered))


def mutual_ranks(
    perturbation_map: PerturbationMap, first: npt.NDArray[np.intp], second: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64]:
    """Rank pairs by how near each is to the other: the larger of the two ranks.

    Parameters
    ----------
    perturbation_map
        The map.
    first, second
        Rows of the pairs, shape (n_pairs,).

    Returns
    -------
    numpy.ndarray
        Shape (n_pairs,), 1 where each is the other's nearest; equal cosines share their mean rank. NaN where a
        profile has length zero. The cost does not grow with the pairs beyond a look-up, nor the memory with
        n_perturbations².
    """
    n = perturbation_map.n_perturbations
    code, place = np.unique(np.minimum(first, second) * n + np.maximum(first, second), return_inverse=True)
    low, high = code // n, code % n
    query, target = np.r_[low, high], np.r_[high, low]
    order = np.argsort(query, kind="stable")
    query, target = query[order], target[order]
    ranks = np.empty(len(query))
    asked = np.unique(query)
    span = np.int64(2 * _GRID + 2)
    for start, scores in score_blocks(perturbation_map, asked):
        rows = asked[start : start + len(scores)]
        begin, end = np.searchsorted(query, [rows[0], rows[-1] + 1]).tolist()
        # Whole numbers from 1 up, 0 where there is no cosine; each line in a range of its own, so that all lines
        # put in order are one ordered list.
        np.maximum(scores, -1.0 - 1.0 / _GRID, out=scores)
        scores *= _GRID
        values = np.rint(scores, out=scores).astype(np.int64)
        values += _GRID + 1
        values += span * np.arange(len(rows))[:, None]
        line = np.searchsorted(rows, query[begin:end])
        wanted = values[line, target[begin:end]]
        values.sort(axis=1)
        ordered = values.ravel()
        above = (line + 1) * n - np.searchsorted(ordered, wanted, side="right")
        equal = (line + 1) * n - np.searchsorted(ordered, wanted, side="left") - above
        ranks[begin:end] = above + (1 + equal) / 2
    both = np.empty(len(ranks))
    both[order] = ranks
    mutual = np.maximum(both[: len(code)], both[len(code) :])
    silent = perturbation_map.norms == 0
    mutual[silent[low] | silent[high]] = np.nan
    return np.asarray(mutual[place])


def _classes(strata: Strata, layouts: Sequence[Rows], one: Rows, other: Rows) -> Rows:
    """Give pairs the number of their class; −1 where a partner has no place on the axis, or in a layout."""
    low, high = (function(strata.tertile[one], strata.tertile[other]) for function in (np.minimum, np.maximum))
    number, placed = low * N_TERTILES + high, low >= 0
    for layout in layouts:
        number = 2 * number + (layout[one] == layout[other])
        placed = placed & (layout[one] >= 0) & (layout[other] >= 0)
    return np.where(placed, number, -1).astype(np.intp)


def _crowded(edge_class: Rows, n_far: Rows, n_near: Rows) -> Flags:
    """Whether each edge is of a class in which two steps leave less than half of those whom one step leaves."""
    placed = edge_class >= 0
    number = np.where(placed, edge_class, 0)
    far, near = (np.bincount(number, weights=np.where(placed, n, 0)) for n in (n_far, n_near))
    return placed & (far < LEAST_LEFT * near)[number]


def _crowded_note(is_crowded: Flags) -> str:
    """Say how many edges are held against decoys that are nearer than usual."""
    if not is_crowded.any():
        return ""
    return (
        f"{int(is_crowded.sum()):,} of {len(is_crowded):,} edges lie where most perturbations are within two steps of "
        "one another (an axis or a layout draws them together, or they are few), so that decoys are taken from two "
        "steps away, too, and fewer edges can hold"
    )


def _why_none(names: tuple[str, ...], known: Sequence[KnownPairs], *, k: int) -> str:
    """Say why nobody may be left who could stand in for a partner."""
    n_pairs, n_known = len(names) * (len(names) - 1) // 2, len(known_rows(known, names)[0])
    if 2 * n_known > n_pairs:
        return f"{n_known:,} of {n_pairs:,} pairs are known, and only others can be decoys"
    return f"with {k} neighbours each, nearly all of {len(names):,} perturbations are neighbours of one another"


def _note(p: Floats, own: Floats, pooled: Rows, *, placed: Flags, why: str) -> str:
    """Say what could not be tested, and why."""
    if not len(p):
        return "no perturbation has a neighbour: all profiles are zero"
    zero, few = np.isnan(own), (pooled > 0) & (1 / (1 + pooled) > HOLDS_Q)
    reasons = (
        (zero, "can't be tested, since a partner's profile is zero there"),
        (~zero & ~placed, "can't be tested, since a partner has no position in the layout"),
        (~zero & placed & np.isnan(p), f"can't be tested, since no pair is left to compare them with: {why}"),
        # The smallest p that so few allow is no q of .1.
        (~np.isnan(p) & few, "have too few pairs to compare them with, so that they can't hold"),
    )
    return "; ".join(f"{int(which.sum()):,} of {len(p):,} edges {said}" for which, said in reasons if which.any())
