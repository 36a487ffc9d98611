"""Average precision against a loop, scikit-learn and enumeration; the pitfalls of ties; positions."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from explorer.errors import InputError
from explorer.retrieval import (
    chance_precision,
    precision_against_pools,
    precision_of_counts,
    replicate_precision,
    unit_vectors,
)


def precision_naive(values, perturbation, batch, against):
    """Average precision of each row, by definition; for data without ties."""
    vectors = unit_vectors(values)
    found = np.full(len(values), np.nan)
    for i in range(len(values)):
        if perturbation[i] < 0:
            continue
        scores, relevant = [], []
        for j in range(len(values)):
            elsewhere = batch is None or batch[i] != batch[j]
            if perturbation[i] == perturbation[j]:
                positive, negative = elsewhere and i != j, False
            elif against == "controls":
                positive, negative = False, perturbation[j] < 0 and (batch is None or batch[i] == batch[j])
            else:
                positive, negative = False, perturbation[j] >= 0 and elsewhere
            if positive or negative:
                scores.append(vectors[i] @ vectors[j])
                relevant.append(positive)
        if any(relevant) and not all(relevant):
            found[i] = average_precision_score(relevant, scores)
    return found


def labelled(seed, *, n_controls=12, n_perturbations=5, n_features=6):
    rng = np.random.default_rng(seed)
    perturbation = np.r_[np.full(n_controls, -1), rng.integers(0, n_perturbations, 3 * n_perturbations)]
    perturbation = perturbation[rng.permutation(len(perturbation))]
    batch = rng.integers(0, 3, len(perturbation))
    values = rng.normal(size=(len(perturbation), n_features)) + 0.7 * perturbation[:, None] % 3
    return values, perturbation, batch


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["controls", "others"]), st.booleans())
def test_average_precision_is_that_of_scikit_learn(seed, against, batches):
    values, perturbation, batch = labelled(seed)
    batch = batch if batches else None
    found = replicate_precision(values, perturbation, batch=batch, against=against)
    np.testing.assert_allclose(
        found.average_precision, precision_naive(values, perturbation, batch, against), atol=1e-9
    )
    told = ~np.isnan(found.average_precision)
    assert (found.n_positive[told] > 0).all()
    np.testing.assert_allclose(
        found.normalized[told], (found.average_precision - found.chance)[told] / (1 - found.chance[told])
    )


def test_single_precision_gives_the_same_ranks():
    values, perturbation, batch = labelled(3, n_features=40)
    one, other = (
        replicate_precision(values.astype(kind), perturbation, batch=batch).average_precision
        for kind in (np.float32, np.float64)
    )
    np.testing.assert_allclose(one, other, atol=1e-12)


def test_row_order_does_not_matter():
    values, perturbation, batch = labelled(4)
    order = np.random.default_rng(0).permutation(len(values))
    one = replicate_precision(values, perturbation, batch=batch)
    other = replicate_precision(values[order], perturbation[order], batch=batch[order])
    np.testing.assert_allclose(one.average_precision[order], other.average_precision)


@pytest.mark.parametrize("against", ["controls", "others"])
@pytest.mark.parametrize("scale", [1.0, 0.0])
def test_constant_features_score_chance_and_not_one(against, scale):
    # A stable sort that happens to put positives first gives constant features a perfect score.
    perturbation = np.r_[np.repeat(np.arange(200), 3), np.full(60, -1)]
    batch = np.r_[np.tile(np.arange(3), 200), np.repeat(np.arange(3), 20)]
    found = replicate_precision(np.full((660, 4), scale), perturbation, batch=batch, against=against)
    told = perturbation >= 0
    error = found.average_precision[told].std() / np.sqrt(told.sum())
    assert found.average_precision[told].mean() == pytest.approx(found.chance[told].mean(), abs=4 * error)
    assert found.average_precision[told].std() > 0.01
    again = replicate_precision(np.full((660, 4), scale), perturbation, batch=batch, against=against)
    np.testing.assert_array_equal(found.average_precision, again.average_precision)
    other = replicate_precision(np.full((660, 4), scale), perturbation, batch=batch, against=against, seed=1)
    assert (found.average_precision != other.average_precision)[told].any()


def test_partial_ties_are_broken_evenly():
    # One positive tied with one of three negatives, the others below: first or second.
    query = np.tile([[1.0, 0.0]], (400, 1))
    positive = np.tile([[0.6, 0.8]], (400, 1))
    negatives = np.array([[0.6, -0.8], [-1.0, 0], [0, -1.0]])
    values = np.concatenate([query, positive, negatives])
    perturbation = np.r_[np.arange(400), np.arange(400), -1, -1, -1]
    batch = np.r_[np.zeros(400, dtype=int), np.ones(400, dtype=int), 0, 0, 0]
    found = replicate_precision(values, perturbation, batch=batch).average_precision[:400]
    assert set(np.round(found, 6)) == {0.5, 1.0}
    assert found.mean() == pytest.approx(0.75, abs=0.06)


def test_more_negatives_than_a_byte_can_count():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1204, 5))
    perturbation = np.r_[0, 0, 1, 1, np.full(1200, -1)]
    batch = np.zeros(1204, dtype=int)
    found = replicate_precision(values, perturbation, batch=None).average_precision
    np.testing.assert_allclose(found, precision_naive(values, perturbation, None, "controls"), atol=1e-9)
    assert np.isnan(replicate_precision(values, perturbation, batch=batch).average_precision).all()


def test_queries_without_positives_or_negatives_have_no_score():
    values = np.random.default_rng(0).normal(size=(5, 3))
    found = replicate_precision(values, np.array([0, 0, 1, -1, 2]), batch=np.array([0, 1, 0, 0, 1]))
    assert np.isfinite(found.average_precision[0])
    # Without a control in its batch, alone, a control itself, alone and without controls.
    assert np.isnan(found.average_precision[1:]).all()
    assert np.isnan(found.normalized[1:]).all()
    assert np.isnan(replicate_precision(values, np.full(5, -1)).average_precision).all()


def test_unknown_negatives_are_named():
    with pytest.raises(InputError, match="unknown choice of negatives 'control': did you mean 'controls'"):
        replicate_precision(np.eye(2), np.array([0, 0]), against="control")  # type: ignore[arg-type]


@pytest.mark.parametrize(("n_positive", "n_total"), [(1, 1), (1, 5), (2, 6), (3, 7), (4, 5), (5, 5), (0, 4)])
def test_chance_is_the_mean_over_all_rankings(n_positive, n_total):
    if n_positive in (0, n_total):
        assert np.isnan(chance_precision(n_positive, n_total))
        return
    every = [
        np.mean([(place + 1) / (rank + 1) for place, rank in enumerate(ranks)])
        for ranks in itertools.combinations(range(n_total), n_positive)
    ]
    assert chance_precision(n_positive, n_total) == pytest.approx(np.mean(every))


def test_precision_of_counts_by_hand():
    found = precision_of_counts(np.array([[0, 0, -1], [2, 0, 5], [-1, -1, -1]]))
    np.testing.assert_allclose(found, [1.0, (1 + 2 / 4 + 3 / 8) / 3, np.nan])


def test_rows_drawn_from_a_pool_are_no_negatives_of_each_other():
    rng = np.random.default_rng(0)
    pools = [unit_vectors(rng.normal(size=(9, 4))) for _ in range(2)]
    member = np.array([3, 5, 0, 7])
    pool = np.array([0, 0, 1, 1])
    vectors = np.array([pools[number][place] for number, place in zip(pool, member, strict=True)])
    found = precision_against_pools(
        vectors, owner=np.zeros(4, dtype=int), batch=pool, pool=pool, pools=pools, member=member
    )
    assert found.n_negative.tolist() == [7] * 4
    left = [np.delete(rows, member[pool == number], axis=0) for number, rows in enumerate(pools)]
    expected = precision_against_pools(vectors, owner=np.zeros(4, dtype=int), batch=pool, pool=pool, pools=left)
    np.testing.assert_allclose(found.average_precision, expected.average_precision)
    owned = precision_against_pools(
        vectors,
        owner=np.zeros(4, dtype=int),
        batch=pool,
        pool=pool,
        pools=pools,
        pool_owner=[np.where(np.isin(np.arange(9), member[pool == number]), 0, -1) for number in range(2)],
    )
    np.testing.assert_allclose(owned.average_precision, expected.average_precision)
    assert owned.n_negative.tolist() == [7] * 4


def test_published_implementation_agrees():
    copairs = pytest.importorskip("copairs.map", reason="copairs, the published implementation, is not installed")
    import pandas as pd

    values, perturbation, batch = labelled(0, n_controls=30)
    rows = pd.DataFrame({"perturbation": perturbation, "batch": batch, "control": perturbation < 0})
    found = copairs.average_precision(
        rows,
        values,
        pos_sameby=["perturbation"],
        pos_diffby=["batch"],
        neg_sameby=["batch"],
        neg_diffby=["perturbation", "control"],
        progress_bar=False,
    )["average_precision"].to_numpy()
    ours = replicate_precision(values, perturbation, batch=batch).average_precision
    both = ~np.isnan(ours)
    np.testing.assert_allclose(ours[both], found[both], atol=1e-6)
