"""Contexts inside one file: each is what a file of its rows alone would be."""

from dataclasses import replace

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
    PERTURBATIONS,
    RAW,
    ROWS,
    SHUFFLED,
    feature_table,
    observations,
    screen_of,
    write_anndata,
    write_card,
    write_format,
    write_table,
)

from explorer.aggregate import build_map
from explorer.card import NAME_PATTERN
from explorer.catalog import identity_of, open_catalog, shared_map, shared_screen
from explorer.divide import MOST_CONTEXTS, divide_rows
from explorer.errors import InputError
from explorer.load import load_dataset, load_screen
from explorer.passport import confounding, passport_of
from explorer.screen import Roles, Screen

PLATES = np.array([f"p{number % 2}" for number in range(N_ROWS)])
HERE = np.flatnonzero(PLATES == "p1")
ROLES = Roles(perturbation="gene", control=(CONTROL,))


def cut_by_hand(rows=HERE):
    """Make a screen of some rows of the toy."""
    return Screen.from_arrays(
        [LABELS[row] for row in rows],
        {name: values[rows] for name, values in MATRICES.items()},
        control=(CONTROL,),
        batch=PLATES[rows].tolist(),
    )


def with_where(folder, where='{ plate = "p1" }', **more):
    """Have the card of a toy select rows."""
    text = (folder / "card.toml").read_text()
    lines = "".join(f"{key} = {value}\n" for key, value in {"where": where, **more}.items())
    (folder / "card.toml").write_text(text.replace("[contexts.cells]\n", f"[contexts.cells]\n{lines}"))
    return folder


# Each context is what a file of its rows alone would be.


@pytest.mark.parametrize("form", FORMATS)
def test_a_context_is_what_a_file_of_its_rows_would_be(tmp_path, form):
    screen, expected = screen_of(with_where(write_format(tmp_path / "toy", form))), cut_by_hand()
    assert screen.perturbation_labels() == expected.perturbation_labels()
    assert screen.is_control().tolist() == expected.is_control().tolist()
    for name, values in MATRICES.items():
        source = screen.representation(name).source
        assert source.shape == values[HERE].shape
        np.testing.assert_array_equal(source.read(0, len(HERE)), values[HERE])
        np.testing.assert_array_equal(source.read(3, 7), values[HERE][3:7])
        blocks = list(screen.representation(name).chunks(4, start=1))
        assert [first for first, _ in blocks] == list(range(1, len(HERE), 4))
        np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), values[HERE][1:])
    for name, alignment in (("raw", "none"), ("scaled", "center-scale"), ("latent", "tvn")):
        made, by_hand = (build_map(one, name, alignment=alignment) for one in (screen, expected))
        assert made.names == by_hand.names == PERTURBATIONS
        np.testing.assert_array_equal(made.profiles, by_hand.profiles)
        assert made.table.equals(by_hand.table)


@pytest.mark.parametrize("transform", ["log-normalize", "pca", "log-normalize, pca"])
def test_transforms_are_of_the_rows_of_the_context(tmp_path, transform):
    counts = np.random.default_rng(3).poisson(2.0, (N_ROWS, 6)).astype(np.float32)
    frames = []
    for name, rows in (("whole", np.arange(N_ROWS)), ("cut", HERE)):
        folder = tmp_path / name
        folder.mkdir()
        write_table(folder / "rows.parquet", feature_table(observations(), counts)[rows])
        entry = {"kind": "simple", "source": "X", "transform": transform}
        if "pca" in transform:
            entry["components"] = 3
        write_card(folder, {"representations": {"made": entry}})
        frames.append(screen_of(with_where(folder) if name == "whole" else folder))
    whole, cut = (screen.representation("made").source for screen in frames)
    np.testing.assert_allclose(whole.read(0, len(HERE)), cut.read(0, len(HERE)), rtol=1e-6, atol=1e-6)


