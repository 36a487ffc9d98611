"""What a server offers, and nothing else; read once, whoever asks."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pytest
from builders import map_of, names_of, random_map
from files import (
    PAYLOADS,
    RAW,
    feature_table,
    observations,
    toml_of,
    write_card,
    write_dataset,
    write_table,
    write_two_datasets,
)

from explorer import catalog
from explorer.catalog import (
    Catalog,
    open_catalog,
    shared_common,
    shared_halves,
    shared_knowledge,
    shared_layout,
    shared_map,
    shared_moments,
    shared_overlaps,
    shared_part,
    shared_pictures,
    shared_screen,
)
from explorer.errors import InputError
from explorer.keeping import Shared
from explorer.layout import Layout, rotate_onto
from explorer.load import load_dataset, load_screen


@pytest.fixture(autouse=True)
def _nothing_shared_yet(monkeypatch):
    monkeypatch.setattr(catalog, "_shared", Shared())


@pytest.fixture
def root(tmp_path):
    return write_two_datasets(tmp_path / "catalog")


def test_datasets_by_name(root):
    found = open_catalog(root)
    assert found.names == ("one", "two")
    assert found.problems == {}
    assert found.dataset("two").card.title == "Toy"


@pytest.mark.parametrize("part", ["one", "one/rows.parquet"])
def test_a_dataset_or_a_file_is_a_catalog_of_one(root, part):
    assert open_catalog(root / part).names == (part.split("/")[-1].split(".")[0],)


def test_what_is_no_dataset_is_not_listed(root, tmp_path):
    (root / "notes.txt").write_text("hello")
    (root / "empty").mkdir()
    (root / "known").mkdir()
    (root / "known" / "card.toml").write_text(toml_of({"kind": "relationships", "title": "Known"}))
    write_dataset(root / "deeper" / "three")
    found = open_catalog(root)
    assert found.names == ("one", "two")
    assert found.problems == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"titel": "x"}, "unknown key 'titel'"),
        ({"roles/control": 5}, "'control' is '5'"),
        ({"contexts/cells/rows": "absent.parquet"}, "unknown file 'absent.parquet'"),
        ({"contexts/cells/rows": "../one/rows.parquet"}, "must lie inside"),
        ({"contexts/cells/rows": "x\0y"}, "can't be opened"),
    ],
)
def test_a_broken_dataset_does_not_hide_the_others(root, changes, message):
    write_dataset(root / "broken", changes)
    found = open_catalog(root)
    assert found.names == ("one", "two")
    assert found.problems.keys() == {"broken"}
    with pytest.raises(InputError, match=message):
        found.dataset("broken")


def test_only_broken_datasets(tmp_path):
    write_dataset(tmp_path / "root" / "broken", {"titel": "x"})
    with pytest.raises(InputError, match=r"no usable dataset in 'root': broken/card.toml: unknown key 'titel'"):
        open_catalog(tmp_path / "root")


def test_an_empty_folder(tmp_path):
    with pytest.raises(InputError, match=r"no usable dataset in '.*': no folder with a card.toml in it"):
        open_catalog(tmp_path)


def test_unknown_dataset(root):
    with pytest.raises(InputError, match=r"unknown dataset 'on': did you mean 'one'\?"):
        open_catalog(root).dataset("on")


def test_links_that_lead_out_are_ignored(root, tmp_path):
    write_dataset(tmp_path / "secret")
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "loop").symlink_to(root / "loop")
    (root / "dangling").symlink_to(tmp_path / "nowhere")
    (root / "again").symlink_to(root / "one")
    found = open_catalog(root)
    assert found.names == ("again", "one", "two")
    assert found.problems == {"out": "'out' is a link that leads out of the catalog: put the folder itself there"}


@pytest.mark.parametrize("name", ["rows.h5ad", "rows.parquet", "rows.csv", "rows.zarr"])
def test_a_folder_of_data_without_a_card_is_a_problem(root, name):
    for folder in ("three", ".hidden"):
        (root / folder).mkdir()
        (root / folder / name).write_bytes(b"")
    found = open_catalog(root)
    assert found.names == ("one", "two")
    assert found.problems == {
        "three": "no card.toml in 'three': write one beside its files, or take the folder out of the catalog"
    }


@pytest.mark.parametrize("name", [name.replace("/", "-") for name in PAYLOADS] + [".hidden", "-x", "x" * 81])
def test_folders_with_other_names_are_ignored(root, name):
    write_dataset(root / name)
    assert open_catalog(root).names == ("one", "two")


@pytest.mark.parametrize("name", ["../one", "one/", "/etc", "", "ONE", "\x1b[31m", "x" * 10_000, "<img src=x>"])
def test_names_from_a_link_never_reach_the_disk(root, name):
    found = open_catalog(root)
    with pytest.raises(InputError, match="unknown dataset") as caught:
        found.dataset(name)
    assert str(caught.value).isprintable()


def test_ten_sessions_load_once(root, monkeypatch):
    calls = []
    together = threading.Barrier(10)

    def counted(dataset, context):
        calls.append(context)
        return load_screen(dataset, context)

    monkeypatch.setattr(catalog, "load_screen", counted)
    dataset = load_dataset(root / "one")

    def session(_):
        together.wait(timeout=30)
        return shared_map(dataset, "cells", "raw")

    with ThreadPoolExecutor(10) as pool:
        maps = list(pool.map(session, range(10)))
    assert calls == ["cells"]
    assert all(made is maps[0] for made in maps)


def test_a_load_that_fails_is_tried_again(root, monkeypatch):
    answers = [InputError("not yet"), None]

    def unsteady(dataset, context):
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        return load_screen(dataset, context)

    monkeypatch.setattr(catalog, "load_screen", unsteady)
    dataset = load_dataset(root / "one")
    with pytest.raises(InputError, match="not yet"):
        shared_screen(dataset, "cells")
    assert shared_screen(dataset, "cells").context.name == "cells"


def test_what_is_shared_is_read_only(root):
    dataset = load_dataset(root / "one")
    made = shared_map(dataset, "cells", "raw", alignment="center")
    values = shared_screen(dataset, "cells").representation("raw").source.values
    for array in (made.profiles, made.norms, values):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_contexts_representations_and_alignments_are_kept_apart(root):
    dataset, other = load_dataset(root / "one"), load_dataset(root / "two")
    maps = [
        shared_map(dataset, "cells", "raw"),
        shared_map(dataset, "cells", "latent"),
        shared_map(dataset, "cells", "raw", alignment="center"),
        shared_map(other, "cells", "raw"),
    ]
    assert len({id(made) for made in maps}) == 4
    assert shared_map(dataset, "cells", "raw") is maps[0]


def test_a_dataset_that_was_replaced_is_read_again(root):
    dataset = load_dataset(root / "one")
    before = shared_map(dataset, "cells", "raw")
    write_table(root / "one" / "rows.parquet", feature_table(observations(), RAW + 1))
    card = root / "one" / "card.toml"
    stamp = card.stat().st_mtime + 10
    os.utime(card, (stamp, stamp))
    assert shared_map(dataset, "cells", "raw").fingerprint != before.fingerprint


def test_a_dataset_that_is_gone(root):
    dataset = load_dataset(root / "one")
    (root / "one" / "card.toml").unlink()
    for item in (root / "one").iterdir():
        item.unlink()
    (root / "one").rmdir()
    with pytest.raises(InputError, match="the dataset 'one' is no longer there"):
        shared_screen(dataset, "cells")


def test_the_oldest_leave_when_there_are_many():
    shared, made = Shared(3), []

    def value(number):
        return shared.get(number, lambda: made.append(number) or number)

    for number in (1, 2, 3, 1, 4, 1, 2):
        assert value(number) == number
    assert made == [1, 2, 3, 4, 2]
    assert shared.peek(1) == 1
    assert shared.peek(3) is None


def test_overlaps_halves_and_knowledge(root):
    dataset = load_dataset(root / "one")
    left, right = (shared_map(dataset, "cells", name) for name in ("raw", "latent"))
    assert shared_overlaps(left, right, k=2) is shared_overlaps(left, right, k=2)
    assert shared_overlaps(left, right, k=3).k == 3
    assert shared_overlaps(left, left, k=2).mean == 1
    halves = shared_halves(dataset, "cells", "raw")
    assert halves is shared_halves(dataset, "cells", "raw")
    assert halves[0].names == left.names
    assert shared_knowledge(dataset).relationships == ()


def layouts_of(made):
    return pl.DataFrame(
        {
            "recipe": made.fingerprint,
            "perturbation": made.names,
            "x": np.arange(6.0),
            "y": np.zeros(6),
            "method": "UMAP",
            "trustworthiness": 0.9,
        }
    )


def test_a_shipped_layout_goes_first(root):
    dataset = load_dataset(root / "one")
    made = shared_map(dataset, "cells", "raw")
    assert shared_layout(dataset, made).method == "PCA"
    write_table(root / "two" / "layouts.parquet", layouts_of(made))
    write_card(root / "two", {"layouts": "layouts.parquet"})
    catalog._shared = Shared()
    assert shared_layout(load_dataset(root / "two"), made).method == "UMAP"


def test_a_layout_made_later_is_shown(root, monkeypatch):
    dataset = load_dataset(root / "one")
    made = shared_map(dataset, "cells", "raw")
    pca = shared_layout(dataset, made)

    def quick(perturbation_map, *, compute):
        return type(pca)("UMAP", pca.coordinates, 0.9) if compute else None

    monkeypatch.setattr(catalog, "cached_umap", quick)
    assert shared_layout(dataset, made).method == "PCA"
    assert shared_layout(dataset, made, compute_umap=True).method == "UMAP"
    assert shared_layout(dataset, made).method == "UMAP"


def test_parts_and_common_perturbations_are_taken_once():
    left, right = random_map(12, 4, seed=0), map_of(np.eye(12, 4) + 1, names_of(14)[2:])
    maps = shared_common(left, right)
    assert maps[0].names == maps[1].names == names_of(12)[2:]
    assert all(again is one for again, one in zip(shared_common(left, right), maps, strict=True))
    assert shared_common(left, left) == (left, left)
    part = shared_part(left, ["P0007", "P0001", "P0003", "elsewhere"], said="three of them")
    assert part.names == ("P0001", "P0003", "P0007")
    np.testing.assert_array_equal(part.profiles, left.profiles[[1, 3, 7]])
    assert part.recipe.filter == "all rows; three of them"
    assert shared_part(left, ("P0003", "P0007", "P0001", "elsewhere"), said="three of them") is part
    assert shared_part(left, part.names, said="others") is not part


def test_pictures_are_laid_on_each_other_once():
    rng = np.random.default_rng(0)
    left, right = random_map(12, 4, seed=0), map_of(rng.normal(size=(12, 4)), names_of(14)[2:])
    layouts = tuple(Layout("PCA", rng.normal(size=(12, 2)).astype(np.float32), 0.5) for _ in range(2))
    parts = shared_common(left, right)
    one, other = shared_pictures(layouts, (left, right), parts)
    np.testing.assert_array_equal(one.coordinates, layouts[0].coordinates[2:])
    np.testing.assert_array_equal(other.coordinates, rotate_onto(one.coordinates, layouts[1].coordinates[:10]))
    assert (other.method, other.trustworthiness) == ("PCA", 0.5)
    # The widget knows by the very arrays that there is nothing to send.
    again = shared_pictures(layouts, (left, right), parts)
    assert [layout.coordinates is before.coordinates for layout, before in zip(again, (one, other), strict=True)] == [
        True,
        True,
    ]
    assert shared_pictures(layouts, (left, left), (left, left))[0].coordinates is layouts[0].coordinates


def test_maps_of_the_same_perturbations_share_their_names(root):
    dataset = load_dataset(root / "one")
    maps = [shared_map(dataset, "cells", "raw", alignment=alignment) for alignment in ("none", "center")]
    assert maps[0].names is maps[1].names


def test_large_tables_of_units_are_not_all_kept(root, monkeypatch):
    dataset = load_dataset(root / "one")
    kept = shared_moments(dataset, "cells", "raw")
    assert shared_moments(dataset, "cells", "raw") is kept
    monkeypatch.setattr(catalog, "_large_moments", Shared(most=1))
    monkeypatch.setattr(catalog, "MOST_KEPT_MOMENTS", 0)
    large = shared_moments(dataset, "cells", "raw")
    assert large is not kept
    assert shared_moments(dataset, "cells", "raw") is large
    other = load_dataset(root / "two")
    shared_moments(other, "cells", "raw")
    assert shared_moments(dataset, "cells", "raw") is not large
    np.testing.assert_array_equal(shared_moments(dataset, "cells", "raw").unit_mean, kept.unit_mean)


def test_a_catalog_is_made_of_datasets(root):
    assert Catalog({"one": load_dataset(root / "one")}).names == ("one",)
