"""Is the query active on either side: the verdict, its sentence, its table, and the filter to active perturbations."""

import io
import math
import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import toys
from builders import CountingSource
from files import PAYLOADS

from explorer import catalog as catalogs
from explorer.activity import PerturbationActivity, PositionConfound
from explorer.align import METHODS
from explorer.catalog import Catalog, open_catalog, shared_activity, shared_halves, shared_map, shared_moments
from explorer.load import load_screen
from explorer.screen import Screen
from explorer.side_activity import (
    ABOVE_CHANCE,
    CONSISTENCY,
    MAGNITUDE,
    PRECISION,
    SideActivity,
    active_names,
    activity_column,
    activity_of,
    activity_table,
)
from explorer.side_by_side import LEAST_ACTIVE, answer_view, table_csv, table_of, yardsticks
from explorer.text import fill
from explorer.view import ACTIVE, View, checked_view, link_parameters, read_view
from explorer.wording import about_rows, activity_lines, activity_note, activity_sentence, position_sentences

VIEW = View(dataset="toy", context="alpha", query="both-0", left="raw", right="latent", k=4)
AMONG_ACTIVE = replace(VIEW, among=ACTIVE)
EVERYONE = {f"{kind}-{number}" for kind in toys.KINDS for number in range(8)}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Catalog:
    return open_catalog(toys.write_active_catalog(tmp_path_factory.mktemp("catalog")))


def measured(p: float, q: float, **changes: object) -> PerturbationActivity:
    """What was measured of TP53, decided by its replicates unless another basis is given."""
    values = {
        "perturbation": "TP53", "n_replicates": 4, "consistency": 0.5, "consistency_p": p, "consistency_q": q,
        "magnitude": 2.0, "magnitude_p": 0.4, "magnitude_q": 0.5, "mean_average_precision": 0.75,
        "normalized_average_precision": 0.5, "precision_p": 0.01, "precision_q": 0.05, "p": p, "q": q,
        "basis": "replicate consistency", "shared_position": None,
    }  # fmt: skip
    return PerturbationActivity(**values | changes)


def side(representation: str, p: float, q: float, **changes: object) -> SideActivity:
    return SideActivity(representation, measured(p, q, **changes), "", n_perturbations=100)


def by_size(representation: str, p: float, q: float) -> SideActivity:
    nan = dict.fromkeys(
        ("consistency", "consistency_p", "consistency_q", "mean_average_precision", "normalized_average_precision",
         "precision_p", "precision_q"), math.nan,
    )  # fmt: skip
    return side(representation, p, q, n_replicates=1, magnitude_p=p, magnitude_q=q, basis="magnitude", **nan)


# ---------------------------------------------------------------- the verdict and its words


@pytest.mark.parametrize(
    ("p", "q", "verdict"),
    [
        (0.001, 0.0999, "active"),
        (0.001, 0.1, "borderline"),
        (0.05, 0.9, "borderline"),
        (0.0501, 0.9, "not active"),
        (1.0, 1.0, "not active"),
        (math.nan, math.nan, "not judged"),
    ],
)
def test_verdict(p, q, verdict):
    assert side("raw", p, q).verdict == verdict


def test_what_was_not_measured_is_not_judged():
    assert SideActivity("raw", None, "no controls").verdict == "not judged"


ACTIVE_SIDE, WEAK, INACTIVE = (0.001, 0.01), (0.03, 0.2), (0.3, 0.6)
DOUBT = "its neighbours there are likely to mean nothing."


@pytest.mark.parametrize(
    ("left", "right", "sentence"),
    [
        (ACTIVE_SIDE, ACTIVE_SIDE, "TP53 is active in raw (q 0.01) and latent (q 0.01)."),
        (
            INACTIVE,
            INACTIVE,
            f"TP53 is not distinguishable from controls in raw (p 0.3) and latent (p 0.3): {DOUBT}",
        ),
        (WEAK, WEAK, "TP53 stands out from controls only weakly in raw (p 0.03, q 0.2) and latent (p 0.03, q 0.2)."),
        (
            ACTIVE_SIDE,
            INACTIVE,
            f"TP53 is not distinguishable from controls in latent (p 0.3): {DOUBT} TP53 is active in raw (q 0.01).",
        ),
        (
            WEAK,
            INACTIVE,
            f"TP53 is not distinguishable from controls in latent (p 0.3): {DOUBT} "
            "TP53 stands out from controls only weakly in raw (p 0.03, q 0.2).",
        ),
        (
            ACTIVE_SIDE,
            WEAK,
            "TP53 stands out from controls only weakly in latent (p 0.03, q 0.2). TP53 is active in raw (q 0.01).",
        ),
        (ACTIVE_SIDE, (math.nan, math.nan), "TP53 is active in raw (q 0.01)."),
    ],
)
def test_sentence_of_each_mix(left, right, sentence):
    assert activity_sentence("TP53", (side("raw", *left), side("latent", *right))) == sentence


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        (ACTIVE_SIDE, "TP53 is active, by the size of its effect, in raw (q 0.01)."),
        (WEAK, "By the size of its effect TP53 stands out from controls only weakly in raw (p 0.03, q 0.2)."),
        (
            INACTIVE,
            "By the size of its effect TP53 is not distinguishable from controls in raw (p 0.3); there are no "
            "replicates to ask whether it repeats.",
        ),
    ],
)
def test_without_replicates_the_sentence_says_that_size_alone_decides(numbers, sentence):
    assert activity_sentence("TP53", [by_size("raw", *numbers)]) == sentence


