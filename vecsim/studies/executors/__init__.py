"""Where chunks are computed: in this process, in others of this machine, in a cluster of Dask."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vecsim import device
from vecsim.errors import require
from vecsim.studies.assignment import Assignment
from vecsim.studies.executors.executor import Executor, InProcess
from vecsim.studies.work import Work

# Of a scheduler: a name or a number, or one of version 6 in brackets; then the port.
_ADDRESS = re.compile(r"tcp://(\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[^\s/:\[\]]{1,253}):(\d{1,5})")
_LABEL = 63  # characters of a part of a host's name, at most


def is_address(text: str) -> bool:
    """Whether this is the address of a Dask scheduler."""
    found = _ADDRESS.fullmatch(text)
    if not found or not 1 <= int(found[2]) <= 65535:
        return False
    return found[1][0] == "[" or all(0 < len(part) <= _LABEL for part in found[1].split("."))


def _require_guard(workers: int) -> None:
    """ConfigError in a script that processes cannot import without starting the study again."""
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    if getattr(main, "__spec__", None) is None and file and Path(file).is_file():
        guarded = "__name__" in Path(file).read_text(encoding="utf-8", errors="replace")
        allowed = f'what starts the study under `if __name__ == "__main__":` in {file}'
        require(guarded, "engine.workers", workers, allowed)


def check_workers(workers: Any) -> None:
    """ConfigError unless this is a value of `engine.workers`."""
    number = isinstance(workers, int) and not isinstance(workers, bool)
    good = workers is None or (number and 1 <= workers <= device.MOST_CORES)
    good = good or (isinstance(workers, str) and is_address(workers))
    if isinstance(workers, int) and good:
        _require_guard(workers)
    allowed = f"null, 1 to {device.MOST_CORES} processes, or tcp://HOST:PORT of a Dask scheduler"
    require(good, "engine.workers", workers, allowed)


def computed_by(engine: Mapping[str, Any], own: str) -> str:
    """What computes, in words. engine: in the configuration. own: what this process computes on."""
    workers = engine["workers"]
    if workers is None:
        return own
    return f"workers of {workers}" if isinstance(workers, str) else f"{workers} processes"


def executor_for(engine: Mapping[str, Any], assignment: Assignment, work: Work) -> Executor:
    """What computes a study. engine: in the configuration. work: the assignment's, which this
    process has made already."""
    workers, cores = engine["workers"], engine["cores"]
    if workers is None:
        return InProcess(work)
    if isinstance(workers, int):
        from vecsim.studies.executors.processes import Processes

        return Processes(assignment, workers, cores or max(1, device.share_of_cores() // workers))
    from vecsim.studies.executors.dask_cluster import DaskCluster

    return DaskCluster(assignment, workers, cores)
