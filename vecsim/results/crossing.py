"""Where a rate that rises with x crosses a level: the estimate, and which trials to spend on it.

Near the level the logit of the rate is taken as a straight line. Further than `reach` logits away
the curve is not looked at: there the rate counts as that at the edge. So the shape of the curve far
from the level does not influence where it crosses. Where a curve jumps from edge to edge between
two values of x, the data cannot tell crossings in between apart: the interval is the whole gap.

    counts     x, events, trials     [values of x]
    surface    log-likelihood        [crossings, slopes], refined in passes around its top
    profile    best slope of each    [crossings]
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from vecsim.results.estimate import stopping_level
from vecsim.results.layout import Array

# The reach starts at 3.6 logits and shrinks as trials grow, which keeps the error from the bend of
# a curve below the standard error; with a fixed reach the coverage would fall. Measured: a wider
# one misses complementary log-log curves at one half, with a narrower one the slope is hardly
# known. Trials go out to 0.8 of the reach.
REACH, INNER = 3.6, 0.8
FIRST, LATER = 8, 5  # values of x in the first stage, over the range, and in each that follows
_SHARE = 16  # the first stage takes one trial in 16: the others go where they tell more
PLAUSIBLE = 1.35  # log-likelihood below the best of crossings that get trials (a 90 % interval)
_Effort = tuple[int, int, int]  # passes; crossings and slopes that are looked at in each
FINE, COARSE = (6, 48, 32), (4, 24, 16)  # for results, and for placing trials, which is often done
_AT_ONCE = 2**21  # numbers in an array of likelihoods, 16 MB: larger ones are not quicker
SLACK = 4.0  # log-likelihood that a pass may miss because its grid is coarse
_LEAST = 5  # events, and others, expected of a group in the test of fit: Pearson's needs as many


class Crossing(NamedTuple):
    """The crossing and its interval, in units of x; infinite where it lies, or may lie, out of the
    range.

    slope: logits per unit of x at the crossing. fit: p-value of the misfit of a straight line, NaN
    where nothing is left to judge by.
    """

    value: float
    low: float
    high: float
    slope: float
    fit: float


class EventCounts(NamedTuple):
    """Trials, and events among them, at each x: float64, float64 and int64 [values of x]; x
    ascends."""

    x: Array
    events: Array
    trials: Array

    @classmethod
    def of(cls, x: ArrayLike, events: ArrayLike) -> "EventCounts":
        """From single trials, with their events (bool), in any order."""
        values, which = np.unique(np.asarray(x), return_inverse=True)
        events = np.bincount(which, np.asarray(events), len(values))
        return cls(values.astype(float), events, np.bincount(which, minlength=len(values)))

    def expected(self, level: float) -> float:
        """The information that all trials would hold at the level, trials x level x (1 - level); 1
        at least."""
        return max(float(self.trials.sum()) * level * (1 - level), 1.0)

    def reach(self, level: float) -> float:
        """Half the width, in logits, of the part of the curve that is looked at."""
        return REACH * self.expected(level) ** -0.25


def crossing(
    counts: EventCounts, level: float, low: float, high: float, confidence=0.95
) -> Crossing:
    """Estimate with a profile-likelihood interval.

    level: of the rate, between 0 and 1. low, high: the range of x that was searched.

    Trials are placed by what earlier ones gave, and events are few where the level is small: the
    interval is computed at `stopping_level`, with Student's t for as many events as are expected.
    """
    tail = (1 + stopping_level(confidence)) / 2
    cut = special.stdtrit(counts.expected(level), tail) ** 2 / 2
    return _estimate(counts, level, (low, high), cut, FINE)


def crossings(
    x: Array,
    happened: Array,
    run: Array,
    level: ArrayLike,
    low: float,
    high: float,
    confidence: float,
) -> dict[str, Array]:
    """`crossing` of every point, by its fields, float64 [...]; NaN where nothing was run.

    Where a crossing lies out of the range, slope and fit are NaN: only a tail of the curve was
    seen. x, happened (bool), run (bool): of single trials, [..., trials]. level: one, or [...].
    """
    levels = np.broadcast_to(np.asarray(level, float), run.shape[:-1])
    found = np.full((*run.shape[:-1], len(Crossing._fields)), np.nan)
    for place in np.ndindex(*run.shape[:-1]):
        if (there := run[place]).any():
            counts = EventCounts.of(x[place][there], happened[place][there])
            one = crossing(counts, float(levels[place]), low, high, confidence)
            found[place] = one if np.isfinite(one.value) else one._replace(slope=np.nan, fit=np.nan)
    return dict(zip(Crossing._fields, np.moveaxis(found, -1, 0), strict=True))


def _estimate(
    counts: EventCounts, level: float, limits: tuple[float, float], cut: float, effort: _Effort
) -> Crossing:
    """The interval is where the profile is at most `cut` below the best."""
    (low, high), (passes, *grid), x = limits, effort, counts.x
    width, span = counts.reach(level), high - low
    outside = np.linspace(0.05, 1, 6) * span
    at = np.sort(np.concatenate([x, x[:-1] + np.diff(x) / 2, low - outside, high + outside]))
    closest = np.diff(x).min() if len(x) > 1 else span
    slopes = np.linspace(np.log(0.05 / span), np.log(20 * width / closest), grid[1])
    surface = _surface(counts, at, np.exp(slopes), level)
    for number in range(1, passes):
        near = surface > surface.max() - cut - SLACK
        at = np.linspace(*_around(at, near.any(axis=1)), grid[0])
        if number > 2:  # with crossings far apart, the slopes that look best are too gentle
            slopes = np.linspace(*_around(slopes, near.any(axis=0)), grid[1])
        surface = _surface(counts, at, np.exp(slopes), level)
    profile = surface.max(axis=1) - surface.max()
    inside, best = np.flatnonzero(profile >= -cut), np.flatnonzero(profile >= -1e-9)
    left, right = (_end(at, profile + cut, inside[i], step) for i, step in ((0, -1), (-1, 1)))
    value = float(at[best[0]] + at[best[-1]]) / 2  # the middle, where nothing tells them apart
    slope = float(np.exp(slopes[surface.max(axis=0).argmax()]))
    fit = _fit(counts, value, slope, level)
    value = np.inf if value > high else -np.inf if value < low else value
    left = -np.inf if left < low else min(left, high)
    right = np.inf if right > high else max(right, low)
    return Crossing(value, left, right, slope, fit)


def _logits(counts: EventCounts, away: Array, level: float) -> Array:
    """away: logits from the level, were the line straight everywhere."""
    width = counts.reach(level)
    return special.logit(level) + np.clip(away, -width, width)


def _surface(counts: EventCounts, at: Array, slopes: Array, level: float) -> Array:
    """Log-likelihood [crossings, slopes]; some crossings at a time, so that memory is bounded."""
    step, found = max(1, _AT_ONCE // (len(slopes) * len(counts.x))), []
    for first in range(0, len(at), step):
        away = (counts.x - at[first : first + step, None, None]) * slopes[:, None]
        logits = _logits(counts, away, level)
        likely = counts.events * logits - counts.trials * np.log(1 + np.exp(logits))
        found.append(likely.sum(-1))
    return np.concatenate(found)


def _around(values: Array, wanted: Array) -> tuple[float, float]:
    """The ends of the wanted values, and one more on each side."""
    there = np.flatnonzero(wanted)
    return float(values[max(there[0] - 1, 0)]), float(values[min(there[-1] + 1, len(values) - 1)])


def _end(at: Array, profile: Array, last: int, step: int) -> float:
    """Where the profile falls below 0, next to the last value above."""
    beyond = last + step
    if not 0 <= beyond < len(at):
        return step * np.inf
    share = profile[last] / (profile[last] - profile[beyond])
    return float(at[last] + share * (at[beyond] - at[last]))


def _fit(counts: EventCounts, value: float, slope: float, level: float) -> float:
    """Pearson's test of the line, where it is looked at; neighbours that expect few go together."""
    away = slope * (counts.x - value)
    inside = np.abs(away) < counts.reach(level)
    rates = special.expit(_logits(counts, away, level))[inside]
    events, trials = counts.events[inside], counts.trials[inside]
    groups, group = [], np.zeros(3)
    for row in np.column_stack([events, trials * rates, trials]):
        group = group + row
        if min(group[1], group[2] - group[1]) >= _LEAST:
            groups.append(group)
            group = np.zeros(3)
    if len(groups) < 3:
        return np.nan
    groups[-1] = groups[-1] + group
    happened, expected, number = np.transpose(groups)
    misfit = ((happened - expected) ** 2 * number / expected / (number - expected)).sum()
    return float(special.chdtrc(len(groups) - 2, misfit))


