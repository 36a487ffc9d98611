"""The data that is shipped: whole, small, licensed, and known to say what the field says."""

import re

import numpy as np
import polars as pl
import pytest

from explorer.aggregate import build_map
from explorer.card import read_card, read_knowledge_card
from explorer.catalog import open_catalog
from explorer.compare import overlap_distribution
from explorer.knowledge import knowledge_beside
from explorer.layout import trustworthiness
from explorer.load import load_dataset, load_layout, load_screen
from explorer.sources import digest_file

CONTEXTS = {"skin": 75, "soft_tissue": 46}
N_GENES = 3465
REPRESENTATIONS = {
    "raw": ("simple", None),
    "double-centered": ("simple", None),
    "pca-32": ("simple", 32),
    "autoencoder": ("learned", 32),
    "autoencoder-seed-1": ("learned", 32),
    "autoencoder-seed-2": ("learned", 32),
    "random-projection-raw": ("placebo", 32),
    "random-projection-double-centered": ("placebo", 32),
    "effect-norm": ("placebo", 2),
}
MISSING = "no layout of this recipe: run demo_data/depmap/make.py again"
EVERY = [(context, representation) for context in CONTEXTS for representation in REPRESENTATIONS]


@pytest.fixture(scope="module")
def dataset(demo):
    return load_dataset(demo / "depmap")


@pytest.fixture(scope="module")
def screens(dataset):
    return {context: load_screen(dataset, context) for context in CONTEXTS}


@pytest.fixture(scope="module")
def maps(screens):
    made = {}

    def build(context, representation):
        key = (context, representation)
        if key not in made:
            made[key] = build_map(screens[context], representation)
        return made[key]

    return build


def test_both_cards_read(demo):
    card, known = read_card(demo / "depmap"), read_knowledge_card(demo / "relationships")
    assert list(card.contexts) == list(CONTEXTS)
    assert {name: entry.kind for name, entry in card.representations.items()} == {
        name: kind for name, (kind, _) in REPRESENTATIONS.items()
    }
    assert [source.name for source in known.relationships] == ["Reactome", "HuMAP", "StringDB"]
    assert card.description
    assert card.provenance
    assert known.description


def test_the_demo_is_a_catalog_without_problems(demo):
    catalog = open_catalog(demo)
    assert "depmap" in catalog.names
    assert catalog.problems == {}


def test_every_source_may_be_shared(demo):
    card, known = read_card(demo / "depmap"), read_knowledge_card(demo / "relationships")
    sources = (*known.relationships, *known.gene_sets)
    for licence in (card.license, *(source.license for source in sources)):
        assert re.fullmatch(r"CC0 1\.0|CC BY 4\.0", licence)
        assert "NC" not in licence
    assert all(source.citation for source in sources)
    assert card.citation


def test_nothing_that_may_not_be_shipped(demo):
    names = [path.name.casefold() for path in demo.rglob("*") if path.is_file()]
    assert not [name for name in names if "corum" in name or "signor" in name]


def test_size(demo):
    assert sum(path.stat().st_size for path in demo.rglob("*") if path.is_file()) < 16e6


@pytest.mark.parametrize("folder", ["depmap", "relationships", "perturbseq"])
def test_the_script_that_rebuilds_it_stands_beside(demo, folder):
    assert (demo / folder / "make.py").is_file()


@pytest.mark.parametrize(("context", "n_lines"), CONTEXTS.items())
def test_rows(screens, context, n_lines):
    screen = screens[context]
    genes = screen.perturbation_labels()
    assert screen.rows.height == N_GENES
    assert genes == sorted(set(genes))
    assert genes == screens["skin"].perturbation_labels()
    assert screen.is_control().sum() == 1679
    assert screen.representation("raw").n_features == n_lines
    assert screen.context.sentence != "conditions not stated"


def test_contexts_share_no_cell_line(demo):
    skin, soft = (pl.read_parquet_schema(demo / "depmap" / f"{context}.parquet") for context in CONTEXTS)
    assert set(skin) & set(soft) == {"gene", "nonessential"}


@pytest.mark.parametrize(("context", "representation"), EVERY)
def test_matrices(demo, screens, context, representation):
    found = screens[context].representation(representation)
    values = found.source.read(0, found.n_rows)
    assert values.shape == (N_GENES, REPRESENTATIONS[representation][1] or CONTEXTS[context])
    assert np.isfinite(values).all()
    assert (values.std(axis=0) > 0).all()
    # The same genes in the same order: no row is looked up by name.
    name = context if representation == "raw" else f"{representation}_{context}"
    table = pl.read_parquet(demo / "depmap" / f"{name}.parquet")
    assert table["gene"].to_list() == screens["skin"].perturbation_labels()
    assert found.source.fingerprint() == digest_file(demo / "depmap" / f"{name}.parquet")


