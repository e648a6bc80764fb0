"""A batch of trials: what is traced, what is shared, and the one compiled entry.

Trials of any points of a sweep go through one compiled program as long as `Shape` is the same:
every number of a point is data.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from vecsim.engines.holders import minority_of_units
from vecsim.model import random
from vecsim.model.poll_draw import PollKind
from vecsim.types import STEPPED, Adversary, Outcome, Protocol, View

# How a device mesh holds arrays whose first axis is that of trials, and what all trials share.
SPLIT, WHOLE = PartitionSpec("trials"), PartitionSpec()


class Shape(NamedTuple):
    """What a program is compiled for."""

    engine: str  # agents, asynchronous, graph, places or timed
    nodes: int  # all nodes (graph, weighted stake, places), else honest nodes at most
    bits: int  # of a cell: 8, 16 or 32
    kind: PollKind
    degree: int = 0  # neighbours at most (graph)
    places: bool = False  # the places of a poll are drawn one by one, on a complete graph
    timed: Any = None  # TimedShape, in simulated time


class Trials(NamedTuple):
    """What each trial is; every leaf has a leading axis of trials.

    The fields from `first_group` on serve the engines that keep every node.
    """

    key: tuple[Any, Any]  # uint32
    coin: Any  # uint32, one for the whole trial that its adversary may use
    protocol: Protocol  # with max_rounds in steps
    adversaries: tuple[Adversary, ...]  # one of each class in the program
    which: Any  # int32: index of the trial's own adversary
    honest: Any  # int32
    byzantine: Any  # int32: admitted to the network
    kinds: Any  # int32 [kinds]: the same, of each kind
    start_ones: Any  # int32: honest nodes that start at 1
    exclude_self: Any  # int32, 0 or 1
    first_group: Any = None  # int32: honest nodes, the first ones, in the first of two groups
    # int32: nodes of the first group that start at 1. In either group those nodes come first.
    first_ones: Any = None
    round_steps: Any = None  # int32: steps that make a round (1, or n under async)
    offsets: Any = None  # int32 [mixes]: first row of each mix's thresholds
    pooled_offset: Any = None  # int32: first row in Tables.pooled
    graph: Any = None  # int32: index into Tables.neighbours
    # uint32 [mixes, kinds, 3]: P(1), P(1 or 0), P(any answer), times 2^32, for peers drawn one by
    # one
    coins: Any = None
    loss: Any = None  # uint32: P(an answer is lost), times 2^32
    replacement: Any = None  # bool: peers of a poll may repeat
    holders: Any = None  # Holders, of a weighted stake
    timing: Any = None  # Timing, in simulated time

    def no_memory(self, *trials: int):
        """Memory of one trial, or of so many, at the start, whichever adversary it has."""
        slots = max(adversary.memories for adversary in self.adversaries)
        return jnp.zeros((*trials, slots), jnp.int32)

    def starts_at_one(self, node):
        """Whether the honest node of this number starts at 1, uint32."""
        number, first, ones = node.astype(jnp.int32), self.first_group, self.first_ones
        other = (number >= first) & (number < first + (self.start_ones - ones))
        return ((number < ones) | other).astype(jnp.uint32)


class Tables(NamedTuple):
    """What trials of a batch share."""

    thresholds: Any  # uint32 [rows, 1 or 2, columns, words], see poll_draw.thresholds
    pooled: Any  # uint32 [rows]: P(the pooled minority is 1), times 2^32
    neighbours: Any  # int32 [graphs, vertices, degree], -1 where there are fewer
    round_trips: Any = None  # int32 [rows, quantiles]: ticks, see timed/shape.py
    waits: Any = None  # int32 [rows, quantiles]: ticks between polls, likewise


class Tally(NamedTuple):
    """Honest nodes of one trial, counted (integers)."""

    ones: Any  # prefer 1
    decided: Any  # have decided either colour
    decided_1: Any
    units: Any = None  # Tally of their stake, where it is weighted
    given_up: Any = None  # undecided ones that poll no more, where nodes may give up

    @property
    def ended(self):
        """Nodes that poll no more."""
        return self.decided if self.given_up is None else self.decided + self.given_up

    @property
    def counted(self) -> "Tally":
        """What adversaries and polls count: units where stake is weighted."""
        return self if self.units is None else self.units


class TrialRecord(NamedTuple):
    """What is known of one trial so far (integers as wide as `honest`); -1 is not yet."""

    running: Any  # bool: the trial is not over
    outcome: Outcome
    units: Any = None  # Tally of honest nodes' stake, where it is weighted

    @classmethod
    def start(cls, trial: Trials):
        """Nothing has been observed; a trial of no nodes is over at once."""
        none = jnp.zeros_like(trial.honest)
        known = dict.fromkeys(Outcome._fields, none) | {"undecided": trial.honest}
        known |= dict.fromkeys((*STEPPED, "start_ones"), none - 1)
        units = None if trial.holders is None else Tally(none, none, none)
        return cls(trial.honest > 0, Outcome(**known), units)

    def update(self, trial: Trials, tally: Tally, step, flips, polls, most=None):
        """The record after `step` steps; that of a trial that is over stays as it is.

        flips: preferences changed by the last step. polls: of the next step, if there is one. most:
        steps after which a trial ends, the protocol's max_rounds unless given; then answers may be
        on their way that end a unanimity, so that it does not end the trial.
        """
        old, honest = self.outcome, trial.honest
        undecided = honest - tally.decided
        unanimous = (tally.ones == 0) | (tally.ones == honest)
        over = (tally.ended == honest) | (
            step >= (trial.protocol.max_rounds if most is None else most)
        )
        if not trial.protocol.decides and most is None:
            over = over | (unanimous & (trial.byzantine == 0))

        def first(known, happened):
            return jnp.where((known < 0) & happened, step, known)

        new = Outcome(
            decided_0=tally.decided - tally.decided_1,
            decided_1=tally.decided_1,
            undecided=undecided,
            rounds=step,
            first_decision=first(old.first_decision, tally.decided > 0),
            median_decision=first(old.median_decision, 2 * tally.decided >= honest),
            last_decision=first(old.last_decision, undecided == 0),
            unanimity=first(old.unanimity, unanimous),
            start_ones=jnp.where(old.start_ones < 0, tally.ones, old.start_ones),
            final_ones=tally.ones,
            flips=old.flips + flips,
            polls=old.polls + jnp.where(over, 0, polls),
        )
        known = partial(jax.tree.map, partial(jnp.where, self.running))
        units = known(tally.units, self.units)
        return TrialRecord(self.running & ~over, known(new, old), units)


def view(trial: Trials, tables: Tables, tally: Tally, round_, ones_at_round) -> View:
    """What the trial's adversary sees.

    round_: int32. ones_at_round: honest 1-holders when its nodes pooled their samples, counted as
    polls count them, int32.
    """
    if trial.holders is not None:
        pools = any(adversary.pools for adversary in trial.adversaries)
        drawn = minority_of_units(trial, round_, ones_at_round) if pools else jnp.bool_(False)
        return seen(trial, tally, round_, lambda _: drawn)
    row = trial.pooled_offset + ones_at_round
    return seen(trial, tally, round_, lambda word: word < tables.pooled[row])


def seen(trial: Trials, tally: Tally, round_, minority: Callable) -> View:
    """What the trial's adversary sees.

    minority(word): whether 1 is the pooled minority, from the round's random word for pools.
    """
    second = random.counter(round_.astype(jnp.uint32), random.ADVERSARY)
    word, coin = random.threefry(*trial.key, jnp.uint32(0), second)
    counted = trial if trial.holders is None else trial.holders
    tally = tally.counted
    return View(
        round=round_,
        honest=counted.honest,
        byzantine=counted.byzantine,
        peers=counted.honest + counted.byzantine - trial.exclude_self,
        exclude_self=trial.exclude_self,
        k=jnp.asarray(trial.protocol.k, trial.honest.dtype),
        alpha=trial.protocol.quorums[0],
        start_ones=counted.start_ones,
        ones=tally.ones,
        decided_0=tally.decided - tally.decided_1,
        decided_1=tally.decided_1,
        pooled_minority=minority(word).astype(jnp.int32),
        trial_coin=random.uniform(trial.coin),
        round_coin=random.uniform(coin),
    )


def common_word(trial: Trials, round_):
    """A random word that all nodes share in a round, uint32. round_: int32, rounds completed."""
    second = random.counter(round_.astype(jnp.uint32), random.ADVERSARY)
    # The number of this block is above those of all polls, which have blocks of that purpose, too.
    return random.threefry(*trial.key, jnp.uint32(2**32 - 1), second)[0]


def answers(trial: Trials, seen: View, memory):
    """The trial's own adversary's mix for each class, int32 [groups, 2], and its next memory."""
    groups = max(adversary.groups for adversary in trial.adversaries)
    given = [asked(adversary, seen, memory) for adversary in trial.adversaries]
    mixes = jnp.stack([jnp.broadcast_to(mix, (groups, 2)) for mix, _ in given])
    return mixes[trial.which], jnp.stack([kept for _, kept in given])[trial.which]


def asked(adversary: Adversary, seen: View, memory):
    """What the adversary answers, and its next memory.

    memory: int32 [slots], as many as it keeps or more, which stay as they are.
    """
    own = 0 if adversary.memories == 1 else slice(adversary.memories)
    mixes, kept = adversary.answer(seen, memory[own])
    return mixes, memory.at[own].set(jnp.asarray(kept, jnp.int32))


@partial(jax.jit, static_argnums=(0, 1, 2))
def batch(program: Callable, shape: Any, mesh: Mesh, trials: Any, tables: Any) -> Outcome:
    """Outcomes of a batch; the trials are divided among the devices of the mesh.

    program: of an engine; from a shape of its own it makes the function (trials, tables) ->
    Outcome. Every device goes on until its own trials are over. The number of trials must be a
    multiple of the number of devices.
    """
    return over_devices(program(shape), mesh, (SPLIT, WHOLE), SPLIT)(trials, tables)


def over_devices(run: Callable, mesh: Mesh, given: Any, made: Any) -> Callable:
    """The function on every device of the mesh.

    given, made: how each argument, and the result, is held: SPLIT, WHOLE or another PartitionSpec.
    """
    return jax.shard_map(run, mesh=mesh, in_specs=given, out_specs=made, check_vma=False)


def all_devices() -> Mesh:
    """All devices of JAX's default platform, along one axis."""
    return Mesh(jax.devices(), ("trials",))
