"""What to test next: the most similar pairs that nobody knows yet, and how many of them to expect to be hits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.aggregate import PerturbationMap
from explorer.annotated import annotate
from explorer.digits import counted
from explorer.errors import InputError, listed, nearest_names, shown
from explorer.known import KnownPairs
from explorer.pair_order import (
    EITHER,
    N_STEPS,
    FirstPairs,
    Order,
    Ordered,
    PairOrder,
    capped,
    capped_until,
    order_pairs,
    step_of,
)
from explorer.pair_scores import PairScores, score_pairs
from explorer.relate import TIE_DECIMALS
from explorer.reliability import isotonic_share

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

DEFAULT_BUDGET = 50
MOST_BUDGET = 2_000
# Pairs of one perturbation in a list: more would test one perturbation, and not the map.
MOST_PER_PERTURBATION = 3
# Shares of the truth that the annotation may hold, where nobody states another: nobody knows it.
COMPLETENESS = (0.7, 0.5, 0.4)
# The known rate is a curve over the most similar pairs; further down there is nothing to list.
TOP_SHARE = 0.1
# A share of fewer known pairs than these is chance.
FEWEST_KNOWN = 10
# Where strong biology was annotated first, what is left is weaker than what is known (measured: half as many hits).
STRONG_FIRST = 0.5
# A stated share is contradicted by a known rate that exceeds it by so many standard errors; pairs of one complex come
# together, so fewer would contradict shares that are right.
_LEAST_CONTRADICTION = 3.0

Rows = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True, eq=False)
class ListSide:
    """One context as it enters a list.

    Attributes
    ----------
    label
        What to call it.
    simple, learned
        Its two maps.
    """

    label: str
    simple: PerturbationMap
    learned: PerturbationMap


@dataclass(frozen=True, slots=True)
class Expectation:
    """How many pairs of a list to expect to be hits, for what the annotation may hold of the truth.

    Attributes
    ----------
    n_rows
        Pairs of the list.
    known_rate
        Share of all pairs this similar that are known, mean over the list; NaN where nothing is known.
    completeness
        Shares of the truth that the annotation may hold.
    expected
        Hits for each, were what is annotated a random part of the truth; NaN where nothing is known, and where the
        share can't be: of pairs this similar more are known already than it allows, and more than all would be true.
    n_alike
        All pairs, known or not, that are at least as similar as the last of the list; 0 where they were not counted.
    """

    n_rows: int
    known_rate: float
    completeness: tuple[float, ...]
    expected: tuple[float, ...]
    n_alike: int = 0


@dataclass(frozen=True, slots=True)
class PairFilter:
    """Which pairs may be listed; it changes neither the order nor the known rate.

    Attributes
    ----------
    left_out
        Perturbations that may stand in no pair, such as those that are not active.
    interest
        Perturbations of which one must stand in a pair; empty for no such wish.
    only
        Pairs that may be listed, such as those that hold elsewhere; None for all.
    excluded
        Pairs that may not, such as a perturbation and a combination of it with another.
    said
        What was asked for, in words, for a message where no pair is left.
    """

    left_out: frozenset[str] = frozenset()
    interest: frozenset[str] = frozenset()
    only: frozenset[tuple[str, str]] | None = None
    excluded: frozenset[tuple[str, str]] = frozenset()
    said: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Shortlist:
    """Pairs to test next, the best first.

    Attributes
    ----------
    context, others
        Labels of the context whose maps are asked, and of further ones that were counted in.
    rows
        ``rank, first, second, score, proposer`` (simple | learned | both: whose score is the larger one), ``simple
        score, learned score`` (normal scores in the context), ``known rate``; and ``L: simple score, L: learned score``
        of every further context L.
    apart
        The same of the first pairs that are annotated apart: not listed, since a source says otherwise.
    expectation
        Hits to expect.
    budget, order, per_perturbation
        What was asked for.
    n_perturbations, n_pairs, n_known, n_apart, n_candidates
        Of the maps: pairs with a score, known ones, those annotated apart and candidates that the filter leaves.
    fingerprints
        Recipes of the maps, by ``label: simple`` and ``label: learned``.
    notes
        What the reader must know.
    """

    context: str
    others: tuple[str, ...]
    rows: pl.DataFrame = field(repr=False)
    apart: pl.DataFrame = field(repr=False)
    expectation: Expectation
    budget: int
    order: Order
    per_perturbation: int
    n_perturbations: int
    n_pairs: int
    n_known: int
    n_apart: int
    n_candidates: int
    fingerprints: Mapping[str, str] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ScoredSides:
    """Maps of one or several contexts on their common perturbations, with the scores of their pairs.

    Attributes
    ----------
    labels
        The context asked first, then the others.
    contexts
        Scores of the simple and of the learned map of each.
    notes
        Perturbations that were left out.
    """

    labels: tuple[str, ...]
    contexts: tuple[tuple[PairScores, PairScores], ...] = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Perturbations of all maps, sorted."""
        return self.contexts[0][0].names

    @property
    def fingerprints(self) -> dict[str, str]:
        """Recipes of the maps."""
        return {
            f"{label}: {side}": scores.perturbation_map.fingerprint
            for label, pair in zip(self.labels, self.contexts, strict=True)
            for side, scores in zip(("simple", "learned"), pair, strict=True)
        }

    def order(self, order: Order = EITHER) -> PairOrder:
        """Put all pairs in an order."""
        return PairOrder(self.contexts, order)


