"""Results of a frozen list come back: read, held against the list, and against what was expected."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from explorer.digits import counted
from explorer.errors import InputError, nearest_names, shown, unknown_name
from explorer.frozen import KNOWN_RATE, PAIR_COLUMNS, SHORT_DIGEST, FrozenList, pair_text
from explorer.head_to_head import HeadToHead, judge_census
from explorer.relationships import GeneSets, Relationships
from explorer.sealed import canonical, read_bounded, sha256_of
from explorer.shortlist import expected_hits_of_rate
from explorer.table_text import escaped

Result = Literal["hit", "no hit", "failed"]

HIT, NO_HIT, FAILED = "hit", "no hit", "failed"
LABELS: tuple[Result, ...] = ("hit", "no hit", "failed")
_RESULT_COLUMNS = ("result", "outcome")
_DELIMITERS = (",", ";", "\t")
# What may stand between the two names of a pair; the list says which split is meant.
_BETWEEN = re.compile(r"\s*[+–—/,;|&_:-]\s*|\s+")
# Nobody's names are longer, and trying every split takes the square of it.
_LONGEST_PAIR = 4_000
_NOT_FOLDED = re.compile(r"[\s_\-‐‑‒–]+")
_OF_LIST = re.compile(r"# explorer sheet of list ([0-9a-f]{64})")
_ROW = re.compile(r"([0-9]{1,9})(\.0*)?")
_WHAT = "the results of a list as CSV: row or first and second, and result"


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Results of a list, in its order.

    Attributes
    ----------
    results
        ``hit``, ``no hit`` or ``failed``; None where nothing is back yet.
    digest
        SHA-256 of list and results, whatever file they came in.
    """

    results: tuple[Result | None, ...] = field(repr=False)
    digest: str

    @property
    def n_hits(self) -> int:
        """Pairs that are hits."""
        return self.results.count("hit")

    @property
    def n_no_hits(self) -> int:
        """Pairs that were tested and are none."""
        return self.results.count("no hit")

    @property
    def n_failed(self) -> int:
        """Pairs whose experiment failed."""
        return self.results.count("failed")

    @property
    def n_waiting(self) -> int:
        """Pairs that are not back."""
        return self.results.count(None)

    @property
    def is_complete(self) -> bool:
        """Whether every pair is a hit, no hit or failed."""
        return self.n_waiting == 0


@dataclass(frozen=True, slots=True)
class Score:
    """What the results of a list say of what was expected, and in compare mode of the two maps.

    Values by completeness stand in the order of `completeness`. In compare mode all is about the proposed pairs once
    the key is open. Before that nobody may know which pairs are random ones for the assay's background. Of those no hit
    is expected, and since the rows were shuffled each row counts the same share of the expected total.

    Attributes
    ----------
    list_digest, results_digest
        SHA-256 of both.
    mode
        ``discover`` or ``compare``.
    n_rows, n_hits, n_no_hits, n_failed, n_waiting
        Of all rows.
    is_complete
        Whether every row says hit, no hit or failed.
    is_proposed_only
        Whether the random pairs are left out of what follows, as they are once the key is open.
    n_tested, n_found
        Rows that came back as hit or no hit, and hits among them.
    completeness
        Shares of the truth that the annotation may hold, the largest first.
    expected
        Hits of the whole list.
    expected_back, expected_waiting
        Hits among what was tested, and among what is not back.
    factor
        (hits + .5) / (expected + .5) of what was tested: by how much the expectation was wrong; 1 before anything is
        back, NaN where nothing was expected to be known.
    remaining
        Hits to expect of what is not back, the expectation corrected by `factor`.
    head_to_head
        Simple against learned; None where it can't be told.
    reason
        Why it can't be told; empty where it is or was never asked.
    """

    list_digest: str
    results_digest: str
    mode: str
    n_rows: int
    n_hits: int
    n_no_hits: int
    n_failed: int
    n_waiting: int
    is_complete: bool
    is_proposed_only: bool
    n_tested: int
    n_found: int
    completeness: tuple[float, ...]
    expected: tuple[float, ...]
    expected_back: tuple[float, ...]
    expected_waiting: tuple[float, ...]
    factor: tuple[float, ...]
    remaining: tuple[float, ...]
    head_to_head: HeadToHead | None
    reason: str

    @property
    def in_all(self) -> tuple[float, ...]:
        """Hits of the whole list as they look now: those found and those that remain."""
        return tuple(self.n_found + rest for rest in self.remaining)


