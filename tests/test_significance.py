"""The tests every verdict shares, against scipy.stats."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, hypergeom
from scipy.stats import fisher_exact as scipy_fisher

from explorer.significance import (
    MOST_ENUMERATED,
    add_one_p,
    benjamini_hochberg,
    effective_units,
    fisher_exact,
    hypergeometric_upper_tail,
    sign_flip,
    sign_flips,
)

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


def every_flip(values):
    """Absolute sums under every choice of signs, one by one."""
    return [abs(sum(sign * value for sign, value in zip(signs, values, strict=True)))
            for signs in product((-1, 1), repeat=len(values))]  # fmt: skip


@pytest.mark.parametrize(
    ("contributions", "total", "half_width", "p"),
    [([1] * 5, 5, 5, 0.0625), ([1] * 6, 6, 4, 0.03125), ([10, 1, 1, 1, 1, 1], 15, 13, 0.03125)],
)
def test_sums_of_few_units_are_exact(contributions, total, half_width, p):
    found = sign_flip(contributions).times(len(contributions))
    assert (found.estimate, found.half_width, found.p) == (total, half_width, p)
    assert found.is_exact
    assert found.n_discordant == len(contributions)
    assert found.low == pytest.approx(total - half_width)
    assert found.high == pytest.approx(total + half_width)


def test_units_that_do_not_differ_leave_the_interval_as_wide_as_it_was():
    alone, among = sign_flip([3.0, -1.0, 2.0]), sign_flip([3.0, -1.0, 2.0, 0.0, 0.0, 0.0])
    assert among.n_units == 6
    assert among.n_discordant == 3
    assert among.p == alone.p
    assert among.half_width == pytest.approx(alone.half_width / 2)


def test_equal_sides_show_nothing_and_no_unit_gives_no_number():
    equal = sign_flip(np.zeros(30))
    assert (equal.estimate, equal.half_width, equal.p, equal.n_discordant) == (0, 0, 1, 0)
    assert not equal.excludes_zero
    none = sign_flip([])
    assert none.n_units == 0
    assert np.isnan([none.estimate, none.low, none.high, none.p, none.smallest_detectable]).all()


@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_few_units_follow_the_definition_choice_by_choice(values):
    found = sign_flip(values).times(len(values))
    null = every_flip(values)
    assert found.p == pytest.approx(np.mean([value >= abs(sum(values)) for value in null]))
    # The half width is the least value that at least 95 % of all choices stay within.
    assert np.mean([value <= found.half_width + 1e-9 for value in null]) >= 0.95
    assert np.mean([value < found.half_width - 1e-9 for value in null]) < 0.95


@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.floats(-1, 1), min_size=1, max_size=40), seed=st.integers(0, 5))
def test_the_interval_excludes_zero_exactly_where_p_says_so(values, seed):
    found = sign_flip(values, seed=seed, n_flips=999)
    assert found.excludes_zero == (found.p <= 0.05)
    turned = sign_flip(-np.array(values), seed=seed, n_flips=999)
    assert turned.estimate == -found.estimate
    assert (turned.half_width, turned.p) == (found.half_width, found.p)


def test_drawn_signs_agree_with_all_of_them():
    values = np.random.default_rng(3).normal(size=MOST_ENUMERATED + 1)
    drawn = sign_flip(values, n_flips=20_000).times(len(values))
    assert not drawn.is_exact
    null = np.array(every_flip(values))
    assert drawn.p == pytest.approx((null >= abs(values.sum())).mean(), abs=0.01)
    assert drawn.half_width == pytest.approx(np.quantile(null, 0.95), rel=0.02)


def test_several_sets_are_tested_as_each_alone():
    rng = np.random.default_rng(0)
    columns = [rng.normal(size=n) for n in (5, 40, 40, 13, 0)]
    for alone, together in zip(
        (sign_flip(column, seed=2) for column in columns), sign_flips(columns, seed=2), strict=True
    ):
        np.testing.assert_allclose(
            [alone.estimate, alone.half_width, alone.p], [together.estimate, together.half_width, together.p]
        )


def test_the_smallest_detectable_difference_is_found_four_times_in_five():
    rng = np.random.default_rng(1)
    planned = [sign_flip(rng.normal(size=60), n_flips=499).smallest_detectable for _ in range(20)]
    true = float(np.mean(planned))
    found = [sign_flip(true + rng.normal(size=60), seed=seed, n_flips=499).excludes_zero for seed in range(400)]
    assert 0.73 < np.mean(found) < 0.87


def test_a_contribution_without_a_score_is_refused():
    with pytest.raises(ValueError, match="NaN or infinite"):
        sign_flip([1.0, float("nan")])


def test_effective_units_count_equal_ones_fully_and_small_ones_hardly():
    assert effective_units([1, -1, 1, 0]) == pytest.approx(3)
    assert effective_units([100, 1, 1]) == pytest.approx(1, abs=0.01)
    assert np.isnan(effective_units([0, 0]))


@settings(max_examples=200, deadline=None)
@given(counts=st.lists(st.integers(0, 40), min_size=4, max_size=4))
def test_fisher_is_that_of_scipy(counts):
    table = np.reshape(counts, (2, 2))
    assert fisher_exact(table) == pytest.approx(scipy_fisher(table).pvalue, rel=1e-9)
    assert fisher_exact(table.T) == pytest.approx(fisher_exact(table), rel=1e-9)
    assert fisher_exact(table[::-1]) == pytest.approx(fisher_exact(table), rel=1e-9)


def test_fisher_sums_all_tables_as_unlikely_in_a_loop():
    # Tea: eight cups, three of four told right; 17 of 35.
    assert fisher_exact([[3, 1], [1, 3]]) == pytest.approx(34 / 70)
    law = hypergeom(15, 6, 7)
    own = law.pmf(1)
    assert fisher_exact([[1, 6], [5, 3]]) == pytest.approx(
        sum(law.pmf(k) for k in range(7) if law.pmf(k) <= own * (1 + 1e-7))
    )


@pytest.mark.parametrize("table", [[[0, 0], [3, 4]], [[0, 3], [0, 4]], [[0, 0], [0, 0]], [[5, 0], [7, 0]]])
def test_fisher_of_an_empty_margin_is_1(table):
    assert fisher_exact(table) == 1


def test_fisher_of_large_counts_is_finite():
    table = [[900, 1_100], [1_100, 900]]
    assert fisher_exact(table) == pytest.approx(scipy_fisher(table).pvalue, rel=1e-6)
    assert 0 < fisher_exact([[0, 2_000], [2_000, 0]]) < 1e-300 or fisher_exact([[0, 2_000], [2_000, 0]]) == 0
