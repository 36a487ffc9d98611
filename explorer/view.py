"""The state of a view, as a link carries it: read, checked against what exists, and written back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TypeVar
from urllib.parse import quote_plus

from explorer.aggregate import PerturbationMap
from explorer.align import METHODS
from explorer.catalog import Catalog
from explorer.compare import common_maps
from explorer.errors import InputError, as_text, listed, shown, unknown_name
from explorer.judgements import usual_alignment
from explorer.load import Dataset

T = TypeVar("T")

DEFAULT_K = 10
MOST_NEIGHBORS = 50
MOST_HIGHLIGHTS = 1_000
# Of a list within a link, percent-encoded: servers refuse an address of more than 8,192 characters.
MOST_LINK_CHARACTERS = 4_000
SIMILAR, OPPOSITE = "similar", "opposite"
DIRECTIONS = (SIMILAR, OPPOSITE)
EVERY, ACTIVE = "all", "active"
AMONG = (EVERY, ACTIVE)
AMONG_OPTIONS = {"all perturbations": EVERY, "active ones": ACTIVE}


@dataclass(frozen=True, slots=True)
class View:
    """All that decides what is seen.

    Attributes
    ----------
    dataset, context, query, left, right, align, k
        As in the link.
    direction
        ``similar`` or ``opposite``.
    among
        ``all`` perturbations, or those ``active`` on at least one side.
    highlights
        Perturbations of the user's own list.
    recipes
        Fingerprints of the two maps that the link was made from; empty for a view that names none.
    """

    dataset: str
    context: str
    query: str
    left: str
    right: str
    align: str = "none"
    k: int = DEFAULT_K
    direction: str = SIMILAR
    highlights: tuple[str, ...] = ()
    recipes: str = ""
    among: str = EVERY

    @property
    def opposite(self) -> bool:
        """Whether the most negative similarities are asked for."""
        return self.direction == OPPOSITE


def read_view(parameters: Mapping[str, object], catalog: Catalog) -> tuple[View, tuple[str, ...]]:
    """Read a view from the parameters of a link; what can't be used falls back to the default and is said.

    Parameters
    ----------
    parameters
        Names and values, as the browser sent them: nothing in them is trusted.
    catalog
        The datasets on offer.

    Returns
    -------
    tuple
        A view in which every value but the query exists (that is checked against the maps, by `check_query`),
        and one sentence for each parameter that was replaced.
    """
    given = parameter_texts(parameters)
    problems: list[str] = []
    choose = chooser(given, problems)

    dataset = catalog.dataset(choose("dataset", "dataset", catalog.names, catalog.names[0]))
    defaults = dataset.card.defaults or {}
    representations = tuple(dataset.card.representations)
    left, right = default_sides(dataset)
    context = choose("context", "context", dataset.contexts, dataset.context())
    k, problem = _read_k(given.get("k", defaults.get("k", str(DEFAULT_K))))
    view = View(
        dataset=dataset.name,
        context=context,
        query=given.get("query", defaults.get("query", "")),
        left=choose("left", "representation", representations, left),
        right=choose("right", "representation", representations, right),
        align=choose("align", "alignment", METHODS, usual_alignment(dataset, context)),
        k=k,
        direction=choose("direction", "direction", DIRECTIONS, SIMILAR),
        among=choose("among", "choice of perturbations", AMONG, EVERY),
        highlights=read_names(given.get("list", "")),
        recipes=given.get("recipes", ""),
    )
    return view, tuple([*problems, *([problem] if problem else [])])


def chooser(given: Mapping[str, str], problems: list[str]) -> Callable[[str, str, Iterable[str], str], str]:
    """Make a function that takes a parameter of a link where it was on offer, and else its default, and notes that.

    Parameters
    ----------
    given
        Parameters as text, as `parameter_texts` gives them.
    problems
        Where a sentence is put for each parameter that was replaced.

    Returns
    -------
    callable
        Of a parameter's name, what kind of name it is, what is on offer, and the default, which need not be.
    """

    def choose(name: str, kind: str, options: Iterable[str], default: str) -> str:
        every = list(options)
        value = given.get(name, default)
        if value in every or value == default:
            return value
        problems.append(f"{unknown_name(kind, value, every)}; showing {shown(default)} instead")
        return default

    return choose


def parameter_texts(parameters: Mapping[str, object]) -> dict[str, str]:
    """Take the parameters of a link as text, of several of one name the first."""
    given = {}
    for key, value in parameters.items():
        given[as_text(key)] = as_text(value[0] if isinstance(value, list) and value else value)
    return given


def default_sides(dataset: Dataset) -> tuple[str, str]:
    """Representations to show first: the card's defaults, else the first simple and the first learned one."""
    defaults = dataset.card.defaults or {}
    cards = dataset.card.representations.values()
    simple = [card.name for card in cards if card.kind == "simple"] or [card.name for card in cards]
    learned = [card.name for card in cards if card.kind == "learned"] or [*simple[1:], *simple]
    return defaults.get("left", simple[0]), defaults.get("right", learned[0])


