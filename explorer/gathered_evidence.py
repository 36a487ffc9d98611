"""What stands beside each listed pair, for the data sets on offer: gathered once, and kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from types import ModuleType
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer import (
    activity,
    aggregate,
    align,
    cosine_counts,
    decoys,
    evidence,
    expression,
    gather,
    kernels,
    labels,
    moments,
    nulls,
    pseudo,
    relate,
    relationships,
    replicates,
    rowsums,
    significance,
    totals,
)
from explorer.activity import ACTIVE_Q
from explorer.aggregate import PerturbationMap
from explorer.card import Caution
from explorer.catalog import (
    Catalog,
    identity_of,
    require_unchanged,
    shared_activity,
    shared_common,
    shared_gene_sets_in,
    shared_knowledge,
    shared_map,
    shared_moments,
    shared_screen,
)
from explorer.context_reports import Place, counterpart, labels_of, shared_report
from explorer.contexts import HOLDS, ContextReport, said_once
from explorer.decoys import TechnicalFdr, technical_fdr
from explorer.digits import counted
from explorer.edges import mutual_ranks
from explorer.errors import InputError, listed, shown
from explorer.evidence import N_RESAMPLES, Resampled, edge_chances, resampled_support, shared_gene_sets
from explorer.judgements import Source, digest_of
from explorer.keeping import Shared, kept_on_disk
from explorer.load import Dataset
from explorer.partners import DEFAULT_K
from explorer.relate import TIE_DECIMALS
from explorer.sources import SpreadSource
from explorer.store import artefact_key
from explorer.tails import pair_cosines
from explorer.verdict import Progress, check_seed

T = TypeVar("T")

Side = Literal["simple", "learned"]
SIDES: tuple[Side, Side] = ("simple", "learned")
ACTIVE, NOT_ACTIVE, NOT_JUDGED = "active", "not active", "not judged"
NO_EDGE = "no edge"
MOST_REMEMBERED = 256

# The code that decides what is kept on disk: where it changes, what was kept is not used.
_MADE_BY: tuple[ModuleType, ...] = (
    activity, aggregate, align, cosine_counts, decoys, evidence, expression, gather, kernels, labels, moments, nulls,
    pseudo, relate, relationships, replicates, rowsums, significance, totals,
)  # fmt: skip
_TYPES = (Resampled, TechnicalFdr)
# Of the progress: the maps; the reports of other contexts; technical noise; resampling. The rest is gene sets.
_MAPS, _REPORTS, _NOISE, _SUPPORT = 0.1, 0.55, 0.65, 0.95

_remembered = Shared(MOST_REMEMBERED)

Names = Sequence[tuple[str, str]]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What is known of each pair, beside its place in a list; none of it decides that place.

    Attributes
    ----------
    table
        One line a pair, in the order asked for; columns of `evidence_schema`, null where something can't be had.
    notes
        Why something can't be had, and what the reader must know.
    """

    table: pl.DataFrame = field(repr=False)
    notes: tuple[str, ...] = ()


def evidence_schema(contexts: Sequence[str] = ()) -> dict[str, pl.DataType]:
    """Name the columns of the evidence, with their types.

    Parameters
    ----------
    contexts
        Labels of the other contexts.
    """
    number, whole, text = pl.Float64(), pl.Int64(), pl.String()
    here = {f"{side} {what}": number for side in SIDES for what in ("similarity", "rank")}
    there: dict[str, pl.DataType] = {}
    for label in contexts:
        there |= {f"{label}: {name}": number for name in here}
        there |= {f"{label}: {side}": text for side in SIDES}
    return {
        "first": text, "second": text, **here, **there, "first activity": text, "second activity": text,
        **{f"{side} technical FDR": number for side in SIDES}, "seeds agreeing": whole, "seeds": whole,
        **{f"{side} support": number for side in SIDES}, "shared gene sets": text, "distrust": text,
    }  # fmt: skip


