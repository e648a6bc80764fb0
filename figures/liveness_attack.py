"""Liveness attack: which share of balancing nodes keeps honest nodes from deciding."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from vecsim import estimate, plot

DIMS = ("adversary", "n", "byzantine_fraction")
# Kniep, Laval, Sliwinski and Wattenhofer 2024, arXiv 2409.02217, at n = 2,000.
PUBLISHED = {"balance_pooled": 0.052, "balance_informed": 0.028}
PUBLISHED_N = 2000
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
            paths += plot.save(
                stalled(table, int(part["rounds"].max())), folder, "liveness_attack", at
            )
            threshold = thresholds(table)
            if threshold is not None:
                paths += plot.save(threshold, folder, "liveness_attack_threshold", at)
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
                (line["rate"].values, line["low"].values, line["high"].values),
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
        if adversary in PUBLISHED:
            share = PUBLISHED[adversary]
            plot.marks(panel, {share: f"published: {100 * share:g} % at n = {PUBLISHED_N:,}"})
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
    looks = plot.looks(adversaries, PUBLISHED)
    entries = []
    for adversary, values in found.items():
        look = looks[adversary]
        seen = np.isfinite(values).all(-1)
        n, (value, low, high) = sizes[seen], values[seen].T
        bars = {"ecolor": look["color"], "elinewidth": 1, "capsize": 2}
        points = {"color": look["color"], "marker": look["marker"], "linestyle": "none"}
        panel.errorbar(n, value, (value - low, high - value), label=adversary, **points, **bars)
        label = plot.words(adversary)
        if np.unique(n).size > 1 and (low > 0).all():
            fit = estimate.fit_power(n, value, low, high)
            grid = np.geomspace(n.min(), n.max(), 50)
            line = {"color": look["color"], "linestyle": look["linestyle"]}
            panel.plot(grid, fit.factor * grid**fit.exponent, label=f"{adversary}: fit", **line)
            root = np.exp(np.mean(np.log(value * np.sqrt(n))))
            law = {"color": plot.GREY, "linestyle": (0, (1, 1.5)), "zorder": 1}
            panel.plot(grid, root / np.sqrt(grid), label=f"{adversary}: square root", **law)
            ends = rf"${fit.low:.2f}$ to ${fit.high:.2f}$"
            label += rf": $\propto n^{{{fit.exponent:.2f}}}$ ({ends})"
        entries.append(Line2D([], [], label=label, **look))
        if adversary in PUBLISHED:
            star = {"marker": "*", "markersize": 8, "markerfacecolor": "white", "zorder": 4}
            panel.plot(
                PUBLISHED_N,
                PUBLISHED[adversary],
                color=look["color"],
                linestyle="none",
                label=f"{adversary}: published",
                **star,
            )
    _ticks(panel, sizes)
    panel.set_xlabel("nodes")
    panel.set_ylabel("Byzantine % at which half stall\n(interpolated; bars: band crossings)")
    published = {"marker": "*", "markersize": 8, "markerfacecolor": "white", "color": plot.GREY}
    entries.append(Line2D([], [], linestyle="none", label="published", **published))
    entries.append(Line2D([], [], color=plot.GREY, linestyle=(0, (1, 1.5)), label=r"$1/\sqrt{n}$"))
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
    return np.array([crossing(x, row["rate"], row["low"], row["high"]) for row in rows])


def _ticks(panel, sizes) -> None:
    panel.set_xticks(np.unique(sizes), [plot.words(int(n)) for n in np.unique(sizes)])
    panel.xaxis.set_minor_formatter(NullFormatter())
    low, high = panel.get_ylim()
    shares = [s for s in (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5) if low <= s <= high]
    panel.set_yticks(shares, [f"{100 * share:g}" for share in shares])
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.minorticks_off()
