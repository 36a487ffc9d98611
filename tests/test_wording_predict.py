"""What a prediction says: every number with its null, its units, its direction, and with what right."""

import math
from dataclasses import replace

import polars as pl
import pytest
import toy_predictions
import toys
from toy_predictions import PLAN, against, pairs, predicted, prediction, scores

from explorer import wording_predict as wording
from explorer.catalog import open_catalog

NAN = float("nan")
BEATEN = (against("mean", "baseline", 0.3, 0.05), against("effect-norm", "placebo", 0.2, 0.05))
NOT_MEAN = (against("mean", "baseline", 0.02, 0.05), against("effect-norm", "placebo", 0.2, 0.05))
NOT_PLACEBO = (against("mean", "baseline", 0.3, 0.05), against("well position", "placebo", -0.02, 0.05))
COPY = (*BEATEN, against("copy", "baseline", -0.1, 0.05))
WORSE, NOTHING = against("raw", "simple", -0.05, 0.02), against("raw", "simple", 0.01, 0.02)
SAW = "saw target: latent was made from alpha too, which is to be predicted, so that nothing here was unseen"


@pytest.mark.parametrize(
    ("changes", "head", "tone", "said", "meaning"),
    [
        (
            {},
            "Predicts better",
            "success",
            "From beta, latent predicts perturbations that nobody has made in alpha better than raw and every "
            "baseline and every placebo: +.050 in correlation, 95 % interval +.030 to +.070, 40 units.",
            "choose by what latent predicts for alpha",
        ),
        (
            {"verdict": "not shown", "tests": COPY},
            "Better than raw, not shown to beat a copy of the other context",
            "neutral",
            "better than raw does (+.050 in correlation, 95 % interval +.030 to +.070, 40 units), but is not shown to "
            "beat a copy of the other context.",
            "a copy of the other context is simpler",
        ),
        (
            {"verdict": "not shown", "tests": NOT_MEAN},
            "Better than raw, not shown to beat a mean",
            "neutral",
            "but is not shown to beat a mean.",
            "do not choose by latent: the mean profile of all perturbations, which tells none from another, is not",
        ),
        (
            {"verdict": "not shown", "primary": NOTHING},
            "Better than a mean, not shown to beat raw",
            "neutral",
            "It is not shown that from beta, latent predicts perturbations that nobody has made in alpha better than "
            "raw does: +.010 in correlation, 95 % interval −.010 to +.030, 40 units.",
            "predict from raw. That no gain is shown does not mean that there is none.",
        ),
        (
            {"verdict": "not shown", "primary": NOTHING, "tests": NOT_MEAN},
            "Not shown to beat a mean",
            "neutral",
            "It is not shown",
            "do not choose by latent",
        ),
        (
            {"verdict": "not shown", "tests": NOT_PLACEBO},
            "Better than a mean, not shown to beat well position",
            "neutral",
            "better than raw does (+.050 in correlation, 95 % interval +.030 to +.070, 40 units), but is not shown to "
            "beat well position.",
            "not yet. What latent predicts, well position may predict as well, so it need not be biology.",
        ),
        (
            {"verdict": "predicts worse", "primary": WORSE},
            "Better than a mean, worse than raw",
            "danger",
            "predicts perturbations that nobody has made in alpha less well than raw does: −.050 in correlation",
            "predict from raw; where latent says otherwise, do not trust it.",
        ),
        (
            {"verdict": "predicts worse", "primary": WORSE, "tests": NOT_MEAN},
            "Worse than raw, not shown to beat a mean",
            "danger",
            "less well than raw does",
            "is not beaten; raw predicts better (ρ⊥ .250).",
        ),
        (
            {"verdict": "underpowered", "primary": None, "tests": (), "n_blocks": 12},
            "Too little to tell",
            "warn",
            "60 perturbations in 12 units are too few to tell whether latent predicts better than raw (a verdict takes "
            "50 perturbations and 20 units).",
            "stay with raw, the simpler one, or bring more perturbations in more known groups.",
        ),
        (
            {"verdict": "underpowered", "primary": replace(NOTHING, n_discordant=4)},
            "Too little to tell",
            "warn",
            "latent and raw differ on 4 of 40 units, too few to tell them apart (a verdict takes 6).",
            "stay with raw",
        ),
        (
            {"verdict": "locked", "reason": SAW},
            "No verdict: it saw the target",
            "warn",
            "Saw target: latent was made from alpha too, which is to be predicted, so that nothing here was unseen: "
            "the figures are shown, and no verdict is given.",
            "this says nothing about perturbations that nobody has made, since what predicts them has seen them.",
        ),
        (
            {"verdict": "locked", "reason": "same cells: latent was made from them"},
            "No verdict: made from the same cells",
            "warn",
            "Same cells: latent",
            "this says nothing",
        ),
        (
            {"verdict": "locked", "reason": "nothing is known of groups of these perturbations"},
            "No verdict",
            "warn",
            "Nothing is known of groups of these perturbations: the figures",
            "Name sources of known groups",
        ),
    ],
)
def test_verdict(changes, head, tone, said, meaning):
    found = predicted(prediction(**changes))
    assert wording.head(found) == head
    assert wording.tone(found) == tone
    assert said in wording.verdict_sentence(found)
    assert wording.meaning_sentence(found).startswith("For your next experiments: ")
    assert meaning in wording.meaning_sentence(found)


