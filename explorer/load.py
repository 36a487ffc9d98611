"""Files to screens: dataset folders with a card, and single h5ad, zarr, parquet, csv, tsv and npy files."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from explorer.aggregate import PerturbationMap
from explorer.card import (
    CARD_FILE,
    Card,
    ContextCard,
    RepresentationCard,
    is_knowledge,
    read_card,
    read_knowledge_card,
)
from explorer.errors import InputError, listed, shown, unknown_name
from explorer.layout import Layout
from explorer.relationships import GeneSets, Knowledge, Relationships
from explorer.screen import Context, Kind, Representation, Roles, RowSource, Screen
from explorer.sources import ReorderedSource, open_group, stored_source
from explorer.tables import FeatureTable, is_table, read_npy, read_table, split_features

STORED_ENDINGS = (".h5ad", ".zarr", ".h5")

# The usual names, by who uses them: pertpy and scPerturb, cell-eval, pycytominer, this project.
USUAL_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "perturbation": (
        "perturbation", "perturbation_name", "target_gene", "gene", "gene_target", "Metadata_gene",
        "Metadata_broad_sample", "Metadata_JCP2022", "Metadata_pert_iname", "condition", "guide_target",
    ),
    "batch": ("batch", "gem_group", "batch_var", "Metadata_Plate", "Metadata_Assay_Plate_Barcode", "plate"),
    "guide": ("guide", "guide_id", "sgRNA", "guide_identity", "sgID_AB"),
}  # fmt: skip
USUAL_CONTROLS = (
    "non-targeting", "control", "ctrl", "NT", "nontargeting", "non_targeting", "negcon", "DMSO", "vehicle",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """The screens of one study, not yet read: a card and where its files are.

    Attributes
    ----------
    name
        Name of the folder, or of the file without its ending.
    path
        The folder, or the single file.
    card
        What the dataset says about itself; made up for a single file.
    notes
        What was assumed, in sentences: roles found by the usual column names.
    """

    name: str
    path: Path
    card: Card
    notes: tuple[str, ...] = ()

    @property
    def contexts(self) -> tuple[str, ...]:
        """Names of the contexts, in the card's order."""
        return tuple(self.card.contexts)

    def context(self, name: str | None = None) -> str:
        """Check a context's name; without one, the card's default or the first.

        Raises
        ------
        InputError
            When there is none of that name.
        """
        if name is None:
            name = (self.card.defaults or {}).get("context", self.contexts[0])
        if name not in self.card.contexts:
            msg = "context"
            raise unknown_name(msg, name, self.contexts)
        return name


def load_dataset(path: str | Path, *, roles: Mapping[str, Any] | None = None) -> Dataset:
    """Open a dataset folder or a single file without reading its rows.

    Parameters
    ----------
    path
        A folder with ``card.toml``, or an h5ad, zarr, parquet, csv or tsv file.
    roles
        For a single file: fields of `Roles` that override what its column names suggest.

    Raises
    ------
    InputError
        When the path or what it holds can't be used; the message says how to mend it.
    """
    path = Path(path)
    if not path.exists():
        message = f"no such path: {shown(path)}; check the spelling"
        raise InputError(message)
    if path.is_dir() and (path / CARD_FILE).is_file():
        if is_knowledge(path):
            message = f"{path.name!r} holds known relationships, not a dataset: name a dataset folder"
            raise InputError(message)
        given = {key: value for key, value in (roles or {}).items() if value is not None}
        card = read_card(path)
        if given:
            card = replace(card, roles=replace(card.roles, **given))
        _check_card(path, card)
        return Dataset(path.resolve().name, path, card)
    if path.suffix == ".npy":
        message = f"{path.name!r} has no row names: put it beside a row table and name it in a {CARD_FILE}"
        raise InputError(message)
    if is_table(path) or path.suffix in STORED_ENDINGS or _is_zarr(path):
        return _dataset_of_file(path, roles or {})
    if path.is_dir():
        inside = sorted(folder.name for folder in path.iterdir() if (folder / CARD_FILE).is_file())
        hint = f"name one of its datasets: {listed(inside)}" if inside else f"a dataset folder has a {CARD_FILE}"
        msg = f"{path.name!r} is not a dataset: {hint}"
        raise InputError(msg)
    message = f"can't tell what {path.name!r} is: expected .h5ad, .zarr, .parquet, .csv or .tsv, .gz too"
    raise InputError(message)


