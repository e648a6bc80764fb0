"""Runs a study: points x blocks of trials, chunk by chunk, into a store."""

import hashlib
import itertools
import json
import math
import time
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from vecsim.results.estimate import enough
from vecsim.results.extension import Earlier
from vecsim.results.layout import Layout
from vecsim.results.store import Store
from vecsim.studies.sweep import Study
from vecsim.studies.work import Work


class Reporter(Protocol):
    """Hears of progress."""

    def start(self, points: int, trials: int, done: int, chunks: int, taken: int) -> None:
        """Points, trials of each at most, how many of the chunks are on disk already, and how many
        trials in all an earlier, smaller study holds."""
        ...

    def advance(self, run: int, skipped: int) -> None:
        """Trials that were run, and trials that were there or need not be run."""
        ...

    def finish(self) -> None:
        """All is done, or the run was interrupted."""
        ...


def layout(study: Study, work: Work) -> Layout:
    """How the study is stored."""
    coords = {d.name: d.values for d in study.dimensions}
    inner, beside = work.inner, study.beside
    return Layout(coords, study.trials, work.chunks(), work.variables, inner, beside)


def identities(study: Study, work: Work) -> list[int]:
    """For each point 64 bits that stand for all that decides the values of its trials, but for the
    trial's number; of some works, the number of trials, or the other points, too."""
    shared: list[Any] = [study.seed]
    if work.grows != "trials":
        shared.append(study.trials)
    if work.grows is None:
        shared.append([[d.key, d.values] for d in study.dimensions])
    found = []
    for number, (point, engine) in enumerate(zip(study.points, study.engines, strict=True)):
        estimator = dict(study.estimators[number] if study.estimators else study.estimator)
        about = [*shared, f"{point.lasting():016x}", engine, estimator]
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).digest()
        found.append(int.from_bytes(digest[:8], "big"))
    return found


def run_study(study: Study, work: Work, path, attrs: Mapping, reporter: Reporter) -> bool:
    """Compute what the store at `path` still lacks; attrs are recorded in a new store.

    Returns whether it lacked anything.
    """
    plan, points = layout(study, work), identities(study, work)
    attrs = {**attrs, "kind": study.kind}
    began = time.monotonic()
    with Store.open_or_create(path, plan, study.config, attrs, points, work.grows) as store:
        done = int(store.done.sum())
        taken = 0
        if done < store.done.size:
            taken = store.earlier.count(points)
            reporter.start(len(study.points), study.trials, done, store.done.size, taken)
            try:
                _run(study, work, points, plan, store, reporter)
            finally:
                reporter.finish()
        alone = done == 0 and taken == 0
        store.finish({"wall_time_s": round(time.monotonic() - began, 3)} if alone else {})
    return done < math.prod(plan.grid)


def _run(
    study: Study, work: Work, points: list[int], plan: Layout, store: Store, reporter: Reporter
) -> None:
    totals = _Totals(study)
    for cell in itertools.product(*(range(size) for size in plan.grid[:-1])):
        indices = _points_of(plan, cell)
        for block in range(plan.grid[-1]):
            index = (*cell, block)
            first = block * plan.chunks[-1]
            trials = np.arange(first, min(first + plan.chunks[-1], study.trials))
            run = 0
            if not store.done[index]:
                wanted = [int(i) for i in indices.ravel() if not totals.stopped(i)]
                values, run = _compute(work, plan, indices, wanted, points, trials, store.earlier)
                store.write(index, values)
            work.written([int(i) for i in indices.ravel()])
            if study.precision:
                totals.add(indices, *work.events(store.read(index)))
            reporter.advance(run, indices.size * len(trials) - run)


def _points_of(plan: Layout, cell: tuple[int, ...]) -> np.ndarray:
    """Numbers of the points in a chunk, in the chunk's shape."""
    shape = plan.shape[:-1]
    numbers = np.arange(int(np.prod(shape))).reshape(shape)
    region = plan.region((*cell, 0))[:-1]
    return numbers[region]


def _compute(
    work: Work,
    plan: Layout,
    indices: np.ndarray,
    wanted: list[int],
    points: list[int],
    trials: np.ndarray,
    earlier: Earlier,
) -> tuple[dict[str, np.ndarray], int]:
    """One chunk: trials of the points still wanted, taken from an earlier store where it holds
    them; the rest is missing. Returns how many were run, too."""
    numbers, out = indices.ravel(), {}
    for variable in plan.variables:
        out[variable.name] = variable.unset((len(numbers), len(trials), *plan.within(variable)))
    alike: dict[bytes, list[int]] = {}  # points that lack the same trials
    for row in np.flatnonzero(np.isin(numbers, wanted)):
        rows = {name: array[row] for name, array in out.items()}
        lacking = earlier.take(points[numbers[row]], trials, rows)
        alike.setdefault(lacking.tobytes(), []).append(int(row))
    run = 0
    for mask, rows in alike.items():
        columns = np.flatnonzero(np.frombuffer(mask, bool))
        if len(columns):
            values = work.compute([int(numbers[row]) for row in rows], trials[columns])
            for name, array in out.items():
                array[np.array(rows)[:, None], columns] = values[name]
            run += len(rows) * len(columns)
    return {
        name: array.reshape(*indices.shape, *array.shape[1:]) for name, array in out.items()
    }, run


class _Totals:
    """Events and trials per point so far, for sequential stopping."""

    def __init__(self, study: Study):
        self.precision = study.precision
        self.events = np.zeros(len(study.points), int)
        self.trials = np.zeros(len(study.points), int)

    def stopped(self, number: int) -> bool:
        if self.precision is None or not self.trials[number]:
            return False
        return bool(enough(self.events[number], self.trials[number], self.precision))

    def add(self, indices: np.ndarray, events: np.ndarray, run: np.ndarray) -> None:
        self.events[indices] += events.sum(axis=-1)
        self.trials[indices] += run.sum(axis=-1)
