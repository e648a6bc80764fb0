"""What every worker does: it loads a study once, and computes chunks of it."""

import importlib.metadata
import math
import os
import pickle
import platform
import threading
import time
from collections.abc import Mapping
from functools import cache, cached_property
from itertools import chain
from typing import Any, NamedTuple

from vecsim import device, places
from vecsim.errors import ConfigError, WorkerError
from vecsim.results.files import file_digest, json_digest
from vecsim.results.layout import Array
from vecsim.studies.assignment import Assignment
from vecsim.studies.work import Work

# Packages whose versions may decide bits.
_PACKAGES = ("vecsim", "jax", "jaxlib", "numpy", "scipy", "equinox")
_VECSIM = "vecsim's own files"  # what their hash is called in messages


class Worker(NamedTuple):
    """A process that computes.

    devices: what JAX computes on. code: by name, everything that must be the same on all workers:
    versions of packages, the hash of vecsim's own files and of those of the study's components.
    """

    host: str
    process: int
    devices: str
    code: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """Host and process, `node7/4711`."""
        return f"{self.host}/{self.process}"


class Answer(NamedTuple):
    """What a worker has computed.

    ticket: which request it answers. values: of each variable [points, trials, ...]. core_s:
    seconds of CPU time that it took, of all threads of the process.
    """

    ticket: int
    values: dict[str, Array]
    worker: Worker
    core_s: float

    @classmethod
    def computed(cls, work: Work, worker: Worker, ticket: int, numbers: list[int], trials: Array):
        """What the work gives for these trials of the points with these numbers."""
        began = time.process_time()
        values = work.compute(numbers, trials)
        return cls(ticket, values, worker, time.process_time() - began)


def require_formed(answer: Any) -> None:
    """WorkerError unless this is an `Answer` of a `Worker`, whatever the values in it are."""
    good = isinstance(answer, Answer) and isinstance(answer.worker, Worker)
    try:
        ticket, values, (host, process, devices, code), core_s = answer
        types = type(ticket), type(values), type(process), type(core_s)
        words = [host, devices, *chain.from_iterable(dict(code).items())]
        good = good and types == (int, dict, int, float) and 0 <= core_s < math.inf
        good = good and all(isinstance(word, str) and word.isprintable() for word in words)
    except (TypeError, ValueError):
        good = False
    if not good:
        allowed = "an answer of a vecsim worker"
        raise WorkerError(
            f"a worker answers with a broken {type(answer).__name__}; allowed: {allowed}"
        )


def this_worker(sources: Mapping[str, str]) -> Worker:
    """This process. sources: hashes of the files of the study's own components."""
    code = {**_versions(), **sources}
    return Worker(platform.node(), os.getpid(), device.device_names(), tuple(code.items()))


@cache
def _versions() -> dict[str, str]:
    """Versions of the packages, and a hash of vecsim's own files (16 hexadecimal digits)."""
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    own = []
    for file in sorted(places.PACKAGE.rglob("*")):
        inside = file.relative_to(places.PACKAGE)
        # A wheel also holds the configuration and the figures, which compute nothing.
        if file.suffix in (".py", ".yaml") and inside.parts[0] not in ("conf", "figures"):
            own.append([inside.as_posix(), file_digest(file.read_bytes())])
    return versions | {_VECSIM: json_digest(own)[:16]}


def require_alike(worker: Worker, driver: Worker) -> None:
    """ConfigError, which names the worker, where it may compute other bits than the driver."""
    here, there = dict(driver.code), dict(worker.code)
    for name in {**here, **there}:
        ours, theirs = here.get(name, "absent"), there.get(name, "absent")
        allowed = "the same versions, and the same code, in every process"
        told = f"worker {worker.name} has {name} {theirs}, process {driver.name} has {ours}"
        if ours != theirs:
            raise ConfigError(f"{told}; allowed: {allowed}")


class WorkerStudy:
    """A study that was sent here, and what computes its chunks, one at a time.

    sent: an `Assignment`, pickled. cores: CPU devices, the default if None. Nothing is loaded
    before the first chunk.
    """

    def __init__(self, sent: bytes, cores: int | None):
        self.sent, self.cores, self._lock = sent, cores, threading.Lock()

    @cached_property
    def _loaded(self) -> tuple[Work, Worker]:
        places.environment()
        device.configure(self.cores)
        device.forget_programs()  # of earlier studies
        try:
            assignment: Assignment = pickle.loads(self.sent)
            worker = this_worker(assignment.sources())
        except ConfigError:
            raise
        except Exception as error:  # whatever a module of somebody else raises as it is imported
            where = f"worker {platform.node()}/{os.getpid()} cannot load the study"
            told = " ".join(f"{type(error).__name__}: {error}".split())
            allowed = "components that every worker can import"
            raise ConfigError(f"{where}: {told}; allowed: {allowed}") from None
        return assignment.work(), worker

    def answer(self, ticket: int, numbers: list[int], trials: Array) -> Answer:
        """Compute these trials of the points with these numbers."""
        with self._lock:
            return Answer.computed(*self._loaded, ticket, numbers, trials)
