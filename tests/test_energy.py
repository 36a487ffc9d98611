"""Energy distance against a loop, its permutation test, and the front door."""

import math

import numpy as np
import polars as pl
import pytest
from builders import CountingSource
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from explorer.energy import MOST_ROWS, energy_distance, energy_distances, energy_test, perturbation_energy
from explorer.errors import InputError
from explorer.moments import collect_moments
from explorer.screen import Context, Representation, Roles, Screen


def energy_naive(x, y):
    def mean_distance(one, other, *, skip):
        total, n = 0.0, 0
        for i, a in enumerate(one):
            for j, b in enumerate(other):
                if not (skip and i == j):
                    total += math.dist(a, b)
                    n += 1
        return total / n

    return 2 * mean_distance(x, y, skip=False) - mean_distance(x, x, skip=True) - mean_distance(y, y, skip=True)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(2, 9))
def test_energy_distance_is_the_u_statistic(seed, n_x, n_y):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n_x, 3)), rng.normal(size=(n_y, 3)) + rng.normal()
    assert energy_distance(x, y) == pytest.approx(energy_naive(x, y), abs=1e-9)
    assert energy_distance(x, y) == pytest.approx(energy_distance(y, x), abs=1e-9)
    assert energy_distance(x + 7, y + 7) == pytest.approx(energy_distance(x, y), abs=1e-9)


def test_equal_distributions_give_zero_on_average_where_the_v_statistic_does_not():
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=(30, 50)), rng.normal(size=(300, 50))) for _ in range(40)]
    u = np.array([energy_distance(x, y) for x, y in pairs])
    v = np.array([2 * cdist(x, y).mean() - cdist(x, x).mean() - cdist(y, y).mean() for x, y in pairs])
    assert abs(u.mean()) < 0.01
    assert (u < 0).any()
    assert v.mean() == pytest.approx(0.367, abs=0.02)


def test_far_from_the_origin_distances_stay_exact():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 3)), rng.normal(size=(9, 3)) + 1
    assert energy_distance(x + 1e6, y + 1e6) == pytest.approx(energy_naive(x, y), abs=1e-6)


@pytest.mark.parametrize(("n_x", "n_y"), [(1, 5), (5, 1), (0, 5)])
def test_fewer_than_two_rows_have_no_distance(n_x, n_y):
    found = energy_test(np.zeros((n_x, 2)), np.ones((n_y, 2)))
    assert math.isnan(found.distance)
    assert math.isnan(found.p)


@pytest.mark.parametrize(("n_x", "n_y"), [(3, 40), (40, 3), (12, 15)])
def test_permuted_statistics_are_those_of_permuted_labels(n_x, n_y):
    rng = np.random.default_rng(n_x)
    x, y = rng.normal(size=(n_x, 2)) + 0.6, rng.normal(size=(n_y, 2))
    found = energy_test(x, y, n_permutations=1999, seed=1)
    rows = np.concatenate([x, y])
    exceeding = 0
    for _ in range(300):
        order = rng.permutation(len(rows))
        one, other = rows[order[:n_x]], rows[order[n_x:]]
        value = 2 * cdist(one, other).mean()
        value -= cdist(one, one).sum() / (n_x * (n_x - 1)) + cdist(other, other).sum() / (n_y * (n_y - 1))
        exceeding += value >= found.distance
    assert found.p == pytest.approx((1 + exceeding) / 301, abs=0.07)
    assert found == energy_test(x, y, n_permutations=1999, seed=1)


def test_labels_are_permuted_within_batches():
    # Two batches far apart and unevenly filled: without batches the sides differ, within them they don't.
    rng = np.random.default_rng(0)
    batch_x, batch_y = np.repeat([0, 1], [25, 5]), np.repeat([0, 1], [8, 40])
    far, shift = np.array([0.0, 0, 0, 6]), np.array([4.0, 0, 0, 0])
    x = rng.normal(size=(30, 4)) + far * batch_x[:, None]
    y = rng.normal(size=(48, 4)) + far * batch_y[:, None]
    assert energy_test(x, y).p == pytest.approx(1 / 1000)
    assert energy_test(x, y, batch_x=batch_x, batch_y=batch_y).p > 0.05
    assert energy_test(x + shift, y, batch_x=batch_x, batch_y=batch_y).p == pytest.approx(1 / 1000)


def test_batches_that_hold_one_side_alone_are_kept_as_they_are():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(10, 3)), rng.normal(size=(12, 3))
    nothing = energy_test(x, y, batch_x=np.zeros(10, dtype=int), batch_y=np.ones(12, dtype=int))
    assert math.isnan(nothing.p)
    assert nothing.distance == pytest.approx(energy_distance(x, y))
    some = energy_test(x, y, batch_x=np.r_[np.zeros(5, int), np.full(5, 2)], batch_y=np.r_[np.zeros(6, int), [1] * 6])
    assert 0 < some.p <= 1
    other = energy_test(y, x, batch_x=np.r_[np.zeros(6, int), [1] * 6], batch_y=np.r_[np.zeros(5, int), np.full(5, 2)])
    assert other.distance == pytest.approx(some.distance)
    assert other.p == pytest.approx(some.p, abs=0.06)


