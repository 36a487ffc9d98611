"""The state of a view, as a link carries it: read, checked against what exists, and written back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from explorer.aggregate import PerturbationMap
from explorer.align import METHODS
from explorer.catalog import Catalog
from explorer.compare import common_maps
from explorer.errors import InputError, shown, unknown_name
from explorer.load import Dataset

DEFAULT_K = 10
MOST_NEIGHBORS = 50
MOST_HIGHLIGHTS = 1_000
SIMILAR, OPPOSITE = "similar", "opposite"
DIRECTIONS = (SIMILAR, OPPOSITE)


@dataclass(frozen=True, slots=True)
class View:
    """All that decides what is seen.

    Attributes
    ----------
    dataset, context, query, left, right, align, k
        As in the link.
    direction
        ``similar`` or ``opposite``.
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
    given = {
        str(key): str(value[0] if isinstance(value, list) and value else value) for key, value in parameters.items()
    }
    problems: list[str] = []

    def choose(name: str, kind: str, options: Iterable[str], default: str) -> str:
        every = list(options)
        value = given.get(name, default)
        if value in every:
            return value
        problems.append(f"{unknown_name(kind, value, every)}; showing {shown(default)} instead")
        return default

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
        align=choose("align", "alignment", METHODS, defaults.get("align", "none")),
        k=k,
        direction=choose("direction", "direction", DIRECTIONS, SIMILAR),
        highlights=read_names(given.get("list", "")),
        recipes=given.get("recipes", ""),
    )
    return view, tuple([*problems, *([problem] if problem else [])])


def default_sides(dataset: Dataset) -> tuple[str, str]:
    """Representations to show first: the card's defaults, else the first simple and the first learned one."""
    defaults = dataset.card.defaults or {}
    cards = dataset.card.representations.values()
    simple = [card.name for card in cards if card.kind == "simple"] or [card.name for card in cards]
    learned = [card.name for card in cards if card.kind == "learned"] or [*simple[1:], *simple]
    return defaults.get("left", simple[0]), defaults.get("right", learned[0])


def check_query(view: View, left: PerturbationMap, right: PerturbationMap) -> tuple[View, str]:
    """Make sure that the query and k exist in both maps.

    Returns
    -------
    tuple
        The view, with the first perturbation and the largest k that can be had where its own can't, and a
        sentence that says so, else an empty one.
    """
    one, _ = common_maps(left, right)
    sentences = []
    if view.query and view.query not in set(one.names):
        sentences.append(
            f"{unknown_name('perturbation', view.query, one.names)}; showing {shown(one.names[0])} instead"
        )
    query = view.query if view.query in set(one.names) else one.names[0]
    k = min(view.k, one.n_perturbations - 1)
    if k < view.k:
        sentences.append(f"k = {view.k} can't be had from {one.n_perturbations} perturbations; showing k = {k} instead")
    return replace(view, query=query, k=k), "; ".join(sentences)


def link_parameters(view: View) -> dict[str, str]:
    """Write a view as the parameters of a link; `read_view` gives it back."""
    parameters = {
        "dataset": view.dataset,
        "context": view.context,
        "query": view.query,
        "left": view.left,
        "right": view.right,
        "align": view.align,
        "k": str(view.k),
    }
    if view.opposite:
        parameters["direction"] = view.direction
    if view.highlights:
        parameters["list"] = ",".join(view.highlights)
    if view.recipes:
        parameters["recipes"] = view.recipes
    return parameters


def recipes_of(left: PerturbationMap, right: PerturbationMap) -> str:
    """Name the recipes of two maps as a link carries them."""
    return f"{left.fingerprint}.{right.fingerprint}"


def recipe_warning(view: View, left: PerturbationMap, right: PerturbationMap) -> str:
    """Say whether a link was made from other data or another method than what is shown; empty if not."""
    if not view.recipes or view.recipes == recipes_of(left, right):
        return ""
    return (
        f"this link was made from the recipes {shown(view.recipes)}, shown is {recipes_of(left, right)}: "
        "the data or the method changed since"
    )


def read_names(text: str) -> tuple[str, ...]:
    """Split a pasted list at commas, semicolons, white space and line breaks; each name once, 1,000 at most."""
    names = dict.fromkeys(name for name in re.split(r"[,;\s]+", text) if name)
    return tuple(names)[:MOST_HIGHLIGHTS]


def found_and_missing(
    names: Iterable[str], perturbation_map: PerturbationMap
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split a user's list into names that the map has (upper case tried too) and names that it has not."""
    known = set(perturbation_map.names)
    found: list[str] = []
    missing: list[str] = []
    for name in names:
        match = name if name in known else name.upper()
        (found if match in known else missing).append(match if match in known else name)
    return tuple(dict.fromkeys(found)), tuple(missing)


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