def test_the_same_representation_on_both_sides_is_said_once():
    both = side("raw", *ACTIVE_SIDE), side("raw", *ACTIVE_SIDE)
    assert activity_sentence("TP53", both) == "TP53 is active in raw (q 0.01)."
    assert activity_table(both)["measure"].is_unique().all()


def test_what_could_not_be_judged_has_its_reason():
    silent = SideActivity("raw", None, "no controls, so nothing can be told")
    expected = "Whether TP53 does anything was not judged: no controls, so nothing can be told."
    assert activity_sentence("TP53", (silent, silent)) == expected
    undefined = side("raw", math.nan, math.nan)
    assert activity_sentence("TP53", [undefined]) == (
        "Whether TP53 does anything was not judged: its profile has no direction."
    )
    assert "nan" not in activity_sentence("TP53", [replace(undefined, found=measured(0.3, math.nan))])


@pytest.mark.parametrize("payload", [*PAYLOADS, "{where}", "{0}", "%s"])
def test_names_are_data(payload):
    for numbers in (ACTIVE_SIDE, WEAK, INACTIVE, (math.nan, math.nan)):
        sentence = activity_sentence(payload, [side("raw", *numbers)])
        assert payload in sentence
        shown = fill("{text}", text=sentence)
        assert "<img" not in shown
        assert "<script" not in shown
        assert "<iframe" not in shown


# ---------------------------------------------------------------- position


def positioned(representation: str, *positions: PositionConfound, columns: str | None, **changes: object):
    found = measured(0.001, 0.01, shared_position=columns, **changes)
    return SideActivity(representation, found, "", n_perturbations=100, position=positions)


def test_position_sentence_and_its_numbers():
    well = PositionConfound("well", 0.5, score=0.42, chance=0.125, p=0.001, n_controls=50)
    other = PositionConfound("arm", 0.1, score=0.9, chance=0.1, p=0.001, n_controls=50)
    sides = (
        positioned("raw", well, other, columns="well"),
        positioned("latent", replace(well, score=0.2, p=0.3), other, columns="well"),
    )
    assert position_sentences(sides) == [
        "all rows of TP53 have the same well, so what they share may be position and not effect: in raw position alone "
        "scores 0.42, the average precision with which controls find their own position (by chance 0.12, p 0.001) "
        "(its own replicates find each other with 0.75); in latent position alone scores 0.20, the average precision "
        "with which controls find their own position (by chance 0.12, p 0.3) (its own replicates find each other with "
        "0.75)"
    ]


def test_a_sentence_for_each_column():
    positions = [PositionConfound(name, 0.5, 0.4, 0.1, 0.001, 50) for name in ("well", "arm")]
    found = position_sentences([positioned("raw", *positions, columns="well, arm")])
    assert [re.findall(r"same (\w+),", sentence) for sentence in found] == [["well"], ["arm"]]


def test_position_that_cannot_be_told():
    unknown = PositionConfound("well", 1.0, math.nan, math.nan, math.nan, 0)
    (sentence,) = position_sentences([positioned("raw", unknown, columns="well", mean_average_precision=math.nan)])
    assert sentence.endswith("in raw no control repeats its position, so nothing tells them apart")
    assert "nan" not in sentence


def test_nothing_is_said_of_position_where_rows_lie_in_several():
    well = PositionConfound("well", 0.5, score=0.42, chance=0.125, p=0.001, n_controls=50)
    assert position_sentences([positioned("raw", well, columns=None), SideActivity("latent", None, "no")]) == []


# ---------------------------------------------------------------- the table and its note


