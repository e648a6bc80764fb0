"""Runs a study: points x blocks of trials, chunk by chunk, into a store."""

import itertools
import time
from collections.abc import Iterator
from typing import Any, Protocol

import jax
import numpy as np

from vecsim.engines.assemble import Assembler, items, program_key, shape_of
from vecsim.engines.batch import Shape, all_devices, batch
from vecsim.estimate import enough
from vecsim.layout import Layout, Variable
from vecsim.point import Point
from vecsim.store import Store
from vecsim.sweep import Study

BATCH_NODES = 2**20  # cells of a batch per device: enough to hide what a round costs otherwise
CHUNK_NODES = 2**25  # nodes x trials of a chunk: what is lost when a run is killed
STEPPED = ("rounds", "first_decision", "median_decision", "last_decision", "unanimity")
MISSING = -1


def _variables() -> tuple[Variable, ...]:
    nodes, rounds = "honest nodes", "rounds"
    about = {
        "decided_0": ("honest nodes that decided 0", nodes, ""),
        "decided_1": ("honest nodes that decided 1", nodes, ""),
        "undecided": ("honest nodes undecided at the end", nodes, "above 0: a liveness failure"),
        "rounds": ("rounds run", rounds, ""),
        "first_decision": ("rounds to the first decision", rounds, "missing: never"),
        "median_decision": ("rounds until half have decided", rounds, "missing: never"),
        "last_decision": ("rounds until all have decided", rounds, "missing: never"),
        "unanimity": ("rounds until all first hold one preference", rounds, "missing: never"),
        "final_ones": ("honest nodes that prefer 1 at the end", nodes, ""),
        "flips": ("changes of preference", "changes", "summed over honest nodes and polls"),
        "polls": ("polls made by honest nodes", "polls", "summed over honest nodes"),
        "admitted": ("Byzantine nodes in the network", "nodes", ""),
    }
    return tuple(
        Variable(
            name,
            "float64" if name in STEPPED else "int32",
            {"long_name": long_name, "units": units} | ({"meaning": meaning} if meaning else {}),
        )
        for name, (long_name, units, meaning) in about.items()
    )


VARIABLES = _variables()


class Reporter(Protocol):
    """Hears of progress."""

    def start(self, points: int, trials: int, done: int, chunks: int) -> None:
        """Points, trials of each at most, and how many of the chunks are on disk already."""
        ...

    def advance(self, trials: int, skipped: int, fresh: bool) -> None:
        """Trials done (now, or read back) and trials that need not be run."""
        ...

    def finish(self) -> None:
        """All is done, or the run was interrupted."""
        ...


