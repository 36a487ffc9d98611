"""Adjusted overlap against loops over its definition, its fixtures, and what must not change it."""

import math

import numpy as np
import pytest
from builders import map_of, module_profiles, names_of, random_map
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.axis import NO_LAYOUT, Strata, axis_strata
from explorer.compare import overlap_distribution
from explorer.errors import InputError
from explorer.known import Units
from explorer.overlap import PARTS, adjusted_overlap, compare_overlaps, group_means, overlap_test
from explorer.relate import TIE_DECIMALS
from explorer.significance import sign_flip


def naive_memberships(profiles: np.ndarray, k: int) -> list[dict[int, float]]:
    """Probability of each neighbour of each perturbation when ties are broken at random, by the definition."""
    norms = np.linalg.norm(profiles, axis=1)
    found = []
    for i in range(len(profiles)):
        others = [j for j in range(len(profiles)) if j != i and norms[i] > 0 and norms[j] > 0]
        cosine = {j: round(float(profiles[i] @ profiles[j]) / (norms[i] * norms[j]), TIE_DECIMALS) for j in others}
        ranked = sorted(cosine.values(), reverse=True)
        last = ranked[k - 1] if len(ranked) >= k else -2.0
        tied = [j for j in others if cosine[j] == last]
        n_above = sum(value > last for value in ranked)
        found.append({j: 1.0 if cosine[j] > last else (k - n_above) / len(tied) for j in others if cosine[j] >= last})
    return found


def naive_expected(asked: list[dict], there: list[dict], stratum: np.ndarray, k: int) -> np.ndarray:
    """E of one direction, neighbour by neighbour and stand-in by stand-in."""
    found = []
    for i, neighbors in enumerate(asked):
        total = 0.0
        for j, weight in neighbors.items():
            stand_ins = [
                other
                for other in range(len(asked))
                if stratum[other] == stratum[i] and stratum[i] >= 0 and other not in (i, j) and there[other]
            ]
            has_place = stratum[i] >= 0 and bool(there[i])
            share = (
                sum(there[other].get(j, 0.0) for other in stand_ins) / len(stand_ins)
                if stand_ins and has_place
                else math.nan
            )
            total += weight * share / k
        found.append(total)
    return np.array(found)