def test_a_bad_count_is_named_by_its_row_in_the_file(tmp_path):
    values = np.abs(np.round(RAW))
    values[HERE[2], 1] = 0.5
    values[0, 0] = 0.25  # another context's affair
    folder = tmp_path / "toy"
    folder.mkdir()
    write_table(folder / "rows.parquet", feature_table(observations(), values))
    write_card(folder, {"representations": {"made": {"kind": "simple", "source": "X", "transform": "log-normalize"}}})
    source = screen_of(with_where(folder)).representation("made").source
    with pytest.raises(InputError, match=rf"row {HERE[2]} \(counted from 0\) holds 0.5"):
        source.read(0, len(HERE))


@pytest.mark.parametrize("beside", ["csv", "parquet", "h5ad", "npy"])
def test_a_file_beside_may_have_the_rows_of_the_context_alone(tmp_path, beside):
    folder = write_format(tmp_path / "toy", "dense.h5ad")
    # In an order of its own where it has names.
    order = HERE if beside == "npy" else SHUFFLED[np.isin(SHUFFLED, HERE)]
    path = folder / f"own.{beside}"
    if beside == "npy":
        np.save(path, LATENT[order])
    elif beside == "h5ad":
        obs = pd.DataFrame(index=[ROWS[place] for place in order])
        write_anndata(path, anndata.AnnData(X=LATENT[order], obs=obs))
    else:
        write_table(path, feature_table(observations().select("row"), LATENT)[order])
    changes = {"contexts/cells/rows": "rows.h5ad"}
    changes["representations"] = {
        "raw": {"kind": "simple", "source": "X"},
        "latent": {"kind": "learned", "source": path.name},
    }
    write_card(folder, changes)
    screen = screen_of(with_where(folder))
    np.testing.assert_array_equal(screen.representation("latent").source.read(0, len(HERE)), LATENT[HERE])
    np.testing.assert_array_equal(screen.representation("raw").source.read(0, len(HERE)), RAW[HERE])


def test_a_file_beside_with_other_rows_is_refused(tmp_path):
    folder = write_format(tmp_path / "toy", "npy")
    np.save(folder / "latent.npy", LATENT[:5])
    with pytest.raises(InputError, match=rf"has 5 rows, the screen 'cells' has {len(HERE)} of the {N_ROWS} in"):
        screen_of(with_where(folder))


def test_several_columns_and_several_labels(tmp_path):
    genes = ["TP53", "MDM2", "RPL5", CONTROL]
    where = f'{{ plate = ["p1"], gene = {genes} }}'.replace("'", '"')
    folder = with_where(write_format(tmp_path / "toy", "csr.h5ad"), where)
    expected = [row for row in HERE if LABELS[row] in genes]
    screen = screen_of(folder)
    assert screen.perturbation_labels() == [LABELS[row] for row in expected]
    np.testing.assert_array_equal(screen.representation("latent").source.read(0, len(expected)), LATENT[expected])
    assert passport_of(load_dataset(folder), "cells").selection == (
        "plate is p1 and gene is TP53 or MDM2 or RPL5 or non-targeting"
    )


def test_a_selection_of_every_row_is_the_file(tmp_path):
    plain = write_format(tmp_path / "plain", "dense.h5ad")
    every = with_where(write_format(tmp_path / "every", "dense.h5ad"), '{ plate = ["p0", "p1"] }')
    whole, all_rows = (build_map(screen_of(folder), "raw").fingerprint for folder in (plain, every))
    assert whole == all_rows
    assert build_map(screen_of(with_where(plain)), "raw").fingerprint != whole


def test_a_column_that_selects_is_no_feature(tmp_path):
    folder = tmp_path / "toy"
    folder.mkdir()
    hours = pl.Series("hours", [24 * (1 + number % 2) for number in range(N_ROWS)])
    write_table(folder / "rows.csv", feature_table(observations().with_columns(hours), RAW))
    write_card(
        folder,
        {"contexts/cells/rows": "rows.csv", "representations": {"raw": {"kind": "simple", "source": "X"}}},
    )
    source = screen_of(with_where(folder, '{ hours = "48" }')).representation("raw").source
    np.testing.assert_array_equal(source.read(0, len(HERE)), RAW[HERE])


