"""The shared app: landing page, login and notebooks behind one gate, in one process, for many visitors."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from explorer.access import TOKEN_VARIABLE, Address, Visitors, is_loopback, read_token
from explorer.catalog import Catalog, open_catalog, serve_only
from explorer.errors import InputError, shown
from explorer.gate import App, Gate, Receive, Rules, Scope, Send, hidden_paths
from explorer.landing import APPS, landing_page
from explorer.offer import offers_of, warm

SESSION_SECONDS = 60
# Connections that are open get so long to finish when the server is told to stop.
STOP_SECONDS = 5
MOST_HEADER_BYTES = 65_536
MOST_SOCKET_BYTES = 1_048_576

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How a server is started.

    Attributes
    ----------
    catalog
        Folder of datasets, one dataset, or one file: all that visitors can read.
    host, port
        Where it listens.
    base_url
        Where visitors reach it, when that is through a reverse proxy.
    token_file
        File with the token that visitors must know.
    public
        Whether everybody may come in without one.
    trusted_proxies
        Addresses of proxies whose X-Forwarded-For is believed.
    most_pages
        Pages open at the same time.
    session_seconds
        How long a session outlives its page: a reload or a short break of the line finds it again.
    warm
        Whether first pages are made before anyone asks.
    """

    catalog: Path
    host: str = "127.0.0.1"
    port: int = 8000
    base_url: str | None = None
    token_file: Path | None = None
    public: bool = False
    trusted_proxies: tuple[str, ...] = ()
    most_pages: int = 200
    session_seconds: int = SESSION_SECONDS
    warm: bool = True


@dataclass(eq=False)
class _State:
    """What changes while a server runs."""

    is_ready: threading.Event = field(default_factory=threading.Event)
    is_stopping: threading.Event = field(default_factory=threading.Event)


def make_app(settings: ServerSettings, *, environment: Mapping[str, str] | None = None) -> SharedApp:
    """Make the ASGI application of a shared server.

    Parameters
    ----------
    settings
        How it is started.
    environment
        Where a token is looked for if no file is named; the process's own by default.

    Raises
    ------
    InputError
        When there is no usable dataset, or the server would be open to more than this machine without a token.
    """
    token = read_token(settings.token_file, os.environ if environment is None else environment)
    address = Address.of_url(settings.base_url)
    _check_exposure(settings, token, address)
    open_catalog(settings.catalog)
    serve_only(settings.catalog)
    folder = apps_folder()
    state = _State()
    rules = Rules(
        address=address,
        visitors=Visitors.of_token(token, address=f"{address.origin}{address.prefix}:{settings.port}"),
        apps=tuple(app.folder for app in APPS),
        hidden=hidden_paths([str(folder / f"{app.folder}.py") for app in APPS] + [str(folder), str(folder.parent)]),
        trusted_proxies=frozenset(settings.trusted_proxies),
        only_local=token is None and not settings.public,
        most_pages=settings.most_pages,
    )
    own: dict[str, Callable[[str], tuple[int, str]]] = {
        "landing": lambda nonce: (200, _landing(settings.catalog, address, token is not None, nonce)),
        "ready": lambda _: (200, "ready\n") if state.is_ready.is_set() else (503, "warming up\n"),
    }
    gate = Gate(_notebooks(folder, settings), own, rules)
    return SharedApp(gate, settings, state)


def _check_exposure(settings: ServerSettings, token: str | None, address: Address) -> None:
    if settings.public and token is not None:
        message = "--public lets everybody in and a token is given: leave one of the two out"
        raise InputError(message)
    where = next((host for host in (settings.host, address.host) if host and not is_loopback(host)), "")
    if where and token is None and not settings.public:
        message = (
            f"{shown(where)} is reached from other machines: give a token with --token-file FILE or the variable "
            f"{TOKEN_VARIABLE}, or say --public if everybody may see the datasets"
        )
        raise InputError(message)


