"""What the page of contexts asks for: the view of a link, checked; the work behind it; and its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from explorer.align import METHODS
from explorer.card import Caution
from explorer.catalog import Catalog, identity_of, shared_map
from explorer.context_reports import (
    OverlapReport,
    Place,
    inactive_in,
    other_places,
    passports_of,
    shared_overlap,
    shared_report,
)
from explorer.contexts import ContextReport
from explorer.errors import InputError, as_text, listed, shown, unknown_name
from explorer.judgements import usual_alignment
from explorer.keeping import Shared
from explorer.load import Dataset
from explorer.passport import Passport, PassportComparison
from explorer.text import file_name
from explorer.verdict import Progress
from explorer.view import attempt, chooser, default_query, default_sides, parameter_texts, validated_choice
from explorer.work import Ticket, shared_workshop

SEED = 0
K = 10
# A menu that a browser can still search; of more perturbations the name is typed.
MOST_LISTED = 20_000
MOST_REPORTS = 64

_reports = Shared(MOST_REPORTS)


@dataclass(frozen=True, slots=True)
class HeldView:
    """All that decides what is asked of other contexts.

    Attributes
    ----------
    dataset, context
        Where the neighbours are found.
    others
        Where they are to hold, as the menu names them: ``context``, or ``dataset/context`` of another data set.
    representation, align
        Whose neighbours, and how its rows were aligned.
    simple, learned
        Representations whose maps are compared as wholes; ``left`` and ``right`` in a link.
    query
        Perturbation whose neighbours are shown; empty for the data set's own default.
    recipes
        Fingerprints of the maps that the link was made from; empty for a view that names none.
    """

    dataset: str
    context: str
    others: tuple[str, ...]
    representation: str
    simple: str
    learned: str
    align: str
    query: str = ""
    recipes: str = ""

    @property
    def here(self) -> Place:
        """Where the neighbours are found."""
        return Place(self.dataset, self.context, self.representation, self.align)


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A view, and what holds of its map.

    Attributes
    ----------
    view
        What was asked for.
    report
        Every edge of the map, judged in each other context.
    passport, comparisons
        Conditions of the context, and how each other one differs, in the order of ``report.others``.
    recipes
        Fingerprints of the map, and of that of each other context, joined by full stops.
    cautions
        Perturbations that the card says to distrust, and why.
    inactive
        Perturbations whose replicates were judged where the neighbours are found, and not found active.
    """

    view: HeldView
    report: ContextReport
    passport: Passport
    comparisons: tuple[PassportComparison, ...]
    recipes: str = field(repr=False)
    cautions: tuple[Caution, ...] = field(repr=False, default=())
    inactive: frozenset[str] = field(repr=False, default=frozenset())

    @property
    def doubtful(self) -> frozenset[str]:
        """Perturbations that the card says to distrust."""
        return frozenset().union(*(caution.perturbations for caution in self.cautions))


# ---------------------------------------------------------------- the view


def simple_names(dataset: Dataset) -> tuple[str, ...]:
    """Representations that may be the simple side: those of that kind, else all."""
    return _of_kind(dataset, "simple")


def learned_names(dataset: Dataset) -> tuple[str, ...]:
    """Representations that may be the learned side: those of that kind, else all."""
    return _of_kind(dataset, "learned")


def _of_kind(dataset: Dataset, kind: str) -> tuple[str, ...]:
    cards = dataset.card.representations.values()
    return tuple(card.name for card in cards if card.kind == kind) or tuple(card.name for card in cards)


def options_of(catalog: Catalog, here: Place) -> dict[str, Place]:
    """List the contexts to compare with, by the name that menus and links give them."""
    # What can't be read is said where the answer would stand.
    places, _ = attempt(lambda: other_places(catalog, here))
    options: dict[str, Place] = {}
    for place in places or ():
        options.setdefault(name_of(place, here), place)
    return options


