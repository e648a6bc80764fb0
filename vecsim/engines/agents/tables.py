"""Threshold tables of one batch, end to end in one array."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

CACHE_BYTES = 2**28  # bytes of tables kept on the host for batches to come: eight full batches

# By key: the number of rows, and how to make them.
WantedTables = dict[Any, tuple[int, Callable[[], np.ndarray]]]


class Cache:
    """Tables by key, the one used longest ago dropped past CACHE_BYTES."""

    def __init__(self):
        self.tables: OrderedDict = OrderedDict()
        self.bytes = 0

    def get(self, key, make) -> np.ndarray:
        if key not in self.tables:
            self.tables[key] = make()
            self.bytes += self.tables[key].nbytes
            while self.bytes > CACHE_BYTES and len(self.tables) > 1:
                self.bytes -= self.tables.popitem(last=False)[1].nbytes
        self.tables.move_to_end(key)
        return self.tables[key]


class Stack:
    """Tables end to end; one that several trials use is there once.

    capacity: rows. row: shape of one.
    """

    def __init__(self, capacity: int, row: tuple[int, ...]):
        self.capacity, self.row, self.cache = capacity, row, Cache()
        self.clear()

    def clear(self) -> None:
        self.start: dict = {}
        self.parts: list[np.ndarray] = []
        self.length = 0

    def fits(self, wanted: WantedTables) -> bool:
        new = sum(rows for key, (rows, _) in wanted.items() if key not in self.start)
        return self.length + new <= self.capacity

    def add(self, wanted: WantedTables) -> None:
        for key, (rows, make) in wanted.items():
            if key not in self.start:
                self.start[key] = self.length
                self.parts.append(self.cache.get(key, make))
                self.length += rows

    def array(self) -> np.ndarray:
        """All tables, filled up with zeros to the capacity."""
        filling = np.zeros((self.capacity - self.length, *self.row), np.uint32)
        return np.concatenate([*self.parts, filling])
