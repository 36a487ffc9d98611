"""Simple, learned and placebo representations of the cells of one simulated screen, and how they score."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import learned
import numpy as np
import numpy.typing as npt

from explorer import (
    LogNormalizedSource,
    PerturbationMap,
    Representation,
    Screen,
    build_map,
    overlap_distribution,
    principal_components,
    random_projection,
)
from explorer.simulate import SimulatedScreen
from explorer.sources import ArraySource, as_source

Matrix = npt.NDArray[np.float64]
N_AXES = learned.N_LATENTS
# Seed of each model, and whether it is told the batches.
SCVI = {"scvi": (0, True), "scvi-seed-1": (1, True), "scvi-seed-2": (2, True), "scvi-no-batch": (0, False)}
SEEDS = ("scvi", "scvi-seed-1", "scvi-seed-2")
PLACEBOS = ("random-projection", "random-projection-counts", "effect-norm", "technical", "scvi-shuffled")
ALIGNMENT = "center"
K, TOP_SHARE, TOP_PAIRS = 10, 0.05, 50
SIGNIFICANT_BITS = 8


def key_of(name: str) -> str:
    """Key in ``obsm`` of a representation: ``X_pca_20``."""
    return "X_" + name.replace("-", "_")


def log_normalized(simulated: SimulatedScreen) -> Matrix:
    """Log-normalised counts of all cells, the input of every simple representation."""
    source = LogNormalizedSource(as_source(simulated.counts))
    return source.read(0, source.shape[0]).astype(np.float64)


def make_simple(simulated: SimulatedScreen) -> dict[str, Matrix]:
    """Make the principal components of the cells."""
    return {f"pca-{N_AXES}": principal_components(log_normalized(simulated), n_components=N_AXES)}


def make_learned(simulated: SimulatedScreen, models: tuple[str, ...]) -> tuple[dict[str, Matrix], dict[str, float]]:
    """Train some of the models in `SCVI`; their latents, and their losses on held-out cells."""
    latents, held_out = {}, {}
    for name in models:
        seed, batch_aware = SCVI[name]
        trained = learned.train(simulated, seed=seed, batch_aware=batch_aware)
        latents[name] = trained.latents.astype(np.float64)
        held_out[name] = round(trained.held_out, 2)
    return latents, held_out


def make_placebos(simulated: SimulatedScreen, scvi: Matrix, *, seed: int) -> dict[str, Matrix]:
    """Make what holds no more than dimensions, effect size, technique, or the wrong labels."""
    counts = simulated.counts.toarray()
    expression = log_normalized(simulated)
    rng = np.random.default_rng([seed, 2])
    batches = simulated.cells["batch"].to_numpy()
    shuffled = np.arange(len(batches))
    for batch in np.unique(batches):
        mine = np.flatnonzero(batches == batch)
        shuffled[mine] = rng.permutation(mine)
    return {
        "random-projection": random_projection(expression, n_components=N_AXES, seed=seed),
        # The encoder of scVI takes log(1 + count), not divided by the cell's total.
        "random-projection-counts": random_projection(np.log1p(counts), n_components=N_AXES, seed=seed + 1),
        "effect-norm": effect_size(simulated, expression),
        "technical": technical(simulated),
        "scvi-shuffled": scvi[shuffled],
    }


def effect_size(simulated: SimulatedScreen, expression: Matrix) -> Matrix:
    """Length of the effect of a cell's guide, and its number of cells, each divided by its spread over guides."""
    cells = simulated.cells
    batches, guides = cells["batch"].to_numpy(), cells["guide"].to_numpy()
    control = cells["perturbation"].to_numpy() == "non-targeting"
    centred = expression.copy()
    for batch in np.unique(batches):
        centred[batches == batch] -= expression[(batches == batch) & control].mean(axis=0)
    names, guide = np.unique(guides, return_inverse=True)
    size = np.bincount(guide)
    length = np.array([np.linalg.norm(centred[guide == number].mean(axis=0)) for number in range(len(names))])
    return np.column_stack([length / length.std(), size / size.std()])[guide]


def technical(simulated: SimulatedScreen) -> Matrix:
    """Batch of a cell, one column each, the logarithm of its total count, and of its number of genes."""
    batches = simulated.cells["batch"].to_numpy()
    total = np.asarray(simulated.counts.sum(axis=1)).ravel()
    detected = np.diff(simulated.counts.indptr)
    return np.column_stack([batches[:, None] == np.unique(batches), np.log(total), np.log(detected)])


def rounded(values: Matrix, name: str) -> npt.NDArray[np.float16]:
    """Round to 8 significant bits, kept as float16: an error of 0.2 %, far below the noise of a cell."""
    mantissa, exponent = np.frexp(values)
    small = np.ldexp(np.rint(mantissa * 2**SIGNIFICANT_BITS) / 2**SIGNIFICANT_BITS, exponent).astype(np.float16)
    if not np.isfinite(small).all():
        message = f"{name} has values that float16 can't hold; the largest is {np.abs(values).max():.4g}"
        raise ValueError(message)
    return small


def screen_of(simulated: SimulatedScreen, made: dict[str, npt.NDArray[np.float16]]) -> Screen:
    """Put representations of the cells beside the pseudobulk in one screen."""
    screen = simulated.to_screen()
    added = {name: Representation(name, "simple", ArraySource(values)) for name, values in made.items()}
    return replace(screen, representations={"pseudobulk": screen.representation("pseudobulk"), **added})


def score(screen: Screen, simulated: SimulatedScreen) -> dict[str, dict[str, float]]:
    """Score the centred map of every representation against the planted truth.

    Returns
    -------
    dict
        By representation: ``recall`` (share of true module pairs among the highest 5 % of all cosines), ``top``
        (share of true pairs among the 50 most similar), ``stress`` (share of pairs there that have the stress
        axis and neither module nor super-module in common).
    """
    return {name: _score(_map_of(screen, name), simulated) for name in screen.representations}


def seed_overlap(screen: Screen) -> dict[str, float]:
    """Mean overlap of the ten neighbours that two seeds of one model find."""
    return {
        f"{one} and {other}": round(overlap_distribution(_map_of(screen, one), _map_of(screen, other), k=K).mean, 4)
        for one, other in combinations(SEEDS, 2)
    }


def _map_of(screen: Screen, name: str) -> PerturbationMap:
    return build_map(screen, name, alignment=ALIGNMENT)


def _score(made: PerturbationMap, simulated: SimulatedScreen) -> dict[str, float]:
    unit = made.profiles / np.where(made.norms > 0, made.norms, np.nan)[:, None]
    one, other = np.triu_indices(made.n_perturbations, 1)
    cosines = (unit @ unit.T)[one, other]
    pairs = [(made.names[i], made.names[j]) for i, j in zip(one, other, strict=True)]
    true, stress = set(simulated.true_pairs), set(simulated.stress_pairs)
    is_true = np.array([pair in true for pair in pairs])
    is_stress = np.array([pair in stress for pair in pairs])
    top = np.argsort(-cosines, kind="stable")[:TOP_PAIRS]
    high = cosines >= np.nanquantile(cosines, 1 - TOP_SHARE)
    return {
        "recall": round(float(high[is_true].mean()), 4),
        "top": round(float(is_true[top].mean()), 4),
        "stress": round(float(is_stress[top].mean()), 4),
    }
