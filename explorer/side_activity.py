"""Is the query active on either side, and who is: what is said before any neighbour, and the filter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import polars as pl

from explorer.activity import ACTIVE_Q, Activity, PerturbationActivity, PositionConfound
from explorer.catalog import Catalog, shared_activity
from explorer.errors import InputError
from explorer.view import View

Verdict = Literal["active", "borderline", "not active", "not judged"]

# A p up to this is worth a word even where its q is not.
NOTABLE_P = 0.05
# Names of the measures, as the table says them.
CONSISTENCY, MAGNITUDE = "replicate consistency", "size of the effect"
PRECISION, ABOVE_CHANCE = "average precision", "average precision above chance"
_TABLE_SCHEMA = {
    "representation": pl.String, "replicates": pl.Int64, "measure": pl.String, "value": pl.Float64, "p": pl.Float64,
    "q": pl.Float64, "verdict": pl.String,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SideActivity:
    """Activity of the query in one representation.

    Attributes
    ----------
    representation
        Its name.
    found
        What was measured; None where it could not be.
    silence
        Why it could not be, in a sentence; else empty.
    n_perturbations
        Perturbations that the q is over.
    position
        What the position of the controls alone retrieves, for each column that could confound.
    notes
        What the reader must know of the judgement.
    """

    representation: str
    found: PerturbationActivity | None
    silence: str
    n_perturbations: int = 0
    position: tuple[PositionConfound, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """``active`` (q below 0.1), ``borderline`` (p up to 0.05 alone), ``not active``, or ``not judged``."""
        if self.found is None or math.isnan(self.found.p):
            return "not judged"
        if self.found.q < ACTIVE_Q:
            return "active"
        return "borderline" if self.found.p <= NOTABLE_P else "not active"

    @property
    def by_size(self) -> bool:
        """Whether the verdict rests on the size of the effect alone, for want of replicates."""
        return self.found is not None and self.found.basis == "magnitude"


def activity_of(catalog: Catalog, view: View) -> tuple[SideActivity, SideActivity]:
    """Look up the activity of a view's query on both sides."""
    left, right = (_side(catalog, view, name) for name in (view.left, view.right))
    return left, right


def active_names(catalog: Catalog, view: View) -> tuple[frozenset[str] | None, str]:
    """Name the perturbations that are active on at least one side.

    Returns
    -------
    tuple
        The names, or None where neither side can be judged, and then a sentence that says why.
    """
    judged = [_activity(catalog, view, name) for name in (view.left, view.right)]
    known = [activity for activity, _ in judged if activity is not None]
    if not known:
        return None, f"can't tell who is active ({judged[0][1]})"
    return frozenset(name for activity in known for name in activity.active()), ""


def activity_column(catalog: Catalog, view: View, names: list[str]) -> pl.Series | None:
    """Say for each perturbation on which side it is active; None where neither side can be judged."""
    sides = []
    for representation in (view.left, view.right):
        activity, _ = _activity(catalog, view, representation)
        sides.append(None if activity is None else frozenset(activity.active(among=names)))
    left, right = sides
    if left is None and right is None:
        return None
    words = {(True, True): "both", (True, False): "left", (False, True): "right", (False, False): "neither"}
    return pl.Series("active", [words[name in (left or ()), name in (right or ())] for name in names], dtype=pl.String)


def activity_table(sides: tuple[SideActivity, SideActivity]) -> pl.DataFrame:
    """Put what is known of the query's activity into one table, a line for each measure that is defined.

    Returns
    -------
    polars.DataFrame
        ``representation, replicates, measure, value, p, q, verdict``; the verdict stands on the line whose p decides
        it, null where a number is undefined.
    """
    lines = []
    for side in {side.representation: side for side in sides}.values():
        found = side.found
        if found is None:
            continue
        measures = {
            CONSISTENCY: (found.consistency, found.consistency_p, found.consistency_q),
            MAGNITUDE: (found.magnitude, found.magnitude_p, found.magnitude_q),
            PRECISION: (found.mean_average_precision, found.precision_p, found.precision_q),
            ABOVE_CHANCE: (found.normalized_average_precision, math.nan, math.nan),
        }
        deciding = MAGNITUDE if side.by_size else CONSISTENCY
        lines += [
            (
                side.representation,
                found.n_replicates,
                measure,
                *numbers,
                side.verdict if measure == deciding and side.verdict != "not judged" else None,
            )
            for measure, numbers in measures.items()
            if not math.isnan(numbers[0])
        ]
    table = pl.DataFrame(lines, schema=_TABLE_SCHEMA, orient="row")
    return table.with_columns(pl.col(pl.Float64).fill_nan(None))


def _side(catalog: Catalog, view: View, representation: str) -> SideActivity:
    activity, silence = _activity(catalog, view, representation)
    if activity is None:
        return SideActivity(representation, None, silence)
    try:
        found = activity.of(view.query)
    except InputError as error:
        return SideActivity(representation, None, str(error))
    return SideActivity(
        representation, found, "", activity.table.height, position=activity.position, notes=activity.notes
    )


def _activity(catalog: Catalog, view: View, representation: str) -> tuple[Activity | None, str]:
    return shared_activity(catalog.dataset(view.dataset), view.context, representation, alignment=view.align)
