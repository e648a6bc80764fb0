"""Two studies side by side: differences and ratios, and how often their intervals cover."""

import math

import numpy as np
import pytest
import xarray as xr
from helpers import SIGMAS, assert_rate
from scipy import stats

import vecsim
from vecsim.results import compare, estimate
from vecsim.results.compare import (
    mean_difference,
    paired_rate_difference,
    rate_difference,
    ratio,
    recovered,
)

LEVEL = 0.95
RATES = np.linspace(0.005, 0.995, 25)


def assert_covers(covered, least):
    """covered: bool, of independent studies."""
    error = math.sqrt(least * (1 - least) / covered.size)
    assert covered.mean() >= least - SIGMAS * error, (covered.mean(), error)


def holds(found, true):
    return (found.low <= true + 1e-12) & (true <= found.high + 1e-12)


# Intervals


def test_the_hybrid_of_scores_is_newcombes():
    """His example (a), by method 10, which has Wilson's ends: 56 of 70 less 48 of 80."""
    rates = [estimate.rate_interval(*each, method=estimate.wilson) for each in ((48, 80), (56, 70))]
    found = recovered(*rates)
    assert found == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


@pytest.mark.parametrize(("a", "b", "least"), [(5, 5, 0.93), (20, 20, 0.947), (30, 60, 0.947)])
def test_exact_coverage_of_a_difference_of_rates(a, b, least):
    of_a, of_b = np.meshgrid(np.arange(a + 1), np.arange(b + 1), indexing="ij")
    found = rate_difference((of_a, of_b), (a, b))
    weights = [stats.binom.pmf(np.arange(n + 1), n, RATES[:, None]) for n in (a, b)]
    covered = [
        weights[0][i] @ holds(found, RATES[j] - RATES[i]) @ weights[1][j]
        for i in range(len(RATES))
        for j in range(len(RATES))
    ]
    assert least <= min(covered)
    assert np.mean(covered) < 0.995  # and it is no wider than that


@pytest.mark.parametrize(("pairs", "least"), [(10, 0.91), (20, 0.927), (40, 0.946)])
def test_exact_coverage_of_a_paired_difference(pairs, least):
    only_a, only_b = np.meshgrid(np.arange(pairs + 1), np.arange(pairs + 1), indexing="ij")
    there = only_a + only_b <= pairs
    only_a, only_b = only_a[there], only_b[there]
    found = paired_rate_difference(only_a, only_b, pairs)
    counts = np.stack([only_a, only_b, pairs - only_a - only_b], -1)
    covered = [
        np.exp(stats.multinomial.logpmf(counts, pairs, [p, q, 1 - p - q])) @ holds(found, q - p)
        for p in RATES
        for q in RATES
        if p + q < 0.9999
    ]
    assert least <= min(covered)
    assert np.mean(covered) < 0.995


@pytest.mark.parametrize(("p", "q"), [(0.02, 0.02), (0.1, 0.3), (0.5, 0.5), (0.9, 0.99)])
def test_coverage_of_simulated_binomials(p, q):
    draw = np.random.default_rng(7)
    events = draw.binomial(150, p, 20_000), draw.binomial(90, q, 20_000)
    assert_covers(holds(rate_difference(events, (150, 90)), q - p), LEVEL)
    # Pairs: the same two rates, of trials that are mostly alike.
    only_a, only_b = 0.2 * p * (1 - q), 0.2 * q * (1 - p)
    counts = draw.multinomial(150, [only_a, only_b, 1 - only_a - only_b], 20_000)
    found = paired_rate_difference(counts[:, 0], counts[:, 1], 150)
    assert_covers(holds(found, only_b - only_a), LEVEL)