def place(
    draw: Callable[[Array], Array], low: int, high: int, level: float, trials: int
) -> tuple[Array, Array]:
    """Spend trials where they tell most; returns x (int64) and event (bool) of each, [trials].

    Stages grow: the first is spread over the range, each later one over the crossings that are
    still plausible, and over 0.8 of the reach around the best.

    draw: gives the events (bool) of the next trials, at these whole x (int64) from low to high.
    """
    x, events = np.empty(0, np.int64), np.empty(0, bool)
    first = max(trials // _SHARE, 2 * FIRST)
    while len(x) < trials:
        size = min(max(first, len(x) // 2), trials - len(x))
        near = _near(EventCounts.of(x, events), low, high, level) if len(x) else (low, high)
        spots = np.unique(np.linspace(*near, LATER if len(x) else FIRST).round().astype(np.int64))
        chosen = spots[np.arange(size) * len(spots) // size]
        x, events = np.concatenate([x, chosen]), np.concatenate([events, draw(chosen)])
    return x, events


def _near(counts: EventCounts, low: int, high: int, level: float) -> tuple[float, float]:
    """The range of x, within low to high, on which the next stage's trials are spent."""
    found = _estimate(counts, level, (low, high), PLAUSIBLE, COARSE)
    value = np.clip(found.value, low, high)
    half = INNER * counts.reach(level) / found.slope
    left, right = min(found.low, value - half), max(found.high, value + half)
    return max(np.floor(left), low), min(np.ceil(right), high)
