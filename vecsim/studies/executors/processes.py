"""An executor of several processes on this machine."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from vecsim import device
from vecsim.errors import GOES_ON, JobKilled
from vecsim.results.disk import uninterrupted
from vecsim.results.layout import Array
from vecsim.studies.assignment import Assignment
from vecsim.studies.executors.executor import LOST
from vecsim.studies.executors.worker import Answer, WorkerStudy

_PATIENCE = 3  # times that workers are killed without any answer in between, before it is given up

_study: WorkerStudy  # of a worker process, set as it starts


class Processes:
    """Computes in processes that this one starts. An `Executor`.

    assignment: what they compute. count: how many. cores: CPU devices of each. Where one is killed
    all are started anew, as the standard library's pool is broken then, and what was in flight is
    computed again.
    """

    def __init__(self, assignment: Assignment, count: int, cores: int):
        self._assignment = assignment
        self.count, self.cores, self.slots = count, cores, 2 * count
        self._ended: SimpleQueue[tuple[int, Future]] = SimpleQueue()
        self._in_flight: dict[int, tuple[Future, list[int], Array]] = {}
        self._pool: ProcessPoolExecutor | None = None

    def start(self, tell: Callable[[str], None]) -> None:
        """Send the study to processes, which start as chunks come."""
        self._sent, self._tell, self._killed = self._assignment.sent(), tell, 0
        self._pool = self._new_pool()

    def _new_pool(self) -> ProcessPoolExecutor:
        spawn = multiprocessing.get_context("spawn")  # forked processes that use JAX deadlock
        # The processes hold the other end: it tells them when this one has ended, or is done.
        lifeline, self._lifeline = spawn.Pipe(duplex=False)
        sent = lifeline, self._sent, self.cores, spawn.Value("i", 0), self.count
        return ProcessPoolExecutor(self.count, spawn, initializer=_begin, initargs=sent)

    def submit(self, ticket: int, numbers: list[int], trials: Array) -> None:
        """Put a request into the queue of the processes."""
        assert self._pool is not None
        try:
            with _only_here():
                future = self._pool.submit(_answer, ticket, numbers, trials)
        except (BrokenProcessPool, OSError):  # of its pipe, where it breaks in this moment
            future = Future()
            future.set_exception(BrokenProcessPool())  # `next` makes the pool anew
        self._in_flight[ticket] = future, numbers, trials
        future.add_done_callback(lambda ended: self._ended.put((ticket, ended)))

    def next(self) -> Answer:
        """Wait for any answer."""
        while True:
            ticket, future = self._ended.get()
            if ticket not in self._in_flight or self._in_flight[ticket][0] is not future:
                continue  # of a pool that is gone; it was submitted again
            try:
                answer = future.result()
            except BrokenProcessPool:
                self._begin_anew()
                continue
            del self._in_flight[ticket]
            self._killed = 0
            return answer

    def _begin_anew(self) -> None:
        self._killed += 1
        if self._killed == _PATIENCE:
            fewer = f"fewer workers than {self.count} take less memory"
            raise JobKilled(f"workers were killed {_PATIENCE} times; {GOES_ON}; {fewer}")
        self._tell(LOST)
        self.close()
        self._pool, in_flight, self._in_flight = self._new_pool(), self._in_flight, {}
        for ticket, (_, numbers, trials) in in_flight.items():
            self.submit(ticket, numbers, trials)

    def close(self) -> None:
        """End the processes, whatever they compute."""
        if self._pool is not None:
            self._lifeline.close()
            with contextlib.suppress(OSError):  # it breaks, and closes its pipe, in this moment
                self._pool.shutdown(cancel_futures=True)
            self._pool = None


@contextlib.contextmanager
def _only_here() -> Iterator[None]:
    """For a block in which processes may start: Ctrl-C waits until they have, and is not for them.

    They inherit which signals are blocked, and so never hear of it, not even while they import.
    """
    with uninterrupted():
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(lifeline: Connection, sent: bytes, cores: int, begun: Any, count: int) -> None:
    """What a process does first. begun: how many processes have begun, a number that all share.
    Other arguments: as of `Processes`."""
    global _study
    threading.Thread(target=_leave_at_end, args=[lifeline], daemon=True).start()
    with begun.get_lock():
        number = begun.value
        begun.value += 1
    gpus = device.take_gpu(number)
    # Processes that share a GPU share its memory, of which JAX would give the first three quarters.
    share = device.GPU_MEMORY / -(-count // gpus)
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{share:.3f}")
    _study = WorkerStudy(sent, cores)


def _leave_at_end(lifeline: Connection) -> None:
    """End this process when the one at the other end has, or has closed it."""
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os._exit(0)


def _answer(ticket: int, numbers: list[int], trials: Array) -> Answer:
    return _study.answer(ticket, numbers, trials)