def coverage_of_welch(deviations, numbers, pieces=1000):
    """Of normal samples, whose degrees of freedom Welch's t has about right: the mean over both
    sample variances, each at the middles of so many equally likely pieces of its law."""
    middles = (np.arange(pieces) + 0.5) / pieces
    squares = [
        d**2 / n * stats.chi2.ppf(middles, n - 1) / (n - 1)
        for d, n in zip(deviations, numbers, strict=True)
    ]
    a, b = np.meshgrid(*squares)
    freedom = (a + b) ** 2 / (a**2 / (numbers[0] - 1) + b**2 / (numbers[1] - 1))
    half = stats.t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(a + b)
    error = math.sqrt(sum(d**2 / n for d, n in zip(deviations, numbers, strict=True)))
    return float((2 * stats.norm.cdf(half / error) - 1).mean())


def test_a_difference_of_means_is_welchs():
    draw = np.random.default_rng(3)
    a, b = draw.normal(0, 1, 12), draw.normal(1, 5, 7)
    means = [estimate.mean_interval(each, LEVEL) for each in (a, b)]
    found = mean_difference(*means, (12, 7), LEVEL)
    reference = stats.ttest_ind(b, a, equal_var=False).confidence_interval(LEVEL)
    assert found == pytest.approx((b.mean() - a.mean(), *reference), rel=1e-12)
    many = [draw.normal(0, s, (20_000, n)) for s, n in ((1, 8), (4, 20))]
    means = [estimate.mean_interval(each, LEVEL) for each in many]
    covered = holds(mean_difference(*means, (8, 20), LEVEL), 0.0)
    assert_rate(covered, coverage_of_welch((1, 4), (8, 20)))
    single = [estimate.mean_interval(np.array([1.0]), LEVEL)] * 2
    assert tuple(mean_difference(*single, (1, 1))) == (0, -np.inf, np.inf)


def test_coverage_of_a_ratio_of_small_probabilities():
    """As of the interval of each: of lognormal replicas 93.5 % or more."""
    draw = np.random.default_rng(5)
    replicas = [p * draw.lognormal(-0.125, 0.5, (4000, 16, 1)) for p in (1e-9, 3e-8)]
    found = [estimate.rare_interval(each) for each in replicas]
    found = [estimate.Interval(each.value, each.low, each.high) for each in found]
    assert_covers(holds(ratio(*found), 30.0), 0.935)


def test_ratios_and_differences_at_the_ends():
    def interval(*found):
        return estimate.Interval(*np.array(found))

    some = interval(0.15, 0.1, 0.2)
    none, unknown = interval(0.0, 0.0, 0.01), interval(np.nan, np.nan, np.nan)
    assert ratio(some, none) == pytest.approx((0, 0, 0.1))
    assert ratio(none, some) == pytest.approx((np.inf, 10, np.inf))
    assert np.isnan(ratio(unknown, some).value)
    found = recovered(interval(np.inf, 0.3, np.inf), interval(0.2, 0.1, 0.2))
    assert np.isnan(found.value)
    assert (found.low, found.high) == (-np.inf, np.inf)
    endless = interval(0.1, 0.05, np.inf)
    assert recovered(endless, interval(0.2, 0.1, 0.2)).low == -np.inf
    nothing = rate_difference((0, 3), (0, 9))
    assert np.isnan(nothing.value)
    assert (nothing.low, nothing.high) == (-1, 1)


