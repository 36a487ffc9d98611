"""What is fuzzed: strategies that make inputs, and checks that an input is used or refused in one line.

A target is a strategy and a check. The check may raise nothing but what is a defect; it is given a folder of its own.
"""

from __future__ import annotations

import contextlib
import copy
import gzip
import io
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import polars as pl
from files import CARD, PAYLOADS, observations, toml_of, toy_anndata, write_anndata
from hypothesis import strategies as st

from explorer.aggregate import build_map
from explorer.catalog import Catalog, open_catalog
from explorer.cli import main
from explorer.errors import InputError
from explorer.frozen import FrozenList, check_key, freeze
from explorer.frozen_files import csv_text, read_frozen, sheet_csv
from explorer.judged import checked_judge_view, read_judge_view
from explorer.knowledge import load_knowledge, read_source
from explorer.load import load_dataset, load_layout, load_screen
from explorer.outcomes import read_results
from explorer.sealed import SealedKey, key_text, read_key
from explorer.tables import read_npy
from explorer.view import checked_view, link_parameters, read_names, read_view

# More rows than any made input has by intent; a screen that claims more is looked at, not averaged.
SMALL = 10_000
BLOCKS = 3


@dataclass(frozen=True)
class Target:
    """Strategy of the inputs, and what is done with one of them in an empty folder."""

    inputs: st.SearchStrategy[Any]
    check: Callable[[Any, Path], None]


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Let a refusal pass that is one line of signs that can be seen."""
    try:
        yield
    except InputError as error:
        text = str(error)
        if not text or not text.isprintable() or len(text) > 5_000:
            message = f"a refusal that is no sentence: {text[:200]!r}"
            raise AssertionError(message) from error


@contextlib.contextmanager
def own_folder() -> Iterator[Path]:
    """Make a folder that is gone afterwards, whatever stands in it; in memory where the system has that."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=memory if memory.is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(target: Target, value: Any) -> None:
    """Check one input."""
    with own_folder() as folder, refusals():
        target.check(value, folder)


# ---------------------------------------------------------------- values that nobody expects


class Huge(int):
    """A number of more digits than Python writes, which Hypothesis can show all the same."""

    def __repr__(self) -> str:
        return "10**5000"

    def __str__(self) -> str:
        return int.__repr__(self)


