"""`explorer build` on what laboratories bring: it works, and says what it did, or it is one line and no file."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import pytest
from files import feature_table, write_anndata, write_table

from explorer import cluster
from explorer.align import METHODS
from explorer.cli import main

CONTROL, OTHER = "non-targeting", "safe-harbour"
GENES = tuple(f"G{number:02}" for number in range(12))
BATCHES = ("b0", "b1", "b2")
N_FEATURES = 5
SCALED = ("center-scale", "center-scale-robust", "tvn", "sphere")
ROLES = ("--perturbation", "gene", "--control", CONTROL, "--batch", "plate")


class Screen:
    """A screen in memory that a case may spoil: labels, batches and values, a row each."""

    def __init__(self, *, n_controls: int = 12, n_features: int = N_FEATURES) -> None:
        places = [(gene, batch) for batch in BATCHES for gene in [*GENES, *[CONTROL] * n_controls]]
        self.genes = [gene for gene, _ in places]
        self.batches = [batch for _, batch in places]
        generator = np.random.default_rng(0)
        effect = generator.normal(size=(len(GENES) + 1, n_features))
        effect[-1] = 0
        codes = [GENES.index(gene) if gene in GENES else -1 for gene in self.genes]
        self.values: npt.NDArray[Any] = (2 * effect[codes] + generator.normal(size=(len(codes), n_features))).astype(
            np.float32
        )

    def drop(self, wanted: Callable[[str, str], bool], *, leaving: int = 0) -> None:
        """Leave rows out, all but the first few of those wanted."""
        rows = [row for row, place in enumerate(zip(self.genes, self.batches, strict=True)) if wanted(*place)]
        gone = set(rows[leaving:])
        kept = [row for row in range(len(self.genes)) if row not in gone]
        self.genes, self.batches = [self.genes[row] for row in kept], [self.batches[row] for row in kept]
        self.values = self.values[kept]

    def rows_of(self, *genes: str) -> list[int]:
        return [row for row, gene in enumerate(self.genes) if gene in genes]

    @property
    def metadata(self) -> pl.DataFrame:
        return pl.DataFrame({"gene": self.genes, "plate": self.batches})

    def parquet(self, folder: Path) -> Path:
        return write_table(folder / "screen.parquet", feature_table(self.metadata, self.values))

    def anndata(self, obs: Mapping[str, Any] | None = None) -> anndata.AnnData:
        columns = obs or {"gene": pd.Categorical(self.genes), "plate": pd.Categorical(self.batches)}
        return anndata.AnnData(
            X=self.values, obs=pd.DataFrame(columns, index=[f"row {row}" for row in range(len(self.genes))])
        )

    def h5ad(self, folder: Path, **options: Any) -> Path:
        return write_anndata(folder / "screen.h5ad", self.anndata(**options))


@pytest.fixture
def run(capsys, tmp_path):
    """Run `explorer build`: exit status, lines on standard output, lines on standard error, and the file to be."""

    def call(path: Path, *arguments: str, roles: Sequence[str] = ROLES) -> tuple[int, list[str], list[str], Path]:
        capsys.readouterr()
        out = tmp_path / "out" / "map.h5ad"
        out.parent.mkdir(exist_ok=True)
        status = main(["build", str(path), "--representation", "X", "--out", str(out), *roles, *arguments])
        said, err = capsys.readouterr()
        return status, said.splitlines(), err.splitlines(), out

    return call


def assert_refused(found: tuple[int, list[str], list[str], Path], message: str) -> None:
    status, said, err, out = found
    assert (status, said, len(err)) == (2, [], 1), found
    assert err[0].startswith("explorer: ")
    assert message in err[0]
    assert "Traceback" not in err[0]
    assert err[0].isprintable()
    assert list(out.parent.iterdir()) == []


def made_of(found: tuple[int, list[str], list[str], Path]) -> anndata.AnnData:
    """Read what was built, with its notes in plain sight."""
    status, said, err, out = found
    assert status == 0, err
    assert len(said) == 3
    assert all(line.startswith("note: ") for line in err)
    assert [item.name for item in out.parent.iterdir()] == ["map.h5ad"]
    with warnings.catch_warnings(action="ignore"):
        return anndata.read_h5ad(out)


def notes_of(made: anndata.AnnData) -> list[str]:
    notes: list[str] = json.loads(made.uns["explorer"]["recipe"])["notes"]
    return notes


# ---------------------------------------------------------------- controls


@pytest.mark.parametrize("align", SCALED)
@pytest.mark.parametrize(
    ("left", "remain"), [(1, "use alignment 'none' or 'center', which"), (0, "use alignment 'none', which")]
)
def test_a_batch_without_two_controls(run, tmp_path, align, left, remain):
    screen = Screen()
    screen.drop(lambda gene, batch: (gene, batch) == (CONTROL, "b1"), leaving=left)
    path = screen.parquet(tmp_path)
    has = f"batch 'b1' has {left} control{'' if left == 1 else 's'}, expected at least 2: add controls, or {remain}"
    assert_refused(run(path, "--align", align), has)
    if left:
        assert made_of(run(path, "--align", "center")).n_obs == len(GENES)
    else:
        assert_refused(run(path, "--align", "center"), "batch 'b1' has 0 controls, expected at least 1: add controls")


@pytest.mark.parametrize("align", METHODS)
def test_no_controls_at_all(run, tmp_path, align):
    screen = Screen()
    screen.drop(lambda gene, _: gene == CONTROL)
    found = run(screen.parquet(tmp_path), "--align", align, roles=("--perturbation", "gene", "--batch", "plate"))
    if align == "none":
        made = made_of(found)
        assert "q" not in made.obs
        assert found[2] == [
            "note: no controls, so activity can't be told: "
            "name them with --control, or with control in a card's [roles]"
        ]
    else:
        message = "no controls to align on: name them with --control, or with control in a card's [roles], "
        assert_refused(found, message + "or use alignment 'none', the only one that needs none")


@pytest.mark.parametrize("align", METHODS)
def test_one_control_label_absent(run, tmp_path, align):
    roles = (*ROLES, "--control", "safe-harbor")
    path = Screen().parquet(tmp_path)
    assert_refused(run(path, "--align", align, roles=roles), "unknown control label 'safe-harbor': ")
    screen = Screen()
    screen.genes = [OTHER if gene == CONTROL and row % 2 else gene for row, gene in enumerate(screen.genes)]
    path = screen.parquet(tmp_path)
    assert_refused(run(path, roles=roles), "unknown control label 'safe-harbor': did you mean 'safe-harbour'?")
    assert made_of(run(path, "--align", align, roles=(*ROLES, "--control", OTHER))).n_obs == len(GENES)


@pytest.mark.parametrize("align", METHODS)
@pytest.mark.parametrize("level", [0.0, 3.0, 1e30])
def test_controls_with_zero_variance(run, tmp_path, align, level):
    screen = Screen(n_controls=30)
    screen.values[screen.rows_of(CONTROL), :2] = level
    found = run(screen.parquet(tmp_path), "--align", align)
    made = made_of(found)
    assert np.isfinite(made.X).all()
    if align in ("tvn", "sphere"):
        assert notes_of(made) == ["2 of 5 directions dropped: controls do not vary in them"]
        assert sum("directions dropped" in line for line in found[2]) == 1
    else:
        assert notes_of(made) == []
    if align.startswith("center-scale"):
        # Scale 1 where there is none.
        expected = screen.values[screen.rows_of("G00")][:, 1].astype(np.float64).mean() - level
        np.testing.assert_allclose(made["G00"].X[0, 1], expected, rtol=1e-5)


@pytest.mark.parametrize("align", METHODS)
def test_controls_that_do_not_vary_at_all(run, tmp_path, align):
    screen = Screen(n_controls=30)
    screen.values[screen.rows_of(CONTROL)] = 1.0
    found = run(screen.parquet(tmp_path), "--align", align)
    if align in ("tvn", "sphere"):
        assert_refused(found, "controls do not vary in any direction: use alignment 'center', or name other controls")
    else:
        made = made_of(found)
        moved = 0 if align == "none" else 1
        expected = screen.values[screen.rows_of("G00")].mean(axis=0) - moved
        np.testing.assert_allclose(made["G00"].X[0], expected, rtol=1e-5, atol=1e-6)
        assert notes_of(made) == []


@pytest.mark.parametrize(("align", "n_shrunk"), [("tvn", 1), ("sphere", 1), ("center", 0), ("center-scale", 0)])
def test_fewer_controls_than_two_a_feature(run, tmp_path, align, n_shrunk):
    screen = Screen(n_controls=12, n_features=20)
    found = run(screen.parquet(tmp_path), "--align", align)
    made = made_of(found)
    assert np.isfinite(made.X).all()
    shrunk = [note for note in notes_of(made) if note.startswith("36 controls for 20 features: covariance shrunk by")]
    assert len(shrunk) == len(notes_of(made)) == n_shrunk
    assert sum("36 controls for 20 features" in line for line in found[2]) == n_shrunk


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize("align", METHODS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite(run, tmp_path, align, bad):
    screen = Screen()
    spoilt = [*screen.rows_of("G03")[:2], screen.rows_of("G07")[0], screen.rows_of(CONTROL)[4]]
    screen.values[spoilt, 2] = bad
    found = run(screen.parquet(tmp_path), "--align", align)
    made = made_of(found)
    note = "4 rows with NaN or infinite values left out: 'G03', 'G07', 'non-targeting'"
    assert note in notes_of(made)
    assert f"note: {note}" in found[2]
    assert np.isfinite(made.X).all()
    assert made.obs["n_rows"].to_dict() == dict.fromkeys(GENES, 3) | {"G03": 1, "G07": 2}


def test_a_perturbation_without_a_finite_row(run, tmp_path):
    screen = Screen()
    screen.values[screen.rows_of("G03")] = np.nan
    made = made_of(run(screen.parquet(tmp_path)))
    assert set(made.obs_names) == set(GENES) - {"G03"}


def test_no_finite_row(run, tmp_path):
    screen = Screen()
    screen.values[:, 1] = np.inf
    assert_refused(run(screen.parquet(tmp_path)), "has no row of finite numbers to make a map of")


@pytest.mark.parametrize("align", METHODS)
def test_a_perturbation_with_one_row(run, tmp_path, align):
    screen = Screen()
    screen.drop(lambda gene, _: gene == "G05", leaving=1)
    made = made_of(run(screen.parquet(tmp_path), "--align", align))
    assert made.obs.loc["G05", "n_rows"] == 1
    assert np.isnan(made.obs.loc["G05", "consistency"])
    assert np.isnan(made.obs.loc["G05", "consistency_p"])
    assert made.obs.loc["G05", "basis"] == "magnitude"
    assert np.isfinite(made.obs.loc["G05", ["magnitude", "p", "q"]].astype(float)).all()
    assert made.obs["consistency"].notna().sum() == len(GENES) - 1


# ---------------------------------------------------------------- columns


def test_mixed_dtypes(run, tmp_path):
    screen = Screen()
    screen.values = np.round(screen.values * 20)
    types = (pl.Int8, pl.Float64, pl.Int64, pl.Float32, pl.Int16)
    table = feature_table(screen.metadata, screen.values)
    features = [name for name in table.columns if name.startswith("feature_")]
    mixed = table.with_columns(pl.col(name).cast(kind) for name, kind in zip(features, types, strict=True))
    expected = made_of(run(write_table(tmp_path / "one.parquet", table), "--align", "tvn"))
    found = made_of(run(write_table(tmp_path / "mixed.parquet", mixed), "--align", "tvn"))
    np.testing.assert_array_equal(found.X, expected.X)


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.uint16, np.float16, np.float64])
def test_matrices_of_any_number_type(run, tmp_path, kind):
    screen = Screen()
    screen.values = np.abs(np.round(screen.values * 10)).astype(kind)
    found = made_of(run(screen.h5ad(tmp_path), "--align", "center"))
    screen.values = screen.values.astype(np.float32)
    np.testing.assert_array_equal(found.X, made_of(run(screen.h5ad(tmp_path), "--align", "center")).X)


def test_labels_that_are_numbers(run, tmp_path):
    screen = Screen()
    table = feature_table(screen.metadata, screen.values)
    number = pl.col("gene").replace_strict({**{gene: int(gene[1:]) for gene in GENES}, CONTROL: -1})
    plate = pl.col("plate").str.slice(1).cast(pl.Int8)
    path = write_table(tmp_path / "numbers.parquet", table.with_columns(gene=number, plate=plate))
    roles = ("--perturbation", "gene", "--control", "-1", "--batch", "plate")
    roles = tuple(f"{roles[place]}={roles[place + 1]}" for place in (0, 2, 4))
    found = made_of(run(path, "--align", "tvn", roles=roles))
    assert set(found.obs_names) == {str(number) for number in range(12)}


@pytest.mark.parametrize("align", METHODS)
def test_categories_that_no_row_has(run, tmp_path, align):
    screen = Screen()
    expected = made_of(run(screen.h5ad(tmp_path), "--align", align))
    obs = {
        "gene": pd.Categorical(screen.genes, categories=["absent", *GENES[::-1], "also absent", CONTROL]),
        "plate": pd.Categorical(screen.batches, categories=["b9", *BATCHES[::-1], "b8"]),
    }
    found = made_of(run(screen.h5ad(tmp_path, obs=obs), "--align", align))
    assert set(found.obs_names) == set(GENES)
    np.testing.assert_array_equal(found.X, expected.X)
    pd.testing.assert_frame_equal(found.obs, expected.obs)


def test_a_category_that_no_row_has_is_no_control(run, tmp_path):
    screen = Screen()
    obs = {"gene": pd.Categorical(screen.genes, categories=[*GENES, CONTROL, OTHER]), "plate": screen.batches}
    path = screen.h5ad(tmp_path, obs=obs)
    assert_refused(run(path, roles=(*ROLES, "--control", OTHER)), f"unknown control label '{OTHER}'")


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_an_h5ad_that_is_cut_within_a_chunk(run, tmp_path, share, compression):
    path = tmp_path / "screen.h5ad"
    Screen(n_controls=200, n_features=50).anndata().write_h5ad(path, compression=compression)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert_refused(run(path), "can't open 'screen.h5ad': it is not a whole h5ad file; copy or write it again")


def test_an_h5ad_with_a_damaged_chunk(run, tmp_path):
    path = tmp_path / "screen.h5ad"
    Screen(n_controls=200, n_features=50).anndata().write_h5ad(path, compression="gzip")
    with h5py.File(path, "r") as file:
        chunk = file["X"].id.get_chunk_info(1)
    content = bytearray(path.read_bytes())
    middle = chunk.byte_offset + chunk.size // 2
    content[middle : middle + 50] = bytes(50)
    path.write_bytes(content)
    assert_refused(run(path), "of 'X' in 'screen.h5ad'")


def test_a_zarr_without_one_of_its_chunks(run, tmp_path):
    path = tmp_path / "screen.zarr"
    screen = Screen(n_controls=200, n_features=50)
    with warnings.catch_warnings(action="ignore"):
        screen.anndata().write_zarr(path, chunks=(100, 50))
    assert made_of(run(path)).n_obs == len(GENES)
    shutil.rmtree(tmp_path / "out")
    chunks = sorted(item for item in (path / "X").rglob("*") if item.is_file() and item.name[0] not in ".z")
    assert len(chunks) > 3
    chunks[2].unlink()
    assert_refused(run(path), "screen.zarr")


# ---------------------------------------------------------------- elsewhere


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("tcp://127.0.0.1:1", "no dask scheduler answers at 'tcp://127.0.0.1:1': start one with `dask scheduler`"),
        ("nowhere://x:1", "'nowhere://x:1' is not the address of a scheduler: expected one like tcp://127.0.0.1:8786"),
        (
            "127.0.0.1:8786",
            "'127.0.0.1:8786' is not the address of a scheduler: expected one like tcp://127.0.0.1:8786",
        ),
        ("", "'' is not the address of a scheduler: expected one like tcp://127.0.0.1:8786"),
        ("tcp://127.0.0.1:port", "no dask scheduler answers at 'tcp://127.0.0.1:port': start one"),
    ],
)
def test_a_scheduler_that_is_not_there(run, tmp_path, monkeypatch, address, message):
    pytest.importorskip("distributed")
    monkeypatch.setattr(cluster, "SECONDS_TO_ANSWER", 1)
    assert_refused(run(Screen().parquet(tmp_path), "--scheduler", address), message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--align", "tnv"), "unknown alignment 'tnv': did you mean 'tvn'?"),
        (("--aggregate", "men"), "unknown aggregate 'men': did you mean 'mean' or 'median'?"),
        (("--context", "al"), "unknown context 'al': did you mean 'all'?"),
        (("--representation", "Y"), "unknown representation 'Y': "),
        (("--batch", "plat"), "unknown batch column 'plat': did you mean 'plate'?"),
        (("--perturbation", "gen"), "unknown perturbation column 'gen': did you mean 'gene'?"),
        (("--guide", "sgrna"), "unknown guide column 'sgrna': "),
    ],
)
def test_names_that_do_not_exist(run, tmp_path, arguments, message):
    assert_refused(run(Screen().parquet(tmp_path), *arguments), message)
