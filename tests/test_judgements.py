"""Judgements of datasets on offer: the numbers of the library, made once, kept on disk, and cancelled on demand."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import toys

from explorer import judgements
from explorer.align import METHODS
from explorer.catalog import shared_knowledge, shared_map, shared_screen
from explorer.errors import InputError
from explorer.hits import pool_pairs
from explorer.judgements import (
    default_alignment,
    digest_of,
    own_sources,
    remember,
    shared_curve,
    shared_grid,
    shared_judgement,
)
from explorer.keeping import Shared
from explorer.known import known_pairs, pool_units
from explorer.load import load_dataset
from explorer.partners import chance_recall, partner_recall
from explorer.placebos import make_placebos
from explorer.relate import neighborhoods
from explorer.relationships import GeneSets, Relationships
from explorer.verdict import compare_hits, judge

NAMES = tuple(f"GENE{number:03}" for number in range(110))
SIDES = {"simple": "raw", "learned": "latent", "alignment": "center"}
PCA = {"kind": "simple", "source": "X", "transform": "pca", "components": 4}
NOISE = {"kind": "placebo", "source": "latent-seed-1_{context}.parquet"}


def forget(monkeypatch):
    """Do as a new process does."""
    for name in ("_remembered", "_digests"):
        monkeypatch.setattr(judgements, name, Shared(judgements.MOST_REMEMBERED))


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch):
    forget(monkeypatch)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    changes = {"representations/pca": PCA, "representations/noise": NOISE, "representations/latent/of": "pca"}
    return toys.write_catalog(tmp_path_factory.mktemp("catalog"), changes, names=NAMES)


@pytest.fixture
def dataset(catalog):
    return load_dataset(catalog / "toy")


def as_text(judgement):
    return json.dumps(judgement.to_json())


def test_the_numbers_are_those_of_the_library(dataset):
    found = shared_judgement(dataset, "alpha", **SIDES, seed=3)
    maps = {name: shared_map(dataset, "alpha", name, alignment="center") for name in dataset.card.representations}
    placebos = make_placebos(shared_screen(dataset, "alpha"), maps["raw"], maps["latent"], inputs=["pca"], seed=3)
    expected = judge(
        maps["raw"],
        maps["latent"],
        shared_knowledge(dataset).relationships,
        placebos={"noise": maps["noise"], **placebos},
        rivals={"pca": maps["pca"]},
        seeds={"latent-seed-1": maps["latent-seed-1"]},
        seed=3,
    )
    assert as_text(found) == as_text(expected)
    assert found.units.equals(expected.units)
    assert "random projection of pca" in {placebo.name for placebo in found.placebos}
    assert [rival.name for rival in found.rivals] == ["pca"]
    assert [seed.name for seed in found.seeds] == ["latent-seed-1"]


def test_a_new_process_takes_it_from_disk_to_the_digit(dataset, monkeypatch):
    first = shared_judgement(dataset, "alpha", **SIDES)
    assert shared_judgement(dataset, "alpha", **SIDES) is first
    forget(monkeypatch)
    monkeypatch.setattr(judgements, "judge", lambda *_, **__: pytest.fail("judged again"))
    again = shared_judgement(dataset, "alpha", **SIDES)
    assert again is not first
    assert as_text(again) == as_text(first)
    assert again.units.equals(first.units)
    assert type(again.primary) is type(first.primary)


@pytest.mark.parametrize(
    "change",
    [
        {"k": 5},
        {"budget": 50},
        {"seed": 1},
        {"alignment": "none"},
        {"learned": "latent-seed-1"},
        {"simple": "pca"},
        {"sources": ("Sets",)},
        {"sources": ("Pairs", "Sets")},
        {"relationships": (GeneSets("mine", {"one": NAMES[:30], "two": NAMES[20:40]}),)},
    ],
    ids=str,
)
def test_whatever_decides_it_is_part_of_the_key(dataset, change):
    first = shared_judgement(dataset, "alpha", **SIDES)
    other = shared_judgement(dataset, "alpha", **{**SIDES, **change})
    assert other is not first
    assert as_text(other) != as_text(first)


def test_a_change_of_options_reuses_what_takes_long(dataset, monkeypatch):
    calls = []

    def counted(made, *, k):
        calls.append(made.recipe.representation)
        return neighborhoods(made, k=k)

    counted.__name__ = "neighborhoods"
    monkeypatch.setattr(judgements, "neighborhoods", counted)
    monkeypatch.setattr("explorer.verdict.neighborhoods", counted)
    shared_judgement(dataset, "alpha", **SIDES)
    assert sorted(set(calls)) == sorted(calls)
    before = len(calls)
    shared_judgement(dataset, "alpha", **SIDES, budget=20)
    shared_judgement(dataset, "alpha", **SIDES, sources=("Sets",))
    forget(monkeypatch)
    shared_judgement(dataset, "alpha", **SIDES, budget=30)
    assert len(calls) == before


def test_code_that_changed_is_not_trusted_with_what_older_code_kept(dataset, monkeypatch):
    first = shared_judgement(dataset, "alpha", **SIDES)
    forget(monkeypatch)
    monkeypatch.setattr(judgements, "_code", lambda: "other code")
    assert shared_judgement(dataset, "alpha", **SIDES) is not first


def test_equal_sources_have_equal_digests():
    pairs = [("A", "B"), ("C", "A"), ("B", "B")]
    one = Relationships.from_pairs("x", *zip(*pairs, strict=True))
    other = Relationships.from_pairs("x", *zip(*[(b, a) for a, b in pairs[::-1] + pairs], strict=True))
    assert digest_of(one) == digest_of(other)
    grouped = Relationships.from_pairs("x", *zip(*pairs, strict=True), group=["g"] * 3)
    named = Relationships.from_pairs("y", *zip(*pairs, strict=True))
    more = Relationships.from_pairs("x", *zip(*pairs, ("C", "B"), strict=True))
    assert len({digest_of(source) for source in (one, grouped, named, more)}) == 4


class Stop(Exception):
    pass


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.8])
def test_progress_may_cancel_and_whoever_asks_next_gets_it(dataset, share):
    said = []

    def stop(what, done):
        said.append((what, done))
        if done >= share:
            raise Stop

    with pytest.raises(Stop):
        shared_judgement(dataset, "beta", **SIDES, progress=stop)
    assert not [thread for thread in threading.enumerate() if thread.name == "neighbourhoods"]
    assert shared_judgement(dataset, "beta", **SIDES).verdict
    shares = [done for _, done in said]
    assert shares == sorted(shares)


def test_progress_ends_with_the_whole(dataset):
    said = []
    shared_judgement(dataset, "alpha", **SIDES, progress=lambda what, done: said.append((what, done)))
    assert said[0][1] == 0
    assert said[-1] == ("done", 1.0)
    assert all(what for what, _ in said)


def test_ten_sessions_judge_once(dataset, monkeypatch):
    calls = []

    def counted(*maps, **options):
        calls.append(1)
        return judge(*maps, **options)

    monkeypatch.setattr(judgements, "judge", counted)
    together = threading.Barrier(10)

    def session(_):
        together.wait(timeout=30)
        return shared_judgement(dataset, "alpha", **SIDES)

    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(session, range(10)))
    assert len(calls) == 1
    assert all(item is found[0] for item in found)


def test_sources_by_name(dataset):
    assert own_sources(dataset) == ("Pairs",)
    both = shared_judgement(dataset, "alpha", **SIDES, sources=("Sets", "Pairs", "Sets"))
    assert [source.source for source in both.sources] == ["Sets", "Pairs"]
    mine = Relationships.from_pairs("mine", NAMES[:-1], NAMES[1:])
    added = shared_judgement(dataset, "alpha", **SIDES, relationships=(mine,))
    assert [source.source for source in added.sources] == ["Pairs", "mine"]
    alone = shared_judgement(dataset, "alpha", **SIDES, sources=(), relationships=(mine,))
    assert [source.source for source in alone.sources] == ["mine"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"simple": "rav"}, r"unknown representation 'rav': did you mean 'raw'\?"),
        ({"learned": "laten"}, "unknown representation 'laten': did you mean 'latent'"),
        ({"alignment": "centre"}, "unknown alignment 'centre': did you mean 'center'"),
        ({"learned": "raw"}, "'raw' can't be judged against itself: choose two representations"),
        ({"sources": ("Pair",)}, r"unknown source 'Pair': did you mean 'Pairs'\?"),
        ({"sources": ()}, "nothing is known of the perturbations of 'toy': give a file of pairs or sets, or name one"),
        ({"relationships": (GeneSets("Pairs", {"a": NAMES}),)}, "two sources are called 'Pairs': rename one"),
        ({"k": 0}, "k = 0 neighbours can't be had from 110 perturbations: choose k from 1 to 109"),
        ({"k": 110}, "choose k from 1 to 109"),
        ({"budget": 0}, "a budget of 0 pairs can't be used: choose a whole number from 1 to 10,000"),
        ({"budget": 5996}, "a budget of 5996 pairs can't be had: choose from 1 to 5,995"),
        ({"budget": 10**6}, "a budget of 1000000 pairs can't be used"),
        ({"seed": -1}, "a seed of -1 can't be used: choose a whole number of 0 or more"),
    ],
    ids=str,
)
def test_what_can_not_be_judged(dataset, change, message):
    with pytest.raises(InputError, match=message):
        shared_judgement(dataset, "alpha", **{**SIDES, **change})


def test_kinds_that_are_mixed_up_are_said(dataset):
    found = shared_judgement(dataset, "alpha", simple="noise", learned="raw", alignment="none")
    assert "noise is of the kind placebo, and is judged as the simple one" in found.notes
    assert "raw is of the kind simple, and is judged as the learned one" in found.notes
    assert "noise" not in {placebo.name for placebo in found.placebos}


def test_the_grid(dataset):
    grid = shared_grid(dataset, "alpha", k=5)
    assert grid.columns == ["representation", "kind", "alignment", "score", "chance", "reason"]
    assert grid.height == len(dataset.card.representations) * len(METHODS)
    units = pool_units([known_pairs(shared_knowledge(dataset).relationships[0], NAMES)])
    for name, kind, alignment, score, chance, reason in grid.rows():
        made = shared_map(dataset, "alpha", name, alignment=alignment)
        assert score == partner_recall(neighborhoods(made, k=5), units.members).mean()
        assert kind == dataset.card.representations[name].kind
        assert reason == ""
        assert chance == pytest.approx(chance_recall(units.members, n_perturbations=110, k=5).mean())


def test_the_grid_is_resumed_and_kept(dataset, monkeypatch):
    calls = []

    def counted(made, *, k):
        calls.append(made.fingerprint)
        return neighborhoods(made, k=k)

    monkeypatch.setattr(judgements, "neighborhoods", counted)

    def stop(what, done):
        if len(calls) == 7:
            raise Stop

    with pytest.raises(Stop):
        shared_grid(dataset, "alpha", k=7, progress=stop)
    assert len(calls) == 7
    grid = shared_grid(dataset, "alpha", k=7)
    assert len(calls) == grid.height
    forget(monkeypatch)
    assert shared_grid(dataset, "alpha", k=7).equals(grid)
    assert len(calls) == grid.height


def test_the_grid_says_what_can_not_be_aligned(tmp_path):
    root = toys.write_catalog(tmp_path, names=NAMES, controls=False)
    grid = shared_grid(load_dataset(root / "toy"), "alpha")
    for _, _, alignment, score, _, reason in grid.rows():
        assert np.isnan(score) == (alignment != "none")
        assert ("control" in reason) == (alignment != "none")


def test_the_curve(dataset):
    curve = shared_curve(dataset, "alpha", **SIDES, seed=2)
    assert curve["budget"].to_list() == [10, 20, 50, 100, 200, 500, 1000, 2000, 5000]
    maps = [shared_map(dataset, "alpha", name, alignment="center") for name in ("raw", "latent")]
    placebos = make_placebos(shared_screen(dataset, "alpha"), *maps, inputs=["pca"], seed=2)
    placebos["noise"] = shared_map(dataset, "alpha", "noise", alignment="center")
    known = [known_pairs(shared_knowledge(dataset).relationships[0], NAMES)]
    pooled = pool_pairs(known, pool_units(known))
    for line in curve.iter_rows(named=True):
        hits = compare_hits(*maps, pooled, budget=line["budget"], seed=2)
        assert (line["simple"], line["learned"], line["chance"]) == (hits.simple, hits.learned, hits.chance)
        assert (line["difference"], line["half width"]) == (hits.test.estimate, hits.test.half_width)
        scores = {
            name: compare_hits(maps[0], made, pooled, budget=line["budget"]).learned
            for name, made in placebos.items()
            if (made.norms > 0).sum() * ((made.norms > 0).sum() - 1) // 2 >= line["budget"]
        }
        assert line["best placebo"] == max(scores.values())
        assert scores[line["placebo"]] == line["best placebo"]


def test_budgets_of_a_curve(dataset):
    given = shared_curve(dataset, "alpha", **SIDES, budgets=[30, 7, 30])
    assert given["budget"].to_list() == [7, 30]
    for budgets, message in (([0, 5], "a budget of 0"), ([10**5], "a budget of 100000"), ([], "no budget was given")):
        with pytest.raises(InputError, match=message):
            shared_curve(dataset, "alpha", **SIDES, budgets=budgets)
    with pytest.raises(InputError, match="choose from 1 to 5,995"):
        shared_curve(dataset, "alpha", **SIDES, budgets=[6000])


def test_remembered_by_content_not_by_identity(dataset):
    one = shared_map(dataset, "alpha", "raw")
    part = one.restricted_to(NAMES[:60])
    assert digest_of(part) == digest_of(one.restricted_to(NAMES[:60]))
    assert digest_of(part) != digest_of(one)
    found = remember(neighborhoods, part, k=3)
    assert remember(neighborhoods, one.restricted_to(NAMES[:60]), k=3) is found
    np.testing.assert_array_equal(found.rows, neighborhoods(part, k=3).rows)


@pytest.mark.parametrize(
    ("name", "context", "sides", "expected"),
    [
        ("depmap", "skin", ("double-centered", "autoencoder", "none"), (0.0754, 0.0577, -0.0262, -0.0092)),
        ("perturbseq", "line_A", ("pseudobulk", "scvi", "center"), (0.8403, 0.6632, -0.2708, -0.0833)),
    ],
)
def test_the_demos(demo, name, context, sides, expected):
    simple, learned, alignment = sides
    found = shared_judgement(load_dataset(demo / name), context, simple=simple, learned=learned, alignment=alignment)
    primary = found.primary
    assert found.verdict == "worse"
    assert (primary.simple, primary.learned) == pytest.approx(expected[:2], abs=0.002)
    assert (primary.test.low, primary.test.high) == pytest.approx(expected[2:], abs=0.004)
    assert not found.better_simple
    assert all(placebo.score < primary.learned for placebo in found.placebos)


@pytest.mark.parametrize(
    ("changes", "options", "expected"),
    [
        ({}, {}, "center"),
        ({"defaults/align": "tvn"}, {}, "tvn"),
        ({"roles/batch": None}, {}, "none"),
        ({}, {"controls": False}, "none"),
    ],
)
def test_the_alignment_is_the_cards_else_center_where_batches_have_controls(tmp_path, changes, options, expected):
    dataset = load_dataset(toys.write_catalog(tmp_path, changes, names=NAMES, **options) / "toy")
    assert default_alignment(dataset, "alpha") == expected


def test_batches_left_in_are_said(dataset):
    said = shared_judgement(dataset, "alpha", **(SIDES | {"alignment": "none"})).notes
    assert any("judge with the alignment 'center'" in note for note in said)
    assert not any("nothing is aligned" in note for note in shared_judgement(dataset, "alpha", **SIDES).notes)
