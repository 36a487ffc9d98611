"""Pictures made ahead: the table holds every map's, and each is found by its recipe."""

import files
import numpy as np
import polars as pl
import pytest

from explorer import pictures
from explorer.aggregate import build_map
from explorer.errors import InputError
from explorer.layout import pca_layout
from explorer.load import load_dataset, load_layout, load_screen


@pytest.fixture
def quick(monkeypatch):
    """PCA instead of UMAP, and two alignments instead of all."""
    monkeypatch.setattr(pictures, "umap_layout", pca_layout)
    monkeypatch.setattr(pictures, "METHODS", ("none", "center"))


def dataset_with(tmp_path, layouts, **changes):
    folder = files.write_dataset(tmp_path / "toy", {"layouts": layouts, **changes})
    # The reader wants the file that the card names; the writer makes it.
    return folder


def test_every_map_has_its_picture(tmp_path, quick):
    folder = dataset_with(tmp_path, "layouts.parquet")
    told = []
    path = pictures.write_layouts(folder, progress=told.append)
    assert path == folder / "layouts.parquet"
    dataset = load_dataset(folder)
    screen = load_screen(dataset)
    for representation in ("raw", "latent"):
        for alignment in ("none", "center"):
            made = build_map(screen, representation, alignment=alignment)
            found = load_layout(dataset, made)
            assert found is not None
            expected = pca_layout(made)
            assert found.method == "PCA"
            np.testing.assert_allclose(found.trustworthiness, expected.trustworthiness)
            # Moved and scaled into the unit square, and rounded to a ten-thousandth of it.
            shifted = expected.coordinates - expected.coordinates.min(axis=0)
            np.testing.assert_allclose(found.coordinates, shifted / shifted.max(), atol=1e-4)
    assert len(told) == 4
    assert told[0].startswith("cells raw none: PCA picture")


def test_a_picture_that_stands_in_the_file_is_kept(tmp_path, quick, monkeypatch):
    folder = dataset_with(tmp_path, "layouts.parquet")
    first = pl.read_parquet(pictures.write_layouts(folder))
    told = []
    monkeypatch.setattr(pictures, "METHODS", ("none", "center", "center-scale"))
    again = pl.read_parquet(pictures.write_layouts(folder, progress=told.append))
    assert [line.split(":")[0] for line in told] == ["cells raw center-scale", "cells latent center-scale"]
    assert again.filter(pl.col("alignment") != "center-scale").equals(first)
    (folder / "layouts.parquet").unlink()
    assert pl.read_parquet(pictures.write_layouts(folder)).equals(again)
    assert first.schema == pl.Schema(pictures.SCHEMA)
    assert first.height == 4 * len(files.PERTURBATIONS)


def test_a_perturbation_without_a_profile_has_no_place(tmp_path, quick, monkeypatch):
    monkeypatch.setattr(pictures, "METHODS", ("none",))
    folder = dataset_with(tmp_path, "layouts.parquet")
    latent = files.LATENT.copy()
    latent[np.array(files.LABELS) == "TP53"] = 0
    table = files.feature_table(files.observations().select("row"), latent)
    files.write_table(folder / "latent_cells.parquet", table)
    lines = pl.read_parquet(pictures.write_layouts(folder)).filter(pl.col("representation") == "latent")
    lost = lines.filter(pl.col("x").is_nan())
    assert lost["perturbation"].to_list() == ["TP53"]
    kept = lines.filter(pl.col("x").is_not_nan())
    assert kept.select(pl.max_horizontal(pl.col("x", "y").max())).item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("layouts", "message"),
    [
        (None, "toy/card.toml names no file of layouts: write layouts = "),
        ("../out.parquet", "names the layouts '../out"),
    ],
)
def test_a_card_must_name_the_file(tmp_path, quick, layouts, message):
    folder = dataset_with(tmp_path, layouts)
    with pytest.raises(InputError, match=message):
        pictures.write_layouts(folder)
    assert not (tmp_path / "out.parquet").exists()
