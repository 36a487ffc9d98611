"""The cache: whole files or none, keys that follow the code, and nothing that can crash a session."""

import os
import pickle
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer.store import artefact_key, cache_directory, load_arrays, save_arrays, write_atomically

ARRAYS = {"coordinates": np.arange(6, dtype=np.float32).reshape(3, 2), "trustworthiness": np.array(0.9)}


@pytest.fixture
def kept():
    save_arrays("key", ARRAYS)
    return cache_directory() / "key.npz"


def write(content):
    return lambda stream: stream.write(content)


def fail(stream):
    stream.write(b"half")
    message = "the disk is full"
    raise OSError(message)


def test_cache_directory(monkeypatch, tmp_path):
    assert cache_directory() == tmp_path / "cache"
    monkeypatch.delenv("EXPLORER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "xdg" / "perturbation-explorer"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_directory() == Path.home() / ".cache" / "perturbation-explorer"


def test_arrays_come_back(kept):
    found = load_arrays("key")
    assert kept.is_file()
    assert found.keys() == ARRAYS.keys()
    for name, values in ARRAYS.items():
        np.testing.assert_array_equal(found[name], values)
        assert found[name].dtype == values.dtype


def test_a_key_that_was_never_kept():
    assert load_arrays("absent") is None


@pytest.mark.parametrize("existing", [None, b"before"])
def test_a_write_that_fails_leaves_nothing_behind(tmp_path, existing):
    path = tmp_path / "below" / "file.bin"
    if existing is not None:
        write_atomically(path, write(existing))
    with pytest.raises(OSError, match="the disk is full"):
        write_atomically(path, fail)
    assert [item.name for item in path.parent.iterdir()] == ([path.name] if existing else [])
    assert existing is None or path.read_bytes() == existing


def test_a_write_replaces_the_whole_file(tmp_path):
    path = tmp_path / "file.bin"
    for content in (b"a long first content", b"short"):
        write_atomically(path, write(content))
        assert path.read_bytes() == content
    assert [item.name for item in tmp_path.iterdir()] == ["file.bin"]


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file.bin"
    write_atomically(path, write(b"old"))
    seen = []

    def look(stream):
        stream.write(b"new")
        stream.flush()
        seen.append(path.read_bytes())

    write_atomically(path, look)
    assert seen == [b"old"]
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_torn_file_is_a_miss(kept, share):
    whole = kept.read_bytes()
    kept.write_bytes(whole[: int(len(whole) * share)])
    assert load_arrays("key") is None


def as_npy(path):
    with path.open("wb") as stream:
        np.save(stream, np.ones(3))


def as_pickled_npz(path):
    np.savez(path, values=np.array([{"a": 1}], dtype=object), allow_pickle=True)


def as_torn_compression(path):
    np.savez_compressed(path, values=np.arange(10_000))
    content = bytearray(path.read_bytes())
    content[200:260] = b"\xff" * 60
    path.write_bytes(content)


def as_zip_of_text(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("values.npy", "not an array")


def as_huge_header(path):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (999999999999999,), }"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("values.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


@pytest.mark.parametrize(
    "foreign",
    [
        as_npy,
        as_pickled_npz,
        as_torn_compression,
        as_zip_of_text,
        as_huge_header,
        lambda path: path.write_bytes(pickle.dumps({"coordinates": 1})),
        lambda path: path.write_text("hello"),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: path.write_bytes(b"PK\x05\x06" + bytes(18)[:10]),
    ],
)
def test_a_foreign_file_is_a_miss(kept, foreign):
    foreign(kept)
    assert load_arrays("key") is None


@given(place=st.integers(0, 400), value=st.integers(0, 255))
def test_a_flipped_byte_is_a_miss_or_harmless(tmp_path_factory, place, value):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXPLORER_CACHE", str(tmp_path_factory.mktemp("flip")))
        save_arrays("key", ARRAYS)
        path = cache_directory() / "key.npz"
        content = bytearray(path.read_bytes())
        content[place] = value
        path.write_bytes(content)
        found = load_arrays("key")
    if found is not None and "coordinates" in found:
        np.testing.assert_array_equal(found["coordinates"], ARRAYS["coordinates"])


def test_a_pickle_is_never_run(kept):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(kept.parent / "run"),)

    np.savez(kept, coordinates=np.array([Evil()], dtype=object))
    assert load_arrays("key") is None
    assert not (kept.parent / "run").exists()


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/explorer"])
def test_where_nothing_can_be_written_nothing_is_kept(tmp_path, monkeypatch, place):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr("explorer.store.cache_directory", lambda: tmp_path / place)
    save_arrays("key", ARRAYS)
    assert load_arrays("key") is None


def module(path, name="made"):
    made = ModuleType(name)
    made.__file__ = str(path)
    return made


def test_keys_follow_the_source_of_the_modules_that_make_the_artefact(tmp_path):
    path = tmp_path / "made.py"
    path.write_text("K = 1\n")
    first = artefact_key("umap", "recipe", made_by=(module(path),))
    assert artefact_key("umap", "recipe", made_by=(module(path),)) == first
    path.write_text("K = 2\n")
    assert artefact_key("umap", "recipe", made_by=(module(path),)) != first
    assert artefact_key("umap", "recipe") != first


@pytest.mark.parametrize(
    ("one", "other"),
    [(("a", "b"), ("ab",)), (("a", "b"), ("b", "a")), (("a", 1), ("a", 2)), (('a", "b',), ("a", "b"))],
)
def test_keys_tell_their_parts_apart(one, other):
    assert artefact_key(*one) != artefact_key(*other)


@given(st.lists(st.text()))
def test_keys_are_plain_file_names(parts):
    key = artefact_key(*parts)
    assert len(key) == 40
    assert set(key) <= set("0123456789abcdef")


def test_modules_without_a_file_are_taken_by_their_absence():
    made = ModuleType("builtin")
    made.__file__ = None
    assert artefact_key("a", made_by=(made,)) == artefact_key("a")
