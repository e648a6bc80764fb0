"""Random voting: a fair coin per answer."""

from typing import ClassVar

from vecsim.adversaries.shared import everybody
from vecsim.types import Adversary, View


class RandomVoting(Adversary):
    """Every answer is a fair coin of its own."""

    identity: ClassVar[str] = "adversaries.random_voting.RandomVoting"
    mixes: ClassVar = ((0.5, 0.5),)

    def answer(self, view: View, memory):
        return everybody(0), memory
