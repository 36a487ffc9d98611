"""What the page of the shortlist says: what a mode costs, how many hits to expect, what came, and what it can't say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import polars as pl

from explorer.catalog import Catalog, shared_knowledge, shared_map
from explorer.contexts import HOLDS, NOT_SEEN, SILENT, UNJUDGED
from explorer.decoys import CAPTION
from explorer.digits import counted, number, percent, plain, signed, small
from explorer.frozen import FrozenList
from explorer.gathered_evidence import ACTIVE, NO_EDGE, NOT_JUDGED, Evidence
from explorer.head_to_head import BACKGROUND_SHARE, FEWEST_BACKGROUND, FEWEST_DISCORDANT, FEWEST_PAIRS, HeadToHead
from explorer.outcomes import Score
from explorer.proposed import Proposed
from explorer.returned import Returned
from explorer.shortlist import MOST_PER_PERTURBATION, Expectation
from explorer.shortlists import Listed, ListPlan, filter_words
from explorer.text import as_sentence
from explorer.track_record import TrackRecord

QUESTION = "What should I test next, and what did my last list teach me?"
# What comparing costs and shows, as `tests/benchmarks/shortlist_calibration.py` measures it on simulated screens of 400
# perturbations: by the number of pairs, the share of hits that it costs, and how often it finds an advantage of 30 and
# of 60 %; and how often a false one a side.
MEASURED: Mapping[int, tuple[float, float, float]] = {
    50: (0.0, 0.01, 0.03), 100: (0.08, 0.21, 0.81), 200: (0.25, 0.37, 0.97)
}  # fmt: skip
ADVANTAGES = (30, 60)
FALSE_A_SIDE = 0.01
FIRST_RESULTS = 20

DISCOVER_NOTE = (
    "Discover lists the pairs that either map ranks highest: the most hits that can be had. It says nothing about "
    "which of the two maps is better."
)
LIST_NOTE = (
    "Pairs stand in the order of the larger of both maps' scores (the cosine less how crowded both neighbourhoods are, "
    "as the normal score of its rank among all pairs); where further contexts are counted in, of its mean over "
    f"contexts. A perturbation stands in {MOST_PER_PERTURBATION} pairs at the most. Nothing to the right of the names "
    "decides that order."
)
COLUMN_ROWS: tuple[tuple[str, str], ...] = (
    ("proposed by", "the map in which the pair scores higher"),
    ("simple rank, learned rank", "how near the two are, the larger of both ranks (1: nearest to each other)"),
    (
        "in a context",
        "whether the pair holds there as an edge of either map's graph (● holds, ○ not seen, ◌ silent, – cannot be "
        "judged; no edge: neither is among the other's ten nearest here, so it was not asked)",
    ),
    ("seeds", "training runs of the learned model in which it is an edge"),
    ("support", "how often it is an edge when replicates are drawn again, simple / learned"),
    ("active", "whose replicates agree in at least one of the maps"),
    ("shared gene sets", "enriched among the neighbours of both, and how many of each one's ten are in it"),
)
BLIND_NOTE = (
    "The list is blind: nothing here, the order of the pairs neither, tells who proposed what. That lies in a sealed "
    "key of its own. Rows are shuffled and numbered when the list is frozen."
)
CLICK_NOTE = "Click a row, or choose a pair, for all that is known of it."
APART_NOTE = (
    "A source places the two in different groups. That may be right, so they are not listed; it may also be how the "
    "groups were drawn."
)
MAPS_NOTE = (
    "A point is a pair; the axes are its normal scores in the two maps, means over the contexts counted in: 0 is an "
    "average pair, 2 is among the highest 2.3 %. Above the dashed line the learned map ranks it higher, below it the "
    "simple one."
)
EXPECTED_NOTE = (
    "Expected hits, added up from the top of the list, for what the annotation may hold of the truth. Each line is a "
    "statement about the list and not about any one pair."
)
FREEZE_NOTE = (
    "Freezing writes the list with its date, recipes, sources and expectation into files that show any later change: "
    "one as parquet, one as CSV, and a sheet for the bench. Note the digest that stands on the sheet in your lab book: "
    "it tells of accidents and second thoughts, and only such a note tells of somebody who rewrote list and digest. "
    "Nothing is kept here: the files are made when you click, and each click makes a list of its own. Where you test "
    "in batches, begin with rows from all over the list: they tell more of the rest than its top does."
)
KEY_NOTE = (
    "The fourth file is the sealed key. Give it to somebody who does not read the assay, unopened, until every row "
    "says hit, no hit or failed."
)
RESULTS_FORM = "row,first,second,result\n1,GENE1,GENE2,hit\n2,GENE3,GENE4,no hit\n3,GENE5,GENE6,failed\n"
RESULTS_NOTE = (
    "Bring the frozen list back with its results: the filled-in sheet, or a CSV with a column result (hit, no hit or "
    "failed; blank while it is not back) and either row, or first and second, or pair. Files are read here, checked "
    "and forgotten; 512 kB each at the most."
)
RESULTS_KEY_NOTE = "Of a blind list give the key too, once every row has its result: until then it is not opened."
RECORD_ELSEWHERE = (
    "A track record of all your lists (expected against found, simple against learned) is kept where you are, never on "
    "a shared server: run this page on your own machine with a folder of yours, marimo run apps/shortlist.py -- "
    "--data PATH --track FOLDER, or use explorer results … --track FOLDER."
)
RECORD_HOW = (
    "To add lists up over the years, name a folder of yours: marimo run apps/shortlist.py -- --data PATH --track "
    "FOLDER. Each complete list becomes one small file there."
)
RECORD_NOTE = (
    "The dashed line is where found equals expected. The expectation is that for the middle completeness that each "
    "list stated."
)
_LABEL_WORDS: Mapping[str, str] = {
    HOLDS: "holds",
    NOT_SEEN: "is not seen",
    SILENT: "is silent (a partner is not active there)",
    UNJUDGED: "cannot be judged",
}


# ---------------------------------------------------------------- before anything is chosen


def mode_rows(budget: int) -> list[tuple[str, str]]:
    """Say of either mode what it costs and what so many pairs can show, before one is chosen."""
    measured = max((n for n in MEASURED if n <= budget), default=min(MEASURED))
    cost, *power = MEASURED[measured]
    found = " and ".join(
        f"{what} of {advantage} % in {percent(share)}"
        for what, advantage, share in zip(("an advantage", "one"), ADVANTAGES, power, strict=True)
    )
    costs = f"up to {percent(cost)} of the" if cost else "hardly any"
    compare = (
        f"Lets the experiments judge the two maps. In simulated screens {measured} pairs find {found} of cases, a "
        f"false one in {percent(FALSE_A_SIDE)} a side, and cost {costs} hits; below {FEWEST_PAIRS} pairs it is a "
        f"description only{f', which {budget:,} pairs would be' if budget < FEWEST_PAIRS else ''}. Random pairs come "
        f"on top: {budget:,} pairs make up to {budget + n_random(budget):,} rows. A map needs some four perturbations "
        "a pair."
    )
    return [
        ("Discover", "Finds the most hits. It says nothing about which of the two maps is better."),
        ("Compare", compare),
    ]


def n_random(budget: int) -> int:
    """Count the random pairs that stand beside so many proposed ones."""
    return max(FEWEST_BACKGROUND, round(BACKGROUND_SHARE * budget))


# ---------------------------------------------------------------- the list


def expectation_sentence(expectation: Expectation) -> str:
    """Say how many hits to expect, for each share of the truth that the annotation may hold."""
    if math.isnan(expectation.known_rate):
        return (
            f"Nothing is known of pairs like these, so no number of hits among {counted(expectation.n_rows, 'pair')} "
            "can be expected."
        )
    more = f"Your first {FIRST_RESULTS} results" if expectation.n_rows > FIRST_RESULTS else "Your results"
    return (
        f"{percent(expectation.known_rate)} of pairs this similar are already known. If the annotation holds "
        f"{shares_text(expectation.completeness)} of the truth, expect about {hits_text(expectation.expected)} hits of "
        f"{expectation.n_rows:,}; half that if strong biology was annotated first. {more} will say more."
    )


def impossible_sentence(expectation: Expectation) -> str:
    """Say which of the stated shares can't be, since more of pairs this similar are known already; else empty."""
    if math.isnan(expectation.known_rate):
        return ""
    stated = zip(expectation.completeness, expectation.expected, strict=True)
    impossible = [share for share, hits in stated if math.isnan(hits)]
    if not impossible:
        return ""
    return (
        f"{shares_text(impossible)} can't be: of {counted(expectation.n_alike, 'pair')} this similar more are known "
        "already than that, and more than all would be true. State a larger share, or wait for the first results."
    )


