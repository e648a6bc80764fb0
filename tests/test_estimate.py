"""Intervals cover, censored trials are never dropped, stopping on the data keeps the coverage."""

import json

import numpy as np
import pytest
import xarray as xr
from helpers import assert_mean
from scipy import stats

from vecsim.results import accessor as _accessor  # noqa: F401
from vecsim.results import outcomes
from vecsim.results.estimate import (
    Precision,
    clopper_pearson,
    enough,
    fit_log,
    fit_power,
    mean_interval,
    quantile_interval,
    stopping_level,
    wilson,
)

RATES = np.concatenate([np.geomspace(1e-4, 0.05, 60), np.linspace(0.05, 0.5, 46)])


@pytest.mark.parametrize("method", ["exact", "wilson"])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.999])
def test_rate_intervals_agree_with_scipy(method: str, level: float):
    for trials in (1, 2, 7, 50, 1000):
        events = np.unique(np.linspace(0, trials, 8).astype(int))
        ours = (clopper_pearson if method == "exact" else wilson)(events, trials, level)
        for number, count in enumerate(events):
            theirs = stats.binomtest(int(count), trials).proportion_ci(level, method)
            np.testing.assert_allclose([end[number] for end in ours], theirs, atol=1e-12)


def test_rate_intervals_at_the_ends():
    for interval in (clopper_pearson, wilson):
        low, high = interval([[0, 5], [0, 10]], [[0, 5], [10, 10]])
        assert low.shape == (2, 2)
        assert low[1, 0] == low[0, 0] == 0
        assert high[0, 1] == high[1, 1] == 1
        assert (low <= high).all()
    assert clopper_pearson(0, 0) == (0, 1)
    low, high = clopper_pearson(0, 10**6)
    assert high == pytest.approx(-np.log(0.025) / 1e6, rel=1e-3)


def fixed_coverage(interval, trials: int, rates: np.ndarray) -> np.ndarray:
    events = np.arange(trials + 1)
    low, high = interval(events, trials)
    covered = (low[:, None] <= rates) & (rates <= high[:, None])
    return (stats.binom.pmf(events[:, None], trials, rates) * covered).sum(0)


@pytest.mark.parametrize("trials", [10, 100, 1000])
def test_exact_coverage_of_rate_intervals(trials: int):
    ends = np.concatenate(clopper_pearson(np.arange(trials + 1), trials))
    worst = np.concatenate([ends - 1e-9, ends + 1e-9])  # coverage jumps at interval ends
    rates = np.concatenate([RATES, worst[(worst > 0) & (worst < 1)]])
    assert fixed_coverage(clopper_pearson, trials, rates).min() >= 0.95
    middle = fixed_coverage(wilson, trials, np.linspace(0.1, 0.9, 801))
    assert abs(middle.mean() - 0.95) < 0.01  # on average only: to 1 %, from 10 trials on


def stopped_coverage(
    block: int, precision: Precision, rates: np.ndarray, level: float, reported: float
) -> np.ndarray:
    """P(the interval at `reported`, after stopping by `enough`, holds the rate), exactly.

    State: events so far of those that go on, by (rate, events); one binomial block at a time.
    """
    rates = rates[:, None]
    step = stats.binom.pmf(np.arange(block + 1), block, rates)
    going, covered = np.ones((rates.size, 1)), np.zeros(rates.size)
    trials = 0
    while trials < precision.max_trials:
        trials += block
        size = 2 ** int(np.ceil(np.log2(trials + 1)))
        product = np.fft.rfft(going, size) * np.fft.rfft(step, size)
        new = np.fft.irfft(product, size)[:, : trials + 1]
        events = np.arange(trials + 1)
        stops = enough(events, trials, precision, level)
        low, high = clopper_pearson(events, trials, reported)
        covered += (new * (stops & (low <= rates) & (rates <= high))).sum(1)
        going = new * ~stops
    return covered


