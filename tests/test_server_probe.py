"""A served catalog attacked from outside: every address, every method, forged cookies, odd bodies, bad neighbours."""

import contextlib
import json
import os
import re
import secrets
import signal
import socket
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing import shared_memory
from pathlib import Path
from urllib.parse import quote, urlencode

import probes
import pytest
import toys
from browser import REPOSITORY, TOKEN, Served, cookie_of, free_port, serve_catalog
from files import write_card
from probes import Asker
from websockets.exceptions import ConnectionClosed

from explorer.access import COOKIE_SECONDS, Visitors
from explorer.gate import MOST_ADDRESS_BYTES, MOST_BODY_BYTES, MOST_LOGIN_BYTES

PREFIX = "/maps/shared"
BASE = f"https://maps.example.org{PREFIX}"
PROXY_NETWORK = "127.0.0.1"
SECRET = "sk-what-the-operator-keeps-to-himself"
SESSION = "Marimo-Session-Id"
CALL = "/explore/api/kernel/set_ui_element_value"
GOOD_BODY = json.dumps(probes.CALLS["set_ui_element_value"]).encode()


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Path:
    """A toy catalog, and beside it datasets that are broken in ways whose errors could name places."""
    root = toys.write_catalog(tmp_path_factory.mktemp("catalog"))
    (root / "no_toml").mkdir()
    (root / "no_toml" / "card.toml").write_text("title = [\n")
    write_card(root / "leads_out", {"contexts/alpha/rows": "../../../../etc/passwd"}, card=toys.CARD)
    write_card(root / "no_files", card=toys.CARD)
    write_card(root / "torn", {"relationships": None}, card=toys.CARD)
    for name in ("rows_alpha", "rows_beta", "latent_alpha", "latent_beta", "latent-seed-1_alpha", "latent-seed-1_beta"):
        content = (root / "toy" / f"{name}.parquet").read_bytes()
        (root / "torn" / f"{name}.parquet").write_bytes(content[: len(content) // 2])
    write_card(root / "a_folder", card=toys.CARD)
    (root / "a_folder" / "rows_alpha.parquet").mkdir()
    (root / "<b>not offered").mkdir()
    (root / "out").symlink_to("/etc")
    return root


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """A server's own environment: its store, and an operator's settings of marimo that are nobody's business."""
    home = tmp_path_factory.mktemp("home")
    (home / "marimo").mkdir()
    (home / "marimo" / "marimo.toml").write_text(
        f'[ai.open_ai]\napi_key = "{SECRET}"\nbase_url = "http://{SECRET}/"\n[runtime]\ndotenv = ["{home}/.env"]\n'
    )
    return {"EXPLORER_CACHE": str(tmp_path_factory.mktemp("cache")), "XDG_CONFIG_HOME": str(home)}


@pytest.fixture(scope="module")
def served(catalog, environment) -> Iterator[Served]:
    with serve_catalog(catalog, "--no-warm", env=environment) as found:
        yield found


@pytest.fixture(scope="module")
def asker(served, catalog, environment) -> Iterator[Asker]:
    found = Asker(served, (*probes.places(catalog), SECRET, environment["XDG_CONFIG_HOME"]))
    yield found
    found.close()


@pytest.fixture(scope="module")
def proxied(catalog, environment, tmp_path_factory) -> Iterator[Served]:
    """A server behind a reverse proxy with TLS, below a path."""
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text(f"{TOKEN}\n")
    token.chmod(0o600)
    options = ("--no-warm", "--token-file", str(token), "--trusted-proxy", PROXY_NETWORK)
    with serve_catalog(catalog, *options, token=None, base_url=BASE, env=environment) as found:
        yield found


@pytest.fixture(scope="module")
def local(catalog, environment) -> Iterator[Served]:
    """A server without a token, for this machine alone."""
    with serve_catalog(catalog, "--no-warm", "--most-pages", "3", token=None, env=environment) as found:
        yield found


@pytest.fixture(autouse=True)
def _still_good(request) -> Iterator[None]:
    """After each test the server answers, and nothing that it said was wrong."""
    yield
    if "asker" in request.fixturenames:
        asker = request.getfixturevalue("asker")
        assert asker.ask("GET", "/health")[0] == 200
        problems = asker.problems[:]
        asker.problems.clear()
        assert problems == []


@pytest.fixture
def cookie(served) -> str:
    return cookie_of(served)


@contextlib.contextmanager
def page(asker: Asker, cookie: str, *, app: str = "explore") -> Iterator[dict[str, str]]:
    """A page that somebody holds open; the headers with which it calls."""
    session = f"s_{secrets.token_hex(4)}"
    with asker.open_socket(f"/{app}/ws?session_id={session}", cookie) as opened:
        opened.recv(timeout=30)
        yield {"Cookie": cookie, "Origin": asker.origin, SESSION: session, "Content-Type": "application/json"}


# ---------------------------------------------------------------- every address


def test_every_address_under_every_condition(asker, served):
    found = probes.probe_all(asker, (cookie_of(served), cookie_of(served)))
    unexpected = [
        (item.probe.method, item.probe.path, item.condition, item.status) for item in found if not item.is_expected
    ]
    assert unexpected == []
    assert max(item.status for item in found) < 500
    table = probes.probe_table(found)
    assert len(table.splitlines()) <= 18
    assert table.endswith(", 0 unexpected answers.\n")
    # Whatever marimo has now is in the table, and nothing of it but what a page needs is let through.
    through = {item.probe.path for item in found if item.condition == "login" and item.status in (101, 200)}
    calls = r"api/kernel/(set_\w+_value|function_call)"
    allowed = rf"/(login|session|health|ready)?|/\w+/(health|ws|favicon\.ico|assets/.*|{calls})?"
    assert [path for path in through if not re.fullmatch(allowed, path)] == []
    assert {path for path in through if "/api/" in path} == {
        f"/{app}/api/kernel/{call}" for app in probes.APPS for call in probes.CALLS
    }


def test_probe_table_says_what_is_unexpected():
    good = probes.Probe("landing page", "GET", "/")
    found = [probes.Finding(good, "login", 200), probes.Finding(good, "no login", 500)]
    assert [item.is_expected for item in found] == [True, False]
    assert "2 requests, 1 unexpected answers." in probes.probe_table(found)


def test_a_look_finds_what_is_wrong(asker):
    import http.client

    other = Asker(asker.served, ("/somewhere",))
    headers = http.client.HTTPMessage()
    headers["server"] = "uvicorn"
    headers["set-cookie"] = "session=1; Path=/"
    headers["content-security-policy"] = "script-src 'unsafe-inline'"
    other.look_at("it", headers, b'{"error": "no \\/somewhere/x"}')
    text = "\n".join(other.problems)
    for word in ("server", "session=1", "x-content-type-options", "unsafe-inline", "'/somewhere'"):
        assert word in text


def test_frames_and_pages_name_no_place(asker, cookie):
    for app in probes.APPS:
        for dataset in ("toy", "torn", "no_toml", "../toy") if app == "explore" else ("torn",):
            asked = urlencode({"dataset": dataset})
            frames = asker.frames(f"/{app}/ws?session_id=s_{secrets.token_hex(4)}&{asked}", cookie)
            assert len(frames) > 10
            assert not any("Traceback" in frame for frame in frames)
        status, _, content = asker.ask("GET", f"/{app}/?dataset=torn", {"Cookie": cookie})
        assert status == 200
        assert b"def " not in content
    status, _, landing = asker.ask("GET", "/", {"Cookie": cookie})
    assert status == 200
    said = landing.decode()
    assert said.count("can't be shown") >= 4
    assert "not offered" not in said
    assert "root:" not in said


def test_nothing_secret_is_logged(asker, served, cookie):
    form = urlencode({"token": "nearly-" + TOKEN, "next": "/explore/?query=SECRETGENE"})
    asker.ask("POST", "/login", {"Origin": asker.origin}, form.encode())
    asker.ask("GET", "/explore/?query=SECRETGENE&token=" + TOKEN, {"Cookie": cookie})
    asker.ask("GET", "/login?next=" + quote("/explore/?query=SECRETGENE"))
    lines = served.log().splitlines()[1:]
    # marimo writes some lines of its own.
    records = [json.loads(line) for line in lines if line.startswith("{")]
    requests = [record for record in records if "status" in record]
    assert len(requests) > 3
    assert {"client", "visitor", "method", "path", "status", "bytes", "ms"} <= set(requests[-1])
    for secret in (TOKEN, "SECRETGENE", cookie.partition("=")[2], cookie.partition(".")[2]):
        assert secret not in served.log()
    cookie_of(served)


# ---------------------------------------------------------------- sockets


def visitors_of(token: str, served: Served) -> Visitors:
    return Visitors.of_token(token, address=f":{served.port}")


def test_socket_wants_a_good_cookie(asker, served, cookie):
    good = visitors_of(TOKEN, served)
    name, _, value = cookie.partition("=")
    assert name == good.cookie_name
    assert good.visitor_of(cookie)
    assert not good.visitor_of(cookie, now=time.time() + COOKIE_SECONDS + 2)
    visitor, ends, signature = value.split(".")
    flipped = signature[:-1] + ("0" if signature[-1] != "0" else "1")
    bad = {
        "none": "",
        "another server's name": f"explorer-00000000={value}",
        "another key": f"{name}={visitors_of('another-token-of-this-server', served).new_cookie()}",
        "expired": f"{name}={good.new_cookie(now=time.time() - COOKIE_SECONDS - 5)}",
        "later end": f"{name}={visitor}.{int(ends) + 1}.{signature}",
        "another visitor": f"{name}={'0' * 32}.{ends}.{signature}",
        "signature": f"{name}={visitor}.{ends}.{flipped}",
        "no signature": f"{name}={visitor}.{ends}.",
        "shorter": f"{name}={visitor}.{ends}.{signature[:-2]}",
        "parts": f"{name}={visitor}",
        "huge": f"{name}={visitor}.{'9' * 5000}.{signature}",
        "digits of other scripts": f"{name}={visitor}.\u0661\u0662.{signature}".encode().decode("latin-1"),
        "odd bytes": f'{name}="\\377\\377"; {name}=\xff\xfe',
    }
    path = f"/explore/ws?session_id=s_{secrets.token_hex(4)}"
    for what, forged in bad.items():
        assert asker.socket_status(path, forged) == 401, what
        assert asker.ask("GET", "/", {"Cookie": forged})[0] == 303, what
    odd = f'odd=\x01; "; [x]={{}}; {bad["signature"]}; {cookie}'
    assert asker.ask("GET", "/", {"Cookie": odd})[0] == 200
    assert asker.socket_status(path, odd.replace("\x01", "")) == 101


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "null",
        "https://elsewhere.example",
        "http://127.0.0.1",
        "http://localhost:{port}",
        "https://127.0.0.1:{port}",
        "http://127.0.0.1:{port}.elsewhere.example",
        "http://127.0.0.1:{port}/",
        "http://x@127.0.0.1:{port}",
        "file://",
    ],
)
def test_socket_wants_our_origin(asker, served, cookie, origin):
    named = origin and origin.format(port=served.port)
    assert asker.socket_status(f"/explore/ws?session_id=s_{secrets.token_hex(4)}", cookie, origin=named) == 403


