"""Two maps judged by experiments: the census against loops, fixtures of the test, and what may not be concluded."""

from collections import Counter
from itertools import product

import numpy as np
import polars as pl
import pytest
from builders import map_of, module_profiles, names_of, random_map
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import fisher_exact as scipy_fisher
from test_annotated import grouped
from test_shortlist import KNOWN, NAMES, N, pairs_in, side

from explorer import head_to_head
from explorer.annotated import annotate
from explorer.errors import InputError
from explorer.head_to_head import FEWEST_DISCORDANT, census_depth, judge_census, take_census
from explorer.pair_order import order_pairs
from explorer.shortlist import ListSide, PairFilter, make_shortlist, score_sides

MIRRORED = {"simple": "learned", "learned": "simple", "both": "both", "background": "background"}


# Depth


def test_the_depth_of_the_fixture():
    assert census_depth("abcd", "aebf", budget=4) == 3
    assert {*"abc"} - {*"aeb"} == {"c"}
    assert {*"aeb"} - {*"abc"} == {"e"}


@settings(max_examples=80, deadline=None)
@given(
    simple=st.lists(st.integers(0, 12), unique=True, max_size=12),
    learned=st.lists(st.integers(0, 12), unique=True, max_size=12),
    budget=st.integers(1, 25),
)
def test_the_depth_is_the_largest_whose_union_keeps_to_the_budget(simple, learned, budget):
    found = census_depth(simple, learned, budget=budget)
    able = [d for d in range(min(len(simple), len(learned)) + 1) if len({*simple[:d], *learned[:d]}) <= budget]
    assert found == max(able)
    assert found == census_depth(learned, simple, budget=budget)
    one, other = set(simple[:found]), set(learned[:found])
    assert len(one - other) == len(other - one)


# The census


def naive_near(scored):
    """Rows near each other: among the ten nearest by the mean of both maps, ties by name, one row at a time."""
    n = len(scored.names)
    first, second = np.triu_indices(n, k=1)
    table = np.full((n, n), np.nan)
    table[first, second] = table[second, first] = scored.order("simple").of(first, second) + scored.order("learned").of(
        first, second
    )
    near = {}
    for row in range(n):
        others = [other for other in range(n) if not np.isnan(table[row][other])]
        near[row] = {row, *sorted(others, key=lambda other: (-table[row][other], other))[:10]}
    return near


def naive_capped(pairs, near, n_wanted, *, per_perturbation=2, per_module=3):
    """Go down a list: each pair is of the first module whose leading pair has a member near one of its own."""
    used, modules, kept = Counter(), [], []
    for pair in pairs:
        if len(kept) == n_wanted:
            break
        if any(used[row] >= per_perturbation for row in pair):
            continue
        own = next(
            (
                module
                for module in modules
                if any(one in near[other] or other in near[one] for one in pair for other in module[0])
            ),
            None,
        )
        if own is None:
            modules.append([pair])
        elif len(own) >= per_module:
            continue
        else:
            own.append(pair)
        used.update(pair)
        kept.append(pair)
    return kept


def naive_lists(sides, known, budget, **caps):
    scored = score_sides(sides[0], sides[1:])
    annotation, near = annotate(known, scored.names), naive_near(scored)
    lists = []
    for which in ("simple", "learned"):
        found = order_pairs(scored.order(which), annotation, n_first=10**6).candidates
        pairs = list(zip(found.first.tolist(), found.second.tolist(), strict=True))
        kept = naive_capped(pairs, near, budget, **caps)
        lists.append([(scored.names[one], scored.names[other]) for one, other in kept])
    return lists


def proposed(census):
    return census.rows.filter(pl.col("proposer") != "background")


