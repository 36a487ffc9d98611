"""What the page of contexts says: every number with what matched decoys or chance would give, and what it can't say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import polars as pl

from explorer.card import cautions_about
from explorer.catalog import Catalog, shared_knowledge, shared_map
from explorer.context_reports import OverlapReport
from explorer.contexts import HOLDS
from explorer.digits import brief, counted, number, percent, plain, signed, small
from explorer.held import Held, places_of
from explorer.held_tables import LabelCounts, counts_of, general_edges, is_own, quiet_sentence
from explorer.significance import SignFlip
from explorer.text import as_sentence

LABELS_NOTE = (
    "● holds: nearer to each other there than matched decoys are (q ≤ .1 over all edges). ○ not seen: further apart "
    "than nearly all edges as repeatable as that context's own. ◌ silent: one of the two is not active there, so "
    "nothing could show. – cannot be judged: neither. Neighbours are found by centred cosine; those up to rank 10 are "
    "its own; those below (listed by the other alone) have it among theirs and are not counted above."
)
CLICK_NOTE = "Click a name to ask about it."
OVERLAP_NOTE = (
    "Adjusted overlap: the share of ten neighbours that both contexts have, less what perturbations as far along the "
    "shared axis (and, where it is declared, of the same place on the plate) have in common anyway. 0 is chance. The "
    "point is the mean over groups of known partners, the bar its 95 % interval (sign-flip). Neighbours are here by "
    "cosine of the maps as they are."
)
PARTS_NOTE = (
    "What the raw overlap is made of, from left to right. Hubs: neighbours of nearly everybody, and chance. Shared "
    "axis: perturbations that only lie equally far along the first component, such as equally strong ones. Layout: "
    "the same place on the plate. What is about the perturbation itself is in the remainder, and the figures say how "
    "much that is of the whole; but one shared axis alone is taken out, and where maps have several in common, the "
    "others are in the remainder."
)
EDGES_NOTE = (
    "An edge joins two perturbations of which one is among the other's ten nearest. q is Benjamini-Hochberg's over all "
    "edges; not known is not false."
)
NEVER_SPECIFIC = (
    "That an edge does not hold elsewhere does not make it specific to this context: what is absent from a list of "
    "neighbours is there after all in about half of the cases."
)

# Notes of a report that are about the layout begin so, after the name of a context.
_OF_LAYOUT = ("layout not declared", "layout matched by", "layout declared but not matched")


def head(held: Held, query: str) -> str:
    """Write the answer in a few words, as a heading of a page that names the query nowhere else."""
    counts = counts_of(held.report, query)
    if not counts or not counts[0].n_edges:
        return f"{query} has no neighbours to look for"
    parts = [f"{count.n_holds} of {count.n_edges} in {count.context}" for count in counts]
    return f"What holds of {query}'s neighbours: {_and(parts)}"


def tone(held: Held, query: str) -> Literal["success", "neutral"]:
    """Colour of the answer, as a callout of the page names it.

    It is a success where half of the neighbours or more hold somewhere, the query is active, and shared positions on
    the plate could not look like it.
    """
    counts = counts_of(held.report, query)
    if layout_sentences(held) or inactive_sentence(held, query):
        return "neutral"
    return "success" if any(2 * count.n_holds >= count.n_edges > 0 for count in counts) else "neutral"


def layout_sentences(held: Held) -> list[str]:
    """Say where shared positions on the plate would look like replication: no layout is declared, or none is fine."""
    return [_sentence(note) for note in held.report.notes if any(word in note for word in _OF_LAYOUT)]


def inactive_sentence(held: Held, query: str) -> str:
    """Say that a query's neighbours mean nothing, where its replicates do not set it apart; else empty."""
    return f"{quiet_sentence(query, held.view.context)}." if query in held.inactive else ""


def query_sentences(held: Held, query: str) -> list[str]:
    """Say for each other context what became of a query's neighbours."""
    return [label_sentence(count) for count in counts_of(held.report, query)]


