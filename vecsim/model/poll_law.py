"""Exact distributions of what one poll gives, on a complete graph (host side, float64).

A querier's poll is determined, in distribution, by its pool: how many peers would answer 1, 0 or
nothing. Everything here is a sum of positive terms, so that small probabilities keep their
relative accuracy, and nothing is computed as 1 - CDF.

Laws have a row for each number c of honest 1-holders among the peers. For n = 10 (9 honest), a
querier that does not poll itself, and k = 4:

    ones                 [9 (c = 0 ... 8), 5 (i answers are 1)]
    ones_and_answered    [9, 5 (j peers answer), 5 (i answers are 1)], 0 where i > j
"""

from collections.abc import Callable, Sequence
from math import comb
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]  # of any shape
Voters = tuple[int, float, float]  # Byzantine nodes, P(one answers 1), P(one answers 0)

NOBODY: tuple[Voters, ...] = ((0, 0.0, 0.0),)  # no Byzantine nodes
FIXED = ((0.0, 1.0), (1.0, 0.0))  # mixes of Byzantine nodes that always answer one colour
ROWS = 2**15  # rows of a table made at once, to bound the memory: at k = 400 about 100 MB


class Pool(NamedTuple):
    """Whom one querier may poll; how many of the honest nodes prefer 1 is left open.

    honest: peers, not counting the querier where it never polls itself.
    k: peers that a poll asks.
    kinds: Byzantine nodes, of one kind or more; they are silent where they answer neither.
    loss: probability that an answer is lost, independently of the others, 0 to 1.
    replacement: whether one peer may be drawn several times in a poll.
    """

    honest: int
    k: int
    kinds: tuple[Voters, ...] = NOBODY
    loss: float = 0.0
    replacement: bool = False

    @property
    def peers(self) -> int:
        """All nodes that the querier may poll, honest or Byzantine."""
        return self.honest + sum(nodes for nodes, *_ in self.kinds)

    @property
    def silent(self) -> bool:
        """Whether an answer may be missing."""
        return self.loss > 0 or any(nodes > 0 and one + zero < 1 for nodes, one, zero in self.kinds)

    def swapped(self) -> "Pool":
        """The same pool with the colours of Byzantine answers exchanged."""
        return self._replace(kinds=tuple((nodes, zero, one) for nodes, one, zero in self.kinds))

    def merged(self) -> tuple["Pool", int]:
        """The same pool with Byzantine nodes of a fixed colour counted as honest ones.

        Returns the pool and what to add to the number of honest 1-holders. Attacks, fractions and
        colours then share one table.
        """
        fixed = [kind for kind in self.kinds if kind[1:] in FIXED]
        if not fixed:
            return self, 0
        rest = tuple(kind for kind in self.kinds if kind not in fixed) or NOBODY
        honest = self.honest + sum(nodes for nodes, *_ in fixed)
        ones = sum(nodes for nodes, one, _ in fixed if one)
        return self._replace(honest=honest, kinds=rest), ones


def binomial_pmf(trials: int, probability: Any) -> Floats:
    """Probabilities of 0 ... trials successes, [..., trials + 1].

    probability: of a success, one, or several [..., 1]. As `scipy.stats.binom.pmf`, for up to 1029
    trials: the coefficients must fit a float64.
    """
    successes = np.arange(trials + 1)
    weights = np.array([comb(trials, i) for i in range(trials + 1)], float)
    return weights * probability**successes * (1 - probability) ** (trials - successes)


def arriving(k: int, arrives: float) -> Floats:
    """P(so many of x answers arrive) when each does with this probability, [x = 0 ... k, k + 1]."""
    return np.stack([np.pad(binomial_pmf(x, arrives), (0, k - x)) for x in range(k + 1)])


def by_mix(way: Sequence[tuple[float, float]], kinds: Sequence[int]) -> list[Voters]:
    """The Byzantine nodes that answer by each mix, in ascending order of the mixes.

    way: the mix of each kind. kinds: nodes of each kind.
    """
    found = dict.fromkeys(sorted(way), 0)
    for mix, nodes in zip(way, kinds, strict=True):
        found[mix] += nodes
    return [(nodes, *mix) for mix, nodes in found.items()]


