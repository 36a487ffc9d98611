"""Evidence beside a pair: edges with ties, replicates drawn anew, and gene sets of both neighbourhoods."""

from dataclasses import replace

import numpy as np
import pytest
from builders import CONTROL, CountingSource, Rows, batched_rows, cosines, map_of, module_profiles, names_of, random_map
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer import evidence
from explorer.aggregate import build_map
from explorer.align import METHODS, fit_alignment
from explorer.errors import InputError
from explorer.evidence import edge_chances, edge_support, resampled_support, shared_gene_sets
from explorer.moments import collect_moments
from explorer.relate import membership, neighborhood
from explorer.relationships import GeneSets, enrichment, index_gene_sets
from explorer.screen import Representation, Screen
from explorer.simulate import ScreenDesign, simulate_screen
from explorer.sources import ArraySource, SpreadSource
from explorer.stand_ins import neighbor_graph

HOSTILE = ("a,b", 'say "x"', "<b>bold</b>", "two\nlines", "=cmd()")


def all_pairs(names):
    return [(one, other) for place, one in enumerate(names) for other in names[place + 1 :]]


def chance_naive(profiles, one, other, k):
    """Chance that a pair of rows is an edge, from whole lines of cosines."""
    table = cosines(np.asarray(profiles, dtype=np.float32))
    missing = 1.0
    for query, target in ((one, other), (other, one)):
        scores = np.where(np.isnan(table[query]), -np.inf, table[query])
        scores[query] = -np.inf
        rows, chance = membership(scores, k)
        missing *= 1 - chance[rows == target].sum()
    return 1 - missing


# Edges


@given(
    values=st.lists(st.lists(st.integers(-2, 2), min_size=2, max_size=2), min_size=4, max_size=12),
    k=st.integers(1, 3),
)
@settings(max_examples=150, deadline=None)
def test_chances_of_edges_are_those_of_a_loop_with_ties_or_without(values, k):
    made = map_of(values)
    pairs = all_pairs(made.names)
    found = edge_chances(made, [one for one, _ in pairs], [other for _, other in pairs], k=k)
    for (one, other), chance in zip(pairs, found, strict=True):
        rows = made.position(one), made.position(other)
        if (made.norms[list(rows)] == 0).any():
            assert np.isnan(chance)
        else:
            assert chance == pytest.approx(chance_naive(values, *rows, k), abs=1e-12)


def test_without_ties_the_edges_are_those_of_the_graph():
    made = random_map(60, 8, seed=1)
    pairs = all_pairs(made.names)
    graph = neighbor_graph(made, k=5)
    edges = set(zip(graph.first.tolist(), graph.second.tolist(), strict=True))
    expected = [float((made.position(one), made.position(other)) in edges) for one, other in pairs]
    first, second = [one for one, _ in pairs], [other for _, other in pairs]
    np.testing.assert_array_equal(edge_chances(made, first, second, k=5), expected)
    np.testing.assert_array_equal(edge_chances(made, second, first, k=5), expected)


def test_a_shared_kth_place_is_an_edge_by_chance():
    # B, C and D are equally near to A, and one another's nearest: with k = 2 A has two of them.
    made = map_of([[1, 0], [1, 1], [1, 1], [1, 1], [-1, 0.1]], list("ABCDE"))
    assert edge_chances(made, ["A"], ["B"], k=2)[0] == pytest.approx(2 / 3)
    assert edge_chances(made, ["A"], ["B"], k=3)[0] == 1
    # For B the two others are nearer than A, and E is behind.
    assert edge_chances(made, ["B", "A"], ["C", "E"], k=2).tolist() == [1, 0]


def test_support_is_the_share_of_the_maps_that_have_both():
    one = map_of([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], list("ABCD"))
    other = map_of([[1, 0], [0, 1], [1, 0.1], [0.1, 1]], list("ABCD"))
    less = map_of([[1, 0], [1, 0.1], [0, 1]], list("ABX"))
    zero = map_of([[1, 0], [0, 0], [1, 0.1], [0.1, 1]], list("ABCD"))
    found = edge_support([one, other, less, zero], ["A", "A", "C", "A"], ["B", "C", "D", "nobody"], k=1)
    # A-B: an edge in the first and the third, A-C in the second and the last, C-D in the first and the last.
    np.testing.assert_allclose(found, [2 / 3, 2 / 3, 2 / 3, np.nan])
    assert np.isnan(edge_support([], ["A"], ["B"], k=1)).all()
    assert edge_support([one], [], [], k=1).shape == (0,)


