"""What a server offers: each dataset in a few lines, and what its first pages need, made before anyone asks."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from explorer.catalog import Catalog, identity_of, shared_screen
from explorer.errors import InputError
from explorer.keeping import Shared
from explorer.load import Dataset
from explorer.passport import passport_of
from explorer.side_by_side import answer_view
from explorer.side_work import prepare_details, prepare_maps
from explorer.view import default_query, read_view
from explorer.work import Cancelled

_log = logging.getLogger(__name__)
_shared = Shared()


@dataclass(frozen=True, slots=True)
class ContextOffer:
    """One context: its name, its conditions in words, and how many rows and perturbations it has."""

    name: str
    conditions: str
    n_rows: int
    n_perturbations: int


@dataclass(frozen=True, slots=True)
class Offer:
    """A dataset as a visitor chooses it.

    Attributes
    ----------
    name, title, license, citation
        As the card says them.
    contexts
        Its contexts.
    representations
        Names of its representations, by kind: simple, learned, placebo.
    problem
        Why it can't be shown, in a sentence; else empty, and then the rest is filled.
    """

    name: str
    title: str
    license: str = ""
    citation: str = ""
    contexts: tuple[ContextOffer, ...] = ()
    representations: tuple[tuple[str, tuple[str, ...]], ...] = ()
    problem: str = ""


def offers_of(catalog: Catalog) -> tuple[Offer, ...]:
    """Describe every dataset of a catalog, those that can't be used last; each is read once a process."""
    usable = [_offer_or_problem(catalog.dataset(name)) for name in catalog.names]
    broken = [Offer(name, name, problem=problem) for name, problem in catalog.problems.items()]
    return tuple(sorted((*usable, *broken), key=lambda offer: bool(offer.problem)))


def _offer_or_problem(dataset: Dataset) -> Offer:
    try:
        return _shared.get(identity_of(dataset), lambda: describe_offer(dataset))
    except InputError as error:
        return Offer(dataset.name, dataset.card.title, problem=str(error))
    except Exception as error:
        # One dataset must not hide the others, whatever is wrong with it.
        _log.exception("can't be offered: %s", dataset.name)
        return Offer(dataset.name, dataset.card.title, problem=f"its rows could not be read ({type(error).__name__})")


def describe_offer(dataset: Dataset) -> Offer:
    """Describe a dataset; the names of its rows are read.

    Raises
    ------
    InputError
        When its rows can't be used.
    """
    contexts = []
    for name in dataset.contexts:
        screen = shared_screen(dataset, name)
        left_out = screen.is_control() & ~np.bool_(screen.roles.keep_controls)
        labels = screen.rows[screen.roles.perturbation].filter(~left_out)
        conditions = passport_of(dataset, name).sentence
        contexts.append(ContextOffer(name, conditions, screen.rows.height, labels.n_unique()))
    cards = dataset.card.representations.values()
    kinds = tuple(dict.fromkeys(card.kind for card in cards))
    return Offer(
        dataset.name,
        dataset.card.title,
        dataset.card.license,
        dataset.card.citation,
        tuple(contexts),
        tuple((kind, tuple(card.name for card in cards if card.kind == kind)) for kind in kinds),
    )


def warm(catalog: Catalog, *, is_stopping: Callable[[], bool] = lambda: False) -> None:
    """Make what the first page of every context shows: rows, maps, pictures, activity, agreement of all queries.

    A dataset that can't be used, or for which memory is short, is logged and passed over: its page says why.

    Parameters
    ----------
    catalog
        What is offered.
    is_stopping
        Asked between steps; warming ends when it is true.
    """

    def say(*_: object) -> None:
        if is_stopping():
            raise Cancelled

    offers_of(catalog)
    for name in catalog.names:
        dataset = catalog.dataset(name)
        for context in dataset.contexts:
            try:
                _warm_context(catalog, dataset, context, say=say)
            except Cancelled:
                return
            except InputError as error:
                _log.warning("not warmed: %s, %s: %s", name, context, error)
            except Exception:
                _log.exception("not warmed: %s, %s", name, context)


def _warm_context(catalog: Catalog, dataset: Dataset, context: str, *, say: Callable[[str, float], None]) -> None:
    view, _ = read_view({"dataset": dataset.name, "context": context}, catalog)
    prepare_maps(catalog, view, say)
    answer = answer_view(catalog, view, fallback=default_query(dataset))
    prepare_details(catalog, answer.view, answer.pair, say=say)
