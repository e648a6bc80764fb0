"""One value for each trial: a statistic of a metric over a period of a run; the metrics record."""

import numpy as np
import xarray as xr

from vecsim.results.layout import Array
from vecsim.results.measures import per_window
from vecsim.results.measures.compare import Estimate, estimate
from vecsim.results.measures.per_trial import FIGURES, at_first, weighted_quantile
from vecsim.results.measures.probed import METRICS
from vecsim.results.measures.variables import OF_SAMPLES, VARIABLES

Period = tuple[float, float | None]  # from, to in seconds of the run; None: to its end

HOUR_S = 3600.0  # s at each end of a run, between whose means growth is measured
# Statistics of values and weights alone, then all of them.
SIMPLE = ("mean", "max", "min", "first", "last", "sum", "variance", "rate")
TIMES = ("longest_below_s", "reached_s")  # those that compare with a level, in seconds
STATISTICS = (*SIMPLE, "p50", "p95", "p99", "growth_percent", *TIMES)
# The metrics record: field -> metric and statistic.
_FIELDS: dict[str, tuple[str, str | None]] = {
    "avg_tps": ("avg_tps", None),
    "peak_tps": ("peak_tps", None),
    "total_vertices": ("total_vertices", None),
    "latency_p50": ("latency_ms", "p50"),
    "latency_p95": ("latency_ms", "p95"),
    "latency_p99": ("latency_ms", "p99"),
    "avg_cpu_percent": ("cpu_percent", "mean"),
    "peak_cpu_percent": ("peak_cpu_percent", "max"),
    "avg_memory_mb": ("memory_mb", "mean"),
    "peak_memory_mb": ("peak_memory_mb", "max"),
    "avg_network_mbps": ("network_mbps", "mean"),
    "avg_rounds_to_finalize": ("rounds_to_finalise", "mean"),
    "confidence_at_finalization": ("confidence", "mean"),
    "byzantine_detected": ("byzantine_detected", None),
    "false_positives": ("false_positives", None),
}