def label_sentence(count: LabelCounts) -> str:
    """Say in plain sentences how many of some neighbours hold in a context, and what is said of the rest."""
    if not count.n_edges:
        return "No neighbours could be found here, so none could be looked for."
    n_holds = "None" if not count.n_holds else f"{count.n_holds:,}"
    said = [
        f"{n_holds} of {counted(count.n_edges, 'neighbour')} {_hold(count.n_holds)} in {count.context} "
        f"({_decoys(count.decoys)})."
    ]
    if count.n_not_seen:
        said.append(
            f"{count.n_not_seen:,} not seen, although {count.context} shows {_shown(count.power)} of edges as "
            "repeatable as its own."
        )
    if count.n_silent:
        said.append(f"{count.n_silent:,} silent: one of the two is not active there.")
    if count.n_unjudged:
        why = f": {_of(count.context, count.unknown)}" if count.unknown else "."
        said.append(f"{count.n_unjudged:,} cannot be judged{_stopped(why)}")
    return " ".join(said)


def general_sentence(held: Held, query: str = "") -> str:
    """Say how many of a query's neighbours, or of all edges, hold in several others at once; empty with one other."""
    report = held.report
    if len(report.others) == 1:
        return ""
    chosen = is_own(report, query)
    n_others = len(report.others)
    counts = {
        number: int((general_edges(report, at_least=number)["holds"] & chosen).sum())
        for number in range(n_others, 0, -1)
    }
    what = counted(int(chosen.sum()), "neighbour" if query else "edge")
    parts = [f"{count:,} {_hold(count)} in {_at_least(number, n_others)}" for number, count in counts.items()]
    said = f"With the tests combined (q ≤ .1), of {what} {_and(parts)}."
    apart = [((report.labels.filter(pl.col("context") == name)["label"] == HOLDS) & chosen) for name in report.others]
    n_somewhere = sum(any(holds) for holds in zip(*apart, strict=True))
    if counts[1] >= n_somewhere:
        return said
    return (
        f"{said} In one context or another, each by its own test, {n_somewhere:,} {_hold(n_somewhere)}: combined, each "
        f"edge is tested once for {'both' if n_others == 2 else f'all {n_others}'}, which asks for more."
    )


def map_sentences(held: Held) -> list[tuple[str, str]]:
    """Say of the whole map how many edges hold in each other context, as pairs of the context and a sentence."""
    report = held.report
    known_of_all = _share((report.edges["known"] != "").mean())
    found = []
    for count in counts_of(report):
        labels = report.labels.filter(pl.col("context") == count.context)["label"]
        of_held = report.edges.filter(labels == HOLDS)["known"]
        share = report.tests[count.context].decoy_share
        known = (
            f" Known already: {percent(_share((of_held != '').mean()))} of them, {percent(known_of_all)} of all edges."
            if count.n_holds and known_of_all > 0
            else ""
        )
        rest = [
            f"{value:,} {word}"
            for value, word in (
                (count.n_not_seen, "not seen"),
                (count.n_silent, "silent"),
                (count.n_unjudged, "cannot be judged"),
            )
            if value
        ]
        found.append(
            (
                count.context,
                f"{count.n_holds:,} of {counted(count.n_edges, 'edge')} of this map {_hold(count.n_holds)} "
                f"({percent(count.n_holds / count.n_edges) if count.n_edges else 'none'}; of matched decoys "
                f"{percent(share)}).{known}{f' The rest: {_and(rest)}.' if rest else ''}",
            )
        )
    return found


def comparison_sentence(overlap: OverlapReport, context: str) -> str:
    """Say whether the learned map's neighbourhoods hold better in a context than the simple one's."""
    test = overlap.comparison
    if test is None:
        return (
            f"Whether {overlap.learned} or {overlap.simple} holds better in {context} can't be tested: no groups of "
            "these perturbations are known."
        )
    groups = counted(test.n_units, "group of known partners", "groups of known partners")
    figures = (
        f"difference in adjusted overlap {signed(test.estimate, 4)} (95 % interval {signed(test.low, 4)} to "
        f"{signed(test.high, 4)}, p {small(test.p)}), the mean over {groups} of equal weight; "
        f"{overlap.n_perturbations:,} perturbations, k = {overlap.k}"
    )
    if not _excludes_zero(test):
        return (
            f"It is not shown that the neighbourhoods of {overlap.learned} hold better or less well in {context} than "
            f"those of {overlap.simple}: {figures}. The interval includes 0."
        )
    better = "better" if test.estimate > 0 else "less well"
    return (
        f"The neighbourhoods of {overlap.learned} hold {better} in {context} than those of {overlap.simple}: {figures}."
    )


