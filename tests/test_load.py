"""Files to screens: every format gives the same map, and every file that can't be used says why in one line."""

import os
import tempfile
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import polars as pl
import pytest
from files import (
    CONTROL,
    FORMATS,
    LABELS,
    LATENT,
    MATRICES,
    N_ROWS,
    PAYLOADS,
    PERTURBATIONS,
    RAW,
    ROWS,
    SHUFFLED,
    STORED_FORMATS,
    TABLE_FORMATS,
    edited,
    feature_table,
    observations,
    screen_of,
    toy_anndata,
    write_anndata,
    write_card,
    write_dataset,
    write_format,
    write_table,
)
from scipy import sparse

from explorer import tables
from explorer.aggregate import build_map
from explorer.errors import InputError
from explorer.layout import pca_layout
from explorer.load import load_dataset, load_layout, load_screen
from explorer.relate import neighborhood
from explorer.screen import Roles, Screen


def expected_screen():
    plates = [f"p{number % 2}" for number in range(N_ROWS)]
    return Screen.from_arrays(list(LABELS), MATRICES, control=(CONTROL,), batch=plates)


def expected_map(representation, alignment):
    return build_map(expected_screen(), representation, alignment=alignment)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_the_same_map(tmp_path, form):
    screen = screen_of(write_format(tmp_path / "toy", form))
    assert {name: found.kind for name, found in screen.representations.items()} == {
        "raw": "simple",
        "scaled": "simple",
        "latent": "learned",
    }
    for representation, alignment in (("raw", "none"), ("scaled", "center-scale"), ("latent", "tvn")):
        expected, made = (
            expected_map(representation, alignment),
            build_map(screen, representation, alignment=alignment),
        )
        assert made.names == expected.names == PERTURBATIONS
        np.testing.assert_array_equal(made.profiles, expected.profiles)
        assert made.table.equals(expected.table)


@pytest.mark.parametrize("form", TABLE_FORMATS)
def test_rows_in_another_order_give_the_same_map(tmp_path, form):
    screen = screen_of(write_format(tmp_path / "toy", form, shuffle=True))
    for representation in MATRICES:
        np.testing.assert_array_equal(
            screen.representation(representation).source.read(0, N_ROWS), MATRICES[representation]
        )


@pytest.mark.parametrize("beside", ["csv", "parquet", "h5ad", "zarr"])
@pytest.mark.parametrize("rows", ["dense.h5ad", "v3.zarr", "parquet"])
def test_a_representation_beside_any_rows_is_matched_by_name(tmp_path, rows, beside):
    folder = write_format(tmp_path / "toy", rows)
    path = folder / f"other.{beside}"
    order = SHUFFLED
    if beside in ("h5ad", "zarr"):
        obs = pd.DataFrame(index=[ROWS[place] for place in order])
        write_anndata(path, anndata.AnnData(X=LATENT[order], obs=obs))
    else:
        write_table(path, feature_table(observations().select("row"), LATENT)[order])
    write_card(
        folder,
        {
            "contexts/cells/rows": f"rows.{rows.split('.')[-1]}",
            "representations": {"latent": {"kind": "learned", "source": path.name}},
        },
    )
    source = screen_of(folder).representation("latent").source
    np.testing.assert_array_equal(source.read(0, N_ROWS), LATENT)
    np.testing.assert_array_equal(source.read(4, 9), LATENT[4:9])


@pytest.mark.parametrize("form", FORMATS)
def test_fingerprints_repeat_and_follow_the_data(tmp_path, form):
    one, other = (write_format(tmp_path / name, form) for name in ("one", "other"))
    prints = [build_map(screen_of(folder), "latent").fingerprint for folder in (one, one)]
    assert prints[0] == prints[1]
    if form == "npy":
        np.save(other / "latent.npy", LATENT + 1)
        assert build_map(screen_of(other), "latent").fingerprint != prints[0]


# Single files, without a card.


