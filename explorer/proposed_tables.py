"""Tables of a shortlist for the page: the list, the blind one, the pairs annotated apart, and frames of its charts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from explorer.contexts import HOLDS, NOT_SEEN, SILENT, UNJUDGED
from explorer.digits import percent
from explorer.gathered_evidence import ACTIVE, NO_EDGE, NOT_ACTIVE, NOT_JUDGED, Evidence
from explorer.held_tables import MARKS
from explorer.shortlist import Expectation, expected_hits_of_rate
from explorer.shortlists import Listed, with_evidence
from explorer.track_record import TrackRecord

# Pairs annotated apart that a page shows.
MOST_APART = 50
APART = "annotated apart"
PROPOSED_BY = "proposed by"
# What both maps say alike stands once; else who says what.
_SIDES = ("simple", "learned")
# How the page writes the columns of its tables.
FORMATS: Mapping[str, str] = {
    "rank": "{:,}",
    "simple score": "{:.2f}",
    "learned score": "{:.2f}",
    "score": "{:.2f}",
    "simple rank": "{:,.0f}",
    "learned rank": "{:,.0f}",
    "known this similar": "{:.0%}",
}
RECORD_FORMATS: Mapping[str, str] = {"expected": "{:.1f}", "delta": "{:+.3f}"}
COLUMN_WIDTHS: Mapping[str, int] = {
    "rank": 60, "simple rank": 85, "learned rank": 95, "seeds": 70, "support": 105, "active": 80,
}  # fmt: skip
PLACES_SCHEMA: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "pair": pl.String, "simple": pl.Float64, "learned": pl.Float64, "proposer": pl.String, "rank": pl.Int64,
}  # fmt: skip


def list_table(found: Listed, evidence: Evidence | None = None) -> pl.DataFrame:
    """Tidy a list for the page: the columns that help most, one line a pair, in order.

    Parameters
    ----------
    found
        The list, no blind one.
    evidence
        What stands beside each pair; None while it is gathered.

    Returns
    -------
    polars.DataFrame
        ``rank, first, second, proposed by`` (the representation, or both), then without evidence ``simple score,
        learned score, known this similar``; with it ``simple rank, learned rank``, for each other context
        ``in CONTEXT``, then ``seeds, support, active, shared gene sets`` and, where there is somebody to,
        ``distrust``. A column in which nothing stands is left out.
    """
    rows = _proposed_by(found)
    if evidence is None:
        return rows.select(
            "rank", "first", "second", PROPOSED_BY, "simple score", "learned score",
            pl.col("known rate").alias("known this similar"),
        )  # fmt: skip
    table = with_evidence(rows, evidence)
    labels = [name.removesuffix(": simple") for name in evidence.table.columns if name.endswith(": simple")]
    made: list[pl.Series] = [table[name] for name in ("rank", "first", "second", PROPOSED_BY)]
    made += [table[f"{side} rank"] for side in _SIDES]
    for label in labels:
        both = table.select(f"{label}: simple", f"{label}: learned").rows()
        made.append(pl.Series(f"in {label}", [_both_labels(*pair) for pair in both], dtype=pl.String))
    made.append(pl.Series("seeds", [_of(*pair) for pair in table.select("seeds agreeing", "seeds").rows()]))
    support = table.select("simple support", "learned support").rows()
    made.append(pl.Series("support", [_shares(*pair) for pair in support], dtype=pl.String))
    activity = table.select("first activity", "second activity").rows()
    made.append(pl.Series("active", [who_is_active(*pair) for pair in activity], dtype=pl.String))
    made += [table["shared gene sets"], table["distrust"]]
    shown = pl.DataFrame([column for column in made if _says_something(column)])
    # A page writes a text that is not there as None.
    return shown.with_columns(pl.col(pl.String).fill_null(""))


def gene_set_table(table: pl.DataFrame) -> pl.DataFrame:
    """Take from a list, as `list_table` gives it, the gene sets of each pair that has any: ``rank, pair, …``."""
    if "shared gene sets" not in table.columns:
        return pl.DataFrame(schema={"rank": pl.Int64, "pair": pl.String, "shared gene sets": pl.String})
    pair = pl.format("{} – {}", "first", "second").alias("pair")
    return table.filter(pl.col("shared gene sets") != "").select("rank", pair, "shared gene sets")


def _proposed_by(found: Listed) -> pl.DataFrame:
    names = {"simple": found.plan.simple, "learned": found.plan.learned, "both": "both alike"}
    return found.rows.with_columns(
        pl.col("proposer").replace_strict(names, default=pl.col("proposer")).alias(PROPOSED_BY)
    )


def _says_something(column: pl.Series) -> bool:
    if column.dtype == pl.Null or column.null_count() == len(column):
        return False
    if column.name == "active":
        return bool((column != NOT_JUDGED).any())
    return column.dtype != pl.String or bool((column.fill_null("") != "").any())


def _both_labels(simple: str | None, learned: str | None) -> str | None:
    """Put the labels of a pair in another context into one: what either map says, or who says what."""
    if simple is None and learned is None:
        return None
    if simple == learned:
        return _marked(simple)
    judged = {
        side: label
        for side, label in zip(_SIDES, (simple, learned), strict=True)
        if label is not None and label != NO_EDGE
    }
    if not judged:
        return NO_EDGE
    for label in (HOLDS, NOT_SEEN, SILENT, UNJUDGED):
        said_by = [side for side, value in judged.items() if value == label]
        if said_by:
            return f"{_marked(label)} ({' and '.join(said_by)})"
    return None


def _marked(label: str | None) -> str:
    return f"{MARKS[label]} {label}" if label is not None and label in MARKS else label or ""


def who_is_active(first: str | None, second: str | None) -> str:
    """Say in a word or two which partners of a pair are active."""
    both = (first or NOT_JUDGED, second or NOT_JUDGED)
    words = {
        (ACTIVE, ACTIVE): "both",
        (NOT_ACTIVE, NOT_ACTIVE): "neither",
        (ACTIVE, NOT_ACTIVE): "first alone",
        (NOT_ACTIVE, ACTIVE): "second alone",
        (NOT_JUDGED, NOT_JUDGED): NOT_JUDGED,
    }
    return words.get(both, f"first {both[0]}, second {both[1]}")


def _of(part: int | None, whole: int | None) -> str | None:
    return None if part is None or whole is None else f"{part} of {whole}"


def _shares(simple: float | None, learned: float | None) -> str | None:
    if simple is None and learned is None:
        return None
    return " / ".join("–" if share is None else percent(share) for share in (simple, learned))


def blind_table(found: Listed) -> pl.DataFrame:
    """List the pairs of a comparison by name: nothing tells who proposed them, their order neither."""
    return found.rows.select("first", "second").sort("first", "second")


def apart_table(found: Listed) -> pl.DataFrame:
    """List the first pairs that a source places in different groups; empty in a comparison."""
    if found.shortlist is None:
        return pl.DataFrame(schema={"first": pl.String, "second": pl.String})
    return found.shortlist.apart.head(MOST_APART).select("first", "second", "simple score", "learned score")


def full_table(found: Listed, evidence: Evidence | None) -> pl.DataFrame:
    """Put all that is known beside the pairs, as it is taken away; of a comparison the pairs alone."""
    return blind_table(found) if found.shortlist is None else with_evidence(found.rows, evidence)


def places_table(found: Listed) -> pl.DataFrame:
    """Tidy where the pairs stand in both maps: ``pair, simple, learned, proposer, rank``.

    The scores are means over all contexts that were counted in, which is what the order goes by. Pairs annotated apart
    stand there too, without a rank; of a comparison there is nothing.
    """
    if found.shortlist is None:
        return pl.DataFrame(schema=pl.Schema(PLACES_SCHEMA))
    listed, apart = found.shortlist.rows, found.shortlist.apart.head(MOST_APART)
    parts = []
    for rows, proposer, rank in (
        (listed, pl.col("proposer"), pl.col("rank").cast(pl.Int64)),
        (apart, pl.lit(APART), pl.lit(None, dtype=pl.Int64)),
    ):
        means = [
            pl.mean_horizontal(_side_columns(rows.columns, side), ignore_nulls=False).alias(side) for side in _SIDES
        ]
        parts.append(
            rows.select(
                pl.format("{} – {}", "first", "second").alias("pair"), *means, proposer.alias("proposer"),
                rank.alias("rank"),
            )
        )  # fmt: skip
    every = pl.concat(parts).cast(pl.Schema(PLACES_SCHEMA))
    return every.filter(pl.col("simple").is_finite() & pl.col("learned").is_finite())


def _side_columns(columns: Sequence[str], side: str) -> list[pl.Expr]:
    return [pl.col(name) for name in columns if name == f"{side} score" or name.endswith(f": {side} score")]


def expected_table(found: Listed) -> pl.DataFrame:
    """Add the expected hits up along a list: ``tested, completeness, expected``; empty where there is no expectation.

    A comparison is tested in an order drawn at random, so there it is empty.
    """
    schema = {"tested": pl.Int64, "completeness": pl.String, "expected": pl.Float64}
    expectation = found.expectation
    if found.shortlist is None or math.isnan(expectation.known_rate):
        return pl.DataFrame(schema=schema)
    rate = found.rows["known rate"].to_numpy()
    parts = []
    for share, hits in zip(expectation.completeness, expectation.expected, strict=True):
        if math.isnan(hits):
            continue  # a share that can't be
        sums = np.concatenate([[0.0], np.cumsum(expected_hits_of_rate(rate, share))])
        parts.append(
            pl.DataFrame(
                {"tested": np.arange(len(sums)), "completeness": [share_name(share)] * len(sums), "expected": sums},
                schema=schema,
            )
        )
    return pl.concat(parts) if parts else pl.DataFrame(schema=schema)


def record_table(record: TrackRecord) -> pl.DataFrame:
    """Tidy the lists of a track record for the page, the last scored first."""
    columns = [
        "scored",
        "dataset",
        "context",
        "mode",
        "tested",
        "failed",
        "found",
        "expected",
        "verdict",
        "delta",
        "list",
    ]
    return (
        record.table.select(columns)
        .reverse()
        .with_columns(pl.col("scored").str.slice(0, 10), pl.col("list").str.slice(0, 12))
        .with_columns(pl.col(pl.String).fill_null(""))
    )


def share_name(share: float) -> str:
    """Write what the annotation may hold, as a legend does."""
    return f"{100 * share:g} % known"


def expectation_table(expectation: Expectation) -> pl.DataFrame:
    """Tidy the expectation of a list: ``completeness, expected, pairs``."""
    return pl.DataFrame(
        {
            "completeness": list(expectation.completeness),
            "expected": list(expectation.expected),
            "pairs": [expectation.n_rows] * len(expectation.completeness),
        },
        schema={"completeness": pl.Float64, "expected": pl.Float64, "pairs": pl.Int64},
    )