HUGE = Huge(10**5000)
NAMES = st.sampled_from(
    ["gene", "plate", "row", "a", "", " ", ".", "..", "../x", "/etc/passwd", "a/b", "X", "obsm/latent", "obsm/../X",
     "layers/", "{context}", "rows.parquet", "x.npy", "x.h5ad", "x.zarr", "pipe", "out", "loop", "up", "\0", "a\0b",
     "non-targeting", "TP53", "CON", "nan", "pca", "log-normalize, pca", "simple", "learned", "placebo", "tvn",
     "all", "cells", "raw", "x" * 300, "\ud800", *PAYLOADS]
)  # fmt: skip
TEXTS = NAMES | st.text(max_size=20) | st.builds(lambda sign, n: sign * n, st.characters(), st.integers(0, 100_000))
NUMBERS = st.sampled_from([0, 1, -1, 2, 10, 2**31, 2**63, -(2**63), 10**30]) | st.floats() | st.booleans()
WILD = st.recursive(
    TEXTS | NUMBERS | st.none() | st.just(HUGE),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


# ---------------------------------------------------------------- what is done with a dataset


def use_dataset(path: Path) -> None:
    """Open a dataset and read the beginning of everything in it; average what is small."""
    with refusals():
        dataset = load_dataset(path)
        for context in dataset.contexts:
            with refusals():
                screen = load_screen(dataset, context)
                labels, controls = screen.perturbation_labels(), screen.is_control()
                assert len(labels) == len(controls) == screen.rows.height
                for name, representation in screen.representations.items():
                    with refusals():
                        for number, (first, block) in enumerate(representation.chunks()):
                            assert block.dtype == np.float32
                            assert block.shape[1] == representation.n_features
                            assert first + len(block) <= representation.n_rows
                            if number == BLOCKS:
                                break
                    if representation.n_rows * max(1, representation.n_features) <= SMALL:
                        with refusals():
                            made = build_map(screen, name)
                            load_layout(dataset, made)


# ---------------------------------------------------------------- cards


@cache
def _rows_of_card() -> Mapping[str, bytes]:
    found = {}
    for name, table in (
        ("rows.parquet", observations().with_columns(one=1.5, two=2.0)),
        ("latent_cells.parquet", observations().select("row").with_columns(z=0.5)),
        ("layouts.parquet", pl.DataFrame({"recipe": ["r"], "perturbation": ["p"], "x": [1.0], "y": [1.0]})),
    ):
        stream = io.BytesIO()
        table.write_parquet(stream)
        found[name] = stream.getvalue()
    return found


def _places(values: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    for key in values if isinstance(values, Mapping) else ():
        found += _places(values[key], (*path, key))
    return found


FULL_CARD: dict[str, Any] = copy.deepcopy(dict(CARD)) | {
    "description": "d",
    "provenance": "p",
    "relationships": "known",
    "layouts": "layouts.parquet",
    "defaults": {"context": "cells", "query": "TP53", "left": "raw", "right": "latent", "align": "none", "k": 5},
    "examples": [{"query": "TP53", "context": "cells", "text": "t"}],
    "cautions": [{"text": "t", "perturbations": ["TP53"]}],
}
FULL_CARD["roles"] |= {"keep_controls": False, "replicates": True, "group": ["row"]}
FULL_CARD["representations"]["raw"] |= {"transform": "pca", "components": 1, "trained": "t"}


@st.composite
def card_texts(draw: st.DrawFn) -> bytes:
    """Make a card with a few of its values replaced, added or left out, then perhaps a few of its bytes."""
    card = copy.deepcopy(FULL_CARD)
    for _ in range(draw(st.integers(0, 4))):
        *outer, last = draw(st.sampled_from(_places(card) or [("title",)]))
        table: Any = card
        for key in outer:
            table = table[key]
        match draw(st.sampled_from(["replace", "replace", "drop", "add", "rename"])):
            case "replace":
                table[last] = draw(WILD)
            case "drop":
                table.pop(last)
            case "add":
                table[draw(TEXTS)] = draw(WILD)
            case "rename":
                table[draw(TEXTS)] = table.pop(last)
    text = "".join(f"{_toml(str(key))} = {_toml(value)}\n" for key, value in card.items())
    text += draw(st.sampled_from(["", "", "a=1979-05-27T07:32:00Z\n", f"a=0x{'f' * 5000}\n", f"a={'1' * 5000}\n",
                                  f"a={'[' * 3000}\n", "a." * 3000 + "a=1\n", "[a\n", "\x00", "a=inf\n", "\ufeff",
                                  "[[examples]]\n", "[roles.x]\n"]))  # fmt: skip
    return draw(mutated(text.encode("utf-8", "surrogatepass")))


def _toml(value: Any) -> str:
    """Write anything as a TOML value, tables in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(str(key))} = {_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, Huge):
        return hex(value)
    # A JSON string is a TOML string but for the delete character and for half of a surrogate pair.
    text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf", "null": '"null"'}.get(text, text)


@st.composite
def mutated(draw: st.DrawFn, data: bytes, *, most: int = 3) -> bytes:
    """Change, cut out or repeat a few ranges of bytes; often none."""
    found = bytearray(data)
    for _ in range(draw(st.sampled_from([0, 0, 1, most]))):
        place, length = draw(st.integers(0, max(0, len(found) - 1))), draw(st.integers(0, 8))
        found[place : place + length] = draw(st.binary(max_size=8))
    if draw(st.integers(0, 9)) == 9:
        del found[draw(st.integers(0, len(found))) :]
    return bytes(found)


def check_card(text: bytes, folder: Path) -> None:
    """Open a folder with this card, beside files, a pipe and links that lead out."""
    dataset = folder / "data"
    dataset.mkdir()
    (folder / "secret.parquet").write_bytes(_rows_of_card()["rows.parquet"])
    (dataset / "card.toml").write_bytes(text)
    for name, content in _rows_of_card().items():
        (dataset / name).write_bytes(content)
    os.mkfifo(dataset / "pipe")
    (dataset / "out").symlink_to(folder / "secret.parquet")
    (dataset / "up").symlink_to(folder)
    (dataset / "loop").symlink_to(dataset / "loop")
    use_dataset(dataset)
    with refusals():
        catalog = open_catalog(folder)
        read_view({}, catalog)
        read_judge_view({}, catalog)


# ---------------------------------------------------------------- tables


CELLS = st.sampled_from(
    ["", "a", "b", "TP53", "non-targeting", "1", "2.5", "-3", "1e400", "nan", "NaN", "NA", "inf", "-inf", '"', '"x,y"',
     "true", "2020-01-01", "\t", ",", "\r", "\n", "\r\n", "\0", "\x1b[31m", "<b>", "0", "1_000", "٣", "é", "\ufeff"]
)  # fmt: skip
HEADERS = st.sampled_from(
    ["gene", "perturbation", "batch", "guide", "row", "x", "y", "z", "", "Metadata_gene", "Metadata_x",
     "Unnamed: 0", "control_type", "is_control", "Metadata_Well", "group", "complex", "x" * 300, "\0"]
)  # fmt: skip
SUFFIXES = st.sampled_from([".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".parquet", ".gmt", ".gmt.gz"])


@st.composite
def text_tables(draw: st.DrawFn) -> bytes:
    """Make the text of a table, perhaps ragged, perhaps with a header that repeats."""
    sign = draw(st.sampled_from([",", "\t"]))
    lines = [sign.join(draw(st.lists(HEADERS, max_size=5)))]
    width = st.integers(0, 6) if draw(st.booleans()) else st.just(lines[0].count(sign) + 1)
    lines += [sign.join(draw(CELLS) for _ in range(draw(width))) for _ in range(draw(st.integers(0, 6)))]
    text = draw(st.sampled_from(["\n", "\r\n"])).join(lines).encode()
    if draw(st.booleans()):
        return text
    return gzip.compress(text, mtime=0)


KINDS: tuple[Any, ...] = (
    pl.String, pl.Categorical, pl.Int64, pl.UInt8, pl.Float64, pl.Float32, pl.Boolean, pl.Binary, pl.Date, pl.Time,
    pl.Duration, pl.Datetime, pl.Decimal(10, 2), pl.List(pl.String), pl.List(pl.Float64), pl.Array(pl.Float32, 2),
    pl.Struct({"a": pl.String}), pl.Null, pl.Enum(["a", "TP53"]), pl.Int128,
)  # fmt: skip


@st.composite
def parquet_files(draw: st.DrawFn) -> bytes:
    """Make a parquet file of columns of any type."""
    names = draw(st.lists(HEADERS, max_size=5, unique=True))
    height = draw(st.integers(0, 6))
    columns = [_column(name, draw(st.sampled_from(KINDS)), height, draw(st.integers(0, 3))) for name in names]
    stream = io.BytesIO()
    pl.DataFrame(columns).write_parquet(stream)
    return stream.getvalue()


def _column(name: str, kind: Any, height: int, step: int) -> pl.Series:
    numbers = [None if step == 3 and place % 2 else place * step for place in range(height)]
    kind = kind() if isinstance(kind, type) else kind
    texts = [None if number is None else ("a", "TP53")[number % 2] for number in numbers]
    match kind:
        case pl.List() | pl.Array():
            inner = texts if kind.inner == pl.String() else [1.5] * height
            values: list[Any] = [[one, one] for one in inner]
        case pl.Struct():
            values = [{"a": one} for one in texts]
        case pl.Binary():
            values = [None if one is None else b"\xff" + one.encode() for one in texts]
        case pl.String() | pl.Enum() | pl.Categorical():
            values = list(texts)
        case pl.Null():
            values = [None] * height
        case pl.Boolean():
            values = [None if number is None else bool(number % 2) for number in numbers]
        case pl.Date() | pl.Time() | pl.Duration() | pl.Datetime() | pl.Decimal():
            return pl.Series(name, numbers, dtype=pl.Int64).cast(kind)
        case _:
            values = list(numbers)
    return pl.Series(name, values, dtype=kind)


TABLES = st.tuples(SUFFIXES, (text_tables() | parquet_files()).flatmap(mutated) | st.binary(max_size=64))


def check_table(value: tuple[str, bytes], folder: Path) -> None:
    """Open a file as a dataset, as known pairs or sets, and beside a card."""
    suffix, content = value
    path = folder / f"file{suffix}"
    path.write_bytes(content)
    use_dataset(path)
    with refusals():
        read_source(path)
    known = folder / "known"
    known.mkdir()
    (known / path.name).write_bytes(content)
    source = {"file": path.name, "license": "l", "citation": "c"}
    kind = "gene_sets" if ".gmt" in suffix else "relationships"
    (known / "card.toml").write_text(toml_of({"kind": "relationships", "title": "t", kind: {"s": source}}))
    with refusals():
        load_knowledge(known)
    beside = folder / "beside"
    beside.mkdir()
    for name, own in _rows_of_card().items():
        (beside / name).write_bytes(own)
    (beside / path.name).write_bytes(content)
    card = copy.deepcopy(dict(CARD))
    card["representations"] = {"other": {"kind": "simple", "source": path.name}}
    card["layouts"] = path.name
    (beside / "card.toml").write_text(toml_of(card))
    use_dataset(beside)


# ---------------------------------------------------------------- matrices of NumPy


HEADER_PARTS = st.tuples(
    st.sampled_from(["'<f4'", "'<f8'", "'|O'", "'|V8'", "'<U3'", "'>i2'", "'|b1'", "[('a','<f4')]", "'<c16'", "''"]),
    st.sampled_from(["False", "True", "1", "None"]),
    st.sampled_from(["(3, 2)", "(3,)", "()", "(-1, 2)", "(0, 5)", "(10**9, 2)", f"({10**40}, 2)", "(3, 2, 1)",
                     "(True, 2)", "(3.0, 2)", "3", f"({2**62}, 0)", f"(0, {2**62})", "'ab'", "(1000000000, 1000)"]),
)  # fmt: skip


@st.composite
def npy_files(draw: st.DrawFn) -> bytes:
    """Make a ``.npy`` file from a header that may be no header."""
    kind, order, shape = draw(HEADER_PARTS)
    header = f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}, }}\n"
    header = draw(st.sampled_from([header] * 6 + ["(" * 9000, "-" * 9000 + "1", "'''", "{'a': '''", "", "\0", "1L"]))
    encoded = header.encode("latin1")
    version, width = draw(st.sampled_from([(b"\x01\x00", 2), (b"\x02\x00", 4), (b"\x03\x00", 4), (b"\x09\x00", 2)]))
    data = b"\x93NUMPY" + version + len(encoded).to_bytes(width, "little") + encoded + bytes(draw(st.integers(0, 64)))
    return draw(mutated(draw(st.sampled_from([data] * 8 + [b"PK\x03\x04junk", b"\x80\x04N.", b""]))))


def check_npy(content: bytes, folder: Path) -> None:
    """Open a ``.npy`` file and read its first and last row."""
    path = folder / "x.npy"
    path.write_bytes(content)
    source = read_npy(path)
    n_rows, n_features = source.shape
    if n_features < 2**22:
        assert source.read(0, 1).shape == (min(1, n_rows), n_features)
        source.read(max(0, n_rows - 1), n_rows)
    source.fingerprint()


# ---------------------------------------------------------------- h5ad and zarr


@cache
def _stored(form: str) -> Mapping[str, bytes]:
    """Files of a small valid screen, dense or CSR, as an h5ad file or a zarr folder of either version."""
    with own_folder() as folder:
        path = folder / ("x.h5ad" if "h5ad" in form else "x.zarr")
        write_anndata(path, toy_anndata(csr="csr" in form), v3="v3" in form)
        if path.is_file():
            return {"": path.read_bytes()}
        return {item.relative_to(path).as_posix(): item.read_bytes() for item in path.rglob("*") if item.is_file()}


def _h5_places(content: bytes) -> list[str]:
    found: list[str] = []
    with h5py.File(io.BytesIO(content), "r") as file:
        file.visit(found.append)
    return found


ARRAYS = st.sampled_from([
    np.zeros(26), np.zeros(27), np.zeros((26, 2)), np.zeros((26, 5, 2)), np.zeros(0), np.float64(3), np.zeros((26, 0)),
    np.full(26, np.nan), np.full(26, 2**40), np.full(26, -1, "i1"), np.full(26, 2**63, "u8"),
    np.array([b"\xff\xfe"] * 26),
    np.array([b"a"] * 26), np.array([b"a"] * 7), np.zeros(26, [("a", "f4")]), np.zeros((26, 5), "c16"),
    np.zeros((26, 5), "?"), np.full((26, 5), np.inf), np.zeros(26, "V7"), np.arange(27)[::-1], np.arange(27) * 10**9,
])  # fmt: skip
LINKS = st.sampled_from([
    h5py.SoftLink("/X"), h5py.SoftLink("/loop"), h5py.SoftLink("/obs"), h5py.ExternalLink("secret.h5ad", "/X"),
    h5py.ExternalLink("pipe", "/X"), h5py.ExternalLink("gone", "/"),
])  # fmt: skip
SHAPES = st.sampled_from([(26, 10**13), (10**12,), (26,), (10**9, 5), (26, 2**31), (0,), (26, 5)])
ATTRIBUTES = st.sampled_from(["shape", "encoding-type", "column-order", "_index", "encoding-version", "ordered"])
ATTRIBUTE_VALUES = st.sampled_from([
    "gene", "csr_matrix", "csc_matrix", "categorical", "null", "../X", "/X", "obs/gene", "", 3, -1, [26, 5], [26, -5],
    [26, 10**12], [10**12, 5], ["gene", "plate"], ["gene", "gene"], ["gene", "a/b", "/X", ".."], [0.5, 1.5],
    "\ud7ff\x1b",
    h5py.Empty("f8"),
])  # fmt: skip
H5AD_EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("drop"), st.integers(0, 99)),
        st.tuples(st.just("replace"), st.integers(0, 99), ARRAYS),
        st.tuples(st.just("link"), st.integers(0, 99), LINKS),
        st.tuples(st.just("hard"), st.integers(0, 99), st.integers(0, 99)),
        st.tuples(st.just("attribute"), st.integers(0, 99), ATTRIBUTES, ATTRIBUTE_VALUES),
        st.tuples(st.just("unwritten"), st.integers(0, 99), SHAPES, st.booleans()),
        st.tuples(st.just("outside"), st.integers(0, 99)),
        st.tuples(st.just("virtual"), st.integers(0, 99)),
    ),
    max_size=4,
)
H5AD = st.tuples(st.sampled_from(["h5ad", "csr.h5ad"]), H5AD_EDITS)


def edit_h5ad(file: h5py.File, edit: tuple[Any, ...], outside: Path) -> None:
    """Damage one place of an open h5ad file; an edit that HDF5 itself refuses is none."""
    places: list[str] = []
    file.visit(places.append)
    action, number, *rest = edit
    if not places:
        return
    name = places[number % len(places)]
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RuntimeError, AttributeError):
        if action == "attribute":
            file[name].attrs[rest[0]] = rest[1]
            return
        attributes = dict(file[name].attrs)
        target = file[places[rest[0] % len(places)]] if action == "hard" else None
        del file[name]
        match action:
            case "replace":
                file[name] = rest[0]
            case "link":
                file[name] = rest[0]
                return
            case "hard":
                file[name] = target
                return
            case "unwritten":
                shape, chunked = rest
                file.create_dataset(
                    name, shape, "f4", chunks=tuple(min(n, 100) or 1 for n in shape) if chunked else None
                )
            case "outside":
                file.create_dataset(name, (26, 5), "f4", external=[(str(outside / "secret.bin"), 0, 520)])
            case "virtual":
                layout = h5py.VirtualLayout((26, 5), "f4")
                layout[:] = h5py.VirtualSource(str(outside / "secret.h5ad"), "X", (26, 5), "f4")
                file.create_virtual_dataset(name, layout)
        if action != "drop":
            file[name].attrs.update(attributes)


def check_h5ad(value: tuple[str, list[tuple[Any, ...]]], folder: Path) -> None:
    """Open an h5ad file with a few of its parts damaged, beside a file and a pipe that its links lead to."""
    form, edits = value
    path = folder / "x.h5ad"
    path.write_bytes(_stored(form)[""])
    (folder / "secret.h5ad").write_bytes(_stored("h5ad")[""])
    (folder / "secret.bin").write_bytes(b"s" * 520)
    os.mkfifo(folder / "pipe")
    with warnings.catch_warnings(action="ignore"), h5py.File(path, "r+") as file:
        for edit in edits:
            edit_h5ad(file, edit, folder)
    use_dataset(path)


def check_h5ad_bytes(content: bytes, folder: Path) -> None:
    """Open bytes as an h5ad file."""
    path = folder / "x.h5ad"
    path.write_bytes(content)
    use_dataset(path)


def h5ad_seed() -> bytes:
    """Bytes of a small valid h5ad file."""
    return _stored("csr.h5ad")[""]


JSON_KEYS = st.sampled_from(
    ["shape", "chunks", "dtype", "fill_value", "order", "filters", "compressor", "dimension_separator", "zarr_format",
     "codecs", "data_type", "chunk_grid", "chunk_key_encoding", "node_type", "attributes", "column-order", "_index",
     "encoding-type", "storage_transformers", "consolidated_metadata"]
)  # fmt: skip
JSON_VALUES = st.sampled_from([
    None, 0, -1, 26, [26], [-1, 5], [0, 0], [26, 10**13], [10**12], [10**6, 10**6], "|O", "<f8", "<U5", "bytes", "../X",
    "/etc", ["../X", "gene"], {}, [], "NaN", [{"id": "pickle"}], {"id": "pickle"},
    [{"id": "vlen-utf8"}, {"id": "pickle"}],
    [{"name": "numcodecs.pickle"}], {"id": "blosc"}, {"id": "nope"}, "/", ".", 2, 3, "array", "csr_matrix", True, 1e308,
    {"name": "regular", "configuration": {"chunk_shape": [10**9, 10**9]}}, "\x1b",
])  # fmt: skip
ZARR = st.tuples(
    st.sampled_from(["zarr", "csr.zarr", "v3.zarr"]),
    st.lists(
        st.one_of(
            st.tuples(st.just("json"), st.integers(0, 999), JSON_KEYS, JSON_VALUES),
            st.tuples(st.just("bytes"), st.integers(0, 999), st.binary(max_size=64)),
            st.tuples(st.just("mutate"), st.integers(0, 999), st.integers(0, 999), st.binary(max_size=4)),
            st.tuples(st.just("drop"), st.integers(0, 999)),
            st.tuples(st.just("pipe"), st.integers(0, 999)),
            st.tuples(st.just("link"), st.integers(0, 999), st.sampled_from(["secret.bin", "loop", "..", "x.zarr/X"])),
        ),
        max_size=4,
    ),
)


def check_zarr(value: tuple[str, list[tuple[Any, ...]]], folder: Path) -> None:
    """Open a zarr folder with a few of its files damaged or replaced by links and pipes."""
    form, edits = value
    root = folder / "x.zarr"
    (folder / "secret.bin").write_bytes(b"s" * 520)
    files = dict(_stored(form))
    names = sorted(name for name in files if not name.endswith(".zmetadata"))
    described = [name for name in names if name.rsplit("/", 1)[-1] in ("zarr.json", ".zarray", ".zattrs", ".zgroup")]
    for action, number, *rest in edits:
        name = (described if action == "json" else names)[number % len(described if action == "json" else names)]
        content = files.get(name)
        match action:
            case "json" if isinstance(content, bytes):
                with contextlib.suppress(ValueError):
                    table = json.loads(content)
                    if isinstance(table, dict):
                        files[name] = json.dumps(table | {rest[0]: rest[1]}).encode()
            case "bytes":
                files[name] = rest[0]
            case "mutate" if isinstance(content, bytes) and content:
                place = rest[0] % len(content)
                files[name] = content[:place] + rest[1] + content[place + len(rest[1]) :]
            case "drop" | "pipe" | "link":
                files.pop(name, None)
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                if action != "drop" and not path.is_symlink() and not path.exists():
                    os.mkfifo(path) if action == "pipe" else path.symlink_to(folder / rest[0])
    files.pop(".zmetadata", None)
    for name, content in files.items():
        path = root / name
        if not path.is_symlink() and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    with warnings.catch_warnings(action="ignore"):
        use_dataset(root)


# ---------------------------------------------------------------- links of a browser


PARAMETERS = ("dataset", "context", "query", "left", "right", "simple", "learned", "align", "k", "direction", "among",
              "list", "sources", "budget", "recipes")  # fmt: skip
USUAL = st.sampled_from(["toy", "cells", "TP53", "raw", "latent", "none", "tvn", "5", "10", "similar", "active", "all",
                         "-1", "51", "1_0", "٣", "+5", " 5", "1e1", "9" * 5000, "a,b;c d",
                         "toy/", "../toy"])  # fmt: skip
LINK_VALUES = USUAL | TEXTS | WILD | st.lists(USUAL, max_size=2)
LINKS_OF_BROWSER = st.dictionaries(st.sampled_from(PARAMETERS) | TEXTS, LINK_VALUES, max_size=6)


@cache
def _catalog() -> Catalog:
    folder = Path(tempfile.mkdtemp(prefix="fuzz-catalog-"))
    data = folder / "toy"
    data.mkdir()
    for name, content in _rows_of_card().items():
        (data / name).write_bytes(content)
    (data / "card.toml").write_text(toml_of(CARD))
    try:
        catalog = open_catalog(folder)
        read_judge_view({}, catalog)
    finally:
        shutil.rmtree(folder)
    # Folder and card must be there for what reads the alignment anew; all else of it is in memory.
    data.mkdir(parents=True)
    for name, content in _rows_of_card().items():
        (data / name).write_bytes(content)
    (data / "card.toml").write_text(toml_of(CARD))
    return catalog


def check_link(parameters: dict[str, Any], folder: Path) -> None:
    """Read a view from a link, and hand the same values to what checks the controls."""
    catalog = _catalog()
    view, problems = read_view(parameters, catalog)
    assert view.dataset in catalog.names
    assert view.context in catalog.dataset(view.dataset).contexts
    assert {view.left, view.right} <= set(catalog.dataset(view.dataset).card.representations)
    assert 1 <= view.k <= 50
    again, _ = read_view(link_parameters(view), catalog)
    assert (again.context, again.left, again.k) == (view.context, view.left, view.k)
    judged, more = read_judge_view(parameters, catalog)
    assert 1 <= judged.k <= 50
    for sentence in (*problems, *more):
        assert sentence.isprintable(), sentence
        assert len(sentence) < 2_000
    names = ("dataset", "context", "query", "left", "right", "align", "k", "direction", "among")
    with refusals():
        checked_view(catalog, **{name: parameters.get(name, "toy") for name in names})
    names = ("dataset", "context", "simple", "learned", "align", "sources", "k", "budget")
    with refusals():
        checked_judge_view(catalog, **{name: parameters.get(name, "toy") for name in names})
    for value in parameters.values():
        if isinstance(value, str):
            read_names(value)


# ---------------------------------------------------------------- frozen lists, their results and keys


@cache
def _frozen() -> tuple[FrozenList, SealedKey, Mapping[str, bytes]]:
    """A blind list, its key, and the text of its files."""
    pairs = pl.DataFrame({"first": ["A", "B", '=C,"'], "second": ["B\n", "D", "E"]})
    proposed = pairs.with_columns(pl.Series("proposer", ["simple", "learned", "both"]))
    header = {"dataset": "toy", "budget": 3, "depth": 2, "expected": {"0.5": 1.0}}
    frozen, key = freeze(
        pairs, mode="compare", header=header, key_rows=proposed, date="2026-01-31T12:00:00Z", salt=bytes(32)
    )
    assert key is not None
    texts = {
        "list": csv_text(frozen),
        "results": sheet_csv(frozen, ["hit", "no hit", "failed"]),
        "key": key_text(key),
    }
    return frozen, key, {name: text.encode() for name, text in texts.items()}


LISTS = st.sampled_from(["list", "results", "key"]).flatmap(
    lambda name: st.tuples(st.just(name), mutated(_frozen()[2][name]) | st.binary(max_size=64))
)


def check_list(value: tuple[str, bytes], folder: Path) -> None:
    """Read a file of a frozen list with a few of its bytes changed: what is taken is what was written."""
    name, content = value
    frozen, key, _ = _frozen()
    with refusals():
        if name == "list":
            assert read_frozen(content).digest == frozen.digest
        elif name == "key":
            found = read_key(content)
            check_key(frozen, found)
            assert found.sha256 == key.sha256
        else:
            results = read_results(content, frozen).results
            assert len(results) == 3
            assert set(results) <= {"hit", "no hit", "failed", None}


# ---------------------------------------------------------------- the command line


COMMANDS = st.sampled_from(
    ["check", "neighbors", "judge", "build", "shortlist", "results", "", "--version", "serve", "\0", "-"]
)
FLAGS = st.sampled_from(
    ["--json", "--perturbation", "--control", "--batch", "--guide", "--representation", "--context", "--align", "-k",
     "--opposite", "--aggregate", "--simple", "--learned", "--budget", "--seed", "--relationships", "--no-activity",
     "--mode", "--completeness", "--interest", "--source", "--no-source", "--no-evidence", "--rehearse", "--key"]
)  # fmt: skip
WORDS = NAMES | st.sampled_from(["TOY", "TOY/rows.parquet", "TOY/card.toml", "-1", "0", "9" * 5000, "1e9", "--", "-x"])
COMMAND_LINES = st.tuples(
    COMMANDS, st.lists(WORDS, max_size=2), st.lists(st.tuples(FLAGS, WORDS | NUMBERS), max_size=3)
)


def check_command(value: tuple[str, list[str], list[tuple[str, Any]]], folder: Path) -> None:
    """Run the command line in this process: exit status 0, or 2 after one line."""
    command, words, flags = value
    data = folder / "toy"
    data.mkdir()
    for name, content in _rows_of_card().items():
        (data / name).write_bytes(content)
    (data / "card.toml").write_text(toml_of(CARD))
    words = [word.replace("TOY", str(data)) for word in words] or [str(data)]
    arguments = [command, *words, *(str(word) for flag in flags for word in flag)]
    if command == "serve" or "--out" in arguments:
        arguments[0] = "check"
    said, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(err):
        try:
            status = main(arguments)
        except SystemExit as stop:
            status = int(stop.code or 0)
    assert status in (0, 2), (status, arguments)
    if status:
        lines = err.getvalue().splitlines()
        assert len(lines) == 1, lines
        assert "Traceback" not in lines[0]


TARGETS: Mapping[str, Target] = {
    "card": Target(card_texts() | st.binary(max_size=64), check_card),
    "table": Target(TABLES, check_table),
    "npy": Target(npy_files(), check_npy),
    "h5ad": Target(H5AD, check_h5ad),
    "zarr": Target(ZARR, check_zarr),
    "link": Target(LINKS_OF_BROWSER, check_link),
    "list": Target(LISTS, check_list),
    "command": Target(COMMAND_LINES, check_command),
    # Bytes that a mutator of its own changes: HDF5 itself is tried, in a process that may die.
    "h5ad-bytes": Target(st.binary(max_size=64), check_h5ad_bytes),
}
