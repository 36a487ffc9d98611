"""A prediction as text for a terminal: the verdict first, then what it rests on."""

from __future__ import annotations

import math

from explorer.digits import counted, number, percent, signed, small
from explorer.predict import WELL_POSITION
from explorer.predicted import PAIRS, Predicted
from explorer.predictions import PredictionPlan
from explorer.terminal import in_columns
from explorer.wording_predict import NO_LAYOUT, conditions, right_sentence


def prediction_text(found: Predicted) -> list[str]:
    """Write a prediction line by line: what from what, the verdict and its reason, the predictors, the conditions."""
    prediction, plan = found.prediction, found.plan
    lines = [_what_from_what(plan), f"{prediction.verdict}: {prediction.reason}"]
    if prediction.scores.height:
        lines += [
            "",
            *in_columns(
                ("predictor", "beyond the mean effect", "nearest neighbours", "skill", "discrimination", "n"),
                [
                    (
                        f"{row['name']} ({row['kind']}, {row['method']})", number(row["rho"]),
                        number(row["rho_neighbors"]), signed(row["skill"]), number(row["discrimination"]),
                        f"{row['n']:,}",
                    )
                    for row in prediction.scores.iter_rows(named=True)
                ],
            ),
        ]  # fmt: skip
    tests = [test for test in (prediction.primary, *prediction.tests) if test is not None]
    tests = list(dict.fromkeys(tests))
    if tests:
        lines += [
            "",
            *in_columns(
                (f"{prediction.learned} −", "difference", "95 % interval", "p", "units"),
                [
                    (
                        f"{test.against} ({test.kind})", signed(test.estimate, 4),
                        f"{signed(test.low, 4)} … {signed(test.high, 4)}", small(test.p), f"{test.n_blocks:,}",
                    )
                    for test in tests
                ],
            ),
        ]  # fmt: skip
    ceiling = prediction.ceiling_note or f"replicates allow a correlation of {number(prediction.ceiling)}"
    kept = "" if math.isnan(prediction.share_kept) else f"; {percent(prediction.share_kept)} of the others may train"
    lines += [
        "",
        f"{counted(prediction.n_perturbations, 'perturbation')} of {prediction.target} predicted ({plan.task}), in "
        f"{counted(prediction.n_blocks, 'unit')}{kept}",
        ceiling,
        "",
        *(f"{heading}: {text}" for heading, text in conditions(found)),
        f"By what right: {right_sentence(found)}",
    ]
    if plan.task != PAIRS and WELL_POSITION not in prediction.scores["name"]:
        lines.append(NO_LAYOUT)
    return lines


def _what_from_what(plan: PredictionPlan) -> str:
    if plan.task == PAIRS:
        return f"pairs of {plan.context} predicted from their singles"
    if plan.source == plan.context:
        return f"{plan.context} predicted from embeddings of its perturbations ({plan.task})"
    return f"{plan.context} predicted from {plan.source} ({plan.task})"
