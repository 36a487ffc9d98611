"""What stands below a verdict and takes longer: the budget, the checks of what it may be owed to, the grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
import polars as pl

from explorer.aggregate import PerturbationMap
from explorer.benchmark import NoiseCeiling, noise_ceiling, replicate_scores, strata
from explorer.catalog import (
    Catalog,
    identity_of,
    shared_activity,
    shared_halves,
    shared_knowledge,
    shared_map,
    shared_moments,
    shared_screen,
)
from explorer.decoys import TechnicalFdr, technical_fdr
from explorer.errors import InputError, shown
from explorer.exchange import ExchangeRate, screen_exchange_rate
from explorer.hits import top_pairs
from explorer.judged import SEED, JudgeView
from explorer.judgements import remember, shared_curve, shared_grid
from explorer.load import Dataset
from explorer.power import DesignPower, judge_power, plan_screen
from explorer.proximity import ProximityBias, proximity_bias
from explorer.relationships import GeneSets, Relationships
from explorer.reliability import Reliability, calibrate_similarity
from explorer.screen import Screen
from explorer.verdict import look_up, on_common
from explorer.work import Progress, Ticket, shared_workshop

T = TypeVar("T")

CURVE_BUDGETS = (10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1_000, 1_500, 2_000)
# What may be asked of a planned screen, lowest and highest; strength and advantage are in percent.
POWER_LIMITS: Mapping[str, tuple[int, int]] = {
    "perturbations": (100, 1_000), "guides": (1, 6), "cells": (1, 50), "batches": (1, 6), "strength": (10, 200),
    "advantage": (1, 200),
}  # fmt: skip
POWER_CONTROLS: Mapping[str, tuple[str, int]] = {
    "perturbations": ("Perturbations", 200),
    "guides": ("Guides each", 2),
    "batches": ("Batches", 3),
    "cells": ("Cells per guide and batch", 5),
    "strength": ("Strength of effects (%)", 40),
    "advantage": ("Better by (%)", 20),
}
MOST_POWER_CELLS = 200_000
# How the page writes the columns of the pairs.
PAIR_FORMATS = {"cosine, simple": "{:.3f}", "cosine, learned": "{:.3f}"}
REPLICATE_FORMATS = {
    "simple": "{:.3f}", "learned": "{:.3f}", "difference": "{:+.3f}", "low": "{:+.3f}", "high": "{:+.3f}",
    "p": "{:.2g}",
}  # fmt: skip
_RELIABILITY_SCHEMA = {
    "side": pl.String, "predicted": pl.Float64, "observed": pl.Float64, "n_pairs": pl.Int64, "n_known": pl.Int64,
    "effective_groups": pl.Float64,
}  # fmt: skip
_PAIRS_SCHEMA = {
    "perturbation": pl.String, "partner": pl.String, "listed by": pl.String, "known in": pl.String,
    "cosine, simple": pl.Float64, "cosine, learned": pl.Float64,
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class AtBudget:
    """Known pairs among the most similar ones.

    Attributes
    ----------
    curve
        As `explorer.judgements.shared_curve` gives it.
    pairs
        Pairs that only one side lists at the budget: ``perturbation, partner, listed by, known in, cosine, simple,
        cosine, learned``, those of the learned map first, the most similar first.
    """

    curve: pl.DataFrame = field(repr=False)
    pairs: pl.DataFrame = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Checks:
    """What recall may be owed to, and what could be reached; by *simple* and *learned* where there are two.

    Attributes
    ----------
    strata
        As `explorer.benchmark.strata` gives it; None where it can't be had.
    reliability, fdr, ceiling
        Similarity as a chance of a known pair; pairs beyond technical noise; what replicate halves reach.
    replicates
        As `explorer.benchmark.replicate_scores` gives it, with ``perturbations`` for their number; None where activity
        can't be judged.
    proximity
        Bias of perturbations at one place, where the screen declares places.
    exchange
        Replicates that would let the simple map do as well.
    silences
        Why something is not there, in a sentence, by what it is.
    has_controls_in_map
        Whether the controls stay in the maps as perturbations.
    """

    strata: pl.DataFrame | None = field(repr=False)
    reliability: Mapping[str, Reliability]
    fdr: Mapping[str, TechnicalFdr]
    ceiling: Mapping[str, NoiseCeiling]
    replicates: pl.DataFrame | None = field(repr=False)
    proximity: Mapping[str, ProximityBias]
    exchange: ExchangeRate | None
    silences: Mapping[str, str]
    has_controls_in_map: bool = False


def start_budget(catalog: Catalog, view: JudgeView) -> Ticket[AtBudget]:
    """Begin to count known pairs at budgets, and to list the pairs on which the maps disagree."""
    dataset = catalog.dataset(view.dataset)

    def make(say: Progress) -> AtBudget:
        simple, learned = _maps(dataset, view)
        n_pairs = min(_n_pairs(side) for side in (simple, learned))
        curve = shared_curve(
            dataset,
            view.context,
            simple=view.simple,
            learned=view.learned,
            alignment=view.align,
            sources=view.sources,
            budgets=sorted({budget for budget in (*CURVE_BUDGETS, view.budget) if budget <= n_pairs}),
            seed=SEED,
            progress=lambda what, share: say(what, 0.9 * share),
        )
        say("the pairs on which the maps disagree", 0.9)
        return AtBudget(curve, disagreements(simple, learned, _sources(dataset, view), budget=view.budget))

    return shared_workshop.start(_budget_key(dataset, view), make)


def found_budget(catalog: Catalog, view: JudgeView) -> AtBudget | None:
    """Take what `start_budget` made; None while there is nothing."""
    ticket = shared_workshop.find(_budget_key(catalog.dataset(view.dataset), view))
    return None if ticket is None else ticket.result


def disagreements(
    simple: PerturbationMap, learned: PerturbationMap, sources: Sequence[Relationships | GeneSets], *, budget: int
) -> pl.DataFrame:
    """List the pairs that are among the `budget` most similar ones of one of two maps only.

    Parameters
    ----------
    simple, learned
        Maps of the same perturbations.
    sources
        What is known.
    budget
        Number of pairs on each side; of those tied at the end the first by name.

    Returns
    -------
    polars.DataFrame
        As `AtBudget.pairs`; a cosine is null where a profile has length zero.
    """
    lists = [remember(top_pairs, side, budget) for side in (simple, learned)]
    knowing = {source.name: _knowing(source) for source in sources}
    lines = []
    for place, side in ((1, learned), (0, simple)):
        own = lists[place].codes[:budget]
        only = own[~np.isin(own, lists[1 - place].codes[:budget])]
        first, second = np.divmod(only, side.n_perturbations)
        for one, other in zip(first.tolist(), second.tolist(), strict=True):
            names = simple.names[one], simple.names[other]
            known = ", ".join(name for name, is_known in knowing.items() if is_known(*names))
            cosines = [_cosine(made, one, other) for made in (simple, learned)]
            lines.append((*names, side.recipe.representation, known, *cosines))
    return pl.DataFrame(lines, schema=_PAIRS_SCHEMA, orient="row")


def _knowing(source: Relationships | GeneSets) -> Callable[[str, str], bool]:
    """Make a question of a source: whether two perturbations are known partners in it."""
    if isinstance(source, Relationships):
        return lambda one, other: other in source.of(one)
    sets_of: dict[str, set[str]] = {}
    for name, members in source.sets.items():
        for member in members:
            sets_of.setdefault(member, set()).add(name)
    return lambda one, other: not sets_of.get(one, set()).isdisjoint(sets_of.get(other, ()))


def start_checks(catalog: Catalog, view: JudgeView) -> Ticket[Checks]:
    """Begin what takes longest and is no part of the verdict: strata, calibration, technical noise, ceilings."""
    dataset = catalog.dataset(view.dataset)
    return shared_workshop.start(_checks_key(dataset, view), lambda say: _check(dataset, view, say))


def found_checks(catalog: Catalog, view: JudgeView) -> Checks | None:
    """Take what `start_checks` made; None while there is nothing."""
    ticket = shared_workshop.find(_checks_key(catalog.dataset(view.dataset), view))
    return None if ticket is None else ticket.result


def _check(dataset: Dataset, view: JudgeView, say: Progress) -> Checks:
    simple, learned = _maps(dataset, view)
    sources = _sources(dataset, view)
    known, _ = look_up(sources, simple.names, call=remember)
    screen = shared_screen(dataset, view.context)
    silences: dict[str, str] = {}

    def attempt(what: str, share: float, make: Callable[[], T]) -> T | None:
        """Try one of them: what can't be had is said, and the others are had all the same."""
        say(what, share)
        try:
            return make()
        except InputError as error:
            silences[what] = str(error)
            return None

    places = positions(screen, simple)
    split = attempt("strata", 0.0, lambda: strata(simple, learned, known, position=places))
    reliability: dict[str, Reliability] = {}
    fdr: dict[str, TechnicalFdr] = {}
    ceiling: dict[str, NoiseCeiling] = {}
    proximity: dict[str, ProximityBias] = {}
    for side, made, name, start in (("simple", simple, view.simple, 0.1), ("learned", learned, view.learned, 0.4)):
        curve = attempt(f"calibration of {name}", start, partial(calibrate_similarity, made, known, seed=SEED))
        noise = attempt(f"technical noise in {name}", start + 0.1, partial(_technical, dataset, view, name))
        reach = attempt(f"replicate halves of {name}", start + 0.2, partial(_ceiling, dataset, view, name))
        reliability |= {side: curve} if curve is not None else {}
        fdr |= {side: noise} if noise is not None else {}
        ceiling |= {side: reach} if reach is not None else {}
        if places is not None:
            proximity[side] = proximity_bias(made, places)
    replicates = attempt("replicate scores", 0.65, partial(_replicates, dataset, view))
    exchange = attempt(
        "exchange rate",
        0.7,
        partial(_exchange, dataset, view, sources, progress=lambda what, share: say(what, 0.7 + 0.3 * share)),
    )
    return Checks(
        split, reliability, fdr, ceiling, replicates, proximity, exchange, silences, screen.roles.keep_controls
    )


