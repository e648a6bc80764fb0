"""Thresholds: at which Byzantine fraction a rate crosses its level, against the number of nodes."""

from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.lines import Line2D

from vecsim.results import plot

DIMS = ("protocol", "adversary", "n")
BARS = "95 % interval (short ones lie within the marks)"
VERB = {"stalled": "stall", "disagreement": "disagree"}


def draw(data: xr.Dataset, folder: Path) -> list[Path]:
    with plot.style():
        paths = []
        for at, part in plot.each(data, DIMS):
            figure = thresholds(part.vecsim.threshold())
            paths += plot.save_figure(figure, folder, "threshold", at)
        return paths


def thresholds(table: xr.Dataset):
    """A panel for each protocol; what has no crossing in the range searched is a bound."""
    protocols, adversaries = table["protocol"].values, table["adversary"].values
    sizes = table["n"].values.astype(float)
    columns = len(protocols)
    width = plot.PAGE if columns > 1 else plot.COLUMN
    height = 2.7 + 0.15 * len(adversaries)
    figure, axes = plot.panels(1, columns, width, height, sharex=True, sharey=True)
    looks = plot.looks(adversaries, plot.PUBLISHED)
    stalls, starred, rooted = table.attrs["outcome"] == "stalled", False, False
    half = table.attrs["crossed"] == 0.5
    for panel, protocol in zip(axes[0], protocols, strict=True):
        panel.set_xscale("log")
        panel.set_yscale("log")
        entries = []
        for adversary in adversaries:
            row, look = table.sel(protocol=protocol, adversary=adversary), looks[adversary]
            found = tuple(row[name].values for name in ("value", "low", "high"))
            balances = stalls and adversary in plot.PUBLISHED
            law = plot.power_law(panel, sizes, found, look, adversary, root=balances)
            label = f"{plot.words(adversary)}{': ' if law else ''}{law}"
            entries.append(Line2D([], [], label=label, **look))
            _bounds(panel, sizes, found, look, adversary)
            rooted |= balances and bool(law)
            if protocol == "snowball" and balances and half:
                plot.published(panel, adversary, look)
                starred = True
        panel.set_title(plot.words(protocol))
        panel.set_xlabel("nodes")
        panel.legend(handles=entries, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    crossed = f"{100 * table.attrs['crossed']:g} %"
    verb = VERB[table.attrs["outcome"]]
    axes[0, 0].set_ylabel(f"Byzantine % at which\n{crossed} {verb}")
    for panel in axes[0]:
        plot.size_ticks(panel, sizes)
    bars = Line2D([], [], color=plot.GREY, marker="|", markersize=8, linestyle="none", label=BARS)
    entries = [bars, *([plot.ROOT] if rooted else []), *([plot.STAR] if starred else [])]
    plot.legend(figure, entries, 3 if columns > 1 else 1)
    return figure


def _bounds(panel, sizes: np.ndarray, found: tuple[np.ndarray, ...], look, adversary: str) -> None:
    """Arrows from the bound that is known, where the threshold may be out of the range."""
    _, low, high = found
    arrow = {"markersize": 11, "markerfacecolor": "none", "markeredgewidth": 0.8}
    ways = (("above", low, np.isinf(high), plot.LEAST), ("below", high, np.isinf(low), plot.BOUND))
    for name, bound, beyond, marker in ways:
        there = beyond & np.isfinite(bound) & (bound > 0)
        line = {"color": look["color"], "linestyle": "none", "label": f"{adversary}: {name}"}
        panel.plot(sizes[there], bound[there], marker=marker, **line, **arrow)
