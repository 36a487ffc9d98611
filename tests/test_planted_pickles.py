"""A pickle planted wherever a reader could load one is never run, and is refused or passed over in one line."""

from __future__ import annotations

import ast
import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest
from conftest import PROJECT
from files import CARD, CONTROL, changed, observations, toml_of, toy_anndata, write_anndata

from explorer.errors import InputError
from explorer.knowledge import read_source
from explorer.load import load_dataset, load_screen
from explorer.stored import read_obs

SOURCES = sorted((*(PROJECT / "explorer").glob("*.py"), *(PROJECT / "apps").glob("*.py")))
SENTENCE = r"^[^\n]+$"

# Each reader of the project meets a pickle in each of its formats, which takes a while.
pytestmark = pytest.mark.slow


class Planted:
    """What makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def planted(tmp_path):
    """A pickle as bytes; afterwards nobody must have run it."""
    mark = tmp_path / "it was run"
    content = pickle.dumps(Planted(mark))
    yield content
    assert not mark.exists()
    pickle.loads(content)
    assert mark.exists(), "the pickle would have done nothing anyway"


def read_all(path: Path) -> None:
    dataset = load_dataset(path)
    for context in dataset.contexts:
        screen = load_screen(dataset, context)
        for representation in screen.representations.values():
            assert sum(len(block) for _, block in representation.chunks()) == representation.n_rows


def dataset_with(folder: Path, source: str, content: bytes) -> Path:
    folder.mkdir()
    observations().with_columns(one=1.0).write_parquet(folder / "rows.parquet")
    (folder / source).write_bytes(content)
    card = changed(CARD, {"representations": {"latent": {"kind": "learned", "source": source}}})
    (folder / "card.toml").write_text(toml_of(card))
    return folder


def object_npy(content: bytes) -> bytes:
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (26, 1), }\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


def archive(content: bytes, name: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr(name, content)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("latent.npy", object_npy),
        ("latent.npy", bytes),
        ("latent.npy", lambda content: archive(object_npy(content), "arr_0.npy")),
        ("latent.npz", lambda content: archive(object_npy(content), "arr_0.npy")),
        ("latent.pt", lambda content: archive(content, "archive/data.pkl")),
        ("latent.pt", bytes),
        ("latent.pkl", bytes),
        ("latent.joblib", bytes),
        ("latent.h5ad", bytes),
        ("latent.parquet", bytes),
        ("latent.csv", bytes),
    ],
)
def test_a_representation(tmp_path, planted, name, make):
    path = dataset_with(tmp_path / "data", name, make(planted))
    with pytest.raises(InputError, match=SENTENCE):
        read_all(path)


@pytest.mark.parametrize("name", ["known.gmt", "known.tsv", "known.txt.gz", "known.parquet", "known.pkl"])
def test_known_pairs_and_sets(tmp_path, planted, name):
    path = tmp_path / name
    path.write_bytes(planted)
    with pytest.raises(InputError, match=SENTENCE):
        read_source(path)


def test_a_card(tmp_path, planted):
    (tmp_path / "card.toml").write_bytes(planted)
    with pytest.raises(InputError, match="is not valid TOML"):
        load_dataset(tmp_path)


def test_metadata_of_a_parquet_file(tmp_path, planted):
    # Of a library that knows the name of an extension type arrow asks that it reads what the file says of it.
    text = planted.decode("latin1")
    extra = {
        "pandas": json.dumps({"index_columns": [{"kind": "pickle", "data": text}], "columns": [], "creator": text}),
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": text,
    }
    path = tmp_path / "rows.parquet"
    observations().with_columns(one=1.0).write_parquet(path, metadata=extra)
    assert pl.read_parquet_metadata(path)["ARROW:extension:metadata"] == text
    read_all(path)


def test_an_object_column_of_a_parquet_file(tmp_path, planted):
    path = tmp_path / "rows.parquet"
    table = observations()
    table.with_columns(one=1.0, gene=pl.Series([planted] * table.height)).write_parquet(path)
    with pytest.raises(InputError, match="column 'gene' holds Binary, expected text or numbers"):
        load_dataset(path, roles={"perturbation": "gene"})


@pytest.mark.parametrize("place", ["uns/model", "obs/plate", "obs/gene", "X"])
def test_bytes_in_an_h5ad_file(tmp_path, planted, place):
    path = write_anndata(tmp_path / "x.h5ad", toy_anndata())
    n_rows = observations().height
    shape = (n_rows, 5) if place == "X" else (n_rows,)
    with h5py.File(path, "r+") as file:
        attributes = dict(file[place].attrs) if place in file else {}
        if place in file:
            del file[place]
        file.create_dataset(place, data=np.full(shape, np.void(planted)), dtype=f"V{len(planted)}")
        file[place].attrs.update(attributes | {"encoding-type": "pickle"})
    if place in ("uns/model", "X"):
        read_all(path)
        return
    with pytest.raises(InputError, match=SENTENCE):
        read_all(path)


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def _pickle_codec_works(monkeypatch):
    # Newer versions of numcodecs refuse of themselves; older ones do not, and what is ours must hold alone.
    monkeypatch.setattr("numcodecs.pickles.ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False)


@pytest.mark.usefixtures("_pickle_codec_works")
@pytest.mark.parametrize(
    "codecs",
    [
        {"filters": [{"id": "vlen-utf8"}], "compressor": {"id": "pickle"}},
        {"filters": [{"id": "vlen-utf8"}, {"id": "pickle"}], "compressor": None},
        {"filters": [{"id": "pickle"}], "compressor": None},
    ],
)
def test_codecs_of_a_zarr_folder(tmp_path, planted, codecs):
    path = write_anndata(tmp_path / "x.zarr", toy_anndata())
    (path / ".zmetadata").unlink()
    part = path / "obs" / "gene" / "categories"
    edit_json(part / ".zarray", **codecs)
    (part / "0").write_bytes(planted)
    with pytest.raises(InputError, match=SENTENCE):
        read_all(path)


@pytest.mark.usefixtures("_pickle_codec_works")
@pytest.mark.parametrize("part", ["X", "obs/_index"])
def test_numbers_and_names_of_a_zarr_folder(tmp_path, planted, part):
    path = write_anndata(tmp_path / "x.zarr", toy_anndata())
    (path / ".zmetadata").unlink()
    edit_json(path / part / ".zarray", compressor={"id": "pickle"})
    for chunk in (path / part).glob("[0-9]*"):
        chunk.write_bytes(planted)
    with pytest.raises(InputError, match=SENTENCE):
        read_all(path) if part == "X" else read_obs(path, ["_row"])


def test_codecs_of_zarr_version_3(tmp_path, planted):
    path = write_anndata(tmp_path / "x.zarr", toy_anndata(), v3=True)
    part = path / "obs" / "gene" / "categories"
    table = json.loads((path / "zarr.json").read_text())
    table.pop("consolidated_metadata", None)
    (path / "zarr.json").write_text(json.dumps(table))
    edit_json(part / "zarr.json", codecs=[{"name": "bytes"}, {"name": "numcodecs.pickle", "configuration": {}}])
    for chunk in part.rglob("c/*"):
        chunk.write_bytes(planted)
    with pytest.raises(InputError, match=SENTENCE):
        read_all(path)


def test_labels_that_are_a_pickle_are_text(tmp_path, planted):
    path = tmp_path / "rows.parquet"
    text = planted.decode("latin1")
    table = observations()
    labels = [text if label != CONTROL else CONTROL for label in table["gene"].to_list()]
    table.with_columns(one=1.0, gene=pl.Series(labels)).write_parquet(path)
    read_all(path)


# ---------------------------------------------------------------- the sources themselves

FORBIDDEN_MODULES = {
    "pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "subprocess",
    "pty",
    "code",
    "yaml",
}
# It runs this interpreter on its own file, as the test below holds, and nothing that it reads.
MAY_START_A_PROCESS = {"quarantine.py": {"subprocess"}}
FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__", "breakpoint"}
FORBIDDEN_CALLS = {
    ("os", "system"), ("os", "popen"), ("torch", "load"), ("pd", "read_pickle"), ("pandas", "read_pickle"),
    ("np", "fromregex"), ("importlib", "import_module"),
}  # fmt: skip


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_nothing_in_the_sources_runs_what_it_reads(path):
    forbidden = FORBIDDEN_MODULES - MAY_START_A_PROCESS.get(path.name, set())
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        where = f"{path.name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & forbidden, where
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in forbidden, where
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in FORBIDDEN_NAMES, where
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) not in FORBIDDEN_CALLS, where
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant), where
            assert node.value.value is False, where


def test_the_one_process_that_is_started_is_this_interpreter_on_our_own_file():
    (path,) = (path for path in SOURCES if path.name == "quarantine.py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "subprocess"
    ]
    assert sorted(node.attr for node in calls) == ["TimeoutExpired", "run"]
    (run,) = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.func in calls)
    assert ast.unparse(run.args[0]) == "command"
    assert "shell" not in {keyword.arg for keyword in run.keywords}
    (command,) = (
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "command"
    )
    assert [ast.unparse(part) for part in command.elts[:3]] == ["sys.executable", "'-I'", "__file__"]
