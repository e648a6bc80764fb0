"""FPC: fast probabilistic consensus, with a threshold that all nodes share.

Popov and Buchanan 2021, "FPC-BI: Fast Probabilistic Consensus within Byzantine Infrastructures";
the parameters are those of IOTA's GoShimmer.
"""

import jax.numpy as jnp

from vecsim.errors import require
from vecsim.polls import Counts, below
from vecsim.protocols.checks import check_sample
from vecsim.types import Protocol

UNIT = 60_000  # thresholds are multiples of 1 / UNIT: below 2^16, and exact to four decimals


class Fpc(Protocol):
    """Take 1 if the share of 1 among the answers reaches a threshold that is drawn for the round.

    The threshold is uniform from `low` to `high`, in a node's first round from `first_low` to
    `first_high`, all rounded to 1/60000; adversaries do not see it before they answer. A node that
    gets no answer keeps its opinion. A node decides the opinion that it has had after `finality`
    rounds in a row; the opinion at the start, and those of the first `cooling` rounds, do not
    count.

    Cell: polls << (3 + bits of finality) | run << 3 | decided << 1 | preference.
    """

    identity = "protocols.fpc.Fpc"
    counts = True
    common = True

    k: int = 21  # sample size, peers
    first_low: float = 0.67  # threshold of the first round, 0 to 1
    first_high: float = 0.67  # first_low to 1
    low: float = 0.5  # threshold of the others, 0 to 1
    high: float = 0.67  # low to 1
    finality: int = 10  # rounds with one opinion that decide, 1 to 255
    cooling: int = 0  # rounds at the start that do not count, 0 to 1000
    max_rounds: int = 100  # rounds after which a trial ends, 1 to 1048575

    def __check_init__(self):
        check_sample(self)
        for low, high in (("first_low", "first_high"), ("low", "high")):
            below, above = getattr(self, low), getattr(self, high)
            require(0 <= below <= 1, f"protocol.{low}", below, "0 to 1")
            allowed = (
                f"protocol.{low}, which is {below}, to 1"  # either may be the one that was set
            )
            require(below <= above <= 1, f"protocol.{high}", above, allowed)
        require(1 <= self.finality <= 255, "protocol.finality", self.finality, "1 to 255")
        require(0 <= self.cooling <= 1000, "protocol.cooling", self.cooling, "0 to 1000")
        rounds = self.max_rounds
        require(1 <= rounds < 2**20, "protocol.max_rounds", rounds, "1 to 1048575")

    @property
    def quorums(self):
        """More than half of the answers, twice: what balancing adversaries spoil."""
        return self.k // 2 + 1, self.k // 2 + 1

    def fields(self):
        """Rounds in a row with one opinion, and rounds so far as long as it matters."""
        return {"run": self.finality + 1, "polls": self.cooling + 2}

    def start(self, colour):
        """No round yet."""
        return self.pack(preference=colour, run=0, polls=0)

    def step(self, cell, poll: Counts):
        """One round, with the threshold that the common word says."""
        one, zero = jnp.uint32(1), jnp.uint32(0)
        now = self.unpack(cell)
        first, later = (_threshold(*ends, poll.common) for ends in self._ends)
        threshold = jnp.where(now.polls == zero, first, later)
        ones = jnp.where(now.preference == one, poll.positive, poll.answered - poll.positive)
        taken = (ones * jnp.uint32(UNIT) >= threshold * poll.answered).astype(jnp.uint32)
        opinion = jnp.where(poll.answered == zero, now.preference, taken)
        cooling, finality = (jnp.asarray(v, jnp.uint32) for v in (self.cooling, self.finality))
        polls = jnp.minimum(now.polls + one, cooling + one)
        again = (opinion == now.preference) & (now.run > zero)
        run = jnp.where(polls > cooling, jnp.where(again, now.run + one, one), zero)
        return self.pack(preference=opinion, decided=run >= finality, run=run, polls=polls)

    @property
    def _ends(self):
        return (self.first_low, self.first_high), (self.low, self.high)


def _threshold(low, high, word):
    """A multiple of 1 / UNIT from low to high, by a uniform word (uint32)."""
    ends = (jnp.round(jnp.asarray(end, jnp.float32) * UNIT) for end in (low, high))
    least, most = (end.astype(jnp.uint32) for end in ends)
    return least + below(jnp.asarray(word, jnp.uint32), most - least + jnp.uint32(1))
