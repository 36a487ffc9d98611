"""Lists of what to test next for the data sets on offer: made once, kept, the same for page and command line."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from itertools import combinations
from types import ModuleType
from typing import Any, Literal, TypeVar, get_args

import polars as pl

from explorer import (
    __version__,
    aggregate,
    align,
    annotated,
    head_to_head,
    known,
    moments,
    pair_order,
    pair_scores,
    recall,
    relate,
    relationships,
    reliability,
    shortlist,
    totals,
)
from explorer.align import check_method
from explorer.catalog import Catalog, identity_of, require_unchanged, shared_map, shared_screen
from explorer.context_reports import Place, counterpart, labels_of, other_places, passports_of, read_place
from explorer.digits import counted
from explorer.errors import InputError, listed, shown, unknown_name
from explorer.frozen import FrozenList, SealedKey, freeze
from explorer.gathered_evidence import SIDES, Evidence, gather_evidence, held_pairs, inactive_names
from explorer.head_to_head import Census, take_census
from explorer.judgements import Source, chosen_sources, digest_of, own_sources, remember, usual_alignment
from explorer.keeping import Shared, kept_on_disk
from explorer.known import KnownPairs, known_pairs
from explorer.load import Dataset
from explorer.pairs import pairs_of_names
from explorer.shortlist import (
    COMPLETENESS,
    DEFAULT_BUDGET,
    Expectation,
    ListSide,
    PairFilter,
    Shortlist,
    check_completeness,
    check_pairs,
    make_shortlist,
)
from explorer.store import artefact_key
from explorer.verdict import Progress, check_seed, lock_reason
from explorer.view import default_sides

T = TypeVar("T")

Mode = Literal["discover", "compare"]
MODES: tuple[Mode, ...] = get_args(Mode)
DISCOVER, COMPARE = MODES
MOST_REMEMBERED = 64
# Names of interest that a list may be asked for; a longer list of them is no wish any more.
MOST_INTEREST = 5_000

# The code that decides what a list holds: where it changes, what was kept is not used.
_MADE_BY: tuple[ModuleType, ...] = (
    aggregate, align, annotated, head_to_head, known, moments, pair_order, pair_scores, recall, relate, relationships,
    reliability, shortlist, totals,
)  # fmt: skip
_TYPES = (Census, Expectation, Shortlist)
# Of the progress: making the maps and asking the filters.
_MAPS_SHARE = 0.4

_remembered = Shared(MOST_REMEMBERED)


@dataclass(frozen=True, slots=True)
class ListPlan:
    """All that decides which pairs are listed.

    Attributes
    ----------
    mode
        ``discover``: as many hits as can be; ``compare``: let the experiments judge the two maps.
    dataset, context
        Where the pairs are looked for.
    others
        Further contexts that are counted in, as ``context`` or ``dataset/context``.
    simple, learned, align
        The two maps.
    budget
        Pairs to test.
    sources
        Names of the data set's own sources of what is known.
    completeness
        Shares of the truth that these may hold.
    only_active
        Whether perturbations that are active in neither map are left out.
    only_trusted
        Whether perturbations that the card says to distrust are left out.
    only_holding
        Whether pairs must hold in at least one of the other contexts.
    interest
        Perturbations of which one must stand in a pair; empty for no such wish.
    seed
        Of everything random.
    """

    mode: Mode
    dataset: str
    context: str
    others: tuple[str, ...]
    simple: str
    learned: str
    align: str
    budget: int = DEFAULT_BUDGET
    sources: tuple[str, ...] = ()
    completeness: tuple[float, ...] = COMPLETENESS
    only_active: bool = True
    only_trusted: bool = True
    only_holding: bool = False
    interest: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Listed:
    """A plan, carried out.

    Attributes
    ----------
    plan
        What was asked for, checked.
    shortlist, census
        What came of it: one of the two, by the mode.
    places
        The simple and the learned map, and the further contexts (in the simple representation).
    conditions
        Conditions of every context by label, in a sentence.
    sources
        Digest of each source of what is known, by name.
    maps
        Digests of the data and the rows that each map was made of, by its fingerprint.
    notes
        What the reader must know.
    """

    plan: ListPlan
    shortlist: Shortlist | None
    census: Census | None
    places: tuple[Place, Place, tuple[Place, ...]]
    conditions: Mapping[str, str]
    sources: Mapping[str, str]
    maps: Mapping[str, str] = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> pl.DataFrame:
        """Pairs that are to be tested, random ones of a comparison too."""
        return self._found.rows

    @property
    def expectation(self) -> Expectation:
        """Hits to expect."""
        return self._found.expectation

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Recipes of the maps."""
        return self._found.fingerprints

    @property
    def recipes(self) -> str:
        """Name the recipes of all maps as a link carries them."""
        return ".".join(dict.fromkeys(self.fingerprints.values()))

    @property
    def _found(self) -> Shortlist | Census:
        found = self.shortlist if self.shortlist is not None else self.census
        assert found is not None, "a plan that was carried out has a list"
        return found


