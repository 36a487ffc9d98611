"""Near neighbours on a chromosome: how much more alike they are after a cut, and the correction."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.aggregate import PerturbationMap
from explorer.errors import InputError, listed

Floats = npt.NDArray[np.float64]

Flags = npt.NDArray[np.bool_]

Rows = npt.NDArray[np.intp]

PROXIMITY_SCHEMA = {
    "arm": pl.String,
    "n_perturbations": pl.Int64,
    "n_within": pl.Int64,
    "n_cross": pl.Int64,
    "probability": pl.Float64,
    "p": pl.Float64,
}
# A share of fewer pairs moves by more than .05 with each of them.
FEWEST_PAIRS = 20
# A mean of fewer genes would bring in more noise than it takes away, and take a gene from itself.
FEWEST_UNEXPRESSED = 5


@dataclass(frozen=True, slots=True, eq=False)
class ProximityBias:
    """How often two perturbations of one chromosome arm are more similar than two of different arms.

    Attributes
    ----------
    arms
        One line an arm: ``arm, n_perturbations, n_within, n_cross, probability, p``, the most biased first.
    probability
        Mean over the arms, weighted by their pairs; .5 without bias, NaN where no arm has enough pairs.
    """

    arms: pl.DataFrame = field(repr=False)
    probability: float


def proximity_bias(
    perturbation_map: PerturbationMap, arms: Mapping[str, str], *, more_than: int = FEWEST_PAIRS
) -> ProximityBias:
    """Measure whether perturbations of one chromosome arm are similar for lying on it, as after cutting by Cas9.

    Parameters
    ----------
    perturbation_map
        The map; profiles of length zero and perturbations without an arm are left out.
    arms
        Chromosome arm by name of the perturbation.
    more_than
        Arms with this many pairs or fewer are left out.

    Returns
    -------
    ProximityBias
        For each arm the probability that a pair within it has a larger cosine than a pair of one inside and one
        outside, ties counted half, and the one-sided p of Brunner and Munzel. Pairs share perturbations and are not
        independent, so p is too small: it ranks arms and proves nothing.

    Raises
    ------
    InputError
        When no perturbation of the map has an arm.

    References
    ----------
    Lazar et al. 2024, doi:10.1038/s41588-024-01758-y (the bias); Brunner and Munzel 2000,
    doi:10.1002/(SICI)1521-4036(200001)42:1<17::AID-BIMJ17>3.0.CO;2-U.
    """
    number = arm_numbers(arms, perturbation_map.names)
    placed = np.flatnonzero((number >= 0) & (perturbation_map.norms > 0))
    unit = perturbation_map.profiles[placed] / perturbation_map.norms[placed, None]
    number, lines = number[placed], []
    for arm in np.unique(number).tolist():
        inside = unit[number == arm]
        n_within = len(inside) * (len(inside) - 1) // 2
        if n_within <= more_than or len(inside) == len(unit):
            continue
        within = (inside @ inside.T)[np.triu_indices(len(inside), k=1)]
        cross = (inside @ unit[number != arm].T).ravel()
        probability, p = brunner_munzel(within, cross)
        label = arms[perturbation_map.names[placed[np.flatnonzero(number == arm)[0]]]]
        lines.append((label, len(inside), n_within, len(cross), probability, p))
    table = pl.DataFrame(lines, schema=PROXIMITY_SCHEMA, orient="row").sort(
        "probability", "arm", descending=[True, False]
    )
    weights = table["n_within"].to_numpy().astype(np.float64)
    mean = float(np.average(table["probability"].to_numpy(), weights=weights)) if len(lines) else float("nan")
    return ProximityBias(table, mean)


def brunner_munzel(larger: npt.ArrayLike, smaller: npt.ArrayLike) -> tuple[float, float]:
    """Estimate the probability that one sample exceeds another, ties counted half, and its one-sided p.

    Parameters
    ----------
    larger, smaller
        The samples, two values or more each; only the first is sorted, so let it be the smaller one.

    Returns
    -------
    tuple
        Probability, and p of the hypothesis that it is .5 or less, from Student's t. Where the samples do not
        overlap, p is 0 or 1; where both are constant and equal, NaN.
    """
    from scipy.special import stdtr

    first, second = np.sort(np.asarray(larger, dtype=np.float64)), np.asarray(smaller, dtype=np.float64)
    n, m = len(first), len(second)
    below, upto = np.searchsorted(first, second, side="left"), np.searchsorted(first, second, side="right")
    # How many of the other sample lie below each value, ties counted half: its rank among all less that among its own.
    over_second = n - (below + upto) / 2
    smaller_than = np.cumsum(np.bincount(upto, minlength=n + 1))[:n]
    not_above = np.cumsum(np.bincount(below, minlength=n + 1))[:n]
    over_first = (smaller_than + not_above) / 2
    probability = float(over_first.mean() / m)
    parts = np.array([n * over_first.var(ddof=1), m * over_second.var(ddof=1)])
    if parts.sum() == 0:
        return probability, float("nan") if probability == 0.5 else float(probability < 0.5)
    statistic = n * m * (probability - 0.5) / np.sqrt(parts.sum())
    freedom = parts.sum() ** 2 / (parts**2 / (np.array([n, m]) - 1)).sum()
    return probability, float(stdtr(freedom, -statistic))


def subtract_arm_mean(
    perturbation_map: PerturbationMap, arms: Mapping[str, str], *, unexpressed: Iterable[str]
) -> PerturbationMap:
    """Take from every perturbation the mean profile of the unexpressed genes of its chromosome arm.

    What an unexpressed gene shows is the cut, not the gene; so what its arm shares goes, and the rest stays.

    Parameters
    ----------
    perturbation_map
        The map.
    arms
        Chromosome arm by name of the perturbation; those without one stay as they are.
    unexpressed
        Genes that are not expressed in these cells.

    Returns
    -------
    PerturbationMap
        The recipe says what was subtracted; arms with fewer than 5 unexpressed genes stay as they are.

    Raises
    ------
    InputError
        When no arm has enough unexpressed genes.

    References
    ----------
    Lazar et al. 2024, doi:10.1038/s41588-024-01758-y.
    """
    silent_genes = set(unexpressed)
    number = arm_numbers(arms, perturbation_map.names)
    is_reference = np.array([name in silent_genes for name in perturbation_map.names])
    profiles = perturbation_map.profiles.astype(np.float64)
    corrected, n_left, used = profiles.copy(), 0, []
    n_arms = int(number.max()) + 1
    for arm in range(n_arms):
        reference = np.flatnonzero((number == arm) & is_reference)
        if len(reference) < FEWEST_UNEXPRESSED:
            n_left += 1
            continue
        corrected[number == arm] -= profiles[reference].mean(axis=0)
        used += [f"{arms[perturbation_map.names[row]]}\t{perturbation_map.names[row]}" for row in reference]
    if not used:
        msg = (
            f"no arm has {FEWEST_UNEXPRESSED} or more unexpressed genes in the map, {is_reference.sum()} of the "
            f"{len(silent_genes):,} named are in it: name more, spelled as there ({listed(perturbation_map.names[:3])})"
        )
        raise InputError(msg)
    recipe = perturbation_map.recipe
    digest = hashlib.sha256("\n".join([*used, *(f"{k}={arms[k]}" for k in sorted(arms))]).encode()).hexdigest()[:8]
    count = f"{len(used):,} genes; too few in {n_left} of {n_arms} arms"
    note = f"mean of the unexpressed genes of each arm subtracted ({count})"
    made = replace(recipe, alignment=f"{recipe.alignment}, less the arm's mean ({digest})", notes=(*recipe.notes, note))
    return PerturbationMap(perturbation_map.names, corrected.astype(np.float32), perturbation_map.table, made)


def arm_numbers(position: Mapping[str, str], names: Sequence[str]) -> Rows:
    """Give each perturbation the number of its position, −1 where it has none."""
    number = {
        label: place for place, label in enumerate(sorted({position[name] for name in names if name in position}))
    }
    if not number:
        msg = (
            f"none of the {len(names):,} perturbations has a position: name them as the map does, such as "
            f"{listed(names[:3])}"
        )
        raise InputError(msg)
    return np.array([number[position[name]] if name in position else -1 for name in names], dtype=np.intp)
