"""The list to test next: against a loop over all pairs, fixtures of the expectation, filters, and bad input."""

import numpy as np
import polars as pl
import pytest
from builders import map_of, module_profiles, names_of, random_map
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.isotonic import IsotonicRegression
from test_annotated import grouped, naive
from test_pair_order import naive_capped
from test_pair_scores import naive_ranks, naive_scores
from test_stand_ins import pairs_known

from explorer.annotated import annotate
from explorer.errors import InputError
from explorer.pair_order import N_STEPS, ORDERS, FirstPairs, Ordered, PairOrder, order_pairs, step_of
from explorer.shortlist import (
    COMPLETENESS,
    FEWEST_KNOWN,
    MOST_BUDGET,
    ListSide,
    PairFilter,
    allowed_pairs,
    check_completeness,
    check_pairs,
    expect_hits,
    expected_hits_of_rate,
    known_rate_curve,
    make_shortlist,
    score_sides,
)

N = 48


def side(seed=0, *, label="here", n_features=(12, 16), names=None, noise=0.8):
    """Two maps with the same planted modules, in features of their own."""
    made = [
        module_profiles(n_modules=6, size=5, n_others=N - 30, n_features=d, noise=noise, seed=100 * seed + number)[0]
        for number, d in enumerate(n_features)
    ]
    return ListSide(
        label, *(map_of(profiles, names, representation=f"map {d}") for profiles, d in zip(made, "sl", strict=True))
    )


NAMES = names_of(N)
# Two of the six modules are known, and a pair besides.
KNOWN = (grouped(NAMES, [range(5), range(5, 10)]), pairs_known(NAMES, [(0, 40), (41, 47)], "pairs"))


def pairs_in(rows):
    return list(rows.select("first", "second").iter_rows())


def naive_list(sides, known, *, budget, most=3):
    """Pairs in the order of the larger normal score, mean over contexts; each score in plain loops."""
    names = sides[0].simple.names
    n = len(names)
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    total = np.zeros(len(pairs))
    for one in sides:
        z = []
        for made in (one.simple, one.learned):
            ranks = np.array(naive_ranks(naive_scores(made.profiles)))
            z.append(norm.ppf(1 - (ranks - 0.5) / np.sum(~np.isnan(ranks))))
        total += np.fmax(*z) / len(sides)
    free = [
        number
        for number, (i, j) in enumerate(pairs)
        if naive(known, names, names[i], names[j]) == (False, False) and not np.isnan(total[number])
    ]
    order = sorted(free, key=lambda number: (-round(total[number], 9), pairs[number]))
    kept = naive_capped([pairs[number] for number in order], most)[:budget]
    return [(names[pairs[order[k]][0]], names[pairs[order[k]][1]], total[order[k]]) for k in kept]


@pytest.mark.parametrize("n_contexts", [1, 2])
def test_the_list_is_that_of_a_loop_over_all_pairs(n_contexts):
    sides = [side(seed, label=f"context {seed}") for seed in range(n_contexts)]
    found = make_shortlist(sides[0], sides[1:], known=KNOWN, budget=40)
    expected = naive_list(sides, KNOWN, budget=40)
    assert pairs_in(found.rows) == [(one, other) for one, other, _ in expected]
    np.testing.assert_allclose(found.rows["score"], [score for *_, score in expected], atol=2e-6)
    assert found.rows["rank"].to_list() == list(range(1, 41))
    assert (found.rows["first"] < found.rows["second"]).all()
    assert found.n_pairs == N * (N - 1) // 2
    assert found.n_known == 22
    # All pairs between the two modules are apart.
    assert found.n_apart == 25
    assert found.n_candidates == found.n_pairs - 22 - 25
    assert found.context == "context 0"
    assert found.others == tuple(one.label for one in sides[1:])
    assert len(set(found.fingerprints)) == 2 * n_contexts
    assert found.notes == ()


def test_columns_say_where_a_score_comes_from():
    here, there = side(0), side(1, label="there, <b>\n=cmd()")
    rows = make_shortlist(here, [there], known=KNOWN, budget=30).rows
    extra = [f"{there.label}: {map_} score" for map_ in ("simple", "learned")]
    assert rows.columns == [
        "rank", "first", "second", "score", "proposer", "simple score", "learned score", "known rate", *extra
    ]  # fmt: skip
    larger = (rows.select(pl.max_horizontal("simple score", "learned score")).to_series()
              + rows.select(pl.max_horizontal(*extra)).to_series()) / 2  # fmt: skip
    np.testing.assert_allclose(rows["score"], larger, atol=2e-6)
    mean = [(rows[f"{map_} score"] + rows[f"{there.label}: {map_} score"]).to_numpy() for map_ in ("simple", "learned")]
    said = np.where(mean[0] > mean[1], "simple", np.where(mean[1] > mean[0], "learned", "both"))
    assert rows["proposer"].to_list() == said.tolist()
    assert set(said) == {"simple", "learned"}


