"""What the page of predictions asks for: the view of a link, checked; the work behind it; and its tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from explorer.align import METHODS
from explorer.catalog import Catalog, identity_of
from explorer.crossfit import MEAN
from explorer.errors import InputError, as_text, shown, unknown_name
from explorer.judgements import usual_alignment
from explorer.load import Dataset
from explorer.passport import Passport, PassportComparison, compare_passports, passport_of
from explorer.predict import Prediction, PredictionTest, Task
from explorer.predictions import (
    PredictionPlan,
    check_plan,
    default_plan,
    default_target,
    prediction_json,
    shared_prediction,
    target_names,
    unstated_sides,
    usual_context,
)
from explorer.text import file_name, json_text
from explorer.view import chooser, default_query, default_sides, names_of_kind, parameter_texts, validated_choice
from explorer.work import Progress, Ticket, shared_workshop

SEED = 0
# A false "predicts better" where there is nothing, for one look: half of the 5 % of a two-sided test.
FALSE_BETTER = 0.025
PAIRS: Task = "pairs"
# How the menu names the tasks.
TASKS: Mapping[str, Task] = {
    "from an embedding or another context": "prior",
    "transfer from another context": "transfer",
    "pairs from their singles": PAIRS,
}
# Perturbations in each of the lists of those predicted best and worst; all of them are in the download.
MOST_LISTED = 50
# Points of the scatter; of more features so many are drawn at random.
MOST_POINTS = 2_000
FOREST_SCHEMA = {
    "kind": pl.String, "label": pl.String, "estimate": pl.Float64, "low": pl.Float64, "high": pl.Float64,
    "p": pl.Float64, "units": pl.Int64,
}  # fmt: skip
# How the page writes the columns of its tables.
SCORE_FORMATS = {
    "ρ⊥": "{:z.3f}", "ρ⊥, neighbours": "{:z.3f}", "skill": "{:+z.3f}", "PDS": "{:.3f}", "MAE": "{:.3g}", "n": "{:,d}",
}  # fmt: skip
LIST_FORMATS = {
    "learned": "{:z.3f}", "simple": "{:z.3f}", "difference": "{:+z.3f}", "effect": "{:.3g}", "ceiling": "{:.2f}",
}  # fmt: skip
# Pixels, so that the names of groups have the room that numbers do not need.
LIST_WIDTHS = {
    "perturbation": 120, "groups": 380, "learned": 85, "simple": 85, "difference": 100, "effect": 85, "ceiling": 85,
}  # fmt: skip
_LISTED = ("perturbation", "groups", "learned", "simple", "difference", "magnitude", "ceiling")


@dataclass(frozen=True, slots=True)
class PredictView:
    """All that decides what is seen.

    Attributes
    ----------
    plan
        What is predicted from what.
    perturbation
        The one whose prediction is drawn; empty for the one that the page begins with.
    recipes
        Fingerprints of the maps that the link was made from; empty for a view that names none.
    """

    plan: PredictionPlan
    perturbation: str = ""
    recipes: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """A plan, carried out.

    Attributes
    ----------
    plan
        What was asked for.
    prediction
        What came of it.
    passport
        Conditions of the target.
    comparison
        Conditions of the source (`one`) held against those of the target (`other`); None where both are one context.
    unstated
        Representations whose card does not say what they were made from.
    """

    plan: PredictionPlan
    prediction: Prediction
    passport: Passport
    comparison: PassportComparison | None
    unstated: tuple[str, ...] = ()


@dataclass(slots=True)
class Tried:
    """The plans that one session has seen a verdict of; a session keeps one of these."""

    seen: dict[PredictionPlan, str] = field(default_factory=dict)

    def add(self, found: Predicted) -> int:
        """Note what is shown; how many different plans of its dataset had a verdict, this one included."""
        if found.prediction.verdict not in ("locked", "underpowered"):
            self.seen.setdefault(found.plan, found.prediction.verdict)
        return sum(plan.dataset == found.plan.dataset for plan in self.seen)


@dataclass(slots=True)
class Kept:
    """What a session chose last, so that a menu which is made again keeps it; a browser may have sent anything."""

    source: str = ""
    simple: str = ""
    learned: str = ""

    def keeper(self, name: str) -> Callable[[object], None]:
        """Make what a menu calls with its new value."""
        return lambda value: setattr(self, name, as_text(value))


# ---------------------------------------------------------------- the view


def usual_plan(catalog: Catalog, name: str, context: str) -> PredictionPlan:
    """Choose what is predicted where nothing is chosen, also where nothing can be: the controls must say something."""
    try:
        return default_plan(catalog, name, context)
    except InputError:
        # Why it can't be is said where the verdict would stand.
        targets = _targets(catalog, name)
        made = PredictionPlan(
            task="transfer",
            dataset=name,
            context=context,
            target=targets[0] if targets else "",
            source="",
            simple="",
            learned="",
            align=usual_alignment(catalog.dataset(name), context),
        )
        return with_task(catalog, made, made.task)


def with_task(catalog: Catalog, plan: PredictionPlan, task: Task) -> PredictionPlan:
    """Take a plan to another task: pairs have no source, and all else needs one."""
    if task == PAIRS:
        return replace(plan, task=task, source="", simple="", learned="")
    source = plan.source or usual_source(catalog, plan.dataset, plan.context)
    return with_sides(catalog, replace(plan, task=task, source=source))


def with_sides(catalog: Catalog, plan: PredictionPlan) -> PredictionPlan:
    """Give a plan representations that its source has: its own where they are there, else the usual ones."""
    dataset = source_dataset(catalog, plan.dataset, plan.source)
    left, right = default_sides(dataset)
    simple, learned = _side_names(dataset, "simple"), _side_names(dataset, "learned")
    return replace(
        plan,
        simple=next(name for name in (plan.simple, left, *simple) if name in simple),
        learned=next(name for name in (plan.learned, right, *learned) if name in learned),
    )


def usual_source(catalog: Catalog, name: str, context: str, *, wished: str = "") -> str:
    """Context to predict from: the one that is wished where it is another than the target's, else the usual."""
    if wished in source_options(catalog, name) and wished != context:
        return wished
    return usual_context(catalog.dataset(name), context)


