"""One pass over the rows: merged blocks give what a loop over all rows gives."""

import numpy as np
import pytest
from builders import CONTROL, CountingSource, Rows, batched_rows, ragged
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer import moments as moments_module
from explorer.errors import InputError
from explorer.labels import FITTING, HELD_OUT, SAMPLED, label_rows
from explorer.moments import (
    ScreenMoments,
    block_moments,
    collect_moments,
    describe_excluded,
    excluded_rows,
    merge_moments,
)
from explorer.rowsums import row_adder
from explorer.screen import Representation


def collected(screened: Rows, **options) -> ScreenMoments:
    screen = screened.screen
    return collect_moments(screen, screen.representation("raw"), **options)


def assert_same(one: ScreenMoments, other: ScreenMoments, *, tolerance: float = 1e-9) -> None:
    for name in ("unit", "unit_count", "control", "control_count", "excluded"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(one.held_out.row, other.held_out.row)
    np.testing.assert_array_equal(one.held_out.values, other.held_out.values)
    for name in ("unit_mean", "control_mean", "control_scatter"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=tolerance, atol=tolerance)


def test_means_and_scatter_are_those_of_a_loop():
    rows = batched_rows(seed=1)
    found = collected(rows, chunk_rows=10)
    units: dict[tuple[str, str, str], list[np.ndarray]] = {}
    controls: dict[str, list[np.ndarray]] = {}
    for name, guide, batch, values in zip(rows.perturbations, rows.guide, rows.batch, rows.values, strict=True):
        if name == CONTROL:
            controls.setdefault(batch, []).append(values.astype(float))
        else:
            units.setdefault((name, guide, batch), []).append(values.astype(float))
    assert found.labels.units.rows() == sorted(units)
    assert found.labels.batches == tuple(sorted(controls))
    np.testing.assert_array_equal(found.unit_count, [len(units[unit]) for unit in sorted(units)])
    np.testing.assert_allclose(found.unit_mean, [np.mean(units[unit], axis=0) for unit in sorted(units)], rtol=1e-10)
    every = found.controls()
    for number, batch in enumerate(sorted(controls)):
        assert every.count[number] == len(controls[batch])
        deviations = np.array(controls[batch]) - np.mean(controls[batch], axis=0)
        np.testing.assert_allclose(every.scatter[number], deviations.T @ deviations, rtol=1e-9, atol=1e-9)


def test_half_of_the_controls_of_every_batch_are_held_out():
    rows = batched_rows(seed=1, n_controls=21)
    found, labels = collected(rows, chunk_rows=10), label_rows(rows.screen)
    fitting = found.controls("fitting")
    np.testing.assert_array_equal(fitting.count, 11)
    np.testing.assert_array_equal(found.controls().count, 21)
    for number, batch in enumerate(found.labels.batches):
        own = [row for row in np.flatnonzero(labels.role == FITTING) if rows.batch[row] == batch]
        values = rows.values[own].astype(float)
        np.testing.assert_allclose(fitting.mean[number], values.mean(axis=0), rtol=1e-9)
        deviations = values - values.mean(axis=0)
        np.testing.assert_allclose(fitting.scatter[number], deviations.T @ deviations, rtol=1e-9, atol=1e-9)
    held = np.flatnonzero(labels.role > FITTING)
    assert len(held) == 30
    np.testing.assert_array_equal(found.held_out.row, held)
    np.testing.assert_array_equal(found.held_out.values, rows.values[held])
    assert [found.labels.batches[number] for number in found.held_out.batch] == [rows.batch[row] for row in held]


def test_the_choice_of_held_out_controls_follows_the_seed():
    screen = batched_rows(seed=1).screen
    one, again, other = (label_rows(screen, seed=seed).role for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_few_held_out_controls_are_kept_from_every_batch():
    rows = batched_rows(seed=1)
    labels = label_rows(rows.screen, most_sampled=9)
    assert np.bincount(labels.batch[labels.role == SAMPLED]).tolist() == [3, 3, 3]
    assert np.bincount(labels.batch[labels.role == HELD_OUT]).tolist() == [9, 9, 9]


@pytest.mark.parametrize("most_bytes", [2**25, 4 * 5 * 30, 4])
def test_medians_of_controls_are_those_of_a_loop(most_bytes, monkeypatch):
    monkeypatch.setattr(moments_module, "MOST_KEPT_BYTES", most_bytes)
    rows = batched_rows(seed=2)
    rows.values[rows.perturbations.index(CONTROL), 1] = np.nan
    found = collected(rows, medians=True)
    for part in ("all", "fitting"):
        medians, deviations = found.controls(part).medians
        for number, batch in enumerate(found.labels.batches):
            own = [
                row
                for row, name in enumerate(rows.perturbations)
                if name == CONTROL
                and rows.batch[row] == batch
                and np.isfinite(rows.values[row]).all()
                and (part == "all" or found.labels.role[row] == FITTING)
            ]
            expected = np.median(rows.values[own], axis=0)
            np.testing.assert_allclose(medians[number], expected, rtol=1e-6)
            np.testing.assert_allclose(
                deviations[number], np.median(np.abs(rows.values[own] - expected), axis=0), rtol=1e-5
            )


def test_both_loops_over_the_rows_agree():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(300, 9)).astype(np.float32)
    values[3], values[50] = np.nan, np.inf
    values[7, 8] = -np.inf
    slots = rng.integers(-1, 6, size=300).astype(np.int32)
    results = []
    for adder in (row_adder(0), row_adder(2**40)):
        sums, counts = np.ones((6, 9)), np.zeros(6, dtype=np.int64)
        finite = adder(values, slots, (sums, counts))
        results.append((finite, sums, counts))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    assert np.flatnonzero(~results[0][0]).tolist() == [3, 7, 50]


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=5), seed=st.integers(0, 3))
def test_block_lengths_never_change_moments(lengths, seed):
    screen = batched_rows(seed=seed).screen
    whole = screen.representation("raw")
    assert_same(collect_moments(screen, ragged(whole, tuple(lengths))), collect_moments(screen, whole))


