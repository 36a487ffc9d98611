"""Predictions for the data sets on offer: made once, kept, and the same for the page and the command line."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from types import ModuleType
from typing import Any, get_args

import numpy as np
import polars as pl

from explorer import (
    aggregate,
    align,
    crossfit,
    expression,
    folds,
    halves,
    kernels,
    known,
    moments,
    pairs,
    placebos,
    predict,
    prediction_scores,
    predictors,
    relationships,
    significance,
    targets,
    totals,
)
from explorer.aggregate import PerturbationMap
from explorer.align import METHODS, check_method
from explorer.card import PCA, RepresentationCard
from explorer.catalog import (
    Catalog,
    identity_of,
    require_unchanged,
    shared_knowledge,
    shared_map,
    shared_moments,
    shared_screen,
)
from explorer.errors import InputError, listed, shown, unknown_name
from explorer.judgements import digest_of, own_sources, remember, usual_alignment
from explorer.keeping import Shared, kept_on_disk
from explorer.knowledge import with_further
from explorer.known import KnownPairs
from explorer.load import Dataset, feature_names
from explorer.pairs import pairs_of_names, predict_pairs
from explorer.passport import layout_columns
from explorer.placebos import make_placebos
from explorer.predict import (
    Prediction,
    PredictionTest,
    Progress,
    Task,
    common_names,
    predict_unseen,
)
from explorer.relationships import GeneSets, Relationships
from explorer.sources import SpreadSource
from explorer.store import artefact_key
from explorer.targets import Target, target_of
from explorer.verdict import check_seed, look_up

PAIRS: Task = "pairs"
TASKS: tuple[Task, ...] = get_args(Task)
MOST_REMEMBERED = 32
# Of the progress of a prediction: making the maps and the placebos.
_MAPS_SHARE = 0.2

# The code that decides what a prediction says: where it changes, what was kept is not used.
_MADE_BY: tuple[ModuleType, ...] = (
    aggregate, align, crossfit, expression, folds, halves, kernels, known, moments, pairs, placebos, predict,
    prediction_scores, predictors, relationships, significance, targets, totals,
)  # fmt: skip
_TYPES = (Prediction, PredictionTest)

_remembered = Shared(MOST_REMEMBERED)


@dataclass(frozen=True, slots=True)
class PredictionPlan:
    """What is to be predicted from what.

    Attributes
    ----------
    task
        ``prior``: from any embedding of the same perturbations; ``transfer``: from the same perturbations in another
        context; ``pairs``: pairs of perturbations from their singles.
    dataset, context, target
        Where the target is, and the representation whose (neutral) features are predicted.
    source
        Context that the prior comes from, ``DATASET/CONTEXT`` where it is another dataset's; for ``prior`` another
        context or the same one (then its representation may have been made of the target's own cells, which is
        refused, or have seen it, which locks); empty for ``pairs``.
    simple, learned
        Names of the prior representations, of `source`; empty for ``pairs``.
    align
        Alignment of every map.
    sources
        Names of the sources of known groups that make the folds; all of the data set's own without any.
    """

    task: Task
    dataset: str
    context: str
    target: str
    source: str
    simple: str
    learned: str
    align: str
    sources: tuple[str, ...] = ()


def target_names(catalog: Catalog, dataset: str) -> tuple[str, ...]:
    """Representations whose features can be predicted: neutral ones, raw first.

    A learned space is none, nor are principal components made when the rows are read.

    Raises
    ------
    InputError
        When there is no such dataset.
    """
    cards = catalog.dataset(dataset).card.representations
    neutral = [name for name, card in cards.items() if card.kind == "simple" and PCA not in card.transform]
    return tuple(sorted(neutral, key=lambda name: name != "raw"))


def default_target(dataset: Dataset, *, source: str = "") -> str:
    """Context to predict where none is chosen: the first other than the source, the card's default without one.

    What is known is what one begins with, and the usual context is what is known; a dataset of one context has that.
    """
    known = source if source in dataset.contexts else dataset.context()
    return next((name for name in dataset.contexts if name != known), known)


def default_plan(catalog: Catalog, dataset: str, context: str) -> PredictionPlan:
    """Plan what is predicted where nothing is chosen.

    The card's default context is the source, where that is the target the first other one; where there is none, an
    embedding that has not seen this one; where there is none either, pairs are predicted from their singles.

    Raises
    ------
    InputError
        When a name is unknown, or nothing can be predicted: one context only, without an embedding or pairs.
    """
    own = catalog.dataset(dataset)
    context = own.context(context)
    targets_here = target_names(catalog, dataset)
    if not targets_here:
        message = (
            f"{shown(dataset)} has no neutral representation to predict: name one of kind simple in its card, such as "
            "raw features"
        )
        raise InputError(message)
    plan = PredictionPlan(
        "transfer", dataset, context, targets_here[0], "", "", "", usual_alignment(own, context)
    )  # fmt: skip
    others = [name for name in own.contexts if name != context]
    if others:
        simple, learned = _usual_sides(own)
        # An alignment that the source can't have is said when it is asked for.
        return replace(plan, source=usual_context(own, context), simple=simple, learned=learned)
    free = [name for name, card in own.card.representations.items() if _has_not_seen(card, (dataset, context), own)]
    if len(free) > 1:
        simple, learned = _usual_sides(own, only=free)
        return replace(plan, task="prior", source=context, simple=simple, learned=learned)
    screen = shared_screen(own, context)
    # By the labels of the rows: a page asks this before it has its turn to make maps.
    if _pairs_in(own, context, tuple(screen.rows[screen.roles.perturbation].cast(pl.String).unique().drop_nulls())):
        return replace(plan, task=PAIRS)
    message = (
        f"{shown(dataset)} has one context only, no embedding from elsewhere and no pairs of perturbations, so that "
        "nothing can be predicted: add a context, or a representation that says saw = [] in the card"
    )
    raise InputError(message)


def usual_context(dataset: Dataset, context: str) -> str:
    """Context to predict another from: the card's default, or the first other; itself where there is no other."""
    others = [name for name in dataset.contexts if name != context]
    usual = dataset.context()
    return usual if usual in others else next(iter(others), context)