def default_list_plan(catalog: Catalog, dataset: str, context: str = "") -> ListPlan:
    """Plan a list where nothing is chosen: the card's two maps and alignment, every other context of the data set."""
    own = catalog.dataset(dataset)
    name = own.context(context or None)
    simple, learned = default_sides(own)
    return ListPlan(
        mode=DISCOVER,
        dataset=own.name,
        context=name,
        others=tuple(other for other in own.contexts if other != name),
        simple=simple,
        learned=learned,
        align=usual_alignment(own, name),
        sources=_usual_sources(own),
    )


def _usual_sources(dataset: Dataset) -> tuple[str, ...]:
    try:
        return own_sources(dataset)
    except InputError:
        # What is wrong is said where the list would stand.
        return ()


def other_names(catalog: Catalog, plan: ListPlan) -> tuple[str, ...]:
    """Name the contexts that can be counted in: ``context``, or ``dataset/context`` of another data set."""
    here = Place(plan.dataset, plan.context, plan.simple, plan.align)
    try:
        found = other_places(catalog, here)
    except InputError:
        return ()
    names = (place.context if place.dataset == plan.dataset else f"{place.dataset}/{place.context}" for place in found)
    return tuple(dict.fromkeys(names))


def check_list_plan(catalog: Catalog, plan: ListPlan) -> ListPlan:
    """Check every name and number of a plan.

    Returns
    -------
    ListPlan
        With the names as the card has them.

    Raises
    ------
    InputError
        When something is unknown or out of range, or a representation is to be compared with itself.
    """
    own = catalog.dataset(plan.dataset)
    if plan.mode not in MODES:
        msg = "mode"
        raise unknown_name(msg, plan.mode, MODES)
    check_pairs(plan.budget)
    check_seed(plan.seed)
    check_method(plan.align)
    for name in (plan.simple, plan.learned):
        if name not in own.card.representations:
            msg = "representation"
            raise unknown_name(msg, name, own.card.representations)
    if plan.simple == plan.learned and plan.mode == COMPARE:
        msg = f"{shown(plan.simple)} can't be compared with itself: choose two representations"
        raise InputError(msg)
    if len(plan.interest) > MOST_INTEREST:
        msg = f"{len(plan.interest):,} perturbations of interest, expected at most {MOST_INTEREST:,}: name fewer"
        raise InputError(msg)
    return replace(
        plan,
        context=own.context(plan.context),
        others=tuple(dict.fromkeys(plan.others)),
        completeness=check_completeness(plan.completeness),
    )


def shared_list(
    catalog: Catalog,
    plan: ListPlan,
    *,
    relationships: tuple[Source, ...] = (),
    progress: Progress | None = None,
) -> Listed:
    """Make a list as planned; made once and kept.

    Parameters
    ----------
    catalog, plan
        The data sets on offer, and what is asked of them; the plan is checked here.
    relationships
        Known pairs and sets besides the plan's sources.
    progress
        Called with what is done next and the share that is done; it may raise, to cancel.

    Raises
    ------
    InputError
        As `check_list_plan`, `explorer.shortlist.make_shortlist` and `explorer.head_to_head.take_census`.
    """
    say = progress or (lambda what, share: None)
    plan = check_list_plan(catalog, plan)
    own = catalog.dataset(plan.dataset)
    places = _places(catalog, plan)
    simple, learned, others = places
    datasets = {place.dataset: catalog.dataset(place.dataset) for place in (simple, *others)}
    before = {name: identity_of(dataset) for name, dataset in datasets.items()}
    labels = labels_of(simple, others) if others else (plan.context,)
    sides = []
    for number, (place, label) in enumerate(zip((simple, *others), labels, strict=True)):
        say(f"maps of {label}", _MAPS_SHARE / 2 * number / len(labels))
        there = learned if number == 0 else _learned_there(catalog, learned, place)
        both = [
            shared_map(datasets[one.dataset], one.context, one.representation, alignment=one.align)
            for one in (place, there)
        ]
        sides.append(ListSide(label, both[0], both[1]))
    notes = []
    if plan.simple == plan.learned:
        notes.append(f"{shown(plan.simple)} alone is asked: a second map, or a second context, would find more")
    elif locked := lock_reason(sides[0].simple, sides[0].learned):
        notes.append(f"the two maps can't be held against each other fairly: {locked}")
    chosen = chosen_sources(own, plan.sources, relationships) if plan.sources or relationships else ()
    found, said = _look_up(chosen, sides[0])
    notes += said
    absent = sorted(set(plan.interest) - set(sides[0].simple.names))
    if absent:
        notes.append(
            f"of the perturbations of interest {listed(absent)} {'is' if len(absent) == 1 else 'are'} not in the maps"
        )
    pair_filter, said = _filter(catalog, plan, places, relationships=relationships, say=say)
    notes += said
    for name, dataset in datasets.items():
        require_unchanged(dataset, before[name])

    def step(what: str, share: float) -> None:
        say(what, _MAPS_SHARE + (1 - _MAPS_SHARE) * share)

    given: dict[str, Any] = {
        "known": found, "budget": plan.budget, "completeness": plan.completeness, "pair_filter": pair_filter,
    }  # fmt: skip
    key = (
        plan.mode, *labels, *(digest_of(one) for side in sides for one in (side.simple, side.learned)),
        digest_of(found), str(plan.budget), str(plan.completeness), _digest_filter(pair_filter), str(plan.seed),
    )  # fmt: skip
    listed_pairs = census = None
    if plan.mode == DISCOVER:
        listed_pairs = _kept(key, lambda: make_shortlist(sides[0], sides[1:], **given, progress=step))
    else:
        census = _kept(key, lambda: take_census(sides[0], sides[1:], **given, seed=plan.seed, progress=step))
    passport, comparisons = passports_of(catalog, simple, others)
    made = listed_pairs or census
    assert made is not None, "one of the two was made"
    say("done", 1.0)
    return Listed(
        plan=plan,
        shortlist=listed_pairs,
        census=census,
        places=places,
        conditions=dict(zip(labels, (passport.sentence, *(one.other.sentence for one in comparisons)), strict=True)),
        sources={source.name: digest_of(source)[:12] for source in chosen},
        maps={
            one.fingerprint: f"data {one.recipe.source[:12]}, rows {one.recipe.rows[:12]}"
            for side in sides
            for one in (side.simple, side.learned)
        },
        notes=tuple(dict.fromkeys((*notes, *made.notes))),
    )


