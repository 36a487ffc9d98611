"""Messages: one line, the nearest names, nothing that a terminal would obey."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer.errors import InputError, listed, nearest_names, shown, unknown_name

GENES = ["RPL5", "RPL11", "MDM2", "TP53", "tp63"]


@given(st.text(max_size=300))
def test_shown_is_one_printable_line(text):
    quoted = shown(text)
    assert quoted.isprintable()
    assert len(quoted) <= 60


def test_shown_keeps_other_scripts():
    assert shown("遺伝子 é") == "'遺伝子 é'"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], ""),
        (["a"], "'a'"),
        (["a", "b"], "'a', 'b'"),
        (list("abcdefg"), "'a', 'b', 'c', 'd', 'e' … and 2 more"),
        ([str(number) for number in range(2000)], "'0', '1', '2', '3', '4' … and 1,995 more"),
    ],
)
def test_listed(names, expected):
    assert listed(names) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rpl5", ["RPL5", "RPL11"]),
        ("TP5", ["TP53"]),
        ("Tp53", ["TP53", "tp63"]),
        ("RPL", ["RPL5", "RPL11"]),
        ("zzz", []),
        ("", []),
        (5, []),
    ],
)
def test_nearest_names(name, expected):
    assert nearest_names(name, GENES) == expected


def test_nearest_names_are_three_at_most():
    assert len(nearest_names("gene", [f"gene{number}" for number in range(50)])) == 3


@pytest.mark.parametrize(
    ("name", "options", "hint"),
    [
        ("RPL6", GENES, "did you mean 'RPL5'"),
        ("zzz", GENES, "choose one of 'RPL5', 'RPL11', 'MDM2', 'TP53', 'tp63'"),
        ("zzz", [], "there is none"),
        ("x" * 1_000_000, GENES, "choose one of"),
        ("\x1b[31m\n", GENES, "choose one of"),
    ],
)
def test_unknown_name(name, options, hint):
    error = unknown_name("perturbation", name, options)
    assert isinstance(error, InputError)
    assert str(error).startswith("unknown perturbation '")
    assert hint in str(error)
    assert str(error).isprintable()
    assert len(str(error)) < 250


@given(st.text(max_size=40), st.lists(st.text(max_size=20), max_size=8))
def test_unknown_name_takes_any_text(name, options):
    assert str(unknown_name("name", name, options)).isprintable()
