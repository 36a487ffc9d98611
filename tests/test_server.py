"""How a server is put together, and when it refuses to start."""

import ast
import asyncio
import json
import logging
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from files import write_dataset

from explorer import catalog, server
from explorer.access import is_loopback
from explorer.errors import InputError
from explorer.headers import with_nonce
from explorer.server import ServerSettings, _JsonLines, _parse_one_at_a_time, apps_folder, make_app

TOKEN = "correct-horse-battery-staple"


@pytest.fixture(autouse=True)
def _serves_nothing(monkeypatch):
    monkeypatch.setattr(catalog, "_served", [])
    monkeypatch.setattr(server, "_notebooks", lambda *_: None)


@pytest.fixture
def root(tmp_path):
    write_dataset(tmp_path / "catalog" / "one")
    return tmp_path / "catalog"


def rules_of(root, token=TOKEN, **settings):
    environment = {} if token is None else {"EXPLORER_TOKEN": token}
    return make_app(ServerSettings(root, **settings), environment=environment).gate._rules


def test_alone_it_needs_no_token_and_answers_this_machine_only(root):
    rules = rules_of(root, token=None)
    assert rules.only_local
    assert rules.visitors.token_digest is None
    assert catalog.served_path() == root.resolve()


def test_with_a_token_it_answers_to_any_name(root):
    assert not rules_of(root, host="0.0.0.0").only_local
    assert not rules_of(root, token=None, host="0.0.0.0", public=True).only_local


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"host": "0.0.0.0"}, "0.0.0.0"),
        ({"host": "192.0.2.1"}, "192.0.2.1"),
        ({"host": "::"}, "::"),
        ({"base_url": "https://maps.example.org/lab"}, "maps.example.org"),
        ({"base_url": "http://192.0.2.1:8080"}, "192.0.2.1"),
    ],
)
def test_what_others_reach_needs_a_token_or_a_word(root, settings, where):
    with pytest.raises(InputError, match=f"'{where}' is reached from other machines: give a token with --token-file"):
        rules_of(root, token=None, **settings)
    rules_of(root, **settings)
    rules_of(root, token=None, public=True, **settings)


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:8080/x", "http://localhost:9000", "http://[::1]:80"])
def test_a_base_url_of_this_machine_needs_none(root, base_url):
    assert rules_of(root, token=None, base_url=base_url).only_local


def test_public_and_a_token_contradict_each_other(root):
    with pytest.raises(InputError, match="leave one of the two out"):
        rules_of(root, public=True)


def test_a_catalog_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such path"):
        rules_of(tmp_path / "absent")


def test_the_notebooks_are_found_and_no_page_may_name_their_folder(root):
    folder = apps_folder()
    assert (folder / "explore.py").is_file()
    assert str(folder) in rules_of(root).hidden


def lifespan(app):
    sent = []

    async def run():
        messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

        async def receive():
            return messages.pop(0)

        async def send(message):
            sent.append(message["type"])

        await app({"type": "lifespan"}, receive, send)

    asyncio.run(run())
    return sent


@pytest.mark.parametrize("fails", [False, True])
def test_it_is_ready_when_it_is_warm_or_cannot_be(root, monkeypatch, caplog, fails):
    def warm(found, *, is_stopping):
        assert found.names == ("one",)
        if fails:
            message = "no room"
            raise MemoryError(message)

    monkeypatch.setattr(server, "warm", warm)
    monkeypatch.setattr(server.threading, "Thread", _AtOnce)
    app = make_app(ServerSettings(root), environment={})
    assert app.gate._own["ready"]("") == (503, "warming up\n")
    with caplog.at_level(logging.INFO, logger="explorer"):
        assert lifespan(app) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert app.gate._own["ready"]("") == (200, "ready\n")
    assert ("warming up failed" in caplog.text) == fails


class _AtOnce:
    def __init__(self, target, args, **_):
        self._run = lambda: target(*args)

    def start(self):
        self._run()


def test_the_landing_page_lists_what_is_there_now(root):
    app = make_app(ServerSettings(root), environment={})
    status, page = app.gate._own["landing"]("N")
    assert status == 200
    assert page.count("<article>") == 1
    write_dataset(root / "two")
    assert app.gate._own["landing"]("N")[1].count("<article>") == 2
    for folder in ("one", "two"):
        (root / folder / "card.toml").unlink()
    assert "No dataset is offered yet" in app.gate._own["landing"]("N")[1]


def test_a_log_line_is_one_line_of_json_whatever_is_in_it():
    try:
        message = "first\nsecond"
        raise ValueError(message)
    except ValueError:
        record = logging.LogRecord("explorer.x", logging.ERROR, "f", 1, 'a "%s"\n\x1b[31m', ("b",), sys.exc_info())
    line = _JsonLines().format(record)
    assert "\n" not in line
    assert line.isascii()
    said = json.loads(line)
    assert said["message"] == 'a "b"\n\x1b[31m'
    assert "ValueError: first\nsecond" in said["traceback"]
    record.request = {"path": "/\n", "status": 200}
    assert json.loads(_JsonLines().format(record)) == {
        "time": said["time"],
        "level": "error",
        "path": "/\n",
        "status": 200,
    }


class _Garbage:
    """A circle that runs Python code when it is collected, so that threads change in the middle of a parse."""

    def __init__(self):
        self.itself = self

    def __del__(self):
        time.sleep(0)


def test_sessions_that_start_together_are_parsed_one_at_a_time(monkeypatch):
    # Without taking turns CPython 3.11 fails here in about every second run.
    monkeypatch.setattr(ast, "parse", ast.parse)
    _parse_one_at_a_time()
    parse = ast.parse
    _parse_one_at_a_time()
    assert ast.parse is parse
    source = (apps_folder() / "explore.py").read_text()

    def start(_):
        for _ in range(5):
            garbage = [_Garbage() for _ in range(50)]
            del garbage
            assert ast.parse(source).body

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(start, range(6)))


# ---------------------------------------------------------------- listening


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]"])
def test_it_listens_where_it_was_told(host):
    with server._listen(host, 0) as listening:
        assert is_loopback(listening.getsockname()[0])
        port = listening.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port}: another program listens there; choose another --port"):
            server._listen(host, port)


def test_an_address_of_another_machine_is_refused_in_a_sentence():
    with pytest.raises(InputError, match=r"^can't listen on '192\.0\.2\.7', port 0: Cannot assign requested address$"):
        server._listen("192.0.2.7", 0)


def test_pictures_that_only_decorate_are_not_loaded_ahead():
    page = '<link rel="preload" href="./a.png" as="image" /><link rel="preload" href="./a.woff2" as="font">'
    assert with_nonce(page, nonce="n", hidden=()) == '<link nonce="n" rel="preload" href="./a.woff2" as="font">'
