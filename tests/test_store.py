"""The cache: whole files or none, keys that follow the code, and nothing that can crash a session."""

import errno
import os
import pickle
import socket
import stat
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.store import (
    artefact_key,
    cache_directory,
    cache_limit,
    load_arrays,
    parse_bytes,
    remove_oldest,
    save_arrays,
    write_atomically,
    write_new_atomically,
)

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


@settings(deadline=None)
@given(place=st.integers(0, 1_500), value=st.integers(0, 255))
def test_a_flipped_byte_is_a_miss_or_harmless(tmp_path_factory, place, value):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXPLORER_CACHE", str(tmp_path_factory.mktemp("flip")))
        save_arrays("key", ARRAYS)
        path = cache_directory() / "key.npz"
        content = bytearray(path.read_bytes())
        content[place % len(content)] = value
        path.write_bytes(content)
        found = load_arrays("key")
    if found is not None:
        assert found.keys() == ARRAYS.keys()
        for name, values in ARRAYS.items():
            np.testing.assert_array_equal(found[name], values)


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


# What an entry says of itself.

HEX = ["0123456789" * 4, "abcdef0123" * 4, "fedcba9876" * 4]


def test_an_entry_under_another_name_is_a_miss(kept):
    kept.rename(kept.with_name("other.npz"))
    assert load_arrays("other") is None
    assert load_arrays("key") is None


@pytest.mark.parametrize("own", [{}, {"_key": np.frombuffer(b"key", dtype=np.uint8)}])
def test_an_entry_of_another_program_is_a_miss(kept, own):
    np.savez(kept, **ARRAYS, **own)
    assert load_arrays("key") is None


@pytest.mark.parametrize(
    "changed",
    [
        {"coordinates": ARRAYS["coordinates"] + 1},
        {"coordinates": ARRAYS["coordinates"].T.copy()},
        {"coordinates": ARRAYS["coordinates"].astype("f8")},
        {"coordinates": ARRAYS["coordinates"].view("i4")},
        {"more": np.zeros(1)},
        {"trustworthiness": None},
        {"coordinates": ARRAYS["trustworthiness"], "trustworthiness": ARRAYS["coordinates"]},
    ],
)
def test_an_entry_that_was_edited_is_a_miss(kept, changed):
    with np.load(kept) as archive:
        arrays = {name: archive[name] for name in archive.files} | changed
    np.savez(kept, **{name: values for name, values in arrays.items() if values is not None})
    assert load_arrays("key") is None


def test_a_compressed_entry_is_a_miss_before_it_is_unpacked(kept):
    with np.load(kept) as archive:
        np.savez_compressed(kept.with_name("small.npz"), **archive)
    kept.with_name("small.npz").replace(kept)
    assert load_arrays("key") is None


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((0, 3)),
        np.array(["é", ""]),
        np.array(["", ""]),
        np.array([b"x"]),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([np.nan, -0.0]),
        np.array(["2020-01-01"], dtype="datetime64[s]"),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.arange(3, dtype=">i8"),
    ],
    ids=lambda values: str(values.dtype),
)
def test_arrays_of_every_kind_come_back(values):
    save_arrays("key", {"values": values, "a/b": np.array(1)})
    found = load_arrays("key")
    assert found.keys() == {"values", "a/b"}
    assert (found["values"].dtype, found["values"].shape) == (values.dtype, values.shape)
    assert found["values"].tobytes() == values.tobytes()


def test_objects_are_not_kept():
    with pytest.raises(ValueError, match="'values' holds objects, which are not kept"):
        save_arrays("key", {"values": np.array([{}], dtype=object)})
    assert not cache_directory().exists()


def test_a_pipe_in_the_cache_does_not_stop_the_session(kept):
    kept.unlink()
    os.mkfifo(kept)
    assert load_arrays("key") is None


def test_the_cache_is_the_users_alone(kept):
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700


# Room on the disk.


def test_sizes():
    sizes = {"0": 0, "12": 12, "2GB": 2 * 10**9, "1.5 GiB": 3 * 2**29, "10k": 10_000, "1 TB": 10**12, "7b": 7}
    for text, n_bytes in sizes.items():
        assert parse_bytes(text) == n_bytes
    for text in ("", "GB", "-1", "1e9", "1 XB", "1.5.2", "9" * 99, "nan"):
        assert parse_bytes(text) is None


def test_the_limit(monkeypatch):
    assert cache_limit() == 2 * 2**30
    for text, n_bytes in (("5MB", 5_000_000), ("much", 2 * 2**30)):
        monkeypatch.setenv("EXPLORER_CACHE_BYTES", text)
        assert cache_limit() == n_bytes


