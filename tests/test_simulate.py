"""Simulated screens: what was planted is there, as strong as asked for, and nothing else is."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.aggregate import build_map
from explorer.errors import InputError
from explorer.simulate import CONTROL, ScreenDesign, simulate_screen

# As shipped but for fewer genes and perturbations, so that it takes a tenth of a second.
SMALL = ScreenDesign(
    perturbations=48, modules=8, super_modules=4, stress_only=6, genes=400, depth=400.0, cells=8.0, program=0.15
)
# What is left when nothing differs between genes' batches, contexts and cells but counting.
PLAIN = replace(SMALL.without_effects(), batch_sd=0.0, context_sd=0.0, depth_sd=0.0, guides=1, perturbations=3)


def cosines(made) -> dict[tuple[str, str], float]:
    unit = made.profiles / made.norms[:, None]
    every = unit @ unit.T
    return {(made.names[i], made.names[j]): float(every[i, j]) for i, j in combinations(range(len(made.names)), 2)}


def mean_of(found, pairs) -> float:
    return float(np.mean([found[pair] for pair in pairs]))


def effect_cosines(simulated) -> dict[tuple[str, str], float]:
    norms = np.linalg.norm(simulated.effects, axis=1)
    with np.errstate(invalid="ignore"):
        every = simulated.effects @ simulated.effects.T / np.outer(norms, norms)
    names = simulated.design.names
    return {(names[i], names[j]): float(every[i, j]) for i, j in combinations(range(len(names)), 2)}


@pytest.fixture(scope="module")
def small():
    return {context: simulate_screen(SMALL, context=context) for context in SMALL.contexts}


@pytest.fixture(scope="module")
def maps(small):
    return {
        context: build_map(simulated.to_screen(), "pseudobulk", alignment="center")
        for context, simulated in small.items()
    }


# What is made


def test_shapes_and_names(small):
    simulated = small["line_A"]
    assert simulated.counts.shape == (simulated.cells.height, SMALL.genes)
    assert simulated.counts.dtype == np.int32
    assert simulated.counts.format == "csr"
    assert simulated.counts.min() == 0
    assert simulated.effects.shape == (48, 400)
    assert simulated.batch_effects.shape == (3, 400)
    assert simulated.cells.columns == ["cell", "perturbation", "guide", "batch", "escaped"]
    assert simulated.cells["cell"].is_unique().all()
    assert simulated.truth["perturbation"].to_list() == list(SMALL.names) == sorted(SMALL.names)
    assert set(simulated.cells["perturbation"]) == {*SMALL.names, CONTROL}


def test_every_guide_has_cells_in_every_batch_and_one_perturbation(small):
    cells = small["line_A"].cells
    perturbed = cells.filter(pl.col("perturbation") != CONTROL)
    layout = perturbed.group_by("guide").agg(pl.col("perturbation").n_unique(), pl.col("batch").n_unique())
    assert layout.height == 48 * 2
    assert layout["perturbation"].unique().to_list() == [1]
    assert layout["batch"].unique().to_list() == [3]
    assert cells.filter(pl.col("perturbation") == CONTROL)["guide"].n_unique() == 16
    # The mean of 8 cells is known to .09 here.
    assert cells.height / ((96 + 16) * 3) == pytest.approx(8, abs=0.4)


def test_the_default_design_is_the_one_that_is_shipped():
    design = ScreenDesign()
    assert (design.perturbations, design.guides, design.batches, design.cells) == (120, 2, 3, 5)
    assert (design.strength, design.stress, design.batch_sd) == (0.8, 0.4, 0.5)
    assert (design.depth, design.theta, design.escape, design.control_guides) == (500, 4, 0.35, 16)
    assert design.modules >= 20
    assert design.inactive == 16


def test_names_tell_nothing_of_the_truth():
    truth = simulate_screen(replace(SMALL, genes=20, cells=1)).truth
    order = truth["module"].drop_nulls().rank("dense").to_numpy().astype(float)
    assert abs(np.corrcoef(np.arange(len(order)), order)[0, 1]) < 0.5


# The truth


def test_numbers_of_what_is_planted(small):
    truth = small["line_A"].truth
    assert truth["module"].value_counts().drop_nulls()["count"].to_list() == [4] * 8
    assert truth.drop_nulls("module").group_by("module").agg(pl.col("super_module").n_unique())[
        "super_module"
    ].unique().to_list() == [1]
    assert truth["super_module"].drop_nulls().n_unique() == 4
    alone = truth.filter(pl.col("module").is_null())
    assert (alone["stress"] > 0).sum() == 6
    assert (alone["stress"] == 0).sum() == SMALL.inactive == 10


def test_contexts_share_the_truth_but_for_one_module(small):
    tables = [simulated.truth.drop("active") for simulated in small.values()]
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])
    local = tables[0].filter(pl.col("only_in").is_not_null())
    assert local["module"].unique().to_list() == ["module 08"]
    assert local["only_in"].unique().to_list() == ["line_B"]
    one, other = small["line_A"], small["line_B"]
    pairs = {*combinations(local["perturbation"].to_list(), 2)}
    assert pairs <= set(other.true_pairs)
    assert not pairs & set(one.true_pairs)
    silent = tables[0].select(pl.col("only_in").eq("line_B").fill_null(value=False)).to_series().to_numpy()
    np.testing.assert_array_equal(one.effects[~silent], other.effects[~silent])
    assert not np.array_equal(one.effects[silent], other.effects[silent])


@pytest.mark.parametrize("context", SMALL.contexts)
def test_active_is_what_has_an_effect(small, context):
    simulated = small[context]
    moved = np.abs(simulated.effects).sum(axis=1) > 0
    assert simulated.truth["active"].to_list() == moved.tolist()
    assert set(simulated.inactive) == {name for name, moves in zip(SMALL.names, moved, strict=True) if not moves}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), modules=st.integers(1, 6), members=st.integers(2, 4), stress=st.integers(0, 4))
def test_pairs_in_a_loop(seed, modules, members, stress):
    design = replace(
        SMALL, seed=seed, modules=modules, members=members, stress_only=stress, super_modules=(modules + 1) // 2,
        genes=20, cells=1, control_guides=1,
    )  # fmt: skip
    simulated = simulate_screen(design, context="line_C")
    lines = simulated.truth.rows(named=True)
    true, related, stressed = [], [], []
    for one, other in combinations(lines, 2):
        pair = (one["perturbation"], other["perturbation"])
        acting = one["only_in"] in (None, "line_C") and other["only_in"] in (None, "line_C")
        if acting and one["module"] is not None and one["module"] == other["module"]:
            true.append(pair)
        elif acting and one["super_module"] is not None and one["super_module"] == other["super_module"]:
            related.append(pair)
        elif one["stress"] > 0 and other["stress"] > 0:
            stressed.append(pair)
    assert list(simulated.true_pairs) == sorted(true)
    assert list(simulated.related_pairs) == sorted(related)
    assert list(simulated.stress_pairs) == sorted(stressed)


def test_effects_are_as_strong_and_as_hierarchical_as_asked():
    design = replace(ScreenDesign(), genes=4000, stress_share=0.0, control_guides=1, cells=1, guides=1, batches=1)
    simulated = simulate_screen(replace(design, stress_only=0), context="line_B")
    lengths = np.linalg.norm(simulated.effects[simulated.truth["active"].to_numpy()], axis=1)
    # Root mean square 1 on 8.5 % of the genes, strength .8, potency .7 to 1.3.
    assert lengths.mean() == pytest.approx(0.8 * np.sqrt(0.085 * 4000), rel=0.05)
    found = effect_cosines(simulated)
    assert mean_of(found, simulated.true_pairs) == pytest.approx(1, abs=1e-9)
    assert mean_of(found, simulated.related_pairs) == pytest.approx(0.3, abs=0.05)


def test_the_stress_axis_is_one_direction(small):
    simulated = small["line_A"]
    only = simulated.truth["module"].is_null().to_numpy() & (simulated.truth["stress"] > 0).to_numpy()
    axes = simulated.effects[only] / simulated.truth["stress"].to_numpy()[only, None]
    np.testing.assert_allclose(axes, np.broadcast_to(axes[0], axes.shape))
    assert np.sqrt((axes[0] ** 2).mean()) == pytest.approx(SMALL.stress * np.sqrt(SMALL.stress_program))


# Hubs and places


def test_general_and_specific_pairs(small):
    for context, simulated in small.items():
        assert sorted({*simulated.general_pairs, *simulated.specific_pairs}) == list(simulated.true_pairs)
        assert len(simulated.general_pairs) == 7 * 6
        assert len(simulated.specific_pairs) == (6 if context == "line_B" else 0)
    assert small["line_A"].general_pairs == small["line_B"].general_pairs


def test_hubs_and_places_leave_all_else_as_it_was(small):
    plain = small["line_B"]
    assert plain.hubs == plain.position_pairs == ()
    assert plain.position_effects.shape == (0, 400)
    assert plain.to_screen().roles.group == ()
    placed = simulate_screen(replace(SMALL, positions=6, position_sd=0.0), context="line_B")
    assert placed.cells.drop("position").equals(plain.cells)
    assert (placed.counts != plain.counts).nnz == 0
    hubs = simulate_screen(replace(SMALL, hubs=4, hub=0.0, hub_spread=0.0), context="line_B")
    assert hubs.cells.equals(plain.cells)
    assert (hubs.counts != plain.counts).nnz == 0
    assert hubs.truth.drop("active").equals(plain.truth.drop("active"))


def test_hubs_are_near_many_in_every_context_and_others_each_time():
    design = replace(SMALL, hubs=4, batch_sd=0.0, stress=0.0, escape=0.0, cells=20.0)
    one, other = (simulate_screen(design, context=context) for context in ("line_A", "line_C"))
    assert one.hubs == other.hubs
    assert len(one.hubs) == 4
    assert not set(one.hubs) & set(one.inactive)
    assert len(one.inactive) == len(small_inactive(design)) - 4
    hub = np.isin(SMALL.names, one.hubs)
    near = []
    for simulated in (one, other):
        made = build_map(simulated.to_screen(), "pseudobulk", alignment="center")
        unit = made.profiles / made.norms[:, None]
        every = unit @ unit.T
        np.fill_diagonal(every, -2)
        near.append(np.argsort(-every, axis=1)[:, :5])
        in_degree = np.bincount(near[-1].ravel(), minlength=48)
        assert in_degree[hub].mean() > 2 * in_degree[~hub].mean()
    programs = [simulated.effects[hub] for simulated in (one, other)]
    np.testing.assert_allclose(programs[0][0], programs[0][1])
    assert abs(np.corrcoef(programs[0][0], programs[1][0])[0, 1]) < 0.2


def small_inactive(design):
    return simulate_screen(replace(design, hubs=0), context="line_A").inactive


def test_places_are_shared_and_add_something():
    design = replace(SMALL, positions=6, position_sd=0.3)
    one, other = (simulate_screen(design, context=context, seed=2) for context in ("line_A", "line_C"))
    lay = [
        simulated.cells.filter(pl.col("perturbation") != CONTROL).group_by("perturbation")
        .agg(pl.col("position").unique()).sort("perturbation") for simulated in (one, other)
    ]  # fmt: skip
    assert lay[0].equals(lay[1])
    assert lay[0]["position"].list.len().unique().to_list() == [1]
    assert lay[0].explode("position")["position"].value_counts()["count"].to_list() == [8] * 6
    assert one.cells.filter(pl.col("perturbation") == CONTROL)["position"].n_unique() == 6
    assert one.to_screen().roles.group == ("position",)
    assert one.position_effects.shape == (6, 400)
    assert one.position_effects.std() == pytest.approx(0.3, rel=0.1)
    assert abs(np.corrcoef(one.position_effects.ravel(), other.position_effects.ravel())[0, 1]) < 0.1
    assert one.position_pairs == other.position_pairs
    found = cosines(build_map(one.to_screen(), "pseudobulk", alignment="center"))
    neither = set(found) - {*one.true_pairs, *one.related_pairs, *one.stress_pairs, *one.position_pairs}
    assert mean_of(found, one.position_pairs) > mean_of(found, neither) + 0.1


# What a map of the counts finds


@pytest.mark.parametrize("context", SMALL.contexts)
def test_modules_are_found(small, maps, context):
    simulated, found = small[context], cosines(maps[context])
    high = np.quantile(list(found.values()), 0.95)
    recall = np.mean([found[pair] >= high for pair in simulated.true_pairs])
    assert recall > 0.4
    assert mean_of(found, simulated.true_pairs) > mean_of(found, simulated.related_pairs) + 0.1


def test_shuffled_truth_is_found_by_chance(small, maps):
    found = cosines(maps["line_A"])
    high = np.quantile(list(found.values()), 0.95)
    names, rng, recalls = list(SMALL.names), np.random.default_rng(0), []
    for _ in range(50):
        other = dict(zip(names, rng.permutation(names), strict=True))
        pairs = [tuple(sorted((other[a], other[b]))) for a, b in small["line_A"].true_pairs]
        recalls.append(np.mean([found[pair] >= high for pair in pairs]))
    assert np.mean(recalls) == pytest.approx(0.05, abs=0.02)


def test_inactive_perturbations_have_short_profiles_that_resemble_nothing(small, maps):
    made, simulated = maps["line_A"], small["line_A"]
    inactive = np.isin(made.names, simulated.inactive)
    assert made.norms[inactive].mean() < 0.85 * made.norms[~inactive].mean()
    found = cosines(made)
    idle = [pair for pair in found if set(pair) <= set(simulated.inactive)]
    high = np.quantile(list(found.values()), 0.95)
    # The mean of the controls is in every profile, so cosines are not about 0, but few are high.
    assert np.mean([found[pair] >= high for pair in idle]) < 0.1


def test_the_stress_axis_misleads(small, maps):
    found, simulated = cosines(maps["line_A"]), small["line_A"]
    neither = set(found) - {*simulated.true_pairs, *simulated.related_pairs, *simulated.stress_pairs}
    assert mean_of(found, simulated.stress_pairs) > mean_of(found, neither) + 0.08


def test_the_local_module_is_found_in_its_context_only(small, maps):
    local = small["line_A"].truth.filter(pl.col("only_in").is_not_null())["perturbation"].to_list()
    pairs = [*combinations(local, 2)]
    here = mean_of(cosines(maps["line_B"]), pairs)
    elsewhere = [mean_of(cosines(maps[context]), pairs) for context in ("line_A", "line_C")]
    assert here > 0.15
    # Members that carry stress resemble each other a little wherever they are.
    assert here > max(elsewhere) + 0.1


def test_batches_differ_until_they_are_centred(small):
    screen = small["line_A"].to_screen()
    values = screen.representation("pseudobulk").source.read(0, screen.rows.height).astype(float)
    batch, control = screen.rows["batch"].to_numpy(), screen.is_control()
    batches = np.unique(batch)
    center = {name: values[(batch == name) & control].mean(axis=0) for name in batches}
    perturbed = {name: values[(batch == name) & ~control].mean(axis=0) for name in batches}
    one, other = batches[:2]
    before = np.linalg.norm(perturbed[one] - perturbed[other])
    after = np.linalg.norm((perturbed[one] - center[one]) - (perturbed[other] - center[other]))
    assert after < 0.4 * before
    # The shift that is there is the one that was planted, up to the common factor of a batch.
    planted = small["line_A"].batch_effects
    shift = np.log(values[batch == one].mean(axis=0)) - np.log(values[batch == other].mean(axis=0))
    assert np.corrcoef(shift, planted[0] - planted[1])[0, 1] > 0.8


def test_without_effects_nothing_is_planted():
    simulated = simulate_screen(SMALL.without_effects())
    assert not simulated.effects.any()
    assert not simulated.truth["active"].any()
    assert simulated.true_pairs == simulated.related_pairs == simulated.stress_pairs == ()
    assert simulated.inactive == SMALL.names
    # It measures as before.
    assert simulated.design.batch_sd == SMALL.batch_sd
    made = build_map(simulated.to_screen(), "pseudobulk", alignment="center")
    # Controls' mean is in every profile, so cosines are not about 0 but have no structure.
    found = np.array(list(cosines(made).values()))
    assert found.std() < 0.15


# The counts


def many_cells(**changes):
    design = replace(PLAIN, **{"cells": 1500.0, "batches": 1, "genes": 40, "control_guides": 0, **changes})
    return simulate_screen(design)


@pytest.mark.parametrize("theta", [0.5, 4.0, 50.0])
def test_counts_have_the_dispersion_asked_for(theta):
    counts = many_cells(theta=theta, depth=400.0).counts.toarray().astype(float)
    mean, variance = counts.mean(axis=0), counts.var(axis=0, ddof=1)
    excess = (variance - mean).sum() / (mean**2).sum()
    assert excess == pytest.approx(1 / theta, rel=0.15, abs=0.003)


@pytest.mark.parametrize("depth", [50.0, 500.0])
def test_counts_have_the_depth_asked_for(depth):
    counts = many_cells(depth=depth).counts
    assert counts.sum(axis=1).mean() == pytest.approx(depth, rel=0.02)
    varied = many_cells(depth=depth, depth_sd=0.5).counts
    # The mean of a log-normal lies above its median.
    assert varied.sum(axis=1).mean() == pytest.approx(depth * np.exp(0.5**2 / 2), rel=0.05)


def test_escaped_cells_are_as_many_as_asked_and_look_like_controls():
    design = replace(SMALL, escape=0.35)
    simulated = simulate_screen(design)
    cells = simulated.cells
    perturbed = cells.filter(pl.col("perturbation") != CONTROL)
    assert perturbed["escaped"].mean() == pytest.approx(0.35, abs=0.03)
    assert not cells.filter(pl.col("perturbation") == CONTROL)["escaped"].any()
    values = simulated.to_screen().representation("pseudobulk").source.read(0, cells.height)
    strongest = int(np.argmax(np.abs(simulated.effects).sum(axis=1)))
    direction = simulated.effects[strongest]
    score = values @ direction
    of_it = (cells["perturbation"] == SMALL.names[strongest]).to_numpy()
    escaped = cells["escaped"].to_numpy()
    control = (cells["perturbation"] == CONTROL).to_numpy()
    gap = score[of_it & ~escaped].mean() - score[control].mean()
    assert gap > 3 * abs(score[of_it & escaped].mean() - score[control].mean())


def test_everything_escapes():
    working = simulate_screen(replace(SMALL, escape=1.0, genes=50))
    assert working.cells.filter(pl.col("perturbation") != CONTROL)["escaped"].all()


# Seeds


def test_equal_arguments_give_equal_screens(small):
    again = simulate_screen(SMALL, context="line_B")
    assert (again.counts != small["line_B"].counts).nnz == 0
    assert again.cells.equals(small["line_B"].cells)
    assert again.truth.equals(small["line_B"].truth)


def test_the_first_context_is_the_default(small):
    assert simulate_screen(SMALL).context == "line_A"
    assert (simulate_screen(SMALL).counts != small["line_A"].counts).nnz == 0


def test_another_seed_of_the_cells_keeps_the_truth(small):
    other = simulate_screen(SMALL, context="line_A", seed=1)
    assert other.truth.equals(small["line_A"].truth)
    np.testing.assert_array_equal(other.effects, small["line_A"].effects)
    assert not np.array_equal(other.batch_effects, small["line_A"].batch_effects)
    assert not other.cells.equals(small["line_A"].cells)


def test_another_seed_of_the_design_has_another_truth(small):
    other = simulate_screen(replace(SMALL, seed=1))
    assert not other.truth.equals(small["line_A"].truth)
    assert other.true_pairs != small["line_A"].true_pairs


def test_more_cells_and_batches_leave_the_truth_as_it_is(small):
    wider = simulate_screen(replace(SMALL, cells=2.0, batches=2, control_guides=3, depth=100.0, theta=1.0))
    assert wider.truth.equals(small["line_A"].truth)
    np.testing.assert_array_equal(wider.effects, small["line_A"].effects)


# Screens


def test_a_simulated_screen_is_a_screen(small):
    screen = small["line_C"].to_screen()
    assert screen.context.name == "line_C"
    assert list(screen.representations) == ["counts", "pseudobulk"]
    assert screen.is_control().sum() == (small["line_C"].cells["perturbation"] == CONTROL).sum()
    counts = screen.representation("counts").source.read(5, 9)
    np.testing.assert_array_equal(counts, small["line_C"].counts[5:9].toarray())
    made = build_map(screen, "counts")
    assert made.names == SMALL.names
    assert made.table["n_guides"].unique().to_list() == [2]
    assert made.table["n_batches"].unique().to_list() == [3]


def test_a_screen_without_controls():
    simulated = simulate_screen(replace(SMALL, control_guides=0, genes=30, cells=1))
    screen = simulated.to_screen()
    assert not screen.is_control().any()
    assert build_map(screen, "counts").n_perturbations == 48


# Impossible designs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"perturbations": 100}, "24 modules of 4 and 8 on the stress axis alone need 104 perturbations, the design"),
        ({"perturbations": 2, "modules": 0, "stress_only": 0}, "perturbations is 2, expected 3 or more"),
        ({"guides": 0}, "guides is 0, expected 1 or more"),
        ({"batches": 0}, "batches is 0, expected 1 or more"),
        ({"cells": 0.5}, "cells is 0.5, expected 1 or more"),
        ({"cells": float("nan")}, "cells is nan, expected 1 or more"),
        ({"members": 1}, "members is 1, expected 2 or more"),
        ({"control_guides": -1}, "control_guides is -1, expected 0 or more"),
        ({"escape": 1.2}, "escape is 1.2, expected a share from 0 to 1"),
        ({"hierarchy": -0.1}, "hierarchy is -0.1, expected a share from 0 to 1"),
        ({"strength": -1.0}, "strength is -1.0, expected a finite number, 0 or more"),
        ({"batch_sd": float("inf")}, "batch_sd is inf, expected a finite number, 0 or more"),
        ({"theta": 0.0}, "theta is 0.0, expected a finite number above 0"),
        ({"depth": float("nan")}, "depth is nan, expected a finite number above 0"),
        ({"contexts": ()}, "contexts are empty: give at least one"),
        ({"contexts": ("a", "a")}, "contexts are 'a', 'a': give at least one, each once"),
        ({"super_modules": 0}, "super_modules is 0, expected 1 to 24"),
        ({"super_modules": 25}, "super_modules is 25, expected 1 to 24"),
        ({"context_modules": 25}, "context_modules is 25, expected at most 24"),
        ({"seed": -1}, "seed is -1, expected 0 or more"),
    ],
)
def test_impossible_designs(changes, message):
    with pytest.raises(InputError, match=message):
        ScreenDesign(**changes)


def test_unknown_context_and_seed():
    with pytest.raises(InputError, match="unknown context 'line_D': did you mean"):
        simulate_screen(SMALL, context="line_D")
    with pytest.raises(InputError, match="seed is -1, expected 0 or more"):
        simulate_screen(SMALL, seed=-1)


@pytest.mark.parametrize(
    "changes",
    [{"program": 0.0}, {"stress_program": 0.0}, {"strength": 0.0}, {"contexts": ("only",)}, {"context_modules": 8}],
)
def test_designs_at_the_edge(changes):
    simulated = simulate_screen(replace(SMALL, genes=40, cells=1, **changes))
    assert np.isfinite(simulated.effects).all()
    assert simulated.counts.sum() > 0
