"""Results come back: read whatever wrote them, refused where they are another list's, held against the expectation."""

import json

import numpy as np
import polars as pl
import pytest
from frozen_toys import DATE, HEADER, compare, discover, pairs_of, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.errors import InputError
from explorer.frozen import freeze, open_key
from explorer.frozen_files import csv_text, read_frozen, sheet_csv
from explorer.outcomes import (
    outcomes_of,
    read_results,
    rehearse,
    score_json,
    score_results,
)
from explorer.relationships import GeneSets, Relationships
from explorer.text import json_text

NAMES = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from('=+-@"\\,; \n')), max_size=4)
PLAIN = discover(pairs=[("A", "B"), ("A", "C"), ("B", "C-D"), ("E", "F")])


def read(text, frozen=PLAIN):
    content = text.encode() if isinstance(text, str) else text
    return read_results(content, frozen, name="r.csv").results


def refused(text, message, frozen=PLAIN):
    content = text.encode() if isinstance(text, str) else text
    with pytest.raises(InputError, match=message) as error:
        read_results(content, frozen, name="r.csv")
    assert "\n" not in str(error.value)
    assert "r.csv" in str(error.value)


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_of_other_programs(delimiter, end, encoding):
    lines = [["Row", "notes", "Result"], ["3", "é", "Hit"], ["1.0", "", " no-hit "], [], ["2", "", ""]]
    text = end.join(delimiter.join(line) for line in lines) + end
    assert read(text.encode(encoding)) == ("no hit", None, "hit", None)


@pytest.mark.parametrize(
    ("written", "label"),
    [
        ("hit", "hit"), ("HIT", "hit"), (" Hit ", "hit"), ("no hit", "no hit"), ("No_Hit", "no hit"),
        ("no-hit", "no hit"), ("nohit", "no hit"), ("FAILED", "failed"), ("", None), (" ", None), ("-", None),
    ],
)  # fmt: skip
def test_labels(written, label):
    assert read(f"row,result\n2,{written}\n") == (None, label, None, None)


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("first,second,outcome", "C,A,hit"),
        ("second,first,outcome,who", "A, C ,hit,me"),
        ("pair,result", "A + C,hit"),
        ("pair,result", "C–A,hit"),
        ("pair,result", "A/C,hit"),
        ("pair,result", '"A,C",hit'),
        ("pair,result", "A C,hit"),
        ("row,pair,result", "2,C + A,hit"),
        ("row,first,second,result", "2,A,C,hit"),
        ("row,first,second,result", "2,,,hit"),
        ("row,first,second,result", ",A,C,hit"),
    ],
)
def test_ways_to_name_a_pair(header, line):
    assert read(f"{header}\n{line}\n") == (None, "hit", None, None)


def test_a_name_may_hold_what_stands_between_names():
    assert read("pair,result\nB-C-D,hit\n") == (None, None, "hit", None)
    split = discover(pairs=[("A", "B-C"), ("A-B", "C")])
    refused("pair,result\nA-B-C,hit\n", r"line 2: 'A-B-C' may be 'A' \+ 'B-C' or 'A-B' \+ 'C': say which", split)
    assert read("row,pair,result\n2,A-B-C,hit\n", split) == (None, "hit")
    refused(f"pair,result\n{' ' * 20_000}x{'-' * 20_000},hit\n", "has no pair")


@settings(max_examples=80, deadline=None)
@given(st.sets(NAMES, min_size=2, max_size=7), st.randoms())
def test_a_filled_sheet_is_read_whatever_names_hold(names, draw):
    frozen = discover(pairs=pairs_of(10, names))
    labels = [draw.choice(["hit", "no hit", "failed", None]) for _ in range(frozen.n_rows)]
    sheet = sheet_csv(frozen, labels)
    assert read(sheet, frozen) == tuple(labels)
    # As a spreadsheet saves it again: the comments padded, other line ends and delimiters.
    padded = sheet.replace("back\n", "back,,,\n").replace("\n", "\r\n")
    assert read(padded, frozen) == tuple(labels)
    # The rows may come in any order.
    lines = sheet.splitlines(keepends=True)
    start = next(place for place, line in enumerate(lines) if line.startswith("row,"))
    rows = lines[start + 1 :]
    draw.shuffle(rows)
    assert read("".join([*lines[: start + 1], *rows]), frozen) == tuple(labels)


