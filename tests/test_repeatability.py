"""What a context repeats of its own: the estimate by hand, planted halves, and halves of noise."""

import numpy as np
import pytest
from builders import map_of, module_profiles, random_map
from hypothesis import given, settings
from hypothesis import strategies as st
from test_stand_ins import pairs_known

from explorer.axis import axis_strata, centered
from explorer.edges import edge_tests
from explorer.errors import InputError
from explorer.repeatability import UNKNOWN, Repeatability, measure_repeatability


def repeatability_of(p):
    """Repeatability with given p."""
    values = np.sort(np.asarray(p, dtype=np.float64))
    return Repeatability(values, min(1.0, 2 * float((values > 0.5).mean())))


def halves_of(*, seed, noise=0.6, n=200):
    """Two measurements of the same profiles, some of which are modules of eight."""
    truth, _ = module_profiles(n_modules=15, size=8, n_others=n - 120, noise=0.3, seed=seed)
    rng = np.random.default_rng(seed)
    return tuple(map_of(truth + noise * rng.normal(size=truth.shape)) for _ in range(2))


def test_power_by_hand():
    # Ten edges, of which two have p above .5: four tenths are none.
    found = repeatability_of([0.01, 0.01, 0.02, 0.03, 0.1, 0.2, 0.3, 0.4, 0.6, 0.9])
    assert found.null_share == pytest.approx(0.4)
    assert found.power(0.1) == pytest.approx((0.5 - 0.4 * 0.1) / 0.6)
    assert found.power(0.0) == 0
    assert found.power(1.0) == 1
    # Never beyond 1: (.8 − .4 · .4) / .6 would be 1.067.
    assert found.power(0.4) == 1
    # Right before the next p the estimate is lowest: (.7 − .4 · .4) / .6 = .9 at .3, and .9 again right before .9.
    assert found.threshold(0.9) == pytest.approx(0.3)
    assert found.threshold(0.95) == pytest.approx(0.9)


def test_where_all_edges_are_real_the_threshold_is_a_quantile():
    found = repeatability_of(np.arange(1, 101) / 1000)
    assert found.null_share == 0
    assert found.threshold(0.95) == pytest.approx(0.095)
    assert found.power(0.095) == pytest.approx(0.95)


def test_without_replicates_nothing_is_known():
    found = measure_repeatability(None)
    assert found.note == UNKNOWN == "its own repeatability is unknown; a missing neighbour says nothing"
    assert found.tests is None
    assert len(found.p) == 0
    for value in (found.null_share, found.power(0.5), found.threshold()):
        assert np.isnan(value)


def test_where_all_seem_to_be_none_there_is_no_power():
    found = repeatability_of([0.2, 0.6, 0.7, 0.9])
    assert found.null_share == 1
    assert np.isnan(found.power(0.5))
    assert np.isnan(found.threshold())


@settings(max_examples=60, deadline=None)
@given(
    p=st.lists(st.integers(1, 200).map(lambda value: value / 200), min_size=1, max_size=60),
    power=st.sampled_from([0.5, 0.8, 0.95]),
)
def test_beyond_the_threshold_the_estimate_stays(p, power):
    found = repeatability_of(p)
    threshold = found.threshold(power)
    if found.null_share == 1:
        assert np.isnan(threshold)
        return
    assert threshold in found.p
    for value in np.r_[threshold, np.linspace(threshold, 1, 50), found.p[found.p >= threshold] - 1e-9]:
        if value >= threshold:
            assert found.power(value) >= power - 1e-6
    assert (np.diff([found.threshold(wanted) for wanted in (0.3, 0.6, 0.9, 0.99)]) >= 0).all()
    assert 0 <= found.power(0.3) <= 1


def test_planted_halves_repeat_their_modules():
    halves = halves_of(seed=1)
    found = measure_repeatability(halves, k=7, seed=3)
    module = np.r_[np.repeat(np.arange(15), 8), -1 - np.arange(80)]
    tests = found.tests
    true = module[tests.first] == module[tests.second]
    # Edges of one half tested in the other, as contexts are.
    one, other = (centered(half) for half in halves)
    direct = edge_tests(one, other, strata=axis_strata(one), k=7, seed=3)
    np.testing.assert_array_equal(found.p, np.sort(direct.p))
    assert not found.note
    assert found.null_share < 0.8
    threshold = found.threshold()
    assert (tests.p[true] <= threshold).mean() > 0.9
    assert found.power(threshold) >= 0.95


def test_halves_of_noise_repeat_nothing():
    shares = [
        measure_repeatability((random_map(200, 20, seed=seed), random_map(200, 20, seed=100 + seed))).null_share
        for seed in range(3)
    ]
    assert np.mean(shares) > 0.9


def test_halves_that_lack_perturbations_are_compared_over_those_of_both():
    one, other = halves_of(seed=2)
    fewer = other.restricted_to(other.names[:150])
    layout = np.arange(200) % 2
    found = measure_repeatability((one, fewer), layout=layout, known=[pairs_known(one.names, [(0, 1)])])
    assert found.tests.names == other.names[:150]
    with pytest.raises(InputError, match="150 layout units for 200 perturbations"):
        measure_repeatability((one, other), layout=layout[:150])


@pytest.mark.parametrize(
    "halves",
    [
        (random_map(20, 5, seed=0), random_map(20, 5, seed=1)),
        (random_map(100, 5, seed=0), map_of(np.eye(100), [f"Q{number:03d}" for number in range(100)])),
        (random_map(100, 5, seed=0), map_of(np.ones((100, 5)))),
        (map_of(np.ones((100, 5))), random_map(100, 5, seed=0)),
    ],
    ids=["too few", "other names", "constant", "constant first"],
)
def test_halves_that_can_not_tell_say_so(halves):
    found = measure_repeatability(halves)
    assert found.note.startswith(UNKNOWN + " (halves of its replicates: ")
    assert np.isnan(found.null_share)
    assert np.isnan(found.threshold())