def test_a_session_id_is_not_enough(asker, served, cookie):
    other = cookie_of(served)
    with page(asker, cookie) as headers:
        path = f"/explore/ws?session_id={headers[SESSION]}"
        assert asker.socket_status(path) == 401
        assert asker.socket_status(path, other) == 403
        assert asker.socket_status(path.replace("explore", "judge"), other) == 403
        for call, body in probes.CALLS.items():
            at = f"/explore/api/kernel/{call}"
            content = json.dumps(body).encode()
            assert asker.ask("POST", at, headers, content)[0] == 200
            assert asker.ask("POST", at, {**headers, "Cookie": other}, content)[0] == 403
            assert asker.ask("POST", at, {key: headers[key] for key in headers if key != "Cookie"}, content)[0] == 401
            assert asker.ask("POST", at, {**headers, SESSION: "s_nobody"}, content)[0] == 403
            assert asker.ask("POST", at, {key: headers[key] for key in headers if key != SESSION}, content)[0] == 403
            assert asker.ask("POST", at, {key: headers[key] for key in headers if key != "Origin"}, content)[0] == 403
            assert asker.ask("POST", at.replace("explore", "judge"), headers, content)[0] in (200, 400)
    # Whose it was it stays, so that a break of the line finds it again, and nobody else does.
    assert asker.socket_status(path, other) == 403
    assert asker.socket_status(path, cookie) == 101


