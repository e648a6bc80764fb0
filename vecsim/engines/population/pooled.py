"""What Byzantine nodes learn from the samples that they pool, drawn from counts of nodes."""

import jax.numpy as jnp
from jax import lax

from vecsim.engines.population.binomial import binomial, conditional, names_in
from vecsim.engines.population.poll_results import honest_answers
from vecsim.engines.population.weights import Polls
from vecsim.engines.trial import Trials
from vecsim.model import random


def pooled_minority(trials: Trials, polls: Polls, round_, ones):
    """Whether 1 is the minority among k answers of honest nodes to each Byzantine node that pools.

    bool [trials]; False on a tie. round_: int64 [trials]. ones: honest 1-holders, int64 [trials].
    The Byzantine nodes are divided by how many of their answers are 1: first between the halves of
    the possible numbers, then between quarters, and so on. Those of a part are kept at its first
    number.
    """
    chances = honest_answers(polls, ones.astype(jnp.float64)).T
    levels = (chances.shape[-1] - 1).bit_length()
    size = 2**levels
    parts = jnp.pad(chances, ((0, 0), (0, size - chances.shape[-1])))
    splits = []
    for level in reversed(range(levels)):
        p, q = conditional(parts[:, 1::2], parts[:, ::2])
        parts = parts[:, ::2] + parts[:, 1::2]
        gaps = ((0, 0), (0, 0), (0, size // 2**level - 1))
        splits.append([jnp.pad(x[..., None], gaps).reshape(len(p), size) for x in (p, q)])
    p, q = (jnp.stack(both[::-1]) for both in zip(*splits, strict=True))
    key = tuple(word[:, None] for word in trials.key)
    numbers = jnp.arange(size, dtype=jnp.uint32)

    def divide(level, nodes):
        number = jnp.uint32(size) * level.astype(jnp.uint32) + numbers
        names = names_in(key, number, round_[:, None], random.PEERS, random.REPEATS)
        upper = binomial(names, nodes, p[level], q[level])
        return nodes - upper + jnp.roll(upper, size >> (level + 1), axis=1)

    pooling = jnp.stack([each.pooling(trials.kinds.T) for each in trials.adversaries])
    byzantine = pooling[trials.which].astype(jnp.float64)
    nodes = jnp.zeros((len(chances), size)).at[:, 0].set(byzantine)
    nodes = lax.fori_loop(0, levels, divide, nodes)
    counted = (nodes * numbers.astype(jnp.float64)).sum(axis=-1)
    return counted * 2.0 < byzantine * polls.k.astype(jnp.float64)