def overlap_sentence(overlap: OverlapReport, context: str) -> str:
    """Say how much of the raw overlap of both maps is left once the axis, hubs and layout are taken out."""
    lines = {row["representation"]: row for row in overlap.table.iter_rows(named=True)}
    parts = [
        f"{name} shares {percent(line['raw'])} of its neighbours with {context}, of which {percent(line['expected'])} "
        f"would be shared anyway: {signed(line['adjusted'], 3)} is left"
        for name in dict.fromkeys((overlap.simple, overlap.learned))
        if (line := lines.get(name)) is not None and not math.isnan(_float(line["raw"]))
    ]
    return f"{'; '.join(parts)}." if parts else ""


def overlap_sentences(held: Held, overlaps: Sequence[OverlapReport]) -> list[str]:
    """Say for each other context whose neighbourhoods hold better there, and how much of either is left."""
    pairs = zip(held.report.others, overlaps, strict=True)
    said = [text for name, found in pairs for text in (comparison_sentence(found, name), overlap_sentence(found, name))]
    return [text for text in said if text]


def overlap_notes(overlaps: Sequence[OverlapReport]) -> list[str]:
    """List what the reader must know of the comparisons, each sentence once."""
    return [_sentence(note) for note in dict.fromkeys(note for overlap in overlaps for note in overlap.notes)]


def passport_rows(held: Held) -> list[tuple[str, str]]:
    """List the conditions of every context: its name, and its passport in a line."""
    rows = [(held.view.context, held.passport.sentence)]
    return rows + [
        (name, compared.other.sentence) for name, compared in zip(held.report.others, held.comparisons, strict=True)
    ]


def difference_rows(held: Held) -> list[tuple[str, str]]:
    """Say how each other context differs, and what is confounded with what: two texts for each."""
    rows, said = [], set()
    for compared in held.comparisons:
        new = [warning for warning in compared.warnings if warning not in said]
        said.update(new)
        rows.append((compared.sentence, " ".join(f"⚠\u00a0{warning}" for warning in new)))
    return rows


def limits(held: Held) -> list[tuple[str, str]]:
    """List what this can't say, as pairs of a word and a sentence."""
    report = held.report
    rows = [("Not seen is not absent", NEVER_SPECIFIC)]
    said_of: dict[str, list[str]] = {}
    for context in report.others:
        said_of.setdefault(report.repeatability[context].note, []).append(context)
    for context in report.others:
        absent, repeats, tests = report.absent.get(context), report.repeatability[context], report.tests[context]
        alike = said_of[repeats.note]
        if repeats.note and alike[0] == context:
            # What is the same of several contexts is said once.
            said = _of(context, repeats.note) if len(alike) == 1 else f"Of each of them: {repeats.note}"
            rows.append((f"Replicates of {_and(alike)}", _sentence(said)))
        elif not repeats.note and not math.isnan(repeats.null_share):
            rows.append(
                (
                    f"Replicates of {context}",
                    f"An estimated {percent(1 - repeats.null_share)} of the edges found in one half of its replicates "
                    "are there in the other half, too; the rest came by chance.",
                )
            )
        # Why nothing is known of its replicates is why no edge is absent.
        if absent is not None and not repeats.note:
            rows.append((f"Absent from {context}", absent_sentence(held, context)))
        if tests.note:
            rows.append((f"Tested in {context}", _sentence(tests.note)))
    rows += [("To be known", _sentence(note)) for note in dict.fromkeys(report.notes)]
    return rows


def absent_sentence(held: Held, context: str) -> str:
    """Say which edges a context lacks, as a set with how many of them are expected to be there after all."""
    absent = held.report.absent[context]
    if absent.reason:
        return f"No edge is said to be absent: {_small_first(absent.reason).rstrip('.')}."
    return (
        f"As a set, {counted(absent.n_edges, 'edge')} that {held.view.context} repeats "
        f"{'is' if absent.n_edges == 1 else 'are'} absent from {context}; about "
        f"{number(absent.expected_wrong, 1)} of them {'is' if absent.n_edges == 1 else 'are'} expected to be there "
        "after all. Nothing is said of any one of them."
    )


