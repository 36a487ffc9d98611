"""The position score of controls against a loop, its chance level and its p."""

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from explorer.position import position_retrieval
from explorer.retrieval import unit_vectors


def position_naive(values, position, batch):
    vectors = unit_vectors(values)
    scores = []
    for i in range(len(values)):
        there = batch != batch[i]
        relevant = position[there] == position[i]
        if relevant.any() and not relevant.all():
            scores.append(average_precision_score(relevant, vectors[there] @ vectors[i]))
    return np.mean(scores) if scores else math.nan, len(scores)


def plates(*, n_plates=4, n_wells=12, strength=0.0, n_features=20, seed=0):
    rng = np.random.default_rng(seed)
    position, batch = np.tile(np.arange(n_wells), n_plates), np.repeat(np.arange(n_plates), n_wells)
    values = rng.normal(size=(len(batch), n_features)) + strength * rng.normal(size=(n_wells, n_features))[position]
    return values, position, batch


@pytest.mark.parametrize("strength", [0.0, 0.5, 3.0])
def test_position_score_is_the_mean_average_precision_of_controls(strength):
    values, position, batch = plates(strength=strength)
    kept = np.random.default_rng(1).permutation(len(batch))[:40]
    values, position, batch = values[kept], position[kept], batch[kept]
    score, chance, p, n_controls = position_retrieval(values, position, batch, n_null=199)
    expected, n_expected = position_naive(values, position, batch)
    assert score == pytest.approx(expected)
    assert n_controls == n_expected
    assert 0 < chance < 0.3
    assert p == pytest.approx(1 / 200) if strength == 3 else p > 1 / 200 or strength


def test_chance_of_positions_is_what_permutations_score():
    scores = [position_retrieval(*plates(seed=seed), n_null=0) for seed in range(60)]
    found = np.array([score for score, *_ in scores])
    assert found.mean() == pytest.approx(scores[0][1], abs=4 * found.std() / np.sqrt(60))


def test_without_position_effects_p_is_uniform():
    p = np.array([position_retrieval(*plates(seed=seed, n_wells=6), n_null=99)[2] for seed in range(200)])
    assert (p <= 0.05).mean() == pytest.approx(0.05, abs=0.045)
    assert p.mean() == pytest.approx(0.5, abs=0.08)


def test_constant_controls_find_their_position_by_chance_only():
    values, position, batch = plates(n_wells=40)
    score, chance, p, _ = position_retrieval(np.ones_like(values), position, batch, n_null=99)
    assert score == pytest.approx(chance, abs=0.03)
    assert p > 0.01


@pytest.mark.parametrize("shared", [False, True])
def test_positions_that_do_not_repeat_say_nothing(shared):
    values, position, batch = plates(n_plates=2)
    position = np.zeros(len(batch), dtype=int) if shared else np.arange(len(batch))
    score, chance, p, n_controls = position_retrieval(values, position, batch)
    assert math.isnan(score)
    assert math.isnan(chance)
    assert math.isnan(p)
    assert n_controls == 0


def test_where_positions_are_large_fewer_controls_query():
    values, position, batch = plates(n_plates=2, n_wells=900, n_features=3, strength=0.5)
    everything = position_retrieval(values, position % 2, batch, n_null=9)
    assert 100 < everything[3] < 1800
    again = position_retrieval(values, position % 2, batch, n_null=9)
    assert everything == again
    expected, _ = position_naive(values, position % 2, batch)
    assert everything[0] == pytest.approx(expected, abs=0.02)
