"""Disk cache and atomic writes: a torn or foreign file is a miss, never a crash."""

from __future__ import annotations

import glob
import hashlib
import io
import json
import os
import secrets
import socket
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

    def write_stream(temporary: Path) -> None:
        with temporary.open("wb") as stream:
            write(stream)

    write_path_atomically(path, write_stream)


def write_path_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file whole or not at all, with a library that wants a path: beside it, then renamed.

    What an earlier process left behind when it was killed is removed.

    Parameters
    ----------
    path
        Where it shall stand.
    write
        Writes the content to the path it is given, which has the ending of `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    stem = f".{path.stem}.{socket.gethostname()}."
    for leftover in path.parent.glob(f"{glob.escape(stem)}*.tmp{glob.escape(path.suffix)}"):
        _remove_if_abandoned(leftover, leftover.name.removeprefix(stem).split(".")[0])
    temporary = path.parent / f"{stem}{os.getpid()}.{secrets.token_hex(8)}.tmp{path.suffix}"
    # As any new file, others may read it where the user's mask says so; `tempfile` would make it the user's alone.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        write(temporary)
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _remove_if_abandoned(leftover: Path, process: str) -> None:
    """Remove a temporary file whose process no longer runs on this machine."""
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, OverflowError):
        leftover.unlink(missing_ok=True)
    except (ValueError, PermissionError):
        return  # not a file of ours, or a process of somebody else's that still runs


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
