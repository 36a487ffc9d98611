"""What a learned representation of a perturbation screen shows that a simple one does not.

The public names, in the order of the pipeline: screen, card, load, embed, moments, align, aggregate, relate,
compare, judge, what to test next, and what is known. Charts, panels, the catalog and the command line are imported by
name.
"""

from explorer.activity import Activity, PerturbationActivity, PositionConfound, measure_activity
from explorer.aggregate import PerturbationMap, Recipe, build_map, map_from_moments
from explorer.align import METHODS as ALIGNMENTS
from explorer.align import Alignment, fit_alignment
from explorer.axis import Strata, axis_strata, centered, layout_units, shared_axis
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
from explorer.contexts import AbsentSet, ContextReport, ContextSide, compare_contexts
from explorer.crossfit import CrossPrediction, cross_predict
from explorer.decoys import TechnicalFdr, edge_fdr, technical_fdr
from explorer.edges import EdgeTests, edge_tests, mutual_ranks, partial_conjunction
from explorer.embed import double_center, effect_norm, principal_components, random_projection
from explorer.energy import EnergyTest, energy_distance, energy_distances, energy_test, perturbation_energy
from explorer.errors import InputError
from explorer.evidence import Resampled, edge_support, resampled_support
from explorer.exchange import ExchangeRate, exchange_rate, screen_exchange_rate
from explorer.expression import (
    LogNormalizedSource,
    PrincipalComponents,
    PrincipalComponentsSource,
    ProjectedSource,
    streamed_principal_components,
)
from explorer.folds import Folds, block_sets, group_folds
from explorer.frozen import FrozenList, freeze
from explorer.frozen_files import read_frozen, write_frozen
from explorer.halves import replicate_halves
from explorer.head_to_head import Census, HeadToHead, judge_census, take_census
from explorer.hits import TopPairs, top_pairs
from explorer.knowledge import load_knowledge, read_source
from explorer.known import KnownPairs, Units, known_pairs, pool_units
from explorer.layout import Layout, pca_layout, rotate_onto, umap_layout
from explorer.load import Dataset, load_dataset, load_screen
from explorer.moments import ScreenMoments, collect_moments, merge_moments
from explorer.outcomes import Outcomes, Score, read_results, rehearse, score_results
from explorer.overlap import AdjustedOverlap, adjusted_overlap, compare_overlaps, overlap_test
from explorer.pair_scores import PairScores, score_pairs
from explorer.pairs import pairs_of_names, predict_pairs
from explorer.partners import chance_recall, partner_recall
from explorer.passport import Passport, PassportComparison, compare_passports, confounding, passport_of
from explorer.pictures import write_layouts
from explorer.placebos import make_placebos
from explorer.planted import PlantedDesign, PlantedMaps, simulate_maps
from explorer.planted_contexts import ContextDesign, PlantedContexts, simulate_contexts
from explorer.planted_predictions import simulate_prediction
from explorer.power import DesignPower, judge_power, plan_screen
from explorer.predict import Prediction, PredictionTest, predict_unseen
from explorer.prediction_scores import (
    discrimination,
    mean_absolute_error,
    noise_ceiling_of_halves,
    residual_correlation,
    skill,
)
from explorer.predictors import nearest_neighbors, ridge
from explorer.proximity import ProximityBias, proximity_bias, subtract_arm_mean
from explorer.recall import Recall, matched_control, relationship_recall
from explorer.relate import Neighborhood, Neighborhoods, Ranking, neighborhood, neighborhoods, rank_all
from explorer.relationships import GeneSets, Knowledge, Relationships, compare_enrichment, enrichment
from explorer.reliability import Reliability, calibrate_similarity
from explorer.repeatability import Repeatability, measure_repeatability
from explorer.retrieval import Retrieval, chance_precision, replicate_precision
from explorer.screen import Context, Representation, Roles, Screen
from explorer.sealed import SealedKey, read_key
from explorer.shortlist import Expectation, ListSide, PairFilter, Shortlist, expected_hits_of_rate, make_shortlist
from explorer.significance import SignFlip, sign_flip
from explorer.simulate import ScreenDesign, SimulatedScreen, simulate_screen
from explorer.spelling import SharedNames, shared_names
from explorer.tails import NullThresholds, null_thresholds
from explorer.targets import Target, target_of
from explorer.text import plain_text
from explorer.track_record import TrackRecord, read_track_record
from explorer.verdict import Judgement, judge, units_needed

