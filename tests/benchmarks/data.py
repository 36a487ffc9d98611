"""Simulated screens for the benchmarks, written once and read by both sides; needs numpy alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

CONTROL = "control"
# Files of pairs, by number.
SOURCE = "known-{}"
_BLOCK_ROWS = 100_000


def write_rows(folder: Path, size: Mapping[str, int]) -> None:
    """Write rows of a screen: values, perturbation (−1 for controls) and batch of each.

    `size` has rows, features, perturbations, batches, batches_each (in how many a perturbation stands) and
    controls_percent. Batches shift and stretch their rows; perturbations have effects.
    """
    rng = np.random.default_rng(0)
    n, n_perturbations, n_batches = size["rows"], size["perturbations"], size["batches"]
    perturbation = rng.integers(0, n_perturbations, size=n, dtype=np.int32)
    batch = ((perturbation + rng.integers(0, size["batches_each"], size=n)) % n_batches).astype(np.int32)
    control = rng.random(n) < size["controls_percent"] / 100
    perturbation[control] = -1
    batch[control] = np.arange(int(control.sum())) % n_batches
    shape = (size["features"],)
    shift = rng.normal(size=(n_batches, *shape)).astype(np.float32)
    stretch = rng.uniform(0.5, 2, size=(n_batches, *shape)).astype(np.float32)
    effect = rng.normal(size=(n_perturbations + 1, *shape)).astype(np.float32)
    # Number −1, the controls, is the last.
    effect[-1] = 0
    values = np.lib.format.open_memmap(folder / "values.npy", mode="w+", dtype=np.float32, shape=(n, *shape))
    for start in range(0, n, _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        noise = rng.standard_normal((len(perturbation[rows]), *shape), dtype=np.float32)
        values[rows] = (effect[perturbation[rows]] + noise) * stretch[batch[rows]] + shift[batch[rows]]
    values.flush()
    np.save(folder / "perturbation.npy", perturbation)
    np.save(folder / "batch.npy", batch)


def write_h5ad(folder: Path, size: Mapping[str, int]) -> None:
    """Write the same as one h5ad file."""
    import h5py

    write_rows(folder, size)
    _, labels, batches = read_rows(folder, 0)
    with h5py.File(folder / "rows.h5ad", "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        values = np.load(folder / "values.npy", mmap_mode="r")
        stored = file.create_dataset("X", values.shape, "f4")
        stored.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        for start in range(0, len(values), _BLOCK_ROWS):
            stored[start : start + _BLOCK_ROWS] = values[start : start + _BLOCK_ROWS]
        obs = file.create_group("obs")
        text = h5py.string_dtype()
        obs.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "_index"})
        obs.attrs.create("column-order", ["perturbation", "batch"], dtype=text)
        columns = {"_index": np.arange(len(values)).astype(str).astype(object)}
        for name, column in columns.items():
            made = obs.create_dataset(name, data=column, dtype=text)
            made.attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
        for name, column in (("perturbation", labels), ("batch", batches)):
            categories, codes = np.unique(column, return_inverse=True)
            group = obs.create_group(name)
            group.attrs.update({"encoding-type": "categorical", "encoding-version": "0.2.0", "ordered": False})
            made = group.create_dataset("categories", data=categories.astype(object), dtype=text)
            made.attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
            made = group.create_dataset("codes", data=codes.astype(np.int32))
            made.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        var = file.create_group("var")
        var.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "_index"})
        var.attrs.create("column-order", [], dtype=text)
        names = [f"f{number}" for number in range(values.shape[1])]
        made = var.create_dataset("_index", data=names, dtype=text)
        made.attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})


def read_rows(folder: Path, n_rows: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any], npt.NDArray[Any]]:
    """Read the first rows into memory: values, and the names of their perturbations and batches (of all with 0)."""
    stop = n_rows or None
    stored = np.load(folder / "values.npy", mmap_mode="r")
    perturbation, batch = (np.load(folder / f"{name}.npy")[:stop] for name in ("perturbation", "batch"))
    names = np.array([*(f"P{number:06d}" for number in range(int(perturbation.max(initial=0)) + 1)), CONTROL])
    batches = np.array([f"b{number:04d}" for number in range(int(batch.max(initial=0)) + 1)])
    return np.array(stored[:n_rows]), names[perturbation], batches[batch]


def write_profiles(folder: Path, size: Mapping[str, int]) -> None:
    """Write profiles with a few strong clusters, so that neighbours are not all alike."""
    rng = np.random.default_rng(1)
    n, n_features = size["rows"], size["features"]
    centres = rng.normal(size=(max(4, n // 40), n_features)).astype(np.float32)
    profiles = rng.standard_normal((n, n_features), dtype=np.float32)
    profiles += 0.5 * centres[rng.integers(len(centres), size=n)]
    np.save(folder / "profiles.npy", profiles)


def read_profiles(folder: Path, n: int) -> npt.NDArray[np.float32]:
    """Read the first profiles into memory."""
    return np.array(np.load(folder / "profiles.npy", mmap_mode="r")[:n])


def write_known(folder: Path, size: Mapping[str, int]) -> None:
    """Write profiles in clusters of 40, and sources of pairs, some of them within a cluster.

    As in published files, some pairs are listed both ways, and some are of a perturbation and itself.
    """
    rng = np.random.default_rng(3)
    n, n_features = size["rows"], size["features"]
    centres = rng.normal(size=(-(-n // 40), n_features)).astype(np.float32)
    profiles = rng.standard_normal((n, n_features), dtype=np.float32)
    profiles += 0.5 * centres[np.arange(n) // 40]
    np.save(folder / "profiles.npy", profiles)
    for source in range(size["sources"]):
        first = rng.integers(n, size=size["pairs"])
        second = (first + rng.integers(0, 120, size=len(first))) % n
        both_ways = len(first) // 4
        columns = (np.r_[first, second[:both_ways]], np.r_[second, first[:both_ways]])
        lines = (f"P{one:06d},P{other:06d}\n" for one, other in zip(*(part.tolist() for part in columns), strict=True))
        (folder / f"{SOURCE.format(source)}.txt").write_text("entity1,entity2\n" + "".join(lines), encoding="ascii")


def write_replicates(folder: Path, size: Mapping[str, int]) -> None:
    """Write replicates of perturbations of different strength, in order of their names."""
    rng = np.random.default_rng(2)
    n, each, n_features = size["perturbations"], size["replicates"], size["features"]
    strength = rng.uniform(0, 0.6, size=(n, 1, 1))
    effect = rng.normal(size=(n, 1, n_features))
    values = strength * effect + rng.normal(size=(n, each, n_features))
    np.save(folder / "replicates.npy", values.reshape(n * each, n_features).astype(np.float32))


def read_replicates(folder: Path, size: Mapping[str, int]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Read values, and the number of each one's perturbation."""
    n = size["perturbations"] * size["replicates"]
    values = np.array(np.load(folder / "replicates.npy", mmap_mode="r")[:n])
    return values, np.repeat(np.arange(size["perturbations"]), size["replicates"])


def read_groups(folder: Path, size: Mapping[str, int]) -> tuple[npt.NDArray[np.float64], list[npt.NDArray[np.float64]]]:
    """Split replicates into a control group of ten times the rows, and the perturbed groups."""
    values, _ = read_replicates(folder, size)
    groups = values.astype(np.float64).reshape(size["perturbations"], size["replicates"], -1)
    return groups[:10].reshape(-1, groups.shape[2]), list(groups[10:])
