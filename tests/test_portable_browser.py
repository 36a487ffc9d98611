"""Saved pages in a real browser: opened from the disk, with nothing to connect to, and used."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pages
import polars as pl
import pytest
import toys
import verdicts
from browser import Visit, missing_browser, open_page, serve_notebook, start_browser
from conftest import PROJECT
from pages import PAYLOADS, VIEW, saved_view
from test_explore_browser import BACKGROUND, FOREIGN_ELEMENTS
from verdicts import judged_of, judgement

from explorer import judge_details, judged
from explorer.catalog import open_catalog
from explorer.judge_details import grid_of, start_budget, start_checks
from explorer.judged import start_judging
from explorer.panels import still_maps
from explorer.portable import portable_page
from explorer.portable_judge import judge_page
from explorer.portable_parts import Maps, Rows, Section
from explorer.work import Workshop

pytestmark = pytest.mark.skipif(bool(missing_browser()), reason=missing_browser())

PATIENCE = 60_000
MAPS = "document.querySelector('.linked-maps').linkedMaps"


@pytest.fixture(scope="module")
def browser():
    with start_browser() as running:
        yield running


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A view of harmless names."""
    folder = tmp_path_factory.mktemp("saved")
    catalog = open_catalog(toys.write_catalog(folder / "catalog"))
    return written(folder / "view.html", saved_view(catalog))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Path:
    """A view in which every text is an attack."""
    folder = tmp_path_factory.mktemp("hostile")
    catalog = open_catalog(pages.write_hostile(folder / "catalog"))
    return written(folder / "view.html", saved_view(catalog, replace(VIEW, query=PAYLOADS[1], highlights=PAYLOADS[2:])))


@pytest.fixture(scope="module")
def judgement_page(tmp_path_factory) -> Path:
    """A judgement with all that can be computed, and names that attack."""
    folder = tmp_path_factory.mktemp("judged")
    catalog = open_catalog(pages.write_hostile(folder / "catalog", n_names=103))
    view = verdicts.VIEW
    with pytest.MonkeyPatch.context() as patch:
        workshop = Workshop()
        for module in (judged, judge_details):
            patch.setattr(module, "shared_workshop", workshop)
        ticket = start_judging(catalog, view)
        assert ticket.wait(60), ticket.problem
        for begun in (start_budget(catalog, view), start_checks(catalog, view), grid_of(catalog, view, begin=True)):
            assert begun.wait(60), begun.problem
        text = judge_page(catalog, ticket.result, meter=" ".join(PAYLOADS))
    return written(folder / "judged.html", text)


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@contextlib.contextmanager
def opened(browser, path: Path, **options) -> Iterator[Visit]:
    """Open a file; whatever the test then does, nothing may go wrong, be asked for, or be executed."""
    with open_page(path.as_uri(), browser=browser, **options) as visit:
        visit.page.set_default_timeout(PATIENCE)
        visit.page.context.set_offline(True)
        visit.page.wait_for_function("() => document.documentElement.dataset.ready === 'yes'")
        yield visit
        assert visit.console_errors == visit.page_errors == []
        assert visit.blocked == [path.as_uri()], "the file itself, and nothing else"
        assert visit.page.evaluate("window.__pwned") is None
        assert visit.page.evaluate(FOREIGN_ELEMENTS) == []
        assert visit.page.locator("iframe, img, object, embed, link").count() == 0
        assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def settle(page) -> None:
    """Bring the maps into the window and wait until they are painted.

    Conditions are functions: the policy of the page forbids that a text is evaluated again and again.
    """
    page.locator("#maps").evaluate("element => element.scrollIntoView()")
    page.wait_for_function(f"() => {MAPS}.isSettled()")


def place_of(page, side: int, index: int):
    return page.evaluate(f"([side, index]) => {MAPS}.positionOf(side, index)", [side, index])


def column(table, place: int) -> list[str]:
    """Texts of a column."""
    return table.evaluate(
        "(table, place) => [...table.tBodies[0].rows].map((row) => row.cells[place].textContent)", place
    )


def head(page, name: str):
    return page.locator("th button", has_text=name)