def shares_text(shares: Sequence[float]) -> str:
    """Write shares of the truth as one text: ``70 / 50 / 40 %``."""
    return f"{' / '.join(f'{100 * share:g}' for share in shares)} %"


def hits_text(hits: Sequence[float]) -> str:
    """Write expected hits as one text: ``11 / 24 / 35``, a dash where a share can't be."""
    return " / ".join("–" if math.isnan(value) else about(value) for value in hits)


def about(value: float) -> str:
    """Write an expected number of hits no more exactly than it is known."""
    if math.isnan(value):
        return "not defined"
    if 0 < value < 0.05:
        return "under .1"
    return f"{value:,.0f}" if value >= 2.95 or value == 0 else plain(f"{value:.1f}")


def census_sentence(found: Listed) -> str:
    """Say what a comparison tests, and that nothing tells who proposed what; empty of a list to discover with."""
    census, plan = found.census, found.plan
    if census is None:
        return ""
    return (
        f"{plan.simple} and {plan.learned} propose {counted(census.depth, 'pair')} each: {census.n_shared:,} of these "
        f"are of both, and {census.n_exclusive:,} of each alone. With {counted(census.n_background, 'random pair')} "
        f"for the assay's own rate of hits, {counted(found.rows.height, 'row')} are to be tested, all of them."
    )


