"""Parts that figures share: style, lines with intervals, bounds, marks, files. Without pyplot."""

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.path import Path as Outline
from numpy.typing import ArrayLike

from vecsim.results import accessor as _accessor  # noqa: F401  (registers `dataset.vecsim`)
from vecsim.results import estimate

Look = Mapping[str, Any]  # a line's colour, dashes and marker, as `looks` gives them
Ends = tuple[ArrayLike, ...]  # value, low, high: an estimate with its interval

COLUMN, PAGE = 3.5, 7.2  # widths of a figure, inches: a column and a page of most journals
SMALL = 7  # points, for labels inside panels: the smallest size that most journals print
GREY = "0.45"  # lightness, 0 to 1: of marks and references, darker than the grid
# Matplotlib's settings: sizes in points, lightness 0 to 1. Letters are embedded as TrueType (42),
# which journals ask for; the salt makes the names inside an SVG file the same every time.
_STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.4,
    "grid.color": "0.9",
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "pdf.fonttype": 42,
    "svg.hashsalt": "vecsim",
}
# Okabe and Ito 2008, without their yellow, which is too light for a line on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# Points drawn and left out, in turn; with the markers, lines differ in black and white too.
DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (9, 2)))
# Matplotlib's names. Seven colours, five dashes and eight markers: lines share all three only from
# the 281st on.
MARKERS = ("o", "s", "^", "D", "X", "P", "*", "p")
# The marks of a bound: a bar, and an arrow down from it or up. Coordinates in units of marker size.
_ARROW = [(-0.6, 0), (0.6, 0), (0, 0), (0, -1), (-0.4, -0.5), (0, -1), (0.4, -0.5)]
_PEN = [1, 2, 1, 2, 1, 2, 2]  # 1: move to, 2: line to
# The arrow down from an upper bound, and the arrow up from a value without an upper end.
BOUND, LEAST = Outline(_ARROW, _PEN), Outline([(x, -y) for x, y in _ARROW], _PEN)
# Shares of balancing nodes that keep honest ones from deciding, in Snowball with n = 2,000: Kniep,
# Laval, Sliwinski and Wattenhofer 2024, arXiv 2409.02217.
PUBLISHED = {"balance_pooled": 0.052, "balance_informed": 0.028}
PUBLISHED_N = 2000  # nodes
# Protocols whose names are not written as their options with spaces.
_NAMES = {"qr_avalanche": "QR-Avalanche", "snowflake": "Snowflake", "snowball": "Snowball"}


def style():
    """The context to draw and save in."""
    return matplotlib.rc_context(_STYLE)


