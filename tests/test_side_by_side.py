"""One view answered: pairs of maps, yardsticks, the tables and what is marked."""

import io
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import toys
from files import write_table

from explorer import side_by_side, wording
from explorer.catalog import Catalog, open_catalog, shared_map
from explorer.compare import compare_query
from explorer.context_reports import Place, shared_report
from explorer.contexts import UNJUDGED
from explorer.errors import InputError
from explorer.held_tables import MARKS
from explorer.layout import rotate_onto
from explorer.side_by_side import (
    Answer,
    answer_view,
    distribution_of,
    elsewhere,
    figure_frame,
    lacks_umap,
    marks_of,
    option_of,
    other_contexts,
    pair_of,
    representation_options,
    selection_table,
    shared_gene_sets,
    silences_elsewhere,
    table_csv,
    table_of,
    yardstick_marks,
    yardsticks,
)
from explorer.view import View

VIEW = View(dataset="toy", context="alpha", query="GENE00", left="raw", right="latent", k=4)
MANY = tuple(f"GENE{number:02}" for number in range(80))


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Catalog:
    return open_catalog(toys.write_catalog(tmp_path_factory.mktemp("catalog")))


@pytest.fixture(scope="module")
def answer(catalog) -> Answer:
    return answer_view(catalog, VIEW)


def without_rows(root, name: str, *labels: str) -> None:
    """Make every value of some perturbations NaN in one representation of alpha."""
    path = root / "toy" / f"{name}_alpha.parquet"
    table = pl.read_parquet(path)
    labelled = pl.read_parquet(root / "toy" / "rows_alpha.parquet")["gene"].is_in(labels)
    features = [column for column in table.columns if column.startswith("feature_")]
    write_table(path, table.with_columns(pl.when(labelled).then(float("nan")).otherwise(pl.col(features)).name.keep()))


def test_answer_is_what_the_package_computes(catalog, answer):
    dataset = catalog.dataset("toy")
    left, right = (shared_map(dataset, "alpha", name) for name in ("raw", "latent"))
    expected = compare_query(left, right, "GENE00", k=4)
    assert answer.pair.names == toys.NAMES
    assert answer.view == VIEW
    assert answer.notice == ""
    assert answer.comparison.left.names == expected.left.names
    assert answer.comparison.right.names == expected.right.names
    assert answer.comparison.agreement == expected.agreement


def test_planted_modules_are_found(answer):
    assert set(answer.comparison.right.names) == set(toys.NAMES[1:5])


def test_right_picture_is_turned_onto_the_left(catalog, answer):
    left, right = answer.pair.layouts
    again = rotate_onto(left.coordinates, right.coordinates)
    np.testing.assert_allclose(again, right.coordinates, atol=1e-4)
    assert lacks_umap(answer.pair)


def test_same_representation_on_both_sides_agrees_wholly(catalog):
    found = answer_view(catalog, replace(VIEW, right="raw"))
    assert found.comparison.agreement.overlap == 1
    left, right = found.pair.layouts
    np.testing.assert_allclose(left.coordinates, right.coordinates, atol=1e-4)


def test_unknown_query_falls_back_and_is_said(catalog):
    found = answer_view(catalog, replace(VIEW, query="gene07"), fallback="GENE03")
    assert found.view.query == "GENE03"
    assert found.notice.startswith("unknown perturbation 'gene07': did you mean 'GENE07'")
    assert found.notice.endswith("; showing 'GENE03' instead")


def test_too_many_neighbours_are_reduced_and_said(catalog):
    found = answer_view(catalog, replace(VIEW, k=50))
    assert found.view.k == found.comparison.k == 29
    assert found.notice == "k = 50 can't be had from 30 perturbations; showing k = 29 instead"


def test_alignment_without_controls(tmp_path):
    catalog = open_catalog(toys.write_catalog(tmp_path, controls=False))
    with pytest.raises(InputError, match="control"):
        answer_view(catalog, replace(VIEW, align="center"))


def test_different_rows_left_out_on_each_side(tmp_path):
    toys.write_catalog(tmp_path)
    without_rows(tmp_path, "rows", "GENE07", "GENE08")
    without_rows(tmp_path, "latent", "GENE08", "GENE20")
    catalog = open_catalog(tmp_path)
    found = answer_view(catalog, VIEW)
    expected = tuple(name for name in toys.NAMES if name not in ("GENE07", "GENE08", "GENE20"))
    assert found.pair.names == found.pair.left.names == found.pair.right.names == expected
    assert [layout.coordinates.shape for layout in found.pair.layouts] == [(27, 2), (27, 2)]
    assert found.comparison.agreement.n_perturbations == 27
    # The picture of what is left is a part of the whole map's picture, not another one.
    alone = pair_of(catalog, replace(VIEW, right="raw")).layouts[0].coordinates
    kept = [name for name in toys.NAMES if name not in ("GENE07", "GENE08")]
    np.testing.assert_array_equal(found.pair.layouts[0].coordinates, alone[[kept.index(name) for name in expected]])
    gone = answer_view(catalog, replace(VIEW, query="GENE07"), fallback="GENE00")
    assert "unknown perturbation 'GENE07'" in gone.notice


