"""Polling: what open polls, early ends, k and time-outs do to the time by which nodes decide."""

from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.lines import Line2D

from vecsim.results import plot

DIMS = ("ways", "initial_accept")
OUTCOME = "node_p95_ms"  # of the nodes of a trial; what is drawn is the median over trials
# What varies in a column of panels, with its label; and what it is in the other columns.
COLUMNS = {
    "concurrent": ("open polls of a node", 4),
    "k": ("peers asked in a poll, k", 20),
    "timeout_ms": ("time-out, ms", 2000),
}
TICKS = (0.5, 1, 2, 5, 10, 20, 50)  # s


def draw(data: xr.Dataset, folder: Path) -> list[Path]:
    """A column of panels for each of what varies, a row for each start."""
    paths = []
    with plot.style():
        for at, part in plot.each(data, DIMS):
            paths += plot.save_figure(panels(part), folder, "polling", at)
    return paths


def panels(data: xr.Dataset):
    """Times in seconds on logarithmic axes; a line for each way to end polls and share of dead
    peers."""
    early = np.char.lower(data["early_end"].values.astype(str)) == "true"
    dead, starts = data["byzantine_fraction"].values, data["initial_accept"].values
    looks = _looks(sorted(set(zip(early.tolist(), dead.tolist(), strict=True)), reverse=True))
    size = plot.PAGE, 0.9 + 1.9 * len(starts)
    figure, axes = plot.panels(len(starts), len(COLUMNS), *size, sharey="row")
    table = data.vecsim.quantile(OUTCOME, 0.5)
    for row, start in zip(axes, starts, strict=True):
        for panel, (name, (label, _)) in zip(row, COLUMNS.items(), strict=True):
            for (ends, share), look in looks.items():
                here = (early == ends) & (dead == share) & _others_at_base(data, name)
                if here.sum() > 1:
                    line = table.sel(initial_accept=start).isel(ways=here)
                    values = tuple(line[part].values / 1000 for part in ("value", "low", "high"))
                    plot.band(panel, line[name].values, values, look, f"{ends}, {share:g}")
            panel.set_xscale("log")
            values = np.unique(data[name].values)
            panel.set_xticks(values, [f"{value:,g}" for value in values])
            panel.set_xlabel(label)
            panel.tick_params(labelleft=True)
        kind = "undisputed" if start in (0, 1) else "contested"
        row[0].set_ylabel(f"{kind} start\n95 % of nodes decided, s")
        row[0].set_yscale("log")
        low, high = row[0].get_ylim()
        for panel in row:
            ticks = [each for each in TICKS if low <= each <= high]
            panel.set_yticks(ticks, [f"{each:g}" for each in ticks])
            panel.minorticks_off()
    entries = [Line2D([], [], label=_told(*line), **look) for line, look in looks.items()]
    plot.legend(figure, [*entries, plot.INTERVAL], 3)
    return figure


def _others_at_base(data: xr.Dataset, name: str) -> np.ndarray:
    """Which ways differ from the base in this parameter at most, bool [ways]."""
    others = {other: base for other, (_, base) in COLUMNS.items() if other != name}
    same = [data[other].values == base for other, base in others.items()]
    return np.logical_and.reduce(same)


def _looks(lines: list[tuple[bool, float]]) -> dict[tuple[bool, float], dict]:
    """Colours tell how polls end; dashes and markers, how many peers are dead."""
    shares = sorted({share for _, share in lines})
    return {
        (ends, share): {
            "color": plot.PALETTE[0 if ends else 1],
            "linestyle": plot.DASHES[shares.index(share) % len(plot.DASHES)],
            "marker": plot.MARKERS[shares.index(share) % len(plot.MARKERS)],
        }
        for ends, share in sorted(lines, key=lambda line: (not line[0], line[1]))
    }


def _told(ends: bool, share: float) -> str:
    how = "early end" if ends else "waits for all"
    return f"{how}, {100 * share:g} % dead"
