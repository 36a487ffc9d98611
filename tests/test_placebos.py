"""Placebos made for every judgement: through the same pipeline, repeatable, and with nothing learned in them."""

from dataclasses import replace

import numpy as np
import pytest
from builders import CountingSource

from explorer.aggregate import build_map
from explorer.embed import random_projection, with_representation
from explorer.partners import chance_recall, partner_recall
from explorer.placebos import (
    BATCH_NAME,
    EFFECT_NAME,
    batches_alone,
    effect_size_alone,
    make_placebos,
    project_randomly,
    shuffle_labels,
)
from explorer.relate import neighborhood, neighborhoods
from explorer.screen import Representation, Screen

N, N_FEATURES, N_LATENTS = 40, 30, 6
NAMES = [f"P{number:02}" for number in range(N)]


def screen_of(*, seed=0, batches=("a", "b"), controls=8):
    """Two to four rows of every perturbation, unevenly over batches, and controls."""
    rng = np.random.default_rng(seed)
    labels = [name for number, name in enumerate(NAMES) for _ in range(2 + number % 3)]
    batch = [batches[int(rng.integers(len(batches)))] for _ in labels]
    labels += ["control"] * (controls * len(batches))
    batch += [name for name in batches for _ in range(controls)]
    strength = np.array([0.0 if name == "control" else 0.5 + int(name[1:]) / 10 for name in labels])
    values = strength[:, None] * rng.normal(size=N_FEATURES) + rng.normal(size=(len(labels), N_FEATURES))
    latent = rng.normal(size=(len(labels), N_LATENTS))
    return Screen.from_arrays(
        labels,
        {"raw": values.astype(np.float32), "latent": latent.astype(np.float32)},
        batch=batch,
        control=("control",),
    )


def maps_of(screen, alignment="center"):
    return tuple(build_map(screen, name, alignment=alignment) for name in ("raw", "latent"))


def test_what_is_made():
    screen = screen_of()
    simple, learned = maps_of(screen)
    made = make_placebos(screen, simple, learned, inputs=("raw", "latent"), seed=3)
    projections = ["random projection of raw", "random projection of latent"]
    assert set(made) == {*projections, EFFECT_NAME, "latent with labels shuffled", BATCH_NAME}
    for name, placebo in made.items():
        assert placebo.names == simple.names
        assert (placebo.recipe.representation, placebo.recipe.kind) == (name, "placebo")
        assert (placebo.recipe.alignment, placebo.recipe.context) == ("center", simple.recipe.context)
        assert not placebo.profiles.flags.writeable
        if name in projections:
            assert placebo.profiles.shape[1] == N_LATENTS
    assert len({placebo.fingerprint for placebo in made.values()}) == len(made)
    assert set(make_placebos(screen, simple, learned)) == set(made) - {"random projection of latent"}


def test_a_seed_gives_the_same_placebos_and_another_others():
    screen = screen_of()
    sides = maps_of(screen)
    first, again, other = (make_placebos(screen, *sides, seed=seed) for seed in (1, 1, 2))
    for name, placebo in first.items():
        assert placebo.fingerprint == again[name].fingerprint
        np.testing.assert_array_equal(placebo.profiles, again[name].profiles)
        is_random = name not in (EFFECT_NAME, BATCH_NAME)
        assert np.array_equal(placebo.profiles, other[name].profiles) != is_random
        assert (placebo.fingerprint != other[name].fingerprint) == is_random


@pytest.mark.parametrize("alignment", ["none", "center", "center-scale", "center-scale-robust", "tvn", "sphere"])
def test_a_projection_is_aligned_as_rows_projected_beforehand_are(alignment):
    screen = screen_of()
    simple, _ = maps_of(screen, alignment)
    made = project_randomly(screen, "raw", n_components=N_LATENTS, like=simple, seed=5)
    rows = screen.representation("raw").source.read(0, screen.rows.height)
    before = with_representation(screen, "projected", random_projection(rows, n_components=N_LATENTS, seed=5))
    expected = build_map(before, "projected", alignment=alignment)
    np.testing.assert_allclose(made.profiles, expected.profiles, atol=1e-4 * np.abs(expected.profiles).max())


def test_a_projection_reads_the_rows_once():
    screen = screen_of()
    simple, _ = maps_of(screen)
    counted = CountingSource(screen.representation("raw").source.read(0, screen.rows.height))
    raw = Representation("raw", "simple", counted)
    project_randomly(replace(screen, representations={"raw": raw}), "raw", n_components=3, like=simple)
    assert sum(stop - start for start, stop in counted.reads) == screen.rows.height


def test_effect_size_finds_those_of_the_same_strength():
    screen = screen_of()
    rows = np.arange(N)
    one_row = Screen.from_arrays(NAMES, {"raw": screen.representation("raw").source.read(0, N)})
    simple = build_map(one_row, "raw")
    made = effect_size_alone(simple)
    assert made.profiles.shape[1] == 3
    strength = np.log(simple.norms)
    strength = (strength - strength.mean()) / strength.std()
    for row in rows:
        found = neighborhood(made, simple.names[row], k=5)
        gaps = np.sort(np.abs(strength - strength[row]))[1:6]
        # A cosine is no distance: near the edge of the range it may order two that are nearly as far otherwise.
        assert np.abs(strength[found.rows] - strength[row]).max() <= 1.7 * gaps.max() + 0.02


def test_effect_size_of_silent_and_equal_profiles():
    values = np.ones((N, 4), dtype=np.float32)
    values[3] = 0
    made = effect_size_alone(build_map(Screen.from_arrays(NAMES, {"raw": values}), "raw"))
    assert np.isfinite(made.profiles).all()
    assert made.norms[3] == 0
    assert (made.norms[np.arange(N) != 3] > 0).all()
    # All alike: nothing but ties, which score as chance does.
    groups = [np.arange(start, start + 4) for start in range(4, N, 4)]
    score = partner_recall(neighborhoods(made, k=5), groups).mean()
    assert score == pytest.approx(chance_recall(groups, n_perturbations=N - 1, k=5).mean())


def test_batches_are_shares_of_rows():
    screen = screen_of(batches=("a", "b", "c"))
    simple, _ = maps_of(screen)
    made = batches_alone(screen, simple)
    labels, batch = screen.perturbation_labels(), screen.rows["batch"].to_list()
    for row, name in enumerate(made.names):
        own = [where for label, where in zip(labels, batch, strict=True) if label == name]
        np.testing.assert_allclose(made.profiles[row], [own.count(part) / len(own) for part in "abc"], rtol=1e-6)


def test_one_batch_is_no_placebo():
    screen = screen_of(batches=("a",))
    simple, learned = maps_of(screen)
    assert batches_alone(screen, simple) is None
    assert BATCH_NAME not in make_placebos(screen, simple, learned)


def test_shuffled_labels_keep_the_profiles_and_score_as_chance():
    learned = build_map(screen_of(), "latent")
    groups = [np.arange(start, start + 4) for start in range(0, N, 4)]
    scores = []
    for seed in range(40):
        made = shuffle_labels(learned, seed=seed)
        assert sorted(map(tuple, made.profiles.tolist())) == sorted(map(tuple, learned.profiles.tolist()))
        scores.append(partner_recall(neighborhoods(made, k=5), groups).mean())
    chance = chance_recall(groups, n_perturbations=N, k=5).mean()
    assert np.mean(scores) == pytest.approx(chance, abs=4 * np.std(scores) / np.sqrt(len(scores)))
