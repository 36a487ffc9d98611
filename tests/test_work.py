"""Work in the background: shared, told how far it is, cancelled when nobody waits, never left running."""

import gc
import threading
import time
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.errors import InputError
from explorer.keeping import Shared
from explorer.work import MOST_KEPT, Cancelled, Workshop, ordinal, patience

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
    assert (two.what, three.what) == (
        "waiting for its turn: 1st in the queue, 1 running",
        "waiting for its turn: 2nd in the queue, 1 running",
    )
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
    assert (
        ticket.problem
        == "this could not be computed (ZeroDivisionError: first second); the log of whoever runs this has the rest"
    )
    assert "work failed" in caplog.text


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("[Errno 2] No such file or directory: '/srv/lab/data/rows.parquet'", "'rows.parquet'"),
        ("can't open file /srv/my data/x.h5ad for reading", "can't open file x.h5ad for reading"),
        (r"C:\Users\somebody\x.h5ad is torn", "x.h5ad is torn"),
        ("~/secret/place/card.toml: 3 / 4 and a/b", "card.toml"),
        ("/srv/lab", "lab"),
    ],
)
def test_no_error_says_where_the_files_of_the_server_are(workshop, said, text):
    def fail(say):
        raise OSError(said)

    ticket = workshop.start("key", fail)
    assert ticket.wait(SOON)
    assert text in ticket.problem
    for folder in ("srv", "my data", "Users", "somebody", "secret", "place"):
        assert folder not in ticket.problem


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


# ---------------------------------------------------------------- the queue


def wait_until(holds):
    """Wait for a state that other threads bring about."""
    until = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < until, "never came"
        time.sleep(0.002)


def occupied(workshop, n=1):
    """Take some turns: the tickets, and what lets each end."""
    found = []
    for number in range(n):
        steps = Steps()
        found.append((workshop.start(("occupied", number), steps), steps))
        assert steps.begun.wait(SOON)
    return found


def free(*taken):
    for ticket, steps in taken:
        steps.go.set()
        assert ticket.wait(SOON)


def test_places_are_told_and_move_up():
    workshop = Workshop(most_running=2)
    one, other = occupied(workshop, 2)
    tickets = [workshop.start(number, lambda say, number=number: number) for number in range(4)]
    assert [ticket.place for ticket in tickets] == [1, 2, 3, 4]
    assert tickets[2].what == "waiting for its turn: 3rd in the queue, 2 running"
    assert one[0].place == 0
    assert tickets[2].state == "waiting"
    tickets[1].cancel()
    assert [ticket.place for ticket in tickets] == [1, 0, 2, 3]
    assert tickets[1].wait(0)
    tickets.pop(0)
    gc.collect()
    assert [ticket.place for ticket in tickets[1:]] == [1, 2], "a page that was closed"
    free(one, other)
    assert all(ticket.wait(SOON) for ticket in tickets)
    assert [ticket.result for ticket in tickets] == [None, 2, 3]


def test_turns_come_in_the_order_of_asking():
    workshop = Workshop(most_running=1)
    (taken,) = occupied(workshop)
    order = []
    tickets = [workshop.start(number, lambda say, number=number: order.append(number)) for number in range(20)]
    # Who joins what waits already takes no place of its own.
    joined = workshop.start(7, lambda say: order.append("twice"))
    assert joined.place == tickets[7].place == 8
    free(taken)
    assert all(ticket.wait(SOON) for ticket in tickets)
    assert order == list(range(20))


def test_whoever_comes_back_at_once_finds_the_old_place():
    workshop = Workshop(most_running=1)
    (taken,) = occupied(workshop)
    first = workshop.start("mine", lambda say: "made")
    second = workshop.start("theirs", lambda say: "theirs")
    # A page is made again: its ticket goes before it asks anew.
    del first
    gc.collect()
    assert second.place == 1
    again = workshop.start("mine", lambda say: "begun anew")
    assert (again.place, second.place) == (1, 2)
    free(taken)
    assert again.wait(SOON)
    assert again.result == "made"


def test_whoever_does_not_come_back_has_no_place(monkeypatch):
    monkeypatch.setattr("explorer.work.RETURN_SECONDS", 0.0)
    workshop = Workshop(most_running=1)
    (taken,) = occupied(workshop)
    first = workshop.start("mine", lambda say: "made")
    second = workshop.start("theirs", lambda say: "theirs")
    del first
    gc.collect()
    assert second.place == 1
    again = workshop.start("mine", lambda say: "begun anew")
    assert (again.place, second.place) == (2, 1)
    free(taken)
    assert again.wait(SOON)
    assert again.result == "begun anew"


