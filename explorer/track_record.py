"""What all lists taught: a folder of results that were scored, one file a list, that nobody rewrites."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from explorer.errors import InputError, shown
from explorer.frozen import SHORT_DIGEST, FrozenList, utc_text
from explorer.outcomes import Outcomes, Score
from explorer.sealed import canonical, read_bounded, sha256_of
from explorer.significance import SignFlip, sign_flip
from explorer.store import write_new_atomically

RECORD_FORMAT = "explorer track record 1"
FROZEN_FORMAT = "explorer frozen list 1"
TABLE_SCHEMA: Mapping[str, pl.DataType] = {
    "scored": pl.String(),
    "frozen": pl.String(),
    "dataset": pl.String(),
    "context": pl.String(),
    "mode": pl.String(),
    "tested": pl.Int64(),
    "failed": pl.Int64(),
    "found": pl.Int64(),
    "expected": pl.Float64(),
    "completeness": pl.Float64(),
    "verdict": pl.String(),
    "delta": pl.Float64(),
    "counted": pl.Boolean(),
    "list": pl.String(),
}
_RECORD_NAME = re.compile(r"([0-9a-f]{64})\.json")
_FROZEN_NAME = re.compile(r"([0-9a-f]{64})\.frozen\.json")
_DIGEST = re.compile(r"[0-9a-f]{64}")
# By what a list is recognised that was registered when it was frozen and comes back with another digest.
_IDENTITY = ("frozen", "mode", "dataset", "context")
_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "list": str,
    "results": str,
    "frozen": str,
    "scored": str,
    "dataset": str,
    "context": str,
    "mode": str,
    "n_tested": int,
    "n_failed": int,
    "n_found": int,
    "expected": dict,
    "completeness": (int, float, type(None)),
    "head_to_head": (dict, type(None)),
    "versions": dict,
}
_JUDGED: Mapping[str, type | tuple[type, ...]] = {
    "verdict": str,
    "delta": (int, float, type(None)),
    "depth": int,
    "hits_simple": int,
    "hits_learned": int,
    "contributions": list,
    "counted": bool,
}


@dataclass(frozen=True, slots=True)
class Calibration:
    """How many hits several lists found against how many were expected.

    Attributes
    ----------
    completeness
        What the annotation was taken to hold of the truth; NaN where each list's own stated value was taken.
    n_lists
        Lists with such an expectation of which a pair was tested.
    expected, found
        Hits, summed over these.
    factor
        (found + .5) / (expected + .5); NaN without a list.
    squared_error
        Mean over lists of ((found − expected) / tested)²: that of the totals, not of pairs.
    squared_error_if_right
        What that would be were the expectations right and pairs independent, mean of p (1 − p) / tested with p =
        expected / tested. Hits of pairs with a common perturbation come together, so that more is no surprise.
    """

    completeness: float
    n_lists: int
    expected: float
    found: int
    factor: float
    squared_error: float
    squared_error_if_right: float


@dataclass(frozen=True, slots=True)
class Cumulated:
    """Simple against learned over all compare lists that count.

    Attributes
    ----------
    n_lists, n_left_out
        Lists that count, and those whose test was description only.
    hits_simple, hits_learned
        Hits among the pairs of either map's lists.
    depth
        Pairs that either map proposed.
    test
        Random signs of the components of all lists, as sums: the learned map's hits less the simple one's. A component
        of one list is independent of another list's only where they do not test the same pairs.
    delta, low, high
        The same as a share of `depth`; NaN without a list.
    """

    n_lists: int
    n_left_out: int
    hits_simple: int
    hits_learned: int
    depth: int
    test: SignFlip
    delta: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class TrackRecord:
    """What all recorded lists say together.

    Attributes
    ----------
    table
        A line a list, the first scored first: columns of `TABLE_SCHEMA`; expected at the completeness that stands
        beside it.
    stated
        Calibration of the totals at each list's stated completeness.
    by_completeness
        The same for every completeness that a list has an expectation for, the largest first.
    cumulated
        Simple against learned.
    n_registered, n_not_back
        Lists that were registered when they were frozen, and those of them that never came back. Lists that were tested
        and not recorded make a record look better than it is.
    problems
        A sentence for every file that is torn, edited or foreign: it was left out.
    """

    table: pl.DataFrame = field(repr=False)
    stated: Calibration
    by_completeness: tuple[Calibration, ...]
    cumulated: Cumulated
    n_registered: int
    n_not_back: int
    problems: tuple[str, ...] = ()


# ---------------------------------------------------------------- writing


def record_of(frozen: FrozenList, outcomes: Outcomes, score: Score, *, date: datetime | str) -> dict[str, Any]:
    """Make the record of a list whose results are all in.

    Parameters
    ----------
    frozen, outcomes, score
        The list, its results, and what `explorer.outcomes.score_results` made of them.
    date
        Of scoring.

    Raises
    ------
    InputError
        When results are missing, a compare list's key was not opened, or the three are not of one another.
    """
    if score.list_digest != frozen.digest or score.results_digest != outcomes.digest:
        message = "the score is of another list or of other results: score these results first"
        raise InputError(message)
    if not outcomes.is_complete:
        message = (
            f"{outcomes.n_waiting} of {frozen.n_rows} results are not back: a track record takes complete results "
            "alone, so that nobody stops when the numbers are good"
        )
        raise InputError(message)
    if frozen.mode == "compare" and score.head_to_head is None:
        message = "a compare list is recorded once its key was opened: give the sealed key"
        raise InputError(message)
    judged = score.head_to_head
    told = None
    if judged is not None:
        told = {name: value for name, value in asdict(judged).items() if name not in ("reason", "low", "high", "p")}
        told = {name: None if _is_nan(value) else value for name, value in told.items()}
        told |= {"contributions": list(judged.contributions), "counted": judged.is_counted}
    middle = _middle(score.completeness)
    content: dict[str, Any] = {
        "format": RECORD_FORMAT,
        "list": frozen.digest,
        "results": outcomes.digest,
        "scored": utc_text(date),
        **_told(frozen),
        "n_tested": score.n_tested,
        "n_failed": score.n_failed,
        "n_found": score.n_found,
        "expected": {
            f"{share:g}": None if _is_nan(value) else value
            for share, value in zip(score.completeness, score.expected_back, strict=True)
        },
        "completeness": None if _is_nan(middle) else float(f"{middle:g}"),
        "head_to_head": told,
        "versions": {"list": str(frozen.header.get("made with") or frozen.header.get("version") or "")},
    }
    return content | {"digest": sha256_of(canonical(content))}


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and value != value


def _middle(shares: Sequence[float]) -> float:
    return sorted(shares)[len(shares) // 2] if shares else float("nan")


def append_record(folder: Path, record: Mapping[str, Any]) -> str:
    """Append the record of a list to a folder.

    The file is whole or not there, even where the program is killed, and never replaced.

    Parameters
    ----------
    folder
        The track record; made where it is not there.
    record
        As `record_of` made it.

    Returns
    -------
    str
        Empty where it was appended; a sentence where the same results of the list are in it already, and nothing was
        done.

    Raises
    ------
    InputError
        When other results of the list are in it, when the list was registered with another digest, or when nothing
        can be written there.
    """
    problem = _problem_of(record)
    if problem:
        message = f"this is no record to append: {problem}"
        raise InputError(message)
    _refuse_changed_list(folder, record)
    path = folder / f"{record['list']}.json"
    if _write_new(path, record):
        return ""
    before = _read_record(path)
    if before["results"] == record["results"]:
        return f"these results of the list are in the track record since {before['scored']}: nothing was added"
    message = (
        f"the track record has other results of this list: {before['n_found']} of {before['n_tested']} were hits on "
        f"{before['scored']}, now {record['n_found']} of {record['n_tested']}; a track record is not rewritten"
    )
    raise InputError(message)


def register_frozen(folder: Path, frozen: FrozenList) -> bool:
    """Note in a track record that a list was frozen, so that one that never comes back is counted.

    Returns
    -------
    bool
        False where it is noted already.

    Raises
    ------
    InputError
        When nothing can be written there.
    """
    content = {"format": FROZEN_FORMAT, "list": frozen.digest, **_told(frozen)}
    path = folder / f"{frozen.digest}.frozen.json"
    return _write_new(path, content | {"digest": sha256_of(canonical(content))})


def _told(frozen: FrozenList) -> dict[str, str]:
    """Take what both the registration and the record of a list keep."""
    dataset, context = (str(frozen.header.get(name, "")) for name in ("dataset", "context"))
    return {"frozen": frozen.date, "mode": frozen.mode, "dataset": dataset, "context": context}


def _write_new(path: Path, content: Mapping[str, Any]) -> bool:
    def write(stream: BinaryIO) -> None:
        stream.write((json.dumps(content, indent=1, allow_nan=False) + "\n").encode())

    try:
        write_new_atomically(path, write)
    except FileExistsError:
        # The folder may be a file, too.
        if not path.parent.is_dir():
            message = f"the track record {shown(path.parent.name)} is no folder: name one"
            raise InputError(message) from None
        return False
    except OSError as error:
        message = f"can't write to the track record {shown(path.parent.name)}: {error.strerror or error}"
        raise InputError(message) from error
    return True


# ---------------------------------------------------------------- reading


def read_track_record(folder: Path, *, seed: int = 0) -> TrackRecord:
    """Read a track record and add it up.

    Files by other names than ours are no part of it. One of ours that is torn, edited or foreign is left out and named
    in `TrackRecord.problems`.

    Parameters
    ----------
    folder
        The track record; one that is not there is empty.
    seed
        Of the signs, where more than 12 components differ.

    Raises
    ------
    InputError
        When it is no folder or can't be read.
    """
    records, problems = _collected(folder, _RECORD_NAME, _read_record)
    registered, more = _collected(folder, _FROZEN_NAME, _read_registered)
    records.sort(key=lambda record: (record["scored"], record["list"]))
    came_back = {record["list"] for record in records}
    shares = sorted({float(share) for record in records for share in record["expected"]}, reverse=True)
    return TrackRecord(
        table=pl.DataFrame([_line(record) for record in records], schema=TABLE_SCHEMA, orient="row"),
        stated=_calibration(records, None),
        by_completeness=tuple(_calibration(records, share) for share in shares),
        cumulated=_cumulated(records, seed=seed),
        n_registered=len(registered),
        n_not_back=sum(one["list"] not in came_back for one in registered),
        problems=(*problems, *more),
    )


def track_json(track: TrackRecord) -> dict[str, Any]:
    """Write a track record as what JSON knows; undefined numbers stay NaN."""
    return {
        "lists": track.table.to_dicts(),
        "stated": asdict(track.stated),
        "by_completeness": [asdict(one) for one in track.by_completeness],
        "simple_against_learned": asdict(track.cumulated),
        "n_registered": track.n_registered,
        "n_not_back": track.n_not_back,
        "problems": list(track.problems),
    }


def _collected(
    folder: Path, names: re.Pattern[str], read: Callable[[Path], dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Read all files of one kind; and a sentence for each that can't be taken."""
    if not folder.exists():
        return [], []
    try:
        paths = sorted(path for path in folder.iterdir() if names.fullmatch(path.name))
    except OSError as error:
        message = f"can't read the track record {shown(folder.name)}: {error.strerror or error}; is it a folder?"
        raise InputError(message) from error
    found, problems = [], []
    for path in paths:
        try:
            found.append(read(path))
        except InputError as error:
            problems.append(str(error))
    return found, problems


