"""The card: what it says, and what it refuses."""

import os
from pathlib import Path

import pytest
from files import CARD, PAYLOADS, changed, toml_of, write_card

from explorer.card import cautions_about, inside, is_knowledge, read_card, read_knowledge_card, read_toml
from explorer.errors import InputError
from explorer.screen import Roles

KNOWLEDGE = {
    "kind": "relationships",
    "title": "Known",
    "relationships": {"Reactome": {"file": "reactome.parquet", "license": "CC0", "citation": "R"}},
    "gene_sets": {"GO": {"file": "go.gmt", "license": "CC BY 4.0", "citation": "G"}},
}


def test_all_that_a_card_says(tmp_path):
    changes = {
        "description": "What.",
        "provenance": "How.",
        "relationships": "known",
        "layouts": "layouts.parquet",
        "defaults": {"context": "cells", "query": "TP53", "left": "raw", "right": "latent", "align": "none", "k": 20},
        "examples": [{"query": "TP53", "context": "cells", "text": "look"}],
        "cautions": [{"text": "thin", "perturbations": ["TP53", "MDM2"]}, {"text": "old", "perturbations": ["MDM2"]}],
        "roles/keep_controls": True,
        "roles/guide": "sgRNA",
        "roles/group": ["arm", "row"],
        "roles/replicates": True,
        "contexts/cells/time": "48 h",
        "contexts/cells/features": "genes",
        "representations/again": {"kind": "learned", "source": "a.npy", "seed_of": "latent", "trained": "so"},
        "representations/noise": {"kind": "placebo", "source": "n.npy", "of": "raw", "description": "noise"},
    }
    card = read_card(write_card(tmp_path, changes))
    assert cautions_about(card.cautions, "TP53", ["MDM2", "RB1"]) == [
        "distrust this neighbourhood: TP53 is thin",
        "distrust among the neighbours MDM2 (thin)",
        "distrust among the neighbours MDM2 (old)",
    ]
    assert cautions_about(card.cautions, "RB1", ["E2F1"]) == []
    assert (card.title, card.license, card.citation) == ("Toy", "CC0", "none")
    assert (card.description, card.provenance) == ("What.", "How.")
    assert (card.relationships, card.layouts) == ("known", "layouts.parquet")
    assert card.defaults == {
        "context": "cells", "query": "TP53", "left": "raw", "right": "latent", "align": "none", "k": "20",
    }  # fmt: skip
    assert [(example.query, example.context, example.text) for example in card.examples] == [("TP53", "cells", "look")]
    assert card.roles == Roles(
        perturbation="gene", control=("non-targeting",), keep_controls=True, batch="plate", guide="sgRNA",
        group=("arm", "row"), replicates=True,
    )  # fmt: skip
    assert card.contexts["cells"].context.sentence == "toy cells · 48 h"
    assert card.contexts["cells"].features == "genes"
    assert list(card.representations) == ["raw", "latent", "again", "noise"]
    assert card.representations["again"].seed_of == "latent"
    assert card.representations["again"].trained == "so"
    assert card.representations["noise"].of == "raw"
    assert card.representations["noise"].kind == "placebo"


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        ("DMSO", {"control": ("DMSO",)}),
        (["DMSO", "empty"], {"control": ("DMSO", "empty")}),
        ({"column": "is_control"}, {"control_column": "is_control"}),
        (None, {}),
    ],
)
def test_controls(tmp_path, control, expected):
    changes = {"roles/batch": None, "roles/control": control}
    assert read_card(write_card(tmp_path, changes)).roles == Roles(perturbation="gene", **expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"titel": "x"}, r"unknown key 'titel': did you mean 'title'\?"),
        ({"roles/perturbatoin": "gene"}, r"\[roles\]: unknown key 'perturbatoin': did you mean 'perturbation'\?"),
        ({"contexts/cells/row": "x"}, r"\[contexts.cells\]: unknown key 'row': did you mean 'rows'"),
        ({"representations/raw/sauce": "X"}, r"\[representations.raw\]: unknown key 'sauce': did you mean 'source'\?"),
        ({"defaults": {"contex": "x"}}, r"\[defaults\]: unknown key 'contex': did you mean 'context'"),
        ({"examples": [{"query": "a", "txt": "b"}]}, r"\[\[examples\]\]: unknown key 'txt': did you mean 'text'"),
        ({"roles/control": {"colum": "x"}}, r"\[roles\] control: unknown key 'colum': did you mean 'column'\?"),
        ({"representations/raw/kind": "learnt"}, r"unknown kind 'learnt': did you mean 'learned'\?"),
        ({"representations/raw/kind": None}, r"\[representations.raw\]: 'kind' is missing; add kind = "),
        ({"representations/raw/source": "  "}, r"\[representations.raw\]: 'source' is missing"),
        ({"contexts/cells/rows": None}, r"\[contexts.cells\]: 'rows' is missing"),
        ({"title": None}, r"'title' is missing; add title = "),
        ({"license": None}, "'license' is missing"),
        ({"citation": None}, "'citation' is missing"),
        ({"title": 5}, "'title' is '5', expected text in quotes"),
        ({"roles": None}, r"the table \[roles\] is missing"),
        ({"roles": "gene"}, r"the table \[roles\] is missing"),
        ({"roles/perturbation": None}, r"\[roles\]: 'perturbation' is missing"),
        ({"roles/control": 5}, r"\[roles\]: 'control' is '5', expected text in quotes or a list"),
        ({"roles/control": [1, 2]}, r"\[roles\]: 'control' is '\[1, 2\]', expected text in quotes or a list"),
        ({"roles/group": True}, r"\[roles\]: 'group' is 'True', expected text in quotes or a list"),
        ({"roles/keep_controls": "yes"}, "'keep_controls' is 'yes', expected true or false"),
        ({"contexts": None}, r"name at least one \[contexts.NAME\]"),
        ({"contexts": {}}, r"name at least one \[contexts.NAME\]"),
        ({"representations": 3}, r"name at least one \[representations.NAME\]"),
        ({"contexts": {"cells": "rows.parquet"}}, r"\[contexts.cells\] is not a table"),
        ({"examples": "TP53"}, r"write each of 'examples' as \[\[examples\]\]"),
        ({"examples": ["TP53"]}, r"write each of 'examples' as \[\[examples\]\]"),
        (
            {"representations/raw/saw": ["cels"]},
            r"\[representations.raw\]: unknown context 'cels': did you mean 'cells'",
        ),
        ({"representations/raw/saw": ["a/b/c"]}, "another dataset's as DATASET/CONTEXT"),
        ({"representations/raw/saw": 3}, r"\[representations.raw\]: 'saw' is '3', expected text in quotes or a list"),
    ],
)
def test_refused(tmp_path, changes, message):
    write_card(tmp_path / "toy", changes)
    with pytest.raises(InputError, match=message) as caught:
        read_card(tmp_path / "toy")
    assert str(caught.value).startswith("toy/card.toml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("saw", "expected"),
    [(None, None), ([], ()), ("cells", ("cells",)), (["cells", "other/skin", "cells"], ("cells", "other/skin"))],
)
def test_what_a_representation_was_made_from(tmp_path, saw, expected):
    card = read_card(write_card(tmp_path, {"representations/raw/saw": saw}))
    assert card.representations["raw"].saw == expected


