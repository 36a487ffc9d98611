"""Files to screens: dataset folders with a card, and single h5ad, zarr, parquet, csv, tsv and npy files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from explorer.aggregate import PerturbationMap
from explorer.align import METHODS
from explorer.card import (
    CARD_FILE,
    LOG_NORMALIZE,
    PCA,
    Card,
    ContextCard,
    RepresentationCard,
    inside,
    is_knowledge,
    read_card,
)
from explorer.divide import divide_rows
from explorer.errors import InputError, listed, shown, unknown_name
from explorer.expression import LogNormalizedSource, PrincipalComponentsSource, recognize_expression, usual_components
from explorer.layout import Layout
from explorer.matching import Order, RowNames, SelectedRows, places_by_perturbation, rows_where
from explorer.roles import detect_roles
from explorer.screen import Context, Kind, Representation, Roles, RowSource, RowTable, Screen, check_roles
from explorer.sources import ArraySource, ReorderedSource, SpreadSource, State, Unchanged, select_rows, state_of
from explorer.stored import (
    ROW_NAMES,
    StoredRows,
    is_stored,
    matrix_keys,
    read_feature_names,
    read_obs,
    stored_keys,
    stored_source,
)
from explorer.tables import FeatureTable, Table, is_table, open_table, parquet_lines, read_npy, split_features


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
    opened
        Which version of the card, or of the single file, this is; None where that is of no account.
    """

    name: str
    path: Path
    card: Card
    notes: tuple[str, ...] = ()
    opened: State | None = None

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


def load_dataset(
    path: str | Path,
    *,
    roles: Mapping[str, Any] | None = None,
    context_column: str | None = None,
    called: str | None = None,
) -> Dataset:
    """Open a dataset folder or a single file without reading its rows; a sample tells whether a file holds counts.

    Parameters
    ----------
    path
        A folder with ``card.toml``, or an h5ad, zarr, parquet, csv or tsv file.
    roles
        For a single file: fields of `Roles` that override what its column names suggest.
    context_column
        For a single file: column each of whose values is a context of its own, where it has 3 perturbations or more;
        without it all rows are one context. A card says so itself, by ``where`` in each context.
    called
        What to call the path in a message; as it was given without it.

    Raises
    ------
    InputError
        When the path or what it holds can't be used; the message says how to mend it.
    """
    try:
        given = {key: value for key, value in (roles or {}).items() if value is not None}
        return _open(Path(path), given, column=context_column, called=shown(called or path, limit=300))
    except OSError as error:
        message = (
            f"can't open {shown(called or path, limit=300)}: {error.strerror or 'it can not be read'}; check the name "
            "and who may read it"
        )
        raise InputError(message) from error


