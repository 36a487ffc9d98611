"""Neighbours against a full sort and scikit-learn; ties, zero-length profiles, duplicates."""

import numpy as np
import pytest
from builders import cosines, map_of, module_profiles, names_of, random_map
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from explorer import kernels
from explorer import relate as relate_module
from explorer.errors import InputError
from explorer.relate import membership, neighborhood, neighborhoods, prepare_queries, rank_all, score_blocks, unit_rows

# Few values in few dimensions, so that most similarities are tied and some profiles are zero.
LATTICE = st.lists(st.tuples(*[st.integers(-2, 2)] * 3), min_size=3, max_size=25)
SCORES = st.lists(st.sampled_from([-np.inf, -0.5, 0.0, 0.25, 0.2500000001, 1.0]), min_size=2, max_size=12)


def full_sort(profiles, names, query, *, opposite=False):
    """Names of all that have a similarity, nearest first, ties by name; and the similarities."""
    row = names.index(query)
    similarities = np.round(cosines(profiles)[row], 6)
    usable = [i for i in range(len(names)) if i != row and not np.isnan(similarities[i])]
    sign = 1 if opposite else -1
    order = sorted(usable, key=lambda i: (sign * similarities[i], names[i]))
    return [names[i] for i in order], [similarities[i] for i in order]


@pytest.mark.parametrize("opposite", [False, True])
@settings(max_examples=30, deadline=None)
@given(profiles=LATTICE, data=st.data())
def test_the_first_k_are_those_of_a_full_sort(opposite, profiles, data):
    made = map_of(profiles)
    k = data.draw(st.integers(1, len(profiles) - 1))
    many = neighborhoods(made, k=k, opposite=opposite)
    assert many.k == k
    for row, query in enumerate(made.names):
        found = many.rows[row][many.rows[row] >= 0]
        if made.norms[row] == 0:
            assert len(found) == 0
            continue
        names, similarities = full_sort(profiles, list(made.names), query, opposite=opposite)
        one = neighborhood(made, query, k=k, opposite=opposite)
        assert list(one.names) == names[:k] == [made.names[other] for other in found]
        np.testing.assert_allclose(one.similarities, similarities[:k], atol=1e-6)
        np.testing.assert_allclose(many.similarities[row][: len(found)], similarities[:k], atol=1e-6)
        assert [made.names[other] for other in one.rows] == names[:k]
        assert one.opposite is opposite


@pytest.mark.parametrize("block_bytes", [1, 8 * 300 * 7, 2**26])
@pytest.mark.parametrize("k", [1, 10, 299])
def test_neighbours_are_those_of_sklearn(k, block_bytes, monkeypatch):
    monkeypatch.setattr(relate_module, "_BLOCK_BYTES", block_bytes)
    made = random_map(300, 20, seed=0)
    profiles = made.profiles.astype(float)
    distances, rows = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(profiles).kneighbors()
    found = neighborhoods(made, k=k)
    np.testing.assert_allclose(found.similarities, 1 - distances, atol=1e-6)
    # Neighbours closer than the rounding may stand in either order: as sets they agree but for a tied last place.
    assert np.mean([len(set(one) & set(other)) for one, other in zip(rows, found.rows, strict=True)]) > k - 0.01
    np.testing.assert_array_equal(found.rows[5], neighborhood(made, made.names[5], k=k).rows)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_order_of_features_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    profiles = rng.normal(size=(40, 12)).astype(np.float32)
    one, other = (neighborhoods(map_of(given), k=5) for given in (profiles, profiles[:, rng.permutation(12)]))
    np.testing.assert_array_equal(one.rows, other.rows)
    np.testing.assert_allclose(one.similarities, other.similarities, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), power=st.sampled_from([-90, -3, 0, 5, 60]))