def load_screen(dataset: Dataset, context: str | None = None) -> Screen:
    """Read the rows of one context and find its representations.

    Parameters
    ----------
    dataset
        As `load_dataset` opened it.
    context
        Its name; the card's default without one.

    Returns
    -------
    Screen
        With every representation of the card; feature matrices of h5ad and zarr files are not read yet.

    Raises
    ------
    InputError
        When a file, column or key is absent or damaged, or row counts or names do not agree.
    """
    entry = dataset.card.contexts[dataset.context(context)]
    path = dataset.path if dataset.path.is_file() or _is_zarr(dataset.path) else _inside(dataset.path, entry.rows)
    roles = dataset.card.roles
    rows, primary = _read_rows_of(path, roles)
    shell = Screen(dataset.name, entry.context, rows, roles)
    names = _RowNames(rows, roles)
    representations = {
        name: _representation(dataset, card, entry, (primary, names))
        for name, card in dataset.card.representations.items()
    }
    return replace(shell, representations=representations)


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
            read_relationships(_inside(folder, source.file), name=source.name) for source in card.relationships
        ),
        gene_sets=tuple(read_gene_sets(_inside(folder, source.file), name=source.name) for source in card.gene_sets),
        licences={
            source.name: f"{source.license} · {source.citation}" for source in (*card.relationships, *card.gene_sets)
        },
    )


def knowledge_beside(dataset: Dataset) -> Knowledge:
    """Read the known relationships that a dataset's card names; empty where it names none."""
    name = dataset.card.relationships
    if name is None:
        return Knowledge()
    folder = dataset.path.resolve().parent / name
    if "/" in name or "\\" in name or name.startswith(".") or not (folder / CARD_FILE).is_file():
        message = f"the card of {dataset.name!r} names the relationships {shown(name)}: no such folder beside it"
        raise InputError(message)
    return load_knowledge(folder)


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


def load_layout(dataset: Dataset, perturbation_map: PerturbationMap) -> Layout | None:
    """Find a layout that is shipped with the dataset and was made from exactly this map's recipe.

    The file is a table ``recipe, perturbation, x, y, method, trustworthiness``, one line a perturbation.

    Returns
    -------
    Layout or None
        None where the dataset ships none for this recipe and these perturbations.
    """
    if dataset.card.layouts is None:
        return None
    path = _inside(dataset.path, dataset.card.layouts)
    try:
        lines = pl.scan_parquet(path).filter(pl.col("recipe") == perturbation_map.fingerprint).collect()
        lines = lines.sort("perturbation")
        if not lines.height or lines["perturbation"].to_list() != list(perturbation_map.names):
            return None
        coordinates = lines.select(pl.col("x", "y").cast(pl.Float32)).to_numpy()
        return Layout(str(lines["method"][0]), coordinates, float(lines["trustworthiness"][0]))
    except (pl.exceptions.PolarsError, OSError, TypeError) as error:
        message = f"can't read the layouts {path.name!r}: expected recipe, perturbation, x, y, method, trustworthiness"
        raise InputError(message) from error


def _inside(folder: Path, name: str) -> Path:
    """Resolve a file named in a card; nothing outside the folder is ever opened."""
    root = folder.resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root) or path == root:
        message = f"the card of {folder.name!r} names {shown(name)}: files must lie inside the dataset's folder"
        raise InputError(message)
    if not path.exists():
        here = [item.name for item in root.iterdir() if item.name != CARD_FILE]
        msg = f"the card of {folder.name!r}: {unknown_name('file', name, here)}"
        raise InputError(msg)
    return path


def _is_zarr(path: Path) -> bool:
    return path.is_dir() and (path.suffix == ".zarr" or (path / "zarr.json").is_file() or (path / ".zgroup").is_file())


def _check_card(folder: Path, card: Card) -> None:
    for representation in card.representations.values():
        other = representation.seed_of
        if other is not None and other not in card.representations:
            msg = f"{folder.name}/{CARD_FILE}: {unknown_name('seed_of', other, card.representations)}"
            raise InputError(msg)
        for context in card.contexts:
            source = representation.source.replace("{context}", context)
            if not _is_key(source):
                _inside(folder, source)
    for entry in card.contexts.values():
        _inside(folder, entry.rows)
    if card.layouts is not None:
        _inside(folder, card.layouts)
    default = (card.defaults or {}).get("context")
    if default is not None and default not in card.contexts:
        msg = f"{folder.name}/{CARD_FILE}: {unknown_name('context', default, card.contexts)}"
        raise InputError(msg)
    for side in ("left", "right"):
        name = (card.defaults or {}).get(side, next(iter(card.representations)))
        if name not in card.representations:
            msg = f"{folder.name}/{CARD_FILE}: {unknown_name('representation', name, card.representations)}"
            raise InputError(msg)


def _is_key(source: str) -> bool:
    return source == "X" or source.startswith(("obsm/", "layers/"))


