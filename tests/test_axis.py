"""The shared axis against a decomposition in full, strata of equal sizes, and layouts as fine as can be matched."""

import numpy as np
import polars as pl
import pytest
from builders import cosines, map_of, names_of, random_map
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer import axis
from explorer.axis import (
    AXIS_BINS,
    FEWEST_FOR_STRATA,
    NO_LAYOUT,
    axis_strata,
    centered,
    find_layout,
    layout_units,
    shared_axis,
)
from explorer.errors import InputError
from explorer.screen import Context, Roles, Screen


def skewed(n: int = 90, n_features: int = 12, *, seed: int = 0) -> np.ndarray:
    """Profiles along an axis that a third of them carries."""
    rng = np.random.default_rng(seed)
    carried = np.where(np.arange(n) % 3 == 0, 4.0, 0.0)[:, None] * rng.standard_normal(n_features)
    return rng.standard_normal((n, n_features)) + carried


def axis_in_full(profiles: np.ndarray) -> np.ndarray:
    """First component of rows of length 1 that are then centred, whichever way it points."""
    unit = profiles / np.linalg.norm(profiles, axis=1, keepdims=True)
    moved = unit - unit.mean(axis=0)
    return moved @ np.linalg.svd(moved, full_matrices=False)[2][0]


# The axis


@pytest.mark.parametrize("seed", range(4))
def test_the_axis_is_the_first_component_whichever_way_it_points(seed):
    profiles = skewed(seed=seed).astype(np.float32).astype(np.float64)
    found, expected = shared_axis(map_of(profiles)), axis_in_full(profiles)
    sign = np.sign(found @ expected)
    np.testing.assert_allclose(found, sign * expected, atol=1e-6)
    assert (found**3).sum() > 0


def test_scaling_a_profile_changes_nothing():
    profiles = skewed()
    lengths = np.random.default_rng(1).uniform(0.01, 100, size=(len(profiles), 1))
    np.testing.assert_allclose(shared_axis(map_of(profiles)), shared_axis(map_of(profiles * lengths)), atol=2e-6)


@pytest.mark.parametrize("features", ["negated", "rotated", "shuffled"])
def test_the_sign_of_a_component_is_of_no_account(features):
    profiles = skewed()
    rng = np.random.default_rng(5)
    turned = {
        "negated": -profiles,
        "rotated": profiles @ np.linalg.qr(rng.standard_normal((12, 12)))[0],
        "shuffled": profiles[:, rng.permutation(12)],
    }[features]
    one, other = map_of(profiles), map_of(turned)
    np.testing.assert_allclose(shared_axis(one), shared_axis(other), atol=2e-6)
    np.testing.assert_array_equal(axis_strata(one).axis, axis_strata(other).axis)


def test_a_symmetric_axis_is_turned_by_the_first_name():
    profiles = np.array([[1.0, -1], [1, 1], [1, 0]] * 30)
    np.testing.assert_allclose(shared_axis(map_of(profiles)), shared_axis(map_of(profiles * [1, -1])), atol=1e-6)
    assert shared_axis(map_of(profiles))[0] > 0


def test_many_features_and_many_blocks_give_the_same(monkeypatch):
    whole = map_of(skewed(n_features=40))
    expected = shared_axis(whole)
    monkeypatch.setattr(axis, "_MOST_WHOLE", 8)
    monkeypatch.setattr(axis, "_BLOCK_BYTES", 8 * 40 * 7)
    np.testing.assert_allclose(shared_axis(whole), expected, atol=2e-6)


def test_a_profile_of_length_zero_has_no_place():
    profiles = skewed()
    profiles[[3, 50]] = 0
    made = map_of(profiles)
    scores = shared_axis(made)
    assert np.flatnonzero(np.isnan(scores)).tolist() == [3, 50]
    np.testing.assert_array_equal(scores[~np.isnan(scores)], shared_axis(map_of(np.delete(profiles, [3, 50], axis=0))))
    strata = axis_strata(made)
    assert (strata.axis[[3, 50]] == -1).all()
    assert (strata.tertile[[3, 50]] == -1).all()