def _read_record(path: Path) -> dict[str, Any]:
    record = _read_json(path)
    problem = _problem_of(record)
    if not problem and path.name != f"{record['list']}.json":
        problem = "it holds the record of another list than its name says"
    if problem:
        message = f"{shown(path.name, limit=80)} of the track record can't be used: {problem}"
        raise InputError(message)
    return record


def _read_registered(path: Path) -> dict[str, Any]:
    found = _read_json(path)
    content = {name: value for name, value in found.items() if name != "digest"}
    right = found.get("format") == FROZEN_FORMAT and path.name == f"{found.get('list')}.frozen.json"
    if not right or found.get("digest") != _digested(content):
        message = (
            f"{shown(path.name, limit=90)} of the track record can't be used: it is not what was written when the list "
            "was frozen"
        )
        raise InputError(message)
    return found


def _read_json(path: Path) -> dict[str, Any]:
    content = read_bounded(path, name=path.name, what="a record")
    try:
        found = json.loads(content.decode())
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def _digested(content: Mapping[str, Any]) -> str:
    try:
        return sha256_of(canonical(content))
    except (ValueError, TypeError, RecursionError):
        return ""


def _problem_of(record: Mapping[str, Any]) -> str:
    """Say why something is no record; empty where it is one."""
    if not record or record.get("format") != RECORD_FORMAT:
        return "it is no record of this program, or not a whole one"
    content = {name: value for name, value in record.items() if name != "digest"}
    if record.get("digest") != _digested(content):
        return "it was changed after it was written"
    judged = record.get("head_to_head")
    good = _fits(record, _KINDS) and (judged is None or _fits(judged, _JUDGED))
    # The digest of a stranger's file fits too.
    good = good and bool(_DIGEST.fullmatch(record["list"])) and 0 <= record["n_found"] <= record["n_tested"]
    good = good and all(_is_share(share) and _is_number(value) for share, value in record["expected"].items())
    good = good and (record["completeness"] is None or f"{record['completeness']:g}" in record["expected"])
    good = good and (judged is None or all(type(value) is int for value in judged["contributions"]))
    return "" if good else "it does not hold what a record holds"