def test_pairs_annotated_apart_stand_in_a_table_of_their_own():
    found = make_shortlist(side(), known=KNOWN, budget=20)
    assert found.apart.columns == found.rows.columns
    # Five a side, three pairs each.
    assert found.apart.height == 15
    annotation = annotate(KNOWN, NAMES)
    place = {name: row for row, name in enumerate(NAMES)}
    for rows, is_apart in ((found.rows, False), (found.apart, True)):
        first, second = (np.array([place[name] for name in rows[s]]) for s in ("first", "second"))
        assert (annotation.apart(first, second) == is_apart).all()
        assert not annotation.known(first, second).any()
    assert found.apart["score"].is_sorted(descending=True)


def test_exchanged_maps_exchange_the_words_and_nothing_else():
    here = side()
    usual = make_shortlist(here, known=KNOWN, budget=40)
    mirrored = make_shortlist(ListSide("here", here.learned, here.simple), known=KNOWN, budget=40)
    assert pairs_in(usual.rows) == pairs_in(mirrored.rows)
    words = {"simple": "learned", "learned": "simple", "both": "both"}
    assert mirrored.rows["proposer"].to_list() == [words[word] for word in usual.rows["proposer"]]
    assert mirrored.rows["simple score"].to_list() == usual.rows["learned score"].to_list()
    assert mirrored.rows["known rate"].to_list() == usual.rows["known rate"].to_list()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1_000))
def test_the_order_of_rows_does_not_matter(seed):
    here = side(seed % 5)
    order = np.random.default_rng(seed).permutation(N)
    shuffled = ListSide(
        "here",
        *(
            map_of(made.profiles[order], [NAMES[row] for row in order], representation=made.recipe.representation)
            for made in (here.simple, here.learned)
        ),
    )
    assert make_shortlist(shuffled, known=KNOWN, budget=40).rows.equals(
        make_shortlist(here, known=KNOWN, budget=40).rows
    )


def test_names_are_any_text():
    names = sorted(
        f"{number % 7}{text}{number}" for number, text in enumerate(["a,b", '"q"', "<b>x", "\n", "=cmd()|", "é"] * 8)
    )
    found = make_shortlist(side(names=names), known=[grouped(names, [range(5), range(5, 10)])], budget=40)
    usual = make_shortlist(side(), known=[grouped(NAMES, [range(5), range(5, 10)])], budget=40)
    place = dict(zip(names, NAMES, strict=True))
    assert [(place[one], place[other]) for one, other in pairs_in(found.rows)] == pairs_in(usual.rows)


def test_equal_profiles_stand_in_the_order_of_names():
    flat = map_of(np.ones((8, 3)))
    found = make_shortlist(ListSide("here", flat, flat), budget=28, per_perturbation=7)
    names = flat.names
    assert pairs_in(found.rows) == [(one, other) for i, one in enumerate(names) for other in names[i + 1 :]]
    assert set(found.rows["proposer"]) == {"both"}
    np.testing.assert_allclose(found.rows["score"], 0, atol=1e-12)


def test_three_perturbations_make_a_list():
    tiny = random_map(3, 4, seed=0)
    found = make_shortlist(ListSide("here", tiny, random_map(3, 4, seed=1)), budget=5)
    assert found.rows.height == 3
    assert found.notes[0].startswith("only 3 pairs of the 5 asked for can be listed: there are 3 candidates")


@pytest.mark.parametrize("order", ORDERS)
def test_all_orders_make_a_list(order):
    found = make_shortlist(side(), known=KNOWN, budget=30, order=order)
    assert found.order == order
    assert found.rows["score"].is_sorted(descending=True)
    if order in ("simple", "learned"):
        assert found.rows["score"].to_list() == found.rows[f"{order} score"].to_list()


def test_an_unknown_order_is_refused():
    with pytest.raises(InputError, match="unknown order 'either': did you mean 'either map'"):
        make_shortlist(side(), known=KNOWN, order="either")  # type: ignore[arg-type]


