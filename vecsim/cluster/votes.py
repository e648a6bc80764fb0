"""How sampled vertices fare: their issuers' polls one by one, peers drawn without replacement.

Those who ask in a poll are the sample's issuers, [samples], or of one vertex with a rival all nodes
of a side, [nodes], of which the first `honest` exist. Random words are [most_k, askers]; word
(i, a) draws the i-th peer of asker a among the peers of each kind that are left.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from vecsim.cluster.state import Conditions, Key, real
from vecsim.model import random
from vecsim.polls import below
from vecsim.types import Counts, View, decided, preference

MOST_ASKED = 512  # peers of a poll, at most: keeps the random words of askers apart
TIMED_OUT, FINALISED, REJECTED, EMPTY = 0, 1, 2, -1  # outcomes of an attempt; EMPTY: no vertex
UNROLL = 15  # peers drawn in one step of the loop: more of them take ever longer to compile


class Peers(NamedTuple):
    """Whom a vertex's issuer may poll, in numbers (int32), by how they answer."""

    ones: Any  # honest, prefer the vertex
    zeros: Any  # honest, prefer its rival
    byzantine: Any
    silent: Any

    @property
    def all(self):
        """Peers of every kind."""
        return self.ones + self.zeros + self.byzantine + self.silent


class Fate(NamedTuple):
    """What became of vertices, [samples]."""

    outcome: Any  # int32: TIMED_OUT, FINALISED, REJECTED
    rounds: Any  # int32: polls of the attempt
    after_ms: Any  # float32: from its first poll to the end of the attempt, parents apart
    confidence: Any  # float32: of the issuer, as its rule defines it


