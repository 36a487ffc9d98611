"""One view, answered: the two maps, their pictures, what they share, and what to hold that against."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.activity import ACTIVE_Q
from explorer.aggregate import PerturbationMap
from explorer.catalog import (
    Catalog,
    shared_halves,
    shared_knowledge,
    shared_layout,
    shared_map,
    shared_overlaps,
)
from explorer.compare import (
    Comparison,
    OverlapDistribution,
    common_maps,
    compare_query,
    merged_table,
)
from explorer.errors import InputError, shown
from explorer.layout import Layout, rotate_onto
from explorer.load import Dataset
from explorer.relationships import compare_enrichment, enrichment
from explorer.side_activity import active_names, activity_column
from explorer.view import EVERY, View, check_query

GENE_SET_Q = 0.05
# A map of fewer active perturbations than this has no neighbourhoods to speak of.
LEAST_ACTIVE = 12


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """The two maps of a view, over the same perturbations, and their pictures.

    Attributes
    ----------
    left, right
        The maps.
    layouts
        Their layouts, the right one rotated onto the left.
    notice
        Which perturbations were left out, in a sentence; else empty.
    """

    left: PerturbationMap
    right: PerturbationMap
    layouts: tuple[Layout, Layout]
    notice: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Perturbations of both, sorted."""
        return self.left.names

    def rows_of(self, names: tuple[str, ...]) -> npt.NDArray[np.intp]:
        """Rows of some perturbations."""
        return np.array([self.left.position(name) for name in names], dtype=np.intp)

    def names_of(self, rows: npt.NDArray[np.intp]) -> list[str]:
        """Perturbations of some rows."""
        return [self.names[row] for row in rows.tolist()]


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a view shows.

    Attributes
    ----------
    view
        The view, with a query and a k that exist.
    pair, comparison
        Its maps, and the query in both.
    notice
        What had to be replaced, in a sentence; else empty.
    """

    view: View
    pair: Pair
    comparison: Comparison
    notice: str


@dataclass(frozen=True, slots=True)
class Yardstick:
    """An agreement to hold another one against.

    Attributes
    ----------
    what
        What agrees with what.
    query_overlap
        Overlap at k of the query's neighbourhoods.
    mean_overlap
        Mean overlap at k over the map.
    """

    what: str
    query_overlap: float
    mean_overlap: float


def pair_of(catalog: Catalog, view: View, *, compute_umap: bool = False) -> Pair:
    """Make the two maps of a view and find their pictures.

    Raises
    ------
    InputError
        When a map can't be made; the message says why.
    """
    dataset = catalog.dataset(view.dataset)
    left, right = (shared_map(dataset, view.context, name, alignment=view.align) for name in (view.left, view.right))
    one, other = (shared_layout(dataset, side, compute_umap=compute_umap) for side in (left, right))
    both_left, both_right, notice = _among(catalog, view, common_maps(left, right))
    one, other = _restricted(one, left, both_left), _restricted(other, right, both_right)
    turned = Layout(other.method, rotate_onto(one.coordinates, other.coordinates), other.trustworthiness)
    return Pair(both_left, both_right, (one, turned), notice)


def answer_view(catalog: Catalog, asked: View, *, fallback: str = "", compute_umap: bool = False) -> Answer:
    """Answer a view: the front door of the notebook.

    Parameters
    ----------
    catalog, asked
        The datasets on offer, and a checked view.
    fallback
        Query to show where the one asked for does not exist.
    compute_umap
        Whether to make missing UMAP pictures now; this takes seconds to minutes.

    Raises
    ------
    InputError
        When a map can't be made, the query has no profile, or known relationships can't be read.
    """
    pair = pair_of(catalog, asked, compute_umap=compute_umap)
    # Read here, so that damaged files are one sentence and not a half-shown page.
    shared_knowledge(catalog.dataset(asked.dataset))
    view, notice = check_query(asked, pair.left, pair.right, fallback=fallback)
    comparison = compare_query(pair.left, pair.right, view.query, k=view.k, opposite=view.opposite)
    return Answer(view, pair, comparison, "; ".join(said for said in (pair.notice, notice) if said))


def distribution_of(view: View, pair: Pair) -> OverlapDistribution:
    """Overlap of every query, which one query is seen among."""
    return shared_overlaps(pair.left, pair.right, k=view.k, opposite=view.opposite)


def elsewhere(catalog: Catalog, view: View) -> dict[str, Comparison | None]:
    """Compare the same query in every other context of the dataset; None where it was not measured there."""
    dataset = catalog.dataset(view.dataset)
    found: dict[str, Comparison | None] = {}
    for context in dataset.contexts:
        if context == view.context:
            continue
        try:
            maps = [shared_map(dataset, context, name, alignment=view.align) for name in (view.left, view.right)]
            here = replace(view, context=context)
            one, other, _ = _among(catalog, here, common_maps(maps[0], maps[1]))
            found[context] = compare_query(one, other, view.query, k=view.k, opposite=view.opposite)
        except InputError:
            # An absent perturbation, or controls too few to align on: "not measured" is the answer.
            found[context] = None
    return found


def table_of(catalog: Catalog, view: View, comparison: Comparison) -> pl.DataFrame:
    """Merge both neighbourhoods into one table, with what is known and whether other contexts agree."""
    knowledge = shared_knowledge(catalog.dataset(view.dataset))
    table = merged_table(comparison, knowledge=knowledge, elsewhere=elsewhere(catalog, view))
    active = activity_column(catalog, view, table["perturbation"].to_list())
    return table if active is None else table.insert_column(table.columns.index("known") + 1, active)


def shared_gene_sets(catalog: Catalog, view: View, comparison: Comparison) -> pl.DataFrame:
    """Test what the neighbours of each side share, simple and learned in one table."""
    knowledge = shared_knowledge(catalog.dataset(view.dataset))
    left, right = (
        enrichment(side.names, comparison.left_ranking.names, knowledge.gene_sets, query=view.query)
        for side in (comparison.left, comparison.right)
    )
    return compare_enrichment(left, right, q_below=GENE_SET_Q)


def yardsticks(catalog: Catalog, view: View, pair: Pair) -> list[Yardstick]:
    """Find what an agreement must be held against: replicate halves, and seeds of a learned model.

    Returns
    -------
    list of Yardstick
        Empty where a dataset has neither usable replicates nor a second seed.
    """
    dataset = catalog.dataset(view.dataset)
    cards = dataset.card.representations
    found = []
    for name in dict.fromkeys((view.left, view.right)):
        halves = partial(shared_halves, dataset, view.context, name, alignment=view.align)
        found.append(_yardstick(f"two replicate halves of {name}", halves, view, pair=pair))
        first = cards[name].seed_of or name
        family = [first, *(other for other, card in cards.items() if card.seed_of == first)]
        if cards[name].kind == "learned" and len(family) > 1:
            second = next(other for other in family if other != name)
            seeds = partial(_maps_of, dataset, view, (name, second))
            found.append(_yardstick(f"{name} and {second} (another seed)", seeds, view, pair=pair))
    return [yardstick for yardstick in found if yardstick is not None]


def table_csv(table: pl.DataFrame, view: View, pair: Pair) -> str:
    """Write a neighbour table as CSV that says how it was made: query, context and recipes on every line."""
    return table.with_columns(
        pl.lit(view.query).alias("query"),
        pl.lit(view.dataset).alias("dataset"),
        pl.lit(view.context).alias("context"),
        pl.lit(view.direction).alias("direction"),
        pl.lit(view.left).alias("left representation"),
        pl.lit(pair.left.fingerprint).alias("left recipe"),
        pl.lit(view.right).alias("right representation"),
        pl.lit(pair.right.fingerprint).alias("right recipe"),
        pl.lit(view.align).alias("alignment"),
        pl.lit(view.among).alias("among"),
    ).write_csv()


def selection_table(names: list[str], comparison: Comparison) -> pl.DataFrame:
    """List brushed perturbations with their rank and similarity to the query on both sides."""
    place = {name: row for row, name in enumerate(comparison.left_ranking.names)}
    rows = np.array([place[name] for name in names], dtype=np.intp)
    columns: dict[str, object] = {"perturbation": names}
    for side, ranking in (("left", comparison.left_ranking), ("right", comparison.right_ranking)):
        columns[f"{side} rank"] = pl.Series(ranking.ranks_of(rows), dtype=pl.Int64, strict=False)
        columns[f"{side} similarity"] = ranking.similarities[rows]
    return pl.DataFrame(columns).sort("left rank", nulls_last=True)


def _among(
    catalog: Catalog, view: View, maps: tuple[PerturbationMap, PerturbationMap]
) -> tuple[PerturbationMap, PerturbationMap, str]:
    """Leave out what is not active on either side, if that was asked for; the query itself stays."""
    left, right = maps
    if view.among == EVERY:
        return left, right, ""
    active, silence = active_names(catalog, view)
    if active is None:
        return left, right, f"{silence}; showing all perturbations"
    present = active & set(left.names)
    names = present | ({view.query} & set(left.names))
    where = " or ".join(dict.fromkeys((view.left, view.right)))
    if len(present) < LEAST_ACTIVE:
        message = f"only {len(present)} of {left.n_perturbations:,} perturbations are active in {where}: showing all"
        return left, right, message
    extra = "".join(f", and {shown(name)}" for name in names - present)
    kept = f"only those active in {where} (q below {ACTIVE_Q:g}){extra}"
    one, other = (_filtered(side, names, kept) for side in maps)
    return one, other, f"showing {kept}: {len(names):,} of {left.n_perturbations:,} perturbations"


def _filtered(made: PerturbationMap, names: Iterable[str], said: str) -> PerturbationMap:
    """Take some perturbations, and say so in the recipe."""
    recipe = replace(made.recipe, filter=f"{made.recipe.filter}; {said}")
    return replace(made.restricted_to(set(names) & set(made.names)), recipe=recipe)


def _restricted(layout: Layout, full: PerturbationMap, part: PerturbationMap) -> Layout:
    if full.names == part.names:
        return layout
    rows = [full.position(name) for name in part.names]
    return Layout(layout.method, layout.coordinates[rows], layout.trustworthiness)


def _maps_of(dataset: Dataset, view: View, names: tuple[str, str]) -> tuple[PerturbationMap, PerturbationMap]:
    one, other = (shared_map(dataset, view.context, name, alignment=view.align) for name in names)
    return one, other


def _yardstick(
    what: str, make: Callable[[], tuple[PerturbationMap, PerturbationMap] | None], view: View, *, pair: Pair
) -> Yardstick | None:
    try:
        made = make()
        maps = common_maps(*made) if made is not None else None
        if maps is not None and view.among != EVERY:
            one, other = (_filtered(side, pair.names, pair.left.recipe.filter) for side in maps)
            maps = one, other
        if maps is None or view.query not in set(maps[0].names) or view.k >= maps[0].n_perturbations:
            return None
        query = compare_query(*maps, view.query, k=view.k, opposite=view.opposite).agreement.overlap
    except InputError:
        # Halves may hold too few perturbations or controls, or no profile of the query: no yardstick, no failure.
        return None
    return Yardstick(what, query, shared_overlaps(*maps, k=view.k, opposite=view.opposite).mean)


def yardstick_marks(found: list[Yardstick]) -> Mapping[str, float]:
    """Name the mean overlap of each yardstick, for the strip."""
    return {f"{yardstick.what}, mean": yardstick.mean_overlap for yardstick in found}


def representation_options(catalog: Catalog, dataset: str) -> dict[str, str]:
    """Name a dataset's representations for a menu, each with its kind: ``"autoencoder · learned"``."""
    cards = catalog.dataset(dataset).card.representations.values()
    return {f"{card.name} · {card.kind}": card.name for card in cards}


