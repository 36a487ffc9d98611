"""`explorer shortlist` and `explorer results`: from a list to what came of it, in a shell."""

import json
from itertools import combinations
from pathlib import Path

import polars as pl
import pytest
import toys

from explorer.cli import main
from explorer.frozen_files import read_frozen
from explorer.outcomes import rehearse
from explorer.relationships import Relationships

MODULES = [toys.NAMES[start : start + toys.MODULE_SIZE] for start in range(0, 30, toys.MODULE_SIZE)]
TRUTH = Relationships.from_pairs(
    "truth", *zip(*(pair for module in MODULES for pair in combinations(module, 2)), strict=True)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = toys.write_catalog(tmp_path_factory.mktemp("lists"))
    pairs = [(m[one], m[other]) for m in MODULES for one, other in ((0, 1), (0, 2), (2, 3))]
    pl.DataFrame(pairs, schema=["a", "b"], orient="row").write_csv(root / "half.csv")
    return root


@pytest.fixture
def run(capsys):
    def call(*arguments):
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def make(run, folder):
    def call(*arguments, budget=12):
        own = ("--no-source", "--relationships", folder / "half.csv")
        return run("shortlist", folder / "toy", *own, "--budget", budget, *arguments)

    return call


def refused(answer, message):
    status, out, err = answer
    assert (status, out) == (2, "")
    said = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert len(said) == 1, err
    assert message in said[0]


def answer(path: Path, results: Path, *, rows: int | None = None) -> Path:
    rehearse(read_frozen(path), TRUTH).head(rows or 1_000).write_csv(results)
    return results


def test_the_list_is_printed_with_what_to_expect(make):
    status, out, err = make("--completeness", "0.5", "0.3")
    assert status == 0
    assert (
        "of pairs this similar are already known. If the annotation holds 50 / 30 % of the truth, expect about" in out
    )
    assert "alpha: alpha cells" in out
    assert "beta: beta cells" in out
    lines = out.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("pair "))
    assert sum(" + " in line for line in lines[head + 1 :]) == 12
    assert "2 of 2" in out
    assert "note: all maps have the alignment 'center'" in err


def test_json_is_all_that_is_printed(make):
    status, out, _ = make("--json")
    assert status == 0
    told = json.loads(out)
    assert (told["mode"], len(told["pairs"]), told["plan"]["others"]) == ("discover", 12, ["beta"])
    assert told["pairs"][0]["simple support"] is not None
    alone = json.loads(make("--json", "--alone", "--no-evidence")[1])
    assert alone["plan"]["others"] == []
    assert "simple support" not in alone["pairs"][0]


def test_from_a_list_to_its_score_and_the_track_record(make, run, tmp_path):
    status, _, err = make("--freeze", tmp_path / "list", "--track", tmp_path / "mine")
    assert status == 0
    assert "frozen: list.parquet, list.csv, list-sheet.csv; digest " in err
    for name in ("list.parquet", "list.csv"):
        results = answer(tmp_path / name, tmp_path / "results.csv", rows=5)
        status, out, _ = run("results", tmp_path / name, results)
        assert status == 0
        assert "7 not back" in out
    # What is not complete is not recorded.
    refused(
        run("results", tmp_path / "list.csv", results, "--track", tmp_path / "mine"), "7 of 12 results are not back"
    )
    results = answer(tmp_path / "list.csv", tmp_path / "results.csv")
    status, out, err = run("results", tmp_path / "list.csv", results, "--track", tmp_path / "mine")
    assert status == 0
    assert "hits of 12 tested" in out
    assert "1 list recorded." in out
    assert "toy, alpha, discover" in out
    status, alone, _ = run("results", "--track", tmp_path / "mine")
    assert status == 0
    assert alone.strip() in out
    told = json.loads(run("results", "--track", tmp_path / "mine", "--json")[1])["track_record"]
    assert (len(told["lists"]), told["n_registered"], told["n_not_back"]) == (1, 1, 0)
    refused(run("results"), "give LIST and RESULTS, a frozen list and its filled-in sheet; or --track FOLDER alone")
    assert "added to the track record" in err
    told = json.loads(run("results", tmp_path / "list.parquet", results, "--json")[1])
    assert told["n_found"] == rehearse(read_frozen(tmp_path / "list.csv"), TRUTH)["result"].to_list().count("hit")
    # The sheet, filled in by hand, scores the same.
    sheet = (tmp_path / "list-sheet.csv").read_text().splitlines()
    answers = rehearse(read_frozen(tmp_path / "list.csv"), TRUTH)["result"].to_list()
    begin = next(place for place, line in enumerate(sheet) if line.startswith("row"))
    filled = [line + result for line, result in zip(sheet[begin + 1 :], answers, strict=True)]
    (tmp_path / "filled.csv").write_text("\n".join([*sheet[: begin + 1], *filled]) + "\n")
    assert (
        json.loads(run("results", tmp_path / "list.csv", tmp_path / "filled.csv", "--json")[1])["n_found"]
        == told["n_found"]
    )


