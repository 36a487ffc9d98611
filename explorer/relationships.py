"""What is known: undirected pairs, gene sets, and which sets a neighbourhood is enriched in."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.significance import benjamini_hochberg, hypergeometric_upper_tail

ENRICHMENT_SCHEMA = {
    "gene set": pl.String,
    "source": pl.String,
    "overlap": pl.Int64,
    "of neighbours": pl.Int64,
    "set size": pl.Int64,
    "p": pl.Float64,
    "q": pl.Float64,
    "query in set": pl.Boolean,
    "members found": pl.String,
}


@dataclass(frozen=True, slots=True, eq=False)
class Relationships:
    """Undirected known pairs of one source, self-pairs dropped, A-B and B-A one pair.

    Attributes
    ----------
    name
        The source.
    partners
        Names of the known partners of every name that has one.
    n_pairs
        Number of different pairs.
    groups
        Members of every complex or pathway that the source names for its pairs; empty where it names none.
    """

    name: str
    partners: Mapping[str, frozenset[str]]
    n_pairs: int
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def from_pairs(
        cls, name: str, first: Iterable[str], second: Iterable[str], *, group: Iterable[str] | None = None
    ) -> Self:
        """Collect pairs; order and repetition do not matter. A group has whoever stands in one of its pairs."""
        partners: dict[str, set[str]] = {}
        groups: dict[str, set[str]] = {}
        for one, other, own in zip(first, second, repeat(None) if group is None else group, strict=group is not None):
            if one is not None and other is not None and one != other:
                partners.setdefault(one, set()).add(other)
                partners.setdefault(other, set()).add(one)
                if own is not None:
                    groups.setdefault(own, set()).update((one, other))
        frozen = {key: frozenset(value) for key, value in partners.items()}
        n_pairs = sum(len(value) for value in frozen.values()) // 2
        return cls(name, frozen, n_pairs, {key: frozenset(value) for key, value in groups.items()})

    def of(self, name: str) -> frozenset[str]:
        """Known partners of one perturbation; empty where there is none."""
        return self.partners.get(name, frozenset())


@dataclass(frozen=True, slots=True, eq=False)
class GeneSets:
    """Named sets of genes of one source (a GMT file)."""

    name: str
    sets: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Knowledge:
    """All that is known beside a dataset: sources of pairs, gene sets, and their licences by name."""

    relationships: tuple[Relationships, ...] = ()
    gene_sets: tuple[GeneSets, ...] = ()
    licences: Mapping[str, str] = field(default_factory=dict)

    def sources_of(self, query: str, others: Iterable[str]) -> list[list[str]]:
        """Name, for each other perturbation, the sources in which it is a known partner of the query."""
        partners = [(source.name, source.of(query)) for source in self.relationships]
        return [[name for name, known in partners if other in known] for other in others]

    def partners_of(self, query: str) -> frozenset[str]:
        """All known partners of a perturbation, whatever the source."""
        return frozenset().union(*(source.of(query) for source in self.relationships))


@dataclass(frozen=True, slots=True, eq=False)
class GeneSetIndex:
    """Gene sets as they stand among the perturbations of one map: all that does not depend on a neighbourhood.

    Attributes
    ----------
    universe
        The perturbations, sorted.
    names, sources
        Name and source of each set.
    sizes
        Members of each among the perturbations, shape (n_sets,).
    members
        Members of any set, sorted.
    starts, numbers
        Member i is in the sets ``numbers[starts[i]:starts[i + 1]]``.
    """

    universe: tuple[str, ...]
    names: tuple[str, ...]
    sources: tuple[str, ...]
    sizes: npt.NDArray[np.int64]
    members: tuple[str, ...]
    starts: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]

    def sets_of(self, member: str | None) -> list[int]:
        """Numbers of the sets that a name is in, ascending."""
        place = _place(self.members, member)
        return [] if place is None else self.numbers[self.starts[place] : self.starts[place + 1]].tolist()

    def holds(self, name: str | None) -> bool:
        """Whether a name is one of the perturbations."""
        return _place(self.universe, name) is not None


def _place(ordered: Sequence[str], name: str | None) -> int | None:
    if name is None:
        return None
    place = bisect_left(ordered, name)
    return place if place < len(ordered) and ordered[place] == name else None


def index_gene_sets(universe: Iterable[str], gene_sets: Iterable[GeneSets]) -> GeneSetIndex:
    """Look gene sets up among the perturbations of a map.

    Parameters
    ----------
    universe
        The perturbations.
    gene_sets
        The sets, by source.
    """
    every = frozenset(universe)
    named = [(name, source.name, frozenset(members)) for source in gene_sets for name, members in source.sets.items()]
    n_members = [len(members) for _, _, members in named]
    listed = [member for _, _, members in named for member in members]
    distinct = sorted(set(listed))
    place_of = {member: place for place, member in enumerate(distinct)}
    owner = np.array([place_of[member] for member in listed], dtype=np.int64)
    # A stable sort leaves the sets of each member in their order.
    order = np.argsort(owner, kind="stable")
    return GeneSetIndex(
        universe=tuple(sorted(every)),
        names=tuple(name for name, _, _ in named),
        sources=tuple(source for _, source, _ in named),
        sizes=np.array([len(every & members) for _, _, members in named], dtype=np.int64),
        members=tuple(distinct),
        starts=np.searchsorted(owner[order], np.arange(len(distinct) + 1)),
        numbers=np.repeat(np.arange(len(named)), n_members)[order],
    )


def enrichment(
    neighbors: Sequence[str],
    universe: Sequence[str],
    gene_sets: Iterable[GeneSets],
    *,
    query: str | None = None,
    smallest: int = 3,
    largest: int = 500,
) -> pl.DataFrame:
    """Test which gene sets a neighbourhood holds more of than a random draw from the map would.

    Parameters
    ----------
    neighbors
        The neighbourhood.
    universe
        All perturbations of the map; the query is left out of it, since it can't be its own neighbour.
    gene_sets
        The sets, by source.
    query
        The perturbation whose neighbourhood it is.
    smallest, largest
        Sets with fewer or more members in the universe are not tested.

    Returns
    -------
    polars.DataFrame
        One line for every set that shares a member, smallest p first; columns of `ENRICHMENT_SCHEMA`.
        p is the hypergeometric upper tail P(overlap ≥ observed); q is Benjamini-Hochberg over *all* sets
        tested, those without a shared member included; "set size" counts members in the universe.

    References
    ----------
    Rivals et al. 2007, doi:10.1093/bioinformatics/btl633 (the hypergeometric test of gene sets).
    """
    return enrichment_of(neighbors, index_gene_sets(universe, gene_sets), query=query, sizes=(smallest, largest))


def enrichment_of(
    neighbors: Sequence[str], index: GeneSetIndex, *, query: str | None = None, sizes: tuple[int, int] = (3, 500)
) -> pl.DataFrame:
    """Test which gene sets a neighbourhood holds more of, as `enrichment` does, the sets looked up before.

    Parameters
    ----------
    neighbors, query
        As in `enrichment`.
    index
        The sets, as `index_gene_sets` finds them in the map.
    sizes
        Sets with fewer or more members in the universe are not tested.
    """
    drawn = [name for name in neighbors if name != query and index.holds(name)]
    found: dict[int, list[str]] = {}
    for name in drawn:
        for number in index.sets_of(name):
            found.setdefault(number, []).append(name)
    has_query = np.zeros(len(index.names), dtype=bool)
    has_query[index.sets_of(query)] = True
    # The query can't be its own neighbour, so it counts as no member and is not there to be drawn.
    is_inside = index.holds(query)
    inside = index.sizes - (has_query & is_inside)
    tested = np.flatnonzero((sizes[0] <= inside) & (inside <= sizes[1]))
    if not len(tested) or not drawn:
        return pl.DataFrame(schema=ENRICHMENT_SCHEMA)
    overlaps = np.array([len(found.get(number, ())) for number in tested.tolist()])
    p = np.ones(len(tested))
    met = np.flatnonzero(overlaps)
    p[met] = hypergeometric_upper_tail(
        overlaps[met], inside[tested[met]], n_drawn=len(drawn), n_total=len(index.universe) - is_inside
    )
    numbers = tested[met].tolist()
    table = pl.DataFrame(
        {
            "gene set": [index.names[number] for number in numbers],
            "source": [index.sources[number] for number in numbers],
            "overlap": overlaps[met],
            "of neighbours": np.full(len(met), len(drawn)),
            "set size": inside[numbers],
            "p": p[met],
            # Sets without a shared member were tested too.
            "q": benjamini_hochberg(p)[met],
            "query in set": has_query[numbers],
            "members found": [", ".join(found[number]) for number in numbers],
        },
        schema=ENRICHMENT_SCHEMA,
    )
    return table.sort("p", "gene set")


def compare_enrichment(left: pl.DataFrame, right: pl.DataFrame, *, q_below: float = 0.05) -> pl.DataFrame:
    """Put the gene sets of two neighbourhoods into one table.

    Parameters
    ----------
    left, right
        Results of `enrichment`.
    q_below
        A set is listed when its q is at or below this on at least one side.

    Returns
    -------
    polars.DataFrame
        ``gene set, set size, left, left q, right, right q, query in set, left members, right members,
        source``; "left" and "right" read "7 of 10". Best q of either side first. A set that shares no
        member with a side reads "0 of 10" there and has no q.
    """
    keys = ["gene set", "source", "set size", "query in set"]

    def side(table: pl.DataFrame, name: str) -> pl.DataFrame:
        count = pl.format("{} of {}", pl.col("overlap"), pl.col("of neighbours")).alias(name)
        return table.select(
            *keys, count, pl.col("q").alias(f"{name} q"), pl.col("members found").alias(f"{name} members")
        )

    joined = side(left, "left").join(side(right, "right"), on=keys, how="full", coalesce=True)
    best = pl.min_horizontal("left q", "right q")
    columns = [
        "gene set", "set size", "left", "left q", "right", "right q", "query in set", "left members", "right members",
        "source",
    ]  # fmt: skip
    # Both sides have as many neighbours, so one that shares no set at all takes the other's number.
    drawn = max((table["of neighbours"][0] for table in (left, right) if table.height), default=0)
    none = f"0 of {drawn}"
    return (
        joined.filter(best <= q_below)
        .sort(best, "gene set")
        .with_columns(pl.col("left", "right").fill_null(none))
        .select(columns)
    )
