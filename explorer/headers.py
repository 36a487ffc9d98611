"""What every answer says to the browser: which scripts may run, who may frame it, what may be kept."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from html import escape, unescape
from pathlib import Path

from explorer.routes import Part

# No script runs but those with the nonce of this very answer and files of this server, whatever gets into a page.
# Not 'strict-dynamic': marimo's page makes script elements of those it finds in HTML, and they would count as loaded by
# a trusted script. 'unsafe-eval': Vega compiles its charts. Styles are set by the page's libraries inline.
_APP_POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "manifest-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
)
_OWN_POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
# A file that an app made is data: opened on its own it runs nothing and shows nothing of this site's.
_FILE_POLICY = "sandbox; default-src 'none'; frame-ancestors 'none'"

# Settings of marimo in the page are those of whoever runs the server: how it looks is shown on, where and as whom not.
_SETTINGS = re.compile(r'^(\s*"config(?:Overrides)?": )(\{.*\})(,?)$', re.MULTILINE)
_ELEMENT = re.compile(r'(<marimo-user-config\b[^>]*\bdata-config=")([^"]*)(")')
_SHOWN_ON = ("display", "runtime", "completion", "formatting", "diagnostics")
# The page's menu offers an export that does not exist here; the apps' own downloads say more.
_NO_MENU = '<style>[data-testid="notebook-actions-dropdown"] { display: none; }</style>'

_ALWAYS = (
    ("x-content-type-options", "nosniff"),
    # A view's address names genes and datasets; nobody else is told. (No referrer at all would hide Origin too.)
    ("referrer-policy", "same-origin"),
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
_REPLACED = {
    b"server", b"set-cookie", b"content-security-policy", b"cache-control", b"access-control-allow-origin",
    b"access-control-allow-credentials", b"etag", *(name.encode() for name, _ in _ALWAYS),
}  # fmt: skip


def secured(
    headers: Sequence[tuple[bytes, bytes]], part: Part | None, *, nonce: str, status: int
) -> list[tuple[bytes, bytes]]:
    """Set the headers that every answer carries.

    Parameters
    ----------
    headers
        Those of the app that answers; its cookies and its own rules are dropped.
    part
        What answers; None for an address that does not exist.
    nonce
        Of this answer.
    status
        HTTP status; only what succeeded may be kept by the browser.
    """
    policy = _APP_POLICY if part == "page" else _FILE_POLICY if part in ("file", "asset", "call") else _OWN_POLICY
    # The names of assets hold a digest of their content.
    keep = "private, max-age=31536000, immutable" if part == "asset" and status in (200, 304) else "no-store"
    ours = [*_ALWAYS, ("content-security-policy", policy.format(nonce=nonce)), ("cache-control", keep)]
    kept = [(name, value) for name, value in headers if name.lower() not in _REPLACED]
    return [*kept, *((name.encode(), value.encode()) for name, value in ours)]


def with_nonce(page: str, *, nonce: str, hidden: Sequence[str]) -> str:
    """Let a page's own scripts run, and take the server's paths out of it.

    Parameters
    ----------
    page
        HTML that marimo made of its template and of our notebook; no word of a visitor or of data is in it yet.
    nonce
        Of this answer.
    hidden
        Absolute folders and files, the longest first; each is replaced by its last part.
    """
    for path in hidden:
        page = page.replace(path, path.rstrip("/").rpartition("/")[2])
    # The worker serves a folder of public files, which these apps have not.
    page = re.sub(r"<script[^>]*>\s*if \('serviceWorker' in navigator\).*?</script>", "", page, flags=re.DOTALL)
    page = page.replace("</head>", f"{_NO_MENU}<script>{_watch()}</script></head>", 1)
    page = _ELEMENT.sub(lambda found: f"{found[1]}{escape(_harmless(unescape(found[2])))}{found[3]}", page)
    page = _SETTINGS.sub(lambda found: f"{found[1]}{_harmless(found[2])}{found[3]}", page)
    # 400 KB that only decorate a page whose line is cut.
    page = re.sub(r'<link rel="preload"[^>]*\bas="image"[^>]*>', "", page)
    page = re.sub(r"file:///?[^\"'&<\\\s]*", "file:///", page)
    return re.sub(r"<(script|link)\b", rf'<\1 nonce="{nonce}"', page)


@functools.cache
def _watch() -> str:
    return Path(__file__).with_name("watch.js").read_text(encoding="utf-8")


def _harmless(settings: str) -> str:
    """Keep single values of some sections: no lists, which hold paths, and nothing of services and their keys."""
    given = json.loads(settings)
    kept = {
        section: {name: value for name, value in given[section].items() if not isinstance(value, dict | list)}
        for section in _SHOWN_ON
        if section in given
    }
    if "display" in kept:
        # As the browser has it, light or dark; marimo reads this from pyproject.toml, which is not installed.
        kept["display"]["theme"] = "system"
    return json.dumps(kept)
