"""The censuses of a point: how many honest nodes of each group are in each cell.

Nodes of a group are exchangeable, so a census and the adversary's memory are a trial's whole state.
Ten nodes, 9 of them honest, of which 4 start at 1, in one group, Snowflake with beta 2:

    cell         0  1   2  3    4  5
    preference   0  1   0  1    0  1
    counter      0  0   1  1    decided
    census       5  4   0  0    0  0      the start: int16, 9 together

With two groups a census has 12 numbers, those of the first group before those of the second.
"""

from math import comb, prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vecsim.engines.behaviour import Situations
from vecsim.engines.cells import enumerate_cells
from vecsim.engines.drawn import first_ones_law
from vecsim.model.point import Point
from vecsim.model.uses import uses

UNTIL_CLOSED = 2**30  # rounds for which cells are enumerated: until no new one is found

CellCounts = NDArray[np.int16]  # [..., group and cell]


class States(NamedTuple):
    """Censuses and, for each, the adversary's memory."""

    rows: CellCounts  # [states, width]
    memory: NDArray[np.int32]  # [states]: number of the memory


class Census:
    """What the censuses of a point are made of.

    first_ones: nodes of the adversary's first group that start at 1; the fewest possible unless
    given.
    after [cells, results], preference, decided [cells]: as of `Cells`, but all decided cells of a
    colour are one. groups: of honest nodes that the adversary distinguishes. width: numbers in a
    census, groups x cells. sizes: nodes of each group. start: the census at the start. keys, ones,
    over [group and cell]: of one node there, its number, its preference and whether it has decided.
    looks: whether the adversary depends on the decided nodes.

    ConfigError as `enumerate_cells` raises it.
    """

    def __init__(self, point: Point, first_ones: int | None = None):
        cells, self.point = enumerate_cells(point.stepped(), UNTIL_CLOSED), point
        one = np.arange(len(cells.cells))  # the cell that stands for each: decided ones share one
        for colour in (0, 1):
            same = np.flatnonzero(cells.decided & (cells.preference == colour))
            one[same] = same[:1]
        kept, number = np.unique(one, return_inverse=True)
        self.after, self.decided = number[cells.after[kept]], cells.decided[kept]
        self.preference = cells.preference[kept].astype(np.int64)
        self.groups = point.adversary.groups
        used = uses(point.adversary)
        self.looks = bool(point.protocol.decides and used & {"decided_0", "decided_1"})
        self.width = len(self.preference) * self.groups
        first = point.first_group
        self.sizes = [first, point.honest - first][: self.groups]
        ones = first_ones_law(point)[0] if first_ones is None else first_ones
        ones = np.array([ones, point.start_ones - ones])[: self.groups]
        begin = np.zeros((self.groups, len(self.preference)), np.int16)
        begin[:, number[:2]] = np.stack([self.sizes - ones, ones], axis=1)
        self.start = begin.ravel()
        # Random numbers modulo 2^64: equal keys are checked to be equal censuses.
        self.keys = np.random.default_rng(1).integers(2**64, size=self.width, dtype=np.uint64)
        self.ones = np.tile(self.preference, self.groups)
        self.over = np.tile(self.decided, self.groups)

    @property
    def bound(self) -> int:
        """The number of conceivable censuses, reachable or not."""
        return prod(comb(size + len(self.preference) - 1, size) for size in self.sizes)

    @property
    def number_of_situations(self) -> int:
        """How many `situations` there are, without listing them."""
        honest = self.point.honest
        return (honest + 1) * (comb(honest + 2, 2) if self.looks else 1)

    def situations(self) -> Situations:
        """All that the adversary may see; decided nodes vary only where it depends on them."""
        honest = self.point.honest
        most = honest if self.looks else 0
        all_ = np.indices((honest + 1, most + 1, most + 1)).reshape(3, -1)
        return Situations(*all_[:, all_[1] + all_[2] <= honest])

    def situation(self, situations: Situations, rows: CellCounts) -> NDArray[np.int64]:
        """The index in `situations` of each census, [censuses]; rows: int16 [censuses, width]."""
        size = self.point.honest + 1
        decided = [rows @ (self.over & (self.ones == c)) * self.looks for c in (0, 1)]
        seen = Situations(rows @ self.ones, *decided)
        known, wanted = (np.ravel_multi_index(each, (size,) * 3) for each in (situations, seen))
        return np.searchsorted(known, wanted)


def names_of(census: Census, states: States) -> NDArray[np.uint64]:
    """A number for each state, uint64; two states share one by chance only (2^-64 a pair)."""
    return states.rows.astype(np.uint64) @ census.keys + remembered(states.memory)


def remembered(memory):
    """What memories add to the number of a state, uint64: the number times 2^64 / golden ratio."""
    return np.asarray(memory).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
