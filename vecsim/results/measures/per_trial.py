"""Figures: what has one value for each trial of a run.

They are functions of the dataset of one variant, cut to the windows of a period. Series within are
[trial, window], or [trial, window, sample]; a figure is [trial], float64 but for names.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import xarray as xr

from vecsim.results.layout import Array
from vecsim.results.measures import per_window
from vecsim.results.measures.per_window import RESOURCES, SERIES, in_time, run_setting, sampled

# Seconds without a finalised vertex that count as a deadlock: longer than a restart (10 s) or a
# bench (15 s).
DEADLOCK_S = 30.0
SATURATED = 0.95  # share of a resource's capacity above which it is a bottleneck


def _rate(data: xr.Dataset, name: str) -> Array:
    """Vertices counted, in the drain too, per second of offered load."""
    load = data["time_s"].values < run_setting(data, "duration_s")
    return _sum(data, name) / data["length_s"].values[load].sum()


def _sum(data: xr.Dataset, *names: str) -> Array:
    """Counts summed over windows, and over the names."""
    return np.asarray(sum(data[name].sum("window").values.astype(float) for name in names))


def _last(data: xr.Dataset, name: str) -> Array:
    """A series or variable at the last window."""
    series = SERIES[name](data) if name in SERIES else data[name]
    return series.isel(window=-1).values.astype(float)


def _corruption(data: xr.Dataset) -> Array:
    """Vertices divergent, lost or doubled, in the window with most."""
    return SERIES["corruption"](data).max("window").values.astype(float)


def _uptime(data: xr.Dataset) -> Array:
    """Percent of the seconds with load in which something was finalised."""
    length, load = data["length_s"], data["issued"] > 0
    up = (length * (load & (data["finalised"] > 0))).sum("window")
    return (100 * up / (length * load).sum("window")).values


def _deadlocks(data: xr.Dataset) -> Array:
    """How often nothing was finalised for 30 s though the guard held and load was offered."""
    stuck = (data["guard"] > 0) & (data["issued"] > 0) & (data["finalised"] == 0)
    lengths = per_window.runs(in_time(stuck), data["length_s"].values)
    return np.array([np.count_nonzero(row >= DEADLOCK_S) for row in lengths], float)


def _failures(data: xr.Dataset) -> Array:
    """Vertices that consensus did not serve: corrupted, timed out, given up or turned away."""
    return _corruption(data) + _sum(data, "timed_out", "given_up", "dropped")


def _bottleneck(data: xr.Dataset) -> Array:
    """Name of the resource most used at its peak, `none` where none is used past 95 %."""
    peaks = np.stack([data[name].max("window").values for name in RESOURCES.values()])
    found = np.array([*RESOURCES])[peaks.argmax(axis=0)]
    return np.where(peaks.max(axis=0) > SATURATED, found, "none")


def _headroom(data: xr.Dataset, name: str) -> Array:
    """Percent of a resource's capacity that was free at its peak."""
    return 100 * (1 - data[name].max("window").values)


def at_first(flags: Array, values: Array, missing: float = np.nan) -> Array:
    """The value [trial] in the first window with a flag, `missing` where none has one; flags (bool)
    and values are [trial, window]."""
    first = flags.argmax(axis=1)
    return np.where(flags.any(axis=1), values[np.arange(len(values)), first], missing)


def _saturating_load(data: xr.Dataset) -> Array:
    """Offered vertices per second when the processor first passed 95 %; NaN if it never did."""
    past = data["utilisation_cpu"] > SATURATED
    return at_first(in_time(past), in_time(data["issued"] / data["length_s"]))


def _vertices_when_killed(data: xr.Dataset, share: float) -> Array:
    """Vertices admitted when that share of the nodes (0: one of them) had run out of memory.

    Nodes killed again count again, so the share is that of nodes killed once as long as every node
    is killed before any is for a second time. NaN where so many were not killed.
    """
    admitted, killed = (in_time(data[name]).cumsum(axis=1) for name in ("admitted", "oom_kills"))
    return at_first(killed >= max(1, share * run_setting(data, "nodes")), admitted)


