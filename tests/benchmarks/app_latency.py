"""Time what a user waits for in the explore app, in a real browser; prints a table, asserts nothing.

From the top of a checkout, with Chromium installed::

    python tests/benchmarks/app_latency.py [--perturbations 20000] [--features 128] [--repeats 7]

A switch is timed from choosing another representation to the first frame in which both maps and their titles are
those of the new one; a brush from releasing the pointer to the frame in which its table stands; a click
from releasing the pointer to the frame with the new answer. Both representations are switched to once before.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).parent.parent))
from browser import open_page, serve_notebook

if TYPE_CHECKING:
    from browser import Visit
    from playwright.sync_api import Page

NOTEBOOK = Path(__file__).parents[2] / "apps" / "explore.py"
CARD = """
title = "Simulated for timing"
license = "CC0 1.0"
citation = "none"
[roles]
perturbation = "gene"
[contexts.all]
rows = "rows.parquet"
[representations.one]
kind = "simple"
source = "X"
[representations.two]
kind = "learned"
source = "two.parquet"
[representations.three]
kind = "learned"
source = "three.parquet"
"""
# Resolves in the first frame painted after a condition on the page holds.
WAIT = """
([condition, argument]) => new Promise((done) => {
  const holds = new Function('argument', `return ${condition}`);
  const painted = () => done(performance.now());
  const look = () => requestAnimationFrame(holds(argument) ? painted : look);
  look();
})
"""


def write_dataset(folder: Path, n_perturbations: int, n_features: int) -> None:
    """Write three random representations of clustered perturbations."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(60, n_features))
    profiles = centres[random.integers(60, size=n_perturbations)] + random.normal(size=(n_perturbations, n_features))
    names = pl.Series("gene", [f"G{number:06d}" for number in range(n_perturbations)])
    for file, noise in (("rows", 0.0), ("two", 0.7), ("three", 1.4)):
        values = (profiles + noise * random.normal(size=profiles.shape)).astype(np.float32)
        table = pl.DataFrame(values, schema=[f"f{number}" for number in range(n_features)])
        table.insert_column(0, names).write_parquet(folder / f"{file}.parquet")
    (folder / "card.toml").write_text(CARD, encoding="utf-8")


def time_until(page: Page, act: str, condition: str, argument: object = None) -> float:
    """Run an action in the page and return the milliseconds until a condition is painted."""
    started = page.evaluate(f"() => {{ const at = performance.now(); {act}; return at; }}")
    return float(page.evaluate(WAIT, [condition, argument])) - float(started)


def maps_of(page: Page) -> str:
    """Expression for the test hook of the linked maps, which live in a shadow root."""
    page.evaluate(
        """() => { const find = (root) => { for (const node of root.querySelectorAll('*')) {
          if (node.linkedMaps) return node; const inner = node.shadowRoot && find(node.shadowRoot);
          if (inner) return inner; } return null; };
          window.__maps = find(document); }"""
    )
    return "window.__maps.linkedMaps"


def main() -> None:
    """Serve the app on a simulated dataset, time it and print medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--perturbations", type=int, default=20_000)
    parser.add_argument("--features", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "timing"
        folder.mkdir()
        write_dataset(folder, options.perturbations, options.features)
        with serve_notebook(NOTEBOOK, "--data", str(folder)) as address, open_page(address) as visit:
            rows = measure(visit, options.repeats)
    print(f"{options.perturbations:,} perturbations × {options.features} features; milliseconds, median (largest)")
    for what, values in rows.items():
        print(f"{what:40} {statistics.median(values):6.0f} ({max(values):.0f})")


def measure(visit: Visit, repeats: int) -> dict[str, list[float]]:
    """Time switches, clicks and brushes in turn, and count the bytes that a click sends."""
    page = visit.page
    page.get_by_text("are the same on both sides").wait_for()
    page.get_by_text("What agrees anyway").or_(page.get_by_text("No yardstick")).first.wait_for()
    maps = maps_of(page)
    select = page.locator("select").filter(has=page.locator("option", has_text="three · learned")).last
    whats = ("switch of a representation", "click to the new answer", "bytes sent by the click", "brush to its table")
    rows: dict[str, list[float]] = {what: [] for what in whats}
    for name in ("three · learned", "two · learned"):
        select.select_option(label=name)
        page.wait_for_function("name => window.__maps.shadowRoot.textContent.includes(name)", arg=name)
        page.wait_for_timeout(2_000)
    for turn in range(repeats):
        name = ("three · learned", "two · learned")[turn % 2]
        handle = select.element_handle()
        page.evaluate("node => { window.__select = node; }", handle)
        act = (
            f"const option = [...window.__select.options].find((one) => one.text === {name!r});"
            "window.__select.value = option.value;"
            "window.__select.dispatchEvent(new Event('change', { bubbles: true }))"
        )
        nodes = "[...window.__maps.shadowRoot.querySelectorAll('.title')]"
        settled = f"{maps}.isSettled()"
        switched = f"{nodes}.some((node) => node.textContent === argument) && {settled}"
        rows["switch of a representation"].append(time_until(page, act, switched, name))
        page.wait_for_timeout(1_500)
        index = 101 + 97 * turn
        x, y = page.evaluate(f"index => {maps}.positionOf(0, index)", index)
        page.mouse.move(x, y)
        target = page.evaluate(f"() => {maps}.pointed()")
        page.mouse.down()
        sent = sum(visit.posted)
        started = float(page.evaluate("() => performance.now()"))
        page.mouse.up()
        wanted = f"G{target:06d}:"
        ended = float(page.evaluate(WAIT, [f"document.body.innerText.includes(argument) && {settled}", wanted]))
        rows["click to the new answer"].append(ended - started)
        rows["bytes sent by the click"].append(sum(visit.posted) - sent)
        page.wait_for_timeout(1_500)
        box = page.evaluate("() => { const r = window.__maps.getBoundingClientRect(); return [r.left, r.top]; }")
        page.mouse.move(box[0] + 150 + 5 * turn, box[1] + 200)
        page.mouse.down()
        page.mouse.move(box[0] + 260, box[1] + 330, steps=4)
        count = page.evaluate(f"() => {maps}.selected().length")
        started = float(page.evaluate("() => performance.now()"))
        page.mouse.up()
        heading = f"Selected in the maps: {count}"
        ended = float(page.evaluate(WAIT, ["document.body.innerText.includes(argument)", heading]))
        rows["brush to its table"].append(ended - started)
        page.keyboard.press("Escape")
        page.wait_for_timeout(500)
    return rows


if __name__ == "__main__":
    main()
