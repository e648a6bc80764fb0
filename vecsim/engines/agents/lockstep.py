"""Agents: one cell per node, lockstep rounds on a complete graph.

Several cells are packed into each uint32 lane (four of 8 bits, two of 16, or one of 32), because
then one fused loop makes the random words, compares them and writes one array. Ten nodes, one of
them Byzantine, with cells of 8 bits; honest nodes come first, and Byzantine ones have no cell:

    lane        0          1          2       3 ... 15
    node     3 2 1 0    7 6 5 4    . . . 8    . . . .     (the lowest bits on the right)
    mask     f f f f    f f f f    0 0 0 f    0 0 0 0     (ff where there is an honest node)

Nodes are counted as if the 16 lanes stood in 8 rows of 2 columns (`lanes`): lanes 0, 2, 4 ... 14
are added up, then 1, 3, 5 ... 15, then the sums.
"""

from functools import partial, reduce
from math import prod
from operator import add
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from vecsim.engines.rounds import in_lockstep
from vecsim.engines.trial import Shape, Tables, Tally, Trials, answers, common_word
from vecsim.model import random
from vecsim.model.poll_draw import draw
from vecsim.types import decided, preference

FLIPPED = 2  # the bit of a cell that says whether its last poll changed its preference
VECTOR = 16  # lanes that the widest vector unit of a CPU takes at once: 512 bits
_MOST_ROWS = 15  # lanes added in the first stage of a count: four bits must hold the sum
FEW_ROWS = 6  # rows of many lanes at least, so that the first stage does most of a count


