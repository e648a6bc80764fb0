"""Studies of the defended cluster: at each point a campaign, and what is measured on it."""

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from vecsim.cluster import campaign, checkpoint, simulate
from vecsim.errors import mapping, number, require
from vecsim.results.layout import Variable
from vecsim.results.measures import checks, compare, measure, probed, variables
from vecsim.studies.planned import Planned
from vecsim.studies.sweep import Study
from vecsim.studies.work import Work

LONGEST_SERIES = 10_000  # stretches: every trial stores a number of each outcome for each
_EVENTS = compare.COMPARISONS[:-1]  # that make an event of a number; the last needs an interval
UNBOUNDED = ("reached_s",)  # statistics that may be infinite: a time until what may never happen


class Measured(NamedTuple):
    """What is measured on a campaign, a number for each trial; in an event, 1 or 0.

    metric, statistic, period, every_s, level: see `vecsim.results.measures.measure`. op, threshold:
    with these the outcome is the event that the number compares so: an infinite one is above every
    threshold, one that is missing does not compare.
    """

    metric: str
    statistic: str | None = None
    period: tuple[float, float | None] | None = None
    every_s: float | None = None
    level: float | None = None
    op: str | None = None
    threshold: float | None = None
    long_name: str = ""
    units: str = ""

    @classmethod
    def parse(cls, name: str, section: Any) -> "Measured":
        """An outcome from its section; ConfigError where it has no meaning."""
        where = f"campaign.outcomes.{name}"
        checks.name("a name in campaign.outcomes", name)
        pairs = mapping(where, section, cls._fields).items()
        given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in pairs}
        checks.check_measured(where, given)
        good = given["metric"] not in (*probed.METRICS, *checks.NAMED, *checks.SINGLE)
        require(good, f"{where}.metric", given["metric"], "a number of the cluster's record")
        op, threshold = checks.word(f"{where}.op", given.get("op"), _EVENTS), given.get("threshold")
        allowed = "a number with op, and only then"
        require((op is None) == (threshold is None), f"{where}.threshold", threshold, allowed)
        if threshold is not None:
            number(f"{where}.threshold", threshold, "with op, and only then")
        for key in ("long_name", "units"):
            text = given.get(key, "")
            require(isinstance(text, str), f"{where}.{key}", text, "text")
        return cls(**given)

    def measure(self, data: xr.Dataset) -> np.ndarray:
        """float64 [trials], NaN where there was nothing to measure; of an event 1 or 0."""
        metric, statistic, period, every_s, level, op, threshold, *_ = self
        found = measure.measure(data, metric, statistic, period, None, every_s, level)
        values = np.asarray(found, float)
        if op is None or threshold is None:
            return values
        values = np.minimum(values, np.finfo(float).max)  # to be compared it must be finite
        held = [compare.compares(compare.Estimate(v, v, v), op, float(threshold)) for v in values]
        return np.asarray(held, float)

    def require_seen(self, name: str, end_s: float) -> None:
        """ConfigError where a run of `end_s` seconds is too short to tell whether it happens."""
        if self.op is not None and self.statistic in UNBOUNDED:
            start, end = self.period or (0, None)
            longest = min(end_s if end is None else end, end_s) - start
            good = self.threshold is not None and self.threshold <= longest
            where = f"campaign.outcomes.{name}.threshold"
            require(good, where, self.threshold, f"at most {longest:g} s, which the run lasts")

    def variable(self, name: str, inner: tuple[str, ...] = ()) -> Variable:
        """How the outcome is stored. inner: dimensions that each trial has."""
        meaning, unit = variables.VARIABLES.get(self.metric, (self.metric.replace("_", " "), ""))
        about = {"long_name": self.long_name or meaning, "units": self.units or unit}
        if self.op is not None:
            about |= {"event": 1, "units": "1"}
        elif self.statistic in UNBOUNDED:
            about["censored"] = "infinite: not within the run"
        return Variable(name, "float64", about, inner)


class Campaigns(Work):
    """The work of a study whose trials are campaigns of the cluster.

    folder: where a campaign that takes long is saved as it goes, None for nowhere. outcomes: by
    name, of each point. series: outcomes of every stretch of `every_s` seconds, by name. roster: an
    adversary of each class that occurs. ConfigError where what is measured has no meaning, or
    series are too long.
    """

    def __init__(self, study: Study, folder: Path | None):
        super().__init__(study)
        self.folder = folder
        # Points may differ in them: whatever is wrong is told before a store is made.
        self.outcomes = [_outcomes(point.section, "outcomes") for point in study.points]
        self.series, self.every_s, self.inner = {}, 0.0, {}
        if study.points[0].section.get("series") is not None:
            self._series(study.points[0])
        parts = [(self.outcomes[0], ()), (self.series, tuple(self.inner))]
        self.variables = tuple(o.variable(n, dims) for of, dims in parts for n, o in of.items())
        for point, outcomes in zip(study.points, self.outcomes, strict=True):
            campaign.check_run(point.run)
            for name, outcome in outcomes.items():
                outcome.require_seen(name, point.run.duration_s + point.run.drain_s)
        members = {type(p.run.cluster.adversary): p.run.cluster.adversary for p in study.points}
        self.roster = tuple(members.values())

    def _series(self, point: Planned) -> None:
        section = point.section["series"]
        every: Any = mapping("campaign.series", section, ("every_s", "of")).get("every_s")
        where = "campaign.series.every_s"
        number(where, every, "above 0, in seconds", lambda v: v > 0)
        count = math.ceil(point.run.duration_s / every)
        require(count <= LONGEST_SERIES, where, every, f"at most {LONGEST_SERIES} stretches")
        lengths = {each.run.duration_s for each in self.study.points}
        require(len(lengths) == 1, "campaign.series", sorted(lengths), "with one duration_s only")
        self.series, self.every_s = _outcomes(section, "of"), float(every)
        self.inner = {"time_s": [i * self.every_s for i in range(count)]}

    def one(self, number: int, trials: np.ndarray) -> dict[str, np.ndarray]:
        """Outcomes [trials] and series [trials, time_s], float64, of one point."""
        point = self.study.points[number]
        first, stop = int(trials[0]), int(trials[-1]) + 1
        run = point.run._replace(trials=stop - first, first_trial=first)
        saved = self.folder / _partial(point) if self.folder else None
        data = simulate(run, saved, self.roster, short=False)
        data = data.isel(trial=trials - first)
        values = {name: outcome.measure(data) for name, outcome in self.outcomes[number].items()}
        rows = {name: [] for name in self.series}
        for start in self.inner.get("time_s", ()):
            part = measure.cut(data, (start, start + self.every_s))
            for name, outcome in self.series.items():
                rows[name].append(outcome.measure(part))
        return values | {name: np.stack(parts, axis=1) for name, parts in rows.items()}

    def written(self, numbers: list[int]) -> None:
        """What was saved of the campaigns as they went is not needed any more."""
        if self.folder is None or not self.folder.is_dir():
            return
        for each in numbers:
            checkpoint.remove_checkpoint(self.folder / _partial(self.study.points[each]))
        with contextlib.suppress(OSError):  # others are still to be done
            self.folder.rmdir()


def _partial(point: Planned) -> str:
    """The folder in which a point's campaigns are saved as they go."""
    return f"{point.hash():016x}"


def _outcomes(section: Mapping[str, Any], key: str) -> dict[str, Measured]:
    listed: Any = section.get(key)
    good = isinstance(listed, dict) and len(listed) > 0
    require(good, f"campaign.{key}", listed, "names and what is measured")
    return {name: Measured.parse(name, given) for name, given in listed.items()}