# ---------------------------------------------------------------- reading


def read_results(source: Path | bytes, frozen: FrozenList, *, name: str = "") -> Outcomes:
    """Read the results of a list.

    Parameters
    ----------
    source
        CSV or TSV with a column ``result`` (or ``outcome``: hit, no hit, failed, blank for not yet back) and with
        ``row``, ``first`` and ``second``, or ``pair`` ("A + B", either way round, looked up in the list).
    frozen
        The list.
    name
        What messages call it; the file's own name where it is empty.

    Raises
    ------
    InputError
        When it is no such table, names a pair that the list has not or one twice, or another result.
    """
    name = name or (source.name if isinstance(source, Path) else "the results")
    text = _text_of(read_bounded(source, name=name, what=_WHAT), name)
    n_before, delimiter = _beginning(text, frozen, name)
    lines = _lines_of(text, n_before, delimiter, name)
    header = next(lines)[1]
    columns = _columns(header, name)
    lookup = _Lookup.of(frozen)
    found: dict[int, tuple[int, Result | None]] = {}
    for line, cells in lines:
        if not any(cell.strip() for cell in cells):
            continue
        where = f"{shown(name)}, line {line}"
        if any(cell.strip() for cell in cells[len(header) :]):
            message = (
                f"{where} has {len(cells)} cells and the header {len(header)}: put quotes around names with a comma"
            )
            raise InputError(message)
        cells += [""] * (len(header) - len(cells))
        row = _row_of({column: cells[place] for column, place in columns.items()}, lookup, where)
        if row in found:
            message = (
                f"{where} gives a result for row {row + 1}, {pair_text(*frozen.pairs[row])}, and so does line "
                f"{found[row][0]}: leave one of them"
            )
            raise InputError(message)
        found[row] = line, _label(cells[columns["result"]], where)
    results = tuple(found[row][1] if row in found else None for row in range(frozen.n_rows))
    return outcomes_of(results, frozen)


def outcomes_of(results: Sequence[str | None], frozen: FrozenList) -> Outcomes:
    """Take results that stand in the order of a list.

    Raises
    ------
    InputError
        When they are more or fewer, or one is another word.
    """
    labels = [_label(text or "", f"row {row}") for row, text in enumerate(results, start=1)]
    if len(labels) != frozen.n_rows:
        message = f"{counted(len(labels), 'result')} for a list of {counted(frozen.n_rows, 'pair')}: give one for each"
        raise InputError(message)
    return Outcomes(tuple(labels), sha256_of(canonical({"list": frozen.digest, "results": labels})))


def _text_of(content: bytes, name: str) -> str:
    is_wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = content.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        message = f"{shown(name)} is not text in UTF-8: save the results as CSV (UTF-8)"
        raise InputError(message)
    if not text.strip():
        message = f"{shown(name)} is empty: expected {_WHAT}"
        raise InputError(message)
    return text


def _beginning(text: str, frozen: FrozenList, name: str) -> tuple[int, str]:
    """Count the lines above the header, see that they are of this list, and tell what stands between cells."""
    lines = io.StringIO(text, newline="")
    for number, given in enumerate(lines):
        line = given.strip()
        if line.startswith(("# explorer shortlist", '"# explorer shortlist')):
            message = f"{shown(name)} is the frozen list itself: fill in its sheet, which has a column result"
            raise InputError(message)
        own = _OF_LIST.match(line.lstrip('"'))
        if own is not None and own[1] != frozen.digest:
            message = (
                f"{shown(name)} holds results for another list: it says {own[1][:SHORT_DIGEST]}, and this list is "
                f"{frozen.digest[:SHORT_DIGEST]}"
            )
            raise InputError(message)
        if line.strip(",;\t ") and not line.startswith(("# ", '"# ')):
            return number, max(_DELIMITERS, key=line.count)
    message = f"{shown(name)} holds no table: expected {_WHAT}"
    raise InputError(message)


