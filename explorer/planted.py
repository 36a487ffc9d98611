"""Pairs of maps with known truth: which groups act alike, and how much better one map shows it than the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import combinations
from types import MappingProxyType
from typing import Any, Literal, Self, get_args

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.aggregate import PerturbationMap, Recipe
from explorer.errors import InputError, unknown_name
from explorer.known import known_pairs, pool_units
from explorer.partners import DEFAULT_K
from explorer.relationships import Relationships
from explorer.screen import Kind

NullKind = Literal[
    "exchangeable",
    "stress axis",
    "huge groups",
    "half inactive",
    "overlapping groups",
    "shared noise",
    "preferences",
    "shared noise and preferences",
]
NULL_KINDS: tuple[NullKind, ...] = get_args(NullKind)
# What each kind changes in a design. Equal maps with a property each that units, counts or correlations may trip over.
_CHANGES: Mapping[NullKind, Mapping[str, Any]] = {
    "exchangeable": {},
    "stress axis": {"stress": 1.5},
    "huge groups": {"perturbations": 400, "huge": 3},
    "half inactive": {"inactive": 0.5},
    "overlapping groups": {"overlap": 0.5},
    "shared noise": {"shared_noise": 0.5},
    "preferences": {"preferences": 0.15},
    "shared noise and preferences": {"shared_noise": 0.5, "preferences": 0.15},
}

# Screens that recall is calibrated on, and the factors on the noise that are tried.
N_REFERENCE = 200
_LEAST_FACTOR, _MOST_FACTOR, _FACTOR_STEP = 0.05, 20.0, 0.8
# Independent streams of random numbers: who is alike, what each map prefers, noise, and the calibration's own screens.
_TRUTH, _PREFERENCES, _NOISE, _REFERENCE = range(4)

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class PlantedDesign:
    """What is planted in a pair of maps.

    A profile is the sum of the directions of the groups that a perturbation is in, of a stress axis that half of
    all perturbations carry, and of noise. Every map draws from the same law but for the length of its noise, so
    that two maps are exchangeable where the advantage is 0.

    Attributes
    ----------
    perturbations, features
        Size of a map.
    groups, smallest, largest
        Number of groups listed as known, and their sizes: many small, few large (∝ 1 / size²), the same in every
        draw; who is in them is drawn.
    hidden_groups
        Number of further groups that act alike as much and are not listed as known.
    noise
        Expected length of the simple map's noise, where the direction of a group has length 1.
    stress
        Length of the stress axis at a load of 1; loads are 0.5 to 1.5.
    huge, huge_members
        Number of groups, of those listed, with `huge_members` members each.
    inactive
        Share of all perturbations that do nothing, in groups or not.
    overlap
        Share of a group's members that are in another group already.
    shared_noise
        Share of the variance of the noise that all maps have in common, as maps made of the same rows do.
    preferences
        Standard deviation, between groups, of the logarithm of a group's strength in one map: each map sees some
        groups better than another map does.
    advantage
        How much higher the learned map's expected macro partner recall at 10 is than the simple map's, relative:
        0.2 for 20 %.
    placebos
        The same for each placebo.

    Raises
    ------
    InputError
        When the design is impossible.
    """

    perturbations: int = 300
    features: int = 50
    groups: int = 60
    smallest: int = 3
    largest: int = 8
    hidden_groups: int = 0
    noise: float = 1.5
    stress: float = 0.0
    huge: int = 0
    huge_members: int = 40
    inactive: float = 0.0
    overlap: float = 0.0
    shared_noise: float = 0.0
    preferences: float = 0.0
    advantage: float = 0.0
    placebos: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        least = {"perturbations": DEFAULT_K + 1, "features": 2, "groups": 1, "smallest": 2, "hidden_groups": 0,
                 "largest": self.smallest, "huge": 0, "huge_members": 2}  # fmt: skip
        for name, bound in least.items():
            if not getattr(self, name) >= bound:
                msg = f"{name} is {getattr(self, name)}, expected {bound} or more"
                raise InputError(msg)
        for name in ("inactive", "overlap", "shared_noise"):
            if not 0 <= getattr(self, name) <= 1:
                msg = f"{name} is {getattr(self, name)}, expected a share from 0 to 1"
                raise InputError(msg)
        for name in ("noise", "stress", "preferences"):
            if not 0 <= getattr(self, name) < np.inf:
                msg = f"{name} is {getattr(self, name)}, expected a finite number, 0 or more"
                raise InputError(msg)
        for name, value in [("advantage", self.advantage), *(("placebos", value) for value in self.placebos)]:
            if not -1 < value < np.inf:
                msg = f"{name}: {value} is not a relative advantage, expected a finite number above -1"
                raise InputError(msg)
        if self.huge > self.groups:
            msg = f"huge is {self.huge}, expected at most {self.groups}, the number of groups"
            raise InputError(msg)
        needed = int((self.sizes - self.n_reused).sum())
        if needed > self.perturbations:
            message = (
                f"{self.groups + self.hidden_groups} groups need {needed:,} perturbations, the design has "
                f"{self.perturbations:,}: plant less or raise `perturbations`"
            )
            raise InputError(message)

    @classmethod
    def of_kind(cls, kind: str, *, advantage: float = 0.0, placebos: tuple[float, ...] = ()) -> Self:
        """Take the design of one kind of null.

        Parameters
        ----------
        kind
            One of `NULL_KINDS`.
        advantage, placebos
            As in the design; it is a null where the advantage is 0.

        Raises
        ------
        InputError
            When the kind is unknown (the nearest are named), or the design is impossible.
        """
        if kind not in NULL_KINDS:
            msg = "kind of null"
            raise unknown_name(msg, kind, NULL_KINDS)
        return cls(**_CHANGES[kind], advantage=advantage, placebos=placebos)

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Number of members of each group: the listed first, the huge before all others."""
        huge = np.full(self.huge, self.huge_members)
        return np.concatenate([huge, self._small(self.groups - self.huge), self._small(self.hidden_groups)])

    def _small(self, n: int) -> npt.NDArray[np.int64]:
        sizes = np.arange(self.smallest, self.largest + 1)
        share = np.cumsum(1 / sizes**2) / np.sum(1 / sizes**2)
        return np.asarray(sizes[np.searchsorted(share, (np.arange(n) + 0.5) / max(n, 1))], dtype=np.int64)

    @property
    def n_reused(self) -> npt.NDArray[np.int64]:
        """Number of members of each group that are taken from groups before it."""
        reused = np.floor(self.overlap * self.sizes + 0.5).astype(np.int64)
        reused[0] = 0
        return np.asarray(np.minimum(reused, np.r_[0, np.cumsum(self.sizes - reused)[:-1]]), dtype=np.int64)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the perturbations, sorted; they say nothing of the truth."""
        width = len(str(self.perturbations))
        return tuple(f"P{number:0{width}d}" for number in range(1, self.perturbations + 1))


@dataclass(frozen=True, slots=True, eq=False)
class PlantedMaps:
    """Maps of the same perturbations, and the truth that they were drawn from.

    Attributes
    ----------
    design, seed, draw
        What was asked for.
    simple, learned
        The two maps.
    placebos
        The placebo maps, by name.
    known
        All pairs of the listed groups, with the groups.
    hidden
        The same of groups that are not listed as known.
    """

    design: PlantedDesign
    seed: int
    draw: int
    simple: PerturbationMap = field(repr=False)
    learned: PerturbationMap = field(repr=False)
    placebos: Mapping[str, PerturbationMap] = field(repr=False)
    known: Relationships = field(repr=False)
    hidden: Relationships = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class _Truth:
    """Who is in which group, and the directions of groups: `inside` has shape (n_perturbations, n_groups)."""

    groups: tuple[Rows, ...]
    inside: Floats
    directions: Floats
    stress: Floats


def simulate_maps(design: PlantedDesign, *, seed: int, draw: int = 0) -> PlantedMaps:
    """Draw a simple and a learned map, and placebos, of the same perturbations from one planted truth.

    The first call for a design with an advantage or a placebo calibrates the length of the noise, which takes
    about a second; others take milliseconds.

    Parameters
    ----------
    design
        What is planted.
    seed
        Of the truth: who is in which group, the directions of groups, and each map's preferences.
    draw
        Number of the draw of noise; the same truth measured again where it differs.

    Returns
    -------
    PlantedMaps
        Equal for equal arguments.

    Raises
    ------
    InputError
        When no length of noise gives the advantage that was asked for, or `seed` or `draw` is negative.
    """
    for name, value in (("seed", seed), ("draw", draw)):
        if value < 0:
            msg = f"{name} is {value}, expected 0 or more"
            raise InputError(msg)
    truth = _draw_truth(design, np.random.default_rng([seed, _TRUTH]))
    signals_of = np.random.default_rng([seed, _PREFERENCES])
    noise_of = np.random.default_rng([seed, _NOISE, draw])
    shape = (design.perturbations, design.features)
    common = noise_of.standard_normal(shape)
    maps = {}
    placebos = {f"placebo {number}": value for number, value in enumerate(design.placebos, start=1)}
    for name, advantage in {"simple": 0.0, "learned": design.advantage, **placebos}.items():
        own = noise_of.standard_normal(shape)
        noise = np.sqrt(design.shared_noise) * common + np.sqrt(1 - design.shared_noise) * own
        length = design.noise * noise_factor(design, advantage=advantage)
        profiles = _signal(design, truth, signals_of) + length / np.sqrt(design.features) * noise
        maps[name] = _as_map(design, profiles, name, place=f"{seed}-{draw}")
    return PlantedMaps(
        design=design,
        seed=seed,
        draw=draw,
        simple=maps["simple"],
        learned=maps["learned"],
        placebos=MappingProxyType({name: maps[name] for name in placebos}),
        known=_as_relationships("planted", design.names, truth.groups[: design.groups]),
        hidden=_as_relationships("hidden", design.names, truth.groups[design.groups :]),
    )


def noise_factor(design: PlantedDesign, *, advantage: float) -> float:
    """Find the length of a map's noise, in lengths of the simple map's, that gives it an advantage.

    Parameters
    ----------
    design
        What is planted; its own advantage and placebos do not matter.
    advantage
        How much higher the map's expected macro partner recall at 10 is than the simple map's, relative.

    Returns
    -------
    float
        1 for no advantage, without any calibration.

    Raises
    ------
    InputError
        When no length of noise gives it; the advantages that can be had are named.
    """
    return 1.0 if advantage == 0 else _calibrated(replace(design, advantage=0.0, placebos=()), advantage)


def expected_recall(design: PlantedDesign, *, advantage: float = 0.0) -> float:
    """Estimate the expected macro partner recall at 10 of a map, from the screens of the calibration."""
    factor = noise_factor(design, advantage=advantage)
    return _reference_recall(replace(design, advantage=0.0, placebos=()), factor)


@lru_cache(maxsize=256)
def _calibrated(design: PlantedDesign, advantage: float) -> float:
    from scipy.optimize import brentq

    def missing(factor: float) -> float:
        return _reference_recall(design, factor) - wanted

    simple = _reference_recall(design, 1.0)
    wanted = (1 + advantage) * simple
    step = _FACTOR_STEP if advantage > 0 else 1 / _FACTOR_STEP
    last, factor = 1.0, step
    # Step by step, since every recall costs as much and most advantages are small.
    while missing(factor) * advantage < 0 and _LEAST_FACTOR < factor < _MOST_FACTOR:
        last, factor = factor, factor * step
    if missing(factor) * advantage < 0:
        worst, best = (_reference_recall(design, limit) for limit in (_MOST_FACTOR, _LEAST_FACTOR))
        message = (
            f"an advantage of {advantage:+.0%} can't be planted where the simple map's recall is {simple:.2f}: "
            f"choose from {worst / simple - 1:+.0%} to {best / simple - 1:+.0%}"
        )
        raise InputError(message)
    return float(brentq(missing, *sorted((last, factor)), xtol=2e-3))


@lru_cache(maxsize=2)
def _reference(design: PlantedDesign) -> tuple[tuple[tuple[Rows, ...], npt.NDArray[np.float32], Any], ...]:
    """Draw units, signal and noise of the calibration's screens: one map each, since a map's recall is its own."""
    screens = []
    for number in range(N_REFERENCE):
        rng = np.random.default_rng([number, _REFERENCE])
        truth = _draw_truth(design, rng)
        signal = _signal(design, truth, rng)
        noise = design.noise / np.sqrt(design.features) * rng.standard_normal(signal.shape)
        groups = truth.groups[: design.groups]
        if design.overlap:
            # Groups that share members may be taken as one unit.
            known = _as_relationships("planted", design.names, groups)
            groups = pool_units([known_pairs(known, design.names)]).members
        screens.append((groups, signal.astype(np.float32), noise.astype(np.float32)))
    return tuple(screens)


@lru_cache(maxsize=256)
def _reference_recall(design: PlantedDesign, factor: float) -> float:
    """Mean macro partner recall at 10; without the rules for ties, which continuous noise has none of."""
    screens = _reference(design)
    total = 0.0
    for groups, signal, noise in screens:
        profiles = signal + np.float32(factor) * noise
        profiles /= np.linalg.norm(profiles, axis=1, keepdims=True)
        cosines = profiles @ profiles.T
        np.fill_diagonal(cosines, -2)
        last = np.partition(cosines, len(cosines) - DEFAULT_K, axis=1)[:, len(cosines) - DEFAULT_K]
        near = cosines >= last[:, None]
        total += float(np.mean([near[np.ix_(g, g)].sum() / (len(g) * min(DEFAULT_K, len(g) - 1)) for g in groups]))
    return total / len(screens)


def _draw_truth(design: PlantedDesign, rng: np.random.Generator) -> _Truth:
    # Names are dealt at random, so that their order tells nothing.
    fresh = rng.permutation(design.perturbations)
    used, groups = 0, []
    for size, reused in zip(design.sizes.tolist(), design.n_reused.tolist(), strict=True):
        again = rng.choice(fresh[:used], size=reused, replace=False)
        groups.append(np.sort(np.concatenate([again, fresh[used : used + size - reused]])).astype(np.intp))
        used += size - reused
    inside = np.zeros((design.perturbations, len(groups)))
    for number, members in enumerate(groups):
        inside[members, number] = 1.0
    directions = _unit(rng.standard_normal((len(groups), design.features)))
    axis = _unit(rng.standard_normal((1, design.features)))
    active = rng.random(design.perturbations) >= design.inactive
    load = active * (rng.random(design.perturbations) < 0.5) * rng.uniform(0.5, 1.5, design.perturbations)
    return _Truth(tuple(groups), inside * active[:, None], directions, design.stress * load[:, None] * axis)


def _signal(design: PlantedDesign, truth: _Truth, rng: np.random.Generator) -> Floats:
    """Profiles without noise, as one map sees them."""
    strengths = np.exp(design.preferences * rng.standard_normal(len(truth.groups)))
    return np.asarray((truth.inside * strengths) @ truth.directions + truth.stress)


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _as_map(design: PlantedDesign, profiles: Floats, name: str, *, place: str) -> PerturbationMap:
    kind: Kind = "simple" if name == "simple" else "learned"
    recipe = Recipe(
        dataset="planted", context="planted", representation=name, kind=kind, source=f"{name}-{place}", rows=place
    )
    ones = np.ones(len(profiles), dtype=np.int64)
    table = pl.DataFrame({"perturbation": design.names, "n_rows": ones, "n_guides": ones, "n_batches": ones})
    return PerturbationMap(design.names, profiles.astype(np.float32), table, recipe)


def _as_relationships(name: str, names: tuple[str, ...], groups: tuple[Rows, ...]) -> Relationships:
    width = len(str(len(groups)))
    pairs = [
        (names[one], names[other], f"group {number:0{width}d}")
        for number, members in enumerate(groups, start=1)
        for one, other in combinations(members.tolist(), 2)
    ]
    first, second, own = zip(*pairs, strict=True) if pairs else ((), (), ())
    return Relationships.from_pairs(name, first, second, group=own)
