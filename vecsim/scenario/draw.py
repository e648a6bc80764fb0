"""Figures of a scenario, as SVG: its course in time, latency against load, variants compared.

    values of a run, by variable       [trial, window], or [trial, window, sample]
    lines of a course                  [stretch, trial]

A stretch is one window, or several where there are more than `BINS`.
"""

import io
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from vecsim.results.estimate import mean_interval
from vecsim.results.layout import Array
from vecsim.results.measures.measure import of_variant, record
from vecsim.results.measures.per_trial import latency_curve, weighted_quantile
from vecsim.results.measures.per_window import RESOURCES, sampled
from vecsim.results.plot import GREY, PALETTE, panels, style

BINS = 300  # points of a course in time, at most: as many as a page shows apart
WIDTH = 4.6  # inches: narrow, so that a page of 400 pixels shows its letters at nine
# Colours of the kinds of faults, which the colour-blind can tell apart; the look of a halt.
FAULTS = ("#E69F00", "#56B4E9", "#CC79A7", "#009E73", "#0072B2")
HALTED = {"facecolor": "none", "edgecolor": "#D55E00", "hatch": "//", "linewidth": 0, "alpha": 0.35}
_SETTINGS = (  # hold until they are set again, or to the end of the run
    *("set_packet_loss", "throttle_cpu", "inject_memory_pressure", "set_clock_skew"),
    *("set_protocol", "set_workload", "remove_byzantine_nodes"),
)
_UNTIL = {"create_partition": ("heal_partition",), "stop": ("start",)}  # hold until this is done
_UNTIL |= {what: (what,) for what in _SETTINGS}
QUANTILES = {"median": 0.5, "95 %": 0.95, "99 %": 0.99}  # of latency


class Span(NamedTuple):
    """A fault from start to end in seconds; a moment where both are the same."""

    start: float
    end: float
    what: str


def spans(timeline: Sequence[Mapping[str, Any]] | None, end_s: float) -> list[Span]:
    """The faults of a timeline in order of time, repetitions written out.

    end_s: of the run, in seconds; faults that nothing ends last until then.
    """
    events = [
        (float(entry.get("at_s", 0) + turn * entry.get("every_s", 0)), entry)
        for entry in timeline or ()
        for turn in range(entry.get("times", 1))
    ]
    events.sort(key=lambda event: event[0])
    found = []
    for index, (at, entry) in enumerate(events):
        what = entry["do"]
        if what in ("heal_partition", "start") or (what == "set_packet_loss" and not entry["loss"]):
            continue
        until = at + entry.get("duration_s", 0)
        ends = _UNTIL.get(what, ())
        if what == "kill_random_nodes" and not entry.get("restart", True):
            ends = ("spawn_nodes", "start")
        if ends:
            later = (then for then, other in events[index + 1 :] if other["do"] in ends)
            until = next(later, end_s)
        found.append(Span(at, min(until, end_s), what.replace("_", " ")))
    return found