@pytest.mark.parametrize("profiles", [np.ones((80, 4)), np.outer(np.arange(1, 81), [3.0, 1, 2])])
def test_profiles_that_point_one_way_have_no_axis(profiles):
    with pytest.raises(InputError, match="all point the same way, expected profiles that vary"):
        axis_strata(map_of(profiles))


# The centred map


def test_cosines_of_the_centred_map_are_centred_cosines():
    made = random_map(30, 6, seed=1)
    moved = centered(made)
    expected = cosines(made.profiles - made.profiles.mean(axis=0, dtype=np.float64))
    np.testing.assert_allclose(cosines(moved.profiles), expected, atol=1e-5)
    assert moved.names == made.names
    assert "less the mean profile of 30 perturbations" in moved.recipe.sentence
    assert moved.fingerprint != made.fingerprint


def test_what_was_the_mean_has_length_zero_and_not_a_rounding_error():
    steps = np.random.default_rng(0).integers(1, 9, size=(20, 5))
    moved = centered(map_of(1000 + np.r_[steps, -steps[:13], np.zeros((1, 5)), -steps[13:]] / 7))
    assert np.flatnonzero(moved.norms == 0).tolist() == [33]
    assert (centered(map_of(np.full((20, 3), 0.1))).norms == 0).all()


# Strata


@settings(max_examples=25, deadline=None)
@given(n=st.integers(FEWEST_FOR_STRATA, 200), seed=st.integers(0, 99))
def test_strata_are_as_equal_as_can_be_and_in_order(n, seed):
    made = random_map(n, 5, seed=seed)
    scores, strata = shared_axis(made), axis_strata(made)
    for parts, n_parts in ((strata.axis, AXIS_BINS), (strata.tertile, 3)):
        sizes = np.bincount(parts, minlength=n_parts)
        assert len(sizes) == n_parts
        assert sizes.max() - sizes.min() <= 1
        assert (np.diff(parts[np.argsort(scores, kind="stable")]) >= 0).all()


def test_equal_scores_are_divided_by_name():
    # One feature: all scores are one of two.
    strata = axis_strata(map_of(np.r_[np.ones(40), -np.ones(40)][:, None]))
    parts = strata.axis
    assert (np.diff(parts[:40]) >= 0).all()
    assert (np.diff(parts[40:]) >= 0).all()
    assert np.bincount(parts).tolist() == [4] * 20


def test_a_context_of_ten_is_told_how_many_are_needed():
    with pytest.raises(InputError, match=r"10 perturbations are too few .* at least 60"):
        axis_strata(random_map(10, 4, seed=0))
    with pytest.raises(InputError, match=r"0 of 80 profiles of 'raw' in 'all' are longer than zero"):
        axis_strata(map_of(np.zeros((80, 4))))


def test_bins_are_crossed_with_the_layout():
    made = random_map(60, 4, seed=0)
    assert axis_strata(made).note == NO_LAYOUT
    layout = np.arange(60) % 4
    layout[5] = -1
    strata = axis_strata(made, layout=layout)
    assert "1 of 60 perturbations have no position" in strata.note
    for i in range(60):
        alike = (strata.axis == strata.axis[i]) & (layout == layout[i]) & (layout >= 0)
        np.testing.assert_array_equal(strata.stratum == strata.stratum[i], alike if i != 5 else layout < 0)
    assert strata.stratum[5] == -1
    assert axis_strata(made, layout=np.zeros(60, dtype=int)).note == ""
    np.testing.assert_array_equal(axis_strata(made).stratum, axis_strata(made).axis)


def test_a_layout_of_other_perturbations_is_refused():
    with pytest.raises(InputError, match="59 layout units for 60 perturbations"):
        axis_strata(random_map(60, 4, seed=0), layout=np.zeros(59, dtype=int))


# Layout


def screen_of(labels: list[str], **columns: list) -> Screen:
    rows = pl.DataFrame({"gene": labels, **columns})
    return Screen("data", Context("here"), rows, Roles("gene", group=tuple(columns)))


def test_where_nothing_is_declared_there_is_no_layout():
    screen = Screen("data", Context("here"), pl.DataFrame({"gene": ["A", "B"]}), Roles("gene"))
    assert find_layout(screen, ("A", "B")) is None
    assert layout_units(screen, ("A", "B")) is None
    arms = screen_of(["A", "B"], arm=["1p", "2q"])
    assert layout_units(arms, ("A", "B"), columns=()) is None


