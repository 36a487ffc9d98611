"""The command line: exact contracts, and one line of what to do where the input can't be used."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import anndata
import h5py
import numpy as np
import polars as pl
import pytest
import toys
from files import (
    CONTROL,
    FORMATS,
    LABELS,
    LATENT,
    N_ROWS,
    PAYLOADS,
    PERTURBATIONS,
    RAW,
    STORED_FORMATS,
    TABLE_FORMATS,
    feature_table,
    observations,
    toml_of,
    toy_anndata,
    write_anndata,
    write_card,
    write_dataset,
    write_format,
    write_table,
)

from explorer import __version__, cli, memory
from explorer.activity import measure_activity
from explorer.align import METHODS
from explorer.cli import main
from explorer.load import load_dataset, load_screen
from explorer.relate import Neighborhood
from explorer.side_activity import SideActivity
from explorer.wording import activity_sentence


@pytest.fixture
def run(capsys):
    """Run the command line in this process: exit status, standard output, standard error."""

    def call(*arguments):
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def toy(tmp_path):
    folder = write_dataset(tmp_path / "toy", {"relationships": "known"})
    (tmp_path / "known").mkdir()
    source = {"file": "pairs.csv", "license": "CC0", "citation": "none"}
    card = {"kind": "relationships", "title": "Known", "relationships": {"Reactome": source}}
    (tmp_path / "known" / "card.toml").write_text(toml_of(card))
    write_table(tmp_path / "known" / "pairs.csv", pl.DataFrame({"a": ["TP53"], "b": ["MDM2"]}))
    return folder


def command(*arguments, **options):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **options.pop("environment", {})}
    return subprocess.run(
        [sys.executable, "-m", "explorer.cli", *map(str, arguments)],
        capture_output=True,
        env=environment,
        timeout=120,
        check=False,
        **options,
    )


def side_of(path, query, representation, alignment="none"):
    """A query's activity, as the package measures it."""
    activity = measure_activity(load_screen(load_dataset(path)), representation, alignment=alignment)
    return SideActivity(representation, activity.of(query), "")


# What is said.


@pytest.mark.parametrize("query", ["RPL5", "NDUFV2"])
def test_neighbors_of_the_demo_are_those_of_ten_lines_of_numpy(run, demo, query):
    table = pl.read_parquet(demo / "depmap" / "skin.parquet")
    values = table.drop("gene", "nonessential").to_numpy().astype(np.float64)
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    names = table["gene"].to_list()
    cosines = unit @ unit[names.index(query)]
    cosines[names.index(query)] = -np.inf
    order = np.argsort(-cosines)[:10]
    status, out, _ = run("neighbors", demo / "depmap", query, "--representation", "raw", "--context", "skin", "--json")
    found = json.loads(out)["neighbors"]
    assert status == 0
    assert [neighbor["perturbation"] for neighbor in found] == [names[row] for row in order]
    np.testing.assert_allclose([neighbor["similarity"] for neighbor in found], cosines[order], atol=1e-5)


def refuse_constants(name):
    pytest.fail(f"{name} is not JSON")


def test_json_of_neighbors(run, toy):
    status, out, err = run("neighbors", toy, "TP53", "--representation", "latent", "-k", "5", "--json")
    found = json.loads(out, parse_constant=refuse_constants)
    assert (status, err) == (0, "")
    assert list(found) == ["query", "representation", "context", "conditions", "fingerprint", "active", "neighbors"]
    assert (found["query"], found["representation"], found["context"]) == ("TP53", "latent", "cells")
    assert len(found["fingerprint"]) == 12
    side = side_of(toy, "TP53", "latent")
    assert list(found["active"]) == [
        "verdict", "p", "q", "basis", "magnitude", "magnitude_p", "n_replicates", "consistency", "consistency_p",
        "mean_average_precision", "normalized_average_precision", "precision_p", "shared_position",
    ]  # fmt: skip
    assert found["active"].pop("verdict") == side.verdict
    for name, value in found["active"].items():
        measured = getattr(side.found, name)
        assert value == (None if isinstance(measured, float) and np.isnan(measured) else measured)
    assert [neighbor["rank"] for neighbor in found["neighbors"]] == [1, 2, 3, 4, 5]
    assert {neighbor["perturbation"] for neighbor in found["neighbors"]} == set(PERTURBATIONS) - {"TP53"}
    for neighbor in found["neighbors"]:
        assert list(neighbor) == ["rank", "perturbation", "similarity", "known"]
        assert isinstance(neighbor["similarity"], float)
        assert neighbor["known"] == (["Reactome"] if neighbor["perturbation"] == "MDM2" else [])
    similarities = [neighbor["similarity"] for neighbor in found["neighbors"]]
    assert similarities == sorted(similarities, reverse=True)


