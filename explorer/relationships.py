"""What is known: undirected pairs, gene sets, and which sets a neighbourhood is enriched in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Self

import numpy as np
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
    gene_sets = tuple(gene_sets)
    if not gene_sets:
        return pl.DataFrame(schema=ENRICHMENT_SCHEMA)
    candidates = set(universe) - {query}
    drawn = [name for name in neighbors if name in candidates]
    tested: list[tuple[str, str, list[str], int, bool]] = []
    for source in gene_sets:
        for name, members in source.sets.items():
            inside = candidates.intersection(members)
            if smallest <= len(inside) <= largest:
                found = [neighbor for neighbor in drawn if neighbor in inside]
                tested.append((name, source.name, found, len(inside), query in members))
    if not tested or not drawn:
        return pl.DataFrame(schema=ENRICHMENT_SCHEMA)
    overlaps = np.array([len(found) for _, _, found, _, _ in tested])
    sizes = np.array([size for _, _, _, size, _ in tested])
    p = hypergeometric_upper_tail(overlaps, sizes, n_drawn=len(drawn), n_total=len(candidates))
    table = pl.DataFrame(
        {
            "gene set": [name for name, *_ in tested],
            "source": [source for _, source, *_ in tested],
            "overlap": overlaps,
            "of neighbours": np.full(len(tested), len(drawn)),
            "set size": sizes,
            "p": p,
            "q": benjamini_hochberg(p),
            "query in set": [has_query for *_, has_query in tested],
            "members found": [", ".join(found) for _, _, found, _, _ in tested],
        },
        schema=ENRICHMENT_SCHEMA,
    )
    return table.filter(pl.col("overlap") > 0).sort("p", "gene set")


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
