"""The context passport: what a claim is conditioned on, and what can't be told apart between contexts."""

from dataclasses import replace

import polars as pl
import pytest
import toys
from files import write_card
from hypothesis import given
from hypothesis import strategies as st

from explorer import catalog as catalog_module
from explorer import passport as passport_module
from explorer.catalog import open_catalog
from explorer.errors import InputError
from explorer.keeping import NotMadeError, Shared, only_made
from explorer.load import load_dataset, load_screen
from explorer.passport import (
    Passport,
    compare_passports,
    confounding,
    layout_columns,
    passport_of,
    passport_of_screen,
)
from explorer.screen import Roles
from explorer.sources import ArraySource, SelectedSource
from explorer.tables import ParquetSource

SKIN = Passport(
    dataset="depmap",
    context="skin",
    cell_system="skin lines",
    perturbation_type="knock-out",
    technique="fitness screen",
    outcome="gene effect",
    time="21 d",
    controls="1,679 reference perturbations that stay in the map",
    batches="2 batches",
    layout="not declared",
    reference="reference perturbations that stay in the map",
    file="all.h5ad",
    batch_names=frozenset({"p0", "p1"}),
)
SOFT = replace(
    SKIN, context="soft", cell_system="soft lines", controls="9 reference perturbations that stay in the map"
)


@pytest.fixture
def catalog(tmp_path, monkeypatch):
    monkeypatch.setattr(catalog_module, "_shared", Shared())
    monkeypatch.setattr(passport_module, "_shared", Shared())
    return open_catalog(toys.write_catalog(tmp_path))


# One passport.


def test_a_passport_is_read_off_the_card_and_the_labels(catalog):
    found = passport_of(catalog.dataset("toy"), "beta")
    assert (found.dataset, found.context, found.cell_system, found.technique) == (
        "toy",
        "beta",
        "beta cells",
        "not stated",
    )
    assert found.controls == "4 non-targeting guides (4 rows)"
    assert (found.batches, found.batch_names) == ("2 batches", {"p0", "p1"})
    assert found.layout == "not declared"
    assert found.selection == ""
    assert found.file == "rows_beta.parquet"
    assert found.sentence == (
        "beta cells · perturbation type, technique, outcome and time not stated · 4 non-targeting guides (4 rows) · "
        "layout not declared"
    )
    assert dict(found.rows())["Reference controls"] == "4 non-targeting guides (4 rows)"
    assert "Rows" not in dict(found.rows()), "the whole file needs no word"
    assert found.to_json()["sentence"] == found.sentence
    assert found.to_json()["time"] == "not stated"


def test_a_passport_is_written_once_and_reads_no_feature(catalog, monkeypatch):
    dataset = catalog.dataset("toy")
    screen = load_screen(dataset, "alpha")

    def refuse(*_, **__):
        raise AssertionError

    with only_made(), pytest.raises(NotMadeError):
        passport_of(dataset, "alpha")
    passport_of(dataset, "beta")  # its screen is read
    for kind in (ArraySource, ParquetSource, SelectedSource):
        monkeypatch.setattr(kind, "read", refuse)
        monkeypatch.setattr(kind, "fingerprint", refuse)
    assert passport_of_screen(dataset, screen) == passport_of(dataset, "alpha")
    with only_made():
        assert passport_of(dataset, "alpha") is passport_of(dataset, "alpha")


def test_an_unknown_context_is_named(catalog):
    with pytest.raises(InputError, match="unknown context 'alfa': did you mean 'alpha'"):
        passport_of(catalog.dataset("toy"), "alfa")


def test_a_card_that_changes_is_another_passport(tmp_path):
    toys.write_catalog(tmp_path)
    before = passport_of(open_catalog(tmp_path).dataset("toy"), "alpha")
    write_card(tmp_path / "toy", {"contexts/alpha/time": "48 h"}, card=toys.CARD)
    after = passport_of(open_catalog(tmp_path).dataset("toy"), "alpha")
    assert (before.time, after.time) == ("not stated", "48 h")


