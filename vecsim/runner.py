"""Runs a study: points x blocks of trials, chunk by chunk, into a store."""

import itertools
import time
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from vecsim.estimate import enough
from vecsim.layout import Layout, Variable
from vecsim.store import Store
from vecsim.sweep import Study

MISSING = {"int32": -1, "float64": np.nan}


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


class Work(Protocol):
    """What is computed at the points of a study."""

    variables: tuple[Variable, ...]
    inner: dict[str, list]  # coordinates of the variables' own dimensions

    def chunks(self) -> tuple[int, ...]:
        """Points along each swept dimension, then trials, that are computed at once and stored
        as one chunk: what may be lost when the run is killed."""
        ...

    def compute(self, numbers: list[int], trials: np.ndarray) -> dict[str, np.ndarray]:
        """Values of each variable for the points with these numbers, [points, trials, ...]."""
        ...

    def events(self, values: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Which trials show what the study's precision is about, and which were run."""
        ...


def layout(study: Study, work: Work) -> Layout:
    """How the study is stored."""
    coords = {d.name: d.values for d in study.dimensions}
    inner, beside = work.inner, study.beside
    return Layout(coords, study.trials, work.chunks(), work.variables, inner, beside)


def run(study: Study, work: Work, path, attrs: Mapping, reporter: Reporter) -> None:
    """Compute what the store at `path` still lacks; attrs are recorded in a new store."""
    plan = layout(study, work)
    began = time.monotonic()
    with Store.open_or_create(path, plan, study.config, attrs) as store:
        done = int(store.done.sum())
        if done < store.done.size:
            reporter.start(len(study.points), study.trials, done, store.done.size)
            try:
                _run(study, work, plan, store, reporter)
            finally:
                reporter.finish()
        spent = {"wall_time_s": round(time.monotonic() - began, 3)} if done == 0 else {}
        store.finish(spent)


def _run(study: Study, work: Work, plan: Layout, store: Store, reporter: Reporter) -> None:
    totals = Totals(study)
    for cell in itertools.product(*(range(size) for size in plan.grid[:-1])):
        indices = _points_of(plan, cell)
        for block in range(plan.grid[-1]):
            index = (*cell, block)
            first = block * plan.chunks[-1]
            trials = np.arange(first, min(first + plan.chunks[-1], study.trials))
            wanted = [int(i) for i in indices.ravel() if not totals.stopped(i)]
            fresh = not store.done[index]
            if fresh:
                store.write(index, _compute(work, plan, indices, wanted, trials))
            if study.precision:
                totals.add(indices, *work.events(store.read(index)))
            skipped = (indices.size - len(wanted)) * len(trials)
            reporter.advance(len(wanted) * len(trials), skipped, fresh)


def _points_of(plan: Layout, cell: tuple[int, ...]) -> np.ndarray:
    """Numbers of the points in a chunk, in the chunk's shape."""
    shape = plan.shape[:-1]
    numbers = np.arange(int(np.prod(shape))).reshape(shape)
    region = plan.region((*cell, 0))[:-1]
    return numbers[region]


def _compute(
    work: Work, plan: Layout, indices: np.ndarray, wanted: list[int], trials: np.ndarray
) -> dict[str, np.ndarray]:
    """One chunk: trials of the points still wanted; the rest is missing."""
    values = work.compute(wanted, trials) if wanted else {}
    rows = np.flatnonzero(np.isin(indices.ravel(), wanted))
    out = {}
    for variable in work.variables:
        within = plan.within(variable)
        missing = MISSING[variable.dtype]
        out[variable.name] = np.full((indices.size, len(trials), *within), missing, variable.dtype)
        if wanted:
            out[variable.name][rows] = values[variable.name]
        out[variable.name] = out[variable.name].reshape(*indices.shape, len(trials), *within)
    return out


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

    def add(self, indices: np.ndarray, events: np.ndarray, run: np.ndarray) -> None:
        self.events[indices] += events.sum(axis=-1)
        self.trials[indices] += run.sum(axis=-1)
