"""From points and trial numbers to the blocks of the population engine (host side).

A block holds `shape.block` trials of one point, a batch several blocks; what belongs to the point
has an axis of blocks alone. Two trials of a point with n = 10 (9 honest, Snowflake with beta 2):

    honest     [blocks, trials]    9 9 0 0 ...    the rest of the block: trials of no nodes
    place      [blocks, trials]    0 1 -1 -1 ...  where outcomes belong, -1 nowhere
    moves      [blocks, rows]      of the 6 cells below, those that a draw shares out

    cell         0  1   2  3    4  5              a trial's state: nodes in each, 9 together
    preference   0  1   0  1    0  1
    counter      0  0   1  1    decided
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from vecsim.engines.agents.holdings import holdings_of
from vecsim.engines.agents.prepare import Roster, roster_of, shared_fields
from vecsim.engines.cells import only_by_nodes
from vecsim.engines.drawn import admitted, first_ones
from vecsim.engines.holders import Holders
from vecsim.engines.population import undisputed
from vecsim.engines.population.moves import Moves, moves_of
from vecsim.engines.population.stake_classes import class_counts, classes_of, supports_stake
from vecsim.engines.population.weights import Polls, polls_of, third_part, varies_apart
from vecsim.engines.trial import Trials
from vecsim.errors import ConfigError
from vecsim.model import random
from vecsim.model.point import MOST_NODES, Point
from vecsim.polls import results_of

BLOCKS = 16  # blocks of a batch and device at most: enough to hide the fixed cost of a batch
MOST_WEIGHTS = 2**28  # bytes that the weights of a point with groups may take, to bound the memory
LEAST_MIXES = 3  # mixes in a program at least: the most that vecsim's have, so that they share one

# A point, the numbers of its trials, and where their outcomes belong.
Served = tuple[Point, np.ndarray, np.ndarray]


class PopulationShape(NamedTuple):
    """What a program is compiled for."""

    engine: str  # "population"
    block: int  # trials
    groups: int  # of honest nodes that some adversary tells apart
    pools: bool  # whether some adversary pools samples
    third: bool  # whether some answer may be a coin or silence
    sides: int  # groups of honest nodes in the network
    rests: bool  # whether some of them may not take part in a round
    weighted: bool  # whether the sides are classes of nodes that hold the same stake
    mixes: int  # of an adversary at most
    kinds: int  # of Byzantine nodes
    size: int  # of a sample at most
    results: int  # that a poll may have
    columns: tuple[tuple[int, ...], ...]  # see Moves
    rows: tuple[int, ...]

    @property
    def unheard(self) -> bool:
        """Whether some honest node's answers may not reach some querier."""
        return not self.weighted and (self.sides > 1 or self.rests)


class _Sides(NamedTuple):
    """The network's groups of honest nodes, each divided into the adversary's groups, [groups].

    With weighted stake they are classes of nodes that hold the same.
    """

    nodes: Any  # int64 [groups], with weighted stake [trials, groups]
    ones: Any  # int64 [trials, groups]: those of them that start at 1
    active: Any  # float64 [groups, 2]: P(a node takes part in a round), P(it does not)
    cut: Any  # int64: rounds in which sides do not hear each other
    units: Any = None  # float64 [groups]: of weighted stake, held by each node


class Blocks(NamedTuple):
    """Trials of one point each; every leaf has a leading axis of blocks."""

    trials: Trials  # key, honest and byzantine have an axis of trials, the rest belong to the point
    polls: Polls
    moves: Moves  # without `columns`
    sides: _Sides


