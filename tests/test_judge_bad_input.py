"""`explorer judge` on what laboratories bring: what is harmless changes nothing, the rest is one sentence."""

import gzip
import json

import numpy as np
import polars as pl
import pytest
import toys
from files import write_table

from explorer.cli import main

NAMES = tuple(f"GENE{number:03}" for number in range(110))
SIDES = ("--simple", "raw", "--learned", "latent", "--align", "center")
GROUPS = {f"complex {start}": NAMES[start : start + 5] for start in range(0, 110, 5)}
PAIRS = [(one, other) for own in GROUPS.values() for place, one in enumerate(own) for other in own[place + 1 :]]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return toys.write_catalog(tmp_path_factory.mktemp("catalog"), names=NAMES)


@pytest.fixture
def run(capsys, root):
    """Run `explorer judge`: exit status, standard output, standard error."""

    def call(*arguments, path=root / "toy", sides=SIDES):
        capsys.readouterr()
        status = main(["judge", str(path), *sides, *map(str, arguments)])
        return status, *capsys.readouterr()

    return call


def pairs_file(folder, pairs, *, name="pairs.csv", columns=("a", "b")):
    return write_table(folder / name, pl.DataFrame(pairs, schema=dict.fromkeys(columns, pl.String), orient="row"))


def numbers(found):
    """What a judgement says, but for its notes."""
    status, out, err = found
    assert status == 0, err
    return {key: value for key, value in json.loads(out).items() if key != "notes"}


def assert_one_sentence(found, message):
    status, out, err = found
    assert (status, out) == (2, "")
    assert err.startswith("explorer: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert message in err, err


# Harmless.


@pytest.mark.parametrize(
    "spoil",
    [
        lambda pairs: [(b, a) for a, b in pairs],
        lambda pairs: pairs + [(b, a) for a, b in pairs],
        lambda pairs: pairs * 3,
        lambda pairs: pairs + [(name, name) for name in NAMES],
        lambda pairs: pairs[::-1],
        lambda pairs: [*pairs, (None, "GENE000"), (None, None)],
    ],
    ids=["turned", "both directions", "duplicates", "self-pairs", "another order", "empty cells"],
)
def test_what_is_harmless_changes_no_number(run, tmp_path, spoil):
    clean = numbers(run("--relationships", pairs_file(tmp_path, PAIRS), "--json"))
    (tmp_path / "spoilt").mkdir()
    assert numbers(run("--relationships", pairs_file(tmp_path / "spoilt", spoil(PAIRS)), "--json")) == clean


@pytest.mark.parametrize("ending", ["csv", "tsv", "txt", "csv.gz", "parquet"])
def test_every_form_of_a_table_gives_the_same(run, tmp_path, ending):
    clean = numbers(run("--relationships", pairs_file(tmp_path, PAIRS), "--json"))
    assert numbers(run("--relationships", pairs_file(tmp_path, PAIRS, name=f"pairs.{ending}"), "--json")) == clean


def test_unknown_names_are_counted_and_the_nearest_shown(run, tmp_path):
    path = pairs_file(tmp_path, [*PAIRS, ("GENE00l", "GENE001"), ("ZZZ", "GENE002")])
    status, out, err = run("--relationships", path, "--json")
    note = "pairs: 2 of its 112 names are not in the map, such as 'GENE00l' (nearest: 'GENE"
    assert status == 0
    assert note in err
    assert any(text.startswith(note) for text in json.loads(out)["notes"])


def gmt(folder, sets, name="sets.gmt"):
    text = "".join("\t".join([name, "", *members]) + "\n" for name, members in sets.items())
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["sets.gmt", "sets.gmt.gz"])
def test_one_gene_sets_are_counted_and_left_out(run, tmp_path, name):
    path = gmt(tmp_path, GROUPS | {"alone": NAMES[:1], "twice the same": (NAMES[3], NAMES[3])}, name)
    status, out, err = run("--relationships", path, "--json")
    found = json.loads(out)
    assert (status, found["sources"][0]["n_groups"], found["primary"]["groups"]) == (0, 22, "given")
    assert "2 of 24 groups have fewer than two members in the map and were left out" in err


