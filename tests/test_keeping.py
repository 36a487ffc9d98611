"""What is kept comes back as it was, and what another program wrote is made anew."""

from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer import keeping
from explorer.keeping import kept_on_disk, pack, unpack
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
        {"tree": np.frombuffer(b'{"table": [{}, {"x": "write_csv"}]}', dtype=np.uint8)},
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