def test_table_has_a_line_for_each_measure():
    table = activity_table((side("raw", *ACTIVE_SIDE), by_size("latent", *INACTIVE)))
    assert table.columns == ["representation", "replicates", "measure", "value", "p", "q", "verdict"]
    assert table.rows() == [
        ("raw", 4, CONSISTENCY, 0.5, 0.001, 0.01, "active"),
        ("raw", 4, MAGNITUDE, 2.0, 0.4, 0.5, None),
        ("raw", 4, PRECISION, 0.75, 0.01, 0.05, None),
        ("raw", 4, ABOVE_CHANCE, 0.5, None, None, None),
        ("latent", 1, MAGNITUDE, 2.0, 0.3, 0.6, "not active"),
    ]


def test_table_of_what_was_not_judged_is_empty():
    silent = SideActivity("raw", None, "no controls")
    assert activity_table((silent, silent)).height == 0


def test_page_shows_no_number_that_is_undefined():
    shown = activity_lines((side("raw", *ACTIVE_SIDE), by_size("latent", *INACTIVE)))
    assert shown.columns == ["representation", "replicates", "measure", "value", "p", "q", "verdict"]
    assert shown.rows()[0] == ("raw", 4, CONSISTENCY, "0.5", "0.001", "0.01", "active")
    assert shown.rows()[3] == ("raw", 4, ABOVE_CHANCE, "0.5", "", "", "")
    assert shown.null_count().row(0) == (0,) * 7


def test_note_explains_what_the_table_holds():
    both = side("raw", *ACTIVE_SIDE), replace(side("latent", *ACTIVE_SIDE), notes=("few controls",))
    note = activity_note(both)
    for text in (
        "Consistency: ",
        "Size: ",
        "Average precision: ",
        "the 100 perturbations",
        "q below 0.1",
        "Few controls.",
    ):
        assert text in note
    alone = activity_note((by_size("raw", *WEAK), by_size("latent", *WEAK)))
    assert "Consistency is not defined" in alone
    assert "Average precision" not in alone


# ---------------------------------------------------------------- of a dataset


def test_activity_of_both_sides(catalog):
    for query, verdicts in (
        ("both-0", ["active", "active"]),
        ("left-0", ["active", "not active"]),
        ("right-0", ["not active", "active"]),
        ("neither-0", ["not active", "not active"]),
    ):
        sides = activity_of(catalog, replace(VIEW, query=query))
        assert [one.verdict for one in sides] == verdicts
        assert [one.representation for one in sides] == ["raw", "latent"]
        assert [one.n_perturbations for one in sides] == [32, 32]
        dataset = catalog.dataset("toy")
        activity, silence = shared_activity(dataset, "alpha", "raw")
        assert (sides[0].found, silence) == (activity.of(query), "")


def test_an_absent_query_is_not_judged(catalog):
    left, right = activity_of(catalog, replace(VIEW, query="both-9"))
    assert left.verdict == right.verdict == "not judged"
    assert "unknown perturbation 'both-9'" in left.silence


def test_without_controls_nobody_is_judged(tmp_path):
    catalog = open_catalog(toys.write_catalog(tmp_path, controls=False))
    view = replace(VIEW, query="GENE00", among=ACTIVE)
    assert [one.verdict for one in activity_of(catalog, view)] == ["not judged"] * 2
    assert activity_column(catalog, view, ["GENE00"]) is None
    names, silence = active_names(catalog, view)
    assert names is None
    answer = answer_view(catalog, view)
    assert answer.pair.names == toys.NAMES
    assert answer.notice == f"{silence}; showing all perturbations"
    assert answer.notice.startswith("can't tell who is active (no controls")
    assert "active" not in table_of(catalog, view, answer.comparison).columns


def test_column_of_the_table_says_on_which_side(catalog):
    names = ["both-1", "left-1", "right-1", "neither-1"]
    assert activity_column(catalog, VIEW, names).to_list() == ["both", "left", "right", "neither"]
    table = table_of(catalog, VIEW, answer_view(catalog, VIEW).comparison)
    assert table.columns[table.columns.index("known") + 1] == "active"
    assert table["active"].to_list() == activity_column(catalog, VIEW, table["perturbation"].to_list()).to_list()


# ---------------------------------------------------------------- only active ones


def active_in(catalog: Catalog, context: str) -> set[str]:
    dataset = catalog.dataset("toy")
    judged = [shared_activity(dataset, context, name)[0] for name in ("raw", "latent")]
    return {name for activity in judged for name in activity.active()}


