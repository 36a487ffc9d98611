"""The dataset card: roles, contexts, representations, licence and provenance, as ``card.toml`` states them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from explorer.errors import InputError, shown, unknown_name
from explorer.screen import KINDS, Context, Kind, Roles

CARD_FILE = "card.toml"
# What may be done to the rows of a representation when they are read, in this order.
LOG_NORMALIZE, PCA = "log-normalize", "pca"
TRANSFORMS = (LOG_NORMALIZE, PCA)
# A card is text for people. The time to read a name of dotted parts grows with the square of their number.
MOST_BYTES = 4 * 2**20
MOST_PARTS = 16
_NESTED = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){16}""")
# More components, neighbours or whatever else is counted than any file has columns.
MOST_COUNT = 1_000_000_000
# Names of datasets, contexts and representations travel in links and file names.
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,79}")

_TOP = (
    "title", "license", "citation", "description", "provenance", "relationships", "roles", "contexts",
    "representations", "defaults", "examples", "cautions", "layouts",
)  # fmt: skip
_ROLES = ("perturbation", "control", "keep_controls", "batch", "guide", "group", "replicates")
_CONTEXT = ("rows", "where", "cell_system", "perturbation_type", "technique", "outcome", "time", "study", "features")
_REPRESENTATION = ("kind", "source", "transform", "components", "description", "trained", "seed_of", "of", "saw")
_DEFAULTS = ("context", "query", "left", "right", "align", "k")
_EXAMPLE = ("query", "context", "text")
_CAUTION = ("text", "perturbations")
_KNOWLEDGE_TOP = ("kind", "title", "license", "description", "provenance", "relationships", "gene_sets")
_KNOWLEDGE = ("file", "license", "citation", "description", "url")


@dataclass(frozen=True, slots=True)
class ContextCard:
    """One context: its conditions, the file of its rows relative to the card, and what its features are.

    Where the file holds several contexts, `where` says which rows are this one's: pairs of a column and the labels
    that it may have, all of which must hold.
    """

    context: Context
    rows: str
    features: str = ""
    where: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def selection(self) -> str:
        """Which rows of the file these are, in words; empty where it is all of them."""
        return " and ".join(f"{column} is {' or '.join(labels)}" for column, labels in self.where)


@dataclass(frozen=True, slots=True)
class RepresentationCard:
    """One representation: its kind and where its rows are; ``{context}`` in `source` is filled in.

    What is done to the rows when they are read stands in `transform`, some of `TRANSFORMS`; `components` are those of
    ``pca``, None for the usual number. Contexts that it was made or trained from stand in `saw`, of another dataset as
    ``DATASET/CONTEXT``: None where the card does not say, which is its own context alone, and empty for an embedding of
    perturbations from elsewhere, whose file may have one row a perturbation.
    """

    name: str
    kind: Kind
    source: str
    description: str = ""
    trained: str = ""
    seed_of: str | None = None
    of: str | None = None
    transform: tuple[str, ...] = ()
    components: int | None = None
    saw: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A query worth looking at, and why; an illustration, not evidence."""

    query: str
    context: str
    text: str


@dataclass(frozen=True, slots=True)
class Caution:
    """Perturbations whose profiles are to be distrusted, and why."""

    text: str
    perturbations: frozenset[str]


@dataclass(frozen=True, slots=True)
class Card:
    """All that a dataset says about itself.

    Attributes
    ----------
    title, license, citation, description, provenance
        Text for people; provenance says how the files were made.
    roles
        Which column plays which part.
    contexts, representations
        By name, in the card's order.
    relationships
        Name of a folder beside the dataset's that holds known relationships, if any.
    layouts
        File of 2-D layouts made ahead, if any.
    defaults, examples
        What to show first.
    cautions
        What to say when a perturbation of doubtful data is asked for or found.
    """

    title: str
    license: str
    citation: str
    roles: Roles
    contexts: Mapping[str, ContextCard]
    representations: Mapping[str, RepresentationCard]
    description: str = ""
    provenance: str = ""
    relationships: str | None = None
    layouts: str | None = None
    defaults: Mapping[str, str] | None = None
    examples: tuple[Example, ...] = ()
    cautions: tuple[Caution, ...] = ()


@dataclass(frozen=True, slots=True)
class KnowledgeSource:
    """One file of known pairs or gene sets, with its licence."""

    name: str
    file: str
    license: str
    citation: str


@dataclass(frozen=True, slots=True)
class KnowledgeCard:
    """What a folder of known relationships and gene sets offers."""

    title: str
    description: str
    relationships: tuple[KnowledgeSource, ...]
    gene_sets: tuple[KnowledgeSource, ...]


def cautions_about(cautions: Iterable[Caution], query: str, neighbors: Iterable[str]) -> list[str]:
    """Say in sentences which of a query and its neighbours a card says to distrust, and why."""
    every = list(neighbors)
    found = []
    for caution in cautions:
        if query in caution.perturbations:
            found.append(f"distrust this neighbourhood: {query} is {caution.text}")
        doubtful = [name for name in every if name in caution.perturbations]
        if doubtful:
            found.append(f"distrust among the neighbours {', '.join(doubtful)} ({caution.text})")
    return found


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    InputError
        When it is missing, a link that leads out of its folder, too large or not TOML; the message gives the line.
    """
    try:
        if not path.resolve().is_relative_to(path.parent.resolve()):
            message = f"{path.parent.name}/{path.name} is a link that leads out of its folder: copy the file there"
            raise InputError(message)
        if path.exists() and not path.is_file():  # a pipe would be waited for
            message = f"can't read {path.parent.name}/{path.name}: it is not a file; put a card there"
            raise InputError(message)
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except (OSError, RuntimeError) as error:
        message = f"can't read {path.parent.name}/{path.name}: {getattr(error, 'strerror', None) or error}"
        raise InputError(message) from error
    if len(content) > MOST_BYTES:
        message = (
            f"{path.parent.name}/{path.name} is larger than {MOST_BYTES // 2**20} MiB: a card holds text for "
            "people; put data into files beside it"
        )
        raise InputError(message)
    try:
        # TOML allows the two line endings, and nothing else is to be taken for one.
        text = content.decode("utf-8").replace("\r\n", "\n")
        if _NESTED.search(text):
            message = (
                f"{path.parent.name}/{path.name} has a name of more than {MOST_PARTS} parts with dots between "
                "them: write a shorter one"
            )
            raise InputError(message)
        return tomllib.loads(text)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, a number of thousands of digits, nested lists
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        message = f"{path.parent.name}/{path.name} is not valid TOML: {reason}"
        raise InputError(message) from error