def weighted_quantile(values: Array, weights: Array, share: float) -> float:
    """The smallest value such that a share (0 to 1) of the weight lies at or below it; NaN where
    there is no value. values, weights: of one shape; values that are not finite do not count."""
    kept = np.isfinite(values) & (weights > 0)
    if not kept.any():
        return np.nan
    order = np.argsort(values[kept], kind="stable")
    passed = np.cumsum(weights[kept][order])
    place = np.searchsorted(passed, share * passed[-1] * (1 - 1e-12))
    return float(values[kept][order][min(place, len(order) - 1)])


def latency_curve(data: xr.Dataset, points: int = 30) -> tuple[Array, Array]:
    """Latency against load: offered vertices per second [points], and the median and 95 % quantile
    of latency, ms [2, points].

    Windows of all trials with load are put in bins of equal width by their load; empty bins are
    left out.
    """
    latency, weight = in_time(sampled(data, "latency_ms")), in_time(data["weight"])
    load = in_time(data["issued"] / data["length_s"])
    place = np.digitize(load, np.linspace(0, load.max() * (1 + 1e-9), points + 1)) - 1
    loads, quantiles = [], []
    for point in range(points):
        inside = (place == point) & (load > 0)
        values, weights = latency[inside].ravel(), weight[inside].ravel()
        if np.isfinite(values).any():
            loads.append(load[inside].mean())
            quantiles.append([weighted_quantile(values, weights, q) for q in (0.5, 0.95)])
    return np.array(loads), np.array(quantiles).reshape(-1, 2).T


def _latency_curve_points(data: xr.Dataset) -> Array:
    return np.full(data.sizes["trial"], latency_curve(data)[0].size, float)


def _share(data: xr.Dataset, name: str, honest: bool) -> Array:
    """Percent of the honest or of the Byzantine nodes; NaN where there are none."""
    byzantine = run_setting(data, "byzantine")
    members = run_setting(data, "nodes") - byzantine if honest else byzantine
    return 100 * _last(data, name) / (members or np.nan)


def _finalised_share(data: xr.Dataset) -> Array:
    """Vertices finalised by vertex issued; NaN where none was."""
    issued = _sum(data, "issued")
    return np.where(issued > 0, _sum(data, "finalised") / np.maximum(issued, 1), np.nan)


# The figures by name, as criteria and campaigns name them.
FIGURES: dict[str, Callable[[xr.Dataset], Array]] = {
    "finalised_share": _finalised_share,
    "avg_tps": partial(_rate, name="finalised"),
    "avg_load_tps": partial(_rate, name="issued"),
    "peak_tps": lambda data: SERIES["tps"](data).max("window").values,
    "total_vertices": lambda data: _sum(data, "finalised"),
    "byzantine_detected": lambda data: _last(data, "detected"),
    "false_positives": lambda data: _last(data, "excluded_honest"),
    "accuracy_percent": partial(_share, name="detected", honest=False),
    "false_positive_percent": partial(_share, name="excluded_honest", honest=True),
    "uptime_percent": _uptime,
    "deadlocks": _deadlocks,
    "anomalies": lambda data: _corruption(data) + _sum(data, "oom_kills", "given_up"),
    "consensus_failures": _failures,
    "bottleneck": _bottleneck,
    **{
        name.replace("utilisation", "headroom"): partial(_headroom, name=name)
        for name in RESOURCES.values()
    },
    "cpu_saturation_tps": _saturating_load,
    "vertices_at_first_kill": partial(_vertices_when_killed, share=0.0),
    "vertices_at_half_killed": partial(_vertices_when_killed, share=0.5),
    "vertices_at_last_kill": partial(_vertices_when_killed, share=1.0),
    "latency_curve_points": _latency_curve_points,
    "wall_s": lambda data: data["wall_s"].values,
}
