"""The explore notebook as a user meets it, in a real browser: over the demo, and over data that attacks the page."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

import numpy as np
import polars as pl
import pytest
import toys
from browser import Visit, missing_browser, open_page, serve_notebook, start_browser
from conftest import DEMO, PROJECT

from explorer.catalog import open_catalog, shared_map
from explorer.side_by_side import answer_view, table_of
from explorer.view import View

if TYPE_CHECKING:
    from playwright.sync_api import WebSocket

pytestmark = pytest.mark.skipif(bool(missing_browser()), reason=missing_browser())

APP = PROJECT / "apps" / "explore.py"
SCRIPT = "window.__pwned=1"
PAYLOADS = (
    f"<img src=x onerror={SCRIPT}>",
    f"<script src=data:text/javascript,{SCRIPT}></script>",
    "<iframe srcdoc='<script>parent.__pwned=1</script>'>",
    f"[x](javascript:{SCRIPT})",
    rf"$\href{{javascript:{SCRIPT}}}{{x}}$",
)
PATIENCE = 30_000
# The marks of an HTML name that was taken as markup, anywhere in the page, shadow roots included.
FOREIGN_ELEMENTS = """() => {
    const found = [];
    const look = (root) => {
        for (const element of root.querySelectorAll("*")) {
            const source = element.getAttribute("src") ?? "";
            const link = element.getAttribute("href") ?? "";
            if (source === "x" || source.startsWith("data:text") || link.startsWith("javascript:")
                || element.hasAttribute("onerror") || element.hasAttribute("srcdoc")) {
                found.push(element.outerHTML.slice(0, 200));
            }
            if (element.shadowRoot) look(element.shadowRoot);
        }
    };
    look(document);
    return found;
}"""

BACKGROUND = """() => {
    const context = document.createElement("canvas").getContext("2d");
    context.fillStyle = getComputedStyle(document.body).backgroundColor;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
}"""


@dataclass(frozen=True)
class Explore:
    """The page of the notebook, in words a user would use."""

    visit: Visit

    @property
    def page(self):
        return self.visit.page

    def wait_for_answer(self, query: str) -> None:
        """Wait until all that depends on the query is shown."""
        self.page.locator("strong", has_text=f"{query}: ").filter(has_text="on both sides").wait_for()
        self.wait_for_parameter("query", query)
        self.page.get_by_role("heading", name="How far do they agree?").wait_for()
        self.settle()

    def wait_for_parameter(self, name: str, value: str) -> None:
        self.page.wait_for_function(
            "([name, value]) => new URLSearchParams(location.search).get(name) === value", arg=[name, value]
        )

    def parameters(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.page.url).query).items()}

    def sentence(self) -> str:
        return self.page.locator("strong", has_text="on both sides").inner_text()

    def table(self, header: str):
        """The table that has a column of this name."""
        return self.page.locator("marimo-table").filter(has=self.page.get_by_role("columnheader", name=header))

    def rows(self, header: str = "neighbour of") -> list[list[str]]:
        lines = self.table(header).locator("tbody tr").all()
        return [[cell.strip() for cell in line.locator("td").all_inner_texts()] for line in lines]

    def wait_for_first_column(self, header: str, names: list[str]) -> None:
        cells = self.table(header).locator("tbody tr td:first-child")
        cells.first.wait_for()
        handle = self.table(header).element_handle()
        self.page.wait_for_function(
            """([table, expected]) => {
                const rows = [...(table.shadowRoot ?? table).querySelectorAll("tbody tr")];
                const shown = rows.map((row) => row.querySelector("td").innerText.trim());
                return JSON.stringify(shown) === JSON.stringify(expected);
            }""",
            arg=[handle, names],
        )

    def notices(self) -> list[str]:
        boxes = self.page.locator("marimo-callout-output").locator(".markdown")
        return [text.strip() for text in boxes.all_inner_texts() if text.strip()]

    def wait_for_notice(self, text: str) -> None:
        self.page.locator("marimo-callout-output", has_text=text).wait_for()

    def choose(self, label: str, option: str) -> None:
        self.page.get_by_label(label, exact=True).select_option(label=option)

    def chosen(self, label: str) -> str:
        return self.page.get_by_label(label, exact=True).evaluate("select => select.selectedOptions[0].label")

    @property
    def search(self):
        return self.page.get_by_role("combobox", name="Perturbation")

    # The maps, by the same handles as in test_panels_browser.

    @property
    def maps(self):
        return self.page.locator(".linked-maps")

    def ask(self, expression: str):
        return self.maps.evaluate(f"element => element.linkedMaps.{expression}")

    def settle(self) -> None:
        self.maps.wait_for()
        self.page.wait_for_function(
            "element => element.linkedMaps?.isSettled() && element.linkedMaps.paints(0) > 0",
            arg=self.maps.element_handle(),
        )

    def positions(self, n: int, *, side: int = 0) -> list[tuple[float, float]]:
        """Where each point is on the page."""
        self.maps.scroll_into_view_if_needed()
        self.settle()
        return [
            (x, y)
            for x, y in self.maps.evaluate(
                "(element, [side, n]) => Array.from({ length: n }, (_, i) => element.linkedMaps.positionOf(side, i))",
                [side, n],
            )
        ]

    def painted(self, side: int) -> int:
        """Pixels with a point on them."""
        return (
            self.page.locator("canvas.points")
            .nth(side)
            .evaluate(
                """canvas => {
                    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                    let drawn = 0;
                    for (let k = 3; k < data.length; k += 4) drawn += data[k] > 0;
                    return drawn;
                }"""
            )
        )

    def drag(self, start: tuple[float, float], stop: tuple[float, float]) -> None:
        self.page.mouse.move(*start)
        self.page.mouse.down()
        self.page.mouse.move(*stop, steps=4)
        self.page.mouse.up()


@pytest.fixture(scope="module")
def browser():
    with start_browser() as running:
        yield running


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serve_notebook(APP) as url:
        yield url


@pytest.fixture(scope="module")
def visit(browser) -> Iterator[Visit]:
    with open_page("about:blank", browser=browser, height=1100) as found:
        found.page.set_default_timeout(PATIENCE)
        yield found


@contextlib.contextmanager
def opened(visit: Visit, url: str, *, query: str) -> Iterator[Explore]:
    """Open the notebook in a session of its own; whatever the test then does, nothing may go wrong on the page."""
    visit.page.goto("about:blank")
    visit.page.set_viewport_size({"width": 1280, "height": 1100})
    visit.page.mouse.move(0, 0)
    visit.forget()
    visit.page.goto(url)
    explore = Explore(visit)
    explore.wait_for_answer(query)
    yield explore
    assert visit.problems() == []
    assert visit.page.evaluate("window.__pwned") is None
    assert visit.page.evaluate(FOREIGN_ELEMENTS) == []


@pytest.fixture
def explore(server, visit) -> Iterator[Explore]:
    with opened(visit, server, query="NDUFV2") as found:
        yield found


@pytest.fixture(scope="module")
def names() -> tuple[str, ...]:
    """Perturbations of the demo, in the order of the maps."""
    catalog = open_catalog(DEMO)
    return shared_map(catalog.dataset("depmap"), "skin", "double-centered").names


def expected_neighbors(**changes: object) -> list[str]:
    """The neighbour table that the package computes for a view of the demo."""
    catalog = open_catalog(DEMO)
    values = {"query": "NDUFV2", "context": "skin", "left": "double-centered", "right": "autoencoder"}
    found = answer_view(catalog, View(dataset="depmap", **{**values, **changes}))
    return table_of(catalog, found.view, found.comparison)["perturbation"].to_list()


def apart(places: list[tuple[float, float]], *, among: int = 400) -> int:
    """A point that no other lies near."""

    def room(index: int) -> float:
        x, y = places[index]
        return min((x - u) ** 2 + (y - v) ** 2 for other, (u, v) in enumerate(places) if other != index)

    return max(range(among), key=room)


# ---------------------------------------------------------------- first view


def test_first_view(explore):
    assert explore.sentence().endswith("on both sides (by chance 0.029 of 10).")
    assert explore.page.get_by_text("Not known is not false.").count() == 1
    assert all(explore.painted(side) > 1000 for side in (0, 1))
    assert "3,465 perturbations, none selected" in explore.page.locator(".status").inner_text()
    explore.wait_for_first_column("neighbour of", expected_neighbors())
    assert explore.rows("gene set")
    assert explore.notices() == []
    assert explore.page.get_by_text("None", exact=True).count() == 0
    assert explore.search.input_value() == "NDUFV2"
    assert set(explore.parameters()) >= {"dataset", "context", "query", "left", "right", "align", "k", "recipes"}
    charts = explore.page.locator("marimo-vega, .vega-embed").locator("canvas, svg")
    charts.first.wait_for()


@pytest.mark.parametrize("width", [1280, 1024])
def test_no_sideways_scrolling(explore, width):
    explore.page.set_viewport_size({"width": width, "height": 800})
    explore.page.wait_for_function("width => innerWidth === width", arg=width)
    explore.settle()
    assert explore.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    stages = [explore.page.locator("canvas.overlay").nth(side).bounding_box() for side in (0, 1)]
    assert stages[0]["y"] == stages[1]["y"], "side by side"
    assert stages[1]["x"] + stages[1]["width"] <= width


def test_dark_theme(server, browser):
    with open_page(server, browser=browser, dark=True) as visit:
        explore = Explore(visit)
        visit.page.set_default_timeout(PATIENCE)
        explore.wait_for_answer("NDUFV2")
        visit.page.locator(".linked-maps[data-theme=dark]").wait_for()
        assert max(visit.page.evaluate(BACKGROUND)) < 60
        assert visit.problems() == []


# ---------------------------------------------------------------- choosing a query


def test_search_as_you_type(explore):
    explore.search.click()
    explore.page.keyboard.type("usp2")
    options = explore.page.locator(".match")
    options.filter(has_text="USP22").wait_for()
    shown = options.all_inner_texts()
    assert shown[0].startswith("USP2")
    assert all("USP2" in name.upper() for name in shown)
    explore.page.keyboard.type("2")
    explore.page.locator(".match[role=option][aria-selected=true]").filter(has_text="USP22").wait_for()
    explore.page.keyboard.press("Enter")
    explore.wait_for_answer("USP22")
    assert explore.sentence().startswith("USP22: ")
    explore.wait_for_first_column("neighbour of", expected_neighbors(query="USP22"))
    assert explore.search.input_value() == "USP22"


def test_search_by_keyboard(explore):
    # Tab reaches the box from the last control: only links to examples lie between.
    explore.page.locator("select").last.focus()
    between = explore.page.locator("a[href*='query=']").count()
    for _ in range(between + 1):
        explore.page.keyboard.press("Tab")
    assert explore.search.evaluate("input => input.getRootNode().activeElement === input")
    explore.page.keyboard.type("usp2")
    options = explore.page.locator(".match")
    options.nth(1).wait_for()
    first, second = options.all_inner_texts()[:2]
    assert explore.page.locator(".match[role=option][aria-selected=true]").inner_text() == first
    explore.page.keyboard.press("ArrowDown")
    assert explore.page.locator(".match[role=option][aria-selected=true]").inner_text() == second
    assert explore.search.get_attribute("aria-activedescendant") == options.nth(1).get_attribute("id")
    explore.page.keyboard.press("ArrowUp")
    assert explore.page.locator(".match[role=option][aria-selected=true]").inner_text() == first
    explore.page.keyboard.press("ArrowDown")
    explore.page.keyboard.press("Enter")
    explore.wait_for_answer(second)


def test_search_that_finds_nothing(explore):
    explore.search.click()
    explore.page.keyboard.type(PAYLOADS[0])
    explore.page.get_by_text("no perturbation has this in its name").wait_for()
    explore.page.keyboard.press("Escape")
    assert explore.search.input_value() == "NDUFV2"
    assert explore.sentence().startswith("NDUFV2: ")


@pytest.mark.parametrize("side", [0, 1])
def test_click_on_a_point_makes_it_the_query(explore, names, side):
    places = explore.positions(len(names), side=side)
    index = apart(places)
    explore.page.mouse.click(*places[index])
    explore.wait_for_answer(names[index])
    explore.wait_for_first_column("neighbour of", expected_neighbors(query=names[index]))


@pytest.mark.slow
def test_example_is_one_click_away(explore):
    explore.page.get_by_role("link", name="USP22 in soft_tissue").click()
    explore.wait_for_answer("USP22")
    explore.wait_for_parameter("context", "soft_tissue")
    assert explore.notices() == []


# ---------------------------------------------------------------- selecting


def rectangle_of_few(places: list[tuple[float, float]]) -> tuple[tuple[int, int], int, list[int]]:
    """A square, by centre and reach, with three to ten points inside and none near its edge."""
    every = np.array(places)
    for x, y in np.rint(every[:500]).astype(int).tolist():
        distance = np.abs(every - (x, y)).max(axis=1)
        for reach in range(6, 60):
            inside = np.flatnonzero(distance < reach)
            if 3 <= len(inside) <= 10 and not (np.abs(distance - reach) < 1.5).any():
                return (x, y), reach, inside.tolist()
    message = "no such square"
    raise AssertionError(message)


def brush(explore: Explore, names: tuple[str, ...]) -> set[str]:
    """Drag a square over a few points of the left map; return the names inside it."""
    (x, y), reach, inside = rectangle_of_few(explore.positions(len(names)))
    explore.drag((x - reach, y - reach), (x + reach, y + reach))
    explore.page.locator(".status", has_text=f"{len(inside)} of 3,465 selected").wait_for()
    return {names[index] for index in inside}


def test_brush_lists_exactly_what_is_inside(explore, names):
    inside = brush(explore, names)
    explore.page.get_by_role("heading", name=f"Selected in the maps: {len(inside)}").wait_for()
    selected = explore.page.locator("marimo-table").first
    selected.locator("tbody tr").nth(len(inside) - 1).wait_for()
    assert set(selected.locator("tbody tr td:first-child").all_inner_texts()) == inside
    explore.page.keyboard.press("Escape")
    explore.page.get_by_role("heading", name="Selected in the maps").wait_for(state="detached")


@pytest.mark.slow
def test_representation_switch_keeps_camera_and_selection(explore, names):
    brush(explore, names)
    explore.page.get_by_role("button", name="zoom in").first.click()
    explore.settle()
    camera, selected = explore.ask("camera(0)"), explore.ask("selected()")
    element = explore.maps.element_handle()
    assert camera["zoom"] > 1
    explore.choose("Right", "pca-32 · simple")
    explore.wait_for_parameter("right", "pca-32")
    explore.page.get_by_text("pca-32 · simple", exact=True).locator("visible=true").first.wait_for()
    explore.wait_for_first_column("neighbour of", expected_neighbors(right="pca-32"))
    assert explore.ask("camera(0)") == camera
    assert explore.ask("selected()") == selected
    assert element.evaluate("element => element.isConnected"), "the maps were not built again"


# ---------------------------------------------------------------- controls


def test_swap(explore):
    explore.page.get_by_role("button", name="swap").click()
    explore.wait_for_parameter("left", "autoencoder")
    explore.wait_for_parameter("right", "double-centered")
    explore.page.locator(".title", has_text="autoencoder · learned").first.wait_for()
    assert explore.page.locator(".title").all_inner_texts() == ["autoencoder · learned", "double-centered · simple"]
    assert (explore.chosen("Left"), explore.chosen("Right")) == ("autoencoder · learned", "double-centered · simple")
    # And once more after a choice by hand, which the first swap does not know of.
    explore.choose("Left", "double-centered · simple")
    explore.wait_for_parameter("left", "double-centered")
    explore.choose("Right", "raw · simple")
    explore.wait_for_parameter("right", "raw")
    explore.page.get_by_role("button", name="swap").click()
    explore.wait_for_parameter("left", "raw")
    explore.wait_for_parameter("right", "double-centered")


def test_context_switch_keeps_the_query(explore):
    explore.search.fill("USP22")
    explore.page.keyboard.press("Enter")
    explore.wait_for_answer("USP22")
    explore.choose("Context", "soft_tissue")
    explore.wait_for_parameter("context", "soft_tissue")
    explore.wait_for_first_column("neighbour of", expected_neighbors(query="USP22", context="soft_tissue"))
    assert explore.sentence().startswith("USP22: ")
    assert explore.parameters()["query"] == "USP22"
    assert explore.table("in skin").count() == 1
    assert explore.notices() == []


@pytest.mark.slow
def test_alignment(explore):
    explore.choose("Alignment", "center-scale")
    explore.wait_for_parameter("align", "center-scale")
    explore.wait_for_first_column("neighbour of", expected_neighbors(align="center-scale"))


def test_number_of_neighbours(explore):
    slider = explore.page.get_by_role("slider")
    slider.focus()
    for _ in range(2):
        explore.page.keyboard.press("ArrowLeft")
    explore.wait_for_parameter("k", "8")
    explore.page.locator("strong", has_text="of 8 neighbours").wait_for()
    explore.wait_for_first_column("neighbour of", expected_neighbors(k=8))


def test_opposites(explore):
    explore.choose("Show the most", "opposite")
    explore.wait_for_parameter("direction", "opposite")
    explore.page.locator("strong", has_text="10 opposites are the same on both sides").wait_for()
    explore.wait_for_first_column("neighbour of", expected_neighbors(direction="opposite"))


def test_own_list(explore):
    explore.page.get_by_placeholder("your own list").fill("usp22, NDUFA8\nNOTAGENE")
    explore.page.keyboard.press("Tab")
    explore.wait_for_notice("1 of 3 names of your list are not in this map: 'NOTAGENE'")
    explore.page.locator(".entry", has_text="your list").wait_for()
    explore.wait_for_parameter("list", "usp22,NDUFA8,NOTAGENE")


# ---------------------------------------------------------------- what travels

LAYOUTS = {"names", "left", "right", "revision"}


@contextlib.contextmanager
def updates_of_maps(visit: Visit) -> Iterator[list[tuple[set[str], int]]]:
    """What messages to the maps change, and how long each is."""
    found: list[tuple[set[str], int]] = []

    def note(data: str | bytes) -> None:
        frame = json.loads(data)
        if frame["op"] == "model-lifecycle":
            message = frame["data"]["message"]
            found.append(({*message["state"], *(path[0] for path in message["buffer_paths"])}, len(data)))

    def listen(websocket: "WebSocket") -> None:
        websocket.on("framereceived", note)

    visit.page.on("websocket", listen)
    try:
        yield found
    finally:
        visit.page.remove_listener("websocket", listen)


@pytest.mark.slow
def test_each_picture_travels_once(server, visit, names):
    with updates_of_maps(visit) as updates, opened(visit, server, query="NDUFV2") as explore:

        def changed() -> set[str]:
            explore.settle()
            keys = set().union(*(keys for keys, _ in updates))
            size = sum(size for _, size in updates)
            updates.clear()
            # Two bytes for x and two for y, in base64; colours and marks of a click are a fraction of it.
            assert keys & LAYOUTS or size < 4_000
            assert (
                size < 16 / 3 * len(names) * len(keys & {"left", "right"}) + 12 * len(names) * ("names" in keys) + 6_000
            )
            return keys

        assert changed() >= {"names", "left", "right"}
        places = explore.positions(len(names))
        index = apart(places)
        explore.page.mouse.click(*places[index])
        explore.wait_for_answer(names[index])
        assert changed() == {"categories", "marks"}
        explore.page.get_by_placeholder("your own list").fill("USP22, NDUFA8")
        explore.page.keyboard.press("Tab")
        explore.page.locator(".entry", has_text="your list").wait_for()
        assert changed() == {"marks"}
        explore.page.get_by_role("slider").focus()
        explore.page.keyboard.press("ArrowLeft")
        explore.page.locator("strong", has_text="of 9 neighbours").wait_for()
        assert changed() == {"categories", "marks"}
        brush(explore, names)
        explore.page.get_by_role("heading", name="Selected in the maps").wait_for()
        assert changed() <= {"selection"}
        explore.choose("Right", "pca-32 · simple")
        explore.wait_for_first_column("neighbour of", expected_neighbors(query=names[index], k=9, right="pca-32"))
        assert changed() == {"right", "titles", "categories", "marks"}


# ---------------------------------------------------------------- links


def test_link_reopens_what_was_seen(explore, server, browser):
    explore.search.fill("USP22")
    explore.page.keyboard.press("Enter")
    explore.wait_for_answer("USP22")
    explore.choose("Context", "soft_tissue")
    explore.choose("Left", "raw · simple")
    explore.choose("Right", "pca-32 · simple")
    explore.choose("Alignment", "center")
    explore.choose("Show the most", "opposite")
    explore.page.get_by_role("slider").focus()
    explore.page.keyboard.press("ArrowRight")
    explore.page.get_by_placeholder("your own list").fill("NDUFA8")
    explore.page.keyboard.press("Tab")
    wanted = {
        "dataset": "depmap", "context": "soft_tissue", "query": "USP22", "left": "raw", "right": "pca-32",
        "align": "center", "k": "11", "direction": "opposite", "among": "all", "list": "NDUFA8",
    }  # fmt: skip
    for name, value in wanted.items():
        explore.wait_for_parameter(name, value)
    expected = expected_neighbors(
        query="USP22", context="soft_tissue", left="raw", right="pca-32", align="center", k=11, direction="opposite"
    )
    explore.wait_for_first_column("neighbour of", expected)
    link, sentence, rows = explore.page.url, explore.sentence(), explore.rows()
    with open_page(link, browser=browser) as other:
        other.page.set_default_timeout(PATIENCE)
        again = Explore(other)
        again.wait_for_answer("USP22")
        again.wait_for_first_column("neighbour of", expected)
        assert again.sentence() == sentence
        assert again.rows() == rows
        assert again.parameters() == {**wanted, "recipes": explore.parameters()["recipes"]}
        assert again.notices() == []
        assert other.problems() == []


def test_link_of_a_long_list_opens_again(explore, server, browser, names):
    # A longer address would be refused by the server before any of our code runs.
    explore.page.get_by_placeholder("your own list").fill(" ".join(names[:1_000]))
    explore.page.keyboard.press("Tab")
    explore.wait_for_notice("of the 1,000 names of your list are in the link")
    explore.page.wait_for_function("location.search.length > 2000")
    with open_page(explore.page.url, browser=browser) as other:
        other.page.set_default_timeout(PATIENCE)
        Explore(other).wait_for_answer("NDUFV2")
        assert other.problems() == []


def test_link_made_from_other_data_is_said(server, visit):
    link = f"{server}/?{urlencode({'query': 'USP22', 'recipes': '0123456789ab.ba9876543210'})}"
    with opened(visit, link, query="USP22") as explore:
        explore.wait_for_notice("The data or the method changed since this link was made")
        explore.wait_for_notice("recipes then '0123456789ab.ba9876543210', now ")


def test_unknown_query_in_a_link(server, visit):
    with opened(visit, f"{server}/?query=USP222", query="NDUFV2") as explore:
        explore.wait_for_notice("unknown perturbation 'USP222': did you mean 'USP22'")
        assert len(explore.notices()) == 1


@pytest.mark.parametrize("turn", [0, 2])
def test_markup_in_every_parameter_of_a_link(server, visit, turn):
    every = ("dataset", "context", "query", "left", "right", "align", "k", "direction", "list", "recipes", "data")
    values = {name: PAYLOADS[(turn + place) % len(PAYLOADS)] for place, name in enumerate(every)}
    with opened(visit, f"{server}/?{urlencode(values)}", query="NDUFV2") as explore:
        explore.wait_for_notice("unknown dataset")
        said = explore.notices()
        assert sum(notice.endswith("instead") for notice in said) == 8
        for kind in ("dataset", "context", "representation", "alignment", "direction", "perturbation"):
            assert any(notice.startswith(f"Unknown {kind} ") for notice in said)
        # The beginning of each payload is quoted in its notice, as text.
        assert all(any(payload[:8] in notice for notice in said) for payload in PAYLOADS[:4])


def test_numbers_and_lists_out_of_range_in_a_link(server, visit):
    hostile = urlencode({"k": "999999", "list": ",".join(f"N{number}" for number in range(700))})
    with opened(visit, f"{server}/?{hostile}", query="NDUFV2") as explore:
        explore.wait_for_notice("k = '999999' is not a number from 1 to 50; showing k = 10 instead")
        explore.wait_for_notice("700 of 700 names of your list are not in this map")
        assert "of 10 neighbours" in explore.sentence()


# ---------------------------------------------------------------- hostile clients


HEADERS = ("marimo-server-token", "marimo-session-id", "content-type")


def forge(explore: Explore, headers: dict[str, str], control: str, value: object) -> None:
    """Send any value for a control, as a hostile client would: the page's own message with another value."""
    identifier = explore.page.locator(f"marimo-ui-element:has({control})").last.get_attribute("object-id")
    status = explore.page.evaluate(
        """([headers, body]) => fetch("/api/kernel/set_ui_element_value", { method: "POST", headers, body })
            .then((response) => response.status)""",
        [
            {name: headers[name] for name in HEADERS},
            json.dumps({"objectIds": [identifier], "values": [value]}),
        ],
    )
    assert status == 200