def naive_overlap(one: np.ndarray, other: np.ndarray, strata: tuple, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Raw overlap and its expectation."""
    a, b = naive_memberships(one, k), naive_memberships(other, k)
    raw = np.array(
        [
            sum(weight * there.get(j, 0.0) for j, weight in here.items()) / k if here and there else math.nan
            for here, there in zip(a, b, strict=True)
        ]
    )
    expected = (naive_expected(a, b, strata[1], k) + naive_expected(b, a, strata[0], k)) / 2
    return raw, np.where(np.isnan(raw), np.nan, expected)


def strata_of(axis, layout=None, *, names: tuple[str, ...] = ()) -> Strata:
    numbers = np.asarray(axis, dtype=np.intp)
    names = names or names_of(len(numbers))
    return Strata(names, numbers, numbers, None if layout is None else np.asarray(layout, dtype=np.intp))


def units_of(*groups) -> Units:
    return Units(
        tuple(f"group {place}" for place in range(len(groups))),
        tuple(np.array(group, dtype=np.intp) for group in groups),
        "given",
    )


def five() -> np.ndarray:
    """Five profiles whose nearest are 0 → 1, 1 → 2, 2 → 1, 3 → 1 and 4 → 1."""
    leaning = [(0.9, 0), (0.99, 1), (0.9, 2), (0.9, 3)]
    return np.array([[1.0, 0, 0, 0, 0]] + [_at(cosine, place) for cosine, place in leaning])[[1, 0, 2, 3, 4]]


def _at(cosine: float, place: int) -> list[float]:
    found = [cosine, 0.0, 0.0, 0.0, 0.0]
    found[1 + place] = math.sqrt(1 - cosine**2)
    return found


# Fixtures of the definition


def test_a_hub_is_expected_and_what_only_two_share_is_not():
    made, alone = map_of(five()), strata_of(np.zeros(5))
    assert [list(near) for near in naive_memberships(five(), 1)] == [[1], [2], [1], [1], [1]]
    found = adjusted_overlap(made, made, strata=(alone, alone), k=1)
    assert (found.raw[0], found.expected[0], found.adjusted[0]) == (1, 1, 0)
    assert (found.raw[1], found.expected[1], found.adjusted[1]) == (1, 0, 1)


# The definition, in loops


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    k=st.integers(1, 5),
    levels=st.integers(1, 40),
    n_strata=st.integers(1, 4),
    has_layout=st.booleans(),
)
def test_overlap_follows_the_definition_with_any_ties_and_silent_profiles(seed, k, levels, n_strata, has_layout):
    rng = np.random.default_rng(seed)
    one, other = (rng.integers(-levels, levels + 1, size=(22, 4)).astype(float) for _ in range(2))
    # Profiles along one axis, with and without a profile at all.
    one[rng.integers(22, size=2)] = 0
    one[:3], other[:3] = [1, 0, 0, 0], [0, 0, 2, 0]
    if min(np.count_nonzero(np.abs(side).sum(axis=1)) for side in (one, other)) <= k:
        return
    axes = [rng.integers(-1, n_strata, size=22) for _ in range(2)]
    layout = rng.integers(-1, 2, size=22) if has_layout else None
    strata = tuple(strata_of(axis, layout) for axis in axes)
    found = adjusted_overlap(map_of(one), map_of(other), strata=strata, k=k)
    raw, expected = naive_overlap(one, other, (strata[0].stratum, strata[1].stratum), k)
    np.testing.assert_allclose(found.raw, raw, atol=1e-12)
    np.testing.assert_allclose(found.expected, expected, atol=1e-12)
    np.testing.assert_allclose(found.adjusted, raw - expected, atol=1e-12)
    assert found.n_defined == np.count_nonzero(~np.isnan(raw - expected))


def test_the_parts_are_expectations_under_ever_narrower_strata():
    rng = np.random.default_rng(3)
    one, other = rng.normal(size=(2, 80, 5))
    other[:40] += 2 * one[:40]
    axes, layout = [rng.integers(0, 4, size=80) for _ in range(2)], rng.integers(0, 3, size=80)
    strata = tuple(strata_of(axis, layout) for axis in axes)
    found = adjusted_overlap(map_of(one), map_of(other), strata=strata, k=5)
    defined = ~np.isnan(found.adjusted)
    all_alike = (np.zeros(80, dtype=int),) * 2
    means = [
        naive_overlap(one, other, numbers, 5)[1][defined].mean()
        for numbers in (all_alike, axes, tuple(divided.stratum for divided in strata))
    ]
    raw = found.raw[defined].mean()
    assert list(found.parts) == list(PARTS) == ["hubs", "shared axis", "layout", "remainder"]
    expected = (means[0], means[1] - means[0], means[2] - means[1], raw - means[2])
    assert list(found.parts.values()) == pytest.approx(expected)
    assert sum(found.parts.values()) == pytest.approx(raw)
    assert found.parts["remainder"] == pytest.approx(np.nanmean(found.adjusted))


# Properties


def test_the_order_of_contexts_is_of_no_account():
    one, other = random_map(90, 6, seed=1), random_map(90, 4, seed=2)
    forth, back = adjusted_overlap(one, other), adjusted_overlap(other, one)
    np.testing.assert_allclose(forth.adjusted, back.adjusted, atol=1e-12)
    assert list(forth.parts.values()) == pytest.approx(list(back.parts.values()))


def test_raw_overlap_is_that_of_the_two_maps():
    one, other = random_map(70, 6, seed=1), random_map(70, 6, seed=2)
    found = adjusted_overlap(one, other, k=7)
    np.testing.assert_allclose(found.raw, overlap_distribution(one, other, k=7).overlaps, atol=1e-12)


def test_only_perturbations_of_both_contexts_count():
    one, other = random_map(80, 6, seed=1), random_map(100, 6, seed=2)
    names = one.names[10:]
    found = adjusted_overlap(one, other)
    both = one.restricted_to(set(one.names) & set(other.names)), other.restricted_to(one.names)
    assert found.names == both[0].names
    np.testing.assert_array_equal(found.adjusted, adjusted_overlap(*both).adjusted)
    fewer = adjusted_overlap(one.restricted_to(names), other)
    assert fewer.names == names


def test_unrelated_maps_have_nothing_left_and_modules_have():
    unrelated = [
        adjusted_overlap(random_map(300, 20, seed=2 * seed), random_map(300, 12, seed=2 * seed + 1))
        for seed in range(8)
    ]
    # The standard error of either mean is about .0017.
    assert abs(np.mean([found.adjusted.mean() for found in unrelated])) < 0.005
    assert np.mean([found.raw.mean() for found in unrelated]) == pytest.approx(10 / 299, abs=0.005)
    profiles, module = module_profiles(n_modules=20, size=6, n_others=100, noise=0.8, seed=1)
    again, _ = module_profiles(n_modules=20, size=6, n_others=100, noise=0.8, n_features=25, seed=2)
    found = adjusted_overlap(map_of(profiles), map_of(again), k=5)
    assert found.adjusted[module >= 0].mean() > 0.6
    assert abs(found.adjusted[module < 0].mean()) < 0.02


def test_an_axis_that_all_share_is_taken_off():
    # Nothing but a position along one direction, the same in both contexts: neighbours agree, and are no news.
    rng = np.random.default_rng(0)
    turn = np.column_stack([np.cos(angle := rng.uniform(0, 1.5, size=400)), np.sin(angle)])
    one, other = (map_of(np.c_[turn @ rng.normal(size=(2, 8)), 0.05 * rng.normal(size=(400, 6))]) for _ in range(2))
    found = adjusted_overlap(one, other)
    raw = found.raw.mean()
    assert raw > 0.1
    assert found.parts["shared axis"] > 0.7 * raw
    assert abs(found.parts["remainder"]) < 0.25 * raw


def test_a_layout_that_both_share_is_taken_off():
    unit = np.arange(400) % 4
    blind, matched = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        one, other = (map_of(rng.normal(size=(4, 10))[unit] + rng.normal(size=(400, 10))) for _ in range(2))
        blind.append(adjusted_overlap(one, other))
        strata = tuple(axis_strata(side, layout=unit) for side in (one, other))
        matched.append(adjusted_overlap(one, other, strata=strata))
    assert {found.parts["layout"] for found in blind} == {0.0}
    assert all(NO_LAYOUT in found.notes for found in blind)
    assert not any(NO_LAYOUT in found.notes for found in matched)
    # The standard error of the mean remainder is about .0015.
    assert np.mean([found.parts["remainder"] for found in blind]) > 0.015
    assert abs(np.mean([found.parts["remainder"] for found in matched])) < 0.005
    assert np.mean([found.parts["layout"] for found in matched]) > 0.015


def test_who_is_alone_in_a_stratum_is_left_out_and_counted():
    one, other = random_map(60, 5, seed=1), random_map(60, 5, seed=2)
    numbers = np.zeros(60)
    numbers[7] = 1
    found = adjusted_overlap(one, other, strata=(strata_of(numbers), strata_of(np.zeros(60))))
    assert np.flatnonzero(np.isnan(found.adjusted)).tolist() == [7]
    assert not math.isnan(found.raw[7])
    assert found.n_defined == 59
    assert any(note.startswith("1 of 60 perturbations share their part") for note in found.notes)
    assert sum(found.parts.values()) == pytest.approx(np.delete(found.raw, 7).mean())


def test_who_has_no_profile_is_left_out_and_counted():
    profiles = np.random.default_rng(0).normal(size=(70, 5))
    profiles[4] = 0
    found = adjusted_overlap(map_of(profiles), random_map(70, 5, seed=2))
    assert np.flatnonzero(np.isnan(found.raw)).tolist() == [4]
    assert "1 of 70 perturbations have no neighbours in one of the contexts" in found.notes


# Over groups


def test_groups_count_by_the_mean_of_those_that_have_a_value():
    values = [1.0, np.nan, 3.0, np.nan, 5.0]
    groups = units_of([0, 1, 2], [1, 3], [2, 4], [3, 4])
    assert group_means(values, groups).tolist() == [2, 4, 5]
    with pytest.raises(InputError, match="row 9 of 5 perturbations"):
        group_means(values, units_of([0, 9]))


def test_tests_are_sign_flips_of_group_means():
    one, other = random_map(90, 6, seed=1), random_map(90, 6, seed=2)
    learned, simple = adjusted_overlap(one, other), adjusted_overlap(one, random_map(90, 6, seed=3))
    groups = units_of(*np.random.default_rng(0).permutation(90).reshape(30, 3))
    groups = units_of(*(np.sort(group) for group in groups.members))
    expected = [learned.adjusted[group].mean() for group in groups.members]
    assert overlap_test(learned, groups, seed=4) == sign_flip(expected, seed=4)
    against = [simple.adjusted[group].mean() for group in groups.members]
    found = compare_overlaps(learned, simple, groups, seed=4)
    flipped = sign_flip(np.subtract(expected, against), seed=4)
    assert (found.estimate, found.half_width, found.p) == pytest.approx(
        (flipped.estimate, flipped.half_width, flipped.p)
    )
    assert compare_overlaps(simple, learned, groups, seed=4).estimate == pytest.approx(-found.estimate)
    assert compare_overlaps(learned, learned, groups).n_discordant == 0


def test_without_groups_there_is_no_test():
    found = overlap_test(adjusted_overlap(random_map(60, 5, seed=1), random_map(60, 5, seed=2)), units_of())
    assert (found.n_units, math.isnan(found.p)) == (0, True)


# What can't be compared


@pytest.mark.parametrize(
    ("one", "other", "options", "said"),
    [
        (random_map(10, 4, seed=0), random_map(10, 4, seed=1), {"k": 5}, "expected at least 60"),
        (random_map(70, 4, seed=0), random_map(70, 4, seed=1), {"k": 70}, "70 neighbours can't be had from 70"),
        (map_of(np.ones((80, 4))), random_map(80, 4, seed=1), {}, "point the same way"),
        (map_of(np.zeros((80, 4))), random_map(80, 4, seed=1), {}, "0 of 80 profiles"),
        (
            map_of(np.zeros((80, 4))),
            random_map(80, 4, seed=1),
            {"strata": (strata_of(np.zeros(80)), strata_of(np.zeros(80)))},
            "0 of 80 profiles of 'raw' in 'all' are longer than zero, expected at least 11",
        ),
        (map_of(np.eye(3), ["a", "b", "c"]), random_map(80, 4, seed=1), {}, "share no perturbation, expected 3"),
        (
            random_map(80, 4, seed=0),
            random_map(80, 4, seed=1),
            {"strata": (strata_of(np.zeros(70)), strata_of(np.zeros(70)))},
            "strata of 70 perturbations for two maps that share 80",
        ),
    ],
)
def test_what_can_not_be_compared_is_one_sentence(one, other, options, said):
    with pytest.raises(InputError, match=said) as error:
        adjusted_overlap(one, other, **options)
    assert "\n" not in str(error.value)


def test_overlaps_of_others_are_not_compared():
    one, other = random_map(80, 6, seed=1), random_map(80, 6, seed=2)
    with pytest.raises(InputError, match="at k = 10 and of 80 at k = 5 can't be compared"):
        compare_overlaps(adjusted_overlap(one, other), adjusted_overlap(one, other, k=5), units_of([0, 1]))
