"""Targets and prior representations with known truth: what can be predicted of a perturbation nobody has made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from types import MappingProxyType
from typing import Any, Literal, Self, get_args

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.aggregate import PerturbationMap, Recipe
from explorer.errors import InputError, unknown_name
from explorer.relationships import Relationships
from explorer.screen import Kind
from explorer.targets import Target

PredictionKind = Literal[
    "exchangeable",
    "no signal",
    "nothing in the priors",
    "few perturbations",
    "many groups",
    "overlapping groups",
    "few factors",
    "many factors",
    "magnitudes",
    "layout",
    "shared noise and preferences",
]
PREDICTION_KINDS: tuple[PredictionKind, ...] = get_args(PredictionKind)
# What each kind changes in a design. The priors are equal in all of them.
_CHANGES: Mapping[PredictionKind, Mapping[str, Any]] = {
    "exchangeable": {},
    "no signal": {"signal": 0.0},
    "nothing in the priors": {"prior_signal": 0.0},
    "few perturbations": {"perturbations": 80, "groups": 8},
    "many groups": {"groups": 30},
    "overlapping groups": {"groups": 30, "overlap": 0.5},
    "few factors": {"factors": 2},
    "many factors": {"factors": 20},
    "magnitudes": {"magnitudes": 0.8},
    "layout": {"layout": 1.0},
    "shared noise and preferences": {"shared_noise": 0.5, "preferences": 0.15},
}

# Independent streams of random numbers: who is like whom, directions, what a prior prefers, noise.
_TRUTH, _DIRECTIONS, _PREFERENCES, _NOISE = range(4)

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class PredictionDesign:
    """What is planted in a target, and in the representations that it is to be predicted from.

    A perturbation has a score on every factor; members of a group have most of it in common. The target is the mean
    effect that all share and a linear image of the scores, both times the perturbation's magnitude, on top of the
    control; a prior is another linear image. What a prior says of an unseen group is thus in the other groups.

    Attributes
    ----------
    perturbations, features
        Size of the target.
    factors
        Number of factors.
    groups, smallest, largest
        Number of groups listed as known, and their sizes: many small, few large (∝ 1 / size²).
    overlap
        Share of a group's members that are in another group already, with whom they have as much in common.
    cohesion
        Share of the variance of the scores that a group has in common.
    signal, mean_effect
        Expected length of the image of the scores, and length of the mean effect.
    magnitudes
        Standard deviation, between perturbations, of the logarithm of the magnitude.
    noise
        Expected length of the target's noise; that of one half of the replicates is √2 times as long.
    control_noise
        The same of the mean of the controls.
    layout, plate_rows, plate_columns
        Expected length of what a well's row and column add to the target, and their numbers.
    prior_features, prior_signal, prior_noise
        Number of features of a prior, and expected lengths of its image of the scores and of its noise.
    shared_noise
        Share of the variance of the noise that all priors have in common.
    preferences
        Standard deviation, between groups (and perturbations in none), of the logarithm of the length that their scores
        have in one prior: each prior sees some groups better than another does.
    learned_noise
        Length of the learned prior's noise, as a factor of the simple one's: below 1 is a true advantage.
    placebos
        The same for each placebo.

    Raises
    ------
    InputError
        When the design is impossible.
    """

    perturbations: int = 150
    features: int = 60
    factors: int = 6
    groups: int = 15
    smallest: int = 3
    largest: int = 8
    overlap: float = 0.0
    cohesion: float = 0.6
    signal: float = 0.4
    mean_effect: float = 1.0
    magnitudes: float = 0.3
    noise: float = 0.7
    control_noise: float = 0.2
    layout: float = 0.0
    plate_rows: int = 8
    plate_columns: int = 12
    prior_features: int = 64
    prior_signal: float = 1.0
    prior_noise: float = 1.0
    shared_noise: float = 0.0
    preferences: float = 0.0
    learned_noise: float = 1.0
    placebos: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        least = {"perturbations": 3, "features": 3, "factors": 1, "groups": 1, "smallest": 2, "largest": self.smallest,
                 "plate_rows": 1, "plate_columns": 1, "prior_features": 2}  # fmt: skip
        for name, bound in least.items():
            if not getattr(self, name) >= bound:
                msg = f"{name} is {getattr(self, name)}, expected {bound} or more"
                raise InputError(msg)
        for name in ("overlap", "cohesion", "shared_noise"):
            if not 0 <= getattr(self, name) <= 1:
                msg = f"{name} is {getattr(self, name)}, expected a share from 0 to 1"
                raise InputError(msg)
        for name in ("signal", "mean_effect", "magnitudes", "noise", "control_noise", "layout", "prior_signal",
                     "prior_noise", "preferences", "learned_noise"):  # fmt: skip
            if not 0 <= getattr(self, name) < np.inf:
                msg = f"{name} is {getattr(self, name)}, expected a finite number, 0 or more"
                raise InputError(msg)
        for value in self.placebos:
            if not 0 <= value < np.inf:
                msg = f"placebos: {value} is no factor of the noise, expected a finite number, 0 or more"
                raise InputError(msg)
        needed = int((self.sizes - self.n_reused).sum())
        if needed > self.perturbations:
            message = (
                f"{self.groups} groups need {needed:,} perturbations, the design has {self.perturbations:,}: "
                "plant less or raise `perturbations`"
            )
            raise InputError(message)

    @classmethod
    def of_kind(cls, kind: str, **changes: Any) -> Self:
        """Take the design of one kind of null.

        Parameters
        ----------
        kind
            One of `PREDICTION_KINDS`.
        changes
            Other fields of the design.

        Raises
        ------
        InputError
            When the kind is unknown (the nearest are named), or the design is impossible.
        """
        if kind not in PREDICTION_KINDS:
            msg = "kind of prediction"
            raise unknown_name(msg, kind, PREDICTION_KINDS)
        return cls(**{**_CHANGES[kind], **changes})

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the perturbations, sorted; they say nothing of the truth."""
        width = len(str(self.perturbations))
        return tuple(f"P{number:0{width}d}" for number in range(1, self.perturbations + 1))

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Number of members of each group, spread evenly over their law: the same in every draw."""
        sizes = np.arange(self.smallest, self.largest + 1)
        share = np.cumsum(1 / sizes**2) / np.sum(1 / sizes**2)
        return np.asarray(sizes[np.searchsorted(share, (np.arange(self.groups) + 0.5) / self.groups)], dtype=np.int64)

    @property
    def n_reused(self) -> npt.NDArray[np.int64]:
        """Number of members of each group that are taken from groups before it."""
        reused = np.floor(self.overlap * self.sizes + 0.5).astype(np.int64)
        reused[0] = 0
        return np.asarray(np.minimum(reused, np.r_[0, np.cumsum(self.sizes - reused)[:-1]]), dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class PlantedPrediction:
    """A target, the representations that it is to be predicted from, and the truth that they were drawn from.

    Attributes
    ----------
    design, seed, draw
        What was asked for.
    target
        What is to be predicted, with controls, halves, and wells.
    simple, learned
        The two priors.
    placebos
        The placebos, by name.
    nothing, membership
        A prior that is noise and nothing else, and one that knows who is in which group and nothing of what they do:
        it predicts only where a fellow was trained on.
    known
        All pairs of all groups, with the groups.
    effects
        True difference of every perturbation from the control, without its place on the plate, shape
        (n_perturbations, n_features).
    scores
        Scores on the factors, shape (n_perturbations, n_factors).
    """

    design: PredictionDesign
    seed: int
    draw: int
    target: Target = field(repr=False)
    simple: PerturbationMap = field(repr=False)
    learned: PerturbationMap = field(repr=False)
    placebos: Mapping[str, PerturbationMap] = field(repr=False)
    nothing: PerturbationMap = field(repr=False)
    membership: PerturbationMap = field(repr=False)
    known: Relationships = field(repr=False)
    effects: Floats = field(repr=False)
    scores: Floats = field(repr=False)


def simulate_prediction(design: PredictionDesign, *, seed: int, draw: int = 0) -> PlantedPrediction:
    """Draw a target, a simple and a learned prior, and placebos, of the same perturbations from one planted truth.

    Parameters
    ----------
    design
        What is planted.
    seed
        Of the truth: groups, scores, directions, and each prior's preferences.
    draw
        Number of the draw of noise; the same truth measured again where it differs.

    Returns
    -------
    PlantedPrediction
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
    groups, scores, magnitude = _draw_truth(design, np.random.default_rng([seed, _TRUTH]))
    directions_of = np.random.default_rng([seed, _DIRECTIONS])
    noise_of = np.random.default_rng([seed, _NOISE, draw])
    # Of an image of independent scores of variance 1, the expected length is 1.
    image = directions_of.standard_normal((design.factors, design.features))
    image *= design.signal / np.sqrt(design.factors * design.features)
    mean_effect = design.mean_effect * _unit(directions_of.standard_normal(design.features))
    effects = magnitude[:, None] * (mean_effect + scores @ image)
    target = _draw_target(design, effects, directions_of, noise_of, place=f"{seed}-{draw}")

    prefers = np.random.default_rng([seed, _PREFERENCES])
    # Members of a group share the preference of one of them.
    first = np.arange(design.perturbations)
    for members in groups:
        first[members] = members[0]
    shape = (design.perturbations, design.prior_features)
    common = noise_of.standard_normal(shape)
    placebos = {f"placebo {number}": value for number, value in enumerate(design.placebos, start=1)}
    priors = {}
    for name, noise in {"simple": 1.0, "learned": design.learned_noise, **placebos, "nothing": 1.0}.items():
        weights = np.exp(design.preferences * prefers.standard_normal(design.perturbations))[first]
        own_image = design.prior_signal * _turn(directions_of, design.factors, design.prior_features)
        own = noise_of.standard_normal(shape)
        mixed = np.sqrt(design.shared_noise) * common + np.sqrt(1 - design.shared_noise) * own
        signal = 0.0 if name == "nothing" else (weights[:, None] * scores) @ own_image
        profiles = signal + noise * design.prior_noise / np.sqrt(design.prior_features) * mixed
        priors[name] = _as_map(design, profiles, name, place=f"{seed}-{draw}")
    # One direction a group, which has nothing to do with its scores.
    badges = 0.3 / np.sqrt(design.prior_features) * noise_of.standard_normal(shape)
    for members in groups:
        badges[members] += _unit(noise_of.standard_normal(design.prior_features))
    return PlantedPrediction(
        design=design,
        seed=seed,
        draw=draw,
        target=target,
        simple=priors["simple"],
        learned=priors["learned"],
        placebos=MappingProxyType({name: priors[name] for name in placebos}),
        nothing=priors["nothing"],
        membership=_as_map(design, badges, "membership", place=f"{seed}-{draw}"),
        known=_as_relationships(design.names, groups),
        effects=effects,
        scores=scores,
    )


