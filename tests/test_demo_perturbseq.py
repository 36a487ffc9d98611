"""The simulated demo: whole, small, licensed, what make.py says it is, and as readily opened as the first."""

import json
from itertools import combinations

import anndata
import numpy as np
import polars as pl
import pytest

from explorer.aggregate import build_map
from explorer.align import METHODS
from explorer.card import read_card, read_knowledge_card
from explorer.catalog import open_catalog
from explorer.compare import overlap_distribution
from explorer.halves import replicate_halves
from explorer.knowledge import knowledge_beside
from explorer.load import load_dataset, load_layout, load_screen
from explorer.relate import neighborhood
from explorer.side_by_side import (
    answer_view,
    distribution_of,
    elsewhere,
    marks_of,
    shared_gene_sets,
    yardsticks,
)
from explorer.simulate import CONTROL, ScreenDesign, simulate_screen
from explorer.view import read_view

DESIGN = ScreenDesign()
CONTEXTS = DESIGN.contexts
REPRESENTATIONS = {
    "pseudobulk": ("simple", 1000),
    "pca-20": ("simple", 20),
    "scvi": ("learned", 20),
    "scvi-seed-1": ("learned", 20),
    "scvi-seed-2": ("learned", 20),
    "scvi-no-batch": ("learned", 20),
    "random-projection": ("placebo", 20),
    "random-projection-counts": ("placebo", 20),
    "effect-norm": ("placebo", 2),
    "technical": ("placebo", 5),
    "scvi-shuffled": ("placebo", 20),
}
SEEDS = ("scvi", "scvi-seed-1", "scvi-seed-2")
EVERY = [(context, representation) for context in CONTEXTS for representation in REPRESENTATIONS]
MISSING = "no layout of this recipe: run demo_data/perturbseq/layouts.py"


@pytest.fixture(scope="module")
def folder(demo):
    return demo / "perturbseq"


@pytest.fixture(scope="module")
def dataset(folder):
    return load_dataset(folder)


@pytest.fixture(scope="module")
def screens(dataset):
    return {context: load_screen(dataset, context) for context in CONTEXTS}


@pytest.fixture(scope="module")
def simulated():
    return {context: simulate_screen(DESIGN, context=context) for context in CONTEXTS}


@pytest.fixture(scope="module")
def maps(screens):
    made = {}

    def build(context, representation, alignment="center"):
        key = (context, representation, alignment)
        if key not in made:
            made[key] = build_map(screens[context], representation, alignment=alignment)
        return made[key]

    return build


