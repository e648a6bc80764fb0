"""The result table: estimates per point, each with its interval, as wide as the terminal."""

import math
import re
import shutil
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from vecsim.results.estimate import DISAGREE
from vecsim.results.text import agreement, amount, chance, crossed, label, order, rate, rounds

MAJORITY = "majority_kept"
MOST_ROWS = 40
MOST_ACROSS = 8  # values of a dimension that runs across
FEW_ACROSS = 3
MOST_WIDTH = 140
SHORT = 12  # characters of a line of a name, where whole ones do not fit
GAP = "  "
RARE = "probabilities, each with its 95 % interval in brackets, or their order of magnitude"
CROSSINGS = "thresholds, each with its 95 % interval in brackets; fit p: of the misfit of the curve"
OUTCOMES = "means, medians and shares over trials, each with its 95 % interval in brackets"
CAPTION = "medians of rounds and shares of trials, each with its 95 % interval in brackets"

Place = Mapping[str, int]  # index along each dimension


class Estimates:
    """A summary by places, many times quicker to index than a dataset."""

    def __init__(self, summary: xr.Dataset, dims: Sequence[str]):
        self.dims = dims
        self.labels = {dim: [label(value) for value in summary[dim].values] for dim in dims}
        self.arrays = {str(name): summary[name].transpose(*dims).values for name in summary}

    def size(self, dim: str) -> int:
        return len(self.labels[dim])

    def at(self, name: str, place: Place) -> float:
        return float(self.arrays[name][tuple(place[dim] for dim in self.dims)])

    def interval(self, name: str, place: Place) -> tuple[float, float, float]:
        """Value, low, high."""
        value, low, high = (self.at(f"{name}{end}", place) for end in ("", "_low", "_high"))
        return value, low, high


class Column(NamedTuple):
    """header: one line, or two. cells: text, one for each row, of one line or more."""

    header: str
    cells: list[str]
    right: bool = True

    @property
    def width(self) -> int:
        return max(len(line) for text in (self.header, *self.cells) for line in text.split("\n"))

    @property
    def heights(self) -> list[int]:
        """Lines of each cell."""
        return [1 + cell.count("\n") for cell in self.cells]

    def aligned(self, heights: Sequence[int]) -> list[str]:
        """Two lines of header, and the cells, each filled up to so many lines."""
        lines = [*([""] * (1 - self.header.count("\n"))), *self.header.split("\n")]
        for cell, height in zip(self.cells, heights, strict=True):
            lines += [*cell.split("\n"), *[""] * (height - 1 - cell.count("\n"))]
        return [line.rjust(self.width) if self.right else line.ljust(self.width) for line in lines]


def lines_of(columns: Sequence[Column]) -> list[str]:
    """The lines of a table: its header (one line or two), a rule, the rows, a rule."""
    heights = [max(row) for row in zip(*(column.heights for column in columns), strict=True)]
    parts = zip(*(column.aligned(heights) for column in columns), strict=True)
    lines = [GAP.join(each).rstrip() for each in parts]
    rule = "-" * (sum(column.width + len(GAP) for column in columns) - len(GAP))
    return [*(line for line in lines[:2] if line), rule, *lines[2:], rule]


def show(summary: xr.Dataset, dims: Sequence[str], decides: set[bool]) -> None:
    """Print the table of a summary.

    decides: whether nodes decide, among the protocols; where none does, unanimity is shown.
    Where points are many, the longest dimension runs across, at some of its values.
    """
    width = min(shutil.get_terminal_size((100, 24)).columns, MOST_WIDTH)
    estimates = Estimates(summary, dims)
    points = math.prod(map(estimates.size, dims))
    across = max(reversed(dims), key=estimates.size) if points > MOST_ROWS else ""
    rows = [dim for dim in dims if dim != across]
    indices = list(np.ndindex(*map(estimates.size, rows)))
    places = [dict(zip(rows, index, strict=True)) for index in indices[:MOST_ROWS]]
    if across:
        outcome = "finalised" if True in decides else "unanimous"
        print(f"\n{outcome}, by {across}:")
        columns = _across(estimates, rows, places, across, outcome, width, rate)
    else:
        columns = _down(estimates, rows, places, decides, width)
    _print(columns, CAPTION, len(indices), width)
    lost = summary.get("majority_lost", xr.DataArray(0.0))
    if (lost > 0).any():
        among = f"{int((lost > 0).sum())} of {points} points have"
        print(f"vecsim: {among} trials that end on the colour of the minority at the start")


