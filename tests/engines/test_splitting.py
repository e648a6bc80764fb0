"""Rare events: estimates against exact chains and plain trials, and what they depend on."""

import collections
import functools
import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest
from command import call, refused
from helpers import assert_mean, assert_rate, mesh_of, point, standard_error
from scipy import stats

import vecsim
from vecsim.adversaries.balance_informed import BalanceInformed
from vecsim.adversaries.random_voting import RandomVoting
from vecsim.adversaries.safety_split import SafetySplit
from vecsim.engines import exact
from vecsim.protocols.qr_avalanche import QrAvalanche
from vecsim.protocols.snowball import Snowball
from vecsim.protocols.snowflake import Snowflake
from vecsim.results.estimate import rare_interval
from vecsim.results.text import agreement
from vecsim.studies.rare import splitting, supported, walkers
from vecsim.studies.rare.splitting import Effort, next_level, plain_events, split, taken
from vecsim.studies.rare.walkers import Climbers
from vecsim.types import Counts, Quorum

MEMORY = 2**28
SLOW = pytest.mark.slow  # the cases beside them go through the same code, with the same checks
REPEATED, REPLICAS = 200, 8


def five_and_one(adversary, beta, max_rounds=60):
    """A network small enough to solve."""
    rule = Snowflake(10, 8, 8, beta, max_rounds)
    sampling = dict(sampling="with_replacement", exclude_self=False)
    return point(rule, adversary, n=6, byzantine_fraction=1 / 6, **sampling)


def solved(p, event):
    return getattr(exact.solve(p), event)


@pytest.mark.parametrize(
    ("adversary", "beta", "event", "score", "walkers"),
    [
        pytest.param(SafetySplit(), 4, "disagreement", 0, 100, marks=SLOW),  # 3e-2
        pytest.param(SafetySplit(), 4, "disagreement", 1, 100, marks=SLOW),
        pytest.param(BalanceInformed(), 4, "disagreement", 1, 200, marks=SLOW),  # 1.4e-4
        (BalanceInformed(), 2, "stalled", 0, 100),  # 6e-3
        (BalanceInformed(), 2, "stalled", 1, 100),
    ],
)
def test_no_bias_and_coverage(adversary, beta, event, score, walkers):
    """200 estimates of 8 replicas each: their mean is right, and no fewer than 95 % of the
    intervals are, to five standard errors, which are small enough to show a bias of 15 %."""
    p = five_and_one(adversary, beta)
    truth = solved(p, event)
    climbers = Climbers(p, event, "agents", MEMORY)
    found = split(climbers, score, Effort(walkers, 0.2), REPEATED * REPLICAS, 0).estimates
    error = found.std(ddof=1) / np.sqrt(len(found))
    assert abs(found.mean() - truth) < 5 * error
    assert error < 0.03 * truth
    intervals = rare_interval(found.reshape(REPEATED, REPLICAS, 1))
    covered = ((intervals.low <= truth) & (truth <= intervals.high)).sum()
    assert covered >= stats.binom.ppf(stats.norm.sf(5), REPEATED, 0.95)


@pytest.mark.parametrize(("deviation", "least"), [(0.3, 0.945), (1.0, 0.935)])
@pytest.mark.parametrize("replicas", [4, 8, 16])
def test_coverage_of_lognormal_replicas(deviation, least, replicas):
    """As the text of `rare_interval` says, to five standard errors of 40,000 studies."""
    studies, sigma = 40_000, np.sqrt(np.log(1 + deviation**2))
    draws = np.random.default_rng(0).lognormal(-(sigma**2) / 2, sigma, (studies, replicas, 1))
    found = rare_interval(draws * 1e-6)
    covered = ((found.low <= 1e-6) & (found.high >= 1e-6)).sum()
    assert covered >= stats.binom.ppf(stats.norm.sf(5), studies, least)


