"""A small catalog with its lists, made once a module: one to discover with, one to compare by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pages
import verdicts

from explorer.catalog import Catalog, open_catalog
from explorer.gathered_evidence import Evidence
from explorer.proposed import ListView, Proposed, default_list_view
from explorer.shortlists import shared_evidence, shared_list

PAYLOADS = pages.PAYLOADS


# Sets that hold some of the perturbations: of those that hold all of them no pair is left.
SETS = {f"module {place}": verdicts.NAMES[5 * place : 5 * place + 5] for place in range(4)}


def open_toy(root: Path, **options: Any) -> Catalog:
    """Write the toy of 110 perturbations in two contexts, and open it."""
    options = {"sets": SETS} | options
    return open_catalog(verdicts.write_catalog(root, options.pop("changes", None), **options))


def view_of(catalog: Catalog, **changes: Any) -> ListView:
    """View to begin with, its plan changed."""
    view = default_list_view(catalog, catalog.dataset("toy"))
    return replace(view, plan=replace(view.plan, **changes))


def made_of(catalog: Catalog, **changes: Any) -> Proposed:
    """List of such a view."""
    view = view_of(catalog, **changes)
    return Proposed(view, shared_list(catalog, view.plan), "", catalog.dataset("toy").card.cautions)


def evidence_of(catalog: Catalog, made: Proposed) -> Evidence:
    """What stands beside its pairs."""
    return shared_evidence(catalog, made.found)


def write_hostile(root: Path) -> Path:
    """Write a catalog in which every text that can be one is an attack; the attacks stand in modules of their own."""
    names = (*PAYLOADS, *verdicts.NAMES[: 110 - len(PAYLOADS)])
    everything = " ".join(PAYLOADS)
    changes: dict[str, Any] = dict.fromkeys(("title", "license", "citation", "description", "provenance"), everything)
    changes |= {f"contexts/{name}/{key}": PAYLOADS[0] for name in ("alpha", "beta") for key in ("cell_system", "time")}
    changes |= {f"representations/{name}/description": everything for name in ("raw", "latent")}
    changes |= {"cautions": [{"perturbations": [PAYLOADS[0]], "text": everything}], "defaults/align": "none"}
    known = {"relationships": {"Pairs": {"file": "pairs.parquet", "license": PAYLOADS[2], "citation": PAYLOADS[3]}}}
    return verdicts.write_catalog(root, changes, names=names, known=known)


def by_form(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Call files ``LIST…``, which are called by the digest of their list, so that two lists lie in one folder."""
    stem = next(iter(files))[: len("list-12345678")]
    assert stem.startswith("list-")
    assert len({name[: len(stem)] for name in files}) == 1
    return {f"LIST{name[len(stem) :]}": content for name, content in files.items()}
