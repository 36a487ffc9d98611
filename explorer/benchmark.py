"""What stands beside a recall: its strata, how well replicates repeat, and what noise allows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.activity import ACTIVE_Q, Activity
from explorer.aggregate import PerturbationMap
from explorer.errors import InputError, listed
from explorer.known import KnownPairs
from explorer.proximity import FEWEST_PAIRS, arm_numbers
from explorer.relate import TIE_DECIMALS, check_k
from explorer.significance import sign_flip
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
REPLICATES_SCHEMA = {
    "measure": pl.String,
    "n_perturbations": pl.Int64,
    "simple": pl.Float64,
    "learned": pl.Float64,
    "difference": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "p": pl.Float64,
}


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
    arms = None if position is None else arm_numbers(position, simple.names)
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


def replicate_scores(simple: Activity, learned: Activity, *, seed: int = 0) -> pl.DataFrame:
    """Compare how well the replicates of a perturbation repeat in two representations.

    Each perturbation that is judged in both is a unit: all of its replicates count once. Perturbations with a common
    effect are not independent, so the interval is for this list of perturbations, and no verdict hangs on it.

    Parameters
    ----------
    simple, learned
        Activity in both, judged in the same alignment.
    seed
        Of the signs.

    Returns
    -------
    polars.DataFrame
        ``measure, n_perturbations, simple, learned, difference, low, high, p``: means of *replicate consistency* and of
        *average precision above chance* (0 by chance, 1 at best), and the *share active* (q below 0.1), with 95 %
        sign-flip intervals of learned − simple. A measure that is defined for no perturbation of both is left out.

    Raises
    ------
    InputError
        When activity was judged in different alignments.
    """
    if simple.alignment != learned.alignment:
        msg = f"activity was judged in {simple.alignment!r} and in {learned.alignment!r}: judge both in the same"
        raise InputError(msg)
    columns = {
        "replicate consistency": pl.col("consistency"),
        "average precision above chance": pl.col("normalized_average_precision"),
        "share active": pl.when(pl.col("q").is_not_nan()).then((pl.col("q") < ACTIVE_Q).cast(pl.Float64)),
    }
    both = simple.table.select("perturbation", **columns).join(
        learned.table.select("perturbation", **columns), on="perturbation", suffix=" learned"
    )
    lines = []
    for name in columns:
        pair = both.select(one=name, other=f"{name} learned").fill_nan(None).drop_nulls()
        if not pair.height:
            continue
        low, high = pair["one"].to_numpy(), pair["other"].to_numpy()
        test = sign_flip(high - low, seed=seed)
        means = float(low.mean()), float(high.mean())
        lines.append((name, pair.height, *means, test.estimate, test.low, test.high, test.p))
    return pl.DataFrame(lines, schema=REPLICATES_SCHEMA, orient="row")


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
