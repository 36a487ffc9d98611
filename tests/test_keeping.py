"""What is kept comes back as it was, and what another program wrote is made anew."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from explorer import keeping
from explorer.errors import InputError
from explorer.keeping import Room, Shared, kept_on_disk, lock_and_measure, memory_limit, pack, unpack
from explorer.store import cache_directory, load_arrays, save_arrays


@dataclass(frozen=True, slots=True, eq=False)
class Inner:
    value: float
    note: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Outer:
    parts: tuple[Inner, ...]
    rows: np.ndarray
    groups: dict
    ties: dict
    table: pl.DataFrame
    options: dict


def whole():
    return Outer(
        parts=(Inner(float("nan")), Inner(0.1 + 0.2, "é\n")),
        rows=np.arange(6, dtype=np.int32).reshape(2, 3),
        groups={"a": np.array([1, 2]), "b": np.array([5]), "c": np.array([], dtype=np.int64)},
        ties={np.int64(3): (np.array([1, 2]), np.array([0.5, 0.5])), 9: (np.array([4]), np.array([1.0]))},
        table=pl.DataFrame({"unit": ["x", "y"], "n": [1, 2], "score": [float("nan"), 0.25]}),
        options={"k": 10, "of": {"deep": [1, None, True, -np.inf]}},
    )


def test_everything_comes_back(tmp_path):
    save_arrays("key", pack(whole()))
    found, expected = unpack(load_arrays("key"), types=(Inner, Outer)), whole()
    assert np.isnan(found.parts[0].value)
    assert (found.parts[0].note, found.parts[1].value, found.parts[1].note) == (None, 0.1 + 0.2, "é\n")
    assert found.rows.dtype == np.int32
    np.testing.assert_array_equal(found.rows, expected.rows)
    assert list(found.groups) == ["a", "b", "c"]
    for name, rows in expected.groups.items():
        np.testing.assert_array_equal(found.groups[name], rows)
    assert list(found.ties) == [3, 9]
    for key, parts in expected.ties.items():
        for one, other in zip(parts, found.ties[key], strict=True):
            np.testing.assert_array_equal(one, other)
    assert found.table.equals(expected.table)
    assert found.table.schema == expected.table.schema
    assert found.options == expected.options
    for array in (found.rows, found.groups["a"], found.ties[3][0]):
        assert not array.flags.writeable


def test_an_empty_table_keeps_its_columns():
    table = pl.DataFrame(schema={"unit": pl.String, "n": pl.Int64})
    assert unpack(pack(table), types=()).equals(table)


def test_a_table_keeps_its_nulls():
    table = pl.DataFrame(
        {"text": ["x", None, ""], "flag": [None, True, False], "n": [1, None, 0], "score": [None, float("nan"), 0.5]},
        schema_overrides={"n": pl.Int64},
    )
    nothing = pl.DataFrame({"p": [None, None], "name": [None, None]}, schema={"p": pl.Float64, "name": pl.String})
    for whole_table in (table, nothing):
        save_arrays("key", pack(whole_table))
        found = unpack(load_arrays("key"), types=())
        assert found.equals(whole_table)
        assert found.schema == whole_table.schema


LEAVES = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats() | st.text(max_size=5)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner)
)


@settings(max_examples=60, deadline=None)
@given(TREES)
def test_plain_values_come_back(value):
    # repr, since NaN is not equal to itself.
    assert repr(unpack(pack(value), types=())) == repr(value)


def test_made_once_a_disk():
    made = []

    def make():
        made.append(1)
        return Inner(0.5)

    found = [kept_on_disk("key", make, types=(Inner,)) for _ in range(3)]
    assert [item.value for item in found] == [0.5] * 3
    assert len(made) == 1


@pytest.mark.parametrize(
    "content",
    [
        {"tree": np.frombuffer(b"not json", dtype=np.uint8)},
        {"tree": np.frombuffer(b'{"class": ["Other", {}]}', dtype=np.uint8)},
        {"tree": np.frombuffer(b'{"class": ["Inner", {"wrong": 1}]}', dtype=np.uint8)},
        {"tree": np.frombuffer(b'{"array": "absent"}', dtype=np.uint8)},
        {"tree": np.frombuffer(b'{"table": [{}, {"x": "write_csv"}, {}]}', dtype=np.uint8)},
        {"other": np.arange(3)},
    ],
)
def test_what_is_foreign_is_made_anew(content):
    save_arrays("key", content)
    assert kept_on_disk("key", lambda: Inner(1.5), types=(Inner,)).value == 1.5
    assert kept_on_disk("key", lambda: pytest.fail("was not kept"), types=(Inner,)).value == 1.5


def test_a_torn_file_is_made_anew():
    kept_on_disk("key", lambda: Inner(1.5), types=(Inner,))
    path = cache_directory() / "key.npz"
    path.write_bytes(path.read_bytes()[:-7])
    assert kept_on_disk("key", lambda: Inner(2.5), types=(Inner,)).value == 2.5


def test_what_is_large_is_not_kept(monkeypatch):
    monkeypatch.setattr(keeping, "MOST_KEPT_BYTES", 100)
    kept_on_disk("key", lambda: np.zeros(1000), types=())
    assert not (cache_directory() / "key.npz").exists()


def test_what_can_not_be_kept_is_a_slip_of_ours():
    with pytest.raises(TypeError, match="a object can't be kept"):
        pack({"x": object()})


# Values made once a process.


def array(n_bytes=1_000):
    return np.zeros(n_bytes, dtype=np.uint8)


def test_room_is_counted_in_bytes_and_the_least_recently_used_leave_first():
    room = Room(3_500)
    shared, made = Shared(room=room), []

    def value(number):
        return shared.get(number, lambda: (made.append(number), array())[1])

    for number in (1, 2, 3, 1, 4, 1, 2):
        value(number)
    assert made == [1, 2, 3, 4, 2]
    assert shared.peek(3) is None
    assert 3_000 <= room.n_bytes <= 3_500


def test_what_was_just_made_stays_even_where_it_is_too_large():
    shared = Shared(room=Room(1_000))
    small = shared.get("small", lambda: array(500))
    large = shared.get("large", lambda: array(50_000))
    assert shared.peek("small") is None
    assert shared.peek("large") is large
    assert shared.get("small", lambda: array(500)) is not small
    assert shared.peek("large") is None


def test_several_caches_share_one_room():
    room = Room(2_500)
    one, other = Shared(room=room), Shared(room=room)
    one.get(1, array)
    other.get(1, array)
    one.get(1, array)
    one.get(2, array)
    assert (one.peek(1) is None, other.peek(1) is None) == (False, True)


def test_an_array_that_two_values_hold_is_counted_once():
    room = Room(10_000)
    shared, rows = Shared(2, room=room), array(3_000)
    shared.get(1, lambda: (rows, 1))
    before = room.n_bytes
    shared.get(2, lambda: {"rows": rows[10:], "again": (rows.reshape(-1, 3),)})
    assert room.n_bytes - before < 1_000
    shared.get(3, lambda: None)
    shared.get(4, lambda: None)
    assert room.n_bytes < 1_000


def test_the_object_that_a_value_is_kept_under_is_counted():
    room = Room(10_000)
    Shared(room=room).get(Inner(array(3_000)), lambda: 1)
    assert room.n_bytes > 3_000


def test_the_values_of_a_cache_that_is_gone_leave():
    room = Room(10_000)
    shared = Shared(room=room)
    shared.get(1, lambda: array(3_000))
    del shared
    gc.collect()
    Shared(room=room).get(1, lambda: array(10))
    assert room.n_bytes < 1_000


def test_everything_within_a_value_is_locked_and_measured():
    arrays = [array() for _ in range(6)]
    value = Outer(
        parts=(Inner(arrays[0]),),
        rows=arrays[1],
        groups={"a": arrays[2]},
        ties={1: [arrays[3], {"deep": arrays[4]}]},
        table=pl.DataFrame({"x": np.zeros(1_000)}),
        options={"matrix": sparse.csr_array(np.eye(3))},
    )
    value.options["again"] = value
    found = lock_and_measure((value, arrays[5]))
    assert not any(own.flags.writeable for own in arrays)
    assert not value.options["matrix"].data.flags.writeable
    assert 6 * 1_000 + 8_000 <= sum(found.values()) <= 6 * 1_000 + 8_000 + 10_000


def test_names_by_the_hundred_thousand_count():
    names = tuple(f"gene number {number}" for number in range(1_000))
    assert sum(lock_and_measure(names).values()) > 60_000


@pytest.mark.parametrize("failures", [0, 1, 3])
def test_ten_threads_make_a_value_once(failures):
    shared, together, calls = Shared(room=Room(10)), threading.Barrier(10), []

    def make():
        calls.append(1)
        if len(calls) <= failures:
            message = "not yet"
            raise InputError(message)
        return array()

    def ask(_):
        together.wait(timeout=30)
        try:
            return shared.get("key", make)
        except InputError:
            return None

    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(ask, range(10)))
    assert len(calls) == failures + 1
    assert sum(value is None for value in found) == failures
    assert len({id(value) for value in found if value is not None}) == 1
    assert not shared._making


def test_a_value_that_nobody_has_room_for_is_given_to_all_who_waited():
    shared, began, go = Shared(room=Room(1_500)), threading.Event(), threading.Event()

    def make():
        began.set()
        assert go.wait(timeout=30)
        return array()

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(shared.get, "slow", make)
        assert began.wait(timeout=30)
        others = [pool.submit(shared.get, "slow", lambda: pytest.fail("was being made")) for _ in range(2)]
        shared.get("other", array)
        go.set()
        assert {id(asked.result(timeout=30)) for asked in (first, *others)} == {id(first.result())}


def test_a_make_that_raises_leaves_nothing_behind():
    shared = Shared()
    for error in (KeyError("key"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            shared.get("key", lambda error=error: (_ for _ in ()).throw(error))
        assert not shared._making
        assert shared.peek("key") is None
    assert shared.get("key", lambda: 5) == 5


def test_a_value_that_is_made_of_itself_is_a_slip_of_ours():
    shared = Shared()
    with pytest.raises(RuntimeError, match="'key' is made of itself"):
        shared.get("key", lambda: shared.get("key", lambda: 1))
    assert shared.get("key", lambda: 2) == 2


def test_memory_limit(monkeypatch):
    monkeypatch.delenv("EXPLORER_MEMORY", raising=False)
    assert memory_limit() >= 2**30
    for text, n_bytes in (("4GB", 4 * 10**9), ("1.5 GiB", 3 * 2**29), ("500mb", 5 * 10**8), ("1000", 1_000)):
        monkeypatch.setenv("EXPLORER_MEMORY", text)
        assert memory_limit() == n_bytes
    monkeypatch.setenv("EXPLORER_MEMORY", "much")
    with pytest.raises(InputError, match="EXPLORER_MEMORY is 'much', expected a size such as 4GB or 500MB"):
        memory_limit()
