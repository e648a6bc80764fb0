"""Balancing with full knowledge."""

from typing import ClassVar

from vecsim.adversaries.shared import COLOURS, everybody, minority
from vecsim.types import Adversary, View


class BalanceInformed(Adversary):
    """Pushes the true honest minority, at the start of the round, or at the poll under async."""

    identity: ClassVar[str] = "adversaries.balance_informed.BalanceInformed"
    mixes: ClassVar = COLOURS

    def answer(self, view: View, memory):
        return everybody(minority(view)), memory
