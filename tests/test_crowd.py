"""Many visitors at once."""

from explorer.crowd import CALLS_A_SECOND, CALLS_AT_ONCE, CALLS_FOR_A_PAGE, MOST_REMEMBERED, Allowance, OpenPages


def test_a_session_belongs_to_whoever_named_it_first():
    pages = OpenPages()
    assert pages.claims("s_1", "ann")
    assert pages.claims("s_1", "ann")
    assert not pages.claims("s_1", "bob")
    assert pages.claims("s_2", "bob")


def test_sessions_are_forgotten_in_time():
    pages = OpenPages()
    for number in range(MOST_REMEMBERED + 10):
        pages.claims(f"s_{number}", "ann")
    assert len(pages.owners) == MOST_REMEMBERED
    assert "s_0" not in pages.owners


def test_pages_are_counted():
    pages = OpenPages()
    for visitor in ("ann", "ann", "bob"):
        pages.opened(visitor)
    assert pages.count == 3
    assert pages.by_visitor == {"ann": 2, "bob": 1}
    for visitor in ("ann", "ann", "bob", "bob"):
        pages.closed(visitor)
    assert pages.count == 0
    assert pages.by_visitor == {}


def test_an_allowance_runs_out_and_comes_back():
    now = [0.0]
    allowance = Allowance(clock=lambda: now[0])
    assert sum(allowance.takes("ann") for _ in range(CALLS_AT_ONCE + 50)) == CALLS_AT_ONCE
    assert allowance.takes("bob")
    assert sum(allowance.takes("eve", CALLS_FOR_A_PAGE) for _ in range(50)) == CALLS_AT_ONCE // CALLS_FOR_A_PAGE
    now[0] += 1.0
    assert sum(allowance.takes("ann") for _ in range(100)) == CALLS_A_SECOND
    now[0] += 1000.0
    assert sum(allowance.takes("ann") for _ in range(CALLS_AT_ONCE + 50)) == CALLS_AT_ONCE
    for number in range(MOST_REMEMBERED + 10):
        allowance.takes(str(number))
    assert len(allowance._left) == MOST_REMEMBERED
