"""Who is called active: against loops, in simulated screens without and with effects, and on real ones."""

import dataclasses
import math
import warnings

import numpy as np
import polars as pl
import pytest
from builders import ragged

from explorer.activity import Activity, PerturbationActivity, measure_activity
from explorer.align import fit_alignment
from explorer.errors import InputError
from explorer.gather import MOST_NEGATIVES
from explorer.moments import collect_moments
from explorer.replicates import lengths
from explorer.retrieval import replicate_precision, unit_vectors
from explorer.screen import Context, Representation, Roles, Screen
from explorer.sources import ArraySource

CONTROL = "ctrl"


def screen_of(labels, values, **roles):
    columns = {
        "perturbation": labels,
        **{name: list(roles[name]) for name in ("batch", "guide", "well") if name in roles},
    }
    return Screen(
        "data",
        Context("all"),
        pl.DataFrame(columns),
        Roles(
            "perturbation",
            control=roles.get("control", (CONTROL,)),
            control_column=roles.get("control_column"),
            keep_controls=roles.get("keep_controls", False),
            batch="batch" if "batch" in roles else None,
            guide="guide" if "guide" in roles else None,
            group=("well",) if "well" in roles else (),
            replicates=True,
        ),
        {"raw": Representation("raw", "simple", ArraySource(np.asarray(values, dtype=np.float32)))},
    )


def plates(*, n_perturbations=40, n_plates=4, n_wells=1, n_controls=24, n_features=12, effect=0.0, n_active=0, seed=0):
    """Wells of every perturbation on every plate; plates shift, stretch and turn; the first few perturbations act."""
    rng = np.random.default_rng(seed)
    names = [CONTROL] * n_controls + [f"P{number:03d}" for number in range(n_perturbations) for _ in range(n_wells)]
    labels, batch = names * n_plates, np.repeat(np.arange(n_plates), len(names))
    effects = {f"P{number:03d}": effect * rng.normal(size=n_features) for number in range(n_active)}
    values = rng.normal(size=(len(labels), n_features)) + [effects.get(name, np.zeros(n_features)) for name in labels]
    turn = np.eye(n_features) + 0.3 * rng.normal(size=(n_features, n_features))
    stretch, shift = rng.uniform(0.5, 2, size=(n_plates, n_features)), 3 * rng.normal(size=(n_plates, n_features))
    return screen_of(labels, values @ turn * stretch[batch] + shift[batch], batch=[f"b{number}" for number in batch])


