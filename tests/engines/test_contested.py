"""Rounds from an even split against simulations of many nodes and recorded means."""

import math

import numpy as np
import pytest
from helpers import assert_mean, point

from vecsim.adversaries.random_voting import RandomVoting
from vecsim.contested import rounds_until_decided
from vecsim.engines import population
from vecsim.network import Network
from vecsim.point import Point
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
TRIALS = 4000


def even(rule, n, **changed):
    return Point(n, 0.0, 0.5, "lockstep", rule, RandomVoting(), NETWORK)._replace(**changed)


@pytest.mark.parametrize("name", RULES)
def test_many_nodes_take_as_long(name):
    points = [even(RULES[name], n) for n in (10**4, 10**6, 10**9, 10**12)]
    out = population.run([(p, np.arange(TRIALS)) for p in points], 3)["last_decision"]
    for p, rounds in zip(points, out.reshape(len(points), TRIALS), strict=True):
        theory = rounds_until_decided(p)
        assert theory is not None
        assert_mean(rounds, theory)


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
    odd, pair = (rounds_until_decided(point(Snowflake(), RandomVoting(), n=n)) for n in (999, 1000))
    assert odd == pytest.approx(pair, abs=0.01)