# Maps of different perturbations


def test_maps_are_asked_about_what_all_of_them_have():
    here = side()
    fewer = ListSide("there", here.simple.restricted_to(NAMES[4:]), here.learned.restricted_to(NAMES[:46]))
    found = make_shortlist(here, [fewer], known=KNOWN, budget=30)
    shared = NAMES[4:46]
    assert found.n_perturbations == 42
    assert found.notes == (
        "6 perturbations of here left out: not in all maps",
        "6 perturbations of there left out: not in all maps",
    )
    assert {name for pair in pairs_in(found.rows) for name in pair} <= set(shared)
    alike = ListSide("here", here.simple.restricted_to(shared), here.learned.restricted_to(shared))
    again = make_shortlist(alike, [ListSide("there", alike.simple, alike.learned)], known=KNOWN, budget=30)
    assert again.rows.equals(found.rows)
    assert again.notes == ()


def test_maps_that_share_nothing_are_refused():
    other = map_of(np.random.default_rng(0).normal(size=(5, 3)), ["x", "y", *NAMES[:2], "z"])
    with pytest.raises(InputError, match=r"^2 perturbations are in all maps, a list takes 3 or more: do they name"):
        make_shortlist(ListSide("here", random_map(9, 3, seed=0), other))


def test_contexts_of_one_name_are_refused():
    with pytest.raises(InputError, match=r"^contexts are called alike: 'here'; take different ones"):
        make_shortlist(side(), [side(1)])


# Expectation


@pytest.mark.parametrize(
    ("rate", "completeness", "expected"),
    [
        (0.2, 0.5, 0.25),
        (0.2, 0.25, 0.75),
        (0.5, 0.5, 1),
        (0.9, 0.5, 1),
        (1, 0.7, 1),
        (0, 0.1, 0),
        (0.3, 1, 0),
        (1, 1, 0),
    ],
)
def test_what_a_known_rate_promises(rate, completeness, expected):
    assert float(expected_hits_of_rate(rate, completeness)) == pytest.approx(expected)


def test_where_nothing_is_known_nothing_is_promised():
    assert np.isnan(expected_hits_of_rate(float("nan"), 0.5))
    assert np.isnan(expected_hits_of_rate(float("nan"), 1.0))
    found = expected_hits_of_rate([[0.2, np.nan], [0.0, 0.5]], 0.5)
    np.testing.assert_allclose(found, [[0.25, np.nan], [0, 1]])


@settings(max_examples=50, deadline=None)
@given(rates=st.lists(st.floats(0, 1), min_size=1, max_size=20), share=st.floats(0.01, 1))
def test_the_promise_grows_with_the_rate_and_shrinks_with_completeness(rates, share):
    found = expected_hits_of_rate(np.sort(rates), share)
    assert (np.diff(found) >= 0).all()
    assert ((found >= 0) & (found <= 1)).all()
    assert (expected_hits_of_rate(np.sort(rates), share / 2) >= found).all()
    made = expect_hits(rates, (share, share / 2))
    assert made.expected[0] == pytest.approx(found.sum())
    assert made.n_rows == len(rates)
    assert made.known_rate == pytest.approx(np.mean(rates))
    assert made.completeness == (share, share / 2)


def test_the_expectation_is_that_of_the_rows():
    found = make_shortlist(side(), known=KNOWN, budget=30, completeness=(1, 0.5, 0.25))
    rates = found.rows["known rate"].to_numpy()
    odds = rates / (1 - rates)
    assert found.expectation.completeness == (1.0, 0.5, 0.25)
    assert found.expectation.expected == pytest.approx((0, np.minimum(1, odds).sum(), np.minimum(1, 3 * odds).sum()))
    assert found.expectation.known_rate == pytest.approx(rates.mean())
    scores = score_sides(side()).order().block(0, N)
    least = step_of(found.rows["score"].to_numpy()).min()
    assert found.expectation.n_alike == (step_of(scores[~np.isnan(scores)]) >= least).sum()
    assert make_shortlist(side(), known=KNOWN).expectation.completeness == COMPLETENESS


def test_a_share_that_the_known_rate_contradicts_gets_no_number():
    made = expect_hits(np.full(50, 0.6), (0.7, 0.5, 0.4), n_alike=400)
    assert made.expected[0] == pytest.approx(50 * 0.3 / 0.7 * 0.6 / 0.4)
    assert np.isnan(made.expected[1:]).all()
    assert made.known_rate == pytest.approx(0.6)
    # Of few pairs a rate of .6 is no contradiction of a share of .5: three standard errors of 100 are .15.
    few = expect_hits(np.full(50, 0.6), (0.7, 0.5, 0.4), n_alike=100)
    assert few.expected[1] == 50
    assert np.isnan(few.expected[2])
    assert not np.isnan(expect_hits(np.full(50, 0.6), (0.7, 0.5, 0.4)).expected).any()


