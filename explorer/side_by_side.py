"""One view, answered: the two maps, their pictures, what they share, and what to hold that against."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    shared_common,
    shared_gene_sets_in,
    shared_halves,
    shared_knowledge,
    shared_layout,
    shared_map,
    shared_overlaps,
    shared_part,
    shared_pictures,
)
from explorer.compare import (
    ONLY_LEFT,
    ONLY_RIGHT,
    Comparison,
    OverlapDistribution,
    compare_query,
    merged_table,
)
from explorer.context_reports import Place
from explorer.contexts import UNJUDGED, ContextReport
from explorer.errors import InputError, shown
from explorer.held import report_of
from explorer.held_tables import MARKS
from explorer.layout import Layout
from explorer.load import Dataset
from explorer.passport import passport_of
from explorer.relationships import compare_enrichment, enrichment_of
from explorer.side_activity import active_names, activity_column
from explorer.verdict import Progress
from explorer.view import EVERY, View, attempt, check_query

GENE_SET_Q = 0.05
# A map of fewer active perturbations than this has no neighbourhoods to speak of.
LEAST_ACTIVE = 12
# What a browser is sent, and draws, at the most: at 500,000 points a page still opens and answers.
MOST_SHOWN = 500_000
NOT_MEASURED = "not measured"

Maps = tuple[PerturbationMap, PerturbationMap]


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


def pair_of(catalog: Catalog, view: View) -> Pair:
    """Make the two maps of a view and find their pictures.

    Raises
    ------
    InputError
        When a map can't be made; the message says why.
    """
    dataset = catalog.dataset(view.dataset)
    left, right = (shared_map(dataset, view.context, name, alignment=view.align) for name in (view.left, view.right))
    both_left, both_right, notice = _among(catalog, view, shared_common(left, right))
    if both_left.n_perturbations > MOST_SHOWN:
        message = (
            f"this map has {both_left.n_perturbations:,} perturbations, and a page draws {MOST_SHOWN:,} at the most: "
            "keep those of interest as a dataset of their own, or ask for neighbours on the command line or in Python"
        )
        raise InputError(message)
    one, other = (shared_layout(dataset, side) for side in (left, right))
    pictures = shared_pictures((one, other), (left, right), (both_left, both_right))
    return Pair(both_left, both_right, pictures, notice)


def answer_view(catalog: Catalog, asked: View, *, fallback: str = "") -> Answer:
    """Answer a view: the front door of the notebook.

    Parameters
    ----------
    catalog, asked
        The datasets on offer, and a checked view.
    fallback
        Query to show where the one asked for does not exist.

    Raises
    ------
    InputError
        When a map can't be made, the query has no profile, or known relationships can't be read.
    """
    pair = pair_of(catalog, asked)
    # Read here, so that damaged files are one sentence and not a half-shown page.
    shared_knowledge(catalog.dataset(asked.dataset))
    view, notice = check_query(asked, pair.left, pair.right, fallback=fallback)
    comparison = compare_query(pair.left, pair.right, view.query, k=view.k, opposite=view.opposite)
    return Answer(view, pair, comparison, "; ".join(said for said in (pair.notice, notice) if said))


def distribution_of(view: View, pair: Pair) -> OverlapDistribution:
    """Overlap of every query, which one query is seen among."""
    return shared_overlaps(pair.left, pair.right, k=view.k, opposite=view.opposite)


def other_contexts(catalog: Catalog, view: View) -> tuple[str, ...]:
    """Name the other contexts of a view's dataset."""
    return tuple(context for context in catalog.dataset(view.dataset).contexts if context != view.context)