def test_search_selects_in_both_maps(browser, saved):
    with opened(browser, saved) as visit:
        page = visit.page
        settle(page)
        before = [page.evaluate(f"{MAPS}.paints({side})") for side in (0, 1)]
        page.locator(".search-input").fill("gene12")
        page.keyboard.press("Enter")
        page.get_by_text("Selected in the maps: 1").wait_for()
        settle(page)
        assert page.evaluate(f"{MAPS}.selected()") == [12]
        after = [page.evaluate(f"{MAPS}.paints({side})") for side in (0, 1)]
        assert all(late >= early for early, late in zip(before, after, strict=True))
        cells = page.locator("#selected td").all_inner_texts()
        assert cells[0] == "GENE12"
        assert all(cell.isdigit() for cell in cells[1:])
        # The pixel of the found one is that of a selected point, on both sides.
        for side in (0, 1):
            assert page.evaluate(PIXEL, [side, 12]) == [194, 24, 122]


PIXEL = """([side, index]) => {
    const host = document.querySelector(".linked-maps");
    const stage = host.shadowRoot.querySelectorAll(".stage")[side];
    const box = stage.getBoundingClientRect();
    const [x, y] = host.linkedMaps.positionOf(side, index);
    const canvas = stage.querySelectorAll("canvas")[1];
    const scale = canvas.width / box.width;
    const data = canvas.getContext("2d").getImageData(Math.round((x - box.left) * scale),
        Math.round((y - box.top) * scale), 1, 1).data;
    return [...data.slice(0, 3)];
}"""


def test_maps_tell_names_and_ranks_zoom_and_select(browser, saved):
    with opened(browser, saved) as visit:
        page = visit.page
        settle(page)
        x, y = place_of(page, 1, 12)
        page.mouse.move(x - 30, y - 30)
        page.mouse.move(x, y)
        page.locator(".tip-name", has_text="GENE").wait_for()
        pointed = page.evaluate(f"{MAPS}.pointed()")
        note = page.locator(".tip-note").inner_text().split("\n")
        assert [line.split(" in ")[1] for line in note] == ["raw", "latent"]
        assert page.locator(".tip-name").inner_text() == f"GENE{pointed:02}"
        page.mouse.click(x, y)
        page.get_by_text("Selected in the maps: 1").wait_for()
        assert page.evaluate(f"{MAPS}.selected()") == [pointed]
        zoom = page.evaluate(f"{MAPS}.camera(0).zoom")
        page.locator(".linked-maps .head button").first.click()
        assert page.evaluate(f"{MAPS}.camera(0).zoom") > zoom
        page.locator(".overlay").first.press("Escape")
        page.locator("#selected").wait_for(state="hidden")
        assert "make it the query" not in page.locator(".help").inner_text()
        assert "Ctrl-wheel" in page.locator(".help").inner_text()


def test_all_the_way_out_shows_every_outlier(browser, tmp_path):
    # The reset view leaves the outlier out, lest the others be a blob.
    near = np.random.default_rng(0).random((999, 2))
    places = np.concatenate([near, [[40.0, 9.0]]])
    names = [f"GENE{number}" for number in range(1000)]
    state = still_maps(
        names, places, places[::-1], titles=("a", "b"), categories=([0] * 1000, ["#888888"], [""]), marks={}
    )
    ranks = np.arange(1000, dtype=np.uint32)
    maps = Maps(state, (("a", ranks), ("b", ranks)))
    path = written(tmp_path / "maps.html", portable_page("t", [Section("s", [maps])], above="a", word="w"))
    with opened(browser, path) as visit:
        page = visit.page
        settle(page)
        said = page.locator(".panel").first.locator(".quiet")
        assert said.inner_text() == "1 outside the view"
        page.locator(".overlay").first.focus()
        for _ in range(20):
            page.keyboard.press("-")
        settle(page)
        assert said.inner_text() == ""
        least = page.evaluate(f"{MAPS}.camera(0)")
        page.keyboard.press("-")
        assert page.evaluate(f"{MAPS}.camera(0)") == least
        x, _ = place_of(page, 0, 999)
        box = page.locator(".overlay").first.bounding_box()
        assert x > box["x"] + 0.8 * box["width"], "and no further out than that takes"


