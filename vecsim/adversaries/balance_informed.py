"""Balancing with full knowledge."""

from vecsim.adversaries.shared import COLOURS, everybody, minority
from vecsim.types import Adversary, View


class BalanceInformed(Adversary):
    """Pushes the true honest minority: that at the start of the round, under async at the poll."""

    identity = "adversaries.balance_informed.BalanceInformed"
    mixes = COLOURS

    def answer(self, view: View, memory):
        """The minority's colour to everybody."""
        return everybody(minority(view)), memory
