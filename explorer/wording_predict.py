"""What a prediction says in plain sentences: every number with its null, its units, its direction and its right."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import polars as pl

from explorer.catalog import Catalog, shared_knowledge
from explorer.digits import counted, number, percent, plain, signed, small
from explorer.judgements import own_sources
from explorer.predict import (
    COPY,
    FEWEST_BLOCKS,
    FEWEST_DISCORDANT,
    FEWEST_PAIRS,
    FEWEST_PREDICTED,
    WELL_POSITION,
    Prediction,
    PredictionTest,
)
from explorer.predicted import (
    FALSE_BETTER,
    MOST_POINTS,
    PAIRS,
    Predicted,
    better_simple,
    mean_test,
    scores_of,
    source_dataset,
    unbeaten,
)

_HEADS = {
    "predicts better": "Predicts better",
    "underpowered": "Too little to tell",
    "locked": "No verdict",
}
# What locks a verdict, as the reason names it.
_LOCKS = {"saw target": "No verdict: it saw the target", "same cells": "No verdict: made from the same cells"}
_BASELINES = {COPY: "a copy of the other context", "mean": "a mean", "no change": "no change"}
_TONES: Mapping[str, Literal["success", "neutral", "danger", "warn"]] = {
    "predicts better": "success", "not shown": "neutral", "predicts worse": "danger", "underpowered": "warn",
    "locked": "warn",
}  # fmt: skip
QUESTION = "Does it predict a perturbation nobody has made yet, better than a mean?"
UNIT_NOTE = "a unit is a group of known partners, or a perturbation that is in none"
NO_LAYOUT = "Where a perturbation lay on its plate is not declared, so that what positions alone predict is not known."
FOREST_NOTE = (
    f"A point is the mean difference in ρ⊥ over units of equal weight ({UNIT_NOTE}), the bar its 95 % interval: the "
    "wider of random signs of the units and of a jackknife over the whole procedure. The topmost line decides, beside "
    "the baselines and the placebos, each of which must be beaten at 5 %. A placebo knows nothing of biology; a "
    "baseline learns nothing."
)
SCORE_NOTE = (
    "ρ⊥ decides: the correlation of a predicted with the measured profile after what all perturbations share is taken "
    "out of both, mean over units; 0 is what a mean says, 1 is perfect, more is better. ρ⊥, neighbours (strokes in the "
    "figure): the same where nearest neighbours predict and not ridge regression. Skill: the share of the variation "
    "about the training mean that is predicted; 0 is that mean, below 0 is worse than it, more is better. PDS, the "
    "perturbation discrimination score: the share of the other measured profiles that are less like a prediction than "
    "its own is; .5 is chance, 1 is perfect. MAE, the mean absolute error in units of the target: less is better, for "
    "display only, since it rewards predicting little. n: perturbations predicted."
)
SCATTER_NOTE = (
    "A point is a feature of the target; both axes show how far it lies from the mean of the perturbations that "
    "trained. On the dashed line a prediction would be perfect. ρ⊥ leaves out a shift of all features, and whatever "
    "all perturbations share, so that points off the line may still have a high one."
)
LIST_NOTE = (
    "learned, simple: ρ⊥ of this one perturbation (0 is what a mean says; more is better). effect: how far the "
    "measured profile lies from the mean, in units of the target; a weak one holds little to predict. ceiling: what a "
    "repeat of the same measurement would reach. A single perturbation is an anecdote: only their mean was tested. "
    "Select a row to draw it."
)


# ---------------------------------------------------------------- the verdict


def head(found: Predicted) -> str:
    """Write the word of the verdict, as a heading."""
    prediction = found.prediction
    if prediction.verdict == "underpowered" and prediction.task == PAIRS and prediction.primary is None:
        return "Shown, not tested"
    if prediction.verdict == "locked":
        return next((said for lock, said in _LOCKS.items() if lock in prediction.reason), _HEADS["locked"])
    baselines = _stopped_by(prediction)
    if baselines:
        return f"Better than {prediction.simple}, not shown to beat {baselines}"
    if _conditional(prediction):
        best = better_simple(prediction)
        assert best is not None
        return f"Better than {prediction.simple}, not held against {best[0]}"
    if prediction.verdict in _HEADS:
        return _HEADS[prediction.verdict]
    # The page asks about a mean, the verdict is about the simple one: both are answered.
    mean, primary = mean_test(prediction), prediction.primary
    if mean is not None and not mean.low > 0:
        worse = f"worse than {prediction.simple}, " if prediction.verdict == "predicts worse" else ""
        return _capital(f"{worse}not shown to beat a mean")
    start = "" if mean is None else "Better than a mean, "
    if prediction.verdict == "predicts worse":
        return _capital(f"{start}worse than {prediction.simple}")
    placebos = [test.against for test in unbeaten(prediction, "placebo")]
    if primary is not None and primary.low > 0 and placebos:
        return _capital(f"{start}not shown to beat {placebos[0]}")
    return _capital(f"{start}not shown to beat {prediction.simple}")


def tone(found: Predicted) -> Literal["success", "neutral", "danger", "warn"]:
    """Colour of the verdict, as a callout of the page names it; that of *not shown* where the gain has a condition."""
    return _TONES["not shown" if _conditional(found.prediction) else found.prediction.verdict]


def _conditional(prediction: Prediction) -> bool:
    """Whether the learned one is better than the simple one, and yet another simple one may do as well."""
    return prediction.verdict == "predicts better" and better_simple(prediction) is not None


def _stopped_by(prediction: Prediction) -> str:
    """Name the baselines that are not beaten where the simple one is; empty where there are none."""
    primary = prediction.primary
    if prediction.verdict != "not shown" or primary is None or not primary.low > 0:
        return ""
    return _baselines(prediction)


def _baselines(prediction: Prediction) -> str:
    """Name the baselines that are not beaten."""
    names = [test.against for test in unbeaten(prediction, "baseline")]
    return _and([_BASELINES.get(name, name) for name in names])


def verdict_sentence(found: Predicted) -> str:
    """Say the verdict in one plain sentence, with its interval and its number of units."""
    prediction, plan = found.prediction, found.plan
    learned, simple, primary = prediction.learned, prediction.simple, prediction.primary
    if prediction.verdict == "locked":
        return _capital(f"{_bare(prediction.reason)}: the figures are shown, and no verdict is given.")
    if primary is None:
        return _too_few(prediction)
    units = _units(prediction)
    if prediction.verdict == "underpowered":
        return (
            f"{learned} and {simple} differ on {primary.n_discordant:,} of {units}, too few to tell them apart "
            f"(a verdict takes {FEWEST_DISCORDANT})."
        )
    what = "pairs" if prediction.task == PAIRS else f"perturbations that nobody has made in {plan.context}"
    source = "" if plan.source in ("", plan.context) else plan.source
    start = f"From {source}, {learned}" if source else learned
    measured = f"{signed(primary.estimate)} in correlation, {_interval(primary)}, {units}"
    if prediction.verdict == "predicts better":
        kinds = [kind for kind in ("baseline", "placebo") if any(test.kind == kind for test in prediction.tests)]
        also = "".join(f" and every {kind}" for kind in kinds)
        return f"{start} predicts {what} better than {simple}{also}: {measured}."
    if prediction.verdict == "predicts worse":
        return f"{start} predicts {what} less well than {simple} does: {measured}."
    if primary.low > 0:
        placebos = [test.against for test in unbeaten(prediction, "placebo")]
        names = _and([*([_stopped_by(prediction)] if _stopped_by(prediction) else []), *placebos])
        but = f"but is not shown to beat {names}" if names else f"but {_bare(prediction.reason)}"
        return f"{start} predicts {what} better than {simple} does ({measured}), {but}."
    where = f"from {source}, " if source else ""
    return f"It is not shown that {where}{learned} predicts {what} better than {simple} does: {measured}."


def _too_few(prediction: Prediction) -> str:
    if prediction.task == PAIRS:
        return _pairs_sentence(prediction)
    return (
        f"{counted(prediction.n_perturbations, 'perturbation')} in {_units(prediction)} are too few to tell whether "
        f"{prediction.learned} predicts better than {prediction.simple} (a verdict takes {FEWEST_PREDICTED} "
        f"perturbations and {FEWEST_BLOCKS} units)."
    )


def _pairs_sentence(prediction: Prediction) -> str:
    rho = _sides(prediction)
    return (
        f"{counted(prediction.n_perturbations, 'pair')} can be predicted from singles that were measured, and a test "
        f"takes {FEWEST_PAIRS}: mean correlation beyond the shared effect {_rho(rho['learned'])} for the "
        f"{prediction.learned}, {_rho(rho['simple'])} for the {prediction.simple}."
    )


def meaning_sentence(found: Predicted) -> str:
    """Say what the verdict means for somebody who must choose the next experiments."""
    return f"For your next experiments: {_meaning(found)}"


def _meaning(found: Predicted) -> str:
    prediction = found.prediction
    learned, simple, context = prediction.learned, prediction.simple, found.plan.context
    if prediction.verdict == "locked" and not any(lock in prediction.reason for lock in _LOCKS):
        return "nothing yet. Name sources of known groups, so that what is related to a perturbation can be held back."
    if prediction.verdict == "locked":
        return (
            "this says nothing about perturbations that nobody has made, since what predicts them has seen them. "
            f"Choose representations that were made without {context}."
        )
    if prediction.task == PAIRS and prediction.primary is None:
        return (
            f"look at the pairs one by one. Where the {simple} does as well as the {learned}, adding says nothing more."
        )
    if prediction.task == PAIRS and prediction.primary is not None and not _is_told_apart(prediction):
        return f"nothing yet. The {learned} and the {simple} are not told apart, so that neither is to be preferred."
    mean = mean_test(prediction)
    if mean is not None and not mean.low > 0 and prediction.verdict != "underpowered":
        return (
            f"do not choose by {learned}: the mean profile of all perturbations, which tells none from another, is not "
            f"beaten{_simple_instead(prediction)}."
        )
    best = better_simple(prediction)
    if _stopped_by(prediction):
        return f"{_baselines(prediction)} is simpler, and {learned} is not shown to be better: choose by that."
    if _conditional(prediction) and best is not None:
        rival = f"{best[0]}, another simple representation"
        return f"not yet. {rival}, scores higher than {simple}: hold {learned} against it."
    if prediction.verdict == "predicts better":
        return (
            f"choose by what {learned} predicts for {context}, most where perturbations of the same groups are "
            "predicted well (the lists below), and measure what you choose."
        )
    better = simple if best is None else f"{best[0]}, the simple representation that scores highest"
    if prediction.verdict == "predicts worse":
        return f"predict from {better}; where {learned} says otherwise, do not trust it."
    if prediction.verdict == "underpowered":
        return f"stay with {simple}, the simpler one, or bring more perturbations in more known groups."
    names = [test.against for test in unbeaten(prediction, "placebo")]
    if prediction.primary is not None and prediction.primary.low > 0 and names:
        return f"not yet. What {learned} predicts, {_and(names)} may predict as well, so it need not be biology."
    return f"predict from {better}. That no gain is shown does not mean that there is none."


def _is_told_apart(prediction: Prediction) -> bool:
    """Whether the two that are compared differ for sure."""
    primary = prediction.primary
    return primary is not None and primary.excludes_zero and prediction.verdict != "underpowered"


def _simple_instead(prediction: Prediction) -> str:
    """Name the simple representation where the learned one is worse than it."""
    rho = _sides(prediction)["simple"]
    if prediction.verdict == "predicts worse" and rho > 0:
        return f"; {prediction.simple} predicts better (ρ⊥ {_rho(rho)})"
    return ""


# ---------------------------------------------------------------- what it rests on


def evidence(found: Predicted) -> list[tuple[str, str]]:
    """Say what the verdict rests on, as pairs of a word and a sentence or two."""
    prediction = found.prediction
    every = [
        ("Figures", numbers_sentence(prediction)),
        ("Against a mean", mean_sentence(prediction)),
        ("Opponent", opponent_sentence(prediction)),
        ("Placebos", placebo_sentence(prediction)),
        ("Ceiling", ceiling_sentence(prediction)),
        ("With what right", right_sentence(found)),
        ("Split", split_sentence(prediction)),
        ("To be known", " ".join(f"{_capital(_bare(note))}." for note in prediction.notes)),
    ]
    return [(word, text) for word, text in every if text]


def numbers_sentence(prediction: Prediction) -> str:
    """Give the primary quantity of both sides with its null, its interval, its units and its direction."""
    if not prediction.scores.height:
        return ""
    rho, primary = _sides(prediction), prediction.primary
    said = (
        "Mean correlation of predicted with measured profiles, beyond the effect that all perturbations share (ρ⊥): "
        f"{prediction.learned} {_rho(rho['learned'])}, {prediction.simple} {_rho(rho['simple'])} (0 is what a mean "
        "says, 1 is perfect, more is better)."
    )
    if primary is None:
        return said
    note = "" if prediction.task == PAIRS else f" ({UNIT_NOTE})"
    return (
        f"{said} Difference {signed(primary.estimate)}, {_interval(primary)}: the mean over {_units(prediction)} of "
        f"equal weight{note}, {primary.n_discordant:,} of which differ; p {small(primary.p)} by random signs."
        f"{'' if primary.excludes_zero else _includes_zero(primary)}"
    )


def _includes_zero(test: PredictionTest) -> str:
    """Say that 0 is possible, and why where random signs alone would deny it."""
    if abs(test.estimate) <= test.sign_flip:
        return " The interval includes 0."
    return " The interval includes 0, since fitting everything again without some units moves the difference that far."


def mean_sentence(prediction: Prediction) -> str:
    """Answer the question of the page, whether it is better than a mean."""
    test = mean_test(prediction)
    if test is None or prediction.verdict == "locked":
        return ""
    is_what = "better than" if test.low > 0 else "worse than" if test.high < 0 else "not shown to be better than"
    return (
        f"{'Yes' if test.low > 0 else 'No'}, {prediction.learned} is {is_what} the mean of the perturbations that "
        f"trained, which scores 0: {signed(test.estimate)} ({_interval(test)})."
    )


def opponent_sentence(prediction: Prediction) -> str:
    """Warn that another simple representation scores higher than the one judged, or that a copy does as well."""
    best = better_simple(prediction)
    said = []
    if best is not None and prediction.verdict != "locked":
        said.append(
            f"Another simple representation, {best[0]}, scores higher than {prediction.simple} ({_rho(best[1])} "
            f"against {_rho(_sides(prediction)['simple'])}): the learned one must beat that."
        )
    copy = next((test for test in prediction.tests if test.against == COPY), None)
    if copy is not None and prediction.verdict != "locked":
        does = "beats" if copy.low > 0 else "does not beat"
        said.append(
            f"{prediction.learned} {does} a copy of what the same perturbation did in the other context: "
            f"{signed(copy.estimate)} ({_interval(copy)})."
        )
    return " ".join(said)


def placebo_sentence(prediction: Prediction) -> str:
    """Say how the learned representation stands against what learned nothing."""
    placebos = [test for test in prediction.tests if test.kind == "placebo"]
    if prediction.verdict == "locked" or prediction.task == PAIRS or prediction.primary is None:
        return ""
    if not placebos:
        return "There is no placebo among these representations, so that it is not known what nothing at all predicts."
    learned = prediction.learned
    lost = [test.against for test in unbeaten(prediction, "placebo")]
    every = "the one placebo" if len(placebos) == 1 else f"each of {len(placebos)} placebos"
    closest = min(placebos, key=lambda test: test.low)
    said = (
        f"{learned} {f'does not beat {_and(lost)}' if lost else f'beats {every}'}. The closest, {closest.against}: "
        f"{learned} − {closest.against} is {signed(closest.estimate)} ({_interval(closest)})."
    )
    well = next((test for test in placebos if test.against == WELL_POSITION), None)
    if well is None:
        return f"{said} {NO_LAYOUT}"
    if well is closest:
        return f"{said} It is where a perturbation lay on its plate, and nothing else."
    does = "predicts less" if well.low > 0 else "may predict as well"
    return (
        f"{said} Where a perturbation lay on its plate ({WELL_POSITION}) {does}: {signed(well.estimate)} "
        f"({_interval(well)})."
    )


def ceiling_sentence(prediction: Prediction) -> str:
    """Say what a perfect prediction could reach, or why it is not known."""
    if math.isnan(prediction.ceiling):
        note = _bare(prediction.ceiling_note) or "there are no replicates to ask"
        return f"What a perfect prediction could reach is not known: {note}."
    return (
        f"A repeat of the same measurement would reach {number(prediction.ceiling, 2)}, by halves of the replicates: "
        "no prediction of these profiles can be expected to do better."
    )


def right_sentence(found: Predicted) -> str:
    """Say with what right it is called a prediction."""
    prediction, plan = found.prediction, found.plan
    if prediction.verdict == "locked":
        return _capital(f"None: {_bare(prediction.reason)}.")
    if prediction.task == PAIRS:
        return "A pair is predicted from its singles alone, and nothing was fitted to pairs."
    if plan.source in ("", plan.context):
        return (
            "By the card neither representation holds a measurement of this data set, so that the profiles predicted "
            "are new to both."
        )
    return (
        f"{_made_in(found)} The perturbations were made in {plan.source}; what was held back is what they do in "
        f"{plan.context}."
    )


def _made_in(found: Predicted) -> str:
    """Say what the two representations were made from, and whether the card says so."""
    plan, unstated = found.plan, found.unstated
    stated = [name for name in (plan.learned, plan.simple) if name not in unstated]
    if not unstated:
        return f"By the card both representations were made without any cell of {plan.context}."
    if stated:
        return (
            f"By the card {_and(stated)} saw no cell of {plan.context}; it does not say what {_and(unstated)} was made "
            f"from, which is taken to be {plan.source} alone."
        )
    return f"The card does not say what they were made from; taken to be {plan.source} alone."


def split_sentence(prediction: Prediction) -> str:
    """Explain in one sentence what was held back."""
    if prediction.task == PAIRS or not prediction.perturbations.height:
        return ""
    folds = counted(prediction.perturbations["fold"].n_unique(), "fold")
    kept = "" if math.isnan(prediction.share_kept) else f", which kept {percent(prediction.share_kept)} of the others"
    return (
        f"Each of {counted(prediction.n_perturbations, 'perturbation')} was predicted once, by a fit that saw neither "
        f"it nor any that shares a known group with it: {folds} dealt by groups, and a buffer round the one that is "
        f"predicted{kept} for training."
    )


def tried_sentence(n_tried: int) -> str:
    """Say what it costs to pick among several plans; empty after the first."""
    if n_tried < 2:
        return ""
    return (
        f"You have looked at {n_tried} predictions of this dataset in this session. Whoever picks the best of "
        f"{n_tried} finds a false “predicts better” in up to {percent(min(1.0, n_tried * FALSE_BETTER))} of cases "
        f"where there is nothing to find; for one look it is {percent(FALSE_BETTER)}."
    )


# ---------------------------------------------------------------- perturbation by perturbation


def scatter_note(prediction: Prediction) -> str:
    """Explain the scatter, and say where not all features are drawn."""
    n = prediction.truth.shape[1]
    drawn = f" {MOST_POINTS:,} of {n:,} features are drawn, chosen at random." if n > MOST_POINTS else ""
    return SCATTER_NOTE + drawn


def perturbation_sentence(found: Predicted, name: str) -> str:
    """Say how well one perturbation was predicted, and which groups it is in."""
    prediction = found.prediction
    rho = scores_of(prediction, name)
    row = prediction.perturbations.filter(pl.col("perturbation") == name).row(0, named=True)
    ceiling = row["ceiling"]
    reach = "" if ceiling is None or math.isnan(ceiling) else f"; a repeat would reach {number(ceiling, 2)}"
    heading = "Its singles" if prediction.task == PAIRS else "Known groups"
    groups = f"{heading}: {row['groups']}" if row["groups"] else "It is in no known group"
    return (
        f"{name}: ρ⊥ {_rho(rho['learned'])} by {prediction.learned}, {_rho(rho['simple'])} by {prediction.simple} (0 "
        f"is what a mean says{reach}). {groups}."
    )


def lists_sentence(prediction: Prediction) -> str:
    """Count the perturbations of which something is predicted."""
    learned = prediction.perturbations["learned"].fill_nan(None).drop_nulls()
    without = prediction.n_perturbations - len(learned)
    rest = f" ({without:,} have no score, since nothing is left of their profile or prediction)" if without else ""
    what = "pair" if prediction.task == PAIRS else "perturbation"
    return (
        f"Of {counted(prediction.n_perturbations, what)}, {prediction.learned} predicts {int((learned > 0).sum()):,} "
        f"better than a mean would{rest}; by chance it would be half of them."
    )


# ---------------------------------------------------------------- what it hangs on


def conditions(found: Predicted) -> list[tuple[str, str]]:
    """List the conditions that all of it hangs on, as pairs of a heading and a text."""
    comparison = found.comparison
    rows = [(f"Predicted: {found.passport.context}", found.passport.sentence)]
    if comparison is not None:
        rows.append((f"Predicted from: {comparison.one.context}", comparison.one.sentence))
        rows.append(("What differs", comparison.sentence))
    return rows


def condition_warnings(found: Predicted) -> tuple[str, ...]:
    """Warn of what can't be told apart."""
    return () if found.comparison is None else found.comparison.warnings


