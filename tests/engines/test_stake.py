"""Weighted stake against units and nodes drawn one by one, and against enumerations."""

import itertools

import numpy as np
from helpers import (
    point,
    run,
)

from vecsim.adversaries.always_accept import AlwaysAccept
from vecsim.adversaries.balance_pooled import BalancePooled
from vecsim.adversaries.coordinated_collusion import CoordinatedCollusion
from vecsim.adversaries.echo import Echo
from vecsim.adversaries.mixture import Mixture
from vecsim.adversaries.non_answer import NonAnswer
from vecsim.adversaries.random_voting import RandomVoting
from vecsim.adversaries.safety_split import SafetySplit
from vecsim.adversaries.stall import Stall
from vecsim.adversaries.sybil import Sybil
from vecsim.engines.agents.holdings import holdings_of
from vecsim.engines.agents.prepare import agents_program_key
from vecsim.model import random as words
from vecsim.model.point import Point
from vecsim.network import Network
from vecsim.protocols.qr_avalanche import QrAvalanche
from vecsim.protocols.slush import Slush
from vecsim.stakes.stake import Weighted
from vecsim.stakes.zipf import Zipf

THEIRS, OURS = 250, 800  # trials of a case: of the oracle, of the engine


class Given(Weighted):
    """Every node holds so many units."""

    held: tuple[int, ...] = ()

    def weights(self, n):
        return np.array(self.held[:n]) - 1 + 1e-9


def given(*held, **fields):
    """The stake of nodes that hold so many units each."""
    return Given(held=held, units=sum(held), **fields)


def staked(rule, adversary, stake, **fields):
    """A checked point of this stake."""
    network = {key: fields.pop(key) for key in ("sampling", "loss") if key in fields}
    fields = {"byzantine_fraction": 0.0, "initial_accept": 0.5, "schedule": "lockstep"} | fields
    network = Network(exclude_self=False, **network)
    p = Point(protocol=rule, adversary=adversary, network=network, stake=stake, **fields)
    p.check()
    return p


OTHERS = {
    "always_accept": AlwaysAccept(),
    "echo": Echo(),
    "stall": Stall(),
    "non_answer": NonAnswer(),
    "coordinated_collusion": CoordinatedCollusion(0.4),
    "sybil": Sybil(0.5, 0.3),
    "balance_pooled": BalancePooled(0),
    "balance_pooled, late": BalancePooled(1),
    "balance_pooled, each poll": BalancePooled(every="poll"),
    "safety_split, random": SafetySplit(0, 0.3, "random"),
    "mixture": Mixture.of(
        {"x": (RandomVoting(), 0.3), "y": (Echo(), 0.45), "z": (BalancePooled(), 0.25)}
    ),
    "sybils and others": Mixture.of({"x": (Sybil(0.6), 0.5), "y": (SafetySplit(), 0.5)}),
}


def keys_of(p, trials):
    return words.trial_key(words.point_key(0, p.hash()), np.arange(trials))


def test_equal_weights_give_the_counts_of_equal_stake():
    """Halves go to the even count."""
    split = Mixture.of({"x": (Sybil(0.1), 0.5), "y": (SafetySplit(1, 0.45), 0.5)})
    for n, fraction, share in itertools.product((9, 15, 16), (0.2, 0.4), (0.3, 0.5, 0.9)):
        fields = {"n": n, "byzantine_fraction": fraction, "initial_accept": share}
        stake = Zipf(exponent=0.0, units=n, initial_accept_of="nodes")
        equal = point(Slush(2, 2, 1), split, exclude_self=False, **fields)
        p = staked(Slush(2, 2, 1), split, stake, **fields)
        held = holdings_of(p, keys_of(p, 50))
        assert (held.honest == equal.honest).all()
        assert (held.start_ones == equal.start_ones).all()


def test_a_mixture_runs_beside_one_kind():
    adversaries = (OTHERS["sybils and others"], Sybil(0.5), OTHERS["mixture"], RandomVoting())
    fields = {"n": 9, "byzantine_fraction": 0.4}
    points = [staked(QrAvalanche(3, 2, 2), each, Zipf(units=90), **fields) for each in adversaries]
    assert len({agents_program_key(p) for p in points}) == 1
    for together, alone in zip(run(points, 8), (run([p], 8)[0] for p in points), strict=True):
        assert np.array_equal(together["final_ones_stake"], alone["final_ones_stake"])
