"""Faults of disks, files and clocks: the right answer or one sentence, never a traceback, a wrong number or a crash."""

import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest
from conftest import PROJECT
from files import (
    LATENT,
    N_ROWS,
    RAW,
    feature_table,
    observations,
    write_card,
    write_dataset,
    write_format,
    write_table,
)
from toys import NAMES, write_catalog

from explorer import catalog, judgements, store, tables
from explorer.aggregate import build_map
from explorer.catalog import (
    identity_of,
    open_catalog,
    require_unchanged,
    shared_activity,
    shared_halves,
    shared_knowledge,
    shared_layout,
    shared_map,
    shared_moments,
    shared_overlaps,
    shared_screen,
)
from explorer.errors import InputError
from explorer.judgements import shared_grid, shared_judgement
from explorer.keeping import Shared, kept_on_disk
from explorer.layout import cached_umap
from explorer.load import load_dataset, load_screen
from explorer.store import cache_directory, load_arrays, save_arrays
from explorer.tables import open_table, read_npy

CHANGED = "was changed while it was open: (wait until it is whole, then )?open it again"
ARRAYS = {"coordinates": np.arange(12.0).reshape(6, 2), "names": np.array(["a", "b"])}
KEYS = tuple(f"{number:040x}" for number in range(8))
# As many as a verdict takes.
MANY = tuple(f"GENE{number:02}" for number in range(60))


@pytest.fixture(autouse=True)
def _nothing_shared_yet(monkeypatch):
    monkeypatch.setattr(catalog, "_shared", Shared())
    for name in ("_remembered", "_digests"):
        monkeypatch.setattr(judgements, name, Shared())


@contextmanager
def one_sentence(folder: Path, match: str | None = None) -> Iterator[None]:
    """Expect an error that a stranger may read: one line, and no word about where the server keeps its files."""
    with pytest.raises(InputError, match=match) as caught:
        yield
    text = str(caught.value)
    assert "\n" not in text
    assert "Traceback" not in text
    assert str(folder) not in text
    assert "/tmp" not in text


def outcome(make):
    """Take what a visitor sees: a fingerprint and profiles, or a sentence."""
    try:
        made = make()
    except InputError as error:
        return str(error)
    return made.profiles.tolist()


