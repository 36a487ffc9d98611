"""Alignments against loops over the rows, the published shrinkage, and the fixtures of their definitions."""

import numpy as np
import pytest
from builders import ALIGNED, CONTROL, Rows, batched_rows, cosines, ragged
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import eigh, fractional_matrix_power
from sklearn.covariance import ledoit_wolf, ledoit_wolf_shrinkage

from explorer import align as align_module
from explorer import moments as moments_module
from explorer.aggregate import build_map
from explorer.align import EXPLANATIONS, METHODS, fit_alignment
from explorer.errors import InputError
from explorer.moments import collect_moments


def center_rows(values, batch, control, *, scale):
    """D1, row by row; statistics of a batch in a loop over its controls."""
    aligned = np.empty(values.shape)
    for row, (value, name) in enumerate(zip(values, batch, strict=True)):
        controls = np.array([values[i] for i in range(len(values)) if batch[i] == name and control[i]])
        mean = controls.sum(axis=0) / len(controls)
        sd = np.sqrt(((controls - mean) ** 2).sum(axis=0) / len(controls))
        aligned[row] = (value - mean) / np.where(sd == 0, 1, sd) if scale else value - mean
    return aligned


def robust_rows(values, batch, control):
    """D1, robust: median and 1.4826 MAD of the controls of the batch, 1 where it is 0."""
    aligned = np.empty(values.shape)
    for row, (value, name) in enumerate(zip(values, batch, strict=True)):
        controls = np.array([values[i] for i in range(len(values)) if batch[i] == name and control[i]])
        median = np.median(controls, axis=0)
        sd = 1.4826 * np.median(np.abs(controls - median), axis=0)
        aligned[row] = (value - median) / np.where(sd == 0, 1, sd)
    return aligned


def tvn_rows(values, batch, control):
    """D2, row by row: per-batch D1, PCA on all controls, unit control variance, CORAL per batch."""
    scaled = center_rows(values, batch, control, scale=True)
    controls = scaled[control]
    n, d = controls.shape
    covariance = controls.T @ controls / n if n >= 2 * d else ledoit_wolf(controls, assume_centered=True)[0]
    variances, directions = np.linalg.eigh(covariance)
    components = scaled @ directions / np.sqrt(variances)
    coral = {}
    for name in set(batch):
        own = components[control & (np.array(batch) == name)]
        coral[name] = fractional_matrix_power(own.T @ own / len(own) + 0.5 * np.eye(d), -0.5).real
    return np.array([components[row] @ coral[name] for row, name in enumerate(batch)])


def sphere_rows(values, batch, control):
    """D3: W = V Σ^-1 sqrt(n-1) V^T of the controls, centred in their batches."""
    centred = center_rows(values, batch, control, scale=False)
    n, d = centred[control].shape
    if n < 2 * d:
        values_, vectors = np.linalg.eigh(ledoit_wolf(centred[control], assume_centered=True)[0])
        return centred @ (vectors / np.sqrt(values_)) @ vectors.T
    _, singular, right = np.linalg.svd(centred[control], full_matrices=False)
    return centred @ (right.T / singular * np.sqrt(n - 1)) @ right


def align_rows(rows: Rows, method: str) -> np.ndarray:
    values, batch = rows.values.astype(float), rows.batch or ["all"] * len(rows.values)
    if method == "none":
        return values
    if method in ("center", "center-scale"):
        return center_rows(values, batch, rows.control, scale=method == "center-scale")
    by_rows = {"center-scale-robust": robust_rows, "tvn": tvn_rows, "sphere": sphere_rows}[method]
    return by_rows(values, batch, rows.control)


def fitted_rows(rows: Rows, method: str, *, lengths: tuple[int, ...] | None = None):
    """What the package makes of every row, with the moments streamed in blocks."""
    screen = rows.screen
    source = screen.representation("raw")
    moments = collect_moments(screen, source if lengths is None else ragged(source, lengths), medians=True)
    alignment = fit_alignment(moments, method)
    return alignment.apply(rows.values, moments.labels.batch), alignment


