"""Everything that a file, a link or a command line can bring is used, or refused in one line."""

from __future__ import annotations

import copy
import gzip
import io
import json
import os
import zlib
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest
from files import CARD, N_ROWS, edited, observations, toml_of, toy_anndata, write_anndata
from fuzz.targets import HUGE, TARGETS, run
from hypothesis import HealthCheck, given, settings

from explorer import sources, tables
from explorer.aggregate import build_map
from explorer.catalog import open_catalog
from explorer.errors import InputError, nearest_names, shown
from explorer.judged import checked_judge_view, read_judge_view
from explorer.knowledge import read_gene_sets, read_source
from explorer.load import load_dataset, load_layout, load_screen
from explorer.stored import read_obs, stored_source
from explorer.tables import open_table, read_npy, read_table
from explorer.view import checked_view, read_view, validated_k

EXAMPLES = {"list": 300, "card": 60, "table": 80, "npy": 150, "h5ad": 40, "zarr": 25, "link": 80, "command": 40}


@pytest.mark.parametrize("name", EXAMPLES)
def test_used_or_refused_in_one_line(name):
    @settings(max_examples=EXAMPLES[name], deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(TARGETS[name].inputs)
    def used_or_refused(value):
        run(TARGETS[name], value)

    used_or_refused()


# ---------------------------------------------------------------- what was found: each stays mended


def card_of(folder: Path, text: str | bytes) -> Path:
    folder.mkdir(exist_ok=True)
    observations().with_columns(one=1.5).write_parquet(folder / "rows.parquet")
    (folder / "card.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def simple_card(**representation: object) -> str:
    card = copy.deepcopy(dict(CARD))
    card["representations"] = {"raw": {"kind": "simple", "source": "X", **representation}}
    return toml_of(card)


DIGITS = "f" * 5000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = " + "[" * 100_000, "is not valid TOML: it is nested too deeply"),
        ("a = " + "1" * 5000, "is not valid TOML: Exceeds the limit"),
        (f"title = 0x{DIGITS}", r"name at least one \[contexts.NAME\]"),
        ("title." + ".".join("a" * 20_000) + " = 1", "has a name of more than 16 parts"),
        ("[" + ".".join(["'a'"] * 20_000) + "]", "has a name of more than 16 parts"),
        (
            simple_card() + f"[defaults]\nk = 0x{DIGITS}\n",
            "'k' is 'a int too long to be shown', expected text in quotes",
        ),
        (simple_card() + "[defaults]\nquery.a.b = 1\n", "'query' is \"{'a': {'b': 1}}\", expected text in quotes"),
        (simple_card() + "[defaults]\nk = 5.5\n", "'k' is '5.5', expected text in quotes"),
        (simple_card(transform="pca") + f"components = 0x{DIGITS}\n", "'components' is 'a int too long to be shown'"),
        ("x" * (4 * 2**20 + 1), "is larger than 4 MiB"),
        (b"\xff\xfe", "is not valid TOML: 'utf-8' codec can't decode"),
    ],
)
def test_cards(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        load_dataset(card_of(tmp_path / "data", text))
    assert str(caught.value).isprintable()


def test_text_with_many_dots_is_no_nested_name(tmp_path):
    text = 'description = "e. g. one. Two. ... 1.2.3.4, https://a.b/c.d ' + "So be it. " * 40 + '"\n'
    assert load_dataset(card_of(tmp_path / "data", text + simple_card())).card.description.startswith("e. g.")


def test_names_of_folders_stay_on_one_line(tmp_path):
    with pytest.raises(InputError, match=r"^d\\n\\x1bx/card.toml: unknown key 'zz'") as caught:
        load_dataset(card_of(tmp_path / "d\n\x1bx", "zz = 1"))
    assert str(caught.value).isprintable()


def test_a_card_that_is_elsewhere(tmp_path):
    card_of(tmp_path / "data", "")
    (tmp_path / "secret").write_text("root:x:0:0")
    (tmp_path / "data" / "card.toml").unlink()
    (tmp_path / "data" / "card.toml").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="is a link that leads out of its folder") as caught:
        load_dataset(tmp_path / "data")
    assert "root" not in str(caught.value)


@pytest.mark.parametrize("name", ["pipe", "pipe.npy", "pipe.h5ad", "pipe.csv"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    folder = card_of(tmp_path / "data", simple_card(source=name))
    os.mkfifo(folder / name)
    with pytest.raises(InputError, match="can't be opened: check the name"):
        load_dataset(folder)


@pytest.mark.parametrize("name", ["*", "count", "name", "place", "perturbation", "gene"])
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_names_of_columns_that_polars_takes_for_patterns(tmp_path, name, ending):
    table = observations().rename({"gene": name}).with_columns(one=1.5, two=2.5)
    path = tmp_path / f"rows{ending}"
    table.write_csv(path) if ending == ".csv" else table.write_parquet(path)
    screen = load_screen(load_dataset(path, roles={"perturbation": name}))
    assert screen.perturbation_labels() == table[name].to_list()


@pytest.mark.parametrize("name", ["^.*$", "^gene$", "^(a$"])
def test_a_role_of_a_column_whose_name_is_a_pattern(tmp_path, name):
    path = tmp_path / "rows.parquet"
    observations().with_columns(pl.col("gene").alias(name), one=1.5).write_parquet(path)
    assert load_screen(load_dataset(path)).roles.perturbation == "gene"
    with pytest.raises(InputError, match="can't be used: rename it"):
        load_dataset(path, roles={"perturbation": name})
    with pytest.raises(InputError, match="can't be used: rename it"):
        load_screen(load_dataset(path, roles={"guide": name}))


def test_features_that_polars_takes_for_patterns(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MOST_IN_MEMORY", 0)
    path = tmp_path / "rows.parquet"
    observations().with_columns(pl.Series("*", np.arange(N_ROWS) + 0.5), pl.lit(2.0).alias("^.*$")).write_parquet(path)
    block = load_screen(load_dataset(path)).representation("X").source.read(0, 3)
    np.testing.assert_array_equal(block, [[0.5, 2], [1.5, 2], [2.5, 2]])


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([["a"], ["b"]], "List"),
        ([b"a", b"\xff"], "Binary"),
        ([{"a": 1}, {"a": 2}], "Struct"),
        (pl.Series([1, 2]).cast(pl.Duration), "Duration"),
    ],
)
@pytest.mark.parametrize("role", ["perturbation", "batch", "control_type", "row"])
def test_columns_that_hold_no_labels(tmp_path, role, values, kind):
    path = tmp_path / "rows.parquet"
    pl.DataFrame({"gene": ["a", "b"], "x": [1.0, 2.0]}).with_columns(pl.Series(role, values)).write_parquet(path)
    if role == "perturbation":
        with pytest.raises(InputError, match=f"perturbation column 'perturbation' holds {kind}, expected"):
            load_dataset(path, roles={"perturbation": role})
    # Where nobody asks for it, it is passed over.
    assert load_screen(load_dataset(path)).perturbation_labels() == ["a", "b"]
    if role == "batch":
        with pytest.raises(InputError, match=f"batch column 'batch' holds {kind}, expected"):
            load_screen(load_dataset(path, roles={"batch": "batch"}))


BAD_DEFLATE = b"\x1f\x8b\x08\x00" + b"\0" * 6 + b"\xff" * 40


@pytest.mark.parametrize("name", ["a.gmt.gz", "a.tsv.gz", "a.csv.gz"])
@pytest.mark.parametrize("content", [BAD_DEFLATE, BAD_DEFLATE[:5], gzip.compress(b"a\tb\tc\n" * 99, mtime=0)[:30]])
def test_damaged_gzip_files(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match="can't read"):
        read_source(path)
    with pytest.raises(InputError, match="can't read"):
        read_gene_sets(path) if ".gmt" in name else read_table(path)


@pytest.mark.parametrize("name", ["a.gmt.gz", "a.tsv.gz", "a.csv.gz", "a.csv"])
def test_files_that_unpack_to_more_than_memory_holds(tmp_path, monkeypatch, name):
    monkeypatch.setattr(tables, "MOST_UNPACKED", 2**20)
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"a,b\tc\n" * 10**6))
    assert path.stat().st_size < 20_000
    with pytest.raises(InputError, match=r"unpacks to more than 0.000977 GiB: write it as a parquet file"):
        read_gene_sets(path) if ".gmt" in name else read_table(path)


