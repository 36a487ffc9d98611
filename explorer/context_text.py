"""What holds elsewhere as text for a terminal: the contexts first, then the whole map, then its edges."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import polars as pl

from explorer.context_reports import OverlapReport
from explorer.contexts import HOLDS, ContextReport
from explorer.digits import counted, number, percent, signed, small
from explorer.held_tables import DECOYS_NOTE, distrusted, edge_table, general_edges
from explorer.passport import Passport, PassportComparison
from explorer.terminal import in_columns

# Edges and neighbours listed; all of them are in the JSON object.
MOST_LISTED = 20


def contexts_text(
    report: ContextReport,
    overlaps: Sequence[OverlapReport],
    *,
    passports: tuple[Passport, tuple[PassportComparison, ...]],
    query: str | None = None,
    doubtful: Collection[str] = (),
) -> list[str]:
    """Write what holds elsewhere line by line.

    Parameters
    ----------
    report, overlaps
        The edges, and the whole maps, one for each other context.
    passports
        Conditions of the discovering context, and how each other one differs.
    query
        A perturbation whose neighbours are listed instead of the edges.
    doubtful
        Perturbations that the card says to distrust.

    Raises
    ------
    InputError
        When the query is not in all contexts.
    """
    passport, comparisons = passports
    lines = [f"{report.discovery}: {passport.sentence}"]
    for label, comparison in zip(report.others, comparisons, strict=True):
        lines += [f"{label}: {comparison.other.sentence}", f"  {comparison.sentence}"]
        lines += [f"  {warning}" for warning in comparison.warnings]
    for overlap in overlaps:
        lines += ["", *_overlap_lines(overlap)]
    lines += ["", *_edge_lines(report)]
    if query is None:
        table = edge_table(report, at_least=report.at_least, doubtful=doubtful)
    else:
        table = distrusted(report.neighbors_of(query), ("perturbation",), doubtful=doubtful)
    if table.height:
        lines += ["", *_table_lines(table, report, query=query)]
    return lines


def _overlap_lines(overlap: OverlapReport) -> list[str]:
    """Write the adjusted overlap by representation, and what learning adds."""
    lines = [f"Neighbourhoods shared by {overlap.one} and {overlap.other}, of {overlap.k}:"]
    lines += in_columns(
        ("representation", "raw", "expected", "adjusted", "in groups (95 % interval)", "p", "hubs", "shared axis",
         "layout", "remainder"),
        [
            (
                f"{row['representation']} ({row['kind']})", number(row["raw"], 4), number(row["expected"], 4),
                signed(row["adjusted"], 4), _interval(row), small(row["p"]),
                *(number(row[part], 4) for part in ("hubs", "shared axis", "layout", "remainder")),
            )
            for row in overlap.table.iter_rows(named=True)
        ],
    )  # fmt: skip
    test = overlap.comparison
    if test is not None:
        lines.append(
            f"{overlap.learned} − {overlap.simple}: {signed(test.estimate, 4)} (95 % interval {signed(test.low, 4)} … "
            f"{signed(test.high, 4)}, p {small(test.p)}) over {counted(overlap.n_groups, 'group')}"
        )
    return lines


def _interval(row: dict[str, Any]) -> str:
    """Write the mean over groups with its interval; empty where there are no groups."""
    if math.isnan(row["in groups"]):
        return ""
    return f"{signed(row['in groups'], 4)} ({signed(row['low'], 4)} … {signed(row['high'], 4)})"


def _edge_lines(report: ContextReport) -> list[str]:
    """Count the labels of the edges, context by context."""
    lines = [f"{counted(report.edges.height, 'edge')} of {report.discovery}, judged elsewhere:"]
    for label in report.others:
        here = report.labels.filter(pl.col("context") == label)
        counts = dict(here.group_by("label").len().iter_rows())
        said = ", ".join(f"{name} {counts[name]:,}" for name in sorted(counts))
        lines.append(f"  {label}: {said}; matched decoys hold in {percent(report.tests[label].decoy_share)}")
        lines += [f"    {text}" for text in [report.repeatability[label].note or report.absent[label].reason] if text]
    if len(report.others) > 1:
        n_general = int(_general(report).sum())
        lines.append(
            f"  in {report.at_least} or more of the {len(report.others)} others, each edge tested once for all of "
            f"them: {HOLDS} {n_general:,}"
        )
    return [*lines, f"  {DECOYS_NOTE}"]


def _general(report: ContextReport) -> pl.Series:
    """Whether each edge holds in as many of the other contexts as were asked for."""
    return general_edges(report, at_least=report.at_least)["holds"]


def _table_lines(table: pl.DataFrame, report: ContextReport, *, query: str | None) -> list[str]:
    """List the neighbours of a query, or the edges that hold, the most similar first."""
    distrust = [name for name in ("distrust",) if name in table.columns]
    if query is not None:
        head: Iterable[str] = ("neighbour of " + query, "rank", "similarity", *report.others, "known", *distrust)
        rows = [
            (row["perturbation"], str(row["rank"]), number(row["similarity"]),
             *(row[label] for label in report.others), row["known"], *(row[name] for name in distrust))
            for row in table.iter_rows(named=True)
        ]  # fmt: skip
        lines = in_columns(tuple(head), rows)
        if len(rows) > report.k:
            # A head of one line, and a line for each of its own neighbours.
            lines.insert(1 + report.k, f"not among the {report.k} of {query}, but have it among theirs:")
        return lines
    else:
        head = ("edge that holds", "similarity", "q", "known", *distrust)
        rows = [
            (f"{row['first']} – {row['second']}", number(row["similarity"]), small(row["q"]), row["known"],
             *(row[name] for name in distrust))
            for row in table.head(MOST_LISTED).iter_rows(named=True)
        ]  # fmt: skip
    return in_columns(tuple(head), rows)