@pytest.mark.parametrize("budget", [2, 7, 20, 60])
@pytest.mark.parametrize("n_contexts", [1, 2])
def test_the_census_is_that_of_a_loop(budget, n_contexts):
    sides = [side(seed, label=f"context {seed}") for seed in range(n_contexts)]
    census = take_census(sides[0], sides[1:], known=KNOWN, budget=budget)
    simple, learned = naive_lists(sides, KNOWN, budget)
    depth = census_depth(simple, learned, budget=budget)
    assert census.depth == depth > 0
    rows = proposed(census)
    assert set(pairs_in(rows)) == {*simple[:depth], *learned[:depth]}
    assert rows.height == len(set(pairs_in(rows))) <= budget
    for pair, proposer, *ranks in zip(
        pairs_in(rows), rows["proposer"], rows["simple rank"], rows["learned rank"], strict=True
    ):
        expected = [listed.index(pair) + 1 if pair in listed[:depth] else None for listed in (simple, learned)]
        assert ranks == expected
        assert (
            proposer
            == {(True, False): "simple", (False, True): "learned", (True, True): "both"}[
                tuple(rank is not None for rank in ranks)
            ]
        )
    counts = Counter(rows["proposer"])
    assert (counts["simple"], counts["learned"], counts["both"]) == (
        census.n_exclusive,
        census.n_exclusive,
        census.n_shared,
    )
    assert (census.budget, census.context) == (budget, "context 0")
    assert census.others == tuple(one.label for one in sides[1:])


@pytest.mark.parametrize("per_module", [1, 2, 100])
def test_other_caps_of_modules(per_module):
    census = take_census(side(2), known=KNOWN, budget=30, per_module=per_module)
    simple, learned = naive_lists([side(2)], KNOWN, 30, per_module=per_module)
    assert set(pairs_in(proposed(census))) == {*simple[: census.depth], *learned[: census.depth]}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(12, 40))
def test_lists_of_random_maps_keep_to_the_caps_of_a_loop(seed, n):
    # Few dimensions and whole numbers: many ties, and profiles of length zero.
    rng = np.random.default_rng(seed)
    one, other = (map_of(rng.integers(-1, 2, size=(n, 3)).astype(float)) for _ in range(2))
    if min((one.norms > 0).sum(), (other.norms > 0).sum()) < 3:
        return
    here = ListSide("here", one, other)
    simple, learned = naive_lists([here], (), 20)
    census = take_census(here, budget=20) if census_depth(simple, learned, budget=20) else None
    if census is not None:
        assert set(pairs_in(proposed(census))) == {*simple[: census.depth], *learned[: census.depth]}


def test_blocks_do_not_matter(monkeypatch):
    usual = take_census(side(), known=KNOWN, budget=40)
    monkeypatch.setattr(head_to_head, "_BLOCK_VALUES", 3 * N + 5)
    monkeypatch.setattr(head_to_head, "_AT_ONCE", 7)
    assert take_census(side(), known=KNOWN, budget=40).rows.equals(usual.rows)


def test_exchanged_maps_exchange_proposers():
    here = side()
    usual = take_census(here, known=KNOWN, budget=40)
    mirrored = take_census(ListSide("here", here.learned, here.simple), known=KNOWN, budget=40)
    assert mirrored.depth == usual.depth
    assert mirrored.n_components == usual.n_components
    words = dict(zip(pairs_in(proposed(usual)), proposed(usual)["proposer"], strict=True))
    assert dict(zip(pairs_in(proposed(mirrored)), proposed(mirrored)["proposer"], strict=True)) == {
        pair: MIRRORED[word] for pair, word in words.items()
    }
    np.testing.assert_allclose(mirrored.expectation.expected, usual.expectation.expected)


def test_equal_maps_propose_the_same():
    here = side()
    census = take_census(ListSide("here", here.simple, here.simple), known=KNOWN, budget=12)
    assert set(proposed(census)["proposer"]) == {"both"}
    assert (census.depth, census.n_shared, census.n_exclusive, census.n_components) == (12, 12, 0, 0)
    hits = judge_census(with_results(census.rows, ["hit"] * census.rows.height), depth=12, budget=60)
    assert (hits.delta, hits.verdict, hits.n_components) == (0, "underpowered", 0)
    assert hits.hits_simple == hits.hits_learned == 12
    assert np.isnan([hits.low, hits.high, hits.p]).all()


def test_scores_and_rates_are_those_of_a_list():
    census = take_census(side(), known=KNOWN, budget=40)
    every = make_shortlist(side(), known=KNOWN, budget=1_100, per_perturbation=N).rows
    joined = census.rows.join(every, on=["first", "second"], how="left", suffix=" listed")
    assert joined["rank"].null_count() == 0
    for column in ("simple score", "learned score", "known rate"):
        np.testing.assert_allclose(joined[column], joined[f"{column} listed"], atol=1e-9)
    rates = proposed(census)["known rate"].to_numpy()
    assert census.expectation.n_rows == proposed(census).height
    assert census.expectation.known_rate == pytest.approx(rates.mean())