def _lines_of(text: str, n_before: int, delimiter: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Read the lines of a table, each with its number in the file."""
    stream = io.StringIO(text, newline="")
    for _ in range(n_before):
        next(stream)
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    while True:
        start = n_before + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            message = f"{shown(name)}, line {start} can't be read ({error}): is a quote not closed?"
            raise InputError(message) from error
        yield start, cells


def _columns(header: Sequence[str], name: str) -> dict[str, int]:
    """Find the columns that matter, by what their names mean."""
    folded = [cell.strip().casefold() for cell in header]
    found: dict[str, int] = {}
    for place, cell in enumerate(folded):
        column = "result" if cell in _RESULT_COLUMNS else cell
        if column in ("result", "pair", *PAIR_COLUMNS):
            if column in found:
                message = f"{shown(name)} has two columns for {column}: {shown(header[place])} is the second; leave one"
                raise InputError(message)
            found[column] = place
    if "result" not in found:
        near = nearest_names("result", header, limit=1)
        hint = (
            f"rename {shown(near[0])}" if near else f"its columns are {', '.join(shown(cell) for cell in header[:6])}"
        )
        message = f"{shown(name)} has no column result: {hint}"
        raise InputError(message)
    if not ("row" in found or "pair" in found or {"first", "second"} <= set(found)):
        message = f"{shown(name)} does not say which pair a result is of: add a column row, pair, or first and second"
        raise InputError(message)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Lookup:
    """Where the pairs of a list stand, by what a file may call their members."""

    pairs: tuple[tuple[str, str], ...]
    rows: dict[frozenset[str], int]
    meanings: dict[str, set[str]]

    @classmethod
    def of(cls, frozen: FrozenList) -> _Lookup:
        """Take names as they are, as a sheet writes them, and as spreadsheets leave them."""
        meanings: dict[str, set[str]] = {}
        for name in dict.fromkeys(name for pair in frozen.pairs for name in pair):
            for form in (name, escaped(name), name.strip(), f"'{name}", " ".join(name.split())):
                meanings.setdefault(form, set()).add(name)
        return cls(frozen.pairs, {frozenset(pair): row for row, pair in enumerate(frozen.pairs)}, meanings)

    def _names(self, text: str) -> set[str]:
        return self.meanings.get(text) or self.meanings.get(text.strip()) or set()

    def rows_of(self, first: str, second: str) -> set[int]:
        """Rows that two cells may mean, either way round."""
        pairs = (frozenset((one, other)) for one in self._names(first) for other in self._names(second))
        return {self.rows[pair] for pair in pairs if pair in self.rows}

    def rows_of_pair(self, pair: str) -> set[int]:
        """Rows that a pair written as one text may mean, wherever it is split."""
        if len(pair) > _LONGEST_PAIR:
            return set()
        return set().union(*(self.rows_of(pair[: gap.start()], pair[gap.end() :]) for gap in _gaps(pair)))

    def exactly(self, first: str, second: str) -> set[int]:
        """Row of two names taken to the letter; empty where there is none."""
        row = self.rows.get(frozenset((first, second)))
        return set() if row is None else {row}


def _gaps(pair: str) -> Iterator[re.Match[str]]:
    """Find every place at which a text may be split, those inside of a longer gap too."""
    for place in range(len(pair)):
        gap = _BETWEEN.match(pair, place)
        if gap is not None:
            yield gap


def _row_of(cells: dict[str, str], lookup: _Lookup, where: str) -> int:
    """Find the row of the list that a line is about; whatever it says of it must agree."""
    pair, first, second = (cells.get(column, "") for column in ("pair", "first", "second"))
    told, named = "", set[int]()
    if pair.strip():
        told, named = shown(pair.strip()), lookup.rows_of_pair(pair.strip())
    elif first.strip() or second.strip():
        told, named = pair_text(first, second), lookup.rows_of(first, second)
    if cells.get("row", "").strip():
        row = _numbered(cells["row"], lookup, where)
        if told and row not in named:
            message = (
                f"{where}: row {row + 1} of the list is {pair_text(*lookup.pairs[row])}, not {told}: mend one of them, "
                "or leave out the names"
            )
            raise InputError(message)
        return row
    if not told:
        message = f"{where} does not say which pair it is of: give its row or its names"
        raise InputError(message)
    if len(named) > 1 and not pair.strip():
        named = lookup.exactly(first, second) or named
    if len(named) > 1:
        some = " or ".join(pair_text(*lookup.pairs[row]) for row in sorted(named)[:3])
        message = f"{where}: {told} may be {some}: say which by its row"
        raise InputError(message)
    if not named:
        message = f"{where}: the list has no pair {told}{_nearest(cells, lookup)}"
        raise InputError(message)
    return next(iter(named))


def _numbered(text: str, lookup: _Lookup, where: str) -> int:
    found = _ROW.fullmatch(text.strip())
    number = int(found[1]) if found else 0
    if not 1 <= number <= len(lookup.pairs):
        message = f"{where}: the list has no row {shown(text.strip())}: its rows are 1 to {len(lookup.pairs):,}"
        raise InputError(message)
    return number - 1


def _nearest(cells: dict[str, str], lookup: _Lookup) -> str:
    """Name the pair of the list that is most like one that is not in it, for a message."""
    given = cells.get("pair", "").strip() or f"{cells.get('first', '').strip()} + {cells.get('second', '').strip()}"
    labels = {f"{first} + {second}": place for place, (first, second) in enumerate(lookup.pairs)}
    turned = {f"{second} + {first}": place for place, (first, second) in enumerate(lookup.pairs)}
    both = labels | turned
    near = nearest_names(given, both, limit=1)
    # Names are compared without regard to case, so that the nearest may be one that is spelled otherwise.
    place = both.get(near[0]) if near else None
    return ": is it of another list?" if place is None else f": did you mean {pair_text(*lookup.pairs[place])}?"


def _label(text: str, where: str) -> Result | None:
    folded = _NOT_FOLDED.sub("", text).casefold()
    if not folded:
        return None
    for label in LABELS:
        if folded == label.replace(" ", ""):
            return label
    message = f"{where}: {unknown_name('result', text.strip(), LABELS)}"
    raise InputError(message)


# ---------------------------------------------------------------- scoring


def score_results(
    frozen: FrozenList,
    outcomes: Outcomes,
    *,
    key_rows: pl.DataFrame | None = None,
    opened_early: str = "",
    seed: int = 0,
) -> Score:
    """Hold results against what was expected, and once all are in, simple against learned.

    Parameters
    ----------
    frozen, outcomes
        The list, and what came back of it.
    key_rows
        Rows of the opened key of a compare list (`explorer.frozen.open_key`); None while it is sealed.
    opened_early
        Why the test was not blind (`explorer.sealed.opened_early`); empty where it was.
    seed
        Of the signs that `explorer.head_to_head.judge_census` may draw.

    Raises
    ------
    InputError
        When the key's rows are not those of the list.
    """
    results = np.array([result or "" for result in outcomes.results], dtype=object)
    tested, waiting = (results == HIT) | (results == NO_HIT), results == ""
    completeness = tuple(frozen.expected)
    head_to_head, reason, proposed = None, "", np.ones(len(results), dtype=bool)
    rates = _rates(frozen.rows) if frozen.mode == "discover" else None
    is_open = frozen.mode == "compare" and key_rows is not None and outcomes.is_complete
    if frozen.mode == "compare" and not outcomes.is_complete:
        reason = (
            f"{outcomes.n_waiting} of {counted(frozen.n_rows, 'row')} {'is' if outcomes.n_waiting == 1 else 'are'} not "
            "back, and the key stays sealed until all say hit, no hit or failed"
        )
    elif frozen.mode == "compare" and key_rows is None:
        reason = "all results are in, and the sealed key tells who proposed which pair: give it to compare the maps"
    if is_open and key_rows is not None:
        if not key_rows.select(PAIR_COLUMNS).equals(frozen.rows.select(PAIR_COLUMNS)):
            message = "the rows of the key are not those of the list: open the list's own key"
            raise InputError(message)
        proposed = (key_rows["proposer"] != "background").to_numpy()
        rates = _rates(key_rows) if KNOWN_RATE in key_rows.columns else None
        head_to_head = _judged(frozen, outcomes, key_rows, opened_early=opened_early, seed=seed)
    tested, waiting = tested & proposed, waiting & proposed
    n_found = int(((results == HIT) & proposed).sum())
    totals = [_totals(frozen, share, rates, (tested, waiting, proposed)) for share in completeness]
    factors = [(n_found + 0.5) / (back + 0.5) for back, _, _ in totals]
    return Score(
        list_digest=frozen.digest,
        results_digest=outcomes.digest,
        mode=frozen.mode,
        n_rows=frozen.n_rows,
        n_hits=outcomes.n_hits,
        n_no_hits=outcomes.n_no_hits,
        n_failed=outcomes.n_failed,
        n_waiting=outcomes.n_waiting,
        is_complete=outcomes.is_complete,
        is_proposed_only=is_open,
        n_tested=int(tested.sum()),
        n_found=n_found,
        completeness=completeness,
        expected=tuple(every for _, _, every in totals),
        expected_back=tuple(back for back, _, _ in totals),
        expected_waiting=tuple(rest for _, rest, _ in totals),
        factor=tuple(factors),
        remaining=tuple(factor * rest for factor, (_, rest, _) in zip(factors, totals, strict=True)),
        head_to_head=head_to_head,
        reason=reason,
    )


def _rates(rows: pl.DataFrame) -> npt.NDArray[np.float64] | None:
    """Known rate of each row, NaN where it is undefined; None where there is no such column."""
    if rows.schema.get(KNOWN_RATE) != pl.Float64:
        return None
    return rows[KNOWN_RATE].fill_null(float("nan")).to_numpy().astype(np.float64)


def _totals(
    frozen: FrozenList,
    completeness: float,
    rates: npt.NDArray[np.float64] | None,
    rows: tuple[npt.NDArray[np.bool_], ...],
) -> tuple[float, ...]:
    """Sum the expectation over some rows: by their known rates, else by their share of the stated total."""
    stated = frozen.expected[completeness]
    # A share that could not be when the list was frozen gets no number now.
    if rates is None or math.isnan(stated):
        return tuple(stated * float(some.sum()) / float(rows[-1].sum()) for some in rows)
    each = expected_hits_of_rate(rates, completeness)
    return tuple(float(each[some].sum()) for some in rows)


def _judged(
    frozen: FrozenList, outcomes: Outcomes, key_rows: pl.DataFrame, *, opened_early: str, seed: int
) -> HeadToHead:
    if frozen.depth is None or frozen.budget is None or not frozen.depth > 0:
        message = "the header of the list does not say depth and budget, without which the maps can't be compared"
        raise InputError(message)
    rows = key_rows.select("first", "second", "proposer").with_columns(
        pl.Series("result", list(outcomes.results), dtype=pl.String)
    )
    return judge_census(rows, depth=frozen.depth, budget=frozen.budget, seed=seed, opened_early=opened_early)


def score_json(score: Score) -> dict[str, Any]:
    """Write a score as what JSON knows; undefined numbers stay NaN, which `explorer.text.json_text` writes as null."""
    by_completeness = [
        {
            "completeness": share,
            "expected": score.expected[place],
            "expected_back": score.expected_back[place],
            "expected_waiting": score.expected_waiting[place],
            "factor": score.factor[place],
            "remaining": score.remaining[place],
            "in_all": score.in_all[place],
        }
        for place, share in enumerate(score.completeness)
    ]
    judged = score.head_to_head
    return {
        "list": score.list_digest,
        "results": score.results_digest,
        "mode": score.mode,
        "n_rows": score.n_rows,
        "n_hits": score.n_hits,
        "n_no_hits": score.n_no_hits,
        "n_failed": score.n_failed,
        "n_waiting": score.n_waiting,
        "complete": score.is_complete,
        "proposed_only": score.is_proposed_only,
        "n_tested": score.n_tested,
        "n_found": score.n_found,
        "expectation": by_completeness,
        "head_to_head": None if judged is None else asdict(judged) | {"counted": judged.is_counted},
        "reason": score.reason,
    }


# ---------------------------------------------------------------- rehearsing


def rehearse(frozen: FrozenList, source: Relationships | GeneSets) -> pl.DataFrame:
    """Answer a list by what a source of known pairs says: for rehearsals, never a result of the bench.

    Parameters
    ----------
    frozen
        The list.
    source
        Pairs, or sets whose members make pairs; best a source that the list was not made with.

    Returns
    -------
    polars.DataFrame
        ``row, first, second, result``: a hit where the source lists the pair, else no hit.
    """
    if isinstance(source, GeneSets):
        sets_of: dict[str, set[str]] = {}
        for title, members in source.sets.items():
            for member in members:
                sets_of.setdefault(member, set()).add(title)
        hits = [bool(sets_of.get(first, set()) & sets_of.get(second, set())) for first, second in frozen.pairs]
    else:
        hits = [second in source.of(first) for first, second in frozen.pairs]
    labels = pl.Series("result", [HIT if hit else NO_HIT for hit in hits], dtype=pl.String)
    return frozen.rows.select(PAIR_COLUMNS).with_columns(labels)
