"""The compiled loops against numpy, from many threads, and without numba where nothing is large."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import PROJECT

from explorer import kernels


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (64, 129), (301, 16)])
def test_products_are_those_of_numpy(shape):
    profiles = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    row, found = shape[0] // 2, np.empty(shape[0])
    with kernels.make_pool() as pool:
        kernels.run_in_parts(pool, kernels.compiled().products, shape[0], profiles, row, found)
    np.testing.assert_allclose(found, profiles.astype(float) @ profiles[row].astype(float), rtol=1e-12, atol=1e-12)


def test_equal_profiles_have_equal_products():
    profiles = np.tile(np.random.default_rng(1).normal(size=(1, 77)).astype(np.float32), (40, 1))
    found = np.empty(40)
    kernels.compiled().products(profiles, 3, found, 0, 40)
    assert len(np.unique(found)) == 1


def lines_of_scores(n, *, seed=0, step=None):
    rng = np.random.default_rng(seed)
    scores = np.full((30, kernels.whole_tiles(n)), -np.inf, dtype=np.float32)
    scores[:, :n] = rng.normal(size=(30, n))
    if step:
        scores = np.round(scores / step) * np.float32(step)
    return scores, rng.integers(0, n, size=30)


@pytest.mark.parametrize("n", [70, 1024, 1500, 5000])
@pytest.mark.parametrize("least", [1, 7, 40])
@pytest.mark.parametrize("step", [None, 0.01])
def test_candidates_hold_all_that_may_be_among_the_largest(n, least, step):
    scores, own = lines_of_scores(n, step=step)
    expected = scores.copy()
    expected[np.arange(30), own] = -np.inf
    rows, counts = np.full((30, 400), -1, dtype=np.int32), np.empty(30, dtype=np.int64)
    kernels.compiled().candidates(scores, own, least, np.float32(0.02), rows, counts, 0, 30)
    for line in range(30):
        reached = np.sort(expected[line])[-least] - np.float32(0.02)
        found = rows[line, : counts[line]].tolist()
        assert counts[line] >= 0
        assert len(set(found)) == len(found)
        assert set(np.flatnonzero(expected[line] >= reached).tolist()) <= set(found)
        assert max(found) < n
    # Not many more than were asked for, where scores are not tied by the hundred.
    if n >= 1500 and step is None:
        assert np.median(counts) < 2 * least + 60


def test_more_candidates_than_there_is_room_for_are_said_to_be():
    scores, own = lines_of_scores(1500)
    scores[4, :1500] = 0.5
    rows, counts = np.empty((30, 50), dtype=np.int32), np.empty(30, dtype=np.int64)
    kernels.compiled().candidates(scores, own, 10, np.float32(0), rows, counts, 0, 30)
    assert np.flatnonzero(counts < 0).tolist() == [4]
    # Fewer groups of scores than neighbours: nothing is promised.
    kernels.compiled().candidates(scores, own, 1400, np.float32(0), rows, counts, 0, 30)
    assert (counts == -1).all()


def test_many_threads_may_run_and_compile_them_at_once():
    profiles = np.random.default_rng(2).normal(size=(2000, 40)).astype(np.float32)

    def ask(row):
        found = np.empty(2000)
        with kernels.make_pool() as pool:
            kernels.run_in_parts(pool, kernels.compiled().products, 2000, profiles, row, found)
        return found

    with ThreadPoolExecutor(8) as pool:
        every = list(pool.map(ask, range(32)))
    np.testing.assert_allclose(every, profiles[:32].astype(float) @ profiles.T.astype(float), atol=1e-10)


def test_an_error_in_a_thread_is_raised():
    with kernels.make_pool() as pool, pytest.raises(ZeroDivisionError):
        kernels.run_in_parts(pool, lambda start, stop: 1 / 0, 10)


def test_numba_is_imported_by_the_first_compilation_only():
    code = (
        "import sys; from explorer import kernels; assert 'numba' not in sys.modules;"
        "assert kernels.compiled_already() is None; kernels.compile_meanwhile().join();"
        "assert kernels.compiled_already() is kernels.compiled(); assert 'numba' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True, timeout=100)


def test_cosines_of_pairs_are_those_of_numpy():
    rng = np.random.default_rng(5)
    unit, first, second = rng.normal(size=(40, 33)), rng.integers(40, size=301), rng.integers(40, size=301)
    found = np.full(301, np.nan)
    with kernels.make_pool() as pool:
        kernels.run_in_parts(pool, kernels.compiled_for_pairs().cosines, 301, unit, first, second, found)
    np.testing.assert_allclose(found, (unit[first] * unit[second]).sum(axis=1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (7, 40), (60, 200)])
def test_tails_are_counted_and_collected_beyond_the_diagonal(shape):
    scores = np.round(np.random.default_rng(6).normal(size=shape), 1).astype(np.float32)
    windows = np.array([[-1.0, -0.8], [-np.inf, 0.2]], dtype=np.float32)
    counts = np.zeros((shape[0], 4), dtype=np.int64)
    room = np.full(scores.size, -1), np.full(scores.size, -1)
    tails = kernels.compiled_for_pairs().tails
    with kernels.make_pool() as pool:
        kernels.run_in_parts(pool, tails, shape[0], scores, windows, counts, *room)
    values = scores[np.triu_indices(shape[0], k=1, m=shape[1])]
    starts = np.flatnonzero(counts.any(axis=1)) if len(values) else []
    for number, (low, high) in enumerate(windows):
        assert counts[:, 2 * number].sum() == (values < low).sum()
        found = [room[number][start * shape[1] : start * shape[1] + counts[start, 2 * number + 1]] for start in starts]
        within = np.triu((scores >= low) & (scores <= high), k=1)
        places = np.sort(np.concatenate([np.zeros(0, dtype=int), *found]))
        np.testing.assert_array_equal(places, np.flatnonzero(within))


def test_loops_over_pairs_are_compiled_apart_and_once():
    assert kernels.compiled_for_pairs() is kernels.compiled_for_pairs()