def _read_rows_of(path: Path, roles: Roles) -> tuple[pl.DataFrame, FeatureTable | Path]:
    """Read the row table, and say where its own matrix is: in the same table, or in the stored file."""
    if path.suffix in STORED_ENDINGS or _is_zarr(path):
        return _read_obs(path), path
    table = read_table(path)
    named = [roles.perturbation, roles.batch, roles.guide, roles.control_column, *roles.group]
    known = tuple(column for column in named if column is not None)
    if all(column in known or not table.schema[column].is_numeric() for column in table.columns):
        return table, path
    split = split_features(table, path, metadata=known)
    return split.metadata, split


def _read_obs(path: Path) -> pl.DataFrame:
    """Read ``obs`` of an h5ad or zarr file: numbers, truth values, text and categories."""
    with open_group(path) as group:
        if "obs" not in group:
            msg = f"{path.name!r} has no 'obs' table: it is not an AnnData file"
            raise InputError(msg)
        obs = group["obs"]
        index_key = str(obs.attrs.get("_index", "_index"))
        order = [str(name) for name in obs.attrs.get("column-order", [])]
        columns: dict[str, Any] = {"_row": _read_column(obs[index_key])}
        for name in order:
            columns[name] = _read_column(obs[name])
    return pl.DataFrame(columns)


def _read_column(node: Any) -> pl.Series:
    if hasattr(node, "shape"):
        return _series(np.asarray(node[:]))
    encoding = str(node.attrs.get("encoding-type", ""))
    if encoding == "categorical" or "codes" in node:
        categories = _read_column(node["categories"]).to_list()
        codes = np.asarray(node["codes"][:]).tolist()
        return pl.Series([categories[code] if code >= 0 else None for code in codes])
    if "values" in node:  # nullable integers and booleans, and nullable strings
        values = _read_column(node["values"])
        return values.set(_series(np.asarray(node["mask"][:])), None) if "mask" in node else values
    message = f"can't read a column stored as {encoding!r}: write it as text, numbers or a category"
    raise InputError(message)


def _series(values: np.ndarray[Any, Any]) -> pl.Series:
    if values.dtype.kind in "OSTU":
        return pl.Series(
            [item.decode() if isinstance(item, bytes) else str(item) for item in values.tolist()],
            dtype=pl.String,
        )
    return pl.Series(values)


class _RowNames:
    """How the rows of another file can be matched to the rows of a screen."""

    def __init__(self, rows: pl.DataFrame, roles: Roles) -> None:
        self.n_rows = rows.height
        self.by_column = {
            column: rows[column].cast(pl.String)
            for column in ("_row", "row", roles.perturbation)
            if column in rows.columns and rows[column].n_unique() == rows.height
        }
        self.candidates = ("_row", "row", roles.perturbation)

    def order(self, names: pl.Series | None, key: str | None, origin: str) -> np.ndarray[Any, Any] | None:
        """Find the stored row of each row of the screen; None where both are in the same order already."""
        if names is None or key is None:
            return None
        own = self.by_column[key]
        if names.n_unique() != len(names):
            repeated = names.value_counts(sort=True).filter(pl.col("count") > 1)[names.name]
            msg = f"{origin!r} names rows more than once: {listed(repeated)}; make its row names unique"
            raise InputError(msg)
        missing = own.filter(~own.is_in(names.implode()))
        extra = names.filter(~names.is_in(own.implode()))
        if len(missing) or len(extra):
            lacks = f"lacks {len(missing):,} rows ({listed(missing, limit=3)})" if len(missing) else ""
            adds = f"has {len(extra):,} rows the screen has not ({listed(extra, limit=3)})" if len(extra) else ""
            message = f"{origin!r} {' and '.join(part for part in (lacks, adds) if part)}: give it the screen's rows"
            raise InputError(message)
        places = {name: place for place, name in enumerate(names.to_list())}
        order = np.fromiter((places[name] for name in own.to_list()), dtype=np.intp, count=len(own))
        return None if np.array_equal(order, np.arange(len(order))) else order


def _representation(
    dataset: Dataset,
    card: RepresentationCard,
    entry: ContextCard,
    rows: tuple[FeatureTable | Path, _RowNames],
) -> Representation:
    primary, names = rows
    key = card.source.replace("{context}", entry.context.name)
    if _is_key(key):
        source, origin = _own_matrix(primary, key, card.name), f"{entry.rows}: {key}"
    else:
        path = _inside(dataset.path, key)
        source, origin = _other_file(path, names), path.name
    if source.shape[0] != names.n_rows:
        message = (
            f"representation {card.name!r} ({origin}) has {source.shape[0]:,} rows, the screen "
            f"{entry.context.name!r} has {names.n_rows:,}: give it the same rows"
        )
        raise InputError(message)
    return Representation(
        name=card.name,
        kind=card.kind,
        source=source,
        origin=origin,
        description=card.description,
        trained=card.trained,
        seed_of=card.seed_of,
    )