def name_of(place: Place, here: Place) -> str:
    """Name a place as it is called from another: ``context``, or ``dataset/context`` where data sets differ."""
    return place.context if place.dataset == here.dataset else f"{place.dataset}/{place.context}"


def places_of(catalog: Catalog, view: HeldView) -> tuple[Place, ...]:
    """Find the other contexts of a view.

    Raises
    ------
    InputError
        When there is none to compare with, or one is unknown.
    """
    options = options_of(catalog, view.here)
    return tuple(options[name] for name in _checked_others(catalog, view.here, list(view.others), options))


def usual_others(options: Mapping[str, Place], here: Place) -> tuple[str, ...]:
    """Name the contexts to compare with where none is chosen: those of the same data set, else the first."""
    own = tuple(name for name, place in options.items() if place.dataset == here.dataset)
    return own or tuple(options)[:1]


def default_held_view(catalog: Catalog, dataset: Dataset, context: str = "") -> HeldView:
    """View to begin with: the card's representations and alignment, and every other context of the data set."""
    name = dataset.context(context) if context else dataset.context()
    left, right = default_sides(dataset)
    simple, learned = simple_names(dataset), learned_names(dataset)
    view = HeldView(
        dataset=dataset.name,
        context=name,
        others=(),
        representation=left,
        simple=left if left in simple else simple[0],
        learned=right if right in learned else learned[0],
        align=usual_alignment(dataset, name),
    )
    return replace(view, others=usual_others(options_of(catalog, view.here), view.here))


def read_held_view(parameters: Mapping[str, object], catalog: Catalog) -> tuple[HeldView, tuple[str, ...]]:
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
        A view in which every value but the query exists (that is checked against the report, by `checked_query`), and
        one sentence for each parameter that was replaced.
    """
    given = parameter_texts(parameters)
    problems: list[str] = []
    choose = chooser(given, problems)

    dataset = catalog.dataset(choose("dataset", "dataset", catalog.names, catalog.names[0]))
    context = choose("context", "context", dataset.contexts, dataset.context())
    usual = default_held_view(catalog, dataset, context)
    view = replace(
        usual,
        representation=choose("representation", "representation", dataset.card.representations, usual.representation),
        simple=choose("left", "simple representation", simple_names(dataset), usual.simple),
        learned=choose("right", "learned representation", learned_names(dataset), usual.learned),
        align=choose("align", "alignment", METHODS, usual.align),
        query=given.get("query", ""),
        recipes=given.get("recipes", ""),
    )
    if "others" not in given:
        return view, tuple(problems)
    options = options_of(catalog, view.here)
    asked = [name for name in given["others"].split(",") if name]
    kept = tuple(name for name in options if name in asked)
    unknown = [name for name in asked if name not in options]
    if unknown or not kept:
        fallback = kept or usual_others(options, view.here)
        what = f"unknown contexts {listed(unknown)}" if unknown else "no other context was named"
        problems.append(f"{what}: comparing with {', '.join(fallback) or 'none'}")
        kept = fallback
    return replace(view, others=kept), tuple(problems)


def first_held_view(name: object, linked: HeldView, catalog: Catalog) -> HeldView:
    """View to begin with after a dataset was chosen: the link's own, else the default one."""
    if name == linked.dataset:
        return linked
    return default_held_view(catalog, catalog.dataset(validated_choice(name, catalog.names, kind="dataset")))


