"""Slush. Team Rocket 2018, "Snowflake to Avalanche", figure 2."""

import jax.numpy as jnp

from vecsim.errors import require
from vecsim.protocols.checks import check_sample
from vecsim.types import Protocol, Quorum


class Slush(Protocol):
    """Take the colour of every quorum, for m rounds; nobody decides.

    The outcome is the number of rounds to unanimity and the final split; without Byzantine nodes a
    unanimous trial can no longer change, and ends. Cell: the preference.
    """

    identity = "protocols.slush.Slush"
    decides = False

    k: int = 20  # sample size, peers
    alpha: int = 15  # answers that make a quorum, k/2 < alpha <= k
    m: int = 200  # rounds

    def __check_init__(self):
        check_sample(self)
        require(self.m >= 1, "protocol.m", self.m, "1 or more rounds")

    @property
    def quorums(self):
        """alpha twice: there is nothing to count."""
        return self.alpha, self.alpha

    @property
    def max_rounds(self):
        """m, as the paper calls it."""
        return self.m

    def start(self, colour):
        """The colour itself."""
        return colour

    def step(self, cell, poll: Quorum):
        """A quorum against the preference turns it."""
        return jnp.where(poll.against, cell ^ jnp.uint32(1), cell)