def test_what_a_name_means_in_doubt():
    # The sheet writes '=x' as '\=x', which is a name too.
    frozen = discover(pairs=[("=x", "z"), ("\\=x", "z")])
    assert read("first,second,result\n\\=x,z,hit\n=x,z,failed\n", frozen) == ("failed", "hit")
    assert read("row,first,second,result\n1,\\=x,z,hit\n", frozen) == ("hit", None)


def test_digests_are_of_results_and_list_not_of_the_file():
    one = read_results(b"row,result\n1,hit\n", PLAIN)
    other = read_results(b"pair;result\nB + A;HIT\n", PLAIN)
    assert one == other
    assert outcomes_of(["hit", None, None, None], PLAIN) == one
    assert read_results(b"row,result\n2,hit\n", PLAIN).digest != one.digest
    assert outcomes_of(["hit"] + [None] * 9, discover(10)).digest != one.digest
    assert (one.n_hits, one.n_no_hits, one.n_failed, one.n_waiting, one.is_complete) == (1, 0, 0, 3, False)
    assert outcomes_of(["hit", "no hit", "failed", "failed"], PLAIN).is_complete


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (" \n\n", "is empty"),
        (b"\xff\xfea", "is not text in UTF-8"),
        (b"\x89PNG\x00", "is not text in UTF-8"),
        (b"row,result\n1,h\xe9t\n", "is not text in UTF-8"),
        ("# only a comment\n", "holds no table"),
        ("row,resul\n1,hit\n", "has no column result: rename 'resul'"),
        ("row,said\n1,hit\n", "has no column result: its columns are 'row', 'said'"),
        ("result\nhit\n", "does not say which pair a result is of"),
        ("first,result\nA,hit\n", "does not say which pair a result is of"),
        ("row,result,outcome\n1,hit,hit\n", "two columns for result: 'outcome' is the second"),
        ("row,result\n1,hti\n", "line 2: unknown result 'hti': did you mean 'hit'"),
        ("row,result\n1,yes\n", "line 2: unknown result 'yes': choose one of 'hit', 'no hit', 'failed'"),
        ("row,result\n1,hit\n5,hit\n", "line 3: the list has no row '5': its rows are 1 to 4"),
        ("row,result\n0,hit\n", "no row '0'"),
        ("row,result\n1.5,hit\n", "no row '1.5'"),
        ("row,result\n-1,hit\n", "no row '-1'"),
        ("row,result\n99999999999999999999,hit\n", "no row '99999999999999999999'"),
        ("row,result\n1,hit\n\n1,hit\n", r"line 4 gives a result for row 1, 'A' \+ 'B', and so does line 2"),
        ("first,second,result\nA,B,hit\nB,A,\n", "line 3 gives a result for row 1"),
        ("first,second,result\nA,F,hit\n", r"line 2: the list has no pair 'A' \+ 'F': did you mean 'E' \+ 'F'"),
        ("first,second,result\nTP53,MDM2,hit\n", r"no pair 'TP53' \+ 'MDM2': is it of another list"),
        ("first,second,result\nA,,hit\n", r"the list has no pair 'A' \+ ''"),
        ("pair,result\na + b,hit\n", r"the list has no pair 'a \+ b': did you mean 'A' \+ 'B'"),
        ("pair,result\nA,hit\n", "the list has no pair 'A'"),
        ("row,first,second,result\n1,A,C,hit\n", r"line 2: row 1 of the list is 'A' \+ 'B', not 'A' \+ 'C': mend one"),
        ("row,first,second,result\n1,X,Y,hit\n", r"row 1 of the list is 'A' \+ 'B', not 'X' \+ 'Y'"),
        ("row,first,second,result\n,,,hit\n", "line 2 does not say which pair it is of"),
        ("pair,result\nA,B,hit\n", "line 2 has 3 cells and the header 2"),
        ('row,result\n1,"hit\n', "line 2 can't be read"),
        ('row,result\n1,"hit"x\n', "line 2 can't be read"),
    ],
)
def test_what_is_refused(text, message):
    refused(text, message)


def test_results_of_another_list():
    refused(sheet_csv(discover(10)), "r.csv' holds results for another list: it says")
    refused(csv_text(PLAIN), "r.csv' is the frozen list itself: fill in its sheet")


def test_missing_cells_are_blank():
    assert read("row,who,result\n1\n2,me\n3,me,hit\n") == (None, None, "hit", None)


