"""Echo: agrees with whoever asks."""

from typing import ClassVar

from vecsim.adversaries.shared import COLOURS, by_colour
from vecsim.types import Adversary, View


class Echo(Adversary):
    """Answers the querier's own colour."""

    identity: ClassVar[str] = "adversaries.echo.Echo"
    mixes: ClassVar = COLOURS

    def answer(self, view: View, memory):
        return by_colour(0, 1), memory
