"""What a judgement says: every number with its null, its units, its direction and its interval."""

import math
from dataclasses import replace

import pytest
import verdicts
from verdicts import VIEW, compared, flip, judged_of, judgement, with_test

from explorer.catalog import open_catalog
from explorer.judged import Judged, Looked
from explorer.passport import passport_of
from explorer.verdict import Primary
from explorer.wording_judge import (
    HITS_NOTE,
    about_rows,
    change_sentence,
    context_line,
    declared_sentence,
    disagreement_sentence,
    evidence,
    head,
    hits_sentence,
    largest_sentence,
    meaning_sentence,
    meter_sentence,
    numbers_sentence,
    opponent_sentence,
    placebo_sentence,
    reason_sentence,
    seeds_sentence,
    tone,
    verdict_sentence,
)

WORDS = ("worth it", "not shown", "worse", "underpowered", "locked")
NAN = float("nan")
LOCKED = judgement(
    verdict="locked",
    reason="the recipes differ in alignment 'none' against 'center'; make both maps alike and ask again",
    primary=Primary(10, NAN, NAN, NAN, replace(flip(0, 0), estimate=NAN, half_width=NAN, p=NAN), "given"),
    sources=(),
    known_hits=None,
    placebos=(),
    rivals=(),
    seeds=(),
)
EXPLORATORY = replace(VIEW, k=5)


@pytest.mark.parametrize("word", WORDS)
def test_every_word_has_its_sentences(word):
    found = judgement(verdict=word)
    assert head(judged_of(found))
    assert tone(found) in ("success", "neutral", "danger", "warn")
    assert verdict_sentence(found, VIEW).endswith(".")
    assert meaning_sentence(found).startswith("For your next experiments: ")
    for text in (verdict_sentence(found, VIEW), meaning_sentence(found)):
        assert "\n" not in text
        assert "significant" not in text


def test_worth_it():
    found = judgement()
    assert head(judged_of(found)) == "Worth it"
    assert verdict_sentence(found, VIEW) == (
        "In alpha, latent brings known partners together better than raw does, and better than every placebo."
    )
    assert numbers_sentence(found) == (
        "Of a group member's known partners (no more than 10 count), 30 % are among its 10 nearest in latent and 20 % "
        "in raw (by chance 1 %; more is better). Difference +.100, "
        "95 % interval +.070 to +.130, p .01: the mean over 30 groups of known "
        "partners of equal weight, 20 of which differ."
    )
    assert reason_sentence(found) == "", "the figures say it"


def test_another_combination_is_marked():
    found = judged_of(judgement(), view=EXPLORATORY, declared=judgement(verdict="worse"))
    assert head(found) == "Worth it · exploratory"
    assert declared_sentence(found) == (
        "Exploratory: this is not the combination that was declared beforehand (latent against raw, alignment none, "
        "known from Pairs, k = 10, in alpha), whose verdict is “worse”."
    )
    assert declared_sentence(judged_of(judgement())).startswith("This is the combination that was declared beforehand:")


def test_communities_are_said_to_be_communities():
    found = judgement()
    made = replace(found, primary=replace(found.primary, groups="communities"))
    assert "30 communities of known partners" in numbers_sentence(made)


def test_not_shown_says_which_of_its_reasons():
    test = flip(0.01, 0.03)
    plain = with_test(test, verdict="not shown")
    assert "it is not shown that latent brings known partners together better than raw does." in verdict_sentence(
        plain, VIEW
    )
    assert numbers_sentence(plain).endswith("The interval includes 0.")
    assert reason_sentence(plain) == ""
    unbeaten = judgement(
        verdict="not shown",
        reason="macro partner recall@10, learned − simple: +0.100, but the placebo 'noise' is not beaten",
        placebos=(compared("noise", 0.29, 0.01, 0.05),),
    )
    assert "a placebo does as well" in verdict_sentence(unbeaten, VIEW)
    assert reason_sentence(unbeaten).startswith("Macro partner recall@10, learned − simple: +.100, but the placebo")
    budget = judgement(verdict="not shown", reason="but among the 100 most similar pairs it holds fewer: -12.0")
    assert "hold fewer known ones" in verdict_sentence(budget, VIEW)
    assert "−12.0" in reason_sentence(budget)


