"""Polling: what open polls, early ends, k and time-outs do to the time by which nodes decide."""

from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.lines import Line2D

from vecsim.results import plot

DIMS = ("ways", "initial_accept")
OUTCOME = "node_p95_ms"  # of the nodes of a trial; what is drawn is the median over trials
# What varies in a column of panels, its label, and what all others then are.
BASE = {"concurrent": 4, "k": 20, "timeout_ms": 2000}
COLUMNS = {
    "concurrent": "open polls of a node",
    "k": "peers asked in a poll, k",
    "timeout_ms": "time-out, ms",
}


def draw(data: xr.Dataset, folder: Path) -> list[Path]:
    """A column of panels for each of what varies, a row for each start."""
    paths = []
    with plot.style():
        for at, part in plot.each(data, DIMS):
            paths += plot.save_figure(panels(part), folder, "polling", at)
    return paths


def panels(data: xr.Dataset):
    """Time by which 95 % of the nodes have decided, in seconds."""
    starts = data["initial_accept"].values
    table = data.vecsim.quantile(OUTCOME, 0.5)
    ways = {name: data[name].values for name in (*BASE, "byzantine_fraction")}
    ways["early_end"] = np.char.lower(data["early_end"].values.astype(str)) == "true"
    lines = {}  # by how polls end and the share of dead peers; those that end early first
    for early, dead in zip(ways["early_end"], ways["byzantine_fraction"], strict=True):
        lines[bool(early), float(dead)] = {}
    order = sorted(lines, key=lambda line: (not line[0], line[1]))
    deads = sorted({dead for _, dead in order})
    for early, dead in order:
        at = deads.index(dead)
        lines[early, dead] = {
            "color": plot.PALETTE[0 if early else 1],
            "linestyle": plot.DASHES[at % len(plot.DASHES)],
            "marker": plot.MARKERS[at % len(plot.MARKERS)],
        }
    figure, axes = plot.panels(
        len(starts), len(COLUMNS), plot.PAGE, 0.9 + 1.9 * len(starts), sharey="row"
    )
    for row, start in enumerate(starts):
        for column, (name, label) in enumerate(COLUMNS.items()):
            panel = axes[row, column]
            for early, dead in order:
                here = (ways["early_end"] == early) & (ways["byzantine_fraction"] == dead)
                for other, value in BASE.items():
                    here &= (other == name) | (ways[other] == value)
                if here.sum() > 1:
                    _line(
                        panel,
                        table.sel(initial_accept=start).isel(ways=here),
                        name,
                        lines[early, dead],
                    )
            _axes(panel, np.unique(ways[name]))
            panel.set_xlabel(label)
            panel.tick_params(labelleft=True)
        kind = "undisputed" if start in (0, 1) else "contested"
        axes[row, 0].set_ylabel(f"{kind} start\n95 % of nodes decided, s")
        axes[row, 0].set_yscale("log")
        low, high = axes[row, 0].get_ylim()
        ticks = [each for each in (0.5, 1, 2, 5, 10, 20, 50) if low <= each <= high]
        for panel in axes[row]:
            panel.set_yticks(ticks, [f"{each:g}" for each in ticks])
            panel.minorticks_off()
    entries = [
        Line2D([], [], label=f"{_ends(early)}, {100 * dead:g} % dead", **lines[early, dead])
        for early, dead in order
    ]
    plot.legend(figure, [*entries, plot.INTERVAL, plot.NO_END], 3)
    return figure


def _ends(early: bool) -> str:
    return "early end" if early else "all answers or time-out"


def _line(panel, table: xr.Dataset, name: str, look) -> None:
    ends = tuple(table[part].values / 1000 for part in ("value", "low", "high"))
    plot.band(panel, table[name].values, ends, look, str(look))


def _axes(panel, values) -> None:
    panel.set_xscale("log")
    panel.set_xticks(values, [f"{value:g}" for value in values])
    panel.minorticks_off()
