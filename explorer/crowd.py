"""Many visitors at once: whose session is whose, how many pages are open, and how fast each may send."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

# A page that is used sends a few messages a second; a slider that is dragged, some tens.
CALLS_AT_ONCE = 120
CALLS_A_SECOND = 30.0
# A page that opens starts a session, which outlives it for a while.
CALLS_FOR_A_PAGE = 10
MOST_REMEMBERED = 10_000


@dataclass(eq=False)
class OpenPages:
    """Sockets that are open, and which visitor each session belongs to."""

    by_visitor: dict[str, int] = field(default_factory=dict)
    owners: OrderedDict[str, str] = field(default_factory=OrderedDict)

    @property
    def count(self) -> int:
        """Number of open pages."""
        return sum(self.by_visitor.values())

    def claims(self, session: str, visitor: str) -> bool:
        """Bind a session to the visitor who names it first; whether it is this visitor's."""
        owner = self.owners.setdefault(session, visitor)
        self.owners.move_to_end(session)
        while len(self.owners) > MOST_REMEMBERED:
            self.owners.popitem(last=False)
        return owner == visitor

    def owns(self, session: str, visitor: str) -> bool:
        """Whether a session has been opened, and by this visitor."""
        return self.owners.get(session) == visitor

    def opened(self, visitor: str) -> None:
        """Count one more page."""
        self.by_visitor[visitor] = self.by_visitor.get(visitor, 0) + 1

    def closed(self, visitor: str) -> None:
        """Count one page less."""
        left = self.by_visitor.pop(visitor, 0) - 1
        if left > 0:
            self.by_visitor[visitor] = left


class Allowance:
    """Calls that each visitor may send: some at once, and then so many a second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def takes(self, visitor: str, calls: int = 1) -> bool:
        """Take some calls; False where so many are not left."""
        now = self._clock()
        left, since = self._left.pop(visitor, (float(CALLS_AT_ONCE), now))
        left = min(float(CALLS_AT_ONCE), left + (now - since) * CALLS_A_SECOND)
        is_enough = left >= calls
        self._left[visitor] = (left - calls if is_enough else left, now)
        while len(self._left) > MOST_REMEMBERED:
            self._left.popitem(last=False)
        return is_enough
