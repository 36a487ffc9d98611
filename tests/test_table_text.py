"""Rows as lines of text: exact both ways, one line a row, no formula."""

import csv
import io
import math

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from explorer.table_text import as_line, escaped, of_line, settled, unescaped

TEXT = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from('=+-@"\\,;|\n\r\t\x00  \u2028＝')))
CELLS = {
    "String": st.none() | TEXT,
    "Int64": st.none() | st.integers(-(2**63), 2**63 - 1),
    "Float64": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    "Boolean": st.none() | st.booleans(),
}
ROWS = st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=6).flatmap(
    lambda types: st.tuples(st.just(types), st.tuples(*(CELLS[kind] for kind in types)))
)


# On a machine that does other work, the first draw is slow.
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(ROWS)
def test_a_line_gives_its_row_back(case):
    types, row = case
    line = as_line(row)
    assert len(line.splitlines()) <= 1
    found = of_line(line, types)
    assert found == list(row)
    assert [type(cell) for cell in found] == [type(cell) for cell in row]


@settings(deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=4))
def test_other_programs_read_the_same_cells(texts):
    # The escapes stay, the quotes go.
    (found,) = csv.reader(io.StringIO(as_line(["1", *texts])), strict=True)
    assert [unescaped(cell) for cell in found[1:]] == texts


@settings(deadline=None)
@given(TEXT)
def test_no_cell_begins_like_a_formula(text):
    written = escaped(text)
    assert unescaped(written) == text
    # Nor does a part of one, where a spreadsheet splits at semicolons.
    for part in written.replace(",", ";").replace("|", ";").split(";"):
        assert not part.lstrip().startswith(tuple("=+-@＝＋－＠"))


@pytest.mark.parametrize(
    ("text", "written"),
    [("TP53", "TP53"), ("=1", "\\=1"), ("a-b", "a-b"), ("a\\n", "a\\\\n"), ("a\nb", "a\\nb"), ("\x00", "\\x00")],
)
def test_what_is_written(text, written):
    assert escaped(text) == written


def test_nothing_and_no_value_differ():
    assert as_line([None, "", 0, False]) == ',"",0,false'
    assert of_line(',"",0,FALSE', ["String", "String", "Int64", "Boolean"]) == [None, "", 0, False]


@pytest.mark.parametrize(
    ("line", "types", "problem"),
    [
        ("1,2", ["Int64"], "2 cells where 1 are expected"),
        ("", ["Int64", "Int64"], "1 cells where 2"),
        ("x", ["Int64"], "no Int64"),
        ("9223372036854775808", ["Int64"], "no Int64"),
        ("nan", ["Float64"], "no Float64"),
        ("1e999", ["Float64"], "no Float64"),
        ("yes", ["Boolean"], "no Boolean"),
        ('"a', ["String"], "quote"),
        ('"a"b', ["String"], "quote"),
    ],
)
def test_other_cells_are_refused(line, types, problem):
    with pytest.raises(ValueError, match=problem):
        of_line(line, types)


def test_tables_are_settled():
    table = pl.DataFrame(
        {
            "f": pl.Series([1 / 3, math.nan, -0.0, math.inf], dtype=pl.Float32),
            "i": pl.Series([1, 2, 3, None], dtype=pl.UInt8),
            "c": pl.Series(["a", "b", "a", None], dtype=pl.Categorical),
            "n": [None] * 4,
        }
    )
    found = settled(table)
    assert found.dtypes == [pl.Float64, pl.Int64, pl.String, pl.String]
    assert found["f"].to_list() == [0.333333, None, 0.0, None]
    assert math.copysign(1, found["f"][2]) == 1
    assert found["c"].to_list() == ["a", "b", "a", None]
    with pytest.raises(ValueError, match="'l' holds List"):
        settled(pl.DataFrame({"l": [[1]]}))