def test_a_list_that_ends_is_said():
    census = take_census(side(), known=KNOWN, budget=500)
    simple, learned = naive_lists([side()], KNOWN, 500)
    assert census.depth == min(len(simple), len(learned))
    assert census.notes[0].startswith(
        f"a list ends after {census.depth} pairs: there are no more under the caps; so few"
    )


def test_where_nothing_is_known_it_is_said():
    census = take_census(side(), budget=20)
    assert census.notes == ("nothing is known of these perturbations, so no number of hits can be expected",)
    assert np.isnan(census.expectation.expected).all()


def test_a_budget_for_one_pair_compares_nothing():
    with pytest.raises(InputError, match=r"^no pair is left to compare the maps by: allow a larger budget"):
        take_census(side(), known=KNOWN, budget=1)
    with pytest.raises(InputError, match="no pair is left to compare"):
        take_census(side(), known=KNOWN, pair_filter=PairFilter(left_out=frozenset(NAMES[1:])))
    with pytest.raises(InputError, match="can't be made"):
        take_census(side(), budget=0)
    with pytest.raises(InputError, match="completeness"):
        take_census(side(), completeness=())
    with pytest.raises(InputError, match="perturbations of interest"):
        take_census(side(), pair_filter=PairFilter(interest=frozenset(["Q"])))


def test_progress_of_a_census_runs_up():
    told = []
    take_census(side(), known=KNOWN, budget=20, progress=lambda _what, share: told.append(share))
    assert told == sorted(told)
    assert told[-1] == 1


# Random pairs


LARGE_NAMES = names_of(300)


def large_side(seed=0):
    """Maps that have room for long lists under the caps."""
    made = [
        module_profiles(n_modules=12, size=5, n_others=240, n_features=d, noise=0.6, seed=seed + d)[0] for d in (15, 20)
    ]
    return ListSide("here", *map(map_of, made))


@pytest.mark.parametrize(("budget", "n_wanted"), [(10, 3), (60, 6)])
def test_random_pairs_are_candidates_that_nobody_proposed(budget, n_wanted):
    known = [grouped(LARGE_NAMES, [range(5), range(5, 10), range(10, 15)])]
    census = take_census(large_side(), known=known, budget=budget, seed=3)
    rows = census.rows.filter(pl.col("proposer") == "background")
    assert rows.height == census.n_background == n_wanted
    assert rows["simple rank"].null_count() == rows["learned rank"].null_count() == rows.height
    assert len({*pairs_in(rows)}) == rows.height
    assert not {*pairs_in(rows)} & {*pairs_in(proposed(census))}
    assert (rows["first"] < rows["second"]).all()
    annotation = annotate(known, LARGE_NAMES)
    place = {name: row for row, name in enumerate(LARGE_NAMES)}
    first, second = (np.array([place[name] for name in rows[which]]) for which in ("first", "second"))
    assert not (annotation.known(first, second) | annotation.apart(first, second)).any()


def test_random_pairs_hang_on_the_seed_and_nothing_else_does():
    one, same, other = (take_census(side(), known=KNOWN, budget=60, seed=seed) for seed in (1, 1, 2))
    assert one.rows.equals(same.rows)
    assert proposed(one).equals(proposed(other))
    assert not one.rows.equals(other.rows)


def test_random_pairs_keep_to_who_may_be_listed():
    left_out, interest = frozenset(NAMES[20:30]), frozenset(NAMES[5:15])
    wanted = PairFilter(left_out=left_out, interest=interest)
    for seed in range(10):
        census = take_census(side(), known=KNOWN, budget=40, pair_filter=wanted, seed=seed)
        assert census.n_background >= 3
        for pair in pairs_in(census.rows):
            assert not set(pair) & left_out
            assert set(pair) & interest


