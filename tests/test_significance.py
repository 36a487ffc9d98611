"""The tests every verdict shares, against scipy.stats."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, hypergeom

from explorer.significance import add_one_p, benjamini_hochberg, hypergeometric_upper_tail

PROBABILITIES = st.lists(st.floats(0, 1), min_size=1, max_size=40)


@settings(max_examples=30, deadline=None)
@given(p=PROBABILITIES)
def test_q_values_are_the_published_ones(p):
    np.testing.assert_allclose(benjamini_hochberg(p), false_discovery_control(p), rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(p=PROBABILITIES, seed=st.integers(0, 100))
def test_order_of_tests_does_not_matter(p, seed):
    order = np.random.default_rng(seed).permutation(len(p))
    np.testing.assert_allclose(benjamini_hochberg(np.array(p)[order]), benjamini_hochberg(p)[order], rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(p=PROBABILITIES)
def test_q_values_rise_with_p_and_stay_between_p_and_one(p):
    q = benjamini_hochberg(p)
    assert (q >= np.array(p) - 1e-12).all()
    assert (q <= 1).all()
    assert (np.diff(q[np.argsort(p, kind="stable")]) >= -1e-12).all()


def test_what_was_not_tested_neither_counts_nor_gets_a_q():
    q = benjamini_hochberg([0.01, np.nan, 0.02, np.nan])
    np.testing.assert_allclose(q, [0.02, np.nan, 0.02, np.nan])
    assert np.isnan(benjamini_hochberg([np.nan])).all()
    assert benjamini_hochberg([]).shape == (0,)


def test_p_values_are_not_edited():
    p = np.array([0.5, 0.1])
    benjamini_hochberg(p)
    np.testing.assert_array_equal(p, [0.5, 0.1])


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_upper_tail_is_the_hypergeometric_one(data):
    total = data.draw(st.integers(1, 5000))
    drawn = data.draw(st.integers(1, min(total, 60)))
    sizes = np.array(data.draw(st.lists(st.integers(0, total), min_size=1, max_size=6)))
    overlap = np.array([data.draw(st.integers(0, min(drawn, int(size)) + 1)) for size in sizes])
    found = hypergeometric_upper_tail(overlap, sizes, n_drawn=drawn, n_total=total)
    np.testing.assert_allclose(found, hypergeom.sf(overlap - 1, total, sizes, drawn), rtol=1e-8, atol=1e-300)


@pytest.mark.parametrize(
    ("overlap", "size", "drawn", "total", "expected"),
    [
        (0, 5, 10, 100, 1.0),
        (2, 2, 2, 4, 1 / 6),
        (3, 2, 5, 10, 0.0),
        (4, 8, 6, 10, 1.0),
        (10, 10, 10, 20_000, hypergeom.pmf(10, 20_000, 10, 10)),
    ],
)
def test_tails_by_hand(overlap, size, drawn, total, expected):
    found = hypergeometric_upper_tail([overlap], [size], n_drawn=drawn, n_total=total)
    assert found[0] == pytest.approx(expected, rel=1e-8)


def test_p_counts_the_observed_one_in_and_is_never_zero():
    null = np.array([0.1, 0.2, 0.3, np.nan])
    np.testing.assert_allclose(add_one_p(null, np.array([0.2, 0.4, 0.0, np.nan])), [3 / 4, 1 / 4, 1, np.nan])
    assert np.isnan(add_one_p(np.array([np.nan]), np.array([0.2]))).all()
    np.testing.assert_allclose(add_one_p(null, np.array([0.3 + 1e-9]), tolerance=1e-6), [2 / 4])
