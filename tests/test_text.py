"""Text from data stays text, in HTML and in Markdown."""

import html
import re

import pytest
from files import PAYLOADS
from hypothesis import example, given
from hypothesis import strategies as st

from explorer.text import as_sentence, file_name, fill, plain_text

REFERENCE = re.compile(r"&#\d+;")
FORBIDDEN = set("<>\"'`*_[]()$#!~|\\{}\n\r\t\x00\x1b\x85\x9b\u2028\u2029")


@given(st.text())
@example("".join(map(chr, range(0x180))))
@example("\ud800 half a pair")
@pytest.mark.parametrize("prefix", PAYLOADS)
def test_no_markup_survives(prefix, text):
    bare = REFERENCE.sub("", plain_text(prefix + text))
    assert not FORBIDDEN & set(bare)
    assert "&" not in bare
    bare.encode()


@pytest.mark.parametrize(
    ("notice", "sentence"),
    [
        ("unknown query 'p53': did you mean 'TP53'?", "Unknown query 'p53': did you mean 'TP53'?"),
        ("a map needs at least 3 perturbations", "A map needs at least 3 perturbations"),
        ("cancelled", "Cancelled"),
        ("known, but not here", "Known, but not here"),
        ("'p53' is not in this map", "'p53' is not in this map"),
        ("p53 stands in two wells", "p53 stands in two wells"),
        ("card.toml: the table [roles] is missing", "card.toml: the table [roles] is missing"),
        ("latent: none at all", "latent: none at all"),
        ("k = '0' can't be used", "k = '0' can't be used"),
        ("guides = '0' can't be used", "guides = '0' can't be used"),
        ("tvn needs a covariance", "tvn needs a covariance"),
        ("1 of 3 names are not in this map", "1 of 3 names are not in this map"),
        ("<img src=x> is no name", "<img src=x> is no name"),
        ("Already a sentence", "Already a sentence"),
        ("", ""),
    ],
)
def test_a_notice_begins_with_a_capital_and_a_name_as_it_is(notice, sentence):
    assert as_sentence(notice) == sentence


@given(st.text())
def test_nothing_but_the_first_letter_changes(notice):
    assert as_sentence(notice)[1:] == notice[1:]
    assert as_sentence(as_sentence(notice)) == as_sentence(notice)


@given(st.lists(st.text() | st.sampled_from([*PAYLOADS, "CON", "../..", ".hidden", "-rf"]), max_size=5))
def test_file_names_are_taken_everywhere(parts):
    name = file_name(*parts)
    assert re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9.-]*)?", name)
    assert len(name) <= 33 * len(parts)
    assert not name.endswith((".", "-"))


def test_a_long_part_leaves_room_for_the_others():
    assert file_name("a" * 300, "b c", "", "日本", "d") == f"{'a' * 32}-b-c-d"


@given(st.text(st.characters(exclude_categories=("C", "Zl", "Zp"))))
def test_printable_text_comes_back(text):
    assert html.unescape(plain_text(text)) == text


@pytest.mark.parametrize("control", ["\x00", "\x07", "\x1b", "\x7f", "\x9b", "\ud800"])
def test_control_characters_become_the_replacement_sign(control):
    assert html.unescape(plain_text(f"a{control}b")) == "a\ufffdb"


@pytest.mark.parametrize("space", ["\n", "\r", "\t", "\u2028", "\u2029"])
def test_line_breaks_become_spaces(space):
    assert html.unescape(plain_text(f"a{space}b")) == "a b"


@pytest.mark.parametrize(
    ("value", "expected"), [(5, "5"), (None, "None"), (0.5, "0&#46;5"), (["a"], "&#91;&#39;a&#39;&#93;")]
)
def test_values_other_than_text(value, expected):
    assert plain_text(value) == expected


def test_spaces_commas_and_semicolons_stay_readable():
    assert plain_text("RPL5, RPL11; TP53") == "RPL5, RPL11; TP53"


@pytest.mark.parametrize("payload", PAYLOADS)
def test_fill_escapes_values_and_keeps_the_template(payload):
    filled = fill("**{query}** has <b>{k}</b>", query=payload, k=10)
    assert filled == f"**{plain_text(payload)}** has <b>10</b>"


def test_fill_does_not_read_braces_of_values():
    assert fill("{a} {b}", a="{b}", b=1) == "&#123;b&#125; 1"
