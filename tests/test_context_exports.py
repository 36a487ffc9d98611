"""What can be taken away: every table, every figure, each saying how it was made and under which conditions."""

import io
import json
import shlex
import zipfile

import polars as pl
import pytest
import verdicts

from explorer import held
from explorer.catalog import open_catalog
from explorer.cli import main
from explorer.context_exports import contexts_text, figures, figures_zip, labelled_csv, tables, tables_zip
from explorer.held import HeldView, start_overlaps, start_report
from explorer.held_tables import edge_table
from explorer.map_card import CATALOG
from explorer.portable_contexts import command_line
from explorer.work import Workshop

VIEW = HeldView("toy", "alpha", ("beta",), "raw", "raw", "latent", "none")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return open_catalog(verdicts.write_catalog(tmp_path_factory.mktemp("exports")))


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
    return ticket.result


def files_of(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def test_what_is_not_finished_is_left_out(catalog, made):
    assert set(tables(catalog, made)) == {"edges", "labels"}
    assert set(figures(catalog, made)) == {"labels"}
    assert json.loads(contexts_text(catalog, made))["overlaps"] == []


def test_every_line_says_how_it_was_made(made):
    table = edge_table(made.report, at_least=1)
    read = pl.read_csv(io.StringIO(labelled_csv(table, made)))
    assert read.height == table.height
    assert set(read["recipes"]) == {made.recipes}
    assert set(read["conditions of alpha"]) == {made.passport.sentence}
    assert set(read["conditions of beta"]) == {made.comparisons[0].other.sentence}
    assert set(read.select("dataset", "context", "others", "representation", "align").iter_rows()) == {
        ("toy", "alpha", "beta", "raw", "none")
    }


def test_a_column_of_the_same_name_is_kept(made):
    table = pl.DataFrame({"context": ["of the table"]})
    read = pl.read_csv(io.StringIO(labelled_csv(table, made)))
    assert (read["context"][0], read["context asked"][0]) == ("of the table", "alpha")


def test_everything(catalog, made):
    ticket = start_overlaps(catalog, VIEW)
    assert ticket.wait(60)
    every = files_of(tables_zip(catalog, made, query="G000"))
    assert set(every) == {"neighbours.csv", "edges.csv", "labels.csv", "overlap.csv"}
    neighbours = pl.read_csv(every["neighbours.csv"])
    assert set(neighbours["query"]) == {"G000"}
    assert pl.read_csv(every["edges.csv"]).height == made.report.labels.height
    drawn = files_of(figures_zip(catalog, made))
    assert set(drawn) == {
        f"{name}.{kind}" for name in ("labels", "adjusted-overlap", "raw-overlap") for kind in ("svg", "png")
    }
    assert b"alpha cells" in drawn["labels.svg"], "the conditions stand above the figure"
    found = json.loads(contexts_text(catalog, made))
    assert found["n_edges"] == made.report.edges.height
    assert len(found["overlaps"]) == 1
    assert tables_zip(catalog, made) == tables_zip(catalog, made)


def test_json_is_what_the_command_line_prints(catalog, made, capsys):
    assert start_overlaps(catalog, VIEW).wait(60)
    command = shlex.split(command_line(catalog, made, "G000").replace(CATALOG, str(catalog.dataset("toy").path.parent)))
    assert command[:2] == ["explorer", "contexts"]
    assert main([*command[1:], "--json"]) in (0, None)
    assert json.loads(contexts_text(catalog, made)) == json.loads(capsys.readouterr().out)
