"""What a view of the explore page takes that may be long in the making: begun in its turn, or at once where it is made.

Each ``prepare`` makes what some answers of `explorer.side_by_side` and `explorer.side_activity` are computed from, in
the caches that all sessions share, and nothing that depends on the query: sessions that ask about other perturbations
of the same maps share one piece of work, and a click needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from explorer.catalog import (
    Catalog,
    identity_of,
    shared_activity,
    shared_gene_sets_in,
    shared_knowledge,
    shared_layout,
    shared_map,
    shared_overlaps,
)
from explorer.errors import InputError
from explorer.passport import passport_of
from explorer.side_by_side import (
    Answer,
    Pair,
    answer_view,
    distribution_of,
    other_contexts,
    pair_of,
    report_elsewhere,
    yardstick_maps,
    yardstick_sources,
)
from explorer.view import EVERY, View, attempt, default_query
from explorer.work import Progress, Ticket, shared_workshop

T = TypeVar("T")


def start_maps(catalog: Catalog, view: View) -> Ticket[None]:
    """Begin to make the maps of a view, their pictures and who is active; finished at once where all of it is made."""

    def make(say: Progress) -> None:
        prepare_maps(catalog, view, say)

    return _started(catalog, view, make, key=("maps",))


def start_details(catalog: Catalog, view: View, pair: Pair) -> Ticket[None]:
    """Begin what stands below the maps: the other contexts, every query's overlap, yardsticks; at once where made.

    Parameters
    ----------
    catalog, view, pair
        The datasets on offer, a view, and its maps.
    """

    def make(say: Progress) -> None:
        prepare_details(catalog, view, pair, say=say)

    # A query that is not among the active ones is in the maps all the same, and so decides what they are.
    query = view.query if view.among != EVERY else ""
    return _started(catalog, view, make, key=("details", view.among, view.k, view.direction, query))


@dataclass(slots=True)
class Wished:
    """The UMAP pictures that one session has asked for; a session keeps one of these."""

    key: tuple[object, ...] | None = None
    ticket: Ticket[None] | None = None


def umaps_of(catalog: Catalog, view: View, wished: Wished, *, begin: bool) -> Ticket[None] | None:
    """Find the work on the UMAP pictures of a view that this session asked for, or begin it.

    Parameters
    ----------
    catalog, view
        The datasets on offer, and a view whose maps are made.
    wished
        What this session asked for; pictures of other maps than those that are shown are wished for no longer.
    begin
        Whether to begin, or to join the session that began before; this takes seconds to minutes.

    Returns
    -------
    Ticket or None
        None where there is nothing to wait for. Pictures that have been made are in the maps already.
    """

    def make(say: Progress) -> None:
        prepare_umaps(catalog, view, say)

    key, _ = attempt(lambda: _key(catalog, view, ("umaps",)))
    if begin:
        wished.key, wished.ticket = key, _started(catalog, view, make, key=("umaps",))
    elif wished.key != key or (wished.ticket is not None and wished.ticket.is_finished):
        wished.ticket = None
    return wished.ticket


def refused(problem: str) -> Ticket[None]:
    """Give a ticket of work that can't begin, since nothing can be made of what was asked for."""
    return shared_workshop.refused(problem)


def answer_of(made: Ticket[None], catalog: Catalog, view: View | None) -> tuple[Answer | None, str]:
    """Answer a view whose maps were made: the answer and no message, or none and the one-line message.

    Parameters
    ----------
    made
        As `start_maps` gave it, finished.
    catalog, view
        The datasets on offer, and what was asked for; None where that could not be read.
    """
    if view is None or made.problem:
        return None, made.problem
    fallback = default_query(catalog.dataset(view.dataset))
    return attempt(lambda: answer_view(catalog, view, fallback=fallback))


