"""Lists and what came of them as text for a terminal: the expectation first, then the pairs; the hits, the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from explorer.digits import number, percent
from explorer.frozen import FrozenList
from explorer.gathered_evidence import SIDES, Evidence
from explorer.outcomes import Score
from explorer.shortlists import Listed, with_evidence
from explorer.terminal import Line, in_columns
from explorer.track_record import TrackRecord
from explorer.wording_shortlist import (
    BLIND_NOTE,
    about,
    census_sentence,
    counts_sentence,
    expectation_sentence,
    filter_sentence,
    found_sentences,
    impossible_sentence,
    record_rows,
    units_sentence,
    verdict_head,
    verdict_sentences,
)

# Pairs that a source places in different groups which are listed; all of them are in the JSON object.
MOST_APART = 5


def list_text(found: Listed, evidence: Evidence | None = None) -> list[str]:
    """Write a list line by line: what to expect of it, how it was made, the conditions, the pairs.

    Parameters
    ----------
    found
        The list. Of a comparison the pairs stand in the order of their names, since it is blind.
    evidence
        What stands beside each pair, where it was gathered.
    """
    said = (
        expectation_sentence(found.expectation), impossible_sentence(found.expectation), census_sentence(found),
        units_sentence(found), counts_sentence(found), filter_sentence(found),
    )  # fmt: skip
    lines = [text for text in said if text]
    lines += [f"{label}: {sentence}" for label, sentence in found.conditions.items()]
    if found.census is not None:
        pairs = found.rows.select("first", "second").sort("first", "second")
        return [*lines, BLIND_NOTE, "", *(f"{first} + {second}" for first, second in pairs.iter_rows())]
    lines += ["", *_pair_lines(found, evidence)]
    apart = found.shortlist.apart if found.shortlist is not None else None
    if apart is not None and apart.height:
        lines += ["", "Not listed, since a source places the two in different groups:"]
        lines += [f"  {first} + {second}" for first, second in apart.select("first", "second").head(MOST_APART).rows()]
    return lines


def _pair_lines(found: Listed, evidence: Evidence | None) -> list[str]:
    table = with_evidence(found.rows, evidence)
    others = [name for name in found.conditions if name != found.plan.context]
    head: list[str] = ["pair", "score", "proposed by"]
    if evidence is not None:
        # Whether a pair holds somewhere is asked of either map's graph.
        both = [f"in {label} (simple / learned)" for label in others]
        head += ["simple rank", "learned rank", *both, "active", "seeds", "support"]
    rows: list[Line] = []
    for row in table.iter_rows(named=True):
        cells = [f"{row['first']} + {row['second']}", number(row["score"], 2), row["proposer"]]
        if evidence is not None:
            cells += [_whole(row["simple rank"]), _whole(row["learned rank"])]
            cells += [
                " / ".join(str(row[f"{label}: {side}"] or "–") for side in ("simple", "learned")) for label in others
            ]
            cells += [
                " / ".join(str(row[f"{side} activity"] or "–") for side in ("first", "second")),
                "–" if row["seeds"] is None else f"{row['seeds agreeing']} of {row['seeds']}",
                " / ".join(_share(row[f"{side} support"]) for side in SIDES),
            ]
        rows.append(tuple(cells))
    filled = [place for place in range(len(head)) if any(row[place].strip(" /–") for row in rows)]
    lines = in_columns(tuple(head[place] for place in filled), [tuple(row[place] for place in filled) for row in rows])
    if evidence is None:
        return lines
    # Text of any length stands behind the columns.
    said = ["shared gene sets, and what to distrust", *map(_remarks, table.iter_rows(named=True))]
    width = max(map(len, lines)) if any(said[1:]) else 0
    return [f"{line.ljust(width)}  {text}".rstrip() if width else line for line, text in zip(lines, said, strict=True)]


def _remarks(row: Mapping[str, Any]) -> str:
    """Write what both neighbourhoods share, and why to distrust the pair."""
    distrust = f"distrust: {row['distrust']}" if row["distrust"] else ""
    return "; ".join(text for text in (row["shared gene sets"], distrust) if text)


def _whole(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _share(value: float | None) -> str:
    return "–" if value is None else percent(value)


def results_text(frozen: FrozenList, score: Score) -> list[str]:
    """Write what came back line by line: hits against the expectation, then the two maps against each other.

    Parameters
    ----------
    frozen
        The list.
    score
        Of its results.
    """
    header = frozen.header
    lines = [
        f"list {frozen.digest[:12]} of {frozen.date}, {frozen.mode}: {header.get('dataset')}, {header.get('context')}"
    ]
    lines += found_sentences(score)
    simple, learned = (str(header.get(side, side)) for side in SIDES)
    head = verdict_head(score)
    return [*lines, *([f"{head}."] if head else []), *verdict_sentences(score, simple=simple, learned=learned)]


def track_text(track: TrackRecord) -> list[str]:
    """Write a track record line by line: all lists together, then list by list."""
    lines = ["Track record", *record_rows(track)]
    if not track.table.height:
        return lines
    rows: list[Line] = [
        (
            f"{row['scored'][:10]}  {row['dataset']}, {row['context']}, {row['mode']}", f"{row['tested']:,}",
            f"{row['found']:,}", "–" if row["expected"] is None else about(row["expected"]), row["verdict"] or "",
        )
        for row in track.table.iter_rows(named=True)
    ]  # fmt: skip
    return [*lines, "", *in_columns(("scored", "tested", "hits", "expected", "verdict"), rows)]