def _open(path: Path, given: Mapping[str, Any], *, column: str | None, called: str) -> Dataset:
    opened = state_of(path / CARD_FILE)
    if not path.exists():
        message = f"no such path: {called}; check the spelling"
        raise InputError(message)
    if path.is_dir() and (path / CARD_FILE).is_file():
        if is_knowledge(path):
            message = f"{path.name!r} holds known relationships, not a dataset: name a dataset folder"
            raise InputError(message)
        card = read_card(path)
        if column is not None:
            message = (
                f"{path.name!r} has a {CARD_FILE}, which names its contexts: write "
                f'where = {{ {column} = "…" }} under [contexts.NAME] there'
            )
            raise InputError(message)
        if "control" in given:
            # A label given by hand stands in for whatever the card says of controls.
            given = {"control_column": None, **given}
        card = replace(card, roles=replace(card.roles, **given))
        _check_card(path, card)
        return Dataset(path.resolve().name, path, card, opened=opened)
    if path.suffix == ".npy":
        message = f"{path.name!r} has no row names: put it beside a row table and name it in a {CARD_FILE}"
        raise InputError(message)
    if is_table(path) or is_stored(path):
        return _dataset_of_file(path, given, column=column)
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
        With every representation of the card, and the columns that the roles name; feature matrices of h5ad and
        zarr files and of large parquet files are not read yet.

    Raises
    ------
    InputError
        When a file, column or key is absent or damaged, or row counts or names do not agree.
    """
    entry = dataset.card.contexts[dataset.context(context)]
    has_card = (dataset.path / CARD_FILE).is_file()
    path = inside(dataset.path, entry.rows) if has_card else dataset.path
    roles = dataset.card.roles
    file = Unchanged(path)
    where = dict(entry.where)
    every_column = [column for other in dataset.card.contexts.values() for column, _ in other.where]
    rows, primary = _open_rows(path, roles, also=every_column)
    check_roles(roles, primary.metadata if isinstance(primary, FeatureTable) else rows.columns)
    # Millions of rows have columns by the dozen; those without a role are never read.
    wanted = list(dict.fromkeys(column for _, column in roles.named()))
    table, names = rows.select(wanted), RowNames(rows, roles)
    found = _Rows(primary, names, table[roles.perturbation], roles.perturbation)
    if where:
        chosen = rows_where(rows, where, origin=path.name)
        roles, table = _roles_within(roles, table, chosen), table[chosen]
        of_chosen = RowNames(SelectedRows(rows, chosen), roles)
        found = _Rows(primary, names, table[roles.perturbation], roles.perturbation, chosen, of_chosen)
    shell = Screen(dataset.name, entry.context, table, roles)
    representations = {
        name: _representation(dataset, card, entry, found) for name, card in dataset.card.representations.items()
    }
    # Matched to the names of other rows, the rows of a file are wrong without a sign of it.
    file.check()
    return replace(shell, representations=representations)


def feature_names(dataset: Dataset, context: str, representation: str) -> tuple[str, ...]:
    """Read the names of the features of a representation.

    Parameters
    ----------
    dataset, context, representation
        Names of what `load_screen` reads.

    Returns
    -------
    tuple
        In the order of the features; empty where the file names none (``obsm``, npy), or they are made when it is read.

    Raises
    ------
    InputError
        When a file is absent or damaged.
    """
    entry, card = dataset.card.contexts[dataset.context(context)], dataset.card.representations[representation]
    if PCA in card.transform:
        return ()
    key = card.source.replace("{context}", entry.context.name)
    has_card = (dataset.path / CARD_FILE).is_file()
    path = inside(dataset.path, entry.rows if is_key(key) else key) if has_card else dataset.path
    if key.startswith("obsm/") or path.suffix == ".npy":
        return ()
    if is_stored(path):
        return read_feature_names(path)
    also = [column for other in dataset.card.contexts.values() for column, _ in other.where]
    if is_key(key):
        _, primary = _open_rows(path, dataset.card.roles, also=also)
        return primary.feature_names if isinstance(primary, FeatureTable) else ()
    return split_features(open_table(path), metadata=(ROW_NAMES, "row", dataset.card.roles.perturbation)).feature_names


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
        lines = parquet_lines(path).filter(pl.col("recipe") == perturbation_map.fingerprint).collect()
        lines = lines.sort("perturbation")
        if not lines.height or lines["perturbation"].to_list() != list(perturbation_map.names):
            return None
        coordinates = lines.select(pl.col("x", "y").cast(pl.Float32)).to_numpy()
        return Layout(str(lines["method"][0]), coordinates, float(lines["trustworthiness"][0]))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, TypeError, ValueError) as error:
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
            if not is_key(source):
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


def is_key(source: str) -> bool:
    """Whether a card's source is a key inside the file of the rows, not a file of its own."""
    return source == "X" or source.startswith(("obsm/", "layers/"))


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Where a file's own matrix is, what its rows are called, and which of them are a context's; None for all.

    The labels are the perturbations of the context's rows, of the column that is named.
    """

    primary: FeatureTable | Path
    names: RowNames
    labels: pl.Series
    column: str
    chosen: Order | None = None
    names_of_chosen: RowNames | None = None

    @property
    def n_chosen(self) -> int:
        return self.names.n_rows if self.chosen is None else len(self.chosen)

    def of_context(self, source: RowSource) -> RowSource:
        """Take the context's rows of a source that has all of the file's."""
        if self.chosen is None:
            return source
        selected: RowSource = select_rows(source, self.chosen)
        return selected


def _roles_within(roles: Roles, table: pl.DataFrame, chosen: Order) -> Roles:
    """Leave out the labels of controls that are in the file and not among a context's rows."""
    if not roles.control:
        return roles
    labels = table[roles.perturbation]
    everywhere, here = (set(part.unique().cast(pl.String).to_list()) for part in (labels, labels.gather(chosen)))
    return replace(roles, control=tuple(label for label in roles.control if label in here or label not in everywhere))


