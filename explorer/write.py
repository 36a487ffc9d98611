"""A map as a file that plain anndata, scanpy and pertpy read: whole, or not there."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer.activity import Activity
from explorer.aggregate import PerturbationMap
from explorer.errors import InputError, shown
from explorer.store import write_path_atomically

if TYPE_CHECKING:
    from anndata import AnnData

ENDING = ".h5ad"


def check_target(path: Path, *, source: Path) -> None:
    """Check that a map can be written to a path, before hours are spent on making it.

    Parameters
    ----------
    path
        Where the map shall stand.
    source
        What it is made of; a map never replaces it.

    Raises
    ------
    InputError
        When the ending is another one, the folder is missing or may not be written to, or the path is in the way.
    """
    if path.suffix != ENDING:
        message = f"--out is {shown(path.name or path)}, expected a name that ends in {ENDING}"
        raise InputError(message)
    if path.is_dir():
        message = f"--out {shown(path.name)} is a folder: give the name of a file"
        raise InputError(message)
    if not path.parent.is_dir():
        message = f"--out names the folder {shown(path.parent, limit=200)}, which does not exist: make it first"
        raise InputError(message)
    if any(folder.suffix == ".zarr" for folder in path.resolve().parents):
        message = f"--out {shown(path.name)} lies in a zarr store, which it would damage: choose another folder"
        raise InputError(message)
    inputs = source.rglob("*") if source.is_dir() else [source]
    if path.exists() and any(item.exists() and item.samefile(path) for item in inputs):
        message = f"--out {shown(path.name)} is a file that the map is made of: give another name"
        raise InputError(message)
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        message = f"can't write in {shown(path.parent, limit=200)}: {error.strerror or error}; choose another folder"
        raise InputError(message) from error


def write_map(
    path: Path,
    perturbation_map: PerturbationMap,
    *,
    activity: Activity | None = None,
    conditions: Mapping[str, str] | None = None,
) -> None:
    """Write a map, with the activity of its perturbations where it was judged, as an h5ad file.

    Parameters
    ----------
    path
        Where it shall stand; a file of that name is replaced once the new one is whole.
    perturbation_map
        ``X`` its profiles, ``obs`` its counts, ``uns["explorer"]`` recipe and fingerprint.
    activity
        Columns ``consistency, magnitude, mean_average_precision, p, q …`` of ``obs``.
    conditions
        What the map is conditioned on, name and text: ``uns["explorer"]["conditions"]``.

    Raises
    ------
    InputError
        When it can't be written; nothing is left behind.
    """
    adata = perturbation_map.to_anndata(activity=None if activity is None else activity.table)
    if activity is not None:
        adata.uns["explorer"]["activity"] = list(activity.notes) or ["nothing to note"]
    if conditions is not None:
        adata.uns["explorer"]["conditions"] = dict(conditions)
    try:
        write_path_atomically(path, lambda temporary: _write_h5ad(temporary, adata))
    except OSError as error:
        message = (
            f"can't write {shown(path.name)} ({error.strerror or error}): free some space or choose another folder; "
            "nothing is left"
        )
        raise InputError(message) from error


def _write_h5ad(path: Path, adata: AnnData) -> None:
    """Write as `AnnData.write_h5ad` does, but survive a disk that is full."""
    import h5py
    from anndata.io import write_elem

    adata.strings_to_categoricals()
    with _Patient(path, "r+") as stream:
        try:
            with h5py.File(stream, "w") as file:
                write_elem(file, "/", adata)
        finally:
            if stream.failure is not None:
                raise stream.failure


class _Patient(io.FileIO):
    """A file that keeps the first error of writing for later: HDF5 crashes the process where a write fails."""

    failure: OSError | None = None

    def write(self, values: Any) -> int:
        left = memoryview(values).cast("B")
        n_bytes = len(left)
        while len(left) and self.failure is None:
            try:
                left = left[super().write(left) :]
            except OSError as error:
                self.failure = error
        return n_bytes

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size) if self.failure is None else 0
        except OSError as error:
            self.failure = error
            return 0
