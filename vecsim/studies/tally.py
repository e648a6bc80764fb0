"""How far a run has come: the runner counts, reporters show it."""

import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from vecsim.results.estimate import Precision
from vecsim.results.layout import Array
from vecsim.studies.executors.worker import Answer


@dataclass
class Host:
    """What processes of one machine, alike in all that decides bits, have computed.

    devices, code: as of `Worker`. processes: numbers of these. chunks: requests that they answered.
    core_s: seconds of CPU time. heard: when the last answer came, seconds since 1970.
    """

    name: str
    devices: str
    code: dict[str, str]
    processes: set[int] = field(default_factory=set)
    chunks: int = 0
    core_s: float = 0.0
    heard: float = 0.0

    def described(self) -> dict[str, Any]:
        """As JSON can hold it, with the number of processes."""
        counted = {"processes": len(self.processes), "chunks": self.chunks}
        about = {"host": self.name, "devices": self.devices, "code": self.code}
        return about | counted | {"core_s": round(self.core_s, 3)}


@dataclass
class RunTally:
    """How far the run of a study has come.

    total: trials in all, at most. trials: of each point, at most. chunks: of the run; done: those
    on disk before it. taken: trials in all that an earlier, smaller study holds. run: trials that
    were run; passed: those too that had been there, or need not be run. written: chunks that this
    run has put on disk. precision: when a point stops; events, counted: of each point of the study,
    trials that show what the precision is about, and those that count for it. node_rounds: rounds
    that nodes went through in the trials that were run; None where that is not counted. hosts: what
    has computed, by machine, devices and code. remote: whether other processes compute.
    """

    name: str
    total: int
    trials: int
    chunks: int
    done: int
    taken: int
    precision: Precision | None
    events: Array
    counted: Array
    run: int = 0
    passed: int = 0
    written: int = 0
    node_rounds: float | None = None
    hosts: dict[tuple[str, str, tuple], Host] = field(default_factory=dict)
    remote: bool = False

    @property
    def points(self) -> int:
        """Points of the run; of a shard, as many as its trials are worth."""
        return self.total // self.trials

    def hear(self, answer: Answer) -> bool:
        """Count an answer; returns whether its like was not heard of before."""
        worker = answer.worker
        key = worker.host, worker.devices, worker.code
        new = key not in self.hosts
        host = self.hosts.setdefault(key, Host(worker.host, worker.devices, dict(worker.code)))
        host.processes.add(worker.process)
        host.chunks += 1
        host.core_s += answer.core_s
        host.heard = time.time()
        return new


class Reporter(Protocol):
    """Hears of progress."""

    def start(self, tally: RunTally) -> None:
        """The run begins; the tally is kept up to date until it ends."""

    def advance(self, run: int, skipped: int) -> None:
        """Another chunk is on disk: trials that were run, and trials that were there or need not
        be run."""

    def tell(self, line: str) -> None:
        """Show a line, such as that a worker was lost."""

    def finish(self) -> None:
        """All is done, or the run was interrupted."""