def chosen_others(catalog: Catalog, first: HeldView, context: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """List what the menu of other contexts offers once a context was chosen, and what is chosen in it at first."""
    here = replace(first.here, context=_known_context(catalog, first.dataset, context))
    options = options_of(catalog, here)
    kept = tuple(name for name in first.others if name in options) if here == first.here else ()
    return tuple(options), kept or usual_others(options, here)


def _known_context(catalog: Catalog, dataset: str, context: object) -> str:
    contexts = catalog.dataset(dataset).contexts
    return context if isinstance(context, str) and context in contexts else contexts[0]


def checked_held_view(catalog: Catalog, **values: object) -> HeldView:
    """Make a view of what the controls say; a browser can send anything, so every value is checked.

    Raises
    ------
    InputError
        When a value was not on offer, or there is nothing to compare with.
    """
    dataset = catalog.dataset(as_text(values["dataset"]))
    representations = tuple(dataset.card.representations)
    view = HeldView(
        dataset=dataset.name,
        context=validated_choice(values["context"], dataset.contexts, kind="context"),
        others=(),
        representation=validated_choice(values["representation"], representations, kind="representation"),
        simple=validated_choice(values["simple"], simple_names(dataset), kind="simple representation"),
        learned=validated_choice(values["learned"], learned_names(dataset), kind="learned representation"),
        align=validated_choice(values["align"], METHODS, kind="alignment"),
    )
    options = options_of(catalog, view.here)
    return replace(view, others=_checked_others(catalog, view.here, values["others"], options))


def _checked_others(catalog: Catalog, here: Place, asked: object, options: Mapping[str, Place]) -> tuple[str, ...]:
    if not options:
        # Whatever keeps the names from being read is the reason.
        other_places(catalog, here)
        message = (
            f"{shown(here.dataset)} has no context but {shown(here.context)}, and no other data set on offer names its "
            "perturbations alike, so nothing can be compared: bring a second context, as another table of [contexts] "
            "in its card.toml"
        )
        raise InputError(message)
    named = asked if isinstance(asked, list | tuple) else [asked]
    chosen = {validated_choice(name, options, kind="context to compare with") for name in named}
    if not chosen:
        msg = f"no other context is chosen: choose at least one of {listed(options)}"
        raise InputError(msg)
    return tuple(name for name in options if name in chosen)


def checked_query(catalog: Catalog, held: Held, query: object) -> tuple[str, str]:
    """Find the perturbation whose neighbours to show; upper case is tried too.

    Returns
    -------
    tuple
        One that the report has (the card's default, or the first, where it has not the one asked for), and a sentence
        that says so, else an empty one.
    """
    names = frozenset(held.report.names)
    asked = as_text(query)
    found = next((name for name in (asked, asked.upper()) if name in names), "")
    if found:
        return found, ""
    usual = default_query(catalog.dataset(held.view.dataset))
    instead = usual if usual in names else held.report.names[0]
    if not asked:
        return instead, ""
    return instead, f"{unknown_name('perturbation', asked, held.report.names)}; showing {shown(instead)} instead"


def held_link(view: HeldView, *, recipes: str = "") -> dict[str, str]:
    """Write a view as the parameters of a link; `read_held_view` gives it back."""
    return {
        "dataset": view.dataset,
        "context": view.context,
        "others": ",".join(view.others),
        "representation": view.representation,
        "left": view.simple,
        "right": view.learned,
        "align": view.align,
        "query": view.query,
        "recipes": recipes or view.recipes,
    }


def linked(held: Held, query: str) -> dict[str, str]:
    """Write what is shown as the parameters of a link."""
    return held_link(replace(held.view, query=query), recipes=held.recipes)


def sides(view: HeldView) -> tuple[str, ...]:
    """Representations whose maps are compared: the simple and the learned one, each once."""
    return tuple(dict.fromkeys((view.simple, view.learned)))


def held_link_warning(linked: HeldView, held: Held) -> str:
    """Say whether a link was made from other data or another method than what is shown; empty if not."""
    same = all(
        getattr(linked, name) == getattr(held.view, name)
        for name in ("dataset", "context", "others", "representation", "align")
    )
    if not linked.recipes or not same or linked.recipes == held.recipes:
        return ""
    return (
        "the data or the method changed since this link was made, so what is shown may not be what it showed then "
        f"(recipes then {shown(linked.recipes)}, now {held.recipes})"
    )


def file_stem(view: HeldView) -> str:
    """Begin the name of an exported file with what it shows: representation, dataset, context and the others."""
    return file_name(view.representation, view.dataset, view.context, "in", *view.others)


def lists_names(held: Held) -> bool:
    """Whether the perturbations are few enough for a menu."""
    return len(held.report.names) <= MOST_LISTED


def clicked_name(cells: object, held: Held) -> str:
    """Read which perturbation was clicked in a table; empty where it was none, whatever a browser sends."""
    value = getattr(cells[0], "value", None) if isinstance(cells, list | tuple) and len(cells) == 1 else None
    return value if isinstance(value, str) and value in held.report.names else ""


# ---------------------------------------------------------------- the work


def start_report(catalog: Catalog, view: HeldView) -> Ticket[Held]:
    """Begin to judge the edges of a map in other contexts.

    Raises
    ------
    InputError
        When there is nothing to compare with.
    """
    others = places_of(catalog, view)

    def make(say: Progress) -> Held:
        report = report_of(catalog, view.here, others, progress=say)
        passport, comparisons = passports_of(catalog, view.here, others)
        cautions = catalog.dataset(view.dataset).card.cautions
        inactive = inactive_in(catalog, view.here)
        return Held(view, report, passport, comparisons, recipes_of(catalog, view), cautions, inactive)

    return shared_workshop.start(("held", *_key(catalog, view.here, others), view), make)


def report_of(
    catalog: Catalog, here: Place, others: Sequence[Place], *, progress: Progress | None = None
) -> ContextReport:
    """Judge the edges of a context in others, as `explorer.context_reports.shared_report` does; a click finds it made.

    Raises
    ------
    InputError
        As that.
    """
    key = (*_key(catalog, here, others), K, SEED)
    # What can't be judged is remembered like what can: a click must not try again.
    report, problem = _reports.get(
        key,
        lambda: attempt(lambda: shared_report(catalog, here, others, k=K, seed=SEED, progress=progress)),
    )
    if report is None:
        raise InputError(problem)
    return report


def start_overlaps(catalog: Catalog, view: HeldView) -> Ticket[tuple[OverlapReport, ...]]:
    """Begin to compare the neighbourhoods of all representations with those in each other context."""
    others = places_of(catalog, view)

    def make(say: Progress) -> tuple[OverlapReport, ...]:
        found = []
        for place, other in enumerate(others):
            found.append(
                shared_overlap(
                    catalog,
                    view.here,
                    other,
                    simple=view.simple,
                    learned=view.learned,
                    k=K,
                    seed=SEED,
                    progress=_part(say, place / len(others), (place + 1) / len(others)),
                )
            )
        return tuple(found)

    return shared_workshop.start(_overlap_key(catalog, view, others), make)


def found_overlaps(catalog: Catalog, view: HeldView) -> tuple[OverlapReport, ...] | None:
    """Take what `start_overlaps` made; None while there is nothing."""
    ticket = shared_workshop.find(_overlap_key(catalog, view, places_of(catalog, view)))
    return None if ticket is None else ticket.result


def recipes_of(catalog: Catalog, view: HeldView) -> str:
    """Name the recipes of the map, and of that of each other context, as a link carries them."""
    places = (view.here, *places_of(catalog, view))
    made = (
        shared_map(catalog.dataset(place.dataset), place.context, place.representation, alignment=place.align)
        for place in places
    )
    return ".".join(one.fingerprint for one in made)


def _part(say: Progress, start: float, stop: float) -> Progress:
    """Report progress of a part of the work as that of the whole."""
    return lambda what, share: say(what, start + (stop - start) * share)


def _key(catalog: Catalog, here: Place, others: Sequence[Place]) -> tuple[object, ...]:
    """Everything that decides a report."""
    datasets = dict.fromkeys(place.dataset for place in (here, *others))
    identities = tuple(identity_of(catalog.dataset(name)) for name in datasets)
    return (identities, here, tuple(others))


def _overlap_key(catalog: Catalog, view: HeldView, others: Sequence[Place]) -> tuple[object, ...]:
    return ("overlaps", *_key(catalog, view.here, others), view.simple, view.learned)
