"""Work in the background: shared, told how far it is, cancelled when nobody waits, never left running."""

import gc
import threading
import time

import pytest

from explorer.errors import InputError
from explorer.work import MOST_KEPT, Cancelled, Workshop

SOON = 20.0


class Steps:
    """Work of many steps that waits to be let on."""

    def __init__(self) -> None:
        self.begun, self.go, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.n_calls = 0
        self.raised = None

    def __call__(self, say):
        self.n_calls += 1
        try:
            self.begun.set()
            while not self.go.wait(0.005):
                say("step", 0.5)
            say("nearly", 0.9)
            return "made"
        except Cancelled as error:
            self.raised = error
            raise
        finally:
            self.ended.set()


@pytest.fixture
def workshop():
    return Workshop()


def test_result_and_progress(workshop):
    steps = Steps()
    ticket = workshop.start("key", steps)
    assert steps.begun.wait(SOON)
    assert ticket.result is None
    assert not ticket.wait(0.01)
    while ticket.what != "step":
        time.sleep(0.001)
    assert (ticket.state, ticket.share, ticket.is_finished) == ("running", 0.5, False)
    steps.go.set()
    assert ticket.wait(SOON)
    assert (ticket.state, ticket.result, ticket.share, ticket.problem) == ("done", "made", 1.0, "")
    assert workshop.n_unfinished == 0


def test_two_who_ask_for_the_same_share_one_computation(workshop):
    steps = Steps()
    one, other = (workshop.start("key", steps) for _ in range(2))
    steps.go.set()
    assert one.wait(SOON)
    assert other.wait(SOON)
    assert one.result is other.result
    assert workshop.start("key", steps).result == "made", "at once, from what was kept"
    assert steps.n_calls == 1
    assert workshop.start("another", lambda say: 1).wait(SOON)


def test_cancel_stops_the_work(workshop):
    steps = Steps()
    ticket = workshop.start("key", steps)
    assert steps.begun.wait(SOON)
    ticket.cancel()
    assert (ticket.state, ticket.problem, ticket.wait(0)) == ("cancelled", "cancelled", True)
    assert steps.ended.wait(SOON)
    assert isinstance(steps.raised, Cancelled)
    assert ticket.result is None
    again = workshop.start("key", lambda say: "anew")
    assert again.wait(SOON)
    assert again.result == "anew"


def test_work_goes_on_for_the_other_when_one_cancels(workshop):
    steps = Steps()
    one, other = (workshop.start("key", steps) for _ in range(2))
    one.cancel()
    assert one.state == "cancelled"
    assert one.result is None
    steps.go.set()
    assert other.wait(SOON)
    assert (other.state, other.result) == ("done", "made")


def test_cancelling_what_is_done_keeps_the_result(workshop):
    ticket = workshop.start("key", lambda say: 3)
    assert ticket.wait(SOON)
    ticket.cancel()
    assert (ticket.state, ticket.result) == ("done", 3)


def test_a_session_that_is_gone_leaves_nothing_running(workshop):
    steps = Steps()
    ticket = workshop.start("key", steps)
    assert steps.begun.wait(SOON)
    del ticket
    gc.collect()
    assert steps.ended.wait(SOON)
    assert isinstance(steps.raised, Cancelled)


def test_a_page_that_asks_no_more_leaves_nothing_running():
    workshop = Workshop(lease_seconds=0.05)
    steps = Steps()
    ticket = workshop.start("key", steps)
    assert steps.ended.wait(SOON), "nobody asked within the lease"
    assert ticket.wait(SOON)
    assert ticket.state == "cancelled"


def test_asking_keeps_the_work_alive():
    workshop = Workshop(lease_seconds=0.5)
    steps = Steps()
    ticket = workshop.start("key", steps)
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        assert ticket.state in ("waiting", "running")
        time.sleep(0.01)
    steps.go.set()
    assert ticket.wait(SOON)
    assert ticket.result == "made"


def test_work_waits_for_its_turn_and_can_be_cancelled_there():
    workshop = Workshop(most_running=1)
    first, second, third = Steps(), Steps(), Steps()
    one = workshop.start(1, first)
    assert first.begun.wait(SOON)
    two, three = workshop.start(2, second), workshop.start(3, third)
    assert two.state == "waiting"
    assert two.what == "waiting for its turn"
    two.cancel()
    third.go.set()
    first.go.set()
    assert one.wait(SOON)
    assert three.wait(SOON)
    assert three.result == "made"
    assert two.wait(SOON)
    assert (two.state, second.n_calls) == ("cancelled", 0)


def test_an_input_error_is_its_sentence(workshop):
    def fail(say):
        message = "k = 0 can't be used"
        raise InputError(message)

    ticket = workshop.start("key", fail)
    assert ticket.wait(SOON)
    assert (ticket.state, ticket.problem, ticket.result) == ("failed", "k = 0 can't be used", None)
    again = workshop.start("key", lambda say: 1)
    assert again.wait(SOON)
    assert again.result == 1, "a failure is not kept"


def test_any_other_error_is_one_line_and_logged(workshop, caplog):
    def fail(say):
        message = "first\nsecond"
        raise ZeroDivisionError(message)

    ticket = workshop.start("key", fail)
    assert ticket.wait(SOON)
    assert ticket.problem == "this could not be computed (ZeroDivisionError: first second); see the log"
    assert "work failed" in caplog.text


def test_waiting_at_first_is_over_once_the_ticket_is_old_enough(workshop):
    steps = Steps()
    ticket = workshop.start("key", steps)
    assert not ticket.wait_at_first(0.05)
    begun = time.monotonic()
    for _ in range(20):
        assert not ticket.wait_at_first(0.05)
    assert time.monotonic() - begun < 20 * 0.05, "not as long again each time"
    steps.go.set()
    assert ticket.wait_at_first(None)


def test_find(workshop):
    assert workshop.find("key") is None
    ticket = workshop.start("key", lambda say: 1)
    assert ticket.wait(SOON)
    assert workshop.find("key").result == 1


def test_few_results_are_kept(workshop):
    tickets = [workshop.start(number, lambda say, number=number: number) for number in range(MOST_KEPT + 5)]
    for ticket in tickets:
        assert ticket.wait(SOON)
    assert workshop.find(0) is None
    assert workshop.find(MOST_KEPT + 4).result == MOST_KEPT + 4
    assert tickets[0].result == 0, "whoever holds it has it"


def test_threads_do_not_keep_the_process_alive(workshop):
    steps = Steps()
    ticket = workshop.start("key", steps)
    assert steps.begun.wait(SOON)
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "explorer-work")
    ticket.cancel()
    assert steps.ended.wait(SOON)


def test_share_stays_between_0_and_1(workshop):
    seen = []

    def work(say):
        for share in (-1.0, 0.5, 7.0):
            say("step", share)
            seen.append(ticket.share)

    ready = threading.Event()
    ticket = workshop.start("key", lambda say: (ready.wait(SOON), work(say)))
    ready.set()
    assert ticket.wait(SOON)
    assert seen == [0.0, 0.5, 1.0]
