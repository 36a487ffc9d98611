"""One pass over the rows: mergeable counts, means and control covariances, from which all else follows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.errors import InputError, listed
from explorer.screen import Representation, Screen

# Above this size the control covariances (batches × features²) are not collected; TVN and sphering then
# need fewer features first.
MOST_COVARIANCE_BYTES = 2**30

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class RowLabels:
    """What one pass needs to know of every row; made once, shared by all chunks.

    Attributes
    ----------
    unit
        Unit of each row, shape (n_rows,); −1 for rows that enter no unit (controls that leave the map,
        rows outside the filter).
    batch
        Batch of each row, shape (n_rows,).
    control
        Whether each row is a control that may fit an alignment, shape (n_rows,).
    units
        One line a unit, columns ``perturbation, guide, batch``; guide is null where none is declared.
    batches
        Names of the batches.
    """

    unit: npt.NDArray[np.int64]
    batch: npt.NDArray[np.int64]
    control: npt.NDArray[np.bool_]
    units: pl.DataFrame
    batches: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ScreenMoments:
    """Moments of some rows of a screen, in the order of `RowLabels`.

    Attributes
    ----------
    labels
        The labels all of it refers to.
    unit_count, unit_mean
        Rows of each unit, and their mean, shapes (n_units,) and (n_units, n_features).
    control_count, control_mean
        Controls of each batch, and their mean, shapes (n_batches,) and (n_batches, n_features).
    control_scatter
        Sum of outer products of the controls about their batch mean, shape (n_batches, n_features,
        n_features); only its diagonal, shape (n_batches, n_features), where there are very many features.
    control_rows
        The controls themselves and their batches while there are fewer than two for each feature (a
        covariance of so few must be shrunk, and the shrinkage needs them); otherwise None.
    excluded
        Row numbers left out because a value was NaN or infinite.
    """

    labels: RowLabels
    unit_count: npt.NDArray[np.int64]
    unit_mean: Floats
    control_count: npt.NDArray[np.int64]
    control_mean: Floats
    control_scatter: Floats
    control_rows: tuple[Floats, npt.NDArray[np.int64]] | None
    excluded: npt.NDArray[np.int64]

    @property
    def n_features(self) -> int:
        """Number of features."""
        return int(self.unit_mean.shape[1])

    @property
    def has_covariance(self) -> bool:
        """Whether full covariances of the controls were collected."""
        return self.control_scatter.ndim == 3


def label_rows(screen: Screen, *, rows: npt.NDArray[np.bool_] | None = None) -> RowLabels:
    """Give numbers to the units (perturbation × guide × batch) and batches of a screen.

    Parameters
    ----------
    screen
        The rows and their roles.
    rows
        Rows to use, shape (n_rows,); all without it. Rows left out enter neither units nor controls.
    """
    roles = screen.roles
    blank = pl.lit(None, dtype=pl.String)
    table = screen.rows.select(
        pl.col(roles.perturbation).cast(pl.String).alias("perturbation"),
        (pl.col(roles.guide).cast(pl.String) if roles.guide else blank).alias("guide"),
        (pl.col(roles.batch).cast(pl.String) if roles.batch else pl.lit("all")).alias("batch"),
    )
    if table["batch"].null_count():
        message = (
            f"{table['batch'].null_count():,} rows have no batch in column {roles.batch!r}: name it, or drop the role"
        )
        raise InputError(message)
    used = np.ones(table.height, dtype=bool) if rows is None else np.asarray(rows, dtype=bool)
    control = screen.is_control()
    enters = used if roles.keep_controls else used & ~control
    units = table.filter(pl.Series(enters)).unique().sort("perturbation", "guide", "batch")
    numbered = units.with_row_index("unit").with_columns(pl.col("unit").cast(pl.Int64))
    unit = (
        table.join(
            numbered,
            on=["perturbation", "guide", "batch"],
            how="left",
            nulls_equal=True,
            maintain_order="left",
        )["unit"]
        .fill_null(-1)
        .to_numpy()
    )
    batches = tuple(sorted(table["batch"].unique().to_list()))
    batch = table["batch"].replace_strict(batches, list(range(len(batches))), return_dtype=pl.Int64).to_numpy()
    return RowLabels(np.where(enters, unit, -1), batch, control & used, units, batches)


def block_moments(values: npt.NDArray[np.float32], labels: RowLabels, *, start: int) -> ScreenMoments:
    """Collect the moments of one block of rows.

    Parameters
    ----------
    values
        Rows `start` to ``start + len(values)`` of the screen, shape (n_block, n_features).
    labels
        Labels of all rows.
    start
        Number of the block's first row.

    Returns
    -------
    ScreenMoments
        Of this block alone; rows with a NaN or infinite value are left out and counted.
    """
    stop = start + len(values)
    finite = np.isfinite(values).all(axis=1)
    block = np.asarray(values, dtype=np.float64)
    n_features = block.shape[1]
    unit = labels.unit[start:stop]
    enters = finite & (unit >= 0)
    count, mean = _group_means(block[enters], unit[enters], labels.units.height)
    is_control = finite & labels.control[start:stop]
    controls, batch = block[is_control], labels.batch[start:stop][is_control]
    control_count, control_mean = _group_means(controls, batch, len(labels.batches))
    wide = 8 * len(labels.batches) * n_features**2 > MOST_COVARIANCE_BYTES
    shape = (len(labels.batches), n_features) if wide else (len(labels.batches), n_features, n_features)
    scatter = np.zeros(shape)
    for number in np.flatnonzero(control_count):
        deviation = controls[batch == number] - control_mean[number]
        scatter[number] = (deviation**2).sum(axis=0) if wide else deviation.T @ deviation
    few = not wide and len(controls) < 2 * n_features
    return ScreenMoments(
        labels=labels,
        unit_count=count,
        unit_mean=mean,
        control_count=control_count,
        control_mean=control_mean,
        control_scatter=scatter,
        control_rows=(controls, batch) if few else None,
        excluded=start + np.flatnonzero(~finite & ((unit >= 0) | labels.control[start:stop])),
    )


def merge_moments(one: ScreenMoments, other: ScreenMoments) -> ScreenMoments:
    """Merge the moments of two disjoint sets of rows, by Chan's update.

    References
    ----------
    Chan, Golub and LeVeque 1983, doi:10.1080/00031305.1983.10483115.
    """
    unit_count, unit_mean, _ = _merge_means((one.unit_count, one.unit_mean), (other.unit_count, other.unit_mean))
    control_count, control_mean, shift = _merge_means(
        (one.control_count, one.control_mean), (other.control_count, other.control_mean)
    )
    both = np.maximum(control_count, 1)
    weight = one.control_count * other.control_count / both
    products = np.einsum("bi,bj->bij", shift, shift) if one.has_covariance else shift**2
    between = weight.reshape(-1, *(1,) * (products.ndim - 1)) * products
    rows = None
    if one.control_rows is not None and other.control_rows is not None:
        values = np.concatenate([one.control_rows[0], other.control_rows[0]])
        if len(values) < 2 * one.n_features:
            rows = values, np.concatenate([one.control_rows[1], other.control_rows[1]])
    return ScreenMoments(
        labels=one.labels,
        unit_count=unit_count,
        unit_mean=unit_mean,
        control_count=control_count,
        control_mean=control_mean,
        control_scatter=one.control_scatter + other.control_scatter + between,
        control_rows=rows,
        excluded=np.union1d(one.excluded, other.excluded),
    )


def collect_moments(
    screen: Screen,
    representation: Representation,
    *,
    rows: npt.NDArray[np.bool_] | None = None,
    chunk_rows: int | None = None,
) -> ScreenMoments:
    """Read a representation once, a block at a time, and keep its moments.

    Parameters
    ----------
    screen, representation
        The rows.
    rows
        Rows to use, shape (n_rows,); all without it.
    chunk_rows
        Rows of a block; by default as many as fit in 32 MiB.

    Raises
    ------
    InputError
        When no row is left.
    """
    labels = label_rows(screen, rows=rows)
    merged = _merge_all(
        block_moments(values, labels, start=start) for start, values in representation.chunks(chunk_rows)
    )
    if merged is None or not merged.unit_count.any():
        message = f"representation {representation.name!r} has no row of finite numbers to make a map of"
        raise InputError(message)
    return merged


def _merge_all(blocks: Iterable[ScreenMoments]) -> ScreenMoments | None:
    merged = None
    for block in blocks:
        merged = block if merged is None else merge_moments(merged, block)
    return merged


def _group_means(values: Floats, group: npt.NDArray[np.int64], n_groups: int) -> tuple[npt.NDArray[np.int64], Floats]:
    from scipy import sparse

    count = np.bincount(group, minlength=n_groups)
    indicator = sparse.csr_matrix((np.ones(len(group)), (group, np.arange(len(group)))), shape=(n_groups, len(values)))
    return count, np.asarray(indicator @ values) / np.maximum(count, 1)[:, None]


def _merge_means(
    one: tuple[npt.NDArray[np.int64], Floats], other: tuple[npt.NDArray[np.int64], Floats]
) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    (n_one, mean_one), (n_other, mean_other) = one, other
    count = n_one + n_other
    shift = mean_other - mean_one
    share = (n_other / np.maximum(count, 1))[:, None]
    # An empty side must not move the mean: its own is a placeholder of zeros.
    merged = np.where((n_one == 0)[:, None], mean_other, mean_one + shift * share)
    return count, merged, shift


def describe_excluded(moments: ScreenMoments, perturbations: list[str]) -> str:
    """Say how many rows were left out for NaN or infinite values, and whose; empty where none was."""
    if not len(moments.excluded):
        return ""
    names = dict.fromkeys(perturbations[row] for row in moments.excluded.tolist())
    return f"{len(moments.excluded):,} rows with NaN or infinite values left out: {listed(names)}"
