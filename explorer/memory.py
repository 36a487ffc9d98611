"""How much memory there is, and whether a table has room in it: what has none is refused before it is made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from explorer.errors import InputError

# What a machine is taken to have where it does not say.
_USUAL_BYTES = 4 * 2**30
# Tables up to this size are made without asking.
MOST_UNASKED_BYTES = 64 * 2**20
_GROUPS = Path("/sys/fs/cgroup")


@cache
def machine_bytes() -> int:
    """Memory of the machine, or of the container or service that the process runs in."""
    try:
        found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, OSError, ValueError):  # not on Windows
        found = [_USUAL_BYTES]
    return min([*found, *(limit for limit, _ in _limits())])


def free_bytes() -> int:
    """Memory that this process may still take: of the machine, and of the container or service it runs in."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        stated = {name: int(value.split()[0]) for name, value in (line.split(":", 1) for line in lines)}
        found = [1024 * stated["MemAvailable"]]
    except (OSError, ValueError, KeyError, IndexError):  # no Linux
        found = [machine_bytes()]
    return max(0, min([*found, *(limit - used for limit, used in _limits())]))


def require_memory(needed: int, *, of: str, free: int | None = None) -> None:
    """Check that a table of profiles has room in memory, before it is made.

    Parameters
    ----------
    needed
        Bytes that it takes.
    of
        What it holds, in words, such as "2,000 guides × 30,000 features".
    free
        Bytes that there are; as `free_bytes` says without it, and then small tables are not refused.

    Raises
    ------
    InputError
        When it has none.
    """
    if free is None:
        if needed <= MOST_UNASKED_BYTES:
            return
        free = free_bytes()
    if needed > free:
        message = (
            f"a table of {of} needs {size_text(needed)} of memory, {size_text(free)} are free: choose fewer features "
            '(the most variable ones), write transform = "pca" for the representation in the card, or use fewer guides'
        )
        raise InputError(message)


def size_text(n_bytes: int) -> str:
    """Write a size: ``23.8 GiB``, ``640 MiB``."""
    if n_bytes >= 2**30:
        return f"{n_bytes / 2**30:,.1f} GiB"
    return f"{n_bytes / 2**20:,.0f} MiB"


def _limits() -> Iterator[tuple[int, int]]:
    """Read what the control groups of this process and those around them may take, and what they have taken."""
    folders = [_GROUPS]
    try:
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, name = line.split(":", 2)
            # The older version of control groups has a tree for memory alone.
            own = (_GROUPS / "memory" if "memory" in controllers.split(",") else _GROUPS) / name.strip("/")
            folders += [own, *(folder for folder in own.parents if folder.is_relative_to(_GROUPS))]
    except (OSError, ValueError):
        pass  # no Linux
    names = ("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")
    for folder in dict.fromkeys([*folders, _GROUPS / "memory"]):
        for limit_name, used_name in names:
            limit = _number_in(folder / limit_name)
            if limit is not None:  # else no such group, or no limit ("max")
                yield limit, max(0, (_number_in(folder / used_name) or 0) - _reclaimable(folder))


def _number_in(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _reclaimable(folder: Path) -> int:
    """Read how much a group holds of files that were read: it counts as taken, but is given back when it is needed."""
    try:
        lines = (folder / "memory.stat").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    stated = dict(line.split(" ", 1) for line in lines if " " in line)
    return sum(int(stated.get(name, 0)) for name in ("active_file", "inactive_file"))
