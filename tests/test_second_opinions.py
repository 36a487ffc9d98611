"""What published packages make of the same rows; each known difference is named where it shows."""

import anndata
import numpy as np
import pandas as pd
import pytest
from builders import CONTROL, batched_rows, cosines

from explorer.aggregate import build_map
from explorer.align import fit_alignment
from explorer.moments import collect_moments


def aligned(rows, method):
    screen = rows.screen
    moments = collect_moments(screen, screen.representation("raw"), medians=True)
    return fit_alignment(moments, method).apply(rows.values, moments.labels.batch)


def test_means_are_those_of_scanpy():
    scanpy = pytest.importorskip("scanpy", reason="scanpy is not installed")
    rows = batched_rows(guides=False, seed=1)
    adata = anndata.AnnData(
        rows.values, obs=pd.DataFrame({"gene": pd.Categorical(rows.perturbations)}, index=_numbers(len(rows.values)))
    )
    expected = scanpy.get.aggregate(adata, by="gene", func="mean")
    found = build_map(rows.screen, "raw")
    kept = expected[list(found.names)]
    np.testing.assert_allclose(found.profiles, kept.layers["mean"], rtol=1e-5, atol=1e-6)
    # scanpy has no controls to leave out.
    assert set(expected.obs_names) - set(found.names) == {CONTROL}


@pytest.mark.parametrize("offset", [0.0, 20.0])
def test_sphering_is_that_of_pycytominer(offset):
    operations = pytest.importorskip("pycytominer.operations", reason="pycytominer is not installed")
    rows = batched_rows(n_controls=200, n_batches=1, n_features=6, seed=2)
    rows.values = rows.values + np.float32(offset)
    # Its epsilon adds to every variance, ours is exact; and it knows no batches.
    spherizer = operations.Spherize(epsilon=1e-12, center=True, method="ZCA")
    spherizer.fit(_frame(rows.values[rows.control]))
    expected = spherizer.transform(_frame(rows.values)).to_numpy()
    np.testing.assert_allclose(aligned(rows, "sphere"), expected, rtol=1e-4, atol=1e-4)


def test_robust_scaling_is_that_of_pycytominer():
    operations = pytest.importorskip("pycytominer.operations", reason="pycytominer is not installed")
    rows = batched_rows(n_controls=51, n_batches=1, seed=3)
    # Its factor has more digits than 1.4826, and it adds epsilon to the deviation where ours takes 1 for 0.
    scaler = operations.RobustMAD(epsilon=0)
    scaler.fit(_frame(rows.values[rows.control].astype(np.float64)))
    expected = scaler.transform(_frame(rows.values.astype(np.float64))).to_numpy()
    np.testing.assert_allclose(aligned(rows, "center-scale-robust"), expected, rtol=2e-6, atol=1e-9)
    np.testing.assert_allclose(cosines(aligned(rows, "center-scale-robust")[:30]), cosines(expected[:30]), atol=1e-9)


def _frame(values):
    return pd.DataFrame(values, columns=[f"feature_{number}" for number in range(values.shape[1])])


def _numbers(n):
    return [str(number) for number in range(n)]