def test_text_of_neighbors_says_the_same(run, toy):
    arguments = ("neighbors", toy, "TP53", "--representation", "raw", "--align", "center", "-k", "3")
    found = json.loads(run(*arguments, "--json")[1])
    status, out, err = run(*arguments)
    recipe, verdict, conditions, head, *lines = out.splitlines()
    assert (status, err) == (0, run(*arguments, "--json")[2])
    assert verdict == activity_sentence("TP53", [side_of(toy, "TP53", "raw", "center")])
    assert recipe.endswith(
        f"alignment center; mean (rows to guides, where there are any, to perturbations); recipe {found['fingerprint']}"
    )
    assert conditions == f"cells: {found['conditions']}"
    assert conditions.endswith("8 non-targeting rows · layout not declared")
    assert head.split() == ["rank", "similarity", "perturbation", "known"]
    for line, neighbor in zip(lines, found["neighbors"], strict=True):
        assert line.split() == [
            str(neighbor["rank"]), f"{neighbor['similarity']:.4f}", neighbor["perturbation"], *neighbor["known"],
        ]  # fmt: skip


def test_opposite_neighbors(run, toy):
    arguments = ("neighbors", toy, "TP53", "--representation", "raw", "-k", "5", "--json")
    similar = [neighbor["perturbation"] for neighbor in json.loads(run(*arguments)[1])["neighbors"]]
    opposite = [neighbor["perturbation"] for neighbor in json.loads(run(*arguments, "--opposite")[1])["neighbors"]]
    assert opposite == similar[::-1]


@pytest.mark.parametrize("alignment", METHODS)
def test_every_alignment(run, toy, alignment):
    status, out, _ = run(
        "neighbors", toy, "TP53", "--representation", "latent", "--align", alignment, "-k", "2", "--json"
    )
    assert status == 0
    assert len(json.loads(out)["neighbors"]) == 2


def test_roles_of_a_single_file_are_found_and_said(run, toy):
    status, out, err = run("neighbors", toy / "rows.parquet", "TP53", "--representation", "X", "-k", "2", "--json")
    assert status == 0
    assert json.loads(out)["context"] == "all"
    assert err.splitlines() == [
        "note: perturbation is taken to be the column 'gene'",
        "note: batch is taken to be the column 'plate'",
        f"note: controls are taken to be the rows labelled '{CONTROL}'",
    ]


def test_roles_given(run, tmp_path):
    table = feature_table(observations(), RAW).rename({"gene": "symbol", "plate": "lane"})
    path = write_table(tmp_path / "rows.tsv", table)
    roles = ("--perturbation", "symbol", "--control", CONTROL, "--control", "TP53", "--batch", "lane", "--guide", "row")
    status, out, err = run("check", path, *roles, "--json")
    (context,) = json.loads(out)["datasets"][0]["contexts"]
    assert (status, err) == (0, "")
    assert context["controls"] == LABELS.count(CONTROL) + LABELS.count("TP53")


@pytest.mark.parametrize("form", FORMATS)
def test_check_of_every_format(run, tmp_path, form):
    folder = write_format(tmp_path / "toy", form)
    status, out, err = run("check", folder, "--json")
    (dataset,) = json.loads(out, parse_constant=refuse_constants)["datasets"]
    assert (status, err) == (0, "")
    assert list(dataset) == [
        "name", "title", "license", "notes", "contexts", "confounding", "relationships", "gene_sets",
    ]  # fmt: skip
    (context,) = dataset["contexts"]
    assert dataset["confounding"] == []
    assert context["conditions"] == context["passport"]["sentence"]
    assert context["passport"]["batches"] == "2 batches"
    assert (context["rows"], context["perturbations"], context["controls"]) == (N_ROWS, len(PERTURBATIONS), 8)
    described = [
        (entry["name"], entry["kind"], entry["features"], entry["excluded"]) for entry in context["representations"]
    ]
    assert described == [("raw", "simple", 5, ""), ("scaled", "simple", 5, ""), ("latent", "learned", 3, "")]
    text = run("check", folder)[1]
    assert "toy: Toy (CC0)" in text
    assert "learned  latent: 3 features" in text


@pytest.mark.parametrize("form", [*STORED_FORMATS, *TABLE_FORMATS])
def test_check_of_single_files(run, tmp_path, form):
    folder = write_format(tmp_path / "toy", form)
    path = folder / f"rows.{form.split('.')[1] if form in STORED_FORMATS else form}"
    status, out, err = run("check", path)
    assert (status, err) == (0, "")
    assert "note: perturbation is taken to be the column 'gene'" in out
    assert f"context all: {N_ROWS} rows, {len(PERTURBATIONS)} perturbations, 8 control rows" in out