def source_options(catalog: Catalog, name: str) -> tuple[str, ...]:
    """List the contexts to predict from: the dataset's own, and those of others as ``DATASET/CONTEXT``."""
    elsewhere = [
        f"{other}/{context}" for other in catalog.names if other != name for context in catalog.dataset(other).contexts
    ]
    return (*catalog.dataset(name).contexts, *elsewhere)


def source_dataset(catalog: Catalog, name: str, source: str) -> Dataset:
    """Find the dataset of a context to predict from."""
    if source in catalog.dataset(name).contexts:
        return catalog.dataset(name)
    elsewhere = source.partition("/")[0]
    return catalog.dataset(elsewhere if source in source_options(catalog, name) else name)


def read_predict_view(parameters: Mapping[str, object], catalog: Catalog) -> tuple[PredictView, tuple[str, ...]]:
    """Read a view from the parameters of a link; what can't be used falls back to the usual plan, and is said.

    Parameters
    ----------
    parameters
        Names and values, as the browser sent them: nothing in them is trusted.
    catalog
        The datasets on offer.

    Returns
    -------
    tuple
        A view in which every name but the perturbation exists (that is looked up in what was predicted, by
        `chosen_perturbation`), and one sentence for each parameter that was replaced.
    """
    given = parameter_texts(parameters)
    problems: list[str] = []
    choose = chooser(given, problems)

    dataset = catalog.dataset(choose("dataset", "dataset", catalog.names, catalog.names[0]))
    begun = dataset.context() if given.get("task") == PAIRS else default_target(dataset, source=given.get("source", ""))
    context = choose("context", "context", dataset.contexts, begun)
    usual = usual_plan(catalog, dataset.name, context)
    tasks = dict(zip(TASKS.values(), TASKS.values(), strict=True))
    plan = with_task(catalog, usual, tasks[choose("task", "task", tasks, usual.task)])  # type: ignore[index]
    plan = replace(
        plan,
        target=choose("target", "representation to predict", _targets(catalog, dataset.name), plan.target),
        align=choose("align", "alignment", METHODS, plan.align),
    )
    if plan.task != PAIRS:
        options = source_options(catalog, dataset.name)
        plan = with_sides(
            catalog, replace(plan, source=choose("source", "context to predict from", options, plan.source))
        )
        there = source_dataset(catalog, dataset.name, plan.source)
        plan = replace(
            plan,
            simple=choose("simple", "simple representation", _side_names(there, "simple"), plan.simple),
            learned=choose("learned", "learned representation", _side_names(there, "learned"), plan.learned),
        )
    return PredictView(plan, given.get("perturbation", ""), given.get("recipes", "")), tuple(problems)