def _falling(c, total: int, k: int) -> Floats:
    """C(c, x) / C(total, x) for each c in 0 ... total, and x = 0 ... k (0 where x > c)."""
    c, x = np.asarray(c, float)[:, None], np.arange(k, dtype=float)
    ratios = np.clip(c - x, 0, None) / np.maximum(total - x, 1)
    return np.concatenate([np.ones_like(c), np.cumprod(ratios, axis=1, dtype=np.float64)], axis=1)


def _distinct(pool: Pool, answers: Callable[[int], Floats], holders) -> Floats:
    """Sum over what distinct peers are drawn, weighted by what they answer.

    answers(y): for y Byzantine nodes drawn, [x = 0 ... k - y honest 1-holders drawn, outcomes].
    Returns [holders, outcomes], for these numbers c of honest 1-holders. With z = k - x - y zeros,
    the probability C(c,x) C(h-c,z) C(f,y) / C(n,k) is written as a product of two bounded ratios
    and a constant computed in integers, which neither overflows nor cancels.
    """
    h, f, k = pool.honest, pool.peers - pool.honest, pool.k
    total = comb(h + f, k)
    honest = [comb(h, i) for i in range(k + 1)]
    weights = []
    for y in range(max(0, k - h), min(f, k) + 1):
        drawn, others = k - y, comb(f, y)
        constant = [honest[x] * honest[drawn - x] * others / total for x in range(drawn + 1)]
        weights.append((drawn, np.array(constant)[:, None] * answers(y)))
    parts = []
    for rows in np.array_split(holders, len(holders) // ROWS + 1):
        ones, zeros = _falling(rows, h, k), _falling(h - rows, h, k)
        parts.append(sum((ones[:, : d + 1] * zeros[:, d::-1]) @ weight for d, weight in weights))
    return np.concatenate(parts)


def _single(pool: Pool, holders) -> tuple[Floats, float]:
    """With replacement: P(one draw answers 1) for each number of 1-holders, and P(it answers)."""
    ones, answering, peers = holders, pool.honest, pool.peers
    for nodes, accept, reject in pool.kinds:
        ones = ones + nodes * accept
        answering = answering + nodes * (accept + reject)
    return ones / peers * (1 - pool.loss), answering / peers * (1 - pool.loss)


def combined(kinds: Sequence[Voters], k: int, law: Callable[[int, float, float], Floats]):
    """Law of what y distinct Byzantine nodes of several kinds answer: a list, for each y up to k.

    law(y, accept, reject): that of y nodes of one kind, an array [y + 1, ...] over numbers that are
    summed when kinds are put together. Nodes are drawn without replacement.
    """
    (total, *answer), *others = kinds
    laws = [law(y, *answer) for y in range(min(total, k) + 1)]
    for nodes, *answer in others:
        first, own = laws, [law(y, *answer) for y in range(min(nodes, k) + 1)]
        laws = []
        for y in range(min(total + nodes, k) + 1):
            shared = range(max(0, y - total), min(nodes, y) + 1)
            ways = comb(total + nodes, y)
            weights = [comb(total, y - z) * comb(nodes, z) / ways for z in shared]
            parts = [_convolved(first[y - z], own[z]) for z in shared]
            laws.append(sum(w * part for w, part in zip(weights, parts, strict=True)))
        total += nodes
    return laws


def _convolved(one: Floats, other: Floats) -> Floats:
    """Law of a sum of independent numbers; the array with fewer entries above 0 is gone through: a
    kind that is silent, or never is, has few.
    """
    if np.count_nonzero(one) > np.count_nonzero(other):
        one, other = other, one
    total = np.zeros(np.add(one.shape, other.shape) - 1)
    for place in np.argwhere(one):
        where = [slice(i, i + size) for i, size in zip(place, other.shape, strict=True)]
        total[tuple(where)] += one[tuple(place)] * other
    return total


def ones(pool: Pool, holders=None) -> Floats:
    """P(i answers are 1), as [holders, k + 1].

    holders: numbers of honest peers that prefer 1; all of 0 ... honest unless given.
    """
    holders = np.arange(pool.honest + 1) if holders is None else np.asarray(holders)
    k, arrives = pool.k, 1 - pool.loss
    if pool.replacement:
        one, _ = _single(pool, holders)
        return np.stack([binomial_pmf(k, p) for p in one])

    from_honest = arriving(k, arrives)
    byzantine = combined(pool.kinds, k, lambda y, accept, _: binomial_pmf(y, accept * arrives))

    def answers(y):
        joint = np.zeros((k - y + 1, k + 1))
        for i, p in enumerate(byzantine[y]):
            joint[:, i:] += p * from_honest[: k - y + 1, : k + 1 - i]
        return joint

    return _distinct(pool, answers, holders)


def ones_and_answered(pool: Pool, holders=None) -> Floats:
    """P(j peers answer, i of them 1), as [holders, j = 0 ... k, i = 0 ... k].

    holders: as for `ones`.
    """
    holders = np.arange(pool.honest + 1) if holders is None else np.asarray(holders)
    k, arrives = pool.k, 1 - pool.loss
    size = k + 1

    def byzantine(y, accept, reject):
        answering = accept + reject
        share = accept / answering if answering else 0.0
        return coloured(binomial_pmf(y, answering * arrives), share, y + 1)

    if pool.replacement:
        one, answered = _single(pool, holders)
        law, shares = binomial_pmf(k, answered), one / answered if answered else 0 * one
        return np.stack([coloured(law, share, size) for share in shares])
    by_count = combined(pool.kinds, k, byzantine)
    cached = [binomial_pmf(x, arrives) for x in range(size)]

    def answers(y):
        return np.stack([drawn(x, k - y - x, y).reshape(-1) for x in range(k - y + 1)])

    def drawn(x, z, y):
        # Ones arrive on the diagonal (answered and 1), zeros in the first column.
        joint = np.zeros((size, size))
        for i, p in enumerate(cached[x]):
            for j, q in enumerate(cached[z]):
                joint[i + j : i + j + y + 1, i : i + y + 1] += p * q * by_count[y]
        return joint

    return _distinct(pool, answers, holders).reshape(len(holders), size, size)


def coloured(answered: Floats, share: float, size: int) -> Floats:
    """P(j answer, i of them 1), [size (j), size (i)].

    answered: P(j answer), of length size at most. share: probability that an answer is 1.
    """
    joint = np.zeros((size, size))
    for j, p in enumerate(answered):
        joint[j, : j + 1] = p * binomial_pmf(j, share)
    return joint


def pooled_minority_one(honest: int, samples: int, k: int, replacement: bool) -> Floats:
    """P(1 is the minority among `samples` polls of k honest nodes each), [honest + 1].

    Index c is for c honest 1-holders. 0 everywhere without samples.
    Ties are no minority of 1. The distribution of the sum is a power of the single poll's
    generating function; rows where one side is certain to 1e-18 (Hoeffding) are 0 or 1.
    """
    answers = samples * k
    result = np.where(np.arange(honest + 1) * 2 < honest, 1.0, 0.0)
    if answers == 0:
        return np.zeros(honest + 1)
    margin = np.abs(np.arange(honest + 1) / honest - 0.5)
    open_rows = np.flatnonzero(margin <= np.sqrt(np.log(1e18) / (2 * answers)))
    single = ones(Pool(honest, k, replacement=replacement))
    size = answers + 1
    for block in np.array_split(open_rows, max(1, len(open_rows) * size // 2**22)):
        total = np.fft.irfft(np.fft.rfft(single[block], size, axis=1) ** samples, size, axis=1)
        below = np.clip(total[:, : (answers + 1) // 2], 0, None).sum(axis=1)
        result[block] = np.clip(below, 0, 1)
    return result