@pytest.mark.parametrize("known", [(), (pairs_known(("x", "y", "z"), [(0, 1)]),)], ids=["no source", "of others"])
def test_without_known_pairs_no_number_is_expected(known):
    found = make_shortlist(side(), known=known, budget=700, per_perturbation=N)
    assert np.isnan(found.expectation.known_rate)
    assert np.isnan(found.expectation.expected).all()
    assert found.rows["known rate"].is_nan().all()
    assert found.notes[0] == "nothing is known of these perturbations, so no number of hits can be expected"
    # A list of 700 of 1,128 pairs goes far down, and says so.
    assert "588 pairs of the list are not among the most similar 10% of all" in found.notes


def ordered(scores, is_known):
    """What one pass over all pairs counts."""
    n_pairs = np.bincount(step_of(scores), minlength=N_STEPS)
    n_known = np.bincount(step_of(scores[is_known]), minlength=N_STEPS)
    none = FirstPairs(np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp), np.empty(0), is_all=True)
    return Ordered(none, none, n_pairs, n_known, len(scores), 0)


def pooled(rates, weights):
    """Isotonic means by pooling neighbours that are out of order, by hand."""
    parts = []
    for rate, weight in zip(rates, weights, strict=True):
        parts.append([rate, weight, 1])
        while len(parts) > 1 and parts[-2][0] >= parts[-1][0]:
            rate, weight, n = parts.pop()
            last = parts[-1]
            last[0] = (last[0] * last[1] + rate * weight) / (last[1] + weight)
            last[1], last[2] = last[1] + weight, last[2] + n
    return [rate for rate, _, n in parts for _ in range(n)]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(5, 3_000), width=st.sampled_from([0.05, 1.0]))
def test_the_known_rate_is_isotonic_over_the_most_similar_tenth(seed, n, width):
    rng = np.random.default_rng(seed)
    scores = np.round(width * rng.normal(size=n), 3)
    is_known = rng.random(n) < 1 / (1 + np.exp(2 - 3 * scores / width))
    if is_known.sum() < FEWEST_KNOWN:
        assert np.isnan(known_rate_curve(ordered(scores, is_known))).all()
        return
    curve = known_rate_curve(ordered(scores, is_known))
    assert (np.diff(curve) >= -1e-12).all()
    # The tenth ends with a step, which may hold more pairs than are left of it.
    last = np.sort(scores)[::-1][int(np.ceil(0.1 * n)) - 1]
    top = scores >= last
    values = np.unique(scores[top])
    weight = [np.sum(scores == value) for value in values]
    rate = [np.mean(is_known[scores == value]) for value in values]
    np.testing.assert_allclose(curve[step_of(values)], pooled(rate, weight), atol=1e-9)
    again = IsotonicRegression(out_of_bounds="clip").fit(scores[top], is_known[top].astype(float))
    np.testing.assert_allclose(curve[step_of(values)], again.predict(values), atol=1e-6)
    # Below, it stays what it is at the end of the tenth.
    assert set(curve[: step_of(np.array([last]))[0]]) <= {curve[step_of(np.array([last]))[0]]}


def test_the_known_rate_of_a_row_is_the_share_known_among_all_pairs_as_similar():
    found = make_shortlist(side(noise=0.5), known=KNOWN, budget=5)
    scored = score_sides(side(noise=0.5))
    first, second = np.triu_indices(N, k=1)
    scores = PairOrder(scored.contexts).of(first, second)
    is_known = annotate(KNOWN, NAMES).known(first, second)
    level = found.rows["known rate"][0]
    curve = known_rate_curve(ordered(scores, is_known))
    # Averaged over its level, the curve is what is counted there: known pairs among all, annotated apart or not.
    at = np.isclose(curve[step_of(scores)], level)
    at &= scores >= np.sort(scores)[-int(np.ceil(0.1 * len(scores)))]
    assert is_known[at].mean() == pytest.approx(level)