def is_knowledge(folder: Path) -> bool:
    """Whether a folder's card declares known relationships rather than a dataset."""
    return read_toml(folder / CARD_FILE).get("kind") == "relationships"


def read_card(folder: Path) -> Card:
    """Read and check the card of a dataset folder.

    Raises
    ------
    InputError
        When the card is missing or not TOML, lacks a table, or has an unknown key (the nearest is named).
    """
    table = _Table(read_toml(folder / CARD_FILE), f"{folder.name}/{CARD_FILE}")
    table.allow(_TOP)
    contexts = table.tables("contexts", _CONTEXT)
    representations = table.tables("representations", _REPRESENTATION)
    defaults = table.table("defaults", _DEFAULTS)
    return Card(
        title=table.text("title", required=True),
        license=table.text("license", required=True),
        citation=table.text("citation", required=True),
        description=table.text("description"),
        provenance=table.text("provenance"),
        roles=_roles(table.table("roles", _ROLES, required=True)),
        contexts={name: _context(name, entry) for name, entry in contexts.items()},
        representations={
            name: _representation(name, entry, contexts=contexts) for name, entry in representations.items()
        },
        relationships=table.text("relationships") or None,
        layouts=table.text("layouts") or None,
        defaults={key: defaults.text_or_number(key) for key in defaults.values},
        examples=tuple(
            Example(entry.text("query", required=True), entry.text("context"), entry.text("text"))
            for entry in table.list_of_tables("examples", _EXAMPLE)
        ),
        cautions=tuple(
            Caution(entry.text("text", required=True), frozenset(entry.names("perturbations")))
            for entry in table.list_of_tables("cautions", _CAUTION)
        ),
    )


def read_knowledge_card(folder: Path) -> KnowledgeCard:
    """Read and check the card of a folder of known relationships.

    Raises
    ------
    InputError
        When the card can't be used; the message says why.
    """
    table = _Table(read_toml(folder / CARD_FILE), f"{folder.name}/{CARD_FILE}")
    table.allow(_KNOWLEDGE_TOP)

    def sources(key: str) -> tuple[KnowledgeSource, ...]:
        return tuple(
            KnowledgeSource(
                name=name,
                file=entry.text("file", required=True),
                license=entry.text("license", required=True),
                citation=entry.text("citation", required=True),
            )
            for name, entry in table.tables(key, _KNOWLEDGE, required=False).items()
        )

    return KnowledgeCard(
        title=table.text("title", required=True),
        description=table.text("description"),
        relationships=sources("relationships"),
        gene_sets=sources("gene_sets"),
    )


