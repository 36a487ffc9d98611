"""The contexts notebook as a user meets it, in a real browser: over data that attacks the page."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import held_toys
import pytest
from browser import Visit, missing_browser, open_page, serve_notebook, start_browser
from conftest import PROJECT
from held_toys import PAYLOADS
from test_explore_browser import BACKGROUND, FOREIGN_ELEMENTS, HEADERS

pytestmark = pytest.mark.skipif(bool(missing_browser()), reason=missing_browser())

APP = PROJECT / "apps" / "contexts.py"
PATIENCE = 60_000


@dataclass(frozen=True)
class Contexts:
    """The page of the notebook, in words a user would use."""

    visit: Visit

    @property
    def page(self):
        return self.visit.page

    def wait_for_answer(self, query: str) -> None:
        """Wait until the sentence and the neighbours of a query are shown."""
        self.page.get_by_text("matched decoys:").first.wait_for()
        self.page.get_by_role("heading", name=f"{query}'s neighbours").wait_for()

    def wait_for_overlaps(self) -> None:
        """Wait until all that is made beside the page is there."""
        self.page.get_by_role("heading", name="Where the raw overlap comes from").wait_for()

    def wait_for_parameter(self, name: str, value: str) -> None:
        self.page.wait_for_function(
            "([name, value]) => new URLSearchParams(location.search).get(name) === value", arg=[name, value]
        )

    def parameters(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.page.url).query).items()}

    def wait_for_notice(self, text: str) -> None:
        self.page.locator("marimo-callout-output", has_text=text).first.wait_for()

    def choose(self, label: str, option: str) -> None:
        self.page.get_by_label(label, exact=True).select_option(label=option)

    def table(self, header: str):
        """The table that has a column of this name."""
        return self.page.locator("marimo-table").filter(has=self.page.get_by_role("columnheader", name=header))

    def download(self, label: str, folder: Path) -> Path:
        button = self.page.locator("marimo-download", has_text=label).last
        button.scroll_into_view_if_needed()
        with self.page.expect_download() as download:
            button.locator("a, button").first.click()
        path = folder / download.value.suggested_filename
        download.value.save_as(path)
        return path


@pytest.fixture(scope="module")
def browser():
    with start_browser() as running:
        yield running


@pytest.fixture(scope="module")
def hostile_server(tmp_path_factory) -> Iterator[str]:
    root = held_toys.write_hostile_catalog(tmp_path_factory.mktemp("hostile"))
    cache = {"EXPLORER_CACHE": str(tmp_path_factory.mktemp("cache"))}
    with serve_notebook(APP, "--data", str(root), env=cache) as url:
        yield url


@contextlib.contextmanager
def opened(browser, url: str, *, query: str, **options) -> Iterator[Contexts]:
    """Open the notebook in a session of its own; whatever the test then does, nothing may go wrong on the page."""
    with open_page(url, browser=browser, height=1100, **options) as visit:
        visit.page.set_default_timeout(PATIENCE)
        contexts = Contexts(visit)
        contexts.wait_for_answer(query)
        yield contexts
        assert visit.problems() == []
        assert visit.page.evaluate("window.__pwned") is None
        assert visit.page.evaluate(FOREIGN_ELEMENTS) == []


def test_a_visit(hostile_server, browser, tmp_path):
    link = f"{hostile_server}/?{urlencode({'query': 'G010'})}"
    with opened(browser, link, query="G010") as contexts:
        page = contexts.page
        contexts.wait_for_parameter("query", "G010")
        page.wait_for_function("new URLSearchParams(location.search).get('recipes')?.includes('.')")
        assert set(contexts.parameters()) == {
            "dataset", "context", "others", "representation", "left", "right", "align", "query", "recipes",
        }  # fmt: skip
        contexts.wait_for_overlaps()
        assert page.get_by_role("progressbar").count() == 0, "nothing runs, and nothing ticks"
        assert page.get_by_text("None", exact=True).count() == 0
        assert page.locator("marimo-vega, .vega-embed").locator("canvas, svg").count() >= 3
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

        # A click on a name asks about it, in either table; a click on a number does not.
        neighbours = contexts.table("perturbation")
        clicked = neighbours.locator("tbody tr").first.locator("td").nth(1)
        name = clicked.inner_text()
        clicked.click()
        contexts.wait_for_parameter("query", name)
        contexts.wait_for_answer(name)
        edges = contexts.table("second")
        edges.locator("tbody tr").nth(1).locator("td").nth(2).click()
        line = edges.locator("tbody tr").nth(3).locator("td")
        other = line.nth(1).inner_text()
        line.nth(1).click()
        contexts.wait_for_parameter("query", other)
        assert edges.locator("tbody tr").nth(3).locator("td").nth(1).inner_text() == other, "the list stays"

        contexts.choose("Show", "those not known")
        page.get_by_text("none of them known").wait_for()
        saved = contexts.download("this page as one HTML file", tmp_path)
        csv = contexts.download("these edges as CSV", tmp_path)
        assert "conditions of beta" in csv.read_text().splitlines()[0]
    with open_page(saved.as_uri(), browser=browser) as visit:
        assert visit.console_errors == visit.page_errors == []
        assert visit.blocked == [saved.as_uri()], "the file itself, and nothing else"
        assert visit.page.locator(".chart canvas, .chart svg").count() >= 3
        assert visit.page.evaluate("window.__pwned") is None


def test_dark_theme_and_what_a_link_can_not_have(hostile_server, browser):
    hostile = {"query": "nobody", "align": PAYLOADS[0], "others": "gamma", "representation": PAYLOADS[1]}
    with opened(
        browser, f"{hostile_server}/?{urlencode(hostile)}", query=PAYLOADS[0], dark=True, width=1024
    ) as contexts:
        for said in ("Unknown perturbation 'nobody'", "Unknown alignment", "Unknown contexts 'gamma'", "Unknown repr"):
            contexts.wait_for_notice(said)
        contexts.wait_for_overlaps()
        assert max(contexts.page.evaluate(BACKGROUND)) < 60
        assert contexts.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        contexts.page.get_by_text("About these contexts").click()
        contexts.page.get_by_text("Provenance.").last.wait_for()
        assert contexts.page.get_by_text(PAYLOADS[0]).count() > 0, "as text it is there"


@pytest.mark.slow
def test_forged_values_are_refused(hostile_server, browser):
    with opened(browser, f"{hostile_server}/?query=G010", query="G010") as contexts:
        contexts.wait_for_overlaps()
        with contexts.page.expect_request("**/set_ui_element_value") as request:
            contexts.choose("Representation", "latent")
        contexts.wait_for_parameter("representation", "latent")
        headers = request.value.all_headers()
        for control in ("marimo-multiselect", "marimo-dropdown", "marimo-table"):
            for value in (999_999, [PAYLOADS[0]], [{"rowId": "999", "columnName": PAYLOADS[0]}]):
                identifier = contexts.page.locator(f"marimo-ui-element:has({control})").first.get_attribute("object-id")
                body = json.dumps({"objectIds": [identifier], "values": [value]})
                status = contexts.page.evaluate(
                    """([headers, body]) => fetch("/api/kernel/set_ui_element_value", { method: "POST", headers, body })
                        .then((response) => response.status)""",
                    [{name: headers[name] for name in HEADERS}, body],
                )
                assert status == 200
        contexts.choose("Representation", "raw")
        contexts.wait_for_parameter("representation", "raw")
        contexts.wait_for_answer("G010")
