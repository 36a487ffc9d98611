"""Open, search, click, brush and switch on a large map in the shared app, in a real browser: time, bytes, memory.

From the top of a checkout, with Chromium installed::

    python tests/benchmarks/large_map.py [--perturbations 100000] [--features 512] [--guides 1] [--repeats 7]
        [--folder FOLDER] [--json OUT]

A catalog with planted modules is written to a temporary folder, or to one that is given, where it is kept and found
again, and served with ``explorer serve``. Times run from the act of the user to the first frame in which its effect is
painted. Bytes are those of WebSocket messages to the browser and of request bodies from it, from the act until
the page has settled. The cache on disk is an empty folder of its own. Prints a table, asserts nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).parent.parent))
from app_latency import WAIT
from browser import REPOSITORY, free_port, open_page, start_browser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from browser import Visit
    from playwright.sync_api import Page

MODULE_SIZE = 20
N_CONTROLS = 4_000
BATCHES = ("A", "B")
NOISE = {"simple": 1.0, "learned": 0.8, "other": 1.5}
BLOCK_ROWS = 10_000
SETTLED_SECONDS = 1.0
LONGEST_SECONDS = 900
CARD = """
title = "Planted modules, for timing"
license = "CC0 1.0"
citation = "none"
relationships = "known"
[roles]
perturbation = "gene"
control = "control"
batch = "batch"
{guide}
[contexts.all]
rows = "rows.parquet"
"""
REPRESENTATION = """
[representations.{name}]
kind = "{kind}"
source = "{name}.npy"
"""
KNOWN = """
kind = "relationships"
title = "Planted"
license = "CC0 1.0"
[relationships.Modules]
file = "pairs.parquet"
license = "CC0 1.0"
citation = "none"
[gene_sets.Modules]
file = "sets.gmt"
license = "CC0 1.0"
citation = "none"
"""


@dataclass(frozen=True)
class Server:
    """A server that runs, and where."""

    address: str
    pid: int

    @property
    def megabytes(self) -> float:
        """Memory that it holds now."""
        return resident_megabytes(self.pid)


@dataclass
class Figures:
    """Medians are taken of these: milliseconds, and kilobytes to and from the browser, by what was done."""

    milliseconds: dict[str, list[float]] = field(default_factory=dict)
    received: dict[str, list[float]] = field(default_factory=dict)
    posted: dict[str, list[float]] = field(default_factory=dict)
    once: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Give every figure."""
        return {
            "milliseconds": self.milliseconds,
            "kilobytes to the browser": self.received,
            "kilobytes from the browser": self.posted,
            "once": self.once,
        }


def write_catalog(folder: Path, n_perturbations: int, n_features: int, n_guides: int) -> None:
    """Write a dataset of planted modules of 20, seen with different noise in each representation, and what is known."""
    random = np.random.default_rng(0)
    names = np.array([f"G{number:06d}" for number in range(n_perturbations)])
    module = np.arange(n_perturbations) // MODULE_SIZE
    # Perturbation, or −1 for a control; one row a guide.
    owner = np.r_[np.repeat(np.arange(n_perturbations), n_guides), np.full(N_CONTROLS, -1)]
    order = random.permutation(len(owner))
    owner, guide = owner[order], np.r_[np.tile(np.arange(n_guides), n_perturbations), np.zeros(N_CONTROLS, int)][order]
    gene = np.where(owner >= 0, names[owner], "control")
    data = folder / "timing"
    data.mkdir(parents=True)
    columns = {"gene": gene, "batch": random.choice(BATCHES, size=len(owner))}
    if n_guides > 1:
        columns["guide"] = np.char.add(np.char.add(gene, "-"), guide.astype(str))
    pl.DataFrame(columns).write_parquet(data / "rows.parquet")
    cards = []
    for name, noise in NOISE.items():
        centres = random.normal(size=(module[-1] + 1, n_features)).astype(np.float32)
        kept = np.lib.format.open_memmap(
            data / f"{name}.npy", mode="w+", dtype=np.float32, shape=(len(owner), n_features)
        )
        for start in range(0, len(owner), BLOCK_ROWS):
            own = owner[start : start + BLOCK_ROWS]
            signal_here = np.where((own >= 0)[:, None], centres[module[own]], 0)
            kept[start : start + BLOCK_ROWS] = signal_here + noise * random.normal(size=signal_here.shape)
        kept.flush()
        cards.append(REPRESENTATION.format(name=name, kind="simple" if name == "simple" else "learned"))
    guide_role = 'guide = "guide"' if n_guides > 1 else ""
    (data / "card.toml").write_text(CARD.format(guide=guide_role) + "".join(cards), encoding="utf-8")
    known = folder / "known"
    known.mkdir()
    (known / "card.toml").write_text(KNOWN, encoding="utf-8")
    members = [names[start : start + MODULE_SIZE] for start in range(0, n_perturbations, MODULE_SIZE)]
    pairs = [(own[0], other) for own in members for other in own[1:]]
    pl.DataFrame(pairs, schema=["one", "other"], orient="row").write_parquet(known / "pairs.parquet")
    lines = (f"module {number}\t\t" + "\t".join(own) for number, own in enumerate(members))
    (known / "sets.gmt").write_text("\n".join(lines) + "\n", encoding="utf-8")


