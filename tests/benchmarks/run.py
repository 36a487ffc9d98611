"""Time this project and the published packages that do the same, in turn, and check that they agree.

From the top of a checkout::

    python tests/benchmarks/run.py --json OUT.json [--quick] [--only knn click] [--peers DIR | --no-peers]

The peers live in an environment of their own, which is made on first use (some minutes), and in a process of their
own that stays alive. Each side runs once untimed-for (compilation, caches; printed as "first"), then all take turns
and the median counts: of 5 runs, or of 3 with --quick, at the smaller sizes and where a run takes over 20 s, when
the first run is one of the three. Exit status 1 when an answer disagrees or a side fails; goals are only printed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
IMPORTED_FROM = (str(HERE), str(HERE.parents[1]))
sys.path[:0] = IMPORTED_FROM

from jobs import JOBS, Agreement, Goal, Job, Side  # noqa: E402

OURS = "ours"
SLOW_SECONDS = 20.0
# What the peers are installed from; torch first, since the others would take whichever comes.
REQUIREMENTS = (
    ("torch==2.13.0",),
    (
        *("efaar_benchmarking==1.0", "geomloss", "scvi-tools", "copairs==0.5.5", "scanpy>=1.11", "umap-learn"),
        *("pertpy==1.0.3", "statsmodels<0.15", "scikit-learn", "polars"),
    ),
)
SHOWN = ("efaar_benchmarking", "scanpy", "anndata", "scikit-learn", "copairs", "pertpy", "polars", "pandas", "numpy")


class SideError(RuntimeError):
    """A side could not do what it was asked to."""


class Worker:
    """A process that runs the actions of `ours.py` or `peers.py`."""

    def __init__(self, python: str, module: str, log: Path) -> None:
        self.log = log.open("w", encoding="utf-8")
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(IMPORTED_FROM)}
        self.process = subprocess.Popen(
            [python, str(HERE / "worker.py"), module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=environment,
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        reply: dict[str, Any] = json.loads(line) if line else {"error": "its process ended"}
        if "error" in reply:
            raise SideError(reply["error"])
        return reply

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.log.close()


def install_peers(folder: Path) -> str:
    """Make the environment of the peers where it is not complete yet; give its Python."""
    python = folder / "bin" / "python"
    marker = folder / "installed.json"
    wanted = json.dumps(REQUIREMENTS)
    if not (marker.is_file() and marker.read_text(encoding="utf-8") == wanted):
        print(f"installing the peers into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        for names in REQUIREMENTS:
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *names], check=True, stdout=sys.stderr)
        marker.write_text(wanted, encoding="utf-8")
    return str(python)


def peer_versions(python: str) -> dict[str, str]:
    """Versions of the packages that are compared with."""
    code = "import json, sys, importlib.metadata as m; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    done = subprocess.run([python, "-c", code, *SHOWN], check=True, stdout=subprocess.PIPE, text=True)
    versions: dict[str, str] = json.loads(done.stdout)
    return versions


def median_of(work: Callable[[], object], repeats: int) -> float:
    """Median seconds, after one run that does not count."""
    work()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def machine_limits(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Measure what bounds everything else: copying memory, multiplying matrices, reading a file from the cache."""
    repeats, megabytes, side = (3, 128, 1024) if quick else (7, 1024, 4096)
    source = np.ones(megabytes * 2**18, dtype=np.float32)
    target = np.empty_like(source)
    copy = median_of(lambda: np.copyto(target, source), repeats)
    matrix = np.random.default_rng(0).random((side, side), dtype=np.float32)
    product = median_of(lambda: matrix @ matrix, repeats)
    path = folder / "limit.bin"
    source.tofile(path)
    buffer = memoryview(bytearray(2**23))

    def read() -> None:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass

    reading = median_of(read, repeats)
    path.unlink()
    return {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "memory_copy_gb_per_s": 2 * source.nbytes / copy / 1e9,
        "sgemm_gflop_per_s": 2 * side**3 / product / 1e9,
        "file_read_warm_gb_per_s": source.nbytes / reading / 1e9,
    }


class Runs:
    """Times and memory of one side at one size."""

    def __init__(self, first: dict[str, Any]) -> None:
        self.first = first
        self.counted: list[dict[str, Any]] = []
        if first["seconds"] > SLOW_SECONDS:
            self.counted.append(first)

    def summary(self) -> dict[str, Any]:
        """Median, all runs, and the largest memory of those that count."""
        seconds = [run["seconds"] for run in self.counted]
        extra = [run["extra_bytes"] for run in self.counted if run["extra_bytes"] is not None]
        return {
            "seconds": statistics.median(seconds),
            "runs": seconds,
            "first_seconds": self.first["seconds"],
            "extra_bytes": max(extra) if extra else None,
        }


