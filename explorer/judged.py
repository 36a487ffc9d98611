"""What the page of the judge asks for: the view of a link, checked; the work behind it; and its tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import polars as pl

from explorer.align import METHODS
from explorer.card import CARD_FILE
from explorer.catalog import Catalog, identity_of, shared_knowledge
from explorer.errors import InputError, as_text, listed, shown
from explorer.judgements import own_sources, shared_judgement, usual_alignment
from explorer.load import Dataset
from explorer.partners import DEFAULT_K
from explorer.passport import Passport, passport_of
from explorer.significance import SignFlip
from explorer.text import file_name, json_text
from explorer.verdict import (
    DEFAULT_BUDGET,
    FEWEST_UNITS,
    MOST_BUDGET,
    Judgement,
    check_budget,
    units_needed,
)
from explorer.view import (
    MOST_NEIGHBORS,
    chooser,
    default_sides,
    names_of_kind,
    parameter_texts,
    validated_choice,
    validated_k,
)
from explorer.work import Progress, Ticket, shared_workshop

T = TypeVar("T")

# What the slider of the budget offers; a link may ask for any number up to `MOST_BUDGET`.
BUDGETS = (10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1_000)
CURVE_BUDGETS = (10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1_000, 1_500, 2_000)
NEIGHBORS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50)
SEED = 0
# Differences in recall that the page says how many groups would show.
PLANNED = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
# A false "worth it" where there is nothing, for one look: half of the 5 % of a two-sided test.
FALSE_WORTH = 0.025
# How the page writes the columns of its tables.
GROUP_FORMATS = {"simple": "{:.3f}", "learned": "{:.3f}", "difference": "{:+.3f}"}
PLAN_FORMATS = {"groups needed": "{:,d}", "more than there are": "{:,d}"}
FOREST_SCHEMA = {
    "kind": pl.String, "label": pl.String, "estimate": pl.Float64, "low": pl.Float64, "high": pl.Float64,
    "p": pl.Float64, "q": pl.Float64, "groups": pl.Int64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class JudgeView:
    """All that decides what is judged.

    Attributes
    ----------
    dataset, context, simple, learned, align, k, budget
        As in the link.
    sources
        Names of the sources of known pairs and gene sets, in the order of their card.
    recipes
        Fingerprints of the two maps that the link was made from; empty for a view that names none.
    """

    dataset: str
    context: str
    simple: str
    learned: str
    align: str
    sources: tuple[str, ...]
    k: int = DEFAULT_K
    budget: int = DEFAULT_BUDGET
    recipes: str = ""

    @property
    def choices(self) -> tuple[object, ...]:
        """What somebody in search of a better verdict could have turned."""
        return (
            self.dataset, self.context, self.simple, self.learned, self.align, self.sources, self.k, self.budget,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A view, judged.

    Attributes
    ----------
    view
        What was asked for.
    judgement
        Its judgement.
    declared_view, declared
        The view that was declared beforehand, and its judgement: the same ones where the view is the declared one.
    is_in_card
        Whether the card declares it; where not, it is only the first one that the page shows.
    """

    view: JudgeView
    judgement: Judgement
    declared_view: JudgeView
    declared: Judgement
    is_in_card: bool = True

    @property
    def is_declared(self) -> bool:
        """Whether the view is the one that was declared beforehand."""
        return self.view == self.declared_view


@dataclass(slots=True)
class Looked:
    """The combinations that one session has looked at; a session keeps one of these."""

    seen: dict[tuple[object, ...], str] = field(default_factory=dict)

    def add(self, judged: Judged) -> int:
        """Note a judgement that was shown; how many different ones of its dataset were, the declared one included."""
        for view, judgement in ((judged.declared_view, judged.declared), (judged.view, judged.judgement)):
            self.seen.setdefault(view.choices, judgement.verdict)
        return sum(choices[0] == judged.view.dataset for choices in self.seen)

    def words(self, dataset: str) -> dict[str, int]:
        """Count the verdicts of a dataset by their word."""
        counts: dict[str, int] = {}
        for choices, word in self.seen.items():
            if choices[0] == dataset:
                counts[word] = counts.get(word, 0) + 1
        return counts


# ---------------------------------------------------------------- the view


def simple_names(dataset: Dataset) -> tuple[str, ...]:
    """Representations that may be the simple side: those of that kind, else all."""
    return names_of_kind(dataset, "simple")


def learned_names(dataset: Dataset) -> tuple[str, ...]:
    """Representations that may be the learned side: those of that kind, else all."""
    return names_of_kind(dataset, "learned")


