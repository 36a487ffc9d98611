"""The texts of the two cards: the simulated screen's, and its planted truth's.

Called by ``make.py``; alone it writes them anew from ``figures.json`` and ``seeds.json``::

    python demo_data/perturbseq/card.py
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from string import Template
from textwrap import fill
from typing import Any

import learned
import numpy as np

from explorer.simulate import ScreenDesign

# Of the new simulations the card tells these; seeds.json has the others too.
TOLD = ("pseudobulk", "pca-20", "scvi", "random-projection", "random-projection-counts")
FIGURES, SEEDS = "figures.json", "seeds.json"
CITATION = "explorer, this project: simulated by explorer/simulate.py and demo_data/perturbseq/make.py."

# Raw, so that TOML sees its own line continuations.
TEMPLATE = Template(r'''title = "SIMULATED Perturb-seq: planted modules, three cell lines"
license = "CC0 1.0"
citation = "$citation"
description = """
Everything here is SIMULATED by explorer/simulate.py: no cell was ever perturbed, and the truth is known.
$perturbations perturbations (P001 to P$perturbations) with $guides guides each, $control_guides non-targeting guides,
$batches batches, about $cells cells a guide and batch, $genes genes, about $depth counts a cell (negative binomial,
dispersion $theta). In $escape of the cells the guide did not work. Batches shift the logarithm of every gene's
expression (standard deviation $batch_sd).
Planted: $modules modules of $members perturbations in $super_modules super-modules, each acting on $program of the
genes (standard deviation $strength); a stress axis that half of the module members share and on which
$stress_only perturbations are alone;
one module that acts in $local only; and $inactive perturbations that do nothing, whose neighbours mean nothing.
The truth is in demo_data/perturbseq_truth: rings on the maps are members of one module.
Maps are to be centred on the controls of each batch (alignment center, the default here).
Scores of such maps, three each: the share of true pairs of a module that are among the highest 5 % of all cosines; of
the 50 most similar pairs, the share that are such pairs; and the share that have only the stress axis in common.
In these data, mean of the three lines:
$shipped
In $n_new new simulations of the same design, for which nothing was chosen, mean (lowest to highest simulation):
$new
Read it so: in the new simulations scVI finds more true pairs than PCA with as many dimensions in $over_pca and more
than plain pseudobulk in $over_pseudobulk. A learned map is to be held against the best simple one, not against the
nearest in dimension. What a placebo scores comes from dimensions, effect size, technique or wrong labels alone.
Two scVI models that differ only in the seed share $least to $most of a perturbation's ten neighbours.
The design was fixed once, so that pseudobulk is good and not perfect, on simulations shipped nowhere and before any
map of scVI was scored; nothing was tuned on what scVI scores.
Representations are rounded to 8 significant bits; counts are whole.
"""
provenance = """
make.py rebuilds every file of this folder and of demo_data/perturbseq_truth; seeds.py makes the figures of the new
simulations, seeds.json. Counts, PCA and placebos come out the same on any machine, to their rounding. scVI is
deterministic for a seed on one thread of one machine with the versions in figures.json (scvi-tools $scvi, torch
$torch); another processor or version may change last digits, which training can amplify.
"""
relationships = "perturbseq_truth"
layouts = "layouts.parquet"

[roles]
perturbation = "perturbation"
control = "non-targeting"
batch = "batch"
guide = "guide"

$contexts
[defaults]
context = "line_A"
query = "$query"
left = "pseudobulk"
right = "scvi"
align = "center"

# Picked by looking, with the truth at hand: illustrations, not evidence.
$examples
[representations.pseudobulk]
kind = "simple"
source = "X"
transform = "log-normalize"
description = """\
Log-normalised counts of the $genes genes, averaged: nothing is learned. The simple map to beat."""

[representations.pca-20]
kind = "simple"
source = "obsm/X_pca_20"
description = "The first 20 principal components of the log-normalised cells: as many dimensions as scVI."

[representations.scvi]
kind = "learned"
source = "obsm/X_scvi"
description = "The 20 latents of scVI, told the batches, seed 0."
trained = """
By make.py with scvi-tools $scvi and its default settings, 20 latents, $epochs epochs, on all cells of one line, the
lines apart. It saw counts and batches, and neither perturbations nor guides, controls or modules.
The number of epochs was fixed by the loss of held-out cells of a simulation that is shipped nowhere.
Loss of the held-out tenth of the cells here: $losses.
"""

[representations.scvi-seed-1]
kind = "learned"
source = "obsm/X_scvi_seed_1"
description = "The same model from seed 1: beside scvi it shows what depends on the seed."
trained = "As scvi, from seed 1."
seed_of = "scvi"

[representations.scvi-seed-2]
kind = "learned"
source = "obsm/X_scvi_seed_2"
description = "The same model from seed 2."
trained = "As scvi, from seed 2."
seed_of = "scvi"

[representations.scvi-no-batch]
kind = "learned"
source = "obsm/X_scvi_no_batch"
description = "The 20 latents of scVI that was not told the batches, seed 0."
trained = "As scvi, from seed 0, without batches."

[representations.random-projection]
kind = "placebo"
source = "obsm/X_random_projection"
description = "Log-normalised cells on 20 Gaussian random axes: the input of PCA, and nothing learned."
of = "pseudobulk"

[representations.random-projection-counts]
kind = "placebo"
source = "obsm/X_random_projection_counts"
description = """\
The very input of scVI's encoder, log(1 + count) without division by the cell's total, on 20 random axes; \
a learned map should beat it."""
of = "scvi"

[representations.effect-norm]
kind = "placebo"
source = "obsm/X_effect_norm"
description = "Two columns: how strong the guide's effect is, and how many cells it has. No direction of an effect."
of = "pseudobulk"

[representations.technical]
kind = "placebo"
source = "obsm/X_technical"
description = """\
Batch, total count and number of genes of a cell: what the machine alone says. Centred, the batch is gone."""

[representations.scvi-shuffled]
kind = "placebo"
source = "obsm/X_scvi_shuffled"
description = "The latents of scvi, dealt anew to the cells of each batch: the right shape, the wrong labels."
of = "scvi"
''')

CONTEXT = Template("""[contexts.$name]
rows = "cells_$name.h5ad"
cell_system = "simulated cell line $letter"
perturbation_type = "simulated knock-down"
technique = "simulated Perturb-seq"
outcome = "expression"
features = "$genes simulated genes"
""")

TRUTH_TEMPLATE = Template(r'''kind = "relationships"
title = "What was planted in the simulated Perturb-seq demo"
license = "CC0 1.0"
description = """
The truth behind demo_data/perturbseq, which is SIMULATED: nothing here is biology.
Planted modules: the $n_pairs pairs of perturbations of one module, \
those of the module that acts in $local only included.
Planted truth: every module, super-module, who is on the stress axis, and who does nothing, as sets.
"""
provenance = "demo_data/perturbseq/make.py writes every file of this folder."

[relationships."Planted modules"]
file = "modules.parquet"
license = "CC0 1.0"
citation = "$citation"

[gene_sets."Planted truth"]
file = "truth.gmt.gz"
license = "CC0 1.0"
citation = "$citation"
''')

# Query, context and what is seen there; the first is the default. Counts are of ten neighbours and held by a test.
EXAMPLES = (
    (
        "P119",
        "line_A",
        """\