def test_forged_values_are_refused_in_a_sentence(explore):
    slider = explore.page.get_by_role("slider")
    slider.focus()
    with explore.page.expect_request("**/set_ui_element_value") as request:
        explore.page.keyboard.press("ArrowRight")
    explore.wait_for_parameter("k", "11")
    headers = request.value.all_headers()
    for value in (999_999, -1, 0):
        forge(explore, headers, "marimo-slider", value)
        explore.wait_for_notice(f"k = '{value}' can't be used: choose a whole number from 1 to 50")
        # Nothing is half shown: the answer goes as the notice comes.
        explore.page.locator("strong", has_text="on both sides").wait_for(state="detached")
    forge(explore, headers, "marimo-slider", 12)
    explore.page.locator("strong", has_text="of 12 neighbours").wait_for()
    explore.page.locator("marimo-callout-output").wait_for(state="detached")
    explore.settle()
    assert explore.painted(0) > 1000


# ---------------------------------------------------------------- downloads


def downloaded(explore: Explore, label: str, tmp_path) -> bytes:
    button = explore.page.locator("marimo-download", has_text=label).last
    button.scroll_into_view_if_needed()
    with explore.page.expect_download() as download:
        button.locator("a, button").first.click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    return path.read_bytes()


def test_csv(explore, tmp_path):
    text = downloaded(explore, "neighbours as CSV", tmp_path)
    table = pl.read_csv(text)
    assert table["perturbation"].to_list() == [row[0] for row in explore.rows()]
    left, right = explore.parameters()["recipes"].split(".")
    assert set(table["left recipe"]) == {left}
    assert set(table["right recipe"]) == {right}
    assert set(table["query"]) == {"NDUFV2"}


