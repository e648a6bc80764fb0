"""Always accept."""

from typing import ClassVar

from vecsim.adversaries.shared import ACCEPT, everybody
from vecsim.types import Adversary, View


class AlwaysAccept(Adversary):
    """Every answer is 1."""

    identity: ClassVar[str] = "adversaries.always_accept.AlwaysAccept"
    mixes: ClassVar = (ACCEPT,)

    def answer(self, view: View, memory):
        return everybody(0), memory
