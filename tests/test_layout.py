"""Pictures of a map: what they promise, against scikit-learn and scipy."""

import math

import numpy as np
import pytest
from builders import cosines, map_of, module_profiles, names_of, random_map
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness as published_trustworthiness

from explorer import layout as layout_module
from explorer.layout import (
    Layout,
    cached_umap,
    pca_layout,
    rotate_onto,
    trustworthiness,
    umap_layout,
    unit_profiles,
)

# Trustworthiness


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(25, 70), k=st.integers(1, 12))
def test_trustworthiness_is_the_published_one(seed, n, k):
    made = random_map(n, 6, seed=seed)
    points = np.random.default_rng(seed + 1).normal(size=(n, 2))
    # The published one does not know that cosines equal to six decimals are tied.
    ranked = np.sort(np.round(cosines(made.profiles), 6), axis=1)
    assume((np.diff(ranked[:, :-1], axis=1) > 0).all())
    found = trustworthiness(made, points, k=k)
    expected = published_trustworthiness(made.profiles.astype(float), points, n_neighbors=k, metric="cosine")
    assert found == pytest.approx(expected, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), angle=st.floats(0, 6))
def test_trustworthiness_does_not_hang_on_turns_and_scale(seed, angle):
    made = random_map(40, 6, seed=seed)
    points = np.random.default_rng(seed).normal(size=(40, 2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert trustworthiness(made, points @ turn * 3 + 7) == pytest.approx(trustworthiness(made, points), abs=1e-9)


def test_a_true_picture_is_trusted_and_a_random_one_is_not():
    angle = np.sort(np.random.default_rng(0).uniform(0, 2 * np.pi, 100))
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    assert trustworthiness(map_of(circle), circle) == pytest.approx(1)
    shuffled = circle[np.random.default_rng(1).permutation(100)]
    assert trustworthiness(map_of(circle), shuffled) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(("n", "defined"), [(20, False), (21, True)])
def test_trustworthiness_needs_more_than_twice_k(n, defined):
    found = trustworthiness(random_map(n, 4, seed=0), np.random.default_rng(0).normal(size=(n, 2)), k=10)
    assert math.isnan(found) is not defined


def test_large_maps_are_sampled_with_the_seed(monkeypatch):
    made, points = random_map(200, 6, seed=0), np.random.default_rng(1).normal(size=(200, 2))
    every = trustworthiness(made, points)
    monkeypatch.setattr(layout_module, "MOST_TRUST_QUERIES", 100)
    sampled = trustworthiness(made, points)
    assert sampled != every
    assert sampled == pytest.approx(every, abs=0.03)
    assert sampled == trustworthiness(made, points, seed=0)
    assert sampled != trustworthiness(made, points, seed=1)


@pytest.mark.parametrize("place", [np.nan, 0.0])
def test_profiles_without_length_do_not_count_wherever_they_are_drawn(place):
    made = random_map(40, 6, seed=2)
    points = np.random.default_rng(3).normal(size=(40, 2))
    expected = trustworthiness(made, points, k=5)
    more = map_of(np.vstack([made.profiles, np.zeros((3, 6))]))
    assert trustworthiness(more, np.vstack([points, np.full((3, 2), place)]), k=5) == pytest.approx(expected)


# PCA


def test_principal_components_are_the_published_ones():
    made = map_of(module_profiles(seed=4)[0])
    unit = made.profiles / np.linalg.norm(made.profiles, axis=1, keepdims=True)
    expected = PCA(2, svd_solver="full").fit_transform(unit.astype(float))
    found = pca_layout(made)
    np.testing.assert_allclose(np.abs(found.coordinates), np.abs(expected), atol=1e-5)
    assert found.method == "PCA"
    assert found.trustworthiness == pytest.approx(trustworthiness(made, found.coordinates))
    assert found.caption == f"PCA picture, trustworthiness {found.trustworthiness:.2f}"


@pytest.mark.parametrize("block_bytes", [1, 8 * 7 * 12])
def test_large_maps_are_laid_out_in_blocks(block_bytes, monkeypatch):
    profiles, _ = module_profiles(n_features=12, seed=5)
    profiles[[3, 17]] = 0
    made = map_of(profiles)
    whole = pca_layout(made)
    monkeypatch.setattr(layout_module, "_MOST_WHOLE_BYTES", 0)
    monkeypatch.setattr(layout_module, "_BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(layout_module, "_first_axes", lambda _: pytest.fail("converted as a whole"))
    blocks = pca_layout(made)
    np.testing.assert_allclose(blocks.coordinates, whole.coordinates, atol=1e-6)
    assert np.isnan(blocks.coordinates[[3, 17]]).all()
    assert blocks.trustworthiness == whole.trustworthiness


def test_wide_maps_are_laid_out_as_a_whole(monkeypatch):
    made = random_map(8, 30, seed=6)
    whole = pca_layout(made)
    monkeypatch.setattr(layout_module, "_MOST_WHOLE_BYTES", 0)
    np.testing.assert_array_equal(pca_layout(made).coordinates, whole.coordinates)


def test_pictures_repeat():
    profiles = module_profiles(seed=5)[0]
    order = np.random.default_rng(0).permutation(len(profiles))
    names = np.array(names_of(len(profiles)))
    one, other = pca_layout(map_of(profiles, names)), pca_layout(map_of(profiles[order], names[order]))
    np.testing.assert_allclose(one.coordinates, other.coordinates, atol=1e-5)


@pytest.mark.parametrize(
    ("profiles", "missing"),
    [
        (np.vstack([np.zeros((2, 5)), np.random.default_rng(0).normal(size=(8, 5))]), [0, 1]),
        (np.vstack([np.zeros((3, 5)), np.ones((1, 5))]), [0, 1, 2]),
        (np.zeros((4, 5)), [0, 1, 2, 3]),
        (np.ones((5, 1)), []),
        (np.ones((6, 3)), []),
    ],
    ids=["some without length", "one with length", "none with length", "one feature", "constant"],
)
def test_maps_that_are_hard_to_draw(profiles, missing):
    found = pca_layout(map_of(profiles))
    assert found.coordinates.shape == (len(profiles), 2)
    assert np.flatnonzero(np.isnan(found.coordinates).any(axis=1)).tolist() == missing
    assert np.flatnonzero(np.isnan(unit_profiles(map_of(profiles))).any(axis=1)).tolist() == missing


# UMAP, and its cache


@pytest.mark.slow
def test_umap_shows_planted_modules_and_repeats():
    profiles, module = module_profiles(n_modules=4, size=12, n_others=2, seed=6)
    profiles[-1] = 0
    made = map_of(profiles)
    found = umap_layout(made, seed=1)
    assert found.method == "UMAP"
    assert np.flatnonzero(np.isnan(found.coordinates).any(axis=1)).tolist() == [49]
    assert found.trustworthiness > 0.85
    points = found.coordinates[:48]
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (module[distances.argmin(axis=1)] == module[:48]).mean() > 0.95
    np.testing.assert_array_equal(umap_layout(made, seed=1).coordinates, found.coordinates)


@pytest.mark.parametrize(("n", "method"), [(3, "PCA"), (4, "UMAP"), (6, "UMAP")])
def test_umap_of_very_small_maps(n, method):
    found = umap_layout(random_map(n, 5, seed=0))
    assert found.method == method
    assert np.isfinite(found.coordinates).all()


@pytest.fixture
def counted_umap(monkeypatch):
    """Replace UMAP with a picture made at once, and count the calls."""
    calls = []

    def umap(perturbation_map, *, seed=0):
        calls.append((perturbation_map.names, seed))
        points = np.random.default_rng(len(calls)).normal(size=(perturbation_map.n_perturbations, 2))
        return Layout("UMAP", points.astype(np.float32), 0.75)

    monkeypatch.setattr(layout_module, "umap_layout", umap)
    return calls


def test_umap_is_made_only_when_told_to_and_kept(counted_umap):
    made = random_map(30, 4, seed=0)
    assert cached_umap(made, compute=False) is None
    assert counted_umap == []
    first = cached_umap(made, compute=True)
    for compute in (True, False):
        kept = cached_umap(made, compute=compute)
        np.testing.assert_array_equal(kept.coordinates, first.coordinates)
        assert (kept.method, kept.trustworthiness) == ("UMAP", 0.75)
    assert len(counted_umap) == 1


def test_other_seeds_recipes_and_perturbations_have_other_pictures(counted_umap):
    whole = random_map(30, 4, seed=0)
    cached_umap(whole, compute=True)
    assert cached_umap(whole, compute=False, seed=1) is None
    assert cached_umap(map_of(whole.profiles, representation="other"), compute=False) is None
    # A map restricted to some perturbations has the recipe of the whole, and may have the length of another.
    cached_umap(whole.restricted_to(whole.names[:20]), compute=True)
    assert cached_umap(whole.restricted_to(whole.names[10:]), compute=False) is None
    assert len(counted_umap) == 2


@pytest.mark.parametrize("content", [b"", b"torn", None])
def test_a_torn_or_foreign_file_in_the_cache_is_made_anew(counted_umap, content, tmp_path):
    made = random_map(30, 4, seed=0)
    cached_umap(made, compute=True)
    (kept,) = (tmp_path / "cache").glob("*.npz")
    if content is None:
        np.savez(kept, coordinates=np.zeros((3, 2)), trustworthiness=np.array(1.0))
    else:
        kept.write_bytes(content)
    assert cached_umap(made, compute=False) is None
    assert cached_umap(made, compute=True).coordinates.shape == (30, 2)
    assert len(counted_umap) == 2


# Two pictures in one frame


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(3, 30))
def test_rotation_is_the_published_one(seed, n):
    rng = np.random.default_rng(seed)
    reference, moving = rng.normal(size=(n, 2)) + 3, rng.normal(size=(n, 2)) * [3, 1] - 5
    target, source = reference - reference.mean(axis=0), moving - moving.mean(axis=0)
    rotation, _ = orthogonal_procrustes(source, target)
    scale = np.linalg.norm(target) / np.linalg.norm(source)
    expected = source @ rotation * scale + reference.mean(axis=0)
    np.testing.assert_allclose(rotate_onto(reference, moving), expected, atol=1e-4)


@pytest.mark.parametrize("mirror", [1, -1])
def test_a_turned_mirrored_scaled_and_moved_picture_is_brought_back(mirror):
    reference = np.random.default_rng(0).normal(size=(50, 2)) * [4, 1]
    turn = np.array([[0.6, -0.8], [0.8, 0.6]]) @ np.diag([1, mirror])
    np.testing.assert_allclose(rotate_onto(reference, reference @ turn * 7 + [100, -3]), reference, atol=1e-4)


def test_points_missing_on_either_side_do_not_steer():
    rng = np.random.default_rng(1)
    reference, moving = rng.normal(size=(20, 2)), rng.normal(size=(20, 2))
    expected = rotate_onto(reference[2:], moving[2:])
    reference[0], moving[1] = np.nan, np.nan
    found = rotate_onto(reference, moving)
    np.testing.assert_allclose(found[2:], expected, atol=1e-5)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()


@pytest.mark.parametrize("common", [0, 1])
def test_pictures_with_too_little_in_common_stay_as_they_are(common):
    reference, moving = np.full((4, 2), np.nan), np.arange(8.0).reshape(4, 2)
    reference[:common] = 5
    np.testing.assert_array_equal(rotate_onto(reference, moving), moving)


def test_a_picture_of_one_point_stays_finite():
    found = rotate_onto(np.random.default_rng(0).normal(size=(5, 2)), np.ones((5, 2)))
    assert np.isfinite(found).all()


def test_pictures_are_not_edited():
    reference, moving = np.eye(2), np.ones((2, 2))
    rotate_onto(reference, moving)
    np.testing.assert_array_equal(reference, np.eye(2))
    np.testing.assert_array_equal(moving, np.ones((2, 2)))
