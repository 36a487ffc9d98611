"""Alignments fitted on controls: every one is an affine map for each batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from explorer.errors import InputError, listed, unknown_name
from explorer.moments import Floats, ScreenMoments

Method = Literal["none", "center", "center-scale", "tvn", "sphere"]
METHODS: tuple[Method, ...] = get_args(Method)

EXPLANATIONS: dict[Method, str] = {
    "none": "profiles as they are",
    "center": "minus the mean of the controls of the batch",
    "center-scale": "minus the mean and divided by the standard deviation of the controls of the batch",
    "tvn": "typical variation normalisation: directions in which controls vary count less; batches matched by CORAL",
    "sphere": "sphering: controls have the identity as covariance afterwards",
}

# CORAL's ridge, as in EFAAR; it keeps the batch's inverse square root finite.
CORAL_RIDGE = 0.5
# Directions below this share of the largest control variance are numerically null: dropped, never divided by.
NULL_VARIANCE = 1e-10


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """An affine map for each batch: ``(x - offset[batch]) * scale[batch] @ matrix[batch]``.

    Attributes
    ----------
    method
        Its name.
    offset, scale
        Shape (n_batches, n_features).
    matrix
        Shape (n_batches, n_features, n_features); None stands for the identity.
    notes
        What was done beyond the method's definition, in sentences.
    """

    method: Method
    offset: Floats
    scale: Floats
    matrix: Floats | None = None
    notes: tuple[str, ...] = ()

    def apply(self, values: npt.NDArray[np.floating], batch: npt.NDArray[np.int64]) -> Floats:
        """Align rows.

        Parameters
        ----------
        values
            Rows, shape (n, n_features).
        batch
            Batch of each, shape (n,).

        Returns
        -------
        numpy.ndarray
            Aligned rows, shape (n, n_features), float64.
        """
        aligned = (np.asarray(values, dtype=np.float64) - self.offset[batch]) * self.scale[batch]
        if self.matrix is None:
            return aligned
        for number in np.unique(batch):
            rows = batch == number
            aligned[rows] = aligned[rows] @ self.matrix[number]
        return aligned


def fit_alignment(moments: ScreenMoments, method: str = "none") -> Alignment:
    """Fit an alignment on the controls, from moments alone.

    Parameters
    ----------
    moments
        Of the rows to be aligned.
    method
        One of `METHODS`.

    Returns
    -------
    Alignment
        Exactly the definition named; its `notes` say where a covariance was shrunk.

    Raises
    ------
    InputError
        When the method is unknown, there are no controls, or a batch has too few of them.

    References
    ----------
    TVN: Ando et al. 2017, doi:10.1101/161422. CORAL: Sun et al. 2016, doi:10.1609/aaai.v30i1.10306.
    Sphering: Kessy et al. 2018, doi:10.1080/00031305.2016.1277159.
    Shrinkage: Ledoit and Wolf 2004, doi:10.1016/S0047-259X(03)00096-4.
    """
    if method not in _FITS:
        msg = "alignment"
        raise unknown_name(msg, method, METHODS)
    if method != "none":
        _require_controls(moments, least=1 if method == "center" else 2)
    if method in ("tvn", "sphere") and not moments.has_covariance:
        message = (
            f"{method} needs a covariance of {moments.n_features:,} features in every batch: "
            "reduce them first, with PCA"
        )
        raise InputError(message)
    return _FITS[method](moments)


def _require_controls(moments: ScreenMoments, *, least: int) -> None:
    if not moments.control_count.any():
        message = "no controls to align on: name them with control under [roles], or use alignment 'none'"
        raise InputError(message)
    used = np.unique(moments.labels.batch[moments.labels.unit >= 0])
    short = [number for number in used.tolist() if moments.control_count[number] < least]
    if short:
        names = listed(moments.labels.batches[number] for number in short)
        count = int(moments.control_count[short[0]])
        message = (
            f"batch {names} has {count} controls, expected at least {least}: add controls, or use alignment 'none'"
        )
        raise InputError(message)


def _none(moments: ScreenMoments) -> Alignment:
    shape = moments.control_mean.shape
    return Alignment("none", np.zeros(shape), np.ones(shape))


def _center(moments: ScreenMoments) -> Alignment:
    return Alignment("center", moments.control_mean, np.ones(moments.control_mean.shape))


def _center_scale(moments: ScreenMoments) -> Alignment:
    return Alignment("center-scale", moments.control_mean, 1.0 / _control_sd(moments))


def _control_sd(moments: ScreenMoments) -> Floats:
    """Take the standard deviation of the controls of each batch, ddof = 0; 1 where they do not vary."""
    scatter = moments.control_scatter
    squares = np.diagonal(scatter, axis1=1, axis2=2) if moments.has_covariance else scatter
    sd = np.sqrt(squares / np.maximum(moments.control_count, 1)[:, None])
    # Rounding leaves a constant feature a deviation of the size of its last digit, which is no variation.
    constant = sd <= 1e-7 * np.maximum(np.abs(moments.control_mean), 1e-30)
    return np.where(constant, 1.0, sd)


def _tvn(moments: ScreenMoments) -> Alignment:
    count = moments.control_count
    scale = 1.0 / _control_sd(moments)
    # Scatter of the controls after centre-scaling each batch; every batch's mean is zero by then.
    scatter = moments.control_scatter * scale[:, :, None] * scale[:, None, :]
    pooled, notes = _covariance(scatter, moments, scale=scale)
    variances, directions = np.linalg.eigh(pooled)
    whiten = directions * _inverse_roots(variances)
    notes = (*notes, *_dropped(variances))
    matrices = np.empty_like(scatter)
    for number in range(len(count)):
        own = whiten.T @ scatter[number] @ whiten / max(int(count[number]), 1)
        values, vectors = np.linalg.eigh(own + CORAL_RIDGE * np.eye(len(own)))
        matrices[number] = whiten @ (vectors / np.sqrt(values)) @ vectors.T
    return Alignment("tvn", moments.control_mean, scale, matrices, notes)


def _sphere(moments: ScreenMoments) -> Alignment:
    pooled, notes = _covariance(moments.control_scatter, moments, scale=None)
    n_rows = int(moments.control_count.sum())
    # The unbiased covariance of the fitted controls becomes the identity: ddof = 1 about the batch means.
    if not notes:
        pooled = pooled * n_rows / max(n_rows - 1, 1)
    variances, directions = np.linalg.eigh(pooled)
    matrix = (directions * _inverse_roots(variances)) @ directions.T
    notes = (*notes, *_dropped(variances))
    shape = moments.control_mean.shape
    matrices = np.broadcast_to(matrix, (shape[0], *matrix.shape))
    return Alignment("sphere", moments.control_mean, np.ones(shape), matrices, notes)


def _inverse_roots(variances: Floats) -> Floats:
    kept = variances > NULL_VARIANCE * max(float(variances.max()), 0.0)
    return np.where(kept, 1.0 / np.sqrt(np.where(kept, variances, 1.0)), 0.0)


def _dropped(variances: Floats) -> tuple[str, ...]:
    count = int((_inverse_roots(variances) == 0).sum())
    if not count:
        return ()
    return (f"{count:,} of {len(variances):,} directions dropped: controls do not vary in them",)


def _covariance(scatter: Floats, moments: ScreenMoments, *, scale: Floats | None) -> tuple[Floats, tuple[str, ...]]:
    """Pool the within-batch covariance (ddof = 0), shrunk where there are fewer than two controls a feature."""
    n_rows, n_features = int(moments.control_count.sum()), moments.n_features
    pooled = scatter.sum(axis=0) / n_rows
    if n_rows >= 2 * n_features or moments.control_rows is None:
        return pooled, ()
    rows, batch = moments.control_rows
    centred = rows - moments.control_mean[batch]
    if scale is not None:
        centred = centred * scale[batch]
    shrinkage = ledoit_wolf_shrinkage(centred)
    target = np.trace(pooled) / n_features * np.eye(n_features)
    note = (
        f"{n_rows:,} controls for {n_features:,} features: covariance shrunk by {shrinkage:.3f} (Ledoit-Wolf), "
        "since fewer than two controls a feature make it unreliable"
    )
    return (1 - shrinkage) * pooled + shrinkage * target, (note,)


def ledoit_wolf_shrinkage(centred: Floats) -> float:
    """Weight of the spherical target that minimises the expected squared error of a covariance.

    Parameters
    ----------
    centred
        Rows about their mean, shape (n_rows, n_features).

    References
    ----------
    Ledoit and Wolf 2004, doi:10.1016/S0047-259X(03)00096-4.
    """
    n_rows, n_features = centred.shape
    covariance = centred.T @ centred / n_rows
    mean_variance = np.trace(covariance) / n_features
    spread = float(((covariance - mean_variance * np.eye(n_features)) ** 2).sum())
    if spread == 0:
        return 0.0
    fourth = float((np.einsum("ij,ij->i", centred, centred) ** 2).sum()) / n_rows
    error = (fourth - float((covariance**2).sum())) / n_rows
    return float(min(max(error, 0.0), spread) / spread)


_FITS: dict[str, Callable[[ScreenMoments], Alignment]] = {
    "none": _none,
    "center": _center,
    "center-scale": _center_scale,
    "tvn": _tvn,
    "sphere": _sphere,
}