def test_check_makes_no_table_and_says_where_a_map_has_no_room(run, toy, monkeypatch):
    monkeypatch.setattr(memory, "MOST_UNASKED_BYTES", 0)
    monkeypatch.setattr(memory, "free_bytes", lambda: 0)
    status, out, err = run("check", toy)
    assert (status, err) == (0, "")
    assert "features; no map can be made on this machine: a table of 6 perturbations × 5 features needs 0 MiB" in out
    status, out, err = run("neighbors", toy, *NEIGHBORS)
    assert (status, out) == (2, "")
    assert err.startswith("explorer: a table of ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("said", "message"), [("", "not enough memory"), ("Unable to\nallocate", "not enough memory: Unable to allocate")]
)
def test_too_little_memory_is_one_line(run, toy, monkeypatch, said, message):
    def fail(*_, **__):
        raise MemoryError(said)

    monkeypatch.setattr(cli, "build_map", fail)
    assert run("neighbors", toy, *NEIGHBORS) == (2, "", f"explorer: {message}\n")


def test_each_broken_dataset_of_a_catalog_has_a_line(run, tmp_path):
    for name in ("one", "two", "good"):
        write_dataset(tmp_path / "catalog" / name, {} if name == "good" else {"titel": "x"})
    status, out, err = run("check", tmp_path / "catalog")
    assert status == 2
    assert out.startswith("good: ")
    assert err.splitlines() == [
        f"explorer: {name}/card.toml: unknown key 'titel': did you mean 'title'?" for name in ("one", "two")
    ]


def test_check_of_an_embedding_of_other_perturbations_reports_the_rest(run, tmp_path):
    prior = {"kind": "learned", "source": "prior.csv", "saw": []}
    folder = write_dataset(tmp_path / "catalog" / "toy", {"representations/prior": prior})
    write_table(folder / "prior.csv", pl.DataFrame({"symbol": ["tp53", "mdm2", "rpl5"], "x": [1.0, 2.0, 3.0]}))
    for path, said in ((folder, ""), (folder.parent, "toy: ")):
        status, out, err = run("check", path)
        assert status == 2
        assert err.startswith(f"explorer: {said}'prior.csv' and the screen share no perturbation, expected 3 or more")
        assert err.count("\n") == 1
        assert "    learned  latent: " in out
        assert "    learned  prior: 1 feature; 'prior.csv' and the screen share no perturbation" in out


@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_a_dataset_that_fails_when_it_is_read_is_named_and_keeps_nobody_from_the_others(run, tmp_path, as_json):
    for name in ("apart", "broken", "card", "zeal"):
        write_dataset(tmp_path / "catalog" / name, {"titel": "x"} if name == "card" else {})
    (tmp_path / "catalog" / "broken" / "rows.parquet").write_bytes(b"no table")
    status, out, err = run("check", tmp_path / "catalog", *as_json)
    assert status == 2
    if as_json:
        assert [report["name"] for report in json.loads(out)["datasets"]] == ["apart", "zeal"]
    else:
        assert [line.split(":")[0] for line in out.splitlines() if not line.startswith(" ")] == ["apart", "zeal"]
    lines = err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("explorer: card/card.toml: unknown key")
    assert lines[1].startswith("explorer: broken: ")
    assert "rows.parquet" in lines[1]
    # Alone it is the path that was given, which needs no name.
    assert_one_line(*run("check", tmp_path / "catalog" / "broken", *as_json), "^explorer: (?!broken)")


def test_the_only_representation_need_not_be_named(run, tmp_path):
    path = tmp_path / "rows.csv"
    lines = [
        f"{name},{value},{value**2}" for value, name in enumerate(["MDM2", "TP53", "MYC", "ATM", "CHEK2"], start=1)
    ]
    path.write_text("\n".join(["gene,a,b", *lines, ""]))
    status, out, err = run("neighbors", path, "TP53", "-k", "3")
    assert status == 0, err
    assert "note: the representation is " in err
    name = re.search(r"note: the representation is '(.*)', the only one", err)[1]
    assert run("neighbors", path, "TP53", "-k", "3", "--representation", name)[:2] == (0, out)


def test_one_of_anything_is_singular(run, tmp_path):
    path = tmp_path / "one.csv"
    path.write_text("gene,a\nTP53,1.5\n")
    status, out, _ = run("check", path)
    assert status == 0
    assert "1 row, 1 perturbation, 0 control rows" in out
    assert "1 feature\n" in out


