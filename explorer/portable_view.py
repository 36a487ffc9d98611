"""Two neighbourhoods as one page of HTML that travels: what the notebook shows, live maps, and both recipes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer import charts, side_by_side, wording
from explorer.card import cautions_about
from explorer.catalog import Catalog
from explorer.compare import Comparison, OverlapDistribution
from explorer.page import made_with
from explorer.portable import CHART_NOTE, portable_page
from explorer.portable_parts import Drawing, Facts, Maps, Part, Rows, Said, Section
from explorer.relate import Ranking
from explorer.side_activity import SideActivity, activity_table
from explorer.side_by_side import Pair, Yardstick
from explorer.text import as_sentence
from explorer.view import View, found_in_map, link_parameters, recipes_of

# What the maps were measured with; an example of more is 12 bytes and a name each.
MOST_POINTS = 100_000
SAMPLE_SEED = 0
MAPS_HELP = (
    "click or search: select it in both maps · drag: select · Ctrl-drag: add · Shift-drag: pan · "
    "Ctrl-wheel or two fingers: zoom · double-click: reset · Esc: clear"
)
MAPS_KEYS = (
    "Arrow keys move from point to point, Enter or Space selects it, plus and minus zoom, 0 resets the view, Escape "
    "clears the selection."
)
LADDER_NOTE = "A line joins a shared neighbour; a ring marks a known relationship; numbers are cosines."
_FORMATS = {"left similarity": "{:.3f}", "right similarity": "{:.3f}"}
_ACTIVITY_FORMATS = {"value": "{:.3g}", "p": "{:.2g}", "q": "{:.2g}"}
_GENE_SET_FORMATS = {"left q": "{:.2g}", "right q": "{:.2g}"}


def explore_page(
    catalog: Catalog,
    view: View,
    pair: Pair,
    *,
    comparison: Comparison,
    table: pl.DataFrame,
    gene_sets: pl.DataFrame,
    activity: tuple[SideActivity, SideActivity],
    distribution: OverlapDistribution,
    yardsticks: list[Yardstick],
    most_points: int = MOST_POINTS,
) -> str:
    """Write what the notebook shows of a view as one page of HTML that works offline.

    Parameters
    ----------
    catalog, view, pair, comparison
        The datasets on offer, and an answered view, as `explorer.side_by_side.answer_view` gives it.
    table, gene_sets
        As `explorer.side_by_side.table_of` and `explorer.side_by_side.shared_gene_sets` give them.
    activity
        As `explorer.side_activity.activity_of` gives it.
    distribution, yardsticks
        As `explorer.side_by_side.distribution_of` and `explorer.side_by_side.yardsticks` give them.
    most_points
        Perturbations that a map draws at most; of more, a random sample, and all that the view is about.

    Returns
    -------
    str
        A whole document, see `explorer.portable.portable_page`.
    """
    titles = wording.panel_titles(catalog, view)
    agree, known = wording.answer_sentences(catalog, view, comparison)
    highlighted, _ = found_in_map(view.highlights, pair.left)
    cautions = cautions_about(catalog.dataset(view.dataset).card.cautions, view.query, comparison.sides)
    warnings = [pair.notice, *cautions, *wording.position_sentences(activity)]
    maps, drawn = _maps(catalog, view, pair, comparison=comparison, highlighted=highlighted, most_points=most_points)
    strip = charts.overlap_strip(
        charts.overlap_counts(distribution.overlaps),
        query=view.query,
        overlap=comparison.agreement.overlap,
        chance=distribution.chance,
        yardsticks=side_by_side.yardstick_marks(yardsticks),
    )
    ladder = charts.rank_ladder(table, titles=titles, k=view.k)
    front: list[Part] = [
        Said(wording.activity_sentence(view.query, activity)),
        Said(agree, "said"),
        Said(f"{known} {wording.difference_sentence(comparison, view)}"),
        Said(wording.context_sentence(catalog, view), "faint"),
        *(Said(as_sentence(text), "warned") for text in warnings if text),
        maps,
        Said(f"{wording.picture_caption(pair)} {drawn}", "faint"),
    ]
    sections = [
        Section("", front),
        *_own_list(highlighted, comparison),
        *_activity(view, activity),
        Section(
            "How far do they agree?",
            [
                Said(wording.agreement_details(comparison, distribution)),
                Drawing(strip, "overlap of the two neighbourhoods of every perturbation", ("x",)),
                Said(wording.yardstick_sentence(yardsticks, comparison)),
            ],
        ),
        Section(
            "The two neighbourhoods, rank by rank",
            [Drawing(ladder, "both neighbourhoods, rank by rank"), Said(LADDER_NOTE, "faint")],
        ),
        Section(
            "All neighbours",
            [
                Rows(table, _FORMATS),
                Said(wording.elsewhere_note(catalog, view), "faint"),
                Said(CHART_NOTE, "faint"),
            ],
        ),
        Section(
            "What the neighbours have in common",
            [
                Said(wording.gene_set_sentence(gene_sets, view, catalog=catalog)),
                *([Rows(gene_sets, _GENE_SET_FORMATS)] if gene_sets.height else []),
            ],
        ),
        Section("The dataset, and the two recipes", [Facts(wording.about_rows(catalog, view, pair))]),
        Section("To see it again", [Facts(_again(view, pair))]),
    ]
    return portable_page(
        f"{view.query}: {view.left} and {view.right}, {view.dataset}, {view.context}",
        sections,
        above=f"Who are its neighbours? {titles[0]} and {titles[1]}",
        word=view.query,
    )


def points_drawn(
    n_points: int, wanted: npt.ArrayLike, *, most_points: int = MOST_POINTS, seed: int = SAMPLE_SEED
) -> npt.NDArray[np.intp]:
    """Choose the points that a saved map draws.

    Parameters
    ----------
    n_points
        Points that there are.
    wanted
        Rows that must be drawn, also where they alone are more than `most_points`.
    most_points, seed
        How many are drawn, and the seed of the sample.

    Returns
    -------
    numpy.ndarray of intp
        Rows, sorted: all, or those wanted and a random sample of the others.
    """
    if n_points <= most_points:
        return np.arange(n_points, dtype=np.intp)
    kept = np.unique(np.asarray(wanted, dtype=np.intp))
    others = np.setdiff1d(np.arange(n_points, dtype=np.intp), kept)
    room = min(max(most_points - kept.size, 0), others.size)
    sample = np.random.default_rng(seed).choice(others, size=room, replace=False)
    return np.sort(np.concatenate([kept, sample])).astype(np.intp)


def _maps(
    catalog: Catalog,
    view: View,
    pair: Pair,
    *,
    comparison: Comparison,
    highlighted: tuple[str, ...],
    most_points: int,
) -> tuple[Maps, str]:
    """Pack both maps, and say what they do not draw."""
    from explorer.panels import still_maps

    marks = side_by_side.marks_of(catalog, view, pair, comparison=comparison, highlighted=highlighted)
    neighbors = pair.rows_of(tuple(comparison.sides))
    wanted = np.concatenate([[marks["query"]], marks["labels"], marks["rings"], marks["highlights"], neighbors])
    rows = points_drawn(len(pair.names), wanted, most_points=most_points)
    names = pair.names_of(rows)
    state: dict[str, Any] = still_maps(
        names,
        *(layout.coordinates[rows] for layout in pair.layouts),
        titles=wording.panel_titles(catalog, view),
        height=400,
        categories=(charts.side_codes(names, comparison.sides), charts.side_palette(), charts.side_labels()),
        # Positions among the points drawn; those wanted are all there.
        marks={
            name: int(np.searchsorted(rows, found)) if name == "query" else np.searchsorted(rows, found)
            for name, found in marks.items()
        },
    )
    state |= {"help": MAPS_HELP, "keys_help": MAPS_KEYS}
    sides = tuple(
        (name, _ranks(ranking, names))
        for name, ranking in ((view.left, comparison.left_ranking), (view.right, comparison.right_ranking))
    )
    return Maps(state, (sides[0], sides[1])), _sampled(len(pair.names), len(rows))


def _ranks(ranking: Ranking, names: Sequence[str]) -> npt.NDArray[np.uint32]:
    """Ranks of some perturbations, 0 where there is none."""
    place = {name: row for row, name in enumerate(ranking.names)}
    ranks = ranking.ranks_of([place[name] for name in names])
    return np.nan_to_num(ranks, nan=0.0).astype(np.uint32)


def _sampled(n_points: int, n_drawn: int) -> str:
    if n_drawn == n_points:
        return f"All {n_points:,} perturbations are drawn."
    return (
        f"Of {n_points:,} perturbations {n_drawn:,} are drawn: the query, every neighbour, known partner and name of "
        f"the list, and a random sample of the others (seed {SAMPLE_SEED}). Ranks are among all of them."
    )


def _own_list(highlighted: tuple[str, ...], comparison: Comparison) -> list[Section]:
    if not highlighted:
        return []
    return [Section("The list", [Rows(side_by_side.selection_table(list(highlighted), comparison), _FORMATS)])]


def _activity(view: View, activity: tuple[SideActivity, SideActivity]) -> list[Section]:
    lines = activity_table(activity)
    if not lines.height:
        return []
    note = Said(wording.activity_note(activity), "faint")
    return [Section(f"Does {view.query} do anything?", [Rows(lines, _ACTIVITY_FORMATS), note])]


def _again(view: View, pair: Pair) -> list[tuple[str, str]]:
    link = link_parameters(view, recipes=recipes_of(pair.left, pair.right))
    return [
        *((name, value) for name, value in link.items() if value),
        ("left fingerprint", pair.left.fingerprint),
        ("right fingerprint", pair.right.fingerprint),
        ("versions", made_with()),
    ]