def check_plan(catalog: Catalog, plan: PredictionPlan) -> PredictionPlan:
    """Check every name of a plan, and what may not be asked.

    Returns
    -------
    PredictionPlan
        With the names as the card has them, the source of another dataset as ``DATASET/CONTEXT``; where it names no
        representation, with the usual ones of the source.

    Raises
    ------
    InputError
        When a name is unknown, or the plan is refused: a transfer from the very context, a representation against
        itself, one made from the target's own cells.
    """
    own = catalog.dataset(plan.dataset)
    plan = replace(plan, context=own.context(plan.context))
    if plan.task not in TASKS:
        msg = "task"
        raise unknown_name(msg, plan.task, TASKS)
    if plan.target not in target_names(catalog, plan.dataset):
        if plan.target in own.card.representations:
            message = (
                f"{shown(plan.target)} is no neutral representation, and what one representation predicts of another's "
                f"own space says nothing: choose {_either(target_names(catalog, plan.dataset))}"
            )
            raise InputError(message)
        msg = "representation to predict"
        raise unknown_name(msg, plan.target, target_names(catalog, plan.dataset))
    check_method(plan.align)
    every = _sources_of(own)
    for name in plan.sources:
        if name not in every:
            msg = "source"
            raise unknown_name(msg, name, every)
    if plan.task == PAIRS:
        return replace(plan, source="", simple="", learned="")
    there, context = _place_of(catalog, plan)
    is_same = (there.name, context) == (plan.dataset, plan.context)
    plan = replace(plan, source=context if there.name == plan.dataset else f"{there.name}/{context}")
    if not (plan.simple and plan.learned):
        usual = _usual_sides(there)
        plan = replace(plan, simple=plan.simple or usual[0], learned=plan.learned or usual[1])
    for name in (plan.simple, plan.learned):
        if name not in there.card.representations:
            msg = "representation"
            raise unknown_name(msg, name, there.card.representations)
    if plan.simple == plan.learned:
        message = f"{shown(plan.simple)} can't be compared with itself: choose two representations of {plan.source}"
        raise InputError(message)
    if plan.task == "transfer" and is_same:
        others = [name for name in own.contexts if name != plan.context]
        message = (
            f"{shown(plan.context)} can't be transferred to itself: choose another context to predict from, "
            f"{_either(others) if others else 'of which this dataset has none, or one of another dataset'}"
        )
        raise InputError(message)
    if is_same:
        made = [
            name
            for name in (plan.simple, plan.learned)
            if not _has_not_seen(there.card.representations[name], (plan.dataset, plan.context), there, context=context)
        ]
        if made:
            message = (
                f"same cells: {listed(made)} {'was' if len(made) == 1 else 'were'} made from the cells of "
                f"{shown(plan.context)} that are to be predicted, and noise that both share would pass for "
                "prediction; choose another context to predict from, or say saw = [] in the card of a representation "
                "that never saw them"
            )
            raise InputError(message)
    return plan