CASES = {
    "three batches": {},
    "one batch": {"n_batches": 1},
    "few controls": {"n_controls": 4, "n_features": 12},
    "exactly two a feature": {"n_controls": 10, "n_features": 15},
    "fewer controls in a batch than features": {"n_controls": 10, "n_features": 14},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("method", ["none", "center", "center-scale", "center-scale-robust", "sphere"])
def test_alignment_is_that_of_a_loop(method, case):
    rows = batched_rows(**CASES[case])
    found, _ = fitted_rows(rows, method, lengths=(11, 3, 40))
    np.testing.assert_allclose(found, align_rows(rows, method), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("method", METHODS)
def test_cosines_are_those_of_a_loop(method, case):
    # TVN's components are defined up to a rotation; what is compared later are cosines.
    rows = batched_rows(**CASES[case])
    found, _ = fitted_rows(rows, method, lengths=(1, 17, 5))
    np.testing.assert_allclose(cosines(found[:40]), cosines(align_rows(rows, method)[:40]), atol=1e-8)


@pytest.mark.parametrize("lengths", [(1,), (2, 50, 3), (1000,)])
@pytest.mark.parametrize("method", METHODS)
def test_streamed_map_equals_the_map_of_aligned_rows(method, lengths, monkeypatch):
    rows = batched_rows(guides=False, seed=7)
    aligned, names = align_rows(rows, method), sorted(set(rows.perturbations) - {CONTROL})
    expected = np.array([aligned[np.array(rows.perturbations) == name].mean(axis=0) for name in names])
    monkeypatch.setattr("explorer.screen.BYTES_PER_CHUNK", 4 * rows.values.shape[1] * lengths[0])
    found = build_map(rows.screen, "raw", alignment=method)
    assert found.names == tuple(names)
    np.testing.assert_allclose(cosines(found.profiles), cosines(expected), atol=1e-5)


def test_without_alignment_nothing_changes():
    rows = batched_rows()
    found, alignment = fitted_rows(rows, "none")
    np.testing.assert_array_equal(found, rows.values)
    assert alignment.matrix is None
    assert alignment.notes == ()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 500), method=st.sampled_from([name for name in ALIGNED if "robust" not in name]))
def test_control_means_of_all_batches_meet_at_zero(seed, method):
    rows = batched_rows(seed=seed, n_perturbations=3, n_rows=2)
    batch = np.array(rows.batch)
    before = [rows.values[rows.control & (batch == name)].mean(axis=0) for name in sorted(set(batch))]
    assert np.ptp(before, axis=0).max() > 0.5
    found, _ = fitted_rows(rows, method)
    after = [found[rows.control & (batch == name)].mean(axis=0) for name in sorted(set(batch))]
    np.testing.assert_allclose(after, 0, atol=1e-8)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 500), method=st.sampled_from(["center-scale", "tvn"]))
def test_units_of_a_feature_do_not_matter_once_it_is_scaled(seed, method):
    rows = batched_rows(seed=seed, n_perturbations=3, n_rows=2)
    rng = np.random.default_rng(seed)
    factor, shift = 2.0 ** rng.integers(-3, 4, rows.values.shape[1]), rng.integers(-2, 3, rows.values.shape[1])
    changed = Rows(rows.perturbations, (rows.values * factor + shift).astype(np.float32), rows.batch)
    one, other = fitted_rows(rows, method)[0], fitted_rows(changed, method)[0]
    np.testing.assert_allclose(cosines(one[:30]), cosines(other[:30]), atol=1e-4)


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("n_batches", [1, 3])
def test_sphered_controls_have_the_identity_as_covariance(offset, n_batches):
    rows = batched_rows(n_controls=60, n_batches=n_batches, seed=8)
    rows.values = rows.values + np.float32(offset)
    found, alignment = fitted_rows(rows, "sphere")
    np.testing.assert_allclose(np.cov(found[rows.control], rowvar=False), np.eye(5), atol=1e-8)
    assert alignment.notes == ()


def test_tvn_of_one_batch_leaves_two_thirds_of_the_identity():
    # Unit control variance on every component, then (I + 0.5 I)^(-1/2).
    rows = batched_rows(n_controls=60, n_batches=1, seed=9)
    controls = fitted_rows(rows, "tvn")[0][rows.control]
    np.testing.assert_allclose(controls.T @ controls / len(controls), np.eye(5) / 1.5, atol=1e-8)


