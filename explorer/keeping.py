"""Results made once: once a process, whoever asks first, and once a disk, where they take long."""

from __future__ import annotations

import json
import os
import sys
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, is_dataclass
from itertools import count
from types import FunctionType, ModuleType
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.errors import InputError
from explorer.memory import machine_bytes
from explorer.store import load_arrays, parse_bytes, save_arrays

T = TypeVar("T")
Array = npt.NDArray[Any]

MEMORY_VARIABLE = "EXPLORER_MEMORY"
LEAST_MEMORY = 2**30
# Memory is what bounds them; this bounds what looking through them costs.
MOST_KEPT = 4_096
# What is larger is quicker made than read, and would fill a disk.
MOST_KEPT_BYTES = 64 * 2**20
_TREE = "tree"
_ABSENT = object()
_LEAVES = (bool, int, float, complex, type, ModuleType, FunctionType)
_is_only_made: ContextVar[bool] = ContextVar("is_only_made", default=False)


class NotMadeError(Exception):
    """Raised within `only_made` by whoever asks for a value that has not been made yet."""


@contextmanager
def only_made() -> Iterator[None]:
    """Take what stands ready and make nothing: within, `Shared.get` raises `NotMadeError` where it would begin to."""
    before = _is_only_made.set(True)
    try:
        yield
    finally:
        _is_only_made.reset(before)


class Shared:
    """Values made once a process, whoever asks first; read-only, and the least recently used leave first.

    Parameters
    ----------
    most
        How many are kept at the most.
    room
        What they share their memory with; all of a process without it.
    """

    def __init__(self, most: int = MOST_KEPT, *, room: Room | None = None) -> None:
        self._most = most
        self._room = _all_values if room is None else room
        self._shelf = next(_shelves)
        self._making: dict[Hashable, _Making] = {}
        self._guard = threading.Lock()
        weakref.finalize(self, self._room.forget, self._shelf)

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Take the value of a key; where there is none it is made, while others who want it wait.

        What was made is given to all who waited, even if there is no room to keep it. Where it could not be made,
        whoever waited longest tries again.

        Raises
        ------
        NotMadeError
            Within `only_made`, where there is none.
        """
        while True:
            with self._guard:
                found = self._room.take(self._shelf, key)
                if found is not _ABSENT:
                    return cast("T", found)
                if _is_only_made.get():
                    raise NotMadeError
                making = self._making.get(key)
                if making is None:
                    own = self._making[key] = _Making()
                    break
            if making.thread == threading.get_ident():
                message = f"{key!r} is made of itself"
                raise RuntimeError(message)
            making.over.wait()
            if making.value is not _ABSENT:
                return cast("T", making.value)
        try:
            value = make()
            self._room.keep((self._shelf, key), value, most=self._most)
            own.value = value
            return value
        finally:
            with self._guard:
                del self._making[key]
            own.over.set()

    def peek(self, key: Hashable) -> Any:
        """Value that stands ready, else None."""
        found = self._room.take(self._shelf, key)
        return None if found is _ABSENT else found


class _Making:
    """A value that somebody is making, for those who wait."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.over = threading.Event()
        self.value: Any = _ABSENT


@dataclass(slots=True)
class _Entry:
    value: Any
    memory: Mapping[int, int]
    used: int