def score_sides(here: ListSide, others: Sequence[ListSide] = (), *, say: Progress | None = None) -> ScoredSides:
    """Score all pairs of the maps of one or several contexts, on the perturbations that all of them have.

    Raises
    ------
    InputError
        When labels repeat, or fewer than three perturbations are in all maps.
    """
    sides = (here, *others)
    labels = [side.label for side in sides]
    if len(set(labels)) < len(labels):
        twice = listed(dict.fromkeys(label for label in labels if labels.count(label) > 1))
        msg = f"contexts are called alike: {twice}; take different ones, and give each a label of its own"
        raise InputError(msg)
    maps = [side_map for side in sides for side_map in (side.simple, side.learned)]
    shared = set(maps[0].names).intersection(*(one.names for one in maps[1:]))
    if len(shared) < 3:
        msg = f"{len(shared)} perturbations are in all maps, a list takes 3 or more: do they name perturbations alike?"
        raise InputError(msg)
    notes = [
        f"{counted(len(set(side.simple.names) | set(side.learned.names)) - len(shared), 'perturbation')} of "
        f"{side.label} left out: not in all maps"
        for side in sides
        if len(set(side.simple.names) | set(side.learned.names)) > len(shared)
    ]
    scored = []
    for number, one in enumerate(maps):
        if say is not None:
            say(f"scores of all pairs in {one.recipe.representation} of {labels[number // 2]}", number / len(maps))
        scored.append(score_pairs(one if len(one.names) == len(shared) else one.restricted_to(shared)))
    return ScoredSides(
        tuple(labels), tuple((scored[place], scored[place + 1]) for place in range(0, len(scored), 2)), tuple(notes)
    )


