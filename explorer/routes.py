"""Every address the server answers; whatever is not in this table does not exist."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, urlencode

Part = Literal[
    "landing", "login", "logout", "session", "health", "ready", "folder", "page", "asset", "file", "call", "ws"
]

# What a page of marimo in run mode asks for, and no more: nothing here edits, uploads, installs or runs code.
KERNEL_CALLS = ("set_ui_element_value", "set_model_value", "function_call")
_STATIC = (
    "favicon.ico", "manifest.json", "logo.png", "apple-touch-icon.png", "android-chrome-192x192.png",
    "android-chrome-512x512.png",
)  # fmt: skip
_OWN: dict[str, tuple[Part, tuple[str, ...]]] = {
    "/": ("landing", ("GET",)),
    "/login": ("login", ("GET", "POST")),
    "/logout": ("logout", ("POST",)),
    "/session": ("session", ("GET",)),
    "/health": ("health", ("GET",)),
    "/ready": ("ready", ("GET",)),
}
_WITHIN: tuple[tuple[str, Part, str], ...] = (
    (r"", "folder", "GET"),
    (r"/", "page", "GET"),
    (r"/assets/[\w-][\w.-]*", "asset", "GET"),
    (r"/(" + "|".join(map(re.escape, _STATIC)) + r")", "asset", "GET"),
    # Size, thread and eight random signs: any other name would be looked for in the machine's shared memory.
    (r"/@file/\d{1,12}-\d{1,20}-[A-Za-z0-9]{8}\.\w{1,16}", "file", "GET"),
    (r"/api/kernel/(" + "|".join(KERNEL_CALLS) + r")", "call", "POST"),
    (r"/health", "health", "GET"),
    (r"/ws", "ws", "GET"),
)
# Parameters of marimo's own socket that would choose another notebook, another role, or carry a secret.
_RESERVED = ("file", "kiosk", "access_token", "rtc")
_SESSION = re.compile(r"[\w-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Route:
    """Where an address leads.

    Attributes
    ----------
    part
        What answers.
    methods
        HTTP methods it takes; HEAD wherever GET is.
    app
        Folder of the app, for addresses within one; else empty.
    """

    part: Part
    methods: tuple[str, ...]
    app: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it answers without a login."""
        return self.part in ("login", "session", "health", "ready")

    def takes(self, method: str) -> bool:
        """Whether it takes an HTTP method."""
        return method in self.methods or (method == "HEAD" and "GET" in self.methods)


def find_route(path: str, *, prefix: str, apps: Sequence[str]) -> Route | None:
    """Find where a path leads; None where it leads nowhere.

    Parameters
    ----------
    path
        Decoded path of the request.
    prefix
        Path below which everything is.
    apps
        Folders of the apps.
    """
    if not path.startswith(f"{prefix}/"):
        return Route("folder", ("GET",)) if prefix and path == prefix else None
    below = path[len(prefix) :]
    if below in _OWN:
        part, methods = _OWN[below]
        return Route(part, methods)
    app = below.split("/")[1]
    if app not in apps:
        return None
    rest = below[len(app) + 1 :]
    for pattern, part, method in _WITHIN:
        if re.fullmatch(pattern, rest, re.ASCII):
            return Route(part, (method,), app)
    return None


def session_of(query: str) -> str:
    """Name the session that a socket's address asks for; empty where it names none, or an odd one."""
    named = [value for key, value in parse_qsl(query, keep_blank_values=True) if key == "session_id"]
    return named[0] if len(named) == 1 and _SESSION.fullmatch(named[0]) else ""


def without_reserved(query: str) -> str:
    """Leave out of a socket's address what a visitor has no business to choose."""
    kept = [(key, value) for key, value in parse_qsl(query, keep_blank_values=True) if key not in _RESERVED]
    return urlencode(kept)
