"""Contexts of data sets on offer: the numbers of the library, made once and kept on disk."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import toys
import verdicts

from explorer import context_reports
from explorer.axis import axis_strata, centered
from explorer.catalog import open_catalog, shared_activity, shared_halves, shared_knowledge, shared_map
from explorer.context_reports import (
    OVERLAP_SCHEMA,
    Place,
    context_side,
    other_places,
    passports_of,
    read_place,
    shared_overlap,
    shared_report,
)
from explorer.contexts import compare_contexts
from explorer.errors import InputError
from explorer.keeping import Shared
from explorer.known import known_pairs, pool_units
from explorer.overlap import PARTS, adjusted_overlap, compare_overlaps, overlap_test

HERE = Place("toy", "alpha", "raw", "none")
BETA = Place("toy", "beta", "raw", "none")
OTHER_NAMES = {
    "profile": {"kind": "simple", "source": "X"},
    "net": {"kind": "learned", "source": "latent_{context}.parquet"},
}


def forget(monkeypatch):
    """Do as a new process does."""
    monkeypatch.setattr(context_reports, "_remembered", Shared(context_reports.MOST_REMEMBERED))


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch):
    forget(monkeypatch)


def add_dataset(root: Path, name: str, **options) -> None:
    """Put one more data set into a catalog."""
    elsewhere = root.parent / f"{root.name}-{name}"
    verdicts.write_catalog(elsewhere, **options)
    shutil.move(elsewhere / "toy", root / name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = verdicts.write_catalog(tmp_path_factory.mktemp("contexts") / "catalog")
    add_dataset(root, "atlas", changes={"representations": OTHER_NAMES, "defaults": {"align": "none"}})
    add_dataset(root, "foreign", names=[f"ENSG{number:05}" for number in range(110)])
    add_dataset(root, "lower", names=[name.lower() for name in verdicts.NAMES])
    return root


@pytest.fixture
def catalog(folder):
    return open_catalog(folder)


def known_of(dataset, names):
    return tuple(known_pairs(source, names) for source in shared_knowledge(dataset).relationships)


def map_at(catalog, place, **changes):
    place = replace(place, **changes)
    return shared_map(catalog.dataset(place.dataset), place.context, place.representation, alignment=place.align)


# Places


def test_contexts_of_the_same_data_set_come_first_and_strangers_not_at_all(catalog):
    found = other_places(catalog, HERE)
    assert found == (BETA, Place("atlas", "alpha", "profile", "none"), Place("atlas", "beta", "profile", "none"))
    learned = other_places(catalog, replace(HERE, representation="latent"))
    assert [place.representation for place in learned] == ["latent", "net", "net"]
    assert [place.context for place in other_places(catalog, BETA)] == ["alpha", "alpha", "beta"]


def test_a_chosen_alignment_is_kept_and_the_usual_one_is_each_data_sets_own(catalog):
    # Nothing is aligned by the cards; what is chosen goes along.
    chosen = other_places(catalog, replace(HERE, align="center"))
    assert {place.align for place in chosen} == {"center"}
    usual = other_places(catalog, HERE)
    assert {place.align for place in usual} == {"none"}


def test_a_data_set_that_can_not_be_read_is_passed_over(folder, tmp_path):
    broken = tmp_path / "catalog"
    shutil.copytree(folder, broken)
    (broken / "atlas" / "rows_alpha.parquet").write_bytes(b"torn")
    found = other_places(open_catalog(broken), HERE)
    assert [(place.dataset, place.context) for place in found] == [("toy", "beta"), ("atlas", "beta")]
    (broken / "toy" / "rows_alpha.parquet").write_bytes(b"torn")
    with pytest.raises(InputError):
        other_places(open_catalog(broken), HERE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("beta", BETA),
        ("toy/beta", BETA),
        ("beta:latent", replace(BETA, representation="latent")),
        ("atlas/beta", Place("atlas", "beta", "profile", "none")),
        ("atlas/beta:net", Place("atlas", "beta", "net", "none")),
    ],
)
def test_places_are_read_as_they_are_written(catalog, text, expected):
    assert read_place(catalog, text, like=HERE) == expected
    assert read_place(catalog, expected.address, like=HERE) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("betta", "unknown context 'betta': did you mean 'beta'"),
        ("atlass/beta", "unknown dataset 'atlass': did you mean 'atlas'"),
        ("beta:lattent", "unknown representation 'lattent': did you mean 'latent'"),
        ("", "unknown context"),
    ],
)
def test_what_is_written_wrong_is_one_sentence(catalog, text, said):
    with pytest.raises(InputError, match=said):
        read_place(catalog, text, like=HERE)


# A side


def test_a_side_brings_map_halves_and_why_activity_was_not_judged(catalog):
    dataset = catalog.dataset("toy")
    side = context_side(catalog, HERE, label="first")
    assert side.label == "first"
    assert context_side(catalog, HERE).label == "alpha"
    assert side.perturbation_map is shared_map(dataset, "alpha", "raw")
    assert side.halves == shared_halves(dataset, "alpha", "raw")
    assert side.layout is None
    activity, reason = shared_activity(dataset, "alpha", "raw")
    if activity is None:
        assert (side.inactive, side.activity_note) == (frozenset(), reason)


def test_inactive_are_those_judged_and_not_called_active(tmp_path):
    catalog = open_catalog(toys.write_active_catalog(tmp_path, counts=dict.fromkeys(toys.KINDS, 4)))
    place = replace(HERE, align="center")
    side = context_side(catalog, place)
    activity, _ = shared_activity(catalog.dataset("toy"), "alpha", "raw", alignment="center")
    by_replicates = activity.table.filter(pl.col("basis") == "replicate consistency")
    expected = {row["perturbation"] for row in by_replicates.iter_rows(named=True) if row["q"] > 0.1}
    assert context_reports.inactive_in(catalog, place) == expected
    assert side.inactive == expected
    assert side.activity_note == ""
    assert expected
    assert not any(name.startswith("both") for name in expected)


def test_one_label_for_two_contexts_of_a_file_is_refused(tmp_path):
    same = {"rows": "rows_alpha.parquet", "where": {"gene": list(verdicts.NAMES)}}
    own = {"raw": {"kind": "simple", "source": "X"}}
    root = verdicts.write_catalog(
        tmp_path, {"contexts/alpha": same, "contexts/beta": same, "representations": own, "defaults": {"align": "none"}}
    )
    with pytest.raises(InputError, match="'alpha' and 'beta' are the same rows"):
        shared_report(open_catalog(root), HERE, [BETA], k=4)


def test_size_alone_calls_nobody_inactive():
    unknown = ((), (), "there are no replicates to judge activity by, so who does nothing there is not known")
    table = pl.DataFrame({"perturbation": ["A", "B"], "q": [0.5, 0.9], "basis": ["magnitude"] * 2})
    assert context_reports._inactive(table) == unknown
    assert context_reports._inactive(table.with_columns(q=pl.Series([0.01, 0.9]))) == unknown
    untold = table.with_columns(q=pl.Series([float("nan"), float("nan")]), basis=pl.lit(None, dtype=pl.String))
    assert context_reports._inactive(untold) == unknown
    # That nobody repeats is an answer.
    repeats = table.with_columns(basis=pl.lit("replicate consistency"))
    assert context_reports._inactive(repeats) == (("A", "B"), (), "")
    some = pl.DataFrame(
        {
            "perturbation": ["A", "B", "C", "D"],
            "q": [0.01, 0.9, 0.9, float("nan")],
            "basis": ["replicate consistency", "replicate consistency", "magnitude", None],
        }
    )
    assert context_reports._inactive(some) == (("B",), ("C", "D"), "")


# The report


def test_a_report_is_that_of_the_library(catalog):
    found = shared_report(catalog, HERE, [BETA], k=4, seed=3)
    sides = [context_side(catalog, place) for place in (HERE, BETA)]
    # The last perturbation is in alpha alone.
    names = sides[1].perturbation_map.names
    known = known_of(catalog.dataset("toy"), names)
    expected = compare_contexts(sides[0], sides[1:], known=known, k=4, seed=3)
    assert found.names == names
    assert found.edges.equals(expected.edges)
    assert found.labels.equals(expected.labels)
    assert set(expected.notes) <= set(found.notes)
    assert (found.edges["known"] != "").any()
    assert found.tests["beta"].holds.sum() > 0


def test_contexts_of_another_data_set_bear_its_name(catalog):
    atlas = Place("atlas", "beta", "net", "none")
    found = shared_report(catalog, HERE, [BETA, atlas], k=4, at_least=2)
    assert (found.discovery, found.others) == ("alpha", ("beta", "atlas/beta"))
    assert found.at_least == 2
    assert found.edges["holds_general"].dtype == pl.Boolean


def same_report(one, other):
    assert one.edges.equals(other.edges)
    assert one.edges.schema == other.edges.schema
    assert one.labels.equals(other.labels)
    assert (one.names, one.notes, one.k, one.at_least) == (other.names, other.notes, other.k, other.at_least)
    for label in one.others:
        np.testing.assert_array_equal(one.tests[label].p, other.tests[label].p)
        np.testing.assert_array_equal(one.repeatability[label].p, other.repeatability[label].p)
        assert repr(one.absent[label]) == repr(other.absent[label])


@pytest.mark.parametrize("others", [[BETA], [BETA, Place("atlas", "alpha", "net", "none")]])
def test_a_new_process_takes_it_from_disk_to_the_digit(catalog, monkeypatch, others):
    first = shared_report(catalog, HERE, others, k=4)
    assert shared_report(catalog, HERE, others, k=4) is first
    forget(monkeypatch)
    monkeypatch.setattr(context_reports, "compare_contexts", lambda *_, **__: pytest.fail("compared again"))
    again = shared_report(catalog, HERE, others, k=4)
    assert again is not first
    same_report(first, again)


@pytest.mark.parametrize(
    "change", [{"k": 5}, {"seed": 1}, {"at_least": 1}, {"here": replace(HERE, representation="latent")}]
)
def test_another_question_is_another_report(catalog, change):
    given = {"here": HERE, "k": 4} | change
    first = shared_report(catalog, HERE, [BETA], k=4)
    here = given.pop("here")
    assert shared_report(catalog, here, [BETA], **given) is not first


def test_it_is_made_once_whoever_asks(catalog, monkeypatch):
    calls = []
    compare = context_reports.compare_contexts

    def counting(*args, **options):
        calls.append(1)
        return compare(*args, **options)

    monkeypatch.setattr(context_reports, "compare_contexts", counting)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: shared_report(catalog, HERE, [BETA], k=4), range(3)))
    assert len(calls) == 1
    assert found[0] is found[1] is found[2]


def test_progress_grows_and_may_cancel(catalog):
    said = []
    shared_report(catalog, HERE, [BETA], k=4, progress=lambda what, share: said.append((what, share)))
    shares = [share for _, share in said]
    assert shares == sorted(shares)
    assert said[0] == ("map of alpha", 0.0)
    assert shares[-1] == 1.0

    def cancel(what, share):
        if share > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shared_report(catalog, HERE, [BETA], k=4, seed=9, progress=cancel)
    assert shared_report(catalog, HERE, [BETA], k=4, seed=9).k == 4


@pytest.mark.parametrize("function", ["report", "overlap"])
def test_files_that_change_meanwhile_are_not_mixed(folder, tmp_path, function):
    root = tmp_path / "catalog"
    shutil.copytree(folder, root)
    catalog, rows = open_catalog(root), root / "toy" / "rows_beta.parquet"

    def meddle(what, share):
        if what in ("what is known", "map of latent-seed-1"):
            os.utime(rows, ns=(0, 0))

    ask = {
        "report": lambda: shared_report(catalog, HERE, [BETA], k=4, progress=meddle),
        "overlap": lambda: shared_overlap(catalog, HERE, BETA, simple="raw", learned="latent", k=4, progress=meddle),
    }
    with pytest.raises(InputError, match="changed while"):
        ask[function]()


# What can't be compared


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([], "'alpha' has no other context to be compared with: name one.* for a single file --context-column COLUMN"),
        ([Place("atlas", "alpha", "profile", "none")], "'alpha' and 'atlas/alpha' are the same rows: all that holds"),
        ([BETA, Place("atlas", "beta", "profile", "none")], "'beta' and 'atlas/beta' are the same rows"),
        ([HERE], "'alpha' of 'toy' can't be compared with itself"),
        ([BETA, replace(BETA, representation="latent")], "'beta' of 'toy' can't be compared with itself"),
        ([replace(BETA, representation="rew")], "unknown representation 'rew': did you mean 'raw'"),
        ([replace(BETA, context="betta")], "unknown context 'betta'"),
        ([replace(BETA, align="centre")], "unknown alignment 'centre'"),
        (
            [Place("lower", "beta", "raw", "none")],
            "share no perturbation.* 'G000' and 'g000'.* nothing is matched that is spelled in two ways",
        ),
        ([Place("foreign", "beta", "raw", "none")], "alpha and foreign/beta share no perturbation"),
    ],
)
def test_what_can_not_be_compared_is_one_sentence(catalog, others, said):
    with pytest.raises(InputError, match=said) as error:
        shared_report(catalog, HERE, others)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (HERE, "'alpha' of 'toy' can't be compared with itself"),
        (Place("atlas", "alpha", "net", "none"), "'alpha' and 'atlas/alpha' are the same rows: all that holds"),
        (replace(BETA, align="centre"), "unknown alignment 'centre'"),
        (Place("lower", "beta", "raw", "none"), "'G000' and 'g000'"),
        (Place("foreign", "beta", "raw", "none"), "alpha and foreign/beta share no perturbation"),
    ],
)
def test_overlaps_that_can_not_be_had_are_one_sentence(catalog, other, said):
    with pytest.raises(InputError, match=said):
        shared_overlap(catalog, HERE, other, simple="raw", learned="latent")


def test_a_context_of_ten_is_told_how_many_are_needed(tmp_path):
    catalog = open_catalog(toys.write_catalog(tmp_path, names=toys.NAMES[:11]))
    for compare in (
        lambda: shared_report(catalog, HERE, [BETA], k=4),
        lambda: shared_overlap(catalog, HERE, BETA, simple="raw", learned="latent", k=4),
    ):
        with pytest.raises(InputError, match=r"10 perturbations .* expected at least 60"):
            compare()


# Overlap


def test_an_overlap_is_that_of_the_library(catalog):
    found = shared_overlap(catalog, HERE, BETA, simple="raw", learned="latent", k=4, seed=5)
    maps = {
        name: [map_at(catalog, place, representation=name) for place in (HERE, BETA)] for name in toys.REPRESENTATIONS
    }
    names = maps["raw"][1].names
    units = pool_units(known_of(catalog.dataset("toy"), names))
    overlaps = {name: adjusted_overlap(*both, k=4) for name, both in maps.items()}
    assert (found.one, found.other, found.k, found.seed) == ("toy/alpha", "toy/beta", 4, 5)
    assert found.n_perturbations == len(names)
    assert found.comparison == compare_overlaps(overlaps["latent"], overlaps["raw"], units, seed=5)
    assert found.n_groups == found.comparison.n_units
    assert dict(found.table.schema) == OVERLAP_SCHEMA
    assert found.table["representation"].to_list() == list(toys.REPRESENTATIONS)
    for line in found.table.iter_rows(named=True):
        expected = overlaps[line["representation"]]
        test = overlap_test(expected, units, seed=5)
        assert line["raw"] == pytest.approx(expected.raw.mean())
        assert line["adjusted"] == pytest.approx(line["raw"] - line["expected"])
        assert (line["in groups"], line["low"], line["high"], line["p"]) == (
            test.estimate, test.low, test.high, test.p,
        )  # fmt: skip
        assert sum(line[part] for part in PARTS) == pytest.approx(line["raw"])
        assert line["n"] == expected.n_defined
    moved = [adjusted_overlap(*(centered(side.restricted_to(names)) for side in maps[name]), k=4) for name in maps]
    assert found.centered == compare_overlaps(moved[1], moved[0], units, seed=5)
    assert len(found.fingerprints) == 6
    assert found.fingerprints["toy/beta:raw"] == maps["raw"][1].fingerprint


def test_an_overlap_is_kept_on_disk(catalog, monkeypatch):
    first = shared_overlap(catalog, HERE, BETA, simple="raw", learned="latent", k=4)
    forget(monkeypatch)
    monkeypatch.setattr(context_reports, "adjusted_overlap", lambda *_, **__: pytest.fail("compared again"))
    again = shared_overlap(catalog, HERE, BETA, simple="raw", learned="latent", k=4)
    assert again.table.equals(first.table)
    assert (again.comparison, again.centered, again.notes) == (first.comparison, first.centered, first.notes)


def test_where_centring_changes_the_answer_it_is_said(catalog, monkeypatch):
    maps = [(map_at(catalog, HERE, representation=name), map_at(catalog, BETA, representation=name)) for name in
            ("raw", "latent")]  # fmt: skip
    names = maps[0][1].names
    units = pool_units(known_of(catalog.dataset("toy"), names))

    def said(estimate, half_width):
        against = verdicts.flip(estimate, half_width)
        found = context_reports._by_centered_cosine(
            (maps[0], maps[1]), names, (None, None), units=units, k=4, seed=0, against=against
        )
        return found[1]

    truth = shared_overlap(catalog, HERE, BETA, simple="raw", learned="latent", k=4).centered
    assert said(truth.estimate, truth.half_width) == ""
    opposite = (-truth.estimate, truth.half_width) if truth.excludes_zero else (1.0, 0.1)
    assert "what latent adds to raw hangs on that choice" in said(*opposite)


def test_another_data_set_is_compared_by_kind_where_names_differ(catalog):
    atlas = Place("atlas", "beta", "profile", "none")
    found = shared_overlap(catalog, HERE, atlas, simple="raw", learned="latent", k=4)
    assert found.table["representation"].to_list() == ["raw", "latent"]
    assert "raw is compared with atlas/beta:profile, since atlas has none of its name" in found.notes
    assert "atlas/beta:net" in found.fingerprints
    # It is the same data under another name.
    here = shared_overlap(catalog, HERE, BETA, simple="raw", learned="latent", k=4)
    assert found.comparison == here.comparison


def test_without_groups_nothing_is_tested_and_it_is_said(tmp_path):
    catalog = open_catalog(verdicts.write_catalog(tmp_path, {"relationships": None}))
    found = shared_overlap(catalog, HERE, BETA, simple="raw", learned="latent", k=4)
    assert (found.comparison, found.centered, found.n_groups) == (None, None, 0)
    assert any(note.startswith("no groups of the perturbations are known") for note in found.notes)
    assert found.table.select(pl.col("low", "high", "p", "in groups").is_nan().all()).row(0) == (True,) * 4
    assert found.table["adjusted"].is_finite().all()
    report = shared_report(catalog, HERE, [BETA], k=4)
    assert (report.edges["known"] == "").all()


def test_a_representation_that_does_not_vary_is_left_out_or_refused(tmp_path):
    flat = {"kind": "placebo", "source": "flat_{context}.parquet"}
    root = verdicts.write_catalog(tmp_path, {"representations/flat": flat})
    for context in ("alpha", "beta"):
        rows = pl.read_parquet(root / "toy" / f"rows_{context}.parquet").select("row")
        rows.with_columns(one=pl.lit(1.0), two=pl.lit(2.0)).write_parquet(root / "toy" / f"flat_{context}.parquet")
    catalog = open_catalog(root)
    found = shared_overlap(catalog, HERE, BETA, simple="raw", learned="latent", k=4)
    assert "flat" not in found.table["representation"].to_list()
    assert any(note.startswith("flat was left out: the profiles of 'flat'") for note in found.notes)
    with pytest.raises(InputError, match="all point the same way"):
        shared_overlap(catalog, HERE, BETA, simple="raw", learned="flat", k=4)
    with pytest.raises(InputError, match=r"0 of 109 profiles of 'flat' in 'alpha' are longer than zero"):
        shared_report(catalog, replace(HERE, representation="flat"), [replace(BETA, representation="flat")], k=4)


def test_one_representation_is_shown_and_held_against_nothing(catalog):
    alone = shared_overlap(catalog, HERE, BETA, simple="raw", learned="raw", k=4)
    assert alone.comparison is None
    assert alone.centered is None
    assert any("'raw' alone was asked for" in note for note in alone.notes)
    both = shared_overlap(catalog, HERE, BETA, simple="raw", learned="latent", k=4)
    assert alone.table.row(0) == both.table.row(0)


def test_unknown_representations_are_named(catalog):
    with pytest.raises(InputError, match="unknown representation 'latnt'"):
        shared_overlap(catalog, HERE, BETA, simple="raw", learned="latnt")


# Layout


def test_a_declared_layout_is_matched_and_what_is_too_fine_is_said(tmp_path):
    root = verdicts.write_catalog(tmp_path, {"roles/group": ["well", "arm"]})
    for context in ("alpha", "beta"):
        path = root / "toy" / f"rows_{context}.parquet"
        rows = pl.read_parquet(path)
        names = sorted(rows["gene"].unique())
        place = rows["gene"].replace_strict({name: number for number, name in enumerate(names)})
        well = [f"{'ABCDEFGHIJKLMNOP'[number % 2]}{number // 2 % 24 + 1:02}" for number in place]
        # Not of the plate: what its column is called is not a word for it.
        arm = [f"{number}p" for number in place]
        rows.with_columns(well=pl.Series(well), arm=pl.Series(arm)).write_parquet(path)
    catalog = open_catalog(root)
    side = context_side(catalog, HERE)
    assert sorted(np.bincount(side.layout)) == [55, 55]
    found = shared_overlap(catalog, HERE, BETA, simple="raw", learned="latent", k=4)
    assert any(
        note.startswith("alpha and beta: layout matched by row of well alone: well has 48 units")
        for note in found.notes
    )
    assert not any("layout not declared" in note for note in found.notes)
    maps = [map_at(catalog, place) for place in (HERE, BETA)]
    common = [made.restricted_to(maps[1].names) for made in maps]
    rows_of = [np.array([int(name[1:]) % 2 for name in made.names]) for made in common]
    strata = tuple(axis_strata(made, layout=unit) for made, unit in zip(common, rows_of, strict=True))
    expected = adjusted_overlap(*common, strata=strata, k=4)
    line = found.table.row(0, named=True)
    assert line["layout"] == pytest.approx(expected.parts["layout"])
    assert line["layout"] != 0
    report = shared_report(catalog, HERE, [BETA], k=4)
    assert any("layout matched by row of well" in note for note in report.notes)


# Passports


def test_passports_stand_beside_one_another(catalog):
    own, (compared,) = passports_of(catalog, HERE, [BETA])
    assert (own.context, compared.one.context, compared.other.context) == ("alpha", "alpha", "beta")
    assert "cell system" in compared.differing