class Room:
    """Memory that the values of several `Shared` take together.

    Parameters
    ----------
    limit
        Most bytes; as `memory_limit` says without it.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        # By shelf (one for each `Shared`) and key, the least recently used first.
        self._entries: dict[int, OrderedDict[Hashable, _Entry]] = {}
        # An array that several values hold is there once: its bytes, and how many hold it.
        self._memory: dict[int, tuple[int, int]] = {}
        self._n_bytes = 0
        self._clock = count()
        self._guard = threading.Lock()
        # Filled when a `Shared` is collected, which may happen anywhere: whoever comes next clears its shelf.
        self._left: deque[int] = deque()

    @property
    def n_bytes(self) -> int:
        """Bytes that are taken."""
        return self._n_bytes

    def take(self, shelf: int, key: Hashable) -> Any:
        """Take a value, which is then the last to leave."""
        with self._guard:
            entries = self._entries.get(shelf)
            if entries is None or key not in entries:
                return _ABSENT
            entries.move_to_end(key)
            entries[key].used = next(self._clock)
            return entries[key].value

    def keep(self, place: tuple[int, Hashable], value: object, *, most: int) -> None:
        """Keep a value and let others go where there is no room; what was just made stays.

        Parameters
        ----------
        place
            Shelf and key.
        value
            Its arrays are made read-only.
        most
            How many values the shelf holds at the most.

        Raises
        ------
        InputError
            When ``EXPLORER_MEMORY`` is no size.
        """
        limit = memory_limit() if self._limit is None else self._limit
        # A key may be an object too, which lives as long as its value.
        memory = lock_and_measure((value, place[1]))
        shelf, key = place
        with self._guard:
            while self._left:
                for old in list(self._entries.get(gone := self._left.popleft(), ())):
                    self._drop(gone, old)
            entries = self._entries.setdefault(shelf, OrderedDict())
            if key in entries:
                self._drop(shelf, key)
            entries = self._entries.setdefault(shelf, OrderedDict())
            entries[key] = _Entry(value, memory, next(self._clock))
            for name, n_bytes in memory.items():
                known, n_holders = self._memory.get(name, (n_bytes, 0))
                self._memory[name] = known, n_holders + 1
                self._n_bytes += 0 if n_holders else known
            while len(entries) > max(1, most):
                self._drop(shelf, next(iter(entries)))
            while self._n_bytes > limit:
                oldest = self._oldest()
                if oldest == place:
                    break
                self._drop(*oldest)

    def forget(self, shelf: int) -> None:
        """Let all values of a shelf go, when room is needed next."""
        self._left.append(shelf)

    def _oldest(self) -> tuple[int, Hashable]:
        """Find the least recently used; what came last is the only one when it is that."""
        firsts = ((next(iter(entries.items())), shelf) for shelf, entries in self._entries.items())
        (key, _), shelf = min(firsts, key=lambda first: first[0][1].used)
        return shelf, key

    def _drop(self, shelf: int, key: Hashable) -> None:
        entries = self._entries[shelf]
        for name in entries.pop(key).memory:
            n_bytes, n_holders = self._memory.pop(name)
            if n_holders > 1:
                self._memory[name] = n_bytes, n_holders - 1
            else:
                self._n_bytes -= n_bytes
        if not entries:
            del self._entries[shelf]


def memory_limit() -> int:
    """Most bytes that values made once a process may take together.

    Returns
    -------
    int
        ``EXPLORER_MEMORY``, such as "4GB"; without it a quarter of the memory of the machine, or of what the process
        may have of it, but 1 GiB at least.

    Raises
    ------
    InputError
        When the variable is no size.
    """
    text = os.environ.get(MEMORY_VARIABLE, "").strip()
    if not text:
        return max(LEAST_MEMORY, machine_bytes() // 4)
    stated = parse_bytes(text)
    if stated is None:
        message = f"{MEMORY_VARIABLE} is {text[:40]!r}, expected a size such as 4GB or 500MB"
        raise InputError(message)
    return stated


def lock_and_measure(value: object) -> dict[int, int]:
    """Make every array within a value read-only, and say how much memory the value holds.

    Parameters
    ----------
    value
        Numbers, texts, arrays, tables, and tuples, lists, sets, mappings and objects of such.

    Returns
    -------
    dict
        Bytes of each part by the number of the object that owns them, so that what two values share is known.
    """
    found: dict[int, int] = {}
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or item is None or isinstance(item, _LEAVES):
            continue
        seen.add(id(item))
        if isinstance(item, np.ndarray):
            item.setflags(write=False)
            owner = item
            while isinstance(owner.base, np.ndarray):
                owner = owner.base
            found[id(owner)] = owner.nbytes
        elif isinstance(item, pl.DataFrame | pl.Series):
            found[id(item)] = int(item.estimated_size())
        elif isinstance(item, tuple | list | set | frozenset):
            # Names by the hundred thousand: all at once.
            texts = all(type(part) is str for part in item)
            found[id(item)] = sys.getsizeof(item) + (sum(map(sys.getsizeof, item)) if texts else 0)
            waiting += () if texts else item
        elif isinstance(item, Mapping):
            found[id(item)] = sys.getsizeof(item)
            waiting += item.keys()
            waiting += item.values()
        else:
            found[id(item)] = sys.getsizeof(item)
            waiting += _parts_of(item)
    return found


def _parts_of(item: object) -> list[object]:
    if is_dataclass(item):
        return [getattr(item, part.name, None) for part in fields(item)]
    return list(getattr(item, "__dict__", {}).values())


_all_values = Room()
_shelves = count()


def kept_on_disk(key: str, make: Callable[[], T], *, types: tuple[type, ...]) -> T:
    """Take a value from the cache on disk; where it is not there, make it and keep it.

    Parameters
    ----------
    key
        As `explorer.store.artefact_key` makes it.
    make
        Makes the value: numbers, texts, arrays, tables, and tuples, lists, mappings and data classes of such.
    types
        Data classes that may be in it; anything else in a file is a miss.

    Returns
    -------
    T
        Equal to the value that was made, to the last digit; arrays are read-only.
    """
    arrays = load_arrays(key)
    if arrays is not None:
        try:
            return cast("T", unpack(arrays, types=types))
        except Exception:
            # A file that another program or another version wrote: it is made anew.
            pass
    value = make()
    packed = pack(value)
    if sum(array.nbytes for array in packed.values()) <= MOST_KEPT_BYTES:
        save_arrays(key, packed)
    return value


def pack(value: object) -> dict[str, Array]:
    """Turn a value into arrays by name: one holds the structure as text, the others are its own.

    Raises
    ------
    TypeError
        When there is something in it that can't be kept.
    """
    arrays: dict[str, Array] = {}
    tree = _to_tree(value, arrays)
    text = json.dumps(tree, separators=(",", ":")).encode()
    return {_TREE: np.frombuffer(text, dtype=np.uint8), **arrays}


def unpack(arrays: Mapping[str, Array], *, types: tuple[type, ...]) -> object:
    """Turn arrays that `pack` made into the value again; data classes other than those given are refused."""
    by_name = {kind.__name__: kind for kind in types}
    return _from_tree(json.loads(arrays[_TREE].tobytes()), arrays, by_name)


def _to_tree(value: object, arrays: dict[str, Array]) -> object:
    # numpy's float64 is a float, which json writes with all its digits; NaN and infinity pass as well.
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        name = f"a{len(arrays)}"
        arrays[name] = value
        return {"array": name}
    if isinstance(value, pl.DataFrame):
        # An array has no nulls: where they are goes beside it.
        columns = {name: _to_tree(np.asarray(_without_nulls(value[name]).to_list()), arrays) for name in value.columns}
        nulls = {column.name: _to_tree(column.is_null().to_numpy(), arrays) for column in value if column.null_count()}
        return {"table": [columns, {name: str(kind) for name, kind in value.schema.items()}, nulls]}
    if isinstance(value, tuple | list):
        return {type(value).__name__: [_to_tree(item, arrays) for item in value]}
    if is_dataclass(value):
        parts = {part.name: _to_tree(getattr(value, part.name), arrays) for part in fields(value) if part.init}
        return {"class": [type(value).__name__, parts]}
    if isinstance(value, Mapping):
        ragged = _to_ragged(value, arrays)
        if ragged is not None:
            return {"ragged": ragged}
        return {"mapping": [[_to_tree(key, arrays), _to_tree(item, arrays)] for key, item in value.items()]}
    msg = f"a {type(value).__name__} can't be kept"
    raise TypeError(msg)


def _from_tree(tree: object, arrays: Mapping[str, Array], types: Mapping[str, type]) -> Any:
    if not isinstance(tree, dict):
        return tree
    ((kind, content),) = tree.items()

    def of(item: object) -> Any:
        return _from_tree(item, arrays, types)

    if kind == "array":
        return _locked(arrays[content])
    if kind == "table":
        columns, schema, nulls = content
        kinds = {name: getattr(pl, word) for name, word in schema.items()}
        table = pl.DataFrame({name: of(column).tolist() for name, column in columns.items()}, schema=kinds)
        masks = {name: pl.Series(of(mask)) for name, mask in nulls.items()}
        return table.with_columns(
            pl.when(mask).then(None).otherwise(pl.col(name)).alias(name) for name, mask in masks.items()
        )
    if kind in ("tuple", "list"):
        items = [of(item) for item in content]
        return tuple(items) if kind == "tuple" else items
    if kind == "class":
        name, parts = content
        return types[name](**{part: of(item) for part, item in parts.items()})
    if kind == "ragged":
        return _from_ragged(content, arrays)
    return {of(key): of(item) for key, item in content}


def _without_nulls(column: pl.Series) -> pl.Series:
    """Put something of the column's type in the place of nulls, whatever it is."""
    if not column.null_count():
        return column
    return column.fill_null("" if column.dtype == pl.String else False if column.dtype == pl.Boolean else 0)