def test_controls_of_other_contexts_are_no_mistake(tmp_path):
    """Labels of controls that the file has, and the context has not."""
    folder = write_format(tmp_path / "toy", "parquet")
    genes = sorted(set(LABELS) - {CONTROL})
    with_where(folder, f"{{ gene = {genes} }}".replace("'", '"'))
    dataset = load_dataset(folder)
    assert not load_screen(dataset).is_control().any()
    assert passport_of(dataset, "cells").controls == "none in this context"
    assert "no controls in this context" in passport_of(dataset, "cells").sentence


# What can't be used.


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ('{ plat = "p1" }', r"unknown column of 'rows.parquet' under 'where' 'plat': did you mean 'plate'\?"),
        ('{ plate = "p10" }', r"unknown label under 'where' in column 'plate' of 'rows.parquet' 'p10': did you mean"),
        ('{ plate = "p1", row = "well-00" }', "no row of 'rows.parquet' is left where 'plate' is 'p1' and 'row' is"),
        ("{}", "'where' is '{}', expected columns and labels"),
        ('"p1"', "'where' is 'p1', expected columns and labels"),
        ("{ plate = [] }", "'where' gives no label for the column 'plate'"),
        ("{ plate = 1 }", "'where.plate' is '1', expected text in quotes or a list of such texts"),
    ],
)
def test_a_selection_that_can_not_be_made(tmp_path, where, said):
    folder = write_format(tmp_path / "toy", "parquet")
    if "well-00" in where:
        first = ROWS[int(np.flatnonzero(PLATES == "p0")[0])]
        where = where.replace("well-00", first)
    with pytest.raises(InputError, match=said):
        screen_of(with_where(folder, where))


# A file without a card.


def cells(n=60, seed=0):
    """Cells of two lines, a third with one perturbation, and some of no line."""
    rng = np.random.default_rng(seed)
    lines = rng.choice(["HCT-116 (ATCC)", "K562", "few"], n)
    lines[:2] = ["", "K562"]
    genes = rng.choice(["A", "B", "C", "D", "ctrl"], n).astype(object)
    genes[lines == "few"] = "A"
    obs = pd.DataFrame(
        {"gene": genes, "cell_line": lines, "hours": np.where(lines == "K562", "24", "48"), "study": "one"},
        index=[f"cell{number}" for number in range(n)],
    )
    obs.loc[obs["cell_line"] == "", "cell_line"] = None
    return anndata.AnnData(
        X=rng.normal(size=(n, 4)).astype(np.float32), obs=obs, obsm={"latent": rng.normal(size=(n, 2))}
    )


@pytest.mark.parametrize("ending", ["h5ad", "zarr"])
def test_each_value_of_a_column_is_a_context(tmp_path, ending):
    adata = cells()
    path = write_anndata(tmp_path / f"cells.{ending}", adata)
    dataset = load_dataset(path, roles={"control": ("ctrl",)}, context_column="cell_line")
    assert dataset.contexts == ("HCT-116 -ATCC-", "K562")
    assert all(NAME_PATTERN.fullmatch(name) for name in dataset.contexts)
    said = " | ".join(dataset.notes)
    assert "contexts are the values of the column 'cell_line': 'HCT-116 (ATCC)', 'K562'" in said
    assert "no contexts, for want of 3 perturbations: 'few'" in said
    assert "1 row is of no context: 'cell_line' is blank there" in said
    for name, line in zip(dataset.contexts, ("HCT-116 (ATCC)", "K562"), strict=True):
        screen, rows = load_screen(dataset, name), (adata.obs["cell_line"] == line).to_numpy()
        assert screen.context.cell_system == line
        assert screen.context.time == ("24" if line == "K562" else "48")
        assert screen.perturbation_labels() == adata.obs["gene"][rows].tolist()
        for key, values in (("X", adata.X), ("obsm/latent", adata.obsm["latent"])):
            source = screen.representation(key).source
            np.testing.assert_array_equal(source.read(0, rows.sum()), values[rows].astype(np.float32))


