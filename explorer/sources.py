"""Matrices that are read by ranges of rows: in memory, in a ``.npy`` file, dense and sparse, reordered."""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from explorer.errors import InputError, shown

# Above this size a file is known by its length and samples of it: hashing it would cost more than reading it.
HASH_WHOLE_BELOW = 256 * 2**20
_SAMPLE_BYTES = 2**20
_N_SAMPLES = 64
# Rows in another order are gathered this many bytes at a time: each time the stored rows are passed over once.
_GATHER_BYTES = 64 * 2**20

# Of a zarr folder what lies in it is looked at, and what lies in the groups that hold matrices.
_MATRIX_GROUPS = ("X", "layers", "obsm")

# A few bytes can claim any number of rows and columns, and each column that is read takes 8 bytes a row.
MOST_ROWS = 2**28
MOST_FEATURES = 2**22

Block = tuple[int, npt.NDArray[np.float32]]
State = tuple[tuple[int, ...] | None, ...]


def state_of(path: Path) -> State:
    """Say which file this is and which version of it; equal states mean that nobody wrote to it or replaced it.

    Of a folder those of what lies in it, of a zarr folder also of its matrices: a chunk that is rewritten alone, deep
    below, does not show.

    Parameters
    ----------
    path
        A file or a zarr folder.

    Returns
    -------
    tuple
        Number of the file, size, times of writing and of change in ns, to be compared for equality alone: a clock may
        go back. One entry a file; None for what is not there.
    """
    try:
        status = path.stat()
    except (OSError, ValueError):
        return (None,)
    if not stat.S_ISDIR(status.st_mode):
        return (_state(status),)
    return (_state(status), *_folder_states(str(path), within=_MATRIX_GROUPS))


def _state(status: os.stat_result) -> tuple[int, ...]:
    # The time of change is set by the system alone: a copy that takes over the time of writing shows in it.
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _folder_states(folder: str, *, within: tuple[str, ...] = ()) -> list[tuple[int, ...] | None]:
    found: list[tuple[int, ...] | None] = []
    try:
        if Path(folder, ".zarray").exists():
            return found  # an array, of which the folder's own time says when a chunk came or went
        with os.scandir(folder) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return [None]
    for entry in inside:
        try:
            found.append(_state(entry.stat()))
        except OSError:  # a link to nowhere
            found.append(None)
        if entry.name in within:
            found += _folder_states(entry.path)
    return found


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


def check_size(n_rows: int, n_features: int, *, name: str) -> None:
    """Refuse a table or matrix that says that it is larger than any screen.

    Parameters
    ----------
    n_rows, n_features
        What it says.
    name
        Of the file, for the message.

    Raises
    ------
    InputError
        When a number is negative, or above `MOST_ROWS` rows or `MOST_FEATURES` columns.
    """
    if not (0 <= n_rows <= MOST_ROWS and 0 <= n_features <= MOST_FEATURES):
        message = (
            f"{name!r} says that it has {shown(n_rows)} rows and {shown(n_features)} columns, which can't be read: "
            f"expected at most {MOST_ROWS:,} and {MOST_FEATURES:,}; is the file damaged?"
        )
        raise InputError(message)


