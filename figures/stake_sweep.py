"""Stake sweep: thresholds against how many equal nodes a stake is worth."""

from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.lines import Line2D

from vecsim.results import plot

DIMS = ("attack", "holders")
LAWS = {"equal": "equal", "zipf": "Zipf, 1,000 nodes"}
ENDS = {"stalled": "stall", "disagreement": "disagree"}
X_TICKS = (3, 10, 30, 100, 300, 1000, 3000, 10_000)
Y_TICKS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)


def draw(data: xr.Dataset, folder: Path) -> list[Path]:
    with plot.style():
        paths = []
        for at, part in plot.each(data, DIMS):
            paths += plot.save_figure(thresholds(part), folder, "stake_sweep", at)
        return paths


def thresholds(data: xr.Dataset):
    """A panel for each attack: thresholds against n_eff, a marker for each law or network."""
    table = data.vecsim.threshold()
    kinds = [str(kind) for kind in table["stake"].values]
    looks = plot.looks(kinds, LAWS)
    attacks = table["attack"].values
    wide = len(attacks) > 1
    columns = min(2, len(attacks))
    rows = -(-len(attacks) // columns)
    width = plot.PAGE if wide else plot.COLUMN
    figure, axes = plot.panels(rows, columns, width, 0.9 + 2.3 * rows, sharex=True)
    stalling = table.isel(attack=[str(aim) == "stalled" for aim in table["aim"].values])["value"]
    stalling, rooted = stalling.values[np.isfinite(stalling.values)], False
    for panel, attack in zip(axes.flat, attacks, strict=False):
        row = table.sel(attack=attack)
        panel.set_xscale("log")
        panel.set_title(_title(row))
        for kind in dict.fromkeys(kinds):
            _points(panel, row.isel(holders=[name == kind for name in kinds]), looks[kind], kind)
        panel.set_ylabel(_rate(row))
        plot.percent(panel.yaxis)
        if str(row["aim"].item()) == "stalled" and stalling.size:  # all on the same axis
            panel.set_yscale("log")
            panel.set_ylim(0.85 * stalling.min(), 1.25 * stalling.max())
            _ticks(panel)
            if str(row["adversary"].item()) in plot.PUBLISHED:
                rooted |= _root(panel, row.isel(holders=[name == "equal" for name in kinds]))
        sizes = table["effective_nodes"].values
        ticks = [tick for tick in X_TICKS if 0.7 * sizes.min() <= tick <= 1.4 * sizes.max()]
        panel.set_xticks(ticks, [plot.words(tick) for tick in ticks])
        panel.minorticks_off()
    for panel in axes[-1]:
        panel.set_xlabel(r"$n_{\mathrm{eff}}$ = 1 / sum of squared shares, nodes")
    for panel in axes.flat[len(attacks) :]:
        panel.set_visible(False)
    entries = [
        Line2D([], [], label=_name(kind), **_mark(kind, look)) for kind, look in looks.items()
    ]
    entries.append(Line2D([], [], label="95 % interval", **_BAR))
    plot.legend(figure, [*entries, *[plot.ROOT] * rooted], 4 if wide else 2)
    return figure


_BAR = {"color": plot.GREY, "marker": "|", "markersize": 8, "linestyle": "none"}


def _title(row: xr.Dataset) -> str:
    start = row.coords.get("initial_accept", xr.DataArray(0.5)).item()
    return plot.words(str(row["adversary"].item())) + (", undisputed" if start in (0, 1) else "")


def _ticks(panel) -> None:
    low, high = panel.get_ylim()
    shares = [share for share in Y_TICKS if low <= share <= high]
    panel.set_yticks(shares, [f"{100 * share:g}" for share in shares])


def _rate(row: xr.Dataset) -> str:
    ends = ENDS[str(row["aim"].item())]
    return f"Byzantine % of stake at\nwhich {100 * float(row['rate']):g} % {ends}"


def _name(kind: str) -> str:
    return LAWS.get(kind, plot.words(kind).capitalize())


def _mark(kind: str, look: plot.Look) -> dict:
    """The look of a law's points, joined by a line, or of a network's, which is larger."""
    alone = {} if kind in LAWS else {"linestyle": "none", "markersize": 5.5}
    return {**look, **alone}


def _points(panel, row: xr.Dataset, look: plot.Look, kind: str) -> None:
    """Thresholds with bars for their intervals, in the order of n_eff; an end that lies out of the
    range searched is that of the range."""
    row = row.sortby("effective_nodes")
    x, value = row["effective_nodes"].values, row["value"].values
    low = np.clip(row["low"].values, row.attrs["searched_low"], None)
    high = np.clip(row["high"].values, None, row.attrs["searched_high"])
    there = np.isfinite(value)
    x, value, low, high = (part[there] for part in (x, value, low, high))
    bars = {"elinewidth": 1, "capsize": 1.5, "zorder": 3 if kind in LAWS else 4}
    ends = (value - low, high - value)
    panel.errorbar(x, value, ends, label=kind, **_mark(kind, look), **bars)


def _root(panel, equal: xr.Dataset) -> bool:
    """1/sqrt(n) through the threshold of the largest equal network, as far up as the panel goes;
    whether there is one."""
    equal = equal.sortby("n")
    if not equal.sizes["holders"] or not np.isfinite(equal["value"].values[-1]):
        return False
    n, value = float(equal["n"][-1]), float(equal["value"][-1])
    top = panel.get_ylim()[1]
    grid = np.geomspace(n * (value / top) ** 2, n, 50)
    law = {"color": plot.GREY, "linestyle": (0, (1, 1.5)), "zorder": 1}
    panel.plot(grid, value * np.sqrt(n / grid), label="square root", **law)
    return True
