"""`explorer build`: the file is the map, whole or not there, with activity beside it, whatever happens meanwhile."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import polars as pl
import pytest
import toys
from builders import batched_rows
from files import PAYLOADS, write_table

from explorer import aggregate
from explorer import build as build_module
from explorer.activity import measure_activity
from explorer.aggregate import PerturbationMap, build_map
from explorer.align import METHODS
from explorer.build import build
from explorer.cli import main
from explorer.load import load_dataset, load_screen
from explorer.write import write_map

ROLES = ("--perturbation", "gene", "--control", toys.CONTROL, "--batch", "plate", "--guide", "guide")
ACTIVITY = (
    "n_replicates", "consistency", "consistency_p", "consistency_q", "magnitude", "magnitude_p", "magnitude_q",
    "mean_average_precision", "normalized_average_precision", "precision_p", "precision_q", "p", "q", "basis",
)  # fmt: skip


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return toys.write_active_catalog(tmp_path_factory.mktemp("catalog")) / "toy"


@pytest.fixture
def run(capsys):
    """Run `explorer build` in this process: exit status, standard output, standard error."""

    def call(path, *arguments):
        capsys.readouterr()
        status = main([str(argument) for argument in ("build", path, *arguments)])
        return status, *capsys.readouterr()

    return call


def command(path: Path, *arguments: object) -> list[str]:
    return [sys.executable, "-m", "explorer.cli", "build", str(path), *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def read(path: Path) -> anndata.AnnData:
    with warnings.catch_warnings(action="ignore"):
        return anndata.read_h5ad(path)


def assert_is_map(found: anndata.AnnData, expected: PerturbationMap) -> None:
    assert found.obs_names.to_list() == list(expected.names)
    assert found.X.dtype == np.float32
    np.testing.assert_allclose(found.X, expected.profiles, rtol=1e-5, atol=1e-6)
    assert found.uns["explorer"]["fingerprint"] == expected.fingerprint
    recipe = json.loads(found.uns["explorer"]["recipe"])
    for name in ("dataset", "context", "representation", "alignment", "aggregate", "filter", "source", "rows"):
        assert recipe[name] == getattr(expected.recipe, name)
    assert tuple(recipe["notes"]) == expected.recipe.notes
    for name in ("n_rows", "n_guides", "n_batches"):
        if name in found.obs:
            assert found.obs[name].to_list() == expected.table[name].to_list()


# ---------------------------------------------------------------- what is written


@pytest.mark.parametrize("summary", ["mean", "median"])
@pytest.mark.parametrize("align", METHODS)
def test_the_file_is_the_map(run, dataset, tmp_path, align, summary):
    out = tmp_path / "map.h5ad"
    status, said, _ = run(dataset, "--representation", "raw", "--out", out, "--align", align, "--aggregate", summary)
    screen = load_screen(load_dataset(dataset), "alpha")
    expected = build_map(screen, "raw", alignment=align, aggregate=summary)
    found = read(out)
    assert_is_map(found, expected)
    activity = measure_activity(screen, "raw", alignment=align)
    told = [name for name in ACTIVITY if activity.table[name].cast(pl.String).replace("NaN", None).is_not_null().any()]
    assert {"n_replicates", "consistency", "magnitude", "p", "q", "basis"} <= set(told)
    assert set(found.obs) == {"perturbation", "n_rows", "n_guides", "n_batches", *told}
    for name in told[:-1]:
        np.testing.assert_allclose(found.obs[name], activity.table[name].to_numpy(), rtol=1e-9)
    assert found.obs["basis"].to_list() == activity.table["basis"].to_list()
    assert list(found.uns["explorer"]["activity"]) == list(activity.notes)
    assert status == 0
    assert said == (
        f"map.h5ad: 32 perturbations of 480 rows, {len(activity.active())} of them active (q below 0.1)\n"
        f"{expected.recipe.sentence}\n"
        f"alpha: {found.uns['explorer']['conditions']['sentence']}\n"
    )
    assert found.uns["explorer"]["conditions"]["cell_system"] == "alpha cells"


def test_json(run, dataset, tmp_path):
    out = tmp_path / "map.h5ad"
    status, said, err = run(dataset, "--representation", "latent", "--context", "beta", "--out", out, "--json")
    made = read(out)
    assert status == 0
    assert json.loads(said) == {
        "out": str(out),
        "representation": "latent",
        "context": "beta",
        "conditions": made.uns["explorer"]["conditions"]["sentence"],
        "fingerprint": made.uns["explorer"]["fingerprint"],
        "rows": 480,
        "perturbations": 32,
        "features": toys.N_LATENTS,
        "active": int((made.obs["q"] < 0.1).sum()),
    }
    assert all(line.startswith("note: ") for line in err.splitlines())


def test_scanpy_reads_it(run, dataset, tmp_path):
    import scanpy

    run(dataset, "--representation", "raw", "--out", tmp_path / "map.h5ad")
    with warnings.catch_warnings(action="ignore"):
        found = scanpy.read_h5ad(tmp_path / "map.h5ad")
        scanpy.pp.pca(found, n_comps=5)
        found.write_h5ad(tmp_path / "again.h5ad")
    assert found.obsm["X_pca"].shape == (32, 5)
    assert read(tmp_path / "again.h5ad").uns["explorer"]["fingerprint"]


def test_roles_by_options(run, dataset, tmp_path):
    table = pl.read_parquet(dataset / "rows_alpha.parquet").rename(
        {"gene": "target", "plate": "lane", "guide": "oligo"}
    )
    path = write_table(tmp_path / "rows.parquet", table)
    roles = ("--perturbation", "target", "--control", toys.CONTROL, "--batch", "lane", "--guide", "oligo")
    status, _, err = run(path, "--representation", "X", "--out", tmp_path / "map.h5ad", *roles, "--align", "center")
    assert status == 0
    assert "is taken to be" not in err
    roles = {"perturbation": "target", "control": (toys.CONTROL,), "batch": "lane", "guide": "oligo"}
    assert_is_map(
        read(tmp_path / "map.h5ad"), build_map(load_screen(load_dataset(path, roles=roles)), "X", alignment="center")
    )


def test_without_controls_there_is_no_activity(run, tmp_path):
    root = toys.write_catalog(tmp_path, controls=False)
    status, said, err = run(root / "toy", "--representation", "raw", "--out", tmp_path / "map.h5ad")
    found = read(tmp_path / "map.h5ad")
    assert status == 0
    assert set(found.obs) == {"perturbation", "n_rows", "n_guides", "n_batches"}
    assert "activity" not in found.uns["explorer"]
    assert ", activity not judged\n" in said
    assert err == (
        "note: no controls, so activity can't be told: name them with --control, or with control in a card's [roles]\n"
    )


@pytest.mark.parametrize("align", ["none", "center"])
def test_activity_of_a_map_that_is_not_aligned_is_that_of_centred_profiles_and_said_to_be(
    run, dataset, tmp_path, align
):
    out = tmp_path / "map.h5ad"
    status, _, err = run(dataset, "--representation", "raw", "--out", out, "--align", align)
    centred = measure_activity(load_screen(load_dataset(dataset)), "raw", alignment="center")
    assert status == 0
    np.testing.assert_allclose(read(out).obs["q"], centred.table["q"].to_numpy(), rtol=1e-9)
    note = "note: activity is judged on profiles centred on the controls, although the map is not aligned"
    assert err.splitlines().count(note) == (1 if align == "none" else 0)


def test_guides_that_are_not_declared_are_no_column(run, tmp_path):
    root = toys.write_catalog(tmp_path, guides=False)
    assert run(root / "toy", "--representation", "raw", "--out", tmp_path / "map.h5ad")[0] == 0
    assert "n_guides" not in read(tmp_path / "map.h5ad").obs


def test_names_that_attack(run, tmp_path):
    root = toys.write_active_catalog(tmp_path, names=PAYLOADS)
    status, said, err = run(root / "toy", "--representation", "raw", "--out", tmp_path / "map.h5ad")
    assert status == 0
    assert set(PAYLOADS) < set(read(tmp_path / "map.h5ad").obs_names)
    assert all(character.isprintable() or character == "\n" for character in said + err)


def test_an_earlier_map_is_replaced(run, dataset, tmp_path):
    out = tmp_path / "map.h5ad"
    out.write_text("something else")
    assert run(dataset, "--representation", "raw", "--out", out)[0] == 0
    assert read(out).n_obs == 32
    assert [item.name for item in tmp_path.iterdir()] == ["map.h5ad"]


def test_nothing_is_written_to_standard_output_but_the_result(dataset, tmp_path):
    made = subprocess.run(
        command(dataset, "--representation", "raw", "--out", tmp_path / "map.h5ad", "--json"),
        capture_output=True, env=environment(), timeout=120, check=False,
    )  # fmt: skip
    assert made.returncode == 0
    assert json.loads(made.stdout)["perturbations"] == 32
    # No terminal, no bar.
    assert all(line.startswith(b"note: ") for line in made.stderr.splitlines())


def test_a_terminal_shows_rows_a_second_and_the_time_left(dataset, tmp_path):
    terminal, side = pty.openpty()
    termios.tcsetwinsize(side, (24, 120))
    with subprocess.Popen(
        command(dataset, "--representation", "raw", "--out", tmp_path / "map.h5ad"),
        stdout=subprocess.PIPE, stderr=side, env=environment(),
    ) as process:  # fmt: skip
        os.close(side)
        shown = b""
        # Linux reports the closed end of a terminal as an error.
        with contextlib.suppress(OSError):
            while part := os.read(terminal, 65536):
                shown += part
        said = process.stdout.read().decode()
    os.close(terminal)
    assert process.returncode == 0
    assert said.startswith("map.h5ad: 32 perturbations of 480 rows")
    assert len(said.splitlines()) == 3
    text = shown.decode()
    assert re.search(r"100%\|.*480/480 \[\d\d:\d\d<\d\d:\d\d, [\d.]+k? rows/s\]", text), text


# ---------------------------------------------------------------- by which way


@pytest.mark.parametrize("align", METHODS)
def test_one_pass_and_two_give_the_same(monkeypatch, align):
    screen = batched_rows(n_perturbations=12, n_controls=24).screen
    passes: list[int] = []
    once = build(screen, "raw", alignment=align, progress=passes.append)
    assert sum(passes) == screen.rows.height
    for limit in ("MOST_UNIT_BYTES", "MOST_ROTATED_UNIT_BYTES"):
        monkeypatch.setattr(aggregate, limit, 0)
    passes.clear()
    twice = build(screen, "raw", alignment=align, progress=passes.append)
    assert sum(passes) == 2 * screen.rows.height
    assert once.perturbation_map.fingerprint == twice.perturbation_map.fingerprint
    np.testing.assert_allclose(once.perturbation_map.profiles, twice.perturbation_map.profiles, rtol=1e-5, atol=1e-6)
    for name in ("consistency", "magnitude", "p", "q"):
        np.testing.assert_allclose(once.activity.table[name], twice.activity.table[name], rtol=1e-9)


def test_a_table_of_replicates_that_is_too_large_is_said(monkeypatch):
    monkeypatch.setattr(build_module, "MOST_REPLICATE_BYTES", 0)
    built = build(batched_rows().screen, "raw")
    assert built.activity is None
    assert "too many to judge replicates in bounded memory" in built.silence
    assert built.perturbation_map.n_perturbations == 8


# ---------------------------------------------------------------- killed


N_LARGE, N_WIDE = 20_000, 1_000


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """Write a file of 80 MB whose map has 40 MB, so that writing it takes a while."""
    path = tmp_path_factory.mktemp("large") / "large.h5ad"
    values = np.random.default_rng(0).standard_normal((N_LARGE, N_WIDE), dtype=np.float32)
    obs = pd.DataFrame(
        {"gene": [f"G{number // 2:05d}" for number in range(N_LARGE)]}, index=[str(number) for number in range(N_LARGE)]
    )
    anndata.AnnData(X=values, obs=obs).write_h5ad(path)
    return path


def temporary_bytes(folder: Path) -> int:
    """Size of what is being written; −1 before."""
    with contextlib.suppress(FileNotFoundError):
        return max((item.stat().st_size for item in folder.glob(".map.*.tmp.h5ad")), default=-1)
    return -1


# A moment after the start, or a size of the unfinished file.
MOMENTS = {
    "while it starts": (0.4, None),
    "while it reads": (1.5, None),
    "when writing begins": (None, 0),
    "in the middle of writing": (None, 15 * 2**20),
    "at the end of writing": (None, 37 * 2**20),
}


@pytest.mark.slow
def test_killed_at_any_moment_it_leaves_a_whole_map_or_none(large, tmp_path):
    out, build_it = tmp_path / "map.h5ad", ("--representation", "X", "--perturbation", "gene", "--out")
    interrupted = []
    for moment, (seconds, size) in MOMENTS.items():
        # An older map stands there for the last three.
        older = read(out).uns["explorer"]["fingerprint"] if out.exists() else None
        process = subprocess.Popen(
            command(large, *build_it, out, *(("--aggregate", "median") if older else ())),
            env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        started = time.monotonic()
        while process.poll() is None:
            late = seconds is not None and time.monotonic() - started > seconds
            if late or (size is not None and temporary_bytes(tmp_path) >= size):
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.001)
        if process.wait() == -signal.SIGKILL:
            interrupted.append(moment)
        if out.exists():
            found = read(out)
            assert found.shape == (N_LARGE // 2, N_WIDE)
            assert np.isfinite(found.X).all()
            if moment in interrupted:
                assert older is None or found.uns["explorer"]["fingerprint"] == older
        if moment == "while it reads" and not out.exists():
            small = command(large, *build_it, out)
            assert subprocess.run(small, env=environment(), capture_output=True, check=False).returncode == 0
    assert {"while it starts", "when writing begins"} <= set(interrupted)
    again = subprocess.run(command(large, *build_it, out), env=environment(), capture_output=True, check=False)
    assert again.returncode == 0, again.stderr
    assert [item.name for item in tmp_path.iterdir() if item.suffix == ".h5ad"] == ["map.h5ad"]
    assert read(out).shape == (N_LARGE // 2, N_WIDE)


def test_a_built_map_is_a_screen_of_its_own(tmp_path):
    rows = batched_rows(seed=12)
    made = build_map(rows.screen, "raw", alignment="center-scale")
    path = tmp_path / "map.h5ad"
    write_map(path, made, activity=measure_activity(rows.screen, "raw", alignment="center-scale"))
    again = build_map(load_screen(load_dataset(path)), "X")
    assert again.names == made.names
    np.testing.assert_array_equal(again.profiles, made.profiles)


def test_activity_is_left_out_when_it_is_not_wanted(run, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(build_module, "measure_activity", None)
    out = tmp_path / "map.h5ad"
    status, said, err = run(dataset, "--representation", "raw", "--out", out, "--align", "center", "--no-activity")
    assert status == 0
    assert "activity not judged" in said
    assert "note: activity was not asked for" in err
    assert set(read(out).obs) == {"perturbation", "n_rows", "n_guides", "n_batches"}
