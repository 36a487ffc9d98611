"""AnnData files in place: every way a column or matrix is written, and what is damaged or foreign."""

import copy
import itertools
import shutil
import warnings
from contextlib import nullcontext

import anndata
import h5py
import numpy as np
import pandas as pd
import polars as pl
import pytest
import zarr
from files import LATENT, N_ROWS, RAW, ROWS, STORED_FORMATS, edited, toy_anndata, write_anndata
from scipy import sparse

from explorer import stored
from explorer.errors import InputError
from explorer.stored import StoredRows, StoredSource, is_stored, matrix_keys, read_obs, stored_keys, stored_source

ENDINGS = ("h5ad", "zarr")


@pytest.fixture(params=STORED_FORMATS)
def toy(request, tmp_path):
    form = request.param
    adata = toy_anndata(csr=form.startswith("csr"))
    return write_anndata(tmp_path / f"toy.{form.split('.')[1]}", adata, v3=form.startswith("v3"))


def test_matrices(toy):
    assert is_stored(toy)
    assert sorted(stored_keys(toy)) == ["X", "layers/scaled", "obsm/latent"]
    for key, expected in (("X", RAW), ("layers/scaled", 2 * RAW), ("obsm/latent", LATENT)):
        source = stored_source(toy, key)
        assert source.shape == expected.shape
        for bounds in ((0, N_ROWS), (3, 9), (5, 5), (N_ROWS - 1, N_ROWS)):
            np.testing.assert_array_equal(source.read(*bounds), expected[slice(*bounds)])
    assert stored_source(toy, "X").fingerprint() != stored_source(toy, "obsm/latent").fingerprint()


def blocks_of(source, *bounds):
    found = list(source.blocks(*bounds))
    assert all(block.dtype == np.float32 for _, block in found)
    return [first for first, _ in found], np.concatenate([block for _, block in found])


@pytest.mark.parametrize("bounds", [(0, N_ROWS, 1), (0, N_ROWS, 4), (3, 20, 7), (5, 6, 100)])
def test_blocks(toy, bounds):
    start, stop, step = bounds
    for key, expected in (("X", RAW), ("obsm/latent", LATENT)):
        source = stored_source(toy, key)
        firsts, values = blocks_of(source, *bounds)
        assert firsts == list(range(start, stop, step))
        np.testing.assert_array_equal(values, expected[start:stop])
        assert list(source.blocks(5, 5, 3)) == []


@pytest.mark.parametrize("kind", ["f2", ">f4", "f8", "i1", "u2", "i8", "?"])
@pytest.mark.parametrize("chunks", [None, (3, 2), (7, 5), (100, 1)])
@pytest.mark.parametrize("ending", ENDINGS)
def test_numbers_of_every_type_and_chunk(tmp_path, kind, chunks, ending):
    values = (RAW * 10).astype(kind)
    path = tmp_path / f"toy.{ending}"
    if ending == "zarr":
        group = zarr.open_group(str(path), mode="w", zarr_format=3)
        sharded = {"shards": (6, 4)} if chunks == (3, 2) else {}
        group.create_array("X", shape=values.shape, dtype=values.dtype, chunks=chunks or (100, 5), **sharded)[:] = (
            values
        )
    else:
        with h5py.File(path, "w") as file:
            file.create_dataset("X", data=values, chunks=None if chunks == (100, 1) else chunks)
    for step in (2, 5, 40):
        np.testing.assert_array_equal(blocks_of(stored_source(path, "X"), 1, N_ROWS, step)[1], values[1:].astype("f4"))


@pytest.mark.parametrize("piece", [1, 40, 10_000])
@pytest.mark.parametrize("ending", ENDINGS)
def test_pieces_are_bounded(tmp_path, monkeypatch, ending, piece):
    monkeypatch.setattr(stored, "_PIECE_VALUES", piece)
    monkeypatch.setattr(stored, "_PIECE_BYTES", piece)
    values = np.random.default_rng(1).poisson(0.7, (90, 6)).astype("f4")
    values[10:20] = 0
    for store in (sparse.csr_matrix, np.array):
        adata = anndata.AnnData(X=store(values))
        path = write_anndata(tmp_path / f"{store.__name__}.{ending}", adata)
        for step in (1, 8, 90):
            np.testing.assert_array_equal(blocks_of(stored_source(path, "X"), 4, 90, step)[1], values[4:])


