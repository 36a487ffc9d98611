"""Reports of other contexts made by hand: ten edges of six perturbations, judged in one context or two."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import verdicts
from verdicts import flip

from explorer.context_reports import OverlapReport
from explorer.contexts import HOLDS, NOT_SEEN, SILENT, UNJUDGED, AbsentSet, ContextReport
from explorer.edges import EdgeTests
from explorer.held import Held, HeldView
from explorer.passport import Passport, PassportComparison, compare_passports
from explorer.repeatability import Repeatability

NAMES = ("A", "B", "C", "D", "E", "F")
# Of A: B to E hold, are not seen, silent, and can't be judged; C-D and E-F hold.
EDGES = (("A", "B"), ("A", "C"), ("A", "D"), ("A", "E"), ("C", "D"), ("E", "F"))
LABELS = (HOLDS, NOT_SEEN, SILENT, UNJUDGED, HOLDS, HOLDS)
P = (0.001, 0.9, 0.3, 0.2, 0.002, 0.004)
VIEW = HeldView("toy", "alpha", ("beta",), "raw", "raw", "latent", "none", "A")
PAYLOADS = (
    "<img src=x onerror=window.__pwned=1>",
    "<script src=data:text/javascript,window.__pwned=1></script>",
    "<iframe srcdoc='<script>parent.__pwned=1</script>'>",
    r"$\href{javascript:window.__pwned=1}{x}$",
)
NO_REPLICATES = "beta's own repeatability is unknown, for it has no replicates; a missing neighbour says nothing"


def passport(context: str, **changes: Any) -> Passport:
    """Conditions of a context of the toy."""
    made = Passport(
        dataset="toy", context=context, cell_system=f"{context} cells", perturbation_type="not stated",
        technique="not stated", outcome="not stated", time="not stated", controls="4 control guides (8 rows)",
        batches="2 batches", layout="not declared",
    )  # fmt: skip
    return replace(made, **changes)


def comparison(context: str) -> PassportComparison:
    """How another context differs from alpha."""
    return compare_passports(passport("alpha"), passport(context))


def edge_tests(*, decoy_share: float = 0.05, note: str = "") -> EdgeTests:
    """Tests of the edges, whose arrays are not asked for."""
    none = np.zeros(len(EDGES), dtype=np.intp)
    number = np.full(len(EDGES), np.nan)
    return EdgeTests(
        NAMES, none, none, none.astype(bool), number, np.array(P), np.array(P), none, none, decoy_share, note
    )


def repeatability(*, note: str = "") -> Repeatability:
    """Of 40 edges of one half 30 are found again: small p, and 10 spread evenly."""
    p = np.sort(np.concatenate([np.full(30, 0.001), np.linspace(0.05, 1, 10)]))
    return Repeatability(p[:0] if note else p, float("nan") if note else 0.25, note)


def report(*, others: tuple[str, ...] = ("beta",), at_least: int | None = None, note: str = "", **changes: Any):
    """Report of the edges; in the second other context nothing but A–B holds."""
    n = len(EDGES)
    labels = []
    for place, context in enumerate(others):
        own = LABELS if place == 0 else (HOLDS, *([UNJUDGED] * (n - 1)))
        p = P if place == 0 else (0.001, *([0.5] * (n - 1)))
        if note:
            own = tuple(UNJUDGED if label == NOT_SEEN else label for label in own)
        labels.append(
            pl.DataFrame(
                {
                    "context": [context] * n, "edge": list(range(n)), "mutual_rank": [float(3 + i) for i in range(n)],
                    "p": list(p), "q": [min(1.0, 2 * value) for value in p], "label": list(own),
                    "absent": [False] * n,
                },
                schema_overrides={"edge": pl.Int64},
            )
        )  # fmt: skip
    several = len(others) > 1
    edges = pl.DataFrame(
        {
            "first": [one for one, _ in EDGES], "second": [other for _, other in EDGES],
            "similarity": [0.9 - 0.1 * place for place in range(n)], "reciprocal": [True, False] * (n // 2),
            "known": ["Pairs", "", "", "", "Pairs, Sets", ""],
            "p_general": list(P) if several else [None] * n, "q_general": [2 * p for p in P] if several else [None] * n,
            "holds_general": [2 * p <= 0.1 for p in P] if several else [None] * n,
        },
        schema_overrides={"p_general": pl.Float64, "q_general": pl.Float64, "holds_general": pl.Boolean},
    )  # fmt: skip
    made = ContextReport(
        discovery="alpha",
        others=others,
        names=NAMES,
        k=10,
        at_least=at_least or len(others),
        edges=edges,
        labels=pl.concat(labels),
        tests={context: edge_tests() for context in others},
        repeatability={context: repeatability(note=note) for context in others},
        absent={context: AbsentSet(0, 0.0, "more than 25 % of them would be wrong") for context in others},
        notes=("layout not declared: shared plate positions would look like replication",),
    )
    return replace(made, **changes)


def held_of(**options: Any) -> Held:
    """Held as the page has it."""
    made = report(**options)
    view = replace(VIEW, others=made.others)
    comparisons = tuple(comparison(context) for context in made.others)
    return Held(view, made, passport("alpha"), comparisons, ".".join(["a" * 12, *("b" * 12 for _ in made.others)]))


def overlap(other: str = "beta", *, estimate: float | None = -0.0046, half_width: float = 0.0013) -> OverlapReport:
    """Overlap of two representations and a placebo."""
    lines = [
        ("raw", "simple", 0.096, 0.063, 0.033, 0.030, 0.036, 1e-4, 0.003, 0.06, 0.0, 0.033, 100, 0.0331),
        ("latent", "learned", 0.05, 0.02, 0.03, 0.026, 0.034, 1e-4, 0.003, 0.017, 0.0, 0.03, 100, 0.031),
        ("noise", "placebo", 0.003, 0.0031, -0.0001, float("nan"), float("nan"), float("nan"), 0.003, 0.0001, 0.0,
         -0.0001, 100, float("nan")),
    ]  # fmt: skip
    names = ["representation", "kind", "raw", "expected", "adjusted", "low", "high", "p", "hubs", "shared axis",
             "layout", "remainder", "n", "in groups"]  # fmt: skip
    return OverlapReport(
        one="toy/alpha",
        other=f"toy/{other}",
        table=pl.DataFrame(lines, schema=names, orient="row"),
        comparison=None if estimate is None else flip(estimate, half_width, p=0.0001 if half_width < 0.004 else 0.4),
        simple="raw",
        learned="latent",
        n_groups=30,
        n_perturbations=100,
        k=10,
        notes=("12 perturbations have no profile in beta",),
    )


def write_hostile_catalog(root: Path) -> Path:
    """Write a small catalog in which every text that can be one is an attack."""
    names = (*PAYLOADS, *verdicts.NAMES[: 110 - len(PAYLOADS)])
    changes = {key: PAYLOADS[0] for key in ("title", "license", "citation", "description", "provenance")}
    changes |= {"roles/perturbation": PAYLOADS[1], "defaults/query": PAYLOADS[0]}
    changes |= {f"contexts/beta/{key}": PAYLOADS[0] for key in ("cell_system", "technique", "outcome", "time")}
    known = {"relationships": {"Pairs": {"file": "pairs.parquet", "license": PAYLOADS[2], "citation": PAYLOADS[3]}}}
    return verdicts.write_catalog(root, changes, names=names, known=known)
