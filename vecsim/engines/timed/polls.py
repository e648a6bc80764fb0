"""The open polls of every node: how they begin_polls, what answers they have, when they end.

A node has `slots` places for polls. Whom a poll asks and how long each answer takes is drawn when
it begins; what the answers are is looked up when they are back. A poll is looked at for the first
time when enough answers are there that it may end, then at each further answer, and at its
time-out. Two slots of one node under a rule with k = 3:

    due       int32 [all slots]       41  ENDED    tick at which to look at the poll again
    opened    int32 [all slots]        9      4    tick at which it began
    upto      int32 [all slots]       20     30    ticks after that, whose answers are counted
    number    int32 [all slots]        6      7    of the poll: slot i has i, i + slots, ...
    counts    uint32 [all slots]                   answers for 0, for 1, neutral: 10 bits each
    asked     uint32 [all slots, k]                who was asked, 17 bits; round trip in ticks,
                                                   14 bits, NO_ANSWER: no answer; and a random bit
"""

from functools import reduce
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from vecsim.engines.agents.graph import replies
from vecsim.engines.timed.batch import Batch
from vecsim.engines.timed.past import BITS, Past
from vecsim.engines.timed.shape import NO_ANSWER, QUANTILE_BITS, TRIP_BITS
from vecsim.engines.trial import Shape, Tables, Trials
from vecsim.model import random
from vecsim.model.poll_draw import FOLD

FREE, ENDED = 2**31 - 1, 2**31 - 2  # `due` of no poll, and of one that waits to be applied
_COUNT = 10  # bits of a count
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


def _counts(zeros, ones, neutral):
    """The three counts in one word."""
    return zeros | (ones << jnp.uint32(_COUNT)) | (neutral << jnp.uint32(2 * _COUNT))


def counts_in(word):
    """Answers for 0, for 1 and for neither, of words of `OpenPolls.counts`: uint32 each."""
    mask = jnp.uint32(2**_COUNT - 1)
    return tuple((word >> jnp.uint32(_COUNT * i)) & mask for i in range(3))


def voters_of(asked):
    """The numbers of the nodes, within their trials, in words of `OpenPolls.asked`, uint32."""
    return asked >> jnp.uint32(TRIP_BITS + 1)


def _key(trial: Trials, number, node, purpose: int, attempt: Any = 0):
    """Of the polls with these numbers of these nodes of a trial: two uint32 [m]."""
    number, node = number.astype(jnp.uint32), node.astype(jnp.uint32)
    high, low = random.threefry(*trial.key, number, jnp.uint32(purpose))
    return random.threefry(high, low, node, jnp.asarray(attempt, jnp.uint32))


def wait_of(tables: Tables, trial: Trials, node, number):
    """Ticks that nodes wait before their polls of these numbers, int32 [m]."""
    word, _ = _key(trial, number, node, random.PICK)
    return tables.waits[trial.timing.waits, word >> jnp.uint32(32 - QUANTILE_BITS)]


def _fates(trial: Trials, asked):
    """What the answers of each place are drawn by, uint32 [k, m]: the places of one node alike."""
    place = jnp.arange(asked.shape[0], dtype=jnp.uint32)[:, None]
    if trial.holders is None:
        return jnp.broadcast_to(place, asked.shape)
    return jnp.where(trial.holders.shared_fate, asked.astype(jnp.uint32), place)


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
    key, place = _key(trial, number, own, random.ROUND_TRIP), jnp.arange(shape.kind.k)[:, None]
    word, lost = random.threefry(*key, _fates(trial, asked % shape.nodes), jnp.uint32(0))
    row = timing.trips
    if shape.timed.regions > 1:
        row = row + batch.regions[node] * timing.regions + batch.regions[asked]
    trip = tables.round_trips[row, word >> jnp.uint32(32 - QUANTILE_BITS)]
    counts = place < trial.protocol.k
    comes = counts & (trip <= timing.timeout) & (jnp.minimum(lost, FOLD) >= trial.loss)
    trip = jnp.where(comes, trip, NO_ANSWER)
    packed = ((asked % shape.nodes) << (TRIP_BITS + 1)).astype(jnp.uint32)
    packed = packed | (trip.astype(jnp.uint32) << jnp.uint32(1)) | (word & jnp.uint32(1))
    packed = lax.optimization_barrier(packed)
    none = jnp.zeros_like(word[0])
    first = _next_look(timing, _trips(packed), -1, _lacking(trial, none))
    recent, begun = polls.recent, polls.begun.at[node].add(there.astype(jnp.int32))
    if shape.timed.recent:
        at = jnp.where(there, node, len(polls.begun)), polls.begun[node] % shape.timed.recent
        recent = recent.at[at].set(jnp.stack([asked[0], now], axis=1), mode="drop")
    asks = counts if batch.ends is None else counts & ~_repeated(asked)
    asks = jnp.where(there, asks.sum(axis=0, dtype=jnp.int32), 0)
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


def _repeated(asked):
    """Whether a place is of a node that has an earlier one, bool [k, m]."""
    earlier = jnp.tri(len(asked), k=-1, dtype=bool)[..., None]
    return ((asked[:, None] == asked[None]) & earlier).any(axis=1)


def _trips(packed):
    """Round trips in words of `OpenPolls.asked`, int32."""
    return ((packed >> jnp.uint32(1)) & jnp.uint32(NO_ANSWER)).astype(jnp.int32)


