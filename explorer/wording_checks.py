"""What the page says of everything beside the verdict: the budget, strata, calibration, noise, and the grid."""

from __future__ import annotations

import math
import re

import polars as pl

from explorer.decoys import CAPTION as TECHNICAL
from explorer.decoys import TechnicalFdr
from explorer.digits import brief, counted, number, percent, plain, signed
from explorer.exchange import COVERAGE
from explorer.judge_details import Checks, replicate_table
from explorer.judged import JudgeView
from explorer.power import DesignPower
from explorer.reliability import CAPTION as RELIABILITY
from explorer.reliability import WHY_NO_INTERVAL
from explorer.verdict import Judgement
from explorer.wording_judge import disagreement_sentence, hits_sentence, largest_sentence

_PERCENT = re.compile(r"(?<=\d)%")
# What `explorer.benchmark` calls the one measure that is there without replicates to hold against each other.
_SHARE_ACTIVE = "share active"
CURVE_NOTE = (
    "The band is where the difference from the simple map would be within what random signs of the groups give, 95 %: "
    "a learned line inside it is no difference that goes beyond this screen. Known pairs are a lower bound: not known "
    "is not false. Both axes are square roots."
)
GRID_OFFER = (
    "The same score for every representation under every alignment: what the network adds, and what the "
    "post-processing adds. It takes longer, so it runs beside the page."
)
POWER_NOTE = (
    "Simulated screens of your size, with four in five perturbations in known groups of four; the learned map has the "
    "same signal and less noise. The strength of effects is their standard deviation in the logarithm of expression, "
    "in percent. It takes one to two minutes, beside the page; a bar shows how far it is."
)
MATCHED_NOTE = (
    "Pairs of strong or well-studied perturbations are similar whatever they do. What counts is how far the known "
    "pairs (dots) lie above random pairs matched on effect size and on the number of known partners (strokes)."
)
PLAN_NOTE = (
    "How many groups like these it would take to find a true difference in macro partner recall of this size 4 times "
    "in 5, never fewer than a verdict takes; the smallest detectable difference falls with the root of their number. "
    "What would take more groups than there are perturbations is left out."
)
FOREST_NOTE = (
    "A point is the mean over groups of known partners, the bar its 95 % interval from random signs of the groups "
    "(sign-flip). Only the topmost line, beside the placebos, decides; the others are description. Every placebo must "
    "be beaten, each at 5 %. Intervals are symmetric by construction, so that they may pass 1."
)


def budget_sentences(judgement: Judgement) -> list[str]:
    """Say what the lists at the budget hold, and how far the maps disagree about them."""
    hits = judgement.known_hits
    if hits is None:
        return []
    said = (hits_sentence(hits), largest_sentence(hits), disagreement_sentence(judgement))
    return [text for text in said if text]


def power_sentence(found: DesignPower) -> str:
    """Say what a judge could tell after a planned screen."""
    return _PERCENT.sub(" %", plain(found.sentence))


def strata_sentence(checks: Checks, judgement: Judgement) -> str:
    """Say where, within the strata, the order of the maps is another than over all."""
    if checks.strata is None:
        return f"Strata can't be had: {checks.silences['strata']}."
    judged = checks.strata.drop_nulls("difference")
    few = checks.strata.height - judged.height
    left = f" Nothing can be said of {few} more, with fewer than 20 known pairs." if few else ""
    if not judged.height:
        return "No stratum has 20 known pairs."
    better = judged.filter(pl.col("difference") > 0)
    listed = "; ".join(
        f"{row['source']}, {row['stratum']} {signed(row['difference'])}"
        for row in better.sort("difference", descending=True).head(3).iter_rows(named=True)
    )
    said = f"{judgement.learned} recalls more in {better.height} of {counted(judged.height, 'stratum', 'strata')}"
    if better.height:
        said += f" ({'most: ' if better.height > 3 else ''}{listed})"
    return (
        f"{said}.{left} A lead that is there only among the strong or the well studied is owed to that. Differences "
        "within strata are description: none was tested."
    )


def reliability_sentence(checks: Checks, judgement: Judgement) -> str:
    """Say how far similarity can be read as a chance of being known."""
    names = {"simple": judgement.simple, "learned": judgement.learned}
    said = [
        f"{names[side]}: expected calibration error {number(100 * found.expected_calibration_error)} percentage points "
        f"(0 is best) where {percent(found.base_rate)} of {found.n_pairs:,} pairs are known (fewer pairs than the map "
        "has, since both perturbations must be annotated)"
        for side, found in checks.reliability.items()
        if not math.isnan(found.expected_calibration_error)
    ]
    if not said:
        return f"It can't be told: {_silence(checks, 'calibration') or 'too few groups'}."
    return (
        f"{'; '.join(said)}. Each bin was predicted by groups that were not in it (five-fold, isotonic). {RELIABILITY} "
        f"{WHY_NO_INTERVAL}"
    )


