"""Sentences of the page: the fixtures of the definition, every number with its caveat, nothing that tells of a key."""

from dataclasses import replace
from pathlib import Path

import frozen_toys
import listed_toys
import numpy as np
import polars as pl
import pytest
from listed_toys import evidence_of, made_of

from explorer import wording_shortlist as wording
from explorer.decoys import CAPTION
from explorer.gathered_evidence import Evidence
from explorer.head_to_head import HeadToHead
from explorer.outcomes import outcomes_of, score_results
from explorer.returned import Returned
from explorer.shortlist import Expectation
from explorer.significance import sign_flip
from explorer.track_record import Calibration, Cumulated, TrackRecord, read_track_record

NAN = float("nan")


def expectation(known_rate=0.19, expected=(11.2, 24.1, 34.6), n_rows=50, n_alike=150):
    return Expectation(n_rows, known_rate, (0.7, 0.5, 0.4), expected, n_alike)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return listed_toys.open_toy(tmp_path_factory.mktemp("wording"))


@pytest.fixture(scope="module")
def made(catalog):
    return made_of(catalog, budget=12)


@pytest.fixture(scope="module")
def blind(catalog):
    return made_of(catalog, mode="compare", budget=60)


@pytest.fixture(scope="module")
def evidence(catalog, made):
    return evidence_of(catalog, made)


# ---------------------------------------------------------------- the expectation


def test_the_expectation_as_it_is_defined():
    assert wording.expectation_sentence(expectation()) == (
        "19 % of pairs this similar are already known. If the annotation holds 70 / 50 / 40 % of the truth, expect "
        "about 11 / 24 / 35 hits of 50; half that if strong biology was annotated first. Your first 20 results "
        "will say more."
    )


def test_nothing_known_nothing_expected():
    said = wording.expectation_sentence(expectation(NAN, (NAN,) * 3))
    assert said == ("Nothing is known of pairs like these, so no number of hits among 50 pairs can be expected.")
    assert "nan" not in said
    assert wording.impossible_sentence(expectation(NAN, (NAN,) * 3)) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.04, "under .1"),
        (0.4, ".4"),
        (2.94, "2.9"),
        (2.96, "3"),
        (3.4, "3"),
        (1234.4, "1,234"),
        (NAN, "not defined"),
    ],
)
def test_hits_are_no_more_exact_than_they_are_known(value, text):
    assert wording.about(value) == text


def test_a_short_list_has_no_first_twenty():
    assert "Your results will say more." in wording.expectation_sentence(expectation(n_rows=7))


def test_a_share_that_can_not_be_is_said():
    made = expectation(0.6, (32.1, NAN, NAN))
    assert "expect about 32 / – / – hits of 50" in wording.expectation_sentence(made)
    assert wording.impossible_sentence(made).startswith("50 / 40 % can't be: of 150 pairs this similar more are known")
    assert wording.impossible_sentence(expectation()) == ""


# ---------------------------------------------------------------- modes


def test_both_modes_say_their_cost_before_one_is_chosen():
    (one, discover), (other, compare) = wording.mode_rows(100)
    assert (one, other) == ("Discover", "Compare")
    assert "says nothing about which of the two maps is better" in discover
    for said in ("100 pairs find an advantage of 30 % in", "below 50 pairs", "1 % a side", "make up to 110 rows"):
        assert said in compare
    assert "50 pairs find" in wording.mode_rows(99)[1][1]
    assert "200 pairs find" in wording.mode_rows(2_000)[1][1]
    assert "which 30 pairs would be" in wording.mode_rows(30)[1][1]
    assert "which" not in wording.mode_rows(50)[1][1]


@pytest.mark.parametrize(("budget", "random"), [(1, 3), (30, 3), (50, 5), (100, 10), (2_000, 200)])
def test_random_pairs(budget, random):
    assert wording.n_random(budget) == random


