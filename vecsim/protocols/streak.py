"""What Snowflake and Snowball share: parameters, and a counter of consecutive successes."""

import equinox as eqx
import jax.numpy as jnp

from vecsim.errors import require
from vecsim.protocols.checks import check_sample
from vecsim.types import Protocol

LONGEST_RUN = 2**20 - 1  # successes in a row at most


class Streak(Protocol):
    """A rule that decides a colour after `beta` consecutive successes for it.

    By default k, the alphas, beta and the variants are those of avalanchego. ConfigError where a
    parameter is out of its range.
    """

    k: int = 20  # sample size, peers
    alpha_preference: int = 15  # answers that make a quorum, k/2 < alpha_preference <= k
    alpha_confidence: int = 15  # answers that count, alpha_preference <= alpha_confidence <= k
    beta: int = 20  # successes in a row that decide, 1 to 1048575
    max_rounds: int = 200  # rounds after which a node gives up, 1 to 1048575
    # The published variants; the 2018 paper has False, "gt" and 0. In their order: whether a poll
    # without success sets the counter to 0; whether the counter decides at beta (ge) or above it
    # (gt); the counter after a success for the other colour (0 or 1).
    reset_on_failure: bool = eqx.field(static=True, default=True)
    decide_when: str = eqx.field(static=True, default="ge")
    count_after_flip: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        check_sample(self)
        rounds, when, flip = self.max_rounds, self.decide_when, self.count_after_flip
        require(1 <= self.beta <= LONGEST_RUN, "protocol.beta", self.beta, f"1 to {LONGEST_RUN}")
        require(1 <= rounds < 2**20, "protocol.max_rounds", rounds, "1 to 1048575")
        require(when in ("ge", "gt"), "protocol.decide_when", when, "ge or gt")
        require(flip in (0, 1), "protocol.count_after_flip", flip, "0 or 1")

    @property
    def quorums(self):
        """The two thresholds as they are given."""
        return self.alpha_preference, self.alpha_confidence

    @property
    def run_length(self):
        """Value of the counter at which a node decides: beta, or beta + 1 under "gt"."""
        return self.run_length_of(self.beta)

    def run_length_of(self, beta):
        """The same for that beta."""
        return beta + (1 if self.decide_when == "gt" else 0)

    def count_run(self, counter, colour, agree, against, confident):
        """The counter and the colour that it counts, after one poll (uint32).

        agree, against: whether the poll had a quorum for that colour, or for the other. confident:
        whether the quorum counts. All arguments broadcast.
        """
        zero, one = jnp.uint32(0), jnp.uint32(1)
        unsuccessful = zero if self.reset_on_failure else counter
        same = jnp.where(confident, counter + one, unsuccessful)
        other = jnp.where(confident, jnp.uint32(self.count_after_flip), zero)
        counted = jnp.where(agree, same, jnp.where(against, other, unsuccessful))
        return counted, jnp.where(against, colour ^ one, colour)

    def run_left(self, counter, same, length=None):
        """Successes in a row for one colour until the counter reaches `length`, int32.

        same: whether the counter is that colour's. length: `run_length` unless given.
        """
        length = jnp.asarray(self.run_length if length is None else length, jnp.int32)
        fresh = length + 1 - self.count_after_flip
        return jnp.where(same, length - counter.astype(jnp.int32), fresh)
