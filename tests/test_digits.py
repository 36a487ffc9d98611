"""Numbers as they are written."""

import math

import pytest

from explorer.digits import brief, cells, count, counted, number, percent, plain, signed, small, width_of


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0181, "+.018"), (-0.0181, "−.018"), (0.0, "0"), (-0.0, "0"), (1.25, "+1.250"), (-12.5, "−12.500"),
        (0.0002, "+.0002"), (-0.00004, "−.00004"), (1e-12, "0"), (math.nan, "not defined"), (0.0005, "+.001"),
    ],
)  # fmt: skip
def test_signed(value, text):
    assert signed(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.42, ".420"), (1.0, "1.000"), (0.0, ".000"), (math.nan, "not defined"), (-0.5, "−.500"), (-0.00001, ".000")],
)
def test_number(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (counted(0, "row"), "0 rows"),
        (counted(1, "row"), "1 row"),
        (counted(1_234, "row"), "1,234 rows"),
        (counted(1, "community", "communities"), "1 community"),
        (counted(2, "community", "communities"), "2 communities"),
    ],
)
def test_counted(said, text):
    assert said == text


@pytest.mark.parametrize(
    ("pattern", "value", "text"),
    [
        ("{:.3f}", 0.18, ".180"), ("{:+.3f}", -0.18, "−.180"), ("{:+.3f}", 0.18, "+.180"), ("{:.2g}", 0.0004, ".0004"),
        ("{:,d}", 1_000, "1,000"), ("{:.3f}", None, ""), ("{:.3f}", math.nan, ""), ("{:.3f}", 10.5, "10.500"),
        ("{:.3f}", "none", "none"),
    ],
)  # fmt: skip
def test_cells(pattern, value, text):
    assert cells({"p": pattern})["p"](value) == text


def test_number_of_other_digits():
    assert number(3.4444, 1) == "3.4"
    assert number(0.96, 1) == "1.0"


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.58, "58 %"), (0.0582, "5.8 %"), (0.005, ".5 %"), (0.0, "0 %"), (1.0, "100 %"), (0.0001, "less than .1 %"),
        (0.02, "2 %"), (math.nan, "not defined"),
    ],
)  # fmt: skip
def test_percent(share, text):
    assert percent(share) == text


@pytest.mark.parametrize(
    ("value", "text"), [(21, "21"), (-60, "−60"), (0.6, ".6"), (1234.5, "1,234.5"), (math.nan, "not defined"), (0, "0")]
)
def test_count(value, text):
    assert count(value) == text


def test_count_with_its_sign():
    assert [count(value, sign=True) for value in (100, -60, 0, 0.04)] == ["+100", "−60", "0", "0"]


def test_small_is_never_0():
    assert small(0.0001) == ".0001"
    assert small(1.0) == "1"
    assert small(math.nan) == "not defined"


def test_plain_turns_the_numbers_of_a_sentence_and_nothing_else():
    text = "learned − simple: -0.018 (-0.026 to +0.009) over 10 groups, map-2 of 10.05, 0.5"
    assert plain(text) == "learned − simple: −.018 (−.026 to +.009) over 10 groups, map-2 of 10.05, .5"


def test_brief():
    assert [brief(value) for value in (0.05, 0.1, 0.005)] == [".05", ".1", ".005"]


def test_width():
    assert [width_of(share) for share in (0.0, 0.5, 1.0)] == ["2%", "50%", "100%"]
