"""What holds elsewhere, for the data sets on offer: made once, kept, and the same for the page and the command line."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from types import ModuleType
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer import (
    activity,
    aggregate,
    align,
    axis,
    compare,
    contexts,
    edges,
    expression,
    gather,
    halves,
    kernels,
    known,
    moments,
    nulls,
    overlap,
    relate,
    relationships,
    repeatability,
    replicates,
    significance,
    stand_ins,
    tails,
    totals,
)
from explorer.activity import ACTIVE_Q
from explorer.aggregate import PerturbationMap
from explorer.align import check_method
from explorer.axis import LayoutUnits, axis_strata, centered, find_layout
from explorer.catalog import (
    Catalog,
    Identity,
    identity_of,
    require_unchanged,
    shared_activity,
    shared_halves,
    shared_knowledge,
    shared_map,
    shared_screen,
)
from explorer.contexts import AbsentSet, ContextReport, ContextSide, check_at_least, compare_contexts, said_once
from explorer.edges import EdgeTests
from explorer.errors import InputError, shown, unknown_name
from explorer.judgements import Source, digest_of, own_sources, remember, usual_alignment
from explorer.keeping import Shared, kept_on_disk
from explorer.knowledge import with_further
from explorer.known import KnownPairs, Units, pool_units
from explorer.load import Dataset
from explorer.overlap import PARTS, AdjustedOverlap, adjusted_overlap, compare_overlaps, overlap_test
from explorer.partners import DEFAULT_K
from explorer.passport import (
    Passport,
    PassportComparison,
    compare_passports,
    layout_columns,
    passport_of,
)
from explorer.repeatability import Repeatability
from explorer.screen import Screen
from explorer.significance import SignFlip
from explorer.spelling import FEWEST_SHARED, shared_names
from explorer.store import artefact_key
from explorer.verdict import Progress, check_seed, look_up

T = TypeVar("T")

MOST_REMEMBERED = 256
OVERLAP_SCHEMA = {
    "representation": pl.String, "kind": pl.String, "raw": pl.Float64, "expected": pl.Float64,
    "adjusted": pl.Float64, "low": pl.Float64, "high": pl.Float64, "p": pl.Float64,
    **dict.fromkeys(PARTS, pl.Float64), "n": pl.Int64, "in groups": pl.Float64,
}  # fmt: skip

# The code that decides what a report says: where it changes, what was kept is not used.
_MADE_BY: tuple[ModuleType, ...] = (
    activity, aggregate, align, axis, compare, contexts, edges, expression, gather, halves, kernels, known, moments,
    nulls, overlap, relate, relationships, repeatability, replicates, significance, stand_ins, tails, totals,
)  # fmt: skip
_TYPES = (AbsentSet, AdjustedOverlap, ContextReport, EdgeTests, Repeatability)
# Of the progress of a report: making the maps; and, of an overlap, each of its representations.
_MAPS_SHARE = 0.4

_remembered = Shared(MOST_REMEMBERED)


@dataclass(frozen=True, slots=True)
class Place:
    """One context of one data set in one representation and alignment.

    Attributes
    ----------
    dataset, context, representation, align
        Names. Of another data set the representation of the same name, else its first of the same kind.
    """

    dataset: str
    context: str
    representation: str
    align: str

    @property
    def address(self) -> str:
        """``dataset/context:representation``, as links and the command line write it."""
        return f"{self.dataset}/{self.context}:{self.representation}"


@dataclass(frozen=True, slots=True, eq=False)
class OverlapReport:
    """How far neighbourhoods agree between two contexts, representation by representation.

    Neighbours are by cosine of the maps as they are, which is what their pages show.

    Attributes
    ----------
    one, other
        The contexts compared, as ``dataset/context``.
    table
        One line a representation: ``representation, kind, raw, expected, adjusted`` (means over perturbations), ``low,
        high, p`` (the interval of ``in groups``, and whether that is 0; NaN where there are no groups), ``hubs, shared
        axis, layout, remainder`` (parts of the raw overlap), ``n`` (perturbations whose adjusted overlap is defined),
        ``in groups`` (mean over groups of the adjusted overlap).
    comparison
        Learned against simple over groups (c_g, sign-flip); None where there are no groups.
    simple, learned, n_groups, n_perturbations, k
        What `comparison` compares, and over what.
    notes
        What the reader must know.
    centered
        `comparison` by neighbours of centred cosine, the mean profile taken away first; None where there is none.
    fingerprints
        Recipes of the maps, by ``dataset/context:representation``.
    seed
        Of the random signs.
    """

    one: str
    other: str
    table: pl.DataFrame = field(repr=False)
    comparison: SignFlip | None
    simple: str
    learned: str
    n_groups: int
    n_perturbations: int
    k: int
    notes: tuple[str, ...] = ()
    centered: SignFlip | None = None
    fingerprints: Mapping[str, str] = field(default_factory=dict, repr=False)
    seed: int = 0


def other_places(catalog: Catalog, here: Place) -> tuple[Place, ...]:
    """List the contexts to compare with: those of the same data set, then those of others that share its names.

    Names are shared where they are the same to the letter, three or more of them. A data set that can't be read is
    passed over; the catalog's own pages say why.

    Raises
    ------
    InputError
        When this context can't be read.
    """
    dataset = catalog.dataset(here.dataset)
    own = _names_in(dataset, here.context)
    found = [
        counterpart(catalog, dataset, context, like=here) for context in dataset.contexts if context != here.context
    ]
    for name in catalog.names:
        if name == here.dataset:
            continue
        other = catalog.dataset(name)
        for context in other.contexts:
            try:
                shares = len(own & _names_in(other, context)) >= FEWEST_SHARED
                place = counterpart(catalog, other, context, like=here) if shares else None
            except InputError:
                continue
            if place is not None:
                found.append(place)
    return tuple(found)


def read_place(catalog: Catalog, text: str, *, like: Place) -> Place:
    """Read ``context``, ``dataset/context`` or ``dataset/context:representation``; unknown names are one sentence.

    Parameters
    ----------
    catalog
        The data sets on offer.
    text
        What was written.
    like
        Where what is left out comes from.

    Raises
    ------
    InputError
        When the data set, context or representation is unknown; the nearest are named.
    """
    where, colon, representation = text.partition(":")
    name, slash, context = where.rpartition("/")
    dataset = catalog.dataset(name if slash else like.dataset)
    place = counterpart(catalog, dataset, dataset.context(context), like=like)
    if not colon:
        return place
    if representation not in dataset.card.representations:
        msg = "representation"
        raise unknown_name(msg, representation, dataset.card.representations)
    return replace(place, representation=representation)


def context_side(catalog: Catalog, place: Place, *, label: str = "") -> ContextSide:
    """Bring a context in: its map, its halves, who is inactive, and its layout.

    Parameters
    ----------
    catalog, place
        Which context.
    label
        What to call it; its name without it.

    Returns
    -------
    ContextSide
        Inactive are those whose activity was judged by replicates and not found, q > .1.

    Raises
    ------
    InputError
        When a name is unknown, or the map can't be made.
    """
    dataset = catalog.dataset(place.dataset)
    side, _ = _side(dataset, place, label or place.context)
    return _with_halves(dataset, place, side)


def shared_report(
    catalog: Catalog,
    here: Place,
    others: Sequence[Place],
    *,
    k: int = DEFAULT_K,
    at_least: int | None = None,
    relationships: tuple[Source, ...] = (),
    seed: int = 0,
    progress: Progress | None = None,
) -> ContextReport:
    """Judge the edges of a context in others; made once and kept.

    Parameters
    ----------
    catalog
        The data sets on offer.
    here, others
        The context whose edges are judged, and those that judge them.
    k, at_least, seed
        As in `explorer.contexts.compare_contexts`.
    relationships
        Known pairs and sets besides the discovering data set's own.
    progress
        Called with what is done next and the share that is done; it may raise, to cancel.

    Returns
    -------
    ContextReport
        Known are the pairs of the sources beside the discovering data set, and of those given. The notes say which
        perturbations were left out for their spelling, how the layout was matched, and where activity was not judged.

    Raises
    ------
    InputError
        When there is no other context, one is named twice, two are the same rows, too few names are shared, or
        two sources are called alike.
    """
    say = progress or (lambda what, share: None)
    check_seed(seed)
    labels = labels_of(here, others)
    # Before a map is made: the command line takes any number.
    check_at_least(at_least, len(others))
    datasets = {place.dataset: catalog.dataset(place.dataset) for place in (here, *others)}
    before = {name: identity_of(dataset) for name, dataset in datasets.items()}
    sides, notes = [], []
    for number, (place, label) in enumerate(zip((here, *others), labels, strict=True)):
        say(f"map of {label}", _MAPS_SHARE * number / len(labels))
        side, said = _side(datasets[place.dataset], place, label)
        sides.append(side)
        notes += said
    _require_different(labels, [[side.perturbation_map for side in sides]])
    names = _names_of_all(sides)
    say("what is known", _MAPS_SHARE)
    found, said = _known_among(datasets[here.dataset], names, relationships)
    # Maps of two states of the files are never compared with each other.
    _require_unchanged(datasets, before)

    def make() -> ContextReport:
        # Halves follow from the rows that the map is made of, so they are made where a report is not kept already.
        whole = [
            _with_halves(datasets[place.dataset], place, side)
            for place, side in zip((here, *others), sides, strict=True)
        ]
        _require_unchanged(datasets, before)
        report = compare_contexts(
            whole[0],
            whole[1:],
            known=found,
            k=k,
            at_least=at_least,
            seed=seed,
            progress=lambda what, share: say(what, _MAPS_SHARE + (1 - _MAPS_SHARE) * share),
        )
        return replace(report, notes=said_once((*report.notes, *notes, *said), labels))

    key = ("report", *map(_digest_side, sides), digest_of((found, (*notes, *said), k, at_least, seed)))
    report = _kept(key, make)
    say("done", 1.0)
    return report


def shared_overlap(
    catalog: Catalog,
    here: Place,
    other: Place,
    *,
    simple: str,
    learned: str,
    k: int = DEFAULT_K,
    relationships: tuple[Source, ...] = (),
    seed: int = 0,
    progress: Progress | None = None,
) -> OverlapReport:
    """Compare the neighbourhoods of two contexts, by every representation that both have; made once and kept.

    Parameters
    ----------
    catalog
        The data sets on offer.
    here, other
        The contexts; their representations are of no account, their alignments are.
    simple, learned
        Representations to hold against each other; where they are one there is no comparison. Of another data set the
        one of the same name is taken, else its first of the same kind.
    k, seed
        Number of neighbours, and seed of the random signs.
    relationships
        As in `shared_report`; their groups are those compared over.
    progress
        As in `shared_report`.

    Raises
    ------
    InputError
        When a representation is unknown, or the contexts share too few names or are the same rows.
    """
    say = progress or (lambda what, share: None)
    check_seed(seed)
    labels = labels_of(here, (other,))
    datasets = {place.dataset: catalog.dataset(place.dataset) for place in (here, other)}
    before = {name: identity_of(dataset) for name, dataset in datasets.items()}
    pairs = _both_have(catalog, here, other, needed=(simple, learned))
    maps, notes = _maps_of_both(datasets, pairs, needed=(simple, learned), say=say)
    _require_different(labels, list(maps.values()))
    shared = shared_names(
        *(set(maps[simple][side].names) & set(maps[learned][side].names) for side in (0, 1)),
        labels=(labels[0], labels[1]),
    )
    names = shared.names
    layouts = [_layout(datasets[place.dataset], place.context, names) for place in (here, other)]
    notes += [shared.sentence] if shared.sentence else []
    notes += [
        f"{label}: {layout.note}"
        for label, layout in zip(labels, layouts, strict=True)
        if layout is not None and layout.note
    ]
    found, said = _known_among(datasets[here.dataset], names, relationships)
    _require_unchanged(datasets, before)
    units = pool_units(found) if found else None
    units_of = None if layouts[0] is None else layouts[0].units, None if layouts[1] is None else layouts[1].units
    overlaps: dict[str, AdjustedOverlap] = {}
    for number, (name, sides) in enumerate(maps.items()):
        say(f"neighbourhoods of {name}", _MAPS_SHARE + (1 - _MAPS_SHARE) * number / (len(maps) + 1))
        try:
            overlaps[name] = _shared_overlap_of(sides, names, units_of, k=k)
        except InputError as error:
            if name in (simple, learned):
                raise
            notes.append(f"{name} was left out: {error}")
    say("learned against simple", 1 - 0.5 * (1 - _MAPS_SHARE) / (len(maps) + 1))
    comparison = moved = None
    n_groups = 0
    if units is None:
        notes.append(f"no groups of the perturbations are known, so no representation is tested: {said[0]}")
    elif simple == learned:
        notes += [*said, f"{shown(simple)} alone was asked for: choose two representations to hold one against another"]
        n_groups = units.n_units
    else:
        notes += said
        comparison = compare_overlaps(overlaps[learned], overlaps[simple], units, seed=seed)
        n_groups = comparison.n_units
        moved, note = _by_centered_cosine(
            (maps[simple], maps[learned]), names, units_of, units=units, k=k, seed=seed, against=comparison
        )
        notes += [note] if note else []
    notes += [note for name in (simple, learned) for note in overlaps[name].notes]
    say("done", 1.0)
    return OverlapReport(
        one=f"{here.dataset}/{here.context}",
        other=f"{other.dataset}/{other.context}",
        table=_overlap_table(overlaps, units, dataset=datasets[here.dataset], names=names, seed=seed),
        comparison=comparison,
        simple=simple,
        learned=learned,
        n_groups=n_groups,
        n_perturbations=len(names),
        k=k,
        notes=said_once(notes, labels),
        centered=moved,
        fingerprints={
            place.address: sides[number].fingerprint
            for name, sides in maps.items()
            for number, place in enumerate(pairs[name])
        },
        seed=seed,
    )


def inactive_in(catalog: Catalog, place: Place) -> frozenset[str]:
    """Name the perturbations of a context whose replicates were judged, and not found active: q > .1.

    Raises
    ------
    InputError
        When a name is unknown, or the map can't be made.
    """
    side, _ = _side(catalog.dataset(place.dataset), place, place.context)
    return side.inactive


def passports_of(
    catalog: Catalog, here: Place, others: Sequence[Place]
) -> tuple[Passport, tuple[PassportComparison, ...]]:
    """Passport of a context, and how each other one differs from it."""
    own = passport_of(catalog.dataset(here.dataset), here.context)
    found = (passport_of(catalog.dataset(place.dataset), place.context) for place in others)
    return own, tuple(compare_passports(own, passport) for passport in found)


# ---------------------------------------------------------------- places


def _names_in(dataset: Dataset, context: str) -> frozenset[str]:
    """Names of the perturbations of a context, read off its labels once a process."""

    def make() -> frozenset[str]:
        screen = shared_screen(dataset, context)
        names = screen.rows[screen.roles.perturbation].cast(pl.String)
        if not screen.roles.keep_controls:
            names = names.filter(pl.Series(~screen.is_control()))
        return frozenset(names.drop_nulls().unique().to_list())

    key: Hashable = ("names", *identity_of(dataset), context)
    return _remembered.get(key, make)


def counterpart(catalog: Catalog, dataset: Dataset, context: str, *, like: Place) -> Place:
    """Find the representation and alignment of a context that are most like those of another.

    Parameters
    ----------
    catalog, dataset, context
        The data sets on offer, and a context of one of them.
    like
        What the place is to be like: of another data set the representation of the same name is taken, else the first
        of the same kind.
    """
    if dataset.name == like.dataset:
        return replace(like, context=context)
    own = catalog.dataset(like.dataset)
    # What is usual differs with the controls that there are; what was chosen does not.
    is_usual = like.align == usual_alignment(own, like.context)
    align = usual_alignment(dataset, context) if is_usual else like.align
    cards = dataset.card.representations
    if like.representation in cards:
        return Place(dataset.name, context, like.representation, align)
    card = own.card.representations.get(like.representation)
    alike = (name for name in cards if card is not None and cards[name].kind == card.kind)
    return Place(dataset.name, context, next(alike, next(iter(cards))), align)


def labels_of(here: Place, others: Sequence[Place]) -> tuple[str, ...]:
    """Call contexts by their names, with that of their data set where it is another one.

    Returns
    -------
    tuple of str
        Of this context, and of each other.

    Raises
    ------
    InputError
        When there is no other context, or one stands for the same rows as another.
    """
    if not others:
        message = (
            f"{shown(here.context)} has no other context to be compared with: name one, or bring a second one as "
            'another table of [contexts] in the card (where = { COLUMN = "LABEL" } says which rows of a file it is; '
            "for a single file --context-column COLUMN)"
        )
        raise InputError(message)
    places = (here, *others)
    rows = [(place.dataset, place.context) for place in places]
    twice = next((place for place, own in zip(places, rows, strict=True) if rows.count(own) > 1), None)
    if twice is not None:
        message = (
            f"{shown(twice.context)} of {shown(twice.dataset)} can't be compared with itself: name each context once"
        )
        raise InputError(message)
    return tuple(
        place.context if place.dataset == here.dataset else f"{place.dataset}/{place.context}" for place in places
    )


def _require_different(labels: Sequence[str], maps: Sequence[Sequence[PerturbationMap]]) -> None:
    """Refuse contexts that are the same rows under two names: whatever is near in one is near in the other.

    Parameters
    ----------
    labels
        What the contexts are called.
    maps
        Maps of each representation, in the order of `labels`. One that is the same everywhere (an embedding of genes,
        say) is not yet the same rows; all of them are.
    """
    for number, label in enumerate(labels):
        for before in range(number):
            if all(_are_the_same(of_each[before], of_each[number]) for of_each in maps):
                message = (
                    f"{shown(labels[before])} and {shown(label)} are the same rows: all that holds in one holds in the "
                    "other, so leave one out, or give each its own file or its own label under [contexts] in the card"
                )
                raise InputError(message)


def _are_the_same(one: PerturbationMap, other: PerturbationMap) -> bool:
    """Whether two maps are made of the same rows, or of a copy of them."""
    if (one.recipe.source, one.recipe.rows) == (other.recipe.source, other.recipe.rows):
        return True
    is_copy = one.names == other.names and np.array_equal(one.profiles, other.profiles)
    # Profiles that do not vary are alike for another reason, which is said elsewhere.
    return is_copy and bool(np.ptp(one.profiles, axis=0).any())


def _side(dataset: Dataset, place: Place, label: str) -> tuple[ContextSide, list[str]]:
    """Bring a context in without its halves, and say what the reader must know of its layout."""
    what = (dataset, dataset.context(place.context), place.representation)
    _check_representation(dataset, place.representation, place.align)
    made = shared_map(*what, alignment=place.align)

    def judge_activity() -> tuple[tuple[str, ...], tuple[str, ...], str]:
        judged, reason = shared_activity(*what, alignment=place.align)
        return ((), (), reason) if judged is None else _inactive(judged.table)

    inactive, untold, reason = _kept(("judged by replicates", digest_of(made)), judge_activity)
    layout = _layout(dataset, place.context, made.names)
    side = ContextSide(
        label=label,
        perturbation_map=made,
        inactive=frozenset(inactive).intersection(made.names),
        layout=None if layout is None else layout.units,
        activity_note=reason,
        untold=frozenset(untold).intersection(made.names),
    )
    return side, [f"{label}: {layout.note}"] if layout is not None and layout.note else []


def _with_halves(dataset: Dataset, place: Place, side: ContextSide) -> ContextSide:
    made = shared_halves(dataset, place.context, place.representation, alignment=place.align)
    return replace(side, halves=made)


def _inactive(table: pl.DataFrame) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """Name who was judged by replicates and not found active, and who was not judged by them; say where nobody was.

    A profile that is no longer than those of the reference may still be a phenotype: without replicates that can't be
    told, and many representations take the length away.
    """
    by_replicates = (pl.col("basis") == "replicate consistency").fill_null(value=False) & pl.col("q").is_not_nan()
    judged, untold = table.filter(by_replicates), table.filter(~by_replicates)
    if not judged.height:
        return (), (), "there are no replicates to judge activity by, so who does nothing there is not known"
    quiet = judged.filter(pl.col("q") > ACTIVE_Q)
    return tuple(quiet["perturbation"].to_list()), tuple(untold["perturbation"].to_list()), ""


def _layout(dataset: Dataset, context: str, names: tuple[str, ...]) -> LayoutUnits | None:
    screen: Screen = shared_screen(dataset, context)
    key: Hashable = ("layout", *identity_of(dataset), context, digest_of(names))
    return _remembered.get(key, lambda: find_layout(screen, names, columns=layout_columns(screen.roles)))


def _check_representation(dataset: Dataset, name: str, alignment: str) -> None:
    check_method(alignment)
    if name not in dataset.card.representations:
        msg = "representation"
        raise unknown_name(msg, name, dataset.card.representations)


def _require_unchanged(datasets: Mapping[str, Dataset], before: Mapping[str, Identity]) -> None:
    for name, dataset in datasets.items():
        require_unchanged(dataset, before[name])


def _names_of_all(sides: Sequence[ContextSide]) -> tuple[str, ...]:
    """Find the names that all contexts share; what was not matched for its spelling is said by the report."""
    first = sides[0]
    names = set(first.perturbation_map.names)
    for side in sides[1:]:
        found = shared_names(
            first.perturbation_map.names, side.perturbation_map.names, labels=(first.label, side.label)
        )
        names &= set(found.names)
    return tuple(sorted(names))


def _known_among(
    dataset: Dataset, names: tuple[str, ...], further: tuple[Source, ...]
) -> tuple[tuple[KnownPairs, ...], list[str]]:
    """Look the sources beside a data set, and further ones, up among names; where none can be used, say why."""
    knowledge = shared_knowledge(dataset)
    own: tuple[Source, ...] = (*knowledge.gene_sets, *knowledge.relationships)
    every = {source.name: source for source in own}
    chosen = with_further((every[name] for name in own_sources(dataset) or every), further)
    try:
        return look_up(chosen, names, call=remember)
    except InputError as error:
        return (), [str(error)]


# ---------------------------------------------------------------- overlap


def _both_have(
    catalog: Catalog, here: Place, other: Place, *, needed: tuple[str, str]
) -> dict[str, tuple[Place, Place]]:
    """Pair the representations of two contexts: of one data set each with itself, else by name, and those needed."""
    own, theirs = catalog.dataset(here.dataset), catalog.dataset(other.dataset)
    for name in needed:
        _check_representation(own, name, here.align)
    pairs = {}
    for name in own.card.representations:
        if name in needed or name in theirs.card.representations:
            place = replace(here, representation=name)
            found = counterpart(catalog, theirs, other.context, like=place)
            pairs[name] = place, replace(found, align=other.align)
    return pairs


def _maps_of_both(
    datasets: Mapping[str, Dataset],
    pairs: Mapping[str, tuple[Place, Place]],
    *,
    needed: tuple[str, str],
    say: Progress,
) -> tuple[dict[str, tuple[PerturbationMap, PerturbationMap]], list[str]]:
    """Make the maps of both contexts; those that can't be made are left out and said, but for the ones needed."""
    maps, notes = {}, []
    for number, (name, places) in enumerate(pairs.items()):
        say(f"map of {name}", _MAPS_SHARE * number / len(pairs))
        try:
            one, other = (
                shared_map(datasets[place.dataset], place.context, place.representation, alignment=place.align)
                for place in places
            )
        except InputError as error:
            if name in needed:
                raise
            notes.append(f"{name} was left out: {error}")
            continue
        maps[name] = one, other
        if places[0].representation != places[1].representation:
            notes.append(f"{name} is compared with {places[1].address}, since {places[1].dataset} has none of its name")
    return maps, notes