def test_a_group_of_everything_is_left_out(run, tmp_path):
    with_all = numbers(run("--relationships", gmt(tmp_path, GROUPS | {"all": NAMES}), "--json"))
    assert numbers(run("--relationships", gmt(tmp_path, GROUPS), "--json")) == with_all
    _, _, err = run("--relationships", gmt(tmp_path, GROUPS | {"all": NAMES}), "--json")
    assert "left out since more than half of the map is in it: 'all'" in err
    assert_one_sentence(
        run("--relationships", gmt(tmp_path, {"all": NAMES})),
        "left out since more than half of the map is in it: 'all'",
    )


def test_too_few_groups_are_a_verdict_and_no_error(run, tmp_path):
    few = dict(list(GROUPS.items())[:6])
    found = numbers(run("--relationships", gmt(tmp_path, few), "--json"))
    assert (found["verdict"], found["reason"]) == ("underpowered", "6 groups, and it takes 20 for a verdict")


def test_a_source_that_relates_too_few_is_left_out_beside_others(run, tmp_path):
    alone = pairs_file(tmp_path, [("GENE000", "GENE001")], name="tiny.csv")
    status, out, err = run("--relationships", pairs_file(tmp_path, PAIRS), alone, "--json")
    assert (status, [source["source"] for source in json.loads(out)["sources"]]) == (0, ["pairs"])
    assert "left out: 'tiny' relates 2 perturbations of the map, expected at least 20" in err


# Refused.


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([(f"OTHER{n}", f"OTHER{n + 1}") for n in range(30)], "'pairs' relates 0 perturbations of the map, expected"),
        (
            [("gene001", "gene002")] * 3,
            "2 of its 2 names are not in the map, 2 of them but for upper and lower case ('gene001' for 'GENE001')",
        ),
        (PAIRS[:10], "'pairs' relates 5 perturbations of the map, expected at least 20: 0 of its 5 names"),
        ([(name, name) for name in NAMES], "'pairs.csv' holds no pair of two different names"),
        ([], "'pairs.csv' holds no pair of two different names"),
    ],
    ids=["no pair among them", "another case", "fewer than 20", "self-pairs alone", "no line"],
)
def test_pairs_that_say_nothing(run, tmp_path, pairs, message):
    assert_one_sentence(run("--relationships", pairs_file(tmp_path, pairs)), message)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("pairs.csv", b"", "can't read 'pairs.csv': "),
        ("pairs.csv", b"a\nGENE000\n", "'pairs.csv' needs two columns of names, one pair a line; it has 'a'"),
        ("pairs.csv", b"a,n\nGENE000,3\n", "'pairs.csv' needs two columns of names"),
        ("pairs.csv", bytes(range(256)) * 20, "can't read 'pairs.csv': "),
        ("pairs.csv", "a,b\nGénie,Gène\n".encode("latin-1"), "can't read 'pairs.csv': "),
        ("pairs.csv", "a,b\nGENE000,GENE001\n".encode("utf-16"), "can't read 'pairs.csv': it is no text in UTF-8"),
        ("pairs.parquet", b"no parquet", "can't read 'pairs.parquet': "),
        ("pairs.csv.gz", b"\x1f\x8b no gzip", "can't read 'pairs.csv.gz': "),
        ("sets.gmt", b"", "'sets.gmt' holds no pair of two different names"),
        ("sets.gmt", b"one\t\tGENE000\n", "'sets.gmt' holds no pair of two different names"),
        ("sets.gmt", b"one\tno members\n", "'sets.gmt', line 1: expected name, identifier and members between tabs"),
        ("sets.gmt", b"\xff\xfe\x00\t\t", "can't read the gene sets 'sets.gmt'"),
        (
            "pairs.xlsx",
            b"PK",
            "can't tell what 'pairs.xlsx' is: expected pairs or sets in a file with one of the endings .gmt",
        ),
    ],
)
def test_files_that_can_not_be_read(run, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    assert_one_sentence(run("--relationships", tmp_path / name), message)


def test_files_that_are_not_there(run, tmp_path):
    assert_one_sentence(run("--relationships", tmp_path / "absent.csv"), "no file 'absent.csv'")
    assert_one_sentence(run("--relationships", tmp_path), "no file")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--simple", "rav"), "unknown representation 'rav': did you mean 'raw'?"),
        (("--learned", "Latent"), "unknown representation 'Latent': did you mean 'latent'"),
        (("--learned", "raw"), "'raw' can't be judged against itself: choose two representations"),
        (("--context", "alfa"), "unknown context 'alfa': did you mean 'alpha'?"),
        (("--align", "centre"), "unknown alignment 'centre': did you mean 'center'"),
        (("--source", "sets"), "unknown source 'sets': did you mean 'Sets'?"),
        (("--budget", "0"), "a budget of 0 pairs can't be used: choose a whole number from 1 to 10,000"),
        (("--budget", "-5"), "a budget of -5 pairs can't be used"),
        (("--budget", "5996"), "a budget of 5996 pairs can't be had: choose from 1 to 5,995, the pairs of this map"),
        (("--budget", "many"), "invalid int value: 'many'"),
        (("-k", "0"), "k = 0 neighbours can't be had from 110 perturbations: choose k from 1 to 109"),
        (("-k", "110"), "choose k from 1 to 109"),
        (("-k", "1.5"), "invalid int value: '1.5'"),
        (("--seed", "-1"), "a seed of -1 can't be used: choose a whole number of 0 or more"),
    ],
    ids=str,
)
def test_choices_that_can_not_be_had(run, arguments, message):
    assert_one_sentence(run(*arguments), message)


