"""Tables of the page: the columns that help most, nothing that tells of a blind list, sums along the list."""

import listed_toys
import numpy as np
import polars as pl
import pytest
from listed_toys import evidence_of, made_of

from explorer.gathered_evidence import Evidence
from explorer.proposed_tables import (
    APART,
    apart_table,
    blind_table,
    expectation_table,
    expected_table,
    full_table,
    gene_set_table,
    list_table,
    places_table,
    who_is_active,
)

PROPOSERS = {"simple", "learned", "both", "background"}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return listed_toys.open_toy(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def made(catalog):
    return made_of(catalog, budget=30, sources=("Pairs", "Sets"))


@pytest.fixture(scope="module")
def blind(catalog):
    return made_of(catalog, mode="compare")


@pytest.fixture(scope="module")
def evidence(catalog, made):
    return evidence_of(catalog, made)


def test_the_list_before_its_evidence(made):
    table = list_table(made.found)
    assert table.columns == [
        "rank", "first", "second", "proposed by", "simple score", "learned score", "known this similar",
    ]  # fmt: skip
    assert set(table["proposed by"]) <= {"raw", "latent", "both alike"}
    assert table["rank"].to_list() == list(range(1, 31))


def test_the_list_with_its_evidence(made, evidence):
    table = list_table(made.found, evidence)
    assert table.columns == [
        "rank", "first", "second", "proposed by", "simple rank", "learned rank", "in beta", "seeds", "support",
        "active", "shared gene sets",
    ]  # fmt: skip
    assert table.select("first", "second").equals(made.found.rows.select("first", "second"))
    line, known = table.row(4, named=True), evidence.table.row(4, named=True)
    assert line["simple rank"] == known["simple rank"]
    assert line["seeds"] == f"{known['seeds agreeing']} of {known['seeds']}"
    assert "distrust" not in table.columns, "the card distrusts nobody"


@pytest.mark.parametrize(
    ("simple", "learned", "said"),
    [
        ("holds", "holds", "● holds"),
        ("holds", "no edge", "● holds (simple)"),
        ("not seen", "holds", "● holds (learned)"),
        ("no edge", "no edge", "no edge"),
        ("no edge", "not seen", "○ not seen (learned)"),
        ("cannot be judged", "silent", "◌ silent (learned)"),
        ("cannot be judged", None, "– cannot be judged (simple)"),
        (None, "no edge", "no edge"),
        (None, None, ""),
    ],
)
def test_labels_of_both_maps_in_one(made, evidence, simple, learned, said):
    n = evidence.table.height
    table = evidence.table.with_columns(
        pl.Series("beta: simple", [simple] * (n - 1) + ["holds"]),
        pl.Series("beta: learned", [learned] * (n - 1) + ["holds"]),
    )
    assert list_table(made.found, Evidence(table))["in beta"][0] == said


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("active", "active", "both"),
        ("active", "not active", "first alone"),
        ("not active", "active", "second alone"),
        ("not active", "not active", "neither"),
        ("not judged", "not judged", "not judged"),
        (None, None, "not judged"),
        ("active", "not judged", "first active, second not judged"),
    ],
)
def test_who_is_active(first, second, said):
    assert who_is_active(first, second) == said


def test_columns_in_which_nothing_stands_are_left_out(made, evidence):
    nothing = evidence.table.with_columns(
        pl.lit(None, dtype=pl.Int64).alias("seeds"),
        pl.lit(None, dtype=pl.Float64).alias("simple support"),
        pl.lit(None, dtype=pl.Float64).alias("learned support"),
        pl.lit("not judged").alias("first activity"),
        pl.lit("not judged").alias("second activity"),
        pl.lit("").alias("shared gene sets"),
        pl.lit("mostly filling").alias("distrust"),
    )
    columns = list_table(made.found, Evidence(nothing)).columns
    assert columns[4:] == ["simple rank", "learned rank", "in beta", "distrust"]


def test_gene_sets_of_the_pairs_that_have_any(made, evidence):
    table = gene_set_table(list_table(made.found, evidence))
    named = {f"{first} – {second}": sets for first, second, sets in evidence.table.select(
        "first", "second", "shared gene sets").rows()}  # fmt: skip
    assert table.height == sum(bool(sets) for sets in named.values()) > 0
    assert all(named[pair] == sets for pair, sets in table.select("pair", "shared gene sets").rows())
    assert gene_set_table(list_table(made.found)).height == 0


def test_of_a_blind_list_the_names_alone(blind):
    table = blind_table(blind.found)
    assert table.columns == ["first", "second"]
    assert table.equals(table.sort("first", "second")), "an order that tells nothing"
    assert full_table(blind.found, None).equals(table)
    assert (
        places_table(blind.found).height == expected_table(blind.found).height == apart_table(blind.found).height == 0
    )
    pairs = set(table.rows())
    assert pairs == set(blind.found.rows.select("first", "second").rows())


def test_all_columns_are_taken_away(made, evidence):
    table = full_table(made.found, evidence)
    assert {"known rate", "simple technical FDR", "beta: simple", "seeds agreeing"} <= set(table.columns)
    assert table.height == 30


def test_places_are_means_over_contexts(made):
    table = places_table(made.found)
    rows = made.found.rows
    listed = table.filter(pl.col("proposer") != APART)
    assert listed.height == rows.height
    for place in (0, 7):
        line = rows.row(place, named=True)
        assert listed["simple"][place] == pytest.approx((line["simple score"] + line["beta: simple score"]) / 2)
        assert listed["learned"][place] == pytest.approx((line["learned score"] + line["beta: learned score"]) / 2)
    # Who proposed a pair is on which side of the diagonal it lies.
    for simple, learned, proposer in listed.select("simple", "learned", "proposer").rows():
        assert proposer == ("simple" if simple > learned else "learned" if learned > simple else "both")
    assert table.filter(pl.col("proposer") == APART)["rank"].null_count() == apart_table(made.found).height > 0


def test_expected_hits_add_up_to_the_expectation(made):
    table = expected_table(made.found)
    for share, total in zip(made.found.expectation.completeness, made.found.expectation.expected, strict=True):
        own = table.filter(pl.col("completeness") == f"{100 * share:g} % known")
        assert own["tested"].to_list() == list(range(31))
        assert own["expected"][0] == 0
        assert own["expected"][-1] == pytest.approx(total)
        assert (np.diff(own["expected"].to_numpy()) >= 0).all()
    assert expectation_table(made.found.expectation)["expected"].to_list() == list(made.found.expectation.expected)


def test_nothing_known_nothing_expected(catalog):
    made = made_of(catalog, sources=(), budget=5)
    assert expected_table(made.found).height == 0
    assert places_table(made.found).height == 5
