"""AnnData files (h5ad and zarr) read in place: the row table, the keys, and matrices by ranges of rows."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.errors import InputError
from explorer.sources import digest_file

STORED_ENDINGS = (".h5ad", ".zarr", ".h5")
# The names of the rows (obs_names), as a column of the row table.
ROW_NAMES = "_row"


def is_stored(path: Path) -> bool:
    """Whether a path looks like an h5ad or zarr file."""
    return path.suffix in STORED_ENDINGS or is_zarr(path)


def is_zarr(path: Path) -> bool:
    """Whether a path is a zarr folder."""
    return path.is_dir() and (path.suffix == ".zarr" or (path / "zarr.json").is_file() or (path / ".zgroup").is_file())


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
        with self._lock, _reading(self.path, f"rows {start:,} to {stop:,} of {self.key!r}") as group:
            return _read_rows(group[self.key], (start, stop), self.shape[1])

    def fingerprint(self) -> str:
        """Digest of the file and the key."""
        return hashlib.sha256(f"{digest_file(self.path)}{self.key}".encode()).hexdigest()


def stored_keys(path: Path) -> list[str]:
    """Name what an h5ad or zarr file holds beside its rows: ``X``, ``layers/KEY``, ``obsm/KEY``."""
    with _reading(path, "the keys") as group:
        # anndata writes an absent X as an empty "null" entry.
        keys = ["X"] if "X" in group and _encoding(group["X"]) != "null" else []
        for part in ("layers", "obsm"):
            if part in group:
                keys += [f"{part}/{key}" for key in group[part]]
    return keys


def matrix_keys(path: Path) -> list[str]:
    """Take those of `stored_keys` that are matrices, dense or sparse; a table in ``obsm`` is not."""
    keys = stored_keys(path)
    with _reading(path, "the keys") as group:
        return [key for key in keys if _is_dense(group[key]) or _encoding(group[key]) in ("csr_matrix", "csc_matrix")]


def _is_dense(node: Any) -> bool:
    shape = getattr(node, "shape", None)
    return shape is not None and len(shape) == 2 and np.dtype(node.dtype).kind in "biuf"


def _encoding(node: Any) -> str:
    return str(node.attrs.get("encoding-type", ""))


def stored_source(path: Path, key: str) -> StoredSource:
    """Find a matrix inside an h5ad or zarr file without reading its rows.

    Raises
    ------
    InputError
        When the key does not lead to a dense or CSR matrix.
    """
    with _reading(path, repr(key)) as group:
        node = group[key]
        encoding = _encoding(node)
        if hasattr(node, "shape"):
            if not _is_dense(node):
                message = (
                    f"{key!r} in {path.name!r} is not a matrix of numbers: it has shape {node.shape} and type "
                    f"{node.dtype}; write a matrix of rows × features"
                )
                raise InputError(message)
            return StoredSource(path, key, (int(node.shape[0]), int(node.shape[1])))
        if encoding == "csr_matrix":
            n_rows, n_features = (int(length) for length in node.attrs["shape"])
            return StoredSource(path, key, (n_rows, n_features))
    found = repr(encoding) if encoding else "an unknown structure"
    message = (
        f"{key!r} in {path.name!r} is stored as {found}, which can't be read by rows: write it as a dense or CSR matrix"
    )
    raise InputError(message)


def read_obs(path: Path) -> pl.DataFrame:
    """Read ``obs`` of an h5ad or zarr file: numbers, truth values, text and categories.

    Returns
    -------
    polars.DataFrame
        ``_row``, the obs_names, and the columns of ``obs`` in their order.

    Raises
    ------
    InputError
        When there is no ``obs``, or a column is stored in a way that can't be read.
    """
    with _reading(path, "'obs'") as group:
        if "obs" not in group:
            msg = f"{path.name!r} has no 'obs' table: it is not an AnnData file; write it with anndata"
            raise InputError(msg)
        obs = group["obs"]
        if hasattr(obs, "shape"):
            message = (
                f"'obs' in {path.name!r} is stored as by anndata before 0.7: read it with anndata and write it again"
            )
            raise InputError(message)
        columns = {ROW_NAMES: _read_column(obs[str(obs.attrs.get("_index", "_index"))], "the index")}
        for name in (str(name) for name in obs.attrs.get("column-order", [])):
            columns[name] = _read_column(obs[name], repr(name))
        return pl.DataFrame(columns)


def _read_column(node: Any, where: str) -> pl.Series:
    if hasattr(node, "shape"):
        return _series(np.asarray(node[:]))
    encoding = _encoding(node)
    if encoding == "categorical" or "codes" in node:
        categories = _read_column(node["categories"], where).to_list()
        codes = np.asarray(node["codes"][:]).tolist()
        return pl.Series([categories[code] if code >= 0 else None for code in codes])
    if "values" in node:  # nullable integers and booleans, and nullable strings
        values = _read_column(node["values"], where)
        return values.set(_series(np.asarray(node["mask"][:])), None) if "mask" in node else values
    message = (
        f"{where} of 'obs' is stored as {encoding!r}, which can't be read: write it as text, numbers or a category"
    )
    raise InputError(message)


def _series(values: npt.NDArray[Any]) -> pl.Series:
    if values.dtype.kind in "OSTU":
        return pl.Series(
            [item.decode() if isinstance(item, bytes) else str(item) for item in values.tolist()],
            dtype=pl.String,
        )
    return pl.Series(values)


def _read_rows(node: Any, bounds: tuple[int, int], n_features: int) -> npt.NDArray[np.float32]:
    start, stop = bounds
    if hasattr(node, "shape"):
        return np.asarray(node[start:stop], dtype=np.float32)
    indptr = np.asarray(node["indptr"][start : stop + 1], dtype=np.int64)
    first, last = int(indptr[0]), int(indptr[-1])
    data, indices = np.asarray(node["data"][first:last]), np.asarray(node["indices"][first:last])
    # SciPy trusts these and writes outside the array where they are wrong.
    ordered = first >= 0 and bool((np.diff(indptr) >= 0).all()) and len(indptr) == stop - start + 1
    whole = len(data) == len(indices) == last - first
    if not (ordered and whole and bool(((indices >= 0) & (indices < n_features)).all())):
        message = "row pointers and column numbers contradict the shape"
        raise ValueError(message)
    from scipy import sparse

    block = sparse.csr_matrix((data, indices, indptr - first), shape=(stop - start, n_features))
    return np.asarray(block.toarray(), dtype=np.float32)


@contextmanager
def _reading(path: Path, what: str) -> Iterator[Any]:
    """Open a file; whatever goes wrong while `what` is read means that the file is damaged."""
    with _open_group(path) as group:
        try:
            yield group
        except InputError:
            raise
        except Exception as error:
            # h5py, zarr and its codecs raise many types on damaged bytes.
            message = f"can't read {what} in {path.name!r}: the file is truncated or damaged; copy or write it again"
            raise InputError(message) from error


def _open_group(path: Path) -> Any:
    try:
        if path.is_dir():
            import zarr

            return _Closing(zarr.open_group(str(path), mode="r"))
        import h5py

        return h5py.File(path, "r")
    except Exception as error:
        kind = "zarr" if path.is_dir() else "h5ad"
        message = f"can't open {path.name!r}: it is not a whole {kind} file; copy or write it again"
        raise InputError(message) from error


class _Closing:
    """Gives a zarr group the ``with`` statement that h5py files have."""

    def __init__(self, group: Any) -> None:
        self._group = group

    def __enter__(self) -> Any:
        return self._group

    def __exit__(self, *_: object) -> None:
        self._group.store.close()
