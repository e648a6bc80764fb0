"""Vertices in flight: they wait for their parents, and are booked for the time at which they end.

A window of 1 s is ten ticks of 100 ms: the first ten places of each array end in it, and the others
move up. What the window books is counted from its end, so by the new places:

    tick ahead     0  1  2 ...  9  10 11 12 ...      [ticks]
                   '-- end now --'  0  1  2 ...      their places in the next window
"""

from collections import namedtuple
from typing import Any

import jax
import jax.numpy as jnp

from vecsim.cluster.admission import Load, Sample
from vecsim.cluster.config import PARENTS, RANDOM_REACH, TICK_MS
from vecsim.cluster.constants import constants
from vecsim.cluster.defence import Sides
from vecsim.cluster.state import Flight, Key, State, per, real, whole_number
from vecsim.cluster.votes import EMPTY, FINALISED, REJECTED, TIMED_OUT, Fate
from vecsim.model import random
from vecsim.polls import below
from vecsim.results.measures.variables import OF_SAMPLES, SAMPLED

# What the sampled vertices of a window come to, [samples]: this part of its record.
Departed = namedtuple("Departed", [*SAMPLED, *OF_SAMPLES])
# Fields of Flight that count vertices for good, with the outcome of their last attempt.
ENDS = (("finalised", FINALISED), ("rejected", REJECTED), ("given_up", TIMED_OUT))


def parents_of(shape, key: Key, chosen: Sample):
    """Earlier places of the sample that are each one's parents, int32 [samples, most], or -1.

    For ten vertices of one side with `linear` parents: [[-1], [0], [1], ... [8]]; with `few`, from
    two to four of the places just before: [[-1 -1 -1 -1], [0 -1 -1 -1], [1 0 -1 -1], ...].
    """
    low, high = PARENTS[shape.parents]
    place = jnp.arange(shape.samples, dtype=jnp.uint32)
    which = jnp.arange(high + 1, dtype=jnp.uint32)[:, None]
    word, _ = random.threefry(*key, place, random.counter(which + jnp.uint32(1), random.WINDOW))
    count = low + below(word[0], jnp.uint32(high - low + 1)).astype(jnp.int32)
    back = jnp.arange(1, high + 1)[:, None]
    if shape.parents == "random":
        back = 1 + below(word[1:], jnp.uint32(RANDOM_REACH)).astype(jnp.int32)
    parent = place.astype(jnp.int32) - back
    known = (back > 0) & (jnp.arange(high)[:, None] < count) & (parent >= 0)
    same = chosen.side[jnp.maximum(parent, 0)] == chosen.side
    first = (chosen.attempt == 0) & chosen.exists
    return jnp.where(known & same & first, parent, -1).T


def finish_ms(shape, key: Key, chosen: Sample, fate: Fate):
    """When each vertex's attempt ends, ms from the window's start, float32 [samples]: not before
    its parents' ends.

    A child of a vertex that timed out or was rejected waits for that, and is re-parented then on
    vertices that are final. Ten vertices with `linear` parents that end by themselves after 5 ms,
    but the third after 9:

        place     0 1 2 3 4 5 6 7 8 9      [samples]
        parent    - 0 1 2 3 4 5 6 7 8      [samples, most], -1 where there is none
        own       5 5 9 5 5 5 5 5 5 5      ms, were all issued at 0
        finish    5 5 9 9 9 9 9 9 9 9      never before a parent's
    """
    own = chosen.at_ms + fate.after_ms
    parents = parents_of(shape, key, chosen)
    final = fate.outcome == FINALISED

    def place(i, finish):
        mine = parents[i]
        latest = jnp.where(mine >= 0, finish[jnp.maximum(mine, 0)], 0.0).max()
        return finish.at[i].set(jnp.where(final[i], jnp.maximum(own[i], latest), own[i]))

    return jax.lax.fori_loop(0, shape.samples, place, own)


def deeper(shape, key: Key, chosen: Sample, load: Load):
    """Levels by which the window's vertices deepen the DAG, int32.

    For `random` parents it is the depth of the sample, scaled up to all of the window's vertices.
    """
    first = load.first.sum() + load.disputed
    if shape.parents != "random":  # each vertex has the one before it as a parent
        return first
    parents = parents_of(shape, key, chosen)

    def place(i, depth):
        mine = parents[i]
        return depth.at[i].set(1 + jnp.where(mine >= 0, depth[jnp.maximum(mine, 0)], 0).max())

    depth = jax.lax.fori_loop(0, shape.samples, place, jnp.zeros(shape.samples, jnp.int32))
    run = chosen.exists & (chosen.attempt == 0)
    return first * jnp.where(run, depth, 0).max() // jnp.maximum(run.sum(), 1)


