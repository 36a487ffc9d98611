"""Where the tails of all cosines begin, against a full matrix of them and the published function."""

import tracemalloc

import numpy as np
import pytest
from builders import map_of, names_of, random_map
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer import tails as tails_module
from explorer.known import GIVEN, KnownPairs
from explorer.recall import matched_control, relationship_recall
from explorer.tails import hits_in_tails, null_thresholds

# Few values in few dimensions, so that most similarities are tied and some profiles are zero.
LATTICE = st.lists(st.tuples(*[st.integers(-2, 2)] * 3), min_size=3, max_size=25)
SHARES = st.sampled_from([0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.95, 1.0])
TAILS = st.tuples(SHARES, SHARES).map(lambda pair: (min(pair), max(pair)))
VALUES = st.lists(st.integers(-4, 4), min_size=1, max_size=40)


def known_of(pairs, n, *, groups=None, name="source"):
    first, second = np.array(sorted(tuple(sorted(pair)) for pair in pairs), dtype=np.intp).reshape(-1, 2).T
    rows = {label: np.array(members, dtype=np.intp) for label, members in (groups or {}).items()}
    return KnownPairs(name, names_of(n), first.copy(), second.copy(), rows, GIVEN, 0)


def random_known(n, n_pairs, *, seed, name="source", n_groups=0):
    rng = np.random.default_rng(seed)
    pairs = set()
    while len(pairs) < n_pairs:
        one, other = sorted(rng.integers(n, size=2).tolist())
        if one != other:
            pairs.add((one, other))
    groups = {f"group {number}": np.sort(rng.choice(n, 12, replace=False)) for number in range(n_groups)}
    return known_of(pairs, n, groups=groups, name=name)


def published_recall(null, query, tails):
    """The function `compute_recall` of efaar_benchmarking 1.0, for one pair of tails."""
    null = np.sort(null)
    left = np.searchsorted(null, query, side="left") / len(null)
    right = np.searchsorted(null, query, side="right") / len(null)
    return sum((right <= np.min(tails)) | (left >= np.max(tails))) / len(query)


def all_cosines(profiles):
    """Cosines of all pairs, from a full matrix; only those that exist."""
    profiles = np.asarray(profiles, dtype=np.float64)
    unit = profiles[profiles.any(axis=1)]
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    return np.round((unit @ unit.T)[np.triu_indices(len(unit), k=1)], 9)


@pytest.fixture(params=["numpy", "compiled"])
def path(request, monkeypatch):
    """Either way to count, whatever the size."""
    monkeypatch.setattr(tails_module, "COMPILED_SCORES", 0 if request.param == "compiled" else np.inf)
    return request.param


@pytest.mark.parametrize(("tails", "expected"), [((0.1, 0.9), 0.0), ((0.2, 0.8), 1.0)])
def test_the_ends_of_five_values(tails, expected):
    lower, upper = hits_in_tails([1, 2, 3, 4, 5], [1, 5], tails=tails)
    assert (lower | upper).mean() == expected
    assert lower.tolist() == [expected == 1, False]
    assert upper.tolist() == [False, expected == 1]


@settings(max_examples=200, deadline=None)
@given(null=VALUES, query=VALUES, tails=TAILS)
def test_hits_are_those_of_the_published_function(null, query, tails):
    lower, upper = hits_in_tails(null, query, tails=tails)
    assert (lower | upper).mean() == published_recall(np.array(null), np.array(query), tails)


def test_nothing_is_a_hit_among_nothing_and_nan_never_is():
    assert not np.any(hits_in_tails([], [1.0, 2.0]))
    lower, upper = hits_in_tails(np.arange(100), [np.nan, -1.0, 200.0])
    assert lower.tolist() == [False, True, False]
    assert upper.tolist() == [False, False, True]


def check_thresholds(profiles, tails):
    """Compare with a full matrix of cosines."""
    made = map_of(profiles)
    null, found = all_cosines(profiles), null_thresholds(made, tails=tails)
    assert found.n_null == len(null)
    assert found.tails == tails
    if not len(null):
        assert np.isnan([found.lower, found.upper]).all()
        return
    # Between, on and beyond all values.
    query = np.concatenate([null, null - 1e-8, null + 1e-8, [-2.0, 2.0]])
    lower, upper = hits_in_tails(null, query, tails=tails)
    np.testing.assert_array_equal(query < found.lower, lower)
    np.testing.assert_array_equal(query > found.upper, upper)


@settings(max_examples=60, deadline=None)
@given(profiles=LATTICE, tails=TAILS)
def test_thresholds_are_those_of_all_cosines_however_many_tie(profiles, tails):
    check_thresholds(profiles, tails)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("tails", [(0.05, 0.95), (0.0, 1.0), (0.5, 0.5), (0.001, 0.6)])
@pytest.mark.parametrize("n", [3, 50, 600])
def test_thresholds_are_those_of_all_cosines(n, tails, monkeypatch):
    # The windows come from a draw, and a block holds some lines only.
    monkeypatch.setattr(tails_module, "_FEW_PAIRS", 100)
    monkeypatch.setattr(tails_module, "_SMALL_BLOCK_BYTES", 8 * 1000)
    monkeypatch.setattr(tails_module, "_BLOCK_BYTES", 8 * 5000)
    profiles = np.random.default_rng(n).normal(size=(n, 7))
    profiles[: n // 3] += 2.0
    check_thresholds(profiles.astype(np.float32), tails)


def test_both_ways_to_count_agree(monkeypatch):
    monkeypatch.setattr(tails_module, "_FEW_PAIRS", 1000)
    made, source = random_map(700, 20, seed=3), random_known(700, 900, seed=4, n_groups=30)
    found = []
    for least in (0, np.inf):
        monkeypatch.setattr(tails_module, "COMPILED_SCORES", least)
        found.append((null_thresholds(made), relationship_recall(made, [source]), matched_control(made, [source])))
    assert found[0] == found[1]


@pytest.mark.usefixtures("path")
def test_a_window_that_misses_is_widened(monkeypatch):
    monkeypatch.setattr(tails_module, "_FEW_PAIRS", 100)
    made = random_map(300, 6, seed=5)
    expected, passes = null_thresholds(made), []
    counted = tails_module._counted
    monkeypatch.setattr(tails_module, "_counted", lambda *given: passes.append(given[1]) or counted(*given))
    # Two values on either side of the draw's own are not enough.
    monkeypatch.setattr(tails_module, "_WIDTHS", (0.0, np.inf))
    assert null_thresholds(made) == expected
    assert len(passes) == 2
    # A draw that says nothing of the map is a slower way to the same thresholds.
    passes.clear()
    monkeypatch.setattr(tails_module, "_WIDTHS", (5.0, np.inf))
    monkeypatch.setattr(
        tails_module, "_window", lambda sample, share, *, width, slack: (3.0, 4.0) if width == 5 else (-9.0, 9.0)
    )
    assert null_thresholds(made) == expected
    assert len(passes) == 2


def test_ties_without_number_need_no_room(monkeypatch):
    monkeypatch.setattr(tails_module, "_MOST_COLLECTED", 500)
    monkeypatch.setattr(tails_module, "_SMALL_BLOCK_BYTES", 8 * 1000)
    check_thresholds(np.random.default_rng(1).integers(-1, 2, size=(120, 3)), (0.05, 0.95))


def test_no_matrix_of_all_pairs_is_kept():
    made = random_map(3000, 8, seed=6)
    tracemalloc.start()
    null_thresholds(made)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 8 * 3000**2 / 3
