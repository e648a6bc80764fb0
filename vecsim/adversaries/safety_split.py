"""Safety split: brings one group to a decision, then turns everybody to the other colour."""

from typing import ClassVar

import jax.numpy as jnp

from vecsim.adversaries.shared import COLOURS
from vecsim.errors import require
from vecsim.types import Adversary, View


class SafetySplit(Adversary):
    """Feeds `target` to one group of honest nodes and holds the others at the other colour; once an
    honest node has decided `target`, pushes the other colour on everybody.

    A larger group decides sooner, and is harder to turn afterwards: 0.5 / (1 - byzantine_fraction)
    is where the others can only just be held by answers of half of the network.
    """

    mixes: ClassVar = COLOURS

    groups: ClassVar[int] = 2

    target: int = 1  # colour, 0 or 1
    share: float = 0.5  # of the honest nodes that are fed, 0 to 1

    def __check_init__(self):
        require(self.target in (0, 1), "adversary.target", self.target, "0 or 1")
        require(0 <= self.share <= 1, "adversary.share", self.share, "0 to 1")

    def answer(self, view: View, memory):
        target = jnp.asarray(self.target, jnp.int32)
        won = jnp.where(target == 1, view.decided_1, view.decided_0) > 0
        fed = jnp.where(won, 1 - target, target)
        return jnp.broadcast_to(jnp.stack([fed, 1 - target])[:, None], (2, 2)), memory
