"""One node's run of quorums: how soon an undisputed vertex is decided, and about how likely an
attack makes nodes decide both colours.

A node that needs a number of quorums in a row, each with the same chance, is a Markov chain of
that many states, whose law is known. On an undisputed vertex all honest nodes are such chains and
do not influence each other (`vecsim.studies.theory` has the same for other rules, state by state).
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from vecsim.engines.population.undisputed import mix_shares
from vecsim.model import poll_law as pools
from vecsim.model.point import Point
from vecsim.model.poll_law import Floats, Pool

_RARE = 1e-3  # nodes that quorums turn in a whole trial: fewer count as none
_CLOSE = 1e-9  # of the honest nodes: how exactly the number that is turned is worked out
_SHARES = 2000  # numbers of peers for which polls are worked out; the rest are interpolated


def completed(chance: float, lengths: ArrayLike, rounds: int) -> Floats:
    """P(so many quorums in a row by round t), t = 0 ... rounds, for each number of quorums
    [lengths, rounds + 1]; a sum of positive terms. chance: P(a poll gives a quorum).

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
    """Polls until so many quorums in a row, on average; infinite where there are none. chance: P(a
    poll gives a quorum).

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
        """Queries and answers of one honest node until it decides, on average. length: quorums in a
        row that decide."""
        polls = [mean_polls(chance, length) for chance in self.chances]
        return 2 * self.k * float(self.shares @ polls)

    def rounds(self, length: int, quantile: float, most: int) -> float:
        """The round by which all honest nodes have decided in the share `quantile` of decisions;
        infinite past `most`. length: quorums in a row that decide."""
        alone = np.concatenate([completed(chance, [length], most) for chance in self.chances])
        enough = np.flatnonzero(self.shares @ alone**self.nodes >= quantile)
        return float(enough[0]) if len(enough) else float("inf")


def undisputed_runs(point: Point) -> Undisputed:
    """Of a point with a steady adversary on a complete graph, whatever its start.

    Exact where quorums against a node are out of the question. Else as many nodes as there are on
    average on the wrong side are taken to be there all the time.
    """
    point = point._replace(initial_accept=1.0)
    shares = mix_shares(point, colour=1)
    numbers = np.flatnonzero(shares)
    made = [point.pool(point.adversary.ways[mix], point.kinds) for mix in numbers]
    chances = np.array([_chance(point, pool) for pool in made])
    return Undisputed(shares[numbers], chances, point.honest, point.protocol.k)


def _chance(point: Point, pool: Pool) -> float:
    """P(a quorum for 1 that counts), with as many nodes turned as there are on average."""
    low, high = point.protocol.quorums
    turned, before = 0.0, -1.0
    while abs(turned - before) > _CLOSE * point.honest:
        if 2 * turned > point.honest:
            return 0.0
        before = turned
        law = _between(turned, lambda n: _answers(pool, max(pool.honest - n, 0)))
        against = _between(turned, lambda n: _answers(pool.swapped(), n))[low:].sum()
        turned = point.honest * against / max(against + law[low:].sum(), 1e-300)
        if turned * point.protocol.max_rounds < _RARE:
            turned = 0.0
    return float(law[high:].sum())


def _between(number: float, values: Callable[[int], Floats]) -> Floats:
    """The values at a number that is not whole, by a line."""
    part = number - int(number)
    return (1 - part) * values(int(number)) + (part * values(int(number) + 1) if part else 0.0)


def attacked(point: Point, lengths: ArrayLike) -> tuple[Floats, Floats]:
    """Under `safety_split`, for each number of quorums in a row that decide [lengths]: P(some fed
    node decides while nothing moves), and roughly P(another then decides the other colour in time).

    The nodes that are fed start at the fed colour and nobody else does. After the first decision
    all Byzantine nodes push the other colour, and the honest ones follow their drift without
    chance for the rounds that are left: they turn, or they are still split at the end.
    """
    lengths, rounds = np.asarray(lengths, int), point.protocol.max_rounds
    (sets, counts), fed = _quorums(point), point.first_group
    alone = completed(counts(fed + point.byzantine - point.network.exclude_self), lengths, rounds)
    one = -np.expm1(fed * np.log1p(-np.minimum(alone, 1 - 1e-16)))
    left = _turned(point, sets, counts, fed, lengths)[:, ::-1]
    return one[:, -1], (np.diff(one, axis=1, prepend=0.0) * left).sum(axis=1)


def _turned(point: Point, sets, counts, holders: float, lengths) -> Floats:
    """P(some node decides the other colour within t rounds in which all Byzantine nodes push it),
    t = 0 ... max_rounds, 1 at most [lengths, rounds + 1]."""
    logs, others = [0.0], [0.0]
    for _ in range(point.protocol.max_rounds):
        against = point.honest - holders + point.byzantine
        logs.append(float(np.log(max(counts(against - 1), 1e-300))))
        others.append(point.honest - holders)
        lost, won = holders * sets(against), others[-1] * sets(holders)
        holders = holders - lost + won
    total, others = np.cumsum(logs), np.array(others)
    found = np.zeros((len(lengths), len(total)))
    for row, length in zip(found, lengths, strict=True):
        runs = np.exp(total[length:] - total[: max(len(total) - length, 0)])
        row[length:] = np.minimum(np.cumsum(others[length:] * runs), 1.0)
    return found


def _quorums(point: Point) -> list[Callable[[float], float]]:
    """By how many peers hold its colour: P(a quorum that sets the preference), and P(one that
    counts)."""
    pool, _ = point.pool(((1.0, 0.0),), point.kinds).merged()
    holders, laws = _laws(pool)

    def chance(logs: Floats, number: float) -> float:
        return float(np.exp(np.interp(number, holders, logs)))

    tails = (laws[:, alpha:].sum(axis=1) for alpha in point.protocol.quorums)
    return [partial(chance, np.log(np.maximum(tail, 1e-300))) for tail in tails]


@lru_cache(maxsize=32)
def _laws(pool: Pool) -> tuple[Floats, Floats]:
    """Numbers of peers that hold a colour, and P(i answers are of that colour) for each."""
    holders = np.unique(np.linspace(0, pool.honest, _SHARES + 1).astype(int))
    return holders.astype(float), pools.ones(pool, holders)


@lru_cache(maxsize=1024)
def _answers(pool: Pool, holders: int) -> Floats:
    """P(i answers are 1), when so many honest peers hold it."""
    merged, more = pool.merged()
    return pools.ones(merged, [holders + more])[0]
