"""Judgements of the datasets on offer: made once, and kept on disk, so that they are at hand at once."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

import numpy as np
import polars as pl

from explorer import (
    aggregate,
    align,
    expression,
    hits,
    kernels,
    known,
    moments,
    partners,
    placebos,
    recall,
    relate,
    relationships,
    significance,
    tails,
    totals,
    verdict,
)
from explorer.aggregate import PerturbationMap
from explorer.align import METHODS, check_method
from explorer.catalog import identity_of, require_unchanged, shared_knowledge, shared_map, shared_screen
from explorer.errors import InputError, shown, unknown_name
from explorer.hits import TopPairs, known_credit, pool_pairs, top_pairs
from explorer.keeping import Shared, kept_on_disk
from explorer.knowledge import with_further
from explorer.known import KnownPairs, Units, pool_units
from explorer.load import Dataset
from explorer.partners import DEFAULT_K, chance_recall, partner_recall
from explorer.placebos import make_placebos
from explorer.recall import Recall
from explorer.relate import Neighborhoods, check_k, neighborhoods
from explorer.relationships import GeneSets, Relationships
from explorer.significance import SignFlip
from explorer.store import artefact_key
from explorer.tails import NullThresholds
from explorer.verdict import (
    DEFAULT_BUDGET,
    MOST_BUDGET,
    Judgement,
    KnownHits,
    MapComparison,
    Primary,
    Progress,
    SourceComparison,
    check_budget,
    check_seed,
    hits_at,
    judge,
    look_up,
    on_common,
    with_all,
)

P = ParamSpec("P")
T = TypeVar("T")
Source = Relationships | GeneSets

MOST_REMEMBERED = 256
FEWEST_CONTROLS = 2
# Budgets of a curve: three in every power of ten.
_BUDGET_STEPS = (1, 2, 5)
_FEWEST_BUDGET = 10
# Of the progress of a judgement: making the maps.
_MAPS_SHARE = 0.3

# The code that decides what a judgement says: where it changes, what was kept is not used.
_MADE_BY: tuple[ModuleType, ...] = (
    aggregate, align, expression, hits, kernels, known, moments, partners, placebos, recall, relate, relationships,
    significance, tails, totals, verdict,
)  # fmt: skip
_TYPES = (
    Judgement, KnownHits, KnownPairs, MapComparison, Neighborhoods, NullThresholds, Primary, Recall, SignFlip,
    SourceComparison, TopPairs,
)  # fmt: skip
_CURVE_SCHEMA = {
    "budget": pl.Int64,
    "simple": pl.Float64,
    "learned": pl.Float64,
    "best placebo": pl.Float64,
    "placebo": pl.String,
    "chance": pl.Float64,
    "difference": pl.Float64,
    "half width": pl.Float64,
}
_GRID_SCHEMA = {
    "representation": pl.String,
    "kind": pl.String,
    "alignment": pl.String,
    "score": pl.Float64,
    "chance": pl.Float64,
    "reason": pl.String,
}

_remembered = Shared(MOST_REMEMBERED)
_digests = Shared(MOST_REMEMBERED)


def own_sources(dataset: Dataset) -> tuple[str, ...]:
    """Names of the sources of known pairs beside a dataset: what it is judged by where nothing is chosen."""
    return tuple(source.name for source in shared_knowledge(dataset).relationships)


def default_alignment(dataset: Dataset, context: str) -> str:
    """Alignment to judge by where none is chosen: the card's, else ``center`` where controls stand in every batch.

    Many learned representations were told the batches. Unaligned, they are held against simple ones that still carry
    them, and win for that alone: so only a screen of one batch, or without controls to align to, is judged as it is.
    """
    declared = (dataset.card.defaults or {}).get("align")
    if declared is not None:
        return declared
    return "center" if _n_control_batches(dataset, context) > 1 else "none"


def usual_alignment(dataset: Dataset, context: str) -> str:
    """Alignment to show where none is chosen: as to judge by, and ``none`` where the rows can't be read."""
    try:
        return default_alignment(dataset, context)
    except InputError:
        # That they can't be read is said where the answer would stand.
        return "none"


