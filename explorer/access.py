"""Who may come in: the token, the cookie that stands for it, failed logins, and whose request a request is."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import re
import secrets
import stat
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import urlsplit

from explorer.errors import InputError, shown

TOKEN_VARIABLE = "EXPLORER_TOKEN"
LEAST_TOKEN_CHARACTERS = 16
COOKIE_SECONDS = 7 * 24 * 3600
# Failures that cost nothing but the page: a mistyped paste. Each one after them doubles the wait.
FREE_FAILURES = 5
LONGEST_WAIT_SECONDS = 900.0
# Addresses whose failures are remembered; the oldest are forgotten, so that memory stays bounded.
MOST_ADDRESSES = 10_000
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_VISITOR = re.compile(r"[0-9a-f]{32}")


def read_token(token_file: Path | None, environment: Mapping[str, str]) -> str | None:
    """Read the token that visitors must know, from a file or from ``EXPLORER_TOKEN``.

    Parameters
    ----------
    token_file
        File that holds the token and nothing else; None for none.
    environment
        Where the variable is looked for. A token is never an argument: every user of a machine sees those.

    Returns
    -------
    str or None
        None where no token is given.

    Raises
    ------
    InputError
        When the file can't be read, may be read by everybody, or the token is short or holds odd characters.
    """
    if token_file is None:
        given = environment.get(TOKEN_VARIABLE)
        return None if given is None else _checked_token(given.strip(), f"the variable {TOKEN_VARIABLE}")
    name = shown(token_file, limit=300)
    try:
        with token_file.open("rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            content = stream.read(4097)
    except OSError as error:
        message = f"can't read the token file {name}: {error.strerror}; check the name and who may read it"
        raise InputError(message) from error
    if mode & stat.S_IROTH:
        message = f"the token file {name} can be read by every user of this machine: run chmod o-r on it"
        raise InputError(message)
    return _checked_token(content.decode("utf-8", errors="replace").strip(), f"the token file {name}")


def _checked_token(token: str, where: str) -> str:
    if not LEAST_TOKEN_CHARACTERS <= len(token) <= 1024 or not token.isascii() or not token.isprintable():
        lines = len(token.splitlines())
        got = f"{lines} lines" if lines > 1 else f"{len(token):,}"
        message = (
            f"{where} must hold one line of {LEAST_TOKEN_CHARACTERS} to 1,024 printable ASCII characters, got {got}: "
            "make one with python3 -c 'import secrets; print(secrets.token_urlsafe(24))'"
        )
        raise InputError(message)
    return token


@dataclass(frozen=True, slots=True)
class Visitors:
    """Cookies for those who may come in: each names a visitor and when it ends, and is signed.

    Attributes
    ----------
    cookie_name
        Name of the cookie.
    key
        What signs it: made of the token, so that a cookie outlives a restart and a new token ends every cookie.
    token_digest
        SHA-256 of the token; None where everybody may come in.
    """

    cookie_name: str
    key: bytes
    token_digest: bytes | None

    @classmethod
    def of_token(cls, token: str | None, *, address: str) -> Visitors:
        """Make them for a token, or for everybody.

        Parameters
        ----------
        token
            What `read_token` gave.
        address
            Where the server is reached; two servers of one machine share a browser's cookies but for their names.
        """
        digest = None if token is None else hashlib.sha256(token.encode()).digest()
        key = secrets.token_bytes(32) if token is None else hmac.digest(token.encode(), b"explorer cookie", "sha256")
        return cls(f"explorer-{hashlib.sha256(address.encode()).hexdigest()[:8]}", key, digest)

    def knows(self, token: str) -> bool:
        """Compare a token with the right one, in a time that tells nothing of it."""
        digest = hashlib.sha256(token.encode("utf-8", errors="surrogatepass")).digest()
        return self.token_digest is not None and hmac.compare_digest(digest, self.token_digest)

    def new_cookie(self, *, now: float | None = None) -> str:
        """Make the value of a cookie for a new visitor, good for seven days."""
        ends = int((time.time() if now is None else now) + COOKIE_SECONDS)
        said = f"{secrets.token_hex(16)}.{ends}"
        return f"{said}.{self._signature(said)}"

    def visitor_of(self, cookie_header: str, *, now: float | None = None) -> str:
        """Name the visitor of a request by its Cookie header; empty where no cookie is right."""
        for value in _cookie_values(cookie_header, self.cookie_name):
            visitor, _, rest = value.partition(".")
            ends, _, signature = rest.partition(".")
            if not (_VISITOR.fullmatch(visitor) and ends.isascii() and ends.isdecimal() and len(ends) < 16):
                continue
            right = hmac.compare_digest(signature.encode(), self._signature(f"{visitor}.{ends}").encode())
            if right and int(ends) > (time.time() if now is None else now):
                return visitor
        return ""

    def _signature(self, said: str) -> str:
        return hmac.digest(self.key, said.encode(), "sha256").hex()


def _cookie_values(header: str, name: str) -> list[str]:
    # Other programs on this host may have set cookies that the standard library refuses as a whole.
    found = []
    for part in header.split(";"):
        if part.strip().startswith(f"{name}="):
            try:
                found += [morsel.value for morsel in SimpleCookie(part.strip()).values()]
            except CookieError:
                continue
    return found


class FailedLogins:
    """How long an address must wait after tokens that were wrong.

    Parameters
    ----------
    clock
        Seconds that never run backwards.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait_seconds(self, address: str) -> float:
        """Seconds that an address has to wait before its next try; 0 where it may try now."""
        _, until = self._failures.get(_neighbourhood(address), (0, 0.0))
        return max(0.0, until - self._clock())

    def note(self, address: str) -> None:
        """Note a wrong token: after five free ones the wait is 1 s, 2 s, 4 s … 15 minutes."""
        key = _neighbourhood(address)
        count = self._failures.pop(key, (0, 0.0))[0] + 1
        wait = 0.0 if count < FREE_FAILURES else min(2.0 ** min(count - FREE_FAILURES, 20), LONGEST_WAIT_SECONDS)
        self._failures[key] = (count, self._clock() + wait)
        while len(self._failures) > MOST_ADDRESSES:
            self._failures.popitem(last=False)

    def forget(self, address: str) -> None:
        """Forget the failures of an address that knew the token."""
        self._failures.pop(_neighbourhood(address), None)