def measure(
    dataset: xr.Dataset,
    metric: str,
    statistic: str | None = None,
    period: Period | None = None,
    variant: str | None = None,
    every_s: float | None = None,
    level: float | None = None,
) -> Array:
    """The statistic of a metric, one value for each trial; NaN where there was nothing to measure.

    period: windows that start in [from, to) seconds, to the end where `to` is None; by default the
    whole run, or the time with load for modelled resources and rates. every_s: first take the mean
    (for counts the sum) over each stretch of every_s seconds, then the statistic over these. level:
    what `longest_below_s` and `reached_s` compare with. Samples count by their `weight`, windows by
    their length.

    statistics: mean, max, min, first, last, sum, variance (of a population), rate (a mean that is
    judged as a share of events), p50, p95, p99 (the smallest value that this share does not
    exceed), growth_percent (last hour against first hour), longest_below_s (longest unbroken time
    below `level`), reached_s (from the period's start to the end of the first window that is at
    `level` or above; infinite where none is: the run was too short to see it).

    ValueError where the variant or the statistic does not fit; KeyError for an unknown metric.
    """
    data = of_variant(dataset, variant)
    if metric in FIGURES:
        return np.asarray(FIGURES[metric](cut(data, period)))
    series = per_window.SERIES[metric](data) if metric in per_window.SERIES else data[metric]
    statistic = statistic or per_window.default_statistic(metric)
    if "window" not in series.dims:
        values = series.transpose("trial", ...).values.astype(float)
        values = values.reshape(len(values), -1)
        return reduce(values, np.ones_like(values), statistic)
    if period is None and per_window.during_load(metric):
        period = (0, per_window.run_setting(data, "duration_s"))
    inside = _inside(data, period)
    data, series = data.isel(window=inside), series.isel(window=inside)
    values, weights, times = _flat(data, series)
    if statistic in TIMES:
        if level is None or every_s is not None or "sample" in series.dims:
            raise ValueError(f"{statistic} needs a level, windows, and no every_s")
        length = data["length_s"].values.astype(float)
        if statistic == "longest_below_s":
            lengths = per_window.runs(values < level - 1e-9, length)
            return np.array([row.max(initial=0.0) for row in lengths])
        ends = np.broadcast_to(times + length, values.shape)
        first = at_first(values >= level - 1e-9, ends, missing=np.inf)
        return first - (period[0] if period else 0.0)
    if every_s is not None:
        how = "sum" if per_window.default_statistic(metric) == "sum" else "mean"
        stretch = (times // every_s).astype(int)
        parts = [stretch == number for number in np.unique(stretch)]
        values = np.stack([reduce(values[:, p], weights[:, p], how) for p in parts], axis=1)
        weights, times = np.ones_like(values), np.array([times[part][0] for part in parts])
    if statistic == "growth_percent":
        first, last = times < times[0] + HOUR_S, times >= times[-1] - HOUR_S + 1e-9
        before, after = (reduce(values[:, p], weights[:, p], "mean") for p in (first, last))
        return 100 * (after / before - 1)
    return reduce(values, weights, statistic)


def reduce(values: Array, weights: Array, statistic: str) -> Array:
    """A statistic along the last axis of values and weights [trial, value], float64 [trial].

    Values that are NaN do not count; where none counts a sum is 0, all else NaN. ValueError of a
    statistic that needs windows.
    """
    if not values.shape[1]:
        return np.full(len(values), 0.0 if statistic == "sum" else np.nan)
    there = np.isfinite(values)
    found = np.ma.masked_array(np.where(there, values, 0.0), ~there)
    if statistic in ("mean", "rate", "variance"):
        mean = np.ma.average(found, axis=1, weights=weights)
        if statistic == "variance":
            mean = np.ma.average((found - mean[:, None]) ** 2, axis=1, weights=weights)
        return np.ma.filled(mean, np.nan)
    if statistic in ("max", "min"):
        return getattr(found, statistic)(axis=1).filled(np.nan)
    if statistic == "sum":
        return found.filled(0.0).sum(axis=1)
    if statistic in ("first", "last"):
        step = 1 if statistic == "first" else -1
        return at_first(there[:, ::step], values[:, ::step])
    if statistic in ("p50", "p95", "p99"):
        share, pairs = float(statistic[1:]) / 100, zip(values, weights, strict=True)
        return np.array([weighted_quantile(*pair, share) for pair in pairs])
    raise ValueError(f"{statistic} is no statistic here; allowed: {', '.join(STATISTICS)}")


def _flat(data: xr.Dataset, series: xr.DataArray) -> tuple[Array, Array, Array]:
    """Values and weights [trial, value] and the time of each value."""
    time, length = data["time_s"].values, data["length_s"].values.astype(float)
    values = per_window.in_time(series).astype(float)
    if "sample" in series.dims:
        weights, flat = per_window.in_time(data["weight"]).astype(float), (len(values), -1)
        return values.reshape(flat), weights.reshape(flat), np.repeat(time, values.shape[2])
    return values, np.broadcast_to(length, values.shape), time


def known(metric: str) -> bool:
    """Whether there is a metric of that name."""
    listed = (FIGURES, per_window.SERIES, VARIABLES, METRICS)
    return metric not in OF_SAMPLES and any(metric in part for part in listed)


def of_variant(dataset: xr.Dataset, variant: str | None) -> xr.Dataset:
    """The dataset of one variant, without the padding that made it as long as the others.

    ValueError where there are several and none is named, or none has the name.
    """
    if "variant" not in dataset.dims:
        return dataset
    names = [str(name) for name in dataset["variant"].values]
    if variant is None and len(names) > 1:
        raise ValueError(f"which variant: {', '.join(names)}?")
    index = names.index(variant) if variant is not None else 0
    data = dataset.isel(variant=index, drop=True)
    if "window" in data.dims:
        data = data.isel(window=np.isfinite(data["length_s"].values))
    return data


def cut(data: xr.Dataset, period: Period | None) -> xr.Dataset:
    """The windows that start in a period."""
    return data if period is None else data.isel(window=_inside(data, period))


def _inside(data: xr.Dataset, period: Period | None) -> Array:
    time = data["time_s"].values
    start, end = period or (0, None)
    return (time >= start - 1e-9) & (time < (np.inf if end is None else end) - 1e-9)


def metrics(dataset: xr.Dataset) -> dict[str, Array]:
    """The metrics record of a run without variants: fifteen figures, a value for each trial.

    Rates are vertices per second (peak_tps: the largest over 10 s), latencies ms, memory MB (10^6
    bytes), network Mbit/s, CPU per cent of what a node has; total_vertices, byzantine_detected and
    false_positives are counts, avg_rounds_to_finalize is in polls, confidence as the rule defines
    it.
    """
    return {field: measure(dataset, *of) for field, of in _FIELDS.items()}


def record(data: xr.Dataset) -> dict[str, Estimate]:
    """The metrics record of one variant: means over trials with their 95 % intervals."""
    return {field: estimate(values) for field, values in metrics(data).items()}