def test_what_a_socket_may_not_choose(asker, cookie, catalog):
    for extra in (
        "file=/etc/passwd",
        "file=judge.py",
        "kiosk=true",
        f"access_token={TOKEN}",
        "rtc=true",
        "session_id=s_another",
        "file=%2e%2e%2fjudge.py&file=x",
        "%66ile=/etc/passwd",
        "FILE=x",
        "file",
    ):
        named = f"s_{secrets.token_hex(4)}"
        path = f"/explore/ws?session_id={named}&{extra}"
        if extra.startswith("session_id"):
            assert asker.socket_status(path, cookie) == 403
            continue
        with asker.open_socket(path, cookie) as opened:
            ready = json.loads(opened.recv(timeout=30))
        assert ready["op"] == "kernel-ready", extra
        assert ready["data"].get("kiosk") is not True
        assert "passwd" not in json.dumps(ready)
    for odd in (
        "",
        "session_id=",
        "session_id=a%20b",
        "session_id=" + "a" * 65,
        "session_id=../x",
        "session_id=%00",
        "x=1",
    ):
        assert asker.socket_status(f"/explore/ws?{odd}", cookie) == 403, odd
    assert asker.socket_status(f"/explore/ws?session_id={named}&x=" + "a" * 4000, cookie) == 101