def test_check_of_the_demo(run, demo):
    status, out, err = run("check", demo, "--json")
    assert (status, err) == (0, "")
    (depmap,) = (
        entry for entry in json.loads(out, parse_constant=refuse_constants)["datasets"] if entry["name"] == "depmap"
    )
    assert [context["perturbations"] for context in depmap["contexts"]] == [3465, 3465]
    assert [context["controls"] for context in depmap["contexts"]] == [1679, 1679]
    assert depmap["relationships"] == {"Reactome": 6272, "HuMAP": 16448, "StringDB": 23762}
    assert depmap["gene_sets"] == {"GO biological process": 4317}
    assert not any(entry["excluded"] for context in depmap["contexts"] for entry in context["representations"])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_noted(run, toy, bad):
    spoilt = np.where((np.array(LABELS) == "MDM2")[:, None], bad, RAW).astype(np.float32)
    write_table(toy / "rows.parquet", feature_table(observations(), spoilt))
    status, out, err = run("neighbors", toy, "TP53", "--representation", "raw", "-k", "4", "--json")
    assert status == 0
    assert "MDM2" not in out
    assert err.splitlines()[0] == "note: 3 rows with NaN or infinite values left out: 'MDM2'"
    assert "note: 3 rows" not in err.split("\n", 1)[1]
    status, out, err = run("check", toy)
    assert (status, err) == (0, "")
    assert "5 features; 3 rows with NaN or infinite values left out: 'MDM2'" in out


def test_a_similarity_that_is_no_number_is_null(run, toy, monkeypatch):
    undefined = Neighborhood("TP53", PERTURBATIONS[:2], np.arange(2), np.array([np.nan, -np.inf]))
    monkeypatch.setattr(cli, "neighborhood", lambda *_, **__: undefined)
    out = run("neighbors", toy, "TP53", "--representation", "raw", "--json")[1]
    neighbors = json.loads(out, parse_constant=refuse_constants)["neighbors"]
    assert [neighbor["similarity"] for neighbor in neighbors] == [None, None]


@pytest.mark.parametrize("payload", [*PAYLOADS, "x" * 10_000])
def test_names_are_data_and_never_reach_the_terminal_raw(run, tmp_path, payload):
    labels = [payload if label == "TP53" else label for label in LABELS]
    path = write_table(
        tmp_path / "rows.parquet", feature_table(observations().with_columns(gene=pl.Series(labels)), RAW)
    )
    found = json.loads(run("neighbors", path, payload, "--representation", "X", "-k", "5", "--json")[1])
    assert found["query"] == payload
    assert payload in [
        neighbor["perturbation"]
        for neighbor in json.loads(run("neighbors", path, "MDM2", "--representation", "X", "-k", "5", "--json")[1])[
            "neighbors"
        ]
    ]
    for query in ("MDM2", payload):
        for arguments in (("-k", "5"), ("-k", "5", "--json")):
            status, out, err = run("neighbors", path, query, "--representation", "X", *arguments)
            assert status == 0
            assert all(character.isprintable() or character == "\n" for character in out + err)
        # The recipe, the verdict, the conditions, the head and five neighbours.
        assert len(run("neighbors", path, query, "--representation", "X", "-k", "5")[1].splitlines()) == 9


@pytest.mark.parametrize("payload", PAYLOADS)
def test_column_names_and_card_texts_are_data(run, tmp_path, payload):
    folder = write_dataset(
        tmp_path / "toy", {"title": payload, "contexts/cells/outcome": payload, "roles/batch": payload}
    )
    write_table(folder / "rows.parquet", feature_table(observations().rename({"plate": payload}), RAW))
    status, out, err = run("check", folder)
    assert (status, err) == (0, "")
    assert len(out.splitlines()) == 4
    assert all(character.isprintable() or character == "\n" for character in out)
    status, out, err = run("neighbors", folder, "TP53", "--representation", "raw", "-k", "2", "--align", "center")
    assert status == 0
    assert all(character.isprintable() or character == "\n" for character in out + err)


# What can't be used. Each case makes a path (and more arguments) and says what the line must say.

NEIGHBORS = ("TP53", "--representation", "raw", "-k", "3")


def dataset(changes=None, *arguments, edit=lambda folder: None):
    def make(folder):
        write_dataset(folder / "toy", changes)
        edit(folder / "toy")
        return folder / "toy", *(arguments or NEIGHBORS)

    return make


def with_payload_folder(payload):
    def make(folder):
        path = folder / payload.replace("/", "-")
        write_dataset(path, {"titel": "x"})
        return path, *NEIGHBORS

    return make


def single(name, content, *arguments):
    def make(folder):
        path = folder / name
        content(path) if callable(content) else path.write_bytes(content)
        return path, *(arguments or ("TP53", "--representation", "X"))

    return make


def cut_h5ad(n_bytes):
    def content(path):
        write_anndata(path, toy_anndata())
        path.write_bytes(path.read_bytes()[:n_bytes])

    return content


def damaged_h5ad(path):
    adata = toy_anndata(csr=True)
    write_anndata(path, adata)
    with h5py.File(path, "r+") as file:
        file["X/indices"][0] = 1000


def cut_parquet(path):
    write_table(path, feature_table(observations(), RAW))
    path.write_bytes(path.read_bytes()[:-20])


def two_perturbations(path):
    write_table(path, feature_table(observations(), RAW).filter(pl.col("gene").is_in(["TP53", "MDM2"])))