def _open_rows(path: Path, roles: Roles, *, also: Iterable[str] = ()) -> tuple[StoredRows | Table, FeatureTable | Path]:
    """Open the row table, and say where its own matrix is: in the same table, or in the stored file.

    Columns that a role names, and those named beside, are no features.
    """
    if is_stored(path):
        return StoredRows(path), path
    table = open_table(path)
    known = (*(column for _, column in roles.named()), *also)
    if all(column in known or not table.schema[column].is_numeric() for column in table.columns):
        return table, path
    return table, split_features(table, metadata=known)


def _representation(
    dataset: Dataset,
    card: RepresentationCard,
    entry: ContextCard,
    rows: _Rows,
) -> Representation:
    key = card.source.replace("{context}", entry.context.name)
    if not is_key(key) and card.saw == ():
        path = inside(dataset.path, key)
        return _made_of(_embedding(path, rows), card, path.name)
    if is_key(key):
        source, names, origin = _own_matrix(rows.primary, key, card.name), rows.names, f"{entry.rows}: {key}"
    else:
        path = inside(dataset.path, key)
        source, names = _other_file(path, rows)
        origin = path.name
    if source.shape[0] != names.n_rows:
        several = "" if rows.chosen is None else f" of the {rows.names.n_rows:,} in {entry.rows!r}"
        message = (
            f"representation {card.name!r} ({origin}) has {source.shape[0]:,} rows, the screen "
            f"{entry.context.name!r} has {rows.n_chosen:,}{several}: give it the same rows"
        )
        raise InputError(message)
    if names is rows.names:
        source = rows.of_context(source)
    return _made_of(source, card, origin)


def _made_of(source: RowSource, card: RepresentationCard, origin: str) -> Representation:
    return Representation(
        name=card.name,
        kind=card.kind,
        source=_transformed(source, card),
        origin=", ".join((origin, *card.transform)),
        description=card.description,
        trained=card.trained,
        seed_of=card.seed_of,
    )


def _embedding(path: Path, rows: _Rows) -> RowSource:
    """Open an embedding from elsewhere: of the screen's very rows, else of its perturbations, one row each.

    What is wrong with its names is said to whoever reads it, so that the rest of the dataset stays of use.
    """
    try:
        source, names = _other_file(path, rows)
        if source.shape[0] == names.n_rows:
            return rows.of_context(source) if names is rows.names else source
        problem = ""
    except InputError as error:
        problem = str(error)
    labels, column = rows.labels, rows.column
    try:
        if path.suffix == ".npy":
            message = f"{path.name!r} has no names, and other rows than the screen: name each row's perturbation"
            raise InputError(problem or message)
        if is_stored(path):
            table: RowTable = StoredRows(path)
            source = stored_source(path, "X")
        else:
            split = split_features(open_table(path), metadata=(ROW_NAMES, "row", column))
            table, source = split.table, split.features
    except InputError as error:
        return SpreadSource(ArraySource(np.empty((0, 1), dtype=np.float32)), _nowhere(labels), str(error))
    try:
        places = places_by_perturbation(table, labels, column=column, origin=path.name)
    except InputError as error:
        return SpreadSource(source, _nowhere(labels), str(error))
    return SpreadSource(source, places)


def _nowhere(labels: pl.Series) -> Order:
    return np.full(len(labels), -1, dtype=np.intp)


def _transformed(source: RowSource, card: RepresentationCard) -> RowSource:
    """Have the rows transformed when they are read, as the card says; nothing is read here."""
    if LOG_NORMALIZE in card.transform:
        source = LogNormalizedSource(source, name=card.name)
    if PCA in card.transform:
        source = PrincipalComponentsSource(source, card.components or usual_components(source.shape), card.name)
    return source


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


def _other_file(path: Path, rows: _Rows) -> tuple[RowSource, RowNames]:
    """Open a file beside the row table, and say whose rows it has: all of the row table's, or the context's alone."""
    source: RowSource
    if path.suffix == ".npy":
        source = read_npy(path)
        return source, _whose(rows, source.shape[0])
    if is_stored(path):
        own = read_obs(path, [ROW_NAMES])[ROW_NAMES]
        source, names = stored_source(path, "X"), _whose(rows, len(own))
        order = names.order_of_names(own, path.name)
    else:
        split = split_features(open_table(path), metadata=rows.names.columns)
        source, names = split.features, _whose(rows, split.table.height)
        order = names.order_of_table(split.table, path.name)
    return (source if order is None else ReorderedSource(source, order)), names


