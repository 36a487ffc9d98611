"""Counts as a representation: log-normalised and projected while they are read, and as exact as a whole matrix."""

import pickle
import threading
import tracemalloc
from dataclasses import dataclass

import anndata
import numpy as np
import pandas as pd
import pytest
from builders import CONTROL, CountingSource, module_profiles, names_of, ragged
from files import LABELS, N_ROWS, edited, write_anndata, write_card, write_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.decomposition import PCA, TruncatedSVD

from explorer import expression
from explorer.aggregate import build_map
from explorer.catalog import open_catalog
from explorer.cli import main
from explorer.embed import principal_components
from explorer.errors import InputError
from explorer.expression import (
    LogNormalizedSource,
    PrincipalComponentsSource,
    ProjectedSource,
    recognize_expression,
    streamed_principal_components,
)
from explorer.load import load_dataset, load_screen
from explorer.relate import neighborhood
from explorer.screen import BYTES_PER_CHUNK, Representation, Screen
from explorer.sources import ArraySource, SparseSource
from explorer.view import default_sides, link_parameters, read_view


def counts_of(n: int = 40, d: int = 12, *, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.gamma(1, 1, (n, 1)) * rng.gamma(0.5, 2, (1, d))).astype(np.float32)
    # No row is empty.
    counts[np.arange(n), np.arange(n) % d] += 1
    return counts


