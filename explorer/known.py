"""What is known of the perturbations of a map: pairs by row, and the groups that are the units of every verdict."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from explorer.errors import InputError, shown
from explorer.relationships import GeneSets, Relationships

Rows = npt.NDArray[np.intp]
GroupKind = Literal["given", "communities"]
GIVEN: GroupKind = "given"
COMMUNITIES: GroupKind = "communities"

FEWEST_ANNOTATED = 20
# Communities are divided until none is larger: the bound of the DREAM challenge on disease modules.
LARGEST_COMMUNITY = 100
# A group of more than this share of the map tells no pair from another.
LARGEST_SHARE = 0.5
SAME_GROUP = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class KnownPairs:
    """Known pairs and groups of one source, as rows of a map.

    Attributes
    ----------
    name
        The source.
    names
        Perturbations of the map, sorted.
    first, second
        Rows of the pairs, ``first < second``, each pair once, shape (n_pairs,).
    groups
        Rows of the members of each group, sorted, two or more, by name of the group.
    kind
        Whether the groups are the source's own, or communities of its graph.
    n_unknown
        Perturbations of the source that the map has not.
    notes
        What the reader must know: groups left out, names not found.
    """

    name: str
    names: tuple[str, ...] = field(repr=False)
    first: Rows = field(repr=False)
    second: Rows = field(repr=False)
    groups: Mapping[str, Rows] = field(repr=False)
    kind: GroupKind
    n_unknown: int
    notes: tuple[str, ...] = ()

    @property
    def n_pairs(self) -> int:
        """Number of pairs in the map."""
        return len(self.first)

    @property
    def annotated(self) -> Rows:
        """Rows that have a known partner, sorted."""
        return np.unique(np.concatenate([self.first, self.second]))

    @property
    def degree(self) -> npt.NDArray[np.int64]:
        """Number of known partners of every perturbation, shape (n_perturbations,)."""
        return np.bincount(np.concatenate([self.first, self.second]), minlength=len(self.names))


def known_pairs(
    source: Relationships | GeneSets, names: Sequence[str], *, fewest: int = FEWEST_ANNOTATED
) -> KnownPairs:
    """Look a source up in a map.

    Parameters
    ----------
    source
        Pairs, with or without groups; or sets, all of whose members are pairs.
    names
        Perturbations of the map, sorted.
    fewest
        Perturbations that must have a known partner: what few pairs say of a map is chance, but that they are known.

    Returns
    -------
    KnownPairs
        Groups of one member in the map, or of more than half of it, are left out. A source that names no groups
        has the communities of its graph instead.

    Raises
    ------
    InputError
        When fewer than `fewest` perturbations of the map have a known partner; the nearest names are given.

    References
    ----------
    Blondel et al. 2008, doi:10.1088/1742-5468/2008/10/P10008 (communities); Choobdar et al. 2019,
    doi:10.1038/s41592-019-0509-5 (communities of at most 100).
    """
    place = {name: row for row, name in enumerate(names)}
    given = source.sets if isinstance(source, GeneSets) else source.groups
    groups, notes = _groups_in(given, place)
    if isinstance(source, GeneSets):
        every = {name for members in given.values() for name in members}
        pairs = _pairs_within(groups.values(), len(place))
    else:
        every = set(source.partners)
        listed = [
            (place[one], place[other])
            for one, partners in source.partners.items()
            if one in place
            for other in partners
            if one < other and other in place
        ]
        pairs = np.array(sorted(listed), dtype=np.intp).reshape(-1, 2)
        pairs.sort(axis=1)
    first, second = pairs[:, 0].copy(), pairs[:, 1].copy()
    unknown = every - place.keys()
    n_annotated = len(np.unique(pairs))
    if n_annotated < fewest:
        # Where groups were left out, that is why so few are related, and not how they are named.
        why = "; ".join(notes)
        raise InputError(_too_few(source.name, (n_annotated, fewest), every, unknown=unknown, names=names, why=why))
    kind = GIVEN if given else COMMUNITIES
    if kind == COMMUNITIES:
        groups = _named_by_members(communities(first, second), first, second, names=names)
    if unknown:
        notes.append(
            f"{source.name}: {len(unknown):,} of its {len(every):,} names are not in the map{_hint(unknown, names)}"
        )
    for array in (first, second, *groups.values()):
        array.setflags(write=False)
    return KnownPairs(source.name, tuple(names), first, second, groups, kind, len(unknown), tuple(notes))


def communities(first: Rows, second: Rows, *, seed: int = 0, largest: int = LARGEST_COMMUNITY) -> dict[str, Rows]:
    """Divide a graph of pairs into communities (Louvain), and those too large again.

    Parameters
    ----------
    first, second
        The pairs, shape (n_pairs,).
    seed
        Of the order in which nodes are visited.
    largest
        Communities of more members are divided, unless that leaves them whole.

    Returns
    -------
    dict
        Rows of the members of each, sorted, two or more; named by number, largest first.
    """
    import networkx as nx

    graph = nx.Graph()
    # Nodes and edges in order, since the result depends on it.
    graph.add_nodes_from(np.unique(np.concatenate([first, second])).tolist())
    graph.add_edges_from(sorted(zip(first.tolist(), second.tolist(), strict=True)))
    waiting, found = [graph], []
    while waiting:
        part = waiting.pop()
        split = nx.community.louvain_communities(part, seed=seed)
        for members in split:
            if len(members) > largest and len(split) > 1:
                waiting.append(graph.subgraph(sorted(members)).copy())
            elif len(members) > 1:
                found.append(np.array(sorted(members), dtype=np.intp))
    found.sort(key=lambda members: (-len(members), members.tolist()))
    return {f"community {number}": members for number, members in enumerate(found, start=1)}


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """Groups of equal weight, those that are nearly the same taken as one.

    Attributes
    ----------
    names
        Name of each unit: those of its groups.
    members
        Rows of the members of each unit, sorted.
    kind
        ``communities`` where the groups of at least one source are.
    """

    names: tuple[str, ...]
    members: tuple[Rows, ...] = field(repr=False)
    kind: GroupKind

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.members)


def pool_units(sources: Iterable[KnownPairs]) -> Units:
    """Pool the groups of all sources; those with a Jaccard index of .5 or more are one unit.

    Single linkage over the groups as they are, in one pass: a unit is the union of its groups, and is not
    compared again. A perturbation may be in several units.

    Raises
    ------
    InputError
        When the sources are of different maps.
    """
    from scipy import sparse

    sources = tuple(sources)
    if len({source.names for source in sources}) > 1:
        msg = "the sources were looked up in different maps: look all up in the same"
        raise InputError(msg)
    labels = [f"{source.name}: {name}" for source in sources for name in source.groups]
    groups = [members for source in sources for members in source.groups.values()]
    kind = COMMUNITIES if any(source.kind == COMMUNITIES for source in sources) else GIVEN
    if not groups:
        return Units((), (), kind)
    sizes = np.array([len(members) for members in groups])
    owner = np.repeat(np.arange(len(groups)), sizes)
    inside = sparse.csr_matrix((np.ones(len(owner)), (owner, np.concatenate(groups))), dtype=np.float64)
    common = (inside @ inside.T).tocoo()
    alike = common.data >= SAME_GROUP * (sizes[common.row] + sizes[common.col] - common.data)
    links = sparse.csr_matrix((alike[alike], (common.row[alike], common.col[alike])), shape=common.shape)
    n_units, unit = sparse.csgraph.connected_components(links, directed=False)
    members, names = [], []
    for number in range(n_units):
        own = np.flatnonzero(unit == number).tolist()
        joined = np.unique(np.concatenate([groups[place] for place in own]))
        joined.setflags(write=False)
        members.append(joined)
        names.append(labels[own[0]] if len(own) == 1 else f"{labels[own[0]]} (with {len(own) - 1} alike)")
    return Units(tuple(names), tuple(members), kind)


def _named_by_members(
    groups: Mapping[str, Rows], first: Rows, second: Rows, *, names: Sequence[str]
) -> dict[str, Rows]:
    """Name communities by the three members that have most partners: numbers would tell nobody anything."""
    degree = np.bincount(np.concatenate([first, second]), minlength=len(names))
    named: dict[str, Rows] = {}
    for rows in groups.values():
        leading = rows[np.argsort(-degree[rows], kind="stable")[:3]]
        label = ", ".join(sorted(names[row] for row in leading.tolist()))
        # A perturbation is in one community, so no two share their leading members.
        named[label if len(rows) == len(leading) else f"{label} and {len(rows) - len(leading)} more"] = rows
    return named


def _groups_in(given: Mapping[str, Iterable[str]], place: Mapping[str, int]) -> tuple[dict[str, Rows], list[str]]:
    """Take the groups with two members in the map and not most of it; say which were left out."""
    groups, single, large = {}, 0, []
    for name, members in given.items():
        rows = np.array(sorted({place[member] for member in members if member in place}), dtype=np.intp)
        if len(rows) < 2:
            single += 1
        elif len(rows) > LARGEST_SHARE * len(place):
            large.append(name)
        else:
            groups[name] = rows
    notes = []
    if single:
        notes.append(f"{single:,} of {len(given):,} groups have fewer than two members in the map and were left out")
    if large:
        named = ", ".join(shown(name) for name in large[:3])
        notes.append(f"left out since more than half of the map is in it: {named}")
    return groups, notes


def _pairs_within(groups: Iterable[Rows], n: int) -> npt.NDArray[np.intp]:
    """All pairs within groups, each once and sorted, shape (n_pairs, 2)."""
    codes = [np.zeros(0, dtype=np.int64)]
    for rows in groups:
        one, other = np.triu_indices(len(rows), k=1)
        codes.append(rows[one].astype(np.int64) * n + rows[other])
    code = np.unique(np.concatenate(codes))
    return np.column_stack([code // n, code % n]).astype(np.intp)


def _hint(unknown: Collection[str], names: Sequence[str]) -> str:
    """Show unknown names beside the nearest of the map."""
    from difflib import get_close_matches

    shown_names = []
    by_case = {name.casefold(): name for name in names}
    alike = sum(name.casefold() in by_case for name in unknown)
    if alike:
        example = min(name for name in unknown if name.casefold() in by_case)
        same = shown(by_case[example.casefold()])
        return f", {alike:,} of them but for upper and lower case ({shown(example)} for {same})"
    for name in sorted(unknown)[:3]:
        near = get_close_matches(name, names, n=1, cutoff=0.6)
        shown_names.append(f"{shown(name)} (nearest: {shown(near[0])})" if near else shown(name))
    return f", for one {shown_names[0]}" if len(shown_names) == 1 else f", such as {', '.join(shown_names)}"


def _too_few(
    source: str,
    numbers: tuple[int, int],
    every: Iterable[str],
    *,
    unknown: Iterable[str],
    names: Sequence[str],
    why: str,
) -> str:
    n_annotated, fewest = numbers
    missing = set(unknown)
    hint = _hint(missing, names) if missing else ""
    return (
        f"{shown(source)} relates {n_annotated} perturbations of the map, expected at least {fewest}: "
        f"{len(missing):,} of its {len(set(every)):,} names are not in the map{hint}; "
        f"{why or 'check that both name perturbations alike'}"
    )
