"""The probability of each result of a poll, computed inside the loop: any n, no table of n rows.

The formulas are those of `vecsim.pool`. A poll draws own answers (of the querier's colour) and
others, from the honest nodes and from Byzantine nodes that answer a fixed colour. Where an answer
may also be a coin or silence there is a third part: distinct peers from Byzantine nodes that do
not answer a fixed colour, or, with replacement, answers that do not come. A probability is
then the sum over x own draws and y of the third part of

    coefficient [a]_x [b]_(k-x-y) [c]_y / [a+b+c]_k P(the result, given x and y)

with [a]_x = a (a-1) ... (a-x+1), or a^x with replacement. The falling products are taken as ratios
to those of the totals, so that nothing overflows; every term is positive and nothing is
computed as 1 - p. Everything is float64: numbers of nodes are exact up to 2^53.

Where honest nodes may be unheard by some queriers (groups that are cut off, nodes that rest), a
poll meets i of them with the probability of that many among its k draws, and what remains is a
poll of k - i of the others.
"""

from functools import lru_cache, partial
from math import comb
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from vecsim import pool as pools
from vecsim.engines.cells import RESULTS
from vecsim.point import Point

Floats = NDArray[np.float64]
FIXED = ((0.0, 1.0), (1.0, 0.0))  # mixes of Byzantine nodes that answer one colour


class Polls(NamedTuple):
    """What decides the results of a point's polls, but for how many nodes prefer what."""

    k: Any  # int32
    honest: Any  # float64
    exclude_self: Any  # float64, 0 or 1
    step: Any  # float64: 1 for distinct peers, 0 with replacement
    arrives: Any  # float64: P(an answer arrives) with replacement, else 1
    lost: Any  # float64: P(an answer is lost) with replacement, else 0
    answers: Any  # float64 [mixes, own colour, 2]: Byzantine nodes counted as own, as others
    apart: Any  # float64 [mixes]: share of the Byzantine nodes in the third part
    ways: Any  # float64 [x]: C(k, x)
    weights: Any  # float64 [mixes, own colour, results, y, x]: 0 where x + y is more than k; with
    # unheard nodes there is a first axis of draws of those that are heard


def third_part(point: Point) -> bool:
    """Whether some answer may be a coin or silence (see the module)."""
    network, mixes = point.network, point.adversary.mixes if point.byzantine else ()
    if network.replacement:
        return network.loss > 0 or any(sum(mix) < 1 for mix in mixes)
    return any(mix not in FIXED for mix in mixes)


def polls_of(point: Point, mixes: int, size: int, third: bool, unheard: bool = False) -> Polls:
    """The point's polls, filled up to `mixes` mixes and `size` answers.

    unheard: whether honest nodes may be unheard.
    """
    polls = _polls_of(point, mixes, size, third, point.protocol.k, unheard)
    if not unheard:
        return polls
    shorter = [_polls_of(point, mixes, size, third, k, True).weights for k in range(polls.k)]
    none = np.zeros((size - int(polls.k), *polls.weights.shape))
    return polls._replace(weights=np.concatenate([np.stack([*shorter, polls.weights]), none]))


def _polls_of(point: Point, mixes: int, size: int, third: bool, k: int, unheard: bool) -> Polls:
    """The same for polls of k draws, all of nodes that are heard."""
    rule, network = point.protocol, point.network
    low, high = rule.quorums
    replacement = network.replacement
    answers, apart = np.zeros((mixes, 2, 2)), np.zeros(mixes)
    weights = np.zeros((mixes, 2, len(RESULTS), size + 1 if third else 1, size + 1))
    for i, mix in enumerate(point.adversary.mixes):
        merged = replacement or mix in FIXED
        apart[i] = (1 - sum(mix)) if replacement else float(not merged)
        for own in range(2):
            shares = (mix[1 - own], mix[own])  # P(answers 1) comes first in a mix
            answers[i, own] = shares if merged else (0.0, 0.0)
            loss = 0.0 if replacement else network.loss
            given = (0.0, 0.0) if merged else shares
            rows = result_weights(k, low, high, loss, *given, third)
            if not merged and not unheard:
                rows = rows * _rests(point.honest - network.exclude_self, k)[: rows.shape[1]]
            weights[i, own, :, : rows.shape[1], : rows.shape[2]] = rows
    return Polls(
        k=np.int32(k),
        honest=np.float64(point.honest),
        exclude_self=np.float64(network.exclude_self),
        step=np.float64(not replacement),
        arrives=np.float64(1 - network.loss if replacement else 1.0),
        lost=np.float64(network.loss if replacement else 0.0),
        answers=answers,
        apart=apart,
        ways=np.array([float(comb(k, x)) for x in range(size + 1)]),
        weights=weights,
    )


