"""Matrices in memory: read by ranges of rows, read-only, known by their content."""

import itertools

import numpy as np
import pytest
from files import LATENT, RAW, SHUFFLED
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from explorer import sources
from explorer.errors import InputError
from explorer.sources import (
    ArraySource,
    ReorderedSource,
    SelectedSource,
    SparseSource,
    SpreadSource,
    as_source,
    digest_file,
    in_blocks,
    read_blocks,
    select_rows,
    stored_row,
)

MAKERS = {
    "dense": lambda values: ArraySource(values),
    "csr": lambda values: SparseSource(sparse.csr_matrix(values)),
    "csc": lambda values: as_source(sparse.csc_matrix(values)),
    "float64": lambda values: as_source(values.astype(np.float64)),
    "reordered": lambda values: ReorderedSource(ArraySource(values[SHUFFLED]), np.argsort(SHUFFLED)),
    "selected": lambda values: SelectedSource(ArraySource(np.repeat(values, 2, axis=0)), 2 * np.arange(len(values))),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("bounds", [(0, 3), (5, 6), (7, len(RAW)), (4, 4)])
def test_rows(make, bounds):
    source = make(RAW)
    assert source.shape == RAW.shape
    block = source.read(*bounds)
    assert block.dtype == np.float32
    np.testing.assert_array_equal(block, RAW[slice(*bounds)])


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_fingerprint_is_of_the_content(make):
    changed = RAW.copy()
    changed[3, 2] += 1
    assert make(RAW).fingerprint() == make(RAW.copy()).fingerprint()
    assert make(RAW).fingerprint() != make(changed).fingerprint()


def test_arrays_are_read_only_and_the_callers_stay_writable():
    values = RAW.copy()
    source = ArraySource(values)
    with pytest.raises(ValueError, match="read-only"):
        source.values[0, 0] = 1
    assert values.flags.writeable


@given(st.permutations(range(12)), st.integers(0, 12), st.integers(0, 12))
def test_reordered_rows(order, start, stop):
    values = np.arange(36, dtype=np.float32).reshape(12, 3)
    source = ReorderedSource(ArraySource(values), np.array(order))
    start, stop = min(start, stop), max(start, stop)
    np.testing.assert_array_equal(source.read(start, stop), values[order][start:stop])


def test_reordering_reads_runs_of_rows_once():
    stored = Counting(LATENT)
    ReorderedSource(stored, SHUFFLED).read(0, len(SHUFFLED))
    assert stored.read_rows == list(range(len(LATENT)))


class Counting:
    """Rows that remember which of them were read."""

    def __init__(self, values):
        self.values, self.shape, self.read_rows = values, values.shape, []

    def read(self, start, stop):
        self.read_rows += range(start, stop)
        return self.values[start:stop]


@given(
    st.lists(st.integers(0, 39), max_size=40, unique=True).map(sorted),
    st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted),
    st.integers(1, 9),
    st.sampled_from([1, 300, 2_000, 10_000]),
)
def test_selected_rows(rows, bounds, step, gather):
    values = np.arange(120, dtype=np.float32).reshape(40, 3)
    chosen = np.array(rows, dtype=np.intp)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "_GATHER_BYTES", gather)
        stored = Counting(values)
        source = SelectedSource(stored, chosen)
        start, stop = bounds
        blocks = list(source.blocks(start, stop, step))
        assert source.shape == (len(rows), 3)
        assert [first for first, _ in blocks] == list(range(start, min(stop, len(rows)), step))
        read = np.concatenate([values[:0], *(block for _, block in blocks)])
        np.testing.assert_array_equal(read, values[chosen][start:stop])
        assert stored.read_rows == sorted(set(stored.read_rows)), "once, and in order"
        np.testing.assert_array_equal(source.read(start, stop), values[chosen][start:stop])


def test_a_range_of_rows_is_read_alone_and_not_copied():
    values = np.arange(120, dtype=np.float32).reshape(40, 3)
    stored = Counting(values)
    ((first, block),) = SelectedSource(stored, np.arange(10, 30)).blocks(0, 20, 20)
    assert (first, stored.read_rows) == (0, list(range(10, 30)))
    assert np.shares_memory(block, values)


def test_what_lies_between_is_read_unless_it_is_long(monkeypatch):
    monkeypatch.setattr(sources, "_GATHER_BYTES", 8 * 3 * 4 * 5)  # 5 rows
    stored = Counting(np.zeros((40, 3), dtype=np.float32))
    SelectedSource(stored, np.array([0, 4, 20, 21, 39])).read(0, 5)
    assert stored.read_rows == [0, 1, 2, 3, 4, 20, 21, 39]


def test_selections_of_every_kind_of_source():
    rows = np.array([1, 4, 5, 9])
    whole, reordered = ArraySource(RAW), ReorderedSource(ArraySource(RAW), SHUFFLED)
    for source, values in ((whole, RAW), (reordered, RAW[SHUFFLED]), (SparseSource(sparse.csr_matrix(RAW)), RAW)):
        selected = select_rows(source, rows)
        np.testing.assert_array_equal(selected.read(0, 4), values[rows])
        assert selected.fingerprint() == select_rows(source, rows.copy()).fingerprint() != source.fingerprint()
        assert selected.fingerprint() != select_rows(source, rows[:3]).fingerprint()
        assert select_rows(source, np.arange(len(RAW))) is source
        assert stored_row(selected, 2) == (SHUFFLED[5] if source is reordered else 5)
    assert not np.shares_memory(select_rows(whole, rows).values, RAW), "only a context's rows stay in memory"
    assert stored_row(whole, 7) == 7


