"""Design: what the candidates cost, and how sure it is that the best meet the safety target."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.lines import Line2D

from vecsim.results import plot
from vecsim.results.pareto import candidates, front, own_dimensions, quorum_name

FRONT, BEATEN, SCREENED = plot.PALETTE[0], plot.PALETTE[1], "0.6"
PLACES = 12  # rows of labels that fit the right panel at its least height
SPACE = 0.16  # inches for each further one


def draw(data: xr.Dataset, folder: Path) -> list[Path]:
    dims = [str(dim) for dim in data["state"].dims if dim != "trial"]
    others = [dim for dim in dims if dim not in own_dimensions(data)]
    paths = []
    with plot.style():
        for index in np.ndindex(*(data.sizes[dim] for dim in others)):
            place = dict(zip(others, index, strict=True))
            at = {dim: data[dim].values[i].item() for dim, i in place.items()}
            paths += plot.save_figure(panels(data.isel(place)), folder, "design", at)
    return paths


def panels(data: xr.Dataset):
    """Costs of the candidates of one network, and P(disagreement) of those on the front."""
    rows = front(data)
    height = 3.0 + SPACE * max(0, rows.sizes["candidate"] - PLACES)
    figure, axes = plot.panels(1, 2, plot.PAGE, height, width_ratios=(5, 4))
    _costs(axes[0, 0], candidates(data), rows)
    _chances(axes[0, 1], rows, float(data["target_safety"].max()))
    entries = [
        Line2D([], [], color=FRONT, marker="o", label="verified, on the front"),
        Line2D([], [], color=BEATEN, marker="s", linestyle="none", label="verified, beaten"),
        _hollow([], [], "not verified"),
        Line2D([], [], color=plot.GREY, linestyle="--", label="target"),
    ]
    plot.legend(figure, entries, len(entries))
    return figure


def _hollow(x, y, label: str) -> Line2D:
    look: dict[str, Any] = {
        "marker": "o",
        "markerfacecolor": "none",
        "linestyle": "none",
        "color": SCREENED,
    }
    return Line2D(x, y, label=label, **look)


def _costs(panel, found: xr.Dataset, rows: xr.Dataset) -> None:
    """Messages against rounds, both on logarithmic axes."""
    state, messages, rounds = (found[n].values.ravel() for n in ("state", "messages", "rounds"))
    on = found["front"].values.ravel()
    shown = np.isfinite(messages) & np.isfinite(rounds) & (rounds > 0)
    limit = float(found["target_rounds"].max())
    verified = state == "verified"
    panel.set_xscale("log")
    panel.set_yscale("log")
    seen = shown & ~verified
    panel.add_line(_hollow(messages[seen], rounds[seen], "screened"))
    beaten = shown & verified & ~on
    look = {"color": BEATEN, "marker": "s", "linestyle": "none"}
    panel.plot(messages[beaten], rounds[beaten], label="beaten", **look)
    panel.plot(rows["messages"], rows["rounds"], color=FRONT, marker="o", label="front", zorder=3)
    panel.axhline(limit, color=plot.GREY, linestyle="--", linewidth=0.8, label="target")
    panel.set_xlim(*_around(messages[shown]))
    panel.set_ylim(*_around(np.append(rounds[shown], limit)))
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axis.set_minor_formatter(lambda value, _: "")
    low, high = panel.get_ylim()
    if high / low < 30:  # too few powers of ten to read it by
        ticks = [t for t in (5, 10, 20, 30, 50, 70, 100, 150, 200, 300, 500) if low <= t <= high]
        panel.set_yticks(ticks, [str(tick) for tick in ticks])
        panel.set_yticks([], minor=True)
    low, high = panel.get_xlim()
    if high / low < 30:
        steps = np.outer(10.0 ** np.arange(8), (1, 2, 3, 5)).ravel()
        ticks = [tick for tick in steps if low <= tick <= high]
        panel.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
        panel.set_xticks([], minor=True)
    panel.set_xlabel("messages of an honest node per decision")
    panel.set_ylabel("rounds until all have decided")


def _around(values: np.ndarray) -> tuple[float, float]:
    """Limits of a logarithmic axis, with some room at both ends."""
    if not values.size:
        return 1.0, 10.0
    room = max((values.max() / values.min()) ** 0.06, 1.1)
    return values.min() / room, values.max() * room


def _chances(panel, rows: xr.Dataset, safety: float) -> None:
    """The front from its cheapest down, each with its interval and its name."""
    value, low, high = (rows[f"probability{end}"].values for end in ("", "_low", "_high"))
    values = {str(name): rows[name].values for name in rows.data_vars}
    place = np.arange(len(value))
    panel.set_xscale("log")
    panel.set_xlim(min([safety / 30, *(low / 2)]), safety * 3)
    panel.hlines(place, low, high, color=FRONT, linewidth=1.2, label="interval")
    panel.plot(value, place, color=FRONT, marker="o", linestyle="none", label="probability")
    panel.axvline(safety, color=plot.GREY, linestyle="--", linewidth=0.8, label="target")
    panel.set_yticks(place, [quorum_name(values, int(i)) for i in place])
    panel.set_ylim(max(len(value), 1) - 0.5, -0.5)
    panel.grid(False, axis="y")
    panel.set_ylabel(r"$k$ / $\alpha$ / $\beta$")
    panel.set_xlabel("P(disagreement)")