@pytest.mark.parametrize("form", [*STORED_FORMATS, *TABLE_FORMATS])
def test_single_files(tmp_path, form):
    folder = write_format(tmp_path / "toy", form)
    ending = form.split(".")[-1] if form in STORED_FORMATS else form
    dataset = load_dataset(folder / f"rows.{ending}")
    assert dataset.name == "rows"
    assert dataset.card.roles == Roles(perturbation="gene", control=(CONTROL,), batch="plate")
    assert len(dataset.notes) == 3
    assert dataset.contexts == ("all",)
    kinds = {name: card.kind for name, card in dataset.card.representations.items()}
    assert kinds == (
        {"X": "simple", "layers/scaled": "simple", "obsm/latent": "learned"}
        if form in STORED_FORMATS
        else {"X": "simple"}
    )
    made = build_map(load_screen(dataset), "X", alignment="center")
    np.testing.assert_array_equal(made.profiles, expected_map("raw", "center").profiles)


def test_a_table_beside_the_matrices_does_not_spoil_a_single_file(tmp_path):
    adata = toy_anndata()
    adata.obsm["scores"] = pd.DataFrame({"a": np.ones(N_ROWS)}, index=adata.obs_names)
    dataset = load_dataset(write_anndata(tmp_path / "toy.h5ad", adata))
    assert list(load_screen(dataset).representations) == ["X", "layers/scaled", "obsm/latent"]


@pytest.mark.parametrize("ending", ["h5ad", "zarr"])
def test_columns_first_is_refused(tmp_path, ending):
    adata = toy_anndata()
    adata.X = sparse.csc_matrix(RAW)
    path = write_anndata(tmp_path / f"toy.{ending}", adata)
    with pytest.raises(InputError, match=rf"'X' in 'toy.{ending}' is stored as 'csc_matrix', which can't be read"):
        screen_of(path)


def test_roles_given_for_a_single_file(tmp_path):
    table = feature_table(observations(), RAW).rename({"gene": "symbol", "plate": "lane"})
    path = write_table(tmp_path / "rows.csv", table)
    given = {"perturbation": "symbol", "control": (CONTROL,), "batch": "lane", "guide": None}
    dataset = load_dataset(path, roles=given)
    assert dataset.card.roles == Roles(perturbation="symbol", control=(CONTROL,), batch="lane")
    assert dataset.notes == ()
    with pytest.raises(InputError, match="can't tell which column is the perturbation"):
        load_dataset(path)


def test_roles_given_override_the_card(tmp_path):
    folder = write_dataset(tmp_path / "toy", {"roles": {"perturbation": "gene", "control": {"column": "flag"}}})
    rows = feature_table(observations().with_columns(flag=pl.Series([True] + [False] * (N_ROWS - 1))), RAW)
    write_table(folder / "rows.parquet", rows)
    assert screen_of(folder).is_control().sum() == 1
    dataset = load_dataset(folder, roles={"control": (CONTROL,), "batch": None})
    assert load_screen(dataset).is_control().sum() == LABELS.count(CONTROL)


def test_a_single_file_may_have_any_name(tmp_path):
    for payload in ("<img src=x onerror=alert(1)>", "Гены 遺", "\x1b[31m", "'\""):
        dataset = load_dataset(write_table(tmp_path / f"{payload}.csv", feature_table(observations(), RAW)))
        assert dataset.name.isascii()
        assert not set("<>\x1b'\"()") & set(dataset.name)


@pytest.mark.parametrize("form", ["dense.h5ad", "v3.zarr", "parquet", "csv", "tsv.gz"])
def test_perturbation_names_are_data(tmp_path, form):
    names = [*PAYLOADS, "x" * 10_000]
    labels = (names * N_ROWS)[:N_ROWS]
    folder = write_format(tmp_path / "toy", form)
    if form in STORED_FORMATS:
        adata = toy_anndata()
        adata.obs["gene"] = pd.Categorical(labels)
        path = folder / f"rows.{form.split('.')[1]}"
        write_anndata(path, adata, v3=form.startswith("v3"))
    else:
        write_table(folder / f"rows.{form}", feature_table(observations().with_columns(gene=pl.Series(labels)), RAW))
    dataset = load_dataset(folder, roles={"control": ()})
    made = build_map(load_screen(dataset), "raw")
    assert set(made.names) == set(names)
    for name in names:
        assert set(neighborhood(made, name, k=len(names) - 1).names) == set(names) - {name}