def shared_judgement(
    dataset: Dataset,
    context: str,
    *,
    simple: str,
    learned: str,
    alignment: str,
    sources: tuple[str, ...] | None = None,
    relationships: tuple[Source, ...] | None = None,
    k: int = DEFAULT_K,
    budget: int = DEFAULT_BUDGET,
    seed: int = 0,
    progress: Progress | None = None,
) -> Judgement:
    """Judge a learned representation of a dataset against a simple one, with every placebo that can be made.

    Other simple representations of the card stand beside the one judged, and so do other seeds of the learned one.

    Parameters
    ----------
    dataset, context
        The rows.
    simple, learned, alignment
        Names of the two representations, and what both are aligned by.
    sources
        Names of the dataset's own sources, of known pairs or gene sets; all of its known pairs without it.
    relationships
        Further sources.
    k, budget, seed
        As in `explorer.verdict.judge`.
    progress
        Called with what is done next and the share that is done; it may raise, to cancel.

    Raises
    ------
    InputError
        When a name is unknown, the two representations are one, or the maps can't be judged.
    """
    say = progress or (lambda what, share: None)
    _check_sides(dataset, simple, learned, alignment=alignment)
    check_budget(budget)
    check_seed(seed)
    identity = identity_of(dataset)
    chosen = chosen_sources(dataset, sources, relationships)
    cards = dataset.card.representations
    others = [name for name in cards if name not in (simple, learned)]
    wanted = [name for name in others if cards[name].kind != "learned" or _family(dataset, name, learned)]
    say(f"map of {simple}", 0.0)
    one, other = (shared_map(dataset, context, name, alignment=alignment) for name in (simple, learned))
    _require_profiles(one, other)
    maps, notes = {}, _notes_on_kinds(dataset, simple, learned)
    n_batches = _n_control_batches(dataset, context) if alignment == "none" else 0
    if n_batches > 1:
        notes.append(
            f"nothing is aligned, though there are controls in all {n_batches} batches: a representation that was told "
            "the batches is favoured by that alone, so judge with the alignment 'center' before you believe it"
        )
    for number, name in enumerate(wanted):
        say(f"map of {name}", _MAPS_SHARE * number / (len(wanted) + 1))
        try:
            maps[name] = shared_map(dataset, context, name, alignment=alignment)
        except InputError as error:
            notes.append(f"{name} was left out: {error}")
    say("placebos", _MAPS_SHARE * len(wanted) / (len(wanted) + 1))
    made = _placebos(dataset, context, simple=one, learned=other, seed=seed)
    # Maps of two states of the files are never judged against each other.
    require_unchanged(dataset, identity)
    of_kind = {kind: {name: maps[name] for name in maps if cards[name].kind == kind} for kind in ("placebo", "simple")}
    seeds = {name: maps[name] for name in maps if cards[name].kind == "learned"}
    given: dict[str, Any] = {
        "placebos": {**of_kind["placebo"], **made}, "rivals": of_kind["simple"], "seeds": seeds, "k": k,
        "budget": budget, "seed": seed,
    }  # fmt: skip

    def make() -> Judgement:
        every = [one, other, *given["placebos"].values(), *given["rivals"].values(), *seeds.values()]
        with _neighborhoods_ahead(every, k=k):
            found = judge(
                one,
                other,
                chosen,
                **given,
                progress=lambda what, share: say(what, _MAPS_SHARE + (1 - _MAPS_SHARE) * share),
                call=remember,
            )
        return replace(found, notes=(*found.notes, *notes))

    return _kept(("judgement", *map(digest_of, (one, other, chosen, given, notes))), make)


