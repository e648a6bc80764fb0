"""The theory line against simulation, where the rate is neither 0 nor 1."""

import numpy as np
import pytest
from helpers import run

from vecsim.adversaries.always_reject import AlwaysReject
from vecsim.adversaries.balance_informed import BalanceInformed
from vecsim.adversaries.coordinated_collusion import CoordinatedCollusion
from vecsim.adversaries.random_voting import RandomVoting
from vecsim.engines.population import undisputed
from vecsim.model.point import Point
from vecsim.network import Network
from vecsim.protocols.qr_avalanche import QrAvalanche
from vecsim.protocols.snowball import Snowball
from vecsim.protocols.snowflake import Snowflake
from vecsim.studies.theory import finalised_undisputed

TRIALS = 2000


@pytest.mark.parametrize(
    ("protocol", "adversary", "fraction"),
    [
        (Snowflake(max_rounds=60), AlwaysReject(), 0.09),
        (Snowball(max_rounds=60), AlwaysReject(), 0.09),
        (Snowflake(20, 13, 15, 20, 60), AlwaysReject(), 0.09),
        (Snowflake(max_rounds=60), RandomVoting(), 0.18),
        (Snowflake(max_rounds=60), CoordinatedCollusion(), 0.09),
        (QrAvalanche(), AlwaysReject(), 0.045),
        (QrAvalanche(), RandomVoting(), 0.09),
    ],
)
def test_simulation_agrees(protocol, adversary, fraction):
    point = Point(1000, fraction, 1.0, "lockstep", protocol, adversary, Network())
    theory = finalised_undisputed(point)
    assert theory is not None
    assert 0.005 < theory < 0.995
    outcome = run([point], TRIALS)[0]
    rate = np.mean((outcome["undecided"] == 0) & (outcome["decided_0"] == 0))
    # The grid of QR-Avalanche's confidence moves the line by less than 0.002.
    grid = 0.002 if protocol.counts else 0.0
    assert abs(rate - theory) < 5 * np.sqrt(theory * (1 - theory) / TRIALS) + grid


def test_the_grid_of_the_confidence_is_off_by_less_than_it_says():
    """Where the rate falls most steeply, against the law of one node on every confidence."""
    point = Point(1000, 0.095, 1.0, "lockstep", QrAvalanche(), RandomVoting(), Network())
    [(pool, colour)] = undisputed.pools_of(point)
    law = undisputed.law_of(point.protocol, pool, colour, point.honest)
    exact = (1 - law[-1] / law.sum()) ** point.honest
    assert 0.4 < exact < 0.6
    assert abs(finalised_undisputed(point) - exact) < 0.002


def test_colours_are_alike():
    one = Point(500, 0.1, 1.0, "lockstep", Snowflake(), RandomVoting(), Network())
    zero = one._replace(initial_accept=0.0)
    assert finalised_undisputed(one) == pytest.approx(finalised_undisputed(zero), rel=1e-12)


def test_unknown_where_nodes_influence_each_other():
    point = Point(100, 0.1, 0.5, "lockstep", Snowflake(), RandomVoting(), Network())
    assert finalised_undisputed(point) is None
    flipping = point._replace(initial_accept=1.0, byzantine_fraction=0.6, adversary=AlwaysReject())
    assert finalised_undisputed(flipping) is None
    steered = point._replace(initial_accept=1.0, adversary=BalanceInformed())
    assert finalised_undisputed(steered) is not None