def test_effect_size_does_not_matter(seed, power):
    rng = np.random.default_rng(seed)
    profiles = rng.normal(size=(30, 8)).astype(np.float32)
    scaled = profiles * 2.0 ** (rng.integers(0, 3, size=(30, 1)) + power)
    one, other = (neighborhoods(map_of(given), k=4) for given in (profiles, scaled))
    np.testing.assert_array_equal(one.rows, other.rows)
    query = names_of(30)[3]
    assert neighborhood(map_of(profiles), query, k=4).names == neighborhood(map_of(scaled), query, k=4).names


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_order_of_perturbations_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    profiles, order = rng.integers(-2, 3, size=(25, 3)), rng.permutation(25)
    names = np.array(names_of(25))
    one, other = map_of(profiles, names), map_of(profiles[order], names[order])
    np.testing.assert_array_equal(neighborhoods(one, k=4).rows, neighborhoods(other, k=4).rows)


@pytest.mark.parametrize("opposite", [False, True])
def test_some_queries_are_answered_as_all_are(opposite):
    made = random_map(50, 6, seed=1)
    asked = np.array([40, 3, 3, 11])
    some, every = (neighborhoods(made, k=7, opposite=opposite, queries=queries) for queries in (asked, None))
    np.testing.assert_array_equal(some.queries, asked)
    np.testing.assert_array_equal(some.rows, every.rows[asked])
    np.testing.assert_array_equal(some.similarities, every.similarities[asked])


def test_opposites_are_the_neighbours_of_the_negative():
    made = random_map(40, 5, seed=2)
    negated = made.profiles.copy()
    negated[7] *= -1
    found = neighborhood(made, "P0007", k=6, opposite=True)
    mirrored = neighborhood(map_of(negated), "P0007", k=6)
    assert found.names == mirrored.names
    np.testing.assert_allclose(found.similarities, -mirrored.similarities)
    assert (np.diff(found.similarities) >= 0).all()
    assert found.similarities[0] < -0.5


def test_planted_modules_are_found():
    profiles, module = module_profiles(seed=3)
    found = neighborhoods(map_of(profiles), k=4)
    members = module[found.rows[module >= 0]] == module[module >= 0][:, None]
    assert members.mean() > 0.99
    shuffled = profiles[np.random.default_rng(0).permutation(len(profiles))]
    found = neighborhoods(map_of(shuffled), k=4)
    members = module[found.rows[module >= 0]] == module[module >= 0][:, None]
    # 4 others of 59 are of the same module; 120 draws.
    assert abs(members.mean() - 4 / 59) < 4 * np.sqrt(4 / 59 * 55 / 59 / 120)


# Ties


def test_a_constant_map_has_only_ties():
    made = map_of(np.tile(np.random.default_rng(4).normal(size=20), (15, 1)))
    found = neighborhood(made, "P0002", k=4)
    assert found.names == ("P0000", "P0001", "P0003", "P0004")
    np.testing.assert_array_equal(found.similarities, 1)
    many = neighborhoods(made, k=4)
    assert sorted(many.ties) == list(range(15))
    for line, (rows, probabilities) in many.ties.items():
        assert sorted(rows) == [row for row in range(15) if row != line]
        np.testing.assert_allclose(probabilities, 4 / 14)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 59))
def test_equal_profiles_tie_wherever_they_stand(seed, k):
    # In float32, products of equal profiles differ by enough to fall on either side of a rounding boundary.
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, 60)
    made = map_of(rng.normal(size=(2, 50))[kind])
    ranking = rank_all(made, "P0000")
    for value in (0, 1):
        similarities = ranking.similarities[1:][kind[1:] == value]
        assert len(np.unique(similarities)) <= 1
    many = neighborhoods(made, k=k)
    for line in range(60):
        own = int((kind == kind[line]).sum()) - 1
        straddled = k < own or own < k < 59
        assert (line in many.ties) is straddled
        if straddled:
            rows, probabilities = many.ties[line]
            expected = np.where(kind[rows] == kind[line], min(1, k / own if own else 1), (k - own) / max(1, 59 - own))
            np.testing.assert_allclose(probabilities, expected)
            assert len(rows) == (own if k < own else 59)


