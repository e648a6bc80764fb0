"""Coalitions: how often a number of nodes, and what they hold, stalls or splits the network."""

from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from vecsim.results import outcomes, plot
from vecsim.results.estimate import clopper_pearson

DIMS = ("adversary", "holders", "byzantine", "byzantine_fraction")
# By adversary the event that it is after, and how that is called; of others, the last.
AIMS = {"balance_informed": ("stalled", "stalls"), "safety_split": ("disagreement", "splits")}
OTHERS = ("stalled", "stalls")
TITLES = {"avalanche_2026": "by validator", "avalanche_owners_2026": "by owner"}
TICKS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500)
ROWS = {"admitted": "Byzantine nodes", "byzantine_stake": "Byzantine, % of stake"}


def draw(data: xr.Dataset, folder: Path) -> list[Path]:
    with plot.style():
        paths = []
        for at, part in plot.each(data, DIMS):
            paths += plot.save_figure(rates(part), folder, "coalitions", at)
        return paths


def rates(data: xr.Dataset):
    """A column for each network; above against the number of nodes, below against their stake."""
    networks = data["holders"].values
    columns = len(networks)
    width = plot.PAGE if columns > 1 else plot.COLUMN
    figure, axes = plot.panels(2, columns, width, 4.9, sharey=True, sharex="row")
    orders = [str(order) for order in data["byzantine"].values]
    names = [(str(a), order) for a in data["adversary"].values for order in orders]
    looks = plot.looks(names)
    for column, network in enumerate(networks):
        part = data.sel(holders=network)
        title = str(part["stake"].item()) if "stake" in part.coords else str(network)
        axes[0, column].set_title(TITLES.get(title, plot.words(title)))
        for number, (adversary, order) in enumerate(names):
            event, _ = AIMS.get(adversary, OTHERS)
            found = coalitions(part.sel(adversary=adversary, byzantine=order), event)
            value, low, high, none = found.pop("rate")
            for row, name in enumerate(ROWS):
                x = found[name]
                look, label = looks[adversary, order], f"{adversary}, {order}"
                few = len(x) <= 10  # as of the largest owners
                every = slice(None) if few else plot.stagger(number, 2, len(x))
                plot.band(axes[row, column], x, (value, low, high), look, label, none, every)
    for (row, _), panel in np.ndenumerate(axes):
        panel.set_ylim(-0.08, 1.04)
        plot.percent(panel.yaxis)
        panel.set_xlabel(list(ROWS.values())[row])
        if row:
            plot.percent(panel.xaxis)
        else:
            panel.set_xscale("log")
            low, high = panel.get_xlim()
            ticks = [tick for tick in TICKS if low <= tick <= high]
            panel.set_xticks(ticks, [str(tick) for tick in ticks])
            panel.xaxis.set_minor_formatter(NullFormatter())
            panel.minorticks_off()
    for panel in axes[:, 0]:
        panel.set_ylabel("trials that stall or split, %")
    entries = [
        Line2D([], [], label=f"{AIMS.get(a, OTHERS)[1]} ({plot.words(a)}), {_order(o)}", **look)
        for (a, o), look in looks.items()
    ]
    plot.legend(figure, [*entries, plot.INTERVAL, plot.NO_EVENT], 2 if columns > 1 else 1)
    return figure


def coalitions(line: xr.Dataset, event: str) -> dict:
    """Of one attack on one network by rising share: mean numbers of nodes, mean shares of stake,
    and rates (value, low, high, whether there was no event); coalitions that are the same nodes
    count as one, those without any as none."""
    line = line.transpose("byzantine_fraction", "trial")
    run = line["decided_1"].notnull().values
    happened = outcomes.event(line, event).values & run
    nodes, stake = line["admitted"].values, line["byzantine_stake"].values
    drawn = bool((np.ptp(nodes, axis=1) > 0).any())  # anew in each trial
    group = np.broadcast_to(np.arange(len(nodes))[:, None], nodes.shape) if drawn else nodes
    rows = []
    for each in np.unique(group[run]):
        mine = run & (group == each)
        events, trials = int(happened[mine].sum()), int(mine.sum())
        value, ends = events / trials, clopper_pearson(events, trials)
        rows.append((nodes[mine].mean(), stake[mine].mean(), value, *ends, events == 0))
    rows = np.array([row for row in sorted(rows) if row[0] > 0]).reshape(-1, 6)
    admitted, shares, value, low, high, none = rows.T
    return {"admitted": admitted, "byzantine_stake": shares, "rate": (value, low, high, none > 0)}


def _order(order: str) -> str:
    return {"random": "in random order"}.get(order, f"the {order} first")
