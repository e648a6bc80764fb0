"""Series: what has a value for each trial and window, and sample, of a run.

They are variables of its dataset, or functions of the dataset of one variant.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import xarray as xr

from vecsim.results.layout import Array
from vecsim.results.measures.variables import COUNTS, HEALTHY_SHARE, MODELLED, SAMPLED, SO_FAR

SPAN_S = 10.0  # s over which throughput is measured: ten of the shortest windows
RESOURCES = {  # name of the bottleneck -> variable
    "cpu": "utilisation_cpu",
    "network_bandwidth": "utilisation_network",
    "disk_io": "utilisation_disk",
    "memory": "utilisation_memory",
}
MUST_NOT_HAPPEN = ("lost", "doubled", "corruption")  # in any window, whatever later ones show


def run_setting(data: xr.Dataset, name: str) -> float:
    """`duration_s`, `nodes` or `byzantine` of a run: its variable, or its attribute."""
    return float(data[name].item() if name in data else data.attrs[name])


def in_time(series: xr.DataArray) -> Array:
    """A series in time: its values [trial, window], or [trial, window, sample]."""
    return series.transpose("trial", "window", ...).values


def lately(data: xr.Dataset, name: str) -> xr.DataArray:
    """A count's rate, per second, over the last 10 s at the end of each window; NaN before 10 s
    have passed.

    Longer windows count by the part of them that lies in these 10 s.
    """
    start, length = data["time_s"].values, data["length_s"].values
    end, span = start + length, min(SPAN_S, run_setting(data, "duration_s"))
    counts = np.cumsum(in_time(data[name]).astype(float), axis=1)
    passed = np.pad(counts, ((0, 0), (1, 0)))
    edges, since = np.append(start[0], end), end - span
    before = np.stack([np.interp(since, edges, row) for row in passed])
    rates = np.where(since >= start[0] - 1e-9, (passed[:, 1:] - before) / span, np.nan)
    return xr.DataArray(rates, dims=("trial", "window"))


def _healthy(data: xr.Dataset) -> xr.DataArray:
    """1 where the quorum guard holds and, over the last 10 s, 90 % of the offered rate was
    finalised, else 0; NaN where nothing was offered, which shows nothing."""
    finalised, offered = lately(data, "finalised"), lately(data, "issued")
    good = (data["guard"] > 0) & (finalised >= HEALTHY_SHARE * offered - 1e-9)
    return good.where(offered > 0).astype(float)


def _detected(data: xr.Dataset) -> xr.DataArray:
    """Byzantine nodes excluded or refused so far."""
    return data["excluded_byzantine"] + data["refused"]


def _detected_percent(data: xr.Dataset) -> xr.DataArray:
    """Per cent of all Byzantine nodes that were excluded or refused so far; NaN where there are
    none."""
    return 100 * _detected(data) / (run_setting(data, "byzantine") or np.nan)


def sampled(data: xr.Dataset, name: str) -> xr.DataArray:
    """A value of the sampled vertices, NaN where it has no meaning.

    latency_ms, confidence and rounds_to_finalise: of finalised vertices. rounds: of all attempts;
    one that timed out counts as max_rounds.
    """
    variable = "rounds" if name == "rounds_to_finalise" else name
    outcome = data["outcome"]
    return data[variable].where(outcome >= 0 if name == "rounds" else outcome == 1)


def _undisputed(data: xr.Dataset, name: str) -> xr.DataArray:
    return sampled(data, name).where(data["disputed"] == 0)


# Series that are computed, by name: of the dataset of one variant, over trial and window and, where
# they are of samples, sample.
SERIES: dict[str, Callable[[xr.Dataset], xr.DataArray]] = {
    "tps": lambda data: lately(data, "finalised"),
    "load_tps": lambda data: lately(data, "issued"),
    "healthy": _healthy,
    "partitions": lambda data: data["sides"].where(data["sides"] > 1, 0),
    "detected": _detected,
    "detected_percent": _detected_percent,
    "corruption": lambda data: data["divergent"] + data["lost"] + data["doubled"],
    "crashes": lambda data: data["oom_kills"],
    **{name: partial(sampled, name=name) for name in (*SAMPLED, "rounds_to_finalise")},
    **{f"{name}_undisputed": partial(_undisputed, name=name) for name in SAMPLED},
}


def runs(flags: Array, length: Array) -> list[Array]:
    """Lengths, in seconds, of the unbroken runs of True: one array for each row of `flags`, bool
    [rows, windows]. length: of each window, seconds [windows]."""
    time = np.concatenate([[0.0], np.cumsum(length)])
    edges = (np.flatnonzero(np.diff(row)) for row in np.pad(flags, ((0, 0), (1, 1))))
    return [time[at[1::2]] - time[at[::2]] for at in edges]


def default_statistic(name: str) -> str:
    """Counts are summed; of what accumulates the last value is taken, of what must never be the
    largest, of all else the mean."""
    if name in COUNTS or name == "crashes":
        return "sum"
    if name in MUST_NOT_HAPPEN:
        return "max"
    return "last" if name in (*SO_FAR, "detected", "detected_percent") else "mean"


def during_load(name: str) -> bool:
    """Whether a series has its meaning only while load is offered."""
    return name in MODELLED or name in ("tps", "load_tps", "healthy")