def inside(folder: Path, name: str) -> Path:
    """Find a file that a card names; nothing outside the card's folder is ever opened.

    Raises
    ------
    InputError
        When the name leads out of the folder, by dots, an absolute path or a link, or there is no such file.
    """
    try:
        root = folder.resolve()
        path = (root / name).resolve()
        found = path.exists()
        if found and not path.is_file() and not path.is_dir():
            message = "a pipe or a device"  # which would be waited for
            raise ValueError(message)
        if not found and path.is_symlink():
            # Python 3.13 resolves a link to itself as far as it can and says nothing.
            path.stat()
    except (OSError, RuntimeError, ValueError) as error:  # too long, a link to itself, a null character
        message = f"{folder.name}/{CARD_FILE} names {shown(name)}, which can't be opened: check the name"
        raise InputError(message) from error
    if not path.is_relative_to(root) or path == root:
        message = f"{folder.name}/{CARD_FILE} names {shown(name)}: files must lie inside the dataset's folder"
        raise InputError(message)
    if not found:
        here = [item.name for item in root.iterdir() if item.name != CARD_FILE]
        hint = (
            ""
            if "." in name
            else f"; a key of an h5ad file is written X, layers/KEY or obsm/KEY: {shown(f'obsm/{name}')}?"
        )
        msg = f"{folder.name}/{CARD_FILE}: {unknown_name('file', name, here)}{hint}"
        raise InputError(msg)
    return path


def _roles(table: _Table) -> Roles:
    control = table.values.get("control", ())
    column = None
    if isinstance(control, dict):
        entry = _Table(control, f"{table.where} control")
        entry.allow(("column",))
        column, control = entry.text("column", required=True), ()
    labels = _labels(table, "control", control)
    return Roles(
        perturbation=table.text("perturbation", required=True),
        control=labels,
        control_column=column,
        keep_controls=table.flag("keep_controls"),
        batch=table.text("batch") or None,
        guide=table.text("guide") or None,
        group=_labels(table, "group", table.values.get("group", ())),
        replicates=table.flag("replicates"),
    )


