"""Predictions made by hand, and stand-ins for the catalog's own, so that pages and sentences can be tested at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from explorer.pairs import LARGER, SUM
from explorer.passport import Passport, PassportComparison
from explorer.predict import Prediction, PredictionTest
from explorer.predicted import Predicted
from explorer.predictions import PredictionPlan

NAMES = tuple(f"GENE{number:02}" for number in range(60))
FEATURES = tuple(f"line {number}" for number in range(12))
PLAN = PredictionPlan(
    task="transfer", dataset="toy", context="alpha", target="raw", source="beta", simple="raw", learned="latent",
    align="none",
)  # fmt: skip
PAIRS_PLAN = replace(PLAN, task="pairs", source="", simple="", learned="")
SCORES_SCHEMA = {
    "name": pl.String, "kind": pl.String, "method": pl.String, "judged": pl.Boolean, "rho": pl.Float64,
    "rho_neighbors": pl.Float64, "skill": pl.Float64, "discrimination": pl.Float64, "mae": pl.Float64, "n": pl.Int64,
}  # fmt: skip
NAN = float("nan")


def against(other: str, kind: str, estimate: float, half_width: float, *, p: float = 0.01) -> PredictionTest:
    """Difference from another predictor."""
    return PredictionTest(other, kind, estimate, half_width, half_width / 2, p, 40, 38)


def scores(*lines: tuple[Any, ...]) -> pl.DataFrame:
    """Scores of predictors, a line each."""
    return pl.DataFrame(lines, schema=SCORES_SCHEMA, orient="row")


def perturbations(names: tuple[str, ...] = NAMES) -> pl.DataFrame:
    """Predicted perturbations: every third is in two groups, the last one has no score."""
    n = len(names)
    learned = np.linspace(0.9, -0.4, n)
    learned[-1] = np.nan
    simple = learned[::-1].copy()
    return pl.DataFrame(
        {
            "perturbation": list(names),
            "fold": [place % 5 for place in range(n)],
            "block": list(range(n)),
            "groups": ["Complex A; Complex B" if place % 3 == 0 else "" for place in range(n)],
            "simple": simple,
            "learned": learned,
            "difference": learned - simple,
            "magnitude": np.linspace(4.0, 1.0, n),
            "ceiling": np.full(n, 0.8),
        }
    )


def prediction(*, names: tuple[str, ...] = NAMES, n_features: int = len(FEATURES), **changes: Any) -> Prediction:
    """Prediction that says "predicts better", but for what is changed."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(len(names), n_features)).astype(np.float32)
    predicted = {
        side: (0.4 * truth + 0.3 * rng.normal(size=truth.shape)).astype(np.float32) for side in ("simple", "learned")
    }
    made = Prediction(
        task="transfer",
        target="raw of alpha",
        simple="raw",
        learned="latent",
        verdict="predicts better",
        reason="the interval of the difference lies above 0, and no placebo does as well",
        primary=against("raw", "simple", 0.05, 0.02),
        tests=(
            against("mean", "baseline", 0.3, 0.05),
            against("well position", "placebo", 0.2, 0.05),
            against("effect-norm", "placebo", 0.25, 0.05),
        ),
        scores=scores(
            ("latent", "learned", "ridge", True, 0.30, 0.28, 0.12, 0.71, 0.5, len(names)),
            ("raw", "simple", "ridge", True, 0.25, 0.22, 0.10, 0.68, 0.52, len(names)),
            ("mean", "baseline", "mean", True, 0.0, NAN, 0.0, 0.5, 0.6, len(names)),
            ("well position", "placebo", "ridge", True, 0.1, NAN, 0.01, 0.55, 0.58, len(names)),
            ("effect-norm", "placebo", "ridge", True, 0.05, 0.02, -0.01, 0.52, 0.59, len(names)),
        ),
        perturbations=perturbations(names),
        ceiling=0.8,
        ceiling_note="",
        n_perturbations=len(names),
        n_blocks=40,
        share_kept=0.87,
        truth=truth,
        predicted=predicted,
        features=FEATURES if n_features == len(FEATURES) else (),
        notes=("3 perturbations have no profile in beta",),
        fingerprints={"target": "a" * 12, "simple": "b" * 12, "learned": "c" * 12},
        recipes={"target": "raw of alpha, as it is", "simple": "raw of beta", "learned": "latent of beta"},
    )
    return replace(made, **changes)


def pairs(**changes: Any) -> Prediction:
    """Five pairs from their singles: shown, not tested."""
    names = tuple(f"GENE0{number}+GENE1{number}" for number in range(5))
    made = prediction(
        names=names,
        task="pairs",
        simple=LARGER,
        learned=SUM,
        verdict="underpowered",
        reason="5 pairs have both singles measured, and a test takes 6",
        primary=None,
        tests=(),
        scores=scores(
            (SUM, "learned", "additive", False, 0.80, NAN, 0.5, 0.9, 0.2, 5),
            (LARGER, "simple", "larger single", False, 0.81, NAN, 0.4, 0.9, 0.3, 5),
            ("mean", "baseline", "mean", True, 0.0, NAN, 0.0, 0.5, 0.6, 5),
        ),
        ceiling=NAN,
        ceiling_note="no replicates, so that it is not known what a repeat would score",
        n_blocks=5,
        share_kept=NAN,
        fingerprints={"target": "a" * 12},
    )
    return replace(made, **changes)


def stand_in(monkeypatch: Any, found: Prediction | None = None, *, plan: PredictionPlan = PLAN) -> list[PredictionPlan]:
    """Let the page predict what was made by hand, at once; the list fills with the plans that were asked for."""
    asked: list[PredictionPlan] = []

    def shared_prediction(catalog: Any, plan: PredictionPlan, *, seed: int, progress: Any) -> Prediction:
        asked.append(plan)
        progress("folds", 0.5)
        made = found or (pairs() if plan.task == "pairs" else prediction(task=plan.task))
        return made if plan.task == "pairs" else replace(made, simple=plan.simple, learned=plan.learned)

    for name, stand in {
        "target_names": lambda catalog, dataset: ("raw",),
        "default_plan": lambda catalog, dataset, context: replace(
            plan, dataset=dataset, context=context, source="beta" if context == "alpha" else "alpha"
        ),
        "check_plan": lambda catalog, plan: plan,
        "shared_prediction": shared_prediction,
        "prediction_json": lambda prediction, plan: {"verdict": prediction.verdict, "task": plan.task},
    }.items():
        monkeypatch.setattr(f"explorer.predicted.{name}", stand)
    return asked


def passport(context: str, *, time: str = "not stated") -> Passport:
    """Conditions of a context."""
    return Passport(
        "toy", context, f"{context} cells", "knock-out", "not stated", "expression", time,
        "4 non-targeting guides (4 rows)", "2 batches", "not declared",
    )  # fmt: skip


def predicted(found: Prediction | None = None, *, plan: PredictionPlan | None = None, **changes: Any) -> Predicted:
    """A plan carried out: `prediction` from beta to alpha, or whatever is given."""
    found = prediction() if found is None else found
    plan = plan or (PAIRS_PLAN if found.task == "pairs" else replace(PLAN, task=found.task))
    comparison = PassportComparison(
        passport("beta"), passport("alpha"), ("cell system",), ("the technique is stated in neither",)
    )
    made = Predicted(plan, found, passport("alpha"), comparison if plan.source else None)
    return replace(made, **changes)
