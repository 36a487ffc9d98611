"""Text from data stays text, in HTML and in Markdown."""

import html
import re

import pytest
from files import PAYLOADS
from hypothesis import example, given
from hypothesis import strategies as st

from explorer.text import fill, plain_text

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