def test_contexts_of_a_table(tmp_path):
    adata = cells()
    table = pl.DataFrame({name: adata.obs[name].tolist() for name in adata.obs.columns})
    path = write_table(tmp_path / "cells.csv", feature_table(table, adata.X))
    dataset = load_dataset(path, roles={"control": ("ctrl",)}, context_column="hours")
    assert dataset.contexts == ("24", "48")
    rows = (adata.obs["hours"] == "24").to_numpy()
    source = load_screen(dataset, "24").representation("X").source
    assert source.shape == (rows.sum(), 4), "hours are no feature"
    np.testing.assert_allclose(source.read(0, rows.sum()), adata.X[rows], rtol=1e-5)


def test_what_is_shared_does_not_mix_ways_to_read_a_file(tmp_path):
    path = write_anndata(tmp_path / "cells.h5ad", cells())
    whole, divided, by_time = (
        load_dataset(path, roles={"control": ("ctrl",)}, context_column=column)
        for column in (None, "cell_line", "hours")
    )
    assert len({identity_of(dataset) for dataset in (whole, divided, by_time)}) == 3
    assert identity_of(divided) == identity_of(replace(divided))
    sizes = [shared_screen(d, d.contexts[0]).rows.height for d in (whole, divided, by_time)]
    assert sizes[0] == 60 > max(sizes[1:])
    fingerprints = {shared_map(d, c, "X").fingerprint for d in (whole, divided, by_time) for c in d.contexts}
    assert len(fingerprints) == 5


def test_a_file_is_a_catalog_of_its_contexts(tmp_path):
    path = write_anndata(tmp_path / "cells.h5ad", cells())
    assert open_catalog(path, context_column="hours").dataset("cells").contexts == ("24", "48")
    with pytest.raises(InputError, match="is a folder of datasets, whose cards name their contexts: name one file"):
        open_catalog(tmp_path, context_column="hours")


def test_without_a_column_there_is_one_context(tmp_path):
    dataset = load_dataset(write_anndata(tmp_path / "cells.h5ad", cells()))
    assert dataset.contexts == ("all",)
    assert dataset.card.contexts["all"].where == ()


def test_a_small_context_does_not_take_components_from_others(tmp_path):
    rng = np.random.default_rng(1)
    obs = pd.DataFrame(
        {"gene": [*"ABCD"] * 20, "cell_line": ["small"] * 8 + ["large"] * 72}, index=[f"c{n}" for n in range(80)]
    )
    adata = anndata.AnnData(X=rng.poisson(2.0, (80, 60)).astype(np.float32), obs=obs)
    path = write_anndata(tmp_path / "cells.h5ad", adata)
    assert "X/pca-50" in load_dataset(path).card.representations
    dataset = load_dataset(path, context_column="cell_line")
    shapes = {name: load_screen(dataset, name).representation("X/pca").source.shape for name in dataset.contexts}
    assert shapes == {"large": (72, 50), "small": (8, 7)}
    assert np.isfinite(load_screen(dataset, "small").representation("X/pca").source.read(0, 8)).all()


def table_of(**columns):
    return pl.DataFrame(columns)


def test_names_that_become_the_same_are_numbered():
    lines = ["a/b", "a:b", "a b", "  (x)", "…", "y" * 100]
    rows = table_of(gene=[gene for _ in lines for gene in "ABC"], line=[line for line in lines for _ in range(3)])
    found = divide_rows(rows, ROLES, column="line", file="f.csv")
    assert sorted(found.contexts) == sorted(["a b", "a-b", "a-b-2", "x-", "context", "y" * 74])
    assert all(NAME_PATTERN.fullmatch(name) for name in found.contexts)
    assert {entry.where[0][1][0] for entry in found.contexts.values()} == set(lines)


def test_controls_are_no_perturbations_unless_they_stay():
    rows = table_of(gene=["A", "B", CONTROL, "A", "B", "C", CONTROL, "A", "B", "C"], line=[*"xxxyyyyzzz"])
    assert list(divide_rows(rows, ROLES, column="line", file="f").contexts) == ["y", "z"]
    stays = divide_rows(rows, replace(ROLES, keep_controls=True), column="line", file="f")
    assert list(stays.contexts) == ["x", "y", "z"]
    assert stays.n_rows == 3
    assert stays.notes[-1] == "no controls are among the rows of 'z'"