def test_a_perturbation_stands_where_most_of_its_rows_do():
    names = names_of(120)
    labels = [name for name in names for _ in range(3)]
    plate = [f"plate {number // 60}" for number in range(120) for _ in range(3)]
    plate[0] = "plate 1"  # one of three rows of the first
    plate[3:6] = ["plate 0", "plate 1", "plate 9"]  # the second is spread
    plate[6:9] = [None, None, None]  # the third stands nowhere
    plate[9:12] = [None, "plate 1", None]
    found = find_layout(screen_of(labels, plate=plate), names)
    assert (found.said, found.note) == ("plate", "")
    assert found.units[:5].tolist() == [0, 2, -1, 1, 0]
    assert found.units[60:].tolist() == [1] * 60


def test_the_controls_place_is_nobodys():
    names = names_of(80)
    screen = screen_of([*names, "ctrl"], half=["left"] * 40 + ["right"] * 40 + ["elsewhere"])
    assert layout_units(screen, names).tolist() == [0] * 40 + [1] * 40


def test_wells_of_their_own_are_matched_by_column_row_or_edge():
    wells = [f"{row}{column:02d}" for row in "ABCDEFGHIJKLMNOP" for column in range(1, 25)]
    names = names_of(len(wells))
    found = find_layout(screen_of(list(names), Metadata_Well=wells), names)
    assert found.said == "edge of the plate by Metadata_Well"
    edge = [well[0] in "AP" or well[1:] in ("01", "24") for well in wells]
    # Numbered by name: edge, inside.
    assert found.units.tolist() == [0 if at_edge else 1 for at_edge in edge]
    assert "Metadata_Well has 384 units for 384 perturbations, expected 40 in each" in found.note
    # Four plates of other compounds: a column of all of them is enough.
    many = names_of(4 * len(wells))
    assert find_layout(screen_of(list(many), well=wells * 4), many).said == "column of well"
    # Sixteen: a well is no longer a compound's own, but too few share it to be matched by it.
    some = [well for well in wells if well[1:] in ("05", "06", "07")]
    rows = names_of(48 * 20)
    assert find_layout(screen_of(list(rows), well=some * 20), rows).said == "column of well"


def test_rows_serve_where_columns_are_too_narrow():
    # Two rows of a long plate.
    wells = [f"{row}{column:02d}" for row in "AB" for column in range(1, 49)]
    names = names_of(len(wells))
    assert find_layout(screen_of(list(names), well=wells), names).said == "row of well"


@pytest.mark.parametrize(
    "positions",
    [
        [f"spot {number}" for number in range(100)],
        [f"A{number}" for number in range(100)],  # no such column on any plate
        [f"ZZ{number:02d}" for number in range(100)],
    ],
)
def test_positions_that_nobody_shares_are_not_matched_and_it_is_said(positions):
    names = names_of(100)
    found = find_layout(screen_of(list(names), where=positions), names)
    assert found.units.tolist() == [0] * 100
    assert "layout declared but not matched: where has 100 units for 100 perturbations" in found.note
    assert "would look like replication" in found.note


def test_of_several_columns_one_alone_may_serve():
    names = names_of(100)
    columns = {"row": [number // 50 for number in range(100)], "spot": list(range(100))}
    found = find_layout(screen_of(list(names), **columns), names)
    assert found.said == "row"
    assert "row and spot has 100 units" in found.note
    together = {"row": [number // 100 for number in range(200)], "half": [number % 2 for number in range(200)]}
    both = find_layout(screen_of(list(names_of(200)), **together), names_of(200))
    assert both.said == "row and half"
    assert np.bincount(both.units).tolist() == [50] * 4


def test_a_layout_dealt_anew_to_every_plate_marks_nobody():
    names = names_of(96)
    rng = np.random.default_rng(0)
    wells = [f"{row}{column}" for row in "ABCDEFGH" for column in range(1, 13)]
    labels = [name for _ in range(6) for name in names]
    dealt = [well for _ in range(6) for well in rng.permutation(wells)]
    found = find_layout(screen_of(labels, well=dealt), names)
    assert (found.units == found.units.max()).mean() > 0.9
