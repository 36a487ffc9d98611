"""Screens: roles that fit their rows, and representations read a block at a time."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from files import CONTROL, LABELS, LATENT, N_ROWS, PAYLOADS, RAW, observations, toy_anndata

from explorer.aggregate import build_map
from explorer.errors import InputError
from explorer.screen import Context, Representation, Roles, Screen
from explorer.sources import ArraySource


def screen(rows=None, values=RAW, **roles):
    return Screen(
        dataset="toy",
        context=Context("cells"),
        rows=observations() if rows is None else rows,
        roles=Roles(**{"perturbation": "gene", "replicates": True, **roles}),
        representations={"raw": Representation("raw", "simple", ArraySource(values))},
    )


@pytest.mark.parametrize(
    ("stated", "sentence"),
    [
        ({}, "conditions not stated"),
        ({"cell_system": "U2OS", "time": "48 h"}, "U2OS · 48 h"),
        (
            {"outcome": "o", "technique": "t", "perturbation_type": "p", "cell_system": "c", "time": "1 h"},
            "c · p · t · o · 1 h",
        ),
    ],
)
def test_sentence_of_a_context(stated, sentence):
    assert Context("cells", **stated).sentence == sentence


@pytest.mark.parametrize("n_rows", [1, 7, N_ROWS, N_ROWS + 1, None])
def test_chunks_cover_every_row_once(n_rows):
    blocks = list(screen().representation("raw").chunks(n_rows))
    assert [start for start, _ in blocks] == list(range(0, N_ROWS, n_rows or N_ROWS))
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), RAW)


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({"perturbation": "genes"}, r"unknown perturbation column 'genes': did you mean 'gene'\?"),
        ({"batch": "plates"}, r"unknown batch column 'plates': did you mean 'plate'\?"),
        ({"guide": "sgRNA"}, "unknown guide column 'sgRNA': choose one of 'row', 'gene', 'plate'"),
        ({"group": ("plate", "arm")}, "unknown group column 'arm'"),
        ({"control_column": "is_control"}, "unknown control column 'is_control'"),
        ({"control": ("non-targetting",)}, r"unknown control label 'non-targetting': did you mean 'non-targeting'\?"),
        ({"control_column": "plate"}, "control column 'plate' holds String, expected true and false: name a column of"),
        ({"batch": "<img src=x>\x1b"}, r"unknown batch column '<img src=x>\\x1b'"),
    ],
)
def test_roles_that_do_not_fit(roles, message):
    with pytest.raises(InputError, match=message) as caught:
        screen(**roles)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("dtype", [pl.Int64, pl.Float64, pl.Categorical])
def test_a_control_column_holds_truth_values(dtype):
    flags = pl.Series("flag", [0, 1] * (N_ROWS // 2))
    flags = flags.cast(pl.String).cast(dtype) if dtype == pl.Categorical else flags.cast(dtype)
    with pytest.raises(InputError, match=r"control column 'flag' holds .*, expected true and false"):
        screen(observations().with_columns(flags), control_column="flag")


def test_controls_by_column_by_label_and_by_several_labels():
    labels = np.array(LABELS)
    flags = pl.Series("flag", [True, None] + [False] * (N_ROWS - 2))
    by_column = screen(observations().with_columns(flags), control_column="flag").is_control()
    assert by_column.tolist() == [True] + [False] * (N_ROWS - 1)
    np.testing.assert_array_equal(screen(control=(CONTROL,)).is_control(), labels == CONTROL)
    np.testing.assert_array_equal(screen(control=("TP53", CONTROL)).is_control(), np.isin(labels, ["TP53", CONTROL]))
    assert not screen().is_control().any()


@pytest.mark.parametrize("dtype", [pl.String, pl.Categorical])
@pytest.mark.parametrize("blank", [None, "", "  "])
def test_rows_without_a_perturbation(dtype, blank):
    rows = pl.DataFrame({"gene": pl.Series([blank, "a", "b", None], dtype=dtype)})
    with pytest.raises(InputError, match="2 rows have no perturbation in column 'gene': name them, leave those rows"):
        screen(rows, RAW[:4])


@pytest.mark.parametrize(
    ("names", "roles", "refused"),
    [
        (["a", "b", "c", "d", "a"], {"replicates": False}, "'a'"),
        (["a", "b", "c", "d", "b", "a"], {"replicates": False}, "'a', 'b'"),
        (["<b>\x1b", "<b>\x1b", "c", "d"], {"replicates": False}, r"'<b>\\x1b'"),
        (["a", "b", "c", "d", "a"], {"replicates": True}, None),
        (["a", "b", "c", "d", "a"], {"replicates": False, "batch": "plate"}, None),
        (["a", "b", "c", "d", "a"], {"replicates": False, "guide": "plate"}, None),
        (["a", "b", "a", "b", "c"], {"replicates": False}, None),
        (["a", "b", "c", "d"], {"replicates": False}, None),
    ],
)
def test_repeated_names_are_a_slip_where_one_row_each_is_the_rule(names, roles, refused):
    rows = pl.DataFrame({"gene": names, "plate": [f"p{place}" for place in range(len(names))]})
    if refused is None:
        assert screen(rows, RAW[: len(names)], **roles).perturbation_labels() == names
        return
    with pytest.raises(InputError, match=f"duplicate perturbation names: {refused} stand in several rows") as caught:
        screen(rows, RAW[: len(names)], **roles)
    assert "replicates = true" in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_representation_of_other_rows():
    with pytest.raises(InputError, match="representation 'raw' has 25 rows, the screen 'cells' has 26: give one row"):
        screen(values=RAW[:-1])


def test_unknown_representation():
    with pytest.raises(InputError, match=r"unknown representation 'row': did you mean 'raw'\?"):
        screen().representation("row")


@pytest.mark.parametrize("payload", [*PAYLOADS, "x" * 100_000])
def test_any_name_can_be_a_perturbation(payload):
    made = build_map(Screen.from_arrays([payload, "a", "b"], {"raw": np.eye(3)}), "raw")
    assert set(made.names) == {payload, "a", "b"}


@pytest.mark.parametrize("csr", [False, True])
def test_from_anndata(csr):
    adata = toy_anndata(csr=csr)
    made = Screen.from_anndata(adata, perturbation="gene", control=(CONTROL,), batch="plate")
    assert {name: found.kind for name, found in made.representations.items()} == {
        "X": "simple",
        "layers/scaled": "simple",
        "obsm/latent": "learned",
    }
    np.testing.assert_array_equal(made.representation("X").source.read(0, N_ROWS), RAW)
    np.testing.assert_array_equal(made.representation("obsm/latent").source.read(0, N_ROWS), LATENT)
    assert made.perturbation_labels() == list(LABELS)
    assert made.is_control().sum() == LABELS.count(CONTROL)


def test_from_anndata_keeps_missing_names_missing():
    adata = toy_anndata()
    adata.obs["gene"] = pd.Categorical([None, *LABELS[1:]])
    with pytest.raises(InputError, match="1 row has no perturbation in column 'gene'"):
        Screen.from_anndata(adata, perturbation="gene")


def test_from_anndata_takes_nullable_columns():
    adata = toy_anndata()
    adata.obs["flag"] = pd.array([True, None] + [False] * (N_ROWS - 2), dtype="boolean")
    adata.obs["plate"] = pd.array([1, 2] * (N_ROWS // 2), dtype="Int64")
    made = Screen.from_anndata(adata, perturbation="gene", control_column="flag", batch="plate")
    assert made.is_control().sum() == 1
    assert made.rows["plate"].cast(pl.Int64).to_list() == [1, 2] * (N_ROWS // 2)
