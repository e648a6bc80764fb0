"""One node's run of quorums: how soon an undisputed vertex is decided, and how likely a node that
is fed is to decide while nothing around it changes.

A node that needs a number of quorums in a row, each with the same chance, is a Markov chain of
that many states, whose law is known. On an undisputed vertex all honest nodes are such chains and
do not influence each other (`vecsim.theory` has the same for other rules, state by state).
"""

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vecsim import pool as pools
from vecsim.engines import conduct, independent
from vecsim.engines.assemble import pool_of
from vecsim.point import Point
from vecsim.pool import Pool
from vecsim.protocols.streak import run_length
from vecsim.types import View

Floats = NDArray[np.float64]

RARE = 1e-3  # nodes that a quorum turns in a whole trial, below which they count as none
COINS = 1000  # values of the adversary's shared coin that are averaged over


def completed(chance: float, lengths: ArrayLike, rounds: int) -> Floats:
    """P(so many quorums in a row by round t), t = 0 ... rounds, for each number of quorums
    [lengths, rounds + 1]; a sum of positive terms.

    >>> completed(0.5, [2, 3], 3).tolist()
    [[0.0, 0.0, 0.25, 0.375], [0.0, 0.0, 0.0, 0.125]]
    """
    lengths = np.asarray(lengths, int)
    rows, whole = np.arange(len(lengths)), chance ** lengths.astype(float)
    total = np.zeros((len(lengths), rounds + 1))
    for t in range(1, rounds + 1):
        before = total[rows, np.maximum(t - lengths - 1, 0)]
        fresh = np.where(t > lengths, (1 - chance) * (1 - before), 1.0 * (t == lengths))
        total[:, t] = total[:, t - 1] + whole * fresh
    return np.minimum(total, 1.0)


def mean_polls(chance: float, length: int) -> float:
    """Polls until so many quorums in a row, on average; infinite where there are none.

    >>> mean_polls(0.5, 2), mean_polls(1.0, 3), mean_polls(0.0, 1)
    (6.0, 3.0, inf)
    """
    if chance <= 0:
        return float("inf")
    if chance >= 1:
        return float(length)
    with np.errstate(over="ignore"):
        return float(np.expm1(-length * np.log(chance)) / (1 - chance))


class Undisputed(NamedTuple):
    """Quorums on a vertex that all honest nodes accept, while Byzantine nodes stay as they are.

    shares, chances: for each way in which those may answer, how often they do, and P(a poll's
    quorum counts). nodes: honest ones.
    """

    shares: Floats
    chances: Floats
    nodes: int
    k: int

    def messages(self, length: int) -> float:
        """Queries and answers of one honest node until it decides, on average."""
        polls = [mean_polls(chance, length) for chance in self.chances]
        return 2 * self.k * float(self.shares @ polls)

    def rounds(self, length: int, quantile: float, most: int) -> float:
        """The round by which all honest nodes have decided in that share of decisions; infinite
        past `most`."""
        alone = np.concatenate([completed(chance, [length], most) for chance in self.chances])
        enough = np.flatnonzero(self.shares @ alone**self.nodes >= quantile)
        return float(enough[0]) if len(enough) else float("inf")


def undisputed(point: Point) -> Undisputed:
    """Of a point with a steady adversary on a complete graph, whatever its start.

    Exact where quorums against a node are out of the question. Else as many nodes as there are on
    average on the wrong side, rounded up, are taken to be there all the time.
    """
    point = point._replace(initial_accept=1.0)
    coins = (np.arange(COINS, dtype=np.float32) + np.float32(0.5)) / np.float32(COINS)
    mixes = independent.mixes_of(point, coins)[:, 1]
    numbers, counts = np.unique(mixes, return_counts=True)
    made = [pool_of(point, point.adversary.mixes[mix], point.byzantine) for mix in numbers]
    chances = np.array([_chance(point, pool) for pool in made])
    return Undisputed(counts / COINS, chances, point.honest, point.protocol.k)


def _chance(point: Point, pool: Pool) -> float:
    """P(a quorum for 1 that counts), with those nodes turned that are on average."""
    low, high = point.protocol.quorums
    turned = 0
    while 2 * turned < point.honest:
        law = _answers(pool, pool.honest - turned)
        against = _answers(_swapped(pool), turned)[low:].sum()
        turning = point.honest * against
        if turning * point.protocol.max_rounds < RARE:
            turning = 0.0
        more = int(np.ceil(turning / max(against + law[low:].sum(), 1e-300)))
        if more <= turned:
            return float(law[high:].sum())
        turned = more
    return 0.0


def frozen(point: Point, lengths: ArrayLike) -> Floats:
    """P(some honest node decides) within max_rounds if the field stays as at the start, for each
    number of quorums in a row [lengths]; of the colour that is more likely to be decided.

    What it takes to turn the others afterwards is not looked at. Nodes that change their minds
    would make another field, so this is near P(disagreement), and no bound of it.
    """
    high, rounds = point.protocol.quorums[1], point.protocol.max_rounds
    mixes, ones, zeros = _start(point), point.start_ones, point.honest - point.start_ones
    sizes = (point.first_group, point.honest - point.first_group)[: point.adversary.groups]
    nobody = np.zeros((2, np.size(lengths)))
    before = 0
    for group, size in enumerate(sizes):
        accept = int(np.clip(ones - before, 0, size))
        before += size
        for colour, number in enumerate((size - accept, accept)):
            if not number:
                continue
            mix = point.adversary.mixes[mixes[group, colour]]
            pool = pool_of(point, mix, point.byzantine)
            holders = (zeros, ones)[colour] - point.network.exclude_self
            chance = _answers(pool if colour else _swapped(pool), holders)[high:].sum()
            alone = completed(chance, lengths, rounds)[:, -1]
            nobody[colour] += number * np.log1p(-np.minimum(alone, 1 - 1e-16))
    return -np.expm1(nobody.min(axis=0))


@lru_cache(maxsize=1024)
def _answers(pool: Pool, holders: int) -> Floats:
    """P(i answers are 1), when so many honest peers hold it."""
    merged, more = pool.merged()
    return pools.ones(merged, [holders + more])[0]


def _swapped(pool: Pool) -> Pool:
    return pool._replace(accept=pool.reject, reject=pool.accept)


def _start(point: Point) -> NDArray[np.int64]:
    """The mix by which Byzantine nodes answer in the first round, [groups, colour]."""
    ones, network = point.start_ones, point.network
    counts = dict(honest=point.honest, byzantine=point.byzantine, start_ones=ones, ones=ones)
    counts |= dict(k=point.protocol.k, alpha=point.protocol.quorums[0])
    counts |= dict(peers=point.n - network.exclude_self, exclude_self=int(network.exclude_self))
    counts |= dict(pooled_minority=int(2 * ones < point.honest))
    parts: dict[str, Any] = dict.fromkeys(View._fields, np.zeros(1, np.int64))
    parts |= {name: np.array([count]) for name, count in counts.items()}
    parts |= dict(round_coin=np.full(1, 0.5, np.float32), trial_coin=np.full(1, 0.5, np.float32))
    with jax.enable_x64(True):
        mixes, _ = conduct.answers(point.adversary, View(**parts), np.zeros(1, np.int32))
        return np.asarray(mixes)[0].astype(np.int64)


def length_of(rule) -> int:
    """Quorums in a row that decide an undisputed vertex."""
    return int(run_length(rule))
