"""What a kind of study computes."""

import numpy as np

from vecsim.results.layout import Variable
from vecsim.studies.sweep import Study


class Work:
    """What is computed at the points of a study: one after another, unless a kind says otherwise.

    A kind of study has `variables` and `one`, or `compute` where points are computed together.
    """

    variables: tuple[Variable, ...]
    inner: dict[str, list] = {}  # noqa: RUF012  coordinates of the variables' own dimensions
    # What a study may be given more of, with what is there unchanged: "trials" (and points),
    # "points" alone, or nothing.
    grows: str | None = "trials"

    def __init__(self, study: Study):
        self.study = study

    def chunks(self) -> tuple[int, ...]:
        """Points along each swept dimension, then trials, that are computed at once and stored
        as one chunk: what may be lost when the run is killed."""
        return (*(1 for _ in self.study.dimensions), self.study.trials)

    def compute(self, numbers: list[int], trials: np.ndarray) -> dict[str, np.ndarray]:
        """Values of each variable for the points with these numbers, [points, trials, ...]."""
        found = [self.one(number, trials) for number in numbers]
        return {v.name: np.stack([each[v.name] for each in found]) for v in self.variables}

    def one(self, number: int, trials: np.ndarray) -> dict[str, np.ndarray]:
        """The same for one point, [trials, ...]."""
        raise NotImplementedError

    def written(self, numbers: list[int]) -> None:
        """Hears that the values of these points are stored."""

    def events(self, values: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Which trials show what the study's precision is about, and which were run; only of
        studies whose number of trials is not fixed."""
        raise NotImplementedError
