"""Tables: what is metadata, what is a feature, and what is no table."""

import copy
import gzip

import numpy as np
import polars as pl
import pytest
from files import PAYLOADS, RAW, TABLE_FORMATS, feature_table, observations, write_table

from explorer import tables
from explorer.errors import InputError
from explorer.sources import ArraySource, digest_file
from explorer.tables import ParquetSource, is_table, open_table, read_npy, read_table, split_features


@pytest.mark.parametrize("form", [*TABLE_FORMATS, "txt", "PARQUET"])
def test_every_format_gives_the_same_table(tmp_path, form):
    expected = feature_table(observations(), RAW)
    path = tmp_path / f"rows.{form.lower()}"
    write_table(path, expected)
    path = path.rename(tmp_path / f"rows.{form}")
    assert is_table(path)
    read = read_table(path)
    assert read.columns == expected.columns
    split = split_features(open_table(path))
    assert open_table(path).select(split.metadata).equals(observations())
    np.testing.assert_array_equal(split.features.values, RAW)
    assert split.features.fingerprint() == digest_file(path)


def test_text_is_metadata_without_the_prefix(tmp_path):
    table = pl.DataFrame({"gene": ["a", "b"], "is_control": [True, False], "x": [1, 2], "y": [0.5, 1.5]})
    split = split_features(open_table(write_table(tmp_path / "rows.csv", table)))
    assert list(split.metadata) == ["gene", "is_control"]
    assert split.feature_names == ("x", "y")


def test_the_prefix_decides_where_there_is_one(tmp_path):
    table = pl.DataFrame({"Metadata_gene": ["a", "b"], "Metadata_plate": [1, 2], "x": [1, 2]})
    split = split_features(open_table(write_table(tmp_path / "rows.csv", table)))
    assert list(split.metadata) == ["Metadata_gene", "Metadata_plate"]
    assert split.feature_names == ("x",)


@pytest.mark.parametrize("prefix", ["", "Metadata_"])
def test_a_column_with_a_role_is_metadata(tmp_path, prefix):
    table = pl.DataFrame({f"{prefix}gene": ["a", "b"], "batch": [1, 2], "x": [1, 2]})
    split = split_features(open_table(write_table(tmp_path / "rows.csv", table)), metadata=("batch",))
    assert split.feature_names == ("x",)


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "__index_level_0__"])
@pytest.mark.parametrize("prefix", ["", "Metadata_"])
def test_row_numbers_of_pandas_are_no_feature(tmp_path, name, prefix):
    table = pl.DataFrame({name: [0, 1], f"{prefix}gene": ["a", "b"], "x": [1.0, 2.0]})
    split = split_features(open_table(write_table(tmp_path / "rows.csv", table)))
    assert split.feature_names == ("x",)


