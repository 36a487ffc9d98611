"""What holds elsewhere: the edges of one context's map, judged in other contexts, each with its label."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.aggregate import PerturbationMap
from explorer.axis import FEWEST_FOR_STRATA, axis_strata, centered
from explorer.digits import counted
from explorer.edges import HOLDS_Q, EdgeTests, edge_tests, partial_conjunction
from explorer.errors import InputError, listed, shown, unknown_name
from explorer.known import KnownPairs
from explorer.relate import TIE_DECIMALS, check_k
from explorer.repeatability import UNKNOWN, Repeatability, measure_repeatability
from explorer.significance import benjamini_hochberg
from explorer.spelling import shared_names
from explorer.stand_ins import known_sources
from explorer.tails import pair_cosines

HOLDS, NOT_SEEN, SILENT, UNJUDGED = "holds", "not seen", "silent", "cannot be judged"

# Every perturbation is within two steps of nearly all others where there are fewer for each neighbour.
FEWEST_PER_NEIGHBOR = 6
# What an edge that is missed elsewhere must be: found in one half of the replicates and confirmed in the other.
CONFIRMED_Q = 0.05
# The other context must find so many of the edges that are as repeatable as its own, of which not more may be none.
FOUND_POWER = 0.95
MOST_NULL = 0.8
# A set of missing edges of which more are expected to be there after all is not named.
MOST_WRONG = 0.25

# Columns of a query's table that a context may not be called like.
_OWN_COLUMNS = ("rank", "perturbation", "similarity", "known")

Rows = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]
Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True, eq=False)
class ContextSide:
    """One context as it enters a comparison.

    Attributes
    ----------
    label
        What to call it: ``skin``, or ``dataset/skin`` where data sets differ.
    perturbation_map
        Its map, as built (not centred).
    halves
        Maps of two halves of its replicates; None without.
    inactive
        Perturbations judged by their replicates, and not called active (q > .1); empty where nobody could be.
    layout
        Layout unit of each perturbation of the map, shape (n_perturbations,); None where none is declared.
    activity_note
        Why activity was not judged; empty where it was.
    untold
        Perturbations whose activity could not be judged, where that of others was: no edge of theirs is said to be
        absent.
    """

    label: str
    perturbation_map: PerturbationMap
    halves: tuple[PerturbationMap, PerturbationMap] | None = None
    inactive: frozenset[str] = frozenset()
    layout: npt.NDArray[np.intp] | None = None
    activity_note: str = ""
    untold: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class AbsentSet:
    """Edges that one other context does not show although it repeats its own: said only as a set.

    Attributes
    ----------
    n_edges, expected_wrong
        Edges in the set, and how many of them are expected to be there after all.
    reason
        Why no set can be named (usually); empty where one is.
    """

    n_edges: int
    expected_wrong: float
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ContextReport:
    """The edges of one context, judged in others.

    Attributes
    ----------
    discovery, others
        Labels of the contexts.
    names
        Perturbations that all of them have, sorted.
    k, at_least
        Neighbours that make the graph, and number of others in which an edge must hold to *hold generally*.
    edges
        One line an undirected edge: ``first, second`` (names), ``similarity`` (centred cosine in the discovering
        context), ``reciprocal``, ``known`` (sources that list it, joined by commas, else empty), ``p_general,
        q_general, holds_general`` (partial conjunction over the others; null with one other: then equal to it).
    labels
        One line an edge and other context, in the order of `edges`, context by context: ``context, edge`` (number of
        the line in `edges`), ``mutual_rank, p, q, label`` (holds | not seen | silent | cannot be judged), ``absent``.
    tests, repeatability, absent
        By label of the other context.
    notes
        What the reader must know: layout not declared, perturbations left out, activity not judged.
    own_repeatability
        Of the discovering context; None where it was not measured.
    """

    discovery: str
    others: tuple[str, ...]
    names: tuple[str, ...] = field(repr=False)
    k: int
    at_least: int
    edges: pl.DataFrame = field(repr=False)
    labels: pl.DataFrame = field(repr=False)
    tests: Mapping[str, EdgeTests] = field(repr=False)
    repeatability: Mapping[str, Repeatability] = field(repr=False)
    absent: Mapping[str, AbsentSet] = field(repr=False)
    notes: tuple[str, ...] = ()
    own_repeatability: Repeatability | None = None

    def neighbors_of(self, query: str) -> pl.DataFrame:
        """Edges of a query as its neighbours, most similar first.

        Those up to rank k are its own k neighbours; beyond come the perturbations that have the query among theirs.

        Returns
        -------
        polars.DataFrame
            ``rank, perturbation, similarity, known`` and, of every other context, a column of its label's name with
            the label there.

        Raises
        ------
        InputError
            When the query is not in all contexts; the nearest names are given.
        """
        if query not in self.names:
            msg = "perturbation"
            raise unknown_name(msg, query, self.names)
        own = (pl.col("first") == query) | (pl.col("second") == query)
        partner = pl.when(pl.col("first") == query).then("second").otherwise("first")
        found = self.edges.with_row_index("edge").filter(own).with_columns(partner.alias("perturbation"))
        found = found.sort(["similarity", "perturbation"], descending=[True, False])
        columns: dict[str, pl.Series] = {
            "rank": pl.int_range(1, found.height + 1, eager=True),
            **{name: found[name] for name in ("perturbation", "similarity", "known")},
        }
        for place, context in enumerate(self.others):
            columns[context] = self.labels["label"].gather(found["edge"] + place * self.edges.height)
        return pl.DataFrame(columns)


def compare_contexts(
    discovery: ContextSide,
    others: Sequence[ContextSide],
    *,
    known: Sequence[KnownPairs] = (),
    k: int = 10,
    at_least: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ContextReport:
    """Judge every edge of one context's graph in other contexts: the front door.

    Only perturbations of all contexts count, and each map is centred over them. What holds in the context where an
    edge was found says nothing, so it is never counted among those in which the edge holds generally. An edge that
    does not hold is not thereby absent: it is *silent* where a partner does nothing there, *not seen* where a set of
    missing edges can be named, and else *cannot be judged*.

    Parameters
    ----------
    discovery
        The context whose edges are judged.
    others
        The contexts that they are judged in.
    known
        Known pairs: they are no decoys, and are named beside the edges.
    k
        Neighbours that make the graph.
    at_least
        Number of others in which an edge must hold to *hold generally*; more than half of them without it.
    seed
        Of the draw of decoys.
    progress
        Told what is done, and what share of the whole is behind.

    Returns
    -------
    ContextReport
        The features of the contexts may differ: neighbours are compared, never coordinates.

    Raises
    ------
    InputError
        When there is no other context, labels repeat, fewer than three perturbations are in all contexts (the
        nearest spellings are given), they are too few for k neighbours, or `at_least` is out of range.

    References
    ----------
    Benjamini and Heller 2008, doi:10.1111/j.1541-0420.2007.00984.x (partial conjunction).
    """
    _check_labels(discovery, others)
    wanted = check_at_least(at_least, len(others))
    names, notes = _common_names(discovery, others)
    _check_size(names, (discovery, *others), k=k)
    say = progress or (lambda _what, _share: None)
    steps = 2 * len(others) + 1

    here = centered(discovery.perturbation_map.restricted_to(names))
    strata = axis_strata(here, layout=_layout_of(discovery, names))
    tests: dict[str, EdgeTests] = {}
    for number, side in enumerate(others):
        say(f"testing edges in {side.label}", number / steps)
        there = centered(side.perturbation_map.restricted_to(names))
        tests[side.label] = edge_tests(
            here, there, strata=strata, other_layout=_layout_of(side, names), known=known, k=k, seed=seed
        )
    measured: dict[str, Repeatability] = {}
    for number, side in enumerate((discovery, *others)):
        say(f"measuring what {side.label} repeats", (len(others) + number) / steps)
        measured[side.label] = _repeatability(side, names, known=known, k=k, seed=seed)

    first, second = tests[others[0].label].first, tests[others[0].label].second
    absent: dict[str, AbsentSet] = {}
    labels = []
    for side in others:
        test, inactive = tests[side.label], np.isin(names, sorted(side.inactive))
        silent = inactive[first] | inactive[second]
        untold = np.isin(names, sorted(side.untold))
        absent[side.label], missing = _absent(
            test,
            measured[discovery.label],
            measured[side.label],
            sides=(discovery, side),
            judged=~(silent | untold[first] | untold[second]),
        )
        labels.append(_label_table(side.label, test, silent=silent, missing=missing))
    general = _general([tests[side.label].p for side in others], at_least=wanted)
    edges = pl.DataFrame(
        {
            "first": [names[row] for row in first.tolist()],
            "second": [names[row] for row in second.tolist()],
            "similarity": np.round(pair_cosines(here, first, second), TIE_DECIMALS),
            "reciprocal": tests[others[0].label].is_reciprocal,
            "known": pl.Series(known_sources(known, names, (first, second)), dtype=pl.String),
            **general,
        }
    )
    notes += _layout_notes(discovery, others, said=strata.note)
    notes += [f"{side.label}: {side.activity_note}" for side in others if side.activity_note]
    notes += [f"{label}: {test.note}" for label, test in tests.items() if test.note]
    notes += _silent_notes(others, tests)
    say("done", 1.0)
    return ContextReport(
        discovery=discovery.label,
        others=tuple(side.label for side in others),
        names=names,
        k=k,
        at_least=wanted,
        edges=edges,
        labels=pl.concat(labels),
        tests=tests,
        repeatability={side.label: measured[side.label] for side in others},
        absent=absent,
        notes=said_once(notes, (discovery.label, *(side.label for side in others))),
        own_repeatability=measured[discovery.label],
    )


def said_once(notes: Sequence[str], labels: Sequence[str]) -> tuple[str, ...]:
    """Say a note once that is the same of several contexts: ``a: TEXT`` and ``b: TEXT`` become ``a and b: TEXT``.

    Parameters
    ----------
    notes
        Sentences; those of one context begin with its label and a colon.
    labels
        Contexts compared, the discovering one first.
    """
    found: dict[str, list[str]] = {}
    for note in notes:
        # A label may begin with another one and a colon: the longest is meant.
        own = max((label for label in labels if note.startswith(f"{label}: ")), key=len, default="")
        about = found.setdefault(note[len(own) + 2 :] if own else note, [])
        if own and own not in about:
            about.append(own)
    said = []
    for text, about in found.items():
        if not about:
            said.append(text)
        elif len(about) == len(labels) > 2:
            said.append(f"all contexts: {text}")
        else:
            these = about[0] if len(about) == 1 else f"{', '.join(about[:-1])} and {about[-1]}"
            said.append(f"{these}: {text}")
    return tuple(said)


def _check_labels(discovery: ContextSide, others: Sequence[ContextSide]) -> None:
    if not others:
        message = (
            f"{shown(discovery.label)} alone says nothing of what holds elsewhere: give at least one other context "
            "to compare it with"
        )
        raise InputError(message)
    labels = [discovery.label, *(side.label for side in others)]
    repeated = dict.fromkeys(label for label in labels if labels.count(label) > 1)
    if repeated:
        msg = f"contexts are called alike: {listed(repeated)}; compare different ones, and give each a label of its own"
        raise InputError(msg)
    reserved = [label for label in labels if label in _OWN_COLUMNS]
    if reserved:
        msg = f"a context can't be called {shown(reserved[0])}, the name of a column of the table: give another label"
        raise InputError(msg)


def check_at_least(at_least: int | None, n_others: int) -> int:
    """Check in how many other contexts an edge must hold: more than half of them, where none is asked for.

    Raises
    ------
    InputError
        When there are not so many.
    """
    if at_least is None:
        return n_others // 2 + 1
    if isinstance(at_least, bool) or not isinstance(at_least, int) or not 1 <= at_least <= n_others:
        are = counted(n_others, "other context")
        msg = f"an edge can't be asked to hold in {shown(at_least)} of {are}: choose at least 1, at most {n_others}"
        raise InputError(msg)
    return at_least


def _common_names(discovery: ContextSide, others: Sequence[ContextSide]) -> tuple[tuple[str, ...], list[str]]:
    """Find the perturbations of all contexts; say how many were left out, and which differ in spelling alone."""
    own = discovery.perturbation_map.names
    names, notes = own, []
    for side in others:
        found = shared_names(own, side.perturbation_map.names, labels=(discovery.label, side.label))
        notes += [found.sentence] if found.sentence else []
        theirs = set(found.names)
        names = tuple(name for name in names if name in theirs)
    for side in (discovery, *others):
        n_left = side.perturbation_map.n_perturbations - len(names)
        if n_left:
            notes.append(f"{counted(n_left, 'perturbation')} of {side.label} left out: not in all contexts compared")
    return names, notes


def _check_size(names: tuple[str, ...], sides: Sequence[ContextSide], *, k: int) -> None:
    """Check that most perturbations are beyond two steps of any other, or none could stand in for a neighbour."""
    common = f"{counted(len(names), 'perturbation')} in {'both' if len(sides) == 2 else 'all'} contexts"
    if len(names) < FEWEST_FOR_STRATA:
        counts = ", ".join(f"{side.label} {side.perturbation_map.n_perturbations:,}" for side in sides)
        message = (
            f"{common} ({counts}) are too few to tell neighbours from chance, expected at least {FEWEST_FOR_STRATA}: "
            f"compare contexts that share more{', or fewer of them' if len(sides) > 2 else ''}"
        )
        raise InputError(message)
    check_k(k, len(names))
    if len(names) < FEWEST_PER_NEIGHBOR * k:
        message = (
            f"{common} are too few for {k} neighbours, expected at least {FEWEST_PER_NEIGHBOR * k:,} "
            f"({FEWEST_PER_NEIGHBOR} for each, or nobody is left to compare them with): ask for at most "
            f"{len(names) // FEWEST_PER_NEIGHBOR} neighbours"
        )
        raise InputError(message)


def _layout_of(side: ContextSide, names: Sequence[str]) -> Rows | None:
    """Layout unit of some perturbations of a context; None where no layout is declared."""
    if side.layout is None:
        return None
    every = side.perturbation_map.names
    if len(side.layout) != len(every):
        message = f"{side.label} has {len(side.layout):,} layout units for {len(every):,} perturbations: give one each"
        raise InputError(message)
    return side.layout[np.isin(every, names)]


def _repeatability(
    side: ContextSide, names: tuple[str, ...], *, known: Sequence[KnownPairs], k: int, seed: int
) -> Repeatability:
    """Measure what a context repeats of its own, over the perturbations that are compared."""
    if side.halves is None:
        return measure_repeatability(None)
    among = set(names)
    shared = sorted(among.intersection(*(half.names for half in side.halves)))
    if len(shared) < FEWEST_FOR_STRATA:
        few = counted(len(shared), "perturbation")
        note = f"{UNKNOWN} (only {few} of those compared in both halves of its replicates)"
        return Repeatability(np.empty(0), float("nan"), note)
    one, other = (half.restricted_to(shared) for half in side.halves)
    return measure_repeatability((one, other), known=known, layout=_layout_of(side, shared), k=k, seed=seed)


def _absent(
    test: EdgeTests,
    own: Repeatability,
    other: Repeatability,
    *,
    sides: tuple[ContextSide, ContextSide],
    judged: Flags,
) -> tuple[AbsentSet, Flags]:
    """Name the edges that the other context does not show although it repeats its own, where they can be named.

    Not every edge said to be missing is: of those confirmed, the share `CONFIRMED_Q` was never there; and of those
    that are there, one in twenty lies beyond the threshold, which is a nineteenth of those before it.
    """
    nothing = np.zeros(len(test.p), dtype=bool)

    def none(reason: str, n_edges: int = 0, wrong: float = float("nan")) -> tuple[AbsentSet, Flags]:
        return AbsentSet(n_edges, wrong, reason), nothing

    here, there = sides[0].label, sides[1].label
    if np.isnan(other.null_share):
        return none(other.note.replace("its own", f"{there}'s own", 1))
    if not other.null_share <= MOST_NULL:
        return none(
            f"{there} repeats too few of its own edges: an estimated {100 * other.null_share:.0f} % of them are none, "
            f"expected at most {100 * MOST_NULL:.0f} %; a missing neighbour says nothing"
        )
    if own.tests is None:
        return none(f"no edge of {here} can be confirmed: {own.note}")
    if sides[1].activity_note:
        return none(f"nobody knows who is active in {there}: {sides[1].activity_note}")
    enters = _confirmed(own.tests, test) & judged & ~np.isnan(test.p)
    threshold = other.threshold(FOUND_POWER)
    missing = enters & (test.p > threshold) & ~test.holds
    n_confirmed, n_missing = int(enters.sum()), int(missing.sum())
    if not n_confirmed:
        return none(
            f"{here} confirms none of its own edges in both halves of its replicates, so none can be missing in {there}"
        )
    if not n_missing:
        return none(
            f"of {counted(n_confirmed, 'edge')} that {here} confirms among perturbations active in {there}, none is "
            "missing"
        )
    wrong = CONFIRMED_Q * n_confirmed + (n_confirmed - n_missing) / 19
    if wrong > MOST_WRONG * n_missing:
        return none(
            f"of {counted(n_missing, 'edge')} that seem missing in {there}, {wrong:.1f} are expected to be wrong, "
            f"more than {100 * MOST_WRONG:.0f} %",
            n_missing,
            wrong,
        )
    return AbsentSet(n_missing, wrong), missing


def _confirmed(own: EdgeTests, test: EdgeTests) -> Flags:
    """Whether each edge is reciprocal in one half of its own context's replicates, and confirmed in the other."""
    sure = own.is_reciprocal & (np.nan_to_num(own.q, nan=1.0) <= CONFIRMED_Q)
    # Halves may lack perturbations; names of both are sorted, so rows keep their order.
    place = np.searchsorted(test.names, own.names)
    n = len(test.names)
    found = place[own.first[sure]] * n + place[own.second[sure]]
    return np.isin(test.first * n + test.second, found)


