"""Where a recall comes from: strata of it, the bias of near neighbours on a chromosome, and what noise would allow."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.aggregate import PerturbationMap
from explorer.errors import InputError, listed
from explorer.known import KnownPairs
from explorer.relate import TIE_DECIMALS, check_k
from explorer.tails import NullThresholds, null_thresholds, pair_hits

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]

EFFECT_SIZE = "effect size"
POPULARITY = "annotation popularity"
POSITION = "position"
EFFECT_THIRDS = ("weakest third", "middle third", "strongest third")
POPULARITY_THIRDS = ("least annotated", "in between", "most annotated")
STRATA_SCHEMA = {
    "source": pl.String,
    "stratum kind": pl.String,
    "stratum": pl.String,
    "n_perturbations": pl.Int64,
    "n_pairs": pl.Int64,
    "simple": pl.Float64,
    "learned": pl.Float64,
    "difference": pl.Float64,
}
PROXIMITY_SCHEMA = {
    "arm": pl.String,
    "n_perturbations": pl.Int64,
    "n_within": pl.Int64,
    "n_cross": pl.Int64,
    "probability": pl.Float64,
    "p": pl.Float64,
}
# A share of fewer pairs moves by more than .05 with each of them.
FEWEST_PAIRS = 20
# A mean of fewer genes would bring in more noise than it takes away, and take a gene from itself.
FEWEST_UNEXPRESSED = 5


@dataclass(frozen=True, slots=True, eq=False)
class ProximityBias:
    """How often two perturbations of one chromosome arm are more similar than two of different arms.

    Attributes
    ----------
    arms
        One line an arm: ``arm, n_perturbations, n_within, n_cross, probability, p``, the most biased first.
    probability
        Mean over the arms, weighted by their pairs; .5 without bias, NaN where no arm has enough pairs.
    """

    arms: pl.DataFrame = field(repr=False)
    probability: float


@dataclass(frozen=True, slots=True)
class NoiseCeiling:
    """How often a profile finds its own repeat.

    Attributes
    ----------
    recall
        Share of perturbations that are among the k nearest of their own other half; 1 is better.
    chance
        The same for a random order: k / n.
    k, n
        Number of neighbours, and of perturbations in both halves.
    """

    recall: float
    chance: float
    k: int
    n: int


def strata(
    simple: PerturbationMap,
    learned: PerturbationMap,
    known: Sequence[KnownPairs],
    *,
    position: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """Split the recall of known pairs, both tails, by what it may owe its height to.

    By *effect size*, since strong perturbations are similar whatever they do: thirds of the perturbations by length
    of their profile in the simple map; both maps are restricted to the third, and the tails are those of the pairs
    within it. By *annotation popularity*, since the well studied are annotated first: thirds of the annotated by
    number of known partners; a pair counts where its less annotated member stands, and the tails are those of the
    whole map. By *position*: pairs on one chromosome arm and on two, tails of the whole map.

    Parameters
    ----------
    simple, learned
        Maps of the same perturbations.
    known
        Sources, looked up in them by `known_pairs`.
    position
        Chromosome arm, or whatever else neighbours may share, by name of the perturbation.

    Returns
    -------
    polars.DataFrame
        One line a source and stratum; columns of `STRATA_SCHEMA`. Recalls are null for fewer than 20 pairs. The
        number of perturbations is that of the third by effect size, elsewhere of those that the pairs are made of.

    Raises
    ------
    InputError
        When the maps differ in their perturbations, a source is of another map, or no perturbation has a position.
    """
    _check_same(simple, learned, known)
    found: list[dict[str, object]] = []
    whole = (null_thresholds(simple), null_thresholds(learned))
    arms = None if position is None else _numbers_of(position, simple.names)
    # Ties are broken by name, so that the thirds are of the same size.
    for label, rows in zip(EFFECT_THIRDS, np.array_split(np.argsort(simple.norms, kind="stable"), 3), strict=True):
        inside = np.zeros(len(simple.names), dtype=bool)
        inside[rows] = True
        names = [simple.names[row] for row in np.flatnonzero(inside)]
        parts = (simple.restricted_to(names), learned.restricted_to(names)) if len(names) > 2 else None
        thresholds = (null_thresholds(parts[0]), null_thresholds(parts[1])) if parts else whole
        for source in known:
            chosen = inside[source.first] & inside[source.second]
            found.append(
                _stratum(source, (EFFECT_SIZE, label), chosen, maps=(simple, learned), thresholds=thresholds)
                | {"n_perturbations": len(rows)}
            )
    for source in known:
        edges = np.quantile(source.degree[source.annotated], [1 / 3, 2 / 3])
        less = np.minimum(source.degree[source.first], source.degree[source.second])
        third = np.searchsorted(edges, less, side="left")
        splits = [((POPULARITY, label), third == number) for number, label in enumerate(POPULARITY_THIRDS)]
        if arms is not None:
            one, other = arms[source.first], arms[source.second]
            splits += [
                ((POSITION, "within"), (one >= 0) & (one == other)),
                ((POSITION, "across"), (one >= 0) & (other >= 0) & (one != other)),
            ]
        found += [
            _stratum(source, labels, chosen, maps=(simple, learned), thresholds=whole) for labels, chosen in splits
        ]
    order = {source.name: place for place, source in enumerate(known)}
    found.sort(key=lambda line: order[str(line["source"])])
    return pl.DataFrame(found, schema=STRATA_SCHEMA)


def proximity_bias(
    perturbation_map: PerturbationMap, arms: Mapping[str, str], *, more_than: int = FEWEST_PAIRS
) -> ProximityBias:
    """Measure whether perturbations of one chromosome arm are similar for lying on it, as after cutting by Cas9.

    Parameters
    ----------
    perturbation_map
        The map; profiles of length zero and perturbations without an arm are left out.
    arms
        Chromosome arm by name of the perturbation.
    more_than
        Arms with this many pairs or fewer are left out.

    Returns
    -------
    ProximityBias
        For each arm the probability that a pair within it has a larger cosine than a pair of one inside and one
        outside, ties counted half, and the one-sided p of Brunner and Munzel. Pairs share perturbations and are not
        independent, so p is too small: it ranks arms and proves nothing.

    Raises
    ------
    InputError
        When no perturbation of the map has an arm.

    References
    ----------
    Lazar et al. 2024, doi:10.1038/s41588-024-01758-y (the bias); Brunner and Munzel 2000,
    doi:10.1002/(SICI)1521-4036(200001)42:1<17::AID-BIMJ17>3.0.CO;2-U.
    """
    number = _numbers_of(arms, perturbation_map.names)
    placed = np.flatnonzero((number >= 0) & (perturbation_map.norms > 0))
    unit = perturbation_map.profiles[placed] / perturbation_map.norms[placed, None]
    number, lines = number[placed], []
    for arm in np.unique(number).tolist():
        inside = unit[number == arm]
        n_within = len(inside) * (len(inside) - 1) // 2
        if n_within <= more_than or len(inside) == len(unit):
            continue
        within = (inside @ inside.T)[np.triu_indices(len(inside), k=1)]
        cross = (inside @ unit[number != arm].T).ravel()
        probability, p = brunner_munzel(within, cross)
        label = arms[perturbation_map.names[placed[np.flatnonzero(number == arm)[0]]]]
        lines.append((label, len(inside), n_within, len(cross), probability, p))
    table = pl.DataFrame(lines, schema=PROXIMITY_SCHEMA, orient="row").sort(
        "probability", "arm", descending=[True, False]
    )
    weights = table["n_within"].to_numpy().astype(np.float64)
    mean = float(np.average(table["probability"].to_numpy(), weights=weights)) if len(lines) else float("nan")
    return ProximityBias(table, mean)


def brunner_munzel(larger: npt.ArrayLike, smaller: npt.ArrayLike) -> tuple[float, float]:
    """Estimate the probability that one sample exceeds another, ties counted half, and its one-sided p.

    Parameters
    ----------
    larger, smaller
        The samples, two values or more each; only the first is sorted, so let it be the smaller one.

    Returns
    -------
    tuple
        Probability, and p of the hypothesis that it is .5 or less, from Student's t. Where the samples do not
        overlap, p is 0 or 1; where both are constant and equal, NaN.
    """
    from scipy.special import stdtr

    first, second = np.sort(np.asarray(larger, dtype=np.float64)), np.asarray(smaller, dtype=np.float64)
    n, m = len(first), len(second)
    below, upto = np.searchsorted(first, second, side="left"), np.searchsorted(first, second, side="right")
    # How many of the other sample lie below each value, ties counted half: its rank among all less that among its own.
    over_second = n - (below + upto) / 2
    smaller_than = np.cumsum(np.bincount(upto, minlength=n + 1))[:n]
    not_above = np.cumsum(np.bincount(below, minlength=n + 1))[:n]
    over_first = (smaller_than + not_above) / 2
    probability = float(over_first.mean() / m)
    parts = np.array([n * over_first.var(ddof=1), m * over_second.var(ddof=1)])
    if parts.sum() == 0:
        return probability, float("nan") if probability == 0.5 else float(probability < 0.5)
    statistic = n * m * (probability - 0.5) / np.sqrt(parts.sum())
    freedom = parts.sum() ** 2 / (parts**2 / (np.array([n, m]) - 1)).sum()
    return probability, float(stdtr(freedom, -statistic))


def subtract_arm_mean(
    perturbation_map: PerturbationMap, arms: Mapping[str, str], *, unexpressed: Iterable[str]
) -> PerturbationMap:
    """Take from every perturbation the mean profile of the unexpressed genes of its chromosome arm.

    What an unexpressed gene shows is the cut, not the gene; so what its arm shares goes, and the rest stays.

    Parameters
    ----------
    perturbation_map
        The map.
    arms
        Chromosome arm by name of the perturbation; those without one stay as they are.
    unexpressed
        Genes that are not expressed in these cells.

    Returns
    -------
    PerturbationMap
        The recipe says what was subtracted; arms with fewer than 5 unexpressed genes stay as they are.

    Raises
    ------
    InputError
        When no arm has enough unexpressed genes.

    References
    ----------
    Lazar et al. 2024, doi:10.1038/s41588-024-01758-y.
    """
    silent_genes = set(unexpressed)
    number = _numbers_of(arms, perturbation_map.names)
    is_reference = np.array([name in silent_genes for name in perturbation_map.names])
    profiles = perturbation_map.profiles.astype(np.float64)
    corrected, n_left, used = profiles.copy(), 0, []
    n_arms = int(number.max()) + 1
    for arm in range(n_arms):
        reference = np.flatnonzero((number == arm) & is_reference)
        if len(reference) < FEWEST_UNEXPRESSED:
            n_left += 1
            continue
        corrected[number == arm] -= profiles[reference].mean(axis=0)
        used += [f"{arms[perturbation_map.names[row]]}\t{perturbation_map.names[row]}" for row in reference]
    if not used:
        msg = (
            f"no arm has {FEWEST_UNEXPRESSED} or more unexpressed genes in the map, {is_reference.sum()} of the "
            f"{len(silent_genes):,} named are in it: name more, spelled as there ({listed(perturbation_map.names[:3])})"
        )
        raise InputError(msg)
    recipe = perturbation_map.recipe
    digest = hashlib.sha256("\n".join([*used, *(f"{k}={arms[k]}" for k in sorted(arms))]).encode()).hexdigest()[:8]
    count = f"{len(used):,} genes; too few in {n_left} of {n_arms} arms"
    note = f"mean of the unexpressed genes of each arm subtracted ({count})"
    made = replace(recipe, alignment=f"{recipe.alignment}, less the arm's mean ({digest})", notes=(*recipe.notes, note))
    return PerturbationMap(perturbation_map.names, corrected.astype(np.float32), perturbation_map.table, made)


def noise_ceiling(halves: tuple[PerturbationMap, PerturbationMap], *, k: int = 10) -> NoiseCeiling:
    """Measure how often a perturbation's repeat is among its k nearest, when half of the replicates are looked up.

    Each profile of one half is searched for among all profiles of the other, both ways round, and the share found
    at its own name is the mean. This is what a partner with *the very same* effect, measured with half of the rows,
    could reach in this representation: where it is low, true partners can't find one another here, whatever they
    share. Two halves have half of the data each, so the whole could reach more; and halves of rows agree on their
    batches too, which true partners may not share.

    Parameters
    ----------
    halves
        Maps of disjoint halves of the replicates, as of `replicate_halves`.
    k
        Number of neighbours.

    Returns
    -------
    NoiseCeiling
        Ties, of cosines to six decimals, count by the probability that a random order puts the repeat among the
        first k. A profile of length zero finds nothing.

    Raises
    ------
    InputError
        When the halves have different features or too few perturbations in common.
    """
    one, other = halves
    if one.profiles.shape[1] != other.profiles.shape[1]:
        msg = (
            f"the halves have {one.profiles.shape[1]:,} and {other.profiles.shape[1]:,} features: give maps of one "
            "representation"
        )
        raise InputError(msg)
    shared = sorted(set(one.names) & set(other.names))
    check_k(k, max(len(shared), 1))
    one, other = one.restricted_to(shared), other.restricted_to(shared)
    found = [_found_among(*pair, k=k) for pair in ((one, other), (other, one))]
    return NoiseCeiling(recall=float(np.mean(found)), chance=k / len(shared), k=k, n=len(shared))


def _found_among(queries: PerturbationMap, candidates: PerturbationMap, *, k: int) -> Floats:
    """Probability that each query's own name is among the k nearest candidates, shape (n_perturbations,)."""
    unit, usable = _unit(candidates)
    asked, has_profile = _unit(queries)
    found = np.zeros(len(asked))
    step = max(1, 2**22 // len(unit))
    for start in range(0, len(asked), step):
        rows = np.arange(start, min(start + step, len(asked)))
        scores = np.round(asked[rows] @ unit.T, TIE_DECIMALS)
        scores[:, ~usable] = -np.inf
        own = scores[np.arange(len(rows)), rows][:, None]
        above, tied = (scores > own).sum(axis=1), (scores == own).sum(axis=1)
        found[rows] = np.clip((k - above) / tied, 0.0, 1.0)
    found[~usable | ~has_profile] = 0.0
    return found


def _unit(perturbation_map: PerturbationMap) -> tuple[Floats, Flags]:
    """Profiles of length one, and which have a length."""
    usable = perturbation_map.norms > 0
    return perturbation_map.profiles / np.where(usable, perturbation_map.norms, 1.0)[:, None], usable


def _stratum(
    source: KnownPairs,
    labels: tuple[str, str],
    chosen: Flags,
    *,
    maps: tuple[PerturbationMap, PerturbationMap],
    thresholds: tuple[NullThresholds, NullThresholds],
) -> dict[str, object]:
    """Make the line of one stratum of one source."""
    first, second = source.first[chosen], source.second[chosen]
    recalls: list[float | None] = [None, None]
    if len(first) >= FEWEST_PAIRS:
        for place, (made, limits) in enumerate(zip(maps, thresholds, strict=True)):
            lower, upper = pair_hits(made, first, second, thresholds=limits)
            recalls[place] = float((lower | upper).mean())
    simple, learned = recalls
    return {
        "source": source.name,
        "stratum kind": labels[0],
        "stratum": labels[1],
        "n_perturbations": len(np.unique(np.concatenate([first, second]))),
        "n_pairs": len(first),
        "simple": simple,
        "learned": learned,
        "difference": None if simple is None or learned is None else learned - simple,
    }


def _check_same(simple: PerturbationMap, learned: PerturbationMap, known: Iterable[KnownPairs]) -> None:
    if simple.names != learned.names:
        n_shared = len(set(simple.names) & set(learned.names))
        msg = (
            f"the maps have {simple.n_perturbations:,} and {learned.n_perturbations:,} perturbations, {n_shared:,} of "
            "them in both: restrict both to these first"
        )
        raise InputError(msg)
    wrong = [source.name for source in known if source.names != simple.names]
    if wrong:
        msg = f"looked up in another map: {listed(wrong)}; call known_pairs with the names of these maps"
        raise InputError(msg)


def _numbers_of(position: Mapping[str, str], names: Sequence[str]) -> Rows:
    """Give each perturbation the number of its position, −1 where it has none."""
    number = {
        label: place for place, label in enumerate(sorted({position[name] for name in names if name in position}))
    }
    if not number:
        msg = (
            f"none of the {len(names):,} perturbations has a position: name them as the map does, such as "
            f"{listed(names[:3])}"
        )
        raise InputError(msg)
    return np.array([number[position[name]] if name in position else -1 for name in names], dtype=np.intp)