@lru_cache(maxsize=512)
def result_weights(
    k: int, low: int, high: int, loss: float, own: float, other: float, third: bool
) -> Floats:
    """Ways to draw x own answers and y of the third part, times P(each result | x, y).

    low, high: alpha_preference, alpha_confidence. own, other: P(one of the third part gives an own
    answer), P(another one). third: whether y goes up to k, or is 0. [results, y, x].
    """
    size = k + 1
    arriving = np.zeros((size, size))  # row x: how many of x answers arrive
    for x in range(size):
        arriving[x, : x + 1] = pools.binomial(x, 1 - loss)
    count = np.add.outer(np.arange(size), np.arange(size))  # arriving + of the third part
    below, between, above = (
        arriving @ chosen.astype(float)
        for chosen in (count < low, (count >= low) & (count < high), count >= high)
    )
    weights = np.zeros((len(RESULTS), size if third else 1, size))
    for y in range(weights.shape[1]):
        x = np.arange(k - y + 1)
        z = x[::-1]
        both = _trinomial(y, own * (1 - loss), other * (1 - loss))
        mine, theirs = both.sum(axis=1), both.sum(axis=0)
        answers = slice(0, y + 1)
        neither = (below[x, answers] @ both * below[z, answers]).sum(axis=1)
        results = [
            neither,
            between[x, answers] @ mine,
            above[x, answers] @ mine,
            between[z, answers] @ theirs,
            above[z, answers] @ theirs,
        ]
        ways = np.array([float(comb(k, y) * comb(k - y, i)) for i in x])
        weights[:, y, x] = ways * np.array(results)
    weights.setflags(write=False)
    return weights


def _rests(total: int, k: int) -> Floats:
    """[total]_x [total]_(d-x) / [total]_d for d = k - y draws, [y, x]."""
    j = np.arange(k)
    under = total - (k - np.arange(k + 1)[:, None] - 1.0 - j)
    ratios = np.maximum(total - j, 0) / np.where(under > 0, under, 1)
    return np.cumprod(np.pad(ratios, ((0, 0), (1, 0)), constant_values=1.0), axis=1, dtype=float)


def _trinomial(trials: int, first: float, second: float) -> Floats:
    """P(i of the first kind, j of the second) in so many trials, [trials + 1, trials + 1]."""
    joint = np.zeros((trials + 1, trials + 1))
    either = first + second
    for total, probability in enumerate(pools.binomial(trials, either)):
        split = pools.binomial(total, first / either if either else 0.0)
        i = np.arange(total + 1)
        joint[i, total - i] = probability * split
    return joint


def result_probabilities(polls: Polls, byzantine, ones, mixes, heard=None):
    """P(each result) for each class of querier, float64 [trials, groups, own colour, results].

    byzantine: Byzantine nodes in the network. ones: honest nodes that prefer 1 (float64 [trials]).
    mixes: int32 [trials, groups, own colour], index into the adversary's mixes. heard: the honest
    nodes that a querier of each group hears, itself included [trials, groups]; `ones` then has that
    shape too, and counts those of them that prefer 1.
    """
    trials, groups, _ = mixes.shape
    byzantine = jnp.repeat(byzantine, groups)
    if heard is None:
        ones, honest = jnp.repeat(ones, groups), polls.honest
    else:
        ones, honest = ones.ravel(), heard.ravel()
    crowds = honest - ones, ones
    found = []
    for own in range(2):
        met = own, crowds[own], honest, byzantine, mixes[..., own].ravel()
        found.append(_of_colour(polls, *met) if heard is None else _of_heard(polls, *met))
    return jnp.stack(found, axis=-1).T.reshape(2, trials, groups, -1).transpose(1, 2, 0, 3)


def _of_heard(polls: Polls, own: int, same, honest, byzantine, mixes):
    """As `_of_colour`, where only `honest` of all honest nodes are heard."""
    peers = jnp.maximum(honest - polls.exclude_self, 0.0) + byzantine
    chances = _drawn(polls, peers, polls.honest - honest)

    def add(known, each):
        draws, chance, weights = each
        some = polls._replace(k=draws, weights=weights)
        given = _of_colour(some, own, same, honest, byzantine, mixes, all_heard=False)
        return known + chance * given, None

    every = jnp.arange(len(chances), dtype=jnp.int32), chances, polls.weights
    return lax.scan(add, jnp.zeros((len(RESULTS), len(mixes))), every)[0]


def _drawn(polls: Polls, part, other):
    """P(x of k draws are from a part of that size, the rest from the other) [x, classes]."""
    width, k, step = polls.ways.shape[-1], polls.k.astype(jnp.float64), polls.step
    total = part + other
    ratios = [_falling(each, total, step, width) for each in (part, other)]
    mine, theirs, rest = _products(*ratios, _rest(total, k, step, width))
    theirs = theirs[jnp.clip(polls.k - jnp.arange(width, dtype=jnp.int32), 0)]
    return polls.ways[:, None] * mine * theirs * rest


