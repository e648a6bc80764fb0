"""Runs a study: points x blocks of trials, chunk by chunk, into a store."""

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vecsim.results.files import hash64
from vecsim.results.layout import Layout
from vecsim.results.shards import WHOLE, Shard
from vecsim.results.store import Store
from vecsim.studies.chains import drive
from vecsim.studies.executors.executor import Executor, InProcess
from vecsim.studies.study_chains import StudyChains
from vecsim.studies.sweep import Study
from vecsim.studies.tally import Reporter
from vecsim.studies.work import Work


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


def run_study(
    work: Work,
    path: str | Path,
    attrs: Mapping,
    reporter: Reporter,
    executor: Executor,
    shard: Shard = WHOLE,
) -> bool:
    """Compute what the store at `path` still lacks; return whether it lacked anything.

    attrs: recorded in a new store. executor: of the same work. shard: which chains are computed.
    StoreError where what is at `path` is damaged, in use, or of another study.
    """
    study, points = work.study, identities(work.study, work)
    plan, attrs = layout(study, work), {**attrs, "kind": study.kind}
    began = time.monotonic()
    with Store.open_or_create(path, plan, study.config, attrs, points, work.grows) as store:
        run = StudyChains(work, points, store, reporter, shard)
        tally = run.tally
        tally.remote = not isinstance(executor, InProcess)
        fresh = not store.done.any() and not tally.taken
        lacked = tally.done < tally.chunks
        if lacked:
            reporter.start(tally)
            try:
                with contextlib.closing(executor):
                    executor.start(reporter.tell)
                    drive(run.chains(), executor, run.accept)
            finally:
                reporter.finish()
                store.record(run.workers())
        if shard.of == 1:
            wall = {"wall_time_s": round(time.monotonic() - began, 3)} if fresh else {}
            store.finish(wall)
        else:
            store.remove_earlier()
    return lacked
