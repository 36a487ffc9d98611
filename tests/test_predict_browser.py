"""The notebook of predictions as a user meets it, in a real browser: over the demo, and over data that attacks it."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import polars as pl
import pytest
import verdicts
from browser import Visit, missing_browser, open_page, serve_notebook, start_browser
from conftest import PROJECT
from test_explore_browser import BACKGROUND, FOREIGN_ELEMENTS, PAYLOADS
from test_judge_browser import forge

pytestmark = pytest.mark.skipif(bool(missing_browser()), reason=missing_browser())

APP = PROJECT / "apps" / "predict.py"
PATIENCE = 60_000
NAMES = (*PAYLOADS, *verdicts.NAMES[: 110 - len(PAYLOADS)])
HEAD = "Better than a mean, not shown to beat"


@dataclass(frozen=True)
class Predict:
    """The page of the notebook, in words a user would use."""

    visit: Visit

    @property
    def page(self):
        return self.visit.page

    def wait_for_verdict(self, word: str) -> None:
        """Wait until the heading begins so, and all below it is shown."""
        self.page.get_by_role("heading", name=word).first.wait_for()
        self.page.get_by_role("heading", name="Take it away").wait_for()

    def wait_for_parameter(self, name: str, value: str) -> None:
        self.page.wait_for_function(
            "([name, value]) => new URLSearchParams(location.search).get(name) === value", arg=[name, value]
        )

    def parameters(self) -> dict[str, str]:
        parts = parse_qs(urlsplit(self.page.url).query, keep_blank_values=True)
        return {name: values[0] for name, values in parts.items()}

    def wait_for_notice(self, text: str) -> None:
        self.page.locator("marimo-callout-output", has_text=text).first.wait_for()

    def choose(self, label: str, option: str) -> None:
        self.page.get_by_label(label, exact=True).select_option(label=option)

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
    """A small catalog in which every text that can be one is an attack."""
    changes = {key: PAYLOADS[0] for key in ("title", "license", "citation", "description", "provenance")}
    changes |= {"roles/perturbation": PAYLOADS[1], "defaults/query": PAYLOADS[2], "defaults/align": "none"}
    changes |= {f"contexts/{name}/technique": PAYLOADS[3] for name in ("alpha", "beta")}
    # What is known, so that the page begins with alpha from it.
    changes["defaults/context"] = "beta"
    root = verdicts.write_catalog(tmp_path_factory.mktemp("hostile"), changes, names=NAMES)
    cache = {"EXPLORER_CACHE": str(tmp_path_factory.mktemp("cache"))}
    with serve_notebook(APP, "--data", str(root), env=cache) as url:
        yield url


@contextlib.contextmanager
def opened(browser, url: str, *, word: str = HEAD, **options) -> Iterator[Predict]:
    """Open the notebook in a session of its own; whatever the test then does, nothing may go wrong on the page."""
    with open_page(url, browser=browser, height=1100, **options) as visit:
        visit.page.set_default_timeout(PATIENCE)
        predict = Predict(visit)
        predict.wait_for_verdict(word)
        yield predict
        assert visit.problems() == []
        assert visit.page.evaluate("window.__pwned") is None
        assert visit.page.evaluate(FOREIGN_ELEMENTS) == []


def test_first_view_then_another_perturbation(server, browser):
    with opened(browser, f"{server}/") as predict:
        page = predict.page
        predict.wait_for_parameter("perturbation", PAYLOADS[2])
        assert set(predict.parameters()) == {
            "dataset", "context", "task", "target", "source", "simple", "learned", "align", "perturbation", "recipes",
        }  # fmt: skip
        assert page.get_by_role("progressbar").count() == 0, "nothing runs, and nothing ticks"
        assert page.get_by_text("None", exact=True).count() == 0
        assert page.locator("marimo-vega, .vega-embed").locator("canvas, svg").count() >= 3
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        # A row of a list is drawn once it is selected.
        best = page.locator("marimo-table").nth(1)
        best.scroll_into_view_if_needed()
        name = best.locator("tbody tr").first.locator("td").nth(1).inner_text()
        best.locator("tbody tr").first.get_by_role("checkbox").click()
        predict.wait_for_parameter("perturbation", name)
        page.get_by_text(f"{name}: ρ⊥").first.wait_for()


@pytest.mark.slow
def test_what_is_taken_away(server, browser, tmp_path):
    with opened(browser, f"{server}/?perturbation={verdicts.NAMES[7]}") as predict:
        predict.wait_for_parameter("perturbation", verdicts.NAMES[7])
        found = json.loads(predict.download("the prediction as JSON", tmp_path).read_text())
        assert (found["verdict"], found["plan"]["source"]) == ("not shown", "beta")
        table = pl.read_csv(predict.download("all perturbations as CSV", tmp_path))
        assert table.height == 109
        assert table["source conditions"][0].startswith("beta cells")
        saved = predict.download("this page as one HTML file", tmp_path)
    with open_page(saved.as_uri(), browser=browser) as visit:
        visit.page.locator(".vega-embed canvas, .vega-embed svg").nth(2).wait_for()
        assert visit.console_errors == visit.page_errors == []
        assert visit.blocked == [saved.as_uri()], "the file itself, and nothing else"
        assert "not shown to beat raw" in visit.page.locator(".word").inner_text()
        assert verdicts.NAMES[7] in visit.page.locator("body").inner_text()
        assert visit.page.evaluate("window.__pwned") is None


@pytest.mark.slow
def test_other_choices(server, browser):
    with opened(browser, f"{server}/") as predict:
        predict.choose("Target context", "beta")
        # The context that is predicted is not what it is predicted from.
        predict.wait_for_parameter("source", "alpha")
        predict.wait_for_verdict("")
        predict.choose("Learned", "latent-seed-1")
        predict.wait_for_parameter("learned", "latent-seed-1")
        predict.choose("Source context", "beta")
        predict.wait_for_notice("can't be transferred to itself")
        predict.choose("Predict", "from an embedding or another context")
        predict.wait_for_notice("Same cells")
        assert predict.page.get_by_label("Learned", exact=True).input_value() is not None
        predict.choose("Predict", "pairs from their singles")
        predict.wait_for_notice("is a pair of two others")
        assert predict.page.get_by_label("Learned", exact=True).count() == 0


def test_dark_theme_and_what_a_link_can_not_have(server, browser):
    link = {"task": PAYLOADS[0], "align": PAYLOADS[1], "source": "gamma", "perturbation": "nobody", "recipes": "a.b"}
    with opened(browser, f"{server}/?{urlencode(link)}", dark=True, width=1024) as predict:
        for said in ("Unknown task", "Unknown alignment", "Unknown context to predict from 'gamma'"):
            predict.wait_for_notice(said)
        predict.wait_for_notice("The data or the method changed since this link was made")
        predict.wait_for_notice("Unknown predicted perturbation 'nobody'")
        assert max(predict.page.evaluate(BACKGROUND)) < 60
        assert predict.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.slow
def test_forged_values_are_refused_in_a_sentence(server, browser):
    with opened(browser, f"{server}/") as predict:
        with predict.page.expect_request("**/set_ui_element_value") as request:
            predict.choose("Alignment", "center")
        predict.wait_for_parameter("align", "center")
        headers = request.value.all_headers()
        for value in (PAYLOADS[0], [PAYLOADS[0]], 7, {"a": 1}):
            forge(predict, headers, "marimo-dropdown", value)
        predict.choose("Alignment", "none")
        predict.wait_for_parameter("align", "none")
        predict.wait_for_verdict(HEAD)


@pytest.mark.slow
def test_names_that_attack_the_page(server, browser):
    with opened(browser, f"{server}/") as predict:
        predict.page.get_by_text("About this dataset, the known groups").click()
        predict.page.get_by_text("Provenance.").last.wait_for()
        assert predict.page.get_by_text(PAYLOADS[0]).count() > 0, "as text it is there"