def _fits(found: Mapping[str, Any], kinds: Mapping[str, type | tuple[type, ...]]) -> bool:
    """Whether every value is there and of its kind; a truth value is no number."""
    return all(
        name in found and isinstance(found[name], kind) and (kind is bool or not isinstance(found[name], bool))
        for name, kind in kinds.items()
    )


def _is_share(text: str) -> bool:
    try:
        return 0 < float(text) <= 1
    except ValueError:
        return False


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _refuse_changed_list(folder: Path, record: Mapping[str, Any]) -> None:
    """Refuse a list that was registered when it was frozen and has another digest now."""
    registered, _ = _collected(folder, _FROZEN_NAME, _read_registered)
    if any(one["list"] == record["list"] for one in registered):
        return
    alike = next((one for one in registered if all(one.get(name) == record[name] for name in _IDENTITY)), None)
    if alike is not None and not (folder / f"{alike['list']}.json").exists():
        message = (
            f"the list of {record['frozen']} was registered as {alike['list'][:SHORT_DIGEST]} when it was frozen and "
            f"is {record['list'][:SHORT_DIGEST]} now: it was changed since, so its results are not recorded"
        )
        raise InputError(message)


# ---------------------------------------------------------------- adding up


def _stated(record: Mapping[str, Any]) -> float:
    """Look up the expected hits at the stated completeness; NaN where undefined."""
    return float("nan") if record["completeness"] is None else _expected(record, record["completeness"])


