"""Release: balances until a round, then lets go."""

from typing import ClassVar

import jax.numpy as jnp

from vecsim.adversaries.shared import COLOURS, by_colour, everybody, minority
from vecsim.types import Adversary, View


class Release(Adversary):
    """Pushes the true honest minority in the first `release_round` rounds, then echoes."""

    mixes: ClassVar = COLOURS

    release_round: int = 50  # rounds, >= 0

    def answer(self, view: View, memory):
        balancing = view.round < self.release_round
        return jnp.where(balancing, everybody(minority(view)), by_colour(0, 1)), memory
