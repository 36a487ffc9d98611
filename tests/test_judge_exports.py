"""What can be taken away: every table, every figure, each saying how it was made."""

import io
import zipfile
from dataclasses import replace

import polars as pl
import pytest
import verdicts
from verdicts import VIEW

from explorer.catalog import open_catalog
from explorer.judge_details import grid_of, start_budget, start_checks
from explorer.judge_exports import figures, figures_zip, labelled_csv, tables, tables_zip
from explorer.judged import start_judging
from explorer.passport import passport_of

pytestmark = pytest.mark.usefixtures("own_workshop")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return open_catalog(verdicts.write_catalog(tmp_path_factory.mktemp("exports")))


@pytest.fixture
def found(catalog):
    ticket = start_judging(catalog, VIEW)
    assert ticket.wait(60)
    return ticket.result


def names_in(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return archive.namelist()


def test_what_is_not_finished_is_left_out(catalog, found):
    assert set(tables(catalog, found)) == {"differences", "recall-by-source", "groups", "what-would-change-it"}
    assert set(figures(catalog, found)) == {"differences", "recall-by-source"}


def test_everything(catalog, found):
    for ticket in (start_budget(catalog, VIEW), start_checks(catalog, VIEW), grid_of(catalog, VIEW, begin=True)):
        assert ticket.wait(60)
    assert set(names_in(tables_zip(catalog, found))) == {
        f"{name}.csv"
        for name in ("differences", "recall-by-source", "groups", "what-would-change-it", "budget-curve", "strata",
                     "replicates", "disagreement", "calibration", "technical-noise", "attribution")
    }  # fmt: skip
    drawn = set(figures(catalog, found))
    assert drawn >= {"differences", "recall-by-source", "budget-curve", "strata", "calibration", "attribution"}
    assert tables_zip(catalog, found) == tables_zip(catalog, found), "equal content is equal bytes"


def test_figures_are_svg_and_png(catalog, found):
    assert names_in(figures_zip(catalog, found)) == [
        "differences.svg", "differences.png", "recall-by-source.svg", "recall-by-source.png",
    ]  # fmt: skip


def test_a_table_says_how_it_was_made_on_every_line(catalog, found):
    table = pl.DataFrame({"budget": [1, 2], "value": [0.5, None]})
    written = pl.read_csv(labelled_csv(table, found, catalog=catalog).encode())
    assert written["budget"].to_list() == [1, 2]
    assert written["budget judged"].to_list() == [100, 100]
    assert written["dataset"].to_list() == ["toy", "toy"]
    assert written["recipes"][0].count(".") == 1
    assert written["conditions"].to_list() == 2 * [passport_of(catalog.dataset("toy"), "alpha").sentence]
    assert labelled_csv(table[:0], found, catalog=catalog).startswith("budget,value,")


def test_another_view_is_another_file(catalog, found):
    other = replace(found, view=replace(VIEW, align="center"))
    table = pl.DataFrame({"value": [1]})
    assert labelled_csv(table, found, catalog=catalog) != labelled_csv(table, other, catalog=catalog)