def test_every_sentence_is_whole_and_nothing_is_nan():
    for changes in (
        {}, {"verdict": "locked", "reason": SAW}, {"verdict": "underpowered", "primary": None, "tests": ()},
        {"tests": ()}, {"ceiling": NAN, "share_kept": NAN, "notes": ()}, {"scores": scores()},
    ):  # fmt: skip
        found = predicted(prediction(**changes))
        for text in (
            wording.verdict_sentence(found), wording.meaning_sentence(found),
            *(text for _, text in wording.evidence(found)), wording.scatter_note(found.prediction),
            wording.lists_sentence(found.prediction), wording.perturbation_sentence(found, "GENE00"),
        ):  # fmt: skip
            assert text.endswith(".")
            assert "nan" not in text
            assert "None" not in text.replace("None: ", "")
            assert ".." not in text


def test_locked_shows_figures_and_no_test():
    found = predicted(prediction(verdict="locked", reason=SAW))
    evidence = dict(wording.evidence(found))
    assert "latent .300, raw .250" in evidence["Figures"]
    assert "Difference +.050, 95 % interval +.030 to +.070" in evidence["Figures"]
    assert evidence["With what right"].startswith("None: saw target")
    assert set(evidence) == {"Figures", "Ceiling", "With what right", "Split", "To be known"}


def test_what_a_verdict_rests_on():
    evidence = dict(wording.evidence(predicted()))
    assert evidence["Figures"].startswith(
        "Mean correlation of predicted with measured profiles, beyond the effect that all perturbations share (ρ⊥): "
        "latent .300, raw .250 (0 is what a mean says, 1 is perfect, more is better). Difference +.050, 95 % interval "
        "+.030 to +.070: the mean over 40 units of equal weight (a unit is a group of known partners"
    )
    assert evidence["Figures"].endswith("38 of which differ; p .01 by random signs.")
    assert evidence["Against a mean"] == (
        "Yes, latent is better than the mean of the perturbations that trained, which scores 0: +.300 (95 % interval "
        "+.250 to +.350)."
    )
    assert "A repeat of the same measurement would reach .80" in evidence["Ceiling"]
    assert evidence["With what right"].startswith(
        "By the card both representations were made without any cell of alpha. The perturbations were made in beta; "
    )
    assert wording.right_sentence(predicted(unstated=("raw", "latent"))).startswith(
        "The card does not say what they were made from; taken to be beta alone. The perturbations were made in beta; "
    )
    assert wording.right_sentence(predicted(unstated=("raw",))).startswith(
        "By the card latent saw no cell of alpha; it does not say what raw was made from, which is taken to be beta "
        "alone."
    )
    assert "5 folds dealt by groups, and a buffer round the one" in evidence["Split"]
    assert "kept 87 % of the others for training." in evidence["Split"]
    assert evidence["To be known"] == "3 perturbations have no profile in beta."


