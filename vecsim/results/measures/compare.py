"""What was measured over trials, with its interval, and how it compares with a threshold."""

import math
from functools import partial

import numpy as np

from vecsim.results.estimate import Interval as Estimate
from vecsim.results.estimate import mean_interval, rate_interval
from vecsim.results.layout import Array

COMPARISONS = (">=", "<=", ">", "<", "==", "covers")  # covers: the interval holds the threshold
# What must hold where a criterion is to fail: the other side of the threshold, as a whole.
OPPOSITE = {">=": "<", "<=": ">", ">": "<=", "<": ">=", "==": "!="}
_CLOSE = 1e-9  # relative difference below which numbers are equal: sums of floats are rounded
LEVEL = 0.95  # of intervals, where a criterion names no other
NOTHING = Estimate(math.nan, math.nan, math.nan)  # of what was not measured


def estimate(values: Array, level: float = LEVEL, events: bool = False) -> Estimate:
    """The mean with its interval: a point where all values agree, NaN where one is missing.

    values: numbers of any shape, one for each trial or event. events: whether each is 0 or 1.

    Where some values are 0 and all others 1, and of `events` always, it is a share of events, with
    the interval of Clopper and Pearson; of all else the interval is Student's t.
    """
    values = np.asarray(values, float).ravel()
    if not values.size or not np.isfinite(values).all():
        return NOTHING
    mean = float(values.mean())
    if not events and np.ptp(values) <= _CLOSE * max(1.0, abs(mean)):
        return Estimate(float(values[0]), float(values[0]), float(values[0]))
    if events or np.isin(values, (0, 1)).all():
        return Estimate(*map(float, rate_interval(values.sum(), values.size, level)))
    low, high = mean_interval(values, level)[2:4]
    return Estimate(mean, float(low), float(high))


share = partial(estimate, events=True)  # of events, each 0 or 1


def compares(found: Estimate, op: str, threshold: float) -> bool:
    """Whether the whole interval lies on the right side of the threshold.

    op: one of `COMPARISONS`, the opposite of one, or `reported`: whether there is an interval. It
    never holds where an end is not finite. KeyError for any other word.
    """
    _, low, high = found
    if not (math.isfinite(low) and math.isfinite(high)):
        return False
    if op == "reported":
        return True
    slack = _CLOSE * max(1.0, abs(threshold))
    least, most = low >= threshold - slack, high <= threshold + slack
    above, below = low > threshold + slack, high < threshold - slack
    holds = {">=": least, "<=": most, ">": above, "<": below, "==": least and most}
    holds |= {"!=": above or below, "covers": low - slack <= threshold <= high + slack}
    return holds[op]
