"""AnnData files in place: every way a column or matrix is written, and what is damaged or foreign."""

import warnings

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from files import LATENT, N_ROWS, RAW, ROWS, STORED_FORMATS, edited, toy_anndata, write_anndata
from scipy import sparse

from explorer.errors import InputError
from explorer.stored import is_stored, matrix_keys, read_obs, stored_keys, stored_source

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
