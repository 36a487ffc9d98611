"""A map and the activity of its perturbations from one pass over the rows, where the rows allow it."""

from __future__ import annotations

from dataclasses import dataclass

from explorer.activity import Activity, measure_activity
from explorer.aggregate import PerturbationMap, build_map, checked_aggregate, keeps_units, map_from_moments
from explorer.align import check_method, moments_for, needs_covariance
from explorer.engine import Engine, LocalEngine
from explorer.errors import InputError
from explorer.labels import label_rows
from explorer.moments import Progress, require_rows, sample_size
from explorer.screen import Screen

# Replicates by guide are judged from the table of units (perturbation × guide × batch); beyond this size they are not.
MOST_REPLICATE_BYTES = 2**30


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """A map, and what is known of its perturbations' activity.

    Attributes
    ----------
    perturbation_map
        The map.
    activity
        None where it could not be judged.
    silence
        Why not, in a sentence; empty where it was judged.
    """

    perturbation_map: PerturbationMap
    activity: Activity | None
    silence: str = ""


def build(
    screen: Screen,
    representation: str,
    *,
    alignment: str = "none",
    aggregate: str = "mean",
    judge: bool = True,
    engine: Engine | None = None,
    progress: Progress | None = None,
) -> Built:
    """Make a map and judge the activity of its perturbations, reading the rows as rarely as possible.

    Parameters
    ----------
    screen, representation, alignment, aggregate
        As in `explorer.aggregate.build_map`.
    judge
        Whether activity is judged; without it nothing but the map is kept in memory.
    engine
        Where the passes of the map run; activity is judged in this process.
    progress
        Called with a number of rows after each block that was read for the map.

    Raises
    ------
    InputError
        When the map can't be made; that activity can't be judged is no error.
    """
    chosen = checked_aggregate(aggregate)
    check_method(alignment)
    source = screen.representation(representation)
    if not judge:
        made = build_map(
            screen, representation, alignment=alignment, aggregate=chosen, engine=engine, progress=progress
        )
        return Built(made, None, "activity was not asked for")
    labels = label_rows(screen, most_sampled=sample_size(source.n_features))
    table_bytes = 8 * labels.n_units * source.n_features
    moments = None
    if keeps_units(labels, source.n_features, alignment):
        engine = engine or LocalEngine()
        moments = engine.moments(source, labels, covariance=needs_covariance(alignment), progress=progress)
        require_rows(moments, source)
        moments = moments_for(alignment, screen, source, moments=moments)
        made = map_from_moments(screen, source, moments, alignment=alignment, aggregate=chosen)
    else:
        made = build_map(
            screen, representation, alignment=alignment, aggregate=chosen, engine=engine, progress=progress
        )
    if table_bytes > MOST_REPLICATE_BYTES:
        message = (
            f"{labels.n_units:,} pairs of guide and batch are too many to judge replicates in bounded memory: "
            "activity was not judged"
        )
        return Built(made, None, message)
    try:
        return Built(made, measure_activity(screen, representation, alignment=alignment, moments=moments))
    except InputError as error:
        return Built(made, None, str(error))
