"""What stands below a verdict: the budget, the checks, the grid, and power before the screen."""

import threading
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import toys
import verdicts
from builders import map_of
from verdicts import VIEW

from explorer import judge_details
from explorer.card import CARD_FILE
from explorer.catalog import open_catalog, shared_map, shared_screen
from explorer.errors import InputError
from explorer.hits import top_pairs
from explorer.judge_details import (
    POWER_CONTROLS,
    POWER_LIMITS,
    disagreements,
    found_budget,
    found_checks,
    grid_of,
    positions,
    reliability_frame,
    replicate_table,
    start_budget,
    start_checks,
    start_power,
    technical_frame,
)
from explorer.relationships import GeneSets, Relationships
from explorer.screen import Screen
from explorer.work import Workshop


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return open_catalog(verdicts.write_catalog(tmp_path_factory.mktemp("details")))


@pytest.fixture(autouse=True)
def _own_workshop(monkeypatch):
    monkeypatch.setattr(judge_details, "shared_workshop", Workshop())


def made(ticket):
    assert ticket.wait(60)
    assert ticket.state == "done", ticket.problem
    return ticket.result


# ---------------------------------------------------------------- the budget


def test_budget(catalog):
    assert found_budget(catalog, VIEW) is None
    found = made(start_budget(catalog, replace(VIEW, budget=42)))
    assert found_budget(catalog, replace(VIEW, budget=42)) is found
    assert found_budget(catalog, VIEW) is None
    curve = found.curve
    assert 42 in curve["budget"].to_list()
    assert curve["budget"].max() <= 110 * 109 // 2
    assert (curve["learned"] <= curve["budget"]).all()
    assert curve["learned"].is_sorted()
    assert set(found.pairs["listed by"]) <= {"raw", "latent"}


def test_disagreements_are_the_pairs_of_one_list_only():
    rng = np.random.default_rng(0)
    names = [f"P{number}" for number in range(12)]
    simple = map_of(rng.normal(size=(12, 4)), names, representation="raw")
    learned = map_of(rng.normal(size=(12, 4)), names, representation="latent")
    known = Relationships.from_pairs("Pairs", names[:6], names[6:])
    table = disagreements(simple, learned, [known], budget=10)
    lists = {}
    for side in (simple, learned):
        first, second = top_pairs(side, 10).rows(10)
        lists[side.recipe.representation] = {
            (side.names[one], side.names[other]) for one, other in zip(first, second, strict=True)
        }
    for name, other in (("raw", "latent"), ("latent", "raw")):
        listed = table.filter(pl.col("listed by") == name)
        found = set(listed.select("perturbation", "partner").rows())
        assert found == lists[name] - lists[other]
    assert table["listed by"].to_list() == sorted(table["listed by"].to_list(), key="latent raw".index)
    for row in table.iter_rows(named=True):
        assert row["known in"] == ("Pairs" if row["partner"] in known.of(row["perturbation"]) else "")
        one, other = (simple.position(row[key]) for key in ("perturbation", "partner"))
        unit = simple.profiles / np.linalg.norm(simple.profiles, axis=1)[:, None]
        assert row["cosine, simple"] == pytest.approx(unit[one] @ unit[other], abs=1e-6)
    assert disagreements(simple, simple, [known], budget=10).height == 0


def test_a_pair_without_a_cosine():
    values = np.random.default_rng(1).normal(size=(6, 3))
    silent = values.copy()
    silent[0] = 0
    table = disagreements(map_of(values), map_of(silent, representation="latent"), [], budget=10)
    own = table.filter((pl.col("perturbation") == "P0000") | (pl.col("partner") == "P0000"))
    assert own["cosine, learned"].null_count() == own.height > 0


# ---------------------------------------------------------------- the checks


@pytest.fixture(scope="module")
def checks(catalog):
    return made(start_checks(catalog, VIEW))


def test_checks(checks):
    assert checks.strata["source"].unique().to_list() == ["Pairs"]
    assert set(checks.reliability) == {"simple", "learned"}
    assert set(checks.ceiling) == {"simple", "learned"}
    assert 0 < checks.ceiling["learned"].chance < checks.ceiling["learned"].recall <= 1
    assert set(checks.fdr) == {"simple", "learned"}
    assert checks.replicates["measure"].to_list()[0] == "replicate consistency"
    assert checks.proximity == {}
    assert checks.exchange.reason is None
    assert reliability_frame(checks).columns[0] == "side"
    assert technical_frame(checks).columns == ["side", "level", "threshold", "n_pairs"]


def test_checks_are_kept(catalog):
    assert found_checks(catalog, VIEW) is None
    found = made(start_checks(catalog, VIEW))
    assert found_checks(catalog, replace(VIEW, budget=30)) is found, "the budget decides none of them"


def test_what_can_not_be_had_is_said_and_the_rest_is_had(tmp_path):
    root = verdicts.write_catalog(tmp_path, guides=False, controls=False)
    found = made(start_checks(open_catalog(root), VIEW))
    assert found.ceiling == {}
    assert found.silences["replicate halves of raw"] == "there are no replicates to divide"
    assert found.reliability
    assert all(noise.reason for noise in found.fdr.values())
    assert technical_frame(found).height == 0


