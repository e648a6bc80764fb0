"""Safety curve: the probability of a safety violation against the Byzantine fraction."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.lines import Line2D

from vecsim.results import plot

DIMS = ("protocol", "byzantine_fraction")
LOWEST = 1e-26  # what is less likely lies at the edge
EXACT: dict[str, Any] = {
    "color": "black",
    "marker": "D",
    "markerfacecolor": "none",
    "markersize": 9,
    "linestyle": "none",
}
AWAY: dict[str, Any] = {"marker": "v", "markersize": 3.5, "linestyle": "none"}
STEP = 0.004  # of the fraction, between marks side by side
ROOM = 30  # the axis goes so far below the lowest estimate


def draw(data: xr.Dataset, folder: Path) -> list[Path]:
    """A figure for each combination of parameters that have no place in it.

    Exact values come from the attribute `theory`: JSON, a list of {the dimensions but the last,
    byzantine_fraction: [...], probability: [...]}, null where there is none.
    """
    theory, paths = json.loads(data.attrs.get("theory", "[]")), []
    with plot.style():
        for at, part in plot.each(data, DIMS):
            lines = [line for line in theory if all(line[name] == at[name] for name in at)]
            figure = violations(part.vecsim.probability(), lines)
            paths += plot.save_figure(figure, folder, "safety_curve", at)
    return paths


def violations(table: xr.Dataset, theory: list[dict]):
    """A line for each protocol; hollow marks are orders of magnitude, crosses plain trials."""
    protocols, fractions = table["protocol"].values, table["byzantine_fraction"].values
    figure, axes = plot.panels(1, 1, plot.PAGE, 4)
    panel, looks = axes[0, 0], plot.looks(protocols)
    panel.set_yscale("log")
    for protocol in protocols:
        row, look = table.sel(protocol=protocol), looks[protocol]
        value = row["value"].values
        seen = np.isfinite(value) & (value > 0)
        known, rough = seen & ~row["rough"].values, seen & row["rough"].values
        ends = tuple(np.maximum(row[name].values, LOWEST) for name in ("low", "high"))
        bars = np.abs(np.stack(ends) - value)
        joined: dict[str, Any] = {"color": look["color"], "linestyle": look["linestyle"]}
        panel.plot(fractions[seen], value[seen], label=protocol, **joined)
        line: dict[str, Any] = {"color": look["color"], "marker": look["marker"]}
        line |= {"linestyle": "none"}
        whiskers = line | {"elinewidth": 1, "capsize": 2, "label": f"{protocol}: known"}
        panel.errorbar(fractions[known], value[known], bars[:, known], **whiskers)
        hollow = line | {"markerfacecolor": "white"}
        faint = hollow | {"elinewidth": 0.6, "capsize": 2, "label": f"{protocol}: rough"}
        panel.errorbar(fractions[rough], value[rough], bars[:, rough], **faint)
        plain = row["plain"].values
        there = plain > 0
        reach = np.stack([plain - row["plain_low"].values, row["plain_high"].values - plain])
        crosses = line | {"marker": "x", "markersize": 6, "elinewidth": 0.6}
        crosses["label"] = f"{protocol}: plain"
        panel.errorbar(fractions[there], plain[there], reach[:, there], **crosses)
    drawn = [line for line in theory if line.get("protocol", protocols[0]) in protocols]
    for line in drawn:
        exact = np.asarray(line["probability"], float)
        name = line.get("protocol", protocols[0])
        panel.plot(line["byzantine_fraction"], exact, label=f"{name}: exact", **EXACT)
    found = table["value"].where(table["value"] > LOWEST).min()
    panel.set_ylim(max(float(found) / ROOM, LOWEST) if np.isfinite(found) else LOWEST, 3)
    lowest = panel.get_ylim()[0]
    for number, protocol in enumerate(protocols):  # beside each other
        row = table.sel(protocol=protocol)
        away = np.isnan(row["value"].values) & (row["trials"].values > 0)
        where = fractions[away] + STEP * (number - (len(protocols) - 1) / 2)
        look = {"color": looks[protocol]["color"], "label": f"{protocol}: away"}
        panel.plot(where, np.full(away.sum(), 2 * lowest), **AWAY | look)
    room = 0.03 * (float(np.ptp(fractions)) or 0.1)
    panel.set_xlim(fractions.min() - room, fractions.max() + room)
    plot.percent(panel.xaxis)
    plot.marks(panel, {0.33: "33 %"})
    panel.set_xlabel("Byzantine, % of nodes")
    panel.set_ylabel(f"probability of {table.attrs['outcome']}")
    entries = [Line2D([], [], label=plot.words(name), **look) for name, look in looks.items()]
    grey: dict[str, Any] = {"color": plot.GREY, "linestyle": "none"}
    unreached: dict[str, Any] = AWAY | grey
    entries += [
        Line2D([], [], marker="o", markerfacecolor="white", label="order of magnitude", **grey),
        Line2D([], [], label="not reached by splitting", **unreached),
        Line2D([], [], marker="x", markersize=6, label="plain Monte Carlo", **grey),
        Line2D([], [], marker="|", markersize=8, label="95 % interval", **grey),
    ]
    if drawn:
        entries.append(Line2D([], [], label="exact", **EXACT))
    plot.legend(figure, entries, 3)
    return figure