def test_duplicates_of_the_query_come_first_and_by_name():
    profiles = np.random.default_rng(5).normal(size=(30, 4))
    profiles[[4, 9, 21]] = profiles[12]
    found = neighborhood(map_of(profiles), "P0012", k=5)
    assert found.names[:3] == ("P0004", "P0009", "P0021")
    np.testing.assert_array_equal(found.similarities[:3], 1)
    assert "P0012" not in found.names


@settings(max_examples=60, deadline=None)
@given(scores=SCORES, data=st.data())
def test_membership_is_what_random_tie_breaking_gives(scores, data):
    scores = np.array(scores)
    k = data.draw(st.integers(1, len(scores)))
    rows, probabilities = membership(scores, k)
    finite = int(np.isfinite(scores).sum())
    assert probabilities.sum() == pytest.approx(min(k, finite))
    assert ((probabilities > 0) & (probabilities <= 1)).all()
    assert np.isfinite(scores[rows]).all()
    rng, drawn = np.random.default_rng(0), np.zeros(len(scores))
    for _ in range(400):
        order = np.lexsort((rng.random(len(scores)), -np.round(scores, 6)))[:k]
        drawn[order[np.isfinite(scores[order])]] += 1 / 400
    expected = np.zeros(len(scores))
    expected[rows] = probabilities
    np.testing.assert_allclose(drawn, expected, atol=0.15)


def test_ties_beyond_the_padding_are_seen():
    # Twenty partners share the k-th place, more than the candidates looked at first.
    profiles = np.vstack([[[1, 0]], np.tile([[1, 0.5]], (2, 1)), np.tile([[1, 1]], (20, 1)), [[0, 1]]])
    found = neighborhoods(map_of(profiles), k=5)
    assert found.rows[0].tolist() == [1, 2, 3, 4, 5]
    rows, probabilities = found.ties[0]
    assert dict(zip(rows.tolist(), probabilities.tolist(), strict=True)) == pytest.approx(
        {1: 1.0, 2: 1.0} | dict.fromkeys(range(3, 23), 3 / 20)
    )


# Profiles of length zero


def test_zero_length_profiles_have_no_neighbours_and_are_nobodys():
    profiles = np.random.default_rng(6).normal(size=(12, 3))
    profiles[[2, 5, 6, 7, 8, 9, 10]] = 0
    made = map_of(profiles)
    for opposite in (False, True):
        many = neighborhoods(made, k=7, opposite=opposite)
        assert (many.rows[2] == -1).all()
        assert np.isnan(many.similarities[2]).all()
        assert (many.rows[0] >= 0).sum() == 4
        assert not set(np.unique(many.rows)) & {2, 5, 6, 7, 8, 9, 10}
        assert not many.ties
        one = neighborhood(made, "P0000", k=7, opposite=opposite)
        assert set(one.names) == {"P0001", "P0003", "P0004", "P0011"}
    with pytest.raises(InputError, match="the profile of 'P0002' is zero in 'raw': it has no neighbours"):
        neighborhood(made, "P0002", k=3)
    ranking = rank_all(made, "P0000")
    assert np.isnan(ranking.similarities[[0, 2, 5]]).all()
    assert np.isnan(ranking.ranks_of([0, 2])).all()


def test_a_map_of_zeros_has_no_neighbours():
    many = neighborhoods(map_of(np.zeros((4, 2))), k=2)
    assert (many.rows == -1).all()
    assert not many.ties


# Rankings


