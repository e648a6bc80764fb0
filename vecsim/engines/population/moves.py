"""How the nodes of each cell move on in a round, as draws between few rows of cells.

The nodes of a cell are divided among the results of a poll, one column of results after another:
the nodes that one draw leaves are divided by the next. Cells that all later columns take to the
same places are merged before they are drawn from, so that a round of Snowflake takes two draws for
each colour and one for each counter. With beta 2 and equal alphas, cells as numbered in
`engines.cells`:

    stage 0   agree, confident     rows 0, 1, 2, 3 (a cell each)              to 2, 3, 4, 5
    stage 1   no quorum            rows 0, 1 (cells 0 and 2, cells 1 and 3)   to 0, 1
    stage 2   against, confident   rows 0, 1 (what is left: nothing is drawn) to 3, 2
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vecsim.engines.cells import enumerate_cells
from vecsim.errors import require
from vecsim.polls import possible
from vecsim.types import Protocol

MOST_DRAWS = 2**20  # numbers of draws in a group: cells x stages must fit
LEAST_STAGES = 8  # stages for which a draw's number has room at least, which names its words


class Stage(NamedTuple):
    """One column of results: int32 [rows] each.

    row: [rows of the stage before, or cells], where their nodes are counted. colour: of the row's
    queriers. to: the cell that follows. turns: 1 where that changes the preference. cell: the
    row's first cell, which names its draws.
    """

    row: Any
    colour: Any
    to: Any
    turns: Any
    cell: Any


class Moves(NamedTuple):
    """Moves between the cells that nodes are counted in: the undecided ones, then 0 and 1 decided.

    columns: results that go together, in the order of the stages. stages: one for each column;
    what the last one holds is not drawn. preference: int32 [cells]. start: int32 [colour], the cell
    in which its nodes start.
    """

    columns: tuple[tuple[int, ...], ...]
    stages: tuple[Stage, ...]
    preference: NDArray[np.int32]
    start: NDArray[np.int32]

    @property
    def rows(self) -> tuple[int, ...]:
        """Rows of each stage."""
        return tuple(len(stage.to) for stage in self.stages)


@lru_cache(maxsize=32)
def moves_of(protocol: Protocol, rounds: int) -> Moves:
    """The protocol's moves; protocol and rounds as for `enumerate_cells`, with its errors, and one
    where draws are too many to be named."""
    cells = enumerate_cells(protocol, rounds)
    undecided = np.flatnonzero(~cells.decided)
    number = np.where(cells.decided, len(undecided) + cells.preference.astype(int), 0)
    number[undecided] = np.arange(len(undecided))
    after = number[cells.after[undecided]]
    colour = cells.preference[undecided].astype(np.int32)
    preference = np.append(colour, [0, 1]).astype(np.int32)

    columns: dict[bytes, list[int]] = {}
    for result in drawing_order(protocol.quorums):
        columns.setdefault(after[:, result].tobytes(), []).append(result)
    most = MOST_DRAWS // stages_named(len(columns))
    allowed = f"one with at most {most} cells: fewer rounds, or a smaller beta"
    require(len(undecided) <= most, "protocol", type(protocol).__name__, allowed)
    results = [grouped[0] for grouped in columns.values()]

    stages, first = [], np.arange(len(undecided))  # first cell of each row
    for stage in range(len(results)):
        later = np.column_stack([colour[first], after[first][:, results[stage:]]])
        _, kept, row = np.unique(later, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(np.argsort(kept))  # rows in the order of their first cells
        first = first[np.sort(kept)]
        to = after[first, results[stage]]
        turns = preference[to] != colour[first]
        arrays = order[row.ravel()], colour[first], to, turns, first
        stages.append(Stage(*(array.astype(np.int32) for array in arrays)))
    start = number[:2].astype(np.int32)
    return Moves(tuple(map(tuple, columns.values())), tuple(stages), preference, start)


def drawing_order(quorums: tuple[int, ...]) -> list[int]:
    """The results that a poll may have, as numbered by `results_of`, in the order in which they are
    drawn: those that distinguish the most cells first, so that later draws are shared by more.
    """
    *lower, most = possible(quorums)
    agree = [most, 0, *lower[::-1]]
    return agree + [len(quorums) + level for level in (most, *lower[::-1])]


def stages_named(stages: int) -> int:
    """Stages for which the number of a draw has room: a power of two from LEAST_STAGES on."""
    return max(LEAST_STAGES, 1 << (stages - 1).bit_length())
