"""What predicts a profile that was not measured: ridge and nearest neighbours, on any representation.

All of them return deviations from the mean of the training profiles, shape (n_tested, n_features).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

# Penalties of the ridge, in units of the mean squared length of a row of the representation.
PENALTIES = np.logspace(-3, 5, 17)
NEIGHBOR_COUNTS = (3, 5, 10, 20, 50, 100)
# Shares of the neighbours' mean that are tried; 0 predicts the mean of all.
SHRINKAGES = np.linspace(0, 1, 21)
# Training rows from which the number of neighbours and the shrinkage are learned.
MOST_INNER = 1_000
MOST_AXES = 1_000
# Cosines that differ by less are ties, as in `explorer.relate`.
_TIE_DECIMALS = 6
_BLOCK_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True, eq=False)
class RidgeFit:
    """A ridge regression that was fitted.

    Attributes
    ----------
    penalty
        The chosen penalty, in units of the mean squared length of a row; infinity where none is better than the mean.
    prior_mean, target_mean
        Means of the rows it was fitted to, shape (n_prior,) and (n_features,).
    axes
        Directions of the representation that its coefficients are about, shape (n_prior, n_axes); None for its own
        columns.
    coefficients
        Shape (n_axes, n_features), for rows less their mean; None where the mean is predicted.
    """

    penalty: float
    prior_mean: Floats = field(repr=False)
    target_mean: Floats = field(repr=False)
    axes: Floats | None = field(repr=False)
    coefficients: Floats | None = field(repr=False)

    @property
    def is_mean(self) -> bool:
        """Whether no penalty is better than the mean, which is predicted then: deviations of 0."""
        return self.coefficients is None

    def predict(self, asked: Floats) -> Floats:
        """Predict deviations from `target_mean` for rows of the representation, shape (n_asked, n_features)."""
        if self.coefficients is None:
            return np.zeros((len(asked), len(self.target_mean)))
        return self._turned(asked) @ self.coefficients

    def predict_beyond(self, asked: Floats, axes: Floats) -> tuple[Floats, Floats]:
        """Predict what lies beyond some directions of the features.

        Parameters
        ----------
        asked
            Rows of the representation, shape (n_asked, n_prior).
        axes
            Directions to leave out, orthonormal, shape (n_axes, n_features).

        Returns
        -------
        residuals, lengths
            Predictions less their part along the axes, shape (n_asked, n_features), and how long the whole
            predictions are, shape (n_asked,). The part is taken from the coefficients, which are fewer than the
            predictions.
        """
        if self.coefficients is None:
            return np.zeros((len(asked), len(self.target_mean))), np.zeros(len(asked))
        turned = self._turned(asked)
        along = self.coefficients @ axes.T
        residuals = turned @ (self.coefficients - along @ axes)
        squares = np.einsum("ij,ij->i", residuals, residuals)
        return residuals, np.sqrt(squares + ((turned @ along) ** 2).sum(axis=1))

    def _turned(self, asked: Floats) -> Floats:
        centred = asked - self.prior_mean
        return centred if self.axes is None else centred @ self.axes


@dataclass(frozen=True, slots=True, eq=False)
class RidgeTraining:
    """Sums over training rows, from which a ridge regression is fitted, to all of them or without some.

    The rows are met once; leaving some out subtracts their sums, so that a jackknife costs little more than its
    decompositions: all that the choice of the penalty needs are the eigenvalues of X'X and the lengths of the rows
    of V'X'Y.

    Attributes
    ----------
    prior
        Rows of the representation less their mean, along `axes` where there are any, shape (n, n_axes).
    target
        Their profiles as they were given, shape (n, n_features).
    prior_mean, target_mean
        The means.
    axes
        Orthonormal axes of the space that the rows span, where it is smaller than the representation.
    gram, cross
        X'X and X'Y of rows less their means.
    squares
        Sum of the squares of the profiles less their mean.
    """

    prior: Floats = field(repr=False)
    target: Floats = field(repr=False)
    prior_mean: Floats = field(repr=False)
    target_mean: Floats = field(repr=False)
    axes: Floats | None = field(repr=False)
    gram: Floats = field(repr=False)
    cross: Floats = field(repr=False)
    squares: float

    def fit(self, *, excluding: Rows | None = None) -> RidgeFit:
        """Fit a ridge regression, its penalty by generalised cross-validation.

        The columns of X and Y are centred, and X is divided by the root of the mean squared length of its rows: one
        number for all, so that neither a rotation nor a rescaling of the representation changes anything. With
        the eigenvalues e of X'X and s = e / (e + penalty), the error that n rows not used would have is
        ``n ‖Y − Ŷ‖² / (n − 1 − Σ s)²``, and that of the mean ``n ‖Y‖² / (n − 1)²``.

        Parameters
        ----------
        excluding
            Places of the rows that are left out, each once; the result is that of a fit to the others, but for
            rounding.

        Returns
        -------
        RidgeFit
            Of the best of 17 penalties, the smallest among equals; or the mean where none is better.

        References
        ----------
        Golub, Heath and Wahba 1979, doi:10.1080/00401706.1979.10489751.
        """
        n, gram, cross, squares = len(self.prior), self.gram, self.cross, self.squares
        prior_mean, target_mean = self.prior_mean, self.target_mean
        if excluding is not None and len(excluding):
            gone, gone_target = self.prior[excluding], self.target[excluding] - self.target_mean
            n -= len(excluding)
            if n < 1:
                return RidgeFit(np.inf, prior_mean, target_mean, None, None)
            prior_shift, target_shift = -gone.sum(axis=0) / n, -gone_target.sum(axis=0) / n
            # Sums about the new means: those about the old ones less n times the product of the shifts.
            gram = gram - gone.T @ gone - np.outer(n * prior_shift, prior_shift)
            cross = cross - gone.T @ gone_target
            cross -= np.outer(n * prior_shift, target_shift)
            squares = max(0.0, squares - float((gone_target**2).sum()) - n * float(target_shift @ target_shift))
            prior_mean = prior_mean + (prior_shift if self.axes is None else self.axes @ prior_shift)
            target_mean = target_mean + target_shift
        penalty, coefficients = _solve(gram, cross, n, squares=squares)
        return RidgeFit(penalty, prior_mean, target_mean, self.axes, coefficients)


def ridge_training(prior: Floats, target: Floats) -> RidgeTraining:
    """Collect the sums that ridge regressions are fitted from.

    Parameters
    ----------
    prior
        Rows of a representation, shape (n, n_prior), finite. With more columns than rows it is turned onto the
        space that they span, which changes no prediction: the work is that of the dual.
    target
        Their profiles, shape (n, n_features), finite.
    """
    prior_mean, target_mean = prior.mean(axis=0), target.mean(axis=0)
    centred, axes = prior - prior_mean, None
    if centred.shape[1] > len(centred):
        axes, triangle = np.linalg.qr(centred.T)
        centred = np.ascontiguousarray(triangle.T)
    cross, squares = np.zeros((centred.shape[1], target.shape[1])), 0.0
    for rows in _row_blocks(len(target), target.shape[1]):
        deviations = target[rows] - target_mean
        cross += centred[rows].T @ deviations
        squares += float(np.einsum("ij,ij->", deviations, deviations))
    return RidgeTraining(
        prior=centred,
        target=target,
        prior_mean=prior_mean,
        target_mean=target_mean,
        axes=axes,
        gram=centred.T @ centred,
        cross=cross,
        squares=squares,
    )


def ridge(prior: Floats, target: Floats, asked: Floats) -> Floats:
    """Predict by ridge regression, its penalty by generalised cross-validation; 0 where that is no better than a mean.

    `prior` (n_training, n_prior) and `asked` (n_tested, n_prior) are rows of a representation, `target`
    (n_training, n_features) the profiles that belong to `prior`; predicted are deviations from their mean.
    """
    return ridge_training(prior, target).fit().predict(asked)


def nearest_neighbors(prior: Floats, target: Floats, asked: Floats, *, blocks: Rows, seed: int = 0) -> Floats:
    """Predict by a weighted mean of neighbours; k and shrinkage by leaving whole blocks of the training rows out.

    Neighbours are those of highest cosine of rows less the training mean; each weighs as much as its cosine, those
    below 0 nothing. Ties at the k-th place are broken at random, for each row anew.

    Parameters
    ----------
    prior, target, asked
        As in `ridge`; deviations from the mean of `target` are predicted.
    blocks
        Block of every training row, shape (n_training,). How many neighbours are asked, of 3, 5, 10, 20, 50 and
        100, and how far their mean is drawn to 0 are what is best for training rows predicted without their own
        block; 1,000 of them, drawn at random, where there are more.
    seed
        Of ties and of that draw.
    """
    rng = np.random.default_rng(seed)
    mean, deviations = prior.mean(axis=0), target - target.mean(axis=0)
    unit, asked_unit = _unit_rows(prior - mean), _unit_rows(asked - mean)
    counts = [count for count in NEIGHBOR_COUNTS if count < len(prior)] or [max(1, len(prior) - 1)]
    inner = np.arange(len(prior))
    if len(inner) > MOST_INNER:
        inner = np.sort(rng.choice(inner, MOST_INNER, replace=False))
    products, squares = np.zeros(len(counts)), np.zeros(len(counts))
    for rows in _row_blocks(len(inner), len(unit) + 4 * target.shape[1]):
        own = inner[rows]
        scores = unit[own] @ unit.T
        scores[blocks[own][:, None] == blocks[None, :]] = -np.inf
        for place, found in enumerate(_neighbor_means(scores, deviations, counts, rng)):
            products[place] += float(np.einsum("ij,ij->", found, deviations[own]))
            squares[place] += float(np.einsum("ij,ij->", found, found))
    # ‖y − aŷ‖² less ‖y‖², for every k and share a; the smallest k and share among equals.
    errors = SHRINKAGES**2 * squares[:, None] - 2 * SHRINKAGES * products[:, None]
    best, share = np.unravel_index(int(np.argmin(errors)), errors.shape)
    predicted = np.empty((len(asked), target.shape[1]))
    for rows in _row_blocks(len(asked), len(unit) + 4 * target.shape[1]):
        (found,) = _neighbor_means(asked_unit[rows] @ unit.T, deviations, [counts[best]], rng)
        predicted[rows] = SHRINKAGES[share] * found
    return predicted


def principal_prior(prior: Floats, *, most: int = MOST_AXES) -> tuple[Floats, float]:
    """Turn a wide representation onto its principal axes, and keep the largest.

    Parameters
    ----------
    prior
        Rows of a representation, shape (n, n_prior): all that are trained on or asked for, since no target is used.
    most
        Axes that are kept. A representation of no more columns or rows is returned as it is: nothing is lost.

    Returns
    -------
    coordinates, share
        Shape (n, min(n_prior, most)), and the share of the variance that is kept, 1 for all of it.
    """
    if min(prior.shape) <= most:
        return prior, 1.0
    centred = prior - prior.mean(axis=0)
    wide = centred.shape[1] > len(centred)
    values, vectors = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    values, vectors = np.maximum(values[::-1][:most], 0.0), vectors[:, ::-1][:, :most]
    total = float(np.einsum("ij,ij->", centred, centred))
    coordinates = vectors * np.sqrt(values) if wide else centred @ vectors
    return np.ascontiguousarray(coordinates), float(values.sum() / total) if total > 0 else 1.0


def _solve(gram: Floats, cross: Floats, n: int, *, squares: float) -> tuple[float, Floats | None]:
    """Choose the penalty and solve for the coefficients of rows that are not divided by anything."""
    # The mean squared length of a row: dividing by its root is the same as multiplying the penalties by it.
    unit = float(np.trace(gram)) / n
    if n < 3 or not unit > 0 or not squares > 0:
        return np.inf, None
    values, vectors = np.linalg.eigh(gram)
    values = np.maximum(values, 0.0)
    turned = vectors.T @ cross
    lengths = np.einsum("ij,ij->i", turned, turned)
    penalties = PENALTIES * unit
    shifted = values + penalties[:, None]
    # ‖Y − Ŷ‖² without residuals, and without dividing by eigenvalues that may be 0.
    residual = np.maximum(squares - ((values + 2 * penalties[:, None]) / shifted**2) @ lengths, 0.0)
    free = n - 1 - (values / shifted).sum(axis=1)
    errors = np.full(len(penalties), np.inf)
    np.divide(n * residual, free**2, out=errors, where=free > 0)
    best = int(np.argmin(errors))
    if not errors[best] < n * squares / (n - 1) ** 2:
        return np.inf, None
    turned /= (values + penalties[best])[:, None]
    return float(PENALTIES[best]), vectors @ turned


def _unit_rows(values: Floats) -> Floats:
    lengths = np.linalg.norm(values, axis=1)[:, None]
    return np.asarray(np.divide(values, lengths, out=np.zeros_like(values), where=lengths > 0))


def _row_blocks(n: int, width: int) -> Iterator[slice]:
    """Cut rows of some width into blocks of bounded size."""
    step = max(1, _BLOCK_BYTES // (8 * max(width, 1)))
    for start in range(0, n, step):
        yield slice(start, min(n, start + step))


def _neighbor_means(
    scores: Floats, deviations: Floats, counts: list[int], rng: np.random.Generator
) -> Iterator[Floats]:
    """Weighted means of the nearest rows, for each number of neighbours in ascending order; 0 where none weighs."""
    from scipy import sparse

    n_asked, n = scores.shape
    most = min(counts[-1], n)
    # Equal scores in random order: what decides between them is far smaller than what tells scores apart.
    keys = np.round(scores, _TIE_DECIMALS)
    keys += rng.random(scores.shape, dtype=np.float32) * (0.5 * 10.0**-_TIE_DECIMALS)
    places = np.argpartition(-keys, most - 1, axis=1)[:, :most]
    places = np.take_along_axis(places, np.argsort(-np.take_along_axis(keys, places, axis=1), axis=1), axis=1)
    weights = np.maximum(np.take_along_axis(scores, places, axis=1), 0.0)
    sums, total, taken = np.zeros((n_asked, deviations.shape[1])), np.zeros(n_asked), 0
    for count in counts:
        part = slice(taken, min(count, most))
        taken = min(count, most)
        width = part.stop - part.start
        rows = np.arange(0, (n_asked + 1) * width, width) if width else np.zeros(n_asked + 1, dtype=np.int64)
        sums += sparse.csr_matrix((weights[:, part].ravel(), places[:, part].ravel(), rows), (n_asked, n)) @ deviations
        total += weights[:, part].sum(axis=1)
        yield sums / np.where(total > 0, total, 1.0)[:, None]