def make_shortlist(
    here: ListSide,
    others: Sequence[ListSide] = (),
    *,
    known: Sequence[KnownPairs] = (),
    budget: int = DEFAULT_BUDGET,
    completeness: Sequence[float] = COMPLETENESS,
    pair_filter: PairFilter | None = None,
    order: Order = EITHER,
    per_perturbation: int = MOST_PER_PERTURBATION,
    progress: Progress | None = None,
) -> Shortlist:
    """List the pairs to test next: the front door of *discover*.

    Candidates are undirected pairs that no source knows and none annotates apart. They stand in the order of the
    larger of both maps' normal scores (cosine less crowding, see `explorer.pair_scores.score_pairs`); with further
    contexts, of its mean over contexts, since a second context is worth more than any score. A perturbation stands in
    three pairs at the most, but for those of interest.

    Parameters
    ----------
    here, others
        The context whose maps are asked, and further ones.
    known
        Known pairs and groups, looked up in any map.
    budget
        Pairs to list, 1 to 2,000.
    completeness
        Shares of the truth that the annotation may hold, above 0 and at most 1.
    pair_filter
        Which pairs may be listed; all candidates without it.
    order, per_perturbation
        As in `Shortlist`; others than the default are there to check it.
    progress
        Told what is done, and what share of the whole is behind; it may raise, to cancel.

    Returns
    -------
    Shortlist
        Fewer pairs than the budget where there are no more.

    Raises
    ------
    InputError
        When the budget or a completeness is out of range, a perturbation of interest is unknown, maps share too few
        perturbations, or no pair is left.
    """
    say = progress or (lambda _what, _share: None)
    check_pairs(budget)
    shares = check_completeness(completeness)
    scored = score_sides(here, others, say=lambda what, share: say(what, 0.6 * share))
    annotation = annotate(known, scored.names)
    allowed = allowed_pairs(pair_filter or PairFilter(), scored.names)
    pairs = scored.order(order)
    # Whose pairs were asked for stands in as many as there are.
    wished = (pair_filter or PairFilter()).interest
    free = frozenset(row for row, name in enumerate(scored.names) if name in wished)
    say("the pairs in order", 0.6)
    found, kept = capped_until(
        lambda n_first: order_pairs(
            pairs,
            annotation,
            n_first=n_first,
            n_apart=20 * budget,
            may_be_listed=allowed,
            say=lambda share: say("the pairs in order", 0.6 + 0.4 * share),
        ),
        lambda first: capped(first.first, first.second, most=per_perturbation, n_wanted=budget, free=free),
        n_wanted=budget,
    )
    if not len(kept):
        raise InputError(_none_left(found, pair_filter))
    apart = capped(found.apart.first, found.apart.second, most=per_perturbation, n_wanted=budget)
    curve = known_rate_curve(found)
    rows = _row_table(scored, found.candidates, kept, curve=curve)
    say("done", 1.0)
    return Shortlist(
        context=here.label,
        others=tuple(side.label for side in others),
        rows=rows,
        apart=_row_table(scored, found.apart, apart, curve=curve),
        expectation=expect_hits(
            rows["known rate"].to_numpy(), shares, n_alike=pairs_alike(found, found.candidates.scores[kept])
        ),
        budget=budget,
        order=order,
        per_perturbation=per_perturbation,
        n_perturbations=len(scored.names),
        n_pairs=int(found.n_pairs.sum()),
        n_known=int(found.n_known.sum()),
        n_apart=found.n_apart,
        n_candidates=found.n_candidates,
        fingerprints=scored.fingerprints,
        notes=(*scored.notes, *_notes(found, kept, budget=budget, per_perturbation=per_perturbation)),
    )


def expected_hits_of_rate(known_rate: npt.ArrayLike, completeness: float) -> Floats:
    """Say how many hits a pair adds to the expectation: of true pairs this similar, those not annotated yet.

    ``min(1, (1 − c) / c · r / (1 − r))``: of all pairs this similar r are annotated, which are c of the true ones. It
    is a term of a sum over a list and no probability of the pair.

    Parameters
    ----------
    known_rate
        r, share of all pairs this similar that are known, any shape; NaN where nothing is known.
    completeness
        c, share of the true pairs that are annotated, were annotation random.

    Returns
    -------
    numpy.ndarray
        Of the shape of `known_rate`.
    """
    rate = np.asarray(known_rate, dtype=np.float64)
    with np.errstate(divide="ignore"):
        odds = np.where(rate < 1, rate / np.where(rate < 1, 1 - rate, 1.0), np.inf)
    # Everything is annotated: none is left, however similar.
    return np.where(np.isnan(rate), np.nan, 0.0 if completeness >= 1 else np.minimum(1.0, _odds(completeness) * odds))


def expect_hits(known_rate: npt.ArrayLike, completeness: Sequence[float], *, n_alike: int = 0) -> Expectation:
    """Sum the expectation of a list up, for each completeness.

    Parameters
    ----------
    known_rate
        Share of all pairs as similar as each of the list that are known, shape (n_rows,).
    completeness
        Shares of the truth that the annotation may hold.
    n_alike
        All pairs that are at least as similar as the last of the list. Where they are given, a share gets no number of
        hits that the mean known rate exceeds by more than three standard errors of so many pairs.
    """
    rate = np.asarray(known_rate, dtype=np.float64)
    mean = float(rate.mean()) if len(rate) else float("nan")
    spread = [
        _LEAST_CONTRADICTION * np.sqrt(share * (1 - share) / n_alike) if n_alike else np.inf for share in completeness
    ]
    return Expectation(
        n_rows=len(rate),
        known_rate=mean,
        completeness=tuple(completeness),
        expected=tuple(
            float("nan") if mean - share > most else float(expected_hits_of_rate(rate, share).sum())
            for share, most in zip(completeness, spread, strict=True)
        ),
        n_alike=n_alike,
    )


