"""Byzantine sweep: how often all honest nodes finalise and agree, with the defence and without,
and how long it takes them."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from vecsim.results import plot

DIMS = ("protocol", "initial_accept", "adversary", "byzantine_fraction")
ATTACKS = ("random_voting", "always_reject", "always_accept", "coordinated_collusion", "sybil")
MARKS = {0.30: "30 %", 0.33: "33 %"}
TICKS = (20, 30, 50, 70, 100, 150, 200, 300, 500, 1000)
CROSS = {"marker": "x", "markersize": 6, "markeredgewidth": 1.2, "linestyle": "none", "zorder": 5}
CROSS |= {"color": "black"}
MINORITY = Line2D([], [], label="some on the minority's colour", **CROSS)
THEORY = {"color": "black", "linestyle": (0, (1, 1.5)), "linewidth": 0.9, "zorder": 4}


def draw(data: xr.Dataset, folder: Path, defended: xr.Dataset | None = None) -> list[Path]:
    """The figures, for each combination of parameters that have no place in them.

    defended: campaigns of the defended cluster; the first figure sets them beside QR-Avalanche
    without a defence, on undisputed vertices. Where `data` are the campaigns (defence=on alone),
    that figure is drawn, of them. Theory lines come from the attribute `theory`:
    JSON, a list of {protocol, adversary, initial_accept, byzantine_fraction: [...],
    finalised: [...]}, null where there is none.
    """
    paths = []
    with plot.style():
        if data.attrs["kind"] == "campaigns":
            for at, part in plot.each(data, DIMS[2:]):
                paths += plot.save_figure(
                    limits([_defended(part)], []), folder, "byzantine_sweep", at
                )
            return paths
        for at, part in plot.each(data, DIMS):
            theory = json.loads(data.attrs.get("theory", "[]"))
            plain = _undisputed(part)
            if defended is not None and plain is not None and not at:
                both = [undefended(plain), _defended(plot.complete(defended, DIMS[2:]))]
                paths += plot.save_figure(limits(both, theory), folder, "byzantine_sweep", at)
            paths += plot.save_figure(
                finalised(part, theory), folder, "byzantine_sweep_protocols", at
            )
            paths += plot.save_figure(rounds(part), folder, "byzantine_sweep_rounds", at)
    return paths


def _undisputed(data: xr.Dataset) -> xr.Dataset | None:
    """QR-Avalanche on undisputed vertices, if that is there."""
    where = (data["protocol"] == "qr_avalanche").values, (data["initial_accept"] == 1).values
    if not all(part.any() for part in where):
        return None
    return data.isel(protocol=where[0], initial_accept=where[1])


class Limit(NamedTuple):
    """A panel: a rate against the fraction, a line for each attack. lost: trials that end on the
    colour that fewer nodes started with."""

    table: xr.Dataset
    nodes: int | str
    title: str
    label: str
    lost: xr.DataArray | None = None


def undefended(data: xr.Dataset) -> Limit:
    title, label = "QR-Avalanche without its defence", "vertices finalised,\neither colour, %"
    rate, nodes = data.vecsim.rate("finalised"), plot.setting(data, "n")
    return Limit(rate, nodes, title, label, _lost(data))


def _lost(data: xr.Dataset) -> xr.DataArray:
    """Trials that end on the colour that fewer started with."""
    return data.vecsim.rate("majority_lost")["events"]


def _defended(data: xr.Dataset) -> Limit:
    nodes = plot.setting(data, "n" if "n" in data.coords else "nodes")
    title, label = "QR-Avalanche, defended cluster", "clusters that finalised\n99 % of vertices, %"
    return Limit(data.vecsim.rate("working"), nodes, title, label)


def limits(beside: list[Limit], theory: list[dict]):
    """The panels, theory in the first."""
    wide = len(beside) > 1
    size = {"width": plot.PAGE if wide else plot.COLUMN, "height": 3.0}
    figure, axes = plot.panels(1, len(beside), **size, sharex=True, sharey=True)
    looks = plot.looks(beside[0].table["adversary"].values, ATTACKS)
    crossed = False
    for panel, (table, nodes, title, label, lost) in zip(axes.flat, beside, strict=True):
        fractions = table["byzantine_fraction"].values
        panel.set_xlim(fractions.min() - 0.012, fractions.max() + 0.012)
        panel.set_ylim(-0.08, 1.04)
        plot.percent(panel.xaxis)
        plot.percent(panel.yaxis)
        plot.marks(panel, MARKS)
        panel.set_title(title, pad=13)
        panel.set_xlabel(f"Byzantine, % of {plot.words(nodes)} nodes")
        panel.set_ylabel(label)
        panel.yaxis.set_tick_params(labelleft=True)
        for number, attack in enumerate(table["adversary"].values):
            line = table.sel(adversary=attack).squeeze(drop=True)
            turned = None if lost is None else lost.sel(adversary=attack).squeeze()
            crossed |= _curve(panel, line, turned, looks, attack, number)
    drawn = [_theory(axes[:, :1], beside[0].table, curve) for curve in theory]
    entries = [*_entries(looks), plot.INTERVAL, plot.NO_EVENT]
    if any(drawn):
        entries.append(Line2D([], [], label="theory", **THEORY))
    plot.legend(figure, [*entries, *[MINORITY] * crossed], 4 if wide else 2)
    return figure


def _curve(panel, line: xr.Dataset, turned, looks, attack, number: int) -> bool:
    """Draw the rates of an attack, the one of this number.

    turned: trials that end on the colour of the minority, by fraction, or None. Where there are
    any, a cross stands on the line; returns whether there are.
    """
    x = line["byzantine_fraction"]
    plot.band(
        panel,
        x.values,
        (line["value"].values, line["low"].values, line["high"].values),
        looks[attack],
        str(attack),
        no_event=(line["events"] == 0) & (line["trials"] > 0),
        every=plot.stagger(number, len(looks), len(x)),
    )
    if turned is None or not (turned > 0).any():
        return False
    at = turned.values > 0
    panel.plot(x.values[at], line["value"].values[at], label=f"{attack}: minority", **CROSS)
    return True


def finalised(data: xr.Dataset, theory: list[dict]):
    table = data.vecsim.rate("finalised")
    figure, axes, looks = _panels(data, "finalise, either colour, %")
    lost, crossed = _lost(data), False
    for row, column, number, attack in _lines(table):
        line = _line(table, row, column, attack)
        turned = _line(lost, row, column, attack)
        crossed |= _curve(axes[row, column], line, turned, looks, attack, number)
    drawn = [_theory(axes, table, curve) for curve in theory]
    for panel in axes.flat:
        panel.set_ylim(-0.08, 1.04)
        plot.percent(panel.yaxis)
    entries = [*_entries(looks), plot.INTERVAL, plot.NO_EVENT]
    if any(drawn):
        entries.append(Line2D([], [], label="theory", **THEORY))
    entries += [MINORITY] * crossed
    plot.legend(figure, entries, 4 if axes.shape[1] > 1 else 2)
    return figure


def rounds(data: xr.Dataset):
    table = data.vecsim.quantile("last_decision", 0.5)
    figure, axes, looks = _panels(data, "median rounds to decision")
    endless = False
    for row, column, number, attack in _lines(table):
        line = _line(table, row, column, attack)
        ends = tuple(line[part].values for part in ("value", "low", "high"))
        endless |= bool((np.isfinite(ends[0]) & np.isposinf(ends[2])).any())
        plot.band(
            axes[row, column],
            line["byzantine_fraction"].values,
            ends,
            looks[attack],
            str(attack),
            every=plot.stagger(number, len(looks), line.sizes["byzantine_fraction"]),
        )
    for panel in axes.flat:
        panel.set_yscale("log")
        panel.set_yticks(TICKS, [str(tick) for tick in TICKS])
        panel.yaxis.set_minor_formatter(NullFormatter())
        panel.minorticks_off()
    values = table["value"].values
    known = values[np.isfinite(values)]
    top = float(data["rounds"].max())
    axes[0, 0].set_ylim(0.9 * (known.min() if known.size else top / 2), 1.15 * top)
    entries = [*_entries(looks), plot.INTERVAL, *[plot.NO_END] * endless]
    plot.legend(figure, entries, 3 if axes.shape[1] > 1 else 2)
    return figure


def _panels(data: xr.Dataset, ylabel: str):
    protocols, starts = data["protocol"].values, data["initial_accept"].values
    wide = len(protocols) > 1
    figure, axes = plot.panels(
        len(starts),
        len(protocols),
        plot.PAGE if wide else plot.COLUMN,
        1.25 + 1.55 * len(starts) + (0 if wide else 0.35),
        sharex=True,
        sharey=True,
    )
    fractions = data["byzantine_fraction"].values
    low, high = float(fractions.min()), float(fractions.max())
    room = 0.03 * ((high - low) or 0.1)
    for (row, column), panel in np.ndenumerate(axes):
        panel.set_xlim(low - room, high + room)
        plot.percent(panel.xaxis)
        plot.marks(panel, MARKS if row == 0 else dict.fromkeys(MARKS, ""))
        if row == 0:
            panel.set_title(plot.words(protocols[column]), pad=13)
        if column == len(protocols) - 1:
            text = {"rotation": 270, "va": "center", "ha": "left"}
            panel.text(1.03, 0.5, _start(starts[row]), transform=panel.transAxes, **text)
    n = plot.setting(data, "n")
    nodes = "nodes" if isinstance(n, str) else f"{plot.words(n)} nodes"
    for panel in axes[-1]:
        panel.set_xlabel(f"Byzantine, % of {nodes}")
    for panel in axes[:, 0]:
        panel.set_ylabel(ylabel)
    return figure, axes, plot.looks(data["adversary"].values, ATTACKS)


def _start(accept: float) -> str:
    kind = "undisputed" if accept in (0, 1) else "contested"
    return f"{kind} start\n({100 * accept:g} % at 1)"


def _entries(looks: dict) -> list[Line2D]:
    return [Line2D([], [], label=plot.words(name), **look) for name, look in looks.items()]


def _lines(table: xr.Dataset):
    """Row, column, number and name of each line."""
    for row in range(table.sizes["initial_accept"]):
        for column in range(table.sizes["protocol"]):
            for number, attack in enumerate(table["adversary"].values):
                yield row, column, number, attack


def _line(table, row: int, column: int, attack):
    return table.isel(initial_accept=row, protocol=column).sel(adversary=attack)


def _theory(axes, table: xr.Dataset, curve: dict) -> bool:
    """Draw one theory line in its panel; whether there is such a panel."""
    where = []
    for dim in ("initial_accept", "protocol", "adversary"):
        same = np.flatnonzero(table[dim].values == curve[dim])
        if not same.size:
            return False
        where.append(int(same[0]))
    label = f"{curve['adversary']}: theory"
    x, y = (np.asarray(curve[part], float) for part in ("byzantine_fraction", "finalised"))
    axes[where[0], where[1]].plot(x, y, label=label, **THEORY)
    return True
