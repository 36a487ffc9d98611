"""Counts as a representation: log-normalised, and projected on principal components, both while they are read."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from explorer.embed import face_forward
from explorer.errors import InputError
from explorer.screen import BYTES_PER_CHUNK, Representation, RowSource
from explorer.sources import Block, in_blocks, read_at_once, read_blocks, stored_row

# Counts of a row after scaling: scanpy's and Seurat's usual figure.
TARGET = 10_000
USUAL_COMPONENTS = 50
# Directions drawn beside those asked for, as Halko, Martinsson and Tropp advise.
OVERSAMPLING = 10
# Up to this many features their whole covariance is collected: exact, 32 MiB, and quicker than five passes.
EXACT_FEATURES = 2_048
# A direction of a smaller share of the variance is rounding of float32.
LEAST_SHARE = 1e-12
# A natural logarithm of expression is smaller; counts per million are larger.
LARGEST_LOGARITHM = 20.0
# Matrix products of fewer rows than these are slow whatever their width.
_LEAST_ROWS = 256
_SAMPLED_PLACES, _SAMPLED_ROWS = 8, 16

Expression = Literal["counts", "log-normalized"]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class LogNormalizedSource:
    """Counts of another source, each row scaled to the same total, then log(1 + x), when they are read.

    A row without any count has no profile: it is NaN, so that a pass leaves it out and counts it.

    Attributes
    ----------
    source
        Counts, shape (n_rows, n_features).
    target
        Total of each row after scaling.
    name
        Representation, for messages.
    """

    source: RowSource
    target: float = TARGET
    name: str = "counts"

    def __post_init__(self) -> None:
        if not 0 < self.target < np.inf:
            message = f"target is {self.target}, expected the total of each row after scaling, such as {TARGET}"
            raise InputError(message)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of features."""
        return self.source.shape

    def read(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Read rows `start` to `stop`, scaled and logarithmic.

        Raises
        ------
        InputError
            When a value is negative or not a whole number; the message names the row, counted from 0.
        """
        return self._normalized(self.source.read(start, stop), start)

    def blocks(self, start: int, stop: int, step: int) -> Iterator[Block]:
        """Read rows `start` to `stop`, `step` at a time; yields the first row's number and the rows."""
        for first, counts in read_blocks(self.source, (start, stop), step):
            yield first, self._normalized(counts, first)

    def fingerprint(self) -> str:
        """Digest of the counts and of the transform."""
        return _digest("log-normalize", self.target, self.source.fingerprint())

    def _normalized(self, counts: npt.NDArray[np.float32], start: int) -> npt.NDArray[np.float32]:
        wrong = np.rint(counts) != counts
        wrong |= counts < 0
        wrong &= np.isfinite(counts)
        if wrong.any():
            row, column = np.argwhere(wrong)[0].tolist()
            place = stored_row(self.source, start + row)
            message = (
                f"representation {self.name!r}: row {place:,} (counted from 0) holds {counts[row, column]:g}, "
                "but 'log-normalize' expects counts, whole numbers of 0 or more: "
                "drop that transform if the values are normalised already"
            )
            raise InputError(message)
        totals = counts.sum(axis=1, dtype=np.float64)
        totals[~np.isfinite(totals) | (totals == 0)] = np.nan
        scaled: npt.NDArray[np.float32] = counts * (self.target / totals).astype(np.float32)[:, None]
        np.log1p(scaled, out=scaled)
        return scaled


@dataclass(frozen=True, slots=True, eq=False)
class PrincipalComponents:
    """Principal axes of some rows, and how much of their variance each explains.

    Attributes
    ----------
    mean
        Of the rows, shape (n_features,).
    loadings
        Orthonormal axes, shape (n_components, n_features), the largest entry of each positive. Beyond the rank of
        the rows they are zero: rounding noise must not become a feature that an alignment then scales up.
    explained_variance
        Of the scores, denominator n_rows − 1, shape (n_components,).
    explained_variance_ratio
        Share in the variance of all features; NaN where the rows do not vary.
    n_rows
        Rows that were used: those of finite numbers.
    """

    mean: Floats
    loadings: Floats
    explained_variance: Floats
    explained_variance_ratio: Floats
    n_rows: int


def streamed_principal_components(
    representation: Representation,
    *,
    n_components: int = USUAL_COMPONENTS,
    n_iterations: int = 4,
    seed: int = 0,
) -> PrincipalComponents:
    """Find principal axes by reading the rows a block at a time; nothing of their number is ever held in memory.

    Up to 2,048 features one pass collects the whole covariance, and the axes are exact. Beyond that a random block
    Krylov space of the covariance is grown, a block a pass, and searched by Rayleigh and Ritz; the memory is then some
    multiple of (1 + `n_iterations`) × n_features × (n_components + 10) numbers. Rows are centred while they are read.
    Components that explain almost the same share as their neighbours are found as a group, not one by one.

    Parameters
    ----------
    representation
        The rows; those with a NaN or infinite value are left out.
    n_components
        At most the smaller side of the matrix.
    n_iterations
        Passes after the first, beyond 2,048 features.
    seed
        Of the first random directions. The result depends on the order and the blocks of the rows by rounding only.

    Raises
    ------
    InputError
        When there are fewer components than asked for, or fewer than 2 rows of finite numbers.

    References
    ----------
    Halko, Martinsson and Tropp 2011, doi:10.1137/090771806; Musco and Musco 2015, arXiv:1504.05477.
    """
    shape = (representation.n_rows, representation.n_features)
    check_components(n_components, shape, name=representation.name)
    if n_iterations < 0:
        msg = f"n_iterations is {n_iterations}, expected 0 or more"
        raise InputError(msg)
    width = n_components + OVERSAMPLING
    exact = shape[1] <= max(EXACT_FEATURES, width * (1 + n_iterations))
    basis = None if exact else np.linalg.qr(np.random.default_rng(seed).standard_normal((shape[1], width)))[0]
    sums = _scatter_times(representation, basis)
    if sums.n_rows < 2:
        message = (
            f"representation {representation.name!r} has {sums.n_rows} rows of finite numbers, principal components "
            "need 2 or more: fill the missing values or leave those features out"
        )
        raise InputError(message)
    least = max(LEAST_SHARE * sums.total, sums.n_rows * (np.finfo(np.float32).eps * np.abs(sums.mean).max()) ** 2)
    space, image = basis, sums.image
    if space is not None:
        newest = image
        for _ in range(n_iterations):
            fresh = _new_directions(newest, space, least=least)
            if not fresh.shape[1]:
                break
            newest = _scatter_times(representation, fresh, center=sums.mean).image
            space, image = np.hstack([space, fresh]), np.hstack([image, newest])
    small = image if space is None else space.T @ image
    sizes, vectors = _largest_eigenvectors(small, n_components)
    loadings = face_forward((vectors if space is None else space @ vectors).T)
    kept = np.where(sizes > least, sizes, 0.0)
    loadings[kept == 0] = 0
    ratio = kept / sums.total if sums.total > 0 and kept.any() else np.full(n_components, np.nan)
    return PrincipalComponents(sums.mean, loadings, kept / (sums.n_rows - 1), ratio, sums.n_rows)


@dataclass(frozen=True, slots=True, eq=False)
class ProjectedSource:
    """Another source's rows on given axes, projected when they are read.

    Attributes
    ----------
    source
        Rows, shape (n_rows, n_features).
    mean
        What is subtracted from each row, shape (n_features,).
    loadings
        Axes, shape (n_components, n_features).
    """

    source: RowSource
    mean: Floats
    loadings: Floats

    def __post_init__(self) -> None:
        n_features = self.source.shape[1]
        if self.mean.shape != (n_features,) or self.loadings.shape[1:] != (n_features,):
            message = (
                f"the axes have shape {self.loadings.shape} and the mean {self.mean.shape}, "
                f"expected (n_components, {n_features}) and ({n_features},) for these rows"
            )
            raise InputError(message)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of components."""
        return self.source.shape[0], self.loadings.shape[0]

    def read(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Read the scores of rows `start` to `stop`; rows with a NaN or infinite value have NaN."""
        return read_at_once(self, start, stop)

    def blocks(self, start: int, stop: int, step: int) -> Iterator[Block]:
        """Read rows `start` to `stop`, `step` at a time; yields the first row's number and their scores."""
        # A block of scores that fits in memory may stand for a block of rows that does not.
        most = max(1, BYTES_PER_CHUNK // (4 * max(1, self.source.shape[1])))
        pieces = (
            (first, self._project(rows)) for first, rows in read_blocks(self.source, (start, stop), min(step, most))
        )
        return in_blocks(pieces, step)

    def fingerprint(self) -> str:
        """Digest of the rows and the axes."""
        axes = hashlib.sha256(np.ascontiguousarray(np.vstack([self.mean, self.loadings]), dtype="<f8").data)
        return _digest("project", axes.hexdigest(), self.source.fingerprint())

    def _project(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        finite = np.isfinite(rows).all(axis=1)
        scores = np.full((len(rows), self.shape[1]), np.nan, dtype=np.float32)
        scores[finite] = (rows[finite] - self.mean) @ self.loadings.T
        return scores


@dataclass(frozen=True, slots=True, eq=False)
class PrincipalComponentsSource:
    """Scores of another source on its own principal axes, which are found when the first row is read.

    Attributes
    ----------
    source
        Rows, shape (n_rows, n_features).
    n_components
        Number of components.
    name
        Representation, for messages.
    """

    source: RowSource
    n_components: int
    name: str = "rows"
    _found: list[PrincipalComponents] = field(default_factory=list, repr=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        check_components(self.n_components, self.source.shape, name=self.name)

    def __reduce__(self) -> tuple[Any, ...]:
        # Sent with its axes, so that no task of a cluster has to find them again; a lock can't be sent.
        return type(self), (self.source, self.n_components, self.name, [self.components])

    @property
    def components(self) -> PrincipalComponents:
        """Principal axes: found once, whoever asks first; seed 0."""
        with self._lock:
            if not self._found:
                rows = Representation(self.name, "simple", self.source)
                found = streamed_principal_components(rows, n_components=self.n_components)
                # Every session of a server reads them.
                for array in (found.mean, found.loadings, found.explained_variance, found.explained_variance_ratio):
                    array.setflags(write=False)
                self._found.append(found)
            return self._found[0]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of components."""
        return self.source.shape[0], self.n_components

    def read(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Read the scores of rows `start` to `stop`; rows with a NaN or infinite value have NaN."""
        return self._projected().read(start, stop)

    def blocks(self, start: int, stop: int, step: int) -> Iterator[Block]:
        """Read rows `start` to `stop`, `step` at a time; yields the first row's number and their scores."""
        return self._projected().blocks(start, stop, step)

    def fingerprint(self) -> str:
        """Digest of the rows and of how the axes are found; they need not be found for it."""
        return _digest("pca", self.n_components, self.source.fingerprint())

    def _projected(self) -> ProjectedSource:
        return ProjectedSource(self.source, self.components.mean, self.components.loadings)


def usual_components(shape: tuple[int, int]) -> int:
    """Choose the number of principal components where none is stated: 50, or what rows of this shape can have."""
    return max(1, min(USUAL_COMPONENTS, shape[0] - 1, shape[1]))


def check_components(n_components: int, shape: tuple[int, int], *, name: str) -> None:
    """Make sure that rows of a shape have so many principal components.

    Raises
    ------
    InputError
        When they have not.
    """
    most = min(shape)
    if not 1 <= n_components <= most:
        message = (
            f"representation {name!r}: can't take {n_components} principal components of "
            f"{shape[0]:,} × {shape[1]:,} values: expected 1 to {most:,}"
        )
        raise InputError(message)


def recognize_expression(source: RowSource) -> Expression | None:
    """Tell counts and log-normalised expression from other features by a sample of rows from 8 places.

    Returns
    -------
    str or None
        ``counts``: whole numbers of 0 or more, some above 1. ``log-normalized``: other numbers from 0 to 20, most of
        them 0. None: anything else.
    """
    n_rows = source.shape[0]
    places = np.unique(np.linspace(0, max(0, n_rows - _SAMPLED_ROWS), _SAMPLED_PLACES).astype(int)).tolist()
    sample = np.concatenate([source.read(place, min(place + _SAMPLED_ROWS, n_rows)) for place in places])
    if not sample.size or not np.isfinite(sample).all() or sample.min() < 0:
        return None
    if (np.rint(sample) == sample).all():
        return "counts" if sample.max() > 1 else None
    return "log-normalized" if sample.max() <= LARGEST_LOGARITHM and np.mean(sample == 0) > 0.5 else None


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    n_rows: int
    mean: Floats
    total: float
    image: Floats


def _scatter_times(representation: Representation, basis: Floats | None, *, center: Floats | None = None) -> _Sums:
    """Read the rows once: their mean, their total scatter, and their scatter matrix times a basis (None: itself)."""
    n_features = representation.n_features
    image = np.zeros((n_features if basis is None else basis.shape[1], n_features))
    block_rows = max(_LEAST_ROWS, BYTES_PER_CHUNK // (4 * n_features))
    shift, total, squares, n_rows = center, np.zeros(n_features), 0.0, 0
    for _, block in representation.chunks(block_rows):
        finite = np.isfinite(block).all(axis=1)
        rows = block if finite.all() else block[finite]
        if not len(rows):
            continue
        if shift is None:
            # Any point near the mean will do: it keeps the sums small, and what is left is corrected for below.
            shift = rows.mean(axis=0, dtype=np.float64)
        deviation = rows - shift
        image += (deviation if basis is None else deviation @ basis).T @ deviation
        total += deviation.sum(axis=0)
        squares += float(np.vdot(deviation, deviation))
        n_rows += len(rows)
    offset = total / max(1, n_rows)
    image -= n_rows * np.outer(offset if basis is None else offset @ basis, offset)
    mean = offset if shift is None else shift + offset
    return _Sums(n_rows, mean, max(0.0, squares - n_rows * float(offset @ offset)), image.T)


def _new_directions(candidates: Floats, space: Floats, *, least: float) -> Floats:
    """Orthonormal directions in which candidates leave a space; none where only rounding is left."""
    rest = candidates - space @ (space.T @ candidates)
    directions, sizes, _ = np.linalg.svd(rest, full_matrices=False)
    fresh = directions[:, sizes > least]
    # Once is not enough: what is left of a nearly parallel direction is mostly rounding.
    fresh = fresh - space @ (space.T @ fresh)
    return np.linalg.qr(fresh)[0]


def _largest_eigenvectors(matrix: Floats, count: int) -> tuple[Floats, Floats]:
    from scipy.linalg import eigh

    last = len(matrix) - 1
    sizes, vectors = eigh((matrix + matrix.T) / 2, subset_by_index=[last - count + 1, last])
    return sizes[::-1], vectors[:, ::-1]


def _digest(*parts: object) -> str:
    return hashlib.sha256(" ".join(str(part) for part in parts).encode()).hexdigest()