def _whose(rows: _Rows, n_rows: int) -> RowNames:
    own = rows.names_of_chosen
    return own if own is not None and n_rows == own.n_rows != rows.names.n_rows else rows.names


def _dataset_of_file(path: Path, given: Mapping[str, Any], *, column: str | None) -> Dataset:
    stored, opened = is_stored(path), state_of(path)
    rows: RowTable = StoredRows(path) if stored else open_table(path)
    roles, notes = detect_roles(rows, given)
    keys = matrix_keys(path) if stored else ["X"]
    if not keys:
        msg = f"{path.name!r} holds no matrix: neither X nor layers nor obsm"
        raise InputError(msg)
    representations = {key: RepresentationCard(key, _usual_kind(key), key) for key in keys}
    contexts: Mapping[str, ContextCard] = {"all": ContextCard(Context("all"), path.name)}
    smallest = rows.height
    if column is not None:
        division = divide_rows(rows, roles, column=column, file=path.name)
        contexts, smallest, notes = division.contexts, division.n_rows, (*notes, *division.notes)
    derived, derived_notes = _derived_cards(path, keys, smallest=smallest) if stored else ([], ())
    representations |= {card.name: card for card in derived}
    name = re.sub(r"[^A-Za-z0-9 ._+-]", "-", path.name.split(".")[0]) or "file"
    card = Card(
        title=path.name,
        license="not stated",
        citation="not stated",
        roles=roles,
        contexts=contexts,
        representations=representations,
        defaults=_usual_sides(representations, derived),
        description="A single file, opened without a card.",
    )
    return Dataset(name, path, card, (*notes, *derived_notes), opened)


def _derived_cards(path: Path, keys: list[str], *, smallest: int) -> tuple[list[RepresentationCard], tuple[str, ...]]:
    """Offer log-normalised counts and principal components where X or a layer holds expression, and say so.

    The first matrix of counts is taken; where there is none, X if it looks log-normalised. Where the file holds
    several contexts and the smallest, with so many rows, can't have as many components as others, each has its own
    number.
    """
    found = {}
    for key in keys:
        if not key.startswith("obsm/"):
            try:
                source = stored_source(path, key)
                found[key] = recognize_expression(source), source.shape
            except InputError:
                continue  # whoever asks for these rows is told why
    counts = next((key for key, (kind, _) in found.items() if kind == "counts"), None)
    if counts is None and found.get("X", (None, (0, 0)))[0] != "log-normalized":
        return [], ()
    key = counts or "X"
    most, least = (usual_components((n_rows, found[key][1][1])) for n_rows in (found[key][1][0], smallest))
    normalize = (LOG_NORMALIZE,) if counts else ()
    scaled = "counts of each row scaled to 10,000 in all, then log(1 + x)" if counts else f"{key} as it is"
    cards = [
        RepresentationCard(
            f"{key}/pca-{most}" if most == least else f"{key}/pca",
            "simple",
            key,
            description=f"principal components of the rows of the context; {scaled}",
            transform=(*normalize, PCA),
            components=most if most == least else None,
        )
    ]
    if not counts:
        return cards, (f"{key!r} looks log-normalised: {cards[0].name!r} is offered too",)
    cards.insert(0, RepresentationCard(f"{key}/log-normalized", "simple", key, description=scaled, transform=normalize))
    return cards, (f"{key!r} holds counts: {cards[0].name!r} and {cards[1].name!r} are offered too",)


def _usual_sides(
    representations: Mapping[str, RepresentationCard], derived: list[RepresentationCard]
) -> dict[str, str] | None:
    """Show log-normalised expression first, since a cosine of raw counts is one of the genes every cell expresses."""
    if not derived:
        return None
    left = derived[0].name if len(derived) > 1 else derived[0].source
    learned = [card.name for card in representations.values() if card.kind == "learned"]
    return {"left": left, "right": learned[0] if learned else derived[-1].name}


def _usual_kind(key: str) -> Kind:
    return "learned" if key.startswith("obsm/") and "pca" not in key.lower() else "simple"
