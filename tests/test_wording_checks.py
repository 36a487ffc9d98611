"""What the page says beside the verdict."""

from dataclasses import replace

import polars as pl
import pytest
from verdicts import VIEW, judgement

from explorer.benchmark import STRATA_SCHEMA, NoiseCeiling
from explorer.decoys import TechnicalFdr
from explorer.exchange import ExchangeRate
from explorer.judge_details import Checks
from explorer.power import DesignPower, plan_screen
from explorer.proximity import ProximityBias
from explorer.reliability import Reliability
from explorer.wording_checks import (
    budget_sentences,
    exchange_sentence,
    grid_note,
    groups_sentence,
    noise_sentences,
    power_sentence,
    reliability_sentence,
    replicates_sentence,
    strata_sentence,
)

NAN = float("nan")


def strata(*differences):
    lines = [
        ("Pairs", "effect size", f"stratum {number}", 40, 100, 0.2, None if d is None else 0.2 + d, d)
        for number, d in enumerate(differences)
    ]
    return pl.DataFrame(lines, schema=STRATA_SCHEMA, orient="row")


def reliability(error=0.002):
    empty = pl.DataFrame()
    return Reliability(empty, empty, error, 0.03, 110, 6_000, 180, 22, 5, 0, ("Pairs",))


def noise(reason=None):
    table = pl.DataFrame({"level": [0.05, 0.1], "threshold": [0.9, 0.8], "n_pairs": [12, 30]})
    return TechnicalFdr(table, pl.DataFrame(), 6_000, 500, 12.0, reason, 0)


def checks(**changes):
    made = Checks(
        strata(0.1, -0.1, 0.05),
        {"simple": reliability(), "learned": reliability(0.004)},
        {"simple": noise(), "learned": noise("too few controls")},
        {"learned": NoiseCeiling(0.6, 0.09, 10, 110)},
        None,
        {},
        None,
        {},
    )
    return replace(made, **changes)


def test_budget():
    said = budget_sentences(judgement())
    assert [text.split()[0] for text in said] == ["In", "The", "The"]
    assert budget_sentences(judgement(known_hits=None)) == []


def test_strata():
    assert strata_sentence(checks(), judgement()).startswith(
        "latent recalls more in 2 of 3 strata (Pairs, stratum 0 +.100; Pairs, stratum 2 +.050). A lead"
    )
    four = checks(strata=strata(0.1, 0.2, 0.3, 0.4, None))
    text = strata_sentence(four, judgement())
    assert "4 of 4 strata (most: Pairs, stratum 3 +.400; " in text
    assert " Nothing can be said of 1 more, with fewer than 20 known pairs." in text
    assert "in 0 of 1 stratum. A lead" in strata_sentence(checks(strata=strata(-0.1)), judgement())
    assert strata_sentence(checks(strata=strata(None)), judgement()) == "No stratum has 20 known pairs."
    silent = checks(strata=None, silences={"strata": "the maps differ"})
    assert strata_sentence(silent, judgement()) == "Strata can't be had: the maps differ."


def test_reliability():
    text = reliability_sentence(checks(), judgement())
    assert text.startswith(
        "raw: expected calibration error .200 percentage points (0 is best) where 3 % of 6,000 pairs are known (fewer "
        "pairs than the map has, since both perturbations must be annotated); latent: expected calibration error .400"
    )
    assert "not that it is true" in text
    one = checks(reliability={"simple": reliability(NAN)})
    assert reliability_sentence(one, judgement()) == "It can't be told: too few groups."
    silent = checks(reliability={}, silences={"calibration of raw": "no known pair"})
    assert reliability_sentence(silent, judgement()) == "It can't be told: no known pair."


def test_noise():
    said = noise_sentences(checks(), judgement())
    assert said[0] == "raw: FDR against technical noise: of 6,000 pairs 12 at .05, 30 at .1."
    assert said[1] == "latent: No FDR against technical noise: too few controls."
    assert "not a probability of sharing a complex" in said[2]
    assert "is among its 10 nearest in 60 % of 110 (by chance 9 %)" in said[3]
    without = checks(fdr={"simple": noise("no controls")}, ceiling={}, silences={"replicate halves of raw": "none"})
    assert noise_sentences(without, judgement()) == [
        "raw: No FDR against technical noise: no controls.",
        "No noise ceiling: none.",
    ]


