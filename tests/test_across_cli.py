"""`explorer contexts` and `explorer predict`: the numbers of the apps to the digit, in JSON and in words."""

import json

import numpy as np
import polars as pl
import pytest
import toys
from conftest import DEMO
from files import feature_table, write_table

from explorer.catalog import open_catalog, shared_activity, shared_halves
from explorer.cli import main
from explorer.context_reports import Place, shared_overlap, shared_report
from explorer.knowledge import read_source
from explorer.predictions import default_plan, shared_prediction

CELLS = DEMO / "perturbseq"
NAMES = tuple(f"GENE{number:03}" for number in range(110))
GENES = DEMO / "depmap"


@pytest.fixture
def run(capsys):
    """Run the command line in this process: exit status, standard output, standard error."""

    def call(*arguments):
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return call


def refuse_constants(name):
    pytest.fail(f"{name} is not JSON")


def found(run, *arguments):
    status, out, err = run(*arguments, "--json")
    assert status == 0, err
    return json.loads(out, parse_constant=refuse_constants)


def refused(run, message, *arguments):
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    said = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert len(said) == 1
    assert said[0].startswith("explorer: ")
    assert message in said[0]
    assert "Traceback" not in err


@pytest.mark.slow
def test_contexts_says_what_the_functions_say(run):
    printed = found(run, "contexts", CELLS, "--context", "line_A", "--other", "line_B", "--seed", "1")
    catalog = open_catalog(CELLS)
    here, other = (Place("perturbseq", name, "pseudobulk", "center") for name in ("line_A", "line_B"))
    report = shared_report(catalog, here, [other], seed=1)
    overlap = shared_overlap(catalog, here, other, simple="pseudobulk", learned="scvi", seed=1)
    holds = report.labels.filter(pl.col("label") == "holds").height
    assert printed["others"][0]["tests"]["n_holds"] == holds > 100
    assert printed["others"][0]["tests"]["decoy_share"] == report.tests["line_B"].decoy_share
    assert printed["overlaps"][0]["comparison"]["estimate"] == overlap.comparison.estimate
    assert len(printed["edges"]) == report.edges.height
    assert printed["discovery"]["passport"]["cell_system"] == "simulated cell line A"
    assert printed["others"][0]["differing"] == ["cell system"]
    assert printed["seed"] == 1


def test_contexts_in_words(run, tmp_path):
    toy = toys.write_catalog(tmp_path, names=NAMES) / "toy"
    given = ("contexts", toy, "--context", "alpha", "--simple", "raw", "--learned", "latent")
    status, out, err = run(*given, "--query", "GENE007")
    assert status == 0, err
    lines = out.splitlines()
    assert lines[0].startswith("alpha: ")
    assert any(line.startswith("  They differ in ") or "the same" in line for line in lines)
    assert sum(line.startswith("Neighbourhoods shared by toy/alpha and toy/beta") for line in lines) == 1
    assert any(line.startswith("latent − raw: ") for line in lines)
    head = next(number for number, line in enumerate(lines) if line.startswith("neighbour of GENE007"))
    assert lines[head + 1].startswith("GENE")
    assert lines[head + 10].startswith("GENE")
    assert all(
        line == "not among the 10 of GENE007, but have it among theirs:" for line in lines[head + 11 : head + 12]
    )
    assert any(line.startswith("  Matched decoys: ") for line in lines)
    _, out, _ = run(*given)
    assert "neighbour of" not in out
    assert " edges of alpha, judged elsewhere:" in out


@pytest.mark.slow
def test_a_query_that_its_replicates_do_not_set_apart_is_said_to_be(run):
    _, _, err = run("contexts", CELLS, "--context", "line_A", "--other", "line_B", "--query", "P008")
    said = "note: P008 is not distinguishable from controls in line_A: its neighbours are likely to mean nothing"
    assert said in err.splitlines()


@pytest.mark.slow
def test_edges_that_hold_are_listed_where_no_query_is_given(run):
    _, out, _ = run("contexts", CELLS, "--context", "line_A")
    lines = out.splitlines()
    assert any(
        line.startswith("  in 2 or more of the 2 others, each edge tested once for all of them: holds ")
        for line in lines
    )
    head = next(number for number, line in enumerate(lines) if line.startswith("edge that holds"))
    assert " – P" in lines[head + 1]


def test_data_sets_of_a_catalog_that_share_names(run, tmp_path):
    folder = toys.write_catalog(tmp_path, names=NAMES)
    other = toys.write_catalog(tmp_path / "other", names=NAMES) / "toy"
    other.rename(folder / "atlas")
    given = ("contexts", folder, "--context", "toy/alpha", "--other", "atlas/beta:latent", "--simple", "raw")
    printed = found(run, *given, "--learned", "latent", "--representation", "latent", "-k", "5")
    assert [place["label"] for place in printed["others"]] == ["atlas/beta"]
    refused(run, "say which with --context=DATASET/CONTEXT", "contexts", folder)
    refused(run, "unknown dataset 'atlsa': did you mean 'atlas'", "contexts", folder, "--context", "atlsa/alpha")