def _next_look(timing, trip, since, wanted):
    """Ticks after the beginning of a poll at which so many answers are back, or the last of fewer;
    the time-out where none is to come after `since`. All int32, trip [k, m], the others [m].

    By bisection of the ticks, which is quicker than to sort.
    """

    def halve(i, found):
        further = found + (jnp.int32(2**TRIP_BITS) >> (i + 1))
        before = (trip < further).sum(axis=0, dtype=jnp.int32)
        return jnp.where(before < wanted, further, found)

    found = lax.fori_loop(0, TRIP_BITS, halve, jnp.zeros(trip.shape[1:], jnp.int32))
    last = jnp.where(trip < NO_ANSWER, trip, -1).max(axis=0)
    found = jnp.where(found < NO_ANSWER, found, last)
    return jnp.where(found > since, found, timing.timeout)


def look_at(batch: Batch, past: Past, now, polls: OpenPolls, places) -> OpenPolls:
    """The polls after a look at these. places: int32 [m], slots of all nodes, or their number."""
    shape = batch.shape
    slot = jnp.minimum(places, len(polls.due) - 1)
    node = slot // shape.timed.slots
    which, trial = batch.trial_of(node)
    timing, rule, now = trial.timing, trial.protocol, now[which]
    opened, upto, own = polls.opened[slot], polls.upto[slot], node % shape.nodes
    # Rows are gathered first, and then turned.
    packed = lax.optimization_barrier(polls.asked[slot]).T
    since, trip = now - opened, _trips(packed)
    asked = voters_of(packed).astype(jnp.int32)
    # An even round trip is halved to the end of one tick or to that before, which is fair.
    half = (trip - (packed & jnp.uint32(1)).astype(jnp.int32)) >> 1
    ago = jnp.clip(since - 1 - half, 0, BITS * past.history.shape[0] - 1)
    colours = past.preferred(asked + which * shape.nodes, ago)
    answers = colours == 1, colours == 0, jnp.zeros_like(colours, bool)
    if shape.timed.hostile:
        mine = past.preferred(node, ago).astype(jnp.int32)
        group = (own >= trial.first_group).astype(jnp.int32) * (past.mixes.shape[1] - 1)
        mix = past.answered(which, now - 1 - ago, group, mine)
        coin = jnp.zeros_like(packed)
        if shape.timed.coins:
            key = _key(trial, polls.number[slot], own, random.ANSWERS)
            coin, _ = random.threefry(*key, _fates(trial, asked), jnp.uint32(0))
        answers = _answers(batch, trial, which, asked, colours, mix, coin)

    def counted(these):
        one, zero, neutral = ((each & these).sum(axis=0, dtype=jnp.uint32) for each in answers)
        return _counts(zero, one, neutral if rule.neutral else jnp.zeros_like(neutral))

    counts = polls.counts[slot] + counted((trip <= since) & (trip > upto))
    lack = _lacking(trial, counts)
    ended = (since >= timing.timeout) | (lack == 0)
    if rule.counts and rule.settled_by_quorums:
        # The result counts from now on; answers on their way belong to it.
        counts = counts + counted((trip > since) & (trip < NO_ANSWER) & ended)
    back = (trip <= since).sum(axis=0, dtype=jnp.int32)
    further = _next_look(timing, trip, since, back + lack)
    return polls._replace(
        due=polls.due.at[places].set(jnp.where(ended, ENDED, opened + further), **_DROP),
        upto=polls.upto.at[places].set(since, **_DROP),
        counts=polls.counts.at[places].set(counts, **_DROP),
    )


def _answers(batch: Batch, trial: Trials, which, asked, colours, mix, coin):
    """What the nodes asked answer, as of `replies`; all [k, m] but the trial's numbers."""
    others = trial.honest + jnp.cumsum(trial.kinds[:, :-1], axis=1).T  # the first of each kind
    kind = (asked >= others[:, None]).sum(axis=0, dtype=jnp.int32)
    chances = tuple(batch.lean.coins[which, mix, kind, i] for i in range(3))
    return replies(asked >= trial.honest, colours, chances, coin)


def _lacking(trial: Trials, counts):
    """Answers that a poll needs at least until none to come can change its result; 0: none. int32
    [m]. counts: as in OpenPolls.

    That is so when no quorum lies between what a colour has and what it may still get: each must
    be reached, or put out of reach by other answers.
    """
    rule = trial.protocol
    received = [each.astype(jnp.int32) for each in counts_in(counts)]
    total = sum(received)
    left = jnp.asarray(rule.k, jnp.int32) - total
    if rule.counts and not rule.settled_by_quorums:
        return left
    alphas = [jnp.asarray(alpha, jnp.int32) for alpha in rule.quorums]

    def lacks(answers):
        up = [jnp.int32(0), *(jnp.maximum(alpha - answers, 0) for alpha in alphas)]
        down = [*(jnp.maximum(answers + left - alpha + 1, 0) for alpha in alphas), jnp.int32(0)]
        return reduce(jnp.minimum, map(jnp.add, up, down))

    each = [lacks(answers) for answers in received[:2]]
    if not rule.counts:
        # What is common to two rivals has the answers for both, and of those there are ever more;
        # a colour without any answer is not told apart from it.
        each = [jnp.where(n == 0, 0, own) for n, own in zip(received, each, strict=False)]
        each.append(jnp.maximum(alphas[-1] - total, 0))
    lack = reduce(jnp.maximum, each)
    return jnp.where((left == 0) | ~trial.timing.early, left, jnp.minimum(lack, left))
