"""A judgement as one page of HTML that travels: the word, what it rests on, and every chart that there is by then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from explorer import judge_details, judge_exports, judged, wording_checks, wording_judge
from explorer.catalog import Catalog
from explorer.judged import Judged
from explorer.map_card import CATALOG, CATALOG_NOTE, again_rows, command_line
from explorer.portable import CHART_NOTE, portable_page
from explorer.portable_parts import Drawing, Facts, Heading, Part, Points, Rows, Said, Section
from explorer.verdict import Judgement

_FOREST_FORMATS = {name: "{:+.3f}" for name in ("estimate", "low", "high")} | {"p": "{:.2g}", "q": "{:.2g}"}
_SOURCE_FORMATS = dict.fromkeys(("both", "upper", "lower", "macro", "matched", "chance"), "{:.3f}")


def judge_page(catalog: Catalog, found: Judged, *, meter: str = "") -> str:
    """Write a judgement as one page of HTML that works offline, with interactive charts.

    Parameters
    ----------
    catalog
        The datasets on offer.
    found
        The view and its judgement.
    meter
        How many combinations the session has looked at, in a sentence; by default, which one was declared.

    Returns
    -------
    str
        A whole document, see `explorer.portable.portable_page`. Nothing is computed for it: what is not finished is
        left out, and the page says so.
    """
    judgement, view = found.judgement, found.view
    front = [
        Said(wording_judge.verdict_sentence(judgement, view), "said"),
        Said(wording_judge.meaning_sentence(judgement)),
        Said(meter or wording_judge.declared_sentence(found), "faint"),
        Said(wording_judge.conditions_line(catalog, view), "faint"),
    ]
    sections = [Section("", front), Section("What it rests on", [Points(wording_judge.evidence(judgement))])]
    if judgement.verdict != "locked":
        charts = judge_exports.figures(catalog, found)
        sections += [
            *_differences(found, charts),
            *_budget(catalog, found, charts),
            *_grid(catalog, found, charts),
            *_checks(catalog, found, charts),
            *_groups(judgement),
            _change(judgement),
        ]
        sections.append(Section("", [Said(_not_there(catalog, found), "faint"), Said(CHART_NOTE, "faint")]))
    sections += [
        Section("Data, recipes and licences", [Facts(wording_judge.about_rows(catalog, found))]),
        Section(
            "To make it again",
            [Facts([("command", command_line(catalog, found)), (CATALOG, CATALOG_NOTE), *again_rows(found)])],
        ),
    ]
    return portable_page(
        f"{wording_judge.head(found)}: {view.learned} against {view.simple}, {view.dataset}, {view.context}",
        sections,
        above=f"Is {view.learned} worth it? {catalog.dataset(view.dataset).card.title}",
        word=wording_judge.head(found),
        tone=wording_judge.tone(judgement),
    )


def _drawn(charts: Mapping[str, Any], name: str, label: str, **options: Any) -> list[Part]:
    return [Drawing(charts[name], label, **options)] if name in charts else []


def _table(frame: pl.DataFrame | None, formats: Mapping[str, str]) -> list[Part]:
    return [Rows(frame, formats)] if frame is not None and frame.height else []


def _differences(found: Judged, charts: Mapping[str, Any]) -> list[Section]:
    judgement = found.judgement
    return [
        Section(
            "Every difference, with its 95 % interval",
            [
                *_drawn(charts, "differences", "differences and their intervals", zoom=("x",)),
                Said(wording_checks.FOREST_NOTE, "faint"),
                *_table(judged.forest_table(judgement), _FOREST_FORMATS),
            ],
        ),
        Section(
            "Is it only effect size, or popularity?",
            [
                Said(wording_checks.MATCHED_NOTE),
                *_drawn(charts, "recall-by-source", "recall of known and of matched pairs", zoom=("x",)),
                *_table(judged.source_table(judgement), _SOURCE_FORMATS),
            ],
        ),
    ]


def _budget(catalog: Catalog, found: Judged, charts: Mapping[str, Any]) -> list[Section]:
    said = [("", text) for text in wording_checks.budget_sentences(found.judgement)]
    at_budget = judge_details.found_budget(catalog, found.view)
    if not said and at_budget is None:
        return []
    parts: list[Part] = [Points(said), Said(wording_judge.HITS_NOTE, "faint")] if said else []
    if at_budget is not None:
        parts += [
            *_drawn(charts, "budget-curve", "known pairs against the number of pairs listed", zoom=("x", "y")),
            Said(wording_checks.CURVE_NOTE, "faint"),
            Heading("Pairs on which the two lists disagree"),
            *_table(at_budget.pairs, judge_details.PAIR_FORMATS),
        ]
    return [Section("At my budget", parts)]


def _grid(catalog: Catalog, found: Judged, charts: Mapping[str, Any]) -> list[Section]:
    ticket = judge_details.grid_of(catalog, found.view, begin=False)
    if ticket is None or ticket.result is None:
        return []
    note = wording_checks.grid_note(ticket.result, found.view)
    drawing = _drawn(charts, "attribution", "score of every representation under every alignment")
    return [Section("What learning adds, and what alignment adds", [*drawing, Said(note, "faint")])]


def _checks(catalog: Catalog, found: Judged, charts: Mapping[str, Any]) -> list[Section]:
    checks, judgement = judge_details.found_checks(catalog, found.view), found.judgement
    if checks is None:
        return []
    return [
        Section(
            "Within strata",
            [
                Said(wording_checks.strata_sentence(checks, judgement)),
                *_drawn(charts, "strata", "recall within strata"),
            ],
        ),
        Section(
            "Does similarity say how likely a pair is to be known?",
            [
                Said(wording_checks.reliability_sentence(checks, judgement)),
                *_drawn(charts, "calibration", "observed against predicted share of known pairs", zoom=("x", "y")),
            ],
        ),
        Section(
            "Do replicates repeat better?",
            [
                Said(wording_checks.replicates_sentence(checks)),
                *_table(judge_details.replicate_table(checks), judge_details.REPLICATE_FORMATS),
                Said(wording_checks.exchange_sentence(checks)),
            ],
        ),
        Section(
            "What noise allows", [Points([("", text) for text in wording_checks.noise_sentences(checks, judgement)])]
        ),
    ]


def _groups(judgement: Judgement) -> list[Section]:
    if not judgement.units.height:
        return []
    said = Said(wording_checks.groups_sentence(judgement))
    return [
        Section(
            "Which groups gain, and which lose", [said, *_table(judged.group_table(judgement), judged.GROUP_FORMATS)]
        )
    ]


def _change(judgement: Judgement) -> Section:
    plan = judged.plan_table(judgement)
    note = [Said(wording_checks.PLAN_NOTE, "faint")] if plan.height else []
    said = Said(wording_judge.change_sentence(judgement))
    return Section("What would change the verdict", [said, *_table(plan, judged.PLAN_FORMATS), *note])


def _not_there(catalog: Catalog, found: Judged) -> str:
    """Say what was not finished when the page was saved."""
    view = found.view
    grid = judge_details.grid_of(catalog, view, begin=False)
    missing = {
        "the curve over budgets": judge_details.found_budget(catalog, view) is None,
        "strata, calibration, replicates and noise": judge_details.found_checks(catalog, view) is None,
        "every representation under every alignment": grid is None or grid.result is None,
    }
    left_out = [what for what, is_missing in missing.items() if is_missing]
    return f"Not computed when this page was saved, and so not in it: {'; '.join(left_out)}." if left_out else ""
