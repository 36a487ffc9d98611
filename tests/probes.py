"""Every address of a served catalog, and what each must answer to whom: for the tests and for the README's table."""

from __future__ import annotations

import http.client
import json
import re
import site
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from browser import REPOSITORY, TOKEN, Served
from starlette.routing import Mount, WebSocketRoute
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from explorer import landing

APPS = tuple(app.folder for app in landing.APPS)
# Who asks, and how. "other's session": logged in, and names the session of somebody else who is.
CONDITIONS = ("no login", "login", "wrong Origin", "cross-site", "other's session")
FOREIGN = "https://elsewhere.example"
CALLS: Mapping[str, object] = {
    "set_ui_element_value": {"objectIds": [], "values": []},
    "set_model_value": {"modelId": "x", "message": {"method": "update", "state": {}, "bufferPaths": []}, "buffers": []},
    "function_call": {"functionCallId": "1", "namespace": "none", "functionName": "none", "args": {}},
}
JUNK = (
    "/..",
    "/../etc/passwd",
    "/%2e%2e/etc/passwd",
    "//",
    "//etc/passwd",
    "//elsewhere.example/",
    "/\\",
    "/\\..\\x",
    "/%00",
    "/explore%00/",
    "/explore/%00",
    "/explore/..",
    "/explore/../judge/",
    "/explore/%2e%2e/",
    "/explore/%2e%2e%2f",
    "/explore//",
    "/explore/./",
    "/explore\\",
    "/explore/%5c..%5c",
    "/EXPLORE/",
    "/explore/explore/",
    "/explorer/",
    "/explore/assets/",
    "/explore/assets/../index.html",
    "/explore/assets/%2e%2e/index.html",
    "/explore/assets/%2e%2e%2f%2e%2e%2f_config.py",
    "/explore/index.html",
    "/explore/card.toml",
    "/explore/explore.py",
    "/explore/@file/",
    "/explore/@file/1",
    "/explore/@file/1-",
    "/explore/@file/1-x",
    "/explore/@file/0-empty",
    "/explore/@file/9-../../etc/passwd",
    "/explore/@file/9-%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "/explore/@file/-1-1-abcdefgh.txt",
    "/explore/@file/9-/etc/passwd",
    "/explore/public/x",
    "/explore/public/../explore.py",
    "/openapi.json",
    "/docs",
    "/redoc",
    "/explore/openapi.json",
    "/explore/api",
    "/explore/api/",
    "/explore/api/kernel/",
    "/explore/api/kernel/function_call/",
    "/explore/api/kernel/function_call/x",
    "/explore/api/kernel/../kernel/run",
    "/explore/api/kernel%2frun",
    "/explore/health/",
    "/explore/ws/",
    "/explore/ws%2f..",
    "/api/kernel/run",
    "/ws",
    "/sse",
    "/favicon.ico",
    "/robots.txt",
    "/.git/config",
    "/.env",
    "/card.toml",
    "/toy/",
    "/toy/card.toml",
    "/demo_data/",
    "/apps/explore.py",
    "/login/",
    "/login/x",
    "/health/x",
    "/ready%20",
    "/session%00",
    "/logout/",
    "/%F0%9F%91%BE",
    "/%ff%fe",
    "/%",
    "/%zz",
    "/" + "a" * 4000,
)


@dataclass(frozen=True, slots=True)
class Probe:
    """One address, how it is asked for, and what kind it is."""

    kind: str
    method: str
    path: str
    body: bytes = b""

    @property
    def is_socket(self) -> bool:
        return self.method == "socket"


# Status by condition. A kind that is not here does not exist: 401 without a login, 404 with one.
EXPECTED: Mapping[str, tuple[int, ...]] = {
    "health, readiness": (200, 200, 403, 403, 200),
    "whether logged in": (200, 204, 403, 403, 204),
    "login page": (200, 303, 403, 403, 303),
    "login, wrong token": (401, 401, 403, 403, 401),
    "logout": (401, 303, 403, 403, 303),
    "landing page": (303, 200, 403, 403, 200),
    "page of an app": (303, 200, 403, 403, 200),
    "page, no slash": (303, 308, 403, 403, 308),
    "static file": (401, 200, 403, 403, 200),
    "file that is gone": (401, 404, 403, 403, 404),
    "call of a page": (401, 200, 403, 403, 403),
    "socket of a page": (401, 101, 403, 403, 403),
    "other method, open address": (405, 405, 405, 405, 405),
    "other method": (401, 405, 405, 405, 405),
}
NOTHING = (401, 404, 404, 404, 404)
OPEN = ("/login", "/session", "/health", "/ready", *(f"/{app}/health" for app in APPS))
OTHERS_OF_MARIMO = "what marimo has besides"
SOCKETS = "its other sockets"
ODD = "odd addresses"


