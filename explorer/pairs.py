"""Pairs of perturbations from their singles: does the sum of two effects predict what both do together."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.crossfit import MEAN
from explorer.digits import counted
from explorer.errors import InputError, listed, shown
from explorer.predict import (
    FEWEST_BLOCKS,
    FEWEST_PAIRS,
    FEWEST_PREDICTED,
    LEARNED,
    NO_CHANGE,
    NO_REPLICATES,
    PERTURBATIONS_SCHEMA,
    SCORES_SCHEMA,
    SIMPLE,
    Prediction,
    PredictionTest,
    PredictionVerdict,
    Progress,
    decide_prediction,
    difference_of,
    jackknife_half_width,
    or_zero,
    overall_ceiling,
    prediction_test,
)
from explorer.prediction_scores import (
    discrimination,
    mean_absolute_error,
    noise_ceiling_of_halves,
    residual_correlation,
    skill,
)
from explorer.significance import sign_flips
from explorer.targets import Target

Floats = npt.NDArray[np.float64]

SUM, LARGER = "sum of the singles", "larger single alone"
# How the two singles of a pair are written: by a plus, or, where both are perturbations themselves, by an underscore.
_PLUS = re.compile(r"\s*\+\s*")


def pairs_of_names(names: Iterable[str], *, controls: Collection[str] = ()) -> dict[str, tuple[str, str]]:
    """Find the perturbations whose names say that they are pairs, and of which two.

    ``A+B`` is a pair of A and B, whether they were measured alone or not; ``A_B`` is one where both A and B are names
    themselves, since an underscore may be part of a name. Where one of the two is a control (``A+ctrl``), or both are
    the same, it is no pair.

    Parameters
    ----------
    names
        Perturbations.
    controls
        Labels of controls.

    Returns
    -------
    dict
        The two singles by name of the pair, in the order given.
    """
    every = list(names)
    known, reference = set(every), set(controls)
    found = {}
    for name in every:
        parts = _PLUS.split(name)
        if len(parts) == 1:
            # Every underscore may be the one between the two.
            places = [place for place, letter in enumerate(name) if letter == "_"]
            splits = [(name[:place], name[place + 1 :]) for place in places]
            parts = next(([one, other] for one, other in splits if one in known and other in known), [])
        if len(parts) == 2 and all(parts) and parts[0] != parts[1] and not reference & set(parts):
            found[name] = (parts[0], parts[1])
    return found


def predict_pairs(
    target: Target, *, pairs: Mapping[str, tuple[str, str]], seed: int = 0, progress: Progress | None = None
) -> Prediction:
    """Predict pairs of perturbations from their singles: the sum against the larger single alone and the mean.

    The sum of the two effects, a + b − control, is held against the larger of the two alone. Nothing is trained but
    the mean of the singles, from which all deviations are taken. Pairs are the units; since those that share a single
    are not independent, the jackknife leaves out each single with all of its pairs.

    Parameters
    ----------
    target
        Profiles of pairs and of singles, with controls.
    pairs
        The two singles of each pair by its name in the target, as `pairs_of_names` finds them.
    seed
        Of the signs.
    progress
        Called with what is done next and the share that is done.

    Returns
    -------
    Prediction
        `learned` is the sum, `simple` the larger single alone; without a verdict below six pairs.

    Raises
    ------
    InputError
        When there are no pairs, no controls, or no pair of which both singles were measured.
    """
    say = progress or (lambda what, share: None)
    say("pairs", 0.0)
    own = {name: singles for name, singles in pairs.items() if name in target.profiles}
    usable = _with_both_singles(target, own)
    made = _predict(target, own, usable)
    rho = {name: residual_correlation(values, made.truth, shared=made.shared) for name, values in made.by_name.items()}
    say("comparing", 0.5)
    tests = _tests(rho, [own[name] for name in usable], seed=seed) if len(usable) >= FEWEST_PAIRS else []
    word: PredictionVerdict = "underpowered"
    reason = (
        f"shown, not tested: {len(usable):,} of {counted(len(own), 'pair')} have both singles measured, and it takes "
        f"{FEWEST_PAIRS} for a verdict"
    )
    if tests:
        # Of what else is asked for, perturbations and blocks, pairs need none.
        enough = {"n_perturbations": FEWEST_PREDICTED, "n_blocks": FEWEST_BLOCKS}
        word, reason = decide_prediction(
            tests[0], tests[1:], locked="", names=(LARGER, SUM), unit="pair", **enough
        )  # fmt: skip
    ceilings = np.full(len(usable), np.nan)
    ceiling, ceiling_note = float("nan"), NO_REPLICATES
    if target.halves is not None:
        one, other = (half[made.rows] for half in target.halves)
        ceilings = noise_ceiling_of_halves(one, other, shared=made.shared)
        halves = residual_correlation(one, other, shared=made.shared)
        ceiling, ceiling_note = overall_ceiling(halves, np.arange(len(usable)))
    table = pl.DataFrame(
        {
            "perturbation": usable, "fold": [0] * len(usable), "block": list(range(len(usable))),
            "groups": ["; ".join(own[name]) for name in usable], "simple": rho[SIMPLE], "learned": rho[LEARNED],
            "difference": difference_of(rho), "magnitude": np.linalg.norm(made.truth, axis=1), "ceiling": ceilings,
        },
        schema=PERTURBATIONS_SCHEMA,
    )  # fmt: skip
    notes = list(target.notes)
    if len(usable) < len(own):
        notes.append(
            f"{len(own) - len(usable):,} of {counted(len(own), 'pair')} were left out, since not both of their singles "
            "were measured"
        )
    notes.append(
        f"deviations are from the mean of {counted(made.n_singles, 'perturbation')} that are no pairs; a pair is one "
        "unit of the test, and the jackknife leaves out each single with all pairs it is in"
    )
    say("done", 1.0)
    return Prediction(
        task="pairs",
        target=target.label,
        simple=LARGER,
        learned=SUM,
        verdict=word,
        reason=reason,
        primary=tests[0] if tests else None,
        tests=tuple(tests[1:]),
        scores=_scores(made, rho, judged=bool(tests)),
        perturbations=table,
        ceiling=ceiling,
        ceiling_note=ceiling_note,
        n_perturbations=len(usable),
        n_blocks=len(usable),
        share_kept=float("nan"),
        truth=made.truth.astype(np.float32),
        predicted={side: made.by_name[side].astype(np.float32) for side in (SIMPLE, LEARNED)},
        features=target.features,
        notes=tuple(notes),
        fingerprints={"target": target.profiles.fingerprint},
        seed=seed,
        recipes={"target": target.profiles.recipe.sentence},
    )


# What each predictor is called, its kind, and how it predicts.
_CALLED = {
    LEARNED: (SUM, "learned", "additive"),
    SIMPLE: (LARGER, "simple", "larger single"),
    MEAN: (MEAN, "baseline", "mean"),
    NO_CHANGE: (NO_CHANGE, "baseline", "no change"),
}


@dataclass(frozen=True, slots=True, eq=False)
class _Predicted:
    """Rows of the pairs in the target; measured and predicted deviations from the mean of the singles, and v."""

    rows: npt.NDArray[np.intp]
    truth: Floats
    by_name: dict[str, Floats]
    shared: Floats
    n_singles: int


def _with_both_singles(target: Target, pairs: Mapping[str, tuple[str, str]]) -> list[str]:
    """List the pairs that can be predicted, sorted by name; refuse where there are none."""
    if not pairs:
        message = (
            f"no perturbation of {target.label} is a pair of two others: a pair is written A+B, or A_B where A and B "
            f"are perturbations too; there are {listed(target.profiles.names, limit=3)}"
        )
        raise InputError(message)
    if target.control is None:
        message = f"the effects of two singles can't be added without controls: declare those of {target.label}"
        raise InputError(message)
    usable = sorted(name for name, singles in pairs.items() if all(single in target.profiles for single in singles))
    if not usable:
        name, (one, other) = next(iter(pairs.items()))
        message = (
            f"none of the {counted(len(pairs), 'pair')} of {target.label} can be predicted, since not both singles of "
            f"any were measured: {shown(name)} takes {shown(one)} and {shown(other)}"
        )
        raise InputError(message)
    return usable


def _predict(target: Target, pairs: Mapping[str, tuple[str, str]], usable: Sequence[str]) -> _Predicted:
    assert target.control is not None
    profiles = target.profiles.profiles.astype(np.float64)
    place = {name: row for row, name in enumerate(target.profiles.names)}
    first, second = (profiles[[place[pairs[name][side]] for name in usable]] - target.control for side in (0, 1))
    singles = [row for name, row in place.items() if name not in pairs]
    mean = profiles[singles].mean(axis=0)
    shared = mean - target.control
    is_first = np.linalg.norm(first, axis=1) >= np.linalg.norm(second, axis=1)
    larger = np.where(is_first[:, None], first, second)
    effects = {LEARNED: first + second, SIMPLE: larger, MEAN: shared, NO_CHANGE: np.zeros_like(shared)}
    rows = np.array([place[name] for name in usable], dtype=np.intp)
    return _Predicted(
        rows=rows,
        truth=profiles[rows] - mean,
        by_name={name: np.broadcast_to(effect - shared, first.shape) for name, effect in effects.items()},
        shared=shared,
        n_singles=len(singles),
    )


def _tests(rho: Mapping[str, Floats], singles: Sequence[tuple[str, str]], *, seed: int) -> list[PredictionTest]:
    """Hold the sum against the larger single, the mean and no change."""
    others = [key for key in _CALLED if key != LEARNED]
    differences = [or_zero(rho[LEARNED]) - or_zero(rho[other]) for other in others]
    left_out = [gone for gone in _without_each_single(singles) if not gone.all()]
    tests = []
    for key, difference, test in zip(others, differences, sign_flips(differences, seed=seed), strict=True):
        half_width = jackknife_half_width([difference[~gone].mean() for gone in left_out])
        tests.append(prediction_test(test, *_CALLED[key][:2], jackknife=half_width))
    return tests


def _scores(made: _Predicted, rho: Mapping[str, Floats], *, judged: bool) -> pl.DataFrame:
    lines = []
    for key, called in _CALLED.items():
        predicted = made.by_name[key]
        # Among others, one can be told from none.
        told_apart = discrimination(predicted, made.truth).mean() if len(made.rows) > 1 else np.nan
        lines.append(
            (
                *called, judged, float(or_zero(rho[key]).mean()), float("nan"), float(skill(predicted, made.truth)),
                float(told_apart), float(mean_absolute_error(predicted, made.truth).mean()), len(made.rows),
            )
        )  # fmt: skip
    return pl.DataFrame(lines, schema=SCORES_SCHEMA, orient="row")


def _without_each_single(singles: Sequence[tuple[str, str]]) -> npt.NDArray[np.bool_]:
    """Say which pairs each single takes with it, shape (n_singles, n_pairs)."""
    every = sorted({name for pair in singles for name in pair})
    return np.array([[name in pair for pair in singles] for name in every], dtype=bool)