def test_work_that_nobody_waits_for_is_skipped_though_nobody_asks():
    workshop = Workshop(most_running=1, lease_seconds=0.3)
    (taken,) = occupied(workshop)
    steps = Steps()
    lapsed = workshop.start("lapsed", steps)
    waiting = threading.Thread(target=lambda: workshop.start("patient", lambda say: 1).wait(SOON))
    waiting.start()
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        assert taken[0].state == "running"
        time.sleep(0.01)
    free(taken)
    waiting.join(SOON)
    assert not waiting.is_alive(), "whoever waits in one call longer than a lease has not gone"
    assert (lapsed.state, steps.n_calls) == ("cancelled", 0)


def test_running_work_goes_on_for_whoever_comes_back_in_time(workshop):
    begun, go = threading.Event(), threading.Event()

    def make(say):
        begun.set()
        assert go.wait(SOON)
        say("second half", 0.5)
        return "made"

    ticket = workshop.start("key", make)
    assert begun.wait(SOON)
    del ticket
    gc.collect()
    again = workshop.start("key", lambda say: "begun anew")
    go.set()
    assert again.wait(SOON)
    assert again.result == "made"


def test_a_full_queue_is_one_sentence(workshop):
    workshop = Workshop(most_running=1, most_waiting=2)
    (taken,) = occupied(workshop)
    tickets = [workshop.start(number, lambda say: 1) for number in range(2)]
    refused = workshop.start("one too many", lambda say: 1)
    assert (refused.state, refused.result, refused.place, refused.may_work_again) == ("failed", None, 0, True)
    assert refused.problem == (
        "the server is busy: 2 pieces of work wait for their turn already; try again in a minute"
    )
    joined = workshop.start(1, lambda say: 1)
    assert joined.state == "waiting", "who asks for what waits already takes no room"
    tickets[0].cancel()
    later = workshop.start("one too many", lambda say: "made")
    assert later.state == "waiting"
    free(taken)
    assert later.wait(SOON)
    assert later.result == "made"


def test_work_that_ends_badly_gives_its_turn_back(workshop):
    workshop = Workshop(most_running=1)

    def leave(say):
        raise SystemExit

    def fail(say):
        raise MemoryError

    for make in (leave, fail):
        ticket = workshop.start("key", make)
        assert ticket.wait(SOON)
        assert ticket.state == "failed"
        said = "(SystemExit: ); the log of whoever runs this has the rest"
        if make is fail:
            said = "there is not enough memory for it; try again later, or choose less"
        assert ticket.problem.startswith("this could not be computed")
        assert ticket.problem.endswith(said)
        assert not ticket.may_work_again
    assert workshop.start("key", lambda say: 1).wait(SOON)
    assert workshop.n_unfinished == 0


def test_a_machine_that_gives_no_more_threads(monkeypatch, workshop):
    def no_thread(*_, **__):
        message = "can't start new thread"
        raise RuntimeError(message)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        ticket = workshop.start("key", lambda say: 1)
        assert (ticket.state, ticket.may_work_again) == ("failed", True)
        assert ticket.problem == "the server is busy and can't begin more work: try again in a minute"
    assert workshop.start("key", lambda say: 1).wait(SOON)


def test_work_must_not_ask_for_work(workshop):
    other = workshop.start("other", lambda say: 1)
    assert other.wait(SOON)
    for ask in (
        lambda: workshop.start("inner", lambda say: 1),
        lambda: workshop.start_unless_made("inner", lambda say: 1),
        other.wait,
    ):
        ticket = workshop.start("outer", lambda say, ask=ask: ask())
        assert ticket.wait(SOON)
        assert "expected nobody but a page to ask for work" in ticket.problem
    assert workshop.find("inner") is None


def test_what_stands_ready_is_made_at_once_whoever_waits(caplog):
    workshop, shared = Workshop(most_running=1), Shared()
    (taken,) = occupied(workshop)
    makers = []

    def make(say):
        say("a part", 0.5)

        def part():
            makers.append(threading.get_ident())
            return 2

        return 1 + shared.get("part", part)

    ticket = workshop.start_unless_made("key", make)
    assert ticket.state == "waiting"
    free(taken)
    assert ticket.wait(SOON)
    assert ticket.result == 3
    assert makers != [threading.get_ident()], "made by a thread of the workshop"
    assert workshop.find("key") is None, "what it took is in the cache, and would be made again if it were not"
    (taken,) = occupied(Workshop(most_running=1))
    at_once = workshop.start_unless_made("another key", make)
    assert (at_once.state, at_once.result, at_once.place, at_once.problem) == ("done", 3, 0, "")
    assert len(makers) == 1
    free(taken)

    def fail(say):
        shared.get("part", lambda: 0)
        message = "no such thing"
        raise InputError(message)

    assert workshop.start_unless_made("failing", fail).problem == "no such thing"
    assert workshop.start_unless_made("failing", lambda say: 1 / 0).problem.startswith("this could not be computed")
    assert workshop.find("failing") is None


