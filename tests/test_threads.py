"""The limit on threads is set by the first who enters and taken back by the last who leaves."""

import threading

import numpy as np
from threadpoolctl import threadpool_info

from explorer.threads import one_thread_products

np.ones((2, 2)) @ np.ones((2, 2))


def threads_now():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_products_use_one_thread_inside_and_as_many_as_before_outside():
    before = threads_now()
    with one_thread_products():
        assert threads_now() == {1}
        with one_thread_products():
            assert threads_now() == {1}
        assert threads_now() == {1}
    assert threads_now() == before


def test_sessions_that_overlap_leave_no_limit_behind():
    before = threads_now()
    entered, leave = threading.Barrier(3), threading.Event()

    def session():
        with one_thread_products():
            entered.wait(timeout=30)
            leave.wait(timeout=30)

    sessions = [threading.Thread(target=session) for _ in range(2)]
    for one in sessions:
        one.start()
    with one_thread_products():
        entered.wait(timeout=30)
    assert threads_now() == {1}
    leave.set()
    for one in sessions:
        one.join(timeout=30)
    assert threads_now() == before
