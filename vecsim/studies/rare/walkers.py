"""Walkers that climb to a level of a score: the compiled part of splitting, on both engines.

A walker is a trial that may start anywhere. It goes on until its score reaches its level, the event
happens, or nothing more can come of it, and is then kept as it stands. Every walker has a key of
its own, so that it climbs the same way however often it is asked to, and in whatever company.

Outside, arrays have one axis of walkers. They are cut into batches, the last filled up, whose axes
are those of the engine's trials:

    agents       [walkers]
    population   [blocks, walkers of a block]
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh

from vecsim.engines.agents import lockstep
from vecsim.engines.agents.prepare import Assembler, agents_shape, items
from vecsim.engines.cells import enumerate_cells
from vecsim.engines.drawn import first_ones
from vecsim.engines.population import stepping
from vecsim.engines.population.prepare import blocks_of, population_shape, sides_of
from vecsim.engines.trial import SPLIT, WHOLE, Trials, all_devices, over_devices, view
from vecsim.model.point import Point
from vecsim.studies.rare.scores import situations, standing
from vecsim.studies.rare.standings import agents_crowd, agents_field, counted_crowd, counted_field

# Nodes of a batch of the agents engine, per device: few, because all walkers of a batch wait for
# the last of them.
WALKER_NODES = 2**15
BATCH_BLOCKS = 16  # blocks of a batch of the population engine, per device: few for the same reason
# A batch of the agents engine is this many times smaller where it still holds all walkers, such as
# a pilot's: places without a walker are stepped too. Each size is one more program to compile.
FEWER = 8


class Walk(NamedTuple):
    """A walker of the agents engine; every leaf has an axis of walkers."""

    round: Any  # int32, rounds completed
    lane: Any  # uint32 [lanes]
    memory: Any  # int32 [slots]
    held: Any = None  # of weighted stake: what the trial's nodes hold, fields of Trials by name


class Reached(NamedTuple):
    """Where walkers ended; every leaf has an axis of walkers.

    state: a `Walk`, or a `RoundState` of the population engine. best: the highest score of each on
    its way (float). happened: whether the event did (bool).
    """

    state: Any
    best: Any
    happened: Any


class Climbers:
    """Walkers of one point: they begin at the start of a trial, and climb.

    event: one of `scores.SCORES`. engine: agents or population. memory: bytes of a batch.
    """

    def __init__(self, point: Point, event: str, engine: str, memory: int):
        self.point, self.event, self.mesh = point, event, all_devices()
        self.x64, devices = engine == "population", self.mesh.size
        with jax.enable_x64(self.x64):
            if self.x64:
                self._of_counts(point, devices, memory)
            else:
                self._of_nodes(point, devices)

    def _of_counts(self, point: Point, devices: int, memory: int) -> None:
        """The population engine's. shared: polls that undecided cells lack, [cells, colours]."""
        self.shape = population_shape(point)
        numbers = np.arange(self.shape.block * BATCH_BLOCKS * devices)
        given = [(point, numbers, numbers)]
        self.trials, place = next(blocks_of(self.shape, given, 0, devices, memory))
        self.axes = place.shape
        cells = enumerate_cells(point.protocol, point.protocol.max_rounds)
        undecided = jnp.asarray(cells.cells[~cells.decided])
        lacking = [point.protocol.remaining(undecided, colour) for colour in range(2)]
        self.shared = np.stack(lacking, axis=-1).astype(np.float64)

    def _of_nodes(self, point: Point, devices: int) -> None:
        """The agents engine's. shared: its tables."""
        shape = agents_shape([point], 0)
        self.shape = shape._replace(kind=shape.kind._replace(wide=True))  # single polls may be rare
        numbers = np.arange(max(1, WALKER_NODES // shape.nodes) * devices)
        self.axes = numbers.shape
        self.assembler = Assembler(self.shape, [point], len(numbers), 0)
        listed = items(point, 0, numbers, numbers)
        ((self.trials, self.shared, _),) = self.assembler.batches(listed)

    def start(self, keys) -> Any:
        """Walkers at the start of their trials, as `Reached.state`; keys: two uint32 [walkers]."""
        if self.point.stake.weighted:
            return self._each(self.axes, len(keys[0]), partial(self._begin_held, keys))
        found, which = np.unique(first_ones(self.point, keys)[:, 0], return_inverse=True)

        def begin(part) -> Any:
            return _begin(self.shape, self._begun(part(found)))

        return jax.tree.map(lambda leaf: leaf[which], self._each(self.axes, len(found), begin))

    def _begin_held(self, keys, part) -> Any:
        """A batch of walkers at the start, whose nodes hold what these keys say."""
        # There is one table, which begins at the first row.
        trials: Any = self.trials
        common = trials._replace(offsets=np.zeros(1, np.int32))
        fields = self.assembler.held_fields(self.point, [*map(part, keys)], common)
        return _begin(self.shape, trials._replace(**fields))._replace(held=fields)

    def _begun(self, ones):
        """The trials, where so many nodes of the adversary's first group start at 1."""
        if isinstance(self.trials, Trials):
            return self.trials._replace(first_ones=ones.astype(np.int32))
        sides = [sides_of(self.point, block[:, None]) for block in ones]
        sides = jax.tree.map(lambda *leaves: np.stack(leaves), *sides)
        return self.trials._replace(sides=sides)

    def climb(self, keys, coins, state: Any, level: float, score: int) -> Reached:
        """To the level, or nowhere if it is -inf, by the event's score of that number.

        keys: two uint32 [walkers]. coins: uint32 [walkers], the adversary's of the whole trial.
        state: from `start`, or of another climb.
        """
        total = len(coins)
        axes, batch = self._batch(total)
        levels = np.full(total, level, np.float64 if self.x64 else np.float32)
        run = partial(_climb, self.shape, self.mesh, self.event)

        def climb(part) -> Reached:
            trials = _named(batch, *map(part, (*keys, coins)))
            shared, starts = (self.shared, np.int32(score)), jax.tree.map(part, state)
            return run(trials, shared, starts, part(levels, -np.inf))

        return self._each(axes, total, climb)

    def _each(self, axes: tuple[int, ...], total: int, run: Callable[..., Any]) -> Any:
        """What `run` makes of every batch, as arrays with one axis of so many walkers.

        run: gets `_part` for its batch.
        """
        firsts = range(0, total, math.prod(axes))
        with jax.enable_x64(self.x64):
            parts = jax.device_get([run(partial(_part, axes, first)) for first in firsts])

        def joined(*leaves: np.ndarray) -> np.ndarray:
            flat = [leaf.reshape(-1, *leaf.shape[len(axes) :]) for leaf in leaves]
            return np.concatenate(flat)[:total]

        return jax.tree.map(joined, *parts)

    def _batch(self, walkers: int) -> tuple[tuple[int, ...], Any]:
        """The axes of a batch for so many walkers, and its trials."""
        devices = self.mesh.size
        few = -(-self.axes[0] // (FEWER * devices)) * devices
        if self.x64 or walkers > few:
            return self.axes, self.trials
        return (few,), jax.tree.map(lambda leaf: leaf[:few], self.trials)


def _part(axes: tuple[int, ...], first: int, array, filling=None) -> np.ndarray:
    """One batch of an array, filled up with a value, or with the first row."""
    size = math.prod(axes)
    part = np.asarray(array)[first : first + size]
    row = part[:1] if filling is None else np.full_like(part[:1], filling)
    part = np.concatenate([part, np.repeat(row, size - len(part), axis=0)])
    return part.reshape(*axes, *part.shape[1:])


def _named(batch, high, low, coins):
    trials = batch if isinstance(batch, Trials) else batch.trials
    named = trials._replace(key=(high, low), coin=coins)
    return named if trials is batch else batch._replace(trials=named)


@partial(jax.jit, static_argnums=0)
def _begin(shape, trials):
    if shape.engine == "population":
        return jax.vmap(partial(stepping.begin, shape))(trials)

    def begin(trial):
        lane, _ = lockstep.start_nodes(shape, trial)
        return Walk(jnp.int32(0), lane, trial.no_memory())

    return jax.vmap(begin)(trials)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _climb(shape, mesh: Mesh, event: str, trials, shared, state, levels) -> Reached:
    program = {"population": _by_counts, "agents": _by_nodes}[shape.engine]
    run = over_devices(partial(program, shape, event), mesh, (SPLIT, WHOLE, SPLIT, SPLIT), SPLIT)
    return run(trials, shared, state, levels)


def _until(look, move, state, levels, which) -> Reached:
    """Climb by the score of that number; level -inf: nowhere. look(state) -> Standing and what
    `move(state, it)` needs for the next state."""

    def body(carried):
        reached, running = carried
        found, seen = look(reached.state)
        score = jnp.take(found.scores, which, axis=-1)
        best = jnp.where(running, jnp.maximum(reached.best, score), reached.best)
        happened = reached.happened | (running & found.happened)
        running = running & ~(found.happened | found.over | (score >= levels))

        def chosen(new, old):
            return jnp.where(running.reshape(running.shape + (1,) * (old.ndim - 1)), new, old)

        state = jax.tree.map(chosen, move(reached.state, seen), reached.state)
        return Reached(state, best, happened), running

    none = jnp.zeros(levels.shape, bool)
    start = Reached(state, jnp.full_like(levels, -jnp.inf), none), levels > -jnp.inf
    return lax.while_loop(lambda carried: carried[1].any(), body, start)[0]


def _by_counts(shape, event, blocks, shared, states, levels):
    remaining, which = shared

    def block_of(given):
        block, state, level = given

        def look(state):
            tally = stepping.count_by_cell(block.moves, state.nodes)
            faced_by = partial(stepping.faced, shape, block, state)
            faced = [faced_by(each, state.nodes) for each in situations(tally)]
            fields = [counted_field(chances) for chances, _ in faced]

            def stand(trial, tally, round_, nodes, fields):
                # The last two cells are decided.
                crowd = counted_crowd(nodes[:, :-2], block.moves.preference[:-2], remaining)
                return standing(event, trial.protocol, tally, round_, trial.honest, crowd, fields)

            stand_each = jax.vmap(stand, (stepping.EACH, 0, 0, 0, 0))
            return stand_each(block.trials, tally, state.round, state.nodes, fields), faced[0]

        def move(state, seen):
            chances, memory = seen
            nodes, flips = stepping.move(shape, block, state, chances)
            return stepping.RoundState(state.round + 1, nodes, flips, memory)

        return _until(look, move, state, level, which)

    return lax.map(block_of, (blocks, states, levels))


def _by_nodes(shape, event, trials, shared, states, levels):
    tables, which = shared

    def own(trial, walk: Walk):
        return trial if walk.held is None else trial._replace(**walk.held)

    def stand(trial, walk: Walk):
        trial = own(trial, walk)
        tally, _ = lockstep.tally(shape, walk.lane)
        if trial.holders is not None:
            units = lockstep.units_tally(shape, walk.lane, trial.holders.units)
            tally = tally._replace(units=units)
        field_of = partial(agents_field, shape, trial, tables)
        fields = [field_of(each, walk.round, walk.memory) for each in situations(tally)]
        crowd = agents_crowd(shape, trial, walk.lane, len(fields[0].counts))
        found = standing(event, trial.protocol, tally, walk.round, trial.honest, crowd, fields)
        return found, view(trial, tables, tally, walk.round, tally.counted.ones)

    def step(trial, walk: Walk, seen):
        trial = own(trial, walk)
        _, mask = lockstep.start_nodes(shape, trial)
        given = shape, trial, tables, walk.lane, mask, seen, walk.memory
        return Walk(walk.round + 1, *lockstep.advance_nodes(*given), walk.held)

    look, move = (partial(jax.vmap(each), trials) for each in (stand, step))
    return _until(look, move, states, levels, which)
