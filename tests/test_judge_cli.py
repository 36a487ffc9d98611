"""`explorer judge`: the contract of its JSON, the numbers of the app to the digit, and the verdict first."""

import json
import os
import subprocess
import sys

import polars as pl
import pytest
import toys
from files import write_table

from explorer.cli import main
from explorer.digits import plain
from explorer.judgements import shared_judgement
from explorer.knowledge import read_source
from explorer.load import load_dataset

NAMES = tuple(f"GENE{number:03}" for number in range(110))
SIDES = ("--simple", "raw", "--learned", "latent")


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    changes = {"defaults/align": "center", "defaults/context": "beta"}
    return toys.write_catalog(tmp_path_factory.mktemp("catalog"), changes, names=NAMES) / "toy"


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


def judged(run, *arguments):
    status, out, err = run("judge", *arguments, "--json")
    assert status == 0, err
    return json.loads(out, parse_constant=refuse_constants)


def contract(found):
    """Check every key that others rely on, and its type."""
    assert found["verdict"] in ("worth it", "not shown", "worse", "underpowered", "locked")
    assert isinstance(found["reason"], str)
    primary = found["primary"]
    assert primary["statistic"] == f"macro partner recall@{found['k']}"
    assert primary["groups"] in ("given", "communities")
    for key in ("simple", "learned", "estimate", "low", "high", "p", "smallest_detectable"):
        assert isinstance(primary[key], float), key
    for key in ("n_groups", "n_discordant"):
        assert isinstance(primary[key], int), key
    for source in found["sources"]:
        assert isinstance(source["source"], str)
        assert isinstance(source["n_pairs"], int)
        assert isinstance(source["n_groups"], int)
        for side in ("simple", "learned"):
            for tail in ("both", "upper", "lower", "macro"):
                assert 0 <= source["recall"][side][tail] <= 1
            assert source["matched_control"][side] is None or 0 <= source["matched_control"][side] <= 1
        for key in ("estimate", "low", "high", "p", "q"):
            assert isinstance(source["difference"][key], float), key
    hits = found["known_hits"]
    assert isinstance(hits["budget"], int)
    for key in ("simple", "learned", "difference", "low", "high", "effective_groups"):
        assert isinstance(hits[key], float), key
    assert isinstance(hits["largest_groups"], list)
    for placebo in found["placebos"]:
        assert isinstance(placebo["name"], str)
        assert isinstance(placebo["estimate"], float)
        assert isinstance(placebo["low"], float)
        assert isinstance(placebo["beaten"], bool)
    assert set(found["fingerprints"]) == {"simple", "learned"}
    assert all(len(value) == 12 for value in found["fingerprints"].values())
    assert isinstance(found["seed"], int)


def test_json_is_the_contract_and_the_numbers_are_those_of_the_app(run, toy):
    found = judged(run, toy, *SIDES, "--context", "alpha", "--align", "none", "-k", 5, "--budget", 40, "--seed", 7)
    contract(found)
    expected = shared_judgement(
        load_dataset(toy), "alpha", simple="raw", learned="latent", alignment="none", k=5, budget=40, seed=7
    )
    app = json.loads(json.dumps(expected.to_json()))
    assert {key: found[key] for key in app} == app
    assert (found["dataset"], found["context"], found["alignment"], found["k"]) == ("toy", "alpha", "none", 5)
    assert (found["seed"], found["known_hits"]["budget"]) == (7, 40)


def test_json_of_a_process_of_its_own_is_the_same(run, toy, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "EXPLORER_CACHE": str(tmp_path / "other")}
    made = subprocess.run(
        [sys.executable, "-W", "error", "-m", "explorer.cli", "judge", str(toy), *SIDES, "--json"],
        capture_output=True,
        env=environment,
        timeout=120,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout) == judged(run, toy, *SIDES)
    # Nothing of the progress reaches a file.
    assert (
        made.stderr == b"note: both maps have the alignment 'center', the default here; --align chooses another one\n"
    )


def test_the_card_chooses_what_is_not_said(run, toy):
    found = judged(run, toy, *SIDES)
    assert (found["context"], found["alignment"], found["k"]) == ("beta", "center", 10)
    status, _, err = run("judge", toy, *SIDES, "--align", "center", "--json")
    assert (status, err) == (0, "")


