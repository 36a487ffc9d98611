"""A map as a file that plain anndata, scanpy and pertpy read: whole, or not there."""

from __future__ import annotations

import tempfile
from pathlib import Path

from explorer.activity import Activity
from explorer.aggregate import PerturbationMap
from explorer.errors import InputError, shown
from explorer.store import write_path_atomically

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
        message = f"--out is {shown(path.name)}, expected a name that ends in {ENDING}"
        raise InputError(message)
    if path.is_dir():
        message = f"--out {shown(path.name)} is a folder: give the name of a file"
        raise InputError(message)
    if not path.parent.is_dir():
        message = f"--out names the folder {shown(path.parent, limit=200)}, which does not exist: make it first"
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


def write_map(path: Path, perturbation_map: PerturbationMap, *, activity: Activity | None = None) -> None:
    """Write a map, with the activity of its perturbations where it was judged, as an h5ad file.

    Parameters
    ----------
    path
        Where it shall stand; a file of that name is replaced once the new one is whole.
    perturbation_map
        ``X`` its profiles, ``obs`` its counts, ``uns["explorer"]`` recipe and fingerprint.
    activity
        Columns ``consistency, magnitude, mean_average_precision, p, q …`` of ``obs``.

    Raises
    ------
    InputError
        When it can't be written; nothing is left behind.
    """
    adata = perturbation_map.to_anndata(activity=None if activity is None else activity.table)
    if activity is not None:
        adata.uns["explorer"]["activity"] = list(activity.notes) or ["nothing to note"]
    try:
        write_path_atomically(path, adata.write_h5ad)
    except (OSError, RuntimeError) as error:
        # h5py raises either when a disk is full.
        reason = " ".join(str(error).split())[:200]
        message = (
            f"can't write {shown(path.name)} ({reason}): free some space or choose another folder; nothing is left"
        )
        raise InputError(message) from error
