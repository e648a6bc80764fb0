"""Judging: whether what was measured over trials is what the criteria of a scenario ask for.

A criterion holds only if the whole interval of what was measured is on the right side of the
threshold: an interval that straddles it is not a pass, nor is anything that was not measured.

Criteria on what is counted, or happens or not, are of two sorts. That it happens in no run or in
every one (`== 0`, `== 1`) is judged on the runs there are, since no number of runs could show more;
the interval beside it says how often it may happen all the same. With none in 8 runs it ends at
0.37. Every other criterion on a share must hold for its whole Clopper-Pearson interval.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from vecsim.results.layout import Array
from vecsim.results.measures.compare import OPPOSITE, Estimate, compares, estimate, share
from vecsim.results.measures.measure import measure, of_variant
from vecsim.results.measures.per_window import MUST_NOT_HAPPEN
from vecsim.results.measures.variables import COUNTS
from vecsim.scenario.criteria import SAFETY, Criterion

FLAGS = ("healthy", "guard")  # 1 or 0 in each window
_ENDS = ("first", "last", "min", "max")  # statistics that are one of the values
_EVENTS = (  # counted in a run: where the count is 0, a share of runs says how sure that is
    *COUNTS,
    *MUST_NOT_HAPPEN,
    *("divergent", "crashes", "deadlocks", "anomalies", "consensus_failures"),
    *("excluded_byzantine", "excluded_honest", "refused", "detected", "byzantine_detected"),
    *("false_positives", "waiting", "in_flight"),
)
TOTALS = (None, "sum", "max", "last")  # statistics of an event that are 0 if it never happened


class Verdict(NamedTuple):
    """What came of one criterion.

    threshold, measured: numbers, or names where the metric is one; a relative threshold is its
    mean over trials. low, high: ends of an interval, level: its level, of: what it is of, "mean of
    8 runs". passed: whether the criterion holds. as_expected: whether that, or its opposite, is
    what the scenario must show.
    """

    name: str
    op: str
    threshold: Any
    measured: Any
    low: float
    high: float
    level: float
    of: str
    passed: bool
    as_expected: bool


class _Found(NamedTuple):
    """What is shown of a measurement, what its interval is of, and what is compared."""

    shown: Estimate
    of: str
    compared: Estimate
    with_: float  # the number to compare with


def judge_all(criteria: Sequence[Criterion], dataset: xr.Dataset) -> list[Verdict]:
    """The verdicts in the order of the criteria, one for each variant concerned; safety comes last,
    where a run was simulated."""
    safety = [c for c in SAFETY if c not in criteria] if "divergent" in dataset else []
    names = [str(name) for name in dataset["variant"].values] if "variant" in dataset.dims else []
    verdicts = []
    for criterion in (*criteria, *safety):
        every = names and not criterion.variant and not criterion.over
        for name in names if every else [criterion.variant]:
            verdicts.append(judge(criterion._replace(variant=name), dataset))
    return verdicts


def judge(criterion: Criterion, dataset: xr.Dataset) -> Verdict:
    """Measure one criterion in a dataset, and compare; where the dataset has several variants the
    criterion names one."""
    if criterion.over:
        return _trend(criterion, dataset)
    values = _measured(criterion, dataset)
    if values.dtype.kind in "US":
        return _named(criterion, values)
    threshold = criterion.threshold
    if isinstance(threshold, Mapping):
        where: dict[str, Any] = {"variant": criterion.variant} | dict(threshold)
        times, plus = where.pop("times", 1.0), where.pop("plus", 0.0)
        other = measure(dataset, **where) * times + plus  # one value for each trial
        difference = estimate(values - other, criterion.interval)
        shown = difference._replace(value=estimate(values).value)
        found = _Found(shown, f"difference, {_runs(values)}", difference, 0.0)
        return _verdict(criterion, float(np.mean(other)), found)
    return _verdict(criterion, threshold, _found(criterion, values, dataset))


def _found(criterion: Criterion, values: Array, dataset: xr.Dataset) -> _Found:
    """What is measured without comparison: a mean, a share, or a count of which there was none."""
    level, threshold = criterion.interval, criterion.threshold
    with_ = 0.0 if threshold is None else threshold
    rate = criterion.statistic == "rate"
    if rate or (criterion.metric in FLAGS and criterion.statistic in _ENDS):
        of = f"share of {_runs(values)}"
        if rate:  # of the single events of all trials
            values = of_variant(dataset, criterion.variant)[criterion.metric].values.ravel()
            values = values[np.isfinite(values)]  # others are padding, or no event
            of = f"share of {values.size:,} draws"
        found = share(values, level)
        return _Found(found, of, found, with_)
    found = estimate(values, level)
    if criterion.metric in _EVENTS and criterion.statistic in TOTALS and found == (0, 0, 0):
        return _Found(share(values, level), f"share of {_runs(values)} with any", found, with_)
    mixed = found.low < found.high and np.isin(values, (0, 1)).all()
    return _Found(found, f"{'share' if mixed else 'mean'} of {_runs(values)}", found, with_)


def _verdict(criterion: Criterion, threshold: Any, found: _Found) -> Verdict:
    """The verdict on a number. threshold: as it is shown; what is compared is in `found`."""
    op, compared = criterion.op, found.compared
    # That something happens always, or never, is judged on the runs there are.
    observed = op == "==" and found.with_ in (0, 1) and found.of.startswith("share")
    judged = Estimate(*[compared.value] * 3) if observed else compared
    passed = good = compares(judged, op, found.with_)
    if criterion.expect == "fails":  # a straddling interval shows neither
        good = compares(compared, OPPOSITE[op], found.with_)
    value, low, high = found.shown
    level, of = criterion.interval, found.of
    return Verdict(criterion.name, op, threshold, value, low, high, level, of, passed, good)


def _named(criterion: Criterion, values: Array) -> Verdict:
    """A metric that is a name: it must be the same in all trials."""
    found = sorted(set(values.tolist()))
    passed = criterion.op == "reported" or found == [criterion.threshold]
    good = passed if criterion.expect != "fails" else criterion.threshold not in found
    about = (", ".join(found), math.nan, math.nan, criterion.interval, "")
    return Verdict(criterion.name, criterion.op, criterion.threshold, *about, passed, good)


def _trend(criterion: Criterion, dataset: xr.Dataset) -> Verdict:
    """Every step from one variant to the next must be on the right side of 0; the worst is shown.

    Trials are compared one by one, by their numbers.
    """
    values = [_measured(criterion._replace(variant=name), dataset) for name in criterion.over]
    sign = 1 if criterion.op == "not_rising" else -1
    pairs = itertools.pairwise(values)
    steps = [estimate(sign * (after - before), criterion.interval) for before, after in pairs]
    worst = max(steps, key=lambda step: math.inf if math.isnan(step.high) else step.high)
    ends = sorted((sign * worst.low, sign * worst.high))
    found = _Found(Estimate(sign * worst.value, *ends), f"step, {_runs(values[0])}", worst, 0.0)
    return _verdict(criterion._replace(op="<="), 0, found)._replace(op=criterion.op)


def _measured(criterion: Criterion, dataset: xr.Dataset) -> Array:
    """What a criterion measures, one value for each trial."""
    names = ("metric", "statistic", "period", "variant", "every_s", "level")
    return measure(dataset, *(getattr(criterion, name) for name in names))


def _runs(values: Array) -> str:
    return f"{len(values)} runs" if len(values) != 1 else "1 run"