def test_a_comparison_says_what_is_tested_and_not_by_whom(blind, catalog):
    census = blind.found.census
    said = wording.census_sentence(blind.found)
    assert f"raw and latent propose {census.depth} pairs each" in said
    assert f"{blind.found.rows.height} rows are to be tested, all of them" in said
    assert f"{census.n_components} units" in wording.units_sentence(blind.found)
    few = replace(blind.found, census=replace(census, n_components=3))
    assert "too few of them for any verdict" in wording.units_sentence(few)
    every = " ".join(
        [
            wording.head(blind), said, wording.units_sentence(blind.found), wording.filter_sentence(blind.found),
            wording.context_line(catalog, blind.found), *wording.notes_of(blind), wording.BLIND_NOTE,
            *(text for row in wording.limits(blind) for text in row), wording.figure_heading(blind.found),
        ]
    )  # fmt: skip
    assert not any(name in every for name in blind.found.rows["first"]), "no pair is named"
    assert wording.counts_sentence(blind.found) == ""


def test_a_list_says_no_word_of_a_comparison(made):
    assert wording.census_sentence(made.found) == wording.units_sentence(made.found) == ""
    assert wording.head(made).startswith("12 pairs to test next: expect about ")
    assert "Of 5,886 pairs among 109 perturbations, 44 are known" in wording.counts_sentence(made.found)
    assert wording.filter_sentence(made.found) == "Only pairs that pass: not those judged inactive in both maps."
    assert wording.notes_of(made) == ["1 perturbation of alpha left out: not in all maps."]
    assert wording.unknown_sentence(made) == ""
    assert wording.unknown_sentence(replace(made, unknown="1 of 2 is not")) == "1 of 2 is not."


# ---------------------------------------------------------------- one pair


def test_all_that_is_known_of_a_pair(made, evidence):
    said = dict(wording.pair_rows(made, evidence, 2))
    line, known = made.found.rows.row(2, named=True), evidence.table.row(2, named=True)
    assert said["In the list"].startswith("Place 3, proposed by ")
    assert "says nothing of this one alone" in said["In the list"]
    assert f"rank {known['simple rank']:.0f} in raw" in said["How near"]
    assert said["In beta"].count("graph") == 2
    assert said["Active"] == "Both are active."
    assert said["Seeds"] == f"{known['seeds agreeing']} of {known['seeds']} training runs of latent have it as edge."
    assert "in raw" in said["Support"]
    assert "of 10)" in said["Gene sets among the neighbours of both"]
    assert "False discovery rate against technical noise" not in said, "there is none here, and a note says why"
    assert wording.pair_head(made, 2) == f"{line['first']} and {line['second']}"
    assert wording.pair_names(made, 2) == (line["first"], line["second"])


def test_noise_comes_with_its_caption_and_decides_nothing(made, evidence):
    noisy = evidence.table.with_columns(pl.lit(0.03).alias("simple technical FDR"))
    said = dict(wording.pair_rows(made, Evidence(noisy), 0))["False discovery rate against technical noise"]
    assert said == f".03 in raw; not defined in latent. {CAPTION} It decides nothing here."


def test_what_can_not_be_had_is_said_in_words(made, evidence):
    names = [name for name, kind in evidence.table.schema.items() if kind.is_numeric()]
    nothing = evidence.table.with_columns(pl.lit(None).cast(evidence.table.schema[name]).alias(name) for name in names)
    nothing = nothing.with_columns(
        pl.lit("no edge").alias("beta: simple"), pl.lit(None, dtype=pl.String).alias("beta: learned"),
        pl.lit("not active").alias("first activity"), pl.lit("A is mostly filling").alias("distrust"),
    )  # fmt: skip
    said = wording.pair_rows(made, Evidence(nothing), 0)
    text = " ".join(part for row in said for part in row)
    assert "None" not in text
    assert "nan" not in text
    found = dict(said)
    assert found["How near"] == "Not in raw; not in latent."
    assert "No edge of raw's graph here, so not asked." in found["In beta"]
    assert "is not active" in found["Active"]
    assert found["Distrust"] == "A is mostly filling."
    assert "Seeds" not in found
    assert "Support" not in found
    assert [word for word, _ in wording.pair_rows(made, None, 0)] == ["In the list"]