def shared_evidence(
    catalog: Catalog,
    found: Listed,
    *,
    relationships: tuple[Source, ...] = (),
    progress: Progress | None = None,
) -> Evidence:
    """Gather what stands beside each pair of a list, see `explorer.gathered_evidence.gather_evidence`."""
    simple, learned, others = found.places
    return gather_evidence(
        catalog,
        found.rows.select("first", "second"),
        simple=simple,
        learned=learned,
        others=others,
        relationships=relationships,
        seed=found.plan.seed,
        progress=progress,
    )


def with_evidence(rows: pl.DataFrame, evidence: Evidence | None) -> pl.DataFrame:
    """Put the evidence beside the pairs of a list."""
    if evidence is None:
        return rows
    return rows.join(evidence.table, on=["first", "second"], how="left", maintain_order="left")


def freeze_list(
    found: Listed, evidence: Evidence | None, *, date: datetime | str, salt: bytes | None = None
) -> tuple[FrozenList, SealedKey | None]:
    """Freeze a list with all that it was made of.

    Parameters
    ----------
    found, evidence
        The list; and what stands beside each pair, where it was gathered. Of a comparison nothing stands beside the
        pairs, since it would tell who proposed them: all of it goes into the sealed key.
    date
        When; text in ISO 8601.
    salt
        Of the key; drawn at random without it.
    """
    plan = found.plan
    notes = [*found.notes, *(evidence.notes if evidence is not None else ())]
    header: dict[str, Any] = {
        "dataset": plan.dataset, "context": plan.context, "others": list(plan.others),
        "conditions": dict(found.conditions), "simple": plan.simple, "learned": plan.learned, "alignment": plan.align,
        "budget": plan.budget, "recipes": dict(found.fingerprints), "data": dict(found.maps),
        "known": dict(found.sources), "seed": plan.seed,
        "expected": {
            f"{share:g}": round(hits, 3)
            for share, hits in zip(found.expectation.completeness, found.expectation.expected, strict=True)
        },
        "known rate": found.expectation.known_rate,
        "filters": filter_words(plan), "notes": list(dict.fromkeys(notes)), "made with": f"explorer {__version__}",
    }  # fmt: skip
    if found.census is None:
        rows = with_evidence(found.rows.rename({"rank": "row"}), evidence)
        return freeze(rows, mode=DISCOVER, header=header, date=date, salt=salt)
    census = found.census
    header |= {
        "depth": census.depth, "pairs of both": census.n_shared, "pairs of one map each": census.n_exclusive,
        "random pairs": census.n_background,
    }  # fmt: skip
    # Places in either map's list; ranks of the evidence are among neighbours.
    places = {f"{side} rank": f"{side} place" for side in SIDES}
    rows = with_evidence(found.rows.rename(places), evidence)
    return freeze(rows.select("first", "second"), mode=COMPARE, header=header, key_rows=rows, date=date, salt=salt)


