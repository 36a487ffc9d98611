"""Known relationships and gene sets: files of pairs and GMT files, as a folder's card names them."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl

from explorer.card import CARD_FILE, NAME_PATTERN, inside, read_knowledge_card
from explorer.errors import InputError, listed, shown
from explorer.load import Dataset
from explorer.relationships import GeneSets, Knowledge, Relationships
from explorer.tables import read_table


def load_knowledge(folder: Path) -> Knowledge:
    """Read every file of known pairs and gene sets that a folder's card names.

    Raises
    ------
    InputError
        When the card or one of its files can't be used.
    """
    card = read_knowledge_card(folder)
    return Knowledge(
        relationships=tuple(
            read_relationships(inside(folder, source.file), name=source.name) for source in card.relationships
        ),
        gene_sets=tuple(read_gene_sets(inside(folder, source.file), name=source.name) for source in card.gene_sets),
        licences={
            source.name: f"{source.license} · {source.citation}" for source in (*card.relationships, *card.gene_sets)
        },
    )


def knowledge_beside(dataset: Dataset) -> Knowledge:
    """Read the known relationships that a dataset's card names; empty where it names none."""
    name = dataset.card.relationships
    if name is None:
        return Knowledge()
    if NAME_PATTERN.fullmatch(name):
        beside = dataset.path.resolve().parent
        folder = (beside / name).resolve()
        if folder.parent == beside and (folder / CARD_FILE).is_file():
            return load_knowledge(folder)
    message = (
        f"the card of {dataset.name!r} names the relationships {shown(name)}: there is no folder of that name with a "
        f"{CARD_FILE} beside it; give the name alone, without a path"
    )
    raise InputError(message)


def read_relationships(path: Path, *, name: str | None = None) -> Relationships:
    """Read undirected pairs: the first two text columns of a table, whatever they are called."""
    table = read_table(path)
    text = [column for column in table.columns if table.schema[column] in (pl.String, pl.Categorical)]
    if len(text) < 2:
        message = f"{path.name!r} needs two columns of names, one pair a line; it has {listed(table.columns)}"
        raise InputError(message)
    return Relationships.from_pairs(
        name or path.name.split(".")[0], table[text[0]].cast(pl.String), table[text[1]].cast(pl.String)
    )


def read_gene_sets(path: Path, *, name: str | None = None) -> GeneSets:
    """Read gene sets from a GMT file: name, identifier, members, separated by tabs; gz too.

    Raises
    ------
    InputError
        When a line has no member; the message gives its number.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    sets: dict[str, tuple[str, ...]] = {}
    try:
        with opener(path, "rt", encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                cells = line.rstrip("\n\r").split("\t")
                members = tuple(dict.fromkeys(cell for cell in cells[2:] if cell))
                if not members:
                    message = f"{path.name!r}, line {number}: expected name, identifier and members between tabs"
                    raise InputError(message)
                sets[cells[0]] = members
    except (OSError, UnicodeDecodeError, EOFError) as error:
        message = f"can't read the gene sets {path.name!r}: {error}"
        raise InputError(message) from error
    return GeneSets(name or path.name.split(".")[0], sets)