def test_lists_of_results():
    with pytest.raises(InputError, match="1 result for a list of 4 pairs"):
        outcomes_of(["hit"], PLAIN)
    with pytest.raises(InputError, match="row 2: unknown result 'maybe'"):
        outcomes_of(["hit", "maybe", None, None], PLAIN)


# ---------------------------------------------------------------- scoring


def test_the_correction_of_the_first_returns():
    # D17's fixtures: a known rate of .2 expects .25 of a pair at half complete, .75 at a quarter.
    header = HEADER | {"expected": {"0.5": 2.5, "0.25": 7.5}}
    frozen = discover(10, rate=0.2, header=header)
    score = score_results(frozen, outcomes_of(["hit"] * 2 + ["no hit"] * 2 + ["failed"] + [None] * 5, frozen))
    assert score.completeness == (0.5, 0.25)
    np.testing.assert_allclose(score.expected, [2.5, 7.5])
    # The one that failed is neither back nor to come.
    np.testing.assert_allclose(score.expected_back, [1.0, 3.0])
    np.testing.assert_allclose(score.expected_waiting, [1.25, 3.75])
    np.testing.assert_allclose(score.factor, [2.5 / 1.5, 2.5 / 3.5])
    np.testing.assert_allclose(score.remaining, [2.5 / 1.5 * 1.25, 2.5 / 3.5 * 3.75])
    np.testing.assert_allclose(score.in_all, 2 + np.array(score.remaining))
    assert (score.n_tested, score.n_found, score.n_hits, score.n_failed, score.n_waiting) == (4, 2, 2, 1, 5)
    assert (score.head_to_head, score.reason, score.is_proposed_only) == (None, "", False)


def naive(rates, results, share):
    """Sum the expectation of D17 pair by pair."""
    back = waiting = 0.0
    hits = 0
    for rate, result in zip(rates, results, strict=True):
        each = min(1.0, (1 - share) / share * rate / (1 - rate)) if rate < 1 else 1.0
        back += each if result in ("hit", "no hit") else 0
        waiting += each if result is None else 0
        hits += result == "hit"
    return back, waiting, (hits + 0.5) / (back + 0.5)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 1).map(lambda x: round(x, 5)), st.sampled_from(["hit", "no hit", "failed", None])),
        min_size=1,
        max_size=12,
    )
)
def test_scores_against_a_plain_loop(cases):
    rates, results = zip(*cases, strict=True)
    rows = rows_of(pairs_of(len(cases)), **{"known rate": list(rates)})
    frozen = freeze(rows, mode="discover", header=HEADER, date=DATE)[0]
    score = score_results(frozen, outcomes_of(results, frozen))
    for place, share in enumerate(score.completeness):
        back, waiting, factor = naive(rates, results, share)
        got = (score.expected_back[place], score.expected_waiting[place], score.factor[place], score.remaining[place])
        np.testing.assert_allclose(got, (back, waiting, factor, factor * waiting), atol=1e-9)


def test_nothing_back_changes_nothing():
    frozen = discover(10)
    score = score_results(frozen, outcomes_of([None] * 10, frozen))
    assert score.factor == (1.0, 1.0, 1.0)
    assert score.remaining == score.expected == score.expected_waiting


def test_an_undefined_expectation_stays_undefined():
    frozen = discover(10, rate=float("nan"))
    score = score_results(frozen, outcomes_of(["hit"] * 10, frozen))
    assert np.isnan([*score.expected, *score.factor, *score.remaining]).all()
    assert '"factor": null' in json_text(score_json(score))
    # And without any in the header there is none.
    bare = discover(4, header={})
    assert score_results(bare, outcomes_of(["hit"] * 4, bare)).factor == ()


def answered(frozen, key, truth):
    """Results of a blind list, answered by who proposed a pair."""
    rows, _ = open_key(frozen, key, results_digest="", complete=True, date=DATE)
    return [truth[word] for word in rows["proposer"].to_list()], rows


def test_a_blind_list_is_corrected_by_the_share_that_is_back():
    frozen, _ = compare(n_each=5, n_both=5, n_background=5)
    score = score_results(frozen, outcomes_of(["hit"] * 4 + ["no hit"] * 4 + ["failed"] * 2 + [None] * 10, frozen))
    np.testing.assert_allclose(score.expected, [1.5, 3.5, 5.25])
    np.testing.assert_allclose(score.expected_back, np.array([1.5, 3.5, 5.25]) * 8 / 20)
    np.testing.assert_allclose(score.expected_waiting, np.array([1.5, 3.5, 5.25]) * 10 / 20)
    np.testing.assert_allclose(score.factor, 4.5 / (np.array([1.5, 3.5, 5.25]) * 0.4 + 0.5))
    assert score.head_to_head is None
    assert score.reason.startswith("10 of 20 rows are not back, and the key stays sealed")


