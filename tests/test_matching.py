"""Whose row is whose: by name wherever there is one, by order where there is none."""

import numpy as np
import polars as pl
import pytest

from explorer.errors import InputError
from explorer.matching import RowNames, places_by_perturbation
from explorer.screen import Roles

UNIQUE = pl.DataFrame({"gene": ["a", "b", "c"]})
REPEATED = pl.DataFrame({"gene": ["a", "b", "a"]})
NAMED = REPEATED.with_columns(row=pl.Series(["r1", "r2", "r3"]))
STORED = REPEATED.with_columns(_row=pl.Series(["r1", "r2", "r3"]))
COUNTED = REPEATED.with_columns(_row=pl.Series(["0", "1", "2"]))
COUNTED_UNIQUE = UNIQUE.with_columns(_row=pl.Series(["0", "1", "2"]))
DOUBLE = UNIQUE.with_columns(_row=pl.Series(["r", "r", "s"]))


def names_of(rows):
    return RowNames(rows, Roles(perturbation="gene"))


@pytest.mark.parametrize(
    ("rows", "table", "order"),
    [
        (UNIQUE, {"gene": ["c", "a", "b"]}, [1, 2, 0]),
        (UNIQUE, {"gene": ["a", "b", "c"]}, None),
        (UNIQUE, {"x": [1, 2, 3]}, None),
        (NAMED, {"row": ["r3", "r1", "r2"]}, [1, 2, 0]),
        (NAMED, {"row": ["r3", "r1", "r2"], "gene": ["a", "a", "b"]}, [1, 2, 0]),
        (NAMED, {"gene": ["a", "b", "a"]}, None),
        (STORED, {"row": ["r3", "r1", "r2"]}, [1, 2, 0]),
        (STORED, {"_row": ["r3", "r1", "r2"]}, [1, 2, 0]),
        (COUNTED, {"row": [2, 0, 1]}, [1, 2, 0]),
        (REPEATED, {"gene": ["a", "b", "a"]}, None),
        (REPEATED, {"row": ["r3", "r1", "r2"]}, None),
        (DOUBLE, {"gene": ["c", "a", "b"]}, [1, 2, 0]),
        (STORED, {"cell": ["r3", "r1", "r2"]}, [1, 2, 0]),
        (STORED, {"__index_level_0__": ["r3", "r1", "r2"], "x": [1, 2, 3]}, [1, 2, 0]),
        (STORED, {"Metadata_cell": ["r3", "r1", "r2"], "gene": ["a", "a", "b"]}, [1, 2, 0]),
        (UNIQUE, {"name": ["c", "a", "b"]}, [1, 2, 0]),
        (UNIQUE, {"plate": ["p", "p", "q"]}, None),
        (REPEATED, {"well": ["w1", "w2", "w3"]}, None),
    ],
)
def test_tables(rows, table, order):
    found = names_of(rows).order_of_table(pl.DataFrame(table), "other.csv")
    np.testing.assert_equal(found, order)


@pytest.mark.parametrize(
    ("rows", "names", "order"),
    [
        (STORED, ["r3", "r1", "r2"], [1, 2, 0]),
        (STORED, ["r1", "r2", "r3"], None),
        (STORED, ["0", "1", "2"], None),
        (NAMED, ["r3", "r1", "r2"], [1, 2, 0]),
        (UNIQUE, ["c", "a", "b"], [1, 2, 0]),
        (REPEATED, ["x", "y", "z"], None),
        (COUNTED, ["x", "y", "z"], None),
        (COUNTED_UNIQUE, ["c", "a", "b"], [1, 2, 0]),
        (DOUBLE, ["c", "a", "b"], [1, 2, 0]),
    ],
)
def test_names_of_stored_rows(rows, names, order):
    np.testing.assert_equal(names_of(rows).order_of_names(pl.Series(names), "other.h5ad"), order)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "b"], r"'other' lacks 1 row \('c'\): give it the screen's rows"),
        (["a", "b", "c", "d"], r"'other' has 1 row the screen has not \('d'\): give it the screen's rows"),
        (["a", "b", "d"], r"'other' lacks 1 row \('c'\) and has 1 row the screen has not \('d'\)"),
        (["a", "b", "c", None], r"'other' has 1 row the screen has not \('None'\)"),
        (["a", None, "c"], r"'other' lacks 1 row \('b'\) and has 1 row the screen has not \('None'\)"),
        (["a", "b", "b", "c"], "'other' names rows more than once: 'b'; make its row names unique"),
        (["a", "b", "c", "<b>\x1b"], r"has 1 row the screen has not \('<b>\\x1b'\)"),
        (["A", "B", "C"], r"lacks 3 rows \('a', 'b', 'c'\) and has 3 rows"),
    ],
)
def test_other_rows_are_refused(names, message):
    match = names_of(UNIQUE)
    with pytest.raises(InputError, match=message) as caught:
        match.order_of_table(pl.DataFrame({"gene": names}), "other")
    assert str(caught.value).isprintable()
    with pytest.raises(InputError, match=message):
        match.order_of_names(pl.Series(names), "other")