def run_size(job: Job, size: dict[str, int], folder: Path, workers: dict[str, Worker], repeats: int) -> dict[str, Any]:
    """Run all sides at one size, in turn."""
    sides = [Side(OURS, job.action, limit=True), *job.sides]
    sides = [side for side in sides if side.largest is None or size[job.grows] <= side.largest]
    sides = [side for side in sides if side.limit or "peers" in workers]
    runs: dict[str, Runs] = {}
    failed: dict[str, str] = {}
    agreements: list[Agreement] = []
    answers: dict[str, Any] = {}
    opened: dict[str, str] = {}

    def ask(side: Side, *, save: Path | None = None) -> dict[str, Any]:
        # A worker keeps one action open: whoever ran there last is opened again, which is not timed.
        where = OURS if side.limit else "peers"
        if opened.get(where) != side.action:
            workers[where].ask(do="open", action=side.action, folder=str(folder), size=size)
            opened[where] = side.action
        return workers[where].ask(do="run", save=None if save is None else str(save))

    for side in sides:
        saved = folder / f"answer-{side.action}.npz"
        try:
            runs[side.name] = Runs(ask(side, save=saved))
            with np.load(saved) as stored:
                answers[side.name] = dict(stored)
            saved.unlink()
            if side.check is not None and OURS in answers:
                found = side.check(answers[OURS], answers[side.name])
                agreements += [Agreement(side.name, what, *numbers) for what, numbers in found.items()]
        except SideError as error:
            failed[side.name] = str(error)
            opened.clear()
        answers = {name: kept for name, kept in answers.items() if name == OURS}
    for _ in range(repeats):
        for side in sides:
            done = runs.get(side.name)
            if done is not None and len(done.counted) < (3 if done.first["seconds"] > SLOW_SECONDS else repeats):
                done.counted.append(ask(side))
    return {
        "size": size,
        "sides": {name: done.summary() for name, done in runs.items()},
        "failed": failed,
        "agreement": [
            {"against": one.against, "what": one.what, "value": one.value, "most": one.most, "holds": one.holds}
            for one in agreements
        ],
    }


def growth_exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Slope of log time on log size: 1 is linear; NaN for fewer than three sizes."""
    if len(sizes) < 3:
        return math.nan
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def judge_goal(goal: Goal, sides: dict[str, dict[str, Any]]) -> float | None:
    """Compute the figure that a goal is about; None where a side is missing."""
    own = sides.get(OURS)
    if own is None:
        return None
    if goal.kind == "seconds":
        return float(own["seconds"])
    if goal.kind == "extra MB":
        return None if own["extra_bytes"] is None else float(own["extra_bytes"]) / 1e6
    if goal.side not in sides:
        return None
    if goal.kind == "less memory than":
        most, least = sides[goal.side]["extra_bytes"], own["extra_bytes"]
        return None if most is None or not least else float(most) / float(least)
    ratio = float(sides[goal.side]["seconds"]) / float(own["seconds"])
    return ratio if goal.kind == "faster than" else 1 / ratio


def reached(goal: Goal, figure: float) -> bool:
    """Whether a figure reaches its goal."""
    return figure >= goal.value if goal.kind in ("faster than", "less memory than") else figure <= goal.value


def run_job(job: Job, folder: Path, workers: dict[str, Worker], *, quick: bool) -> dict[str, Any]:
    """Run one benchmark at all its sizes."""
    sizes = job.sizes(quick=quick)
    results = []
    for size in sizes:
        place = folder
        if job.write is not None:
            written = job.data_size(size, quick=quick)
            label = "-".join(f"{name}{value}" for name, value in sorted(written.items()))
            place = folder / f"{job.write.__name__}-{label}"
            if not place.is_dir():
                place.mkdir()
                job.write(place, written)
        repeats = 5 if size is sizes[-1] and not quick else 3
        results.append(run_size(job, size, place, workers, repeats))
        print_size(job, results[-1])
    growth = {}
    for name in results[-1]["sides"]:
        known = [result for result in results if name in result["sides"]]
        times = [result["sides"][name]["seconds"] for result in known]
        exponent = growth_exponent([result["size"].get(job.grows, 0) for result in known], times)
        growth[name] = None if math.isnan(exponent) else exponent
    goals = []
    for goal in () if quick else job.goals:
        at = [result for result in results if goal.at in (None, result["size"].get(job.grows))]
        figure = judge_goal(goal, at[-1]["sides"]) if at else None
        if figure is not None:
            goals.append({"goal": goal.sentence, "figure": figure, "reached": reached(goal, figure)})
    found = {
        "name": job.name,
        "title": job.title,
        "note": job.note,
        "grows": job.grows,
        "sizes": results,
        "growth_exponent": growth,
        "goals": goals,
    }
    print_ending(found)
    return found


def print_size(job: Job, result: dict[str, Any]) -> None:
    """Print the lines of one size."""
    size = result["size"].get(job.grows)
    print(f"\n{job.title}" + (f"; {job.grows} = {size:,}" if size else ""))
    own = result["sides"].get(OURS)
    for name, side in result["sides"].items():
        ratio = "" if name == OURS or own is None else f"{side['seconds'] / own['seconds']:8.2f} ×"
        extra = "" if side["extra_bytes"] is None else f"{side['extra_bytes'] / 1e6:+9.0f} MB"
        runs = f"median of {len(side['runs'])}, {min(side['runs']):.4g} to {max(side['runs']):.4g}"
        print(f"  {name:34} {side['seconds']:10.4g} s {ratio:10} {extra:12}  {runs}; first {side['first_seconds']:.4g}")
    for one in result["agreement"]:
        word = "agrees" if one["holds"] else "DISAGREES"
        print(f"  {word} with {one['against']}: {one['what']} {one['value']:.2g} (allowed {one['most']:g})")
    for name, error in result["failed"].items():
        print(f"  FAILED: {name}: {error}")
    sys.stdout.flush()


def print_ending(found: dict[str, Any]) -> None:
    """Print growth, goals and the note of a benchmark."""
    growth = ", ".join(f"{name} {value:.2f}" for name, value in found["growth_exponent"].items() if value is not None)
    if growth:
        print(f"  growth exponent over {found['grows']}: {growth}")
    for one in found["goals"]:
        print(f"  goal {one['goal']}: {one['figure']:.3g}, {'reached' if one['reached'] else 'NOT REACHED'}")
    if found["note"]:
        print(f"  note: {found['note']}")
    sys.stdout.flush()


def all_well(found: dict[str, Any]) -> bool:
    """Whether every side ran and every answer agrees."""
    sizes = found["sizes"]
    return all(not size["failed"] and all(one["holds"] for one in size["agreement"]) for size in sizes)


def without_nan(value: Any) -> Any:
    """Replace NaN by null, since JSON has none."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    return [without_nan(item) for item in value] if isinstance(value, list | tuple) else value