def test_a_frozen_list_is_never_replaced(make, tmp_path):
    assert make("--freeze", tmp_path / "list", "--no-evidence")[0] == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    refused(make("--freeze", tmp_path / "list", "--no-evidence"), "a frozen list can't be changed")
    refused(make("--freeze", tmp_path / "list.csv", "--no-evidence"), "a frozen list can't be changed")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_blind_list_keeps_its_secret_until_all_is_back(make, run, tmp_path):
    status, out, err = make("--mode", "compare", "--freeze", tmp_path / "blind")
    assert status == 0
    assert "propose" in out
    assert "proposed by" not in out
    assert "list-key" not in out
    assert "blind-key.json" in err
    key = tmp_path / "blind-key.json"
    sealed = key.read_bytes()
    some = answer(tmp_path / "blind.csv", tmp_path / "some.csv", rows=4)
    status, out, _ = run("results", tmp_path / "blind.csv", some, "--key", key)
    assert status == 0
    assert key.read_bytes() == sealed
    every = answer(tmp_path / "blind.csv", tmp_path / "every.csv")
    # Without the key the hits are counted, and nothing is said of the maps.
    assert json.loads(run("results", tmp_path / "blind.csv", every, "--json")[1])["head_to_head"] is None
    told = json.loads(run("results", tmp_path / "blind.csv", every, "--key", key, "--json")[1])
    assert told["head_to_head"]["verdict"] == "description only"
    assert "12" in told["head_to_head"]["reason"]
    assert json.loads(key.read_text())["opened"] is not None
    # The same results again are no news; others, once the key was seen, are not blind any more.
    again = json.loads(run("results", tmp_path / "blind.csv", every, "--key", key, "--json")[1])
    assert again["head_to_head"] == told["head_to_head"]
    table = pl.read_csv(every, comment_prefix="#")
    turned = pl.when(pl.col("row") == 1).then(pl.lit("failed")).otherwise(pl.col("result"))
    table.with_columns(turned.alias("result")).write_csv(tmp_path / "other.csv")
    later = json.loads(run("results", tmp_path / "blind.csv", tmp_path / "other.csv", "--key", key, "--json")[1])
    assert "not blind" in later["head_to_head"]["reason"]


def test_mistakes_are_one_sentence_and_nothing_is_written(make, run, tmp_path, folder):
    refused(make("--mode", "discovr"), "unknown mode 'discovr': did you mean 'discover'")
    refused(make(budget=0), "choose a whole number from 1 to 2,000")
    refused(make("--track", tmp_path / "mine"), "give --freeze LIST too")
    refused(make("--completeness", "1.5"), "each above 0 and at most 1")
    refused(make("--interest", tmp_path / "absent.txt"), "can't read the names in 'absent.txt'")
    (tmp_path / "empty.txt").write_text("\n")
    refused(make("--interest", tmp_path / "empty.txt"), "'empty.txt' holds no name")
    (tmp_path / "names.txt").write_text("GEN01\n")
    refused(make("--interest", tmp_path / "names.txt"), "did you mean 'GENE01'")
    refused(make("--other", "betta"), "did you mean 'beta'")
    refused(make("--source", "Pars"), "--no-source takes none of the data set's own sources")
    refused(run("shortlist", folder / "toy", "--source", "Pars"), "did you mean 'Pairs'")
    refused(make("--simple", "rawr", "--freeze", tmp_path / "x"), "did you mean 'raw'")
    refused(run("results", tmp_path / "absent.csv", tmp_path / "names.txt"), "absent.csv")
    refused(run("results", folder / "half.csv", tmp_path / "names.txt"), "half.csv")
    assert {path.name for path in tmp_path.iterdir()} <= {"empty.txt", "names.txt", "cache"}


def test_a_rehearsal_takes_known_pairs_for_hits(make, run, tmp_path):
    assert make("--freeze", tmp_path / "list", "--no-evidence")[0] == 0
    pairs = [pair for module in MODULES for pair in combinations(module, 2)]
    pl.DataFrame(pairs, schema=["a", "b"], orient="row").write_csv(tmp_path / "truth.csv")
    status, out, err = run("results", tmp_path / "list.csv", "--rehearse", tmp_path / "truth.csv", "--json")
    assert status == 0
    assert "note: a rehearsal: hits are the pairs that 'truth.csv' lists" in err
    hits = sum(tuple(sorted(pair)) in set(pairs) for pair in read_frozen(tmp_path / "list.csv").pairs)
    assert json.loads(out)["n_found"] == hits
    refused(run("results", tmp_path / "list.csv"), "give RESULTS, the filled-in sheet of the list, or --rehearse FILE")
    for option in ("--key", "--track"):
        said = run("results", tmp_path / "list.csv", "--rehearse", tmp_path / "truth.csv", option, tmp_path / "x")
        refused(said, "a rehearsal opens no key and is never recorded")


def test_names_of_interest_come_from_a_file(make, tmp_path):
    (tmp_path / "names.txt").write_text("GENE01, gene07\nGENE11, GEN02\n")
    status, out, err = make("--interest", tmp_path / "names.txt", "--json", "--no-evidence")
    assert status == 0
    told = json.loads(out)
    assert all({"GENE01", "GENE07", "GENE11"} & {pair["first"], pair["second"]} for pair in told["pairs"])
    assert "'GEN02'" in err
    # Whose pairs were asked for stands in more than three.
    (tmp_path / "names.txt").write_text("GENE01\n")
    assert len(json.loads(make("--interest", tmp_path / "names.txt", "--json", "--no-evidence")[1])["pairs"]) == 12


def test_own_pairs_stand_beside_those_of_the_data_set(run, folder):
    half = ("--relationships", folder / "half.csv")
    told = json.loads(run("shortlist", folder / "toy", *half, "--json", "--no-evidence", "--budget", 5)[1])
    assert set(told["known"]) == {"Pairs", "half"}
