"""A judgement as text for a terminal: the verdict first, then what it rests on."""

from __future__ import annotations

from explorer.digits import number, plain, signed, small
from explorer.judged import JudgeView
from explorer.passport import Passport
from explorer.significance import SignFlip
from explorer.terminal import Line, in_columns
from explorer.verdict import Judgement, MapComparison
from explorer.wording_judge import (
    change_sentence,
    disagreement_sentence,
    hits_sentence,
    largest_sentence,
    opponent_sentence,
    placebo_sentence,
    verdict_sentence,
)


def judgement_text(judgement: Judgement, view: JudgeView, *, passport: Passport) -> list[str]:
    """Write a judgement line by line: verdict, reason and conditions, the maps and placebos, sources, the budget."""
    word = f"{judgement.verdict}: {verdict_sentence(judgement, view)}"
    lines = [word, f"{plain(judgement.reason)}.", f"{passport.context}: {passport.sentence}", ""]
    if judgement.verdict == "locked":
        return lines[:3]
    primary = judgement.primary
    groups = "groups" if primary.groups == "given" else "communities"
    lines += in_columns(
        ("map", primary.statistic, "learned − it", "95 % interval", "p", ""),
        [
            (f"{judgement.learned} (learned)", number(primary.learned, 4)),
            (f"{judgement.simple} (simple)", number(primary.simple, 4), *_difference(primary.test)),
            *(_compared(other, "another simple one") for other in judgement.rivals),
            *(_compared(other, "placebo") for other in judgement.placebos),
            ("chance", number(primary.chance, 4)),
        ],
    )
    lines += [f"{primary.test.n_units:,} {groups} of equal weight, {primary.test.n_discordant:,} of which differ", ""]
    if judgement.seeds:
        lines += in_columns(
            ("other seed of the learned map", primary.statistic, f"it − {judgement.simple}", "95 % interval", "p"),
            [(seed.name, number(seed.score, 4), *_difference(seed.test)) for seed in judgement.seeds],
        )
        lines.append("")
    lines += in_columns(
        ("source", "pairs", "groups", "recall simple", "learned", "matched simple", "learned", "macro difference",
         "95 % interval", "q"),
        [
            (
                source.source, f"{source.n_pairs:,}", f"{source.n_groups:,}", number(source.simple.both),
                number(source.learned.both), number(source.simple_matched.both), number(source.learned_matched.both),
                *_difference(source.test)[:2], small(source.q),
            )
            for source in judgement.sources
        ],
    )  # fmt: skip
    lines.append("")
    if judgement.known_hits is not None:
        lines += [hits_sentence(judgement.known_hits), largest_sentence(judgement.known_hits)]
    said = (
        disagreement_sentence(judgement), placebo_sentence(judgement), opponent_sentence(judgement),
        change_sentence(judgement),
    )  # fmt: skip
    return [*lines, *(sentence for sentence in said if sentence)]


def _difference(test: SignFlip) -> Line:
    return signed(test.estimate, 4), f"{signed(test.low, 4)} … {signed(test.high, 4)}", small(test.p)


def _compared(other: MapComparison, what: str) -> Line:
    verdict = ("beaten" if other.beaten else "NOT beaten") if what == "placebo" else ""
    return (f"{other.name} ({what})", number(other.score, 4), *_difference(other.test), verdict)