def low_rank(n: int = 150, d: int = 700, *, rank: int = 6, noise: float = 0.05, seed: int = 0) -> np.ndarray:
    """Rows of a few strong directions, each half as wide as the one before, far from the origin."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, rank)) * 4 * 0.5 ** np.arange(rank)
    axes = np.linalg.qr(rng.normal(size=(d, rank)))[0].T * np.sqrt(d) / 4
    return (scores @ axes + noise * rng.normal(size=(n, d)) + rng.uniform(5, 9, d)).astype(np.float32)


def representation(values: np.ndarray) -> Representation:
    return Representation("rows", "simple", ArraySource(np.asarray(values)))


def scores_of(values: np.ndarray, found: expression.PrincipalComponents) -> np.ndarray:
    return (values.astype(np.float64) - found.mean) @ found.loadings.T


def column_cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one * other).sum(axis=0) / np.linalg.norm(one, axis=0) / np.linalg.norm(other, axis=0)


@pytest.fixture
def random_directions(monkeypatch):
    """As beyond 2,048 features, but quick."""
    monkeypatch.setattr(expression, "EXACT_FEATURES", 0)


# Log-normalised counts.


@pytest.mark.parametrize("target", [10_000, 1e6, 1])
def test_log_normalised_counts_in_a_loop(target):
    counts = counts_of()
    expected = [[np.log(1 + value * target / row.sum()) for value in row] for row in counts.astype(np.float64)]
    found = LogNormalizedSource(ArraySource(counts), target=target).read(0, len(counts))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("store", [np.asarray, sparse.csr_matrix])
def test_log_normalised_counts_are_those_of_scanpy(store):
    import scanpy

    counts = counts_of(60, 30, seed=1)
    adata = anndata.AnnData(store(counts.copy()))
    scanpy.pp.normalize_total(adata, target_sum=10_000)
    scanpy.pp.log1p(adata)
    expected = adata.X.toarray() if sparse.issparse(adata.X) else adata.X
    source = LogNormalizedSource(SparseSource(sparse.csr_matrix(counts)))
    np.testing.assert_allclose(source.read(0, 60), expected, rtol=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), step=st.integers(1, 50), bounds=st.tuples(st.integers(0, 40), st.integers(0, 40)))
def test_blocks_totals_and_depth(seed, step, bounds):
    counts, (start, stop) = counts_of(seed=seed), sorted(bounds)
    source = LogNormalizedSource(ArraySource(counts))
    whole = source.read(0, len(counts))
    np.testing.assert_allclose(np.expm1(whole.astype(np.float64)).sum(axis=1), 10_000, rtol=1e-5)
    depth = np.random.default_rng(seed).integers(1, 9, (len(counts), 1)).astype(np.float32)
    deeper = LogNormalizedSource(ArraySource(counts * depth))
    np.testing.assert_allclose(deeper.read(0, len(counts)), whole, rtol=1e-5)
    blocks = list(source.blocks(start, stop, step))
    assert [first for first, _ in blocks] == list(range(start, stop, step))
    np.testing.assert_array_equal(np.concatenate([whole[:0], *(block for _, block in blocks)]), whole[start:stop])


def test_a_row_without_counts_has_no_profile_and_is_counted():
    counts = counts_of()
    counts[3], counts[5, 0], counts[6, 1] = 0, np.nan, np.inf
    screen = Screen.from_arrays(["a", "b", "c", "d"] * 10, {"counts": counts}, replicates=True)
    source = LogNormalizedSource(ArraySource(counts))
    assert np.flatnonzero(~np.isfinite(source.read(0, 40)).all(axis=1)).tolist() == [3, 5, 6]
    normalized = Representation("rna", "simple", source)
    made = build_map(Screen("x", screen.context, screen.rows, screen.roles, {"rna": normalized}), "rna")
    assert any(note.startswith("3 rows with NaN or infinite values left out") for note in made.recipe.notes)
    expected = source.read(0, 40)[3::4][1:].mean(axis=0)
    np.testing.assert_allclose(made.profiles[made.names.index("d")], expected, rtol=1e-5)


@pytest.mark.parametrize(("value", "said"), [(-1, "-1"), (0.41, "0.41")])
def test_what_is_not_a_count_is_refused(value, said):
    counts = counts_of()
    counts[23, 2] = value
    source = LogNormalizedSource(ArraySource(counts), name="rna")
    message = (
        rf"^representation 'rna': row 23 \(counted from 0\) holds {said}, but 'log-normalize' expects counts, "
        "whole numbers of 0 or more: drop that transform if the values are normalised already$"
    )
    for read in (lambda: source.read(20, 30), lambda: list(source.blocks(0, 40, 7))):
        with pytest.raises(InputError, match=message):
            read()
    assert np.isfinite(source.read(0, 23)).all()


@pytest.mark.parametrize("target", [0, -1, np.nan, np.inf])
def test_impossible_totals(target):
    with pytest.raises(InputError, match="expected the total of each row after scaling, such as 10000"):
        LogNormalizedSource(ArraySource(counts_of()), target=target)


def test_arguments_are_not_edited():
    counts = counts_of()
    LogNormalizedSource(ArraySource(counts)).read(0, 40)
    streamed_principal_components(representation(counts), n_components=3)
    np.testing.assert_array_equal(counts, counts_of())


# Principal components.


def test_exact_principal_components_are_the_published_ones():
    values = low_rank(200, 40, noise=0.3)
    found = streamed_principal_components(representation(values), n_components=6)
    peer = PCA(6, svd_solver="full").fit(values.astype(np.float64))
    np.testing.assert_allclose(found.mean, peer.mean_, rtol=1e-7)
    np.testing.assert_allclose(found.explained_variance, peer.explained_variance_, rtol=1e-6)
    np.testing.assert_allclose(found.explained_variance_ratio, peer.explained_variance_ratio_, rtol=1e-6)
    signs = np.sign((found.loadings * peer.components_).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found.loadings, signs * peer.components_, atol=1e-6)
    np.testing.assert_allclose(scores_of(values, found), principal_components(values, n_components=6), atol=1e-4)
    assert found.n_rows == 200


@pytest.mark.parametrize("n_features", [700, 2_100])
def test_random_directions_find_the_published_components(n_features, random_directions):
    values = low_rank(d=n_features)
    found = streamed_principal_components(representation(values), n_components=6)
    centred = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    peer = TruncatedSVD(6, algorithm="arpack", random_state=0)
    expected = peer.fit_transform(centred)
    cosines = np.abs(column_cosines(scores_of(values, found), expected))
    np.testing.assert_allclose(cosines, 1, atol=1e-6)
    total = (centred**2).sum()
    np.testing.assert_allclose(found.explained_variance_ratio, peer.singular_values_**2 / total, rtol=1e-6)
    np.testing.assert_allclose(found.loadings @ found.loadings.T, np.eye(6), atol=1e-10)
    largest = np.take_along_axis(found.loadings, np.abs(found.loadings).argmax(axis=1)[:, None], axis=1)
    assert (largest > 0).all()


def test_many_features_take_the_random_directions_by_themselves():
    values = low_rank(60, expression.EXACT_FEATURES + 1, rank=4)
    source = CountingSource(values)
    found = streamed_principal_components(Representation("wide", "simple", source), n_components=4)
    expected = PCA(4, svd_solver="full").fit(values.astype(np.float64))
    np.testing.assert_allclose(found.explained_variance_ratio, expected.explained_variance_ratio_, rtol=1e-4)
    assert source.reads == [(0, 60)] * 5


def test_without_a_gap_the_variance_is_found_though_the_axes_are_not(random_directions):
    values = np.random.default_rng(0).normal(size=(400, 500)).astype(np.float32)
    found = streamed_principal_components(representation(values), n_components=5)
    expected = PCA(5, svd_solver="full").fit(values.astype(np.float64)).explained_variance_ratio_
    assert (found.explained_variance_ratio <= expected + 1e-12).all()
    np.testing.assert_allclose(found.explained_variance_ratio, expected, rtol=0.05)


@pytest.mark.usefixtures("random_directions")
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), lengths=st.lists(st.integers(1, 60), min_size=1, max_size=4).map(tuple))
def test_blocks_row_order_and_seed_change_nothing(seed, lengths):
    values = low_rank(80, 300, rank=3)
    one = streamed_principal_components(representation(values), n_components=3)
    order = np.random.default_rng(seed).permutation(80)
    other = streamed_principal_components(ragged(representation(values[order]), lengths), n_components=3, seed=seed)
    np.testing.assert_allclose(other.loadings, one.loadings, atol=1e-6)
    np.testing.assert_allclose(other.explained_variance, one.explained_variance, rtol=1e-6)
    np.testing.assert_allclose(other.mean, one.mean, rtol=1e-12)


@pytest.mark.parametrize("exact", [True, False])
def test_rows_with_missing_values_are_left_out(exact, monkeypatch):
    monkeypatch.setattr(expression, "EXACT_FEATURES", 1_000 if exact else 0)
    values = low_rank(80, 300, rank=3)
    holes = np.insert(values, [0, 7, 80], np.nan, axis=0)
    holes[8, 1:] = 1e6
    holes[8, 3] = np.inf
    expected = streamed_principal_components(representation(values), n_components=3)
    # The first block has nothing that could be used.
    found = streamed_principal_components(ragged(representation(holes), (1, 13)), n_components=3)
    assert found.n_rows == 80
    np.testing.assert_allclose(found.loadings, expected.loadings, atol=1e-9)
    source = PrincipalComponentsSource(ArraySource(holes), 3)
    assert np.flatnonzero(np.isnan(source.read(0, 83)).any(axis=1)).tolist() == [0, 8, 82]


@pytest.mark.parametrize("exact", [True, False])
def test_beyond_the_rank_there_is_nothing(exact, monkeypatch):
    monkeypatch.setattr(expression, "EXACT_FEATURES", 1_000 if exact else 0)
    values = low_rank(50, 400, rank=3, noise=0)
    source = CountingSource(np.round(values * 8))
    source.values -= source.values[:1]
    source.values[4:] = source.values[np.arange(46) % 4]
    found = streamed_principal_components(Representation("low", "simple", source), n_components=8)
    assert np.linalg.matrix_rank(source.values - source.values.mean(axis=0)) == 3
    np.testing.assert_allclose(np.linalg.norm(found.loadings, axis=1), [1] * 3 + [0] * 5, atol=1e-9)
    np.testing.assert_allclose(found.explained_variance_ratio.sum(), 1, rtol=1e-9)
    assert not found.explained_variance[3:].any()
    # No direction is left to read the rows for.
    assert len(source.reads) == (1 if exact else 2)


def test_rows_that_do_not_vary():
    found = streamed_principal_components(representation(np.full((9, 5), 0.3)), n_components=2)
    assert not found.loadings.any()
    assert not found.explained_variance.any()
    assert np.isnan(found.explained_variance_ratio).all()


@pytest.mark.parametrize(("exact", "n_iterations", "passes"), [(True, 4, 1), (False, 0, 1), (False, 3, 4)])
def test_the_number_of_passes(exact, n_iterations, passes, monkeypatch):
    monkeypatch.setattr(expression, "EXACT_FEATURES", 1_000 if exact else 0)
    source = CountingSource(low_rank(90, 400))
    rows = ragged(Representation("rows", "simple", source), (20, 30, 40))
    streamed_principal_components(rows, n_components=3, n_iterations=n_iterations)
    assert source.reads == [(0, 20), (20, 50), (50, 90)] * passes


@dataclass
class Endless:
    """As many rows as one likes, made of the same few; none is kept."""

    n_rows: int
    pattern: np.ndarray

    @property
    def shape(self):
        return self.n_rows, self.pattern.shape[1]

    def read(self, start, stop):
        return self.pattern[np.arange(start, stop) % len(self.pattern)]


def test_memory_does_not_grow_with_the_rows(random_directions):
    pattern, peaks = low_rank(64, 256, rank=3), []
    for n_rows in (6_000, 24_000):
        rows = ragged(Representation("rows", "simple", Endless(n_rows, pattern)), (1_000,))
        tracemalloc.start()
        streamed_principal_components(rows, n_components=3, n_iterations=1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((9, 5), {"n_components": 6}, "'rows': can't take 6 principal components of 9 × 5 values: expected 1 to 5"),
        ((9, 5), {"n_components": 0}, "can't take 0 principal components of 9 × 5 values"),
        ((9, 5), {"n_components": 2, "n_iterations": -1}, "n_iterations is -1, expected 0 or more"),
        ((1, 5), {"n_components": 1}, "'rows' has 1 rows of finite numbers, principal components need 2 or more"),
    ],
)
def test_impossible_principal_components(shape, options, message):
    with pytest.raises(InputError, match=message):
        streamed_principal_components(representation(np.ones(shape)), **options)


def test_rows_that_are_all_incomplete():
    with pytest.raises(InputError, match="has 0 rows of finite numbers"):
        streamed_principal_components(representation(np.full((9, 5), np.nan)), n_components=2)


# Rows projected while they are read.


@settings(max_examples=20, deadline=None)
@given(step=st.integers(1, 90), bounds=st.tuples(st.integers(0, 80), st.integers(0, 80)))
def test_projected_rows(step, bounds):
    values, (start, stop) = low_rank(80, 30, rank=3), sorted(bounds)
    rng = np.random.default_rng(0)
    mean, axes = rng.normal(size=30), rng.normal(size=(4, 30))
    source = ProjectedSource(ArraySource(values), mean, axes)
    expected = (values.astype(np.float64) - mean) @ axes.T
    np.testing.assert_allclose(source.read(start, stop), expected[start:stop], rtol=1e-5, atol=1e-5)
    blocks = list(source.blocks(start, stop, step))
    assert [first for first, _ in blocks] == list(range(start, stop, step))
    np.testing.assert_array_equal(
        np.concatenate([source.read(0, 0), *(block for _, block in blocks)]), source.read(start, stop)
    )
    assert source.shape == (80, 4)


def test_a_block_of_scores_is_no_block_of_rows():
    source = CountingSource(np.zeros((5_000, 2_000), dtype=np.float32))
    projected = ProjectedSource(source, np.zeros(2_000), np.ones((2, 2_000)))
    assert not projected.read(0, 5_000).any()
    assert max(stop - start for start, stop in source.reads) * 4 * 2_000 <= BYTES_PER_CHUNK
    assert source.reads[0][0] == 0
    assert all(one[1] == other[0] for one, other in zip(source.reads, source.reads[1:], strict=False))


def test_axes_that_do_not_fit():
    with pytest.raises(InputError, match=r"the axes have shape \(2, 4\) and the mean \(5,\), expected \(n_components"):
        ProjectedSource(ArraySource(counts_of(9, 5)), np.zeros(5), np.ones((2, 4)))


def test_nothing_is_read_until_a_row_is_asked_for():
    counting = CountingSource(counts_of())
    source = PrincipalComponentsSource(LogNormalizedSource(counting), 3)
    assert source.shape == (40, 3)
    assert len(source.fingerprint()) == 64
    assert not counting.reads
    first = source.read(0, 5)
    assert counting.reads == [(0, 40), (0, 5)]
    np.testing.assert_array_equal(source.read(0, 5), first)
    assert counting.reads[2:] == [(0, 5)]
    expected = principal_components(LogNormalizedSource(counting).read(0, 40), n_components=3)
    np.testing.assert_allclose(source.read(0, 40), expected, atol=1e-4)


def test_threads_find_the_axes_once():
    counting = CountingSource(low_rank(60, 200))
    source = PrincipalComponentsSource(counting, 4)
    found, start = [], threading.Barrier(8)

    def ask():
        start.wait()
        found.append(source.read(0, 60))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counting.reads) == 9
    for scores in found:
        np.testing.assert_array_equal(scores, found[0])


def test_a_copy_in_another_process_does_not_find_the_axes_again():
    source = PrincipalComponentsSource(CountingSource(low_rank(60, 200)), 4, "rna")
    copy = pickle.loads(pickle.dumps(source))
    copy.source.reads.clear()
    np.testing.assert_array_equal(copy.read(0, 60), source.read(0, 60))
    assert copy.source.reads == [(0, 60)]
    assert copy.fingerprint() == source.fingerprint()
    assert copy.name == "rna"


def test_fingerprints_follow_content_and_parameters():
    one, other = ArraySource(counts_of()), ArraySource(counts_of(seed=1))
    sources = [
        one,
        LogNormalizedSource(one),
        LogNormalizedSource(one, target=1e6),
        LogNormalizedSource(other),
        PrincipalComponentsSource(one, 3),
        PrincipalComponentsSource(one, 4),
        PrincipalComponentsSource(LogNormalizedSource(one), 3),
        PrincipalComponentsSource(other, 3),
        ProjectedSource(one, np.zeros(12), np.eye(3, 12)),
        ProjectedSource(one, np.ones(12), np.eye(3, 12)),
        ProjectedSource(other, np.zeros(12), np.eye(3, 12)),
    ]
    assert len({source.fingerprint() for source in sources}) == len(sources)
    same = PrincipalComponentsSource(LogNormalizedSource(ArraySource(counts_of()), name="b"), 3, "a")
    assert same.fingerprint() == sources[6].fingerprint()


# What a file holds.


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (counts_of(), "counts"),
        (np.zeros((9, 5)), None),
        (np.eye(9), None),
        (np.log1p(counts_of() * 0.7), "log-normalized"),
        (np.log1p(counts_of() + 0.1), None),
        (counts_of() * 700.5, None),
        (counts_of() - 1, None),
        (np.where(counts_of() > 3, np.nan, counts_of()), None),
        (np.empty((0, 5)), None),
    ],
)
def test_expression_is_recognised(values, found):
    assert recognize_expression(ArraySource(np.asarray(values))) == found


def test_a_sample_of_the_rows_is_enough():
    source = CountingSource(np.ones((10_000, 3), dtype=np.float32) * 2)
    assert recognize_expression(source) == "counts"
    assert sum(stop - start for start, stop in source.reads) <= 128
    assert source.reads[-1] == (9_984, 10_000)
    source.values[9_999] = -1
    assert recognize_expression(source) is None


# Cards.


def counts_file(path, *, store=sparse.csr_matrix, counts=None, **parts):
    counts = counts_of(N_ROWS, 12) if counts is None else counts
    obs = pd.DataFrame({"gene": pd.Categorical(LABELS)}, index=[f"cell-{number}" for number in range(N_ROWS)])
    return write_anndata(path, anndata.AnnData(X=store(counts), obs=obs, **parts))


def card_with(folder, **representations):
    counts_file(folder / "rows.h5ad")
    changes = {
        "contexts/cells/rows": "rows.h5ad",
        "roles": {"perturbation": "gene", "control": "non-targeting"},
        "representations": {name: {"kind": "simple", "source": "X", **keys} for name, keys in representations.items()},
    }
    return write_card(folder, changes)


def test_a_card_transforms_its_rows(tmp_path):
    folder = card_with(
        tmp_path / "toy",
        raw={},
        normal={"transform": "log-normalize"},
        both={"transform": "log-normalize, pca", "components": 3},
        most={"transform": "log-normalize,pca"},
        axes={"transform": "pca", "components": 2},
    )
    dataset = load_dataset(folder)
    assert dataset.card.representations["both"].transform == ("log-normalize", "pca")
    screen = load_screen(dataset)
    widths = {name: found.n_features for name, found in screen.representations.items()}
    assert widths == {"raw": 12, "normal": 12, "both": 3, "most": 12, "axes": 2}
    assert screen.representation("both").origin == "rows.h5ad: X, log-normalize, pca"
    counts = counts_of(N_ROWS, 12)
    normal = LogNormalizedSource(ArraySource(counts)).read(0, N_ROWS)
    expected = {
        "raw": counts,
        "normal": normal,
        "both": principal_components(normal, n_components=3),
        "axes": principal_components(counts, n_components=2),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(screen.representation(name).source.read(0, N_ROWS), values, atol=1e-4)
    assert len({build_map(screen, name).fingerprint for name in widths}) == 5


def test_opening_finds_no_axes_and_maps_find_them_once(tmp_path, monkeypatch):
    passes, scatter_times = [], expression._scatter_times

    def counted(*given, **options):
        passes.append(given)
        return scatter_times(*given, **options)

    monkeypatch.setattr(expression, "_scatter_times", counted)
    dataset = load_dataset(card_with(tmp_path / "toy", axes={"transform": "log-normalize, pca", "components": 2}))
    screen = load_screen(dataset)
    screen.representation("axes").source.fingerprint()
    assert not passes
    maps = [build_map(screen, "axes", alignment=alignment) for alignment in ("none", "center", "center-scale")]
    assert len({made.fingerprint for made in maps}) == 3
    assert len(passes) == 1


def test_a_table_beside_the_card_is_transformed_too(tmp_path):
    folder = write_dataset(
        tmp_path / "toy", {"representations/latent/transform": "pca", "representations/latent/components": 2}
    )
    assert load_screen(load_dataset(folder)).representation("latent").source.read(0, 4).shape == (4, 2)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"transform": "lognormalize"}, r"unknown transform 'lognormalize': did you mean 'log-normalize'\?"),
        ({"transform": "log-normalize,"}, "unknown transform ''"),
        ({"transform": "pca, log-normalize"}, "expected each step once, in this order: log-normalize, pca"),
        ({"transform": "pca, pca"}, "'transform' is 'pca, pca', expected each step once"),
        ({"transform": 1}, "'transform' is '1', expected text in quotes"),
        ({"components": 3}, "'components' is 3, but there is no 'pca': add transform = \"pca\""),
        ({"transform": "log-normalize", "components": 3}, "there is no 'pca'"),
        ({"transform": "pca", "components": 0}, "'components' is '0', expected a whole number of 1 or more"),
        ({"transform": "pca", "components": 2.5}, "'components' is '2.5', expected a whole number"),
        ({"transform": "pca", "components": True}, "'components' is 'True', expected a whole number"),
        ({"transform": "pca", "components": "3"}, "'components' is '3', expected a whole number"),
        ({"transform": "pca", "component": 3}, r"unknown key 'component': did you mean 'components'\?"),
        ({"transform": "pca", "components": 13}, "'rna': can't take 13 principal components of 26 × 12 values"),
    ],
)
def test_transforms_that_can_not_be(tmp_path, keys, message):
    with pytest.raises(InputError, match=message) as caught:
        load_screen(load_dataset(card_with(tmp_path / "toy", rna=keys)))
    assert "\n" not in str(caught.value)


# Single files.


@pytest.mark.parametrize("store", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("ending", ["h5ad", "zarr"])
def test_a_file_of_counts_offers_expression_too(tmp_path, ending, store):
    path = counts_file(tmp_path / f"rna.{ending}", store=store, obsm={"scvi": np.ones((N_ROWS, 2))})
    dataset = load_dataset(path)
    kinds = {name: card.kind for name, card in dataset.card.representations.items()}
    assert kinds == {"X": "simple", "obsm/scvi": "learned", "X/log-normalized": "simple", "X/pca-12": "simple"}
    assert dataset.notes[-1] == "'X' holds counts: 'X/log-normalized' and 'X/pca-12' are offered too"
    assert default_sides(dataset) == ("X/log-normalized", "obsm/scvi")
    screen = load_screen(dataset)
    normal = LogNormalizedSource(ArraySource(counts_of(N_ROWS, 12))).read(0, N_ROWS)
    np.testing.assert_array_equal(screen.representation("X/log-normalized").source.read(0, N_ROWS), normal)
    np.testing.assert_allclose(
        screen.representation("X/pca-12").source.read(0, N_ROWS),
        principal_components(normal, n_components=12),
        atol=1e-4,
    )


def test_a_layer_of_counts_is_found(tmp_path):
    counts = counts_of(N_ROWS, 12)
    layers = {"counts": sparse.csr_matrix(counts), "spliced": sparse.csr_matrix(counts)}
    dataset = load_dataset(counts_file(tmp_path / "rna.h5ad", counts=counts - 0.5, layers=layers))
    derived = ["layers/counts/log-normalized", "layers/counts/pca-12"]
    assert list(dataset.card.representations) == ["X", "layers/counts", "layers/spliced", *derived]
    assert default_sides(dataset) == tuple(derived)
    view, problems = read_view({"left": derived[0]}, open_catalog(dataset.path))
    assert not problems
    assert (view.left, view.right) == tuple(derived)
    assert link_parameters(view)["right"] == derived[1]


def test_log_normalised_expression_offers_components(tmp_path):
    normal = np.log1p(counts_of(N_ROWS, 12) * 0.7)
    dataset = load_dataset(counts_file(tmp_path / "rna.h5ad", counts=normal))
    assert list(dataset.card.representations) == ["X", "X/pca-12"]
    assert dataset.notes[-1] == "'X' looks log-normalised: 'X/pca-12' is offered too"
    assert default_sides(dataset) == ("X", "X/pca-12")


def test_other_features_offer_nothing(tmp_path):
    values = np.random.default_rng(0).normal(size=(N_ROWS, 12)).astype(np.float32)
    dataset = load_dataset(counts_file(tmp_path / "rna.h5ad", counts=values, obsm={"n": counts_of(N_ROWS, 3)}))
    assert list(dataset.card.representations) == ["X", "obsm/n"]
    assert dataset.card.defaults is None
    assert not any("offered" in note for note in dataset.notes)


def test_damaged_rows_offer_nothing_and_say_why_when_asked_for(tmp_path):
    path = counts_file(tmp_path / "rna.h5ad")
    with edited(path) as file:
        file["X/indices"][:] = 99
    dataset = load_dataset(path)
    assert list(dataset.card.representations) == ["X"]
    with pytest.raises(InputError, match=r"'rna\.h5ad'"):
        load_screen(dataset).representation("X").source.read(0, 5)


def test_the_command_line_takes_them(tmp_path, capsys):
    path = counts_file(tmp_path / "rna.h5ad")
    assert main(["check", str(path)]) == 0
    assert "simple   X/pca-12: 12 features" in capsys.readouterr().out
    query = next(label for label in LABELS if label != "non-targeting")
    assert main(["neighbors", str(path), query, "--representation", "X/pca-12", "-k", "2"]) == 0
    assert main(["neighbors", str(path), query, "--representation", "X/pca", "-k", "2"]) == 2
    assert "unknown representation 'X/pca': did you mean 'X/pca-12'?" in capsys.readouterr().err


def test_planted_modules_are_found_in_cells_of_uneven_depth(tmp_path):
    profiles, module = module_profiles(n_modules=5, size=3, n_others=0, n_features=60, noise=0.1)
    names = [*names_of(len(module)), CONTROL]
    rng = np.random.default_rng(1)
    labels = np.repeat(names, 12)
    rate = np.exp(0.7 * np.vstack([profiles, np.zeros(60)]) + rng.normal(size=60))
    depth = np.exp(rng.normal(size=(len(labels), 1))) * 10
    counts = rng.poisson(depth * np.repeat(rate, 12, axis=0)).astype(np.float32)
    obs = pd.DataFrame({"gene": labels}, index=[str(number) for number in range(len(labels))])
    path = write_anndata(tmp_path / "cells.h5ad", anndata.AnnData(X=sparse.csr_matrix(counts), obs=obs))
    screen = load_screen(load_dataset(path, roles={"control": (CONTROL,)}))
    for name in ("X/log-normalized", "X/pca-50"):
        made = build_map(screen, name, alignment="center")
        for number, query in enumerate(names[:-1]):
            mates = {names[other] for other in np.flatnonzero(module == module[number]) if other != number}
            assert set(neighborhood(made, query, k=2).names) == mates
