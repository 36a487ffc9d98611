"""Many visitors at once on a shared server: failures, waits and memory; prints a table, asserts nothing.

From the top of a checkout::

    python tests/benchmarks/serve_load.py [--visitors 50] [--seconds 60] [--pause 3] [--catalog demo_data] [--json OUT]

Each visitor speaks to the server as a browser does: logs in, opens the page, and then clicks on perturbations and
switches representations, after a pause of so many seconds on average, until the time is over. A wait ends when the
sentence of the new answer has arrived. Memory is the resident set of the server: when it is ready, at its largest, and
after all have left and their sessions have ended; and once more after a second crowd, which shows what a crowd leaves
behind.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import html
import http.client
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).parent.parent))
from browser import REPOSITORY, free_port

TOKEN = "a-token-for-this-benchmark"
SESSION_SECONDS = 60
OPEN_SECONDS = 120.0
ANSWER_SECONDS = 60.0
# A start that fails is tried again, as a reader would reload the page.
STARTS = 3


@dataclass
class Tally:
    """What happened to all visitors."""

    opens: list[float] = field(default_factory=list)
    clicks: list[float] = field(default_factory=list)
    switches: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    retries: list[str] = field(default_factory=list)


class Visitor:
    """One open page.

    Parameters
    ----------
    port, cookie
        Where the server is, and what it gave to whoever logged in.
    number
        Of the visitor.
    """

    def __init__(self, port: int, cookie: str, number: int) -> None:
        self.port, self.cookie, self.number = port, cookie, number
        self.session = f"s_{number:04d}{random.randrange(10**6):06d}"
        self.names: list[str] = []
        self.right: dict[str, str] = {}
        self.control = self.model = self.answer = self.token = self.ticker = ""
        self.clicked = self.revision = self.ticks = 0
        self.changed = asyncio.Event()

    async def __aenter__(self) -> Visitor:
        import websockets

        page = await asyncio.to_thread(self.get, "/explore/?dataset=depmap")
        found = re.search(r'data-token="([^"]+)"', page)
        self.token = found.group(1) if found else ""
        self.socket = await websockets.connect(
            f"ws://127.0.0.1:{self.port}/explore/ws?session_id={self.session}&dataset=depmap",
            additional_headers={"Cookie": self.cookie},
            origin=f"http://127.0.0.1:{self.port}",
            max_size=None,
        )
        self.listener = asyncio.create_task(self.listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.listener.cancel()
        await self.socket.close()

    def get(self, address: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=OPEN_SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", address, headers={"Cookie": self.cookie})
            answer = connection.getresponse()
            text = answer.read().decode()
            if answer.status != 200:
                message = f"{address}: {answer.status}"
                raise RuntimeError(message)
            return text

    def post(self, call: str, body: dict[str, Any]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
        headers = {
            "Cookie": self.cookie,
            "Origin": f"http://127.0.0.1:{self.port}",
            "Content-Type": "application/json",
            "Marimo-Session-Id": self.session,
            "Marimo-Server-Token": self.token,
        }
        with contextlib.closing(connection):
            connection.request("POST", f"/explore/api/kernel/{call}", body=json.dumps(body), headers=headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                message = f"{call}: {answer.status}"
                raise RuntimeError(message)

    async def listen(self) -> None:
        async for text in self.socket:
            # Most messages say only that a cell waits, runs or is done.
            if '"model-lifecycle"' not in text[:40] and '"cell-op"' not in text[:40]:
                continue
            message = json.loads(text)["data"]
            if message["op"] == "model-lifecycle":
                state = message["message"].get("state", {})
                if "names" in state:
                    self.model, self.names = message["model_id"], state["names"].split("\n")
                self.revision = state.get("revision", self.revision)
                continue
            output = (message.get("output") or {}).get("data") or ""
            if isinstance(output, str):
                self.read(output)

    def read(self, output: str) -> None:
        plain = html.unescape(output)
        wrapped = re.findall(r"<marimo-ui-element object-id='([^']+)'[^>]*><marimo-dropdown(.*?)>", output)
        for object_id, attributes in wrapped:
            if "Right" in html.unescape(attributes):
                self.control = object_id
        for object_id in re.findall(r"<marimo-ui-element object-id='([^']+)'[^>]*><marimo-refresh", output):
            self.ticker = object_id
        if "neighbours are the same" in plain:
            self.answer = plain
        self.changed.set()

    async def until(self, holds: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            self.changed.clear()
            left = deadline - time.monotonic()
            if left <= 0 or self.listener.done():
                message = "the line was cut" if self.listener.done() else f"no answer within {seconds:.0f} s"
                raise TimeoutError(message)
            try:
                await asyncio.wait_for(self.changed.wait(), min(left, 1.0))
            except TimeoutError:
                await self.tick()

    async def tick(self) -> None:
        # A page that waits for work asks after it every second.
        if self.ticker:
            self.ticks += 1
            body = {"objectIds": [self.ticker], "values": [f"1 ({self.ticks})"]}
            await asyncio.to_thread(self.post, "set_ui_element_value", body)

    async def click(self) -> float:
        index = random.randrange(len(self.names))
        if self.names[index] in self.answer:
            index = (index + 1) % len(self.names)
        self.clicked += 1
        body = {
            "modelId": self.model,
            "message": {
                "method": "update",
                "state": {"click": [index, self.clicked, self.revision]},
                "bufferPaths": [],
            },
            "buffers": [],
        }
        began = time.monotonic()
        await asyncio.to_thread(self.post, "set_model_value", body)
        await self.until(lambda: f"{self.names[index]}: " in self.answer, ANSWER_SECONDS)
        return time.monotonic() - began

    async def switch(self, name: str, kind: str) -> float:
        self.answer = ""
        began = time.monotonic()
        body = {"objectIds": [self.control], "values": [[f"{name} · {kind}"]]}
        await asyncio.to_thread(self.post, "set_ui_element_value", body)
        await self.until(lambda: f"in {name}" in self.answer, ANSWER_SECONDS)
        return time.monotonic() - began


RIGHT = (("pca-32", "simple"), ("autoencoder", "learned"), ("autoencoder-seed-1", "learned"), ("raw", "simple"))


async def visit(visitor: Visitor, until: float, tally: Tally, *, pause: float) -> None:
    """Click and switch until the time is over."""
    turn = visitor.number
    while time.monotonic() < until:
        await asyncio.sleep(random.uniform(0.5, 1.5) * pause)
        turn += 1
        if turn % 3:
            tally.clicks.append(await visitor.click())
        else:
            tally.switches.append(await visitor.switch(*RIGHT[turn // 3 % len(RIGHT)]))


async def crowd(port: int, tally: Tally, *, visitors: int, seconds: float, pause: float) -> None:
    """Let many visitors come at once, stay, and leave."""
    cookies = [await asyncio.to_thread(log_in, port) for _ in range(visitors)]

    async def one(number: int) -> None:
        for start in range(STARTS):
            try:
                began = time.monotonic()
                async with Visitor(port, cookies[number], number) as visitor:
                    ready = lambda: bool(visitor.answer and visitor.names and visitor.control)  # noqa: E731
                    await visitor.until(ready, OPEN_SECONDS)
                    tally.opens.append(time.monotonic() - began)
                    try:
                        await visit(visitor, time.monotonic() + seconds, tally, pause=pause)
                    except Exception as error:
                        tally.failures.append(f"visitor {number}: {type(error).__name__}: {error}")
                return
            except Exception as error:
                tally.retries.append(f"visitor {number}: {type(error).__name__}: {error}")
                if start == STARTS - 1:
                    tally.failures.append(f"visitor {number} never got in: {type(error).__name__}: {error}")

    await asyncio.gather(*(one(number) for number in range(visitors)))


def log_in(port: int) -> str:
    """Log in, and return the cookie."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Origin": f"http://127.0.0.1:{port}", "Content-Type": "application/x-www-form-urlencoded"}
    with contextlib.closing(connection):
        connection.request("POST", "/login", body=urlencode({"token": TOKEN, "next": "/"}), headers=headers)
        return (connection.getresponse().getheader("Set-Cookie") or "").partition(";")[0]