def option_of(options: Mapping[str, str], name: str) -> str:
    """Find the menu entry of a representation."""
    return next(entry for entry, value in options.items() if value == name)


def marks_of(
    catalog: Catalog, view: View, pair: Pair, *, comparison: Comparison, highlighted: tuple[str, ...]
) -> dict[str, Any]:
    """Say what to mark on the maps: the query, neighbours to name, known relationships, the user's list."""
    knowledge = shared_knowledge(catalog.dataset(view.dataset))
    known = knowledge.partners_of(view.query) & set(pair.names)
    neighbors = tuple(comparison.sides)
    # Known neighbours are named first, since names that find no room are dropped from the end.
    ordered = tuple(sorted(neighbors, key=lambda name: name not in known))
    return {
        "query": pair.left.position(view.query),
        "labels": pair.rows_of(tuple(dict.fromkeys((*ordered, *highlighted)))),
        "rings": pair.rows_of(tuple(sorted(known))),
        "highlights": pair.rows_of(highlighted),
    }


def figure_frame(view: View, pair: Pair, comparison: Comparison, *, table: pl.DataFrame) -> pl.DataFrame:
    """Tidy both pictures for the exported figure: ``perturbation, side, x, y, neighbour of, known, query``."""
    known = dict(zip(table["perturbation"], table["known"], strict=True))
    sides = comparison.sides
    points = pl.DataFrame(
        {
            "perturbation": list(pair.names),
            "neighbour of": [sides.get(name, "other") for name in pair.names],
            "known": [known.get(name, "") for name in pair.names],
            "query": [name == view.query for name in pair.names],
        }
    )
    return pl.concat(
        points.with_columns(
            pl.lit(side).alias("side"),
            pl.Series("x", layout.coordinates[:, 0], dtype=pl.Float64),
            pl.Series("y", layout.coordinates[:, 1], dtype=pl.Float64),
        )
        for side, layout in zip(("left", "right"), pair.layouts, strict=True)
    )


def lacks_umap(pair: Pair) -> bool:
    """Whether a picture of the pair is a stand-in until its UMAP is made."""
    return any(layout.method != "UMAP" for layout in pair.layouts)
