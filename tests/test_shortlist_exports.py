"""What can be taken away of a list: every table and figure with how it was made; of a comparison nothing that tells."""

import io
import json
import zipfile

import listed_toys
import polars as pl
import pytest
from listed_toys import evidence_of, made_of

from explorer.shortlist_exports import (
    figures,
    figures_zip,
    labelled_csv,
    list_text,
    rows_left_out,
    tables,
    tables_zip,
)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return listed_toys.open_toy(tmp_path_factory.mktemp("exports"))


@pytest.fixture(scope="module")
def made(catalog):
    return made_of(catalog, budget=12, sources=("Pairs", "Sets"))


@pytest.fixture(scope="module")
def blind(catalog):
    return made_of(catalog, mode="compare")


@pytest.fixture(scope="module")
def evidence(catalog, made):
    return evidence_of(catalog, made)


def files_of(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def test_every_line_says_how_it_was_made(made, evidence):
    table = tables(made, evidence)["list"]
    read = pl.read_csv(io.StringIO(labelled_csv(table, made)))
    assert read.height == 12
    assert set(read["recipes"]) == {made.found.recipes}
    assert set(read["conditions of beta"]) == {made.found.conditions["beta"]}
    assert set(read["distrust"]) == {""}
    assert set(read["mode"]) == {"discover"}


def test_everything(made, evidence):
    every = files_of(tables_zip(made, evidence))
    assert set(every) == {"list.csv", "expectation.csv", "annotated-apart.csv", "expected-along-the-list.csv"}
    assert pl.read_csv(every["list.csv"])["first"].to_list() == made.found.rows["first"].to_list()
    drawn = files_of(figures_zip(made))
    assert set(drawn) == {f"{name}.{kind}" for name in ("both-maps", "expected-hits") for kind in ("svg", "png")}
    assert b"alpha cells" in drawn["both-maps.svg"], "the conditions stand above the figure"
    found = json.loads(list_text(made, evidence))
    assert len(found["pairs"]) == 12
    assert found["pairs"][0]["simple support"] is not None
    assert found["plan"]["align"] == "none"
    assert tables_zip(made, evidence) == tables_zip(made, evidence)


def test_of_a_comparison_nothing_tells(blind):
    assert figures(blind) == {}
    every = files_of(tables_zip(blind))
    assert set(every) == {"list.csv", "expectation.csv"}
    read = pl.read_csv(every["list.csv"])
    assert read.select("first", "second").rows() == sorted(blind.found.rows.select("first", "second").rows())
    assert not {"proposer", "score", "known rate", "simple rank"} & set(read.columns)
    text = list_text(blind)
    assert "proposer" not in text
    assert "score" not in json.dumps(json.loads(text)["pairs"])
    assert len(json.loads(text)["pairs"]) == blind.found.rows.height


def test_what_is_left_out_is_said():
    assert rows_left_out(10, 10) == ""
    assert rows_left_out(11, 10) == "The first 10 of 11 pairs; all are in the tables."
