"""An executor of the workers of a Dask cluster, on any number of machines."""

import contextlib
import logging
import math
import time
import uuid
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from distributed import Client, Future, WorkerPlugin
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker

from vecsim.errors import GOES_ON, ConfigError, JobKilled
from vecsim.results.layout import Array
from vecsim.studies.assignment import Assignment
from vecsim.studies.executors.worker import Answer, WorkerStudy

_TIMEOUT_S = 10  # for the scheduler to answer, which takes milliseconds where there is one
_COUNT_EVERY_S = 1.0  # between two looks at how many workers there are

_studies: dict[str, WorkerStudy] = {}  # of this worker, by the name of the plugin that brought them


class DaskCluster:
    """Computes on the workers of a Dask cluster, which may come and go. An `Executor`.

    assignment: what they compute. address: of the scheduler, tcp://HOST:PORT. cores: CPU devices of
    each worker, None for what it has. A campaign is not saved before its end, as workers may not
    share a disk with this process.
    """

    def __init__(self, assignment: Assignment, address: str, cores: int | None):
        self._assignment = assignment._replace(folder=None)
        self.address, self.cores = address, cores
        self._ended: SimpleQueue[tuple[int, Future]] = SimpleQueue()
        self._in_flight: dict[int, Future] = {}
        self._client: Client | None = None
        self._counted, self._workers = -math.inf, 0  # when there were how many workers

    @property
    def slots(self) -> int:
        """Two for each worker that there is now."""
        now = time.monotonic()
        if self._client and now - self._counted >= _COUNT_EVERY_S:
            with self._one_line():
                self._counted, self._workers = now, len(self._threads())
        return 2 * max(1, self._workers)

    def start(self, tell: Callable[[str], None]) -> None:
        """Send the study to all workers, and to those that come later."""
        quiet_logs()
        sent = self._assignment.sent()
        with self._one_line():
            self._client = Client(self.address, timeout=_TIMEOUT_S, set_as_default=False)
        if not self._threads():
            tell(f"no worker at {self.address} yet: waiting for the first")
        self._name = f"vecsim-{uuid.uuid4()}"
        try:
            self._client.register_plugin(_Plugin(sent, self.cores, self._name))
        except Exception as error:
            told = " ".join(f"{type(error).__name__}: {error}".split())
            allowed = "workers with this vecsim, as `vecsim worker` starts them"
            raise ConfigError(f"{self.address}: {told}; allowed: {allowed}") from None

    def _threads(self) -> dict[str, int]:
        """The threads of each worker, by its address."""
        assert self._client is not None
        threads: Any = self._client.nthreads()  # a coroutine with asynchronous clients only
        return threads

    def submit(self, ticket: int, numbers: list[int], trials: Array) -> None:
        """Hand a request to the scheduler."""
        assert self._client is not None
        key = f"{self._name}-{ticket}"
        arguments = self._name, ticket, numbers, trials
        with self._one_line():
            future = self._client.submit(_answer, *arguments, key=key, pure=False)
        self._in_flight[ticket] = future
        future.add_done_callback(lambda ended: self._ended.put((ticket, ended)))

    def next(self) -> Answer:
        """Wait for any answer."""
        ticket, future = self._ended.get()
        with self._one_line():
            raised: Any = future.exception()  # a coroutine with asynchronous clients only
            if raised is None or isinstance(raised, KilledWorker):
                answer = future.result()
                del self._in_flight[ticket]
                return answer
        raise raised  # by the computation, whatever its kind

    def close(self) -> None:
        """Cancel what no worker has begun; what one is computing is thrown away."""
        if self._client is not None:
            with contextlib.suppress(Exception):  # the scheduler may be gone
                self._client.cancel(list(self._in_flight.values()), force=True)
                self._client.unregister_worker_plugin(self._name)
            self._client.close(timeout=_TIMEOUT_S)
            self._client = None

    @contextlib.contextmanager
    def _one_line(self):
        """The ways in which a cluster ends become a JobKilled that says so."""
        try:
            yield
        except KilledWorker:
            told = f"{self.address}: several workers were killed at the same chunk"
            raise JobKilled(
                f"{told}; {GOES_ON}; smaller batches take less: engine.memory_mb"
            ) from None
        except (OSError, FutureCancelledError, RuntimeError) as error:
            told = " ".join(str(error).split()) or type(error).__name__
            raise JobKilled(f"{self.address}: the scheduler is gone ({told}); {GOES_ON}") from None


def quiet_logs() -> None:
    """Keep the log of Dask from the terminal: what goes wrong is told in one line."""
    for name in ("distributed", "distributed.client"):  # which have handlers of their own
        logging.getLogger(name).setLevel(logging.CRITICAL)


class _Plugin(WorkerPlugin):
    """Brings a study to a worker, and takes it away."""

    def __init__(self, sent: bytes, cores: int | None, name: str):
        self.sent, self.cores, self.name = sent, cores, name

    def setup(self, worker: Any) -> None:
        _studies[self.name] = WorkerStudy(self.sent, self.cores)

    def teardown(self, worker: Any) -> None:
        _studies.pop(self.name, None)


def _answer(name: str, ticket: int, numbers: list[int], trials: Array) -> Answer:
    return _studies[name].answer(ticket, numbers, trials)
