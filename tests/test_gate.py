"""The gate, around an app that only says what reached it."""

import asyncio
import json
import logging
from urllib.parse import urlencode

import pytest

from explorer import gate
from explorer.access import Address, Visitors
from explorer.crowd import Allowance
from explorer.gate import MOST_BODY_BYTES, Gate, Rules, hidden_paths

TOKEN = "correct-horse-battery-staple"
PAGE = b"<html><head><script>start()</script></head><body>/srv/apps/explore.py</body></html>"
ORIGIN = "http://127.0.0.1:8000"


class Notebook:
    """Stands for marimo: remembers what reached it, and fails as often as it is told to."""

    def __init__(self):
        self.seen, self.failures = [], 0

    async def __call__(self, scope, receive, send):
        self.seen.append(scope)
        if self.failures:
            self.failures -= 1
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.accept"})
                # As marimo does on its way out.
                await send({"type": "websocket.close", "code": 1000})
            message = "AST constructor recursion depth mismatch"
            raise SystemError(message)
        if scope["type"] == "websocket":
            assert (await receive())["type"] == "websocket.connect"
            await send({"type": "websocket.accept", "headers": [(b"set-cookie", b"inner=1")]})
            await send({"type": "websocket.send", "text": "hello"})
            while (await receive())["type"] != "websocket.disconnect":
                pass
            return
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": [(b"set-cookie", b"inner=1")]})
        await send({"type": "http.response.body", "body": PAGE if scope["path"].endswith("/") else body})


class Answer:
    def __init__(self, messages):
        self.status, self.headers, self.body = 0, {}, b""
        for message in messages:
            if message["type"].endswith("response.start"):
                self.status = message["status"]
                self.headers = {key.decode(): value.decode() for key, value in message["headers"]}
            elif message["type"].endswith("response.body"):
                self.body += message["body"]

    @property
    def text(self):
        return self.body.decode()


def make_gate(token=TOKEN, *, notebook=None, own=None, **rules):
    address = rules.pop("address", Address())
    made = Rules(
        address=address,
        visitors=Visitors.of_token(token, address=address.origin),
        apps=("explore", "judge"),
        hidden=hidden_paths(["/srv/apps/explore.py", "/srv/apps", "/srv"]),
        **rules,
    )
    answers = {"landing": lambda nonce: (200, f"<p>{nonce}</p>"), "ready": lambda _: (503, "warming up\n")}
    return Gate(notebook or Notebook(), answers | (own or {}), made)


def cookie_of(gate):
    visitors = gate._rules.visitors
    return f"{visitors.cookie_name}={visitors.new_cookie()}"


def request(gate, method, address, *, body=b"", chunks=None, client="192.0.2.1", **headers):
    path, _, query = address.partition("?")
    named = {"host": "127.0.0.1:8000", **{key.replace("_", "-"): value for key, value in headers.items()}}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(key.encode(), value.encode()) for key, value in named.items()],
        "client": (client, 1234),
    }
    parts = list(chunks if chunks is not None else [body])
    sent = []

    async def receive():
        if not parts:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message):
        sent.append(message)

    asyncio.run(gate(scope, receive, send))
    return Answer(sent)


def socket(gate, query="session_id=s_1", *, path="/explore/ws", extensions=True, **headers):
    """Open a socket, and close it as soon as it is open; what was sent to the browser."""
    named = {"host": "127.0.0.1:8000", **headers}
    scope = {
        "type": "websocket",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(key.encode(), value.encode()) for key, value in named.items()],
        "client": ("192.0.2.1", 1234),
        "extensions": {"websocket.http.response": {}} if extensions else {},
    }
    messages = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1001}]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    asyncio.run(gate(scope, receive, send))
    return sent


def log_in(gate, token=TOKEN, target="/", **options):
    body = urlencode({"token": token, "next": target}).encode()
    return request(gate, "POST", "/login", body=body, **{"origin": ORIGIN} | options)