def resident_megabytes(process: int) -> float:
    """Memory of a process that is not swapped out."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextlib.contextmanager
def served(catalog: Path, log: Path) -> Iterator[tuple[int, int]]:
    """Serve a catalog until it is warm; its port and its process."""
    port = free_port()
    command = [sys.executable, "-m", "explorer.cli", "serve", str(catalog), "--port", str(port)]
    with log.open("w") as stream:
        server = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env={**os.environ, "EXPLORER_TOKEN": TOKEN},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
        try:
            deadline = time.monotonic() + OPEN_SECONDS
            while not _is_ready(port):
                if server.poll() is not None or time.monotonic() > deadline:
                    message = f"the server did not start: {log.read_text()[-1000:]}"
                    raise RuntimeError(message)
                time.sleep(0.2)
            yield port, server.pid
        finally:
            server.terminate()
            server.wait(30)


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        with contextlib.closing(connection):
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200
    except OSError:
        return False


def seconds_of(values: list[float]) -> str:
    """Median and 95th percentile, in words."""
    if not values:
        return "none"
    ordered = sorted(values)
    high = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return f"{statistics.median(ordered):.2f} s, {high:.2f} s of {len(ordered):,}"


def main() -> None:
    """Run both crowds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--pause", type=float, default=3.0, help="seconds between what one visitor does, on average")
    parser.add_argument("--catalog", type=Path, default=REPOSITORY / "demo_data")
    parser.add_argument("--log", type=Path, default=Path("serve_load.log"))
    parser.add_argument("--leave", type=float, default=SESSION_SECONDS + 30, help="seconds given to sessions to end")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, Any] = {}
    with served(options.catalog, options.log) as (port, process):
        found["ready, MB"] = resident_megabytes(process)
        for crowd_number in (1, 2):
            tally, largest = Tally(), 0.0

            async def watched(tally: Tally = tally) -> float:
                work = asyncio.create_task(
                    crowd(port, tally, visitors=options.visitors, seconds=options.seconds, pause=options.pause)
                )
                most = 0.0
                while not work.done():
                    most = max(most, resident_megabytes(process))
                    await asyncio.sleep(0.5)
                await work
                return most

            largest = asyncio.run(watched())
            time.sleep(options.leave)
            found[f"crowd {crowd_number}"] = {
                "open": seconds_of(tally.opens),
                "click": seconds_of(tally.clicks),
                "switch": seconds_of(tally.switches),
                "failures": tally.failures,
                "retries": tally.retries,
                "largest, MB": largest,
                "after, MB": resident_megabytes(process),
            }
            print(json.dumps(found, indent=2), flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