@pytest.mark.parametrize("missing", [0, 1])
def test_categories_unused_and_missing(tmp_path, missing):
    labels = [None] * missing + list(LABELS[missing:])
    adata = toy_anndata()
    adata.obs["gene"] = pd.Categorical(labels, categories=["unused", *PERTURBATIONS, CONTROL])
    path = write_anndata(tmp_path / "toy.h5ad", adata)
    if missing:
        with pytest.raises(InputError, match="1 row has no perturbation in column 'gene'"):
            screen_of(path)
    else:
        assert build_map(screen_of(path), "X").names == PERTURBATIONS


@pytest.mark.parametrize("form", ["dense.h5ad", "v3.zarr", "parquet", "csv"])
def test_only_columns_with_a_role_are_kept(tmp_path, form):
    folder = write_format(tmp_path / "toy", form)
    assert screen_of(folder).rows.columns == ["gene", "plate"]
    write_card(
        folder,
        {
            "roles": {"perturbation": "gene", "group": ["plate"]},
            "contexts/cells/rows": f"rows.{form.split('.')[-1]}",
            "representations": {"raw": {"kind": "simple", "source": "X"}},
        },
    )
    assert screen_of(folder).rows.columns == ["gene", "plate"]


def test_a_column_that_cant_be_read_is_no_matter_without_a_role(tmp_path):
    path = write_anndata(tmp_path / "toy.h5ad", toy_anndata())
    with edited(path) as file:
        file["obs"].create_group("odd").attrs["encoding-type"] = "awkward-array"
        file["obs"].attrs["column-order"] = ["gene", "plate", "odd"]
    screen = load_screen(load_dataset(path))
    np.testing.assert_array_equal(build_map(screen, "X").profiles, build_map(expected_screen(), "raw").profiles)
    with pytest.raises(InputError, match="'odd' of 'obs' is stored as 'awkward-array', which can't be read"):
        load_screen(load_dataset(path, roles={"guide": "odd"}))


def test_rows_as_categories_and_as_text_are_the_same_screen(tmp_path):
    screen = load_screen(load_dataset(write_anndata(tmp_path / "toy.h5ad", toy_anndata())))
    assert screen.rows.schema["gene"] == pl.Enum(sorted({*PERTURBATIONS, CONTROL}))
    text = Screen(screen.dataset, screen.context, screen.rows.cast(pl.String), screen.roles)
    assert screen.perturbation_labels() == text.perturbation_labels() == list(LABELS)
    np.testing.assert_array_equal(screen.is_control(), text.is_control())
    with pytest.raises(InputError, match=r"unknown control label 'TP5': did you mean 'TP53'\?"):
        Screen(screen.dataset, screen.context, screen.rows, Roles("gene", control=("TP5",)))


def test_categories_in_parquet(tmp_path):
    rows = feature_table(observations(), RAW)
    expected = build_map(screen_of(write_table(tmp_path / "text.parquet", rows)), "X", alignment="center")
    for dtype in (pl.Categorical, pl.Enum([CONTROL, *PERTURBATIONS])):
        path = write_table(tmp_path / "rows.parquet", rows.cast({"gene": dtype, "plate": pl.Categorical}))
        made = build_map(screen_of(path), "X", alignment="center")
        assert made.names == expected.names
        np.testing.assert_array_equal(made.profiles, expected.profiles)


def test_large_parquet_gives_the_same_map(tmp_path, monkeypatch):
    folder = write_format(tmp_path / "toy", "parquet", shuffle=True)
    expected = [build_map(screen_of(folder), name) for name in MATRICES]
    monkeypatch.setattr(tables, "MOST_IN_MEMORY", 0)
    monkeypatch.setattr(tables, "_PIECE_BYTES", 200)
    for name, made in zip(MATRICES, expected, strict=True):
        again = build_map(screen_of(folder), name)
        np.testing.assert_array_equal(again.profiles, made.profiles)
        assert again.fingerprint == made.fingerprint


