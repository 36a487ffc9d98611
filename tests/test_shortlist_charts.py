"""Charts of a list: valid, with the figures of their frames, coloured as the other charts colour the two sides."""

import json

import polars as pl
import pytest

from explorer.charts import SIDE_COLORS, Displayed, figure_bytes
from explorer.proposed_tables import APART, PLACES_SCHEMA
from explorer.shortlist_charts import PROPOSER_COLORS, both_maps, expected_curve, record_points
from explorer.track_record import TABLE_SCHEMA

PLACES = pl.DataFrame(
    {
        "pair": ["A – B", "A – C", "B – C", "C – D"],
        "simple": [2.0, 1.0, 1.5, 0.5],
        "learned": [1.0, 2.5, 1.5, 0.7],
        "proposer": ["simple", "learned", "both", APART],
        "rank": [2, 1, 3, None],
    },
    schema=pl.Schema(PLACES_SCHEMA),
)
EXPECTED = pl.DataFrame(
    {
        "tested": [0, 1, 2] * 2,
        "completeness": ["70 % known"] * 3 + ["50 % known"] * 3,
        "expected": [0.0, 0.1, 0.2, 0.0, 0.3, 0.5],
    }
)
LINE = dict.fromkeys(TABLE_SCHEMA) | {
    "scored": "2026-02-01", "dataset": "toy", "context": "alpha", "mode": "discover", "tested": 50, "found": 11,
    "expected": 14.0,
}  # fmt: skip
RECORD = pl.DataFrame([LINE, LINE | {"mode": "compare", "expected": None}], schema=pl.Schema(TABLE_SCHEMA))
HOSTILE = "<img src=x onerror=1> \\\" ' ${datum} datum['x'] ]} \n"


def values_of(chart) -> list[dict]:
    return [line for rows in chart.to_dict()["datasets"].values() for line in rows]


@pytest.mark.parametrize(
    "chart",
    [both_maps(PLACES, names=("raw", "latent")), expected_curve(EXPECTED), record_points(RECORD)],
    ids=["both maps", "expected", "record"],
)
def test_charts_can_be_drawn(chart):
    assert b"<svg" in figure_bytes(chart, "svg", heading="What to test")
    kind, text = Displayed(chart)._mime_()
    assert "vegalite" in kind
    assert json.loads(text)["usermeta"]["embedOptions"]["actions"]["export"]


def test_both_maps_have_one_scale_and_the_colours_of_the_sides():
    made = both_maps(PLACES, names=("raw", "latent")).to_dict()
    points = made["layer"][1]["encoding"]
    assert points["x"]["scale"]["domain"] == points["y"]["scale"]["domain"], "so that the diagonal means something"
    low, high = points["x"]["scale"]["domain"]
    assert low < 0.5
    assert high > 2.5
    color = points["color"]["scale"]
    assert color["domain"] == ["higher in raw", "higher in latent", "both alike", APART]
    assert color["range"] == list(PROPOSER_COLORS.values())
    assert color["range"][:2] == [SIDE_COLORS["only left"], SIDE_COLORS["only right"]]
    assert points["shape"]["scale"]["domain"] == color["domain"], "told apart without colour"
    assert (points["x"]["title"], points["y"]["title"]) == ("normal score in raw", "normal score in latent")
    assert {line.get("pair") for line in values_of(both_maps(PLACES, names=("raw", "latent")))} >= set(PLACES["pair"])


def test_who_proposed_nothing_has_no_legend():
    made = both_maps(PLACES.filter(pl.col("proposer") == "simple"), names=("raw", "latent")).to_dict()
    assert made["layer"][1]["encoding"]["color"]["scale"]["domain"] == ["higher in raw"]


def test_expected_hits_keep_the_order_of_the_menu():
    made = expected_curve(EXPECTED).to_dict()
    assert made["layer"][0]["encoding"]["color"]["scale"]["domain"] == ["70 % known", "50 % known"]


def test_a_record_draws_what_was_expected_against_what_was_found():
    made = record_points(RECORD)
    points = [line for line in values_of(made) if line.get("dataset") == "toy"]
    assert len(points) == 1, "what had no expectation has no point"
    assert (points[0]["expected"], points[0]["found"]) == (14.0, 11)
    assert b"<svg" in figure_bytes(record_points(RECORD.head(0)), "svg")


@pytest.mark.parametrize("draw", ["both", "record"])
def test_names_that_are_expressions(draw):
    if draw == "both":
        frame = PLACES.with_columns(pl.col("pair") + HOSTILE)
        chart = both_maps(frame, names=(HOSTILE, HOSTILE + "2"))
    else:
        chart = record_points(RECORD.with_columns(pl.lit(HOSTILE).alias("dataset")))
    assert b"<svg" in figure_bytes(chart, "svg")


def test_no_pair_at_all():
    assert b"<svg" in figure_bytes(both_maps(PLACES.head(0), names=("raw", "latent")), "svg")
