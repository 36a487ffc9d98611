"""The saved page of a list: whole, escaped, with the sentences of the page; of a comparison blind."""

import shlex

import listed_toys
import pytest
from listed_toys import PAYLOADS, evidence_of, made_of
from pages import Page
from test_portable import check_closed

from explorer import __version__, portable_shortlist
from explorer import wording_shortlist as wording
from explorer.catalog import open_catalog
from explorer.cli import main
from explorer.map_card import CATALOG
from explorer.portable_shortlist import command_line, shortlist_page


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return open_catalog(listed_toys.write_hostile(tmp_path_factory.mktemp("portable")))


@pytest.fixture(scope="module")
def made(catalog):
    return made_of(catalog, budget=15, interest=(PAYLOADS[1], PAYLOADS[2], "G010", "G030"), only_trusted=False)


@pytest.fixture(scope="module")
def evidence(catalog, made):
    return evidence_of(catalog, made)


def test_a_page_before_its_evidence(catalog, made):
    page = Page(shortlist_page(catalog, made))
    assert "was not gathered when this page was saved" in page.text
    assert page.table("rank", "first", "second")


def test_page_says_what_the_notebook_says(catalog, made, evidence):
    text = shortlist_page(catalog, made, evidence)
    page = check_closed(text)
    assert text.count("window.vegaEmbed=") == 1, "once for all charts"
    for said in (
        wording.head(made),
        wording.expectation_sentence(made.found.expectation),
        wording.filter_sentence(made.found),
        wording.counts_sentence(made.found),
        *wording.notes_of(made),
        *wording.evidence_notes(made, evidence),
        *(part for row in wording.passport_rows(made.found) for part in row),
        *(part for row in wording.limits(made) for part in row),
        *(part for row in wording.about_rows(catalog, made.found) for part in row),
        made.found.recipes,
        f"explorer {__version__}",
    ):
        assert said in page.text, said
    lines = page.table("rank", "first", "second", "proposed by")
    assert [line[1:3] for line in lines] == [list(pair) for pair in made.found.rows.select("first", "second").rows()]
    assert not any(cell == "nan" for table in page.tables for line in table for cell in line)
    assert any(payload in page.text for payload in PAYLOADS[1:3]), "as text it is there"


def test_a_blind_page_tells_nothing(catalog):
    blind = made_of(catalog, mode="compare")
    text = shortlist_page(catalog, blind)
    page = check_closed(text)
    (table,) = [table for table in page.tables if table[0] == ["first", "second"]]
    assert [tuple(line) for line in table[1:]] == sorted(blind.found.rows.select("first", "second").rows())
    assert wording.BLIND_NOTE in page.text
    assert page.block("charts") is None
    for told in ("proposer", "proposed by", "normal score", "rank"):
        assert told not in page.text.replace("The contexts", ""), told


def test_a_long_list_is_cut_and_said(catalog, made, monkeypatch):
    monkeypatch.setattr(portable_shortlist, "MOST_PAIRS", 3)
    page = Page(shortlist_page(catalog, made))
    assert f"The first 3 of {made.found.rows.height} pairs; all are in the tables." in page.text
    assert len(page.table("rank", "first")) == 3


@pytest.mark.parametrize("mode", ["discover", "compare"])
def test_the_command_makes_the_same_list(tmp_path, capsys, mode):
    import json

    catalog = listed_toys.open_toy(tmp_path)
    made = made_of(catalog, mode=mode, budget=8, only_active=False, completeness=(0.9, 0.8, 0.7))
    words = shlex.split(command_line(catalog, made).replace(CATALOG, str(catalog.dataset("toy").path.parent)))
    assert words[:2] == ["explorer", "shortlist"]
    assert main([*words[1:], "--no-evidence", "--json"]) in (0, None)
    said = json.loads(capsys.readouterr().out)
    assert [(line["first"], line["second"]) for line in said["pairs"]] == (
        made.found.rows if mode == "discover" else made.found.rows.sort("first", "second")
    ).select("first", "second").rows()
    assert said["plan"]["completeness"] == [0.9, 0.8, 0.7]