@contextlib.contextmanager
def serve_catalog(catalog: Path) -> Iterator[Server]:
    """Serve a catalog with ``explorer serve`` on this machine; the server stops at the end."""
    port = free_port()
    command = [sys.executable, "-m", "explorer.cli", "serve", str(catalog), "--port", str(port)]
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryFile(mode="w+") as log:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "EXPLORER_CACHE": cache}
        environment.pop("EXPLORER_TOKEN", None)
        server = subprocess.Popen(command, cwd=cache, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            address = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + LONGEST_SECONDS
            while not _is_ready(address):
                if server.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    message = f"the server at {address} did not become ready: {log.read()[-3000:]}"
                    raise RuntimeError(message)
                time.sleep(0.1)
            yield Server(address, server.pid)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def _is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/ready", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def resident_megabytes(pid: int) -> float:
    """Memory that a process holds now."""
    return _status(pid, "VmRSS:") / 1024


def peak_megabytes(pid: int) -> float:
    """Most memory that a process has held."""
    return _status(pid, "VmHWM:") / 1024


def _status(pid: int, key: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(key)))


def tab_megabytes() -> float:
    """Memory of the largest page of this user's browsers."""
    found = [0.0]
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, StopIteration):
            if b"--type=renderer" in (folder / "cmdline").read_bytes():
                found.append(resident_megabytes(int(folder.name)))
    return max(found)


def settle(visit: Visit, *, seconds: float = SETTLED_SECONDS) -> None:
    """Wait until nothing has been sent either way for a while."""
    before, since = -1, time.monotonic()
    while time.monotonic() - since < seconds:
        now = len(visit.received) + len(visit.posted)
        if now != before:
            before, since = now, time.monotonic()
        visit.page.wait_for_timeout(50)


def timed(figures: Figures, what: str, visit: Visit, act: Callable[[], tuple[str, object]]) -> None:
    """Do something, wait for its effect and for the page to settle, and note time and bytes.

    Parameters
    ----------
    figures, what, visit
        Where to note it, its name, and the page.
    act
        Does it, and returns an expression that holds when the effect is there, and its argument; it sets
        ``window.__began`` if it takes time of its own before the user's last act.
    """
    settle(visit)
    visit.forget()
    page = visit.page
    page.evaluate("() => { window.__began = performance.now(); }")
    condition, argument = act()
    ended = float(page.evaluate(WAIT, [condition, argument]))
    figures.milliseconds.setdefault(what, []).append(ended - float(page.evaluate("() => window.__began")))
    settle(visit)
    figures.received.setdefault(what, []).append(sum(visit.received) / 1000)
    figures.posted.setdefault(what, []).append(sum(visit.posted) / 1000)