def repeated_names(path):
    names = pl.DataFrame({"gene": [*map(str, range(N_ROWS - 1)), "1"]})
    write_table(path, feature_table(names, RAW))


def short_latent(folder):
    write_table(folder / "latent_cells.parquet", feature_table(observations().select("row"), LATENT)[:-1])


def no_card(folder):
    (folder / "card.toml").unlink()


def not_toml(folder):
    (folder / "card.toml").write_text("title = 'a\n")


def all_nan(folder):
    write_table(folder / "rows.parquet", feature_table(observations(), RAW * np.nan))


CASES = {
    "absent path": (lambda folder: (folder / "absent", *NEIGHBORS), "no such path: "),
    "terminal escape in a path": (
        lambda folder: (folder / "\x1b[31m\n", *NEIGHBORS),
        r"no such path: .*\\x1b\[31m\\n'",
    ),
    "huge path": (lambda folder: (folder / ("x" * 10_000), *NEIGHBORS), "File name too long"),
    "empty folder": (lambda folder: (folder, *NEIGHBORS), "is not a dataset: a dataset folder has a card.toml"),
    "unknown ending": (single("a.txt.zip", b"PK"), "can't tell what 'a.txt.zip' is: expected .h5ad"),
    "npy alone": (single("a.npy", b""), "'a.npy' has no row names"),
    "empty h5ad": (single("a.h5ad", b""), "can't open 'a.h5ad': it is not a whole h5ad file; copy or write it again"),
    "h5ad cut in its header": (single("a.h5ad", cut_h5ad(50)), "can't open 'a.h5ad': it is not a whole h5ad file"),
    "h5ad cut in its data": (single("a.h5ad", cut_h5ad(8000)), "can't open 'a.h5ad': it is not a whole h5ad file"),
    "h5ad cut at its end": (single("a.h5ad", cut_h5ad(-1)), "can't open 'a.h5ad': it is not a whole h5ad file"),
    "damaged h5ad": (
        single("a.h5ad", damaged_h5ad),
        "can't read rows 0 to 26 of 'X' in 'a.h5ad': the file is truncated",
    ),
    "h5ad without a matrix": (
        single("a.h5ad", lambda path: write_anndata(path, anndata.AnnData(obs=toy_anndata().obs))),
        "'a.h5ad' holds no matrix: neither X nor layers nor obsm",
    ),
    "cut parquet": (single("a.parquet", cut_parquet), "can't read 'a.parquet': .*is the file whole"),
    "empty parquet": (single("a.parquet", b""), "can't read 'a.parquet': "),
    "empty csv": (single("a.csv", b""), "can't read 'a.csv': "),
    "binary csv": (single("a.csv", b"\xff\xfe\x00,\x80\n"), "can't read 'a.csv': |can't tell which column"),
    "two perturbations": (
        single("a.csv", two_perturbations),
        "at least 3 perturbations with finite profiles, 2 are left",
    ),
    "repeated names": (
        single("a.csv", repeated_names, "1", "--representation", "X"),
        "duplicate perturbation names: '1'",
    ),
    "no card": (dataset(edit=no_card), "'toy' is not a dataset: a dataset folder has a card.toml"),
    "card not TOML": (dataset(edit=not_toml), "toy/card.toml is not valid TOML"),
    "unknown key": (dataset({"titel": "x"}), r"toy/card.toml: unknown key 'titel': did you mean 'title'\?"),
    "unknown kind": (
        dataset({"representations/raw/kind": "learnd"}),
        r"unknown kind 'learnd': did you mean 'learned'\?",
    ),
    "unknown seed_of": (
        dataset({"representations/raw/seed_of": "lat"}),
        r"unknown seed_of 'lat': did you mean 'latent'\?",
    ),
    "unknown default context": (
        dataset({"defaults/context": "cell"}),
        r"unknown context 'cell': did you mean 'cells'\?",
    ),
    "unknown default alignment": (dataset({"defaults/align": "tnv"}), r"unknown alignment 'tnv': did you mean 'tvn'\?"),
    "payload as a context": (
        dataset({"contexts": {PAYLOADS[0]: {"rows": "rows.parquet"}}}),
        "can't be used: letters, dig",
    ),
    "payload as a representation": (
        dataset({"representations": {PAYLOADS[1]: {"kind": "simple", "source": "X"}}}),
        "can't be used: letters, digits",
    ),
    "absent column": (dataset({"roles/batch": "plates"}), r"unknown batch column 'plates': did you mean 'plate'\?"),
    "absent file": (
        dataset({"contexts/cells/rows": "row.parquet"}),
        r"unknown file 'row.parquet': did you mean 'rows.pa",
    ),
    "path with dots": (
        dataset({"contexts/cells/rows": "../rows.parquet"}),
        "files must lie inside the dataset's folder",
    ),
    "absolute path": (
        dataset({"representations/raw/source": "/etc/passwd"}),
        "files must lie inside the dataset's folder",
    ),
    "relationships with a path": (dataset({"relationships": "../toy"}), "give the name alone, without a path"),
    "absent control label": (
        dataset({"roles/control": "NT"}),
        "unknown control label 'NT': choose one of 'BRCA1', 'CHEK2'",
    ),
    "control column of text": (
        dataset({"roles/control": {"column": "plate"}}),
        "holds String, expected true and false",
    ),
    "other rows": (dataset(edit=short_latent), "'latent_cells.parquet' lacks 1 row"),
    "nothing but NaN": (dataset(edit=all_nan), "representation 'raw' has no row of finite numbers to make a map of"),
    "unknown query": (dataset({}, "tp5", *NEIGHBORS[1:]), r"unknown perturbation 'tp5': did you mean 'TP53'\?"),
    "unknown payload query": (dataset({}, PAYLOADS[0], *NEIGHBORS[1:]), "unknown perturbation '<img src=x"),
    "unknown escape query": (dataset({}, "\x1b[31m", *NEIGHBORS[1:]), r"unknown perturbation '\\x1b\[31m'"),
    "huge query": (dataset({}, "x" * 10_000, *NEIGHBORS[1:]), "unknown perturbation 'xxx"),
    "control as query": (dataset({}, CONTROL, *NEIGHBORS[1:]), f"unknown perturbation '{CONTROL}'"),
    "unknown representation": (
        dataset({}, "TP53", "--representation", "rw"),
        r"unknown representation 'rw': did you mean",
    ),
    "unknown context": (
        dataset({}, *NEIGHBORS, "--context", "cell"),
        r"unknown context 'cell': did you mean 'cells'\?",
    ),
    "unknown alignment": (
        dataset({}, *NEIGHBORS, "--align", "centre"),
        r"unknown alignment 'centre': did you mean 'center'",
    ),
    "alignment without controls": (
        dataset({"roles/control": None}, *NEIGHBORS, "--align", "tvn"),
        "no controls to align on",
    ),
    "k = n": (
        dataset({}, *NEIGHBORS, "-k", "6"),
        "k = 6 neighbours can't be had from 6 perturbations: choose k from 1 to 5",
    ),
    "huge k": (
        dataset({}, *NEIGHBORS, "-k", "9" * 30),
        "neighbours can't be had from 6 perturbations: choose k from 1 to 5",
    ),
    "k = 0": (dataset({}, *NEIGHBORS, "-k", "0"), "k = 0 neighbours can't be had from 6 perturbations"),
    "k = -1": (dataset({}, *NEIGHBORS, "-k", "-1"), "k = -1 neighbours can't be had from 6 perturbations"),
    "k is no number": (
        dataset({}, *NEIGHBORS, "-k", "ten"),
        "argument -k: invalid int value: 'ten' .see explorer neighbors",
    ),
    "k is a fraction": (dataset({}, *NEIGHBORS, "-k", "2.5"), "argument -k: invalid int value: '2.5'"),
    "no representation": (
        dataset({}, "TP53"),
        "name a representation with --representation: 'raw' \\(simple\\), 'latent' \\(learned\\)",
    ),
    "no query": (dataset({}, "--representation", "raw"), "the following arguments are required: QUERY"),
    "unknown option": (dataset({}, *NEIGHBORS, "--repr\x1b"), "unrecognized arguments: --repr"),
    **{
        f"folder called {payload[:12]!r}": (with_payload_folder(payload), "unknown key 'titel': did you mean 'title'")
        for payload in PAYLOADS
    },
}


