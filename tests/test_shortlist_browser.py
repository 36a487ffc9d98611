"""The shortlist notebook as a user meets it, in a real browser: from a list to its results, over hostile names."""

import contextlib
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import listed_toys
import pytest
import verdicts
from browser import TOKEN, Visit, log_in, missing_browser, open_page, serve_catalog, serve_notebook, start_browser
from conftest import PROJECT
from listed_toys import PAYLOADS, by_form
from test_explore_browser import BACKGROUND, FOREIGN_ELEMENTS, HEADERS

from explorer.frozen_files import read_frozen, sheet_csv

pytestmark = pytest.mark.skipif(bool(missing_browser()), reason=missing_browser())

APP = PROJECT / "apps" / "shortlist.py"
PATIENCE = 60_000
PARAMETERS = {
    "dataset", "context", "others", "left", "right", "align", "mode", "budget", "sources", "completeness", "active",
    "trusted", "holds", "interest", "recipes",
}  # fmt: skip


@dataclass(frozen=True)
class Shortlist:
    """The page of the notebook, in words a user would use."""

    visit: Visit

    @property
    def page(self):
        return self.visit.page

    def wait_for_list(self) -> None:
        """Wait until a list and what stands beside its pairs are shown."""
        self.page.get_by_role("heading", name="The list", exact=True).wait_for()
        self.page.get_by_role("columnheader", name="simple rank").wait_for()

    def wait_for_blind_list(self) -> None:
        self.page.get_by_role("heading", name="The pairs, blind").wait_for()

    def wait_for_parameter(self, name: str, value: str) -> None:
        self.page.wait_for_function(
            "([name, value]) => new URLSearchParams(location.search).get(name) === value", arg=[name, value]
        )

    def parameters(self) -> set[str]:
        return set(parse_qs(urlsplit(self.page.url).query, keep_blank_values=True))

    def wait_for_notice(self, text: str) -> None:
        self.page.locator("marimo-callout-output", has_text=text).first.wait_for()

    def download(self, label: str, folder: Path) -> Path:
        button = self.page.locator("marimo-download", has_text=label).last
        button.scroll_into_view_if_needed()
        with self.page.expect_download() as download:
            button.locator("a, button").first.click()
        path = folder / download.value.suggested_filename
        download.value.save_as(path)
        return path

    def freeze(self, folder: Path) -> dict[str, bytes]:
        """Files of the list as it is frozen by a click."""
        with zipfile.ZipFile(self.download("Freeze this list", folder)) as archive:
            return by_form({name: archive.read(name) for name in archive.namelist()})

    def give(self, label: str, name: str, content: bytes | str) -> None:
        """Upload a file."""
        data = content if isinstance(content, bytes) else content.encode()
        control = self.page.locator("marimo-file", has_text=label).last
        control.locator("input[type=file]").set_input_files({"name": name, "mimeType": "text/plain", "buffer": data})


@pytest.fixture(scope="module")
def browser():
    with start_browser() as running:
        yield running


@pytest.fixture(scope="module")
def hostile_server(tmp_path_factory) -> Iterator[str]:
    root = listed_toys.write_hostile(tmp_path_factory.mktemp("hostile"))
    cache = {"EXPLORER_CACHE": str(tmp_path_factory.mktemp("cache"))}
    track = tmp_path_factory.mktemp("track") / "mine"
    with serve_notebook(APP, "--data", str(root), "--track", str(track), env=cache) as url:
        yield url


@contextlib.contextmanager
def opened(browser, url: str, *, blind: bool = False, **options) -> Iterator[Shortlist]:
    """Open the notebook in a session of its own; whatever the test then does, nothing may go wrong on the page."""
    with open_page(url, browser=browser, height=1100, **options) as visit:
        visit.page.set_default_timeout(PATIENCE)
        shortlist = Shortlist(visit)
        shortlist.wait_for_blind_list() if blind else shortlist.wait_for_list()
        yield shortlist
        assert visit.problems() == []
        assert visit.page.evaluate("window.__pwned") is None
        assert visit.page.evaluate(FOREIGN_ELEMENTS) == []


