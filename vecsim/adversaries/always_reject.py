"""Always reject."""

from typing import ClassVar

from vecsim.adversaries.shared import REJECT, everybody
from vecsim.types import Adversary, View


class AlwaysReject(Adversary):
    """Every answer is 0."""

    identity: ClassVar[str] = "adversaries.always_reject.AlwaysReject"
    mixes: ClassVar = (REJECT,)

    def answer(self, view: View, memory):
        return everybody(0), memory