@pytest.mark.parametrize("content", [zlib.compress(b"a,b\n1,2\n"), b"\x28\xb5\x2f\xfd" + b"\0" * 9, b"\x1f\x8b"])
def test_packed_in_another_way_or_twice(tmp_path, content):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(InputError, match="it is packed in a way that is not read"):
        open_table(path)


def test_a_table_of_too_many_columns_or_rows(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text("," * (sources.MOST_FEATURES + 1) + "\n")
    with pytest.raises(InputError, match="says that it has '0' rows and '4194305' columns"):
        open_table(tmp_path / "a.csv")
    pl.DataFrame({"gene": ["a"] * 9, "x": 1.0}).write_parquet(tmp_path / "a.parquet")
    monkeypatch.setattr(sources, "MOST_ROWS", 8)
    with pytest.raises(InputError, match=r"'a.parquet' says that it has '9' rows"):
        open_table(tmp_path / "a.parquet")


def npy_of(header: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + data


def shaped(shape: str) -> bytes:
    return npy_of(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n", b"0" * 48)


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04junk", b"\x80\x04N.", b"", npy_of("(" * 9000), npy_of("-" * 9000 + "1"), npy_of("{'a': '''"),
        shaped(f"({10**40}, 2)"), shaped("(-1, 2)"), shaped("(True, 2)"), shaped(f"({2**62}, 0)"), shaped("(9, 9)"),
        shaped("(1000000000000000000, 0)"),
    ],
)  # fmt: skip
def test_npy_files(tmp_path, content):
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"can't read 'x.npy'|'x.npy' says"):
        read_npy(tmp_path / "x.npy")


def replace(file: h5py.File, place: str, **made: object) -> None:
    attributes = dict(file[place].attrs)
    del file[place]
    file.create_dataset(place, **made)  # type: ignore[arg-type]
    file[place].attrs.update(attributes)


@pytest.fixture
def stored(tmp_path):
    return write_anndata(tmp_path / "x.h5ad", toy_anndata())


@pytest.mark.parametrize(
    ("place", "made", "message"),
    [
        ("obs/plate", {"data": np.zeros(40)}, "'plate' of 'obs' in 'x.h5ad' has 40 rows, expected 26"),
        ("obs/gene/codes", {"data": np.zeros(260, "i1")}, "'gene' of 'obs' in 'x.h5ad' has 260 rows, expected 26"),
        ("obs/plate", {"data": np.zeros((26, 2))}, "can't read 'obs'"),
        ("obs/gene/codes", {"data": np.full(26, 2**40)}, "can't read 'obs'"),  # was taken for the first category
        ("obs/gene/codes", {"data": np.full(26, 2**32)}, "can't read 'obs'"),
        ("obs/gene/codes", {"data": np.full(26, np.nan)}, "can't read 'obs'"),
        ("obs/plate", {"data": np.zeros(26, [("a", "f4")])}, "can't read 'obs'"),
        ("obs/_index", {"shape": (10**12,), "dtype": "i1", "chunks": (1000,)}, "says that it has '1000000000000' rows"),
        ("obs/plate", {"shape": (10**9,), "dtype": "i1", "chunks": (1000,)}, "says that it has '1000000000' rows"),
        ("obs/plate", {"shape": (26,), "dtype": "f8", "chunks": (5,)}, "was never written in full"),
        ("X", {"shape": (26, 10**13), "dtype": "f4", "chunks": (1, 9)}, "and '10000000000000' columns"),
    ],
)
def test_h5ad_files(stored, place, made, message):
    with edited(stored) as file:
        replace(file, place, **made)
    with pytest.raises(InputError, match=message):
        load_screen(load_dataset(stored))


def read_both(path: Path) -> None:
    load_dataset(path)
    read_obs(path)


@pytest.mark.parametrize("link", [h5py.SoftLink("/layers/scaled"), h5py.ExternalLink("other.h5ad", "/X")])
@pytest.mark.parametrize("place", ["X", "layers", "layers/scaled", "obs", "obs/gene", "obs/gene/codes", "obs/_index"])
def test_links_inside_an_h5ad_file(stored, link, place):
    write_anndata(stored.with_name("other.h5ad"), toy_anndata())
    with edited(stored) as file:
        del file[place]
        file[place] = link
    with pytest.raises(InputError, match=r"in 'x.h5ad' is a link: copy what it leads to into the file"):
        read_both(stored)


def test_a_link_to_a_pipe_is_not_waited_for(stored):
    os.mkfifo(stored.with_name("pipe"))
    with edited(stored) as file:
        del file["X"]
        file["X"] = h5py.ExternalLink("pipe", "/X")
    with pytest.raises(InputError, match="is a link"):
        stored_source(stored, "X")


def test_arrays_that_are_kept_in_other_files(stored):
    outside = stored.with_name("secret")
    outside.write_bytes(b"s" * 4 * 5 * N_ROWS)
    write_anndata(stored.with_name("other.h5ad"), toy_anndata())
    layout = h5py.VirtualLayout((N_ROWS, 5), "f4")
    layout[:] = h5py.VirtualSource(str(stored.with_name("other.h5ad")), "X", (N_ROWS, 5), "f4")
    with edited(stored) as file:
        del file["X"]
        file.create_dataset("X", (N_ROWS, 5), "f4", external=[(str(outside), 0, 4 * 5 * N_ROWS)])
        file.create_virtual_dataset("layers/virtual", layout)
    for key in ("X", "layers/virtual"):
        with pytest.raises(InputError, match=f"'{key}' in 'x.h5ad' is kept in other files"):
            stored_source(stored, key)


def test_a_matrix_without_features_is_not_offered(stored):
    with edited(stored) as file:
        replace(file, "X", data=np.zeros((N_ROWS, 0)))
    assert "X" not in load_dataset(stored).card.representations


@pytest.fixture
def zarr_folder(tmp_path):
    path = write_anndata(tmp_path / "x.zarr", toy_anndata())
    (path / ".zmetadata").unlink()
    return path


@pytest.mark.parametrize("place", ["X/0.0", "X", "obs/gene/codes/0"])
def test_links_out_of_a_zarr_folder(zarr_folder, place):
    inside, outside = zarr_folder / place, zarr_folder.with_name("outside")
    inside.rename(outside)
    inside.symlink_to(outside)
    with pytest.raises(InputError, match=r"in 'x.zarr' leads out of the folder or is no file"):
        list(load_screen(load_dataset(zarr_folder)).representation("X").chunks())


def test_a_pipe_in_a_zarr_folder_is_not_waited_for(zarr_folder):
    (zarr_folder / "X" / "0.0").unlink()
    os.mkfifo(zarr_folder / "X" / "0.0")
    with pytest.raises(InputError, match="leads out of the folder or is no file"):
        stored_source(zarr_folder, "X").read(0, 1)


@pytest.mark.parametrize(
    ("place", "shape", "message"),
    [
        ("X", [26, 10**9], "'26' rows and '1000000000' columns"),
        ("obs/gene/codes", [10**9], "says that it has '1000000000' rows"),
        ("obs/_index", [10**12], "says that it has '1000000000000' rows"),
    ],
)
def test_shapes_that_a_zarr_folder_claims(zarr_folder, place, shape, message):
    path = zarr_folder / place / ".zarray"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"shape": shape}))
    with pytest.raises(InputError, match=message):
        load_screen(load_dataset(zarr_folder))


@pytest.mark.parametrize("trustworthiness", ["abc", None, [1.0]])
def test_layouts(tmp_path, trustworthiness):
    folder = card_of(tmp_path / "data", 'layouts = "layouts.parquet"\n' + simple_card())
    pl.DataFrame({"recipe": ["r"]}).write_parquet(folder / "layouts.parquet")
    dataset = load_dataset(folder)
    dataset_map = build_map(load_screen(dataset), "raw")
    names = list(dataset_map.names)
    table = {
        "recipe": [dataset_map.fingerprint] * len(names), "perturbation": names, "x": 1.0, "y": 1.0, "method": "m",
        "trustworthiness": pl.Series([trustworthiness] * len(names)),
    }  # fmt: skip
    pl.DataFrame(table).write_parquet(folder / "layouts.parquet")
    with pytest.raises(InputError, match=r"can't read the layouts 'layouts.parquet'"):
        load_layout(dataset, dataset_map)


VIEW = ("dataset", "context", "query", "left", "right", "align", "k", "direction", "among")
JUDGE_VIEW = ("dataset", "context", "simple", "learned", "align", "sources", "k", "budget")


def test_values_that_python_does_not_write(tmp_path):
    catalog = open_catalog(card_of(tmp_path / "data", simple_card()))
    nested: list[object] = []
    for _ in range(5_000):
        nested = [nested]
    for value in (HUGE, [HUGE], {"a": nested}):
        assert read_view({"k": value, "query": value}, catalog)[0].k == 10
        assert read_judge_view({"k": value, "learned": value}, catalog)[0].k == 10
        for check, names in ((checked_view, VIEW), (checked_judge_view, JUDGE_VIEW)):
            with pytest.raises(InputError, match="unknown dataset"):
                check(catalog, **dict.fromkeys(names, value))
        assert shown(value).endswith("too long to be shown'") or len(shown(value)) <= 60
    with pytest.raises(InputError, match="k = 'a Huge too long to be shown' can't be used"):
        validated_k(HUGE)


def test_a_name_of_millions_of_letters_is_compared_at_once():
    assert nearest_names("TP53" * 10**6, [f"TP{number}" for number in range(2_000)]) == []


def test_gene_sets_of_one_name_in_many_lines(tmp_path):
    # Of members that were gathered anew for every line, the time grew with the square of the lines.
    stream = io.StringIO()
    for number in range(20_000):
        stream.write(f"set\tid\tG{number}\n")
    (tmp_path / "a.gmt").write_text(stream.getvalue())
    assert len(read_gene_sets(tmp_path / "a.gmt").sets["set"]) == 20_000


def test_a_screen_of_controls_alone(tmp_path):
    path = tmp_path / "rows.parquet"
    pl.DataFrame({"gene": ["ctrl"] * 4, "batch": ["a"] * 4, "guide": ["g"] * 4, "x": 1.0}).write_parquet(path)
    with pytest.raises(InputError, match="no row of finite numbers"):
        build_map(load_screen(load_dataset(path)), "X")
