"""Rows to guides to perturbations, against a loop; what a map and its recipe promise."""

import json
from dataclasses import replace

import anndata
import numpy as np
import polars as pl
import pytest
from builders import CONTROL, CountingSource, Rows, batched_rows, cosines, map_of, names_of
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer import aggregate as aggregate_module
from explorer import align as align_module
from explorer.aggregate import (
    AGGREGATES,
    PerturbationMap,
    Recipe,
    aggregate_rows,
    build_map,
    map_from_moments,
)
from explorer.align import METHODS, fit_alignment
from explorer.errors import InputError
from explorer.moments import collect_moments
from explorer.screen import Representation, Roles, Screen
from explorer.sources import ArraySource


def aggregate_in_a_loop(rows: Rows, aligned: np.ndarray, aggregate: str) -> dict[str, np.ndarray]:
    """D4: rows → guide (mean) → perturbation (mean, or median over guides), else rows → perturbation."""
    middle = {"mean": np.mean, "median": np.median}[aggregate]
    profiles = {}
    for name in sorted(set(rows.perturbations) - ({CONTROL} if not rows.keep_controls else set())):
        own = [row for row, label in enumerate(rows.perturbations) if label == name]
        if rows.guide is None:
            parts = [aligned[row] for row in own]
        else:
            guides = sorted({rows.guide[row] for row in own})
            parts = [np.mean([aligned[row] for row in own if rows.guide[row] == guide], axis=0) for guide in guides]
        profiles[name] = middle(parts, axis=0)
    return profiles


def aligned_rows(rows: Rows, method: str) -> np.ndarray:
    screen = rows.screen
    moments = collect_moments(screen, screen.representation("raw"), medians=True)
    return fit_alignment(moments, method).apply(rows.values, moments.labels.batch)


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("guides", [True, False])
@pytest.mark.parametrize("keep_controls", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_map_is_that_of_a_loop(method, keep_controls, guides, aggregate):
    rows = batched_rows(guides=guides, seed=1)
    rows.keep_controls = keep_controls
    found = build_map(rows.screen, "raw", alignment=method, aggregate=aggregate)
    expected = aggregate_in_a_loop(rows, aligned_rows(rows, method), aggregate)
    assert found.names == tuple(expected)
    np.testing.assert_allclose(found.profiles, list(expected.values()), rtol=1e-5, atol=1e-5)
    assert (CONTROL in found.names) is keep_controls


def test_a_guide_with_many_cells_does_not_dominate():
    labels = ["A"] * 100 + ["B", "C"]
    guide = ["A-1"] * 99 + ["A-2", "B-1", "C-1"]
    values = np.array([[0.0]] * 99 + [[10.0], [1.0], [2.0]], dtype=np.float32)
    assert build_map(Rows(labels, values, guide=guide).screen, "raw").profiles[0, 0] == 5.0
    assert build_map(Rows(labels, values).screen, "raw").profiles[0, 0] == pytest.approx(0.1)


def test_counts_of_rows_guides_and_batches():
    rows = batched_rows(seed=2)
    found = build_map(rows.screen, "raw")
    for line in found.table.iter_rows(named=True):
        own = [row for row, name in enumerate(rows.perturbations) if name == line["perturbation"]]
        assert line["n_rows"] == len(own)
        assert line["n_guides"] == len({rows.guide[row] for row in own})
        assert line["n_batches"] == len({rows.batch[row] for row in own})
    assert found.table["perturbation"].to_list() == list(found.names)
    assert build_map(batched_rows(guides=False).screen, "raw").table["n_guides"].null_count() == 8


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    method=st.sampled_from(METHODS),
    aggregate=st.sampled_from(AGGREGATES),
    guides=st.booleans(),
)
def test_row_order_never_changes_a_map(seed, method, aggregate, guides):
    rows = batched_rows(seed=3, guides=guides)
    shuffled = rows.take(np.random.default_rng(seed).permutation(len(rows.values)))
    one, other = (build_map(given.screen, "raw", alignment=method, aggregate=aggregate) for given in (rows, shuffled))
    assert one.names == other.names
    assert one.table.equals(other.table)
    np.testing.assert_allclose(cosines(one.profiles), cosines(other.profiles), atol=1e-5)