def test_an_interval_that_is_wider_than_random_signs_say():
    narrow = replace(against("raw", "simple", 0.05, 0.02), jackknife=0.08)
    said = wording.numbers_sentence(prediction(verdict="not shown", primary=narrow))
    assert said.endswith(
        "The interval includes 0, since fitting everything again without some units moves the difference that far."
    )
    assert wording.numbers_sentence(prediction(primary=NOTHING)).endswith("The interval includes 0.")


@pytest.mark.parametrize(
    ("test", "said"),
    [
        (against("mean", "baseline", 0.01, 0.05), "No, latent is not shown to be better than the mean"),
        (against("mean", "baseline", -0.2, 0.05), "No, latent is worse than the mean"),
    ],
)
def test_a_mean_that_is_not_beaten(test, said):
    assert wording.mean_sentence(prediction(tests=(test,))).startswith(said)


def test_placebos():
    well, norm = against("well position", "placebo", 0.2, 0.05), against("norm", "placebo", 0.25, 0.05)
    assert wording.placebo_sentence(prediction(tests=(well, norm))) == (
        "latent beats each of 2 placebos. The closest, well position: latent − well position is +.200 (95 % interval "
        "+.150 to +.250). It is where a perturbation lay on its plate, and nothing else."
    )
    closer = against("norm", "placebo", 0.01, 0.05)
    said = wording.placebo_sentence(prediction(tests=(well, closer)))
    assert said.startswith("latent does not beat norm.")
    assert "Where a perturbation lay on its plate (well position) predicts less: +.200" in said
    lost = wording.placebo_sentence(prediction(tests=(against("well position", "placebo", 0.02, 0.05), closer)))
    assert lost.startswith("latent does not beat norm and well position.")
    assert "may predict as well: +.020" in lost
    assert "is not declared" in wording.placebo_sentence(prediction(tests=(norm,)))
    assert "latent beats the one placebo." in wording.placebo_sentence(prediction(tests=(norm,)))
    assert "There is no placebo" in wording.placebo_sentence(prediction(tests=()))


def test_another_simple_representation_that_scores_higher_and_a_copy():
    table = pl.concat([prediction().scores, scores(("pca", "simple", "ridge", False, 0.28, 0.2, 0.1, 0.7, 0.5, 60))])
    found = prediction(scores=table, tests=COPY, verdict="not shown", primary=NOTHING)
    assert wording.opponent_sentence(found) == (
        "Another simple representation, pca, scores higher than raw (.280 against .250): the learned one must beat "
        "that. latent does not beat a copy of what the same perturbation did in the other context: −.100 (95 % "
        "interval −.150 to −.050)."
    )
    convenient = predicted(prediction(scores=table))
    assert wording.head(convenient) == "Better than raw, not held against pca"
    assert wording.tone(convenient) == "neutral"
    assert "not yet. pca, another simple representation, scores higher" in wording.meaning_sentence(convenient)
    plain = predicted(replace(found, tests=BEATEN))
    assert "predict from pca, the simple representation that scores highest." in wording.meaning_sentence(plain)
    lower = table.with_columns(pl.when(pl.col("name") == "pca").then(0.1).otherwise(pl.col("rho")).alias("rho"))
    assert wording.opponent_sentence(replace(found, scores=lower, tests=BEATEN)) == ""


def test_an_embedding_from_elsewhere_has_seen_nothing():
    found = predicted(prediction(task="prior"), plan=replace(PLAN, task="prior", source="alpha"), comparison=None)
    assert wording.verdict_sentence(found).startswith("latent predicts perturbations that nobody has made in alpha")
    assert "neither representation holds a measurement of this data set" in wording.right_sentence(found)
    assert wording.conditions(found) == [("Predicted: alpha", toy_predictions.passport("alpha").sentence)]
    assert wording.condition_warnings(found) == ()


