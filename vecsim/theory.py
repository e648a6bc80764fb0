"""Exact rates where nodes do not influence each other: the theory lines in figures.

On an undisputed vertex, while no honest node changes its preference, every node polls the same
pool all the time. Nodes are then independent Markov chains, and the probability that all honest
nodes finalise is the h-th power of one node's.
"""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vecsim import pool as pools
from vecsim.engines.assemble import pool_of
from vecsim.point import Point
from vecsim.types import Quorum, View

NEGLIGIBLE = 1e-3  # probability that any node meets a quorum against it during the whole trial
COINS = 1000  # values of the adversary's shared coin that are averaged over
GRID = 512  # values of QR-Avalanche's confidence, between which probability is shared linearly


def finalised_undisputed(point: Point) -> float | None:
    """P(all honest nodes finalise, on one colour) from a unanimous start; None where not known.

    Lockstep rounds on a complete graph. It is exact for Slush-family counters, but for a neglected
    probability below NEGLIGIBLE that a node meets a quorum against it.
    """
    start = point.start_ones
    if start not in (0, point.honest) or point.adversary.groups > 1 or point.adversary.pools:
        return None
    if not point.protocol.decides or point.schedule != "lockstep":
        return None
    if point.network.topology != "complete" or point.adversary.admission != 1:
        return None
    colour = int(start > 0)
    shares = _mixes(point, colour)
    if shares is None:
        return None
    total = 0.0
    for mix, share in enumerate(shares):
        if share > 0:
            pool = pool_of(point, point.adversary.mixes[mix], point.byzantine)
            alone = _one_node(point, pool, colour)
            if alone is None:
                return None
            total += share * alone**point.honest
    return float(total)


def _mixes(point: Point, colour: int) -> NDArray[np.float64] | None:
    """How often the adversary answers a node of this colour by each mix; None if it varies."""
    ones = point.start_ones

    def chosen(round_, coin):
        seen = View(
            round=round_,
            honest=jnp.int32(point.honest),
            byzantine=jnp.int32(point.byzantine),
            peers=jnp.int32(point.n - point.network.exclude_self),
            exclude_self=jnp.int32(point.network.exclude_self),
            k=jnp.int32(point.protocol.k),
            alpha=jnp.int32(point.protocol.quorums[0]),
            start_ones=jnp.int32(ones),
            ones=jnp.int32(ones),
            decided_0=jnp.int32(0),
            decided_1=jnp.int32(0),
            pooled_minority=jnp.int32(0),
            trial_coin=coin,
            round_coin=jnp.float32(0.5),
        )
        return point.adversary.answer(seen, jnp.int32(0))[0][0, colour]

    rounds = jnp.arange(point.protocol.max_rounds, dtype=jnp.int32)
    coins = (jnp.arange(COINS, dtype=jnp.float32) + 0.5) / COINS
    first = np.asarray(jax.vmap(chosen, (None, 0))(jnp.int32(0), coins))
    over_time = np.asarray(jax.vmap(chosen, (0, None))(rounds, coins[0]))
    if np.any(over_time != over_time[0]):
        return None
    return np.bincount(first, minlength=len(point.adversary.mixes)) / COINS


def _one_node(point: Point, pool: pools.Pool, colour: int) -> float | None:
    """P(one node decides its colour within max_rounds)."""
    low, high = point.protocol.quorums
    swapped = pool._replace(accept=pool.reject, reject=pool.accept)
    own, other = (pool, swapped) if colour else (swapped, pool)
    against = pools.ones(other)[0, low:].sum()
    if against * point.honest * point.protocol.max_rounds > NEGLIGIBLE:
        return None
    if point.protocol.counts:
        return None if pool.silent else _average(point.protocol, pools.ones(own)[-1])
    agree = pools.ones(own)[-1]
    confident = agree[high:].sum()
    return _chain(point.protocol, colour, agree[low:high].sum(), confident)


def _chain(rule, colour: int, unsure: float, confident: float) -> float:
    """Over the cells that can come up."""
    over, steps = _reachable(rule, colour)
    probabilities = (confident, unsure, 1 - confident - unsure)
    sources = np.arange(len(over))
    moves = sparse.csr_array((len(over), len(over)))
    for targets, probability in zip(steps, probabilities, strict=True):
        weights = np.where(over, 0.0, probability)
        moves = moves + sparse.csr_array((weights, (targets, sources)), shape=moves.shape)
    state, done = np.zeros(len(over)), 0.0
    state[0] = 1.0
    for _ in range(rule.max_rounds):
        state = moves @ state
        done += state[over].sum()
    return done


@lru_cache(maxsize=16)
def _reachable(rule, colour: int):
    """Cells that can come up without a quorum against the node, by the protocol's own step.

    Returns which are decided, and for a confident quorum, another, and none, the number of the
    cell that follows each (itself once decided). The first is the start.
    """
    cells = np.asarray(rule.start(jnp.asarray([colour], jnp.uint32)))
    numbers, after = {int(cells[0]): 0}, {}
    while len(cells):
        stepped = [
            np.asarray(_step(rule, _padded(cells), *poll))[: len(cells)]
            for poll in ((True, True), (True, False), (False, False))
        ]
        after |= dict(zip(cells.tolist(), np.stack(stepped, axis=1).tolist(), strict=True))
        found = np.unique(np.concatenate(stepped)).tolist()
        fresh = [cell for cell in found if cell not in numbers]
        numbers |= {cell: len(numbers) + i for i, cell in enumerate(fresh)}
        cells = np.array([cell for cell in fresh if not cell & 2], np.uint32)
    over = np.array([cell & 2 for cell in numbers], bool)
    table = [[numbers[c] for c in after.get(cell, [cell] * 3)] for cell in numbers]
    return over, np.array(table).T


@partial(jax.jit, static_argnums=(2, 3))
def _step(rule, cells, agree: bool, sure: bool):
    return rule.step(cells, Quorum(*(jnp.full(cells.shape, v) for v in (agree, False, sure))))


def _padded(cells):
    """Repeated up to a power of two, so that few shapes are compiled."""
    return np.resize(cells, 1 << (len(cells) - 1).bit_length())


def _average(rule, positive: NDArray[np.float64]) -> float:
    """QR-Avalanche: streak and confidence, the latter on a grid."""
    grid = np.linspace(0, 1, GRID)
    succeed, fail = np.zeros((GRID, GRID)), np.zeros((GRID, GRID))
    for count, probability in enumerate(positive):
        target = (0.9 * grid + 0.1 * count / rule.k) * (GRID - 1)
        below = np.minimum(target.astype(int), GRID - 2)
        matrix = succeed if count >= rule.alpha else fail
        np.add.at(matrix, (np.arange(GRID), below), probability * (below + 1 - target))
        np.add.at(matrix, (np.arange(GRID), below + 1), probability * (target - below))
    state = np.zeros((rule.beta + 1, GRID))
    start = rule.initial_confidence * (GRID - 1)
    below = min(int(start), GRID - 2)
    state[0, below], state[0, below + 1] = below + 1 - start, start - below
    sure = grid >= rule.confidence_threshold
    done = 0.0
    for _ in range(rule.max_rounds):
        new = np.zeros_like(state)
        new[0] = state.sum(axis=0) @ fail
        longer = state @ succeed
        new[1:] += longer[:-1]
        new[-1] += longer[-1]
        done += new[-1, sure].sum()
        new[-1, sure] = 0
        state = new
    return done
