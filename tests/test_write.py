"""Where a map may be written, checked before anything is read; and a disk that fills up."""

import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pytest
import toys
from builders import map_of, random_map
from files import PAYLOADS, toy_anndata, write_anndata, write_dataset

from explorer import write as write_module
from explorer.cli import main
from explorer.errors import InputError
from explorer.write import check_target, write_map


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return toys.write_catalog(tmp_path_factory.mktemp("catalog")) / "toy"


def listing(folder: Path) -> list[str]:
    return sorted(item.relative_to(folder).as_posix() for item in folder.rglob("*"))


def make_folder(folder: Path) -> Path:
    (folder / "map.h5ad").mkdir()
    return folder / "map.h5ad"


def make_file_for_a_folder(folder: Path) -> Path:
    (folder / "file").write_text("")
    return folder / "file" / "map.h5ad"


def make_zarr(folder: Path) -> Path:
    (folder / "rows.zarr" / "X").mkdir(parents=True)
    return folder / "rows.zarr" / "X" / "map.h5ad"


TARGETS = {
    "no ending": (lambda folder: folder / "map", "--out is 'map', expected a name that ends in .h5ad"),
    "another ending": (lambda folder: folder / "map.zarr", "--out is 'map.zarr', expected a name that ends in .h5ad"),
    "the ending alone": (lambda folder: folder / ".h5ad", "--out is '.h5ad', expected a name that ends in .h5ad"),
    "no name": (lambda _: Path("/"), "--out is '/', expected a name that ends in .h5ad"),
    "a folder": (make_folder, "--out 'map.h5ad' is a folder: give the name of a file"),
    "no folder": (lambda folder: folder / "absent" / "map.h5ad", "absent', which does not exist: make it first"),
    "a file for a folder": (make_file_for_a_folder, "file', which does not exist: make it first"),
    "in a zarr store": (make_zarr, "--out 'map.h5ad' lies in a zarr store, which it would damage"),
    "a payload": (lambda folder: folder / PAYLOADS[0].replace("/", "-"), "--out is '<img src=x onerror=alert"),
    "a huge name": (lambda folder: folder / f"{'x' * 5000}.h5ad", "File name too long"),
}


@pytest.mark.parametrize(("make", "message"), TARGETS.values(), ids=TARGETS)
def test_targets_that_cannot_be(dataset, tmp_path, capsys, make, message):
    target = make(tmp_path)
    before = listing(tmp_path)
    status = main(["build", str(dataset), "--representation", "raw", "--out", str(target)])
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert err.startswith("explorer: ")
    assert message in err
    assert len(err.splitlines()) == 1
    assert listing(tmp_path) == before


def test_the_target_is_checked_before_anything_is_read(tmp_path, capsys):
    assert main(["build", str(tmp_path / "absent"), "--representation", "raw", "--out", "map.txt"]) == 2
    assert "expected a name that ends in .h5ad" in capsys.readouterr().err


@pytest.mark.parametrize("link", ["same", "symbolic", "hard"])
@pytest.mark.parametrize("whole", [True, False])
def test_what_the_map_is_made_of_is_never_replaced(tmp_path, capsys, link, whole):
    write_dataset(tmp_path / "toy", {"contexts/cells/rows": "rows.h5ad", "representations/latent": None})
    rows = write_anndata(tmp_path / "toy" / "rows.h5ad", toy_anndata())
    target = rows if link == "same" else tmp_path / "map.h5ad"
    if link == "symbolic":
        target.symlink_to(rows)
    if link == "hard":
        target.hardlink_to(rows)
    content = rows.read_bytes()
    source, name = (tmp_path / "toy", "raw") if whole else (rows, "X")
    assert main(["build", str(source), "--representation", name, "--out", str(target)]) == 2
    assert "is a file that the map is made of: give another name" in capsys.readouterr().err
    assert rows.read_bytes() == content


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match=r"can't write in .*: Permission denied; choose another folder"):
        check_target(tmp_path / "map.h5ad", source=tmp_path / "rows.h5ad")


def test_a_folder_that_takes_no_file(tmp_path, monkeypatch):
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(write_module.tempfile, "TemporaryFile", refuse)
    with pytest.raises(InputError, match=r"can't write in .*: Permission denied; choose another folder"):
        check_target(tmp_path / "map.h5ad", source=tmp_path / "rows.h5ad")


def test_a_good_target_is_left_alone(tmp_path):
    check_target(tmp_path / "map.h5ad", source=tmp_path / "rows.h5ad")
    assert listing(tmp_path) == []


def test_map_comes_back(tmp_path):
    made = random_map(20, 6, seed=0)
    write_map(tmp_path / "map.h5ad", made)
    found = anndata.read_h5ad(tmp_path / "map.h5ad")
    np.testing.assert_array_equal(found.X, made.profiles)
    assert tuple(found.obs_names) == made.names
    assert found.uns["explorer"]["fingerprint"] == made.fingerprint
    assert listing(tmp_path) == ["map.h5ad"]


def test_any_name_can_be_written(tmp_path):
    made = map_of(np.eye(len(PAYLOADS)), PAYLOADS)
    write_map(tmp_path / "map.h5ad", made)
    found = anndata.read_h5ad(tmp_path / "map.h5ad")
    assert set(found.obs_names) == set(PAYLOADS)
    for name in PAYLOADS:
        np.testing.assert_array_equal(found[name].X[0], made.profiles[made.position(name)])


def test_others_may_read_it_where_the_mask_says_so(tmp_path):
    mask = os.umask(0o027)
    try:
        write_map(tmp_path / "map.h5ad", random_map(5, 3, seed=0))
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "map.h5ad").stat().st_mode) == 0o640


# HDF5 alone crashes where the limit falls among its own records.
@pytest.mark.parametrize(("most", "older"), [(0, False), (2048, True), (8192, False), (26_000, True)])
def test_a_full_disk(dataset, tmp_path, most, older):
    target = tmp_path / "map.h5ad"
    if older:
        write_map(target, random_map(5, 3, seed=1))
    before = listing(tmp_path), target.read_bytes() if older else None

    def limit() -> None:
        # Python ignores the signal that comes with it, so that a write fails as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    made = subprocess.run(
        [sys.executable, "-B", "-m", "explorer.cli", "build", str(dataset), "--representation", "raw", "--out",
         str(target)],
        capture_output=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, preexec_fn=limit,
        timeout=120, check=False,
    )  # fmt: skip
    lines = made.stderr.decode().splitlines()
    assert (made.returncode, made.stdout) == (2, b"")
    assert [line for line in lines if not line.startswith("note: ")] == lines[-1:]
    assert "can't write" in lines[-1]
    assert (listing(tmp_path), target.read_bytes() if older else None) == before