__version__ = "0.1.0"

__all__ = [
    "ALIGNMENTS",
    "AbsentSet",
    "Activity",
    "AdjustedOverlap",
    "Agreement",
    "Alignment",
    "Card",
    "Census",
    "Comparison",
    "Context",
    "ContextDesign",
    "ContextReport",
    "ContextSide",
    "CrossPrediction",
    "Dataset",
    "DesignPower",
    "EdgeTests",
    "EnergyTest",
    "ExchangeRate",
    "Expectation",
    "Folds",
    "FrozenList",
    "GeneSets",
    "HeadToHead",
    "InputError",
    "Judgement",
    "Knowledge",
    "KnownPairs",
    "Layout",
    "ListSide",
    "LogNormalizedSource",
    "Neighborhood",
    "Neighborhoods",
    "NoiseCeiling",
    "NullThresholds",
    "Outcomes",
    "OverlapDistribution",
    "PairFilter",
    "PairScores",
    "Passport",
    "PassportComparison",
    "PerturbationActivity",
    "PerturbationMap",
    "PlantedContexts",
    "PlantedDesign",
    "PlantedMaps",
    "PositionConfound",
    "Prediction",
    "PredictionTest",
    "PrincipalComponents",
    "PrincipalComponentsSource",
    "ProjectedSource",
    "ProximityBias",
    "Ranking",
    "Recall",
    "Recipe",
    "Relationships",
    "Reliability",
    "Repeatability",
    "Representation",
    "Resampled",
    "Retrieval",
    "Roles",
    "Score",
    "Screen",
    "ScreenDesign",
    "ScreenMoments",
    "SealedKey",
    "SharedNames",
    "Shortlist",
    "SignFlip",
    "SimulatedScreen",
    "Strata",
    "Target",
    "TechnicalFdr",
    "TopPairs",
    "TrackRecord",
    "Units",
    "adjusted_overlap",
    "axis_strata",
    "block_sets",
    "build_map",
    "calibrate_similarity",
    "centered",
    "chance_precision",
    "chance_recall",
    "collect_moments",
    "common_maps",
    "compare_contexts",
    "compare_enrichment",
    "compare_overlaps",
    "compare_passports",
    "compare_query",
    "confounding",
    "cross_predict",
    "discrimination",
    "double_center",
    "edge_fdr",
    "edge_support",
    "edge_tests",
    "effect_norm",
    "energy_distance",
    "energy_distances",
    "energy_test",
    "enrichment",
    "exchange_rate",
    "expected_hits_of_rate",
    "fit_alignment",
    "freeze",
    "graph_overlap",
    "group_folds",
    "judge",
    "judge_census",
    "judge_power",
    "known_pairs",
    "layout_units",
    "load_dataset",
    "load_knowledge",
    "load_screen",
    "make_placebos",
    "make_shortlist",
    "map_from_moments",
    "matched_control",
    "mean_absolute_error",
    "measure_activity",
    "measure_repeatability",
    "merge_moments",
    "merged_table",
    "mutual_ranks",
    "nearest_neighbors",
    "neighborhood",
    "neighborhoods",
    "noise_ceiling",
    "noise_ceiling_of_halves",
    "null_thresholds",
    "overlap_distribution",
    "overlap_test",
    "pairs_of_names",
    "partial_conjunction",
    "partner_recall",
    "passport_of",
    "pca_layout",
    "perturbation_energy",
    "plain_text",
    "plan_screen",
    "pool_units",
    "predict_pairs",
    "predict_unseen",
    "principal_components",
    "proximity_bias",
    "random_projection",
    "rank_all",
    "rank_biased_overlap",
    "read_card",
    "read_frozen",
    "read_key",
    "read_results",
    "read_source",
    "read_track_record",
    "rehearse",
    "relationship_recall",
    "replicate_halves",
    "replicate_precision",
    "replicate_scores",
    "resampled_support",
    "residual_correlation",
    "ridge",
    "rotate_onto",
    "score_pairs",
    "score_results",
    "screen_exchange_rate",
    "shared_axis",
    "shared_names",
    "sign_flip",
    "simulate_contexts",
    "simulate_maps",
    "simulate_prediction",
    "simulate_screen",
    "skill",
    "strata",
    "streamed_principal_components",
    "subtract_arm_mean",
    "take_census",
    "target_of",
    "technical_fdr",
    "top_pairs",
    "umap_layout",
    "units_needed",
    "write_frozen",
    "write_layouts",
]