def test_a_condition_that_varies_within_a_context_is_none():
    rows = table_of(gene=[*"ABCABC"], line=[*"xxxyyy"], time=["1", "2", "1", "1", "1", "1"], pert_type=[*"kkkooo"])
    found = divide_rows(rows, ROLES, column="line", file="f").contexts["x"].context
    assert (found.time, found.perturbation_type, found.cell_system) == ("not stated", "k", "not stated")


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("lin", r"unknown context column 'lin': did you mean 'line'\?"),
        ("gene", "the column 'gene' names the perturbations, not contexts: name the column that says in which cell"),
        ("well", "no value of the column 'well' has 3 perturbations or more"),
        ("many", f"the column 'many' has {MOST_CONTEXTS + 1} values, too many to be contexts"),
        ("list", "context column 'list' holds List"),
    ],
)
def test_a_column_that_can_not_be_used(column, said):
    n = MOST_CONTEXTS + 1
    rows = table_of(
        gene=[*"ABC"] * n,
        line=["x"] * 3 * n,
        well=[str(number) for number in range(3 * n)],
        many=[str(number // 3) for number in range(3 * n)],
        list=[[1]] * 3 * n,
    )
    with pytest.raises(InputError, match=said):
        divide_rows(rows, ROLES, column=column, file="f")


def test_a_card_says_its_contexts_itself(tmp_path):
    folder = write_format(tmp_path / "toy", "parquet")
    with pytest.raises(InputError, match=r"has a card.toml, which names its contexts: write where = \{ plate = "):
        load_dataset(folder, context_column="plate")


# Field data: four cell lines in one file.


def test_perturbench(field):
    path = field / "perturbench" / "devel.h5ad"
    if not path.is_file():
        pytest.skip("no perturbench/devel.h5ad")
    dataset = load_dataset(path, context_column="cell_type")
    assert dataset.contexts == ("A172", "T98G", "U87MG", "k562")
    whole = load_screen(load_dataset(path)).representation("X").source
    stored = anndata.read_h5ad(path)
    counts = []
    for name in dataset.contexts:
        rows = np.flatnonzero(stored.obs["cell_type"] == name)
        screen = load_screen(dataset, name)
        np.testing.assert_array_equal(
            screen.representation("X").source.read(0, len(rows)), whole.read(0, whole.shape[0])[rows]
        )
        counts.append((screen.rows.height, build_map(screen, "X").n_perturbations))
    assert counts == [(850, 9), (871, 9), (865, 9), (3375, 33)]
    said = confounding([passport_of(dataset, name) for name in dataset.contexts])
    assert said[0] == (
        "Study and perturbation type are fully confounded: they split the contexts in the same way (A172, T98G and "
        "U87MG | k562), so a difference between the parts can't be given to one of them."
    )
    assert said[1].startswith("Each cell system comes with one study and one perturbation type only")


def test_a_card_of_perturbench_in_a_catalog(field, tmp_path):
    path = field / "perturbench" / "devel.h5ad"
    if not path.is_file():
        pytest.skip("no perturbench/devel.h5ad")
    folder = tmp_path / "perturbench"
    folder.mkdir()
    (folder / "devel.h5ad").write_bytes(path.read_bytes())
    contexts = {
        name: {"rows": "devel.h5ad", "where": {"cell_type": [name]}, "cell_system": name} for name in ("k562", "T98G")
    }
    write_card(
        folder,
        {
            "contexts": contexts,
            "roles": {"perturbation": "perturbation", "control": "control"},
            "representations": {"X": {"kind": "simple", "source": "X"}},
        },
    )
    dataset = open_catalog(tmp_path).dataset("perturbench")
    assert [shared_map(dataset, name, "X").n_perturbations for name in dataset.contexts] == [33, 9]
    assert passport_of(dataset, "T98G").selection == "cell_type is T98G"