def answered(frozen, *, hits: int = 4) -> str:
    """Sheet of a list in which every so many pairs are hits."""
    return sheet_csv(frozen, ["hit" if row % hits == 0 else "no hit" for row in range(frozen.n_rows)])


def test_from_list_to_results(hostile_server, browser, tmp_path):
    link = f"{hostile_server}/?{urlencode({'budget': '60', 'trusted': 'no', 'active': 'no'})}"
    with opened(browser, link) as shortlist:
        page = shortlist.page
        page.wait_for_function("new URLSearchParams(location.search).get('recipes')?.includes('.')")
        assert shortlist.parameters() == PARAMETERS
        assert page.get_by_role("progressbar").count() == 0, "nothing runs, and nothing ticks"
        assert page.get_by_text("None", exact=True).count() == 0
        assert page.locator("marimo-vega, .vega-embed").locator("canvas, svg").count() >= 2
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

        # A click on a row shows all that is known of the pair, also once the table is sorted by another column.
        rows = page.locator("marimo-table").first.locator("tbody tr")
        first, second = (rows.nth(4).locator("td").nth(place).inner_text() for place in (1, 2))
        rows.nth(4).locator("td").nth(2).click()
        page.get_by_text(f"5: {first} – {second}").first.wait_for()
        page.get_by_text("Place 5, proposed by").wait_for()

        files = shortlist.freeze(tmp_path)
        frozen = read_frozen(files["LIST.parquet"])
        assert frozen.n_rows == int(page.get_by_text("pairs to test next").first.inner_text().split()[0])
        saved = shortlist.download("this page as one HTML file", tmp_path)

        # Some results, then all; a changed list; a record of it.
        shortlist.give("The frozen list", "LIST.parquet", files["LIST.parquet"])
        shortlist.wait_for_notice("A frozen list, whole and unchanged")
        partial = sheet_csv(frozen, ["hit"] * 5 + [None] * (frozen.n_rows - 5))
        shortlist.give("Its results", "sheet.csv", partial)
        shortlist.wait_for_notice("5 hits of 5 tested")
        shortlist.wait_for_notice("Corrected by (hits")
        shortlist.give("Its results", "sheet.csv", answered(frozen))
        shortlist.wait_for_notice(f"{-(-frozen.n_rows // 4)} hits of {frozen.n_rows} tested")
        page.get_by_role("button", name="Add to my track record").click()
        page.get_by_text("This list was added to the track record").wait_for()
        page.get_by_text("1 list recorded.").wait_for()

        text = files["LIST.csv"].decode()
        shortlist.give("The frozen list", "<b>mine.csv", text.replace("G0", "G1", 1))
        shortlist.wait_for_notice("'<b>mine.csv'")
        page.get_by_text("was changed after freezing").first.wait_for()
    with open_page(saved.as_uri(), browser=browser) as visit:
        assert visit.console_errors == visit.page_errors == []
        assert visit.blocked == [saved.as_uri()], "the file itself, and nothing else"
        visit.page.locator(".chart canvas, .chart svg").nth(1).wait_for()
        assert visit.page.evaluate("window.__pwned") is None


