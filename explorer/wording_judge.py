"""What a judgement says in plain sentences: every number with its null, its units and its direction."""

from __future__ import annotations

from explorer.catalog import Catalog, shared_knowledge, shared_map
from explorer.digits import brief, count, number, percent, plain, signed, small
from explorer.judged import FALSE_WORTH, Judged, JudgeView, Looked, plan_table
from explorer.verdict import FEWEST_DISCORDANT, FEWEST_UNITS, Judgement, KnownHits, MapComparison

_HEADS = {
    "worth it": "Worth it",
    "not shown": "Not shown",
    "worse": "Worse",
    "underpowered": "Too little is known to tell",
    "locked": "No verdict: the two maps were not made alike",
}
TONES = {"worth it": "success", "not shown": "neutral", "worse": "danger", "underpowered": "warn", "locked": "warn"}


def head(judged: Judged) -> str:
    """Write the word of the verdict, as a heading; another combination than the declared one is marked."""
    return _HEADS[judged.judgement.verdict] + ("" if judged.is_declared else " · exploratory")


def verdict_sentence(judgement: Judgement, view: JudgeView) -> str:
    """Say the verdict in one plain sentence."""
    learned, simple, where = judgement.learned, judgement.simple, view.context
    return {
        "worth it": f"In {where}, {learned} brings known partners together better than {simple} does, and better than "
        "every placebo.",
        "not shown": f"In {where}, it is not shown that {learned} brings known partners together better than {simple} "
        f"{_but(judgement)}.",
        "worse": f"In {where}, {learned} brings known partners together less well than {simple} does.",
        "underpowered": f"In {where}, what is known is too little to tell {learned} and {simple} apart, either way.",
        "locked": f"{learned} and {simple} differ in more than the representation, so nothing is compared.",
    }[judgement.verdict]


def _but(judgement: Judgement) -> str:
    test = judgement.primary.test
    if not (test.excludes_zero and test.estimate > 0):
        return "does"
    if any(not placebo.beaten for placebo in judgement.placebos):
        return "for anything that it has learned: a placebo does as well"
    return "where it counts: the most similar pairs, those you would test, hold fewer known ones"


def meaning_sentence(judgement: Judgement) -> str:
    """Say what the verdict means for somebody who must choose the next experiments."""
    learned, simple = judgement.learned, judgement.simple
    if judgement.verdict == "locked":
        return (
            "For your next experiments: this says nothing. Choose two representations that went through the same steps."
        )
    # A convenient opponent must not send anybody to the second best list.
    best = judgement.better_simple[0] if judgement.better_simple else None
    if judgement.verdict == "worth it" and best is not None and not best.beaten:
        return (
            f"For your next experiments: not yet. {best.name}, another simple representation, scores higher than "
            f"{simple} and is not beaten; judge {learned} against it."
        )
    from_whom = simple if best is None else f"{best.name}, the simple representation that scores highest"
    return {
        "worth it": f"For your next experiments: choose from {learned}, for complexes and pathways like those known. "
        "What is not annotated was not judged.",
        "not shown": f"For your next experiments: stay with {from_whom}. That no gain is shown does not mean that "
        "there is none; what would show it stands below.",
        "worse": f"For your next experiments: choose from {from_whom}, and where it disagrees with {learned} trust it "
        f"more. {learned} loses partners that are already known.",
        "underpowered": f"For your next experiments: stay with {simple}, since it is the simpler one, or bring more "
        "known complexes and pathways of these perturbations.",
    }[judgement.verdict]


def numbers_sentence(judgement: Judgement) -> str:
    """Give the primary quantity of both maps with its chance, its interval, its units and its direction."""
    primary = judgement.primary
    test = primary.test
    if judgement.verdict == "locked":
        return f"None: {plain(judgement.reason)}."
    what = "groups of known partners" if primary.groups == "given" else "communities of known partners"
    return (
        f"Of the known partners that can be among the {primary.k} nearest, {percent(primary.learned)} are in "
        f"{judgement.learned} and {percent(primary.simple)} in {judgement.simple} (by chance "
        f"{percent(primary.chance)}; more is better). Difference {signed(test.estimate)}, 95 % interval "
        f"{signed(test.low)} to {signed(test.high)}, p {small(test.p)}: the mean over {test.n_units:,} {what} of equal "
        f"weight, {test.n_discordant:,} of which differ.{'' if test.excludes_zero else ' The interval includes 0.'}"
    )


def reason_sentence(judgement: Judgement) -> str:
    """Say why it is this word where the figures alone do not: too few groups, a placebo, the lists at the budget."""
    test = judgement.primary.test
    told = judgement.verdict in ("worse", "worth it", "locked")
    if told or (judgement.verdict == "not shown" and not test.excludes_zero):
        return ""
    return f"{plain(judgement.reason[:1].upper() + judgement.reason[1:])}."