def test_refused():
    ticket = Workshop().refused("no such context")
    assert (ticket.state, ticket.problem, ticket.wait(), ticket.may_work_again) == (
        "failed", "no such context", True, False,
    )  # fmt: skip


def test_a_ticket_that_is_replaced_lets_go_at_once(workshop):
    cell = {}
    steps = Steps()
    cell["ticket"] = workshop.start("one view", steps)
    assert steps.begun.wait(SOON)
    # As marimo does before it runs a cell again.
    del cell["ticket"]
    cell["ticket"] = workshop.start("another view", lambda say: 1)
    assert steps.ended.wait(SOON)
    assert isinstance(steps.raised, Cancelled)


def test_finished_work_holds_on_to_nothing_that_made_it(workshop):
    class Session:
        pass

    session = Session()
    gone = weakref.ref(session)
    ticket = workshop.start("key", lambda say, session=session: 1)

    def fail(say, session=session):
        message = "no such thing"
        raise InputError(message)

    failed = workshop.start("failing", fail)
    del fail
    assert ticket.wait(SOON)
    assert failed.wait(SOON)
    del session
    wait_until(lambda: gc.collect() is not None and gone() is None)
    assert ticket.result == 1


def test_places():
    assert [ordinal(number) for number in (1, 2, 3, 4, 11, 12, 13, 21, 22, 101, 111, 1_002)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "101st", "111th", "1,002nd",
    ]  # fmt: skip


def test_patience():
    assert patience("run") == patience("edit") == 0.5
    assert patience(None) is patience("script") is None


@pytest.mark.parametrize("most_running", [1, 2, 3])
def test_many_who_ask_cancel_leave_and_fail(most_running):
    workshop = Workshop(most_running=most_running, most_waiting=1_000)
    lock, running, most, begun = threading.Lock(), set(), [], []
    random = np.random.default_rng(most_running)
    kinds = random.choice(["done", "fails", "cancels itself"], size=40, p=[0.7, 0.2, 0.1])

    def work(say, number):
        with lock:
            running.add(number)
            begun.append(number)
            most.append(len(running))
        try:
            for step in range(3):
                say(f"step {step}", step / 3)
                time.sleep(0.0005)
            if kinds[number] == "fails":
                raise ZeroDivisionError
            if kinds[number] == "cancels itself":
                raise Cancelled
            return number
        finally:
            with lock:
                running.discard(number)

    wrong = []

    def client(seed):
        chance = np.random.default_rng(seed)
        for number in chance.integers(40, size=25).tolist():
            ticket = workshop.start(number, lambda say, number=number: work(say, number))
            what = chance.random()
            if what < 0.2:
                ticket.cancel()
            elif what < 0.4:
                del ticket
                continue
            elif what < 0.5:
                assert ticket.place >= 0
                assert ticket.what
            if not ticket.wait(SOON):
                wrong.append((number, ticket.state, "never ended"))
            expected = {"done": ("done", "cancelled"), "fails": ("failed", "cancelled")}.get(
                kinds[number], ("cancelled",)
            )
            if ticket.state not in expected or (ticket.state == "done" and ticket.result != number):
                wrong.append((number, ticket.state, ticket.result))

    clients = [threading.Thread(target=client, args=(100 * most_running + seed,)) for seed in range(12)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join(SOON)
    assert not any(thread.is_alive() for thread in clients), "somebody was forgotten"
    assert wrong == []
    assert max(most) <= most_running
    gc.collect()
    wait_until(lambda: workshop.n_unfinished == 0)
    assert not running
    final = workshop.start("at the end", lambda say: "made")
    assert final.wait(SOON)
    assert final.result == "made", "every turn came back"


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["ask", "cancel", "leave"]), st.integers(0, 5)), max_size=30))
def test_the_queue_is_a_line_of_those_who_still_wait(happened):
    workshop = Workshop(most_running=1)
    (taken,) = occupied(workshop)
    # A naive line: keys in the order of asking, and how many wait for each; who leaves may come back to the old place.
    line, waiting, held, done = [], {}, {}, []
    for what, key in happened:
        if what == "ask":
            ticket = workshop.start(key, lambda say, key=key: done.append(key))
            held.setdefault(key, []).append(ticket)
            if key not in line:
                line.append(key)
            waiting[key] = waiting.get(key, 0) + 1
        elif held.get(key):
            ticket = held[key].pop()
            waiting[key] -= 1
            if what == "cancel":
                ticket.cancel()
                if not waiting[key]:
                    line.remove(key)
        ticket = None
        expected = [key for key in line if waiting[key]]
        found = sorted((tickets[0].place, key) for key, tickets in held.items() if tickets)
        assert found == [(place, key) for place, key in enumerate(expected, start=1)]
    free(taken)
    assert all(ticket.wait(SOON) for tickets in held.values() for ticket in tickets)
    assert done == expected if happened else done == []
