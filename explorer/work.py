"""Work that takes longer than a page can wait: in a thread, in turn, with progress, shared by those who ask for it."""

from __future__ import annotations

import itertools
import logging
import re
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, Literal, TypeVar

from explorer.errors import InputError, as_text
from explorer.keeping import NotMadeError, only_made

T = TypeVar("T")
Progress = Callable[[str, float], None]
State = Literal["waiting", "running", "done", "failed", "cancelled"]

# A page that is open asks every second or so; browsers slow the clocks of hidden pages down to once a minute.
LEASE_SECONDS = 150.0
# Who leaves and comes back this soon, as a page does that is made again, finds the old place in the queue.
RETURN_SECONDS = 2.0
# Heavy work that runs at the same time; what comes after waits its turn, and pages stay quick.
MOST_RUNNING = 2
# Work that may wait in one process. A queue of this length takes many minutes already.
MOST_WAITING = 100
# Results that are kept for whoever asks next.
MOST_KEPT = 32
# What is done this soon is shown at once, without a bar that only flickers.
QUICK_SECONDS = 0.5
# Folders before the name of a file, as system and libraries write them into their messages.
_FOLDERS = re.compile(r"(?<![\w.])(?:[A-Za-z]:|~)?(?:[/\\][^/\\'\"<>|:]*)*[/\\](?=[^/\\'\"]*)")
_FINISHED: tuple[State, ...] = ("done", "failed", "cancelled")

_log = logging.getLogger(__name__)
_here = threading.local()


class Cancelled(Exception):
    """Raised inside work that nobody waits for, by the progress it reports."""


@dataclass(eq=False)
class _Job:
    """One piece of work, and who waits for it; changed only under the workshop's guard once it is in the queue."""

    key: Hashable
    make: Callable[[Progress], Any] | None = None
    state: State = "waiting"
    what: str = "waiting for its turn"
    share: float = 0.0
    result: Any = None
    problem: str = ""
    may_work_again: bool = False
    is_kept: bool = True
    # When each ticket was last asked, and when the last one left.
    heard: dict[int, float] = field(default_factory=dict)
    left: float = 0.0
    is_stopping: bool = False
    is_finished: threading.Event = field(default_factory=threading.Event)


class Ticket(Generic[T]):
    """What one asker holds of a piece of work: ask it how far the work is, or withdraw.

    Work goes on while at least one ticket for it is alive, has not been cancelled, and is asked now and then.
    """

    def __init__(self, workshop: Workshop, job: _Job, number: int) -> None:
        self._workshop, self._job, self._number = workshop, job, number
        self._withdrawn = False
        self._since = time.monotonic()
        # A page that is gone takes its ticket with it. Nothing but an append: it may run at any moment, in any thread.
        weakref.finalize(self, workshop.released.append, (job, number)).atexit = False

    @property
    def state(self) -> State:
        """Where the work is; ``cancelled`` for whoever withdrew, though it may go on for others."""
        self._workshop.hear(self._job, self._number)
        finished = self._job.state in _FINISHED
        return "cancelled" if self._withdrawn and not finished else self._job.state

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing to wait for."""
        return self.state in _FINISHED

    @property
    def place(self) -> int:
        """Place in the queue, 1 for who is next; 0 for what does not wait."""
        return self._workshop.place_of(self._job)[0]

    @property
    def what(self) -> str:
        """What is being done, or the place in the queue."""
        place, n_running = self._workshop.place_of(self._job)
        return f"waiting for its turn: {ordinal(place)} in the queue, {n_running} running" if place else self._job.what

    @property
    def share(self) -> float:
        """Share of the work that is done, from 0 to 1."""
        return self._job.share

    @property
    def problem(self) -> str:
        """Why there is no result, in one sentence; empty otherwise."""
        return "cancelled" if self.state == "cancelled" else self._job.problem

    @property
    def may_work_again(self) -> bool:
        """Whether the same work may well succeed when it is begun again: it was cancelled, or the server was busy."""
        return self.state == "cancelled" or self._job.may_work_again

    @property
    def result(self) -> T | None:
        """What the work made; None until it is done."""
        made: T | None = self._job.result
        return made

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the work is finished, for so long at the most; whether it is.

        Raises
        ------
        RuntimeError
            When work itself waits for work: with every turn taken by such, none would ever end.
        """
        _refuse_inside_work()
        until = None if seconds is None else time.monotonic() + seconds
        while not self._withdrawn:
            # Whoever waits for long has not gone.
            self._workshop.hear(self._job, self._number)
            slice_seconds = self._workshop.lease_seconds / 3
            left = slice_seconds if until is None else max(0.0, min(slice_seconds, until - time.monotonic()))
            if self._job.is_finished.wait(left):
                return True
            if until is not None and time.monotonic() >= until:
                return False
        return True

    def wait_at_first(self, seconds: float | None) -> bool:
        """Wait as `wait` does, but until the ticket is so old: whoever asks again and again waits only once."""
        return self.wait(None if seconds is None else max(0.0, self._since + seconds - time.monotonic()))

    def cancel(self) -> None:
        """Withdraw: the work leaves the queue, or stops at its next step, unless somebody else waits for it."""
        self._withdrawn = True
        self._workshop.withdraw(self._job, self._number)