@pytest.mark.parametrize("n_x", [4, 30])
def test_p_is_uniform_where_nothing_differs(n_x):
    p = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        batch_x, batch_y = rng.integers(0, 2, n_x), rng.integers(0, 2, 40)
        x, y = rng.normal(size=(n_x, 3)) + batch_x[:, None], rng.normal(size=(40, 3)) + batch_y[:, None]
        p.append(energy_test(x, y, batch_x=batch_x, batch_y=batch_y, n_permutations=99, seed=seed).p)
    assert (np.array(p) <= 0.05).mean() == pytest.approx(0.05, abs=0.046)
    assert np.mean(p) == pytest.approx(0.5, abs=0.08)


def test_constant_rows_do_not_differ():
    found = energy_test(np.ones((5, 3)), np.ones((6, 3)))
    assert found.distance == pytest.approx(0)
    assert found.p == 1


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"y": np.zeros((3, 4))}, "x has 2 features and y 4: give both in the same representation"),
        ({"batch_x": np.zeros(3, dtype=int)}, "batches are given for one side only: give batch_x and batch_y"),
    ],
)
def test_what_does_not_fit_together_is_said(arguments, match):
    y = arguments.pop("y", np.zeros((3, 2)))
    with pytest.raises(InputError, match=match):
        energy_test(np.zeros((3, 2)), y, **arguments)


def screen_of(n_own, n_controls, *, shift=2.0, control=("ctrl",), seed=0):
    """Two batches; perturbation A is shifted, B is not."""
    rng = np.random.default_rng(seed)
    labels = ["ctrl"] * n_controls + ["A"] * n_own + ["B"] * n_own
    batch = rng.integers(0, 2, len(labels))
    values = rng.normal(size=(len(labels), 4)) + 5 * batch[:, None]
    values[np.array(labels) == "A", 0] += shift
    source = CountingSource(values.astype(np.float32))
    rows = pl.DataFrame({"perturbation": labels, "batch": batch})
    roles = Roles("perturbation", control=control, batch="batch")
    return Screen("data", Context("all"), rows, roles, {"raw": Representation("raw", "simple", source)}), source


def test_a_perturbation_is_compared_with_the_held_out_controls_of_its_batches():
    screen, source = screen_of(20, 80)
    moments = collect_moments(screen, screen.representation("raw"))
    source.reads.clear()
    found = perturbation_energy(screen, "raw", "A", alignment="center-scale", moments=moments)
    assert found.p == pytest.approx(1 / 1000)
    assert (found.n_x, found.n_y) == (20, 40)
    assert all(start >= 80 and stop <= 100 for start, stop in source.reads)
    silent = perturbation_energy(screen, "raw", "B", alignment="center-scale")
    assert silent.p > 0.05
    assert silent.distance < found.distance


def test_large_sides_are_sampled_and_said_to_be():
    screen, _ = screen_of(MOST_ROWS + 10, 2 * MOST_ROWS + 40, shift=0.0)
    found = perturbation_energy(screen, "raw", "A", n_permutations=9)
    assert (found.n_x, found.n_y) == (MOST_ROWS, MOST_ROWS)
    assert found.notes[0] == "2,000 of 2,010 rows of A used, chosen at random"
    assert found.notes[1].endswith(" held-out controls used, chosen at random")


def test_the_front_door_says_what_is_missing():
    screen, _ = screen_of(5, 20)
    with pytest.raises(InputError, match="unknown perturbation 'C'"):
        perturbation_energy(screen, "raw", "C")
    with pytest.raises(InputError, match="unknown alignment 'centre'"):
        perturbation_energy(screen, "raw", "A", alignment="centre")
    without, _ = screen_of(5, 20, control=())
    with pytest.raises(InputError, match="no controls to measure an energy distance from"):
        perturbation_energy(without, "raw", "A")


def test_distances_of_many_groups_are_those_of_each():
    rng = np.random.default_rng(3)
    reference = 100 + rng.normal(size=(80, 7))
    groups = [100 + shift + rng.normal(size=(rows, 7)) for rows, shift in ((30, 0.0), (2, 1.0), (1, 0.0), (50, 2.0))]
    found = energy_distances(groups, reference)
    expected = [energy_distance(group, reference) for group in groups]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    assert np.flatnonzero(np.isnan(found)).tolist() == [2]
    assert np.isnan(energy_distances(groups, reference[:1])).all()


def test_groups_must_have_the_features_of_the_reference():
    with pytest.raises(InputError, match="a group has 3 features and the reference 2: give both in one representation"):
        energy_distances([np.zeros((4, 3))], np.zeros((4, 2)))
