"""The gate before the apps: every request and every socket passes it, or gets one sentence."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote

from explorer.access import (
    COOKIE_SECONDS,
    LOOPBACK_NAMES,
    Address,
    FailedLogins,
    Visitors,
    client_address,
    safe_target,
)
from explorer.crowd import CALLS_FOR_A_PAGE, Allowance, OpenPages
from explorer.digits import counted
from explorer.headers import secured, with_nonce
from explorer.landing import login_page, message_page
from explorer.routes import Route, find_route, session_of, without_reserved

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_ADDRESS_BYTES = 8_192
MOST_BODY_BYTES = 1_048_576
BODY_SECONDS = 30.0
# A login carries the address that was asked for, in which every sign may have become three.
MOST_LOGIN_BYTES = 4 * MOST_ADDRESS_BYTES

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rules:
    """How a gate decides.

    Attributes
    ----------
    address
        Where visitors reach the server.
    visitors
        Who may come in.
    apps
        Folders of the apps.
    hidden
        Absolute paths that no page may show, the longest first.
    trusted_proxies
        Addresses of proxies whose X-Forwarded-For is believed.
    only_local
        Whether only names of this machine are answered: no token guards this server, so a page elsewhere that
        makes its own name lead here (DNS rebinding), or a proxy, must not reach it.
    most_pages, most_pages_each
        Pages open at the same time: of everybody, and of one visitor.
    """

    address: Address
    visitors: Visitors
    apps: tuple[str, ...]
    hidden: tuple[str, ...] = ()
    trusted_proxies: frozenset[str] = frozenset()
    only_local: bool = False
    most_pages: int = 200
    most_pages_each: int = 20


class _Refused(Exception):
    """A request that goes no further: its status, and one sentence."""

    def __init__(self, status: int, heading: str, sentence: str, **headers: str) -> None:
        super().__init__(sentence)
        self.status, self.heading, self.sentence, self.headers = status, heading, sentence, headers


class _AppFailedError(Exception):
    """An app that answered with an error of its own."""


@dataclass(eq=False)
class _Visit:
    """One request on its way."""

    scope: Scope
    receive: Receive
    send: Send
    route: Route | None = None
    visitor: str = ""
    client: str = ""
    cookie: str = ""
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    status: int = 0
    sent: int = 0

    def header(self, name: bytes) -> str:
        values = [value for key, value in self.scope["headers"] if key == name]
        return b", ".join(values).decode("latin-1")


class Gate:
    """ASGI application that guards another one.

    Parameters
    ----------
    app
        What is guarded; it gets paths below the prefix, without cookies.
    own
        What answers ``landing`` and ``ready``: called in a thread with the nonce, gives status and text.
    rules
        How it decides.
    """

    def __init__(self, app: App, own: Mapping[str, Callable[[str], tuple[int, str]]], rules: Rules) -> None:
        self._app, self._own, self._rules = app, own, rules
        self.pages = OpenPages()
        self._failures = FailedLogins()
        self._allowance = Allowance()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or socket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        visit = _Visit(scope, receive, send)
        began = time.monotonic()
        try:
            await (self._answer(visit) if scope["type"] == "http" else self._open_socket(visit))
        finally:
            _note(visit, time.monotonic() - began)

    # ---- requests

    async def _answer(self, visit: _Visit) -> None:
        try:
            await self._route(visit)
        except _Refused as refused:
            text = message_page(refused.heading, refused.sentence, prefix=self._rules.address.prefix, nonce=visit.nonce)
            await self._reply(visit, refused.status, text, **refused.headers)

    async def _route(self, visit: _Visit) -> None:
        self._identify(visit)
        method, route = visit.scope["method"], visit.route
        if route is None or not route.is_open:
            self._require_visitor(visit)
        if route is None or route.part == "ws":
            raise _Refused(404, "Not found", "There is nothing at this address.")
        if not route.takes(method):
            raise _Refused(
                405, "Not allowed", f"This address does not take {_word(method)}.", allow=", ".join(route.methods)
            )
        self._check_origin(visit, is_write=method not in ("GET", "HEAD"))
        if route.part == "folder":
            query = visit.scope["query_string"].decode("latin-1")
            await self._redirect(visit, f"{visit.scope['path']}/{'?' if query else ''}{query}", 308)
        elif route.part == "login":
            await (self._log_in(visit) if method == "POST" else self._show_login(visit))
        elif route.part == "logout":
            await self._redirect(visit, f"{self._rules.address.prefix}/", cookie=self._cookie("", seconds=0))
        elif route.part == "session":
            await self._reply(visit, 204 if visit.visitor else 200, "")
        elif route.part == "health":
            await self._reply(visit, 200, "ok\n", kind="text/plain")
        elif route.part in ("landing", "ready"):
            status, text = await asyncio.to_thread(self._own[route.part], visit.nonce)
            await self._reply(visit, status, text, kind="text/html" if route.part == "landing" else "text/plain")
        else:
            await self._pass_on(visit, route)

    def _identify(self, visit: _Visit) -> None:
        """Find out who asks for what, and refuse what no address of ours would send."""
        scope, rules = visit.scope, self._rules
        peer = (scope.get("client") or ("", 0))[0]
        visit.client = client_address(peer, visit.header(b"x-forwarded-for"), trusted=rules.trusted_proxies)
        visit.route = find_route(scope["path"], prefix=rules.address.prefix, apps=rules.apps)
        visit.visitor = rules.visitors.visitor_of(visit.header(b"cookie"))
        is_probe = visit.route is not None and visit.route.part in ("health", "ready")
        if rules.only_local and not is_probe:
            name = re.sub(r":\d+$", "", visit.header(b"host").lower())
            if name not in LOOPBACK_NAMES:
                raise _Refused(
                    421,
                    "Not here",
                    "This server answers to localhost alone. To share it under another name, start it with "
                    "--base-url and a token.",
                )
        most = MOST_LOGIN_BYTES if visit.route is not None and visit.route.part == "login" else MOST_ADDRESS_BYTES
        if len(scope.get("raw_path") or b"") + len(scope.get("query_string") or b"") > most:
            raise _Refused(
                414,
                "The address is too long",
                f"It has more than {most:,} characters: shorten the list in it, and paste the list into "
                "the page instead.",
            )

    def _require_visitor(self, visit: _Visit) -> None:
        if visit.visitor:
            return
        if self._rules.visitors.token_digest is None:
            # Nobody needs a token; the cookie only tells visitors apart, so that none gets at another's session.
            if visit.scope["type"] == "http" and visit.route is not None and visit.route.part in ("landing", "page"):
                visit.cookie = self._new_cookie(visit)
            elif visit.route is None or visit.route.part in ("call", "ws", "file"):
                raise _Refused(401, "Not logged in", "Open the page anew: it has no cookie of this server.")
            return
        wants_page = visit.route is not None and visit.route.part in ("landing", "page", "folder")
        if wants_page and visit.scope["method"] in ("GET", "HEAD"):
            below = visit.scope["path"][len(self._rules.address.prefix) :]
            query = visit.scope["query_string"].decode("latin-1")
            target = quote(f"{below.rstrip('/')}/{'?' if query else ''}{query}", safe="")
            raise _Refused(303, "Log in", "Log in first.", location=f"{self._rules.address.prefix}/login?next={target}")
        raise _Refused(401, "Not logged in", "Log in first, or open the page anew.")

    def _check_origin(self, visit: _Visit, *, is_write: bool) -> None:
        """Refuse what another site sends; browsers name the origin of every write and every socket."""
        origin, site = visit.header(b"origin"), visit.header(b"sec-fetch-site")
        foreign = bool(origin) and not self._rules.address.is_ours(origin, visit.header(b"host"))
        embeds = site in ("cross-site", "same-site") and visit.header(b"sec-fetch-mode") != "navigate"
        if foreign or embeds or (is_write and not origin):
            raise _Refused(403, "Refused", "This request does not come from a page of this server.")

    # ---- login

    async def _show_login(self, visit: _Visit) -> None:
        asked = parse_qs(visit.scope["query_string"].decode("latin-1")).get("next", ["/"])[0]
        target = safe_target(asked, self._rules.apps)
        if visit.visitor or self._rules.visitors.token_digest is None:
            await self._redirect(visit, f"{self._rules.address.prefix}{target}")
            return
        await self._reply(visit, 200, self._login_text(visit, target))

    def _login_text(self, visit: _Visit, target: str, problem: str = "") -> str:
        return login_page(target, problem, prefix=self._rules.address.prefix, nonce=visit.nonce)

    async def _log_in(self, visit: _Visit) -> None:
        body = await _read_body(visit, MOST_LOGIN_BYTES)
        try:
            form = parse_qs(body.decode("utf-8", errors="replace"), keep_blank_values=True, max_num_fields=10)
        except ValueError:
            raise _Refused(400, "Not a login", "The form has too many fields.") from None
        target = safe_target(form.get("next", ["/"])[0], self._rules.apps)
        wait = self._failures.wait_seconds(visit.client)
        if wait > 0:
            problem = f"Too many wrong tokens from your address: try again in {counted(math.ceil(wait), 'second')}."
            text = self._login_text(visit, target, problem)
            await self._reply(visit, 429, text, retry_after=f"{wait:.0f}")
        elif self._rules.visitors.knows(form.get("token", [""])[0].strip()):
            self._failures.forget(visit.client)
            await self._redirect(visit, f"{self._rules.address.prefix}{target}", cookie=self._new_cookie(visit))
        else:
            self._failures.note(visit.client)
            _log.warning("wrong token from %s", visit.client)
            await self._reply(visit, 401, self._login_text(visit, target, "That is not the token of this server."))

    def _new_cookie(self, visit: _Visit) -> str:
        value = self._rules.visitors.new_cookie()
        visit.visitor = value.partition(".")[0]
        return self._cookie(value, seconds=COOKIE_SECONDS)

    def _cookie(self, value: str, *, seconds: int) -> str:
        secure = "; Secure" if self._rules.address.is_encrypted else ""
        path = f"{self._rules.address.prefix}/"
        name = self._rules.visitors.cookie_name
        return f"{name}={value}; Max-Age={seconds}; Path={path}; HttpOnly; SameSite=Strict{secure}"

    # ---- apps

    async def _pass_on(self, visit: _Visit, route: Route) -> None:
        if route.part == "page" and self.pages.count >= self._rules.most_pages:
            raise _Refused(
                503,
                "The server is full",
                f"{self.pages.count} pages are open, and more would make it slow for all: try again in a minute.",
                retry_after="60",
            )
        if route.part == "call":
            if not self.pages.owns(visit.header(b"marimo-session-id"), visit.visitor):
                raise _Refused(403, "Refused", "This session has ended, or is somebody else's.")
            if not self._allowance.takes(visit.visitor):
                raise _Refused(429, "Too fast", "Too many messages: wait a moment.", retry_after="2")
        if route.part == "page":
            await self._show_page(visit)
            return
        # A body is taken as a whole before the app sees any of it: half a message is none.
        waiting: list[Message] = [{"type": "http.request", "body": await _read_body(visit, MOST_BODY_BYTES)}]
        begun: Message | None = None
        is_whole = False

        async def receive() -> Message:
            return waiting.pop() if waiting else await visit.receive()

        async def send(message: Message) -> None:
            # An answer begins with its first bytes: until they are there it can still become another one.
            nonlocal begun, is_whole
            if message["type"] == "http.response.start":
                if message["status"] >= 500:
                    raise _AppFailedError
                begun = message
                return
            if begun is not None:
                visit.status = begun["status"]
                headers = secured(begun.get("headers", []), route.part, nonce=visit.nonce, status=visit.status)
                await visit.send({**begun, "headers": headers})
                begun = None
            visit.sent += len(message.get("body", b""))
            await visit.send(message)
            is_whole = not message.get("more_body")

        try:
            await self._app(self._inner_scope(visit), receive, send)
        except Exception as error:
            if is_whole:
                return  # marimo answers what it can't read, and raises what it was nevertheless
            if visit.status:
                raise
            # What was sent made no sense, or names what is gone: a page of ours does neither.
            _log.info("refused by the app: %s %s: %r", visit.scope["method"], visit.scope["path"][:300], error)
            status = 404 if route.part == "file" else 400
            raise _Refused(status, "Not understood", "There is no such file or session any more.") from None

    async def _show_page(self, visit: _Visit) -> None:
        """Show the page of an app: marimo's template, to which neither the visitor nor the data has a word to add."""
        scope = {**self._inner_scope(visit), "query_string": b"", "method": "GET"}
        answer: dict[str, Any] = {"status": 500, "body": b""}

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer["status"] = message["status"]
            else:
                answer["body"] += message.get("body", b"")

        try:
            await self._app(scope, _limited(visit, MOST_BODY_BYTES), collect)
        except SystemError:
            # Python's parser is not always safe in several threads at once; the second try finds it free.
            _log.exception("a page failed to start; trying once more")
            answer.update(status=500, body=b"")
            await self._app(scope, _limited(visit, MOST_BODY_BYTES), collect)
        if answer["status"] != 200:
            raise _Refused(502, "The page did not start", "Something went wrong on the server: try again.")
        text = with_nonce(answer["body"].decode(), nonce=visit.nonce, hidden=self._rules.hidden)
        await self._reply(visit, 200, text)

    def _inner_scope(self, visit: _Visit) -> Scope:
        prefix = self._rules.address.prefix
        path = visit.scope["path"][len(prefix) :]
        headers = [
            (name, value)
            for name, value in visit.scope["headers"]
            if name not in (b"cookie", b"if-none-match", b"authorization") and not name.startswith(b"x-forwarded")
        ]
        return {**visit.scope, "path": path, "raw_path": quote(path).encode(), "root_path": "", "headers": headers}

    # ---- sockets

    async def _open_socket(self, visit: _Visit) -> None:
        query = visit.scope["query_string"].decode("latin-1")
        session = session_of(query)
        try:
            self._identify(visit)
            self._require_visitor(visit)
            if visit.route is None or visit.route.part != "ws":
                raise _Refused(404, "Not found", "There is no socket at this address.")
            self._check_origin(visit, is_write=True)
            if not self._allowance.takes(visit.visitor, CALLS_FOR_A_PAGE):
                raise _Refused(429, "Too fast", "Too many pages at once: wait a moment.")
            if not session or not self.pages.claims(session, visit.visitor):
                raise _Refused(403, "Refused", "This session is somebody else's.")
            each = self.pages.by_visitor.get(visit.visitor, 0)
            if self.pages.count >= self._rules.most_pages or each >= self._rules.most_pages_each:
                raise _Refused(503, "The server is full", "Too many pages are open.")
        except _Refused as refused:
            visit.status = refused.status
            await self._refuse_socket(visit)
            return
        scope = {**self._inner_scope(visit), "query_string": without_reserved(query).encode()}
        self.pages.opened(visit.visitor)
        visit.status = 101
        try:
            await self._run_socket(visit, scope)
        finally:
            self.pages.closed(visit.visitor)

    async def _run_socket(self, visit: _Visit, scope: Scope) -> None:
        accepted, sent, closing = False, 0, None

        async def send(message: Message) -> None:
            nonlocal accepted, sent, closing
            if message["type"] == "websocket.accept":
                if accepted:
                    return
                accepted = True
                message = {key: value for key, value in message.items() if key != "headers"}
            elif message["type"] == "websocket.send":
                sent += 1
                visit.sent += len(message.get("text") or message.get("bytes") or b"")
            elif not sent:
                # Nothing was shown yet: the line stays open until it is clear whether a second try is needed.
                closing = message
                return
            await visit.send(message)

        try:
            await self._app(scope, visit.receive, send)
        except SystemError:
            # See `_show_page`. Nothing was shown yet, so the visitor does not notice the second try.
            if sent:
                raise
            _log.exception("a session failed to start; trying once more")
            closing = None
            connect: list[Message] = [{"type": "websocket.connect"}]

            async def receive() -> Message:
                return connect.pop() if connect else await visit.receive()

            await self._app(scope, receive, send)
        if closing is not None:
            await visit.send(closing)

    async def _refuse_socket(self, visit: _Visit) -> None:
        if "websocket.http.response" not in visit.scope.get("extensions", {}):
            await visit.send({"type": "websocket.close", "code": 1008})
            return
        headers = secured([], None, nonce=visit.nonce, status=visit.status)
        await visit.send({"type": "websocket.http.response.start", "status": visit.status, "headers": headers})
        await visit.send({"type": "websocket.http.response.body", "body": b""})

    # ---- answers of our own

    async def _redirect(self, visit: _Visit, location: str, status: int = 303, *, cookie: str = "") -> None:
        visit.cookie = cookie or visit.cookie
        # A header holds bytes: what a browser may not see as a path is quoted.
        await self._reply(visit, status, "", location=quote(location, safe="/?&=%+~._-:@!$'()*,;"))

    async def _reply(self, visit: _Visit, status: int, text: str, *, kind: str = "text/html", **headers: str) -> None:
        visit.status = status
        body = text.encode()
        named = [(key.replace("_", "-").encode(), value.encode("latin-1")) for key, value in headers.items()]
        if status != 204:
            named += [
                (b"content-type", f"{kind}; charset=utf-8".encode()),
                (b"content-length", str(len(body)).encode()),
            ]
        part = visit.route.part if visit.route is not None and status == 200 else None
        every = secured(named, part, nonce=visit.nonce, status=status)
        if visit.cookie:
            every.append((b"set-cookie", visit.cookie.encode("latin-1")))
        await visit.send({"type": "http.response.start", "status": status, "headers": every})
        is_head = visit.scope["method"] == "HEAD"
        visit.sent += 0 if is_head else len(body)
        await visit.send({"type": "http.response.body", "body": b"" if is_head else body})


