"""The open polls of every node: how they begin, what answers they have, when they end.

A node has `slots` places for polls. Whom a poll asks and how long each answer takes is drawn when
it begins; what the answers are is looked up when they are back. A poll is looked at for the first
time when enough answers are there that it may end, then when enough further ones are, and at its
time-out. Two slots of one node under a rule with k = 3:

    due       int32 [all slots]       41  ENDED    tick at which to look at the poll again
    opened    int32 [all slots]        9      4    tick at which it began
    upto      int32 [all slots]       20     30    ticks after that, whose answers are counted
    number    int32 [all slots]        6      7    of the poll: slot i has i, i + concurrent, ...
    counts    uint32 [all slots]                   answers for 0, for 1, neutral: 10 bits each
    asked     uint32 [all slots, k]                who was asked, 17 bits; round trip in ticks,
                                                   14 bits, NO_ANSWER: no answer; and a random bit
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from vecsim.engines.timed.answers import lacking, look_up, next_look
from vecsim.engines.timed.batch import Batch
from vecsim.engines.timed.past import Past
from vecsim.engines.timed.ticks import NO_ANSWER, QUANTILE_BITS, TRIP_BITS
from vecsim.engines.trial import Shape, Tables, Trials
from vecsim.model import random
from vecsim.model.poll_draw import FOLD

FREE, ENDED = 2**31 - 1, 2**31 - 2  # `due` of no poll, and of one that waits to be applied
_REDRAWS = 32  # of a peer that was asked just before: hardly any is met so often
_DROP: Any = dict(mode="drop", unique_indices=True)


class OpenPolls(NamedTuple):
    """The polls of all trials; the arrays are described above."""

    due: Any
    opened: Any
    upto: Any
    number: Any
    counts: Any
    asked: Any
    begun: Any  # int32 [all nodes]: polls of each node so far
    ready: Any  # int32 [all nodes]: tick from which it may begin another
    recent: Any  # int32 [all nodes, recent, 2]: whom it asked last, and when
    queries: Any  # int32 [trials]: messages sent to ask

    @classmethod
    def none(cls, shape: Shape, concurrent) -> "OpenPolls":
        """No poll has begun. concurrent: polls open at once, int32 [trials]."""
        trials = len(concurrent)
        nodes, timed = trials * shape.nodes, shape.timed
        slots, none = nodes * timed.slots, jnp.zeros(nodes, jnp.int32)
        zeros = jnp.zeros(slots, jnp.int32)
        number = jnp.arange(timed.slots, dtype=jnp.int32) - concurrent[:, None]
        return cls(
            due=jnp.full(slots, FREE, jnp.int32),
            opened=zeros,
            upto=zeros,
            number=jnp.repeat(number, shape.nodes, axis=0).reshape(-1),
            counts=jnp.zeros(slots, jnp.uint32),
            asked=jnp.zeros((slots, shape.kind.k), jnp.uint32),
            begun=none,
            ready=none,
            recent=jnp.full((nodes, timed.recent, 2), -(2**30), jnp.int32),
            queries=jnp.zeros(trials, jnp.int32),
        )


def _key(trial: Trials, number, node, purpose: int, attempt: Any = 0):
    """Of the polls with these numbers of these nodes of a trial: two uint32 [m]."""
    number, node = number.astype(jnp.uint32), node.astype(jnp.uint32)
    high, low = random.threefry(*trial.key, number, jnp.uint32(purpose))
    return random.threefry(high, low, node, jnp.asarray(attempt, jnp.uint32))


def wait_of(tables: Tables, trial: Trials, node, number):
    """Ticks that nodes wait before their polls of these numbers, int32 [m]."""
    word, _ = _key(trial, number, node, random.PICK)
    return tables.waits[trial.timing.waits, word >> jnp.uint32(32 - QUANTILE_BITS)]


def begin_polls(batch: Batch, now, polls: OpenPolls, places) -> OpenPolls:
    """The polls with one more in each of these slots.

    now: int32 [trials]. places: int32 [m], slots of all nodes, or their number for none.
    """
    shape, tables = batch.shape, batch.tables
    slot = jnp.minimum(places, len(polls.due) - 1)
    node = slot // shape.timed.slots
    which, trial = batch.trial_of(node)
    timing, now, own = trial.timing, now[which], node % shape.nodes
    number, there = polls.number[slot] + timing.concurrent, places == slot
    asked = _peers(batch, trial, which, polls, now, node, number)
    packed, asks = _asked(batch, trial, node, asked, _key(trial, number, own, random.ROUND_TRIP))
    asks = jnp.where(there, asks, 0)
    first = next_look(
        shape.timed.bits, timing, packed, -1, lacking(trial, jnp.zeros_like(packed[0]))
    )
    recent, begun = polls.recent, polls.begun.at[node].add(there.astype(jnp.int32))
    if shape.timed.recent:
        at = jnp.where(there, node, len(polls.begun)), polls.begun[node] % shape.timed.recent
        recent = recent.at[at].set(jnp.stack([asked[0], now], axis=1), mode="drop")
    ready = now + wait_of(tables, trial, own, number + timing.concurrent)
    return OpenPolls(
        due=polls.due.at[places].set(now + first, **_DROP),
        opened=polls.opened.at[places].set(now, **_DROP),
        upto=polls.upto.at[places].set(-1, **_DROP),
        number=polls.number.at[places].set(number, **_DROP),
        counts=polls.counts.at[places].set(0, **_DROP),
        asked=polls.asked.at[places].set(packed.T, **_DROP),
        begun=begun,
        ready=polls.ready.at[jnp.where(there, node, len(polls.begun))].set(ready, mode="drop"),
        recent=recent,
        queries=polls.queries.at[which].add(asks),
    )


def _peers(batch: Batch, trial: Trials, which, polls: OpenPolls, now, node, number):
    """Whom these polls ask, int32 [k, m], counted through all trials."""
    own = node % batch.shape.nodes
    asked = batch.peers(trial, which, node, _key(trial, number, own, random.PEERS))
    if not batch.shape.timed.recent:
        return asked
    recent = polls.recent[node]
    warm = now[:, None] - recent[..., 1] < trial.timing.cooldown[:, None]

    def again(attempt, asked):
        met = ((recent[..., 0] == asked[0][:, None]) & warm).any(axis=1)
        key = _key(trial, number, own, random.PEERS, attempt)
        return jnp.where(met, batch.peers(trial, which, node, key), asked)

    return lax.fori_loop(1, _REDRAWS, again, asked)


def _asked(batch: Batch, trial: Trials, node, asked, key):
    """Words of `OpenPolls.asked` for the polls of these nodes, uint32 [k, m], and how many nodes
    each asks, int32 [m]: one that holds several places is asked once.

    asked: int32 [k, m]. key: of the polls. Place by place, so that each word is computed once.
    """
    timing, shape, tables = trial.timing, batch.shape, batch.tables
    place = jnp.arange(shape.kind.k, dtype=jnp.int32)[:, None]
    shared = batch.ends is not None

    def ask(i, carry):
        packed, asks = carry
        peer, fate = asked[i] % shape.nodes, jnp.asarray(i, jnp.uint32)
        if shared:
            fate = jnp.where(trial.holders.shared_fate, peer.astype(jnp.uint32), fate)
        word, lost = random.threefry(key[0], key[1], fate, jnp.uint32(0))
        row = timing.trips
        if shape.timed.regions > 1:
            row = row + batch.regions[node] * timing.regions + batch.regions[asked[i]]
        trip = tables.round_trips[row, word >> jnp.uint32(32 - QUANTILE_BITS)]
        counts = i < trial.protocol.k
        comes = counts & (jnp.minimum(lost, FOLD) >= trial.loss)
        trip = jnp.where(comes, trip, NO_ANSWER).astype(jnp.uint32)
        told = (peer.astype(jnp.uint32) << jnp.uint32(TRIP_BITS + 1)) | (trip << jnp.uint32(1))
        if shared:
            counts = counts & ~((asked == asked[i]) & (place < i)).any(axis=0)
        return packed.at[i].set(told | (word & jnp.uint32(1))), asks + counts.astype(jnp.int32)

    none = jnp.zeros(asked.shape, jnp.uint32), jnp.zeros_like(node)
    return lax.fori_loop(0, shape.kind.k, ask, none)


def look_at(batch: Batch, past: Past, now, polls: OpenPolls, places) -> OpenPolls:
    """The polls after a look at these. places: int32 [m], slots of all nodes, or their number."""
    shape = batch.shape
    slot = jnp.minimum(places, len(polls.due) - 1)
    node = slot // shape.timed.slots
    which, trial = batch.trial_of(node)
    timing, rule, now = trial.timing, trial.protocol, now[which]
    opened, upto, own = polls.opened[slot], polls.upto[slot], node % shape.nodes
    # Rows are gathered first, and then turned.
    asked, since = lax.optimization_barrier(polls.asked[slot]).T, now - opened
    key = _key(trial, polls.number[slot], own, random.ANSWERS)
    at = which, node, now
    arrived, pending, back = look_up(batch, past, trial, at, asked, key, upto, since)
    counts = polls.counts[slot] + arrived
    lack = lacking(trial, counts)
    ended = (since >= timing.timeout) | (lack == 0)
    if rule.counts and rule.settled_by_quorums:
        # The result counts from now on; answers on their way belong to it.
        counts = counts + jnp.where(ended, pending, jnp.uint32(0))
    further = next_look(shape.timed.bits, timing, asked, since, back + lack)
    return polls._replace(
        due=polls.due.at[places].set(jnp.where(ended, ENDED, opened + further), **_DROP),
        upto=polls.upto.at[places].set(since, **_DROP),
        counts=polls.counts.at[places].set(counts, **_DROP),
    )