def units_sentence(found: Listed) -> str:
    """Say how many units the test of a comparison will have; empty of a list to discover with."""
    if found.census is None:
        return ""
    n = found.census.n_components
    few = " There are too few of them for any verdict." if n < FEWEST_DISCORDANT else ""
    return (
        f"Pairs that share a perturbation rise and fall together: the test will have {counted(n, 'unit')}, and needs "
        f"{FEWEST_DISCORDANT} in which the two maps' hits differ.{few}"
    )


def head(made: Proposed) -> str:
    """Write the answer in a few words."""
    found = made.found
    if made.is_blind:
        return f"{counted(found.rows.height, 'pair')} to be tested blind"
    pairs = counted(found.rows.height, "pair")
    expectation = found.expectation
    if math.isnan(expectation.known_rate):
        return f"{pairs} to test next"
    return f"{pairs} to test next: expect about {hits_text(expectation.expected)} hits"


def filter_sentence(found: Listed) -> str:
    """Say which pairs were let pass."""
    words = filter_words(found.plan)
    return f"Only pairs that pass: {'; '.join(words)}." if words else "No filter: any pair may be listed."


def counts_sentence(found: Listed) -> str:
    """Say of how many pairs the list is the top; empty of a comparison."""
    made = found.shortlist
    if made is None:
        return ""
    apart = f", {made.n_apart:,} annotated apart" if made.n_apart else ""
    return (
        f"Of {counted(made.n_pairs, 'pair')} among {counted(made.n_perturbations, 'perturbation')}, {made.n_known:,} "
        f"are known{apart}; {made.n_candidates:,} may be listed."
    )