def find_maps(page: Page) -> None:
    """Wait for the linked maps, and keep their host in ``window.__maps``."""
    page.wait_for_function(
        """() => { const find = (root) => { for (const node of root.querySelectorAll('*')) {
          if (node.linkedMaps) return node; const inner = node.shadowRoot && find(node.shadowRoot);
          if (inner) return inner; } return null; };
          window.__maps = find(document); return window.__maps && window.__maps.linkedMaps.isSettled(); }""",
        timeout=LONGEST_SECONDS * 1000,
    )


def begin(page: Page) -> None:
    """Say that the user's last act is now."""
    page.evaluate("() => { window.__began = performance.now(); }")


def choose(page: Page, label: str, option: str) -> None:
    """Choose an option of a labelled menu."""
    select = page.get_by_label(label, exact=True).or_(page.locator(f"label:has-text('{label}') select")).first
    value = select.locator("option", has_text=option).first.get_attribute("value")
    begin(page)
    select.select_option(value=value)


def measure(visit: Visit, figures: Figures, repeats: int, n_perturbations: int) -> None:
    """Search, click, brush, switch and recolour in turn."""
    page = visit.page
    maps = "window.__maps.linkedMaps"
    settled = f"{maps}.isSettled()"
    said = f"document.body.innerText.includes(argument) && {settled}"
    titles = "[...window.__maps.shadowRoot.querySelectorAll('.title')].map((node) => node.textContent)"

    def search(name: str) -> tuple[str, object]:
        box = page.get_by_role("combobox", name="Perturbation")
        box.fill(name[:-1])
        page.get_by_role("option", name=name).wait_for()
        begin(page)
        page.get_by_role("option", name=name).click()
        return said, f"{name}:"

    def type_name(name: str) -> tuple[str, object]:
        box = page.get_by_role("combobox", name="Perturbation")
        box.fill("")
        begin(page)
        box.fill(name)
        found = "[...window.__maps.shadowRoot.querySelectorAll('.match')].some((row) => row.textContent === argument)"
        return found, name

    def click(index: int) -> tuple[str, object]:
        x, y = page.evaluate(f"index => {maps}.positionOf(0, index)", index)
        page.mouse.move(x, y)
        target = page.evaluate(f"() => {maps}.pointed()")
        page.mouse.down()
        begin(page)
        page.mouse.up()
        return said, f"G{target:06d}:"

    def brush(width: int, height: int) -> tuple[str, object]:
        left, top = page.evaluate(
            "() => { const r = window.__maps.shadowRoot.querySelector('.overlay').getBoundingClientRect();"
            " return [r.left + r.width / 2, r.top + r.height / 2]; }"
        )
        page.mouse.move(left - width / 2, top - height / 2)
        page.mouse.down()
        page.mouse.move(left + width / 2, top + height / 2, steps=4)
        count = page.evaluate(f"() => new Promise(done => requestAnimationFrame(() => done({maps}.selected().length)))")
        figures.once[f"points in a brush of {width} × {height}"] = count
        begin(page)
        page.mouse.up()
        return "document.body.innerText.includes(argument)", f"Selected in the maps: {count}"

    def switch(name: str) -> tuple[str, object]:
        choose(page, "Right", name)
        return f"{titles}[1].includes(argument) && {settled}", name

    def own_list(names: str) -> tuple[str, object]:
        box = page.locator("textarea").first
        box.fill(names)
        begin(page)
        box.blur()
        return said, "Your list"

    def neighbors(k: int) -> tuple[str, object]:
        begin(page)
        slider = page.get_by_role("slider").first
        slider.focus()
        page.keyboard.press("ArrowRight")
        return said, f"of {k} neighbours"

    for name in ("other", "learned"):
        timed(figures, "first switch of a representation", visit, partial(switch, name))
    for turn in range(repeats):
        target = f"G{(1234 + 7919 * turn) % n_perturbations:06d}"
        timed(figures, "type a name to the list", visit, partial(type_name, target))
        page.keyboard.press("Escape")
        timed(figures, "search: choose to repainted", visit, partial(search, target))
        timed(figures, "click to the new answer", visit, partial(click, (4321 + 101 * turn) % n_perturbations))
        timed(figures, "small brush to its table", visit, partial(brush, 10 + turn, 10))
        timed(figures, "large brush to its table", visit, partial(brush, 150 + turn, 150))
        page.keyboard.press("Escape")
        timed(figures, "another k", visit, partial(neighbors, 11 + turn))
        timed(figures, "switch of a representation", visit, partial(switch, ("other", "learned")[turn % 2]))
    page.keyboard.press("Escape")
    timed(figures, "own list", visit, lambda: own_list(" ".join(f"G{number:06d}" for number in range(7, 57))))