def shared_prediction(
    catalog: Catalog,
    plan: PredictionPlan,
    *,
    relationships: tuple[Relationships | GeneSets, ...] = (),
    seed: int = 0,
    progress: Progress | None = None,
) -> Prediction:
    """Predict as planned; made once and kept.

    Parameters
    ----------
    catalog, plan
        What is predicted from what; the plan is checked here.
    relationships
        Known pairs and sets besides the plan's sources, whose groups folds keep together too; of no account for pairs.
    seed
        Of everything random.
    progress
        Called with what is done next and the share that is done; it may raise, to cancel.

    Raises
    ------
    InputError
        As `check_plan`, `explorer.predict.predict_unseen` and `explorer.pairs.predict_pairs`.
    """
    say = progress or (lambda what, share: None)
    check_seed(seed)
    plan = check_plan(catalog, plan)
    own = catalog.dataset(plan.dataset)
    identity = identity_of(own)
    say(f"map of {plan.target}", 0.0)
    target, digests = _shared_target(own, plan, seed=seed)
    if plan.task == PAIRS:
        found = _pairs_in(own, plan.context, target.profiles.names)
        require_unchanged(own, identity)
        key = ("pairs", *digests, str(seed))
        return _kept(key, lambda: predict_pairs(target, pairs=found, seed=seed, progress=progress))
    there, context = _place_of(catalog, plan)
    identity_there = identity_of(there)
    alignment, notes = _source_alignment(there, context, plan)
    say(f"map of {plan.simple}", 0.3 * _MAPS_SHARE)
    simple, learned = (_prior_map(there, context, name, alignment=alignment) for name in (plan.simple, plan.learned))
    if alignment != METHODS[0]:
        notes = (*notes, *_unaligned(simple, learned))
    names, _ = common_names(target, simple, learned)
    known_here, notes_known = _known(own, plan, names, relationships)
    say("placebos", 0.6 * _MAPS_SHARE)
    chances, notes_placebos = _placebos_of(
        there, context, simple=simple, learned=learned, alignment=alignment, seed=seed
    )
    others, notes_rivals = _rivals(catalog, plan, alignment=alignment)
    copied = _copy(catalog, plan, target, seed=seed)
    require_unchanged(own, identity)
    require_unchanged(there, identity_there)
    locked = _lock(catalog, plan)
    every_note = (*notes, *notes_known, *notes_placebos, *notes_rivals)
    given: dict[str, Any] = {
        "placebos": chances, "rivals": others, "task": plan.task, "locked": locked, "copy": copied, "seed": seed,
    }  # fmt: skip

    def make() -> Prediction:
        found = predict_unseen(
            target,
            simple,
            learned,
            known=known_here,
            **given,
            progress=lambda what, share: say(what, _MAPS_SHARE + (1 - _MAPS_SHARE) * share),
        )
        return replace(found, notes=(*every_note, *found.notes))

    key = (
        "unseen", *digests, digest_of(simple), digest_of(learned), digest_of(known_here), digest_of(given),
        digest_of(every_note),
    )  # fmt: skip
    return _kept(key, make)


def prediction_json(prediction: Prediction, plan: PredictionPlan) -> dict[str, Any]:
    """Put all that the page shows into one object for ``--json``."""
    return {
        "verdict": prediction.verdict,
        "reason": prediction.reason,
        "task": prediction.task,
        "plan": {
            "dataset": plan.dataset, "context": plan.context, "target": plan.target, "source": plan.source,
            "simple": plan.simple, "learned": plan.learned, "align": plan.align, "sources": list(plan.sources),
        },
        "target": prediction.target,
        "simple": prediction.simple,
        "learned": prediction.learned,
        "primary": None if prediction.primary is None else _test_json(prediction.primary),
        "tests": [_test_json(test) for test in prediction.tests],
        "scores": prediction.scores.to_dicts(),
        "perturbations": prediction.perturbations.to_dicts(),
        "ceiling": prediction.ceiling,
        "ceiling_note": prediction.ceiling_note,
        "n_perturbations": prediction.n_perturbations,
        "n_blocks": prediction.n_blocks,
        "share_of_training_kept": prediction.share_kept,
        "fingerprints": dict(prediction.fingerprints),
        "recipes": dict(prediction.recipes),
        "seed": prediction.seed,
        "notes": list(prediction.notes),
    }  # fmt: skip


