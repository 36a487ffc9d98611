"""Tables of what holds in other contexts: a query's neighbours, the edges, the labels counted, the overlaps."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.context_reports import OverlapReport
from explorer.contexts import HOLDS, NOT_SEEN, SILENT, UNJUDGED, ContextReport
from explorer.edges import HOLDS_Q, partial_conjunction
from explorer.errors import InputError, shown
from explorer.significance import benjamini_hochberg
from explorer.view import validated_choice

EVERY, KNOWN, NOT_KNOWN = "all", "known", "not known"
KNOWN_OPTIONS: Mapping[str, str] = {
    "all edges": EVERY,
    "those known already": KNOWN,
    "those not known": NOT_KNOWN,
}
# A word and a sign for each label, so that neither colour nor sight of it is needed.
MARKS: Mapping[str, str] = {HOLDS: "●", NOT_SEEN: "○", SILENT: "◌", UNJUDGED: "–"}
DECOYS_NOTE = "Matched decoys: how many would hold of as many pairs like these, but unrelated."
# What stands in `WHOSE` of those beyond a query's own neighbours.
WHOSE, OWN, THEIRS = "listed by", "the query", "the other alone"
# How the page writes the columns of its tables.
EDGE_FORMATS = {"similarity": "{:.3f}", "q": "{:.2g}"}
COLUMN_WIDTHS: Mapping[str, int] = {"rank": 70, "similarity": 110, "q": 80}
OVERLAP_FORMATS = {
    **dict.fromkeys(("raw", "expected", "hubs", "shared axis", "layout"), "{:.4f}"),
    **dict.fromkeys(("adjusted", "in groups", "low", "high", "remainder"), "{:+.4f}"),
    "p": "{:.2g}",
}
OVERLAP_SCHEMA: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "other": pl.String, "representation": pl.String, "kind": pl.String, "raw": pl.Float64, "expected": pl.Float64,
    "adjusted": pl.Float64, "low": pl.Float64, "high": pl.Float64, "p": pl.Float64, "hubs": pl.Float64,
    "shared axis": pl.Float64, "layout": pl.Float64, "remainder": pl.Float64, "n": pl.Int64, "in groups": pl.Float64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """How many of some edges hold in one other context, and what can be said of the rest.

    Attributes
    ----------
    context
        The other context.
    n_edges, n_holds, n_not_seen, n_silent, n_unjudged
        Edges, by label.
    decoys
        How many of as many matched decoys would hold; NaN where nothing could be tested.
    power
        Share of edges as repeatable as its own that the other context shows, at the least; NaN where unknown.
    unknown
        Why the other context's own repeatability is not known; else empty.
    """

    context: str
    n_edges: int
    n_holds: int
    n_not_seen: int
    n_silent: int
    n_unjudged: int
    decoys: float
    power: float
    unknown: str


def counts_of(report: ContextReport, query: str = "") -> tuple[LabelCounts, ...]:
    """Count the labels in each other context: of the edges to a query's own k neighbours, or of all edges."""
    chosen = is_own(report, query)
    found = []
    for context in report.others:
        here = report.labels.filter(pl.col("context") == context).filter(chosen)
        count = dict(here.group_by("label").len().iter_rows())
        repeatability, tests = report.repeatability[context], report.tests[context]
        n_tested = int(here["p"].is_not_nan().sum())
        found.append(
            LabelCounts(
                context=context,
                n_edges=here.height,
                n_holds=count.get(HOLDS, 0),
                n_not_seen=count.get(NOT_SEEN, 0),
                n_silent=count.get(SILENT, 0),
                n_unjudged=count.get(UNJUDGED, 0),
                decoys=tests.decoy_share * n_tested if n_tested else float("nan"),
                power=_power(report, context),
                unknown=repeatability.note,
            )
        )
    return tuple(found)


def is_own(report: ContextReport, query: str = "") -> pl.Series:
    """Say of every edge whether it leads to one of a query's own k neighbours; without a query they all do."""
    if not query:
        return pl.repeat(value=True, n=report.edges.height, eager=True, dtype=pl.Boolean)
    # Beyond the k nearest stand those that have the query among theirs.
    own = report.neighbors_of(query).head(report.k)["perturbation"].to_list() if query in report.names else []
    first, second = report.edges["first"], report.edges["second"]
    return ((first == query) & second.is_in(own)) | ((second == query) & first.is_in(own))


