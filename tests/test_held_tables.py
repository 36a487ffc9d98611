"""Tables of what holds in other contexts, of reports made by hand and of the toy."""

from dataclasses import replace

import held_toys
import polars as pl
import pytest
from held_toys import report

from explorer.contexts import HOLDS
from explorer.edges import partial_conjunction
from explorer.errors import InputError
from explorer.held_tables import (
    EVERY,
    KNOWN,
    MARKS,
    NOT_KNOWN,
    OWN,
    THEIRS,
    WHOSE,
    counts_of,
    counts_table,
    edge_table,
    first_step,
    general_edges,
    label_table,
    neighbor_table,
    overlap_table,
    steps_of,
)
from explorer.significance import benjamini_hochberg


def test_counts():
    (counts,) = counts_of(report(), "A")
    assert (counts.n_edges, counts.n_holds, counts.n_not_seen, counts.n_silent, counts.n_unjudged) == (4, 1, 1, 1, 1)
    assert counts.decoys == pytest.approx(0.05 * 4)
    (every,) = counts_of(report())
    assert (every.n_edges, every.n_holds) == (6, 3)
    (nobody,) = counts_of(report(), "nobody")
    assert nobody.n_edges == 0
    assert nobody.decoys != nobody.decoys
    frame = counts_table(report(others=("beta", "gamma")))
    assert frame.filter(pl.col("context") == "beta")["edges"].sum() == 6
    assert frame.row(0) == ("beta", "holds", 3)


def test_only_its_own_neighbours_are_counted():
    made = replace(report(), k=2)
    table = neighbor_table(made, "A")
    assert table["perturbation"].to_list() == ["B", "C", "D", "E"]
    assert table[WHOSE].to_list() == [OWN, OWN, THEIRS, THEIRS]
    assert WHOSE not in neighbor_table(report(), "A").columns
    assert counts_of(made, "A")[0].n_edges == 2
    assert counts_of(made, "A")[0].n_holds == 1


def test_neighbour_table_has_a_sign_and_a_word():
    table = neighbor_table(report(), "A")
    assert table["in beta"].to_list() == ["● holds", "○ not seen", "◌ silent", "– cannot be judged"]
    assert table["rank"].to_list() == [1, 2, 3, 4]
    assert len(set(MARKS.values())) == len(MARKS)


def test_edges_that_hold():
    table = edge_table(report(), at_least=1)
    assert table.columns == ["first", "second", "similarity", "known", "q", "in beta"]
    assert table.select("first", "second").rows() == [("A", "B"), ("C", "D"), ("E", "F")]
    assert table["q"].is_sorted()
    assert edge_table(report(), at_least=1, known=KNOWN)["first"].to_list() == ["A", "C"]
    assert edge_table(report(), at_least=1, known=NOT_KNOWN)["first"].to_list() == ["E"]
    assert edge_table(report(), at_least=1, known=EVERY).height == 3


@pytest.mark.parametrize("values", [{"at_least": 0}, {"at_least": 2}, {"at_least": True}, {"at_least": "1"},
                                    {"at_least": 1, "known": "some"}, {"at_least": 1, "known": None}])  # fmt: skip
def test_forged_choices_of_edges(values):
    with pytest.raises(InputError):
        edge_table(report(), **values)


def test_a_context_may_be_called_like_a_column():
    made = report(others=("first", "similarity"), at_least=1)
    table = edge_table(made, at_least=1)
    assert table.select("first", "in first", "in similarity").row(0) == ("A", "● holds", "● holds")
    assert table["similarity"].dtype == pl.Float64


def test_edges_in_several_contexts_are_combined():
    made = report(others=("beta", "gamma"), at_least=2)
    assert general_edges(made, at_least=2)["holds"].to_list() == made.edges["holds_general"].to_list()
    one = general_edges(made, at_least=1)
    p = made.labels["p"].to_numpy().reshape(2, -1).T
    expected = partial_conjunction(p, at_least=1)
    assert one["p"].to_list() == pytest.approx(expected.tolist())
    assert one["q"].to_list() == pytest.approx(benjamini_hochberg(expected).tolist())
    table = edge_table(made, at_least=1)
    assert table.columns[-2:] == ["in beta", "in gamma"]
    assert set(table.rows()[0]) >= {"A", "B", "● holds"}
    assert steps_of(made) == {"in both others": 2, "in at least 1 of 2": 1}
    assert first_step(made) == "in both others"
    assert steps_of(report()) == {"in beta": 1}


def test_labels_as_they_are_taken_away():
    made = report(others=("beta", "gamma"))
    table = label_table(made)
    assert table.height == 2 * made.edges.height
    assert table.columns == [
        "first", "second", "similarity", "reciprocal", "known", "context", "mutual rank", "p", "q", "label", "absent",
    ]  # fmt: skip
    line = table.filter((pl.col("first") == "E") & (pl.col("context") == "beta")).row(0, named=True)
    assert (line["second"], line["label"]) == ("F", HOLDS)


def test_overlap_table_names_the_contexts_as_the_page_does():
    overlaps = [held_toys.overlap(), held_toys.overlap("gamma")]
    table = overlap_table(report(others=("beta", "gamma")), overlaps)
    assert table["other"].to_list() == ["beta"] * 3 + ["gamma"] * 3


def test_doubtful_perturbations_are_named_and_stand_last():
    made = report()
    doubtful = frozenset({"E"})
    table = edge_table(made, at_least=1, doubtful=doubtful)
    assert table["distrust"].to_list() == ["", "", "E"]
    assert table.drop("distrust").sort("first").rows() == edge_table(made, at_least=1).sort("first").rows()
    assert "distrust" not in edge_table(made, at_least=1, doubtful={"nobody"}).columns
    near = neighbor_table(made, "A", doubtful=set(made.names))
    assert near["distrust"].to_list() == near["perturbation"].to_list()