def notes_of(made: Proposed) -> list[str]:
    """List what the reader must know of a list, each as a sentence."""
    return [_sentence(note) for note in dict.fromkeys(made.found.notes)]


def unknown_sentence(made: Proposed) -> str:
    """Say which perturbations of interest are not in the maps; empty where all are."""
    return _sentence(made.unknown) if made.unknown else ""


def context_line(catalog: Catalog, found: Listed) -> str:
    """Name the data set and what was asked of it, in a line."""
    plan = found.plan
    known = ", ".join(found.sources) or "nothing"
    return (
        f"{catalog.dataset(plan.dataset).card.title}. {plan.simple} and {plan.learned}, alignment {plan.align}; known: "
        f"{known}."
    )


def passport_rows(found: Listed) -> list[tuple[str, str]]:
    """List the conditions of every context, by its name."""
    return list(found.conditions.items())


def column_rows(table: pl.DataFrame) -> list[tuple[str, str]]:
    """Say what the columns of a list mean, of those that it has."""
    there = set(table.columns)
    has_contexts = any(name.startswith("in ") for name in table.columns)
    return [
        (name, said)
        for name, said in COLUMN_ROWS
        if there & set(name.split(", ")) or (name == "in a context" and has_contexts)
    ]


def evidence_notes(made: Proposed, evidence: Evidence) -> list[str]:
    """List why some of the evidence can't be had, each as a sentence; names of representations stay as they are."""
    plan = made.found.plan
    names = (plan.simple, plan.learned)
    notes = dict.fromkeys(evidence.notes)
    return [_stopped(plain(note if note.startswith(names) else as_sentence(note))) for note in notes]


# ---------------------------------------------------------------- one pair


def pair_rows(made: Proposed, evidence: Evidence | None, row: int) -> list[tuple[str, str]]:
    """Say all that is known of one pair of a list, as pairs of a word and a sentence.

    Parameters
    ----------
    made, evidence
        The list, no blind one, and what stands beside its pairs; None while it is gathered.
    row
        Its place in the list, from 0.
    """
    found = made.found
    line = found.rows.row(row, named=True)
    names = {"simple": found.plan.simple, "learned": found.plan.learned}
    by = names.get(line["proposer"], "both alike")
    over = f" (mean over {counted(len(found.conditions), 'context')})" if len(found.conditions) > 1 else ""
    said = [
        (
            "In the list",
            f"Place {line['rank']:,}, proposed by {by}{over}; here its normal score is "
            f"{_number(line['simple score'], 2)} in {names['simple']}, {_number(line['learned score'], 2)} in "
            f"{names['learned']}. "
            + (
                "Nothing is known of pairs this similar."
                if _is_missing(line["known rate"])
                else f"{percent(line['known rate'])} of pairs this similar are known already, which says nothing of "
                "this one alone."
            ),
        )
    ]
    if evidence is None:
        return said
    known = evidence.table.row(row, named=True)
    said.append(("How near", _nearness(known, names, "")))
    labels = [name.removesuffix(": simple") for name in known if name.endswith(": simple")]
    for label in labels:
        said.append((f"In {label}", f"{_nearness(known, names, f'{label}: ')} {_labels(known, names, label)}".strip()))
    said.append(("Active", _activity(line, known)))
    noise = [f"{_number(known[f'{side} technical FDR'], 2)} in {name}" for side, name in names.items()]
    if not all(_is_missing(known[f"{side} technical FDR"]) for side in names):
        word = "False discovery rate against technical noise"
        said.append((word, f"{'; '.join(noise)}. {CAPTION} It decides nothing here."))
    if known["seeds"] is not None:
        said.append(
            (
                "Seeds",
                f"{known['seeds agreeing']} of {known['seeds']} training runs of {names['learned']} have it as edge.",
            )
        )
    if not all(_is_missing(known[f"{side} support"]) for side in names):
        shares = [f"{_percent(known[f'{side} support'])} in {name}" for side, name in names.items()]
        said.append(("Support", f"An edge when replicates are drawn again: {'; '.join(shares)}."))
    if known["shared gene sets"]:
        said.append(("Gene sets among the neighbours of both", f"{known['shared gene sets']}."))
    if known["distrust"]:
        said.append(("Distrust", f"{known['distrust']}."))
    return [(word, plain(text)) for word, text in said]


