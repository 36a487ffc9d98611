"""Power before the screen: more of everything helps, equal maps are not told apart, draws are like the screens."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from explorer import power
from explorer.aggregate import build_map
from explorer.errors import InputError
from explorer.power import DesignPower, judge_power, plan_screen, wilson_interval
from explorer.simulate import ScreenDesign, simulate_screen

# Few genes, so that screens of counts take a tenth of a second.
QUICK = replace(plan_screen(cells=3), genes=250, depth=125.0, strength=0.5, program=0.2)


@pytest.fixture(autouse=True)
def _few_truths(monkeypatch):
    monkeypatch.setattr(power, "N_TRUTHS", 2)


def recalls(truth, maps):
    return [power._plain_recall(truth, made.profiles) for made in maps]


def measured(design, *, n):
    maps = []
    for seed in range(n):
        simulated = simulate_screen(design, seed=seed)
        maps.append(build_map(simulated.to_screen(), "pseudobulk", alignment="center"))
    return simulated, maps


@pytest.fixture(scope="module")
def truth():
    simulated, maps = measured(QUICK, n=8)
    return power._Truth.of(simulated, maps[: power.N_COPIES]), maps


@pytest.fixture(scope="module")
def usual():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(power, "N_TRUTHS", 2)
        return judge_power(QUICK, advantage=0.2, n_screens=60)


# The draws


def test_contrasts_are_orthonormal_and_leave_no_signal():
    for n in (2, 4, 7):
        made = power._contrasts(n)
        np.testing.assert_allclose(made @ made.T, np.eye(n - 1), atol=1e-6)
        np.testing.assert_allclose(made.sum(axis=1), 0, atol=1e-6)


def test_drawn_simple_maps_score_as_measured_ones_do(truth):
    own, maps = truth
    drawn = [power._plain_recall(own, power._draw(own, [], np.random.default_rng(seed))[0]) for seed in range(40)]
    found = recalls(own, maps)
    error = np.hypot(np.std(found) / np.sqrt(len(found)), np.std(drawn) / np.sqrt(4))
    assert np.mean(drawn) == pytest.approx(np.mean(found), abs=3 * error)
    # A map without the rest of the noise is another thing.
    assert power._plain_recall(own, own.signal) > np.mean(found) + 3 * error


def test_noise_is_as_long_and_as_shared_as_asked(truth, monkeypatch):
    monkeypatch.setattr(power, "PREFERENCES", 0.0)
    own, maps = truth
    between = np.var(np.stack([made.profiles for made in maps[: power.N_COPIES]]), axis=0, ddof=1).sum()
    lengths = (0.6, 1.0, 1.3)
    sums = np.zeros((len(lengths), 3))
    for seed in range(20):
        simple, learned = power._draw(own, lengths, np.random.default_rng(seed))
        for place, made in enumerate(learned):
            one, other = simple - own.signal, made - own.signal
            sums[place] += [(one**2).sum() / 20, (other**2).sum() / 20, (one * other).sum() / 20]
    inside = between / power.N_COPIES
    for length, (one, other, product) in zip(lengths, sums, strict=True):
        assert (one + inside) / between == pytest.approx(1, abs=0.1)
        assert (other + inside) / between == pytest.approx(length**2, abs=0.1)
        correlation = (product + inside) / np.sqrt((one + inside) * (other + inside))
        assert correlation == pytest.approx(power.SHARED_NOISE, abs=0.05)


def test_plain_recall_is_the_public_one(truth):
    own, maps = truth
    found = power.neighborhoods(maps[0], k=10)
    assert power._plain_recall(own, maps[0].profiles) == pytest.approx(power.partner_recall(found, own.units).mean())


def test_groups_are_the_planted_modules(truth):
    own, _ = truth
    assert [len(rows) for rows in own.units] == [4] * 24
    assert (own.group_of >= 0).sum() == 96
    assert len(own.own) == 120


# The answer


def test_the_advantage_is_as_asked(usual):
    assert isinstance(usual, DesignPower)
    assert usual.learned / usual.simple == pytest.approx(1.2, abs=0.06)
    assert usual.n_units == 24
    assert usual.most_advantage > 0.2
    # As measured maps do.
    assert 0.2 < usual.overlap < 0.5
    assert usual.power_low < usual.power < usual.power_high


@pytest.mark.slow
def test_equal_maps_are_seldom_told_apart(usual):
    assert usual.false_positive <= 0.1
    none = judge_power(QUICK, advantage=0.0, n_screens=100)
    assert none.power <= 0.08
    assert none.power == none.false_positive
    assert none.learned == pytest.approx(none.simple, rel=0.05)


@pytest.mark.slow
def test_power_grows_with_the_advantage(usual):
    small, large = (judge_power(QUICK, advantage=advantage, n_screens=60) for advantage in (0.1, 0.4))
    assert small.power < usual.power < large.power
    assert small.power_high < large.power_low
    assert small.simple == usual.simple == large.simple
    assert small.smallest_detectable == usual.smallest_detectable


@pytest.mark.slow
@pytest.mark.parametrize("more", [{"cells": 6.0}, {"guides": 4}])
def test_power_grows_with_cells_and_guides(usual, more):
    larger = judge_power(replace(QUICK, **more), advantage=0.2, n_screens=60)
    assert larger.power_low > usual.power_high
    assert larger.smallest_advantage < usual.smallest_advantage


@pytest.mark.slow
def test_power_grows_with_perturbations(usual):
    # Slowly: there are more groups, but partners are harder to find among more.
    wider = replace(QUICK, perturbations=360, modules=72, super_modules=18, stress_only=24)
    larger = judge_power(wider, advantage=0.2, n_screens=60)
    assert larger.n_units == 72
    assert larger.simple < usual.simple
    assert larger.power > usual.power
    assert larger.smallest_advantage < usual.smallest_advantage


def test_the_sentence_says_it(usual):
    assert usual.sentence.startswith(
        "With 120 perturbations of 2 guides and about 18 cells each, in 24 known groups, a learned map that finds 20% "
        f"more partners than the simple map's {usual.simple:.2f} would be found better in {usual.power:.0%} of screens"
    )


@pytest.mark.slow
def test_equal_arguments_give_equal_answers(usual):
    again = judge_power(QUICK, advantage=0.2, n_screens=60)
    assert again == usual
    assert judge_power(QUICK, advantage=0.2, n_screens=60, seed=1).simple != usual.simple


def test_the_plan_keeps_the_shares():
    assert plan_screen(strength=0.8) == replace(ScreenDesign(), context_modules=0, contexts=("planned",))
    plan = plan_screen(perturbations=300, guides=3, cells=20, batches=2, seed=4)
    assert (plan.perturbations, plan.modules, plan.super_modules, plan.stress_only) == (300, 60, 15, 20)
    assert (plan.guides, plan.cells, plan.batches, plan.seed) == (3, 20, 2, 4)
    assert plan.inactive == 40


def test_progress_is_told_and_may_stop_the_work():
    said = []
    judge_power(QUICK, advantage=0.1, n_screens=5, progress=lambda what, share: said.append((what, share)))
    assert [share for _, share in said] == sorted(share for _, share in said)
    assert said[0] == ("simulating counts", 0.0)
    assert said[-1] == ("done", 1.0)

    class Stop(Exception):
        pass

    def stop(what, share):
        if share > 0.3:
            raise Stop

    with pytest.raises(Stop):
        judge_power(QUICK, advantage=0.1, progress=stop)


@pytest.mark.parametrize(("found", "n"), [(0, 10), (3, 10), (40, 40), (71, 100)])
def test_wilson_is_the_published_one(found, n):
    published = binomtest(found, n).proportion_ci(method="wilson")
    np.testing.assert_allclose(wilson_interval(found, n), published, atol=1e-6)


# What can't be asked


def test_advantages_that_cannot_be_planted():
    with pytest.raises(
        InputError, match=r"a learned map that is 300% better can't be planted: the simple map's recall"
    ):
        judge_power(QUICK, advantage=3.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"advantage": -0.1}, "advantage is -0.1, expected 0 or more"),
        ({"advantage": float("nan")}, "advantage is nan, expected 0 or more"),
        ({"advantage": 0.2, "n_screens": 0}, "n_screens is 0, expected 1 or more"),
        ({"advantage": 0.2, "seed": -1}, "seed is -1, expected 0 or more"),
    ],
)
def test_impossible_questions(options, message):
    with pytest.raises(InputError, match=message):
        judge_power(QUICK, **options)


def test_too_few_groups():
    with pytest.raises(
        InputError, match="12 modules act in every context of the design, and a verdict takes 20 groups"
    ):
        judge_power(plan_screen(perturbations=60), advantage=0.2)