def layout(study: Study) -> Layout:
    """How the study is stored: chunks of whole trailing dimensions, as large as may be lost."""
    sizes = [len(dimension.values) for dimension in study.dimensions]
    largest = max(point.n for point in study.points)
    block = min(study.block, study.trials)
    room = max(1, CHUNK_NODES // (largest * block))
    if room == 1 and study.precision is None:
        block = max(1, min(block, CHUNK_NODES // largest))
    chunks = []
    for size in reversed(sizes):
        chunks.append(min(size, room))
        room = room // size
        room = max(1, room)
    coords = {d.name: d.values for d in study.dimensions}
    return Layout(coords, study.trials, (*reversed(chunks), block), VARIABLES)


class Program:
    """One compiled program and the points of the study that it serves."""

    def __init__(self, points: list[Point], study: Study, memory: int):
        self.mesh = all_devices()
        self.shape: Shape = shape_of(points, study.seed)
        size = batch_size(self.shape, points, self.mesh.size, memory)
        wanted = study.block * len(points)
        size = min(size, -(-wanted // self.mesh.size) * self.mesh.size)
        self.assembler = Assembler(self.shape, points, size, study.seed)
        self.seed = study.seed

    def run(self, work: list[tuple[Point, np.ndarray]]) -> dict[str, np.ndarray]:
        """Outcomes of the trials of each point, end to end."""
        total = sum(len(trials) for _, trials in work)
        out = {v.name: np.full(total, MISSING, v.dtype) for v in VARIABLES}
        for outcome, admitted, place in self._batches(work):
            for name, values in (outcome._asdict() | {"admitted": admitted}).items():
                out[name][place] = values[: len(place)]
        steps = np.concatenate([np.full(len(trials), p.steps) for p, trials in work])
        for name in STEPPED:
            never = out[name] < 0
            out[name] = np.where(never, np.nan, out[name] / steps)
        return out

    def _batches(self, work) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
        """Results of batches; the host prepares the next while the device works on one."""
        starts = np.cumsum([0, *(len(trials) for _, trials in work)])
        listed = (
            item
            for (point, trials), start in zip(work, starts[:-1], strict=True)
            for item in items(point, self.seed, trials, start + np.arange(len(trials)))
        )
        pending = None
        for trials, tables, place in self.assembler.batches(listed):
            current = batch(self.shape, self.mesh, trials, tables), trials.byzantine, place
            if pending:
                yield jax.device_get(pending[0]), *pending[1:]
            pending = current
        if pending:
            yield jax.device_get(pending[0]), *pending[1:]


def batch_size(shape: Shape, points: list[Point], devices: int, memory: int) -> int:
    """Trials of a batch: a multiple of the devices, within `memory` bytes."""
    node_bytes = {"agents": shape.bits // 8 * 4, "asynchronous": 64, "graph": 32 * shape.degree}
    trial_bytes = node_bytes[shape.engine] * shape.nodes + 1024
    nodes = shape.nodes * max(1, shape.degree)
    per_device = max(1, min(BATCH_NODES // nodes, memory // trial_bytes // devices))
    return min(per_device, 2**14) * devices


def run(study: Study, path, attrs: dict, reporter: Reporter, memory: int) -> None:
    """Compute what the store at `path` still lacks.

    attrs: recorded in a new store. memory: bytes that a batch may take.
    """
    plan = layout(study)
    began = time.monotonic()
    with Store.open_or_create(path, plan, study.config, attrs) as store:
        done = int(store.done.sum())
        if done < store.done.size:
            reporter.start(len(study.points), study.trials, done, store.done.size)
            try:
                _run(study, plan, store, reporter, memory)
            finally:
                reporter.finish()
        spent = {"wall_time_s": round(time.monotonic() - began, 3)} if done == 0 else {}
        store.finish(spent)


def _run(study: Study, plan: Layout, store: Store, reporter: Reporter, memory: int) -> None:
    totals = Totals(study)
    grid = list(itertools.product(*(range(size) for size in plan.grid[:-1])))
    blocks = plan.grid[-1]
    programs: dict[Any, Program] = {}
    for cell in grid:
        indices = _points_of(plan, cell)
        for block in range(blocks):
            index = (*cell, block)
            first = block * plan.chunks[-1]
            count = min(plan.chunks[-1], study.trials - first)
            wanted = [i for i in indices.ravel() if not totals.stopped(i)]
            fresh = not store.done[index]
            if not fresh:
                values = store.read(index)
            else:
                values = _compute(study, programs, indices, wanted, first, count, memory)
                store.write(index, values)
            totals.add(indices, values)
            reporter.advance(len(wanted) * count, (indices.size - len(wanted)) * count, fresh)


def _points_of(plan: Layout, cell: tuple[int, ...]) -> np.ndarray:
    """Numbers of the points in a chunk, in the chunk's shape."""
    shape = plan.shape[:-1]
    numbers = np.arange(int(np.prod(shape))).reshape(shape)
    region = plan.region((*cell, 0))[:-1]
    return numbers[region]


def _compute(study, programs, indices, wanted, first, count, memory) -> dict[str, np.ndarray]:
    """One chunk: `count` trials from number `first` of the points still wanted."""
    out = {
        v.name: np.full((indices.size, count), MISSING if v.dtype == "int32" else np.nan, v.dtype)
        for v in VARIABLES
    }
    row = {number: i for i, number in enumerate(indices.ravel())}
    trials = np.arange(first, first + count)
    groups: dict[Any, list[int]] = {}
    for number in wanted:
        groups.setdefault(program_key(study.points[number]), []).append(number)
    for key, numbers in groups.items():
        if key not in programs:
            served = [point for point in study.points if program_key(point) == key]
            programs[key] = Program(served, study, memory)
        values = programs[key].run([(study.points[number], trials) for number in numbers])
        rows = [row[number] for number in numbers]
        for name, array in values.items():
            out[name][rows] = array.reshape(len(rows), count)
    return {name: array.reshape(*indices.shape, count) for name, array in out.items()}


class Totals:
    """Events and trials per point so far, for sequential stopping."""

    def __init__(self, study: Study):
        self.precision = study.precision
        self.events = np.zeros(len(study.points), int)
        self.trials = np.zeros(len(study.points), int)

    def stopped(self, number: int) -> bool:
        if self.precision is None or not self.trials[number]:
            return False
        return bool(enough(self.events[number], self.trials[number], self.precision))

    def add(self, indices: np.ndarray, values: dict[str, np.ndarray]) -> None:
        run = values["decided_1"] >= 0
        undecided = values["undecided"] > 0
        disagreement = (values["decided_0"] > 0) & (values["decided_1"] > 0)
        events = {
            "finalised": ~undecided & ~disagreement,
            "disagreement": disagreement,
            "stalled": undecided,
            "unanimous": ~np.isnan(values["unanimity"]),
        }
        target = self.precision.target if self.precision else "stalled"
        self.events[indices] += (events[target] & run).sum(axis=-1)
        self.trials[indices] += run.sum(axis=-1)
