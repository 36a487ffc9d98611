"""Freezing: what a digest covers, what stays blind, which key fits."""

import json
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import polars as pl
import pytest
from frozen_toys import DATE, HEADER, SALT, compare, discover, pairs_of, rows_of

from explorer.errors import InputError
from explorer.frozen import check_key, freeze, open_key, utc_text
from explorer.sealed import canonical, opened_early, sha256_of, unsealed

NOW = "2026-03-01T00:00:00Z"


def test_what_is_frozen():
    frozen = discover(10)
    assert frozen.rows.columns == ["row", "first", "second", "known rate", "rank here", "note", "active"]
    assert frozen.rows["row"].to_list() == list(range(1, 11))
    assert frozen.pairs == tuple(pairs_of(10))
    assert (frozen.mode, frozen.date, frozen.budget, frozen.depth) == ("discover", DATE, 10, None)
    assert (frozen.n_rows, frozen.key_sha256) == (10, "")
    assert frozen.expected == {0.7: 1.5, 0.5: 3.5, 0.4: 5.25}
    assert list(frozen.expected) == [0.7, 0.5, 0.4]
    assert frozen.header["dataset"] == "depmap"
    assert len(frozen.digest) == 64


def test_the_same_list_has_the_same_digest_and_any_other_another():
    assert discover(10).digest == discover(10).digest
    others = [
        discover(9),
        discover(10, rate=0.21),
        discover(10, header=HEADER | {"budget": 11}),
        discover(10, date="2026-01-31T12:00:01Z"),
        discover(10, pairs=pairs_of(10)[::-1]),
    ]
    assert len({one.digest for one in (discover(10), *others)}) == 6


def test_the_digest_is_what_it_says():
    # Written out once more, from the description.
    frozen = freeze(rows_of([("A", "B")]), mode="discover", header={}, date=DATE)[0]
    text = json.dumps(frozen.header, sort_keys=True, separators=(",", ":"))
    assert frozen.digest == sha256_of(f"{text}\nrow,first,second\n1,A,B\n")
    assert frozen.header["row_digests"] == [sha256_of("1,A,B")[:12]]


def test_numbers_are_rounded_and_undefined_ones_are_null():
    rows = rows_of([("A", "B"), ("A", "C")], **{"known rate": [1 / 3, float("nan")]})
    frozen = freeze(rows, mode="discover", header={"rate": float("nan"), "n": np.int64(3)}, date=DATE)[0]
    assert frozen.rows["known rate"].to_list() == [0.333333, None]
    assert (frozen.header["rate"], frozen.header["n"]) == (None, 3)


def test_the_header_given_is_left_alone():
    given = {"expected": {"0.5": 1.0}, "others": ["a"]}
    frozen = freeze(rows_of([("A", "B")]), mode="discover", header=given, date=DATE)[0]
    given["others"].append("b")
    assert frozen.header["others"] == ["a"]
    assert "mode" not in given


@pytest.mark.parametrize(
    ("date", "text"),
    [
        ("2026-01-31", "2026-01-31T00:00:00Z"),
        ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00Z"),
        (datetime(2026, 1, 31, 12, tzinfo=UTC), DATE),
        (datetime(2026, 1, 31, 13, tzinfo=timezone(timedelta(hours=1))), DATE),
    ],
)
def test_dates_are_in_utc(date, text):
    assert utc_text(date) == text


@pytest.mark.parametrize("date", ["", "yesterday", "2026-13-01", None, 5])
def test_what_is_no_date(date):
    with pytest.raises(InputError, match="can't be read: expected ISO 8601"):
        utc_text(date)


def bad(rows, message, **options):
    with pytest.raises(InputError, match=message) as error:
        freeze(rows, **({"mode": "discover", "header": {}, "date": DATE} | options))
    assert "\n" not in str(error.value)


def test_what_can_not_be_frozen():
    good = rows_of([("A", "B")])
    bad(good.rename({"first": "one"}), r"'first' is not there")
    bad(good.head(0), "a list of 0 pairs can't be frozen")
    bad(rows_of([("B", "A")]), r"'B' \+ 'A' is no pair in order")
    bad(rows_of([("A", "A")]), "is no pair in order")
    bad(rows_of([("A", None)]), "'second' is not there or is none")
    bad(rows_of([("A", "B"), ("A", None)]), "is no pair in order")
    bad(rows_of([("A", "B"), ("A", "B")]), r"'A' \+ 'B' stands in the list twice")
    bad(good, "mode 'find'", mode="find")
    bad(good, "the header says 'row_digests', which freezing adds", header={"row_digests": []})
    bad(good, "the header of a list must fit JSON", header={"a": object()})
    bad(good.with_columns(pl.Series("l", [[1]])), "'l' holds List")
    bad(good, "a compare list needs the rows of its key", mode="compare")
    bad(good, "no other list has a key", key_rows=good)
    bad(good, "can't be read", date="soon")
    other = rows_of([("A", "C")], proposer=["both"])
    bad(good, r"'A' \+ 'B' stands in one of them alone", mode="compare", key_rows=other)
    bad(good, "says 'me' of who proposed", mode="compare", key_rows=good.with_columns(proposer=pl.lit("me")))
    bad(good, "says 'None' of who proposed", mode="compare", key_rows=good)


