"""The chains of requests that a study consists of, and what becomes of the answers."""

import json
import math
from collections import defaultdict
from collections.abc import Generator, Iterator
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np

from vecsim.errors import WorkerError
from vecsim.results.estimate import enough
from vecsim.results.extension import is_missing
from vecsim.results.layout import Array, Index, Variable
from vecsim.results.shards import Shard, chain_of
from vecsim.results.store import Store
from vecsim.studies.chains import ChunkChain, ChunkValues, Request
from vecsim.studies.executors.worker import Answer, Worker, require_alike, this_worker
from vecsim.studies.tally import Reporter, RunTally
from vecsim.studies.work import Work


class StudyChains:
    """The chains of a study, or of a shard of it: one for each cell of points with a precision, its
    blocks in order, else one for each chunk.

    points: the identity of each. tally: how far they have come; the events in it decide which
    points go on.
    """

    def __init__(
        self,
        work: Work,
        points: list[int],
        store: Store,
        reporter: Reporter,
        shard: Shard,
    ):
        study = work.study
        self.study, self.work, self.points = study, work, points
        self.store, self.reporter = store, reporter
        self.numbers = np.arange(len(points)).reshape(store.layout.shape[:-1])
        self._shard, self._before = shard, json.loads(store.attributes().get("workers", "[]"))
        chunks = sum(1 for _ in self._indices())
        done = sum(bool(store.done[index]) for index in self._indices())
        self.tally = RunTally(
            study.name,
            sum(math.prod(part.stop - part.start for part in each) for each in self._regions()),
            study.trials,
            chunks,
            done,
            # An earlier store is being deleted once nothing lacks any more.
            taken=store.earlier.count(points) if done < chunks else 0,
            precision=study.precision,
            events=np.zeros(len(points), int),
            counted=np.zeros(len(points), int),
        )

    def _indices(self) -> Iterator[Index]:
        """The chunks of the shard, in order."""
        number, of = self._shard
        grid = np.ndindex(self.store.layout.grid)
        return (index for index in grid if self._chain_of(index) % of == number)

    def _chain_of(self, index: Index) -> int:
        return chain_of(self.store.layout, self.study.precision is not None, index)

    def _regions(self) -> Iterator[tuple[slice, ...]]:
        return map(self.store.layout.region, self._indices())

    @cached_property
    def driver(self) -> Worker:
        """This process, which workers must be like."""
        return this_worker(self.study.sources)

    def chains(self) -> Iterator[ChunkChain]:
        """All chains, in order."""
        return (self._chain([*group]) for _, group in groupby(self._indices(), self._chain_of))

    def _chain(self, indices: list[Index]) -> ChunkChain:
        """Chunk by chunk, each point as long as its interval is too wide."""
        study, tally, store = self.study, self.tally, self.store
        for index in indices:
            *region, trials = store.layout.region(index)
            numbers = self.numbers[tuple(region)]
            row, run = np.arange(trials.start, trials.stop), 0
            values = None
            if not store.done[index]:
                wanted = np.ones(numbers.shape, bool)
                if study.precision:
                    happened, of = tally.events[numbers], tally.counted[numbers]
                    wanted = (of == 0) | ~enough(happened, np.maximum(of, 1), study.precision)
                values, run = yield from self._chunk(numbers, wanted, row)
                store.write(index, values)
                tally.written += 1
            self.work.written(numbers.ravel().tolist())
            if study.precision:
                happened, of = self.work.events(values or store.read(index))
                tally.events[numbers] += happened.sum(axis=-1)
                tally.counted[numbers] += of.sum(axis=-1)
            skipped = numbers.size * len(row) - run
            tally.run, tally.passed = tally.run + run, tally.passed + run + skipped
            self.reporter.advance(run, skipped)

    def _chunk(
        self, indices: Array, wanted: Array, trials: Array
    ) -> Generator[Request, ChunkValues, tuple[ChunkValues, int]]:
        """One chunk: trials of the points still wanted, taken from an earlier store where it holds
        them; the rest is missing. Returns how many were run, too.

        indices: numbers of the chunk's points, in its shape; wanted: bool, in the same.
        """
        store, numbers = self.store, indices.ravel()
        size, plan = (len(numbers), len(trials)), store.layout
        out = {v.name: v.unset((*size, *plan.within(v))) for v in plan.variables}
        alike: dict[bytes, list[int]] = defaultdict(list)  # points that lack the same trials
        for row in np.flatnonzero(wanted):
            rows = {name: array[row] for name, array in out.items()}
            lacking = store.earlier.take(self.points[numbers[row]], trials, rows)
            alike[lacking.tobytes()].append(int(row))
        run = 0
        for mask, rows in alike.items():
            columns = np.flatnonzero(np.frombuffer(mask, bool))
            if len(columns):
                values = yield numbers[rows].tolist(), trials[columns]
                for name, array in out.items():
                    array[np.array(rows)[:, None], columns] = values[name]
                run += len(rows) * len(columns)
        shape = indices.shape
        return {name: a.reshape(*shape, *a.shape[1:]) for name, a in out.items()}, run

    def accept(self, request: Request, answer: Answer) -> ChunkValues:
        """The values of an answer, as the store holds them.

        ConfigError where its worker differs from this process, WorkerError where the values cannot
        be what was asked for.
        """
        worker, values = answer.worker, answer.values
        require_alike(worker, self.driver)
        numbers, trials = request
        accepted: ChunkValues = {}
        told = f"worker {worker.name} answers with"
        for v in self.store.layout.variables:
            shape = len(numbers), len(trials), *self.store.layout.within(v)
            accepted[v.name] = self._checked(values.get(v.name), v, shape, f"{told} {v.name}")
        if more := [repr(name) for name in values if name not in accepted]:
            raise WorkerError(f"{told} {more[0]}; allowed: {', '.join(accepted)}")
        if self.tally.hear(answer):
            self.store.record(self.workers())
        rounds = self.work.node_rounds(numbers, accepted)
        if rounds is not None:
            self.tally.node_rounds = (self.tally.node_rounds or 0.0) + rounds
        return accepted

    def _checked(self, given: Any, variable: Variable, shape: tuple[int, ...], told: str) -> Array:
        """The values of a variable, of the type that is stored. told: how a WorkerError begins."""
        # An array of another class, such as a masked one, may mean more than its numbers.
        if not (type(given) is np.ndarray and given.dtype.kind in "biuf"):
            raise WorkerError(f"{told} {type(given).__name__}; allowed: an array of numbers")
        if given.shape != shape:
            raise WorkerError(f"{told} of shape {given.shape}; allowed: {shape}")
        with np.errstate(invalid="ignore"):  # NaN as a whole number
            values = given.astype(variable.dtype)
            again = values.astype(given.dtype)
        nan = given.dtype.kind == "f"
        if not all(np.array_equal(each, given, equal_nan=nan) for each in (values, again)):
            raise WorkerError(f"{told} that does not fit; allowed: values of {variable.dtype}")
        if variable.name in self.work.always and np.any(is_missing(values)):
            raise WorkerError(f"{told} missing in some trials; allowed: a value in each")
        return values

    def workers(self) -> dict[str, list[dict]]:
        """The attribute of the store that says what has computed it, this time and before."""
        return {
            "workers": [*self._before, *(host.described() for host in self.tally.hosts.values())]
        }