class Unchanged:
    """A file that has to stay as it is while it is read in parts, so that the parts belong together.

    Sent to another process it is what the file is there: a copy on another machine has another number and time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._state = state_of(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path,)

    def check(self) -> None:
        """Compare the file with what it was; call it after each part.

        Raises
        ------
        InputError
            When the file was written to, replaced or removed.
        """
        if state_of(self.path) != self._state:
            message = (
                f"{self.path.name!r} was changed while it was open: wait until it is whole, then open it again (in a "
                "browser, reload the page)"
            )
            raise InputError(message)


def digest_unchanged(file: Unchanged) -> str:
    """Digest a file that must still be the one that was opened, or its rows would be kept under another's name.

    Raises
    ------
    InputError
        When it was changed, or is gone.
    """
    try:
        digest = digest_file(file.path)
        file.check()
    except OSError as error:
        message = f"can't read {file.path.name!r}: {error.strerror or error}; write the file again"
        raise InputError(message) from error
    return digest


def as_float32(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Convert numbers of any type, without a copy where they are float32; what is too large becomes infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(values, dtype=np.float32)


def in_blocks(pieces: Iterable[Block], step: int) -> Iterator[Block]:
    """Cut pieces of rows, read in order in whatever lengths suit a file, into blocks of equal length.

    Parameters
    ----------
    pieces
        First row and rows of each piece, shape (any, n_features); each begins where the last one ended.
    step
        Rows in a block; the last block may be shorter.

    Yields
    ------
    tuple
        First row of the block, and its rows; pieces of the right length are passed on without a copy.
    """
    kept: list[npt.NDArray[np.float32]] = []
    first, n_kept = 0, 0
    for begin, values in pieces:
        if not n_kept:
            first = begin
        place = 0
        while n_kept + len(values) - place >= step:
            end = place + step - n_kept
            part = values[place:end]
            yield first, np.concatenate([*kept, part]) if kept else part
            first, n_kept, place = first + step, 0, end
            kept.clear()
        if place < len(values):
            kept.append(values[place:])
            n_kept += len(values) - place
    if n_kept:
        yield first, np.concatenate(kept) if len(kept) > 1 else kept[0]


def read_blocks(source: Any, bounds: tuple[int, int], step: int) -> Iterator[Block]:
    """Read a range of rows of any source in blocks, with its own ``blocks`` where it has one."""
    start, stop = bounds
    if hasattr(source, "blocks"):
        yield from source.blocks(start, stop, step)
        return
    for first in range(start, stop, step):
        yield first, source.read(first, min(first + step, stop))


def read_at_once(source: Any, start: int, stop: int) -> npt.NDArray[np.float32]:
    """Read a range of rows as a single block, shape (stop − start, n_features)."""
    n_rows, n_features = source.shape
    start, stop = min(start, n_rows), min(stop, n_rows)
    for _, block in source.blocks(start, stop, max(1, stop - start)):
        whole: npt.NDArray[np.float32] = block
        return whole
    return np.empty((0, n_features), dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class ArraySource:
    """A dense matrix in memory; it is made read-only. Where its rows were selected, `rows` are their numbers before."""

    values: npt.NDArray[Any]
    digest: str | None = None
    rows: npt.NDArray[np.intp] | None = field(default=None, repr=False)

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
        return as_float32(self.values[start:stop])

    def fingerprint(self) -> str:
        """Digest of the values, sampled at 64 places where they are as large as a file that would be."""
        if self.digest is not None:
            return self.digest
        digest = hashlib.sha256(f"{self.values.shape}{self.values.dtype}".encode())
        if self.values.nbytes <= HASH_WHOLE_BELOW:
            digest.update(np.ascontiguousarray(self.values).data)
            return digest.hexdigest()
        n_rows = len(self.values)
        some = max(1, _SAMPLE_BYTES // max(1, self.values.nbytes // n_rows))
        for place in range(_N_SAMPLES):
            start = place * max(0, n_rows - some) // (_N_SAMPLES - 1)
            digest.update(np.ascontiguousarray(self.values[start : start + some]).data)
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
class NpySource:
    """A dense matrix in a ``.npy`` file, read with plain file reads: a memory map would keep the whole file resident.

    Attributes
    ----------
    path
        The file.
    shape
        Number of rows and of features.
    dtype
        Type of the stored numbers.
    offset
        Bytes before the first number.
    by_column
        Whether the numbers are stored column by column (Fortran order).
    file
        Notices when the file is no longer the one that was opened.
    """

    path: Path
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    offset: int
    by_column: bool = False
    file: Unchanged | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.file is None:
            object.__setattr__(self, "file", Unchanged(self.path))

    def read(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Read rows `start` to `stop`, dense.

        Raises
        ------
        InputError
            When the file is gone or ends before its data does.
        """
        return read_at_once(self, start, stop)

    def blocks(self, start: int, stop: int, step: int) -> Iterator[Block]:
        """Read rows `start` to `stop` in order, `step` at a time, with the file opened once.

        Raises
        ------
        InputError
            When the file is gone or ends before its data does.
        """
        n_rows, n_features = self.shape
        width = self.dtype.itemsize
        file = self.file or Unchanged(self.path)
        try:
            with self.path.open("rb") as stream:
                for first in range(start, stop, step):
                    last = min(first + step, stop)
                    if self.by_column:
                        columns = np.empty((n_features, last - first), dtype=self.dtype)
                        for column in range(n_features):
                            stream.seek(self.offset + (column * n_rows + first) * width)
                            columns[column] = np.fromfile(stream, dtype=self.dtype, count=last - first)
                        block = columns.T
                    else:
                        stream.seek(self.offset + first * n_features * width)
                        numbers = np.fromfile(stream, dtype=self.dtype, count=(last - first) * n_features)
                        block = numbers.reshape(last - first, n_features)
                    file.check()
                    yield first, np.ascontiguousarray(as_float32(block))
        except InputError:
            raise
        except (OSError, ValueError) as error:
            message = f"can't read {self.path.name!r}: it is gone or was cut short; write it again with numpy.save"
            raise InputError(message) from error

    def fingerprint(self) -> str:
        """Digest of the file."""
        return digest_unchanged(self.file or Unchanged(self.path))


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
        return self._gather(self.order[start:stop])

    def blocks(self, start: int, stop: int, step: int) -> Iterator[Block]:
        """Read rows `start` to `stop` of the new order, `step` at a time.

        The stored rows are passed over once for every 64 MiB, however the order scatters them.
        """
        rows = max(1, _GATHER_BYTES // (4 * max(1, self.shape[1])) // step) * step
        pieces = (
            (first, self._gather(self.order[first : min(first + rows, stop)])) for first in range(start, stop, rows)
        )
        yield from in_blocks(pieces, step)

    def _gather(self, wanted: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
        out = np.empty((len(wanted), self.shape[1]), dtype=np.float32)
        by_place = np.argsort(wanted, kind="stable")
        stored = wanted[by_place]
        step = max(1, _GATHER_BYTES // 8 // (4 * max(1, self.shape[1])))
        # What lies between two wanted rows is read too unless it is long: a jump costs more than a few rows.
        for run in np.split(np.arange(len(wanted)), np.flatnonzero(np.diff(stored) > step) + 1):
            if not len(run):
                continue
            bounds = int(stored[run[0]]), int(stored[run[-1]]) + 1
            for first, values in read_blocks(self.source, bounds, step):
                low, high = np.searchsorted(stored, [first, first + len(values)])
                out[by_place[low:high]] = values[stored[low:high] - first]
        return out

    def fingerprint(self) -> str:
        """Digest of the stored content and the order."""
        digest = hashlib.sha256(self.source.fingerprint().encode())
        digest.update(np.ascontiguousarray(self.order, dtype="<i8").data)
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class SpreadSource:
    """Another source each of whose rows stands for any number of rows, such as an embedding of perturbations for cells.

    Attributes
    ----------
    source
        The rows as they are stored, one a perturbation.
    places
        Stored row of each row, shape (n_rows,); −1 for those that have none, which are NaN.
    problem
        Why the rows can't be read, for whoever reads them; empty where they can.
    """

    source: Any
    places: npt.NDArray[np.intp]
    problem: str = ""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of features."""
        return len(self.places), int(self.source.shape[1])

    def read(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Read rows `start` to `stop`, dense; each stored row that they need is read once.

        Raises
        ------
        InputError
            When there is a `problem`.
        """
        if self.problem:
            raise InputError(self.problem)
        wanted = self.places[start:stop]
        out = np.full((len(wanted), self.shape[1]), np.nan, dtype=np.float32)
        present = np.flatnonzero(wanted >= 0)
        if len(present):
            stored, number = np.unique(wanted[present], return_inverse=True)
            out[present] = ReorderedSource(self.source, stored).read(0, len(stored))[number]
        return out

    def fingerprint(self) -> str:
        """Digest of the stored content, and of which row has which."""
        digest = hashlib.sha256(f"spread {self.source.fingerprint()}{self.problem}".encode())
        digest.update(np.ascontiguousarray(self.places, dtype="<i8").data)
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class SelectedSource:
    """Some rows of another source, in its order: those of one context among several in a file.

    Attributes
    ----------
    source
        The rows as they are stored.
    rows
        Stored row of each row, ascending, shape (n_rows,).
    """

    source: Any
    rows: npt.NDArray[np.intp]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of features."""
        return len(self.rows), int(self.source.shape[1])

    def read(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Read rows `start` to `stop` of those selected, dense."""
        return read_at_once(self, start, stop)

    def blocks(self, start: int, stop: int, step: int) -> Iterator[Block]:
        """Read rows `start` to `stop` of those selected, `step` at a time; the stored rows are passed over once."""
        return in_blocks(self._pieces(start, min(stop, len(self.rows)), step), step)

    def _pieces(self, start: int, stop: int, step: int) -> Iterator[Block]:
        # What lies between two wanted rows is read too unless it is long: a jump costs more than a few rows.
        longest = max(1, _GATHER_BYTES // 8 // (4 * max(1, self.shape[1])))
        jumps = np.flatnonzero(np.diff(self.rows[start:stop]) > longest) + 1 + start
        edges = [start, *jumps.tolist(), stop]
        for begin, end in itertools.pairwise(edges):
            if begin >= end:
                continue
            low, high = int(self.rows[begin]), int(self.rows[end - 1]) + 1
            for first, values in read_blocks(self.source, (low, high), step):
                if high - low == end - begin:  # a range without a gap is passed on as it is read
                    yield begin + first - low, values
                    continue
                head, tail = (
                    begin + int(place) for place in np.searchsorted(self.rows[begin:end], [first, first + len(values)])
                )
                if head < tail:
                    yield head, values[self.rows[head:tail] - first]

    def fingerprint(self) -> str:
        """Digest of the stored content and the selection."""
        digest = hashlib.sha256(f"selected {self.source.fingerprint()}".encode())
        digest.update(np.ascontiguousarray(self.rows, dtype="<i8").data)
        return digest.hexdigest()


def select_rows(source: Any, rows: npt.NDArray[np.intp]) -> Any:
    """Take some rows of a source, ascending; what is in memory is copied, what is in a file stays there.

    Parameters
    ----------
    source
        Any source of rows.
    rows
        Row of each row that is wanted, shape (n_rows,).
    """
    if np.array_equal(rows, np.arange(int(source.shape[0]))):
        return source
    if isinstance(source, ReorderedSource):
        return ReorderedSource(source.source, source.order[rows])
    selected = SelectedSource(source, rows)
    if isinstance(source, ArraySource):
        # A table is read whole for each of its contexts, and only one context's part of it shall stay in memory.
        return ArraySource(source.values[rows], digest=selected.fingerprint(), rows=rows)
    return selected


def stored_row(source: Any, row: int) -> int:
    """Find the number of a row in its file, for a message, where a source selects or reorders rows."""
    while isinstance(source, SelectedSource | ReorderedSource):
        row = int((source.rows if isinstance(source, SelectedSource) else source.order)[row])
        source = source.source
    return int(source.rows[row]) if isinstance(source, ArraySource) and source.rows is not None else row


def as_source(values: Any) -> ArraySource | SparseSource:
    """Wrap a matrix in memory, dense or sparse, or a data frame of numbers."""
    if hasattr(values, "tocsr"):
        return SparseSource(values.tocsr())
    return ArraySource(np.asarray(values))