_Layouts = tuple[npt.NDArray[np.intp] | None, npt.NDArray[np.intp] | None]


def _shared_overlap_of(
    sides: tuple[PerturbationMap, PerturbationMap], names: tuple[str, ...], layouts: _Layouts, *, k: int
) -> AdjustedOverlap:
    """Compare two maps over names, those that they have; kept on disk."""
    own = set(sides[0].names) & set(sides[1].names)
    rows = np.array([row for row, name in enumerate(names) if name in own], dtype=np.intp)
    one, other = (side.restricted_to(names[row] for row in rows.tolist()) for side in sides)
    of_both = tuple(None if layout is None else layout[rows] for layout in layouts)

    def make() -> AdjustedOverlap:
        strata = axis_strata(one, layout=of_both[0]), axis_strata(other, layout=of_both[1])
        return adjusted_overlap(one, other, strata=strata, k=k)

    return _kept(("overlap", digest_of(one), digest_of(other), *map(_digest_array, of_both), str(k)), make)


def _by_centered_cosine(
    maps: tuple[tuple[PerturbationMap, PerturbationMap], tuple[PerturbationMap, PerturbationMap]],
    names: tuple[str, ...],
    layouts: _Layouts,
    *,
    units: Units,
    k: int,
    seed: int,
    against: SignFlip,
) -> tuple[SignFlip | None, str]:
    """Compare the simple and the learned map once more, by centred cosine, and say where that changes the answer."""
    try:
        simple, learned = (
            _shared_overlap_of(
                (centered(one.restricted_to(names)), centered(other.restricted_to(names))), names, layouts, k=k
            )
            for one, other in maps
        )
    except InputError as error:
        return None, f"by centred cosine nothing can be compared: {error}"
    moved = compare_overlaps(learned, simple, units, seed=seed)
    agrees = moved.excludes_zero == against.excludes_zero and (
        not moved.excludes_zero or moved.estimate * against.estimate > 0
    )
    if agrees:
        return moved, ""
    return moved, (
        f"by centred cosine (the mean profile of each map taken away first) the difference is {moved.estimate:+.4f} ± "
        f"{moved.half_width:.4f} (p {moved.p:.2g}) where it is {against.estimate:+.4f} ± {against.half_width:.4f} by "
        f"cosine: what {maps[1][0].recipe.representation} adds to {maps[0][0].recipe.representation} hangs on that "
        "choice"
    )