def test_tables_stand_in_full_or_say_that_they_scroll(browser, tmp_path):
    names = [f"GENE{number}" for number in range(61)]
    frame = pl.DataFrame(
        {"perturbation": names, "both": ["4 of 10"] * 61, "long": ["some words of a sentence " * 9] * 61}
    )
    sections = [Section("s", [Rows(frame.head(18)), Rows(frame)])]
    path = written(tmp_path / "tables.html", portable_page("t", sections, above="a", word="w"))
    with opened(browser, path) as visit:
        in_full, scrolled = visit.page.locator(".rows").all()
        hidden = "element => element.scrollHeight - element.clientHeight"
        assert in_full.evaluate(hidden) == 0
        assert scrolled.evaluate(hidden) > 100
        visit.page.get_by_text("61 rows: scroll within the table").wait_for()
        short = in_full.locator("td", has_text="4 of 10").first
        assert short.evaluate("element => getComputedStyle(element).whiteSpace") == "nowrap"
        visit.page.emulate_media(media="print")
        assert scrolled.evaluate(hidden) == 0


def test_charts_tell_values_and_zoom(browser, saved):
    with opened(browser, saved) as visit:
        page = visit.page
        strip = page.locator("#chart-0 svg")
        strip.scroll_into_view_if_needed()
        bar = page.locator("#chart-0 .mark-rect.role-mark path").first
        bar.hover()
        tip = page.get_by_role("tooltip")
        tip.wait_for()
        assert tip.inner_text().startswith("overlap ")
        # Ctrl and the wheel.
        ticks = page.locator("#chart-0 .role-axis-label text")
        before = ticks.all_text_contents()
        page.keyboard.down("Control")
        page.mouse.wheel(0, -400)
        page.keyboard.up("Control")
        page.wait_for_function(
            "count => document.querySelectorAll('#chart-0 .role-axis-label text').length < count", arg=len(before)
        )
        assert ticks.all_text_contents() != before
        names = page.locator("#chart-1 .role-mark text").all_text_contents()
        assert any("GENE0" in name for name in names)


def test_tables_sort(browser, saved):
    with opened(browser, saved) as visit:
        page = visit.page
        table = page.locator("table", has=head(page, "neighbour of"))
        table.locator("th button", has_text="right similarity").click()
        labels = table.locator("th").all_text_contents()
        place = labels.index("right similarity")
        rising = [float(text.replace("−", "-")) for text in column(table, place)]
        assert rising == sorted(rising)
        assert table.locator("th").nth(place).get_attribute("aria-sort") == "ascending"
        table.locator("th button", has_text="right similarity").click()
        falling = [float(text.replace("−", "-")) for text in column(table, place)]
        assert falling == rising[::-1]
        table.locator("th button", has_text="perturbation").click()
        assert column(table, 0) == sorted(column(table, 0))
        assert table.locator("[aria-sort]").count() == 1


def test_names_that_attack_the_page(browser, hostile):
    with opened(browser, hostile) as visit:
        page = visit.page
        settle(page)
        body = page.locator("body").inner_text()
        for payload in (*PAYLOADS[:4],):
            assert payload in body, "as text it is all there"
        for index in range(len(PAYLOADS)):
            x, y = place_of(page, 0, index)
            page.mouse.move(x - 15, y)
            page.mouse.move(x, y)
            page.locator(".tip-name").wait_for()
        page.locator(".search-input").fill("pwned")
        page.locator(".match").first.wait_for()
        page.keyboard.press("Enter")
        page.get_by_text("Selected in the maps: 1").wait_for()
        for mark in page.locator("#chart-0 .role-mark path, #chart-1 .mark-symbol.role-mark path").all():
            mark.hover(force=True)
        for each in page.locator("th button").all():
            if each.is_visible():
                each.click()


def test_judgement_of_names_that_attack(browser, judgement_page):
    with opened(browser, judgement_page) as visit:
        page = visit.page
        assert page.locator(".chart svg").count() == 6
        for index in range(6):
            figure = page.locator(f"#chart-{index} svg")
            figure.scroll_into_view_if_needed()
            assert figure.bounding_box()["width"] > 200
        # A point of the forest says its figures.
        page.locator("#chart-0 .mark-symbol.role-mark path").first.hover()
        tip = page.get_by_role("tooltip")
        tip.wait_for()
        assert "difference all sources: latent − raw" in tip.inner_text()
        assert "low " in tip.inner_text()
        assert "high " in tip.inner_text()