PCA-20 finds 1 of its 3 module partners, scVI all 3, from every seed: a difference worth an experiment, if PCA were \\
the only simple map. Plain pseudobulk finds all 3 too.""",
    ),
    (
        "P028",
        "line_A",
        """\
All 3 module partners are among ten neighbours on both sides, from every seed, in PCA and in the other lines: a \\
neighbourhood this strong needs no learned map.""",
    ),
    (
        "P099",
        "line_A",
        """\
Of ten neighbours in pseudobulk none is one of its 3 partners and 7 have only the stress axis in common with it; \\
in scVI it is 6, and no partner either. Similar is not the same as related, and learning did not help.""",
    ),
    (
        "P048",
        "line_A",
        """\
Pseudobulk finds all 3 partners; scVI 1, its other seeds 0 and 2. A neighbourhood that changes with the seed is no \\
finding.""",
    ),
    (
        "P090",
        "line_B",
        """\
Its module acts in line B only: there both sides find all 3 partners. In lines A and C nothing of it is left but \\
stress, and 9 or 10 of ten neighbours have only the stress axis in common with it.""",
    ),
    (
        "P008",
        "line_A",
        """\
It was planted to do nothing. Both maps list ten neighbours all the same, with mean cosines of .16 and .39, where the \\
median query has .21 and .59: ask whether a perturbation acts before you ask whom it resembles.""",
    ),
)


def write_cards(folder: Path, truth: Path) -> None:
    """Write both cards from the figures that lie in the dataset's folder."""
    figures, seeds = (json.loads((folder / name).read_text(encoding="utf-8")) for name in (FIGURES, SEEDS))
    (folder / "card.toml").write_text(text(figures, seeds), encoding="utf-8")
    design = ScreenDesign()
    pairs = design.modules * design.members * (design.members - 1) // 2
    local = spoken(design.contexts[1])
    (truth / "card.toml").write_text(
        TRUTH_TEMPLATE.substitute(n_pairs=pairs, local=local, citation=CITATION), encoding="utf-8"
    )