def gather_evidence(
    catalog: Catalog,
    pairs: pl.DataFrame,
    *,
    simple: Place,
    learned: Place,
    others: Sequence[Place] = (),
    k: int = DEFAULT_K,
    relationships: tuple[Source, ...] = (),
    seed: int = 0,
    n_resamples: int = N_RESAMPLES,
    progress: Progress | None = None,
) -> Evidence:
    """Gather what stands beside each listed pair; made once and kept.

    Similarities are cosines of the maps as they are, ranks are mutual ranks (the larger of the two, 1 the nearest).
    Whether a pair holds in another context is asked of the edges of each representation's graph, by centred cosine,
    as on the page of contexts (`explorer.context_reports.shared_report`).

    The labels of the two representations are two looks at the same cells: that a pair holds in either is more often
    true by chance than that it holds in one of them named before. And a list that is ordered by several contexts has
    looked at those already: that its pairs hold there is no news of them.

    Parameters
    ----------
    catalog
        The data sets on offer.
    pairs
        The list: names in the columns ``first`` and ``second``.
    simple, learned
        The two maps that the list was made of, of one context.
    others
        Other contexts. Their alignments count; their representations are the counterparts of the two.
    k
        Neighbours that make a graph.
    relationships
        Known pairs and sets besides the data set's own: they are no decoys where pairs are judged in other contexts.
    seed
        Of the draws.
    n_resamples
        Resamples of the replicates.
    progress
        Called with what is done next and the share that is done; it may raise, to cancel.

    Returns
    -------
    Evidence
        The label of a pair in another context is one of `explorer.contexts`, or ``no edge`` where neither partner is
        among the other's k nearest here, so that it is not judged. ``seeds`` counts the seeds of the learned model
        that have both partners, itself included, and ``seeds agreeing`` those in which the pair is an edge.

    Raises
    ------
    InputError
        When the table can't be read as pairs, the two maps are of two contexts or can't be made, a context is named
        twice, or the files were changed meanwhile. Anything else that can't be had is null, and a note says why.
    """
    say = progress or (lambda what, share: None)
    check_seed(seed)
    names = _pairs_of(pairs)
    _require_same_context(simple, learned)
    labels = labels_of(simple, others)[1:] if others else ()
    datasets = {place.dataset: catalog.dataset(place.dataset) for place in (simple, learned, *others)}
    before = {name: identity_of(dataset) for name, dataset in datasets.items()}
    key: Hashable = (
        "evidence", *before.items(), simple, learned, *others, names, k, digest_of(relationships), seed, n_resamples,
    )  # fmt: skip

    def make() -> Evidence:
        work = _Work(catalog, names, places={"simple": simple, "learned": learned}, k=k, seed=seed, say=say)
        columns: dict[str, Sequence[object] | Floats] = {
            side: [pair[number] for pair in names] for number, side in enumerate(("first", "second"))
        }
        columns |= work.standings(others, labels)
        columns |= work.labels(others, labels, relationships=relationships)
        columns |= work.activities()
        columns |= work.technical()
        columns |= work.seeds()
        columns |= work.support(n_resamples=n_resamples)
        columns["shared gene sets"] = work.gene_sets()
        columns["distrust"] = _distrusted(datasets[simple.dataset].card.cautions, names)
        for name, dataset in datasets.items():
            require_unchanged(dataset, before[name])
        schema = evidence_schema(labels)
        table = pl.DataFrame({name: pl.Series(name, columns[name], dtype=kind) for name, kind in schema.items()})
        return Evidence(table.with_columns(pl.col(pl.Float64).fill_nan(None)), work.said())

    found = _remembered.get(key, make)
    say("done", 1.0)
    return found


