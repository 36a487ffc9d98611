"""One small screen, written in every format that can be read; and names that try to break out."""

from __future__ import annotations

import copy
import gzip
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
from scipy import sparse

from explorer.load import load_dataset, load_screen
from explorer.screen import Screen

PAYLOADS = (
    "<img src=x onerror=alert(1)>",
    "<script src=data:text/javascript,alert(1)></script>",
    '<iframe srcdoc="<b>x</b>">',
    "</title><b>&amp;",
    "line\nbreak\r\ttab",
    "\x1b[31mred\x1b[0m\x9b31m\x07",
    "**bold** `code` $x$ [a](javascript:alert(1))",
    "Гены 遺伝子 é ß 👾",
    "right\u202eto left\u2028line",
)
PERTURBATIONS = ("BRCA1", "CHEK2", "MDM2", "RPL5", "TP53", "XRCC1")
CONTROL = "non-targeting"
_generator = np.random.default_rng(7)
LABELS = tuple(_generator.permutation([*PERTURBATIONS * 3, *[CONTROL] * 8]).tolist())
N_ROWS = len(LABELS)
ROWS = tuple(f"well-{number:02}" for number in _generator.permutation(N_ROWS))
# Four decimals survive every text format; half of the values are zero, so that CSR differs from dense.
RAW = np.round(_generator.normal(size=(N_ROWS, 5)) * _generator.integers(0, 2, (N_ROWS, 5)), 4).astype(np.float32)
LATENT = np.round(_generator.normal(size=(N_ROWS, 3)), 4).astype(np.float32)
MATRICES: Mapping[str, npt.NDArray[np.float32]] = {"raw": RAW, "scaled": 2 * RAW, "latent": LATENT}
SHUFFLED = _generator.permutation(N_ROWS)

STORED_FORMATS = ("dense.h5ad", "csr.h5ad", "dense.zarr", "csr.zarr", "v3.zarr")
TABLE_FORMATS = ("parquet", "csv", "csv.gz", "tsv", "tsv.gz")
FORMATS = (*STORED_FORMATS, *TABLE_FORMATS, "npy")

CARD: Mapping[str, Any] = {
    "title": "Toy",
    "license": "CC0",
    "citation": "none",
    "roles": {"perturbation": "gene", "control": CONTROL, "batch": "plate"},
    "contexts": {"cells": {"rows": "rows.parquet", "cell_system": "toy cells"}},
    "representations": {
        "raw": {"kind": "simple", "source": "X"},
        "latent": {"kind": "learned", "source": "latent_{context}.parquet"},
    },
}


def observations() -> pl.DataFrame:
    return pl.DataFrame(
        {"row": ROWS, "gene": LABELS, "plate": [f"p{number % 2}" for number in range(N_ROWS)]},
    )


def toml_of(values: Mapping[str, Any], prefix: str = "") -> str:
    """Write nested tables as TOML; lists of tables as [[name]]."""
    own, below = [], []
    for key, value in values.items():
        name = key if key.isidentifier() and key.isascii() else _toml_value(key)
        if isinstance(value, Mapping):
            below.append(f"[{prefix}{name}]\n{toml_of(value, f'{prefix}{name}.')}")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            below += [f"[[{prefix}{name}]]\n{toml_of(entry)}" for entry in value]
        else:
            own.append(f"{name} = {_toml_value(value)}\n")
    return "".join(own) + "".join(below)


def _toml_value(value: object) -> str:
    # A JSON string is a TOML string but for the delete character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def changed(card: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a card with dotted keys set; None removes a key."""
    new = copy.deepcopy(dict(card))
    for dotted, value in changes.items():
        *parents, last = dotted.split("/")
        table = new
        for parent in parents:
            table = table.setdefault(parent, {})
        if value is None:
            table.pop(last, None)
        else:
            table[last] = value
    return new