@pytest.mark.slow
def test_too_many_pages_of_one_visitor(asker, served, cookie):
    with contextlib.ExitStack() as stack:
        for number in range(20):
            stack.enter_context(asker.open_socket(f"/judge/ws?session_id=s_many{number}&dataset=nothing", cookie))
        assert asker.socket_status("/judge/ws?session_id=s_more", cookie) == 503
        assert asker.socket_status("/judge/ws?session_id=s_others", cookie_of(served)) == 101


def test_what_a_socket_sends_is_not_read(asker, cookie):
    with asker.open_socket(f"/explore/ws?session_id=s_{secrets.token_hex(4)}&dataset=nothing", cookie) as opened:
        opened.recv(timeout=30)
        for message in ("x", b"\xff" * 1000, "{" * 10_000, json.dumps({"op": "run", "code": "1/0"})):
            opened.send(message)
        with contextlib.suppress(ConnectionClosed):
            for _ in range(50):
                opened.send("x" * 1_100_000)
                opened.recv(timeout=10)
        assert opened.protocol.close_code in (1006, 1009), "too large"
    assert asker.socket_status(f"/explore/ws?session_id=s_{secrets.token_hex(4)}", cookie) == 101


# ---------------------------------------------------------------- bodies, addresses, headers


def test_odd_bodies_of_a_call(asker, cookie):
    bodies = (
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"9" * 5000,
        b'{"objectIds":[]}',
        b'{"objectIds":["x"],"values":[NaN]}',
        b'{"objectIds":["../x"],"values":[1,2]}',
        b'{"objectIds":[1],"values":["x"]}',
        b'{"functionCallId":"1","namespace":"__class__","functionName":"__init__","args":{"a":1}}',
        b"token=x",
        b"\x00" * 1000,
        json.dumps({"objectIds": ["Hbol-0"] * 1000, "values": [10**300] * 1000}).encode(),
    )
    with page(asker, cookie) as headers:
        for body in bodies:
            for call in probes.CALLS:
                status, _, content = asker.ask("POST", f"/explore/api/kernel/{call}", headers, body)
                assert status in (200, 400), (call, body[:40], content)
                assert b"Traceback" not in content
            time.sleep(0.1)  # a visitor may send thirty a second for long
        assert asker.ask("POST", CALL, headers, GOOD_BODY)[0] == 200


