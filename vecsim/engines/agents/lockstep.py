"""Agents: one cell per node, lockstep rounds on a complete graph.

Several cells are packed into each uint32 lane (four of 8 bits, two of 16, or one of 32), because
then one fused loop makes the random words, compares them and writes one array.
"""

from functools import reduce
from math import prod
from operator import add

import jax
import jax.numpy as jnp
from jax import lax

from vecsim.engines.trial import (
    Shape,
    Tables,
    Tally,
    TrialRecord,
    Trials,
    answers,
    no_memory,
    starts_at_one,
    view,
)
from vecsim.model import random
from vecsim.model.poll_draw import draw
from vecsim.types import decided, preference

FLIPPED = 2  # the bit of a cell that says whether its last poll changed its preference
VECTOR = 16  # lanes that the widest vector unit takes at once
_MOST_ROWS = 15  # lanes added in the first stage of a count: four bits must hold the sum
FEW_ROWS = 6


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
    if bits == 32:
        return [lane]
    return [(lane >> jnp.uint32(i)) & jnp.uint32(2**bits - 1) for i in range(0, 32, bits)]


def _pack(cells, bits: int):
    lane = cells[0]
    for i, cell in enumerate(cells[1:], 1):
        lane = lane | (cell << jnp.uint32(i * bits))
    return lane


def node_ids(shape: Shape, zero):
    """Number of the node in each cell of each lane.

    zero: a 0 that the compiler cannot see through, lest it keep these numbers in memory.
    """
    cells = 32 // shape.bits
    first = jnp.arange(prod(lanes(shape)), dtype=jnp.uint32) * jnp.uint32(cells) + zero
    return [first + jnp.uint32(i) for i in range(cells)]


def flag(shape: Shape, bit: int):
    """A lane with one bit set in each cell."""
    return _pack([jnp.uint32(1 << bit)] * (32 // shape.bits), shape.bits)


def start_nodes(shape: Shape, trial: Trials):
    """Cells of all nodes and the mask of those that exist; honest nodes are the first ones."""
    ids = node_ids(shape, jnp.uint32(0))
    full = jnp.uint32(2**shape.bits - 1)
    honest = trial.honest.astype(jnp.uint32)
    mask = _pack([jnp.where(i < honest, full, jnp.uint32(0)) for i in ids], shape.bits)
    cells = [trial.protocol.start(starts_at_one(trial, i)) for i in ids]
    return _pack(cells, shape.bits) & mask, mask


def tally(shape: Shape, lane):
    """Counts of the honest nodes, and of the preferences that the last poll changed.

    The flags of a cell are put four bits apart, as many as its width holds, all cells of a lane
    are added at once, and the first stage runs down columns; the second takes the sums apart.
    """
    first = flag(shape, 0)
    preference, decided = lane & first, (lane >> jnp.uint32(1)) & first
    flags = [preference, decided, preference & decided, (lane >> jnp.uint32(FLIPPED)) & first]
    together, sums = min(shape.bits // 4, 4), []
    for group in range(0, 4, together):
        fields = jnp.uint32(0)
        for i, field in enumerate(flags[group : group + together]):
            fields = fields | (field << jnp.uint32(4 * i))
        column = fields.reshape(lanes(shape)).sum(axis=0, dtype=jnp.uint32)
        column = lax.optimization_barrier(column)
        for i in range(together):
            cells = [column >> jnp.uint32(4 * i + low) for low in range(0, 32, shape.bits)]
            cells = [cell & jnp.uint32(15) for cell in cells]
            sums.append(reduce(add, cells).sum(dtype=jnp.uint32).astype(jnp.int32))
    return Tally(*sums[:3]), sums[3]


def class_rows(trial: Trials, tables: Tables, mixes, ones):
    """Thresholds of each class of querier: uint32 [groups, colour, columns, words]."""
    own = jnp.arange(2, dtype=jnp.int32)
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
    """One lockstep round: every undecided node polls once, all updates together."""
    rule = trial.protocol
    mixes, memory = answers(trial, seen, memory)
    rows = lax.optimization_barrier(class_rows(trial, tables, mixes, seen.ones))
    first_group = trial.first_group.astype(jnp.uint32)
    round_ = seen.round.astype(jnp.uint32)
    ids = node_ids(shape, jnp.minimum(round_, jnp.uint32(0)))
    lane = lane & ~flag(shape, FLIPPED)
    cells = unpack_lanes(lane, shape.bits)
    new = []
    for cell, node, word in zip(cells, ids, _words(shape, trial, ids, round_), strict=True):
        poll = draw(shape.kind, rows, preference(cell), node >= first_group, word, rule.k)
        new.append(jnp.where(decided(cell), cell, rule.step(cell, poll)))
    stepped = _pack(new, shape.bits) & mask
    flipped = (stepped ^ lane) & flag(shape, 0)
    return lax.optimization_barrier(stepped | (flipped << jnp.uint32(FLIPPED))), memory


def lockstep_program(shape: Shape):
    def prepare(trial):
        return *start_nodes(shape, trial), TrialRecord.start(trial)

    def observe(trial, lane, record, round_):
        counted, flips = tally(shape, lane)
        polls = trial.honest - counted.decided
        return counted, record.update(trial, counted, round_, flips, polls)

    def move(trial, tables, lane, mask, counted, round_, memory):
        seen = view(trial, tables, counted, round_, counted.ones)
        return advance_nodes(shape, trial, tables, lane, mask, seen, memory)

    def run(trials: Trials, tables: Tables):
        lane, mask, record = jax.vmap(prepare)(trials)

        def body(state):
            round_, lane, memory, record = state
            counted, record = jax.vmap(observe, (0, 0, 0, None))(trials, lane, record, round_)
            lane, memory = jax.vmap(move, (0, None, 0, 0, 0, None, 0))(
                trials, tables, lane, mask, counted, round_, memory
            )
            return round_ + 1, lane, memory, record

        memory = no_memory(trials.adversaries, len(lane))
        state = (jnp.int32(0), lane, memory, record)
        state = lax.while_loop(lambda state: state[-1].running.any(), body, state)
        return state[-1].outcome

    return run