def test_who_is_not_in_is_led_to_the_login_and_back():
    gate = make_gate()
    answer = request(gate, "GET", "/explore/?dataset=depmap&query=A%26B")
    assert answer.status == 303
    assert answer.headers["location"] == "/login?next=%2Fexplore%2F%3Fdataset%3Ddepmap%26query%3DA%2526B"
    page = request(gate, "GET", answer.headers["location"])
    assert 'value="&#47;explore&#47;&#63;dataset&#61;depmap&#38;query&#61;A&#37;26B"' in page.text
    answer = log_in(gate, target="/explore/?dataset=depmap&query=A%26B")
    assert (answer.status, answer.headers["location"]) == (303, "/explore/?dataset=depmap&query=A%26B")
    cookie = answer.headers["set-cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=Strict", "Path=/;", "Max-Age=604800"))
    assert "Secure" not in cookie
    assert request(gate, "GET", "/explore/", cookie=cookie.partition(";")[0]).status == 200


def test_behind_a_proxy_everything_is_below_the_prefix_and_the_cookie_is_secure():
    gate = make_gate(address=Address.of_url("https://maps.example.org/lab"))
    assert request(gate, "GET", "/explore/").status == 401
    assert request(gate, "GET", "/lab").headers["location"].startswith("/lab/login?next=")
    answer = log_in(gate)
    assert answer.status == 401  # no such address
    answer = request(
        gate, "POST", "/lab/login", body=f"token={TOKEN}&next=/judge/".encode(), origin="https://maps.example.org"
    )
    assert answer.headers["location"] == "/lab/judge/"
    assert answer.headers["set-cookie"].endswith("Path=/lab/; HttpOnly; SameSite=Strict; Secure")
    cookie = answer.headers["set-cookie"].partition(";")[0]
    assert request(gate, "GET", "/lab/judge/", cookie=cookie).status == 200
    assert gate._app.seen[-1]["path"] == "/judge/"


@pytest.mark.parametrize("headers", [{}, {"origin": "http://evil.org"}, {"origin": "null"}])
def test_a_login_from_another_site_is_refused(headers):
    answer = request(make_gate(), "POST", "/login", body=f"token={TOKEN}".encode(), **headers)
    assert answer.status == 403
    assert "set-cookie" not in answer.headers


def test_wrong_tokens_make_an_address_wait_and_nobody_else():
    gate = make_gate(trusted_proxies=frozenset({"127.0.0.1"}))
    statuses = [log_in(gate, "wrong").status for _ in range(7)]
    assert statuses == [401] * 5 + [429] * 2
    answer = log_in(gate)
    assert answer.status == 429
    assert int(answer.headers["retry-after"]) >= 0
    # Naming another address helps nobody who is no proxy of ours.
    assert log_in(gate, x_forwarded_for="198.51.100.9").status == 429
    assert log_in(gate, client="192.0.2.2").status == 303
    assert log_in(gate, client="127.0.0.1", x_forwarded_for="192.0.2.1").status == 429
    assert log_in(gate, client="127.0.0.1", x_forwarded_for="192.0.2.3").status == 303


def test_a_notebook_gets_neither_cookies_nor_the_query_of_a_page():
    gate = make_gate()
    cookie = cookie_of(gate)
    answer = request(
        gate, "GET", "/explore/?file=%2Fetc&dataset=depmap", cookie=cookie, authorization="Basic x", accept="*/*"
    )
    seen = gate._app.seen[-1]
    assert seen["query_string"] == b""
    assert {key for key, _ in seen["headers"]} == {b"host", b"accept"}
    assert "inner" not in str(answer.headers)
    assert "/srv" not in answer.text
    nonce = answer.text.partition('<script nonce="')[2].partition('"')[0]
    assert len(nonce) >= 24
    assert f"'nonce-{nonce}'" in answer.headers["content-security-policy"]
    again = request(gate, "GET", "/explore/", cookie=cookie)
    assert nonce not in again.text


def test_calls_need_the_session_of_the_same_visitor():
    gate = make_gate()
    ann, bob = cookie_of(gate), cookie_of(gate)
    address = "/explore/api/kernel/set_ui_element_value"
    options = {"body": b"{}", "origin": ORIGIN, "marimo_session_id": "s_1"}
    socket(gate, cookie=ann, origin=ORIGIN)
    assert request(gate, "POST", address, cookie=ann, **options).body == b"{}"
    assert request(gate, "POST", address, cookie=bob, **options).status == 403
    assert request(gate, "POST", address, **options).status == 401
    assert request(gate, "POST", address, cookie=ann, **options | {"origin": "http://evil.org"}).status == 403
    assert request(gate, "GET", address, cookie=ann).status == 405