def prepare_maps(catalog: Catalog, view: View, say: Progress) -> None:
    """Make the maps of a view, their pictures as far as that is quick, and who is active.

    Raises
    ------
    InputError
        When a map can't be made, or what is known can't be read.
    """
    dataset = catalog.dataset(view.dataset)
    # Read first, so that damaged files are one sentence before anything is computed.
    shared_knowledge(dataset)
    passport_of(dataset, view.context)
    # Of a large screen, what both are made of is kept for one representation at a time.
    steps = [(name, make) for name in _both(view) for make in (shared_map, shared_activity)]
    for (name, make), begin in _spread(steps, 0.0, 0.7):
        say(f"the map of {name}" if make is shared_map else f"who is active in {name}", begin)
        make(dataset, view.context, name, alignment=view.align)
    for name, begin in _spread(_both(view), 0.7, 1.0):
        say(f"the picture of {name}", begin)
        shared_layout(dataset, shared_map(dataset, view.context, name, alignment=view.align))
    # Of all perturbations: which of them are left out may depend on the query, and is quick to find.
    pair_of(catalog, replace(view, among=EVERY))


def prepare_details(catalog: Catalog, view: View, pair: Pair, *, say: Progress) -> None:
    """Make what the tables, the strip and the yardsticks of a view are computed from."""
    dataset = catalog.dataset(view.dataset)
    for name in _both(view):
        shared_activity(dataset, view.context, name, alignment=view.align)
    asked = [(context, name) for context in other_contexts(catalog, view) for name in _both(view)]
    for (context, name), begin in _spread(asked, 0.0, 0.4):
        say(f"what holds in {context} of {name}", begin)
        told = partial(_told, say, begin, 0.4 / len(asked), f"{context}, {name}: ")
        # That nothing can be judged there is said below the table.
        with suppress(InputError):
            report_elsewhere(catalog, view, context, side=name, progress=told)
    say("the gene sets", 0.4)
    shared_gene_sets_in(dataset, pair.names)
    say("the overlap of every query", 0.45)
    distribution_of(view, pair)
    sources = yardstick_sources(catalog, view)
    for what, begin in _spread(tuple(sources), 0.6, 1.0):
        say(what, begin)
        maps = yardstick_maps(sources[what], view, pair)
        if maps is not None:
            shared_overlaps(*maps, k=view.k, opposite=view.opposite)


def prepare_umaps(catalog: Catalog, view: View, say: Progress) -> None:
    """Make the UMAP pictures of both maps of a view, and keep them on disk."""
    dataset = catalog.dataset(view.dataset)
    for name, begin in _spread(_both(view), 0.0, 1.0):
        say(f"the UMAP picture of {name}", begin)
        made = shared_map(dataset, view.context, name, alignment=view.align)
        shared_layout(dataset, made, compute_umap=True)


def _started(
    catalog: Catalog, view: View, make: Callable[[Progress], None], *, key: tuple[object, ...]
) -> Ticket[None]:
    found, problem = attempt(lambda: shared_workshop.start_unless_made(_key(catalog, view, key), make))
    return refused(problem) if found is None else found


def _key(catalog: Catalog, view: View, what: tuple[object, ...]) -> tuple[object, ...]:
    """Everything that decides which maps a view has, and what is to be made of them."""
    dataset = catalog.dataset(view.dataset)
    return (*what, *identity_of(dataset), view.context, view.left, view.right, view.align)


def _both(view: View) -> tuple[str, ...]:
    """Both representations, or the one where they are the same."""
    return tuple(dict.fromkeys((view.left, view.right)))


def _told(say: Progress, begin: float, length: float, where: str, what: str, share: float) -> None:
    """Report progress of one step as that of the whole."""
    say(f"{where}{what}", begin + length * share)


def _spread(steps: Sequence[T], start: float, stop: float) -> list[tuple[T, float]]:
    """Say at which share of the work each of several steps begins."""
    return [(step, start + (stop - start) * place / len(steps)) for place, step in enumerate(steps)]