def test_names_may_be_any_text():
    made = map_of(np.eye(6) + 0.1 * np.arange(6), [*HOSTILE, "plain"])
    found = edge_chances(made, HOSTILE[:4], HOSTILE[1:], k=5)
    np.testing.assert_array_equal(found, 1)


@pytest.mark.parametrize("k", [0, 4, True])
def test_more_neighbours_than_there_are_is_one_sentence(k):
    with pytest.raises(InputError, match="neighbours can't be had from 4 perturbations"):
        edge_chances(random_map(4, 3, seed=0), [], [], k=k)


# Replicates


def replicates_of(rows, alignment):
    screen = rows.screen
    source = screen.representation("raw")
    moments = collect_moments(screen, source, medians=True)
    return evidence._replicates(screen, source, moments, fitted=fit_alignment(moments, alignment))


def screen_of(kind, **options):
    """Rows whose replicates are guides, batches, batches of one guide, or rows."""
    rows = batched_rows(guides=kind == "guides", n_rows=9, **options)
    if kind == "one guide":
        return replace(rows, guide=[f"{name} only" for name in rows.perturbations])
    return replace(rows, batch=None) if kind == "rows" else rows


UNITS = {"guides": "guides", "batches": "batches", "one guide": "batches", "rows": "rows"}


@pytest.mark.parametrize("kind", UNITS)
@pytest.mark.parametrize("method", METHODS)
def test_each_replicate_taken_once_is_the_map(kind, method):
    rows = screen_of(kind, seed=3)
    found = replicates_of(rows, method)
    assert found.unit == UNITS[kind]
    expected = build_map(rows.screen, "raw", alignment=method).profiles
    ones = np.ones(len(found.replicate_owner), dtype=np.int64)
    np.testing.assert_allclose(found.profiles(ones), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.profiles(3 * ones), expected, rtol=1e-4, atol=1e-5)


def names_of_replicates(rows, kind):
    """Name of the replicate of every row, sorted as they are drawn."""
    if kind == "guides":
        return rows.guide
    return [f"{number:04}" for number in range(len(rows.values))] if kind == "rows" else rows.batch


def support_naive(rows, pairs, *, kind, k, n_resamples, seed):
    """Draw names, repeat their rows, and average rows to guides to perturbations, in loops; nothing is aligned."""
    replicate = names_of_replicates(rows, kind)
    of_row = [
        (name, own)
        for name, own, control in zip(rows.perturbations, replicate, rows.control, strict=True)
        if not control
    ]
    values = rows.values[~rows.control].astype(np.float64)
    guides = [name for name, _ in of_row] if rows.guide is None else list(np.array(rows.guide)[~rows.control])
    every = sorted(set(of_row))
    names = sorted({name for name, _ in every})
    size = [sum(name == own for own, _ in every) for name, _ in every]
    rng = np.random.default_rng(seed)
    shares = np.zeros(len(pairs))
    for _ in range(n_resamples):
        drawn = rng.integers(0, np.array(size))
        times = dict.fromkeys(every, 0)
        for (name, _), number in zip(every, drawn.tolist(), strict=True):
            times[[one for one in every if one[0] == name][number]] += 1
        profiles = []
        for name in names:
            means, weights = [], []
            for guide in sorted({guide for guide, (own, _) in zip(guides, of_row, strict=True) if own == name}):
                own = [row for row, label in enumerate(of_row) if label[0] == name and guides[row] == guide]
                weight = np.array([times[of_row[row]] for row in own], dtype=float)
                if weight.sum():
                    means.append(weight @ values[own] / weight.sum())
                    # A guide that was drawn twice counts twice among guides; batches are drawn within guides.
                    weights.append(weight[0] if kind == "guides" else 1.0)
            profiles.append(np.average(means, axis=0, weights=weights))
        for place, (one, other) in enumerate(pairs):
            shares[place] += chance_naive(profiles, names.index(one), names.index(other), k)
    single = {name for (name, _), n in zip(every, size, strict=True) if n < 2}
    return np.where([bool(single & set(pair)) for pair in pairs], np.nan, shares / n_resamples)