def _power(report: ContextReport, context: str) -> float:
    """Share of edges as repeatable as its own that a context shows below the p of every edge called not seen."""
    unseen = report.labels.filter((pl.col("context") == context) & (pl.col("label") == NOT_SEEN))["p"].min()
    return report.repeatability[context].power(float(unseen)) if isinstance(unseen, float) else float("nan")


def neighbor_table(report: ContextReport, query: str, *, doubtful: Collection[str] = ()) -> pl.DataFrame:
    """Tidy a query's neighbours for the page, each label with its sign.

    Parameters
    ----------
    report, query
        The edges and their labels, and whose neighbours are wanted.
    doubtful
        Perturbations that the card says to distrust.

    Returns
    -------
    polars.DataFrame
        ``rank, perturbation, similarity, known`` and, for each other context, ``in CONTEXT``; also ``distrust`` where
        there is somebody to, and ``listed by`` where some have the query among theirs and are not among its own.
    """
    near = report.neighbors_of(query)
    table = _marked(near, report.others)
    if near.height > report.k:
        whose = pl.when(pl.col("rank") <= report.k).then(pl.lit(OWN)).otherwise(pl.lit(THEIRS))
        table = table.with_columns(whose.alias(WHOSE))
    return distrusted(table, ("perturbation",), doubtful=doubtful)


def quiet_sentence(query: str, context: str) -> str:
    """Say before its neighbours that a perturbation's replicates do not set it apart from controls."""
    return f"{query} is not distinguishable from controls in {context}: its neighbours are likely to mean nothing"


def distrusted(table: pl.DataFrame, columns: Sequence[str], *, doubtful: Collection[str]) -> pl.DataFrame:
    """Name in a column ``distrust`` who of each line is doubtful; no column where nobody is."""
    if not table.height:
        return table
    named = [", ".join(name for name in names if name in doubtful) for names in table.select(*columns).rows()]
    return table.with_columns(pl.Series("distrust", named)) if any(named) else table


def general_edges(report: ContextReport, *, at_least: int) -> pl.DataFrame:
    """Test for every edge whether it holds in so many of the other contexts at least.

    Returns
    -------
    polars.DataFrame
        ``p, q, holds``, in the order of ``report.edges``: with one other context those of its test, with more the
        partial conjunction of theirs; an edge without a p in so many contexts does not hold.

    Raises
    ------
    InputError
        When there are not so many other contexts.
    """
    n_others = len(report.others)
    if isinstance(at_least, bool) or not isinstance(at_least, int) or not 1 <= at_least <= n_others:
        message = f"at least {shown(at_least)} contexts can't be asked for: there are {n_others}, choose from 1"
        raise InputError(message)
    if n_others == 1:
        only = report.labels
        return only.select("p", "q", (pl.col("label") == HOLDS).alias("holds"))
    if at_least == report.at_least:
        columns = {"p_general": "p", "q_general": "q", "holds_general": "holds"}
        return report.edges.select(*columns).rename(columns).with_columns(pl.col("holds").fill_null(value=False))
    p = partial_conjunction(_p_of(report), at_least=at_least)
    q = benjamini_hochberg(p)
    return pl.DataFrame({"p": p, "q": q, "holds": np.nan_to_num(q, nan=1.0) <= HOLDS_Q})


def _p_of(report: ContextReport) -> npt.NDArray[np.float64]:
    """Put the p of all edges into columns, one a context."""
    columns = [report.labels.filter(pl.col("context") == context)["p"].to_numpy() for context in report.others]
    return np.column_stack(columns)


