"""Cosines of all pairs on a grid: each pair once, whatever the blocks."""

import numpy as np
import pytest

from explorer import cosine_counts
from explorer.cosine_counts import count_steps, step_blocks


def unit_rows(n, n_features, *, seed=0):
    values = np.random.default_rng(seed).normal(size=(n, n_features))
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@pytest.mark.parametrize("block", [1, 10, 57, 10**6])
@pytest.mark.parametrize("resolution", [10, 1000])
def test_steps_are_those_of_a_loop(block, resolution, monkeypatch):
    monkeypatch.setattr(cosine_counts, "_BLOCK_VALUES", block)
    unit = unit_rows(23, 4)
    expected, seen = {}, {}
    counts = np.zeros(2 * resolution + 1, dtype=int)
    for i in range(23):
        for j in range(i + 1, 23):
            expected[i, j] = round(float(unit[i] @ unit[j]) * resolution) + resolution
            counts[expected[i, j]] += 1
    for start, stop, steps in step_blocks(unit, resolution=resolution):
        assert steps.shape == (stop - start, 23 - start - 1)
        for line, column in np.argwhere(steps <= 2 * resolution).tolist():
            pair = (start + line, start + 1 + column)
            assert pair not in seen
            seen[pair] = int(steps[line, column])
    assert seen == expected
    np.testing.assert_array_equal(count_steps(unit, resolution=resolution), counts)


def test_equal_and_opposite_rows_stand_at_the_ends():
    unit = unit_rows(1, 50).repeat(3, axis=0) * np.array([[1], [1], [-1]])
    counts = count_steps(unit, resolution=10**6)
    assert counts[-1] == 1
    assert counts[0] == 2
    assert counts.sum() == 3


@pytest.mark.parametrize("n", [0, 1])
def test_no_pair_is_no_count(n):
    assert list(step_blocks(unit_rows(n, 3), resolution=10)) == []
    assert count_steps(unit_rows(n, 3), resolution=10).sum() == 0
