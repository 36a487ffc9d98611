"""Charts: valid, exported offline, and names in them are text."""

import json
import re
import struct
from xml.etree import ElementTree

import altair as alt
import numpy as np
import polars as pl
import pytest
from files import PAYLOADS
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from explorer import charts
from explorer.aggregate import build_map
from explorer.charts import figure_bytes, overlap_counts, overlap_strip, rank_ladder, side_codes, static_pair
from explorer.compare import compare_query, merged_table
from explorer.relationships import Knowledge, Relationships
from explorer.screen import Screen

SVG = "{http://www.w3.org/2000/svg}"
DRAWN = {"svg", "g", "path", "text", "line", "rect", "defs", "clipPath", "style", "tspan"}


def comparison(names, *, k, opposite=False, seed=0):
    generator = np.random.default_rng(seed)
    values = {side: generator.normal(size=(len(names), 4)) for side in ("left", "right")}
    screen = Screen.from_arrays(list(names), values)
    return compare_query(build_map(screen, "left"), build_map(screen, "right"), names[0], k=k, opposite=opposite)


def table_of(names, k=3, **options):
    known = Knowledge((Relationships.from_pairs("Reactome", [names[0]] * 2, names[1:3]),))
    return merged_table(comparison(names, k=k, **options), knowledge=known)


def frame_of(names, *, missing=()):
    """Two layouts, as a tidy frame."""
    places = np.random.default_rng(1).normal(size=(len(names), 2))
    places[list(missing)] = np.nan
    side = pl.DataFrame(
        {
            "perturbation": names,
            "neighbour of": (["other", "shared", "only left", "only right"] * len(names))[: len(names)],
            "known": (["", "Reactome"] * len(names))[: len(names)],
            "query": [number == 0 for number in range(len(names))],
            "x": places[:, 0],
            "y": places[:, 1],
        }
    )
    return pl.concat([side.with_columns(side=pl.lit(name)) for name in ("left", "right")])


def strip_of(names):
    frame = overlap_counts(np.array([0.0, 0.1, 0.1, 0.5]))
    return overlap_strip(
        frame, query=names[0], overlap=0.1, chance=0.003, yardsticks={"between seeds": 0.5, "halves": 0.3}
    )


def ladder_of(names):
    return rank_ladder(table_of(names), titles=("raw", names[1]), k=3)


def pair_of(names):
    return static_pair(frame_of(names), titles=(names[0], names[1]), captions=("UMAP", names[2]))


CHARTS = {"strip": strip_of, "ladder": ladder_of, "pair": pair_of}
GENES = tuple(f"GENE{number}" for number in range(12))


def texts_of(svg):
    """Texts of an SVG, and the names of its elements and attributes."""
    root = ElementTree.fromstring(svg)
    elements = list(root.iter())
    drawn = {element.tag.removeprefix(SVG) for element in elements}
    attributes = {name for element in elements for name in element.attrib}
    return (
        " ".join("".join(element.itertext()) for element in elements if element.tag == f"{SVG}text"),
        drawn,
        attributes,
    )


@pytest.mark.parametrize("make", CHARTS.values(), ids=CHARTS)
def test_svg_and_png(make):
    chart = make(GENES)
    chart.to_dict()
    svg = figure_bytes(chart, "svg")
    text, drawn, _ = texts_of(svg)
    assert drawn <= DRAWN
    assert text
    assert not re.findall(rb"https?://(?!www\.w3\.org/)", svg)
    png = figure_bytes(chart, "png")
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert png.endswith(b"IEND\xaeB`\x82")
    width, height = struct.unpack(">II", png[16:24])
    assert width > 600
    assert height > 200


def test_background():
    assert b"#102030" in figure_bytes(strip_of(GENES), "svg", background="#102030")


@pytest.mark.parametrize("make", CHARTS.values(), ids=CHARTS)
def test_names_are_text_in_a_figure(make):
    # A control character has no place in XML; the others must come out as the text they are.
    names = [*(name for name in PAYLOADS if "\x1b" not in name), *GENES]
    plain = texts_of(figure_bytes(make(GENES), "svg"))
    for start in range(len(PAYLOADS) - 1):
        turned = [*names[start:], *names[:start]]
        text, drawn, attributes = texts_of(figure_bytes(make(turned), "svg"))
        assert drawn <= DRAWN
        assert attributes <= plain[2] | {"aria-label", "xml:space", "{http://www.w3.org/XML/1998/namespace}space"}
        assert not {name for name in attributes if name.startswith("on")}
    assert text


@pytest.mark.parametrize("make", CHARTS.values(), ids=CHARTS)
def test_control_characters_do_not_break_a_figure(make):
    names = ["\x1b[31m", "\x00", "\x07bell", *GENES]
    ElementTree.fromstring(figure_bytes(make(names), "svg"))


@pytest.mark.parametrize("payload", ["<img src=x onerror=alert(1)>", '<iframe srcdoc="<b>x</b>">'])
@pytest.mark.parametrize("make", CHARTS.values(), ids=CHARTS)
def test_a_payload_is_drawn_escaped(make, payload):
    svg = figure_bytes(make([payload, *GENES]), "svg").decode()
    assert payload not in svg
    assert payload.split()[0] not in svg
    if make is not ladder_of:
        assert "&lt;i" in svg