def test_locked_says_why_and_no_number():
    assert numbers_sentence(LOCKED) == (
        "None: the recipes differ in alignment 'none' against 'center'; make both maps alike and ask again."
    )
    words = [word for word, _ in evidence(LOCKED)]
    assert words == ["Figures", "What would change it"]
    every = " ".join([text for _, text in evidence(LOCKED)] + [verdict_sentence(LOCKED, VIEW)])
    assert "not defined" not in every
    assert "nan" not in every


def test_opponent():
    assert opponent_sentence(judgement()) == "", "none scores higher"
    found = judgement(rivals=(compared("norm", 0.1, 0.2, 0.1), compared("sums", 0.35, -0.05, 0.03)))
    assert opponent_sentence(found) == (
        "Another simple representation, sums, scores higher than raw (35 % against 20 %): the learned one must beat "
        "that. latent − sums is −.050 (95 % interval −.080 to −.020)."
    )


def test_placebos():
    assert placebo_sentence(judgement()) == (
        "latent beats each of 2 placebos. The best, norm, scores 5 %; latent − norm is +.250 (95 % interval +.200 to "
        "+.300)."
    )
    unbeaten = judgement(placebos=(compared("noise", 0.02, 0.28, 0.05), compared("norm", 0.3, 0.0, 0.05)))
    assert placebo_sentence(unbeaten).startswith("latent does not beat norm. The best, norm, scores 30 %")
    assert placebo_sentence(judgement(placebos=())).startswith("There is no placebo")
    assert "beats the one placebo" in placebo_sentence(judgement(placebos=(compared("noise", 0.02, 0.28, 0.05),)))


def test_seeds():
    assert seeds_sentence(judgement(seeds=())) == ""
    assert seeds_sentence(judgement()) == (
        "The same model from the other seed scores 28 % (this one 30 %); the spread is .020, less than the difference "
        "judged, +.100. It lies above raw as well, and its interval excludes 0."
    )
    wide = judgement(seeds=(compared("one", 0.1, -0.1, 0.05), compared("two", 0.31, 0.11, 0.05)))
    assert seeds_sentence(wide).endswith(
        "the spread is .210, no less than the difference judged: it may be the seed's. 1 of 2 lie above raw as well; "
        "no interval includes 0."
    )
    for estimates, says in (
        ((0.11, 0.01), "2 of 2 lie above raw as well; the interval of 1 includes 0."),
        ((-0.01, 0.02), "1 of 2 lie above raw as well; the intervals of 2 include 0."),
        ((-0.01,), "It does not lie above raw, and its interval includes 0."),
    ):
        seeds = tuple(
            replace(compared(f"seed {place}", 0.2, e, 0.05), test=flip(e, 0.05, p=0.01 if abs(e) > 0.05 else 0.4))
            for place, e in enumerate(estimates)
        )
        assert seeds_sentence(judgement(seeds=seeds)).endswith(says)
    assert seeds_sentence(with_test(flip(0.0, 0.01))).endswith("it may be the seed's.")


