"""Saved pages: whole, escaped, with the figures of the view, and nothing in them that is loaded or sent."""

import base64
import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pages
import polars as pl
import pytest
import toys
import verdicts
from conftest import PROJECT
from hypothesis import given
from hypothesis import strategies as st
from pages import PAYLOADS, VIEW, Page, parts_of, saved_view, unpacked
from verdicts import judged_of, judgement

from explorer import __version__, charts, side_by_side, wording
from explorer.catalog import open_catalog
from explorer.judge_details import grid_of, start_budget, start_checks
from explorer.judged import forest_table, start_judging
from explorer.page import document
from explorer.panels import LinkedMaps, maps_script, still_maps
from explorer.portable import portable_page
from explorer.portable_judge import judge_page
from explorer.portable_parts import Drawing, Facts, Heading, Points, Rows, Said, Section
from explorer.portable_view import points_drawn
from explorer.text import script_json
from explorer.view import link_parameters, recipes_of

TAGS = {
    "html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "b", "ul", "li", "div", "script", "table",
    "thead", "tbody", "tr", "th", "td", "dl", "dt", "dd",
}  # fmt: skip
NO_POSITION = 65535


pytestmark = pytest.mark.usefixtures("own_workshop")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return open_catalog(toys.write_catalog(tmp_path_factory.mktemp("view")))


@pytest.fixture(scope="module")
def answer(catalog):
    return side_by_side.answer_view(catalog, VIEW)


@pytest.fixture(scope="module")
def parts(catalog, answer):
    return parts_of(catalog, answer)


@pytest.fixture(scope="module")
def saved(catalog):
    return saved_view(catalog)


@pytest.fixture(scope="module")
def page(saved):
    return Page(saved)


@pytest.fixture(scope="module")
def judge_catalog(tmp_path_factory):
    return open_catalog(verdicts.write_catalog(tmp_path_factory.mktemp("judge")))


def check_closed(text: str) -> Page:
    """Nothing is loaded, nothing may be sent, and every script is ours."""
    page = Page(text)
    assert page.tags <= TAGS
    names = {name for name, _ in page.attributes}
    assert not names & {"src", "href", "style", "srcdoc", "action"}
    assert not {name for name in names if name.startswith("on")}
    policy = page.policy
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "connect-src 'none'" in policy
    running = [script for attributes, script in page.scripts if attributes.get("type") != "application/json"]
    for script in running:
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    assert policy.count("sha256-") == len(running) + 1
    return page


# ---------------------------------------------------------------- the view


def test_page_runs_only_what_is_ours(saved):
    check_closed(saved)
    assert saved.count("window.vegaEmbed=") == 1, "once for all charts"


def test_page_says_what_the_notebook_says(catalog, answer, parts, page):
    view, pair, comparison = answer.view, answer.pair, answer.comparison
    for said in (
        *wording.answer_sentences(catalog, view, comparison),
        wording.activity_sentence(view.query, parts["activity"]),
        wording.difference_sentence(comparison, view),
        wording.context_sentence(catalog, view),
        wording.agreement_details(comparison, parts["distribution"]),
        wording.yardstick_sentence(parts["yardsticks"], comparison),
        wording.gene_set_sentence(parts["gene_sets"], view, catalog=catalog),
        wording.picture_caption(pair),
        *(text for row in wording.about_rows(catalog, view, pair) for text in row),
        f"explorer {__version__}",
        "All 30 perturbations are drawn.",
    ):
        assert said in page.text, said


def test_page_carries_recipes_and_link(answer, page):
    view, pair = answer.view, answer.pair
    for value in link_parameters(view, recipes=recipes_of(pair.left, pair.right)).values():
        assert value in page.text
    for side in (pair.left, pair.right):
        assert side.fingerprint in page.text
        assert side.recipe.sentence in page.text


def test_figures_are_those_of_the_view(answer, parts, page):
    lines = page.table("perturbation", "neighbour of")
    table = parts["table"]
    assert [line[0] for line in lines] == table["perturbation"].to_list()
    place = page.tables[-1][0].index("left q") if "left q" in page.tables[-1][0] else None
    assert place is not None
    header = next(found[0] for found in page.tables if found[0][:2] == ["perturbation", "neighbour of"])
    shown = [float(line[header.index("left similarity")].replace("−", "-")) for line in lines]
    np.testing.assert_allclose(shown, table["left similarity"].to_numpy(), atol=5e-4)
    ranks = [int(line[header.index("right rank")].replace(",", "")) for line in lines]
    assert ranks == table["right rank"].to_list()


