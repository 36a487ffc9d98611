"""Disk cache and atomic writes: a torn or foreign file is a miss, never a crash."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

CACHE_VARIABLE = "EXPLORER_CACHE"


def cache_directory() -> Path:
    """Folder of the cache: ``EXPLORER_CACHE``, else ``perturbation-explorer`` in the user's cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "perturbation-explorer"


def artefact_key(*parts: object, made_by: tuple[ModuleType, ...] = ()) -> str:
    """Key an artefact by what it was made of and by the source code that makes it.

    Parameters
    ----------
    *parts
        Fingerprints and settings.
    made_by
        Modules; when the text of one changes, the key changes, so no stale result is served.

    Returns
    -------
    str
        40 hexadecimal digits.
    """
    digest = hashlib.sha256(json.dumps([str(part) for part in parts]).encode())
    for module in made_by:
        if module.__file__ is not None:
            digest.update(Path(module.__file__).read_bytes())
    return digest.hexdigest()[:40]


def write_atomically(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write a file whole or not at all: to a temporary file beside it, then renamed.

    Parameters
    ----------
    path
        Where it shall stand.
    write
        Writes the content to the open file it is given.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def save_arrays(key: str, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Keep arrays in the cache under a key; where the cache can't be written nothing is kept."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **dict(arrays))
    try:
        write_atomically(cache_directory() / f"{key}.npz", lambda stream: _write_all(stream, buffer))
    except OSError:
        # A full or read-only disk costs time the next time, nothing else.
        return


def load_arrays(key: str) -> dict[str, npt.NDArray[Any]] | None:
    """Read arrays kept under a key; None where there are none, or the file is torn or foreign."""
    path = cache_directory() / f"{key}.npz"
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        return arrays if all(isinstance(values, np.ndarray) for values in arrays.values()) else None
    except Exception:
        # zipfile, zlib and numpy raise many types on bytes that are not theirs; all mean "not here".
        return None


def _write_all(stream: BinaryIO, buffer: io.BytesIO) -> None:
    stream.write(buffer.getbuffer())
