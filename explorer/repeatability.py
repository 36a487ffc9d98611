"""How many of its own edges a context repeats: what a missing neighbour may mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from explorer.aggregate import PerturbationMap
from explorer.axis import axis_strata, centered
from explorer.edges import EdgeTests, edge_tests
from explorer.errors import InputError
from explorer.known import KnownPairs

UNKNOWN = "its own repeatability is unknown; a missing neighbour says nothing"


@dataclass(frozen=True, slots=True, eq=False)
class Repeatability:
    """Edges of one half of a context's replicates, tested in the other half.

    Attributes
    ----------
    p
        p of the edges, sorted, shape (n_edges,).
    null_share
        Estimated share of edges that are none, 2 × share(p > .5), at most 1; NaN without replicates.
    note
        Why it is unknown, in a sentence; empty where it is known.
    tests
        The tests that p is taken from, over the perturbations of both halves; None where it is unknown.
    """

    p: npt.NDArray[np.float64] = field(repr=False)
    null_share: float
    note: str = ""
    tests: EdgeTests | None = field(default=None, repr=False)

    def power(self, threshold: float) -> float:
        """Share of true edges that p at or below a threshold finds, from 0 to 1; NaN where unknown.

        ``(F(c) − π0 · c) / (1 − π0)``, where F is the share of edges at or below c and π0 the share of edges that are
        none; NaN where all seem to be none.
        """
        return float(self._powers(np.array([threshold], dtype=np.float64))[0])

    def threshold(self, power: float = 0.95) -> float:
        """Smallest p beyond which only 1 − `power` of the true edges lie; NaN where there is none.

        It is one of the p of the edges, and the estimate stays at `power` or above from there on: where it comes and
        goes, the larger p is the safer one.
        """
        if not len(self.p) or not self.null_share < 1:
            return float("nan")
        # F jumps at the p of edges alone, and the estimate falls in between: it is lowest right before the next one.
        last = np.append(self.p[1:] != self.p[:-1], True)
        steps, share = self.p[last], (np.flatnonzero(last) + 1) / len(self.p)
        reached = self._estimate(share, np.append(steps[1:], 1.0)) >= power - 1e-12
        from_there_on = np.logical_and.accumulate(reached[::-1])[::-1]
        return float(steps[np.argmax(from_there_on)]) if from_there_on.any() else float("nan")

    def _powers(self, thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if not len(self.p) or not self.null_share < 1:
            return np.full(len(thresholds), np.nan)
        share = np.searchsorted(self.p, thresholds, side="right") / len(self.p)
        return np.asarray(np.clip(self._estimate(share, thresholds), 0.0, 1.0))

    def _estimate(self, share: npt.NDArray[np.float64], thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray((share - self.null_share * thresholds) / (1 - self.null_share))


def measure_repeatability(
    halves: tuple[PerturbationMap, PerturbationMap] | None,
    *,
    known: Sequence[KnownPairs] = (),
    layout: npt.NDArray[np.intp] | None = None,
    k: int = 10,
    seed: int = 0,
) -> Repeatability:
    """Measure how many edges of one half of the replicates the other half repeats.

    The edges of the first half's graph are tested in the second, as those of one context are in another. Each half
    has half of the data, so the whole would repeat more.

    Parameters
    ----------
    halves
        Maps of two disjoint halves of the replicates, not centred; None where there are no replicates.
    known
        Known pairs, which are no decoys.
    layout
        Layout unit of each perturbation of the first half, shape (n_perturbations,); None where none is declared.
    k, seed
        As in `explorer.edges.edge_tests`.

    Returns
    -------
    Repeatability
        With a `note` in place of numbers where the halves can't tell.

    References
    ----------
    Storey 2002, doi:10.1111/1467-9868.00346 (the share of true nulls, from p above .5).
    """
    if halves is None:
        return _unknown(UNKNOWN)
    one, other = halves
    if layout is not None and len(layout) != one.n_perturbations:
        msg = f"{len(layout):,} layout units for {one.n_perturbations:,} perturbations of the first half: give one each"
        raise InputError(msg)
    both = sorted(set(one.names) & set(other.names))
    try:
        units = None if layout is None else layout[[one.position(name) for name in both]]
        first, second = (centered(half.restricted_to(both)) for half in (one, other))
        tests = edge_tests(first, second, strata=axis_strata(first, layout=units), known=known, k=k, seed=seed)
    except InputError as error:
        return _unknown(f"{UNKNOWN} (halves of its replicates: {error})")
    p = np.sort(tests.p[~np.isnan(tests.p)])
    p.setflags(write=False)
    if not len(p):
        return _unknown(f"{UNKNOWN} (halves of its replicates: {tests.note})")
    return Repeatability(p, min(1.0, 2 * float((p > 0.5).mean())), tests=tests)


def _unknown(note: str) -> Repeatability:
    return Repeatability(np.empty(0), float("nan"), note)
