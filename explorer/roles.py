"""Which column plays which part, found by the names that are usual in the field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from explorer.errors import InputError, listed, shown, unknown_name
from explorer.screen import Roles

# The usual names, by who uses them: pertpy and scPerturb, cell-eval, pycytominer, this project.
USUAL_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "perturbation": (
        "perturbation", "perturbation_name", "target_gene", "gene", "gene_target", "Metadata_gene",
        "Metadata_broad_sample", "Metadata_JCP2022", "Metadata_pert_iname", "condition", "guide_target",
    ),
    "batch": ("batch", "gem_group", "batch_var", "Metadata_Plate", "Metadata_Assay_Plate_Barcode", "plate"),
    "guide": ("guide", "guide_id", "sgRNA", "guide_identity", "sgID_AB"),
}  # fmt: skip
USUAL_CONTROLS = (
    "non-targeting", "control", "ctrl", "NT", "nontargeting", "non_targeting", "negcon", "DMSO", "vehicle",
)  # fmt: skip


def detect_roles(rows: pl.DataFrame, given: Mapping[str, Any]) -> tuple[Roles, tuple[str, ...]]:
    """Find the roles of a file's columns by the names that are usual in the field.

    Parameters
    ----------
    rows
        Metadata, one line a row.
    given
        Fields of `Roles` that the user stated; they are taken as they are.

    Returns
    -------
    tuple
        The roles, and one sentence for each that was assumed.

    Raises
    ------
    InputError
        When no column can be the perturbation.
    """
    found = dict(given)
    notes = []
    for role, usual in USUAL_COLUMNS.items():
        if role not in found:
            present = [name for name in usual if name in rows.columns]
            # In compound screens the gene of a control well is blank and its compound is not.
            complete = [name for name in present if not rows[name].null_count()]
            column = next(iter([*complete, *present]), None)
            if column is not None:
                found[role] = column
                notes.append(f"{role} is taken to be the column {shown(column)}")
    text = [name for name in rows.columns if rows.schema[name] == pl.String and name != "_row"]
    if "perturbation" not in found:
        if len(text) != 1:
            message = (
                f"can't tell which column is the perturbation: name it with --perturbation; "
                f"columns: {listed(rows.columns, limit=8)}"
            )
            raise InputError(message)
        found["perturbation"] = text[0]
        notes.append(f"perturbation is taken to be the only text column, {shown(text[0])}")
    column = found["perturbation"]
    if column not in rows.columns:
        msg = "perturbation column"
        raise unknown_name(msg, column, rows.columns)
    if "control" not in found:
        found_labels = set(rows[column].cast(pl.String).unique().drop_nulls().to_list())
        labels = tuple(label for label in USUAL_CONTROLS if label in found_labels)
        if labels:
            found["control"] = labels
            notes.append(f"controls are taken to be the rows labelled {listed(labels)}")
    return Roles(**found), tuple(notes)