def report_elsewhere(
    catalog: Catalog, view: View, context: str, *, side: str, progress: Progress | None = None
) -> ContextReport:
    """Judge the edges of one side's map in another context: the function of the page of contexts, asked for one.

    Parameters
    ----------
    catalog, view, context
        The datasets on offer, a view, and the other context.
    side
        Name of the representation.
    progress
        Told how far it is.

    Raises
    ------
    InputError
        When one of the maps can't be made, or too few perturbations are in both.
    """
    here = Place(view.dataset, view.context, side, view.align)
    return report_of(catalog, here, (replace(here, context=context),), progress=progress)


def elsewhere(catalog: Catalog, view: View, comparison: Comparison) -> dict[str, dict[str, str]]:
    """Say of every neighbour what became of it in every other context of the dataset.

    Returns
    -------
    dict
        By context and perturbation: the label of its edge to the query, as `explorer.contexts` gives it, with a sign
        before it; those of both sides where they differ; ``not measured`` where the context has not both of them. A
        neighbour that is none by centred cosine can't be judged, nor can one that is opposite.
    """
    found = {}
    for context in other_contexts(catalog, view):
        labels: dict[str, dict[str, str]] = {}
        names: set[str] = set()
        for side in dict.fromkeys((view.left, view.right)):
            # Why nothing is said is told below the table.
            report, _ = attempt(partial(report_elsewhere, catalog, view, context, side=side))
            if report is not None:
                names.update(report.names)
                labels[side] = _labels_of(report, view, context)
        found[context] = {
            name: _said(labels, view, name, where) if not names or {name, view.query} <= names else NOT_MEASURED
            for name, where in comparison.sides.items()
        }
    return found


def _labels_of(report: ContextReport, view: View, context: str) -> dict[str, str]:
    if view.opposite or view.query not in report.names:
        return {}
    table = report.neighbors_of(view.query)
    return dict(zip(table["perturbation"], table[context], strict=True))


def _said(labels: Mapping[str, Mapping[str, str]], view: View, name: str, where: str) -> str:
    """Say the label of a neighbour on the sides on which it is one."""
    sides = {ONLY_LEFT: (view.left,), ONLY_RIGHT: (view.right,)}.get(where, (view.left, view.right))
    words = [labels.get(side, {}).get(name, UNJUDGED) for side in sides]
    texts = [f"{MARKS[word]} {word}" for word in words]
    return texts[0] if len(set(words)) == 1 else f"left {texts[0]}, right {texts[1]}"


def silences_elsewhere(catalog: Catalog, view: View) -> dict[str, str]:
    """Say of every other context why nothing is judged there, or what its silence may not be taken for."""
    found = {}
    for context in other_contexts(catalog, view):
        said = []
        for side in dict.fromkeys((view.left, view.right)):
            report, problem = attempt(partial(report_elsewhere, catalog, view, context, side=side))
            said.append(problem if report is None else report.repeatability[context].note)
        found[context] = "; ".join(dict.fromkeys(text for text in said if text))
    return {context: text for context, text in found.items() if text}


def table_of(catalog: Catalog, view: View, comparison: Comparison) -> pl.DataFrame:
    """Merge both neighbourhoods into one table, with what is known and what holds in other contexts."""
    knowledge = shared_knowledge(catalog.dataset(view.dataset))
    table = merged_table(comparison, knowledge=knowledge, elsewhere=elsewhere(catalog, view, comparison))
    active = activity_column(catalog, view, table["perturbation"].to_list())
    return table if active is None else table.insert_column(table.columns.index("known") + 1, active)


def shared_gene_sets(catalog: Catalog, view: View, comparison: Comparison) -> pl.DataFrame:
    """Test what the neighbours of each side share, simple and learned in one table."""
    index = shared_gene_sets_in(catalog.dataset(view.dataset), comparison.left_ranking.names)
    left, right = (enrichment_of(side.names, index, query=view.query) for side in (comparison.left, comparison.right))
    return compare_enrichment(left, right, q_below=GENE_SET_Q)