def test_columns_that_are_there_are_explained():
    table = pl.DataFrame({"rank": [1], "simple rank": [1.0], "in beta": ["x"], "support": [""]})
    assert [name for name, _ in wording.column_rows(table)] == ["simple rank, learned rank", "in a context", "support"]


def test_notes_keep_the_names_of_representations(made):
    notes = ("raw: beta: of 3 edges", "no other context is chosen", "raw: beta: of 3 edges")
    assert wording.evidence_notes(made, Evidence(pl.DataFrame(), notes)) == [
        "raw: beta: of 3 edges.",
        "No other context is chosen.",
    ]


# ---------------------------------------------------------------- what came back


def score_of(words, **options):
    frozen = frozen_toys.discover(10, **options)
    return score_results(frozen, outcomes_of([words[place % len(words)] for place in range(10)], frozen))


def test_first_results_correct_the_expectation():
    said = wording.found_sentences(score_of(["hit", "no hit", "failed", "", ""]))
    # Four tested at r = .2: .25 each at c = .5; two hits make (2 + .5) / (1 + .5).
    assert said[0] == "2 hits of 4 tested, 2 failed, 4 not back; the list has 10 rows."
    assert said[1] == (
        "Expected of those tested, were the annotation 70 / 50 / 40 % complete: .4 / 1.0 / 1.5. So 4.7 / 2.0 / 1.3 "
        "times as many came."
    )
    assert said[2].startswith(
        "Corrected by (hits + ½) / (expected + ½), expect 1.2 / 1.7 / 1.9 hits of the 4 that are not back."
    )


def test_nothing_back_and_nothing_known():
    assert "the expectation stands as it was" in wording.found_sentences(score_of([""]))[1]
    header = frozen_toys.HEADER | {"expected": {"0.7": None, "0.5": None, "0.4": None}}
    said = wording.found_sentences(score_of(["hit"], rate=NAN, header=header))
    assert said[1] == "Nothing was known of pairs like these, so no number was expected."
    assert "nan" not in " ".join(said)


def judged(**changes):
    made = HeadToHead(
        verdict="learned finds more", reason="", delta=0.2, low=0.05, high=0.35, p=0.01, depth=40, budget=60,
        hits_simple=10, hits_learned=18, n_components=20, n_discordant=12, contributions=(1,) * 10 + (-1,) * 2,
        background_hits=1, n_background=6, n_failed=2, failed_p=0.6,
    )  # fmt: skip
    return replace(made, **changes)


@pytest.mark.parametrize(
    ("changes", "head", "said"),
    [
        ({}, "Learned finds more", "Learned − simple is +.200 of the pairs of a list (95 % interval +.050 to +.350"),
        ({"verdict": "not shown", "low": -0.1}, "Not shown", "95 % interval −.100"),
        (
            {"verdict": "underpowered", "reason": "the maps' hits differ in 5 components, 6 are needed"},
            "Underpowered",
            "Underpowered: The maps' hits differ in 5 components, 6 are needed.",
        ),
        (
            {"verdict": "description only", "reason": "the test was not blind", "low": NAN, "high": NAN, "p": NAN},
            "Description only",
            "Description only: The test was not blind.",
        ),
    ],
)
def test_verdicts_with_interval_units_and_checks(changes, head, said):
    score = replace(score_of(["hit"]), head_to_head=judged(**changes))
    sentences = wording.verdict_sentences(score, simple="raw", learned="latent")
    text = " ".join(sentences)
    assert wording.verdict_head(score) == head
    assert said in text
    assert "latent: 18 hits of its 40 pairs; raw: 10 hits of its 40" in text
    assert "Of 6 random pairs, 1 was a hit" in text
    assert "2 experiments failed (whether that hangs on who proposed a pair: Fisher p .6" in text
    assert "nan" not in text
    tone = {"learned finds more": "success", "description only": "warn"}
    assert wording.results_tone(score) == tone.get(score.head_to_head.verdict, "neutral")


