"""Partition and heal: what a cut costs, by the share of the larger side."""

from pathlib import Path

import xarray as xr
from matplotlib.lines import Line2D

from vecsim.cluster.constants import constants
from vecsim.results import plot

DIMS = ("cut_s", "larger_share")
GUARD = constants().guard_percent


def draw(data: xr.Dataset, folder: Path) -> list[Path]:
    paths = []
    with plot.style():
        for at, part in plot.each(data, DIMS):
            paths += plot.save_figure(cuts(part), folder, "partition_heal", at)
    return paths


def cuts(data: xr.Dataset):
    """Throughput during the cut, longest latency and vertices lost to full queues."""
    figure, axes = plot.panels(1, 3, plot.PAGE, 2.6, sharex=True)
    looks = plot.looks(data["cut_s"].values)
    shown = {
        "tps_while_cut": "finalised while cut, vertices/s",
        "latency_max": "longest latency, s",
        "dropped": "dropped, thousands of vertices",
    }
    for panel, (name, label) in zip(axes.flat, shown.items(), strict=True):
        table = data.vecsim.mean(name)
        scale = 1.0 if name == "tps_while_cut" else 1e-3
        for cut_s, look in looks.items():
            line = table.sel(cut_s=cut_s)
            ends = tuple(scale * line[part].values for part in ("value", "low", "high"))
            plot.band(panel, line["larger_share"].values, ends, look, f"{cut_s:g} s")
        room = 0.02
        shares = data["larger_share"].values
        panel.set_xlim(shares.min() - room, shares.max() + room)
        plot.percent(panel.xaxis)
        plot.marks(panel, {GUARD / 100: f"{GUARD} %"})
        panel.set_xlabel("larger side, % of the nodes")
        panel.set_ylabel(label)
        panel.set_ylim(bottom=0)
    entries = [
        Line2D([], [], label=f"cut for {cut_s:g} s", **look) for cut_s, look in looks.items()
    ]
    plot.legend(figure, [*entries, plot.INTERVAL], 5)
    return figure
