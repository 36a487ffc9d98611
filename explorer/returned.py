"""Results that come back to the page: files of a browser checked and scored, and what is kept of them where asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePath

from explorer.archive import packed
from explorer.errors import InputError, shown
from explorer.frozen import FrozenList, check_key, open_key
from explorer.frozen_files import csv_text, frozen_paths, parquet_bytes, read_frozen, sheet_csv
from explorer.gathered_evidence import Evidence
from explorer.outcomes import Outcomes, Score, read_results, score_json, score_results
from explorer.sealed import SealedKey, key_text, opened_early, read_key
from explorer.shortlists import COMPARE, Listed, freeze_list
from explorer.text import as_sentence, file_name, json_text
from explorer.track_record import TrackRecord, append_record, read_track_record, record_of, register_frozen
from explorer.view import attempt

# Of each file that a browser sends: a server takes messages of one MiB, and they are a third longer than the file.
MOST_BYTES = 512 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class Returned:
    """What came back of a list, as far as it could be read.

    Attributes
    ----------
    frozen, outcomes, score
        The list, its results, and what these say; None for what is not there or can't be used.
    key
        Of a blind list; marked as opened once it was.
    is_opened
        Whether the key was opened for these results.
    problems
        A sentence for each file that can't be used.
    """

    frozen: FrozenList | None = None
    outcomes: Outcomes | None = None
    score: Score | None = None
    key: SealedKey | None = field(repr=False, default=None)
    is_opened: bool = False
    problems: tuple[str, ...] = ()

    @property
    def sides(self) -> tuple[str, str]:
        """Names of the simple and the learned map, as the list says."""
        header: Mapping[str, object] = self.frozen.header if self.frozen is not None else {}
        return str(header.get("simple", "simple")), str(header.get("learned", "learned"))

    @property
    def can_be_recorded(self) -> bool:
        """Whether a track record takes it: complete, and of a blind list the key was opened."""
        if self.frozen is None or self.outcomes is None or self.score is None or not self.outcomes.is_complete:
            return False
        return self.frozen.mode != COMPARE or self.score.head_to_head is not None


def now() -> datetime:
    """Read the clock, in UTC."""
    return datetime.now(UTC).replace(microsecond=0)


# ---------------------------------------------------------------- freezing


def frozen_files(
    found: Listed, evidence: Evidence | None, *, date: datetime, salt: bytes | None = None, track: Path | None = None
) -> dict[str, bytes]:
    """Freeze a list and write its files: parquet, CSV, sheet and of a comparison the sealed key, by name.

    Parameters
    ----------
    found, evidence
        The list, and what stands beside its pairs where it was gathered.
    date
        Of freezing.
    salt
        Of the key; drawn at random without it.
    track
        Track record in which it is noted that the list was frozen; None for none.
    """
    frozen, key = freeze_list(found, evidence, date=date, salt=salt)
    if track is not None:
        register_frozen(track, frozen)
    paths = frozen_paths(Path(f"list-{frozen.digest[:8]}"), mode=frozen.mode)
    names = {form: path.name for form, path in paths.items()}
    files = {
        names["parquet"]: parquet_bytes(frozen),
        names["csv"]: csv_text(frozen).encode(),
        names["sheet"]: sheet_csv(frozen).encode(),
    }
    return files | ({names["key"]: key_text(key).encode()} if key is not None else {})


def frozen_zip(
    found: Listed, evidence: Evidence | None, *, track: Path | None = None, date: datetime | None = None
) -> bytes:
    """Freeze a list, now, and pack its files."""
    return packed(frozen_files(found, evidence, date=date or now(), track=track))


# ---------------------------------------------------------------- results


@dataclass(slots=True)
class Openings:
    """The keys that one session has opened, and for which results; a session keeps one of these.

    A page can't mark the file of the key, which stays with its owner: so it remembers, and who looks, changes results
    and comes back is told.
    """

    seen: dict[str, str] = field(default_factory=dict)

    def looked_before(self, list_digest: str, results_digest: str) -> str:
        """Note an opening; say why it is a second look, else nothing."""
        first = self.seen.setdefault(list_digest, results_digest)
        return "" if first == results_digest else "its key was opened before, on this page, for other results"


def read_back(
    list_file: object, results_file: object, key_file: object = (), *, openings: Openings | None = None
) -> Returned | None:
    """Read what a browser sent, and score it; every file is checked, and none is kept.

    Parameters
    ----------
    list_file, results_file, key_file
        Values of upload controls: sequences of at most one file with ``name`` and ``contents``.
    openings
        Keys that this session has opened; a new one is noted in it.

    Returns
    -------
    Returned
        None where nothing was sent.
    """
    files, problems = {}, []
    for what, sent in (("list", list_file), ("results", results_file), ("key", key_file)):
        file, problem = attempt(lambda sent=sent, what=what: _sent(sent, what))  # type: ignore[misc]
        problems += [problem] if problem else []
        if file is not None:
            files[what] = file
    if not files and not problems:
        return None
    made = Returned(problems=tuple(problems))
    if "list" not in files:
        return replace(made, problems=(*made.problems, "give the frozen list too: results are held against it"))
    name, content = files["list"]
    frozen, problem = attempt(lambda: read_frozen(content, name=name))
    if frozen is None:
        return replace(made, problems=(*made.problems, problem))
    made = replace(made, frozen=frozen)
    if "key" in files:
        name, content = files["key"]
        key, problem = attempt(lambda: _own_key(frozen, content, name))
        made = replace(made, key=key, problems=(*made.problems, *([problem] if problem else [])))
    if "results" not in files:
        return made
    name, content = files["results"]
    outcomes, problem = attempt(lambda: read_results(content, frozen, name=name))
    if outcomes is None:
        return replace(made, problems=(*made.problems, problem))
    return _scored(replace(made, outcomes=outcomes), frozen, outcomes, openings=openings or Openings())


def _sent(value: object, what: str) -> tuple[str, bytes] | None:
    """Take a file that a browser sent: its name for messages alone, and its content."""
    if not isinstance(value, list | tuple) or not value:
        return None
    name, content = getattr(value[0], "name", None), getattr(value[0], "contents", None)
    if not isinstance(name, str) or not isinstance(content, bytes):
        message = f"the {what} did not arrive as a file: choose it again"
        raise InputError(message)
    # Of a path the last part: it is shown and never opened.
    name = PurePath(name.replace("\\", "/")).name or f"the {what}"
    if len(content) > MOST_BYTES:
        message = (
            f"{shown(name)} is larger than {MOST_BYTES // 1024} kB, the most that a page takes: give a list as "
            "parquet, which is smaller, or use the command explorer results"
        )
        raise InputError(message)
    return name, content


def _own_key(frozen: FrozenList, content: bytes, name: str) -> SealedKey:
    key = read_key(content, name=name)
    check_key(frozen, key)
    return key


def _scored(made: Returned, frozen: FrozenList, outcomes: Outcomes, *, openings: Openings) -> Returned:
    if frozen.mode != COMPARE or made.key is None or not outcomes.is_complete:
        score, problem = attempt(lambda: score_results(frozen, outcomes))
        return replace(made, score=score, problems=(*made.problems, *([problem] if problem else [])))
    key = made.key

    def opened() -> Returned:
        rows, marked = open_key(frozen, key, results_digest=outcomes.digest, complete=True, date=now())
        again = openings.looked_before(frozen.digest, outcomes.digest)
        early = opened_early(marked, outcomes.digest) or again
        score = score_results(frozen, outcomes, key_rows=rows, opened_early=early)
        return replace(made, key=marked, score=score, is_opened=True)

    found, problem = attempt(opened)
    return found or replace(made, problems=(*made.problems, problem))


def opened_key_text(made: Returned) -> str:
    """Write the key as the text of its file, marked as opened."""
    return key_text(made.key) if made.key is not None else ""


def results_stem(made: Returned) -> str:
    """Begin the name of a file of results with the list that they are of."""
    digest = made.frozen.digest[:12] if made.frozen is not None else ""
    return file_name("results", digest)


def results_json(made: Returned) -> str:
    """Write what came back as JSON; what is not defined is null."""
    return json_text(score_json(made.score)) if made.score is not None else json_text(None)


# ---------------------------------------------------------------- the track record


def track_folder(asked: object, *, is_served: bool) -> Path | None:
    """Folder of the track record that whoever runs the page named; None on a shared server, and where none is named.

    Parameters
    ----------
    asked
        What stands behind ``--track``.
    is_served
        Whether this is a shared server, which keeps nothing.
    """
    return Path(asked).expanduser() if isinstance(asked, str) and asked.strip() and not is_served else None


def add_to_record(folder: Path, made: Returned) -> str:
    """Append a scored list to a track record, and say what was done in a sentence.

    Raises
    ------
    InputError
        When it can't be recorded, or something else is recorded of the list already.
    """
    if made.frozen is None or made.outcomes is None or made.score is None:
        message = "nothing to record: give a frozen list with all its results first"
        raise InputError(message)
    record = record_of(made.frozen, made.outcomes, made.score, date=now())
    return as_sentence(append_record(folder, record) or "this list was added to the track record")


def read_record(folder: Path) -> TrackRecord:
    """Read a track record, see `explorer.track_record.read_track_record`; its signs are drawn from one seed."""
    return read_track_record(folder, seed=0)