@pytest.mark.parametrize("kind", UNITS)
def test_support_is_that_of_a_loop(kind):
    rows = screen_of(kind, seed=11, n_controls=4)
    pairs = all_pairs([f"G{number:02d}" for number in range(8)])
    expected = support_naive(rows, pairs, kind=kind, k=2, n_resamples=6, seed=5)
    found = resampled_support(rows.screen, "raw", pairs, k=2, n_resamples=6, seed=5)
    np.testing.assert_allclose(found.share, expected, atol=1e-9)
    assert (found.n_resamples, found.unit, found.reason) == (6, UNITS[kind], "")
    assert np.nanstd(found.share) > 0


def test_support_is_the_chance_of_drawing_what_the_edge_hangs_on():
    # A is near B where its first guide is drawn, at least once in two: 3/4. Else it is near C, which B never is.
    guides = {
        "A-1": (100, 0, 50), "A-2": (0, 1, 0), "B-1": (1, 0, 0.3), "B-2": (1, 0, 0.3), "C-1": (0, 1, 0.01),
        "C-2": (0, 1, 0.01), "D-1": (1, 0, 0.29), "D-2": (1, 0, 0.29), "E-1": (0, 1, 0.02), "E-2": (0, 1, 0.02),
    }  # fmt: skip
    labels = [name[0] for name in guides]
    screen = Rows(labels, np.array(list(guides.values()), dtype=np.float32), guide=list(guides)).screen
    found = resampled_support(screen, "raw", [("A", "B"), ("A", "C"), ("B", "D"), ("D", "E")], k=1, n_resamples=4_000)
    assert found.share[0] == pytest.approx(0.75, abs=0.02)
    # Of D and B each is the other's nearest whatever is drawn.
    assert found.share[2:].tolist() == [1, 0]
    assert found.share[1] == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("kind", UNITS)
def test_as_many_replicates_are_drawn_within_every_perturbation_as_there_are(kind):
    found = replicates_of(screen_of(kind, seed=2), "none")
    rng = np.random.default_rng(0)
    total = np.zeros(len(found.replicate_owner))
    for _ in range(400):
        times = found.draw(rng)
        np.testing.assert_array_equal(np.bincount(found.replicate_owner, weights=times), found.n_replicates)
        total += times
    np.testing.assert_allclose(total / 400, 1, atol=0.25)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["guides", "batches"])
def test_collected_moments_are_drawn_from_without_reading_a_row(kind, method):
    rows = screen_of(kind, seed=7)
    plain = rows.screen
    source = CountingSource(rows.values)
    screen = Screen(
        plain.dataset, plain.context, plain.rows, plain.roles, {"raw": Representation("raw", "simple", source)}
    )
    moments = collect_moments(screen, screen.representation("raw"), medians=True)
    source.reads.clear()
    pairs = all_pairs(["G00", "G01", "G02", "G03"])
    found = resampled_support(screen, "raw", pairs, alignment=method, moments=moments, k=2, n_resamples=5)
    assert source.reads == []
    again = resampled_support(plain, "raw", pairs, alignment=method, k=2, n_resamples=5)
    np.testing.assert_array_equal(found.share, again.share)


def test_the_order_of_rows_and_of_partners_changes_nothing_and_the_seed_does():
    rows = screen_of("guides", seed=4)
    pairs = all_pairs([f"G{number:02d}" for number in range(8)])
    turned = [(other, one) for one, other in pairs]
    mixed = rows.take(np.random.default_rng(0).permutation(len(rows.values)))
    first = resampled_support(rows.screen, "raw", pairs, alignment="center", k=2, n_resamples=20)
    for again in (
        resampled_support(mixed.screen, "raw", pairs, alignment="center", k=2, n_resamples=20),
        resampled_support(rows.screen, "raw", turned, alignment="center", k=2, n_resamples=20),
    ):
        np.testing.assert_array_equal(first.share, again.share)
    another = resampled_support(rows.screen, "raw", pairs, alignment="center", k=2, n_resamples=20, seed=1)
    assert not np.array_equal(first.share, another.share)


def test_rows_that_are_not_finite_are_drawn_nowhere():
    rows = screen_of("rows", seed=6)
    torn = rows.values.copy()
    own = np.flatnonzero(np.array(rows.perturbations) == "G00")
    torn[own[0]] = np.nan
    left = np.delete(np.arange(len(torn)), own[0])
    pairs = [("G00", "G01"), ("G02", "G03")]
    found = resampled_support(replace(rows, values=torn).screen, "raw", pairs, k=2, n_resamples=10)
    expected = resampled_support(replace(rows.take(left), batch=None).screen, "raw", pairs, k=2, n_resamples=10)
    np.testing.assert_array_equal(found.share, expected.share)


