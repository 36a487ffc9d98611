"""Reliability of similarity: planted truth, a loop in place of the stream, and what must not be learned from."""

import numpy as np
import pytest
from builders import map_of, names_of, random_map
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from explorer.errors import InputError
from explorer.known import known_pairs
from explorer.relationships import GeneSets, Relationships
from explorer.reliability import (
    CAPTION,
    calibrate_similarity,
    expected_calibration_error,
    reliability_table,
)


def sets_of(module, names, *, name="truth"):
    groups = {}
    for label, row in zip(module.tolist(), names, strict=True):
        if label >= 0:
            groups.setdefault(f"module {label:03d}", []).append(row)
    return GeneSets(name, {key: tuple(rows) for key, rows in groups.items()})


def modules(n_modules, size, *, n_features=20, signal=0.7, seed=0):
    rng = np.random.default_rng(seed)
    module = np.repeat(np.arange(n_modules), size)
    profiles = signal * rng.normal(size=(n_modules, n_features))[module] + rng.normal(size=(len(module), n_features))
    found = map_of(profiles)
    return found, known_pairs(sets_of(module, found.names), found.names), module


def graph_known(pairs, names):
    first, second = ([names[pair[end]] for pair in pairs] for end in (0, 1))
    return known_pairs(Relationships.from_pairs("graph", first, second), names)


def test_the_curve_is_that_of_a_loop_over_pairs():
    found, known, module = modules(12, 4)
    values = found.profiles.astype(np.float64)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    similarity, label = [], []
    for i in range(len(values)):
        for j in range(i + 1, len(values)):
            similarity.append(round(float(values[i] @ values[j]), 3))
            label.append(float(module[i] == module[j]))
    result = calibrate_similarity(found, [known])
    assert result.n_pairs == len(label) == result.curve["n_pairs"].sum()
    assert result.n_known == sum(label) == result.curve["n_known"].sum()
    assert result.base_rate == np.mean(label)
    model = IsotonicRegression(out_of_bounds="clip").fit(similarity, label)
    np.testing.assert_allclose(result.probability(similarity), model.predict(similarity), atol=1e-9)


def test_the_order_of_rows_and_the_size_of_blocks_change_nothing(monkeypatch):
    found, known, _ = modules(30, 4)
    whole = calibrate_similarity(found, [known])
    monkeypatch.setattr("explorer.cosine_counts._BLOCK_VALUES", 777)
    parts = calibrate_similarity(found, [known])
    assert whole.curve.equals(parts.curve)
    assert whole.table.equals(parts.table)


def test_planted_probabilities_are_found():
    # Whether a pair is known is drawn from a function of its cosine: that function must come back.
    found = random_map(300, 8, seed=1)
    values = found.profiles / np.linalg.norm(found.profiles, axis=1, keepdims=True)
    one, other = np.triu_indices(300, k=1)
    cosine = np.einsum("ij,ij->i", values[one], values[other])

    def truth(similarity):
        return 0.02 + 0.3 / (1 + np.exp(-8 * (np.asarray(similarity) - 0.4)))

    chosen = np.random.default_rng(2).random(len(cosine)) < truth(cosine)
    known = graph_known(list(zip(one[chosen].tolist(), other[chosen].tolist(), strict=True)), found.names)
    result = calibrate_similarity(found, [known])
    grid = np.linspace(-0.6, 0.8, 15)
    np.testing.assert_allclose(result.probability(grid), truth(grid), atol=0.04)
    assert result.expected_calibration_error < 0.01
    assert result.relative_error < 0.12


def test_shuffled_labels_give_a_flat_curve_at_the_base_rate():
    found, _, module = modules(60, 5)
    shuffled = np.random.default_rng(3).permutation(module)
    result = calibrate_similarity(found, [known_pairs(sets_of(shuffled, found.names), found.names)])
    weights = result.curve["n_pairs"].to_numpy()
    distance = np.abs(result.curve["probability"].to_numpy() - result.base_rate)
    assert np.average(distance, weights=weights) < 0.1 * result.base_rate
    assert result.relative_error < 0.15


def test_calibrated_predictions_have_no_error_and_distorted_ones_have():
    rng = np.random.default_rng(4)
    chance = np.linspace(0.005, 0.6, 80)
    n_pairs = np.full(80, 5_000)
    n_known = rng.binomial(n_pairs, chance)
    honest = expected_calibration_error(reliability_table(chance, n_pairs, n_known))
    distorted = expected_calibration_error(reliability_table(np.sqrt(chance), n_pairs, n_known))
    assert honest < 0.005
    assert distorted > 0.2


