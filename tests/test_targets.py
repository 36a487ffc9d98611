"""Targets: the map, its controls, its halves and its places, against loops; what does not vary is left out."""

import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from test_activity import guided, plates, screen_of

from explorer.aggregate import build_map
from explorer.align import METHODS, fit_alignment, moments_for
from explorer.errors import InputError
from explorer.halves import replicate_halves
from explorer.moments import collect_moments
from explorer.screen import Screen
from explorer.targets import restricted_target, target_of, well_features


def aligned_rows(screen, alignment):
    source = screen.representation("raw")
    moments = moments_for(alignment, screen, source)
    values = source.source.read(0, screen.rows.height)
    return fit_alignment(moments, alignment).apply(values, moments.labels.batch)


@pytest.mark.parametrize("alignment", METHODS)
@pytest.mark.parametrize("make", [plates, guided])
def test_controls_are_aligned_as_the_profiles_are(make, alignment):
    screen = make(effect=1.0)
    target = target_of(screen, "raw", alignment=alignment)
    expected = aligned_rows(screen, alignment)[screen.is_control()].mean(axis=0)
    assert target.control == pytest.approx(expected, abs=1e-5)
    assert target.profiles.profiles == pytest.approx(build_map(screen, "raw", alignment=alignment).profiles)
    assert target.label == "raw of all"
    assert target.notes == target.profiles.recipe.notes
    assert target.wells is None


@pytest.mark.parametrize("alignment", ["none", "center", "tvn"])
def test_moments_at_hand_change_nothing(alignment):
    screen = guided(effect=1.0)
    moments = collect_moments(screen, screen.representation("raw"), medians=True)
    one, other = (
        target_of(screen, "raw", alignment=alignment),
        target_of(screen, "raw", alignment=alignment, moments=moments),
    )
    assert one.control == pytest.approx(other.control, abs=1e-6)
    for half, expected in zip(one.halves, other.halves, strict=True):
        assert half == pytest.approx(expected, abs=1e-5)


def test_halves_are_held_against_disjoint_controls():
    screen = guided(effect=1.0)
    target = target_of(screen, "raw", alignment="center", seed=3)
    made = replicate_halves(screen, "raw", alignment="center", seed=3)
    moments = collect_moments(screen, screen.representation("raw"), seed=3)
    rows = aligned_rows(screen, "center")
    references = []
    for number in (0, 1):
        # The halves of the controls that moments keep apart, row by row.
        role = moments.labels.role
        own = (role == 1) if number == 0 else (role >= 2)
        references.append(rows[own].mean(axis=0))
    assert not np.allclose(*references)
    for half, whole, reference in zip(target.halves, made, references, strict=True):
        assert half == pytest.approx(whole.profiles - reference, abs=1e-5)


def test_halves_share_no_noise_of_the_controls():
    """Where nothing has an effect, halves held against the same controls would agree; held against their own, not."""
    found, naive = [], []
    for seed in range(8):
        screen = plates(n_perturbations=60, n_wells=2, n_controls=4, n_features=30, seed=seed)
        target = target_of(screen, "raw", alignment="center", seed=seed)
        shared = [half.profiles for half in replicate_halves(screen, "raw", alignment="center", seed=seed)]
        for pair, into in ((target.halves, found), (shared, naive)):
            one, other = (half - half.mean(axis=1, keepdims=True) for half in pair)
            cosine = (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
            into.append(cosine.mean())
    assert abs(np.mean(found)) < 0.15
    assert np.mean(found) != pytest.approx(np.mean(naive))


def test_a_perturbation_with_one_replicate_has_no_second_half():
    labels = ["ctrl"] * 4 + ["A"] * 2 + ["B"] * 2 + ["C"] * 2 + ["D"]
    screen = screen_of(labels, np.random.default_rng(0).normal(size=(len(labels), 3)))
    target = target_of(screen, "raw")
    one, other = (np.isnan(half).all(axis=1).tolist() for half in target.halves)
    assert one == [False, False, False, False]
    assert other == [False, False, False, True]


def test_without_controls():
    screen = Screen.from_arrays(["A", "B", "C", "D"], {"raw": np.random.default_rng(0).normal(size=(4, 3))})
    target = target_of(screen, "raw")
    assert target.control is None
    assert target.halves is None
    assert "no controls are declared" in target.notes[0]


def test_one_control_can_not_be_halved():
    labels = ["ctrl", "A", "A", "B", "B", "C", "C"]
    screen = screen_of(labels, np.random.default_rng(0).normal(size=(7, 3)))
    target = target_of(screen, "raw")
    assert target.control is not None
    assert target.halves is None
    assert "one control can't be halved, so that the repeatability of the target is not known" in target.notes


def test_kept_controls_are_predicted_and_held_against():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(6, 3))
    screen = Screen.from_arrays(list("ABCDEF"), {"raw": values}, control=("B", "D"), keep_controls=True)
    target = target_of(screen, "raw")
    assert target.profiles.names == tuple("ABCDEF")
    assert target.control == pytest.approx(values[[1, 3]].mean(axis=0), abs=1e-6)
    assert "the controls of the target are perturbations too" in target.notes[0]


