"""Is a perturbation active, and do its replicates agree: said before any neighbour is shown."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.align import check_method, fit_alignment, moments_for
from explorer.errors import InputError, listed, unknown_name
from explorer.gather import aligned_units, collect_replicates, held_out_controls
from explorer.moments import ScreenMoments, selected_rows
from explorer.nulls import judge_precision, judge_size
from explorer.position import position_retrieval
from explorer.replicates import pair_consistency, profile_lengths
from explorer.screen import Representation, Screen
from explorer.significance import benjamini_hochberg
from explorer.threads import one_thread_products

Basis = Literal["replicate consistency", "magnitude"]

# Controls whose positions are looked at.
MOST_POSITIONED = 2_000


# The false discovery rate at which a perturbation is called active.
ACTIVE_Q = 0.1
# With fewer held-out controls in a batch p is rough: with four, 9 to 14 % of inactive perturbations are called at 5 %.
_FEW_HELD_OUT = 8


@dataclass(frozen=True, slots=True)
class PerturbationActivity:
    """What is known of one perturbation; NaN where it can't be told.

    Attributes
    ----------
    perturbation
        Its name.
    n_replicates
        Replicates: guides within batches where guides are declared, else rows.
    consistency, consistency_p, consistency_q
        Mean cosine of pairs of replicates from different batches (and guides), its p against pseudo-perturbations
        drawn from held-out controls, and its q over the perturbations. Larger is more consistent.
    magnitude, magnitude_p, magnitude_q
        Length of the profile, in aligned units, and the same against it. Larger is more active.
    mean_average_precision, normalized_average_precision, precision_p, precision_q
        How well replicates find each other among the controls of their batch; the same less its chance level, as a
        share of what is possible above it; and the same against it. Larger is better.
    p, q, basis
        The p that the verdict rests on, its q over the perturbations, and what it is the p of: replicate consistency
        where that is defined, else magnitude; null where neither is.
    shared_position
        Columns, joined by commas, of which all rows share one value although they lie in several batches, so that
        the position could be what they have in common; null where there is none.
    """

    perturbation: str
    n_replicates: int
    consistency: float
    consistency_p: float
    consistency_q: float
    magnitude: float
    magnitude_p: float
    magnitude_q: float
    mean_average_precision: float
    normalized_average_precision: float
    precision_p: float
    precision_q: float
    p: float
    q: float
    basis: Basis | None
    shared_position: str | None


@dataclass(frozen=True, slots=True)
class PositionConfound:
    """How much of a replicate score the position alone could explain, for one column.

    Attributes
    ----------
    column
        Column of the position.
    share_fixed
        Share of the perturbations in several batches whose rows all have the same position; NaN where none is in
        several.
    score, chance, p
        Mean average precision with which controls find the controls at their own position in other batches, its
        expectation by chance, and p by permuting positions within batches. NaN where no position of a control occurs
        in two batches.
    n_controls
        Controls that query.
    """

    column: str
    share_fixed: float
    score: float
    chance: float
    p: float
    n_controls: int


@dataclass(frozen=True, slots=True, eq=False)
class Activity:
    """Activity of every perturbation of a screen in one representation.

    Attributes
    ----------
    table
        One line a perturbation, sorted by name; the columns are the attributes of `PerturbationActivity`, NaN where a
        number is undefined.
    alignment
        Name of the alignment that activity was judged in, never ``"none"``; it was fitted on the controls that are not
        held out.
    seed, n_null
        Of the draws, and how many of them a null has (fewer where there are not so many choices of controls).
    position
        One entry for each column that could confound.
    notes
        What the reader must know, in sentences.
    """

    table: pl.DataFrame = field(repr=False)
    alignment: str
    seed: int
    n_null: int
    position: tuple[PositionConfound, ...] = ()
    notes: tuple[str, ...] = ()

    def of(self, name: str) -> PerturbationActivity:
        """Look one perturbation up.

        Raises
        ------
        InputError
            When it is not in the screen; the message names the nearest.
        """
        names = self.table["perturbation"]
        place = int(names.search_sorted(name))
        if place == len(names) or names[place] != name:
            msg = "perturbation"
            raise unknown_name(msg, name, names.to_list())
        return PerturbationActivity(**self.table.row(place, named=True))

    def active(self, q_below: float = ACTIVE_Q, *, among: Collection[str] | None = None) -> tuple[str, ...]:
        """Name the perturbations whose q lies below a limit, sorted: all of them, or those among some names."""
        chosen = pl.col("q").is_not_nan() & (pl.col("q") < q_below)
        if among is not None:
            chosen &= pl.col("perturbation").is_in(list(among))
        return tuple(self.table.filter(chosen)["perturbation"].to_list())


def measure_activity(
    screen: Screen,
    representation: str,
    *,
    alignment: str = "none",
    moments: ScreenMoments | None = None,
    seed: int = 0,
    n_null: int = 999,
) -> Activity:
    """Judge every perturbation of a screen against pseudo-perturbations drawn from controls.

    A replicate is the mean of one guide's rows in one batch where guides are declared, else a row. Half of each
    batch's controls fit the alignment; the other half, drawn in the same numbers over the same batches and guides,
    is the null of consistency and magnitude. Replicates are ranked among the same half, and the null of that is
    controls ranked among each other.

    Parameters
    ----------
    screen
        The rows.
    representation
        Name of one of its representations.
    alignment
        One of `explorer.align.METHODS`; with ``"none"`` activity is judged on centred profiles all the same, since
        to be active is to differ from the controls.
    moments
        Of all rows of this representation, where they have been collected; otherwise they are.
    seed
        Of the choice of controls held out (where moments are collected here), of the draws, and of the order of ties.
    n_null
        Pseudo-perturbations for each layout of rows.

    Returns
    -------
    Activity
        The cost does not grow with the perturbations beyond one look at each, nor the memory with the rows.

    Raises
    ------
    InputError
        When a name is unknown, there are no controls, or a batch has too few to hold half of them out.

    References
    ----------
    Kalinin et al. 2025, doi:10.1038/s41467-025-60306-2 (mean average precision). Benjamini and Hochberg 1995,
    doi:10.1111/j.2517-6161.1995.tb02031.x. Phipson and Smyth 2010, doi:10.2202/1544-6115.1585 (add-one p).
    """
    source = screen.representation(representation)
    check_method(alignment)
    if not screen.is_control().any():
        msg = "no controls, so activity can't be told: name them with --control, or with control in a card's [roles]"
        raise InputError(msg)
    moments = moments_for(alignment, screen, source, moments=moments, seed=seed)
    notes = _require_halves(moments, alignment)
    if alignment == "none":
        # Away from the controls all profiles point the same way, and a cosine says how noisy they are.
        alignment = "center"
        notes.append("activity is judged on profiles centred on the controls, although the map is not aligned")
    fitted = fit_alignment(moments, alignment, controls="fitting")
    units = aligned_units(screen, moments, fitted)
    held = held_out_controls(moments, fitted, units)
    notes += fitted.notes
    replicates = collect_replicates(source, moments, fitted, units=units, held=held, seed=seed, notes=notes)

    observed = {
        "consistency": pair_consistency(replicates.sums, replicates.counts, units.owner, **units.pairing),
        "magnitude": profile_lengths(
            units.aligned, units.count, units.owner, guide=units.guide if units.by_guide else None
        ),
    }
    with one_thread_products():
        p = judge_size(units, held, observed, seed=seed, n_null=n_null, notes=notes)
        mean, normalized, precision_p = judge_precision(units, held, replicates, seed=seed, n_null=n_null, notes=notes)
        position, shared = _positions(screen, source, moments, alignment=alignment, seed=seed, n_null=n_null)

    told = ~np.isnan(p["consistency"])
    chosen = np.where(told, p["consistency"], p["magnitude"])
    basis = [
        "replicate consistency" if consistent else None if math.isnan(value) else "magnitude"
        for consistent, value in zip(told.tolist(), chosen.tolist(), strict=True)
    ]
    columns: dict[str, object] = {
        "perturbation": units.names,
        "n_replicates": np.bincount(
            units.owner,
            weights=np.ones(len(units.owner)) if units.by_guide else units.count,
            minlength=len(units.names),
        ).astype(np.int64),
    }
    for name in ("consistency", "magnitude"):
        columns |= {name: observed[name], f"{name}_p": p[name], f"{name}_q": benjamini_hochberg(p[name])}
    columns |= {
        "mean_average_precision": mean,
        "normalized_average_precision": normalized,
        "precision_p": precision_p,
        "precision_q": benjamini_hochberg(precision_p),
        "p": chosen,
        "q": benjamini_hochberg(chosen),
        "basis": pl.Series(basis, dtype=pl.String),
        "shared_position": pl.Series([shared.get(name) for name in units.names], dtype=pl.String),
    }
    return Activity(pl.DataFrame(columns), alignment, seed, n_null, position, tuple(dict.fromkeys(notes)))


def _require_halves(moments: ScreenMoments, alignment: str) -> list[str]:
    """Check that every batch in use has controls to fit on and others to be judged by; say where they are few."""
    fits_two = alignment not in ("none", "center")
    least = 4 if fits_two else 2
    n_batches = len(moments.labels.batches)
    total, fitting = moments.controls("all").count, moments.controls("fitting").count
    held = np.bincount(moments.held_out.batch, minlength=n_batches)
    short = (total < least) | (held < 1) | (fitting < (2 if fits_two else 1))
    used = np.unique(moments.unit_batch).tolist()
    wrong = [number for number in used if short[number]]
    if wrong:
        names = listed(moments.labels.batches[number] for number in wrong)
        message = (
            f"too few controls in batch {names}, {int(total[wrong[0]])} in the first: expected at least {least} in "
            "each, half of them to align on and half to judge activity by; add controls, or leave the batch out"
        )
        raise InputError(message)
    few = [moments.labels.batches[number] for number in used if held[number] < _FEW_HELD_OUT]
    if not few:
        return []
    return [
        f"batch {listed(few)} has fewer than {_FEW_HELD_OUT} held-out controls, so every p is rough and rather small"
    ]


def _positions(
    screen: Screen,
    source: Representation,
    moments: ScreenMoments,
    *,
    alignment: str,
    seed: int,
    n_null: int,
) -> tuple[tuple[PositionConfound, ...], dict[str, str]]:
    """Measure what position alone explains, and name the columns in which a perturbation never moves."""
    if not screen.roles.group:
        return (), {}
    labels = moments.labels
    # All controls fit this alignment, as they do that of the map; they are compared with each other alone.
    fitted = fit_alignment(moments, alignment)
    usable = labels.control.copy()
    usable[moments.excluded] = False
    entered = labels.unit >= 0
    entered[moments.excluded] = False
    found: list[PositionConfound] = []
    shared: dict[str, str] = {}
    for column in screen.roles.group:
        positions = screen.rows[column].cast(pl.String)
        fixed = _fixed(labels.unit_perturbation[labels.unit[entered]], labels.batch[entered], positions.filter(entered))
        for number in fixed.filter(pl.col("fixed"))["perturbation"].to_list():
            name = labels.perturbations[number]
            shared[name] = f"{shared[name]}, {column}" if name in shared else column
        share = float(fixed["fixed"].mean()) if fixed.height else math.nan  # type: ignore[arg-type]
        code = positions.cast(pl.Categorical).to_physical().cast(pl.Int64).fill_null(-1).to_numpy()
        wanted = _some_positions(usable & (code >= 0), code, seed=seed)
        blocks = list(selected_rows(source, wanted))
        score, chance, p, n_controls = math.nan, math.nan, math.nan, 0
        if blocks:
            rows = np.concatenate([numbers for numbers, _ in blocks])
            aligned = fitted.apply(np.concatenate([values for _, values in blocks]), labels.batch[rows])
            score, chance, p, n_controls = position_retrieval(
                aligned, code[rows], labels.batch[rows], n_null=n_null, seed=seed
            )
        found.append(PositionConfound(column, share, score, chance, p, n_controls))
    return tuple(found), shared


def _fixed(perturbation: npt.NDArray[np.integer], batch: npt.NDArray[np.integer], positions: pl.Series) -> pl.DataFrame:
    """Say of each perturbation in several batches whether all its rows share one position (column ``fixed``)."""
    table = pl.DataFrame({"perturbation": perturbation, "batch": batch, "position": positions})
    counted = table.group_by("perturbation").agg(
        pl.col("batch").n_unique().alias("batches"),
        ((pl.col("position").n_unique() == 1) & pl.col("position").is_not_null().all()).alias("fixed"),
    )
    return counted.filter(pl.col("batches") > 1).sort("perturbation")


def _some_positions(usable: npt.NDArray[np.bool_], code: npt.NDArray[np.int64], *, seed: int) -> npt.NDArray[np.bool_]:
    """Choose whole positions at random until there are enough controls, so that each keeps its batches."""
    if int(usable.sum()) <= MOST_POSITIONED:
        return usable
    count = np.bincount(code[usable])
    order = np.random.default_rng(seed).permutation(len(count))
    chosen = order[np.cumsum(count[order]) <= MOST_POSITIONED]
    return usable & np.isin(code, chosen)