# Studies


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Snowflake and Snowball over two Byzantine fractions, and the first once more, seed apart."""
    folder = tmp_path_factory.mktemp("studies")
    rest = "n=40", "trials=60", "adversary=balance_informed", "protocol.beta=4"
    swept = {"sweep": {"byzantine_fraction": [0.025, 0.05]}, "protocol__max_rounds": 25}
    names = {"flake": "snowflake seed=0", "ball": "snowball seed=0", "other": "snowflake seed=1"}
    return {
        name: vecsim.run(*rest, *f"protocol={words}".split(), output=folder / name, **swept)
        for name, words in names.items()
    }


def test_single_decisions_side_by_side(studies):
    a, b = studies["flake"], studies["ball"]
    both = vecsim.compare(a, b)
    assert (both.attrs["paired"], both.attrs["level"]) == (0, LEVEL)
    assert both.sizes == {"byzantine_fraction": 2}
    for name in ("stalled", "finalised", "majority_kept", "disagreement"):
        rates = [each.vecsim.rate(name) for each in (a, b)]
        xr.testing.assert_allclose(
            both[name].drop_attrs(), (rates[1].value - rates[0].value).drop_attrs()
        )
        for side, rate in zip("ab", rates, strict=True):
            np.testing.assert_array_equal(both[f"{name}_{side}"], rate.value)
    counts = [each.vecsim.rate("stalled").isel(byzantine_fraction=1) for each in (a, b)]
    found = rate_difference([c.events for c in counts], [c.trials for c in counts])
    last = both.isel(byzantine_fraction=1)
    assert [last.stalled, last.stalled_low, last.stalled_high] == pytest.approx(list(found))
    polls = [each.polls.isel(byzantine_fraction=1) for each in (a, b)]
    reference = stats.ttest_ind(polls[1], polls[0], equal_var=False).confidence_interval(LEVEL)
    assert [last.polls_low, last.polls_high] == pytest.approx(list(reference))
    assert both.polls.attrs["interval"] == compare.MEANS
    wider = vecsim.compare(a, b, level=0.99)
    assert (wider.stalled_high > both.stalled_high).all()
    xr.testing.assert_equal(vecsim.compare(b, a).stalled_low, -both.stalled_high)


def test_censored_trials_count_as_the_limit(studies):
    """Rounds of a last decision that did not come are as many as any trial may have, 25."""
    a, b = studies["flake"], studies["ball"]
    samples = [each.last_decision.fillna(25).isel(byzantine_fraction=1) for each in (a, b)]
    assert any(each.last_decision.isnull().any() for each in (a, b))
    found = vecsim.compare(a, b).isel(byzantine_fraction=1)
    reference = stats.ttest_ind(samples[1], samples[0], equal_var=False).confidence_interval(LEVEL)
    assert [found.last_decision_low, found.last_decision_high] == pytest.approx(list(reference))


def test_trials_that_share_random_words_are_paired(studies):
    """The same points and seed, as after an edit of one's own code; no other two are."""
    a = studies["flake"]
    b = a.copy(deep=True)
    b["undecided"][1, :9] = 1 - np.sign(b["undecided"][1, :9])
    b["polls"][1, :20] += 3
    both = vecsim.compare(a, b)
    assert both.attrs["paired"] == 1
    changed = both.isel(byzantine_fraction=1)
    before, after = ((each["undecided"][1] > 0).values for each in (a, b))
    found = paired_rate_difference((before & ~after).sum(), (after & ~before).sum(), 60)
    assert [changed.stalled, changed.stalled_low, changed.stalled_high] == pytest.approx(
        list(found)
    )
    reference = stats.ttest_rel(b.polls[1], a.polls[1]).confidence_interval(LEVEL)
    assert [changed.polls_low, changed.polls_high] == pytest.approx(list(reference))
    assert both.polls.attrs["interval"] == compare.PAIRED_MEANS
    same = both.isel(byzantine_fraction=0)
    assert [same.polls, same.polls_low, same.polls_high] == [0, 0, 0]
    fewer = vecsim.compare(a, b.isel(trial=slice(30)))
    assert fewer.polls_a[1] == a.polls[1, :30].mean()
    for other in (studies["other"], studies["ball"]):
        assert vecsim.compare(a, other).attrs["paired"] == 0
    apart = [a.isel(byzantine_fraction=i) for i in (0, 1)]
    assert vecsim.compare(*apart).attrs["paired"] == 0
    assert vecsim.compare(apart[0], apart[0]).attrs["paired"] == 1


