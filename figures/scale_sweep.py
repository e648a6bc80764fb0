"""Scale sweep: how the time to decision grows with the number of nodes."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from vecsim.results import estimate, plot

DIMS = ("protocol", "n")
THEORY = {"color": "black", "linestyle": (0, (1, 1.5)), "linewidth": 0.9, "zorder": 4}


def draw(data: xr.Dataset, folder: Path) -> list[Path]:
    """The figure, for each combination of parameters that have no place in it.

    Theory lines come from the attribute `theory`: JSON, a list of {protocol, n: [...],
    last_decision: [...]} and the labels of other dimensions; null where there is none.
    """
    paths = []
    theory = json.loads(data.attrs.get("theory", "[]"))
    with plot.style():
        for at, part in plot.each(data, DIMS):
            mine = [curve for curve in theory if all(curve.get(name) == at[name] for name in at)]
            paths += plot.save_figure(growth(part, mine), folder, "scale_sweep", at)
    return paths


def growth(data: xr.Dataset, theory: Sequence[dict] = ()):
    """Mean rounds until all have decided, a + b log2 n fitted to them, and theory lines.

    Where trials were cut off the mean is only known to be larger: an open marker, left out of
    the fit.
    """
    table = data.vecsim.mean("last_decision")
    figure, axes = plot.panels(1, 1, plot.COLUMN, 3.6)
    panel = axes[0, 0]
    protocols = table["protocol"].values
    looks = plot.looks(protocols, ("snowflake", "snowball"))
    n = table["n"].values.astype(float)
    entries = []
    panel.set_xscale("log")
    for protocol in protocols:
        line, look = table.sel(protocol=protocol), looks[protocol]
        whole = (line["censored"] == 0).values & np.isfinite(line["value"]).values
        means = line["value"].where(whole).values
        bars = (means, line["low"].values, line["high"].values)
        plot.band(panel, n, bars, look | {"linestyle": "none"}, str(protocol))
        cut = line["value"].where(~whole & (line["censored"] > 0).values).values
        open_marker = {"marker": look["marker"], "fillstyle": "none", "linestyle": "none"}
        panel.plot(n, cut, color=look["color"], label=f"{protocol}: cut off", **open_marker)
        fit = _fit(n[whole], means[whole], line["error"].values[whole])
        label = plot.words(protocol)
        if fit is not None:
            ends = np.array([n[whole].min(), n[whole].max()])
            height = fit.intercept + fit.slope * np.log2(ends)
            panel.plot(
                ends,
                height,
                color=look["color"],
                linestyle=look["linestyle"],
                label=f"{protocol}: fit",
            )
            low, high = fit.slope_interval
            label += (
                rf": ${fit.intercept:.1f} + {fit.slope:.2f}\,\log_2 n$"
                f"  (slope {low:.2f} to {high:.2f})"
            )
        entries.append(Line2D([], [], label=label, **look))
    for curve in theory:
        protocol = curve.get("protocol", protocols[0])
        x, y = (np.asarray(curve[part], float) for part in ("n", "last_decision"))
        panel.plot(x, y, label=f"{protocol}: theory", **THEORY)
    if theory:
        entries.append(Line2D([], [], label="theory for many nodes", **THEORY))
    panel.yaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel("nodes")
    panel.set_ylabel("rounds until all have decided (mean)")
    plot.legend(figure, [*entries, plot.INTERVAL], 1)
    return figure


def _fit(n, means, errors) -> estimate.Line | None:
    """The fitted line, where there are two different n and the means vary at all."""
    usable = errors > 0
    if np.unique(n[usable]).size < 2:
        return None
    return estimate.fit_log(n[usable], means[usable], errors[usable])