@pytest.mark.parametrize("table", ["contexts", "representations"])
@pytest.mark.parametrize("name", [*PAYLOADS, "../up", "a/b", ".hidden", "-x", "", "x" * 81, "a\\b"])
def test_names_that_travel_in_links_are_plain(tmp_path, table, name):
    entry = {"rows": "rows.parquet"} if table == "contexts" else {"kind": "simple", "source": "X"}
    write_card(tmp_path, {table: {name: entry}})
    with pytest.raises(
        InputError, match=r"can't be used: letters, digits, space, \. _ \+ - only, 80 at most"
    ) as caught:
        read_card(tmp_path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["U2OS 48 h", "pca-32", "v1.0_b+c", "X", "x" * 80])
def test_plain_names_are_taken(tmp_path, name):
    assert list(read_card(write_card(tmp_path, {"contexts": {name: {"rows": "r.csv"}}})).contexts) == [name]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't read toy/card.toml: No such file"),
        (b"", r"toy/card.toml: name at least one \[contexts.NAME\]"),
        (b"title = 'a'\nlicense = \nx = 1", r"toy/card.toml is not valid TOML: .*line 2"),
        (b"title = 'a'\ntitle = 'b'", "not valid TOML"),
        (b"\xff\xfe\x00", "toy/card.toml is not valid TOML: .*utf-8"),
        (b"PK\x03\x04", "not valid TOML"),
    ],
)
def test_files_that_are_no_card(tmp_path, content, message):
    folder = tmp_path / "toy"
    folder.mkdir()
    if content is not None:
        (folder / "card.toml").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_card(folder)
    assert "\n" not in str(caught.value)