@pytest.mark.parametrize(
    ("columns", "roles", "controls", "layout"),
    [
        ({"ctrl": [True, True, False, False]}, {"control": {"column": "ctrl"}}, "2 control rows", "not declared"),
        (
            {"ctrl": [True, True, False, False]},
            {"control": {"column": "ctrl"}, "keep_controls": True},
            "2 reference perturbations that stay in the map",
            "not declared",
        ),
        ({"ctrl": [False] * 4}, {"control": {"column": "ctrl"}}, "none in this context", "not declared"),
        ({}, {}, "none declared", "not declared"),
        ({}, {"control": "A"}, "1 A row", "not declared"),
        ({}, {"control": ["A", "B"]}, "2 control rows", "not declared"),
        (
            {"guide": list("wxyz")},
            {"control": ["A", "B"], "guide": "guide"},
            "2 control guides (2 rows)",
            "not declared",
        ),
        (
            {"well": list("wxyz"), "chromosome_arm": ["1p"] * 4},
            {"control": "A", "group": ["well", "chromosome_arm"]},
            "1 A row",
            "declared (column well)",
        ),
    ],
)
def test_controls_and_layout_in_words(tmp_path, columns, roles, controls, layout):
    table = pl.DataFrame({"gene": list("ABCD"), **columns, "x": [1.0, 2, 3, 4], "y": [0.0, 1, 0, 1]})
    folder = write_card(
        tmp_path / "toy",
        {
            "contexts/cells/rows": "rows.csv",
            "roles": {"perturbation": "gene", **roles},
            "representations": {"raw": {"kind": "simple", "source": "X"}},
        },
    )
    table.write_csv(folder / "rows.csv")
    found = passport_of(load_dataset(folder), "cells")
    assert (found.controls, found.layout) == (controls, layout)
    assert found.batches == "not declared"


@pytest.mark.parametrize(
    ("column", "is_layout"),
    [
        ("Well", True), ("Metadata_Well", True), ("well_position", True), ("PlateRow", True), ("plate_col", True),
        ("column", True), ("site", True), ("chromosome_arm", False), ("genomic_position", False), ("color", False),
        ("growth", False), ("collection", False), ("arrow", False), ("batch", False), ("chr_pos", False),
    ],
)  # fmt: skip
def test_what_is_a_layout(column, is_layout):
    assert layout_columns(Roles("gene", group=(column,))) == ((column,) if is_layout else ())


def test_what_is_not_stated_is_said_briefly():
    nothing = dict.fromkeys(("cell_system", "perturbation_type", "technique", "outcome", "time"), "not stated")
    bare = replace(SKIN, **nothing, controls="none declared")
    assert bare.sentence == "conditions not stated · no controls declared · layout not declared"
    assert replace(SKIN, study="norman19").sentence.startswith(
        "skin lines · knock-out · fitness screen · gene effect · "
    )
    assert " · 21 d · norman19 · 1,679" in replace(SKIN, study="norman19").sentence
    assert "\n" not in SKIN.sentence


# Two passports.


def test_the_demos(demo):
    catalog = open_catalog(demo)
    for name, contexts in (("perturbseq", ("line_A", "line_B")), ("depmap", ("skin", "soft_tissue"))):
        one, other = (passport_of(catalog.dataset(name), context) for context in contexts)
        assert compare_passports(one, other).differing == ("cell system",), "not the number of control cells"


def test_what_differs():
    found = compare_passports(SKIN, SOFT)
    assert found.differing == ("cell system",), "numbers of controls are no condition"
    assert found.sentence == "They differ in cell system (skin lines; soft lines); all else stated is the same."
    assert found.warnings == ()


def test_nothing_differs():
    found = compare_passports(SKIN, replace(SKIN, context="again"))
    assert (found.differing, found.warnings) == ((), ())
    assert found.sentence == "Nothing that is stated differs between them."


def test_what_differs_together_can_not_be_told_apart():
    found = compare_passports(SKIN, replace(SOFT, technique="Perturb-seq", batch_names=frozenset({"p7"})))
    assert found.differing == ("cell system", "technique", "batch")
    (warning,) = found.warnings
    assert warning == (
        "Cell system, technique and batch differ together between skin and soft: a difference between the two can't be "
        "given to one of them."
    )
    assert found.sentence == (
        "They differ in cell system (skin lines; soft lines), technique (fitness screen; Perturb-seq) and batch; all "
        "else stated is the same."
    )


def test_another_data_set_is_another_batch():
    found = compare_passports(SKIN, replace(SOFT, dataset="other"))
    assert found.differing == ("data set", "cell system", "batch")
    assert "between depmap/skin and other/soft" in found.warnings[0]