def _labels(table: _Table, key: str, value: object) -> tuple[str, ...]:
    """Read one name or a list of names."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        message = f"{table.where}: {key!r} is {shown(value)}, expected text in quotes or a list of such texts"
        raise InputError(message)
    return tuple(names)


def _context(name: str, table: _Table) -> ContextCard:
    stated = {key: table.text(key) for key in Context.__dataclass_fields__ if key != "name"}
    return ContextCard(
        context=Context(name, **{key: value for key, value in stated.items() if value}),
        rows=table.text("rows", required=True),
        features=table.text("features"),
        where=_where(table),
    )


def _where(table: _Table) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if "where" not in table.values:
        return ()
    given = table.values["where"]
    if not isinstance(given, dict) or not given:
        message = (
            f"{table.where}: 'where' is {shown(given)}, expected columns and labels: where = {{ COLUMN = \"LABEL\" }}"
        )
        raise InputError(message)
    where = tuple((column, _labels(table, f"where.{column}", labels)) for column, labels in given.items())
    for column, labels in where:
        if not labels:
            message = f"{table.where}: 'where' gives no label for the column {shown(column)}: name one or more"
            raise InputError(message)
    return where


def _representation(name: str, table: _Table, *, contexts: Iterable[str]) -> RepresentationCard:
    kind = table.text("kind", required=True)
    if kind not in KINDS:
        msg = f"{table.where}: {unknown_name('kind', kind, KINDS)}"
        raise InputError(msg)
    transform = _transform(table)
    components = table.number("components")
    if components is not None and PCA not in transform:
        message = f"{table.where}: 'components' is {components}, but there is no {PCA!r}: add transform = \"{PCA}\""
        raise InputError(message)
    return RepresentationCard(
        name=name,
        kind=kind,
        source=table.text("source", required=True),
        description=table.text("description"),
        trained=table.text("trained"),
        seed_of=table.text("seed_of") or None,
        of=table.text("of") or None,
        transform=transform,
        components=components,
        saw=_saw(table, contexts),
    )


def _saw(table: _Table, contexts: Iterable[str]) -> tuple[str, ...] | None:
    """Read the contexts that a representation was made from; those of other datasets are not looked up."""
    if "saw" not in table.values:
        return None
    names = _labels(table, "saw", table.values["saw"])
    for name in names:
        if name not in contexts and not is_address(name):
            unknown = unknown_name("context", name, contexts)
            message = f"{table.where}: {unknown}; write another dataset's as DATASET/CONTEXT"
            raise InputError(message)
    return tuple(dict.fromkeys(names))


def is_address(name: str) -> bool:
    """Whether a name can be that of a context of another dataset, ``DATASET/CONTEXT``."""
    parts = name.split("/")
    return len(parts) == 2 and all(NAME_PATTERN.fullmatch(part) for part in parts)


def _transform(table: _Table) -> tuple[str, ...]:
    text = table.text("transform")
    steps = tuple(step.strip() for step in text.split(",")) if text.strip() else ()
    for step in steps:
        if step not in TRANSFORMS:
            msg = f"{table.where}: {unknown_name('transform', step, TRANSFORMS)}"
            raise InputError(msg)
    if steps != tuple(step for step in TRANSFORMS if step in steps):
        message = (
            f"{table.where}: 'transform' is {shown(text)}, expected each step once, in this order: "
            f"{', '.join(TRANSFORMS)}"
        )
        raise InputError(message)
    return steps


@dataclass(frozen=True, slots=True)
class _Table:
    """One TOML table that knows where it stands, so that every error can say so."""

    values: dict[str, Any]
    where: str

    def allow(self, keys: Iterable[str]) -> None:
        for key in self.values:
            if key not in keys:
                msg = f"{self.where}: {unknown_name('key', key, keys)}"
                raise InputError(msg)

    def text(self, key: str, *, required: bool = False) -> str:
        value = self.values.get(key, "")
        if not isinstance(value, str):
            message = f"{self.where}: {key!r} is {shown(value)}, expected text in quotes"
            raise InputError(message)
        if required and not value.strip():
            msg = f'{self.where}: {key!r} is missing; add {key} = "…"'
            raise InputError(msg)
        return value

    def number(self, key: str) -> int | None:
        value = self.values.get(key)
        # A truth value is an integer to Python.
        whole = isinstance(value, int) and not isinstance(value, bool)
        if value is not None and not (whole and 1 <= value <= MOST_COUNT):
            msg = f"{self.where}: {key!r} is {shown(value)}, expected a whole number of 1 or more"
            raise InputError(msg)
        return value

    def text_or_number(self, key: str) -> str:
        value = self.values.get(key, "")
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MOST_COUNT:
            return str(value)
        return self.text(key)

    def flag(self, key: str) -> bool:
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            msg = f"{self.where}: {key!r} is {shown(value)}, expected true or false"
            raise InputError(msg)
        return value

    def table(self, key: str, keys: Iterable[str], *, required: bool = False) -> _Table:
        value = self.values.get(key, {})
        if not isinstance(value, dict) or (required and not value):
            msg = f"{self.where}: the table [{key}] is missing"
            raise InputError(msg)
        entry = _Table(value, f"{self.where} [{key}]")
        entry.allow(keys)
        return entry

    def tables(self, key: str, keys: Iterable[str], *, required: bool = True) -> dict[str, _Table]:
        outer = self.values.get(key, {})
        if not isinstance(outer, dict) or (required and not outer):
            msg = f"{self.where}: name at least one [{key}.NAME]"
            raise InputError(msg)
        inner = {}
        for name, value in outer.items():
            if not NAME_PATTERN.fullmatch(name):
                message = (
                    f"{self.where}: the name {shown(name)} under [{key}] can't be used: "
                    "letters, digits, space, . _ + - only, 80 at most"
                )
                raise InputError(message)
            if not isinstance(value, dict):
                msg = f"{self.where}: [{key}.{name}] is not a table"
                raise InputError(msg)
            inner[name] = _Table(value, f"{self.where} [{key}.{name}]")
            inner[name].allow(keys)
        return inner

    def names(self, key: str) -> list[str]:
        value = self.values.get(key, [])
        if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
            msg = f"{self.where}: {key!r} is {shown(value)}, expected a list of names in quotes"
            raise InputError(msg)
        return value

    def list_of_tables(self, key: str, keys: Iterable[str]) -> list[_Table]:
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            msg = f"{self.where}: write each of {key!r} as [[{key}]]"
            raise InputError(msg)
        entries = [_Table(entry, f"{self.where} [[{key}]]") for entry in value]
        for entry in entries:
            entry.allow(keys)
        return entries