def test_no_pair_beyond_noise_is_explained():
    table = pl.DataFrame({"level": [0.05, 0.1], "threshold": [NAN, 0.8], "n_pairs": [0, 3]})
    some = replace(noise(), table=table)
    assert noise_sentences(checks(fdr={"simple": some}), judgement())[0].endswith(
        "0 at .05, 3 at .1. None means that no pair is more alike than noise would make it, at .05 and in this "
        "alignment."
    )
    none = replace(noise(), table=table.with_columns(n_pairs=pl.lit(0)))
    assert "would make it, at these levels and in this" in noise_sentences(checks(fdr={"simple": none}), judgement())[0]


def test_controls_in_the_map_are_said_to_make_the_noise_too_large():
    said = " ".join(noise_sentences(checks(has_controls_in_map=True), judgement()))
    assert "this FDR is too large" in said
    assert "too large" not in " ".join(noise_sentences(checks(), judgement()))


def test_proximity():
    found = ProximityBias(pl.DataFrame(), 0.62)
    said = noise_sentences(checks(proximity={"learned": found}), judgement())
    assert said[-1].startswith(
        "latent: two perturbations at one place are more alike than two at different places in 62 %"
    )


def test_exchange_travels_with_its_measured_coverage():
    rate = ExchangeRate(3, 6, 24, ((1.8, 3.1),), pl.DataFrame(), None, 0, ("a note",))
    text = exchange_sentence(checks(exchange=rate))
    assert text.startswith("To equal the learned map of 3 replicates, the simple map would need 1.8 to 3.1 replicates")
    assert " A note. In " in text
    assert text.endswith("% of screens (nominal 95).")
    silent = ExchangeRate(1, 1, 0, (), pl.DataFrame(), "one replicate", 0)
    assert exchange_sentence(checks(exchange=silent)) == "No exchange rate: one replicate."
    assert exchange_sentence(checks(silences={"exchange rate": "k is too large"})) == (
        "No exchange rate: k is too large."
    )


def test_replicates():
    assert replicates_sentence(checks(silences={"replicate scores": "no controls."})) == (
        "Whether replicates repeat better can't be told: no controls."
    )
    table = pl.DataFrame({"measure": ["replicate consistency"], "simple": [0.2], "learned": [0.0]})
    said = replicates_sentence(checks(replicates=table))
    assert said.startswith("Means over perturbations")
    assert "repeating is not function" in said
    nothing = checks(replicates=table.with_columns(simple=pl.lit(0.0)))
    assert replicates_sentence(nothing) == (
        "In both maps all that was measured is 0 (replicate consistency), so there is nothing to compare."
    )
    silent = checks(replicates=nothing.replicates.with_columns(measure=pl.lit("share active")))
    assert replicates_sentence(silent).startswith("No perturbation is active in either map (none can be told from")
    assert replicates_sentence(silent).endswith("so there is nothing to compare.")
    assert replicates_sentence(checks()).endswith("no perturbation has replicates in both.")


def test_groups():
    assert groups_sentence(judgement()).startswith(
        "Of 3 groups, in latent: 1 with a gain, 1 with a loss, 1 without a change."
    )


@pytest.mark.parametrize("missing", [False, True])
def test_grid(missing):
    score = NAN if missing else 0.5
    grid = pl.DataFrame(
        {
            "representation": ["raw", "raw", "latent", "latent"],
            "kind": ["simple", "simple", "learned", "learned"],
            "alignment": ["none", "center"] * 2,
            "score": [0.2, 0.3, 0.25, score],
            "chance": [0.01] * 4,
            "reason": [""] * 4,
        }
    )
    text = grid_note(grid, VIEW)
    assert text.startswith("Macro partner recall at 10, by chance .010; more is better.")
    assert "raw gains +.100 from none to its best (center)" in text
    assert "from raw to latent under none it is +.050 (framed)" in text
    assert ("No score (–): center can't be had for all." in text) is missing
    assert "has looked at 4 of them" in text
    other = grid_note(grid, replace(VIEW, align="center"))
    assert f"it is {'not defined' if missing else '+.200'}" in other


def test_power():
    found = DesignPower(plan_screen(), 0.2, 200, 0.26, 0.2, 0.32, 0.01, 0.36, 0.43, 0.12, 24, 0.3, 0.9)
    text = power_sentence(found)
    assert "20 % more partners than the simple map's .36" in text
    assert "in 26 % of screens (95 % interval 20 % to 32 %)" in text
