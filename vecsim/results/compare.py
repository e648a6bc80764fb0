"""Two studies side by side: what is estimated of each, and the difference, with its interval."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy import special

from vecsim.results import estimate
from vecsim.results.estimate import Interval
from vecsim.results.kinds import kind_of
from vecsim.results.kinds.trials import TrialResults, level_of
from vecsim.results.layout import Array

# How the interval of a difference is computed, as its attribute `interval` says it.
_RATES = "Newcombe's hybrid of Clopper-Pearson ends"
PAIRED_RATES = "square-and-add of the Clopper-Pearson ends of the two kinds of unlike pairs"
MEANS, PAIRED_MEANS = "Welch's t", "Student's t of the differences"
RECOVERED = "variance estimates recovered from the two intervals"
_SHARED = ("seed", "points")  # keys of the configuration on which the random words depend

Pair = tuple[ArrayLike, ArrayLike]  # of a and of b


def rate_difference(events: Pair, trials: Pair, levels=(0.95, 0.95)) -> Interval:
    """Rate b minus rate a, of independent trials: [-1, 1]; NaN within (-1, 1) without trials.

    events, trials: of a and of b, numbers or arrays that broadcast. levels: of their intervals.
    Newcombe 1998 (Statistics in Medicine 17, 873-890, method 10): the distances of each rate to
    the ends of its own interval are squared and added. The ends are Clopper and Pearson's, not
    Wilson's as there: at 95 % coverage is 94.7 % or more with 20 trials or more of each, whatever
    the rates, and 93 % or more with 5 (exact, tests/test_compare.py).

    >>> found = rate_difference((8, 12), (20, 20))
    >>> print(f"{found.value:.2f} {found.low:.3f} {found.high:.3f}")
    0.20 -0.139 0.495
    """
    return _clipped(recovered(*map(estimate.rate_interval, events, trials, levels)))


def paired_rate_difference(
    only_a: ArrayLike, only_b: ArrayLike, pairs: ArrayLike, level: float = 0.95
) -> Interval:
    """Rate b minus rate a, of pairs of trials, [-1, 1].

    only_a, only_b: pairs in which the event happened in a alone, and in b alone; pairs: all pairs.
    The difference is that of the shares of the two kinds of unlike pairs, whose correlation is that
    of two cells of a multinomial. Distances to the ends of their Clopper-Pearson intervals are
    squared and added, with the correlation, as in `recovered`. At 95 % coverage is 94.6 % or more
    with 40 pairs or more, 92.7 % with 20 and 91 % with 10, worst where nearly all pairs are unlike
    (exact, tests/test_compare.py).

    >>> found = paired_rate_difference(0, 0, 100)
    >>> print(f"{found.value:.2f} {found.low:.3f} {found.high:.3f}")
    0.00 -0.036 0.036
    """
    a, b = (estimate.rate_interval(each, pairs, level) for each in (only_a, only_b))
    odds = [each.value / np.where(each.value < 1, 1 - each.value, np.nan) for each in (a, b)]
    return _clipped(recovered(a, b, np.nan_to_num(-np.sqrt(odds[0] * odds[1]))))


def _clipped(found: Interval) -> Interval:
    """The interval within [-1, 1], as a difference of rates is; all of it without trials."""
    return found._replace(low=np.maximum(found.low, -1.0), high=np.minimum(found.high, 1.0))


def mean_difference(a: estimate.Mean, b: estimate.Mean, trials, level: float = 0.95) -> Interval:
    """Mean b minus mean a, of independent trials. trials: how many each is of.

    Welch 1947 (Biometrika 34, 28-35): Student's t with as many degrees of freedom as the two
    standard errors leave. Where a mean or an error is not finite the interval is all numbers.
    """
    squares = [np.square(np.asarray(each.error, float)) for each in (a, b)]
    freedom = [np.maximum(np.asarray(number, float) - 1, 1) for number in trials]
    with np.errstate(invalid="ignore", divide="ignore"):
        total = squares[0] + squares[1]
        parts = [each / total for each in squares]
        left = 1 / (parts[0] ** 2 / freedom[0] + parts[1] ** 2 / freedom[1])
        half = special.stdtrit(np.nan_to_num(left, nan=1.0), (1 + level) / 2) * np.sqrt(total)
        value = np.asarray(b.value, float) - a.value
    known = np.isfinite(value) & np.isfinite(half)
    low, high = np.where(known, value - half, -np.inf), np.where(known, value + half, np.inf)
    return Interval(np.where(np.isfinite(value), value, np.nan)[()], low[()], high[()])


def recovered(a: Interval, b: Interval, correlation: ArrayLike = 0.0) -> Interval:
    """Value b minus value a, where each has an interval. correlation: of the two, -1 to 1.

    The method of variance estimates recovery: the distance of each end from its value tells the
    variance of the estimate there. Zou and Donner 2008 (Statistics in Medicine 27, 1693-1702).
    Where a value is not finite there is no difference, and the interval is all numbers.
    """
    twice = 2 * np.asarray(correlation)
    with np.errstate(invalid="ignore"):
        value = np.asarray(b.value, float) - np.asarray(a.value, float)
        down, up = (b.value - b.low, a.high - a.value), (b.high - b.value, a.value - a.low)
        below, above = (np.sqrt(np.maximum(x**2 + y**2 - twice * x * y, 0)) for x, y in (down, up))
    known = np.isfinite(value)
    low = np.where(known & ~np.isnan(below), value - below, -np.inf)
    high = np.where(known & ~np.isnan(above), value + above, np.inf)
    return Interval(np.where(known, value, np.nan)[()], low[()], high[()])


def ratio(a: Interval, b: Interval) -> Interval:
    """Value b over value a, both probabilities (arrays): `recovered` of their logarithms.

    Where one is 0 the ends are those of b over the opposite ones of a.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = recovered(*(Interval(*map(np.log, each)) for each in (a, b)))
        there = np.isfinite(logs.value)
        value, low, high = b.value / a.value, b.low / a.high, b.high / a.low
    low = np.where(there, np.exp(logs.low), np.where(np.isnan(low), 0.0, low))
    high = np.where(there, np.exp(logs.high), np.where(np.isnan(high), np.inf, high))
    return Interval(value, low, high)


