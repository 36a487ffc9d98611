"""Which column plays which part, found by the names that are usual in the field."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import polars as pl

from explorer.errors import InputError, listed, shown, unknown_name
from explorer.screen import Roles, RowTable, check_labels, holds_labels

# The usual names: of pertpy, scPerturb, EFAAR, cell-eval, State, pycytominer, JUMP, PERISCOPE and this project.
USUAL_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "perturbation": (
        "perturbation", "perturbation_name", "target_gene", "gene", "gene_target", "gene_symbol", "Metadata_gene",
        "Metadata_broad_sample", "Metadata_JCP2022", "Metadata_pert_iname", "Metadata_Symbol", "condition",
        "guide_target", "Metadata_Foci_Barcode_MatchedTo_GeneCode", "target", "treatment", "drug",
    ),
    "batch": (
        "batch", "gem_group", "batch_var", "Metadata_Plate", "Metadata_Assay_Plate_Barcode", "Metadata_plate",
        "plate",
    ),
    "guide": (
        "guide", "guide_id", "sgRNA", "guide_identity", "sgID_AB", "assigned_guide", "gRNA", "grna", "sgrna",
        "Metadata_Foci_Barcode_MatchedTo_Barcode",
    ),
}  # fmt: skip
# Where a well stands on its plate, and where a gene on its chromosome: both can pass for biology. One column each.
USUAL_GROUPS = (
    ("Metadata_Well", "Metadata_well_position", "Metadata_pert_well", "well_position", "well", "Well"),
    ("Metadata_chromosome_arm", "chromosome_arm", "chrom_arm", "Metadata_Chromosome", "chromosome"),
)
USUAL_CONTROLS = (
    "non-targeting", "control", "ctrl", "NT", "nontargeting", "non_targeting", "NegCtrl", "negcon", "DMSO", "vehicle",
)  # fmt: skip
# Columns that say what kind of row it is, and what they call a negative control; positive ones are never taken.
CONTROL_TYPES: Mapping[str, tuple[str, ...]] = {
    "Metadata_control_type": ("negcon", "negative_control"),
    "control_type": ("negcon", "negative_control"),
    "Metadata_pert_type": ("negcon", "negative_control", "control"),
    "pert_type": ("negcon", "negative_control", "ctl_vehicle", "ctl_untrt", "control"),
}
# What a column is called that states a condition, where one file holds several contexts.
USUAL_CONDITIONS: Mapping[str, tuple[str, ...]] = {
    "cell_system": (
        "cell_type", "cell_line", "cell_system", "cell", "celltype", "cellline", "Metadata_cell_line",
        "Metadata_Cell_type", "Metadata_cell_type",
    ),
    "perturbation_type": ("perturbation_type", "pert_type", "modality", "Metadata_Perturbation"),
    "technique": ("technique", "technology", "assay"),
    "time": ("time", "timepoint", "time_point", "hours", "Metadata_Time", "Metadata_time", "Metadata_timepoint"),
    "study": ("study", "dataset", "source", "Metadata_Source"),
}  # fmt: skip
CONTROL_FLAGS = ("is_control", "Metadata_is_control", "is_ctrl", "negative_control", "control")


def detect_roles(rows: RowTable, given: Mapping[str, Any]) -> tuple[Roles, tuple[str, ...]]:
    """Find the roles of a file's columns by the names that are usual in the field.

    Only columns that may play a part are read.

    Parameters
    ----------
    rows
        Metadata, one line a row: a data frame, or a file whose columns are read when asked for.
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
    columns = [name for name in rows.columns if holds_labels(name, rows.schema[name])]
    for role, usual in USUAL_COLUMNS.items():
        if role not in found:
            present = [name for name in usual if name in columns]
            # In compound screens the gene of a control well is blank and its compound is not.
            complete = (name for name in present if len(present) > 1 and not rows[name].null_count())
            column = next(complete, next(iter(present), None))
            if column is not None:
                found[role] = column
                notes.append(f"{role} is taken to be the column {shown(column)}")
    taken = {found.get(role) for role in (*USUAL_COLUMNS, "control_column")}
    if "group" not in found:
        free = set(columns) - taken
        first = (next((name for name in usual if name in free), None) for usual in USUAL_GROUPS)
        groups = tuple(name for name in first if name is not None)
        if groups:
            found["group"] = groups
            plural = "s" if len(groups) > 1 else ""
            notes.append(f"group (what could pass for biology) is taken to be the column{plural} {listed(groups)}")
    if "perturbation" not in found:
        other = {*taken, *found.get("group", ()), "_row"}
        kinds = (pl.String, pl.Categorical, pl.Enum)
        text = [name for name in columns if name not in other and rows.schema[name] in kinds]
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
    check_labels("perturbation", column, rows.schema[column])
    if "control" not in found and "control_column" not in found:
        controls, note = _find_controls(rows, column)
        found |= controls
        notes += note
    return Roles(**found), tuple(notes)


def _find_controls(rows: RowTable, column: str) -> tuple[dict[str, Any], list[str]]:
    """Find the controls: by a column of kinds, by a column of truth values, or by the usual labels."""
    perturbations = rows[column]
    for name, kinds in CONTROL_TYPES.items():
        if name in rows.columns and name != column and holds_labels(name, rows.schema[name]):
            # Where controls are told apart, "control" of a broader column means the positive ones too.
            apart = any(other in rows.columns for other in CONTROL_TYPES if other.endswith("control_type"))
            labels, kind = _labels_of_kind(
                perturbations, rows[name], [kind for kind in kinds if not (apart and kind == "control")]
            )
            if labels:
                note = f"controls are taken to be the rows labelled {listed(labels)}, which {shown(name)} calls {kind}"
                return {"control": labels}, [note]
    for name in CONTROL_FLAGS:
        if name in rows.columns and rows.schema[name] == pl.Boolean:
            return {"control_column": name}, [f"controls are taken to be the rows that the column {shown(name)} marks"]
    present = set(perturbations.unique().drop_nulls().cast(pl.String).to_list())
    labels = tuple(label for label in USUAL_CONTROLS if label in present)
    if labels:
        return {"control": labels}, [f"controls are taken to be the rows labelled {listed(labels)}"]
    return {}, []


def _labels_of_kind(perturbations: pl.Series, kinds: pl.Series, wanted: Collection[str]) -> tuple[tuple[str, ...], str]:
    """Find the perturbations that stand in rows of the wanted kinds and in no other row."""
    pairs = pl.DataFrame({"label": perturbations, "kind": kinds}).unique().cast(pl.String)
    is_wanted = pl.col("kind").is_in(list(wanted)).fill_null(value=False)
    controls = pairs.filter(is_wanted).drop_nulls()
    others = set(pairs.filter(~is_wanted)["label"].to_list())
    labels = set(controls["label"].to_list())
    kind = listed(sorted(set(controls["kind"].to_list())))
    return (tuple(sorted(labels)), kind) if not labels & others else ((), kind)