def test_rows_below_the_most_similar_tenth_are_said():
    found = make_shortlist(side(), known=KNOWN, budget=200, per_perturbation=N)
    (note,) = found.notes
    n = int(note.split()[0])
    assert "are not among the most similar 10% of all" in note
    assert found.rows["known rate"].tail(n).n_unique() == 1
    scored = score_sides(side())
    scores = np.sort(PairOrder(scored.contexts).of(*np.triu_indices(N, k=1)))[::-1]
    assert n == pytest.approx((found.rows["score"] < scores[int(0.1 * len(scores))]).sum(), abs=2)


# Filters


@pytest.fixture(scope="module")
def unfiltered():
    return make_shortlist(side(), known=KNOWN, budget=1_100, per_perturbation=N)


FILTERS = [
    PairFilter(left_out=frozenset([*NAMES[10:20], "nobody"])),
    PairFilter(interest=frozenset([NAMES[12], NAMES[40], "nobody"])),
    PairFilter(
        only=frozenset(
            [(NAMES[30], NAMES[31]), (NAMES[47], NAMES[12]), ("nobody", NAMES[1]), (NAMES[0], NAMES[1])],
        )
    ),
    PairFilter(
        left_out=frozenset([NAMES[13]]),
        interest=frozenset([NAMES[12]]),
        only=frozenset([(NAMES[12], name) for name in NAMES[13:]]),
    ),
]


def passes(one, pair):
    return (
        not set(pair) & one.left_out
        and (not one.interest or bool(set(pair) & one.interest))
        and (one.only is None or pair in one.only or pair[::-1] in one.only)
    )


@pytest.mark.parametrize("number", range(len(FILTERS)))
def test_a_filter_takes_pairs_away_and_changes_nothing_else(unfiltered, number):
    wanted = FILTERS[number]
    found = make_shortlist(side(), known=KNOWN, budget=1_100, per_perturbation=N, pair_filter=wanted)
    left = unfiltered.rows.filter([passes(wanted, pair) for pair in pairs_in(unfiltered.rows)])
    assert 0 < left.height < unfiltered.rows.height
    assert found.rows.drop("rank").equals(left.drop("rank"))
    assert found.n_candidates == left.height
    apart = unfiltered.apart.filter([passes(wanted, pair) for pair in pairs_in(unfiltered.apart)])
    assert found.apart.drop("rank").equals(apart.drop("rank"))
    assert (found.n_pairs, found.n_known) == (unfiltered.n_pairs, unfiltered.n_known)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1_000), start=st.integers(0, 11), stop=st.integers(1, 12))
def test_filters_are_the_same_in_any_block(seed, start, stop):
    rng = np.random.default_rng(seed)
    names = names_of(12)
    wanted = PairFilter(
        frozenset(rng.choice(names, 2)),
        frozenset(rng.choice(names, 3)) if seed % 2 else frozenset(),
        frozenset((str(one), str(other)) for one, other in rng.choice(names, (40, 2))) if seed % 3 else None,
    )
    block = allowed_pairs(wanted, names)
    assert block is not None
    start, stop = sorted((start, stop))
    found = block(start, stop)
    assert found.shape == (stop - start, 12 - start)
    for i in range(start, stop):
        for j in range(i + 1, 12):
            assert found[i - start, j - start] == passes(wanted, (names[i], names[j]))


def test_without_a_wish_there_is_no_filter():
    assert allowed_pairs(PairFilter(), NAMES) is None
    assert make_shortlist(side(), known=KNOWN, pair_filter=PairFilter()).rows.equals(
        make_shortlist(side(), known=KNOWN).rows
    )


def test_unknown_perturbations_of_interest_are_refused_with_the_nearest():
    with pytest.raises(
        InputError, match=r"^none of the perturbations of interest is in the maps, 'P001' for one: did you mean 'P00"
    ):
        make_shortlist(side(), known=KNOWN, pair_filter=PairFilter(interest=frozenset(["P001", "Q"])))
    with pytest.raises(InputError, match=r"'§' for one: check how they are written$"):
        make_shortlist(side(), known=KNOWN, pair_filter=PairFilter(interest=frozenset(["§"])))


# What can't be listed


def test_a_list_without_a_pair_is_refused_and_why_is_said():
    here = side()
    nobody = PairFilter(left_out=frozenset(NAMES[1:]))
    with pytest.raises(InputError, match=r"^no pair is left under these filters: take one of them away$"):
        make_shortlist(here, known=KNOWN, pair_filter=nobody)
    with pytest.raises(InputError, match=r"^no pair is left under these filters"):
        make_shortlist(here, known=KNOWN, pair_filter=PairFilter(only=frozenset()))
    halves = [grouped(NAMES, [range(24), range(24, 48)])]
    with pytest.raises(InputError, match=r"^every pair is known or annotated apart \(576 apart\): give sources"):
        make_shortlist(here, known=halves)
    with pytest.raises(InputError, match=r"^every pair is known already: give other sources of known pairs$"):
        make_shortlist(here, known=[grouped(NAMES, [range(48)])])


