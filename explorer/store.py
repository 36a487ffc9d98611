"""Disk cache and atomic writes: a torn or foreign file is a miss, never a crash."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import io
import json
import os
import re
import secrets
import socket
import stat
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

CACHE_VARIABLE = "EXPLORER_CACHE"
LIMIT_VARIABLE = "EXPLORER_CACHE_BYTES"
DEFAULT_LIMIT = 2 * 2**30

# What an entry says of itself, beside its arrays.
_KEY, _DIGEST = "_key", "_digest"
# A disk of another machine may have another time.
_CLOCKS_DIFFER_NS = 3_600 * 10**9
# What the smallest file takes.
_BLOCK_BYTES = 4_096
_ENTRY = re.compile(r"[0-9a-f]{40}\.npz")
_TEMPORARY = re.compile(r"(?P<start>\..+\.)(?P<process>[0-9]+)\.[0-9a-f]{16}\.tmp(\.[^.]*)?")
_SIZE = re.compile(r"(?P<number>[0-9]{1,15}(\.[0-9]{1,9})?)\s*((?P<unit>[kmgt])?(?P<binary>i)?b?)", re.IGNORECASE)
# What a disk says that knows no hard links.
_NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)
# Names of the temporary files that this process is writing.
_being_written: set[str] = set()


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
    _write_beside(path, write, put=lambda temporary: temporary.replace(path))


def write_new_atomically(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write a file whole or not at all, and only where there is none: what stands there is never replaced.

    Of several who write the same file at a time one succeeds. Where the disk knows no hard links (FAT, some network
    disks) two who come at the same instant may both, and the later one's file stays, whole.

    Parameters
    ----------
    path
        Where it shall stand.
    write
        Writes the content to the open file it is given.

    Raises
    ------
    FileExistsError
        When there is something by that name already.
    """

    def write_stream(temporary: Path) -> None:
        with temporary.open("wb") as stream:
            write(stream)

    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    _write_beside(path, write_stream, put=lambda temporary: _link_new(temporary, path))


def _link_new(temporary: Path, path: Path) -> None:
    """Give a file its name unless that is taken; the temporary name may stay."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        temporary.rename(path)


def _write_beside(path: Path, write: Callable[[Path], None], *, put: Callable[[Path], object]) -> None:
    """Write a temporary file beside a path, and put it there once it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f".{glob.escape(path.stem)}.*.tmp{glob.escape(path.suffix)}"):
        _remove_if_abandoned(leftover)
    name = f".{path.stem}.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(8)}.tmp{path.suffix}"
    temporary = path.parent / name
    _being_written.add(name)
    try:
        # As any new file, others may read it where the user's mask says so; `tempfile` would make it the user's alone.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        write(temporary)
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        put(temporary)
    finally:
        _being_written.discard(name)
        temporary.unlink(missing_ok=True)


def _remove_if_abandoned(leftover: Path) -> None:
    """Remove a temporary file whose process no longer runs on this machine, or runs and does not write it."""
    found = _TEMPORARY.fullmatch(leftover.name)
    if found is None or leftover.name in _being_written:
        return
    if not found["start"].endswith(f".{socket.gethostname()}."):
        return  # of another machine, on a disk that both use
    process = int(found["process"])
    # In a container every process is the first one: a file by our own number that we do not write is none of ours.
    if process == os.getpid() or not _runs(process):
        leftover.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # somebody else's
    return True