@given(st.lists(st.integers(0, 5), max_size=12), st.integers(1, 7))
def test_blocks_are_of_equal_length_whatever_the_pieces(lengths, step):
    ends = np.cumsum([3, *lengths]).tolist()
    values = np.arange(2.0 * ends[-1], dtype=np.float32).reshape(-1, 2)
    pieces = [(start, values[start:end]) for start, end in itertools.pairwise(ends)]
    blocks = list(in_blocks(iter(pieces), step))
    assert [first for first, _ in blocks] == list(range(3, ends[-1], step))
    assert [len(rows) for _, rows in blocks[:-1]] == [step] * (len(blocks) - 1)
    np.testing.assert_array_equal(np.concatenate([values[:0], *(rows for _, rows in blocks)]), values[3:])


@pytest.mark.parametrize("gather", [1, 300, 10_000])
def test_rows_in_another_order_by_blocks(monkeypatch, gather):
    monkeypatch.setattr(sources, "_GATHER_BYTES", gather)
    source = ReorderedSource(ArraySource(RAW), SHUFFLED)
    for start, stop, step in ((0, 26, 1), (3, 25, 4), (0, 26, 100)):
        blocks = list(read_blocks(source, (start, stop), step))
        assert [first for first, _ in blocks] == list(range(start, stop, step))
        np.testing.assert_array_equal(np.concatenate([rows for _, rows in blocks]), RAW[SHUFFLED][start:stop])


def test_a_number_too_large_for_float32_is_infinite():
    assert np.isinf(as_source(np.array([[1e300]])).read(0, 1)).all()


def test_order_is_part_of_the_fingerprint():
    one = ReorderedSource(ArraySource(RAW), SHUFFLED)
    other = ReorderedSource(ArraySource(RAW), np.arange(len(RAW)))
    assert one.fingerprint() != other.fingerprint()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones(3), r"expected a matrix of rows × features, got an array of shape \(3,\)"),
        (np.array([["a"]]), "expected numbers, got values of type <U1: give a numeric matrix"),
        (np.array([[None]]), "expected numbers, got values of type object"),
    ],
)
def test_refused(values, message):
    with pytest.raises(InputError, match=message):
        as_source(values)


def test_digest_of_a_file_is_of_its_content(tmp_path):
    for name, content in (("a", b"same"), ("b", b"same"), ("c", b"other")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (digest_file(tmp_path / name) for name in "abc")
    assert a == b != c


@pytest.mark.parametrize("place", [0, 2500, 4999])
def test_digest_of_a_large_file_is_of_samples(tmp_path, monkeypatch, place):
    monkeypatch.setattr(sources, "HASH_WHOLE_BELOW", 1000)
    monkeypatch.setattr(sources, "_SAMPLE_BYTES", 100)
    content = bytearray(5000)
    (tmp_path / "a").write_bytes(content)
    content[place] = 1
    (tmp_path / "b").write_bytes(content)
    assert digest_file(tmp_path / "a") != digest_file(tmp_path / "b")


def test_digest_of_a_large_array_is_of_samples(monkeypatch):
    monkeypatch.setattr(sources, "HASH_WHOLE_BELOW", 1000)
    monkeypatch.setattr(sources, "_SAMPLE_BYTES", 100)
    values = np.zeros((500, 3), dtype=np.float32)
    one = ArraySource(values.copy()).fingerprint()
    assert one == ArraySource(values.copy()).fingerprint()
    for place in (0, -1):
        changed = values.copy()
        changed[place, 1] = 1
        assert ArraySource(changed).fingerprint() != one
    assert ArraySource(values[:-1]).fingerprint() != one


def test_digest_of_a_folder_is_of_names_and_contents(tmp_path):
    for folder, name, content in (("a", "x", b"1"), ("b", "x", b"1"), ("c", "x", b"2"), ("d", "y", b"1")):
        (tmp_path / folder / "below").mkdir(parents=True)
        (tmp_path / folder / "below" / name).write_bytes(content)
    a, b, c, d = (digest_file(tmp_path / name) for name in "abcd")
    assert a == b
    assert len({a, c, d}) == 3


def test_rows_that_stand_for_many_are_read_once_and_are_nan_where_there_is_none():
    read = []

    class Counted(ArraySource):
        def read(self, start, stop):
            read.append((start, stop))
            return super().read(start, stop)

    places = np.array([3, -1, 0, 3, 3, -1, 2])
    expected = np.where((places >= 0)[:, None], RAW[places], np.nan)
    source = SpreadSource(Counted(RAW), places)
    assert source.shape == (7, RAW.shape[1])
    assert read == []
    for start, stop in itertools.combinations(range(8), 2):
        found = source.read(start, stop)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected[start:stop])
    read.clear()
    source.read(0, 7)
    assert sum(stop - start for start, stop in read) <= 4
    others = (
        SpreadSource(ArraySource(RAW), places[::-1].copy()),
        SpreadSource(ArraySource(2 * RAW), places),
        SpreadSource(ArraySource(RAW), places, "no names"),
        ReorderedSource(ArraySource(RAW), places),
    )
    assert source.fingerprint() == SpreadSource(ArraySource(RAW), places).fingerprint()
    assert len({source.fingerprint(), *(other.fingerprint() for other in others)}) == 5
    with pytest.raises(InputError, match="no names"):
        others[2].read(0, 1)
