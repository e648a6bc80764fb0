"""How a scenario goes in simulated time, as metrics."""

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import xarray as xr

from vecsim.cluster import record
from vecsim.cluster.scale_test_cluster import ScaleTestCluster
from vecsim.results.measures.measure import measure
from vecsim.results.measures.per_window import SPAN_S
from vecsim.watching import memory
from vecsim.watching.metric import Metric, Reading
from vecsim.watching.scenario_metrics import COUNTED, OF_COMMAND, SCENARIO_METRICS, SHOWN, Series
from vecsim.watching.watch import Watch


class _Moment(NamedTuple):
    """A cluster as it was after its last windows.

    data: those windows, and more before them. numbers: of the run and counted since its beginning,
    by metric.
    """

    labels: tuple[str, ...]
    data: xr.Dataset | None
    numbers: dict[str, float]


class WatchedScenarios:
    """What a command about scenarios shows while it runs them. A `vecsim.watching.watch.Readable`.

    watch: shows it; None: nothing does. suite: how many scenarios there are.
    """

    def __init__(self, watch: Watch | None, suite: int):
        self._watch, self._suite = watch, suite
        self._done = self._failed = 0
        self._moment: _Moment | None = None
        self._read: tuple[_Moment | None, list[Reading]] = None, []
        self._lock = threading.Lock()  # between threads that read
        if watch is not None:
            watch.sources.append(self)

    def judged(self, good: bool) -> None:
        """Another scenario is done."""
        self._done += 1
        self._failed += not good

    def of(self, scenario: str) -> Callable[[str, ScaleTestCluster], None]:
        """What is called with a variant's name and its cluster whenever that has gone on."""
        if self._watch is None:
            return lambda variant, cluster: None
        counting = _Counting()
        return lambda variant, cluster: self._show(scenario, counting, variant, cluster)

    def _show(
        self, scenario: str, counting: "_Counting", variant: str, cluster: ScaleTestCluster
    ) -> None:
        assert self._watch is not None
        run, recent = cluster.run, cluster.now_ms - round(1000 * SPAN_S)
        self._moment = _Moment(
            labels=(scenario, variant, self._watch.output),
            data=record.dataset(cluster, recent) if cluster.records else None,
            numbers={
                "simulated_seconds": cluster.now_ms / 1000,
                "simulated_end_seconds": run.duration_s + run.drain_s,
                "last_window_timestamp_seconds": time.time(),
                "nodes": run.cluster.nodes,
                "byzantine_nodes": run.cluster.byzantine,
                "trials": run.trials,
                **counting.of(cluster),
            },
        )

    def readings(self) -> list[Reading]:
        """All metrics that have a value now."""
        assert self._watch is not None
        own = (self._watch.output,)
        values = self._suite, self._done, self._failed
        values += memory.resident_bytes(), memory.limit_bytes()
        found = [
            Reading(SCENARIO_METRICS[name], own, value)
            for name, value in zip(OF_COMMAND, values, strict=True)
            if value is not None
        ]
        with self._lock:
            if self._read[0] is not (moment := self._moment):
                self._read = moment, list(_readings(moment)) if moment else []
            return found + self._read[1]


class _Counting:
    """Adds up what clusters count, segment by segment."""

    def __init__(self):
        self._cluster: ScaleTestCluster | None = None

    def of(self, cluster: ScaleTestCluster) -> dict[str, float]:
        """By metric, since the beginning of the run, means over its trials."""
        if self._cluster is not cluster:
            self._cluster, self._segments, self._sums = cluster, 0, dict.fromkeys(COUNTED, 0.0)
        for part in cluster.records[self._segments :]:
            for name in COUNTED:
                self._sums[name] += float(getattr(part, name).sum(axis=0).mean())
        self._segments = len(cluster.records)
        return {COUNTED[name][0]: number for name, number in self._sums.items()}


def _readings(moment: _Moment) -> Iterator[Reading]:
    def read(metric: Metric, value: float, *labels: str) -> Reading:
        return Reading(metric, (*moment.labels, metric.source, *labels), value)

    for name, number in moment.numbers.items():
        yield read(SCENARIO_METRICS[name], number)
    if moment.data is None:
        return
    # The last seconds; a longer window than these counts whole.
    start, length = (moment.data[name].values for name in ("time_s", "length_s"))
    period = min(float(start[-1] + length[-1]) - SPAN_S, float(start[-1])), None
    value = partial(_value, moment.data, period)
    for shown in SHOWN:
        for label, series in shown.series.items():
            if not np.isnan(found := value(series)):
                yield read(shown.metric, found, *([label] if label else []))


def _value(data: xr.Dataset, period: tuple[float, None], series: Series) -> float:
    """The mean over trials, NaN where there is nothing in any."""
    values = measure(data, series.name, series.statistic, period)
    there = values[np.isfinite(values)]
    return float(there.mean()) * series.factor if there.size else np.nan
