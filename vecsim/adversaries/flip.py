"""Flip: contradicts whoever asks."""

from vecsim.adversaries.shared import COLOURS, by_colour
from vecsim.types import Adversary, View


class Flip(Adversary):
    """Answers against the querier's colour."""

    identity = "adversaries.flip.Flip"
    mixes = COLOURS

    def answer(self, view: View, memory):
        """1 to holders of 0, 0 to holders of 1."""
        return by_colour(1, 0), memory
