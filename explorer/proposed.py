"""What the page of the shortlist asks for: the view of a link, checked; and the work behind it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlencode

from explorer.align import METHODS
from explorer.card import Caution
from explorer.catalog import Catalog, identity_of, shared_knowledge, shared_map
from explorer.digits import counted
from explorer.errors import InputError, as_text, listed, nearest_names, shown
from explorer.gathered_evidence import Evidence
from explorer.load import Dataset
from explorer.shortlist import DEFAULT_BUDGET, MOST_BUDGET, check_pairs
from explorer.shortlists import (
    COMPARE,
    DISCOVER,
    MODES,
    MOST_INTEREST,
    Listed,
    ListPlan,
    Mode,
    default_list_plan,
    other_names,
    shared_evidence,
    shared_list,
)
from explorer.text import file_name
from explorer.verdict import Progress
from explorer.view import attempt, chooser, linkable, names_of_kind, parameter_texts, validated_choice
from explorer.work import Ticket, shared_workshop

MODE_OPTIONS: Mapping[str, Mode] = {
    "discover: as many hits as can be": DISCOVER,
    "compare: let the experiments judge the two maps, blind": COMPARE,
}
# Shares of the truth that the annotation may hold, as menus and links write them.
COMPLETENESS_OPTIONS: Mapping[str, tuple[float, ...]] = {
    "90/80/70 %": (0.9, 0.8, 0.7),
    "70/50/40 %": (0.7, 0.5, 0.4),
    "50/30/20 %": (0.5, 0.3, 0.2),
    "30/20/10 %": (0.3, 0.2, 0.1),
}
USUAL_COMPLETENESS = "70/50/40 %"
YES, NO = "yes", "no"
# Signs of a pasted list of names that are read.
MOST_CHARACTERS = 200_000
# Of names that are unknown the nearest is looked for; comparing takes a while.
_MOST_COMPARED = 3


@dataclass(frozen=True, slots=True)
class ListView:
    """All that decides what is listed.

    Attributes
    ----------
    plan
        What is asked for; its perturbations of interest as they were typed.
    recipes
        Fingerprints of the maps that the link was made from; empty for a view that names none.
    """

    plan: ListPlan
    recipes: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Proposed:
    """A view, and the list that was made for it.

    Attributes
    ----------
    view
        What was asked for.
    found
        The list.
    unknown
        Which of the perturbations of interest are not in the maps, in a sentence; else empty.
    cautions
        Perturbations that the card says to distrust, and why.
    """

    view: ListView
    found: Listed
    unknown: str = ""
    cautions: tuple[Caution, ...] = field(repr=False, default=())

    @property
    def is_blind(self) -> bool:
        """Whether nothing may tell who proposed which pair."""
        return self.found.plan.mode == COMPARE


# ---------------------------------------------------------------- the view


def simple_names(dataset: Dataset) -> tuple[str, ...]:
    """Representations that may be the simple side: those of that kind, else all."""
    return names_of_kind(dataset, "simple")


def learned_names(dataset: Dataset) -> tuple[str, ...]:
    """Representations that may be the learned side: those of that kind, else all."""
    return names_of_kind(dataset, "learned")


def source_names(dataset: Dataset) -> tuple[str, ...]:
    """Name the sources of what is known beside a data set, pairs before gene sets; none where they can't be read."""
    knowledge, _ = attempt(lambda: shared_knowledge(dataset))
    if knowledge is None:
        return ()
    names = [source.name for source in knowledge.relationships] + [source.name for source in knowledge.gene_sets]
    return tuple(dict.fromkeys(names))


def has_cautions(catalog: Catalog, view: ListView) -> bool:
    """Whether a card says to distrust anybody."""
    return bool(catalog.dataset(view.plan.dataset).card.cautions)


def default_list_view(catalog: Catalog, dataset: Dataset, context: str = "") -> ListView:
    """View to begin with: the card's two maps and alignment, every other context of the data set, its known pairs."""
    plan = default_list_plan(catalog, dataset.name, context)
    simple, learned = simple_names(dataset), learned_names(dataset)
    return ListView(
        replace(
            plan,
            simple=plan.simple if plan.simple in simple else simple[0],
            learned=plan.learned if plan.learned in learned else learned[0],
            sources=plan.sources or source_names(dataset),
            only_trusted=bool(dataset.card.cautions),
        )
    )