def undecided_at_the_end(honest, byzantine, beta, rounds):
    """P(an honest node is undecided) in Snowflake 3/2/beta with balancing nodes, from an even
    start, polls with replacement among all nodes: a dictionary of states, in plain Python.

    A state says what each honest node is: its colour and its counter, `beta` once it has decided.
    """

    @functools.cache
    def following(state):
        ones = sum(colour for colour, _ in state)
        pushed = byzantine * (2 * ones < honest)  # to the minority; to 0 on a tie
        share = (ones + pushed) / (honest + byzantine)
        two = [3 * p**2 * (1 - p) + p**3 for p in (1 - share, share)]  # of 3 answers
        ways = [
            [((colour, count), 1.0)]
            if count == beta
            else [((colour, count + 1), two[colour]), ((1 - colour, 1), two[1 - colour])]
            for colour, count in state
        ]
        moves = [zip(*nodes, strict=True) for nodes in itertools.product(*ways)]
        return [(tuple(sorted(nodes)), math.prod(chances)) for nodes, chances in moves]

    law = {tuple(sorted([(0, 0)] * (honest // 2) + [(1, 0)] * (honest - honest // 2))): 1.0}
    for _ in range(rounds):
        after = collections.defaultdict(float)
        for state, weight in law.items():
            for following_state, chance in following(state):
                after[following_state] += weight * chance
        law = after
    return sum(p for state, p in law.items() if any(count < beta for _, count in state))


BALANCED = dict(n=5, byzantine_fraction=0.2, sampling="with_replacement", exclude_self=False)


@pytest.mark.parametrize("rounds", [30, 300])
def test_stalled_is_any_undecided_node(rounds):
    """Also where both colours are decided, and however rare: nothing is 1 minus what is not it."""
    p = point(Snowflake(3, 2, 2, 4, rounds), BalanceInformed(), **BALANCED)
    truth = undecided_at_the_end(4, 1, 4, rounds)
    assert (0.01 < truth < 0.03) if rounds == 30 else (1e-16 < truth < 1e-15)
    assert exact.solve(p).stalled == pytest.approx(truth, rel=1e-10)


@pytest.mark.parametrize("engine", ["agents", "population"])
def test_stalled_is_the_same_in_plain_trials_and_splitting(engine):
    truth, trials = undecided_at_the_end(4, 1, 4, 30), 40_000
    p = point(Snowflake(3, 2, 2, 4, 30), BalanceInformed(), **BALANCED)
    climbers = Climbers(p, "stalled", engine, MEMORY)
    assert_rate(np.arange(trials) < plain_events(climbers, 1000, trials // 1000, 0).sum(), truth)
    for score in range(2):
        estimates = split(climbers, score, Effort(200, 0.2), 100, 0).estimates
        assert_mean(estimates, truth)
        assert standard_error(estimates) < truth / 20  # a quarter too much or too little shows


@pytest.mark.parametrize(
    ("engine", "adversary", "beta"),
    [
        pytest.param("agents", BalanceInformed(), 6, marks=SLOW, id="agents, 4e-7"),
        pytest.param("population", BalanceInformed(), 6, id="population, 4e-7"),
        pytest.param("agents", RandomVoting(), 4, id="agents, 1e-4"),
        pytest.param("population", RandomVoting(), 4, marks=SLOW, id="population, 1e-4"),
    ],
)
def test_small_probabilities(engine, adversary, beta):
    """Both scores, on both engines, to five standard errors of a tenth at most."""
    p = five_and_one(adversary, beta)
    truth = solved(p, "disagreement")
    climbers = Climbers(p, "disagreement", engine, MEMORY)
    estimates = [split(climbers, score, Effort(500, 0.2), 40, 1).estimates for score in range(2)]
    found = rare_interval(np.stack(estimates, axis=-1))
    assert abs(found.value - truth) < 5 * found.error
    assert found.error < truth / 10
    assert found.gap > 1e-4


@pytest.mark.parametrize("passed", [1, 3, 10, 13, 47])
def test_who_passed_goes_on_equally_often(passed):
    """Over all shifts each of them as often as any other, and with each shift but for a rest."""
    counts = [np.bincount(taken(10, passed, shift), minlength=passed) for shift in range(passed)]
    assert np.shape(counts) == (passed, passed)
    assert (np.sum(counts, axis=0) == 10).all()
    assert np.ptp(counts, axis=1).max() <= 1


def test_more_walkers_where_few_get_on(monkeypatch):
    """A level that one walker of a hundred reaches, against the exact chain."""
    sampling = dict(sampling="with_replacement", exclude_self=False)
    p = point(Snowflake(20, 18, 18, 2, 60), SafetySplit(fed=0.4), initial_accept=0.5, n=5,
              byzantine_fraction=0.2, **sampling)  # fmt: skip
    truth = solved(p, "disagreement")
    climbers = Climbers(p, "disagreement", "agents", MEMORY)
    for score in range(3):
        found = rare_interval(split(climbers, score, Effort(100, 0.2), 40, 1).estimates[:, None])
        assert abs(found.value - truth) < 5 * found.error
        assert found.error < truth / 3  # what is left out, or counted three times, shows
    monkeypatch.setattr(splitting, "MOST_MORE", 1)
    assert split(climbers, 0, Effort(100, 0.2), 40, 1) is None


@pytest.mark.parametrize(
    "p",
    [
        pytest.param(
            point(Snowflake(20, 15, 15, 5), SafetySplit(), n=100, byzantine_fraction=0.12),
            marks=SLOW,
        ),
        pytest.param(
            point(Snowball(20, 12, 15, 5), SafetySplit(), n=60, byzantine_fraction=0.15), marks=SLOW
        ),
        point(QrAvalanche(20, 15, 5, 0.8), SafetySplit(), n=100, byzantine_fraction=0.23),
    ],
    ids=lambda p: type(p.protocol).__name__,
)
def test_plain_trials_agree(p):
    climbers = Climbers(p, "disagreement", "agents", MEMORY)
    events = plain_events(climbers, 1000, 60, 3).sum()
    assert events > 20
    found = rare_interval(split(climbers, 0, Effort(500, 0.2), 16, 3).estimates[:, None])
    error = np.hypot(found.error, np.sqrt(events) / 60_000)
    assert abs(found.value - events / 60_000) < 5 * error


def test_estimates_depend_on_the_point_and_the_seed_alone(monkeypatch):
    p = five_and_one(BalanceInformed(), 4)
    effort = Effort(50, 0.3)
    first = split(Climbers(p, "disagreement", "agents", MEMORY), 0, effort, 6, 0)
    counted = split(Climbers(p, "disagreement", "population", MEMORY), 0, effort, 6, 0)
    monkeypatch.setattr(walkers, "all_devices", lambda: mesh_of(1))
    monkeypatch.setattr(walkers, "WALKER_NODES", 200)
    monkeypatch.setattr(walkers, "BATCH_BLOCKS", 1)
    again = split(Climbers(p, "disagreement", "agents", 1), 0, effort, 6, 0)
    np.testing.assert_array_equal(first.passed, again.passed)
    again = split(Climbers(p, "disagreement", "population", 1), 0, effort, 6, 0)
    np.testing.assert_array_equal(counted.passed, again.passed)
    fewer = split(Climbers(p, "disagreement", "agents", MEMORY), 0, effort, 3, 0)
    np.testing.assert_array_equal(first.passed[:3], fewer.passed)
    other = split(Climbers(p, "disagreement", "agents", MEMORY), 0, effort, 6, 1)
    assert (other.estimates != first.estimates).all()


@pytest.mark.parametrize(
    "rule",
    [
        Snowflake(20, 15, 15, 6),
        Snowflake(20, 13, 16, 5, reset_on_failure=False, decide_when="gt", count_after_flip=0),
        Snowball(20, 15, 15, 6),
        Snowball(20, 13, 16, 5, reset_on_failure=False, decide_when="gt", count_after_flip=0),
        QrAvalanche(),
    ],
    ids=repr,
)
def test_remaining_polls(rule):
    """From cells on a random walk, as many unanimous polls as `remaining` says decide."""
    random = np.random.default_rng(5)
    cells = rule.start(jnp.asarray(random.integers(0, 2, 200), jnp.uint32))
    for _ in range(30):
        stepped = rule.step(cells, walked(rule, random, cells))
        cells = jnp.where((stepped & 2) != 0, cells, stepped)
    for colour in range(2):
        wanted = np.asarray(rule.remaining(cells, colour))
        current, steps, taken = cells, np.full(200, -1), 0
        while (steps < 0).any():
            taken += 1
            agree = (current & 1) == colour
            unanimous = Quorum(agree, ~agree, jnp.ones_like(agree))
            if rule.counts:
                count = jnp.full(current.shape, rule.k, jnp.uint32)
                unanimous = Counts(jnp.where(agree, count, jnp.uint32(0)), count)
            current = jnp.where((current & 2) != 0, current, rule.step(current, unanimous))
            steps[(steps < 0) & (np.asarray(current) & 2 != 0)] = taken
        exactly = 0 if not rule.counts else 1  # of the confidence's logarithm
        assert (abs(steps - wanted) <= exactly).all()
        assert len(np.unique(steps)) > 3


def walked(rule, random, cells):
    if rule.counts:
        count = jnp.full(cells.shape, rule.k, jnp.uint32)
        return Counts(jnp.asarray(random.binomial(rule.k, 0.8, len(cells)), jnp.uint32), count)
    agree = random.random(len(cells)) < 0.8
    against = ~agree & (random.random(len(cells)) < 0.6)
    return Quorum(*map(jnp.asarray, (agree, against, random.random(len(cells)) < 0.7)))


def test_levels_come_from_what_walkers_reached():
    best = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, np.inf])
    assert next_level(best, -np.inf, 0.2) == 9.0
    assert next_level(best, 9.0, 0.2) is None  # the event is all that is above
    assert next_level(np.array([1.0] * 8 + [2.0, 3.0]), 1.0, 0.5) == 2.0
    assert next_level(np.ones(10), 1.0, 0.2) is None


def test_scores_that_disagree_are_told():
    random = np.random.default_rng(0)
    alike = random.lognormal(0, 0.3, (40, 2))
    assert agreement(float(rare_interval(alike).gap)) == "agree"
    assert agreement(float(rare_interval(alike * [1, 3]).gap)) == "disagree"
    alone = rare_interval(np.where([True, False], alike, np.nan))
    assert agreement(float(alone.gap)) == "one only"
    assert alone.value == alike[:, 0].mean()
    assert np.isnan(rare_interval(np.full((40, 2), np.nan)).value)


SMALL = "byzantine_fraction=0.15", "adversary=safety_split", "n=60"


def test_a_study_of_rare_events(tmp_path, capsys):
    study = "estimator=splitting", "estimator.walkers=300", "trials=6", *SMALL
    assert call(*study, "sweep.protocol.beta=[4,5]", f"output={tmp_path}/a").code == 0
    data = vecsim.open(tmp_path / "a" / "data.zarr")
    found = data.vecsim.probability()
    assert (found.low < found.value).all()
    assert (found.value < found.high).all()
    assert found.value[0] > found.value[1] > 0
    assert not found.rough.any()
    number = 6 * 300
    assert (found.plain * number == data.plain.sum("trial")).all()
    assert found.plain_low[0] <= found.value[0] <= found.plain_high[0]
    assert (
        call(*study, "protocol.beta=5", f"output={tmp_path}/b").code == 0
    )  # a point alone gives the same
    alone = vecsim.open(tmp_path / "b" / "data.zarr")
    np.testing.assert_array_equal(alone.probability, data.probability.sel(beta=5))
    assert (tmp_path / "a" / "summary.csv").read_text().startswith("beta,probability,error")


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("estimator.event=unanimous",), "disagreement, stalled"),
        (("estimator.event=[stalled]",), "disagreement, stalled"),
        (("estimator.walkers=5",), "10 to"),
        (("estimator.keep=1.5",), "between 0 and 1"),
        (("trials=1",), "2 to"),
        (("protocol=slush",), "decide nothing"),
        (("network=random_regular", "n=200"), "complete graphs"),
        (("adversary=sybil",), "drawn by chance"),
        (("protocol=qr_avalanche", "network.loss=0.1"), "may be missing"),
        (("precision={target: stalled, half_width: 0.1, min_trials: 5}",), "null"),
        (("estimator.size=3",), "size"),
    ],
)
def test_bad_settings_are_told(overrides, told, tmp_path):
    changed = {override.partition("=")[0] for override in overrides} | {"network"}
    kept = [each for each in SMALL if each.partition("=")[0] not in changed]
    assert told in refused(
        call("estimator=splitting", *kept, *overrides, f"output={tmp_path}/none")
    )


def test_components_without_remaining_polls_are_told():
    class Simple(Snowflake):
        def remaining(self, cell, colour):
            raise NotImplementedError

    assert "does not say" in supported.supports_splitting(
        point(Simple(), RandomVoting(), n=60), "agents"
    )
    assert supported.supports_splitting(point(Snowflake(), RandomVoting(), n=60), "agents") is None
