"""How far a study is, as metrics."""

import threading
import time
from collections.abc import Iterable, Iterator

import numpy as np

from vecsim.progress import Pace
from vecsim.results.estimate import Precision, clopper_pearson, enough, stopping_level
from vecsim.studies.executors.executor import LOST
from vecsim.studies.sweep import Study
from vecsim.studies.tally import Reporter, RunTally
from vecsim.watching import memory
from vecsim.watching.metric import Metric, Reading
from vecsim.watching.watch import Watch

WIDEST = 20  # points with a label of their own: a study may have a million
_LONGEST = 80  # characters of a point's label
_OWN = ("study", "store", "output")  # labels of every metric
_EACH = f"of each of the {WIDEST} points with the widest intervals"


def _metric(name: str, help: str, *labels: str) -> Metric:
    return Metric(f"vecsim_study_{name}", help, (*_OWN, *labels))


STUDY_METRICS = {
    each.name.removeprefix("vecsim_study_"): each
    for each in (
        _metric("points", "Points of the study; of a shard, as many as its trials are worth."),
        _metric("points_done", "As many points as the trials that are done are worth."),
        _metric("chunks", "Chunks of the store that this command has to fill."),
        _metric("chunks_done", "Chunks that are on disk, those of earlier commands included."),
        _metric(
            "trials", "Trials of all points, at most: a point with a precision may need fewer."
        ),
        _metric(
            "trials_done",
            "Trials that are done: run, there before, or not needed. Earlier ones are counted as "
            "the command comes to them.",
        ),
        _metric("trials_run_total", "Trials that this command has run."),
        _metric(
            "trials_per_second",
            "Trials run per second since the end of the first chunk, which compiles.",
        ),
        _metric(
            "node_rounds_total",
            "Rounds that nodes went through in the trials that this command has run; absent where "
            "they are not counted.",
        ),
        _metric("node_rounds_per_second", "Of them, per second since the end of the first chunk."),
        _metric("left_seconds", "Time until all is done, at this speed, should all trials be run."),
        _metric(
            "last_chunk_timestamp_seconds",
            "When the last chunk was done, seconds since 1970; before that, when the run began.",
        ),
        _metric("resident_memory_bytes", "Physical memory of the process that drives the study."),
        _metric(
            "memory_limit_bytes",
            "Memory of the machine, or the limit of the container or control group.",
        ),
        _metric(
            "workers",
            "Processes that have answered, by host, those that are gone included.",
            "host",
        ),
        _metric("core_seconds_total", "CPU time that the answers of a host took.", "host"),
        _metric(
            "host_last_answer_timestamp_seconds",
            "When the last answer of a host came, seconds since 1970.",
            "host",
        ),
        _metric(
            "workers_lost_total",
            "How often a process of this machine was killed; a Dask cluster does not tell.",
        ),
        _metric("points_settled", "Points that need no more trials for their precision."),
        _metric(
            "target_half_width",
            "The half width at which the interval of a point is narrow enough, by what it is of.",
            "rate",
        ),
        _metric("precision_trials", "Trials of all points that count for the precision."),
        _metric("precision_events", "Those of them that show what the precision is about."),
        _metric("point_half_width", f"Half width of the interval {_EACH}.", "point"),
        _metric("point_trials", f"Trials that count for the precision {_EACH}.", "point"),
        _metric("point_events", f"Those that show what the precision is about, {_EACH}.", "point"),
    )
}


def watching_reporter(
    reporter: Reporter, watch: Watch | None, study: Study, store: str
) -> Reporter:
    """A reporter of this study that also tells a watch, if there is one. store: its name."""
    return reporter if watch is None else WatchedStudy(reporter, watch, study, store)


