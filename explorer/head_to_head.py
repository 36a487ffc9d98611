"""Let the experiments judge: as many pairs of either map's list as a budget allows, tested blind, then counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.annotated import Annotation, annotate
from explorer.digits import counted
from explorer.errors import InputError
from explorer.known import KnownPairs
from explorer.pair_order import FirstPairs, PairOrder, capped_until, order_pairs, step_of
from explorer.recall import N_DEGREE_BINS, effect_bins, pairs_of_cells
from explorer.relate import TIE_DECIMALS
from explorer.shortlist import (
    COMPLETENESS,
    Expectation,
    ListSide,
    PairFilter,
    Progress,
    ScoredSides,
    allowed_pairs,
    check_completeness,
    check_pairs,
    expect_hits,
    known_rate_curve,
    pairs_alike,
    score_sides,
    unknown_note,
)
from explorer.significance import fisher_exact, sign_flip

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Verdict = Literal["learned finds more", "simple finds more", "not shown", "underpowered", "description only"]
Proposer = Literal["simple", "learned", "both", "background"]

# Caps of either list: pairs of one perturbation, and of one module.
MOST_PER_PERTURBATION = 2
MOST_PER_MODULE = 3
# A module is who is among so many nearest in the mean of both maps.
N_NEAR = 10
# Fewer pairs than this are described; fewer components that differ can't be significant.
FEWEST_PAIRS = 50
FEWEST_DISCORDANT = 6
# Random pairs that say how often the assay hits by itself: this share of the pairs tested, and at least so many.
BACKGROUND_SHARE = 0.1
FEWEST_BACKGROUND = 3
# More failures than this, or failures that hang on who proposed a pair, and nothing is concluded.
MOST_FAILED = 0.2
FAILED_P = 0.1
RESULTS = ("hit", "no hit", "failed")
SIDES: tuple[Literal["simple", "learned"], ...] = ("simple", "learned")
_BLOCK_VALUES = 2**21
_AT_ONCE = 2**12

Rows = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Census:
    """The union of both maps' lists at equal depth, with random pairs beside it: what is tested, all of it.

    Attributes
    ----------
    context, others
        Labels of the context whose maps are compared, and of further ones that were counted in.
    rows
        ``first, second, proposer`` (simple | learned | both | background), ``simple rank, learned rank`` (place in
        that map's list; null where it is not in its first `depth`), ``simple score, learned score`` (normal scores,
        mean over contexts), ``known rate``.
    depth
        Pairs that either map proposes.
    budget
        What was asked for: the union of the two lists is not larger.
    expectation
        Hits to expect among the proposed pairs.
    n_shared, n_exclusive, n_background
        Pairs that both propose, that one alone does (of each as many), and random ones.
    n_components
        Units of the test: exclusive pairs joined by a common perturbation.
    fingerprints, notes
        As in `explorer.shortlist.Shortlist`.
    """

    context: str
    others: tuple[str, ...]
    rows: pl.DataFrame = field(repr=False)
    depth: int
    budget: int
    expectation: Expectation
    n_shared: int
    n_exclusive: int
    n_background: int
    n_components: int
    fingerprints: dict[str, str] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HeadToHead:
    """What the experiments say of the two maps.

    Attributes
    ----------
    verdict, reason
        One of five words, and why.
    delta
        (hits of the learned map's list − hits of the simple one's) / depth; pairs of both cancel.
    low, high, p
        95 % interval of `delta` and p, from random signs of components; NaN where there is none.
    depth, budget
        Pairs of either list, and what was asked for.
    hits_simple, hits_learned
        Hits among the pairs of either list.
    n_components, n_discordant
        Exclusive pairs joined by a common perturbation, and those in which the two maps' hits differ in number.
    contributions
        Hits of the learned map less those of the simple one, of each component.
    background_hits, n_background
        Of the random pairs: what the assay shows by itself.
    n_failed, failed_p
        Pairs without a result, and whether that hangs on who proposed them (Fisher, exclusive pairs).
    """

    verdict: Verdict
    reason: str
    delta: float
    low: float
    high: float
    p: float
    depth: int
    budget: int
    hits_simple: int
    hits_learned: int
    n_components: int
    n_discordant: int
    contributions: tuple[int, ...]
    background_hits: int
    n_background: int
    n_failed: int
    failed_p: float

    @property
    def is_counted(self) -> bool:
        """Whether it may be added up with other lists: nothing went wrong but the size."""
        return self.verdict != "description only"


def take_census(
    here: ListSide,
    others: Sequence[ListSide] = (),
    *,
    known: Sequence[KnownPairs] = (),
    budget: int = 100,
    completeness: Sequence[float] = COMPLETENESS,
    pair_filter: PairFilter | None = None,
    per_module: int = MOST_PER_MODULE,
    seed: int = 0,
    progress: Progress | None = None,
) -> Census:
    """Choose what to test to compare two maps: the front door of *compare*.

    Either map's candidates stand in the order of its own normal scores (mean over contexts), two pairs a perturbation
    and three a module at the most; both lists are cut at the largest depth at which their union keeps to the budget. So
    both propose as many, and pairs of both cancel. Random pairs, like the proposed ones in effect size and number of
    known partners, say how often the assay hits by itself; they come on top of the budget.

    Parameters
    ----------
    here, others, known, completeness, pair_filter, progress
        As in `explorer.shortlist.make_shortlist`.
    budget
        Pairs that both lists may hold together.
    per_module
        Pairs of one module; others than the default are there to check it.
    seed
        Of the random pairs.

    Raises
    ------
    InputError
        As `explorer.shortlist.make_shortlist`, and where the two lists hold no pair.
    """
    say = progress or (lambda _what, _share: None)
    check_pairs(budget)
    shares = check_completeness(completeness)
    scored = score_sides(here, others, say=lambda what, share: say(what, 0.5 * share))
    annotation = annotate(known, scored.names)
    pair_filter = pair_filter or PairFilter()
    allowed = allowed_pairs(pair_filter, scored.names)
    say("who is near whom", 0.5)
    near = _near_each_other(scored)
    lists = []
    for number, side in enumerate(SIDES):
        order = scored.order(side)
        what = f"the {side} map's list"
        say(what, 0.55 + 0.12 * number)
        found, kept = capped_until(
            partial(order_pairs, order, annotation, may_be_listed=allowed),
            partial(_capped, near, per_module=per_module, n_wanted=budget),
            n_wanted=budget,
        )
        lists.append(_codes(found.candidates, kept, n=len(scored.names)))
    depth = census_depth(*lists, budget=budget)
    if depth == 0:
        msg = "no pair is left to compare the maps by: allow a larger budget, or take a filter away"
        raise InputError(msg)
    say("how often pairs this similar are known", 0.8)
    curve_of = order_pairs(scored.order(), annotation, n_first=1)
    draw = partial(_background, scored, annotation, pair_filter, seed=seed)
    rows, components = _census_rows(scored, (lists[0][:depth], lists[1][:depth]), draw)
    scores = _scores_of(scored.order(), rows)
    told = ~np.isnan(scores)
    rate = np.where(told, known_rate_curve(curve_of)[step_of(np.where(told, scores, 0.0))], np.nan)
    rows = rows.with_columns(pl.Series("known rate", rate))
    is_proposed = (rows["proposer"] != "background").to_numpy()
    proposed = rows.filter(is_proposed)
    counts = dict(rows.group_by("proposer").len().iter_rows())
    notes = list(scored.notes)
    unknown = unknown_note(curve_of)
    notes += [unknown] if unknown else []
    if depth == min(map(len, lists)) and proposed.height < budget:
        few = (
            f"; so few pairs tell little, {FEWEST_PAIRS} or more do" if proposed.height < FEWEST_PAIRS <= budget else ""
        )
        notes.append(f"a list ends after {counted(depth, 'pair')}: there are no more under the caps{few}")
    say("done", 1.0)
    return Census(
        context=here.label,
        others=tuple(side.label for side in others),
        rows=rows,
        depth=depth,
        budget=budget,
        expectation=expect_hits(rate[is_proposed], shares, n_alike=pairs_alike(curve_of, scores[is_proposed])),
        n_shared=counts.get("both", 0),
        n_exclusive=counts.get("learned", 0),
        n_background=counts.get("background", 0),
        n_components=components,
        fingerprints=scored.fingerprints,
        notes=tuple(notes),
    )


def census_depth(simple: Sequence[object], learned: Sequence[object], *, budget: int) -> int:
    """Find the largest depth at which the union of two lists keeps to a budget.

    Parameters
    ----------
    simple, learned
        Pairs in order, each once.
    budget
        Pairs of the union.

    Examples
    --------
    >>> census_depth("abcd", "aebf", budget=4)
    3
    """
    depth, together = 0, set[object]()
    for one, other in zip(simple, learned, strict=False):
        together |= {one, other}
        if len(together) > budget:
            break
        depth += 1
    return depth


def judge_census(rows: pl.DataFrame, *, depth: int, budget: int, seed: int = 0, opened_early: str = "") -> HeadToHead:
    """Compare the hits of two maps' lists, once every pair was tested.

    Parameters
    ----------
    rows
        ``first, second, proposer`` (simple | learned | both | background), ``result`` (hit | no hit | failed), one line
        a pair.
    depth, budget
        Of the census.
    seed
        Of the signs, where more than 12 components differ.
    opened_early
        Why the test was not blind; empty where it was.

    Returns
    -------
    HeadToHead
        The unit is a component of exclusive pairs joined by a common perturbation, since such pairs rise and fall
        together; its contribution the learned map's hits less the simple one's.

    Raises
    ------
    InputError
        When a proposer or a result is another word.

    References
    ----------
    Fisher 1935, The Design of Experiments (random signs; the exact test of failures).
    """
    for column, words in (("proposer", ("simple", "learned", "both", "background")), ("result", RESULTS)):
        wrong = rows.filter(~pl.col(column).is_in(words).fill_null(value=False))[column]
        if len(wrong):
            msg = f"{column} {wrong[0]!r} is none of {', '.join(words)}"
            raise InputError(msg)
    hit = (rows["result"] == "hit").to_numpy()
    failed = (rows["result"] == "failed").to_numpy()
    proposer = rows["proposer"].to_numpy()
    simple, learned, both, background = (proposer == word for word in ("simple", "learned", "both", "background"))
    exclusive = np.flatnonzero(simple | learned)
    component = _components(rows["first"].to_list(), rows["second"].to_list(), exclusive)
    credit = hit[exclusive].astype(np.int64) * np.where(learned[exclusive], 1, -1)
    contributions = np.bincount(component, weights=credit, minlength=int(component.max(initial=-1)) + 1)
    test = sign_flip(contributions, seed=seed)
    scale = test.n_units / depth if test.n_units else float("nan")
    failed_p = fisher_exact([[int((failed == what)[who].sum()) for what in (True, False)] for who in (learned, simple)])
    found = HeadToHead(
        verdict="not shown",
        reason="",
        delta=float(contributions.sum()) / depth,
        low=test.low * scale,
        high=test.high * scale,
        p=test.p,
        depth=depth,
        budget=budget,
        hits_simple=int(hit[simple | both].sum()),
        hits_learned=int(hit[learned | both].sum()),
        n_components=test.n_units,
        n_discordant=test.n_discordant,
        contributions=tuple(int(value) for value in contributions.tolist()),
        background_hits=int(hit[background].sum()),
        n_background=int(background.sum()),
        n_failed=int(failed.sum()),
        failed_p=failed_p,
    )
    verdict, reason = _decide(found, n_rows=rows.height, opened_early=opened_early)
    return replace(found, verdict=verdict, reason=reason)


def _decide(found: HeadToHead, *, n_rows: int, opened_early: str) -> tuple[Verdict, str]:
    if opened_early:
        return "description only", f"the test was not blind: {opened_early}"
    if found.n_failed > MOST_FAILED * n_rows:
        return (
            "description only",
            f"{found.n_failed} of {n_rows} pairs failed, more than {MOST_FAILED:.0%}: what is left is a choice",
        )
    if found.failed_p < FAILED_P:
        return (
            "description only",
            f"whether a pair failed hangs on the map that proposed it (Fisher p {found.failed_p:.2g}), so what is left "
            "favours one of them",
        )
    if found.budget < FEWEST_PAIRS:
        return "description only", f"a budget of {found.budget} pairs tells no difference: {FEWEST_PAIRS} or more do"
    if found.n_discordant < FEWEST_DISCORDANT:
        return (
            "underpowered",
            f"the maps' hits differ in {counted(found.n_discordant, 'component')}, {FEWEST_DISCORDANT} are needed for "
            "any verdict",
        )
    interval = f"{found.delta:+.3f} of the pairs tested, 95 % interval {found.low:+.3f} to {found.high:+.3f}"
    if found.low > 0:
        return "learned finds more", interval
    if found.high < 0:
        return "simple finds more", interval
    return "not shown", interval


def _components(first: Sequence[str], second: Sequence[str], places: Rows) -> Rows:
    """Count off components: pairs with a perturbation in common are joined."""
    from scipy import sparse

    if not len(places):
        return np.zeros(0, dtype=np.intp)
    ends = [(first[place], second[place]) for place in places.tolist()]
    number = {name: row for row, name in enumerate(sorted({name for pair in ends for name in pair}))}
    one, other = (np.array([number[pair[side]] for pair in ends]) for side in (0, 1))
    graph = sparse.csr_matrix((np.ones(len(one)), (one, other)), shape=(len(number), len(number)))
    _, component = sparse.csgraph.connected_components(graph, directed=False)
    return np.asarray(np.unique(component[one], return_inverse=True)[1], dtype=np.intp)


def _near_each_other(scored: ScoredSides) -> csr_matrix:
    """Tell who is among the nearest of whom in the mean of both maps, either way; everybody is near itself."""
    from scipy import sparse

    n = len(scored.names)
    orders = (scored.order("simple"), scored.order("learned"))
    height, k = max(1, _BLOCK_VALUES // n), min(N_NEAR, n)
    near = [np.tile(np.arange(n), (2, 1))]
    for start in range(0, n, height):
        rows = np.arange(start, min(n, start + height))
        scores = np.nan_to_num(orders[0].rows(rows) + orders[1].rows(rows), nan=-np.inf)
        least = np.partition(scores, n - k, axis=1)[:, n - k][:, None]
        above, equal = scores > least, scores == least
        # Of those that tie for the last places, the first by name.
        left = k - above.sum(axis=1)[:, None]
        line, other = np.nonzero((above | (equal & (np.cumsum(equal, axis=1) <= left))) & np.isfinite(scores))
        near.append(np.stack([rows[line], other]))
    one, other = np.concatenate(near, axis=1)
    is_near = sparse.csr_matrix((np.ones(len(one), dtype=np.int8), (one, other)), shape=(n, n))
    return sparse.csr_matrix(is_near + is_near.T)


def _capped(near: csr_matrix, pairs: FirstPairs, *, per_module: int, n_wanted: int) -> Rows:
    """Go down a list; pass over pairs whose perturbations or module stand in it often enough.

    A pair of which no member is near one of a pair that leads a module leads a new one; another is of the first module
    that it is near.
    """
    n, unset = near.shape[0], near.shape[0]
    used = np.zeros(n, dtype=np.intp)
    # First module that each perturbation is near, and pairs of each module; nobody is near the last, which is empty.
    module, sizes = np.full(n, unset), np.zeros(unset + 1, dtype=np.intp)
    n_modules, kept = 0, list[int]()
    for start in range(0, len(pairs.first), _AT_ONCE):
        first, second = pairs.first[start : start + _AT_ONCE], pairs.second[start : start + _AT_ONCE]
        # What is passed over once is so further down the list too: few of many pairs are looked at one by one.
        able = np.maximum(used[first], used[second]) < MOST_PER_PERTURBATION
        able &= sizes[np.minimum(module[first], module[second])] < per_module
        for place in np.flatnonzero(able).tolist():
            if len(kept) >= n_wanted:
                return np.array(kept, dtype=np.intp)
            pair = [int(first[place]), int(second[place])]
            own = int(module[pair].min())
            if used[pair].max() >= MOST_PER_PERTURBATION or sizes[own] >= per_module:
                continue
            if own == unset:
                own, n_modules = n_modules, n_modules + 1
                joined = near[pair].indices
                module[joined] = np.minimum(module[joined], own)
            sizes[own] += 1
            used[pair] += 1
            kept.append(start + place)
    return np.array(kept, dtype=np.intp)


def _codes(pairs: FirstPairs, kept: Rows, *, n: int) -> list[int]:
    return [int(code) for code in (pairs.first[kept] * n + pairs.second[kept]).tolist()]


def _census_rows(
    scored: ScoredSides, lists: tuple[list[int], list[int]], draw: Callable[[tuple[Rows, Rows]], tuple[Rows, Rows]]
) -> tuple[pl.DataFrame, int]:
    """Put the proposed pairs and the random ones into one table; and count the components of exclusive pairs."""
    n = len(scored.names)
    places = [{code: place for place, code in enumerate(codes, start=1)} for codes in lists]
    union = list(dict.fromkeys([code for both in zip(*lists, strict=True) for code in both]))
    first, second = np.divmod(np.array(union, dtype=np.intp), n)
    random = draw((first, second))
    first, second = np.r_[first, random[0]], np.r_[second, random[1]]
    words = [
        "both" if code in places[0] and code in places[1] else "simple" if code in places[0] else "learned"
        for code in union
    ] + ["background"] * len(random[0])
    columns: dict[str, object] = {
        "first": pl.Series([scored.names[row] for row in first.tolist()], dtype=pl.String),
        "second": pl.Series([scored.names[row] for row in second.tolist()], dtype=pl.String),
        "proposer": pl.Series(words, dtype=pl.String),
    }
    for side, place in zip(SIDES, places, strict=True):
        ranks = [place.get(code) for code in union] + [None] * len(random[0])
        columns[f"{side} rank"] = pl.Series(ranks, dtype=pl.Int64)
    for side in SIDES:
        columns[f"{side} score"] = np.round(scored.order(side).of(first, second), TIE_DECIMALS)
    table = pl.DataFrame(columns)
    exclusive = np.flatnonzero(table["proposer"].is_in(["simple", "learned"]).to_numpy())
    components = _components(table["first"].to_list(), table["second"].to_list(), exclusive)
    return table, int(components.max(initial=-1)) + 1


def _background(
    scored: ScoredSides, annotation: Annotation, pair_filter: PairFilter, union: tuple[Rows, Rows], *, seed: int
) -> tuple[Rows, Rows]:
    """Draw random candidates whose members are like those of proposed pairs in effect size and known partners.

    Nobody is left out of the list and in here; and a pair like one with a perturbation of interest has one too.
    """
    n_wanted = max(FEWEST_BACKGROUND, round(BACKGROUND_SHARE * len(union[0])))
    rng = np.random.default_rng(seed)
    effect = effect_bins(scored.contexts[0][0].perturbation_map.norms)
    degree = annotation.degree
    edges = np.quantile(degree, np.arange(1, N_DEGREE_BINS) / N_DEGREE_BINS)
    cell = effect * N_DEGREE_BINS + np.searchsorted(edges, degree, side="left")
    n = len(scored.names)
    taken = np.unique(union[0].astype(np.int64) * n + union[1])
    able = np.flatnonzero([name not in pair_filter.left_out for name in scored.names])
    wanted = np.array([name in pair_filter.interest for name in scored.names], dtype=np.intp)
    either = scored.order()
    first, second = np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp)
    # Like a proposed pair each; matched on less where nobody is left.
    for cells in (cell, effect, np.zeros_like(effect)):
        for _ in range(50):
            if len(first) >= n_wanted:
                break
            like = rng.integers(len(union[0]), size=n_wanted)
            pairs = union[0][like], union[1][like]
            one, other = pairs_of_cells(2 * cells + wanted, able, pairs, taken=taken, rng=rng)
            found = one >= 0
            low, high = np.minimum(one, other)[found], np.maximum(one, other)[found]
            fresh = ~(annotation.known(low, high) | annotation.apart(low, high) | np.isnan(either.of(low, high)))
            code = low[fresh].astype(np.int64) * n + high[fresh]
            _, place = np.unique(code, return_index=True)
            place = np.sort(place)[: n_wanted - len(first)]
            first, second = np.r_[first, low[fresh][place]], np.r_[second, high[fresh][place]]
            taken = np.unique(np.r_[taken, code[place]])
    return first, second


def _scores_of(order: PairOrder, rows: pl.DataFrame) -> npt.NDArray[np.float64]:
    """Scores of pairs by name in an order, NaN where there is none."""
    place = {name: row for row, name in enumerate(order.names)}
    first, second = (
        np.array([place[name] for name in rows[side].to_list()], dtype=np.intp) for side in ("first", "second")
    )
    return order.of(first, second)