def test_a_csr_matrix_that_names_a_place_twice_holds_the_sum(tmp_path):
    path = write_anndata(tmp_path / "toy.h5ad", toy_anndata(csr=True))
    with edited(path) as file:
        file["X/indices"][:] = 2
    np.testing.assert_allclose(stored_source(path, "X").read(0, N_ROWS)[:, 2], RAW.sum(axis=1), rtol=1e-5, atol=1e-6)


def test_a_source_can_be_sent_to_another_process(toy):
    source = copy.deepcopy(stored_source(toy, "X"))
    assert isinstance(source, StoredSource)
    np.testing.assert_array_equal(source.read(0, N_ROWS), RAW)


def test_blocks_that_are_left_early_close_the_file(tmp_path):
    path = write_anndata(tmp_path / "toy.h5ad", toy_anndata())
    blocks = stored_source(path, "X").blocks(0, N_ROWS, 2)
    next(blocks)
    with pytest.raises(OSError, match=r"already open|lock"):
        h5py.File(path, "r+")
    blocks.close()
    with h5py.File(path, "r+"):
        pass


def test_a_file_that_goes_while_it_is_read(toy, monkeypatch):
    monkeypatch.setattr(stored, "_PIECE_VALUES", 1)
    monkeypatch.setattr(stored, "_PIECE_BYTES", 1)
    blocks = stored_source(toy, "X").blocks(0, N_ROWS, 2)
    next(blocks)
    if toy.is_dir():
        shutil.rmtree(toy)
    else:
        toy.unlink()
    with pytest.raises(
        InputError, match=r"toy.* (is truncated or damaged; copy|lacks the chunk|was changed while it was open)"
    ) as caught:
        list(blocks)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("chunks", [None, (50, 4)])
def test_an_h5ad_that_is_cut_while_it_is_read(tmp_path, chunks):
    path = tmp_path / "toy.h5ad"
    with h5py.File(path, "w") as file:
        file.create_dataset("X", data=np.ones((5_000, 4), dtype="f4"), chunks=chunks)
    blocks = stored_source(path, "X").blocks(0, 5_000, 100)
    next(blocks)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(InputError, match=r"'toy.h5ad'.*(changed while it was open|truncated or damaged)"):
        list(blocks)
    with pytest.raises(InputError, match=r"can't open 'toy.h5ad': it is not a whole h5ad file"):
        stored_source(path, "X")


@pytest.mark.parametrize("chunks", [None, (100, 4)])
def test_rows_that_were_never_written(tmp_path, chunks):
    path = tmp_path / "toy.h5ad"
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("X", (1_000, 4), "f4", chunks=chunks)
        if chunks:
            dataset[:500] = 1
    with pytest.raises(InputError, match=r"'X' in 'toy.h5ad' was never written in full \(\d chunks are absent\): w"):
        stored_source(path, "X").read(0, 10)


ZARR_PARTS = [
    ("dense.zarr", "X"), ("v3.zarr", "X"), ("dense.zarr", "obsm/latent"), ("v3.zarr", "layers/scaled"),
    *itertools.product(["csr.zarr", "v3csr.zarr"], ["X/data", "X/indices", "X/indptr"]),
]  # fmt: skip


@pytest.mark.parametrize(("form", "part"), ZARR_PARTS)
def test_a_chunk_that_was_lost(tmp_path, form, part):
    path = write_anndata(tmp_path / "toy.zarr", toy_anndata(csr="csr" in form), v3=form.startswith("v3"))
    array = zarr.open_group(str(path), mode="r")[part]
    name = array.metadata.encode_chunk_key((0,) * array.ndim)
    (path / part / name).unlink()
    key = part.rsplit("/", 1)[0] if part.startswith("X/") else part
    with pytest.raises(InputError, match=rf"'{part}' in 'toy.zarr' lacks the chunk '{name}': zarr gives .* copy"):
        stored_source(path, key).read(0, 3)


def test_only_the_rows_of_a_lost_chunk_or_shard_are_refused(tmp_path):
    group = zarr.open_group(str(tmp_path / "toy.zarr"), mode="w", zarr_format=3)
    array = group.create_array("X", shape=(20, 4), dtype="f4", chunks=(2, 2), shards=(10, 4))
    array[:] = 1
    array[:2, :2] = 0  # an empty chunk inside a shard is on record there: it is not lost
    (tmp_path / "toy.zarr" / "X" / "c" / "1" / "0").unlink()
    source = stored_source(tmp_path / "toy.zarr", "X")
    assert source.read(0, 10).sum() == 36
    with pytest.raises(InputError, match=r"'X' in 'toy.zarr' lacks the chunk 'c/1/0'"):
        source.read(9, 12)


