"""Simple and placebo representations made here; what a learned one must beat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from explorer.errors import InputError
from explorer.screen import Kind, Representation, Screen
from explorer.sources import ArraySource

Matrix = npt.NDArray[np.float64]


def double_center(values: npt.ArrayLike) -> Matrix:
    """Subtract from each entry the mean of its row and of its column, and add the grand mean.

    What is left says in which columns a row is more than usual: overall effect size is gone.

    Parameters
    ----------
    values
        Finite, shape (n_rows, n_features).

    Raises
    ------
    InputError
        When a value is NaN or infinite.
    """
    matrix = _finite(values)
    centred: Matrix = matrix - matrix.mean(axis=1, keepdims=True) - matrix.mean(axis=0) + matrix.mean()
    return centred


def principal_components(values: npt.ArrayLike, *, n_components: int) -> Matrix:
    """Project rows on their first principal components.

    Parameters
    ----------
    values
        Finite, shape (n_rows, n_features).
    n_components
        At most the smaller side of the matrix.

    Returns
    -------
    numpy.ndarray
        Scores, shape (n_rows, n_components); each component's largest loading is positive, so that they repeat.

    Raises
    ------
    InputError
        When there are fewer components than asked for, or a value is not finite.
    """
    matrix = _finite(values)
    if not 1 <= n_components <= min(matrix.shape):
        message = f"can't take {n_components} principal components of {matrix.shape[0]:,} × {matrix.shape[1]:,} values"
        raise InputError(message)
    centred = matrix - matrix.mean(axis=0)
    _, _, loadings = np.linalg.svd(centred, full_matrices=False)
    return np.asarray(centred @ face_forward(loadings[:n_components]).T)


def face_forward(axes: Matrix) -> Matrix:
    """Turn axes, shape (n_axes, n_features), so that the largest entry of each is positive: signs then repeat."""
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return np.asarray(axes * np.where(largest < 0, -1.0, 1.0))


def random_projection(values: npt.ArrayLike, *, n_components: int, seed: int = 0) -> Matrix:
    """Project rows on random Gaussian axes: a placebo that has the dimensions of a model and learned nothing.

    Parameters
    ----------
    values
        Finite, shape (n_rows, n_features): the very input of the learned model.
    n_components
        Dimensions, those of the learned model.
    seed
        Of the axes.

    Returns
    -------
    numpy.ndarray
        Shape (n_rows, n_components); cosines are kept up to a noise of about 1/√n_components.

    References
    ----------
    Johnson and Lindenstrauss 1984, doi:10.1090/conm/026/737400.
    """
    matrix = _finite(values)
    if n_components < 1:
        msg = f"n_components is {n_components}, expected 1 or more"
        raise InputError(msg)
    axes = np.random.default_rng(seed).standard_normal((matrix.shape[1], n_components)) / np.sqrt(n_components)
    return np.asarray(matrix @ axes)


def effect_norm(values: npt.ArrayLike) -> Matrix:
    """Keep the length and the mean of each row and nothing else: a placebo of effect size, shape (n_rows, 2).

    Two columns, because one has only ties under a cosine.
    """
    matrix = _finite(values)
    return np.column_stack([np.linalg.norm(matrix, axis=1), matrix.mean(axis=1)])


def with_representation(screen: Screen, name: str, values: npt.ArrayLike, *, kind: Kind = "simple") -> Screen:
    """Add a representation of the same rows to a screen; the screen given stays as it is."""
    added = Representation(name=name, kind=kind, source=ArraySource(np.array(values, dtype=np.float32)))
    return replace(screen, representations={**screen.representations, name: added})


def _finite(values: npt.ArrayLike) -> Matrix:
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2:
        msg = f"expected a matrix of rows × features, got an array of shape {matrix.shape}"
        raise InputError(msg)
    wrong = int((~np.isfinite(matrix).all(axis=1)).sum())
    if wrong:
        msg = f"{wrong:,} rows hold NaN or infinite values: leave them out or fill them first"
        raise InputError(msg)
    return matrix