@pytest.mark.parametrize("what", ["maps", "neighbourhoods", "agreement"])
def test_figures(explore, tmp_path, what):
    svg = downloaded(explore, f"{what} as SVG", tmp_path).decode()
    assert svg.startswith("<svg")
    assert ">NDUFV2" in svg or what == "neighbourhoods"
    png = downloaded(explore, f"{what} as PNG", tmp_path)
    assert png.startswith(b"\x89PNG\r\n")
    assert len(png) > 5_000


# ---------------------------------------------------------------- data that attacks the page


@pytest.fixture(scope="module")
def hostile_server(tmp_path_factory) -> Iterator[str]:
    root = toys.write_hostile_catalog(tmp_path_factory.mktemp("hostile"), PAYLOADS, everything=" ".join(PAYLOADS))
    with serve_notebook(APP, "--data", str(root)) as url:
        yield url


def test_payloads_stay_text(hostile_server, visit, tmp_path):
    with opened(visit, hostile_server, query=PAYLOADS[0]) as explore:
        page = explore.page
        assert explore.rows("gene set")
        shown = page.locator("body").inner_text()
        assert PAYLOADS[0] in shown
        page.get_by_role("button", name="About this dataset").click()
        about = page.get_by_role("region", name="About this dataset")
        about.get_by_text("Licence.").wait_for()
        for payload in PAYLOADS:
            assert about.get_by_text(payload).first.is_visible()
        addresses = [link.get_attribute("href") for link in page.locator("a[href*='query=']").all()]
        assert len(addresses) == len(PAYLOADS)
        assert all(address.startswith("?dataset=toy&context=") for address in addresses)
        # Tooltips, the search list, the brush and its table.
        places = explore.positions(20)
        for place in places[:5]:
            page.mouse.move(*place)
            page.locator(".tip-name").wait_for()
        explore.search.fill("pwned")
        page.locator(".match").first.wait_for()
        assert set(page.locator(".match").all_inner_texts()) == set(PAYLOADS)
        page.keyboard.press("Escape")
        stage = page.locator("canvas.overlay").first.bounding_box()
        explore.drag(
            (stage["x"] + 3, stage["y"] + 3),
            (stage["x"] + stage["width"] - 3, stage["y"] + stage["height"] - 3),
        )
        page.get_by_role("heading", name="Selected in the maps: 20").wait_for()
        page.get_by_placeholder("your own list").fill(" ".join(PAYLOADS))
        page.keyboard.press("Tab")
        explore.wait_for_notice("names of your list are not in this map")
        for payload in PAYLOADS[1:]:
            explore.search.fill(payload)
            page.keyboard.press("Enter")
            explore.wait_for_answer(payload)
        for label, option in (
            ("Context", "beta"),
            ("Right", "latent-seed-1 · learned"),
            ("Alignment", "center"),
            ("Show the most", "opposite"),
        ):
            explore.choose(label, option)
        explore.wait_for_parameter("direction", "opposite")
        explore.wait_for_answer(PAYLOADS[-1])
        page.get_by_role("button", name="swap").click()
        explore.wait_for_parameter("right", "raw")
        assert b"<img" not in downloaded(explore, "maps as SVG", tmp_path)
        assert pl.read_csv(downloaded(explore, "neighbours as CSV", tmp_path)).height > 0