def test_charts_hold_their_data_once(parts, page):
    specifications = page.block("charts")
    assert len(specifications) == 2
    strip, ladder = specifications.values()
    counts = charts.overlap_counts(parts["distribution"].overlaps)
    assert counts.to_dicts() in [json.loads(json.dumps(data)) for data in strip["datasets"].values()]
    for specification in (strip, ladder):
        texts = [json.dumps(data, sort_keys=True) for data in specification["datasets"].values()]
        assert len(texts) == len(set(texts))
        assert "url" not in json.dumps(specification).replace(specification["$schema"], "")


def test_maps_are_those_of_the_view(answer, page):
    data = page.block("maps-data")
    pair, comparison = answer.pair, answer.comparison
    assert data["state"]["names"].split("\n") == list(pair.names)
    for side, ranking in (("left", comparison.left_ranking), ("right", comparison.right_ranking)):
        ranks = unpacked(data[side]["ranks"], "<u4")
        expected = ranking.ranks_of(np.arange(len(pair.names)))
        np.testing.assert_array_equal(ranks, np.nan_to_num(expected, nan=0))
        assert ranks[pair.left.position(VIEW.query)] == 0, "the query has no rank"
    for side, layout in zip(("left", "right"), pair.layouts, strict=True):
        drawn = unpacked(data["state"][side], "<u2").reshape(-1, 2).astype(float)
        assert (drawn != NO_POSITION).all()
        together = np.corrcoef(drawn[:, 0], layout.coordinates[:, 0])[0, 1]
        assert together > 0.999
    marks = data["state"]["marks"]
    assert pair.names[marks["query"]] == VIEW.query
    assert [pair.names[row] for row in marks["highlights"]] == ["GENE07"]
    assert (data["left"]["name"], data["right"]["name"]) == ("raw", "latent")


def test_still_maps_are_what_the_widget_would_send():
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(2, 6, 2))
    left[2] = np.nan
    names, codes, marks = list("abcdef"), [0, 1, 2, 0, 1, 0], {"query": 3, "labels": [1, 2], "rings": [5]}
    categories = (codes, ["#000000", "#111111", "#222222"], ["", "one", "two"])
    widget = LinkedMaps(names, left, right, titles=("one", "two"), height=300)
    widget.set_categories(*categories)
    widget.set_marks(**marks)
    state = still_maps(names, left, right, titles=("one", "two"), height=300, categories=categories, marks=marks)
    own = {name for name in widget.traits(sync=True) if not name.startswith("_")} & set(state)
    assert own == set(state)
    assert {name: getattr(widget, name) for name in own} == state
    watched = re.search(r"const WATCHED = \[(.*?)\];", maps_script(), re.DOTALL).group(1)
    assert set(re.findall(r'"(\w+)"', watched)) <= own, "all that the JavaScript reads is there"


def test_large_maps_draw_a_sample_and_all_that_is_asked_about(catalog, answer):
    text = saved_view(catalog, most_points=16)
    page = check_closed(text)
    data, pair, comparison = page.block("maps-data"), answer.pair, answer.comparison
    names = data["state"]["names"].split("\n")
    assert len(names) == 16
    assert {VIEW.query, *comparison.sides, *VIEW.highlights, "GENE01", "GENE02"} <= set(names)
    assert "Of 30 perturbations 16 are drawn" in page.text
    assert "a random sample of the others (seed 0). Ranks are among all of them." in page.text
    marks = data["state"]["marks"]
    assert names[marks["query"]] == VIEW.query
    assert {names[row] for row in marks["labels"]} == {*comparison.sides, *VIEW.highlights}
    ranks = dict(zip(names, unpacked(data["left"]["ranks"], "<u4").tolist(), strict=True))
    everyone = comparison.left_ranking.ranks_of([pair.left.position(name) for name in names])
    np.testing.assert_array_equal(list(ranks.values()), np.nan_to_num(everyone, nan=0))
    codes = charts.side_codes(names, comparison.sides)
    assert codes.astype(bool).sum() == len(comparison.sides), "every neighbour has its colour"


