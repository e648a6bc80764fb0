"""The result table: estimates per point, each with its interval, as wide as the terminal."""

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from vecsim.estimate import DISAGREE
from vecsim.wording import agreement, amount, chance, crossed, label, order, rate, rounds

MOST_ROWS = 40
MOST_ACROSS = 8  # values of a dimension that runs across
FEW_ACROSS = 3
MOST_WIDTH = 140
SHORT = 12  # characters of a word, where longer ones do not fit
GAP = "  "
RARE = "probabilities, each with its 95 % interval in brackets, or their order of magnitude"
CROSSINGS = "thresholds, each with its 95 % interval in brackets; fit p: of the misfit of the curve"
OUTCOMES = "means and shares over trials, each with its 95 % interval in brackets"
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
    """header: one line, or two. cells: text, one for each row."""

    header: str
    cells: list[str]
    right: bool = True

    @property
    def width(self) -> int:
        return max(map(len, [*self.header.split("\n"), *self.cells]))

    def aligned(self) -> list[str]:
        """Two lines of header, and the cells."""
        lines = [*self.header.split("\n")[-2:], *self.cells]
        lines = ["", *lines] if "\n" not in self.header else lines
        return [line.rjust(self.width) if self.right else line.ljust(self.width) for line in lines]


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
    _print(columns)
    more = f"; {len(indices) - MOST_ROWS} more rows are in the summary"
    print(f"{CAPTION}{more if len(indices) > MOST_ROWS else ''}")


def show_outcomes(summary: xr.Dataset, dims: Sequence[str]) -> None:
    """Print the table of a study of campaigns: a column for each outcome, as many as fit.

    Where points are many it is the first outcome, with the longest dimension across.
    """
    width = min(shutil.get_terminal_size((100, 24)).columns, MOST_WIDTH)
    estimates = Estimates(summary, dims)
    names = [str(name) for name in summary if f"{name}_low" in summary]
    texts = {
        name: rate if summary[name].attrs.get("interval") == "clopper_pearson" else amount
        for name in names
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
        columns = _narrowed(columns, [column.header for column in columns[:1:-1]], width)
    _print(columns)
    more = f"; {len(indices) - MOST_ROWS} more rows are in the summary"
    print(f"{OUTCOMES}{more if len(indices) > MOST_ROWS else ''}")


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
    _print(_narrowed(columns, ["replicas"], width))
    more = f"; {len(indices) - MOST_ROWS} more rows are in the summary"
    print(f"{RARE}{more if len(indices) > MOST_ROWS else ''}")
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
    _print(_narrowed(columns, ["trials", "fit p"], width))
    more = f"; {len(indices) - MOST_ROWS} more rows are in the summary"
    print(f"{CROSSINGS}{more if len(indices) > MOST_ROWS else ''}")


def _print(columns: list[Column]) -> None:
    lines = [GAP.join(parts).rstrip() for parts in zip(*map(Column.aligned, columns), strict=True)]
    rule = "-" * (sum(column.width + len(GAP) for column in columns) - len(GAP))
    print("\n".join([*(line for line in lines[:2] if line), rule, *lines[2:], rule]))


def _across(
    estimates: Estimates,
    rows: list[str],
    places: Sequence[Place],
    across: str,
    outcome: str,
    width: int,
    text: Callable[[float, float, float], str],
) -> list[Column]:
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
                return columns
    return _narrowed(columns, ["worst dis-\nagreement"], width)


def _down(
    estimates: Estimates, rows: list[str], places: Sequence[Place], decides: set[bool], width: int
) -> list[Column]:
    """All outcomes, as many as fit."""
    names = ["finalised"] * (True in decides) + ["unanimous"] * (False in decides)
    names += ["disagreement", "stalled"] * (True in decides)
    values = [
        Column(name, [rate(*estimates.interval(name, at)) for at in places]) for name in names
    ]
    event = "last_decision_median" if True in decides else "unanimity_median"
    values.append(Column("rounds", [rounds(*estimates.interval(event, at)) for at in places]))
    values.append(Column("trials", [f"{estimates.at('trials', at):.0f}" for at in places]))
    columns = [*_labels(estimates, rows, places, False), *values]
    if not _fits(columns, width):
        columns = [*_labels(estimates, rows, places, True), *values]
    return _narrowed(columns, ["stalled", "trials", "unanimous", "disagreement"], width)


def _fits(columns: list[Column], width: int) -> bool:
    return sum(column.width + len(GAP) for column in columns) - len(GAP) <= width


def _narrowed(columns: list[Column], spare: list[str], width: int) -> list[Column]:
    """Without as many of the columns named `spare` as it takes to fit."""
    for header in spare:
        if not _fits(columns, width):
            columns = [column for column in columns if column.header != header]
    return columns


def _labels(
    estimates: Estimates, rows: list[str], places: Sequence[Place], short: bool
) -> list[Column]:
    columns = []
    for dim in rows:
        cells = [estimates.labels[dim][at[dim]] for at in places]
        if short:
            cells = [c if len(c) <= SHORT else f"{c[: SHORT - 2]}.." for c in cells]
        fold = max(map(len, cells)) < len(dim)
        head, _, tail = dim.rpartition("_")
        columns.append(Column(f"{head}_\n{tail}" if fold and head else dim, cells, right=False))
    return columns


def _worst(estimates: Estimates, place: Place, dim: str) -> str:
    every = ({**place, dim: i} for i in range(estimates.size(dim)))
    worst = max(every, key=lambda at: np.nan_to_num(estimates.at("disagreement", at), nan=-1))
    return rate(*estimates.interval("disagreement", worst))