@pytest.mark.parametrize("half_width", [0.01, 0.02, 0.05])
@pytest.mark.parametrize(("block", "most"), [(250, 1000), (64, 1024), (8, 600)])
def test_exact_coverage_after_stopping(block: int, most: int, half_width: float):
    precision = Precision("finalised", half_width, block, most)
    ends = np.concatenate(clopper_pearson(np.arange(block + 1), block, stopping_level()))
    rates = np.unique(np.concatenate([RATES, ends[(ends > 1e-4) & (ends < 0.5)] + 1e-9]))
    coverage = stopped_coverage(block, precision, rates, 0.95, stopping_level(0.95))
    assert coverage.min() >= 0.95


def test_ordinary_intervals_miss_too_often_after_stopping():
    """Why there is a `stopping_level`: the same rule with ordinary 95 % intervals."""
    ordinary = 1 - 0.05 / 0.6  # so that the level within `enough` is 95 %
    precision = Precision("finalised", 0.01, 64, 1024)
    coverage = stopped_coverage(64, precision, np.linspace(0.015, 0.025, 101), ordinary, 0.95)
    assert stopping_level(ordinary) == pytest.approx(0.95)
    assert 0.93 < coverage.min() < 0.933


@pytest.mark.parametrize("level", [0.9, 0.99])
def test_exact_coverage_after_stopping_at_other_levels(level: float):
    precision = Precision("finalised", 0.02, 64, 1024)
    coverage = stopped_coverage(64, precision, RATES, level, stopping_level(level))
    assert coverage.min() >= level


def test_enough():
    precision = Precision("stalled", 0.02, 200, 1000)
    events, trials = [0, 0, 50, 50, 500], [100, 200, 100, 1000, 999]
    assert enough(events, trials, precision).tolist() == [False, True, False, True, False]


def coverage_error(share: float, studies: int) -> float:
    return 5 * np.sqrt(share * (1 - share) / studies)


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("count", [5, 40, 200])
def test_exact_coverage_of_quantile_intervals(q: float, count: int):
    """The ends are order statistics, so P(low <= quantile <= high) is a sum of binomials."""
    result = quantile_interval(np.arange(1, count + 1), q)
    low = int(max(result.low, 0))
    high = int(min(result.high, count + 1))
    below = stats.binom(count, q)
    assert below.cdf(high - 1) - below.cdf(low - 1) >= 0.95
    if low > 0:
        assert below.cdf(low) > 0.025  # the next one inwards would miss too often
    if high <= count:
        assert below.sf(high - 2) > 0.025
    assert result.value == np.quantile(np.arange(1, count + 1), q, method="inverted_cdf")


def test_quantile_intervals_of_censored_trials():
    """Exponential times cut off at 0.6 (the median is 0.69): a censored median is infinite."""
    studies, count = 2000, 60
    times = np.random.default_rng(1).exponential(size=(studies, count))
    cut = quantile_interval(np.where(times > 0.6, np.inf, times), 0.5)
    whole = quantile_interval(times, 0.5)
    np.testing.assert_array_equal(cut.low, np.where(whole.low > 0.6, np.inf, whole.low))
    np.testing.assert_array_equal(cut.value, np.where(whole.value > 0.6, np.inf, whole.value))
    np.testing.assert_array_equal(cut.high, np.where(whole.high > 0.6, np.inf, whole.high))
    covered = np.mean((whole.low <= np.log(2)) & (np.log(2) <= whole.high))
    ranks = quantile_interval(np.arange(1, count + 1), 0.5)
    below = stats.binom(count, 0.5)
    exact = below.cdf(ranks.high - 1) - below.cdf(ranks.low - 1)
    assert abs(covered - exact) < coverage_error(exact, studies)


def test_quantiles_of_points_with_different_numbers_of_trials():
    samples = np.full((4, 100), np.nan)
    samples[0] = np.arange(100, 0, -1)
    samples[1, 30:60] = np.arange(30)
    samples[2, ::50] = [3, np.inf]
    result = quantile_interval(samples, 0.5)
    np.testing.assert_array_equal(result.value, [50, 14, 3, np.nan])
    np.testing.assert_array_equal(result.low, [40, 9, -np.inf, -np.inf])
    np.testing.assert_array_equal(result.high, [61, 20, np.inf, np.inf])
    assert quantile_interval(np.arange(1, 101), 0.07).value == 7
    assert quantile_interval([1.0, np.inf, np.inf], 0.5).value == np.inf


