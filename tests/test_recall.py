"""Known-relationship recall against full matrices and the published function; its control; figures of real screens."""

import itertools

import numpy as np
import polars as pl
import pytest
from builders import cosines, map_of, module_profiles, random_map
from test_tails import all_cosines, known_of, published_recall, random_known

from explorer import tails as tails_module
from explorer.errors import InputError
from explorer.known import GIVEN, KnownPairs
from explorer.recall import control_pairs, matched_control, relationship_recall
from explorer.tails import NullThresholds, hits_in_tails, null_thresholds, pair_cosines


@pytest.fixture(params=["numpy", "compiled"])
def path(request, monkeypatch):
    """Either way to count, whatever the size."""
    monkeypatch.setattr(tails_module, "COMPILED_SCORES", 0 if request.param == "compiled" else np.inf)
    return request.param


def known_modules(module, *, name="source"):
    """All pairs within planted modules, which are the groups."""
    groups = {f"module {number}": np.flatnonzero(module == number) for number in range(module.max() + 1)}
    pairs = [pair for members in groups.values() for pair in itertools.combinations(members.tolist(), 2)]
    return known_of(pairs, len(module), groups=groups, name=name)


@pytest.mark.usefixtures("path")
def test_recall_is_that_of_the_published_function():
    profiles, module = module_profiles(n_modules=12, size=4, n_others=60, noise=0.9, seed=2)
    made = map_of(profiles)
    null, similarity = all_cosines(made.profiles), np.round(cosines(made.profiles), 9)
    sources = [known_modules(module), random_known(len(module), 300, seed=3, name="random", n_groups=8)]
    for tails in ((0.05, 0.95), (0.1, 0.9), (0.02, 0.5)):
        for source, found in zip(sources, relationship_recall(made, sources, tails=tails), strict=True):
            query = similarity[source.first, source.second]
            lower, upper = hits_in_tails(null, query, tails=tails)
            assert found.both == pytest.approx(published_recall(null, query, tails), abs=1e-15)
            assert found.lower == pytest.approx(lower.mean())
            assert found.upper == pytest.approx(upper.mean())
            assert found.source == source.name
            assert found.n_pairs == source.n_pairs
            assert found.chance == round(tails[0] + 1 - tails[1], 9)
            shares = []
            for members in source.groups.values():
                own = [
                    hit
                    for one, other, hit in zip(source.first, source.second, lower | upper, strict=True)
                    if one in members and other in members
                ]
                shares += [np.mean(own)] if own else []
            assert found.n_groups == len(shares)
            assert found.macro == pytest.approx(np.mean(shares))


@pytest.mark.usefixtures("path")
def test_a_constant_map_scores_nothing():
    profile = np.random.default_rng(7).normal(size=41)
    made = map_of(np.outer(np.random.default_rng(8).uniform(0.1, 50, size=90), profile))
    (found,) = relationship_recall(made, [random_known(90, 200, seed=1, n_groups=5)])
    assert (found.both, found.upper, found.lower, found.macro) == (0.0, 0.0, 0.0, 0.0)


def test_a_known_pair_lies_where_it_lies_among_all():
    # All pairs are known, so exactly the two tails are hits, whatever way the cosines are summed.
    n = 60
    made, source = random_map(n, 129, seed=9), known_of(itertools.combinations(range(n), 2), n)
    found = relationship_recall(made, [source], tails=(0.05, 0.95))[0]
    assert found.lower == np.floor(0.05 * source.n_pairs) / source.n_pairs
    assert found.upper == np.floor(0.05 * source.n_pairs) / source.n_pairs


def test_a_profile_of_length_zero_is_no_part_of_the_null_and_its_pairs_are_missed():
    profiles, module = module_profiles(n_modules=6, size=5, n_others=60, noise=0.1, seed=3)
    source = known_modules(module)
    whole = relationship_recall(map_of(profiles), [source])[0]
    assert whole.both > 0.95
    profiles[[0, 5, 40]] = 0.0
    made = map_of(profiles)
    assert null_thresholds(made).n_null == 87 * 86 // 2
    assert np.isnan(pair_cosines(made, np.array([0]), np.array([1]))).all()
    found = relationship_recall(made, [source])[0]
    assert found.n_pairs == source.n_pairs == 60
    assert found.n_silent == 8
    assert found.both == pytest.approx(52 / 60)
    assert found.n_groups == 6
    everything = relationship_recall(map_of(np.zeros((90, 3))), [source])[0]
    assert np.isnan([everything.both, everything.upper, everything.lower, everything.macro]).all()
    assert everything.n_silent == 60