def test_constant_features_are_left_out_and_said():
    values = np.random.default_rng(0).normal(size=(20, 4))
    values[:, [1, 3]] = 7
    screen = screen_of(["ctrl"] * 4 + [f"P{number // 2}" for number in range(16)], values)
    target = target_of(screen, "raw", features=["a", "b", "c", "d"])
    assert target.features == ("a", "c")
    assert target.profiles.profiles.shape == (8, 2)
    assert target.control.shape == (2,)
    assert target.halves[0].shape == target.halves[1].shape == (8, 2)
    assert "2 features of 4 ('b', 'd') are the same for every perturbation and were left out" in target.notes
    assert target_of(screen, "raw").features == ()


def test_a_target_that_does_not_vary_is_refused():
    screen = screen_of(["ctrl", "A", "B", "C"], np.ones((4, 3)))
    with pytest.raises(InputError, match="no feature of 'raw' differs between perturbations of 'all'"):
        target_of(screen, "raw")


def test_too_large_to_be_halved(monkeypatch):
    from explorer import targets

    monkeypatch.setattr(targets, "MOST_HALVED_BYTES", 10)
    target = target_of(guided(), "raw")
    assert target.halves is None
    assert "the screen is too large to be halved, so that its own repeatability is not known" in target.notes


def test_some_perturbations_of_a_target():
    screen = plates(n_perturbations=6)
    whole = replace(target_of(screen, "raw"), wells=np.arange(12.0).reshape(6, 2))
    names = [whole.profiles.names[row] for row in (4, 1, 2)]
    part = restricted_target(whole, names)
    assert part.profiles.names == tuple(sorted(names))
    assert part.wells.tolist() == [[2, 3], [4, 5], [8, 9]]
    assert part.halves[0] == pytest.approx(whole.halves[0][[1, 2, 4]])
    assert restricted_target(whole, whole.profiles.names) is whole


# ---------------------------------------------------------------- places


def wells_of(labels, wells, **roles):
    values = np.random.default_rng(0).normal(size=(len(labels), 2))
    return screen_of(labels, values, well=wells, control=("ctrl",) if "ctrl" in labels else (), **roles)


def test_wells_are_rows_and_columns():
    screen = wells_of(["A", "A", "B", "C"], ["A01", "B03", "B03", "A02"])
    found = well_features(screen, ["A", "B", "C"])
    # Row, column, their squares and product; two rows; three columns.
    assert found.shape == (3, 10)
    assert found[:, 5:].tolist() == [[0.5, 0.5, 0.5, 0, 0.5], [0, 1, 0, 0, 1], [1, 0, 0, 1, 0]]
    root = np.sqrt(3)
    assert found[1, :5] == pytest.approx([root, root, 3, 3, 3])
    assert found[2, :5] == pytest.approx([-root, 0, 3, 0, 0])
    assert found[0, :5] == pytest.approx([0, 0, 3, 3, 3])


@pytest.mark.parametrize("well", ["A1", "P24", "AF48", "h-07", "17q21", "Xq28", "1p", "A100", "well 3"])
def test_what_is_a_well(well):
    is_well = bool(re.fullmatch(r"A1|P24|AF48", well))
    found = well_features(wells_of(["A", "B", "C"], [well, "B02", "C03"]), ["A", "B", "C"])
    assert (found is not None) == is_well


def test_declared_layouts_need_not_be_wells():
    screen = wells_of(["A", "B", "C"], ["left", "right", "left"])
    assert well_features(screen, ["A", "B", "C"]) is None
    assert well_features(screen, ["A", "B", "C"], layout=["well"]).tolist() == [[1, 0], [0, 1], [1, 0]]
    assert well_features(screen, ["A", "B", "C"], layout=[]) is None
    with pytest.raises(
        InputError, match="the column 'wel' of the layout is not there; columns: 'perturbation', 'well'"
    ):
        well_features(screen, ["A", "B", "C"], layout=["wel"])


def test_a_name_for_every_row_is_no_layout(monkeypatch):
    from explorer import targets

    monkeypatch.setattr(targets, "MOST_PLACES", 2)
    screen = wells_of(["A", "B", "C"], ["one", "two", "three"])
    assert well_features(screen, ["A", "B", "C"], layout=["well"]) is None


def test_one_without_a_place_has_the_mean_of_the_others():
    screen = wells_of(["A", "B", "C"], ["A01", None, "B01"])
    found = well_features(screen, ["A", "B", "C"])
    assert found[1] == pytest.approx((found[0] + found[2]) / 2)


def test_controls_lay_somewhere_too_and_do_not_count():
    screen = wells_of(["ctrl", "A", "B", "C"], ["H12", "A01", "A02", "A03"])
    found = target_of(screen, "raw").wells
    assert found.shape[0] == 3
    # The last row of the plate is the controls' alone.
    assert found[:, 5:7].tolist() == [[1, 0]] * 3


def test_table_is_left_alone():
    screen = wells_of(["A", "B", "C"], ["A01", "A02", "A03"])
    before = screen.rows.clone()
    target_of(screen, "raw")
    assert screen.rows.equals(before)
    assert isinstance(before, pl.DataFrame)
