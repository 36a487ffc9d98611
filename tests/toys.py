"""A small catalog on disk: two contexts, a simple and two learned representations, guides, pairs and gene sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from files import feature_table, write_card, write_table

CONTROL = "non-targeting"
MODULE_SIZE = 5
N_FEATURES = 12
N_LATENTS = 6
GUIDES = 4
KINDS = ("both", "left", "right", "neither")
NAMES = tuple(f"GENE{number:02}" for number in range(30))
REPRESENTATIONS: Mapping[str, Any] = {
    "raw": {"kind": "simple", "source": "X"},
    "latent": {"kind": "learned", "source": "latent_{context}.parquet"},
    "latent-seed-1": {"kind": "learned", "source": "latent-seed-1_{context}.parquet", "seed_of": "latent"},
}
CARD: Mapping[str, Any] = {
    "title": "Toy screen",
    "license": "CC0",
    "citation": "nobody",
    "relationships": "known",
    "roles": {"perturbation": "gene", "control": CONTROL, "batch": "plate", "guide": "guide"},
    "contexts": {
        "alpha": {"rows": "rows_alpha.parquet", "cell_system": "alpha cells"},
        "beta": {"rows": "rows_beta.parquet", "cell_system": "beta cells"},
    },
    "representations": REPRESENTATIONS,
    "defaults": {"left": "raw", "right": "latent", "k": "4"},
}
KNOWN: Mapping[str, Any] = {
    "kind": "relationships",
    "title": "Known pairs of the toy",
    "relationships": {"Pairs": {"file": "pairs.parquet", "license": "CC0", "citation": "nobody"}},
    "gene_sets": {"Sets": {"file": "sets.gmt", "license": "CC0", "citation": "nobody"}},
}


def write_catalog(
    root: Path,
    changes: Mapping[str, Any] | None = None,
    *,
    names: Sequence[str] = NAMES,
    controls: bool = True,
    guides: bool = True,
    sets: Mapping[str, Sequence[str]] | None = None,
    known: Mapping[str, Any] | None = None,
) -> Path:
    """Write the catalog and return its folder; keys of the dataset's card are changed as in `files.write_card`.

    Perturbations come in modules of five, the same in every representation; the last one is absent from beta.
    """
    changes = dict(changes or {})
    if not controls:
        changes["roles/control"] = None
    if not guides:
        changes |= {"roles/guide": None, "roles/batch": None}
    dataset = write_card(root / "toy", changes, card=CARD)
    column = changes.get("roles/perturbation", "gene")
    for seed, context in enumerate(("alpha", "beta")):
        here = [*(names if context == "alpha" else names[:-1]), *([CONTROL] if controls else [])]
        repeats = GUIDES if guides else 1
        labels = [name for name in here for _ in range(repeats)]
        rows = pl.DataFrame({"row": [f"row-{place}" for place in range(len(labels))], column: labels})
        if guides:
            rows = rows.with_columns(
                pl.Series("guide", [f"{name} {place % repeats}" for place, name in enumerate(labels)]),
                pl.Series("plate", [f"p{place % 2}" for place in range(len(labels))]),
            )
        rng = np.random.default_rng(seed)
        # Controls belong to no module and lie round zero.
        module = np.array([names.index(label) // MODULE_SIZE if label in names else -1 for label in labels])
        for name, n_features, noise in (
            ("rows", N_FEATURES, 0.6),
            ("latent", N_LATENTS, 0.4),
            ("latent-seed-1", N_LATENTS, 0.5),
        ):
            centres = rng.normal(size=(int(module.max()) + 1, n_features))
            effect = np.where((module >= 0)[:, None], centres[module], 0.0)
            own = rng.normal(size=(len(here), n_features))[np.repeat(np.arange(len(here)), repeats)]
            values = effect + 0.3 * own * (module >= 0)[:, None] + noise * rng.normal(size=effect.shape)
            metadata = rows if name == "rows" else rows.select("row")
            write_table(dataset / f"{name}_{context}.parquet", feature_table(metadata, values.astype(np.float32)))
    write_known(root, names, sets=sets, changes=known)
    return root


def write_hostile_catalog(root: Path, payloads: Sequence[str], *, everything: str) -> Path:
    """Write the catalog with an attack in every text of its cards and in names of perturbations and gene sets.

    Parameters
    ----------
    root
        Folder of the catalog.
    payloads
        Names of perturbations and of sets.
    everything
        Stands in every longer text.
    """
    names = (*payloads, *NAMES[: 20 - len(payloads)])
    changes: dict[str, Any] = dict.fromkeys(("title", "license", "citation", "description", "provenance"), everything)
    changes |= {"roles/perturbation": payloads[0], "defaults/query": payloads[0]}
    changes |= {f"contexts/alpha/{key}": everything for key in ("cell_system", "technique", "outcome", "features")}
    for name in REPRESENTATIONS:
        changes |= {f"representations/{name}/{key}": everything for key in ("description", "trained")}
    changes |= {"examples": [{"query": payload, "context": payload, "text": payload} for payload in payloads]}
    known = {"title": everything, "description": everything}
    for table, name in (("relationships", "Pairs"), ("gene_sets", "Sets")):
        known |= {f"{table}/{name}/{key}": everything for key in ("license", "citation")}
    sets = {payload: names[: 4 + place] for place, payload in enumerate(payloads)}
    return write_catalog(root, changes, names=names, sets=sets, known=known)


def write_active_catalog(
    root: Path,
    changes: Mapping[str, Any] | None = None,
    *,
    counts: Mapping[str, int] | None = None,
    names: Sequence[str] = (),
    n_controls: int = 48,
) -> Path:
    """Write a catalog whose perturbations have an effect in both representations, in one of them, or in neither.

    Parameters
    ----------
    root
        Its folder.
    changes
        To the card.
    counts
        Perturbations of each kind (`KINDS`), in alpha; in beta the kinds are turned round. Eight of each by default.
    names
        Instead of ``both-0``, ``both-1`` …, from the first on.
    n_controls
        Controls of each of the two plates.
    """
    counts = counts or dict.fromkeys(KINDS, 8)
    kinds = [kind for kind in KINDS for _ in range(counts.get(kind, 0))]
    everyone = [f"{kind}-{kinds[:place].count(kind)}" for place, kind in enumerate(kinds)]
    everyone[: len(names)] = names
    repeats = 3 * GUIDES
    labels = [name for name in everyone for _ in range(repeats)] + [CONTROL] * (2 * n_controls)
    place = np.arange(len(labels))
    plates = [f"p{number % 2}" for number in place]
    guides = [
        f"guide {number // (3 if number < repeats * len(everyone) else 2)} of {plate}"
        for number, plate in zip(place.tolist(), plates, strict=True)
    ]
    metadata = pl.DataFrame(
        {"row": [f"row-{number}" for number in place], "gene": labels, "guide": guides, "plate": plates}
    )
    two = {name: REPRESENTATIONS[name] for name in ("raw", "latent")}
    dataset = write_card(root / "toy", {"representations": two, "relationships": None, **(changes or {})}, card=CARD)
    for seed, (context, order) in enumerate((("alpha", KINDS), ("beta", KINDS[::-1]))):
        rng = np.random.default_rng(seed)
        kind = np.array(
            [order[KINDS.index(kind)] for kind in kinds for _ in range(repeats)] + ["none"] * 2 * n_controls
        )
        for name, does, n_features in (
            ("rows", ("both", "left"), N_FEATURES),
            ("latent", ("both", "right"), N_LATENTS),
        ):
            effect = 1.5 * rng.normal(size=(len(everyone) + 1, n_features))[np.minimum(place // repeats, len(everyone))]
            values = np.where(np.isin(kind, does)[:, None], effect, 0.0) + rng.normal(size=effect.shape)
            table = metadata if name == "rows" else metadata.select("row")
            write_table(dataset / f"{name}_{context}.parquet", feature_table(table, values.astype(np.float32)))
    return root


def write_known(
    root: Path,
    names: Sequence[str],
    *,
    sets: Mapping[str, Sequence[str]] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Write known pairs (neighbours within a module) and one gene set a module."""
    folder = write_card(root / "known", changes, card=KNOWN)
    modules = [names[start : start + MODULE_SIZE] for start in range(0, len(names), MODULE_SIZE)]
    pairs = [(module[0], other) for module in modules for other in module[1:3]]
    write_table(folder / "pairs.parquet", pl.DataFrame(pairs, schema={"a": pl.String, "b": pl.String}, orient="row"))
    lines = sets or {f"module {number}": module for number, module in enumerate(modules)}
    text = "".join("\t".join([name, "", *members]) + "\n" for name, members in lines.items())
    (folder / "sets.gmt").write_text(text, encoding="utf-8")
    return folder
