"""The benchmarks: their agreement checks can fail, their figures are right, and a run writes valid JSON."""

import dataclasses
import json
import math
import sys

import numpy as np
import pytest
from conftest import PROJECT

sys.path.insert(0, str(PROJECT / "tests" / "benchmarks"))
import data
import jobs
import ours
import peers
import run
import worker

RNG = np.random.default_rng(0)
PROFILES = {"profiles": RNG.normal(size=(30, 5)), "names": np.array([f"P{number}" for number in range(30)])}
NEIGHBORS = {"rows": np.tile(np.arange(10), (20, 1)), "similarities": RNG.normal(size=(20, 10))}
CONSISTENCY = {"consistency": RNG.normal(size=40), "p": RNG.integers(1, 12, size=40) / 11, "n_null": np.array(10)}
RECALL = {"recall": RNG.uniform(size=5), "pairs": RNG.integers(50, 90, size=5)}
DISTANCES = {"distance": RNG.normal(size=20)}


def changed(answers, key, value):
    """Answers with one number changed."""
    made = np.array(answers[key])
    made.flat[3] = value
    return {**answers, key: made}


# Check, our answers, theirs, and theirs when they disagree.
CASES = {
    "profiles": (jobs.same_profiles, PROFILES, PROFILES, changed(PROFILES, "profiles", 9.0)),
    "names": (jobs.same_profiles, PROFILES, PROFILES, changed(PROFILES, "names", "other")),
    "fewer profiles": (
        jobs.same_profiles,
        PROFILES,
        PROFILES,
        {"profiles": PROFILES["profiles"][1:], "names": PROFILES["names"]},
    ),
    "means": (jobs.same_means, {"plain": np.ones(9)}, {"plain": np.ones(9)}, {"plain": np.full(9, 1.001)}),
    "undefined": (jobs.same_means, {"plain": np.ones(9)}, {"plain": np.ones(9)}, {"plain": np.full(9, np.nan)}),
    "cosines": (
        jobs.same_cosines,
        PROFILES,
        {"profiles": -3 * PROFILES["profiles"][:, ::-1]},
        {"profiles": PROFILES["profiles"] + 0.1},
    ),
    "neighbours": (jobs.same_neighbors, NEIGHBORS, NEIGHBORS, changed(NEIGHBORS, "rows", 99)),
    "similarities": (jobs.same_neighbors, NEIGHBORS, NEIGHBORS, changed(NEIGHBORS, "similarities", 9.0)),
    "one query": (jobs.same_similarities, NEIGHBORS, NEIGHBORS, changed(NEIGHBORS, "similarities", 9.0)),
    "consistency": (
        jobs.same_consistency,
        CONSISTENCY,
        {**CONSISTENCY, "p": (CONSISTENCY["p"] * 11 - 1) / 10},
        changed({**CONSISTENCY, "p": (CONSISTENCY["p"] * 11 - 1) / 10}, "consistency", 9.0),
    ),
    # Not add-one on both sides: five of ten is .6 by one, .5 by the other.
    "p of consistency": (
        jobs.same_consistency,
        {**CONSISTENCY, "p": np.full(40, 6 / 11)},
        {**CONSISTENCY, "p": np.full(40, 0.5)},
        {**CONSISTENCY, "p": np.full(40, 0.8)},
    ),
    "precision": (
        jobs.same_precision,
        {"average_precision": np.full(50, 0.5)},
        {"average_precision": np.full(50, 0.50001)},
        {"average_precision": np.full(50, 0.501)},
    ),
    "distances": (
        jobs.same_distances,
        DISTANCES,
        {**DISTANCES, "v_statistic": DISTANCES["distance"] + 0.3},
        changed({**DISTANCES, "v_statistic": DISTANCES["distance"] + 0.3}, "distance", 9.0),
    ),
    "which statistic": (
        jobs.same_distances,
        DISTANCES,
        {**DISTANCES, "v_statistic": DISTANCES["distance"] + 0.3},
        {**DISTANCES, "v_statistic": DISTANCES["distance"] - 0.3},
    ),
    "recall": (jobs.same_recall, RECALL, RECALL, {**RECALL, "recall": RECALL["recall"] + 1e-9}),
    "number of pairs": (jobs.same_recall, RECALL, RECALL, {**RECALL, "pairs": RECALL["pairs"] + 1}),
    "p": (jobs.same_p, {"p": np.full(9, 0.3)}, {"p": np.full(9, 0.4)}, {"p": np.full(9, 0.7)}),
}


@pytest.mark.parametrize("name", CASES)
def test_checks_hold_where_answers_agree_and_fail_where_they_do_not(name):
    check, own, agreeing, other = CASES[name]
    verdicts = [
        [jobs.Agreement("them", what, *numbers).holds for what, numbers in check(own, answers).items()]
        for answers in (agreeing, other)
    ]
    assert all(verdicts[0])
    assert not all(verdicts[1])


def test_every_check_is_tried():
    checks = {side.check for job in jobs.JOBS for side in job.sides if side.check is not None}
    assert checks == {check for check, *_ in CASES.values()}


def test_every_action_exists_and_every_goal_names_a_side():
    for job in jobs.JOBS:
        assert job.action in ours.ACTIONS
        for side in job.sides:
            assert side.action in (ours.ACTIONS if side.limit else peers.ACTIONS)
        assert {goal.side for goal in job.goals} <= {"", *(side.name for side in job.sides)}
        for quick in (True, False):
            values = [size[job.grows] for size in job.sizes(quick=quick) if size]
            assert values == sorted(set(values))
            assert len(values) in (0, 3)