def test_what_is_not_stated_can_not_be_told():
    found = compare_passports(replace(SKIN, time="not stated"), replace(SOFT, time="not stated", outcome="not stated"))
    assert found.differing == ("cell system",)
    assert found.warnings == (
        "Outcome is not stated for soft: whether the two differ in it can't be told.",
        "Time is not stated for skin and soft: whether the two differ in it can't be told.",
    )


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (
            {"batch_names": frozenset()},
            {},
            "No batches are declared for skin: whether the two share any can't be told.",
        ),
        (
            {"batch_names": frozenset()},
            {"batch_names": frozenset()},
            "No batches are declared for skin and soft: whether the two share any can't be told.",
        ),
        ({}, {"file": "other.h5ad"}, "Batches of skin and soft have the same names ('p0', 'p1') in two files: whether"),
    ],
)
def test_batches_that_can_not_be_held_against_each_other(one, other, said):
    found = compare_passports(replace(SKIN, **one), replace(SOFT, **other))
    assert found.differing == ("cell system",)
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith(said)


def test_a_layout_on_one_side_alone_differs_and_explains_nothing():
    found = compare_passports(SKIN, replace(SOFT, layout="declared (column Well)"))
    assert found.differing == ("cell system", "layout")
    assert found.warnings == ()


# Several passports.

NORMAN = replace(SKIN, context="k562", cell_system="k562", perturbation_type="CRISPRa", study="norman19")
GLIOMA = tuple(
    replace(SKIN, context=name, cell_system=name, perturbation_type="CRISPRi", study="mcfaline23")
    for name in ("A172", "T98G")
)


def test_what_is_fully_confounded():
    first, second = confounding([*GLIOMA, NORMAN])
    assert first == (
        "Study and perturbation type are fully confounded: they split the contexts in the same way (A172 and T98G | "
        "k562), so a difference between the parts can't be given to one of them."
    )
    assert second.startswith("Each cell system comes with one study and one perturbation type only: ")


def test_batches_take_part_where_they_can():
    apart = [replace(one, batch_names=frozenset({f"b{place}"})) for place, one in enumerate((SKIN, SOFT))]
    (said,) = confounding(apart)
    assert said.startswith(
        "Cell system and batch are fully confounded: they split the contexts in the same way (skin | "
    )
    third = replace(SKIN, context="third", batch_names=frozenset({"b0", "b1"}))
    assert confounding([*apart, third]) == (), "a context that shares batches with both joins them"


def test_what_varies_by_itself_is_not_confounded():
    cross = [
        replace(SKIN, context=f"{cell} {time}", cell_system=cell, time=time)
        for cell in ("skin", "soft")
        for time in ("24 h", "48 h")
    ]
    assert confounding(cross) == ()
    assert confounding(cross[:1]) == confounding([]) == ()
    (said,) = confounding([replace(one, outcome="not stated") for one in cross])
    assert said == "Outcome is not stated for every context: whether it varies with the others can't be told."


condition = st.sampled_from(["a", "b", "not stated"])
passports = st.builds(
    lambda cell, kind, time, batches: replace(
        SKIN, cell_system=cell, perturbation_type=kind, time=time, batch_names=frozenset(batches)
    ),
    condition,
    condition,
    condition,
    st.sets(st.sampled_from("xyz")),
)


@given(passports, passports)
def test_a_comparison_is_the_same_both_ways(one, other):
    there, back = compare_passports(one, other), compare_passports(other, one)
    assert there.differing == back.differing
    assert len(there.warnings) == len(back.warnings)
    for name, key in (("cell system", "cell_system"), ("time", "time")):
        values = getattr(one, key), getattr(other, key)
        assert (name in there.differing) == (values[0] != values[1] and "not stated" not in values)
        # What is not stated is always said to be unknown.
        assert ("not stated" in values) == any(name in text.lower() for text in there.warnings if "not stated" in text)
    assert not compare_passports(one, one).differing


@given(st.lists(passports, min_size=2, max_size=5))
def test_two_that_are_fully_confounded_differ_together(several):
    said = [text for text in confounding(several) if "fully confounded" in text]
    for name, key in (("cell system", "cell_system"), ("perturbation type", "perturbation_type")):
        values = [getattr(one, key) for one in several]
        if any(name in text.lower() for text in said):
            assert len(set(values)) > 1
            assert "not stated" not in values