def first_predict_view(name: object, linked: PredictView, catalog: Catalog) -> PredictView:
    """View to begin with after a dataset was chosen: the link's own, else the usual one."""
    if name == linked.plan.dataset:
        return linked
    chosen = validated_choice(name, catalog.names, kind="dataset")
    return PredictView(usual_plan(catalog, chosen, default_target(catalog.dataset(chosen))))


def checked_plan(catalog: Catalog, **values: object) -> PredictionPlan:
    """Make a plan of what the controls say; a browser can send anything, so every value is checked.

    Raises
    ------
    InputError
        When a value was not on offer, or the plan is refused.
    """
    dataset = catalog.dataset(as_text(values["dataset"]))
    task = values["task"]
    tasks = {name: name for name in TASKS.values()}
    plan = PredictionPlan(
        task=tasks[validated_choice(task, tasks, kind="task")],  # type: ignore[index]
        dataset=dataset.name,
        context=validated_choice(values["context"], dataset.contexts, kind="context"),
        target=validated_choice(
            values["target"], target_names(catalog, dataset.name), kind="representation to predict"
        ),
        source="",
        simple="",
        learned="",
        align=validated_choice(values["align"], METHODS, kind="alignment"),
    )
    if plan.task != PAIRS:
        options = source_options(catalog, dataset.name)
        source = validated_choice(values["source"], options, kind="context to predict from")
        there = source_dataset(catalog, dataset.name, source)
        plan = replace(
            plan,
            source=source,
            simple=validated_choice(values["simple"], _side_names(there, "simple"), kind="simple representation"),
            learned=validated_choice(values["learned"], _side_names(there, "learned"), kind="learned representation"),
        )
    return check_plan(catalog, plan)


def predict_link(plan: PredictionPlan, *, perturbation: str = "", recipes: str = "") -> dict[str, str]:
    """Write a view as the parameters of a link; `read_predict_view` gives it back."""
    return {
        "dataset": plan.dataset,
        "context": plan.context,
        "task": plan.task,
        "target": plan.target,
        "source": plan.source,
        "simple": plan.simple,
        "learned": plan.learned,
        "align": plan.align,
        "perturbation": perturbation,
        "recipes": recipes,
    }


def recipes_predicted(prediction: Prediction) -> str:
    """Name the recipes of all maps as a link carries them."""
    return ".".join(
        prediction.fingerprints[name] for name in ("target", "simple", "learned") if name in prediction.fingerprints
    )


def predict_link_warning(linked: PredictView, found: Predicted) -> str:
    """Say whether a link was made from other data or another method than what is shown; empty if not."""
    recipes = recipes_predicted(found.prediction)
    if not linked.recipes or linked.plan != found.plan or linked.recipes == recipes:
        return ""
    return (
        "the data or the method changed since this link was made, so what is shown may not be what it showed then "
        f"(recipes then {shown(linked.recipes)}, now {recipes})"
    )


def option_of_task(task: Task) -> str:
    """Find what the menu calls a task."""
    return next(label for label, name in TASKS.items() if name == task)


def is_pairs(task: object) -> bool:
    """Whether a task, as a browser sent it, needs no source and no representation of it."""
    return task == PAIRS


def target_options(catalog: Catalog, plan: PredictionPlan) -> tuple[str, ...]:
    """List the representations whose features can be predicted; the plan's own where there is none."""
    return _targets(catalog, plan.dataset) or tuple(name for name in (plan.target,) if name)


def first_source(catalog: Catalog, plan: PredictionPlan, context: object, *, kept: Kept) -> str:
    """Context to predict from that a menu begins with, when the target's context was chosen."""
    if context == plan.context and not kept.source and plan.source:
        return plan.source
    return usual_source(catalog, plan.dataset, as_text(context), wished=kept.source or plan.source)


def first_sides(catalog: Catalog, plan: PredictionPlan, source: object, *, kept: Kept) -> PredictionPlan:
    """Give a plan the representations that menus begin with, when the context to predict from was chosen."""
    wished = replace(
        plan, source=as_text(source), simple=kept.simple or plan.simple, learned=kept.learned or plan.learned
    )
    return with_sides(catalog, wished)


def side_options(catalog: Catalog, plan: PredictionPlan, kind: str) -> tuple[str, ...]:
    """List the representations that a source has for one side: those of its kind first, and no placebo."""
    return _side_names(source_dataset(catalog, plan.dataset, plan.source), kind)


def perturbation_options(prediction: Prediction) -> list[str]:
    """List the perturbations to choose from, by name."""
    return sorted(prediction.perturbations["perturbation"].to_list())


