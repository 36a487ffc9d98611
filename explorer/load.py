"""Files to screens: dataset folders with a card, and single h5ad, zarr, parquet, csv, tsv and npy files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from explorer.aggregate import PerturbationMap
from explorer.align import METHODS
from explorer.card import CARD_FILE, Card, ContextCard, RepresentationCard, inside, is_knowledge, read_card
from explorer.errors import InputError, listed, shown, unknown_name
from explorer.layout import Layout
from explorer.matching import RowNames
from explorer.roles import detect_roles
from explorer.screen import Context, Kind, Representation, Roles, RowSource, Screen
from explorer.sources import ReorderedSource
from explorer.stored import ROW_NAMES, is_stored, matrix_keys, read_obs, stored_keys, stored_source
from explorer.tables import FeatureTable, is_table, read_npy, read_table, split_features


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
    try:
        return _open(Path(path), {key: value for key, value in (roles or {}).items() if value is not None})
    except OSError as error:
        message = f"can't open {shown(path, limit=300)}: {error.strerror or error}; check the name and who may read it"
        raise InputError(message) from error


def _open(path: Path, given: Mapping[str, Any]) -> Dataset:
    if not path.exists():
        message = f"no such path: {shown(path, limit=300)}; check the spelling"
        raise InputError(message)
    if path.is_dir() and (path / CARD_FILE).is_file():
        if is_knowledge(path):
            message = f"{path.name!r} holds known relationships, not a dataset: name a dataset folder"
            raise InputError(message)
        card = read_card(path)
        if "control" in given:
            # A label given by hand stands in for whatever the card says of controls.
            given = {"control_column": None, **given}
        card = replace(card, roles=replace(card.roles, **given))
        _check_card(path, card)
        return Dataset(path.resolve().name, path, card)
    if path.suffix == ".npy":
        message = f"{path.name!r} has no row names: put it beside a row table and name it in a {CARD_FILE}"
        raise InputError(message)
    if is_table(path) or is_stored(path):
        return _dataset_of_file(path, given)
    if path.is_dir():
        below = sorted(folder.name for folder in path.iterdir() if (folder / CARD_FILE).is_file())
        hint = f"name one of its datasets: {listed(below)}" if below else f"a dataset folder has a {CARD_FILE}"
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
    has_card = (dataset.path / CARD_FILE).is_file()
    path = inside(dataset.path, entry.rows) if has_card else dataset.path
    roles = dataset.card.roles
    rows, primary = _read_rows_of(path, roles)
    shell = Screen(dataset.name, entry.context, rows, roles)
    names = RowNames(rows, roles)
    representations = {
        name: _representation(dataset, card, entry, (primary, names))
        for name, card in dataset.card.representations.items()
    }
    return replace(shell, representations=representations)


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
    path = inside(dataset.path, dataset.card.layouts)
    try:
        lines = pl.scan_parquet(path, glob=False).filter(pl.col("recipe") == perturbation_map.fingerprint).collect()
        lines = lines.sort("perturbation")
        if not lines.height or lines["perturbation"].to_list() != list(perturbation_map.names):
            return None
        coordinates = lines.select(pl.col("x", "y").cast(pl.Float32)).to_numpy()
        return Layout(str(lines["method"][0]), coordinates, float(lines["trustworthiness"][0]))
    except (pl.exceptions.PolarsError, OSError, TypeError) as error:
        message = f"can't read the layouts {path.name!r}: expected recipe, perturbation, x, y, method, trustworthiness"
        raise InputError(message) from error


def _check_card(folder: Path, card: Card) -> None:
    for representation in card.representations.values():
        other = representation.seed_of
        if other is not None and other not in card.representations:
            msg = f"{folder.name}/{CARD_FILE}: {unknown_name('seed_of', other, card.representations)}"
            raise InputError(msg)
        for context in card.contexts:
            source = representation.source.replace("{context}", context)
            if not _is_key(source):
                inside(folder, source)
    for entry in card.contexts.values():
        inside(folder, entry.rows)
    if card.layouts is not None:
        inside(folder, card.layouts)
    defaults = card.defaults or {}
    offered: tuple[tuple[str, str, Iterable[str]], ...] = (
        ("context", "context", card.contexts),
        ("left", "representation", card.representations),
        ("right", "representation", card.representations),
        ("align", "alignment", METHODS),
    )
    for key, kind, options in offered:
        if key in defaults and defaults[key] not in options:
            msg = f"{folder.name}/{CARD_FILE} [defaults]: {unknown_name(kind, defaults[key], options)}"
            raise InputError(msg)


def _is_key(source: str) -> bool:
    return source == "X" or source.startswith(("obsm/", "layers/"))


def _read_rows_of(path: Path, roles: Roles) -> tuple[pl.DataFrame, FeatureTable | Path]:
    """Read the row table, and say where its own matrix is: in the same table, or in the stored file."""
    if is_stored(path):
        return read_obs(path), path
    table = read_table(path)
    named = [roles.perturbation, roles.batch, roles.guide, roles.control_column, *roles.group]
    known = tuple(column for column in named if column is not None)
    if all(column in known or not table.schema[column].is_numeric() for column in table.columns):
        return table, path
    split = split_features(table, path, metadata=known)
    return split.metadata, split


def _representation(
    dataset: Dataset,
    card: RepresentationCard,
    entry: ContextCard,
    rows: tuple[FeatureTable | Path, RowNames],
) -> Representation:
    primary, names = rows
    key = card.source.replace("{context}", entry.context.name)
    if _is_key(key):
        source, origin = _own_matrix(primary, key, card.name), f"{entry.rows}: {key}"
    else:
        path = inside(dataset.path, key)
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


def _other_file(path: Path, names: RowNames) -> RowSource:
    source: RowSource
    if path.suffix == ".npy":
        return read_npy(path)
    if is_stored(path):
        source, order = stored_source(path, "X"), names.order_of_names(read_obs(path)[ROW_NAMES], path.name)
    else:
        table = read_table(path)
        source = split_features(table, path, metadata=names.columns).features
        order = names.order_of_table(table, path.name)
    return source if order is None else ReorderedSource(source, order)


def _dataset_of_file(path: Path, given: Mapping[str, Any]) -> Dataset:
    stored = is_stored(path)
    rows = read_obs(path) if stored else read_table(path)
    roles, notes = detect_roles(rows, given)
    keys = matrix_keys(path) if stored else ["X"]
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