def pair_head(made: Proposed, row: int) -> str:
    """Name a pair."""
    line = made.found.rows.row(row, named=True)
    return f"{line['first']} and {line['second']}"


def pair_names(made: Proposed, row: int) -> tuple[str, str]:
    """Name the partners of a pair."""
    line = made.found.rows.row(row, named=True)
    return line["first"], line["second"]


def _nearness(known: Mapping[str, object], names: Mapping[str, str], before: str) -> str:
    parts = []
    for side, name in names.items():
        similarity, rank = known[f"{before}{side} similarity"], known[f"{before}{side} rank"]
        if _is_missing(similarity):
            parts.append(f"not in {name}")
        else:
            parts.append(f"cosine {_number(similarity, 3)}, rank {_rank(rank)} in {name}")
    return f"{_large_first('; '.join(parts))}."


def _labels(known: Mapping[str, object], names: Mapping[str, str], label: str) -> str:
    parts = []
    for side, name in names.items():
        said = known[f"{label}: {side}"]
        if said == NO_EDGE:
            parts.append(f"no edge of {name}'s graph here, so not asked")
        elif isinstance(said, str):
            parts.append(f"as an edge of {name}'s graph it {_LABEL_WORDS.get(said, said)}")
    return f"{_large_first('; '.join(parts))}." if parts else ""


def _large_first(text: str) -> str:
    """Begin a text of our own with a capital letter."""
    return text[:1].upper() + text[1:]


def _activity(line: Mapping[str, object], known: Mapping[str, object]) -> str:
    words = [known[f"{side} activity"] or NOT_JUDGED for side in ("first", "second")]
    if words[0] == words[1]:
        return f"Both are {words[0]}." if words[0] == ACTIVE else f"Neither is {str(words[0]).removeprefix('not ')}."
    return f"{line['first']} is {words[0]}, {line['second']} is {words[1]}."


# ---------------------------------------------------------------- what came back


def found_sentences(score: Score) -> list[str]:
    """Say what was found of what was tested, against what was expected of it, and what is expected of the rest."""
    random = " (random pairs left out)" if score.is_proposed_only else ""
    failed = f", {score.n_failed:,} failed" if score.n_failed else ""
    waiting = f", {score.n_waiting:,} not back" if score.n_waiting else ""
    said = [
        f"{counted(score.n_found, 'hit')} of {score.n_tested:,} tested{random}{failed}{waiting}; the list has "
        f"{counted(score.n_rows, 'row')}."
    ]
    if not score.n_tested:
        return [*said, "No pair was tested yet, so the expectation stands as it was."]
    if all(math.isnan(value) for value in score.expected_back):
        return [*said, "Nothing was known of pairs like these, so no number was expected."]
    shares = shares_text(score.completeness)
    times = [score.n_found / hits if hits else math.nan for hits in score.expected_back]
    said.append(
        f"Expected of those tested, were the annotation {shares} complete: {hits_text(score.expected_back)}. So "
        f"{times_text(times)} times as many came."
    )
    if score.n_waiting:
        said.append(
            f"Corrected by (hits + ½) / (expected + ½), expect {hits_text(score.remaining)} hits of the "
            f"{score.n_waiting:,} that are not back."
        )
    if score.mode == "compare" and not score.is_proposed_only:
        said.append("Random pairs are among the rows, of which no hit is expected; which they are is sealed.")
    return said


