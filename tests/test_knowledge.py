"""Known pairs and gene sets, and the folder beside a dataset that holds them."""

import gzip

import polars as pl
import pytest
from files import PAYLOADS, toml_of, write_dataset, write_table

from explorer.errors import InputError
from explorer.knowledge import knowledge_beside, load_knowledge, read_gene_sets, read_relationships
from explorer.load import load_dataset

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
        InputError, match=r"the card of 'toy' names the relationships .*: there is no folder of that"
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
        (b"\n", "'sets.gmt', line 1: expected name"),
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
