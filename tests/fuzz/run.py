"""Fuzz the targets for long, guided by coverage: ``python tests/fuzz/run.py --seconds 600 [--target card]``.

Each target runs in a process of its own under atheris. What breaks it is kept as a file, made smaller, and shown with
its traceback; ``--replay FILE --target NAME`` runs one again. The exit status is 1 where anything was found.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]
# A call that takes longer, or a process that grows larger, is a finding.
MOST_SECONDS, MOST_MEMORY = 20, 3_072
BYTES_ALONE = "h5ad-bytes"


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=600, help="of each target (default: 600)")
    parser.add_argument("--target", action="append", help="card, table, npy … ; may be repeated (default: all)")
    parser.add_argument("--out", type=Path, help="folder of corpora and findings (default: a new one)")
    parser.add_argument("--replay", type=Path, help="run one finding again, without atheris")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args()
    if options.replay:
        byte_runner(options.target[0])(options.replay.read_bytes())
        print("nothing was raised")
        return 0
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: pip install atheris (Linux, Python 3.11 to 3.13)", file=sys.stderr)
        return 2
    if options.inside:
        return run_inside(options.target[0], rest)
    from fuzz.targets import TARGETS

    if not set(options.target or ()) <= set(TARGETS):
        parser.error(f"choose targets of {', '.join(TARGETS)}")
    out = options.out or Path(tempfile.mkdtemp(prefix="fuzz-"))
    found = [fuzz(name, options.seconds, out) for name in options.target or TARGETS]
    return int(any(found))


def byte_runner(name: str) -> Callable[[bytes], None]:
    """Make a function of bytes of a target: Hypothesis makes the input of them, but where they are the input."""
    import warnings

    from hypothesis import HealthCheck, given, settings

    from fuzz.targets import TARGETS, run

    warnings.simplefilter("ignore")
    target = TARGETS[name]
    if name == BYTES_ALONE:
        return lambda content: run(target, content)

    @settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(target.inputs)
    def one(value: object) -> None:
        run(target, value)

    inner: Callable[[bytes], None] = one.hypothesis.fuzz_one_input
    return inner


def run_inside(name: str, arguments: list[str]) -> int:
    """Fuzz one target in this process, which may die of it."""
    import atheris

    with atheris.instrument_imports(include=["explorer"]):
        import fuzz.targets  # noqa: F401  (and with it every module that reads)
    check = byte_runner(name)
    atheris.Setup([sys.argv[0], *arguments], check)
    atheris.Fuzz()
    return 0


def fuzz(name: str, seconds: int, out: Path) -> int:
    """Run one target in a process of its own until its time is over, starting anew after each finding.

    Returns
    -------
    int
        Number of findings.
    """
    import time

    corpus, findings = out / name / "corpus", out / name / "findings"
    corpus.mkdir(parents=True, exist_ok=True)
    findings.mkdir(parents=True, exist_ok=True)
    if name == BYTES_ALONE:
        from fuzz.targets import h5ad_seed

        (corpus / "seed").write_bytes(h5ad_seed())
    end, executions, first, last = time.monotonic() + seconds, 0, 0, 0
    seen: dict[str, int] = {}
    while (left := int(end - time.monotonic())) > 0:
        run = subprocess.run(
            [
                sys.executable, __file__, "--inside", "--target", name, str(corpus), f"-max_total_time={left}",
                f"-timeout={MOST_SECONDS}", f"-rss_limit_mb={MOST_MEMORY}", f"-artifact_prefix={findings}/",
                f"-max_len={65_536 if name == BYTES_ALONE else 8_192}", "-print_final_stats=1", "-detect_leaks=0",
            ],
            capture_output=True, text=True, errors="replace", check=False, timeout=seconds + 120,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"},
        )  # fmt: skip
        counts = [int(n) for n in re.findall(r"^#(\d+)", run.stderr, re.MULTILINE)]
        executions += max(counts, default=0)
        cover = [int(n) for n in re.findall(r"cov: (\d+)", run.stderr)]
        first, last = first or (cover or [0])[0], max([last, *cover])
        if run.returncode == 0 or re.search(r"^Done \d+ runs", run.stderr, re.MULTILINE):
            break  # what happens when Python ends under libFuzzer is not the target's
        if run.returncode == -signal.SIGALRM:
            continue  # libFuzzer's own clock rang before or after the target ran
        # One finding is shown once, however many inputs lead to it: it is known by the last lines of ours that ran.
        said = run.stdout + "".join(
            line for line in run.stderr.splitlines(keepends=True) if not line.startswith(("#", "INFO:"))
        )
        places = re.findall(r'File "[^"]*?/(?:explorer|fuzz)/([^/"]+)", line (\d+)', said)
        kind = "".join(
            re.findall(r"^(?:[\w.]+(?:Error|Exception|Warning)\b.*|Fatal Python error.*)", said, re.MULTILINE)[-1:]
        )
        key = " ".join(part for place in places[-2:] for part in place) or f"exit status {run.returncode}"
        seen[key] = seen.get(key, 0) + 1
        if seen[key] == 1:
            print(f"{name}: exit status {run.returncode}, {key}, {kind[:200]}\n{said[-3_000:]}", flush=True)
            shrink(name, findings)
    kept = sum(1 for _ in findings.iterdir())
    print(
        f"{name}: {seconds} s, {executions:,} executions, coverage {first:,} to {last:,} edges, {len(seen)} different "
        f"findings ({kept} files in {findings})",
        flush=True,
    )
    for key, number in seen.items():
        print(f"    {number} times: {key}", flush=True)
    return len(seen)


def shrink(name: str, findings: Path) -> None:
    """Make the newest finding smaller, for a minute at the most."""
    newest = max(findings.iterdir(), key=lambda path: path.stat().st_mtime, default=None)
    if newest is None or not newest.name.startswith("crash-"):
        return
    subprocess.run(
        [
            sys.executable, __file__, "--inside", "--target", name, "-minimize_crash=1", "-max_total_time=60",
            f"-exact_artifact_path={newest.with_name('small-' + newest.name)}", str(newest),
        ],
        capture_output=True, check=False, timeout=180,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