def supports(point: Point) -> str | None:
    """Why the engine cannot run the point; None if it can."""
    if reason := only_by_nodes(point.protocol) or supports_stake(point):
        return reason
    if point.schedule != "lockstep":
        return f"schedule={point.schedule}: polls one by one are not draws between cells"
    if point.network.topology != "complete":
        return f"network.topology={point.network.topology}: nodes are not exchangeable on a graph"
    if point.n > MOST_NODES:
        return f"n={point.n}: at most {MOST_NODES} nodes"
    groups = point.network.groups
    if point.protocol.counts and groups:
        return f"protocol={type(point.protocol).__name__}: it looks at counts"
    if point.protocol.counts:
        return undisputed.supports_undisputed(point)
    if varies_apart(point):
        return f"adversary={point.adversary.title}: numbers of nodes that toss coins vary by chance"
    try:
        moves_of(point.protocol, point.protocol.max_rounds)
    except ConfigError as error:
        return str(error)
    if groups and _weight_bytes(population_shape(point)) > MOST_WEIGHTS:
        return f"protocol.k={point.protocol.k}: too large where answers are left to chance"
    return None


def _weight_bytes(shape: PopulationShape) -> int:
    """Bytes that the weights of a point with groups take (see `Polls`)."""
    size = shape.size + 1
    return 8 * size * shape.mixes * 2 * shape.results * (size if shape.third else 1) * size


def population_program_key(point: Point) -> tuple[Any, PopulationShape]:
    """Points with the same key are run by the same compiled program."""
    return jax.tree.structure(point.protocol), population_shape(point)


def population_shape(point: Point) -> PopulationShape:
    """What the program that serves the point is compiled for, whatever other points are run.

    Points with the same shape, and a protocol of the same structure, share one.
    """
    moves = moves_of(point.protocol, point.protocol.max_rounds)
    adversary, network = point.adversary, point.network
    sides = max(len(network.groups), classes_of(point))
    return PopulationShape(
        engine="population",
        block=_block_size(sides * adversary.groups * max(moves.rows)),
        groups=adversary.groups,
        pools=adversary.pools,
        third=third_part(point),
        sides=sides,
        rests=any(each < 1 for each in network.active),
        weighted=point.stake.weighted,
        mixes=max(len(adversary.ways), LEAST_MIXES),
        kinds=len(adversary.kinds),
        size=_rounded(point.protocol.k),
        results=len(results_of(len(point.protocol.quorums))),
        columns=moves.columns,
        rows=moves.rows,
    )


