"""Known pairs and gene sets, and the folder beside a dataset that holds them."""

import gzip

import polars as pl
import pytest
from files import PAYLOADS, toml_of, write_dataset, write_table

from explorer.errors import InputError
from explorer.knowledge import (
    knowledge_beside,
    load_knowledge,
    read_gene_sets,
    read_relationships,
    read_source,
    with_further,
)
from explorer.load import load_dataset
from explorer.relationships import GeneSets, Relationships

CARD = {
    "kind": "relationships",
    "title": "Known",
    "relationships": {"Reactome": {"file": "pairs.parquet", "license": "CC0", "citation": "R 2024"}},
    "gene_sets": {"GO": {"file": "go.gmt.gz", "license": "CC BY 4.0", "citation": "G 2023"}},
}
GMT = "DNA repair\tGO:1\tTP53\tCHEK2\tTP53\nribosome\t\tRPL5\t\n"
PAIRS = pl.DataFrame({"a": ["TP53", "MDM2", "TP53", "RPL5"], "b": ["MDM2", "TP53", "TP53", None]})


@pytest.fixture
def known(tmp_path):
    folder = tmp_path / "known"
    folder.mkdir()
    (folder / "card.toml").write_text(toml_of(CARD))
    write_table(folder / "pairs.parquet", PAIRS)
    (folder / "go.gmt.gz").write_bytes(gzip.compress(GMT.encode()))
    return folder


def test_folder(known):
    knowledge = load_knowledge(known)
    assert [(source.name, source.n_pairs) for source in knowledge.relationships] == [("Reactome", 1)]
    assert knowledge.sources_of("MDM2", ["TP53", "RPL5"]) == [["Reactome"], []]
    assert knowledge.gene_sets[0].sets == {"DNA repair": ("TP53", "CHEK2"), "ribosome": ("RPL5",)}
    assert knowledge.licences == {"Reactome": "CC0 · R 2024", "GO": "CC BY 4.0 · G 2023"}


def test_beside_a_dataset(known, tmp_path):
    assert knowledge_beside(load_dataset(write_dataset(tmp_path / "toy"))).relationships == ()
    dataset = load_dataset(write_dataset(tmp_path / "toy", {"relationships": "known"}))
    assert knowledge_beside(dataset).partners_of("TP53") == {"MDM2"}


@pytest.mark.parametrize(
    "name", ["../known", "known/", "./known", "absent", "..", ".", "link", *PAYLOADS, "a\0b", "x" * 300]
)
def test_only_a_folder_right_beside(known, tmp_path, name):
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "link").symlink_to(known)
    dataset = load_dataset(write_dataset(tmp_path / "catalog" / "toy", {"relationships": name}))
    with pytest.raises(
        InputError, match=r"toy/card.toml names the relationships .*: there is no folder of that"
    ) as caught:
        knowledge_beside(dataset)
    assert str(caught.value).isprintable()


def test_an_absolute_path_is_refused(known, tmp_path):
    dataset = load_dataset(write_dataset(tmp_path / "toy", {"relationships": str(known)}))
    with pytest.raises(InputError, match="give the name alone, without a path"):
        knowledge_beside(dataset)


def test_files_stay_inside(known):
    (known / "card.toml").write_text(toml_of(CARD).replace("pairs.parquet", "../secret.parquet"))
    with pytest.raises(InputError, match="must lie inside the dataset's folder"):
        load_knowledge(known)


def test_a_known_folder_is_no_dataset(known):
    with pytest.raises(InputError, match="'known' holds known relationships, not a dataset: name a dataset folder"):
        load_dataset(known)


@pytest.mark.parametrize("ending", ["parquet", "csv", "tsv", "txt", "tsv.gz"])
def test_pairs_in_every_format(tmp_path, ending):
    table = pl.DataFrame({"x": [0.5] * 3, "entity1": ["A", "B", "C"], "entity2": ["B", "A", "A"], "z": ["n"] * 3})
    pairs = read_relationships(write_table(tmp_path / f"my.pairs.{ending}", table))
    assert (pairs.name, pairs.n_pairs) == ("my", 2)
    assert pairs.of("A") == {"B", "C"}


