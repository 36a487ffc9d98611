"""One side of a benchmark: a process that stays alive and runs what it is asked to, in its own environment.

Reads one JSON request a line from standard input and answers each with one line: ``open`` prepares an action of
`ours.py` or `peers.py` (untimed), ``run`` runs it once and says how long it took and how much memory it added.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# What is timed, and what turns its result into the arrays that are compared (untimed).
Prepared = tuple[Callable[[], Any], Callable[[Any], dict[str, Any]]]
Action = Callable[[Path, Mapping[str, int]], Prepared]
CHILD = """
import json, sys
def memory(field):
    try:
        with open("/proc/self/status") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
    except (OSError, StopIteration):
        return None
"""


@dataclass(frozen=True)
class ChildRun:
    """What a process of its own said of itself: memory before the work, at most, and anything else."""

    before: int | None
    most: int | None
    said: dict[str, Any]

    @property
    def extra_bytes(self) -> int | None:
        """Memory that the work added."""
        return None if self.before is None or self.most is None else self.most - self.before


def run_child(work: str, *arguments: str, setup: str = "") -> ChildRun:
    """Run Python code in a process of its own; `work` may put what it has to say into ``said``."""
    code = f"{CHILD}\n{setup}\nbefore, said = memory('VmRSS'), {{}}\n{work}\nprint()\n" + (
        "print(json.dumps({'before': before, 'most': memory('VmHWM'), 'said': said}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return ChildRun(**json.loads(done.stdout.splitlines()[-1]))


def resident(field: str) -> int | None:
    """Memory of this process: ``VmRSS`` now, or ``VmHWM``, the most since it was last reset."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), None)


def reset_most() -> bool:
    """Begin to look for the largest use of memory anew; Linux only."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def run_once(run: Callable[[], Any]) -> tuple[dict[str, Any], Any]:
    """Time one run."""
    gc.collect()
    can_tell, before = reset_most(), resident("VmRSS")
    started = time.perf_counter()
    result = run()
    seconds = time.perf_counter() - started
    most = resident("VmHWM")
    extra = most - before if can_tell and most is not None and before is not None else None
    if isinstance(result, ChildRun):
        extra = result.extra_bytes
    return {"seconds": seconds, "extra_bytes": extra}, result


def main() -> None:
    """Answer requests until standard input ends."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # Whatever a library prints must not reach the channel.
    os.dup2(2, 1)
    actions: dict[str, Action] = importlib.import_module(sys.argv[1]).ACTIONS
    prepared: Prepared | None = None
    for line in sys.stdin:
        request = json.loads(line)
        reply: dict[str, Any] = {}
        try:
            if request["do"] == "open":
                prepared = None
                gc.collect()
                prepared = actions[request["action"]](Path(request["folder"]), request["size"])
            elif prepared is not None:
                reply, result = run_once(prepared[0])
                if request.get("save"):
                    np.savez(request["save"], **prepared[1](result))
                del result
        except Exception as error:  # The front says which side failed, and goes on
            reply = {"error": f"{type(error).__name__}: {error}"}
        channel.write(json.dumps(reply) + "\n")
        channel.flush()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    # Imported as the actions import it, or its types would be there twice.
    importlib.import_module("worker").main()
