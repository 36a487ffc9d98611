"""Parquet files read by another process: what would end ours is a reason in words."""

import io

import polars as pl
import pytest

from explorer import quarantine
from explorer.quarantine import read_quarantined


def packed(table, **more):
    stream = io.BytesIO()
    table.write_parquet(stream, **more)
    return stream.getvalue()


def test_a_table_comes_back(tmp_path, monkeypatch):
    # A file of the folder we stand in is none of ours.
    (tmp_path / "polars.py").write_text("raise SystemExit('hijacked')")
    monkeypatch.chdir(tmp_path)
    table = pl.DataFrame({"a": ["x", None], "b": [1, 2], "c": [0.1, None], "d": [True, None], "e": [[1], [2]]})
    found = read_quarantined(packed(table, metadata={"told": "é"}))
    assert found.types == (("a", "String"), ("b", "Int64"), ("c", "Float64"), ("d", "Boolean"), ("e", "List(Int64)"))
    assert found.columns == (["x", None], [1, 2], [0.1, None], [True, None], [])
    assert found.metadata["told"] == "é"


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(40) + b"PAR1", b"a,b\n1,2\n"])
def test_what_is_no_parquet_is_a_reason(content):
    with pytest.raises(ValueError, match=r"."):
        read_quarantined(content)


def test_a_bit_that_ends_the_process_is_a_reason(monkeypatch):
    # Stands for a flipped bit that asks for more memory than there is, which polars answers by ending the process.
    monkeypatch.setattr(quarantine, "__file__", str(quarantine.__file__).replace("quarantine.py", "no_such_file.py"))
    with pytest.raises(ValueError, match="its parts contradict each other"):
        read_quarantined(packed(pl.DataFrame({"a": [1]})))


def test_a_small_file_of_endless_rows_is_refused():
    many = packed(pl.DataFrame({"a": pl.repeat(1, 3_000_000, eager=True, dtype=pl.Int64)}))
    assert len(many) < 2**20
    with pytest.raises(ValueError, match=r"3,000,000 rows and 1 columns, more than a list could"):
        read_quarantined(many)


def test_a_small_file_of_endless_text_is_refused():
    long = packed(pl.DataFrame({"a": ["x" * 2**20] * 100}))
    assert len(long) < 2**20
    with pytest.raises(ValueError, match="more text than a list could"):
        read_quarantined(long)