def returned_sentences(made: Returned) -> list[str]:
    """Say all of what came back: found against expected, and of a blind list what it says of the maps."""
    if made.score is None:
        return [] if made.frozen is None else ["Give its results too, and they are held against what was expected."]
    simple, learned = made.sides
    found = found_sentences(made.score)
    judged = verdict_sentences(made.score, simple=simple, learned=learned)
    return [*judged, *found] if made.score.head_to_head is not None else [*found, *judged]


def results_head(score: Score | None) -> str:
    """Write what came back in a few words."""
    if score is None:
        return "A frozen list, whole and unchanged"
    return verdict_head(score) or f"{counted(score.n_found, 'hit')} of {score.n_tested:,} tested"


def frozen_line(frozen: FrozenList) -> str:
    """Name a frozen list, in a line."""
    told = ", ".join(str(frozen.header[name]) for name in ("dataset", "context") if name in frozen.header)
    return f"Frozen {frozen.date}, {frozen.mode}, {counted(frozen.n_rows, 'row')}: {told}. Digest {frozen.digest}."


def times_text(factors: Sequence[float]) -> str:
    """Write by how much an expectation was wrong, for each completeness."""
    return " / ".join("–" if math.isnan(value) else number(value, 1 if value >= 1 else 2) for value in factors)


def results_tone(score: Score | None) -> Literal["success", "neutral", "warn"]:
    """Colour of what came back."""
    judged = None if score is None else score.head_to_head
    if judged is not None and judged.verdict in ("learned finds more", "simple finds more"):
        return "success"
    return "warn" if judged is not None and judged.verdict == "description only" else "neutral"


def verdict_head(score: Score) -> str:
    """Write the verdict of a comparison in a few words; empty where there is none."""
    return as_sentence(score.head_to_head.verdict) if score.head_to_head is not None else ""


def verdict_sentences(score: Score, *, simple: str, learned: str) -> list[str]:
    """Say what the experiments say of the two maps, with its interval, its units and its checks.

    Parameters
    ----------
    score
        Of a list.
    simple, learned
        Names of its two maps.
    """
    judged = score.head_to_head
    if judged is None:
        return [_sentence(score.reason)] if score.reason else []
    said = [
        f"{learned}: {counted(judged.hits_learned, 'hit')} of its {counted(judged.depth, 'pair')}; {simple}: "
        f"{counted(judged.hits_simple, 'hit')} of its {judged.depth:,}. {_delta(judged)}",
        f"{as_sentence(judged.verdict)}: {_sentence(judged.reason)}"
        if judged.verdict in ("underpowered", "description only")
        else "",
        (
            f"Of {counted(judged.n_background, 'random pair')}, {judged.background_hits:,} "
            f"{'was a hit' if judged.background_hits == 1 else 'were hits'}: what the assay shows by itself."
        ),
        _failures(judged),
    ]
    return [text for text in said if text]


def _delta(judged: HeadToHead) -> str:
    units = f"{counted(judged.n_components, 'unit')}, {judged.n_discordant:,} of which differ"
    if math.isnan(judged.low) or math.isnan(judged.high):
        return f"Learned − simple is {signed(judged.delta)} of the pairs of a list ({units})."
    return (
        f"Learned − simple is {signed(judged.delta)} of the pairs of a list (95 % interval {signed(judged.low)} to "
        f"{signed(judged.high)}, p {small(judged.p)}; {units})."
    )


def _failures(judged: HeadToHead) -> str:
    if not judged.n_failed:
        return "No experiment failed."
    check = (
        ""
        if math.isnan(judged.failed_p)
        else f" (whether that hangs on who proposed a pair: Fisher p {small(judged.failed_p)})"
    )
    return f"{counted(judged.n_failed, 'experiment')} failed{check}."


# ---------------------------------------------------------------- the track record


