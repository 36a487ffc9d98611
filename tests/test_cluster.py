"""A real scheduler and real worker processes on loopback: the same result as here, whoever dies."""

from __future__ import annotations

import os
import signal
import threading
import time

import anndata
import numpy as np
import pandas as pd
import pytest
from builders import CONTROL, Rows, batched_rows, cosines

from explorer.aggregate import build_map
from explorer.align import METHODS
from explorer.cli import main
from explorer.cluster import ClusterEngine, connected
from explorer.errors import InputError
from explorer.labels import label_rows
from explorer.screen import Representation
from explorer.sources import ArraySource

distributed = pytest.importorskip("distributed", reason="distributed is not installed (extra cluster)")


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as started:
        yield started


@pytest.fixture
def engine(cluster):
    with distributed.Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        yield ClusterEngine(client, rows_per_task=11)


@pytest.mark.parametrize("guides", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_a_cluster_makes_the_same_map(engine, method, guides):
    rows = batched_rows(seed=3, guides=guides)
    rows.values[[5, 70], 1] = np.nan
    here = build_map(rows.screen, "raw", alignment=method)
    there = build_map(rows.screen, "raw", alignment=method, engine=engine)
    assert there.recipe == here.recipe
    assert there.table.equals(here.table)
    np.testing.assert_allclose(cosines(there.profiles), cosines(here.profiles), atol=1e-6)


@pytest.mark.parametrize("method", ["none", "tvn"])
def test_a_cluster_makes_the_same_map_in_two_passes(engine, method, monkeypatch):
    rows = batched_rows(seed=4)
    here = build_map(rows.screen, "raw", alignment=method)
    monkeypatch.setattr("explorer.aggregate.keeps_units", lambda *_: False)
    there = build_map(rows.screen, "raw", alignment=method, engine=engine)
    assert there.recipe == here.recipe
    np.testing.assert_allclose(cosines(there.profiles), cosines(here.profiles), atol=1e-6)


@pytest.mark.parametrize("method", ["none", "tvn"])
def test_a_client_of_this_process_makes_the_same_map(method):
    rows = batched_rows(seed=3)
    with distributed.Client(processes=False, dashboard_address=None, set_as_default=False) as client:
        there = build_map(rows.screen, "raw", alignment=method, engine=ClusterEngine(client, rows_per_task=17))
    np.testing.assert_allclose(
        cosines(there.profiles), cosines(build_map(rows.screen, "raw", alignment=method).profiles), atol=1e-6
    )


def test_progress_counts_every_row(engine):
    rows, done = batched_rows(seed=5), []
    build_map(rows.screen, "raw", engine=engine, progress=done.append)
    deadline = time.monotonic() + 20
    while sum(done) < len(rows.values) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sum(done) == len(rows.values)


@pytest.mark.parametrize("method", ["none", "center-scale-robust", "tvn"])
def test_the_command_line_builds_the_same_file_on_a_cluster(cluster, tmp_path, method):
    rows = batched_rows(seed=8)
    columns = {"gene": rows.perturbations, "guide": rows.guide, "batch": rows.batch}
    obs = pd.DataFrame(columns, index=[str(number) for number in range(len(rows.values))]).astype("category")
    path = tmp_path / "cells.h5ad"
    anndata.AnnData(rows.values, obs=obs).write_h5ad(path)
    made = []
    for name, extra in (("here", []), ("there", ["--scheduler", cluster.scheduler_address])):
        out = tmp_path / f"{name}.h5ad"
        options = ["--representation", "X", "--control", CONTROL, "--align", method, "--out", str(out), *extra]
        assert main(["build", str(path), *options]) == 0
        made.append(anndata.read_h5ad(out))
    np.testing.assert_allclose(made[0].X, made[1].X, rtol=1e-5, atol=1e-6)
    pd.testing.assert_frame_equal(made[0].obs, made[1].obs)
    assert made[0].uns["explorer"]["fingerprint"] == made[1].uns["explorer"]["fingerprint"]


class SlowSource(ArraySource):
    """Takes its time, so that a worker can die in the middle."""

    def read(self, start, stop):
        time.sleep(0.3)
        return super().read(start, stop)


@pytest.mark.slow
def test_a_worker_that_dies_in_the_middle_changes_nothing():
    rows = batched_rows(seed=6)
    screen = rows.screen
    labels = label_rows(screen)
    slow = Representation("raw", "simple", SlowSource(rows.values))
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as started,
        distributed.Client(started, set_as_default=False) as client,
    ):
        client.wait_for_workers(2, timeout=60)
        victims = {worker["pid"] for worker in client.run(lambda: {"pid": os.getpid()}).values()}
        victim = min(victims)
        engine = ClusterEngine(client, rows_per_task=8)
        undisturbed = engine.moments(screen.representation("raw"), labels, covariance=True, progress=None)
        done, killed = [], threading.Event()

        def kill_after_a_while(n_rows: int) -> None:
            done.append(n_rows)
            if len(done) == 3 and not killed.is_set():
                os.kill(victim, signal.SIGKILL)
                killed.set()

        found = engine.moments(slow, labels, covariance=True, progress=kill_after_a_while)
        assert killed.is_set()
        assert victim not in {pid["pid"] for pid in client.run(lambda: {"pid": os.getpid()}).values()}
    # The tree of merges is the same, so the numbers are, to the last bit.
    for name in ("unit_count", "unit_mean", "control_count", "control_mean", "control_scatter", "excluded"):
        np.testing.assert_array_equal(getattr(found, name), getattr(undisturbed, name))


def test_bad_input_on_a_worker_is_the_same_sentence(engine):
    rows = batched_rows()
    blank = Rows(rows.perturbations, np.full_like(rows.values, np.nan), rows.batch)
    with pytest.raises(InputError, match="no row of finite numbers"):
        build_map(blank.screen, "raw", engine=engine)
    kept = rows.take(np.flatnonzero(np.array(rows.perturbations) != CONTROL))
    with pytest.raises(InputError, match="no controls to align on"):
        build_map(kept.screen, "raw", alignment="center", engine=engine)


class FaultySource(ArraySource):
    def read(self, start, stop):
        message = "the disk is on fire"
        raise RuntimeError(message)


def test_a_task_that_fails_everywhere_is_one_sentence(engine):
    rows = batched_rows()
    broken = Representation("raw", "simple", FaultySource(rows.values))
    with pytest.raises(InputError, match=r"the cluster gave up \(RuntimeError: the disk is on fire\)"):
        engine.moments(broken, label_rows(rows.screen), covariance=True, progress=None)


def test_a_scheduler_that_is_not_there_is_one_sentence(monkeypatch):
    monkeypatch.setattr("explorer.cluster.SECONDS_TO_ANSWER", 1)
    with (
        pytest.raises(InputError, match=r"no dask scheduler answers at 'tcp://127.0.0.1:9': start one"),
        connected("tcp://127.0.0.1:9"),
    ):
        pass


@pytest.mark.parametrize("address", ["foo", "", "127.0.0.1:8786", "http://127.0.0.1:8786"])
def test_what_is_no_address_is_one_sentence_at_once(address, capfd):
    with pytest.raises(InputError, match="is not the address of a scheduler: expected one like"), connected(address):
        pass
    assert capfd.readouterr() == ("", "")


def test_a_scheduler_without_workers_is_one_sentence(monkeypatch):
    monkeypatch.setattr("explorer.cluster.SECONDS_TO_ANSWER", 1)
    with (
        distributed.LocalCluster(
            n_workers=0, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as empty,
        pytest.raises(InputError, match="has no workers: start some"),
        connected(empty.scheduler_address),
    ):
        pass