def yardsticks(catalog: Catalog, view: View, pair: Pair) -> list[Yardstick]:
    """Find what an agreement must be held against: replicate halves, and seeds of a learned model.

    Returns
    -------
    list of Yardstick
        Empty where a dataset has neither usable replicates nor a second seed.
    """
    found = (
        _yardstick(what, maps, view)
        for what, source in yardstick_sources(catalog, view).items()
        if (maps := yardstick_maps(source, view, pair)) is not None
    )
    return [yardstick for yardstick in found if yardstick is not None]


def yardstick_sources(catalog: Catalog, view: View) -> dict[str, Callable[[], Maps | None]]:
    """Say what agrees with what in each yardstick, and how to make its two maps."""
    dataset = catalog.dataset(view.dataset)
    cards = dataset.card.representations
    sources: dict[str, Callable[[], Maps | None]] = {}
    for name in dict.fromkeys((view.left, view.right)):
        halves = partial(shared_halves, dataset, view.context, name, alignment=view.align)
        sources[f"two replicate halves of {name}"] = halves
        first = cards[name].seed_of or name
        family = [first, *(other for other, card in cards.items() if card.seed_of == first)]
        # Left and right themselves are no yardstick of each other.
        second = next((other for other in family if other not in (view.left, view.right)), None)
        if cards[name].kind == "learned" and second is not None:
            sources[f"{name} and {second} (another seed)"] = partial(_maps_of, dataset, view, (name, second))
    return sources


def yardstick_maps(source: Callable[[], Maps | None], view: View, pair: Pair) -> Maps | None:
    """Make the maps of a yardstick over the perturbations of a view; None where they can't be had.

    Parameters
    ----------
    source
        One of `yardstick_sources`.
    view, pair
        The view, and its maps.
    """
    try:
        made = source()
        maps = shared_common(*made) if made is not None else None
        if maps is not None and view.among != EVERY:
            one, other = (shared_part(side, pair.names, said=pair.left.recipe.filter) for side in maps)
            maps = one, other
    except InputError:
        # Halves may hold too few perturbations or controls: no yardstick, no failure.
        return None
    return None if maps is None or view.k >= maps[0].n_perturbations else maps


def table_csv(table: pl.DataFrame, view: View, pair: Pair, *, catalog: Catalog) -> str:
    """Write a neighbour table as CSV that says how it was made: query, conditions and recipes on every line."""
    return table.with_columns(
        pl.lit(view.query).alias("query"),
        pl.lit(view.dataset).alias("dataset"),
        pl.lit(view.context).alias("context"),
        pl.lit(passport_of(catalog.dataset(view.dataset), view.context).sentence).alias("conditions"),
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
    rows = comparison.left_ranking.rows_of(names)
    columns: dict[str, object] = {"perturbation": names}
    for side, ranking in (("left", comparison.left_ranking), ("right", comparison.right_ranking)):
        columns[f"{side} rank"] = pl.Series(ranking.ranks_of(rows), dtype=pl.Int64, strict=False)
        columns[f"{side} similarity"] = ranking.similarities[rows]
    return pl.DataFrame(columns).sort("left rank", nulls_last=True)


def _among(catalog: Catalog, view: View, maps: Maps) -> tuple[PerturbationMap, PerturbationMap, str]:
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
    one, other = (shared_part(side, names, said=kept) for side in maps)
    return one, other, f"showing {kept}: {len(names):,} of {left.n_perturbations:,} perturbations"


def _maps_of(dataset: Dataset, view: View, names: tuple[str, str]) -> Maps:
    one, other = (shared_map(dataset, view.context, name, alignment=view.align) for name in names)
    return one, other


def _yardstick(what: str, maps: Maps, view: View) -> Yardstick | None:
    if view.query not in maps[0]:
        return None
    try:
        query = compare_query(*maps, view.query, k=view.k, opposite=view.opposite).agreement.overlap
    except InputError:
        # Halves may hold no profile of the query.
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
    known = {name for name in knowledge.partners_of(view.query) if name in pair.left}
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
