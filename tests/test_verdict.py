"""The verdict: its words and their order, what locks it, and the numbers it travels with."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from builders import map_of, names_of
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.aggregate import PerturbationMap
from explorer.errors import InputError
from explorer.known import GIVEN, known_pairs
from explorer.partners import partner_recall
from explorer.relate import neighborhoods
from explorer.relationships import GeneSets, Relationships
from explorer.significance import SignFlip, sign_flip
from explorer.verdict import (
    KnownHits,
    MapComparison,
    Primary,
    decide,
    judge,
    lock_reason,
    units_needed,
)

N, MODULES, SIZE = 150, 30, 4
NAMES = names_of(N)
SETS = GeneSets("modules", {f"m{g:02}": tuple(NAMES[SIZE * g : SIZE * (g + 1)]) for g in range(MODULES)})


def planted(noise, *, seed, name):
    """Map of modules of four, the more hidden the more noise."""
    centres = np.random.default_rng(0).normal(size=(N, 20))
    centres[: MODULES * SIZE] = np.repeat(centres[:MODULES], SIZE, axis=0)
    values = centres + noise * np.random.default_rng([1, seed]).normal(size=(N, 20))
    return map_of(values, representation=name)


CLEAR = planted(0.3, seed=1, name="clear")
DIM = planted(1.6, seed=2, name="dim")
NOISE = map_of(np.random.default_rng(9).normal(size=(N, 20)), representation="noise")


def test_a_map_that_finds_more_is_worth_it_and_the_other_way_round_worse():
    better = judge(DIM, CLEAR, [SETS], placebos={"noise": NOISE})
    assert better.verdict == "worth it"
    assert better.primary.test.low > 0
    assert better.placebos[0].beaten
    worse = judge(CLEAR, DIM, [SETS], placebos={"noise": NOISE})
    assert worse.verdict == "worse"
    assert worse.primary.test.estimate == -better.primary.test.estimate
    assert worse.primary.test.half_width == better.primary.test.half_width
    assert worse.known_hits.test.estimate == -better.known_hits.test.estimate


def test_the_primary_is_the_mean_over_groups_and_its_test_flips_them():
    found = judge(DIM, CLEAR, [SETS])
    groups = [np.arange(SIZE * g, SIZE * (g + 1)) for g in range(MODULES)]
    low, high = (partner_recall(neighborhoods(side, k=10), groups) for side in (DIM, CLEAR))
    assert found.primary.simple == pytest.approx(low.mean())
    assert found.primary.learned == pytest.approx(high.mean())
    assert found.primary.test == sign_flip(high - low)
    assert found.primary.statistic == "macro partner recall@10"
    assert found.primary.groups == GIVEN
    assert found.units["difference"].mean() == pytest.approx(found.primary.test.estimate)
    assert found.primary.chance == pytest.approx(10 / (N - 1))


def test_equal_maps_have_nothing_to_differ_on():
    same = replace(CLEAR.recipe, representation="copy")
    copy = PerturbationMap(CLEAR.names, CLEAR.profiles, CLEAR.table, same)
    found = judge(CLEAR, replace(copy, recipe=replace(same, source="other")), [SETS])
    assert found.primary.test.estimate == 0
    assert found.verdict == "underpowered"
    assert "differ on 0 of 30 groups" in found.reason


def test_a_placebo_as_good_as_the_learned_map_forbids_the_verdict():
    found = judge(DIM, CLEAR, [SETS], placebos={"noise": NOISE, "twin": planted(0.3, seed=5, name="twin")})
    assert found.verdict == "not shown"
    assert "'twin' is not beaten" in found.reason
    assert {placebo.name: placebo.beaten for placebo in found.placebos} == {"noise": True, "twin": False}
    assert found.best_placebo.name == "twin"


def test_two_maps_of_the_same_quality_are_not_told_apart():
    found = judge(planted(1.2, seed=3, name="one"), planted(1.2, seed=4, name="other"), [SETS])
    assert found.verdict == "not shown"
    assert "includes 0" in found.reason
    assert f"{found.primary.test.smallest_detectable:.3f}" in found.reason


def test_other_simple_maps_and_other_seeds_stand_beside():
    found = judge(
        DIM, planted(0.9, seed=6, name="learned"), [SETS],
        rivals={"clear": CLEAR, "noise": NOISE}, seeds={"seed-1": planted(0.9, seed=7, name="seed-1")},
    )  # fmt: skip
    assert [rival.name for rival in found.better_simple] == ["clear"]
    # A rival is held against the learned map, a seed against the simple one.
    assert found.rivals[0].test.estimate == pytest.approx(found.primary.learned - found.rivals[0].score)
    assert found.seeds[0].test.estimate == pytest.approx(found.seeds[0].score - found.primary.simple)


def with_recipe(perturbation_map, **changes):
    recipe = replace(perturbation_map.recipe, **changes)
    return PerturbationMap(perturbation_map.names, perturbation_map.profiles, perturbation_map.table, recipe)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alignment": "tvn"}, "alignment 'none' against 'tvn'"),
        ({"aggregate": "median"}, "aggregate 'mean' against 'median'"),
        ({"filter": "half"}, "rows 'all rows' against 'half'"),
        ({"context": "elsewhere"}, "context 'all' against 'elsewhere'"),
        ({"seed": 3}, "seed None against 3"),
    ],
)
def test_recipes_that_differ_lock_the_verdict_and_no_number_is_shown(changes, message):
    found = judge(DIM, with_recipe(CLEAR, **changes), [SETS], placebos={"noise": NOISE})
    assert found.verdict == "locked"
    assert message in found.reason
    assert np.isnan([found.primary.simple, found.primary.learned, found.primary.test.estimate]).all()
    assert found.sources == ()
    assert found.known_hits is None
    json.dumps(found.to_json())


def test_a_representation_against_itself_is_locked():
    assert "choose two representations" in judge(CLEAR, CLEAR, [SETS]).reason


def test_other_rows_of_the_same_perturbations_lock_and_other_perturbations_do_not():
    counts = CLEAR.table.with_columns(n_rows=pl.lit(2, dtype=pl.Int64))
    other = PerturbationMap(CLEAR.names, CLEAR.profiles, counts, replace(CLEAR.recipe, rows="other"))
    assert lock_reason(DIM, other) == "the recipes differ in other rows"
    fewer = with_recipe(CLEAR, rows="other").restricted_to(NAMES[: N - 9])
    assert lock_reason(DIM, fewer) == ""
    found = judge(DIM, fewer, [SETS])
    assert found.verdict == "worth it"
    assert found.n_perturbations == N - 9
    assert any("9 of 150 perturbations of dim are not in the other map" in note for note in found.notes)


def test_too_few_common_perturbations_are_refused():
    with pytest.raises(InputError, match="49 perturbations are in both 'dim' and 'clear', a verdict takes 50"):
        judge(DIM, with_recipe(CLEAR, rows="other").restricted_to(NAMES[:49]), [SETS])


def test_a_placebo_without_some_profiles_counts_as_finding_nothing_there():
    part = NOISE.restricted_to(NAMES[:-10])
    found = judge(DIM, CLEAR, [SETS], placebos={"part": part})
    assert any("part has no profile of 10 perturbations" in note for note in found.notes)


def test_sources_that_relate_too_few_are_left_out_and_said():
    strangers = Relationships.from_pairs("strangers", ["A"], ["B"])
    found = judge(DIM, CLEAR, [strangers, SETS])
    assert [source.source for source in found.sources] == ["modules"]
    assert any("left out: 'strangers' relates 0" in note for note in found.notes)
    with pytest.raises(InputError, match="'strangers' relates 0 perturbations"):
        judge(DIM, CLEAR, [strangers])
    with pytest.raises(InputError, match="give relationships"):
        judge(DIM, CLEAR, [])


@pytest.mark.parametrize("budget", [0, -1, 10_001, True, 2.5])
def test_budgets_out_of_range_are_refused(budget):
    with pytest.raises(InputError, match="budget"):
        judge(DIM, CLEAR, [SETS], budget=budget)


def test_k_out_of_range_is_refused():
    with pytest.raises(InputError, match="k = 150"):
        judge(DIM, CLEAR, [SETS], k=150)


def test_a_constant_map_scores_by_chance_and_loses():
    flat = map_of(np.ones((N, 3)), representation="flat")
    found = judge(CLEAR, flat, [SETS])
    assert found.verdict == "worse"
    assert found.primary.learned == pytest.approx(found.primary.chance)
    assert found.sources[0].learned.both == 0


def test_groups_that_neither_map_finds_are_said_to_be_so():
    rng = np.random.default_rng(3)
    order = rng.permutation(N)
    strangers = GeneSets("random", {f"m{g}": tuple(NAMES[row] for row in order[4 * g : 4 * g + 4]) for g in range(30)})
    assert any("neither map finds" in note for note in judge(DIM, CLEAR, [strangers]).notes)
    assert not any("neither map finds" in note for note in judge(DIM, CLEAR, [SETS]).notes)


def a_test(estimate, half_width, *, n_units=40, n_discordant=30):
    return SignFlip(
        estimate, half_width, 0.01 if abs(estimate) > half_width else 0.5, n_units, n_discordant, 0.1, False
    )


def a_primary(test):
    return Primary(10, 0.2, 0.2 + test.estimate, 0.05, test, GIVEN)


def some_hits(estimate=0.0, half_width=1.0):
    return KnownHits(100, 10, 10 + estimate, 1, a_test(estimate, half_width), 3, (), (5, 1), (5, 1))


GOOD, BAD = MapComparison("good", 0.1, a_test(0.1, 0.05)), MapComparison("bad", 0.2, a_test(0.04, 0.05))


@pytest.mark.parametrize(
    ("test", "placebos", "hits", "verdict"),
    [
        (a_test(0.2, 0.1, n_units=19), [GOOD], some_hits(), "underpowered"),
        (a_test(-0.2, 0.1, n_discordant=5), [BAD], some_hits(), "underpowered"),
        (a_test(-0.2, 0.1), [BAD], some_hits(-9), "worse"),
        (a_test(0.1, 0.1), [GOOD], some_hits(), "not shown"),
        (a_test(-0.05, 0.1), [GOOD], some_hits(), "not shown"),
        (a_test(0.2, 0.1), [GOOD, BAD], some_hits(9), "not shown"),
        (a_test(0.2, 0.1), [GOOD], some_hits(-9, 2), "not shown"),
        (a_test(0.2, 0.1), [GOOD], some_hits(-1, 2), "worth it"),
        (a_test(0.2, 0.1), [], some_hits(9, 2), "worth it"),
    ],
)
def test_words_are_tried_in_their_order(test, placebos, hits, verdict):
    assert decide(a_primary(test), placebos, hits)[0] == verdict


def test_the_reason_names_what_failed():
    assert "'bad' is not beaten" in decide(a_primary(a_test(0.2, 0.1)), [GOOD, BAD], some_hits(-9, 2))[1]
    assert "fewer known" in decide(a_primary(a_test(0.2, 0.1)), [GOOD], some_hits(-9, 2))[1]
    assert "every placebo" in decide(a_primary(a_test(0.2, 0.1)), [GOOD], some_hits())[1]
    # What was not run is not claimed.
    assert "placebo" in decide(a_primary(a_test(0.2, 0.1)), [], some_hits())[1]
    assert "every placebo is beaten" not in decide(a_primary(a_test(0.2, 0.1)), [], some_hits())[1]


def test_the_same_seed_gives_the_same_judgement_and_the_json_holds_the_contract():
    one, two = (judge(DIM, CLEAR, [SETS], placebos={"noise": NOISE}, seed=4).to_json() for _ in range(2))
    assert one == two
    text = json.loads(json.dumps(one))
    assert set(text) >= {"verdict", "reason", "primary", "sources", "known_hits", "placebos", "fingerprints", "seed"}
    assert set(text["primary"]) >= {
        "statistic", "simple", "learned", "estimate", "low", "high", "p", "n_groups", "n_discordant", "groups",
        "smallest_detectable",
    }  # fmt: skip
    source = text["sources"][0]
    assert set(source) >= {"source", "n_pairs", "n_groups", "recall", "matched_control", "difference"}
    assert set(source["recall"]["simple"]) == {"both", "upper", "lower", "macro"}
    assert set(source["difference"]) == {"estimate", "low", "high", "p", "q"}
    assert set(text["known_hits"]) >= {
        "budget", "simple", "learned", "difference", "low", "high", "effective_groups", "largest_groups",
    }  # fmt: skip
    assert set(text["placebos"][0]) >= {"name", "estimate", "low", "beaten"}
    assert text["fingerprints"] == {"simple": DIM.fingerprint, "learned": CLEAR.fingerprint}


def test_lists_at_a_budget_are_what_sorting_says():
    found = judge(DIM, CLEAR, [SETS], budget=50).known_hits
    known = known_pairs(SETS, NAMES)
    pairs = set(zip(known.first.tolist(), known.second.tolist(), strict=True))

    def listed_pairs(side):
        unit = side.profiles / side.norms[:, None]
        cosine = np.round(unit @ unit.T, 6)
        every = sorted((-cosine[i, j], i, j) for i in range(N) for j in range(i + 1, N))
        return {(i, j) for _, i, j in every[:50]}

    one, other = listed_pairs(DIM), listed_pairs(CLEAR)
    assert found.simple == len(one & pairs)
    assert found.learned == len(other & pairs)
    assert found.only_simple == (len(one - other), len((one - other) & pairs))
    assert found.only_learned == (len(other - one), len((other - one) & pairs))
    assert found.test.estimate == pytest.approx(found.learned - found.simple)
    assert sum(value for _, value in found.largest) <= found.test.estimate + 1e-9


@settings(max_examples=20, deadline=None)
@given(difference=st.floats(0.01, 1), n=st.integers(1, 50))
def test_units_needed_would_bring_the_detectable_difference_down(difference, n):
    test = SignFlip(0.1, 0.2, 0.3, n, n, 0.3, False)
    more = units_needed(test, difference)
    assert more >= 0
    detectable = 0.3 * np.sqrt(n / (n + more))
    assert detectable <= difference + 1e-9
    if more:
        assert 0.3 * np.sqrt(n / (n + more - 1)) > difference - 1e-9


def test_units_needed_for_nothing_are_refused():
    for test, wrong in ((a_test(0.1, 0.2), 0.0), (a_test(0.1, 0.2), float("nan")), (sign_flip([]), 0.1)):
        with pytest.raises(InputError, match="can't be planned"):
            units_needed(test, wrong)


def test_progress_is_told_and_may_stop_the_work():
    said = []
    judge(DIM, CLEAR, [SETS], progress=lambda what, share: said.append((what, share)))
    assert [share for _, share in said] == sorted(share for _, share in said)
    assert said[-1] == ("done", 1.0)

    def stop(what, share):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge(DIM, CLEAR, [SETS], progress=stop)
