"""Halves of replicates: disjoint, complete, repeatable, and free of further reading."""

import numpy as np
import pytest
from builders import CountingSource, Rows, batched_rows

from explorer.aggregate import build_map
from explorer.align import METHODS
from explorer.halves import can_be_halved, replicate_halves
from explorer.moments import collect_moments
from explorer.screen import Representation, Screen


@pytest.mark.parametrize("guides", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_replicate_halves_share_no_replicate_and_lose_none(method, guides):
    rows = batched_rows(seed=7, guides=guides, n_rows=9)
    assert can_be_halved(rows.screen)
    one, other = replicate_halves(rows.screen, "raw", alignment=method, seed=3)
    whole = build_map(rows.screen, "raw")
    counts = {name: 0 for name in whole.names}
    for half in (one, other):
        for line in half.table.iter_rows(named=True):
            counts[line["perturbation"]] += line["n_guides" if guides else "n_rows"]
    expected = whole.table["n_guides" if guides else "n_rows"].to_list()
    assert list(counts.values()) == expected
    kind = "guides" if guides else "batches"
    assert [half.recipe.filter for half in (one, other)] == [f"half {number} of 2 of the {kind}" for number in (1, 2)]
    assert one.recipe.seed == 3
    assert one.fingerprint != other.fingerprint


def test_halves_of_a_screen_with_plates_share_no_plate_within_a_perturbation():
    # Pure noise, each row with the offset of its plate: halves that share plates would agree on the plates.
    generator = np.random.default_rng(0)
    labels = [f"P{number:02d}" for number in range(40) for _ in range(8)]
    plate = np.array([generator.permutation(10)[:4].repeat(2) for _ in range(40)]).ravel()
    offsets = 5 * generator.normal(size=(10, 20))
    values = (offsets[plate] + generator.normal(size=(320, 20))).astype(np.float32)
    rows = Rows(labels, values, batch=[f"plate {number}" for number in plate])
    assert can_be_halved(rows.screen)
    one, other = replicate_halves(rows.screen, "raw")
    assert one.table["n_batches"].to_list() == other.table["n_batches"].to_list() == [2] * 40
    assert "batches" in one.recipe.filter


def test_replicate_halves_are_the_maps_of_disjoint_guides():
    labels = [name for name in "ABCDE" for _ in range(4)]
    guide = [f"{name}-{number}" for name in "ABCDE" for number in range(4)]
    values = np.tile(2.0 ** np.arange(4), 5)[:, None].astype(np.float32)
    one, other = replicate_halves(Rows(labels, values, guide=guide).screen, "raw")
    np.testing.assert_array_equal(2 * (one.profiles + other.profiles), np.full((5, 1), 15.0))
    assert set(one.table["n_guides"]) == {2}


def test_rows_whose_guide_is_not_stated_are_a_guide_of_their_own_in_halves_too():
    labels = [name for name in "ABCDE" for _ in range(4)]
    guide = [None if number < 2 else f"{name}-{number}" for name in "ABCDE" for number in range(4)]
    rows = Rows(labels, np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32), guide=guide)
    whole, halves = build_map(rows.screen, "raw"), replicate_halves(rows.screen, "raw")
    assert set(whole.table["n_guides"]) == {3}
    assert sum(half.table["n_rows"].sum() for half in halves) == 20


def test_replicate_halves_use_all_controls_to_align():
    rows = batched_rows(seed=8, n_controls=2)
    assert replicate_halves(rows.screen, "raw", alignment="center-scale") is not None


def test_replicate_halves_repeat_with_the_seed():
    screen = batched_rows(seed=9, guides=False).screen
    first, again, another = (replicate_halves(screen, "raw", seed=seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.profiles, again.profiles)
    assert not np.array_equal(first.profiles, another.profiles)


@pytest.mark.parametrize("guides", [True, False])
def test_no_halves_without_replicates(guides):
    rows = Rows(list("ABCDE"), np.eye(5, dtype=np.float32), guide=list("vwxyz") if guides else None)
    assert replicate_halves(rows.screen, "raw") is None
    assert not can_be_halved(rows.screen)


@pytest.mark.parametrize("guides", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_halves_of_collected_moments_read_no_row(method, guides):
    rows = batched_rows(seed=7, guides=guides, n_rows=9)
    source = CountingSource(rows.values)
    plain = rows.screen
    screen = Screen(
        plain.dataset, plain.context, plain.rows, plain.roles, {"raw": Representation("raw", "simple", source)}
    )
    moments = collect_moments(screen, screen.representation("raw"), medians=True)
    source.reads.clear()
    with_moments = replicate_halves(screen, "raw", alignment=method, moments=moments)
    assert source.reads == []
    for one, other in zip(with_moments, replicate_halves(plain, "raw", alignment=method), strict=True):
        np.testing.assert_allclose(one.profiles, other.profiles, rtol=1e-6)
        assert one.table.equals(other.table)
        assert one.recipe.rows == other.recipe.rows
