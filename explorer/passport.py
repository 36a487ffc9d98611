"""The context passport: the conditions that a claim is conditioned on, and what differs between two contexts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from explorer.catalog import identity_of, shared_screen
from explorer.digits import counted
from explorer.errors import listed
from explorer.keeping import Shared
from explorer.load import Dataset
from explorer.screen import Roles, Screen

NOT_STATED = "not stated"
NOT_DECLARED = "not declared"
NO_CONTROLS, NO_CONTROLS_HERE = "none declared", "none in this context"
# More batches than these are counted and not held against another context's by name.
MOST_BATCHES = 100_000

# What is compared, in the order of the passport: a heading, and the field that holds it.
_STATED = (
    ("cell system", "cell_system"),
    ("perturbation type", "perturbation_type"),
    ("technique", "technique"),
    ("outcome", "outcome"),
    ("time", "time"),
)
# Columns of positions on a plate go by such words; a chromosome arm is a position, too, but nobody laid it out.
_LAYOUT_WORDS = frozenset({"well", "wells", "position", "pos", "row", "col", "column", "site"})
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_GENOME_WORDS = frozenset({"chromosome", "chrom", "chr", "genome", "genomic", "gene", "arm", "locus"})

_shared = Shared()


@dataclass(frozen=True, slots=True)
class Passport:
    """Conditions of one context of one data set.

    Attributes
    ----------
    dataset, context
        Names.
    cell_system, perturbation_type, technique, outcome, time
        As the card says; ``not stated`` where it does not.
    controls
        What the reference is, in words: "16 non-targeting guides (480 rows)", "1,679 reference perturbations that
        stay in the map", "none declared".
    batches
        Number of batches, in words; "not declared" where no column of batches is.
    layout
        "declared (column Well)" or "not declared".
    study
        Where one data set holds several studies, which one.
    reference
        `controls` without its numbers, which differ between any two contexts: what is compared.
    selection
        Which rows of a file these are, in words; empty where it is the whole file.
    file
        The file of the rows; batches of one name are known to be the same in one file alone.
    batch_names
        Labels of the batches.
    """

    dataset: str
    context: str
    cell_system: str
    perturbation_type: str
    technique: str
    outcome: str
    time: str
    controls: str
    batches: str
    layout: str
    study: str = NOT_STATED
    reference: str = ""
    selection: str = ""
    file: str = ""
    batch_names: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def sentence(self) -> str:
        """All of it in one line: on every view, link, export and card."""
        values = [(name, getattr(self, key)) for name, key in _STATED]
        stated = [value for _, value in values if value != NOT_STATED]
        missing = [name for name, value in values if value == NOT_STATED]
        if not stated:
            stated = ["conditions not stated"]
        elif missing:
            stated.append(f"{_and(missing)} not stated")
        if self.study != NOT_STATED:
            stated.append(self.study)
        none = {NO_CONTROLS: "no controls declared", NO_CONTROLS_HERE: "no controls in this context"}
        controls = none.get(self.controls, self.controls)
        return " · ".join([*stated, controls, f"layout {self.layout}"])

    def to_json(self) -> dict[str, str]:
        """Give it as an object of texts, each condition under its name, and the sentence."""
        names = ("dataset", "study", "context", *(key for _, key in _STATED), "controls", "batches", "layout")
        return {name: getattr(self, name) for name in names} | {"rows": self.selection, "sentence": self.sentence}

    def rows(self) -> tuple[tuple[str, str], ...]:
        """List it as pairs of a heading and a text."""
        listed_rows = (
            ("Data set", self.dataset),
            ("Study", "" if self.study == NOT_STATED else self.study),
            ("Context", self.context),
            ("Rows", self.selection),
            ("Cell system", self.cell_system),
            ("Perturbation type", self.perturbation_type),
            ("Technique", self.technique),
            ("Outcome", self.outcome),
            ("Time", self.time),
            ("Reference controls", self.controls),
            ("Batches", self.batches),
            ("Layout", self.layout),
        )
        return tuple((heading, text) for heading, text in listed_rows if text)


@dataclass(frozen=True, slots=True)
class PassportComparison:
    """Two passports held against each other.

    Attributes
    ----------
    one, other
        The passports.
    differing
        Names of the conditions that differ, in the order of the passport.
    warnings
        Sentences: what is confounded with what (data set, technique, batch), what is not stated.
    """

    one: Passport
    other: Passport
    differing: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """Say what differs: *They differ in cell system (skin; soft tissue); all else stated is the same*."""
        if not self.differing:
            return "Nothing that is stated differs between them."
        ours, theirs = _conditions(self.one), _conditions(self.other)
        parts = []
        for name in self.differing:
            here, there = ours.get(name, ""), theirs.get(name, "")
            parts.append(f"{name} ({here}; {there})" if here and there and here != there else name)
        return f"They differ in {_and(parts)}; all else stated is the same."


def passport_of(dataset: Dataset, context: str) -> Passport:
    """Read the passport of a context, once a process: its card, and the labels of its rows.

    Raises
    ------
    InputError
        When there is no such context, or its rows can't be used.
    """
    name = dataset.context(context)
    key = ("passport", *identity_of(dataset), name)
    return _shared.get(key, lambda: passport_of_screen(dataset, shared_screen(dataset, name)))


def passport_of_screen(dataset: Dataset, screen: Screen) -> Passport:
    """Write the passport of a screen: what the card states, and what the labels of its rows show; no row is read.

    Parameters
    ----------
    dataset, screen
        A data set, and one of its contexts as `explorer.load.load_screen` reads it.
    """
    context, roles = screen.context, screen.roles
    entry = dataset.card.contexts[context.name]
    controls, reference = _controls(screen)
    if controls == NO_CONTROLS and dataset.card.roles.control:
        # The file has controls, and none of them is among this context's rows.
        controls = reference = NO_CONTROLS_HERE
    labels = screen.rows[roles.batch].unique().drop_nulls() if roles.batch is not None else None
    columns = layout_columns(roles)
    return Passport(
        dataset=screen.dataset,
        context=context.name,
        study=context.study,
        **{key: getattr(context, key) for _, key in _STATED},
        controls=controls,
        batches=NOT_DECLARED if labels is None else counted(len(labels), "batch", "batches"),
        layout=f"declared (column{'s' if len(columns) > 1 else ''} {', '.join(columns)})" if columns else NOT_DECLARED,
        reference=reference,
        selection=entry.selection,
        file=entry.rows,
        batch_names=frozenset()
        if labels is None or len(labels) > MOST_BATCHES
        else frozenset(labels.cast(pl.String).to_list()),
    )


def layout_columns(roles: Roles) -> tuple[str, ...]:
    """Take those columns of the role *group* that say where on its plate a row was: well, position, row, column."""

    def is_layout(column: str) -> bool:
        words = {word.casefold() for word in _WORDS.findall(column)}
        return bool(words & _LAYOUT_WORDS) and not words & _GENOME_WORDS

    return tuple(column for column in roles.group if is_layout(column))


def compare_passports(one: Passport, other: Passport) -> PassportComparison:
    """Hold two contexts against each other, and warn of what can't be told apart.

    What differs together can't be told apart: a difference between the contexts may be of any of these conditions.
    """
    ours, theirs = _conditions(one), _conditions(other)
    unstated = [name for name in ours if _is_unstated(ours[name]) or _is_unstated(theirs[name])]
    differing = [name for name in ours if name not in unstated and ours[name] != theirs[name]]
    batch = _share_batches(one, other)
    if batch is False:
        differing.append("batch")
    warnings = []
    causes = [name for name in differing if name != "layout"]
    if len(causes) > 1:
        warnings.append(
            f"{_capital(_and(causes))} differ together between {_named(one, other)}: a difference between the two "
            "can't be given to one of them."
        )
    for names, who in _by_silence(one, other, [name for name in unstated if name != "study"]):
        plural = len(names) > 1
        warnings.append(
            f"{_capital(_and(names))} {'are' if plural else 'is'} not stated for {who}: whether the two differ in "
            f"{'them' if plural else 'it'} can't be told."
        )
    if batch is None:
        warnings.append(_batch_silence(one, other))
    return PassportComparison(one, other, tuple(differing), tuple(warnings))


def confounding(passports: Sequence[Passport]) -> tuple[str, ...]:
    """Say which conditions can't be told apart in several contexts at once.

    Two conditions that split the contexts in the same way are fully confounded; where each value of one has a single
    value of another, the second is never varied while the first is held.

    Returns
    -------
    tuple of str
        A sentence for each; none where every condition that varies does so by itself, or there is one context.
    """
    every = [_conditions(passport) for passport in passports]
    if len(every) < 2:
        return ()
    names = [name for name in every[0] if name != "layout"]
    values = {name: [conditions[name] for conditions in every] for name in names}
    if batches := _shared_batches(passports):
        names, values = [*names, "batch"], values | {"batch": batches}
    unstated = [name for name in names if any(_is_unstated(value) for value in values[name])]
    varying = [name for name in names if name not in unstated and len(set(values[name])) > 1]
    splits: dict[tuple[int, ...], list[str]] = {}
    for name in varying:
        splits.setdefault(_split(values[name]), []).append(name)
    said = []
    for split, together in splits.items():
        if len(together) > 1:
            parts = [
                _and([passport.context for passport, part in zip(passports, split, strict=True) if part == number])
                for number in range(max(split) + 1)
            ]
            said.append(
                f"{_capital(_and(together))} are fully confounded: they split the contexts in the same way "
                f"({' | '.join(parts)}), so a difference between the parts can't be given to one of them."
            )
    for split, together in splits.items():
        coarser = [name for less, held in splits.items() if _refines(split, less) for name in held]
        if coarser:
            said.append(
                f"Each {together[0]} comes with one {' and one '.join(coarser)} only: what differs between two of "
                f"them that differ in {_and(coarser)} too can't be given to one condition."
            )
    if silent := [name for name in unstated if name != "study"]:
        said.append(
            f"{_capital(_and(silent))} {'are' if len(silent) > 1 else 'is'} not stated for every context: whether "
            f"{'they vary' if len(silent) > 1 else 'it varies'} with the others can't be told."
        )
    return tuple(said)


def _controls(screen: Screen) -> tuple[str, str]:
    """Say what the reference is, with and without its numbers."""
    roles, mask = screen.roles, screen.is_control()
    if not roles.control and roles.control_column is None:
        return NO_CONTROLS, NO_CONTROLS
    n_rows = int(np.count_nonzero(mask))
    if not n_rows:
        return NO_CONTROLS_HERE, NO_CONTROLS_HERE
    if roles.keep_controls:
        n_names = screen.rows[roles.perturbation].filter(pl.Series(mask)).n_unique()
        kept = "that stay in the map"
        rows = "" if n_rows == n_names else f" ({counted(n_rows, 'row')})"
        return (
            f"{counted(n_names, 'reference perturbation')} {kept}{rows}",
            f"reference perturbations {kept}",
        )
    # Several labels are one kind of reference; of one its name says more.
    label = roles.control[0] if len(roles.control) == 1 else "control"
    if roles.guide is None:
        return counted(n_rows, f"{label} row"), f"{label} rows"
    n_guides = screen.rows[roles.guide].filter(pl.Series(mask)).n_unique()
    return f"{counted(n_guides, f'{label} guide')} ({counted(n_rows, 'row')})", f"{label} guides"


def _conditions(passport: Passport) -> dict[str, str]:
    """List what is compared, in the order of the passport."""
    return {
        "data set": passport.dataset,
        "study": passport.study,
        **{name: getattr(passport, key) for name, key in _STATED},
        "controls": passport.reference or passport.controls,
        "layout": "declared" if passport.layout != NOT_DECLARED else NOT_DECLARED,
    }


def _is_unstated(value: str) -> bool:
    return value in (NOT_STATED, NO_CONTROLS)


def _share_batches(one: Passport, other: Passport) -> bool | None:
    """Whether two contexts have a batch in common; None where that can't be told."""
    if one.dataset != other.dataset:
        return False
    if not one.batch_names or not other.batch_names:
        return None
    if not one.batch_names & other.batch_names:
        return False
    return True if one.file == other.file else None