def test_missing_values_are_nan_and_infinite_ones_stay(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("gene,x,y\na,,1\nb,NA,inf\nc,nan,-inf\nd,2.5,4\n")
    split = split_features(open_table(path))
    np.testing.assert_array_equal(split.features.values, [[np.nan, 1], [np.nan, np.inf], [np.nan, -np.inf], [2.5, 4]])


def test_a_column_of_whole_numbers_may_become_fractional_late(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("gene,x\n" + "".join(f"g{number},{number}\n" for number in range(12_000)) + "last,0.5\n")
    assert read_table(path)["x"][-1] == 0.5


@pytest.mark.parametrize("payload", PAYLOADS)
def test_names_are_data(tmp_path, payload):
    table = pl.DataFrame({"gene": [payload, "b"], payload: [1.0, 2.0]})
    path = write_table(tmp_path / "rows.parquet", table)
    split = split_features(open_table(path))
    assert split.table["gene"][0] == payload
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
        split_features(open_table(path))


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
        ("cut.csv.gz", gzip.compress(b"gene,x\n" + b"a,1\n" * 5000, mtime=0)[:40]),
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


@pytest.mark.parametrize("kind", ["f4", "f2", ">f8", "i2", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_is_read_in_place(tmp_path, kind, order):
    values = np.asarray(RAW * 10, dtype=kind, order=order)
    np.save(tmp_path / "a.npy", values)
    source = copy.deepcopy(read_npy(tmp_path / "a.npy"))
    assert source.shape == RAW.shape
    assert source.read(2, 5).dtype == np.float32
    np.testing.assert_array_equal(source.read(2, 5), values[2:5].astype("f4"))
    assert source.read(4, 4).shape == (0, 5)
    firsts, blocks = zip(*source.blocks(1, 26, 7), strict=True)
    assert firsts == (1, 8, 15, 22)
    np.testing.assert_array_equal(np.concatenate(blocks), values[1:].astype("f4"))
    assert source.fingerprint() == digest_file(tmp_path / "a.npy")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_npy_that_goes_while_it_is_read(tmp_path, order, harm):
    path = tmp_path / "a.npy"
    np.save(path, np.ones((10_000, 20), order=order))
    source = read_npy(path)
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:-100_000])
    else:
        path.unlink()
    expected = "(can't read 'a.npy': it is gone or was cut short; write it again|'a.npy' was changed while it was open)"
    with pytest.raises(InputError, match=expected):
        list(source.blocks(0, 10_000, 1_000))


def test_npy_that_is_replaced_while_it_is_read(tmp_path):
    np.save(tmp_path / "a.npy", RAW)
    blocks = read_npy(tmp_path / "a.npy").blocks(0, 26, 5)
    next(blocks)
    np.save(tmp_path / "b.npy", RAW + 1)
    (tmp_path / "b.npy").replace(tmp_path / "a.npy")
    with pytest.raises(InputError, match=r"'a.npy' was changed while it was open: wait until it is whole"):
        next(blocks)


# Parquet files too large to be kept.


@pytest.fixture
def large(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MOST_IN_MEMORY", 0)
    monkeypatch.setattr(tables, "_PIECE_BYTES", 100)
    path = tmp_path / "rows.parquet"
    table = feature_table(observations(), RAW).with_columns(feature_1=pl.Series(RAW[:, 1].astype("f8")))
    table.with_columns(feature_2=pl.Series([None, 2, *[3] * 24], dtype=pl.Int8)).write_parquet(path, row_group_size=9)
    return path


def test_large_parquet_is_read_by_ranges(large):
    expected = RAW.copy()
    expected[:, 2] = [np.nan, 2, *[3] * 24]
    source = copy.deepcopy(split_features(open_table(large)).features)
    assert isinstance(source, ParquetSource)
    assert source.shape == RAW.shape
    assert source.fingerprint() == digest_file(large)
    for start, stop, step in ((0, 26, 4), (3, 20, 100), (5, 6, 1), (7, 7, 2), (0, 26, 1)):
        blocks = list(source.blocks(start, stop, step))
        assert [first for first, _ in blocks] == list(range(start, stop, step))
        np.testing.assert_array_equal(
            np.concatenate([np.empty((0, 5)), *(rows for _, rows in blocks)]), expected[start:stop]
        )
        np.testing.assert_array_equal(source.read(start, stop), expected[start:stop])
        assert source.read(start, stop).dtype == np.float32


def test_small_parquet_is_kept(tmp_path):
    path = write_table(tmp_path / "rows.parquet", feature_table(observations(), RAW))
    assert isinstance(split_features(open_table(path)).features, ArraySource)


@pytest.mark.parametrize("harm", ["cut", "gone", "shorter"])
def test_large_parquet_that_goes_while_it_is_read(large, harm):
    blocks = split_features(open_table(large)).features.blocks(0, 26, 3)
    next(blocks)
    if harm == "cut":
        large.write_bytes(large.read_bytes()[:-300])
    elif harm == "shorter":
        pl.read_parquet(large)[:10].write_parquet(large)
    else:
        large.unlink()
    with pytest.raises(InputError, match=r"'rows.parquet'(: .*is the file whole| was changed while it)") as caught:
        list(blocks)
    assert "\n" not in str(caught.value)


def test_columns_of_a_table_are_read_when_asked_for(tmp_path):
    path = write_table(tmp_path / "rows.parquet", feature_table(observations(), RAW))
    table = open_table(path)
    assert (table.height, table.columns[:3], table.frame) == (26, ["row", "gene", "plate"], None)
    assert table["gene"].equals(observations()["gene"])


def test_text_of_many_rows_is_kept_as_codes(tmp_path, monkeypatch):
    path = write_table(tmp_path / "rows.parquet", feature_table(observations(), RAW))
    monkeypatch.setattr(tables, "_FEW_ROWS", 10)
    table = open_table(path)
    found = table.select(["plate", "feature_1", "row", "gene"])
    assert found.columns == ["plate", "feature_1", "row", "gene"]
    assert found.schema["gene"] == pl.Enum(sorted(set(observations()["gene"])))
    assert found.schema["row"] == pl.String
    assert (
        found.cast({"gene": pl.String, "plate": pl.String})
        .drop("feature_1")
        .equals(observations().select("plate", "row", "gene"))
    )
    assert split_features(table).features.shape == RAW.shape
    assert read_table(path)["gene"].dtype == pl.String


@pytest.mark.parametrize("spoilt", ["failed", "-", "#N/A"])
def test_numbers_with_words_among_them_are_no_metadata(tmp_path, spoilt):
    path = tmp_path / "rows.csv"
    path.write_text(f"gene,version,x,y\na,1,0.5,1.5\nb,2b,{spoilt},2.5\nc,3,1.5,3.5\n")
    with pytest.raises(
        InputError, match=rf"'rows.csv': the column 'x' holds numbers and text \('{spoilt}'\): mend it, or"
    ):
        split_features(open_table(path))
    assert split_features(open_table(path), metadata=("x",)).feature_names == ("y",)


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