def test_positions(tmp_path):
    root = verdicts.write_catalog(tmp_path)
    rows = root / "toy" / "rows_alpha.parquet"
    table = pl.read_parquet(rows)
    arm = pl.Series("arm", [f"{len(name) + ord(name[-1]) % 3}p" for name in table["gene"]])
    table.with_columns(arm).write_parquet(rows)
    card = root / "toy" / CARD_FILE
    card.write_text(card.read_text().replace('guide = "guide"', 'guide = "guide"\ngroup = ["plate", "arm"]'))
    other = root / "toy" / "rows_beta.parquet"
    pl.read_parquet(other).with_columns(pl.lit("1p").alias("arm")).write_parquet(other)
    catalog = open_catalog(root)
    dataset = catalog.dataset("toy")
    found = positions(shared_screen(dataset, "alpha"), shared_map(dataset, "alpha", "raw"))
    assert set(found) == set(verdicts.NAMES)
    assert len(set(found.values())) == 3, "the arm, not the plate, which differs within a perturbation"
    assert positions(shared_screen(dataset, "beta"), shared_map(dataset, "beta", "raw")) is None, "all are alike"
    found = made(start_checks(catalog, VIEW))
    assert "position" in found.strata["stratum kind"].to_list()
    assert set(found.proximity) == {"simple", "learned"}


def test_without_a_declared_position():
    screen = Screen.from_arrays(list(toys.NAMES), {"raw": np.eye(30)})
    assert positions(screen, map_of(np.eye(30), toys.NAMES)) is None


def test_sets_know_the_pairs_within_them():
    rng = np.random.default_rng(0)
    names = [f"P{number}" for number in range(12)]
    simple, learned = (map_of(rng.normal(size=(12, 4)), names, representation=name) for name in ("raw", "latent"))
    sets = GeneSets("Sets", {"first": tuple(names[:4]), "second": tuple(names[3:6])})
    table = disagreements(simple, learned, [sets], budget=20)
    within = [set(own) for own in sets.sets.values()]
    known = [
        any({one, other} <= own for own in within) for one, other in table.select("perturbation", "partner").rows()
    ]
    assert [text == "Sets" for text in table["known in"]] == known
    assert any(known)
    assert not all(known)


def test_gene_sets_below_the_verdict(catalog):
    view = replace(VIEW, sources=("Pairs", "Sets"))
    assert set(made(start_budget(catalog, view)).pairs["known in"]) <= {"", "Pairs", "Sets", "Pairs, Sets"}
    checks = made(start_checks(catalog, replace(VIEW, sources=("Sets",))))
    assert checks.strata is not None
    assert not checks.has_controls_in_map
    shown = replicate_table(replace(checks, replicates=pl.DataFrame({"simple": [0.0, 0.1], "learned": [0.0, 0.0]})))
    assert shown.rows() == [(0.1, 0.0)]
    assert replicate_table(replace(checks, replicates=None)).height == 0


# ---------------------------------------------------------------- the grid


def test_grid_is_begun_only_when_asked_for(catalog):
    assert grid_of(catalog, VIEW, begin=False) is None
    found = made(grid_of(catalog, VIEW, begin=True))
    assert grid_of(catalog, VIEW, begin=False).result is found
    assert grid_of(catalog, replace(VIEW, learned="latent-seed-1"), begin=False).result is found, "it holds all of them"
    assert grid_of(catalog, replace(VIEW, k=3), begin=False) is None
    assert set(found["representation"]) == {"raw", "latent", "latent-seed-1"}


def test_grid_can_be_cancelled(catalog, monkeypatch):
    begun, stopped = threading.Event(), threading.Event()

    def slow(*_, progress, **options):
        try:
            while True:
                begun.set()
                progress("step", 0.5)
        finally:
            stopped.set()

    monkeypatch.setattr(judge_details, "shared_grid", slow)
    ticket = grid_of(catalog, VIEW, begin=True)
    assert begun.wait(60)
    ticket.cancel()
    assert stopped.wait(60)
    assert ticket.problem == "cancelled"
    assert grid_of(catalog, VIEW, begin=False) is None


# ---------------------------------------------------------------- power


ASKED = {name: value for name, (_, value) in POWER_CONTROLS.items()}


def test_power_asks_for_the_design(monkeypatch):
    asked = {}

    def judge_power(design, *, advantage, seed, progress):
        asked.update(design=design, advantage=advantage)
        return "found"

    monkeypatch.setattr(judge_details, "judge_power", judge_power)
    assert made(start_power(**{**ASKED, "guides": 3.0, "advantage": 15})) == "found"
    assert asked["design"].strength == 0.4
    assert (asked["design"].perturbations, asked["design"].guides, asked["design"].cells) == (200, 3, 5.0)
    assert asked["advantage"] == 0.15


@pytest.mark.parametrize("name", POWER_LIMITS)
@pytest.mark.parametrize("value", [None, "3", True, 0, 10**9, 1.5, float("nan"), float("inf"), [1]])
def test_power_refuses_what_was_not_on_offer(name, value):
    with pytest.raises(InputError, match=f"{name} = .* can't be used: choose a whole number from"):
        start_power(**{**ASKED, name: value})


def test_power_refuses_what_takes_too_long():
    with pytest.raises(InputError, match=r"a screen of 300,000 cells takes too long"):
        start_power(**{**ASKED, "perturbations": 1000, "guides": 6, "cells": 50, "batches": 1})


def test_power_controls_are_within_their_limits():
    assert set(POWER_CONTROLS) == set(POWER_LIMITS)
    for name, (_, value) in POWER_CONTROLS.items():
        low, high = POWER_LIMITS[name]
        assert low <= value <= high