def run(script: str, *arguments: object, **options: object) -> str:
    """Run a script in a process of its own; it must end by itself, and well."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        env=environment,
        timeout=100,
        check=False,
        **options,
    )
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr[-2_000:]}"
    assert "Traceback" not in done.stderr
    return done.stdout


# Files that change while the server runs.

FORMS = ("dense.h5ad", "csr.h5ad", "dense.zarr", "v3.zarr", "npy", "parquet", "csv.gz")


def rewrite(path: Path, new: Path, *, how: str) -> None:
    """Put other content in a file's place: by renaming, or into the file that is there; its time is put back."""
    before = path.stat()
    if path.is_dir():
        shutil.rmtree(path)
        new.rename(path)
    elif how == "renamed":
        new.replace(path)
    else:
        path.write_bytes(new.read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def changed_format(folder: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the toy with other values of the same number of bytes where the format allows it."""
    with monkeypatch.context() as patch:
        patch.setattr("files.MATRICES", {"raw": RAW[:, ::-1], "scaled": 2 * RAW, "latent": LATENT[:, ::-1]})
        patch.setattr("files.RAW", RAW[:, ::-1])
        patch.setattr("files.LATENT", LATENT[:, ::-1])
        return write_format(folder, form)


@pytest.mark.parametrize("how", ["renamed", "written over"])
@pytest.mark.parametrize("form", FORMS)
def test_a_dataset_that_is_replaced_while_it_is_open(tmp_path, monkeypatch, form, how):
    monkeypatch.setattr(tables, "MOST_IN_MEMORY", 0)
    folder = write_format(tmp_path / "toy", form)
    other = changed_format(tmp_path / "other", form, monkeypatch)
    dataset = load_dataset(folder)
    before = shared_map(dataset, "cells", "latent")
    lazy = shared_screen(dataset, "cells")
    for new in sorted(other.iterdir()):
        if new.name != "card.toml":
            rewrite(folder / new.name, new, how=how)
    after = shared_map(dataset, "cells", "latent")
    expected = build_map(load_screen(load_dataset(folder)), "latent")
    assert not np.array_equal(after.profiles, before.profiles)
    np.testing.assert_array_equal(after.profiles, expected.profiles)
    assert after.fingerprint == expected.fingerprint != before.fingerprint
    # Whoever still holds the rows of before is told, and never given those of now.
    if form != "csv.gz":
        for read in (lambda: list(lazy.representation("latent").chunks()), lambda: build_map(lazy, "latent")):
            with one_sentence(tmp_path, CHANGED):
                read()


def test_one_representation_is_replaced_by_one_of_the_same_size(tmp_path):
    folder = write_dataset(tmp_path / "toy")
    dataset = load_dataset(folder)
    before = shared_map(dataset, "cells", "latent")
    new = write_table(tmp_path / "new.parquet", feature_table(observations().select("row"), LATENT[:, ::-1]))
    assert new.stat().st_size == (folder / "latent_cells.parquet").stat().st_size
    rewrite(folder / "latent_cells.parquet", new, how="written over")
    after = shared_map(dataset, "cells", "latent")
    np.testing.assert_array_equal(after.profiles, before.profiles[:, ::-1])


@pytest.mark.parametrize("what", ["screen", "knowledge"])
def test_a_file_that_is_replaced_while_it_is_being_read(tmp_path, monkeypatch, what):
    root = write_catalog(tmp_path)
    dataset = load_dataset(root / "toy")
    victim = root / {"screen": "toy/latent_alpha.parquet", "knowledge": "known/sets.gmt"}[what]
    name = {"screen": "load_screen", "knowledge": "knowledge_beside"}[what]
    real = getattr(catalog, name)

    def slow(*arguments):
        found = real(*arguments)
        shutil.copy(victim, root / "copy")
        (root / "copy").replace(victim)
        return found

    read = {"screen": lambda: shared_screen(dataset, "alpha"), "knowledge": lambda: shared_knowledge(dataset)}[what]
    with monkeypatch.context() as patch:
        patch.setattr(catalog, name, slow)
        with one_sentence(tmp_path, r"the files of 'toy' were changed while they were being read: .* reload the page"):
            read()
    assert read() is read()


def test_maps_of_two_states_are_never_judged_against_each_other(tmp_path, monkeypatch):
    root = write_catalog(tmp_path, names=MANY)
    dataset = load_dataset(root / "toy")
    real = judgements.shared_map
    asked = []

    def slow(*arguments, **options):
        made = real(*arguments, **options)
        asked.append(arguments)
        if len(asked) == 1:
            os.utime(root / "toy" / "latent_alpha.parquet")
        return made

    monkeypatch.setattr(judgements, "shared_map", slow)
    options = {"simple": "raw", "learned": "latent", "alignment": "none", "k": 3, "budget": 10}
    with one_sentence(tmp_path, "the files of 'toy' were changed"):
        shared_judgement(dataset, "alpha", **options)
    asked.clear()
    with one_sentence(tmp_path, "the files of 'toy' were changed"):
        shared_grid(dataset, "alpha", k=3)
    assert shared_judgement(dataset, "alpha", **options).simple == "raw"


def test_known_pairs_that_are_replaced(tmp_path):
    root = write_catalog(tmp_path)
    dataset = load_dataset(root / "toy")
    before = shared_knowledge(dataset)
    write_table(root / "known" / "pairs.parquet", pl.DataFrame({"a": [NAMES[0]], "b": [NAMES[1]]}))
    assert before.relationships[0].n_pairs > 1
    assert shared_knowledge(dataset).relationships[0].n_pairs == 1


def test_a_shipped_layout_that_is_replaced(tmp_path):
    folder = write_dataset(tmp_path / "toy", {"layouts": "layouts.parquet"})
    made = build_map(load_screen(load_dataset(write_dataset(tmp_path / "same"))), "raw")
    table = pl.DataFrame(
        {"recipe": made.fingerprint, "perturbation": made.names, "x": 1.0, "y": 2.0, "method": "UMAP",
         "trustworthiness": 0.9}
    )  # fmt: skip
    write_table(folder / "layouts.parquet", table)
    dataset = load_dataset(folder)
    assert shared_layout(dataset, made).coordinates[0].tolist() == [1, 2]
    write_table(folder / "layouts.parquet", table.with_columns(x=3.0))
    assert shared_layout(dataset, made).coordinates[0].tolist() == [3, 2]


def test_an_identity_follows_every_file_that_the_card_names(tmp_path):
    root = write_catalog(tmp_path)
    (root / "known" / "a link to nowhere").symlink_to(root / "absent")
    dataset = load_dataset(root / "toy")
    seen = {identity_of(dataset)}
    every = sorted(path for path in root.rglob("*") if path.is_file())
    assert len(every) == 10
    for number, path in enumerate(every, start=2):
        path.with_name("copy").write_bytes(path.read_bytes())
        shutil.copystat(path, path.with_name("copy"))
        path.with_name("copy").replace(path)
        seen.add(identity_of(dataset))
        assert len(seen) == number, path.name
    require_unchanged(dataset, identity_of(dataset))
    with one_sentence(tmp_path, "the files of 'toy' were changed"):
        require_unchanged(dataset, next(iter(seen - {identity_of(dataset)})))


# Cards.


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "toy/card.toml: 'title' is missing|the table \\[roles\\] is missing|name at least one"),
        (b"title = ", "toy/card.toml is not valid TOML"),
        (os.urandom(300) + b"\xff\xfe", "toy/card.toml is not valid TOML"),
        (None, "the dataset 'toy' (is no longer there|was changed while it was open)"),
    ],
)
def test_a_card_that_is_emptied_garbled_or_removed(tmp_path, content, match):
    folder = write_dataset(tmp_path / "catalog" / "toy")
    write_dataset(tmp_path / "catalog" / "whole")
    dataset = open_catalog(tmp_path / "catalog").dataset("toy")
    shared_map(dataset, "cells", "raw")
    (folder / "card.toml").unlink()
    if content is not None:
        (folder / "card.toml").write_bytes(content)
    for ask in (lambda: shared_map(dataset, "cells", "raw"), lambda: shared_screen(dataset, "cells")):
        with one_sentence(tmp_path, match):
            ask()
    found = open_catalog(tmp_path / "catalog")
    assert found.names == ("whole",)
    assert set(found.problems) == {"toy"}


def test_a_card_that_says_something_else_is_opened_anew(tmp_path):
    folder = write_dataset(tmp_path / "catalog" / "toy")
    dataset = open_catalog(tmp_path / "catalog").dataset("toy")
    before = shared_map(dataset, "cells", "raw")
    write_card(folder, {"roles/control": ["TP53"]})
    with one_sentence(tmp_path, "the dataset 'toy' was changed while it was open: open it again .*reload the page"):
        shared_map(dataset, "cells", "raw")
    reloaded = open_catalog(tmp_path / "catalog").dataset("toy")
    assert "TP53" not in shared_map(reloaded, "cells", "raw").names
    # The page that was open does not bring its old card into what others see.
    write_card(folder, {})
    assert shared_map(dataset, "cells", "raw").names == before.names
    with one_sentence(tmp_path, "was changed while it was open"):
        shared_map(reloaded, "cells", "raw")


def test_a_single_file_that_is_replaced(tmp_path):
    path = write_table(tmp_path / "rows.parquet", feature_table(observations(), RAW))
    dataset = open_catalog(path).dataset("rows")
    shared_map(dataset, "all", "X")
    write_table(path, feature_table(observations(), RAW + 1))
    with one_sentence(tmp_path, "the dataset 'rows' was changed while it was open: .*reload the page"):
        shared_map(dataset, "all", "X")
    assert shared_map(open_catalog(path).dataset("rows"), "all", "X").n_perturbations == 6


# What is gone, cut short or forbidden.


def test_a_folder_that_is_removed(tmp_path):
    root = tmp_path / "catalog"
    write_dataset(root / "toy")
    dataset = open_catalog(root).dataset("toy")
    shared_map(dataset, "cells", "raw")
    shutil.rmtree(root / "toy")
    asks = (
        lambda: shared_map(dataset, "cells", "raw"),
        lambda: shared_screen(dataset, "cells"),
        lambda: shared_knowledge(dataset),
        lambda: shared_activity(dataset, "cells", "raw"),
    )
    for ask in asks:
        with one_sentence(tmp_path, "the dataset 'toy' is no longer there"):
            ask()
    with one_sentence(tmp_path, "no usable dataset in 'catalog'"):
        open_catalog(root)
    shutil.rmtree(root)
    with one_sentence(tmp_path, "no such path: 'catalog'; check the spelling"):
        open_catalog(root)


@pytest.mark.parametrize("name", ["rows.parquet", "latent_cells.parquet"])
def test_a_file_that_is_removed(tmp_path, name):
    dataset = load_dataset(write_dataset(tmp_path / "toy"))
    shared_map(dataset, "cells", "raw")
    (tmp_path / "toy" / name).unlink()
    with one_sentence(tmp_path, rf"toy/card.toml: unknown file '{name}'"):
        shared_map(dataset, "cells", "raw")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("form", ["dense.h5ad", "csr.h5ad", "npy", "parquet", "csv.gz"])
def test_a_file_that_is_cut_short_between_listing_and_reading(tmp_path, monkeypatch, form, share):
    monkeypatch.setattr(tables, "MOST_IN_MEMORY", 0)
    folder = write_format(tmp_path / "toy", form)
    dataset, held = load_dataset(folder), load_screen(load_dataset(folder))
    whole = build_map(held, "latent").profiles.tolist()
    source = next(folder.glob("latent*"), None) or next(folder.glob("rows.*"))
    os.truncate(source, int(source.stat().st_size * share))
    seen = [outcome(lambda: shared_map(dataset, "cells", "latent")), outcome(lambda: build_map(held, "latent"))]
    if form == "csv.gz":  # read whole when it was opened
        assert seen.pop() == whole
    for text in seen:
        assert isinstance(text, str)
        assert source.name in text
        assert str(tmp_path) not in text


def test_a_zarr_folder_that_loses_a_chunk(tmp_path):
    folder = write_format(tmp_path / "toy", "dense.zarr")
    dataset = load_dataset(folder)
    held = shared_screen(dataset, "cells")
    next((folder / "rows.zarr" / "X").glob("0*")).unlink()
    with one_sentence(tmp_path, "'rows.zarr' lacks the chunk"):
        shared_map(dataset, "cells", "raw")
    with one_sentence(tmp_path, CHANGED):
        build_map(held, "raw")


CUT_WHILE_READ = """
import os, sys, threading, time, warnings
from pathlib import Path
import numpy as np
import explorer.tables as tables
from explorer.errors import InputError
from explorer.sources import read_blocks
from explorer.stored import stored_source
from explorer.tables import open_table, read_npy, split_features

tables.MOST_IN_MEMORY = 0
path = Path(sys.argv[1])
whole = path.read_bytes()
spare = path.with_name("spare")
readers = {
    ".parquet": lambda: split_features(open_table(path)).features,
    ".csv": lambda: split_features(open_table(path)).features,
    ".npy": lambda: read_npy(path),
    ".h5ad": lambda: stored_source(path, "X"),
}
over, seen = threading.Event(), {"whole": 0, "sentence": 0}


def cut():
    rng = np.random.default_rng(0)
    while not over.is_set():
        time.sleep(rng.uniform(0, 0.004))
        os.truncate(path, int(rng.integers(0, len(whole))))
        time.sleep(rng.uniform(0, 0.002))
        spare.write_bytes(whole)
        spare.replace(path)


thread = threading.Thread(target=cut)
expected = readers[path.suffix]().read(0, 10**6).sum()
thread.start()
deadline = time.monotonic() + float(sys.argv[2])
try:
    while time.monotonic() < deadline:
        try:
            source = readers[path.suffix]()
            total = sum(float(rows.sum(dtype="f8")) for _, rows in read_blocks(source, (0, source.shape[0]), 500))
            # Text does not say where it ends: a part of it is a table too, and is taken for what it is.
            assert path.suffix == ".csv" or abs(total - expected) < 1e-3 * expected, (total, expected)
            seen["whole"] += 1
        except InputError as error:
            assert "\\n" not in str(error)
            seen["sentence"] += 1
finally:
    over.set()
    thread.join()
print(seen["whole"], seen["sentence"])
"""


@pytest.mark.parametrize("ending", ["parquet", "csv", "npy", "h5ad"])
def test_files_that_are_cut_while_they_are_read_do_not_kill_the_server(tmp_path, ending):
    # A page of a memory map that lies beyond the end of its file kills the process; a read is only short.
    path = tmp_path / f"rows.{ending}"
    values = np.ones((4_000, 40), dtype=np.float32)
    table = feature_table(pl.DataFrame({"gene": ["a"] * len(values)}), values)
    if ending == "npy":
        np.save(path, values)
    elif ending == "h5ad":
        with h5py.File(path, "w") as file:
            file.create_dataset("X", data=values, chunks=(100, 40), compression="gzip")
    elif ending == "csv":
        table.write_csv(path)
    else:
        table.write_parquet(path, row_group_size=200)
    whole, sentences = map(int, run(CUT_WHILE_READ, path, 1.0).split())
    assert whole + sentences > 0


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux says what is mapped")
@pytest.mark.parametrize("form", FORMS)
def test_no_file_is_mapped_into_memory(tmp_path, monkeypatch, form):
    monkeypatch.setattr(tables, "MOST_IN_MEMORY", 0)
    monkeypatch.setattr(tables, "_PIECE_BYTES", 100)
    folder = write_format(tmp_path / "toy", form)
    scan, mapped = pl.scan_parquet, []

    def look():
        mapped.extend(line for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
                      if str(tmp_path) in line)  # fmt: skip

    def watched(source, **options):
        # Told nothing of the columns, polars maps the file to learn them.
        assert not isinstance(source, str | Path) or options["schema"]
        return scan(source, **options)

    monkeypatch.setattr(pl, "scan_parquet", watched)
    screen = load_screen(load_dataset(folder))
    look()
    for _ in screen.representation("latent").chunks(3):
        look()
    build_map(screen, "raw")
    look()
    assert mapped == []


@contextmanager
def forbidden(path: Path) -> Iterator[None]:
    """Take away the permission to read or write; root is somebody else meanwhile."""
    mode = path.stat().st_mode
    is_root = os.geteuid() == 0
    path.chmod(0)
    if is_root:
        os.seteuid(65_534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        path.chmod(mode)


@pytest.mark.parametrize("name", ["rows.parquet", "latent_cells.parquet", "card.toml", "."])
def test_permission_is_taken_away(tmp_path, name):
    root = tmp_path / "catalog"
    write_dataset(root / "toy")
    write_dataset(root / "whole")
    dataset = open_catalog(root).dataset("toy")
    expected = outcome(lambda: shared_map(dataset, "cells", "raw"))
    with forbidden(root / "toy" / name):
        for ask in (lambda: open_catalog(root).dataset("toy"), lambda: shared_map(dataset, "cells", "raw")):
            with suppress(InputError), one_sentence(tmp_path):
                ask()
                message = "nothing was forbidden"
                raise InputError(message)
    assert outcome(lambda: shared_map(dataset, "cells", "raw")) == expected
    with forbidden(root), one_sentence(tmp_path, "can't open 'catalog'"):
        open_catalog(root)


# The cache on disk.


def everything_is_as_it_was():
    found = load_arrays(KEYS[0])
    if found is None:
        return False
    assert found.keys() == ARRAYS.keys()
    for name, values in ARRAYS.items():
        np.testing.assert_array_equal(found[name], values)
    return True


DISK_FULL = """
import resource, signal, sys
import numpy as np
from explorer.keeping import kept_on_disk
from explorer.store import cache_directory, load_arrays, save_arrays

small, large = {"x": np.arange(10)}, {"x": np.arange(100_000)}
save_arrays("small", small)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
save_arrays("large", large)
assert load_arrays("large") is None
save_arrays("small", large)
assert (load_arrays("small")["x"] == small["x"]).all()
assert (kept_on_disk("other", lambda: large["x"], types=()) == large["x"]).all()
print(sorted(path.name for path in cache_directory().iterdir()))
"""


def test_a_disk_that_is_full(tmp_path):
    assert run(DISK_FULL).strip() == "['small.npz']"


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("where", ["write", "fsync", "rename"])
def test_a_disk_that_fails_costs_time_alone(tmp_path, monkeypatch, reason, where):
    def fail(*_, **__):
        raise OSError(reason, os.strerror(reason))

    save_arrays(KEYS[0], ARRAYS)
    before = sorted(cache_directory().iterdir())
    with monkeypatch.context() as patch:
        if where == "write":
            patch.setattr(store, "_write_all", fail)
        elif where == "fsync":
            patch.setattr(os, "fsync", fail)
        else:
            patch.setattr(Path, "replace", fail)
        assert kept_on_disk(KEYS[1], lambda: 1.5, types=()) == 1.5
    assert sorted(cache_directory().iterdir()) == before
    assert everything_is_as_it_was()


def test_a_cache_that_vanishes_or_may_not_be_written(tmp_path):
    save_arrays(KEYS[0], ARRAYS)
    shutil.rmtree(cache_directory())
    assert load_arrays(KEYS[0]) is None
    save_arrays(KEYS[0], ARRAYS)
    assert everything_is_as_it_was()
    with forbidden(cache_directory()):
        assert kept_on_disk(KEYS[1], lambda: 2.5, types=()) == 2.5
        assert kept_on_disk(KEYS[0], lambda: 3.5, types=()) == 3.5
    assert everything_is_as_it_was()


KILLED = """
import os, random, signal, sys, time
import numpy as np
from explorer.store import cache_directory, load_arrays, remove_oldest, save_arrays


def content(turn):
    return {"turn": np.array(turn), "values": np.full(50_000, turn)}


generator, served, torn, left = random.Random(int(sys.argv[1])), 0, 0, 0
for number in range(7):
    save_arrays(f"{number:040x}", content(number))
for turn in range(int(sys.argv[2])):
    key = f"{turn % 7:040x}"
    child = os.fork()
    if not child:
        while True:
            save_arrays(key, content(turn))
    while turn % 2 and not any(path.name.split(".")[-4] == str(child) for path in cache_directory().glob(".*")):
        pass  # until it writes
    time.sleep(generator.uniform(0, 0.02 if turn % 2 == 0 else 0.002))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    left = max(left, sum(path.name.startswith(".") for path in cache_directory().glob(".*")))
    for number in (turn % 7, (turn + 3) % 7):
        found = load_arrays(f"{number:040x}")
        if found is not None:
            served += 1
            torn += not (found["values"] == found["turn"]).all() or int(found["turn"]) % 7 != number
remove_oldest(cache_directory(), limit=10**12)
names = sorted(path.name for path in cache_directory().iterdir())
assert all(len(name) == 44 for name in names), names
print(served, torn, left)
"""


@pytest.mark.slow
def test_writers_that_are_killed_a_hundred_times(tmp_path):
    served, torn, left = map(int, run(KILLED, 0, 100).split())
    assert served == 200
    assert torn == 0
    assert left > 0, "no process was killed while it wrote"


TWO_WRITERS = """
import os, sys, time
import numpy as np
from explorer.store import cache_directory, load_arrays, save_arrays

os.environ["EXPLORER_CACHE_BYTES"] = "300kB"
deadline, wrong, served = time.monotonic() + 1.5, 0, 0
other = os.fork()
turn = 0
while time.monotonic() < deadline:
    turn += 1
    key = f"{turn % 12:040x}"
    save_arrays(key, {"key": np.array(turn % 12), "values": np.full(5_000, turn % 12)})
    found = load_arrays(f"{(turn * 5) % 12:040x}")
    if found is not None:
        served += 1
        wrong += int(found["key"]) != (turn * 5) % 12 or not (found["values"] == found["key"]).all()
assert not wrong
assert served
if not other:
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) == 0
size = sum(path.stat().st_size for path in cache_directory().iterdir())
assert size < 400_000, size
print(served)
"""


def test_two_writers_on_one_store(tmp_path):
    assert int(run(TWO_WRITERS)) > 0


@pytest.mark.parametrize("seconds", [0, 1, 2**31 - 1, 4_000_000_000])
def test_a_clock_that_was_set_back_or_ahead(tmp_path, monkeypatch, seconds):
    # Entries and files from another time are what they are; nothing is older or newer, it is the same or it is not.
    save_arrays(KEYS[0], ARRAYS)
    os.utime(cache_directory() / f"{KEYS[0]}.npz", (seconds, seconds))
    assert everything_is_as_it_was()
    folder = write_dataset(tmp_path / "toy")
    dataset = load_dataset(folder)
    before = shared_map(dataset, "cells", "latent")
    new = write_table(tmp_path / "new.parquet", feature_table(observations().select("row"), LATENT[:, ::-1]))
    os.utime(new, (seconds, seconds))
    new.replace(folder / "latent_cells.parquet")
    np.testing.assert_array_equal(shared_map(dataset, "cells", "latent").profiles, before.profiles[:, ::-1])
    os.utime(folder / "card.toml", (seconds, seconds))
    np.testing.assert_array_equal(shared_map(dataset, "cells", "latent").profiles, before.profiles[:, ::-1])
    # What leaves first may be a poor choice; what is served stays right.
    monkeypatch.setenv("EXPLORER_CACHE_BYTES", "9000")
    for key in KEYS[1:]:
        save_arrays(key, ARRAYS)
        os.utime(cache_directory() / f"{key}.npz", (seconds, seconds))
    save_arrays(KEYS[0], ARRAYS)
    assert everything_is_as_it_was()
    assert sum(load_arrays(key) is not None for key in KEYS) <= 2


def evil_in(folder: Path) -> object:
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(folder / "run"),)

    return Evil()


def poison_renamed(path: Path) -> None:
    save_arrays(KEYS[3], {"coordinates": np.full((6, 2), 9.0), "trustworthiness": np.array(0.1)})
    path.with_name(f"{KEYS[3]}.npz").replace(path)


def poison_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    place = content.index(np.float32(0.5).tobytes() * 2)
    content[place] ^= 1
    path.write_bytes(content)


def poison_pickle(path: Path) -> None:
    np.savez(path, coordinates=np.array([evil_in(path.parent)], dtype=object), trustworthiness=np.array(0.1))


def poison_edited(path: Path) -> None:
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    np.savez(path, **(arrays | {"coordinates": arrays["coordinates"] + 1}))


def poison_other_program(path: Path) -> None:
    np.savez(path, coordinates=np.full((6, 2), 9.0, dtype=np.float32), trustworthiness=np.array(0.1))


@pytest.mark.parametrize(
    "poison", [poison_renamed, poison_bit, poison_pickle, poison_edited, poison_other_program], ids=lambda p: p.__name__
)
def test_a_poisoned_entry_is_made_anew(tmp_path, monkeypatch, poison):
    made = build_map(load_screen(load_dataset(write_dataset(tmp_path / "toy"))), "raw")
    calls = []

    def quick(perturbation_map, *, seed):
        calls.append(1)
        return type(catalog.pca_layout(made))("UMAP", np.full((6, 2), 0.5, dtype=np.float32), 0.9)

    monkeypatch.setattr("explorer.layout.umap_layout", quick)
    cached_umap(made, compute=True)
    (path,) = cache_directory().iterdir()
    poison(path)
    assert cached_umap(made, compute=False) is None
    assert cached_umap(made, compute=True).coordinates.tolist() == [[0.5, 0.5]] * 6
    assert cached_umap(made, compute=False).trustworthiness == 0.9
    assert len(calls) == 2
    assert not (cache_directory() / "run").exists()


# A pickle is never run, wherever it lies.


def npy_pickle(folder: Path) -> Path:
    write_format(folder, "npy")
    np.save(folder / "latent.npy", np.array([[evil_in(folder)] * 3] * N_ROWS, dtype=object), allow_pickle=True)
    return folder


def bare_pickle(folder: Path) -> Path:
    write_format(folder, "npy")
    (folder / "latent.npy").write_bytes(pickle.dumps(evil_in(folder)))
    return folder


def h5ad_pickle(folder: Path) -> Path:
    write_format(folder, "dense.h5ad")
    content = pickle.dumps(evil_in(folder))
    with h5py.File(folder / "rows.h5ad", "r+") as file:
        for node in (file, file["obs"], file["X"]):
            node.attrs["pickle"] = np.void(content)
        del file["obs/plate"]
        file["obs"].create_dataset("plate", data=np.array([np.void(content)] * N_ROWS))
    return folder


def zarr_pickle(folder: Path) -> Path:
    write_format(folder, "dense.zarr")
    column = folder / "rows.zarr" / "obs" / "plate"
    shutil.rmtree(column)
    column.mkdir()
    described = {
        "zarr_format": 2, "shape": [N_ROWS], "chunks": [N_ROWS], "dtype": "|O", "compressor": None, "order": "C",
        "fill_value": None, "filters": [{"id": "pickle", "protocol": 5}],
    }  # fmt: skip
    (column / ".zarray").write_text(json.dumps(described), encoding="utf-8")
    (column / ".zattrs").write_text(json.dumps({"encoding-type": "string-array"}), encoding="utf-8")
    (column / "0").write_bytes(pickle.dumps(np.array([evil_in(folder)] * N_ROWS, dtype=object)))
    (folder / "rows.zarr" / ".zmetadata").unlink(missing_ok=True)
    return folder


@pytest.mark.parametrize("plant", [npy_pickle, bare_pickle, h5ad_pickle, zarr_pickle], ids=lambda p: p.__name__)
def test_a_pickle_in_a_dataset_is_never_run(tmp_path, plant):
    folder = plant(tmp_path / "toy")
    with one_sentence(tmp_path):
        build_map(load_screen(load_dataset(folder)), "latent")
    assert not (folder / "run").exists()


def test_the_planted_pickles_would_do_what_they_are_for(tmp_path):
    npy_pickle(tmp_path / "toy")
    np.load(tmp_path / "toy" / "latent.npy", allow_pickle=True)
    assert (tmp_path / "toy" / "run").is_dir()


# Nothing outside the catalog.

SECRET = "the secret"


@pytest.fixture
def secret(tmp_path):
    """Files outside the catalog that would be of use to an attacker, of every kind that a card may name."""
    outside = tmp_path / "outside"
    write_table(outside / "rows.parquet", feature_table(observations(), RAW))
    write_table(outside / "pairs.parquet", pl.DataFrame({"a": [SECRET], "b": ["TP53"]}))
    (outside / "sets.gmt").write_text(f"{SECRET}\t\tTP53\tMDM2\n", encoding="utf-8")
    np.save(outside / "latent.npy", LATENT)
    write_card(outside, {})
    return outside


@pytest.mark.parametrize("way", ["dots", "absolute", "link", "linked folder"])
@pytest.mark.parametrize("what", ["rows", "source", "layouts", "relationships", "pairs", "sets"])
def test_a_card_reaches_nothing_outside(tmp_path, secret, what, way):
    root = write_catalog(tmp_path / "catalog")
    files = {"rows": "rows.parquet", "source": "latent.npy", "layouts": "rows.parquet", "relationships": "",
             "pairs": "pairs.parquet", "sets": "sets.gmt"}  # fmt: skip
    home = root / ("known" if what in ("pairs", "sets") else "toy")
    if way == "dots":
        name = f"../../outside/{files[what]}"
    elif way == "absolute":
        name = str(secret / files[what])
    elif way == "link":
        name = "way-out"
        (root / name if what == "relationships" else home / name).symlink_to(secret / files[what])
    else:
        (home / "way-out").symlink_to(secret)
        name = f"way-out/{files[what]}"
    changes = {
        "rows": {"contexts/alpha/rows": name},
        "source": {"representations/latent/source": name},
        "layouts": {"layouts": name},
        "relationships": {"relationships": name},
    }
    known = {
        "pairs": {"relationships/Pairs/file": name},
        "sets": {"gene_sets/Sets/file": name},
    }
    write_catalog(root, changes.get(what), known=known.get(what))
    match = "there is no folder of that name" if what == "relationships" else "must lie inside the dataset's folder"

    def ask():
        dataset = open_catalog(root).dataset("toy")
        shared_map(dataset, "alpha", "latent")
        return shared_knowledge(dataset)

    if way == "absolute":  # the card's own words, as its author wrote them
        with pytest.raises(InputError, match=match):
            ask()
    else:
        with one_sentence(tmp_path, match):
            ask()


@pytest.mark.parametrize(
    "name", ["..", ".", "", "toy/", "../outside", "toy/../../outside", "\0", "way-out", "a" * 5_000]
)
def test_a_dataset_is_one_of_those_that_are_listed(tmp_path, secret, name):
    root = write_catalog(tmp_path / "catalog")
    (root / "way-out").symlink_to(secret)
    with one_sentence(tmp_path, "a link that leads out" if name == "way-out" else "unknown dataset"):
        open_catalog(root).dataset(name)


# What sessions share.


def arrays_within(value: object, seen: set[int]) -> Iterator[tuple[str, np.ndarray]]:
    """Walk everything that can be reached from a value, by whatever way."""
    if id(value) in seen or isinstance(value, str | bytes | int | float | type | None):
        return
    seen.add(id(value))
    if isinstance(value, np.ndarray):
        yield "", value
        return
    if isinstance(value, dict):
        parts = list(value.items())
    elif isinstance(value, tuple | list | set | frozenset):
        parts = list(enumerate(value))
    else:
        names = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
        names += list(getattr(value, "__dict__", {}))
        parts = [(name, getattr(value, name, None)) for name in names if not name.startswith("__")]
    for name, part in parts:
        for below, array in arrays_within(part, seen):
            yield f"{name}/{below}", array


def test_nothing_that_sessions_share_can_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MOST_IN_MEMORY", 1_000)
    pca = {"kind": "simple", "source": "X", "transform": "pca", "components": 3}
    root = write_catalog(tmp_path, {"representations/components": pca}, names=MANY)
    dataset = open_catalog(root).dataset("toy")
    shared = []
    for name in ("raw", "latent", "components"):
        for alignment in ("none", "center-scale"):
            made = shared_map(dataset, "alpha", name, alignment=alignment)
            shared += [
                made,
                shared_halves(dataset, "alpha", name, alignment=alignment),
                shared_activity(dataset, "alpha", name, alignment=alignment),
                shared_layout(dataset, made),
            ]
        shared.append(shared_moments(dataset, "alpha", name))
    shared.append(shared_screen(dataset, "alpha"))
    shared.append(shared_overlaps(shared[0], shared[0], k=3))
    shared.append(shared_knowledge(dataset))
    judged = shared_judgement(dataset, "alpha", simple="raw", learned="latent", alignment="none", k=3, budget=10)
    walked = list(arrays_within([*shared, judged], set()))
    assert len(walked) > 60
    assert {name: array for name, array in walked if array.flags.writeable} == {}


def test_tables_hold_a_state_from_the_start(tmp_path):
    # Opened, then replaced before the first row is read: the rows are not those whose names were read.
    path = write_table(tmp_path / "rows.parquet", feature_table(observations(), RAW))
    table = open_table(path)
    npy = tmp_path / "a.npy"
    np.save(npy, RAW)
    source = read_npy(npy)
    for file in (path, npy):
        shutil.copy(file, tmp_path / "copy")
        (tmp_path / "copy").replace(file)
    for read in (lambda: table["gene"], lambda: source.read(0, 3), source.fingerprint):
        with one_sentence(tmp_path, CHANGED):
            read()