def test_a_blind_comparison_with_its_key(hostile_server, browser, tmp_path):
    link = f"{hostile_server}/?{urlencode({'mode': 'compare', 'trusted': 'no'})}"
    with opened(browser, link, blind=True, dark=True, width=1024) as shortlist:
        page = shortlist.page
        assert max(page.evaluate(BACKGROUND)) < 60
        assert page.get_by_text("proposed by").count() == 0
        files = shortlist.freeze(tmp_path)
        frozen, key = read_frozen(files["LIST.csv"]), files["LIST-key.json"]
        shortlist.give("The frozen list", "LIST.csv", files["LIST.csv"])
        shortlist.give("Its results", "sheet.csv", answered(frozen))
        shortlist.wait_for_notice("the sealed key tells who proposed which pair")
        shortlist.give("Of a blind list", "LIST-key.json", key.replace(b"payload", b"payload ", 1))
        shortlist.wait_for_notice("'LIST-key.json' was changed")
        shortlist.give("Of a blind list", "LIST-key.json", key)
        shortlist.wait_for_notice("Learned − simple is")
        marked = json.loads(shortlist.download("the key, marked as opened", tmp_path).read_text())
        assert marked["opened"]["complete"] is True
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_what_a_link_can_not_have(hostile_server, browser):
    hostile = {"align": PAYLOADS[0], "others": "gamma", "left": PAYLOADS[1], "budget": "-3", "sources": PAYLOADS[2]}
    hostile |= {"interest": PAYLOADS[0] + "\n" + "nobody"}
    with opened(browser, f"{hostile_server}/?{urlencode(hostile)}&trusted=no&active=no") as shortlist:
        for said in ("Unknown alignment", "Unknown contexts 'gamma'", "Unknown simple repr", "'-3'", "'nobody'"):
            shortlist.wait_for_notice(said)
        shortlist.page.get_by_text("About this data").click()
        shortlist.page.get_by_text("Provenance.").last.wait_for()
        assert shortlist.page.get_by_text(PAYLOADS[0]).count() > 0, "as text it is there"


@pytest.mark.slow
def test_a_shared_server_does_it_all_and_keeps_nothing(browser, tmp_path):
    root = verdicts.write_catalog(tmp_path / "catalog")
    cache = tmp_path / "cache"
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "catalog").rglob("*")}
    with (
        serve_catalog(root, env={"EXPLORER_CACHE": str(cache)}) as served,
        open_page(f"{served.url}/login", browser=browser, height=1100) as visit,
    ):
        visit.page.set_default_timeout(PATIENCE)
        log_in(visit.page, served.url, token=TOKEN)
        visit.page.get_by_role("link", name="What to test next?").first.click()
        shortlist = Shortlist(visit)
        shortlist.wait_for_list()
        visit.page.get_by_role("link", name="what holds elsewhere").first.wait_for()
        visit.page.get_by_text("never on a shared server").wait_for()
        assert visit.page.get_by_role("button", name="Add to my track record").count() == 0
        files = shortlist.freeze(tmp_path)
        frozen = read_frozen(files["LIST.csv"])
        shortlist.give("The frozen list", "LIST.csv", files["LIST.csv"])
        shortlist.give("Its results", "sheet.csv", answered(frozen))
        shortlist.wait_for_notice("13 hits of 50 tested")
        assert visit.page.get_by_role("button", name="Add to my track record").count() == 0
        assert visit.problems() == []
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "catalog").rglob("*")} == before


@pytest.mark.slow
def test_forged_values_are_refused(hostile_server, browser):
    with opened(browser, f"{hostile_server}/?trusted=no") as shortlist:
        page = shortlist.page
        with page.expect_request("**/set_ui_element_value") as request:
            page.get_by_label("Learned", exact=True).select_option(label="latent-seed-1")
        shortlist.wait_for_parameter("right", "latent-seed-1")
        headers = request.value.all_headers()
        for control in ("multiselect", "dropdown", "table", "number", "radio", "checkbox", "text-area"):
            for value in (999_999, [PAYLOADS[0]], [{"rowId": "999", "columnName": PAYLOADS[0]}]):
                identifier = page.locator(f"marimo-ui-element:has(marimo-{control})").first.get_attribute("object-id")
                body = json.dumps({"objectIds": [identifier], "values": [value]})
                status = page.evaluate(
                    """([headers, body]) => fetch("/api/kernel/set_ui_element_value", { method: "POST", headers, body })
                        .then((response) => response.status)""",
                    [{name: headers[name] for name in HEADERS}, body],
                )
                assert status == 200
        page.reload()
        shortlist.wait_for_list()
