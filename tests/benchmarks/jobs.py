"""The benchmarks: which actions stand against each other, on what, and what must agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from data import write_h5ad, write_known, write_profiles, write_replicates, write_rows

Answers = Mapping[str, Any]
Size = Mapping[str, int]


@dataclass(frozen=True)
class Agreement:
    """One comparison of ours with another side's answer; holds where the value is no larger than allowed."""

    against: str
    what: str
    value: float
    most: float

    @property
    def holds(self) -> bool:
        """Whether they agree; what can't be compared does not."""
        return bool(self.value <= self.most)


@dataclass(frozen=True)
class Goal:
    """What ours must reach at the full size, or at another one."""

    kind: Literal["faster than", "within", "less memory than", "seconds", "extra MB"]
    value: float
    side: str = ""
    at: int | None = None

    @property
    def sentence(self) -> str:
        """The goal in words."""
        words = {
            "faster than": f"≥ {self.value:g} × faster than {self.side}",
            "within": f"≤ {self.value:g} × {self.side}",
            "less memory than": f"extra memory ≤ 1/{self.value:g} of {self.side}",
            "seconds": f"≤ {1000 * self.value:g} ms",
            "extra MB": f"extra memory < {self.value:g} MB",
        }[self.kind]
        return words if self.at is None else f"{words}, at {self.at:,}"


@dataclass(frozen=True)
class Side:
    """Another side of a benchmark.

    `action` is a key of ACTIONS in `peers.py`, or in `ours.py` for a limit of the machine; `largest` leaves it out of
    larger sizes; `check` compares its answers with ours.
    """

    name: str
    action: str
    check: Callable[[Answers, Answers], dict[str, tuple[float, float]]] | None = None
    limit: bool = False
    largest: int | None = None