def assert_one_line(status, out, err, message):
    assert status == 2
    assert out == ""
    line = err.removesuffix("\n")
    assert line.startswith("explorer: ")
    assert line.isprintable()
    assert re.search(message, line), line


@pytest.mark.parametrize(("make", "message"), CASES.values(), ids=CASES)
def test_one_line_says_what_is_wrong(run, tmp_path, make, message):
    assert_one_line(*run("neighbors", *make(tmp_path)), message)


@pytest.mark.parametrize("as_json", [(), ("--json",)])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"titel": "x"}, "unknown key 'titel'"),
        ({"contexts/cells/rows": "../x.csv"}, "files must lie inside"),
        ({"relationships": "absent"}, "there is no folder of that name with a card.toml beside it"),
    ],
)
def test_check_says_what_is_wrong(run, tmp_path, changes, message, as_json):
    write_dataset(tmp_path / "catalog" / "good")
    write_dataset(tmp_path / "catalog" / "toy", changes)
    assert_one_line(*run("check", tmp_path / "catalog" / "toy", *as_json), message)
    status, out, err = run("check", tmp_path / "catalog", *as_json)
    assert '"name": "good"' in out if as_json else out.startswith("good: ")
    assert_one_line(status, "", err, message)
    assert err.startswith("explorer: toy")


