"""Tables in the terminal: estimates per point, each with its interval, as wide as the terminal."""

import math
import re
import shutil
import textwrap
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, zip_longest
from typing import NamedTuple

import numpy as np
import xarray as xr

from vecsim.results.text import label

MOST_ROWS = 40  # of a table: what a terminal window shows at once
MOST_ACROSS = 8  # values that are shown of a dimension that runs across: more are hard to compare
FEW_ACROSS = 3  # the same in a narrow terminal, before names are folded: both ends and the middle
MOST_WIDTH = 140  # characters of a line: longer ones are hard to follow
SHORT = 12  # characters in a line of a folded name: the parts of most names fit
GAP = "  "  # between columns

Place = Mapping[str, int]  # index along each dimension
Text = Callable[[float, float, float], str]  # of a value and the ends of its interval


class Column(NamedTuple):
    """A column of a table.

    header: one line, or two. cells: text, one for each row, of one line or more. right: whether
    they are set flush right, as numbers are.
    """

    header: str
    cells: list[str]
    right: bool = True

    @property
    def width(self) -> int:
        """Characters of its longest line."""
        return max(len(line) for text in (self.header, *self.cells) for line in text.split("\n"))


def lines_of(columns: Sequence[Column]) -> list[str]:
    """The lines of a table: its header (one line or two), a rule, the rows, a rule."""
    form = GAP.join(f"{{:{'>' if column.right else '<'}{column.width}}}" for column in columns)
    # From the bottom up, so that the last lines of all headers stand level.
    header = [column.header.split("\n")[::-1] for column in columns]
    rows = zip(*([cell.split("\n") for cell in column.cells] for column in columns), strict=True)
    top, *body = (
        [form.format(*parts).rstrip() for parts in zip_longest(*row, fillvalue="")]
        for row in (header, *rows)
    )
    rule = "-" * _width(columns)
    return [*top[::-1], rule, *chain(*body), rule]


class Rows:
    """The points of a summary as rows of a table, and what stands in them.

    dims: the swept dimensions. across: whether the longest of them may run across, at some of its
    values, where points are many; the attribute `across` is then its name, "" otherwise. places:
    where the rows that are shown lie, as an index along each dimension that runs down. width:
    characters of a line.
    """

    def __init__(self, summary: xr.Dataset, dims: Sequence[str], across: bool = False):
        self.width = min(shutil.get_terminal_size((100, 24)).columns, MOST_WIDTH)
        self.summary, sizes = summary, {dim: summary.sizes[dim] for dim in dims}
        self.labels = {dim: [label(value) for value in summary[dim].values] for dim in dims}
        many = across and math.prod(sizes.values()) > MOST_ROWS
        self.across = max(reversed(dims), key=sizes.__getitem__) if many else ""
        self.dims = [dim for dim in dims if dim != self.across]
        indices = list(np.ndindex(*(sizes[dim] for dim in self.dims)))
        self.number = len(indices)
        self.places = [dict(zip(self.dims, each, strict=True)) for each in indices[:MOST_ROWS]]

    def at(self, name: str, place: Place) -> float:
        """The number that a variable of the summary has at one point."""
        return float(self.summary[name].isel(place))

    def interval(self, name: str, place: Place) -> list[float]:
        """Value, low, high."""
        return [self.at(f"{name}{end}", place) for end in ("", "_low", "_high")]

    def cells(self, name: str, text: Text, **at: int) -> list[str]:
        """An estimate in each row. at: the index along the dimension across."""
        return [text(*self.interval(name, {**place, **at})) for place in self.places]

    def counts(self, name: str, header: str = "") -> Column:
        """A column of whole numbers."""
        return Column(header or name, [f"{self.at(name, place):.0f}" for place in self.places])

    def show(self, columns: list[Column], spare: Sequence[str], caption: str) -> None:
        """Print the table, without as many of the columns named `spare` as it takes to fit."""
        short = not self._fits([*self._labels(False), *columns])
        shown, left_out = [*self._labels(short), *columns], []
        for header in spare:
            if not self._fits(shown) and any(column.header == header for column in shown):
                shown = [column for column in shown if column.header != header]
                left_out.append(header.replace("-\n", "").replace("\n", " "))
        print("\n".join(lines_of(shown)))
        notes = [caption]
        if self.number > MOST_ROWS:
            notes.append(f"{self.number - MOST_ROWS} more rows are in the summary")
        if left_out:
            names = ", ".join(left_out)
            notes.append(f"not shown in {self.width} columns, but in the summary: {names}")
        print(textwrap.fill("; ".join(notes), max(self.width, 60)))

    def show_across(self, name: str, text: Text, caption: str, more: Sequence[Column] = ()) -> None:
        """Print an estimate at some values of the dimension across. more: further columns."""
        print(f"\n{name}, by {self.across}:")
        size, columns = len(self.labels[self.across]), [*more]
        most = min(MOST_ACROSS, size)
        tried = [(False, count) for count in range(most, FEW_ACROSS - 1, -1)]
        tried += [(True, count) for count in range(most, FEW_ACROSS - 2, -1)]
        for short, count in tried:
            picks = np.unique(np.linspace(0, size - 1, count).round().astype(int))
            cells = [self.cells(name, text, **{self.across: pick}) for pick in picks]
            headers = [self.labels[self.across][pick] for pick in picks]
            columns = [*map(Column, headers, cells), *more]
            if self._fits([*self._labels(short), *columns]):
                break
        self.show(columns, [column.header for column in more], caption)

    def _fits(self, columns: Sequence[Column]) -> bool:
        return _width(columns) <= self.width

    def _labels(self, short: bool) -> list[Column]:
        """Columns that name the points; short: long names over several lines."""
        columns = []
        for dim in self.dims:
            cells = [self.labels[dim][at[dim]] for at in self.places]
            column = Column("", [*map(folded, cells)] if short else cells, right=False)
            head, _, tail = dim.rpartition("_")
            fold = head and column.width < len(dim)
            columns.append(column._replace(header=f"{head}_\n{tail}" if fold else dim))
        return columns


def _width(columns: Sequence[Column]) -> int:
    return sum(column.width + len(GAP) for column in columns) - len(GAP)


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