def _draw_truth(design: PredictionDesign, rng: np.random.Generator) -> tuple[tuple[Rows, ...], Floats, Floats]:
    """Deal perturbations to groups, and draw their scores and magnitudes."""
    # Names are dealt at random, so that their order tells nothing.
    n = design.perturbations
    fresh = rng.permutation(n)
    used, groups = 0, []
    for size, reused in zip(design.sizes.tolist(), design.n_reused.tolist(), strict=True):
        again = rng.choice(fresh[:used], size=reused, replace=False)
        groups.append(np.sort(np.concatenate([again, fresh[used : used + size - reused]])).astype(np.intp))
        used += size - reused
    inside = np.zeros((n, len(groups)))
    for number, members in enumerate(groups):
        inside[members, number] = 1.0
    common = inside @ rng.standard_normal((len(groups), design.factors))
    memberships = inside.sum(axis=1, keepdims=True)
    # Members of several groups take after all of them, at the same length.
    common /= np.sqrt(np.maximum(memberships, 1.0))
    own = rng.standard_normal((n, design.factors))
    share = np.where(memberships > 0, design.cohesion, 0.0)
    scores = np.sqrt(share) * common + np.sqrt(1 - share) * own
    magnitude = np.exp(design.magnitudes * rng.standard_normal(n))
    return tuple(groups), scores, magnitude