def opponent_sentence(judgement: Judgement) -> str:
    """Warn that another simple representation scores higher than the one judged; empty where none does."""
    higher = judgement.better_simple
    if judgement.verdict == "locked" or not higher:
        return ""
    best = higher[0]
    return (
        f"Another simple representation, {best.name}, scores higher than {judgement.simple} ({percent(best.score)} "
        f"against {percent(judgement.primary.simple)}): the learned one must beat that. {judgement.learned} − "
        f"{best.name} is {interval(best)}."
    )


def placebo_sentence(judgement: Judgement) -> str:
    """Say how the learned map stands against maps that learned nothing."""
    best = judgement.best_placebo
    if judgement.verdict == "locked":
        return ""
    if best is None:
        return "There is no placebo among these representations, so that it is not known what nothing at all scores."
    unbeaten = [placebo.name for placebo in judgement.placebos if not placebo.beaten]
    count = len(judgement.placebos)
    beaten = (
        f"{judgement.learned} beats {'the one placebo' if count == 1 else f'each of {count} placebos'}"
        if not unbeaten
        else f"{judgement.learned} does not beat {_and(unbeaten)}"
    )
    return (
        f"{beaten}. The best, {best.name}, scores {percent(best.score)}; "
        f"{judgement.learned} − {best.name} is {interval(best)}."
    )


def seeds_sentence(judgement: Judgement) -> str:
    """Hold the difference against what the seed alone changes; empty where there are no other seeds."""
    if judgement.verdict == "locked" or not judgement.seeds:
        return ""
    scores = [judgement.primary.learned, *(seed.score for seed in judgement.seeds)]
    spread = max(scores) - min(scores)
    estimate = judgement.primary.test.estimate
    verdict = (
        "no less than the difference judged: it may be the seed's"
        if spread >= abs(estimate)
        else f"less than the difference judged, {signed(estimate)}"
    )
    others = "the other seed" if len(judgement.seeds) == 1 else f"{len(judgement.seeds)} other seeds"
    said = (
        f"The same model from {others} scores {_and([percent(seed.score) for seed in judgement.seeds])} (this "
        f"one {percent(judgement.primary.learned)}); the spread is {number(spread)}, {verdict}."
    )
    if estimate == 0:
        return said
    same = sum((seed.test.estimate > 0) == (estimate > 0) for seed in judgement.seeds)
    where = "above" if estimate > 0 else "below"
    return f"{said} {same} of {len(judgement.seeds)} lie {where} {judgement.simple} as well."


def declared_sentence(judged: Judged) -> str:
    """Say whether the view is the one declared beforehand, and what the declared verdict is."""
    what = _described(judged.declared_view)
    if judged.is_declared:
        return f"This is the combination that was declared beforehand: {what}."
    return (
        f"Exploratory: this is not the combination that was declared beforehand ({what}), whose verdict is "
        f"“{judged.declared.verdict}”."
    )


def meter_sentence(judged: Judged, looked: Looked, *, n_looked: int) -> str:
    """Say how many combinations were looked at, which one was declared, and what picking among them costs."""
    view, what = judged.view, _described(judged.declared_view)
    if n_looked == 1:
        return f"This is the combination that was declared beforehand ({what}), and the only one looked at so far."
    words = looked.words(view.dataset)
    counted = ", ".join(f"“{word}” {count}" for word, count in words.items())
    here = (
        "This is the declared one."
        if judged.is_declared
        else f"This is another one, so it is exploratory: the declared verdict stays “{judged.declared.verdict}”."
    )
    return (
        f"You have looked at {n_looked} combinations of context, source, k, budget, alignment and representations in "
        f"this session ({counted}). The declared one is {what}. {here} Whoever picks the best of {n_looked} finds a "
        f"false “worth it” in up to {percent(min(1.0, n_looked * FALSE_WORTH))} of cases where there is nothing to "
        f"find; for one look it is {percent(FALSE_WORTH)}."
    )


def hits_sentence(hits: KnownHits) -> str:
    """Say how the lists at the budget differ in known pairs: in this screen, and beyond it."""
    gained = hits.learned - hits.simple
    held = f"({count(hits.learned)} v {count(hits.simple)})"
    if abs(gained) < 0.05:
        return f"In this screen the learned map's top {hits.budget:,} holds as many known pairs {held}."
    said = f"{count(abs(gained))} {'more' if gained > 0 else 'fewer'} known pairs"
    return (
        f"In this screen the learned map's top {hits.budget:,} holds {said} {held}. They come from "
        f"{number(hits.effective_units, 1)} effective groups; the generalising interval is "
        f"{count(hits.test.low, sign=True)} … {count(hits.test.high, sign=True)}."
    )


def largest_sentence(hits: KnownHits) -> str:
    """Name the groups that make up most of the difference at the budget; empty where there is none."""
    if not hits.largest:
        return ""
    listed = ", ".join(f"{name} ({count(value, sign=True)})" for name, value in hits.largest)
    return f"The groups that make up most of it: {listed}. By chance a list of {hits.budget:,} pairs holds \
{count(hits.chance)}."