def _block_size(rows: int) -> int:
    """Trials of a block: few enough for the cache, enough to hide the fixed cost of a loop."""
    lanes = 2**12 if jax.default_backend() == "cpu" else 2**16
    wanted = min(max(lanes // rows, 8), lanes // 8)
    return 1 << (wanted.bit_length() - 1)


def _rounded(size: int) -> int:
    """The size, or up to a quarter (or 3) more, so that few programs serve many sizes."""
    unit = max(4, 2 ** (size.bit_length() - 3))
    return -(-size // unit) * unit


def blocks_of(
    shape: PopulationShape, served: list[Served], seed: int, devices: int, memory: int
) -> Iterator[tuple[Blocks, np.ndarray]]:
    """Batches, and where the outcomes of their trials belong [blocks, trials], -1 for nowhere.

    served: points with the numbers of their trials, and the places of these. devices: how many.
    memory: bytes that a batch may take. Blocks are filled up with trials of no nodes, and batches
    with such blocks, which take no time.
    """
    roster = roster_of(point for point, *_ in served)
    taken: list[tuple[Blocks, np.ndarray]] = []
    room = 0
    for point, trials, place in served:
        key = random.point_key(seed, point.hash())
        polls = polls_of(point, shape.mixes, shape.size, shape.third, shape.unheard)
        for first in range(0, len(trials), shape.block):
            chosen = slice(first, first + shape.block)
            one = _block(shape, roster, point, polls, random.trial_key(key, trials[chosen]))
            room = room or _room(shape, one, devices, memory)
            taken.append((one, _filled(place[chosen], shape.block, -1)))
            if len(taken) == room:
                yield _batch(taken, room)
                taken = []
    if taken:
        yield _batch(taken, room)


def _room(shape: PopulationShape, block: Blocks, devices: int, memory: int) -> int:
    """Blocks of a batch."""
    cells = len(block.moves.preference) * shape.block * len(block.sides.nodes)
    size = 8 * (block.polls.weights.size + 40 * cells)
    return devices * max(1, min(BLOCKS, memory // size // devices))


def _batch(taken: list[tuple[Blocks, np.ndarray]], room: int) -> tuple[Blocks, np.ndarray]:
    """The blocks on a new first axis, filled up to `room` with blocks of trials of no nodes."""
    last = taken[-1][0]
    empty = last._replace(trials=last.trials._replace(honest=np.zeros_like(last.trials.honest)))
    taken = taken + [(empty, np.full_like(taken[0][1], -1))] * (room - len(taken))
    blocks = jax.tree.map(lambda *leaves: np.stack(leaves), *(block for block, _ in taken))
    return blocks, np.stack([place for _, place in taken])


def _block(shape: PopulationShape, roster: Roster, point: Point, polls: Polls, keys) -> Blocks:
    """One block of a point's trials. keys: the trials', two uint32 [trials]."""
    if shape.weighted:
        return _weighted_block(shape, roster, point, polls, keys)
    fill = partial(_filled, length=shape.block)
    kinds, key = fill(admitted(point, keys)), (fill(keys[0]), fill(keys[1]))
    trials = Trials(
        key=key,
        coin=random.trial_coin(key),
        **shared_fields(point, roster),
        honest=fill(np.full(len(keys[0]), point.honest)),
        byzantine=kinds.sum(axis=1),
        kinds=kinds,
    )
    moves = moves_of(point.protocol, point.protocol.max_rounds)._replace(columns=())
    sides = sides_of(point, fill(first_ones(point, keys)))
    return Blocks(jax.tree.map(_wide, trials), polls, moves, sides)


def _weighted_block(
    shape: PopulationShape, roster: Roster, point: Point, polls: Polls, keys
) -> Blocks:
    """The same where nodes hold more or less stake than others."""
    fill, held = partial(_filled, length=shape.block), holdings_of(point, keys)
    units, nodes, ones = class_counts(held, shape.sides, shape.groups)
    active = np.tile([1.0, 0.0], (len(units), 1))
    sides = _Sides(fill(nodes), fill(ones), active, np.int64(0), units)
    kinds, key = fill(held.kinds), (fill(keys[0]), fill(keys[1]))
    shared: dict[str, Any] = shared_fields(point, roster)
    shared |= dict(start_ones=fill(held.start_ones))
    holders = Holders.of(held, point.protocol.k, point.adversary)
    trials = Trials(
        key=key,
        coin=random.trial_coin(key),
        **shared,
        honest=fill(held.honest),
        byzantine=kinds.sum(axis=1),
        kinds=kinds,
        holders=jax.tree.map(fill, holders),
    )
    moves = moves_of(point.protocol, point.protocol.max_rounds)._replace(columns=())
    return Blocks(jax.tree.map(_wide, trials), polls, moves, sides)


def sides_of(point: Point, first: np.ndarray) -> _Sides:
    """The groups of a point; in each of the network's the adversary's first group comes first.

    first: how many nodes of it start at 1 in each of the network's groups, [trials, groups].
    """
    nodes, ones, active = [], [], []
    for group, in_first in zip(point.groups, first.T, strict=True):
        parts = (group.fed, group.nodes - group.fed)[: point.adversary.groups]
        nodes += parts
        ones += (in_first, group.ones - in_first)[: len(parts)]
        active += [(group.active, 1 - group.active)] * len(parts)
    ones = np.stack(ones, axis=-1)
    return _Sides(np.array(nodes), ones, np.array(active), np.int64(point.network.cut))


def _filled(array: np.ndarray, length: int, value: int = 0) -> np.ndarray:
    gaps = [(0, length - len(array)), *[(0, 0)] * (array.ndim - 1)]
    return np.pad(array, gaps, constant_values=value)


def _wide(leaf: Any) -> np.ndarray:
    """Whole numbers and floats in 64 bits; words and flags as they are."""
    array = np.asarray(leaf)
    return array.astype({"i": np.int64, "f": np.float64}.get(array.dtype.kind, array.dtype))
