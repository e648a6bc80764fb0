"""Rounds from an even split against simulations of many nodes and recorded means."""

import math

import numpy as np
import pytest
from helpers import assert_mean, point
from scipy import stats

from vecsim.adversaries.random_voting import RandomVoting
from vecsim.engines.limit import rounds_until_decided
from vecsim.model.point import Point
from vecsim.network import Network
from vecsim.protocols.qr_avalanche import QrAvalanche
from vecsim.protocols.slush import Slush
from vecsim.protocols.snowball import Snowball
from vecsim.protocols.snowflake import Snowflake

NETWORK = Network(sampling="with_replacement")
RULES = {
    "avalanchego's": Snowflake(),
    "two thresholds": Snowflake(20, 13, 16, 8),
    "2018": Snowflake(10, 7, 7, 10, reset_on_failure=False, decide_when="gt", count_after_flip=0),
}
TRIALS = 300


def even(rule, n, **changed):
    return Point(n, 0.0, 0.5, "lockstep", rule, RandomVoting(), NETWORK)._replace(**changed)


def simulated(rule, n, trials, random):
    """Rounds until all of n nodes have decided, in each trial: NumPy, on the nodes of each
    colour and counter; a node polls k of the others, with replacement."""
    length = rule.beta + (rule.decide_when == "gt")
    left = np.zeros((trials, 2, length), np.int64)  # undecided, by colour and counter
    left[:, :, 0] = [n // 2, n - n // 2]
    decided, rounds = np.zeros((trials, 2), np.int64), np.zeros(trials)
    while left.any():
        rounds += left.any(axis=(1, 2))
        held = left.sum(axis=2) + decided
        after = np.zeros_like(left)
        for own in range(2):
            same = np.maximum(held[:, own] - 1, 0) / (n - 1)  # an answer is of its own colour
            low, high = rule.quorums
            agree, counts, against, turns = (
                stats.binom.sf(alpha - 1, rule.k, share)[:, None]
                for share, alpha in ((same, low), (same, high), (1 - same, low), (1 - same, high))
            )
            there, mine = left[:, own], after[:, own]
            kinds = [counts, agree - counts, turns, against - turns]
            parts, waiting, rest = [], there, 1.0
            for chance in kinds:
                share = np.clip(chance / np.maximum(rest, 1e-300), 0, 1)
                parts.append(random.binomial(waiting, np.broadcast_to(share, there.shape)))
                waiting, rest = waiting - parts[-1], rest - chance
            counted, unsure, turned, turned_unsure = parts
            decided[:, own] += counted[:, -1]
            mine[:, 1:] += counted[:, :-1]
            for kept in (unsure, waiting):  # no quorum that counts
                if rule.reset_on_failure:
                    mine[:, 0] += kept.sum(axis=1)
                else:
                    mine += kept
            after[:, 1 - own, rule.count_after_flip] += turned.sum(axis=1)
            after[:, 1 - own, 0] += turned_unsure.sum(axis=1)
        left = after
    return rounds


@pytest.mark.parametrize("name", RULES)
def test_many_nodes_take_as_long(name):
    for n in (10**4, 10**9):
        theory = rounds_until_decided(even(RULES[name], n))
        assert theory is not None
        assert_mean(simulated(RULES[name], n, TRIALS, np.random.default_rng(3)), theory)


def test_recorded_means():
    recorded = {10**4: (38.12, 3.54), 10**6: (45.41, 3.82), 10**9: (55.76, 3.05)}
    for n, (mean, deviation) in recorded.items():
        theory = rounds_until_decided(even(Snowflake(), n))
        assert theory is not None
        assert abs(theory - mean) < 5 * deviation / math.sqrt(200)


def test_unknown():
    good = even(Snowflake(), 10**6)
    assert rounds_until_decided(good) is not None
    for changed in (
        {"byzantine_fraction": 0.1},
        {"initial_accept": 0.6},
        {"schedule": "async"},
        {"protocol": Snowball()},
        {"protocol": Slush()},
        {"protocol": QrAvalanche()},
        {"protocol": Snowflake(max_rounds=40)},
        {"network": Network(topology="random_regular", degree=50)},
    ):
        assert rounds_until_decided(good._replace(**changed)) is None


def test_an_odd_number_of_nodes_is_even_enough():
    """Between the even numbers below and above: the time grows with n and with nothing else."""
    below, odd, above = (
        rounds_until_decided(point(Snowflake(), RandomVoting(), n=n)) for n in (998, 999, 1000)
    )
    assert below < odd < above