def test_a_group_does_not_help_to_predict_itself():
    # One group is near, all others are not: what it teaches holds for no other group.
    rng = np.random.default_rng(5)
    module = np.repeat(np.arange(41), 8)[: 8 * 41]
    profiles = rng.normal(size=(len(module), 30))
    profiles[module == 0] = rng.normal(size=30) + 0.2 * rng.normal(size=(8, 30))
    found = map_of(profiles)
    result = calibrate_similarity(found, [known_pairs(sets_of(module, found.names), found.names)])
    assert result.probability(0.98) > 0.9
    judged = result.table
    # Where that group was left out, nothing promised its pairs.
    assert judged["predicted"].max() < 0.2 + judged["observed"].max()
    assert result.relative_error > 28 / result.n_known / 2


def test_known_pairs_of_no_group_are_counted_too():
    found, known, _ = modules(25, 4)
    rows = [(int(i), int(j)) for i, j in zip(known.first, known.second, strict=True)]
    graph = graph_known([*rows, (0, 99), (5, 50), (7, 80)], found.names)
    result = calibrate_similarity(found, [graph, known])
    assert result.n_known == known.n_pairs + 3
    assert result.sources == ("graph", "truth")
    assert result.table["n_known"].sum() == result.n_known
    assert result.table["n_pairs"].sum() == result.n_pairs


def test_effective_groups_count_whose_pairs_a_bin_holds():
    found, known, _ = modules(40, 4)
    table = calibrate_similarity(found, [known]).table
    assert table.columns == ["predicted", "observed", "n_pairs", "n_known", "effective_groups"]
    assert table["effective_groups"].drop_nans().max() <= 40
    assert table["predicted"].is_sorted()


def test_profiles_of_length_zero_are_left_out_and_said_so():
    found, known, _ = modules(15, 4)
    profiles = found.profiles.copy()
    profiles[[0, 17]] = 0
    result = calibrate_similarity(map_of(profiles), [known])
    assert result.n_perturbations == 58
    assert result.n_pairs == 58 * 57 // 2
    assert result.n_known == known.n_pairs - 6
    assert result.notes == ("2 annotated perturbations have no profile",)
    with pytest.raises(InputError, match="no known pair has two profiles"):
        calibrate_similarity(map_of(np.zeros((60, 4))), [known])


def test_one_group_alone_can_not_be_judged():
    found = random_map(60, 5, seed=0)
    known = known_pairs(GeneSets("one", {"only": found.names[:25]}), found.names)
    result = calibrate_similarity(found, [known])
    assert np.isnan(result.expected_calibration_error)
    assert result.table.is_empty()
    assert result.base_rate == 1
    assert "fewer than two groups" in result.notes[0]


def test_the_caption_says_what_the_chance_is_of():
    assert "annotated" in CAPTION
    assert "not that it is true" in CAPTION


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"known": []}, "no source of known pairs"),
        ({"names": names_of(61)[1:]}, "'truth' was looked up in another map"),
        ({"n_folds": 1}, "n_folds is 1, expected a whole number of 2 or more"),
    ],
)
def test_bad_input(change, message):
    found, known, _ = modules(15, 4)
    if "names" in change:
        found = map_of(found.profiles, change["names"])
    with pytest.raises(InputError, match=message):
        calibrate_similarity(found, change.get("known", [known]), n_folds=change.get("n_folds", 5))


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 500), st.floats(0, 1)), min_size=1, max_size=40).filter(
        lambda sets: any(n for _, n, _ in sets)
    )
)
def test_bins_lose_no_pair_and_split_no_tie(sets):
    chance, n_pairs = np.array([p for p, *_ in sets]), np.array([n for _, n, _ in sets])
    n_known = np.array([round(n * share) for _, n, share in sets])
    table = reliability_table(chance, n_pairs, n_known)
    assert 1 <= table.height <= 10
    assert table["n_pairs"].sum() == n_pairs.sum()
    assert table["n_known"].sum() == n_known.sum()
    assert table["n_pairs"].min() > 0
    np.testing.assert_allclose((table["predicted"] * table["n_pairs"]).sum(), (chance * n_pairs).sum(), atol=1e-6)
    assert 0 <= expected_calibration_error(table) <= 1
    same = reliability_table(np.full(len(sets), 0.3), n_pairs, n_known)
    assert same.height == 1
