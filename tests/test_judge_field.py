"""The judge on published data whose answer is known; skipped where those files are absent."""

import numpy as np
import polars as pl
import pytest
from test_activity import compounds

from explorer.aggregate import build_map
from explorer.knowledge import read_source
from explorer.placebos import make_placebos
from explorer.retrieval import replicate_precision
from explorer.screen import Screen
from explorer.significance import sign_flip
from explorer.verdict import judge

SOURCES = ("CORUM", "HuMAP", "Reactome", "StringDB")
PHENOTYPES = (
    "ADCCM", "Anaphase", "Apoptosis", "Binuclear", "Elongated", "Grape", "Hole", "Interphase", "Large", "Metaphase",
    "MetaphaseAlignment", "OutOfFocus", "Polylobed", "Prometaphase", "SmallIrregular",
)  # fmt: skip


def sources(field, names=SOURCES):
    return [read_source(field / "relationships" / f"{name}.txt") for name in names]


@pytest.fixture(scope="module")
def published(field):
    """PCA-50 and a β-VAE of the same genes: the case that was published as a success."""
    folder = field / "depmap_published"
    pca = pl.read_csv(folder / "PCA_weight_matrix_gsea.csv").rename({"genes": "gene"})
    vae = pl.read_parquet(folder / "weight_matrix_gsea.parquet").rename({"0": "gene"})
    both = vae.select("gene").join(pca, on="gene", how="inner", maintain_order="left")
    weights = vae.join(pca.select("gene"), on="gene", how="semi", maintain_order="left").drop("gene").to_numpy()
    screen = Screen.from_arrays(
        both["gene"].to_list(), {"pca-50": both.drop("gene").to_numpy(), "beta-vae": weights - weights.mean(axis=0)}
    )
    return screen, build_map(screen, "pca-50"), build_map(screen, "beta-vae")


def test_a_published_autoencoder_is_worse_than_pca(published, field):
    screen, simple, learned = published
    assert simple.n_perturbations == learned.n_perturbations == 2_718
    found = judge(simple, learned, sources(field), placebos=make_placebos(screen, simple, learned))
    assert found.verdict == "worse"
    assert found.primary.test.high < -0.15
    listed = {
        "CORUM": (0.333, 0.270), "HuMAP": (0.403, 0.239), "Reactome": (0.405, 0.189), "StringDB": (0.492, 0.308),
    }  # fmt: skip
    for source in found.sources:
        assert (source.simple.both, source.learned.both) == pytest.approx(listed[source.source], abs=0.005)
        assert source.test.high < 0
        # Both hold more than effect size and annotation alone would give.
        assert source.simple.both > source.simple_matched.both + 0.1
    assert found.known_hits.learned < found.known_hits.simple


def test_complexes_as_groups_say_the_same(published, field):
    _, simple, learned = published
    found = judge(simple, learned, [read_source(field / "relationships" / "CORUM_clusters.tsv")])
    assert (found.verdict, found.primary.groups) == ("worse", "given")
    assert found.primary.test.n_units > 500


def test_fifteen_phenotypes_are_worse_than_all_features_at_finding_replicates(field):
    screen = compounds(field, ("BR00117010", "BR00117011", "BR00117012", "BR00117013"))
    wells = pl.read_parquet(field / "cpjump1" / "phenotype_profiles_u2os_compound.parquet")
    scores = screen.rows.join(
        wells.select("Metadata_Plate", "Metadata_Well", *PHENOTYPES),
        left_on=["batch", "well"],
        right_on=["Metadata_Plate", "Metadata_Well"],
        how="left",
        maintain_order="left",
    )
    # The phenotypes were published for the compounds alone, so there are no controls to align to.
    present = scores["ADCCM"].is_not_null().to_numpy() & ~screen.is_control()
    assert present.sum() == 1_273
    plate, perturbation = (
        scores[name].cast(pl.Categorical).to_physical().cast(pl.Int64).to_numpy()[present]
        for name in ("batch", "perturbation")
    )
    sides = {
        "cellprofiler": screen.representation("cellprofiler").source.read(0, screen.rows.height)[present],
        "phenotype-15": scores.select(PHENOTYPES).to_numpy()[present],
    }
    means = {}
    for name, values in sides.items():
        standardised = np.empty_like(values, dtype=np.float64)
        for number in np.unique(plate):
            own = values[plate == number].astype(np.float64)
            spread = own.std(axis=0)
            standardised[plate == number] = (own - own.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        ranked = replicate_precision(standardised, perturbation, batch=plate, against="others")
        table = pl.DataFrame({"perturbation": perturbation, "score": ranked.average_precision})
        means[name] = table.group_by("perturbation").mean().sort("perturbation")["score"]
    assert means["cellprofiler"].mean() == pytest.approx(0.373, abs=0.05)
    assert means["phenotype-15"].mean() == pytest.approx(0.126, abs=0.03)
    # A compound is a unit: all of its wells count once.
    test = sign_flip((means["phenotype-15"] - means["cellprofiler"]).to_numpy())
    assert test.high < 0
    assert test.n_units > 250
    assert test.p == pytest.approx(1e-4)