@dataclass(frozen=True)
class Job:
    """One benchmark: ours, at several sizes, against other sides.

    `grows` is the key of the size that varies; `per` divides it for further keys (batches: 1,000 rows each). Data
    are written once and the smaller sizes read their beginning, except with `own_data`.
    """

    name: str
    title: str
    action: str
    sides: tuple[Side, ...]
    grows: str = "rows"
    values: tuple[int, ...] = ()
    quick: tuple[int, ...] = ()
    fixed: Mapping[str, int] = field(default_factory=dict)
    quick_fixed: Mapping[str, int] = field(default_factory=dict)
    write: Callable[[Path, Size], None] | None = None
    own_data: bool = False
    per: Mapping[str, int] = field(default_factory=dict)
    goals: tuple[Goal, ...] = ()
    note: str = ""

    def sizes(self, *, quick: bool) -> list[dict[str, int]]:
        """Sizes from the smallest to the largest."""
        values = self.quick if quick else self.values
        fixed = {**self.fixed, **(self.quick_fixed if quick else {})}
        return [
            {**fixed, self.grows: value} | {name: value // each for name, each in self.per.items()} for value in values
        ] or [{}]

    def data_size(self, size: Size, *, quick: bool) -> dict[str, int]:
        """Size of the data that one size reads."""
        return dict(size) if self.own_data else self.sizes(quick=quick)[-1]


def _largest(one: Any, other: Any) -> float:
    one, other = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    return float(np.abs(one - other).max()) if one.shape == other.shape else float("nan")


def same_profiles(ours: Answers, theirs: Answers) -> dict[str, tuple[float, float]]:
    """Compare aligned profiles, number by number, and the names they stand under."""
    different = float(list(ours["names"]) != list(theirs["names"]))
    return {
        "names that differ": (different, 0),
        "largest difference of a profile": (_largest(ours["profiles"], theirs["profiles"]), 1e-4),
    }


def same_means(ours: Answers, theirs: Answers) -> dict[str, tuple[float, float]]:
    """Compare means without alignment."""
    return {"largest difference of a mean, unaligned": (_largest(ours["plain"], theirs["plain"]), 1e-4)}


def same_cosines(ours: Answers, theirs: Answers) -> dict[str, tuple[float, float]]:
    """Compare cosines, since a rotation of the space is free."""

    def cosines(answers: Answers) -> Any:
        rows = np.asarray(answers["profiles"], dtype=float)[:500]
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return rows @ rows.T

    return {"largest difference of a cosine": (_largest(cosines(ours), cosines(theirs)), 5e-3)}


def same_neighbors(ours: Answers, theirs: Answers) -> dict[str, tuple[float, float]]:
    """Compare neighbours as sets, and their similarities in order."""
    shared = [len(set(one) & set(other)) for one, other in zip(ours["rows"], theirs["rows"], strict=True)]
    return {
        "share of neighbours that differ": (1 - float(np.mean(shared)) / len(ours["rows"][0]), 1e-4),
        **same_similarities(ours, theirs),
    }


def same_similarities(ours: Answers, theirs: Answers) -> dict[str, tuple[float, float]]:
    """Compare similarities, nearest first."""
    return {"largest difference of a cosine": (_largest(ours["similarities"], theirs["similarities"]), 1e-5)}


def same_recall(ours: Answers, theirs: Answers) -> dict[str, tuple[float, float]]:
    """Compare recalls, which must not differ at all, and the numbers of pairs."""
    return {
        "largest difference of a recall": (_largest(ours["recall"], theirs["recall"]), 0),
        "largest difference of a number of pairs": (_largest(ours["pairs"], theirs["pairs"]), 0),
    }


def same_consistency(ours: Answers, theirs: Answers) -> dict[str, tuple[float, float]]:
    """Compare mean cosines; and p, after EFAAR's is made add-one."""
    n_null = int(ours["n_null"])
    add_one = (np.asarray(theirs["p"], dtype=float) * n_null + 1) / (n_null + 1)
    return {
        "largest difference of a consistency": (_largest(ours["consistency"], theirs["consistency"]), 1e-5),
        "largest difference of a p, in steps": (_largest(ours["p"], add_one) * (n_null + 1), 1.5),
    }


def same_precision(ours: Answers, theirs: Answers) -> dict[str, tuple[float, float]]:
    """Compare average precisions: float32 and ties apart, they are the same numbers."""
    differences = np.abs(np.asarray(ours["average_precision"]) - np.asarray(theirs["average_precision"]))
    return {"difference of an average precision, 99th percentile": (float(np.quantile(differences, 0.99)), 1e-4)}


def same_distances(ours: Answers, theirs: Answers) -> dict[str, tuple[float, float]]:
    """Compare energy distances, both as U-statistics; and check that pertpy's own is the V-statistic."""
    gap = np.asarray(theirs["v_statistic"], dtype=float) - np.asarray(theirs["distance"], dtype=float)
    return {
        "largest difference of a U-statistic": (_largest(ours["distance"], theirs["distance"]), 1e-6),
        "V-statistics below the U-statistic": (float((gap <= 0).sum()), 0),
    }


def same_p(ours: Answers, theirs: Answers) -> dict[str, tuple[float, float]]:
    """Compare p of independent permutations: within what 300 of them leave open."""
    return {"largest difference of a p": (_largest(ours["p"], theirs["p"]), 0.2)}


ROWS = {"features": 128, "perturbations": 10_000, "batches": 5, "batches_each": 5, "controls_percent": 5}
MANY = ROWS | {"batches": 200, "batches_each": 4}
FEW = {"perturbations": 500}
JOBS = (
    Job(
        "aggregate",
        "centre-scale by batch and aggregate, in memory: rows × 128, 5 batches",
        "aggregate",
        (
            Side("EFAAR", "aggregate_efaar", same_profiles),
            Side("scanpy aggregate (no alignment)", "aggregate_scanpy", same_means),
            Side("polars (no alignment)", "aggregate_polars", same_means),
            Side("pandas (no alignment)", "aggregate_pandas", same_means),
        ),
        values=(200_000, 650_000, 2_000_000),
        quick=(20_000, 50_000, 100_000),
        fixed=ROWS,
        quick_fixed=FEW,
        write=write_rows,
        goals=(
            Goal("faster than", 50, "EFAAR"),
            Goal("faster than", 20, "scanpy aggregate (no alignment)"),
            Goal("extra MB", 100),
        ),
    ),
    Job(
        "aggregate-many-batches",
        "the same with 200 batches, every perturbation in 4 of them",
        "aggregate",
        (Side("scanpy aggregate (no alignment)", "aggregate_scanpy", same_means),),
        values=(200_000, 650_000, 2_000_000),
        quick=(20_000, 50_000, 100_000),
        fixed=MANY,
        quick_fixed=FEW | {"batches": 20},
        write=write_rows,
    ),
    Job(
        "stream",
        "the same from an h5ad file: rows × 128, 5 batches",
        "stream",
        (
            Side("backed anndata (no alignment)", "stream_anndata", same_means),
            Side("h5py read of the file", "read_file", limit=True),
        ),
        values=(200_000, 650_000, 2_000_000),
        quick=(20_000, 50_000, 100_000),
        fixed=ROWS,
        quick_fixed=FEW,
        write=write_h5ad,
        own_data=True,
        goals=(
            Goal("faster than", 5, "backed anndata (no alignment)"),
            Goal("within", 3, "h5py read of the file"),
            Goal("extra MB", 100),
        ),
    ),
    Job(
        "build",
        "explorer build of an h5ad file, a process of its own: rows × 128, activity judged, map written",
        "build",
        (Side("h5py read of the file", "read_file", limit=True),),
        values=(200_000, 650_000, 2_000_000),
        quick=(20_000, 50_000, 100_000),
        fixed=ROWS,
        quick_fixed=FEW,
        write=write_h5ad,
        own_data=True,
        note="wall time includes the start of Python; memory is what the command adds after its imports",
    ),
    Job(
        "tvn",
        "TVN with CORAL and aggregate: rows × 128, 2,000 perturbations, a batch for every 1,000 rows",
        "tvn",
        (Side("EFAAR", "tvn_efaar", same_cosines),),
        values=(50_000, 100_000, 200_000),
        quick=(5_000, 10_000, 20_000),
        fixed=MANY | {"perturbations": 2_000, "controls_percent": 20},
        per={"batches": 1_000},
        write=write_rows,
        own_data=True,
        goals=(Goal("faster than", 25, "EFAAR"),),
        note="EFAAR begins with a global scaling: for the agreement each batch is centre-scaled first, by its own "
        "function; its covariance of a batch has ddof = 1",
    ),
    Job(
        "knn",
        "exact neighbours of all, k = 50: rows × 128",
        "knn",
        (Side("scikit-learn", "knn_sklearn", same_neighbors), Side("the float32 product alone", "gemm", limit=True)),
        values=(5_000, 10_000, 20_000),
        quick=(2_000, 4_000, 9_000),
        fixed={"features": 128, "k": 50},
        write=write_profiles,
        goals=(Goal("within", 2, "the float32 product alone"), Goal("faster than", 5, "scikit-learn")),
    ),
    Job(
        "click",
        "one query (a click), k = 50: rows × 512",
        "query",
        (
            Side("scikit-learn", "query_sklearn", same_similarities),
            Side("EFAAR (n × n cosines)", "query_efaar", same_similarities, largest=10_000),
        ),
        values=(10_000, 30_000, 100_000),
        quick=(1_000, 3_000, 9_000),
        fixed={"features": 512, "k": 50},
        write=write_profiles,
        goals=(Goal("seconds", 0.015),),
    ),
    Job(
        "consistency",
        "replicate consistency with null: perturbations × 20 cells × 128",
        "consistency",
        (Side("EFAAR", "consistency_efaar", same_consistency),),
        grows="perturbations",
        values=(2_000, 5_000, 10_000),
        quick=(200, 400, 800),
        fixed={"features": 128, "replicates": 20},
        write=write_replicates,
        goals=(Goal("faster than", 200, "EFAAR"),),
        note="EFAAR in one process; the null are the first tenth of the perturbations",
    ),
    Job(
        "replicate-map",
        "average precision of replicates among all others: perturbations × 6 × 512",
        "replicate_map",
        (Side("copairs", "replicate_map_copairs", same_precision),),
        grows="perturbations",
        values=(250, 500, 1_000),
        quick=(50, 100, 200),
        fixed={"features": 512, "replicates": 6},
        write=write_replicates,
        goals=(Goal("faster than", 100, "copairs"),),
    ),
    Job(
        "energy",
        "energy distance of 20 groups from 10 times as many controls: rows of a group × 50",
        "energy",
        (Side("pertpy", "energy_pertpy", same_distances),),
        grows="replicates",
        own_data=True,
        values=(15, 30, 60),
        quick=(10, 15, 30),
        fixed={"features": 50, "perturbations": 30},
        write=write_replicates,
        goals=(Goal("faster than", 8, "pertpy"),),
        note="pertpy reports the V-statistic; the U-statistic compared is made of its own mean pairwise distances",
    ),
    Job(
        "energy-permuted",
        "E-test of 20 groups of 30 against 300 controls: permutations",
        "energy_permuted",
        (Side("pertpy", "energy_permuted_pertpy", same_p),),
        grows="permutations",
        values=(300, 600, 1_000),
        quick=(300, 400, 500),
        fixed={"features": 50, "perturbations": 30, "replicates": 30},
        write=write_replicates,
        goals=(Goal("faster than", 80, "pertpy"),),
        note="pertpy permutes the V-statistic, whose p differs; compared is p of the U-statistic from a plain loop of "
        "300 permutations, within chance",
    ),
    Job(
        "recall",
        "known-relationship recall, 5 sources read from files: perturbations × 128",
        "known_recall",
        (Side("EFAAR", "known_recall_efaar", same_recall),),
        values=(5_000, 10_000, 20_000),
        quick=(2_000, 5_000, 10_000),
        fixed={"features": 128, "sources": 5, "pairs": 60_000},
        write=write_known,
        own_data=True,
        goals=(
            Goal("faster than", 20, "EFAAR", at=10_000),
            Goal("faster than", 30, "EFAAR"),
            Goal("less memory than", 15, "EFAAR", at=10_000),
            Goal("less memory than", 15, "EFAAR"),
        ),
        note="one pair of tails, 5 % and 95 %, where EFAAR's default is two",
    ),
    Job(
        "start",
        "start of Python, the app's imports and its first answer on the demo data",
        "start",
        (Side("importing scanpy and umap", "start_scanpy"),),
        goals=(Goal("faster than", 4, "importing scanpy and umap"),),
    ),
)
