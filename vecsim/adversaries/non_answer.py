"""Non-answer: the minority colour to those who hold it, silence to the others."""

import jax.numpy as jnp

from vecsim.adversaries.shared import COLOURS, SILENT, by_colour, minority
from vecsim.types import Adversary, View


class NonAnswer(Adversary):
    """Answers the honest minority's colour if the querier holds it, else nothing."""

    identity = "adversaries.non_answer.NonAnswer"
    mixes = (*COLOURS, SILENT)

    def answer(self, view: View, memory):
        """The minority to its own holders, mix 2 (silence) to the others."""
        fewer = minority(view)
        return by_colour(jnp.where(fewer == 0, 0, 2), jnp.where(fewer == 1, 1, 2)), memory
