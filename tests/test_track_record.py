"""The track record: whole files whatever happens, nothing rewritten, sums that a plain loop gives."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from frozen_toys import HEADER, compare, discover

from explorer.errors import InputError
from explorer.frozen import open_key
from explorer.outcomes import outcomes_of, score_results
from explorer.sealed import canonical, sha256_of
from explorer.significance import sign_flip
from explorer.track_record import (
    TABLE_SCHEMA,
    append_record,
    read_track_record,
    record_of,
    register_frozen,
)

NOW = "2026-03-01T00:00:00Z"


def recorded(n_hits=3, n=10, *, date=NOW, **options):
    """Record of a list in which some pairs were hits."""
    frozen = discover(n, **options)
    outcomes = outcomes_of(["hit"] * n_hits + ["no hit"] * (n - n_hits), frozen)
    return record_of(frozen, outcomes, score_results(frozen, outcomes), date=date)


def judged(n_each, hits, *, early="", date=NOW, salt=bytes(32), budget=60):
    """Record of a blind list: how many hits of the simple map's pairs and of the learned one's."""
    frozen, key = compare(n_each=n_each, budget=budget, salt=salt)
    rows, _ = open_key(frozen, key, results_digest="", complete=True, date=NOW)
    left = dict(hits) | {"both": 1, "background": 0}
    results = []
    for word in rows["proposer"].to_list():
        results.append("hit" if left[word] > 0 else "no hit")
        left[word] -= 1
    outcomes = outcomes_of(results, frozen)
    score = score_results(frozen, outcomes, key_rows=rows, opened_early=early)
    return record_of(frozen, outcomes, score, date=date)


def refused(message, call, *given, **options):
    with pytest.raises(InputError, match=message) as error:
        call(*given, **options)
    assert "\n" not in str(error.value)


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# ---------------------------------------------------------------- records


def test_what_a_record_holds():
    record = recorded(3)
    frozen = discover(10)
    assert record["list"] == frozen.digest
    assert (record["frozen"], record["scored"]) == (frozen.date, NOW)
    assert (record["dataset"], record["context"], record["mode"]) == ("depmap", "skin", "discover")
    assert (record["n_tested"], record["n_failed"], record["n_found"]) == (10, 0, 3)
    # The middle of .7, .5 and .4 is what was stated; at .5 a known rate of .2 expects a quarter.
    assert record["completeness"] == 0.5
    assert record["expected"]["0.5"] == pytest.approx(2.5)
    assert record["head_to_head"] is None
    assert record["versions"] == {"list": "explorer 0.1.0"}
    rest = {name: value for name, value in record.items() if name != "digest"}
    assert record["digest"] == sha256_of(canonical(rest))


def test_a_blind_record_holds_the_comparison():
    record = judged(6, {"simple": 0, "learned": 6})
    assert record["head_to_head"]["verdict"] == "learned finds more"
    # Pairs of one map alone, six of either, none with a perturbation in common.
    assert sorted(record["head_to_head"]["contributions"]) == [0] * 6 + [1] * 6
    assert record["head_to_head"]["counted"] is True
    assert (record["n_tested"], record["n_found"]) == (14, 7)
    assert judged(6, {"simple": 0, "learned": 6}, early="looked")["head_to_head"]["counted"] is False


def test_only_complete_results_are_recorded():
    frozen = discover(10)
    partial = outcomes_of(["hit"] * 9 + [None], frozen)
    score = score_results(frozen, partial)
    refused("1 of 10 results are not back", record_of, frozen, partial, score, date=NOW)
    whole = outcomes_of(["hit"] * 10, frozen)
    refused("of another list or of other results", record_of, frozen, whole, score, date=NOW)
    refused("of another list", record_of, discover(9), partial, score, date=NOW)
    blind, _ = compare()
    closed = outcomes_of(["hit"] * blind.n_rows, blind)
    refused("recorded once its key was opened", record_of, blind, closed, score_results(blind, closed), date=NOW)


# ---------------------------------------------------------------- appending


def test_a_record_is_appended_once(tmp_path):
    folder = tmp_path / "mine" / "record"
    record = recorded(3)
    assert append_record(folder, record) == ""
    path = folder / f"{record['list']}.json"
    before = path.read_bytes()
    said = append_record(folder, record_of_later := recorded(3, date="2027-01-01"))
    assert record_of_later["digest"] != record["digest"]
    assert said == f"these results of the list are in the track record since {NOW}: nothing was added"
    refused("other results of this list: 3 of 10 were hits on .* now 4 of 10", append_record, folder, recorded(4))
    assert path.read_bytes() == before
    assert names(folder) == [path.name]
    assert names(tmp_path) == ["mine"]


def test_what_is_no_record_is_not_appended(tmp_path):
    folder = tmp_path / "record"
    record = recorded(3)
    refused("it was changed after it was written", append_record, folder, record | {"n_found": 9})
    refused("no record of this program", append_record, folder, {})
    # Nothing is ever written outside of the folder.
    forged = {name: value for name, value in record.items() if name != "digest"} | {"list": "../../outside"}
    forged["digest"] = sha256_of(canonical(forged))
    refused("does not hold what a record holds", append_record, folder, forged)
    assert names(folder) == []


def test_places_that_can_not_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    refused("the track record 'file': Not a directory; is it a folder", append_record, tmp_path / "file", recorded(3))
    refused("can't write to the track record", append_record, tmp_path / "file" / "below", recorded(3))
    refused("the track record 'file' is no folder", register_frozen, tmp_path / "file", discover(10))
    refused("is it a folder", read_track_record, tmp_path / "file")
    assert names(tmp_path) == ["file"]


def test_a_torn_record_is_not_taken_for_another(tmp_path):
    record = recorded(3)
    path = tmp_path / f"{record['list']}.json"
    path.write_bytes(b"")
    refused(f"'{path.name}' of the track record can't be used: it is no record", append_record, tmp_path, record)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere.json")
    refused("no file", append_record, tmp_path, record)
    assert names(tmp_path) == [path.name]


# ---------------------------------------------------------------- reading


def test_an_empty_record(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        found = read_track_record(folder)
        assert found.table.height == 0
        assert dict(found.table.schema) == dict(TABLE_SCHEMA)
        assert found.by_completeness == ()
        numbers = [found.stated.expected, found.stated.factor, found.stated.squared_error, found.cumulated.delta]
        assert np.isnan([*numbers, found.stated.squared_error_if_right, found.cumulated.test.p]).all()
        assert (found.stated.n_lists, found.cumulated.n_lists, found.n_registered, found.problems) == (0, 0, 0, ())


def test_expected_against_found(tmp_path):
    cases = [
        (3, 10, 0.2, "2026-03-02"),
        (9, 30, 0.3, "2026-03-01"),
        (0, 20, 0.1, "2026-03-03"),
        (5, 8, None, "2026-03-04"),
    ]
    for n_hits, n, rate, date in cases:
        append_record(tmp_path, recorded(n_hits, n, rate=float("nan") if rate is None else rate, date=date))
    found = read_track_record(tmp_path)
    assert found.table["scored"].to_list() == sorted(found.table["scored"].to_list())
    assert found.table["tested"].to_list() == [30, 10, 20, 8]
    assert found.table["expected"].to_list()[3] is None
    assert found.table["completeness"].to_list() == [0.5] * 4
    # A plain loop; the list without an expectation is left out.
    for calibration in (found.stated, *found.by_completeness):
        share = 0.5 if np.isnan(calibration.completeness) else calibration.completeness
        hits = total = error = right = 0.0
        for n_hits, n, rate, _ in cases[:3]:
            expected = n * min(1, (1 - share) / share * rate / (1 - rate))
            hits, total = hits + n_hits, total + expected
            error += ((n_hits - expected) / n) ** 2 / 3
            right += expected / n * (1 - expected / n) / n / 3
        assert (calibration.n_lists, calibration.found) == (3, hits)
        assert calibration.expected == pytest.approx(total)
        assert calibration.factor == pytest.approx((hits + 0.5) / (total + 0.5))
        assert calibration.squared_error == pytest.approx(error)
        assert calibration.squared_error_if_right == pytest.approx(right)
    assert [one.completeness for one in found.by_completeness] == [0.7, 0.5, 0.4]


def test_right_expectations_are_calibrated(tmp_path):
    # Hits drawn as expected: the squared error is what it would be, the factor near 1; doubled expectations are found.
    draw = np.random.default_rng(0)
    for number in range(200):
        n_hits = int(draw.binomial(40, 0.25))
        pairs = [(f"A{place:02d}", f"B{number:03d}") for place in range(40)]
        append_record(tmp_path, recorded(n_hits, 40, pairs=pairs))
    found = read_track_record(tmp_path)
    half, at_70 = found.by_completeness[1], found.by_completeness[0]
    assert half.factor == pytest.approx(1, abs=0.05)
    assert half.squared_error == pytest.approx(half.squared_error_if_right, rel=0.25)
    assert at_70.factor > 2
    assert at_70.squared_error > 3 * at_70.squared_error_if_right


def test_simple_against_learned_over_all_lists(tmp_path):
    lists = [
        judged(6, {"simple": 1, "learned": 4}, salt=b"a"),
        judged(7, {"simple": 2, "learned": 5}, salt=b"b"),
        judged(8, {"simple": 8, "learned": 0}, salt=b"c", early="somebody looked"),
        recorded(3),
    ]
    for record in lists:
        append_record(tmp_path, record)
    found = read_track_record(tmp_path, seed=3).cumulated
    assert (found.n_lists, found.n_left_out) == (2, 1)
    # One hit of both lies in either list.
    assert (found.hits_simple, found.hits_learned) == (1 + 2 + 2, 4 + 5 + 2)
    assert found.depth == 8 + 9
    contributions = lists[0]["head_to_head"]["contributions"] + lists[1]["head_to_head"]["contributions"]
    assert found.delta == sum(contributions) / 17 == 6 / 17
    once = sign_flip(contributions, seed=3)
    assert found.test.p == once.p
    assert found.test.estimate == pytest.approx(6)
    assert (found.low, found.high) == pytest.approx((once.low * once.n_units / 17, once.high * once.n_units / 17))


def test_ten_small_lists_tell_what_none_does(tmp_path):
    for number in range(10):
        record = judged(5, {"simple": 0, "learned": 2}, salt=bytes([number]))
        assert record["head_to_head"]["verdict"] == "underpowered"
        append_record(tmp_path, record)
    found = read_track_record(tmp_path).cumulated
    assert found.n_lists == 10
    assert found.test.p < 0.001
    assert found.low > 0


def test_files_that_are_not_ours_and_files_that_were_changed(tmp_path):
    for record in (recorded(3), recorded(4, 12)):
        append_record(tmp_path, record)
    whole = read_track_record(tmp_path)
    for name in ("notes.txt", ".DS_Store", "a.json", f".{'0' * 64}.host.1.{'0' * 16}.tmp.json"):
        (tmp_path / name).write_text("mine")
    assert read_track_record(tmp_path).table.equals(whole.table)
    assert read_track_record(tmp_path).problems == ()
    first = tmp_path / f"{recorded(3)['list']}.json"
    content = json.loads(first.read_text())
    foreign = tmp_path / f"{'0' * 64}.json"
    foreign.write_text(first.read_text())
    for edit, message in (
        (json.dumps(content | {"n_found": 10}), "it was changed after it was written"),
        (first.read_text()[:-30], "it is no record of this program, or not a whole one"),
        ("", "it is no record"),
        ("[" * 100_000, "it is no record"),
        ('{"format": NaN}', "it is no record"),
    ):
        first.write_text(edit)
        found = read_track_record(tmp_path)
        assert found.table["list"].to_list() == [recorded(4, 12)["list"]]
        assert len(found.problems) == 2
        assert foreign.name[:50] in found.problems[0]
        assert "another list than its name says" in found.problems[0]
        assert first.name[:50] in found.problems[1]
        assert message in found.problems[1]


def test_records_that_a_stranger_made(tmp_path):
    record = recorded(3)
    for changes in (
        {"n_found": 11}, {"n_found": -1}, {"n_found": True}, {"n_tested": 1.5}, {"expected": {"x": 1}},
        {"expected": {"2": 1}}, {"expected": {"0.5": "1"}}, {"expected": None}, {"completeness": 0.9},
        {"completeness": "0.5"}, {"head_to_head": {}}, {"head_to_head": {"contributions": [1]}}, {"list": "x"},
        {"head_to_head": judged(6, {"simple": 0, "learned": 1})["head_to_head"] | {"contributions": ["1"]}},
        {"versions": None}, {"scored": 5},
    ):  # fmt: skip
        forged = {name: value for name, value in (record | changes).items() if name != "digest"}
        forged["digest"] = sha256_of(canonical(forged))
        (tmp_path / f"{record['list']}.json").write_text(json.dumps(forged))
        found = read_track_record(tmp_path)
        assert found.table.height == 0
        assert "does not hold what a record holds" in found.problems[0]


def test_every_flipped_byte_is_found_or_harmless(tmp_path):
    record = judged(6, {"simple": 1, "learned": 4})
    append_record(tmp_path, record)
    (path,) = tmp_path.iterdir()
    content, draw, table = path.read_bytes(), random.Random(0), read_track_record(tmp_path).table
    n_found = 0
    for place in range(0, len(content), 2):
        flipped = bytearray(content)
        flipped[place] ^= 1 << draw.randrange(8)
        path.write_bytes(bytes(flipped))
        found = read_track_record(tmp_path)
        assert len(found.problems) == (found.table.height == 0)
        assert found.problems or found.table.equals(table)
        n_found += bool(found.problems)
    assert n_found > 0.8 * len(content) / 2


# ---------------------------------------------------------------- lists that were frozen


def test_lists_that_never_came_back_are_counted(tmp_path):
    lists = [discover(10, pairs=None, header=HEADER | {"context": context}) for context in "abc"]
    for frozen in lists:
        assert register_frozen(tmp_path, frozen)
        assert not register_frozen(tmp_path, frozen)
    append_record(tmp_path, recorded(3, header=HEADER | {"context": "b"}))
    append_record(tmp_path, recorded(3, header=HEADER | {"context": "z"}))
    found = read_track_record(tmp_path)
    assert (found.n_registered, found.n_not_back, found.problems) == (3, 2, ())


def test_a_list_that_was_changed_since_it_was_registered_is_caught(tmp_path):
    register_frozen(tmp_path, discover(10))
    refused("was registered as .* it was changed since", append_record, tmp_path, recorded(3, rate=0.1))
    assert read_track_record(tmp_path).table.height == 0
    append_record(tmp_path, recorded(3))
    assert read_track_record(tmp_path).n_not_back == 0


def test_a_registration_that_was_edited_is_named(tmp_path):
    register_frozen(tmp_path, discover(10))
    (path,) = tmp_path.iterdir()
    path.write_text(path.read_text().replace("skin", "lung"))
    found = read_track_record(tmp_path)
    assert found.n_registered == 0
    assert "can't be used: it is not what was written when the list was frozen" in found.problems[0]


# ---------------------------------------------------------------- killed


WRITER = """
import json, sys
from pathlib import Path
from explorer.track_record import append_record