@pytest.mark.parametrize("context", CONTEXTS)
def test_derived_matrices_are_what_they_say(screens, context):
    def values(name):
        return screens[context].representation(name).source.read(0, N_GENES).astype(np.float64)

    raw = values("raw")
    centered = raw - raw.mean(axis=1, keepdims=True) - raw.mean(axis=0) + raw.mean()
    # Derived files are rounded to float16 precision.
    np.testing.assert_allclose(values("double-centered"), centered, atol=2e-3)
    singular = np.linalg.svd(centered - centered.mean(axis=0), compute_uv=False)[:32]
    spread = np.linalg.norm(values("pca-32") - values("pca-32").mean(axis=0), axis=0)
    np.testing.assert_allclose(spread, singular, rtol=2e-3)
    norm = np.stack([np.linalg.norm(raw, axis=1), raw.mean(axis=1)], axis=1)
    np.testing.assert_allclose(values("effect-norm"), norm, rtol=2e-3, atol=2e-3)


def test_defaults_and_examples_exist(dataset, maps):
    card = dataset.card
    assert len(card.examples) == 3
    assert card.defaults["context"] in CONTEXTS
    for query, context in [
        (card.defaults["query"], card.defaults["context"]),
        *((example.query, example.context) for example in card.examples),
    ]:
        assert query in maps(context, "raw").names
    assert all(example.text for example in card.examples)


def test_knowledge(dataset, screens):
    knowledge = knowledge_beside(dataset)
    genes = set(screens["skin"].perturbation_labels())
    assert {source.name: source.n_pairs for source in knowledge.relationships} == {
        "Reactome": 6272, "HuMAP": 16448, "StringDB": 23762,
    }  # fmt: skip
    for source in knowledge.relationships:
        assert source.partners.keys() <= genes
    (gene_sets,) = knowledge.gene_sets
    assert all(3 <= len(members) <= 206 and genes.issuperset(members) for members in gene_sets.sets.values())
    assert knowledge.licences.keys() == {"Reactome", "HuMAP", "StringDB", "GO biological process"}


@pytest.mark.parametrize(("representation", "expected"), [("raw", 0.096), ("double-centered", 0.037)])
def test_neighbours_shared_by_the_two_contexts(maps, representation, expected):
    # As measured once on the published data (field/README.md); chance is .003.
    distribution = overlap_distribution(maps("skin", representation), maps("soft_tissue", representation), k=10)
    assert distribution.mean == pytest.approx(expected, abs=0.003)
    assert distribution.chance == pytest.approx(0.0029, abs=1e-4)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("context", CONTEXTS)
def test_seeds_agree_in_part(dataset, maps, context, seed):
    name = f"autoencoder-seed-{seed}"
    distribution = overlap_distribution(maps(context, "autoencoder"), maps(context, name), k=10)
    assert 0.2 < distribution.mean < 1
    assert dataset.card.representations[name].seed_of == "autoencoder"


@pytest.mark.parametrize(("context", "representation"), EVERY)
def test_layouts(dataset, maps, context, representation):
    assert dataset.card.layouts is not None
    made = maps(context, representation)
    layout = load_layout(dataset, made)
    assert layout is not None, MISSING
    assert layout.coordinates.shape == (N_GENES, 2)
    assert np.isfinite(layout.coordinates).all()
    assert 0.5 < layout.trustworthiness <= 1


def test_trustworthiness_of_a_layout_is_its_own(dataset, maps):
    assert dataset.card.layouts is not None
    made = maps("skin", "double-centered")
    layout = load_layout(dataset, made)
    assert layout is not None, MISSING
    assert trustworthiness(made, layout.coordinates) == pytest.approx(layout.trustworthiness, abs=0.02)


@pytest.mark.parametrize("context", CONTEXTS)
def test_raw_is_what_was_published(field, screens, context):
    table = pl.read_parquet(field / "depmap" / f"{context}_cell_lines_corum_genes.parquet")
    published = table.drop("__index_level_0__").to_numpy().astype(np.float32)
    assert table["__index_level_0__"].to_list() == screens[context].perturbation_labels()
    raw = screens[context].representation("raw").source.read(0, N_GENES)
    measured = ~np.isnan(published)
    np.testing.assert_array_equal(raw[measured], published[measured])
    assert (~measured).sum() == {"skin": 2026, "soft_tissue": 1263}[context]
    # What was not measured is the gene's mean over the measured lines.
    expected = np.broadcast_to(np.nanmean(published.astype(np.float64), axis=1, keepdims=True), published.shape)
    np.testing.assert_allclose(raw[~measured], expected[~measured], atol=1e-6)


def test_cautions_name_the_genes_that_are_mostly_filling(demo, dataset):
    named = dataset.card.cautions[0].perturbations
    assert len(named) == 29
    for context in CONTEXTS:
        values = pl.read_parquet(demo / "depmap" / f"{context}.parquet")
        features = values.select(pl.col(pl.Float32)).to_numpy()
        # A filled entry equals the mean of the measured ones, so a mostly filled profile repeats one value.
        commonest = [np.unique(line, return_counts=True)[1].max() / len(line) for line in features]
        filled = {gene for gene, share in zip(values["gene"], commonest, strict=True) if share > 0.5}
        assert filled == named
