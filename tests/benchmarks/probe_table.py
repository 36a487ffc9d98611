"""Ask a served catalog for everything, as different people; prints a table of statuses as Markdown.

From the top of a checkout::

    python tests/benchmarks/probe_table.py

Exits with 1 when an answer is not the expected one, or says or lacks what none may.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))
import toys
from browser import cookie_of, serve_catalog
from probes import Asker, places, probe_all, probe_table


def main() -> int:
    """Serve a small catalog, probe it, and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        catalog = toys.write_catalog(Path(folder) / "catalog")
        with serve_catalog(catalog, "--no-warm", env={"EXPLORER_CACHE": f"{folder}/cache"}) as served:
            asker = Asker(served, places(catalog))
            found = probe_all(asker, (cookie_of(served), cookie_of(served)))
    sys.stdout.write(probe_table(found))
    wrong = [
        f"{item.probe.method} {item.probe.path}, {item.condition}: {item.status}"
        for item in found
        if not item.is_expected
    ]
    sys.stdout.write("".join(f"\n{problem}" for problem in (*wrong, *asker.problems)))
    return 1 if wrong or asker.problems else 0


if __name__ == "__main__":
    sys.exit(main())