def test_known_hits_are_printed_in_the_fixed_form():
    hits = judgement().known_hits
    assert hits_sentence(hits) == (
        "In this screen the learned map's top 100 holds 21 more known pairs (91 v 70). They come from 3.4 effective "
        "groups; the generalising interval is −59 … +101."
    )
    assert largest_sentence(hits) == (
        "The two groups that differ most: Pairs: one (+12), Pairs: two (−3). By chance a list of 100 pairs holds 2.5 "
        "known ones."
    )
    fewer = replace(hits, simple=91.0, learned=70.0, test=flip(-21, 80))
    assert "holds 21 fewer known pairs (70 v 91). The difference comes from 3.4 effective groups; " in hits_sentence(
        fewer
    )
    assert "generalising interval" in HITS_NOTE
    one = replace(hits, largest=(("Pairs: one", -3.0),))
    assert largest_sentence(one).startswith("The group that differs most: Pairs: one (−3). By chance")
    same = replace(hits, learned=70.0, test=flip(0, 3), largest=())
    assert hits_sentence(same) == "In this screen the learned map's top 100 holds as many known pairs (70 v 70)."
    assert largest_sentence(same) == ""


def test_disagreement():
    assert disagreement_sentence(judgement()) == (
        "The two lists share 60 of their 100 pairs; only the others can repay the learned map. Of the 40 that only "
        "latent lists, 31 are known (78 %); of the 40 that only raw lists, 10 (25 %). Not known is not false."
    )
    hits = judgement().known_hits
    same = judgement(known_hits=replace(hits, only_simple=(0, 0), only_learned=(0, 0)))
    assert disagreement_sentence(same).startswith("Both lists of 100 pairs are the same")
    assert disagreement_sentence(LOCKED) == ""


def test_what_would_change_it():
    # 30 units and a smallest detectable difference of .07: .05 takes 30 · 1.96 = 58.8 of them.
    found = with_test(flip(0.01, 0.05), verdict="not shown")
    assert change_sentence(found) == (
        "A true difference of .070 would have shown here 4 times in 5. With 29 more annotated groups like these a "
        "difference of .05 would show."
    )
    few = with_test(flip(0.01, 0.05, n_units=15), verdict="underpowered")
    assert change_sentence(few) == "It takes 20 groups for a verdict, and there are 15: 5 are missing."
    none = with_test(flip(0.0, 0.0, n_units=0, n_discordant=0), verdict="underpowered")
    assert change_sentence(none) == "It takes 20 groups for a verdict, and there are none: 20 are missing."
    few_and_alike = with_test(flip(0.0, 0.0, n_units=1, n_discordant=0), verdict="underpowered")
    assert change_sentence(few_and_alike) == (
        "It takes 20 groups for a verdict, and there is 1: 19 are missing. The maps differ in none of them."
    )
    alike = with_test(flip(0.01, 0.05, n_discordant=2), verdict="underpowered")
    assert change_sentence(alike).startswith("It takes 6 groups on which the maps differ, and of 30 it is 2: other")
    equal = with_test(flip(0.0, 0.0, n_discordant=0), verdict="underpowered")
    assert change_sentence(equal).startswith("The maps differ in no group")
    assert change_sentence(with_test(flip(-0.1, 0.05), verdict="worse")).startswith("The whole interval lies below 0")
    hopeless = replace(found, n_perturbations=50)
    assert change_sentence(hopeless) == "A true difference of .070 would have shown here 4 times in 5."
    assert change_sentence(judgement(verdict="not shown")).startswith("A learned map that beats every placebo")
    assert "Two maps whose recipes differ" in change_sentence(LOCKED)


def test_what_would_take_worth_it_back():
    assert change_sentence(judgement()) == (
        "It would take other groups that bring the interval down to 0 (it begins at +.070), a placebo that does as "
        "well (the closest, norm, is behind by .200 at least), or clearly fewer known pairs among the 100 most similar "
        "ones."
    )
    bare = change_sentence(judgement(placebos=(), known_hits=None))
    assert bare.endswith("(it begins at +.070), or a placebo (none was run) that does as well.")


ONLY_AGAINST = judgement(rivals=(compared("pca", 0.35, -0.05, 0.08),))


