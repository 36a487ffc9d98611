"""Parquet files of strangers, read by a process of its own: a damaged one can end the process that reads it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

# What the other process may take; a few MB can be made to unpack to anything.
MOST_MEMORY = 2 * 2**30
MOST_SECONDS = 60.0
MOST_CELLS = 2_000_000
# Of the answer, which holds all text of the table.
MOST_ANSWER = 64 * 2**20
_READABLE = ("String", "Int64", "Float64", "Boolean")


@dataclass(frozen=True, slots=True, eq=False)
class QuarantinedTable:
    """A small parquet table as another process read it.

    Attributes
    ----------
    metadata
        Texts that were written beside the table.
    types
        Name and polars type of each column.
    columns
        Values of each column, in the order of `types`; empty for a type other than text, Int64, Float64 and Boolean.
    """

    metadata: dict[str, str]
    types: tuple[tuple[str, str], ...]
    columns: tuple[list[Any], ...]


def read_quarantined(content: bytes) -> QuarantinedTable:
    """Read a parquet file in a process of its own, with bounds on its memory and time.

    Polars ends its process on some damaged files: a flipped bit can ask for more memory than there is, which no
    handler catches.

    Parameters
    ----------
    content
        The bytes of the file.

    Raises
    ------
    ValueError
        When it can't be read, or holds more than a list could; the message is the reason.
    """
    # Isolated, so that no file of the folder we stand in is imported; told where we found our own modules.
    command = [sys.executable, "-I", __file__, json.dumps([part for part in sys.path if part])]
    # A table of this size needs one thread, and each more takes memory.
    surroundings = os.environ | {"POLARS_MAX_THREADS": "1"}
    try:
        found = subprocess.run(
            command, input=content, capture_output=True, timeout=MOST_SECONDS, check=False, env=surroundings
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        msg = f"no process could read it ({type(error).__name__})"
        raise ValueError(msg) from error
    try:
        answer = json.loads(found.stdout)
    except (ValueError, RecursionError):
        answer = {}
    if found.returncode or "columns" not in answer:
        msg = answer.get("problem") or "its parts contradict each other"
        raise ValueError(msg)
    return QuarantinedTable(
        metadata=answer["metadata"],
        types=tuple((name, kind) for name, kind in answer["types"]),
        columns=tuple(answer["columns"]),
    )


def _answer() -> None:
    """Read what comes in, and write it as JSON."""
    sys.path[:] = json.loads(sys.argv[1])
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    answer = _read(sys.stdin.buffer.read())
    text = json.dumps(answer)
    if len(text) > MOST_ANSWER:
        text = json.dumps({"problem": "it holds more text than a list could"})
    sys.stdout.write(text)


def _read(content: bytes) -> dict[str, Any]:
    import polars as pl

    try:
        metadata = pl.read_parquet_metadata(io.BytesIO(content))
        lines = pl.scan_parquet(io.BytesIO(content))
        schema = lines.collect_schema()
        height = int(lines.select(pl.len()).collect().item())
        if height * len(schema) > MOST_CELLS:
            return {"problem": f"it has {height:,} rows and {len(schema):,} columns, more than a list could"}
        table = pl.read_parquet(io.BytesIO(content))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError, MemoryError) as error:
        if isinstance(error, pl.exceptions.PanicException | MemoryError):
            return {"problem": ""}
        return {"problem": (str(error).splitlines() or [type(error).__name__])[0][:200]}
    types = [[column.name, str(column.dtype)] for column in table]
    # Before a text is written again for each of its rows.
    n_bytes = sum(int(column.str.len_bytes().sum()) for column in table if column.dtype == pl.String)
    if n_bytes > MOST_ANSWER:
        return {"problem": "it holds more text than a list could"}
    values = [column.to_list() if kind in _READABLE else [] for column, (_, kind) in zip(table, types, strict=True)]
    return {"metadata": metadata, "types": types, "columns": values}


if __name__ == "__main__":
    _answer()
