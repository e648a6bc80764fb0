"""What one poll gives: the records that `step` gets, and the results that there may be.

A level says how many of a protocol's quorums the answers for one colour reach. Of three quorums,
12, 15 and 18 of 20 answers:

    answers   0 ... 11   12 ... 14   15 ... 17   18 ... 20
    level     0          1           2           3
"""

from itertools import pairwise
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, UInt


class Quorum(NamedTuple):
    """The result of one poll, for protocols that only need quorums, and two of them at most.

    agree, against: at least alpha_preference answers for the poller's own preference, or for the
    other colour (never both, as alpha_preference > k/2).
    confident: the quorum, if there is one, also reached alpha_confidence; without a quorum it means
    nothing. All have the cells' shape.
    """

    agree: Bool[Array, "..."]
    against: Bool[Array, "..."]
    confident: Bool[Array, "..."]

    @property
    def level(self) -> UInt[Array, "..."]:
        """How many of the protocol's `quorums` were reached, as of `Levels`: 0, 1 or 2, uint32."""
        reached = jnp.where(self.confident, jnp.uint32(2), jnp.uint32(1))
        return jnp.where(self.agree | self.against, reached, jnp.uint32(0))


class Levels(NamedTuple):
    """The result of one poll, for protocols with more than two quorums.

    agree, against: as of `Quorum`. level: how many of the protocol's `quorums` the answers for that
    colour reached, uint32: 0 without a quorum, else 1 to all of them. All have the cells' shape.
    """

    agree: Bool[Array, "..."]
    against: Bool[Array, "..."]
    level: UInt[Array, "..."]

    @property
    def confident(self) -> Bool[Array, "..."]:
        """Whether two or more of them were reached: alpha_preference and alpha_confidence."""
        return self.level > jnp.uint32(1)


class Counts(NamedTuple):
    """The result of one poll, for protocols that need counts.

    positive: answers that agree with the poller's own preference. answered: all answers that
    arrived. 0 <= positive <= answered <= k; uint32, of the cells' shape.

    The others are for protocols that declare them. neutral: answers for neither colour, among those
    answered. common: a random word that all nodes share in this round, uint32, a scalar or of the
    cells' shape. voter: the number of the node that was asked, where a poll asks one, uint32.
    """

    positive: UInt[Array, "..."]
    answered: UInt[Array, "..."]
    neutral: Any = 0
    common: Any = 0
    voter: Any = 0


def below(word, limit):
    """A uniform integer in [0, limit) from a random word, such as `Counts.common` (uint32).

    word: uint32. limit: uint32, 1 or more. The high word of their product, made of halves of 16
    bits; each value's probability is met to 2^-32. NumPy arrays give the same bits as JAX's.
    """
    half, mask = np.uint32(16), np.uint32(0xFFFF)
    high, low, top, bottom = word >> half, word & mask, limit >> half, limit & mask
    middle = high * bottom + ((low * bottom) >> half)
    return high * top + (middle >> half) + ((low * top + (middle & mask)) >> half)


Result = tuple[bool, bool, int]  # agree, against, level, as of `Levels`


def results_of(number: int) -> tuple[Result, ...]:
    """The results for so many quorums (2 or more): none, then each level for and against a node."""
    levels = range(1, number + 1)
    agree, against = ([(agrees, not agrees, each) for each in levels] for agrees in (True, False))
    return ((False, False, 0), *agree, *against)


def by_side(results: int) -> tuple[slice, slice]:
    """Which of so many results, in the order of `results_of`, agree, and which are against."""
    middle = results // 2 + 1
    return slice(1, middle), slice(middle, None)


def possible(quorums: tuple[int, ...]) -> list[int]:
    """The levels above 0 that some number of answers has, ascending."""
    below = (i for i, (low, high) in enumerate(pairwise(quorums), 1) if low < high)
    return [*below, len(quorums)]


def poll_record(number: int, agree: Any, against: Any, level: Any) -> Quorum | Levels:
    """What `step` is given by a protocol with so many quorums. level: uint32, as of `Levels`."""
    if number > 2:
        return Levels(agree, against, level)
    return Quorum(agree, against, level > 1)


def counted(quorums: tuple[Any, ...], counts: Counts) -> Quorum | Levels:
    """The record of a poll that gave these counts, for a protocol with these quorums."""
    low, *more = (jnp.asarray(alpha, jnp.uint32) for alpha in quorums)
    positive, negative = counts.positive, counts.answered - counts.positive
    agree, against = positive >= low, negative >= low
    reached = [(positive >= alpha) | (negative >= alpha) for alpha in more]
    if len(reached) == 1:
        return Quorum(agree, against, reached[0])
    return Levels(agree, against, level_reached([agree | against, *reached]))


def level_reached(reached: list[Any]) -> Any:
    """The level of a poll, uint32. reached: whether it reached each of the quorums, bools."""
    return sum((each.astype(jnp.uint32) for each in reached[1:]), reached[0].astype(jnp.uint32))