def source_names(dataset: Dataset) -> tuple[str, ...]:
    """Name the sources beside a dataset, those of pairs before gene sets; none where they can't be read."""
    try:
        knowledge = shared_knowledge(dataset)
    except InputError:
        # What is wrong is said where the verdict would stand.
        return ()
    names = [source.name for source in knowledge.relationships] + [source.name for source in knowledge.gene_sets]
    return tuple(dict.fromkeys(names))


def usual_sources(dataset: Dataset) -> tuple[str, ...]:
    """Name what a dataset is judged by where nothing is chosen: its sources of pairs, or else its gene sets."""
    every = source_names(dataset)
    return (own_sources(dataset) or every) if every else ()


def is_in_card(dataset: Dataset) -> bool:
    """Whether somebody declared in a card which two representations are to be compared."""
    defaults = dataset.card.defaults or {}
    return (
        # The card of a single file is made up.
        (dataset.path / CARD_FILE).is_file()
        and defaults.get("left") in simple_names(dataset)
        and defaults.get("right") in learned_names(dataset)
    )


def declared_view(dataset: Dataset, context: str, *, budget: int = DEFAULT_BUDGET) -> JudgeView:
    """View that was declared before anyone looked: the card's representations and alignment, the usual sources, k = 10.

    What the card does not declare is what the page shows first.
    """
    left, right = default_sides(dataset)
    simple, learned = simple_names(dataset), learned_names(dataset)
    return JudgeView(
        dataset=dataset.name,
        context=dataset.context(context),
        simple=left if left in simple else simple[0],
        learned=right if right in learned else learned[0],
        align=usual_alignment(dataset, context),
        sources=usual_sources(dataset),
        budget=budget,
    )


def read_judge_view(parameters: Mapping[str, object], catalog: Catalog) -> tuple[JudgeView, tuple[str, ...]]:
    """Read a view from the parameters of a link; what can't be used falls back to what was declared, and is said.

    Parameters
    ----------
    parameters
        Names and values, as the browser sent them: nothing in them is trusted.
    catalog
        The datasets on offer.

    Returns
    -------
    tuple
        A view of values that exist, and one sentence for each parameter that was replaced.
    """
    given = parameter_texts(parameters)
    problems: list[str] = []
    choose = chooser(given, problems)

    def count(name: str, most: int, default: int) -> int:
        text = given.get(name, str(default))
        # Not int() alone, which takes what nobody writes: signs, underscores, digits of other scripts.
        if text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= most:
            return int(text)
        problems.append(f"{name} = {shown(text)} is not a number from 1 to {most:,}; showing {default} instead")
        return default

    dataset = catalog.dataset(choose("dataset", "dataset", catalog.names, catalog.names[0]))
    context = choose("context", "context", dataset.contexts, dataset.context())
    declared = declared_view(dataset, context)
    view = JudgeView(
        dataset=dataset.name,
        context=context,
        simple=choose("simple", "simple representation", simple_names(dataset), declared.simple),
        learned=choose("learned", "learned representation", learned_names(dataset), declared.learned),
        align=choose("align", "alignment", METHODS, declared.align),
        sources=declared.sources,
        k=count("k", MOST_NEIGHBORS, declared.k),
        budget=count("budget", MOST_BUDGET, declared.budget),
        recipes=given.get("recipes", ""),
    )
    if "sources" in given:
        asked = [name for name in given["sources"].split(",") if name]
        every = source_names(dataset)
        unknown = [name for name in asked if name not in every]
        kept = tuple(name for name in every if name in asked)
        if unknown or not kept:
            what = f"unknown sources {listed(unknown)}" if unknown else "no source was named"
            problems.append(f"{what}: showing {', '.join(kept or declared.sources) or 'none'}")
        view = replace(view, sources=kept or declared.sources)
    return view, tuple(problems)


def first_judge_view(name: object, linked: JudgeView, catalog: Catalog) -> JudgeView:
    """View to begin with after a dataset was chosen: the link's own, else the declared one."""
    if name == linked.dataset:
        return linked
    dataset = catalog.dataset(validated_choice(name, catalog.names, kind="dataset"))
    return declared_view(dataset, dataset.context())