def test_only_the_active_remain(catalog):
    answer = answer_view(catalog, AMONG_ACTIVE)
    active = active_in(catalog, "alpha")
    # All that were planted, and at most a few of those that do nothing.
    assert {name for name in EVERYONE if not name.startswith("neither")} <= active
    assert len(active) < len(EVERYONE)
    assert set(answer.pair.names) == active
    assert {len(layout.coordinates) for layout in answer.pair.layouts} == {len(active)}
    assert answer.notice == (
        f"showing only those active in raw or latent (q below 0.1): {len(active)} of 32 perturbations"
    )
    assert answer.comparison.agreement.n_perturbations == len(active)


def test_points_stand_where_they_stood(catalog):
    every, some = answer_view(catalog, VIEW).pair, answer_view(catalog, AMONG_ACTIVE).pair
    rows = every.rows_of(some.names)
    np.testing.assert_array_equal(some.layouts[0].coordinates, every.layouts[0].coordinates[rows])


def test_the_filter_is_in_the_recipe(catalog):
    every, some = answer_view(catalog, VIEW).pair, answer_view(catalog, AMONG_ACTIVE).pair
    for before, after in ((every.left, some.left), (every.right, some.right)):
        assert after.recipe.filter.endswith("; only those active in raw or latent (q below 0.1)")
        assert after.fingerprint != before.fingerprint
        assert after.recipe.filter in after.recipe.sentence
    texts = dict(about_rows(catalog, AMONG_ACTIVE, some))
    assert "only those active in raw or latent" in texts["Left recipe"]
    table = table_of(catalog, AMONG_ACTIVE, answer_view(catalog, AMONG_ACTIVE).comparison)
    assert set(pl.read_csv(io.StringIO(table_csv(table, AMONG_ACTIVE, some, catalog=catalog)))["among"]) == {"active"}


def test_an_inactive_query_stays_and_is_named(catalog):
    view = replace(AMONG_ACTIVE, query="neither-0")
    assert "neither-0" not in active_in(catalog, "alpha")
    answer = answer_view(catalog, view)
    assert set(answer.pair.names) == active_in(catalog, "alpha") | {"neither-0"}
    assert answer.view.query == "neither-0"
    assert "(q below 0.1), and 'neither-0': " in answer.notice
    assert answer.pair.left.recipe.filter.endswith(", and 'neither-0'")
    assert answer.pair.left.fingerprint != answer_view(catalog, AMONG_ACTIVE).pair.left.fingerprint


def test_one_representation_on_both_sides(catalog):
    answer = answer_view(catalog, replace(AMONG_ACTIVE, right="raw"))
    activity, _ = shared_activity(catalog.dataset("toy"), "alpha", "raw")
    assert set(answer.pair.names) == set(activity.active())
    assert answer.notice.startswith("showing only those active in raw (q below 0.1): ")


def test_one_side_that_cannot_be_judged(catalog, monkeypatch):
    judge = catalogs.shared_activity

    def only_raw(dataset, context, representation, **options):
        return judge(dataset, context, representation, **options) if representation == "raw" else (None, "broken")

    monkeypatch.setattr("explorer.side_activity.shared_activity", only_raw)
    activity, _ = judge(catalog.dataset("toy"), "alpha", "raw")
    assert active_names(catalog, AMONG_ACTIVE) == (frozenset(activity.active()), "")
    assert activity_column(catalog, VIEW, ["both-0", "neither-0"]).to_list() == ["left", "neither"]
    assert activity_sentence("both-0", activity_of(catalog, VIEW)).startswith("both-0 is active in raw (q ")


