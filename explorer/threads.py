"""Many small matrix products run faster on one thread: threads that wait for each other cost more than they bring."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()
_inside = 0
_limiter: Any = None


@contextmanager
def one_thread_products() -> Iterator[None]:
    """Let matrix products use one thread for the time of a block.

    The limit holds for the whole process, so sessions that are inside at once share it: the first sets it, the last
    takes it back.
    """
    from threadpoolctl import threadpool_limits

    global _inside, _limiter
    with _lock:
        if _inside == 0:
            _limiter = threadpool_limits(1, user_api="blas")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _limiter.restore_original_limits()
