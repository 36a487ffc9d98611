import io
import sys

import pytest

from explorer.terminal import in_columns, one_line, print_json, print_lines, rows_bar, say_error, say_notes, steps_bar


def test_signs_that_a_terminal_would_obey_are_replaced():
    assert one_line("red \x1b[31m\n") == "red �[31m�"
    assert one_line("β-VAE, 5 µm") == "β-VAE, 5 µm"


def test_an_error_is_one_line_on_standard_error(capsys):
    say_error("no such\nfile:   'a\x07'")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "explorer: no such file: 'a�'\n")


def test_each_note_is_said_once(capsys):
    say_notes(iter(["first", "second", "first"]))
    assert capsys.readouterr().err == "note: first\nnote: second\n"


def test_lines_and_objects_go_to_standard_output(capsys):
    print_lines(["one", "two\r"])
    print_json({"p": float("nan")})
    out, err = capsys.readouterr()
    assert out.startswith("one\ntwo�\n")
    assert "null" in out
    assert not err


def test_columns_stand_below_their_heads():
    assert in_columns(("name", "value", "p"), [("a", "10.5"), ("longer", "2", ".05")]) == [
        "name    value    p",
        "a        10.5",
        "longer      2  .05",
    ]


@pytest.mark.parametrize("bar", [rows_bar, steps_bar])
def test_progress_is_silent_where_nobody_looks(bar, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    if bar is rows_bar:
        with rows_bar(10) as advance:
            for _ in range(4):  # two passes
                advance(5)
    else:
        with steps_bar() as say:
            say("the map of raw", 0.5)
            say("done", 1.0)
    assert stream.getvalue() == ""