def context_line(catalog: Catalog, found: Predicted) -> str:
    """State the conditions in a line."""
    plan = found.plan
    title = catalog.dataset(plan.dataset).card.title.rstrip(".")
    source = "" if plan.source in ("", plan.context) else f" Predicted from {plan.source}."
    return (
        f"{title}. Target: {plan.target} of {plan.context} ({found.passport.sentence}).{source} Alignment {plan.align}."
    )


def about_rows(catalog: Catalog, found: Predicted) -> list[tuple[str, str]]:
    """List what the card, the sources and the recipes say, as pairs of a heading and a text."""
    plan = found.plan
    dataset = catalog.dataset(plan.dataset)
    card, knowledge = dataset.card, shared_knowledge(dataset)
    rows = [
        ("Dataset", card.title),
        ("Licence", card.license),
        ("Citation", card.citation),
        ("Description", card.description),
        ("Provenance", card.provenance),
        ("Assumed", "; ".join(dataset.notes)),
    ]
    there = source_dataset(catalog, plan.dataset, plan.source).card
    for side, name in (("target", plan.target), ("simple", plan.simple), ("learned", plan.learned)):
        entry = (card if side == "target" else there).representations.get(name)
        if entry is not None:
            heading = _capital(side)
            rows += [
                (heading, f"{entry.name} ({entry.kind}): {entry.description}".removesuffix(": ")),
                (f"{heading}: how it was trained", entry.trained),
                (f"{heading} recipe", found.prediction.recipes.get(side, "")),
            ]
    used = plan.sources or own_sources(dataset)
    rows += [(f"Known groups: {name}", text) for name, text in knowledge.licences.items() if name in used]
    rows += again_rows(found)
    return [(heading, " ".join(text.split())) for heading, text in rows if text.strip()]


