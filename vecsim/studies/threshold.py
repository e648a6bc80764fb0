"""Studies of thresholds: at each point, the Byzantine fraction at which a rate crosses a level."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from vecsim.engines.choose import engine_of
from vecsim.errors import require, whole, within
from vecsim.model.point import Point
from vecsim.results import crossing, outcomes
from vecsim.studies.decisions import STAKE_VARIABLES, Engines
from vecsim.studies.dimensions import keys_of
from vecsim.studies.sweep import Study
from vecsim.studies.work import Work, variable

# The settings of the estimator, as the configuration names them.
_FIELDS = ("name", "event", "level", "low", "high")
LEVELS = {"stalled": 0.5, "disagreement": 0.01}  # the events, and the level of each if none is set
REACHED = "byzantine_stake"  # the variable of the share of stake that came about
CROSSED = "crossed"  # the variable, or else the attribute of events, with the level
FRACTION = "byzantine_fraction"  # the parameter that is looked for, and the variable of trials
_MOST_TRIALS = 10**7  # of a point: they are computed at once, and so must fit in memory
LEAST_TRIALS = 16  # of a point: what the first stage of the search takes at least
BATCH = 128  # trials of a batch: stages are small, and what they leave empty takes time


class Sought(NamedTuple):
    """What is looked for at a point: where the rate of an event crosses a level, low to high."""

    event: str
    level: float
    low: float
    high: float

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> "Sought":
        """From `estimator` in the configuration; ConfigError where it has no meaning."""
        require(set(given) == set(_FIELDS), "estimator", given, ", ".join(_FIELDS))
        event, level, low, high = (given[name] for name in _FIELDS[1:])
        require(event in [*LEVELS], "estimator.event", event, ", ".join(LEVELS))
        level = LEVELS[event] if level is None else level
        good = isinstance(level, float) and 0 < level < 1
        require(good, "estimator.level", level, "between 0 and 1, or null")
        for name, end in (("low", low), ("high", high)):
            good = isinstance(end, (int, float)) and 0 <= end <= 1
            require(good, f"estimator.{name}", end, "a fraction, 0 to 1")
        require(low < high, "estimator.high", high, f"above low, {low}")
        return cls(event, level, low, high)


class Threshold(Work):
    """The work of a study whose trials go where they tell most about a threshold.

    memory: bytes that a batch may take. Raises ConfigError where a setting has no meaning, or a
    point has none somewhere in the range that is searched.
    """

    grows: str | None = "points"  # where trials go depends on how many there are

    def __init__(self, study: Study, memory: int):
        super().__init__(study)
        every = study.estimators or [study.estimator] * len(study.points)
        self.sought = [Sought.parse(dict(given)) for given in every]
        self.low, self.high = self.sought[0][2:]
        for each in self.sought:
            for name, end in (("low", self.low), ("high", self.high)):
                mine = getattr(each, name)
                require(mine == end, f"estimator.{name}", mine, f"the same at all points, {end}")
        whole("trials", study.trials, LEAST_TRIALS, _MOST_TRIALS)
        fractions = (p.byzantine_fraction for p in study.points if p.byzantine_fraction)
        fraction = "swept" if FRACTION in keys_of(study.dimensions) else next(fractions, 0.0)
        allowed = "estimator.low and estimator.high, between which it is looked for"
        require(fraction == 0, FRACTION, fraction, allowed)
        named = zip(study.points, study.engines, strict=True)
        pairs = [(end, engine) for point, engine in named for end in self._ends(point, engine)]
        self.engines = Engines(pairs, study.seed, memory, 1, BATCH)
        named = " or ".join(dict.fromkeys(each.event for each in self.sought))
        levels = [*dict.fromkeys(each.level for each in self.sought)]
        about = {"outcome": named, "crossed": levels[0], "low": self.low, "high": self.high}
        if len(levels) > 1:
            del about["crossed"]
        ended = f"whether the trial ended so: {named}"
        self.variables = (
            variable(FRACTION, "float64", "share of Byzantine nodes in the trial", "1"),
            variable("event", "int32", ended, "1", **about),
        )
        if any(point.stake.weighted for point in study.points):
            asked = "share of stake that was to be Byzantine in the trial"
            came = next(v for v in STAKE_VARIABLES if v.name == REACHED)
            events = self.variables[-1]
            self.variables = (variable(FRACTION, "float64", asked, "1"), events, came)
        if len(levels) > 1:
            at = variable(
                CROSSED, "float64", "rate of the event at the threshold of the point", "1"
            )
            self.variables = (*self.variables, at)
        self.always = frozenset(v.name for v in self.variables)

    def _range(self, n: int) -> tuple[int, int]:
        """Fewest and most Byzantine nodes, or units of a weighted stake. n: of all."""
        return math.ceil(self.low * n - 1e-9), math.floor(self.high * n + 1e-9)

    def _ends(self, point: Point, engine: str) -> Iterator[Point]:
        """The point at the ends of the range, checked, and next to the lower one: a point without
        any Byzantine nodes may be compiled by itself."""
        reason = f"plain ({type(point.protocol).__name__} decides nothing)"
        require(point.protocol.decides, "estimator", "threshold", reason)
        low, high = self._range(point.size)
        each = "unit" if point.stake.weighted else "node"
        enough = f"enough above low, {self.low}, for another {each} of {point.size}"
        require(low < high, "estimator.high", self.high, enough)
        if not _at(point, high).some_byzantine:  # of a weighted stake
            some = f"above {point.most_without:.4g}, up to which no node is Byzantine"
            require(False, "estimator.high", self.high, some)
        for number, setting in ((low, "low"), (low + 1, "low"), (high, "high")):
            end = _at(point, number)
            with within(f"with estimator.{setting}"):
                end.check()
                if engine == "population":
                    engine_of(end, engine)
            yield end

    def one(self, number: int, trials: np.ndarray) -> dict[str, np.ndarray]:
        """Fractions and events [trials], and with weighted stake the shares that came about."""
        point, engine = self.study.points[number], self.study.engines[number]
        sought, done, reached = self.sought[number], 0, []

        def draw(nodes: np.ndarray) -> np.ndarray:
            """Events of the next trials; each is the trial of its number at its fraction."""
            nonlocal done
            order = np.argsort(nodes, kind="stable")
            counts, starts = np.unique(nodes[order], return_index=True)
            parts = np.split(done + order, starts[1:])
            done += len(nodes)
            work = [(_at(point, c), engine, part) for c, part in zip(counts, parts, strict=True)]
            values, back = self.engines.run(work), np.argsort(order)
            if REACHED in values:
                reached.append(values[REACHED][back])
            return outcomes.event(values, sought.event)[back]

        nodes, events = crossing.place(draw, *self._range(point.size), sought.level, len(trials))
        found = {FRACTION: nodes / point.size, "event": events.astype(np.int32)}
        found |= {REACHED: np.concatenate(reached)} if reached else {}
        found |= {CROSSED: np.full(len(trials), sought.level)}
        return {variable.name: found[variable.name] for variable in self.variables}


def _at(point: Point, nodes: int) -> Point:
    """The point with so many Byzantine nodes, or units of a weighted stake."""
    return point._replace(byzantine_fraction=int(nodes) / point.size)
