"""Matrices that are read by ranges of rows: in memory or memory-mapped, dense and sparse, reordered."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from explorer.errors import InputError

# Above this size a file is known by its length and samples of it: hashing it would cost more than reading it.
HASH_WHOLE_BELOW = 256 * 2**20
_SAMPLE_BYTES = 2**20
_N_SAMPLES = 64


def digest_file(path: Path) -> str:
    """Digest a file's content, or a folder's (zarr): SHA-256, sampled at 64 places above 256 MiB.

    Returns
    -------
    str
        64 hexadecimal digits; equal for equal content, whatever the name or date.
    """
    digest = hashlib.sha256()
    if path.is_dir():
        for member in sorted(item for item in path.rglob("*") if item.is_file()):
            digest.update(member.relative_to(path).as_posix().encode())
            digest.update(digest_file(member).encode())
        return digest.hexdigest()
    size = path.stat().st_size
    digest.update(str(size).encode())
    with path.open("rb") as stream:
        if size <= HASH_WHOLE_BELOW:
            while block := stream.read(_SAMPLE_BYTES):
                digest.update(block)
        else:
            for place in range(_N_SAMPLES):
                stream.seek(place * (size - _SAMPLE_BYTES) // (_N_SAMPLES - 1))
                digest.update(stream.read(_SAMPLE_BYTES))
    return digest.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class ArraySource:
    """A dense matrix in memory or memory-mapped; it is made read-only."""

    values: npt.NDArray[Any]
    digest: str | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 2:
            message = f"expected a matrix of rows × features, got an array of shape {self.values.shape}"
            raise InputError(message)
        if self.values.dtype.kind not in "biuf":
            message = f"expected numbers, got values of type {self.values.dtype}: give a numeric matrix"
            raise InputError(message)
        view = self.values.view()
        view.setflags(write=False)
        object.__setattr__(self, "values", view)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of features."""
        return self.values.shape[0], self.values.shape[1]

    def read(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Read rows `start` to `stop`, dense."""
        return np.asarray(self.values[start:stop], dtype=np.float32)

    def fingerprint(self) -> str:
        """Digest of the values."""
        if self.digest is not None:
            return self.digest
        digest = hashlib.sha256(f"{self.values.shape}{self.values.dtype}".encode())
        digest.update(np.ascontiguousarray(self.values).data)
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class SparseSource:
    """A scipy CSR matrix in memory."""

    values: Any

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of features."""
        return int(self.values.shape[0]), int(self.values.shape[1])

    def read(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Read rows `start` to `stop`, dense."""
        return np.asarray(self.values[start:stop].toarray(), dtype=np.float32)

    def fingerprint(self) -> str:
        """Digest of the stored values and their places."""
        digest = hashlib.sha256(str(self.values.shape).encode())
        for part in (self.values.indptr, self.values.indices, self.values.data):
            digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class ReorderedSource:
    """Another source with its rows in another order.

    Attributes
    ----------
    source
        The rows as they are stored.
    order
        Stored row of each row, shape (n_rows,).
    """

    source: Any
    order: npt.NDArray[np.intp]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of features."""
        return len(self.order), int(self.source.shape[1])

    def read(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Read rows `start` to `stop` of the new order, dense."""
        wanted = self.order[start:stop]
        out = np.empty((len(wanted), self.shape[1]), dtype=np.float32)
        by_place = np.argsort(wanted, kind="stable")
        # Runs of neighbouring stored rows are read at once.
        breaks = np.flatnonzero(np.diff(wanted[by_place]) > 1) + 1
        for run in np.split(by_place, breaks):
            if len(run):
                first, last = int(wanted[run[0]]), int(wanted[run[-1]])
                out[run] = self.source.read(first, last + 1)[wanted[run] - first]
        return out

    def fingerprint(self) -> str:
        """Digest of the stored content and the order."""
        digest = hashlib.sha256(self.source.fingerprint().encode())
        digest.update(np.ascontiguousarray(self.order, dtype="<i8").data)
        return digest.hexdigest()


def as_source(values: Any) -> ArraySource | SparseSource:
    """Wrap a matrix in memory, dense or sparse, or a data frame of numbers."""
    if hasattr(values, "tocsr"):
        return SparseSource(values.tocsr())
    return ArraySource(np.asarray(values))
