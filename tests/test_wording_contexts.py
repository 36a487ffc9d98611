"""Sentences about other contexts: the wording that was settled, and every case beside it."""

import math
from dataclasses import replace

import held_toys
import polars as pl
import pytest
from held_toys import held_of, overlap, report
from verdicts import flip

from explorer import held_tables, wording_contexts
from explorer.contexts import AbsentSet
from explorer.held_tables import LabelCounts
from explorer.wording_contexts import (
    absent_sentence,
    comparison_sentence,
    difference_rows,
    edges_sentence,
    figure_heading,
    general_sentence,
    head,
    inactive_sentence,
    label_sentence,
    layout_sentences,
    limits,
    map_sentences,
    overlap_notes,
    overlap_sentence,
    overlap_sentences,
    passport_rows,
    query_sentences,
    tone,
)

SETTLED = LabelCounts("soft tissue", 10, 7, 1, 0, 2, 0.4, 0.95, "")


def test_the_sentence_of_the_definitions():
    assert label_sentence(SETTLED) == (
        "7 of 10 neighbours hold in soft tissue (matched decoys: .4). 1 not seen, although soft tissue shows 95 % of "
        "edges as repeatable as its own. 2 cannot be judged."
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"n_holds": 1}, "1 of 10 neighbours holds in soft tissue"),
        ({"n_holds": 0}, "None of 10 neighbours holds in soft tissue"),
        ({"n_edges": 1, "n_holds": 1}, "1 of 1 neighbour holds in"),
        ({"decoys": 0.037}, "(matched decoys: .04)"),
        ({"decoys": 1.26}, "(matched decoys: 1.3)"),
        ({"decoys": 3.0}, "(matched decoys: 3)"),
        ({"decoys": 0.0}, "(matched decoys: 0)"),
        ({"decoys": math.nan}, "(no matched decoys could be drawn)"),
        ({"n_silent": 3}, "3 silent: one of the two is not active there."),
        ({"power": math.nan}, "although soft tissue shows nearly all of edges"),
        (
            {
                "n_not_seen": 0,
                "unknown": "soft tissue's own repeatability is unknown; a missing neighbour says nothing.",
            },
            "2 cannot be judged: soft tissue's own repeatability is unknown; a missing neighbour says nothing.",
        ),
        ({"unknown": "its own repeatability is unknown"}, "judged: soft tissue's own repeatability is unknown."),
        ({"unknown": "K562 has no replicates"}, "2 cannot be judged: K562 has no replicates."),
        ({"n_edges": 0}, "No neighbours could be found here, so none could be looked for."),
    ],
)
def test_every_other_case(changes, says):
    text = label_sentence(replace(SETTLED, **changes))
    assert says in text
    assert text.endswith(".")
    assert "nan" not in text


def test_query():
    found = held_of()
    assert head(found, "A") == "What holds of A's neighbours: 1 of 4 in beta"
    (said,) = query_sentences(found, "A")
    assert said.startswith("1 of 4 neighbours holds in beta (matched decoys: .2). 1 not seen, although beta shows ")
    assert said.endswith("1 silent: one of the two is not active there. 1 cannot be judged.")
    assert tone(found, "A") == "neutral"
    assert tone(found, "F") == "neutral", "no layout is declared"
    assert layout_sentences(found) == ["Layout not declared: shared plate positions would look like replication."]
    fine = held_of(notes=())
    assert layout_sentences(fine) == []
    assert (tone(fine, "F"), tone(fine, "A")) == ("success", "neutral")
    assert inactive_sentence(fine, "F") == ""
    quiet = replace(fine, inactive=frozenset({"F"}))
    assert tone(quiet, "F") == "neutral"
    assert inactive_sentence(quiet, "F") == (
        "F is not distinguishable from controls in alpha: its neighbours are likely to mean nothing."
    )
    assert general_sentence(found, "A") == ""
    assert head(found, "nobody") == "nobody has no neighbours to look for"


def test_a_context_without_replicates_is_said_to_be_one():
    said = query_sentences(held_of(note=held_toys.NO_REPLICATES), "A")[0]
    assert said.endswith(f"2 cannot be judged: {held_toys.NO_REPLICATES}.")
    assert "not seen" not in said


def test_two_others():
    found = held_of(others=("beta", "gamma"))
    assert head(found, "A") == "What holds of A's neighbours: 1 of 4 in beta and 1 of 4 in gamma"
    assert general_sentence(found, "A") == (
        "With the tests combined (q ≤ .1), of 4 neighbours 1 holds in both others and 1 holds in at least 1 of the 2."
    )
    several = replace(found.report, labels=found.report.labels.with_columns(pl.lit("holds").alias("label")))
    assert general_sentence(replace(found, report=several), "A").endswith(
        " In one context or another, each by its own test, 4 hold: combined, each edge is tested once for both, which "
        "asks for more."
    )
    assert general_sentence(found).startswith("With the tests combined (q ≤ .1), of 6 edges 3 hold in both others and")