def file_stem(plan: PredictionPlan) -> str:
    """Begin the name of an exported file with what it shows."""
    sides = ("pairs",) if plan.task == PAIRS else (plan.learned, "against", plan.simple, "from", plan.source)
    return file_name("predicted", *sides, plan.dataset, plan.context)


def written_json(found: Predicted) -> str:
    """Write a prediction as the command line prints it with ``--json``."""
    return json_text(prediction_json(found.prediction, found.plan))


def _side_names(dataset: Dataset, kind: str) -> tuple[str, ...]:
    # An embedding of perturbations is what its card calls it, and may stand on either side.
    others = [card.name for card in dataset.card.representations.values() if card.kind != "placebo"]
    return tuple(dict.fromkeys((*names_of_kind(dataset, kind), *others)))


def _targets(catalog: Catalog, name: str) -> tuple[str, ...]:
    try:
        return target_names(catalog, name)
    except InputError:
        # What is wrong is said where the verdict would stand.
        return ()


# ---------------------------------------------------------------- the work


def start_predicting(catalog: Catalog, plan: PredictionPlan) -> Ticket[Predicted]:
    """Begin to predict as planned; it is done at once where it was predicted before."""
    dataset = catalog.dataset(plan.dataset)
    there = source_dataset(catalog, plan.dataset, plan.source)

    def make(say: Progress) -> Predicted:
        return with_conditions(catalog, plan, shared_prediction(catalog, plan, seed=SEED, progress=say))

    # What is kept of it, is kept by what makes it: profiles of ten thousand perturbations have to make room for others.
    return shared_workshop.start_unless_made(("prediction", *identity_of(dataset), *identity_of(there), plan), make)


def with_conditions(catalog: Catalog, plan: PredictionPlan, prediction: Prediction) -> Predicted:
    """Put beside a prediction what it is conditioned on: passports, and what cards leave unsaid.

    Raises
    ------
    InputError
        When a context of the plan can't be read.
    """
    dataset = catalog.dataset(plan.dataset)
    target = passport_of(dataset, plan.context)
    if plan.source in ("", plan.context):
        return Predicted(plan, prediction, target, None)
    there = source_dataset(catalog, plan.dataset, plan.source)
    is_own = there.name == dataset.name
    source = passport_of(there, plan.source if is_own else plan.source.removeprefix(f"{there.name}/"))
    compared = compare_passports(source, target)
    return Predicted(plan, prediction, target, compared, unstated_sides(catalog, plan))


# ---------------------------------------------------------------- tables


def mean_test(prediction: Prediction) -> PredictionTest | None:
    """Find what the learned representation adds to a mean of the training profiles; None where it was not tested."""
    return next((test for test in prediction.tests if test.kind == "baseline" and test.against == MEAN), None)


def unbeaten(prediction: Prediction, kind: str) -> list[PredictionTest]:
    """List the baselines, or the placebos, that the learned representation does not beat, the best of them first."""
    found = [test for test in prediction.tests if test.kind == kind and not test.low > 0]
    return sorted(found, key=lambda test: test.estimate)


def better_simple(prediction: Prediction) -> tuple[str, float] | None:
    """Find the simple representation that scores highest, where it is another than the one judged: its name and ρ⊥."""
    simple = prediction.scores.filter(pl.col("kind") == "simple").drop_nans("rho")
    own = simple.filter(pl.col("name") == prediction.simple)
    rivals = simple.filter(pl.col("name") != prediction.simple).sort("rho", descending=True)
    if not rivals.height or (own.height and not rivals["rho"][0] > own["rho"][0]):
        return None
    return str(rivals["name"][0]), float(rivals["rho"][0])


def forest_table(prediction: Prediction) -> pl.DataFrame:
    """Tidy every difference that was tested, the one that decides first.

    Returns
    -------
    polars.DataFrame
        ``kind, label, estimate, low, high, p, units``; kind is *learned − simple*, *baseline* or *placebo*.
    """
    first = [] if prediction.primary is None else [("learned − simple", prediction.primary)]
    rest = [(test.kind, test) for test in prediction.tests if test.kind != "simple"]
    lines = [
        (kind, f"{prediction.learned} − {test.against}", test.estimate, test.low, test.high, test.p, test.n_blocks)
        for kind, test in (*first, *rest)
    ]
    return pl.DataFrame(lines, schema=FOREST_SCHEMA, orient="row")


