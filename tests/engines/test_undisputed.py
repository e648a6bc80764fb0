"""QR-Avalanche on undisputed vertices in the population engine: one node's law, whole trials."""

import itertools
import math
from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    assert_distribution,
    assert_mean,
    assert_same_distribution,
    point,
    pool_of,
    run,
)

from vecsim.adversaries.always_accept import AlwaysAccept
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
from vecsim.engines import population
from vecsim.engines.choose import engine_of
from vecsim.engines.population import one_node, undisputed
from vecsim.engines.population.prepare import supports
from vecsim.errors import ConfigError
from vecsim.model import poll_law as pools
from vecsim.model.point import Point
from vecsim.network import Network
from vecsim.protocols.qr_avalanche import QrAvalanche
from vecsim.studies.rare import supported
from vecsim.types import Counts, Outcome

SHORT = QrAvalanche(20, 17, 4, 0.9, 0.5, 40)  # few streaks: quick to solve
PATIENT = QrAvalanche(max_rounds=160)  # its first hundred rounds are those of the default
LOST = 1e-15


def voters(n, fraction, rule=SHORT, adversary=None, accept=1.0, **network):
    adversary = adversary or RandomVoting()
    return point(
        rule, adversary, n=n, byzantine_fraction=fraction, initial_accept=accept, **network
    )


def outcomes(p, trials, seed=0):
    return population.run([(p, np.arange(trials))], seed)


# One node's law