@settings(max_examples=30, deadline=None)
@given(cuts=st.tuples(st.integers(0, 128), st.integers(0, 128)), seed=st.integers(0, 3))
def test_merging_is_associative_and_commutative(cuts, seed):
    rows = batched_rows(seed=seed)
    labels = label_rows(rows.screen)
    first, second = sorted(cuts)
    a, b, c = (
        block_moments(rows.values[start:stop], labels, start=start)
        for start, stop in ((0, first), (first, second), (second, len(rows.values)))
    )
    assert_same(merge_moments(merge_moments(a, b), c), merge_moments(a, merge_moments(b, c)))
    assert_same(merge_moments(merge_moments(a, b), c), merge_moments(c, merge_moments(b, a)))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_row_order_never_changes_moments(seed):
    rows = batched_rows(seed=2)
    shuffled = rows.take(np.random.default_rng(seed).permutation(len(rows.values)))
    one, other = collected(rows), collected(shuffled, chunk_rows=13)
    np.testing.assert_array_equal(one.unit_count, other.unit_count)
    np.testing.assert_allclose(one.unit_mean, other.unit_mean, rtol=1e-9, atol=1e-9)
    # Which controls are held out depends on their order; all of them together do not.
    for name in ("count", "mean", "scatter"):
        np.testing.assert_allclose(getattr(one.controls(), name), getattr(other.controls(), name), rtol=1e-9, atol=1e-9)


def test_variance_survives_a_large_mean():
    # E[x²] − E[x]² would keep four digits of these; every value is exact in float32.
    rng = np.random.default_rng(0)
    small = rng.integers(-8, 9, size=(200, 3)) / 8
    names = [CONTROL] * 190 + ["A", "B", "C", "D", "E"] * 2
    far = Rows(names, (small + 2.0**19).astype(np.float32))
    near = Rows(names, small.astype(np.float32))
    np.testing.assert_allclose(
        collected(far, chunk_rows=7).controls().scatter, collected(near).controls().scatter, rtol=1e-9, atol=1e-7
    )


