"""Several people and one queue, in a real browser: places, what moves them, and pictures made beside the page."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest
import toys
from browser import REPOSITORY, Visit, missing_browser, open_page, serve_notebook, start_browser
from conftest import PROJECT

pytestmark = pytest.mark.skipif(bool(missing_browser()), reason=missing_browser())

APP = PROJECT / "apps" / "explore.py"
PATIENCE = 60_000
# Runs before the server begins: one piece of work at a time, and work that waits for as long as a file stands.
HELD = """
import os, pathlib, time
from explorer import catalog, layout, side_work, work

work.shared_workshop._most_running = 1
folder, prepare, umap = pathlib.Path(os.environ["HELD_FOLDER"]), side_work.prepare_maps, layout.umap_layout

def held(view, say):
    while (folder / view.align).exists():
        say("held", 0.5)
        time.sleep(0.01)

def prepare_maps(found, view, say):
    catalog._shared.get(("held", view.align), lambda: held(view, say))
    prepare(found, view, say)

def umap_layout(made, *, seed=0):
    while (folder / "umap").exists():
        time.sleep(0.01)
    pca = layout.pca_layout(made)
    return layout.Layout("UMAP", pca.coordinates[:, ::-1].copy(), 0.77)

side_work.prepare_maps = prepare_maps
layout.umap_layout = umap_layout
"""


@dataclass(frozen=True)
class Gate:
    """Work on the server that is held by a file of its name."""

    url: str
    folder: Path

    def close(self, name: str) -> None:
        (self.folder / name).touch()

    def open(self, name: str) -> None:
        (self.folder / name).unlink()

    def link(self, align: str, **parameters: str) -> str:
        return f"{self.url}/?{urlencode({'align': align, 'query': 'GENE00', **parameters})}"


@pytest.fixture(scope="module")
def browser():
    with start_browser() as running:
        yield running


@pytest.fixture(scope="module")
def gate(tmp_path_factory) -> Iterator[Gate]:
    folder = tmp_path_factory.mktemp("held")
    (folder / "sitecustomize.py").write_text(HELD, encoding="utf-8")
    environment = {
        "PYTHONPATH": os.pathsep.join((str(folder), str(REPOSITORY))),
        "HELD_FOLDER": str(folder),
        "EXPLORER_CACHE": str(folder / "cache"),
    }
    root = toys.write_catalog(tmp_path_factory.mktemp("catalog"))
    with serve_notebook(APP, "--data", str(root), env=environment, session_seconds=1) as url:
        yield Gate(url, folder)


@contextlib.contextmanager
def opened(browser, url: str) -> Iterator[Visit]:
    with open_page(url, browser=browser, height=1100) as visit:
        visit.page.set_default_timeout(PATIENCE)
        yield visit
        assert visit.problems() == []


def wait_for_text(visit: Visit, text: str) -> None:
    visit.page.get_by_text(text).first.wait_for()


def wait_for_answer(visit: Visit) -> None:
    visit.page.locator("strong", has_text="on both sides").wait_for()
    visit.page.get_by_role("heading", name="How far do they agree?").wait_for()
    assert visit.page.get_by_role("progressbar").count() == 0


def choose_alignment(visit: Visit, method: str) -> None:
    visit.page.get_by_label("Alignment", exact=True).select_option(label=method)


@pytest.mark.slow
def test_a_place_in_the_queue_and_who_leaves_it(gate, browser):
    gate.close("center-scale")
    with opened(browser, gate.link("none")) as first:
        wait_for_answer(first)
        # What is slow is asked for on a page that shows an answer.
        choose_alignment(first, "center-scale")
        first.page.get_by_role("heading", name="Making the maps").wait_for()
        wait_for_text(first, "held")
        with contextlib.ExitStack() as tab, opened(browser, gate.link("center")) as third:
            wait_for_text(third, "waiting for its turn: 1st in the queue, 1 running")
            second = tab.enter_context(opened(browser, gate.link("sphere")))
            wait_for_text(second, "waiting for its turn: 2nd in the queue, 1 running")
            # What stands ready is shown at once, whoever waits.
            with opened(browser, gate.link("none", query="GENE01")) as ready:
                wait_for_answer(ready)
            fourth = tab.enter_context(opened(browser, gate.link("tvn")))
            wait_for_text(fourth, "waiting for its turn: 3rd in the queue, 1 running")
            # Whoever asks for something else instead goes to the end, and the others move up.
            choose_alignment(third, "center-scale-robust")
            wait_for_text(second, "waiting for its turn: 1st in the queue, 1 running")
            wait_for_text(third, "waiting for its turn: 3rd in the queue, 1 running")
            tab.close()
            wait_for_text(third, "waiting for its turn: 1st in the queue, 1 running")
            first.page.get_by_role("button", name="Cancel").click()
            first.page.locator("marimo-callout-output", has_text="cancelled").wait_for()
            wait_for_answer(third)
        gate.open("center-scale")
        first.page.get_by_role("button", name="Begin again").click()
        wait_for_answer(first)


@pytest.mark.slow
def test_controls_work_while_a_page_waits(gate, browser):
    gate.close("tvn")
    with opened(browser, gate.link("none")) as visit:
        wait_for_answer(visit)
        choose_alignment(visit, "tvn")
        visit.page.get_by_role("progressbar").wait_for()
        # The answer to another view does not stand below it.
        assert visit.page.locator("strong", has_text="on both sides").count() == 0
        choose_alignment(visit, "none")
        wait_for_answer(visit)
    gate.open("tvn")


@pytest.mark.slow
def test_endless_resizing_reaches_nobody(gate, browser):
    with opened(browser, gate.link("none")) as visit:
        wait_for_answer(visit)
        sent = []
        visit.page.wait_for_load_state("networkidle")
        visit.page.on("request", lambda request: sent.append(request.url))
        for step in range(40):
            visit.page.set_viewport_size({"width": 700 + 15 * step, "height": 500 + 10 * (step % 7)})
        visit.page.wait_for_function(
            "element => element.linkedMaps.isSettled()", arg=visit.page.locator(".linked-maps").element_handle()
        )
        # The next message is that of a click, so that none of the resizing is still on its way.
        visit.page.get_by_role("slider").first.focus()
        visit.page.keyboard.press("ArrowRight")
        visit.page.wait_for_function("new URLSearchParams(location.search).get('k') === '5'")
        # Tables made anew ask for their rows.
        told = [url for url in sent if not url.endswith("function_call")]
        assert [url.rsplit("/", 1)[-1] for url in told] == ["set_ui_element_value"], "the slider, and nothing before it"


@pytest.mark.slow
def test_pictures_are_made_beside_the_page_and_swapped_in(gate, browser):
    gate.close("umap")
    with opened(browser, gate.link("none")) as one, opened(browser, gate.link("none", query="GENE07")) as other:
        for visit in (one, other):
            wait_for_answer(visit)
            wait_for_text(visit, "Left: PCA picture")
            visit.page.get_by_role("button", name="Make UMAP pictures").click()
            visit.page.get_by_role("heading", name="Making UMAP pictures").wait_for()
            wait_for_text(visit, "the UMAP picture of raw")
        maps = one.page.locator(".linked-maps")
        maps.evaluate("element => { window.__maps = element; }")
        one.page.get_by_label("Context", exact=True).wait_for()
        # The page is at work on something else meanwhile.
        visit.page.get_by_role("slider").first.focus()
        visit.page.keyboard.press("ArrowRight")
        visit.page.wait_for_function("new URLSearchParams(location.search).get('k') === '5'")
        assert visit.page.get_by_text("Left: PCA picture").count() == 1
        gate.open("umap")
        for visit in (one, other):
            wait_for_text(visit, "Left: UMAP picture, trustworthiness 0.77")
            visit.page.get_by_role("progressbar").wait_for(state="detached")
            assert visit.page.get_by_role("button", name="Make UMAP pictures").count() == 0
        assert maps.evaluate("element => window.__maps === element"), "the same maps, with their camera and selection"