def test_too_few_in_common(tmp_path):
    toys.write_catalog(tmp_path, names=toys.NAMES[:6])
    without_rows(tmp_path, "rows", *toys.NAMES[:2])
    without_rows(tmp_path, "latent", *toys.NAMES[2:4])
    with pytest.raises(InputError, match="share 2 perturbations, expected at least 3"):
        pair_of(open_catalog(tmp_path), VIEW)


def test_a_map_too_large_to_draw_says_what_to_do(catalog, answer, monkeypatch):
    monkeypatch.setattr(side_by_side, "shared_layout", lambda *_: pytest.fail("a picture was made"))
    monkeypatch.setattr(side_by_side, "MOST_SHOWN", answer.pair.left.n_perturbations - 1)
    with pytest.raises(InputError, match=r"perturbations, and a page draws \d+ at the most: keep those of interest"):
        answer_view(catalog, answer.view)


def test_rows_and_names_of_a_pair(answer):
    rows = answer.pair.rows_of(("GENE03", "GENE01"))
    assert rows.tolist() == [3, 1]
    assert answer.pair.names_of(rows) == ["GENE03", "GENE01"]
    with pytest.raises(InputError, match="did you mean 'GENE01'"):
        answer.pair.rows_of(("gene01",))


def test_yardsticks_with_halves_and_a_seed(catalog, answer):
    found = yardsticks(catalog, VIEW, answer.pair)
    assert [yardstick.what for yardstick in found] == [
        "two replicate halves of raw",
        "two replicate halves of latent",
        "latent and latent-seed-1 (another seed)",
    ]
    seeds = [shared_map(catalog.dataset("toy"), "alpha", name) for name in ("latent", "latent-seed-1")]
    assert found[2].query_overlap == compare_query(*seeds, "GENE00", k=4).agreement.overlap
    # Planted modules survive halving and another seed.
    assert all(yardstick.mean_overlap > 0.5 for yardstick in found)
    assert list(yardstick_marks(found)) == [f"{yardstick.what}, mean" for yardstick in found]


def test_yardstick_of_a_second_seed_is_the_first(catalog):
    view = replace(VIEW, right="latent-seed-1")
    what = [yardstick.what for yardstick in yardsticks(catalog, view, pair_of(catalog, view))]
    assert what[-1] == "latent-seed-1 and latent (another seed)"


def test_two_seeds_are_no_yardstick_of_themselves(catalog, tmp_path):
    view = replace(VIEW, left="latent", right="latent-seed-1")
    halves = ["two replicate halves of latent", "two replicate halves of latent-seed-1"]
    assert [yardstick.what for yardstick in yardsticks(catalog, view, pair_of(catalog, view))] == halves
    third = toys.REPRESENTATIONS | {"latent-seed-2": toys.REPRESENTATIONS["latent-seed-1"]}
    more = open_catalog(toys.write_catalog(tmp_path, {"representations": third}))
    assert [yardstick.what for yardstick in yardsticks(more, view, pair_of(more, view))] == [
        halves[0],
        "latent and latent-seed-2 (another seed)",
        halves[1],
        "latent-seed-1 and latent-seed-2 (another seed)",
    ]


def test_no_yardstick_without_replicates_or_seeds(tmp_path):
    simple = {name: toys.REPRESENTATIONS[name] for name in ("raw", "latent")}
    catalog = open_catalog(toys.write_catalog(tmp_path, {"representations": simple}, guides=False, controls=False))
    assert yardsticks(catalog, VIEW, pair_of(catalog, VIEW)) == []


def test_yardsticks_that_cannot_be_had_are_left_out(tmp_path):
    # The third perturbation has one guide, so that one half has two perturbations only.
    toys.write_catalog(tmp_path, names=toys.NAMES[:3], controls=False)
    for name in ("rows", "latent", "latent-seed-1"):
        path = tmp_path / "toy" / f"{name}_alpha.parquet"
        write_table(path, pl.read_parquet(path).head(9))
    catalog = open_catalog(tmp_path)
    view = replace(VIEW, k=2)
    found = yardsticks(catalog, view, pair_of(catalog, view))
    assert [yardstick.what for yardstick in found] == ["latent and latent-seed-1 (another seed)"]


