"""The same passes over the rows on a dask cluster: ranges of rows as tasks, merged in pairs."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from explorer.align import Alignment
from explorer.errors import InputError, shown
from explorer.labels import RowLabels
from explorer.moments import Progress, ScreenMoments, merge_moments, range_moments
from explorer.screen import Representation
from explorer.totals import GuideTotals, merge_totals, range_totals

if TYPE_CHECKING:
    from distributed import Client

T = TypeVar("T")

_ADDRESS = re.compile(r"(tcp|tls|ucx|ws|wss|inproc)://\S+")
# Large enough that a task is worth sending, small enough that losing a worker costs seconds.
BYTES_PER_TASK = 128 * 2**20
SECONDS_TO_ANSWER = 10
# A worker that dies takes its task with it; this often the task is given to another one.
MOST_RETRIES = 5


@dataclass(frozen=True, slots=True, eq=False)
class ClusterEngine:
    """Passes over the rows on the workers of a dask cluster, which must see the files at the same path.

    Every task is a pure function of its rows and merges follow one fixed tree, so a worker that dies changes
    nothing: what it held is computed again elsewhere.

    Attributes
    ----------
    client
        A client of ``dask.distributed``.
    rows_per_task
        Rows of a task; by default as many as fit in 128 MiB.
    """

    client: Client
    rows_per_task: int | None = None

    def moments(
        self, representation: Representation, labels: RowLabels, *, covariance: bool, progress: Progress | None
    ) -> ScreenMoments:
        """Collect the moments of all rows."""
        found = self._fold(
            lambda part: self._submit(
                range_moments, representation, part.without_units(), start=part.first, stop=part.stop,
                covariance=covariance,
            ),
            merge_moments,
            self._parts(representation, labels),
            progress=progress,
        )  # fmt: skip
        return replace(found, labels=labels)

    def totals(
        self, representation: Representation, labels: RowLabels, alignment: Alignment, *, progress: Progress | None
    ) -> GuideTotals:
        """Align and add up all rows."""
        shared = self.client.scatter(alignment, broadcast=True)
        found = self._fold(
            lambda part: self._submit(
                range_totals, representation, part, shared, start=part.first, stop=part.stop
            ),
            merge_totals,
            self._parts(representation, labels),
            progress=progress,
        )  # fmt: skip
        return replace(found, labels=labels)

    def _parts(self, representation: Representation, labels: RowLabels) -> list[RowLabels]:
        step = self.rows_per_task or max(1, BYTES_PER_TASK // (4 * max(1, representation.n_features)))
        n_rows = representation.n_rows
        return [labels.part(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]

    def _submit(self, function: Callable[..., T], *arguments: object, **options: object) -> Any:
        return self.client.submit(function, *arguments, **options, pure=False, retries=MOST_RETRIES)

    def _fold(
        self,
        start: Callable[[RowLabels], Any],
        merge: Callable[[T, T], T],
        parts: list[RowLabels],
        *,
        progress: Progress | None,
    ) -> T:
        level = [start(part) for part in parts]
        for future, part in zip(level, parts, strict=True):
            if progress is not None:
                future.add_done_callback(lambda done, n_rows=part.n_rows: progress(n_rows) if done.done() else None)
        while len(level) > 1:
            pairs = [level[place : place + 2] for place in range(0, len(level), 2)]
            level = [self._submit(merge, *pair) if len(pair) == 2 else pair[0] for pair in pairs]
        found: T = self._result(level[0])
        return found

    def _result(self, future: Any) -> Any:
        while True:
            try:
                return future.result(timeout=SECONDS_TO_ANSWER)
            except InputError:
                raise
            except Exception as error:
                if isinstance(error, TimeoutError) and not future.done():
                    if self.client.scheduler_info()["workers"]:
                        continue
                    message = "the cluster has no workers left: start some, then run the same command again"
                    raise InputError(message) from None
                reason = " ".join(str(error).split())[:200]
                message = (
                    f"the cluster gave up ({type(error).__name__}: {reason}): do its workers have this version of "
                    "explorer, see the file at the same path, and have enough memory?"
                )
                raise InputError(message) from error


@contextmanager
def connected(address: str) -> Iterator[ClusterEngine]:
    """Connect to a dask scheduler for the time of a block.

    Parameters
    ----------
    address
        ``tcp://HOST:PORT``, as the scheduler prints it.

    Raises
    ------
    InputError
        When ``distributed`` is not installed, no scheduler answers, or it has no workers.
    """
    if importlib.util.find_spec("distributed") is None:
        message = "a cluster needs dask: pip install 'perturbation-explorer[cluster]'"
        raise InputError(message)
    from distributed import Client

    if not _ADDRESS.fullmatch(address):
        message = f"{shown(address)} is not the address of a scheduler: expected one like tcp://127.0.0.1:8786"
        raise InputError(message)
    try:
        client = Client(address, timeout=SECONDS_TO_ANSWER, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        message = (
            f"no dask scheduler answers at {shown(address)}: start one with `dask scheduler`, and give the address "
            "that it prints, like tcp://HOST:8786"
        )
        raise InputError(message) from error
    try:
        try:
            client.wait_for_workers(1, timeout=SECONDS_TO_ANSWER)
        except TimeoutError as error:
            message = f"the scheduler at {shown(address)} has no workers: start some with `dask worker {address}`"
            raise InputError(message) from error
        yield ClusterEngine(client)
    finally:
        client.close()
