"""The interface of executors, which compute chunks, and the one that uses this process alone."""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from vecsim.results.layout import Array
from vecsim.studies.executors.worker import Answer, this_worker
from vecsim.studies.work import Work

# What `tell` is given then; a watch counts these lines.
LOST = "a worker was killed; its chunks are computed again"


class Executor(Protocol):
    """Computes chunks of one study anywhere, and hands them back in any order."""

    @property
    def slots(self) -> int:
        """How many requests are worth having in flight at once; this may change."""
        ...

    def start(self, tell: Callable[[str], None]) -> None:
        """Get ready to compute.

        tell: takes a line for the user, such as that a worker was lost.
        """

    def submit(self, ticket: int, numbers: list[int], trials: Array) -> None:
        """Have these trials of the points with these numbers computed."""

    def next(self) -> Answer:
        """Wait for any answer. Raises what the computation raised, and JobKilled where nothing is
        left that could compute."""
        ...

    def close(self) -> None:
        """Cancel what is not computed yet, and leave nothing running."""


class InProcess:
    """Computes in this process, one request after the other, in their order. An `Executor`."""

    slots = 1

    def __init__(self, work: Work):
        self._work, self._waiting = work, deque[tuple[int, list[int], Array]]()

    def start(self, tell: Callable[[str], None]) -> None:
        """Nothing has to be sent anywhere."""
        self._worker = this_worker(self._work.study.sources)

    def submit(self, ticket: int, numbers: list[int], trials: Array) -> None:
        """Remember the request."""
        self._waiting.append((ticket, numbers, trials))

    def next(self) -> Answer:
        """Compute what was asked for first."""
        return Answer.computed(self._work, self._worker, *self._waiting.popleft())

    def close(self) -> None:
        """Nothing is running."""