def test_hostile_link_over_hostile_data(hostile_server, visit):
    link = urlencode({"query": PAYLOADS[1], "context": PAYLOADS[2], "list": PAYLOADS[0], "left": PAYLOADS[3]})
    with opened(visit, f"{hostile_server}/?{link}", query=PAYLOADS[1]) as explore:
        explore.wait_for_notice("unknown context")


# ---------------------------------------------------------------- who is active


@pytest.fixture(scope="module")
def active_server(tmp_path_factory) -> Iterator[str]:
    """Serve a screen in which 24 of 32 perturbations do something; five of the others have names that attack."""
    root = tmp_path_factory.mktemp("active")
    names = [f"{kind}-{number}" for kind in toys.KINDS[:3] for number in range(8)] + list(PAYLOADS)
    toys.write_active_catalog(root, {"defaults/query": "neither-7"}, names=names)
    with serve_notebook(APP, "--data", str(root)) as url:
        yield url


def n_points(explore: Explore) -> int:
    return int(explore.page.locator(".status").inner_text().split()[0])


def test_an_inactive_query_says_so_before_its_neighbours(active_server, visit):
    with opened(visit, active_server, query="neither-7") as explore:
        doubt = explore.page.get_by_text("neither-7 is not distinguishable from controls in raw (p ")
        assert doubt.count() == 1
        text = doubt.inner_text()
        assert text.index("likely to mean nothing") < text.index("neighbours are the same on both sides")
        assert doubt.bounding_box()["y"] < explore.maps.bounding_box()["y"]
        explore.page.get_by_role("heading", name="Does neither-7 do anything?").wait_for()
        verdicts = {(row[0], row[-1]) for row in explore.rows("measure") if row[-1]}
        assert verdicts == {("raw", "not active"), ("latent", "not active")}
        assert explore.page.get_by_text("None", exact=True).count() == 0
        explore.search.fill("both-0")
        explore.page.keyboard.press("Enter")
        explore.wait_for_answer("both-0")
        explore.page.get_by_text("both-0 is active in raw (q ").wait_for()
        assert explore.page.get_by_text("not distinguishable").count() == 0