# ---------------------------------------------------------------- blind


def test_a_compare_list_tells_nothing_but_pairs():
    frozen, key = compare()
    assert frozen.rows.columns == ["row", "first", "second"]
    assert frozen.key_sha256 == key.sha256
    text = canonical(frozen.header) + frozen.rows.write_csv() + key.payload
    for word in ("proposer", "background", "learned", "simple rank", "0.3"):
        assert word not in text


def test_the_order_follows_from_the_salt_alone():
    frozen, _ = compare()
    pairs = list(frozen.pairs)
    assert pairs != sorted(pairs)
    key = rows_of(pairs, proposer=["both"] * len(pairs))
    again = freeze(key[::-1], mode="compare", header={}, key_rows=key, date=DATE, salt=SALT)[0]
    assert again.pairs == frozen.pairs
    assert compare(salt=b"other")[0].pairs != frozen.pairs
    assert compare(salt=None)[0].pairs != compare(salt=None)[0].pairs


def test_places_do_not_hang_on_the_proposer():
    # Over many salts a pair of either map stands in the middle on average.
    place = {word: [] for word in ("simple", "learned", "background")}
    for number in range(300):
        frozen, key = compare(salt=b"%d" % number)
        for row, word in unsealed(key).select("row", "proposer").rows():
            if word in place:
                place[word].append(row / frozen.n_rows)
    middle = (frozen.n_rows + 1) / 2 / frozen.n_rows
    for rows in place.values():
        assert abs(np.mean(rows) - middle) < 4 * np.std(rows) / np.sqrt(len(rows))


def test_the_key_opens_into_the_order_of_the_list():
    frozen, key = compare()
    rows, opened = open_key(frozen, key, results_digest="r", complete=True, date=NOW)
    assert rows.columns == ["row", "first", "second", "proposer", "simple rank", "known rate"]
    assert rows.select("row", "first", "second").equals(frozen.rows)
    # G000 + G001 was the first of the simple map's.
    mine = rows.row(by_predicate=pl.col("first") == "G000", named=True)
    assert (mine["second"], mine["proposer"], mine["simple rank"], mine["known rate"]) == ("G001", "simple", 0, 0.1)
    assert key.opened is None
    assert (opened.opened.date, opened.opened.results, opened.opened.complete) == (NOW, "r", True)


def test_the_first_opening_counts():
    frozen, key = compare()
    _, once = open_key(frozen, key, results_digest="one", complete=True, date=NOW)
    _, twice = open_key(frozen, once, results_digest="two", complete=True, date="2026-04-01")
    assert twice == once
    assert opened_early(key, "one") == ""
    assert opened_early(twice, "one") == ""
    assert "for other results than these" in opened_early(twice, "two")
    _, early = open_key(frozen, key, results_digest="one", complete=False, date=NOW)
    assert opened_early(early, "one") == f"the key was opened on {NOW}, before all results were in"


def test_keys_that_do_not_fit():
    (frozen, key), (other, other_key) = compare(), compare(n_each=7)
    resealed = compare(salt=b"other")[1]
    for wrong, message in (
        (other_key, "this is the key of another list"),
        (resealed, "this is the key of another list"),
    ):
        with pytest.raises(InputError, match=message):
            check_key(frozen, wrong)
        with pytest.raises(InputError, match=message):
            open_key(frozen, wrong, results_digest="", complete=True, date=NOW)
    with pytest.raises(InputError, match="a discover list has no key"):
        check_key(discover(), key)
    check_key(other, other_key)


def test_a_key_whose_rows_were_changed_does_not_fit():
    from explorer.sealed import seal

    frozen, key = compare()
    rows = unsealed(key)
    turned = rows.with_columns(pl.col("proposer").replace({"simple": "learned", "learned": "simple"}))
    with pytest.raises(InputError, match="the key was changed after freezing"):
        check_key(frozen, seal(turned, list_rows=key.list_rows, salt=SALT))
    assert check_key(frozen, seal(rows, list_rows=key.list_rows, salt=SALT)) is None