def test_yardstick_needs_more_perturbations_than_neighbours(tmp_path):
    catalog = open_catalog(toys.write_catalog(tmp_path, names=toys.NAMES[:5], controls=False))
    without_rows(tmp_path, "latent-seed-1", "GENE04")
    found = yardsticks(catalog, VIEW, pair_of(catalog, VIEW))
    assert "latent and latent-seed-1 (another seed)" not in [yardstick.what for yardstick in found]


@pytest.fixture(scope="module")
def larger(tmp_path_factory):
    """Enough perturbations to tell ten neighbours from chance."""
    return open_catalog(toys.write_catalog(tmp_path_factory.mktemp("larger"), names=MANY))


@pytest.mark.parametrize("query", ["GENE03", "GENE40"])
def test_labels_of_other_contexts_are_those_of_the_report(larger, query):
    view = replace(VIEW, query=query)
    comparison = answer_view(larger, view).comparison
    assert other_contexts(larger, view) == ("beta",)
    found = elsewhere(larger, view, comparison)
    assert set(found) == {"beta"}
    assert set(found["beta"]) == set(comparison.sides)
    labels = {}
    for side in ("raw", "latent"):
        place = Place("toy", "alpha", side, "none")
        report = shared_report(larger, place, [replace(place, context="beta")])
        labels[side] = dict(report.neighbors_of(query).select("perturbation", "beta").iter_rows())
    for name, said in found["beta"].items():
        sides = {"only left": ["raw"], "only right": ["latent"]}.get(comparison.sides[name], ["raw", "latent"])
        words = [labels[side].get(name, UNJUDGED) for side in sides]
        texts = [f"{MARKS[word]} {word}" for word in words]
        assert said == (texts[0] if len(set(words)) == 1 else f"left {texts[0]}, right {texts[1]}")
    assert any("holds" in said for said in found["beta"].values()), "modules are the same in both"


def test_query_that_another_context_lacks_was_not_measured_there(larger):
    view = replace(VIEW, query=MANY[-1])
    table = table_of(larger, view, answer_view(larger, view).comparison)
    assert set(table["in beta"]) == {"not measured"}


def test_neighbour_that_another_context_lacks_was_not_measured_there(larger):
    view = replace(VIEW, query=MANY[-2], right="raw", k=50)
    table = table_of(larger, view, answer_view(larger, view).comparison)
    said = dict(zip(table["perturbation"], table["in beta"], strict=True))
    assert said[MANY[-1]] == "not measured"
    assert "– cannot be judged" in said.values(), "what is no neighbour by centred cosine"


def test_opposite_ones_are_not_judged(larger):
    view = replace(VIEW, direction="opposite")
    table = table_of(larger, view, answer_view(larger, view).comparison)
    assert set(table["in beta"]) <= {"– cannot be judged", "not measured"}


def test_why_nothing_can_be_judged_is_said(catalog, larger):
    few = silences_elsewhere(catalog, VIEW)["beta"]
    assert "29 perturbations" in few
    assert "\n" not in few
    table = table_of(catalog, VIEW, answer_view(catalog, VIEW).comparison)
    assert set(table["in beta"]) == {"– cannot be judged"}
    assert "29 perturbations" in wording.elsewhere_note(catalog, VIEW)
    assert "too few" not in wording.elsewhere_note(larger, VIEW)
    assert silences_elsewhere(larger, VIEW) == {}


def test_note_below_the_table(larger, tmp_path):
    note = wording.elsewhere_note(larger, VIEW)
    assert note.startswith("In beta: ● the edge to GENE00 holds there")
    alone = open_catalog(toys.write_catalog(tmp_path, {"contexts/beta": None}))
    assert wording.elsewhere_note(alone, VIEW) == ""
    assert "in beta" not in table_of(alone, VIEW, answer_view(alone, VIEW).comparison).columns
    columns = ["perturbation", "left rank", "in beta"]
    assert wording.column_widths(columns) == {"perturbation": 115, "left rank": 85, "in beta": 150}
    assert wording.wrapped_columns(columns) == ["in beta"]