def test_coverage_of_mean_intervals():
    studies, count = 4000, 8
    result = mean_interval(np.random.default_rng(2).normal(3, 2, (studies, count)))
    covered = np.mean((result.low <= 3) & (result.high >= 3))
    assert abs(covered - 0.95) < coverage_error(0.95, studies)  # exactly 95 % of normal samples
    assert abs(result.value.mean() - 3) < 5 * 2 / np.sqrt(studies * count)


def test_restricted_means():
    """E min(T, L) of exponential times is 1 - exp(-L), whatever is censored at L."""
    studies, count, limit = 2000, 400, 0.8
    times = np.random.default_rng(3).exponential(size=(studies, count))
    result = mean_interval(np.where(times > limit, np.inf, times), limit=limit)
    truth = 1 - np.exp(-limit)
    variance = 2 * (1 - np.exp(-limit) * (1 + limit)) - truth**2
    assert abs(result.value.mean() - truth) < 5 * np.sqrt(variance / studies / count)
    assert_mean(result.error**2, variance / count)
    covered = np.mean((result.low <= truth) & (truth <= result.high))
    assert abs(covered - 0.95) < coverage_error(0.95, studies)


def test_means_with_few_or_censored_trials():
    nan, inf = np.nan, np.inf
    samples = [[1, 3, nan, nan], [2, inf, nan, nan], [5, nan, nan, nan], [nan] * 4]
    result = mean_interval(samples)
    np.testing.assert_array_equal(result.value, [2, inf, 5, nan])
    np.testing.assert_array_equal(result.error, [1, inf, inf, inf])
    np.testing.assert_array_equal(result.low[1:], [-inf] * 3)
    np.testing.assert_array_equal(result.high[1:], [inf] * 3)
    assert result.high[0] == pytest.approx(2 + stats.t.ppf(0.975, 1))
    limited = mean_interval(samples, limit=[10, 4, 10, 10])
    np.testing.assert_array_equal(limited.value, [2, 3, 5, nan])


def test_fit_log_covers():
    generator, studies = np.random.default_rng(4), 1000
    n, errors = 2.0 ** np.arange(5, 12), np.linspace(0.05, 0.4, 7)
    truth, inside = (1.7, 4.0), 0
    slopes = []
    for _ in range(studies):
        means = truth[1] + truth[0] * np.log2(n) + generator.normal(0, errors)
        line = fit_log(n, means, errors)
        slopes.append(line.slope)
        low, high = line.slope_interval
        inside += low <= truth[0] <= high
    # Known errors give 95 %; growing with the scatter can only add.
    assert inside / studies > 0.95 - coverage_error(0.95, studies)
    x, w = np.log2(n), errors**-2
    error = 1 / np.sqrt((w * (x - np.average(x, weights=w)) ** 2).sum())
    assert abs(np.mean(slopes) - truth[0]) < 5 * error / np.sqrt(studies)


def test_fits():
    n = np.array([10, 100, 1000])
    line = fit_log(n, 3 + 2 * np.log2(n), [0.1, 0.1, 0.1])
    assert (line.slope, line.intercept) == pytest.approx((2, 3))
    curved = fit_log(n, 3 + 2 * np.log2(n) + [5, -5, 5], [0.1, 0.1, 0.1])
    assert np.ptp(curved.slope_interval) > 20 * np.ptp(line.slope_interval)
    y = 5 * n**0.5
    power = fit_power(n, y, y / 1.1, y * 1.1)
    assert (power.exponent, power.factor) == pytest.approx((0.5, 5))
    assert power.low < 0.5 < power.high
    two = fit_power(n[:2], y[:2], y[:2] / 1.1, y[:2] * 1.1)
    assert two.high - two.low == pytest.approx(2 * np.sqrt(2) * np.log(1.1) / np.log(10))
    with pytest.raises(ValueError, match="above 0"):
        fit_power(n, y, y * 0, y)
    for means, errors in (([1, 2, np.inf], [1, 1, 1]), ([1, 2, 3], [1, 1, 0])):
        with pytest.raises(ValueError, match="a fit needs"):
            fit_log(n, means, errors)


