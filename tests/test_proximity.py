"""Proximity bias against scipy and loops over pairs, and its correction."""

import itertools
import warnings

import numpy as np
import pytest
from builders import map_of, names_of, random_map
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from explorer.errors import InputError
from explorer.proximity import brunner_munzel, proximity_bias, subtract_arm_mean

SAMPLES = st.lists(st.integers(-3, 3).map(float), min_size=2, max_size=30)


@settings(max_examples=100, deadline=None)
@given(one=SAMPLES, other=SAMPLES)
def test_brunner_munzel_is_that_of_scipy(one, other):
    probability, p = brunner_munzel(one, other)
    wins = [(a > b) + 0.5 * (a == b) for a, b in itertools.product(one, other)]
    assert probability == pytest.approx(np.mean(wins))
    with warnings.catch_warnings():
        # scipy's, of samples that do not overlap or are constant.
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = stats.brunnermunzel(other, one, alternative="less").pvalue
    if np.isfinite(expected):
        assert p == pytest.approx(expected, rel=1e-9, abs=1e-12)
    else:
        assert p in (0.0, 1.0) or np.isnan(p)


def test_brunner_munzel_of_samples_that_do_not_overlap():
    assert brunner_munzel([3, 4], [1, 2]) == (1.0, 0.0)
    assert brunner_munzel([1, 2], [3, 4]) == (0.0, 1.0)
    probability, p = brunner_munzel([1, 1], [1, 1])
    assert probability == 0.5
    assert np.isnan(p)


def arms_of(n, n_arms=6):
    return {name: f"{1 + row % n_arms}q" for row, name in enumerate(names_of(n))}


def biased_profiles(n, *, n_arms=6, strength, seed=0):
    rng = np.random.default_rng(seed)
    arm = np.arange(n) % n_arms
    return rng.normal(size=(n, 20)) + strength * rng.normal(size=(n_arms, 20))[arm]


def test_proximity_bias_is_that_of_a_loop():
    n = 61
    arms = arms_of(n) | {names_of(n)[5]: "tiny", "not in the map": "1q"}
    del arms[names_of(n)[9]]
    profiles = biased_profiles(n, strength=0.6)
    profiles[12] = 0
    made = map_of(profiles)
    found = proximity_bias(made, arms)
    placed = [row for row in range(n) if row not in (9, 12)]
    unit = profiles.astype(np.float32) / np.where(made.norms > 0, made.norms, 1)[:, None]
    similarity = unit @ unit.T
    label = {row: arms[names_of(n)[row]] for row in placed}
    weights = []
    for line in found.arms.to_dicts():
        inside = [row for row in placed if label[row] == line["arm"]]
        outside = [row for row in placed if label[row] != line["arm"]]
        within = [similarity[pair] for pair in itertools.combinations(inside, 2)]
        cross = [similarity[pair] for pair in itertools.product(inside, outside)]
        assert (line["n_perturbations"], line["n_within"], line["n_cross"]) == (len(inside), len(within), len(cross))
        assert line["probability"] == pytest.approx(np.mean([a > b for a, b in itertools.product(within, cross)]))
        assert line["p"] == pytest.approx(stats.brunnermunzel(cross, within, alternative="less").pvalue, rel=1e-6)
        weights.append((line["n_within"], line["probability"]))
    assert "tiny" not in found.arms["arm"].to_list()
    assert found.arms.height == 6
    assert found.arms["probability"].is_sorted(descending=True)
    assert found.probability == pytest.approx(np.average([v for _, v in weights], weights=[w for w, _ in weights]))


def test_proximity_bias_is_half_where_there_is_none_and_gone_after_the_correction():
    n, arms = 360, arms_of(360)
    assert proximity_bias(random_map(n, 20, seed=1), arms).probability == pytest.approx(0.5, abs=0.02)
    # What a cut does is the same for all genes of the arm; the expressed ones show their own effect besides.
    rng = np.random.default_rng(2)
    profiles = biased_profiles(n, strength=1.0)
    expressed = np.arange(n) % 4 == 0
    own = rng.normal(size=(n, 20)) * 2
    profiles[expressed] += own[expressed]
    made = map_of(profiles)
    before = proximity_bias(made, arms)
    assert before.probability > 0.7
    corrected = subtract_arm_mean(
        made, arms, unexpressed=[name for name, is_on in zip(made.names, expressed, strict=True) if not is_on]
    )
    after = proximity_bias(corrected, arms)
    assert after.probability == pytest.approx(0.5, abs=0.03)
    assert corrected.fingerprint != made.fingerprint
    assert corrected.recipe.notes == (
        "mean of the unexpressed genes of each arm subtracted (270 genes; too few in 0 of 6 arms)",
    )


def test_the_arm_mean_is_subtracted_where_there_are_enough_unexpressed_genes():
    n = 24
    arms = {name: "1p" if row < 12 else "2q" for row, name in enumerate(names_of(n)) if row != 3}
    profiles = np.random.default_rng(3).normal(size=(n, 4))
    made = map_of(profiles)
    unexpressed = [*names_of(n)[4:10], *names_of(n)[20:23], "elsewhere"]
    found = subtract_arm_mean(made, arms, unexpressed=unexpressed)
    expected = profiles.copy()
    moved = [row for row in range(12) if row != 3]
    expected[moved] -= profiles[4:10].mean(axis=0)
    np.testing.assert_allclose(found.profiles, expected, atol=1e-6)
    assert "6 genes; too few in 1 of 2 arms" in found.recipe.notes[-1]
    other = subtract_arm_mean(made, arms, unexpressed=names_of(n)[4:9])
    assert len({made.fingerprint, found.fingerprint, other.fingerprint}) == 3
    np.testing.assert_array_equal(made.profiles, map_of(profiles).profiles)


def test_arms_that_can_not_be_used_are_refused():
    made = random_map(30, 5, seed=0)
    with pytest.raises(InputError, match=r"none of the 30 perturbations has a position"):
        proximity_bias(made, {"TP53": "17p"})
    with pytest.raises(
        InputError, match=r"no arm has 5 or more unexpressed genes in the map, 1 of the 2 named are in it"
    ):
        subtract_arm_mean(made, arms_of(30), unexpressed=["P0001", "TP53"])
    # One arm has no others to be compared with; small ones too few pairs.
    assert np.isnan(proximity_bias(made, dict.fromkeys(made.names, "1p")).probability)
    assert proximity_bias(made, arms_of(30)).arms.height == 0
    assert proximity_bias(made, arms_of(30), more_than=5).arms.height == 6
