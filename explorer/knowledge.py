"""Known relationships and gene sets: files of pairs and GMT files, as a folder's card names them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from explorer.card import CARD_FILE, NAME_PATTERN, inside, read_knowledge_card
from explorer.errors import InputError, listed, shown
from explorer.load import Dataset
from explorer.relationships import GeneSets, Knowledge, Relationships
from explorer.tables import TABLE_ENDINGS, is_table, read_table, read_unpacked

# What the column is called that says which complex or pathway a pair is of.
GROUP_COLUMNS = ("group", "complex", "pathway", "module", "cluster", "community", "set", "gene_set", "geneset", "term")
_GMT_ENDINGS = (".gmt", ".gmt.gz")
# Of the second cells of a table of two columns, how many must be lists for the table to be one of groups.
_MOSTLY = 0.5


def load_knowledge(folder: str | Path) -> Knowledge:
    """Read every file of known pairs and gene sets that a folder's card names.

    Raises
    ------
    InputError
        When the card or one of its files can't be used.
    """
    folder = Path(folder)
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
        f"{dataset.name}/{CARD_FILE} names the relationships {shown(name)}: there is no folder of that name with a "
        f"{CARD_FILE} beside it; give the name alone, without a path"
    )
    raise InputError(message)


def read_source(path: Path) -> Relationships | GeneSets:
    """Read a file of known pairs or sets, whatever of the usual forms it has.

    A table of pairs (parquet, csv, tsv, txt, gz too): its first two text columns, and groups where a third one is
    called complex, pathway, group, module … A GMT file of sets. A table of two columns, name and members, which
    are separated by blanks or commas.

    Parameters
    ----------
    path
        The file; the source is called by its name without the ending.

    Raises
    ------
    InputError
        When it is none of these, or can't be read, or holds no pair of two different names.
    """
    found: Relationships | GeneSets
    lower = path.name.lower()
    if lower.endswith(_GMT_ENDINGS) and path.is_file():
        found = read_gene_sets(path)
    elif is_table(path) or not path.is_file():
        found = _read_clusters(path) or read_relationships(path)
    else:
        endings = ", ".join((*_GMT_ENDINGS, *TABLE_ENDINGS))
        msg = (
            f"can't tell what {shown(path.name)} is: expected pairs or sets in a file with one of the endings {endings}"
        )
        raise InputError(msg)
    n_pairs = found.n_pairs if isinstance(found, Relationships) else max(map(len, found.sets.values()), default=0) - 1
    if n_pairs < 1:
        msg = f"{shown(path.name)} holds no pair of two different names: give two names a line, or sets of several"
        raise InputError(msg)
    return found


def with_further(
    own: Iterable[Relationships | GeneSets], further: Iterable[Relationships | GeneSets]
) -> tuple[Relationships | GeneSets, ...]:
    """Add sources that somebody brought to those of a dataset.

    Raises
    ------
    InputError
        When two are called alike, since their groups could not be told apart.
    """
    every = (*own, *further)
    called = [source.name for source in every]
    twice = next((name for name in called if called.count(name) > 1), None)
    if twice is not None:
        message = f"two sources are called {shown(twice)}: rename one of the files"
        raise InputError(message)
    return every


def read_relationships(path: Path, *, name: str | None = None) -> Relationships:
    """Read undirected pairs: the first two text columns of a table, whatever they are called.

    Where there is a third one that is called complex, pathway, group, module …, it names the group of each pair.
    """
    table = _in_columns(read_table(path), path)
    text = [column for column in table.columns if table.schema[column] in (pl.String, pl.Categorical)]
    group = next((column for column in text if column.strip().casefold() in GROUP_COLUMNS), None)
    pair = [column for column in text if column != group][:2]
    if len(pair) < 2:
        group, pair = None, text[:2]
    if len(pair) < 2:
        message = f"{path.name!r} needs two columns of names, one pair a line; it has {listed(table.columns)}"
        raise InputError(message)
    first, second = (table[column].cast(pl.String) for column in pair)
    if any("\0" in str(name) for name in (*table.columns, *first.head(9), *second.head(9))):
        message = f"can't read {path.name!r}: it is no text in UTF-8; save it as UTF-8, and read it again"
        raise InputError(message)
    groups = None if group is None else table[group].cast(pl.String)
    if group is None and _is_pair_of_names(pair, (first, second)):
        # A file without a header: its first line is a pair like any other.
        first, second = (
            pl.concat([pl.Series([name]), column]) for name, column in zip(pair, (first, second), strict=True)
        )
    return Relationships.from_pairs(name or path.name.split(".")[0], first, second, group=groups)


def _in_columns(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Read a file of one column again whose cells are separated by commas, whatever its ending says."""
    if table.width != 1 or "," not in table.columns[0]:
        return table
    lines = [table.columns[0], *table.to_series().alias("line").cast(pl.String).fill_null("").to_list()]
    try:
        return pl.read_csv(
            io.StringIO("\n".join(lines)), infer_schema_length=None, null_values=["", "NA", "nan", "NaN"]
        )
    except pl.exceptions.PolarsError as error:
        message = (
            f"can't read {path.name!r}: {str(error).splitlines()[0]}; is the file whole, and what its ending says?"
        )
        raise InputError(message) from error


def _is_pair_of_names(header: Sequence[str], columns: Sequence[pl.Series]) -> bool:
    """Whether both names of the header stand among the names below it."""
    every = set().union(*(column.drop_nulls().to_list() for column in columns))
    return all(name in every for name in header)


def _read_clusters(path: Path) -> GeneSets | None:
    """Read a table of two columns, name and members; None where the file is something else."""
    if not path.is_file() or path.name.lower().endswith(".parquet"):
        return None
    try:
        lines = [line.split("\t") for line in _lines_of(path) if line.strip()]
    except (OSError, ValueError):
        return None  # whoever reads it as a table says what is wrong
    if not lines or any(len(cells) != 2 for cells in lines):
        return None
    members = {name: tuple(dict.fromkeys(cell.replace(",", " ").split())) for name, cell in lines}
    several = sum(len(own) > 1 for own in members.values())
    # Names of compounds hold blanks too, but they stand in several pairs, and names of sets do not repeat.
    if len(members) < len(lines) or several < _MOSTLY * len(lines):
        return None
    # A header is a name that stands for no member of anything.
    first = lines[0][0]
    if len(members[first]) == 1 and members[first][0].casefold() in ("members", "genes", "genes_symbols", "subunits"):
        members.pop(first)
    return GeneSets(path.name.split(".")[0], members)


def read_gene_sets(path: Path, *, name: str | None = None) -> GeneSets:
    """Read gene sets from a GMT file: name, identifier, members, separated by tabs; gz too; empty lines are skipped.

    Raises
    ------
    InputError
        When a line has no member; the message gives its number.
    """
    # A set that stands in several lines has the members of all of them.
    sets: dict[str, dict[str, None]] = {}
    try:
        lines = _lines_of(path)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        message = f"can't read the gene sets {path.name!r}: {getattr(error, 'strerror', None) or error}"
        raise InputError(message) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        cells = line.split("\t")
        members = [cell for cell in cells[2:] if cell]
        if not members:
            message = f"{path.name!r}, line {number}: expected name, identifier and members between tabs"
            raise InputError(message)
        sets.setdefault(cells[0], {}).update(dict.fromkeys(members))
    return GeneSets(name or path.name.split(".")[0], {key: tuple(members) for key, members in sets.items()})


def _lines_of(path: Path) -> list[str]:
    """Read the lines of a text file in UTF-8, unpacked where it is a gzip file."""
    return read_unpacked(path).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n").split("\n")
