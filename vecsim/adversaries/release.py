"""Release: balances until a round, then lets go."""

import jax.numpy as jnp

from vecsim.adversaries.shared import COLOURS, by_colour, everybody, minority
from vecsim.errors import require
from vecsim.types import Adversary, View


class Release(Adversary):
    """Pushes the true honest minority in the first `release_round` rounds, then echoes."""

    identity = "adversaries.release.Release"
    mixes = COLOURS

    release_round: int = 50  # rounds, >= 0

    def __check_init__(self):
        require(self.release_round >= 0, "adversary.release_round", self.release_round, "0 or more")

    def answer(self, view: View, memory):
        """As BalanceInformed before `release_round`, as Echo from it on."""
        balancing = view.round < self.release_round
        return jnp.where(balancing, everybody(minority(view)), by_colour(0, 1)), memory