def _expected(record: Mapping[str, Any], share: float) -> float:
    value = {float(text): value for text, value in record["expected"].items()}.get(float(share))
    return float("nan") if value is None else float(value)


def _line(record: Mapping[str, Any]) -> tuple[Any, ...]:
    judged = record["head_to_head"] or {}
    expected = _stated(record)
    return (
        record["scored"], record["frozen"], record["dataset"], record["context"], record["mode"], record["n_tested"],
        record["n_failed"], record["n_found"], None if _is_nan(expected) else expected, record["completeness"],
        judged.get("verdict"), judged.get("delta"), judged.get("counted"), record["list"],
    )  # fmt: skip


def _calibration(records: Iterable[Mapping[str, Any]], share: float | None) -> Calibration:
    found, expected, tested = [], [], []
    for record in records:
        value = _stated(record) if share is None else _expected(record, share)
        if record["n_tested"] and not _is_nan(value):
            found.append(record["n_found"])
            expected.append(value)
            tested.append(record["n_tested"])
    nan, n = float("nan"), len(found)
    p = [min(1.0, max(0.0, one / n_tested)) for one, n_tested in zip(expected, tested, strict=True)]
    errors = [((hits - one) / n_tested) ** 2 for hits, one, n_tested in zip(found, expected, tested, strict=True)]
    return Calibration(
        completeness=nan if share is None else share,
        n_lists=n,
        expected=sum(expected) if n else nan,
        found=sum(found),
        factor=(sum(found) + 0.5) / (sum(expected) + 0.5) if n else nan,
        squared_error=sum(errors) / n if n else nan,
        squared_error_if_right=sum(one * (1 - one) / size for one, size in zip(p, tested, strict=True)) / n
        if n
        else nan,
    )


def _cumulated(records: Iterable[Mapping[str, Any]], *, seed: int) -> Cumulated:
    judged = [record["head_to_head"] for record in records if record["head_to_head"] is not None]
    counted = [one for one in judged if one["counted"]]
    mean = sign_flip([value for one in counted for value in one["contributions"]], seed=seed)
    test = mean.times(mean.n_units)
    depth = sum(one["depth"] for one in counted)
    scale = 1 / depth if depth else float("nan")
    # Lists without a pair of one map alone have no component, and a difference of 0.
    difference = sum(sum(one["contributions"]) for one in counted)
    return Cumulated(
        n_lists=len(counted),
        n_left_out=len(judged) - len(counted),
        hits_simple=sum(one["hits_simple"] for one in counted),
        hits_learned=sum(one["hits_learned"] for one in counted),
        depth=depth,
        test=test,
        delta=difference / depth if depth else float("nan"),
        low=test.low * scale,
        high=test.high * scale,
    )
