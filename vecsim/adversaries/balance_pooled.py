"""Balancing from pooled samples."""

from typing import ClassVar

import jax.numpy as jnp

from vecsim.adversaries.shared import COLOURS, everybody
from vecsim.errors import require
from vecsim.types import Adversary, View


class BalancePooled(Adversary):
    """Every round each Byzantine node polls k honest nodes; all push the minority among the pooled
    answers of this round (lag 0) or of the round before (lag 1; 0 in the first round).
    """

    mixes: ClassVar = COLOURS

    pools: ClassVar[bool] = True

    lag: int = 0  # rounds, 0 or 1

    def __check_init__(self):
        require(self.lag in (0, 1), "adversary.lag", self.lag, "0 or 1")

    def answer(self, view: View, memory):
        pushed = jnp.where(self.lag == 0, view.pooled_minority, memory)
        return everybody(pushed), view.pooled_minority
