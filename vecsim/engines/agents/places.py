"""Polls whose places are drawn one by one on a complete graph, among nodes or units of stake.

With weighted stake a node that holds several of a poll's places gives the same answer in all of
them, and all are lost together, unless `stake.shared_fate` is false: where answers are coins or may
be lost, or a protocol needs counts, no table says what a poll gives. Protocols that look at more
than a table tells (neutral answers, who answered), whose nodes give up, or have cells of several
words, are served here too, whatever the stake.

    units        int32 [nodes]    5 1 3 2, of which unit 5 is the second node's
    places       uint32 [m, k]    the units that m pollers ask
    asked        int32 [m, k]     the nodes that hold them
"""

from typing import Any

import jax.numpy as jnp
from jax import lax

from vecsim.engines.agents.graph import answers_to, poll_of, stepped, tally_of
from vecsim.engines.rounds import in_lockstep
from vecsim.engines.trial import Shape, Tables, Trials, answers
from vecsim.model import random
from vecsim.polls import below
from vecsim.types import Counts, Protocol, View, preference


def more_than_tables(rule: Protocol) -> bool:
    """Whether the protocol can only be served where peers are drawn one by one."""
    return rule.neutral or rule.voters or rule.stops or bool(rule.further())


def _places(shape: Shape, trial: Trials, key, total):
    """The units, or the peers, that each poller asks, uint32 [m, the program's k]; only the trial's
    k count.

    key: two uint32 [m]. total: of them, uint32. Distinct ones by Floyd's method (Bentley and Floyd
    1987): place i is drawn among all but the last k - 1 - i, and is the last of these if it was
    drawn before.
    """
    k = jnp.asarray(trial.protocol.k, jnp.uint32)

    def another(i, drawn):
        number = jnp.asarray(i, jnp.uint32)
        word, _ = random.threefry(key[0], key[1], number, jnp.uint32(0))
        # Places past the trial's own k are drawn, too, but nobody looks at them.
        last = jnp.where(trial.replacement, total, total - k + jnp.minimum(number, k - 1) + 1)
        unit = below(word, last)
        again = (drawn == unit[:, None]).any(axis=1) & ~trial.replacement
        return drawn.at[:, i].set(jnp.where(again, last - 1, unit))

    nothing = jnp.full((len(key[0]), shape.kind.k), 2**32 - 1, jnp.uint32)
    return lax.fori_loop(0, shape.kind.k, another, nothing)


def _asked(shape: Shape, trial: Trials, pollers, key):
    """The nodes that the pollers ask, int32 [m, k]. pollers: int32 [m]. key: two uint32 [m]."""
    if trial.holders is None:
        own = trial.exclude_self
        total = (trial.honest + trial.byzantine - own).astype(jnp.uint32)
        peers = _places(shape, trial, key, total).astype(jnp.int32)
        later = (peers >= pollers[:, None]).astype(jnp.int32)
        return jnp.clip(peers + own * later, 0, shape.nodes - 1)
    total = (trial.holders.honest + trial.holders.byzantine).astype(jnp.uint32)
    places = _places(shape, trial, key, total)
    ends = jnp.cumsum(trial.holders.units).astype(jnp.uint32)
    asked = jnp.searchsorted(ends, places, side="right").astype(jnp.int32)
    return jnp.minimum(asked, shape.nodes - 1)


def asked_one_by_one(shape: Shape, trial: Trials, cells: Any, pollers, mixes, number) -> Counts:
    """What the polls of these nodes give, [m] each.

    cells: of all nodes. pollers: int32 [m]. mixes: int32 [groups, colour]. number: int32, of the
    round, or of the poll under async.
    """

    def key(purpose: int):
        """Of each poller, for this round or poll."""
        high, low = random.threefry(*trial.key, number.astype(jnp.uint32), jnp.uint32(purpose))
        return random.threefry(high, low, pollers.astype(jnp.uint32), jnp.uint32(0))

    asked = _asked(shape, trial, pollers, key(random.PEERS))
    fate = jnp.arange(shape.kind.k, dtype=jnp.uint32)
    if trial.holders is not None:
        fate = jnp.where(trial.holders.shared_fate, asked.astype(jnp.uint32), fate)
    high, low = (word[:, None] for word in key(random.ANSWERS))
    coin, lost = random.threefry(high, low, fate, jnp.uint32(0))
    colours = preference(cells)
    own, held = colours[pollers], colours[asked]
    return answers_to(trial, asked, held, own, pollers, mixes, coin, lost)


def places_program(shape: Shape):
    """The function (trials, tables) -> Outcome, under lockstep."""
    nodes = jnp.arange(shape.nodes, dtype=jnp.int32)

    def begin(trial: Trials):
        return trial.protocol.start(trial.starts_at_one(nodes)), jnp.zeros_like(trial.honest)

    def count(trial: Trials, state):
        cells, flips = state
        return tally_of(trial, nodes, cells), flips

    def move(trial: Trials, tables: Tables, state, seen: View, memory):
        cells, _ = state
        mixes, memory = answers(trial, seen, memory)
        counts = asked_one_by_one(shape, trial, cells, nodes, mixes, seen.round)
        new, flips = stepped(trial, nodes, cells, poll_of(trial, counts, seen.round))
        return (new, flips), memory

    return in_lockstep(begin, count, move)