def _overlap_table(
    overlaps: Mapping[str, AdjustedOverlap],
    units: Units | None,
    *,
    dataset: Dataset,
    names: tuple[str, ...],
    seed: int,
) -> pl.DataFrame:
    place = {name: row for row, name in enumerate(names)}
    lines = []
    for name, found in overlaps.items():
        low = high = p = in_groups = math.nan
        if units is not None:
            test = overlap_test(_on(found, place), units, seed=seed)
            low, high, p, in_groups = test.low, test.high, test.p, test.estimate
        defined = ~np.isnan(found.adjusted)
        means = [_mean(values[defined]) for values in (found.raw, found.expected, found.adjusted)]
        parts = [found.parts[part] for part in PARTS]
        kind = dataset.card.representations[name].kind
        lines.append((name, kind, *means, low, high, p, *parts, found.n_defined, in_groups))
    return pl.DataFrame(lines, schema=OVERLAP_SCHEMA, orient="row")


def _on(found: AdjustedOverlap, place: Mapping[str, int]) -> AdjustedOverlap:
    """Bring an overlap to more perturbations, those that it has not undefined."""
    if len(found.names) == len(place):
        return found
    rows = [place[name] for name in found.names]

    def spread(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        every = np.full(len(place), np.nan)
        every[rows] = values
        return every

    return replace(
        found,
        names=tuple(place),
        raw=spread(found.raw),
        expected=spread(found.expected),
        adjusted=spread(found.adjusted),
    )


def _mean(values: npt.NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else math.nan


# ---------------------------------------------------------------- keeping


def _kept(key: tuple[str, ...], make: Callable[[], T]) -> T:
    hashable: Hashable = key
    return _remembered.get(hashable, lambda: kept_on_disk(artefact_key("contexts", _code(), *key), make, types=_TYPES))


@cache
def _code() -> str:
    """Digest of the code that compares contexts, read once a process."""
    return artefact_key(made_by=_MADE_BY)


def _digest_side(side: ContextSide) -> str:
    named = tuple(sorted(side.inactive)), tuple(sorted(side.untold))
    made_of = (side.perturbation_map, *named, side.label, side.activity_note)
    return digest_of((*made_of, _digest_array(side.layout)))


def _digest_array(array: npt.NDArray[np.intp] | None) -> str:
    return "none" if array is None else array.astype(np.int64).tobytes().hex()
