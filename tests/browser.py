"""Helpers for tests in a real browser: serve a notebook or a catalog, open a page, record what must not happen.

Wait for states (``expect(locator)``, ``page.wait_for_function``), never for fixed times.
"""

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request, WebSocket

REPOSITORY = Path(__file__).resolve().parent.parent
CHROMIUM = Path(os.environ.get("EXPLORER_CHROMIUM", "/usr/bin/chromium"))
CHROMIUM_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # No name and no address but this machine's resolves.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
START_SECONDS = 60
STOP_SECONDS = 10
LOCAL_HOSTS = {"127.0.0.1", "localhost", "[::1]"}
TOKEN = "a-token-that-only-tests-know"


@dataclass(frozen=True)
class Visit:
    """A page in a browser and what happened on it, each list filled as it happens.

    Attributes
    ----------
    page
        The page.
    page_errors, console_errors
        Uncaught exceptions, and what was logged as an error.
    blocked
        Addresses outside this machine that were asked for.
    received, posted
        Sizes of WebSocket messages to the page and of request bodies from it, in bytes.
    """

    page: "Page"
    page_errors: list[str] = field(default_factory=list)
    console_errors: list[str] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    received: list[int] = field(default_factory=list)
    posted: list[int] = field(default_factory=list)

    def problems(self) -> list[str]:
        """List everything that must not happen on a good page."""
        return [*self.page_errors, *self.console_errors, *self.blocked]

    def forget(self) -> None:
        """Empty all lists, before the page is used for something else."""
        for happened in (self.page_errors, self.console_errors, self.blocked, self.received, self.posted):
            happened.clear()


