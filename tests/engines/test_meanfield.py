"""The limit of many nodes against closed forms and against simulations of many nodes."""

from functools import cache

import numpy as np
import pytest
from helpers import assert_mean, point, run
from scipy import optimize, stats

from vecsim.adversaries.always_reject import AlwaysReject
from vecsim.adversaries.balance_informed import BalanceInformed
from vecsim.adversaries.balance_pooled import BalancePooled
from vecsim.adversaries.coordinated_collusion import CoordinatedCollusion
from vecsim.adversaries.echo import Echo
from vecsim.adversaries.flip import Flip
from vecsim.adversaries.non_answer import NonAnswer
from vecsim.adversaries.random_voting import RandomVoting
from vecsim.adversaries.release import Release
from vecsim.adversaries.safety_split import SafetySplit
from vecsim.adversaries.silent import Silent
from vecsim.adversaries.stall import Stall
from vecsim.adversaries.sybil import Sybil
from vecsim.engines.agents.prepare import agents_program_key
from vecsim.engines.limit import critical_fraction, fixed_points, trajectory
from vecsim.errors import ConfigError
from vecsim.protocols.qr_avalanche import QrAvalanche
from vecsim.protocols.slush import Slush
from vecsim.protocols.snowball import Snowball
from vecsim.protocols.snowflake import Snowflake

WITH = {"sampling": "with_replacement", "exclude_self": False}
K, ALPHA = 20, 15


def crowd(protocol, adversary, byzantine_fraction=0.0, **parameters):
    """A point of a network so large that any share of it is a whole number of nodes."""
    return point(protocol, adversary, n=10**9, byzantine_fraction=byzantine_fraction, **parameters)


def quorum(p):
    return stats.binom.sf(ALPHA - 1, K, p)


# Closed forms


def test_no_round_at_all_is_the_start():
    rule = Snowflake(k=5, alpha_preference=3, alpha_confidence=4, beta=2)
    p = point(rule, AlwaysReject(), initial_accept=0.7)
    assert [float(part[0]) for part in trajectory(p, 0)] == pytest.approx([0.7, 0, 0, 1])
    assert all(len(part) == 1 for part in trajectory(p, 0))


def test_one_round_of_slush():
    for share in (0.1, 0.5, 0.62):
        path = trajectory(point(Slush(K, ALPHA, 1), RandomVoting(), n=100, initial_accept=share))
        after = share * (1 - quorum(1 - share)) + (1 - share) * quorum(share)
        assert path.ones.tolist() == pytest.approx([share, after], rel=1e-12)
        assert not path.decided_0.any()
        assert not path.decided_1.any()


def test_everybody_decides_at_once():
    path = trajectory(point(Snowflake(beta=6, max_rounds=9), Echo(), n=100, initial_accept=1.0))
    assert path.decided_1.tolist() == [0] * 6 + [1] * 4
    lost = trajectory(
        point(Snowflake(beta=1, max_rounds=3), Echo(), n=100, initial_accept=1.0, loss=0.2)
    )
    misses = 1 - quorum(0.8)
    assert lost.decided_1 == pytest.approx(1 - misses ** np.arange(4), rel=1e-12)


def test_undisputed_qr_avalanche_takes_22_rounds():
    path = trajectory(point(QrAvalanche(), Echo(), n=100, initial_accept=1.0))
    assert path.decided_1[21] < 1e-12
    assert path.decided_1[22] == pytest.approx(1)


def test_refused_identities_are_not_there():
    rule = Snowflake(beta=4)
    few = point(rule, Sybil(0.25, 0.1), n=100, byzantine_fraction=0.5, initial_accept=0.6)
    many = point(rule, CoordinatedCollusion(), n=100, byzantine_fraction=0.2, initial_accept=0.6)
    for ours, theirs in zip(trajectory(few), trajectory(many), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)


def test_random_votes_hold_a_split_beyond_a_closed_form():
    # The drift at the even split has the slope (1 - b) A'(1/2) - 2 A(1/2), A = P(a quorum).
    slope = K * stats.binom.pmf(ALPHA - 1, K - 1, 0.5)
    critical = 1 - 2 * quorum(0.5) / slope
    for rule in (Slush(), Snowflake(), Snowflake(20, 15, 18)):
        below = fixed_points(crowd(rule, RandomVoting(), critical - 1e-3))
        assert [p.stable for p in below] == [True, False, True]
        above = fixed_points(crowd(rule, RandomVoting(), critical + 1e-3))
        assert [p.stable for p in above] == [True]
        assert [below[1].share, above[0].share] == pytest.approx([0.5, 0.5], abs=1e-6)