def disagreement_sentence(judgement: Judgement) -> str:
    """Say on how many pairs the lists differ, and how many of them are known on each side."""
    hits = judgement.known_hits
    if hits is None:
        return ""
    (n_simple, known_simple), (n_learned, known_learned) = hits.only_simple, hits.only_learned
    if not n_learned:
        return f"Both lists of {hits.budget:,} pairs are the same: at this budget nothing can repay the learned map."
    return (
        f"Only pairs on which the maps disagree can repay the learned one: {n_learned:,} of {hits.budget:,}. Known "
        f"among them: {known_learned:,} of the {n_learned:,} that only {judgement.learned} lists "
        f"({percent(known_learned / n_learned)}), {known_simple:,} of the {n_simple:,} that only {judgement.simple} "
        f"lists ({percent(known_simple / n_simple)}). Not known is not false."
    )


def change_sentence(judgement: Judgement) -> str:
    """Say what would change the verdict."""
    test = judgement.primary.test
    if judgement.verdict == "locked":
        return "Two maps whose recipes differ in the representation alone."
    if judgement.verdict == "worse":
        return (
            "The whole interval lies below 0, so more groups like these would only narrow it: it takes another learned "
            f"map. A true difference of {number(test.smallest_detectable)}, up or down, would have shown 4 times in 5."
        )
    if judgement.verdict == "worth it":
        return (
            "Groups that say otherwise, a placebo or another simple map that does as well, or another seed: an "
            "interval that reaches 0."
        )
    if test.excludes_zero and test.estimate > 0:
        # Better than the simple map, and yet not shown.
        return "A learned map that beats every placebo and does not lose known pairs at this budget."
    table = plan_table(judgement)
    if not table.height:
        return (
            "The maps differ in no group, so nothing says how much groups vary: other maps, or other known groups, "
            "would be needed."
        )
    if test.n_units < FEWEST_UNITS:
        return f"It takes {FEWEST_UNITS} groups for a verdict, and there are {test.n_units}."
    if test.n_discordant < FEWEST_DISCORDANT:
        return (
            f"It takes {FEWEST_DISCORDANT} groups on which the maps differ, and there are {test.n_discordant}: other "
            "known groups, or other maps."
        )
    first = f"A true difference of {number(test.smallest_detectable)} would have shown here 4 times in 5."
    short = [
        (difference, more) for difference, _, more in table.rows() if more and difference < test.smallest_detectable
    ]
    if not short:
        return first
    difference, more = short[-1]
    return f"{first} With {more:,} more annotated groups like these a difference of {brief(difference)} would show."


def about_rows(catalog: Catalog, judged: Judged) -> list[tuple[str, str]]:
    """List what the card, the sources and both recipes say, as pairs of a heading and a text."""
    view = judged.view
    dataset = catalog.dataset(view.dataset)
    card, knowledge = dataset.card, shared_knowledge(dataset)
    rows = [
        ("Dataset", card.title),
        ("Licence", card.license),
        ("Citation", card.citation),
        ("Context", f"{view.context}: {card.contexts[view.context].context.sentence}"),
        ("Description", card.description),
        ("Provenance", card.provenance),
        ("Assumed", "; ".join(dataset.notes)),
    ]
    for side, name in (("Simple", view.simple), ("Learned", view.learned)):
        entry = card.representations[name]
        made = shared_map(dataset, view.context, name, alignment=view.align)
        rows += [
            (f"{side} representation", f"{entry.name} ({entry.kind}): {entry.description}"),
            (f"{side}: how it was trained", entry.trained),
            (f"{side} recipe", f"{made.recipe.sentence}. {' '.join(made.recipe.notes)}".strip()),
            (f"{side} source digest", made.recipe.source),
        ]
    rows += [(f"Known: {name}", licence) for name, licence in knowledge.licences.items() if name in view.sources]
    return [(heading, " ".join(text.split())) for heading, text in rows if text.strip()]


def context_line(catalog: Catalog, view: JudgeView) -> str:
    """State the conditions that all of it hangs on."""
    card = catalog.dataset(view.dataset).card
    return f"{card.title}. Context {view.context}: {card.contexts[view.context].context.sentence}."


def interval(compared: MapComparison) -> str:
    """Write a difference with its 95 % interval."""
    test = compared.test
    return f"{signed(test.estimate)} (95 % interval {signed(test.low)} to {signed(test.high)})"


def _described(view: JudgeView) -> str:
    return f"{view.learned} against {view.simple}, alignment {view.align}, all sources, k = {view.k}, in {view.context}"


def _and(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def evidence(judgement: Judgement) -> list[tuple[str, str]]:
    """Say what the verdict rests on, as pairs of a word and a sentence or two."""
    every = [
        ("Figures", numbers_sentence(judgement)),
        ("Reason", reason_sentence(judgement)),
        ("Opponent", opponent_sentence(judgement)),
        ("Placebos", placebo_sentence(judgement)),
        ("Seeds", seeds_sentence(judgement)),
        ("What would change it", change_sentence(judgement)),
        ("To be known", " ".join(f"{note[:1].upper()}{note[1:].rstrip('.')}." for note in judgement.notes)),
    ]
    return [(word, text) for word, text in every if text]
