"""What this project does in each benchmark, and the limits of the machine that it is held against."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from data import CONTROL, SOURCE, read_groups, read_profiles, read_replicates, read_rows
from worker import Action, Prepared, run_child

PROJECT = Path(__file__).parents[2]
Size = Mapping[str, int]


def _screen(folder: Path, size: Size) -> Any:
    from explorer.screen import Screen

    values, perturbation, batch = read_rows(folder, size["rows"])
    return Screen.from_arrays(
        perturbation.tolist(), {"raw": values}, control=(CONTROL,), batch=batch.tolist(), replicates=True
    )


def _profiles_of(made: Any) -> dict[str, Any]:
    return {"profiles": made.profiles, "names": np.array(made.names)}


def aggregate(folder: Path, size: Size) -> Prepared:
    """Centre-scale and aggregate rows in memory."""
    from explorer.aggregate import build_map

    screen = _screen(folder, size)

    def answers(made: Any) -> dict[str, Any]:
        return _profiles_of(made) | {"plain": build_map(screen, "raw").profiles}

    return lambda: build_map(screen, "raw", alignment="center-scale"), answers


def stream(folder: Path, size: Size) -> Prepared:
    """Centre-scale and aggregate rows from an h5ad file."""
    from explorer.aggregate import build_map
    from explorer.load import load_dataset, load_screen

    roles = {"perturbation": "perturbation", "batch": "batch", "control": (CONTROL,)}

    def run(alignment: str = "center-scale") -> Any:
        screen = load_screen(load_dataset(folder / "rows.h5ad", roles=roles))
        return build_map(screen, next(iter(screen.representations)), alignment=alignment)

    return run, lambda made: _profiles_of(made) | {"plain": run("none").profiles}


def read_file(folder: Path, size: Size) -> Prepared:
    """Read the same file with h5py and do nothing."""
    import h5py

    def run() -> float:
        total = 0.0
        with h5py.File(folder / "rows.h5ad", "r") as file:
            stored = file["X"]
            block = np.empty((max(1, 2**23 // (4 * stored.shape[1])), stored.shape[1]), dtype=np.float32)
            for start in range(0, len(stored), len(block)):
                part = block[: min(len(block), len(stored) - start)]
                stored.read_direct(part, np.s_[start : start + len(part)])
                total += float(part[0, 0])
        return total

    return run, lambda total: {"total": total}


def tvn(folder: Path, size: Size) -> Prepared:
    """Typical variation normalisation with CORAL, and aggregate."""
    from explorer.aggregate import build_map

    screen = _screen(folder, size)
    return lambda: build_map(screen, "raw", alignment="tvn"), _profiles_of


def _map(profiles: Any) -> Any:
    import polars as pl

    from explorer.aggregate import PerturbationMap, Recipe

    names = tuple(f"P{number:06d}" for number in range(len(profiles)))
    ones = [1] * len(names)
    table = pl.DataFrame({"perturbation": names, "n_rows": ones, "n_guides": ones, "n_batches": ones})
    return PerturbationMap(names, profiles, table, Recipe("d", "all", "raw", "simple", source="s", rows="r"))


def knn(folder: Path, size: Size) -> Prepared:
    """Exact neighbours of all perturbations."""
    from explorer.relate import neighborhoods

    made = _map(read_profiles(folder, size["rows"]))
    return (
        lambda: neighborhoods(made, k=size["k"]),
        lambda found: {"rows": found.rows, "similarities": found.similarities},
    )


def gemm(folder: Path, size: Size) -> Prepared:
    """Multiply the same unit vectors, a block at a time, and keep nothing."""
    profiles = read_profiles(folder, size["rows"])
    unit = profiles / np.linalg.norm(profiles, axis=1, keepdims=True)
    block = np.empty((max(1, 2**24 // len(unit)), len(unit)), dtype=np.float32)

    def run() -> None:
        for start in range(0, len(unit), len(block)):
            part = unit[start : start + len(block)]
            np.matmul(part, unit.T, out=block[: len(part)])

    return run, lambda _: {}


def query(folder: Path, size: Size) -> Prepared:
    """Answer one question: rank all perturbations and take the first k."""
    from explorer import kernels
    from explorer.relate import prepare_queries, rank_all

    made = _map(read_profiles(folder, size["rows"]))
    prepare_queries(made)
    if made.profiles.size >= 2**23:
        kernels.compiled()
    return lambda: rank_all(made, made.names[7]).nearest(size["k"]), lambda found: {"similarities": found.similarities}


def consistency(folder: Path, size: Size) -> Prepared:
    """Mean cosine of the pairs of replicates of every perturbation, with p from perturbations without effect."""
    from explorer.replicates import pair_consistency
    from explorer.retrieval import unit_vectors

    values, owner = read_replicates(folder, size)
    n_null = size["perturbations"] // 10

    def run() -> tuple[Any, Any]:
        found = pair_consistency(unit_vectors(values), np.ones(len(values), dtype=np.int64), owner)
        null = np.sort(found[:n_null])
        return found, (1 + n_null - np.searchsorted(null, found[n_null:])) / (1 + n_null)

    return run, lambda found: {"consistency": found[0][n_null:], "p": found[1], "n_null": n_null}


def replicate_map(folder: Path, size: Size) -> Prepared:
    """Average precision with which each replicate finds its own kind among all others."""
    from explorer.retrieval import replicate_precision

    values, owner = read_replicates(folder, size)
    return (
        lambda: replicate_precision(values, owner, against="others"),
        lambda found: {"average_precision": found.average_precision},
    )


def energy(folder: Path, size: Size) -> Prepared:
    """Energy distance of every group from the controls."""
    from explorer.energy import energy_distances

    controls, groups = read_groups(folder, size)
    return lambda: energy_distances(groups, controls), lambda found: {"distance": found}


def energy_permuted(folder: Path, size: Size) -> Prepared:
    """Test every group against the controls by permutation."""
    from explorer.energy import energy_test

    controls, groups = read_groups(folder, size)
    return (
        lambda: [energy_test(group, controls, n_permutations=size["permutations"]) for group in groups],
        lambda found: {"p": [test.p for test in found], "distance": [test.distance for test in found]},
    )


def known_recall(folder: Path, size: Size) -> Prepared:
    """Read pairs from files and measure how many lie in the tails of all cosines."""
    import polars as pl

    from explorer.known import KnownPairs
    from explorer.recall import relationship_recall

    made = _map(read_profiles(folder, size["rows"]))
    # As the packages that are compared with have it: pairs alone, no communities.
    n, labels = made.n_perturbations, pl.Enum(made.names)

    def look_up(source: str) -> KnownPairs:
        table = pl.read_csv(folder / f"{source}.txt")
        one, other = (
            table[column].cast(labels, strict=False).to_physical().cast(pl.Int64).fill_null(-1).to_numpy()
            for column in table.columns
        )
        low, high = np.minimum(one, other), np.maximum(one, other)
        pair = np.sort(low * n + high)
        pair = pair[(np.diff(pair, prepend=-1) > 0) & (pair >= 0) & (pair // n != pair % n)]
        return KnownPairs(source, made.names, pair // n, pair % n, {}, "given", 0)

    def run() -> Any:
        return relationship_recall(made, [look_up(SOURCE.format(source)) for source in range(size["sources"])])

    return run, lambda found: {"recall": [source.both for source in found], "pairs": [s.n_pairs for s in found]}


FIRST_ANSWER = """
import explorer
from explorer.catalog import open_catalog, shared_knowledge, shared_map
from explorer.view import check_query, read_view
catalog = open_catalog(sys.argv[1])
view, _ = read_view({}, catalog)
dataset = catalog.dataset(view.dataset)
left, right = (shared_map(dataset, view.context, side, alignment=view.align) for side in (view.left, view.right))
view, _ = check_query(view, left, right)
comparison = explorer.compare_query(left, right, view.query, k=view.k)
explorer.merged_table(comparison, knowledge=shared_knowledge(dataset))
import altair
said["query"] = view.query
"""


def start(folder: Path, size: Size) -> Prepared:
    """Start Python, import what the app imports, and answer the first question on the demo data."""
    demo = str(PROJECT / "demo_data" / "depmap")
    return (
        lambda: run_child(FIRST_ANSWER, demo, setup=f"sys.path.insert(0, {str(PROJECT)!r})"),
        lambda done: {"said": json.dumps(done.said)},
    )


def build(folder: Path, size: Size) -> Prepared:
    """Run ``explorer build`` on an h5ad file, in a process of its own."""
    arguments = [
        *("build", str(folder / "rows.h5ad"), "--representation", "X", "--align", "center-scale"),
        *("--out", str(folder / "map.h5ad"), "--perturbation", "perturbation"),
        *("--batch", "batch", "--control", CONTROL),
    ]
    setup = f"sys.path.insert(0, {str(PROJECT)!r})\nimport explorer\nfrom explorer.cli import main"
    # Anything but exit status 0 is a failure of this side.
    work = "if main(sys.argv[1:]): sys.exit(1)"
    return lambda: run_child(work, *arguments, setup=setup), lambda _: {}


ACTIONS: dict[str, Action] = {
    "aggregate": aggregate,
    "stream": stream,
    "read_file": read_file,
    "tvn": tvn,
    "knn": knn,
    "gemm": gemm,
    "query": query,
    "consistency": consistency,
    "replicate_map": replicate_map,
    "energy": energy,
    "energy_permuted": energy_permuted,
    "known_recall": known_recall,
    "start": start,
    "build": build,
}