def _own_matrix(primary: FeatureTable | Path, key: str, name: str) -> RowSource:
    if isinstance(primary, FeatureTable):
        if key != "X":
            message = f"representation {name!r}: a table file has only 'X', not {key!r}"
            raise InputError(message)
        return primary.features
    if is_table(primary):
        message = f"representation {name!r}: {primary.name!r} has no numeric feature column"
        raise InputError(message)
    available = stored_keys(primary)
    if key not in available:
        msg = f"representation {name!r}: {unknown_name('key', key, available)}"
        raise InputError(msg)
    return stored_source(primary, key)


def stored_keys(path: Path) -> list[str]:
    """Name the matrices of an h5ad or zarr file: ``X``, ``layers/KEY``, ``obsm/KEY``."""
    with open_group(path) as group:
        keys = ["X"] if "X" in group else []
        for part in ("layers", "obsm"):
            if part in group:
                keys += [f"{part}/{key}" for key in group[part]]
    return keys


def _other_file(path: Path, names: _RowNames) -> RowSource:
    if path.suffix == ".npy":
        return read_npy(path)
    if path.suffix in STORED_ENDINGS or _is_zarr(path):
        found = _read_obs(path)["_row"]
        source: RowSource = stored_source(path, "X")
        # obs_names that are mere counters name nothing; then the order counts.
        counters = found.to_list() == [str(index) for index in range(len(found))]
        key = next(iter(names.by_column), None)
        order = None if counters else names.order(found, key, path.name)
    else:
        table = read_table(path)
        key = next(
            (column for column in names.candidates if column in table.columns and column in names.by_column),
            None,
        )
        split = split_features(table, path, metadata=names.candidates)
        source = split.features
        order = names.order(split.metadata[key].cast(pl.String), key, path.name) if key else None
    return source if order is None else ReorderedSource(source, order)


def _dataset_of_file(path: Path, given: Mapping[str, Any]) -> Dataset:
    stored = path.suffix in STORED_ENDINGS or _is_zarr(path)
    rows = _read_obs(path) if stored else read_table(path)
    roles, notes = detect_roles(rows, {key: value for key, value in given.items() if value is not None})
    keys = stored_keys(path) if stored else ["X"]
    if not keys:
        msg = f"{path.name!r} holds no matrix: neither X nor layers nor obsm"
        raise InputError(msg)
    name = re.sub(r"[^A-Za-z0-9 ._+-]", "-", path.name.split(".")[0]) or "file"
    card = Card(
        title=path.name,
        license="not stated",
        citation="not stated",
        roles=roles,
        contexts={"all": ContextCard(Context("all"), path.name)},
        representations={key: RepresentationCard(key, _usual_kind(key), key) for key in keys},
        description="A single file, opened without a card.",
    )
    return Dataset(name, path, card, notes)


def _usual_kind(key: str) -> Kind:
    return "learned" if key.startswith("obsm/") and "pca" not in key.lower() else "simple"


def detect_roles(rows: pl.DataFrame, given: Mapping[str, Any]) -> tuple[Roles, tuple[str, ...]]:
    """Find the roles of a file's columns by the names that are usual in the field.

    Parameters
    ----------
    rows
        Metadata, one line a row.
    given
        Fields of `Roles` that the user stated; they are taken as they are.

    Returns
    -------
    tuple
        The roles, and one sentence for each that was assumed.

    Raises
    ------
    InputError
        When no column can be the perturbation.
    """
    found = dict(given)
    notes = []
    for role, usual in USUAL_COLUMNS.items():
        if role not in found:
            column = next((name for name in usual if name in rows.columns), None)
            if column is not None:
                found[role] = column
                notes.append(f"{role} is taken to be the column {shown(column)}")
    text = [name for name in rows.columns if rows.schema[name] == pl.String and name != "_row"]
    if "perturbation" not in found:
        if len(text) != 1:
            message = (
                f"can't tell which column is the perturbation: name it with --perturbation; "
                f"columns: {listed(rows.columns, limit=8)}"
            )
            raise InputError(message)
        found["perturbation"] = text[0]
        notes.append(f"perturbation is taken to be the only text column, {shown(text[0])}")
    column = found["perturbation"]
    if column not in rows.columns:
        msg = "perturbation column"
        raise unknown_name(msg, column, rows.columns)
    if "control" not in found:
        present = set(rows[column].cast(pl.String).unique().drop_nulls().to_list())
        labels = tuple(label for label in USUAL_CONTROLS if label in present)
        if labels:
            found["control"] = labels
            notes.append(f"controls are taken to be the rows labelled {listed(labels)}")
    return Roles(**found), tuple(notes)
