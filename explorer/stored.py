"""AnnData files (h5ad and zarr) read in place: the row table, the keys, and matrices by ranges of rows."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.errors import InputError, shown
from explorer.sources import Block, Unchanged, as_float32, check_size, digest_unchanged, in_blocks, read_at_once

STORED_ENDINGS = (".h5ad", ".zarr", ".h5")
# The names of the rows (obs_names), as a column of the row table.
ROW_NAMES = "_row"
# Most that is decoded at once, dense or of a CSR matrix: compressed chunks are then decoded once and no more.
_PIECE_BYTES = 64 * 2**20
_PIECE_VALUES = 2**21
# What chunks of a zarr array may be packed with: none of it runs anything that it finds in them.
_CODECS = frozenset({
    "blosc", "zstd", "lz4", "gzip", "zlib", "bz2", "lzma", "vlen-utf8", "vlen-bytes", "shuffle", "delta", "bitround",
    "fixedscaleoffset", "quantize", "astype", "packbits", "crc32", "crc32c", "adler32", "fletcher32", "bytes",
    "transpose", "sharding_indexed",
})  # fmt: skip
# Texts that are Python objects, and codes that are looked up, at the same time.
_TEXT_ROWS = 2**16
_CODE_ROWS = 2**16


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
    shape
        Number of rows and of features.
    file
        Notices when the file is no longer the one that was opened.
    """

    path: Path
    key: str
    shape: tuple[int, int]
    file: Unchanged | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.file is None:
            object.__setattr__(self, "file", Unchanged(self.path))

    def read(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Read rows `start` to `stop`, dense; as `blocks`, but the file is opened for them alone.

        Raises
        ------
        InputError
            As `blocks`.
        """
        return read_at_once(self, start, stop)

    def blocks(self, start: int, stop: int, step: int) -> Iterator[Block]:
        """Read rows `start` to `stop` in order, `step` at a time, with the file opened once.

        A chunk that is absent is an error, never fill values. Zarr by default leaves out chunks of nothing but the
        fill value, and then a chunk that was lost can't be told from one of zeros; but a chunk of profiles holds
        thousands of numbers, so that a lost one is the likelier by far, and would become zero profiles in silence.

        Yields
        ------
        tuple
            First row of the block, and its rows, float32, shape (≤ step, n_features).

        Raises
        ------
        InputError
            When the file is damaged, ends before its data does, lacks a chunk, or changes while it is read.
        """
        # No lock of ours: h5py has one for all calls into HDF5, and zarr needs none to read.
        with _reading(self.path, f"rows {start:,} to {stop:,} of {self.key!r}") as group:
            watched = _Watched(self.path, self.file or Unchanged(self.path))
            # Whatever another file holds is not what was asked for, whether it can be read or not.
            watched.whole.check()
            node = _member(group, self.key)
            if hasattr(node, "shape"):
                _check_allocated(node)
                yield from in_blocks(_dense_pieces(node, (start, stop, step), watched), step)
            else:
                parts = {part: _member(node, part) for part in ("data", "indices", "indptr")}
                for part in parts.values():
                    _check_allocated(part)
                yield from _csr_blocks(parts, (start, stop, step), self.shape[1], watched)
            watched.whole.check()

    def fingerprint(self) -> str:
        """Digest of the file and the key."""
        content = digest_unchanged(self.file or Unchanged(self.path))
        return hashlib.sha256(f"{content}{self.key}".encode()).hexdigest()


def stored_keys(path: Path) -> list[str]:
    """Name what an h5ad or zarr file holds beside its rows: ``X``, ``layers/KEY``, ``obsm/KEY``."""
    with _reading(path, "the keys") as group:
        # anndata writes an absent X as an empty "null" entry.
        keys = ["X"] if _has(group, "X") and _encoding(_member(group, "X")) != "null" else []
        for part in ("layers", "obsm"):
            if _has(group, part):
                keys += [f"{part}/{key}" for key in _member(group, part)]
    return keys


def matrix_keys(path: Path) -> list[str]:
    """Take those of `stored_keys` that are matrices, dense or sparse; a table in ``obsm`` is not."""
    keys = stored_keys(path)
    with _reading(path, "the keys") as group:
        nodes = {key: _member(group, key) for key in keys}
        sparse = ("csr_matrix", "csc_matrix")
        return [key for key, node in nodes.items() if _is_dense(node) or _encoding(node) in sparse]


def _is_dense(node: Any) -> bool:
    shape = getattr(node, "shape", None)
    return shape is not None and len(shape) == 2 and shape[1] > 0 and np.dtype(node.dtype).kind in "biuf"


def _encoding(node: Any) -> str:
    return str(node.attrs.get("encoding-type", ""))


def stored_source(path: Path, key: str) -> StoredSource:
    """Find a matrix inside an h5ad or zarr file without reading its rows.

    Raises
    ------
    InputError
        When the key does not lead to a dense or CSR matrix.
    """
    file = Unchanged(path)
    with _reading(path, repr(key)) as group:
        node = _member(group, key)
        encoding = _encoding(node)
        if hasattr(node, "shape"):
            if not _is_dense(node):
                message = (
                    f"{key!r} in {path.name!r} is not a matrix of numbers: it has shape {node.shape} and type "
                    f"{node.dtype}; write a matrix of rows × features"
                )
                raise InputError(message)
            n_rows, n_features = (int(length) for length in node.shape)
            check_size(n_rows, n_features, name=path.name)
            return StoredSource(path, key, (n_rows, n_features), file)
        if encoding == "csr_matrix":
            n_rows, n_features = (int(length) for length in node.attrs["shape"])
            check_size(n_rows, n_features, name=path.name)
            return StoredSource(path, key, (n_rows, n_features), file)
    found = repr(encoding) if encoding else "an unknown structure"
    message = (
        f"{key!r} in {path.name!r} is stored as {found}, which can't be read by rows: write it as a dense or CSR matrix"
    )
    raise InputError(message)


class StoredRows:
    """The row table of an h5ad or zarr file: its columns are known, and each is read when it is asked for.

    Parameters
    ----------
    path
        The file.

    Attributes
    ----------
    columns
        ``_row``, the obs_names, and the columns of ``obs`` in their order.
    height
        Number of rows.
    schema
        Kind of each column: text (categories of text too), truth values or numbers.

    Raises
    ------
    InputError
        When there is no ``obs``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = Unchanged(path)
        with _obs(path) as obs:
            self.columns = [ROW_NAMES, *(str(name) for name in obs.attrs.get("column-order", []))]
            index = _column(obs, ROW_NAMES)[0]
            # Newer pandas has text with missing values, a group of two arrays, for an index too.
            if not hasattr(index, "shape"):
                index = _member(index, "values" if _has(index, "values") else "codes")
            self.height = int(index.shape[0])
            check_size(self.height, len(self.columns), name=path.name)
            self.schema: Mapping[str, Any] = {
                name: _kind(_member(obs, name)) if _has(obs, name) else pl.Unknown() for name in self.columns[1:]
            } | {ROW_NAMES: pl.String()}

    def __getitem__(self, name: str) -> pl.Series:
        """Read one column."""
        return self.select([name]).to_series()

    def select(self, names: Sequence[str]) -> pl.DataFrame:
        """Read some columns; categories and text that repeats become an Enum of the labels, sorted.

        Raises
        ------
        InputError
            When a column is stored in a way that can't be read, or the file is no longer the one that was opened.
        """
        with _obs(self.path) as obs:
            self._file.check()
            found = {name: _read_column(*_column(obs, name)) for name in names}
            self._file.check()
        for name, values in found.items():
            if len(values) != self.height:
                message = (
                    f"{shown(name)} of 'obs' in {self.path.name!r} has {len(values):,} rows, expected {self.height:,}: "
                    "write the file again"
                )
                raise InputError(message)
        return pl.DataFrame(found)


def read_obs(path: Path, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Read ``obs`` of an h5ad or zarr file: numbers, truth values, text and categories.

    A lost chunk of numbers or category codes in a zarr folder reads as zeros here: a chunk of nothing but the first
    category is common, and zarr leaves it out.

    Parameters
    ----------
    path
        The file.
    columns
        Names of the columns to read, ``_row`` among them for the obs_names; all without it.

    Returns
    -------
    polars.DataFrame
        ``_row``, the obs_names, and the columns of ``obs`` in their order; or the columns that were named.

    Raises
    ------
    InputError
        When there is no ``obs``, or a column is stored in a way that can't be read.
    """
    rows = StoredRows(path)
    return rows.select(rows.columns if columns is None else columns)


def read_feature_names(path: Path) -> tuple[str, ...]:
    """Read the var_names of an h5ad or zarr file, those of X and of every layer.

    Empty where there are none, or only the numbers that anndata makes up, which name nothing.
    """
    with _reading(path, "'var'") as group:
        if not _has(group, "var"):
            return ()
        var = _member(group, "var")
        index = "" if hasattr(var, "shape") else str(var.attrs.get("_index", "_index"))
        if not index or not _has(var, index):
            return ()
        names = tuple(_read_column(_member(var, index), "the index of 'var'").cast(pl.String).to_list())
        return () if names == tuple(map(str, range(len(names)))) else names


@contextmanager
def _obs(path: Path) -> Iterator[Any]:
    with _reading(path, "'obs'") as group:
        if not _has(group, "obs"):
            msg = f"{path.name!r} has no 'obs' table: it is not an AnnData file; write it with anndata"
            raise InputError(msg)
        obs = _member(group, "obs")
        if hasattr(obs, "shape"):
            message = (
                f"'obs' in {path.name!r} is stored as by anndata before 0.7: read it with anndata and write it again"
            )
            raise InputError(message)
        yield obs


def _column(obs: Any, name: str) -> tuple[Any, str]:
    """Find a column, and what to call it in a message."""
    if name == ROW_NAMES:
        return _member(obs, str(obs.attrs.get("_index", "_index"))), "the index"
    return _member(obs, name), shown(name)


def _kind(node: Any) -> pl.DataType:
    if not hasattr(node, "shape"):
        part = next((part for part in ("categories", "values") if _has(node, part)), None)
        return pl.Unknown() if part is None else _kind(_member(node, part))
    kind = np.dtype(node.dtype).kind
    numbers = {"b": pl.Boolean(), "i": pl.Int64(), "u": pl.UInt64(), "f": pl.Float64()}
    return numbers.get(kind, pl.String() if _is_text(node) else pl.Unknown())


def _is_text(node: Any) -> bool:
    """Whether an array holds text; HDF5 has references, structures and lists too."""
    kind = np.dtype(node.dtype)
    if kind.kind != "O" or hasattr(node, "store_path"):
        return kind.kind in "OSTU"
    import h5py

    return h5py.check_string_dtype(kind) is not None


def _read_column(node: Any, where: str) -> pl.Series:
    if hasattr(node, "shape"):
        return _series(node)
    encoding = _encoding(node)
    if encoding == "categorical" or _has(node, "codes"):
        codes = _member(node, "codes")
        _length(codes)
        return _decode(_read_column(_member(node, "categories"), where), codes)
    if _has(node, "values"):  # nullable integers and booleans, and nullable strings
        values = _read_column(_member(node, "values"), where)
        return values.set(_series(_member(node, "mask")), None) if _has(node, "mask") else values
    message = (
        f"{where} of 'obs' is stored as {encoding!r}, which can't be read: write it as text, numbers or a category"
    )
    raise InputError(message)


def _decode(categories: pl.Series, codes: Any) -> pl.Series:
    """Look codes up, a negative one being a missing value; text becomes an Enum of the labels, sorted.

    Rows are looked up a part at a time: what polars works with is four times as wide as the codes.
    """
    if categories.dtype in (pl.String, pl.Enum):
        texts = categories.cast(pl.String).to_list()
        categories = pl.Series(texts, dtype=pl.Enum(sorted({text for text in texts if text is not None})))
    # A missing value is one more category, so that a lookup is all there is to do.
    lookup = pl.concat([categories, pl.Series([None], dtype=categories.dtype)])
    parts = [lookup.clear()]
    for start in range(0, int(codes.shape[0]), _CODE_ROWS):
        part = np.asarray(codes[start : start + _CODE_ROWS])
        # Compared before they are made narrower: a code of 2³² would become the first category.
        if part.dtype.kind not in "iu" or part.max(initial=0) >= max(1, len(categories)):
            message = "codes beyond the categories"
            raise ValueError(message)
        parts.append(lookup.gather(np.where(part < 0, len(categories), part).astype(np.int64)))
    return pl.concat(parts, rechunk=True)


def _length(node: Any) -> int:
    """Count the values of a column, and refuse more than there can be, before any of them is read."""
    (n_rows,) = node.shape
    check_size(int(n_rows), 1, name=str(node.name))
    _check_allocated(node)
    return int(n_rows)


def _series(node: Any) -> pl.Series:
    n_rows = _length(node)
    if np.dtype(node.dtype).kind in "biuf":
        return pl.Series(np.ascontiguousarray(node[:]))
    if not _is_text(node):
        message = f"values of type {node.dtype}"
        raise ValueError(message)
    _check_chunks(node, 0, n_rows)
    return _read_names(node) if n_rows <= _TEXT_ROWS else _read_labels(node)


def _read_names(node: Any, start: int = 0) -> pl.Series:
    values = np.asarray(node[start : start + _TEXT_ROWS]).tolist()
    return pl.Series([item.decode() if isinstance(item, bytes) else str(item) for item in values], dtype=pl.String)


def _read_labels(node: Any) -> pl.Series:
    """Read long text a part at a time: as an Enum where it repeats, else as it is."""
    numbers: dict[str, int] = {}
    codes: list[npt.NDArray[np.uint32]] = []
    names: list[pl.Series] = []
    for start in range(0, int(node.shape[0]), _TEXT_ROWS):
        part = _read_names(node, start)
        if names:
            names.append(part)
            continue
        for text in part.unique().to_list():
            numbers.setdefault(text, len(numbers))
        if len(numbers) > (start + len(part)) / 2:
            known = pl.Series(list(numbers), dtype=pl.String)
            names = [*(known.gather(code) for code in codes), part]
            continue
        codes.append(part.cast(pl.Enum(list(numbers))).to_physical().cast(pl.UInt32).to_numpy())
    return pl.concat(names) if names else _decode(pl.Series(list(numbers), dtype=pl.String), np.concatenate(codes))


def _dense_pieces(node: Any, bounds: tuple[int, int, int], watched: _Watched) -> Iterator[Block]:
    """Read a dense matrix by whole chunks, so that none is decoded twice."""
    start, stop, step = bounds
    rows = step
    chunk = getattr(node, "shards", None) or node.chunks
    if chunk is not None:
        whole = max(1, step // chunk[0]) * chunk[0]
        if whole * int(node.shape[1]) * np.dtype(node.dtype).itemsize <= _PIECE_BYTES:
            rows = whole
    # Pieces end where chunks do; without chunks they are the blocks themselves.
    origin = 0 if chunk is not None and rows != step else start
    first = start
    read = _plain_reader(node, watched.path) or (lambda one, other: node[one:other])
    while first < stop:
        last = min(stop, origin + ((first - origin) // rows + 1) * rows)
        values = read(first, last)
        watched.check(node, first, last)
        if len(values) != last - first:
            message = f"{len(values)} rows where {last - first} were expected"
            raise ValueError(message)
        yield first, as_float32(values)
        first = last


def _plain_reader(node: Any, path: Path) -> Callable[[int, int], npt.NDArray[Any]] | None:
    """Read rows that lie in the file as they are in memory past HDF5, which lets no other thread run meanwhile.

    Returns
    -------
    callable or None
        Reads rows from one number to another; None where they are chunked, compressed, elsewhere or of another kind.
    """
    plain = path.is_file() and hasattr(node, "id") and node.chunks is None
    offset = node.id.get_offset() if plain else None
    if offset is None or not node.dtype.isnative or node.dtype.kind not in "iuf" or not hasattr(os, "preadv"):
        return None
    width, kind = int(node.shape[1]), node.dtype

    def read(first: int, last: int) -> npt.NDArray[Any]:
        values = np.empty((last - first, width), dtype=kind)
        place = offset + first * width * kind.itemsize
        with path.open("rb", buffering=0) as stream:
            done = 0
            while done < values.nbytes:
                # One call reads 2 GiB at the most.
                got = os.preadv(stream.fileno(), [values.data.cast("B")[done:]], place + done)
                if not got:
                    break
                done += got
        return values[: done // max(1, width * kind.itemsize)]

    return read


def _csr_blocks(node: Any, bounds: tuple[int, int, int], n_features: int, watched: _Watched) -> Iterator[Block]:
    """Read a CSR matrix by ranges of its values that span several blocks, and spread them out block by block."""
    start, stop, step = bounds
    n_values = min(int(node["data"].shape[0]), int(node["indices"].shape[0]))
    many = max(1, 2**16 // step) * step
    for begin in range(start, stop, many):
        end = min(begin + many, stop)
        pointers = np.asarray(node["indptr"][begin : end + 1], dtype=np.int64)
        watched.check(node["indptr"], begin, end + 1)
        # SciPy trusts these and writes outside the array where they are wrong.
        if (
            len(pointers) != end - begin + 1
            or pointers[0] < 0
            or pointers[-1] > n_values
            or (np.diff(pointers) < 0).any()
        ):
            message = "row pointers contradict the shape"
            raise ValueError(message)
        place = 0
        while place < end - begin:
            reach = int(np.searchsorted(pointers, pointers[place] + _PIECE_VALUES, side="right")) - 1 - place
            until = min(place + max(1, reach // step) * step, end - begin)
            yield from _spread(node, begin, pointers[place : until + 1], (place, step, n_features), watched)
            place = until


def _spread(
    node: Any, begin: int, pointers: npt.NDArray[np.int64], sizes: tuple[int, int, int], watched: _Watched
) -> Iterator[Block]:
    from scipy import sparse

    place, step, n_features = sizes
    low, high = int(pointers[0]), int(pointers[-1])
    data, columns = as_float32(node["data"][low:high]), np.asarray(node["indices"][low:high])
    for part in ("data", "indices"):
        watched.check(node[part], low, high)
    if len(columns) and (int(columns.min()) < 0 or int(columns.max()) >= n_features):
        message = "column numbers contradict the shape"
        raise ValueError(message)
    for first in range(0, len(pointers) - 1, step):
        here = pointers[first : first + step + 1]
        inside = slice(int(here[0]) - low, int(here[-1]) - low)
        block = sparse.csr_array((data[inside], columns[inside], here - here[0]), shape=(len(here) - 1, n_features))
        yield begin + place + first, block.toarray()


class _Watched:
    """A file that is being read: HDF5 gives zeros without a word for what was cut off or never written."""

    def __init__(self, path: Path, whole: Unchanged) -> None:
        self.path = path
        self.whole = whole
        # A folder is looked through at the beginning and the end: after every piece it would cost more than reading.
        self.file = None if path.is_dir() else whole

    def check(self, node: Any, first: int, last: int) -> None:
        """After a range was read: refuse it when the file changed meanwhile, or a chunk of it is absent."""
        if self.file is None:
            _check_chunks(node, first, last)
        else:
            self.file.check()


def _check_allocated(node: Any) -> None:
    """Refuse an array of an h5ad file of which a part was never written."""
    if hasattr(node, "store_path") or not node.size:
        return
    if node.chunks is None:
        absent = int(node.id.get_storage_size() == 0)
    else:
        grid = (-(-length // size) for length, size in zip(node.shape, node.chunks, strict=True))
        absent = math.prod(grid) - int(node.id.get_num_chunks())
    if absent:
        message = (
            f"{node.name.strip('/')!r} in {Path(node.file.filename).name!r} was never written in full "
            f"({absent:,} chunks are absent): write the file again"
        )
        raise InputError(message)


def _check_chunks(array: Any, first: int, last: int) -> None:
    """Refuse a range of a zarr array of which a chunk (or shard) is absent: zarr gives fill values for it."""
    if not hasattr(array, "store_path") or first >= last:
        return
    folder = Path(str(array.store.root)) / array.path
    sizes = array.shards or array.chunks
    grid = [range(first // sizes[0], (last - 1) // sizes[0] + 1)]
    grid += [range(-(-length // size)) for length, size in zip(array.shape[1:], sizes[1:], strict=True)]
    for place in itertools.product(*grid):
        name = array.metadata.encode_chunk_key(place)
        if not (folder / name).is_file():
            message = (
                f"{array.path!r} in {array.store.root.name!r} lacks the chunk {name!r}: zarr gives {array.fill_value} "
                "for what was lost; copy the file again, or, if the chunk holds nothing else, write it with zarr's "
                "write_empty_chunks"
            )
            raise InputError(message)


def _has(group: Any, name: str) -> bool:
    """Whether a group has a member of that name, without following it where it is a link."""
    return group.get(name, getlink=True) is not None if hasattr(group, "id") else name in group


def _member(group: Any, name: str) -> Any:
    """Find an array or group inside a file, and nothing outside it.

    HDF5 opens whatever other file a link, an array kept outside or a virtual array leads to; zarr unpacks chunks with
    whatever an array says that they were packed with, Python's pickle among it, which runs what it finds.

    Raises
    ------
    InputError
        When it is a link, kept in other files, or packed in a way that is not read.
    KeyError
        When there is none.
    """
    node = group
    for part in name.split("/"):
        if hasattr(node, "id"):
            import h5py

            link = node.get(part, getlink=True)
            if isinstance(link, h5py.SoftLink | h5py.ExternalLink):
                message = (
                    f"{shown(name)} in {Path(node.file.filename).name!r} is a link: copy what it leads to into the file"
                )
                raise InputError(message)
        node = node[part]
    _check_kept_here(node, name)
    return node


def _check_kept_here(node: Any, name: str) -> None:
    if getattr(node, "external", None) or getattr(node, "is_virtual", False):
        message = (
            f"{shown(name)} in {Path(node.file.filename).name!r} is kept in other files: copy its values into the file"
        )
        raise InputError(message)
    if hasattr(node, "store_path") and hasattr(node, "metadata"):
        for codec in _codecs_of(node.metadata.to_dict()):
            if codec not in _CODECS:
                message = (
                    f"{shown(name)} in {node.store_path.store.root.name!r} is packed with {shown(codec)}, which is "
                    f"not read: write it with one of {', '.join(sorted(_CODECS))}"
                )
                raise InputError(message)


def _codecs_of(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Name everything that the chunks of a zarr array are packed with, of either version."""
    for codec in (*(metadata.get("filters") or ()), *(metadata.get("codecs") or ()), metadata.get("compressor")):
        if codec is not None:
            yield str(codec.get("id", codec.get("name"))).removeprefix("numcodecs.")
            inner = codec.get("configuration") or {}
            yield from _codecs_of({"codecs": [*inner.get("codecs", ()), *inner.get("index_codecs", ())]})


@cache
def _inner_store() -> Any:
    """Make the class of zarr stores that read files of their folder alone: not where links lead, no pipes."""
    from zarr.storage import LocalStore

    class InnerStore(LocalStore):
        def _check(self, key: str) -> None:
            path = (self.root / key).resolve()
            if not path.is_relative_to(self.root.resolve()) or (path.exists() and not path.is_file()):
                message = (
                    f"{shown(key)} in {self.root.name!r} leads out of the folder or is no file: copy what it leads to "
                    "into the folder"
                )
                raise InputError(message)

        def get_sync(self, key: str, *rest: Any, **options: Any) -> Any:
            self._check(key)
            return super().get_sync(key, *rest, **options)

        async def get(self, key: str, *rest: Any, **options: Any) -> Any:
            self._check(key)
            return await super().get(key, *rest, **options)

    return InnerStore


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

            return _Closing(zarr.open_group(_inner_store()(path, read_only=True), mode="r"))
        import h5py

        return h5py.File(path, "r")
    except InputError:
        raise
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
