"""The judge notebook as a user meets it, in a real browser: over the demo, and over data that attacks the page."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import verdicts
from browser import Visit, missing_browser, open_page, serve_notebook, start_browser
from conftest import PROJECT
from test_explore_browser import BACKGROUND, FOREIGN_ELEMENTS, HEADERS, PAYLOADS

pytestmark = pytest.mark.skipif(bool(missing_browser()), reason=missing_browser())

APP = PROJECT / "apps" / "judge.py"
PATIENCE = 60_000
LINK = {"dataset": "perturbseq"}
FEW = "Too little is known to tell"


@dataclass(frozen=True)
class Judge:
    """The page of the notebook, in words a user would use."""

    visit: Visit

    @property
    def page(self):
        return self.visit.page

    def wait_for_verdict(self, word: str) -> None:
        """Wait until the verdict is this word, and all that follows from it at once is shown."""
        self.page.get_by_role("heading", name=word, exact=True).wait_for()
        self.page.get_by_role("heading", name="Every difference").wait_for()

    def wait_for_checks(self) -> None:
        """Wait until all that is made beside the page is there."""
        self.page.get_by_role("heading", name="What noise allows").wait_for()
        self.page.get_by_role("heading", name="Pairs on which the two lists disagree").wait_for()

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

    @property
    def progress(self):
        return self.page.get_by_role("progressbar")

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name).last.click()

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
def server(tmp_path_factory) -> Iterator[str]:
    with serve_notebook(APP, env={"EXPLORER_CACHE": str(tmp_path_factory.mktemp("cache"))}) as url:
        yield url


@contextlib.contextmanager
def opened(browser, url: str, *, word: str = "Worse", **options) -> Iterator[Judge]:
    """Open the notebook in a session of its own; whatever the test then does, nothing may go wrong on the page."""
    with open_page(url, browser=browser, height=1100, **options) as visit:
        visit.page.set_default_timeout(PATIENCE)
        judge = Judge(visit)
        judge.wait_for_verdict(word)
        yield judge
        assert visit.problems() == []
        assert visit.page.evaluate("window.__pwned") is None
        assert visit.page.evaluate(FOREIGN_ELEMENTS) == []


@pytest.fixture(scope="module")
def hostile_server(tmp_path_factory) -> Iterator[str]:
    """A small catalog in which every text that can be one is an attack."""
    names = (*PAYLOADS, *verdicts.NAMES[: 110 - len(PAYLOADS)])
    changes = {key: PAYLOADS[0] for key in ("title", "license", "citation", "description", "provenance")}
    changes |= {"roles/perturbation": PAYLOADS[1]}
    known = {"relationships": {"Pairs": {"file": "pairs.parquet", "license": PAYLOADS[2], "citation": PAYLOADS[3]}}}
    root = verdicts.write_catalog(tmp_path_factory.mktemp("hostile"), changes, names=names, known=known)
    cache = {"EXPLORER_CACHE": str(tmp_path_factory.mktemp("cache"))}
    with serve_notebook(APP, "--data", str(root), env=cache) as url:
        yield url


def link(server: str, **parameters: object) -> str:
    return f"{server}/?{urlencode({**LINK, **parameters})}"


def test_first_view_then_another(server, browser, tmp_path):
    with opened(browser, link(server)) as judge:
        page = judge.page
        page.get_by_text("In line_A, scvi brings known partners together less well than pseudobulk does.").wait_for()
        page.get_by_text("This is the combination that was declared beforehand").wait_for()
        judge.wait_for_parameter("budget", "100")
        page.wait_for_function("new URLSearchParams(location.search).get('recipes')?.includes('.')")
        assert set(judge.parameters()) == {
            "dataset", "context", "simple", "learned", "align", "sources", "k", "budget", "recipes",
        }  # fmt: skip
        judge.wait_for_checks()
        assert judge.progress.count() == 0, "nothing runs, and nothing ticks"
        assert page.get_by_text("None", exact=True).count() == 0
        assert page.locator("marimo-vega, .vega-embed").locator("canvas, svg").count() >= 4
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        found = json.loads(judge.download("judgement as JSON", tmp_path).read_text())
        assert (found["verdict"], found["context"], found["primary"]["n_groups"]) == ("worse", "line_A", 24)

        judge.choose("Simple", "pca-20")
        judge.wait_for_verdict("Not shown · exploratory")
        judge.wait_for_parameter("simple", "pca-20")
        page.get_by_text("You have looked at 2 combinations").wait_for()
        page.get_by_text("the declared verdict stays “worse”").wait_for()
        page.get_by_text("Another simple representation, pseudobulk, scores higher than pca-20").wait_for()
        card = judge.download("map card", tmp_path)
    check_card_offline(browser, card)


def check_card_offline(browser, card: Path) -> None:
    """A downloaded card opens from the disk, with nothing on the console and no request."""
    with open_page(card.as_uri(), browser=browser) as visit:
        assert visit.console_errors == visit.page_errors == []
        assert visit.blocked == [card.as_uri()], "the file itself, and nothing else"
        assert visit.page.locator("svg circle").count() > 5
        assert visit.page.locator("script").count() == 0
        assert "Not shown · exploratory" in visit.page.locator("body").inner_text()
        # The style applies although the policy forbids all others.
        assert visit.page.locator(".word").evaluate("element => getComputedStyle(element).fontWeight") == "700"


def test_dark_theme_and_what_a_link_can_not_have(hostile_server, browser):
    hostile = {"k": "99", "align": PAYLOADS[0], "sources": "CORUM", "budget": "many", "recipes": "abc.def"}
    with opened(browser, f"{hostile_server}/?{urlencode(hostile)}", word=FEW, dark=True, width=1024) as judge:
        for said in ("k = '99' is not a number", "Unknown alignment", "Unknown sources 'CORUM'", "budget = 'many'"):
            judge.wait_for_notice(said)
        judge.wait_for_notice("The data or the method changed since this link was made")
        judge.wait_for_checks()
        assert max(judge.page.evaluate(BACKGROUND)) < 60
        assert judge.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.slow
def test_long_work_is_told_cancelled_and_freezes_nobody(server, browser):
    with opened(browser, link(server)) as judge:
        judge.wait_for_checks()
        # Minutes of work, so that it is not done before another session has its verdict.
        cells = judge.page.get_by_role("textbox", name="Cells per guide and batch")
        cells.fill("40")
        cells.press("Enter")
        judge.press("Simulate")
        judge.progress.wait_for()
        with opened(browser, link(server, k=5), word="Worse · exploratory") as other:
            assert other.parameters()["k"] == "5"
            assert judge.progress.count() == 1, "the first is still at work"
        judge.press("Cancel")
        judge.wait_for_notice("cancelled")
        judge.progress.wait_for(state="detached")
        judge.page.get_by_role("button", name="Simulate").last.wait_for()
        judge.press("Score every representation under every alignment")
        judge.page.get_by_text("Macro partner recall at 10").first.wait_for()


def forge(judge: Judge, headers: dict[str, str], control: str, value: object) -> None:
    """Send any value for a control, as a hostile client would: the page's own message with another value."""
    identifier = judge.page.locator(f"marimo-ui-element:has({control})").first.get_attribute("object-id")
    status = judge.page.evaluate(
        """([headers, body]) => fetch("/api/kernel/set_ui_element_value", { method: "POST", headers, body })
            .then((response) => response.status)""",
        [
            {name: headers[name] for name in HEADERS},
            json.dumps({"objectIds": [identifier], "values": [value]}),
        ],
    )
    assert status == 200