@pytest.mark.parametrize("arguments", [("chek",), ("check",), ("neighbors",), ("--frobnicate",)])
def test_usage(run, arguments):
    assert_one_line(*run(*arguments), r"\(see explorer.* --help\)")


def test_an_error_of_the_disk_is_one_line(run, toy, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cli, "load_screen", fail)
    assert_one_line(*run("neighbors", toy, *NEIGHBORS), "No space left on device")


# As a process of its own.


def test_process_json(toy):
    made = command("neighbors", toy, "TP53", "--representation", "raw", "-k", "2", "--json")
    assert made.returncode == 0
    assert made.stderr == b""
    assert len(json.loads(made.stdout)["neighbors"]) == 2


def test_an_active_query_is_said_to_be(run, tmp_path):
    dataset = toys.write_catalog(tmp_path) / "toy"
    arguments = ("neighbors", dataset, "GENE00", "--representation", "raw", "-k", "2")
    status, out, err = run(*arguments, "--json")
    active = json.loads(out)["active"]
    assert (status, active["basis"], active["n_replicates"]) == (0, "replicate consistency", toys.GUIDES)
    assert (active["verdict"], err) == ("active", "")
    assert active["q"] < 0.1
    status, out, err = run(*arguments)
    assert (status, err) == (0, "")
    assert out.splitlines()[1].startswith("GENE00 is active in raw (q ")
    assert out.splitlines()[1] == activity_sentence("GENE00", [side_of(dataset, "GENE00", "raw")])


def test_an_inactive_query_is_warned_of(run, tmp_path):
    dataset = toys.write_active_catalog(tmp_path) / "toy"
    arguments = ("neighbors", dataset, "neither-0", "--representation", "raw", "-k", "2")
    status, out, err = run(*arguments, "--json")
    active = json.loads(out)["active"]
    assert (status, err) == (0, "")
    assert active["verdict"] == "not active"
    assert active["q"] >= 0.1
    status, out, err = run(*arguments)
    assert (status, err) == (0, "")
    assert out.splitlines()[1] == (
        f"neither-0 is not distinguishable from controls in raw (p {active['p']:.2g}): its neighbours there are "
        "likely to mean nothing."
    )


@pytest.mark.parametrize(
    ("p", "q", "verdict", "sentence"),
    [
        (0.001, 0.01, "active", "TP53 is active in raw (q 0.01)."),
        (0.03, 0.3, "borderline", "TP53 stands out from controls only weakly in raw (p 0.03, q 0.3)."),
        (0.5, 0.7, "not active", "TP53 is not distinguishable from controls in raw (p 0.5): its neighbours there are "
         "likely to mean nothing."),
        (np.nan, np.nan, "not judged", "Whether TP53 does anything was not judged: its profile has no direction."),
    ],
)  # fmt: skip
def test_every_verdict_is_the_second_line(run, toy, monkeypatch, p, q, verdict, sentence):
    found = replace(side_of(toy, "TP53", "raw").found, p=p, q=q, basis="replicate consistency")
    monkeypatch.setattr(cli, "measure_activity", lambda *_, **__: SimpleNamespace(of=lambda _: found, position=()))
    arguments = ("neighbors", toy, "TP53", "--representation", "raw", "-k", "2")
    status, out, err = run(*arguments)
    assert (status, err) == (0, "")
    assert out.splitlines()[1] == sentence
    assert out.splitlines()[3].split() == ["rank", "similarity", "perturbation", "known"]
    active = json.loads(run(*arguments, "--json")[1], parse_constant=refuse_constants)["active"]
    assert next(iter(active)) == "verdict"
    assert active["verdict"] == verdict


def test_replicates_that_share_a_well_are_said_to(run, tmp_path):
    rng = np.random.default_rng(0)
    wells = [CONTROL] * 12 + ["A", "B", "C", "D"]
    metadata = pl.DataFrame(
        {
            "Metadata_gene": wells * 4,
            "Metadata_Plate": [f"p{plate}" for plate in range(4) for _ in wells],
            "Metadata_Well": [f"W{place:02d}" for place in range(len(wells))] * 4,
        }
    )
    # The position is all there is: every well has its own direction on every plate.
    values = np.tile(3 * rng.normal(size=(len(wells), 8)), (4, 1)) + rng.normal(size=(4 * len(wells), 8))
    path = tmp_path / "wells.parquet"
    write_table(path, feature_table(metadata, values.astype(np.float32)))
    status, _, err = run("neighbors", path, "A", "--representation", "X", "--align", "center", "-k", "2")
    assert status == 0
    assert "note: all rows of A have the same Metadata_Well, so what they share may be position and not effect" in err
    assert re.search(r"position alone scores 0\.[89]\d|position alone scores 1\.00", err)


