"""Polls whose places are drawn one by one, among units of weighted stake.

A node that holds several of a poll's places gives the same answer in all of them, and all are lost
together, unless `stake.shared_fate` is false. Where answers are coins or may be lost, or a protocol
needs counts, no table says what a poll gives; here every place is drawn:

    units        int32 [nodes]    5 1 3 2, of which unit 5 is the second node's
    places       uint32 [m, k]    the units that m pollers ask
    asked        int32 [m, k]     the nodes that hold them
"""

import jax.numpy as jnp
from jax import lax

from vecsim.engines.agents.graph import heard
from vecsim.engines.trial import Shape, Tables, Tally, Trials, answers, in_lockstep
from vecsim.model import random
from vecsim.polls import counted
from vecsim.types import View, decided, preference


def _places(shape: Shape, trial: Trials, key):
    """The units that each poller asks, uint32 [m, the program's k]; only the trial's k count.

    key: two uint32 [m]. Distinct units by Floyd's method (Bentley and Floyd 1987): place i is drawn
    among all units but the last k - 1 - i, and is the last of these if it was drawn before.
    """
    k = jnp.asarray(trial.protocol.k, jnp.uint32)
    total = (trial.holders.honest + trial.holders.byzantine).astype(jnp.uint32)

    def another(i, drawn):
        number = jnp.asarray(i, jnp.uint32)
        word, _ = random.threefry(key[0], key[1], number, jnp.uint32(0))
        # Places past the trial's own k are drawn, too, but nobody looks at them.
        last = jnp.where(trial.replacement, total, total - k + jnp.minimum(number, k - 1) + 1)
        unit = random.below_many(word, last)
        again = (drawn == unit[:, None]).any(axis=1) & ~trial.replacement
        return drawn.at[:, i].set(jnp.where(again, last - 1, unit))

    nothing = jnp.full((len(key[0]), shape.kind.k), 2**32 - 1, jnp.uint32)
    return lax.fori_loop(0, shape.kind.k, another, nothing)


def asked_one_by_one(shape: Shape, trial: Trials, cells, pollers, mixes, number):
    """What the polls of these nodes give, Counts or Quorum of [m].

    cells: uint32 [nodes]. pollers: int32 [m]. mixes: int32 [groups, colour]. number: int32, of the
    round, or of the poll under async.
    """
    holders = trial.holders

    def key(purpose: int):
        """Of each poller, for this round or poll."""
        high, low = random.threefry(*trial.key, number.astype(jnp.uint32), jnp.uint32(purpose))
        return random.threefry(high, low, pollers.astype(jnp.uint32), jnp.uint32(0))

    places = _places(shape, trial, key(random.PEERS))
    ends = jnp.cumsum(holders.units).astype(jnp.uint32)
    asked = jnp.searchsorted(ends, places, side="right").astype(jnp.int32)
    asked = jnp.minimum(asked, shape.nodes - 1)
    slot = jnp.arange(shape.kind.k, dtype=jnp.uint32)
    fate = jnp.where(holders.shared_fate, asked.astype(jnp.uint32), slot)
    high, low = (word[:, None] for word in key(random.ANSWERS))
    coin, lost = random.threefry(high, low, fate, jnp.uint32(0))
    own, held = preference(cells[pollers]), preference(cells)[asked]
    counts = heard(trial, asked, held, own, pollers, mixes, coin, lost)
    return counts if trial.protocol.counts else counted(trial.protocol.quorums, counts)


def places_program(shape: Shape):
    """The function (trials, tables) -> Outcome, under lockstep."""
    nodes = jnp.arange(shape.nodes, dtype=jnp.int32)

    def begin(trial: Trials):
        return trial.protocol.start(trial.starts_at_one(nodes)), jnp.zeros_like(trial.honest)

    def count(trial: Trials, state):
        cells, flips = state
        honest, one, over = nodes < trial.honest, preference(cells) == 1, decided(cells)
        flags = (one & honest, over & honest, one & over & honest)
        units = Tally(*(jnp.where(flag, trial.holders.units, 0).sum() for flag in flags))
        counts = Tally(*(flag.sum(dtype=jnp.int32) for flag in flags))
        return counts._replace(units=units), flips

    def move(trial: Trials, tables: Tables, state, seen: View, memory):
        cells, _ = state
        mixes, memory = answers(trial, seen, memory)
        poll = asked_one_by_one(shape, trial, cells, nodes, mixes, seen.round)
        stays = decided(cells) | (nodes >= trial.honest)
        new = jnp.where(stays, cells, trial.protocol.step(cells, poll))
        flips = (preference(new) != preference(cells)).sum(dtype=jnp.int32)
        return (new, flips), memory

    return in_lockstep(begin, count, move)