def _test_json(test: PredictionTest) -> dict[str, Any]:
    return {
        "against": test.against, "kind": test.kind, "estimate": test.estimate, "low": test.low, "high": test.high,
        "sign_flip": test.sign_flip, "jackknife": test.jackknife, "p": test.p, "n_blocks": test.n_blocks,
        "n_discordant": test.n_discordant,
    }  # fmt: skip


# ---------------------------------------------------------------- what a plan names


def _place_of(catalog: Catalog, plan: PredictionPlan) -> tuple[Dataset, str]:
    """Find the dataset and the context that a plan predicts from."""
    if not plan.source:
        others = [name for name in catalog.dataset(plan.dataset).contexts if name != plan.context]
        message = "no context to predict from: " + (
            f"name one of {listed(others)}"
            if others
            else f"{shown(plan.dataset)} has one context only, so name another dataset's as DATASET/CONTEXT, or a "
            "representation of this one that says saw = [] in the card"
        )
        raise InputError(message)
    if "/" in plan.source:
        name, _, context = plan.source.partition("/")
        there = catalog.dataset(name)
    else:
        there, context = catalog.dataset(plan.dataset), plan.source
    if context not in there.contexts:
        msg = "context to predict from"
        raise unknown_name(msg, context, there.contexts)
    return there, context


def _either(names: tuple[str, ...] | list[str]) -> str:
    return " or ".join(shown(name) for name in names[:3])


def _usual_sides(dataset: Dataset, *, only: list[str] | None = None) -> tuple[str, str]:
    """Choose a simple and a learned representation: the card's defaults where they are such, else the first."""
    cards = {name: card for name, card in dataset.card.representations.items() if only is None or name in only}
    defaults = dataset.card.defaults or {}
    of_kind = {kind: [name for name, card in cards.items() if card.kind == kind] for kind in ("simple", "learned")}
    simple = next((defaults[side] for side in ("left", "right") if defaults.get(side) in of_kind["simple"]), None)
    learned = next((defaults[side] for side in ("right", "left") if defaults.get(side) in of_kind["learned"]), None)
    simple = simple or next(iter(of_kind["simple"]), next(iter(cards)))
    rest = [name for name in (*of_kind["learned"], *of_kind["simple"], *cards) if name != simple]
    return simple, learned or next(iter(rest), simple)


def _has_not_seen(
    card: RepresentationCard, target: tuple[str, str], dataset: Dataset, *, context: str | None = None
) -> bool:
    """Whether a representation of a dataset was made without the target's cells.

    Parameters
    ----------
    card
        Of the representation.
    target
        Dataset and context that are predicted.
    dataset, context
        Where the representation's rows are; the target's own context without one.
    """
    own = target[1] if context is None else context
    seen = _together_with(dataset, own, card) if card.saw is None else card.saw
    return all((name if "/" in name else f"{dataset.name}/{name}") != "/".join(target) for name in seen)


def _together_with(dataset: Dataset, context: str, card: RepresentationCard) -> tuple[str, ...]:
    """List the contexts that a representation was made from where its card does not say.

    Its own alone, but that an embedding in a file of several contexts was most likely made from all of them: one that
    was fitted to all cells of a file is kept as ``obsm``. X and layers are measured cell by cell.
    """
    contexts = dataset.card.contexts
    if not card.source.startswith("obsm/"):
        return (context,)
    file = contexts[context].rows
    return tuple(name for name, entry in contexts.items() if name == context or entry.rows == file)


