"""Contexts with known truth: who acts alike everywhere, who in one context only, and what merely looks alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal, Self, get_args

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.aggregate import PerturbationMap, Recipe
from explorer.contexts import ContextSide
from explorer.errors import InputError, unknown_name
from explorer.partners import DEFAULT_K
from explorer.relationships import Relationships
from explorer.screen import Kind

ContextKind = Literal[
    "exchangeable",
    "stress axis",
    "hubs",
    "shared layout",
    "half inactive",
    "shared noise and preferences",
    "more layout",
    "more hubs",
    "more stress",
]
CONTEXT_KINDS: tuple[ContextKind, ...] = get_args(ContextKind)
# What each kind changes in a design. In the last three the learned map shows no more biology, but more of what
# misleads.
_CHANGES: Mapping[ContextKind, Mapping[str, Any]] = {
    "exchangeable": {},
    "stress axis": {"stress": 1.5},
    "hubs": {"hubs": 8},
    "shared layout": {"layout": 1.0},
    "half inactive": {"inactive": 0.5},
    "shared noise and preferences": {"shared_noise": 0.5, "preferences": 0.15},
    "more layout": {"learned_layout": 0.9, "shared_noise": 0.5},
    "more hubs": {"learned_hubs": 12, "shared_noise": 0.5},
    "more stress": {"learned_stress": 3.0, "shared_noise": 0.5},
}

PairKind = Literal["general", "some", "specific", "stress", "layout"]
PAIR_KINDS: tuple[PairKind, ...] = get_args(PairKind)

# Independent streams of random numbers: who is alike, what a context's directions are, what a map prefers, noise.
_TRUTH, _DIRECTIONS, _PREFERENCES, _NOISE = range(4)

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class ContextDesign:
    """What is planted in maps of several contexts.

    A profile is the sum of the directions of the modules that a perturbation is in and that act in the context, of
    a stress axis that half of all perturbations carry, of the direction of its place on the plate, of what the hubs
    make of it, and of noise. Directions of one context say nothing of those of another: only who is alike is shared.

    Attributes
    ----------
    perturbations, contexts
        Size of every map, and number of contexts.
    features
        Number of features of the first context; each further one has `more_features` more.
    more_features
        See `features`.
    general, specific, partial
        Number of modules that act in all contexts, of those of each context that act there only, and of those that
        act in the first and in one other context (which take them in turn). The same perturbations are divided into
        other specific modules in each context, so that a pair may be alike here and apart there, active in both.
    smallest, largest
        Sizes of modules: many small, few large (∝ 1 / size²).
    noise
        Expected length of a map's noise, where the direction of a module has length 1; that of one half of the
        replicates is √2 times as long.
    stress, more_stress
        Length of the stress axis at a load of 1 (loads are 0.5 to 1.5, the same in all contexts) in the first
        context, and by how much of it each further one has more.
    hubs
        Number of perturbations that are near many others, the same in all contexts and in no module where there are
        enough others: each lies far out on an axis that all others vary along, in each context anew. That a hub is
        near is no news of anyone. Without hubs there is no such axis.
    hub_axes, hub, hub_spread
        Number of those axes, which the hubs of a context take at random; length of a hub along its axis, and standard
        deviation of all others.
    layout, layout_units
        Length of the direction of a place on the plate, and number of places; who lies where is the same in all
        contexts.
    declares_layout
        Whether the contexts say who lies where.
    inactive, silent
        Share of perturbations that do nothing anywhere, and share, of each context, that do nothing there.
    shared_noise
        Share of the variance of the noise that both maps of a context have in common, as those of the same rows do.
    preferences
        Standard deviation, between modules, of the logarithm of a module's strength in one map of one context.
    learned_noise, learned_stress, learned_layout, learned_hubs
        The same of the learned map: noise as a factor of the simple map's (below 1 is a true advantage), the others
        in its place; None for as in the simple map.

    Raises
    ------
    InputError
        When the design is impossible.
    """

    perturbations: int = 600
    contexts: int = 2
    features: int = 60
    more_features: int = 20
    general: int = 60
    specific: int = 20
    partial: int = 0
    smallest: int = 4
    largest: int = 10
    noise: float = 1.1
    stress: float = 1.0
    more_stress: float = 0.5
    hubs: int = 4
    hub_axes: int = 2
    hub: float = 3.0
    hub_spread: float = 0.3
    layout: float = 0.3
    layout_units: int = 5
    declares_layout: bool = True
    inactive: float = 0.0
    silent: float = 0.0
    shared_noise: float = 0.0
    preferences: float = 0.0
    learned_noise: float = 1.0
    learned_stress: float | None = None
    learned_layout: float | None = None
    learned_hubs: int | None = None

    def __post_init__(self) -> None:
        least = {"perturbations": DEFAULT_K + 1, "contexts": 2, "features": 2, "more_features": 0, "general": 1,
                 "specific": 0, "partial": 0, "smallest": 2, "largest": self.smallest, "hubs": 0, "learned_hubs": 0,
                 "hub_axes": 1, "layout_units": 1}  # fmt: skip
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and not value >= bound:
                msg = f"{name} is {value}, expected {bound} or more"
                raise InputError(msg)
        for name in ("inactive", "silent", "shared_noise"):
            if not 0 <= getattr(self, name) <= 1:
                msg = f"{name} is {getattr(self, name)}, expected a share from 0 to 1"
                raise InputError(msg)
        for name in ("noise", "stress", "more_stress", "hub", "hub_spread", "layout", "preferences", "learned_noise",
                     "learned_stress", "learned_layout"):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not 0 <= value < np.inf:
                msg = f"{name} is {value}, expected a finite number, 0 or more"
                raise InputError(msg)
        needed = int(self.sizes(self.general + self.specific + self.partial).sum())
        if needed > self.perturbations:
            message = (
                f"{self.general + self.specific + self.partial} modules need {needed:,} perturbations, the design has "
                f"{self.perturbations:,}: plant less or raise `perturbations`"
            )
            raise InputError(message)
        most = max(self.hubs, self.learned_hubs or 0)
        if most > self.perturbations:
            msg = f"hubs are {most}, expected at most {self.perturbations}, the number of perturbations"
            raise InputError(msg)

    @classmethod
    def of_kind(cls, kind: str, **changes: Any) -> Self:
        """Take the design of one kind of null.

        Parameters
        ----------
        kind
            One of `CONTEXT_KINDS`.
        changes
            Other fields of the design.

        Raises
        ------
        InputError
            When the kind is unknown (the nearest are named), or the design is impossible.
        """
        if kind not in CONTEXT_KINDS:
            msg = "kind of contexts"
            raise unknown_name(msg, kind, CONTEXT_KINDS)
        return cls(**{**_CHANGES[kind], **changes})

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the perturbations, sorted; they say nothing of the truth."""
        width = len(str(self.perturbations))
        return tuple(f"P{number:0{width}d}" for number in range(1, self.perturbations + 1))

    @property
    def labels(self) -> tuple[str, ...]:
        """What the contexts are called."""
        return tuple(f"context {number}" for number in range(1, self.contexts + 1))

    def sizes(self, n: int) -> npt.NDArray[np.int64]:
        """Sizes of n modules, spread evenly over their law: the same in every draw."""
        sizes = np.arange(self.smallest, self.largest + 1)
        share = np.cumsum(1 / sizes**2) / np.sum(1 / sizes**2)
        return np.asarray(sizes[np.searchsorted(share, (np.arange(n) + 0.5) / max(n, 1))], dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class PlantedContexts:
    """Maps of the same perturbations in several contexts, and the truth that they were drawn from.

    Attributes
    ----------
    design, seed, draw
        What was asked for.
    simple, learned
        The contexts, each with its map, the maps of two halves of its replicates, who does nothing there, and the
        layout.
    known
        All pairs of the modules that act in the first context, with the modules as groups: ``general 01``,
        ``context 1 only 01``, ``contexts 1 and 2, 01``. Those of other contexts alone were never seen, and divide the
        perturbations of the first one's again, so that as units they would count them twice.
    truth
        One line a perturbation, sorted: ``perturbation``, ``stress`` (load on the shared axis, 0 for none),
        ``layout`` (unit), ``hub`` (number among the hubs of the map that has more; null for none) and ``active in``
        (number of contexts where it does anything but lie at its place).
    together
        Whether two perturbations are in one module that acts in a context, both doing what it does, shape
        (n_contexts, n_perturbations, n_perturbations).
    """

    design: ContextDesign
    seed: int
    draw: int
    simple: tuple[ContextSide, ...] = field(repr=False)
    learned: tuple[ContextSide, ...] = field(repr=False)
    known: Relationships = field(repr=False)
    truth: pl.DataFrame = field(repr=False)
    together: Flags = field(repr=False)

    def is_pair(self, kind: str) -> Flags:
        """Say of every two perturbations whether they are a pair of a kind, shape (n_perturbations,) twice.

        Parameters
        ----------
        kind
            ``general`` (together in all contexts), ``some`` (in more than one), ``specific`` (in one), ``stress``
            (in none, but both on the stress axis), ``layout`` (none of these, but of one place). Each pair is of
            one kind or of none.

        Raises
        ------
        InputError
            When the kind is unknown; the nearest are named.
        """
        if kind not in PAIR_KINDS:
            msg = "kind of pairs"
            raise unknown_name(msg, kind, PAIR_KINDS)
        load = self.truth["stress"].to_numpy() > 0
        unit = self.truth["layout"].to_numpy()
        count = self.together.sum(axis=0)
        stressed = np.logical_and.outer(load, load) & (count == 0)
        found = {
            "general": count == self.design.contexts,
            "some": (count > 1) & (count < self.design.contexts),
            "specific": count == 1,
            "stress": stressed,
            "layout": (unit[:, None] == unit) & (count == 0) & ~stressed,
        }[kind]
        found = found & ~np.eye(len(unit), dtype=bool)
        return np.asarray(found)

    def pairs(self, kind: str) -> Rows:
        """List the pairs of a kind by row, ``first < second``, shape (n_pairs, 2); kinds as in `is_pair`."""
        return np.argwhere(np.triu(self.is_pair(kind))).astype(np.intp)


@dataclass(frozen=True, slots=True, eq=False)
class _Truth:
    """Who is in which module and where it acts: `inside` (n, n_modules), `acts` (n_modules, n_contexts)."""

    modules: Mapping[str, Rows]
    inside: Floats
    acts: Flags
    active: Flags
    load: Floats
    unit: Rows
    hubs: Rows


def simulate_contexts(design: ContextDesign, *, seed: int, draw: int = 0) -> PlantedContexts:
    """Draw a simple and a learned map of the same perturbations in several contexts from one planted truth.

    Parameters
    ----------
    design
        What is planted.
    seed
        Of the truth: who is in which module, every context's directions, and each map's preferences.
    draw
        Number of the draw of noise; the same truth measured again where it differs.

    Returns
    -------
    PlantedContexts
        Equal for equal arguments.

    Raises
    ------
    InputError
        When `seed` or `draw` is negative.
    """
    for name, value in (("seed", seed), ("draw", draw)):
        if value < 0:
            msg = f"{name} is {value}, expected 0 or more"
            raise InputError(msg)
    truth = _draw_truth(design, np.random.default_rng([seed, _TRUTH]))
    sides = [_draw_context(design, truth, (seed, draw, context)) for context in range(design.contexts)]
    together = np.stack([_together(truth, context) for context in range(design.contexts)])
    hub: list[int | None] = [None] * design.perturbations
    for number, row in enumerate(truth.hubs.tolist(), start=1):
        hub[row] = number
    return PlantedContexts(
        design=design,
        seed=seed,
        draw=draw,
        simple=tuple(simple for simple, _ in sides),
        learned=tuple(learned for _, learned in sides),
        known=_as_relationships(
            design.names,
            {name: rows for (name, rows), acts in zip(truth.modules.items(), truth.acts, strict=True) if acts[0]},
        ),
        truth=pl.DataFrame(
            {
                "perturbation": design.names,
                "stress": truth.load,
                "layout": truth.unit.astype(np.int64),
                "hub": hub,
                "active in": _acting(truth).sum(axis=1).astype(np.int64),
            },
            schema_overrides={"hub": pl.Int64},
        ),
        together=together,
    )


def _draw_truth(design: ContextDesign, rng: np.random.Generator) -> _Truth:
    # Names are dealt at random, so that their order tells nothing.
    n = design.perturbations
    order = rng.permutation(n)
    modules: dict[str, Rows] = {}
    acts: list[Flags] = []
    used = 0
    for number, size in enumerate(design.sizes(design.general), start=1):
        modules[f"general {number:02d}"] = np.sort(order[used : used + size])
        acts.append(np.ones(design.contexts, dtype=bool))
        used += size
    for number, size in enumerate(design.sizes(design.partial)):
        other = 1 + number % (design.contexts - 1)
        modules[f"contexts 1 and {other + 1}, {number + 1:02d}"] = np.sort(order[used : used + size])
        acts.append(np.isin(np.arange(design.contexts), (0, other)))
        used += size
    sizes = design.sizes(design.specific)
    pool = order[used : used + sizes.sum()]
    for context, label in enumerate(design.labels):
        # Every context divides the same perturbations anew.
        ends = np.cumsum(sizes)[:-1]
        for number, members in enumerate(np.split(rng.permutation(pool), ends) if len(sizes) else [], start=1):
            modules[f"{label} only {number:02d}"] = np.sort(members)
            acts.append(np.arange(design.contexts) == context)
    inside = np.zeros((n, len(modules)))
    for column, members in enumerate(modules.values()):
        inside[members, column] = 1.0
    active = (rng.random(n) >= design.inactive)[:, None] & (rng.random((n, design.contexts)) >= design.silent)
    load = (rng.random(n) < 0.5) * rng.uniform(0.5, 1.5, n) * active.any(axis=1)
    unit = rng.permutation(np.arange(n) % design.layout_units)
    # Those in no module come first.
    alone = rng.permutation(np.flatnonzero(inside.sum(axis=1) == 0))
    grouped = rng.permutation(np.flatnonzero(inside.sum(axis=1) > 0))
    hubs = np.concatenate([alone, grouped])[: max(design.hubs, design.learned_hubs or 0)]
    return _Truth(modules, inside, np.array(acts), active, load, unit, hubs)


def _acting(truth: _Truth) -> Flags:
    """Whether each perturbation has any effect in each context but for its place, shape (n, n_contexts)."""
    in_module = (truth.inside @ truth.acts) > 0
    acting = (in_module | (truth.load > 0)[:, None]) & truth.active
    acting[truth.hubs] = True
    return np.asarray(acting)


def _together(truth: _Truth, context: int) -> Flags:
    inside = truth.inside * truth.acts[:, context] * truth.active[:, context, None]
    common = (inside @ inside.T) > 0
    np.fill_diagonal(common, val=False)
    return np.asarray(common)


def _draw_context(design: ContextDesign, truth: _Truth, place: tuple[int, int, int]) -> tuple[ContextSide, ContextSide]:
    """Draw both maps of one context."""
    seed, draw, context = place
    n, n_features = design.perturbations, design.features + context * design.more_features
    directions_of = np.random.default_rng([seed, _DIRECTIONS, context])
    modules = _unit(directions_of.standard_normal((len(truth.modules), n_features)))
    axis = _unit(directions_of.standard_normal((1, n_features)))
    places = _unit(directions_of.standard_normal((design.layout_units, n_features)))
    hub_axes = _unit(directions_of.standard_normal((design.hub_axes, n_features)))
    # Who leans towards the hubs is another matter in every context, and both maps of a context see the same.
    leaning = design.hub_spread * directions_of.standard_normal((n, design.hub_axes))
    hub_axis = directions_of.integers(design.hub_axes, size=len(truth.hubs))
    inside = truth.inside * truth.acts[:, context] * truth.active[:, context, None]
    load = (truth.load * truth.active[:, context])[:, None] * axis * (1 + design.more_stress * context)

    prefers = np.random.default_rng([seed, _PREFERENCES, context])
    noise_of = np.random.default_rng([seed, _NOISE, draw, context])
    common = noise_of.standard_normal((2, n, n_features))
    inactive = frozenset(np.array(design.names)[~_acting(truth)[:, context]].tolist())
    sides = []
    for name, noise, stress, layout, hubs in (
        ("simple", 1.0, design.stress, design.layout, design.hubs),
        ("learned", design.learned_noise, _or(design.learned_stress, design.stress),
         _or(design.learned_layout, design.layout), int(_or(design.learned_hubs, design.hubs))),
    ):  # fmt: skip
        strengths = np.exp(design.preferences * prefers.standard_normal(len(truth.modules)))
        own = noise_of.standard_normal((2, n, n_features))
        mixed = np.sqrt(design.shared_noise) * common + np.sqrt(1 - design.shared_noise) * own
        signal = (inside * strengths) @ modules + stress * load + layout * places[truth.unit]
        if hubs:
            leans = leaning.copy()
            leans[truth.hubs[:hubs]] = design.hub * np.eye(design.hub_axes)[hub_axis[:hubs]]
            signal += leans @ hub_axes
        halves = signal + noise * design.noise * np.sqrt(2 / n_features) * mixed
        label = design.labels[context]
        made = [
            _as_map(design, profiles, representation=f"{name}{part}", place=(label, f"{seed}-{draw}-{context}"))
            for part, profiles in (("", halves.mean(axis=0)), (" half 1", halves[0]), (" half 2", halves[1]))
        ]
        sides.append(
            ContextSide(
                label=label,
                perturbation_map=made[0],
                halves=(made[1], made[2]),
                inactive=inactive,
                layout=truth.unit if design.declares_layout else None,
            )
        )
    return sides[0], sides[1]


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _as_map(design: ContextDesign, profiles: Floats, *, representation: str, place: tuple[str, str]) -> PerturbationMap:
    label, source = place
    kind: Kind = "simple" if representation.startswith("simple") else "learned"
    recipe = Recipe(
        dataset="planted",
        context=label,
        representation=representation,
        kind=kind,
        source=f"{representation}-{source}",
        rows=source,
    )
    ones = np.ones(len(profiles), dtype=np.int64)
    table = pl.DataFrame({"perturbation": design.names, "n_rows": ones, "n_guides": ones, "n_batches": ones})
    return PerturbationMap(design.names, profiles.astype(np.float32), table, recipe)


def _as_relationships(names: tuple[str, ...], modules: Mapping[str, Rows]) -> Relationships:
    pairs = [
        (names[one], names[other], name)
        for name, members in modules.items()
        for one, other in combinations(members.tolist(), 2)
    ]
    first, second, own = zip(*pairs, strict=True)
    return Relationships.from_pairs("planted", first, second, group=own)