def edge_table(
    report: ContextReport, *, at_least: object, known: object = EVERY, doubtful: Collection[str] = ()
) -> pl.DataFrame:
    """List the edges that hold in so many of the other contexts at least: the best first, doubtful ones last.

    Parameters
    ----------
    report
        The edges and their labels.
    at_least
        Number of contexts, as a browser sent it.
    known
        All edges, those that a source lists, or those that none does, as a browser sent it.
    doubtful
        Perturbations that the card says to distrust.

    Returns
    -------
    polars.DataFrame
        ``first, second, similarity, known, q`` and, for each other context, ``in CONTEXT``; also ``distrust`` where
        there is somebody to.

    Raises
    ------
    InputError
        When a value was not on offer.
    """
    which = validated_choice(known, KNOWN_OPTIONS.values(), kind="choice of edges")
    general = general_edges(report, at_least=at_least if isinstance(at_least, int) else 0)
    table = report.edges.select("first", "second", "similarity", "known", "reciprocal").with_columns(
        general["q"], general["holds"]
    )
    for context in report.others:
        own = report.labels.filter(pl.col("context") == context)
        # A context may be called like another column: "first", say.
        table = table.with_columns(_signed(pl.lit(own["label"])).alias(f"in {context}"))
    table = table.filter("holds").drop("holds", "reciprocal")
    if which != EVERY:
        table = table.filter((pl.col("known") != "") == (which == KNOWN))
    table = distrusted(table, ("first", "second"), doubtful=doubtful)
    last = [pl.col("distrust") != ""] if "distrust" in table.columns else []
    return table.sort(*last, "q", "similarity", descending=[*(False for _ in last), False, True])


def steps_of(report: ContextReport) -> dict[str, int]:
    """List in how many of the other contexts an edge may be asked to hold, for a menu: all of them first."""
    n_others = len(report.others)
    if n_others == 1:
        return {f"in {report.others[0]}": 1}
    steps = {"in both others" if n_others == 2 else f"in all {n_others} others": n_others}
    return steps | {f"in at least {number} of {n_others}": number for number in range(n_others - 1, 0, -1)}


def first_step(report: ContextReport) -> str:
    """Entry of the menu that `steps_of` makes to begin with: everywhere."""
    return next(iter(steps_of(report)))


def _marked(table: pl.DataFrame, contexts: Iterable[str]) -> pl.DataFrame:
    """Put a sign before each label, and say of its column where it is from."""
    return table.with_columns(_signed(pl.col(context)) for context in contexts).rename(
        {context: f"in {context}" for context in contexts}
    )


def _signed(labels: pl.Expr) -> pl.Expr:
    """Put its sign before each label."""
    signs = {label: f"{sign} {label}" for label, sign in MARKS.items()}
    return labels.replace_strict(signs, default=labels, return_dtype=pl.String)


def label_table(report: ContextReport) -> pl.DataFrame:
    """Tidy every edge in every other context, as it is taken away.

    Returns
    -------
    polars.DataFrame
        ``first, second, similarity, reciprocal, known, context, mutual rank, p, q, label, absent``.
    """
    edges = report.edges.with_row_index("edge").select("edge", "first", "second", "similarity", "reciprocal", "known")
    labels = report.labels.with_columns(pl.col("edge").cast(pl.UInt32))
    columns = ["context", "mutual_rank", "p", "q", "label", "absent"]
    return (
        labels.join(edges, on="edge", how="left", maintain_order="left")
        .select(*edges.columns[1:], *columns)
        .rename({"mutual_rank": "mutual rank"})
    )


def counts_table(report: ContextReport) -> pl.DataFrame:
    """Tidy how many edges have each label: ``context, label, edges``."""
    lines = [
        (count.context, label, number)
        for count in counts_of(report)
        for label, number in zip(
            MARKS, (count.n_holds, count.n_not_seen, count.n_silent, count.n_unjudged), strict=True
        )
        if number
    ]
    return pl.DataFrame(lines, schema={"context": pl.String, "label": pl.String, "edges": pl.Int64}, orient="row")


def overlap_table(report: ContextReport, overlaps: Sequence[OverlapReport]) -> pl.DataFrame:
    """Put the tables of the other contexts into one, each line with the name of its context before it."""
    parts = [
        found.table.with_columns(pl.lit(name).alias("other"))
        .select(list(OVERLAP_SCHEMA))
        .cast(pl.Schema(OVERLAP_SCHEMA))
        for name, found in zip(report.others, overlaps, strict=True)
    ]
    return pl.concat(parts) if parts else pl.DataFrame(schema=pl.Schema(OVERLAP_SCHEMA))