def test_without_a_verdict_the_reason_is_said():
    frozen, _ = frozen_toys.compare()
    outcomes = outcomes_of(["hit"] * (frozen.n_rows - 1) + [""], frozen)
    score = score_results(frozen, outcomes)
    said = wording.returned_sentences(Returned(frozen=frozen, outcomes=outcomes, score=score))
    assert any("the key stays sealed until" in text for text in said)
    assert any("Random pairs are among the rows" in text for text in said)
    assert wording.results_head(score) == f"{frozen.n_rows - 1} hits of {frozen.n_rows - 1} tested"
    assert wording.returned_sentences(Returned(frozen=frozen)) == [
        "Give its results too, and they are held against what was expected."
    ]
    assert wording.results_head(None) == "A frozen list, whole and unchanged"
    assert frozen.digest in wording.frozen_line(frozen)
    assert wording.results_tone(None) == "neutral"


# ---------------------------------------------------------------- the track record


def record_of(n_lists=2, **changes):
    stated = Calibration(NAN, n_lists, 24.0, 18, 0.751, 0.004, 0.006)
    test = sign_flip(np.array([1, 1, 1, 1, 1, 1, -1]))
    table = read_track_record(Path("/nowhere/at/all")).table
    table = pl.concat([table, pl.DataFrame([{name: None for name in table.columns}] * n_lists, schema=table.schema)])
    made = TrackRecord(
        table=table,
        stated=stated,
        by_completeness=(replace(stated, completeness=0.7, expected=11.0), replace(stated, completeness=0.5)),
        cumulated=Cumulated(2, 1, 20, 25, 80, test.times(7), 5 / 80, -0.01, 0.12),
        n_registered=3,
        n_not_back=1,
        problems=("'x.json' was left out: it was changed",),
    )
    return replace(made, **changes)


def test_a_record_says_expected_against_found_and_calibration():
    rows = wording.record_rows(record_of())
    text = " ".join(rows)
    for said in (
        "2 lists recorded.",
        "1 of 3 frozen lists never came back",
        "18 hits found and 24 expected",
        ".75 times as many came",
        "A list's hits were off by 6.3 % of the pairs tested (root mean square); 7.7 % would be chance alone",
        "11 were the annotation 70 % complete",
        "the learned maps' lists had 25 hits and the simple ones' 20, of 80 pairs each",
        "+.062",
        "Left out, since description only: 1 comparison.",
        "'x.json' was left out: it was changed.",
    ):
        assert said in text, (said, text)


def test_an_empty_record():
    empty = record_of(0, n_registered=0, problems=())
    assert wording.record_rows(empty) == ["No list is recorded yet."]
    none = record_of(cumulated=Cumulated(0, 0, 0, 0, 0, sign_flip(np.zeros(0)), NAN, NAN, NAN))
    assert "No blind comparison counts yet" in wording.cumulated_sentence(none)


def test_how_a_record_is_kept():
    assert "--track FOLDER" in wording.record_how(is_served=False)
    assert "never on a shared server" in wording.record_how(is_served=True)


# ---------------------------------------------------------------- limits and sources


def test_limits_and_sources(made, blind, catalog):
    words = [word for word, _ in wording.limits(made)]
    assert "Which map is better" in words
    assert "Holding elsewhere" in words
    assert "Blind for the bench" in [word for word, _ in wording.limits(blind)]
    assert any(CAPTION in said for _, said in wording.limits(made))
    about = dict(wording.about_rows(catalog, made.found))
    assert about["Licence of Pairs"]
    assert about["Known: Pairs"].startswith("digest ")
    assert "Recipe of raw" in about
    assert any(print_ in " ".join(about.values()) for print_ in made.found.fingerprints.values())
    assert wording.passport_rows(made.found)[1][0] == "beta"
    assert made.found.recipes in wording.figure_heading(made.found)
    assert wording.plan_line(made.found.plan) == "discover, 12 pairs: toy, alpha with beta"
