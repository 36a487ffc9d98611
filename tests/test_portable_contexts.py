"""The saved page of contexts: whole, escaped, with the sentences and figures of the page."""

from dataclasses import replace

import polars as pl
import pytest
import verdicts
from pages import PAYLOADS, Page
from test_portable import check_closed

from explorer import __version__, held, held_tables, portable_contexts, wording_contexts
from explorer.catalog import open_catalog
from explorer.held import HeldView, start_overlaps, start_report
from explorer.portable_contexts import contexts_page
from explorer.work import Workshop

VIEW = HeldView("toy", "alpha", ("beta",), "raw", "raw", "latent", "none")
MARKUP = ("<b>GENE</b>", *PAYLOADS[:3])


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    names = (*MARKUP, *verdicts.NAMES[: 110 - len(MARKUP)])
    changes = {key: PAYLOADS[0] for key in ("title", "license", "citation", "description")}
    changes |= {f"contexts/beta/{key}": PAYLOADS[1] for key in ("cell_system", "technique")}
    return open_catalog(verdicts.write_catalog(tmp_path_factory.mktemp("portable"), changes, names=names))


@pytest.fixture(scope="module")
def workshop():
    return Workshop()


@pytest.fixture(autouse=True)
def _own_workshop(monkeypatch, workshop):
    monkeypatch.setattr(held, "shared_workshop", workshop)


@pytest.fixture
def made(catalog):
    ticket = start_report(catalog, VIEW)
    assert ticket.wait(60)
    assert ticket.problem == ""
    return ticket.result


def test_a_page_before_everything_is_finished(catalog, made):
    page = Page(contexts_page(catalog, made, query=MARKUP[0]))
    assert "Not computed when this page was saved, and so not in it" in page.text
    assert "Learned against simple" not in page.text


def test_page_says_what_the_notebook_says(catalog, made):
    ticket = start_overlaps(catalog, VIEW)
    assert ticket.wait(60)
    text = contexts_page(catalog, made, query=MARKUP[0])
    page = check_closed(text)
    assert text.count("window.vegaEmbed=") == 1, "once for all charts"
    for said in (
        *wording_contexts.query_sentences(made, MARKUP[0]),
        *wording_contexts.layout_sentences(made),
        held_tables.DECOYS_NOTE,
        *(part for row in wording_contexts.map_sentences(made) for part in row),
        *(part for row in wording_contexts.passport_rows(made) for part in row),
        *(part for row in wording_contexts.difference_rows(made) for part in row),
        *(part for row in wording_contexts.limits(made) for part in row),
        *wording_contexts.overlap_sentences(made, ticket.result),
        *(part for row in wording_contexts.about_rows(catalog, made) for part in row),
        made.recipes,
        f"explorer {__version__}",
    ):
        assert said in page.text, said
    assert "Not computed when" not in page.text
    assert "nan" not in page.text.replace("finance", "")


def test_a_query_that_is_not_active_is_said_to_be(catalog, made):
    quiet = replace(made, inactive=frozenset({MARKUP[0]}))
    said = wording_contexts.inactive_sentence(quiet, MARKUP[0])
    assert said
    assert said in Page(contexts_page(catalog, quiet, query=MARKUP[0])).text


def test_a_long_list_of_edges_is_cut_and_said(catalog, made, monkeypatch):
    monkeypatch.setattr(portable_contexts, "MOST_EDGES", 3)
    page = Page(contexts_page(catalog, made, query=MARKUP[0]))
    assert "The first 3 are listed here" in page.text
    assert held_tables.edge_table(made.report, at_least=1).filter(pl.col("known") != "").height > 0