def test_a_partner_with_a_single_replicate_has_no_support():
    labels = [name for name in "ABCDEF" for _ in range(3)]
    guide = [f"{name}-{0 if name == 'F' else number}" for name in "ABCDEF" for number in range(3)]
    values = np.random.default_rng(0).normal(size=(18, 4)).astype(np.float32)
    screen = Rows(labels, values, guide=guide).screen
    found = resampled_support(screen, "raw", [("A", "B"), ("A", "F"), ("F", "C"), ("A", "X")], k=2, n_resamples=10)
    assert np.isnan(found.share).tolist() == [False, True, True, True]
    nobody = resampled_support(screen, "raw", [("A", "F")], k=2, n_resamples=10)
    assert np.isnan(nobody.share).all()
    assert resampled_support(screen, "raw", [], k=2).share.shape == (0,)


@pytest.mark.parametrize("guides", [True, False])
def test_without_replicates_there_is_a_reason_and_no_number(guides):
    screen = Rows(list("ABCDE"), np.eye(5, dtype=np.float32), guide=list("vwxyz") if guides else None).screen
    found = resampled_support(screen, "raw", [("A", "B")], k=2)
    assert (np.isnan(found.share).all(), found.n_resamples, found.unit) == (True, 0, "")
    assert found.reason.startswith("there are no replicates to draw anew: most perturbations have a single")
    assert ("guide" in found.reason) == guides


def test_too_many_rows_are_not_drawn(monkeypatch):
    screen = screen_of("rows", seed=0).screen
    monkeypatch.setattr(evidence, "MOST_ROW_BYTES", 8 * 72 * 5 - 1)
    found = resampled_support(screen, "raw", [("G00", "G01")], k=2)
    assert "72 rows × 5 features are too many" in found.reason
    monkeypatch.setattr(evidence, "MOST_ROW_BYTES", 8 * 72 * 5)
    assert resampled_support(screen, "raw", [("G00", "G01")], k=2).reason == ""


def test_copies_of_one_row_are_no_replicates():
    rows = screen_of("guides", seed=0)
    names = sorted(set(rows.perturbations))
    places = np.array([names.index(name) for name in rows.perturbations])
    stored = np.random.default_rng(0).normal(size=(len(names), 3)).astype(np.float32)
    plain = rows.screen
    spread = Representation("spread", "learned", SpreadSource(ArraySource(stored), places))
    screen = Screen(plain.dataset, plain.context, plain.rows, plain.roles, {"spread": spread})
    found = resampled_support(screen, "spread", [("G00", "G01")], k=2)
    assert found.reason == "an embedding with one row a perturbation has no replicates to draw anew"
    assert np.isnan(found.share).all()


def test_what_can_not_be_drawn_is_one_sentence():
    screen = screen_of("guides", seed=0).screen
    for n in (0, -1, True, 2.5):
        with pytest.raises(InputError, match="resamples can't be drawn: choose a whole number of 1 or more"):
            resampled_support(screen, "raw", [], n_resamples=n)
    with pytest.raises(InputError, match="unknown representation 'rwa': did you mean 'raw'"):
        resampled_support(screen, "rwa", [])
    with pytest.raises(InputError, match="unknown alignment 'centre': did you mean 'center'"):
        resampled_support(screen, "raw", [], alignment="centre")
    with pytest.raises(InputError, match="k = 8 neighbours can't be had from 8 perturbations"):
        resampled_support(screen, "raw", [("G00", "G01")], k=8)


def test_progress_counts_up_and_may_end_the_work():
    screen = screen_of("guides", seed=0).screen
    said = []
    resampled_support(
        screen, "raw", [("G00", "G01")], k=2, n_resamples=4, progress=lambda what, share: said.append((what, share))
    )
    assert said == [("drawing guides anew", share) for share in (0, 0.25, 0.5, 0.75)]

    def stop(what, share):
        if share >= 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resampled_support(screen, "raw", [("G00", "G01")], k=2, n_resamples=4, progress=stop)


