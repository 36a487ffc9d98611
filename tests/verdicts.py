"""Judgements made by hand, and a catalog that is just large enough to be judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import toys

from explorer.judged import Judged, JudgeView
from explorer.recall import Recall
from explorer.significance import SignFlip
from explorer.verdict import Judgement, KnownHits, MapComparison, Primary, SourceComparison

NAMES = tuple(f"G{number:03}" for number in range(110))
VIEW = JudgeView("toy", "alpha", "raw", "latent", "none", ("Pairs",))


def write_catalog(root: Path, changes: Mapping[str, Any] | None = None, **options: Any) -> Path:
    """Write the toy with 22 modules, so that there is a verdict; its card declares that nothing is aligned."""
    changes = dict(changes or {})
    if "defaults" not in changes:
        changes = {"defaults/align": "none"} | changes
    return toys.write_catalog(root, changes, names=options.pop("names", NAMES), **options)


def flip(estimate: float, half_width: float, *, n_units: int = 30, n_discordant: int = 20, p: float = 0.01):
    """Result of a sign-flip test."""
    return SignFlip(estimate, half_width, p, n_units, n_discordant, half_width * 1.4, False)


def compared(name: str, score: float, estimate: float, half_width: float) -> MapComparison:
    """Another map."""
    return MapComparison(name, score, flip(estimate, half_width))


def recall(value: float) -> Recall:
    """Recall of a source."""
    return Recall(value, value - 0.05, 0.05, value + 0.02, n_pairs=200, n_groups=30, chance=0.1)


def judgement(**changes: Any) -> Judgement:
    """Judgement that says "worth it", but for what is changed."""
    primary = Primary(10, 0.2, 0.3, 0.01, flip(0.1, 0.03), "given")
    source = SourceComparison(
        source="Pairs", n_pairs=200, n_groups=30, groups="given", simple=recall(0.3), learned=recall(0.4),
        simple_matched=recall(0.12), learned_matched=recall(0.13), test=flip(0.1, 0.03), q=0.01,
    )  # fmt: skip
    hits = KnownHits(
        budget=100, simple=70.0, learned=91.0, chance=2.5, test=flip(21, 80), effective_units=3.4,
        largest=(("Pairs: one", 12.0), ("Pairs: two", -3.0)), only_simple=(40, 10), only_learned=(40, 31),
    )  # fmt: skip
    units = pl.DataFrame(
        {
            "unit": ["Pairs: a", "Pairs: b", "Pairs: c"],
            "members": [3, 2, 4],
            "simple": [0.2, 0.5, 0.1],
            "learned": [0.3, 0.0, 0.1],
            "difference": [0.1, -0.5, 0.0],
        }
    )
    made = Judgement(
        verdict="worth it",
        reason="macro partner recall@10, learned − simple: +0.100 (+0.070 to +0.130) over 30 groups",
        simple="raw",
        learned="latent",
        primary=primary,
        sources=(source,),
        known_hits=hits,
        placebos=(compared("noise", 0.02, 0.28, 0.05), compared("norm", 0.05, 0.25, 0.05)),
        rivals=(compared("pca", 0.15, 0.15, 0.05),),
        seeds=(compared("latent-seed-1", 0.28, 0.08, 0.03),),
        units=units,
        fingerprints={"simple": "a" * 12, "learned": "b" * 12},
        seed=0,
        n_perturbations=110,
        notes=(),
    )
    return replace(made, **changes)


def with_test(test: SignFlip, **changes: Any) -> Judgement:
    """Judgement with another primary test."""
    made = judgement(**changes)
    return replace(made, primary=replace(made.primary, test=test))


def judged_of(found: Judgement, *, view: JudgeView = VIEW, declared: Judgement | None = None) -> Judged:
    """Judgement of a view; the declared one is `VIEW`."""
    return Judged(view, found, VIEW, declared or found)