def again_rows(found: Predicted) -> list[tuple[str, str]]:
    """List what it takes to know the same prediction again: its seed and the fingerprints of its maps."""
    prediction = found.prediction
    prints = [(f"{_capital(name)} fingerprint", value) for name, value in prediction.fingerprints.items()]
    return [("Seed", str(prediction.seed)), *prints]


def _sides(prediction: Prediction) -> dict[str, float]:
    """ρ⊥ of both sides, by kind; NaN where there is none."""
    names = {"learned": prediction.learned, "simple": prediction.simple}
    found: dict[str, float] = {}
    for name, kind, rho in prediction.scores.select("name", "kind", "rho").iter_rows():
        if kind in names and (kind not in found or name == names[kind]):
            found[kind] = math.nan if rho is None else float(rho)
    return dict.fromkeys(names, math.nan) | found


def _units(prediction: Prediction) -> str:
    return counted(prediction.n_blocks, "pair" if prediction.task == PAIRS else "unit")


def _rho(value: float) -> str:
    """Write a correlation, which may be negative, without a sign where it is not."""
    return number(value)


def _interval(test: PredictionTest) -> str:
    return f"95 % interval {signed(test.low)} to {signed(test.high)}"


def _and(parts: Sequence[str]) -> str:
    every = list(parts)
    return "".join(every) if len(every) < 2 else f"{', '.join(every[:-1])} and {every[-1]}"


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _bare(text: str) -> str:
    """Take the full stop off a sentence that goes into another."""
    return plain(text).rstrip(".")