records = json.loads(sys.stdin.read())
print("ready", flush=True)
for record in records:
    append_record(Path(sys.argv[1]), record)
"""


def test_a_writer_that_is_killed_leaves_the_record_whole(tmp_path):
    records = [recorded(3, pairs=[(f"A{number:04d}", f"B{place}") for place in range(10)]) for number in range(300)]
    given = json.dumps(records)
    folder, draw = tmp_path / "record", random.Random(0)
    n_before, n_killed, heights = 0, 0, []
    for _ in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        with writer:
            writer.stdin.write(given)
            writer.stdin.close()
            assert writer.stdout.readline() == "ready\n"
            time.sleep(draw.uniform(0.0, 0.05))
            os.kill(writer.pid, signal.SIGKILL)
            n_killed += writer.wait() == -signal.SIGKILL
        found = read_track_record(folder)
        assert found.problems == ()
        assert found.table.height >= n_before
        n_before = found.table.height
        heights.append(n_before)
    assert n_killed >= 4
    # Some died in the midst of it.
    assert len({height for height in heights if 0 < height < 300}) > 1
    for record in records:
        append_record(folder, record)
    found = read_track_record(folder)
    assert (found.table.height, found.problems) == (300, ())
    assert found.table["found"].sum() == 900
    # What the killed ones left is no record, and goes where its name is written again.
    assert len(list(folder.glob("*.json"))) - len(list(folder.glob(".*.json"))) == 300


def _append_all(folder, records):
    for record in records:
        append_record(folder, record)


def test_several_may_append_at_a_time(tmp_path):
    records = [recorded(3, pairs=[(f"A{number:04d}", f"B{place}") for place in range(10)]) for number in range(40)]
    started = [
        multiprocessing.get_context("spawn").Process(target=_append_all, args=(tmp_path, order))
        for order in (records, records[::-1], records[20:] + records[:20])
    ]
    for process in started:
        process.start()
    for process in started:
        process.join()
        assert process.exitcode == 0
    found = read_track_record(tmp_path)
    assert (found.table.height, found.problems) == (40, ())
    assert len(names(tmp_path)) == 40


def test_the_score_must_be_of_the_list():
    frozen = discover(10)
    outcomes = outcomes_of(["hit"] * 10, frozen)
    score = replace(score_results(frozen, outcomes), results_digest="other")
    refused("of another list or of other results", record_of, frozen, outcomes, score, date=NOW)
