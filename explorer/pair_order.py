"""All pairs of some maps in one order, and the first of those that may be listed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from explorer.annotated import Annotation
from explorer.errors import unknown_name
from explorer.pair_scores import PairScores, row_blocks

Order = Literal["either map", "both maps", "simple", "learned", "learned minus simple"]
ORDERS: tuple[Order, ...] = get_args(Order)
EITHER: Order = "either map"

# Scores are counted on this grid; normal scores of 10¹² pairs stay below 8, and so do their differences below 16.
_STEPS = 1_000
_FARTHEST = 16
N_STEPS = 2 * _FARTHEST * _STEPS + 1

Rows = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class PairOrder:
    """How all pairs are ordered: by the mean over contexts of what the maps of each say.

    Attributes
    ----------
    contexts
        The simple and the learned map of each context, all of the same perturbations.
    order
        ``either map``: the larger of both normal scores; ``both maps``: the smaller; one of them alone; or their
        difference. All but the first are there so that the choice can be checked.
    """

    contexts: tuple[tuple[PairScores, PairScores], ...] = field(repr=False)
    order: Order = EITHER

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            msg = "order"
            raise unknown_name(msg, self.order, ORDERS)

    @property
    def names(self) -> tuple[str, ...]:
        """Perturbations of the maps, sorted."""
        return self.contexts[0][0].names

    def block(self, start: int, stop: int) -> Floats:
        """Scores of rows with themselves and all later rows, as `PairScores.normal_block`."""
        return self._combined(lambda scores: scores.normal_block(start, stop))

    def rows(self, rows: Rows) -> Floats:
        """Scores of some perturbations with all, as `PairScores.normal_rows`."""
        return self._combined(lambda scores: scores.normal_rows(rows))

    def of(self, first: Rows, second: Rows) -> Floats:
        """Scores of pairs of rows, shape (n_pairs,); NaN where a context has none."""
        return self._combined(lambda scores: scores.normal_scores(first, second))

    def _combined(self, values: Callable[[PairScores], Floats]) -> Floats:
        total: Floats | None = None
        for simple, learned in self.contexts:
            if self.order == "simple":
                found = values(simple)
            elif self.order == "learned":
                found = values(learned)
            elif self.order == "both maps":
                found = np.minimum(values(simple), values(learned))
            elif self.order == "either map":
                # A map in which a profile has no length says nothing of its pairs.
                found = np.fmax(values(simple), values(learned))
            else:
                found = values(learned) - values(simple)
            total = found if total is None else total + found
        assert total is not None, "an order has a context"
        return total / len(self.contexts)


@dataclass(frozen=True, slots=True, eq=False)
class FirstPairs:
    """The first pairs in an order, those not to be listed left out; equal scores stand in the order of names.

    Attributes
    ----------
    first, second
        Rows, ``first < second``, shape (n_found,).
    scores
        Shape (n_found,), descending.
    is_all
        Whether there are no further ones.
    """

    first: Rows
    second: Rows
    scores: Floats
    is_all: bool


@dataclass(frozen=True, slots=True, eq=False)
class Ordered:
    """What one pass over all pairs finds.

    Attributes
    ----------
    candidates, apart
        The first pairs that are neither known nor annotated apart; and the first of those annotated apart.
    n_pairs, n_known
        Pairs, and known ones, at each step of the score, shape (n_steps,): `step_of` gives the step of a score.
    n_candidates, n_apart
        How many there are of either, those that somebody left out not counted.
    """

    candidates: FirstPairs
    apart: FirstPairs
    n_pairs: Integers = field(repr=False)
    n_known: Integers = field(repr=False)
    n_candidates: int
    n_apart: int


def step_of(scores: Floats) -> Rows:
    """Step of each score on the grid that pairs are counted on; scores must be told."""
    return np.clip(np.rint((scores + _FARTHEST) * _STEPS), 0, N_STEPS - 1).astype(np.intp)


def order_pairs(
    order: PairOrder,
    annotation: Annotation,
    *,
    n_first: int,
    n_apart: int = 0,
    may_be_listed: Callable[[int, int], Flags] | None = None,
    say: Callable[[float], None] | None = None,
) -> Ordered:
    """Go over all pairs once, count them by score and keep the first of those that may be listed.

    Parameters
    ----------
    order
        What the pairs are ordered by.
    annotation
        What is known of them.
    n_first, n_apart
        How many pairs to keep, and how many of those annotated apart.
    may_be_listed
        Called with a block of rows, says which pairs may be listed, shape as `PairOrder.block`; all without it. It does
        not change what is counted.
    say
        Told the share that is done.

    Returns
    -------
    Ordered
        Exact; memory does not grow with the square of the perturbations.
    """
    n = len(order.names)
    counted, known_at = np.zeros(N_STEPS, dtype=np.int64), np.zeros(N_STEPS, dtype=np.int64)
    chosen, parted = _Kept(n_first), _Kept(n_apart)
    for start, stop in row_blocks(n):
        scores = order.block(start, stop)
        told = ~np.isnan(scores)
        known, apart = annotation.known_block(start, stop), annotation.apart_block(start, stop)
        counted += np.bincount(step_of(scores[told]), minlength=N_STEPS)
        known_at += np.bincount(step_of(scores[told & known]), minlength=N_STEPS)
        if may_be_listed is not None:
            told &= may_be_listed(start, stop)
        chosen.add(scores, told & ~known & ~apart, corner=start, n=n)
        parted.add(scores, told & apart, corner=start, n=n)
        if say is not None:
            say(1 - (max(n - 1 - stop, 0) / (n - 1)) ** 2)
    return Ordered(chosen.sorted(n), parted.sorted(n), counted, known_at, chosen.n_met, parted.n_met)


class _Kept:
    """The largest scores met so far, with their pairs."""

    def __init__(self, most: int) -> None:
        self.most, self.n_met = most, 0
        self._scores, self._codes = np.empty(0), np.empty(0, dtype=np.int64)
        self._cutoff = -np.inf

    def add(self, scores: Floats, able: Flags, *, corner: int, n: int) -> None:
        self.n_met += int(able.sum())
        if not self.most:
            return
        line, column = np.nonzero(able & (np.nan_to_num(scores, nan=-np.inf) >= self._cutoff))
        self._scores = np.concatenate([self._scores, scores[line, column]])
        self._codes = np.concatenate([self._codes, (corner + line).astype(np.int64) * n + corner + column])
        if len(self._scores) > self.most:
            kept = self._order()[: self.most]
            self._scores, self._codes = self._scores[kept], self._codes[kept]
            self._cutoff = float(self._scores[-1])

    def _order(self) -> Rows:
        if len(self._scores) > 2 * self.most:
            # Only what may stay is put in order, ties at the last place included.
            last = np.partition(self._scores, len(self._scores) - self.most)[len(self._scores) - self.most]
            may = np.flatnonzero(self._scores >= last)
            return may[np.lexsort((self._codes[may], -self._scores[may]))]
        return np.lexsort((self._codes, -self._scores))

    def sorted(self, n: int) -> FirstPairs:
        order = self._order()[: self.most]
        first, second = np.divmod(self._codes[order], n)
        return FirstPairs(
            first.astype(np.intp), second.astype(np.intp), self._scores[order], is_all=self.n_met <= self.most
        )


def capped(
    first: Rows, second: Rows, *, most: int, n_wanted: int | None = None, free: frozenset[int] = frozenset()
) -> Rows:
    """Go down a list and pass over a pair with a member that stands in `most` pairs already.

    Parameters
    ----------
    first, second
        Rows of the pairs in order, shape (n_pairs,).
    most
        Pairs that a perturbation may stand in.
    n_wanted
        Where to stop; the end of the list without it.
    free
        Rows that may stand in any number of pairs.

    Returns
    -------
    numpy.ndarray
        Places of the pairs kept, in order.
    """
    used: dict[int, int] = {}
    kept: list[int] = []
    for place, (one, other) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        if n_wanted is not None and len(kept) >= n_wanted:
            break
        if all(row in free or used.get(row, 0) < most for row in (one, other)):
            used[one], used[other] = used.get(one, 0) + 1, used.get(other, 0) + 1
            kept.append(place)
    return np.array(kept, dtype=np.intp)


def capped_until(
    find: Callable[..., Ordered], cap: Callable[[FirstPairs], Rows], *, n_wanted: int
) -> tuple[Ordered, Rows]:
    """Look at more and more pairs until enough are left under a cap, or there are no more.

    Parameters
    ----------
    find
        Called with how many pairs to keep, as `n_first`.
    cap
        Gives the places that stay.
    n_wanted
        How many are enough.
    """
    n_first = max(2_000, 20 * n_wanted)
    while True:
        found = find(n_first=n_first)
        kept = cap(found.candidates)
        if len(kept) >= n_wanted or found.candidates.is_all:
            return found, kept[:n_wanted]
        n_first *= 8