def study(attrs: dict) -> xr.Dataset:
    """Three points of 4 trials of 10 nodes: all well; one split, one stalled; nothing run."""
    nan = np.nan
    rows = {
        "decided_0": [[0, 10, 10, 0], [5, 4, 10, nan], [nan] * 4],
        "decided_1": [[10, 0, 0, 10], [5, 0, 0, nan], [nan] * 4],
        "undecided": [[0, 0, 0, 0], [0, 6, 0, nan], [nan] * 4],
        "rounds": [[20, 22, 24, 30], [40, 99, 21, nan], [nan] * 4],
        "last_decision": [[20, 22, 24, 30], [40, nan, 21, nan], [nan] * 4],
        "unanimity": [[5, 5, 5, 5], [nan, nan, 3, nan], [nan] * 4],
        "start_ones": [[6, 5, 4, 4], [4, 6, 6, nan], [nan] * 4],
        "final_ones": [[10, 0, 0, 10], [5, 0, 0, nan], [nan] * 4],
        "decides": [[1, 1, 1, 1], [1, 1, 1, nan], [nan] * 4],
    }
    variables = {name: (("f", "trial"), row, {"units": "x"}) for name, row in rows.items()}
    return xr.Dataset(variables, {"f": [0, 0.1, 0.2]}, {"kind": "decisions", **attrs})


def test_rates_of_a_study():
    data = study({})
    expected = {"finalised": [4, 1, 0], "disagreement": [0, 1, 0], "stalled": [0, 1, 0]}
    # One of the trials of the first point starts evenly split: it does not count for a majority.
    expected |= {"unanimous": [4, 1, 0], "majority_kept": [2, 0, 0], "majority_lost": [1, 1, 0]}
    for name, events in expected.items():
        trials = [3 if name.startswith("majority") else 4, 3, 0]
        rate = data.vecsim.rate(name)
        assert rate.events.values.tolist() == events
        assert rate.trials.values.tolist() == trials
        np.testing.assert_array_equal(rate.value, [events[0] / trials[0], events[1] / 3, np.nan])
        low, high = clopper_pearson(events, trials)
        np.testing.assert_array_equal([rate.low, rate.high], [low, high])
        other = data.vecsim.rate(name, level=0.9, method="wilson")
        np.testing.assert_array_equal(other.low, wilson(events, trials, 0.9)[0])
    assert data.vecsim.rate("disagreement").high[0] == pytest.approx(1 - 0.025 ** (1 / 4))
    assert data.transpose().vecsim.rate("finalised").identical(data.vecsim.rate("finalised"))


def test_numbers_of_a_study():
    data = study({})
    mean = data.vecsim.mean("last_decision")
    np.testing.assert_array_equal(mean.value, [24, (40 + 99 + 21) / 3, np.nan])
    np.testing.assert_array_equal(mean.limit, [np.inf, 99, np.inf])
    np.testing.assert_array_equal(mean.censored, [0, 1 / 3, np.nan])
    assert mean.trials.values.tolist() == [4, 3, 0]
    limited = study({"max_rounds": 100}).vecsim.mean("last_decision")
    np.testing.assert_array_equal(limited.value, [24, (40 + 100 + 21) / 3, np.nan])
    endless = data.drop_vars("rounds").vecsim.mean("last_decision")
    np.testing.assert_array_equal(endless.value, [24, np.inf, np.nan])
    quantile = data.vecsim.quantile("last_decision", 0.9)
    np.testing.assert_array_equal(quantile.value, [30, np.inf, np.nan])
    np.testing.assert_array_equal(data.vecsim.mean("decided_0").value, [5, 19 / 3, np.nan])


def test_summary():
    summary = study({}).vecsim.summary()
    assert summary.finalised.values.tolist()[:2] == [1, 1 / 3]
    assert summary.disagreement_high[0] == pytest.approx(1 - 0.025 ** (1 / 4))
    np.testing.assert_array_equal(summary.last_decision_median, [22, 40, np.nan])
    np.testing.assert_array_equal(summary.last_decision_median_high, [np.inf] * 3)
    np.testing.assert_array_equal(summary.last_decision_censored, [0, 1 / 3, np.nan])
    assert summary.trials.values.tolist() == [4, 3, 0]
    for part in ("finalised", "disagreement", "stalled", "last_decision_mean"):
        assert (summary[f"{part}_low"] <= summary[part]).sum() == 2
        assert (summary[f"{part}_high"] >= summary[part]).sum() == 2