def _sampling(rule, peers: Peers):
    """k' and the rule with alpha': fewer than k peers are all asked, and the quorum shrinks with
    them."""
    k = jnp.minimum(jnp.asarray(rule.k, jnp.int32), peers.all)
    alpha = -(-jnp.asarray(rule.alpha, jnp.int32) * k // jnp.asarray(rule.k, jnp.int32))
    return k, eqx.tree_at(lambda rule: rule.alpha, rule, jnp.maximum(alpha, 1))


def poll_chance(now: Conditions, mix):
    """P(1) and P(1 or 0) of a Byzantine peer's answer to an undisputed vertex, loss apart.

    mix: index into the adversary's mixes, of any shape, which is that of both results.
    """
    mixes = jnp.asarray(now.adversary.mixes, jnp.float32)
    accept, reject = mixes[mix, 0], mixes[mix, 1]
    bad = now.misbehaving
    return 1 - bad + bad * accept, 1 - bad + bad * (accept + reject)


def coin(key: Key, number, round_, purpose: int):
    """A uniform in [0, 1), float32, named by a number (uint32), a round and a purpose; of the
    number's shape."""
    place = random.counter(jnp.asarray(round_, jnp.uint32), purpose)
    return random.uniform(random.threefry(*key, number, place)[0])


def vertex_coin(key: Key, number):
    """A uniform of each vertex that all Byzantine nodes share."""
    return coin(key, number, 0, random.VERTEX)


def poll_coin(key: Key, number, poll):
    """The same of each of its polls."""
    return coin(key, number, poll, random.ADVERSARY)


def view_of_votes(
    now: Conditions, nodes: Peers, poll, start_ones, coins, decided_0=0, decided_1=0
) -> View:
    """What an adversary sees of one vertex. nodes: those that take part, with the one that asks;
    coins: of the vertex, and of this poll."""
    counts = dict(round=poll, honest=nodes.ones + nodes.zeros, byzantine=nodes.byzantine)
    counts |= dict(peers=nodes.all - 1, exclude_self=1, k=now.rule.k, alpha=now.rule.alpha)
    counts |= dict(start_ones=start_ones, ones=nodes.ones)
    counts |= dict(decided_0=decided_0, decided_1=decided_1)
    # Where all agree: an adversary that pools on other vertices is not `playable`.
    counts["pooled_minority"] = nodes.ones < nodes.zeros
    whole = {name: jnp.asarray(count, jnp.int32) for name, count in counts.items()}
    return View(**whole, trial_coin=coins[0], round_coin=coins[1])


def first_mix(now: Conditions, nodes: Peers, coins):
    """Which of its mixes the adversary plays in the first poll of a vertex, to those that prefer
    it."""
    mix, _ = now.adversary.answer(view_of_votes(now, nodes, 0, nodes.ones, coins), jnp.int32(0))
    return mix[0, 1]


def _ask(
    most: int, now: Conditions, key: Key, asker, own, poll, peers: Peers, k, accept, told
) -> Counts:
    """What one poll gives each asker: answers for its own preference, and all answers.

    most: the largest k. asker: uint32 [askers], distinct. own: what each prefers. peers, k, accept
    (P(1)) and told (P(1 or 0)) of Byzantine peers: scalars or [askers]. Each peer is drawn without
    replacement by its kind; a second word says whether its answer arrives, and which one it is.
    """
    draw = jnp.arange(most, dtype=jnp.uint32).reshape(-1, *[1] * asker.ndim)
    first = asker * jnp.uint32(MOST_ASKED) + draw
    second = random.counter(jnp.asarray(poll, jnp.uint32), random.SAMPLE)
    which, fate = random.threefry(*key, first, second)
    fate = fate >> jnp.uint32(1)
    honest_told = _boundary(now.answered)
    byzantine_one, byzantine_told = _boundary(now.answered * accept), _boundary(now.answered * told)
    zero = jnp.zeros(asker.shape, jnp.uint32)
    left = tuple(jnp.broadcast_to(part, asker.shape).astype(jnp.uint32) for part in peers)

    def one_peer(carry, drawn):
        left, ones, answered = carry
        i, which, fate = drawn
        pick = below(which, jnp.maximum(left[0] + left[1] + left[2] + left[3], 1))
        hits, past = [], jnp.uint32(0)
        for part in left:
            hits.append((pick >= past) & (pick < past + part))
            past = past + part
        left = tuple(part - hit.astype(jnp.uint32) for part, hit in zip(left, hits, strict=True))
        honest = (hits[0] | hits[1]) & (fate < honest_told)
        byzantine = hits[2] & (fate < byzantine_told)
        one = (hits[0] & honest) | (byzantine & (fate < byzantine_one))
        asked = i < k
        ones = ones + (asked & one).astype(jnp.uint32)
        answered = answered + (asked & (honest | byzantine)).astype(jnp.uint32)
        return (left, ones, answered), None

    drawn = jnp.arange(most), which, fate
    (_, ones, answered), _ = lax.scan(one_peer, (left, zero, zero), drawn, unroll=UNROLL)
    return Counts(jnp.where(own == 1, ones, answered - ones), answered)


def _boundary(probability):
    """uint32 b with P(a word of 31 bits < b) = probability; 0 and 1 are exact."""
    share = jnp.clip(jnp.asarray(probability, jnp.float32), 0.0, 1.0)
    return (share * jnp.float32(2.0**31)).astype(jnp.uint32)


def _resolved_ms(spare: int, now: Conditions, key: Key, asker, poll, positive, alpha):
    """When a poll ends, counted from the first: with the alpha-th of `positive` replies, or with
    the time-out where there are fewer.

    Round trips are uniform, so that is an order statistic of uniforms: the product of U_i^(1/i)
    for i = alpha, ..., positive, at most `spare` factors.
    """
    term = jnp.arange((spare + 1) // 2, dtype=jnp.uint32).reshape(-1, *[1] * asker.ndim)
    first = asker * jnp.uint32(MOST_ASKED) + term
    second = random.counter(jnp.asarray(poll, jnp.uint32), random.ROUND_TRIP)
    words = jnp.concatenate(random.threefry(*key, first, second))[:spare]
    positive = positive.astype(jnp.int32)
    i = alpha + jnp.arange(spare).reshape(-1, *[1] * asker.ndim)
    middle = random.uniform(words) + 0.5 / random.COINS  # of its piece of [0, 1], so not 0
    share = jnp.exp(jnp.where(i <= positive, jnp.log(middle) / real(i), 0.0).sum(axis=0))
    low, high = now.round_trip_ms
    wait = low + (high - low) * share + now.extra_ms
    return real(poll) * now.interval_ms + jnp.where(positive >= alpha, wait, now.timeout_ms)


def _until_decided(rule, exists, polled, start):
    """The carry (poll, cell, ...) after polls, until those that exist are decided or give up."""
    limit = jnp.asarray(rule.max_rounds, jnp.int32)

    def going(carry):
        poll, cell, *_ = carry
        return (poll < limit) & (exists & ~decided(cell)).any()

    return lax.while_loop(going, polled, start)


def _fate(rule, cell, rounds, ended) -> Fate:
    """The fates of vertices whose issuers' cells are `cell` at the end."""
    outcome = jnp.where(preference(cell) == 1, FINALISED, REJECTED)
    return Fate(jnp.where(decided(cell), outcome, 0), rounds, ended, rule.confidence(cell))


def vote_undisputed(shape, now: Conditions, key: Key, peers: Peers, number, exists) -> Fate:
    """Fates of vertices without a rival: honest peers keep to what they prefer, which is the vertex
    unless they refuse it for its time.

    peers: of each issuer, itself apart, [samples]. number: uint32, of each vertex. exists: bool
    [samples]; the fates of others have no meaning.
    """
    samples = number.shape[0]
    shared = vertex_coin(key, number)
    asker = jnp.arange(samples, dtype=jnp.uint32)
    k, rule = _sampling(now.rule, peers)

    def polled(carry):
        poll, cell, memory, rounds, ended = carry
        own = preference(cell)
        ones = own.astype(jnp.int32)
        nodes = peers._replace(ones=peers.ones + ones, zeros=peers.zeros + 1 - ones)
        coins = shared, poll_coin(key, number, poll)
        view = jax.vmap(view_of_votes, (None, 0, None, 0, 0))
        seen = view(now, nodes, poll, peers.ones + 1, coins)
        mix, memory = jax.vmap(now.adversary.answer)(seen, memory)
        mix = jnp.broadcast_to(mix, (samples, *mix.shape[1:]))[:, 0]
        accept, told = poll_chance(now, jnp.where(own == 1, mix[:, 1], mix[:, 0]))
        got = _ask(shape.most_k, now, key, asker, own, poll, peers, k, accept, told)
        resolved = _resolved_ms(shape.spare, now, key, asker, poll, got.positive, rule.alpha)
        active = ~decided(cell)
        cell = jnp.where(active & (peers.all != 0), rule.step(cell, got), cell)
        ended = jnp.where(active, jnp.maximum(ended, resolved), ended)
        return poll + 1, cell, memory, rounds + active.astype(jnp.int32), ended

    zero = jnp.zeros(samples, jnp.int32)
    cell = jnp.broadcast_to(rule.start(jnp.uint32(1)), (samples,))
    start = (jnp.int32(0), cell, zero, zero, jnp.zeros(samples, jnp.float32))
    _, cell, _, rounds, ended = _until_decided(rule, exists, polled, start)
    return _fate(rule, cell, rounds, ended)


class Dispute(NamedTuple):
    """What became of one vertex with a rival, run at every honest node of a side."""

    fate: Fate  # at its issuer, [1]
    decided: Any  # bool [colour]: whether honest nodes decided so
    wrong: Any  # float32: share of honest answers that disagree with the outcome


def disputed(shape, now: Conditions, key: Key, peers: Peers, ones, shared) -> Dispute:
    """The fate of one vertex with a rival; `ones` of the honest nodes saw the vertex first.

    peers: all nodes of the side (ones and zeros are replaced as nodes change their preference).
    The issuer is node 0 and prefers its own vertex. shared: the vertex's coin.
    """
    node = jnp.arange(shape.nodes, dtype=jnp.uint32)
    honest = peers.ones + peers.zeros
    exists = node.astype(jnp.int32) < honest
    zero = jnp.int32(0)
    k, rule = _sampling(now.rule, peers._replace(ones=honest - 1, zeros=zero))

    def count(cell):
        one = (exists & (preference(cell) == 1)).sum()
        sure = exists & decided(cell)
        return one, (sure & (preference(cell) == 0)).sum(), (sure & (preference(cell) == 1)).sum()

    def polled(carry):
        poll, cell, memory, rounds, ended, asked = carry
        one, zero_decided, one_decided = count(cell)
        met = peers._replace(ones=one, zeros=honest - one)
        coins = shared, poll_coin(key, jnp.uint32(0), poll)
        seen = view_of_votes(now, met, poll, ones, coins, zero_decided, one_decided)
        mix, memory = now.adversary.answer(seen, memory)
        own = preference(cell)
        mixes = jnp.asarray(now.adversary.mixes, jnp.float32)[mix[0]]  # [colour, 2]
        honestly = jnp.where(one >= honest - one, 1.0, 0.0)  # follows the majority when it behaves
        bad = now.misbehaving
        accept = bad * mixes[:, 0] + (1 - bad) * honestly
        told = bad * mixes.sum(axis=1) + (1 - bad)
        accept, told = (jnp.where(own == 1, of[1], of[0]) for of in (accept, told))
        own_int = own.astype(jnp.int32)
        mine = peers._replace(ones=one - own_int, zeros=honest - one - (1 - own_int))
        got = _ask(shape.most_k, now, key, node, own, poll, mine, k, accept, told)
        replies = got.positive[:1]
        resolved = _resolved_ms(shape.spare, now, key, node[:1], poll, replies, rule.alpha)
        active = ~decided(cell[:1])
        ended = jnp.where(active, jnp.maximum(ended, resolved), ended)
        asked = asked + jnp.stack([honest - one, one]).astype(jnp.float32)
        cell = jnp.where(decided(cell), cell, rule.step(cell, got))
        return poll + 1, cell, memory, rounds + active.astype(jnp.int32), ended, asked

    cell = rule.start((node.astype(jnp.int32) < ones).astype(jnp.uint32))
    f32 = jnp.float32
    start = (zero, cell, zero, jnp.zeros(1, jnp.int32), jnp.zeros(1, f32), jnp.zeros(2, f32))
    _, cell, _, rounds, ended, asked = _until_decided(rule, exists, polled, start)
    one, *decisions = count(cell)
    wrong = jnp.where(2 * one >= honest, asked[0], asked[1]) / jnp.maximum(asked.sum(), 1.0)
    return Dispute(_fate(rule, cell[:1], rounds, ended), jnp.stack(decisions) > 0, wrong)
