"""Planted targets and priors: the truth is as asked, equal priors are equal, and nothing is known of nothing."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.errors import InputError
from explorer.planted_predictions import PREDICTION_KINDS, PredictionDesign, simulate_prediction

BIG = PredictionDesign(perturbations=3000, groups=300, features=200, prior_features=100)


def members_of(made):
    return [sorted(members) for members in made.known.groups.values()]


def rows_of(made):
    place = {name: row for row, name in enumerate(made.design.names)}
    return [[place[name] for name in members] for members in members_of(made)]


@pytest.fixture(scope="module")
def big():
    return simulate_prediction(BIG, seed=0)


def test_shapes_and_names():
    made = simulate_prediction(PredictionDesign(placebos=(1.0, 0.5)), seed=0)
    names = made.design.names
    for prior in (made.simple, made.learned, made.nothing, made.membership, *made.placebos.values()):
        assert prior.names == names == tuple(sorted(names))
        assert prior.profiles.shape == (150, 64)
    assert list(made.placebos) == ["placebo 1", "placebo 2"]
    assert made.target.profiles.profiles.shape == made.effects.shape == (150, 60)
    assert made.target.control.shape == (60,)
    assert [half.shape for half in made.target.halves] == [(150, 60)] * 2
    assert made.target.wells.shape == (150, 20)
    np.testing.assert_array_equal(made.target.wells.sum(axis=1), 2)
    assert (made.simple.recipe.kind, made.learned.recipe.kind) == ("simple", "learned")
    assert made.simple.recipe.context != made.target.profiles.recipe.context


@pytest.mark.parametrize("kind", PREDICTION_KINDS)
def test_groups_are_those_planted(kind):
    made = simulate_prediction(PredictionDesign.of_kind(kind), seed=1)
    assert sorted(map(len, members_of(made))) == sorted(made.design.sizes.tolist())
    pairs = {pair for members in members_of(made) for pair in combinations(members, 2)}
    assert made.known.n_pairs == len(pairs)


def test_lengths_are_as_asked(big):
    design, n = big.design, big.design.perturbations
    mean = big.effects.mean(axis=0)
    assert np.linalg.norm(mean) == pytest.approx(np.exp(design.magnitudes**2 / 2), rel=0.05)
    quiet = simulate_prediction(replace(BIG, magnitudes=0.0), seed=0)
    deviations = quiet.effects - quiet.effects.mean(axis=0)
    assert np.sqrt((deviations**2).sum() / n) == pytest.approx(design.signal, rel=0.1)
    noise = big.target.profiles.profiles - big.target.control - big.effects
    assert np.sqrt((noise**2).sum(axis=1).mean() - design.control_noise**2) == pytest.approx(design.noise, rel=0.03)
    halves = np.stack(big.target.halves) - big.effects
    assert np.sqrt((halves[0] ** 2).sum(axis=1).mean()) == pytest.approx(
        np.sqrt(2 * (design.noise**2 + design.control_noise**2)), rel=0.03
    )
    assert np.sqrt((big.simple.profiles**2).sum(axis=1).mean()) == pytest.approx(np.sqrt(2), rel=0.03)


def test_members_of_a_group_have_the_asked_share_in_common(big):
    pairs = np.array([pair for rows in rows_of(big) for pair in combinations(rows, 2)])
    scores = big.scores
    assert (scores**2).mean() == pytest.approx(1, abs=0.03)
    assert (scores[pairs[:, 0]] * scores[pairs[:, 1]]).mean() == pytest.approx(BIG.cohesion, abs=0.05)


def test_priors_show_the_scores_and_nothing_does_not(big):
    def explained(prior):
        """Share of the variance of the scores that a linear map of a prior explains, found on one half."""
        profiles, scores = prior.profiles.astype(float), big.scores
        fit = np.linalg.lstsq(profiles[:1500], scores[:1500], rcond=None)[0]
        return 1 - ((profiles[1500:] @ fit - scores[1500:]) ** 2).sum() / (scores[1500:] ** 2).sum()

    simple, learned = explained(big.simple), explained(big.learned)
    assert simple == pytest.approx(learned, abs=0.01)
    assert simple > 0.9
    assert explained(big.nothing) < 0
    better = simulate_prediction(replace(BIG, learned_noise=0.5, placebos=(0.5, 3.0)), seed=0)
    assert explained(better.learned) == pytest.approx(explained(better.placebos["placebo 1"]), abs=0.01)
    assert explained(better.learned) > simple > explained(better.placebos["placebo 2"])


def test_membership_knows_who_is_together_and_no_more(big):
    profiles = big.membership.profiles.astype(float)
    unit = profiles / np.linalg.norm(profiles, axis=1, keepdims=True)
    pairs = np.array([pair for rows in rows_of(big) for pair in combinations(rows, 2)])
    assert np.mean(np.sum(unit[pairs[:, 0]] * unit[pairs[:, 1]], axis=1)) > 0.85
    # One member each: nothing is left that says what they do.
    first = [rows[0] for rows in rows_of(big)]
    fit = np.linalg.lstsq(profiles[first[:150]], big.scores[first[:150]], rcond=None)[0]
    left = big.scores[first[150:]] - profiles[first[150:]] @ fit
    assert (left**2).sum() > (big.scores[first[150:]] ** 2).sum()


def test_every_prior_shows_all_factors_alike():
    design = replace(BIG, prior_noise=0.0, cohesion=0.0)
    made = simulate_prediction(design, seed=3)
    for prior in (made.simple, made.learned):
        singular = np.linalg.svd(np.linalg.lstsq(made.scores, prior.profiles, rcond=None)[0], compute_uv=False)
        np.testing.assert_allclose(singular[:6], 1 / np.sqrt(6), rtol=1e-3)
    few = simulate_prediction(replace(design, factors=20, prior_features=5), seed=3)
    singular = np.linalg.svd(np.linalg.lstsq(few.scores, few.simple.profiles, rcond=None)[0], compute_uv=False)
    np.testing.assert_allclose(singular, 1 / np.sqrt(5), rtol=1e-3)


def test_places_add_what_is_asked():
    plain, placed = (simulate_prediction(replace(BIG, layout=layout), seed=2) for layout in (0.0, 1.5))
    np.testing.assert_array_equal(plain.target.wells, placed.target.wells)
    added = placed.target.profiles.profiles.astype(float) - plain.target.profiles.profiles
    assert np.sqrt((added**2).sum(axis=1).mean()) == pytest.approx(1.5, rel=0.15)
    fitted = placed.target.wells @ np.linalg.lstsq(placed.target.wells, added, rcond=None)[0]
    np.testing.assert_allclose(fitted, added, atol=1e-4)


def test_preferences_change_whole_groups():
    design = replace(BIG, preferences=0.3, prior_noise=0.0)
    made, plain = (simulate_prediction(replace(design, preferences=value), seed=4) for value in (0.3, 0.0))
    ratio = np.log(made.simple.norms / plain.simple.norms)
    assert max(np.ptp(ratio[rows]) for rows in rows_of(made)) < 1e-4
    first = [rows[0] for rows in rows_of(made)]
    assert ratio[first].std() == pytest.approx(0.3, rel=0.15)


def test_equal_arguments_give_equal_draws_and_others_do_not():
    design = PredictionDesign(placebos=(1.0,))
    one, other, again = (
        simulate_prediction(design, seed=1),
        simulate_prediction(design, seed=1),
        simulate_prediction(design, seed=1, draw=1),
    )
    np.testing.assert_array_equal(one.target.profiles.profiles, other.target.profiles.profiles)
    np.testing.assert_array_equal(one.learned.profiles, other.learned.profiles)
    np.testing.assert_array_equal(one.effects, again.effects)
    assert one.known.groups == again.known.groups != simulate_prediction(design, seed=2).known.groups
    assert not np.array_equal(one.target.profiles.profiles, again.target.profiles.profiles)
    assert len({made.fingerprint for made in (one.simple, one.learned, again.learned, one.target.profiles)}) == 4


def test_no_signal_leaves_the_mean_effect():
    made = simulate_prediction(PredictionDesign.of_kind("no signal", magnitudes=0.0), seed=0)
    np.testing.assert_allclose(made.effects, np.broadcast_to(made.effects[0], made.effects.shape), atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), overlap=st.sampled_from([0.0, 0.3, 0.9]), groups=st.integers(3, 14))
def test_groups_have_different_members_whatever_the_design(seed, overlap, groups):
    made = simulate_prediction(PredictionDesign(perturbations=90, groups=groups, overlap=overlap), seed=seed)
    assert sorted(map(len, members_of(made))) == sorted(made.design.sizes.tolist())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"perturbations": 2}, "perturbations is 2, expected 3 or more"),
        ({"groups": 0}, "groups is 0, expected 1 or more"),
        ({"largest": 2}, "largest is 2, expected 3 or more"),
        ({"cohesion": 1.5}, "cohesion is 1.5, expected a share from 0 to 1"),
        ({"noise": float("nan")}, "noise is nan, expected a finite number, 0 or more"),
        ({"learned_noise": -1.0}, "learned_noise is -1.0, expected a finite number, 0 or more"),
        ({"placebos": (1.0, -2.0)}, "placebos: -2.0 is no factor of the noise"),
        ({"groups": 90}, "90 groups need 396 perturbations, the design has 150: plant less or raise"),
    ],
)
def test_impossible_designs(changes, message):
    with pytest.raises(InputError, match=message):
        PredictionDesign(**changes)


def test_unknown_kinds_and_seeds():
    with pytest.raises(InputError, match="unknown kind of prediction 'layot': did you mean 'layout'"):
        PredictionDesign.of_kind("layot")
    with pytest.raises(InputError, match="seed is -1, expected 0 or more"):
        simulate_prediction(PredictionDesign(), seed=-1)
    with pytest.raises(InputError, match="draw is -1, expected 0 or more"):
        simulate_prediction(PredictionDesign(), seed=0, draw=-1)