def noise_sentences(checks: Checks, judgement: Judgement) -> list[str]:
    """Say what technical noise and the number of replicates allow."""
    names = {"simple": judgement.simple, "learned": judgement.learned}
    said = [f"{names[side]}: {plain(found.sentence)}{_none_beyond(found)}" for side, found in checks.fdr.items()]
    if any(found.reason is None for found in checks.fdr.values()):
        said.append(TECHNICAL)
        if checks.has_controls_in_map:
            said.append(
                "The controls stay in the maps as perturbations, so that what they have in common counts as noise: "
                "this FDR is too large."
            )
    said += [
        f"{names[side]}: the repeat of a perturbation, measured with half of the replicates, is among its {found.k} "
        f"nearest in {percent(found.recall)} of {found.n:,} (by chance {percent(found.chance)}): what a partner with "
        "the very same effect could reach."
        for side, found in checks.ceiling.items()
    ]
    if not checks.ceiling:
        said.append(f"No noise ceiling: {_silence(checks, 'replicate halves') or 'there are no replicates'}.")
    said += [
        f"{names[side]}: two perturbations at one place are more alike than two at different places in "
        f"{percent(found.probability)} of comparisons (50 % without such a bias)."
        for side, found in checks.proximity.items()
    ]
    return said


def exchange_sentence(checks: Checks) -> str:
    """Say what the learned map is worth in replicates, with the coverage that such sets were measured to have."""
    found = checks.exchange
    if found is None:
        return f"No exchange rate: {_silence(checks, 'exchange rate') or 'it was not computed'}."
    said = plain(found.sentence)
    if found.reason is not None:
        return said
    held = [line.coverage for line in COVERAGE]
    notes = "".join(f" {note[:1].upper()}{note[1:].rstrip('.')}." for note in found.notes)
    return (
        f"{said}{notes} In {len(held)} kinds of planted screens such a set held the true number in "
        f"{100 * min(held):.1f} to {100 * max(held):.1f} % of screens (nominal 95)."
    )


def replicates_sentence(checks: Checks) -> str:
    """Introduce the table of replicate scores, or say why there is none."""
    if checks.replicates is not None and checks.replicates.height and not replicate_table(checks).height:
        measures = checks.replicates["measure"].to_list()
        if measures == [_SHARE_ACTIVE]:
            return (
                "No perturbation is active in either map (none can be told from controls), and replicates were not "
                "measured in any other way, so there is nothing to compare."
            )
        return f"In both maps all that was measured is 0 ({', '.join(measures)}), so there is nothing to compare."
    if not replicate_table(checks).height:
        reason = _silence(checks, "replicate scores") or "no perturbation has replicates in both"
        return f"Whether replicates repeat better can't be told: {reason.rstrip('.')}."
    return (
        "Means over perturbations, learned − simple with its 95 % interval; more is better, 0 is what replicates that "
        "have nothing in common give, and below 0 is less than that. It holds for these perturbations only. It may "
        "differ from the verdict: replicates can repeat better while partners are found less well, since what repeats "
        "may be noise that all replicates share, and repeating is not function."
    )


def groups_sentence(judgement: Judgement) -> str:
    """Count the groups that gain and lose."""
    units = judgement.units
    gain, lose = (int((sign * units["difference"] > 0).sum()) for sign in (1, -1))
    return (
        f"Of {counted(units.height, 'group')}, in {judgement.learned}: {gain:,} with a gain, {lose:,} with a loss, "
        f"{units.height - gain - lose:,} without a change. Large groups that differ much come first. A single group is "
        "an anecdote: only their mean was tested."
    )


def grid_note(grid: pl.DataFrame, view: JudgeView) -> str:
    """Read the grid out loud: what the alignment adds, and what the representation adds."""
    scores = {
        (name, method): score for name, method, score in grid.select("representation", "alignment", "score").rows()
    }
    own = {method: score for (name, method), score in scores.items() if name == view.simple and score == score}
    parts = []
    if own and "none" in own:
        best = max(own, key=lambda method: own[method])
        parts.append(
            f"Alignment: {view.simple} gains {signed(own[best] - own['none'])} from none to its best ({best})."
        )
    low, high = (scores.get((name, view.align), math.nan) for name in (view.simple, view.learned))
    parts.append(
        f"Representation: from {view.simple} to {view.learned} under {view.align} it is {signed(high - low)} (framed)."
    )
    without = grid.filter(pl.col("score").is_nan())["alignment"].unique(maintain_order=True).to_list()
    missing = f" No score (–): {', '.join(without)} can't be had for all." if without else ""
    return (
        f"Macro partner recall at {view.k}, by chance {number(grid['chance'][0])}; more is better. {' '.join(parts)}"
        f"{missing} Scores, not tests: whoever picks the best cell has looked at {grid.height} of them."
    )


def _none_beyond(found: TechnicalFdr) -> str:
    """Say what it means that a level has no pair; empty where each has some, or where there is no FDR."""
    without = [level for level, _, n_pairs in found.table.iter_rows() if not n_pairs] if found.reason is None else []
    if not without:
        return ""
    levels = "at these levels" if len(without) == found.table.height else f"at {', '.join(map(brief, without))}"
    return f" None means that no pair is more alike than noise would make it, {levels} and in this alignment."


def _silence(checks: Checks, what: str) -> str:
    return next((text for name, text in checks.silences.items() if name.startswith(what)), "")