def test_tooltips_show_markup_as_text(browser, tmp_path):
    catalog = open_catalog(verdicts.write_catalog(tmp_path / "catalog"))
    found = judgement(
        placebos=tuple(verdicts.compared(name, 0.1, 0.2, 0.1) for name in PAYLOADS),
        units=judgement().units.with_columns(pl.lit(PAYLOADS[0]).alias("unit")),
    )
    path = written(tmp_path / "judged.html", judge_page(catalog, judged_of(found)))
    with opened(browser, path) as visit:
        page = visit.page
        tip = page.get_by_role("tooltip")
        seen = set()
        for mark in page.locator("#chart-0 .mark-symbol.role-mark path").all():
            mark.hover()
            tip.wait_for()
            seen.add(tip.locator("div").first.inner_text())
        assert {f"difference latent − {payload}" for payload in PAYLOADS[:4]} <= seen


@pytest.mark.parametrize("width", [390, 1280])
def test_dark_theme_and_narrow_windows(browser, saved, width):
    with opened(browser, saved, dark=True, width=width) as visit:
        page = visit.page
        settle(page)
        assert max(page.evaluate(BACKGROUND)) < 60
        label = page.locator("#chart-0 .role-axis-label text").first
        assert label.evaluate("element => getComputedStyle(element).fill") == "rgb(231, 234, 238)"
        assert page.evaluate(f"{MAPS}.camera(0).zoom") == 1
        page.emulate_media(media="print")
        assert label.evaluate("element => getComputedStyle(element).fill") == "rgb(0, 0, 0)"
        # Paper is light, the maps too.
        page.locator(".linked-maps[data-theme=light]").wait_for()
        page.emulate_media(media="screen", color_scheme="dark")
        page.locator(".linked-maps[data-theme=dark]").wait_for()
        page.emulate_media(media="screen", color_scheme="light")
        page.locator(".linked-maps[data-theme=light]").wait_for()


def test_nothing_but_ours_can_run(browser, saved):
    with opened(browser, saved) as visit:
        page = visit.page
        # By a timer, since what a debugger evaluates itself is free of the policy.
        page.evaluate(
            """() => setTimeout(() => {
                window.happened = [];
                document.addEventListener("securitypolicyviolation", (event) =>
                    happened.push(event.effectiveDirective));
                const script = document.createElement("script");
                script.textContent = "window.__pwned = 1";
                document.body.append(script);
                try { eval("window.__pwned = 1"); } catch (error) { happened.push(error.name); }
                fetch("https://example.org/").catch(() => happened.push("fetch"));
                const image = document.createElement("img");
                image.src = "https://example.org/x.png";
            })"""
        )
        page.wait_for_function("() => window.happened?.length >= 6")
        expected = {"script-src-elem", "EvalError", "script-src", "connect-src", "fetch", "img-src"}
        assert set(page.evaluate("window.happened")) == expected
        visit.blocked.remove("https://example.org/x.png")
        # What the browser says of these three attempts is meant.
        visit.console_errors.clear()


@pytest.mark.slow
@pytest.mark.parametrize(("app", "said"), [("explore", "Who are its neighbours?"), ("judge", "Is latent worth it?")])
def test_notebooks_offer_the_page(browser, tmp_path, app, said):
    root = verdicts.write_catalog(tmp_path / "catalog")
    cache = {"EXPLORER_CACHE": str(tmp_path / "store")}
    arguments = ("--data", str(root))
    with (
        serve_notebook(PROJECT / "apps" / f"{app}.py", *arguments, env=cache) as url,
        open_page(url, browser=browser) as visit,
    ):
        visit.page.set_default_timeout(PATIENCE)
        if app == "judge":
            # All that is made beside the page is there.
            visit.page.get_by_role("heading", name="What noise allows").wait_for()
        button = visit.page.locator("marimo-download", has_text="this page as one HTML file").last
        button.scroll_into_view_if_needed()
        with visit.page.expect_download() as download:
            button.locator("a, button").first.click()
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        assert visit.problems() == []
    assert path.suffix == ".html"
    with opened(browser, path) as visit:
        assert said in visit.page.locator("h1").inner_text()
        assert visit.page.locator(".chart svg").count() >= 2
        assert visit.page.locator("canvas").count() >= (6 if app == "explore" else 0)