def test_too_few_active_ones_show_all(tmp_path):
    counts = {"both": LEAST_ACTIVE // 2, "neither": 20}
    catalog = open_catalog(toys.write_active_catalog(tmp_path, counts=counts))
    found = active_in(catalog, "alpha")
    assert LEAST_ACTIVE // 2 <= len(found) < LEAST_ACTIVE
    answer = answer_view(catalog, AMONG_ACTIVE)
    assert answer.pair.left.n_perturbations == 26
    assert answer.pair.left.fingerprint == answer_view(catalog, VIEW).pair.left.fingerprint
    assert answer.notice == f"only {len(found)} of 26 perturbations are active in raw or latent: showing all"


def test_yardsticks_use_the_same_filter(catalog, monkeypatch):
    seen = []
    overlaps = catalogs.shared_overlaps

    def look(left, right, **options):
        seen.append((left, right))
        return overlaps(left, right, **options)

    monkeypatch.setattr("explorer.side_by_side.shared_overlaps", look)
    for view in (VIEW, AMONG_ACTIVE):
        seen.clear()
        pair = answer_view(catalog, view).pair
        found = yardsticks(catalog, view, pair)
        assert [one.what for one in found] == ["two replicate halves of raw", "two replicate halves of latent"]
        for one, other in seen:
            assert one.names == other.names == pair.names
            assert pair.left.recipe.filter in one.recipe.filter or view is VIEW


def test_a_link_reopens_the_filter(catalog):
    answer = answer_view(catalog, AMONG_ACTIVE)
    linked, problems = read_view(link_parameters(AMONG_ACTIVE), catalog)
    assert (linked, problems) == (AMONG_ACTIVE, ())
    again = answer_view(catalog, linked)
    assert again.pair.names == answer.pair.names
    assert again.pair.left.fingerprint == answer.pair.left.fingerprint


@pytest.mark.parametrize("forged", ["Active", "both", "", "active ", "__class__", PAYLOADS[0]])
def test_a_forged_filter_shows_everything_and_is_said(catalog, forged):
    view, problems = read_view(link_parameters(AMONG_ACTIVE) | {"among": forged}, catalog)
    assert view.among == "all"
    assert len(problems) == 1
    assert "showing 'all' instead" in problems[0]


def test_a_control_of_the_page_cannot_name_another_filter(catalog):
    values = {name: getattr(VIEW, name) for name in ("dataset", "context", "query", "left", "right", "align", "k")}
    assert checked_view(catalog, **values, direction="similar").among == "all"
    with pytest.raises(ValueError, match="unknown choice of perturbations 'none'"):
        checked_view(catalog, **values, direction="similar", among="none")


# ---------------------------------------------------------------- no row is read twice


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """Open a catalog whose matrices count their reads: the catalog, and where they are counted."""

    def make(**changes: object) -> tuple[Catalog, list[tuple[int, int]]]:
        root = toys.write_active_catalog(tmp_path, changes)
        reads: list[tuple[int, int]] = []

        def load(dataset, context) -> Screen:
            screen = load_screen(dataset, context)
            counting = {
                name: replace(made, source=CountingSource(np.array(made.source.read(0, made.n_rows)), reads))
                for name, made in screen.representations.items()
            }
            return replace(screen, representations=counting)

        monkeypatch.setattr(catalogs, "load_screen", load)
        return open_catalog(root), reads

    return make


def rows_read(reads: list[tuple[int, int]]) -> int:
    return sum(stop - start for start, stop in reads)


def test_toggling_alignments_reads_no_row_again(counted):
    catalog, reads = counted()
    n_rows = 32 * 12 + 2 * 48
    answers = [answer_view(catalog, VIEW)]
    first = rows_read(reads)
    # One pass over each side, and no more of the controls than a median takes.
    assert 2 * n_rows <= first <= 2 * (n_rows + 3 * 2 * 48)
    for align in (*METHODS[1:], *METHODS):
        answers.append(answer_view(catalog, replace(VIEW, align=align)))
        answers.append(answer_view(catalog, replace(VIEW, align=align, direction="opposite", k=7)))
    assert rows_read(reads) == first
    fingerprints = {answer.pair.left.fingerprint for answer in answers}
    assert len(fingerprints) == len(METHODS)


def test_halves_and_activity_of_every_alignment_read_no_row_where_guides_are_declared(counted):
    catalog, reads = counted()
    answer_view(catalog, VIEW)
    first = rows_read(reads)
    dataset = catalog.dataset("toy")
    for align in METHODS:
        view = replace(VIEW, align=align, among=ACTIVE)
        answer = answer_view(catalog, view)
        assert [one.verdict for one in activity_of(catalog, view)] == ["active", "active"]
        assert len(yardsticks(catalog, view, answer.pair)) == 2
        assert shared_halves(dataset, "alpha", "raw", alignment=align) is not None
    assert rows_read(reads) == first


def test_halves_of_batches_read_no_row(counted):
    catalog, reads = counted(**{"roles/guide": None})
    answer_view(catalog, VIEW)
    first = rows_read(reads)
    for align in METHODS:
        one, other = shared_halves(catalog.dataset("toy"), "alpha", "raw", alignment=align)
        assert "batches" in one.recipe.filter
        assert one.names == other.names
    assert rows_read(reads) == first


def test_a_map_from_moments_is_the_map(catalog):
    from explorer.aggregate import build_map

    dataset = catalog.dataset("toy")
    screen = load_screen(dataset, "alpha")
    assert shared_moments(dataset, "alpha", "raw") is shared_moments(dataset, "alpha", "raw")
    for align in METHODS:
        made, expected = shared_map(dataset, "alpha", "raw", alignment=align), build_map(screen, "raw", alignment=align)
        assert made.fingerprint == expected.fingerprint
        np.testing.assert_allclose(made.profiles, expected.profiles, rtol=1e-5, atol=1e-6)
