"""Flip: contradicts whoever asks."""

from typing import ClassVar

from vecsim.adversaries.shared import COLOURS, by_colour
from vecsim.types import Adversary, View


class Flip(Adversary):
    """Answers against the querier's colour."""

    identity: ClassVar[str] = "adversaries.flip.Flip"
    mixes: ClassVar = COLOURS

    def answer(self, view: View, memory):
        return by_colour(1, 0), memory