@pytest.mark.parametrize("opposite", [False, True])
@settings(max_examples=30, deadline=None)
@given(profiles=LATTICE, most_tied=st.sampled_from([0, 64]))
def test_ranks_are_places_in_the_full_sort(opposite, profiles, most_tied):
    made = map_of([(1, 0, 0), *profiles])
    names, _ = full_sort([(1, 0, 0), *profiles], list(made.names), "P0000", opposite=opposite)
    ranking = rank_all(made, "P0000", opposite=opposite)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relate_module, "_MOST_TIED", most_tied)
        ranks = ranking.ranks_of(ranking.rows_of(names))
        silent = ranking.ranks_of(ranking.rows_of([name for name in made.names if name not in names]))
    assert ranks.tolist() == list(range(1, len(names) + 1))
    assert np.isnan(silent).all()
    assert ranking.nearest(len(made.names) - 1).names == tuple(names)


def test_rows_of_names():
    ranking = rank_all(random_map(5, 3, seed=0), "P0001")
    assert ranking.rows_of(["P0004", "P0000", "elsewhere", "P00", "", "Q"]).tolist() == [4, 0, -1, -1, -1, -1]
    assert ranking.rows_of([]).tolist() == []


@settings(max_examples=20, deadline=None)
@given(profiles=LATTICE)
def test_cosines_stay_between_minus_one_and_one_and_are_symmetric(profiles):
    made = map_of([(1, 2, 2), *profiles])
    rankings = [rank_all(made, name).similarities for row, name in enumerate(made.names) if made.norms[row] > 0]
    usable = np.flatnonzero(made.norms > 0)
    square = np.array(rankings)[:, usable]
    assert np.nanmax(np.abs(square), initial=0) <= 1
    np.testing.assert_allclose(square, square.T, atol=1e-6)
    assert np.isnan(np.diagonal(square)).all()


def test_score_blocks_put_every_query_in_its_place():
    made = map_of(np.vstack([np.random.default_rng(7).normal(size=(9, 4)), np.zeros((1, 4))]))
    asked = np.array([3, 9, 0])
    for sign, opposite in ((1, False), (-1, True)):
        (start, block), *rest = score_blocks(made, asked, opposite=opposite)
        assert (start, rest) == (0, [])
        expected = sign * cosines(made.profiles)[asked]
        expected[[0, 2], [3, 0]] = np.nan
        np.testing.assert_allclose(block, np.where(np.isnan(expected), -np.inf, expected), atol=1e-12)


@pytest.mark.parametrize("opposite", [False, True])
def test_columns_of_score_blocks_do_not_matter(opposite, monkeypatch):
    profiles = np.random.default_rng(9).normal(size=(41, 5))
    profiles[[2, 40]] = 0
    made, asked = map_of(profiles), np.array([40, 3, 7, 2, 11])
    (_, whole), *_ = score_blocks(made, asked, opposite=opposite)
    monkeypatch.setattr(relate_module, "_UNIT_BYTES", 8 * 5 * 6)
    monkeypatch.setattr(relate_module, "_BLOCK_BYTES", 8 * 41 * 2)
    blocks = list(score_blocks(made, asked, opposite=opposite))
    assert [start for start, _ in blocks] == [0, 2, 4]
    np.testing.assert_allclose(np.vstack([block for _, block in blocks]), whole, atol=1e-15)


def test_unit_rows_are_those_of_the_whole(monkeypatch):
    profiles = np.random.default_rng(10).normal(size=(23, 6)).astype(np.float32)
    norms = np.linalg.norm(profiles.astype(np.float64), axis=1)
    norms[4] = np.nan
    monkeypatch.setattr(relate_module, "_QUERY_BYTES", 8 * 6 * 5)
    np.testing.assert_array_equal(unit_rows(profiles, norms), (profiles / norms[:, None]).astype(np.float32))


# Compiled loops against the plain ones


def same_neighborhoods(one, other):
    np.testing.assert_array_equal(one.queries, other.queries)
    np.testing.assert_array_equal(one.rows, other.rows)
    np.testing.assert_array_equal(one.similarities, other.similarities)
    assert set(one.ties) == set(other.ties)
    for line, (rows, probabilities) in one.ties.items():
        np.testing.assert_array_equal(rows, other.ties[line][0])
        np.testing.assert_allclose(probabilities, other.ties[line][1], rtol=1e-12)


