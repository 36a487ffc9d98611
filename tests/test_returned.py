"""Files that a browser sends: checked, scored, recorded where whoever runs the page says so, and never believed."""

import io
import json
import zipfile
from types import SimpleNamespace

import frozen_toys
import listed_toys
import polars as pl
import pytest
from listed_toys import by_form, evidence_of, made_of

from explorer import returned
from explorer.errors import InputError
from explorer.frozen_files import csv_text, parquet_bytes, read_frozen, sheet_csv
from explorer.outcomes import read_results
from explorer.returned import (
    add_to_record,
    frozen_files,
    frozen_zip,
    opened_key_text,
    read_back,
    read_record,
    results_json,
    results_stem,
    track_folder,
)
from explorer.sealed import key_text, read_key

DATE = "2026-02-01T12:00:00Z"


def sent(content, name="LIST.csv"):
    """What an upload control gives."""
    return (SimpleNamespace(name=name, contents=content if isinstance(content, bytes) else content.encode()),)


def filled(frozen, words):
    """Sheet of a list with results."""
    every = [words[place % len(words)] for place in range(frozen.n_rows)]
    return sheet_csv(frozen, every)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return listed_toys.open_toy(tmp_path_factory.mktemp("returned"))


@pytest.fixture(scope="module")
def frozen():
    return frozen_toys.discover(10)


@pytest.fixture(scope="module")
def blind():
    return frozen_toys.compare()


# ---------------------------------------------------------------- freezing


def test_a_list_and_its_evidence_are_frozen_into_three_files(catalog):
    made = made_of(catalog, budget=5)
    evidence = evidence_of(catalog, made)
    files = by_form(frozen_files(made.found, evidence, date=DATE))
    assert set(files) == {"LIST.parquet", "LIST.csv", "LIST-sheet.csv"}
    read = [read_frozen(files[name]) for name in ("LIST.parquet", "LIST.csv")]
    assert read[0].digest == read[1].digest
    assert read[0].digest in files["LIST-sheet.csv"].decode()
    assert "simple support" in read[0].rows.columns
    assert read[0].pairs == tuple(made.found.rows.select("first", "second").rows())


def test_a_blind_list_has_a_key_and_nothing_else_tells(catalog):
    made = made_of(catalog, mode="compare")
    with zipfile.ZipFile(io.BytesIO(frozen_zip(made.found, None))) as archive:
        files = by_form({name: archive.read(name) for name in archive.namelist()})
    assert set(files) == {"LIST.parquet", "LIST.csv", "LIST-sheet.csv", "LIST-key.json"}
    key = read_key(files["LIST-key.json"])
    assert key.sha256 in files["LIST-sheet.csv"].decode()
    for name in ("LIST.csv", "LIST-sheet.csv"):
        assert "proposer" not in files[name].decode()
    assert read_frozen(files["LIST.parquet"]).rows.columns == ["row", "first", "second"]
    with zipfile.ZipFile(io.BytesIO(frozen_zip(made.found, None))) as archive:
        again = read_frozen(by_form({name: archive.read(name) for name in archive.namelist()})["LIST.csv"])
    assert again.digest != read_frozen(files["LIST.csv"]).digest, "every click draws a new order"


def test_freezing_is_noted_in_a_track_record_where_there_is_one(catalog, tmp_path):
    made = made_of(catalog, budget=5)
    frozen_files(made.found, None, date=DATE, track=tmp_path / "mine")
    record = read_record(tmp_path / "mine")
    assert (record.n_registered, record.n_not_back, record.table.height) == (1, 1, 0)


# ---------------------------------------------------------------- reading


def test_nothing_was_sent():
    assert read_back((), (), ()) is None
    assert read_back(None, [], "") is None


@pytest.mark.parametrize("form", [csv_text, parquet_bytes])
def test_results_of_a_list(frozen, form):
    found = read_back(sent(form(frozen)), sent(filled(frozen, ["hit", "no hit", "failed", None]), "sheet.csv"))
    assert found.problems == ()
    assert (found.score.n_hits, found.score.n_no_hits, found.score.n_failed, found.score.n_waiting) == (3, 3, 2, 2)
    assert found.score.expected_back[1] == pytest.approx(6 * 0.25), "r .2 and c .5 make .25 a pair"
    assert found.sides == ("simple", "learned")
    assert json.loads(results_json(found))["n_hits"] == 3
    assert results_stem(found) == f"results-{frozen.digest[:12]}"
    assert not found.can_be_recorded