@pytest.mark.slow
def test_only_the_active_are_painted(active_server, visit):
    with opened(visit, active_server, query="neither-7") as explore:
        before = [explore.painted(side) for side in (0, 1)]
        assert n_points(explore) == 32
        recipes = explore.parameters()["recipes"]
        explore.choose("Among", "active ones")
        explore.wait_for_parameter("among", "active")
        explore.wait_for_notice("showing only those active in raw or latent (q below 0.1), and 'neither-7': ")
        explore.wait_for_answer("neither-7")
        assert 24 < n_points(explore) < 32
        assert all(explore.painted(side) < before[side] for side in (0, 1))
        assert explore.parameters()["recipes"] != recipes
        shown, url = n_points(explore), explore.page.url
        linked = explore.parameters()
    with opened(visit, url, query="neither-7") as explore:
        assert explore.chosen("Among") == "active ones"
        assert n_points(explore) == shown
        assert explore.parameters() == linked
        explore.choose("Among", "all perturbations")
        explore.wait_for_parameter("among", "all")
        explore.page.locator("marimo-callout-output").wait_for(state="detached")
        explore.wait_for_answer("neither-7")
        assert n_points(explore) == 32


@pytest.mark.slow
@pytest.mark.parametrize("among", ["all", "active"])
def test_inactive_payloads_stay_text(active_server, visit, among):
    link = urlencode({"query": PAYLOADS[0], "among": among})
    with opened(visit, f"{active_server}/?{link}", query=PAYLOADS[0]) as explore:
        assert explore.page.get_by_text("is not distinguishable from controls").count() == 1
        assert explore.page.get_by_role("heading", name="do anything?").count() == 1
        explore.page.get_by_role("button", name="About this dataset").click()
        about = explore.page.get_by_role("region", name="About this dataset")
        about.get_by_text("Left recipe.").wait_for()
        assert (PAYLOADS[0] in about.inner_text()) == (among == "active"), "the filter keeps the query, and says so"
        if among == "active":
            # The others do nothing, so but for chance none is among those shown.
            explore.search.fill("pwned")
            explore.page.locator(".match").first.wait_for()
            found = explore.page.locator(".match").all_inner_texts()
            assert {PAYLOADS[0]} <= set(found) < set(PAYLOADS)
            return
        for payload in PAYLOADS[1:]:
            explore.search.fill(payload)
            explore.page.keyboard.press("Enter")
            explore.wait_for_answer(payload)
            assert explore.page.get_by_text("is not distinguishable from controls").count() == 1


def test_a_forged_filter_is_said(active_server, visit):
    link = urlencode({"query": "both-0", "among": PAYLOADS[0]})
    with opened(visit, f"{active_server}/?{link}", query="both-0") as explore:
        explore.wait_for_notice("unknown choice of perturbations")
        assert explore.chosen("Among") == "all perturbations"
        assert n_points(explore) == 32