def panels(rows: int, columns: int, width: float, height: float, **options: Any):
    """A figure and its axes, an object array of rows x columns; sizes in inches."""
    figure = Figure(figsize=(width, height), dpi=300, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def complete(data: xr.Dataset, dims: Iterable[str]) -> xr.Dataset:
    """The dataset with all of `dims`: what was not swept gets the one value that was set."""
    for dim in dims:
        if dim not in data.dims:
            data = data.drop_vars(dim, errors="ignore").expand_dims({dim: [setting(data, dim)]})
    return data


def each(data: xr.Dataset, dims: tuple[str, ...]) -> Iterator[tuple[dict[str, Any], xr.Dataset]]:
    """A dataset over `dims` for every combination of the other swept parameters."""
    every = next(iter(data.data_vars.values())).dims
    others = [str(dim) for dim in every[: every.index("trial")] if dim not in dims]
    for values in itertools.product(*(data[dim].values for dim in others)):
        at = dict(zip(others, values, strict=True))
        yield at, complete(data.sel(at), dims)


def setting(data: xr.Dataset, name: str) -> Any:
    """The one value of a parameter, or for a group the name of its option; "as set" where the
    configuration does not say. ValueError where it was swept and no value was selected."""
    if name in data.coords:
        return data[name].item()
    config = json.loads(data.attrs.get("config", "{}"))
    swept = (config.get("sweep") or {}).get(name, ())
    if isinstance(swept, list) or "start" in swept:
        raise ValueError(f"select one {name} with drop=False: the figure needs to know which")
    sections = [
        config,
        *(config.get(key, {}) for key in ("protocol", "adversary", "stake", "campaign")),
    ]
    for section in (*sections, sections[-1].get("cluster", {})):
        if name in section:
            value = section[name]
            return value["_target_"].split(".")[-2] if isinstance(value, dict) else value
    return "as set"


def words(value: Any) -> str:
    """A value as a label."""
    if not isinstance(value, str):
        return f"{value:,}" if isinstance(value, (int, np.integer)) else f"{value:g}"
    return _NAMES.get(value, value.replace("_", " "))


def looks(names: Iterable[Any], known: Iterable[Any] = ()) -> dict[Any, dict[str, Any]]:
    """Colour, dashes and marker per name; `known` names keep theirs whichever are drawn."""
    order = list(dict.fromkeys((*known, *names)))
    parts = {"color": PALETTE, "linestyle": DASHES, "marker": MARKERS}
    return {
        name: {part: values[order.index(name) % len(values)] for part, values in parts.items()}
        for name in names
    }


def band(
    axes: Axes,
    x: ArrayLike,
    estimate: Ends,
    look: Look,
    label: str,
    no_event: ArrayLike = False,
    every: slice = slice(None),
) -> None:
    """A line through estimates (value, low, high) with its interval shaded, markers at `every`.

    x, each of the estimates and no_event (bool): numbers or [points], in any order of x.

    Where there was no event, an arrow points down from the upper bound instead, and the line ends
    at the first such bound below it. Values that are not finite are left out. A point whose
    neighbours are left out gets a bar for its interval. Where the upper end is infinite, an arrow
    points up from the value.
    """
    parts = np.broadcast_arrays(x, *estimate, no_event)
    x, value, low, high, none = (part[np.argsort(parts[0])] for part in parts)
    value, low, high = (np.where(np.isfinite(value), y, np.nan) for y in (value, low, high))
    seen, bound = np.where(none, np.nan, value), np.where(none, high, np.nan)
    around = np.pad(seen, 1, constant_values=np.nan)
    line = np.where(np.fmax(around[:-2], around[2:]) > bound, bound, seen)
    there = np.pad(np.isfinite(value), 1)
    alone = there[1:-1] & ~there[:-2] & ~there[2:]
    colour = look["color"]
    endless = np.isposinf(high)
    high = np.where(endless, value, high)
    axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    if alone.any():
        axes.vlines(x[alone], low[alone], high[alone], color=colour, linewidth=1, label="alone")
    axes.plot(x, line, color=colour, linestyle=look["linestyle"], label=label)
    points = {"color": colour, "linestyle": "none", "clip_on": False, "zorder": 3}
    axes.plot(x[every], seen[every], marker=look["marker"], label=f"{label}: points", **points)
    half = slice((every.start or 0) // 2, None, max((every.step or 1) // 2, 1))
    axes.plot(x[half], bound[half], label=f"{label}: bounds", **(points | _BOUND))
    if endless.any():
        axes.plot(x[endless], value[endless], label=f"{label}: no upper end", **(points | _UP))


# Looks of the two arrows: large enough to see, and not filled, so that they are no points.
_BOUND: Any = dict(marker=BOUND, markersize=11, markerfacecolor="none", markeredgewidth=0.8)
_UP: Any = _BOUND | {"marker": LEAST}


def stagger(number: int, lines: int, points: int) -> slice:
    """Which points of a line get markers, so that lines that coincide all stay visible."""
    step = max(1, min(2 * lines, points // 4))
    return slice(number * step // lines, None, step)


def marks(axes: Axes, labels: Mapping[float, str]) -> None:
    """Vertical lines with labels above the panel, kept apart. Set the limits of x before."""
    left, right = sorted(axes.get_xlim())
    inside = sorted(x for x in labels if left <= x <= right)
    to_axes = axes.transData + axes.transAxes.inverted()
    places = [to_axes.transform((x, 1))[0] for x in inside]
    gaps = np.diff([-1, *places, 2]) < 0.25
    level = 0
    for x, before, after in zip(inside, gaps[:-1], gaps[1:], strict=True):
        level = level + 1 if before and after else 0
        side = {(True, False): "left", (False, True): "right"}.get((before, after), "center")
        axes.axvline(x, color=GREY, linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
        where: Any = {"xycoords": axes.get_xaxis_transform(), "textcoords": "offset points"}
        text: Any = {"ha": side, "va": "bottom", "fontsize": SMALL, "color": GREY}
        axes.annotate(labels[x], (x, 1), (0, 2 + 8 * level), **where, **text)


def power_law(axes: Axes, n: ArrayLike, found: Ends, look: Look, label: str, root=True) -> str:
    """Thresholds (value, low, high) against n with bars for their intervals, the fitted power law
    and, with `root`, 1/sqrt(n) through their middle. Returns the exponent and its interval, as
    text; "" where no law can be fitted: fewer than two n, or an interval that reaches 0. What is
    not finite is left out."""
    parts = np.array([n, *found], float)
    sizes, value, low, high = parts[:, np.isfinite(parts).all(axis=0)]
    colour = look["color"]
    bars = {"marker": look["marker"], "linestyle": "none", "elinewidth": 1, "capsize": 2}
    axes.errorbar(sizes, value, (value - low, high - value), color=colour, label=label, **bars)
    if np.unique(sizes).size < 2 or not (low > 0).all():
        return ""
    fit = estimate.fit_power(sizes, value, low, high)
    grid = np.geomspace(sizes.min(), sizes.max(), 50)
    line = {"color": colour, "linestyle": look["linestyle"]}
    axes.plot(grid, fit.factor * grid**fit.exponent, label=f"{label}: fit", **line)
    if root:
        middle = np.exp(np.mean(np.log(value * np.sqrt(sizes))))
        law = {"color": GREY, "linestyle": _DOTTED, "zorder": 1}
        axes.plot(grid, middle / np.sqrt(grid), label=f"{label}: square root", **law)
    return rf"$\propto n^{{{fit.exponent:.2f}}}$ (${fit.low:.2f}$ to ${fit.high:.2f}$)"


def published(axes: Axes, adversary: str, look: Look) -> None:
    """A star at the published threshold of an adversary, if there is one."""
    if adversary in PUBLISHED:
        label = f"{adversary}: published"
        axes.plot(PUBLISHED_N, PUBLISHED[adversary], color=look["color"], label=label, **_STAR)


# The look of a published threshold, and its entry in legends.
_STAR: Any = dict(marker="*", markersize=8, markerfacecolor="white", linestyle="none", zorder=4)
STAR = Line2D([], [], color=GREY, label="published", **_STAR)
_DOTTED = (0, (1, 1.5))  # points drawn and left out
# The entry of the square-root law in legends.
ROOT = Line2D([], [], color=GREY, linestyle=_DOTTED, label=r"$1/\sqrt{n}$")


def size_ticks(axes: Axes, sizes: ArrayLike) -> None:
    """Ticks of logarithmic axes: the numbers of nodes against shares in per cent."""
    values = np.unique(np.asarray(sizes))
    axes.set_xticks(values, [words(int(n)) for n in values])
    low, high = axes.get_ylim()
    few = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5)
    for ticks in (few, np.arange(0.05, 1.0, 0.05), np.arange(0.01, 1.0, 0.01)):
        shares = [share for share in ticks if low <= share <= high]
        if len(shares) > 2:
            break
    axes.set_yticks(shares, [f"{100 * share:g}" for share in shares])
    axes.minorticks_off()


def percent(axis: Axis) -> None:
    """Label shares in per cent; the axis label says so."""
    axis.set_major_formatter(lambda share, _: f"{100 * share:g}")


# Entries of legends for `band`.
INTERVAL = Patch(color=GREY, alpha=0.3, linewidth=0, label="95 % interval")
NO_EVENT = Line2D([], [], color=GREY, label="no event: upper bound", linestyle="none", **_BOUND)
NO_END = Line2D([], [], color=GREY, label="no upper end", linestyle="none", **_UP)


def legend(figure: Figure, entries: list[Any], columns: int) -> None:
    """One legend below all panels."""
    figure.legend(handles=entries, loc="outside lower center", ncols=columns)


def save_figure(figure: Figure, folder: Path, name: str, at: Mapping[str, Any]) -> list[Path]:
    """Write PDF, SVG and PNG, the same bytes for the same data; `at` goes into title and name."""
    if at:
        figure.suptitle(", ".join(f"{key} = {words(value)}" for key, value in at.items()))
        name += re.sub(r"[^\w.-]", "-", "".join(f"_{key}_{value}" for key, value in at.items()))
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out now, once for the three files
    undated = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}, ".png": {}}
    for suffix, metadata in undated.items():
        figure.savefig(folder / f"{name}{suffix}", metadata=metadata)
    return [folder / f"{name}{suffix}" for suffix in undated]
