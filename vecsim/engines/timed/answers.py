"""What is known of open polls: the answers that are back, and when there may be enough of them."""

from functools import reduce

import jax.numpy as jnp
from jax import lax

from vecsim.engines.agents.graph import replies
from vecsim.engines.timed.batch import Batch
from vecsim.engines.timed.past import BITS, Past
from vecsim.engines.timed.ticks import NO_ANSWER, TRIP_BITS
from vecsim.engines.trial import Trials
from vecsim.model import random

_COUNT = 10  # bits of a count


def counts_word(zeros, ones, neutral):
    """The three counts in one word, as of `OpenPolls.counts`."""
    return zeros | (ones << jnp.uint32(_COUNT)) | (neutral << jnp.uint32(2 * _COUNT))


def counts_in(word):
    """Answers for 0, for 1 and for neither, of words of `OpenPolls.counts`: uint32 each."""
    mask = jnp.uint32(2**_COUNT - 1)
    return tuple((word >> jnp.uint32(_COUNT * i)) & mask for i in range(3))


def voters_of(asked):
    """The numbers of the nodes, within their trials, in words of `OpenPolls.asked`, uint32."""
    return asked >> jnp.uint32(TRIP_BITS + 1)


def trips_of(asked):
    """Round trips in words of `OpenPolls.asked`, ticks, int32."""
    return ((asked >> jnp.uint32(1)) & jnp.uint32(NO_ANSWER)).astype(jnp.int32)


def next_look(bits: int, timing, packed, since, wanted):
    """Ticks after the beginning of a poll at which so many answers are back, or the last of fewer;
    the time-out where none is to come after `since`. packed: words of
    `OpenPolls.asked`, [k, m]; the others are int32 [m]. bits: of a round trip, as in TimedShape.

    By bisection of the ticks, which is quicker than to sort.
    """
    trip = trips_of(packed)

    def halve(i, found):
        further = found + (jnp.int32(1 << bits) >> (i + 1))
        before = (trip < further).sum(axis=0, dtype=jnp.int32)
        return jnp.where(before < wanted, further, found)

    found = lax.fori_loop(0, bits, halve, jnp.zeros(packed.shape[1:], jnp.int32))
    last = jnp.where(trip < NO_ANSWER, trip, -1).max(axis=0)
    found = jnp.where(found < 2**bits - 1, found, last)
    return jnp.where(found > since, found, timing.timeout)


def look_up(batch: Batch, past: Past, trial: Trials, at, asked, key, upto, since):
    """Answers that came after `upto` ticks of a poll and until `since`, and those that are still to
    come, as words of `OpenPolls.counts`; and how many are back by then, int32. [m] each.

    at: of the polls, the number of the trial, the node and the present tick. asked: uint32 [k, m],
    as in OpenPolls. key: of the coins. upto, since: int32. What is still to come is what peers say
    who have been asked by now, and of others what they prefer now.
    """
    (which, node, now), shape, rule = at, batch.shape, trial.protocol
    group = (node % shape.nodes >= trial.first_group).astype(jnp.int32) * (shape.timed.groups - 1)

    def answer(i, carry):
        arrived, pending, back = carry
        trip, peer = trips_of(asked[i]), voters_of(asked[i]).astype(jnp.int32)
        # An even round trip is halved to the end of one tick or to that before, which is fair.
        half = (trip - (asked[i] & jnp.uint32(1)).astype(jnp.int32)) >> 1
        ago = jnp.clip(since - 1 - half, 0, BITS * past.history.shape[0] - 1)
        colour = past.preferred(peer + which * shape.nodes, ago)
        told = colour == 1, colour == 0, jnp.zeros_like(colour, bool)
        if shape.timed.hostile:
            own = past.preferred(node, ago).astype(jnp.int32)
            mix = past.answered(which, now - 1 - ago, group, own)
            fate, coin = jnp.asarray(i, jnp.uint32), jnp.zeros_like(colour)
            if shape.timed.coins:
                if batch.ends is not None:
                    shared = trial.holders.shared_fate
                    fate = jnp.where(shared, peer.astype(jnp.uint32), fate)
                coin, _ = random.threefry(key[0], key[1], fate, jnp.uint32(0))
            told = _told(batch, trial, which, peer, colour, mix, coin)
        one, zero, neither = (each.astype(jnp.uint32) for each in told)
        word = counts_word(zero, one, neither if rule.neutral else jnp.zeros_like(neither))
        none, here = jnp.uint32(0), (trip <= since) & (trip < NO_ANSWER)
        later = (trip > since) & (trip < NO_ANSWER)
        return (
            arrived + jnp.where(here & (trip > upto), word, none),
            pending + jnp.where(later, word, none),
            back + here.astype(jnp.int32),
        )

    none = jnp.zeros_like(asked[0])
    return lax.fori_loop(0, shape.kind.k, answer, (none, none, jnp.zeros_like(since)))


def _told(batch: Batch, trial: Trials, which, peer, colour, mix, coin):
    """What the nodes asked answer, as of `replies`; all [m]."""
    others = trial.honest + jnp.cumsum(trial.kinds[:, :-1], axis=1).T  # the first of each kind
    kind = (peer >= others).sum(axis=0, dtype=jnp.int32)
    chances = tuple(batch.lean.coins[which, mix, kind, i] for i in range(3))
    return replies(peer >= trial.honest, colour, chances, coin)


def lacking(trial: Trials, counts):
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