def course(data: xr.Dataset, config: Mapping[str, Any]) -> Figure:
    """One variant in time: throughput, latency, resources, detections and running nodes.

    Lines are means over trials with their 95 % intervals; latency is a quantile of all vertices of
    a stretch of time, averaged over trials.
    """
    time, parts = _stretches(data)
    lengths = [data["length_s"].values[part].sum() for part in parts]

    def rate(name: str) -> Array:
        values = _values(data, name)
        return np.stack([values[:, p].sum(axis=1) / s for p, s in zip(parts, lengths, strict=True)])

    def mean(name: str) -> Array:
        values = _values(data, name)
        return np.stack([values[:, part].mean(axis=1) for part in parts])

    used = {name.replace("_", " "): 100 * mean(of) for name, of in RESOURCES.items()}
    gone = {"Byzantine": "excluded_byzantine", "refused": "refused", "honest": "excluded_honest"}
    shown = {
        "vertices / s": {"offered": rate("issued"), "finalised": rate("finalised")},
        "latency, ms": _latencies(data, parts),
        "share of capacity, %": used,
        "nodes excluded": {label: mean(name) for label, name in gone.items()},
        "nodes": {"running": mean("running"), "on sides that go on": mean("progressing")},
    }
    figure, grid = panels(len(shown), 1, WIDTH, 9.5, sharex=True)
    axes: list[Axes] = list(grid[:, 0])
    for panel, (label, values) in zip(axes, shown.items(), strict=True):
        # Ten halted minutes stand beside 85 ms.
        _lines(panel, time, values, "log" if label == "latency, ms" else "linear")
        panel.set_ylabel(label)
    axes[-1].set_xlabel("simulated time, s")
    end_s = float(data["time_s"].values[-1] + data["length_s"].values[-1])
    axes[0].set_xlim(float(time[0]), end_s)
    _shade(axes, data, spans(config.get("timeline"), end_s))
    return figure


