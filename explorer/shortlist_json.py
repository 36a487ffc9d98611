"""A list of what to test next as one object: what ``explorer shortlist … --json`` prints."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import polars as pl

from explorer.gathered_evidence import Evidence
from explorer.shortlist import Expectation
from explorer.shortlists import Listed, filter_words, with_evidence


def list_json(found: Listed, evidence: Evidence | None = None) -> dict[str, Any]:
    """Put all that the page shows into one object; what is not defined is None.

    Parameters
    ----------
    found
        The list.
    evidence
        What stands beside each pair, where it was gathered.

    Returns
    -------
    dict
        Of a comparison the pairs stand in the order of their names, and nothing says who proposed them: that is in
        the sealed key alone.
    """
    plan = asdict(found.plan)
    made: dict[str, Any] = {
        "mode": plan.pop("mode"), "plan": plan, "filters": filter_words(found.plan),
        "conditions": dict(found.conditions), "fingerprints": dict(found.fingerprints), "data": dict(found.maps),
        "known": dict(found.sources), "expectation": expectation_json(found.expectation),
    }  # fmt: skip
    if found.shortlist is not None:
        counts = ("n_perturbations", "n_pairs", "n_known", "n_apart", "n_candidates")
        made |= {name: getattr(found.shortlist, name) for name in counts}
        made["pairs"] = _lines(with_evidence(found.rows, evidence))
        made["apart"] = _lines(found.shortlist.apart)
    elif found.census is not None:
        census = found.census
        made |= {
            "depth": census.depth, "n_shared": census.n_shared, "n_exclusive": census.n_exclusive,
            "n_background": census.n_background, "n_components": census.n_components,
        }  # fmt: skip
        made["pairs"] = _lines(found.rows.select("first", "second").sort("first", "second"))
    made["notes"] = [*found.notes, *(evidence.notes if evidence is not None else ())]
    return made


def expectation_json(expectation: Expectation) -> dict[str, Any]:
    """Say how many hits are expected for each completeness, and of how many pairs this similar what share is known."""
    stated = zip(expectation.completeness, expectation.expected, strict=True)
    return {
        "n_pairs": expectation.n_rows,
        "known_rate": expectation.known_rate,
        "n_alike": expectation.n_alike,
        "expected": [{"completeness": share, "hits": hits} for share, hits in stated],
    }


def _lines(table: pl.DataFrame) -> list[dict[str, Any]]:
    return table.to_dicts()