def show_outcomes(summary: xr.Dataset, dims: Sequence[str]) -> None:
    """Print the table of a study of campaigns: a column for each outcome, as many as fit.

    Where points are many it is the first outcome, with the longest dimension across.
    """
    width = min(shutil.get_terminal_size((100, 24)).columns, MOST_WIDTH)
    estimates = Estimates(summary, dims)
    names = [str(name) for name in summary if f"{name}_low" in summary]
    by_interval = {"clopper_pearson": rate, "order statistics": rounds}
    texts = {
        name: by_interval.get(summary[name].attrs.get("interval", ""), amount) for name in names
    }
    points = math.prod(map(estimates.size, dims))
    across = max(reversed(dims), key=estimates.size) if points > MOST_ROWS else ""
    rows = [dim for dim in dims if dim != across]
    indices = list(np.ndindex(*map(estimates.size, rows)))
    places = [dict(zip(rows, index, strict=True)) for index in indices[:MOST_ROWS]]
    if across:
        print(f"\n{names[0]}, by {across}:")
        columns = _across(estimates, rows, places, across, names[0], width, texts[names[0]])
    else:
        columns = _labels(estimates, rows, places, False)
        for name in names:
            unit = summary[name].attrs.get("units", "1")
            header = name if unit in ("", "1") else f"{name}\n{unit}"
            cells = [texts[name](*estimates.interval(name, at)) for at in places]
            columns.append(Column(header, cells))
        if not _fits(columns, width):
            columns[: len(rows)] = _labels(estimates, rows, places, True)
        spare = [column.header for column in columns[: len(rows) : -1]]
        columns = _narrowed(columns, spare, width)
    _print(columns, OUTCOMES, len(indices), width)
    for name in names:
        if meaning := summary[name].attrs.get("long_name"):
            print(textwrap.fill(f"{name}: {meaning}", width, subsequent_indent="  "))


def show_rare(summary: xr.Dataset, dims: Sequence[str]) -> None:
    """Print the table of a study of rare events."""
    width = min(shutil.get_terminal_size((100, 24)).columns, MOST_WIDTH)
    estimates = Estimates(summary, dims)
    indices = list(np.ndindex(*map(estimates.size, dims)))
    places = [dict(zip(dims, index, strict=True)) for index in indices[:MOST_ROWS]]
    columns = _labels(estimates, list(dims), places, False)
    event = summary.attrs["outcome"]
    cells = []
    for at in places:
        value, low, high = estimates.interval("probability", at)
        cells.append(order(value) if estimates.at("rough", at) else chance(value, low, high))
    columns.append(Column(f"P({event})", cells))
    gaps = [estimates.at("gap", at) for at in places]
    columns.append(Column("scores", [agreement(gap) for gap in gaps], right=False))
    columns.append(Column("replicas", [f"{estimates.at('trials', at):.0f}" for at in places]))
    _print(_narrowed(columns, ["replicas"], width), RARE, len(indices), width)
    if any(gap < DISAGREE for gap in gaps):
        print(
            "vecsim: two scores disagree: the larger estimate counts, and more walkers are needed",
            flush=True,
        )


def show_thresholds(summary: xr.Dataset, dims: Sequence[str]) -> None:
    """Print the table of a study of thresholds."""
    width = min(shutil.get_terminal_size((100, 24)).columns, MOST_WIDTH)
    estimates = Estimates(summary, dims)
    indices = list(np.ndindex(*map(estimates.size, dims)))
    places = [dict(zip(dims, index, strict=True)) for index in indices[:MOST_ROWS]]
    about = summary.attrs
    cells = [crossed(*(100 * v for v in estimates.interval("threshold", at))) for at in places]
    columns = _labels(estimates, list(dims), places, False)
    columns.append(Column(f"{100 * about['crossed']:g} % {about['outcome']} at\n% of nodes", cells))
    fits = [f"{estimates.at('fit', at):.2g}".replace("nan", "-") for at in places]
    columns.append(Column("fit p", fits))
    columns.append(Column("trials", [f"{estimates.at('trials', at):.0f}" for at in places]))
    _print(_narrowed(columns, ["trials", "fit p"], width), CROSSINGS, len(indices), width)


class Fitted(NamedTuple):
    """Columns that fit, and the names of those that do not."""

    columns: list[Column]
    left_out: list[str]