def test_activity_that_cannot_be_judged_is_null_and_said(run, toy):
    # Of one control a batch there is no half to align on and another to judge by.
    few = observations().with_row_index().filter(pl.col("gene") != CONTROL)["index"].to_list()
    controls = [place for place, label in enumerate(LABELS) if label == CONTROL]
    plates = observations()["plate"].to_list()
    kept = [next(place for place in controls if plates[place] == plate) for plate in ("p0", "p1")]
    rows = sorted([*few, *kept])
    write_table(toy / "rows.parquet", feature_table(observations()[rows], RAW[rows]))
    write_table(toy / "latent_cells.parquet", feature_table(observations()[rows].select("row"), LATENT[rows]))
    status, out, err = run("neighbors", toy, "TP53", "--representation", "raw", "-k", "2", "--json")
    assert (status, json.loads(out)["active"]) == (0, None)
    assert err == (
        "note: activity not judged: too few controls in batch 'p0', 'p1', 1 in the first: expected at least 2 in each, "
        "half of them to align on and half to judge activity by; add controls, or leave the batch out\n"
    )
    status, out, said = run("neighbors", toy, "TP53", "--representation", "raw", "-k", "2")
    assert (status, said) == (0, err)
    assert out.splitlines()[2].split() == ["rank", "similarity", "perturbation", "known"]


def test_without_controls_nothing_is_said_of_activity(run, tmp_path):
    folder = write_dataset(tmp_path / "toy", {"roles/control": None})
    status, out, err = run("neighbors", folder, "TP53", "--representation", "raw", "-k", "2", "--json")
    assert (status, json.loads(out)["active"], err) == (0, None, "")
    status, out, err = run("neighbors", folder, "TP53", "--representation", "raw", "-k", "2")
    assert (status, err) == (0, "")
    assert out.splitlines()[2].split() == ["rank", "similarity", "perturbation", "known"]


def test_alignment_and_aggregate_are_checked_before_anything_is_read(run, tmp_path):
    nowhere = tmp_path / "nowhere"
    message = "unknown alignment 'tnv': did you mean 'tvn'?"
    assert_one_line(*run("neighbors", nowhere, "TP53", "--representation", "raw", "--align", "tnv"), re.escape(message))
    build = ("build", nowhere, "--representation", "raw", "--out", nowhere / "map.zarr")
    assert_one_line(*run(*build, "--align", "tnv"), re.escape(message))
    message = "unknown aggregate 'men': did you mean 'mean' or 'median'?"
    assert_one_line(*run(*build, "--aggregate", "men"), re.escape(message))


def test_process_error(tmp_path):
    made = command("check", tmp_path / "\x1b[31mabsent")
    assert_one_line(made.returncode, made.stdout.decode(), made.stderr.decode(), r"no such path: .*\\x1b\[31mabsent")


@pytest.mark.parametrize("as_json", [(), ("--json",)])
@pytest.mark.parametrize("form", ["csr.h5ad", "parquet"])
def test_process_path_that_is_no_unicode(tmp_path, form, as_json):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")
    write_format(tmp_path / "toy", form).rename(folder)
    made = command("check", folder, *as_json)
    if form == "parquet":
        message = r"can't read 'rows.parquet' in '\\udcff\\udcfe': the path is not UTF-8; rename it"
        assert_one_line(made.returncode, made.stdout.decode(), made.stderr.decode(), message)
        return
    assert (made.returncode, made.stderr) == (0, b"")
    assert "latent" in made.stdout.decode()


def test_process_on_a_terminal_without_unicode(tmp_path):
    write_dataset(tmp_path / "toy", {"title": "Гены 遺伝子"})
    made = command("check", tmp_path / "toy", environment={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    assert (made.returncode, made.stderr) == (0, b"")
    made.stdout.decode("ascii")


@pytest.mark.parametrize("arguments", [("--help",), ("neighbors", "--help"), ("--version",)])
def test_process_help(arguments):
    made = command(*arguments)
    assert (made.returncode, made.stderr) == (0, b"")
    assert b"usage: explorer" in made.stdout or __version__.encode() in made.stdout


@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_a_reader_that_leaves_early_is_no_error(toy, as_json):
    reader, writer = os.pipe()
    os.close(reader)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [sys.executable, "-m", "explorer.cli", "check", str(toy), *as_json]
    made = subprocess.run(arguments, stdout=writer, stderr=subprocess.PIPE, env=environment, timeout=120, check=False)
    os.close(writer)
    assert (made.returncode, made.stderr) == (0, b"")


def test_a_card_is_not_changed_by_reading(run, toy):
    before = (toy / "card.toml").read_bytes()
    run("check", toy)
    assert (toy / "card.toml").read_bytes() == before
    assert write_card(toy, {"relationships": "known"}).joinpath("card.toml").read_bytes() == before
