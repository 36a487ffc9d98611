"""What a learned representation of a perturbation screen shows that a simple one does not.

The public names, in the order of the pipeline: screen, card, load, embed, moments, align, aggregate, relate,
compare, and what is known. Charts, panels, the catalog and the command line are imported by name.
"""

from explorer.activity import Activity, PerturbationActivity, PositionConfound, measure_activity
from explorer.aggregate import PerturbationMap, Recipe, build_map, map_from_moments
from explorer.align import METHODS as ALIGNMENTS
from explorer.align import Alignment, fit_alignment
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
from explorer.embed import double_center, effect_norm, principal_components, random_projection
from explorer.energy import EnergyTest, energy_distance, energy_distances, energy_test, perturbation_energy
from explorer.errors import InputError
from explorer.expression import (
    LogNormalizedSource,
    PrincipalComponents,
    PrincipalComponentsSource,
    ProjectedSource,
    streamed_principal_components,
)
from explorer.halves import replicate_halves
from explorer.knowledge import load_knowledge
from explorer.layout import Layout, pca_layout, rotate_onto, umap_layout
from explorer.load import Dataset, load_dataset, load_screen
from explorer.moments import ScreenMoments, collect_moments, merge_moments
from explorer.pictures import write_layouts
from explorer.relate import Neighborhood, Neighborhoods, Ranking, neighborhood, neighborhoods, rank_all
from explorer.relationships import GeneSets, Knowledge, Relationships, compare_enrichment, enrichment
from explorer.retrieval import Retrieval, chance_precision, replicate_precision
from explorer.screen import Context, Representation, Roles, Screen
from explorer.simulate import ScreenDesign, SimulatedScreen, simulate_screen
from explorer.text import plain_text

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
    "EnergyTest",
    "GeneSets",
    "InputError",
    "Knowledge",
    "Layout",
    "LogNormalizedSource",
    "Neighborhood",
    "Neighborhoods",
    "OverlapDistribution",
    "PerturbationActivity",
    "PerturbationMap",
    "PositionConfound",
    "PrincipalComponents",
    "PrincipalComponentsSource",
    "ProjectedSource",
    "Ranking",
    "Recipe",
    "Relationships",
    "Representation",
    "Retrieval",
    "Roles",
    "Screen",
    "ScreenDesign",
    "ScreenMoments",
    "SimulatedScreen",
    "build_map",
    "chance_precision",
    "collect_moments",
    "common_maps",
    "compare_enrichment",
    "compare_query",
    "double_center",
    "effect_norm",
    "energy_distance",
    "energy_distances",
    "energy_test",
    "enrichment",
    "fit_alignment",
    "graph_overlap",
    "load_dataset",
    "load_knowledge",
    "load_screen",
    "map_from_moments",
    "measure_activity",
    "merge_moments",
    "merged_table",
    "neighborhood",
    "neighborhoods",
    "overlap_distribution",
    "pca_layout",
    "perturbation_energy",
    "plain_text",
    "principal_components",
    "random_projection",
    "rank_all",
    "rank_biased_overlap",
    "read_card",
    "replicate_halves",
    "replicate_precision",
    "rotate_onto",
    "simulate_screen",
    "streamed_principal_components",
    "umap_layout",
    "write_layouts",
]
