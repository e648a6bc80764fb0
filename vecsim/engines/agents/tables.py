"""Threshold tables of one batch, end to end in one array.

Two tables of 10 rows each (c = 0 ... 9 honest 1-holders) in a stack with a capacity of 25:

    rows    0 ... 9   10 ... 19   20 ... 24
            first     second      zeros        start = {first: 0, second: 10}, length = 20
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

CACHE_BYTES = 2**28  # bytes of tables kept on the host for later batches: eight full batches

# By key: the number of rows of a table, and a function that makes it.
WantedTables = dict[Any, tuple[int, Callable[[], np.ndarray]]]


class Stack:
    """Tables end to end; one that several trials use is there once.

    capacity: rows. row: shape of one, uint32. start: first row of each table, by key. made: tables
    by key, those of earlier batches included; past CACHE_BYTES the least recently used is dropped.
    """

    def __init__(self, capacity: int, row: tuple[int, ...]):
        self.capacity, self.row = capacity, row
        self.made: OrderedDict[Any, np.ndarray] = OrderedDict()
        self.bytes = 0
        self.clear()

    def clear(self) -> None:
        """Begin another batch; tables that were made are kept."""
        self.start: dict = {}
        self.parts: list[np.ndarray] = []
        self.length = 0

    def fits(self, wanted: WantedTables) -> bool:
        """Whether there is room for those of the tables that are not there yet."""
        new = sum(rows for key, (rows, _) in wanted.items() if key not in self.start)
        return self.length + new <= self.capacity

    def add(self, wanted: WantedTables) -> None:
        """Put those that are not there yet at the end; they must fit."""
        for key, (rows, make) in wanted.items():
            if key not in self.start:
                self.start[key] = self.length
                self.parts.append(self._table(key, make))
                self.length += rows

    def _table(self, key: Any, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The table, made only if it is not kept any more."""
        if key not in self.made:
            self.made[key] = make()
            self.bytes += self.made[key].nbytes
            while self.bytes > CACHE_BYTES and len(self.made) > 1:
                self.bytes -= self.made.popitem(last=False)[1].nbytes
        self.made.move_to_end(key)
        return self.made[key]

    def array(self) -> np.ndarray:
        """All tables, filled up with zeros to the capacity: uint32 [capacity, *row]."""
        filling = np.zeros((self.capacity - self.length, *self.row), np.uint32)
        return np.concatenate([*self.parts, filling])