class WatchedStudy:
    """Hands on to another reporter what it hears, and reads the metrics of a study. A
    `vecsim.studies.tally.Reporter` and a `vecsim.watching.watch.Readable`."""

    def __init__(self, reporter: Reporter, watch: Watch, study: Study, store: str):
        self._reporter, self._watch, self._study = reporter, watch, study
        self._labels = study.name, store.removesuffix(".zarr"), watch.output
        self._lost = 0
        self._lock = threading.Lock()  # between threads that read

    def start(self, tally: RunTally) -> None:
        """Begin to show the tally."""
        self._pace, self._heard = Pace(tally), time.time()
        self._widths = Widths(tally.precision, len(tally.events)) if tally.precision else None
        self._watch.sources.append(self)
        self._reporter.start(tally)

    def advance(self, run: int, skipped: int) -> None:
        """Count trials."""
        self._heard = time.time()
        self._pace.advance(run, skipped)
        self._reporter.advance(run, skipped)

    def tell(self, line: str) -> None:
        """Count workers that were lost."""
        self._lost += line == LOST
        self._reporter.tell(line)

    def finish(self) -> None:
        """The last values stay."""
        self._reporter.finish()

    def readings(self) -> Iterable[Reading]:
        """All metrics that have a value now."""
        with self._lock:
            return [*self._totals(), *self._hosts(), *self._points()]

    def _read(self, name: str, value: float | None, *labels: str) -> Iterator[Reading]:
        if value is not None:
            yield Reading(STUDY_METRICS[name], (*self._labels, *labels), value)

    def _totals(self) -> Iterator[Reading]:
        pace, tally = self._pace, self._pace.tally
        for name, value in (
            ("points", tally.points),
            ("points_done", tally.passed // tally.trials),
            ("chunks", tally.chunks),
            ("chunks_done", tally.done + tally.written),
            ("trials", tally.total),
            ("trials_done", tally.passed),
            ("trials_run_total", tally.run),
            ("trials_per_second", pace.trials_per_second),
            ("node_rounds_total", tally.node_rounds),
            ("node_rounds_per_second", pace.node_rounds_per_second),
            ("left_seconds", pace.left_s),
            ("last_chunk_timestamp_seconds", self._heard),
            ("resident_memory_bytes", memory.resident_bytes()),
            ("memory_limit_bytes", memory.limit_bytes()),
            ("workers_lost_total", self._lost),
        ):
            yield from self._read(name, value)

    def _hosts(self) -> Iterator[Reading]:
        by_name: dict[str, list] = {}
        for host in [*self._pace.tally.hosts.values()]:  # which grows meanwhile
            by_name.setdefault(host.name, []).append(host)
        for name, alike in by_name.items():
            yield from self._read("workers", sum(len(each.processes) for each in alike), name)
            yield from self._read("core_seconds_total", sum(each.core_s for each in alike), name)
            heard = max(each.heard for each in alike)
            yield from self._read("host_last_answer_timestamp_seconds", heard, name)

    def _points(self) -> Iterator[Reading]:
        tally, widths = self._pace.tally, self._widths
        if widths is None:
            return
        widths.update(tally.events.copy(), tally.counted.copy())
        yield from self._read("points_settled", widths.settled)
        target, wanted = widths.precision.target, widths.precision.half_width
        yield from self._read("target_half_width", wanted, target)
        yield from self._read("precision_trials", int(widths.counted.sum()))
        yield from self._read("precision_events", int(widths.events.sum()))
        for number in widths.widest(WIDEST):
            label = label_of(self._study, number)
            yield from self._read("point_half_width", float(widths.half[number]), label)
            yield from self._read("point_trials", int(widths.counted[number]), label)
            yield from self._read("point_events", int(widths.events[number]), label)


class Widths:
    """How wide the interval of each point is, computed anew where trials have been added.

    events, counted, half: of each point; half is NaN before its first trials.
    """

    def __init__(self, precision: Precision, points: int):
        self.precision = precision
        self.events, self.counted = np.zeros(points, int), np.zeros(points, int)
        self.half, self._enough = np.full(points, np.nan), np.zeros(points, bool)

    def update(self, events: np.ndarray, counted: np.ndarray) -> None:
        """Take over what has been counted."""
        # They are added to one after the other, while this reads.
        events = np.minimum(events, counted)
        new = np.flatnonzero((events != self.events) | (counted != self.counted))
        self.events, self.counted = events, counted
        of = events[new], counted[new]
        low, high = clopper_pearson(*of, stopping_level())
        self.half[new] = (high - low) / 2
        self._enough[new] = enough(*of, self.precision)

    @property
    def settled(self) -> int:
        """Points that need no more trials."""
        return int(self._enough.sum())

    def widest(self, most: int) -> list[int]:
        """The numbers of the points with the widest intervals, at most so many."""
        there = np.flatnonzero(self.counted)
        return there[np.argsort(-self.half[there], kind="stable")][:most].tolist()


def label_of(study: Study, number: int) -> str:
    """The number of a point, which nothing else has, and its values: `3: n=100, beta=20`."""
    at = np.unravel_index(number, [len(each.values) for each in study.dimensions] or [1])
    values = ", ".join(
        f"{each.name}={each.values[place]}"
        for each, place in zip(study.dimensions, at, strict=False)
    )
    text = f"{number}: {values}" if values else str(number)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