@given(arrays.arrays(np.float64, st.integers(1, 200), elements=st.floats(0, 1)))
def test_overlap_counts_add_up(overlaps):
    counts = overlap_counts(overlaps)
    assert counts["perturbations"].sum() == len(overlaps)
    assert counts["overlap"].is_sorted()
    assert counts["overlap"].is_unique().all()


def test_overlap_counts():
    counts = overlap_counts(np.array([0.1, 0.1 + 1e-9, 0.5]))
    assert counts.to_dict(as_series=False) == {"overlap": [0.1, 0.5], "perturbations": [2, 1]}


@pytest.mark.parametrize("query", ["chance", "between seeds", "GENE1"])
def test_a_query_may_be_called_like_a_yardstick(query):
    figure_bytes(strip_of([query]), "svg")


def test_side_codes():
    sides = {"a": "shared", "b": "only left", "c": "only right"}
    assert side_codes(["c", "x", "a", "b"], sides).tolist() == [3, 0, 1, 2]
    assert len(charts.side_palette()) == len(charts.side_labels()) == 4


def ends_of(chart):
    data = chart.to_dict()
    return [row for rows in data["datasets"].values() for row in rows if "side" in row]


@pytest.mark.parametrize("k", [1, 3, 11])
@pytest.mark.parametrize("opposite", [False, True])
def test_ladder_has_k_ends_on_each_side(k, opposite):
    chart = rank_ladder(table_of(GENES, k=k, opposite=opposite), titles=("raw", "latent"), k=k)
    ends = ends_of(chart)
    for side in ("left", "right"):
        assert sorted(end["rank"] for end in ends if end["side"] == side) == list(range(1, k + 1))
    figure_bytes(chart, "svg")


def test_ladder_where_nothing_is_shared():
    compared = next(
        found
        for found in (comparison(GENES, k=2, seed=seed) for seed in range(50))
        if "shared" not in found.sides.values()
    )
    chart = rank_ladder(merged_table(compared), titles=("raw", "latent"), k=2)
    assert {end["neighbour of"] for end in ends_of(chart)} == {"only left", "only right"}
    texts_of(figure_bytes(chart, "svg"))


def test_ladder_of_an_empty_table():
    figure_bytes(rank_ladder(table_of(GENES)[:0], titles=("raw", "latent"), k=3), "svg")


def points_of(chart):
    return {row["perturbation"] for rows in chart.to_dict()["datasets"].values() for row in rows}


def test_pair_leaves_out_what_has_no_place():
    chart = static_pair(frame_of(GENES, missing=[0, 3, 5]), titles=("a", "b"), captions=("", ""))
    assert points_of(chart) == {name for number, name in enumerate(GENES) if number not in (0, 3, 5)}
    assert "NaN" not in chart.to_json()
    figure_bytes(chart, "svg")


def test_pair_where_nothing_has_a_place():
    frame = frame_of(GENES, missing=range(len(GENES)))
    figure_bytes(static_pair(frame, titles=("a", "b"), captions=("", "")), "svg")


def test_pair_of_many_points_draws_a_sample_of_the_backdrop():
    names = [f"GENE{number}" for number in range(20_000)]
    frame = frame_of(names).with_columns(
        pl.when(pl.col("perturbation").is_in(names[:50]))
        .then("neighbour of")
        .otherwise(pl.lit("other"))
        .alias("neighbour of")
    )
    chart = static_pair(frame, titles=("a", "b"), captions=("", ""))
    assert 4_000 <= len(points_of(chart)) < 10_000
    assert set(names[:4]) <= points_of(chart)
    assert chart.to_dict() == static_pair(frame, titles=("a", "b"), captions=("", "")).to_dict()


@pytest.mark.parametrize("title", [*PAYLOADS, 'a"b', "a\\", '\\"+alert(1)+"', "a\u2028b"])
def test_titles_do_not_get_into_expressions(title):
    chart = rank_ladder(table_of(GENES), titles=(title, title), k=3)
    ElementTree.fromstring(figure_bytes(chart, "svg"))
    titles = [entry["title"] for entry in chart.to_dict()["layer"][1]["encoding"]["tooltip"] if "title" in entry]
    assert len(titles) == 5
    assert not set('\\"\n\x1b\u2028') & set("".join(titles))


@pytest.mark.parametrize("name", [*PAYLOADS, 'a"b', "a\\", '\\"+alert(1)+"', "a\u2028b", "'"])
def test_queries_do_not_get_into_expressions(name):
    ElementTree.fromstring(figure_bytes(strip_of([name]), "svg"))


def test_a_heading_says_what_a_figure_shows():
    drawn = figure_bytes(
        static_pair(frame_of(GENES), titles=("a", "b"), captions=("", "")), "svg", heading="TP53 & <b>"
    )
    assert "TP53 &amp; &lt;b&gt;" in drawn.decode()


def test_a_displayed_chart_is_the_chart_itself():
    chart = rank_ladder(table_of(["A", "B", "C", "D"]), titles=("one", "other"), k=3)
    kind, specification = charts.Displayed(chart)._mime_()
    assert kind == f"application/vnd.vegalite.{alt.SCHEMA_VERSION.split('.')[0]}+json"
    shown = json.loads(specification)
    menu = shown.pop("usermeta")["embedOptions"]["actions"]
    assert shown == json.loads(chart.to_json())
    assert menu == {"export": True, "source": False, "compiled": False, "editor": False}, "saving, and nothing else"
