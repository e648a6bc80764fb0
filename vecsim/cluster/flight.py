"""Vertices in flight: booked for the time at which they end, and taken from it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vecsim.cluster import votes
from vecsim.cluster.admission import Load, Sample
from vecsim.cluster.config import TICK_MS
from vecsim.cluster.constants import constants
from vecsim.cluster.defence import Sides
from vecsim.cluster.state import Flight, State, real, whole_number
from vecsim.cluster.votes import FINALISED, REJECTED, TIMED_OUT, Fate


class Departed(NamedTuple):
    """The sampled part of a record."""

    latency_ms: Any
    rounds: Any
    confidence: Any
    disputed: Any
    weight: Any
    outcome: Any


def due(flight: Flight, length_ms) -> tuple[Flight, Flight]:
    """What ends in the window that begins, and the rest by tick after its end."""
    ticks = length_ms // TICK_MS
    size = flight.finalised.shape[0]
    tick = jnp.arange(size)

    def ending(ring):
        inside = (tick < ticks).reshape(-1, *[1] * (ring.ndim - 1))
        return jnp.where(inside, ring, 0).sum(axis=0)

    def later(ring):
        there = (tick + ticks < size).reshape(-1, *[1] * (ring.ndim - 1))
        return jnp.where(there, ring[jnp.minimum(tick + ticks, size - 1)], 0)

    return jax.tree.map(ending, flight), jax.tree.map(later, flight)


def tick_after(end_ms, length_ms):
    """In which tick after the window's end a time after its start lies; below 0: before it."""
    return jnp.floor((end_ms - length_ms.astype(jnp.float32)) / TICK_MS).astype(jnp.int32)


def book(ends, later, when, amount):
    """Count vertices that end in this window (`when` below 0), or in a tick after it."""
    now = when < 0
    ends = ends + jnp.where(now, amount, 0).sum(dtype=ends.dtype)
    return ends, later.at[jnp.maximum(when, 0)].add(jnp.where(now, 0, amount))


def depart(
    ends: Flight, later: Flight, chosen: Sample, fate: Fate, finish, length_ms
) -> tuple[Flight, Flight, Departed]:
    """Book each sampled vertex, and those for which it stands, when it ends."""
    fixed = constants()
    tries = fixed.attempts - 1
    weight, outcome = chosen.weight, jnp.where(chosen.exists, fate.outcome, votes.EMPTY)
    took = finish - chosen.at_ms
    ended = chosen.booked_ms + took
    when = tick_after(ended, length_ms)
    timed_out = outcome == TIMED_OUT
    last = chosen.attempt >= tries
    # Issued again in a later window, if only just.
    due = jnp.maximum(tick_after(ended + fixed.reissue_after_ms, length_ms), 0)
    tried = jnp.minimum(chosen.attempt, tries - 1)
    age = chosen.age_ms + took
    again = timed_out & ~last

    def booked(name, which):
        amount = jnp.where(which, weight, 0)
        return book(getattr(ends, name), getattr(later, name), when, amount)

    finalised = booked("finalised", outcome == FINALISED)
    rejected = booked("rejected", outcome == REJECTED)
    given_up = booked("given_up", timed_out & last)
    ages = jnp.where(again, real(weight) * (age + fixed.reissue_after_ms), 0.0)
    ends = ends._replace(finalised=finalised[0], rejected=rejected[0], given_up=given_up[0])
    later = Flight(
        finalised=finalised[1],
        rejected=rejected[1],
        given_up=given_up[1],
        again=later.again.at[due, tried].add(jnp.where(again, weight, 0)),
        age_ms=later.age_ms.at[due, tried].add(ages),
    )
    latency = jnp.where((outcome == FINALISED) & (weight > 0), age, jnp.nan)
    told = Departed(
        latency,
        fate.rounds,
        jnp.where(outcome == FINALISED, fate.confidence, jnp.nan),
        jnp.zeros_like(weight),
        weight,
        jnp.where(weight > 0, outcome, votes.EMPTY),
    )
    return ends, later, told


def depart_disputed(
    ends: Flight, later: Flight, fate: Fate, count, length_ms
) -> tuple[Flight, Flight]:
    """A client that spends twice does not issue again what timed out."""
    when = tick_after(length_ms.astype(jnp.float32) / 2 + fate.after_ms[0], length_ms)
    for name, what in (("finalised", FINALISED), ("rejected", REJECTED), ("given_up", TIMED_OUT)):
        amount = jnp.where(fate.outcome[0] == what, count, 0)
        now, then = book(getattr(ends, name), getattr(later, name), when, amount)
        ends, later = ends._replace(**{name: now}), later._replace(**{name: then})
    return ends, later


class Ended(NamedTuple):
    """Vertices that ended in a window, or stopped for a time (int32)."""

    finalised: Any
    rejected: Any
    given_up: Any
    timed_out: Any


def arrive(
    state: State, ends: Flight, later: Flight, net: Sides, load: Load, honest, length_ms
) -> tuple[State, Ended]:
    """What ends in this window; nothing is finalised at nodes whose guard does not hold."""
    nodes = state.nodes
    issuers = nodes.member & nodes.up & nodes.held & (jnp.arange(nodes.up.shape[0]) < honest)
    able = issuers.sum()  # whose vertices are in flight
    holding = (issuers & net.holds[nodes.side]).sum()
    none = real(net.holds.any())  # nothing was in flight: what ends began in this window
    share = jnp.where(able > 0, real(holding) / real(jnp.maximum(able, 1)), none)

    def held_back(count):
        return count - whole_number(jnp.floor(real(count) * share + 0.5))

    late, late_rejected = held_back(ends.finalised), held_back(ends.rejected)
    finalised, rejected = ends.finalised - late, ends.rejected - late_rejected
    waiting = ends.again - load.again
    each = ends.age_ms / real(jnp.maximum(ends.again, 1)) + real(length_ms)
    fixed = constants()
    again = later.again.at[0].add(waiting).at[0, 0].add(late)
    ages = later.age_ms.at[0].add(real(waiting) * each)
    ages = ages.at[0, 0].add(real(late) * (2.0 * fixed.reissue_after_ms))
    totals = state.totals
    totals = totals._replace(
        finalised=totals.finalised + finalised,
        rejected=totals.rejected + rejected,
        given_up=totals.given_up + ends.given_up,
    )
    kept = later.rejected.at[0].add(late_rejected)
    after = later._replace(rejected=kept, again=again, age_ms=ages)
    timed_out = (after.again.sum() + load.again.sum()) - state.flight.again.sum()
    ended = Ended(finalised, rejected, ends.given_up, timed_out)
    return state._replace(flight=after, totals=totals), ended