def test_map():
    ((context, said),) = map_sentences(held_of())
    assert context == "beta"
    assert said == (
        "3 of 6 edges of this map hold (50 %; of matched decoys 5 %). Known already: 67 % of them, 33 % of all edges. "
        "The rest: 1 not seen, 1 silent and 1 cannot be judged."
    )
    unknown = report().edges.with_columns(pl.lit("").alias("known"))
    assert "Known already" not in map_sentences(held_of(edges=unknown))[0][1]


def test_comparison():
    assert comparison_sentence(overlap(), "soft tissue") == (
        "The neighbourhoods of latent hold less well in soft tissue than those of raw: difference in adjusted overlap "
        "−.0046 (95 % interval −.0059 to −.0033, p .0001), the mean over 30 groups of known partners of equal weight; "
        "100 perturbations, k = 10."
    )
    assert "hold better in beta than" in comparison_sentence(overlap(estimate=0.0046), "beta")
    vague = comparison_sentence(overlap(estimate=0.0003, half_width=0.005), "beta")
    assert vague.startswith("It is not shown that the neighbourhoods of latent hold better or less well in beta than")
    assert vague.endswith("The interval includes 0.")
    assert "no groups of these perturbations are known" in comparison_sentence(overlap(estimate=None), "beta")
    none = replace(overlap(), comparison=flip(float("nan"), float("nan"), n_units=0, p=float("nan")))
    assert "not defined" in comparison_sentence(none, "beta")


def test_overlap():
    assert overlap_sentence(overlap(), "beta") == (
        "raw shares 9.6 % of its neighbours with beta, of which 6.3 % would be shared anyway: +.033 is left; latent "
        "shares 5 % of its neighbours with beta, of which 2 % would be shared anyway: +.030 is left."
    )
    assert len(overlap_sentences(held_of(), [overlap()])) == 2
    assert overlap_notes([overlap(), overlap("gamma")]) == ["12 perturbations have no profile in beta."]


def test_passports():
    found = held_of(others=("beta", "gamma"))
    assert [name for name, _ in passport_rows(found)] == ["alpha", "beta", "gamma"]
    assert passport_rows(found)[1][1] == held_toys.passport("beta").sentence
    assert "alpha cells; gamma cells" in difference_rows(found)[1][0]
    assert difference_rows(found)[0][1].startswith("⚠\u00a0")
    warned = [text for _, text in difference_rows(held_of(others=("beta", "beta")))]
    assert warned[0]
    assert warned[1] == "", "each is said once"
    assert figure_heading(found).count("\n") == 3, "a line for each passport, below the first"


def test_limits():
    rows = dict(limits(held_of(note=held_toys.NO_REPLICATES)))
    assert rows["Replicates of beta"].startswith("beta's own repeatability is unknown")
    assert "Absent from beta" not in rows
    assert rows["To be known"].startswith("Layout not declared")
    assert "specific" in rows["Not seen is not absent"]
    assert list(dict(limits(held_of(others=("beta", "gamma"), note="its own repeatability is unknown"))))[1:2] == [
        "Replicates of beta and gamma"
    ]
    known = dict(limits(held_of()))
    assert known["Replicates of beta"].startswith("An estimated 75 % of the edges found in one half")
    assert known["Absent from beta"] == "No edge is said to be absent: more than 25 % of them would be wrong."
    tests = {"beta": held_toys.edge_tests(note="only 12 decoys could be drawn")}
    assert dict(limits(held_of(tests=tests)))["Tested in beta"] == "Only 12 decoys could be drawn."


def test_absent_is_said_of_a_set():
    found = held_of(absent={"beta": AbsentSet(12, 2.44)})
    assert absent_sentence(found, "beta") == (
        "As a set, 12 edges that alpha repeats are absent from beta; about 2.4 of them are expected to be there after "
        "all. Nothing is said of any one of them."
    )


def test_edges():
    found = held_of()
    table = held_tables.edge_table(found.report, at_least=1)
    assert edges_sentence(found, table, at_least=1) == "3 edges hold in beta, 2 of them known already."
    assert edges_sentence(found, table.head(0), at_least=1) == "No edge of this choice holds in beta."
    two = held_of(others=("beta", "gamma"))
    assert edges_sentence(two, table.tail(1), at_least=2) == "1 edge holds in both others, none of them known."


def test_notes_are_plain_sentences():
    for name in ("LABELS_NOTE", "CLICK_NOTE", "OVERLAP_NOTE", "PARTS_NOTE", "EDGES_NOTE", "NEVER_SPECIFIC"):
        text = getattr(wording_contexts, name)
        assert text.endswith(".")
        assert " 0." not in text