def checked_judge_view(catalog: Catalog, **values: object) -> JudgeView:
    """Make a view of what the controls say; a browser can send anything, so every value is checked.

    Raises
    ------
    InputError
        When a value was not on offer, or no source is chosen.
    """
    dataset = catalog.dataset(as_text(values["dataset"]))
    every = source_names(dataset)
    asked = values["sources"]
    named = asked if isinstance(asked, list | tuple) else [asked]
    chosen = {validated_choice(name, every, kind="source") for name in named}
    if every and not chosen:
        msg = f"nothing is chosen that is known: choose at least one of {listed(every)}"
        raise InputError(msg)
    return JudgeView(
        dataset=dataset.name,
        context=validated_choice(values["context"], dataset.contexts, kind="context"),
        simple=validated_choice(values["simple"], simple_names(dataset), kind="simple representation"),
        learned=validated_choice(values["learned"], learned_names(dataset), kind="learned representation"),
        align=validated_choice(values["align"], METHODS, kind="alignment"),
        sources=tuple(name for name in every if name in chosen),
        k=validated_k(values["k"]),
        budget=check_budget(values["budget"]),
    )


def judge_link(view: JudgeView, *, recipes: str = "") -> dict[str, str]:
    """Write a view as the parameters of a link; `read_judge_view` gives it back."""
    return {
        "dataset": view.dataset,
        "context": view.context,
        "simple": view.simple,
        "learned": view.learned,
        "align": view.align,
        "sources": ",".join(view.sources),
        "k": str(view.k),
        "budget": str(view.budget),
        "recipes": recipes or view.recipes,
    }


def recipes_judged(judgement: Judgement) -> str:
    """Name the recipes of both maps as a link carries them."""
    return f"{judgement.fingerprints['simple']}.{judgement.fingerprints['learned']}"


def judge_link_warning(linked: JudgeView, judged: Judged) -> str:
    """Say whether a link was made from other data or another method than what is shown; empty if not."""
    same = replace(linked, k=0, budget=0, recipes="") == replace(judged.view, k=0, budget=0, recipes="")
    recipes = recipes_judged(judged.judgement)
    if not linked.recipes or not same or linked.recipes == recipes:
        return ""
    return (
        "the data or the method changed since this link was made, so what is shown may not be what it showed then "
        f"(recipes then {shown(linked.recipes)}, now {recipes})"
    )


def neighbor_steps(k: int) -> dict[str, int]:
    """List the numbers of neighbours that the menu offers, the link's own among them."""
    return {str(step): step for step in sorted({*NEIGHBORS, k})}


def sides(judged: Judged) -> tuple[str, str]:
    """Names of the simple and of the learned representation."""
    return judged.judgement.simple, judged.judgement.learned


def file_stem(view: JudgeView) -> str:
    """Begin the name of an exported file with what it shows: both sides, dataset and context."""
    return file_name(view.learned, "against", view.simple, view.dataset, view.context)


def judgement_json(judgement: Judgement, view: JudgeView, *, passport: Passport) -> str:
    """Write a judgement as the command line prints it, with the conditions; what is not defined is null."""
    made_of = {"dataset": view.dataset, "context": view.context, "alignment": view.align, "k": view.k}
    return json_text(judgement.to_json() | made_of | {"passport": passport.to_json()})


def budget_steps(budget: int) -> list[int]:
    """List what the slider of the budget offers, the link's own number among it."""
    return sorted({*BUDGETS, budget})


# ---------------------------------------------------------------- the work


def start_judging(catalog: Catalog, view: JudgeView) -> Ticket[Judged]:
    """Begin to judge a view, and the declared one beside it where it is another."""
    dataset = catalog.dataset(view.dataset)
    declared = declared_view(dataset, view.context, budget=view.budget)

    def make(say: Progress) -> Judged:
        # Stands on the page and in every export.
        passport_of(dataset, view.context)
        found = _judgement(dataset, view, _part(say, 0.0, 1.0 if view == declared else 0.5))
        other = found if view == declared else _judgement(dataset, declared, _part(say, 0.5, 1.0))
        return Judged(view, found, declared, other, is_in_card(dataset))

    return shared_workshop.start(("judgement", *_key(dataset, view), view.budget), make)


def _judgement(dataset: Dataset, view: JudgeView, say: Progress) -> Judgement:
    # Read here, so that what can't be read is told apart from what is not there.
    knowledge = shared_knowledge(dataset)
    if not (knowledge.relationships or knowledge.gene_sets):
        message = (
            f"no known pairs or gene sets stand beside {shown(dataset.name)}, so there is nothing to judge by: whoever "
            f"keeps this dataset can put a folder of them beside it and name that in its {CARD_FILE}, as "
            f'relationships = "FOLDER" (a single file goes into a folder with a {CARD_FILE} first; see README)'
        )
        raise InputError(message)
    return shared_judgement(
        dataset,
        view.context,
        simple=view.simple,
        learned=view.learned,
        alignment=view.align,
        sources=view.sources,
        k=view.k,
        budget=view.budget,
        seed=SEED,
        progress=say,
    )


