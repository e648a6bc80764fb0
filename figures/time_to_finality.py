"""Time to finality: when half, 95 % and 99 % of a trial's nodes have decided, against the share of
peers that are dead or vote against."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.lines import Line2D

from vecsim.results import plot

DIMS = ("networks", "latency", "adversary", "byzantine_fraction")
# Shares of the nodes of a trial; what is drawn of each is the median over trials.
SHARES = {"node_p50_ms": "half", "node_p95_ms": "95 %", "node_p99_ms": "99 %"}
NAMES = {
    "avalanche_mainnet": "Avalanche",
    "ecash": "eCash",
    "qr_avalanche": "QR-Avalanche",
    "frosty": "Frosty",
}
KINDS = {"silent": "dead peers", "always_reject": "voting against"}
TICKS = (0.3, 1, 3, 10, 30, 100)  # s


def draw(data: xr.Dataset, folder: Path) -> list[Path]:
    """A row of panels for each adversary, a column for each network."""
    paths = []
    with plot.style():
        for at, part in plot.each(data, DIMS):
            paths += plot.save_figure(panels(part), folder, "time_to_finality", at)
    return paths


def panels(data: xr.Dataset):
    """The three times in seconds, on a logarithmic axis; above its end what never came."""
    networks, kinds = data["networks"].values, data["adversary"].values
    delays = data["latency"].values
    protocols = data["protocol"].values if "protocol" in data.coords else networks
    end = json.loads(data.attrs["config"])["polling"]["max_ms"] / 1000
    tables = {name: data.vecsim.quantile(name, 0.5) for name in SHARES}
    seen = [table["value"].values for table in tables.values()]
    lowest = np.nanmin(np.where(np.isfinite(seen), seen, np.nan), initial=1000 * end) / 1000
    figure, axes = plot.panels(
        len(kinds), len(networks), plot.PAGE, 1.0 + 1.8 * len(kinds), sharex=True, sharey=True
    )
    for row, kind in enumerate(kinds):
        for column, (network, protocol) in enumerate(zip(networks, protocols, strict=True)):
            panel = axes[row, column]
            for at, delay in enumerate(delays):
                place = {"networks": network, "adversary": kind, "latency": delay}
                chosen = [table.sel(place) for table in tables.values()]
                _times(panel, chosen, str(delay), at, end)
            panel.set_yscale("log")
            panel.set_ylim(lowest / 1.4, 3.4 * end)
            panel.axhspan(end, 3.4 * end, color="0.93", linewidth=0, zorder=0)
            shown = [tick for tick in TICKS if tick <= end]
            panel.set_yticks([*shown, 1.8 * end], [*(f"{tick:g}" for tick in shown), "never"])
            panel.minorticks_off()
            plot.percent(panel.xaxis)
            if row == 0:
                panel.set_title(NAMES.get(str(protocol), plot.words(protocol)))
            told = KINDS.get(str(kind), plot.words(kind))
            panel.set_xlabel(f"{told}, %")
            if column == 0:
                panel.set_ylabel("time to finality, s")
    for panel in axes[:, 0]:
        panel.tick_params(labelleft=True)
    for panel in axes.flat:
        panel.tick_params(labelbottom=True)
    plot.legend(figure, _entries(delays), 4)
    return figure


def _look(share: int, delay: int) -> dict[str, Any]:
    """Colours tell shares of nodes, dashes and markers tell latencies."""
    looks: dict[str, Any] = {
        "color": plot.PALETTE[share],
        "linestyle": plot.DASHES[delay % len(plot.DASHES)],
    }
    return looks | {"marker": plot.MARKERS[delay % len(plot.MARKERS)]}


def _times(panel, tables: list[xr.Dataset], latency: str, delay: int, end: float) -> None:
    for share, (name, table) in enumerate(zip(SHARES, tables, strict=True)):
        x, look = table["byzantine_fraction"].values, _look(share, delay)
        ends = tuple(table[part].values / 1000 for part in ("value", "low", "high"))
        plot.band(panel, x, ends, look, f"{name}, {latency}")
        never = np.isposinf(ends[0])
        level = end * 1.3 * 1.45 ** (2 - share)
        marks = {"color": look["color"], "marker": look["marker"], "fillstyle": "none"}
        shift = 0.012 * (x.max() - x.min()) * (2 * delay - 1)
        above = np.full(never.sum(), level)
        panel.plot(
            x[never] + shift, above, linestyle="none", label=f"{name}, {latency}: never", **marks
        )


def _entries(delays) -> list[Any]:
    entries = [
        Line2D([], [], color=_look(share, 0)["color"], linewidth=2, label=f"{told} of the nodes")
        for share, told in enumerate(SHARES.values())
    ]
    for at, delay in enumerate(delays):
        look: dict[str, Any] = _look(0, at) | {"color": plot.GREY}
        entries.append(Line2D([], [], label=f"latency {plot.words(delay)}", **look))
    open_: dict[str, Any] = {
        "color": plot.GREY,
        "linestyle": "none",
        "marker": "o",
        "fillstyle": "none",
    }
    return [
        *entries,
        Line2D([], [], label="never, in the median trial", **open_),
        plot.INTERVAL,
        plot.NO_END,
    ]
