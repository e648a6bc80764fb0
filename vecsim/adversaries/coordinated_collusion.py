"""Coordinated collusion: all Byzantine nodes push one colour."""

from typing import ClassVar

from vecsim.adversaries.shared import COLOURS, collude, everybody
from vecsim.errors import require
from vecsim.types import Adversary, View


class CoordinatedCollusion(Adversary):
    """All push one colour for the whole trial: of a disputed vertex the minority side, and of
    undisputed vertices they reject the same share.
    """

    identity: ClassVar[str] = "adversaries.coordinated_collusion.CoordinatedCollusion"
    mixes: ClassVar = COLOURS

    reject_share: float = 0.1  # of undisputed vertices, 0 to 1

    def __check_init__(self):
        require(0 <= self.reject_share <= 1, "adversary.reject_share", self.reject_share, "0 to 1")

    def answer(self, view: View, memory):
        return everybody(collude(view, self.reject_share)), memory
