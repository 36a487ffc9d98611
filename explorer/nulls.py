"""Observed replicates against pseudo-perturbations: the p of consistency, of magnitude and of average precision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from explorer.gather import MOST_NEGATIVES, HeldOut, Replicates, Units
from explorer.pseudo import (
    CLASS_RATIO,
    CROWDED,
    MOST_CLASSES,
    Layout,
    classify,
    draw_rows,
    generator_for,
    is_crowded,
    layouts_of,
    pseudo_statistics,
    round_rows,
    sum_rows,
)
from explorer.replicates import Floats
from explorer.retrieval import precision_against_pools, unit_vectors
from explorer.significance import add_one_p

Integers = npt.NDArray[np.int64]

# Cosines, and lengths relative to the observed one, that differ by less are equal but for rounding.
_ROUNDING = 1e-6
# Values of pseudo-perturbations held at once.
_MOST_VALUES = 2**22


def judge_size(
    units: Units,
    held: HeldOut,
    observed: Mapping[str, Floats],
    *,
    seed: int,
    n_null: int,
    notes: list[str],
) -> dict[str, Floats]:
    """Give consistency and magnitude their p, layout by layout.

    Parameters
    ----------
    units, held
        The perturbations, and what they are judged by.
    observed
        ``"consistency"`` and ``"magnitude"``, shape (n_perturbations,) each.
    seed, n_null
        Of the draws, and their number for each layout.
    notes
        Sentences are added to it.

    Returns
    -------
    dict
        p under the same names.
    """
    guide = units.guide if units.by_guide else np.zeros_like(units.guide)
    layouts = layouts_of(units.owner, guide=guide, batch=units.batch, counts=units.count)
    classes, chosen, exact = classify(layouts)
    if not exact:
        notes.append(
            f"perturbations whose rows lie alike (numbers within a factor of {CLASS_RATIO}) share one null, since they "
            f"have more than {MOST_CLASSES} layouts"
        )
    p = {name: np.full(len(units.names), np.nan) for name in observed}
    controls = held.controls.compact()
    for number, layout in enumerate(chosen):
        members = np.flatnonzero(classes == number)
        drawn = _draw_layout(layout, held, n_null=n_null, seed=seed, notes=notes)
        consistency, magnitude = pseudo_statistics(
            layout, drawn, controls, by_guide=units.by_guide, across_batches=units.across_batches
        )
        null = {"consistency": consistency, "magnitude": magnitude}
        owners = [held.owner[batch][places] for batch, places in drawn.items()]
        for whom, usable in _fair_draws(members, owners, held.perturbations):
            for name, values in null.items():
                tolerance = _ROUNDING if name == "consistency" else _ROUNDING * observed[name][whom]
                p[name][whom] = add_one_p(values[usable], observed[name][whom], tolerance=tolerance)
    return p


def _draw_layout(layout: Layout, held: HeldOut, *, n_null: int, seed: int, notes: list[str]) -> dict[int, Integers]:
    wanted: dict[int, int] = {}
    for _, batch, rows in layout:
        wanted[batch] = wanted.get(batch, 0) + rows
    available = held.sizes(wanted)
    if any(is_crowded(rows, available[batch]) for batch, rows in wanted.items()):
        notes.append(
            "some perturbations have a quarter as many rows in a batch as it has held-out controls, or more: their "
            "pseudo-perturbations are drawn with replacement, and their p is rather too large"
        )
    # Where a batch holds one unit only, the order of the rows drawn does not matter.
    return draw_rows(
        wanted,
        available,
        n_draws=n_null,
        rng=generator_for(seed, layout),
        enumerable=len(wanted) == len(layout),
    )


def judge_precision(
    units: Units,
    held: HeldOut,
    replicates: Replicates,
    *,
    seed: int,
    n_null: int,
    notes: list[str],
) -> tuple[Floats, Floats, Floats]:
    """Measure how well replicates find each other among the controls of their batch, and judge it.

    The null is that of labels permuted among the controls of every batch: as many of them as the perturbation has
    replicates find each other among the rest. Random ranks would treat the two queries of a pair as independent, which
    they are not: at a nominal 5 % they call 6 to 10 % of inactive perturbations.

    Returns
    -------
    tuple
        Mean average precision, the same as a share of what is possible above chance, and p, shape (n_perturbations,)
        each; NaN where a perturbation has no positives or its batches fewer than four controls a replicate.
    """
    n_perturbations = len(units.names)
    owner, batch = units.owner[replicates.kept_unit], units.batch[replicates.kept_unit]
    blank = np.full(n_perturbations, np.nan)
    used = replicates.kept.any(axis=1)
    if units.by_guide and len(held.perturbations):
        used &= ~np.isin(owner, held.perturbations)
        notes.append("average precision is not told for controls, which are part of the means they would rank among")
    if not used.any():
        return blank, blank, blank
    owner, batch = owner[used], batch[used]
    size = _unit_sizes(owner, batch, units.count[replicates.kept_unit[used]]) if units.by_guide else np.ones_like(batch)
    pools = _Pools(held, seed=seed)
    pool = pools.numbers(batch, size)
    ranked = precision_against_pools(
        replicates.kept[used],
        owner=owner,
        batch=batch if units.across_batches else None,
        pool=pool,
        pools=pools.directions,
        pool_owner=pools.owner if len(held.perturbations) else None,
        seed=seed,
    )
    mean, normalized = (
        _mean_by(values, owner, n_perturbations) for values in (ranked.average_precision, ranked.normalized)
    )
    p = np.full(n_perturbations, np.nan)
    members, layouts = _ranked_layouts(owner, batch, size)
    classes, chosen, _ = classify(layouts)
    for number, layout in enumerate(chosen):
        null, drawn = _null_precision(layout, pools, across_batches=units.across_batches, n_null=n_null, seed=seed)
        for whom, usable in _fair_draws(members[classes == number], drawn, held.perturbations):
            p[whom] = add_one_p(null[usable], normalized[whom], tolerance=_ROUNDING)
    if pools.reduced:
        notes.append(f"average precision ranks replicates among {MOST_NEGATIVES} controls of a batch where it has more")
    if units.by_guide:
        notes.append("average precision ranks guides among means of as many held-out controls as a guide has rows")
    return mean, normalized, p


class _Pools:
    """What replicates are ranked among: held-out controls of a batch, or means of them of a given size."""

    def __init__(self, held: HeldOut, *, seed: int) -> None:
        self._held, self._seed = held, seed
        self._numbers: dict[tuple[int, int], int] = {}
        self.directions: list[npt.NDArray[np.float32]] = []
        self.owner: list[Integers] = []
        self.reduced = False

    def number(self, batch: int, size: int) -> int:
        """Look the number of a pool up; it is made when first asked for."""
        if (batch, size) not in self._numbers:
            self._numbers[batch, size] = len(self.directions)
            values, owner = self._held.controls.values[batch], self._held.owner[batch]
            n_groups = len(values) // size
            shuffled = generator_for(self._seed, ("pool", batch, size)).permutation(len(values))[: n_groups * size]
            self.reduced |= n_groups > MOST_NEGATIVES
            groups = shuffled.reshape(n_groups, size)[:MOST_NEGATIVES]
            means = sum_rows(values, groups) / np.float32(size) if len(groups) else values[:0]
            self.directions.append(unit_vectors(means))
            self.owner.append(owner[groups[:, 0]] if size == 1 else np.full(len(groups), -1))
        return self._numbers[batch, size]

    def numbers(self, batch: Integers, size: Integers) -> Integers:
        """Pool of each replicate."""
        pairs, place = np.unique(np.stack([batch, size], axis=1), axis=0, return_inverse=True)
        return np.array([self.number(*pair) for pair in pairs.tolist()], dtype=np.int64)[place.reshape(-1)]


def _unit_sizes(owner: Integers, batch: Integers, count: Integers) -> Integers:
    """Rows of a control mean that stands beside each unit: the median of its perturbation's units in the batch."""
    _, group = np.unique(np.stack([owner, batch], axis=1), axis=0, return_inverse=True)
    group = group.reshape(-1)
    order = np.lexsort((count, group))
    first = np.searchsorted(group[order], np.arange(int(group.max()) + 1))
    last = np.r_[first[1:], len(group)]
    middle = count[order][(first + last - 1) // 2]
    return np.array([round_rows(rows) for rows in middle.tolist()], dtype=np.int64)[group]


def _ranked_layouts(owner: Integers, batch: Integers, size: Integers) -> tuple[Integers, list[Layout]]:
    """Perturbations, and how their replicates lie: lines of size of a control mean, batch, replicates."""
    lines, many = np.unique(np.stack([owner, batch, size], axis=1), axis=0, return_counts=True)
    members, first = np.unique(lines[:, 0], return_index=True)
    triples = [(rows, place, number) for (_, place, rows), number in zip(lines.tolist(), many.tolist(), strict=True)]
    bounds = [*first.tolist(), len(triples)]
    return members, [tuple(triples[left:right]) for left, right in pairwise(bounds)]


def _null_precision(
    layout: Layout, pools: _Pools, *, across_batches: bool, n_null: int, seed: int
) -> tuple[Floats, list[Integers]]:
    """Rank controls among each other; returns the scores, and by batch whose rows each draw has."""
    numbers = {batch: pools.number(batch, size) for size, batch, _ in layout}
    wanted = {batch: rows for _, batch, rows in layout}
    available = {batch: len(pools.directions[number]) for batch, number in numbers.items()}
    # Among so few controls, the rest would be another kind of crowd than the perturbation itself was ranked in.
    if any(rows > CROWDED * available[batch] or is_crowded(rows, available[batch]) for batch, rows in wanted.items()):
        return np.empty(0), []
    rng = generator_for(seed, ("precision", *layout))
    drawn = draw_rows(wanted, available, n_draws=n_null, rng=rng)
    n_draws = len(next(iter(drawn.values())))
    n_rows = sum(wanted.values())
    batches, pool = (np.repeat(list(of), list(wanted.values())) for of in (wanted, numbers.values()))
    score = np.empty(n_draws)
    n_features = pools.directions[0].shape[1]
    step = max(1, _MOST_VALUES // (n_rows * n_features))
    for start in range(0, n_draws, step):
        places = {batch: rows[start : start + step] for batch, rows in drawn.items()}
        member = np.concatenate(list(places.values()), axis=1)
        vectors = np.concatenate([pools.directions[numbers[batch]][rows] for batch, rows in places.items()], axis=1)
        owner = np.repeat(np.arange(len(member)), n_rows)
        ranked = precision_against_pools(
            vectors.reshape(-1, n_features),
            owner=owner,
            batch=np.tile(batches, len(member)) if across_batches else None,
            pool=np.tile(pool, len(member)),
            pools=pools.directions,
            member=member.reshape(-1),
            seed=int(rng.integers(2**32)),
        )
        score[start : start + step] = _mean_by(ranked.normalized, owner, len(member))
    return score, [pools.owner[numbers[batch]][rows] for batch, rows in drawn.items()]


def _fair_draws(
    members: Integers, owners: Iterable[Integers], controls: Integers
) -> list[tuple[Integers, npt.NDArray[np.bool_] | slice]]:
    """Say which draws judge whom: a control that is a perturbation too is not judged by its own rows."""
    is_control = np.isin(members, controls)
    fair: list[tuple[Integers, npt.NDArray[np.bool_] | slice]] = [(members[~is_control], slice(None))]
    owners = list(owners)
    for own in members[is_control].tolist():
        if owners:
            mixed = np.any([(batch == own).any(axis=1) for batch in owners], axis=0)
            fair.append((np.array([own]), ~mixed))
    return fair


def _mean_by(values: Floats, owner: Integers, n_owners: int) -> Floats:
    """Mean of the values of each owner, those that are NaN left out."""
    told = ~np.isnan(values)
    count = np.bincount(owner[told], minlength=n_owners)
    total = np.bincount(owner[told], values[told], minlength=n_owners)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