def edges_sentence(held: Held, table: pl.DataFrame, *, at_least: int) -> str:
    """Say above the list of edges what stands in it."""
    n_known = int((table["known"] != "").sum()) if table.height else 0
    where = _at_least(at_least, len(held.report.others)) if len(held.report.others) > 1 else held.report.others[0]
    if not table.height:
        return f"No edge of this choice holds in {where}."
    known = f", {n_known:,} of them known already" if n_known else ", none of them known"
    said = f"{counted(table.height, 'edge')} {_hold(table.height)} in {where}{known}."
    if "distrust" not in table.columns:
        return said
    why = "; ".join(caution.text for caution in held.cautions)
    n = int((table["distrust"] != "").sum())
    return f"{said} Distrust the last {n:,} of the list ({why}): what two have in common may be a fault of the data."


def caution_sentences(held: Held, query: str) -> list[str]:
    """Say which of a query and its neighbours the card says to distrust, and why."""
    if query not in held.report.names:
        return []
    near = held.report.neighbors_of(query).head(held.report.k)["perturbation"].to_list()
    return cautions_about(held.cautions, query, near)


def context_line(catalog: Catalog, held: Held) -> str:
    """Name the data set and what was asked of it, in a line."""
    view = held.view
    return (
        f"{catalog.dataset(view.dataset).card.title}. Neighbours in {view.representation}, alignment {view.align}, "
        f"k = {held.report.k}, among the {len(held.report.names):,} perturbations that all these contexts have."
    )


def about_rows(catalog: Catalog, held: Held) -> list[tuple[str, str]]:
    """List what the cards, the passports and every recipe say, as pairs of a heading and a text."""
    view = held.view
    places = (view.here, *places_of(catalog, view))
    rows: list[tuple[str, str]] = []
    for name in dict.fromkeys(place.dataset for place in places):
        dataset = catalog.dataset(name)
        card = dataset.card
        rows += [
            ("Dataset", card.title),
            ("Licence", card.license),
            ("Citation", card.citation),
            ("Description", card.description),
            ("Provenance", card.provenance),
            ("Assumed", "; ".join(dataset.notes)),
        ]
    for place, (label, _) in zip(places, passport_rows(held), strict=True):
        dataset = catalog.dataset(place.dataset)
        made = shared_map(dataset, place.context, place.representation, alignment=place.align)
        entry = dataset.card.representations[place.representation]
        rows += [
            (f"{label}: representation", f"{entry.name} ({entry.kind}): {entry.description}".removesuffix(": ")),
            (f"{label}: how it was trained", entry.trained),
            (f"{label}: recipe", f"{made.recipe.sentence}. {' '.join(made.recipe.notes)}".strip()),
            (f"{label}: source digest", made.recipe.source),
        ]
    knowledge = shared_knowledge(catalog.dataset(view.dataset))
    rows += [(f"Known: {name}", licence) for name, licence in knowledge.licences.items()]
    return [(heading, " ".join(text.split())) for heading, text in rows if text.strip()]


def figure_heading(held: Held) -> str:
    """Say above an exported figure what it shows and which recipes made it, and below that every passport."""
    view = held.view
    first = (
        f"{view.dataset}, {view.context} in {', '.join(held.report.others)} · {view.representation}, alignment "
        f"{view.align} · recipes {held.recipes}"
    )
    return "\n".join([first, *(f"{name}: {sentence}" for name, sentence in passport_rows(held))])


def _decoys(decoys: float) -> str:
    if math.isnan(decoys):
        return "no matched decoys could be drawn"
    # One digit that says something: .4, 3, .02.
    return f"matched decoys: {brief(float(f'{decoys:.1g}')) if decoys < 1 else number(decoys, 1).removesuffix('.0')}"


def _shown(power: float) -> str:
    return "nearly all" if math.isnan(power) else percent(power)


def _at_least(at_least: int, n_others: int) -> str:
    if at_least == n_others:
        return "both others" if n_others == 2 else f"all {n_others} others"
    return f"at least {at_least} of the {n_others}"


def _excludes_zero(test: SignFlip) -> bool:
    return test.excludes_zero


def _hold(n: int) -> str:
    return "holds" if n == 1 or n == 0 else "hold"


def _stopped(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _of(context: str, note: str) -> str:
    """Name the context in a note about it."""
    return f"{context}'s {note[4:]}" if note.startswith("its ") else note


def _small_first(text: str) -> str:
    """Begin a note small within a sentence, unless it begins with a name."""
    first = text.split(" ", 1)[0]
    return f"{text[:1].lower()}{text[1:]}" if first.isalpha() and first[1:].islower() else text


def _sentence(note: str) -> str:
    return _stopped(plain(as_sentence(note)))


def _share(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _float(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
