"""Silence: a crashed or withholding node."""

from typing import ClassVar

from vecsim.adversaries.shared import SILENT, everybody
from vecsim.types import Adversary, View


class Silent(Adversary):
    """No answer ever."""

    identity: ClassVar[str] = "adversaries.silent.Silent"
    mixes: ClassVar = (SILENT,)

    def answer(self, view: View, memory):
        return everybody(0), memory
