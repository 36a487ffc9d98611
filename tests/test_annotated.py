"""What is known and what is annotated apart: against a loop over pairs, with any sources, in blocks and at once."""

import numpy as np
import pytest
from builders import names_of
from hypothesis import given, settings
from hypothesis import strategies as st
from test_stand_ins import pairs_known

from explorer.annotated import annotate
from explorer.known import KnownPairs, known_pairs
from explorer.relationships import Relationships


def grouped(names, groups, source="groups", extra=()):
    """Source with groups of its own: their pairs, and further ones, are known."""
    pairs = {tuple(sorted((i, j))) for rows in groups for i in rows for j in rows if i != j} | set(extra)
    rows = np.array(sorted(pairs), dtype=np.intp).reshape(-1, 2)
    members = {f"group {number}": np.array(sorted(own), dtype=np.intp) for number, own in enumerate(groups)}
    return KnownPairs(source, tuple(names), rows[:, 0].copy(), rows[:, 1].copy(), members, "given", 0)


def naive(known, names, one, other):
    """Whether two names are known, and annotated apart."""
    is_known = is_apart = False
    for source in known:
        place = {name: row for row, name in enumerate(source.names)}
        if one not in place or other not in place:
            continue
        pair = tuple(sorted((place[one], place[other])))
        is_known |= pair in set(zip(source.first.tolist(), source.second.tolist(), strict=True))
        if source.kind == "given":
            own = [{name for name, rows in source.groups.items() if place[side] in rows} for side in (one, other)]
            is_known |= bool(own[0] & own[1])
            is_apart |= bool(own[0]) and bool(own[1]) and not own[0] & own[1]
    return is_known, is_apart and not is_known


def check(known, names):
    found = annotate(known, names)
    n = len(names)
    first, second = np.triu_indices(n, k=1)
    expected = np.array(
        [naive(known, names, names[i], names[j]) for i, j in zip(first.tolist(), second.tolist(), strict=True)]
    ).reshape(-1, 2)
    assert found.known(first, second).tolist() == expected[:, 0].tolist()
    assert found.apart(first, second).tolist() == expected[:, 1].tolist()
    assert found.known(second, first).tolist() == expected[:, 0].tolist()
    assert found.apart(second, first).tolist() == expected[:, 1].tolist()
    assert found.n_known == expected[:, 0].sum()
    square = np.zeros((n, n), dtype=bool)
    square[first, second] = expected[:, 0]
    assert found.degree.tolist() == (square | square.T).sum(axis=1).tolist()
    parted = np.zeros((n, n), dtype=bool)
    parted[first, second] = expected[:, 1]
    for start, stop in ((0, n), (0, 1), (n // 2, n), (1, n - 1)):
        upper = np.arange(start, stop)[:, None] < np.arange(start, n)[None]
        assert (found.known_block(start, stop) & upper == square[start:stop, start:]).all()
        assert (found.apart_block(start, stop) & upper == parted[start:stop, start:]).all()
    return found


sources = st.lists(
    st.tuples(
        st.lists(st.sets(st.integers(0, 9), min_size=1, max_size=4), max_size=4),
        st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda pair: pair[0] < pair[1]), max_size=4),
        st.booleans(),
    ),
    max_size=3,
)


@settings(max_examples=80, deadline=None)
@given(drawn=sources, n_kept=st.integers(3, 10))
def test_it_is_what_a_loop_over_pairs_says(drawn, n_kept):
    every = names_of(10)
    known = [
        grouped(every, groups, extra=pairs) if has_groups else pairs_known(every, pairs)
        for groups, pairs, has_groups in drawn
    ]
    check(known, every[:n_kept])


def test_names_in_groups_of_one_source_are_apart_and_those_of_two_sources_are_not():
    names = ["A", "B", "C", "D", "E", "F"]
    one, two = grouped(names, [[0, 1], [2, 3]], "one"), grouped(names, [[4, 5]], "two")
    found = check([one, two], names)
    assert found.apart(np.array([0]), np.array([2])).tolist() == [True]
    assert found.apart(np.array([0]), np.array([4])).tolist() == [False]
    assert found.has_groups
    # A pair that any source lists is known, whatever another one's groups say.
    found = check([one, pairs_known(names, [(0, 2)])], names)
    assert found.known(np.array([0]), np.array([2])).tolist() == [True]
    assert found.apart(np.array([0, 0]), np.array([2, 3])).tolist() == [False, True]


def test_nobody_is_apart_by_the_communities_of_pairs():
    names = names_of(60)
    rng = np.random.default_rng(0)
    source = Relationships.from_pairs(
        "pairs", *zip(*[(names[i], names[j]) for i, j in rng.integers(0, 60, size=(90, 2))], strict=True)
    )
    known = known_pairs(source, names)
    assert known.kind == "communities"
    assert known.groups
    found = check([known], names)
    assert not found.has_groups
    assert not found.apart_block(0, 60).any()


def test_sources_of_other_maps_are_looked_up_by_name():
    here = [f"{text}{number}" for number in range(4) for text in ("a,", "<b>", "=cmd()|", "new\nline")]
    names = sorted(here)
    there = tuple(sorted([*here[3:12], "somebody else", "0"]))
    check([grouped(there, [[0, 1, 2], [3, 4], [6, 10]]), pairs_known(there, [(1, 8), (5, 9)])], names)


def test_a_member_whose_partners_are_not_in_the_maps_is_in_its_group_still():
    every = names_of(6)
    found = annotate([grouped(every, [[0, 5], [1, 2]])], every[:4])
    assert found.n_known == 1
    assert found.apart(np.array([0]), np.array([1])).tolist() == [True]


def test_without_sources_nothing_is_known():
    found = check([], names_of(5))
    assert (found.n_known, found.has_groups) == (0, False)
    none = np.zeros(0, dtype=np.intp)
    assert found.known(none, none).tolist() == []
    assert found.apart(none, none).tolist() == []
    with pytest.raises(ValueError, match="read-only"):
        found.degree[0] = 1
