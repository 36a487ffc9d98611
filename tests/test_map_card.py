"""The map card: whole, escaped, without anything that runs or is loaded."""

import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
import toys
import verdicts
from files import PAYLOADS
from verdicts import VIEW, compared, flip, judged_of, judgement

from explorer import __version__, cli
from explorer.catalog import open_catalog
from explorer.judged import forest_table
from explorer.map_card import command_line, forest_svg, map_card

TAGS = {
    "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "b", "ul", "li", "svg", "line", "circle", "text",
    "table", "tr", "th", "td", "dl", "dt", "dd", "code",
}  # fmt: skip


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(self.texts)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return open_catalog(verdicts.write_catalog(tmp_path_factory.mktemp("card")))


def test_card_says_everything(catalog):
    page = Page(map_card(catalog, judged_of(judgement())))
    for said in (
        "Worth it", "latent brings known partners together better", "For your next experiments", "By source", "CC0",
        "nobody", "seed", "a" * 12, "b" * 12, f"explorer {__version__}", "numpy", "polars", "python", "+.100",
        "the combination that was declared beforehand", "21 more known pairs (91 v 70)",
        "Context alpha: alpha cells · ", "4 non-targeting guides (4 rows) · layout not declared.",
    ):  # fmt: skip
        assert said in page.text, said


def test_card_runs_and_loads_nothing(catalog):
    text = map_card(catalog, judged_of(judgement()))
    page = Page(text)
    assert page.tags <= TAGS
    names = {name for name, _ in page.attributes}
    assert not names & {"src", "href", "style", "srcdoc", "xlink:href"}
    assert not {name for name in names if name.startswith("on")}
    assert not re.findall(r"url\(|@import|https?://", text.split("</style>")[0])
    policy = next(value for name, value in page.attributes if value and value.startswith("default-src"))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


def test_equal_judgements_give_equal_cards(catalog):
    assert map_card(catalog, judged_of(judgement())) == map_card(catalog, judged_of(judgement()))


@pytest.mark.parametrize(
    ("changes", "tone"),
    [
        ({}, "success"),
        ({"verdict": "not shown"}, "neutral"),
        ({"rivals": (compared("pca", 0.35, -0.05, 0.08),)}, "neutral"),
        ({"verdict": "worse"}, "danger"),
        ({"verdict": "underpowered"}, "warn"),
    ],
)
def test_the_word_has_the_colour_of_the_page(catalog, changes, tone):
    text = map_card(catalog, judged_of(judgement(**changes)))
    assert f"<p class='word {tone}'>" in text
    assert text.count(f"--{tone}: #") == 3, "in light, in dark and on paper"


def test_command_that_makes_it_again(catalog):
    found = judged_of(judgement(), view=replace(VIEW, sources=("Pairs", "My sets"), budget=30))
    line = command_line(catalog, found)
    text = Page(map_card(catalog, found)).text
    assert line in text
    assert "CATALOG the folder in which this dataset lies" in " ".join(text.split())
    words = shlex.split(line)
    assert words[:2] == ["explorer", "judge"]
    options = cli._parser().parse_args(words[1:])
    assert options.path.as_posix() == "CATALOG/toy"
    assert (options.simple, options.learned, options.context) == ("raw", "latent", "alpha")
    assert (options.align, options.source, options.k) == ("none", ["Pairs", "My sets"], 10)
    assert (options.budget, options.seed) == (30, 0)


def test_no_colon_without_a_description(catalog):
    texts = Page(map_card(catalog, judged_of(judgement()))).texts
    assert "raw (simple)" in texts
    assert not [text for text in texts if text.endswith("):")]


def test_exploratory_card_names_the_declared_verdict(catalog):
    found = judged_of(judgement(), view=replace(VIEW, align="center"), declared=judgement(verdict="worse"))
    text = Page(map_card(catalog, found)).text
    assert "Worth it · exploratory" in text
    assert "whose verdict is “worse”" in text


def test_locked_card_has_no_figures(catalog):
    found = judgement(verdict="locked", reason="the recipes differ", known_hits=None, sources=())
    page = Page(map_card(catalog, judged_of(found)))
    assert "svg" not in page.tags
    assert "the recipes differ" in page.text


def test_names_that_are_markup(tmp_path):
    changes = {key: PAYLOADS[0] for key in ("title", "license", "citation")}
    known = {"relationships": {"Pairs": {"file": "pairs.parquet", "license": PAYLOADS[1], "citation": PAYLOADS[2]}}}
    catalog = open_catalog(verdicts.write_catalog(tmp_path, changes, known=known))
    found = judgement(
        placebos=tuple(compared(name, 0.1, 0.2, 0.1) for name in PAYLOADS),
        notes=PAYLOADS,
        sources=tuple(replace(judgement().sources[0], source=name) for name in PAYLOADS),
        known_hits=replace(judgement().known_hits, largest=tuple((name, 2.0) for name in PAYLOADS)),
    )
    text = map_card(catalog, judged_of(found))
    page = Page(text)
    assert page.tags <= TAGS
    assert not {name for name, _ in page.attributes if name.startswith("on")}
    for payload in (PAYLOADS[0], PAYLOADS[1], PAYLOADS[2], PAYLOADS[3]):
        assert payload not in text
        assert payload.replace("\n", " ") in page.text, "as text it is all there"


def test_forest_is_a_drawing():
    root = ElementTree.fromstring(forest_svg(forest_table(judgement())))
    kinds = [element.tag for element in root]
    assert kinds.count("circle") == 6
    texts = [element.text for element in root if element.tag == "text"]
    assert "all sources: latent − raw" in texts
    assert "+.100 (+.070 … +.130)" in texts
    assert {"0", "+.1", "+.2", "+.3"} <= set(texts), "round numbers on the axis"
    ends = [float(element.get("x2")) for element in root if element.get("stroke-width")]
    width = float(root.get("viewBox").split()[2])
    # 12 px letters are 6.5 wide on average, and figures end at the right edge.
    assert max(ends) < width - 6.5 * len("+.100 (+.070 … +.130)")


def test_forest_of_long_names_and_of_nothing():
    long = judgement(placebos=(compared("x" * 500, 0.1, 0.2, 0.1),))
    texts = [element.text or "" for element in ElementTree.fromstring(forest_svg(forest_table(long)))]
    assert max(len(text) for text in texts) <= 52
    ElementTree.fromstring(forest_svg(forest_table(judgement(verdict="locked"))))
    flat = replace(judgement(), primary=replace(judgement().primary, test=flip(0.0, 0.0)), sources=(), placebos=(),
                   rivals=(), seeds=())  # fmt: skip
    ElementTree.fromstring(forest_svg(forest_table(flat)))


def test_toy_is_the_catalog_of_the_cards(catalog):
    assert catalog.dataset("toy").card.title == toys.CARD["title"]
