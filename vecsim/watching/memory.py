"""The memory that this process takes, and the most that it may take."""

import os
from collections.abc import Iterator
from pathlib import Path

_PROC, _CGROUPS = Path("/proc/self"), Path("/sys/fs/cgroup")


def resident_bytes() -> int | None:
    """Physical memory that this process takes; None where the system does not say, as on macOS."""
    try:
        pages = int((_PROC / "statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def limit_bytes() -> int:
    """The machine's memory, or the limit of the container or group that this process is in."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_group_limits()])


def _group_limits() -> Iterator[int]:
    """The limits of all control groups that this process is in, of version 2 and 1."""
    try:
        lines = (_PROC / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        root = _CGROUPS / "memory" if kinds else _CGROUPS
        name = "memory.limit_in_bytes" if kinds else "memory.max"
        group = root / path.lstrip("/")
        # In a container the path may be that of the host, of which only the root is visible.
        for folder in [group, *(each for each in group.parents if each.is_relative_to(root))]:
            try:
                yield int((folder / name).read_text())
            except (OSError, ValueError):  # there is none, or it is `max`
                continue
