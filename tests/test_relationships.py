"""Known pairs and gene sets: what counts, and enrichment against scipy.stats."""

import numpy as np
import polars as pl
import pytest
from builders import map_of, module_profiles, names_of
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from scipy.stats import false_discovery_control, hypergeom

from explorer.relate import neighborhood
from explorer.relationships import (
    ENRICHMENT_SCHEMA,
    GeneSets,
    Knowledge,
    Relationships,
    compare_enrichment,
    enrichment,
    enrichment_of,
    index_gene_sets,
)

UNIVERSE = names_of(60)


def random_sets(seed: int, n_sets: int = 12) -> GeneSets:
    rng = np.random.default_rng(seed)
    names = [*UNIVERSE, *(f"elsewhere {number}" for number in range(40))]
    return GeneSets(
        "GO", {f"set {number:02d}": tuple(rng.choice(names, rng.integers(2, 40), False)) for number in range(n_sets)}
    )


def enrichment_in_a_loop(
    neighbors, sets: GeneSets, query, smallest=3, largest=500
) -> dict[str, tuple[int, int, float, float]]:
    """Overlap, size, p and q of every set that shares a member."""
    universe = set(UNIVERSE) - {query}
    rows = []
    for name, members in sets.sets.items():
        inside = universe & set(members)
        if smallest <= len(inside) <= largest:
            overlap = len(inside & set(neighbors))
            p = hypergeom.sf(overlap - 1, len(universe), len(inside), len(neighbors))
            rows.append((name, overlap, len(inside), p))
    q = false_discovery_control([row[3] for row in rows])
    return {name: (overlap, size, p, value) for (name, overlap, size, p), value in zip(rows, q, strict=True) if overlap}


# Pairs


def test_pairs_are_undirected_and_counted_once():
    found = Relationships.from_pairs(
        "CORUM", ["A", "B", "A", "C", "A", None, "D"], ["B", "A", "B", "C", "D", "A", None]
    )
    assert found.n_pairs == 2
    assert found.of("A") == {"B", "D"}
    assert found.of("B") == {"A"}
    assert found.of("C") == frozenset()
    assert "C" not in found.partners


@settings(max_examples=30, deadline=None)
@given(pairs=st.lists(st.tuples(st.sampled_from("ABCDE"), st.sampled_from("ABCDE")), max_size=20))
def test_order_of_pairs_and_partners_does_not_matter(pairs):
    one = Relationships.from_pairs("x", [a for a, _ in pairs], [b for _, b in pairs])
    other = Relationships.from_pairs("x", [b for _, b in reversed(pairs)], [a for a, _ in reversed(pairs)])
    assert one.partners == other.partners
    assert one.n_pairs == other.n_pairs == len({frozenset(pair) for pair in pairs if pair[0] != pair[1]})
    for name, partners in one.partners.items():
        assert all(name in one.of(partner) for partner in partners)


def test_sources_of_known_partners():
    knowledge = Knowledge(
        (
            Relationships.from_pairs("Reactome", ["A", "A"], ["B", "C"]),
            Relationships.from_pairs("STRING", ["C"], ["A"]),
        )
    )
    assert knowledge.sources_of("A", ["B", "C", "D", "A"]) == [["Reactome"], ["Reactome", "STRING"], [], []]
    assert knowledge.partners_of("A") == {"B", "C"}
    assert knowledge.partners_of("nobody") == frozenset()
    assert Knowledge().partners_of("A") == frozenset()


# Enrichment


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n_drawn=st.integers(1, 20), with_query=st.booleans())
def test_enrichment_is_that_of_a_loop(seed, n_drawn, with_query):
    sets = random_sets(seed)
    query = "P0007" if with_query else None
    others = [name for name in UNIVERSE if name != query]
    neighbors = list(np.random.default_rng(seed).choice(others, n_drawn, replace=False))
    table = enrichment(neighbors, UNIVERSE, [sets], query=query)
    expected = enrichment_in_a_loop(neighbors, sets, query)
    assert table.schema == pl.Schema(ENRICHMENT_SCHEMA)
    assert set(table["gene set"]) == set(expected)
    for line in table.iter_rows(named=True):
        overlap, size, p, q = expected[line["gene set"]]
        assert (line["overlap"], line["set size"], line["of neighbours"]) == (overlap, size, n_drawn)
        assert line["p"] == pytest.approx(p, rel=1e-8)
        assert line["q"] == pytest.approx(q, rel=1e-8)
        members = set(sets.sets[line["gene set"]])
        assert line["members found"] == ", ".join(name for name in neighbors if name in members)
        assert line["query in set"] is (query in members)
    assert table["p"].is_sorted()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), query=st.sampled_from([None, "P0007", "elsewhere", "nobody"]))
def test_sets_looked_up_before_give_the_same(seed, query):
    sets = random_sets(seed)
    sets = GeneSets(sets.name, {name: (*members, "elsewhere") for name, members in sets.sets.items()})
    neighbors = ["elsewhere", *np.random.default_rng(seed).choice(UNIVERSE, 6, replace=False).tolist()]
    index = index_gene_sets(UNIVERSE, [sets])
    found = enrichment_of(neighbors, index, query=query, sizes=(4, 12))
    assert_frame_equal(found, enrichment(neighbors, UNIVERSE, [sets], query=query, smallest=4, largest=12))
    members = {name: set(own) for name, own in sets.sets.items()}
    assert found["query in set"].to_list() == [query in members[name] for name in found["gene set"]]
    outside = {query} & set(UNIVERSE)
    assert found["set size"].to_list() == [len(members[name] & set(UNIVERSE) - outside) for name in found["gene set"]]