@pytest.fixture(scope="module")
def figures(folder):
    return json.loads((folder / "figures.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def new_seeds(folder):
    return json.loads((folder / "seeds.json").read_text(encoding="utf-8"))


def module_recall(made, truth) -> float:
    """Share of true pairs among the highest 5 % of cosines."""
    unit = made.profiles / made.norms[:, None]
    one, other = np.triu_indices(made.n_perturbations, 1)
    cosines = (unit @ unit.T)[one, other]
    true = {(made.position(a), made.position(b)) for a, b in truth.true_pairs}
    is_true = np.array([(i, j) in true for i, j in zip(one.tolist(), other.tolist(), strict=True)])
    return float((cosines[is_true] >= np.quantile(cosines, 0.95)).mean())


# What is shipped


def test_both_cards_read_and_say_simulated(demo, folder):
    card, known = read_card(folder), read_knowledge_card(demo / "perturbseq_truth")
    assert list(card.contexts) == list(CONTEXTS)
    assert {name: entry.kind for name, entry in card.representations.items()} == {
        name: kind for name, (kind, _) in REPRESENTATIONS.items()
    }
    assert "SIMULATED" in card.title
    assert "SIMULATED" in card.description
    assert "SIMULATED" in known.description
    assert all("simulated" in entry.context.sentence for entry in card.contexts.values())
    assert all("simulated" in entry.features for entry in card.contexts.values())
    assert [source.name for source in known.relationships] == ["Planted modules"]
    assert [source.name for source in known.gene_sets] == ["Planted truth"]


def test_licences(demo, folder):
    card, known = read_card(folder), read_knowledge_card(demo / "perturbseq_truth")
    assert card.license == known.relationships[0].license == known.gene_sets[0].license == "CC0 1.0"
    assert "simulate" in card.citation
    assert known.relationships[0].citation == card.citation


def test_size(demo):
    folders = (demo / "perturbseq", demo / "perturbseq_truth")
    sizes = [path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert sum(sizes) < 8e6


def test_nothing_beside_what_the_scripts_make(folder):
    names = {path.name for path in folder.iterdir() if path.name != "__pycache__"}
    scripts = {"make.py", "learned.py", "representations.py", "seeds.py", "card.py", "layouts.py"}
    made = {"card.toml", "figures.json", "seeds.json", "layouts.parquet", *(f"cells_{name}.h5ad" for name in CONTEXTS)}
    assert names == scripts | made


def test_learned_ones_say_what_they_saw(dataset):
    cards = dataset.card.representations.values()
    assert all(card.trained for card in cards if card.kind == "learned")
    assert {card.name: card.seed_of for card in cards if card.seed_of} == {"scvi-seed-1": "scvi", "scvi-seed-2": "scvi"}
    assert all(card.of for card in cards if card.kind == "placebo" and card.name != "technical")
    assert "scvi-tools" in dataset.card.representations["scvi"].trained


@pytest.mark.parametrize("context", CONTEXTS)
def test_cells_are_those_of_the_simulation(screens, simulated, context):
    screen, expected = screens[context], simulated[context]
    assert screen.rows.select("perturbation", "guide", "batch").equals(
        expected.cells.select("perturbation", "guide", "batch")
    )
    # What no experiment would know is not shipped with the cells.
    assert "escaped" not in screen.rows.columns
    assert screen.is_control().sum() == (expected.cells["perturbation"] == CONTROL).sum() > 100


@pytest.mark.parametrize("context", CONTEXTS)
def test_counts_are_those_of_the_simulation(folder, simulated, context):
    found = anndata.read_h5ad(folder / f"cells_{context}.h5ad")
    assert found.X.dtype == np.int32
    assert found.X.format == "csr"
    assert (simulated[context].counts != found.X).nnz == 0
    assert list(found.var_names) == list(simulated[context].genes)
    assert [str(found.obs[name].dtype) for name in ("perturbation", "guide", "batch")] == ["category"] * 3
    assert {str(values.dtype) for values in found.obsm.values()} == {"float16"}


@pytest.mark.parametrize(("context", "representation"), EVERY)
def test_every_representation_opens_in_every_context(screens, maps, context, representation):
    found = screens[context].representation(representation)
    assert found.kind == REPRESENTATIONS[representation][0]
    assert found.n_features == REPRESENTATIONS[representation][1]
    values = found.source.read(0, found.n_rows)
    assert values.shape == (screens[context].rows.height, found.n_features)
    assert np.isfinite(values).all()
    made = maps(context, representation)
    assert made.names == DESIGN.names
    assert (made.norms > 0).all()
    assert set(made.table["n_guides"]) == {2}
    assert set(made.table["n_batches"]) == {3}


@pytest.mark.parametrize("context", CONTEXTS)
def test_derived_representations_are_what_they_say(screens, simulated, context):
    def values(name):
        found = screens[context].representation(name)
        return found.source.read(0, found.n_rows).astype(np.float64)

    counts = simulated[context].counts.toarray().astype(np.float64)
    expected = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 10_000)
    np.testing.assert_allclose(values("pseudobulk"), expected, rtol=1e-5, atol=1e-5)
    centred = expected - expected.mean(axis=0)
    spread = np.sqrt(np.linalg.eigvalsh(centred.T @ centred)[::-1][:20])
    # Rounded to 8 significant bits.
    np.testing.assert_allclose(np.linalg.norm(values("pca-20"), axis=0), spread, rtol=5e-3)
    technical = values("technical")
    np.testing.assert_allclose(technical[:, 3], np.log(counts.sum(axis=1)), rtol=5e-3)
    np.testing.assert_allclose(technical[:, 4], np.log((counts > 0).sum(axis=1)), rtol=5e-3)
    assert (technical[:, :3].sum(axis=1) == 1).all()
    scvi, shuffled = values("scvi"), values("scvi-shuffled")
    assert (scvi != shuffled).any(axis=1).mean() > 0.99
    batch = screens[context].rows["batch"].to_numpy()
    for name in np.unique(batch):
        one, other = scvi[batch == name], shuffled[batch == name]
        np.testing.assert_array_equal(one[np.lexsort(one.T)], other[np.lexsort(other.T)])


# The truth that is shipped


def test_truth_is_that_of_the_simulation(dataset, simulated):
    knowledge = knowledge_beside(dataset)
    (pairs,), (sets,) = knowledge.relationships, knowledge.gene_sets
    every = {tuple(sorted((a, b))) for a, partners in pairs.partners.items() for b in partners}
    # A module that acts in one line alone is known everywhere.
    assert every == {pair for found in simulated.values() for pair in found.true_pairs}
    assert pairs.n_pairs == DESIGN.modules * 6
    assert "Planted modules" in knowledge.licences
    truth = simulated["line_A"].truth
    assert set(sets.sets["stress axis"]) == set(truth.filter(pl.col("stress") > 0)["perturbation"])
    assert len(sets.sets["stress axis and nothing else"]) == DESIGN.stress_only
    assert len(sets.sets["no effect"]) == DESIGN.inactive
    assert set(sets.sets["no effect"]) <= set(simulated["line_A"].inactive)
    (local,) = (name for name in sets.sets if "only)" in name)
    assert local == "module 24 (acts in line B only)"
    assert sum(name.startswith("module") for name in sets.sets) == DESIGN.modules
    assert sum(name.startswith("super-module") for name in sets.sets) == DESIGN.super_modules
    assert all(set(members) <= set(DESIGN.names) for members in sets.sets.values())


# What it shows


def test_scvi_beats_pca_and_every_placebo(maps, simulated):
    found = {
        name: np.mean([module_recall(maps(context, name), simulated[context]) for context in CONTEXTS])
        for name in REPRESENTATIONS
    }
    assert found["scvi"] > found["pca-20"] + 0.05
    placebos = [name for name, (kind, _) in REPRESENTATIONS.items() if kind == "placebo"]
    assert max(found[name] for name in placebos) < 0.45 < found["scvi"]
    assert found["pseudobulk"] > 0.5
    # Wrong labels and technique alone are at chance, which is .05.
    assert found["scvi-shuffled"] < 0.12
    assert found["technical"] < 0.12


@pytest.mark.parametrize("context", CONTEXTS)
def test_figures_are_those_of_the_files(maps, simulated, figures, context):
    for name in REPRESENTATIONS:
        expected = figures[context]["scores"][name]["recall"]
        assert module_recall(maps(context, name), simulated[context]) == pytest.approx(expected, abs=0.03)


def test_figures_of_new_simulations_tell_the_same_story(new_seeds):
    assert len(new_seeds) >= 3

    def mean(name, figure):
        return np.mean([lines[name][figure] for contexts in new_seeds.values() for lines in contexts.values()])

    assert mean("scvi", "recall") > mean("pca-20", "recall")
    assert mean("scvi-shuffled", "recall") < 0.12
    assert mean("random-projection", "recall") < mean("pca-20", "recall")


@pytest.mark.parametrize("context", CONTEXTS)
def test_seeds_agree_in_part(maps, figures, context):
    for one, other in combinations(SEEDS, 2):
        found = overlap_distribution(maps(context, one), maps(context, other), k=10)
        assert 2 * found.chance < found.mean < 0.95
        assert found.mean == pytest.approx(figures[context]["seed_overlap"][f"{one} and {other}"], abs=0.02)


def test_batches_matter_until_they_are_centred(maps, simulated):
    aligned, raw = (
        np.mean([module_recall(maps(context, "pseudobulk", way), simulated[context]) for context in CONTEXTS])
        for way in ("center", "none")
    )
    assert aligned > raw + 0.1


def test_the_local_module_is_seen_in_its_line_only(maps, simulated):
    truth = simulated["line_A"].truth
    members = truth.filter(pl.col("only_in") == "line_B")["perturbation"].to_list()

    def mean_cosine(context):
        made = maps(context, "pseudobulk")
        unit = made.profiles / made.norms[:, None]
        rows = [made.position(name) for name in members]
        return np.mean([unit[i] @ unit[j] for i, j in combinations(rows, 2)])

    assert mean_cosine("line_B") > max(mean_cosine("line_A"), mean_cosine("line_C")) + 0.1


# The app's front door


def test_the_catalog_offers_it(demo):
    catalog = open_catalog(demo)
    assert {"depmap", "perturbseq"} <= set(catalog.names)
    assert "perturbseq_truth" not in catalog.names
    assert catalog.problems == {}


@pytest.mark.slow
def test_the_first_view_is_answered(demo):
    catalog = open_catalog(demo)
    view, problems = read_view({"dataset": "perturbseq"}, catalog)
    assert problems == ()
    assert (view.context, view.left, view.right, view.align) == ("line_A", "pseudobulk", "scvi", "center")
    answer = answer_view(catalog, view)
    assert answer.notice == ""
    assert [layout.method for layout in answer.pair.layouts] == ["UMAP", "UMAP"]
    assert 0 < distribution_of(answer.view, answer.pair).mean < 1
    found = elsewhere(catalog, answer.view, answer.comparison)
    assert set(found) == {"line_B", "line_C"}
    assert any("holds" in said for said in found["line_B"].values())
    marks = marks_of(catalog, answer.view, answer.pair, comparison=answer.comparison, highlighted=())
    assert len(marks["rings"]) == DESIGN.members - 1
    assert "Planted truth" in shared_gene_sets(catalog, answer.view, answer.comparison)["source"].to_list()
    found = [yardstick.what for yardstick in yardsticks(catalog, answer.view, answer.pair)]
    assert "two replicate halves of pseudobulk" in found
    assert "scvi and scvi-seed-1 (another seed)" in found


def test_guides_can_be_halved(screens):
    one, other = replicate_halves(screens["line_A"], "pseudobulk", alignment="center")
    assert one.names == other.names == DESIGN.names


def test_examples_and_defaults_exist(dataset):
    card = dataset.card
    assert len(card.examples) >= 4
    assert {example.context for example in card.examples} <= set(CONTEXTS)
    assert all(example.query in DESIGN.names and example.text for example in card.examples)
    assert card.defaults["query"] in DESIGN.names


# Of ten neighbours: partners of the module, and those with nothing but the stress axis in common.
STORIES = {
    ("P119", "line_A"): {"pca-20": (1, 0), **dict.fromkeys(("pseudobulk", *SEEDS), (3, 0))},
    ("P028", "line_A"): dict.fromkeys(("pseudobulk", "pca-20", *SEEDS), (3, 0)),
    ("P028", "line_B"): dict.fromkeys(("pseudobulk", "pca-20", *SEEDS), (3, 0)),
    ("P028", "line_C"): dict.fromkeys(("pseudobulk", "pca-20", *SEEDS), (3, 0)),
    ("P099", "line_A"): {"pseudobulk": (0, 7), "scvi": (0, 6)},
    ("P048", "line_A"): {"pseudobulk": (3, 0), "scvi": (1, 0), "scvi-seed-1": (0, 0), "scvi-seed-2": (2, 0)},
    ("P090", "line_A"): {"pseudobulk": (0, 10), "scvi": (0, 10)},
    ("P090", "line_B"): {"pseudobulk": (3, 5), "scvi": (3, 2)},
    ("P090", "line_C"): {"pseudobulk": (0, 9), "scvi": (0, 10)},
}


@pytest.mark.parametrize(("query", "context"), STORIES)
def test_examples_tell_what_is_there(dataset, maps, simulated, query, context):
    assert query in {example.query for example in dataset.card.examples}

    def partners(pairs):
        return {name for pair in pairs for name in pair if query in pair} - {query}

    true, stress = partners(simulated[context].true_pairs), partners(simulated[context].stress_pairs)
    for representation, expected in STORIES[query, context].items():
        found = set(neighborhood(maps(context, representation), query, k=10).names)
        assert (len(found & true), len(found & stress)) == expected, representation


def test_the_idle_and_the_local_example_are_what_they_say(dataset, simulated):
    (idle,) = (example for example in dataset.card.examples if "do nothing" in example.text)
    assert all(idle.query in found.inactive for found in simulated.values())
    (local,) = (example for example in dataset.card.examples if "line B only" in example.text)
    assert local.context == "line_B"
    truth = simulated["line_B"].truth.filter(pl.col("perturbation") == local.query)
    assert truth["only_in"].item() == "line_B"
    assert truth["stress"].item() > 0


@pytest.mark.parametrize(("representation", "own", "median"), [("pseudobulk", 0.16, 0.21), ("scvi", 0.39, 0.59)])
def test_the_idle_example_has_neighbours_all_the_same(maps, representation, own, median):
    made = maps("line_A", representation)
    means = {name: float(neighborhood(made, name, k=10).similarities.mean()) for name in made.names}
    assert means["P008"] == pytest.approx(own, abs=0.01)
    assert np.median(list(means.values())) == pytest.approx(median, abs=0.01)


@pytest.mark.parametrize(("context", "representation"), EVERY)
def test_layouts(dataset, maps, context, representation):
    for alignment in ("center", "none"):
        layout = load_layout(dataset, maps(context, representation, alignment))
        assert layout is not None, MISSING
        assert layout.coordinates.shape == (DESIGN.perturbations, 2)
        assert np.isfinite(layout.coordinates).all()
        assert 0.5 < layout.trustworthiness <= 1


def test_layouts_of_every_alignment(folder):
    lines = pl.read_parquet(folder / "layouts.parquet")
    assert lines["recipe"].n_unique() == len(EVERY) * len(METHODS)
