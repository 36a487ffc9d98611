"""What holds in other contexts as one page of HTML that travels: the sentence, the passports, every table and chart."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import polars as pl

from explorer import context_exports, held, held_tables, wording_contexts
from explorer.catalog import Catalog
from explorer.held import Held
from explorer.held_tables import EDGE_FORMATS, OVERLAP_FORMATS
from explorer.map_card import CATALOG, CATALOG_NOTE
from explorer.page import made_with
from explorer.portable import CHART_NOTE, portable_page
from explorer.portable_parts import Drawing, Facts, Heading, Part, Points, Rows, Said, Section

# Edges that a saved page lists; the rest are in the CSV.
MOST_EDGES = 2_000


def contexts_page(catalog: Catalog, found: Held, *, query: str) -> str:
    """Write a comparison of contexts as one page of HTML that works offline, with interactive charts.

    Parameters
    ----------
    catalog
        The datasets on offer.
    found
        The view and its report.
    query
        Perturbation whose neighbours it shows.

    Returns
    -------
    str
        A whole document, see `explorer.portable.portable_page`. Nothing is computed for it: what is not finished is
        left out, and the page says so.
    """
    charts = context_exports.figures(catalog, found)
    rows = wording_contexts.difference_rows(found)
    differences = [part for differs, warned in rows for part in (Said(differs), Said(warned, "warned"))]
    sections = [
        Section(
            "",
            [
                Said(wording_contexts.inactive_sentence(found, query), "warned"),
                *(Said(said, "said") for said in wording_contexts.query_sentences(found, query)),
                Said(held_tables.DECOYS_NOTE, "faint"),
                Said(wording_contexts.general_sentence(found, query)),
                *(Said(text) for text in wording_contexts.layout_sentences(found)),
                *(Said(text) for text in wording_contexts.caution_sentences(found, query)),
            ],
        ),
        Section(
            "The contexts",
            [Facts(wording_contexts.passport_rows(found)), *differences],
        ),
        Section(
            f"{query}'s neighbours",
            [
                *_table(held_tables.neighbor_table(found.report, query, doubtful=found.doubtful), EDGE_FORMATS),
                Said(wording_contexts.LABELS_NOTE, "faint"),
            ],
        ),
        Section(
            "The whole map",
            [
                Points([(f"In {name}", said) for name, said in wording_contexts.map_sentences(found)]),
                Said(wording_contexts.general_sentence(found)),
                *_drawn(charts, "labels", "edges by label in each other context"),
            ],
        ),
        _edges(found),
        *_overlaps(catalog, found, charts),
        Section("What this can't say", [Points(wording_contexts.limits(found))]),
        Section("", [Said(_not_there(catalog, found), "faint"), Said(CHART_NOTE, "faint")]),
        Section("Data, recipes and licences", [Facts(wording_contexts.about_rows(catalog, found))]),
        Section("To make it again", [Facts(_again_rows(catalog, found, query))]),
    ]
    view = found.view
    return portable_page(
        f"What holds of {query}'s neighbours: {view.dataset}, {view.context} in {', '.join(view.others)}",
        sections,
        above=wording_contexts.context_line(catalog, found),
        word=wording_contexts.head(found, query),
        tone=wording_contexts.tone(found, query),
    )


def command_line(catalog: Catalog, found: Held, query: str) -> str:
    """Write the command that makes a comparison again; `CATALOG` in it is the folder that holds the data."""
    view, places = found.view, held.places_of(catalog, found.view)
    is_one = all(place.dataset == view.dataset for place in places)
    where = f"{CATALOG}/{catalog.dataset(view.dataset).path.name}" if is_one else CATALOG
    options = [
        ("context", view.context if is_one else f"{view.dataset}/{view.context}"),
        *(("other", place.context if is_one else f"{place.dataset}/{place.context}") for place in places),
        ("representation", view.representation), ("simple", view.simple), ("learned", view.learned),
        ("align", view.align), ("query", query), ("seed", str(held.SEED)),
    ]  # fmt: skip
    # An option and its value are one word each, whatever the value begins with.
    return shlex.join(["explorer", "contexts", where, *(f"--{name}={value}" for name, value in options)])


def _again_rows(catalog: Catalog, found: Held, query: str) -> list[tuple[str, str]]:
    command = [("command", command_line(catalog, found, query)), (CATALOG, CATALOG_NOTE)]
    return [*command, *held.linked(found, query).items(), ("versions", made_with())]


def _edges(found: Held) -> Section:
    at_least = found.report.at_least
    table = held_tables.edge_table(found.report, at_least=at_least, doubtful=found.doubtful)
    left_out = table.height - MOST_EDGES
    more = (
        f"The first {MOST_EDGES:,} are listed here; all are in the tables that the page saves." if left_out > 0 else ""
    )
    return Section(
        "The edges that hold",
        [
            Said(wording_contexts.edges_sentence(found, table, at_least=at_least)),
            *_table(table.head(MOST_EDGES), EDGE_FORMATS),
            Said(" ".join(text for text in (more, wording_contexts.EDGES_NOTE) if text), "faint"),
        ],
    )


def _overlaps(catalog: Catalog, found: Held, charts: Mapping[str, Any]) -> list[Section]:
    overlaps = held.found_overlaps(catalog, found.view)
    if overlaps is None:
        return []
    said = wording_contexts.overlap_sentences(found, overlaps)
    notes = wording_contexts.overlap_notes(overlaps)
    return [
        Section(
            "Learned against simple: whose neighbourhoods hold better?",
            [
                Points([("", text) for text in said]),
                *_drawn(charts, "adjusted-overlap", "adjusted overlap with its interval", zoom=("x",)),
                Said(wording_contexts.OVERLAP_NOTE, "faint"),
                Heading("Where the raw overlap comes from"),
                *_drawn(charts, "raw-overlap", "parts of the raw overlap"),
                Said(" ".join([wording_contexts.PARTS_NOTE, *notes]), "faint"),
                *_table(held_tables.overlap_table(found.report, overlaps), OVERLAP_FORMATS),
            ],
        )
    ]


def _not_there(catalog: Catalog, found: Held) -> str:
    """Say what was not finished when the page was saved."""
    if held.found_overlaps(catalog, found.view) is not None:
        return ""
    return "Not computed when this page was saved, and so not in it: the overlap of every representation."


def _drawn(charts: Mapping[str, Any], name: str, label: str, **options: Any) -> list[Part]:
    return [Drawing(charts[name], label, **options)] if name in charts else []


def _table(frame: pl.DataFrame, formats: Mapping[str, str]) -> list[Part]:
    return [Rows(frame, formats)] if frame.height else []
