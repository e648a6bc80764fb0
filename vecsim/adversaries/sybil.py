"""Sybil identities: refused at admission with probability 0.9; those admitted collude."""

from typing import ClassVar

from vecsim.adversaries.shared import COLOURS, collude, everybody
from vecsim.errors import require
from vecsim.types import Adversary, View


class Sybil(Adversary):
    """Identities without valid credentials: each is admitted with probability `admission_rate`;
    those refused are not part of the network, those admitted act as coordinated collusion.
    """

    identity: ClassVar[str] = "adversaries.sybil.Sybil"
    mixes: ClassVar = COLOURS

    admission_rate: float = 0.1  # 0 to 1
    reject_share: float = 0.1  # of undisputed vertices, 0 to 1

    def __check_init__(self):
        require(
            0 <= self.admission_rate <= 1, "adversary.admission_rate", self.admission_rate, "0 to 1"
        )
        require(0 <= self.reject_share <= 1, "adversary.reject_share", self.reject_share, "0 to 1")

    @property
    def admission(self):
        return self.admission_rate

    def answer(self, view: View, memory):
        return everybody(collude(view, self.reject_share)), memory
