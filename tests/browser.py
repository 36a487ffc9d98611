"""Helpers for tests in a real browser: serve a notebook, open a page, record what must not happen.

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
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal
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

    Raises
    ------
    RuntimeError
        When the server stops or does not answer; the message ends with its output.
    """
    port = free_port()
    command = [sys.executable, "-m", "marimo", mode, str(path), "--headless", "--no-token"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    command += ["--", *args] if args else []
    search_path = os.pathsep.join(part for part in (str(REPOSITORY), os.environ.get("PYTHONPATH")) if part)
    with tempfile.TemporaryFile(mode="w+", encoding="utf-8", errors="replace") as log:
        # Its own process group, so that the kernels it starts can be stopped with it.
        server = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": search_path, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            if not _answers(address, server):
                log.seek(0)
                message = f"expected a marimo server at {address}, got: {log.read()[-2000:]}"
                raise RuntimeError(message)
            yield address
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
            with urllib.request.urlopen(f"{address}/health", timeout=2) as answer:
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
