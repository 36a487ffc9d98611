"""Rebuild every file of ``demo_data/perturbseq`` and ``demo_data/perturbseq_truth``: nothing is downloaded.

Run it from anywhere, in an environment with torch 2.13 (CPU) and scvi-tools 1.4, which
``pip install '.[learn]'`` gives::

    python demo_data/perturbseq/make.py

It takes about a quarter of an hour on one core, nearly all of it twelve trainings of scVI (``learned.py``).
``seeds.py`` repeats the whole on new simulations; its ``seeds.json`` is read here, for the card, and not rebuilt.
"""

from __future__ import annotations

import gzip
import json
import platform
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import card
import layouts
import numpy as np
import numpy.typing as npt
import polars as pl
import representations
from representations import SCVI

from explorer.simulate import ScreenDesign, SimulatedScreen, simulate_screen

HERE = Path(__file__).parent
TRUTH = HERE.parent / "perturbseq_truth"
LIBRARIES = ("numpy", "scipy", "polars", "anndata", "torch", "scvi-tools", "lightning")


def main() -> None:
    """Rebuild both folders."""
    design = ScreenDesign()
    figures: dict[str, object] = {}
    for number, context in enumerate(design.contexts):
        simulated = simulate_screen(design, context=context)
        made = representations.make_simple(simulated)
        latents, held_out = representations.make_learned(simulated, tuple(SCVI))
        made |= latents | representations.make_placebos(simulated, latents["scvi"], seed=10 * number)
        small = {name: representations.rounded(values, name) for name, values in made.items()}
        write_cells(simulated, small, HERE / f"cells_{context}.h5ad")
        screen = representations.screen_of(simulated, small)
        figures[context] = {
            "cells": simulated.cells.height,
            "active": int(simulated.truth["active"].sum()),
            "held_out_loss": held_out,
            "seed_overlap": representations.seed_overlap(screen),
            "scores": representations.score(screen, simulated),
        }
        sys.stderr.write(f"{context}: {figures[context]}\n")
    write_truth(simulated.truth, TRUTH)
    figures["versions"] = {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}
    (HERE / card.FIGURES).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    card.write_cards(HERE, TRUTH)
    layouts.write_layouts(HERE)


def write_cells(simulated: SimulatedScreen, made: dict[str, npt.NDArray[np.float16]], path: Path) -> None:
    """Write the cells of one context as AnnData: counts in ``X``, representations in ``obsm``."""
    import anndata
    import h5py
    import pandas as pd

    cells = simulated.cells
    # Whether a guide escaped is truth, which no experiment would know: it stays out.
    obs = pd.DataFrame(
        {name: pd.Categorical(cells[name].to_list()) for name in ("perturbation", "guide", "batch")},
        index=pd.Index(cells["cell"].to_list(), dtype=object),
    )
    data = anndata.AnnData(
        X=simulated.counts,
        obs=obs,
        var=pd.DataFrame(index=pd.Index(simulated.genes, dtype=object)),
        obsm={representations.key_of(name): values for name, values in made.items()},
    )
    with warnings.catch_warnings(), h5py.File(path, "w") as file:
        # Which zarr format anndata will write next year is no concern of an h5ad file.
        warnings.filterwarnings("ignore", message=".*zarr.*")
        # Shuffled bytes pack a third smaller: small whole numbers are mostly zero bytes.
        packing = {"compression": "gzip", "compression_opts": 9, "shuffle": True}
        anndata.io.write_elem(file, "/", data, dataset_kwargs=packing)


def write_truth(truth: pl.DataFrame, folder: Path) -> None:
    """Write the planted modules as known pairs, and all that was planted as sets."""
    folder.mkdir(exist_ok=True)
    members = truth.drop_nulls("module").select("perturbation", "module")
    pairs = members.join(members, on="module", suffix="_b").filter(pl.col("perturbation") < pl.col("perturbation_b"))
    pairs = pairs.select(a="perturbation", b="perturbation_b").sort("a", "b")
    pairs.write_parquet(folder / "modules.parquet", compression_level=19)

    sets: dict[str, list[str]] = {}
    for column in ("module", "super_module"):
        for key, lines in truth.drop_nulls(column).sort(column).group_by(column, maintain_order=True):
            only = lines["only_in"].unique().to_list() if column == "module" else [None]
            note = f" (acts in {only[0].replace('_', ' ')} only)" if only[0] else ""
            sets[f"{key[0]}{note}"] = lines["perturbation"].sort().to_list()
    in_no_module = truth.filter(pl.col("module").is_null())
    stressed = pl.col("stress") > 0
    sets["stress axis"] = truth.filter(stressed)["perturbation"].to_list()
    sets["stress axis and nothing else"] = in_no_module.filter(stressed)["perturbation"].to_list()
    sets["no effect"] = in_no_module.filter(~stressed)["perturbation"].to_list()
    lines_of_text = ["\t".join([name, "planted", *names]) for name, names in sets.items()]
    # No time stamp, so the same sets make the same bytes.
    text = "\n".join(lines_of_text) + "\n"
    (folder / "truth.gmt.gz").write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))


if __name__ == "__main__":
    main()
