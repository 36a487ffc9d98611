"""Layouts, draws and statistics of pseudo-perturbations, each against a loop."""

import numpy as np
import pytest
from test_replicates import consistency_naive, profiles_naive

from explorer.pseudo import (
    MOST_CLASSES,
    Controls,
    classify,
    draw_places,
    draw_rows,
    generator_for,
    layouts_of,
    pseudo_statistics,
    round_rows,
    sum_rows,
)
from explorer.replicates import lengths
from explorer.retrieval import unit_vectors


def test_layouts_forget_the_names_of_guides():
    owner, count = np.array([0, 0, 0, 1, 1, 1]), np.array([5, 7, 9, 9, 5, 7])
    one, other = layouts_of(owner, guide=np.array([1, 1, 2, 3, 4, 4]), batch=np.array([0, 1, 0, 0, 0, 1]), counts=count)
    assert one == other == ((0, 0, 5), (0, 1, 7), (1, 0, 9))


def test_layouts_that_are_equal_share_a_class_and_few_are_left_alone():
    layouts = [((0, 0, rows),) for rows in (3, 4, 3, 100)]
    classes, chosen, exact = classify(layouts)
    assert exact
    assert classes.tolist() == [0, 1, 0, 2]
    assert chosen == [layouts[0], layouts[1], layouts[3]]


def test_many_layouts_are_binned_and_single_rows_never():
    rng = np.random.default_rng(0)
    layouts = [tuple((0, int(batch), int(rng.integers(1, 500))) for batch in range(4)) for _ in range(2000)]
    singles = [((0, batch, 1),) for batch in range(300)]
    classes, chosen, exact = classify(layouts + singles)
    assert not exact
    assert len(chosen) <= MOST_CLASSES + 300
    for place, layout in enumerate(singles, start=len(layouts)):
        assert chosen[classes[place]] == layout
    rows = np.array([sum(line[2] for line in layout) for layout in layouts])
    stands_for = np.array([sum(line[2] for line in chosen[number]) for number in classes[: len(layouts)]])
    assert (np.abs(np.log(rows / stands_for)) <= np.log(1.25) + 1e-9).all()
    # Neither the order of the perturbations nor the others' names matter.
    again, chosen_again, _ = classify(layouts[::-1] + singles)
    assert [chosen_again[number] for number in again[:10]] == [chosen[number] for number in classes[1999:1989:-1]]


def test_rounded_rows_lie_on_a_grid():
    grid = [round_rows(rows) for rows in range(1, 300)]
    assert grid[0] == 1
    assert grid == sorted(grid)
    assert all(1 / 1.3 <= rounded / rows <= 1.3 for rows, rounded in enumerate(grid, start=1) if rows > 4)


@pytest.mark.parametrize(("rows", "available"), [(1, 9), (3, 40), (15, 20), (20, 20)])
def test_draws_have_no_repeats_and_are_uniform(rows, available):
    drawn = draw_places(rows, available, n_draws=4000, rng=np.random.default_rng(0))
    assert drawn.shape == (4000, rows)
    assert all(len(set(line)) == rows for line in drawn.tolist())
    for column in (0, rows - 1):
        share = np.bincount(drawn[:, column], minlength=available) / 4000
        assert np.abs(share - 1 / available).max() < 0.04


@pytest.mark.parametrize(("rows", "crowded"), [(1, False), (4, False), (5, True), (19, True), (50, True)])
def test_a_crowded_batch_is_drawn_from_with_replacement(rows, crowded):
    drawn = draw_rows({0: rows, 1: 1}, {0: 20, 1: 20}, n_draws=300, rng=np.random.default_rng(0))[0]
    assert drawn.shape == (300, rows)
    assert any(len(set(line)) < rows for line in drawn.tolist()) == crowded
    assert set(drawn.ravel().tolist()) == set(range(20))


def test_few_choices_are_all_taken_once():
    drawn = draw_rows({0: 2, 3: 1}, {0: 9, 3: 3}, n_draws=108, rng=np.random.default_rng(0))
    together = {(*one, *other) for one, other in zip(drawn[0].tolist(), drawn[3].tolist(), strict=True)}
    assert len(together) == 36 * 3
    sampled = draw_rows({0: 2, 3: 1}, {0: 9, 3: 3}, n_draws=107, rng=np.random.default_rng(0))
    assert len(sampled[0]) == 107
    ordered = draw_rows({0: 2}, {0: 9}, n_draws=99, rng=np.random.default_rng(0), enumerable=False)
    assert len(ordered[0]) == 99


def test_a_single_row_is_compared_with_every_control():
    drawn = draw_rows({2: 1}, {2: 5000}, n_draws=99, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(drawn[2][:, 0], np.arange(5000))


def test_draws_of_a_layout_depend_on_it_and_the_seed_alone():
    layout = ((0, 1, 5),)
    assert generator_for(1, layout).random() == generator_for(1, ((0, 1, 5),)).random()
    assert generator_for(1, layout).random() != generator_for(2, layout).random()
    assert generator_for(1, layout).random() != generator_for(1, ((0, 1, 6),)).random()


@pytest.mark.parametrize("rows", [1, 3, 40])
def test_sums_of_rows(rows):
    rng = np.random.default_rng(0)
    values, places = rng.normal(size=(200, 3)), rng.integers(0, 200, size=(7, rows))
    np.testing.assert_allclose(sum_rows(values, places), values[places].sum(axis=1), atol=1e-12)


@pytest.mark.parametrize("by_guide", [True, False])
@pytest.mark.parametrize("across", [True, False])
def test_statistics_of_pseudo_perturbations_are_those_of_their_rows(by_guide, across):
    rng = np.random.default_rng(0)
    values = {batch: rng.normal(size=(30, 4)) + 0.5 for batch in (0, 2)}
    controls = Controls(values, {batch: unit_vectors(rows) for batch, rows in values.items()})
    layout = ((0, 0, 3), (0, 2, 2), (1, 0, 4)) if by_guide else ((0, 0, 3), (0, 2, 2))
    wanted = {0: 7 if by_guide else 3, 2: 2}
    drawn = draw_rows(wanted, {0: 30, 2: 30}, n_draws=20, rng=rng, enumerable=False)
    consistency, magnitude = pseudo_statistics(layout, drawn, controls, by_guide=by_guide, across_batches=across)
    for draw in range(20):
        rows, guide, batch = [], [], []
        taken = {0: 0, 2: 0}
        for own, place, count in layout:
            chosen = drawn[place][draw, taken[place] : taken[place] + count]
            taken[place] += count
            rows += list(values[place][chosen])
            guide += [own] * count
            batch += [place] * count
        rows, guide, batch = np.array(rows), np.array(guide), np.array(batch)
        nobody = np.zeros(len(rows), dtype=int)
        length = lengths(profiles_naive(rows, nobody, guide if by_guide else None))[0]
        assert magnitude[draw] == pytest.approx(length, abs=1e-9)
        if by_guide:
            units = sorted(set(zip(guide.tolist(), batch.tolist(), strict=True)))
            means = np.array([rows[(guide == g) & (batch == b)].mean(axis=0) for g, b in units])
            expected = consistency_naive(
                means,
                np.zeros(len(units), dtype=int),
                batch=np.array([b for _, b in units]) if across else None,
                guide=np.array([g for g, _ in units]),
            )
        else:
            expected = consistency_naive(rows, nobody, batch=batch if across else None)
        assert consistency[draw] == pytest.approx(expected[0], abs=1e-9)