def replicate_table(checks: Checks) -> pl.DataFrame:
    """Take the replicate scores that say something: a measure that is 0 in both maps is left out."""
    if checks.replicates is None:
        return pl.DataFrame()
    return checks.replicates.filter((pl.col("simple") != 0) | (pl.col("learned") != 0))


def start_power(**values: object) -> Ticket[DesignPower]:
    """Begin to estimate whether a judge could tell a better learned map after a screen that is only planned.

    Parameters
    ----------
    **values
        One for each name of `POWER_LIMITS`, as a browser sent them: each is checked.

    Raises
    ------
    InputError
        When a value is out of its limits, or the screen has more than 200,000 cells.
    """
    checked = {name: _within(name, values.get(name)) for name in POWER_LIMITS}
    n_cells = checked["perturbations"] * checked["guides"] * checked["cells"] * checked["batches"]
    if n_cells > MOST_POWER_CELLS:
        msg = f"a screen of {n_cells:,} cells takes too long to simulate here: plan {MOST_POWER_CELLS:,} at the most"
        raise InputError(msg)
    design = plan_screen(
        perturbations=checked["perturbations"],
        guides=checked["guides"],
        cells=float(checked["cells"]),
        batches=checked["batches"],
        strength=checked["strength"] / 100,
    )
    key = ("power", *checked.values())
    return shared_workshop.start(
        key, lambda say: judge_power(design, advantage=checked["advantage"] / 100, seed=SEED, progress=say)
    )


