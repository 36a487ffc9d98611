"""Tokens, cookies, failed logins, and where a request comes from."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer.access import (
    COOKIE_SECONDS,
    LONGEST_WAIT_SECONDS,
    Address,
    FailedLogins,
    Visitors,
    client_address,
    is_loopback,
    read_token,
    safe_target,
)
from explorer.errors import InputError

TOKEN = "correct-horse-battery-staple"
VISITORS = Visitors.of_token(TOKEN, address="https://maps.example.org")
APPS = ("explore", "judge")


def token_file(tmp_path, content, mode=0o600):
    path = tmp_path / "token"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_token_comes_from_a_file_or_from_the_environment(tmp_path):
    assert read_token(token_file(tmp_path, f"{TOKEN}\n".encode()), {}) == TOKEN
    assert read_token(None, {"EXPLORER_TOKEN": TOKEN}) == TOKEN
    assert read_token(None, {}) is None


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (TOKEN.encode(), 0o604, "every user of this machine: run chmod o-r"),
        (b"short", 0o600, "16 to 1,024 printable ASCII characters, got 5"),
        (b"", 0o600, "got 0"),
        (b"two lines of text\nand more", 0o600, "got 2 lines"),
        (b"\xff" * 20, 0o600, "printable ASCII"),
        (b"a" * 5000, 0o600, "got 4,097"),
    ],
)
def test_a_token_that_guards_nothing_is_refused(tmp_path, content, mode, message):
    with pytest.raises(InputError, match=message):
        read_token(token_file(tmp_path, content, mode), {})


def test_an_empty_variable_is_no_open_door():
    with pytest.raises(InputError, match="EXPLORER_TOKEN must hold"):
        read_token(None, {"EXPLORER_TOKEN": ""})


def test_a_token_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_token(tmp_path / "absent", {})


def test_no_error_repeats_the_token(tmp_path):
    with pytest.raises(InputError) as caught:
        read_token(token_file(tmp_path, b"secret\nsecret"), {})
    assert "secret" not in str(caught.value).replace("import secrets; print(secrets.token_urlsafe(24))", "")


def test_only_the_right_token_is_known():
    assert VISITORS.knows(TOKEN)
    assert not any(VISITORS.knows(wrong) for wrong in ("", TOKEN[:-1], f"{TOKEN} ", TOKEN.upper(), "\udc80"))
    assert not Visitors.of_token(None, address="").knows("")


def test_a_cookie_names_its_visitor_until_it_ends():
    cookie = VISITORS.new_cookie(now=1000.0)
    header = f"other=1; {VISITORS.cookie_name}={cookie}"
    visitor = VISITORS.visitor_of(header, now=1000.0)
    assert len(visitor) == 32
    assert VISITORS.visitor_of(header, now=1000.0 + COOKIE_SECONDS - 1) == visitor
    assert VISITORS.visitor_of(header, now=1000.0 + COOKIE_SECONDS) == ""
    # A clock that is set back ends nobody's visit.
    assert VISITORS.visitor_of(header, now=0.0) == visitor


def test_a_cookie_outlives_a_restart_and_not_another_token():
    header = f"{VISITORS.cookie_name}={VISITORS.new_cookie()}"
    assert Visitors.of_token(TOKEN, address="https://maps.example.org").visitor_of(header)
    assert not Visitors.of_token(f"{TOKEN}!", address="https://maps.example.org").visitor_of(header)


def test_without_a_token_no_key_can_be_guessed():
    one, other = (Visitors.of_token(None, address="") for _ in range(2))
    assert one.key != other.key
    assert not other.visitor_of(f"{one.cookie_name}={one.new_cookie()}")


def test_the_key_is_not_the_token():
    # Who sees a cookie can't try tokens faster than a hash, and the key of one use says nothing of another.
    assert VISITORS.key != hashlib.sha256(TOKEN.encode()).digest()
    assert hmac.compare_digest(VISITORS.key, hmac.digest(TOKEN.encode(), b"explorer cookie", "sha256"))


@given(st.integers(0, 200), st.sampled_from(list('0123456789abcdef.;=," é')))
def test_an_altered_cookie_is_worth_nothing(place, character):
    cookie = VISITORS.new_cookie(now=1000.0)
    place %= len(cookie)
    forged = cookie[:place] + character + cookie[place + 1 :]
    if forged != cookie:
        assert VISITORS.visitor_of(f"{VISITORS.cookie_name}={forged}", now=1000.0) == ""


@given(st.text(max_size=200))
def test_any_header_is_no_visitor(header):
    assert VISITORS.visitor_of(header) == ""
    assert VISITORS.visitor_of(f"{VISITORS.cookie_name}={header}") == ""


def test_waits_grow_and_end():
    now = [0.0]
    failures = FailedLogins(clock=lambda: now[0])
    waits = []
    for _ in range(20):
        failures.note("192.0.2.1")
        waits.append(failures.wait_seconds("192.0.2.1"))
        now[0] += waits[-1]
    assert waits[:8] == [0, 0, 0, 0, 1, 2, 4, 8]
    assert waits[-1] == LONGEST_WAIT_SECONDS
    assert failures.wait_seconds("192.0.2.2") == 0
    now[0] += LONGEST_WAIT_SECONDS
    assert failures.wait_seconds("192.0.2.1") == 0
    failures.forget("192.0.2.1")
    failures.note("192.0.2.1")
    assert failures.wait_seconds("192.0.2.1") == 0


def test_a_network_of_addresses_waits_together():
    failures = FailedLogins(clock=lambda: 0.0)
    for host in range(6):
        failures.note(f"2001:db8::{host:x}")
    assert failures.wait_seconds("2001:db8::ffff") > 0
    assert failures.wait_seconds("2001:db8:0:1::1") == 0
    for _ in range(6):
        failures.note("::ffff:192.0.2.7")
    assert failures.wait_seconds("192.0.2.7") > 0


def test_failures_of_many_addresses_are_bounded():
    failures = FailedLogins(clock=lambda: 0.0)
    for number in range(10_050):
        failures.note(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(failures._failures) == 10_000


@pytest.mark.parametrize(
    ("peer", "header", "trusted", "client"),
    [
        ("192.0.2.1", "", (), "192.0.2.1"),
        ("192.0.2.1", "198.51.100.9", (), "192.0.2.1"),
        ("127.0.0.1", "198.51.100.9", ("127.0.0.1",), "198.51.100.9"),
        # What stands further left was written by the client itself.
        ("127.0.0.1", "203.0.113.5, 198.51.100.9", ("127.0.0.1",), "198.51.100.9"),
        ("127.0.0.1", "198.51.100.9, 10.0.0.2", ("127.0.0.1", "10.0.0.2"), "198.51.100.9"),
        ("127.0.0.1", "nonsense", ("127.0.0.1",), "127.0.0.1"),
        ("127.0.0.1", "198.51.100.9, nonsense", ("127.0.0.1",), "127.0.0.1"),
        ("127.0.0.1", "", ("127.0.0.1",), "127.0.0.1"),
    ],
)
def test_only_a_trusted_proxy_says_who_asks(peer, header, trusted, client):
    assert client_address(peer, header, trusted=trusted) == client


def test_loopback_is_this_machine_alone():
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "192.0.2.1", "::", "localhost.example.org", ""))


@pytest.mark.parametrize(
    ("url", "origin", "prefix"),
    [
        ("https://maps.example.org", "https://maps.example.org", ""),
        ("https://maps.example.org/", "https://maps.example.org", ""),
        ("https://Maps.Example.org:443/lab/maps/", "https://maps.example.org", "/lab/maps"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080", ""),
        ("http://[::1]:8080/x", "http://[::1]:8080", "/x"),
    ],
)
def test_a_base_url_is_origin_and_prefix(url, origin, prefix):
    address = Address.of_url(url)
    assert (address.origin, address.prefix) == (origin, prefix)
    assert address.is_encrypted == url.startswith("https")


@pytest.mark.parametrize(
    "url",
    [
        "maps.example.org",
        "ftp://maps.example.org",
        "https://",
        "https://user:pass@maps.example.org",
        "https://maps.example.org/a/../b",
        "https://maps.example.org/a?b",
        "https://maps.example.org/a#b",
        "https://maps.example.org/<script>",
        "https://maps.example.org:99999",
        "https://maps example.org",
        "https://[::1",
    ],
)
def test_what_is_no_base_url_is_said(url):
    with pytest.raises(InputError, match=r"--base-url .* expected something like"):
        Address.of_url(url)


def test_an_origin_is_ours_or_it_is_not():
    fixed = Address.of_url("https://maps.example.org/lab")
    assert fixed.is_ours("https://maps.example.org", "anything")
    for foreign in ("http://maps.example.org", "https://maps.example.org.evil.org", "https://evil.org", "null", ""):
        assert not fixed.is_ours(foreign, "evil.org")
    free = Address()
    assert free.is_ours("http://127.0.0.1:8000", "127.0.0.1:8000")
    assert not free.is_ours("http://127.0.0.1:8001", "127.0.0.1:8000")
    assert not free.is_ours("http://", "")


@pytest.mark.parametrize("target", ["/", "/explore/", "/judge/?dataset=depmap&query=%3Cb%3E"])
def test_a_login_leads_to_a_page_of_ours(target):
    assert safe_target(target, APPS) == target


@pytest.mark.parametrize(
    "target",
    [
        "",
        "explore/",
        "//evil.org/",
        "/\\evil.org",
        "https://evil.org",
        "/explore//evil.org",
        "/login",
        "/explore/\r\nSet-Cookie: a=b",
        "/other/",
        "/explore/../other/",
        "javascript:alert(1)",
        "/explore/?" + "a" * 9000,
        "/explore/?é",
    ],
)
def test_a_login_leads_nowhere_else(target):
    assert safe_target(target, APPS) == "/"
