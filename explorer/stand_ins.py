"""Who could stand in for a partner of an edge: the neighbourhood graph, and decoys matched to its edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from explorer.aggregate import PerturbationMap
from explorer.axis import Strata
from explorer.known import KnownPairs
from explorer.relate import neighborhoods

if TYPE_CHECKING:
    from scipy import sparse

N_DECOYS = 8
# No decoy may be so near in the graph, since relations that were not found lie there.
N_STEPS = 2

# Flags of forbidden pairs, and of those who could stand in, that are looked at once.
_FLAGS_AT_ONCE = 2**24
_CHOICES_AT_ONCE = 2**21

Rows = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """Undirected edges of a map's neighbourhoods: pairs of which one is among the k nearest of the other.

    Attributes
    ----------
    n
        Perturbations of the map.
    first, second
        Rows of the edges, ``first < second``, each once, in order, shape (n_edges,).
    is_reciprocal
        Whether each is among the other's k.
    """

    n: int
    first: Rows = field(repr=False)
    second: Rows = field(repr=False)
    is_reciprocal: Flags = field(repr=False)

    def matrix(self) -> sparse.csr_matrix:
        """Arrange the edges as a symmetric matrix of 0 and 1, shape (n, n)."""
        return _symmetric(self.first, self.second, self.n)


@dataclass(frozen=True, slots=True, eq=False)
class Decoys:
    """Pairs that stand in for edges, one of the two partners replaced; shape (n_decoys,) each.

    Attributes
    ----------
    edge
        Number of the edge that each stands in for.
    kept, replaced, stand_in
        Rows of the partner that stays, of the one that leaves, and of the one that takes its place.
    n_able
        How many could have stood in for either partner of each edge, shape (n_edges,).
    """

    edge: Rows = field(repr=False)
    kept: Rows = field(repr=False)
    replaced: Rows = field(repr=False)
    stand_in: Rows = field(repr=False)
    n_able: Rows = field(repr=False)


def neighbor_graph(perturbation_map: PerturbationMap, *, k: int = 10) -> Graph:
    """Join every perturbation with its k nearest.

    Parameters
    ----------
    perturbation_map
        The map, as its neighbours are taken from it; ties at the k-th place are broken by name.
    k
        Number of neighbours.

    Raises
    ------
    InputError
        When k is out of range.
    """
    n = perturbation_map.n_perturbations
    found = neighborhoods(perturbation_map, k=k)
    here = found.rows >= 0
    query, near = np.repeat(np.arange(n), k)[here.ravel()], found.rows[here]
    code, times = np.unique(np.minimum(query, near) * n + np.maximum(query, near), return_counts=True)
    graph = Graph(n, code // n, code % n, times == 2)
    for array in (graph.first, graph.second, graph.is_reciprocal):
        array.setflags(write=False)
    return graph


def draw_decoys(
    graph: Graph,
    strata: Strata,
    *,
    layouts: Sequence[npt.NDArray[np.intp]] = (),
    usable: npt.NDArray[np.bool_] | None = None,
    known: Sequence[KnownPairs] = (),
    n_decoys: int = N_DECOYS,
    n_steps: int = N_STEPS,
    seed: int = 0,
) -> Decoys:
    """Draw decoys for both partners of every edge.

    Whoever stands in lies in the bin of the shared axis of the partner replaced, has the same relation to the other
    partner in every layout, is not within `n_steps` of that one in the graph, and is not known to be related to it.

    Parameters
    ----------
    graph, strata
        Of the discovering context.
    layouts
        Layout units, shape (n_perturbations,) each; −1 where it is not known: then there is no decoy.
    usable
        Who may stand in, shape (n_perturbations,); everybody without it.
    known
        Known pairs.
    n_decoys
        Drawn for either partner without repetition; all where there are no more.
    n_steps
        1 or 2: whoever can be reached in so many steps of the graph is no decoy.
    seed
        Of the draw.
    """
    n, rng = graph.n, np.random.default_rng(seed)
    steps, related = graph.matrix(), _symmetric(*known_rows(known, strata.names), n)
    enters = strata.axis >= 0
    for flags in (usable, *(layout >= 0 for layout in layouts)):
        enters = enters if flags is None else enters & flags
    members = _members(np.where(enters, strata.axis, -1), int(strata.axis.max(initial=-1)) + 1)
    numbers = np.arange(len(graph.first))
    edge, kept = np.r_[numbers, numbers], np.r_[graph.second, graph.first]
    replaced = np.r_[graph.first, graph.second]
    order = np.argsort(kept, kind="stable")
    askable = (strata.axis[replaced] >= 0) & enters[kept]
    for layout in layouts:
        askable &= layout[replaced] >= 0
    order = order[askable[order]]
    edge, kept, replaced = edge[order], kept[order], replaced[order]
    found: list[tuple[Rows, Rows]] = [(np.empty(0, np.intp), np.empty(0, np.intp))]
    height = max(1, _FLAGS_AT_ONCE // n)
    step = max(1, _CHOICES_AT_ONCE // max(1, members.shape[1]))
    asked, n_able = np.unique(kept), np.zeros(len(numbers), dtype=np.intp)
    for start in range(0, len(asked), height):
        rows = asked[start : start + height]
        near = steps[rows]
        if n_steps > 1:
            near = near + near @ steps
        forbidden = (near + related[rows]).toarray() > 0
        forbidden[np.arange(len(rows)), rows] = True
        begin, end = np.searchsorted(kept, [rows[0], rows[-1] + 1]).tolist()
        for low in range(begin, end, step):
            part = slice(low, min(end, low + step))
            choices = members[strata.axis[replaced[part]]]
            stays = kept[part, None]
            able = (choices >= 0) & ~forbidden[np.searchsorted(rows, stays), choices]
            for layout in layouts:
                same = layout[replaced[part]] == layout[kept[part]]
                able &= (layout[choices] == layout[stays]) == same[:, None]
            np.add.at(n_able, edge[part], able.sum(axis=1))
            lines, columns = _some_of_each(able, n_decoys, rng=rng)
            found.append((low + lines, choices[lines, columns]))
    line, stand_in = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Decoys(edge[line], kept[line], replaced[line], stand_in, n_able)


def known_rows(known: Sequence[KnownPairs], names: tuple[str, ...]) -> tuple[Rows, Rows]:
    """Find the known pairs of all sources among some names.

    Parameters
    ----------
    known
        The sources, looked up in any map.
    names
        Perturbations that rows are wanted of, sorted.

    Returns
    -------
    tuple
        First and second rows, ``first < second``, each pair once, in order.
    """
    n, codes = len(names), [np.empty(0, dtype=np.intp)]
    places: dict[tuple[str, ...], Rows] = {}
    for source in known:
        if source.names not in places:
            row = {name: place for place, name in enumerate(names)}
            places[source.names] = np.array([row.get(name, -1) for name in source.names], dtype=np.intp)
        one, other = places[source.names][source.first], places[source.names][source.second]
        both = (one >= 0) & (other >= 0)
        codes.append((np.minimum(one, other) * n + np.maximum(one, other))[both])
    code = np.unique(np.concatenate(codes))
    return code // n, code % n


def known_sources(
    known: Sequence[KnownPairs], names: tuple[str, ...], pairs: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
) -> list[str]:
    """Name the sources that list each pair, joined by commas; empty where none does.

    Parameters
    ----------
    known
        The sources, looked up in any map.
    names
        Perturbations that the rows belong to, sorted.
    pairs
        First and second rows, ``first < second``, shape (n_pairs,) each.
    """
    n = len(names)
    asked = pairs[0] * n + pairs[1]
    said: list[list[str]] = [[] for _ in range(len(asked))]
    for source in known:
        first, second = known_rows((source,), names)
        for place in np.flatnonzero(np.isin(asked, first * n + second)).tolist():
            said[place].append(source.name)
    return [", ".join(sources) for sources in said]


def _symmetric(first: Rows, second: Rows, n: int) -> sparse.csr_matrix:
    from scipy import sparse

    ones = np.ones(2 * len(first), dtype=np.int32)
    return sparse.csr_matrix((ones, (np.r_[first, second], np.r_[second, first])), shape=(n, n))


def _members(bins: Rows, n_bins: int) -> Rows:
    """Rows of each bin, shape (n_bins, largest bin), −1 where a bin has fewer; bins of −1 are none."""
    entering = np.flatnonzero(bins >= 0)
    order = entering[np.argsort(bins[entering], kind="stable")]
    counts = np.bincount(bins[order], minlength=n_bins)
    members = np.full((n_bins, int(counts.max(initial=0))), -1, dtype=np.intp)
    members[bins[order], np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)] = order
    return members


def _some_of_each(able: Flags, wanted: int, *, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Choose so many of the able of each line at random, without repetition; all where there are no more."""
    order = rng.random(able.shape, dtype=np.float32)
    order[~able] = 2.0
    if able.shape[1] > wanted:
        first = np.argpartition(order, wanted, axis=1)[:, :wanted]
    else:
        first = np.broadcast_to(np.arange(able.shape[1]), able.shape)
    chosen = np.take_along_axis(able, first, axis=1)
    return np.nonzero(chosen)[0], first[chosen]