def test_another_alignment_does_not_read_the_rows_again():
    rows = batched_rows()
    source = CountingSource(rows.values)
    screen, representation = rows.screen, Representation("raw", "simple", source)
    moments = collect_moments(screen, representation, medians=True)
    source.reads.clear()
    for method in METHODS:
        for aggregate in AGGREGATES:
            map_from_moments(screen, representation, moments, alignment=method, aggregate=aggregate)
    assert source.reads == []


def test_medians_of_rows_read_them_once_more(monkeypatch):
    rows = batched_rows(guides=False)
    monkeypatch.setattr("explorer.screen.BYTES_PER_CHUNK", 4 * 5 * 9)
    source = CountingSource(rows.values)
    representation = Representation("raw", "simple", source)
    moments = collect_moments(rows.screen, representation)
    source.reads.clear()
    names, medians = aggregate_rows(representation, moments, fit_alignment(moments, "tvn"))
    assert [row for start, stop in source.reads for row in range(start, stop)] == list(range(len(rows.values)))
    expected = aggregate_in_a_loop(rows, aligned_rows(rows, "tvn"), "median")
    assert names == tuple(expected)
    np.testing.assert_allclose(medians, list(expected.values()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("guides", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_two_passes_without_a_table_of_units_make_the_same_map(method, guides, aggregate, monkeypatch):
    rows = batched_rows(guides=guides, seed=4)
    rows.values[[5, 70], 1] = np.nan
    expected = build_map(rows.screen, "raw", alignment=method, aggregate=aggregate)
    monkeypatch.setattr("explorer.screen.BYTES_PER_CHUNK", 4 * rows.values.shape[1] * 11)
    monkeypatch.setattr("explorer.aggregate.keeps_units", lambda *_: False)
    found = build_map(rows.screen, "raw", alignment=method, aggregate=aggregate)
    assert found.recipe == expected.recipe
    assert found.table.equals(expected.table)
    np.testing.assert_allclose(found.profiles, expected.profiles, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_both_loops_of_the_second_pass_make_the_same_map(method, monkeypatch):
    rows = batched_rows(seed=4)
    rows.values[[5, 70], 1] = np.nan
    monkeypatch.setattr("explorer.aggregate.keeps_units", lambda *_: False)
    monkeypatch.setattr("explorer.screen.BYTES_PER_CHUNK", 4 * rows.values.shape[1] * 11)
    plain = build_map(rows.screen, "raw", alignment=method)
    monkeypatch.setattr("explorer.totals.COMPILE_ABOVE", 0)
    compiled = build_map(rows.screen, "raw", alignment=method)
    assert compiled.recipe == plain.recipe
    assert compiled.table.equals(plain.table)
    np.testing.assert_allclose(compiled.profiles, plain.profiles, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("stretch_bytes", [2**26, 4 * 6 * 20, 4 * 6 * 7, 4])
def test_medians_of_rows_do_not_depend_on_the_memory_they_may_use(stretch_bytes, monkeypatch):
    rows = batched_rows(guides=False, seed=6)
    expected = aggregate_in_a_loop(rows, aligned_rows(rows, "center-scale"), "median")
    monkeypatch.setattr("explorer.medians.STRETCH_BYTES", stretch_bytes)
    monkeypatch.setattr("explorer.screen.BYTES_PER_CHUNK", 4 * rows.values.shape[1] * 11)
    found = build_map(rows.screen, "raw", alignment="center-scale", aggregate="median")
    np.testing.assert_allclose(found.profiles, list(expected.values()), rtol=1e-5, atol=1e-5)


def test_medians_that_find_no_room_say_so(monkeypatch):
    class Full:
        def __init__(self, *_, **__): ...
        def __enter__(self):
            return self

        def __exit__(self, *_): ...
        def seek(self, _): ...
        def write(self, _):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.SpooledTemporaryFile", Full)
    with pytest.raises(InputError, match=r"No space left on device.*name another folder with TMPDIR"):
        build_map(batched_rows(guides=False).screen, "raw", aggregate="median")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("guides", [True, False])
def test_rows_that_are_not_finite_leave_no_trace_but_a_note(guides, aggregate, bad):
    rows = batched_rows(seed=5, guides=guides)
    gone = [row for row, name in enumerate(rows.perturbations) if name == "G04"][:-1]
    kept = np.setdiff1d(np.arange(len(rows.values)), gone)
    expected = build_map(rows.take(kept).screen, "raw", alignment="center-scale", aggregate=aggregate)
    rows.values[gone, 1] = bad
    found = build_map(rows.screen, "raw", alignment="center-scale", aggregate=aggregate)
    np.testing.assert_allclose(found.profiles, expected.profiles, rtol=1e-6)
    assert found.table.equals(expected.table)
    assert found.recipe.notes == ("6 rows with NaN or infinite values left out: 'G04'",)
    assert expected.recipe.notes == ()


def test_a_perturbation_without_a_finite_row_leaves_the_map():
    rows = batched_rows(seed=5)
    rows.values[np.array(rows.perturbations) == "G04"] = np.nan
    found = build_map(rows.screen, "raw")
    assert "G04" not in found.names
    assert "G04" not in found.table["perturbation"].to_list()
    assert found.n_perturbations == 7


def test_fewer_than_three_perturbations_are_an_error():
    rows = batched_rows(n_perturbations=2)
    with pytest.raises(InputError, match="needs at least 3 perturbations with finite profiles, 2 are left"):
        build_map(rows.screen, "raw")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alignment": "tvm"}, "unknown alignment 'tvm': did you mean 'tvn'"),
        ({"aggregate": "medium"}, "unknown aggregate 'medium': did you mean 'median'"),
        ({"representation": "row"}, "unknown representation 'row': did you mean 'raw'"),
    ],
)
def test_unknown_names_are_met_with_the_nearest(options, message):
    with pytest.raises(InputError, match=message):
        build_map(batched_rows().screen, **{"representation": "raw", **options})


def test_a_filter_uses_the_rows_named_and_says_so():
    rows = batched_rows(seed=6)
    used = np.random.default_rng(0).random(len(rows.values)) < 0.7
    found = build_map(rows.screen, "raw", alignment="tvn", rows=used, filter_name="good cells")
    expected = build_map(rows.take(np.flatnonzero(used)).screen, "raw", alignment="tvn")
    assert found.names == expected.names
    np.testing.assert_allclose(cosines(found.profiles), cosines(expected.profiles), atol=1e-5)
    assert found.recipe.filter == "good cells"
    assert "good cells" in found.recipe.sentence


# Screens whose names repeat


def test_repeated_names_are_an_error_where_most_stand_once():
    with pytest.raises(InputError, match="duplicate perturbation names: 'A' stand in several rows"):
        Screen.from_arrays(["A", "A", "B", "C", "D"], {"raw": np.eye(5)})


@pytest.mark.parametrize("roles", [{"replicates": True}, {"guide": list("vwxyz")}, {"batch": list("vvwww")}])
def test_repeated_names_are_replicates_where_that_is_declared(roles):
    screen = Screen.from_arrays(["A", "A", "B", "C", "D"], {"raw": np.eye(5)}, **roles)
    found = build_map(screen, "raw")
    np.testing.assert_array_equal(found.profiles[0], [0.5, 0.5, 0, 0, 0])


def test_names_that_all_repeat_are_replicates():
    screen = Screen.from_arrays(["A", "A", "B", "B", "C", "C"], {"raw": np.eye(6)})
    assert build_map(screen, "raw").table["n_rows"].to_list() == [2, 2, 2]


@pytest.mark.parametrize("keep", [False, True])
def test_controls_may_repeat_unless_they_are_perturbations_too(keep):
    labels, values = ["A", "B", "C", "D", CONTROL, CONTROL], {"raw": np.eye(6)}
    if keep:
        with pytest.raises(InputError, match="duplicate perturbation names: 'ctrl'"):
            Screen.from_arrays(labels, values, control=(CONTROL,), keep_controls=True)
        return
    screen = Screen.from_arrays(labels, values, control=(CONTROL,))
    assert build_map(screen, "raw", alignment="center").names == ("A", "B", "C", "D")


# The map


def test_a_map_sorts_its_perturbations():
    names = ("b", "a", "C", "é")
    found = map_of(np.arange(8).reshape(4, 2), names)
    assert found.names == ("C", "a", "b", "é")
    assert found.table["perturbation"].to_list() == ["C", "a", "b", "é"]
    np.testing.assert_array_equal(found.profiles, [[4, 5], [2, 3], [0, 1], [6, 7]])
    assert [found.position(name) for name in found.names] == [0, 1, 2, 3]
    assert all(name in found for name in names)
    assert not any(name in found for name in ("", "B", "aa", "z", None, 0))


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("block_bytes", [1, 8 * 5 * 7])
def test_perturbations_taken_some_at_a_time_do_not_matter(aggregate, block_bytes, monkeypatch):
    rows = batched_rows(guides=True, seed=4)
    whole = build_map(rows.screen, "raw", alignment="center-scale", aggregate=aggregate)
    for module in (aggregate_module, align_module):
        monkeypatch.setattr(module, "_BLOCK_BYTES", block_bytes)
    found = build_map(rows.screen, "raw", alignment="center-scale", aggregate=aggregate)
    np.testing.assert_array_equal(found.profiles, whole.profiles)
    assert found.names == whole.names


def test_a_map_is_read_only_and_leaves_the_given_array_alone():
    given_profiles = np.ones((3, 2), dtype=np.float32)
    like = map_of(given_profiles)
    found = PerturbationMap(like.names, given_profiles, like.table, like.recipe)
    for array in (found.profiles, found.norms):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    assert given_profiles.flags.writeable


def test_norms():
    found = map_of([[3, 4], [0, 0], [1e-30, 0], [1e30, 0]])
    np.testing.assert_allclose(found.norms, [5, 0, 1e-30, 1e30], rtol=1e-6)


@pytest.mark.parametrize(
    ("names", "n_profiles", "message"),
    [
        (("a", "b", "a", "c", "b"), 5, "duplicate perturbation names: 'a', 'b'; make them unique"),
        (("a", "b", "c"), 4, "3 names for 4 profiles"),
        (("a", "b"), 2, "needs at least 3 perturbations"),
    ],
)
def test_maps_that_can_not_be(names, n_profiles, message):
    with pytest.raises(InputError, match=message):
        map_of(np.ones((n_profiles, 2)), names)


@pytest.mark.parametrize("wrong", ["P000", "p0001", "P0009x", "", "zzz"])
def test_unknown_perturbations_are_met_with_the_nearest(wrong):
    with pytest.raises(InputError, match=f"unknown perturbation '{wrong}': (did you mean 'P0|choose one of 'P0000')"):
        map_of(np.eye(12)).position(wrong)


def test_restriction_keeps_profiles_with_their_names():
    whole = map_of(np.arange(10).reshape(5, 2))
    part = whole.restricted_to(["P0004", "P0000", "P0002", "P0002"])
    assert part.names == ("P0000", "P0002", "P0004")
    np.testing.assert_array_equal(part.profiles[:, 0], [0, 4, 8])
    assert part.table["perturbation"].to_list() == list(part.names)
    assert whole.restricted_to(whole.names) is whole
    with pytest.raises(InputError, match="unknown perturbation 'nobody'"):
        whole.restricted_to(["P0000", "P0001", "nobody"])
    with pytest.raises(InputError, match="unknown perturbation"):
        whole.restricted_to([*names_of(4), "nobody"])


# The recipe


def test_fingerprint_does_not_hang_on_the_name_of_the_folder():
    screen = batched_rows().screen
    renamed = replace(screen, dataset="another name")
    one, other = (build_map(given, "raw", alignment="tvn") for given in (screen, renamed))
    assert one.fingerprint == other.fingerprint
    assert one.recipe.dataset != other.recipe.dataset


def test_fingerprint_knows_all_that_changes_a_map():
    rows = batched_rows()
    other_values = rows.values.copy()
    other_values[0, 0] += 1
    other_labels = list(rows.perturbations)
    swapped = [other_labels.index("G00"), other_labels.index("G01")]
    other_labels[swapped[0]], other_labels[swapped[1]] = "G01", "G00"
    used = np.ones(len(rows.values), dtype=bool)
    used[swapped[0]] = False
    screen = replace(
        rows.screen,
        representations={
            "raw": Representation("raw", "simple", ArraySource(rows.values)),
            "again": Representation("again", "simple", ArraySource(rows.values)),
            "learned": Representation("raw", "learned", ArraySource(rows.values)),
        },
    )
    fewer_guides = ["x" if guide.startswith("G00") else guide for guide in rows.guide]
    kept = Rows(rows.perturbations, rows.values, rows.batch, rows.guide, keep_controls=True)
    prints = {
        "plain": build_map(screen, "raw").fingerprint,
        "alignment": build_map(screen, "raw", alignment="center").fingerprint,
        "another alignment": build_map(screen, "raw", alignment="tvn").fingerprint,
        "aggregate": build_map(screen, "raw", aggregate="median").fingerprint,
        "representation": build_map(screen, "again").fingerprint,
        "kind": build_map(screen, "learned").fingerprint,
        "values": build_map(Rows(rows.perturbations, other_values, rows.batch, rows.guide).screen, "raw").fingerprint,
        "labels": build_map(Rows(other_labels, rows.values, rows.batch, rows.guide).screen, "raw").fingerprint,
        "rows": build_map(screen, "raw", rows=used).fingerprint,
        "filter": build_map(screen, "raw", filter_name="good cells").fingerprint,
        "seed": build_map(screen, "raw", seed=1).fingerprint,
        "guides": build_map(Rows(rows.perturbations, rows.values, rows.batch, fewer_guides).screen, "raw").fingerprint,
        "batches": build_map(Rows(rows.perturbations, rows.values, None, rows.guide).screen, "raw").fingerprint,
        "controls kept": build_map(kept.screen, "raw").fingerprint,
        "context": build_map(replace(screen, context=replace(screen.context, name="other")), "raw").fingerprint,
    }
    assert len(set(prints.values())) == len(prints), prints
    assert prints["plain"] == build_map(screen, "raw").fingerprint
    assert all(len(value) == 12 and int(value, 16) >= 0 for value in prints.values())


def test_fingerprint_does_not_hang_on_names_of_columns():
    rows = batched_rows(guides=False)
    table = pl.DataFrame({"gene": rows.perturbations, "plate": rows.batch})
    renamed = Screen(
        "d", rows.screen.context, table, Roles("gene", control=(CONTROL,), batch="plate"), rows.screen.representations
    )
    assert build_map(renamed, "raw").fingerprint == build_map(rows.screen, "raw").fingerprint


def test_recipe_in_one_line():
    recipe = Recipe("d", "skin", "raw", "simple", source="s", rows="r", alignment="tvn")
    assert recipe.sentence == (
        f"raw (simple) of skin; all rows; alignment tvn; "
        f"mean (rows to guides, where there are any, to perturbations); recipe {recipe.fingerprint}"
    )


# AnnData at the edge


@pytest.mark.parametrize("guides", [True, False])
def test_written_map_reads_back(tmp_path, guides):
    rows = batched_rows(seed=10, guides=guides)
    rows.values[rows.perturbations.index("G01")] = np.nan
    made = build_map(rows.screen, "raw", alignment="tvn")
    made.to_anndata().write_h5ad(tmp_path / "made.h5ad")
    read = anndata.read_h5ad(tmp_path / "made.h5ad")
    assert tuple(read.obs_names) == made.names
    assert read.X.dtype == np.float32
    np.testing.assert_array_equal(read.X, made.profiles)
    assert list(read.obs.columns) == ["perturbation", "n_rows", *(["n_guides"] if guides else []), "n_batches"]
    for column in read.obs.columns:
        assert read.obs[column].tolist() == made.table[column].to_list()
    assert read.uns["explorer"]["fingerprint"] == made.fingerprint
    recipe = json.loads(read.uns["explorer"]["recipe"])
    assert recipe["alignment"] == "tvn"
    assert recipe["notes"] == ["1 row with NaN or infinite values left out: 'G01'"]


def test_anndata_is_a_copy():
    made = map_of(np.eye(3))
    made.to_anndata().X[0, 0] = 5
    assert made.profiles[0, 0] == 1


def test_a_table_of_other_perturbations_is_refused():
    like = map_of(np.eye(3))
    with pytest.raises(InputError, match="in the order of its profiles"):
        PerturbationMap(("a", "b", "c"), like.profiles, like.table, like.recipe)
