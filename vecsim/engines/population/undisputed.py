"""QR-Avalanche on undisputed vertices: nodes that do not influence each other.

All honest nodes start at one colour. While no honest node meets a quorum against it, all of them
poll the same pool in every round, so that they are independent and alike: one node's law
(`one_node`) says everything, and a trial shares its nodes out over the rounds in which they
decide, by exact binomial draws. Points are only supported where P(any node of the trial meets such
a quorum) is below RISK, which bounds the error.

    law        [rounds + 1]            P(one node decides in round 1, 2, ..., never)
    decided    [trials, rounds + 1]    nodes that decide in round 0, 1, ...; none in round 0
"""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from vecsim.engines import behaviour
from vecsim.engines.population.binomial import binomial, names_in
from vecsim.engines.population.one_node import decision_law, turning_chance
from vecsim.model import poll_law as pools
from vecsim.model import random
from vecsim.model.point import Point
from vecsim.model.poll_law import Floats, Pool
from vecsim.model.uses import uses
from vecsim.protocols.qr_avalanche import QrAvalanche
from vecsim.types import Adversary, Outcome

RISK = 1e-9  # probability, per trial, that some node meets a quorum against it: bounds the error
_COINS = 1000  # values of the shared coin that are averaged over: shares are good to 0.001
BLOCK_TRIALS = 256  # trials drawn together, however many are wanted, so that their bits are fixed
# Parts of the view that do not change while nobody turns: an adversary that depends on no others
# does not change its answers.
STEADY = {"honest", "byzantine", "peers", "exclude_self", "k", "alpha", "start_ones", "ones"}
# The trial's own coin keeps its value, too.
STEADY |= {"trial_coin"}


def supports_undisputed(point: Point) -> str | None:
    """Why the engine cannot run the point; None if it can. For protocols that look at counts."""
    rule, name = point.protocol, type(point.protocol).__name__
    if not isinstance(rule, QrAvalanche):
        return f"protocol={name}: it has a cell for every count"
    if point.start_ones not in (0, point.honest):
        start = f"initial_accept={point.initial_accept:g}"
        return f"{start}: {name} has a cell for every confidence, so only undisputed starts"
    if point.byzantine and not steady(point.adversary):
        return f"adversary={point.adversary.title}: its answers may change in a trial"
    if point.byzantine and float(point.adversary.admission) != 1:
        drawn = "its number of nodes is drawn by chance"
        return f"adversary={point.adversary.title}: {drawn}, trial by trial"
    turns = max(turning_chance(rule, polled(pool, colour)) for pool, colour in pools_of(point))
    risk = min(turns * point.honest * rule.max_rounds, 1.0)
    if risk > RISK:
        fraction = f"byzantine_fraction={point.byzantine_fraction:g}"
        found = f"some node meets a quorum against it with probability {risk:.0e} a trial"
        return f"{name} with {fraction}: {found}, and at most {RISK:g} is allowed"
    return None


@lru_cache(maxsize=64)
def steady(adversary: Adversary) -> bool:
    """Whether its answers to a colour stay the same while no honest node turns or decides."""
    return adversary.groups == 1 and not adversary.pools and uses(adversary) <= STEADY


def mix_shares(point: Point, colour: int) -> NDArray[np.float64]:
    """Share of trials in which the adversary answers a node of this colour in each of its ways.

    float64 [ways], good to 0.001; it depends on the trial's shared coin only.
    """
    coins = (np.arange(_COINS, dtype=np.float32) + np.float32(0.5)) / np.float32(_COINS)
    mixes = mixes_of(point, coins)[:, colour]
    return np.bincount(mixes, minlength=len(point.adversary.ways)) / _COINS


def mixes_of(point: Point, coins: NDArray[np.float32]) -> NDArray[np.int64]:
    """The way in which a steady adversary answers, [coins, colour of the querier].

    coins: values of the trial's shared coin, float32 in [0, 1). Without Byzantine nodes way 0.
    """
    if not point.byzantine:
        return np.zeros((len(coins), 2), np.int64)
    counts = behaviour.counts_of(point, point.byzantine) | dict(ones=point.start_ones)
    with jax.enable_x64(True):
        view = behaviour.view_of(point.protocol, coins, 0.0, whole=np.int64, **counts)
        none = np.zeros((len(coins), point.adversary.memories), np.int32)
        mixes, _ = behaviour.answered(point.adversary, view, none)
        return np.asarray(mixes)[:, 0].astype(np.int64)


def polled(pool: Pool, colour: int) -> Floats:
    """P(j peers answer, i of them the colour), [j, i], when all honest nodes hold it."""
    if not colour:
        pool = pool.swapped()
    if pool.silent:
        return pools.ones_and_answered(pool, [pool.honest])[0]
    joint = np.zeros((pool.k + 1, pool.k + 1))
    joint[-1] = pools.ones(pool, [pool.honest])[0]
    return joint