def campaigns(seed, number):
    draw = np.random.default_rng(seed)
    about = {"event": 1, "long_name": "it works", "units": "1"}
    late = {"censored": "not within the run", "long_name": "time", "units": "s"}
    columns = {
        "working": ("trial", draw.integers(0, 2, number).astype(float), about),
        "latency": ("trial", draw.normal(5, 1, number), {"long_name": "latency", "units": "ms"}),
        "detected": ("trial", np.full(number, np.inf), late),
    }
    config = f'{{"seed": {seed}, "points": "x"}}'
    return xr.Dataset(columns, attrs={"kind": "campaigns", "config": config})


def test_campaigns_side_by_side():
    a, b = campaigns(1, 30), campaigns(2, 20)
    both = vecsim.compare(a, b)
    found = rate_difference((a.working.sum(), b.working.sum()), (30, 20))
    assert [both.working, both.working_low, both.working_high] == pytest.approx(list(found))
    reference = stats.ttest_ind(b.latency, a.latency, equal_var=False).confidence_interval(LEVEL)
    assert [both.latency_low, both.latency_high] == pytest.approx(list(reference))
    assert both.latency.attrs["units"] == "ms"
    assert "detected" not in both


def rare(p, seed, event="disagreement"):
    draw = np.random.default_rng(seed)
    values = p * draw.lognormal(-0.125, 0.5, (16, 2))
    plain = ("trial", np.zeros(16), {"of": 100})
    columns = {"probability": (("trial", "score"), values, {"event": event}), "plain": plain}
    config = f'{{"seed": {seed}, "points": "x"}}'
    return xr.Dataset(columns, attrs={"kind": "splitting", "config": config})


def crossed(at, seed, level=0.5):
    draw = np.random.default_rng(seed)
    x = draw.uniform(0.05, 0.25, 2000)
    event = (draw.random(2000) < 1 / (1 + np.exp(-80 * (x - at)))).astype(float)
    about = {"outcome": "stalled", "crossed": level, "low": 0.0, "high": 0.3}
    columns = {"byzantine_fraction": ("trial", x), "event": ("trial", event, about)}
    config = f'{{"seed": {seed}, "points": "x"}}'
    return xr.Dataset(columns, attrs={"kind": "threshold", "config": config})


def test_rare_events_and_thresholds_side_by_side():
    both = vecsim.compare(rare(1e-9, 1), rare(4e-9, 2))
    assert both.probability_low < 4 < both.probability_high
    assert both.probability == pytest.approx(float(both.probability_b / both.probability_a))
    assert both.probability_high / both.probability_low < 4
    both = vecsim.compare(crossed(0.12, 1), crossed(0.15, 2))
    assert both.threshold_low < 0.03 < both.threshold_high
    assert both.threshold == pytest.approx(float(both.threshold_b - both.threshold_a))
    assert both.threshold_high - both.threshold_low < 0.02


def test_what_is_not_compared(studies):
    flake = studies["flake"]
    design = xr.Dataset(attrs={"kind": "design"})
    for a, b, told in (
        (flake, rare(1e-9, 1), "a is of kind decisions and b of kind splitting; allowed: two"),
        (design, design, "studies of kind design are not compared; allowed: decisions, campaigns"),
        (flake, flake.isel(byzantine_fraction=0), "b over nothing; allowed: the same"),
        (flake, flake.isel(byzantine_fraction=[0]), "byzantine_fraction is .* in b; allowed"),
        (rare(1e-9, 1), rare(2e-9, 1), "share their random words .*; allowed: another seed"),
        (rare(1e-9, 1), rare(2e-9, 2, "stalled"), "outcome is disagreement in a and stalled in b"),
        (crossed(0.1, 1), crossed(0.1, 2, 0.4), "crossed is 0.5 in a and 0.4 in b; allowed: the"),
    ):
        with pytest.raises(ValueError, match=told):
            vecsim.compare(a, b)
    with pytest.raises(ValueError, match="level is 95; allowed: between 0 and 1"):
        vecsim.compare(flake, flake, level=95)