def _within(name: str, value: object) -> int:
    """Check a number that came from a browser."""
    low, high = POWER_LIMITS[name]
    # Compared before it is converted: NaN and infinity have no whole number.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and low <= value <= high and value == int(value):  # type: ignore[operator, call-overload]
        return int(value)  # type: ignore[call-overload, no-any-return]
    message = f"{name} = {shown(value)} can't be used: choose a whole number from {low} to {high:,}"
    raise InputError(message)


def reliability_frame(checks: Checks) -> pl.DataFrame:
    """Put the bins of both maps in one table: ``side`` and the columns of `explorer.reliability.Reliability.table`."""
    parts = [
        found.table.with_columns(pl.lit(side).alias("side")).select(list(_RELIABILITY_SCHEMA))
        for side, found in checks.reliability.items()
    ]
    return pl.concat(parts) if parts else pl.DataFrame(schema=_RELIABILITY_SCHEMA)


def technical_frame(checks: Checks) -> pl.DataFrame:
    """Put the levels of both maps in one table: ``side, level, threshold, n_pairs``."""
    schema = {"side": pl.String, "level": pl.Float64, "threshold": pl.Float64, "n_pairs": pl.Int64}
    parts = [
        found.table.with_columns(pl.lit(side).alias("side")).select(list(schema))
        for side, found in checks.fdr.items()
        if found.reason is None
    ]
    return pl.concat(parts) if parts else pl.DataFrame(schema=schema)