def test_a_list_alone_is_read(frozen):
    found = read_back(sent(csv_text(frozen)), ())
    assert found.frozen.digest == frozen.digest
    assert found.score is None
    assert found.problems == ()
    assert json.loads(results_json(found)) is None


def test_results_alone_ask_for_the_list(frozen):
    found = read_back((), sent(filled(frozen, ["hit"])))
    assert found.problems == ("give the frozen list too: results are held against it",)


def test_a_tampered_list_is_one_sentence(frozen):
    text = csv_text(frozen).splitlines()
    row = next(place for place, line in enumerate(text) if line.startswith("2,"))
    text[row] = text[row].replace("0.2", "0.9", 1)
    found = read_back(sent("\n".join(text) + "\n", "mine.csv"), sent(filled(frozen, ["hit"])))
    assert found.frozen is None
    assert len(found.problems) == 1
    assert "'mine.csv'" in found.problems[0]
    assert "row 2" in found.problems[0]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (sent(b"x" * (returned.MOST_BYTES + 1), "big.csv"), "'big.csv' is larger than 512 kB"),
        ((SimpleNamespace(name=3, contents=b"x"),), "the list did not arrive as a file"),
        ((SimpleNamespace(name="x", contents="text"),), "the list did not arrive as a file"),
        (("x",), "the list did not arrive as a file"),
        (sent(b"", "empty.csv"), "'empty.csv' is not a frozen list"),
        (sent(b"PAR1 and nothing", "x.parquet"), "can't read 'x.parquet'"),
        (sent(b"PAR1" + bytes(200) + b"PAR1", "y.parquet"), "can't read 'y.parquet'"),
        (sent(b"\xff\xfe\x00", "z.csv"), "'z.csv' is not a frozen list"),
    ],
)
def test_files_that_are_none(value, said):
    found = read_back(value, ())
    assert found.frozen is None
    assert any(said in problem for problem in found.problems), found.problems
    assert all("\n" not in problem for problem in found.problems)


@pytest.mark.parametrize("name", ["../../etc/passwd.csv", "C:\\secret\\passwd.csv", "/srv/passwd.csv"])
def test_of_a_path_the_last_part_is_shown(name):
    (problem,) = read_back(sent(b"nothing", name), ()).problems
    assert "'passwd.csv'" in problem
    assert "/" not in problem.split("passwd")[0]
    assert "secret" not in problem


def test_wrong_results_are_one_sentence(frozen):
    found = read_back(sent(csv_text(frozen)), sent(filled(frozen, ["hti"]), "sheet.csv"))
    assert found.score is None
    (problem,) = found.problems
    assert "'sheet.csv', line 4: unknown result 'hti': did you mean 'hit'?" in problem


# ---------------------------------------------------------------- the key


def test_a_key_is_opened_once_all_results_are_in(blind):
    frozen, key = blind
    words = ["hit", "no hit"]
    found = read_back(sent(csv_text(frozen)), sent(filled(frozen, words)), sent(key_text(key), "LIST-key.json"))
    assert found.problems == ()
    assert found.is_opened
    assert found.score.head_to_head is not None
    assert found.score.is_proposed_only
    marked = read_key(opened_key_text(found).encode())
    assert marked.opened.complete
    assert marked.opened.results == found.outcomes.digest
    # Given back with other results, it tells.
    again = read_back(
        sent(csv_text(frozen)), sent(filled(frozen, ["no hit", "hit"])), sent(opened_key_text(found), "k.json")
    )
    assert again.score.head_to_head.verdict == "description only"
    assert "for other results than these" in again.score.head_to_head.reason


def test_a_session_remembers_what_a_key_was_opened_for(blind):
    frozen, key = blind
    openings = returned.Openings()

    def come_back(words):
        # The key's own file is not marked: its owner gives the same one again.
        return read_back(
            sent(csv_text(frozen)), sent(filled(frozen, words)), sent(key_text(key)), openings=openings
        ).score.head_to_head

    first = come_back(["hit", "no hit"])
    assert "not blind" not in first.reason
    assert come_back(["hit", "no hit"]) == first
    later = come_back(["no hit", "hit"])
    assert later.verdict == "description only"
    assert "its key was opened before, on this page, for other results" in later.reason


