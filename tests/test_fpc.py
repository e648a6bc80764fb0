"""FPC: thresholds that all nodes share in a round, poll by poll and in trials."""

import random

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from helpers import (
    assert_as_in_the_plain_loop,
    assert_distribution,
    assert_rate,
    assert_same_distribution,
    point,
    run,
)

from vecsim.adversaries.flip import Flip
from vecsim.adversaries.safety_split import SafetySplit
from vecsim.adversaries.silent import Silent
from vecsim.errors import ConfigError
from vecsim.protocols.fpc import UNIT, Fpc
from vecsim.stakes.zipf import Zipf
from vecsim.types import Counts, preference

LOW, HIGH = np.uint32(0), np.uint32(2**32 - 1)  # words that make the lowest and the highest one


@jax.jit
def asked(rule, cell, ones, zeros, common):
    """The cell after a poll with these answers."""
    ones, zeros = (jnp.asarray(each, jnp.uint32) for each in (ones, zeros))
    positive = jnp.where(preference(cell) == 1, ones, zeros)
    return rule.step(cell, Counts(positive, ones + zeros, 0, jnp.asarray(common, jnp.uint32)))


def after(rule, colour, *polls):
    """The state of a node after polls, each (ones, zeros, common word)."""
    cell = rule.start(jnp.uint32(colour))
    for poll in polls:
        cell = asked(rule, cell, *poll)
    return rule.unpack(cell)


# Poll by poll


def test_the_threshold_of_the_first_round_is_its_own():
    rule = Fpc()
    for word in (LOW, HIGH):
        assert after(rule, 1, (14, 7, word)).preference == 0  # 0.6667 of 0.67
        assert after(rule, 0, (15, 6, word)).preference == 1
    begun = (15, 6, LOW)
    assert after(rule, 0, begun, (11, 10, LOW)).preference == 1  # 0.52 of 0.5
    assert after(rule, 0, begun, (10, 11, LOW)).preference == 0
    assert after(rule, 0, begun, (14, 7, HIGH)).preference == 0
    assert after(rule, 0, begun, (15, 6, HIGH)).preference == 1
    assert after(rule, 0, begun, (1, 1, LOW)).preference == 1  # a share that is the threshold


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"first_low": 0.8}, "first_high is 0.67; allowed: protocol.first_low, which is 0.8, to 1"),
        ({"low": 0.9}, "high is 0.67; allowed: protocol.low, which is 0.9, to 1"),
        ({"high": 0.3}, "high is 0.3; allowed: protocol.low, which is 0.5, to 1"),
    ],
)
def test_ends_of_thresholds_are_refused_by_both_names(given, told):
    """Whichever of the two was set."""
    with pytest.raises(ConfigError) as caught:
        Fpc(**given)
    assert str(caught.value) == f"protocol.{told}"


def test_thresholds_are_uniform():
    """What the share of 14 in 21 answers reaches is the whole range up to it."""
    rule, words = Fpc(first_low=0.5), np.arange(2**16, dtype=np.uint32) * np.uint32(2**16 + 1)
    cells = rule.start(jnp.zeros(len(words), jnp.uint32))
    for ones, bound in ((11, 11 / 21), (12, 12 / 21), (13, 13 / 21), (14, 14 / 21)):
        share = np.mean(np.asarray(asked(rule, cells, ones, 21 - ones, words)) & 1)
        assert abs(share - (bound - 0.5) / 0.17) < 2 / (0.17 * UNIT) + 2**-16
    same = Fpc(first_low=0.5, first_high=0.5)
    assert (np.asarray(asked(same, cells, 1, 1, words)) & 1).all()


def test_opinions_in_a_row_decide():
    ones, zeros = (21, 0, HIGH), (0, 21, LOW)
    rule = Fpc()
    for colour in (0, 1):  # the opinion at the start does not count
        assert not after(rule, colour, *[ones] * 9).decided
        assert after(rule, colour, *[ones] * 10).decided
    turned = [ones] * 9 + [zeros]
    assert not after(rule, 1, *turned, *[zeros] * 8).decided
    last = after(rule, 1, *turned, *[zeros] * 9)
    assert (bool(last.decided), int(last.preference)) == (True, 0)


def test_rounds_that_cool_down_do_not_count():
    ones = (21, 0, HIGH)
    for cooling in (1, 4):
        rule = Fpc(cooling=cooling, finality=3)
        assert not after(rule, 1, *[ones] * (cooling + 2)).decided
        assert after(rule, 1, *[ones] * (cooling + 3)).decided


def test_without_answers_the_opinion_stays_and_the_round_counts():
    for colour in (0, 1):
        for word in (LOW, HIGH):
            now = after(Fpc(), colour, *[(0, 0, word)] * 10)
            assert (bool(now.decided), int(now.preference)) == (True, colour)
    # The round of no answers was the first one: the next has a threshold of the others.
    assert after(Fpc(), 0, (0, 0, LOW), (11, 10, LOW)).preference == 1