def test_controls_too_few_elsewhere(tmp_path):
    toys.write_catalog(tmp_path)
    path = tmp_path / "toy" / "rows_beta.parquet"
    table = pl.read_parquet(path)
    write_table(path, table.with_columns(pl.col("gene").replace({toys.CONTROL: toys.NAMES[-1]})))
    view = replace(VIEW, align="center-scale")
    catalog = open_catalog(tmp_path)
    found = elsewhere(catalog, view, answer_view(catalog, view).comparison)
    assert set(found["beta"].values()) == {"– cannot be judged"}
    assert "control" in silences_elsewhere(catalog, view)["beta"]


def test_table_marks_known_partners(catalog, answer):
    table = table_of(catalog, VIEW, answer.comparison)
    known = dict(zip(table["perturbation"], table["known"], strict=True))
    assert [known[name] for name in toys.NAMES[1:5]] == ["Pairs", "Pairs", "", ""]
    assert table.columns[-1] == "in beta"


def test_gene_sets_of_both_sides(catalog, answer):
    table = shared_gene_sets(catalog, VIEW, answer.comparison)
    best = table.row(0, named=True)
    assert (best["gene set"], best["right"], best["query in set"]) == ("module 0", "4 of 4", True)
    assert best["right q"] < 0.01


def test_csv_carries_both_recipes(catalog, answer):
    table = table_of(catalog, VIEW, answer.comparison)
    read = pl.read_csv(io.StringIO(table_csv(table, VIEW, answer.pair, catalog=catalog)))
    assert read.height == table.height
    assert read["perturbation"].to_list() == table["perturbation"].to_list()
    assert set(read["left recipe"]) == {answer.pair.left.fingerprint}
    assert set(read["right recipe"]) == {answer.pair.right.fingerprint}
    assert answer.pair.left.fingerprint != answer.pair.right.fingerprint
    said = read.select("query", "dataset", "context", "direction", "left representation", "right representation")
    assert set(said.iter_rows()) == {("GENE00", "toy", "alpha", "similar", "raw", "latent")}
    assert set(read["alignment"]) == {"none"}
    (conditions,) = set(read["conditions"])
    assert conditions.startswith("alpha cells · ")


def test_selection_table(answer):
    table = selection_table(["GENE09", "GENE00", answer.comparison.left.names[0]], answer.comparison)
    assert table["left rank"].to_list()[0] == 1
    # The query has no rank among its own neighbours, and comes last.
    assert table["perturbation"].to_list()[-1] == "GENE00"
    assert table.row(-1)[1] is None
    ranking = answer.comparison.right_ranking
    line = table.filter(pl.col("perturbation") == "GENE09").row(0, named=True)
    assert line["right similarity"] == ranking.similarities[9]
    assert line["right rank"] == ranking.ranks_of([9])[0]


def test_selection_of_nothing_has_the_same_columns(answer):
    assert selection_table([], answer.comparison).columns == selection_table(["GENE01"], answer.comparison).columns


def test_menu_of_representations(catalog):
    options = representation_options(catalog, "toy")
    assert options["latent · learned"] == "latent"
    assert option_of(options, "raw") == "raw · simple"


def test_marks(catalog, answer):
    marks = marks_of(catalog, VIEW, answer.pair, comparison=answer.comparison, highlighted=("GENE20",))
    assert marks["query"] == 0
    assert marks["rings"].tolist() == [1, 2]
    assert marks["highlights"].tolist() == [20]
    assert marks["labels"].tolist()[-1] == 20, "the user's own are named last"
    assert sorted(marks["labels"].tolist()[:2]) == [1, 2], "known neighbours are named first"
    assert sorted(answer.pair.names_of(marks["labels"])) == sorted((*answer.comparison.sides, "GENE20"))


def test_figure_has_a_line_for_each_point_and_side(catalog, answer):
    table = table_of(catalog, VIEW, answer.comparison)
    frame = figure_frame(VIEW, answer.pair, answer.comparison, table=table)
    assert frame.columns == ["perturbation", "neighbour of", "known", "query", "side", "x", "y"]
    assert frame["side"].value_counts(sort=True)["count"].to_list() == [30, 30]
    assert frame.filter("query")["perturbation"].to_list() == ["GENE00", "GENE00"]
    assert frame.filter(pl.col("neighbour of") != "other").height == 2 * table.height


def test_distribution_holds_every_query(answer):
    distribution = distribution_of(VIEW, answer.pair)
    assert distribution.seed is None
    assert len(distribution.overlaps) == 30
    assert distribution.overlaps[0] == pytest.approx(answer.comparison.agreement.overlap)


def test_damaged_known_relationships_are_one_sentence(tmp_path):
    toys.write_catalog(tmp_path)
    (tmp_path / "known" / "pairs.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(InputError, match=r"pairs\.parquet"):
        answer_view(open_catalog(tmp_path), VIEW)
