"""Peak throughput: latency and use of resources against the offered load."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.lines import Line2D

from vecsim.results import plot

DIMS = ("payload_bytes", "rate_tps")
RESOURCES = ("cpu", "network", "disk", "memory")
SATURATED = 0.95


def draw(data: xr.Dataset, folder: Path) -> list[Path]:
    paths = []
    with plot.style():
        for at, part in plot.each(data, DIMS):
            paths += plot.save_figure(load(part), folder, "peak_throughput", at)
    return paths


def load(data: xr.Dataset):
    """A column for each payload: throughput, latency, and the demand for each resource."""
    payloads = data["payload_bytes"].values
    figure, axes = plot.panels(3, len(payloads), plot.PAGE, 5.2, sharex=True, sharey="row")
    tables = {name: data.vecsim.mean(name) for name in ("tps", "latency_p50", "latency_p95")}
    tables |= {name: data.vecsim.mean(name) for name in RESOURCES}
    rate = data["rate_tps"].values.astype(float)
    quantiles = plot.looks(("latency_p50", "latency_p95"))
    resources = plot.looks(RESOURCES, ("tps", *quantiles, *RESOURCES))
    for column, payload in enumerate(payloads):
        lines = {name: table.sel(payload_bytes=payload) for name, table in tables.items()}
        top, middle, bottom = axes[:, column]
        top.set_title(f"{payload / 1000:g} KB per vertex")
        _band(top, rate, lines["tps"], plot.looks(["tps"])["tps"], "tps")
        top.plot(rate, rate, color=plot.GREY, linewidth=0.8, linestyle=":")
        for name, look in quantiles.items():
            _band(middle, rate, lines[name], look, name)
        for name, look in resources.items():
            _band(bottom, rate, lines[name], look, name)
        bottom.axhline(SATURATED, color=plot.GREY, linewidth=0.8, linestyle=(0, (4, 2)))
        first = bottleneck(rate, lines)
        if first:
            name, at = first
            for panel in (top, middle, bottom):
                panel.axvline(at, color=plot.GREY, linewidth=0.8, linestyle=":")
            text: Any = {"transform": top.transAxes, "fontsize": plot.SMALL, "color": plot.GREY}
            text["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
            top.text(0.04, 0.88, f"{name} first, at {at:,.0f}/s", **text)
        for panel in (top, middle, bottom):
            panel.set_xscale("log")
            panel.set_yscale("log")
        bottom.set_xlabel("offered, vertices/s")
    for row, label in enumerate(
        ("finalised, vertices/s", "latency of finalised, ms", "demand / capacity")
    ):
        axes[row, 0].set_ylabel(label)
    names = {"latency_p50": "median latency", "latency_p95": "95 % latency"}
    entries = [
        Line2D([], [], label=names.get(name, name), **look)
        for name, look in (quantiles | resources).items()
    ]
    plot.legend(figure, [*entries, plot.INTERVAL], 4)
    return figure


def bottleneck(rate: np.ndarray, lines: dict[str, xr.Dataset]) -> tuple[str, float] | None:
    """The resource whose demand first passes 95 % of its capacity, and the load at which it does;
    between two loads the demand is interpolated."""
    found = []
    for name in RESOURCES:
        demand = lines[name]["value"].values
        past = np.flatnonzero(demand > SATURATED)
        if past.size:
            i = int(past[0])
            if i == 0:
                found.append((float(rate[0]), name))
                continue
            share = (SATURATED - demand[i - 1]) / (demand[i] - demand[i - 1])
            found.append((float(rate[i - 1] + share * (rate[i] - rate[i - 1])), name))
    if not found:
        return None
    at, name = min(found)
    return name, at


def _band(panel, rate, line: xr.Dataset, look, label: str) -> None:
    ends = tuple(line[part].values for part in ("value", "low", "high"))
    plot.band(panel, rate, ends, look, label)