@pytest.mark.parametrize(
    "settings",
    [{}, {"cooling": 3, "finality": 4}, {"first_low": 0.3, "low": 0.2, "high": 0.9, "finality": 2}],
)
def test_nodes_and_the_plain_loop_have_the_same_opinions(settings):
    rng, rule = np.random.default_rng(3), Fpc(**settings)
    colours = rng.integers(0, 2, 200).astype(np.uint32)
    theirs = [oracle.make_node({"name": "fpc", **settings}, int(each)) for each in colours]
    cells, ended = rule.start(colours), set()
    for word in rng.integers(0, 2**32, 40, dtype=np.uint32):
        answered = rng.choice([0, 5, 21], 200, p=[0.1, 0.2, 0.7])
        ones = rng.binomial(answered, np.resize([0.02, 0.55, 0.98, 0.9], 200))
        new = np.asarray(asked(rule, cells, ones, answered - ones, word))
        for i, node in enumerate(theirs):
            if node.decision == -1:
                node.round(int(ones[i]), int(answered[i] - ones[i]), int(word) / 2**32)
        cells = jnp.where((cells & 2) > 0, cells, new)
        now = rule.unpack(cells)
        assert now.preference.tolist() == [node.preference for node in theirs]
        assert now.decided.tolist() == [node.decision != -1 for node in theirs]
        ended |= {node.decision for node in theirs}
    assert ended >= {0, 1}


# Trials


def test_a_round_has_one_threshold():
    """Where all peers are polled all nodes see one share, 0.6, and all of them take 1 or none."""
    rule = Fpc(k=10, first_low=0.5, first_high=0.67, max_rounds=1)
    (out,) = run([point(rule, Silent(), n=10, initial_accept=0.6, exclude_self=False)], 4000)
    assert set(out["final_ones"]) == {0, 10}
    assert_rate(out["final_ones"] == 10, 0.1 / 0.17)


def test_thresholds_of_trials_are_uniform():
    rule = Fpc(k=10, first_low=0.0, first_high=1.0, low=0.0, high=1.0, finality=1, max_rounds=1)
    p = point(rule, Silent(), n=10, exclude_self=False)
    outs = run([p._replace(initial_accept=share) for share in (0.2, 0.5, 0.8)], 4000)
    for out, share in zip(outs, (0.2, 0.5, 0.8), strict=True):
        assert_distribution(np.bincount(out["decided_1"] // 10, minlength=2), [1 - share, share])


SMALL = {"k": 6, "finality": 4, "max_rounds": 30}
WITH = {"sampling": "with_replacement", "exclude_self": False}
ASYNC = {"schedule": "async"}
TRIALS = {
    "split": (SMALL, "silent", {"byzantine_fraction": 0.0, "initial_accept": 0.6, **WITH}),
    "flip": (SMALL, "flip", {"initial_accept": 0.75}),
    "loss": (
        SMALL | {"cooling": 2},
        "random_voting",
        {"initial_accept": 0.66, "loss": 0.3, **WITH},
    ),
    "silent": (SMALL | {"first_low": 0.4}, "silent", {"byzantine_fraction": 0.5, **WITH}),
    "push": (SMALL, "balance_informed", {"initial_accept": 0.66}),
    "async": (SMALL, "balance_informed", {"initial_accept": 0.66, **ASYNC, **WITH}),
    "async, loss": (SMALL | {"cooling": 1}, "always_reject", {"loss": 0.2, **ASYNC}),
    "zipf": (SMALL, "flip", {"zipf": 1.0, "initial_accept": 0.75, "sampling": "with_replacement"}),
    "zipf, loss": (SMALL, "random_voting", {"zipf": 1.0, "loss": 0.2, **ASYNC}),
    "neutral": (SMALL, "neutral", {"initial_accept": 0.75}),
}


@pytest.mark.parametrize("case", TRIALS)
def test_trials_agree_with_the_plain_loop(case):
    numbers, adversary, fields = TRIALS[case]
    config = {"name": "fpc"} | numbers
    seed = len(case) + len(adversary)
    assert_as_in_the_plain_loop(Fpc(**numbers), config, adversary, seed=seed, **fields)


STARTS = (0.5, 0.6, 0.67)  # shares that start at 1, near the thresholds
ATTACKS = {
    "flip": (Flip(), {"name": "flip"}, 0.2, 0.95),
    "safety_split": (SafetySplit(1, 0.45), {"name": "safety_split"}, 0.3, 0.85),
}


@pytest.mark.parametrize(
    ("attack", "zipf"), [("flip", False), ("flip", True), ("safety_split", False)]
)
def test_agreement_fails_as_in_the_plain_loop(attack, zipf):
    """With the usual numbers, near the threshold of the first round, where the split is even after
    it: adversaries that do not see the threshold break the agreement nevertheless."""
    adversary, config, fraction, accept = ATTACKS[attack]
    fields = {"n": 40, "byzantine_fraction": fraction, "initial_accept": accept, **WITH}
    stake = {"stake": Zipf(exponent=1.0, units=1000)} if zipf else {}
    holdings = {"holdings": stake["stake"].holdings(40).tolist()} if zipf else {}
    (out,) = run([point(Fpc(), adversary, **fields, **stake)], 4000, seed=1)
    ours = (out["decided_0"] > 0) & (out["decided_1"] > 0)
    plain = [
        oracle.simulate({"name": "fpc"}, config, rng=random.Random(i), **fields, **holdings)
        for i in range(150)
    ]
    assert ours.any()
    assert_same_distribution(ours, [out["decided_0"] > 0 < out["decided_1"] for out in plain])


def test_honest_nodes_agree_alone():
    """From any split, also where nodes hold by Zipf's law."""
    for stake in ({}, {"stake": Zipf(exponent=1.0)}):
        shares = [point(Fpc(), Silent(), n=100, initial_accept=a, **WITH, **stake) for a in STARTS]
        for out in run(shares, 500, seed=1):
            assert not ((out["decided_0"] > 0) & (out["decided_1"] > 0)).any()
            assert not out["undecided"].any()