def activity_of(catalog: Catalog, place: Place) -> tuple[Mapping[str, str], str]:
    """Say of every perturbation of a map whether it is active.

    Returns
    -------
    tuple
        Word by name: ``active`` (q below .1), ``not active`` (judged by its replicates, and not called active), or
        ``not judged``. The size of an effect alone calls nobody inactive: without replicates a short profile may still
        be a phenotype. And why nobody could be called inactive, in a sentence; empty where somebody could.

    Raises
    ------
    InputError
        When a name is unknown, or the map can't be made.
    """
    dataset = catalog.dataset(place.dataset)
    made = _map_at(catalog, place)

    def judge() -> tuple[dict[str, str], str]:
        judged, reason = shared_activity(dataset, place.context, place.representation, alignment=place.align)
        return (dict.fromkeys(made.names, NOT_JUDGED), reason) if judged is None else _words(judged.table, made.names)

    return _kept(("activity", digest_of(made)), judge)


def inactive_names(catalog: Catalog, simple: Place, learned: Place) -> tuple[frozenset[str], str]:
    """Name the perturbations that were judged, and are active in neither map: whom the filter leaves out.

    Returns
    -------
    tuple
        The names; and where nobody could be judged in either map why, in a sentence, else an empty one.

    Raises
    ------
    InputError
        When a name is unknown, or a map can't be made.
    """
    judged = [activity_of(catalog, place) for place in (simple, learned)]
    words = [by_name for by_name, _ in judged]
    every = {name for by_name in words for name in by_name}
    reasons = said_once(
        [f"{place.representation}: {said}" for place, (_, said) in zip((simple, learned), judged, strict=True)],
        (simple.representation, learned.representation),
    )
    nobody = all(said for _, said in judged)
    inactive = frozenset(name for name in every if _either(words, name) == NOT_ACTIVE)
    return inactive, "; ".join(reasons) if nobody else ""