def test_an_incomplete_list_does_not_open_its_key():
    frozen, key = compare()
    results, rows = answered(frozen, key, {"simple": "hit", "learned": "hit", "both": "hit", "background": "no hit"})
    score = score_results(frozen, outcomes_of([*results[:-1], None], frozen), key_rows=rows)
    assert score.head_to_head is None
    assert not score.is_proposed_only
    assert score.reason.startswith("1 of 17 rows is not back")
    closed = score_results(frozen, outcomes_of(results, frozen))
    assert closed.head_to_head is None
    assert closed.reason.startswith("all results are in, and the sealed key")


def test_a_complete_list_compares_the_maps():
    # D18's fixture: six components of +1 give p = 1 / 32; background hits count for nobody.
    frozen, key = compare(n_each=6, n_both=2, n_background=3, budget=60)
    truth = {"simple": "no hit", "learned": "hit", "both": "hit", "background": "hit"}
    results, rows = answered(frozen, key, truth)
    score = score_results(frozen, outcomes_of(results, frozen), key_rows=rows)
    judged = score.head_to_head
    assert (judged.verdict, judged.p) == ("learned finds more", 1 / 32)
    assert judged.delta == 6 / 8
    assert (judged.hits_simple, judged.hits_learned, judged.background_hits, judged.n_background) == (2, 8, 3, 3)
    assert score.reason == ""
    assert score.is_proposed_only
    assert (score.n_hits, score.n_found, score.n_tested) == (11, 8, 14)
    # The key tells how often each pair is known, and random pairs expect nothing.
    own = rows.filter(pl.col("proposer") != "background")["known rate"].to_numpy()
    np.testing.assert_allclose(score.expected[1], sum(min(1, rate / (1 - rate)) for rate in own))
    assert score.expected_back == score.expected
    early = score_results(frozen, outcomes_of(results, frozen), key_rows=rows, opened_early="somebody looked")
    assert early.head_to_head.verdict == "description only"
    assert "somebody looked" in early.head_to_head.reason
    made = json.loads(json_text(score_json(score)))
    assert made["head_to_head"]["verdict"] == "learned finds more"
    assert made["head_to_head"]["counted"] is True
    assert made["expectation"][0]["completeness"] == 0.7


def test_keys_and_headers_that_do_not_serve():
    frozen, key = compare()
    results, rows = answered(frozen, key, dict.fromkeys(("simple", "learned", "both", "background"), "hit"))
    with pytest.raises(InputError, match="the rows of the key are not those of the list"):
        score_results(frozen, outcomes_of(results, frozen), key_rows=rows[::-1])
    bare, bare_key = compare(depth=None)
    results, rows = answered(bare, bare_key, dict.fromkeys(("simple", "learned", "both", "background"), "hit"))
    with pytest.raises(InputError, match="does not say depth and budget"):
        score_results(bare, outcomes_of(results, bare), key_rows=rows)


def test_results_fit_the_list_from_either_form():
    frozen = discover(10)
    again = read_frozen(csv_text(frozen).encode())
    one, other = (outcomes_of(["hit"] * 10, made) for made in (frozen, again))
    assert one == other
    assert score_results(frozen, one) == score_results(again, other)


# ---------------------------------------------------------------- rehearsing


def test_a_list_is_answered_by_what_is_known():
    pairs = Relationships.from_pairs("toy", ["B", "E", "A"], ["A", "F", "F"])
    found = rehearse(PLAIN, pairs)
    assert found.columns == ["row", "first", "second", "result"]
    assert found["result"].to_list() == ["hit", "no hit", "no hit", "hit"]
    sets = GeneSets("toy", {"one": ("A", "C", "Z"), "two": ("B", "C-D"), "three": ("E",), "four": ("F",)})
    assert rehearse(PLAIN, sets)["result"].to_list() == ["no hit", "hit", "hit", "no hit"]
    # And can be read like what comes from the bench.
    assert read(sheet_csv(PLAIN, found["result"].to_list())) == ("hit", "no hit", "no hit", "hit")
