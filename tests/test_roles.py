"""Roles found by the usual names."""

import polars as pl
import pytest

from explorer.errors import InputError
from explorer.roles import USUAL_COLUMNS, USUAL_CONTROLS, detect_roles
from explorer.screen import Roles


@pytest.mark.parametrize(
    ("role", "column"), [(role, column) for role, names in USUAL_COLUMNS.items() for column in names]
)
def test_every_usual_column(role, column):
    rows = pl.DataFrame(
        {"other": ["x", "y"], column: ["a", "b"], **({} if role == "perturbation" else {"gene": ["c", "d"]})}
    )
    roles, notes = detect_roles(rows, {})
    assert getattr(roles, role) == column
    assert f"{role} is taken to be the column '{column}'" in notes


@pytest.mark.parametrize("label", USUAL_CONTROLS)
def test_every_usual_control(label):
    roles, notes = detect_roles(pl.DataFrame({"gene": ["a", label]}), {})
    assert roles.control == (label,)
    assert f"controls are taken to be the rows labelled '{label}'" in notes


def test_what_is_given_is_taken():
    rows = pl.DataFrame({"gene": ["a", "NT"], "name": ["b", "mock"], "plate": ["p", "q"], "well": ["w", "v"]})
    roles, notes = detect_roles(rows, {"perturbation": "name", "control": ("mock",), "batch": "well"})
    assert roles == Roles(perturbation="name", control=("mock",), batch="well")
    assert notes == ()


def test_the_only_text_column_is_the_perturbation():
    roles, notes = detect_roles(pl.DataFrame({"_row": ["0"], "symbol": ["a"], "x": [1.0]}), {})
    assert roles.perturbation == "symbol"
    assert notes == ("perturbation is taken to be the only text column, 'symbol'",)


def test_a_column_without_gaps_goes_first():
    rows = pl.DataFrame({"Metadata_gene": ["a", None], "Metadata_pert_iname": ["b", "DMSO"]})
    assert detect_roles(rows, {})[0] == Roles(perturbation="Metadata_pert_iname", control=("DMSO",))
    assert detect_roles(rows.drop("Metadata_pert_iname"), {})[0].perturbation == "Metadata_gene"


@pytest.mark.parametrize(
    ("columns", "given", "message"),
    [
        (
            {"one": ["a"], "two": ["b"]},
            {},
            "can't tell which column is the perturbation: name it with --perturbation; col",
        ),
        ({"x": [1.0]}, {}, "can't tell which column is the perturbation: .* columns: 'x'"),
        ({"<b>\x1b": ["a"], "two": ["b"]}, {}, r"columns: '<b>\\x1b', 'two'"),
        ({"gene": ["a"]}, {"perturbation": "Gene"}, r"unknown perturbation column 'Gene': did you mean 'gene'\?"),
    ],
)
def test_refused(columns, given, message):
    with pytest.raises(InputError, match=message) as caught:
        detect_roles(pl.DataFrame(columns), given)
    assert str(caught.value).isprintable()