def test_random_profiles_score_at_chance_and_true_modules_do_not():
    made, source = random_map(800, 30, seed=11), random_known(800, 4000, seed=12)
    found = relationship_recall(made, [source])[0]
    assert found.both == pytest.approx(found.chance, abs=0.015)
    assert found.upper == pytest.approx(0.05, abs=0.012)
    profiles, module = module_profiles(n_modules=20, size=5, n_others=300, seed=13)
    found = relationship_recall(map_of(profiles), [known_modules(module)])[0]
    assert found.upper == found.macro == 1.0
    assert found.lower == 0.0


def test_length_rotation_sign_and_the_order_of_pairs_change_nothing():
    profiles, module = module_profiles(n_modules=8, size=5, n_others=40, noise=0.8, seed=14)
    source = known_modules(module)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(profiles.shape[1],) * 2))[0]
    lengths = np.random.default_rng(1).uniform(0.5, 2, size=(len(profiles), 1))
    expected = relationship_recall(map_of(profiles), [source])
    for changed in (-profiles, lengths * profiles, profiles @ rotation):
        assert relationship_recall(map_of(changed), [source]) == expected


def test_a_source_without_pairs_has_no_recall():
    made, source = random_map(30, 5, seed=0), known_of([], 30, groups={"group": [0, 1, 2]})
    found = relationship_recall(made, [source])[0]
    assert np.isnan([found.both, found.upper, found.lower, found.macro]).all()
    assert (found.n_pairs, found.n_groups) == (0, 0)
    control = matched_control(made, [known_of([(0, 1)], 30), source])[1]
    assert np.isnan(control.both)
    assert relationship_recall(made, []) == matched_control(made, []) == ()


def test_what_does_not_fit_is_refused():
    made = random_map(40, 5, seed=0)
    with pytest.raises(InputError, match=r"'source' was looked up among 30 other perturbations than the 40 of the map"):
        relationship_recall(made, [known_of([(0, 1)], 30)])
    with pytest.raises(InputError, match=r"'source' was looked up"):
        matched_control(made, [known_of([(0, 1)], 30)])
    for tails in ((0.95, 0.05), (-0.1, 0.9), (0.1, 1.2), (0.1, float("nan")), (0.05,)):
        with pytest.raises(InputError, match=r"give two shares from 0 to 1, the lower one first"):
            null_thresholds(made, tails=tails)
    with pytest.raises(InputError, match=r"the thresholds are those of the tails \(0\.05, 0\.95\), asked for is"):
        relationship_recall(made, [known_of([(0, 1)], 40)], tails=(0.1, 0.9), thresholds=null_thresholds(made))


def test_thresholds_already_found_are_used():
    made, source = random_map(40, 5, seed=0), random_known(40, 50, seed=1, n_groups=5)
    found = relationship_recall(made, [source], thresholds=NullThresholds(-2.0, 2.0, 780))[0]
    assert found.both == 0.0
    assert relationship_recall(made, [source], thresholds=null_thresholds(made)) == relationship_recall(made, [source])


def test_controls_are_like_the_known_pairs_but_not_known():
    n = 600
    rng = np.random.default_rng(15)
    made = map_of(rng.normal(size=(n, 9)) * rng.gamma(2.0, size=(n, 1)))
    one = known_of({tuple(sorted(rng.choice(300, 2, replace=False).tolist())) for _ in range(900)}, n)
    other = random_known(n, 500, seed=16, name="other")
    drawn = control_pairs(made, [one, other], seed=3)
    edges = np.quantile(made.norms, np.arange(1, 10) / 10)
    effect = np.searchsorted(edges, made.norms)
    taken = {pair for source in (one, other) for pair in zip(source.first, source.second, strict=True)}
    for source, found in zip((one, other), drawn, strict=True):
        quarters = np.quantile(source.degree[source.annotated], [0.25, 0.5, 0.75])
        degree = np.searchsorted(quarters, source.degree)
        matched = found.relaxed == 0
        assert matched.mean() > 0.9
        assert (found.first != found.second).all()
        assert np.isin(found.first, source.annotated).all()
        assert np.isin(found.second, source.annotated).all()
        for mine, theirs in ((source.first, found.first), (source.second, found.second)):
            np.testing.assert_array_equal(effect[mine[found.relaxed < 2]], effect[theirs[found.relaxed < 2]])
            np.testing.assert_array_equal(degree[mine[matched]], degree[theirs[matched]])
        pairs = {tuple(sorted(pair)) for pair in zip(found.first.tolist(), found.second.tolist(), strict=True)}
        assert not pairs & taken
        assert len(pairs) > 0.5 * source.n_pairs


