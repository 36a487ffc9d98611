"""Is the query active on either side, and who is: what is said before any neighbour, and the filter."""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl

from explorer.activity import ACTIVE_Q, Activity, PerturbationActivity, PositionConfound
from explorer.catalog import Catalog, shared_activity
from explorer.errors import InputError
from explorer.view import View

# A p below this is worth a word even where its q is not.
NOTABLE_P = 0.05


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
    def verdict(self) -> str:
        """One of ``active``, ``borderline``, ``not active`` and ``not judged``."""
        if self.found is None or math.isnan(self.found.p):
            return "not judged"
        if self.found.q < ACTIVE_Q:
            return "active"
        return "borderline" if self.found.p <= NOTABLE_P else "not active"


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
        return None, f"can't tell who is active: {judged[0][1]}"
    return frozenset(name for activity in known for name in activity.active()), ""


def activity_column(catalog: Catalog, view: View, names: list[str]) -> pl.Series | None:
    """Say for each perturbation on which side it is active; None where neither side can be judged."""
    sides = []
    for representation in (view.left, view.right):
        activity, _ = _activity(catalog, view, representation)
        sides.append(None if activity is None else frozenset(activity.active()))
    left, right = sides
    if left is None and right is None:
        return None
    words = {(True, True): "both", (True, False): "left", (False, True): "right", (False, False): "neither"}
    return pl.Series("active", [words[name in (left or ()), name in (right or ())] for name in names], dtype=pl.String)


def activity_table(sides: tuple[SideActivity, SideActivity]) -> pl.DataFrame:
    """Put what is known of the query's activity into one table, a line for each side.

    Returns
    -------
    polars.DataFrame
        ``representation, verdict, replicates, consistency, its p, magnitude, its p, average precision, above chance,
        its p, q``; null where a number is undefined.
    """
    lines = []
    for side in sides:
        found = side.found
        if found is None:
            continue
        lines.append(
            {
                "representation": side.representation,
                "verdict": side.verdict,
                "replicates": found.n_replicates,
                "consistency": found.consistency,
                "consistency p": found.consistency_p,
                "magnitude": found.magnitude,
                "magnitude p": found.magnitude_p,
                "average precision": found.mean_average_precision,
                "above chance": found.normalized_average_precision,
                "precision p": found.precision_p,
                "q of the verdict": found.q,
            }
        )
    table = pl.DataFrame(lines)
    return table.with_columns(pl.col(pl.Float64).fill_nan(None)) if lines else table


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