@contextmanager
def started_workers(python: str | None, folder: Path) -> Iterator[dict[str, Worker]]:
    """Start our side, and the peers' where there is one."""
    with ExitStack() as stack:
        workers = {OURS: Worker(sys.executable, "ours", folder / "ours.log")}
        if python is not None:
            workers["peers"] = Worker(python, "peers", folder / "peers.log")
        for worker in workers.values():
            stack.callback(worker.close)
        yield workers


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks asked for, print tables and write JSON."""
    from explorer import __version__
    from explorer.store import cache_directory

    names = [job.name for job in JOBS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, metavar="OUT", help="file for all figures")
    parser.add_argument("--quick", action="store_true", help="small sizes, a few minutes in all; goals are not judged")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--peers", type=Path, default=cache_directory() / "benchmark-peers", metavar="DIR")
    where.add_argument("--no-peers", action="store_true", help="time ours and the machine's limits only")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="where some gigabytes may be written for a while")
    options = parser.parse_args(arguments)

    python = None if options.no_peers else install_peers(options.peers)
    with tempfile.TemporaryDirectory(dir=options.scratch) as temporary:
        folder = Path(temporary)
        report: dict[str, Any] = {
            "explorer": __version__,
            "python": platform.python_version(),
            "quick": options.quick,
            "machine": machine_limits(folder, quick=options.quick),
            "peers": {} if python is None else peer_versions(python),
            "jobs": [],
        }
        limits = report["machine"]
        print(
            f"{limits['cores']} cores; memory copy {limits['memory_copy_gb_per_s']:.1f} GB/s, "
            f"sgemm {limits['sgemm_gflop_per_s']:.0f} GFLOP/s, file read (warm) "
            f"{limits['file_read_warm_gb_per_s']:.1f} GB/s"
            + (", small sizes: no goal is judged" if options.quick else "")
        )
        with started_workers(python, folder) as workers:
            for job in JOBS:
                if job.name in options.only:
                    report["jobs"].append(run_job(job, folder, workers, quick=options.quick))
                    options.json.write_text(json.dumps(without_nan(report), indent=1), encoding="utf-8")
    return 0 if all(all_well(found) for found in report["jobs"]) else 1


if __name__ == "__main__":
    sys.exit(main())
