"""Work that takes longer than a page can wait: in a thread, with progress, shared by those who ask for the same."""

from __future__ import annotations

import itertools
import logging
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from explorer.errors import InputError

T = TypeVar("T")
Progress = Callable[[str, float], None]
State = Literal["waiting", "running", "done", "failed", "cancelled"]

# A page that is open asks every second or so; browsers slow the clocks of hidden pages down to once a minute.
LEASE_SECONDS = 150.0
# Heavy work that runs at the same time; what comes after waits its turn, and pages stay quick.
MOST_RUNNING = 2
# Results that are kept for whoever asks next.
MOST_KEPT = 32
_TURN_SECONDS = 0.1
_FINISHED: tuple[State, ...] = ("done", "failed", "cancelled")

_log = logging.getLogger(__name__)


class Cancelled(Exception):
    """Raised inside work that nobody waits for, by the progress it reports."""


@dataclass(eq=False)
class _Job:
    """One piece of work, and who waits for it."""

    key: Hashable
    state: State = "waiting"
    what: str = "waiting for its turn"
    share: float = 0.0
    result: Any = None
    problem: str = ""
    heard: dict[int, float] = field(default_factory=dict)
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
    def what(self) -> str:
        """What is being done."""
        return self._job.what

    @property
    def share(self) -> float:
        """Share of the work that is done, from 0 to 1."""
        return self._job.share

    @property
    def problem(self) -> str:
        """Why there is no result, in one sentence; empty otherwise."""
        return "cancelled" if self.state == "cancelled" else self._job.problem

    @property
    def result(self) -> T | None:
        """What the work made; None until it is done."""
        made: T | None = self._job.result
        return made

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the work is finished, for so long at the most; whether it is."""
        self._workshop.hear(self._job, self._number)
        return self._withdrawn or self._job.is_finished.wait(seconds)

    def wait_at_first(self, seconds: float | None) -> bool:
        """Wait as `wait` does, but until the ticket is so old: whoever asks again and again waits only once."""
        return self.wait(None if seconds is None else max(0.0, self._since + seconds - time.monotonic()))

    def cancel(self) -> None:
        """Withdraw: the work stops at its next step unless somebody else waits for it."""
        self._withdrawn = True
        self._workshop.withdraw(self._job, self._number)


class Workshop:
    """Runs work in threads of its own; the same work is done once however many ask for it.

    Parameters
    ----------
    most_running
        Pieces of work done at the same time.
    lease_seconds
        Work stops when nobody has asked about it for so long.
    """

    def __init__(self, *, most_running: int = MOST_RUNNING, lease_seconds: float = LEASE_SECONDS) -> None:
        self.released: deque[tuple[_Job, int]] = deque()
        self._lease = lease_seconds
        self._jobs: OrderedDict[Hashable, _Job] = OrderedDict()
        self._turns = threading.Semaphore(most_running)
        self._guard = threading.RLock()
        self._numbers = itertools.count()

    def start(self, key: Hashable, make: Callable[[Progress], T]) -> Ticket[T]:
        """Start a piece of work, or join the one of this key that runs or is done.

        Parameters
        ----------
        key
            Everything that decides the result.
        make
            Makes it, and calls the progress it is given with what is done next and the share that is done.

        Returns
        -------
        Ticket
            Finished at once where the result stands ready.
        """
        with self._guard:
            job = self._usable(key)
            if job is None:
                job = self._jobs[key] = _Job(key)
                ticket: Ticket[T] = self._ticket(job)
                # A daemon, so that a server that is told to stop does not wait.
                threading.Thread(target=self._run, args=(job, make), name="explorer-work", daemon=True).start()
                return ticket
            return self._ticket(job)

    def find(self, key: Hashable) -> Ticket[Any] | None:
        """Join the work of this key that runs or is done; None where there is none."""
        with self._guard:
            job = self._usable(key)
            return None if job is None else self._ticket(job)

    @property
    def n_unfinished(self) -> int:
        """Number of pieces of work that run or wait for their turn."""
        with self._guard:
            return sum(job.state not in _FINISHED for job in self._jobs.values())

    def hear(self, job: _Job, number: int) -> None:
        """Note that a ticket was asked."""
        with self._guard:
            if number in job.heard:
                job.heard[number] = time.monotonic()

    def withdraw(self, job: _Job, number: int) -> None:
        """Forget a ticket."""
        with self._guard:
            job.heard.pop(number, None)

    def _ticket(self, job: _Job) -> Ticket[Any]:
        number = next(self._numbers)
        job.heard[number] = time.monotonic()
        return Ticket(self, job, number)

    def _usable(self, key: Hashable) -> _Job | None:
        """Find the job of a key that somebody waits for, or that has a result."""
        job = self._jobs.get(key)
        if job is None or (job.state not in _FINISHED and self._is_abandoned(job)) or job.state in _FINISHED[1:]:
            return None
        self._jobs.move_to_end(key)
        return job

    def _is_abandoned(self, job: _Job) -> bool:
        with self._guard:
            while self.released:
                gone, number = self.released.popleft()
                gone.heard.pop(number, None)
            return not any(time.monotonic() - heard < self._lease for heard in list(job.heard.values()))

    def _run(self, job: _Job, make: Callable[[Progress], Any]) -> None:
        def say(what: str, share: float) -> None:
            if self._is_abandoned(job):
                raise Cancelled
            job.what, job.share = what, min(max(float(share), 0.0), 1.0)

        try:
            while not self._turns.acquire(timeout=_TURN_SECONDS):
                say(job.what, 0.0)
            try:
                say("starting", 0.0)
                job.state = "running"
                job.result = make(say)
                self._finish(job, "done")
            finally:
                self._turns.release()
        except Cancelled:
            self._finish(job, "cancelled")
        except InputError as error:
            self._finish(job, "failed", str(error))
        except Exception as error:
            # Whatever it was, a page must say something; the log has the rest.
            _log.exception("work failed")
            text = " ".join(str(error).split())[:200]
            self._finish(job, "failed", f"this could not be computed ({type(error).__name__}: {text}); see the log")

    def _finish(self, job: _Job, state: State, problem: str = "") -> None:
        with self._guard:
            job.state, job.problem = state, problem
            if state == "done":
                job.what, job.share = "done", 1.0
            elif self._jobs.get(job.key) is job:
                del self._jobs[job.key]
            finished = [key for key, other in self._jobs.items() if other.state in _FINISHED]
            for key in finished[: max(0, len(finished) - MOST_KEPT)]:
                del self._jobs[key]
        job.is_finished.set()


shared_workshop = Workshop()