def side_by_side(a: xr.Dataset, b: xr.Dataset, level: float = 0.95) -> xr.Dataset:
    """See `vecsim.compare`; ValueError, one line, where two studies cannot be compared."""
    kind, other = kind_of(a), kind_of(b)
    told = f"a is of kind {kind.name} and b of kind {other.name}"
    _require(kind is other, told, "two studies of one kind")
    told = f"studies of kind {kind.name} are not compared"
    _require(kind.name in _COMPARED, told, ", ".join(_COMPARED))
    _require(0 < level < 1, f"level is {level}", "between 0 and 1")
    dims, others = kind.swept(a), kind.swept(b)
    told = f"a is swept over {dims or 'nothing'} and b over {others or 'nothing'}"
    _require(dims == others, told, "the same, in the same order")
    for name in dims:
        mine, its = a[name].values.tolist(), b[name].values.tolist()
        _require(mine == its, f"{name} is {mine} in a and {its} in b", "the same values")
    paired = _same_words(a, b)
    table = _COMPARED[kind.name](a, b, level, paired)
    coords = {name: c for name, c in a.coords.items() if set(c.dims) <= {*dims}}
    same = {name: c for name, c in coords.items() if name in b.coords and c.equals(b[name])}
    about = {"level": level, "compared": "b with a", "paired": int(paired), "kind": kind.name}
    return table.assign_coords(same).assign_attrs(about)


def _require(good: bool, told: str, allowed: str) -> None:
    """ValueError, one line, unless it is good."""
    if not good:
        raise ValueError(f"{told}; allowed: {allowed}")


def _same_words(a: xr.Dataset, b: xr.Dataset) -> bool:
    """Whether trials of the same number have the same random words in both: their points have the
    same identities, and the seed is the same."""
    configs = [json.loads(each.attrs.get("config", "{}")) for each in (a, b)]
    mine, its = ([config.get(key) for key in _SHARED] for config in configs)
    here, there = (each.drop_vars("trial", errors="ignore").coords for each in (a, b))
    return None not in mine and mine == its and here.equals(there)


def _put(table: xr.Dataset, name: str, dims, found: Interval, values, units="1", **about) -> None:
    """Add a difference to the table, and the values of a and of b."""
    table[name] = (dims, np.asarray(found.value), {"units": units, **about})
    for part, column in zip(("low", "high", "a", "b"), (*found[1:], *values), strict=True):
        table[f"{name}_{part}"] = (dims, np.asarray(column), {"units": units})