def _neighbourhood(address: str) -> str:
    """Take an IPv6 network of 64 bits as one: whoever has one address of it has all."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


def client_address(peer: str, forwarded_for: str, *, trusted: Collection[str]) -> str:
    """Tell from which address a request came.

    Parameters
    ----------
    peer
        Address of whoever opened the connection.
    forwarded_for
        The X-Forwarded-For header; empty for none.
    trusted
        Addresses of reverse proxies whose word is taken. From any other peer the header is not read.

    Returns
    -------
    str
        The last address in the header that is no trusted proxy, else the peer.
    """
    peer = _plain_address(peer)
    if peer not in trusted:
        return peer
    for part in reversed(forwarded_for.split(",")):
        try:
            address = _plain_address(str(ipaddress.ip_address(part.strip())))
        except ValueError:
            return peer
        if address not in trusted:
            return address
    return peer


def proxy_addresses(named: Collection[str]) -> frozenset[str]:
    """Check the addresses of trusted proxies, and write each in the one way that `client_address` compares.

    Raises
    ------
    InputError
        When one is not an address: a name or a network would be compared with nothing.
    """
    for name in named:
        try:
            ipaddress.ip_address(name)
        except ValueError as error:
            message = f"--trusted-proxy {shown(name)} is no address: expected something like 127.0.0.1 or ::1"
            raise InputError(message) from error
    return frozenset(map(_plain_address, named))


def _plain_address(address: str) -> str:
    # A socket that takes both kinds of addresses writes IPv4 ones as ::ffff:192.0.2.1.
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine alone."""
    name = host.strip("[]")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


@dataclass(frozen=True, slots=True)
class Address:
    """Where visitors reach the server.

    Attributes
    ----------
    origin
        Scheme, host and port, as a browser says them; empty where any host name of the machine will do.
    prefix
        Path below which everything is; empty, or with a slash at its beginning and none at its end.
    """

    origin: str = ""
    prefix: str = ""

    @classmethod
    def of_url(cls, url: str | None) -> Address:
        """Read a base URL such as ``https://maps.example.org/explorer``.

        Raises
        ------
        InputError
            When it is not one.
        """
        if url is None:
            return cls()
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        host = (parts.hostname or "").lower()
        usual = (parts.scheme == "https" and port == 443) or (parts.scheme == "http" and port == 80)
        path = parts.path.rstrip("/")
        good = re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", path) and not re.search(r"/\.{1,2}(/|$)", path)
        odd = parts.query or parts.fragment or parts.username or parts.password is not None
        if parts.scheme not in ("http", "https") or not re.fullmatch(r"[a-z0-9.:_-]+", host) or odd or not good:
            message = (
                f"--base-url {shown(url)} can't be used: expected something like https://maps.example.org/explorer"
            )
            raise InputError(message)
        written = f"[{host}]" if ":" in host else host
        return cls(f"{parts.scheme}://{written}{'' if port is None or usual else f':{port}'}", path)

    @property
    def host(self) -> str:
        """Name or address of the host, without port; empty where any will do."""
        return urlsplit(self.origin).hostname or ""

    @property
    def is_encrypted(self) -> bool:
        """Whether visitors come by TLS, so that the cookie may travel by nothing else."""
        return self.origin.startswith("https://")

    def is_ours(self, origin: str, host: str) -> bool:
        """Whether an Origin header names this server; `host` is the request's Host header."""
        expected = self.origin or (f"http://{host.lower()}" if host else "")
        return bool(expected) and origin.lower() == expected


def safe_target(target: str, folders: Collection[str]) -> str:
    """Check where a login leads to: a path of this server and nothing else.

    Parameters
    ----------
    target
        Path and query, below the prefix, as a link or a form named it.
    folders
        First parts of the paths that exist.

    Returns
    -------
    str
        The target, or ``/`` for anything that could lead elsewhere.
    """
    if not re.fullmatch(r"/[\x21-\x5b\x5d-\x7e]*", target) or target.startswith("//") or len(target) > 8192:
        return "/"
    path = urlsplit(target).path
    return target if path == "/" or (re.fullmatch(r"/[a-z_]+/", path) and path.strip("/") in folders) else "/"
