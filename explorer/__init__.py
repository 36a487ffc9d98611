"""What a learned representation of a perturbation screen shows that a simple one does not.

The public names, in the order of the pipeline: screen, card, load, embed, moments, align, aggregate, relate,
compare, judge, and what is known. Charts, panels, the catalog and the command line are imported by name.
"""

from explorer.activity import Activity, PerturbationActivity, PositionConfound, measure_activity
from explorer.aggregate import PerturbationMap, Recipe, build_map, map_from_moments
from explorer.align import METHODS as ALIGNMENTS
from explorer.align import Alignment, fit_alignment
from explorer.benchmark import NoiseCeiling, noise_ceiling, replicate_scores, strata
from explorer.card import Card, read_card
from explorer.compare import (
    Agreement,
    Comparison,
    OverlapDistribution,
    common_maps,
    compare_query,
    graph_overlap,
    merged_table,
    overlap_distribution,
    rank_biased_overlap,
)
from explorer.decoys import TechnicalFdr, edge_fdr, technical_fdr
from explorer.embed import double_center, effect_norm, principal_components, random_projection
from explorer.energy import EnergyTest, energy_distance, energy_distances, energy_test, perturbation_energy
from explorer.errors import InputError
from explorer.exchange import ExchangeRate, exchange_rate, screen_exchange_rate
from explorer.expression import (
    LogNormalizedSource,
    PrincipalComponents,
    PrincipalComponentsSource,
    ProjectedSource,
    streamed_principal_components,
)
from explorer.halves import replicate_halves
from explorer.hits import TopPairs, top_pairs
from explorer.knowledge import load_knowledge, read_source
from explorer.known import KnownPairs, Units, known_pairs, pool_units
from explorer.layout import Layout, pca_layout, rotate_onto, umap_layout
from explorer.load import Dataset, load_dataset, load_screen
from explorer.moments import ScreenMoments, collect_moments, merge_moments
from explorer.partners import chance_recall, partner_recall
from explorer.pictures import write_layouts
from explorer.placebos import make_placebos
from explorer.planted import PlantedDesign, PlantedMaps, simulate_maps
from explorer.power import DesignPower, judge_power, plan_screen
from explorer.proximity import ProximityBias, proximity_bias, subtract_arm_mean
from explorer.recall import Recall, matched_control, relationship_recall
from explorer.relate import Neighborhood, Neighborhoods, Ranking, neighborhood, neighborhoods, rank_all
from explorer.relationships import GeneSets, Knowledge, Relationships, compare_enrichment, enrichment
from explorer.reliability import Reliability, calibrate_similarity
from explorer.retrieval import Retrieval, chance_precision, replicate_precision
from explorer.screen import Context, Representation, Roles, Screen
from explorer.significance import SignFlip, sign_flip
from explorer.simulate import ScreenDesign, SimulatedScreen, simulate_screen
from explorer.tails import NullThresholds, null_thresholds
from explorer.text import plain_text
from explorer.verdict import Judgement, judge, units_needed

__version__ = "0.1.0"

__all__ = [
    "ALIGNMENTS",
    "Activity",
    "Agreement",
    "Alignment",
    "Card",
    "Comparison",
    "Context",
    "Dataset",
    "DesignPower",
    "EnergyTest",
    "ExchangeRate",
    "GeneSets",
    "InputError",
    "Judgement",
    "Knowledge",
    "KnownPairs",
    "Layout",
    "LogNormalizedSource",
    "Neighborhood",
    "Neighborhoods",
    "NoiseCeiling",
    "NullThresholds",
    "OverlapDistribution",
    "PerturbationActivity",
    "PerturbationMap",
    "PlantedDesign",
    "PlantedMaps",
    "PositionConfound",
    "PrincipalComponents",
    "PrincipalComponentsSource",
    "ProjectedSource",
    "ProximityBias",
    "Ranking",
    "Recall",
    "Recipe",
    "Relationships",
    "Reliability",
    "Representation",
    "Retrieval",
    "Roles",
    "Screen",
    "ScreenDesign",
    "ScreenMoments",
    "SignFlip",
    "SimulatedScreen",
    "TechnicalFdr",
    "TopPairs",
    "Units",
    "build_map",
    "calibrate_similarity",
    "chance_precision",
    "chance_recall",
    "collect_moments",
    "common_maps",
    "compare_enrichment",
    "compare_query",
    "double_center",
    "edge_fdr",
    "effect_norm",
    "energy_distance",
    "energy_distances",
    "energy_test",
    "enrichment",
    "exchange_rate",
    "fit_alignment",
    "graph_overlap",
    "judge",
    "judge_power",
    "known_pairs",
    "load_dataset",
    "load_knowledge",
    "load_screen",
    "make_placebos",
    "map_from_moments",
    "matched_control",
    "measure_activity",
    "merge_moments",
    "merged_table",
    "neighborhood",
    "neighborhoods",
    "noise_ceiling",
    "null_thresholds",
    "overlap_distribution",
    "partner_recall",
    "pca_layout",
    "perturbation_energy",
    "plain_text",
    "plan_screen",
    "pool_units",
    "principal_components",
    "proximity_bias",
    "random_projection",
    "rank_all",
    "rank_biased_overlap",
    "read_card",
    "read_source",
    "relationship_recall",
    "replicate_halves",
    "replicate_precision",
    "replicate_scores",
    "rotate_onto",
    "screen_exchange_rate",
    "sign_flip",
    "simulate_maps",
    "simulate_screen",
    "strata",
    "streamed_principal_components",
    "subtract_arm_mean",
    "technical_fdr",
    "top_pairs",
    "umap_layout",
    "units_needed",
    "write_layouts",
]