def missing_browser() -> str:
    """Why tests in a browser cannot run here; empty when they can."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed: pip install playwright"
    if not CHROMIUM.exists():
        return f"no chromium at {CHROMIUM}: install it, or name one with EXPLORER_CHROMIUM"
    return ""


@contextlib.contextmanager
def serve_notebook(
    path: Path | str,
    *args: str,
    env: Mapping[str, str] | None = None,
    mode: Literal["run", "edit"] = "run",
    session_seconds: int | None = None,
) -> Iterator[str]:
    """Serve a marimo notebook (or a folder of them) and yield its address.

    Parameters
    ----------
    path
        The notebook.
    *args
        What the notebook reads through ``mo.cli_args()``.
    env
        Added to the environment of the server.
    mode
        ``"run"`` for the app, ``"edit"`` for the editor.
    session_seconds
        How long a session lives on after its page is gone; marimo's own two minutes by default.

    Raises
    ------
    RuntimeError
        When the server stops or does not answer; the message ends with its output.
    """
    port = free_port()
    command = [sys.executable, "-m", "marimo", mode, str(path), "--headless", "--no-token"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    command += ["--session-ttl", str(session_seconds)] if session_seconds is not None else []
    command += ["--", *args] if args else []
    with _running(command, f"http://127.0.0.1:{port}", env=env or {}) as served:
        yield served.url


@dataclass(frozen=True)
class Served:
    """A server that runs.

    Attributes
    ----------
    url
        Where it is, without a slash at the end.
    port
        Where it listens.
    """

    url: str
    port: int
    process: "subprocess.Popen[bytes]"
    output: IO[str]

    def log(self) -> str:
        """Read all that it has written."""
        self.output.flush()
        self.output.seek(0)
        return self.output.read()


@contextlib.contextmanager
def serve_catalog(
    path: Path | str,
    *args: str,
    token: str | None = TOKEN,
    base_url: str | None = None,
    port: int | None = None,
    env: Mapping[str, str] | None = None,
    code: str = "from explorer.cli import main; sys.exit(main())",
) -> Iterator[Served]:
    """Serve a catalog as a lab would, with ``explorer serve``.

    Parameters
    ----------
    path
        The catalog.
    *args
        Further options.
    token
        What visitors must know; None for nothing.
    base_url
        Where visitors reach it.
    port
        Where it listens; any that is free by default.
    env
        Added to the environment of the server.
    code
        What it runs; something else to change the program before it starts.

    Raises
    ------
    RuntimeError
        When the server stops or is not ready; the message ends with its output.
    """
    port = free_port() if port is None else port
    command = [sys.executable, "-c", f"import sys; {code}", "serve", str(path), "--port", str(port), *args]
    command += ["--base-url", base_url] if base_url else []
    given = {} if token is None else {"EXPLORER_TOKEN": token}
    prefix = urlsplit(base_url or "").path.rstrip("/")
    with _running(command, f"http://127.0.0.1:{port}{prefix}", env={**given, **(env or {})}, probe="/ready") as served:
        yield served


def log_in(page: "Page", url: str, *, token: str = TOKEN) -> None:
    """Open a page that asks for a token, and give it."""
    page.goto(url)
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Enter").click()
    page.wait_for_url(lambda address: "/login" not in address)


def cookie_of(served: Served, *, token: str = TOKEN) -> str:
    """Log in without a browser; what a Cookie header then says.

    Raises
    ------
    RuntimeError
        When the token is refused.
    """
    form = urllib.parse.urlencode({"token": token}).encode()
    parts = urlsplit(served.url)
    request = urllib.request.Request(
        f"{served.url}/login", data=form, headers={"Origin": f"{parts.scheme}://{parts.netloc}"}
    )

    class _Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    try:
        answer = urllib.request.build_opener(_Stay).open(request, timeout=10)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        cookie = answer.headers.get("set-cookie")
        if cookie is None:
            message = f"no cookie for this token: {answer.status}"
            raise RuntimeError(message)
        return cookie.partition(";")[0]


@contextlib.contextmanager
def _running(command: list[str], url: str, *, env: Mapping[str, str], probe: str = "/health") -> Iterator[Served]:
    """Run a server, wait until it answers, and stop it with all that it started."""
    search_path = os.pathsep.join(part for part in (str(REPOSITORY), os.environ.get("PYTHONPATH")) if part)
    inherited = {name: value for name, value in os.environ.items() if name != "EXPLORER_TOKEN"}
    with tempfile.TemporaryFile(mode="w+", encoding="utf-8", errors="replace") as log:
        # Its own process group, so that the kernels it starts can be stopped with it.
        server = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env={**inherited, "PYTHONPATH": search_path, **env},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            if not _answers(f"{url}{probe}", server):
                log.seek(0)
                message = f"expected a server at {url}, got: {log.read()[-2000:]}"
                raise RuntimeError(message)
            yield Served(url, int(urlsplit(url).port or 0), server, log)
        finally:
            _stop_group(server)


@contextlib.contextmanager
def start_browser() -> Iterator["Browser"]:
    """Start a browser for several calls of `open_page`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(CHROMIUM_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def open_page(
    url: str,
    *,
    width: int = 1280,
    height: int = 800,
    dark: bool = False,
    scale: float = 1,
    touch: bool = False,
    browser: "Browser | None" = None,
) -> Iterator[Visit]:
    """Open a page in headless Chromium; requests that leave this machine are blocked and recorded.

    Parameters
    ----------
    url
        What to open.
    width, height
        Size of the window, in CSS pixels.
    dark
        Whether the browser prefers a dark theme.
    scale
        Device pixels for one CSS pixel.
    touch
        Whether there is a touch screen.
    browser
        A running browser; by default one is started for this page. Needed while another one runs: Playwright
        can be started once only.
    """
    running = start_browser() if browser is None else contextlib.nullcontext(browser)
    with running as chromium:
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            device_scale_factor=scale,
            has_touch=touch,
        )
        try:
            visit = Visit(context.new_page())
            _record(visit)
            visit.page.goto(url)
            yield visit
        finally:
            context.close()


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _record(visit: Visit) -> None:
    # Listening only: a Playwright route would block as well, but turns the browser's cache off.
    def note_request(request: "Request") -> None:
        visit.posted.append(len(request.post_data_buffer or b""))
        if not _is_local(request.url):
            visit.blocked.append(request.url)

    def note_socket(websocket: "WebSocket") -> None:
        websocket.on("framereceived", lambda data: visit.received.append(len(data)))
        if not _is_local(websocket.url):
            visit.blocked.append(websocket.url)

    def note_message(message: "ConsoleMessage") -> None:
        if message.type == "error":
            visit.console_errors.append(message.text)

    page = visit.page
    page.on("request", note_request)
    page.on("websocket", note_socket)
    page.on("pageerror", lambda error: visit.page_errors.append(str(error)))
    page.on("console", note_message)


def _is_local(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in {"data", "blob", "about"} or parts.hostname in LOCAL_HOSTS


def _answers(address: str, server: "subprocess.Popen[bytes]") -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    return False


def _stop_group(server: "subprocess.Popen[bytes]") -> None:
    for request in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, request)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(STOP_SECONDS)
            return