def _part(say: Progress, start: float, stop: float) -> Progress:
    """Report progress of a part of the work as that of the whole."""
    return lambda what, share: say(what, start + (stop - start) * share)


def _key(dataset: Dataset, view: JudgeView) -> tuple[object, ...]:
    """Everything but the budget that decides a result."""
    chosen = (view.context, view.simple, view.learned, view.align, view.sources, view.k)
    return (*identity_of(dataset), *chosen)


# ---------------------------------------------------------------- tables


def forest_table(judgement: Judgement) -> pl.DataFrame:
    """Tidy every difference that was tested, best known first.

    Returns
    -------
    polars.DataFrame
        ``kind, label, estimate, low, high, p, q, groups``; kind is *verdict*, *source*, *placebo*, *other simple* or
        *seed*; q is only given for sources. Empty where the comparison is locked.
    """
    primary, learned, simple = judgement.primary, judgement.learned, judgement.simple
    if judgement.verdict == "locked":
        return pl.DataFrame(schema=FOREST_SCHEMA)
    lines = [_forest_line("verdict", f"all sources: {learned} − {simple}", primary.test)]
    lines += [_forest_line("source", f"{s.source}: {learned} − {simple}", s.test, q=s.q) for s in judgement.sources]
    lines += [_forest_line("seed", f"{c.name} − {simple}", c.test) for c in judgement.seeds]
    lines += [_forest_line("other simple", f"{learned} − {c.name}", c.test) for c in judgement.rivals]
    lines += [_forest_line("placebo", f"{learned} − {c.name}", c.test) for c in judgement.placebos]
    return pl.DataFrame(lines, schema=FOREST_SCHEMA, orient="row")


def _forest_line(kind: str, label: str, test: SignFlip, *, q: float | None = None) -> tuple[object, ...]:
    return kind, label, test.estimate, test.low, test.high, test.p, q, test.n_units


def source_table(judgement: Judgement) -> pl.DataFrame:
    """Tidy recall of each source beside its matched control.

    Returns
    -------
    polars.DataFrame
        ``source, side, representation, pairs, groups, both, upper, lower, macro, matched, chance``, a line for each
        source and side.
    """
    lines = [
        (
            source.source, side, name, source.n_pairs, source.n_groups,
            recall.both, recall.upper, recall.lower, recall.macro, matched.both, recall.chance,
        )
        for source in judgement.sources
        for side, name, recall, matched in (
            ("simple", judgement.simple, source.simple, source.simple_matched),
            ("learned", judgement.learned, source.learned, source.learned_matched),
        )
    ]  # fmt: skip
    numbers = dict.fromkeys(("both", "upper", "lower", "macro", "matched", "chance"), pl.Float64)
    texts = dict.fromkeys(("source", "side", "representation"), pl.String)
    return pl.DataFrame(lines, schema={**texts, "pairs": pl.Int64, "groups": pl.Int64, **numbers}, orient="row")


def group_table(judgement: Judgement) -> pl.DataFrame:
    """Tidy which groups gain and lose; columns as in `Judgement.units`, named a group.

    Large groups that differ much come first: a pair of genes easily differs by 1.
    """
    weight = pl.col("difference").abs() * pl.col("members")
    return judgement.units.sort([weight, pl.col("unit")], descending=[True, False]).rename({"unit": "group"})


def plan_table(judgement: Judgement) -> pl.DataFrame:
    """Tidy how many groups it would take to find differences of some sizes 4 times in 5.

    Returns
    -------
    polars.DataFrame
        ``difference, groups needed, more than there are``: never fewer than a verdict takes, and no line of more
        groups than there are perturbations. Empty where the maps differ in no group, since then nothing says how much
        they vary.
    """
    schema = {"difference": pl.Float64, "groups needed": pl.Int64, "more than there are": pl.Int64}
    test = judgement.primary.test
    if test.n_units == 0 or not test.smallest_detectable > 0:
        return pl.DataFrame(schema=schema)
    lines = []
    for difference in PLANNED:
        more = max(units_needed(test, difference), FEWEST_UNITS - test.n_units, 0)
        as_precise = int(np.ceil(test.n_units * (test.smallest_detectable / difference) ** 2))
        needed = max(as_precise, FEWEST_UNITS)
        if needed <= judgement.n_perturbations:
            lines.append((difference, needed, more))
    return pl.DataFrame(lines, schema=schema, orient="row")