def _trials(a: xr.Dataset, b: xr.Dataset, level: float, paired: bool) -> xr.Dataset:
    """Differences of rates and of means."""
    kind: Any = kind_of(a)
    table, dims = xr.Dataset(), kind.swept(a)
    levels = level_of(a, level), level_of(b, level)
    for name in [each for each in kind.rates(a) if each in kind.rates(b)]:
        found, values = _rates([_events(kind, each, name) for each in (a, b)], levels, paired)
        about = {"long_name": kind.rates(a)[name], "interval": PAIRED_RATES if paired else _RATES}
        _put(table, name, dims, found, values, **about)
    for name in [each for each in kind.means(a) if each in kind.means(b)]:
        samples = [kind.samples(each, name) for each in (a, b)]
        limit = np.minimum(*map(kind.limit, (a, b), samples))
        found, values = _means(samples, limit, max(levels), paired)
        own = a[name].attrs
        about = {"long_name": own.get("long_name", name), "units": own.get("units", "1")}
        _put(table, name, dims, found, values, **about, interval=PAIRED_MEANS if paired else MEANS)
    return table


def _events(kind: TrialResults, data: xr.Dataset, name: str) -> tuple[Array, Array]:
    """Which trials show it, and which count, [..., trials]."""
    happened, counted = (each.transpose(..., "trial").values for each in kind.event(data, name))
    return happened & counted, counted


def _rates(shown, levels, paired: bool) -> tuple[Interval, list[Array]]:
    """The difference of two rates over the swept dimensions, and the rates. shown: of a and of b,
    as `_events` gives them."""
    if paired:
        most = min(counted.shape[-1] for _, counted in shown)
        (in_a, of_a), (in_b, of_b) = ((x[..., :most], y[..., :most]) for x, y in shown)
        both = of_a & of_b
        shown = [(in_a & both, both), (in_b & both, both)]
    events, trials = ([each[i].sum(-1) for each in shown] for i in (0, 1))
    values = [e / np.where(t > 0, t, np.nan) for e, t in zip(events, trials, strict=True)]
    if not paired:
        return rate_difference(tuple(events), tuple(trials), levels), values
    only_a, only_b = (shown[i][0] & ~shown[1 - i][0] for i in (0, 1))
    return paired_rate_difference(only_a.sum(-1), only_b.sum(-1), trials[0], max(levels)), values


def _means(samples, limit: Array, level: float, paired: bool) -> tuple[Interval, list[Array]]:
    """The difference of two means over the swept dimensions, and the means. samples: of a and of b,
    [..., trials]; where one came later than `limit`, or not at all, `limit` counts."""
    if paired:
        most = min(each.shape[-1] for each in samples)
        samples = [np.minimum(each[..., :most], limit[..., None]) for each in samples]
        with np.errstate(invalid="ignore"):
            between = samples[1] - samples[0]
        run = ~(np.isnan(samples[0]) | np.isnan(samples[1]))
        found = estimate.mean_interval(between, level)
        values = [estimate.mean_interval(np.where(run, each, np.nan)).value for each in samples]
        return Interval(found.value, found.low, found.high), values
    means = [estimate.mean_interval(each, level, limit) for each in samples]
    trials = [(~np.isnan(each)).sum(-1) for each in samples]
    return mean_difference(means[0], means[1], trials, level), [each.value for each in means]


def _recovered(a, b, level, paired: bool, name: str, contrast: Callable, what: str) -> xr.Dataset:
    """What is compared by the two studies' own intervals, which must be independent."""
    told = "a and b share their random words (the same points and seed)"
    _require(not paired, told, "another seed in one of them")
    found: Any = [getattr(kind_of(each), name)(each, level) for each in (a, b)]
    for key in ("outcome", "crossed"):
        mine, its = (e[key].values.tolist() if key in e else e.attrs.get(key) for e in found)
        _require(mine == its, f"{key} is {mine} in a and {its} in b", "the same")
    both = [Interval(*(each[part].values for part in Interval._fields)) for each in found]
    about = {"long_name": f"{what} of the {name}", "interval": RECOVERED}
    table, values = xr.Dataset(), [each.value for each in both]
    _put(table, name, kind_of(a).swept(a), contrast(*both), values, **about)
    return table


# What is compared of two studies of a kind: (a, b, level, paired) -> table.
_COMPARED: dict[str, Callable[..., xr.Dataset]] = {
    "decisions": _trials,
    "campaigns": _trials,
    "splitting": partial(_recovered, name="probability", contrast=ratio, what="ratio"),
    "threshold": partial(_recovered, name="threshold", contrast=recovered, what="difference"),
}
