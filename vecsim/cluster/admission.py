"""Which vertices begin their polls in a window: the queues, and the sample that is run.

A sample of ten places where 40 new vertices are admitted and 5 issued again; the new ones are
consecutive, from a random number on, here 20, and the first seven only serve as parents:

    place      0  1  2  3  4  5  6  7     8  9      [samples]
    number    20 21 22 23 24 25 26 27    41 43      within the window; from 40 on: issued again
    weight     0  0  0  0  0  0  0 40     2  3      vertices for which it stands
    attempt    0  0  0  0  0  0  0  0     1  2      how often it timed out before
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from vecsim.cluster.constants import constants
from vecsim.cluster.defence import Sides
from vecsim.cluster.state import SIDES, Conditions, Flight, Key, Queue, State, real, whole_number
from vecsim.model import random


class Load(NamedTuple):
    """What begins in a window (int32, in vertices, unless said otherwise)."""

    arrived: Any  # issued by clients
    coming: Any  # [SIDES] the same, by side
    dropped: Any  # found the queue full
    first: Any  # [SIDES] admitted for the first time, without a rival
    disputed: Any  # admitted, with a rival
    again: Any  # [attempts - 1] issued again, by how often they timed out
    age_ms: Any  # float32 [attempts - 1]: their mean age
    side: Any  # of those with a rival and those issued again: the largest side that holds
    queue: Queue  # at the end of the window
    before: Queue  # at its start


class Sample(NamedTuple):
    """Vertices that are run one by one, [samples]."""

    exists: Any  # bool
    weight: Any  # int32: vertices for which it stands
    number: Any  # uint32: of the vertex, within the window
    side: Any  # int32
    attempt: Any  # int32, 0 for the first
    at_ms: Any  # float32: when its polls begin, within the window
    booked_ms: Any  # float32: the same for the vertices for which it stands, on average
    age_ms: Any  # float32: how old it is then


def _spread(total, shares):
    """Whole numbers (int32) that add up to `total`, in proportion to shares, by cumulative
    rounding; shares: float32, one axis, 0 or more. All 0 where the shares are."""
    sure = jnp.maximum(shares.sum(), 1)
    below = jnp.cumsum(shares)
    ends = whole_number(jnp.floor(below / sure * real(total) + 0.5))
    ends = jnp.where(below >= below[-1], total, jnp.minimum(ends, total))
    ends = jnp.where(shares.sum() > 0, ends, 0)
    return jnp.diff(ends, prepend=jnp.int32(0))


def admit(
    now: Conditions, state: State, ends: Flight, net: Sides, arrived, length_ms, most_per_s
) -> Load:
    """Take the window's arrivals and what waited, as far as the guard and the resources allow.

    ends: what ends or is issued again in the window. arrived: vertices that clients issue, int32;
    most_per_s: vertices per second that a node's resources allow. Those issued again come first,
    then those that waited, then the arrivals, in order of time.
    """
    old = state.queue
    length, everywhere = real(length_ms), jnp.arange(SIDES)
    share = jnp.where(net.issuers.sum() == 0, real(everywhere == 0), real(net.issuers))
    coming = _spread(arrived, share)
    room = whole_number(jnp.floor(most_per_s * length / 1000))
    side = jnp.argmax(jnp.where(net.holds, net.issuers, -1))
    any_holds = net.holds.any()
    # Those issued again come first, as far as there is room.
    due = jnp.where(any_holds, ends.again, 0)
    due = jnp.where(due.sum() > room, _spread(room, real(due)), due)
    largest = everywhere == side
    able = jnp.where(net.holds, room - jnp.where(largest, due.sum(), 0), 0)
    admitted = jnp.minimum(old.waiting + coming, able)
    left = old.waiting + coming - admitted
    most = whole_number(jnp.floor(constants().most_waiting * share / share.sum()))
    kept = jnp.minimum(left, jnp.maximum(most, old.waiting - admitted))
    dropped = left - kept
    # The latest are dropped, the earliest admitted first.
    entered = real(coming - jnp.minimum(dropped, coming)) / real(jnp.maximum(coming, 1))
    last = jnp.where(coming > 0, entered, 1.0)
    head = arrival(old, coming, length, real(admitted))
    came = jnp.where(coming > dropped, length * (1 - last), length + old.newest_ms)
    queue = Queue(kept, *(jnp.where(kept == 0, 0.0, ago) for ago in (length - head, came)))
    begun = state.totals.issued - state.totals.dropped - old.waiting.sum() + admitted.sum()
    wanted = whole_number(jnp.floor(real(begun) * now.disputed_share)) - state.totals.disputed
    contested = jnp.where(any_holds, jnp.clip(wanted, 0, admitted[side]), 0)
    return Load(
        arrived=arrived,
        coming=coming,
        dropped=dropped.sum(),
        first=admitted - jnp.where(largest, contested, 0),
        disputed=contested,
        again=due,
        age_ms=ends.age_ms / real(jnp.maximum(ends.again, 1)),
        side=side,
        queue=queue,
        before=old,
    )


def arrival(queue: Queue, coming, length, rank):
    """When the vertex of that rank in line arrived, ms from the window's start; negative if before.

    rank: float32, 0 for the first that waits; coming: vertices that arrive evenly over the window,
    `length` ms, behind those that wait.
    """
    old = real(jnp.maximum(queue.waiting, 1))
    before = -queue.oldest_ms + (queue.oldest_ms - queue.newest_ms) * rank / old
    waiting = real(queue.waiting)
    after = length * (rank - waiting) / real(jnp.maximum(coming, 1))
    return jnp.where(rank < waiting, before, after)


def sample(shape, key: Key, load: Load, length_ms) -> Sample:
    """Which vertices of the window are run: all, or a stretch of consecutive ones.

    A quarter of the places is for those issued again, when there are any. The first places of a
    stretch only serve as parents (weight 0), unless all vertices are run. Weights add up to the
    vertices that begin.
    """
    fixed = constants()
    size, tries = shape.samples, fixed.attempts - 1
    length = real(length_ms)
    new, old = load.first.sum(), load.again.sum()
    again_places = max(size // 4, 1)
    old_places = jnp.where(old > 0, again_places, 0)
    places = size - old_places
    slot = jnp.arange(size, dtype=jnp.int32)
    fresh = slot < places
    # New vertices: consecutive, from a random one on.
    word, _ = random.threefry(*key, jnp.uint32(0), random.counter(jnp.uint32(0), random.WINDOW))
    spare = jnp.maximum(new - places, 0)
    start = whole_number(jnp.floor(random.uniform(word) * real(spare + 1)))
    number = slot + jnp.minimum(start, spare)
    warm_up = min(fixed.warm_up, size - again_places - 1)  # one place at least is for vertices
    skipped = jnp.where(new > places, warm_up, 0)
    weighing = jnp.minimum(new, places) - skipped
    weight = _weights(slot - skipped, weighing, new)
    ends = jnp.cumsum(load.first)
    side = jnp.minimum((number[:, None] >= ends).sum(axis=1), SIDES - 1)
    rank = real(number - (ends - load.first)[side]) + 0.5
    in_line = load.first[side] + jnp.where(side == load.side, load.disputed, 0)
    mine = real(jnp.maximum(load.first[side], 1))
    before = Queue(*(part[side] for part in load.before))
    arrived = arrival(before, load.coming[side], length, rank * real(in_line) / mine)
    began = jnp.maximum(length * rank / mine, arrived)
    # Those issued again: evenly over the window.
    place = slot - places
    ranked = (real(place) + 0.5) / real(jnp.maximum(old_places, 1))
    late = jnp.where(old <= old_places, place, whole_number(jnp.floor(ranked * real(old))))
    tried = (late[:, None] >= jnp.cumsum(load.again)).sum(axis=1)
    tried = jnp.minimum(tried, tries - 1)
    late_weight = _weights(place, jnp.minimum(old, old_places), old)
    exists = jnp.where(fresh, slot < jnp.minimum(new, places), place < jnp.minimum(old, old_places))
    weight = jnp.where(exists, jnp.where(fresh, weight, late_weight), 0)
    stands = jnp.where(fresh, weight, 0)
    middle = (real(jnp.cumsum(stands)) - 0.5 * real(stands)) / real(jnp.maximum(stands.sum(), 1))
    return Sample(
        exists=exists,
        weight=weight,
        number=jnp.where(fresh, number, new + late).astype(jnp.uint32),
        side=jnp.where(fresh, side, load.side),
        attempt=jnp.where(fresh, 0, tried + 1),
        at_ms=jnp.where(fresh, began, length * ranked),
        booked_ms=jnp.where(fresh, length * middle, length * ranked),
        age_ms=jnp.where(fresh, began - arrived, load.age_ms[tried]),
    )


def _weights(place, places, total):
    """Whole weights (int32) of the places from 0 to `places` - 1, which add up to total and differ
    by at most 1; 0 elsewhere."""
    inside = (place >= 0) & (place < places)
    sure = jnp.maximum(places, 1)
    # place * total may not fit 32 bits: whole part and rest apart.
    each, rest = total // sure, total % sure
    more = (place + 1) * rest // sure - place * rest // sure
    return jnp.where(inside, each + more, 0)