def law_by_hand(rule, joint):
    """Every sequence of polls, its cells put together: plain Python on whole numbers."""
    scale, threshold = 2**22 - 1, math.ceil(np.float32(rule.confidence_threshold) * (2**22 - 1))
    states, law = {(round(rule.initial_confidence * scale), 0): 1.0}, []
    for _ in range(rule.max_rounds):
        after, decided = {}, 0.0
        for ((sure, streak), mass), answered in itertools.product(
            states.items(), range(rule.k + 1)
        ):
            for positive in range(answered + 1):
                chance = mass * joint[answered, positive]
                if not chance:
                    continue
                next_sure = sure
                if answered:
                    share = 2**32 // 10 // answered
                    next_sure = min((9 * sure + 5) // 10 + share * positive // 1024, scale)
                following = min(streak + 1, rule.beta) if positive >= rule.alpha else 0
                if following == rule.beta and next_sure >= threshold:
                    decided += chance
                else:
                    cell = next_sure, following
                    after[cell] = after.get(cell, 0.0) + chance
        states = after
        law.append(decided)
    return np.array([*law, sum(states.values())])


@pytest.mark.parametrize(
    ("rule", "silence"),
    [
        (QrAvalanche(3, 2, 2, 0.7, 0.5, 8), 0.0),
        (QrAvalanche(3, 2, 2, 0.6, 0.0, 6), 0.2),
        (QrAvalanche(2, 2, 1, 0.9, 1.0, 9), 0.3),
        (QrAvalanche(1, 1, 3, 0.0, 0.3, 8), 0.5),
        (QrAvalanche(4, 3, 2, 1.0, 0.999, 5), 0.1),
    ],
)
def test_law_by_hand(rule, silence):
    size = rule.k + 1
    joint = np.random.default_rng(rule.k).random((size, size)) ** 3
    answered, positive = np.indices((size, size))
    joint *= (positive <= answered) & (answered - positive < rule.alpha)
    joint[:-1] *= silence
    joint /= joint.sum()
    law = one_node.decision_law(rule, joint, LOST)
    assert np.all(np.abs(law - law_by_hand(rule, joint)) < 1e-13)
    assert (law >= 0).all()


def test_a_poll_keeps_nine_tenths_and_adds_its_own():
    rng = np.random.default_rng(0)
    for k in (1, 7, 30, 100):
        rule = QrAvalanche(k, k // 2 + 1, 3)
        answered = rng.integers(1, k + 1, 20_000).astype(np.uint32)
        positive = rng.integers(0, answered + 1).astype(np.uint32)
        turned = answered - positive >= rule.alpha
        cells = rng.integers(0, 2**22, 20_000).astype(np.uint32) << np.uint32(10)
        polls = Counts(jnp.asarray(positive), jnp.asarray(answered))
        after, added = (
            rule.step(jnp.asarray(c), polls) >> jnp.uint32(10) for c in (cells, cells * 0)
        )
        part = [one_node.Part(int(c), np.ones(1)) for c in cells[:300] >> np.uint32(10)]
        kept = np.array([one_node.nine_tenths(one).low for one in part])
        found = (np.asarray(after).astype(int) - np.asarray(added).astype(int))[:300]
        assert (found == kept)[~turned[:300]].all()


def test_probabilities_of_wide_parts_are_kept():
    mass = np.random.default_rng(1).random(5000)
    for low in range(1000, 1020):
        for width in (1, 2, 9, 10, 11, 4999):
            part = one_node.Part(low, mass[:width])
            expected = np.bincount((9 * (low + np.arange(width)) + 5) // 10, mass[:width])
            kept = one_node.nine_tenths(part)
            assert np.allclose(expected[kept.low :], kept.mass, rtol=1e-15, atol=0)
            assert not expected[: kept.low].any()


def test_everybody_agrees():
    for initial, rounds in ((0.5, 22), (0.0, 29)):
        for colour, n in ((1, 50), (0, 10**12)):
            rule = QrAvalanche(initial_confidence=initial)
            p = voters(n, 0.2, rule, AlwaysAccept() if colour else AlwaysReject(), float(colour))
            out = outcomes(p, 20)
            for name in ("rounds", "first_decision", "median_decision", "last_decision"):
                assert (out[name] == rounds).all()
            assert (out[f"decided_{colour}"] == p.honest).all()
            assert not out[f"decided_{1 - colour}"].any()
            assert (out["final_ones"] == colour * p.honest).all()
            assert (out["polls"] == rounds * p.honest).all()
            assert not out["unanimity"].any()


@cache
def ten_percent():
    """The law of one of 900 honest nodes among 1,000, 10 % of which vote at random."""
    p = voters(1000, 0.1, PATIENT)
    return undisputed.law_of(p.protocol, undisputed.pools_of(p)[0][0], 1, p.honest)


def test_ten_percent_random_voters():
    law = ten_percent()
    assert abs(law.sum() - 1) < 1e-12
    rest = law[-1] / law[-2]  # rounds after the last, for from here on the tail is geometric
    mean = (law * [*range(1, 161), 160 + rest]).sum()
    assert abs(mean - 46.63) < 5 * 0.007  # over 3 x 10^6 nodes drawn one by one
    rng, nodes = np.random.default_rng(3), 40_000
    sure, streak, over = np.full(nodes, 0.5), np.zeros(nodes, int), np.full(nodes, 160)
    for rounds in range(160):  # the rule in floating point, on nodes of their own
        byzantine = rng.hypergeometric(100, 899, 30, nodes)
        positive = 30 - byzantine + rng.binomial(byzantine, 0.5)
        sure = 0.9 * sure + 0.1 * positive / 30
        streak = np.where(positive >= 24, streak + 1, 0)
        over = np.where((over == 160) & (streak >= 20) & (sure >= 0.95), rounds, over)
    assert_distribution(np.bincount(over, minlength=161), law / law.sum())


# Whole trials

COMPARED = {
    "random voting, all rounds": voters(1000, 0.1, PATIENT),
    "random voting, few nodes": voters(50, 0.1, accept=0.0),
    "repeated": voters(1000, 0.1, sampling="with_replacement", exclude_self=False),
    "lost": voters(1000, 0.04, adversary=AlwaysReject(), loss=0.1),
    "lost, repeated": voters(50, 0.08, sampling="with_replacement", loss=0.2),
    "always reject": voters(10_000, 0.06, adversary=AlwaysReject()),
    "collusion": voters(1000, 0.06, adversary=CoordinatedCollusion(0.4)),
    "flip": voters(50, 0.06, adversary=Flip(), accept=0.0),
    "echo": voters(50, 0.3, adversary=Echo()),
    "silent": voters(10_000, 0.3, adversary=Silent(), loss=0.02),
    "non-answer": voters(1000, 0.2, adversary=NonAnswer()),
    "stall": voters(1000, 0.06, adversary=Stall()),
    "balance": voters(1000, 0.06, adversary=BalanceInformed()),
}


LONGEST = "random voting, all rounds"  # goes through the same code as few nodes


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name == LONGEST else ()) for name in COMPARED],
)
def test_trials_agree_with_agents(name):
    ours, (theirs,) = outcomes(COMPARED[name], 1000, seed=1), run([COMPARED[name]], 400, seed=2)
    for field in (*Outcome._fields, "admitted"):
        assert_same_distribution(ours[field], theirs[field])
    assert not theirs["flips"].any()


