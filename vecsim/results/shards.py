"""Parts of a study that are computed apart from one another, each into a store of its own.

The chains of a study, in order, are dealt out: shard i of N takes chains i, i + N, i + 2 N and so
on. A chain is a chunk or, where trials are added until an interval is narrow enough, all chunks of
the same points. The store of a shard is laid out as the whole, with the other chunks left out:

    OUTPUT/shards/0-of-3/data.zarr    chains 0, 3, 6, ...
    OUTPUT/shards/1-of-3/data.zarr    chains 1, 4, 7, ...
    OUTPUT/shards/2-of-3/data.zarr    chains 2, 5, 8, ...
    OUTPUT/data.zarr                  made of them by `merge`
"""

import re
from typing import Any, NamedTuple

import numpy as np

from vecsim.errors import require
from vecsim.results.layout import Index, Layout

SHARDS = "shards"  # in the output folder
_MOST = 10**6  # shards: more than any study has chains


class Shard(NamedTuple):
    """One of `of` parts, 0 <= number < of; the whole study is part 0 of 1."""

    number: int = 0
    of: int = 1

    @classmethod
    def parse(cls, text: Any) -> "Shard":
        """From i/N, the whole from None; ConfigError where it is neither."""
        if text is None:
            return WHOLE
        match = re.fullmatch(r"(\d{1,7})/(\d{1,7})", text) if isinstance(text, str) else None
        allowed = f"null, or i/N with 0 <= i < N <= {_MOST}, as 0/8 to 7/8"
        require(match is not None, "shard", text, allowed)
        assert match
        number, of = int(match[1]), int(match[2])
        require(number < of <= _MOST, "shard", text, allowed)
        return cls(number, of)

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def is_part(self) -> bool:
        """Whether it is a part of a study, not the whole or nothing that there can be."""
        return self.number < self.of <= _MOST and self.of > 1

    @property
    def folder(self) -> str:
        """Where its stores are, in the output folder; empty for the whole."""
        return "" if self.of == 1 else f"{SHARDS}/{self.number}-of-{self.of}"


WHOLE = Shard()


def chain_of(layout: Layout, precise: bool, index: Index) -> int:
    """The number of the chain that a chunk is in. precise: whether the study has a precision."""
    kept = slice(-1 if precise else None)  # all blocks of a cell belong together then
    return int(np.ravel_multi_index(index[kept], layout.grid[kept])) if index[kept] else 0