def names_of_kind(dataset: Dataset, kind: str) -> tuple[str, ...]:
    """Representations of a kind; all of them where none is of it."""
    cards = dataset.card.representations.values()
    return tuple(card.name for card in cards if card.kind == kind) or tuple(card.name for card in cards)


def default_query(dataset: Dataset) -> str:
    """Query to show where there is no other: the card's default; empty where it names none."""
    return (dataset.card.defaults or {}).get("query", "")


def check_query(view: View, left: PerturbationMap, right: PerturbationMap, *, fallback: str = "") -> tuple[View, str]:
    """Make sure that the query and k exist in both maps.

    Parameters
    ----------
    view, left, right
        The view, and its maps.
    fallback
        Query to show instead of one that the maps have not; the first perturbation where they have not this either.

    Returns
    -------
    tuple
        The view, with the first perturbation and the largest k that can be had where its own can't, and a
        sentence that says so, else an empty one.
    """
    one, _ = common_maps(left, right)
    sentences = []
    query = next(name for name in (view.query, fallback, one.names[0]) if name in one)
    if view.query and query != view.query:
        sentences.append(f"{unknown_name('perturbation', view.query, one.names)}; showing {shown(query)} instead")
    k = min(view.k, one.n_perturbations - 1)
    if k < view.k:
        sentences.append(f"k = {view.k} can't be had from {one.n_perturbations} perturbations; showing k = {k} instead")
    return replace(view, query=query, k=k), "; ".join(sentences)


def first_view(name: object, linked: View, catalog: Catalog) -> View:
    """View to begin with after a dataset was chosen: the link's own, else the dataset's defaults."""
    if name == linked.dataset:
        return linked
    view, _ = read_view({"dataset": validated_choice(name, catalog.names, kind="dataset")}, catalog)
    return view


def checked_view(catalog: Catalog, **values: object) -> View:
    """Make a view of what the controls say; a browser can send anything, so every value is checked.

    Parameters
    ----------
    catalog
        The datasets on offer.
    **values
        Fields of `View`; `query` may be any text, since only the maps can tell whether it exists.

    Raises
    ------
    InputError
        When a value was not on offer.
    """
    dataset = catalog.dataset(as_text(values["dataset"]))
    representations = tuple(dataset.card.representations)
    names = values.get("highlights", ())
    return View(
        dataset=dataset.name,
        context=validated_choice(values["context"], dataset.contexts, kind="context"),
        query=as_text(values["query"]),
        left=validated_choice(values["left"], representations, kind="representation"),
        right=validated_choice(values["right"], representations, kind="representation"),
        align=validated_choice(values["align"], METHODS, kind="alignment"),
        k=validated_k(values["k"]),
        direction=validated_choice(values["direction"], DIRECTIONS, kind="direction"),
        among=validated_choice(values.get("among", EVERY), AMONG, kind="choice of perturbations"),
        highlights=tuple(as_text(name) for name in names)[:MOST_HIGHLIGHTS] if isinstance(names, tuple) else (),
    )