@pytest.mark.parametrize("rows", [REPEATED, NAMED, STORED])
def test_names_that_repeat_still_tell_that_the_order_is_another(rows):
    table = pl.DataFrame({"gene": ["b", "a", "a"]})
    with pytest.raises(InputError, match="'other' is in another order than the screen: row 1 is 'b' there and 'a' in"):
        names_of(rows).order_of_table(table, "other")


def test_names_that_repeat_leave_the_number_of_rows_to_the_loader():
    assert names_of(REPEATED).order_of_table(pl.DataFrame({"gene": ["b"]}), "other") is None


@pytest.mark.parametrize("rows", [UNIQUE, STORED])
def test_a_column_of_other_names_is_never_passed_over(rows):
    table = pl.DataFrame({"cell": ["x1", "x2", "x3"]})
    with pytest.raises(
        InputError, match="'other' has a column 'cell' of names, and none of them is a row of the screen"
    ):
        names_of(rows).order_of_table(table, "other")


def test_a_column_that_names_some_rows_says_which_are_missing():
    with pytest.raises(InputError, match=r"lacks 1 row \('r3'\) and has 1 row the screen has not \('r4'\)"):
        names_of(STORED).order_of_table(pl.DataFrame({"cell": ["r1", "r2", "r4"]}), "other")


LABELS = pl.Series("gene", ["b", "a", "control", "c", "b", "d"])


@pytest.mark.parametrize(
    ("table", "places"),
    [
        ({"gene": ["a", "b", "c"]}, [1, 0, -1, 2, 1, -1]),
        ({"_row": ["c", "zz", "b", "a"]}, [2, 3, -1, 0, 2, -1]),
        ({"note": ["x", "y", "x"], "symbol": ["c", "b", "a"], "size": [1.0, 2.0, 3.0]}, [1, 2, -1, 0, 1, -1]),
        # The column that names most is taken; what it repeats or leaves out of others' names is of no account.
        ({"gene": ["a", "b", "c", "z", "z", None], "alias": ["a", "q", "r", "s", "t", "u"]}, [1, 0, -1, 2, 1, -1]),
        ({"one": ["d", "c", "b"], "gene": ["a", "b", "c"]}, [1, 0, -1, 2, 1, -1]),
        ({"gene": ["a", "b", "c", "d", "control"]}, [1, 0, 4, 2, 1, 3]),
    ],
)
def test_rows_find_the_line_of_their_perturbation(table, places):
    found = places_by_perturbation(pl.DataFrame(table), LABELS, column="gene", origin="e.csv")
    assert found.tolist() == places


def test_perturbations_called_by_numbers_find_their_lines():
    found = places_by_perturbation(
        pl.DataFrame({"drug": [7, 5, 6], "x": [0.0, 1.0, 2.0]}), pl.Series([5, 6, 6, 7]), column="drug", origin="e.csv"
    )
    assert found.tolist() == [1, 2, 2, 0]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"x": [1, 2, 3]}, "'e.csv' names no perturbations: give it a text column"),
        ({"gene": ["A", "B", "C"]}, "'e.csv' and the screen share no perturbation, .* 'A' and 'a'"),
        ({"gene": ["a", "b", "Control"]}, "share only 2 perturbations, expected 3 or more: .* 'Control' and 'control'"),
        ({"gene": ["a", "b", "b", "c"]}, "'e.csv' names perturbations more than once: 'b'; give it one row each"),
    ],
)
def test_an_embedding_of_other_perturbations_says_so(table, message):
    with pytest.raises(InputError, match=message):
        places_by_perturbation(pl.DataFrame(table), LABELS, column="gene", origin="e.csv")
