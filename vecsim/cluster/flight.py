"""Vertices in flight: booked in the window in which they end, and taken from it."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from vecsim.cluster import votes
from vecsim.cluster.admission import Load, Sample, windows_ahead
from vecsim.cluster.config import constants
from vecsim.cluster.defence import Sides
from vecsim.cluster.state import Flight, State, real, whole
from vecsim.cluster.votes import FINALISED, REJECTED, TIMED_OUT, Fate


class Departed(NamedTuple):
    """The sampled part of a record."""

    latency_ms: Any
    rounds: Any
    confidence: Any
    disputed: Any
    weight: Any
    outcome: Any


def depart(flight: Flight, chosen: Sample, fate: Fate, finish, length_ms):
    """Book each sampled vertex, and those for which it stands, in the window in which it ends."""
    fixed = constants()
    tries = fixed.attempts - 1
    weight, outcome = chosen.weight, jnp.where(chosen.exists, fate.outcome, votes.EMPTY)
    took = finish - chosen.at_ms
    ended = chosen.booked_ms + took
    ahead = windows_ahead(ended, length_ms)

    def book(ring, which, when, amount=weight):
        return ring.at[when].add(jnp.where(which, amount, 0))

    timed_out = outcome == TIMED_OUT
    last = chosen.attempt >= tries
    due = jnp.maximum(windows_ahead(ended + fixed.reissue_after_ms, length_ms), 1)
    tried = jnp.minimum(chosen.attempt, tries - 1)
    age = chosen.age_ms + took
    again = timed_out & ~last
    flight = Flight(
        finalised=book(flight.finalised, outcome == FINALISED, ahead),
        rejected=book(flight.rejected, outcome == REJECTED, ahead),
        given_up=book(flight.given_up, timed_out & last, ahead),
        again=flight.again.at[due, tried].add(jnp.where(again, weight, 0)),
        age_ms=flight.age_ms.at[due, tried].add(
            jnp.where(again, real(weight) * (age + fixed.reissue_after_ms), 0.0)
        ),
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
    return flight, told


def depart_disputed(flight: Flight, fate: Fate, count, length_ms) -> Flight:
    """A client that spends twice does not issue again what timed out."""
    middle = length_ms.astype(jnp.float32) / 2
    when = windows_ahead(middle + fate.after_ms, length_ms)[0]

    def book(ring, what):
        return ring.at[when].add(jnp.where(fate.outcome[0] == what, count, 0))

    return flight._replace(
        finalised=book(flight.finalised, FINALISED),
        rejected=book(flight.rejected, REJECTED),
        given_up=book(flight.given_up, TIMED_OUT),
    )


class Ended(NamedTuple):
    """Vertices that ended in a window, or stopped for a time (int32)."""

    finalised: Any
    rejected: Any
    given_up: Any
    timed_out: Any


def arrive(
    state: State, flight: Flight, net: Sides, load: Load, honest, length_ms
) -> tuple[State, Ended]:
    """What ends in this window; nothing is finalised at nodes whose guard does not hold."""
    nodes = state.nodes
    issuers = nodes.member & nodes.up & nodes.held & (jnp.arange(nodes.up.shape[0]) < honest)
    able = issuers.sum()  # whose vertices are in flight
    holding = (issuers & net.holds[nodes.side]).sum()
    none = real(net.holds.any())  # nothing was in flight: what ends began in this window
    share = jnp.where(able > 0, real(holding) / real(jnp.maximum(able, 1)), none)

    def held_back(count):
        return count - whole(jnp.floor(real(count) * share + 0.5))

    late, late_rejected = held_back(flight.finalised[0]), held_back(flight.rejected[0])
    finalised, rejected = flight.finalised[0] - late, flight.rejected[0] - late_rejected
    waiting = flight.again[0] - load.again
    each = flight.age_ms[0] / real(jnp.maximum(flight.again[0], 1)) + real(length_ms)
    age = real(waiting) * each
    fixed = constants()

    def shift(ring):
        return jnp.concatenate([ring[1:], jnp.zeros_like(ring[:1])])

    again = shift(flight.again)
    again = again.at[0].add(waiting).at[0, 0].add(late)
    ages = shift(flight.age_ms)
    ages = ages.at[0].add(age).at[0, 0].add(real(late) * (2.0 * fixed.reissue_after_ms))
    totals = state.totals
    totals = totals._replace(
        finalised=totals.finalised + finalised,
        rejected=totals.rejected + rejected,
        given_up=totals.given_up + flight.given_up[0],
    )
    kept = shift(flight.rejected).at[0].add(late_rejected)
    after = Flight(shift(flight.finalised), kept, shift(flight.given_up), again, ages)
    timed_out = (after.again.sum() + load.again.sum()) - state.flight.again.sum()
    ended = Ended(finalised, rejected, flight.given_up[0], timed_out)
    return state._replace(flight=after, totals=totals), ended
