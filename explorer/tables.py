"""Table files (parquet, csv, tsv, gz, npy) as metadata columns and a feature matrix."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.errors import InputError, listed, shown
from explorer.sources import ArraySource, digest_file

TABLE_ENDINGS = (".parquet", ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".txt.gz")
METADATA_PREFIX = "Metadata_"
# Row numbers that pandas writes beside a table; as a feature they would drown all others.
INDEX_COLUMNS = ("", "Unnamed: 0", "__index_level_0__")


@dataclass(frozen=True, slots=True, eq=False)
class FeatureTable:
    """A table split in two: metadata, one line a row, and features, shape (n_rows, n_features)."""

    metadata: pl.DataFrame
    features: ArraySource
    feature_names: tuple[str, ...]


def is_table(path: Path) -> bool:
    """Whether a file's ending is one of a table's."""
    return path.name.lower().endswith(TABLE_ENDINGS)


def read_table(path: Path) -> pl.DataFrame:
    """Read a parquet, csv or tsv file, compressed or not.

    Raises
    ------
    InputError
        When the file is missing, empty, damaged or not a table.
    """
    name = path.name.lower()
    if not path.is_file():
        message = f"no file {path.name!r} in {path.parent.name!r}: check the name"
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
    try:
        if name.endswith(".parquet"):
            return pl.read_parquet(path, glob=False)
        separator = "," if ".csv" in name else "\t"
        return pl.read_csv(
            path,
            separator=separator,
            infer_schema_length=None,  # the last well may be the first with a fraction
            null_values=["", "NA", "nan", "NaN"],
            glob=False,
        )
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"can't read {path.name!r}: {reason}; is the file whole, and what its ending says?"
        raise InputError(message) from error


def split_features(table: pl.DataFrame, path: Path, *, metadata: tuple[str, ...] = ()) -> FeatureTable:
    """Split a table into metadata and features.

    Columns that begin with ``Metadata_`` are metadata; without any such column the columns of text, truth
    values and dates are metadata and the numeric ones features.

    Parameters
    ----------
    table, path
        The table, and the file that it came from (for its digest and for messages).
    metadata
        Columns that are metadata whatever they hold, because a role names them.

    Raises
    ------
    InputError
        When no feature is left, or a feature column holds something other than numbers.
    """
    prefixed = any(column.startswith(METADATA_PREFIX) for column in table.columns)

    def is_metadata(column: str) -> bool:
        if column in metadata or column in INDEX_COLUMNS:
            return True
        if prefixed:
            return column.startswith(METADATA_PREFIX)
        return not table.schema[column].is_numeric()

    kept = [column for column in table.columns if is_metadata(column)]
    features = [column for column in table.columns if column not in set(kept)]
    if not features:
        message = f"{path.name!r} has no numeric feature column; its columns are {listed(table.columns)}"
        raise InputError(message)
    wrong = [column for column in features if not table.schema[column].is_numeric()]
    if wrong:
        message = (
            f"{path.name!r}: the feature column {shown(wrong[0])} holds {table.schema[wrong[0]]}, expected "
            f"numbers; begin metadata columns with {METADATA_PREFIX!r}"
        )
        raise InputError(message)
    values = table.select(pl.col(features).cast(pl.Float32)).fill_null(float("nan")).to_numpy()
    return FeatureTable(
        metadata=table.select(kept),
        features=ArraySource(np.ascontiguousarray(values), digest=digest_file(path)),
        feature_names=tuple(features),
    )


def read_npy(path: Path) -> ArraySource:
    """Memory-map a ``.npy`` matrix; pickled arrays are refused.

    Raises
    ------
    InputError
        When it is not a matrix of numbers.
    """
    try:
        values: npt.NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        message = f"can't read {path.name!r}: not a whole .npy matrix of numbers; write it with numpy.save"
        raise InputError(message) from error
    return ArraySource(values, digest=digest_file(path))