def test_nullable_controls_and_batches(tmp_path):
    adata = toy_anndata()
    adata.obs["flag"] = pd.array([None if label == "TP53" else label == CONTROL for label in LABELS], dtype="boolean")
    adata.obs["plate"] = pd.array([1, 2] * (N_ROWS // 2), dtype="Int64")
    write_anndata(tmp_path / "toy" / "rows.h5ad", adata)
    roles = {"perturbation": "gene", "control": {"column": "flag"}, "batch": "plate"}
    raw = {"raw": {"kind": "simple", "source": "X"}}
    folder = write_card(tmp_path / "toy", {"contexts/cells/rows": "rows.h5ad", "roles": roles, "representations": raw})
    screen = screen_of(folder)
    assert screen.is_control().sum() == LABELS.count(CONTROL)
    np.testing.assert_array_equal(
        build_map(screen, "raw", alignment="center").profiles, expected_map("raw", "center").profiles
    )


# What can't be used.


def not_one_row_less(folder):
    write_table(folder / "latent_cells.parquet", feature_table(observations().select("row"), LATENT)[:-1])


def not_one_row_more(folder):
    table = feature_table(observations().select("row"), LATENT)
    write_table(folder / "latent_cells.parquet", pl.concat([table, table[:1].with_columns(row=pl.lit("well-99"))]))


def named_twice(folder):
    table = feature_table(observations().select("row"), LATENT)
    write_table(folder / "latent_cells.parquet", pl.concat([table, table[:1]]))


def nameless_and_short(folder):
    write_table(folder / "latent_cells.parquet", pl.DataFrame(LATENT[:-1]))


def short_npy(folder):
    np.save(folder / "latent_cells.parquet.npy", LATENT[:-1])
    write_card(folder, {"representations/latent/source": "latent_cells.parquet.npy"})


def names_other_rows_in_h5ad(folder):
    write_anndata(
        folder / "latent.h5ad", anndata.AnnData(X=LATENT, obs=pd.DataFrame(index=[f"x{row}" for row in ROWS]))
    )
    write_card(folder, {"representations/latent/source": "latent.h5ad"})


def archive(folder):
    np.savez(folder / "latent.npz", LATENT)
    write_card(folder, {"representations/latent/source": "latent.npz"})


def text_instead_of_rows(folder):
    (folder / "rows.parquet").write_text("gene,x\na,1\n")


def cut_rows(folder):
    path = folder / "rows.parquet"
    path.write_bytes(path.read_bytes()[:-50])


def folder_instead_of_rows(folder):
    (folder / "rows.parquet").unlink()
    (folder / "rows.parquet").mkdir()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (not_one_row_less, rf"'latent_cells.parquet' lacks 1 row \('{ROWS[-1]}'\): give it the screen's rows"),
        (not_one_row_more, r"'latent_cells.parquet' has 1 row the screen has not \('well-99'\)"),
        (named_twice, rf"'latent_cells.parquet' names rows more than once: '{ROWS[0]}'; make its row names unique"),
        (
            nameless_and_short,
            r"representation 'latent' \(latent_cells.parquet\) has 25 rows, the screen 'cells' has 26: give",
        ),
        (short_npy, r"representation 'latent' \(latent_cells.parquet.npy\) has 25 rows, the screen 'cells' has 26"),
        (names_other_rows_in_h5ad, r"'latent.h5ad' lacks 26 rows \(.*\) and has 26 rows the screen has not"),
        (archive, "can't tell what 'latent.npz' is: expected a table"),
        (text_instead_of_rows, "can't read 'rows.parquet': "),
        (cut_rows, "can't read 'rows.parquet': .*is the file whole"),
        (folder_instead_of_rows, "no file 'rows.parquet' in 'toy': check the name"),
    ],
)
def test_files_that_do_not_fit(tmp_path, damage, message):
    folder = write_dataset(tmp_path / "toy")
    damage(folder)
    with pytest.raises(InputError, match=message) as caught:
        screen_of(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"roles/perturbation": "genes"}, r"unknown perturbation column 'genes': did you mean 'gene'\?"),
        ({"roles/batch": "Plate"}, r"unknown batch column 'Plate': did you mean 'plate'\?"),
        ({"roles/guide": "sgRNA"}, "unknown guide column 'sgRNA'"),
        ({"roles/group": ["arm"]}, "unknown group column 'arm'"),
        (
            {"roles/control": "non-targetting"},
            r"unknown control label 'non-targetting': did you mean 'non-targeting'\?",
        ),
        ({"roles/control": {"column": "flag"}}, "unknown control column 'flag'"),
        ({"roles/control": {"column": "plate"}}, "control column 'plate' holds String, expected true and false"),
        (
            {"contexts/cells/rows": "row.parquet"},
            r"toy/card.toml: unknown file 'row.parquet': did you mean 'rows.parq",
        ),
        (
            {"contexts/cells/rows": "../rows.parquet"},
            "names '../rows.parquet': files must lie inside the dataset's folder",
        ),
        ({"contexts/cells/rows": "/etc/hostname"}, "names '/etc/hostname': files must lie inside"),
        (
            {"representations/raw/source": "obsm/X_pca"},
            "representation 'raw': a table file has only 'X', not 'obsm/X_pca'",
        ),
        (
            {"representations/latent/source": "latent_cell.parquet"},
            r"unknown file .*did you mean 'latent_cells.parquet'",
        ),
        ({"representations/latent/source": "../../x.npy"}, "must lie inside the dataset's folder"),
        ({"representations/latent/seed_of": "laten"}, r"unknown seed_of 'laten': did you mean 'latent'\?"),
        ({"defaults/context": "cell"}, r"toy/card.toml \[defaults\]: unknown context 'cell': did you mean 'cells'\?"),
        ({"defaults/left": "row"}, r"\[defaults\]: unknown representation 'row': did you mean 'raw'\?"),
        ({"defaults/right": "x"}, r"\[defaults\]: unknown representation 'x': choose one of 'raw', 'latent'"),
        ({"defaults/align": "centre"}, r"\[defaults\]: unknown alignment 'centre': did you mean 'center'"),
        ({"layouts": "layouts.parquet"}, "unknown file 'layouts.parquet'"),
        ({"layouts": "../layouts.parquet"}, "must lie inside the dataset's folder"),
    ],
)
def test_cards_that_do_not_fit(tmp_path, changes, message):
    folder = write_dataset(tmp_path / "toy", changes)
    with pytest.raises(InputError, match=message) as caught:
        screen_of(folder)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["out.parquet", "up/rows.parquet"])