def expected(probe: Probe, condition: str) -> int:
    """Status that a probe must get."""
    return EXPECTED.get(probe.kind, NOTHING)[CONDITIONS.index(condition)]


def marimo_routes() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every path of marimo's own router with its methods; ``socket`` for a WebSocket."""
    from marimo._server.api.router import build_routes

    def walk(routes, above: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        for route in routes:
            path = above + getattr(route, "path", "")
            if isinstance(route, Mount):
                yield from walk(route.routes or [], path)
                if not route.routes:
                    yield f"{path}/nothing-like-this.js", ("GET",)
            elif isinstance(route, WebSocketRoute):
                yield path, ("socket",)
            else:
                yield re.sub(r"\{[^}]*\}", "x", path), tuple(sorted(route.methods or ("GET",)))

    yield from walk(build_routes(), "")


def probes(asset: str) -> list[Probe]:
    """Everything that is asked for, each address once a method.

    Parameters
    ----------
    asset
        Name of a static file that exists.
    """
    found: dict[tuple[str, str], Probe] = {}

    def add(kind: str, method: str, path: str, body: bytes = b"") -> None:
        found.setdefault((method, path), Probe(kind, method, path, body))

    for path in ("/health", "/ready", *(f"/{app}/health" for app in APPS)):
        add("health, readiness", "GET", path)
        add("health, readiness", "HEAD", path)
    add("whether logged in", "GET", "/session")
    add("login page", "GET", "/login")
    add("login, wrong token", "POST", "/login", b"token=wrong")
    add("logout", "POST", "/logout")
    add("landing page", "GET", "/")
    add("landing page", "HEAD", "/")
    for app in APPS:
        add("page of an app", "GET", f"/{app}/")
        add("page of an app", "HEAD", f"/{app}/")
        add("page, no slash", "GET", f"/{app}")
        add("static file", "GET", f"/{app}/assets/{asset}")
        add("static file", "HEAD", f"/{app}/assets/{asset}")
        add("static file", "GET", f"/{app}/favicon.ico")
        add("file that is gone", "GET", f"/{app}/assets/nothing-like-this.js")
        add("file that is gone", "GET", f"/{app}/@file/9-123-abcdefgh.txt")
        for call, body in CALLS.items():
            add("call of a page", "POST", f"/{app}/api/kernel/{call}", json.dumps(body).encode())
        add("socket of a page", "socket", f"/{app}/ws")
    mounted = [(f"/{app}{path}", methods) for app in APPS for path, methods in marimo_routes()]
    for path, methods in mounted:
        for method in methods:
            add(SOCKETS if method == "socket" else OTHERS_OF_MARIMO, method, path)
    ours = {path for _, path in found if EXPECTED.get(found[_, path].kind)}
    for path in sorted({path for path, _ in mounted} | ours):
        if path.endswith(("/ws", "/ws_sync")):
            add(OTHERS_OF_MARIMO, "GET", path)
            continue
        every = ("OPTIONS", "TRACE", "PUT", "DELETE", "PATCH", "POST", "PROPFIND")
        for method in every if path in ours else ("OPTIONS", "PUT"):
            kind = (
                "other method, open address" if path in OPEN else "other method" if path in ours else OTHERS_OF_MARIMO
            )
            add(kind, method, path)
    for path in JUNK:
        add(ODD, "GET", path)
        add(ODD, "POST", path)
        # A socket there would be one of marimo's, or nothing.
        if path.isascii() and "\\" not in path and "#" not in path:
            add(SOCKETS, "socket", path)
    return list(found.values())


@dataclass
class Asker:
    """Somebody who asks a server, as an attacker would, and looks closely at what comes back."""

    served: Served
    hidden: tuple[str, ...] = ()
    problems: list[str] = field(default_factory=list)
    n_answers: int = 0

    def __post_init__(self) -> None:
        self._connection: http.client.HTTPConnection | None = None
        self._good_until = 0.0

    @property
    def origin(self) -> str:
        parts = urlsplit(self.served.url)
        return f"{parts.scheme}://{parts.netloc}"

    def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Send one request as it is, on a connection that stays open; nothing is followed."""
        if self._connection is None or time.monotonic() > self._good_until:
            self.close()
            self._connection = http.client.HTTPConnection("127.0.0.1", self.served.port, timeout=20)
        try:
            self._connection.request(method, path, body=body, headers=dict(headers or {}))
            answer = self._connection.getresponse()
            content = answer.read()
        except BaseException:
            self.close()
            raise
        if answer.will_close:
            self.close()
        # The server closes what is idle for five seconds.
        self._good_until = time.monotonic() + 2
        self.n_answers += 1
        self.look_at(f"{method} {path[:60]}", answer.headers, content)
        return answer.status, answer.headers, content

    def close(self) -> None:
        """Close the connection that stays open."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def look_at(self, what: str, headers: http.client.HTTPMessage, content: bytes) -> None:
        """Note what no answer may have or lack."""
        policy = headers.get("content-security-policy", "")
        wanted = {
            "x-content-type-options": "nosniff",
            "referrer-policy": "same-origin",
            "x-frame-options": "DENY",
            "cross-origin-resource-policy": "same-origin",
            "cross-origin-opener-policy": "same-origin",
        }
        wrong = [name for name, value in wanted.items() if headers.get_all(name) != [value]]
        wrong += (
            [] if "frame-ancestors 'none'" in policy and "default-src 'none'" in policy else [policy or "no policy"]
        )
        wrong += (
            [policy]
            if re.search(r"script-src[^;]*('unsafe-inline'|strict-dynamic|\*|data:|blob:|https?:)", policy)
            else []
        )
        odd = ("server", "access-control-allow-origin", "access-control-allow-credentials", "x-powered-by")
        wrong += [name for name in odd if name in headers]
        wrong += [cookie for cookie in headers.get_all("set-cookie", []) if not self.is_good_cookie(cookie)]
        if headers.get("content-type", "").startswith("text/html") and headers.get("cache-control") != "no-store":
            wrong.append("kept by the browser")
        self.problems += [f"{what}: {problem}" for problem in wrong]
        # Static files are marimo's own, the same everywhere.
        if "immutable" not in headers.get("cache-control", ""):
            self.look_for_leaks(what, str(headers).encode() + content)

    def is_good_cookie(self, cookie: str) -> bool:
        """Whether a cookie is ours and kept from scripts and from other sites."""
        parts = [part.strip() for part in cookie.split(";")]
        return bool(re.match(r"explorer-[0-9a-f]{8}=", parts[0])) and {"HttpOnly", "SameSite=Strict"} <= set(parts)

    def look_for_leaks(self, what: str, content: bytes) -> None:
        """Note the server's own places and secrets in what it sent."""
        text = content.decode("utf-8", errors="replace").replace("\\/", "/").replace("&#47;", "/")
        self.problems += [f"{what}: says {secret!r}" for secret in (*self.hidden, TOKEN) if secret in text]

    def open_socket(self, path: str, cookie: str = "", *, origin: str | None = "", **headers: str) -> ClientConnection:
        """Open a socket, with our own origin by default and with None without one."""
        given = {"Cookie": cookie, **headers} if cookie else headers
        return connect(
            f"ws://127.0.0.1:{self.served.port}{urlsplit(self.served.url).path}{path}",
            origin=self.origin if origin == "" else origin,
            additional_headers=given,
            max_size=None,
            max_queue=None,
            ping_interval=None,
            open_timeout=60,
            close_timeout=2,
            proxy=None,
        )

    def socket_status(self, path: str, cookie: str = "", *, origin: str | None = "", **headers: str) -> int:
        """Status with which a socket is refused, or 101."""
        self.n_answers += 1
        try:
            with self.open_socket(path, cookie, origin=origin, **headers):
                return 101
        except InvalidStatus as error:
            answer = error.response
            if answer.headers.get("server"):
                self.problems.append(f"socket {path}: names the server")
            self.look_for_leaks(f"socket {path}", str(answer.headers).encode() + (answer.body or b""))
            return answer.status_code

    def frames(self, path: str, cookie: str, *, seconds: float = 30) -> list[str]:
        """Every message of a session until its first run is through."""
        found: list[str] = []
        try:
            with self.open_socket(path, cookie) as socket:
                while not (found and '"op": "completed-run"' in found[-1][:40]):
                    message = socket.recv(timeout=seconds)
                    found.append(message if isinstance(message, str) else message.decode())
        except (ConnectionClosed, TimeoutError) as error:
            self.problems.append(f"socket {path}: {error!r}")
        for text in found:
            self.look_for_leaks(f"frame of {path}: {text[:60]}", text.encode())
        return found


def places(catalog: Path) -> tuple[str, ...]:
    """Absolute folders that no visitor may learn of."""
    found = [str(REPOSITORY), str(catalog.resolve()), sys.prefix, *site.getsitepackages(), str(Path.home() / "")]
    return tuple(dict.fromkeys([place for place in found if len(place) > 3] + [f"{Path.home()}/"]))


@dataclass(frozen=True, slots=True)
class Finding:
    """One probe under one condition, and what came of it."""

    probe: Probe
    condition: str
    status: int

    @property
    def is_expected(self) -> bool:
        return self.status == expected(self.probe, self.condition)


def probe_all(asker: Asker, cookies: tuple[str, str]) -> list[Finding]:
    """Send every probe under every condition.

    Parameters
    ----------
    asker
        Who asks.
    cookies
        Of two visitors. Each holds a page of each app open meanwhile.
    """
    mine, theirs = cookies
    found = []
    for app in APPS:
        own, other = f"s_own{app}", f"s_other{app}"
        with asker.open_socket(f"/{app}/ws?session_id={own}", mine) as one:
            one.recv(timeout=20)
            with asker.open_socket(f"/{app}/ws?session_id={other}", theirs) as two:
                two.recv(timeout=20)
                # Its own addresses, and with the first app those that are no app's.
                others = {"", *APPS} - {app}
                todo = [
                    probe
                    for probe in probes(an_asset())
                    if (owner := probe.path.split("/")[1]) == app or (app == APPS[0] and owner not in others - {""})
                ]
                for probe in todo:
                    for condition in CONDITIONS:
                        status = _send(asker, probe, condition, cookie=mine, session=(own, other))
                        found.append(Finding(probe, condition, status))
    return found


def an_asset() -> str:
    """Name of a static file that marimo's page loads."""
    import marimo

    folder = Path(marimo.__file__).parent / "_static" / "assets"
    return min((path for path in folder.glob("*.js")), key=lambda path: path.stat().st_size).name


def _send(asker: Asker, probe: Probe, condition: str, *, cookie: str, session: tuple[str, str]) -> int:
    headers = {} if condition == "no login" else {"Cookie": cookie}
    origin = FOREIGN if condition == "wrong Origin" else asker.origin
    if condition == "cross-site":
        headers |= {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    named = session[condition == "other's session"]
    if probe.is_socket:
        # A second socket for a session of one's own takes the page over, so this one names a new one.
        wanted = named if condition == "other's session" else f"s_{abs(hash((probe.path, condition))):x}"[:40]
        return asker.socket_status(f"{probe.path}?session_id={wanted}", origin=origin, **headers)
    headers |= {"Origin": origin, "Marimo-Session-Id": named, "Content-Type": "application/json"}
    return asker.ask(probe.method, probe.path, headers, probe.body or None)[0]


def probe_table(found: list[Finding]) -> str:
    """Write the findings as a table of Markdown: kinds of addresses, their number, statuses by condition."""
    kinds = list(dict.fromkeys(finding.probe.kind for finding in found))
    order = [kind for kind in (*EXPECTED, OTHERS_OF_MARIMO, SOCKETS, ODD) if kind in kinds]
    lines = [f"| asked for | addresses | {' | '.join(CONDITIONS)} |", "|---" * (len(CONDITIONS) + 2) + "|"]
    # Kinds that got the same answers share a row.
    rows: dict[tuple[str, ...], tuple[list[str], set[Probe]]] = {}
    for kind in order:
        of_kind = [finding for finding in found if finding.probe.kind == kind]
        statuses = [{item.status for item in of_kind if item.condition == condition} for condition in CONDITIONS]
        row = rows.setdefault(tuple(", ".join(map(str, sorted(each))) for each in statuses), ([], set()))
        row[0].append(kind)
        row[1].update(item.probe for item in of_kind)
    for cells, (names, addresses) in rows.items():
        lines.append(f"| {'; '.join(names)} | {len(addresses):,} | {' | '.join(cells)} |")
    unexpected = sum(not finding.is_expected for finding in found)
    lines.append(f"\n{len(found):,} requests, {unexpected} unexpected answers.")
    return "\n".join(lines) + "\n"
