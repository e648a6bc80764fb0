"""Conditions: what several pairs of alpha and beta buy in latency, and how safe they are."""

import json
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.lines import Line2D
from scipy import stats

from vecsim.results import plot

DIMS = ("conditions", "attack")
ONE = [[15, 20]]  # what runs on Avalanche: the others are measured by it
TIMES = {"median_decision": "half have decided", "last_decision": "all have decided"}
SHARES = np.linspace(0.1, 0.9, 81)


def draw(data: xr.Dataset, folder: Path) -> list[Path]:
    with plot.style():
        paths = []
        for at, part in plot.each(data, DIMS):
            paths += plot.save_figure(panels(part), folder, "conditions", at)
        return paths


def pairs_of(label: str) -> list[list[int]]:
    """The pairs of alpha and beta that a label of the dimension stands for."""
    return json.loads(str(label))


def run_probability(pairs: list[list[int]], share, k: int = 20):
    """P(a full run of one of these pairs) at most: the sum of P(Bin(k, share) >= alpha)**beta.

    share: of all answers for a colour, 0 to 1, any shape.
    """
    share = np.asarray(share, float)
    return sum(stats.binom.sf(alpha - 1, k, share) ** beta for alpha, beta in pairs)


def panels(data: xr.Dataset):
    """Rounds against the share that is unreachable, a column for each start; beside them how often
    honest nodes disagree under attack, and how likely a full run is."""
    labels = [str(label) for label in data["conditions"].values]
    looks = plot.looks(labels)
    attack = data["adversary"].values.astype(str)
    silent = data.isel(attack=attack == "silent")
    starts = list(dict.fromkeys(silent["initial_accept"].values.tolist()))
    split = data.isel(attack=attack == "safety_split")
    figure, axes = plot.panels(2, len(starts) + 1, plot.PAGE, 4.9)
    for column, start in enumerate(starts):
        part = silent.isel(attack=silent["initial_accept"].values == start)
        for row, (name, title) in enumerate(TIMES.items()):
            panel = axes[row, column]
            _lines(panel, part, part.vecsim.quantile(name, 0.5), looks)
            panel.set_ylim(bottom=0)
            panel.set_xlabel("unreachable, % of stake")
            panel.set_ylabel(f"rounds until {title}\n(median)" if column == 0 else "")
        kind = "undisputed" if start in (0, 1) else "contested"
        axes[0, column].set_title(f"{kind} start")
    if split.sizes["attack"]:
        rate = split.vecsim.rate("disagreement")
        _lines(axes[0, -1], split, rate, looks, (rate["events"] == 0) & (rate["trials"] > 0))
    axes[0, -1].set_title("safety split, contested")
    axes[0, -1].set_xlabel("Byzantine, % of stake")
    axes[0, -1].set_ylabel("disagreement, % of trials")
    plot.percent(axes[0, -1].yaxis)
    _runs(axes[1, -1], labels, looks)
    entries = [Line2D([], [], label=_told(label), **look) for label, look in looks.items()]
    plot.legend(figure, [*entries, plot.INTERVAL, plot.NO_EVENT], 2)
    return figure


def _lines(panel, part: xr.Dataset, table: xr.Dataset, looks, none=None) -> None:
    x = part["byzantine_fraction"].values
    for number, (label, look) in enumerate(looks.items()):
        line = table.sel(conditions=label)
        ends = tuple(line[end].values for end in ("value", "low", "high"))
        no_event = False if none is None else none.sel(conditions=label).values
        every = plot.stagger(number, len(looks), len(x))
        plot.band(panel, x, ends, look, label, no_event, every)
    plot.percent(panel.xaxis)


def _runs(panel, labels: list[str], looks) -> None:
    """How many times as likely a full run is as with the one pair, against the share of answers."""
    for label in labels:
        ratio = run_probability(pairs_of(label), SHARES) / run_probability(ONE, SHARES)
        look = {key: looks[label][key] for key in ("color", "linestyle")}
        panel.plot(SHARES, ratio, label=label, **look)
    panel.set_yscale("log")
    panel.set_ylim(0.3, 1e4)
    panel.minorticks_off()
    plot.percent(panel.xaxis)
    panel.set_title("calculated")
    panel.set_xlabel("answers for a colour, %")
    panel.set_ylabel("P(full run), relative to (15, 20)")


def _told(label: str) -> str:
    return " ".join(f"({alpha}, {beta})" for alpha, beta in pairs_of(label))