def test_studies_stopped_on_precision_report_the_wider_interval():
    config = {"precision": {"target": "finalised", "half_width": 0.01}}
    rate = study({"config": json.dumps(config)}).vecsim.rate("stalled")
    np.testing.assert_array_equal(rate.high[:2], clopper_pearson([0, 1], [4, 3], 0.97)[1])
    assert rate.attrs["level"] == 0.95
    for none in ({}, {"precision": None}, {"precision": {"target": None}}):
        data = study({"config": json.dumps(none)})
        assert data.vecsim.rate("stalled").identical(study({}).vecsim.rate("stalled"))


def test_majorities_under_a_protocol_that_does_not_decide():
    """What all hold at the end counts: 2 of 4 trials kept their majority, 1 lost it."""
    rows = {"decided_0": 0, "decided_1": 0, "undecided": 10, "unanimity": 3, "decides": 0}
    values = {name: (("trial",), np.full(4, float(value))) for name, value in rows.items()}
    values["start_ones"] = (("trial",), [6.0, 4.0, 6.0, 6.0])
    values["final_ones"] = (("trial",), [10.0, 0.0, 0.0, 9.0])  # the last has left one colour again
    data = xr.Dataset(values, attrs={"kind": "decisions"}).vecsim
    assert (data.rate("majority_kept").value, data.rate("majority_lost").value) == (0.5, 0.25)
    deciding = values | {"decides": (("trial",), np.ones(4))}
    deciding = xr.Dataset(deciding, attrs={"kind": "decisions"}).vecsim
    assert deciding.rate("majority_kept").events == 0  # nobody has decided


def test_columns_are_named_alike_and_are_no_methods_of_datasets():
    """`table.value` is the estimate, whatever is estimated."""
    data = study({}).vecsim
    tables = [data.rate("stalled"), data.mean("rounds"), data.quantile("rounds", 0.5)]
    for table in tables:
        assert {"value", "low", "high", "trials"} <= set(table)
        assert not set(table) & set(dir(xr.Dataset))
        assert isinstance(table.value, xr.DataArray)


def test_a_method_for_other_studies_names_their_kind():
    data = study({}).vecsim
    for name, kind in (
        ("front", "design"),
        ("candidates", "design"),
        ("probability", "splitting"),
        ("threshold", "threshold"),
    ):
        with pytest.raises(ValueError, match=f"^{name}.*of kind {kind},.*kind decisions.*rate"):
            getattr(data, name)()
    placed = {"event": ("trial", [1.0]), "byzantine_fraction": ("trial", [0.1])}
    with pytest.raises(ValueError, match=r"^rate\(\) is .*kind threshold; allowed: threshold"):
        xr.Dataset(placed, attrs={"kind": "threshold"}).vecsim.rate("stalled")
    for kind in ("", "scenario"):
        with pytest.raises(ValueError, match="allowed: decisions, campaigns, splitting"):
            xr.Dataset(placed, attrs={"kind": kind}).vecsim.summary()


def test_quantiles_of_what_may_be_negative():
    """Of two campaigns no lower end is known; numbers of rounds end at 0."""
    gain = {"gain": ("trial", [-3.0, -1.0], {"units": "dB"})}
    data = xr.Dataset(gain, attrs={"kind": "campaigns"})
    assert data.vecsim.quantile("gain", 0.5).low == -np.inf
    assert study({}).vecsim.quantile("last_decision", 0.5).low[0] == 0


def test_unknown_names():
    data = study({}).vecsim
    with pytest.raises(ValueError, match=f"'safe'; allowed: {', '.join(outcomes.RATES)}$"):
        data.rate("safe")
    with pytest.raises(ValueError, match="'normal'; allowed: clopper_pearson, wilson"):
        data.rate("stalled", method="normal")
    for call in (data.mean, lambda name: data.quantile(name, 0.5)):
        with pytest.raises(ValueError, match="'latency'; allowed: decided_0, "):
            call("latency")