def pairs_alike(found: Ordered, scores: Floats) -> int:
    """Count all pairs, known or not, that score at least as high as the least of some scores."""
    told = scores[~np.isnan(scores)]
    return int(found.n_pairs[step_of(told.min()) :].sum()) if len(told) else 0


def _odds(completeness: float) -> float:
    return (1 - completeness) / completeness


def check_pairs(budget: object) -> int:
    """Check a number of pairs to test.

    Raises
    ------
    InputError
        When it is no whole number from 1 to 2,000.
    """
    if isinstance(budget, bool) or not isinstance(budget, int) or not 1 <= budget <= MOST_BUDGET:
        msg = f"a list of {shown(budget)} pairs can't be made: choose a whole number from 1 to {MOST_BUDGET:,}"
        raise InputError(msg)
    return budget


def check_completeness(shares: Sequence[object]) -> tuple[float, ...]:
    """Check what share of the truth an annotation may hold.

    Raises
    ------
    InputError
        When there is none, more than five, or one is not above 0 and at most 1.
    """
    good = [
        float(share)
        for share in shares
        if isinstance(share, int | float) and not isinstance(share, bool) and 0 < share <= 1
    ]
    if len(good) < len(shares) or not 1 <= len(good) <= 5:
        msg = (
            f"completeness {listed(shares)}: expected one to five shares of the truth that the annotation may hold, "
            "each above 0 and at most 1, such as 0.5"
        )
        raise InputError(msg)
    return tuple(good)


def allowed_pairs(pair_filter: PairFilter, names: Sequence[str]) -> Callable[[int, int], Flags] | None:
    """Say block by block which pairs a filter lets pass; None where it lets all pass.

    Raises
    ------
    InputError
        When perturbations of interest are given and none is in the maps; the nearest names are given.
    """
    if not allowed_anything(pair_filter):
        return None
    place = {name: row for row, name in enumerate(names)}
    wanted = {name for name in pair_filter.interest if name in place}
    if pair_filter.interest and not wanted:
        asked = min(pair_filter.interest)
        near = nearest_names(asked, names)
        hint = f"did you mean {' or '.join(shown(name) for name in near)}?" if near else "check how they are written"
        msg = f"none of the perturbations of interest is in the maps, {shown(asked)} for one: {hint}"
        raise InputError(msg)
    is_in = np.array([name not in pair_filter.left_out for name in names])
    is_wanted = np.array([name in wanted for name in names]) if wanted else np.ones(len(names), dtype=bool)
    only = None if pair_filter.only is None else _pair_matrix(pair_filter.only, names)
    excluded = _pair_matrix(pair_filter.excluded, names) if pair_filter.excluded else None

    def block(start: int, stop: int) -> Flags:
        able = is_in[start:stop, None] & is_in[None, start:]
        able &= is_wanted[start:stop, None] | is_wanted[None, start:]
        if only is not None:
            able &= only[start:stop, start:].toarray()
        if excluded is not None:
            able &= ~excluded[start:stop, start:].toarray()
        return np.asarray(able)

    return block


def allowed_anything(pair_filter: PairFilter) -> bool:
    """Whether a filter leaves anything out."""
    asked = pair_filter.left_out or pair_filter.interest or pair_filter.excluded
    return bool(asked) or pair_filter.only is not None


def _pair_matrix(pairs: frozenset[tuple[str, str]], names: Sequence[str]) -> csr_matrix:
    """Mark pairs by name in the upper triangle; those that the maps have not are passed over."""
    from scipy import sparse

    place = {name: row for row, name in enumerate(names)}
    here = [(place[one], place[other]) for one, other in pairs if one in place and other in place]
    ends = np.array(here, dtype=np.intp).reshape(-1, 2)
    ends.sort(axis=1)
    return sparse.csr_matrix((np.ones(len(ends), dtype=bool), (ends[:, 0], ends[:, 1])), shape=(len(names),) * 2)