def guided(*, n_perturbations=20, n_batches=3, n_guides=3, n_controls=200, n_features=10, effect=0.0, seed=0):
    """Cells of several guides in several batches, unevenly; the first half of the perturbations act."""
    rng = np.random.default_rng(seed)
    labels, guide, batch = [], [], []
    for place in range(n_batches):
        labels += [CONTROL] * n_controls
        guide += [f"nt{number % 7}" for number in range(n_controls)]
        batch += [place] * n_controls
        for number in range(n_perturbations):
            for own in range(n_guides):
                n = int(rng.integers(2, 7))
                labels += [f"P{number:03d}"] * n
                guide += [f"P{number:03d}-{own}"] * n
                batch += [place] * n
    effects = {f"P{number:03d}": effect * rng.normal(size=n_features) for number in range(n_perturbations // 2)}
    values = rng.normal(size=(len(labels), n_features)) + [effects.get(name, np.zeros(n_features)) for name in labels]
    values += 2 * rng.normal(size=(n_batches, n_features))[batch]
    order = rng.permutation(len(labels))
    return screen_of(
        [labels[row] for row in order],
        values[order],
        batch=[f"b{batch[row]}" for row in order],
        guide=[guide[row] for row in order],
    )


def test_row_replicates_are_scored_as_a_loop_would():
    screen = plates(n_perturbations=6, n_wells=2, effect=1.0, n_active=3)
    moments = collect_moments(screen, screen.representation("raw"))
    activity = measure_activity(screen, "raw", alignment="center-scale", moments=moments)
    fitted = fit_alignment(moments, "center-scale", controls="fitting")
    labels = np.array(screen.rows["perturbation"].to_list())
    batch = moments.labels.batch
    aligned = fitted.apply(screen.representation("raw").source.read(0, len(labels)), batch)
    vectors = unit_vectors(aligned)
    for name in activity.table["perturbation"].to_list():
        own = np.flatnonzero(labels == name)
        found = activity.of(name)
        pairs = [vectors[i] @ vectors[j] for i in own for j in own if i < j and batch[i] != batch[j]]
        assert found.consistency == pytest.approx(np.mean(pairs), abs=1e-6)
        assert found.magnitude == pytest.approx(lengths(aligned[own].mean(axis=0)[None])[0], rel=1e-6)
        assert found.n_replicates == 8
        assert found.basis == "replicate consistency"
        assert found.p == found.consistency_p
    # Among the controls held out, as one function call.
    held = np.isin(np.arange(len(labels)), moments.held_out.row)
    used = (labels != CONTROL) | held
    codes = np.where(labels == CONTROL, -1, np.unique(labels, return_inverse=True)[1])
    ranked = replicate_precision(aligned[used], codes[used], batch=batch[used])
    for number, name in enumerate(sorted(set(labels) - {CONTROL})):
        own = codes[used] == number
        assert activity.of(name).mean_average_precision == pytest.approx(ranked.average_precision[own].mean(), abs=1e-6)
        assert activity.of(name).normalized_average_precision == pytest.approx(ranked.normalized[own].mean(), abs=1e-6)


def test_guides_are_replicates_where_they_are_declared():
    screen = guided(n_perturbations=4, effect=0.8)
    moments = collect_moments(screen, screen.representation("raw"))
    activity = measure_activity(screen, "raw", alignment="center", moments=moments)
    fitted = fit_alignment(moments, "center", controls="fitting")
    rows = screen.rows.with_row_index()
    aligned = fitted.apply(screen.representation("raw").source.read(0, rows.height), moments.labels.batch)
    for (name,), own in rows.filter(pl.col("perturbation") != CONTROL).group_by("perturbation"):
        units = [
            (guide, batch, aligned[part["index"].to_numpy()].mean(axis=0))
            for (guide, batch), part in own.group_by("guide", "batch")
        ]
        cosines = [
            x @ y / np.linalg.norm(x) / np.linalg.norm(y)
            for place, (guide, batch, x) in enumerate(units)
            for other, where, y in units[:place]
            if guide != other and batch != where
        ]
        found = activity.of(str(name))
        assert found.consistency == pytest.approx(np.mean(cosines), abs=1e-6)
        assert found.n_replicates == len(units) == 9
        guides = [aligned[part["index"].to_numpy()].mean(axis=0) for _, part in own.group_by("guide")]
        assert found.magnitude == pytest.approx(np.linalg.norm(np.mean(guides, axis=0)), rel=1e-6)
    assert any("means of as many held-out controls" in note for note in activity.notes)


@pytest.mark.parametrize("alignment", ["center", "center-scale", "center-scale-robust", "tvn", "sphere"])
def test_inactive_perturbations_are_called_at_the_nominal_rate(alignment):
    tables = [
        measure_activity(plates(seed=seed), "raw", alignment=alignment, seed=seed, n_null=199).table
        for seed in range(15)
    ]
    table = pl.concat(tables)
    for name in ("consistency_p", "magnitude_p", "precision_p"):
        # 600 tests, which share their controls within a screen: three standard errors are about .035.
        assert (table[name] <= 0.05).mean() == pytest.approx(0.05, abs=0.035), name
        assert table[name].mean() == pytest.approx(0.5, abs=0.07), name
    called = sum(len(measure_activity(plates(seed=seed), "raw", alignment=alignment).active()) for seed in range(3))
    assert called <= 6


def test_guides_without_effect_are_called_at_the_nominal_rate():
    tables = [
        measure_activity(guided(seed=seed), "raw", alignment="center-scale", n_null=199).table for seed in range(12)
    ]
    table = pl.concat(tables)
    for name in ("consistency_p", "magnitude_p", "precision_p"):
        assert (table[name] <= 0.05).mean() == pytest.approx(0.05, abs=0.05), name
        assert table[name].mean() == pytest.approx(0.5, abs=0.08), name


def test_drawn_from_the_fitting_controls_the_null_is_too_small():
    # What holding half of them out is for: many features, few controls, and an alignment that fits them closely.
    honest, dishonest = [], []
    for seed in range(6):
        screen = plates(n_perturbations=30, n_controls=32, n_features=40, seed=seed)
        moments = collect_moments(screen, screen.representation("raw"), seed=seed)
        honest.append(measure_activity(screen, "raw", alignment="sphere", moments=moments).table)
        values, group = moments.control_rows
        fitting = group % 2 == 0
        numbers = np.flatnonzero(moments.labels.role == 1)
        swapped = dataclasses.replace(
            moments,
            held_out=dataclasses.replace(
                moments.held_out, values=values[fitting], batch=group[fitting] // 2, row=numbers
            ),
        )
        dishonest.append(measure_activity(screen, "raw", alignment="sphere", moments=swapped).table)
    rates = [(pl.concat(tables)["magnitude_p"] <= 0.05).mean() for tables in (honest, dishonest)]
    assert rates[0] < 0.12
    assert rates[1] > 0.5


def test_random_ranks_would_be_too_narrow_a_null():
    # Two queries of a pair share their similarity; a null of independent random ranks forgets it.
    rng = np.random.default_rng(0)
    n_plates, n_negatives, n_null = 4, 32, 999
    n_positives = n_plates - 1
    ranks = np.argsort(rng.random((n_plates, n_null, n_positives + n_negatives)), axis=2)[..., :n_positives] + 1
    ranks.sort(axis=2)
    null = (np.arange(1, n_positives + 1) / ranks).mean(axis=(0, 2))
    calls = 0
    for _ in range(400):
        values = rng.normal(size=(n_plates * (1 + n_negatives), 20))
        code = np.r_[np.zeros(n_plates, dtype=int), np.full(n_plates * n_negatives, -1)]
        batch = np.r_[np.arange(n_plates), np.repeat(np.arange(n_plates), n_negatives)]
        found = np.nanmean(replicate_precision(values, code, batch=batch).average_precision)
        calls += (1 + (null >= found).sum()) / (1 + n_null) <= 0.05
    assert calls / 400 > 0.065


@pytest.mark.parametrize("make", [plates, guided])
def test_planted_effects_are_found_and_the_rest_is_not(make):
    screen = plates(effect=2.0, n_active=20) if make is plates else guided(effect=1.5)
    activity = measure_activity(screen, "raw", alignment="center-scale")
    names = activity.table["perturbation"].to_list()
    active, planted = set(activity.active()), set(names[: len(names) // 2])
    some = [*names[::3], "elsewhere"]
    assert activity.active(among=some) == tuple(name for name in activity.active() if name in some)
    assert activity.active(among=()) == ()
    assert len(active & planted) >= 0.95 * len(planted)
    assert len(active - planted) <= 0.25 * len(planted)
    strong = activity.table.filter(pl.col("perturbation").is_in(list(planted)))
    for name in ("consistency_p", "magnitude_p", "precision_p"):
        assert (strong[name] <= 0.01).mean() > 0.8, name
    assert strong["mean_average_precision"].mean() > 0.7
    assert 0 <= len(activity.active(q_below=0.001)) <= len(active)


def test_shuffled_replicate_labels_are_at_chance():
    screen = plates(effect=2.0, n_active=40)
    rows = screen.rows.with_row_index()
    rng = np.random.default_rng(0)
    labels = np.array(rows["perturbation"].to_list())
    for _, part in rows.filter(pl.col("perturbation") != CONTROL).group_by("batch", maintain_order=True):
        own = part["index"].to_numpy()
        labels[own] = labels[rng.permutation(own)]
    shuffled = dataclasses.replace(screen, rows=rows.drop("index").with_columns(perturbation=pl.Series(labels)))
    table = measure_activity(shuffled, "raw", alignment="center-scale").table
    # Four standard errors of the mean of 40.
    assert abs(table["consistency"].mean()) < 4 * table["consistency"].std() / 40**0.5
    honest = measure_activity(screen, "raw", alignment="center-scale").table
    assert honest["consistency"].mean() > 0.6


def test_constant_features_are_inactive():
    screen = plates()
    flat = screen_of(
        screen.rows["perturbation"].to_list(), np.ones((screen.rows.height, 5)), batch=screen.rows["batch"]
    )
    for alignment in ("none", "center"):
        activity = measure_activity(flat, "raw", alignment=alignment)
        # All lie where the controls lie: there is no direction to agree in.
        assert activity.table["consistency"].is_nan().all()
        assert activity.table["mean_average_precision"].is_nan().all()
        np.testing.assert_allclose(activity.table["magnitude_p"].to_numpy(), 1)
        assert set(activity.table["basis"]) == {"magnitude"}
        assert activity.active() == ()


def test_without_alignment_activity_is_judged_from_the_controls_all_the_same():
    # Far from the origin every cosine is near 1 and says how noisy a profile is, not what it shares with another.
    near = guided(n_perturbations=40, n_controls=240)
    values = near.representation("raw").source.read(0, near.rows.height) + np.float32(30)
    far = {"raw": dataclasses.replace(near.representation("raw"), source=ArraySource(values))}
    screen = dataclasses.replace(near, representations=far)
    activity = measure_activity(screen, "raw")
    centred = measure_activity(screen, "raw", alignment="center")
    assert activity.alignment == "center"
    assert any("centred on the controls, although the map is not aligned" in note for note in activity.notes)
    assert activity.table.equals(centred.table)
    assert np.mean(activity.table["p"].to_numpy() <= 0.05) < 0.15


def test_what_is_undefined_is_nan_and_falls_back_to_magnitude():
    rng = np.random.default_rng(0)
    labels = [CONTROL] * 40 + ["one", "same", "same", "two", "two"]
    batch = ["x"] * 20 + ["y"] * 20 + ["x", "x", "x", "x", "y"]
    activity = measure_activity(screen_of(labels, rng.normal(size=(45, 4)), batch=batch), "raw")
    for name in ("one", "same"):
        found = activity.of(name)
        assert math.isnan(found.consistency)
        assert math.isnan(found.consistency_p)
        assert math.isnan(found.mean_average_precision)
        assert found.basis == "magnitude"
        assert found.p == found.magnitude_p
    assert activity.of("two").basis == "replicate consistency"
    assert activity.of("one").n_replicates == 1
    # A single row is compared with every held-out control of its batch.
    assert activity.of("one").magnitude_p * 11 == pytest.approx(round(activity.of("one").magnitude_p * 11))
    # Where there are no batches, rows pair with each other.
    assert math.isfinite(measure_activity(screen_of(labels, rng.normal(size=(45, 4))), "raw").of("same").consistency)


def test_q_is_over_all_perturbations_and_each_has_one_p():
    table = measure_activity(plates(effect=1.0, n_active=5), "raw", alignment="center").table
    assert (table["q"] >= table["p"]).all()
    assert table["q"].to_list() == table["consistency_q"].to_list()
    assert set(table.columns) == {part.name for part in dataclasses.fields(PerturbationActivity)}


def test_seeds_reproduce_and_blocks_do_not_matter():
    screen = plates(n_perturbations=10, n_wells=2, effect=0.5, n_active=5)
    one = measure_activity(screen, "raw", alignment="center-scale", seed=3)
    assert one.table.equals(measure_activity(screen, "raw", alignment="center-scale", seed=3).table)
    other = measure_activity(screen, "raw", alignment="center-scale", seed=4)
    assert not one.table.equals(other.table)
    assert (one.seed, one.n_null, one.alignment) == (3, 999, "center-scale")


def test_row_order_changes_nothing_while_the_same_controls_are_held_out():
    screen = plates(n_perturbations=10, effect=1.0, n_active=5)
    order = np.random.default_rng(0).permutation(screen.rows.height)
    # Which controls are held out depends on their order among themselves, which is kept.
    is_control = screen.is_control()[order]
    order[is_control] = np.sort(order[is_control])
    values = screen.representation("raw").source.read(0, len(order))
    shuffled = screen_of(
        [screen.rows["perturbation"][int(row)] for row in order],
        values[order],
        batch=[screen.rows["batch"][int(row)] for row in order],
    )
    one, other = (measure_activity(given, "raw").table for given in (screen, shuffled))
    for name in ("consistency", "magnitude"):
        np.testing.assert_allclose(one[name].to_numpy(), other[name].to_numpy(), rtol=1e-5)
        np.testing.assert_allclose(one[f"{name}_p"].to_numpy(), other[f"{name}_p"].to_numpy(), atol=0.01)


def test_other_perturbations_do_not_change_a_p():
    screen = plates(n_perturbations=12, effect=0.5, n_active=6)
    moments = collect_moments(screen, screen.representation("raw"))
    every = measure_activity(screen, "raw", alignment="center", moments=moments).table
    kept = ~screen.rows["perturbation"].is_in(["P001", "P005", "P011"]).to_numpy()
    part = collect_moments(screen, screen.representation("raw"), rows=kept)
    fewer = measure_activity(screen, "raw", alignment="center", moments=part).table
    same = every.filter(pl.col("perturbation").is_in(fewer["perturbation"].to_list()))
    assert fewer.height == 9
    for name in ("consistency_p", "magnitude_p", "precision_p"):
        assert same[name].to_list() == fewer[name].to_list()


def test_a_control_that_is_a_perturbation_is_not_in_its_own_null():
    rng = np.random.default_rng(0)
    labels = [f"N{number:02d}" for number in range(20)] + ["P0", "P1"]
    values = rng.normal(size=(22, 3))
    values[3] = 50.0
    control = [label.startswith("N") for label in labels]
    screen = screen_of(labels, values, control=(), keep_controls=True)
    rows = screen.rows.with_columns(is_control=pl.Series(control))
    roles = dataclasses.replace(screen.roles, control_column="is_control")
    screen = dataclasses.replace(screen, rows=rows, roles=roles)
    moments = collect_moments(screen, screen.representation("raw"))
    table = measure_activity(screen, "raw", moments=moments).table
    held = {labels[row] for row in moments.held_out.row}
    values = values - values[[row for row in range(20) if row not in moments.held_out.row]].mean(axis=0)
    p = dict(zip(table["perturbation"], table["magnitude_p"], strict=True))
    others = {name: 10 - (name in held) for name in labels}
    for place, name in enumerate(labels):
        null = [np.linalg.norm(values[row]) for row in moments.held_out.row if labels[row] != name]
        expected = (1 + sum(value >= np.linalg.norm(values[place]) - 1e-5 for value in null)) / (1 + others[name])
        assert p[name] == pytest.approx(expected)
    # Where one label holds all controls, nothing is left to judge it by.
    alone = screen_of([CONTROL] * 12 + ["P0", "P1", "P1"], rng.normal(size=(15, 3)), keep_controls=True)
    found = measure_activity(alone, "raw").of(CONTROL)
    assert math.isnan(found.p)
    assert found.basis is None
    assert math.isnan(found.precision_p)


def test_guides_of_kept_controls_are_not_ranked_among_themselves():
    screen = guided(n_perturbations=3, n_controls=60)
    kept = dataclasses.replace(screen, roles=dataclasses.replace(screen.roles, keep_controls=True))
    activity = measure_activity(kept, "raw")
    assert math.isnan(activity.of(CONTROL).mean_average_precision)
    assert any("not told for controls" in note for note in activity.notes)


@pytest.mark.parametrize(("n_controls", "alignment"), [(1, "none"), (1, "center"), (3, "center-scale"), (3, "tvn")])
def test_too_few_controls_name_the_batch(n_controls, alignment):
    labels = [CONTROL] * (10 + n_controls) + ["A", "B"] * 2
    batch = ["fine"] * 10 + ["short"] * n_controls + ["fine", "fine", "short", "short"]
    screen = screen_of(labels, np.random.default_rng(0).normal(size=(len(labels), 3)), batch=batch)
    least = 2 if n_controls == 1 else 4
    with pytest.raises(
        InputError,
        match=f"too few controls in batch 'short', {n_controls} in the first: expected.*{least} in",
    ):
        measure_activity(screen, "raw", alignment=alignment)


def test_without_controls_activity_cannot_be_told():
    screen = screen_of(["A", "A", "B", "B"], np.eye(4), control=())
    with pytest.raises(
        InputError, match="no controls, so activity can't be told: name them with --control, or with control in"
    ):
        measure_activity(screen, "raw")
    with pytest.raises(InputError, match="unknown alignment 'centre'"):
        measure_activity(plates(), "raw", alignment="centre")
    with pytest.raises(InputError, match="unknown representation 'row': did you mean 'raw'"):
        measure_activity(plates(), "row")


def test_unknown_perturbations_are_named():
    activity = measure_activity(plates(n_perturbations=5), "raw")
    assert isinstance(activity, Activity)
    with pytest.raises(InputError, match="unknown perturbation 'P01': did you mean"):
        activity.of("P01")


def test_shortage_and_sampling_are_said():
    rng = np.random.default_rng(0)
    labels = [CONTROL] * 20 + ["many"] * 50 + ["some"] * 4 + ["few"] * 2
    sparse = measure_activity(screen_of(labels[10:], rng.normal(size=(66, 3))), "raw")
    assert "batch 'all' has fewer than 8 held-out controls, so every p is rough and rather small" in sparse.notes
    activity = measure_activity(screen_of(labels, rng.normal(size=(76, 3))), "raw")
    said = " ".join(activity.notes)
    assert "drawn with replacement" in said
    assert "ranks at most 32 replicates of a perturbation, and fewer than a quarter as many" in said
    assert "their p is rather too large" in said
    assert math.isfinite(activity.of("many").precision_p)
    assert math.isfinite(activity.of("few").precision_p)
    many = [CONTROL] * (2 * MOST_NEGATIVES + 10) + ["A"] * 3 + ["B"] * 3
    reduced = measure_activity(screen_of(many, rng.normal(size=(len(many), 3))), "raw")
    assert any(f"among {MOST_NEGATIVES} controls" in note for note in reduced.notes)


@pytest.mark.parametrize(("n_plates", "n_wells"), [(4, 8), (1, 12)])
def test_with_few_controls_inactive_perturbations_are_not_called_more_often(n_plates, n_wells):
    # Drawn without replacement, 8 of 16 controls would call 12 % of them at 5 %.
    tables = [
        measure_activity(
            plates(n_perturbations=20, n_plates=n_plates, n_wells=n_wells, n_controls=32, seed=seed),
            "raw",
            alignment="center-scale",
            n_null=199,
        ).table
        for seed in range(12)
    ]
    table = pl.concat(tables)
    for name in ("consistency_p", "magnitude_p", "precision_p"):
        assert (table[name] <= 0.05).mean() <= 0.085, name


def test_many_layouts_share_a_null_and_it_is_said():
    rng = np.random.default_rng(0)
    labels, batch = [CONTROL] * 800, list(rng.integers(0, 4, 800))
    for number in range(200):
        n = int(rng.integers(4, 30))
        labels += [f"P{number:03d}"] * n
        batch += list(rng.integers(0, 4, n))
    screen = screen_of(labels, rng.normal(size=(len(labels), 8)), batch=[f"b{number}" for number in batch])
    activity = measure_activity(screen, "raw", n_null=99)
    assert any("share one null" in note for note in activity.notes)
    assert (activity.table["p"] <= 0.05).mean() == pytest.approx(0.05, abs=0.05)


def test_rows_that_are_not_finite_do_not_count():
    screen = plates(n_perturbations=5, n_wells=2)
    values = screen.representation("raw").source.read(0, screen.rows.height).copy()
    first = screen.rows["perturbation"].to_list().index("P000")
    values[first] = np.nan
    broken = screen_of(screen.rows["perturbation"].to_list(), values, batch=screen.rows["batch"])
    found = measure_activity(broken, "raw").of("P000")
    assert found.n_replicates == 7
    assert math.isfinite(found.p)


def test_ragged_blocks_give_the_same_numbers():
    screen = plates(n_perturbations=6, n_wells=3)
    whole = screen.representation("raw")
    pieces = dataclasses.replace(screen, representations={"raw": ragged(whole, (1, 7, 50))})
    one, other = (measure_activity(given, "raw", alignment="center-scale").table for given in (screen, pieces))
    for name in one.columns:
        if one[name].dtype == pl.Float64:
            np.testing.assert_allclose(one[name].to_numpy(), other[name].to_numpy(), rtol=1e-5, atol=1e-6)


def positioned(*, strength, moved=False, seed=0):
    """Plates of 30 perturbations and 20 controls, each in a well that has an effect of its own."""
    rng = np.random.default_rng(seed)
    names = [CONTROL] * 20 + [f"P{number:02d}" for number in range(30)]
    effects = strength * rng.normal(size=(50, 10))
    labels, wells, values = [], [], []
    for _ in range(3):
        place = rng.permutation(50) if moved else np.arange(50)
        labels += names
        wells += [f"W{number:02d}" for number in place]
        values.append(rng.normal(size=(50, 10)) + effects[place])
    return screen_of(labels, np.concatenate(values), batch=np.repeat(["x", "y", "z"], 50), well=wells)


def test_a_position_that_never_changes_is_reported_with_what_it_explains():
    activity = measure_activity(positioned(strength=2.0), "raw", alignment="center-scale")
    (confound,) = activity.position
    assert confound.column == "well"
    assert confound.share_fixed == 1
    assert confound.score > 0.8
    assert confound.p == pytest.approx(1 / 1000)
    assert confound.n_controls == 60
    assert set(activity.table["shared_position"]) == {"well"}
    # Nothing but the position makes replicates agree here.
    assert activity.table["mean_average_precision"].mean() > 0.8


def test_positions_that_explain_nothing_or_change_are_told_apart():
    (harmless,) = measure_activity(positioned(strength=0.0), "raw").position
    assert harmless.p > 0.01
    assert harmless.score == pytest.approx(harmless.chance, abs=0.06)
    moved = measure_activity(positioned(strength=0.0, moved=True), "raw")
    assert moved.position[0].share_fixed == 0
    assert moved.table["shared_position"].null_count() == 30
    assert measure_activity(plates(), "raw").position == ()


def compounds(field, plates_used):
    """Wells of some plates of CPJUMP1."""
    folder = field / "cpjump1"
    frames = [
        pl.read_csv(folder / f"{plate}_normalized_feature_select_negcon_batch.csv.gz", infer_schema_length=None)
        for plate in plates_used
    ]
    frame = pl.concat(frames, how="vertical_relaxed")
    features = [name for name in frame.columns if not name.startswith("Metadata_")]
    rows = frame.select(
        perturbation=pl.col("Metadata_pert_iname"),
        batch=pl.col("Metadata_Plate"),
        well=pl.col("Metadata_Well"),
        is_control=(pl.col("Metadata_control_type") == "negcon").fill_null(value=False),
    )
    values = frame.select(features).to_numpy().astype(np.float32)
    roles = Roles("perturbation", control_column="is_control", batch="batch", group=("well",))
    source = {"cellprofiler": Representation("cellprofiler", "simple", ArraySource(values))}
    return Screen("cpjump1", Context("all"), rows, roles, source)


LISTED = [
    (("BR00117024", "BR00117025", "BR00117026"), 0.486, 0.05),
    (("BR00117010", "BR00117011", "BR00117012", "BR00117013"), 0.373, 0.04),
]


@pytest.mark.parametrize(("plates_used", "listed", "chance"), LISTED)
def test_replicates_of_compounds_find_each_other_across_plates(field, plates_used, listed, chance):
    screen = compounds(field, plates_used)
    moments = collect_moments(screen, screen.representation("cellprofiler"), covariance=False)
    fitted = fit_alignment(moments, "center-scale")
    values = screen.representation("cellprofiler").source.read(0, screen.rows.height)
    code = screen.rows["perturbation"].cast(pl.Categorical).to_physical().cast(pl.Int64).to_numpy()
    code = np.where(screen.is_control(), -1, code)
    ranked = replicate_precision(
        fitted.apply(values, moments.labels.batch), code, batch=moments.labels.batch, against="others"
    )
    queries = code >= 0
    by_compound = pl.DataFrame({"code": code, "score": ranked.average_precision}).filter(queries).group_by("code")
    # Listed to about .015: what was done to outliers is not stated.
    assert by_compound.mean()["score"].mean() == pytest.approx(listed, abs=0.02)
    assert ranked.chance[queries].mean() < 0.02

    activity = measure_activity(screen, "cellprofiler", alignment="center-scale", moments=moments)
    (confound,) = activity.position
    assert confound.share_fixed > 0.9
    assert confound.chance == pytest.approx(chance, abs=0.002)
    assert confound.p == pytest.approx(1 / 1000)
    if len(plates_used) == 4:
        assert confound.score == pytest.approx(0.192, abs=0.001)
        assert confound.chance == pytest.approx(0.041, abs=0.001)
    assert len(activity.active()) > 0.8 * activity.table.height


@pytest.mark.parametrize(("line", "has_signal"), [("k562", True), ("A172", False), ("T98G", False), ("U87MG", False)])
def test_the_line_with_signal_is_told_from_those_without(field, line, has_signal):
    import anndata

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cells = anndata.read_h5ad(field / "perturbench" / "devel.h5ad")
    cells = cells[cells.obs["cell_type"] == line].copy()
    screen = Screen.from_anndata(cells, perturbation="perturbation", control=("control",), replicates=True)
    activity = measure_activity(screen, "X", alignment="center-scale")
    share = len(activity.active()) / activity.table.height
    assert share > 0.4 if has_signal else share < 0.12