def test_tvn_draws_the_variances_of_every_batch_towards_one_another():
    # A variance λ, in units of the pooled one, becomes λ / (λ + 0.5): .3 and 3 become .38 and .86.
    rows = batched_rows(n_controls=80, n_features=4, seed=10)
    batch = np.array(rows.batch)
    scaled, aligned = fitted_rows(rows, "center-scale")[0], fitted_rows(rows, "tvn")[0]
    pooled = scaled[rows.control].T @ scaled[rows.control] / rows.control.sum()
    for name in sorted(set(batch)):
        before, after = (values[rows.control & (batch == name)] for values in (scaled, aligned))
        variances = eigh(before.T @ before / len(before), pooled, eigvals_only=True)
        found = np.linalg.eigvalsh(after.T @ after / len(after))
        np.testing.assert_allclose(found, variances / (variances + 0.5), atol=1e-8)


@pytest.mark.parametrize("method", ["center-scale", "tvn", "sphere"])
def test_a_feature_that_controls_do_not_vary_in_is_never_divided_by(method):
    rows = batched_rows(n_controls=30, seed=11)
    rows.values[:, 2] = np.where(rows.control, np.float32(0.1), rows.values[:, 2])
    rows.values[:, 3] = np.where(rows.control, 0, rows.values[:, 3])
    found, _ = fitted_rows(rows, method)
    assert np.isfinite(found).all()
    assert np.abs(found).max() < 1000
    if method == "center-scale":
        np.testing.assert_allclose(found[:, 2], rows.values[:, 2] - np.float64(np.float32(0.1)), atol=1e-12)
        np.testing.assert_allclose(found[:, 3], rows.values[:, 3], atol=1e-12)


@pytest.mark.parametrize("method", ["tvn", "sphere"])
def test_numerically_null_directions_are_never_divided_by(method):
    rows = batched_rows(n_controls=40, n_features=4, seed=12)
    rng = np.random.default_rng(0)
    copy = rows.values[:, :2] + np.where(rows.control, 0, rng.normal(size=len(rows.values)))[:, None] * 0.01
    rows.values = np.column_stack([rows.values, copy]).astype(np.float32)
    found, _ = fitted_rows(rows, method)
    assert np.isfinite(found).all()
    assert np.abs(found).max() < 100


@pytest.mark.parametrize("method", ["tvn", "sphere"])
def test_too_few_controls_shrink_the_covariance_and_say_so(method):
    # D2 measured a largest perturbed sd of 6.6e14 with 40 controls for 128 features.
    rows = batched_rows(n_controls=40, n_batches=1, n_features=128, n_perturbations=5, seed=13)
    found, alignment = fitted_rows(rows, method)
    assert found[~rows.control].std(axis=0).max() < 10
    scaled = center_rows(rows.values.astype(float), rows.batch, rows.control, scale=method == "tvn")[rows.control]
    weight = ledoit_wolf_shrinkage(scaled, assume_centered=True)
    (note,) = alignment.notes
    assert note.startswith(f"40 controls for 128 features: covariance shrunk by {weight:.3f} (Ledoit-Wolf)")
    assert note in build_map(rows.screen, "raw", alignment=method).recipe.notes


@pytest.mark.parametrize("method", ["tvn", "sphere"])
@pytest.mark.parametrize(("n_controls", "shrunk"), [(9, True), (10, False)])
def test_two_controls_a_feature_are_enough(method, n_controls, shrunk):
    _, alignment = fitted_rows(batched_rows(n_controls=n_controls, n_batches=1, n_features=5), method)
    assert bool(alignment.notes) is shrunk


@settings(max_examples=30, deadline=None)
@given(n=st.integers(2, 40), d=st.integers(1, 30), seed=st.integers(0, 1000), axis=st.floats(0, 5))
def test_shrinkage_is_the_published_one(n, d, seed, axis):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, d)) + axis * rng.normal(size=(n, 1))
    values -= values.mean(axis=0)
    expected = ledoit_wolf_shrinkage(values, assume_centered=True) if d > 1 else 0.0
    assert align_module.ledoit_wolf_shrinkage(values) == pytest.approx(expected, abs=1e-9)


def test_shrinkage_of_equal_rows_is_defined():
    assert align_module.ledoit_wolf_shrinkage(np.zeros((5, 3))) == 0.0