def _lock(catalog: Catalog, plan: PredictionPlan) -> str:
    """Say which of the two representations saw the target; empty where none did."""
    there, context = _place_of(catalog, plan)
    target = (plan.dataset, plan.context)
    saw = [
        name
        for name in (plan.simple, plan.learned)
        if not _has_not_seen(there.card.representations[name], target, there, context=context)
    ]
    if not saw:
        return ""
    said = (
        f"saw target: {' and '.join(saw)} {'was' if len(saw) == 1 else 'were'} made from {plan.context} too, which is "
        "to be predicted, so that nothing here was unseen"
    )
    joint = [name for name in saw if there.card.representations[name].saw is None]
    if not joint:
        return said
    a_joint = "a joint representation" if len(joint) == 1 else "joint representations"
    return (
        f"{said}: {' and '.join(joint)} {'is' if len(joint) == 1 else 'are'} {a_joint} of one file; say saw = "
        f'["{context}"] in the card if made from {context} alone'
    )


def unstated_sides(catalog: Catalog, plan: PredictionPlan) -> tuple[str, ...]:
    """Name the representations of a plan whose card does not say what they were made from; none for pairs."""
    if plan.task == PAIRS:
        return ()
    cards = _place_of(catalog, plan)[0].card.representations
    return tuple(name for name in (plan.simple, plan.learned) if name in cards and cards[name].saw is None)


# ---------------------------------------------------------------- what is predicted from


def _shared_target(dataset: Dataset, plan: PredictionPlan, *, seed: int) -> tuple[Target, tuple[str, ...]]:
    """Make the target and digest it, once a process."""

    def make() -> tuple[Target, tuple[str, ...]]:
        screen = shared_screen(dataset, plan.context)
        target = target_of(
            screen,
            plan.target,
            alignment=plan.align,
            moments=shared_moments(dataset, plan.context, plan.target),
            layout=layout_columns(screen.roles),
            features=feature_names(dataset, plan.context, plan.target),
            seed=seed,
        )
        return target, _digests(target)

    key = ("target", *identity_of(dataset), plan.context, plan.target, plan.align, seed)
    return _remembered.get(key, make)


def _source_alignment(dataset: Dataset, context: str, plan: PredictionPlan) -> tuple[str, tuple[str, ...]]:
    """Align the source as the target where it has controls; an embedding of perturbations has none, and is as it is."""
    if plan.align == METHODS[0] or shared_screen(dataset, context).is_control().any():
        return plan.align, ()
    note = (
        f"the representations of {plan.source} are not aligned, since no controls are declared there; the target is "
        f"aligned by {plan.align}"
    )
    return METHODS[0], (note,)


def _prior_map(dataset: Dataset, context: str, name: str, *, alignment: str) -> PerturbationMap:
    """Make the map of a prior; an embedding with one row a perturbation has no controls, and is not aligned."""
    source = shared_screen(dataset, context).representation(name).source
    return shared_map(dataset, context, name, alignment=METHODS[0] if isinstance(source, SpreadSource) else alignment)


def _unaligned(*priors: PerturbationMap) -> tuple[str, ...]:
    """Say which priors are embeddings of perturbations, where others are aligned."""
    names = [prior.recipe.representation for prior in priors if prior.recipe.alignment == METHODS[0]]
    if not names:
        return ()
    one = len(names) == 1
    return (
        f"{' and '.join(names)} {'has' if one else 'have'} one row a perturbation and none for controls, and "
        f"{'is' if one else 'are'} not aligned",
    )


def _sources_of(dataset: Dataset) -> dict[str, Relationships | GeneSets]:
    knowledge = shared_knowledge(dataset)
    every: tuple[Relationships | GeneSets, ...] = (*knowledge.relationships, *knowledge.gene_sets)
    return {source.name: source for source in every}


def _known(
    dataset: Dataset,
    plan: PredictionPlan,
    names: tuple[str, ...],
    further: tuple[Relationships | GeneSets, ...],
) -> tuple[tuple[KnownPairs, ...], list[str]]:
    """Look the sources up among the perturbations that are predicted; none where nothing is known, and why."""
    every = _sources_of(dataset)
    own = (every[name] for name in dict.fromkeys(plan.sources or own_sources(dataset)))
    wanted = with_further(own, further)
    if not wanted:
        return (), []
    try:
        return look_up(wanted, names, call=remember)
    except InputError as error:
        return (), [f"no groups: {error}"]


