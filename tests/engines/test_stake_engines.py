"""Weighted stake in the engines that keep no nodes: classes of equal holdings, and the limit."""

import numpy as np
import pytest
from helpers import SIGMAS, assert_mean, assert_same_distribution, point, run, standard_error
from test_stake import given, staked

from vecsim.adversaries.always_reject import AlwaysReject
from vecsim.adversaries.balance_informed import BalanceInformed
from vecsim.adversaries.balance_pooled import BalancePooled
from vecsim.adversaries.mixture import Mixture
from vecsim.adversaries.random_voting import RandomVoting
from vecsim.adversaries.safety_split import SafetySplit
from vecsim.adversaries.silent import Silent
from vecsim.engines import exact, population
from vecsim.engines.limit import trajectory
from vecsim.protocols.qr_avalanche import QrAvalanche
from vecsim.protocols.slush import Slush
from vecsim.protocols.snowball import Snowball
from vecsim.protocols.snowflake import Snowflake
from vecsim.results import outcomes
from vecsim.stakes.zipf import Zipf
from vecsim.studies.rare.splitting import Effort, split
from vecsim.studies.rare.supported import supports_splitting
from vecsim.studies.rare.walkers import Climbers

RULE = Snowflake(k=8, alpha_preference=5, alpha_confidence=6, beta=4, max_rounds=40)
CLASSES = [20] * 2 + [7] * 5 + [2] * 20 + [1] * 30  # 57 nodes of four kinds
# Every place has an answer and a loss of its own.
APART = {"shared_fate": False}
CASES = {
    "always_reject": (RULE, AlwaysReject(), {}, {}),
    "balance_informed": (RULE, BalanceInformed(), {}, {"byzantine": "largest"}),
    "balance_pooled": (RULE, BalancePooled(), {}, {"byzantine": "smallest"}),
    "balance_pooled, late": (RULE, BalancePooled(lag=1), {}, {}),
    "safety_split": (RULE, SafetySplit(1, 0.4), {}, {}),
    "safety_split, random": (RULE, SafetySplit(0, 0.3, "random"), {}, {"byzantine": "largest"}),
    "silent": (RULE, Silent(), {}, {}),
    "silent, with replacement": (RULE, Silent(), {"sampling": "with_replacement"}, {}),
    "coins": (RULE, RandomVoting(), {}, APART),
    "coins and losses": (RULE, RandomVoting(), {"loss": 0.1}, APART),
    "losses, with replacement": (
        *(RULE, BalanceInformed(), {"loss": 0.1, "sampling": "with_replacement"}, APART),
    ),
    "mixture": (RULE, Mixture.of({"a": (Silent(), 0.4), "b": (BalanceInformed(), 0.6)}), {}, {}),
    "slush": (Slush(8, 5, 6), BalanceInformed(), {}, {"initial_accept_of": "nodes"}),
    "snowball": (Snowball(8, 5, 6, 4, 40), BalanceInformed(), {}, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_classes_of_nodes_are_as_the_nodes(name):
    rule, adversary, network, stake = CASES[name]
    law = given(*CLASSES, **stake)
    p = staked(rule, adversary, law, n=57, byzantine_fraction=0.2, **network)
    assert population.supports(p) is None
    trials = 4000
    [nodes] = run([p], trials, seed=1)
    counts = population.run([(p, np.arange(trials))], seed=2)
    for each in sorted(nodes.keys() - {"decides"}):
        assert_same_distribution(nodes[each], counts[each])


def test_what_classes_are_refused():
    many = staked(RULE, BalanceInformed(), Zipf(), n=500, byzantine_fraction=0.1)
    number = len(np.unique(Zipf().holdings(500)))
    assert population.supports(many) == (
        f"{number} different holdings: nodes that hold the same may make 64 classes"
    )
    split = staked(RULE, SafetySplit(), given(*range(1, 41)), n=40, byzantine_fraction=0.1)
    assert population.supports(split) == (
        "40 different holdings: nodes that hold the same may make 32 classes"
    )
    law = given(*CLASSES)
    coins = staked(RULE, RandomVoting(), law, n=57, byzantine_fraction=0.2)
    assert population.supports(coins) == (
        "stake.shared_fate: all places of a node share an answer that is left to chance"
    )
    counts = staked(QrAvalanche(8, 5), Silent(), law, n=57, initial_accept=1.0)
    assert population.supports(counts) == "protocol=QrAvalanche: it looks at counts"
    p = staked(RULE, Silent(), law, n=57)
    assert exact.supports(p) == "nodes that hold more or less than others are not solved"
    assert supports_splitting(p, "population") == "weighted stake with engine.name=population"
    many = staked(RULE, Silent(), Zipf(), n=10_001)
    assert supports_splitting(many, "agents") == "weighted stake of more than 10000 nodes"


def test_the_limit_is_that_of_many_holders():
    """Shares of stake after some rounds, of networks in which nobody holds much: n_eff is 21,000.

    What the limit leaves out is of the order of 1 / n_eff, far below the standard error of a mean.
    """
    stake, trials, rounds = Zipf(exponent=0.5), 24, 3
    rule = Slush(k=10, alpha=7, m=rounds)
    fields = {"n": 100_000, "byzantine_fraction": 0.1, "initial_accept": 0.7}
    p = staked(rule, AlwaysReject(), stake, **fields)
    [found] = run([p], trials, size=4)
    expected = trajectory(p).ones[rounds]
    for name in ("final_ones_stake", "final_ones"):
        share = found[name] / (1 if name.endswith("stake") else found["undecided"])
        error = standard_error(share)
        assert error < 0.01
        assert abs(share.mean() - expected) < SIGMAS * error


@pytest.mark.parametrize("adversary", [SafetySplit(), BalanceInformed()])
def test_rare_events_where_all_hold_the_same(adversary):
    """Against the exact chain of nodes that hold the same, of 3e-2 and 1.4e-4."""
    rule = Snowflake(10, 8, 8, 4, 60)
    fields = {"n": 6, "byzantine_fraction": 1 / 6, "sampling": "with_replacement"}
    truth = exact.solve(point(rule, adversary, exclude_self=False, **fields)).disagreement
    climbers = Climbers(
        staked(rule, adversary, given(*[1] * 6), **fields), "disagreement", "agents", 1
    )
    for score in range(2):
        estimates = split(climbers, score, Effort(500, 0.2), 60, 1).estimates
        assert standard_error(estimates) < truth / 8
        assert_mean(estimates, truth)


@pytest.mark.parametrize(
    ("event", "fraction", "adversary"),
    [("disagreement", 0.2, SafetySplit(1, 0.4)), ("stalled", 0.1, BalanceInformed())],
)
def test_rare_events_among_unequal_holders(event, fraction, adversary):
    """Against trials of their own; the walkers that are copied keep what their nodes hold."""
    rule = Snowflake(k=8, alpha_preference=6, alpha_confidence=6, beta=8, max_rounds=60)
    p = staked(rule, adversary, given(*CLASSES), n=57, byzantine_fraction=fraction)
    trials = 100_000
    [out] = run([p], trials, seed=3)
    happened = outcomes.event(out, event)
    estimates = split(Climbers(p, event, "agents", 1), 1, Effort(400, 0.2), 60, 2).estimates
    error = np.hypot(standard_error(happened), standard_error(estimates))
    told = happened.mean(), estimates.mean(), error
    assert 1e-4 < happened.mean() < 0.1, told
    assert error < happened.mean() / 8
    assert abs(happened.mean() - estimates.mean()) < SIGMAS * error
