"""Many small matrix products run faster on one thread: threads that wait for each other cost more than they bring."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any


def one_thread_products(*, when: bool = True) -> AbstractContextManager[Any]:
    """Let matrix products use one thread for the time of a block; threadpoolctl settles who sets it among sessions."""
    if not when:
        return nullcontext()
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(limits=1, user_api="blas")
    return limits