def test_a_body_has_a_limit_whatever_it_says_of_itself():
    gate = make_gate()
    options = {"cookie": cookie_of(gate), "origin": ORIGIN, "marimo_session_id": "s_1"}
    socket(gate, cookie=options["cookie"], origin=ORIGIN)
    address = "/explore/api/kernel/function_call"
    assert request(gate, "POST", address, content_length=str(MOST_BODY_BYTES + 1), **options).status == 413
    assert request(gate, "POST", address, content_length="-1", **options).status == 413
    seen = len(gate._app.seen)
    answer = request(gate, "POST", address, chunks=[b"a" * 2**19] * 3, **options)
    assert answer.status == 413
    assert len(gate._app.seen) == seen
    assert request(gate, "POST", "/login", body=b"a" * 100_000, origin=ORIGIN).status == 413


def test_too_many_calls_are_too_many():
    gate = make_gate()
    gate._allowance = Allowance(clock=lambda: 0.0)
    options = {"cookie": cookie_of(gate), "origin": ORIGIN, "marimo_session_id": "s_1", "body": b"{}"}
    assert request(gate, "POST", "/explore/api/kernel/function_call", **options).status == 403  # no such session
    socket(gate, cookie=options["cookie"], origin=ORIGIN)
    statuses = [request(gate, "POST", "/explore/api/kernel/function_call", **options).status for _ in range(130)]
    assert statuses[:100] == [200] * 100
    assert statuses[-1] == 429


def test_a_long_address_is_said_to_be_long():
    gate = make_gate()
    answer = request(gate, "GET", f"/explore/?list={'a' * 9000}", cookie=cookie_of(gate))
    assert answer.status == 414
    assert "8,192 characters" in answer.text


def test_without_a_token_only_names_of_this_machine_are_answered():
    gate = make_gate(token=None, only_local=True)
    assert request(gate, "GET", "/").status == 200
    assert request(gate, "GET", "/", host="[::1]:8000").status == 200
    for host in ("evil.org", "127.0.0.1.evil.org:8000", "192.0.2.1:8000", ""):
        assert request(gate, "GET", "/", host=host).status == 421
        assert request(gate, "GET", "/explore/assets/a.js", host=host).status == 421
        assert socket(gate, host=host, origin=f"http://{host}")[0]["status"] == 421
    assert request(gate, "GET", "/health", host="10.0.0.1").body == b"ok\n"


def test_without_a_token_a_page_brings_a_cookie_and_a_socket_needs_it():
    gate = make_gate(token=None)
    assert socket(gate, origin=ORIGIN)[0]["status"] == 401
    cookie = request(gate, "GET", "/explore/").headers["set-cookie"].partition(";")[0]
    assert socket(gate, origin=ORIGIN, cookie=cookie)[0]["type"] == "websocket.accept"
    assert "set-cookie" not in request(gate, "GET", "/explore/", cookie=cookie).headers
    assert request(gate, "GET", "/login?next=/judge/").headers["location"] == "/judge/"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, 101),
        ({"cookie": ""}, 401),
        ({"origin": "http://evil.org"}, 403),
        ({"origin": ""}, 403),
        ({"query": ""}, 403),
        ({"query": "session_id=../x"}, 403),
        ({"path": "/explore/ws_sync"}, 404),
        ({"path": "/explore/terminal/ws"}, 404),
        ({"path": "/explore/"}, 404),
        ({"path": "/ws"}, 404),
    ],
)
def test_sockets(change, status):
    gate = make_gate()
    options = {"query": "session_id=s_1", "cookie": cookie_of(gate), "origin": ORIGIN} | change
    query = options.pop("query")
    sent = socket(gate, query, **{key: value for key, value in options.items() if value})
    if status == 101:
        assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send"]
        assert "headers" not in sent[0]
    else:
        assert sent[0]["status"] == status
        assert gate._app.seen == []
    assert gate.pages.count == 0


def test_a_server_that_can_only_close_closes():
    assert socket(make_gate(), extensions=False) == [{"type": "websocket.close", "code": 1008}]


def test_a_session_id_is_not_enough():
    gate = make_gate()
    assert socket(gate, cookie=cookie_of(gate), origin=ORIGIN)[0]["type"] == "websocket.accept"
    assert socket(gate, cookie=cookie_of(gate), origin=ORIGIN)[0]["status"] == 403
    assert socket(gate, "session_id=s_1&kiosk=true", cookie=cookie_of(gate), origin=ORIGIN)[0]["status"] == 403