def grid_of(catalog: Catalog, view: JudgeView, *, begin: bool) -> Ticket[pl.DataFrame] | None:
    """Find the grid of representations and alignments, or begin it; None where it neither exists nor is to begin."""
    dataset = catalog.dataset(view.dataset)
    key = ("grid", *identity_of(dataset), view.context, view.sources, view.k)
    if not begin:
        return shared_workshop.find(key)
    return shared_workshop.start(
        key, lambda say: shared_grid(dataset, view.context, sources=view.sources, k=view.k, progress=say)
    )


def positions(screen: Screen, perturbation_map: PerturbationMap) -> dict[str, str] | None:
    """Find what could pass for biology and is the same in all rows of a perturbation, such as its chromosome arm.

    Returns
    -------
    dict or None
        By name of the perturbation; None where the screen declares no such column.
    """
    names = pl.Series("perturbation", screen.rows[screen.roles.perturbation]).cast(pl.String)
    for column in screen.roles.group:
        table = pl.DataFrame({"perturbation": names, "place": screen.rows[column].cast(pl.String)})
        counted = table.filter(pl.col("perturbation").is_in(list(perturbation_map.names))).drop_nulls()
        places = counted.group_by("perturbation").agg(pl.col("place").first(), pl.col("place").n_unique().alias("n"))
        if places.height and places["n"].max() == 1 and places["place"].n_unique() > 1:
            return dict(zip(places["perturbation"], places["place"], strict=True))
    return None


def _technical(dataset: Dataset, view: JudgeView, name: str) -> TechnicalFdr:
    made = shared_map(dataset, view.context, name, alignment=view.align)
    moments = shared_moments(dataset, view.context, name)
    return technical_fdr(shared_screen(dataset, view.context), made, moments=moments, seed=SEED)


def _ceiling(dataset: Dataset, view: JudgeView, name: str) -> NoiseCeiling:
    halves = shared_halves(dataset, view.context, name, alignment=view.align)
    if halves is None:
        msg = "there are no replicates to divide"
        raise InputError(msg)
    return noise_ceiling(halves, k=view.k)


def _replicates(dataset: Dataset, view: JudgeView) -> pl.DataFrame:
    found = []
    for name in (view.simple, view.learned):
        activity, silence = shared_activity(dataset, view.context, name, alignment=view.align)
        if activity is None:
            raise InputError(silence)
        found.append(activity)
    return replicate_scores(found[0], found[1], seed=SEED).rename({"n_perturbations": "perturbations"})


def _exchange(
    dataset: Dataset, view: JudgeView, sources: Sequence[Relationships | GeneSets], *, progress: Progress
) -> ExchangeRate:
    moments = [shared_moments(dataset, view.context, name) for name in (view.simple, view.learned)]
    one, other = moments
    return screen_exchange_rate(
        shared_screen(dataset, view.context),
        view.simple,
        view.learned,
        sources=sources,
        alignment=view.align,
        k=view.k,
        moments=(one, other) if one is not None and other is not None else None,
        seed=SEED,
        progress=progress,
    )


def _maps(dataset: Dataset, view: JudgeView) -> tuple[PerturbationMap, PerturbationMap]:
    """Make both maps, restricted to the perturbations of both."""
    made = [shared_map(dataset, view.context, name, alignment=view.align) for name in (view.simple, view.learned)]
    simple, learned, _ = on_common(*made)
    return simple, learned


def _sources(dataset: Dataset, view: JudgeView) -> list[Relationships | GeneSets]:
    knowledge = shared_knowledge(dataset)
    every: dict[str, Relationships | GeneSets] = {source.name: source for source in knowledge.relationships}
    every |= {source.name: source for source in knowledge.gene_sets}
    return [every[name] for name in view.sources]


def _checks_key(dataset: Dataset, view: JudgeView) -> tuple[object, ...]:
    chosen = (view.context, view.simple, view.learned, view.align, view.sources, view.k)
    return ("checks", *identity_of(dataset), *chosen)


def _budget_key(dataset: Dataset, view: JudgeView) -> tuple[object, ...]:
    chosen = (view.context, view.simple, view.learned, view.align, view.sources, view.budget)
    return ("budget", *identity_of(dataset), *chosen)


def _n_pairs(perturbation_map: PerturbationMap) -> int:
    n = int((perturbation_map.norms > 0).sum())
    return n * (n - 1) // 2


def _cosine(perturbation_map: PerturbationMap, one: int, other: int) -> float | None:
    length = float(perturbation_map.norms[one] * perturbation_map.norms[other])
    product = perturbation_map.profiles[one].astype(np.float64) @ perturbation_map.profiles[other].astype(np.float64)
    return float(product) / length if length > 0 else None
