"""Energy distance between two sets of rows, and its permutation test."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from explorer.align import check_method, fit_alignment, moments_for
from explorer.errors import InputError, unknown_name
from explorer.moments import ScreenMoments, selected_rows
from explorer.pseudo import draw_places
from explorer.screen import Screen

Floats = npt.NDArray[np.float64]

# Rows of a side: the matrix of their distances then stays below 128 MiB.
MOST_ROWS = 2_000
# Permutations whose products are held at once, in values.
_MOST_VALUES = 2**22
# Differences this small, relative to the mean distance, are rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class EnergyTest:
    """Energy distance of two sets of rows.

    Attributes
    ----------
    distance
        Euclidean U-statistic, in aligned units: 0 is expected where the distributions are equal, and values below 0
        are kept; NaN with fewer than two rows on a side. Larger is further apart.
    p
        By permuting labels within batches; NaN where no batch has rows of both sides.
    n_x, n_y
        Rows used.
    n_permutations
        How many there were.
    notes
        What was left out, in sentences.
    """

    distance: float
    p: float
    n_x: int
    n_y: int
    n_permutations: int
    notes: tuple[str, ...] = ()


def energy_distance(x: npt.NDArray[np.floating], y: npt.NDArray[np.floating]) -> float:
    """Compute ``2 · mean|x − y| − mean|x − x'| − mean|y − y'|`` over pairs of distinct rows.

    Parameters
    ----------
    x, y
        Rows, shapes (n_x, n_features) and (n_y, n_features).

    Returns
    -------
    float
        The unbiased (U) statistic of Euclidean distances, so it can be negative. Other packages report the V-statistic,
        which counts a row's distance of 0 to itself and is too large for few rows, or squared distances.

    References
    ----------
    Székely and Rizzo 2013, doi:10.1016/j.jspi.2013.03.018.
    """
    return energy_test(x, y, n_permutations=0).distance


def energy_distances(
    groups: Sequence[npt.NDArray[np.floating]], reference: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """Compute the energy distance of many groups of rows from one reference, whose own distances are taken once.

    Parameters
    ----------
    groups
        Rows of each group, shapes (n_rows, n_features).
    reference
        Rows that every group is compared with, shape (n_reference, n_features).

    Returns
    -------
    numpy.ndarray
        `energy_distance` of each group, shape (n_groups,); NaN with fewer than two rows on a side.

    Raises
    ------
    InputError
        When the features differ in number.
    """
    found = np.full(len(groups), np.nan)
    n_reference, n_features = reference.shape
    wrong = next((group.shape[1] for group in groups if group.shape[1] != n_features), None)
    if wrong is not None:
        message = f"a group has {wrong:,} features and the reference {n_features:,}: give both in one representation"
        raise InputError(message)
    if n_reference < 2:
        return found
    origin = reference.mean(axis=0, dtype=np.float64)
    centred = reference - origin
    within_reference = _distances(centred).sum() / (n_reference * (n_reference - 1))
    for place, group in enumerate(groups):
        rows = len(group)
        if rows < 2:
            continue
        own = group - origin
        within = _distances(own).sum() / (rows * (rows - 1))
        found[place] = 2 * _cross_distances(own, centred).mean() - within - within_reference
    return found


def energy_test(
    x: npt.NDArray[np.floating],
    y: npt.NDArray[np.floating],
    *,
    batch_x: npt.NDArray[np.integer] | None = None,
    batch_y: npt.NDArray[np.integer] | None = None,
    n_permutations: int = 999,
    seed: int = 0,
) -> EnergyTest:
    """Test whether two sets of rows differ, by permuting which is which within every batch.

    Parameters
    ----------
    x, y
        Rows, shapes (n_x, n_features) and (n_y, n_features).
    batch_x, batch_y
        Batch of each row; one batch without them. Give both or neither.
    n_permutations
        How many; 0 leaves p undefined.
    seed
        Of the permutations.

    Raises
    ------
    InputError
        When the features differ in number, or only one side has batches.

    References
    ----------
    Székely and Rizzo 2013, doi:10.1016/j.jspi.2013.03.018. Peidli et al. 2024, doi:10.1038/s41592-023-02144-y.
    """
    if x.shape[1] != y.shape[1]:
        message = f"x has {x.shape[1]:,} features and y {y.shape[1]:,}: give both in the same representation"
        raise InputError(message)
    if (batch_x is None) != (batch_y is None):
        msg = "batches are given for one side only: give batch_x and batch_y, or neither"
        raise InputError(msg)
    n_x, n_y = len(x), len(y)
    if n_x < 2 or n_y < 2:
        return EnergyTest(math.nan, math.nan, n_x, n_y, n_permutations)
    distances = _distances(np.concatenate([x, y]).astype(np.float64))
    totals = distances.sum(axis=1)
    everything = float(totals.sum())

    def statistic(within: Floats, crossing: Floats) -> Floats:
        """Distance from the sums of distances within x and between x and all rows."""
        between = (crossing - within) / (n_x * n_y)
        in_x = within / (n_x * (n_x - 1))
        in_y = (everything - 2 * crossing + within) / (n_y * (n_y - 1))
        return np.asarray(2 * between - in_x - in_y)

    observed = float(statistic(np.asarray(distances[:n_x, :n_x].sum()), np.asarray(totals[:n_x].sum())))
    is_x = np.arange(n_x + n_y) < n_x
    batch = np.zeros(n_x + n_y) if batch_x is None or batch_y is None else np.concatenate([batch_x, batch_y])
    groups = [np.flatnonzero(batch == number) for number in np.unique(batch)]
    mixed = [group for group in groups if 0 < is_x[group].sum() < len(group)]
    if not mixed or not n_permutations:
        return EnergyTest(observed, math.nan, n_x, n_y, n_permutations)
    rng = np.random.default_rng(seed)
    least = observed - _ROUNDING * everything / distances.size
    # Both sides give the same statistic; the smaller one has fewer pairs to add up.
    few = is_x == (n_x <= n_y)
    fixed = [group[few[group]] for group in groups if not any(group is other for other in mixed)]
    exceeding = 0
    for count in _portions(n_permutations, len(is_x) + int(few.sum()) ** 2):
        drawn = [group[draw_places(int(few[group].sum()), len(group), n_draws=count, rng=rng)] for group in mixed]
        chosen = np.concatenate([*drawn, *(np.tile(rows, (count, 1)) for rows in fixed)], axis=1)
        crossing = totals[chosen].sum(axis=1)
        within = _sum_within(distances, chosen)
        if n_x > n_y:
            within, crossing = everything - 2 * crossing + within, everything - crossing
        exceeding += int(np.count_nonzero(statistic(within, crossing) >= least))
    return EnergyTest(observed, (1 + exceeding) / (1 + n_permutations), n_x, n_y, n_permutations)


def _portions(total: int, width: int) -> Iterator[int]:
    """Split permutations so that those at work together stay small."""
    step = max(1, _MOST_VALUES // width)
    for start in range(0, total, step):
        yield min(step, total - start)


def _sum_within(distances: Floats, chosen: npt.NDArray[np.int64]) -> Floats:
    """Sum the distances among the rows of each choice, shape (n_choices,)."""
    n_choices, rows = chosen.shape
    if 8 * rows <= len(distances):
        one, other = np.triu_indices(rows, 1)
        return 2 * np.asarray(distances.ravel()[chosen[:, one] * len(distances) + chosen[:, other]].sum(axis=1))
    # So large a share of all pairs is added faster by a matrix product.
    indicator = np.zeros((n_choices, len(distances)))
    np.put_along_axis(indicator, chosen, 1.0, axis=1)
    return np.asarray(np.einsum("ij,ij->i", indicator @ distances, indicator))


def _cross_distances(rows: Floats, others: Floats) -> Floats:
    """Euclidean distance of every row from every other one; both must lie near the origin."""
    found: Floats = rows @ others.T
    found *= -2
    found += np.einsum("ij,ij->i", rows, rows)[:, None]
    found += np.einsum("ij,ij->i", others, others)[None, :]
    np.maximum(found, 0, out=found)
    return np.sqrt(found, out=found)


def _distances(rows: Floats) -> Floats:
    """Euclidean distance of every two rows, exactly 0 and symmetric where it must be."""
    # About their mean, since squared lengths far from the origin would swallow the differences.
    centred = rows - rows.mean(axis=0)
    squares = np.einsum("ij,ij->i", centred, centred)
    found: Floats = centred @ centred.T
    found *= -2
    found += squares[:, None]
    found += squares[None, :]
    np.maximum(found, 0, out=found)
    np.sqrt(found, out=found)
    np.fill_diagonal(found, 0)
    return found


def perturbation_energy(
    screen: Screen,
    representation: str,
    perturbation: str,
    *,
    alignment: str = "none",
    moments: ScreenMoments | None = None,
    n_permutations: int = 999,
    seed: int = 0,
) -> EnergyTest:
    """Measure how far the rows of one perturbation lie from the controls of their batches.

    Parameters
    ----------
    screen
        The rows.
    representation
        Name of one of its representations.
    perturbation
        Name of a perturbation.
    alignment
        One of `explorer.align.METHODS`; half of the controls of each batch fit it, the other half is the control side.
    moments
        Of all rows of this representation, where they have been collected; then only the perturbation's own rows are
        read.
    n_permutations, seed
        Of the labels within batches; the seed also chooses rows where there are more than 2,000 on a side.

    Returns
    -------
    EnergyTest
        x is the perturbation, y the held-out controls of its batches.

    Raises
    ------
    InputError
        When a name is unknown or there are no controls.
    """
    source = screen.representation(representation)
    check_method(alignment)
    if not screen.is_control().any():
        message = (
            "no controls to measure an energy distance from: name them with --control, or with control in a card's "
            "[roles]"
        )
        raise InputError(message)
    moments = moments_for(alignment, screen, source, moments=moments, seed=seed)
    labels = moments.labels
    if perturbation not in labels.perturbations:
        msg = "perturbation"
        raise unknown_name(msg, perturbation, labels.perturbations)
    fitted = fit_alignment(moments, alignment, controls="fitting")
    own = labels.unit_perturbation == labels.perturbations.index(perturbation)
    wanted = np.append(own, False)[labels.unit]
    wanted[moments.excluded] = False
    notes = list(fitted.notes)
    rng = np.random.default_rng(seed)
    batches = np.unique(labels.batch[wanted])
    # A control that is a perturbation too is not compared with itself.
    usable = np.flatnonzero(np.isin(moments.held_out.batch, batches) & ~wanted[moments.held_out.row])
    rows = _sampled(np.flatnonzero(wanted), f"rows of {perturbation}", rng, notes)
    controls = _sampled(usable, "held-out controls", rng, notes)
    chosen = np.zeros(len(wanted), dtype=bool)
    chosen[rows] = True
    blocks = [(labels.batch[numbers], values) for numbers, values in selected_rows(source, chosen)]
    batch_x = np.concatenate([np.empty(0, dtype=np.int32), *(batch for batch, _ in blocks)])
    x = np.concatenate([np.empty((0, source.n_features), dtype=np.float32), *(values for _, values in blocks)])
    batch_y = moments.held_out.batch[controls]
    test = energy_test(
        fitted.apply(x, batch_x),
        fitted.apply(moments.held_out.values[controls], batch_y),
        batch_x=batch_x,
        batch_y=batch_y,
        n_permutations=n_permutations,
        seed=seed,
    )
    return EnergyTest(test.distance, test.p, test.n_x, test.n_y, n_permutations, tuple(notes))


def _sampled(rows: npt.NDArray[np.intp], what: str, rng: np.random.Generator, notes: list[str]) -> npt.NDArray[np.intp]:
    if len(rows) <= MOST_ROWS:
        return rows
    notes.append(f"{MOST_ROWS:,} of {len(rows):,} {what} used, chosen at random")
    return np.sort(rng.choice(rows, MOST_ROWS, replace=False))