@pytest.mark.parametrize("part", ["obs/gene/categories", "obs/_index"])
def test_names_that_were_lost(tmp_path, part):
    path = write_anndata(tmp_path / "toy.zarr", toy_anndata())
    # Text is one array or, in newer files, a group of values and a mask.
    part = f"{part}/values" if (path / part / "values").is_dir() else part
    (path / part / "0").unlink()
    with pytest.raises(InputError, match=f"'{part}' in 'toy.zarr' lacks the chunk '0'"):
        read_obs(path)


def test_rows(toy):
    obs = read_obs(toy)
    assert obs.columns == ["_row", "gene", "plate"]
    assert tuple(obs["_row"]) == ROWS


COLUMNS = {
    "text": (pd.Series(["a", "é", "遺 伝"], dtype=object), ["a", "é", "遺 伝"]),
    "category": (pd.Series(pd.Categorical(["b", "a", "b"])), ["b", "a", "b"]),
    "unused levels": (pd.Series(pd.Categorical(["b", "b", "c"], categories=["a", "b", "c", "d"])), ["b", "b", "c"]),
    "ordered": (pd.Series(pd.Categorical(["b", "a", "b"], categories=["b", "a"], ordered=True)), ["b", "a", "b"]),
    "category with missing": (pd.Series(pd.Categorical(["b", None, "b"])), ["b", None, "b"]),
    "all missing": (pd.Series(pd.Categorical([None] * 3, categories=["a"])), [None] * 3),
    "numbered categories": (pd.Series(pd.Categorical([7, 3, 7])), [7, 3, 7]),
    "true or false categories": (pd.Series(pd.Categorical([True, False, True])), [True, False, True]),
    "integers": (pd.Series([3, 1, 2]), [3, 1, 2]),
    "fractions": (pd.Series([0.5, 1.0, 2.5]), [0.5, 1.0, 2.5]),
    "true or false": (pd.Series([True, False, True]), [True, False, True]),
    "nullable integers": (pd.Series([1, None, 3], dtype="Int64"), [1, None, 3]),
    "nullable true or false": (pd.Series([True, None, False], dtype="boolean"), [True, None, False]),
    "nullable text": (pd.Series(["a", None, "c"], dtype="string"), ["a", None, "c"]),
}


@pytest.mark.parametrize("ending", [*ENDINGS, "v3.zarr"])
@pytest.mark.parametrize(("column", "expected"), COLUMNS.values(), ids=COLUMNS)
def test_columns(tmp_path, ending, column, expected):
    column.index = ["r1", "r2", "r3"]
    adata = anndata.AnnData(X=np.ones((3, 2), dtype=np.float32), obs=pd.DataFrame({"column": column}))
    with warnings.catch_warnings(action="ignore"), anndata.settings.override(allow_write_nullable_strings=True):
        path = write_anndata(tmp_path / f"toy.{ending}", adata, v3=ending.startswith("v3"))
    obs = read_obs(path)
    assert obs["_row"].to_list() == ["r1", "r2", "r3"]
    assert obs["column"].to_list() == expected


@pytest.mark.parametrize("ending", ENDINGS)
def test_only_the_columns_that_are_asked_for_are_read(tmp_path, ending):
    path = write_anndata(tmp_path / f"toy.{ending}", toy_anndata())
    rows = StoredRows(path)
    assert (rows.columns, rows.height) == (["_row", "gene", "plate"], N_ROWS)
    assert set(rows.schema.values()) == {pl.String()}
    assert read_obs(path, ["plate"]).columns == ["plate"]
    assert rows["_row"].to_list() == list(ROWS)
    if ending == "h5ad":
        with edited(path) as file:
            del file["obs/plate"]
        assert StoredRows(path).select(["gene", "_row"]).shape == (N_ROWS, 2)


def test_categories_are_kept_as_codes(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "_CODE_ROWS", 4)
    labels = ["b", None, "é", "a", "b", "", "a", None, "é"]
    column = pd.Categorical(labels, categories=["unused", "é", "b", "", "a"])
    obs = pd.DataFrame({"column": column}, index=[f"r{number}" for number in range(len(labels))])
    found = read_obs(write_anndata(tmp_path / "toy.h5ad", anndata.AnnData(obs=obs)), ["column"])["column"]
    assert found.to_list() == labels
    # Labels are in their order, so that codes sort as names do.
    assert found.dtype == pl.Enum(sorted(["unused", "é", "b", "", "a"]))


