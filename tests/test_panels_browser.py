"""The linked maps in a real browser, over a small notebook."""

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from browser import Visit, missing_browser, open_page, serve_notebook, start_browser

pytestmark = pytest.mark.skipif(bool(missing_browser()), reason=missing_browser())

# Points of a 20 x 20 lattice, so that a rectangle between lattice lines holds a known set; the right map
# shows the same lattice in another order.
SIDE = 20
LATTICE = np.stack([np.arange(400) % SIDE, np.arange(400) // SIDE], axis=1)
ORDER = np.random.default_rng(7).permutation(400)

NOTEBOOK = """
import marimo

app = marimo.App(width="full")

with app.setup:
    import json
    import os

    import marimo as mo
    import numpy as np

    from explorer.panels import LinkedMaps


@app.cell
def _():
    n = int(os.environ.get("N_POINTS", "400"))
    random = np.random.default_rng(7)
    if n == 400:
        left = np.stack([np.arange(400) % 20, np.arange(400) // 20], axis=1).astype(float)
        right = left[random.permutation(400)]
    else:
        left = random.normal(size=(n, 2))
        right = random.normal(size=(n, 2))
    if n == 3:
        left[0] = right[1] = np.nan
    payload = "<img src=x onerror=window.__pwned=1>"
    names = [payload if i in (0, 21) else f"GENE{i}" for i in range(n)]
    maps = LinkedMaps(names, left, right, titles=(payload, "learned"))
    maps.mark_labels = {"query": payload, "ring": "known relationship", "highlight": "your list"}
    view = mo.ui.anywidget(maps)
    return left, maps, n, names, payload, right, view


@app.cell
def _(view):
    view
    return


@app.cell
def _(maps, view):
    view.value
    _state = {"clicked": maps.clicked, "click": maps.click, "selected": maps.selected[:500].tolist()}
    mo.Html(f"<pre id='state'>{json.dumps(_state)}</pre>")
    return


@app.cell
def _(left, maps, n, names, payload, right):
    def recolour(_):
        codes = np.zeros(n, int)
        codes[[21, 42 % n, 63 % n]] = 1
        maps.set_categories(codes, (["#98a3af", "#0072b2"], ["#66727f", "#56b4e9"]), ["", payload])

    def mark(_):
        maps.set_marks(query=21, labels=[0, 42, 63], rings=[42], highlights=[63])

    def move(_):
        maps.set_layout("left", right)

    def rename(_):
        maps.set_titles("raw", "autoencoder")

    def choose(_):
        maps.select([1, 5])

    def replace(_):
        maps.set_points(names[:3], left[:3], right[:3])

    actions = (recolour, mark, move, rename, choose, replace)
    buttons = mo.ui.array([mo.ui.button(label=action.__name__, on_click=action) for action in actions])
    buttons
    return (buttons,)
"""


@dataclass(frozen=True)
class Maps:
    """The maps on a page, as a user sees and touches them."""

    visit: Visit

    @property
    def page(self):
        return self.visit.page

    def ask(self, expression: str):
        return self.page.locator(".linked-maps").evaluate(f"element => element.linkedMaps.{expression}")

    def settle(self) -> None:
        element = self.page.locator(".linked-maps").element_handle()
        self.page.wait_for_function("element => element.linkedMaps.isSettled()", arg=element)

    def position(self, index: int, *, side: int = 0) -> tuple[float, float]:
        self.settle()
        x, y = self.ask(f"positionOf({side}, {index})")
        return x, y

    def state(self) -> dict:
        return json.loads(self.page.locator("#state").inner_text())

    def wait_for_state(self, **expected: object) -> None:
        """Wait until Python shows these values."""
        self.page.wait_for_function(
            """expected => {
                const shown = JSON.parse(document.querySelector("#state").textContent);
                return Object.entries(expected).every(([key, value]) =>
                    JSON.stringify(shown[key]) === JSON.stringify(value));
            }""",
            arg=expected,
        )
        self.settle()

    def click(self, index: int, *, side: int = 0, modifiers: list[str] | None = None) -> None:
        with held(self.page, modifiers or []):
            self.page.mouse.click(*self.position(index, side=side))

    def drag(
        self,
        start: tuple[float, float],
        stop: tuple[float, float],
        *,
        modifiers: list[str] | None = None,
        button: str = "left",
        release: bool = True,
    ) -> None:
        with held(self.page, modifiers or []):
            self.page.mouse.move(*start)
            self.page.mouse.down(button=button)
            self.page.mouse.move(*stop, steps=4)
            if release:
                self.page.mouse.up(button=button)

    def lattice_rectangle(self, left: float, bottom: float, right: float, top: float):
        """Corners, on the page, of a rectangle of the left map given in lattice units."""
        x0, y0 = self.position(0)
        x1, y1 = self.position(SIDE * SIDE - 1)
        across, down = (x1 - x0) / (SIDE - 1), (y1 - y0) / (SIDE - 1)
        return (x0 + left * across, y0 + bottom * down), (x0 + right * across, y0 + top * down)

    def empty_place(self) -> tuple[float, float]:
        start, _ = self.lattice_rectangle(4.5, 4.5, 5, 5)
        return start

    def pixels(self, side: int, layer: str) -> list[int]:
        """Number of drawn pixels, and the sum of their colours."""
        return (
            self.page.locator(f"canvas.{layer}")
            .nth(side)
            .evaluate(
                """canvas => {
                const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                let drawn = 0, sum = 0;
                for (let k = 0; k < data.length; k += 4) {
                    if (!data[k + 3]) continue;
                    drawn += 1;
                    sum += data[k] + data[k + 1] + data[k + 2];
                }
                return [drawn, sum];
            }"""
            )
        )

    def press_button(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()


@contextlib.contextmanager
def held(page, keys: list[str]) -> Iterator[None]:
    for key in keys:
        page.keyboard.down(key)
    yield
    for key in keys:
        page.keyboard.up(key)


@contextlib.contextmanager
def checked(visit: Visit) -> Iterator[Maps]:
    """Wait for the maps; whatever the test then does, nothing may go wrong on the page."""
    maps = Maps(visit)
    visit.page.locator("#state").wait_for()
    visit.page.locator(".linked-maps").wait_for()
    maps.settle()
    yield maps
    assert visit.problems() == []
    assert visit.page.evaluate("window.__pwned") is None


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    path = tmp_path_factory.mktemp("notebook") / "linked_maps.py"
    path.write_text(NOTEBOOK, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def server(notebook) -> Iterator[str]:
    with serve_notebook(notebook) as url:
        yield url


@pytest.fixture(scope="module")
def browser():
    with start_browser() as running:
        yield running


@pytest.fixture(scope="module")
def visit(browser) -> Iterator[Visit]:
    with open_page("about:blank", browser=browser) as found:
        yield found


@pytest.fixture
def maps(server, visit) -> Iterator[Maps]:
    # Every load is a session of its own; only the window is shared.
    visit.page.goto("about:blank")
    visit.page.set_viewport_size({"width": 1280, "height": 800})
    visit.page.mouse.move(0, 0)
    visit.forget()
    visit.page.goto(server)
    with checked(visit) as found:
        yield found


def inside(left: float, bottom: float, right: float, top: float) -> list[int]:
    """Positions of the perturbations that the left map shows in a rectangle."""
    x, y = LATTICE.T
    return np.flatnonzero((x > left) & (x < right) & (y > bottom) & (y < top)).tolist()


def test_requests_to_elsewhere_are_blocked_and_recorded(server, browser):
    with open_page(server, browser=browser) as visit:
        for address in ("https://example.org/a.js", "http://93.184.215.14/b"):
            error = visit.page.evaluate("address => fetch(address).then(() => '', String)", address)
            assert error.startswith("TypeError")
            assert visit.blocked[-1] == address


def test_first_paint(maps):
    for side in (0, 1):
        drawn, _ = maps.pixels(side, "points")
        assert drawn > 400
    assert maps.page.get_by_role("application", name="learned: map of 400 perturbations").count() == 1
    assert "400 perturbations, none selected" in maps.page.locator(".status").inner_text()
    assert maps.page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_click_reaches_python_each_time(maps):
    maps.click(45)
    maps.wait_for_state(clicked=45, click=[45, 1, 0], selected=[])
    maps.click(45)
    maps.wait_for_state(click=[45, 2, 0])
    maps.click(100, side=1)
    maps.wait_for_state(clicked=100)


def test_hover_points_in_both_maps(maps):
    before = [maps.pixels(side, "overlay")[0] for side in (0, 1)]
    maps.page.mouse.move(*maps.position(45))
    maps.page.locator(".tip-name", has_text="GENE45").wait_for()
    maps.settle()
    assert before == [0, 0]
    assert all(maps.pixels(side, "overlay")[0] > 50 for side in (0, 1))
    assert "GENE45" in maps.page.locator(".status").inner_text()
    maps.page.mouse.move(*maps.empty_place())
    maps.page.locator(".tip").wait_for(state="hidden")


def test_brush_selects_the_same_perturbations_in_both_maps(maps):
    box = (4.5, 6.5, 9.5, 12.5)
    assert maps.pixels(1, "marks")[0] == 0
    maps.drag(*maps.lattice_rectangle(*box), release=False)
    maps.page.locator(".status", has_text="30 of 400 selected").wait_for()
    # Shown in both maps while the button is still down, sent only when it is released.
    assert all(maps.pixels(side, "marks")[0] > 200 for side in (0, 1))
    assert maps.state()["selected"] == []
    maps.page.mouse.up()
    maps.wait_for_state(selected=inside(*box), clicked=None)


def test_brush_in_the_other_map(maps):
    box = (4.5, 6.5, 9.5, 12.5)
    corners = maps.lattice_rectangle(*box)
    shift = maps.page.locator("canvas.overlay").nth(1).bounding_box()["x"]
    shift -= maps.page.locator("canvas.overlay").nth(0).bounding_box()["x"]
    maps.drag(*[(x + shift, y) for x, y in corners])
    in_right = [i for i in range(400) if ORDER[i] in inside(*box)]
    maps.wait_for_state(selected=in_right)


def test_adding_and_toggling(maps):
    first, second = (4.5, 6.5, 6.5, 8.5), (10.5, 10.5, 12.5, 11.5)
    maps.drag(*maps.lattice_rectangle(*first))
    maps.wait_for_state(selected=inside(*first))
    both = sorted([*inside(*first), *inside(*second)])
    maps.drag(*maps.lattice_rectangle(*second), modifiers=["Control"])
    maps.wait_for_state(selected=both)
    maps.click(300, modifiers=["Control"])
    maps.wait_for_state(selected=[*both, 300], clicked=None)
    maps.click(300, modifiers=["Control"])
    maps.wait_for_state(selected=both)
    maps.drag(*maps.lattice_rectangle(*second))
    maps.wait_for_state(selected=inside(*second))


def test_ways_to_clear(maps):
    box = (4.5, 6.5, 6.5, 8.5)
    corners = maps.lattice_rectangle(*box)
    maps.drag(*corners)
    maps.wait_for_state(selected=inside(*box))
    maps.page.keyboard.press("Escape")
    maps.wait_for_state(selected=[])
    maps.drag(*corners)
    maps.wait_for_state(selected=inside(*box))
    maps.page.mouse.click(*maps.empty_place())
    maps.wait_for_state(selected=[], clicked=None)


def test_escape_cancels_a_drag(maps):
    box = (4.5, 6.5, 6.5, 8.5)
    maps.drag(*maps.lattice_rectangle(*box))
    maps.wait_for_state(selected=inside(*box))
    maps.drag(*maps.lattice_rectangle(0.5, 0.5, 9.5, 9.5), release=False)
    maps.page.locator(".status", has_text="81 of 400 selected").wait_for()
    maps.page.keyboard.press("Escape")
    maps.page.locator(".status", has_text="4 of 400 selected").wait_for()
    maps.page.mouse.up()
    maps.settle()
    assert maps.ask("selected()") == inside(*box)


@pytest.mark.parametrize(("button", "modifiers"), [("left", ["Shift"]), ("middle", [])])
def test_click_hits_after_a_pan(maps, button, modifiers):
    x, y = maps.position(210)
    maps.drag((x, y), (x + 60, y - 35), button=button, modifiers=modifiers)
    assert maps.position(210) == pytest.approx((x + 60, y - 35), abs=0.01)
    assert maps.ask("selected()") == []
    maps.click(210)
    maps.wait_for_state(clicked=210, selected=[])


def scroll_keys(maps, delta: int, *, turns: int = 1) -> None:
    """Turn the wheel with Ctrl held."""
    with held(maps.page, ["Control"]):
        for _ in range(turns):
            maps.page.mouse.wheel(0, delta)


def test_wheel_alone_scrolls_the_page(maps):
    element = maps.page.locator(".linked-maps").element_handle()
    maps.page.set_viewport_size({"width": 1280, "height": 400})
    maps.settle()
    camera, box = maps.ask("camera(0)"), element.bounding_box()
    top, height = box["y"], box["height"]
    hint = maps.page.locator(".hint").nth(0)
    assert hint.evaluate("element => getComputedStyle(element).opacity") == "0"
    stage = maps.page.locator("canvas.overlay").nth(0).bounding_box()
    maps.page.mouse.move(stage["x"] + 50, stage["y"] + 50)
    maps.page.mouse.wheel(0, 60)
    maps.page.wait_for_function(
        """element => {
            const hint = element.shadowRoot.querySelector(".hint");
            return Number(getComputedStyle(hint).opacity) > 0.5;
        }""",
        arg=element,
    )
    assert hint.inner_text() == "Ctrl (or ⌘) + wheel zooms"
    assert element.bounding_box()["height"] == height, "nothing moves for the hint"
    maps.page.wait_for_function(
        "([element, top]) => element.getBoundingClientRect().top < top - 30", arg=[element, top]
    )
    assert maps.ask("camera(0)") == camera
    maps.page.wait_for_function(
        "element => !element.shadowRoot.querySelector('.hint').classList.contains('shown')", arg=element
    )


def test_no_way_out_beyond_the_whole_map(maps):
    home = maps.ask("camera(0)")
    maps.page.mouse.move(*maps.position(399))
    scroll_keys(maps, 300, turns=8)
    maps.page.wait_for_function(
        "element => element.linkedMaps.camera(0).zoom < 0.85",
        arg=maps.page.locator(".linked-maps").element_handle(),
    )
    maps.settle()
    camera = maps.ask("camera(0)")
    assert camera["zoom"] == pytest.approx(0.8)
    assert (camera["x"], camera["y"]) == (home["x"], home["y"]), "in the middle, wherever the pointer is"
    maps.page.get_by_role("button", name="zoom out").nth(0).click()
    assert maps.ask("camera(0)") == camera
    assert maps.page.locator(".panel").nth(0).get_by_text("outside the view").count() == 0


def test_wheel_zooms_about_the_pointer(maps):
    # The browser reports the pointer in whole pixels.
    x, y = maps.position(210)
    other = maps.position(211)
    scrolled = maps.page.evaluate("window.scrollY")
    maps.page.mouse.move(x, y)
    scroll_keys(maps, -120, turns=4)
    maps.page.wait_for_function(
        "element => element.linkedMaps.camera(0).zoom > 2",
        arg=maps.page.locator(".linked-maps").element_handle(),
    )
    assert maps.position(210) == pytest.approx((x, y), abs=2)
    assert maps.position(211)[0] - x > 2 * (other[0] - x)
    assert maps.ask("camera(1).zoom") == 1
    assert maps.page.evaluate("window.scrollY") == scrolled
    assert "outside the view" in maps.page.locator(".panel").nth(0).inner_text()
    maps.click(211)
    maps.wait_for_state(clicked=211)


def test_reset_keeps_the_selection(maps):
    box = (4.5, 6.5, 6.5, 8.5)
    maps.drag(*maps.lattice_rectangle(*box))
    maps.wait_for_state(selected=inside(*box))
    home = maps.ask("camera(0)")
    place = maps.empty_place()
    scroll_keys(maps, -120)
    maps.page.mouse.dblclick(*place)
    maps.settle()
    assert maps.ask("camera(0)") == home
    maps.page.get_by_role("button", name="zoom in").nth(0).click()
    assert maps.ask("camera(0).zoom") > 1
    maps.page.get_by_role("button", name="zoom out").nth(0).click()
    assert maps.ask("camera(0).zoom") == pytest.approx(1)
    maps.page.get_by_role("button", name="zoom in").nth(0).click()
    maps.page.get_by_role("button", name="reset the view").nth(0).click()
    assert maps.ask("camera(0)") == home
    # A click elsewhere answers only after every earlier message: the selection is still there.
    maps.click(300)
    maps.wait_for_state(clicked=300, selected=inside(*box))


def test_keyboard(maps):
    maps.press_button("mark")
    maps.page.locator(".entry", has_text="known relationship").wait_for()
    maps.page.locator("canvas.overlay").nth(0).focus()
    for key, index in [("ArrowRight", 21), ("ArrowRight", 22), ("ArrowUp", 42), ("ArrowLeft", 41), ("ArrowDown", 21)]:
        maps.page.keyboard.press(key)
        assert maps.ask("pointed()") == index
    maps.page.keyboard.press("ArrowUp")
    assert "GENE41" in maps.page.locator(".status").inner_text()
    maps.page.keyboard.press("Enter")
    maps.wait_for_state(clicked=41, selected=[])
    maps.page.keyboard.press("Space")
    maps.wait_for_state(selected=[41])
    maps.page.keyboard.press("ArrowRight")
    maps.page.keyboard.press("Space")
    maps.wait_for_state(selected=[41, 42])
    maps.page.keyboard.press("Space")
    maps.wait_for_state(selected=[41])
    maps.page.keyboard.press("+")
    assert maps.ask("camera(0).zoom") > 1
    maps.page.keyboard.press("-")
    maps.page.keyboard.press("0")
    assert maps.ask("camera(0).zoom") == 1
    maps.page.keyboard.press("Escape")
    maps.wait_for_state(selected=[])


def test_updates_keep_camera_and_selection(maps):
    box = (4.5, 6.5, 6.5, 8.5)
    maps.drag(*maps.lattice_rectangle(*box))
    maps.wait_for_state(selected=inside(*box))
    maps.page.mouse.move(*maps.position(105))
    scroll_keys(maps, -120)
    maps.page.wait_for_function(
        "element => element.linkedMaps.camera(0).zoom > 1",
        arg=maps.page.locator(".linked-maps").element_handle(),
    )
    maps.settle()
    camera = maps.ask("camera(0)")
    element = maps.page.locator(".linked-maps").element_handle()
    before = maps.pixels(0, "points")
    maps.press_button("recolour")
    maps.page.locator(".entry").wait_for()
    maps.settle()
    assert maps.pixels(0, "points") != before
    before = maps.position(42)
    maps.press_button("move")
    maps.page.wait_for_function(
        "([element, x]) => element.linkedMaps.positionOf(0, 42)[0] !== x", arg=[element, before[0]]
    )
    maps.press_button("rename")
    maps.page.get_by_text("autoencoder", exact=True).wait_for()
    maps.settle()
    assert maps.ask("camera(0)") == camera
    assert maps.ask("selected()") == inside(*box)
    # The same element throughout: nothing was built again.
    assert element.evaluate("element => element.isConnected")
    index = int(np.flatnonzero((LATTICE[ORDER] == [5, 7]).all(axis=1))[0])
    x, y = maps.position(index)
    maps.drag((x - 8, y - 8), (x + 8, y + 8))
    maps.wait_for_state(selected=[index])


def test_python_can_select(maps):
    maps.press_button("choose")
    maps.page.locator(".status", has_text="2 of 400 selected").wait_for()
    assert maps.ask("selected()") == [1, 5]


def test_new_points_start_afresh(maps):
    maps.click(45)
    maps.wait_for_state(clicked=45)
    maps.press_button("mark")
    maps.press_button("choose")
    maps.page.locator(".status", has_text="2 of 400 selected").wait_for()
    maps.press_button("replace")
    maps.page.locator(".status", has_text="3 perturbations, none selected").wait_for()
    maps.settle()
    assert maps.page.locator(".entry").count() == 0
    assert maps.ask("camera(0).zoom") == 1
    maps.click(1)
    maps.wait_for_state(clicked=1, click=[1, 1, 1], selected=[])


def test_marks_and_legend_hold_untrusted_text(maps):
    maps.press_button("recolour")
    maps.press_button("mark")
    maps.page.locator(".entry", has_text="your list").wait_for()
    texts = maps.page.locator(".entry").all_inner_texts()
    payload = "<img src=x onerror=window.__pwned=1>"
    assert texts == [payload, payload, "known relationship", "your list"]
    maps.settle()
    assert all(maps.pixels(side, "marks")[0] > 1000 for side in (0, 1))
    maps.page.mouse.move(*maps.position(21))
    maps.page.locator(".tip-name", has_text=payload).wait_for()
    assert maps.page.locator(".linked-maps img").count() == 0


@contextlib.contextmanager
def sized(notebook, n_points: int, browser) -> Iterator[Maps]:
    with (
        serve_notebook(notebook, env={"N_POINTS": str(n_points)}) as url,
        open_page(url, browser=browser) as visit,
        checked(visit) as maps,
    ):
        yield maps


def test_three_points_one_without_a_position(notebook, browser):
    with sized(notebook, 3, browser) as maps:
        assert maps.page.locator(".panel").nth(0).get_by_text("1 without a position").count() == 1
        assert maps.pixels(0, "points")[0] > 50
        maps.click(2)
        maps.wait_for_state(clicked=2)
        stage = maps.page.locator("canvas.overlay").nth(0).bounding_box()
        maps.drag(
            (stage["x"] + 2, stage["y"] + 2),
            (stage["x"] + stage["width"] - 2, stage["y"] + stage["height"] - 2),
        )
        maps.wait_for_state(selected=[1, 2])


def test_many_points_travel_once(notebook, browser):
    with sized(notebook, 200_000, browser) as maps:
        assert "200,000 perturbations" in maps.page.locator(".status").inner_text()
        received, posted = len(maps.visit.received), len(maps.visit.posted)
        maps.press_button("recolour")
        maps.page.locator(".entry").wait_for()
        maps.settle()
        stage = maps.page.locator("canvas.overlay").nth(0).bounding_box()
        x, y = stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2
        maps.drag((x - 150, y - 150), (x, y + 150))
        maps.page.wait_for_function("JSON.parse(document.querySelector('#state').textContent).selected.length")
        shown = maps.page.locator(".status").inner_text()
        count = int(re.search(r"([\d,]+) of 200,000", shown)[1].replace(",", ""))
        assert count > 20_000
        # Two hundred thousand points are 800 kB; a selection of any size is 25 kB, in base64 a third more.
        assert sum(maps.visit.received[received:]) < 120_000
        assert sum(maps.visit.posted[posted:]) < 120_000


def test_dark_theme_repaints(maps):
    _, before = maps.pixels(0, "points")
    maps.page.evaluate("document.body.classList.add('dark')")
    maps.page.locator(".linked-maps[data-theme=dark]").wait_for()
    maps.settle()
    drawn, after = maps.pixels(0, "points")
    assert drawn > 400
    assert after < before
    maps.page.evaluate("document.body.classList.remove('dark')")
    maps.page.locator(".linked-maps[data-theme=light]").wait_for()
    maps.settle()
    assert maps.pixels(0, "points")[1] == before


def test_resize(maps):
    def boxes():
        return [maps.page.locator("canvas.overlay").nth(side).bounding_box() for side in (0, 1)]

    left, right = boxes()
    assert left["y"] == right["y"]
    maps.page.set_viewport_size({"width": 640, "height": 900})
    maps.page.wait_for_function(
        "element => { const [a, b] = element.shadowRoot.querySelectorAll('.overlay');"
        " return b.getBoundingClientRect().top > a.getBoundingClientRect().bottom; }",
        arg=maps.page.locator(".linked-maps").element_handle(),
    )
    assert maps.page.evaluate("document.documentElement.scrollWidth") <= 640
    maps.click(45)
    maps.wait_for_state(clicked=45)


def test_two_pixels_for_one(server, browser):
    with open_page(server, scale=2, browser=browser) as visit, checked(visit) as maps:
        canvas = maps.page.locator("canvas.points").nth(0)
        assert canvas.evaluate("canvas => canvas.width / canvas.clientWidth") == pytest.approx(2, abs=0.01)
        maps.click(45)
        maps.wait_for_state(clicked=45)
        box = (4.5, 6.5, 9.5, 12.5)
        maps.drag(*maps.lattice_rectangle(*box))
        maps.wait_for_state(selected=inside(*box))


def test_touch(server, browser):
    with open_page(server, touch=True, browser=browser) as visit, checked(visit) as maps:
        box = (4.5, 6.5, 9.5, 12.5)
        (x0, y0), (x1, y1) = maps.lattice_rectangle(*box)
        touches = maps.page.context.new_cdp_session(maps.page)

        def touch(kind: str, *points: tuple[float, float]) -> None:
            touches.send(
                "Input.dispatchTouchEvent",
                {"type": kind, "touchPoints": [{"x": x, "y": y, "id": k} for k, (x, y) in enumerate(points)]},
            )

        touch("touchStart", (x0, y0))
        # Sideways first: one finger upwards or downwards is the page's.
        touch("touchMove", (x1, y0))
        touch("touchMove", (x1, y1))
        touch("touchEnd")
        maps.wait_for_state(selected=inside(*box))
        x, y = maps.position(210)
        touch("touchStart", (x - 20, y))
        touch("touchStart", (x - 20, y), (x + 20, y))
        touch("touchMove", (x - 60, y), (x + 60, y))
        touch("touchEnd")
        maps.settle()
        assert maps.ask("camera(0).zoom") == pytest.approx(3, abs=0.01)
        assert maps.ask("selected()") == inside(*box)
        assert maps.position(210) == pytest.approx((x, y), abs=1)
        maps.page.touchscreen.tap(*maps.position(210))
        maps.wait_for_state(clicked=210)
        # One finger upwards takes the page along, and the map stays as it is.
        maps.page.set_viewport_size({"width": 1280, "height": 400})
        maps.settle()
        camera = maps.ask("camera(0)")
        element = maps.page.locator(".linked-maps").element_handle()
        stage = maps.page.locator("canvas.overlay").nth(0).bounding_box()
        x, y, top = stage["x"] + 200, stage["y"] + 150, element.bounding_box()["y"]
        touch("touchStart", (x, y))
        for moved in range(20, 120, 20):
            touch("touchMove", (x, y - moved))
        touch("touchEnd")
        maps.page.wait_for_function(
            "([element, top]) => element.getBoundingClientRect().top < top - 30", arg=[element, top]
        )
        assert maps.ask("selected()") == inside(*box)
        assert maps.ask("camera(0)") == camera