def read_list_view(parameters: Mapping[str, object], catalog: Catalog) -> tuple[ListView, tuple[str, ...]]:
    """Read a view from the parameters of a link; what can't be used falls back to the default and is said.

    Parameters
    ----------
    parameters
        Names and values, as the browser sent them: nothing in them is trusted.
    catalog
        The data sets on offer.

    Returns
    -------
    tuple
        A view in which every value but the perturbations of interest exists (those are looked up in the maps), and one
        sentence for each parameter that was replaced.
    """
    given = parameter_texts(parameters)
    problems: list[str] = []
    choose = chooser(given, problems)

    def several(name: str, kind: str, options: Iterable[str], usual: tuple[str, ...]) -> tuple[str, ...]:
        if name not in given:
            return usual
        every = tuple(options)
        asked = [value for value in given[name].split(",") if value]
        if unknown := [value for value in asked if value not in every]:
            kept = tuple(value for value in every if value in asked) or usual
            problems.append(f"unknown {kind} {listed(unknown)}: showing {', '.join(kept) or 'none'}")
            return kept
        return tuple(value for value in every if value in asked)

    def is_on(name: str, kind: str, *, usual: bool) -> bool:
        return choose(name, kind, (YES, NO), YES if usual else NO) == YES

    dataset = catalog.dataset(choose("dataset", "dataset", catalog.names, catalog.names[0]))
    context = choose("context", "context", dataset.contexts, dataset.context())
    usual = default_list_view(catalog, dataset, context).plan
    mode = choose("mode", "mode", MODES, usual.mode)
    completeness = choose("completeness", "completeness", COMPLETENESS_OPTIONS, USUAL_COMPLETENESS)
    budget, problem = _read_budget(given.get("budget"))
    plan = replace(
        usual,
        mode=COMPARE if mode == COMPARE else DISCOVER,
        simple=choose("left", "simple representation", simple_names(dataset), usual.simple),
        learned=choose("right", "learned representation", learned_names(dataset), usual.learned),
        align=choose("align", "alignment", METHODS, usual.align),
        budget=budget,
        completeness=COMPLETENESS_OPTIONS[completeness],
        sources=several("sources", "sources", source_names(dataset), usual.sources),
        only_active=is_on("active", "choice of active ones", usual=usual.only_active),
        only_trusted=is_on("trusted", "choice of trusted ones", usual=usual.only_trusted),
        only_holding=is_on("holds", "choice of pairs that hold elsewhere", usual=usual.only_holding),
        interest=read_interest(given.get("interest", "")),
    )
    plan = replace(plan, others=several("others", "contexts", other_names(catalog, plan), usual.others))
    problems += [problem] if problem else []
    return ListView(plan, given.get("recipes", "")), tuple(problems)


def _read_budget(text: str | None) -> tuple[int, str]:
    if text is None:
        return DEFAULT_BUDGET, ""
    number = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else 0
    budget, problem = attempt(lambda: check_pairs(number))
    if budget is not None:
        return budget, ""
    problem = f"a list of {shown(text)} pairs can't be made: expected a whole number from 1 to {MOST_BUDGET:,}"
    return DEFAULT_BUDGET, f"{problem}; showing {DEFAULT_BUDGET} instead"


def read_interest(text: str) -> tuple[str, ...]:
    """Split a pasted list of perturbations at line breaks; what the maps do not have as it stands is split further.

    Parameters
    ----------
    text
        As typed or pasted, or as a link carries it; names may hold blanks and commas on a line of their own.
    """
    lines = (line.strip() for line in text[:MOST_CHARACTERS].splitlines())
    return tuple(dict.fromkeys(line for line in lines if line))[:MOST_INTEREST]


def known_interest(asked: Iterable[str], names: Iterable[str]) -> tuple[tuple[str, ...], str]:
    """Look perturbations of interest up; upper case is tried too.

    Parameters
    ----------
    asked
        Lines, each a name, or several with commas, semicolons or blanks between them.
    names
        Of the maps.

    Returns
    -------
    tuple
        Those found, each once, and a sentence about the others with the nearest names; empty when all were found.
    """
    every = dict.fromkeys(names)
    found: dict[str, None] = {}
    missing: list[str] = []
    for line in asked:
        for name in (line,) if line in every else [part for part in re.split(r"[,;\s]+", line) if part]:
            match = name if name in every else name.upper()
            if match in every:
                found[match] = None
            else:
                missing.append(name)
    missing = list(dict.fromkeys(missing))
    if not missing:
        return tuple(found), ""
    said = [_with_nearest(name, every) for name in missing[:_MOST_COMPARED]]
    more = f" … and {len(missing) - len(said):,} more" if len(missing) > len(said) else ""
    which = "is" if len(missing) == 1 else "are"
    return tuple(found), (
        f"{len(missing):,} of {counted(len(missing) + len(found), 'perturbation')} of interest {which} not in both "
        f"maps: {'; '.join(said)}{more}"
    )


def _with_nearest(name: str, every: Iterable[str]) -> str:
    near = nearest_names(name, every, limit=1)
    return f"{shown(name)} (did you mean {shown(near[0])}?)" if near else shown(name)


