"""eCash: how often peers that do not vote yes keep it from final, and the votes that it takes."""

import dataclasses
import json
from pathlib import Path

import xarray as xr
from matplotlib.lines import Line2D

from vecsim.engines.exact.votes import law_of_votes
from vecsim.errors import name_of
from vecsim.protocols.ecash import Ecash
from vecsim.results import plot

DIMS = ("adversary", "byzantine_fraction")
# What a vote is when a peer does not vote yes: (neutral, none) as 1 or 0, else it is a no.
KINDS = {"always_reject": (0, 0), "neutral": (1, 0), "silent": (0, 1)}
TICKS = (150, 200, 300, 500, 1000, 2000, 4000)  # polls, on a logarithmic axis
NAMES = {"always_reject": "vote no", "neutral": "answer neutral", "silent": "do not answer"}


def draw(data: xr.Dataset, folder: Path) -> list[Path]:
    paths = []
    with plot.style():
        for at, part in plot.each(data, DIMS):
            paths += plot.save_figure(_figure(part), folder, "ecash", at)
    return paths


def _figure(data: xr.Dataset):
    figure, (axes,) = plot.panels(1, 2, plot.PAGE, 2.9)
    kinds, fractions = data["adversary"].values, data["byzantine_fraction"].values
    looks = plot.looks(kinds)
    kept = data.vecsim.rate("majority_kept")
    honest = (data["decided_0"] + data["decided_1"] + data["undecided"]).where(data["polls"] >= 0)
    votes = data.assign(polls=(data["polls"] / honest).assign_attrs(data["polls"].attrs))
    mean, rule = votes.vecsim.mean("polls"), _rule(data)
    for number, kind in enumerate(kinds):
        every = plot.stagger(number, len(kinds), len(fractions))
        for panel, table in zip(axes, (kept, mean), strict=True):
            line = table.sel(adversary=kind)
            ends = tuple(line[name].values for name in ("value", "low", "high"))
            none = (line["events"] == 0) & (line["trials"] > 0) if "events" in line else False
            label = plot.words(kind)
            plot.band(panel, fractions, ends, looks[kind], label, no_event=none, every=every)
        if kind in KINDS and rule:
            nodes = plot.setting(data, "n")  # a node does not ask itself
            asked = [share * nodes / (nodes - 1) for share in fractions]
            exact = [_independent(rule, kind, share) for share in asked]
            curve = {"color": looks[kind]["color"], "linewidth": 0.9, "linestyle": (0, (1, 1.5))}
            axes[1].plot(fractions, exact, label=f"{kind}: independent", **curve)
    axes[0].set_ylim(-0.08, 1.04)
    axes[0].set_ylabel("all honest nodes finalise yes, %")
    plot.percent(axes[0].yaxis)
    axes[1].set_yscale("log")
    axes[1].set_yticks(TICKS, [f"{tick:,}" for tick in TICKS])
    axes[1].minorticks_off()
    axes[1].set_ylabel("polls of an honest node, mean")
    for panel in axes:
        panel.set_xlabel("Byzantine, % of nodes")
        plot.percent(panel.xaxis)
    names = [Line2D([], [], label=NAMES.get(k, plot.words(k)), **look) for k, look in looks.items()]
    law = Line2D([], [], color=plot.GREY, linestyle=(0, (1, 1.5)), label="votes independent, exact")
    plot.legend(figure, [*names, *[law] * bool(rule), plot.INTERVAL, plot.NO_EVENT], 3)
    return figure


def _rule(data: xr.Dataset) -> Ecash | None:
    """The rule of the trials; None where the law of votes is of other ones: of another protocol, of
    weighted stake, or with lost answers."""
    config = json.loads(data.attrs["config"])
    lossy = config.get("network", {}).get("loss", 0) > 0
    if config["protocol"].get("_target_") != name_of(Ecash) or "stake" in config or lossy:
        return None
    fields = [field.name for field in dataclasses.fields(Ecash)]
    return Ecash(**{name: plot.setting(data, name) for name in fields})


def _independent(rule: Ecash, kind: str, share: float) -> float:
    """Mean polls of one node while all honest nodes vote yes. share: of its peers."""
    neutral, none = KINDS[kind]
    votes = law_of_votes(rule, 1 - share * (1 - none), share * neutral, colour=1).mean
    return votes / (1 - share * none)
