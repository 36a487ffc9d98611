"""How good a predicted profile is: what it says beyond the mean effect, its skill, and which one it was.

Predictions and truths are deviations from the mean m of the training profiles. What most perturbations share with
one another, the direction v = m − control, is no evidence of a prediction: a repeat of no effect at all, measured
against the same controls, correlates at .33 in that direction. So it is taken out of both.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# A residual shorter than this share of what it was taken from is rounding.
_ROUNDING = 1e-6
# Differences of correlations this small come from rounding and count as equal.
_TIE = 1e-9
# Halves of the replicates that agree less say nothing about a ceiling.
LEAST_HALF_CORRELATION = 0.1
_BLOCK_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True, eq=False)
class BeyondShared:
    """Truths beyond the shared direction, with which predictions are correlated.

    Attributes
    ----------
    axes
        Directions that were taken out, orthonormal, shape (n_axes, n_features): the mean of the features, and what
        the shared direction adds to it, if anything.
    unit
        What is left of each truth, of length 1, shape (n, n_features); 0 where it is undefined.
    is_defined
        Whether there is anything left, shape (n,).
    shortest
        Length below which the residual of a prediction is rounding.
    """

    axes: Floats = field(repr=False)
    unit: Floats = field(repr=False)
    is_defined: npt.NDArray[np.bool_] = field(repr=False)
    shortest: float

    def correlation(self, residuals: Floats, lengths: Floats) -> Floats:
        """Correlate what predictions say beyond `axes` with the truth (ρ⊥), shape (n,); NaN where undefined.

        `residuals` (n, n_features) lie beyond `axes`; `lengths` (n,) are those of the whole predictions.
        """
        norms = np.sqrt(np.einsum("ij,ij->i", residuals, residuals))
        usable = self.is_defined & (norms > 0) & (norms >= _ROUNDING * lengths) & (norms >= self.shortest)
        products = np.einsum("ij,ij->i", residuals, self.unit)
        found = np.divide(products, norms, out=np.full(len(norms), np.nan), where=usable)
        return np.asarray(np.clip(found, -1, 1))

    def correlation_with(self, predicted: Floats) -> Floats:
        """Correlate whole predictions, shape (n, n_features), with the truth (ρ⊥), as `residual_correlation` does."""
        residuals = predicted
        for _ in range(2):
            residuals = residuals - (residuals @ self.axes.T) @ self.axes
        return self.correlation(residuals, np.linalg.norm(predicted, axis=1))


def beyond_shared(truth: Floats, *, shared: Floats) -> BeyondShared:
    """Take the feature mean and the shared direction out of truths.

    Parameters
    ----------
    truth
        Deviations from the training mean, shape (n, n_features), of all that are scored together: of one fold.
    shared
        v = training mean − control, shape (n_features,).
    """
    direction = _direction(shared)
    lengths = np.linalg.norm(truth, axis=1)
    shortest = _ROUNDING * max(float(np.linalg.norm(shared)), _median(lengths))
    unit, defined = _unit_residuals(truth, direction, lengths=lengths, shortest=shortest)
    constant = np.full((1, len(shared)), 1 / np.sqrt(len(shared)))
    axes = np.vstack([constant, direction]) if direction.any() else constant
    return BeyondShared(axes=axes, unit=unit, is_defined=defined, shortest=shortest)


def residual_correlation(predicted: Floats, truth: Floats, *, shared: Floats) -> Floats:
    """Correlate predictions with the truth beyond the shared direction (ρ⊥), shape (n,); NaN where undefined.

    The mean of the features and the shared direction are regressed out of both, and the cosine is taken of what is
    left; 1 is best, 0 is what chance gives. Adding multiples of the shared direction or of a constant to either, or
    stretching either, changes nothing. NaN where what is left is shorter than 1e-6 of the whole, of the shared
    direction, or of the median truth: rounding would be correlated.

    Parameters
    ----------
    predicted, truth
        Deviations from the training mean, shape (n, n_features).
    shared
        v = training mean − control, shape (n_features,); or one for each row, shape (n, n_features).
    """
    truth_lengths = np.linalg.norm(truth, axis=1)
    # One number, or one for each row.
    shortest = _ROUNDING * np.maximum(np.linalg.norm(shared, axis=-1), _median(truth_lengths))
    direction = _direction(shared)
    one, one_defined = _unit_residuals(
        predicted, direction, lengths=np.linalg.norm(predicted, axis=1), shortest=shortest
    )
    other, other_defined = _unit_residuals(truth, direction, lengths=truth_lengths, shortest=shortest)
    found = np.clip(np.einsum("ij,ij->i", one, other), -1, 1)
    return np.where(one_defined & other_defined, found, np.nan)


def skill(predicted: Floats, truth: Floats) -> float:
    """1 − Σ‖y − ŷ‖²/Σ‖y − m‖² of deviations from the training mean m: a number, never clipped.

    1 is best, 0 is the training mean, below 0 is worse than the mean; NaN where no truth deviates from it. Both have
    the shape (n, n_features).
    """
    total = float(np.einsum("ij,ij->", truth, truth))
    error = truth - predicted
    return 1 - float(np.einsum("ij,ij->", error, error)) / total if total > 0 else float("nan")


def discrimination(predicted: Floats, truth: Floats) -> Floats:
    """Perturbation discrimination score by correlation: share of other truths less like a prediction than its own.

    Parameters
    ----------
    predicted, truth
        Deviations from the training mean, shape (n, n_features), of perturbations tested together: of one fold.

    Returns
    -------
    numpy.ndarray
        Shape (n,), from 0 to 1, 1 is best and ½ is chance. Truths as like as its own count one half, so a prediction
        without any direction scores ½; NaN for a truth without any, and where there is no other truth.

    References
    ----------
    Wu et al. 2024, doi:10.48550/arXiv.2408.10609 (ranks of predictions among perturbations).
    """
    n = len(truth)
    directions, lengths = _unit_rows(truth)
    scores = np.full(n, np.nan)
    if n < 2:
        return scores
    step = max(1, _BLOCK_BYTES // (8 * n))
    for start in range(0, n, step):
        rows = slice(start, min(n, start + step))
        likeness = _unit_rows(predicted[rows])[0] @ directions.T
        own = likeness[np.arange(len(likeness)), np.arange(rows.start, rows.stop)][:, None]
        below, above = (likeness < own - _TIE).sum(axis=1), (likeness > own + _TIE).sum(axis=1)
        # Its own truth is neither below nor above itself.
        scores[rows] = (below + 0.5 * (n - 1 - below - above)) / (n - 1)
    scores[lengths == 0] = np.nan
    return scores


def mean_absolute_error(predicted: Floats, truth: Floats) -> Floats:
    """Mean absolute error of each prediction, in the features' units, shape (n,): for display, never for a verdict."""
    return np.asarray(np.abs(predicted - truth).mean(axis=1))


