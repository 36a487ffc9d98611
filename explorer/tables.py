"""Table files (parquet, csv, tsv, gz, npy) as metadata columns and a feature matrix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.errors import InputError, listed, shown
from explorer.sources import ArraySource, Block, NpySource, Unchanged, digest_file, in_blocks, read_at_once

TABLE_ENDINGS = (".parquet", ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".txt.gz")
METADATA_PREFIX = "Metadata_"
# Row numbers that pandas writes beside a table; as a feature they would drown all others.
INDEX_COLUMNS = ("", "Unnamed: 0", "__index_level_0__")
# A parquet file whose features take less than this is read once; a larger one at every pass, this much at a time.
MOST_IN_MEMORY = 32 * 2**20
_PIECE_BYTES = 16 * 2**20
# Text of so few rows is kept as it is.
_FEW_ROWS = 2**16


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
    """

    path: Path
    schema: Mapping[str, pl.DataType]
    height: int
    frame: pl.DataFrame | None = None

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
            When the file is damaged.
        """
        if self.frame is not None:
            return self.frame.select(names)
        with _reading(self.path):
            lines = pl.scan_parquet(self.path, glob=False)
            if self.height <= _FEW_ROWS:
                return lines.select(names).collect()
            # A text column of millions of rows is large while it is text: one at a time.
            text = {name for name in names if self.schema[name] == pl.String}
            found = {name: _as_labels(lines.select(name).collect().to_series()) for name in names if name in text}
            rest = lines.select(name for name in names if name not in text).collect()
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
    """

    path: Path
    columns: tuple[str, ...]
    n_rows: int

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
        numbers = [pl.col(column).cast(pl.Float32).fill_null(float("nan")) for column in self.columns]
        # One scan for all ranges: its footer, long in a wide table, is then read once.
        lines = pl.scan_parquet(self.path, glob=False).select(numbers)
        file = Unchanged(self.path)
        for first in range(start, stop, rows):
            length = min(rows, stop - first)
            values = lines.slice(first, length).collect().to_numpy(order="c")
            file.check()
            if len(values) != length:
                message = f"{len(values)} rows where {length} were expected"
                raise ValueError(message)
            yield first, values

    def fingerprint(self) -> str:
        """Digest of the file."""
        return digest_file(self.path)


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
        return pl.read_parquet(path, glob=False)


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
    with _reading(path):
        if name.endswith(".parquet"):
            lines = pl.scan_parquet(path, glob=False)
            schema = lines.collect_schema()
            return Table(path, dict(schema), int(lines.select(pl.len()).collect().item()))
        frame = pl.read_csv(
            path,
            separator="," if ".csv" in name else "\t",
            infer_schema_length=None,  # the last well may be the first with a fraction
            null_values=["", "NA", "nan", "NaN"],
            glob=False,
        )
        return Table(path, dict(frame.schema), frame.height, frame)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"can't read {path.name!r}: {reason}; is the file whole, and what its ending says?"
        raise InputError(message) from error


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
        return FeatureTable(table, kept, ParquetSource(table.path, features, table.height), features)
    numbers = table.select(features).select(pl.all().cast(pl.Float32).fill_null(float("nan")))
    source = ArraySource(numbers.to_numpy(order="c"), digest=digest_file(table.path))
    return FeatureTable(table, kept, source, features)


def _refuse_spoilt_numbers(column: pl.Series, name: str) -> None:
    """Refuse a column of fractions with a few words among them: it would pass for metadata without a word."""
    given = column.drop_nulls()
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
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        message = f"can't read {path.name!r}: not a whole .npy matrix of numbers; write it with numpy.save"
        raise InputError(message) from error
    if not isinstance(values, np.memmap):
        message = f"can't read {path.name!r}: not a whole .npy matrix of numbers; write it with numpy.save"
        raise InputError(message)
    ArraySource(values)  # refuses what is no matrix of numbers
    return NpySource(
        path=path,
        shape=(int(values.shape[0]), int(values.shape[1])),
        dtype=values.dtype,
        offset=int(values.offset),
        by_column=not values.flags.c_contiguous,
    )
