"""Where a pass over the rows runs: here, a block at a time; a cluster offers the same two passes."""

from __future__ import annotations

from typing import Protocol

from explorer.align import Alignment
from explorer.labels import RowLabels
from explorer.moments import Progress, ScreenMoments, range_moments
from explorer.screen import Representation
from explorer.totals import GuideTotals, range_totals


class Engine(Protocol):
    """What can pass over the rows of a representation; every engine gives the same result to rounding."""

    def moments(
        self, representation: Representation, labels: RowLabels, *, covariance: bool, progress: Progress | None
    ) -> ScreenMoments:
        """Collect the moments of all rows, as `explorer.moments.range_moments` does."""

    def totals(
        self, representation: Representation, labels: RowLabels, alignment: Alignment, *, progress: Progress | None
    ) -> GuideTotals:
        """Align and add up all rows, as `explorer.totals.range_totals` does."""


class LocalEngine:
    """Passes over the rows in this process, one block in memory at a time."""

    def moments(
        self, representation: Representation, labels: RowLabels, *, covariance: bool, progress: Progress | None
    ) -> ScreenMoments:
        """Collect the moments of all rows."""
        return range_moments(representation, labels, covariance=covariance, progress=progress)

    def totals(
        self, representation: Representation, labels: RowLabels, alignment: Alignment, *, progress: Progress | None
    ) -> GuideTotals:
        """Align and add up all rows."""
        return range_totals(representation, labels, alignment, progress=progress)
