"""Planted contexts: who is alike where is as asked, and what misleads misleads as asked."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.errors import InputError
from explorer.planted_contexts import CONTEXT_KINDS, PAIR_KINDS, ContextDesign, simulate_contexts

SMALL = ContextDesign(perturbations=120, general=8, specific=4, largest=6, contexts=3, partial=2, features=30)
# Nothing but modules, in so many directions that they hardly overlap.
BARE = replace(SMALL, features=2000, stress=0.0, hubs=0, layout=0.0)


def cosines(side):
    profiles = side.perturbation_map.profiles.astype(float)
    lengths = np.linalg.norm(profiles, axis=1, keepdims=True)
    unit = np.divide(profiles, lengths, out=np.zeros_like(profiles), where=lengths > 0)
    return unit @ unit.T


def rows_of(made, prefix):
    place = {name: row for row, name in enumerate(made.design.names)}
    return [sorted(place[name] for name in members) for group, members in made.known.groups.items()
            if group.startswith(prefix)]  # fmt: skip


def test_shapes_names_and_labels():
    made = simulate_contexts(SMALL, seed=0)
    names = SMALL.names
    assert names == tuple(sorted(names))
    for sides in (made.simple, made.learned):
        assert [side.label for side in sides] == ["context 1", "context 2", "context 3"]
        for number, side in enumerate(sides):
            for each in (side.perturbation_map, *side.halves):
                assert each.names == names
                assert each.profiles.shape == (120, 30 + 20 * number)
            assert side.layout.tolist() == made.truth["layout"].to_list()
    assert made.truth["perturbation"].to_list() == list(names)
    assert made.together.shape == (3, 120, 120)
    fingerprints = {side.perturbation_map.fingerprint for sides in (made.simple, made.learned) for side in sides}
    assert len(fingerprints) == 6
    assert {side.perturbation_map.recipe.kind for side in made.simple} == {"simple"}
    assert {side.perturbation_map.recipe.kind for side in made.learned} == {"learned"}
    silent = simulate_contexts(replace(SMALL, declares_layout=False), seed=0)
    assert {side.layout for side in silent.simple} == {None}


@pytest.mark.parametrize("kind", CONTEXT_KINDS)
def test_kinds_can_be_drawn(kind):
    made = simulate_contexts(ContextDesign.of_kind(kind, perturbations=600), seed=1)
    assert len(made.known.groups) == made.design.general + made.design.specific
    assert np.isfinite(made.learned[1].perturbation_map.profiles).all()


def test_modules_are_together_where_they_act():
    made = simulate_contexts(SMALL, seed=2)
    general, alone, partial = (rows_of(made, prefix) for prefix in ("general", "context 1 only", "contexts 1 and"))
    assert (len(general), len(alone), len(partial)) == (8, 4, 2)
    # Others' own modules were never seen in the first context.
    assert len(made.known.groups) == 14
    for rows in general:
        assert made.together[(slice(None), *np.ix_(rows, rows))].sum() == 3 * len(rows) * (len(rows) - 1)
    for place, rows in enumerate(partial):
        acts = made.together[(slice(None), *np.ix_(rows, rows))].any(axis=(1, 2))
        assert acts.tolist() == [True, place == 0, place == 1]
    for rows in alone:
        assert made.together[0][np.ix_(rows, rows)].sum() == len(rows) * (len(rows) - 1)
    # The same perturbations are divided anew elsewhere.
    pool = np.sort(np.concatenate(alone))
    assert made.together[1][pool].any(axis=1).all()
    assert not made.together.diagonal(axis1=1, axis2=2).any()
    grouped = np.sort(np.concatenate([*general, *alone, *partial]))
    assert len(np.unique(grouped)) == len(grouped)


def test_every_pair_is_of_one_kind():
    made = simulate_contexts(SMALL, seed=3)
    flags = np.stack([made.is_pair(kind) for kind in PAIR_KINDS])
    assert flags.sum(axis=0).max() == 1
    truth, n_in = made.truth.rows(named=True), made.together.sum(axis=0)
    for kind, found in zip(PAIR_KINDS, flags, strict=True):
        listed = {tuple(pair) for pair in made.pairs(kind).tolist()}
        for i, j in combinations(range(120), 2):
            count = n_in[i, j]
            stressed = count == 0 and truth[i]["stress"] > 0 and truth[j]["stress"] > 0
            one_place = count == 0 and not stressed and truth[i]["layout"] == truth[j]["layout"]
            expected = {"general": count == 3, "some": count == 2, "specific": count == 1, "stress": stressed,
                        "layout": one_place}[kind]  # fmt: skip
            assert found[i, j] == found[j, i] == expected == ((i, j) in listed)
    with pytest.raises(InputError, match="unknown kind of pairs 'genral': did you mean 'general'"):
        made.is_pair("genral")


def test_cosines_are_what_signal_and_noise_say():
    made = simulate_contexts(BARE, seed=0)
    for number, side in enumerate(made.simple):
        found = cosines(side)
        # Signal 1 in common, noise of length 1.1 apart.
        assert found[made.together[number]].mean() == pytest.approx(1 / (1 + 1.1**2), abs=0.01)
        assert abs(found[~made.together[number]].mean() - 1 / 120) < 0.01
    halves = made.simple[0].halves
    mean = (halves[0].profiles + halves[1].profiles) / 2
    np.testing.assert_allclose(mean, made.simple[0].perturbation_map.profiles, atol=1e-6)
    noise = (halves[0].profiles - halves[1].profiles) / 2
    assert np.linalg.norm(noise, axis=1).mean() == pytest.approx(1.1, rel=0.02)


def test_directions_of_contexts_have_nothing_in_common():
    made = simulate_contexts(replace(BARE, more_features=0), seed=0)
    one, other = (side.perturbation_map.profiles.astype(float) for side in made.simple[:2])
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.01


def test_the_stress_axis_has_the_same_loads_and_another_strength():
    made = simulate_contexts(replace(BARE, stress=2.0, noise=1e-6), seed=1)
    load = made.truth["stress"].to_numpy()
    assert 0.35 < (load > 0).mean() < 0.65
    assert set(np.flatnonzero(load)) >= set()
    idle = np.flatnonzero(~made.together.any(axis=(0, 1)) & (load > 0))
    for number, side in enumerate(made.simple):
        np.testing.assert_allclose(side.perturbation_map.norms[idle], 2.0 * (1 + 0.5 * number) * load[idle], rtol=1e-3)
        assert cosines(side)[np.ix_(idle, idle)].min() > 0.999


def test_hubs_are_near_many_and_others_each_time():
    design = ContextDesign(stress=0.0, layout=0.0, hubs=6)
    made = simulate_contexts(design, seed=0)
    hubs = np.flatnonzero(made.truth["hub"].is_not_null().to_numpy())
    assert len(hubs) == 6
    assert not made.together[:, hubs].any()
    near = []
    for side in made.simple:
        found = cosines(side)
        np.fill_diagonal(found, -2)
        top = np.argsort(-found, axis=1)[:, :10]
        in_degree = np.bincount(top.ravel(), minlength=600)
        assert in_degree[hubs].mean() > 4 * np.delete(in_degree, hubs).mean()
        near.append(np.stack([(top == hub).any(axis=1) for hub in hubs]))
    # Whoever has a hub near here has it there no more than others.
    assert abs(np.corrcoef(near[0].ravel(), near[1].ravel())[0, 1]) < 0.1
    assert set(design.names[row] for row in hubs).isdisjoint(made.simple[0].inactive)
    fewer = simulate_contexts(replace(design, learned_hubs=2), seed=0)
    assert fewer.truth["hub"].max() == 6
    moved = np.linalg.norm(fewer.learned[0].perturbation_map.profiles, axis=1)[hubs]
    assert sorted(moved)[-2] > 2.5 > sorted(moved)[-3]


def test_places_are_shared_and_pull_together():
    made = simulate_contexts(replace(BARE, layout=2.0), seed=0)
    unit = made.truth["layout"].to_numpy()
    assert np.bincount(unit).tolist() == [24] * 5
    same = (unit[:, None] == unit) & ~np.eye(120, dtype=bool)
    for side in made.simple:
        assert cosines(side)[same].mean() > cosines(side)[~same].mean() + 0.5


def test_who_does_nothing_is_said():
    made = simulate_contexts(replace(BARE, inactive=0.3, silent=0.2, noise=1e-6), seed=0)
    for number, side in enumerate(made.simple):
        moves = set(np.array(BARE.names)[side.perturbation_map.norms > 1e-3].tolist())
        assert moves.isdisjoint(side.inactive)
        assert not made.together[number][[name in side.inactive for name in BARE.names]].any()
    sets = [side.inactive for side in made.simple]
    assert sets[0] != sets[1]
    assert len(sets[0] & sets[1]) > 0.25 * 120


def test_noise_is_shared_as_asked():
    for share in (0.0, 0.5, 1.0):
        made = simulate_contexts(replace(BARE, inactive=1.0, shared_noise=share), seed=0)
        one, other = (sides[0].perturbation_map.profiles.ravel() for sides in (made.simple, made.learned))
        assert np.corrcoef(one, other)[0, 1] == pytest.approx(share, abs=0.02)


def test_the_learned_map_shows_what_it_is_asked_to():
    base = simulate_contexts(SMALL, seed=4)
    for changes in ({"learned_noise": 0.5}, {"learned_stress": 3.0}, {"learned_layout": 2.0}, {"learned_hubs": 9}):
        made = simulate_contexts(replace(SMALL, **changes), seed=4)
        same, other = (
            np.array_equal(a[1].perturbation_map.profiles, b[1].perturbation_map.profiles)
            for a, b in ((base.simple, made.simple), (base.learned, made.learned))
        )
        # More hubs in the truth leave the simple map as it is.
        assert same
        assert not other
    for changes in ({"learned_stress": 1.0}, {"learned_layout": 0.3}, {"learned_hubs": 4}):
        made = simulate_contexts(replace(SMALL, **changes), seed=4)
        np.testing.assert_array_equal(
            base.learned[1].perturbation_map.profiles, made.learned[1].perturbation_map.profiles
        )


def test_preferences_change_whole_modules():
    made = simulate_contexts(replace(BARE, preferences=0.3, noise=1e-6, specific=0, partial=0), seed=0)
    norms = made.simple[0].perturbation_map.norms
    lengths = [norms[rows] for rows in rows_of(made, "general")]
    assert max(np.ptp(values) for values in lengths) < 1e-4
    assert np.std([np.log(values[0]) for values in lengths]) > 0.1


def test_equal_arguments_give_equal_draws_and_others_do_not():
    one, other, again = (simulate_contexts(SMALL, seed=5, draw=draw) for draw in (0, 0, 1))
    np.testing.assert_array_equal(one.learned[2].halves[1].profiles, other.learned[2].halves[1].profiles)
    np.testing.assert_array_equal(one.together, again.together)
    assert one.truth.equals(again.truth)
    assert not np.array_equal(one.simple[0].perturbation_map.profiles, again.simple[0].perturbation_map.profiles)
    assert one.simple[0].perturbation_map.fingerprint != again.simple[0].perturbation_map.fingerprint
    assert not np.array_equal(one.together, simulate_contexts(SMALL, seed=6).together)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    contexts=st.integers(2, 4),
    specific=st.integers(0, 5),
    partial=st.integers(0, 3),
    inactive=st.sampled_from([0.0, 0.4, 1.0]),
)
def test_pairs_are_consistent_whatever_the_design(seed, contexts, specific, partial, inactive):
    design = replace(SMALL, contexts=contexts, specific=specific, partial=partial, inactive=inactive, features=4)
    made = simulate_contexts(design, seed=seed)
    assert (made.together == made.together.transpose(0, 2, 1)).all()
    assert len(made.known.groups) == 8 + specific + partial
    if inactive == 1:
        assert not made.together.any()
        assert not made.truth["stress"].to_numpy().any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"perturbations": 10}, "perturbations is 10, expected 11 or more"),
        ({"contexts": 1}, "contexts is 1, expected 2 or more"),
        ({"general": 0}, "general is 0, expected 1 or more"),
        ({"largest": 3}, "largest is 3, expected 4 or more"),
        ({"inactive": -0.1}, "inactive is -0.1, expected a share from 0 to 1"),
        ({"shared_noise": float("nan")}, "shared_noise is nan, expected a share from 0 to 1"),
        ({"stress": -1.0}, "stress is -1.0, expected a finite number, 0 or more"),
        ({"learned_layout": float("inf")}, "learned_layout is inf, expected a finite number, 0 or more"),
        ({"learned_hubs": -1}, "learned_hubs is -1, expected 0 or more"),
        ({"hubs": 700}, "hubs are 700, expected at most 600, the number of perturbations"),
        ({"general": 200}, "220 modules need 1,2.. perturbations, the design has 600: plant less or raise"),
    ],
)
def test_impossible_designs(changes, message):
    with pytest.raises(InputError, match=message):
        ContextDesign(**changes)


def test_unknown_kinds_and_seeds():
    with pytest.raises(InputError, match="unknown kind of contexts 'more hub': did you mean 'more hubs'"):
        ContextDesign.of_kind("more hub")
    with pytest.raises(InputError, match="seed is -1, expected 0 or more"):
        simulate_contexts(SMALL, seed=-1)
    with pytest.raises(InputError, match="draw is -1, expected 0 or more"):
        simulate_contexts(SMALL, seed=0, draw=-1)