def write_card(folder: Path, changes: Mapping[str, Any] | None = None, *, card: Mapping[str, Any] = CARD) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "card.toml").write_text(toml_of(changed(card, changes or {})), encoding="utf-8")
    return folder


def write_dataset(folder: Path, changes: Mapping[str, Any] | None = None) -> Path:
    """Write the toy as parquet files with a card, some of whose keys are changed ("roles/batch")."""
    write_card(folder, changes)
    write_table(folder / "rows.parquet", feature_table(observations(), RAW))
    write_table(folder / "latent_cells.parquet", feature_table(observations().select("row"), LATENT))
    return folder


def write_two_datasets(root: Path) -> Path:
    """Write a catalog of two datasets, ``one`` and ``two``."""
    for name in ("one", "two"):
        write_dataset(root / name)
    return root


def write_format(folder: Path, form: str, *, shuffle: bool = False) -> Path:
    """Write the toy in one format; with `shuffle`, representations in files of their own are in another order."""
    order = SHUFFLED if shuffle else np.arange(N_ROWS)
    if form in STORED_FORMATS:
        ending = form.split(".")[1]
        sources = {"raw": "X", "scaled": "layers/scaled", "latent": "obsm/latent"}
        write_anndata(folder / f"rows.{ending}", toy_anndata(csr=form.startswith("csr")), v3=form.startswith("v3"))
        rows = f"rows.{ending}"
    elif form == "npy":
        sources = {name: f"{name}.npy" for name in MATRICES}
        rows = "rows.parquet"
        folder.mkdir(parents=True, exist_ok=True)
        write_table(folder / rows, observations())
        for name, values in MATRICES.items():
            np.save(folder / f"{name}.npy", values)
    else:
        rows = f"rows.{form}"
        sources = {"raw": "X", "scaled": f"scaled_{{context}}.{form}", "latent": f"latent_{{context}}.{form}"}
        folder.mkdir(parents=True, exist_ok=True)
        write_table(folder / rows, feature_table(observations(), RAW))
        for name in ("scaled", "latent"):
            table = feature_table(observations().select("row"), MATRICES[name])
            write_table(folder / f"{name}_cells.{form}", table[order])
    kinds = {"raw": "simple", "scaled": "simple", "latent": "learned"}
    representations = {name: {"kind": kinds[name], "source": source} for name, source in sources.items()}
    return write_card(folder, {"contexts/cells/rows": rows, "representations": representations})


def feature_table(metadata: pl.DataFrame, values: npt.NDArray[np.float32]) -> pl.DataFrame:
    return metadata.hstack([pl.Series(f"feature_{number}", values[:, number]) for number in range(values.shape[1])])


def write_table(path: Path, table: pl.DataFrame) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        table.write_parquet(path)
        return path
    text = table.write_csv(separator="," if ".csv" in path.name else "\t")
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


def toy_anndata(*, csr: bool = False, obs: pd.DataFrame | None = None) -> anndata.AnnData:
    store = sparse.csr_matrix if csr else np.array
    table = observations()
    frame = pd.DataFrame(
        {"gene": pd.Categorical(table["gene"].to_list()), "plate": table["plate"].to_list()}, index=list(ROWS)
    )
    return anndata.AnnData(
        X=store(RAW),
        obs=frame if obs is None else obs,
        layers={"scaled": store(2 * RAW)},
        obsm={"latent": store(LATENT)},
    )


def write_anndata(path: Path, adata: anndata.AnnData, *, v3: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    # What the writers and their settings warn of is theirs.
    with warnings.catch_warnings(action="ignore"), anndata.settings.override(zarr_write_format=3 if v3 else 2):
        if path.suffix == ".zarr":
            adata.write_zarr(path)
        else:
            adata.write_h5ad(path)
    return path


@contextmanager
def edited(path: Path) -> Iterator[h5py.File]:
    """Open an h5ad file to damage it."""
    with h5py.File(path, "r+") as file:
        yield file


def screen_of(path: Path) -> Screen:
    return load_screen(load_dataset(path))