def save_arrays(key: str, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Keep arrays in the cache under a key; where the cache can't be written nothing is kept.

    With them go the key and a digest of everything, so that a file that was renamed, edited or torn is not taken for
    what it is not. The digest guards against accidents, not against somebody who may write to the folder.
    """
    checked = dict(arrays) | {_KEY: np.frombuffer(key.encode(), dtype=np.uint8)}
    checked[_DIGEST] = np.frombuffer(_digest(checked), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **checked)
    size, limit = buffer.getbuffer().nbytes, cache_limit()
    if size > limit:
        return
    folder = cache_directory()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(folder / f"{key}.npz", lambda stream: _write_all(stream, buffer))
        _room.spend(folder, size, limit=limit)
    except OSError:
        # A full or read-only disk costs time the next time, nothing else.
        return


def load_arrays(key: str) -> dict[str, npt.NDArray[Any]] | None:
    """Read arrays kept under a key; None where there are none, or the file is torn, changed, renamed or foreign."""
    path = cache_directory() / f"{key}.npz"
    try:
        # Neither a folder nor a pipe, which would never end.
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        with path.open("rb") as stream:
            arrays = _read_all(stream)
        digest, own_key = arrays.pop(_DIGEST).tobytes(), arrays[_KEY].tobytes()
        if own_key != key.encode() or digest != _digest(arrays):
            return None
        arrays.pop(_KEY)
    except Exception:
        # zipfile, zlib and numpy raise many types on bytes that are not theirs; all mean "not here".
        return None
    # The time of writing says when an entry was last of use; that it can't be set is of no account.
    with contextlib.suppress(OSError):
        os.utime(path)
    return arrays


def _read_all(stream: BinaryIO) -> dict[str, npt.NDArray[Any]]:
    with zipfile.ZipFile(stream) as archive:
        # Ours are not compressed: a small file can't unpack to more than the memory.
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise zipfile.BadZipFile
    stream.seek(0)
    with np.load(stream, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    if not all(isinstance(values, np.ndarray) for values in arrays.values()):
        raise zipfile.BadZipFile
    return arrays


def _digest(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """SHA-256 of names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        values = np.asarray(arrays[name])
        if values.dtype.hasobject:
            message = f"{name!r} holds objects, which are not kept: make it an array of numbers or text"
            raise ValueError(message)
        kind = np.lib.format.dtype_to_descr(values.dtype)
        digest.update(f"{json.dumps([name, repr(kind), values.shape])}\n".encode())
        digest.update(values.tobytes())
    return digest.digest()


def cache_limit() -> int:
    """Most bytes of the cache on disk: ``EXPLORER_CACHE_BYTES``, such as "500MB", else 2 GiB."""
    stated = parse_bytes(os.environ.get(LIMIT_VARIABLE, ""))
    return DEFAULT_LIMIT if stated is None else stated


def parse_bytes(text: str) -> int | None:
    """Read a size: a number of bytes, or with a unit as in "500MB", "4GB" or "1.5 GiB"; None where it is none."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        return None
    factor = (1024 if found["binary"] else 1000) ** ("kmgt".index(found["unit"].lower()) + 1) if found["unit"] else 1
    return int(float(found["number"]) * factor)


class _Room:
    """Counts what is written, and now and then removes what was longest of no use."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._unchecked: dict[Path, int] = {}

    def spend(self, folder: Path, n_bytes: int, *, limit: int) -> None:
        """Count an entry; the folder is looked through first, and then after every fiftieth part of the limit."""
        with self._guard:
            since = self._unchecked.get(folder)
            since = None if since is None else since + max(n_bytes, _BLOCK_BYTES)
            if since is not None and since < limit // 50:
                self._unchecked[folder] = since
                return
            self._unchecked[folder] = 0
        remove_oldest(folder, limit=limit)


def remove_oldest(folder: Path, *, limit: int) -> None:
    """Remove entries of the cache until they take less than a limit, those first that were longest of no use.

    What killed processes left behind goes first. Another process may do the same at the same time, or write what is
    removed here: either costs time when the entry is wanted, and nothing else.

    Parameters
    ----------
    folder
        Files by other names than the cache's are left alone.
    limit
        Most bytes.
    """
    found = []
    # What a clock that was set back calls the future leaves first, or nothing new would ever stay.
    latest = time.time_ns() + _CLOCKS_DIFFER_NS
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if _ENTRY.fullmatch(entry.name) or _TEMPORARY.fullmatch(entry.name)]
    for name in names:
        path = folder / name
        with contextlib.suppress(OSError):
            if name.startswith("."):
                _remove_if_abandoned(path)
            status = path.stat()
            is_past = status.st_mtime_ns <= latest
            found.append((is_past, status.st_mtime_ns, name, max(status.st_size, _BLOCK_BYTES)))
    total = sum(size for *_, size in found)
    for *_, name, size in sorted(found):
        if total <= limit:
            return
        if name not in _being_written:
            with contextlib.suppress(OSError):
                (folder / name).unlink(missing_ok=True)
                total -= size


def _write_all(stream: BinaryIO, buffer: io.BytesIO) -> None:
    stream.write(buffer.getbuffer())


_room = _Room()