def _to_ragged(value: Mapping[Any, Any], arrays: dict[str, Array]) -> object:
    """Keep a mapping of arrays of any length, or of tuples of such, end to end: thousands of names cost time."""
    if not value or not all(isinstance(key, str | int | np.integer) for key in value):
        return None
    items = [item if isinstance(item, tuple) else (item,) for item in value.values()]
    alone = not isinstance(next(iter(value.values())), tuple)
    if len({len(item) for item in items}) > 1 or any(isinstance(item, tuple) == alone for item in value.values()):
        return None
    parts = list(zip(*items, strict=True))
    for part in parts:
        if not all(isinstance(array, np.ndarray) and array.ndim == 1 for array in part):
            return None
        if len({array.dtype for array in part}) > 1:
            return None
    names = []
    for part in parts:
        lengths = np.array([len(array) for array in part])
        names.append([_to_tree(np.concatenate(part), arrays), _to_tree(lengths, arrays)])
    return [[_to_tree(key, arrays) for key in value], alone, names]


def _from_ragged(content: Any, arrays: Mapping[str, Array]) -> dict[Any, Any]:
    keys, alone, names = content
    parts = []
    for values, lengths in names:
        ends = np.cumsum(arrays[lengths["array"]])
        parts.append([_locked(part) for part in np.split(arrays[values["array"]], ends[:-1])])
    items = parts[0] if alone else list(zip(*parts, strict=True))
    return dict(zip(keys, items, strict=True))


def _locked(array: Array) -> Array:
    array.setflags(write=False)
    return array