class Workshop:
    """Runs work in threads of its own, first come, first served; the same work is done once however many ask for it.

    Work must not ask the workshop that runs it for more work: this is refused, since with every turn taken by work that
    waits for other work, none would ever end.

    Parameters
    ----------
    most_running
        Pieces of work done at the same time.
    most_waiting
        Pieces of work that may wait for their turn; who comes after is told that the server is busy.
    lease_seconds
        Work stops when nobody has asked about it for so long.
    """

    def __init__(
        self,
        *,
        most_running: int = MOST_RUNNING,
        most_waiting: int = MOST_WAITING,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self.released: deque[tuple[_Job, int]] = deque()
        self.lease_seconds = lease_seconds
        self._most_running, self._most_waiting = most_running, most_waiting
        self._jobs: OrderedDict[Hashable, _Job] = OrderedDict()
        # Those that wait, in the order in which they came.
        self._line: list[_Job] = []
        self._n_running = 0
        self._guard = threading.RLock()
        self._numbers = itertools.count()

    def start(self, key: Hashable, make: Callable[[Progress], T], *, is_kept: bool = True) -> Ticket[T]:
        """Start a piece of work, or join the one of this key that waits, runs or is done.

        Parameters
        ----------
        key
            Everything that decides the result.
        make
            Makes it, and calls the progress it is given with what is done next and the share that is done.
        is_kept
            Whether the result is kept for whoever asks after it is done.

        Returns
        -------
        Ticket
            Finished at once where the result stands ready, and where too many wait already.

        Raises
        ------
        RuntimeError
            When it is called by work.
        """
        _refuse_inside_work()
        with self._guard:
            job = self._usable(key)
            if job is None:
                n_waiting = sum(self._is_wanted(other) for other in self._line)
                if self._n_running >= self._most_running and n_waiting >= self._most_waiting:
                    return self.refused(_busy(n_waiting), may_work_again=True)
                job = self._jobs[key] = _Job(key, make, is_kept=is_kept)
                self._line.append(job)
            ticket: Ticket[T] = self._ticket(job)
            self._hand_out_turns()
            return ticket

    def start_unless_made(self, key: Hashable, make: Callable[[Progress], T]) -> Ticket[T]:
        """Make something here and now where all it takes stands ready; else start it as `start` does.

        Parameters
        ----------
        key, make
            As for `start`; `make` is called until it asks a cache of `explorer.keeping.Shared` for what is not there.
            Such caches keep what it takes for as long as there is room, so that the workshop keeps nothing.

        Returns
        -------
        Ticket
            Finished at once where all stands ready, whoever waits in the queue.
        """
        _refuse_inside_work()
        job = _Job(key)
        try:
            with only_made():
                job.result, job.state = make(lambda what, share: None), "done"
        except NotMadeError:
            return self.start(key, make, is_kept=False)
        except Exception as error:
            job.state, job.problem = "failed", _sentence(error)
        job.share = 1.0
        job.is_finished.set()
        return Ticket(self, job, next(self._numbers))

    def refused(self, problem: str, *, may_work_again: bool = False) -> Ticket[Any]:
        """Give a ticket of work that is not even begun, with the sentence that says why."""
        job = _Job(None, state="failed", problem=problem, may_work_again=may_work_again)
        job.is_finished.set()
        return Ticket(self, job, next(self._numbers))

    def find(self, key: Hashable) -> Ticket[Any] | None:
        """Join the work of this key that waits, runs or is done; None where there is none."""
        with self._guard:
            job = self._usable(key)
            if job is None:
                return None
            ticket = self._ticket(job)
            self._hand_out_turns()
            return ticket

    @property
    def n_unfinished(self) -> int:
        """Number of pieces of work that run or wait for their turn."""
        with self._guard:
            self._sweep()
            return self._n_running + sum(self._is_wanted(job) for job in self._line)

    def place_of(self, job: _Job) -> tuple[int, int]:
        """Place of a piece of work among those that wait, 0 for one that does not, and how many run."""
        with self._guard:
            self._sweep()
            if job not in self._line:
                return 0, self._n_running
            ahead = itertools.takewhile(lambda other: other is not job, self._line)
            return 1 + sum(self._is_wanted(other) for other in ahead), self._n_running

    def hear(self, job: _Job, number: int) -> None:
        """Note that a ticket was asked."""
        with self._guard:
            if job.state in _FINISHED:
                return
            if number in job.heard:
                job.heard[number] = time.monotonic()
            self._sweep()
            self._hand_out_turns()

    def withdraw(self, job: _Job, number: int) -> None:
        """Forget a ticket; what waited for it alone leaves the queue."""
        with self._guard:
            self._forget(job, number)
            self._sweep()
            if job.state == "waiting" and not job.heard:
                self._finish(job, "cancelled")

    def _ticket(self, job: _Job) -> Ticket[Any]:
        number = next(self._numbers)
        job.heard[number] = time.monotonic()
        return Ticket(self, job, number)

    def _usable(self, key: Hashable) -> _Job | None:
        """Find the job of a key that has a result, or that nobody has told to stop."""
        self._sweep()
        job = self._jobs.get(key)
        if job is None or job.is_stopping:
            return None
        self._jobs.move_to_end(key)
        return job

    def _sweep(self) -> None:
        """Forget the tickets of those who are gone, and what waits for nobody."""
        while self.released:
            self._forget(*self.released.popleft())
        now = time.monotonic()
        for job in [job for job in self._line if not self._is_wanted(job)]:
            if job.heard or now - job.left > RETURN_SECONDS:
                self._finish(job, "cancelled")

    def _forget(self, job: _Job, number: int) -> None:
        if job.heard.pop(number, None) is not None:
            job.left = time.monotonic()

    def _is_wanted(self, job: _Job) -> bool:
        now = time.monotonic()
        return any(now - heard < self.lease_seconds for heard in job.heard.values())

    def _hand_out_turns(self) -> None:
        """Let those run whose turn it is: the first of the queue whom somebody still waits for."""
        while self._n_running < self._most_running:
            job = next((job for job in self._line if self._is_wanted(job)), None)
            if job is None:
                return
            self._line.remove(job)
            self._n_running += 1
            job.state, job.what = "running", "starting"
            try:
                # A daemon, so that a server that is told to stop does not wait.
                threading.Thread(target=self._run, args=(job,), name="explorer-work", daemon=True).start()
            except RuntimeError:
                # The system gives no more threads.
                _log.exception("no thread for work")
                self._n_running -= 1
                job.may_work_again = True
                self._finish(job, "failed", "the server is busy and can't begin more work: try again in a minute")

    def _say(self, job: _Job, what: str, share: float) -> None:
        with self._guard:
            self._sweep()
            if job.is_stopping or not self._is_wanted(job):
                job.is_stopping = True
                raise Cancelled
            job.what, job.share = what, min(max(float(share), 0.0), 1.0)

    def _run(self, job: _Job) -> None:
        _here.is_work = True
        ended: State = "failed"
        result, problem = None, ""
        try:
            say = partial(self._say, job)
            say("starting", 0.0)
            result = job.make(say) if job.make is not None else None
            ended = "done"
        except Cancelled:
            ended = "cancelled"
        except BaseException as error:
            # Whatever it was, the turn must come back, and a page must say something.
            problem = _sentence(error)
        with self._guard:
            self._n_running -= 1
            job.result = result
            self._finish(job, ended, problem)
            self._hand_out_turns()

    def _finish(self, job: _Job, state: State, problem: str = "") -> None:
        job.state, job.problem, job.make = state, problem, None
        if job in self._line:
            self._line.remove(job)
        if state == "done":
            job.what, job.share = "done", 1.0
        if not (state == "done" and job.is_kept) and self._jobs.get(job.key) is job:
            del self._jobs[job.key]
        finished = [key for key, other in self._jobs.items() if other.state in _FINISHED]
        for key in finished[: max(0, len(finished) - MOST_KEPT)]:
            del self._jobs[key]
        job.is_finished.set()


def patience(mode: str | None) -> float | None:
    """Say how many seconds a page waits for work before it shows how far it is; without a page, until the end."""
    return QUICK_SECONDS if mode in ("run", "edit") else None


def ordinal(number: int) -> str:
    """Write a place: ``1st``, ``2nd``, ``3rd``, ``11th``."""
    last = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{last}"


def _busy(n_waiting: int) -> str:
    pieces = "1 piece of work waits" if n_waiting == 1 else f"{n_waiting:,} pieces of work wait"
    return f"the server is busy: {pieces} for their turn already; try again in a minute"


def _sentence(error: BaseException) -> str:
    """Say in one line why work failed; of what is not the user's doing the log has the rest."""
    if isinstance(error, InputError):
        return str(error)
    _log.error("work failed", exc_info=error)
    if isinstance(error, MemoryError):
        return "this could not be computed: there is not enough memory for it; try again later, or choose less"
    # A visitor of a server must not read where its files are.
    text = _FOLDERS.sub("", " ".join(as_text(error).split()))[:200]
    return f"this could not be computed ({type(error).__name__}: {text}); the log of whoever runs this has the rest"


def _refuse_inside_work() -> None:
    if getattr(_here, "is_work", False):
        message = "expected nobody but a page to ask for work, got work that asks for work: call what makes it directly"
        raise RuntimeError(message)


shared_workshop = Workshop()