def test_a_full_server_says_so():
    gate = make_gate(most_pages=2)
    gate.pages.opened("a")
    gate.pages.opened("b")
    answer = request(gate, "GET", "/explore/", cookie=cookie_of(gate))
    assert (answer.status, answer.headers["retry-after"]) == (503, "60")
    assert "2 pages are open" in answer.text
    assert socket(gate, cookie=cookie_of(gate), origin=ORIGIN)[0]["status"] == 503
    gate.pages.closed("a")
    assert request(gate, "GET", "/explore/", cookie=cookie_of(gate)).status == 200


def test_one_visitor_cannot_take_all_pages():
    gate = make_gate(most_pages_each=2)
    cookie = cookie_of(gate)
    visitor = gate._rules.visitors.visitor_of(cookie)
    gate.pages.opened(visitor)
    gate.pages.opened(visitor)
    assert socket(gate, cookie=cookie, origin=ORIGIN)[0]["status"] == 503
    assert socket(gate, "session_id=s_2", cookie=cookie_of(gate), origin=ORIGIN)[0]["type"] == "websocket.accept"


def test_a_start_that_fails_once_is_tried_again(caplog):
    gate = make_gate()
    cookie = cookie_of(gate)
    gate._app.failures = 1
    assert request(gate, "GET", "/explore/", cookie=cookie).status == 200
    gate._app.failures = 1
    sent = socket(gate, cookie=cookie, origin=ORIGIN)
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send"]
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "a page failed to start; trying once more",
        "a session failed to start; trying once more",
    ]
    gate._app.failures = 2
    with pytest.raises(SystemError):
        request(gate, "GET", "/explore/", cookie=cookie)


def test_health_and_readiness_say_nothing_else():
    gate = make_gate()
    assert request(gate, "GET", "/health").body == b"ok\n"
    assert request(gate, "HEAD", "/health").body == b""
    answer = request(gate, "GET", "/ready")
    assert (answer.status, answer.body) == (503, b"warming up\n")


def test_the_log_has_no_secrets(caplog):
    gate = make_gate()
    with caplog.at_level(logging.INFO):
        log_in(gate, "a-wrong-token-of-mine")
        cookie = log_in(gate).headers["set-cookie"].partition(";")[0]
        request(gate, "GET", "/explore/?query=TP53&access_token=abc", cookie=cookie)
        request(gate, "BR\nEW", f"/{'x' * 5000}\n", cookie=cookie)
    said = json.dumps([getattr(record, "request", record.getMessage()) for record in caplog.records])
    for secret in (TOKEN, "a-wrong-token", "TP53", "abc", cookie.partition("=")[2]):
        assert secret not in said
    assert {"method": "GET", "path": "/explore/", "status": 200}.items() <= caplog.records[-2].request.items()
    assert len(caplog.records[-1].request["path"]) == 300
    assert caplog.records[-1].request["method"] == "this method"


def test_logging_out_ends_the_cookie():
    gate = make_gate()
    answer = request(gate, "POST", "/logout", cookie=cookie_of(gate), origin=ORIGIN)
    assert answer.status == 303
    assert f"{gate._rules.visitors.cookie_name}=; Max-Age=0" in answer.headers["set-cookie"]
    assert request(gate, "GET", "/logout", cookie=cookie_of(gate)).status == 405


def test_a_body_that_never_arrives_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(gate, "BODY_SECONDS", 0.0)
    made = make_gate()

    async def nothing():
        await asyncio.Event().wait()

    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/login",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8000"), (b"origin", ORIGIN.encode())],
        "client": ("192.0.2.1", 1),
    }
    asyncio.run(made(scope, nothing, send))
    assert Answer(sent).status == 408


def test_pages_are_not_opened_without_end():
    made = make_gate()
    made._allowance = Allowance(clock=lambda: 0.0)
    cookie = cookie_of(made)
    found = [socket(made, f"session_id=s_{number}", cookie=cookie, origin=ORIGIN)[0] for number in range(13)]
    assert [message["type"] for message in found[:12]] == ["websocket.accept"] * 12
    assert found[12]["status"] == 429