def _placebos_of(
    dataset: Dataset,
    context: str,
    *,
    simple: PerturbationMap,
    learned: PerturbationMap,
    alignment: str,
    seed: int,
) -> tuple[dict[str, PerturbationMap], list[str]]:
    """Take the placebos of the card, and make those that the two maps allow."""
    cards, notes = dataset.card.representations, []
    sides = (simple.recipe.representation, learned.recipe.representation)
    found = {}
    for name, card in cards.items():
        if card.kind == "placebo" and name not in sides:
            try:
                found[name] = _prior_map(dataset, context, name, alignment=alignment)
            except InputError as error:
                notes.append(f"{name} was left out: {error}")
    of = cards[learned.recipe.representation].of
    inputs = [of] if of is not None and of in cards else []
    key = ("placebos", *identity_of(dataset), context, digest_of(simple), digest_of(learned), seed)
    screen = shared_screen(dataset, context)
    made = _remembered.get(key, lambda: make_placebos(screen, simple, learned, inputs=inputs, seed=seed))
    return {**found, **made}, notes


def _rivals(catalog: Catalog, plan: PredictionPlan, *, alignment: str) -> tuple[dict[str, PerturbationMap], list[str]]:
    """Take the other simple representations of the source that saw no more than the one judged."""
    there, context = _place_of(catalog, plan)
    target, cards = (plan.dataset, plan.context), there.card.representations
    saw = not _has_not_seen(cards[plan.simple], target, there, context=context)
    found, notes = {}, []
    for name, card in cards.items():
        if card.kind != "simple" or name in (plan.simple, plan.learned):
            continue
        if not saw and not _has_not_seen(card, target, there, context=context):
            continue
        try:
            found[name] = _prior_map(there, context, name, alignment=alignment)
        except InputError as error:
            notes.append(f"{name} was left out: {error}")
    return found, notes


def _copy(catalog: Catalog, plan: PredictionPlan, target: Target, *, seed: int) -> PerturbationMap | None:
    """Take the effects of the very features in the source onto the target's controls; None where features differ."""
    there, context = _place_of(catalog, plan)
    if plan.target not in there.card.representations or not target.features:
        return None
    if (there.name, context) == (plan.dataset, plan.context):
        return None
    place = {name: column for column, name in enumerate(feature_names(there, context, plan.target))}
    if not all(name in place for name in target.features):
        return None
    source = _remembered.get(
        ("copy", *identity_of(there), context, plan.target, plan.align, seed),
        lambda: target_of(
            shared_screen(there, context),
            plan.target,
            alignment=plan.align if shared_screen(there, context).is_control().any() else METHODS[0],
            moments=shared_moments(there, context, plan.target),
            layout=(),
            features=feature_names(there, context, plan.target),
            seed=seed,
        ),
    )
    own = {name: column for column, name in enumerate(source.features)}
    profiles = np.zeros((source.profiles.n_perturbations, len(target.features)), dtype=np.float64)
    for column, name in enumerate(target.features):
        if name not in own:
            return None
        profiles[:, column] = source.profiles.profiles[:, own[name]]
    if source.control is not None and target.control is not None:
        # What differs between two contexts without any perturbation is not an effect.
        controls = source.control[[own[name] for name in target.features]]
        profiles += target.control - controls
    made = source.profiles
    own_dataset = catalog.dataset(plan.dataset)
    # One object each time: its digest is known then, and what was predicted before is found without a wait.
    return _remembered.get(
        (
            "copied", *identity_of(own_dataset), plan.context, *identity_of(there), context, plan.target, plan.align,
            seed,
        ),
        lambda: PerturbationMap(made.names, profiles.astype(np.float32), made.table, made.recipe),
    )  # fmt: skip


def _pairs_in(dataset: Dataset, context: str, names: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    return pairs_of_names(names, controls=shared_screen(dataset, context).roles.control)


# ---------------------------------------------------------------- kept


def _digests(target: Target) -> tuple[str, ...]:
    """Digest all of a target that decides what is said."""
    digest = hashlib.sha256()
    for array in (target.control, target.wells, *(target.halves or ())):
        digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
    return (
        digest_of(target.profiles), target.label, digest_of(target.features), digest_of(target.notes),
        digest.hexdigest(),
    )  # fmt: skip


def _kept(key: tuple[str, ...], make: Callable[[], Prediction]) -> Prediction:
    found: Prediction = _remembered.get(
        key, lambda: kept_on_disk(artefact_key("predict", _code(), *key), make, types=_TYPES)
    )
    return found


@cache
def _code() -> str:
    """Digest of the code that predicts, read once a process."""
    return artefact_key(made_by=_MADE_BY)