@pytest.mark.parametrize("method", ALIGNED)
def test_controls_are_required(method):
    rows = batched_rows()
    kept = rows.take(np.flatnonzero(~rows.control))
    with pytest.raises(InputError, match=r"no controls to align on.*use alignment 'none'"):
        fitted_rows(kept, method)


@pytest.mark.parametrize(
    ("method", "left", "least"),
    [
        ("center", 0, 1),
        ("center-scale", 0, 2),
        ("center-scale", 1, 2),
        ("center-scale-robust", 1, 2),
        ("tvn", 1, 2),
        ("sphere", 1, 2),
    ],
)
def test_a_batch_with_too_few_controls_is_named(method, left, least):
    rows = batched_rows()
    of_batch = np.flatnonzero(rows.control & (np.array(rows.batch) == "b1"))
    kept = np.setdiff1d(np.arange(len(rows.values)), of_batch[left:])
    with pytest.raises(InputError, match=f"batch 'b1' has {left} controls?, expected at least {least}"):
        fitted_rows(rows.take(kept), method)


def test_controls_that_are_not_finite_do_not_count():
    rows = batched_rows()
    of_batch = np.flatnonzero(rows.control & (np.array(rows.batch) == "b2"))
    rows.values[of_batch[1:], 0] = np.nan
    with pytest.raises(InputError, match="batch 'b2' has 1 control, expected at least 2: add controls, or use"):
        fitted_rows(rows, "center-scale")


@pytest.mark.parametrize(
    ("left", "message"),
    [
        (0, "batches 'b1', 'b2' have fewer than the 2 controls needed in each: add controls, or use alignment 'none',"),
        (1, "batches 'b1', 'b2' have fewer than the 2 controls needed in each: .* use alignment 'none' or 'center',"),
    ],
)
def test_the_alignments_that_remain_are_named(left, message):
    rows = batched_rows()
    spoilt = [np.flatnonzero(rows.control & (np.array(rows.batch) == name))[left:] for name in ("b1", "b2")]
    kept = np.setdiff1d(np.arange(len(rows.values)), np.concatenate(spoilt))
    with pytest.raises(InputError, match=message):
        fitted_rows(rows.take(kept), "sphere")
    found, _ = fitted_rows(rows.take(kept), "center" if left else "none")
    assert np.isfinite(found).all()


@pytest.mark.parametrize("method", METHODS)
def test_two_controls_in_every_batch_suffice(method):
    found, _ = fitted_rows(batched_rows(n_controls=2), method)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("method", ALIGNED)
def test_a_batch_without_perturbations_needs_no_controls(method):
    rows = batched_rows()
    lonely = Rows([*rows.perturbations, CONTROL], np.vstack([rows.values, rows.values[:1]]), [*rows.batch, "z"])
    found, _ = fitted_rows(lonely, method)
    assert np.isfinite(found[:-1]).all()


def test_unknown_alignment_names_the_nearest():
    with pytest.raises(InputError, match="unknown alignment 'centre-scale': did you mean 'center-scale'"):
        fitted_rows(batched_rows(), "centre-scale")


@pytest.mark.parametrize("method", ["tvn", "sphere"])
def test_very_many_features_must_be_reduced_before_a_covariance_is_used(method, monkeypatch):
    monkeypatch.setattr(moments_module, "MOST_COVARIANCE_BYTES", 0)
    with pytest.raises(InputError, match=f"{method} needs a covariance of 5 features.*with PCA"):
        fitted_rows(batched_rows(), method)


@pytest.mark.parametrize("method", ["none", "center", "center-scale", "center-scale-robust"])
def test_very_many_features_can_be_centred_and_scaled(method, monkeypatch):
    rows = batched_rows()
    monkeypatch.setattr(moments_module, "MOST_COVARIANCE_BYTES", 0)
    np.testing.assert_allclose(fitted_rows(rows, method)[0], align_rows(rows, method), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_arguments_are_not_edited(method):
    rows = batched_rows()
    before = rows.values.copy()
    fitted_rows(rows, method)
    np.testing.assert_array_equal(rows.values, before)


def test_every_method_is_explained():
    assert tuple(EXPLANATIONS) == METHODS