def test_five_pairs_are_shown_and_not_tested():
    found = predicted(pairs())
    assert wording.head(found) == "Shown, not tested"
    assert wording.verdict_sentence(found) == (
        "5 pairs can be predicted from singles that were measured, and a test takes 6: mean correlation beyond the "
        "shared effect .800 for the sum of the singles, .810 for the larger single alone."
    )
    assert "Where the larger single alone does as well as the sum of the singles" in wording.meaning_sentence(found)
    evidence = dict(wording.evidence(found))
    assert evidence["With what right"] == "A pair is predicted from its singles alone, and nothing was fitted to pairs."
    assert "Split" not in evidence
    assert "no replicates" in evidence["Ceiling"]
    assert "Opponent" not in evidence
    assert "Its singles: Complex A" in wording.perturbation_sentence(
        found, found.prediction.perturbations["perturbation"][0]
    )


def test_six_pairs_are_tested():
    tested = pairs(
        verdict="predicts better",
        n_perturbations=8,
        n_blocks=8,
        primary=replace(against("larger single alone", "simple", 0.1, 0.05), n_blocks=8, n_discordant=8),
        tests=(against("mean", "baseline", 0.8, 0.1),),
    )
    found = predicted(tested)
    assert wording.verdict_sentence(found) == (
        "sum of the singles predicts pairs better than larger single alone and every baseline: +.100 in "
        "correlation, 95 % interval +.050 to +.150, 8 pairs."
    )
    assert wording.meaning_sentence(found).startswith("For your next experiments: choose by what sum of the singles")
    for changes in (
        {"verdict": "not shown", "primary": replace(tested.primary, estimate=0.01)},
        {"verdict": "underpowered", "primary": replace(tested.primary, n_discordant=5)},
    ):
        assert wording.meaning_sentence(predicted(replace(tested, **changes))) == (
            "For your next experiments: nothing yet. The sum of the singles and the larger single alone are not told "
            "apart, so that neither is to be preferred."
        )
    worse = replace(tested, verdict="predicts worse", primary=replace(tested.primary, estimate=-0.1))
    assert "predict from larger single alone" in wording.meaning_sentence(predicted(worse))
    assert "8 pairs of equal weight, 8 of which differ" in dict(wording.evidence(found))["Figures"]


def test_looking_at_several_predictions_costs():
    assert wording.tried_sentence(0) == wording.tried_sentence(1) == ""
    assert "false “predicts better” in up to 7.5 % of cases" in wording.tried_sentence(3)
    assert "up to 100 % of cases" in wording.tried_sentence(200)


def test_one_perturbation():
    found = predicted()
    assert wording.perturbation_sentence(found, "GENE00") == (
        "GENE00: ρ⊥ .900 by latent, not defined by raw (0 is what a mean says; a repeat would reach .80). Known "
        "groups: Complex A; Complex B."
    )
    assert wording.perturbation_sentence(found, "GENE59").startswith("GENE59: ρ⊥ not defined by latent, .900 by raw")
    assert wording.perturbation_sentence(found, "GENE01").endswith("It is in no known group.")
    assert wording.lists_sentence(found.prediction) == (
        "Of 60 perturbations, latent predicts 41 better than a mean would (1 have no score, since nothing is left of "
        "their profile or prediction); by chance it would be half of them."
    )


def test_features_that_are_not_drawn_are_told():
    assert "2,000 of 2,500 features" in wording.scatter_note(prediction(n_features=2_500))
    assert wording.scatter_note(prediction()) == wording.SCATTER_NOTE


def test_conditions_and_about(tmp_path):
    catalog = open_catalog(toys.write_catalog(tmp_path))
    found = predicted()
    assert [heading for heading, _ in wording.conditions(found)] == [
        "Predicted: alpha", "Predicted from: beta", "What differs",
    ]  # fmt: skip
    assert wording.condition_warnings(found) == ("the technique is stated in neither",)
    assert "Predicted from beta. Alignment none." in wording.context_line(catalog, found)
    rows = dict(wording.about_rows(catalog, found))
    assert rows["Learned recipe"] == "latent of beta"
    assert rows["Target fingerprint"] == "a" * 12
    assert "Known groups: Pairs" in rows
    assert not math.isnan(found.prediction.ceiling)
