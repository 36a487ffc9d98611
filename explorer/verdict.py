"""Learned against simple: the paired comparison over groups, the placebos, and the word of the verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, ParamSpec, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.aggregate import PerturbationMap
from explorer.errors import InputError, listed
from explorer.hits import PooledPairs, TopPairs, by_unit, known_credit, pool_pairs, top_pairs
from explorer.known import GroupKind, KnownPairs, Units, known_pairs, pool_units
from explorer.partners import DEFAULT_K, chance_recall, partner_recall
from explorer.recall import Recall, matched_control, relationship_recall
from explorer.relate import check_k, neighborhoods
from explorer.relationships import GeneSets, Relationships
from explorer.significance import SignFlip, benjamini_hochberg, effective_units, sign_flip, sign_flips
from explorer.tails import null_thresholds

Floats = npt.NDArray[np.float64]
Verdict = Literal["worth it", "not shown", "worse", "underpowered", "locked"]
Progress = Callable[[str, float], None]
P = ParamSpec("P")
T = TypeVar("T")

FEWEST_PERTURBATIONS = 50
FEWEST_UNITS = 20
FEWEST_DISCORDANT = 6
DEFAULT_BUDGET = 100
MOST_BUDGET = 10_000
LARGEST_NAMED = 3
# What of a recipe must agree for a difference to be the representation's.
_SAME = {"context": "context", "filter": "rows", "alignment": "alignment", "aggregate": "aggregate", "seed": "seed"}


class Caller(Protocol):
    """Calls the functions that take long; one that remembers what they returned makes the next verdict quick."""

    def __call__(self, function: Callable[P, T], /, *args: P.args, **options: P.kwargs) -> T:
        """Return what the function returns."""


def call_directly(function: Callable[P, T], /, *args: P.args, **options: P.kwargs) -> T:
    """Call a function and remember nothing."""
    return function(*args, **options)


@dataclass(frozen=True, slots=True)
class Primary:
    """The one comparison that the verdict rests on.

    Attributes
    ----------
    k
        Number of neighbours.
    simple, learned, chance
        Macro partner recall at k, from 0 to 1, and that of random neighbours.
    test
        The difference learned − simple over units.
    groups
        ``given`` by the sources, or ``communities`` of the graph of at least one of them.
    """

    k: int
    simple: float
    learned: float
    chance: float
    test: SignFlip
    groups: GroupKind

    @property
    def statistic(self) -> str:
        """Name of the statistic."""
        return f"macro partner recall@{self.k}"


@dataclass(frozen=True, slots=True)
class SourceComparison:
    """The comparison by one source alone.

    Attributes
    ----------
    source, n_pairs, n_groups, groups
        Its name, pairs and groups in the map, and whether the groups are its own.
    simple, learned
        Recall of its pairs in the tails of all cosines.
    simple_matched, learned_matched
        The same of random pairs as strong and as well annotated.
    test, q
        Difference in macro partner recall at k over its groups, and p adjusted over the sources.
    """

    source: str
    n_pairs: int
    n_groups: int
    groups: GroupKind
    simple: Recall
    learned: Recall
    simple_matched: Recall
    learned_matched: Recall
    test: SignFlip
    q: float


@dataclass(frozen=True, slots=True)
class KnownHits:
    """Known pairs among the most similar pairs of both maps: a description of two lists.

    Attributes
    ----------
    budget
        Number of pairs listed on each side.
    simple, learned, chance
        Known pairs among them, ties at the last place counted by probability; and by chance.
    test
        Difference in hits, with the interval over units (sums, not means).
    effective_units
        Number of units that make up the difference, equal ones counting 1 each.
    largest
        The three units that make up most of it, and what each adds.
    only_simple, only_learned
        Pairs on which the lists disagree, on either side, and how many of them are known.
    """

    budget: int
    simple: float
    learned: float
    chance: float
    test: SignFlip
    effective_units: float
    largest: tuple[tuple[str, float], ...]
    only_simple: tuple[int, int]
    only_learned: tuple[int, int]


@dataclass(frozen=True, slots=True)
class MapComparison:
    """Another map put through the same statistic.

    Attributes
    ----------
    name
        What it is.
    score
        Its macro partner recall at k.
    test
        Learned − this one, for placebos and other simple maps; this one − simple, for other seeds of the learned.
    """

    name: str
    score: float
    test: SignFlip

    @property
    def beaten(self) -> bool:
        """Whether the learned map is better at 5 %."""
        return self.test.excludes_zero and self.test.estimate > 0


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """The verdict and all that it rests on.

    Attributes
    ----------
    verdict, reason
        The word, and one sentence.
    simple, learned
        Names of the two representations.
    primary
        The comparison that decides; NaN throughout where it is locked.
    sources
        The comparison by each source.
    known_hits
        Known pairs at the budget; None where locked.
    placebos, rivals, seeds
        Maps of nothing learned; other simple maps; the learned one from other seeds.
    units
        One line a unit: ``unit, members, simple, learned, difference``; partner recall at k.
    fingerprints
        Of the two maps.
    seed
        Of signs and matched pairs.
    n_perturbations
        Perturbations of both maps.
    notes
        What the reader must know.
    """

    verdict: Verdict
    reason: str
    simple: str
    learned: str
    primary: Primary
    sources: tuple[SourceComparison, ...]
    known_hits: KnownHits | None
    placebos: tuple[MapComparison, ...]
    rivals: tuple[MapComparison, ...]
    seeds: tuple[MapComparison, ...]
    units: pl.DataFrame = field(repr=False)
    fingerprints: Mapping[str, str]
    seed: int
    n_perturbations: int
    notes: tuple[str, ...] = ()

    @property
    def better_simple(self) -> tuple[MapComparison, ...]:
        """Other simple maps that score higher than the one judged, best first."""
        higher = [rival for rival in self.rivals if rival.score > self.primary.simple]
        return tuple(sorted(higher, key=lambda rival: -rival.score))

    @property
    def best_placebo(self) -> MapComparison | None:
        """The placebo that scores highest; None where there is none."""
        return max(self.placebos, key=lambda placebo: placebo.score, default=None)

    def to_json(self) -> dict[str, Any]:
        """Say it as the command line prints it."""
        return _as_json(self)


def judge(
    simple: PerturbationMap,
    learned: PerturbationMap,
    sources: Sequence[Relationships | GeneSets],
    *,
    placebos: Mapping[str, PerturbationMap] | None = None,
    rivals: Mapping[str, PerturbationMap] | None = None,
    seeds: Mapping[str, PerturbationMap] | None = None,
    k: int = DEFAULT_K,
    budget: int = DEFAULT_BUDGET,
    seed: int = 0,
    progress: Progress | None = None,
    call: Caller = call_directly,
) -> Judgement:
    """Judge whether a learned map finds more of what is known than a simple one.

    The primary statistic is macro partner recall at k over the pooled groups of all sources, each of equal
    weight; its interval and p flip the signs of the groups at random. The words of the verdict are tried in this
    order: *locked*, *underpowered*, *worse*, *not shown* (no difference; a placebo is not beaten; the lists at the
    budget disagree), *worth it*. The interval speaks of groups like the annotated ones, in these two maps.

    Parameters
    ----------
    simple, learned
        The maps, with recipes equal in everything but the representation.
    sources
        What is known.
    placebos
        Maps through the same pipeline that learned nothing: the learned one must beat each.
    rivals
        Other simple maps of the same rows.
    seeds
        The learned map from other seeds.
    k
        Neighbours that count; 10 was fixed before anyone looked.
    budget
        Pairs on each list of most similar pairs.
    seed
        Of everything random.
    progress
        Called with what is done next and the share that is done.
    call
        Who calls the functions that take long.

    Raises
    ------
    InputError
        When fewer than 50 perturbations are in both maps, no source relates 20 of them, or k or the budget is out of
        range.
    """
    say = progress or (lambda what, share: None)
    say("checking the recipes", 0.0)
    fingerprints = {"simple": simple.fingerprint, "learned": learned.fingerprint}
    locked = lock_reason(simple, learned)
    simple, learned, notes = on_common(simple, learned)
    check_k(k, simple.n_perturbations)
    check_budget(budget)
    check_seed(seed)
    known, source_notes = look_up(sources, simple.names, call=call)
    notes += source_notes
    units = pool_units(known)
    names = (simple.recipe.representation, learned.recipe.representation)
    if locked:
        return _locked(locked, names, units, k=k, known=known, notes=notes, fingerprints=fingerprints,
                       seed=seed, n_perturbations=simple.n_perturbations)  # fmt: skip
    others = {("placebo", name): made for name, made in (placebos or {}).items()}
    others |= {("rival", name): made for name, made in (rivals or {}).items()}
    others |= {("seed", name): made for name, made in (seeds or {}).items()}
    groups = [*units.members, *(rows for source in known for rows in source.groups.values())]
    recalls: dict[tuple[str, str], Floats] = {}
    steps = {("map", "simple"): simple, ("map", "learned"): learned, **others}
    for number, (key, made) in enumerate(steps.items()):
        say(f"neighbours in {made.recipe.representation if key[0] == 'map' else key[1]}", 0.6 * number / len(steps))
        whole, missing = with_all(made, simple.names)
        if missing:
            notes.append(f"{key[1]} has no profile of {missing:,} perturbations: they count as found nowhere")
        recalls[key] = partner_recall(call(neighborhoods, whole, k=k), groups)
    n = units.n_units
    pooled_recalls = {key: values[:n] for key, values in recalls.items()}
    say("flipping signs", 0.6)
    low, high = pooled_recalls["map", "simple"], pooled_recalls["map", "learned"]
    differences = [high - low, *(_difference(key, pooled_recalls, low=low, high=high) for key in others)]
    tests = sign_flips(differences, seed=seed)
    chance = chance_recall(units.members, n_perturbations=simple.n_perturbations, k=k)
    above = sign_flips([low - chance, high - chance], seed=seed)
    if units.n_units and not any(test.excludes_zero and test.estimate > 0 for test in above):
        notes.append(
            "neither map finds known partners more often than chance: more groups of this kind would not help, so "
            "check the names and what is known"
        )
    primary = Primary(
        k=k,
        simple=_mean(low),
        learned=_mean(high),
        chance=_mean(chance),
        test=tests[0],
        groups=units.kind,
    )
    compared = {
        key: MapComparison(key[1], _mean(pooled_recalls[key]), test)
        for key, test in zip(others, tests[1:], strict=True)
    }
    say("recall of every source", 0.7)
    by_source = _by_source(simple, learned, known, recalls=recalls, first=n, seed=seed, call=call)
    say("the lists at the budget", 0.9)
    hits = compare_hits(simple, learned, pool_pairs(known, units), budget=budget, seed=seed, call=call)
    of_kind = {kind: tuple(c for key, c in compared.items() if key[0] == kind) for kind in ("placebo", "rival", "seed")}
    word, reason = decide(primary, of_kind["placebo"], hits)
    say("done", 1.0)
    return Judgement(
        verdict=word,
        reason=reason,
        simple=names[0],
        learned=names[1],
        primary=primary,
        sources=by_source,
        known_hits=hits,
        placebos=of_kind["placebo"],
        rivals=of_kind["rival"],
        seeds=of_kind["seed"],
        units=_unit_table(units, low, high),
        fingerprints=fingerprints,
        seed=seed,
        n_perturbations=simple.n_perturbations,
        notes=tuple(notes),
    )


def decide(primary: Primary, placebos: Sequence[MapComparison], hits: KnownHits) -> tuple[Verdict, str]:
    """Choose the word, in the order that was fixed beforehand, and say why in one sentence."""
    test = primary.test
    what = f"{primary.statistic}, learned − simple"
    interval = f"{test.estimate:+.3f} ({test.low:+.3f} to {test.high:+.3f})"
    if test.n_units < FEWEST_UNITS:
        return "underpowered", f"{test.n_units} groups, and it takes {FEWEST_UNITS} for a verdict"
    if test.n_discordant < FEWEST_DISCORDANT:
        return (
            "underpowered",
            f"the maps differ on {test.n_discordant} of {test.n_units} groups, and it takes {FEWEST_DISCORDANT} for a "
            "verdict",
        )
    if test.excludes_zero and test.estimate < 0:
        return "worse", f"{what}: {interval} over {test.n_units} groups"
    if not test.excludes_zero:
        return (
            "not shown",
            f"{what}: {interval} over {test.n_units} groups includes 0; a true difference of "
            f"{test.smallest_detectable:.3f} would have shown 4 times in 5",
        )
    unbeaten = [placebo for placebo in placebos if not placebo.beaten]
    if unbeaten:
        worst = max(unbeaten, key=lambda placebo: placebo.score)
        return (
            "not shown",
            f"{what}: {interval}, but the placebo {worst.name!r} is not beaten: learned − placebo "
            f"{worst.test.estimate:+.3f} ({worst.test.low:+.3f} to {worst.test.high:+.3f})",
        )
    if hits.test.excludes_zero and hits.test.estimate < 0:
        return (
            "not shown",
            f"{what}: {interval}, but among the {hits.budget:,} most similar pairs the learned map holds fewer known "
            f"ones: {hits.test.estimate:+.1f} ({hits.test.low:+.1f} to {hits.test.high:+.1f})",
        )
    beside = "and every placebo is beaten" if placebos else "though no placebo was run"
    return "worth it", f"{what}: {interval} over {test.n_units} groups, {beside}"


def lock_reason(simple: PerturbationMap, learned: PerturbationMap) -> str:
    """Say in what the recipes differ beside the representation; empty where in nothing.

    Rows are compared by their number for each perturbation of both maps, where the maps were made of different
    tables.
    """
    one, other = simple.recipe, learned.recipe
    differing = [
        f"{word} {getattr(one, key)!r} against {getattr(other, key)!r}"
        for key, word in _SAME.items()
        if getattr(one, key) != getattr(other, key)
    ]
    if one.rows != other.rows and not differing:
        shared = sorted(set(simple.names) & set(learned.names))
        counts = [
            side.restricted_to(shared).table.drop("perturbation") for side in (simple, learned) if len(shared) > 2
        ]
        if counts and not counts[0].equals(counts[1]):
            differing.append("other rows")
    if one.representation == other.representation and one.source == other.source and not differing:
        differing.append(f"nothing: both are {one.representation!r}, choose two representations")
    return f"the recipes differ in {'; '.join(differing)}" if differing else ""


def compare_hits(
    simple: PerturbationMap,
    learned: PerturbationMap,
    pooled: PooledPairs,
    *,
    budget: int,
    seed: int = 0,
    call: Caller = call_directly,
) -> KnownHits:
    """Compare the known pairs among the `budget` most similar pairs of two maps of the same perturbations.

    Raises
    ------
    InputError
        When the budget is below 1, or above the number of pairs or 10,000.
    """
    check_budget(budget)
    lists = [call(top_pairs, side, budget) for side in (simple, learned)]
    return hits_at(simple, learned, pooled, lists=(lists[0], lists[1]), budget=budget, seed=seed)


def hits_at(
    simple: PerturbationMap,
    learned: PerturbationMap,
    pooled: PooledPairs,
    *,
    lists: tuple[TopPairs, TopPairs],
    budget: int,
    seed: int = 0,
) -> KnownHits:
    """Compare the known pairs at a budget, from lists that are at least as long."""
    one, other = (
        known_credit(side, pairs, pooled, budget=budget) for side, pairs in zip((simple, learned), lists, strict=True)
    )
    contributions = by_unit(pooled, other - one)
    test = sign_flip(contributions, seed=seed)
    order = np.argsort(-np.abs(contributions), kind="stable")[:LARGEST_NAMED]
    codes = [pairs.codes[:budget] for pairs in lists]
    known = pooled.first.astype(np.int64) * simple.n_perturbations + pooled.second
    only = [np.setdiff1d(own, others) for own, others in (codes, codes[::-1])]
    n = simple.n_perturbations
    return KnownHits(
        budget=budget,
        simple=float(one.sum()),
        learned=float(other.sum()),
        chance=budget * pooled.n_pairs / (n * (n - 1) / 2),
        test=test.times(test.n_units),
        effective_units=effective_units(contributions),
        largest=tuple((pooled.names[place], float(contributions[place])) for place in order if contributions[place]),
        only_simple=(len(only[0]), int(np.isin(only[0], known).sum())),
        only_learned=(len(only[1]), int(np.isin(only[1], known).sum())),
    )


def check_budget(budget: object) -> int:
    """Check a budget of pairs.

    Raises
    ------
    InputError
        When it is not a whole number from 1 to 10,000.
    """
    if isinstance(budget, int) and not isinstance(budget, bool) and 1 <= budget <= MOST_BUDGET:
        return budget
    message = f"a budget of {budget!r} pairs can't be used: choose a whole number from 1 to {MOST_BUDGET:,}"
    raise InputError(message)


def check_seed(seed: object) -> int:
    """Check the seed of random choices.

    Raises
    ------
    InputError
        When it is not a whole number of 0 or more.
    """
    if isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0:
        return seed
    message = f"a seed of {seed!r} can't be used: choose a whole number of 0 or more"
    raise InputError(message)


def units_needed(test: SignFlip, difference: float) -> int:
    """Count the further units, like those there are, with which a true difference would be found 4 times in 5.

    The smallest detectable difference falls with the root of the number of units.

    Returns
    -------
    int
        0 where there are enough.

    Raises
    ------
    InputError
        When the difference is 0 or less, or there is no unit.
    """
    if not difference > 0 or test.n_units == 0:
        msg = f"a difference of {difference} can't be planned for: choose one above 0"
        raise InputError(msg)
    wanted = test.n_units * (test.smallest_detectable / difference) ** 2
    return max(0, int(np.ceil(wanted)) - test.n_units)


def on_common(simple: PerturbationMap, learned: PerturbationMap) -> tuple[PerturbationMap, PerturbationMap, list[str]]:
    """Restrict to the perturbations of both; refuse where they are few, and say how many were lost."""
    shared = set(simple.names) & set(learned.names)
    if len(shared) < FEWEST_PERTURBATIONS:
        message = (
            f"{len(shared)} perturbations are in both {simple.recipe.representation!r} and "
            f"{learned.recipe.representation!r}, a verdict takes {FEWEST_PERTURBATIONS}: do they name perturbations "
            "alike?"
        )
        raise InputError(message)
    notes = [
        f"{side.n_perturbations - len(shared):,} of {side.n_perturbations:,} perturbations of "
        f"{side.recipe.representation} are not in the other map and were left out"
        for side in (simple, learned)
        if side.n_perturbations > len(shared)
    ]
    return simple.restricted_to(shared), learned.restricted_to(shared), notes


def look_up(
    sources: Sequence[Relationships | GeneSets], names: Sequence[str], *, call: Caller
) -> tuple[tuple[KnownPairs, ...], list[str]]:
    """Look all sources up; those that relate too few are left out and said, unless none remains."""
    found, problems = [], []
    for source in sources:
        try:
            found.append(call(known_pairs, source, names))
        except InputError as error:
            problems.append(str(error))
    if not found:
        message = problems[0] if problems else "nothing is known of these perturbations: give relationships"
        raise InputError(message)
    return tuple(found), [*(f"left out: {text}" for text in problems), *(n for source in found for n in source.notes)]


def with_all(perturbation_map: PerturbationMap, names: tuple[str, ...]) -> tuple[PerturbationMap, int]:
    """Bring a map to given perturbations; those it lacks have a profile of zeros, and are counted."""
    if perturbation_map.names == names:
        return perturbation_map, 0
    own = set(perturbation_map.names)
    shared = [name for name in names if name in own]
    profiles = np.zeros((len(names), perturbation_map.profiles.shape[1]), dtype=np.float32)
    place = {name: row for row, name in enumerate(names)}
    source = [perturbation_map.position(name) for name in shared]
    profiles[[place[name] for name in shared]] = perturbation_map.profiles[source]
    table = pl.DataFrame({"perturbation": list(names)})
    table = table.join(perturbation_map.table, on="perturbation", how="left", maintain_order="left")
    return PerturbationMap(names, profiles, table, perturbation_map.recipe), len(names) - len(shared)


def _difference(
    key: tuple[str, str], recalls: Mapping[tuple[str, str], Floats], *, low: Floats, high: Floats
) -> Floats:
    return recalls[key] - low if key[0] == "seed" else high - recalls[key]


def _by_source(
    simple: PerturbationMap,
    learned: PerturbationMap,
    known: Sequence[KnownPairs],
    *,
    recalls: Mapping[tuple[str, str], Floats],
    first: int,
    seed: int,
    call: Caller,
) -> tuple[SourceComparison, ...]:
    sides = []
    for side in (simple, learned):
        thresholds = call(null_thresholds, side)
        sides.append(
            (
                call(relationship_recall, side, known, thresholds=thresholds),
                call(matched_control, side, known, thresholds=thresholds, seed=seed),
            )
        )
    ends = first + np.cumsum([len(source.groups) for source in known])
    differences = recalls["map", "learned"] - recalls["map", "simple"]
    parts = [differences[end - len(source.groups) : end] for source, end in zip(known, ends.tolist(), strict=True)]
    tests = sign_flips(parts, seed=seed)
    q = benjamini_hochberg([test.p for test in tests])
    return tuple(
        SourceComparison(
            source=source.name,
            n_pairs=source.n_pairs,
            n_groups=len(source.groups),
            groups=source.kind,
            simple=sides[0][0][place],
            learned=sides[1][0][place],
            simple_matched=sides[0][1][place],
            learned_matched=sides[1][1][place],
            test=tests[place],
            q=float(q[place]),
        )
        for place, source in enumerate(known)
    )


def _unit_table(units: Units, low: Floats, high: Floats) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "unit": list(units.names),
            "members": [len(rows) for rows in units.members],
            "simple": low,
            "learned": high,
            "difference": high - low,
        },
        schema_overrides={"unit": pl.String, "members": pl.Int64},
    )


def _locked(
    reason: str,
    names: tuple[str, str],
    units: Units,
    *,
    k: int,
    known: Sequence[KnownPairs],
    notes: list[str],
    fingerprints: Mapping[str, str],
    seed: int,
    n_perturbations: int,
) -> Judgement:
    nan = float("nan")
    # Nothing is computed: a number beside a lock would be read as an answer.
    primary = Primary(k, nan, nan, nan, replace(sign_flip([]), n_units=units.n_units), units.kind)
    empty = np.empty(0)
    return Judgement(
        verdict="locked",
        reason=f"{reason}; make both maps alike and ask again",
        simple=names[0],
        learned=names[1],
        primary=primary,
        sources=(),
        known_hits=None,
        placebos=(),
        rivals=(),
        seeds=(),
        units=_unit_table(Units((), (), units.kind), empty, empty),
        fingerprints=fingerprints,
        seed=seed,
        n_perturbations=n_perturbations,
        notes=tuple([*notes, f"sources: {listed([source.name for source in known])}"]),
    )


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _as_json(judgement: Judgement) -> dict[str, Any]:
    primary, hits = judgement.primary, judgement.known_hits
    tails = ("both", "upper", "lower", "macro")
    return {
        "verdict": judgement.verdict,
        "reason": judgement.reason,
        "simple": judgement.simple,
        "learned": judgement.learned,
        "primary": {
            "statistic": primary.statistic,
            "simple": primary.simple,
            "learned": primary.learned,
            "chance": primary.chance,
            **_interval(primary.test),
            "p": primary.test.p,
            "n_groups": primary.test.n_units,
            "n_discordant": primary.test.n_discordant,
            "groups": primary.groups,
            "smallest_detectable": primary.test.smallest_detectable,
        },
        "sources": [
            {
                "source": source.source,
                "n_pairs": source.n_pairs,
                "n_groups": source.n_groups,
                "groups": source.groups,
                "recall": {
                    side: {tail: getattr(found, tail) for tail in tails}
                    for side, found in (("simple", source.simple), ("learned", source.learned))
                },
                "matched_control": {"simple": source.simple_matched.both, "learned": source.learned_matched.both},
                "chance": source.simple.chance,
                "difference": {**_interval(source.test), "p": source.test.p, "q": source.q},
            }
            for source in judgement.sources
        ],
        "known_hits": None
        if hits is None
        else {
            "budget": hits.budget,
            "simple": hits.simple,
            "learned": hits.learned,
            "chance": hits.chance,
            "difference": hits.test.estimate,
            "low": hits.test.low,
            "high": hits.test.high,
            "effective_groups": hits.effective_units,
            "largest_groups": [{"group": name, "difference": value} for name, value in hits.largest],
            "only_simple": dict(zip(("pairs", "known"), hits.only_simple, strict=True)),
            "only_learned": dict(zip(("pairs", "known"), hits.only_learned, strict=True)),
        },
        "placebos": [
            {"name": c.name, "score": c.score, **_interval(c.test), "beaten": c.beaten} for c in judgement.placebos
        ],
        "other_simple": [{"name": c.name, "score": c.score, **_interval(c.test)} for c in judgement.rivals],
        "seeds": [{"name": c.name, "score": c.score, **_interval(c.test)} for c in judgement.seeds],
        "fingerprints": dict(judgement.fingerprints),
        "n_perturbations": judgement.n_perturbations,
        "seed": judgement.seed,
        "notes": list(judgement.notes),
    }


def _interval(test: SignFlip) -> dict[str, float]:
    return {"estimate": test.estimate, "low": test.low, "high": test.high}