def test_random_pairs_are_like_those_proposed_in_effect():
    # Pairs are proposed among the long profiles; random ones are of these too, not of all.
    rng = np.random.default_rng(0)
    names = names_of(200)
    profiles = rng.normal(size=(2, 200, 20))
    profiles[:, :60] = np.repeat(rng.normal(size=(20, 20)), 3, axis=0) + 0.3 * profiles[:, :60]
    profiles[:, :60] *= 5
    here = ListSide("here", map_of(profiles[0], names), map_of(profiles[1], names))
    census = take_census(here, budget=60)
    place = {name: row for row, name in enumerate(names)}
    long = np.array([[place[name] < 60 for name in pair] for pair in pairs_in(census.rows)])
    is_random = (census.rows["proposer"] == "background").to_numpy()
    assert long[~is_random].mean() > 0.7
    # Of all perturbations .3 are.
    assert long[is_random].mean() > 0.6


def test_random_pairs_run_out_on_a_small_map():
    # Six perturbations: of fifteen pairs few are left, and they may be fewer than wanted.
    here = ListSide("here", random_map(6, 3, seed=0), random_map(6, 3, seed=1))
    census = take_census(here, known=[grouped(names_of(6), [[0, 1]])], budget=14, per_module=100)
    assert census.rows.height <= 14
    assert len(set(pairs_in(census.rows))) == census.rows.height


# The test


def table(*parts):
    """Rows of a census and their results, from (first, second, proposer, result)."""
    return pl.DataFrame(list(parts), schema=["first", "second", "proposer", "result"], orient="row")


def with_results(rows, results):
    return rows.with_columns(pl.Series("result", list(results), dtype=pl.String))


def of_components(credits, n_quiet=0, start=0):
    """One pair of its own perturbations for each credit, and pairs that are no hits."""
    rows = []
    for number, credit in enumerate([*credits, *[0] * n_quiet], start=start):
        proposer = "simple" if credit < 0 or (credit == 0 and number % 2) else "learned"
        rows.append((f"a{number}", f"b{number}", proposer, "hit" if credit else "no hit"))
    return rows


def test_six_components_of_the_learned_map_are_just_enough():
    found = judge_census(table(*of_components([1] * 6, 44)), depth=25, budget=50)
    assert found.p == pytest.approx(0.03125)
    assert found.verdict == "learned finds more"
    assert found.delta == pytest.approx(6 / 25)
    assert found.low > 0
    assert found.high == pytest.approx(2 * found.delta - found.low)
    assert found.reason == f"+0.240 of the pairs tested, 95 % interval {found.low:+.3f} to {found.high:+.3f}"
    assert (found.n_components, found.n_discordant) == (50, 6)
    assert found.is_counted


def test_five_components_are_too_few():
    found = judge_census(table(*of_components([1] * 5, 45)), depth=25, budget=50)
    assert found.verdict == "underpowered"
    assert found.reason == "the maps' hits differ in 5 components, 6 are needed for any verdict"
    one = judge_census(table(*of_components([1], 49)), depth=25, budget=50)
    assert one.reason.startswith("the maps' hits differ in 1 component, 6")
    assert found.is_counted


def test_hits_of_both_lists_cancel():
    rows = [(f"a{number}", f"b{number}", "both", "hit") for number in range(60)]
    found = judge_census(table(*rows), depth=60, budget=60)
    assert (found.delta, found.hits_simple, found.hits_learned, found.n_components) == (0, 60, 60, 0)
    assert found.verdict == "underpowered"


