"""Population: the number of honest nodes in each cell, lockstep rounds on a complete graph.

Nodes of one class (colour, group) are exchangeable, so a round is exact multinomial draws between
cells, and its cost does not depend on n. A node's rule is the protocol's own `step`, applied to
every reachable cell (`cells`); `moves` says which draws a round takes.

Trials are run in blocks of one point each. A block is what is compiled, so that a trial's bits are
the same in whatever batch its block is run.

A trial of n = 10 (9 honest, 4 of them at 1) in a block, Snowflake with beta 2, one group:

    cell      0  1  2  3  4  5       the two last ones: 0 and 1 decided
    nodes     5  4  0  0  0  0       float64 [trials, groups, cells]
    chances   of each result, float64 [trials, groups, own colour, results]
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vecsim.engines.holders import Holders, minority_of_units, stake_shares
from vecsim.engines.population import undisputed
from vecsim.engines.population.binomial import Names, binomial, conditional, names_in
from vecsim.engines.population.moves import MOST_DRAWS, Moves, stages_named
from vecsim.engines.population.poll_results import result_probabilities
from vecsim.engines.population.pooled import pooled_minority
from vecsim.engines.population.prepare import (
    Blocks,
    PopulationShape,
    blocks_of,
    population_program_key,
)
from vecsim.engines.trial import Tally, TrialRecord, Trials, all_devices, answers, batch, seen
from vecsim.model import random
from vecsim.model.point import MOST_ROUNDS, Point
from vecsim.types import STEPPED, Outcome

GROUP = MOST_DRAWS.bit_length() - 1  # bits of a draw's number below those of the group
_NAMED = 4  # groups for which a draw's number of 22 bits has room; others are in its round's number


class RoundState(NamedTuple):
    """The trials of a block between two rounds."""

    round: Any  # int64 [trials], rounds completed
    nodes: Any  # float64 [trials, groups, cells], whole numbers; the adversary's groups go fastest
    flips: Any  # int64 [trials], of the last round
    memory: Any  # int32 [trials, slots], the adversary's


# For `vmap`: the fields of a block's trials that have an axis of trials, the first; None: shared.
EACH = Trials._make([None] * len(Trials._fields))
# Those that differ from trial to trial.
EACH = EACH._replace(key=(0, 0), coin=0, honest=0, byzantine=0, kinds=0)
_HOLDERS = Holders._make([None] * len(Holders._fields))._replace(
    honest=0, byzantine=0, kinds=0, start_ones=0, samples=0
)
EACH_WEIGHTED = EACH._replace(start_ones=0, holders=_HOLDERS)  # with weighted stake


def _program(shape: PopulationShape):
    """The function (blocks, nothing) -> Outcome [blocks, trials], and Tally of units at the end."""

    def run_block(block: Blocks):
        def body(carried):
            state, record = carried
            tally = count_by_cell(block.moves, state.nodes, block.sides.units)
            awake = taking_part(shape, block, state)
            polls = block.trials.honest - tally.decided
            if shape.rests:
                polls = awake[..., :-2].sum(axis=(1, 2)).astype(jnp.int64)
            observe = jax.vmap(TrialRecord.update, (0, each, 0, 0, 0, 0))
            record = observe(record, block.trials, tally, state.round, state.flips, polls)
            return advance_counts(shape, block, state, tally, awake), record

        start = begin(shape, block), jax.vmap(TrialRecord.start, (each,))(block.trials)
        record = lax.while_loop(lambda carried: carried[1].running.any(), body, start)[1]
        return record.outcome, record.units

    each = EACH_WEIGHTED if shape.weighted else EACH
    return lambda blocks, _: lax.map(run_block, blocks)


def begin(shape: PopulationShape, block: Blocks) -> RoundState:
    """Nobody has polled yet; trials that fill the block up have no nodes."""
    honest, sides, moves = block.trials.honest, block.sides, block.moves
    there = (honest > 0)[:, None]
    nodes = jnp.zeros((*sides.ones.shape, len(moves.preference)))
    for start, number in zip(moves.start, (sides.nodes - sides.ones, sides.ones), strict=True):
        nodes = nodes.at[..., start].add(jnp.where(there, number, 0).astype(jnp.float64))
    none = jnp.zeros_like(honest)
    return RoundState(none, nodes, none, block.trials.no_memory(len(honest)))


def taking_part(shape: PopulationShape, block: Blocks, state: RoundState):
    """The nodes of each cell that take part in this round, [trials, groups, cells]."""
    if not shape.rests:
        return state.nodes
    number = jnp.arange(state.nodes.shape[-1], dtype=jnp.uint32)
    names = _names(block, state, number, random.ANSWERS, random.PLACE)
    chance = jnp.broadcast_to(block.sides.active[:, None], (*state.nodes.shape[1:], 2))
    return binomial(names, state.nodes, chance[..., 0], chance[..., 1])


def _names(block: Blocks, state: RoundState, number, *purposes: int) -> Names:
    """Names of draws with these numbers in each group, [trials, groups, numbers].

    The group is in the number of the draw and, from _NAMED groups on, in the round of the counters.
    """
    key = tuple(word[:, None, None] for word in block.trials.key)
    group = jnp.arange(state.nodes.shape[1], dtype=jnp.uint32)[:, None]
    more = (group // jnp.uint32(_NAMED)) * jnp.uint32(MOST_ROUNDS)
    round_ = state.round.astype(jnp.uint32)[:, None, None] + more
    number = number | (group % jnp.uint32(_NAMED)) << jnp.uint32(GROUP)
    return names_in(key, number, round_, *purposes)


def advance_counts(
    shape: PopulationShape, block: Blocks, state: RoundState, tally: Tally, awake
) -> RoundState:
    """The state after one round: every undecided node that takes part polls once, all together.

    tally: of the state. awake: nodes that take part, as of `taking_part`.
    """
    chances, memory = faced(shape, block, state, tally, awake)
    nodes, flips = move(shape, block, state._replace(nodes=awake), chances)
    if shape.rests:
        nodes = nodes + (state.nodes - awake)
    return RoundState(state.round + 1, nodes, flips, memory)


def heard(shape: PopulationShape, block: Blocks, state: RoundState, awake):
    """Honest nodes that take part and are heard by each group, and those of them that prefer 1.

    Both float64 [trials, groups].
    """
    preference = block.moves.preference.astype(jnp.float64)
    apart = (state.round < block.sides.cut)[:, None]

    def reaching(counted):
        sides = counted.sum(axis=-1).reshape(len(awake), shape.sides, shape.groups).sum(axis=-1)
        sides = jnp.where(apart, sides, sides.sum(axis=-1, keepdims=True))
        return jnp.repeat(sides, shape.groups, axis=-1)

    return reaching(awake), reaching(awake * preference)


def faced(shape: PopulationShape, block: Blocks, state: RoundState, tally: Tally, awake):
    """P(each result) of this round's polls, and the adversary's memory after it.

    float64 [trials, groups, own colour, results], int32 [trials, slots].
    """
    trials, polls = block.trials, block.polls
    pushed, each = jnp.zeros(tally.ones.shape, jnp.bool_), EACH
    if shape.weighted:
        each = EACH_WEIGHTED
        if shape.pools:
            pooled = jax.vmap(minority_of_units, (each, 0, 0))
            pushed = pooled(trials, state.round, tally.counted.ones)
    elif shape.pools:
        pushed = pooled_minority(trials, polls, state.round, tally.ones)

    def answered(trial, counted, minority, round_, memory):
        return answers(trial, seen(trial, counted, round_, lambda _: minority), memory)

    every = jax.vmap(answered, (each, 0, 0, 0, 0))
    mixes, memory = every(trials, tally, pushed, state.round, state.memory)
    if shape.weighted:
        holders = trials.holders
        units = (holders.kinds, tally.counted.ones, holders.honest)
        kinds, ones, honest = (part.astype(jnp.float64) for part in units)
        chances = result_probabilities(polls, kinds, ones, mixes, honest=honest)
        return jnp.tile(chances, (1, shape.sides, 1, 1)), memory
    kinds, ones = (v.astype(jnp.float64) for v in (trials.kinds, tally.ones))
    if not shape.unheard:
        return result_probabilities(polls, kinds, ones, mixes), memory
    honest, ones = heard(shape, block, state, awake)
    mixes = jnp.tile(mixes, (1, shape.sides, 1))
    return result_probabilities(polls, kinds, ones, mixes, honest), memory


def count_by_cell(moves: Moves, nodes, units=None) -> Tally:
    """The tally of nodes [trials, groups, cells], int64 [trials] each.

    units: that each node holds [groups], with weighted stake.
    """
    if units is not None:
        held = count_by_cell(moves, nodes * units[:, None])
        return count_by_cell(moves, nodes)._replace(units=held)
    cells = nodes.sum(axis=1)
    ones = (cells * moves.preference.astype(jnp.float64)).sum(axis=-1)
    decided = cells[..., -2] + cells[..., -1]
    return Tally(*(total.astype(jnp.int64) for total in (ones, decided, cells[..., -1])))


def move(shape: PopulationShape, block: Blocks, state: RoundState, chances):
    """The nodes of each cell after a round, as of RoundState, and the preferences that it changed.

    chances: float64 [trials, groups, own colour, results]. flips: int64 [trials].
    """
    columns = [sum(chances[..., result] for result in results) for results in shape.columns]
    left = state.nodes[..., :-2]
    nodes = jnp.zeros_like(state.nodes).at[..., -2:].set(state.nodes[..., -2:])
    flips, room = jnp.zeros(left.shape[:1]), stages_named(len(columns))
    for i, stage in enumerate(block.moves.stages):
        waiting = jnp.zeros((*left.shape[:2], shape.rows[i])).at[..., stage.row].add(left)
        taken = waiting
        if i < len(columns) - 1:
            p, q = conditional(columns[i], sum(columns[i + 1 :]))
            number = stage.cell.astype(jnp.uint32) * jnp.uint32(room) + jnp.uint32(i)
            names = _names(block, state, number)
            taken = binomial(names, waiting, p[..., stage.colour], q[..., stage.colour])
        nodes = nodes.at[..., stage.to].add(taken)
        flips = flips + (taken * stage.turns.astype(jnp.float64)).sum(axis=(1, 2))
        left = waiting - taken
    return nodes, flips.astype(jnp.int64)


def run(work: list[tuple[Point, np.ndarray]], seed: int, memory: int = 2**28) -> dict:
    """Outcomes of the numbered trials of each point, end to end: the fields of `Outcome`, and
    `admitted`, the Byzantine nodes in the network. Rounds are float64, NaN for never; the rest
    is int64. Where stake is weighted, of all points or of none, its shares follow (float64).

    memory: bytes that a batch may take. Points that `supports` has a reason against must not be
    given.
    """
    starts = np.cumsum([0, *(len(trials) for _, trials in work)])
    out = {name: np.full(starts[-1], -1, np.int64) for name in (*Outcome._fields, "admitted")}
    groups: dict[Any, list[int]] = {}
    for i, (point, trials) in enumerate(work):
        if not point.protocol.counts:
            groups.setdefault(population_program_key(point), []).append(i)
            continue
        for name, array in undisputed.outcomes_of(point, trials, seed).items():
            out[name][starts[i] : starts[i + 1]] = array
    mesh = all_devices()
    for (_, shape), members in groups.items():
        served = [(*work[i], starts[i] + np.arange(len(work[i][1]))) for i in members]
        for blocks, place in blocks_of(shape, served, seed, mesh.size, memory):
            with jax.enable_x64(True):
                outcome, units = jax.device_get(batch(_program, shape, mesh, blocks, ()))
            values = outcome._asdict() | {"admitted": blocks.trials.byzantine}
            if shape.weighted:
                values |= stake_shares(blocks.trials.holders, units)
            there = place >= 0
            for name, array in values.items():
                unset = np.full(starts[-1], -1, array.dtype)
                out.setdefault(name, unset)[place[there]] = array[there]
    for name in STEPPED:
        out[name] = np.where(out[name] < 0, np.nan, out[name].astype(float))
    return out
