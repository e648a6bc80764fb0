"""The exact draw of what every node's poll gives, from one random word per node and round.

On the host, `thresholds` turns a pool's exact distribution into integers; on the device, `draw`
compares each node's random word with the integers of its class (inverse CDF). k, alpha, n, loss
and the adversary enter only through these integers: they are data, not code.

Words are compared as integers, each tail measured from its own end. A word's largest value is
folded onto the one before, so that a threshold can also say "always" and "never"; elsewhere a
probability is met to 2^-33 (one word) or 2^-65 (two words), and in the last two steps before
certainty to three times that.

A querier's row of thresholds on the line of words, for one alpha, where a poll has a quorum for the
querier's colour with probability 0.3 and against it with probability 0.2:

    word        0 ......... 0.3 x 2^32 .............. 0.8 x 2^32 ......... 2^32
    the poll    a quorum  |  none                   |  a quorum against
    columns             threshold 0               threshold 1
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vecsim.model import poll_law as pools
from vecsim.polls import level_reached
from vecsim.types import Counts, Levels, Quorum

FOLD = np.uint32(2**32 - 2)  # the largest word but one, as which the largest counts, too


class PollKind(NamedTuple):
    """Which draw a program compiles: the shape of a table row."""

    counts: bool  # the protocol needs counts, not only quorums
    silent: bool  # counts with answers that may be missing
    quorums: int  # that it tells apart: 1 where a protocol's two are the same
    wide: bool  # two words per draw: for short runs, where single polls are rare events
    k: int  # the largest sample size

    @property
    def words(self) -> int:
        """Words of a threshold."""
        return 2 if self.wide else 1

    @property
    def blocks(self) -> bool:
        """Whether every draw takes a whole block of two words."""
        return self.wide or self.silent

    @property
    def levels(self) -> int:
        """Depth of the tree in which a count is looked up: it has a leaf for each of 0 ... k."""
        return self.k.bit_length()

    @property
    def width(self) -> int:
        """Thresholds for one count: those of a complete binary tree."""
        return 2**self.levels - 1

    @property
    def columns(self) -> int:
        """Thresholds of a row: of counts those of a tree or of k + 2, else two for each quorum."""
        if self.silent:
            return self.width * (self.k + 2)
        return self.width if self.counts else 2 * self.quorums


def boundary(below, above, wide: bool):
    """Integers b with P(word < b) = below, for probabilities below + above = 1.

    Returns uint32 [..., words], the high word first.
    """
    below, above = (np.clip(np.asarray(p, float), 0.0, 1.0) for p in (below, above))
    if not wide:
        never = 2.0**32 - 1
        return np.minimum(np.rint(below * 2.0**32), never).astype(np.uint32)[..., None]
    # 64 bits are finer than a float near 1: the smaller tail gives the distance from its own end.
    never = np.uint64(2**64 - 1)
    ticks = np.rint(np.ldexp(np.minimum(below, above), 64)).astype(np.uint64)
    from_top = np.where(ticks == 0, never, never - ticks + np.uint64(1))
    value = np.where(below <= above, ticks, from_top)
    words = value >> np.uint64(32), value & np.uint64(2**32 - 1)
    return np.stack(words, axis=-1).astype(np.uint32)


def _count_boundaries(pmf, kind: PollKind):
    """Boundaries of 'the count is at least t', uint32 [..., t = 1 ... width, words].

    pmf: P(count = 0 ... k), [..., k + 1].
    """
    below = np.cumsum(pmf, axis=-1)[..., :-1]
    above = np.cumsum(pmf[..., ::-1], axis=-1)[..., ::-1][..., 1:]
    padding = [(0, 0)] * (below.ndim - 1) + [(0, kind.width - below.shape[-1])]
    below = np.pad(below, padding, constant_values=1.0)
    return boundary(below, np.pad(above, padding), kind.wide)


def thresholds(pool: pools.Pool, kind: PollKind, quorums: tuple[int, ...]):
    """The table of a pool: row c is for c honest peers that prefer 1.

    uint32 [pool.honest + 1, 2 or 1, columns, words]. quorums: the protocol's.
    For quorums the second axis is the poller's colour, and the columns are (agree, against) at a
    single alpha, (agree, agree confident, against, against confident) at two, those that agree at
    each of more, then those against: agreement takes the low end of the words, the other colour the
    high end. For counts that axis has length 1,
    and the columns are the boundaries of every count of ones; or, when answers may be missing,
    those of the number answered, then those of the ones among 0, 1, ..., k answers.
    """
    if kind.silent:
        joint = pools.ones_and_answered(pool)
        answered = _count_boundaries(joint.sum(axis=2), kind)
        given = joint / np.maximum(joint.sum(axis=2, keepdims=True), np.finfo(float).tiny)
        given = np.pad(given, ((0, 0), (0, kind.k - pool.k), (0, 0)))
        among = _count_boundaries(given, kind).reshape(len(joint), -1, kind.words)
        return np.concatenate([answered, among], axis=1)[:, None]
    if kind.counts:
        return _count_boundaries(pools.ones(pool), kind)[:, None]
    one = pools.ones(pool)
    zero = pools.ones(pool.swapped())[::-1]
    alphas = quorums[: kind.quorums]

    def reached_or_missed(pmf):
        return [(pmf[:, alpha:].sum(axis=1), pmf[:, :alpha].sum(axis=1)) for alpha in alphas]

    def columns(own, other):
        low = [boundary(reached, missed, kind.wide) for reached, missed in reached_or_missed(own)]
        high = [boundary(missed, hit, kind.wide) for hit, missed in reached_or_missed(other)]
        return np.stack(low + high, axis=1)

    return np.stack([columns(zero, one), columns(one, zero)], axis=1)


def quorum_chances(kind: PollKind, rows, quorums, k):
    """P(a poll has a quorum for a colour): two arrays, float32 [groups, own colour, that colour].

    The first is for a quorum that sets the preference, the second for one that counts; of two at
    most. rows: as for `draw`, where no answers are missing. quorums: the answers that make each.
    k: sample size.
    """

    def share(words):
        weights = jnp.asarray([2.0 ** (-32 * i - 32) for i in range(kind.words)], jnp.float32)
        return (words.astype(jnp.float32) * weights).sum(-1)

    def chances(which):
        if kind.counts:
            alpha, size = (jnp.asarray(v, jnp.int32) for v in (quorums[which], k))
            zero, below_one = (jnp.take(rows, i, axis=-2) for i in (size - alpha, alpha - 1))
            return jnp.stack([share(zero), share(~below_one)], axis=-1)
        own, other = (which, 2 + which) if kind.quorums == 2 else (0, 1)
        agree, against = share(rows[..., own, :]), share(~rows[..., other, :])
        zero = jnp.stack([agree[:, 0], against[:, 0]], axis=-1)
        return jnp.stack([zero, jnp.stack([against[:, 1], agree[:, 1]], axis=-1)], axis=1)

    return tuple(chances(which) for which in range(2))


def draw(kind: PollKind, rows, own, group, words, k) -> Quorum | Levels | Counts:
    """What each node's poll gives; its parts have the shape of `own`.

    rows: uint32 [groups, colour, columns, words]: thresholds of each class of querier.
    own: colour of each node, uint32 of any shape; group: bool of that shape, whether it is in the
    second group (ignored with one group). words: tuple of the node's random words (one, or two),
    uint32 of that shape. k: sample size, scalar.
    """

    def of_class(column, word=0):
        per_group = [jnp.where(own == 1, one, zero) for zero, one in rows[:, :, column, word]]
        return per_group[0] if len(per_group) == 1 else jnp.where(group, per_group[1], per_group[0])

    first = words[: kind.words]
    folded = (*first[:-1], jnp.minimum(first[-1], FOLD))
    if kind.counts:
        boundaries = [[of_class(i, w) for w in range(kind.words)] for i in range(kind.width)]
        count = _descend(folded, boundaries)
        answered, ones = jnp.asarray(k, jnp.uint32), count
        if kind.silent:
            answered, ones = count, _look_up(kind, rows, own, group, count, words[1])
        return Counts(jnp.where(own == 1, ones, answered - ones), answered)

    def below(column):
        return _less(folded, [of_class(column, word) for word in range(kind.words)])

    if kind.quorums == 1:
        return Quorum(below(0), ~below(1), jnp.bool_(True))
    if kind.quorums == 2:
        return Quorum(below(0), ~below(2), below(1) | ~below(3))
    agree = [below(i) for i in range(kind.quorums)]
    against = [~below(kind.quorums + i) for i in range(kind.quorums)]
    reached = [for_ | other for for_, other in zip(agree, against, strict=True)]
    return Levels(agree[0], against[0], level_reached(reached))


def _less(words, boundary):
    """Comparison of numbers of one or two words, the high word first."""
    if len(words) == 1:
        return words[0] < boundary[0]
    (high, low), (top, bottom) = words, boundary
    return (high < top) | ((high == top) & (low < bottom))


def _descend(words, boundaries):
    """How many of the ascending boundaries are at most the words, uint32.

    A binary tree of selects, as gathers are slow on a CPU.
    """
    count = jnp.uint32(0)
    while True:
        half = len(boundaries) // 2
        above = ~_less(words, boundaries[half])
        count = count + jnp.where(above, jnp.uint32(half + 1), jnp.uint32(0))
        if not half:
            return count
        upper, lower = boundaries[half + 1 :], boundaries[:half]
        boundaries = jax.tree.map(partial(jnp.where, above), upper, lower)


def _look_up(kind: PollKind, rows, own, group, answered, word):
    """Ones among the answers, by bisection in the row for this class and number of answers."""
    word = jnp.minimum(word, FOLD)
    table = rows[..., 0].reshape(-1)
    class_ = own if rows.shape[0] == 1 else own + jnp.uint32(2) * group.astype(jnp.uint32)
    start = class_ * jnp.uint32(kind.columns) + (answered + jnp.uint32(1)) * jnp.uint32(kind.width)
    count = jnp.zeros_like(answered)
    for level in reversed(range(kind.levels)):
        half = jnp.uint32(2**level)
        middle = start + count + half - jnp.uint32(1)
        count = count + jnp.where(word >= table[middle.astype(jnp.int32)], half, jnp.uint32(0))
    return count
