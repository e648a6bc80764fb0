"""A week: load, throughput, latency, running nodes and resources hour by hour."""

import json
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.lines import Line2D

from vecsim.results import estimate, plot

DAY_S = 86_400
SHOWN = {
    "tps": "vertices/s",
    "latency_max": "longest\nlatency, ms",
    "least_running": "nodes running\nat least",
    "memory": "memory, MB\n(modelled)",
    "cpu": "processor, %\n(modelled)",
}


def draw(data: xr.Dataset, folder: Path) -> list[Path]:
    paths = []
    with plot.style():
        for at, part in plot.each(data, ()):
            paths += plot.save_figure(week(part), folder, "soak_week", at)
    return paths


def week(data: xr.Dataset):
    """A panel for each series, its mean over trials with the interval; faults in grey."""
    figure, axes = plot.panels(len(SHOWN), 1, plot.PAGE, 6.2, sharex=True)
    day = data["time_s"].values / DAY_S
    timeline = json.loads(data.attrs["config"])["campaign"]["timeline"]
    look = {"color": plot.PALETTE[0], "linestyle": "-", "marker": "None"}
    for panel, (name, label) in zip(axes.flat, SHOWN.items(), strict=True):
        for start, end in faults(timeline):
            panel.axvspan(start, end, color="0.9", linewidth=0)
        if name == "tps":
            issued = data["offered"].mean("trial").values
            panel.plot(day, issued, color=plot.GREY, linewidth=0.8, linestyle=":", label="load")
        values = data[name].transpose("time_s", "trial").values
        found = estimate.mean_interval(values)
        ends = tuple(np.asarray(part) for part in (found.value, found.low, found.high))
        plot.band(panel, day, ends, look, name)
        panel.set_ylabel(label)
    axes[1, 0].set_yscale("log")
    axes[-1, 0].set_xlabel("days")
    axes[-1, 0].set_xlim(0, day.max() + 1 / 24)
    figure.align_ylabels(axes[:, 0])
    entries = [
        Line2D([], [], label="mean over trials", color=look["color"]),
        Line2D([], [], label="issued", color=plot.GREY, linewidth=0.8, linestyle=":"),
    ]
    plot.legend(figure, [*entries, plot.INTERVAL], 3)
    return figure


def faults(timeline: list[dict]) -> list[tuple[float, float]]:
    """Days from and to which something is wrong; kills take half an hour of the axis."""
    ends = {"create_partition": "heal_partition", "set_packet_loss": "set_packet_loss"}
    spans = []
    for number, entry in enumerate(timeline):
        at, action = entry["at_s"], entry["do"]
        if action in ends and entry.get("loss") != 0:
            later = [e["at_s"] for e in timeline[number + 1 :] if e["do"] == ends[action]]
            spans.append((at, later[0] if later else at))
        elif action == "kill_random_nodes":
            times = [at + i * entry.get("every_s", 0) for i in range(entry.get("times", 1))]
            spans += [(each, each + 1800) for each in times]
    return [(start / DAY_S, end / DAY_S) for start, end in spans]