def link_parameters(view: View, *, recipes: str = "") -> dict[str, str]:
    """Write a view as the parameters of a link; `read_view` gives it back.

    Parameters
    ----------
    view
        What is seen.
    recipes
        Fingerprints of the two maps, from `recipes_of`.
    """
    return {
        "dataset": view.dataset,
        "context": view.context,
        "query": view.query,
        "left": view.left,
        "right": view.right,
        "align": view.align,
        "k": str(view.k),
        "direction": view.direction,
        "among": view.among,
        "list": ",".join(linkable(view.highlights)),
        "recipes": recipes or view.recipes,
    }


def link_notice(view: View) -> str:
    """Say when the user's list is too long for a link; empty when all of it is in the link."""
    carried, given = len(linkable(view.highlights)), len(view.highlights)
    return "" if carried == given else f"only the first {carried:,} of the {given:,} names of your list are in the link"


def linkable(names: tuple[str, ...]) -> tuple[str, ...]:
    """Take the first names of a list, as many as a link carries."""
    ends = accumulate(len(quote_plus(f"{name},")) for name in names)
    return names[: sum(end <= MOST_LINK_CHARACTERS for end in ends)]


def recipes_of(left: PerturbationMap, right: PerturbationMap) -> str:
    """Name the recipes of two maps as a link carries them."""
    return f"{left.fingerprint}.{right.fingerprint}"


def recipe_warning(linked: View, shown_view: View, *, recipes: str) -> str:
    """Say whether a link was made from other data or another method than what is shown; empty if not.

    Parameters
    ----------
    linked
        The view that the link asked for.
    shown_view
        The view that is shown; once the user has changed a recipe there is nothing to warn of.
    recipes
        Fingerprints of the maps shown.
    """
    same = all(
        getattr(linked, name) == getattr(shown_view, name)
        for name in ("dataset", "context", "left", "right", "align", "among")
    )
    if not linked.recipes or not same or linked.recipes == recipes:
        return ""
    return (
        "the data or the method changed since this link was made, so what is shown may not be what it showed then "
        f"(recipes then {shown(linked.recipes)}, now {recipes})"
    )


def read_names(text: str) -> tuple[str, ...]:
    """Split a pasted list at commas, semicolons, white space and line breaks; each name once, 1,000 at most."""
    names = dict.fromkeys(name for name in re.split(r"[,;\s]+", text) if name)
    return tuple(names)[:MOST_HIGHLIGHTS]


def found_in_map(names: Iterable[str], perturbation_map: PerturbationMap) -> tuple[tuple[str, ...], str]:
    """Look a user's list up in a map; upper case is tried too.

    Returns
    -------
    tuple
        The names found, each once, and a sentence about those that were not, empty when all were.
    """
    found: dict[str, None] = {}
    missing: list[str] = []
    for name in names:
        match = name if name in perturbation_map else name.upper()
        if match in perturbation_map:
            found[match] = None
        else:
            missing.append(name)
    if not missing:
        return tuple(found), ""
    return tuple(
        found
    ), f"{len(missing)} of {len(missing) + len(found)} names of your list are not in this map: {listed(missing)}"


def _read_k(text: str) -> tuple[int, str]:
    try:
        k = int(text)
    except ValueError:
        k = 0
    if 1 <= k <= MOST_NEIGHBORS:
        return k, ""
    return (
        DEFAULT_K,
        f"k = {shown(text)} is not a number from 1 to {MOST_NEIGHBORS}; showing k = {DEFAULT_K} instead",
    )


def attempt(make: Callable[[], T]) -> tuple[T | None, str]:
    """Make something of the user's input: the value and no message, or no value and the one-line message."""
    try:
        return make(), ""
    except InputError as error:
        return None, str(error)


def validated_choice(value: object, options: Iterable[str], *, kind: str) -> str:
    """Check a value that came from a browser against what was offered; clients can send anything.

    Raises
    ------
    InputError
        When it was not offered.
    """
    every = tuple(options)
    if isinstance(value, str) and value in every:
        return value
    raise unknown_name(kind, value, every)


def validated_k(value: object) -> int:
    """Check a number of neighbours that came from a browser.

    Raises
    ------
    InputError
        When it is not a whole number from 1 to 50.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_NEIGHBORS:
        return value
    message = f"k = {shown(value)} can't be used: choose a whole number from 1 to {MOST_NEIGHBORS}"
    raise InputError(message)
