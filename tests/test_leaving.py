"""Sessions that end give their memory back: opened on a real server, left, and looked for among all objects."""

import gc
import json
import os
import subprocess
import sys
import weakref

import pytest
import toys
from conftest import PROJECT

from explorer.leaving import ClosedWithPage
from explorer.panels import LinkedMaps

# The server, its visitors and the count are one process, so that every object can be seen.
SESSIONS = """
import asyncio, collections, gc, json, socket, sys, threading, time
import ipywidgets.widgets.widget as widgets
import marimo, uvicorn, websockets
from marimo._plugins.ui._impl.anywidget.init import WIDGET_COMM_MANAGER

app, n = sys.argv[1], int(sys.argv[2])
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
served = marimo.create_asgi_app(quiet=True, session_ttl=1).with_app(path="/app", root=app).build()
server = uvicorn.Server(uvicorn.Config(served, port=port, log_level="error"))
threading.Thread(target=server.run, daemon=True).start()
while not server.started:
    time.sleep(0.02)

async def visit(number):
    address = f"ws://127.0.0.1:{port}/app/ws?session_id=s_{number:06d}"
    async with websockets.connect(address, max_size=None) as page:
        while b"completed-run" not in bytes(str(await asyncio.wait_for(page.recv(), 30))[:200], "utf-8"):
            pass

async def visits():
    await asyncio.gather(*(visit(number) for number in range(n)))

KINDS = ("LinkedMaps", "Answer", "Pair", "View", "Ticket", "Comparison", "Kernel", "MarimoComm", "SessionImpl")

def held():
    gc.collect()
    kinds = collections.Counter(type(thing).__name__ for thing in gc.get_objects())
    found = {kind: kinds[kind] for kind in KINDS if kinds[kind]}
    registered = {"widgets": len(widgets._instances), "comms": len(WIDGET_COMM_MANAGER.comms)}
    return found | {name: count for name, count in registered.items() if count}

asyncio.run(visits())
during = held()
until = time.monotonic() + 30
while held() and time.monotonic() < until:
    time.sleep(0.2)
print(json.dumps([during, held()]))
"""


@pytest.mark.parametrize("app", ["explore", "judge"])
def test_nothing_of_a_session_stays(app, tmp_path):
    root = toys.write_catalog(tmp_path)
    # Without arguments the app shows what stands beside it.
    folder = tmp_path / "served" / "apps"
    folder.mkdir(parents=True)
    (folder / "app.py").write_bytes((PROJECT / "apps" / f"{app}.py").read_bytes())
    (folder.parent / "demo_data").symlink_to(root)
    found = subprocess.run(
        [sys.executable, "-c", SESSIONS, str(folder / "app.py"), "4"],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "EXPLORER_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr[-2000:]
    during, after = json.loads(found.stdout.splitlines()[-1])
    assert during["Kernel" if app == "judge" else "LinkedMaps"] == 4, "they were there"
    assert after == {}


def test_a_widget_is_closed_with_its_page():
    widget = LinkedMaps(["A", "B"], [[0, 0], [1, 1]], [[0, 0], [1, 1]])
    gone, page = weakref.ref(widget), ClosedWithPage(widget)
    assert widget.comm is not None
    del page
    assert widget.comm is None
    del widget
    gc.collect()
    assert gone() is None