def test_controls_depend_on_the_seed_alone():
    made, source = random_map(200, 6, seed=0), random_known(200, 300, seed=1, n_groups=10)
    assert matched_control(made, [source], seed=4) == matched_control(made, [source], seed=4)
    draws = [control_pairs(made, [source], seed=seed)[0].first.tolist() for seed in (4, 5)]
    assert draws[0] != draws[1]


def test_what_is_left_is_drawn_evenly_and_the_match_is_relaxed_degree_first():
    # Equal lengths make one bin of effect sizes. The pairs of 0 to 5 but two are known, and those six stand apart by
    # their number of partners.
    n, free = 40, {(0, 1), (2, 5)}
    dense = [pair for pair in itertools.combinations(range(6), 2) if pair not in free]
    sparse = [(number, number + 1) for number in range(6, 40, 2)]
    rng = np.random.default_rng(0)
    profiles = np.sign(rng.normal(size=(n, 12)))
    made, source = map_of(profiles), known_of([*dense, *sparse], n)
    counts = {pair: 0 for pair in free}
    for seed in range(40):
        found = control_pairs(made, [source], seed=seed)[0]
        assert not found.relaxed.any()
        for pair in zip(found.first[: len(dense)].tolist(), found.second[: len(dense)].tolist(), strict=True):
            counts[tuple(sorted(pair))] += 1
    shares = np.array(list(counts.values())) / sum(counts.values())
    np.testing.assert_allclose(shares, 0.5, atol=0.1)
    # With all of their pairs known, their controls come from the others of the same effect size.
    every = known_of([*itertools.combinations(range(6), 2), *sparse], n)
    relaxed = matched_control(made, [every])[0]
    assert (relaxed.n_degree_relaxed, relaxed.n_effect_relaxed, relaxed.n_unmatched) == (15, 0, 0)
    assert relaxed.n_pairs == every.n_pairs
    # Six of another length have no such others.
    profiles[:6] *= 9
    relaxed = matched_control(map_of(profiles), [every])[0]
    assert (relaxed.n_degree_relaxed, relaxed.n_effect_relaxed, relaxed.n_unmatched) == (0, 15, 0)