def test_worth_it_against_a_convenient_opponent_is_said_first():
    assert head(judged_of(ONLY_AGAINST)) == "Worth it, but only against raw"
    assert head(judged_of(ONLY_AGAINST, view=EXPLORATORY)) == "Worth it, but only against raw · exploratory"
    assert verdict_sentence(ONLY_AGAINST, VIEW) == (
        "In alpha, latent brings known partners together better than raw and every placebo, but not better than pca, "
        "another simple representation."
    )
    assert "than raw, but not better than pca" in verdict_sentence(replace(ONLY_AGAINST, placebos=()), VIEW)
    assert tone(ONLY_AGAINST) == tone(judgement(verdict="not shown")) != tone(judgement())
    assert change_sentence(ONLY_AGAINST) == (
        "Against pca, which scores higher than raw, it takes a learned map that beats it: latent − pca is −.050 (95 % "
        "interval −.130 to +.030)."
    )
    beaten = judgement(rivals=(compared("pca", 0.25, 0.05, 0.02),))
    assert head(judged_of(beaten)) == "Worth it"


def test_placebos_that_were_not_run_are_not_said_to_be_beaten():
    assert verdict_sentence(judgement(placebos=()), VIEW).endswith("better than raw does.")


def test_maps_that_differ_in_no_group():
    found = with_test(flip(0.0, 0.0, n_discordant=0), verdict="underpowered")
    assert head(judged_of(found)) == "Nothing tells the two maps apart"
    assert verdict_sentence(found, VIEW) == (
        "In alpha, latent and raw find equally many of the known partners in every group."
    )
    assert "more known" not in meaning_sentence(found)
    assert meaning_sentence(found).endswith("by what is known, latent is neither better nor worse.")


def test_too_few_groups_or_too_few_that_differ():
    few = with_test(flip(0.01, 0.05, n_units=15), verdict="underpowered")
    assert "what is known is too little" in verdict_sentence(few, VIEW)
    alike = with_test(flip(0.01, 0.05, n_discordant=2), verdict="underpowered")
    assert "differ on too few groups" in verdict_sentence(alike, VIEW)
    assert "bring more known complexes" in meaning_sentence(alike)


def test_one_of_a_thing_is_not_written_as_several():
    found = with_test(flip(0.1, 0.03, n_units=1, n_discordant=1), verdict="underpowered")
    assert "the mean over 1 group of known partners of equal weight, 1 of which differs." in numbers_sentence(found)
    almost = with_test(flip(0.1, 0.03, n_units=19), verdict="underpowered")
    assert change_sentence(almost) == "It takes 20 groups for a verdict, and there are 19: 1 is missing."
    hits = judgement().known_hits
    assert hits is not None
    assert " holds 1 more known pair (" in hits_sentence(replace(hits, learned=hits.simple + 1))


@pytest.mark.parametrize("rivals", [(), (compared("pca", 0.35, -0.05, 0.08),)])
def test_which_representation_to_trust_is_named(rivals):
    better = "pca" if rivals else "raw"
    said = meaning_sentence(judgement(verdict="worse", rivals=rivals))
    assert f"; where latent disagrees with {better}, trust {better}. latent loses partners" in said


@pytest.mark.parametrize("word", WORDS)
def test_the_only_context_of_a_file_is_not_named(word):
    said = verdict_sentence(judgement(verdict=word), replace(VIEW, context="all"))
    assert not said.startswith("In ")
    assert said.startswith(("latent ", "It is not shown"))
    few = with_test(flip(0.01, 0.05, n_units=15), verdict="underpowered")
    assert verdict_sentence(few, replace(VIEW, context="all")).startswith("What is known is too little")


