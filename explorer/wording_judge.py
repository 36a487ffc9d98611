"""What a judgement says in plain sentences: every number with its null, its units and its direction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from explorer.catalog import Catalog, shared_knowledge, shared_map
from explorer.digits import brief, count, counted, number, percent, plain, signed, small
from explorer.judged import FALSE_WORTH, Judged, JudgeView, Looked, plan_table
from explorer.passport import passport_of
from explorer.verdict import FEWEST_DISCORDANT, FEWEST_UNITS, Judgement, KnownHits, MapComparison

_HEADS = {
    "worth it": "Worth it",
    "not shown": "Not shown",
    "worse": "Worse",
    "underpowered": "Too little is known to tell",
    "locked": "No verdict: the two maps were not made alike",
}
_TONES: Mapping[str, Literal["success", "neutral", "danger", "warn"]] = {
    "worth it": "success", "not shown": "neutral", "worse": "danger", "underpowered": "warn", "locked": "warn",
}  # fmt: skip
# Of the one context of a file without a card, which no sentence needs to name.
_ONLY_CONTEXT = "all"
HITS_NOTE = (
    "The generalising interval is what other groups like these would give: the same difference, had other groups been "
    "known. Effective groups: that many of equal weight would make up the difference."
)
_NUMBERS = {2: "two", 3: "three"}
NOT_IN_CARD = "no combination was declared in the card ([defaults] left, right, align)"


def head(judged: Judged) -> str:
    """Write the word of the verdict, as a heading; another combination than the declared one is marked."""
    judgement = judged.judgement
    word = _HEADS[judgement.verdict]
    if _unbeaten(judgement) is not None:
        word = f"Worth it, but only against {judgement.simple}"
    elif judgement.verdict == "underpowered" and _is_alike(judgement):
        word = "Nothing tells the two maps apart"
    return word + ("" if judged.is_declared else " · exploratory")


def tone(judgement: Judgement) -> Literal["success", "neutral", "danger", "warn"]:
    """Colour of the verdict, as a callout of the page names it; that of *not shown* where the gain has a condition."""
    return _TONES["not shown" if _unbeaten(judgement) is not None else judgement.verdict]


def verdict_sentence(judgement: Judgement, view: JudgeView) -> str:
    """Say the verdict in one plain sentence."""
    learned, simple = judgement.learned, judgement.simple
    if judgement.verdict == "locked":
        return f"{learned} and {simple} differ in more than the representation, so nothing is compared."
    where, it, what = ("", "It", "What") if view.context == _ONLY_CONTEXT else (f"In {view.context}, ", "it", "what")
    if judgement.verdict == "worth it":
        return f"{where}{learned} brings known partners together better than {simple}{_better_than(judgement)}."
    if judgement.verdict == "not shown":
        better = f"{learned} brings known partners together better than {simple}"
        return f"{where}{it} is not shown that {better} {_but(judgement)}."
    if judgement.verdict == "worse":
        return f"{where}{learned} brings known partners together less well than {simple} does."
    if _is_alike(judgement):
        return f"{where}{learned} and {simple} find equally many of the known partners in every group."
    if judgement.primary.test.n_units < FEWEST_UNITS:
        return f"{where}{what} is known is too little to tell {learned} and {simple} apart, either way."
    return f"{where}{learned} and {simple} differ on too few groups to be told apart, either way."


def _better_than(judgement: Judgement) -> str:
    """Say what else is beaten, and what is not."""
    best = _unbeaten(judgement)
    if best is None:
        return " does, and better than every placebo" if judgement.placebos else " does"
    placebos = " and every placebo" if judgement.placebos else ""
    return f"{placebos}, but not better than {best.name}, another simple representation"


def _unbeaten(judgement: Judgement) -> MapComparison | None:
    """Find the best simple map where the learned one is worth it against a lower one alone."""
    best = judgement.better_simple[0] if judgement.better_simple else None
    return best if judgement.verdict == "worth it" and best is not None and not best.beaten else None


def _is_alike(judgement: Judgement) -> bool:
    """Whether there are groups, and the maps differ in none."""
    test = judgement.primary.test
    return test.n_units > 0 and test.n_discordant == 0


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
    unbeaten = _unbeaten(judgement)
    if unbeaten is not None:
        return (
            f"For your next experiments: not yet. {unbeaten.name}, another simple representation, scores higher than "
            f"{simple} and is not beaten; judge {learned} against it."
        )
    best = judgement.better_simple[0] if judgement.better_simple else None
    better = simple if best is None else best.name
    from_whom = simple if best is None else f"{better}, the simple representation that scores highest"
    return {
        "worth it": f"For your next experiments: choose from {learned}, for complexes and pathways like those known. "
        "What is not annotated was not judged.",
        "not shown": f"For your next experiments: stay with {from_whom}. That no gain is shown does not mean that "
        "there is none; what would show it stands below.",
        "worse": f"For your next experiments: choose from {from_whom}; where {learned} disagrees with {better}, trust "
        f"{better}. {learned} loses partners that are already known.",
        "underpowered": f"For your next experiments: stay with {simple}, since it is the simpler one"
        f"{_more_known(judgement)}.",
    }[judgement.verdict]


def _more_known(judgement: Judgement) -> str:
    if _is_alike(judgement):
        return f"; by what is known, {judgement.learned} is neither better nor worse"
    return ", or bring more known complexes and pathways of these perturbations"


def numbers_sentence(judgement: Judgement) -> str:
    """Give the primary quantity of both maps with its chance, its interval, its units and its direction."""
    primary = judgement.primary
    test = primary.test
    if judgement.verdict == "locked":
        return f"None: {plain(judgement.reason)}."
    one, several = ("group", "groups") if primary.groups == "given" else ("community", "communities")
    differ = "differs" if test.n_discordant == 1 else "differ"
    units = counted(test.n_units, f"{one} of known partners", f"{several} of known partners")
    return (
        # Exact: of a member with more than k known partners, k count.
        f"Of a group member's known partners (no more than {primary.k} count), {percent(primary.learned)} are among "
        f"its {primary.k} nearest in {judgement.learned} and {percent(primary.simple)} in {judgement.simple} (by "
        f"chance {percent(primary.chance)}; more is better). Difference {signed(test.estimate)}, 95 % interval "
        f"{signed(test.low)} to {signed(test.high)}, p {small(test.p)}: the mean over {units} of equal "
        f"weight, {test.n_discordant:,} of which {differ}.{'' if test.excludes_zero else ' The interval includes 0.'}"
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
    same = sum(seed.test.estimate * estimate > 0 for seed in judgement.seeds)
    with_zero = sum(not seed.test.excludes_zero for seed in judgement.seeds)
    where = f"{'above' if estimate > 0 else 'below'} {judgement.simple}"
    if len(judgement.seeds) == 1:
        lies = f"It lies {where} as well" if same else f"It does not lie {where}"
        return f"{said} {lies}, and its interval {'includes' if with_zero else 'excludes'} 0."
    intervals = (
        "no interval includes 0"
        if not with_zero
        else "the interval of 1 includes 0"
        if with_zero == 1
        else f"the intervals of {with_zero} include 0"
    )
    return f"{said} {same} of {len(judgement.seeds)} lie {where} as well; {intervals}."


def declared_sentence(judged: Judged) -> str:
    """Say whether the view is the one declared beforehand, and what the declared verdict is."""
    what, verdict = _described(judged.declared_view), judged.declared.verdict
    if judged.is_in_card:
        return (
            f"This is the combination that was declared beforehand: {what}."
            if judged.is_declared
            else f"Exploratory: this is not the combination that was declared beforehand ({what}), whose verdict is "
            f"“{verdict}”."
        )
    if judged.is_declared:
        return f"{NOT_IN_CARD[0].upper()}{NOT_IN_CARD[1:]}; this is the first one that the page showed: {what}."
    return (
        f"Exploratory: {NOT_IN_CARD}, and this is not the first one that the page shows ({what}), whose verdict is "
        f"“{verdict}”."
    )


def meter_sentence(judged: Judged, looked: Looked, *, n_looked: int) -> str:
    """Say how many combinations were looked at, which one was declared, and what picking among them costs."""
    view, what, verdict = judged.view, _described(judged.declared_view), judged.declared.verdict
    in_card = judged.is_in_card
    if n_looked == 1:
        return (
            f"This is the combination that was declared beforehand ({what}), and the only one looked at so far."
            if in_card
            else f"{NOT_IN_CARD[0].upper()}{NOT_IN_CARD[1:]}; this is the first one that the page showed ({what}), "
            "and the only one looked at so far."
        )
    words = looked.words(view.dataset)
    counted = ", ".join(f"“{word}” {count}" for word, count in words.items())
    first = f"The declared one is {what}." if in_card else f"Of these, {NOT_IN_CARD}; the page shows first {what}."
    if judged.is_declared:
        here = "This is the declared one." if in_card else "This is that one."
    else:
        whose = "the declared verdict" if in_card else "the verdict of the first"
        here = f"This is another one, so it is exploratory: {whose} stays “{verdict}”."
    return (
        f"You have looked at {n_looked} combinations of context, source, k, budget, alignment and representations in "
        f"this session ({counted}). {first} {here} Whoever picks the best of {n_looked} finds a "
        f"false “worth it” in up to {percent(min(1.0, n_looked * FALSE_WORTH))} of cases where there is nothing to "
        f"find; for one look it is {percent(FALSE_WORTH)}."
    )


def hits_sentence(hits: KnownHits) -> str:
    """Say how the lists at the budget differ in known pairs: in this screen, and beyond it."""
    gained = hits.learned - hits.simple
    held = f"({count(hits.learned)} v {count(hits.simple)})"
    if abs(gained) < 0.05:
        return f"In this screen the learned map's top {hits.budget:,} holds as many known pairs {held}."
    pairs = "known pair" if count(abs(gained)) == "1" else "known pairs"
    said = f"{count(abs(gained))} {'more' if gained > 0 else 'fewer'} {pairs}"
    # What is fewer comes from nowhere.
    source = "They come from" if gained > 0 else "The difference comes from"
    return (
        f"In this screen the learned map's top {hits.budget:,} holds {said} {held}. {source} "
        f"{number(hits.effective_units, 1)} effective groups; the generalising interval is "
        f"{count(hits.test.low, sign=True)} … {count(hits.test.high, sign=True)}."
    )


def largest_sentence(hits: KnownHits) -> str:
    """Name the groups that make up most of the difference at the budget; empty where there is none."""
    if not hits.largest:
        return ""
    listed = ", ".join(f"{name} ({count(value, sign=True)})" for name, value in hits.largest)
    n_named = len(hits.largest)
    which = "group that differs" if n_named == 1 else f"{_NUMBERS.get(n_named, n_named)} groups that differ"
    return (
        f"The {which} most: {listed}. By chance a list of {hits.budget:,} pairs holds {count(hits.chance)} known ones."
    )


def disagreement_sentence(judgement: Judgement) -> str:
    """Say on how many pairs the lists differ, and how many of them are known on each side."""
    hits = judgement.known_hits
    if hits is None:
        return ""
    (n_simple, known_simple), (n_learned, known_learned) = hits.only_simple, hits.only_learned
    if not n_learned:
        return f"Both lists of {hits.budget:,} pairs are the same: at this budget nothing can repay the learned map."
    return (
        f"The two lists share {hits.budget - n_learned:,} of their {hits.budget:,} pairs; only the others can repay "
        f"the learned map. Of the {n_learned:,} that only {judgement.learned} lists, {known_learned:,} are known "
        f"({percent(known_learned / n_learned)}); of the {n_simple:,} that only {judgement.simple} lists, "
        f"{known_simple:,} ({percent(known_simple / n_simple)}). Not known is not false."
    )


def change_sentence(judgement: Judgement) -> str:
    """Say what would change the verdict."""
    test = judgement.primary.test
    if judgement.verdict == "locked":
        return "Two maps whose recipes differ in the representation alone."
    if judgement.verdict == "underpowered":
        return _missing(judgement)
    if judgement.verdict == "worse":
        return (
            "The whole interval lies below 0, so more groups like these would only narrow it: it takes another learned "
            f"map. A true difference of {number(test.smallest_detectable)}, up or down, would have shown 4 times in 5."
        )
    if judgement.verdict == "worth it":
        return _withdrawn(judgement)
    if test.excludes_zero and test.estimate > 0:
        # Better than the simple map, and yet not shown.
        return "A learned map that beats every placebo and does not lose known pairs at this budget."
    first = f"A true difference of {number(test.smallest_detectable)} would have shown here 4 times in 5."
    short = [
        (difference, more)
        for difference, _, more in plan_table(judgement).rows()
        if more and difference < test.smallest_detectable
    ]
    if not short:
        return first
    difference, more = short[-1]
    further = counted(more, "more annotated group")
    return f"{first} With {further} like these a difference of {brief(difference)} would show."


def _missing(judgement: Judgement) -> str:
    """Say what a verdict lacks."""
    test = judgement.primary.test
    if test.n_units < FEWEST_UNITS:
        missing = counted(FEWEST_UNITS - test.n_units, "is missing", "are missing")
        there = f"there {'is' if test.n_units == 1 else 'are'} {test.n_units or 'none'}"
        said = f"It takes {FEWEST_UNITS} groups for a verdict, and {there}: {missing}."
        return f"{said} The maps differ in none of them." if _is_alike(judgement) else said
    if _is_alike(judgement):
        return (
            "The maps differ in no group, so more groups like these would hardly tell them apart: it takes other maps, "
            "or other known groups."
        )
    return (
        f"It takes {FEWEST_DISCORDANT} groups on which the maps differ, and of {test.n_units:,} it is "
        f"{test.n_discordant}: other known groups, or other maps, would be needed."
    )


def _withdrawn(judgement: Judgement) -> str:
    """Say what would take *worth it* back, and how far that is."""
    best = _unbeaten(judgement)
    if best is not None:
        return (
            f"Against {best.name}, which scores higher than {judgement.simple}, it takes a learned map that beats it: "
            f"{judgement.learned} − {best.name} is {interval(best)}."
        )
    closest = min(judgement.placebos, key=lambda placebo: placebo.test.low, default=None)
    placebo = (
        "a placebo (none was run) that does as well"
        if closest is None
        else f"a placebo that does as well (the closest, {closest.name}, is behind by {number(closest.test.low)} at "
        "least)"
    )
    hits = judgement.known_hits
    listed = "" if hits is None else f", or clearly fewer known pairs among the {hits.budget:,} most similar ones"
    reach = f"groups that bring the interval down to 0 (it begins at {signed(judgement.primary.test.low)})"
    return f"It would take other {reach}, {'' if listed else 'or '}{placebo}{listed}."


def about_rows(catalog: Catalog, judged: Judged) -> list[tuple[str, str]]:
    """List what the card, the sources and both recipes say, as pairs of a heading and a text."""
    view = judged.view
    dataset = catalog.dataset(view.dataset)
    card, knowledge = dataset.card, shared_knowledge(dataset)
    rows = [
        ("Dataset", card.title),
        ("Licence", card.license),
        ("Citation", card.citation),
        ("Context", f"{view.context}: {passport_of(dataset, view.context).sentence}"),
        ("Description", card.description),
        ("Provenance", card.provenance),
        ("Assumed", "; ".join(dataset.notes)),
    ]
    for side, name in (("Simple", view.simple), ("Learned", view.learned)):
        entry = card.representations[name]
        made = shared_map(dataset, view.context, name, alignment=view.align)
        rows += [
            (f"{side} representation", f"{entry.name} ({entry.kind}): {entry.description}".removesuffix(": ")),
            (f"{side}: how it was trained", entry.trained),
            (f"{side} recipe", f"{made.recipe.sentence}. {' '.join(made.recipe.notes)}".strip()),
            (f"{side} source digest", made.recipe.source),
        ]
    rows += [(f"Known: {name}", licence) for name, licence in knowledge.licences.items() if name in view.sources]
    return [(heading, " ".join(text.split())) for heading, text in rows if text.strip()]


def context_line(catalog: Catalog, view: JudgeView) -> str:
    """State the dataset and the conditions that all of it hangs on."""
    between = ":" if view.context == _ONLY_CONTEXT else "."
    return f"{catalog.dataset(view.dataset).card.title}{between} {conditions_line(catalog, view)}"


def conditions_line(catalog: Catalog, view: JudgeView) -> str:
    """State the context and its conditions."""
    conditions = f"{passport_of(catalog.dataset(view.dataset), view.context).sentence}."
    return conditions if view.context == _ONLY_CONTEXT else f"Context {view.context}: {conditions}"


def interval(compared: MapComparison) -> str:
    """Write a difference with its 95 % interval."""
    test = compared.test
    return f"{signed(test.estimate)} (95 % interval {signed(test.low)} to {signed(test.high)})"


def _described(view: JudgeView) -> str:
    where = "" if view.context == _ONLY_CONTEXT else f", in {view.context}"
    known = f"known from {', '.join(view.sources)}" if view.sources else "nothing known"
    return f"{view.learned} against {view.simple}, alignment {view.align}, {known}, k = {view.k}{where}"


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