def test_bodies_that_are_too_large(asker, cookie):
    with page(asker, cookie) as headers:
        for path, most in (("/login", MOST_LOGIN_BYTES), (CALL, MOST_BODY_BYTES)):
            assert asker.ask("POST", path, headers, b"x" * (most + 1))[0] == 413
            asker.close()
            for announced in (str(most + 1), "9" * 15):
                assert first_line(asker, path, {**headers, "Content-Length": announced}, b"x" * 10) == 413
            chunk = b"%x\r\n%b\r\n" % (65_536, b"x" * 65_536)
            chunked = {**headers, "Transfer-Encoding": "chunked"}
            assert first_line(asker, path, chunked, chunk * (most // 65_536 + 1)) == 413
        assert asker.ask("POST", CALL, headers, GOOD_BODY)[0] == 200


def first_line(asker: Asker, path: str, headers: dict[str, str], body: bytes, *, method: str = "POST") -> int:
    """Send bytes as they are; the status that comes back, 0 where the line is cut."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1:" + str(asker.served.port)]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return said_to(asker.served, "\r\n".join([*lines, "", ""]).encode("latin-1") + body)


def said_to(served: Served, content: bytes) -> int:
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as line:
        with contextlib.suppress(ConnectionError):
            line.sendall(content)
        answer = b""
        with contextlib.suppress(ConnectionError, TimeoutError):
            while b"\r\n" not in answer and (received := line.recv(4096)):
                answer += received
    found = re.match(rb"HTTP/1\.1 (\d{3})", answer)
    return int(found[1]) if found else 0


def test_addresses_and_headers_that_are_too_long(asker, cookie):
    assert asker.ask("GET", "/?" + "a" * MOST_ADDRESS_BYTES, {"Cookie": cookie})[0] == 414
    assert asker.ask("GET", "/" + "a" * MOST_ADDRESS_BYTES)[0] == 414
    assert asker.ask("GET", "/explore/?q=" + "a" * 8000, {"Cookie": cookie})[0] == 200
    for name in ("Cookie", "X-Odd", "Origin"):
        assert first_line(asker, "/", {name: "a" * 200_000}, b"", method="GET") in (0, 400, 413, 431)
    many = {f"X-{number}": "1" for number in range(50_000)}
    assert first_line(asker, "/", many, b"", method="GET") in (0, 400, 413, 431)


def test_a_long_link_survives_the_login(asker):
    link = "/explore/?" + urlencode({"highlight": ",".join(f"GENE{number}" for number in range(780))})
    assert 7_000 < len(link) < MOST_ADDRESS_BYTES
    status, headers, _ = asker.ask("GET", link)
    assert status == 303
    status, _, content = asker.ask("GET", headers["location"])
    assert status == 200
    assert content.count(b"GENE779") == 2
    form = urlencode({"token": TOKEN, "next": link}).encode()
    status, headers, _ = asker.ask("POST", "/login", {"Origin": asker.origin}, form)
    assert (status, headers["location"]) == (303, link)


def test_no_slash_keeps_the_view(asker, cookie):
    status, headers, _ = asker.ask("GET", "/explore?dataset=toy&k=4", {"Cookie": cookie})
    assert (status, headers["location"]) == (308, "/explore/?dataset=toy&k=4")
    assert (
        asker.ask("GET", "/explore?dataset=toy")[1]["location"]
        == f"/login?next={quote('/explore/?dataset=toy', safe='')}"
    )


@pytest.mark.parametrize(
    "content",
    [
        b"\x00\x01\x02\xff" * 100,
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET http://elsewhere.example/explore/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\n b\r\n\r\n",
        b"GET /explore/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\r\n" * 1000,
    ],
)
def test_garbage_on_the_line(asker, content):
    assert said_to(asker.served, content) in (0, 303, 400, 401, 403, 404, 405, 413, 426)


def test_slow_visitors_hold_nobody_up(asker, served):
    with contextlib.ExitStack() as stack:
        for number in range(50):
            line = stack.enter_context(socket.create_connection(("127.0.0.1", served.port), timeout=10))
            line.sendall((b"GET / HT", b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nto")[number % 2])
        assert asker.ask("GET", "/ready")[0] == 200
        assert asker.ask("GET", "/login")[0] == 200


def test_files_are_those_that_apps_made(asker, cookie):
    with page(asker, cookie):
        other = shared_memory.SharedMemory(f"another_program_{os.getpid()}.txt", create=True, size=16)
        try:
            other.buf[:6] = b"SECRET"
            for name in (other.name, f"1-{other.name}", f"1-abcdefgh.{other.name}"):
                status, _, content = asker.ask("GET", f"/explore/@file/6-{name}", {"Cookie": cookie})
                assert (status, b"SECRET" in content) == (404, False)
        finally:
            other.close()
            other.unlink()
    frames = asker.frames(f"/explore/ws?session_id=s_{secrets.token_hex(4)}&dataset=toy", cookie)
    made = re.search(r"@file/[\w.-]+\.js", "".join(frames))
    assert made, "the widget's own script"


# ---------------------------------------------------------------- login


def attempt(asker: Asker, form: bytes | dict[str, str], **headers: str):
    body = form if isinstance(form, bytes) else urlencode(form).encode()
    return asker.ask("POST", "/login", {"Origin": asker.origin, **headers}, body)


@pytest.mark.parametrize(
    "target",
    [
        "https://elsewhere.example",
        "//elsewhere.example",
        "/\\elsewhere.example",
        "\\/elsewhere.example",
        "/%2felsewhere.example",
        "/%5celsewhere.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "/explore/../../elsewhere",
        "/explore//elsewhere.example",
        "http:elsewhere.example",
        "/explore/\r\nSet-Cookie: x=1",
        "/\t/elsewhere.example",
        " //elsewhere.example",
        "/explore",
        "/explore/x",
        "/login",
        "/logout",
        "/unknown/",
        "/explore/\x00",
        "/\u2215elsewhere.example",
        "@elsewhere.example",
        "",
        "/explore/?x=\n",
        "?dataset=toy",
        "/;//elsewhere.example",
        "/.//elsewhere.example",
        "/" * 9000,
    ],
)
def test_a_login_leads_nowhere_else(asker, cookie, target):
    status, headers, _ = attempt(asker, {"token": TOKEN, "next": target})
    assert (status, headers["location"]) == (303, "/")
    if len(target) > 8000:
        return
    asked = f"/login?{urlencode({'next': target})}"
    assert asker.ask("GET", asked, {"Cookie": cookie})[1]["location"] == "/"
    assert b"elsewhere" not in asker.ask("GET", asked)[2]


@pytest.mark.parametrize(
    "target", ["/", "/explore/", "/judge/?dataset=toy&k=4", "/explore/?query=a%2Fb%20%3Cb%3E+x", "/?x=//y"]
)
def test_a_login_leads_where_one_wanted(asker, target):
    status, headers, _ = attempt(asker, {"token": TOKEN, "next": target})
    assert (status, headers["location"]) == (303, target)


def test_login_of_another_site(asker):
    good = urlencode({"token": TOKEN}).encode()
    for headers in (
        {},
        {"Origin": probes.FOREIGN},
        {"Origin": "null"},
        {"Origin": asker.origin, "Sec-Fetch-Site": "cross-site"},
    ):
        status, answered, _ = asker.ask("POST", "/login", headers, good)
        assert status == 403
        assert "set-cookie" not in answered


@pytest.mark.parametrize(
    "form",
    [
        b"",
        b"token",
        b"token=",
        b"token=%00",
        b"token=%ff%fe",
        b"\xff\xfe",
        b"token=" + b"%f0%9f%91%be" * 100,
        b"&" * 8000,
        b"token=a&token=" + TOKEN.encode(),
        b"Token=" + TOKEN.encode(),
        b'{"token": "' + TOKEN.encode() + b'"}',
        b"token=" + TOKEN.encode() + b"%00",
        b"token=" + TOKEN.upper().encode(),
        b"token=" + TOKEN[:-1].encode(),
        b"&".join(b"a%d=1" % number for number in range(100)),
        b"token=%ed%a0%80",
        b"next=%ff&token=%",
        TOKEN.encode("utf-16"),
    ],
)
def test_odd_logins(proxied, form):
    asker = Asker(proxied)
    # Each from an address of its own, so that none has to wait.
    address = f"198.51.{secrets.randbelow(256)}.{secrets.randbelow(256)}"
    headers = {"Origin": "https://maps.example.org", "X-Forwarded-For": address}
    status, answered, content = asker.ask("POST", f"{PREFIX}/login", headers, form)
    assert status in (400, 401)
    assert "set-cookie" not in answered
    assert TOKEN.encode() not in content
    asker.close()


def test_failed_logins_wait_by_address(proxied):
    asker = Asker(proxied)

    def from_address(address: str, *, token: str = "wrong"):
        headers = {"Origin": "https://maps.example.org", "X-Forwarded-For": address}
        return asker.ask("POST", f"{PREFIX}/login", headers, urlencode({"token": token}).encode())

    statuses = Counter(from_address("203.0.113.7")[0] for _ in range(12))
    assert statuses == {401: 5, 429: 7}
    status, headers, content = from_address("203.0.113.7", token=TOKEN)
    assert (status, headers["retry-after"]) == (429, "1")
    assert b"Too many wrong tokens" in content
    # What comes before the proxy's own word is whatever the visitor wrote.
    assert from_address("198.18.0.1, 203.0.113.7")[0] == 429
    assert from_address("garbage, 203.0.113.7")[0] == 429
    # Others are not held up, and cannot be framed.
    assert from_address("203.0.113.8", token=TOKEN)[0] == 303
    assert from_address("203.0.113.7, 203.0.113.9", token=TOKEN)[0] == 303
    # All of a visitor's IPv6 network are one.
    for number in range(6):
        from_address(f"2001:db8:1:2::{number:x}")
    assert from_address("2001:db8:1:2:ffff::1")[0] == 429
    assert from_address("2001:db8:1:3::1")[0] == 401
    asker.close()


def test_nobody_but_a_proxy_says_whence_one_comes(catalog, environment):
    with serve_catalog(catalog, "--no-warm", env=environment) as served:
        asker = Asker(served)
        statuses = [
            attempt(
                asker, {"token": "wrong"}, **{"X-Forwarded-For": f"203.0.113.{number}", "Forwarded": "for=1.2.3.4"}
            )[0]
            for number in range(8)
        ]
        assert statuses == [401] * 5 + [429] * 3
        assert "203.0.113" not in served.log()
        asker.close()


def test_a_new_token_ends_every_cookie(asker, served, catalog, environment):
    with serve_catalog(catalog, "--no-warm", token="a-token-that-is-new-here", env=environment) as renewed:
        other = Asker(renewed)
        of_old = f"{visitors_of(TOKEN, renewed).cookie_name}={visitors_of(TOKEN, renewed).new_cookie()}"
        assert other.ask("GET", "/", {"Cookie": of_old})[0] == 303
        assert other.ask("GET", "/", {"Cookie": cookie_of(renewed, token="a-token-that-is-new-here")})[0] == 200
        other.close()


def test_logout(asker, cookie):
    status, headers, _ = asker.ask("POST", "/logout", {"Cookie": cookie, "Origin": asker.origin})
    assert (status, headers["location"]) == (303, "/")
    assert re.fullmatch(r"explorer-\w+=; Max-Age=0; Path=/; HttpOnly; SameSite=Strict", headers["set-cookie"])
    assert asker.ask("POST", "/logout", {"Cookie": cookie})[0] == 403


# ---------------------------------------------------------------- behind a proxy, and without a token


def test_behind_a_proxy(proxied, catalog):
    asker = Asker(proxied, probes.places(catalog))
    asker.is_good_cookie = lambda cookie: "; Secure" in cookie and f"Path={PREFIX}/;" in cookie
    ours = {"Origin": "https://maps.example.org"}
    status, headers, _ = asker.ask(
        "POST", f"{PREFIX}/login", ours, urlencode({"token": TOKEN, "next": "/judge/"}).encode()
    )
    assert (status, headers["location"]) == (303, f"{PREFIX}/judge/")
    cookie = {"Cookie": headers["set-cookie"].partition(";")[0]}
    for path, expected in {
        "/": 404,
        "/login": 404,
        "/health": 404,
        "/explore/": 404,
        PREFIX: 308,
        f"{PREFIX}/": 200,
        f"{PREFIX}/explore/": 200,
        f"{PREFIX}{PREFIX}/": 404,
        f"{PREFIX}x/": 404,
        f"{PREFIX}/health": 200,
        "/maps/": 404,
    }.items():
        assert asker.ask("GET", path, cookie)[0] == expected, path
    assert asker.ask("GET", "/")[0] == 401
    assert asker.ask("GET", f"{PREFIX}/explore/?k=4")[1]["location"] == f"{PREFIX}/login?next=%2Fexplore%2F%3Fk%3D4"
    path = "/explore/ws?session_id=s_proxied"
    assert asker.socket_status(path, cookie["Cookie"], origin="https://maps.example.org") == 101
    for origin in (
        "http://maps.example.org",
        asker.origin,
        "https://maps.example.org:8443",
        "https://example.org",
        None,
    ):
        assert asker.socket_status(path, cookie["Cookie"], origin=origin) == 403
    assert asker.problems == []
    asker.close()


@pytest.mark.parametrize(
    "host",
    [
        "elsewhere.example",
        "127.0.0.1.elsewhere.example",
        "localhost.elsewhere.example",
        "0.0.0.0",
        "192.0.2.1",
        "",
        "localhost, elsewhere.example",
        "elsewhere.example#localhost",
        "[::2]",
        "127.0.0.2",
        "localhost:x",
    ],
)
def test_without_a_token_only_names_of_this_machine(local, host):
    asker = Asker(local)
    for path, method in (("/", "GET"), ("/explore/", "GET"), ("/login", "POST"), ("/nothing", "GET")):
        named = {"Host": host, "Origin": f"http://{host}"}
        status, headers, content = asker.ask(method, path, named)
        assert status == 421
        assert "set-cookie" not in headers
        assert host.encode() not in content or not host or host in ("0.0.0.0",)
    upgrade = {
        "Host": host,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    lines = [f"{name}: {value}\r\n" for name, value in upgrade.items()]
    asked = f"GET /explore/ws?session_id=s_1 HTTP/1.1\r\n{''.join(lines)}\r\n"
    assert said_to(local, asked.encode()) in ((421,) if host else (400, 421))
    asker.close()


def test_without_a_token_visitors_are_still_apart(local):
    asker = Asker(local)
    for name in ("localhost", "127.0.0.1", "LOCALHOST"):
        assert asker.ask("GET", "/", {"Host": f"{name}:{local.port}"})[0] == 200
    cookies = [asker.ask("GET", "/explore/")[1]["set-cookie"].partition(";")[0] for _ in range(2)]
    assert cookies[0] != cookies[1]
    with page(asker, cookies[0]) as headers:
        assert asker.ask("POST", CALL, headers, GOOD_BODY)[0] == 200
        assert asker.ask("POST", CALL, {**headers, "Cookie": cookies[1]}, GOOD_BODY)[0] == 403
        assert asker.socket_status(f"/explore/ws?session_id={headers[SESSION]}", cookies[1]) == 403
        assert asker.socket_status(f"/explore/ws?session_id={headers[SESSION]}") == 401
    assert asker.ask("GET", "/login")[1]["location"] == "/"
    assert asker.ask("POST", CALL, {"Origin": asker.origin})[0] == 401
    assert asker.problems == []
    asker.close()


def test_a_full_server_says_so(local):
    asker = Asker(local)
    cookie = asker.ask("GET", "/")[1]["set-cookie"].partition(";")[0]
    with contextlib.ExitStack() as stack:
        for number in range(3):
            stack.enter_context(asker.open_socket(f"/judge/ws?session_id=s_full{number}&dataset=nothing", cookie))
        status, headers, content = asker.ask("GET", "/explore/", {"Cookie": cookie})
        assert (status, headers["retry-after"]) == (503, "60")
        assert b"The server is full" in content
        assert asker.socket_status("/judge/ws?session_id=s_more", cookie) == 503
        assert asker.ask("GET", "/", {"Cookie": cookie})[0] == 200
    asker.close()


# ---------------------------------------------------------------- what does not start


def refused(catalog: Path, *options: str, **environment: str) -> str:
    """Run the command and require that it ends at once with one sentence."""
    inherited = {name: value for name, value in os.environ.items() if name != "EXPLORER_TOKEN"}
    ended = subprocess.run(
        [sys.executable, "-m", "explorer.cli", "serve", str(catalog), "--port", str(free_port()), *options],
        cwd=REPOSITORY,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2, ended
    assert ended.stderr.count("\n") == 1
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
    return ended.stderr


def test_an_open_server_does_not_start(catalog, tmp_path):
    for options in (
        ("--host", "0.0.0.0"),
        ("--host", ""),
        ("--host", "::"),
        ("--base-url", "https://maps.example.org"),
        ("--base-url", "http://192.0.2.1:8000/x"),
    ):
        assert "--token-file" in refused(catalog, *options)
    readable = tmp_path / "token"
    readable.write_text(TOKEN)
    readable.chmod(stat.S_IRUSR | stat.S_IROTH)
    assert "chmod o-r" in refused(catalog, "--token-file", str(readable))
    assert "16 to 1,024" in refused(catalog, EXPLORER_TOKEN="short")
    assert "leave one of the two out" in refused(catalog, "--public", EXPLORER_TOKEN=TOKEN)
    assert "is no address" in refused(catalog, "--trusted-proxy", "10.0.0.0/8", EXPLORER_TOKEN=TOKEN)
    assert "unrecognized arguments" in refused(catalog, "--token", TOKEN)


def test_token_is_no_argument(served, proxied):
    for server in (served, proxied):
        arguments = Path(f"/proc/{server.process.pid}/cmdline")
        if arguments.exists():
            assert TOKEN.encode() not in arguments.read_bytes()


def test_stops_soon_with_pages_open(catalog, environment):
    with serve_catalog(catalog, "--no-warm", env=environment) as served:
        asker = Asker(served)
        with asker.open_socket("/explore/ws?session_id=s_last", cookie_of(served)) as opened:
            opened.recv(timeout=30)
            served.process.send_signal(signal.SIGTERM)
            assert served.process.wait(timeout=20) == 0
        assert "Traceback" not in served.log()