def known_rate_curve(found: Ordered) -> Floats:
    """Share of all pairs at a step of the score that are known, isotonic over the most similar tenth of them.

    Returns
    -------
    numpy.ndarray
        Shape (n_steps,), see `explorer.pair_order.step_of`; below that tenth it stays at its lowest value, NaN where
        fewer than ten pairs are known.

    References
    ----------
    Zadrozny and Elkan 2002, doi:10.1145/775047.775151 (isotonic calibration).
    """
    if found.n_known.sum() < FEWEST_KNOWN:
        return np.full(N_STEPS, np.nan)
    at_least = np.cumsum(found.n_pairs[::-1])[::-1]
    # The step at which the tenth is full, or the highest that has a pair.
    from_step = int(np.flatnonzero(at_least >= min(TOP_SHARE * at_least[0], at_least[0]))[-1])
    curve = np.empty(N_STEPS)
    curve[from_step:] = isotonic_share(found.n_pairs[from_step:], found.n_known[from_step:])
    curve[:from_step] = curve[from_step]
    return curve


def unknown_note(found: Ordered) -> str:
    """Say why no number of hits can be expected; empty where one can."""
    n_known = int(found.n_known.sum())
    if n_known == 0:
        return "nothing is known of these perturbations, so no number of hits can be expected"
    if n_known < FEWEST_KNOWN:
        return (
            f"{counted(n_known, 'pair')} {'is' if n_known == 1 else 'are'} known and not listed again, too few to say "
            f"how many hits to expect: that takes {FEWEST_KNOWN} known pairs"
        )
    return ""


def _row_table(scored: ScoredSides, pairs: FirstPairs, kept: Rows, *, curve: Floats) -> pl.DataFrame:
    first, second = pairs.first[kept], pairs.second[kept]
    names = scored.names
    columns: dict[str, object] = {
        "rank": np.arange(1, len(kept) + 1),
        "first": pl.Series([names[row] for row in first.tolist()], dtype=pl.String),
        "second": pl.Series([names[row] for row in second.tolist()], dtype=pl.String),
        "score": np.round(pairs.scores[kept], TIE_DECIMALS),
    }
    each = [
        (label, side, np.round(scores.normal_scores(first, second), TIE_DECIMALS))
        for label, both in zip(scored.labels, scored.contexts, strict=True)
        for side, scores in zip(("simple", "learned"), both, strict=True)
    ]
    simple, learned = (
        np.mean([np.nan_to_num(values, nan=-np.inf) for _, side, values in each if side == wanted], axis=0)
        for wanted in ("simple", "learned")
    )
    proposer = np.where(simple > learned, "simple", np.where(learned > simple, "learned", "both"))
    columns["proposer"] = pl.Series(proposer.tolist(), dtype=pl.String)
    for label, side, values in each:
        columns[f"{side} score" if label == scored.labels[0] else f"{label}: {side} score"] = values
    columns["known rate"] = curve[step_of(pairs.scores[kept])]
    table = pl.DataFrame(columns)
    order = ["rank", "first", "second", "score", "proposer", "simple score", "learned score", "known rate"]
    return table.select(*order, *(name for name in table.columns if name not in order))


def _none_left(found: Ordered, pair_filter: PairFilter | None) -> str:
    if pair_filter is not None and allowed_anything(pair_filter):
        said = f" ({'; '.join(pair_filter.said)})" if pair_filter.said else ""
        return f"no pair is left under these filters{said}: take one of them away"
    if found.n_apart:
        return (
            f"every pair is known or annotated apart ({found.n_apart:,} apart): give sources that hold fewer "
            "perturbations, or pairs without groups"
        )
    return "every pair is known already: give other sources of known pairs"


def _notes(found: Ordered, kept: Rows, *, budget: int, per_perturbation: int) -> list[str]:
    notes = []
    if len(kept) < budget:
        notes.append(
            f"only {counted(len(kept), 'pair')} of the {budget:,} asked for can be listed: there are "
            f"{counted(found.n_candidates, 'candidate')}, and a perturbation stands in {per_perturbation} at the most"
        )
    unknown = unknown_note(found)
    notes += [unknown] if unknown else []
    at_least = np.cumsum(found.n_pairs[::-1])[::-1]
    below = int((at_least[step_of(found.candidates.scores[kept])] > TOP_SHARE * at_least[0]).sum())
    if below:
        notes.append(
            f"{counted(below, 'pair')} of the list {'is' if below == 1 else 'are'} not among the most similar "
            f"{TOP_SHARE:.0%} of all"
            + (
                ""
                if unknown
                else "; the known rate there is taken to be that of the last which is, so fewer hits are to "
                "be expected of them"
            )
        )
    return notes
