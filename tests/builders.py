"""Small screens and maps that the tests share."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.aggregate import PerturbationMap, Recipe
from explorer.screen import Representation, Screen

ALIGNED = ("center", "center-scale", "center-scale-robust", "tvn", "sphere")
CONTROL = "ctrl"


def names_of(n: int) -> tuple[str, ...]:
    return tuple(f"P{number:04d}" for number in range(n))


def map_of(
    profiles: npt.ArrayLike, names: Sequence[str] | None = None, *, representation: str = "raw"
) -> PerturbationMap:
    """Map of given profiles."""
    values = np.array(profiles, dtype=np.float32)
    names = tuple(names) if names is not None else names_of(len(values))
    table = pl.DataFrame(
        {
            "perturbation": list(names),
            "n_rows": [1] * len(names),
            "n_guides": pl.Series([None] * len(names), dtype=pl.UInt32),
            "n_batches": [1] * len(names),
        }
    )
    recipe = Recipe("data", "all", representation, "simple", source="source", rows="rows")
    return PerturbationMap(names, values, table, recipe)


def random_map(n: int, n_features: int, *, seed: int) -> PerturbationMap:
    """Map of isotropic profiles: no biology at all."""
    return map_of(np.random.default_rng(seed).normal(size=(n, n_features)))


def module_profiles(
    *, n_modules: int = 6, size: int = 5, n_others: int = 30, n_features: int = 40, noise: float = 0.4, seed: int = 0
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Profiles with planted modules, and the module of each; -1 for those in none."""
    rng = np.random.default_rng(seed)
    module = np.r_[np.repeat(np.arange(n_modules), size), np.full(n_others, -1)]
    centres = rng.normal(size=(n_modules, n_features))
    profiles = np.where((module >= 0)[:, None], centres[module], rng.normal(size=(len(module), n_features)))
    return profiles + noise * rng.normal(size=profiles.shape), module


@dataclass
class Rows:
    """Rows of a screen as plain lists, to make a screen of and to compute with in a loop."""

    perturbations: list[str]
    values: npt.NDArray[np.float32]
    batch: list[str] | None = None
    guide: list[str] | None = None
    keep_controls: bool = False
    extra: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)

    @property
    def control(self) -> npt.NDArray[np.bool_]:
        return np.array(self.perturbations) == CONTROL

    @property
    def screen(self) -> Screen:
        return Screen.from_arrays(
            self.perturbations,
            {"raw": self.values, **self.extra},
            control=(CONTROL,) if CONTROL in self.perturbations else (),
            keep_controls=self.keep_controls,
            batch=self.batch,
            guide=self.guide,
            replicates=True,
        )

    def take(self, order: npt.NDArray[np.intp]) -> "Rows":
        return Rows(
            [self.perturbations[row] for row in order],
            self.values[order],
            None if self.batch is None else [self.batch[row] for row in order],
            None if self.guide is None else [self.guide[row] for row in order],
            self.keep_controls,
        )


def batched_rows(
    *,
    n_perturbations: int = 8,
    n_rows: int = 7,
    n_controls: int = 24,
    n_batches: int = 3,
    n_features: int = 5,
    guides: bool = True,
    seed: int = 0,
) -> Rows:
    """Cells of a screen in shuffled order: correlated features, and batches that shift, stretch and turn them.

    `n_controls` is for each batch; perturbations have `n_rows` rows, spread unevenly over batches and guides.
    """
    rng = np.random.default_rng(seed)
    labels = [CONTROL] * (n_controls * n_batches) + [
        f"G{number:02d}" for number in range(n_perturbations) for _ in range(n_rows)
    ]
    n = len(labels)
    batch = np.r_[np.repeat(np.arange(n_batches), n_controls), rng.integers(0, n_batches, n - n_controls * n_batches)]
    effect = {name: rng.normal(size=n_features) for name in sorted(set(labels))} | {CONTROL: np.zeros(n_features)}
    mixing = rng.normal(size=(n_batches, n_features, n_features)) * 0.4 + np.eye(n_features)
    shift, stretch = rng.normal(size=(n_batches, n_features)) * 3, rng.uniform(0.3, 3, size=(n_batches, n_features))
    values = np.array([effect[name] for name in labels]) + rng.normal(size=(n, n_features))
    values = np.einsum("ni,nij->nj", values, mixing[batch]) * stretch[batch] + shift[batch]
    # The first guide of every perturbation has most of the cells.
    guide = [f"{name}-{'a' if rng.random() < 0.6 else 'bc'[rng.integers(2)]}" for name in labels]
    rows = Rows(labels, values.astype(np.float32), [f"b{number}" for number in batch], guide if guides else None)
    return rows.take(rng.permutation(n))


def cosines(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """All cosines, in a loop; NaN for profiles of length zero."""
    rows = np.asarray(values, dtype=np.float64)
    found = np.full((len(rows), len(rows)), np.nan)
    for i, one in enumerate(rows):
        for j, other in enumerate(rows):
            length = np.sqrt((one @ one) * (other @ other))
            if length > 0:
                found[i, j] = one @ other / length
    return found


@dataclass
class CountingSource:
    """A matrix that counts how often each of its rows is read."""

    values: npt.NDArray[np.float32]
    reads: list[tuple[int, int]] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int]:
        return self.values.shape[0], self.values.shape[1]

    def read(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        self.reads.append((start, stop))
        return self.values[start:stop]

    def fingerprint(self) -> str:
        return "counting"


@dataclass(frozen=True)
class RaggedRepresentation(Representation):
    """A representation whose blocks have the lengths given, again and again."""

    lengths: tuple[int, ...] = (1,)

    def chunks(
        self, n_rows: int | None = None, *, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        end, turn = self.n_rows if stop is None else stop, 0
        while start < end:
            until = min(start + self.lengths[turn % len(self.lengths)], end)
            yield start, self.source.read(start, until)
            start, turn = until, turn + 1


def ragged(representation: Representation, lengths: tuple[int, ...]) -> RaggedRepresentation:
    return RaggedRepresentation(representation.name, representation.kind, representation.source, lengths=lengths)