@lru_cache(maxsize=256)
def law_of(rule: QrAvalanche, pool: Pool, colour: int, nodes: int) -> Floats:
    """`decision_law` of one of so many nodes; all together it leaves out at most 0.1 RISK."""
    return decision_law(rule, polled(pool, colour), 0.1 * RISK / nodes)


def pools_of(point: Point) -> list[tuple[Pool, int]]:
    """Whom a node may poll, for each mix that a trial may have, and the colour of all nodes."""
    colour, mixes = _colour(point), range(len(point.adversary.ways))
    if not point.byzantine or "trial_coin" not in uses(point.adversary):
        mixes = mixes_of(point, np.zeros(1, np.float32))[:, colour].tolist()
    return [(point.pool(point.adversary.ways[mix], point.kinds), colour) for mix in mixes]


def _colour(point: Point) -> int:
    return int(point.start_ones > 0)


def outcomes_of(point: Point, trials: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Outcomes of the numbered trials of a point that this module supports, int64 [trials].

    The names are those of `stepping.run`; steps are -1 for never.
    """
    key = random.trial_key(random.point_key(seed, point.hash()), trials)
    mixes = mixes_of(point, random.uniform(random.trial_coin(key)))[:, _colour(point)]
    decided = np.zeros((len(trials), point.protocol.max_rounds + 1))
    for mix in np.unique(mixes).tolist():
        pool = point.pool(point.adversary.ways[mix], point.kinds)
        law = law_of(point.protocol, pool, _colour(point), point.honest)
        chosen = np.flatnonzero(mixes == mix)
        for first in range(0, len(chosen), BLOCK_TRIALS):
            some = chosen[first : first + BLOCK_TRIALS]
            words = tuple(np.resize(word[some], BLOCK_TRIALS) for word in key)
            decided[some, 1:] = shared_out(words, point.honest, law)[: len(some)]
    return outcome(point, decided)


def shared_out(key, nodes: int, law: Floats) -> Floats:
    """Nodes that decide in round 1, 2, ..., float64 [trials, max_rounds].

    key: the trials', two uint32 [BLOCK_TRIALS]. nodes: honest ones. law: as of `decision_law`.
    """
    rounds = len(law) - 1
    later = np.cumsum(law[::-1])[::-1]  # from a round on, or never
    possible = np.maximum(later[:-1], np.finfo(float).tiny)
    p, q = law[:-1] / possible, np.where(later[:-1] > 0, later[1:] / possible, 1.0)
    size = 1 << (rounds - 1).bit_length()
    p, q = (np.pad(v, (0, size - rounds), constant_values=end) for v, end in ((p, 0.0), (q, 1.0)))
    with jax.enable_x64(True):
        return np.asarray(_draw(key, np.float64(nodes), p, q)).T[:, :rounds]


@jax.jit
def _draw(key, nodes, p, q):
    """[rounds, trials]: of the nodes left in each round, those that decide."""

    def going(state):
        round_, left, _ = state
        return (round_ < len(p)) & (left > 0.0).any()

    def body(state):
        round_, left, decided = state
        here = jnp.full_like(left, p[round_]), jnp.full_like(left, q[round_])
        now = binomial(names_in(key, jnp.uint32(0), round_), left, *here)
        return round_ + 1, left - now, decided.at[round_].set(now)

    left = jnp.full(BLOCK_TRIALS, nodes)
    start = jnp.int32(0), left, jnp.zeros((len(p), BLOCK_TRIALS))
    return jax.lax.while_loop(going, body, start)[2]


def outcome(point: Point, decided: Floats) -> dict[str, np.ndarray]:
    """The fields of `Outcome`, and `admitted`, int64 [trials].

    decided: nodes that decide in round 0, 1, ..., [trials, max_rounds + 1].
    """
    so_far, honest = np.cumsum(decided, axis=1), point.honest
    total, rounds = so_far[:, -1], np.arange(decided.shape[1])

    def first(happened):
        return np.where(happened.any(axis=1), happened.argmax(axis=1), -1)

    last = first(so_far == honest)
    over = np.where(last < 0, point.protocol.max_rounds, last)
    polls = ((honest - so_far) * (rounds < over[:, None])).sum(axis=1)
    none = np.zeros(len(decided))
    counts = dict.fromkeys(Outcome._fields, none) | {f"decided_{_colour(point)}": total}
    counts |= dict.fromkeys(("start_ones", "final_ones"), none + point.start_ones)
    counts |= dict(undecided=honest - total, rounds=over, polls=polls, last_decision=last)
    counts |= dict(first_decision=first(so_far > 0), median_decision=first(2 * so_far >= honest))
    counts["admitted"] = none + point.byzantine
    return {name: value.astype(np.int64) for name, value in counts.items()}
