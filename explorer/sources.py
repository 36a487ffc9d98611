"""Matrices that are read by ranges of rows: in memory, memory-mapped, HDF5, zarr; dense and sparse."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
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
class StoredSource:
    """A matrix inside an h5ad or zarr file, dense or CSR, read with h5py or zarr directly.

    Attributes
    ----------
    path, key
        The file, and the key inside it: ``X``, ``layers/KEY`` or ``obsm/KEY``.
    """

    path: Path
    key: str
    shape: tuple[int, int]
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def read(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Read rows `start` to `stop`, dense.

        Raises
        ------
        InputError
            When the file ends before its data does.
        """
        # HDF5 is not safe to enter from two threads of one process, and sessions are threads.
        with self._lock:
            try:
                with open_group(self.path) as group:
                    return _read_rows(group[self.key], (start, stop), self.shape[1])
            except (OSError, KeyError, ValueError, RuntimeError) as error:
                message = (
                    f"can't read rows {start:,} to {stop:,} of {self.key!r} in {self.path.name!r}: the file "
                    "is truncated or damaged; copy or write it again"
                )
                raise InputError(message) from error

    def fingerprint(self) -> str:
        """Digest of the file and the key."""
        return hashlib.sha256(f"{digest_file(self.path)}{self.key}".encode()).hexdigest()


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


def open_group(path: Path) -> Any:
    """Open an h5ad or zarr file for reading, as a context manager that yields its root group.

    Raises
    ------
    InputError
        When it is not such a file, or is truncated.
    """
    try:
        if path.is_dir():
            import zarr

            return _Closing(zarr.open_group(str(path), mode="r"))
        import h5py

        return h5py.File(path, "r")
    except Exception as error:
        # h5py and zarr raise many types here; every one of them means that the file can't be opened.
        message = f"can't open {path.name!r}: it is not a whole {_format_of(path)} file; copy or write it again"
        raise InputError(message) from error


class _Closing:
    """Gives a zarr group the ``with`` statement that h5py files have."""

    def __init__(self, group: Any) -> None:
        self._group = group

    def __enter__(self) -> Any:
        return self._group

    def __exit__(self, *_: object) -> None:
        self._group.store.close()


def _format_of(path: Path) -> str:
    return "zarr" if path.is_dir() else "h5ad"


def stored_source(path: Path, key: str) -> StoredSource:
    """Find a matrix inside an h5ad or zarr file without reading its rows.

    Raises
    ------
    InputError
        When the key does not lead to a dense or CSR matrix.
    """
    with open_group(path) as group:
        node = group[key]
        if hasattr(node, "shape"):
            if len(node.shape) != 2 or np.dtype(node.dtype).kind not in "biuf":
                message = f"{key!r} in {path.name!r} is not a matrix of numbers: shape {node.shape}, {node.dtype}"
                raise InputError(message)
            return StoredSource(path, key, (int(node.shape[0]), int(node.shape[1])))
        encoding = node.attrs.get("encoding-type", "")
        if encoding == "csr_matrix":
            n_rows, n_features = (int(length) for length in node.attrs["shape"])
            return StoredSource(path, key, (n_rows, n_features))
    found = shown_encoding(encoding)
    message = (
        f"{key!r} in {path.name!r} is stored as {found}, which can't be read by rows: write it as a dense or CSR matrix"
    )
    raise InputError(message)


def shown_encoding(encoding: object) -> str:
    """Name an encoding for a message."""
    return repr(str(encoding)) if encoding else "an unknown structure"


def _read_rows(node: Any, bounds: tuple[int, int], n_features: int) -> npt.NDArray[np.float32]:
    start, stop = bounds
    if hasattr(node, "shape"):
        return np.asarray(node[start:stop], dtype=np.float32)
    indptr = np.asarray(node["indptr"][start : stop + 1], dtype=np.int64)
    first, last = int(indptr[0]), int(indptr[-1])
    from scipy import sparse

    block = sparse.csr_matrix(
        (node["data"][first:last], node["indices"][first:last], indptr - first),
        shape=(stop - start, n_features),
    )
    return np.asarray(block.toarray(), dtype=np.float32)
