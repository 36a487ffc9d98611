"""Tables: what is metadata, what is a feature, and what is no table."""

import gzip

import numpy as np
import polars as pl
import pytest
from files import PAYLOADS, RAW, TABLE_FORMATS, feature_table, observations, write_table

from explorer.errors import InputError
from explorer.sources import digest_file
from explorer.tables import is_table, read_npy, read_table, split_features


@pytest.mark.parametrize("form", [*TABLE_FORMATS, "txt", "PARQUET"])
def test_every_format_gives_the_same_table(tmp_path, form):
    expected = feature_table(observations(), RAW)
    path = tmp_path / f"rows.{form.lower()}"
    write_table(path, expected)
    path = path.rename(tmp_path / f"rows.{form}")
    assert is_table(path)
    read = read_table(path)
    assert read.columns == expected.columns
    split = split_features(read, path)
    assert split.metadata.equals(observations())
    np.testing.assert_array_equal(split.features.values, RAW)
    assert split.features.fingerprint() == digest_file(path)


def test_text_is_metadata_without_the_prefix(tmp_path):
    table = pl.DataFrame({"gene": ["a", "b"], "is_control": [True, False], "x": [1, 2], "y": [0.5, 1.5]})
    split = split_features(table, write_table(tmp_path / "rows.csv", table))
    assert split.metadata.columns == ["gene", "is_control"]
    assert split.feature_names == ("x", "y")


def test_the_prefix_decides_where_there_is_one(tmp_path):
    table = pl.DataFrame({"Metadata_gene": ["a", "b"], "Metadata_plate": [1, 2], "x": [1, 2]})
    split = split_features(table, write_table(tmp_path / "rows.csv", table))
    assert split.metadata.columns == ["Metadata_gene", "Metadata_plate"]
    assert split.feature_names == ("x",)


@pytest.mark.parametrize("prefix", ["", "Metadata_"])
def test_a_column_with_a_role_is_metadata(tmp_path, prefix):
    table = pl.DataFrame({f"{prefix}gene": ["a", "b"], "batch": [1, 2], "x": [1, 2]})
    split = split_features(table, write_table(tmp_path / "rows.csv", table), metadata=("batch",))
    assert split.feature_names == ("x",)


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "__index_level_0__"])
@pytest.mark.parametrize("prefix", ["", "Metadata_"])
def test_row_numbers_of_pandas_are_no_feature(tmp_path, name, prefix):
    table = pl.DataFrame({name: [0, 1], f"{prefix}gene": ["a", "b"], "x": [1.0, 2.0]})
    split = split_features(read_table(write_table(tmp_path / "rows.csv", table)), tmp_path / "rows.csv")
    assert split.feature_names == ("x",)


def test_missing_values_are_nan_and_infinite_ones_stay(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("gene,x,y\na,,1\nb,NA,inf\nc,nan,-inf\nd,2.5,4\n")
    split = split_features(read_table(path), path)
    np.testing.assert_array_equal(split.features.values, [[np.nan, 1], [np.nan, np.inf], [np.nan, -np.inf], [2.5, 4]])


def test_a_column_of_whole_numbers_may_become_fractional_late(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("gene,x\n" + "".join(f"g{number},{number}\n" for number in range(12_000)) + "last,0.5\n")
    assert read_table(path)["x"][-1] == 0.5


@pytest.mark.parametrize("payload", PAYLOADS)
def test_names_are_data(tmp_path, payload):
    table = pl.DataFrame({"gene": [payload, "b"], payload: [1.0, 2.0]})
    path = write_table(tmp_path / "rows.parquet", table)
    split = split_features(read_table(path), path)
    assert split.metadata["gene"][0] == payload
    assert split.feature_names == (payload,)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"gene": ["a"], "plate": ["p"]},
            "'rows.parquet' has no numeric feature column; its columns are 'gene', 'plate'",
        ),
        ({"Metadata_gene": ["a"]}, "no numeric feature column"),
        (
            {"Metadata_gene": ["a"], "site": ["left"], "x": [1.0]},
            "the feature column 'site' holds String, expected numbers; begin metadata columns with 'Metadata_'",
        ),
        ({"Metadata_gene": ["a"], "<b>\x1b": ["c"]}, r"the feature column '<b>\\x1b' holds String"),
        ({"Metadata_gene": ["a"], "on": [True]}, "the feature column 'on' holds Boolean"),
    ],
)
def test_refused_columns(tmp_path, columns, message):
    table = pl.DataFrame(columns)
    path = write_table(tmp_path / "rows.parquet", table)
    with pytest.raises(InputError, match=message):
        split_features(table, path)


