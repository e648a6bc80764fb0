"""Safety split: brings one group to a decision, then turns everybody to the other colour."""

from typing import ClassVar

import jax.numpy as jnp

from vecsim.adversaries.shared import COLOURS
from vecsim.errors import require
from vecsim.types import Adversary, View


class SafetySplit(Adversary):
    """Feeds `target` to one half of the honest nodes and holds the other half at the other colour;
    once an honest node has decided `target`, pushes the other colour on everybody.
    """

    mixes: ClassVar = COLOURS

    groups: ClassVar[int] = 2

    target: int = 1  # colour, 0 or 1

    def __check_init__(self):
        require(self.target in (0, 1), "adversary.target", self.target, "0 or 1")

    def answer(self, view: View, memory):
        target = jnp.asarray(self.target, jnp.int32)
        won = jnp.where(target == 1, view.decided_1, view.decided_0) > 0
        fed = jnp.where(won, 1 - target, target)
        return jnp.broadcast_to(jnp.stack([fed, 1 - target])[:, None], (2, 2)), memory