@settings(max_examples=60, deadline=None)
@given(credits=st.lists(st.sampled_from([-1, -1, 0, 1, 1, 1]), min_size=1, max_size=30), seed=st.integers(0, 5))
def test_exchanged_maps_turn_the_difference_round(credits, seed):
    rows = table(*of_components(credits), ("x", "y", "background", "hit"), ("x", "z", "both", "no hit"))
    found = judge_census(rows, depth=20, budget=60, seed=seed)
    turned = rows.with_columns(pl.col("proposer").replace_strict(MIRRORED))
    other = judge_census(turned, depth=20, budget=60, seed=seed)
    assert other.delta == -found.delta
    assert other.p == found.p
    assert (other.low, other.high) == pytest.approx((-found.high, -found.low))
    assert other.failed_p == found.failed_p
    words = {"learned finds more": "simple finds more", "simple finds more": "learned finds more"}
    assert other.verdict == words.get(found.verdict, found.verdict)
    assert (other.hits_simple, other.hits_learned) == (found.hits_learned, found.hits_simple)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 9),
            st.integers(10, 19),
            st.sampled_from(list(MIRRORED)),
            st.sampled_from(["hit", "no hit", "failed"]),
        ),
        min_size=1,
        max_size=16,
        unique_by=lambda row: row[:2],
    ),
    depth=st.integers(1, 20),
)
def test_the_test_is_that_of_a_loop(rows, depth):
    found = judge_census(table(*((f"p{i}", f"p{j}", *rest) for i, j, *rest in rows)), depth=depth, budget=60)
    # Components of exclusive pairs, by growing sets.
    exclusive = [row for row in rows if row[2] in ("simple", "learned")]
    components = []
    for row in exclusive:
        joined = [one for one in components if any(set(row[:2]) & set(other[:2]) for other in one)]
        components = [one for one in components if one not in joined] + [
            [row, *(other for one in joined for other in one)]
        ]
    credits = [
        sum((1 if row[2] == "learned" else -1) * (row[3] == "hit") for row in component) for component in components
    ]
    assert sorted(found.contributions) == sorted(credits)
    assert found.n_components == len(credits)
    differing = [credit for credit in credits if credit]
    assert found.n_discordant == len(differing)
    hits = {word: sum(row[2] == word and row[3] == "hit" for row in rows) for word in MIRRORED}
    assert found.hits_simple == hits["simple"] + hits["both"]
    assert found.hits_learned == hits["learned"] + hits["both"]
    assert found.delta == pytest.approx((hits["learned"] - hits["simple"]) / depth)
    assert found.background_hits == hits["background"]
    assert found.n_background == sum(row[2] == "background" for row in rows)
    assert found.n_failed == sum(row[3] == "failed" for row in rows)
    counts = [
        [sum((row[3] == "failed") == way for row in rows if row[2] == word) for way in (True, False)]
        for word in ("learned", "simple")
    ]
    assert found.failed_p == pytest.approx(scipy_fisher(counts).pvalue if exclusive else 1)
    if credits and len(differing) <= 12:
        sums = [
            sum(sign * abs(c) for sign, c in zip(signs, differing, strict=True))
            for signs in product([-1, 1], repeat=len(differing))
        ]
        assert found.p == pytest.approx(np.mean([abs(value) >= abs(sum(differing)) for value in sums]))
        assert (found.low > 0 or found.high < 0) == (found.p <= 0.05)


def test_pairs_of_one_perturbation_are_one_unit():
    # Fifty hits of one hub are one component, which can't be significant.
    rows = [("hub", f"b{number:02d}", "learned", "hit") for number in range(50)]
    quiet = [(f"s{number}", f"t{number}", "simple", "no hit") for number in range(50)]
    found = judge_census(table(*rows, *quiet), depth=50, budget=100)
    assert (found.n_discordant, found.n_components) == (1, 51)
    assert found.verdict == "underpowered"
    assert max(found.contributions) == 50
    # Across proposers too: the hub of one is in a pair of the other.
    rows = [("A", "B", "learned", "hit"), ("B", "C", "simple", "hit"), ("D", "E", "learned", "hit")]
    assert sorted(judge_census(table(*rows), depth=2, budget=60).contributions) == [0, 1]
    # Pairs of both, and random ones, join nothing.
    rows += [("A", "D", "both", "hit"), ("C", "E", "background", "hit")]
    assert judge_census(table(*rows), depth=3, budget=60).n_components == 2


def test_more_hits_of_the_simple_map():
    found = judge_census(table(*of_components([-1] * 14 + [1] * 2, 30)), depth=23, budget=50, seed=1)
    assert found.verdict == "simple finds more"
    assert found.high < 0
    even = judge_census(table(*of_components([-1] * 8 + [1] * 8, 30)), depth=23, budget=50)
    assert even.verdict == "not shown"
    assert even.reason.startswith("+0.000 of the pairs tested, 95 % interval -0.")


GOOD = of_components([1] * 20, 30)


def failing(rows, proposer, n):
    """The same with failures of one proposer, of pairs that are no hits first."""
    order = sorted(range(len(rows)), key=lambda number: (rows[number][2] != proposer, rows[number][3] == "hit"))
    return [(*row[:3], "failed") if number in order[:n] else row for number, row in enumerate(rows)]


