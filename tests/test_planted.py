"""Planted maps: the truth is as asked, the advantage is as asked, and equal maps are exchangeable."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.errors import InputError
from explorer.known import known_pairs, pool_units
from explorer.partners import partner_recall
from explorer.planted import NULL_KINDS, PlantedDesign, expected_recall, noise_factor, simulate_maps
from explorer.relate import neighborhoods

SMALL = PlantedDesign(perturbations=120, groups=24, largest=6, features=20)


def members_of(maps):
    return [sorted(members) for members in maps.known.groups.values()]


def recall_of(maps, name):
    made = {"simple": maps.simple, "learned": maps.learned, **maps.placebos}[name]
    units = pool_units([known_pairs(maps.known, made.names)])
    return partner_recall(neighborhoods(made, k=10), units.members)


def within(profiles, names, groups):
    """Mean cosine of pairs within groups."""
    unit = profiles / np.linalg.norm(profiles, axis=1, keepdims=True)
    place = {name: row for row, name in enumerate(names)}
    pairs = [(place[a], place[b]) for members in groups for a, b in combinations(sorted(members), 2)]
    return np.mean([unit[a] @ unit[b] for a, b in pairs])


# The truth


def test_sizes_are_as_documented():
    design = PlantedDesign()
    sizes = design.sizes
    assert len(sizes) == 60
    assert (sizes.min(), sizes.max()) == (3, 8)
    counts = np.bincount(sizes)[3:]
    wanted = 60 * (1 / np.arange(3, 9) ** 2) / (1 / np.arange(3, 9) ** 2).sum()
    assert np.abs(counts - wanted).max() <= 1
    assert sorted(PlantedDesign.of_kind("huge groups").sizes)[-4:] == [8, 40, 40, 40]


@pytest.mark.parametrize("kind", NULL_KINDS)
def test_known_groups_are_those_planted(kind):
    maps = simulate_maps(PlantedDesign.of_kind(kind), seed=3)
    assert sorted(map(len, members_of(maps))) == sorted(maps.design.sizes.tolist())
    pairs = {pair for members in members_of(maps) for pair in combinations(members, 2)}
    assert maps.known.n_pairs == len(pairs)
    assert not maps.hidden.groups
    shared = sum(maps.design.sizes) - len({name for members in members_of(maps) for name in members})
    assert shared == maps.design.n_reused.sum()
    assert (shared > 100) == (kind == "overlapping groups")
    for made in (maps.simple, maps.learned):
        assert made.names == maps.design.names
        units = pool_units([known_pairs(maps.known, made.names)])
        assert 20 <= units.n_units <= len(maps.known.groups)


def test_hidden_groups_act_alike_and_are_not_listed():
    maps = simulate_maps(replace(SMALL, perturbations=240, hidden_groups=24), seed=0)
    assert len(maps.known.groups) == len(maps.hidden.groups) == 24
    listed = {name for members in maps.known.groups.values() for name in members}
    hidden = {name for members in maps.hidden.groups.values() for name in members}
    assert not listed & hidden
    found = [within(maps.simple.profiles, maps.simple.names, source.groups.values())
             for source in (maps.known, maps.hidden)]  # fmt: skip
    assert found[0] == pytest.approx(found[1], abs=0.08)
    assert found[1] > 0.2


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1000),
    overlap=st.sampled_from([0.0, 0.3, 0.9]),
    huge=st.integers(0, 2),
    groups=st.integers(3, 12),
)
def test_groups_have_different_members_whatever_the_design(seed, overlap, huge, groups):
    design = replace(SMALL, overlap=overlap, huge=huge, huge_members=20, groups=groups)
    maps = simulate_maps(design, seed=seed)
    assert sorted(map(len, members_of(maps))) == sorted(design.sizes.tolist())
    assert maps.learned.names == tuple(sorted(maps.learned.names))


def test_cosines_are_what_signal_and_noise_say():
    # Of two members: signal 1 in common, noise of length 1.5 apart.
    design = PlantedDesign(features=2000)
    maps = simulate_maps(design, seed=0)
    assert within(maps.simple.profiles, maps.simple.names, members_of(maps)) == pytest.approx(1 / 3.25, abs=0.01)


def cross_correlation(design):
    """Correlation of the noise of two maps without any signal."""
    maps = simulate_maps(replace(design, inactive=1.0, stress=0.0), seed=0)
    return np.corrcoef(maps.simple.profiles.ravel(), maps.learned.profiles.ravel())[0, 1]


def test_noise_is_shared_as_asked():
    assert cross_correlation(PlantedDesign()) == pytest.approx(0, abs=0.03)
    assert cross_correlation(PlantedDesign.of_kind("shared noise")) == pytest.approx(0.5, abs=0.03)
    assert cross_correlation(PlantedDesign(shared_noise=1.0)) == pytest.approx(1, abs=1e-6)


def test_inactive_share_and_stress():
    noiseless = replace(PlantedDesign.of_kind("half inactive"), noise=1e-6)
    norms = simulate_maps(noiseless, seed=0).simple.norms
    assert (norms < 0.1).mean() == pytest.approx(0.5 + 0.5 * (1 - noiseless.sizes.sum() / 300), abs=0.06)
    stressed = replace(PlantedDesign.of_kind("stress axis"), noise=1e-6)
    maps = simulate_maps(stressed, seed=0)
    grouped = {name for members in members_of(maps) for name in members}
    alone = [row for row, name in enumerate(maps.simple.names) if name not in grouped and maps.simple.norms[row] > 0.1]
    unit = maps.simple.profiles[alone] / maps.simple.norms[alone, None]
    np.testing.assert_allclose(unit @ unit.T, 1, atol=1e-4)
    assert 0.74 < maps.simple.norms[alone].min() < maps.simple.norms[alone].max() < 2.26


def test_preferences_change_the_strength_of_whole_groups():
    maps = simulate_maps(replace(PlantedDesign.of_kind("preferences"), noise=1e-9), seed=0)
    ratios = np.log(maps.learned.norms / np.maximum(maps.simple.norms, 1e-12))
    place = {name: row for row, name in enumerate(maps.simple.names)}
    own = [[ratios[place[name]] for name in members] for members in members_of(maps)]
    assert max(np.ptp(ratio) for ratio in own) < 1e-5
    assert np.std([ratio[0] for ratio in own]) == pytest.approx(0.15 * np.sqrt(2), rel=0.3)


# The advantage


@pytest.mark.parametrize(
    ("kind", "advantage"),
    [
        ("exchangeable", -0.3),
        pytest.param("overlapping groups", 0.4, marks=pytest.mark.slow),
        pytest.param("shared noise and preferences", 0.2, marks=pytest.mark.slow),
    ],
)
def test_the_advantage_is_as_asked(kind, advantage):
    design = PlantedDesign.of_kind(kind, advantage=advantage)
    found = []
    for seed in range(50):
        maps = simulate_maps(design, seed=seed)
        found.append([recall_of(maps, name).mean() for name in ("simple", "learned")])
    simple, learned = np.mean(found, axis=0)
    # Of these screens and of those that the noise was tuned on.
    error = np.std(np.diff(found, axis=1)) / np.sqrt(len(found)) / simple * 1.2
    assert learned / simple - 1 == pytest.approx(advantage, abs=3 * error)
    assert simple == pytest.approx(expected_recall(design), abs=0.02)
    assert expected_recall(design, advantage=advantage) == pytest.approx(
        (1 + advantage) * expected_recall(design), rel=0.01
    )


def test_placebos_are_as_good_as_asked():
    design = replace(SMALL, advantage=0.4, placebos=(0.4, 0.0, -0.5))
    found = []
    for seed in range(60):
        maps = simulate_maps(design, seed=seed)
        assert list(maps.placebos) == ["placebo 1", "placebo 2", "placebo 3"]
        found.append([recall_of(maps, name).mean() for name in ("simple", "learned", *maps.placebos)])
    ratios = np.mean(found, axis=0) / np.mean(found, axis=0)[0]
    np.testing.assert_allclose(ratios, [1, 1.4, 1.4, 1, 0.5], atol=0.08)


def test_noise_falls_as_the_advantage_grows():
    factors = [noise_factor(SMALL, advantage=advantage) for advantage in (-0.5, -0.2, 0.0, 0.2, 0.5)]
    assert factors == sorted(factors, reverse=True)
    assert factors[2] == 1
    # What the design asks for itself does not matter.
    assert noise_factor(replace(SMALL, advantage=0.1, placebos=(0.3,)), advantage=0.2) == factors[3]


def test_the_calibration_agrees_with_the_public_recall():
    found = [recall_of(simulate_maps(SMALL, seed=seed), "simple").mean() for seed in range(100)]
    assert np.mean(found) == pytest.approx(expected_recall(SMALL), abs=4 * np.std(found) / np.sqrt(50))


# Seeds


def test_equal_arguments_give_equal_maps():
    one, other = (simulate_maps(SMALL, seed=5) for _ in range(2))
    np.testing.assert_array_equal(one.simple.profiles, other.simple.profiles)
    np.testing.assert_array_equal(one.learned.profiles, other.learned.profiles)
    assert one.known.groups == other.known.groups
    assert one.simple.fingerprint == other.simple.fingerprint


def test_another_draw_keeps_the_truth_and_another_seed_does_not():
    maps, again, other = (
        simulate_maps(SMALL, seed=5),
        simulate_maps(SMALL, seed=5, draw=1),
        simulate_maps(SMALL, seed=6),
    )
    assert maps.known.groups == again.known.groups != other.known.groups
    assert not np.array_equal(maps.simple.profiles, again.simple.profiles)
    quiet = replace(PlantedDesign.of_kind("preferences"), noise=1e-9)
    one, two = (simulate_maps(quiet, seed=5, draw=draw).learned.profiles for draw in (0, 1))
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_maps_and_draws_have_fingerprints_of_their_own():
    maps, again = (simulate_maps(SMALL, seed=5, draw=draw) for draw in (0, 1))
    assert len({made.fingerprint for made in (maps.simple, maps.learned, again.simple, again.learned)}) == 4
    assert (maps.simple.recipe.kind, maps.learned.recipe.kind) == ("simple", "learned")


def test_an_advantage_changes_the_learned_map_only():
    maps, better = simulate_maps(SMALL, seed=5), simulate_maps(replace(SMALL, advantage=0.3), seed=5)
    np.testing.assert_array_equal(maps.simple.profiles, better.simple.profiles)
    assert not np.array_equal(maps.learned.profiles, better.learned.profiles)


# Impossible designs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"perturbations": 10}, "perturbations is 10, expected 11 or more"),
        ({"groups": 0}, "groups is 0, expected 1 or more"),
        ({"smallest": 1}, "smallest is 1, expected 2 or more"),
        ({"largest": 2}, "largest is 2, expected 3 or more"),
        ({"inactive": 1.5}, "inactive is 1.5, expected a share from 0 to 1"),
        ({"shared_noise": float("nan")}, "shared_noise is nan, expected a share from 0 to 1"),
        ({"noise": -1.0}, "noise is -1.0, expected a finite number, 0 or more"),
        ({"preferences": float("inf")}, "preferences is inf, expected a finite number, 0 or more"),
        ({"advantage": -1.0}, "advantage: -1.0 is not a relative advantage, expected a finite number above -1"),
        ({"placebos": (0.0, -2.0)}, "placebos: -2.0 is not a relative advantage"),
        ({"huge": 61}, "huge is 61, expected at most 60, the number of groups"),
        ({"groups": 90}, "90 groups need 396 perturbations, the design has 300: plant less or raise"),
    ],
)
def test_impossible_designs(changes, message):
    with pytest.raises(InputError, match=message):
        PlantedDesign(**changes)


def test_unknown_kinds_and_advantages_that_cannot_be_had():
    with pytest.raises(InputError, match="unknown kind of null 'half inactiv': did you mean 'half inactive'"):
        PlantedDesign.of_kind("half inactiv")
    with pytest.raises(InputError, match=r"an advantage of \+300% can't be planted where the simple map's recall is 0"):
        simulate_maps(replace(SMALL, advantage=3.0), seed=0)
    with pytest.raises(InputError, match="seed is -1, expected 0 or more"):
        simulate_maps(SMALL, seed=-1)
    with pytest.raises(InputError, match="draw is -1, expected 0 or more"):
        simulate_maps(SMALL, seed=0, draw=-1)