def test_nodes_are_shared_out_by_the_law():
    law = np.array([0.0, 0.2, 0.0, 1e-13, 0.3, 0.5 - 1e-13])
    words = np.arange(undisputed.BLOCK_TRIALS, dtype=np.uint32)
    drawn = np.concatenate(
        [undisputed.shared_out((words, words * 0 + i), 10**12, law) for i in np.uint32(range(40))]
    )
    for column, chance in zip(drawn.T, law[:-1], strict=True):
        if not chance:
            assert not column.any()
            continue
        deviation = math.sqrt(1e12 * chance * (1 - chance))
        assert_mean((column - 1e12 * chance) / deviation, 0.0)
        assert_mean(((column - 1e12 * chance) / deviation) ** 2, 1.0)
    expected = -math.sqrt(0.2 * 0.3 / (0.8 * 0.7))
    scaled = [(drawn[:, i] / 1e6 - 1e6 * law[i]) / math.sqrt(law[i] * (1 - law[i])) for i in (1, 4)]
    assert_mean(scaled[0] * scaled[1], expected)


@pytest.mark.parametrize("n", [10**9, 10**12])
def test_no_node_is_lost(n):
    p = voters(n, 0.15)
    out = outcomes(p, 50)
    assert all(out[name].dtype == np.int64 for name in ("decided_1", "undecided", "polls"))
    assert (out["decided_1"] + out["undecided"] == p.honest).all()
    assert np.isnan(out["last_decision"]).all()
    law = undisputed.law_of(SHORT, undisputed.pools_of(p)[0][0], 1, p.honest)
    deviation = math.sqrt(p.honest * law[-1] * (1 - law[-1]))
    assert_mean((out["undecided"] - p.honest * law[-1]) / deviation, 0.0)
    polls = p.honest * (law * [*range(1, 41), 40]).sum()
    assert_mean(out["polls"], polls)


def test_bits_depend_on_the_trial_alone():
    first = voters(10**9, 0.06, adversary=CoordinatedCollusion(0.4))
    second = voters(50, 0.1)
    together = population.run([(p, np.arange(600)) for p in (second, first)], 5)
    few = np.array([550, 3, 17, 599])
    alone = population.run([(first, few)], 5)
    for name, values in alone.items():
        assert np.array_equal(values, together[name][600 + few], equal_nan=True)
    assert len(np.unique(together["polls"][600:])) > 160
    other = population.run([(first, few)], 6)
    assert not np.array_equal(other["polls"], alone["polls"])


# What is run where


def test_what_is_supported():
    good = Point(10**12, 0.1, 1.0, "lockstep", QrAvalanche(), RandomVoting(), Network())
    assert supports(good) is None
    assert (
        supports(good._replace(initial_accept=0.0, adversary=Flip(), byzantine_fraction=0.05))
        is None
    )
    assert supports(good._replace(byzantine_fraction=0.0, adversary=SafetySplit())) is None
    assert "population" in supported.supports_splitting(good, "population")
    assert "undisputed" in supports(good._replace(initial_accept=0.5))
    assert "async" in supports(good._replace(schedule="async"))
    assert "chance" in supports(good._replace(adversary=Sybil()))
    for adversary in (SafetySplit(), Release(), BalancePooled()):
        assert "may change" in supports(good._replace(adversary=adversary))
    turning = supports(good._replace(adversary=AlwaysReject()))
    assert "probability 3e-05" in turning
    assert all(
        "\n" not in reason for reason in (turning, supports(good._replace(initial_accept=0.5)))
    )
    for p in (good, good._replace(n=50_000)):
        assert engine_of(p, "auto") == "population"
    assert engine_of(good._replace(n=1000), "auto") == "agents"
    for changed in (
        {"adversary": Release()},
        {"initial_accept": 0.5},
        {"byzantine_fraction": 0.33},
    ):
        assert engine_of(good._replace(n=10**6, **changed), "auto") == "agents"
        with pytest.raises(ConfigError, match="auto or agents"):
            engine_of(good._replace(n=10**6, **changed), "population")
        with pytest.raises(ConfigError, match="n is"):
            engine_of(good._replace(**changed), "auto")


def test_chance_of_a_quorum_against():
    p = voters(60, 0.3, QrAvalanche(10, 7, 3), AlwaysReject())
    ((pool, colour),) = undisputed.pools_of(p)
    turns = one_node.turning_chance(p.protocol, undisputed.polled(pool, colour))
    ways = sum(math.comb(18, i) * math.comb(41, 10 - i) for i in range(7, 11))
    assert turns == pytest.approx(ways / math.comb(59, 10), rel=1e-12)


def test_single_rows_are_those_of_the_tables():
    for replacement, loss in itertools.product((False, True), (0.0, 0.1)):
        pool = pool_of(30, 7, 6, 0.3, 0.5, loss, replacement)
        for table in (pools.ones, pools.ones_and_answered):
            assert np.array_equal(table(pool, [30, 4]), table(pool)[[30, 4]])