def text(figures: dict[str, Any], seeds: dict[str, Any]) -> str:
    """Write the dataset's card."""
    design = ScreenDesign()
    overlaps = [share for context in design.contexts for share in figures[context]["seed_overlap"].values()]
    scores = {context: figures[context]["scores"] for context in design.contexts}
    names = list(scores[design.contexts[0]])
    losses = [figures[context]["held_out_loss"]["scvi"] for context in design.contexts]
    return TEMPLATE.substitute(
        citation=CITATION,
        perturbations=design.perturbations,
        guides=design.guides,
        control_guides=design.control_guides,
        batches=design.batches,
        cells=f"{design.cells:g}",
        genes=f"{design.genes:,}",
        depth=f"{design.depth:g}",
        theta=f"{design.theta:g}",
        escape=f"{design.escape:.0%}",
        batch_sd=design.batch_sd,
        modules=design.modules,
        members=design.members,
        super_modules=design.super_modules,
        program=f"{design.program:.1%}",
        strength=design.strength,
        stress_only=design.stress_only,
        inactive=design.inactive,
        local=spoken(design.contexts[1]),
        shipped=sentence(f"{name} {shipped_scores(scores, name)}" for name in names),
        n_new=len(seeds),
        new=sentence(f"{name} {new_scores(seeds, name)}" for name in TOLD),
        over_pca=wins(seeds, "pca-20"),
        over_pseudobulk=wins(seeds, "pseudobulk"),
        least=f"{min(overlaps):.0%}",
        most=f"{max(overlaps):.0%}",
        scvi=figures["versions"]["scvi-tools"],
        torch=figures["versions"]["torch"],
        epochs=learned.EPOCHS,
        losses=", ".join(
            f"{loss:.0f} in {spoken(context)}" for loss, context in zip(losses, design.contexts, strict=True)
        ),
        contexts="\n".join(
            CONTEXT.substitute(name=name, letter=name[-1], genes=f"{design.genes:,}") for name in design.contexts
        ),
        query=EXAMPLES[0][0],
        examples="\n".join(
            f'[[examples]]\nquery = "{query}"\ncontext = "{context}"\ntext = """\\\n{story}"""\n'
            for query, context, story in EXAMPLES
        ),
    )


def shipped_scores(scores: dict[str, Any], name: str) -> str:
    """Write the mean of the contexts: ``.73, .70, .22``."""
    return ", ".join(
        share(np.mean([context[name][figure] for context in scores.values()])) for figure in ("recall", "top", "stress")
    )


def new_scores(seeds: dict[str, Any], name: str) -> str:
    """Write the mean over new simulations and the range of the simulations' means."""
    parts = []
    for figure in ("recall", "top", "stress"):
        means = [np.mean([context[name][figure] for context in contexts.values()]) for contexts in seeds.values()]
        parts.append(f"{share(np.mean(means))} ({share(min(means))} to {share(max(means))})")
    return ", ".join(parts)


def wins(seeds: dict[str, Any], other: str) -> str:
    """Say in how many new simulations scVI has a higher recall than another representation: ``none of 5``."""
    higher = sum(
        np.mean([lines["scvi"]["recall"] - lines[other]["recall"] for lines in contexts.values()]) > 0
        for contexts in seeds.values()
    )
    return f"{'all' if higher == len(seeds) else higher or 'none'} of {len(seeds)}"


def sentence(parts: Iterable[str]) -> str:
    """Join parts to a sentence, in lines of the card's width."""
    return fill("; ".join(parts) + ".", 118, break_on_hyphens=False)


def share(value: float) -> str:
    """Write a share without its leading zero: ``.73``."""
    return f"{value:.2f}".removeprefix("0")


def spoken(context: str) -> str:
    """Write a context's name as words: ``line A``."""
    return context.replace("_", " ")


if __name__ == "__main__":
    here = Path(__file__).parent
    write_cards(here, here.parent / "perturbseq_truth")
