"""Estimates with intervals, vectorised over NumPy arrays, and when a study may stop.

Where the outcome of a trial is a number of rounds, NaN means that the trial was not run, and
infinity that it ended before the event happened (censored). Intervals are two-sided, 95 % unless
`level` says otherwise.

    rates                events, trials    [...], any shapes that broadcast
    means, quantiles     samples           [..., trials]  ->  [...]
    rare events          estimates         [..., replicas, scores]  ->  [...]
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from vecsim.errors import require
from vecsim.results.layout import Array


class Interval(NamedTuple):
    """What is estimated, and the ends of its interval: arrays, or numbers."""

    value: Any
    low: Any
    high: Any


def wilson(events: ArrayLike, trials: ArrayLike, level=0.95) -> tuple[Array, Array]:
    """Score interval for a rate, (low, high); it covers near the level on average over rates.

    Wilson 1927 (Journal of the American Statistical Association 22, 209-212).

    >>> low, high = wilson(3, 100)
    >>> print(f"{low:.4f} {high:.4f}")
    0.0103 0.0845
    """
    events, trials = np.broadcast_arrays(np.asarray(events, float), np.asarray(trials, float))
    z = special.ndtri((1 + level) / 2)
    n = np.maximum(trials, 1)
    rate, scale = events / n, 1 + z**2 / n
    centre = (rate + z**2 / (2 * n)) / scale
    half = z / scale * np.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    low = np.where(events == 0, 0.0, centre - half)
    high = np.where(events == trials, 1.0, centre + half)
    return low[()], high[()]


def clopper_pearson(events: ArrayLike, trials: ArrayLike, level=0.95) -> tuple[Array, Array]:
    """Exact interval for a rate, (low, high): it never covers less often than the level.

    Clopper and Pearson 1934 (Biometrika 26, 404-413).

    >>> low, high = clopper_pearson([0, 3], 100)
    >>> print(low.round(4), high.round(4))
    [0.     0.0062] [0.0362 0.0852]
    >>> tuple(map(float, clopper_pearson(0, 0)))
    (0.0, 1.0)
    """
    events, trials = np.broadcast_arrays(np.asarray(events, float), np.asarray(trials, float))
    tail, rest = (1 - level) / 2, trials - events
    # The beta distribution has no meaning at 0 events and at 0 others; there the ends are 0 and 1.
    low = special.betaincinv(np.maximum(events, 1), rest + 1, tail)
    high = special.betaincinv(events + 1, np.maximum(rest, 1), 1 - tail)
    return np.where(events == 0, 0.0, low)[()], np.where(rest == 0, 1.0, high)[()]


def rate_interval(
    events: ArrayLike, trials: ArrayLike, level=0.95, method=clopper_pearson
) -> Interval:
    """A rate with its interval by a method (`clopper_pearson`, `wilson`); NaN within (0, 1) without
    trials."""
    trials = np.asarray(trials, float)
    rate = np.asarray(events, float) / np.where(trials > 0, trials, np.nan)
    return Interval(rate, *method(events, trials, level))


class Precision(NamedTuple):
    """Go on with a point until the interval of a rate is narrow enough.

    target: name of the rate; half_width: half its interval, at most; trials per point: at least
    min_trials, at most max_trials.
    """

    target: str
    half_width: float
    min_trials: int
    max_trials: int


def stopping_level(level=0.95) -> float:
    """The level at which to compute an interval after stopping on its width, to cover at `level`.

    Stopping on the data makes intervals miss more often: an ordinary 95 % Clopper-Pearson interval
    covers 93.1 % at worst. With 0.6 of the allowed misses the worst case is above the level, for
    levels of 90 to 99 %, half widths of 0.01 to 0.1 and looks after every 1 to 1,000 trials, by
    exact computation (tests/test_estimate.py).
    """
    return 1 - 0.6 * (1 - level)


def enough(events: ArrayLike, trials: ArrayLike, precision: Precision, level=0.95) -> Array:
    """Whether a point may stop (bool). Ask after whole blocks of trials only.

    The width is that of the Clopper-Pearson interval at `stopping_level(level)`: report that one.
    """
    trials = np.asarray(trials)
    low, high = clopper_pearson(events, trials, stopping_level(level))
    narrow = (high - low) / 2 <= precision.half_width
    return (trials >= precision.max_trials) | ((trials >= precision.min_trials) & narrow)


def quantile_interval(samples: ArrayLike, q: float, level=0.95) -> Interval:
    """The q-quantile along the last axis, with an interval between two order statistics.

    The value is the smallest sample that at least a share q of the samples does not exceed;
    infinite where it lies among censored trials. The ends come from the binomial distribution of
    the number of samples below the quantile, so they hold for every distribution; with too few
    samples one is infinite. David and Nagaraja 2003, 7.1. ConfigError unless q is 0 to 1.
    """
    require(0 <= q <= 1, "q", q, "0 to 1")
    ordered = np.sort(np.asarray(samples, float), axis=-1)  # NaN goes last
    count = np.count_nonzero(~np.isnan(ordered), axis=-1)
    padding = np.full((*ordered.shape[:-1], 1), np.inf)
    ordered = np.concatenate([-padding, np.where(np.isnan(ordered), np.inf, ordered), padding], -1)
    ranks = np.empty((3, *count.shape), int)
    for n in np.unique(count):
        below = special.bdtr(np.arange(n), int(n), q)  # P(at most 0, 1 ... n - 1 samples below)
        low = np.searchsorted(below, (1 - level) / 2, "right")
        high = 1 + np.searchsorted(below, (1 + level) / 2)
        rank = max(int(np.ceil(q * n - 1e-9)), 1)  # without 1e-9, 0.07 * 100 counts as above 7
        ranks[:, count == n] = np.array([rank, low, high])[:, None]
    ranks[2] = np.where(ranks[2] > count, ordered.shape[-1] - 1, ranks[2])
    value, low, high = (np.take_along_axis(ordered, r[..., None], -1)[..., 0] for r in ranks)
    return Interval(np.where(count == 0, np.nan, value)[()], low, high)


class Mean(NamedTuple):
    """A mean, its standard error and interval."""

    value: Array
    error: Array
    low: Array
    high: Array


def mean_interval(samples: ArrayLike, level=0.95, limit: ArrayLike = np.inf) -> Mean:
    """The mean along the last axis with Student's t interval.

    Where trials are censored it is the restricted mean, of min(sample, limit): what happened later
    than `limit`, or not at all, counts as `limit`. Without a limit the mean of censored trials is
    infinite: they are never left out. Royston and Parmar 2013.
    """
    samples = np.asarray(samples, float)
    run = ~np.isnan(samples)
    values = np.minimum(samples, np.asarray(limit, float)[..., None])
    count = run.sum(-1)
    unbounded = np.isinf(values).any(-1)
    values = np.where(run & np.isfinite(values), values, 0.0)
    n = np.maximum(count, 1)
    mean = values.sum(-1) / n
    squares = np.where(run, (values - mean[..., None]) ** 2, 0.0).sum(-1)
    freedom = np.maximum(count - 1, 1)
    known = (count > 1) & ~unbounded
    error = np.where(known, np.sqrt(squares / freedom / n), np.inf)
    half = np.where(known, special.stdtrit(freedom, (1 + level) / 2) * error, np.inf)
    value = np.where(count == 0, np.nan, np.where(unbounded, np.inf, mean))
    return Mean(value[()], error[()], mean - half, mean + half)


DISAGREE = 0.01  # p-value below which two scores disagree: one study in a hundred by chance
LEAST_SHARE = 1e-3  # share of the mean that a replica counts for at least: 0 has no logarithm


class Rare(NamedTuple):
    """A rare event's probability from replicas by two scores, with its interval.

    error: standard error of the value. gap: p-value of the difference between the first two scores
    that have estimates, NaN where only one has.
    """

    value: Array
    error: Array
    low: Array
    high: Array
    gap: Array


def rare_interval(estimates: ArrayLike, level=0.95) -> Rare:
    """The mean of unbiased estimates [..., replicas, scores], each 0 or above.

    Replicas of small probabilities are skewed, about lognormal. The interval joins two of Student's
    t: of the replicas' mean on a logarithmic scale, and Cox's for the mean of a lognormal (Olsson
    2005), which knows what rare large replicas would add. With lognormal replicas whose deviation
    is equal to their mean, 95 % intervals cover in 93.5 % of studies or more; with a deviation of
    0.3 of it, in 94.5 % (tests/engines/test_splitting.py). Scores without estimates (NaN) are left
    out; without any, or with none above 0, there is no interval (NaN). Where two scores disagree
    (gap below DISAGREE) the larger estimate counts alone: a bad score errs low.
    """
    estimates = np.asarray(estimates, float)
    freedom = estimates.shape[-2] - 1
    gap = _gap(estimates)
    means = np.where(np.isnan(estimates), -1.0, estimates).mean(-2)
    largest = np.arange(means.shape[-1]) == means.argmax(-1)[..., None]
    there = ~np.isnan(estimates).all(axis=-2)
    counted = np.where((gap < DISAGREE)[..., None], largest, there)[..., None, :]
    count = counted.sum(-1)
    replicas = np.where(counted, estimates, 0).sum(-1) / np.maximum(count, 1)
    mean = replicas.mean(-1)
    error = np.sqrt(replicas.var(-1, ddof=1) / (freedom + 1))
    known = count[..., 0] > 0
    centre = np.where(mean > 0, mean, np.nan)
    logs = np.log(np.maximum(replicas / centre[..., None], LEAST_SHARE))
    spread = logs.var(-1, ddof=1)
    shift = logs.mean(-1) + spread / 2
    cox = np.sqrt(spread / (freedom + 1) + spread**2 / (2 * freedom))
    quantile = special.stdtrit(freedom, (1 + level) / 2)
    low = centre * np.exp(np.minimum(-quantile * error / centre, shift - quantile * cox))
    high = centre * np.exp(np.maximum(quantile * error / centre, shift + quantile * cox))
    high = np.minimum(high, 1.0)
    return Rare(np.where(known, mean, np.nan)[()], error[()], low[()], high[()], gap[()])


def _gap(estimates: Array) -> Array:
    """p-value of the difference between the first two scores that have estimates."""
    if estimates.shape[-1] < 2:
        return np.full(estimates.shape[:-2], np.nan)
    there = ~np.isnan(estimates).all(axis=-2, keepdims=True)
    pair = np.argsort(~there, axis=-1, kind="stable")[..., :2]
    between = np.diff(np.take_along_axis(estimates, pair, axis=-1))[..., 0]
    number = between.shape[-1]
    spread = np.sqrt(between.var(-1, ddof=1) / number)
    ratio = np.abs(between.mean(-1)) / np.where(spread > 0, spread, np.nan)
    return 2 * special.stdtr(number - 1, -ratio)


class Line(NamedTuple):
    """A fitted line with the interval of its slope, (low, high)."""

    slope: float
    slope_interval: tuple[float, float]
    intercept: float


class Power(NamedTuple):
    """y = factor * n ** exponent, with the interval of the exponent."""

    exponent: float
    low: float
    high: float
    factor: float


def fit_log(n: ArrayLike, means: ArrayLike, errors: ArrayLike, level=0.95) -> Line:
    """Fit means = intercept + slope * log2(n) by weighted least squares.

    `errors` are the standard errors of the means, above 0. Where the points scatter more than
    their errors allow, the intervals grow with the scatter (Student's t). ValueError unless there
    are two different n, finite values and errors above 0.
    """
    return _line(np.log2(np.asarray(n, float)), means, errors, level)


def fit_power(n: ArrayLike, y: ArrayLike, low: ArrayLike, high: ArrayLike, level=0.95) -> Power:
    """Fit y = factor * n ** exponent: a weighted line through logarithms.

    `low` and `high` are the ends of the intervals of y at `level`. ValueError unless n, y and the
    ends are above 0, and as for `fit_log`.
    """
    values = [np.asarray(each, float) for each in (n, y, low, high)]
    if not all((each > 0).all() for each in values):
        raise ValueError("a power law is fitted to values and interval ends above 0")
    n, y, low, high = map(np.log, values)
    line = _line(n, y, (high - low) / (2 * special.ndtri((1 + level) / 2)), level)
    return Power(line.slope, *line.slope_interval, float(np.exp(line.intercept)))


def _line(x: Array, y: ArrayLike, errors: ArrayLike, level: float) -> Line:
    y, errors = np.asarray(y, float), np.asarray(errors, float)
    if np.unique(x).size < 2 or not (np.isfinite([x, y, errors]).all() and (errors > 0).all()):
        raise ValueError("a fit needs two different n, finite values and errors above 0")
    weights = errors**-2
    centre = np.average(x, weights=weights)  # there slope and height are independent
    spread = (weights * (x - centre) ** 2).sum()
    slope = (weights * (x - centre) * y).sum() / spread
    height = np.average(y, weights=weights)
    freedom, tail = x.size - 2, (1 + level) / 2
    width = special.ndtri(tail)
    if freedom:
        scatter = (weights * (y - height - slope * (x - centre)) ** 2).sum() / freedom
        width = max(width, special.stdtrit(freedom, tail) * np.sqrt(scatter))
    half = width / np.sqrt(spread)
    ends = float(slope - half), float(slope + half)
    return Line(float(slope), ends, float(height - slope * centre))