def test_what_no_card_declares_is_not_called_declared():
    view = replace(VIEW, context="all", sources=("Pairs", "Sets"))
    what = "latent against raw, alignment none, known from Pairs, Sets, k = 10"
    first = Judged(view, judgement(), view, judgement(), is_in_card=False)
    declared = "No combination was declared in the card ([defaults] left, right, align); this is the first one that"
    assert declared_sentence(first) == f"{declared} the page showed: {what}."
    looked = Looked()
    assert meter_sentence(first, looked, n_looked=looked.add(first)) == (
        f"{declared} the page showed ({what}), and the only one looked at so far."
    )
    other = replace(first, view=replace(view, k=3))
    assert declared_sentence(other).startswith("Exploratory: no combination was declared in the card")
    said = meter_sentence(other, looked, n_looked=looked.add(other))
    assert f"the page shows first {what}. This is another one, so it is exploratory: the verdict of the first" in said
    again = meter_sentence(first, looked, n_looked=looked.add(first))
    assert "This is that one." in again
    for text in (said, again):
        assert "declared one" not in text
        assert "beforehand" not in text


def test_meter():
    looked = Looked()
    declared = judged_of(judgement(verdict="worse"))
    assert meter_sentence(declared, looked, n_looked=looked.add(declared)) == (
        "This is the combination that was declared beforehand (latent against raw, alignment none, known from Pairs, "
        "k = 10, in alpha), and the only one looked at so far."
    )
    other = judged_of(judgement(), view=EXPLORATORY, declared=declared.judgement)
    text = meter_sentence(other, looked, n_looked=looked.add(other))
    assert text.startswith("You have looked at 2 combinations of context, source, k, budget, alignment and")
    assert "(“worse” 1, “worth it” 1)" in text
    assert "it is exploratory: the declared verdict stays “worse”" in text
    assert "a false “worth it” in up to 5 % of cases where there is nothing to find; for one look it is 2.5 %" in text
    again = meter_sentence(declared, looked, n_looked=looked.add(declared))
    assert "You have looked at 2 combinations" in again
    assert "This is the declared one." in again


def test_the_cost_of_looking_is_a_share():
    looked = Looked()
    for k in range(1, 51):
        n_looked = looked.add(judged_of(judgement(), view=replace(VIEW, k=k)))
    judged = judged_of(judgement(), view=replace(VIEW, k=50))
    assert n_looked == 50
    assert "up to 100 % of cases" in meter_sentence(judged, looked, n_looked=50)


def test_notes_are_said():
    found = judgement(notes=("one thing", "another thing."))
    assert dict(evidence(found))["To be known"] == "One thing. Another thing."


def test_undefined_is_said():
    found = judgement()
    made = replace(found, primary=replace(found.primary, simple=math.nan))
    assert "not defined in raw" in numbers_sentence(made)


def test_about(tmp_path):
    catalog = open_catalog(verdicts.write_catalog(tmp_path))
    rows = dict(about_rows(catalog, Judged(VIEW, judgement(), VIEW, judgement())))
    assert rows["Dataset"] == "Toy screen"
    assert rows["Simple representation"].startswith("raw (simple)")
    assert "recipe" in rows["Learned recipe"]
    assert rows["Known: Pairs"] == "CC0 · nobody"
    assert "Known: Sets" not in rows
    conditions = passport_of(catalog.dataset("toy"), "alpha").sentence
    assert conditions.endswith("4 non-targeting guides (4 rows) · layout not declared")
    assert rows["Context"] == f"alpha: {conditions}"
    assert context_line(catalog, VIEW) == f"Toy screen. Context alpha: {conditions}."


@pytest.mark.parametrize("verdict", ["worth it", "not shown", "worse"])
def test_nobody_is_sent_to_the_second_best_simple_list(verdict):
    higher = judgement(verdict=verdict, rivals=(compared("pca", 0.35, -0.05, 0.08),))
    assert "pca" in meaning_sentence(higher)
    if verdict == "worth it":
        assert "not yet" in meaning_sentence(higher)
    lower = judgement(verdict=verdict, rivals=(compared("pca", 0.1, 0.2, 0.08),))
    assert "pca" not in meaning_sentence(lower)
    beaten = judgement(verdict="worth it", rivals=(compared("pca", 0.25, 0.05, 0.02),))
    assert "choose from latent" in meaning_sentence(beaten)
