"""Every cell that a protocol's nodes can be in, and where each result of a poll takes it.

The protocol's own `step` is applied to every reachable cell, beginning with the two starts,
so that no engine needs a second copy of a rule. Snowflake with beta 2 and equal alphas:

    index        0  1  2  3  4  5
    cell         0  1  8  9  18 19
    preference   0  1  0  1  0  1
    counter      0  0  1  1  decided
    after        0  1  0  1  4  5      no quorum
                 2  3  4  5  4  5      agree, confident
                 3  2  3  2  4  5      against, confident
"""

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from vecsim.errors import require
from vecsim.polls import poll_record, results_of
from vecsim.types import Protocol, decided, preference

_MOST_CELLS = 2**17  # cells of a protocol at most, to bound time and memory of their enumeration


class Cells(NamedTuple):
    """The reachable cells, those nearest to a start first.

    cells: uint32 [cells], of which the first two are the starts of 0 and 1. preference: uint32
    [cells]. decided: bool [cells]. after: int32 [cells, results], index of the cell that follows
    each of the first `results_of` the protocol's quorums; a decided cell follows itself, and so
    does one that only the last round reaches.
    """

    cells: NDArray[np.uint32]
    preference: NDArray[np.uint32]
    decided: NDArray[np.bool_]
    after: NDArray[np.int32]


def only_by_nodes(protocol: Protocol) -> str | None:
    """Why only the engines that keep every node serve the protocol; None where others may, too."""
    reasons = {
        "its nodes share a random word": protocol.common,
        "it tells neutral answers from none": protocol.neutral,
        "it looks at who answers": protocol.voters,
        "its nodes may give up": protocol.stops,
        "its cells have several words": protocol.further(),
    }
    reason = next((reason for reason, holds in reasons.items() if holds), None)
    return reason and f"protocol={type(protocol).__name__}: {reason}"


def require_cells(protocol: Protocol) -> None:
    """ConfigError where only the engines that keep every node serve the protocol."""
    allowed = "one that other engines than agents serve"
    reason = only_by_nodes(protocol)
    require(reason is None, "protocol", type(protocol).__name__, f"{allowed} ({reason})")


@lru_cache(maxsize=32)
def enumerate_cells(protocol: Protocol, rounds: int, results: int | None = None) -> Cells:
    """The cells that up to `rounds` polls can lead to, each with one of the first `results`, or of
    all of them.

    ConfigError for a protocol that uses counts or that only nodes serve, or that has more than
    _MOST_CELLS cells.
    """
    require_cells(protocol)
    name = type(protocol).__name__
    require(not protocol.counts, "protocol", name, "a protocol that looks at quorums only")
    results = len(results_of(len(protocol.quorums))) if results is None else results
    starts = np.asarray(protocol.start(jnp.arange(2, dtype=jnp.uint32)))
    number = {int(cell): i for i, cell in enumerate(starts)}
    after: dict[int, list[int]] = {}
    fresh = starts
    for _ in range(rounds):
        open_cells = fresh[~decided(fresh)]
        if not len(open_cells):
            break
        stepped = np.asarray(_step(protocol, padded(open_cells)))[: len(open_cells), :results]
        after |= dict(zip(open_cells.tolist(), stepped.tolist(), strict=True))
        found = [cell for cell in np.unique(stepped).tolist() if cell not in number]
        number |= {cell: len(number) + i for i, cell in enumerate(found)}
        allowed = f"one with at most {_MOST_CELLS} cells: fewer rounds, or a smaller beta"
        require(len(number) <= _MOST_CELLS, "protocol", name, allowed)
        fresh = np.array(found, np.uint32)
    cells = np.array(list(number), np.uint32)
    rows = (after.get(cell, [cell] * results) for cell in number)
    places = np.array([[number[cell] for cell in row] for row in rows], np.int32)
    return Cells(cells, preference(cells), decided(cells), places)


def padded(values: NDArray[Any]) -> NDArray[Any]:
    """The array repeated along its first axis up to a power of two, so that few shapes compile."""
    return values[np.arange(1 << (len(values) - 1).bit_length()) % len(values)]


@jax.jit
def _step(protocol: Protocol, cells):
    """The cell after each result, uint32 [cells, results], by the protocol's own step."""
    number = len(protocol.quorums)
    stepped = []
    for agree, against, level in results_of(number):
        flags = jnp.full(cells.shape, agree), jnp.full(cells.shape, against)
        poll = poll_record(number, *flags, jnp.full(cells.shape, level, jnp.uint32))
        stepped.append(protocol.step(cells, poll))
    return jnp.stack(stepped, axis=1)
