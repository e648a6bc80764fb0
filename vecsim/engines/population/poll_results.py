"""The probability of each result of a poll, computed inside the loop: any n, no table of n rows.

The formulas are those of `vecsim.model.poll_law`. A poll draws own answers (of the querier's
colour) and others, from the honest nodes and from Byzantine nodes that answer a fixed colour. Where
an answer may also be a coin or silence there is a third part: distinct peers from Byzantine nodes
that do not answer a fixed colour, or, with replacement, answers that do not come. A probability is
then the sum over x own draws and y of the third part of

    coefficient [a]_x [b]_(k-x-y) [c]_y / [a+b+c]_k P(the result, given x and y)

with [a]_x = a (a-1) ... (a-x+1), or a^x with replacement. The falling products are taken as ratios
to those of the totals, so that nothing overflows; every term is positive and nothing is
computed as 1 - p. Everything is float64: numbers of nodes are exact up to 2^53.

Where honest nodes may be unheard by some queriers (groups that are cut off, nodes that rest), a
poll meets i of them with the probability of that many among its k draws, and what remains is a
poll of k - i of the others.

Ten nodes, 9 of them honest, of which 4 prefer 1, and one Byzantine node that answers 0; a querier
that prefers 1 and does not poll itself meets a = 3 of its own, b = 5 + 1 others, c = 0 that may be
missing. With k = 4 and alpha 3 the five results are, in the order of `results_of`,

    no quorum | own below alpha_confidence, from it on | other below it, from it on
    x = 2       (none: both alphas are 3)  x = 3         (none)          x = 0, 1
"""

from functools import partial

import jax.numpy as jnp
from jax import lax

from vecsim.engines.population.weights import Polls


def result_probabilities(polls: Polls, kinds, ones, mixes, heard=None, honest=None):
    """P(each result) for each class of querier, float64 [trials, groups, own colour, results].

    kinds: Byzantine nodes of each kind in the network (float64 [trials, kinds]). ones: honest nodes
    that prefer 1 (float64 [trials]). mixes: int32 [trials, groups, own colour], index into the
    adversary's ways. heard: the honest nodes that a querier of each group hears, itself included
    (float64 [trials, groups]); `ones` then has that shape too, and counts those of them that prefer
    1. honest: units of honest nodes (float64 [trials]) where all is counted in units of stake.
    """
    trials, groups, _ = mixes.shape
    kinds = jnp.repeat(kinds, groups, axis=0)
    if honest is not None:
        results = partial(_of_colour, all_heard=False)
        ones, honest = (jnp.repeat(units, groups) for units in (ones, honest))
    elif heard is None:
        results, ones, honest = _of_colour, jnp.repeat(ones, groups), polls.honest
    else:
        results, ones, honest = _of_heard, ones.ravel(), heard.ravel()
    found = [
        results(polls, own, same, honest, kinds, mixes[..., own].ravel())
        for own, same in enumerate((honest - ones, ones))
    ]
    return jnp.stack(found, axis=-1).T.reshape(2, trials, groups, -1).transpose(1, 2, 0, 3)


def _of_heard(polls: Polls, own: int, same, honest, kinds, mixes):
    """As `_of_colour`, where only `honest` of all honest nodes are heard."""
    peers = jnp.maximum(honest - polls.exclude_self, 0.0) + kinds.sum(axis=-1)
    chances = _drawn(polls, peers, polls.honest - honest)

    def add(known, each):
        draws, chance, weights = each
        some = polls._replace(k=draws, weights=weights)
        given = _of_colour(some, own, same, honest, kinds, mixes, all_heard=False)
        return known + chance * given, None

    every = jnp.arange(len(chances), dtype=jnp.int32), chances, polls.weights
    return lax.scan(add, jnp.zeros((polls.results, len(mixes))), every)[0]


def _drawn(polls: Polls, part, other):
    """P(x of k draws are from a part of that size, the rest from the other), [x, classes]."""
    width, k, step = polls.ways.shape[-1], polls.k.astype(jnp.float64), polls.step
    total = part + other
    ratios = [_falling(each, total, step, width) for each in (part, other)]
    mine, theirs, rest = _products(*ratios, _rest(total, k, step, width))
    theirs = theirs[jnp.clip(polls.k - jnp.arange(width, dtype=jnp.int32), 0)]
    return polls.ways[:, None] * mine * theirs * rest


def _of_colour(polls: Polls, own: int, same, honest, kinds, mixes, all_heard=True):
    """For queriers of one colour, which so many honest nodes share: [results, classes].

    honest: honest nodes that are heard; all_heard: whether it is all, as many as the weights know.
    """
    mine = jnp.maximum(same - polls.exclude_self, 0.0), honest - same  # may be no class
    answers = (polls.answers[mixes, :, own] * kinds[..., None]).sum(axis=1)
    a, b = (polls.arrives * (part + answers[:, i]) for i, part in enumerate(mine))
    peers = honest - polls.exclude_self + kinds.sum(axis=-1)
    apart = polls.apart[mixes]
    c = polls.arrives * (apart * kinds).sum(axis=-1) + polls.lost * peers
    known = all_heard and kinds.shape[-1] == 1  # as of `Polls.weights`
    terms = _terms(polls, a, b, c, (apart > 0.0).any(axis=-1) if known else None)

    def given(mix: int, found):
        chances = polls.weights[mix, own].reshape(-1, len(terms)) @ terms
        return jnp.where(mixes == mix, chances, found)

    found = jnp.zeros((polls.results, len(mixes)))
    for mix in range(len(polls.weights)):  # one that nobody meets costs nothing
        found = lax.cond((mixes == mix).any(), partial(given, mix), lambda found: found, found)
    return found


def _terms(polls: Polls, a, b, c, apart):
    """What the weights are multiplied by, [y and x, classes], for parts of these sizes.

    apart: whether the weights know the rest of the falling products; None: none of them does.
    """
    height, width = polls.weights.shape[-2:]
    two, step, k = a + b, polls.step, polls.k.astype(jnp.float64)
    back = jnp.clip(polls.k - jnp.arange(width, dtype=jnp.int32), 0)  # counted from the k-th
    falling = partial(_falling, step=step, width=width)
    ratios = [_rest(two, k, step, width), falling(a, two), falling(b, two)]
    if height > 1:
        whole = two + c
        ratios += [_rest(whole, k, step, width), falling(c, whole), falling(two, whole)]
    rest, mine, theirs, *third = _products(*ratios)
    mine, theirs = mine if apart is None else mine * jnp.where(apart, 1.0, rest), theirs[back]
    padded = jnp.pad(theirs, ((0, height - 1), (0, 0)))
    terms = mine * jnp.stack([padded[y : y + width] for y in range(height)])
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
    """P(x of the k answers of honest nodes are 1), [x, trials], when a Byzantine node asks."""
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
    """Cumulative products of each array along its first axis, from the empty product, 1, on."""
    ratios = jnp.stack(ratios, axis=1)
    one = jnp.ones_like(ratios[0])

    def longer(product, ratio):
        product = product * ratio
        return product, product

    _, products = lax.scan(longer, one, ratios)
    return jnp.concatenate([one[None], products]).swapaxes(0, 1)
