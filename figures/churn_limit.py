"""Churn limit: throughput, latency and the guard against the rate at which nodes are killed."""

from pathlib import Path

import xarray as xr

from vecsim.cluster.constants import constants
from vecsim.results import plot

DIMS = ("killed",)
EVERY_S = 5  # between two kills, see the experiment


def draw(data: xr.Dataset, folder: Path) -> list[Path]:
    paths = []
    with plot.style():
        for at, part in plot.each(data, DIMS):
            paths += plot.save_figure(limit(part), folder, "churn_limit", at)
    return paths


def limit(data: xr.Dataset):
    """Throughput, latency and running nodes, by the share of the nodes killed per minute."""
    figure, axes = plot.panels(1, 3, plot.PAGE, 2.4, sharex=True)
    nodes = float(plot.setting(data, "nodes"))
    rate = data["killed"].values * 60 / EVERY_S / nodes
    shown = {
        "tps": ("finalised, vertices/s", 1.0),
        "latency_p95": ("95 % latency of\nfinalised, ms", 1.0),
        "running": ("running, % of the nodes", 100 / nodes),
    }
    look = plot.looks(["cluster"])["cluster"]
    for panel, (name, (label, scale)) in zip(axes.flat, shown.items(), strict=True):
        table = data.vecsim.mean(name)
        ends = tuple(scale * table[part].values for part in ("value", "low", "high"))
        plot.band(panel, rate, ends, look, name)
        plot.percent(panel.xaxis)
        panel.set_xlabel("killed per minute, % of the nodes")
        panel.set_ylabel(label)
    axes[0, 0].set_ylim(bottom=0)
    axes[0, 1].set_yscale("log")
    guard = constants().guard_percent
    axes[0, 2].axhline(guard, color=plot.GREY, linewidth=0.8, linestyle=(0, (4, 2)))
    axes[0, 2].text(
        0, guard - 1, f"guard: {guard} %", color=plot.GREY, fontsize=plot.SMALL, va="top"
    )
    plot.legend(figure, [plot.INTERVAL], 1)
    return figure