@given(st.integers(1, 200), st.lists(st.integers(0, 199), max_size=30), st.integers(0, 220))
def test_points_drawn(n_points, wanted, most_points):
    wanted = [row for row in wanted if row < n_points]
    rows = points_drawn(n_points, wanted, most_points=most_points)
    assert set(wanted) <= set(rows.tolist())
    assert (np.diff(rows) > 0).all()
    assert len(rows) == (n_points if n_points <= most_points else max(most_points, len(set(wanted))))
    assert rows.min(initial=0) >= 0
    assert rows.max(initial=-1) < n_points
    np.testing.assert_array_equal(rows, points_drawn(n_points, wanted, most_points=most_points))


def test_equal_views_give_equal_pages(catalog, saved):
    assert saved_view(catalog) == saved


def test_what_a_dataset_lacks_is_left_out(tmp_path):
    root = toys.write_catalog(tmp_path, {"relationships": None}, guides=False, controls=False)
    page = check_closed(saved_view(open_catalog(root), replace(VIEW, highlights=())))
    assert "No known relationships stand beside this dataset." in page.text
    assert "do anything?" not in page.text
    assert not [table for table in page.tables if table[0][:1] == ["gene set"]]
    assert str(tmp_path) not in saved_view(open_catalog(root), replace(VIEW, highlights=()))


def test_texts_that_attack_stay_text(tmp_path):
    catalog = open_catalog(pages.write_hostile(tmp_path))
    view = replace(VIEW, query=PAYLOADS[1], highlights=PAYLOADS[2:4])
    text = saved_view(catalog, view)
    page = check_closed(text)
    for payload in PAYLOADS:
        said = payload.replace("\u2028", " ")
        assert said in page.text
    for payload in PAYLOADS[:4]:
        assert payload not in text
    assert page.table("gene set")
    assert "\u2028" not in text
    assert str(tmp_path) not in text


# ---------------------------------------------------------------- the judgement


def test_judgement_says_everything(judge_catalog):
    text = judge_page(judge_catalog, judged_of(judgement()), meter="looked at 3 combinations")
    page = check_closed(text)
    for said in (
        "Worth it", "latent brings known partners together better", "For your next experiments", "Placebos.",
        "Seeds.", "What would change the verdict", "looked at 3 combinations", "CC0", "nobody", "a" * 12,
        "b" * 12, f"explorer {__version__}", "explorer judge", "21 more known pairs (91 v 70)",
        "Context alpha: alpha cells · ", "4 non-targeting guides (4 rows) · layout not declared.",
        "Not computed when this page was saved, and so not in it: the curve over budgets; strata",
    ):  # fmt: skip
        assert said in page.text, said
    lines = page.table("kind", "label")
    forest = forest_table(judgement())
    assert [line[1] for line in lines] == forest["label"].to_list()
    assert lines[0][2:5] == ["+.100", "+.070", "+.130"]
    assert [line[6] == "" for line in lines] == forest["q"].is_null().to_list(), "what is not defined is blank"
    assert len(page.block("charts")) == 2
    assert page.block("maps-data") is None
    assert judge_page(judge_catalog, judged_of(judgement()), meter="looked at 3 combinations") == text


def test_judgement_without_a_meter_says_what_was_declared(judge_catalog):
    page = Page(judge_page(judge_catalog, judged_of(judgement())))
    assert "This is the combination that was declared beforehand" in page.text


def test_judgement_with_all_that_is_computed(judge_catalog):
    ticket = start_judging(judge_catalog, verdicts.VIEW)
    assert ticket.wait(60)
    for begun in (
        start_budget(judge_catalog, verdicts.VIEW),
        start_checks(judge_catalog, verdicts.VIEW),
        grid_of(judge_catalog, verdicts.VIEW, begin=True),
    ):
        assert begun.wait(60)
    page = check_closed(judge_page(judge_catalog, ticket.result))
    assert len(page.block("charts")) == 6
    for said in ("Within strata", "What noise allows", "What learning adds", "Pairs on which the two lists disagree"):
        assert said in page.text
    assert "Not computed" not in page.text
    for fingerprint in ticket.result.judgement.fingerprints.values():
        assert fingerprint in page.text


def test_locked_judgement_has_no_charts(judge_catalog):
    locked = judgement(verdict="locked", reason="the recipes differ", known_hits=None, sources=())
    text = judge_page(judge_catalog, judged_of(locked))
    page = check_closed(text)
    assert page.block("charts") is None
    assert len(text) < 30_000, "no Vega without a chart"
    assert "the recipes differ" in page.text