def score_table(prediction: Prediction) -> pl.DataFrame:
    """Write the scores of every predictor for the page, in their order.

    Returns
    -------
    polars.DataFrame
        ``predictor, what it is, ρ⊥, ρ⊥, neighbours, skill, PDS, MAE, n``.
    """
    return prediction.scores.select(
        pl.col("name").alias("predictor"),
        pl.format("{}, {}", "kind", "method").alias("what it is"),
        pl.col("rho").alias("ρ⊥"),
        pl.col("rho_neighbors").alias("ρ⊥, neighbours"),
        "skill",
        pl.col("discrimination").alias("PDS"),
        pl.col("mae").alias("MAE"),
        "n",
    )


def perturbation_table(prediction: Prediction) -> pl.DataFrame:
    """List every predicted perturbation, the best predicted by the learned representation first.

    Returns
    -------
    polars.DataFrame
        ``perturbation, groups, learned, simple, difference, effect, ceiling``; what is not defined comes last.
    """
    table = prediction.perturbations.select(_LISTED).rename({"magnitude": "effect"})
    return table.with_columns(pl.col("learned").fill_nan(None)).sort(
        ["learned", "perturbation"], descending=[True, False], nulls_last=True
    )


def extreme_tables(prediction: Prediction) -> tuple[pl.DataFrame, pl.DataFrame]:
    """List the perturbations predicted best and worst, each the most extreme first, 50 at most and none in both.

    There is no column of ceilings where none is known.
    """
    table = perturbation_table(prediction).drop_nulls("learned")
    table = table if table["ceiling"].is_finite().any() else table.drop("ceiling")
    n_best, n_worst = (min(MOST_LISTED, n) for n in (table.height - table.height // 2, table.height // 2))
    return table.head(n_best), table.tail(n_worst).reverse()


def picked_name(rows: object) -> str:
    """Take the perturbation out of what was selected in a list; empty where nothing is."""
    is_one = isinstance(rows, pl.DataFrame) and rows.height > 0 and "perturbation" in rows.columns
    return as_text(rows["perturbation"][0]) if is_one else ""  # type: ignore[index]


def chosen_perturbation(catalog: Catalog, found: Predicted, wished: object) -> tuple[str, str]:
    """Find the perturbation to draw.

    Parameters
    ----------
    catalog
        The datasets on offer.
    found
        What was predicted.
    wished
        A name that came from a browser; empty for none.

    Returns
    -------
    tuple
        The one that is wished, else the card's query, else the one predicted neither well nor badly (the median by the
        learned representation: a showpiece would mislead); and a sentence where the wish can't be met, else an empty
        one. Both are empty where nothing was predicted.
    """
    table = perturbation_table(found.prediction)
    if not table.height:
        return "", ""
    names = table["perturbation"].to_list()
    usual = default_query(catalog.dataset(found.plan.dataset))
    # Those that have no score come last.
    median = names[(table.height - table["learned"].null_count()) // 2]
    instead = usual if usual in names else median
    if not wished:
        return instead, ""
    name = as_text(wished)
    if name in names:
        return name, ""
    return instead, f"{unknown_name('predicted perturbation', name, names)}; showing {shown(instead)} instead"


def feature_table(prediction: Prediction, name: str) -> pl.DataFrame:
    """Hold the predicted profile of a perturbation against the measured one, a line a feature.

    Returns
    -------
    polars.DataFrame
        ``feature, measured`` and a column for each of *simple* and *learned* that was kept, as deviations from the mean
        of the training profiles; 2,000 features drawn at random (seed 0) where there are more.
    """
    row = prediction.perturbations["perturbation"].to_list().index(name)
    n_features = prediction.truth.shape[1]
    names = prediction.features or tuple(f"feature {place + 1}" for place in range(n_features))
    table = pl.DataFrame({"feature": list(names), "measured": prediction.truth[row].astype(np.float64)}).with_columns(
        pl.Series(side, prediction.predicted[side][row].astype(np.float64))
        for side in ("simple", "learned")
        if side in prediction.predicted
    )
    if n_features <= MOST_POINTS:
        return table
    drawn = np.random.default_rng(SEED).choice(n_features, MOST_POINTS, replace=False)
    return table.select(pl.all().gather(np.sort(drawn)))


def scores_of(prediction: Prediction, name: str) -> dict[str, float]:
    """Give ρ⊥ of one perturbation, simple and learned; NaN where it is not defined."""
    row = prediction.perturbations.filter(pl.col("perturbation") == name).row(0, named=True)
    return {side: float("nan") if row[side] is None else float(row[side]) for side in ("simple", "learned")}
