"""Time how long a verdict on the DepMap demo takes: first asked, asked again, and asked in a new process.

``python tests/benchmarks/judge_latency.py [--json OUT] [--repeats N]`` runs each ask in a process of its own that has
loaded the package, as the app has, and prints medians. The cache is an empty folder of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).parents[2]
ASK = """
import json, sys, time
from explorer import catalog as catalogs
from explorer.judgements import shared_judgement
from explorer.significance import sign_flips

catalog = catalogs.open_catalog(sys.argv[1])
dataset = catalog.dataset("depmap")


def ask():
    start = time.perf_counter()
    found = shared_judgement(dataset, "skin", simple="double-centered", learned="autoencoder", alignment="none")
    return time.perf_counter() - start, found


first, judgement = ask()
again, same = ask()
assert same.to_json() == judgement.to_json()
columns = [judgement.units["difference"].to_numpy()] * (1 + len(judgement.placebos))
start = time.perf_counter()
sign_flips(columns, seed=1)
flips = time.perf_counter() - start
print(json.dumps({"asked": first, "again": again, "flips": flips, "verdict": judgement.verdict,
                  "perturbations": judgement.n_perturbations, "placebos": len(judgement.placebos),
                  "sources": len(judgement.sources)}))
"""


def ask_in_new_process(cache: str) -> dict[str, float]:
    """Ask for the verdict in a process of its own."""
    found = subprocess.run(
        [sys.executable, "-c", ASK, str(PROJECT / "demo_data")],
        env={**os.environ, "EXPLORER_CACHE": cache, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(found.stdout)


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    firsts, laters = [], []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as cache:
            firsts.append(ask_in_new_process(cache))
            laters.append(ask_in_new_process(cache))
    lines = {
        "first asked, nothing kept": [run["asked"] for run in firsts],
        "asked again in the same process": [run["again"] for run in firsts],
        "asked in a new process, kept on disk": [run["asked"] for run in laters],
        "the sign flips alone": [run["flips"] for run in firsts],
    }
    one = firsts[0]
    print(
        f"DepMap, skin: {one['perturbations']:,} perturbations, {one['sources']} sources, {one['placebos']} placebos; "
        f"verdict {one['verdict']!r}; seconds, median (largest) of {options.repeats}"
    )
    for name, values in lines.items():
        print(f"{name}: {statistics.median(values):.4f} ({max(values):.4f})")
    if options.json:
        options.json.write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