def test_links_that_lead_out(tmp_path, name):
    folder = write_dataset(tmp_path / "toy", {"contexts/cells/rows": name})
    (folder / "rows.parquet").rename(tmp_path / "rows.parquet")
    (folder / "out.parquet").symlink_to(tmp_path / "rows.parquet")
    (folder / "up").symlink_to(tmp_path)
    with pytest.raises(InputError, match="files must lie inside the dataset's folder"):
        load_dataset(folder)


@pytest.mark.parametrize("form", STORED_FORMATS)
def test_absent_keys(tmp_path, form):
    folder = write_format(tmp_path / "toy", form)
    for key in ("obsm/latents", "layers/latent", "obsm/../X", "obsm/"):
        representation = {"latent": {"kind": "learned", "source": key}}
        write_card(folder, {"contexts/cells/rows": f"rows.{form.split('.')[1]}", "representations": representation})
        with pytest.raises(InputError, match=rf"representation 'latent': unknown key '{key}': (did you|choose one of)"):
            screen_of(folder)


def test_rows_without_features(tmp_path):
    folder = write_dataset(tmp_path / "toy")
    write_table(folder / "rows.parquet", observations())
    with pytest.raises(InputError, match=r"representation 'raw': 'rows.parquet' has no numeric feature column"):
        screen_of(folder)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path / "absent", r"no such path: '.*absent'; check the spelling"),
        (lambda path: path / "\x1b[31m\n", r"no such path: '.*\\x1b\[31m\\n'; check the spelling"),
        (lambda path: path / ("x" * 5000), "can't open '.*: File name too long; check the name and who may read it"),
        (lambda path: path, r"is not a dataset: a dataset folder has a card.toml"),
        (lambda path: write_dataset(path / "toy").parent, "is not a dataset: name one of its datasets: 'toy'"),
        (
            lambda path: write_dataset(path / "toy") / "card.toml",
            "can't tell what 'card.toml' is: expected .h5ad, .zarr,",
        ),
        (
            lambda path: saved(path / "x.npy"),
            "'x.npy' has no row names: put it beside a row table and name it in a card",
        ),
        (
            lambda path: saved(path / "x.npz"),
            "can't tell what 'x.npz' is: expected .h5ad, .zarr, .parquet, .csv or .tsv",
        ),
        (lambda path: saved(path / "x.h5ad"), "can't open 'x.h5ad': it is not a whole h5ad file"),
        (
            lambda path: write_anndata(path / "x.h5ad", anndata.AnnData(obs=toy_anndata().obs)),
            "'x.h5ad' holds no matrix",
        ),
        (lambda path: write_table(path / "x.csv", observations()), "'x.csv' has no numeric feature column"),
        (
            lambda path: write_table(path / "x.csv", feature_table(observations(), RAW)[:0]),
            "can't tell|no row|no numeric",
        ),
    ],
)
def test_paths_that_are_no_dataset(tmp_path, make, message):
    path = make(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        screen_of(path)
    assert str(caught.value).isprintable()


def saved(path: Path) -> Path:
    if path.suffix == ".npz":
        np.savez(path, LATENT)
    else:
        path.write_bytes(b"\x93NUMPY")
    return path


@pytest.fixture
def unreadable():
    """Folder that root gives away: what is closed in it is closed to the test."""
    if os.geteuid() != 0:
        yield Path(tempfile.mkdtemp())
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        os.seteuid(0)


@pytest.mark.parametrize(
    "closed", ["toy", "toy/card.toml", "toy/rows.parquet", "toy/latent_cells.parquet", "rows.h5ad"]
)
def test_what_may_not_be_read(unreadable, closed):
    write_dataset(unreadable / "toy")
    write_anndata(unreadable / "rows.h5ad", toy_anndata())
    (unreadable / closed).chmod(0)
    if os.geteuid() == 0:
        os.seteuid(65534)
    with pytest.raises(InputError, match=r"can't (open|read) .*") as caught:
        screen_of(unreadable / closed.split("/")[0])
    assert "\n" not in str(caught.value)


def test_unknown_context(tmp_path):
    dataset = load_dataset(write_dataset(tmp_path / "toy"))
    with pytest.raises(InputError, match=r"unknown context 'cell': did you mean 'cells'\?"):
        load_screen(dataset, "cell")


@pytest.mark.parametrize(
    ("form", "bad"),
    [*((form, np.nan) for form in FORMATS), ("parquet", np.inf), ("csv", -np.inf), ("csr.h5ad", np.inf)],
)
def test_values_that_are_no_numbers_are_left_out_and_named(tmp_path, form, bad):
    folder = write_format(tmp_path / "toy", form)
    spoilt = np.where(np.arange(N_ROWS)[:, None] == LABELS.index("TP53"), bad, RAW)
    spoilt = np.where((np.array(LABELS) == "MDM2")[:, None], bad, spoilt).astype(np.float32)
    if form in STORED_FORMATS:
        adata = toy_anndata()
        adata.X = spoilt
        write_anndata(folder / f"rows.{form.split('.')[1]}", adata, v3=form.startswith("v3"))
    elif form == "npy":
        np.save(folder / "raw.npy", spoilt)
    else:
        write_table(folder / f"rows.{form}", feature_table(observations(), spoilt))
    made = build_map(screen_of(folder), "raw")
    assert made.names == tuple(name for name in PERTURBATIONS if name != "MDM2")
    assert made.recipe.notes[0].startswith("4 rows with NaN or infinite values left out: ")
    assert "'MDM2'" in made.recipe.notes[0]
    assert "'TP53'" in made.recipe.notes[0]


def test_fewer_than_three_perturbations(tmp_path):
    table = feature_table(observations(), RAW).filter(pl.col("gene").is_in(["TP53", "MDM2", CONTROL]))
    screen = screen_of(write_table(tmp_path / "rows.csv", table))
    with pytest.raises(
        InputError, match="a map needs at least 3 perturbations with finite profiles, 2 are left: check"
    ):
        build_map(screen, "X")


@pytest.mark.parametrize("alignment", ["center", "center-scale", "tvn", "sphere"])
def test_alignment_without_controls(tmp_path, alignment):
    screen = screen_of(write_dataset(tmp_path / "toy", {"roles/control": None}))
    with pytest.raises(
        InputError,
        match=r"no controls to align on: name them with --control, or with control in a card.s \[roles\], or use",
    ):
        build_map(screen, "raw", alignment=alignment)


# Layouts that are shipped.


@pytest.fixture
def with_layouts(tmp_path):
    folder = write_dataset(tmp_path / "toy", {"layouts": None})
    made = build_map(screen_of(folder), "raw")
    table = pl.DataFrame(
        {
            "recipe": made.fingerprint,
            "perturbation": made.names,
            "x": np.arange(6.0),
            "y": np.arange(6.0)[::-1],
            "method": "UMAP",
            "trustworthiness": 0.9,
        }
    )
    write_card(folder, {"layouts": "layouts.parquet"})
    write_table(folder / "layouts.parquet", table.sample(fraction=1, shuffle=True, seed=1))
    return folder


def test_a_shipped_layout_is_of_exactly_this_recipe(with_layouts):
    dataset = load_dataset(with_layouts)
    screen = load_screen(dataset)
    layout = load_layout(dataset, build_map(screen, "raw"))
    assert (layout.method, layout.trustworthiness) == ("UMAP", 0.9)
    np.testing.assert_array_equal(layout.coordinates, np.c_[np.arange(6.0), np.arange(6.0)[::-1]])
    assert load_layout(dataset, build_map(screen, "raw", alignment="center")) is None
    assert load_layout(dataset, build_map(screen, "latent")) is None
    assert load_layout(dataset, build_map(screen, "raw").restricted_to(PERTURBATIONS[:4])) is None


def test_a_dataset_without_layouts(tmp_path):
    dataset = load_dataset(write_dataset(tmp_path / "toy"))
    made = build_map(load_screen(dataset), "raw")
    assert load_layout(dataset, made) is None
    assert pca_layout(made).coordinates.shape == (6, 2)


@pytest.mark.parametrize("lacking", ["perturbation", "recipe", "x", "trustworthiness", "every column"])
def test_layouts_that_cant_be_read(with_layouts, lacking):
    path = with_layouts / "layouts.parquet"
    if lacking == "every column":
        path.write_bytes(b"PAR1 torn")
    else:
        write_table(path, pl.read_parquet(path).drop(lacking))
    dataset = load_dataset(with_layouts)
    made = build_map(load_screen(dataset), "raw")
    with pytest.raises(
        InputError, match=r"can't read the layouts 'layouts.parquet': expected recipe, perturbation, x, y"
    ):
        load_layout(dataset, made)


# Real files.


@pytest.mark.parametrize(
    ("name", "roles", "perturbations", "alignment"),
    [
        ("cpjump1/BR00117010_normalized_feature_select_negcon_batch.csv.gz", {}, 302, "center-scale"),
        ("perturbench/devel.h5ad", {}, 33, "tvn"),
        ("depmap/skin_cell_lines_corum_genes.parquet", {}, 3403, "none"),
        ("formats/SQ00015054.csv.gz", {"perturbation": "Metadata_pert_well", "control": ()}, 384, "none"),
        ("formats/SQ00015054.csv.gz", {}, 58, "sphere"),
    ],
)
def test_real_files(field, name, roles, perturbations, alignment):
    dataset = load_dataset(field / name, roles=roles)
    made = build_map(load_screen(dataset), next(iter(dataset.card.representations)), alignment=alignment)
    assert made.n_perturbations == perturbations
    assert np.isfinite(made.profiles).all()
    assert len(neighborhood(made, made.names[0], k=10).names) == 10


def test_a_structured_npz_is_refused(field):
    with pytest.raises(InputError, match=r"can't tell what 'DeepProfiler_.*\.npz' is: expected .h5ad, .zarr, .parquet"):
        load_dataset(field / "formats" / "DeepProfiler_SQ00014812_A01_5.npz")


# An embedding of perturbations from elsewhere, one row each, beside a screen of many rows.

EMBEDDED = {"saw": [], "kind": "learned"}


def embedding_of(names, n_features=3):
    values = np.random.default_rng(len(names)).normal(size=(len(names), n_features)).astype(np.float32)
    return values, feature_table(pl.DataFrame({"symbol": list(names)}), values)


def assert_embedding(screen, names, values):
    """Every row has its perturbation's row, or is NaN, and the map is the embedding itself."""
    place = {name: row for row, name in enumerate(names)}
    expected = np.array([values[place[label]] if label in place else np.full(3, np.nan) for label in LABELS])
    ((_, found),) = screen.representation("prior").chunks()
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    made = build_map(screen, "prior")
    shared = sorted(set(names) & set(LABELS))
    assert list(made.names) == shared
    np.testing.assert_allclose(made.profiles, values[[place[name] for name in shared]], rtol=1e-6)
    n_without = int(np.isnan(expected).any(axis=1).sum())
    assert not n_without or any(f"{n_without} rows with NaN" in note for note in made.recipe.notes)


@pytest.mark.parametrize("ending", ["csv", "parquet", "h5ad", "zarr"])
def test_an_embedding_of_perturbations_beside_many_rows(tmp_path, ending):
    names = ["elsewhere", *PERTURBATIONS[::-1]]
    values, table = embedding_of(names)
    folder = write_dataset(tmp_path / "toy", {"representations/prior": {**EMBEDDED, "source": f"prior.{ending}"}})
    if ending in ("csv", "parquet"):
        write_table(folder / f"prior.{ending}", table)
    else:
        write_anndata(folder / f"prior.{ending}", anndata.AnnData(values, obs=pd.DataFrame(index=names)))
    screen = screen_of(folder)
    assert_embedding(screen, names, values)
    with pytest.raises(InputError, match="no controls to align on"):
        build_map(screen, "prior", alignment="center")


def test_half_of_the_perturbations_have_an_embedding(tmp_path):
    names = PERTURBATIONS[::2]
    values, table = embedding_of(names)
    folder = write_dataset(tmp_path / "toy", {"representations/prior": {**EMBEDDED, "source": "prior.csv"}})
    write_table(folder / "prior.csv", table)
    assert_embedding(screen_of(folder), names, values)


def test_an_embedding_of_perturbations_beside_a_stored_screen_of_cells(tmp_path):
    names = list(PERTURBATIONS)
    values, _ = embedding_of(names)
    cells = write_dataset(
        tmp_path / "toy",
        {
            "contexts/cells/rows": "rows.h5ad",
            "representations": {
                "raw": {"kind": "simple", "source": "X"},
                "prior": {**EMBEDDED, "source": "prior.h5ad"},
            },
        },
    )
    write_anndata(cells / "rows.h5ad", toy_anndata(csr=True))
    obs = pd.DataFrame({"symbol": names}, index=[str(number) for number in range(len(names))])
    write_anndata(cells / "prior.h5ad", anndata.AnnData(values, obs=obs))
    assert_embedding(screen_of(cells), names, values)


def test_an_embedding_within_each_of_several_contexts_of_a_file(tmp_path):
    names = list(PERTURBATIONS)
    values, table = embedding_of(names)
    folder = write_card(
        tmp_path / "toy",
        {
            "contexts": {plate: {"rows": "rows.csv", "where": {"plate": plate}} for plate in ("p0", "p1")},
            "representations": {"raw": {"kind": "simple", "source": "X"}, "prior": {**EMBEDDED, "source": "prior.csv"}},
        },
    )
    write_table(folder / "rows.csv", feature_table(observations(), RAW))
    write_table(folder / "prior.csv", table)
    for number, plate in enumerate(("p0", "p1")):
        screen = load_screen(load_dataset(folder), plate)
        ((_, found),) = screen.representation("prior").chunks()
        labels = LABELS[number::2]
        expected = [values[names.index(label)] if label in names else np.full(3, np.nan) for label in labels]
        np.testing.assert_array_equal(found, np.array(expected))


def test_an_embedding_of_the_very_rows_is_taken_as_it_is(tmp_path):
    folder = write_dataset(tmp_path / "toy", {"representations/latent/saw": []})
    ((_, found),) = screen_of(folder).representation("latent").chunks()
    np.testing.assert_array_equal(found, LATENT)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: write_table(path, embedding_of([name.lower() for name in PERTURBATIONS])[1]),
         "share no perturbation, expected 3 or more: the nearest are "),
        (lambda path: write_table(path, embedding_of(2 * PERTURBATIONS)[1]), "more than once"),
        (lambda path: write_table(path, pl.DataFrame({"x": [1.0, 2.0], "y": [0.0, 1.0]})), "names no perturbations"),
        (lambda path: path.write_text("symbol\nTP53\n"), "no numeric feature column"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "prior.csv"),
    ],
)  # fmt: skip
def test_an_embedding_that_can_not_be_used_says_why_and_leaves_the_rest_of_use(tmp_path, write, message):
    folder = write_dataset(tmp_path / "toy", {"representations/prior": {**EMBEDDED, "source": "prior.csv"}})
    write(folder / "prior.csv")
    screen = screen_of(folder)
    assert build_map(screen, "raw").n_perturbations == build_map(screen, "latent").n_perturbations
    with pytest.raises(InputError, match=message):
        build_map(screen, "prior")