def test_where_every_pair_is_known_there_is_no_control():
    made, source = random_map(30, 5, seed=0), known_of(itertools.combinations(range(24), 2), 30)
    found = matched_control(made, [source])[0]
    assert np.isnan([found.both, found.macro]).all()
    assert (found.n_pairs, found.n_unmatched) == (0, 24 * 23 // 2)


def test_profiles_without_length_are_matched_with_their_like():
    profiles = np.random.default_rng(1).normal(size=(60, 5))
    profiles[:12] = 0
    source = known_of([(0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11), *((i, i + 20) for i in range(20, 40))], 60)
    found = matched_control(map_of(profiles), [source])[0]
    assert found.n_silent == 6
    assert found.n_effect_relaxed == 0


def test_one_shared_axis_makes_random_pairs_of_active_genes_pass_for_known_and_the_control_shows_it():
    # As measured: 200 of 1,000 genes share one stress axis and nothing else; .997, and .090 without their mean.
    rng = np.random.default_rng(17)
    n, n_active = 1000, 200
    profiles = rng.normal(size=(n, 50))
    axis = rng.normal(size=50)
    profiles[:n_active] += 1.5 * rng.uniform(0.8, 1.2, size=(n_active, 1)) * axis
    source = random_known(n_active, 400, seed=18)
    source = known_of(zip(source.first.tolist(), source.second.tolist(), strict=True), n)
    made = map_of(profiles)
    found, control = (measure(made, [source])[0] for measure in (relationship_recall, matched_control))
    assert found.both > 0.97
    assert abs(found.both - control.both) < 0.02
    profiles[:n_active] -= profiles[:n_active].mean(axis=0)
    assert relationship_recall(map_of(profiles), [source])[0].both < 0.14
    # True modules of the same strength stand out from their control.
    profiles, module = module_profiles(n_modules=30, size=5, n_others=300, seed=19)
    made, source = map_of(profiles), known_modules(module)
    assert relationship_recall(made, [source])[0].both == 1.0
    assert matched_control(made, [source])[0].both < 0.2


def read_pairs(field, source, names):
    """Pairs of a published file, as rows."""
    place = {name: row for row, name in enumerate(names)}
    table = pl.read_csv(field / "relationships" / f"{source}.txt").drop_nulls()
    listed = zip(table["entity1"].to_list(), table["entity2"].to_list(), strict=True)
    pairs = {
        tuple(sorted((place[one], place[other])))
        for one, other in listed
        if one != other and one in place and other in place
    }
    first, second = np.array(sorted(pairs), dtype=np.intp).T
    return KnownPairs(source, tuple(names), first.copy(), second.copy(), {}, GIVEN, 0)


def recalls(field, made):
    sources = [read_pairs(field, name, made.names) for name in ("CORUM", "HuMAP", "Reactome", "StringDB")]
    return [found.both for found in relationship_recall(made, sources)]


def double_center(values):
    return values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()


def read_depmap(field):
    """Gene effects of both contexts; missing ones are the gene's mean in the context."""
    parts = []
    for context in ("skin", "soft_tissue"):
        table = pl.read_parquet(field / "depmap" / f"{context}_cell_lines_corum_genes.parquet").sort(
            "__index_level_0__"
        )
        values = table.drop("__index_level_0__").to_numpy()
        parts.append(np.where(np.isnan(values), np.nanmean(values, axis=1, keepdims=True), values))
        names = table["__index_level_0__"].to_list()
    return names, np.hstack(parts)


def test_depmap_recall_is_as_measured_and_flips_without_essential_genes(field):
    names, values = read_depmap(field)
    assert values.shape == (3465, 121)
    centered = double_center(values)
    np.testing.assert_allclose(recalls(field, map_of(values, names)), [0.409, 0.469, 0.116, 0.382], atol=0.002)
    np.testing.assert_allclose(recalls(field, map_of(centered, names)), [0.251, 0.271, 0.178, 0.292], atol=0.002)
    kept = values.mean(axis=1) > -0.5
    assert kept.sum() == 2512
    weak = [name for name, keep in zip(names, kept, strict=True) if keep]
    assert recalls(field, map_of(values[kept], weak))[0] == pytest.approx(0.318, abs=0.002)
    assert recalls(field, map_of(centered[kept], weak))[0] == pytest.approx(0.341, abs=0.002)


def test_most_of_the_recall_of_raw_depmap_is_that_of_equally_strong_genes(field):
    names, values = read_depmap(field)
    raw, centered = map_of(values, names), map_of(double_center(values), names)
    sources = [read_pairs(field, "CORUM", names)]
    found, control = (measure(raw, sources)[0].both for measure in (relationship_recall, matched_control))
    assert found - control < 0.06
    found, control = (measure(centered, sources)[0].both for measure in (relationship_recall, matched_control))
    assert found - control > 0.1


def test_published_loadings_recall_as_measured(field):
    pca = pl.read_csv(field / "depmap_published" / "PCA_weight_matrix_gsea.csv")
    learned = pl.read_parquet(field / "depmap_published" / "weight_matrix_gsea.parquet")
    tables = [table.rename({table.columns[0]: "gene"}).sort("gene") for table in (pca, learned)]
    pca, learned = (
        one.join(other.select("gene"), on="gene", how="semi", maintain_order="left")
        for one, other in (tables, tables[::-1])
    )
    names = pca["gene"].to_list()
    assert len(names) == 2718
    assert learned["gene"].to_list() == names
    values = learned.drop("gene").to_numpy()
    found = recalls(field, map_of(pca.drop("gene").to_numpy(), names))
    np.testing.assert_allclose(found, [0.333, 0.403, 0.405, 0.492], atol=0.005)
    found = recalls(field, map_of(values - values.mean(axis=0), names))
    np.testing.assert_allclose(found, [0.270, 0.239, 0.189, 0.308], atol=0.005)
