"""What a view says: every number with its null, no NaN read out, no share rounded to all or none."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import toys
from builders import map_of, module_profiles, random_map

from explorer.catalog import Catalog, open_catalog
from explorer.compare import Comparison, OverlapDistribution, compare_query, overlap_distribution
from explorer.relationships import GeneSets, compare_enrichment, enrichment
from explorer.side_by_side import Answer, Yardstick, answer_view, shared_gene_sets
from explorer.view import View
from explorer.wording import (
    about_rows,
    agreement_details,
    answer_sentences,
    context_sentence,
    difference_sentence,
    example_links,
    figure_heading,
    file_stem,
    gene_set_sentence,
    panel_titles,
    picture_caption,
    summary_sentence,
    yardstick_sentence,
)

VIEW = View(dataset="toy", context="alpha", query="GENE00", left="raw", right="latent", k=4)


CONDITIONS = (
    "alpha cells · perturbation type, technique, outcome and time not stated · 4 non-targeting guides (4 rows) · "
    "layout not declared"
)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Catalog:
    return open_catalog(toys.write_catalog(tmp_path_factory.mktemp("catalog")))


@pytest.fixture(scope="module")
def answer(catalog) -> Answer:
    return answer_view(catalog, VIEW)


def compared(n: int, *, k: int, opposite: bool = False) -> tuple[Comparison, OverlapDistribution]:
    """One query of a map of planted modules, compared with the same map."""
    profiles, _ = module_profiles(n_others=n - 30) if n > 30 else (np.random.default_rng(0).normal(size=(n, 5)), None)
    maps = map_of(profiles), map_of(profiles)
    return compare_query(*maps, "P0000", k=k, opposite=opposite), overlap_distribution(*maps, k=k, opposite=opposite)


def fixed_distribution(overlaps: list[float]) -> OverlapDistribution:
    return OverlapDistribution(np.arange(len(overlaps)), np.array(overlaps), 60, 10, None)


def test_summary_has_chance_beside_it():
    comparison, _ = compared(60, k=10)
    assert (
        summary_sentence(comparison) == "P0000: 10 of 10 neighbours are the same on both sides (by chance 1.7 of 10)."
    )


def test_summary_names_opposites():
    comparison, _ = compared(60, k=5, opposite=True)
    assert "5 of 5 opposites are the same on both sides (by chance 0.42 of 5)" in summary_sentence(comparison)


@pytest.mark.parametrize(
    ("overlaps", "share"),
    [
        ([0.0] * 60, "100 % agree"),
        ([1.0] * 60, "50 % agree"),
        ([0.0] * 999 + [1.0], "more than 99 % agree"),
        ([0.0] * 9_999 + [1.0], "more than 99 % agree"),
        ([0.0] * 98 + [1.0, 1.0], "99 % agree"),
        ([0.0] * 30 + [1.0] * 30, "75 % agree"),
    ],
)
def test_share_is_never_rounded_to_all(overlaps, share):
    comparison, _ = compared(60, k=10)
    assert f"; {share} less than P0000 (equal" in agreement_details(comparison, fixed_distribution(overlaps))


@pytest.mark.parametrize(
    ("overlaps", "share"),
    [
        ([1.0] * 60, "0 % agree"),
        ([1.0] * 999 + [0.0], "less than 1 % agree"),
        ([1.0] * 99 + [0.0], "1 % agree"),
    ],
)
def test_share_is_never_rounded_to_none(overlaps, share):
    maps = random_map(60, 8, seed=0), random_map(60, 8, seed=1)
    query = next(name for name in maps[0].names if 0 < compare_query(*maps, name, k=10).agreement.overlap < 1)
    comparison = compare_query(*maps, query, k=10)
    assert f"; {share} less than {query} (" in agreement_details(comparison, fixed_distribution(overlaps))


def test_share_of_nobody():
    comparison, _ = compared(60, k=10)
    sentence = agreement_details(comparison, fixed_distribution([]))
    assert "The mean over every perturbation is not defined; an unknown share agree less" in sentence


def test_details_give_every_number_with_its_null():
    comparison, distribution = compared(60, k=10)
    assert agreement_details(comparison, distribution) == (
        "Overlap of the 10 nearest: 1.00 (chance 0.1695; 1 is equal), κ 1.00, rank-biased overlap 1.00 "
        "(p 0.9; chance 0.1104; 0 disjoint, 1 equal), among 60 perturbations. The mean over every perturbation is "
        "1.00; 50 % agree less than P0000 (equal ones counted half)."
    )


def test_details_say_when_the_mean_is_of_a_sample():
    comparison, distribution = compared(60, k=10)
    sampled = OverlapDistribution(distribution.queries, distribution.overlaps, 60, 10, seed=0)
    assert "The mean over 60 random perturbations is 1.00" in agreement_details(comparison, sampled)


def test_kappa_that_is_not_defined_is_not_read_out_as_nan():
    comparison, distribution = compared(4, k=3)
    assert math.isnan(comparison.agreement.kappa)
    sentence = agreement_details(comparison, distribution)
    assert "nan" not in sentence.lower()
    assert "κ not defined" in sentence


def test_known_partners_with_chance(catalog, answer):
    agree, known = answer_sentences(catalog, VIEW, answer.comparison)
    assert agree.startswith("GENE00: ")
    # Two known partners among 29 others: a random four hold 4 × 2 / 29 of them.
    assert known == (
        "Known partners among them: 2 of 4 in raw, 2 of 4 in latent (by chance 0.28; 2 known in this map). "
        "Not known is not false."
    )


def test_query_without_known_partner(catalog):
    view = View(dataset="toy", context="alpha", query="GENE03", left="raw", right="latent", k=4)
    found = answer_view(catalog, view)
    _, known = answer_sentences(catalog, view, found.comparison)
    assert known == "No partner of GENE03 is known in Pairs."


def test_dataset_without_known_relationships(tmp_path):
    catalog = open_catalog(toys.write_catalog(tmp_path, {"relationships": None}))
    found = answer_view(catalog, VIEW)
    _, known = answer_sentences(catalog, VIEW, found.comparison)
    assert known == "No known relationships stand beside this dataset."
    said = gene_set_sentence(shared_gene_sets(catalog, VIEW, found.comparison), VIEW, catalog=catalog)
    assert said == "No gene sets stand beside this dataset, so what the neighbours have in common can't be said."


def test_context(catalog):
    assert context_sentence(catalog, VIEW) == f"Toy screen. Context alpha: {CONDITIONS}."


def test_a_figure_says_the_conditions(catalog, answer):
    first, second = figure_heading(VIEW, answer.pair, catalog=catalog).splitlines()
    assert first.startswith("GENE00, 4 most similar · toy, alpha · alignment none · recipes ")
    assert second == CONDITIONS


def test_panel_titles_carry_the_kind(catalog):
    assert panel_titles(catalog, VIEW) == ("raw · simple", "latent · learned")


def test_no_yardstick():
    comparison, _ = compared(60, k=10)
    assert yardstick_sentence([], comparison).startswith("No yardstick: ")


@pytest.mark.parametrize("overlap", [1.0, 0.3])
def test_agreement_at_or_above_a_yardstick_may_be_noise(overlap):
    comparison, _ = compared(60, k=10)
    sentence = yardstick_sentence([Yardstick("halves", overlap, 0.5)], comparison)
    assert sentence.startswith(f"What agrees anyway: halves: {overlap:.2f} for P0000, 0.50 on average. ")
    assert "where they differ may be noise." in sentence


def test_agreement_below_every_yardstick():
    maps = random_map(60, 8, seed=0), random_map(60, 8, seed=1)
    comparison = compare_query(*maps, "P0000", k=10)
    sentence = yardstick_sentence([Yardstick("seeds", 1.0, 0.9), Yardstick("halves", 0.95, 0.8)], comparison)
    assert "seeds: 1.00 for P0000, 0.90 on average; halves: 0.95 for P0000" in sentence
    assert "left and right agree less (" in sentence


def test_yardstick_without_a_number_is_not_read_out_as_nan():
    comparison, _ = compared(60, k=10)
    sentence = yardstick_sentence([Yardstick("halves", 0.5, float("nan"))], comparison)
    assert "nan" not in sentence.lower()


def test_gene_sets(catalog, answer):
    sentence = gene_set_sentence(shared_gene_sets(catalog, VIEW, answer.comparison), VIEW, catalog=catalog)
    assert "latent: module 0, 4 of 4 (q " in sentence
    assert "Benjamini-Hochberg over all sets with 3 to 500 members" in sentence


def test_gene_set_on_one_side_only(catalog):
    universe = [f"P{number:04d}" for number in range(60)]
    sets = [GeneSets("Sets", {"first five": tuple(universe[:5]), "others": tuple(universe[20:40])})]
    left, right = (enrichment(names, universe, sets) for names in (universe[:5], universe[40:45]))
    table = compare_enrichment(left, right)
    sentence = gene_set_sentence(table, VIEW, catalog=catalog)
    assert sentence.startswith("raw: first five, 5 of 5 (q ")
    assert "latent: none at q ≤ 0.05" in sentence


def test_no_gene_set(catalog):
    empty = pl.DataFrame(schema={"left q": pl.Float64})
    assert gene_set_sentence(empty, VIEW, catalog=catalog) == (
        "No gene set holds more of either neighbourhood than chance explains (q ≤ 0.05)."
    )


def test_caption_says_that_pictures_hold_no_neighbours(answer):
    caption = picture_caption(answer.pair)
    assert "(12 features left, 6 right), never in these pictures" in caption
    assert "PCA picture, trustworthiness 0." in caption


def test_one_feature_is_one_feature(answer):
    one = replace(answer.pair.left, profiles=answer.pair.left.profiles[:, :1])
    assert "(1 feature left, 6 right)" in picture_caption(replace(answer.pair, left=one))


def test_caption_of_a_map_too_small_for_trustworthiness(tmp_path):
    names = toys.NAMES[:5]
    catalog = open_catalog(toys.write_catalog(tmp_path, names=names, controls=False))
    found = answer_view(catalog, replace(VIEW, k=2))
    assert "nan" not in picture_caption(found.pair).lower()


def test_examples_are_links(tmp_path):
    examples = [{"query": "GENE01", "context": "beta", "text": "Look."}, {"query": "A&B=<i>"}]
    catalog = open_catalog(toys.write_catalog(tmp_path, {"examples": examples}))
    assert example_links(catalog, VIEW) == [
        ("GENE01 in beta", "?dataset=toy&context=beta&query=GENE01", "Look."),
        ("A&B=<i>", "?dataset=toy&query=A%26B%3D%3Ci%3E", ""),
    ]


def test_about(tmp_path):
    changes = {
        "description": "Two\nlines.",
        "provenance": "",
        "representations/latent": {
            "kind": "learned",
            "source": "latent_{context}.parquet",
            "description": "Six numbers.",
            "trained": "By hand.",
        },
    }
    catalog = open_catalog(toys.write_catalog(tmp_path, changes))
    found = answer_view(catalog, VIEW)
    rows = dict(about_rows(catalog, VIEW, found.pair))
    assert rows["Context"] == f"alpha: {CONDITIONS}"
    assert rows["Description"] == "Two lines."
    assert rows["Licence"] == "CC0"
    assert rows["Right representation"] == "latent (learned): Six numbers."
    assert rows["Right: how it was trained"] == "By hand."
    assert found.pair.right.fingerprint in rows["Right recipe"]
    assert rows["Known: Pairs"] == "CC0 · nobody"
    assert "Provenance" not in rows, "what was not said has no heading"


def test_difference_names_what_one_side_finds_with_its_rank_on_the_other():
    left = map_of(np.eye(6) + 0.1 * np.random.default_rng(0).normal(size=(6, 6)))
    right = map_of(np.eye(6) + 0.1 * np.random.default_rng(1).normal(size=(6, 6)))
    query = next(name for name in left.names if len(set(compare_query(left, right, name, k=2).sides.values())) == 3)
    comparison = compare_query(left, right, query, k=2)
    only = {side: name for name, side in comparison.sides.items()}
    ranks = {
        "only right": comparison.left_ranking.ranks_of([left.position(only["only right"])])[0],
        "only left": comparison.right_ranking.ranks_of([left.position(only["only left"])])[0],
    }
    assert difference_sentence(comparison, VIEW) == (
        f"Only in latent, with the rank on the other side: {only['only right']} ({ranks['only right']:.0f}). "
        f"Only in raw, with the rank on the other side: {only['only left']} ({ranks['only left']:.0f})."
    )


def test_no_difference_is_named_between_equal_maps():
    comparison, _ = compared(60, k=10)
    assert difference_sentence(comparison, VIEW) == ""


@pytest.mark.parametrize(
    ("query", "stem"),
    [
        ("TP53", "TP53-toy-skin-raw-latent"),
        ("../../etc/passwd", "etc-passwd-toy-skin-raw-latent"),
        ("<img src=x>", "img-src-x-toy-skin-raw-latent"),
        ("日本", "toy-skin-raw-latent"),
        ("A" * 300, f"{'A' * 32}-toy-skin-raw-latent"),
    ],
)
def test_file_names_say_what_they_show(query, stem):
    assert file_stem(replace(VIEW, query=query, context="skin")) == stem