def held_pairs(
    catalog: Catalog,
    simple: Place,
    learned: Place,
    *,
    others: Sequence[Place],
    k: int = DEFAULT_K,
    relationships: tuple[Source, ...] = (),
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[frozenset[tuple[str, str]], tuple[str, ...]]:
    """Name the pairs that hold in at least one other context, in either representation: what a filter keeps.

    Each report controls its own false discovery rate. Over several contexts and two representations the share of
    pairs that hold somewhere by chance is larger.

    Parameters
    ----------
    catalog, simple, learned, others, k, relationships, seed, progress
        As in `gather_evidence`.

    Returns
    -------
    tuple
        The pairs, the name that sorts first first; and notes, in sentences, that say where nothing could be judged.

    Raises
    ------
    InputError
        When the two maps are of two contexts, a context is named twice, or a map can't be made.
    """
    say = progress or (lambda what, share: None)
    check_seed(seed)
    _require_same_context(simple, learned)
    if not others:
        return frozenset(), ("no other context is chosen, so nothing is known to hold elsewhere",)
    labels = labels_of(simple, others)[1:]
    work = _Work(catalog, (), places={"simple": simple, "learned": learned}, k=k, seed=seed, say=say)
    found: set[tuple[str, str]] = set()
    for side, span in zip(SIDES, ((_MAPS, 0.5), (0.5, 1.0)), strict=True):
        reports = work.reports(side, others, labels, relationships=relationships, span=span)
        for label, report in reports.items():
            holding = report.labels.filter((pl.col("context") == label) & (pl.col("label") == HOLDS))
            found.update(report.edges[holding["edge"].to_list()].select("first", "second").rows())
    say("done", 1.0)
    return frozenset(found), work.said()


# ---------------------------------------------------------------- the work


class _Work:
    """One piece of work after the other, with what must be said of it.

    Parameters
    ----------
    catalog, pairs
        The data sets on offer, and the pairs.
    places
        The simple and the learned map.
    k, seed, say
        As in `gather_evidence`.
    """

    def __init__(
        self, catalog: Catalog, pairs: Names, *, places: Mapping[Side, Place], k: int, seed: int, say: Progress
    ) -> None:
        self._catalog, self._pairs, self._places = catalog, pairs, places
        self._k, self._seed, self._say = k, seed, say
        self._first, self._second = ([pair[side] for pair in pairs] for side in (0, 1))
        self._dataset = catalog.dataset(places["simple"].dataset)
        self._notes: list[str] = []
        self._maps: dict[Side, PerturbationMap] = {}
        for number, (side, place) in enumerate(places.items()):
            say(f"map of {place.representation}", _MAPS * number / len(places))
            self._maps[side] = _map_at(catalog, place)

    def said(self) -> tuple[str, ...]:
        """Give the notes so far; what is said of both representations is said once."""
        return said_once(self._notes, [self._name(side) for side in SIDES])

    def standings(self, others: Sequence[Place], labels: Sequence[str]) -> dict[str, Floats]:
        """How similar the partners are, and how near among all, here and in the other contexts."""
        columns: dict[str, Floats] = {}
        for side in SIDES:
            self._say(f"ranks in {self._name(side)}", _MAPS)
            columns |= _standing(self._maps[side], self._pairs, f"{side} ")
            for label, other in zip(labels, others, strict=True):
                place = self._there(side, other)
                if place.representation != self._name(side):
                    self._note(side, f"compared in {label} with {place.representation}, the nearest of its kind there")
                try:
                    made = _map_at(self._catalog, place)
                except InputError as error:
                    self._note(side, f"no map in {label}: {error}")
                    missing = np.full(len(self._pairs), np.nan)
                    columns |= {f"{label}: {side} {what}": missing for what in ("similarity", "rank")}
                    continue
                columns |= _standing(made, self._pairs, f"{label}: {side} ")
        return columns

    def labels(
        self, others: Sequence[Place], labels: Sequence[str], *, relationships: tuple[Source, ...]
    ) -> dict[str, list[str | None]]:
        """Whether each pair holds in the other contexts, as an edge of either graph here."""
        columns: dict[str, list[str | None]] = {}
        spans = ((_MAPS, (_MAPS + _REPORTS) / 2), ((_MAPS + _REPORTS) / 2, _REPORTS))
        for side, span in zip(SIDES, spans, strict=True):
            reports = self.reports(side, others, labels, relationships=relationships, span=span) if others else {}
            for label in labels:
                found: list[str | None] = [None] * len(self._pairs)
                if label in reports:
                    found = _labels_in(reports[label], label, self._pairs)
                    n_left = found.count(None)
                    if n_left:
                        self._note(
                            side,
                            f"{counted(n_left, 'pair')} not judged in {label}, since a perturbation is not in all "
                            "contexts compared",
                        )
                columns[f"{label}: {side}"] = found
        return columns

    def reports(
        self,
        side: Side,
        others: Sequence[Place],
        labels: Sequence[str],
        *,
        relationships: tuple[Source, ...],
        span: tuple[float, float],
    ) -> dict[str, ContextReport]:
        """Judge the edges of a graph in all other contexts together; where that is impossible, in each alone."""
        there = [self._there(side, other) for other in others]

        def ask(places: Sequence[Place], start: float, stop: float) -> ContextReport:
            name = self._name(side)
            return shared_report(
                self._catalog,
                self._places[side],
                places,
                k=self._k,
                relationships=relationships,
                seed=self._seed,
                progress=lambda what, share: self._say(f"{name}: {what}", start + (stop - start) * share),
            )

        try:
            report = ask(there, *span)
        except InputError as error:
            if len(there) == 1:
                self._note(side, f"nothing can be judged in {labels[0]}: {error}")
                return {}
        else:
            for note in report.notes:
                self._note(side, note)
            return dict.fromkeys(labels, report)
        found = {}
        step = (span[1] - span[0]) / len(there)
        for number, (label, place) in enumerate(zip(labels, there, strict=True)):
            start = span[0] + step * number
            try:
                found[label] = ask([place], start, start + step)
            except InputError as error:
                self._note(side, f"nothing can be judged in {label}: {error}")
                continue
            for note in found[label].notes:
                self._note(side, note)
        return found

    def activities(self) -> dict[str, list[str]]:
        """Whether either partner is active in at least one of the two maps."""
        words = []
        for side in SIDES:
            by_name, reason = activity_of(self._catalog, self._places[side])
            words.append(by_name)
            if reason:
                self._note(side, f"nobody can be called inactive: {reason}")
        return {
            "first activity": [_either(words, name) for name in self._first],
            "second activity": [_either(words, name) for name in self._second],
        }

    def technical(self) -> dict[str, Floats]:
        """How often technical noise alone would be as similar."""
        columns = {}
        for number, side in enumerate(SIDES):
            self._say(f"technical noise in {self._name(side)}", _REPORTS + (_NOISE - _REPORTS) * number / len(SIDES))
            name = f"{side} technical FDR"
            columns[name] = np.full(len(self._pairs), np.nan)
            try:
                found = self._technical(side)
            except InputError as error:
                self._note(side, f"no FDR against technical noise: {error}")
                continue
            if found.reason is not None:
                self._note(side, f"no FDR against technical noise: {found.reason}")
            for note in found.notes:
                self._note(side, f"FDR against technical noise: {note}")
            columns[name] = found.fdr(_cosines(self._maps[side], self._pairs))
        return columns

    def _technical(self, side: Side) -> TechnicalFdr:
        place, made = self._places[side], self._maps[side]
        screen = shared_screen(self._dataset, place.context)
        if isinstance(screen.representation(place.representation).source, SpreadSource):
            msg = "an embedding with one row a perturbation has no repeats of the controls"
            raise InputError(msg)

        def make() -> TechnicalFdr:
            return technical_fdr(screen, made, moments=self._moments(place), seed=self._seed)

        return _kept(("technical", digest_of(made), str(self._seed)), make)

    def seeds(self) -> dict[str, list[int | None]]:
        """In how many seeds of the learned model each pair is an edge."""
        place = self._places["learned"]
        cards = self._dataset.card.representations
        first = cards[place.representation].seed_of or place.representation
        family = [name for name, card in cards.items() if name == first or card.seed_of == first]
        chances = []
        for name in family:
            self._say(f"map of {name}", _NOISE)
            try:
                chances.append(
                    edge_chances(
                        _map_at(self._catalog, replace(place, representation=name)),
                        self._first,
                        self._second,
                        k=self._k,
                    )
                )
            except InputError as error:
                self._note("learned", f"the seed {name} can't be looked at: {error}")
        if len(family) < 2 and cards[place.representation].kind == "learned":
            self._note("learned", "the model has one seed, so nobody knows what hangs on it")
        if len(chances) < 2:
            nothing: list[int | None] = [None] * len(self._pairs)
            return {"seeds agreeing": nothing, "seeds": nothing}
        table = np.array(chances)
        told = (~np.isnan(table)).sum(axis=0).tolist()
        # By chance in, by chance out: an edge where it is at least as likely as not.
        agreeing = (np.nan_to_num(table) >= 0.5).sum(axis=0).tolist()
        return {
            "seeds agreeing": [n if of else None for n, of in zip(agreeing, told, strict=True)],
            "seeds": [of or None for of in told],
        }

    def support(self, *, n_resamples: int) -> dict[str, Floats]:
        """How much hangs on single replicates."""
        columns = {}
        for number, side in enumerate(SIDES):
            start = _NOISE + (_SUPPORT - _NOISE) * number / len(SIDES)
            self._say(f"replicates of {self._name(side)}", start)
            name = f"{side} support"
            columns[name] = np.full(len(self._pairs), np.nan)
            try:
                found = self._support(side, n_resamples=n_resamples, start=start)
            except InputError as error:
                self._note(side, f"no support under resampling: {error}")
                continue
            if found.reason:
                self._note(side, f"no support under resampling: {found.reason}")
            else:
                self._note(
                    side,
                    f"support is the share of {found.n_resamples:,} resamples of the {found.unit} in which a pair is "
                    "an edge",
                )
            columns[name] = found.share
        return columns

    def _support(self, side: Side, *, n_resamples: int, start: float) -> Resampled:
        place = self._places[side]
        screen = shared_screen(self._dataset, place.context)
        length = (_SUPPORT - _NOISE) / len(SIDES)

        def make() -> Resampled:
            return resampled_support(
                screen,
                place.representation,
                self._pairs,
                alignment=place.align,
                moments=self._moments(place),
                k=self._k,
                n_resamples=n_resamples,
                seed=self._seed,
                progress=lambda what, share: self._say(f"{place.representation}: {what}", start + length * share),
            )

        settings = digest_of((self._pairs, self._k, n_resamples, self._seed))
        return _kept(("support", digest_of(self._maps[side]), settings), make)

    def _moments(self, place: Place) -> moments.ScreenMoments:
        found = shared_moments(self._dataset, place.context, place.representation)
        if found is None:
            msg = "this screen has too many pairs of guide and batch to be kept in memory"
            raise InputError(msg)
        return found

    def gene_sets(self) -> list[str | None]:
        """Gene sets that the neighbourhoods of both partners are enriched in, in either map."""
        self._say("gene sets", _SUPPORT)
        nothing: list[str | None] = [None] * len(self._pairs)
        if not self._pairs:
            return []

        def make(maps: tuple[PerturbationMap, PerturbationMap]) -> tuple[str, ...]:
            index = shared_gene_sets_in(self._dataset, maps[0].names)
            return shared_gene_sets(maps, self._pairs, index, k=self._k)

        try:
            sources = shared_knowledge(self._dataset).gene_sets
            if not sources:
                self._notes.append("no gene sets are beside the data set, so none can be shared")
                return nothing
            maps = shared_common(self._maps["simple"], self._maps["learned"])
            key = ("gene sets", *map(digest_of, maps), digest_of((sources, self._pairs, self._k)))
            return list(_kept(key, lambda: make(maps)))
        except InputError as error:
            self._notes.append(f"shared gene sets can't be looked up: {error}")
            return nothing

    def _name(self, side: Side) -> str:
        return self._places[side].representation

    def _note(self, side: Side, text: str) -> None:
        self._notes.append(f"{self._name(side)}: {text}")

    def _there(self, side: Side, other: Place) -> Place:
        """Counterpart of a map in another context, aligned as that one is."""
        found = counterpart(self._catalog, self._catalog.dataset(other.dataset), other.context, like=self._places[side])
        return replace(found, align=other.align)


# ---------------------------------------------------------------- pairs


def _pairs_of(table: pl.DataFrame) -> tuple[tuple[str, str], ...]:
    """Read the pairs of a list.

    Raises
    ------
    InputError
        When a column is missing or has no names, or a line names one perturbation twice.
    """
    missing = [name for name in ("first", "second") if name not in table.columns]
    if missing:
        message = (
            f"the pairs have no column {listed(missing)}, expected the names of the two perturbations in 'first' and "
            f"'second'; columns there: {listed(table.columns) or 'none'}"
        )
        raise InputError(message)
    pairs = tuple(table.select("first", "second").iter_rows())
    for number, (first, second) in enumerate(pairs, start=1):
        if not isinstance(first, str) or not isinstance(second, str):
            msg = f"line {number:,} of the pairs names {shown(first)} and {shown(second)}: give two names"
            raise InputError(msg)
        if first == second:
            msg = f"line {number:,} of the pairs names {shown(first)} twice: give two perturbations"
            raise InputError(msg)
    return pairs


def _require_same_context(simple: Place, learned: Place) -> None:
    if (simple.dataset, simple.context) != (learned.dataset, learned.context):
        message = (
            f"the simple map is of {simple.dataset}/{simple.context} and the learned one of "
            f"{learned.dataset}/{learned.context}: give two maps of one context"
        )
        raise InputError(message)


def _rows_in(made: PerturbationMap, pairs: Names) -> tuple[npt.NDArray[np.intp], ...]:
    """Places of the pairs whose partners the map has, and the rows of these."""
    here = [place for place, pair in enumerate(pairs) if pair[0] in made and pair[1] in made]
    first, second = ([made.position(pairs[place][side]) for place in here] for side in (0, 1))
    return tuple(np.array(part, dtype=np.intp) for part in (here, first, second))


def _cosines(made: PerturbationMap, pairs: Names) -> Floats:
    """Cosines of pairs of names, to six decimals; NaN where the map lacks a partner."""
    here, first, second = _rows_in(made, pairs)
    found = np.full(len(pairs), np.nan)
    if len(here):
        found[here] = np.round(pair_cosines(made, first, second), TIE_DECIMALS)
    return found


def _standing(made: PerturbationMap, pairs: Names, begin: str) -> dict[str, Floats]:
    """Similarity and mutual rank of pairs of names; NaN where the map lacks a partner."""
    here, first, second = _rows_in(made, pairs)
    ranks = np.full(len(pairs), np.nan)
    if len(here):
        ranks[here] = mutual_ranks(made, first, second)
    return {f"{begin}similarity": _cosines(made, pairs), f"{begin}rank": ranks}


def _labels_in(report: ContextReport, label: str, pairs: Names) -> list[str | None]:
    """Look up what a report says of pairs in one context; None where it has not both partners."""
    own = report.labels.filter(pl.col("context") == label)
    edges = report.edges[own["edge"].to_list()]
    wanted = {(min(pair), max(pair)) for pair in pairs}
    lines = zip(edges["first"], edges["second"], own["label"], strict=True)
    found = {(first, second): word for first, second, word in lines if (first, second) in wanted}
    names = set(report.names)
    return [
        found.get((min(pair), max(pair)), NO_EDGE) if pair[0] in names and pair[1] in names else None for pair in pairs
    ]


def _words(table: pl.DataFrame, names: Collection[str]) -> tuple[dict[str, str], str]:
    """Say who is active, and who was judged by replicates and is not."""
    by_replicates = (pl.col("basis") == "replicate consistency").fill_null(value=False)
    told = pl.col("q").is_not_nan() & pl.col("q").is_not_null()
    word = (
        pl.when(told & (pl.col("q") < ACTIVE_Q))
        .then(pl.lit(ACTIVE))
        .when(told & by_replicates)
        .then(pl.lit(NOT_ACTIVE))
        .otherwise(pl.lit(NOT_JUDGED))
    )
    found = dict(table.select("perturbation", word.alias("word")).iter_rows())
    nobody = not table.filter(told & by_replicates).height
    reason = "there are no replicates to judge activity by, and a short profile may still be a phenotype"
    return {name: found.get(name, NOT_JUDGED) for name in names}, reason if nobody else ""


def _either(words: Sequence[Mapping[str, str]], name: str) -> str:
    """Word for a perturbation over several maps: active in one is active."""
    found = {by_name.get(name, NOT_JUDGED) for by_name in words}
    return next((word for word in (ACTIVE, NOT_ACTIVE) if word in found), NOT_JUDGED)


def _distrusted(cautions: Sequence[Caution], pairs: Names) -> list[str]:
    """Say for each pair which of the partners the card distrusts, and why."""
    lines = []
    for pair in pairs:
        about = [(" and ".join(name for name in pair if name in one.perturbations), one.text) for one in cautions]
        lines.append("; ".join(f"{names}: {text}" for names, text in about if names))
    return lines


# ---------------------------------------------------------------- keeping


def _map_at(catalog: Catalog, place: Place) -> PerturbationMap:
    dataset: Dataset = catalog.dataset(place.dataset)
    context = dataset.context(place.context)
    return shared_map(dataset, context, place.representation, alignment=place.align)


def _kept(key: tuple[str, ...], make: Callable[[], T]) -> T:
    hashable: Hashable = key
    return _remembered.get(hashable, lambda: kept_on_disk(artefact_key("evidence", _code(), *key), make, types=_TYPES))


@cache
def _code() -> str:
    """Digest of the code that what is kept depends on, read once a process."""
    return artefact_key(made_by=_MADE_BY)
