"""Threshold tables of one batch, end to end in one array."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

CACHE_BYTES = 2**28  # bytes of tables kept on the host for batches to come: eight full batches

# By key: the number of rows, and how to make them.
WantedTables = dict[Any, tuple[int, Callable[[], np.ndarray]]]


class Stack:
    """Tables end to end; one that several trials use is there once.

    capacity: rows. row: shape of one. made: tables of earlier batches too, by key, of which the one
    used longest ago is dropped past CACHE_BYTES.
    """

    def __init__(self, capacity: int, row: tuple[int, ...]):
        self.capacity, self.row = capacity, row
        self.made: OrderedDict[Any, np.ndarray] = OrderedDict()
        self.bytes = 0
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
                self.parts.append(self._table(key, make))
                self.length += rows

    def _table(self, key: Any, make: Callable[[], np.ndarray]) -> np.ndarray:
        if key not in self.made:
            self.made[key] = make()
            self.bytes += self.made[key].nbytes
            while self.bytes > CACHE_BYTES and len(self.made) > 1:
                self.bytes -= self.made.popitem(last=False)[1].nbytes
        self.made.move_to_end(key)
        return self.made[key]

    def array(self) -> np.ndarray:
        """All tables, filled up with zeros to the capacity."""
        filling = np.zeros((self.capacity - self.length, *self.row), np.uint32)
        return np.concatenate([*self.parts, filling])