def _shared_batches(passports: Sequence[Passport]) -> list[str]:
    """Give contexts that share batches the same value, by way of others too; nothing where that can't be told."""
    one_file = len({(passport.dataset, passport.file) for passport in passports}) == 1
    if not one_file or not all(passport.batch_names for passport in passports):
        return []
    found: list[tuple[frozenset[str], list[int]]] = []
    for number, passport in enumerate(passports):
        touching = [part for part in found if part[0] & passport.batch_names]
        found = [part for part in found if part not in touching]
        batches = passport.batch_names.union(*(part[0] for part in touching))
        found.append((batches, [number, *(member for part in touching for member in part[1])]))
    part_of = {member: min(members) for _, members in found for member in members}
    return [str(part_of[number]) for number in range(len(passports))]


def _batch_silence(one: Passport, other: Passport) -> str:
    silent = [passport for passport in (one, other) if not passport.batch_names]
    if silent:
        return f"No batches are declared for {_named(*silent)}: whether the two share any can't be told."
    common = sorted(one.batch_names & other.batch_names)
    return (
        f"Batches of {_named(one, other)} have the same names ({listed(common, limit=3)}) in two files: whether they "
        "are the same batches can't be told."
    )


def _by_silence(one: Passport, other: Passport, names: Iterable[str]) -> list[tuple[list[str], str]]:
    """Group conditions by who does not state them."""
    ours, theirs = _conditions(one), _conditions(other)
    found: dict[str, list[str]] = {}
    for name in names:
        silent = [p for p, stated in ((one, ours), (other, theirs)) if _is_unstated(stated[name])]
        found.setdefault(_named(*silent), []).append(name)
    return [(held, who) for who, held in found.items()]


def _named(*passports: Passport) -> str:
    several = len({passport.dataset for passport in passports}) > 1
    return _and([f"{p.dataset}/{p.context}" if several else p.context for p in passports])


def _split(values: Sequence[str]) -> tuple[int, ...]:
    """Give values numbers by their first appearance: equal numbers are the same way to split the contexts."""
    order: dict[str, int] = {}
    return tuple(order.setdefault(value, len(order)) for value in values)


def _refines(fine: tuple[int, ...], coarse: tuple[int, ...]) -> bool:
    """Whether each part of one split lies in one part of another, and the two are not the same."""
    return fine != coarse and len(set(zip(fine, coarse, strict=True))) == len(set(fine))


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"
