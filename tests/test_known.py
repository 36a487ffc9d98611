"""What is known, looked up in a map: pairs, groups, communities and the units made of them."""

import numpy as np
import pytest
from builders import names_of
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.errors import InputError
from explorer.known import COMMUNITIES, GIVEN, KnownPairs, communities, known_pairs, pool_units
from explorer.relationships import GeneSets, Relationships

NAMES = names_of(60)


def pairs_of(*groups, names=NAMES):
    """Known pairs of groups given by rows."""
    sets = GeneSets("sets", {f"g{place}": tuple(names[row] for row in rows) for place, rows in enumerate(groups)})
    return known_pairs(sets, names)


def source_of(*groups, n=60, name="source"):
    """Source of groups by rows, without a lookup."""
    rows = {f"g{place}": np.array(sorted(group), dtype=np.intp) for place, group in enumerate(groups)}
    empty = np.empty(0, dtype=np.intp)
    return KnownPairs(name, names_of(n), empty, empty, rows, GIVEN, 0)


def test_both_directions_and_repeats_are_one_pair_and_self_pairs_none():
    chain = [(NAMES[row], NAMES[row + 1]) for row in range(25)]
    doubled = [*chain, *((other, one) for one, other in chain), *chain, (NAMES[0], NAMES[0])]
    one, two = (
        known_pairs(Relationships.from_pairs("s", *zip(*pairs, strict=True)), NAMES) for pairs in (chain, doubled)
    )
    assert one.n_pairs == two.n_pairs == 25
    np.testing.assert_array_equal(one.first, two.first)
    assert (one.first < one.second).all()
    assert one.degree.sum() == 50
    assert one.annotated.tolist() == list(range(26))


def test_sets_become_all_pairs_within_them_each_once():
    found = pairs_of(range(12), range(8, 24))
    naive = {(i, j) for group in (range(12), range(8, 24)) for i in group for j in group if i < j}
    assert set(zip(found.first.tolist(), found.second.tolist(), strict=True)) == naive
    assert found.kind == GIVEN


def test_groups_of_pairs_are_whoever_stands_in_one():
    rows = [(NAMES[i], NAMES[i + 1], "left" if i < 10 else "right") for i in range(24)]
    first, second, group = zip(*rows, strict=True)
    found = known_pairs(Relationships.from_pairs("s", first, second, group=group), NAMES)
    assert {name: rows.tolist() for name, rows in found.groups.items()} == {
        "left": list(range(11)), "right": list(range(10, 25))
    }  # fmt: skip


def test_single_members_and_groups_that_cover_the_map_are_left_out_and_said():
    found = pairs_of([0], range(1, 24), range(60))
    assert list(found.groups) == ["g1"]
    assert found.n_pairs == 23 * 22 // 2
    assert any("1 of 3 groups have fewer than two members" in note for note in found.notes)
    assert any("more than half of the map" in note and "g2" in note for note in found.notes)


def test_unknown_names_are_counted_and_the_nearest_is_shown():
    chain = [(NAMES[row], NAMES[row + 1]) for row in range(25)] + [("P00007", NAMES[3])]
    found = known_pairs(Relationships.from_pairs("s", *zip(*chain, strict=True)), NAMES)
    assert found.n_unknown == 1
    assert any("1 of its 27 names" in note and "P0007" in note for note in found.notes)


def test_too_few_annotated_perturbations_are_an_error_that_shows_the_nearest():
    pairs = [(name.lower(), NAMES[0].lower()) for name in NAMES[1:]]
    expected = r"relates 0 perturbations of the map, expected at least 20: 60 of its 60 .* upper and lower case"
    with pytest.raises(InputError, match=expected):
        known_pairs(Relationships.from_pairs("s", *zip(*pairs, strict=True)), NAMES)


def test_a_source_without_groups_has_the_communities_of_its_graph():
    cliques = [range(5 * g, 5 * g + 5) for g in range(6)]
    pairs = [(NAMES[i], NAMES[j]) for clique in cliques for i in clique for j in clique if i < j]
    pairs.append((NAMES[0], NAMES[5]))
    found = known_pairs(Relationships.from_pairs("s", *zip(*pairs, strict=True)), NAMES)
    assert found.kind == COMMUNITIES
    assert sorted(rows.tolist() for rows in found.groups.values()) == [list(clique) for clique in cliques]
    # The two that are linked lead, since they have a partner more.
    assert "P0000, P0001, P0002 and 2 more" in found.groups
    assert pool_units([found]).kind == COMMUNITIES


def test_large_communities_are_divided_and_whole_cliques_are_not():
    rng = np.random.default_rng(0)
    first, second = np.triu_indices(30, k=1)
    whole = communities(first, second, largest=10)
    assert [len(rows) for rows in whole.values()] == [30]
    blocks = [
        (one, other) for one in range(40) for other in range(one + 1, 40)
        if rng.random() < (0.9 if one // 10 == other // 10 else 0.1)
    ]  # fmt: skip
    divided = communities(*(np.array(part, dtype=np.intp) for part in zip(*blocks, strict=True)), largest=12)
    assert max(len(rows) for rows in divided.values()) <= 12


def test_nearly_equal_groups_are_one_unit():
    alike = pool_units([source_of([0, 1, 2, 3], [0, 1, 2])])
    assert [rows.tolist() for rows in alike.members] == [[0, 1, 2, 3]]
    assert "(with 1 alike)" in alike.names[0]
    apart = pool_units([source_of([0, 1], [1, 2])])
    assert [rows.tolist() for rows in apart.members] == [[0, 1], [1, 2]]


def test_equal_groups_of_two_sources_are_one_unit():
    units = pool_units([source_of([0, 1, 2], [5, 6]), source_of([0, 1, 2], [8, 9], name="other")])
    assert [rows.tolist() for rows in units.members] == [[0, 1, 2], [5, 6], [8, 9]]
    assert units.kind == GIVEN


@settings(max_examples=40, deadline=None)
@given(groups=st.lists(st.sets(st.integers(0, 14), min_size=2, max_size=6), min_size=1, max_size=12))
def test_units_are_linked_groups_pair_by_pair(groups):
    found = pool_units([source_of(*groups, n=15)])
    label = list(range(len(groups)))
    for i, one in enumerate(groups):
        for j, other in enumerate(groups):
            if len(one & other) / len(one | other) >= 0.5 and label[i] != label[j]:
                old = label[j]
                label = [label[i] if own == old else own for own in label]
    naive = {frozenset().union(*(group for group, own in zip(groups, label, strict=True) if own == number))
             for number in set(label)}  # fmt: skip
    assert {frozenset(rows.tolist()) for rows in found.members} == naive
    assert found.n_units == len(set(label))


def test_sources_of_different_maps_are_refused():
    with pytest.raises(InputError, match="different maps"):
        pool_units([source_of([0, 1]), source_of([0, 1], n=50)])


def test_no_group_makes_no_unit():
    assert pool_units([source_of()]).n_units == 0