def test_contexts_inside_one_file(run, tmp_path):
    rows = pl.read_parquet(GENES / "skin.parquet").head(200)
    # Measured twice, the second time a little otherwise.
    again = rows.with_columns(pl.selectors.float() * 1.01 + 0.001)
    both = pl.concat([part.with_columns(line=pl.lit(name)) for name, part in (("first", rows), ("second", again))])
    path = write_table(tmp_path / "genes.parquet", both)
    given = ("contexts", path, "--perturbation", "gene")
    printed = found(run, *given, "--context-column", "line")
    # What is near both ways holds, but not what only one of the two finds.
    assert printed["others"][0]["tests"]["n_holds"] > printed["n_edges"] / 5
    assert printed["overlaps"][0]["comparison"] is None
    refused(run, "--context-column", *given)
    refused(run, "card.toml", "contexts", CELLS, "--context-column", "batch")
    same = pl.concat([rows.with_columns(line=pl.lit(name)) for name in ("first", "second")])
    copied = write_table(tmp_path / "copied.parquet", same)
    message = "'first' and 'second' are the same rows"
    refused(run, message, "contexts", copied, "--perturbation", "gene", "--context-column", "line")


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("unknown context 'line_a': did you mean 'line_A'", ("--context", "line_a")),
        ("unknown context 'line_b': did you mean 'line_B'", ("--other", "line_b")),
        ("unknown representation 'scv': did you mean 'scvi'", ("--representation", "scv")),
        ("unknown representation 'scv': did you mean 'scvi'", ("--learned", "scv")),
        ("unknown alignment 'centre': did you mean 'center'", ("--align", "centre")),
        ("unknown perturbation 'P1190'", ("--query", "P1190")),
        ("choose at least 1, at most 2", ("--at-least", "3")),
        ("k = 0 neighbours can't be had", ("-k", "0")),
        ("a seed of -1 can't be used", ("--seed", "-1")),
    ],
)
def test_what_contexts_refuses(run, message, arguments):
    refused(run, message, "contexts", CELLS, *arguments)


def test_predict_says_what_the_functions_say(run):
    printed = found(run, "predict", CELLS, "--context", "line_B")
    catalog = open_catalog(CELLS)
    prediction = shared_prediction(catalog, default_plan(catalog, "perturbseq", "line_B"))
    assert printed["verdict"] == prediction.verdict
    assert printed["reason"] == prediction.reason
    for key in ("estimate", "sign_flip", "jackknife", "p", "n_blocks"):
        assert printed["primary"][key] == getattr(prediction.primary, key)
    assert printed["primary"]["low"] == prediction.primary.low
    assert [line["name"] for line in printed["scores"]] == prediction.scores["name"].to_list()
    assert len(printed["perturbations"]) == prediction.n_perturbations == 120
    assert printed["plan"]["source"] == "line_A"


def test_predict_in_words(run):
    status, out, err = run("predict", CELLS, "--context", "line_B", "--source-context", "line_C", "--simple", "pca-20")
    assert status == 0, err
    lines = out.splitlines()
    assert lines[0] == "line_B predicted from line_C (transfer)"
    assert lines[1].partition(":")[0] in ("predicts better", "not shown", "predicts worse")
    for start in (
        "Predicted: line_B: ",
        "Predicted from: line_C: ",
        "What differs: ",
        "By what right: The card does not",
    ):
        assert any(line.startswith(start) for line in lines)
    assert lines[-1].endswith("what positions alone predict is not known.")
    assert any(line.startswith("scvi − ") for line in lines)
    assert any(line.startswith("pca-20 (simple, ridge)") for line in lines)
    assert any(line.startswith("mean (baseline, mean)") for line in lines)
    assert any("of the others may train" in line for line in lines)


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("unknown context to predict from 'line_D'", ("--source-context", "line_D")),
        ("can't be transferred to itself", ("--source-context", "line_B")),
        ("same cells", ("--task", "prior", "--source-context", "line_B")),
        ("unknown task 'transfr': did you mean 'transfer'", ("--task", "transfr")),
        ("unknown representation to predict 'pseudobulks': did you mean 'pseudobulk'", ("--target", "pseudobulks")),
        ("'scvi' is no neutral representation", ("--target", "scvi")),
        ("unknown representation 'scv': did you mean 'scvi'", ("--learned", "scv")),
        ("a pair is written A+B", ("--task", "pairs")),
        ("unknown source 'Reactome'", ("--source", "Reactome")),
    ],
)
def test_what_predict_refuses(run, message, arguments):
    refused(run, message, "predict", CELLS, "--context", "line_B", *arguments)


