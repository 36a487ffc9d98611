"""Table files (parquet, csv, tsv, gz, npy) as metadata columns and a feature matrix."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import polars as pl
from polars import selectors

from explorer.errors import InputError, listed, shown
from explorer.sources import (
    ArraySource,
    Block,
    NpySource,
    Unchanged,
    check_size,
    digest_unchanged,
    in_blocks,
    read_at_once,
)

TABLE_ENDINGS = (".parquet", ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".txt.gz")
METADATA_PREFIX = "Metadata_"
# Row numbers that pandas writes beside a table; as a feature they would drown all others.
INDEX_COLUMNS = ("", "Unnamed: 0", "__index_level_0__")
# A parquet file whose features take less than this is read once; a larger one at every pass, this much at a time.
MOST_IN_MEMORY = 32 * 2**20
_PIECE_BYTES = 16 * 2**20
# Text of so few rows is kept as it is.
_FEW_ROWS = 2**16
_MAGIC = b"PAR1"
# A compressed table is unpacked into memory, and a few MB can be made to hold a terabyte.
MOST_UNPACKED = 2 * 2**30
_GZIP = b"\x1f\x8b"
# Polars would unpack these too, whatever they grow to: zlib and zstandard, by their first bytes.
_OTHERS = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda", b"\x28\xb5\x2f\xfd")


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A table file whose columns are known; those of a parquet file are read when they are asked for.

    Attributes
    ----------
    path
        The file.
    schema
        Type of each column, in their order.
    height
        Number of rows.
    frame
        The whole table where the format must be read at once (csv, tsv), else None.
    file
        Notices when the file is no longer the one that was opened.
    """

    path: Path
    schema: Mapping[str, pl.DataType]
    height: int
    frame: pl.DataFrame | None = None
    file: Unchanged | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.file is None:
            object.__setattr__(self, "file", Unchanged(self.path))

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in their order."""
        return list(self.schema)

    def __getitem__(self, name: str) -> pl.Series:
        """Read one column."""
        return self.select([name]).to_series()

    def select(self, names: Sequence[str]) -> pl.DataFrame:
        """Read some columns; in a long parquet file text that repeats becomes an Enum of the labels, sorted.

        Raises
        ------
        InputError
            When the file is damaged, or no longer the one that was opened.
        """
        if self.frame is not None:
            return self.frame[list(names)]
        with _reading(self.path):
            found = self._columns(names)
            (self.file or Unchanged(self.path)).check()
        return found

    def _columns(self, names: Sequence[str]) -> pl.DataFrame:
        lines = _lines(self.path, self.schema)
        if self.height <= _FEW_ROWS:
            return lines.select(_exactly(names)).collect()
        # A text column of millions of rows is large while it is text: one at a time.
        text = {name for name in names if self.schema[name] == pl.String}
        found = {
            name: _as_labels(lines.select(_exactly([name])).collect().to_series()) for name in names if name in text
        }
        rest = lines.select(_exactly([name for name in names if name not in text])).collect()
        return pl.DataFrame([found[name] if name in text else rest[name] for name in names])


@dataclass(frozen=True, slots=True, eq=False)
class ParquetSource:
    """The numeric columns of a parquet file, read by ranges of rows; missing values are NaN.

    Attributes
    ----------
    path
        The file.
    columns
        Names of the features.
    n_rows
        Number of rows.
    schema
        Type of each column of the file; it is looked up without it.
    file
        Notices when the file is no longer the one that was opened.
    """

    path: Path
    columns: tuple[str, ...]
    n_rows: int
    schema: Mapping[str, pl.DataType] | None = field(default=None, repr=False)
    file: Unchanged | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.file is None:
            object.__setattr__(self, "file", Unchanged(self.path))

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of features."""
        return self.n_rows, len(self.columns)

    def read(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Read rows `start` to `stop`, dense.

        Raises
        ------
        InputError
            When the file is gone or damaged.
        """
        return read_at_once(self, start, stop)

    def blocks(self, start: int, stop: int, step: int) -> Iterator[Block]:
        """Read rows `start` to `stop` in order, `step` at a time; 16 MiB are decoded at once.

        Raises
        ------
        InputError
            When the file is gone or damaged.
        """
        with _reading(self.path):
            yield from in_blocks(self._pieces(start, stop, step), step)

    def _pieces(self, start: int, stop: int, step: int) -> Iterator[Block]:
        rows = max(1, _PIECE_BYTES // (4 * len(self.columns)) // step) * step
        numbers = [column.cast(pl.Float32).fill_null(float("nan")) for column in _exactly(self.columns)]
        # One scan for all ranges: its footer, long in a wide table, is then read once.
        lines = _lines(self.path, self.schema).select(numbers)
        file = self.file or Unchanged(self.path)
        for first in range(start, stop, rows):
            length = min(rows, stop - first)
            try:
                values = lines.slice(first, length).collect().to_numpy(order="c")
            finally:
                # What went wrong in a file that was replaced is that it was replaced.
                file.check()
            if len(values) != length:
                message = f"{len(values)} rows where {length} were expected"
                raise ValueError(message)
            yield first, values

    def fingerprint(self) -> str:
        """Digest of the file."""
        return digest_unchanged(self.file or Unchanged(self.path))


@dataclass(frozen=True, slots=True, eq=False)
class FeatureTable:
    """A table split in two: names of metadata columns, and features, shape (n_rows, n_features).

    Attributes
    ----------
    table
        The file.
    metadata
        Names of the columns that are no features.
    features
        The other columns as a matrix.
    feature_names
        Their names.
    """

    table: Table
    metadata: tuple[str, ...]
    features: ArraySource | ParquetSource
    feature_names: tuple[str, ...]


def is_table(path: Path) -> bool:
    """Whether a file's ending is one of a table's."""
    return path.name.lower().endswith(TABLE_ENDINGS)


def _exactly(names: Sequence[str]) -> list[pl.Expr]:
    """Name columns as they are called: of a string alone polars makes a pattern where it is ``*`` or ``^…$``."""
    return [selectors.by_name(name).as_expr() for name in names]


def _as_labels(column: pl.Series) -> pl.Series:
    distinct = column.unique().drop_nulls().sort()
    return column.cast(pl.Enum(distinct)) if len(distinct) <= len(column) / 2 else column


def read_table(path: Path) -> pl.DataFrame:
    """Read a parquet, csv or tsv file, compressed or not; text stays text.

    Raises
    ------
    InputError
        When the file is missing, empty, damaged or not a table.
    """
    table = open_table(path)
    if table.frame is not None:
        return table.frame
    with _reading(path):
        return _lines(path, table.schema).collect()


def open_table(path: Path) -> Table:
    """Open a table file: of a parquet file the columns' names and types, a csv or tsv file whole.

    Raises
    ------
    InputError
        When the file is missing, empty, damaged or not a table.
    """
    name = path.name.lower()
    if not path.is_file():
        message = f"no file {path.name!r} in {path.resolve().parent.name!r}: check the name"
        raise InputError(message)
    if not is_table(path):
        message = (
            f"can't tell what {path.name!r} is: expected a table, with one of the endings {', '.join(TABLE_ENDINGS)}"
        )
        raise InputError(message)
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        message = f"can't read {shown(path.name)} in {shown(path.parent.name)}: the path is not UTF-8; rename it"
        raise InputError(message) from error
    file = Unchanged(path)
    with _reading(path):
        if name.endswith(".parquet"):
            footer = pl.scan_parquet(io.BytesIO(_footer(path)))
            schema = footer.collect_schema()
            height = int(footer.select(pl.len()).collect().item())
            file.check()
            check_size(height, len(schema), name=path.name)
            return Table(path, dict(schema), height, file=file)
        # Given a path, polars maps the file into memory, and the process dies when somebody cuts it short.
        content = read_unpacked(path)
        separator = "," if ".csv" in name else "\t"
        check_size(0, content.partition(b"\n")[0].count(separator.encode()), name=path.name)
        frame = pl.read_csv(
            io.BytesIO(content),
            separator=separator,
            infer_schema_length=None,  # the last well may be the first with a fraction
            null_values=["", "NA", "nan", "NaN"],
        )
        file.check()
        return Table(path, dict(frame.schema), frame.height, frame, file=file)


def read_unpacked(path: Path) -> bytes:
    """Read a file whole, unpacked where it is a gzip file, up to `MOST_UNPACKED` bytes.

    Raises
    ------
    InputError
        When it grows larger than that, or is packed in another way.
    OSError, ValueError
        When it can't be read.
    """
    with path.open("rb") as stream:
        if stream.read(len(_GZIP)) != _GZIP:
            stream.seek(0)
            content = stream.read()
        else:
            stream.seek(0)
            content = _unpacked(stream, path)
    if content.startswith((_GZIP, *_OTHERS)):
        message = (
            f"can't read {path.name!r}: it is packed in a way that is not read; pack it once, with gzip, or not at all"
        )
        raise InputError(message)
    return content


def _unpacked(stream: BinaryIO, path: Path) -> bytes:
    found = io.BytesIO()
    try:
        with gzip.open(stream) as packed:
            while block := packed.read(_PIECE_BYTES):
                found.write(block)
                if found.tell() > MOST_UNPACKED:
                    most = MOST_UNPACKED / 2**30
                    message = f"{path.name!r} unpacks to more than {most:.3g} GiB: write it as a parquet file"
                    raise InputError(message)
    except (zlib.error, EOFError) as error:
        message = f"its gzip data are damaged ({error})"
        raise ValueError(message) from error
    return found.getvalue()


def parquet_lines(path: Path) -> pl.LazyFrame:
    """Scan a parquet file without a memory map: a file that somebody cuts short is then an error, not the end.

    Raises
    ------
    OSError, ValueError
        When it is gone or no parquet file.
    """
    return _lines(path, None)


def _lines(path: Path, schema: Mapping[str, pl.DataType] | None) -> pl.LazyFrame:
    # Where polars is not told what the columns are, it maps the whole file into memory to read its last lines; a page
    # of a map that is no longer in the file kills the process. The rows themselves it reads as one reads any file.
    if schema is None:
        schema = pl.scan_parquet(io.BytesIO(_footer(path))).collect_schema()
    return pl.scan_parquet(path, glob=False, schema=dict(schema))


def _footer(path: Path) -> bytes:
    """Read the part of a parquet file that says what it holds, as a file that holds nothing else."""
    with path.open("rb") as stream:
        size = stream.seek(0, io.SEEK_END)
        stream.seek(max(0, size - 8))
        last = stream.read()
        length = int.from_bytes(last[:4], "little")
        if last[4:] != _MAGIC or length > size - 12:
            message = "it is no parquet file, or was cut short"
            raise ValueError(message)
        stream.seek(size - 8 - length)
        footer = stream.read(length + 8)
    if len(footer) != length + 8:
        message = "it was cut short"
        raise ValueError(message)
    return _MAGIC + footer


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
        reason = _reason(error, path)
        message = f"can't read {path.name!r}: {reason}; is the file whole, and what its ending says?"
        raise InputError(message) from error


def _reason(error: BaseException, path: Path) -> str:
    """Say what went wrong, on one line, without telling a stranger where on this machine the file is."""
    if isinstance(error, pl.exceptions.PanicException):
        return "its parts contradict each other"
    text = getattr(error, "strerror", None) or str(error)
    line = text.splitlines()[0] if text else type(error).__name__
    for folder in (path.parent, path.parent.resolve()):
        line = line.replace(f"{folder}/", "")
    return line


def split_features(table: Table, *, metadata: Sequence[str] = ()) -> FeatureTable:
    """Split a table into metadata and features.

    Columns that begin with ``Metadata_`` are metadata; without any such column the columns of text, truth
    values and dates are metadata and the numeric ones features.

    Parameters
    ----------
    table
        As `open_table` opened it.
    metadata
        Columns that are metadata whatever they hold, because a role names them.

    Raises
    ------
    InputError
        When no feature is left, or a feature column holds something other than numbers.
    """
    prefixed = any(column.startswith(METADATA_PREFIX) for column in table.columns)
    name = table.path.name

    def is_metadata(column: str) -> bool:
        if column in metadata or column in INDEX_COLUMNS:
            return True
        if prefixed:
            return column.startswith(METADATA_PREFIX)
        return not table.schema[column].is_numeric()

    kept = tuple(column for column in table.columns if is_metadata(column))
    features = tuple(column for column in table.columns if column not in set(kept))
    if not features:
        message = f"{name!r} has no numeric feature column; its columns are {listed(table.columns)}"
        raise InputError(message)
    for column in features:
        if not table.schema[column].is_numeric():
            message = (
                f"{name!r}: the feature column {shown(column)} holds {table.schema[column]}, expected "
                f"numbers; begin metadata columns with {METADATA_PREFIX!r}"
            )
            raise InputError(message)
    if table.frame is not None and not prefixed:
        for column in kept:
            if column not in metadata and table.schema[column] == pl.String:
                _refuse_spoilt_numbers(table.frame[column], name)
    if table.frame is None and 4 * table.height * len(features) > MOST_IN_MEMORY:
        rows = ParquetSource(table.path, features, table.height, table.schema, table.file)
        return FeatureTable(table, kept, rows, features)
    numbers = table.select(features).select(pl.all().cast(pl.Float32).fill_null(float("nan")))
    digest = digest_unchanged(table.file or Unchanged(table.path))
    source = ArraySource(numbers.to_numpy(order="c"), digest=digest)
    return FeatureTable(table, kept, source, features)


def _refuse_spoilt_numbers(column: pl.Series, name: str) -> None:
    """Refuse a column of fractions with a few words among them: it would pass for metadata without a word."""
    given = column.alias("given").drop_nulls()  # some names of columns are patterns to polars
    words = given.filter(given.cast(pl.Float64, strict=False).is_null())
    if len(words) < len(given) / 2 and given.str.contains(r"^\s*-?\d+\.\d").mean() > 0.5:  # type: ignore[operator]
        message = (
            f"{name!r}: the column {shown(column.name)} holds numbers and text ({listed(words.unique(), limit=3)}): "
            f"mend it, or begin the names of metadata columns with {METADATA_PREFIX!r}"
        )
        raise InputError(message)


def read_npy(path: Path) -> NpySource:
    """Open a ``.npy`` matrix, whose rows stay in the file; pickled arrays are refused.

    Raises
    ------
    InputError
        When it is not a matrix of numbers.
    """
    file = Unchanged(path)
    try:
        # No memory map, not even for a moment: the process dies when a mapped file is cut short.
        with path.open("rb") as stream:
            shape, by_column, kind = _npy_header(stream)
            offset = stream.tell()
            size = stream.seek(0, io.SEEK_END) - offset
        whole = all(type(length) is int and length >= 0 for length in shape)
        if kind.hasobject or not whole or size < math.prod(shape) * kind.itemsize:
            message = "objects, or fewer numbers than the header says"
            raise ValueError(message)
        # Refuses what is no matrix of numbers, though none of it is read yet.
        ArraySource(np.broadcast_to(np.empty((), dtype=kind), shape))
    except InputError:
        raise
    except Exception as error:
        # NumPy hands the header to Python's own parser, which knows a dozen ways to fail, out of memory among them.
        message = f"can't read {path.name!r}: not a whole .npy matrix of numbers; write it with numpy.save"
        raise InputError(message) from error
    check_size(*shape, name=path.name)
    return NpySource(path, (shape[0], shape[1]), kind, offset, by_column and 1 not in shape, file)


def _npy_header(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read shape, order and type of a ``.npy`` file; nothing is unpickled for it."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_column, kind = read(stream)
    return shape, by_column, kind
