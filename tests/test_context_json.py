"""What the command line prints of contexts: every number of the reports, in an object that is JSON."""

import json
import math

import polars as pl
import pytest
import verdicts

from explorer.catalog import open_catalog, shared_map
from explorer.context_json import contexts_json
from explorer.context_reports import Place, shared_overlap, shared_report
from explorer.text import json_text

HERE = Place("toy", "alpha", "raw", "none")
BETA = Place("toy", "beta", "raw", "none")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    root = verdicts.write_catalog(tmp_path_factory.mktemp("contexts"))
    (root / "toy").rename(root / "atlas")
    verdicts.write_catalog(root)
    return open_catalog(root)


def test_json_holds_what_the_page_shows(catalog):
    others = [BETA, Place("atlas", "beta", "latent", "none")]
    report = shared_report(catalog, HERE, others, k=4)
    overlaps = [shared_overlap(catalog, HERE, other, simple="raw", learned="latent", k=4) for other in others]
    found = json.loads(json_text(contexts_json(catalog, report, overlaps, places=(HERE, *others), seed=7)))
    assert found == json.loads(json.dumps(contexts_json(catalog, report, overlaps, places=(HERE, *others), seed=7)))
    assert found["seed"] == 7
    assert (found["k"], found["at_least"]) == (4, report.at_least)
    assert found["n_perturbations"] == len(report.names)
    assert found["discovery"]["fingerprint"] == shared_map(catalog.dataset("toy"), "alpha", "raw").fingerprint
    assert found["discovery"]["passport"]["cell_system"] == "alpha cells"
    assert [other["label"] for other in found["others"]] == ["beta", "atlas/beta"]
    for other in found["others"]:
        counts = report.labels.filter(pl.col("context") == other["label"])["label"].value_counts()
        assert other["labels"] == dict(counts.iter_rows())
        assert other["tests"]["n_holds"] == int(report.tests[other["label"]].holds.sum())
        assert other["passport"]["sentence"]
        assert other["differs"].startswith("They differ in")
    assert isinstance(found["confounded"], list)
    assert len(found["edges"]) == report.edges.height
    for number in (0, report.edges.height - 1):
        line, edge = report.edges.row(number, named=True), found["edges"][number]
        assert (edge["first"], edge["second"], edge["similarity"]) == (
            line["first"], line["second"], line["similarity"],
        )  # fmt: skip
        for label in report.others:
            own = report.labels.filter((pl.col("context") == label) & (pl.col("edge") == number)).row(0, named=True)
            assert edge["contexts"][label]["label"] == own["label"]
            p = edge["contexts"][label]["p"]
            assert p == (None if math.isnan(own["p"]) else own["p"])
    assert [one["other"] for one in found["overlaps"]] == ["toy/beta", "atlas/beta"]
    assert found["overlaps"][0]["comparison"]["estimate"] == overlaps[0].comparison.estimate
    assert found["overlaps"][0]["by_centred_cosine"]["low"] == overlaps[0].centered.low
    assert found["overlaps"][0]["representations"][0]["shared axis"] == overlaps[0].table["shared axis"][0]
    assert found["n_hold_generally"] == int(report.edges["holds_general"].sum())
    alone = shared_report(catalog, HERE, [BETA], k=4)
    one = contexts_json(catalog, alone, [], places=(HERE, BETA))
    assert one["n_hold_generally"] == int((alone.labels["label"] == "holds").sum())


def test_where_nothing_is_known_there_is_no_comparison(tmp_path):
    catalog = open_catalog(verdicts.write_catalog(tmp_path, {"relationships": None}))
    overlap = shared_overlap(catalog, HERE, BETA, simple="raw", learned="latent", k=4)
    report = shared_report(catalog, HERE, [BETA], k=4)
    found = json.loads(json_text(contexts_json(catalog, report, [overlap], places=(HERE, BETA))))
    assert found["overlaps"][0]["comparison"] is None
    assert found["overlaps"][0]["representations"][0]["low"] is None
    assert {tuple(edge["known"]) for edge in found["edges"]} == {()}