def test_judgement_of_names_that_attack(judge_catalog):
    source = judgement().sources[0]
    found = judgement(
        placebos=tuple(verdicts.compared(name, 0.1, 0.2, 0.1) for name in PAYLOADS),
        notes=PAYLOADS,
        sources=tuple(replace(source, source=name) for name in PAYLOADS),
        known_hits=replace(judgement().known_hits, largest=tuple((name, 2.0) for name in PAYLOADS)),
        units=judgement().units.with_columns(pl.lit(PAYLOADS[1]).alias("unit")),
    )
    text = judge_page(judge_catalog, judged_of(found), meter=PAYLOADS[0])
    page = check_closed(text)
    for payload in PAYLOADS[:4]:
        assert payload not in text
        assert payload in page.text


# ---------------------------------------------------------------- pieces


def test_cells():
    frame = pl.DataFrame(
        {
            "name": ["a", None, "b"],
            "share": [0.12345, float("nan"), -0.5],
            "count": [1234, None, -2],
            "is": [True, False, None],
            "small": [1e-12, float("inf"), None],
        }
    )
    text = portable_page("t", [Section("s", [Rows(frame, {"share": "{:+.3f}"})])], above="a", word="w")
    page = check_closed(text)
    assert page.tables == [
        [
            ["name", "share", "count", "is", "small"],
            ["a", "+.123", "1,234", "yes", "1e-12"],
            ["", "", "", "no", ""],
            ["b", "−.500", "−2", "", ""],
        ]
    ]
    assert page.block("charts") is None


@pytest.mark.parametrize(("height", "is_long"), [(0, False), (60, False), (61, True), (1_180, True)])
def test_long_tables_scroll_and_say_so(height, is_long):
    frame = pl.DataFrame({"name": ["a name that may break"] * height, "shared": ["4 of 10"] * height})
    text = portable_page("t", [Section("s", [Rows(frame)])], above="a", word="w")
    check_closed(text)
    assert ("<div class='rows scrolled'" in text) == is_long
    assert (f"{height:,} rows: scroll within the table" in text) == is_long
    assert text.count("<td class='text short'>4 of 10</td>") == height
    assert text.count("<td class='text'>a name") == height


def test_parts_are_written_in_order():
    parts = [
        Said("one", "said"), Said(""), Points([("two", "three"), ("", "four")]), Facts([("five", "six")]),
        Heading("seven"),
    ]  # fmt: skip
    text = portable_page("title", [Section("zero", parts)], above="above", word="word", tone="warn")
    page = Page(text)
    assert [said for said in page.texts if said.strip()] == [
        "title", "above", "word", "zero", "one", "two.", " three", "four", "five", "six", "seven",
    ]  # fmt: skip
    assert ("class", "word warn") in page.attributes


def test_zoom_is_along_the_axes_named():
    import altair as alt

    chart = alt.Chart(pl.DataFrame({"x": [1.0, None], "y": [2.0, 3.0]})).mark_point().encode(x="x:Q", y="y:Q")
    sections = [Section("s", [Drawing(chart, "points"), Drawing(chart, "points", ("x",))])]
    first, second = Page(portable_page("t", sections, above="a", word="w")).block("charts").values()
    assert "params" not in first
    assert second["params"][0]["select"]["encodings"] == ["x"]
    assert second["params"][0]["bind"] == "scales"


@given(
    st.recursive(st.text() | st.floats() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_json_can_not_leave_its_block(value):
    text = script_json(value)
    assert not re.search("[<>&\u2028\u2029]", text)
    assert text.isascii()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_scripts_can_not_end_early():
    script = 'const a = "</script>", b = "<!--";'
    page = Page(document("t", [], style="p {}", scripts=[script], modules=["1"]))
    assert [found for _, found in page.scripts] == ['const a = "<\\/script>", b = "<\\!--";', "1"]
    assert "script-src 'none'" in document("t", [], style="")


def test_style_takes_over_the_ink_of_charts():
    style = (PROJECT / "explorer" / "portable.css").read_text(encoding="utf-8")
    assert f'text[fill="{charts.INK}"]' in style


def test_import_loads_no_chart_library():
    code = "import sys, explorer.portable_view, explorer.portable_judge; print({*HEAVY} & {*sys.modules})"
    code = code.replace("HEAVY", "'altair', 'vl_convert'")
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert found.stdout.strip() == "set()"