def main() -> None:
    """Write, serve, measure, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--perturbations", type=int, default=100_000)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--guides", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)) / f"{options.perturbations}x{options.features}x{options.guides}"
        if not folder.is_dir():
            write_catalog(folder, options.perturbations, options.features, options.guides)
        figures = run(folder, options)
    print(
        f"{options.perturbations:,} perturbations × {options.features} features, {options.guides} row(s) each; "
        f"median (largest) of {options.repeats}"
    )
    print(f"{'':40} {'ms':>14} {'KB received':>14} {'KB sent':>10}")
    for what, values in figures.milliseconds.items():
        middle = f"{statistics.median(values):.0f} ({max(values):.0f})"
        received, posted = (statistics.median(part[what]) for part in (figures.received, figures.posted))
        print(f"{what:40} {middle:>14} {received:>14.1f} {posted:>10.1f}")
    for what, value in figures.once.items():
        print(f"{what:40} {value:14,.1f}")
    if options.json:
        options.json.write_text(json.dumps(figures.as_json(), indent=1) + "\n", encoding="utf-8")


def run(folder: Path, options: argparse.Namespace) -> Figures:
    """Serve a catalog and measure it from the first page to the last act."""
    figures = Figures()
    began = time.monotonic()
    with serve_catalog(folder) as server, start_browser() as browser:
        figures.once["seconds to ready, first pages made"] = time.monotonic() - began
        figures.once["MB of the server, ready"] = server.megabytes
        figures.once["MB of the server, most until then"] = peak_megabytes(server.pid)
        with open_page(server.address, browser=browser) as visit:
            opened(visit, server, figures, "first page opened")
            figures.once["MB of the server, one page"] = server.megabytes
            figures.once["MB of the tab"] = tab_megabytes()
            measure(visit, figures, options.repeats, options.perturbations)
            figures.once["MB of the tab, after all"] = tab_megabytes()
            before = server.megabytes
            others = []
            with contextlib.ExitStack() as pages:
                for _ in range(3):
                    other = pages.enter_context(open_page(server.address, browser=browser))
                    opened(other, server, figures, "another page opened")
                    others.append(server.megabytes)
            figures.once["MB of one more session"] = (others[-1] - before) / len(others)
            figures.once["MB of the server, after all"] = server.megabytes
            figures.once["MB of the server, most"] = peak_megabytes(server.pid)
    return figures


def opened(visit: Visit, server: Server, figures: Figures, what: str) -> None:
    """Open the explore page, and wait until everything on it stands."""
    page = visit.page
    visit.forget()
    page.goto(f"{server.address}/explore/")
    page.get_by_text("are the same on both sides").wait_for(timeout=LONGEST_SECONDS * 1000)
    find_maps(page)
    ended = float(page.evaluate("() => performance.now()"))
    figures.milliseconds.setdefault(what, []).append(ended)
    page.get_by_text("What agrees anyway").or_(page.get_by_text("No yardstick")).first.wait_for(
        timeout=LONGEST_SECONDS * 1000
    )
    figures.milliseconds.setdefault(f"{what}, everything below the maps too", []).append(
        float(page.evaluate("() => performance.now()"))
    )
    settle(visit)
    for name in (what, f"{what}, everything below the maps too"):
        figures.received.setdefault(name, []).append(sum(visit.received) / 1000)
        figures.posted.setdefault(name, []).append(sum(visit.posted) / 1000)


if __name__ == "__main__":
    main()