def noise_ceiling(half_correlation: npt.ArrayLike) -> Floats:
    """Highest correlation with the whole that its own repeat allows, sqrt(2r/(1 + r)); NaN where r is below .1.

    r is the correlation of two halves of the replicates: a single one, of a mean over units for one, or an array.

    References
    ----------
    Spearman 1910, doi:10.1111/j.2044-8295.1910.tb00206.x; Brown 1910, doi:10.1111/j.2044-8295.1910.tb00207.x.
    """
    r = np.asarray(half_correlation, dtype=np.float64)
    usable = r >= LEAST_HALF_CORRELATION
    return np.asarray(np.sqrt(np.divide(2 * r, 1 + r, out=np.full(r.shape, np.nan), where=usable)))


def noise_ceiling_of_halves(one: Floats, other: Floats, *, shared: Floats) -> Floats:
    """Ceiling of each perturbation from the ρ⊥ of its halves, shape (n,); NaN where that is below .1.

    The mean of these over perturbations is too high, since the lowest are not in it: for a ceiling of all take
    `noise_ceiling` of the mean ρ⊥ of the halves.

    Parameters
    ----------
    one, other
        Profiles of disjoint halves of the replicates less those of disjoint halves of the controls, or less anything
        along `shared` of them, shape (n, n_features).
    shared
        As in `residual_correlation`.
    """
    return noise_ceiling(residual_correlation(one, other, shared=shared))


def _direction(shared: Floats) -> Floats:
    """Take the unit vectors along a shared direction less its feature mean; 0 where there is none but rounding."""
    rest = shared - shared.mean(axis=-1, keepdims=True)
    rest -= rest.mean(axis=-1, keepdims=True)
    lengths = np.linalg.norm(rest, axis=-1, keepdims=True)
    usable = lengths > _ROUNDING * np.linalg.norm(shared, axis=-1, keepdims=True)
    return np.asarray(np.divide(rest, lengths, out=np.zeros_like(rest), where=usable))


def _unit_residuals(
    values: Floats, direction: Floats, *, lengths: Floats, shortest: float | Floats
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Take rows less their mean and their part along a direction, of length 1; not defined where that is rounding."""
    residuals = values
    # Twice, so that nothing of a long common part is left.
    for _ in range(2):
        residuals = residuals - residuals.mean(axis=1, keepdims=True)
        along = residuals @ direction if direction.ndim == 1 else np.einsum("ij,ij->i", residuals, direction)
        residuals -= along[:, None] * direction
    norms = np.linalg.norm(residuals, axis=1)
    defined = (norms > 0) & (norms >= _ROUNDING * lengths) & (norms >= shortest)
    unit = np.divide(residuals, norms[:, None], out=np.zeros_like(residuals), where=defined[:, None])
    return unit, defined


def _median(lengths: Floats) -> float:
    return float(np.median(lengths)) if len(lengths) else 0.0


def _unit_rows(values: Floats) -> tuple[Floats, Floats]:
    """Rows less their mean, of length 1, and their lengths; 0 where nothing but rounding is left of a row."""
    centred = values - values.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1)
    lengths[lengths <= 1e-12 * np.linalg.norm(values, axis=1)] = 0.0
    unit = np.divide(centred, lengths[:, None], out=np.zeros_like(centred), where=lengths[:, None] > 0)
    return unit, lengths