def record_how(*, is_served: bool) -> str:
    """Say how a track record is kept, where none is."""
    return RECORD_ELSEWHERE if is_served else RECORD_HOW


def record_rows(record: TrackRecord) -> list[str]:
    """List all that a track record says, and which of its files were left out."""
    said = record_sentences(record)
    if record.table.height:
        said.append(cumulated_sentence(record))
    return [*said, *(_sentence(problem) for problem in record.problems)]


def record_sentences(record: TrackRecord) -> list[str]:
    """Say what all recorded lists say together: expected against found, calibration, simple against learned."""
    n_lists = record.table.height
    if not n_lists:
        return ["No list is recorded yet.", *_never_back(record)]
    said = [f"{counted(n_lists, 'list')} recorded.", *_never_back(record)]
    stated = record.stated
    if stated.n_lists:
        said.append(
            f"Over {counted(stated.n_lists, 'list')} with an expectation, {counted(stated.found, 'hit')} found and "
            f"{about(stated.expected)} expected (each list's middle completeness): "
            f"{times_text([stated.found / stated.expected if stated.expected else math.nan])} times as many came."
        )
        said.append(
            f"A list's hits were off by {percent(math.sqrt(stated.squared_error))} of the pairs tested (root mean "
            f"square); {percent(math.sqrt(stated.squared_error_if_right))} would be chance alone, were the "
            "expectations right and pairs independent. Smaller is better."
        )
    each = [one for one in record.by_completeness if one.n_lists]
    if len(each) > 1:
        parts = [
            f"{about(one.expected)} were the annotation {percent(one.completeness)} complete "
            f"({counted(one.n_lists, 'list')}, {one.found:,} found)"
            for one in each
        ]
        said.append(f"Expected by completeness: {'; '.join(parts)}.")
    return said


def cumulated_sentence(record: TrackRecord) -> str:
    """Say what all blind comparisons say together of simple and learned maps."""
    made = record.cumulated
    left_out = (
        f" Left out, since description only: {counted(made.n_left_out, 'comparison')}." if made.n_left_out else ""
    )
    if not made.n_lists:
        return f"No blind comparison counts yet, so nothing is said of simple against learned.{left_out}"
    hits = (
        f"Over {counted(made.n_lists, 'blind comparison')}, the learned maps' lists had "
        f"{counted(made.hits_learned, 'hit')} and the simple ones' {made.hits_simple:,}, of "
        f"{counted(made.depth, 'pair')} each"
    )
    units = f"{counted(made.test.n_units, 'unit')}, {made.test.n_discordant:,} of which differ"
    if math.isnan(made.low) or math.isnan(made.high):
        return f"{hits}: learned − simple {signed(made.delta)} ({units}).{left_out}"
    return (
        f"{hits}: learned − simple {signed(made.delta)} (95 % interval {signed(made.low)} to {signed(made.high)}, p "
        f"{small(made.test.p)}; {units}).{left_out}"
    )


def _never_back(record: TrackRecord) -> list[str]:
    if not record.n_registered:
        return []
    if not record.n_not_back:
        return [f"Every frozen list that was noted here came back ({record.n_registered:,})."]
    return [
        f"{record.n_not_back:,} of {counted(record.n_registered, 'frozen list')} never came back: lists that are "
        "tested and not recorded make a record look better than it is."
    ]


# ---------------------------------------------------------------- limits and sources


