"""Roles found by the usual names."""

import polars as pl
import pytest

from explorer.errors import InputError
from explorer.roles import CONTROL_FLAGS, CONTROL_TYPES, USUAL_COLUMNS, USUAL_CONTROLS, USUAL_GROUPS, detect_roles
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


@pytest.mark.parametrize("column", [name for names in USUAL_GROUPS for name in names])
def test_every_usual_position(column):
    rows = pl.DataFrame({"symbol": ["a", "b"], column: ["A01", "A02"]})
    roles, notes = detect_roles(rows, {})
    assert roles == Roles(perturbation="symbol", group=(column,))
    assert f"group (what could pass for biology) is taken to be the column '{column}'" in notes


def test_several_positions_and_a_position_that_is_the_perturbation():
    rows = pl.DataFrame(
        {"gene": ["a", "b"], "well": ["A01", "A02"], "Well": ["A1", "A2"], "chromosome_arm": ["1p", "1q"]}
    )
    roles, notes = detect_roles(rows, {})
    assert roles.group == ("well", "chromosome_arm")
    assert "is taken to be the columns 'well', 'chromosome_arm'" in notes[-1]
    assert detect_roles(rows, {"perturbation": "well"})[0].group == ("Well", "chromosome_arm")
    assert detect_roles(rows, {"group": ()})[0].group == ()


@pytest.mark.parametrize(("column", "kind"), [(name, kind) for name, kinds in CONTROL_TYPES.items() for kind in kinds])
def test_every_column_of_kinds(column, kind):
    rows = pl.DataFrame({"gene": ["a", "water", "b", "water", "x"], column: ["trt", kind, None, kind, "poscon"]})
    roles, notes = detect_roles(rows, {"perturbation": "gene"})
    assert roles.control == ("water",)
    assert notes[-1] == f"controls are taken to be the rows labelled 'water', which '{column}' calls '{kind}'"


def test_positive_controls_are_never_taken():
    rows = pl.DataFrame(
        {
            "Metadata_gene": ["a", "DMSO", "b"],
            "Metadata_pert_type": ["trt", "control", "control"],
            "Metadata_control_type": [None, "other", "poscon_cp"],
        }
    )
    assert detect_roles(rows, {})[0].control == ("DMSO",)
    assert detect_roles(rows.drop("Metadata_control_type"), {})[0].control == ("DMSO", "b")


def test_a_label_that_is_a_control_in_some_rows_only_is_none():
    rows = pl.DataFrame({"gene": ["a", "b", "a"], "control_type": ["negcon", None, None]})
    assert detect_roles(rows, {})[0].control == ()


@pytest.mark.parametrize("column", CONTROL_FLAGS)
def test_every_column_of_truth_values(column):
    rows = pl.DataFrame({"gene": ["a", "NT"], column: [False, True]})
    roles, notes = detect_roles(rows, {})
    assert (roles.control, roles.control_column) == ((), column)
    assert notes[-1] == f"controls are taken to be the rows that the column '{column}' marks"
    assert detect_roles(rows.cast({column: pl.Int8}), {})[0].control == ("NT",)
    assert detect_roles(rows, {"control": ("a",)})[0] == Roles(perturbation="gene", control=("a",))


def test_categories_are_text():
    rows = pl.DataFrame({"symbol": ["a", "NT"], "x": [1.0, 2.0]}, schema_overrides={"symbol": pl.Enum(["a", "NT"])})
    assert detect_roles(rows, {})[0] == Roles(perturbation="symbol", control=("NT",))


def test_only_candidates_are_read():
    class Rows:
        columns = ("_row", "gene", "gem_group", "qc", "sgRNA", "guide_id")
        schema = dict.fromkeys(columns, pl.String())
        height = 2

        def __init__(self):
            self.read = set()

        def __getitem__(self, name):
            self.read.add(name)
            return pl.Series(name, ["a", None if name == "guide_id" else "b"])

    rows = Rows()
    assert detect_roles(rows, {})[0] == Roles(perturbation="gene", batch="gem_group", guide="sgRNA")
    assert rows.read == {"gene", "sgRNA", "guide_id"}


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