def test_the_edge_of_always_reject():
    fraction = 0.1

    def drift(share):
        one = (1 - fraction) * share
        return (1 - share) * quorum(one) - share * quorum(1 - one)

    edge = optimize.brentq(drift, 0.4, 0.7)
    low, middle, high = fixed_points(crowd(Slush(), AlwaysReject(), fraction))
    assert (low.stable, middle.stable, high.stable) == (True, False, True)
    assert low.share == 0
    assert middle.share == pytest.approx(edge, abs=1e-6)
    assert high.share == pytest.approx(optimize.brentq(drift, 0.8, 1.0), abs=1e-6)


def test_an_informed_adversary_holds_the_split_between_two_edges():
    fraction = 0.05
    points = fixed_points(crowd(Snowball(), BalanceInformed(), fraction))
    # Snowball's strengths stand still where a poll is even: at (1/2 - b) / (1 - b) ones.
    edge = (0.5 - fraction) / (1 - fraction)
    assert [p.share for p in points] == pytest.approx([0, edge, 0.5, 1 - edge, 1], abs=1e-6)
    assert [p.stable for p in points] == [True, False, True, False, True]
    assert [p.held for p in points] == [False, False, True, False, False]
    for rule in (Slush(), Snowflake(), QrAvalanche()):
        assert [p.stable for p in fixed_points(crowd(rule, BalanceInformed(), fraction))] == [
            p.stable for p in points
        ]


def test_without_byzantine_nodes_only_the_even_split_is_unstable():
    for rule in (Slush(), Snowflake(), Snowball(), QrAvalanche()):
        for adversary in (Echo(), Flip(), Silent(), Stall()):
            found = fixed_points(crowd(rule, adversary))
            assert [p.share for p in found] == pytest.approx([0, 0.5, 1], abs=1e-6)
            assert [p.stable for p in found] == [True, False, True]


# Simulations

FLAKE, BALL = Snowflake(beta=4), Snowball(beta=4)
QR = QrAvalanche(10, 8, 4, 0.75)
SOME, MANY = 20_000, 100_000
CASES = [
    (Slush(), RandomVoting(), 0.1, SOME),
    (Slush(), BalanceInformed(), 0.03, MANY),
    (Slush(), Stall(), 0.1, SOME),
    (Slush(), SafetySplit(1), 0.05, SOME),
    (FLAKE, RandomVoting(), 0.1, SOME),
    (FLAKE, Release(3), 0.04, SOME),
    (FLAKE, BalancePooled(1), 0.001, SOME),
    (FLAKE, NonAnswer(), 0.05, SOME),
    (FLAKE, SafetySplit(1), 0.05, SOME),
    (FLAKE, SafetySplit(1, 0.6), 0.05, SOME),
    (Snowflake(20, 12, 15, 4), Echo(), 0.1, SOME),
    (BALL, Flip(), 0.1, SOME),
    (BALL, AlwaysReject(), 0.05, SOME),
    (QR, RandomVoting(), 0.1, SOME),
    (QR, BalanceInformed(), 0.03, SOME),
    (QR, Silent(), 0.05, SOME),
]
ROUNDS = (1, 3, 5, 8)
TRIALS = 24


def stopped(case, rounds):
    rule, adversary, fraction, n = CASES[case]
    fields = dict(vars(rule))
    rule = type(rule)(**fields | {"m" if "m" in fields else "max_rounds": rounds})
    return point(rule, adversary, n=n, byzantine_fraction=fraction, initial_accept=0.6, **WITH)


@cache
def simulated(key):
    """Outcomes of all points that share a program."""
    points = [stopped(case, rounds) for case in range(len(CASES)) for rounds in ROUNDS]
    mine = [p for p in points if agents_program_key(p) == key]
    return dict(zip([p.hash() for p in mine], run(mine, TRIALS, size=48), strict=True))