def _draw_target(
    design: PredictionDesign, effects: Floats, directions_of: np.random.Generator, noise_of: np.random.Generator, *,
    place: str,
) -> Target:  # fmt: skip
    """Measure the effects twice, each half with controls of its own, on a plate where every place adds something."""
    n, n_features = effects.shape
    row, column = (
        directions_of.integers(design.plate_rows, size=n),
        directions_of.integers(design.plate_columns, size=n),
    )
    wells = np.hstack([np.eye(design.plate_rows)[row], np.eye(design.plate_columns)[column]])
    adds = directions_of.standard_normal((wells.shape[1], n_features)) * design.layout / np.sqrt(2 * n_features)
    base = directions_of.standard_normal(n_features)
    root = np.sqrt(2 / n_features)
    halves = base + effects + wells @ adds + root * design.noise * noise_of.standard_normal((2, n, n_features))
    controls = base + root * design.control_noise * noise_of.standard_normal((2, n_features))
    return Target(
        label="planted",
        profiles=_as_map(design, halves.mean(axis=0), "target", place=place),
        control=controls.mean(axis=0),
        halves=(halves[0] - controls[0], halves[1] - controls[1]),
        wells=wells,
    )


def _turn(rng: np.random.Generator, n_factors: int, n_features: int) -> Floats:
    """Draw an image that shows all factors alike, so that no prior is better by the luck of its directions."""
    wide = n_features >= n_factors
    turned = np.linalg.qr(rng.standard_normal((max(n_factors, n_features), min(n_factors, n_features))))[0]
    return np.asarray((turned.T if wide else turned) / np.sqrt(min(n_factors, n_features)))


def _unit(vector: Floats) -> Floats:
    return np.asarray(vector / np.linalg.norm(vector))


def _as_map(design: PredictionDesign, profiles: Floats, name: str, *, place: str) -> PerturbationMap:
    kind: Kind = "simple" if name in ("simple", "target") else "learned"
    context = "target" if name == "target" else "elsewhere"
    recipe = Recipe(
        dataset="planted", context=context, representation=name, kind=kind, source=f"{name}-{place}", rows=place
    )
    ones = np.ones(len(profiles), dtype=np.int64)
    table = pl.DataFrame({"perturbation": design.names, "n_rows": ones, "n_guides": ones, "n_batches": ones})
    return PerturbationMap(design.names, profiles.astype(np.float32), table, recipe)


def _as_relationships(names: tuple[str, ...], groups: tuple[Rows, ...]) -> Relationships:
    width = len(str(len(groups)))
    pairs = [
        (names[one], names[other], f"group {number:0{width}d}")
        for number, members in enumerate(groups, start=1)
        for one, other in combinations(members.tolist(), 2)
    ]
    first, second, own = zip(*pairs, strict=True)
    return Relationships.from_pairs("planted", first, second, group=own)