def test_fewer_candidates_than_asked_for_are_said():
    found = make_shortlist(side(), known=KNOWN, budget=MOST_BUDGET)
    assert found.rows.height <= 3 * N // 2
    assert found.notes[0] == (
        f"only {found.rows.height} pairs of the 2,000 asked for can be listed: there are {found.n_candidates:,} "
        "candidates, and a perturbation stands in 3 at the most"
    )
    counts = found.rows.select(pl.concat_list("first", "second").explode().value_counts()).unnest("first")
    assert counts["count"].max() == 3


@pytest.mark.parametrize("budget", [0, -1, MOST_BUDGET + 1, 1.5, True, "50", None, np.int64(3)])
def test_a_budget_is_a_whole_number_within_bounds(budget):
    with pytest.raises(InputError, match=r"^a list of .* pairs can't be made: choose a whole number from 1 to 2,000$"):
        check_pairs(budget)
    with pytest.raises(InputError, match="can't be made"):
        make_shortlist(side(), budget=budget)


@pytest.mark.parametrize("shares", [(), (0,), (1.1,), (0.5, -0.1), ("0.5",), (True,), (float("nan"),), (0.5,) * 6])
def test_completeness_is_a_share_above_zero(shares):
    with pytest.raises(InputError, match=r"^completeness.*: expected one to five shares of the truth"):
        check_completeness(shares)


def test_good_shares_and_budgets_pass():
    assert check_completeness([1, 0.001]) == (1.0, 0.001)
    assert [check_pairs(budget) for budget in (1, 50, MOST_BUDGET)] == [1, 50, MOST_BUDGET]


def test_progress_runs_up_and_may_cancel():
    told = []
    make_shortlist(
        side(), [side(1, label="there")], known=KNOWN, progress=lambda what, share: told.append((what, share))
    )
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert (shares[0], told[-1]) == (0, ("done", 1.0))
    assert told[1][0] == "scores of all pairs in map l of here"

    def stop(_what, share):
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_shortlist(side(), known=KNOWN, progress=stop)


def test_a_map_without_effects_for_some_is_asked_about_the_others():
    here = side()
    profiles = here.learned.profiles.copy()
    profiles[:40] = 0
    found = make_shortlist(ListSide("here", here.simple, map_of(profiles)), known=KNOWN, budget=60, per_perturbation=9)
    silent = found.rows["learned score"].is_nan()
    assert silent.any()
    assert not silent.all()
    assert set(found.rows.filter(silent)["proposer"]) == {"simple"}
    assert found.rows["score"].is_not_nan().all()
    assert found.n_pairs == N * (N - 1) // 2


def test_counts_do_not_depend_on_how_many_pairs_are_kept():
    order = score_sides(side()).order()
    annotation = annotate(KNOWN, NAMES)
    few, many = (order_pairs(order, annotation, n_first=n) for n in (1, 5_000))
    assert known_rate_curve(few).tolist() == known_rate_curve(many).tolist()


def test_whose_pairs_were_asked_for_stands_in_as_many_as_there_are():
    wished = NAMES[7]
    found = make_shortlist(side(), known=KNOWN, budget=20, pair_filter=PairFilter(interest=frozenset([wished])))
    assert all(wished in pair for pair in pairs_in(found.rows))
    assert found.rows.height == 20


def test_excluded_pairs_are_left_out_and_no_others():
    first = pairs_in(make_shortlist(side(), known=KNOWN, budget=20).rows)
    left = PairFilter(excluded=frozenset([first[0], ("nobody", "here")]))
    found = pairs_in(make_shortlist(side(), known=KNOWN, budget=19, pair_filter=left).rows)
    assert first[0] not in found
    assert found[0] == first[1]
    everyone = frozenset((one, other) for one in NAMES for other in NAMES if one < other)
    with pytest.raises(
        InputError, match=r"no pair is left under these filters \(nothing at all\): take one of them away"
    ):
        make_shortlist(side(), known=KNOWN, pair_filter=PairFilter(excluded=everyone, said=("nothing at all",)))
