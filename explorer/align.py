"""Alignments fitted on controls: every one is an affine map for each batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from explorer.errors import InputError, listed, unknown_name
from explorer.moments import (
    ControlMoments,
    ControlPart,
    Floats,
    ScreenMoments,
    collect_moments,
    with_control_medians,
)
from explorer.screen import Representation, Screen

Method = Literal["none", "center", "center-scale", "center-scale-robust", "tvn", "sphere"]
METHODS: tuple[Method, ...] = get_args(Method)

EXPLANATIONS: dict[Method, str] = {
    "none": "profiles as they are",
    "center": "minus the mean of the controls of the batch",
    "center-scale": "minus the mean and divided by the standard deviation of the controls of the batch",
    "center-scale-robust": "minus the median and divided by 1.4826 times the median absolute deviation of the controls "
    "of the batch",
    "tvn": "typical variation normalisation: directions in which controls vary count less; batches matched by CORAL",
    "sphere": "sphering: controls have the identity as covariance afterwards",
}

# Values in float64 that are aligned at once.
_BLOCK_BYTES = 8 * 2**20
# CORAL's ridge, as in EFAAR; it keeps the batch's inverse square root finite.
CORAL_RIDGE = 0.5
# Directions below this share of the largest control variance are numerically null: dropped, never divided by.
NULL_VARIANCE = 1e-10
# The median absolute deviation of a normal variable times this is its standard deviation.
MAD_TO_SD = 1.4826


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

    def apply(self, values: npt.NDArray[np.floating], batch: npt.NDArray[np.integer]) -> Floats:
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
        aligned: Floats = np.empty(np.shape(values))
        # Some at a time: the offsets and scales of all rows would be two more tables as large.
        step = max(1, _BLOCK_BYTES // (8 * max(1, aligned.shape[1])))
        for start in range(0, len(aligned), step):
            here = slice(start, start + step)
            own = (np.asarray(values[here], dtype=np.float64) - self.offset[batch[here]]) * self.scale[batch[here]]
            if self.matrix is not None:
                for number in np.unique(batch[here]):
                    rows = batch[here] == number
                    own[rows] = own[rows] @ self.matrix[number]
            aligned[here] = own
        return aligned


def fit_alignment(moments: ScreenMoments, method: str = "none", *, controls: ControlPart = "all") -> Alignment:
    """Fit an alignment on the controls, from moments alone.

    Parameters
    ----------
    moments
        Of the rows to be aligned.
    method
        One of `METHODS`.
    controls
        Which controls fit it: all of them, or the half that is not held out where activity is judged.

    Returns
    -------
    Alignment
        Exactly the definition named; its `notes` say where a covariance was shrunk.

    Raises
    ------
    InputError
        When the method is unknown, there are no controls, a batch has too few of them, or they do not vary where
        the method needs them to.

    References
    ----------
    TVN: Ando et al. 2017, doi:10.1101/161422. CORAL: Sun et al. 2016, doi:10.1609/aaai.v30i1.10306.
    Sphering: Kessy et al. 2018, doi:10.1080/00031305.2016.1277159.
    Shrinkage: Ledoit and Wolf 2004, doi:10.1016/S0047-259X(03)00096-4.
    """
    check_method(method)
    part = moments.controls(controls)
    if method != "none":
        _require_controls(moments, part, least=1 if method == "center" else 2)
    if needs_covariance(method) and not part.has_covariance:
        message = (
            f"{method} needs a covariance of {moments.n_features:,} features in every batch: "
            "reduce them first, with PCA"
        )
        raise InputError(message)
    return _FITS[method](part)


def check_method(method: str) -> None:
    """Check the name of an alignment.

    Raises
    ------
    InputError
        When there is none of that name; the nearest is given.
    """
    if method not in _FITS:
        msg = "alignment"
        raise unknown_name(msg, method, METHODS)


def needs_covariance(method: str) -> bool:
    """Whether an alignment needs full covariances of the controls."""
    return method in ("tvn", "sphere")


def moments_for(
    method: str, screen: Screen, representation: Representation, *, moments: ScreenMoments | None = None, seed: int = 0
) -> ScreenMoments:
    """Collect what an alignment needs, or add to moments at hand what they lack: medians of the controls.

    Parameters
    ----------
    method, screen, representation
        The alignment, and the rows.
    moments
        Of these rows, where they have been collected; with full covariances if the method needs them.
    seed
        Of the choice of the controls held out, where the moments are collected here.
    """
    if moments is None:
        moments = collect_moments(screen, representation, covariance=needs_covariance(method), seed=seed)
    if method == "center-scale-robust" and moments.medians is None:
        moments = with_control_medians(moments, representation)
    return moments


def _require_controls(moments: ScreenMoments, controls: ControlMoments, *, least: int) -> None:
    if not controls.count.any():
        message = (
            "no controls to align on: name them with --control, or with control in a card's [roles], or use alignment "
            "'none', the only one that needs none"
        )
        raise InputError(message)
    used = np.unique(moments.unit_batch)
    short = used[controls.count[used] < least].tolist()
    if short:
        names = listed(moments.labels.batches[number] for number in short)
        count = int(controls.count[short[0]])
        has = (
            f"batch {names} has {count} control{'' if count == 1 else 's'}, expected at least {least}"
            if len(short) == 1
            else f"batches {names} have fewer than the {least} control{'' if least == 1 else 's'} needed in each"
        )
        remain = "'none' or 'center'" if controls.count[used].all() else "'none'"
        message = f"{has}: add controls, or use alignment {remain}, which can do with so few"
        raise InputError(message)


def _none(controls: ControlMoments) -> Alignment:
    shape = controls.mean.shape
    return Alignment("none", np.zeros(shape), np.ones(shape))


def _center(controls: ControlMoments) -> Alignment:
    return Alignment("center", controls.mean, np.ones(controls.mean.shape))


def _center_scale(controls: ControlMoments) -> Alignment:
    return Alignment("center-scale", controls.mean, 1.0 / _control_sd(controls))


def _center_scale_robust(controls: ControlMoments) -> Alignment:
    if controls.medians is None:
        message = "robust alignment needs medians of the controls: collect the moments with medians=True"
        raise InputError(message)
    median, deviation = controls.medians
    sd = MAD_TO_SD * deviation
    return Alignment("center-scale-robust", median, 1.0 / np.where(_varies(sd, median), sd, 1.0))


def _control_sd(controls: ControlMoments) -> Floats:
    """Take the standard deviation of the controls of each batch, ddof = 0; 1 where they do not vary."""
    scatter = controls.scatter
    squares = np.diagonal(scatter, axis1=1, axis2=2) if controls.has_covariance else scatter
    sd = np.sqrt(squares / np.maximum(controls.count, 1)[:, None])
    return np.where(_varies(sd, controls.mean), sd, 1.0)


def _varies(sd: Floats, middle: Floats) -> npt.NDArray[np.bool_]:
    # Rounding leaves a constant feature a deviation of the size of its last digit, which is no variation.
    return sd > 1e-7 * np.maximum(np.abs(middle), 1e-30)


def _tvn(controls: ControlMoments) -> Alignment:
    count = controls.count
    scale = 1.0 / _control_sd(controls)
    # Scatter of the controls after centre-scaling each batch; every batch's mean is zero by then.
    scatter = controls.scatter * scale[:, :, None] * scale[:, None, :]
    pooled, notes = _covariance(scatter, controls, scale=scale)
    variances, directions = np.linalg.eigh(pooled)
    whiten = directions * _inverse_roots(variances)
    notes = (*notes, *_dropped(variances))
    matrices = np.empty_like(scatter)
    for number in range(len(count)):
        own = whiten.T @ scatter[number] @ whiten / max(int(count[number]), 1)
        values, vectors = np.linalg.eigh(own + CORAL_RIDGE * np.eye(len(own)))
        matrices[number] = whiten @ (vectors / np.sqrt(values)) @ vectors.T
    return Alignment("tvn", controls.mean, scale, matrices, notes)


def _sphere(controls: ControlMoments) -> Alignment:
    pooled, notes = _covariance(controls.scatter, controls, scale=None)
    n_rows = int(controls.count.sum())
    # The unbiased covariance of the fitted controls becomes the identity: ddof = 1 about the batch means.
    if not notes:
        pooled = pooled * n_rows / max(n_rows - 1, 1)
    variances, directions = np.linalg.eigh(pooled)
    matrix = (directions * _inverse_roots(variances)) @ directions.T
    notes = (*notes, *_dropped(variances))
    shape = controls.mean.shape
    matrices = np.broadcast_to(matrix, (shape[0], *matrix.shape))
    return Alignment("sphere", controls.mean, np.ones(shape), matrices, notes)


def _inverse_roots(variances: Floats) -> Floats:
    kept = variances > NULL_VARIANCE * max(float(variances.max()), 0.0)
    return np.where(kept, 1.0 / np.sqrt(np.where(kept, variances, 1.0)), 0.0)


def _dropped(variances: Floats) -> tuple[str, ...]:
    count = int((_inverse_roots(variances) == 0).sum())
    if not count:
        return ()
    if count == len(variances):
        message = "controls do not vary in any direction: use alignment 'center', or name other controls"
        raise InputError(message)
    return (f"{count:,} of {len(variances):,} directions dropped: controls do not vary in them",)


def _covariance(scatter: Floats, controls: ControlMoments, *, scale: Floats | None) -> tuple[Floats, tuple[str, ...]]:
    """Pool the within-batch covariance (ddof = 0), shrunk where there are fewer than two controls a feature."""
    n_rows, n_features = int(controls.count.sum()), scatter.shape[-1]
    pooled = scatter.sum(axis=0) / n_rows
    if n_rows >= 2 * n_features or controls.rows is None:
        return pooled, ()
    rows, batch = controls.rows
    centred = rows - controls.mean[batch]
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


_FITS: dict[str, Callable[[ControlMoments], Alignment]] = {
    "none": _none,
    "center": _center,
    "center-scale": _center_scale,
    "center-scale-robust": _center_scale_robust,
    "tvn": _tvn,
    "sphere": _sphere,
}