def test_the_largest_k_and_budget_can_be_had(run):
    found = numbers(run("-k", 109, "--budget", 5995, "--json"))
    # Everybody is everybody's neighbour, and every pair is listed.
    assert (found["primary"]["simple"], found["primary"]["learned"]) == (1.0, 1.0)
    assert found["verdict"] == "underpowered"
    assert found["known_hits"]["simple"] == found["known_hits"]["learned"] == found["sources"][0]["n_pairs"]


def spoilt(folder, spoil):
    """Copy of the toy whose latent table was changed."""
    root = toys.write_catalog(folder, names=NAMES)
    path = root / "toy" / "latent_alpha.parquet"
    genes = pl.read_parquet(root / "toy" / "rows_alpha.parquet")["gene"]
    table = pl.read_parquet(path)
    features = [name for name in table.columns if name.startswith("feature")]
    values = spoil(table.select(features).to_numpy().copy(), genes)
    table.with_columns(pl.Series(name, values[:, place]) for place, name in enumerate(features)).write_parquet(path)
    return root / "toy"


def without(wanted):
    def spoil(values, genes):
        values[genes.is_in(list(wanted)).to_numpy()] = np.nan
        return values

    return spoil


def test_perturbations_of_one_side_alone_are_left_out_and_counted(run, tmp_path):
    path = spoilt(tmp_path, without(NAMES[80:]))
    status, out, err = run("--json", path=path)
    assert (status, json.loads(out)["n_perturbations"]) == (0, 80)
    assert "30 of 110 perturbations of raw are not in the other map and were left out" in err


def test_fewer_than_fifty_common_perturbations(run, tmp_path):
    path = spoilt(tmp_path, without(NAMES[49:]))
    assert_one_sentence(run(path=path), "49 perturbations are in both 'raw' and 'latent', a verdict takes 50")


def test_a_constant_representation(run, tmp_path):
    path = spoilt(tmp_path, lambda values, _: np.ones_like(values))
    assert_one_sentence(
        run(path=path),
        "0 of 110 profiles of 'latent' are longer than zero under the alignment 'center': choose a representation",
    )
    # Without an alignment all are equally near: that is chance, and no more.
    found = numbers(run("--align", "none", "--json", path=path))
    assert found["primary"]["learned"] == pytest.approx(found["primary"]["chance"])
    assert found["verdict"] == "worse"
    assert found["sources"][0]["recall"]["learned"]["both"] == 0


def test_a_dataset_of_which_nothing_is_known(run, tmp_path):
    root = toys.write_catalog(tmp_path, {"relationships": None}, names=NAMES)
    assert_one_sentence(
        run(path=root / "toy"), "nothing is known of the perturbations of 'toy': give a file of pairs or sets"
    )
    assert run("--relationships", pairs_file(tmp_path, PAIRS), path=root / "toy")[0] == 0


def test_an_alignment_without_controls(run, tmp_path):
    root = toys.write_catalog(tmp_path, names=NAMES, controls=False)
    assert_one_sentence(run(path=root / "toy"), "control")


@pytest.mark.parametrize("payload", ["<img src=x onerror=alert(1)>", "\x1b[31mred\x1b[0m", "a\u2028b"])
def test_names_are_data(run, tmp_path, payload):
    sets = {f"{payload} {name}": members for name, members in GROUPS.items()}
    path = gmt(tmp_path, sets | {payload: [payload, *NAMES[:2]]})
    status, out, err = run("--relationships", path)
    assert status == 0
    assert all(character.isprintable() or character == "\n" for character in out + err)