def parquet_bytes(path):
    return write_table(path, feature_table(observations(), RAW)).read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_parquet(tmp_path, share):
    whole = parquet_bytes(tmp_path / "whole.parquet")
    path = tmp_path / "cut.parquet"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match=r"can't read 'cut.parquet': .*is the file whole") as caught:
        read_table(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "tsv", "tsv.gz", "parquet"])
def test_empty_file(tmp_path, ending):
    path = tmp_path / f"empty.{ending}"
    path.write_bytes(b"")
    with pytest.raises(InputError, match=rf"can't read 'empty.{ending}': "):
        read_table(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.csv.gz", gzip.compress(b"gene,x\n" + b"a,1\n" * 5000)[:40]),
        ("text.parquet", b"gene,x\na,1\n"),
        ("binary.csv", b"\xff\xfe\x00\x01\n\x80,\x81"),
        ("ragged.csv", b"gene,x\na,1\nb,2,3,4\n"),
        ("no-gzip.tsv.gz", b"\x1f\x8b\x08broken"),
    ],
)
def test_damaged_files(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"can't read '{name}': ") as caught:
        read_table(path)
    assert "\n" not in str(caught.value)


def test_absent_file(tmp_path):
    with pytest.raises(InputError, match=r"no file 'rows.csv' in 'test_absent_file0': check the name"):
        read_table(tmp_path / "rows.csv")


def test_unknown_ending(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones(3))
    with pytest.raises(InputError, match=r"can't tell what 'a.npz' is: expected a table, .*\.parquet, \.csv"):
        read_table(tmp_path / "a.npz")


def test_npy_is_mapped_and_read_only(tmp_path):
    np.save(tmp_path / "a.npy", RAW)
    source = read_npy(tmp_path / "a.npy")
    np.testing.assert_array_equal(source.read(2, 5), RAW[2:5])
    assert not source.values.flags.writeable
    assert source.fingerprint() == digest_file(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([{"a": 1}], dtype=object), "can't read 'a.npy': not a whole .npy matrix of numbers"),
        (np.array([["a", "b"]]), "expected numbers, got values of type <U1"),
        (np.ones(4), r"expected a matrix of rows × features, got an array of shape \(4,\)"),
        (np.ones((2, 2, 2)), "expected a matrix"),
        (np.ones((2, 2), dtype=complex), "expected numbers, got values of type complex128"),
        (np.zeros(3, dtype=[("a", "f4")]), "expected a matrix"),
    ],
)
def test_npy_refused(tmp_path, values, message):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(InputError, match=message):
        read_npy(tmp_path / "a.npy")


@pytest.mark.parametrize("n_bytes", [0, 5, 60, 200])
def test_npy_truncated(tmp_path, n_bytes):
    path = tmp_path / "a.npy"
    np.save(path, RAW)
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(InputError, match=r"can't read 'a.npy': not a whole .npy matrix"):
        read_npy(path)


@pytest.mark.parametrize("name", ["data [v2].csv", "a*b?.parquet", "{x,y}.tsv", "Zellen é.csv.gz", "~.csv"])
def test_file_names_are_no_patterns(tmp_path, name):
    table = pl.DataFrame({"gene": ["a"], "x": [1.5]})
    assert read_table(write_table(tmp_path / name, table)).equals(table)