def _label_table(context: str, test: EdgeTests, *, silent: Flags, missing: Flags) -> pl.DataFrame:
    """Label every edge in one other context."""
    label = np.select([test.holds, silent, missing], [HOLDS, SILENT, NOT_SEEN], default=UNJUDGED)
    n = len(test.p)
    return pl.DataFrame(
        {
            "context": pl.Series([context] * n, dtype=pl.String),
            "edge": pl.int_range(n, dtype=pl.UInt32, eager=True),
            "mutual_rank": test.mutual_rank,
            "p": test.p,
            "q": test.q,
            "label": pl.Series(label.tolist(), dtype=pl.String),
            "absent": missing & ~test.holds & ~silent,
        }
    )


def _general(columns: Sequence[npt.NDArray[np.float64]], *, at_least: int) -> dict[str, pl.Series]:
    """Test whether edges hold in so many contexts at least; null where there is one context alone."""
    n = len(columns[0])
    if len(columns) == 1:
        null = [None] * n
        return {
            "p_general": pl.Series(null, dtype=pl.Float64),
            "q_general": pl.Series(null, dtype=pl.Float64),
            "holds_general": pl.Series(null, dtype=pl.Boolean),
        }
    p = partial_conjunction(np.column_stack(columns), at_least=at_least)
    q = benjamini_hochberg(p)
    holds = np.nan_to_num(q, nan=1.0) <= HOLDS_Q
    return {"p_general": pl.Series(p), "q_general": pl.Series(q), "holds_general": pl.Series(holds)}


def _silent_notes(others: Sequence[ContextSide], tests: Mapping[str, EdgeTests]) -> list[str]:
    """Say how many edges hold although a partner is not active: to do nothing is alike everywhere."""
    notes = []
    for side in others:
        test = tests[side.label]
        inactive = np.isin(test.names, sorted(side.inactive))
        n_silent = int((test.holds & (inactive[test.first] | inactive[test.second])).sum())
        if n_silent:
            notes.append(
                f"{side.label}: of {counted(int(test.holds.sum()), 'edge')} that hold, {n_silent:,} have a partner "
                "that is not called active there; perturbations that do nothing may be alike in that alone"
            )
    return notes


def _layout_notes(discovery: ContextSide, others: Sequence[ContextSide], *, said: str) -> list[str]:
    """Say where shared positions can't be told from replication."""
    declared = [side.label for side in others if side.layout is not None]
    if discovery.layout is not None or not declared:
        return [said] if said else []
    if len(declared) == len(others):
        return []
    return [f"{said} (declared in {listed(declared)} alone)"]
