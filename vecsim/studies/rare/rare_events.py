"""Studies of rare events: at each point, replicas of splitting estimates by two scores."""

from itertools import islice

import numpy as np

from vecsim.errors import count, require, whole
from vecsim.studies.rare.scores import SCORES
from vecsim.studies.rare.splitting import MOST_REPLICAS, MOST_WALKERS, Effort, plain_events, split
from vecsim.studies.rare.supported import supports_splitting
from vecsim.studies.rare.walkers import Climbers
from vecsim.studies.sweep import Study
from vecsim.studies.work import Work, variable

_COMPARED = 2  # scores that a point's estimates come from: two that agree can be trusted
# The settings of the estimator, as the configuration names them.
_FIELDS = ("name", "event", "walkers", "keep")


class RareEvents(Work):
    """The work of a study whose trials are replicas.

    memory: bytes that a batch may take. Raises ConfigError where a setting has no meaning, or a
    point is beyond splitting.
    """

    def __init__(self, study: Study, memory: int):
        super().__init__(study)
        self.memory, given = memory, dict(study.estimator)
        require(set(given) == set(_FIELDS), "estimator", given, f"{', '.join(_FIELDS)}")
        self.event, keep = given["event"], given["keep"]
        require(self.event in [*SCORES], "estimator.event", self.event, ", ".join(SCORES))
        walkers = count("estimator.walkers", given["walkers"], 10, MOST_WALKERS)
        require(isinstance(keep, float) and 0 < keep < 1, "estimator.keep", keep, "between 0 and 1")
        whole("trials", study.trials, 2, MOST_REPLICAS)
        self.effort = Effort(walkers, keep)
        for point, engine in zip(study.points, study.engines, strict=True):
            reason = supports_splitting(point, engine)
            require(reason is None, "estimator", "splitting", f"plain ({reason})")
        self.inner = {"score": list(SCORES[self.event])}
        name = f"probability of the event: {self.event}"
        own = "each replica's own estimate, 0 where none of its walkers got there"
        none = "-1 where there is no estimate: the pilot found no way, or others did"
        plain = f"plain trials with the event, of {walkers} for each replica"
        self.variables = (
            variable("probability", "float64", name, "1", own, event=self.event, inner=("score",)),
            variable("levels", "int32", "levels on the way to the event", "1", none, ("score",)),
            variable("plain", "int32", plain, "trials", of=walkers),
        )

    def one(self, number: int, trials: np.ndarray) -> dict[str, np.ndarray]:
        """Estimates and levels [replicas, scores]; plain trials with the event [replicas]."""
        study = self.study
        climbers = Climbers(study.points[number], self.event, study.engines[number], self.memory)
        shape = len(trials), len(self.inner["score"])
        values = {"probability": np.full(shape, np.nan), "levels": np.full(shape, -1, np.int32)}
        values["plain"] = plain_events(climbers, self.effort.walkers, trials, study.seed)
        every = ((i, split(climbers, i, self.effort, trials, study.seed)) for i in range(shape[1]))
        found = ((score, result) for score, result in every if result is not None)
        for score, result in islice(found, _COMPARED):
            values["probability"][:, score] = result.estimates
            values["levels"][:, score] = result.passed.shape[1]
        return values