def test_planted_pairs_have_more_support_than_random_ones():
    made = simulate_screen(ScreenDesign(contexts=("here",), context_modules=0), seed=3)
    screen = made.to_screen()
    true = made.true_pairs
    rng = np.random.default_rng(0)
    related = {*true, *made.related_pairs, *made.stress_pairs}
    others = [pair for pair in all_pairs(made.design.names) if pair not in related]
    random = [others[place] for place in rng.choice(len(others), size=len(true), replace=False)]
    found = resampled_support(screen, "pseudobulk", [*true, *random], alignment="center", n_resamples=30)
    assert found.unit == "guides"
    own, chance = found.share[: len(true)], found.share[len(true) :]
    assert own.mean() > 0.6
    # Of 119 others ten are neighbours, and the relation need hold one way alone.
    assert chance.mean() < 0.25
    # Among pairs that are edges of the whole map, too: luck is drawn less often than biology.
    whole = build_map(screen, "pseudobulk", alignment="center")
    is_edge = edge_chances(whole, *zip(*true, *random, strict=True)) == 1
    assert own[is_edge[: len(true)]].mean() > chance[is_edge[len(true) :]].mean() + 0.1


# Gene sets


def planted_sets():
    """Map of six modules, and sets: the modules, one of them by another source, and one that is no module."""
    profiles, module = module_profiles(n_modules=6, size=6, n_others=40, seed=2)
    names = names_of(len(profiles))
    sets = {f"module {number}": [names[row] for row in np.flatnonzero(module == number)] for number in range(6)}
    sets["mixed, = of all"] = list(names[::9])
    return map_of(profiles, names), [GeneSets("own", sets), GeneSets("other", {"module 0": sets["module 0"]})], module


def sets_naive(made, sets, pair, k):
    """Sets enriched in both neighbourhoods, by whole tables."""
    tables = []
    for query in pair:
        table = enrichment(neighborhood(made, query, k=k).names, made.names, sets, query=query)
        tables.append({(line["gene set"], line["source"]): line for line in table.iter_rows(named=True)})
    found = []
    for name in tables[0].keys() & tables[1].keys():
        one, other = (table[name] for table in tables)
        if max(one["q"], other["q"]) <= 0.05:
            found.append((max(one["q"], other["q"]), f"{name[0]} ({one['overlap']} and {other['overlap']} of {k})"))
    return "; ".join(text for _, text in sorted(found)[:2])


def test_sets_of_both_neighbourhoods_are_named_as_a_loop_does():
    made, sets, module = planted_sets()
    index = index_gene_sets(made.names, sets)
    pairs = all_pairs(made.names[:24])
    found = shared_gene_sets([made], pairs, index, k=5)
    assert list(found) == [sets_naive(made, sets, pair, 5) for pair in pairs]
    within = [module[made.position(one)] == module[made.position(other)] for one, other in pairs]
    # Members of module 1 to 3 share its set; pairs of two modules share none.
    assert all(text.startswith(f"module {module[made.position(pair[0])]} (5 and 5 of 5)") == same
               for text, same, pair in zip(found, within, pairs, strict=True))  # fmt: skip


def test_over_several_maps_the_best_of_each_set_counts():
    made, sets, _ = planted_sets()
    shuffled = map_of(made.profiles[np.random.default_rng(0).permutation(made.n_perturbations)], made.names)
    index = index_gene_sets(made.names, sets)
    pair = [(made.names[7], made.names[8])]
    alone = shared_gene_sets([made], pair, index, k=5)
    assert shared_gene_sets([shuffled], pair, index, k=5) == ("",)
    assert shared_gene_sets([shuffled, made], pair, index, k=5) == alone
    assert shared_gene_sets([made, shuffled], pair, index, k=5) == alone
    assert shared_gene_sets([made], pair, index, k=5, q_below=0) == ("",)


def test_pairs_without_neighbourhoods_share_no_set():
    made, sets, _ = planted_sets()
    index = index_gene_sets(made.names, sets)
    assert shared_gene_sets([made], [("nobody", made.names[0]), (made.names[0], "nobody")], index, k=5) == ("", "")
    assert shared_gene_sets([], [(made.names[0], made.names[1])], index, k=5) == ("",)
    assert shared_gene_sets([made], [], index, k=5) == ()
    nothing = index_gene_sets(made.names, [])
    assert shared_gene_sets([made], [(made.names[0], made.names[1])], nothing, k=5) == ("",)


def test_controls_that_are_kept_are_drawn_like_others():
    rows = replace(screen_of("guides", seed=1), keep_controls=True)
    found = resampled_support(rows.screen, "raw", [(CONTROL, "G00")], k=3, n_resamples=5)
    assert not np.isnan(found.share).any()