def _limited(visit: _Visit, most: int) -> Receive:
    """Receive a body up to a size; what says or turns out to be larger ends the request."""
    announced = visit.header(b"content-length")
    if announced and not (announced.isascii() and announced.isdecimal() and int(announced) <= most):
        raise _too_large(most)
    received = 0

    async def receive() -> Message:
        nonlocal received
        message = await visit.receive()
        received += len(message.get("body", b""))
        if received > most:
            # Mid-way there is no answering any more: the app sees a client that left.
            return {"type": "http.disconnect"}
        return message

    return receive


async def _read_body(visit: _Visit, most: int) -> bytes:
    receive, body = _limited(visit, most), b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _too_large(most)
                body += bytes(message.get("body", b""))
                if not message.get("more_body"):
                    return body
    except TimeoutError:
        raise _Refused(408, "Too slow", f"The message did not arrive within {BODY_SECONDS:.0f} seconds.") from None


def _too_large(most: int) -> _Refused:
    return _Refused(413, "Too large", f"A message may have {most:,} bytes at the most.")


def _word(method: str) -> str:
    return method if re.fullmatch(r"[A-Z]{1,16}", method) else "this method"


def _note(visit: _Visit, seconds: float) -> None:
    # Neither query (it names genes) nor cookie nor body: a log is read by more people than a map.
    scope, access = visit.scope, logging.getLogger("explorer.access")
    access.info(
        "request",
        extra={
            "request": {
                "client": visit.client,
                "visitor": visit.visitor[:8],
                "method": "WS" if scope["type"] == "websocket" else _word(scope["method"]),
                "path": scope["path"][:300],
                "status": visit.status,
                "bytes": visit.sent,
                "ms": round(1000 * seconds, 1),
            }
        },
    )


def hidden_paths(folders: Sequence[str]) -> tuple[str, ...]:
    """Order paths for `explorer.headers.with_nonce`: the longest first, each once."""
    return tuple(sorted(dict.fromkeys(folders), key=len, reverse=True))