def test_a_card_that_is_a_folder(tmp_path):
    (tmp_path / "card.toml").mkdir()
    with pytest.raises(InputError, match=r"can't read .*/card.toml: it is not a file"):
        read_toml(tmp_path / "card.toml")


def test_knowledge_card(tmp_path):
    (tmp_path / "card.toml").write_text(toml_of(KNOWLEDGE))
    card = read_knowledge_card(tmp_path)
    assert is_knowledge(tmp_path)
    assert [(source.name, source.file, source.license) for source in (*card.relationships, *card.gene_sets)] == [
        ("Reactome", "reactome.parquet", "CC0"),
        ("GO", "go.gmt", "CC BY 4.0"),
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"relationships/Reactome/file": None}, r"\[relationships.Reactome\]: 'file' is missing"),
        ({"relationships/Reactome/license": None}, "'license' is missing"),
        ({"gene_set": {}}, "unknown key 'gene_set': did you mean 'gene_sets'"),
        ({"title": None}, "'title' is missing"),
    ],
)
def test_knowledge_card_refused(tmp_path, changes, message):
    (tmp_path / "card.toml").write_text(toml_of(changed(KNOWLEDGE, changes)))
    with pytest.raises(InputError, match=message):
        read_knowledge_card(tmp_path)


def test_a_dataset_is_not_knowledge(tmp_path):
    assert not is_knowledge(write_card(tmp_path, card=CARD))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "outside.parquet").write_bytes(b"secret")
    folder = tmp_path / "toy"
    (folder / "below").mkdir(parents=True)
    for name in ("rows.parquet", "below/deep.parquet", "Zellen é.parquet"):
        (folder / name).write_bytes(b"")
    (folder / "link").symlink_to(folder / "rows.parquet")
    (folder / "out").symlink_to(tmp_path / "outside.parquet")
    (folder / "up").symlink_to(tmp_path)
    (folder / "loop").symlink_to(folder / "loop")
    return folder


@pytest.mark.parametrize(
    "name", ["rows.parquet", "below/deep.parquet", "below/../rows.parquet", "link", "Zellen é.parquet"]
)
def test_files_inside(folder, name):
    assert inside(folder, name).is_relative_to(folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../outside.parquet", "must lie inside the dataset's folder"),
        ("below/../../outside.parquet", "must lie inside the dataset's folder"),
        ("/etc/passwd", "must lie inside the dataset's folder"),
        ("out", "must lie inside the dataset's folder"),
        ("up/outside.parquet", "must lie inside the dataset's folder"),
        (".", "must lie inside the dataset's folder"),
        ("", "must lie inside the dataset's folder"),
        ("../toy-2/rows.parquet", "must lie inside the dataset's folder"),
        ("loop", "can't be opened: check the name"),
        ("null\0byte", "can't be opened: check the name"),
        ("x" * 5000, "can't be opened: check the name"),
        ("row.parquet", r"unknown file 'row.parquet': did you mean 'rows.parquet'\?"),
        ("<img src=x>\x1b[0m", r"unknown file '<img src=x>\\x1b\[0m'"),
    ],
)
def test_files_that_are_not_inside(folder, name, message):
    with pytest.raises(InputError, match=message) as caught:
        inside(folder, name)
    assert str(caught.value).isprintable()
    assert os.fspath(folder.parent) not in str(caught.value)


@pytest.mark.parametrize("names", ["TP53", [], [1, 2]])
def test_a_caution_names_perturbations(tmp_path, names):
    folder = write_card(tmp_path, {"cautions": [{"text": "thin", "perturbations": names}]})
    with pytest.raises(InputError, match=r"'perturbations' is .*, expected a list of names in quotes"):
        read_card(folder)