def test_a_key_stays_sealed_while_results_are_missing(blind):
    frozen, key = blind
    found = read_back(sent(csv_text(frozen)), sent(filled(frozen, ["hit", None])), sent(key_text(key)))
    assert not found.is_opened
    assert found.key.opened is None
    assert found.score.head_to_head is None
    assert "the key stays sealed" in found.score.reason


def test_without_its_key_a_comparison_is_asked_for_it(blind):
    frozen, _ = blind
    found = read_back(sent(csv_text(frozen)), sent(filled(frozen, ["hit"])))
    assert "give it to compare the maps" in found.score.reason
    assert not found.can_be_recorded


def test_wrong_keys_are_one_sentence_and_the_rest_is_shown(blind, frozen):
    own, _ = blind
    _, other = frozen_toys.compare(salt=bytes(reversed(range(32))))
    files = sent(csv_text(own)), sent(filled(own, ["hit"]))
    for content, said in (
        (key_text(other), "this is the key of another list"),
        (key_text(other)[:-30], "is no sealed key"),
        ("{}", "is no sealed key"),
        (csv_text(own), "is no sealed key"),
    ):
        found = read_back(*files, sent(content, "k.json"))
        assert len(found.problems) == 1
        assert said in found.problems[0]
        assert found.score.head_to_head is None
    found = read_back(sent(csv_text(frozen)), (), sent(key_text(other)))
    assert "a discover list has no key" in found.problems[0]


# ---------------------------------------------------------------- the track record


@pytest.mark.parametrize(
    ("asked", "is_served", "has_one"),
    [("mine", False, True), ("mine", True, False), (None, False, False), ("  ", False, False), (True, False, False)],
)
def test_a_track_record_is_never_kept_on_a_server(asked, is_served, has_one):
    assert (track_folder(asked, is_served=is_served) is not None) == has_one


def test_a_complete_list_is_recorded_once(frozen, tmp_path):
    found = read_back(sent(csv_text(frozen)), sent(filled(frozen, ["hit", "no hit"])))
    assert found.can_be_recorded
    assert add_to_record(tmp_path / "mine", found) == "This list was added to the track record"
    assert add_to_record(tmp_path / "mine", found).startswith("These results of the list are in the track record")
    record = read_record(tmp_path / "mine")
    assert record.table.height == 1
    assert record.stated.found == 5
    other = read_back(sent(csv_text(frozen)), sent(filled(frozen, ["hit"])))
    with pytest.raises(InputError, match="a track record is not rewritten"):
        add_to_record(tmp_path / "mine", other)


def test_nothing_else_is_recorded(frozen, tmp_path):
    partial = read_back(sent(csv_text(frozen)), sent(filled(frozen, ["hit", None])))
    with pytest.raises(InputError, match="are not back"):
        add_to_record(tmp_path / "mine", partial)
    with pytest.raises(InputError, match="nothing to record"):
        add_to_record(tmp_path / "mine", read_back(sent(csv_text(frozen)), ()))
    assert not (tmp_path / "mine").exists()


def test_a_list_end_to_end(catalog):
    """Freeze, answer with the planted modules, and find the hits that are there."""
    made = made_of(catalog, budget=20)
    files = by_form(frozen_files(made.found, None, date=DATE))
    frozen = read_frozen(files["LIST.csv"])
    truth = [int(first[1:]) // 5 == int(second[1:]) // 5 for first, second in frozen.pairs]
    sheet = sheet_csv(frozen, ["hit" if one else "no hit" for one in truth])
    assert read_results(sheet.encode(), frozen).n_hits == sum(truth) > 10
    found = read_back(sent(files["LIST.parquet"], "LIST.parquet"), sent(sheet))
    assert found.score.n_found == sum(truth)
    assert found.score.factor[0] > 1, "the toy's annotation holds a fifth of its truth"
    assert pl.DataFrame(frozen.rows).height == 20
