"""Pairs from their singles: names, sums against loops, planted truth, and what can't be asked."""

import math

import numpy as np
import polars as pl
import pytest
from builders import map_of

from explorer.errors import InputError
from explorer.pairs import pairs_of_names, predict_pairs
from explorer.predict import jackknife_half_width
from explorer.prediction_scores import residual_correlation
from explorer.targets import Target

SINGLES = tuple("ABCDEFGHIJ")
EIGHT = (("A", "B"), ("C", "D"), ("E", "F"), ("G", "H"), ("I", "J"), ("A", "C"), ("E", "G"), ("B", "I"))


def planted(pairs=EIGHT, *, additive=1.0, noise=0.3, n_features=30, extra=(), seed=0, control=True, halves=False):
    """Effects of singles, and of pairs that are their sum (or an effect of their own) plus noise."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=n_features)
    effect = {name: rng.normal(size=n_features) for name in SINGLES}
    profiles = {name: base + effect[name] for name in SINGLES}
    for one, other in (*pairs, *extra):
        own = [effect.get(name, rng.normal(size=n_features)) for name in (one, other)]
        made = additive * (own[0] + own[1]) + (1 - additive) * rng.normal(size=n_features)
        profiles[f"{one}+{other}"] = base + made
    names = sorted(profiles)
    values = np.array([profiles[name] for name in names])
    repeats = tuple(values - base + noise * rng.normal(size=values.shape) for _ in range(2)) if halves else None
    values = values + noise * rng.normal(size=values.shape)
    return Target("raw of toy", map_of(values, names), control=base if control else None, halves=repeats)


def found_in(target):
    return pairs_of_names(target.profiles.names)


# ---------------------------------------------------------------- names


def test_names_of_pairs():
    names = ["A", "B", "A+B", "A + C", "A+A", "A+ctrl", "A_B", "A_X", "GENE_1", "A+B+C", "+A", "B+"]
    assert pairs_of_names(names, controls=["ctrl"]) == {"A+B": ("A", "B"), "A + C": ("A", "C"), "A_B": ("A", "B")}


def test_underscores_within_names():
    names = ["MT_ND1", "TP53", "MT_ND1_TP53", "TP53_MT_ND1", "A_B_C"]
    assert pairs_of_names(names) == {"MT_ND1_TP53": ("MT_ND1", "TP53"), "TP53_MT_ND1": ("TP53", "MT_ND1")}


# ---------------------------------------------------------------- scores


def test_scores_as_a_loop_would():
    target = planted(noise=0.5)
    found = predict_pairs(target, pairs=found_in(target))
    profile = dict(zip(target.profiles.names, target.profiles.profiles.astype(float), strict=True))
    mean = np.mean([profile[name] for name in SINGLES], axis=0)
    scores = {"simple": [], "learned": []}
    for name, (one, other) in found_in(target).items():
        effects = [profile[single] - target.control for single in (one, other)]
        larger = max(effects, key=np.linalg.norm)
        for side, predicted in (("learned", target.control + effects[0] + effects[1]),
                                ("simple", target.control + larger)):  # fmt: skip
            rho = residual_correlation(
                (predicted - mean)[None], (profile[name] - mean)[None], shared=mean - target.control
            )
            scores[side].append(float(rho[0]))
    table = found.perturbations
    assert table["perturbation"].to_list() == sorted(found_in(target))
    for side, expected in scores.items():
        assert table[side].to_numpy() == pytest.approx(np.array(expected))
    lines = {line["name"]: line for line in found.scores.iter_rows(named=True)}
    assert lines["sum of the singles"]["rho"] == pytest.approx(np.mean(scores["learned"]))
    assert lines["mean"]["skill"] == lines["mean"]["rho"] == 0
    contributions = np.array(scores["learned"]) - np.array(scores["simple"])
    assert found.primary.estimate == pytest.approx(contributions.mean())
    # Without each single, all pairs that it is in.
    singles = sorted({name for pair in found_in(target).values() for name in pair})
    without = [
        np.mean([c for c, pair in zip(contributions, found_in(target).values(), strict=True) if single not in pair])
        for single in singles
    ]
    assert found.primary.jackknife == pytest.approx(jackknife_half_width(without))


def test_sums_of_additive_pairs_are_better_than_one_single():
    target = planted(halves=True)
    found = predict_pairs(target, pairs=found_in(target))
    assert found.verdict == "predicts better"
    assert found.reason.endswith("over 8 pairs, and every baseline is beaten")
    assert (found.simple, found.learned, found.task) == ("larger single alone", "sum of the singles", "pairs")
    assert [(test.against, test.kind) for test in found.tests] == [("mean", "baseline"), ("no change", "baseline")]
    assert (found.n_perturbations, found.n_blocks) == (8, 8)
    assert found.ceiling > 0.9
    assert set(found.predicted) == {"simple", "learned"}
    assert found.perturbations["groups"][0] == "A; B"


def test_pairs_that_are_like_nothing_are_not_shown():
    target = planted(additive=0.0)
    found = predict_pairs(target, pairs=found_in(target))
    assert found.verdict == "not shown"


def test_five_pairs_are_shown_and_not_tested():
    target = planted(EIGHT[:5], extra=[("A", "X"), ("Y", "Z")])
    found = predict_pairs(target, pairs=found_in(target))
    assert (found.verdict, found.primary, found.tests) == ("underpowered", None, ())
    assert found.reason == "shown, not tested: 5 of 7 pairs have both singles measured, and it takes 6 for a verdict"
    assert "2 of 7 pairs were left out, since not both of their singles were measured" in found.notes
    assert not found.scores["judged"].any()
    assert found.scores.filter(pl.col("name") == "sum of the singles")["rho"][0] > 0.7
    assert math.isnan(found.ceiling)


# ---------------------------------------------------------------- bad input


def test_no_pair_has_both_singles():
    target = planted((), extra=[("A", "X"), ("Y", "Z")])
    with pytest.raises(
        InputError, match="none of the 2 pairs of raw of toy can be predicted, since not both singles of"
    ):
        predict_pairs(target, pairs=found_in(target))


def test_no_pairs():
    target = planted(())
    with pytest.raises(InputError, match="no perturbation of raw of toy is a pair of two others: a pair is written A"):
        predict_pairs(target, pairs=found_in(target))


def test_no_controls():
    target = planted(control=False)
    with pytest.raises(InputError, match="can't be added without controls: declare those of raw of toy"):
        predict_pairs(target, pairs=found_in(target))


def test_it_repeats_and_says_how_far_it_is():
    target, told = planted(), []
    one = predict_pairs(target, pairs=found_in(target), seed=2, progress=lambda what, share: told.append(share))
    assert one.primary == predict_pairs(target, pairs=found_in(target), seed=2).primary
    assert told[-1] == 1