def test_categories_that_repeat(tmp_path):
    path = write_anndata(tmp_path / "toy.h5ad", toy_anndata())
    with edited(path) as file:
        node = file["obs/gene/categories"]
        node[1] = node[0]
    genes = read_obs(path)["gene"].to_list()
    assert "CHEK2" not in genes
    assert genes.count("BRCA1") == 6


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("n_labels", [3, 30])
def test_long_text_is_read_in_parts(tmp_path, monkeypatch, ending, n_labels):
    monkeypatch.setattr(stored, "_TEXT_ROWS", 8)
    labels = [f"g{number % n_labels}" for number in range(30)]
    path = tmp_path / f"toy.{ending}"
    with h5py.File(path, "w") if ending == "h5ad" else nullcontext(zarr.open_group(str(path), mode="w")) as group:
        obs = group.create_group("obs")
        obs.attrs["_index"], obs.attrs["column-order"] = "_index", ["column"]
        with warnings.catch_warnings(action="ignore"):  # of text in zarr 3, which is not yet specified
            anndata.io.write_elem(obs, "_index", np.array([f"r{number}" for number in range(30)], dtype=object))
            anndata.io.write_elem(obs, "column", np.array(labels, dtype=object))
    found = read_obs(path)
    assert found["column"].to_list() == labels
    assert found["column"].dtype == (pl.String if n_labels == 30 else pl.Enum(["g0", "g1", "g2"]))
    assert found["_row"].dtype == pl.String


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (sparse.csc_matrix(RAW), "'X' in 'toy.{}' is stored as 'csc_matrix', which can't be read by rows: write it as"),
        (np.array([["a"] * 2] * N_ROWS, dtype=object), "'X' in 'toy.{}' is not a matrix of numbers"),
    ],
)
def test_matrices_that_cant_be_read_by_rows(tmp_path, ending, matrix, message):
    adata = anndata.AnnData(obs=pd.DataFrame(index=list(ROWS)), layers={"x": matrix})
    path = write_anndata(tmp_path / f"toy.{ending}", adata)
    assert matrix_keys(path) == (["layers/x"] if sparse.issparse(matrix) else [])
    with pytest.raises(InputError, match=message.replace("'X'", "'layers/x'").format(ending)):
        stored_source(path, "layers/x")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_data_frame_is_not_a_matrix(tmp_path, ending):
    frame = pd.DataFrame({"a": np.ones(N_ROWS)}, index=list(ROWS))
    adata = anndata.AnnData(obs=pd.DataFrame(index=list(ROWS)), obsm={"frame": frame})
    path = write_anndata(tmp_path / f"toy.{ending}", adata)
    assert stored_keys(path) == ["obsm/frame"]
    assert matrix_keys(path) == []
    with pytest.raises(InputError, match=r"'obsm/frame' in .* is stored as 'dataframe', which can't be read by rows"):
        stored_source(path, "obsm/frame")


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_absent_x_is_not_offered(tmp_path, ending):
    adata = anndata.AnnData(obs=pd.DataFrame(index=list(ROWS)), obsm={"latent": LATENT})
    path = write_anndata(tmp_path / f"toy.{ending}", adata)
    assert stored_keys(path) == ["obsm/latent"]


def test_integers_become_float32(tmp_path):
    adata = anndata.AnnData(X=sparse.csr_matrix(np.arange(12).reshape(4, 3)))
    block = stored_source(write_anndata(tmp_path / "toy.h5ad", adata), "X").read(1, 3)
    assert block.dtype == np.float32
    np.testing.assert_array_equal(block, [[3, 4, 5], [6, 7, 8]])


@pytest.mark.parametrize("n_bytes", [0, 1, 8, 100, 600, 2048, 5000, -5000, -100, -1])
def test_truncated_h5ad(tmp_path, n_bytes):
    path = write_anndata(tmp_path / "toy.h5ad", toy_anndata())
    path.write_bytes(path.read_bytes()[:n_bytes])
    for read in (read_obs, stored_keys, lambda path: stored_source(path, "X").read(0, N_ROWS)):
        with pytest.raises(InputError, match=r"can't open 'toy.h5ad': it is not a whole h5ad file; copy or write it"):
            read(path)


def compressed(path):
    names = [f"r{number}" for number in range(40 * N_ROWS)]
    adata = anndata.AnnData(X=np.tile(RAW, (40, 1)), obs=pd.DataFrame({"gene": names}, index=names))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata.write_h5ad(path, compression="gzip")
    return path


