"""What a study computes at its points: one class for each kind of study."""

from typing import Any

import numpy as np

from vecsim.results.layout import Variable
from vecsim.studies.sweep import Study


def variable(
    name: str, dtype: str, long_name: str, units: str, meaning: str = "", inner=(), **more: Any
) -> Variable:
    """A variable of a study. inner: dimensions that each trial has. more: other attributes."""
    told = {"long_name": long_name, "units": units} | ({"meaning": meaning} if meaning else {})
    return Variable(name, dtype, told | more, inner)


class Work:
    """What is computed at the points of a study, and how much of it at once.

    variables: what every trial gives. always: names of those that are never missing. inner:
    coordinates of the variables' own dimensions. grows: what a study may be given more of, with
    what is there unchanged: "trials" (and points), "points" alone, or nothing.
    """

    variables: tuple[Variable, ...]
    always: frozenset[str] = frozenset()
    inner: dict[str, list] = {}  # noqa: RUF012
    grows: str | None = "trials"

    def __init__(self, study: Study):
        self.study = study

    def chunks(self) -> tuple[int, ...]:
        """Points along each swept dimension, then trials, that are computed at once and stored as
        one chunk, which is what may be lost when the run is killed: here all trials of a point."""
        return (*(1 for _ in self.study.dimensions), self.study.trials)

    def compute(self, numbers: list[int], trials: np.ndarray) -> dict[str, np.ndarray]:
        """Values of each variable for the points with these numbers, [points, trials, ...]."""
        found = [self.one(number, trials) for number in numbers]
        return {name: np.stack([each[name] for each in found]) for name in found[0]}

    def one(self, number: int, trials: np.ndarray) -> dict[str, np.ndarray]:
        """The same of a single point, [trials, ...]."""
        raise NotImplementedError

    def written(self, numbers: list[int]) -> None:
        """Hears that the values of these points are stored."""

    def node_rounds(self, numbers: list[int], values: dict[str, np.ndarray]) -> float | None:
        """Rounds that nodes went through, in all, in the trials of these points that were run;
        None where that is not counted."""
        return None

    def events(self, values: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Which trials show what the study's precision is about, and which count for it (bool).
        Of studies with a precision alone: the others have a fixed number of trials."""
        raise NotImplementedError