def _print(fitted: Fitted, caption: str, rows: int, width: int) -> None:
    print("\n".join(lines_of(fitted.columns)))
    notes = [caption]
    if rows > MOST_ROWS:
        notes.append(f"{rows - MOST_ROWS} more rows are in the summary")
    if fitted.left_out:
        names = ", ".join(name.replace("-\n", "").replace("\n", " ") for name in fitted.left_out)
        notes.append(f"not shown in {width} columns, but in the summary: {names}")
    print(textwrap.fill("; ".join(notes), max(width, 60)))


def _across(
    estimates: Estimates,
    rows: list[str],
    places: Sequence[Place],
    across: str,
    outcome: str,
    width: int,
    text: Callable[[float, float, float], str],
) -> Fitted:
    """The outcome at some values of one dimension, and disagreement at the worst of them all."""
    size, columns = estimates.size(across), []
    for short in (False, True):
        labels = _labels(estimates, rows, places, short)
        for count in range(min(MOST_ACROSS, size), FEW_ACROSS - 1 - short, -1):
            columns = labels.copy()
            for pick in np.unique(np.linspace(0, size - 1, count).round().astype(int)):
                cells = [text(*estimates.interval(outcome, {**at, across: pick})) for at in places]
                columns.append(Column(estimates.labels[across][pick], cells))
            if outcome == "finalised":
                worst = [_worst(estimates, at, across) for at in places]
                columns.append(Column("worst dis-\nagreement", worst))
            if _fits(columns, width):
                return Fitted(columns, [])
    return _narrowed(columns, ["worst dis-\nagreement"], width)


def _down(
    estimates: Estimates, rows: list[str], places: Sequence[Place], decides: set[bool], width: int
) -> Fitted:
    """All outcomes, as many as fit."""
    names = ["finalised"] * (True in decides) + ["unanimous"] * (False in decides)
    kept = estimates.arrays.get(MAJORITY)
    names += [MAJORITY] * (kept is not None and not np.isnan(kept).all())
    names += ["disagreement", "stalled"] * (True in decides)
    headers = {MAJORITY: MAJORITY.replace("_", "_\n")}
    values = [
        Column(headers.get(name, name), [rate(*estimates.interval(name, at)) for at in places])
        for name in names
    ]
    event = "last_decision_median" if True in decides else "unanimity_median"
    values.append(Column("rounds", [rounds(*estimates.interval(event, at)) for at in places]))
    values.append(Column("trials", [f"{estimates.at('trials', at):.0f}" for at in places]))
    columns = [*_labels(estimates, rows, places, False), *values]
    if not _fits(columns, width):
        columns = [*_labels(estimates, rows, places, True), *values]
    spare = ["stalled", "trials", "unanimous", "disagreement", headers[MAJORITY], "rounds"]
    return _narrowed(columns, spare, width)


def _fits(columns: list[Column], width: int) -> bool:
    return sum(column.width + len(GAP) for column in columns) - len(GAP) <= width


def _narrowed(columns: list[Column], spare: list[str], width: int) -> Fitted:
    """Without as many of the columns named `spare` as it takes to fit."""
    left_out = []
    for header in spare:
        if not _fits(columns, width) and any(column.header == header for column in columns):
            columns = [column for column in columns if column.header != header]
            left_out.append(header)
    return Fitted(columns, left_out)


def _labels(
    estimates: Estimates, rows: list[str], places: Sequence[Place], short: bool
) -> list[Column]:
    columns = []
    for dim in rows:
        cells = [estimates.labels[dim][at[dim]] for at in places]
        if short:
            cells = [folded(cell) for cell in cells]
        fold = max(len(line) for cell in cells for line in cell.split("\n")) < len(dim)
        head, _, tail = dim.rpartition("_")
        columns.append(Column(f"{head}_\n{tail}" if fold and head else dim, cells, right=False))
    return columns


def folded(name: str) -> str:
    """A long name over several lines, broken after underscores.

    >>> folded("coordinated_collusion"), folded("safety_split")
    ('coordinated_\\ncollusion', 'safety_split')
    """
    lines = [""]
    for part in re.findall(r"[^_]*_?", name):
        if lines[-1] and len(lines[-1]) + len(part) > SHORT:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _worst(estimates: Estimates, place: Place, dim: str) -> str:
    every = ({**place, dim: i} for i in range(estimates.size(dim)))
    worst = max(every, key=lambda at: np.nan_to_num(estimates.at("disagreement", at), nan=-1))
    return rate(*estimates.interval("disagreement", worst))
