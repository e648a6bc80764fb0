"""Balancing from pooled samples."""

import equinox as eqx
import jax.numpy as jnp

from vecsim.adversaries.shared import COLOURS, everybody
from vecsim.errors import require
from vecsim.types import Adversary, View


class BalancePooled(Adversary):
    """Every round each Byzantine node polls k honest nodes; all push the minority among the pooled
    answers of this round (lag 0) or of the round before (lag 1; 0 in the first round).

    Under async a round is n polls, and the guess is kept for all of them, however much honest
    nodes change meanwhile. With `every: poll` the nodes pool anew for each poll, which is far
    stronger; it does not exist under lockstep, where all polls of a round happen at once.
    """

    identity = "adversaries.balance_pooled.BalancePooled"
    mixes = COLOURS

    pools = True

    lag: int = 0  # rounds, 0 or 1
    every: str = eqx.field(default="round", static=True)  # round, or poll (under async)

    later = ("every",)

    def __check_init__(self):
        require(self.lag in (0, 1), "adversary.lag", self.lag, "0 or 1")
        require(self.every in ("round", "poll"), "adversary.every", self.every, "round or poll")
        kept = self.lag == 0 or self.every == "round"
        require(kept, "adversary.lag", self.lag, "0 with every=poll")

    def answer(self, view: View, memory):
        """The pooled minority to everybody; the memory is that of this round, for lag 1."""
        if self.every == "poll":
            return everybody(view.pooled_minority), memory
        pushed = jnp.where(self.lag == 0, view.pooled_minority, memory)
        return everybody(pushed), view.pooled_minority
