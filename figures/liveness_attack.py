"""Liveness attack: which share of balancing nodes keeps honest nodes from deciding."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.lines import Line2D

from vecsim.results import plot

DIMS = ("adversary", "n", "byzantine_fraction")
LEVEL = 0.5


class Crossing(NamedTuple):
    """The fraction at which a rate crosses a level; infinite where it does not."""

    value: float
    low: float
    high: float


def draw(data: xr.Dataset, folder: Path) -> list[Path]:
    paths = []
    with plot.style():
        for at, part in plot.each(data, DIMS):
            table = part.vecsim.rate("stalled")
            paths += plot.save_figure(
                stalled(table, int(part["rounds"].max())), folder, "liveness_attack", at
            )
            threshold = thresholds(table)
            if threshold is not None:
                paths += plot.save_figure(threshold, folder, "liveness_attack_threshold", at)
    return paths


def stalled(table: xr.Dataset, limit: int):
    """The share of stalled trials against the Byzantine fraction. limit: rounds run at most."""
    adversaries, sizes = table["adversary"].values, table["n"].values
    columns = len(adversaries)
    width = plot.PAGE if columns > 1 else plot.COLUMN
    figure, axes = plot.panels(1, columns, width, 2.9, sharex=True, sharey=True)
    looks = plot.looks(sizes)
    fractions = table["byzantine_fraction"].values
    room = 0.03 * (float(np.ptp(fractions)) or 0.1)
    for panel, adversary in zip(axes[0], adversaries, strict=True):
        for number, n in enumerate(sizes):
            line = table.sel(adversary=adversary, n=n)
            plot.band(
                panel,
                fractions,
                (line["value"].values, line["low"].values, line["high"].values),
                looks[n],
                str(n),
                no_event=(line["events"] == 0) & (line["trials"] > 0),
                every=plot.stagger(number, len(sizes), len(fractions)),
            )
        panel.set_xlim(fractions.min() - room, fractions.max() + room)
        panel.set_ylim(-0.08, 1.04)
        plot.percent(panel.xaxis)
        plot.percent(panel.yaxis)
        panel.axhline(LEVEL, color=plot.GREY, linewidth=0.6, zorder=1)
        panel.set_title(plot.words(adversary), pad=13)
        panel.set_xlabel("Byzantine, % of nodes")
        if adversary in plot.PUBLISHED:
            share = plot.PUBLISHED[adversary]
            plot.marks(panel, {share: f"published: {100 * share:g} % at n = {plot.PUBLISHED_N:,}"})
    axes[0, 0].set_ylabel(f"undecided after {limit:,} rounds, %")
    entries = [Line2D([], [], label=f"n = {plot.words(n)}", **look) for n, look in looks.items()]
    plot.legend(figure, [*entries, plot.INTERVAL, plot.NO_EVENT], 4 if columns > 1 else 2)
    return figure


def thresholds(table: xr.Dataset):
    """The fraction at which half of the trials stall against n; None where that is never seen."""
    adversaries = table["adversary"].values
    sizes = table["n"].values.astype(float)
    found = {adversary: _crossings(table.sel(adversary=adversary)) for adversary in adversaries}
    if not any(np.isfinite(values).all(-1).any() for values in found.values()):
        return None
    figure, axes = plot.panels(1, 1, plot.COLUMN, 3.7)
    panel = axes[0, 0]
    panel.set_xscale("log")
    panel.set_yscale("log")
    looks = plot.looks(adversaries, plot.PUBLISHED)
    entries = []
    for adversary, values in found.items():
        look = looks[adversary]
        law = plot.power_law(panel, sizes, tuple(values.T), look, adversary)
        label = f"{plot.words(adversary)}{': ' if law else ''}{law}"
        entries.append(Line2D([], [], label=label, **look))
        plot.published(panel, adversary, look)
    plot.size_ticks(panel, sizes)
    panel.set_xlabel("nodes")
    panel.set_ylabel("Byzantine % at which half stall\n(interpolated; bars: band crossings)")
    entries += [plot.STAR, plot.ROOT]
    plot.legend(figure, entries, 1)
    return figure


def crossing(x, rate, low, high, level: float = LEVEL) -> Crossing:
    """Where a rate that grows with x crosses `level`, by linear interpolation.

    The interval goes from where the upper ends of the rates' intervals first cross to where the
    lower ends last do, so it is wider than one from a fitted curve. A rate that crosses several
    times gives the middle between the first and the last.
    """
    order = np.argsort(x)
    x, rate, low, high = (np.asarray(part, float)[order] for part in (x, rate, low, high))
    value = (_crossed(x, rate, level, 0) + _crossed(x, rate, level, -1)) / 2
    return Crossing(value, _crossed(x, high, level, 0), _crossed(x, low, level, -1))


def _crossed(x, y, level: float, which: int) -> float:
    """The first (0) or last (-1) x at which y rises through the level."""
    rises = np.flatnonzero((y[:-1] < level) & (y[1:] >= level))
    if not rises.size or y[-1] < level:
        return np.inf
    i = rises[which]
    return float(x[i] + (level - y[i]) / (y[i + 1] - y[i]) * (x[i + 1] - x[i]))


def _crossings(table: xr.Dataset) -> np.ndarray:
    """Crossings of one adversary, over (n, [value, low, high])."""
    x = table["byzantine_fraction"].values
    rows = (table.sel(n=n) for n in table["n"].values)
    return np.array([crossing(x, row["value"], row["low"], row["high"]) for row in rows])