def test_few_undecided_nodes_are_counted_as_what_they_are():
    """Not as 1 minus the others: a chain on one node's run of successes, however few are left."""
    rule = Snowflake(K, ALPHA, ALPHA, 6, 300)
    left = trajectory(point(rule, Echo(), n=100, initial_accept=1.0, loss=0.05)).undecided
    success = stats.binom.sf(ALPHA - 1, K, 0.95)
    run = np.eye(6)[0]
    for _ in range(300):
        run = np.concatenate([[(1 - success) * run.sum()], success * run[:-1]])
    assert 1e-300 < run.sum() < 1e-20
    assert left[-1] == pytest.approx(run.sum(), rel=1e-9)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_many_nodes_follow_the_limit(case):
    path = trajectory(stopped(case, ROUNDS[-1]))
    for rounds in ROUNDS:
        p = stopped(case, rounds)
        out = simulated(agents_program_key(p))[p.hash()]
        names = "final_ones", "decided_0", "decided_1", "undecided"
        for name, limit in zip(names, path, strict=True):
            # The limit is off by a term of order 1/n, far below the spread of 1/sqrt(n).
            assert_mean(out[name] / p.honest, limit[rounds], 1 / p.n)
        assert out["final_ones"].std() / p.honest < 10 / np.sqrt(p.n)


CRITICAL = [
    (Snowflake(), AlwaysReject(), 1.0, 0.01),
    (Snowflake(), RandomVoting(), 1.0, 0.02),
    (Snowflake(), BalanceInformed(), 0.6, 0.02),
    (Snowflake(), Stall(), 0.6, 0.02),
]


@pytest.mark.parametrize("case", range(len(CRITICAL)))
def test_simulated_liveness_ends_at_the_critical_fraction(case):
    rule, adversary, start, margin = CRITICAL[case]
    critical = critical_fraction(crowd(rule, adversary, initial_accept=start))
    points = [
        point(rule, adversary, n=10_000, byzantine_fraction=b, initial_accept=start, **WITH)
        for b in (critical - margin, critical + margin)
    ]
    below, above = run(points, 8, size=16)
    assert (2 * below["undecided"] <= points[0].honest).all()
    assert (2 * above["undecided"] > points[1].honest).all()


def test_critical_fractions_at_the_ends():
    slush = Slush(m=30)
    assert critical_fraction(crowd(slush, Echo(), initial_accept=0.8)) is None
    assert critical_fraction(crowd(Snowflake(max_rounds=10), Echo(), initial_accept=1.0)) == 0
    near, far = (
        critical_fraction(crowd(slush, BalanceInformed(), initial_accept=start))
        for start in (0.52, 0.6)
    )
    assert near is not None
    assert far is not None
    assert 0 < near < far


def test_limits_that_are_not_known():
    rule = Snowflake(4, 3, 3, 3, 20)
    for p in (
        point(rule, Echo(), n=60, schedule="async"),
        point(rule, Echo(), n=60, topology="random_regular", degree=8),
    ):
        with pytest.raises(ConfigError):
            trajectory(p)
        with pytest.raises(ConfigError):
            fixed_points(p)
        with pytest.raises(ConfigError):
            critical_fraction(p)
    with pytest.raises(ConfigError):
        fixed_points(crowd(rule, SafetySplit(), 0.1))
    with pytest.raises(ConfigError, match=r"byzantine_fraction is 1\.0; allowed: an honest node"):
        fixed_points(crowd(rule, Echo(), 1.0))
    with pytest.raises(ConfigError, match=r"byzantine_fraction is 1\.0; allowed: 0 to below 1"):
        fixed_points(crowd(rule, Echo())._replace(byzantine_fraction=1.0))  # never checked


def test_lost_answers_and_the_own_fraction_of_a_point():
    """Loss counts, in both; a point's own Byzantine fraction does not in the critical one."""
    rule = Slush()
    lost, none = (crowd(rule, AlwaysReject(), 0.1, loss=loss) for loss in (0.1, 0.0))

    def drift(share):
        one, zero = 0.9 * 0.9 * share, 0.9 * (1 - 0.9 * share)
        return (1 - share) * quorum(one) - share * quorum(zero)

    assert fixed_points(lost)[1].share == pytest.approx(optimize.brentq(drift, 0.4, 0.8), abs=1e-6)
    assert abs(fixed_points(lost)[1].share - fixed_points(none)[1].share) > 1e-4
    flake = Snowflake(max_rounds=40)
    found = [
        critical_fraction(crowd(flake, AlwaysReject(), own, initial_accept=1.0, loss=loss))
        for own, loss in ((0.0, 0.0), (0.3, 0.0), (0.0, 0.1))
    ]
    assert found[0] == found[1] > found[2]
