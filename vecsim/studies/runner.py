"""Runs a study: points x blocks of trials, chunk by chunk, into a store."""

import itertools
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from vecsim.results.estimate import enough
from vecsim.results.files import hash64
from vecsim.results.layout import Array, Layout
from vecsim.results.store import Store
from vecsim.studies.sweep import Study
from vecsim.studies.work import Work


class Reporter(Protocol):
    """Hears of progress."""

    def start(self, points: int, trials: int, done: int, chunks: int, taken: int) -> None:
        """Points, trials of each at most, how many of the chunks are on disk already, and how many
        trials in all an earlier, smaller study holds."""

    def advance(self, run: int, skipped: int) -> None:
        """Trials that were run, and trials that were there or need not be run."""

    def finish(self) -> None:
        """All is done, or the run was interrupted."""


def layout(study: Study, work: Work) -> Layout:
    """How the study is stored."""
    coords, beside = {d.name: d.values for d in study.dimensions}, study.beside
    return Layout(coords, study.trials, work.chunks(), work.variables, work.inner, beside)


def identities(study: Study, work: Work) -> list[int]:
    """For each point 64 bits that stand for all that decides the values of its trials, but for the
    trial's number; of some works, the number of trials, or the other points, too."""
    shared: list[Any] = [study.seed]
    if work.grows != "trials":
        shared.append(study.trials)
    if work.grows is None:
        shared.append([[d.key, d.values] for d in study.dimensions])
    estimators = study.estimators or [study.estimator] * len(study.points)
    rows = zip(study.points, study.engines, estimators, strict=True)
    return [hash64([*shared, f"{p.lasting():016x}", engine, dict(own)]) for p, engine, own in rows]


def run_study(study: Study, work: Work, path, attrs: Mapping, reporter: Reporter) -> bool:
    """Compute what the store at `path` still lacks; return whether it lacked anything.

    attrs: recorded in a new store. StoreError where what is at `path` is damaged, in use, or of
    another study.
    """
    plan, points = layout(study, work), identities(study, work)
    attrs = {**attrs, "kind": study.kind}
    began = time.monotonic()
    with Store.open_or_create(path, plan, study.config, attrs, points, work.grows) as store:
        done, chunks, taken = int(store.done.sum()), store.done.size, 0
        if done < chunks:
            taken = store.earlier.count(points)
            reporter.start(len(study.points), study.trials, done, chunks, taken)
            try:
                _run(study, work, points, store, reporter)
            finally:
                reporter.finish()
        alone = done == 0 and taken == 0
        store.finish({"wall_time_s": round(time.monotonic() - began, 3)} if alone else {})
    return done < chunks


def _run(study: Study, work: Work, points: list[int], store: Store, reporter: Reporter) -> None:
    """Chunk by chunk; events and counted: of each point so far, for sequential stopping."""
    plan, (events, counted) = store.layout, np.zeros((2, len(study.points)), int)
    numbers = np.arange(len(study.points)).reshape(plan.shape[:-1])
    for cell in itertools.product(*map(range, plan.grid[:-1])):
        indices = numbers[plan.region((*cell, 0))[:-1]]  # of the chunk's points, in its shape
        for block in range(plan.grid[-1]):
            index, first = (*cell, block), block * plan.chunks[-1]
            trials = np.arange(first, min(first + plan.chunks[-1], study.trials))
            run = 0
            if not store.done[index]:
                wanted = np.ones(indices.shape, bool)
                if study.precision:
                    happened, of = events[indices], counted[indices]
                    wanted = (of == 0) | ~enough(happened, np.maximum(of, 1), study.precision)
                values, run = _compute(work, store, points, indices, wanted, trials)
                store.write(index, values)
            work.written(indices.ravel().tolist())
            if study.precision:
                happened, of = work.events(store.read(index))
                events[indices] += happened.sum(axis=-1)
                counted[indices] += of.sum(axis=-1)
            reporter.advance(run, indices.size * len(trials) - run)


def _compute(
    work: Work, store: Store, points: list[int], indices: Array, wanted: Array, trials: Array
) -> tuple[dict[str, Array], int]:
    """One chunk: trials of the points still wanted, taken from an earlier store where it holds
    them; the rest is missing. Returns how many were run, too.

    points: the identity of each of the study. indices: numbers of the chunk's points, in its shape;
    wanted: bool, in the same.
    """
    numbers, plan = indices.ravel(), store.layout
    size = len(numbers), len(trials)
    out = {v.name: v.unset((*size, *plan.within(v))) for v in plan.variables}
    alike: dict[bytes, list[int]] = defaultdict(list)  # points that lack the same trials
    for row in np.flatnonzero(wanted):
        rows = {name: array[row] for name, array in out.items()}
        lacking = store.earlier.take(points[numbers[row]], trials, rows)
        alike[lacking.tobytes()].append(int(row))
    run = 0
    for mask, rows in alike.items():
        columns = np.flatnonzero(np.frombuffer(mask, bool))
        if len(columns):
            values = work.compute(numbers[rows].tolist(), trials[columns])
            for name, array in out.items():
                array[np.array(rows)[:, None], columns] = values[name]
            run += len(rows) * len(columns)
    shaped = {name: array.reshape(*indices.shape, *array.shape[1:]) for name, array in out.items()}
    return shaped, run