def stamp(key, seconds):
    os.utime(cache_directory() / f"{key}.npz", (seconds, seconds))


def test_what_was_longest_of_no_use_leaves(monkeypatch):
    big = {"values": np.zeros(10_000, dtype=np.uint8)}
    monkeypatch.setenv("EXPLORER_CACHE_BYTES", "25000")
    for place, key in enumerate(HEX):
        save_arrays(key, big)
        stamp(key, 1_000 + place)
        if place == 1:
            assert load_arrays(HEX[0]) is not None  # and is now the youngest
    assert [key for key in HEX if load_arrays(key) is not None] == [HEX[0], HEX[2]]


def test_what_is_larger_than_the_limit_is_not_kept(monkeypatch):
    monkeypatch.setenv("EXPLORER_CACHE_BYTES", "0")
    save_arrays(HEX[0], ARRAYS)
    assert load_arrays(HEX[0]) is None


def test_files_of_others_stay(tmp_path):
    others = ["data.npz", "notes.txt", f"{HEX[0]}.txt", ".hidden.npz", f"{HEX[0]}x.npz"]
    for name in others:
        (tmp_path / name).write_bytes(bytes(100))
    (tmp_path / f"{HEX[1]}.npz").write_bytes(bytes(100))
    remove_oldest(tmp_path, limit=0)
    assert sorted(item.name for item in tmp_path.iterdir()) == sorted(others)


def test_the_folder_is_looked_through_now_and_then(monkeypatch):
    looks = []
    monkeypatch.setattr("explorer.store.remove_oldest", lambda folder, *, limit: looks.append(limit))
    monkeypatch.setenv("EXPLORER_CACHE_BYTES", "1MB")
    for number in range(20):
        save_arrays(f"{number:040x}", ARRAYS)
    assert 2 <= len(looks) <= 6


def leftover(folder, *, process, machine=None, key=HEX[0]):
    path = folder / f".{key}.{machine or socket.gethostname()}.{process}.{'0a' * 8}.tmp.npz"
    path.write_bytes(b"half")
    return path


def test_what_killed_processes_left_is_removed(kept):
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead = [leftover(kept.parent, process=int(gone.stdout)), leftover(kept.parent, process=os.getpid(), key="1" * 40)]
    alive = [leftover(kept.parent, process=os.getppid()), leftover(kept.parent, process=1, machine="else.where")]
    remove_oldest(kept.parent, limit=10**9)
    assert not any(path.exists() for path in dead)
    assert all(path.exists() for path in alive)
    remove_oldest(kept.parent, limit=0)
    assert [item.name for item in kept.parent.iterdir()] == ["key.npz"]


def test_a_new_file_is_written_whole(tmp_path):
    path = tmp_path / "below" / "file.bin"
    write_new_atomically(path, write(b"whole"))
    assert path.read_bytes() == b"whole"
    assert [item.name for item in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_what_stands_there_is_never_replaced(tmp_path, kind):
    path = tmp_path / "file.bin"
    if kind == "file":
        path.write_bytes(b"before")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
        write_new_atomically(path, write(b"after"))
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    assert kind != "file" or path.read_bytes() == b"before"


def test_a_new_file_that_fails_leaves_nothing_behind(tmp_path):
    with pytest.raises(OSError, match="the disk is full"):
        write_new_atomically(tmp_path / "file.bin", fail)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("has_links", [True, False])
def test_somebody_who_comes_first_stays(tmp_path, monkeypatch, has_links):
    path = tmp_path / "file.bin"
    if not has_links:
        monkeypatch.setattr("pathlib.Path.hardlink_to", no_links)

    def slow(stream):
        stream.write(b"late")
        path.write_bytes(b"early")

    with pytest.raises(FileExistsError):
        write_new_atomically(path, slow)
    assert path.read_bytes() == b"early"
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def no_links(self, target):
    raise OSError(errno.EPERM, "Operation not permitted")


def test_a_disk_without_hard_links(tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.hardlink_to", no_links)
    path = tmp_path / "file.bin"
    write_new_atomically(path, write(b"whole"))
    assert path.read_bytes() == b"whole"
    with pytest.raises(FileExistsError):
        write_new_atomically(path, write(b"again"))
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_of_many_who_write_one_file_one_succeeds(tmp_path):
    path = tmp_path / "file.bin"

    def one(number):
        try:
            write_new_atomically(path, write(b"%d" % number * 1000))
        except FileExistsError:
            return 0
        return number

    with ThreadPoolExecutor(8) as pool:
        won = [number for number in pool.map(one, range(1, 41)) if number]
    assert len(won) == 1
    assert path.read_bytes() == b"%d" % won[0] * 1000
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