def test_forged_values_are_refused_in_a_sentence(hostile_server, browser):
    with opened(browser, f"{hostile_server}/", word=FEW) as judge:
        judge.wait_for_checks()
        slider = judge.page.get_by_role("slider").first
        slider.focus()
        with judge.page.expect_request("**/set_ui_element_value") as request:
            judge.page.keyboard.press("ArrowRight")
        judge.wait_for_parameter("budget", "150")
        headers = request.value.all_headers()
        # What a slider of steps, a menu or a list did not offer never reaches a cell.
        for control in ("marimo-slider", "marimo-multiselect"):
            for value in (999_999, [PAYLOADS[0]]):
                forge(judge, headers, control, value)
        # A number does, and is checked where it is used.
        forge(judge, headers, "marimo-number", 10**9)
        judge.press("Simulate")
        judge.wait_for_notice("perturbations = '1000000000' can't be used: choose a whole number from 100 to 1,000")
        slider.focus()
        judge.page.keyboard.press("ArrowRight")
        judge.wait_for_parameter("budget", "200")
        judge.wait_for_verdict(FEW)


def test_names_that_attack_the_page(hostile_server, browser):
    with opened(browser, f"{hostile_server}/", word=FEW) as judge:
        judge.wait_for_checks()
        judge.page.get_by_text("About this dataset, what is known of it").click()
        judge.page.get_by_text("Provenance.").last.wait_for()
        assert judge.page.get_by_text(PAYLOADS[0]).count() > 0, "as text it is there"