def groups_file(path, names=NAMES):
    """Write known pairs of the toy's modules of five, with their groups."""
    pairs = [
        (names[first], names[second], f"Module {first // toys.MODULE_SIZE}")
        for first in range(len(names))
        for second in range(first + 1, min(len(names), (first // toys.MODULE_SIZE + 1) * toys.MODULE_SIZE))
    ]
    return write_table(path, pl.DataFrame(pairs, schema=["one", "other", "complex"], orient="row"))


def test_contexts_are_compared_over_groups_of_a_file(run, tmp_path):
    toy = toys.write_catalog(tmp_path, {"relationships": None}, names=NAMES) / "toy"
    path = groups_file(tmp_path / "Modules.csv")
    given = ("contexts", toy, "--context", "alpha", "--simple", "raw", "--learned", "latent", "-k", "4")
    assert found(run, *given)["overlaps"][0]["comparison"] is None
    printed = found(run, *given, "--relationships", path)
    assert printed["overlaps"][0]["comparison"]["n_units"] == len(NAMES) // toys.MODULE_SIZE
    catalog = open_catalog(toy)
    places = [Place("toy", name, "raw", "center") for name in ("alpha", "beta")]
    overlap = shared_overlap(catalog, *places, simple="raw", learned="latent", k=4, relationships=(read_source(path),))
    assert printed["overlaps"][0]["comparison"]["estimate"] == overlap.comparison.estimate
    assert overlap.n_groups == len(NAMES) // toys.MODULE_SIZE
    plain = shared_report(catalog, places[0], places[1:], k=4)
    known = shared_report(catalog, places[0], places[1:], k=4, relationships=(read_source(path),))
    assert known is not plain
    assert known is shared_report(catalog, places[0], places[1:], k=4, relationships=(read_source(path),))
    refused(run, "rename one of the files", *given, "--relationships", path, path)
    refused(run, "absent.csv", *given, "--relationships", tmp_path / "absent.csv")


def test_predict_with_groups_of_a_file_is_not_locked(run, tmp_path):
    toy = toys.write_catalog(tmp_path, {"relationships": None}, names=NAMES) / "toy"
    path = groups_file(tmp_path / "Modules.csv")
    given = ("predict", toy, "--context", "alpha", "--simple", "raw", "--learned", "latent")
    without = found(run, *given)
    assert without["verdict"] == "locked"
    printed = found(run, *given, "--relationships", path)
    assert printed["verdict"] != "locked"
    assert printed["primary"] is not None
    assert any("Module 0" in line["groups"] for line in printed["perturbations"])
    refused(run, "rename one of the files", *given, "--relationships", path, path)


@pytest.mark.slow
@pytest.mark.parametrize("align", [(), ("--align", "none")])
def test_embeddings_of_the_perturbations_predict_what_they_never_saw(run, tmp_path, align):
    cards = {
        f"representations/{name}": {"kind": kind, "source": f"{name}.csv", "saw": []}
        for name, kind in (("E1", "simple"), ("E2", "learned"))
    }
    toy = toys.write_catalog(tmp_path, cards, names=NAMES) / "toy"
    module = np.arange(len(NAMES)) // toys.MODULE_SIZE
    rng = np.random.default_rng(3)
    for name in ("E1", "E2"):
        values = rng.normal(size=(module.max() + 1, 6))[module] + 0.3 * rng.normal(size=(len(NAMES), 6))
        table = feature_table(pl.DataFrame({"symbol": NAMES}), values.astype(np.float32))
        # Of the first few nothing is known elsewhere.
        write_table(toy / f"{name}.csv", table[len(NAMES) // 10 :][::-1])
    given = ("predict", toy, "--task", "prior", "--context", "alpha", "--source-context", "alpha")
    printed = found(run, *given, "--simple", "E1", "--learned", "E2", *align)
    assert printed["n_perturbations"] == len(NAMES) - len(NAMES) // 10
    assert printed["verdict"] != "locked"
    assert any("are not aligned" in note for note in printed["notes"]) == (not align)
    # The others are as useful as without them.
    assert run("contexts", toy, "--context", "alpha", "--simple", "raw", "--learned", "latent", "-k", "4")[0] == 0
    refused(run, "no controls to align on", "judge", toy, "--simple", "E1", "--learned", "E2", "--align", "center")
    catalog = open_catalog(toy)
    activity, reason = shared_activity(catalog.dataset("toy"), "alpha", "E1")
    assert activity is None
    assert "one row a perturbation" in reason
    assert shared_halves(catalog.dataset("toy"), "alpha", "E1") is None
    assert shared_halves(catalog.dataset("toy"), "alpha", "raw") is not None