def test_pairs_need_two_columns_of_names(tmp_path):
    path = write_table(tmp_path / "pairs.csv", pl.DataFrame({"a": ["A"], "weight": [1]}))
    with pytest.raises(
        InputError, match=r"'pairs.csv' needs two columns of names, one pair a line; it has 'a', 'weight'"
    ):
        read_relationships(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"good\tx\tA\nno members\tx\n", "'sets.gmt', line 2: expected name, identifier and members between tabs"),
        (b"\n\nno members\n", "'sets.gmt', line 3: expected name"),
        (b"\xff\xfe\x00", "can't read the gene sets 'sets.gmt': .*utf-8"),
    ],
)
def test_gene_sets_refused(tmp_path, content, message):
    (tmp_path / "sets.gmt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_gene_sets(tmp_path / "sets.gmt")


@pytest.mark.parametrize("n_bytes", [0, 5, 20, -5])
def test_truncated_gene_sets(tmp_path, n_bytes):
    whole = gzip.compress(GMT.encode())
    (tmp_path / "sets.gmt.gz").write_bytes(whole[:n_bytes])
    if n_bytes == 0:
        assert read_gene_sets(tmp_path / "sets.gmt.gz").sets == {}
        return
    with pytest.raises(InputError, match=r"can't read the gene sets 'sets.gmt.gz': "):
        read_gene_sets(tmp_path / "sets.gmt.gz")


@pytest.mark.parametrize("column", ["complex", "Pathway", "group", "module", "gene_set", " cluster "])
@pytest.mark.parametrize("place", [0, 2])
def test_a_column_of_groups(tmp_path, column, place):
    columns = {"a": ["A", "B", "D", "E"], "b": ["B", "C", "E", "E"]}
    named = list(columns.items())
    named.insert(place, (column, ["one", "one", "two", None]))
    pairs = read_relationships(write_table(tmp_path / "pairs.tsv", pl.DataFrame(dict(named))))
    assert pairs.groups == {"one": {"A", "B", "C"}, "two": {"D", "E"}}
    assert pairs.n_pairs == 3


def test_other_columns_are_no_groups(tmp_path):
    table = pl.DataFrame({"a": ["A"], "b": ["B"], "evidence": ["two-hybrid"], "score": [0.5]})
    assert read_relationships(write_table(tmp_path / "pairs.csv", table)).groups == {}
    two = pl.DataFrame({"complex": ["A"], "module": ["B"]})
    assert read_relationships(write_table(tmp_path / "two.csv", two)).of("A") == {"B"}


def test_a_file_without_a_header_loses_no_pair(tmp_path):
    (tmp_path / "pairs.csv").write_text("A,B\nB,C\nC,A\n")
    assert read_relationships(tmp_path / "pairs.csv").n_pairs == 3
    (tmp_path / "named.csv").write_text("a,b\nB,C\nC,A\n")
    assert read_relationships(tmp_path / "named.csv").n_pairs == 2


def test_commas_in_a_file_called_txt(tmp_path):
    (tmp_path / "CORUM.txt").write_text("entity1,entity2,complex\nA,B,one\nB,A,one\n")
    pairs = read_source(tmp_path / "CORUM.txt")
    assert (pairs.n_pairs, pairs.groups) == (1, {"one": {"A", "B"}})


@pytest.mark.parametrize("name", ["sets.tsv", "sets.txt", "sets.tsv.gz"])
def test_a_table_of_names_and_members(tmp_path, name):
    text = "9-1-1 complex\tRAD9A RAD1 HUS1\nalone\tTP53\n14-3-3\tYWHAG, CXCR2\n"
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    found = read_source(path)
    assert isinstance(found, GeneSets)
    assert found.sets == {"9-1-1 complex": ("RAD9A", "RAD1", "HUS1"), "alone": ("TP53",), "14-3-3": ("YWHAG", "CXCR2")}
    path.write_bytes(
        gzip.compress(b"x\tGENES\n" + text.encode()) if name.endswith(".gz") else b"x\tGENES\n" + text.encode()
    )
    assert read_source(path).sets == found.sets


def test_pairs_of_names_with_blanks_are_pairs(tmp_path):
    text = "one\tother\nacetic acid\tfolic acid\nacetic acid\tvalproic acid\n"
    (tmp_path / "compounds.tsv").write_text(text)
    found = read_source(tmp_path / "compounds.tsv")
    assert isinstance(found, Relationships)
    assert found.of("acetic acid") == {"folic acid", "valproic acid"}


def test_a_set_in_several_lines_has_all_members(tmp_path):
    (tmp_path / "sets.gmt").write_text("one\t\tA\tB\n\none\t\tC\n")
    assert read_source(tmp_path / "sets.gmt").sets == {"one": ("A", "B", "C")}


@pytest.mark.parametrize(
    ("name", "n_pairs"),
    [("CORUM.txt", 37_649), ("HuMAP.txt", 58_538), ("Reactome.txt", 18_565), ("StringDB.txt", 58_059)],
)
def test_published_relationships(field, name, n_pairs):
    assert read_source(field / "relationships" / name).n_pairs == n_pairs


def test_published_complexes(field):
    sets = read_source(field / "relationships" / "CORUM_clusters.tsv").sets
    assert sets["(E.F.G) complex"] == ("SNRPE", "SNRPF", "SNRPG")
    assert len(sets) == 2_696


def test_further_sources_are_told_apart_by_their_names():
    own, other = (Relationships.from_pairs(name, ["A"], ["B"]) for name in ("Pairs", "Others"))
    assert with_further([own], [other]) == (own, other)
    assert with_further([], []) == ()
    with pytest.raises(InputError, match="two sources are called 'Pairs': rename one of the files"):
        with_further([own, other], [own])
