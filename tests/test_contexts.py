"""Edges judged elsewhere: labels against the truth that was planted, what may be called missing, and bad input."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from builders import map_of, names_of, random_map
from conftest import DEMO
from hypothesis import given, settings
from hypothesis import strategies as st
from test_stand_ins import pairs_known

from explorer.aggregate import build_map
from explorer.contexts import (
    HOLDS,
    NOT_SEEN,
    SILENT,
    UNJUDGED,
    AbsentSet,
    ContextReport,
    ContextSide,
    compare_contexts,
    said_once,
)
from explorer.edges import EdgeTests, partial_conjunction
from explorer.errors import InputError
from explorer.keeping import pack, unpack
from explorer.knowledge import read_gene_sets
from explorer.load import load_dataset, load_screen
from explorer.repeatability import UNKNOWN, Repeatability
from explorer.significance import benjamini_hochberg

N, SIZE, SHARED = 240, 8, 10
MODULES = 20


def modules_in(context):
    """Module of each perturbation: the first ten are the same everywhere, the other members are dealt anew in each."""
    members = np.repeat(np.arange(MODULES), SIZE)
    moved = np.random.default_rng(100 + context).permutation(members[SHARED * SIZE :])
    return np.r_[members[: SHARED * SIZE], moved, -1 - np.arange(N - MODULES * SIZE)]


def context_side(context, *, label="", noise=0.5, seed=0, halved=True, **given):
    """Context with planted modules; its features and their directions are its own."""
    rng = np.random.default_rng([seed, context])
    n_features = 40 + 5 * context
    module = modules_in(context)
    centres = rng.normal(size=(MODULES, n_features))
    truth = np.where((module >= 0)[:, None], centres[np.maximum(module, 0)], rng.normal(size=(N, n_features)))
    measured = [truth + noise * rng.normal(size=truth.shape) for _ in range(2)]
    return ContextSide(
        label or f"context {context}",
        map_of(sum(measured) / 2),
        halves=(map_of(measured[0]), map_of(measured[1])) if halved else None,
        **given,
    )


@pytest.fixture(scope="module")
def sides():
    return tuple(context_side(context) for context in range(3))


@pytest.fixture(scope="module")
def report(sides):
    known = [
        pairs_known(names_of(N), [(0, 1), (2, 3)], "one"),
        pairs_known(names_of(N), [(0, 1), (200, 201)], "two"),
    ]
    return compare_contexts(sides[0], sides[1:], known=known, k=7)


def label_of(report, context):
    return report.labels.filter(pl.col("context") == context)["label"].to_numpy()


def together(report, *contexts):
    """Whether the partners of each edge are in one module in all of some contexts."""
    place = {name: row for row, name in enumerate(names_of(N))}
    rows = np.array([[place[name] for name in pair] for pair in report.edges.select("first", "second").iter_rows()])
    modules = [modules_in(context) for context in contexts]
    return np.all([module[rows[:, 0]] == module[rows[:, 1]] for module in modules], axis=0)


def check_invariants(report):
    """Tables that contradict neither each other nor the tests."""
    edges, labels = report.edges, report.labels
    assert (edges["first"] < edges["second"]).all()
    assert edges.select("first", "second").is_duplicated().sum() == 0
    assert labels["context"].to_list() == [label for label in report.others for _ in range(edges.height)]
    assert labels["edge"].to_list() == list(range(edges.height)) * len(report.others)
    assert set(labels["label"].unique()) <= {HOLDS, NOT_SEEN, SILENT, UNJUDGED}
    assert (labels["absent"] == (labels["label"] == NOT_SEEN)).all()
    for context in report.others:
        here, test = labels.filter(pl.col("context") == context), report.tests[context]
        assert ((here["label"] == HOLDS).to_numpy() == test.holds).all()
        for name in ("mutual_rank", "p", "q"):
            np.testing.assert_array_equal(here[name].to_numpy(), getattr(test, name))
        absent = report.absent[context]
        assert int(here["absent"].sum()) == (0 if absent.reason else absent.n_edges)
        assert edges["first"].to_list() == [report.names[row] for row in test.first.tolist()]
        assert edges["second"].to_list() == [report.names[row] for row in test.second.tolist()]
    assert list(report.names) == sorted(report.names)
    assert report.discovery not in report.others


def test_tables_agree_with_each_other(report):
    check_invariants(report)
    assert report.edges.columns == [
        "first", "second", "similarity", "reciprocal", "known", "p_general", "q_general", "holds_general",
    ]  # fmt: skip
    assert report.labels.columns == ["context", "edge", "mutual_rank", "p", "q", "label", "absent"]
    assert report.k == 7


def test_what_is_alike_everywhere_holds_and_what_is_not_does_not(report):
    for context in (1, 2):
        holds = label_of(report, f"context {context}") == HOLDS
        true = together(report, 0, context)
        assert holds[true].mean() > 0.9
        assert true[holds].mean() > 0.84  # nominal .9


def test_what_holds_generally_is_a_partial_conjunction_over_the_others(report, sides):
    assert report.at_least == 2
    p = np.column_stack([report.tests[context].p for context in report.others])
    np.testing.assert_array_equal(report.edges["p_general"].to_numpy(), partial_conjunction(p, at_least=2))
    np.testing.assert_array_equal(
        report.edges["q_general"].to_numpy(), benjamini_hochberg(report.edges["p_general"].to_numpy())
    )
    both = compare_contexts(sides[0], sides[1:], k=7, at_least=2)
    holds = both.edges["holds_general"].to_numpy()
    true = together(both, 0, 1, 2)
    assert holds[true].mean() > 0.85
    assert true[holds].mean() > 0.85
    assert (both.edges["q_general"].to_numpy()[holds] <= 0.1).all()
    # The context where an edge was found is not counted: the edge is in its own graph, and holds nowhere else.
    own_only = together(both, 0) & ~together(both, 1) & ~together(both, 2)
    assert own_only.sum() > 200
    assert holds[own_only].mean() < 0.05


def test_with_one_other_context_there_is_nothing_to_combine(sides):
    report = compare_contexts(sides[0], sides[1:2], k=7)
    check_invariants(report)
    assert report.at_least == 1
    for name in ("p_general", "q_general", "holds_general"):
        assert report.edges[name].null_count() == report.edges.height


@pytest.mark.parametrize(("n_others", "at_least"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_more_than_half_of_the_others_must_show_an_edge_unless_asked_otherwise(n_others, at_least):
    sides = [ContextSide(f"c{number}", random_map(70, 8, seed=number)) for number in range(n_others + 1)]
    assert compare_contexts(sides[0], sides[1:], k=3).at_least == at_least


def test_a_set_of_missing_edges_is_named_where_the_other_context_repeats_its_own(report):
    for context in ("context 1", "context 2"):
        absent, rest = report.absent[context], report.repeatability[context]
        assert absent.reason == ""
        assert rest.null_share <= 0.8
        missing = label_of(report, context) == NOT_SEEN
        assert absent.n_edges == missing.sum() > 100
        assert absent.expected_wrong <= 0.25 * absent.n_edges
        # Wrong is what is alike there after all, or was never alike here.
        wrong = missing & (together(report, 0, int(context[-1])) | ~together(report, 0))
        assert wrong.sum() <= absent.expected_wrong
        p = report.tests[context].p[missing]
        assert p.min() > rest.threshold(0.95)
        assert rest.power(p.min()) >= 0.95


def test_missing_edges_are_reciprocal_and_confirmed_in_both_halves(report):
    own = report.own_repeatability.tests
    sure = own.is_reciprocal & (own.q <= 0.05)
    confirmed = {(own.names[i], own.names[j]) for i, j in zip(own.first[sure], own.second[sure], strict=True)}
    missing = report.labels.filter("absent")["edge"].unique().to_list()
    assert {report.edges.row(edge)[:2] for edge in missing} <= confirmed


def test_the_expected_number_of_wrong_ones_counts_both_kinds(report):
    own, test = report.own_repeatability.tests, report.tests["context 1"]
    sure = own.is_reciprocal & (own.q <= 0.05)
    n = len(test.names)
    enters = np.isin(test.first * n + test.second, own.first[sure] * n + own.second[sure])
    n_confirmed, n_missing = enters.sum(), report.absent["context 1"].n_edges
    assert report.absent["context 1"].expected_wrong == pytest.approx(
        0.05 * n_confirmed + (n_confirmed - n_missing) / 19
    )


@pytest.mark.parametrize(
    ("changes", "own_changes", "said"),
    [
        ({"halves": None}, {}, "context 1's own repeatability is unknown; a missing neighbour says nothing"),
        ({}, {"halves": None}, "no edge of context 0 can be confirmed"),
        ({"activity_note": "no controls"}, {}, "nobody knows who is active in context 1: no controls"),
        ({"inactive": frozenset(names_of(N))}, {}, "context 0 confirms none of its own edges"),
    ],
)
def test_nothing_is_called_missing_where_it_can_not_be_known(sides, changes, own_changes, said):
    report = compare_contexts(replace(sides[0], **own_changes), [replace(sides[1], **changes)], k=7)
    check_invariants(report)
    assert report.absent["context 1"].reason.startswith(said)
    assert not report.labels["absent"].any()
    assert NOT_SEEN not in report.labels["label"].to_list()


def test_nothing_is_missing_in_a_context_that_repeats_nothing(sides):
    noise = ContextSide("noise", random_map(N, 30, seed=1), (random_map(N, 30, seed=2), random_map(N, 30, seed=3)))
    report = compare_contexts(sides[0], [noise], k=7)
    assert "noise repeats too few of its own edges" in report.absent["noise"].reason
    assert set(label_of(report, "noise")) == {UNJUDGED}
    # Nor where all that is confirmed is there.
    again = compare_contexts(sides[0], [replace(context_side(0, seed=5), label="again")], k=7)
    assert again.absent["again"].reason
    assert not again.labels["absent"].any()


def test_few_missing_edges_among_many_are_not_named(sides):
    # Of twenty modules one is apart: most of what seems to be missing would be wrong.
    module = modules_in(0)
    rng = np.random.default_rng(1)
    centres, alone = rng.normal(size=(MODULES, 40)), rng.normal(size=(N, 40))
    truth = np.where(((module >= 0) & (module != 3))[:, None], centres[np.maximum(module, 0)], alone)
    halves = tuple(map_of(truth + 0.5 * rng.normal(size=truth.shape)) for _ in range(2))
    there = ContextSide("there", map_of((halves[0].profiles + halves[1].profiles) / 2), halves)
    absent = compare_contexts(sides[0], [there], k=7).absent["there"]
    assert "are expected to be wrong, more than 25 %" in absent.reason
    assert absent.expected_wrong > 0.25 * absent.n_edges > 0


def test_where_a_partner_is_inactive_an_edge_is_silent_unless_it_holds(sides):
    inactive = frozenset(names_of(N)[:20]) | {"elsewhere"}
    report = compare_contexts(sides[0], [replace(sides[1], inactive=inactive)], k=7)
    check_invariants(report)
    touches = (report.edges["first"].is_in(inactive) | report.edges["second"].is_in(inactive)).to_numpy()
    label = label_of(report, "context 1")
    holds = report.tests["context 1"].holds
    assert set(label[touches & ~holds]) == {SILENT}
    assert SILENT not in label[~touches]
    assert (touches & holds).any()
    assert any("have a partner that is not called active there" in note for note in report.notes)


def test_neighbours_of_a_query_are_its_edges_the_nearest_first(report):
    found = report.neighbors_of("P0003")
    assert found.columns == ["rank", "perturbation", "similarity", "known", "context 1", "context 2"]
    own = report.edges.with_row_index().filter((pl.col("first") == "P0003") | (pl.col("second") == "P0003"))
    assert found.height == own.height >= 7
    assert found["rank"].to_list() == list(range(1, found.height + 1))
    assert found["similarity"].is_sorted(descending=True)
    for rank, name, similarity, known, *labels in found.iter_rows():
        line = own.filter((pl.col("first") == name) | (pl.col("second") == name)).row(0, named=True)
        assert (line["similarity"], line["known"]) == (similarity, known)
        assert labels == [label_of(report, context)[line["index"]] for context in report.others]
        # Up to k they are its own; beyond, it is theirs alone.
        assert rank <= 7 or not line["reciprocal"]
    assert found.filter(pl.col("perturbation") == "P0002")["known"].to_list() == ["one"]
    assert report.neighbors_of("P0001").filter(pl.col("perturbation") == "P0000")["known"].to_list() == ["one, two"]


def test_an_unknown_query_is_answered_with_the_nearest_names(report):
    with pytest.raises(InputError, match="unknown perturbation 'p0012x': did you mean 'P0012'"):
        report.neighbors_of("p0012x")


def test_only_perturbations_of_all_contexts_count_and_maps_are_centred_over_them(sides):
    names = names_of(N)
    one = replace(sides[1], perturbation_map=sides[1].perturbation_map.restricted_to(names[10:]))
    two = replace(sides[2], perturbation_map=sides[2].perturbation_map.restricted_to(names[:200]))
    report = compare_contexts(sides[0], [one, two], k=7)
    check_invariants(report)
    assert report.names == names[10:200]
    assert "50 perturbations of context 0 left out: not in all contexts compared" in report.notes
    smaller = [
        replace(
            side,
            perturbation_map=side.perturbation_map.restricted_to(report.names),
            halves=tuple(half.restricted_to(report.names) for half in side.halves),
        )
        for side in sides
    ]
    again = compare_contexts(smaller[0], smaller[1:], k=7)
    assert again.edges.equals(report.edges)
    assert again.labels.equals(report.labels)


def test_a_shift_of_all_profiles_changes_nothing(sides):
    moved = map_of(sides[1].perturbation_map.profiles + 0.25)
    report = compare_contexts(sides[0], [replace(sides[1], perturbation_map=moved)], k=7)
    assert (
        label_of(report, "context 1").tolist()
        == label_of(compare_contexts(sides[0], sides[1:2], k=7), "context 1").tolist()
    )


def test_a_context_of_other_perturbations_by_spelling_is_not_matched_silently(sides):
    names = [name.lower() if row < 5 else name for row, name in enumerate(names_of(N))]
    other = replace(sides[1], perturbation_map=map_of(sides[1].perturbation_map.profiles, names), halves=None)
    report = compare_contexts(sides[0], [other], k=7)
    assert len(report.names) == N - 5
    assert any("differ from context 1 in spelling alone and were not matched" in note for note in report.notes)
    every = replace(other, perturbation_map=map_of(sides[1].perturbation_map.profiles, [n.lower() for n in names]))
    with pytest.raises(
        InputError, match="share no perturbation, expected 3 or more: the nearest are 'P0000' and 'p0000'"
    ):
        compare_contexts(sides[0], [every])


def test_layouts_that_are_not_declared_are_said_and_one_declared_is_matched(sides):
    note = "layout not declared: shared plate positions would look like replication"
    layout = np.arange(N) % 4
    bare = compare_contexts(sides[0], sides[1:], k=7)
    assert note in bare.notes
    here = compare_contexts(replace(sides[0], layout=layout), sides[1:], k=7)
    there = compare_contexts(sides[0], [replace(side, layout=layout) for side in sides[1:]], k=7)
    for matched in (here, there):
        assert not [text for text in matched.notes if "layout" in text]
        classes = [set(found.tests["context 1"].decoy_class.tolist()) for found in (matched, bare)]
        assert len(classes[0]) > len(classes[1])
    np.testing.assert_array_equal(here.tests["context 1"].p, there.tests["context 1"].p)
    one = compare_contexts(sides[0], [sides[1], replace(sides[2], layout=layout)], k=7)
    assert f"{note} (declared in 'context 2' alone)" in one.notes
    with pytest.raises(InputError, match="context 0 has 3 layout units for 240 perturbations"):
        compare_contexts(replace(sides[0], layout=layout[:3]), sides[1:], k=7)


def test_an_axis_that_draws_all_together_is_said(sides):
    load = np.random.default_rng(0).normal(size=N)
    profiles = sides[0].perturbation_map.profiles + 3 * load[:, None] * np.random.default_rng(1).normal(size=40)
    report = compare_contexts(replace(sides[0], perturbation_map=map_of(profiles)), sides[1:2], k=7)
    assert any("most perturbations are within two steps of one another" in note for note in report.notes)


def test_perturbations_without_a_profile_can_not_be_judged(sides):
    profiles = sides[1].perturbation_map.profiles.copy()
    profiles[:10] = profiles[10:].mean(axis=0)  # the mean of all, once these are in it
    report = compare_contexts(sides[0], [replace(sides[1], perturbation_map=map_of(profiles))], k=7)
    check_invariants(report)
    touches = (report.edges["first"] < "P0010").to_numpy() | (report.edges["second"] < "P0010").to_numpy()
    assert set(label_of(report, "context 1")[touches]) == {UNJUDGED}
    assert np.isnan(report.tests["context 1"].p[touches]).all()
    assert any("a partner's profile is zero there" in note for note in report.notes)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), k=st.integers(1, 10), n_others=st.integers(1, 3), halved=st.booleans())
def test_reports_of_any_maps_agree_with_themselves(seed, k, n_others, halved):
    rng = np.random.default_rng(seed)
    names = names_of(75)

    def some_map(number):
        keep = np.sort(rng.permutation(75)[: 74 - (number > 0)])
        profiles = np.where(rng.random(75) < 0.05, 0, 1)[:, None] * rng.integers(-2, 3, size=(75, 6))
        return map_of(profiles[keep], [names[row] for row in keep])

    sides = [
        ContextSide(
            f"c{number}",
            some_map(number),
            halves=(some_map(number), some_map(number)) if halved else None,
            inactive=frozenset(rng.choice(names, size=5)),
        )
        for number in range(n_others + 1)
    ]
    report = compare_contexts(sides[0], sides[1:], k=k, seed=seed)
    check_invariants(report)
    again = compare_contexts(sides[0], sides[1:], k=k, seed=seed)
    assert again.labels.equals(report.labels)
    for query in report.names[::20]:
        assert report.neighbors_of(query).width == 4 + n_others


def test_progress_is_told(sides):
    told = []
    compare_contexts(sides[0], sides[1:], k=7, progress=lambda what, share: told.append((what, share)))
    assert [share for _, share in told] == sorted(share for _, share in told)
    assert told[0] == ("testing edges in context 1", 0)
    assert told[-1] == ("done", 1)


def test_without_replicates_the_note_is_that_of_the_definition(sides):
    report = compare_contexts(sides[0], [replace(sides[1], halves=None)], k=7)
    assert report.repeatability["context 1"].note == UNKNOWN
    few = tuple(half.restricted_to(names_of(30)) for half in sides[1].halves)
    report = compare_contexts(sides[0], [replace(sides[1], halves=few)], k=7)
    assert "only 30 perturbations of those compared in both halves" in report.repeatability["context 1"].note


def test_one_context_alone_is_refused(sides):
    with pytest.raises(InputError, match="'context 0' alone says nothing of what holds elsewhere: give at least one"):
        compare_contexts(sides[0], [])


def test_contexts_called_alike_are_refused(sides):
    with pytest.raises(InputError, match="contexts are called alike: 'context 0'"):
        compare_contexts(sides[0], [sides[0]])
    with pytest.raises(InputError, match="contexts are called alike: 'context 1'"):
        compare_contexts(sides[0], [sides[1], sides[1]])
    with pytest.raises(InputError, match="a context can't be called 'known'"):
        compare_contexts(sides[0], [replace(sides[1], label="known")])


def test_contexts_of_too_few_perturbations_are_refused_with_the_number_needed(sides):
    small = ContextSide("small", random_map(10, 5, seed=0))
    with pytest.raises(
        InputError, match=r"10 perturbations in both contexts \(context 0 240, small 10\) .* at least 60"
    ):
        compare_contexts(sides[0], [small])
    with pytest.raises(InputError, match=r"10 perturbations in all contexts .* share more, or fewer of them"):
        compare_contexts(sides[0], [sides[1], small])
    with pytest.raises(InputError, match=r"too few for 41 neighbours, expected at least 246 .* at most 40 neighbours"):
        compare_contexts(sides[0], sides[1:], k=41)
    with pytest.raises(InputError, match="k = 0 neighbours"):
        compare_contexts(sides[0], sides[1:], k=0)


@pytest.mark.parametrize("at_least", [0, 3, True, "2"])
def test_more_contexts_than_there_are_can_not_be_asked_for(sides, at_least):
    with pytest.raises(InputError, match="of 2 other contexts: choose at least 1, at most 2"):
        compare_contexts(sides[0], sides[1:], at_least=at_least)


def test_in_the_simulated_screen_modules_hold_and_technique_does_not():
    dataset = load_dataset(DEMO / "perturbseq")
    screens = {context: load_screen(dataset, context) for context in ("line_A", "line_B")}
    truth = read_gene_sets(DEMO / "perturbseq_truth" / "truth.gmt.gz").sets
    holds, kinds = {}, {}
    for name in ("pseudobulk", "technical"):
        here, there = (
            ContextSide(context, build_map(screen, name, alignment="center")) for context, screen in screens.items()
        )
        report = compare_contexts(here, [there])
        check_invariants(report)
        pairs = [set(pair) for pair in report.edges.select("first", "second").rows()]
        # What two have in common, the closest first; a module is part of a super-module.
        kinds[name] = np.array(
            [
                next(
                    (kind for kind in ("module", "super-module", "stress axis") if _share(truth, kind, pair)), "nothing"
                )
                for pair in pairs
            ]
        )
        holds[name] = label_of(report, "line_B") == HOLDS
    assert not holds["technical"].any()
    shares = {kind: holds["pseudobulk"][kinds["pseudobulk"] == kind].mean() for kind in np.unique(kinds["pseudobulk"])}
    assert shares["module"] > 0.85
    assert shares["super-module"] > 0.2
    assert shares["nothing"] < 0.05
    assert shares["stress axis"] < 0.1


def _share(truth, kind, pair):
    return any(name.startswith(kind) and pair <= set(members) for name, members in truth.items())


def test_a_report_that_was_kept_is_the_same(report):
    types = (ContextReport, AbsentSet, EdgeTests, Repeatability)
    again = unpack(pack(report), types=types)
    assert again.edges.equals(report.edges)
    assert again.labels.equals(report.labels)
    assert again.absent == report.absent
    assert again.neighbors_of("P0003").equals(report.neighbors_of("P0003"))
    assert again.repeatability["context 1"].threshold() == report.repeatability["context 1"].threshold()
    np.testing.assert_array_equal(again.tests["context 2"].holds, report.tests["context 2"].holds)


def test_a_note_that_is_the_same_of_several_contexts_is_said_once():
    notes = ["a: none", "all is well", "b: none", "b: own", "a: none"]
    assert said_once(notes, ("a", "b")) == ("a and b: none", "all is well", "b: own")
    assert said_once(notes, ("a", "b", "c")) == ("a and b: none", "all is well", "b: own")
    assert said_once([*notes, "c: none"], ("a", "b", "c"))[0] == "all contexts: none"
    assert said_once(["a: b: none"], ("a", "a: b")) == ("a: b: none",)
    assert said_once((), ("a", "b")) == ()