def limits(made: Proposed) -> list[tuple[str, str]]:
    """List what a list can't say, as pairs of a word and a sentence."""
    found = made.found
    rows = [
        (
            "The expectation is of the list",
            "It is no probability of any one pair: added up it was right to about 15 % in simulated screens whose "
            "annotation was random and of known completeness, and twice too high where strong biology was annotated "
            "first.",
        ),
        (
            "Completeness is yours to state",
            "Nobody knows what share of the truth an annotation holds. Three values are shown since the answer hangs "
            "on it; your own results will tell which was nearest.",
        ),
        (
            "Similar is not the same as related",
            "Two perturbations may share a stress, a dose or a place on a plate. That is why activity, noise and "
            "other contexts stand beside each pair, and why none of them decides.",
        ),
        ("False discovery rate against technical noise", f"{CAPTION} It decides nothing here."),
    ]
    if made.is_blind:
        rows.append(
            (
                "Blind for the bench",
                "The key is sealed, not locked: whoever makes the same list again can work out who proposed what, and "
                "a key that is unpacked by hand leaves no trace. Let a colleague keep it.",
            )
        )
    else:
        rows.append(
            (
                "Which map is better",
                "A list that takes from both maps can't tell: pairs of the one were never tested as often as pairs "
                "of the other. That is what compare is for.",
            )
        )
    if len(found.conditions) > 1 and not made.is_blind:
        rows.append(
            (
                "Holding elsewhere",
                "The contexts that are counted in made the order, so that a pair holds there is no news of it. And a "
                "label for each of two representations is two looks.",
            )
        )
    return rows


def about_rows(catalog: Catalog, found: Listed) -> list[tuple[str, str]]:
    """List what the card, the passports and every recipe say, as pairs of a heading and a text."""
    plan = found.plan
    dataset = catalog.dataset(plan.dataset)
    card = dataset.card
    rows: list[tuple[str, str]] = [
        ("Dataset", card.title),
        ("Licence", card.license),
        ("Citation", card.citation),
        ("Description", card.description),
        ("Provenance", card.provenance),
        ("Assumed", "; ".join(dataset.notes)),
    ]
    for name in (plan.simple, plan.learned):
        entry = card.representations[name]
        recipe = shared_map(dataset, plan.context, name, alignment=plan.align).recipe
        rows += [
            (f"Representation {name}", f"{entry.kind}: {entry.description}".removesuffix(": ")),
            (f"How {name} was trained", entry.trained),
            (f"Recipe of {name}", f"{recipe.sentence}. {' '.join(recipe.notes)}".strip()),
        ]
    rows += [
        (f"Recipe, {name}", f"{print_} ({found.maps.get(print_, '')})") for name, print_ in found.fingerprints.items()
    ]
    rows += [(f"Known: {name}", f"digest {digest}") for name, digest in found.sources.items()]
    rows += [
        (f"Licence of {name}", licence)
        for name, licence in shared_knowledge(dataset).licences.items()
        if name in found.sources
    ]
    return [(heading, " ".join(text.split())) for heading, text in rows if text.strip()]


def figure_heading(found: Listed) -> str:
    """Say above an exported figure what it shows and which recipes made it, and below that every passport."""
    plan = found.plan
    first = (
        f"{plan.dataset}, {plan.context}: {counted(found.rows.height, 'pair')} to test next · {plan.simple} and "
        f"{plan.learned}, alignment {plan.align} · recipes {found.recipes}"
    )
    return "\n".join([first, *(f"{name}: {sentence}" for name, sentence in passport_rows(found))])


def plan_line(plan: ListPlan) -> str:
    """Name what is asked for, in a few words."""
    others = f" with {', '.join(plan.others)}" if plan.others else ""
    return f"{plan.mode}, {counted(plan.budget, 'pair')}: {plan.dataset}, {plan.context}{others}"


def _is_missing(value: object) -> bool:
    return not isinstance(value, int | float) or math.isnan(value)


def _number(value: object, digits: int) -> str:
    return number(float(value), digits) if isinstance(value, int | float) else "not defined"


def _percent(value: object) -> str:
    return percent(float(value)) if isinstance(value, int | float) else "not defined"


def _rank(value: object) -> str:
    return f"{value:,.0f}" if isinstance(value, int | float) else "not defined"


def _sentence(note: str) -> str:
    return _stopped(plain(as_sentence(note)))


def _stopped(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