def test_growth_is_the_slope_of_the_logarithms():
    sizes = [10, 100, 1000]
    assert run.growth_exponent(sizes, [3 * size**1.5 for size in sizes]) == pytest.approx(1.5)
    assert math.isnan(run.growth_exponent(sizes[:2], [1, 2]))


def test_goals_are_judged_by_the_figures():
    sides = {
        "ours": {"seconds": 0.1, "extra_bytes": 5e7},
        "EFAAR": {"seconds": 3.0, "extra_bytes": 1e9},
        "read": {"seconds": 0.05},
    }
    cases = [
        (jobs.Goal("faster than", 20, "EFAAR"), 30, True),
        (jobs.Goal("faster than", 40, "EFAAR"), 30, False),
        (jobs.Goal("within", 3, "read"), 2, True),
        (jobs.Goal("within", 1.5, "read"), 2, False),
        (jobs.Goal("seconds", 0.2), 0.1, True),
        (jobs.Goal("extra MB", 40), 50, False),
        (jobs.Goal("less memory than", 15, "EFAAR"), 20, True),
        (jobs.Goal("less memory than", 25, "EFAAR", at=7), 20, False),
    ]
    for goal, figure, expected in cases:
        found = run.judge_goal(goal, sides)
        assert found == pytest.approx(figure)
        assert run.reached(goal, found) is expected
        assert goal.side in goal.sentence
    assert run.judge_goal(jobs.Goal("faster than", 2, "scanpy"), sides) is None


def test_the_first_run_counts_only_where_runs_are_long():
    short, long = ({"seconds": seconds, "extra_bytes": 8} for seconds in (3.0, 30.0))
    runs = run.Runs(short)
    runs.counted += [{"seconds": seconds, "extra_bytes": None} for seconds in (2.0, 1.0, 5.0)]
    assert runs.summary() == {"seconds": 2.0, "runs": [2.0, 1.0, 5.0], "first_seconds": 3.0, "extra_bytes": None}
    assert run.Runs(long).counted == [long]


def test_memory_that_a_run_adds_is_measured():
    if not worker.reset_most():
        pytest.skip("the largest use of memory can't be reset here")
    told, _ = worker.run_once(lambda: float(np.ones(10_000_000).sum()))
    assert 70e6 < told["extra_bytes"] < 200e6
    done = worker.run_child("said['n'] = len(bytes(bytearray(b'1') * 50_000_000)); print('noise')")
    assert done.said == {"n": 50_000_000}
    assert 45e6 < done.extra_bytes < 200e6


def test_an_h5ad_file_holds_the_same_rows(tmp_path):
    import anndata

    size = {"rows": 500, "features": 4, "perturbations": 6, "batches": 3, "batches_each": 2, "controls_percent": 20}
    data.write_h5ad(tmp_path, size)
    values, perturbation, batch = data.read_rows(tmp_path, 500)
    read = anndata.read_h5ad(tmp_path / "rows.h5ad")
    np.testing.assert_array_equal(read.X, values)
    assert read.obs["perturbation"].tolist() == perturbation.tolist()
    assert read.obs["batch"].tolist() == batch.tolist()
    assert 50 < (perturbation == data.CONTROL).sum() < 150
    assert max(len(set(batch[perturbation == name])) for name in set(perturbation) - {data.CONTROL}) == 2


def small(job, **changes):
    return dataclasses.replace(job, quick=(200, 300, 400), **changes)


def one(name):
    return next(job for job in jobs.JOBS if job.name == name)


@pytest.mark.slow
def test_a_run_without_peers_writes_json(tmp_path, monkeypatch, capsys):
    rows = dict(jobs.ROWS, features=6, perturbations=8, controls_percent=30)
    made = [small(one("knn"), fixed={"features": 8, "k": 5}), small(one("stream"), fixed=rows)]
    monkeypatch.setattr(run, "JOBS", made)
    out = tmp_path / "out.json"
    arguments = ["--quick", "--no-peers", "--json", str(out), "--scratch", str(tmp_path), "--only", "knn", "stream"]
    assert run.main(arguments) == 0
    report = json.loads(out.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert [found["name"] for found in report["jobs"]] == ["knn", "stream"]
    assert report["machine"]["sgemm_gflop_per_s"] > 0
    for found in report["jobs"]:
        assert [size["size"]["rows"] for size in found["sizes"]] == [200, 300, 400]
        assert len(found["sizes"][0]["sides"]) == 2
        assert all(len(side["runs"]) == 3 for size in found["sizes"] for side in size["sides"].values())
        assert math.isfinite(found["growth_exponent"]["ours"])
        assert found["goals"] == []
    printed = capsys.readouterr().out
    assert "growth exponent over rows: ours" in printed
    assert "no goal is judged" in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json"]


def test_a_side_that_disagrees_or_fails_is_an_error(tmp_path, monkeypatch, capsys):
    wrong = jobs.Side("a wrong one", "gemm", lambda own, other: {"difference": (1.0, 0.5)}, limit=True)
    broken = jobs.Side("a broken one", "nothing of this name", limit=True)
    monkeypatch.setattr(run, "JOBS", [small(one("knn"), fixed={"features": 8, "k": 5}, sides=(wrong, broken))])
    out = tmp_path / "out.json"
    assert run.main(["--quick", "--no-peers", "--json", str(out), "--scratch", str(tmp_path), "--only", "knn"]) == 1
    printed = capsys.readouterr().out
    assert "DISAGREES with a wrong one: difference 1 (allowed 0.5)" in printed
    assert "FAILED: a broken one: KeyError" in printed
    (found,) = json.loads(out.read_text(encoding="utf-8"))["jobs"]
    assert not found["sizes"][0]["agreement"][0]["holds"]
    assert set(found["sizes"][0]["sides"]) == {"ours", "a wrong one"}