@pytest.mark.parametrize("chunk_rows", [None, 1, 7, 10_000])
def test_every_row_is_read_once(chunk_rows):
    rows = batched_rows(seed=3)
    source = CountingSource(rows.values)
    collect_moments(rows.screen, Representation("raw", "simple", source), chunk_rows=chunk_rows)
    read = [row for start, stop in source.reads for row in range(start, stop)]
    assert read == list(range(len(rows.values)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("chunk_rows", [None, 5])
def test_rows_that_are_not_finite_are_left_out_and_named(bad, chunk_rows):
    rows = batched_rows(seed=4)
    values = rows.values.copy()
    gone = [rows.perturbations.index("G03"), rows.perturbations.index(CONTROL), rows.perturbations.index("G05")]
    values[gone, [0, 1, 2]] = bad
    kept = np.setdiff1d(np.arange(len(values)), gone)
    found = collected(Rows(rows.perturbations, values, rows.batch, rows.guide), chunk_rows=chunk_rows)
    expected = collected(rows.take(kept))
    np.testing.assert_array_equal(found.excluded, sorted(gone))
    np.testing.assert_array_equal(found.controls().count, expected.controls().count)
    np.testing.assert_allclose(found.controls().scatter, expected.controls().scatter, rtol=1e-10)
    np.testing.assert_allclose(found.unit_mean, expected.unit_mean, rtol=1e-10)
    wrong = Rows(rows.perturbations, values, rows.batch, rows.guide)
    np.testing.assert_array_equal(excluded_rows(wrong.screen, wrong.screen.representation("raw")), sorted(gone))
    sentence = describe_excluded(found.excluded, rows.screen)
    assert sentence.startswith("3 rows with NaN or infinite values left out: ")
    for name in ("'G03'", "'G05'", "'ctrl'"):
        assert name in sentence


def test_nothing_is_said_when_nothing_is_left_out():
    rows = batched_rows(seed=4)
    assert describe_excluded(collected(rows).excluded, rows.screen) == ""


def test_one_row_left_out_is_one_row():
    rows = batched_rows(seed=4)
    one = describe_excluded(np.array([rows.perturbations.index("G03")]), rows.screen)
    assert one == "1 row with NaN or infinite values left out: 'G03'"


def test_no_finite_row_is_an_error():
    rows = batched_rows()
    with pytest.raises(InputError, match="'raw' has no row of finite numbers"):
        collected(Rows(rows.perturbations, np.full_like(rows.values, np.nan), rows.batch))
    empty = Rows(rows.perturbations, np.full_like(rows.values, np.nan), rows.batch).screen
    with pytest.raises(InputError, match="'raw' has no row of finite numbers"):
        excluded_rows(empty, empty.representation("raw"))


def test_rows_without_a_batch_are_an_error():
    rows = batched_rows()
    rows.batch[3] = None
    with pytest.raises(InputError, match="1 row has no batch in column 'batch'"):
        collected(rows)


def test_a_filter_keeps_rows_out_of_units_and_of_controls():
    rows = batched_rows(seed=5)
    used = np.random.default_rng(0).random(len(rows.values)) < 0.6
    found, expected = collected(rows, rows=used), collected(rows.take(np.flatnonzero(used)))
    assert found.labels.units.rows() == expected.labels.units.rows()
    np.testing.assert_allclose(found.unit_mean, expected.unit_mean, rtol=1e-10)
    np.testing.assert_allclose(found.controls().scatter, expected.controls().scatter, rtol=1e-10)


@pytest.mark.parametrize("keep", [False, True])
def test_controls_form_units_only_when_they_stay_in_the_map(keep):
    rows = batched_rows()
    rows.keep_controls = keep
    found = collected(rows)
    assert (CONTROL in found.labels.units["perturbation"].to_list()) is keep
    assert found.control_count.sum() == rows.control.sum()


@pytest.mark.parametrize(("n_controls", "kept"), [(3, True), (4, False)])
def test_controls_themselves_are_kept_only_while_a_covariance_of_them_must_be_shrunk(n_controls, kept):
    # 3 batches × 3 = 9 < 2 × 5 features; 3 × 4 = 12 is enough.
    found = collected(batched_rows(n_controls=n_controls), chunk_rows=4)
    assert (found.controls().rows is not None) is kept
    if kept:
        assert len(found.controls().rows[0]) == 3 * n_controls


def test_very_many_features_keep_only_variances(monkeypatch):
    rows = batched_rows(seed=6)
    full = collected(rows)
    monkeypatch.setattr(moments_module, "MOST_COVARIANCE_BYTES", 0)
    narrow = collected(rows, chunk_rows=9)
    assert not narrow.controls().has_covariance
    np.testing.assert_allclose(
        narrow.controls().scatter, np.diagonal(full.controls().scatter, axis1=1, axis2=2), rtol=1e-9, atol=1e-9
    )
