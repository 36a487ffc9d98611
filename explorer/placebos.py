"""Maps of nothing learned, made here for every judgement: what a learned map has to beat."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.aggregate import PerturbationMap, build_map
from explorer.expression import ProjectedSource
from explorer.labels import RowLabels, label_rows
from explorer.screen import Representation, Screen

Floats = npt.NDArray[np.float64]

EFFECT_NAME = "effect size and number of rows"
BATCH_NAME = "batches alone"
# Distance from the origin to the plane of two standardised figures: much farther, and perturbations by the thousand
# would tie in the sixth decimal of a cosine; much nearer, and only directions within the plane would count.
_DISTANCE = 1.0


def make_placebos(
    screen: Screen,
    simple: PerturbationMap,
    learned: PerturbationMap,
    *,
    inputs: Sequence[str] = (),
    seed: int = 0,
) -> dict[str, PerturbationMap]:
    """Make the placebos that any two maps of a screen allow, aligned and aggregated as they are.

    Parameters
    ----------
    screen
        The rows of the maps, all of which were used.
    simple, learned
        The maps that are to be judged.
    inputs
        Further representations to project, such as the input of the learned model.
    seed
        Of axes and permutations.

    Returns
    -------
    dict
        Maps of kind *placebo* by name: random projections of the simple representation, and of each of the inputs,
        on as many axes as the learned one has features; effect size and number of rows; the batches of each
        perturbation, where there are several; the learned map with its labels shuffled.
    """
    n_components = learned.profiles.shape[1]
    projected = dict.fromkeys([simple.recipe.representation, *inputs])
    found = [project_randomly(screen, name, n_components=n_components, like=simple, seed=seed) for name in projected]
    found += [effect_size_alone(simple), shuffle_labels(learned, seed=seed)]
    batches = batches_alone(screen, simple)
    if batches is not None:
        found.append(batches)
    return {made.recipe.representation: made for made in found}


def project_randomly(
    screen: Screen, representation: str, *, n_components: int, like: PerturbationMap, seed: int = 0
) -> PerturbationMap:
    """Project the rows of a representation on random axes while they are read, and make a map of them.

    Parameters
    ----------
    screen, representation
        The rows; they are aligned after they are projected, as those of any representation.
    n_components
        Number of Gaussian axes; cosines are kept up to a noise of about 1/√n_components.
    like
        The map whose alignment and aggregate are taken.
    seed
        Of the axes.

    References
    ----------
    Johnson and Lindenstrauss 1984, doi:10.1090/conm/026/737400.
    """
    source = screen.representation(representation)
    axes = np.random.default_rng(seed).standard_normal((source.n_features, n_components)) / np.sqrt(n_components)
    name = f"random projection of {representation}"
    # Not centred: a cosine of rows as they are is what the other side has too.
    rows = ProjectedSource(source.source, np.zeros(source.n_features), axes.T)
    placebo = Representation(name, "placebo", rows, description=f"{representation} on {n_components} random axes")
    return build_map(
        replace(screen, representations={name: placebo}),
        name,
        alignment=like.recipe.alignment,
        aggregate=like.recipe.aggregate,
        filter_name=like.recipe.filter,
        seed=seed,
    )


def effect_size_alone(simple: PerturbationMap) -> PerturbationMap:
    """Make a map in which those are near each other whose effect size and number of rows are alike.

    Three columns: the logarithms of both, standardised, and a constant, so that a cosine compares places in the
    plane of the two and not directions from its origin. A profile of length zero stays one.
    """
    has_effect = simple.norms > 0
    size = np.log(simple.norms, where=has_effect, out=np.zeros(simple.n_perturbations))
    count = np.log(simple.table["n_rows"].to_numpy().astype(np.float64))
    columns = np.column_stack([_standardised(size, has_effect), _standardised(count, has_effect)])
    profiles = np.column_stack([columns, np.full(len(columns), _DISTANCE)])
    profiles[~has_effect] = 0
    return _placebo(EFFECT_NAME, profiles, like=simple)


def batches_alone(screen: Screen, simple: PerturbationMap) -> PerturbationMap | None:
    """Make a map of the share of each perturbation's rows in every batch; None where there is only one batch."""
    labels = label_rows(screen, most_sampled=0)
    if len(labels.batches) < 2:
        return None
    shares = _batch_shares(labels)
    place = {name: row for row, name in enumerate(labels.perturbations)}
    return _placebo(BATCH_NAME, shares[[place[name] for name in simple.names]], like=simple)


def shuffle_labels(learned: PerturbationMap, *, seed: int = 0) -> PerturbationMap:
    """Deal the profiles of a map to its perturbations at random."""
    order = np.random.default_rng(seed).permutation(learned.n_perturbations)
    name = f"{learned.recipe.representation} with labels shuffled"
    return _placebo(name, learned.profiles[order], like=learned, seed=seed)


def _batch_shares(labels: RowLabels) -> Floats:
    n_batches = len(labels.batches)
    rows = np.bincount(labels.unit[labels.unit >= 0], minlength=labels.n_units)
    cell = labels.unit_perturbation.astype(np.int64) * n_batches + labels.unit_batch
    counts = np.bincount(cell, weights=rows, minlength=len(labels.perturbations) * n_batches)
    table = counts.reshape(len(labels.perturbations), n_batches)
    return np.asarray(table / np.maximum(table.sum(axis=1, keepdims=True), 1))


def _standardised(values: Floats, used: npt.NDArray[np.bool_]) -> Floats:
    spread = float(values[used].std()) if used.any() else 0.0
    return np.asarray((values - values[used].mean()) / spread) if spread > 0 else np.zeros(len(values))


def _placebo(
    name: str, profiles: npt.NDArray[np.floating], *, like: PerturbationMap, seed: int | None = None
) -> PerturbationMap:
    """Make a map with the perturbations, counts and recipe of another, but for what it shows."""
    made_of = hashlib.sha256(f"{name} of {like.recipe.representation} {like.recipe.source}".encode()).hexdigest()
    recipe = replace(like.recipe, representation=name, kind="placebo", source=made_of, seed=seed, notes=())
    table: pl.DataFrame = like.table
    return PerturbationMap(like.names, profiles.astype(np.float32), table, recipe)
