"""Criteria: what a scenario must show, as data, and how they are judged over trials.

A criterion holds only if the whole interval of what was measured is on the right side of the
threshold: an interval that straddles it is not a pass, nor is anything that was not measured.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from vecsim.errors import ConfigError, require
from vecsim.estimate import clopper_pearson, mean_interval
from vecsim.scenario.measure import STATISTICS, measure, of_variant

Array = np.ndarray[Any, Any]

COMPARISONS = (">=", "<=", ">", "<", "==", "covers")  # covers: the interval holds the threshold
TRENDS = ("not_rising", "not_falling")
OPPOSITE = {">=": "<", "<=": ">", ">": "<=", "<": ">=", "==": "!="}
RELATIVE = ("metric", "statistic", "period", "variant", "every_s", "times", "plus")
CLOSE = 1e-9  # relative: sums of floats that should be equal are


FIELDS: dict[str, tuple[str, str | None]] = {  # field -> metric and statistic
    "avg_tps": ("avg_tps", None),
    "peak_tps": ("peak_tps", None),
    "total_vertices": ("total_vertices", None),
    "latency_p50": ("latency_ms", "p50"),
    "latency_p95": ("latency_ms", "p95"),
    "latency_p99": ("latency_ms", "p99"),
    "avg_cpu_percent": ("cpu_percent", "mean"),
    "peak_cpu_percent": ("peak_cpu_percent", "max"),
    "avg_memory_mb": ("memory_mb", "mean"),
    "peak_memory_mb": ("peak_memory_mb", "max"),
    "avg_network_mbps": ("network_mbps", "mean"),
    "avg_rounds_to_finalize": ("rounds_to_finalise", "mean"),
    "confidence_at_finalization": ("confidence", "mean"),
    "byzantine_detected": ("byzantine_detected", None),
    "false_positives": ("false_positives", None),
}


class Criterion(NamedTuple):
    """metric, statistic, op and threshold, and of what part of the scenario.

    op: a comparison; `covers` (the interval holds the threshold); `reported` (a finite value was
    measured, or a name); `not_rising` and `not_falling` (from one variant of `over` to the next).
    threshold: a number, a name, or what else was measured: {metric, statistic, period, variant,
    every_s, times, plus}, compared trial by trial. period, variant, every_s, level: see
    `vecsim.scenario.measure`; without a variant it holds for each. interval: the level of the
    interval. expect: `holds`, or `fails` where the scenario is there to show that it does not.
    """

    metric: str
    op: str
    threshold: Any = None
    statistic: str | None = None
    period: tuple[float, float | None] | None = None
    variant: str | None = None
    every_s: float | None = None
    level: float | None = None
    over: tuple[str, ...] = ()
    interval: float = 0.95
    expect: str = "holds"

    @property
    def name(self) -> str:
        """In words: statistic, metric, period, variants."""
        parts = [self.metric.replace("_", " ")]
        if self.statistic:
            below = f" {self.level:g}" if self.level is not None else ""
            parts.append(self.statistic.replace("_s", " s").replace("_", " ").strip() + below)
        if self.every_s:
            parts.append(f"every {self.every_s:g} s")
        if self.period:
            start, end = self.period
            parts.append(f"{start:g} s on" if end is None else f"{start:g}-{end:g} s")
        where = self.variant or (f"{self.over[0]} to {self.over[-1]}" if self.over else "")
        return ", ".join(parts) + (f" [{where}]" if where else "")

    def metrics(self) -> list[str]:
        if isinstance(self.threshold, Mapping):
            return [self.metric, self.threshold["metric"]]
        return [self.metric]

    def variants(self) -> list[str]:
        named = self.threshold.get("variant") if isinstance(self.threshold, Mapping) else None
        return [name for name in (self.variant, named, *self.over) if name]


class Estimate(NamedTuple):
    """A value over trials with the ends of its interval."""

    value: float
    low: float
    high: float


class Verdict(NamedTuple):
    """What came of one criterion.

    threshold, measured: numbers, or names where the metric is one; a relative threshold is its
    mean over trials. low, high: ends of the interval of what was measured. passed: whether the
    criterion holds. as_expected: whether that, or its opposite, is what the scenario must show.
    """

    name: str
    op: str
    threshold: Any
    measured: Any
    low: float
    high: float
    passed: bool
    as_expected: bool


# What every run must show, whatever else is asked of it.
SAFETY = tuple(Criterion(name, "==", 0) for name in ("divergent", "lost", "doubled"))


def parse(section: Mapping[str, Any]) -> Criterion:
    """A criterion from its section of the configuration; ConfigError where it has no meaning."""
    given = dict(section)
    for key in given:
        if key not in Criterion._fields:
            allowed = ", ".join(Criterion._fields)
            raise ConfigError(f"criteria.{key} is no parameter; allowed: {allowed}")
    require(isinstance(given.get("metric"), str), "criteria.metric", given.get("metric"), "a name")
    op, threshold = given.get("op"), given.get("threshold")
    allowed = ", ".join((*COMPARISONS, "reported", *TRENDS))
    require(op in (*COMPARISONS, "reported", *TRENDS), "criteria.op", op, allowed)
    require((threshold is not None) == (op in COMPARISONS), "threshold", threshold, "with a value")
    require(bool(given.get("over")) == (op in TRENDS), "criteria.over", op, "with a trend only")
    if isinstance(threshold, Mapping):
        require("metric" in threshold, "criteria.threshold", dict(threshold), "with a metric")
        for key in threshold:
            require(key in RELATIVE, "criteria.threshold", key, ", ".join(RELATIVE))
    for part in (given, threshold if isinstance(threshold, Mapping) else {}):
        statistic = part.get("statistic")
        good = statistic is None or statistic in STATISTICS
        require(good, "criteria.statistic", statistic, ", ".join(STATISTICS))
    expect = given.get("expect", "holds")
    good = expect == "holds" or (expect == "fails" and op in OPPOSITE)
    require(good, "criteria.expect", expect, "holds, or fails with a comparison")
    if given.get("period"):
        given["period"] = tuple(given["period"])
    if given.get("over"):
        given["over"] = tuple(given["over"])
    return Criterion(**given)


def judge_all(criteria: Sequence[Criterion], dataset: xr.Dataset) -> list[Verdict]:
    """The verdicts, safety included where a run was simulated; one for each variant concerned."""
    safety = [c for c in SAFETY if c not in criteria] if "divergent" in dataset else []
    names = [str(name) for name in dataset["variant"].values] if "variant" in dataset.dims else []
    verdicts = []
    for criterion in (*criteria, *safety):
        every = names and not criterion.variant and not criterion.over
        for name in names if every else [criterion.variant]:
            verdicts.append(judge(criterion._replace(variant=name), dataset))
    return verdicts


def judge(criterion: Criterion, dataset: xr.Dataset) -> Verdict:
    """Measure a criterion in a dataset, of which it names the variant, and compare."""
    if criterion.over:
        return _trend(criterion, dataset)
    values = _measured(criterion, dataset)
    if values.dtype.kind in "US":
        return _named(criterion, values)
    threshold = criterion.threshold
    if isinstance(threshold, Mapping):
        other = _reference(threshold, criterion, dataset)
        found, difference = estimate(values), estimate(values - other, criterion.interval)
        mean = float(np.mean(other))
        around = Estimate(found.value, mean + difference.low, mean + difference.high)
        return _verdict(criterion, mean, around, difference, 0.0)
    pool = _pool(criterion, dataset) if criterion.statistic == "rate" else values
    found = estimate(pool, criterion.interval)
    return _verdict(criterion, threshold, found, found, threshold)


def metrics(dataset: xr.Dataset) -> dict[str, Array]:
    """The metrics record of a run without variants: fifteen figures, a value for each trial."""
    return {field: measure(dataset, *of) for field, of in FIELDS.items()}


def estimate(values: Array, level: float = 0.95) -> Estimate:
    """The mean with its interval: a point where all values agree, NaN where one is missing.

    Of shares of events (values of 0 and 1) the interval is Clopper and Pearson's, of all else
    Student's t.
    """
    values = np.asarray(values, float).ravel()
    if not values.size or not np.isfinite(values).all():
        return Estimate(math.nan, math.nan, math.nan)
    mean = float(values.mean())
    if np.ptp(values) <= CLOSE * max(1.0, abs(mean)):
        return Estimate(float(values[0]), float(values[0]), float(values[0]))
    if np.isin(values, (0, 1)).all():
        low, high = clopper_pearson(values.sum(), values.size, level)
    else:
        low, high = mean_interval(values, level)[2:4]
    return Estimate(mean, float(low), float(high))


def compare(found: Estimate, op: str, threshold: float) -> bool:
    """Whether the whole interval lies on the right side; `reported`: whether there is one."""
    _, low, high = found
    if not (math.isfinite(low) and math.isfinite(high)):
        return False
    if op == "reported":
        return True
    slack = CLOSE * max(1.0, abs(threshold))
    return {
        ">=": low >= threshold - slack,
        "<=": high <= threshold + slack,
        ">": low > threshold + slack,
        "<": high < threshold - slack,
        "==": low >= threshold - slack and high <= threshold + slack,
        "!=": low > threshold + slack or high < threshold - slack,
        "covers": low - slack <= threshold <= high + slack,
    }[op]


def _verdict(
    criterion: Criterion, threshold: Any, shown: Estimate, compared: Estimate, with_: float
) -> Verdict:
    """shown: the estimate to print; compared: the one that is compared `with_` a number."""
    passed = compare(compared, criterion.op, with_)
    good = passed
    if criterion.expect == "fails":  # a straddling interval shows neither
        good = compare(compared, OPPOSITE[criterion.op], with_)
    return Verdict(criterion.name, criterion.op, threshold, *shown, passed, good)


def _named(criterion: Criterion, values: Array) -> Verdict:
    """A metric that is a name: it must be the same in all trials."""
    found = sorted(set(values.tolist()))
    passed = criterion.op == "reported" or found == [criterion.threshold]
    fails = criterion.expect == "fails"
    good = passed if not fails else criterion.threshold not in found
    shown = ", ".join(found)
    nan = math.nan
    return Verdict(criterion.name, criterion.op, criterion.threshold, shown, nan, nan, passed, good)


def _trend(criterion: Criterion, dataset: xr.Dataset) -> Verdict:
    """Every step from one variant to the next must be on the right side of 0; the worst is shown.

    Trials are compared one by one: their keys are the same in all variants.
    """
    values = [_measured(criterion._replace(variant=name), dataset) for name in criterion.over]
    sign = 1 if criterion.op == "not_rising" else -1
    steps = [
        estimate(sign * (after - before), criterion.interval)
        for before, after in itertools.pairwise(values)
    ]
    worst = max(steps, key=lambda step: math.inf if math.isnan(step.high) else step.high)
    ends = sorted((sign * worst.low, sign * worst.high))
    shown = Estimate(sign * worst.value, *ends)
    return _verdict(criterion._replace(op="<="), 0, shown, worst, 0.0)._replace(op=criterion.op)


def _measured(criterion: Criterion, dataset: xr.Dataset) -> Array:
    names = ("statistic", "period", "every_s", "level")
    part: dict[str, Any] = {name: getattr(criterion, name) for name in names}
    return measure(dataset, criterion.metric, variant=criterion.variant, **part)


def _reference(threshold: Mapping[str, Any], criterion: Criterion, dataset: xr.Dataset) -> Array:
    """What a criterion compares with, one value for each trial; its own variant by default."""
    where: dict[str, Any] = {"variant": criterion.variant} | dict(threshold)
    times, plus = where.pop("times", 1.0), where.pop("plus", 0.0)
    return measure(dataset, **where) * times + plus


def _pool(criterion: Criterion, dataset: xr.Dataset) -> Array:
    """The single events of all trials; those of another variant are left out."""
    values = of_variant(dataset, criterion.variant)[criterion.metric].values.ravel()
    return values[np.isfinite(values)]
