"""The shared app: landing page, login and notebooks behind one gate, in one process, for many visitors."""

from __future__ import annotations

import ast
import asyncio
import errno
import functools
import json
import logging
import os
import pkgutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from explorer.access import TOKEN_VARIABLE, Address, Visitors, is_loopback, proxy_addresses, read_token
from explorer.catalog import Catalog, open_catalog, serve_only
from explorer.errors import InputError, shown
from explorer.gate import App, Gate, Receive, Rules, Scope, Send, hidden_paths
from explorer.keeping import memory_limit
from explorer.landing import APPS, landing_page
from explorer.offer import offers_of, warm
from explorer.store import cache_limit

SESSION_SECONDS = 60
# Connections that are open get so long to finish when the server is told to stop.
STOP_SECONDS = 5
MOST_HEADER_BYTES = 65_536
MOST_SOCKET_BYTES = 1_048_576

# All that pages need but umap-learn, which one button needs and which is large.
_IMPORTED_AHEAD = (
    "IPython.display", "ipywidgets", "anywidget", "altair", "narwhals", "vl_convert", "h5py", "pandas", "anndata",
    "scipy.stats", "sklearn.covariance", "scipy.optimize", "numba", "networkx",
)  # fmt: skip
_NOT_AHEAD = ("__main__", "cluster")

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
    # A limit that can't be read is said now, not to the first visitor.
    memory_limit()
    cache_limit()
    open_catalog(settings.catalog)
    serve_only(settings.catalog)
    folder = apps_folder()
    state = _State()
    rules = Rules(
        address=address,
        visitors=Visitors.of_token(token, address=f"{address.origin}{address.prefix}:{settings.port}"),
        apps=tuple(app.folder for app in APPS),
        hidden=hidden_paths([str(folder / f"{app.folder}.py") for app in APPS] + [str(folder), str(folder.parent)]),
        trusted_proxies=proxy_addresses(settings.trusted_proxies),
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
    # A host of no characters is every address of the machine.
    named = (settings.host or "0.0.0.0", address.host)
    where = next((host for host in named if host and not is_loopback(host)), "")
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


def _import_ahead() -> None:
    """Import, in one thread, what sessions would import in many at once.

    Some packages import themselves in circles, and marimo hooks into imports: ten first visitors at once met
    deadlocks and half-made modules. It also keeps what is slow away from whoever comes first.
    """
    for name in _IMPORTED_AHEAD:
        import_module(name)
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if module.name not in _NOT_AHEAD:
            import_module(f"explorer.{module.name}")
    # It checks every part of a chart against the whole grammar while it is built; the tests did that.
    import_module("altair.utils.schemapi").disable_debug_mode()


def _parse_one_at_a_time() -> None:
    """Let one thread at a time turn source code into a tree, and a tree into code.

    CPython counts how deep it is in one place for all threads, so that sessions which start together now and then
    stop with "AST constructor recursion depth mismatch" (https://github.com/python/cpython/issues/106905).
    """
    from marimo._ast import compiler

    if getattr(ast.parse, "takes_turns", False):
        return
    turn = threading.RLock()

    def in_turn(work: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(work)
        def wait_and_work(*arguments: Any, **options: Any) -> Any:
            with turn:
                return work(*arguments, **options)

        wait_and_work.takes_turns = True  # type: ignore[attr-defined]
        return wait_and_work

    ast.parse = in_turn(ast.parse)
    compiler.ast_compile = in_turn(compiler.ast_compile)


def _notebooks(folder: Path, settings: ServerSettings) -> App:
    import marimo

    _import_ahead()
    _parse_one_at_a_time()
    builder = marimo.create_asgi_app(quiet=True, session_ttl=settings.session_seconds)
    for app in APPS:
        builder = builder.with_app(path=f"/{app.folder}", root=str(folder / f"{app.folder}.py"))
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
    for number in (signal.SIGTERM, signal.SIGINT):
        # From the first import on. uvicorn stops politely, then raises the signal again for whoever waited before it.
        signal.signal(number, _leave)
    import uvicorn

    app = make_app(settings)
    _log_to_stderr()
    config = uvicorn.Config(
        app,
        # The one whose limit of header bytes is set below.
        http="h11",
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
    listening = _listen(settings.host, settings.port)
    host, port = listening.getsockname()[:2]
    own = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    url, here = (own, "") if settings.base_url is None else (settings.base_url.rstrip("/"), f"listening on {own}; ")
    sys.stderr.write(f"explorer: serving {shown(settings.catalog.name)} at {url}/ ({here}Ctrl-C stops)\n")
    with listening:
        asyncio.run(uvicorn.Server(config).serve(sockets=[listening]))


def _listen(host: str, port: int) -> socket.socket:
    name = host.strip("[]")
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    try:
        listening = socket.create_server((name, port), family=family)
        # Each connection inherits it: without, the body of an answer waits 40 ms for word of its headers.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        said = (error.strerror or str(error)).partition(" (while")[0]
        why = "another program listens there; choose another --port" if taken else said
        message = f"can't listen on {shown(host)}, port {port}: {why}"
        raise InputError(message) from error


def _leave(*_: object) -> NoReturn:
    # Python would wait for every thread, and the kernels of open pages, or a long computation, would not end.
    logging.shutdown()
    os._exit(0)


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    # marimo writes lines of its own, to the terminal and to a file, with paths and what clients sent.
    for name in [name for name in root.manager.loggerDict if name.partition(".")[0] == "marimo"]:
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = True
        logger.setLevel(logging.WARNING)
    logging.getLogger("explorer").setLevel(logging.INFO)
    # It warns of every message to a page that was just closed, some forty times each.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    # It takes a socket that was refused with a status for one that was forgotten.
    logging.getLogger("uvicorn.error").addFilter(lambda record: "without completing handshake" not in record.msg)