def load_curve(data: xr.Dataset) -> Figure:
    """Latency against offered load, and the use of each resource against it."""
    load, (median, high) = latency_curve(data)
    figure, grid = panels(2, 1, WIDTH, 4.8, sharex=True)
    upper, lower = grid[:, 0]
    upper.plot(load, median, color=PALETTE[0], marker="o", label="median")
    upper.plot(load, high, color=PALETTE[1], marker="s", label="95 %")
    upper.set(ylabel="latency, ms", ylim=(0, None))
    upper.legend()
    offered = (data["issued"] / data["length_s"]).transpose("trial", "window").values.ravel()
    some = np.argsort(offered)[:: max(len(offered) // BINS, 1)]
    for colour, (name, variable) in zip(PALETTE, RESOURCES.items(), strict=False):
        used = 100 * _values(data, variable).ravel()[some]
        lower.plot(offered[some], used, ".", ms=2, color=colour, label=name.replace("_", " "))
    lower.set(xlabel="offered vertices / s", ylabel="share of capacity, %", ylim=(0, None))
    lower.legend(markerscale=3)
    return figure


def compared(dataset: xr.Dataset, names: Sequence[str]) -> Figure:
    """Throughput, latency and polls of every variant, with their 95 % intervals."""
    fields = {
        "avg_tps": "finalised / s",
        "latency_p95": "95 % latency, ms",
        "avg_rounds_to_finalize": "polls to finalise",
    }
    records = [record(of_variant(dataset, name)) for name in names]
    figure, grid = panels(len(fields), 1, WIDTH, len(fields) * (0.6 + 0.22 * len(names)))
    place = np.arange(len(names))
    for axes, (field, label) in zip(grid[:, 0], fields.items(), strict=True):
        value, low, high = np.array([found[field] for found in records]).T
        axes.hlines(place, low, high, color=PALETTE[0])
        axes.plot(value, place, "o", color=PALETTE[0])
        most = np.nanmax(high, initial=0.0)
        axes.set(xlabel=label, xlim=(0, 1.1 * most if 0 < most < np.inf else None))
        axes.set_yticks(place, [name.replace("_", " ") for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
    return figure


def svg(figure: Figure) -> str:
    """A figure, drawn in `style`, as an element of a page; the same bytes every time."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = re.sub(r"<metadata>.*?</metadata>", "", buffer.getvalue(), flags=re.S)
    return text[text.index("<svg") :]


def drawn(dataset: xr.Dataset, configs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Every figure of a scenario by its caption; configs: by variant, see `config.variants`."""
    if "finalised" not in dataset:
        return {}
    found = {}
    with style():
        if len(configs) > 1:
            found["Variants compared"] = svg(compared(dataset, [*configs]))
        for name, config in configs.items():
            data = of_variant(dataset, name or None)
            where = f" of {name.replace('_', ' ')}" if name else ""
            found[f"Course{where}"] = svg(course(data, config))
            if (config.get("workload") or {}).get("kind") == "ramp":
                found[f"Latency and resources against load{where}"] = svg(load_curve(data))
    return found


def _values(data: xr.Dataset, name: str) -> Array:
    """A variable as float64 [trial, window]."""
    return data[name].transpose("trial", "window").values.astype(float)


def _stretches(data: xr.Dataset) -> tuple[Array, list[Array]]:
    """Starts (s) of up to `BINS` stretches of time, and the windows that start in each."""
    start = data["time_s"].values
    edges = np.linspace(start[0], start[-1] + 1e-9, min(BINS, len(start)) + 1)
    place = np.digitize(start, edges)
    parts = [np.flatnonzero(place == number) for number in np.unique(place)]
    return np.array([start[part[0]] for part in parts]), parts


def _latencies(data: xr.Dataset, parts: Sequence[Array]) -> dict[str, Array]:
    """Quantiles of latency, ms, by label: [stretch, trial]; NaN where nothing was finalised."""
    latency = sampled(data, "latency_ms").transpose("trial", "window", "sample").values
    weight = data["weight"].transpose("trial", "window", "sample").values
    trials = list(zip(latency, weight, strict=True))

    def quantile(share: float, part: Array) -> list[float]:
        return [weighted_quantile(v[part].ravel(), w[part].ravel(), share) for v, w in trials]

    shares = QUANTILES.items()
    return {label: np.array([quantile(share, part) for part in parts]) for label, share in shares}


def _lines(axes: Axes, time: Array, values: Mapping[str, Array], scale: str = "linear") -> None:
    """Means over trials of arrays [stretch, trial], with their 95 % intervals."""
    for colour, (label, found) in zip(PALETTE, values.items(), strict=False):
        mean = mean_interval(found)
        axes.plot(time, mean.value, color=colour, label=label)
        inside = np.isfinite(mean.low) & np.isfinite(mean.high)
        axes.fill_between(time, mean.low, mean.high, where=inside, color=colour, alpha=0.2, lw=0)
    if scale == "linear":
        axes.set_ylim(0, max(axes.get_ylim()[1], 1.0))
    elif any(np.isfinite(found).any() for found in values.values()):
        axes.set_yscale(scale)
        _plain_ticks(axes)
    small = {"handlelength": 1.2, "handletextpad": 0.4, "columnspacing": 1.0}
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.2, **small)


def _plain_ticks(axes: Axes) -> None:
    """Labels of a logarithmic axis as plain numbers, evenly spaced where it spans little."""
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(MaxNLocator(4) if high < 10 * low else LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def _shade(axes: Sequence[Axes], data: xr.Dataset, faults: Sequence[Span]) -> None:
    """Faults, and the windows in which the cluster was halted in any trial."""
    start, ends = data["time_s"].values, (data["time_s"] + data["length_s"]).values
    halted = (_values(data, "guard") == 0).any(axis=0)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], halted, [False]])))
    stops = [(float(start[a]), float(ends[b - 1])) for a, b in edges.reshape(-1, 2)]
    kinds = dict.fromkeys(fault.what for fault in faults)
    colours = dict(zip(kinds, itertools.cycle(FAULTS), strict=False))
    for panel in axes:
        for fault in faults:
            colour = colours[fault.what]
            if fault.end > fault.start:
                panel.axvspan(fault.start, fault.end, color=colour, alpha=0.15, lw=0)
            else:
                panel.axvline(fault.start, color=colour, alpha=0.6, lw=0.6)
        for first, last in stops:
            panel.axvspan(first, last, **HALTED)
    handles = [Patch(color=colour, alpha=0.4, label=what) for what, colour in colours.items()]
    if stops:
        handles.append(Patch(label="halted", **HALTED))
    if handles:
        axes[0].figure.legend(  # type: ignore[union-attr]
            handles=handles, loc="outside upper left", ncols=3, labelcolor=GREY
        )