def lanes(shape: Shape) -> tuple[int, int]:
    """The uint32 words that hold a trial's cells, as rows x columns.

    They fill whole vectors, or go one lane past them, which costs less than a vector. Rows are
    added up first when nodes are counted, so there should be several.
    """
    lanes = -(-shape.nodes * shape.bits // 32)
    while True:
        rows = max(r for r in range(1, _MOST_ROWS + 1) if lanes % r == 0)
        if lanes % VECTOR <= 1 and rows >= min(-(-lanes // VECTOR), FEW_ROWS):
            return rows, lanes // rows
        lanes += 1


def unpack_lanes(lane, bits: int):
    """The cells of each lane, the first node's first: a list of uint32 [lanes]."""
    return [(lane >> jnp.uint32(i)) & jnp.uint32(2**bits - 1) for i in range(0, 32, bits)]


def _pack(cells, bits: int):
    """The inverse of `unpack_lanes`; no cell is wider than its bits."""
    lane = cells[0]
    for i, cell in enumerate(cells[1:], 1):
        lane = lane | (cell << jnp.uint32(i * bits))
    return lane


def node_ids(shape: Shape, zero):
    """Numbers of the nodes: for each cell of a lane, the first one first, uint32 [lanes].

    zero: a 0 that the compiler cannot see through; otherwise it would keep these numbers in memory.
    """
    cells = 32 // shape.bits
    first = jnp.arange(prod(lanes(shape)), dtype=jnp.uint32) * jnp.uint32(cells) + zero
    return [first + jnp.uint32(i) for i in range(cells)]


def flag(shape: Shape, bit: int):
    """A lane (uint32) with this bit set in each cell, and no other."""
    return _pack([jnp.uint32(1 << bit)] * (32 // shape.bits), shape.bits)


def start_nodes(shape: Shape, trial: Trials):
    """Cells of all nodes and the mask of those that exist, uint32 [lanes] each."""
    ids = node_ids(shape, jnp.uint32(0))
    full = jnp.uint32(2**shape.bits - 1)
    honest = trial.honest.astype(jnp.uint32)
    mask = _pack([jnp.where(i < honest, full, jnp.uint32(0)) for i in ids], shape.bits)
    cells = [trial.protocol.start(trial.starts_at_one(i)) for i in ids]
    return _pack(cells, shape.bits) & mask, mask


def tally(shape: Shape, lane):
    """Tally of the honest nodes, and the number of preferences that the last poll changed, int32.

    lane: uint32 [lanes], FLIPPED included.
    The flags of a cell are put four bits apart, as many as its width holds, so that all cells of a
    lane are added at once. The first stage adds down the columns; the second takes the sums apart.
    """
    first = flag(shape, 0)
    preference, decided = lane & first, (lane >> jnp.uint32(1)) & first
    flags = [preference, decided, preference & decided, (lane >> jnp.uint32(FLIPPED)) & first]
    together, sums = min(shape.bits // 4, 4), []
    for group in range(0, 4, together):
        fields = _pack(flags[group : group + together], 4)
        column = fields.reshape(lanes(shape)).sum(axis=0, dtype=jnp.uint32)
        column = lax.optimization_barrier(column)
        for i in range(together):
            shifts = (jnp.uint32(4 * i + low) for low in range(0, 32, shape.bits))
            cells = [(column >> shift) & jnp.uint32(15) for shift in shifts]
            sums.append(reduce(add, cells).sum(dtype=jnp.uint32).astype(jnp.int32))
    return Tally(*sums[:3]), sums[3]


def laid_out(shape: Shape, units):
    """Units of nodes in the order of the lanes: [trials, cells of a lane, lanes].

    units: [trials, nodes].
    """
    cells, number = 32 // shape.bits, prod(lanes(shape))
    filled = np.pad(units, ((0, 0), (0, cells * number - units.shape[1])))
    return filled.reshape(len(units), number, cells).swapaxes(1, 2)


def units_tally(shape: Shape, lane, units):
    """Tally of the units that honest nodes hold. units: int32 [cells of a lane, lanes]."""
    decided, sums = lane >> jnp.uint32(1), [jnp.int32(0)] * 3
    for i, held in enumerate(units):
        # All bits where the flag is set, else none: quicker than a select.
        flags = (
            flag << jnp.uint32(31 - i * shape.bits) for flag in (lane, decided, lane & decided)
        )
        masks = (flag.astype(jnp.int32) >> 31 for flag in flags)
        sums = [total + (held & mask) for total, mask in zip(sums, masks, strict=True)]
    columns = (total.reshape(lanes(shape)).sum(axis=0) for total in sums)
    return Tally(*(lax.optimization_barrier(column).sum() for column in columns))


def class_rows(trial: Trials, tables: Tables, mixes, ones):
    """Thresholds of each class of querier: uint32 [groups, colour, columns, words].

    mixes: int32 [groups, colour]. ones: int32, honest nodes that prefer 1, or units of stake.
    """
    own = jnp.arange(2, dtype=jnp.int32)
    if trial.holders is not None:
        held = trial.holders.scale * jnp.stack([trial.holders.honest - ones, ones])
        rows = trial.holders.rows[mixes] + held  # [groups, own, colour]
        agree, against = (rows[:, own, colour] for colour in (own, 1 - own))
        halves = tables.thresholds[agree, 0], tables.thresholds[against, 1]
        return jnp.concatenate(halves, axis=-2)
    rows = jnp.maximum(trial.offsets[mixes] + ones - own * trial.exclude_self, 0)
    return tables.thresholds[rows, own % tables.thresholds.shape[1]]


def _words(shape: Shape, trial: Trials, ids, round_):
    """Random words of each cell of each lane, the same however many cells a lane holds.

    Node i takes word i % 2 of block i // 2, or a block of its own where a draw needs two words.
    """
    if shape.kind.blocks:
        second = random.counter(round_, random.POLL_WIDE)
        return [random.threefry(*trial.key, i, second) for i in ids]
    second = random.counter(round_, random.POLL)
    blocks = [random.threefry(*trial.key, i >> jnp.uint32(1), second) for i in ids[::2]]
    if len(ids) == 1:
        even = (ids[0] & jnp.uint32(1)) == 0
        return [(jnp.where(even, *blocks[0]),)]
    return [(word,) for block in blocks for word in block]


def advance_nodes(shape: Shape, trial: Trials, tables: Tables, lane, mask, seen, memory):
    """One lockstep round: every undecided node polls once, all updates together.

    lane, mask: uint32 [lanes]. seen: the adversary's view of the round. memory: int32 [slots].
    Returns the lanes after the round, FLIPPED set where a preference has changed, and the memory.
    """
    rule = trial.protocol
    mixes, memory = answers(trial, seen, memory)
    rows = lax.optimization_barrier(class_rows(trial, tables, mixes, seen.ones))
    first_group = trial.first_group.astype(jnp.uint32)
    round_ = seen.round.astype(jnp.uint32)
    ids = node_ids(shape, jnp.minimum(round_, jnp.uint32(0)))
    lane = lane & ~flag(shape, FLIPPED)
    cells = unpack_lanes(lane, shape.bits)
    common, new = common_word(trial, seen.round) if rule.common else None, []
    for cell, node, word in zip(cells, ids, _words(shape, trial, ids, round_), strict=True):
        poll: Any = draw(shape.kind, rows, preference(cell), node >= first_group, word, rule.k)
        if rule.common:
            poll = poll._replace(common=common)
        new.append(jnp.where(decided(cell), cell, rule.step(cell, poll)))
    stepped = _pack(new, shape.bits) & mask
    flipped = (stepped ^ lane) & flag(shape, 0)
    return lax.optimization_barrier(stepped | (flipped << jnp.uint32(FLIPPED))), memory


def lockstep_program(shape: Shape):
    """The function (trials, tables) -> Outcome."""

    def count(trial, nodes):
        lane, _ = nodes
        counted, flips = tally(shape, lane)
        if trial.holders is not None:
            counted = counted._replace(units=units_tally(shape, lane, trial.holders.units))
        return counted, flips

    def move(trial, tables, nodes, seen, memory):
        lane, mask = nodes
        lane, memory = advance_nodes(shape, trial, tables, lane, mask, seen, memory)
        return (lane, mask), memory

    return in_lockstep(partial(start_nodes, shape), count, move)