def _of_colour(polls: Polls, own: int, same, honest, byzantine, mixes, all_heard=True):
    """For queriers of one colour, which so many honest nodes share: [results, classes].

    honest: honest nodes that are heard; all_heard: whether it is all, as many as the weights know.
    """
    mine = jnp.maximum(same - polls.exclude_self, 0.0), honest - same  # may be no class
    answers = polls.answers[mixes, own] * byzantine[:, None]
    a, b = (polls.arrives * (part + answers[:, i]) for i, part in enumerate(mine))
    peers = honest - polls.exclude_self + byzantine
    c = polls.arrives * polls.apart[mixes] * byzantine + polls.lost * peers
    terms = _terms(polls, a, b, c, polls.apart[mixes] > 0.0 if all_heard else None)

    def given(mix: int, known):
        return jnp.where(
            mixes == mix, polls.weights[mix, own].reshape(-1, len(terms)) @ terms, known
        )

    known = jnp.zeros((len(RESULTS), len(mixes)))
    for mix in range(len(polls.weights)):  # one that nobody meets costs nothing
        known = lax.cond((mixes == mix).any(), partial(given, mix), lambda known: known, known)
    return known


def _terms(polls: Polls, a, b, c, apart):
    """What the weights are multiplied by, [y and x, classes], for parts of these sizes.

    apart: whether the weights know the rest of the falling products; None: none of them does.
    """
    height, width = polls.weights.shape[-2:]
    two, step, k = a + b, polls.step, polls.k.astype(jnp.float64)
    back = jnp.clip(polls.k - jnp.arange(width, dtype=jnp.int32), 0)  # counted from the k-th
    ratios = [_rest(two, k, step, width), _falling(a, two, step, width)]
    ratios.append(_falling(b, two, step, width))
    if height > 1:
        whole = two + c
        ratios += [_rest(whole, k, step, width), _falling(c, whole, step, width)]
        ratios.append(_falling(two, whole, step, width))
    rest, mine, theirs, *third = _products(*ratios)
    mine, theirs = mine if apart is None else mine * jnp.where(apart, 1.0, rest), theirs[back]
    padded = jnp.pad(theirs, ((0, height - 1), (0, 0)))
    shifted = jnp.stack([padded[y : y + width] for y in range(height)])
    terms = mine * shifted
    if height > 1:
        terms = terms * (third[0] * third[1] * third[2][back])[:, None]
    if apart is None:
        terms = terms * _rests_of(polls, two, height, width)
    return terms.reshape(height * width, -1)


def _rests_of(polls: Polls, total, height: int, width: int):
    """`_rests` of these totals [y, x, classes], 1 with replacement."""
    j = jnp.arange(width - 1, dtype=jnp.float64)[:, None] * polls.step
    ratios = jnp.where(total > j, 1.0 - j / jnp.where(total > 0.0, total, 1.0), 0.0)
    (falling,) = _products(ratios)  # [total]_x / total^x
    draws = polls.k - jnp.arange(height, dtype=jnp.int32)[:, None]
    x = jnp.arange(width, dtype=jnp.int32)
    over = falling[x] * falling[jnp.clip(draws - x, 0)]
    under = falling[jnp.clip(draws, 0)]
    return jnp.where(under > 0.0, over / jnp.where(under > 0.0, under, 1.0), 0.0)


def honest_answers(polls: Polls, ones):
    """P(x of the k answers of honest nodes are 1) [x, trials], asked by none of them."""
    return _drawn(polls, ones, polls.honest - ones)


def _falling(part, total, step, width: int):
    """What [part]_x / [total]_x is the product of, for x = 1 ... width - 1: [x, classes]."""
    j = jnp.arange(width - 1, dtype=jnp.float64)[:, None] * step
    part, total = jnp.maximum(part - j, 0.0), total - j
    return jnp.where(total > 0.0, part / jnp.where(total > 0.0, total, 1.0), 0.0)


def _rest(total, draws, step, width: int):
    """The same for [total]_x [total]_(d-x) / [total]_d; d = draws."""
    j = jnp.arange(width - 1, dtype=jnp.float64)[:, None]
    over, under = total - j * step, total - (draws - 1.0 - j) * step
    return jnp.maximum(over, 0.0) / jnp.where(under > 0.0, under, 1.0)


def _products(*ratios):
    """Of each of these: 1, then the product of the first, the first two, ... down the columns."""
    ratios = jnp.stack(ratios, axis=1)
    one = jnp.ones_like(ratios[0])

    def longer(product, ratio):
        product = product * ratio
        return product, product

    _, products = lax.scan(longer, one, ratios)
    return jnp.concatenate([one[None], products]).swapaxes(0, 1)