def apps_folder() -> Path:
    """Folder of the notebooks: within the package where it was installed, beside it in a clone.

    Raises
    ------
    InputError
        When there is none.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "apps", package.parent / "apps"):
        if all((folder / f"{app.folder}.py").is_file() for app in APPS):
            return folder
    message = "the notebooks are not where they should be, beside the package: install it again"
    raise InputError(message)


def _notebooks(folder: Path, settings: ServerSettings) -> App:
    import marimo

    builder = marimo.create_asgi_app(quiet=True, session_ttl=settings.session_seconds)
    for app in APPS:
        builder = builder.with_app(path=f"/{app.folder}", root=str(folder / f"{app.folder}.py"))
    # A file that is neither there nor ours: marimo asks the service that reaches it for nothing else.
    built: App = builder.build()
    return built


def _landing(path: Path, address: Address, has_login: bool, nonce: str) -> str:
    # The folder is listed anew each time, so a dataset that was put there appears without a restart.
    try:
        catalog = open_catalog(path)
    except InputError as error:
        _log.warning("nothing to offer: %s", error)
        catalog = Catalog({})
    return landing_page(offers_of(catalog), prefix=address.prefix, has_login=has_login, nonce=nonce)


class SharedApp:
    """ASGI application of a shared server: a gate, and what happens when the server starts and stops.

    Parameters
    ----------
    gate
        Answers requests and sockets.
    settings
        How the server is started.
    state
        What its threads tell one another.
    """

    def __init__(self, gate: Gate, settings: ServerSettings, state: _State) -> None:
        self.gate, self._settings, self._state = gate, settings, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or socket; warm up in a thread when the server starts."""
        if scope["type"] != "lifespan":
            await self.gate(scope, receive, send)
            return
        while (await receive())["type"] == "lifespan.startup":
            threading.Thread(
                target=_warm_up, args=(self._settings, self._state), name="explorer-warm", daemon=True
            ).start()
            await send({"type": "lifespan.startup.complete"})
        self._state.is_stopping.set()
        await send({"type": "lifespan.shutdown.complete"})


def _warm_up(settings: ServerSettings, state: _State) -> None:
    began = time.monotonic()
    try:
        if settings.warm:
            warm(open_catalog(settings.catalog), is_stopping=state.is_stopping.is_set)
    except Exception:
        # Whatever it was, visitors are better off with a slow first page than with none.
        _log.exception("warming up failed")
    finally:
        state.is_ready.set()
        _log.info("ready after %.1f s", time.monotonic() - began)


class _JsonLines(logging.Formatter):
    """One JSON object a line: for machines to read, and safe whatever a name holds."""

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
        }
        request = getattr(record, "request", None)
        if request is not None:
            said |= request
        else:
            said |= {"logger": record.name, "message": record.getMessage()}
            if record.exc_info:
                said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said)


def serve(settings: ServerSettings) -> None:
    """Run a shared server until it is told to stop (SIGTERM or Ctrl-C).

    Parameters
    ----------
    settings
        How it is started.

    Raises
    ------
    InputError
        As `make_app` does, or when the address can't be listened on.
    """
    import uvicorn

    app = make_app(settings)
    _log_to_stderr()
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        # The gate reads these headers itself, and believes no proxy that was not named.
        proxy_headers=False,
        server_header=False,
        date_header=True,
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
        ws_max_size=MOST_SOCKET_BYTES,
        timeout_graceful_shutdown=STOP_SECONDS,
        lifespan="on",
    )
    server = uvicorn.Server(config)
    try:
        listening = config.bind_socket()
    except SystemExit as error:
        message = f"can't listen on {shown(settings.host)}, port {settings.port}: is another server running there?"
        raise InputError(message) from error
    port = listening.getsockname()[1]
    url = settings.base_url or f"http://{'127.0.0.1' if is_loopback(settings.host) else settings.host}:{port}"
    sys.stderr.write(f"explorer: serving {shown(settings.catalog.name)} at {url}/ (Ctrl-C stops)\n")
    asyncio.run(server.serve(sockets=[listening]))


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("explorer").setLevel(logging.INFO)
