"""Whom nodes poll and trust: benching, the reputation test and the quorum guard.

Everything is of one trial. Ten nodes in two sides of 6 and 4, node 9 Byzantine, node 2 just killed:

    side        0 0 0 0 0 0 1 1 1 1      [nodes]
    byzantine   . . . . . . . . . B      [nodes]
    answers     1 1 0 1 1 1 1 1 1 1      [nodes]
    honest      5 3 0 0                  [SIDES], who answer; byzantine 0 1 0 0
    silent      x x 0 0                  [SIDES], who are still polled: node 2, and those across the
                                         cut, until their peers bench them
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vecsim.cluster import votes
from vecsim.cluster.constants import constants
from vecsim.cluster.roster import answering
from vecsim.cluster.state import SIDES, Conditions, Key, Queue, State, per, real
from vecsim.model import random

# What one answer adds to a peer's score, the natural logarithm of the likelihood ratio of Byzantine
# against honest: where it disagrees with the outcome and where it agrees; and the score that
# excludes. The reasons for the rates behind them are in constants.yaml.
_DISAGREE = math.log(constants().byzantine_disagreement / constants().honest_disagreement)
AGREE = math.log((1 - constants().byzantine_disagreement) / (1 - constants().honest_disagreement))
EXCLUDE = math.log(constants().exclude_at)
# Coins of vertices at which an adversary's way to answer is looked up, one in each eighth of
# [0, 1]: finer steps of an adversary are missed, and each coin is one more call of it on each side.
_COINS = (np.arange(8, dtype=np.float32) + 0.5) / 8


class Sides(NamedTuple):
    """Each side of the partition (there is one side when there is no partition), [SIDES]."""

    honest: Any  # int32: peers that answer truthfully and are polled
    byzantine: Any  # int32: peers that answer as their adversary says and are polled
    silent: Any  # int32: peers that do not answer but are still polled
    issuers: Any  # int32: honest nodes that run
    holds: Any  # bool: the guard lets nodes of the side finalise
    benched: Any  # float32: share of members that are benched by a node that runs
    wrong_time: Any  # int32: of the honest peers, those whose clock is too far off
    wrong_share: Any  # float32: of the issuers, the same
    asked: Any  # float32, no axis: peers that a node asks in a poll, on the largest side


def lossy_share(miss, queries_per_s):
    """Share of the time, 0 to 1, for which a peer that answers now and then is benched.

    miss: probability that a query to it goes unanswered. The share is that of a renewal process:
    mean time on the bench by the mean length of a cycle.
    """
    fixed = constants()
    bench_s = fixed.bench_s + fixed.probe_s * (1 / jnp.maximum(1 - miss, 1e-9) - 0.5)
    # Until `bench_after` queries in a row go unanswered, on average, each with chance `miss`.
    run = miss**fixed.bench_after
    queries = (1 - run) / jnp.maximum((1 - miss) * run, 1e-30)
    polled_s = queries / jnp.maximum(queries_per_s, 1e-9)
    return bench_s / (bench_s + polled_s)


def not_noticed(queries_per_s, start_s, end_s):
    """Share of queriers that still poll a peer which fell silent at 0: mean over [start_s, end_s].

    Queries come as a Poisson process; the peer is benched at the fourth (`bench_after`), so the
    share at time t is the survival function of an Erlang distribution of order 4. Before 0 it is 1.
    Times in seconds, scalars or arrays of one shape, which is that of the result.
    """

    def integral(x):  # of exp(-x) (1 + x + x^2 / 2 + x^3 / 6)
        return 4 - jnp.exp(-x) * (4 + 3 * x + x**2 + x**3 / 6)

    x, y = (jnp.maximum(t, 0.0) * queries_per_s for t in (start_s, end_s))
    before = jnp.maximum(jnp.minimum(end_s, 0.0) - start_s, 0.0)  # nobody can know yet
    polled = before + (integral(y) - integral(x)) / jnp.maximum(queries_per_s, 1e-9)
    return jnp.clip(polled / jnp.maximum(end_s - start_s, 1e-9), 0.0, 1.0)


def queried_per_s(now: Conditions, trusted):
    """Queries from one node to one peer, per second. trusted: bool [nodes]."""
    peers = real(jnp.maximum(trusted.sum() - 1, 1))
    return jnp.minimum(real(now.rule.k), peers) / now.interval_ms * 1000 / peers


def sides(now: Conditions, state: State, length_ms) -> Sides:
    """What nodes of each side meet in the window that begins, which lasts length_ms (int32).

    Counts of peers are rounded to whole numbers; the guard compares before rounding.
    """
    fixed, nodes, bench = constants(), state.nodes, now.benching
    byzantine, answers, trusted = now.byzantine(nodes), nodes.answers, nodes.trusted
    queries_per_s = queried_per_s(now, trusted)
    lossy = jnp.where(bench, lossy_share(1 - now.answered, queries_per_s), 0.0)

    def unnoticed(since_ms):
        start = real(state.now_ms - since_ms) / 1000 - now.timeout_ms / 1000
        share = not_noticed(queries_per_s, start, start + real(length_ms) / 1000)
        return jnp.where(bench, share, 1.0)

    still_polled = jnp.where(answers, 0.0, unnoticed(nodes.silent_since_ms))
    # A cut that has healed still parts those who have benched one another.
    until = jnp.where(state.healed_ms >= 0, state.healed_ms, state.now_ms)
    lasted_s = real(until - state.cut_since_ms) / 1000 - now.timeout_ms / 1000
    over_s = jnp.where(state.healed_ms >= 0, 1e-3, real(length_ms) / 1000)
    across = not_noticed(queries_per_s, lasted_s, lasted_s + over_s)
    across = jnp.where((state.cut_since_ms >= 0) & bench, across, 1.0)
    here = nodes.side == jnp.arange(SIDES)[:, None]

    def count(which, weight: Any = 1.0):
        return jnp.where(here & trusted & which, weight, 0.0).sum(axis=1)

    honest_here, byzantine_here = count(answers & ~byzantine), count(answers & byzantine)
    silence = 1 - _answering(now, honest_here, byzantine_here)
    quiet = 1 - now.answered * (1 - now.misbehaving * silence)
    lossy_byzantine = jnp.where(bench, lossy_share(quiet, queries_per_s), 0.0)
    truthful = honest_here * (1 - lossy)
    adverse = byzantine_here * (1 - lossy_byzantine)
    polled = jnp.where(answers, 1.0, still_polled)
    others = jnp.where(trusted & ~here, polled, 0.0).sum(axis=1)
    silent = count(~answers, still_polled) + others * across
    reached = truthful + adverse + silent  # members that a node trusts and polls, itself included
    holds = (100 * reached > fixed.guard_percent * real(nodes.member.sum()) + 1e-3) | ~now.guard
    issuing, off = here & nodes.running & ~byzantine, too_far_off(now, state)
    issuers = issuing.sum(axis=1)
    return Sides(
        honest=jnp.round(truthful).astype(jnp.int32),
        byzantine=jnp.round(adverse).astype(jnp.int32),
        silent=jnp.round(silent).astype(jnp.int32),
        issuers=issuers,
        holds=holds & (issuers > 0),
        benched=jnp.where(issuers > 0, 1 - reached / real(jnp.maximum(trusted.sum(), 1)), 0.0),
        wrong_time=jnp.round(count(off & answers) * (1 - lossy)).astype(jnp.int32),
        wrong_share=per((issuing & off).sum(axis=1), issuers),
        asked=jnp.clip(reached.max() - 1, 0.0, real(now.rule.k)),
    )


def too_far_off(now: Conditions, state: State):
    """Honest nodes that refuse vertices for their time, and whose vertices are refused, bool
    [nodes]."""
    off = jnp.abs(state.nodes.skew_s) > constants().most_skew_s
    return ~now.byzantine(state.nodes) & off


def _answering(now: Conditions, honest, byzantine):
    """Probability that a node which misbehaves answers a query at all, on each side.

    A query is about all vertices in flight, and is answered if it is on one of them. Of vertices
    without a rival their first polls are looked at, and all coins; where some have a rival, every
    way to answer that the adversary has.
    """

    def told(nodes: votes.Peers, shared):
        mixes = jnp.asarray(now.adversary.mixes, jnp.float32)
        return mixes[votes.first_mix(now, nodes, (shared, shared))].sum()

    none = jnp.zeros(SIDES, jnp.int32)
    nodes = votes.Peers(honest.astype(jnp.int32), none, byzantine.astype(jnp.int32), none)
    some = jax.vmap(jax.vmap(told, (None, 0)), (0, None))(nodes, _COINS).max(axis=1)
    return jnp.where(now.disputed_share > 0, answering(now.adversary), some)


def rejoin(now: Conditions, state: State) -> State:
    """The state, with the sides of a partition that has healed joined once they poll one another
    again: at once, or when benches end where most nodes had benched those across. The queues are
    joined on side 0."""
    fixed = constants()
    cut_ms = state.healed_ms - state.cut_since_ms
    longest, probe = round(fixed.bench_s * 1000), round(fixed.probe_s * 1000)
    bench_ms = jnp.maximum(longest - cut_ms, 0) + probe
    lasted_s = real(cut_ms) / 1000 - now.timeout_ms / 1000
    queries_per_s = queried_per_s(now, state.nodes.trusted)
    polled = not_noticed(queries_per_s, lasted_s, lasted_s + 1e-3)
    benched = now.benching & (polled < 0.5)  # by most of those across
    wait_ms = jnp.where(benched, bench_ms, 0)
    over = (state.healed_ms >= 0) & (state.now_ms - state.healed_ms >= wait_ms)
    queue = state.queue
    waiting, oldest_ms = queue.waiting.sum(), queue.oldest_ms.max()
    newest_ms = jnp.where(queue.waiting > 0, queue.newest_ms, jnp.inf).min()
    newest_ms = jnp.where(waiting > 0, newest_ms, 0.0)
    first = jnp.arange(SIDES) == 0
    joined = Queue(*(jnp.where(first, of_all, 0) for of_all in (waiting, oldest_ms, newest_ms)))
    return state.with_nodes(side=jnp.where(over, 0, state.nodes.side))._replace(
        cut_since_ms=jnp.where(over, -1, state.cut_since_ms),
        healed_ms=jnp.where(over, -1, state.healed_ms),
        queue=jax.tree.map(lambda new, old: jnp.where(over, new, old), joined, queue),
    )


def evidence(now: Conditions, state: State, key: Key, vertices, wrong, chance):
    """Scores (float32 [nodes]) and exclusions (bool [nodes]) after the outcomes of the window's
    vertices, one after another.

    vertices: int32 [nodes], how many vertices' answers were gathered from each node. wrong: the
    probability that an honest node's answer disagrees with the outcome (scalar or [nodes]).
    chance(vertex) -> the probability that a Byzantine node's answer on that vertex disagrees, and
    the probability that it answers at all.

    A one-sided sequential probability ratio test (Wald 1945) that never accepts a peer as honest:
    an honest one is excluded with probability 1 / `exclude_at` at most (Ville 1939). A vertex gives
    one answer per peer. Nodes that never disagree move on in one step. Two contradicting votes with
    one signature are a proof, and exclude at once.
    """
    nodes, byzantine = state.nodes, now.byzantine(state.nodes)
    node = jnp.arange(nodes.member.size, dtype=jnp.uint32)
    error = jnp.where(byzantine, 1.0, wrong)  # an upper bound: whether it may disagree at all
    may = (error > 0) & nodes.member

    def unsettled(carry):
        vertex, _, excluded = carry
        return (may & ~excluded & (vertex < vertices)).any()

    def judge(carry):
        vertex, score, excluded = carry
        disagrees, answers = chance(vertex)
        p = jnp.where(byzantine, disagrees, wrong)
        told = jnp.where(byzantine, answers, 1.0)
        number = random.counter(vertex.astype(jnp.uint32), random.EVIDENCE)
        first, second = random.threefry(*key, node, number)
        counted = may & ~excluded & (vertex < vertices) & (random.uniform(second) < told)
        step = jnp.where(random.uniform(first) < p, _DISAGREE, AGREE)
        score = jnp.where(counted, score + step, score)
        return vertex + 1, score, excluded | (score >= EXCLUDE)

    settled = nodes.score + AGREE * real(jnp.where(may, 0, vertices))
    start = jnp.int32(0), settled, nodes.excluded
    _, score, excluded = jax.lax.while_loop(unsettled, judge, start)
    excluded = excluded | _proven(now, state, key, vertices)
    used = now.reputation
    return jnp.where(used, score, nodes.score), jnp.where(used, excluded, nodes.excluded)


def _proven(now: Conditions, state: State, key: Key, vertices):
    """Which nodes signed two contradicting votes on one or more of the vertices, bool [nodes]."""
    node = jnp.arange(state.nodes.member.size, dtype=jnp.uint32)
    other = node + jnp.uint32(2**31)  # apart from the words of single answers
    never = jnp.exp(real(vertices) * jnp.log1p(-now.double_votes))
    caught = (vertices > 0) & (votes.coin(key, other, 0, random.EVIDENCE) >= never)
    return caught & now.byzantine(state.nodes) & state.nodes.member


def reputation(score):
    """A peer's standing in [0, 1]: 1 with no net evidence against it, 0 when excluded."""
    return jnp.clip(1 - score / EXCLUDE, 0.0, 1.0)