def filter_words(plan: ListPlan) -> list[str]:
    """Say which pairs were let pass, in words."""
    words = []
    if plan.only_active:
        words.append("not those judged inactive in both maps")
    if plan.only_trusted:
        words.append("not those that the card says to distrust")
    if plan.only_holding:
        words.append("pairs that hold in another context")
    if plan.interest:
        words.append(f"one of {counted(len(plan.interest), 'perturbation')} of interest: {listed(plan.interest)}")
    return words


def _places(catalog: Catalog, plan: ListPlan) -> tuple[Place, Place, tuple[Place, ...]]:
    simple, learned = (Place(plan.dataset, plan.context, name, plan.align) for name in (plan.simple, plan.learned))
    return simple, learned, tuple(read_place(catalog, text, like=simple) for text in plan.others)


def _learned_there(catalog: Catalog, learned: Place, there: Place) -> Place:
    return counterpart(catalog, catalog.dataset(there.dataset), there.context, like=learned)


def _look_up(sources: Sequence[Source], side: ListSide) -> tuple[tuple[KnownPairs, ...], list[str]]:
    """Look all sources up: however few pairs one knows, they are not listed again."""
    names = tuple(name for name in side.simple.names if name in side.learned)
    found, notes = [], []
    for source in sources:
        try:
            found.append(remember(known_pairs, source, names, fewest=1))
        except InputError as error:
            notes.append(f"of no use: {error}")
    return tuple(found), [*notes, *(note for source in found for note in source.notes)]


def _filter(
    catalog: Catalog,
    plan: ListPlan,
    places: tuple[Place, Place, tuple[Place, ...]],
    *,
    relationships: tuple[Source, ...],
    say: Progress,
) -> tuple[PairFilter, list[str]]:
    """Find which pairs may be listed, and say what is left out."""
    simple, learned, others = places
    left_out: set[str] = set()
    notes = []
    if plan.only_active:
        say("who is active", _MAPS_SHARE / 2)
        inactive, silence = inactive_names(catalog, simple, learned)
        left_out |= inactive
        if inactive:
            notes.append(f"left out: {counted(len(inactive), 'perturbation')} judged inactive in both maps")
        if silence:
            notes.append(f"nobody is left out for being inactive: {silence}")
    cautions = catalog.dataset(plan.dataset).card.cautions
    if plan.only_trusted and cautions:
        doubtful = frozenset().union(*(caution.perturbations for caution in cautions))
        left_out |= doubtful
        notes.append(
            f"left out: {counted(len(doubtful), 'perturbation')} that the card says to distrust "
            f"({'; '.join(caution.text for caution in cautions)})"
        )
    only = None
    if plan.only_holding:
        only, said = held_pairs(
            catalog,
            simple,
            learned,
            others=others,
            relationships=relationships,
            seed=plan.seed,
            progress=lambda what, share: say(what, _MAPS_SHARE * (0.5 + 0.5 * share)),
        )
        notes += said
    names = shared_map(catalog.dataset(plan.dataset), plan.context, plan.simple, alignment=plan.align).names
    excluded = _with_a_part_in_common(names, shared_screen(catalog.dataset(plan.dataset), plan.context).roles.control)
    if excluded:
        notes.append(
            f"left out: {counted(len(excluded), 'pair')} of a combination with a part of its own, as in A and A+B"
        )
    said = (*filter_words(plan), *(["no parts in common"] if excluded else []))
    return PairFilter(frozenset(left_out), frozenset(plan.interest), only, excluded, said), notes


def _with_a_part_in_common(names: Sequence[str], controls: Collection[str]) -> frozenset[tuple[str, str]]:
    """Find the pairs whose names say that they perturb one thing in common: A and A+B, A+B and A+C."""
    combined = pairs_of_names(names, controls=controls)
    holders: dict[str, list[str]] = {}
    for name in names:
        for part in combined.get(name, (name,)):
            holders.setdefault(part, []).append(name)
    return frozenset(pair for own in holders.values() for pair in combinations(sorted(own), 2))


def _digest_filter(pair_filter: PairFilter) -> str:
    only = None if pair_filter.only is None else sorted(pair_filter.only)
    parts = (sorted(pair_filter.left_out), sorted(pair_filter.interest), only, sorted(pair_filter.excluded))
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _kept(key: tuple[str, ...], make: Callable[[], T]) -> T:
    hashable: Hashable = key
    return _remembered.get(hashable, lambda: kept_on_disk(artefact_key("list", _code(), *key), make, types=_TYPES))


@cache
def _code() -> str:
    """Digest of the code that makes lists, read once a process."""
    return artefact_key(made_by=_MADE_BY)