def shared_grid(
    dataset: Dataset,
    context: str,
    *,
    sources: tuple[str, ...] | None = None,
    relationships: tuple[Source, ...] | None = None,
    k: int = DEFAULT_K,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """Score every representation under every alignment: what learning adds, and what the alignment adds.

    Parameters
    ----------
    dataset, context, sources, relationships, k
        As in `shared_judgement`.
    progress
        As there; what was scored before it raised is not lost.

    Returns
    -------
    polars.DataFrame
        ``representation, kind, alignment, score, chance, reason``, one line a cell: macro partner recall at k over
        the perturbations that all representations have, that of random neighbours, and, where the score is NaN,
        why the alignment can't be had.
    """
    say = progress or (lambda what, share: None)
    identity = identity_of(dataset)
    chosen = chosen_sources(dataset, sources, relationships)
    cards = dataset.card.representations
    plain: dict[str, PerturbationMap] = {}
    for number, name in enumerate(cards):
        say(f"map of {name}", 0.2 * number / len(cards))
        try:
            plain[name] = shared_map(dataset, context, name)
        except InputError:
            continue
    if not plain:
        shared_map(dataset, context, next(iter(cards)))
    names = tuple(sorted(set.intersection(*(set(made.names) for made in plain.values()))))
    check_k(k, len(names))
    known_here, _ = look_up(chosen, names, call=remember)
    units = pool_units(known_here)
    chance = _mean(chance_recall(units.members, n_perturbations=len(names), k=k))
    cells = [(name, alignment) for name in cards for alignment in METHODS]
    lines = []
    for number, (name, alignment) in enumerate(cells):
        say(f"{name}, {alignment}", 0.2 + 0.8 * number / len(cells))

        def score(name: str = name, alignment: str = alignment) -> tuple[float, str]:
            try:
                made = shared_map(dataset, context, name, alignment=alignment).restricted_to(names)
            except InputError as error:
                made, reason = None, str(error)
            # What is kept under the map without alignment is made of the same files.
            require_unchanged(dataset, identity)
            if made is None:
                return float("nan"), reason
            return _mean(partner_recall(neighborhoods(made, k=k), units.members)), ""

        if name in plain:
            # The map without alignment says which rows and features they are, so that the other need not be made.
            key = ("cell", digest_of(plain[name]), alignment, digest_of(names), digest_of(units), str(k))
            found = _kept(key, score)
        else:
            found = score()
        lines.append((name, cards[name].kind, alignment, found[0], chance, found[1]))
    say("done", 1.0)
    return pl.DataFrame(lines, schema=_GRID_SCHEMA, orient="row")


def shared_curve(
    dataset: Dataset,
    context: str,
    *,
    simple: str,
    learned: str,
    alignment: str,
    sources: tuple[str, ...] | None = None,
    relationships: tuple[Source, ...] | None = None,
    budgets: Iterable[int] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """Count the known pairs among the most similar ones at several budgets: a description, never the verdict.

    Parameters
    ----------
    dataset, context, simple, learned, alignment, sources, relationships, seed, progress
        As in `shared_judgement`.
    budgets
        Numbers of pairs; 10, 20, 50 … 10,000 without it, as far as there are pairs.

    Returns
    -------
    polars.DataFrame
        ``budget, simple, learned, best placebo, placebo, chance, difference, half width``: known pairs, of the
        placebo that has most at this budget and its name; learned − simple, and the half width of its 95 % interval
        over groups.

    Raises
    ------
    InputError
        As `shared_judgement`, or when a budget is below 1 or above the number of pairs.
    """
    say = progress or (lambda what, share: None)
    _check_sides(dataset, simple, learned, alignment=alignment)
    check_seed(seed)
    identity = identity_of(dataset)
    chosen = chosen_sources(dataset, sources, relationships)
    sides = [shared_map(dataset, context, name, alignment=alignment) for name in (simple, learned)]
    made = _placebos(dataset, context, simple=sides[0], learned=sides[1], seed=seed)
    for name, card in dataset.card.representations.items():
        if card.kind == "placebo" and name not in (simple, learned):
            try:
                made = {**made, name: shared_map(dataset, context, name, alignment=alignment)}
            except InputError:
                continue  # the judgement says so
    require_unchanged(dataset, identity)
    _require_profiles(*sides)
    one, other, _ = on_common(*sides)
    found, _ = look_up(chosen, one.names, call=remember)
    pooled = pool_pairs(found, pool_units(found))
    most = min(MOST_BUDGET, *(_n_pairs(side) for side in (one, other)))
    wanted = sorted({check_budget(budget) for budget in (_usual_budgets(most) if budgets is None else budgets)})
    if not wanted:
        msg = f"no budget was given: choose some from 1 to {most:,} pairs"
        raise InputError(msg)
    say("the most similar pairs", 0.1)
    lists = (remember(top_pairs, one, wanted[-1]), remember(top_pairs, other, wanted[-1]))
    placebo_hits: dict[str, list[float]] = {}
    for number, (name, placebo) in enumerate(made.items()):
        say(f"the most similar pairs of {name}", 0.3 + 0.6 * number / len(made))
        whole, _ = with_all(placebo, one.names)
        usable = [budget for budget in wanted if budget <= _n_pairs(whole)]
        if usable:
            listed = remember(top_pairs, whole, usable[-1])
            placebo_hits[name] = [float(known_credit(whole, listed, pooled, budget=b).sum()) for b in usable]
    lines = []
    for place, budget in enumerate(wanted):
        at = hits_at(one, other, pooled, lists=lists, budget=budget, seed=seed)
        # Of equal ones the first, so that it repeats.
        best = max(
            ((values[place], name) for name, values in placebo_hits.items() if place < len(values)),
            key=lambda pair: pair[0],
            default=(float("nan"), ""),
        )
        lines.append((budget, at.simple, at.learned, *best, at.chance, at.test.estimate, at.test.half_width))
    say("done", 1.0)
    return pl.DataFrame(lines, schema=_CURVE_SCHEMA, orient="row")


def remember(function: Callable[P, T], /, *args: P.args, **options: P.kwargs) -> T:
    """Call a function of maps and sources; what it returned for equal ones is taken from memory or disk instead."""
    parts = (function.__name__, *map(digest_of, args), *(f"{key} {digest_of(options[key])}" for key in sorted(options)))
    return _kept(parts, lambda: function(*args, **options))


def digest_of(value: object) -> str:
    """Digest what a judgement is made of: equal maps, sources and settings give equal digests in every process."""
    if isinstance(value, PerturbationMap | Relationships | GeneSets | KnownPairs | Units):
        return _digests.get(value, lambda: _digest_content(value))
    if isinstance(value, Mapping):
        return _hash(part for key, item in value.items() for part in (str(key), digest_of(item)))
    if isinstance(value, tuple | list):
        return _hash(digest_of(item) for item in value)
    return repr(value)


def _digest_content(value: PerturbationMap | Relationships | GeneSets | KnownPairs | Units) -> str:
    if isinstance(value, PerturbationMap):
        return _hash(["map", value.fingerprint, *value.names])
    if isinstance(value, Relationships):
        pairs = (part for one in sorted(value.partners) for part in (one, *sorted(value.partners[one])))
        groups = (part for name in sorted(value.groups) for part in ("", name, *sorted(value.groups[name])))
        return _hash(["pairs", value.name, *pairs, *groups])
    if isinstance(value, GeneSets):
        return _hash(["sets", value.name, *(part for name, own in value.sets.items() for part in ("", name, *own))])
    if isinstance(value, Units):
        return _hash(["units", *value.names, *(own.tobytes().hex() for own in value.members)])
    members = (part for name, own in value.groups.items() for part in (name, own.tobytes().hex()))
    return _hash(
        ["known", value.name, *value.names, value.first.tobytes().hex(), value.second.tobytes().hex(), *members]
    )


def _hash(parts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part}\x1f".encode())
    return digest.hexdigest()


def _kept(key: tuple[str, ...], make: Callable[[], T]) -> T:
    hashable: Hashable = key
    return _remembered.get(hashable, lambda: kept_on_disk(artefact_key("judge", _code(), *key), make, types=_TYPES))


@cache
def _code() -> str:
    """Digest of the code that judges, read once a process."""
    return artefact_key(made_by=_MADE_BY)


def _placebos(
    dataset: Dataset, context: str, *, simple: PerturbationMap, learned: PerturbationMap, seed: int
) -> dict[str, PerturbationMap]:
    of = dataset.card.representations[learned.recipe.representation].of
    inputs = [of] if of is not None and of in dataset.card.representations else []
    key = ("placebos", *identity_of(dataset), context, digest_of(simple), digest_of(learned), seed)
    return _remembered.get(
        key,
        lambda: make_placebos(shared_screen(dataset, context), simple, learned, inputs=inputs, seed=seed),
    )


def _n_control_batches(dataset: Dataset, context: str) -> int:
    """Count the batches of a screen where each has the two controls that centring needs; 0 otherwise."""
    screen = shared_screen(dataset, context)
    if screen.roles.batch is None:
        return 0
    batches = pl.DataFrame({"batch": screen.rows[screen.roles.batch], "control": screen.is_control()})
    controls = batches.group_by("batch").agg(pl.col("control").sum())["control"].to_numpy()
    return len(controls) if len(controls) and controls.min() >= FEWEST_CONTROLS else 0


@contextmanager
def _neighborhoods_ahead(maps: Sequence[PerturbationMap], *, k: int) -> Iterator[None]:
    """Find neighbourhoods in a thread, from the last map on, while the caller begins at the first."""
    alike = [made for made in maps if made.names == maps[0].names]
    stop = threading.Event()

    def work() -> None:
        for made in reversed(alike):
            if stop.is_set():
                return
            try:
                remember(neighborhoods, made, k=k)
            except InputError:
                return  # whoever asks is told

    thread = threading.Thread(target=work, name="neighbourhoods")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def chosen_sources(
    dataset: Dataset, names: tuple[str, ...] | None, further: tuple[Source, ...] | None
) -> tuple[Source, ...]:
    """Look sources up by name, each once, and add further ones."""
    knowledge = shared_knowledge(dataset)
    own: tuple[Source, ...] = (*knowledge.relationships, *knowledge.gene_sets)
    every = {source.name: source for source in own}
    if names is None:
        names = own_sources(dataset)
    for name in names:
        if name not in every:
            msg = "source"
            raise unknown_name(msg, name, every)
    chosen = with_further((every[name] for name in dict.fromkeys(names)), further or ())
    if not chosen:
        message = (
            f"nothing is known of the perturbations of {shown(dataset.name)}: give a file of pairs or sets, or name "
            f"one of its own sources ({', '.join(shown(name) for name in every) or 'there is none'})"
        )
        raise InputError(message)
    return chosen


def _check_sides(dataset: Dataset, simple: str, learned: str, *, alignment: str) -> None:
    check_method(alignment)
    for name in (simple, learned):
        if name not in dataset.card.representations:
            msg = "representation"
            raise unknown_name(msg, name, dataset.card.representations)
    if simple == learned:
        msg = f"{shown(simple)} can't be judged against itself: choose two representations"
        raise InputError(msg)


def _require_profiles(*sides: PerturbationMap) -> None:
    for side in sides:
        n_usable = int((side.norms > 0).sum())
        if n_usable < 2:
            message = (
                f"{n_usable} of {side.n_perturbations:,} profiles of {shown(side.recipe.representation)} are longer "
                f"than zero under the alignment {side.recipe.alignment!r}: choose a representation that varies"
            )
            raise InputError(message)


def _notes_on_kinds(dataset: Dataset, simple: str, learned: str) -> list[str]:
    kinds = {name: dataset.card.representations[name].kind for name in (simple, learned)}
    return [
        f"{name} is of the kind {kinds[name]}, and is judged as the {part} one"
        for name, part in ((simple, "simple"), (learned, "learned"))
        if kinds[name] != part
    ]


def _family(dataset: Dataset, name: str, learned: str) -> bool:
    """Whether two representations differ in the random seed alone."""
    cards = dataset.card.representations
    return (cards[name].seed_of or name) == (cards[learned].seed_of or learned)


def _usual_budgets(most: int) -> list[int]:
    powers = range(int(np.log10(max(most, 1))) + 1)
    return [b for b in (step * 10**power for power in powers for step in _BUDGET_STEPS) if _FEWEST_BUDGET <= b <= most]


def _n_pairs(perturbation_map: PerturbationMap) -> int:
    n = int((perturbation_map.norms > 0).sum())
    return n * (n - 1) // 2


def _mean(values: Any) -> float:
    return float(values.mean()) if len(values) else float("nan")
