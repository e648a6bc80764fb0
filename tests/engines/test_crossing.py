"""Crossings of a level: coverage on curves that are known, with trials placed as in a study."""

import tracemalloc

import numpy as np
import pytest
from helpers import SIGMAS
from scipy import optimize, special, stats

from vecsim.results import crossing
from vecsim.results.crossing import EventCounts, place

CURVES = {  # a rate that rises with z, and its inverse
    "logistic": (special.expit, special.logit),
    "probit": (special.ndtr, special.ndtri),
    "complementary log-log": (
        lambda z: -np.expm1(-np.exp(np.minimum(z, 5))),
        lambda rate: np.log(-np.log1p(-rate)),
    ),
}
NODES, STUDIES = 100_000, 500
NARROW = "complementary log-log", 0.5  # the curve and the level with the least coverage to spare


def covered(curve, level, trials, scale, nodes=NODES, studies=STUDIES):
    """How many of the intervals hold the crossing, somewhere about 5 % of the nodes."""
    rate, inverse = CURVES[curve]
    random = np.random.default_rng(11)
    inside = 0
    for _ in range(studies):
        truth = 0.05 * nodes + random.uniform(-1, 1)

        def draw(x, truth=truth):
            chance = rate(inverse(level) + (x - truth) / (scale * nodes))
            return random.random(len(x)) < chance

        counts = EventCounts.of(*place(draw, 0, nodes // 2, level, trials))
        found = crossing.crossing(counts, level, 0, nodes // 2)
        inside += found.low <= truth <= found.high
    return inside


def least(studies=STUDIES):
    """Fewer than these are five standard errors too few for 95 %."""
    return stats.binom.ppf(stats.norm.sf(SIGMAS), studies, 0.95)


SLOW = pytest.mark.slow  # the curves beside these go through the same code


@pytest.mark.parametrize(
    ("curve", "level"),
    [
        ("logistic", 0.01),
        pytest.param("logistic", 0.5, marks=SLOW),
        pytest.param("probit", 0.01, marks=SLOW),
        ("probit", 0.5),
        pytest.param("complementary log-log", 0.01, marks=SLOW),
        NARROW,
    ],
)
def test_coverage(curve, level):
    studies = 1200 if (curve, level) == NARROW else STUDIES
    assert covered(curve, level, 1000, 0.005, studies=studies) >= least(studies)


@pytest.mark.parametrize(
    ("trials", "level"), [(250, 0.5), pytest.param(20_000, 0.5, marks=SLOW), (20_000, 0.01)]
)
def test_coverage_with_few_and_many_trials(trials, level):
    """Many trials would betray that the curve is not logistic."""
    assert covered("complementary log-log", level, trials, 0.005) >= least()


@pytest.mark.parametrize("level", [0.5, 0.01])
def test_coverage_of_steep_curves(level):
    """The rate rises from 2 % to 98 % within one node or two: the interval is in whole nodes."""
    assert covered("probit", level, 500, 0.00025, nodes=2000, studies=200) >= least(200)


def test_a_curve_through_all_trials_would_miss(monkeypatch):
    """Why there is a `reach`: a logistic far from the level says where it crosses, wrongly."""
    (rate, inverse), level = CURVES["complementary log-log"], 0.5
    random = np.random.default_rng(12)
    x, studies = np.linspace(-4, 4, 41), 200
    trials = np.full(len(x), 200)
    drawn = [random.binomial(trials, rate(inverse(level) + x)) for _ in range(studies)]

    def inside():
        every = (crossing.crossing(EventCounts(x, e, trials), level, -5, 5) for e in drawn)
        return sum(found.low <= 0 <= found.high for found in every)

    assert inside() >= least(studies)
    monkeypatch.setattr(EventCounts, "reach", lambda *_: 20.0)
    assert inside() < least(studies)


def test_places():
    """A jump is found in whole nodes, with most trials beside it; the same again gives the same."""
    drawn = []

    def draw(x):
        drawn.append(len(x))
        return x >= 137

    x, events = place(draw, 0, 5000, 0.5, 400)
    assert len(x) == sum(drawn) == 400
    assert np.array_equal(events, x >= 137)
    assert np.isin(x[200:], [135, 136, 137, 138]).all()
    found = crossing.crossing(EventCounts.of(x, events), 0.5, 0, 5000)
    assert 136 <= found.low < found.value < found.high <= 137
    assert np.isnan(found.fit)
    again, _ = place(draw, 0, 5000, 0.5, 400)
    assert np.array_equal(x, again)


@pytest.mark.parametrize(("rate", "told"), [(0.0, "above"), (1.0, "below"), (0.1, "above")])
def test_rates_that_do_not_cross(rate, told):
    random = np.random.default_rng(2)
    x, events = place(lambda x: random.random(len(x)) < rate, 10, 200, 0.5, 300)
    found = crossing.crossing(EventCounts.of(x, events), 0.5, 10, 200)
    sign = 1 if told == "above" else -1
    assert found.value == sign * np.inf
    table = crossing.crossings(x[None], events[None] > 0, x[None] > 0, 0.5, 10, 200, 0.95)
    assert table["value"] == found.value
    assert np.isnan([table["slope"], table["fit"]]).all()
    assert (found.high if told == "above" else -found.low) == np.inf
    known = found.low if told == "above" else found.high
    assert 10 <= known <= 200


def test_a_crossing_near_the_end_may_lie_beyond():
    """Half of the trials have the event at the last x: above or below, nobody knows."""
    counts = EventCounts(np.array([0.0, 50, 100]), np.array([0, 1, 50]), np.array([10, 20, 100]))
    found = crossing.crossing(counts, 0.5, 0, 100)
    assert 80 < found.low < 100
    assert found.high == np.inf


@pytest.mark.parametrize("trials", [200, 10_000, 1_000_000])
@pytest.mark.parametrize("level", [0.5, 0.01])
def test_interval_is_the_profile(level, trials):
    """Against the definition, with a general optimiser; few trials and many, in a wide range.

    Nothing is drawn but the counts: differences are of grids. Of the log-likelihood at an end 3 %
    are 1.5 % of the half-width, for the profile is nearly a parabola.
    """
    random = np.random.default_rng(6)
    width = EventCounts(np.zeros(1), np.zeros(1), np.array([41 * trials])).reach(level)
    x = np.linspace(-2, 2, 41) * width
    rates = special.expit(special.logit(level) + x)
    counts = EventCounts(x, random.binomial(trials, rates), np.full(41, trials))

    def profile(at):
        def loss(slope):
            away = np.clip(np.exp(slope) * (x - at), -width, width)
            logits = special.logit(level) + away
            return (counts.trials * np.logaddexp(0, logits) - counts.events * logits).sum()

        starts = np.linspace(-3, 3, 121)
        best = starts[np.argmin([loss(start) for start in starts])]
        return optimize.minimize_scalar(loss, (best - 0.1, best, best + 0.1)).fun

    for confidence, quantile in ((0.95, 0.985), (0.8, 0.94)):
        found = crossing.crossing(counts, level, -300 * width, 300 * width, confidence)
        best = profile(found.value)
        assert best <= min(map(profile, np.linspace(found.low, found.high, 41))) + 0.02
        cut = stats.t.ppf(quantile, counts.expected(level)) ** 2 / 2
        for end in (found.low, found.high):
            assert profile(end) - best == pytest.approx(cut, rel=0.03)


def test_memory_does_not_grow_with_the_square_of_the_values(monkeypatch):
    """600 values of x: all pairs at once would take 180 MB for each of some arrays."""
    x = np.arange(600)
    counts = EventCounts(x.astype(float), (x > 300).astype(float) * 4, np.full(600, 4.0))
    tracemalloc.start()
    found = crossing.crossing(counts, 0.5, 0, 600)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 8 * crossing._AT_ONCE  # as many arrays of so many float64
    monkeypatch.setattr(crossing, "_AT_ONCE", 100)
    assert crossing.crossing(counts, 0.5, 0, 600) == found


def test_the_misfit_is_uniform_and_finds_a_step():
    random = np.random.default_rng(4)
    values = []
    for _ in range(300):
        x = np.repeat(np.linspace(-5, 5, 6), 50)
        happened = random.random(300) < special.expit(0.1 * x)
        values.append(crossing.crossing(EventCounts.of(x, happened), 0.5, -10, 10).fit)
    assert stats.kstest(values, "uniform").pvalue > 1e-4
    uneven = EventCounts(np.arange(6.0), np.array([50, 30, 50, 30, 50, 70]), np.full(6, 100))
    assert crossing.crossing(uneven, 0.5, 0, 5).fit < 1e-4
