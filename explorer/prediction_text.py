"""A prediction as text for a terminal: the verdict first, then what it rests on."""

from __future__ import annotations

import math

from explorer.digits import counted, number, percent, signed, small
from explorer.predict import Prediction
from explorer.predictions import PredictionPlan
from explorer.terminal import in_columns


def prediction_text(prediction: Prediction, plan: PredictionPlan) -> list[str]:
    """Write a prediction line by line: verdict and reason, the predictors, and what each is held against."""
    lines = [f"{prediction.verdict}: {prediction.reason}"]
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
    ]
    return lines
