"""Studies of thresholds: at each point, the Byzantine fraction at which a rate crosses a level."""

import math

import numpy as np

from vecsim.engines.choose import engine_of
from vecsim.errors import ConfigError, require, whole
from vecsim.model.point import Point
from vecsim.results import outcomes
from vecsim.results.crossing import place
from vecsim.results.layout import Variable
from vecsim.studies.decisions import Engines
from vecsim.studies.dimensions import keys_of
from vecsim.studies.sweep import Study
from vecsim.studies.work import Work

_FIELDS = ("name", "event", "level", "low", "high")
LEVELS = {"stalled": 0.5, "disagreement": 0.01}  # the events, and the level of each if none is set
FRACTION = "byzantine_fraction"
_MOST_TRIALS = 10**7  # of a point: they are computed at once
LEAST_TRIALS = 16
BATCH = 128  # trials of a batch: stages are small, and what they leave empty takes time


class Threshold(Work):
    """The work of a study whose trials go where they tell most of a threshold.

    memory: bytes that a batch may take. Raises ConfigError where a setting has no meaning, or a
    point has none somewhere in the range that is searched.
    """

    grows: str | None = "points"  # where trials go depends on how many there are

    def __init__(self, study: Study, memory: int):
        given = dict(study.estimator)
        require(set(given) == set(_FIELDS), "estimator", given, ", ".join(_FIELDS))
        super().__init__(study)
        self.event = given["event"]
        require(self.event in LEVELS, "estimator.event", self.event, ", ".join(LEVELS))
        self.level = LEVELS[self.event] if given["level"] is None else given["level"]
        good = isinstance(self.level, float) and 0 < self.level < 1
        require(good, "estimator.level", self.level, "between 0 and 1, or null")
        self.low, self.high = given["low"], given["high"]
        for name in ("low", "high"):
            good = isinstance(given[name], (int, float)) and 0 <= given[name] <= 1
            require(good, f"estimator.{name}", given[name], "a fraction, 0 to 1")
        require(self.low < self.high, "estimator.high", self.high, f"above low, {self.low}")
        whole("trials", study.trials, LEAST_TRIALS, _MOST_TRIALS)
        swept = FRACTION in keys_of(study.dimensions)
        set_to = next((p.byzantine_fraction for p in study.points if p.byzantine_fraction), 0.0)
        allowed = "estimator.low and estimator.high, between which it is looked for"
        require(not swept and set_to == 0, FRACTION, "swept" if swept else set_to, allowed)
        named = zip(study.points, study.engines, strict=True)
        pairs = [(end, engine) for point, engine in named for end in self._ends(point, engine)]
        self.engines = Engines(pairs, study.seed, memory, 1, BATCH)
        searched = {"outcome": self.event, "crossed": self.level, "low": self.low}
        where = {"long_name": "share of Byzantine nodes in the trial", "units": "1"}
        what = {"long_name": f"whether the trial ended so: {self.event}", "units": "1"}
        self.variables = (
            Variable(FRACTION, "float64", where),
            Variable("event", "int32", what | searched | {"high": self.high}),
        )

    def _range(self, n: int) -> tuple[int, int]:
        """Fewest and most Byzantine nodes."""
        return math.ceil(self.low * n - 1e-9), math.floor(self.high * n + 1e-9)

    def _ends(self, point: Point, engine: str) -> list[Point]:
        """The point at the ends of the range, checked, and next to the lower one: a point without
        any Byzantine nodes may be compiled by itself."""
        name = type(point.protocol).__name__
        reason = f"plain ({name} decides nothing)"
        require(point.protocol.decides, "estimator", "threshold", reason)
        low, high = self._range(point.n)
        enough = f"enough above low, {self.low}, for another node of {point.n}"
        require(low < high, "estimator.high", self.high, enough)
        ends = []
        for number, setting in ((low, "low"), (low + 1, "low"), (high, "high")):
            ends.append(_at(point, number))
            try:
                ends[-1].check()
                if engine == "population":
                    engine_of(ends[-1], engine)
            except ConfigError as error:
                raise ConfigError(f"with estimator.{setting}: {error}") from None
        return ends

    def chunks(self) -> tuple[int, ...]:
        """A point at a time: where its trials go depends on those before."""
        return (*(1 for _ in self.study.dimensions), self.study.trials)

    def one(self, number: int, trials: np.ndarray) -> dict[str, np.ndarray]:
        """Fractions and events [trials]."""
        point, engine = self.study.points[number], self.study.engines[number]
        done = 0

        def draw(nodes: np.ndarray) -> np.ndarray:
            """Events of the next trials; each is the trial of its number at its fraction."""
            nonlocal done
            order = np.argsort(nodes, kind="stable")
            counts, starts = np.unique(nodes[order], return_index=True)
            parts = np.split(done + order, starts[1:])
            done += len(nodes)
            work = [(_at(point, c), engine, part) for c, part in zip(counts, parts, strict=True)]
            events = np.empty(len(nodes), bool)
            events[order] = outcomes.event(self.engines.run(work), self.event)
            return events

        nodes, events = place(draw, *self._range(point.n), self.level, len(trials))
        return {FRACTION: nodes / point.n, "event": events.astype(np.int32)}


def _at(point: Point, nodes: int) -> Point:
    """The point with so many Byzantine nodes."""
    return point._replace(byzantine_fraction=int(nodes) / point.n)