def test_text_begins_with_the_verdict_and_says_the_same(run, toy):
    found = judged(run, toy, *SIDES)
    status, out, _ = run("judge", toy, *SIDES)
    lines = out.splitlines()
    assert status == 0
    assert lines[0].startswith(f"{found['verdict']}: In beta, ")
    assert lines[1] == f"{plain(found['reason'])}."

    def written(value):
        return f"{value:.4f}".removeprefix("0")

    for name, score in (
        ("latent (learned)", found["primary"]["learned"]),
        ("raw (simple)", found["primary"]["simple"]),
    ):
        assert any(line.startswith(name) and written(score) in line for line in lines)
    for placebo in found["placebos"]:
        (line,) = [line for line in lines if line.startswith(f"{placebo['name']} (placebo)")]
        assert written(placebo["score"]) in line
        assert line.endswith("NOT beaten") != placebo["beaten"]
    for source in found["sources"]:
        (line,) = [line for line in lines if line.startswith(f"{source['source']} ")]
        assert f"{source['n_pairs']:,}" in line.split()
    assert f"top {found['known_hits']['budget']} holds" in out


def test_a_file_of_relationships_stands_in_for_the_dataset_s_own(run, toy, tmp_path):
    pairs = pl.DataFrame(
        [(one, other, f"complex {start}") for start in range(0, 110, 5) for one in NAMES[start : start + 5]
         for other in NAMES[start : start + 5]],
        schema=["a", "b", "complex"], orient="row",
    )  # fmt: skip
    first = write_table(tmp_path / "mine.csv", pairs)
    second = tmp_path / "sets.gmt"
    second.write_text("".join(f"set {n}\t\t{NAMES[n]}\t{NAMES[n + 1]}\t{NAMES[n + 2]}\n" for n in range(0, 100, 3)))
    found = judged(run, toy, *SIDES, "--relationships", first, second)
    contract(found)
    assert [source["source"] for source in found["sources"]] == ["mine", "sets"]
    assert [source["groups"] for source in found["sources"]] == ["given", "given"]
    assert found["primary"]["groups"] == "given"
    assert found["sources"][0]["n_groups"] == 22
    again = judged(run, toy, *SIDES, "--relationships", first, "--relationships", second)
    assert again == found
    expected = shared_judgement(
        load_dataset(toy), "beta", simple="raw", learned="latent", alignment="center", sources=(),
        relationships=(read_source(first), read_source(second)),
    )  # fmt: skip
    assert json.loads(json.dumps(expected.to_json())) == {key: found[key] for key in expected.to_json()}
    both = judged(run, toy, *SIDES, "--source", "Sets", "--relationships", first)
    assert [source["source"] for source in both["sources"]] == ["Sets", "mine"]


def test_what_is_locked_has_no_numbers(run, toy, monkeypatch):
    monkeypatch.setattr("explorer.verdict.lock_reason", lambda *_: "the recipes differ in the rows")
    found = judged(run, toy, *SIDES, "--seed", 99)
    assert (found["verdict"], found["known_hits"], found["sources"]) == ("locked", None, [])
    assert found["primary"]["estimate"] is None
    status, out, _ = run("judge", toy, *SIDES, "--seed", 99)
    assert (status, out.splitlines()[0].split(":")[0]) == (0, "locked")
    assert "the recipes differ in the rows" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "choose two representations, a learned one with --learned: "),
        (("--simple", "raw"), "choose two representations, a learned one with --learned: "),
    ],
)
def test_what_is_missing_is_listed_with_its_kind(run, toy, arguments, message):
    status, out, err = run("judge", toy, *arguments)
    assert (status, out) == (2, "")
    assert err == f"explorer: {message}'raw' (simple), 'latent' (learned), 'latent-seed-1' (learned)\n"


def test_the_only_representation_of_a_kind_need_not_be_named(run, toy):
    given = run("judge", toy, "--simple", "raw", "--learned", "latent")
    status, out, err = run("judge", toy, "--learned", "latent")
    assert (status, out) == (0, given[1])
    assert "note: the simple representation is 'raw', the only one\n" in err


@pytest.mark.parametrize("command", [("neighbors", "GENE000"), ("build", "--out", "x.h5ad")])
def test_a_missing_representation_is_listed_too(run, toy, command):
    status, out, err = run(command[0], toy, *command[1:])
    assert (status, out) == (2, "")
    assert err == (
        "explorer: name a representation with --representation: "
        "'raw' (simple), 'latent' (learned), 'latent-seed-1' (learned)\n"
    )


def test_the_bare_command_prints_its_help(run):
    status, out, err = run()
    assert (status, err) == (0, "")
    assert out.startswith("usage: explorer")
    assert "judge a learned representation against a simple one" in out
