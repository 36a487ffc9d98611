"""Which addresses exist."""

import pytest

from explorer.routes import find_route, session_of, without_reserved

APPS = ("explore", "judge")


@pytest.mark.parametrize(
    ("path", "part", "app"),
    [
        ("/", "landing", ""),
        ("/login", "login", ""),
        ("/health", "health", ""),
        ("/explore", "folder", "explore"),
        ("/explore/", "page", "explore"),
        ("/judge/assets/index-s-M1OXjs.js", "asset", "judge"),
        ("/judge/favicon.ico", "asset", "judge"),
        ("/judge/@file/58722-1373-C8rai1EL.js", "file", "judge"),
        ("/judge/api/kernel/function_call", "call", "judge"),
        ("/judge/ws", "ws", "judge"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/lab/maps"])
def test_what_exists(path, part, app, prefix):
    route = find_route(prefix + path, prefix=prefix, apps=APPS)
    assert (route.part, route.app) == (part, app)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "//",
        "/explore//",
        "/Explore/",
        "/explore/../judge/",
        "/explore/assets/../index.html",
        "/explore/assets/a/b.js",
        "/explore/assets/.hidden",
        "/explore/@file/12-../x",
        "/explore/@file/../etc/passwd",
        "/explore/@file/x-y",
        "/explore/public/secret",
        "/explore/public-files-sw.js",
        "/explore/sse",
        "/explore/ws_sync",
        "/explore/terminal/ws",
        "/explore/api/kernel/run",
        "/explore/api/kernel/execute",
        "/explore/api/kernel/instantiate",
        "/explore/api/kernel/function_call/",
        "/explore/api/kernel/function_call\n",
        "/explore/api/files/list_files",
        "/explore/api/export/html",
        "/explore/api/usage",
        "/explore/auth/login",
        "/explore/\x00",
        "/other/",
        "/login/",
        "/health\n",
        "/ready/x",
    ],
)
def test_what_does_not(path):
    assert find_route(path, prefix="", apps=APPS) is None


def test_a_prefix_is_a_folder_and_nothing_beside_it_exists():
    assert find_route("/lab", prefix="/lab", apps=APPS).part == "folder"
    assert find_route("/labx/", prefix="/lab", apps=APPS) is None
    assert find_route("/", prefix="/lab", apps=APPS) is None


def test_methods():
    route = find_route("/explore/", prefix="", apps=APPS)
    assert route.takes("GET")
    assert route.takes("HEAD")
    assert not route.takes("POST")
    assert not find_route("/logout", prefix="", apps=APPS).takes("GET")
    assert not find_route("/explore/api/kernel/function_call", prefix="", apps=APPS).takes("GET")


@pytest.mark.parametrize(
    ("query", "session"),
    [
        ("session_id=s_abc123&dataset=x", "s_abc123"),
        ("dataset=x", ""),
        ("session_id=", ""),
        ("session_id=a&session_id=b", ""),
        ("session_id=" + "a" * 65, ""),
        ("session_id=a%2Fb", ""),
        ("session_id=%C3%A9", ""),
    ],
)
def test_a_socket_names_one_session(query, session):
    assert session_of(query) == session


def test_a_socket_chooses_neither_notebook_nor_role():
    query = "session_id=s_1&file=%2Fetc%2Fpasswd&kiosk=true&access_token=x&rtc=1&query=%3Cb%3E&list=a%2Cb&empty="
    assert without_reserved(query) == "session_id=s_1&query=%3Cb%3E&list=a%2Cb&empty="