def both_ways(made, *, k, opposite=False, queries=None):
    """Neighbourhoods by whole lines, and by candidates wherever these do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relate_module, "COMPILED_SCORES", np.inf)
        plain = neighborhoods(made, k=k, opposite=opposite, queries=queries)
        patch.setattr(relate_module, "COMPILED_SCORES", 0)
        patch.setattr(relate_module, "_LEAST_ROWS_PER_NEIGHBOR", 1)
        asked = np.arange(made.n_perturbations) if queries is None else queries
        found = relate_module._search_candidates(made, asked, k, opposite=opposite)
        answered = np.concatenate([lines for lines, *_ in found])
        return plain, neighborhoods(made, k=k, opposite=opposite, queries=queries), answered


@pytest.mark.parametrize("opposite", [False, True])
@pytest.mark.parametrize(("n", "n_features", "k"), [(70, 3, 1), (1000, 20, 10), (1500, 130, 20), (2049, 7, 30)])
def test_candidates_give_what_whole_lines_give(n, n_features, k, opposite):
    made = random_map(n, n_features, seed=n)
    plain, fast, answered = both_ways(made, k=k, opposite=opposite)
    assert len(answered) == n
    same_neighborhoods(plain, fast)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), opposite=st.booleans(), k=st.integers(1, 8), n_features=st.integers(1, 4))
def test_candidates_give_the_same_ties_zeros_and_fallbacks(seed, opposite, k, n_features):
    # Lattice points in few dimensions: nearly all similarities are tied, often more than there is room for.
    rng = np.random.default_rng(seed)
    made = map_of(rng.integers(-2, 3, size=(rng.integers(k + 2, 400), n_features)))
    queries = rng.integers(0, made.n_perturbations, size=30) if rng.random() < 0.5 else None
    plain, fast, _ = both_ways(made, k=k, opposite=opposite, queries=queries)
    same_neighborhoods(plain, fast)


def test_lines_with_too_many_candidates_are_searched_whole():
    made = map_of(np.vstack([np.tile([[1.0, 2.0, 3.0]], (600, 1)), np.random.default_rng(0).normal(size=(600, 3))]))
    plain, fast, answered = both_ways(made, k=5)
    assert 100 < len(answered) < 700
    assert set(range(600)) <= set(fast.ties)
    same_neighborhoods(plain, fast)


def test_differences_below_float32_are_told_apart():
    # Cosines that differ by one part in 1e7 tie after rounding; those that differ by 3e-6 don't, and float32 scores
    # of 2,000 features can't order them.
    rng = np.random.default_rng(1)
    base, other = rng.normal(size=(2, 2000))
    angles = np.r_[0.0, 0.5 + np.repeat(np.arange(60), 2) * 3e-6, rng.uniform(1, 1.5, 1200)]
    other -= base * (other @ base) / (base @ base)
    unit, across = base / np.linalg.norm(base), other / np.linalg.norm(other)
    made = map_of(100 * (np.cos(angles)[:, None] * unit + np.sin(angles)[:, None] * across))
    plain, fast, answered = both_ways(made, k=25, queries=np.array([0]))
    assert len(answered) == 1
    same_neighborhoods(plain, fast)
    similarities = np.round(cosines(made.profiles[:200])[0], 6)
    expected = sorted(range(1, 200), key=lambda row: (-similarities[row], row))[:25]
    assert fast.rows[0].tolist() == expected


@pytest.mark.parametrize("scores_bytes", [1, 2**20])
def test_blocks_of_candidates_do_not_matter(scores_bytes, monkeypatch):
    made = random_map(300, 12, seed=3)
    _, expected, _ = both_ways(made, k=4)
    monkeypatch.setattr(relate_module, "_SCORES_BYTES", scores_bytes)
    same_neighborhoods(both_ways(made, k=4)[1], expected)


def test_few_queries_of_many_features_are_compiled_for_too(monkeypatch):
    used = []
    candidates = relate_module._search_candidates
    monkeypatch.setattr(relate_module, "_search_candidates", lambda *a, **b: used.append(1) or candidates(*a, **b))
    made, asked = random_map(400, 30, seed=11), np.arange(20)
    plain = neighborhoods(made, k=5, queries=asked)
    assert not used
    monkeypatch.setattr(relate_module, "COMPILED_PRODUCTS", 20 * 400 * 30)
    same_neighborhoods(plain, neighborhoods(made, k=5, queries=asked))
    assert used


def test_large_k_and_small_maps_are_searched_whole(monkeypatch):
    monkeypatch.setattr(kernels, "compiled", lambda: pytest.fail("compiled"))
    neighborhoods(random_map(300, 4, seed=4), k=3)
    monkeypatch.setattr(relate_module, "COMPILED_SCORES", 0)
    neighborhoods(random_map(300, 4, seed=4), k=5)
    monkeypatch.setattr(relate_module, "_LEAST_ROWS_PER_NEIGHBOR", 1)
    neighborhoods(random_map(300, 4, seed=4), k=257)


@pytest.mark.parametrize("opposite", [False, True])
def test_one_query_is_ranked_alike_by_both(opposite, monkeypatch):
    profiles = np.random.default_rng(8).normal(size=(501, 37))
    profiles[[3, 70]] = 0
    profiles[[9, 450]] = profiles[20]
    made = map_of(profiles)
    plain = rank_all(made, "P0020", opposite=opposite)
    kernels.compiled()
    monkeypatch.setattr(relate_module, "COMPILED_QUERY", 0)
    fast = rank_all(made, "P0020", opposite=opposite)
    np.testing.assert_array_equal(plain.similarities, fast.similarities)
    assert np.isnan(fast.similarities[[3, 20, 70]]).all()
    assert fast.similarities[9] == fast.similarities[450] == 1


def test_a_question_never_waits_for_a_compilation(monkeypatch):
    monkeypatch.setattr(relate_module, "COMPILED_QUERY", 0)
    monkeypatch.setattr(kernels, "compiled_already", lambda: None)
    monkeypatch.setattr(kernels, "compiled", lambda: pytest.fail("compiled"))
    assert np.isfinite(rank_all(random_map(9, 4, seed=0), "P0003").similarities).sum() == 8


def test_only_large_maps_are_prepared_for(monkeypatch):
    started = []
    monkeypatch.setattr(kernels, "compile_meanwhile", lambda: started.append(1))
    made = random_map(50, 4, seed=0)
    prepare_queries(made)
    assert not started
    for name, value in (("COMPILED_QUERY", 200), ("COMPILED_SCORES", 2500)):
        with monkeypatch.context() as patch:
            patch.setattr(relate_module, name, value)
            prepare_queries(made)
    assert len(started) == 2


# Input


@pytest.mark.parametrize("k", [0, -1, 5, 6, True, 2.0, None])
def test_impossible_k(k):
    made = random_map(5, 3, seed=0)
    with pytest.raises(InputError, match=f"k = {k} neighbours can't be had from 5 perturbations: choose k from 1 to 4"):
        neighborhood(made, "P0000", k=k)
    with pytest.raises(InputError, match="choose k from 1 to 4"):
        neighborhoods(made, k=k)


def test_all_others_can_be_asked_for():
    assert len(neighborhood(random_map(5, 3, seed=0), "P0000", k=4).names) == 4


def test_unknown_query_names_the_nearest():
    made = map_of(np.eye(4), ["TP53", "MDM2", "MDM4", "ATM"])
    with pytest.raises(InputError, match=r"unknown perturbation 'MDM': did you mean 'MDM[24]' or 'MDM[24]'"):
        neighborhood(made, "MDM", k=2)
    with pytest.raises(InputError, match="unknown perturbation 'tp53': did you mean 'TP53'"):
        rank_all(made, "tp53")
