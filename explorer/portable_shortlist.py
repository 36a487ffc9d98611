"""A shortlist as one page of HTML that travels: the expectation, the list, its charts; of a comparison blind."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from explorer import proposed_tables, shortlist_exports, wording_shortlist
from explorer.catalog import Catalog
from explorer.gathered_evidence import Evidence
from explorer.map_card import CATALOG, CATALOG_NOTE
from explorer.page import made_with
from explorer.portable import CHART_NOTE, portable_page
from explorer.portable_parts import Drawing, Facts, Part, Points, Rows, Said, Section
from explorer.proposed import Proposed, linked

# Pairs that a saved page lists; the rest are in the CSV.
MOST_PAIRS = 2_000
# Texts of any length, in a table of their own: a column of them would make every row long.
SETS = "shared gene sets"
# Stands in the command for a file of the perturbations of interest.
INTEREST, INTEREST_NOTE = "INTEREST.txt", "a file with the perturbations of interest, one a line"


def shortlist_page(catalog: Catalog, made: Proposed, evidence: Evidence | None = None) -> str:
    """Write a list as one page of HTML that works offline, with interactive charts.

    Parameters
    ----------
    catalog
        The data sets on offer.
    made, evidence
        The list, and what stands beside its pairs; None where it is not gathered yet, which the page says.

    Returns
    -------
    str
        A whole document, see `explorer.portable.portable_page`. Of a comparison it holds the pairs by name, and nothing
        that tells who proposed them.
    """
    found = made.found
    sections = [
        Section(
            "",
            [
                Said(wording_shortlist.expectation_sentence(found.expectation), "said"),
                Said(wording_shortlist.census_sentence(found)),
                Said(wording_shortlist.units_sentence(found)),
                Said(wording_shortlist.impossible_sentence(found.expectation), "warned"),
                Said(wording_shortlist.unknown_sentence(made), "warned"),
                Said(wording_shortlist.filter_sentence(found)),
                Said(wording_shortlist.counts_sentence(found)),
                Points([("", note) for note in wording_shortlist.notes_of(made)]),
            ],
        ),
        Section("The contexts", [Facts(wording_shortlist.passport_rows(found))]),
        *(_blind(made) if made.is_blind else _open(made, evidence)),
        Section("What this can't say", [Points(wording_shortlist.limits(made))]),
        Section("Data, recipes and licences", [Facts(wording_shortlist.about_rows(catalog, found))]),
        Section("To make it again", [Facts(_again_rows(catalog, made))]),
    ]
    return portable_page(
        f"What to test next: {wording_shortlist.plan_line(found.plan)}",
        sections,
        above=wording_shortlist.context_line(catalog, found),
        word=wording_shortlist.head(made),
        tone="neutral",
    )


def _blind(made: Proposed) -> list[Section]:
    table = proposed_tables.blind_table(made.found)
    return [
        Section(
            "The pairs",
            [
                Said(wording_shortlist.BLIND_NOTE),
                Rows(table.head(MOST_PAIRS)),
                Said(shortlist_exports.rows_left_out(table.height, MOST_PAIRS), "faint"),
            ],
        )
    ]


def _open(made: Proposed, evidence: Evidence | None) -> list[Section]:
    found, charts = made.found, shortlist_exports.figures(made)
    table = proposed_tables.list_table(found, evidence)
    notes = [] if evidence is None else wording_shortlist.evidence_notes(made, evidence)
    missing = "" if evidence is not None else "What stands beside the pairs was not gathered when this page was saved."
    apart = proposed_tables.apart_table(found)
    shared = proposed_tables.gene_set_table(table)
    sections = [
        Section(
            "The list",
            [
                Said(wording_shortlist.LIST_NOTE, "faint"),
                Rows(table.head(MOST_PAIRS).drop(SETS, strict=False), proposed_tables.FORMATS),
                Said(shortlist_exports.rows_left_out(table.height, MOST_PAIRS), "faint"),
                Said(missing, "faint"),
                Facts(wording_shortlist.column_rows(table)),
                Points([("", note) for note in notes]),
            ],
        ),
        Section(
            "Where they stand in both maps",
            [
                *_drawn(charts, "both-maps", "pairs by their scores in both maps", zoom=("x", "y")),
                Said(wording_shortlist.MAPS_NOTE, "faint"),
                *_drawn(charts, "expected-hits", "expected hits against pairs tested"),
                Said(wording_shortlist.EXPECTED_NOTE if "expected-hits" in charts else "", "faint"),
            ],
        ),
    ]
    if shared.height:
        sections.insert(1, Section("Gene sets among the neighbours of both", [Rows(shared.head(MOST_PAIRS))]))
    if apart.height:
        sections.append(
            Section("Annotated apart", [Said(wording_shortlist.APART_NOTE), Rows(apart, proposed_tables.FORMATS)])
        )
    return [*sections, Section("", [Said(CHART_NOTE, "faint")])]


def command_line(catalog: Catalog, made: Proposed) -> str:
    """Write the command that makes a list again; `CATALOG` in it is the folder that holds the data."""
    plan = made.found.plan
    is_one = all("/" not in name for name in plan.others)
    where = f"{CATALOG}/{catalog.dataset(plan.dataset).path.name}" if is_one else CATALOG
    options = [
        ("context", plan.context if is_one else f"{plan.dataset}/{plan.context}"),
        *(("other", name if "/" in name or is_one else f"{plan.dataset}/{name}") for name in plan.others),
        ("simple", plan.simple), ("learned", plan.learned), ("align", plan.align), ("mode", plan.mode),
        ("budget", str(plan.budget)), *(("source", name) for name in plan.sources), ("seed", str(plan.seed)),
    ]  # fmt: skip
    flags = {
        "alone": not plan.others, "inactive": not plan.only_active, "distrusted": not plan.only_trusted,
        "holds": plan.only_holding,
    }  # fmt: skip
    words = [f"--{name}={value}" for name, value in options] + [f"--{name}" for name, is_on in flags.items() if is_on]
    # Perturbations of interest come from a file, which only whoever runs the command has.
    words += [f"--interest={INTEREST}"] if plan.interest else []
    shares = ["--completeness", *(f"{share:g}" for share in plan.completeness)]
    return shlex.join(["explorer", "shortlist", where, *words, *shares])


def _again_rows(catalog: Catalog, made: Proposed) -> list[tuple[str, str]]:
    command = [("command", command_line(catalog, made)), (CATALOG, CATALOG_NOTE)]
    command += [(INTEREST, INTEREST_NOTE)] if made.found.plan.interest else []
    return [*command, *linked(made).items(), ("versions", made_with())]


def _drawn(charts: Mapping[str, Any], name: str, label: str, **options: Any) -> list[Part]:
    return [Drawing(charts[name], label, **options)] if name in charts else []
