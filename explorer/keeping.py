"""Results made once: once a process, whoever asks first, and once a disk, where they take long."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.store import load_arrays, save_arrays

T = TypeVar("T")
Array = npt.NDArray[Any]

MOST_KEPT = 64
# What is larger is quicker made than read, and would fill a disk.
MOST_KEPT_BYTES = 64 * 2**20
_TREE = "tree"


class Shared:
    """Values made once a process, whoever asks first; the oldest leave when there are many."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._values: OrderedDict[Hashable, Any] = OrderedDict()
        self._locks: dict[Hashable, threading.Lock] = {}
        self._guard = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Take the value of a key; where there is none it is made, while others who want it wait."""
        with self._guard:
            if key in self._values:
                self._values.move_to_end(key)
                found: T = self._values[key]
                return found
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            with self._guard:
                if key in self._values:
                    again: T = self._values[key]
                    return again
            value = make()
            with self._guard:
                self._values[key] = value
                self._locks.pop(key, None)
                while len(self._values) > self._most:
                    self._values.popitem(last=False)
            return value

    def peek(self, key: Hashable) -> Any:
        """Value that stands ready, else None."""
        with self._guard:
            return self._values.get(key)


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
        columns = {name: _to_tree(np.asarray(value[name].to_list()), arrays) for name in value.columns}
        return {"table": [columns, {name: str(kind) for name, kind in value.schema.items()}]}
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
        columns, schema = content
        kinds = {name: getattr(pl, word) for name, word in schema.items()}
        return pl.DataFrame({name: of(column).tolist() for name, column in columns.items()}, schema=kinds)
    if kind in ("tuple", "list"):
        items = [of(item) for item in content]
        return tuple(items) if kind == "tuple" else items
    if kind == "class":
        name, parts = content
        return types[name](**{part: of(item) for part, item in parts.items()})
    if kind == "ragged":
        return _from_ragged(content, arrays)
    return {of(key): of(item) for key, item in content}


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