def first_list_view(name: object, linked: ListView, catalog: Catalog) -> ListView:
    """View to begin with after a data set was chosen: the link's own, else the default one."""
    if name == linked.plan.dataset:
        return linked
    return default_list_view(catalog, catalog.dataset(validated_choice(name, catalog.names, kind="dataset")))


def chosen_contexts(catalog: Catalog, first: ListView, context: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """List what the menu of other contexts offers once a context was chosen, and what is chosen in it at first."""
    dataset = catalog.dataset(first.plan.dataset)
    here = context if isinstance(context, str) and context in dataset.contexts else dataset.contexts[0]
    options = other_names(catalog, replace(first.plan, context=here))
    wanted = (
        first.plan.others if here == first.plan.context else tuple(name for name in dataset.contexts if name in options)
    )
    return options, tuple(name for name in options if name in wanted)


def checked_list_view(catalog: Catalog, **values: object) -> ListView:
    """Make a view of what the controls say; a browser can send anything, so every value is checked.

    Raises
    ------
    InputError
        When a value was not on offer.
    """
    dataset = catalog.dataset(as_text(values["dataset"]))
    mode = validated_choice(values["mode"], MODES, kind="mode")
    plan = ListPlan(
        mode=COMPARE if mode == COMPARE else DISCOVER,
        dataset=dataset.name,
        context=validated_choice(values["context"], dataset.contexts, kind="context"),
        others=(),
        simple=validated_choice(values["simple"], simple_names(dataset), kind="simple representation"),
        learned=validated_choice(values["learned"], learned_names(dataset), kind="learned representation"),
        align=validated_choice(values["align"], METHODS, kind="alignment"),
        budget=check_pairs(_whole(values["budget"])),
        sources=_several(values["sources"], source_names(dataset), kind="source"),
        completeness=_completeness(values["completeness"]),
        only_active=values["active"] is True,
        only_trusted=values["trusted"] is True,
        only_holding=values["holds"] is True,
        interest=read_interest(as_text(values["interest"])),
    )
    others = _several(values["others"], other_names(catalog, plan), kind="context to count in")
    if plan.only_holding and not others:
        message = "no other context is counted in, so no pair is known to hold elsewhere: choose one, or untick the box"
        raise InputError(message)
    return ListView(replace(plan, others=others))


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def budget_or_usual(value: object) -> int:
    """Take a number of pairs that a control names; the usual one where it can't be used."""
    budget, _ = attempt(lambda: check_pairs(_whole(value)))
    return DEFAULT_BUDGET if budget is None else budget


def _several(value: object, options: Iterable[str], *, kind: str) -> tuple[str, ...]:
    every = tuple(options)
    named = value if isinstance(value, list | tuple) else [value]
    chosen = {validated_choice(name, every, kind=kind) for name in named}
    return tuple(name for name in every if name in chosen)


def _completeness(value: object) -> tuple[float, ...]:
    for shares in COMPLETENESS_OPTIONS.values():
        if isinstance(value, list | tuple) and tuple(value) == shares:
            return shares
    message = (
        f"the annotation can't hold {shown(value)} of the truth here: choose one of {listed(COMPLETENESS_OPTIONS)}"
    )
    raise InputError(message)


def completeness_name(shares: tuple[float, ...]) -> str:
    """Name what the annotation may hold as the menu does; the usual one where the menu has none like it."""
    return next((name for name, every in COMPLETENESS_OPTIONS.items() if every == shares), USUAL_COMPLETENESS)


def mode_name(mode: Mode) -> str:
    """Name a mode as the menu does."""
    return next(name for name, value in MODE_OPTIONS.items() if value == mode)


def list_link(view: ListView, *, recipes: str = "") -> dict[str, str]:
    """Write a view as the parameters of a link; `read_list_view` gives it back."""
    plan = view.plan
    return {
        "dataset": plan.dataset,
        "context": plan.context,
        "others": ",".join(plan.others),
        "left": plan.simple,
        "right": plan.learned,
        "align": plan.align,
        "mode": plan.mode,
        "budget": str(plan.budget),
        "sources": ",".join(plan.sources),
        "completeness": completeness_name(plan.completeness),
        "active": YES if plan.only_active else NO,
        "trusted": YES if plan.only_trusted else NO,
        "holds": YES if plan.only_holding else NO,
        "interest": "\n".join(linkable(plan.interest)),
        "recipes": recipes or view.recipes,
    }


def linked(made: Proposed) -> dict[str, str]:
    """Write what is shown as the parameters of a link."""
    return list_link(made.view, recipes=made.found.recipes)


def link_warnings(asked: ListView, made: Proposed) -> list[str]:
    """Say whether a link was made from other data or another method than what is shown, and what it can't carry."""
    warned = []
    same = list_link(replace(asked, recipes="")) == list_link(replace(made.view, recipes=""))
    if asked.recipes and same and asked.recipes != made.found.recipes:
        warned.append(
            "the data or the method changed since this link was made, so the list may not be what it was then "
            f"(recipes then {shown(asked.recipes)}, now {made.found.recipes})"
        )
    given = made.view.plan.interest
    carried = len(linkable(given))
    if carried < len(given):
        warned.append(f"only the first {carried:,} of the {len(given):,} lines of interest are in the link")
    return warned


def interest_text(plan: ListPlan) -> str:
    """Write perturbations of interest as they were typed, one a line."""
    return "\n".join(plan.interest)


def file_stem(plan: ListPlan) -> str:
    """Begin the name of an exported file with what it holds."""
    return file_name("shortlist", plan.mode, plan.dataset, plan.context, plan.simple, plan.learned)


def page_links(plan: ListPlan, name: str) -> list[tuple[str, str]]:
    """List where a perturbation can be looked at in the other apps of a server: a label and a relative address each."""
    here = {"dataset": plan.dataset, "context": plan.context, "query": name, "align": plan.align}
    both = {"left": plan.simple, "right": plan.learned}
    return [
        (f"{name}: neighbours, side by side", f"../explore/?{urlencode(here | both)}"),
        (
            f"{name}: what holds elsewhere",
            f"../contexts/?{urlencode(here | both | {'representation': plan.simple})}",
        ),
    ]


def clicked_row(cells: object, n_rows: int) -> int | None:
    """Read which row of a table was clicked; None where it was none, whatever a browser sends."""
    cell = cells[0] if isinstance(cells, list | tuple) and len(cells) == 1 else None
    text = as_text(getattr(cell, "row", ""))
    number = int(text) if re.fullmatch(r"[0-9]{1,6}", text) else n_rows
    return number if number < n_rows else None


def chosen_row(value: object, n_rows: int) -> int:
    """Check a row that a control names; the first where it names none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < n_rows else 0


def pair_options(made: Proposed) -> dict[str, int]:
    """List the pairs of a list for a menu: its name and its place from 0; none of a blind one."""
    if made.is_blind:
        return {}
    rows = made.found.rows.select("rank", "first", "second").rows()
    return {f"{rank}: {first} – {second}": place for place, (rank, first, second) in enumerate(rows)}


def pair_option(made: Proposed, row: int) -> str:
    """Entry of the menu that `pair_options` makes for a row."""
    return list(pair_options(made))[row]


# ---------------------------------------------------------------- the work


def start_list(catalog: Catalog, view: ListView) -> Ticket[Proposed]:
    """Begin to make a list."""

    def make(say: Progress) -> Proposed:
        dataset = catalog.dataset(view.plan.dataset)
        plan, unknown = view.plan, ""
        if plan.interest:
            say("perturbations of interest", 0.0)
            names = names_of_both(dataset, plan)
            found, unknown = known_interest(plan.interest, names)
            if not found:
                message = f"no perturbation of interest is left to make a list of: {unknown}"
                raise InputError(message)
            plan = replace(plan, interest=found)
        listed_pairs = shared_list(catalog, plan, progress=say)
        return Proposed(view, listed_pairs, unknown, dataset.card.cautions)

    return shared_workshop.start(("list", *_key(catalog, view.plan)), make)


def names_of_both(dataset: Dataset, plan: ListPlan) -> list[str]:
    """List the perturbations of both maps of a plan."""
    simple, learned = (
        shared_map(dataset, plan.context, name, alignment=plan.align) for name in (plan.simple, plan.learned)
    )
    return [name for name in simple.names if name in learned]


def start_evidence(catalog: Catalog, made: Proposed) -> Ticket[Evidence]:
    """Begin to gather what stands beside each pair of a list."""
    return shared_workshop.start(
        _evidence_key(catalog, made), lambda say: shared_evidence(catalog, made.found, progress=say)
    )


def at_first(ticket: Ticket[Evidence] | None, seconds: float | None) -> Evidence | None:
    """Take evidence that is there at once, or after so many seconds; None where it takes longer, or nobody asked."""
    return ticket.result if ticket is not None and ticket.wait_at_first(seconds) else None


def found_evidence(catalog: Catalog, made: Proposed) -> Evidence | None:
    """Take what `start_evidence` gathered; None while there is nothing."""
    ticket = shared_workshop.find(_evidence_key(catalog, made))
    return None if ticket is None else ticket.result


def _key(catalog: Catalog, plan: ListPlan) -> tuple[object, ...]:
    """Everything that decides a list."""
    places = (plan.dataset, *(name.rpartition("/")[0] for name in plan.others if "/" in name))
    identities = tuple(identity_of(catalog.dataset(name)) for name in dict.fromkeys(places) if name in catalog.names)
    return (identities, plan)


def _evidence_key(catalog: Catalog, made: Proposed) -> tuple[object, ...]:
    return ("evidence", *_key(catalog, made.found.plan))