@pytest.mark.parametrize("key", ["X", "obs/gene"])
def test_damage_in_the_middle_of_the_data(tmp_path, key):
    path = compressed(tmp_path / "toy.h5ad")
    with h5py.File(path) as file:
        # Text is one dataset or, in newer files, a group of values and a mask.
        node = file[key] if hasattr(file[key], "shape") else file[key]["values"]
        chunk = node.id.get_chunk_info(0)
    with path.open("r+b") as stream:
        stream.seek(chunk.byte_offset + chunk.size // 2)
        stream.write(b"\xff" * 64)
    read = read_obs if key == "obs/gene" else lambda path: stored_source(path, "X").read(0, 900)
    with pytest.raises(InputError, match=r"can't read .* in 'toy.h5ad': the file is truncated or damaged; copy or"):
        read(path)


def test_damage_in_a_zarr_chunk(tmp_path):
    path = write_anndata(tmp_path / "toy.zarr", toy_anndata())
    (path / "X" / "0.0").write_bytes(b"\x02\x01broken")
    with pytest.raises(
        InputError, match=r"can't read rows 0 to 3 of 'X' in 'toy.zarr': the file is truncated or damaged"
    ):
        stored_source(path, "X").read(0, 3)


def remove(name):
    return lambda file: file.__delitem__(name)


def point_beyond_the_categories(file):
    file["obs/gene/codes"][0] = 100


def point_beyond_the_features(file):
    file["X/indices"][0] = 1_000_000


def point_back(file):
    file["X/indptr"][2] = 0
    file["X/indptr"][1] = 5


def point_beyond_the_data(file):
    file["X/indptr"][1] = 10_000


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("obs"), "'toy.h5ad' has no 'obs' table: it is not an AnnData file"),
        (remove("obs/plate"), "can't read 'obs' in 'toy.h5ad': the file is truncated or damaged"),
        (remove("obs/_index"), "can't read 'obs' in 'toy.h5ad': the file is truncated or damaged"),
        (point_beyond_the_categories, "can't read 'obs' in 'toy.h5ad': the file is truncated or damaged"),
        (remove("X/indices"), "can't read rows 0 to 3 of 'X' in 'toy.h5ad': the file is truncated or damaged"),
        (point_beyond_the_data, "can't read rows 0 to 3 of 'X' in 'toy.h5ad': the file is truncated or damaged"),
        (point_beyond_the_features, "can't read rows 0 to 3 of 'X' in 'toy.h5ad': the file is truncated or damaged"),
        (point_back, "can't read rows 0 to 3 of 'X' in 'toy.h5ad': the file is truncated or damaged"),
    ],
)
def test_parts_that_are_missing_or_contradict(tmp_path, damage, message):
    path = write_anndata(tmp_path / "toy.h5ad", toy_anndata(csr=True))
    with edited(path) as file:
        damage(file)

    def read():
        read_obs(path)
        stored_source(path, "X").read(0, 3)

    with pytest.raises(InputError, match=message):
        read()


def test_obs_as_old_anndata_wrote_it(tmp_path):
    path = write_anndata(tmp_path / "toy.h5ad", toy_anndata())
    with edited(path) as file:
        del file["obs"]
        file["obs"] = np.zeros(N_ROWS, dtype=[("index", "S5"), ("gene", "S5")])
    with pytest.raises(InputError, match=r"as by anndata before 0\.7: read it with anndata and write it again"):
        read_obs(path)


def test_a_column_of_a_foreign_encoding(tmp_path):
    path = write_anndata(tmp_path / "toy.h5ad", toy_anndata())
    with edited(path) as file:
        del file["obs/plate"]
        file.create_group("obs/plate").attrs["encoding-type"] = "awkward-array"
    with pytest.raises(
        InputError, match="'plate' of 'obs' is stored as 'awkward-array', which can't be read: write it"
    ):
        read_obs(path)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("text.h5ad", lambda path: path.write_text("no HDF5")),
        ("folder.h5ad", lambda path: path.mkdir()),
        ("empty.zarr", lambda path: path.mkdir()),
        ("array.zarr", lambda path: zarr.save(str(path), np.ones(3))),
        ("file.zarr", lambda path: path.write_text("no zarr")),
        ("broken.zarr", lambda path: (path.mkdir(), (path / "zarr.json").write_text("{"))),
    ],
)
def test_what_is_no_such_file(tmp_path, name, make):
    make(tmp_path / name)
    with pytest.raises(InputError, match=rf"can't open '{name}': it is not a whole (h5ad|zarr) file"):
        stored_keys(tmp_path / name)


def test_hdf5_that_is_no_anndata(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["X"] = RAW
    with pytest.raises(InputError, match=r"'other.h5' has no 'obs' table: it is not an AnnData file; write it with"):
        read_obs(tmp_path / "other.h5")