def test_all_sets_tested_count_towards_q_even_those_without_a_shared_member():
    sets = {"hit": ("P0000", "P0001", "P0002")} | {f"miss {n}": ("P0030", "P0031", "P0032") for n in range(9)}
    alone, among = (
        enrichment(["P0000", "P0001", "P0002"], UNIVERSE, [GeneSets("x", chosen)])
        for chosen in ({"hit": sets["hit"]}, sets)
    )
    assert among["gene set"].to_list() == ["hit"]
    assert among["q"][0] == pytest.approx(10 * alone["q"][0])


def test_sources_are_corrected_together():
    hit, miss = (GeneSets(name, {name: UNIVERSE[start : start + 3]}) for name, start in (("hit", 0), ("miss", 30)))
    table = enrichment(list(UNIVERSE[:3]), UNIVERSE, [hit, miss])
    assert table["q"][0] == pytest.approx(2 * table["p"][0])


@pytest.mark.parametrize(("smallest", "largest", "sizes"), [(3, 500, [3, 10]), (2, 9, [2, 3]), (4, 10, [10])])
def test_sets_are_chosen_by_their_members_in_the_universe(smallest, largest, sizes):
    sets = GeneSets(
        "x", {f"{n}": (*UNIVERSE[:n], *(f"elsewhere {number}" for number in range(20))) for n in (1, 2, 3, 10)}
    )
    table = enrichment([UNIVERSE[0]], UNIVERSE, [sets], smallest=smallest, largest=largest)
    assert sorted(table["set size"].to_list()) == sizes


def test_the_query_is_neither_drawn_nor_drawn_from():
    sets = GeneSets("x", {"own": UNIVERSE[:4]})
    table = enrichment([UNIVERSE[0], UNIVERSE[1], "not in the map"], UNIVERSE, [sets], query=UNIVERSE[0])
    line = table.row(0, named=True)
    assert (line["overlap"], line["of neighbours"], line["set size"]) == (1, 1, 3)
    assert line["p"] == pytest.approx(3 / 59)
    assert line["query in set"] is True


@pytest.mark.parametrize("neighbors", [[], ["not in the map"]])
def test_nothing_drawn_or_tested_gives_an_empty_table(neighbors):
    assert enrichment(neighbors, UNIVERSE, [random_sets(0)]).schema == pl.Schema(ENRICHMENT_SCHEMA)
    assert enrichment(neighbors, UNIVERSE, [random_sets(0)]).is_empty()
    assert enrichment([UNIVERSE[0]], UNIVERSE, []).is_empty()


def test_planted_module_is_enriched_and_a_random_neighbourhood_is_not():
    profiles, module = module_profiles(n_modules=6, size=6, n_others=60, seed=1)
    made = map_of(profiles)
    sets = GeneSets("planted", {f"module {m}": tuple(np.array(made.names)[module == m]) for m in range(6)})
    table = enrichment(neighborhood(made, "P0000", k=5).names, made.names, [sets], query="P0000")
    assert table["gene set"][0] == "module 0"
    assert table["q"][0] < 1e-4
    rng, small = np.random.default_rng(0), 0
    for _ in range(200):
        drawn = rng.choice(made.names[1:], 5, replace=False).tolist()
        found = enrichment(drawn, made.names, [sets], query="P0000")
        small += int(found.filter(pl.col("q") <= 0.05).height > 0)
    assert small / 200 < 0.1


# Two neighbourhoods


def test_both_sides_in_one_table():
    sets = GeneSets("x", {"both": UNIVERSE[:5], "left": UNIVERSE[10:15], "weak": UNIVERSE[20:50]})
    left = enrichment([*UNIVERSE[:3], *UNIVERSE[10:14], UNIVERSE[20]], UNIVERSE, [sets])
    right = enrichment([*UNIVERSE[:4], *UNIVERSE[50:56]], UNIVERSE, [sets])
    table = compare_enrichment(left, right)
    assert table.columns == [
        "gene set", "set size", "left", "left q", "right", "right q", "query in set", "left members", "right members",
        "source",
    ]  # fmt: skip
    assert sorted(table["gene set"]) == ["both", "left"]
    lines = {line["gene set"]: line for line in table.iter_rows(named=True)}
    assert (lines["both"]["left"], lines["both"]["right"]) == ("3 of 8", "4 of 10")
    assert (lines["left"]["left"], lines["left"]["right"]) == ("4 of 8", "0 of 10")
    assert lines["left"]["right q"] is None
    assert lines["both"]["right q"] == right.filter(pl.col("gene set") == "both")["q"][0]
    best = table.select("left q", "right q").min_horizontal()
    assert best.is_sorted()
    assert compare_enrichment(left, right, q_below=1.0).height == 3
    assert compare_enrichment(left, right, q_below=0.0).is_empty()


def test_a_set_is_listed_when_its_q_is_exactly_the_limit():
    sets = GeneSets("x", {"both": UNIVERSE[:5]})
    found = enrichment(UNIVERSE[:2], UNIVERSE, [sets])
    assert compare_enrichment(found, found, q_below=found["q"][0]).height == 1


def test_sides_without_any_set():
    sets = GeneSets("x", {"both": UNIVERSE[:5]})
    found = enrichment(UNIVERSE[:4], UNIVERSE, [sets])
    nothing = enrichment(UNIVERSE[20:24], UNIVERSE, [sets])
    table = compare_enrichment(found, nothing)
    assert table["left"].to_list() == ["4 of 4"]
    assert table["right"][0].startswith("0")
    assert compare_enrichment(nothing, nothing).is_empty()
