"""All that the page of contexts shows, as one object: what ``explorer contexts … --json`` prints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl

from explorer.catalog import Catalog, shared_map
from explorer.context_reports import OverlapReport, Place, passports_of
from explorer.contexts import HOLDS, ContextReport
from explorer.edges import EdgeTests
from explorer.passport import confounding
from explorer.repeatability import Repeatability
from explorer.significance import SignFlip


def contexts_json(
    catalog: Catalog,
    report: ContextReport,
    overlaps: Sequence[OverlapReport],
    *,
    places: Sequence[Place],
    seed: int = 0,
) -> dict[str, Any]:
    """Put all that the page shows into one object for ``--json``; what is not defined is None.

    Parameters
    ----------
    catalog
        The data sets on offer.
    report, overlaps
        As `shared_report` and `shared_overlap` gave them.
    places
        The discovering context, then the others in the order of the report.
    seed
        Of the report.
    """
    here, others = places[0], tuple(places[1:])
    own, comparisons = passports_of(catalog, here, others)
    found: dict[str, Any] = {
        "discovery": {"label": report.discovery, **_place_json(catalog, here), "passport": own.to_json()},
        "others": [
            {
                "label": label,
                **_place_json(catalog, place),
                "passport": compared.other.to_json(),
                "differing": compared.differing,
                "differs": compared.sentence,
                "warnings": compared.warnings,
                "tests": _tests_json(report.tests[label]),
                "repeatability": _repeatability_json(report.repeatability[label]),
                "absent": asdict(report.absent[label]),
                "labels": _label_counts(report, label),
            }
            for label, place, compared in zip(report.others, others, comparisons, strict=True)
        ],
        "confounded": confounding((own, *(compared.other for compared in comparisons))),
        "k": report.k,
        "at_least": report.at_least,
        "seed": seed,
        "n_perturbations": len(report.names),
        "n_edges": report.edges.height,
        "n_hold_generally": _n_hold(report),
        "own_repeatability": None
        if report.own_repeatability is None
        else _repeatability_json(report.own_repeatability),
        "edges": _edges_json(report),
        "overlaps": [_overlap_json(one) for one in overlaps],
        "distrust": [
            {"why": caution.text, "perturbations": sorted(caution.perturbations)}
            for caution in catalog.dataset(here.dataset).card.cautions
        ],
        "notes": report.notes,
    }
    plain: dict[str, Any] = _plain(found)
    return plain


def _place_json(catalog: Catalog, place: Place) -> dict[str, Any]:
    made = shared_map(catalog.dataset(place.dataset), place.context, place.representation, alignment=place.align)
    return {**asdict(place), "fingerprint": made.fingerprint, "recipe": made.recipe.sentence}


def _tests_json(tests: EdgeTests) -> dict[str, Any]:
    return {
        "n_tested": int((~np.isnan(tests.p)).sum()),
        "n_holds": int(tests.holds.sum()),
        "decoy_share": tests.decoy_share,
        "note": tests.note,
    }


def _repeatability_json(found: Repeatability) -> dict[str, Any]:
    known_of = not found.note
    return {
        "n_edges": len(found.p),
        "null_share": found.null_share,
        "threshold": found.threshold() if known_of else math.nan,
        "note": found.note,
    }


def _label_counts(report: ContextReport, label: str) -> dict[str, int]:
    counts = report.labels.filter(pl.col("context") == label)["label"].value_counts()
    return {str(name): int(count) for name, count in sorted(counts.iter_rows())}


def _n_hold(report: ContextReport) -> int:
    if len(report.others) > 1:
        return int(report.edges["holds_general"].fill_null(value=False).sum())
    return int((report.labels["label"] == HOLDS).sum())


def _edges_json(report: ContextReport) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = report.edges.to_dicts()
    for line in lines:
        line["known"] = [name.strip() for name in line["known"].split(",") if name.strip()]
        line["contexts"] = {}
    for found in report.labels.iter_rows(named=True):
        lines[found["edge"]]["contexts"][found["context"]] = {
            key: value for key, value in found.items() if key not in ("context", "edge")
        }
    return lines


def _overlap_json(found: OverlapReport) -> dict[str, Any]:
    return {
        "one": found.one,
        "other": found.other,
        "k": found.k,
        "simple": found.simple,
        "learned": found.learned,
        "comparison": _test_json(found.comparison),
        "by_centred_cosine": _test_json(found.centered),
        "n_groups": found.n_groups,
        "n_perturbations": found.n_perturbations,
        "representations": found.table.to_dicts(),
        "fingerprints": found.fingerprints,
        "seed": found.seed,
        "notes": found.notes,
    }


def _test_json(test: SignFlip | None) -> dict[str, Any] | None:
    return None if test is None else {**asdict(test), "low": test.low, "high": test.high}


def _plain(value: Any) -> Any:
    """Make a value of what JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
