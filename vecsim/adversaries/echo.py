"""Echo: agrees with whoever asks."""

from vecsim.adversaries.shared import COLOURS, by_colour
from vecsim.types import Adversary, View


class Echo(Adversary):
    """Answers the querier's own colour."""

    identity = "adversaries.echo.Echo"
    mixes = COLOURS

    def answer(self, view: View, memory):
        """0 to holders of 0, 1 to holders of 1."""
        return by_colour(0, 1), memory