def due(flight: Flight, length_ms) -> tuple[Flight, Flight]:
    """What ends in the window that begins (without the axis of ticks), and the rest by tick after
    its end. length_ms: int32, whole ticks."""
    ticks = length_ms // TICK_MS
    tick = jnp.arange(flight.finalised.shape[0])

    def where(mask, ring):
        return jnp.where(mask.reshape(-1, *[1] * (ring.ndim - 1)), ring, 0)

    ending = jax.tree.map(lambda ring: where(tick < ticks, ring).sum(axis=0), flight)
    there, moved = tick + ticks < tick.size, jnp.minimum(tick + ticks, tick.size - 1)
    return ending, jax.tree.map(lambda ring: where(there, ring[moved]), flight)


def tick_after(end_ms, length_ms):
    """The tick (int32) after the window's end in which a time lies; below 0: before that end.

    end_ms: the time, float32, from the window's start.
    """
    return whole_number(jnp.floor((end_ms - real(length_ms)) / TICK_MS))


def book(ends: Flight, later: Flight, outcome, amount, when) -> tuple[Flight, Flight]:
    """Count vertices by their outcome: as ends in this window where `when` is below 0, else in
    that tick after it. outcome, amount (vertices), when: int32, scalars or [samples]."""
    now, tick = when < 0, jnp.maximum(when, 0)
    for name, of in ENDS:
        count, ring = jnp.where(outcome == of, amount, 0), getattr(later, name)
        ended = getattr(ends, name) + jnp.where(now, count, 0).sum(dtype=ring.dtype)
        ends = ends._replace(**{name: ended})
        later = later._replace(**{name: ring.at[tick].add(jnp.where(now, 0, count))})
    return ends, later


def depart(
    ends: Flight, later: Flight, chosen: Sample, fate: Fate, finish, length_ms
) -> tuple[Flight, Flight, Departed]:
    """Book each sampled vertex, and those for which it stands, when it ends.

    finish: float32 [samples], ms from the window's start. What timed out is booked to be issued
    again, unless it was its last attempt.
    """
    fixed = constants()
    tries = fixed.attempts - 1
    weight, outcome = chosen.weight, jnp.where(chosen.exists, fate.outcome, EMPTY)
    took = finish - chosen.at_ms
    ended = chosen.booked_ms + took
    again = (outcome == TIMED_OUT) & (chosen.attempt < tries)
    booked = jnp.where(again, EMPTY, outcome)
    ends, later = book(ends, later, booked, weight, tick_after(ended, length_ms))
    # Issued again in a later window, if only just.
    due = jnp.maximum(tick_after(ended + fixed.reissue_after_ms, length_ms), 0)
    tried = jnp.minimum(chosen.attempt, tries - 1)
    age = chosen.age_ms + took
    ages = jnp.where(again, real(weight) * (age + fixed.reissue_after_ms), 0.0)
    later = later._replace(
        again=later.again.at[due, tried].add(jnp.where(again, weight, 0)),
        age_ms=later.age_ms.at[due, tried].add(ages),
    )
    return ends, later, departed(fate, outcome, weight, age, 0)


def departed(fate: Fate, outcome, weight, age_ms, disputed: int) -> Departed:
    """What is recorded of sampled vertices. age_ms: at their end; disputed: 1 with a rival."""
    final, there = outcome == FINALISED, weight > 0
    return Departed(
        latency_ms=jnp.where(final & there, age_ms, jnp.nan),
        rounds=fate.rounds,
        confidence=jnp.where(final, fate.confidence, jnp.nan),
        disputed=jnp.full_like(weight, disputed),
        weight=weight,
        outcome=jnp.where(there, outcome, EMPTY),
    )


def arrive(
    state: State, ends: Flight, later: Flight, net: Sides, load: Load, honest, length_ms
) -> tuple[State, dict[str, Any]]:
    """What ends in this window; nothing is finalised at nodes whose guard does not hold.

    honest: which nodes are, bool [nodes]. The second result is part of the window's record (int32):
    what was finalised, rejected and given up, and attempts that timed out without a decision.
    """
    nodes = state.nodes
    issuers = nodes.running & nodes.held & honest
    able = issuers.sum()  # whose vertices are in flight
    holding = (issuers & net.holds[nodes.side]).sum()
    none = real(net.holds.any())  # nothing was in flight: what ends began in this window
    share = jnp.where(able > 0, per(holding, able), none)

    def held_back(count):
        return count - whole_number(jnp.floor(real(count) * share + 0.5))

    late, late_rejected = held_back(ends.finalised), held_back(ends.rejected)
    finalised, rejected = ends.finalised - late, ends.rejected - late_rejected
    waiting = ends.again - load.again
    each = per(ends.age_ms, ends.again) + real(length_ms)
    again = later.again.at[0].add(waiting).at[0, 0].add(late)
    ages = later.age_ms.at[0].add(real(waiting) * each)
    ages = ages.at[0, 0].add(real(late) * (2.0 * constants().reissue_after_ms))
    ended = {"finalised": finalised, "rejected": rejected, "given_up": ends.given_up}
    kept = later.rejected.at[0].add(late_rejected)
    after = later._replace(rejected=kept, again=again, age_ms=ages)
    timed_out = (after.again.sum() + load.again.sum()) - state.flight.again.sum()
    state = state._replace(flight=after, totals=state.totals.plus(**ended))
    return state, ended | {"timed_out": timed_out + ends.given_up}