def test_a_test_that_was_not_blind_is_described_only():
    found = judge_census(table(*GOOD), depth=25, budget=50, opened_early="the key was opened on 2024-01-01")
    assert (found.verdict, found.is_counted) == ("description only", False)
    assert found.reason == "the test was not blind: the key was opened on 2024-01-01"
    # The figures are given all the same.
    assert (found.delta, found.n_discordant) == (0.8, 20)


def test_small_budgets_are_described_only():
    found = judge_census(table(*GOOD), depth=25, budget=49)
    assert found.verdict == "description only"
    assert found.reason == "a budget of 49 pairs tells no difference: 50 or more do"
    assert judge_census(table(*GOOD), depth=25, budget=50).verdict == "learned finds more"


def test_many_failures_are_described_only():
    background = [(f"x{number}", f"y{number}", "background", "no hit") for number in range(5)]
    rows = [*GOOD, *background]
    # As many of either map, so that nothing hangs on who proposed.
    some = failing(failing(rows, "learned", 8), "simple", 3)
    found = judge_census(table(*some), depth=25, budget=50)
    assert found.n_failed == 11
    assert found.verdict == "learned finds more"
    one_more = judge_census(table(*failing(some, "background", 1)), depth=25, budget=50)
    assert one_more.n_failed == 12
    assert one_more.verdict == "description only"
    assert one_more.reason == "12 of 55 pairs failed, more than 20%: what is left is a choice"


def test_failures_that_hang_on_the_proposer_are_described_only():
    rows = failing(GOOD, "simple", 6)
    found = judge_census(table(*rows), depth=25, budget=50)
    n_simple = sum(row[2] == "simple" for row in rows)
    expected = scipy_fisher([[0, 50 - n_simple], [6, n_simple - 6]]).pvalue
    assert found.failed_p == pytest.approx(expected)
    assert expected < 0.1
    assert found.verdict == "description only"
    assert found.reason == (
        f"whether a pair failed hangs on the map that proposed it (Fisher p {expected:.2g}), so what is left favours "
        "one of them"
    )
    even = failing(failing(GOOD, "simple", 2), "learned", 4)
    assert judge_census(table(*even), depth=25, budget=50).verdict == "learned finds more"


def test_a_failed_pair_is_no_hit():
    rows = [("A", "B", "learned", "failed"), ("C", "D", "both", "failed"), ("E", "F", "background", "failed")]
    found = judge_census(table(*rows, *of_components([1])), depth=2, budget=60)
    assert (found.hits_learned, found.hits_simple, found.background_hits, found.n_failed) == (1, 0, 0, 3)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("a", "b", "Simple", "hit"), r"^proposer 'Simple' is none of simple, learned, both, background$"),
        (("a", "b", "simple", "yes"), r"^result 'yes' is none of hit, no hit, failed$"),
        (("a", "b", "simple", None), r"^result None is none of hit, no hit, failed$"),
        (("a", "b", None, "hit"), r"^proposer None is none of"),
    ],
)
def test_other_words_are_refused(row, message):
    with pytest.raises(InputError, match=message):
        judge_census(table(("c", "d", "both", "hit"), row), depth=1, budget=50)


def test_the_order_of_rows_and_the_columns_beside_do_not_matter():
    rng = np.random.default_rng(0)
    census = take_census(side(), known=KNOWN, budget=60)
    rows = with_results(census.rows, rng.choice(["hit", "no hit"], census.rows.height))
    found = judge_census(rows, depth=census.depth, budget=60, seed=4)
    assert found.n_components == census.n_components
    for seed in range(3):
        shuffled = rows.sample(fraction=1, shuffle=True, seed=seed)
        assert judge_census(shuffled, depth=census.depth, budget=60, seed=4) == found
    assert FEWEST_DISCORDANT == 6


def test_random_pairs_decide_nothing():
    rows = table(*GOOD)
    one, other = (
        judge_census(
            pl.concat([rows, table(*((f"x{n}", f"a{n}", "background", word) for n in range(9)))]), depth=25, budget=50
        )
        for word in ("hit", "no hit")
    )
    assert (one.delta, one.p, one.verdict) == (other.delta, other.p, other.verdict)
    assert (one.background_hits, other.background_hits) == (9, 0)
