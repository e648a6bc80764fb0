"""Groups of honest nodes in the population engine: cut off from others, throttled, silent."""

import itertools
import math
import random
from fractions import Fraction
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from helpers import assert_mean, assert_same_distribution, point, run
from hypothesis import given
from hypothesis import strategies as st
from test_population import Colours, Mixed, assert_close, exact_results, outcomes

from vecsim.adversaries.always_reject import AlwaysReject
from vecsim.adversaries.balance_pooled import BalancePooled
from vecsim.adversaries.echo import Echo
from vecsim.adversaries.random_voting import RandomVoting
from vecsim.adversaries.safety_split import SafetySplit
from vecsim.adversaries.silent import Silent
from vecsim.adversaries.stall import Stall
from vecsim.engines.choose import engine_of
from vecsim.engines.population import stepping
from vecsim.engines.population.poll_results import result_probabilities
from vecsim.engines.population.prepare import blocks_of, population_shape
from vecsim.engines.population.weights import polls_of, third_part
from vecsim.errors import ConfigError
from vecsim.model.point import Point
from vecsim.network import Network
from vecsim.protocols.qr_avalanche import QrAvalanche
from vecsim.protocols.slush import Slush
from vecsim.protocols.snowball import Snowball
from vecsim.protocols.snowflake import Snowflake

# Probabilities of results


def exact_heard(p, mix, own, heard, ones):
    """`exact_results` of polls of which i go to honest nodes that are not heard."""
    k, network = p.protocol.k, p.network
    unheard = p.honest - heard
    visible = heard - network.exclude_self + p.byzantine
    total = [Fraction(0)] * 5
    for i in range(k + 1):
        if network.replacement:
            peers = visible + unheard
            chance = Fraction(unheard, peers) ** i * Fraction(visible, peers) ** (k - i)
            chance *= math.comb(k, i)
        else:
            chance = Fraction(
                math.comb(unheard, i) * math.comb(visible, k - i), math.comb(visible + unheard, k)
            )
        if chance:
            rule = SimpleNamespace(k=k - i, quorums=p.protocol.quorums)
            fields = {"protocol": rule, "network": network, "honest": heard}
            some = SimpleNamespace(**fields, byzantine=p.byzantine)
            found = exact_results(some, mix, own, ones) if i < k else [1, 0, 0, 0, 0]
            total = [known + chance * more for known, more in zip(total, found, strict=True)]
    return [float(each) for each in total]


@pytest.mark.parametrize("sampling", ["with_replacement", "without_replacement"])
@pytest.mark.parametrize("loss", [0.0, 0.125])
@pytest.mark.parametrize("adversary", [Mixed(), Colours()])
@pytest.mark.parametrize(("exclude_self", "fraction"), [(True, 0.25), (False, 0.25), (True, 0.0)])
def test_results_where_some_are_not_heard(sampling, loss, adversary, exclude_self, fraction):
    network = Network(sampling=sampling, loss=loss, exclude_self=exclude_self)
    p = Point(24, fraction, 0.5, "lockstep", Snowflake(6, 4, 5, 3), adversary, network)
    cases = [(18, 9), (11, 4), (11, 1), (5, 3), (2, 1), (1, 1)]
    heard, ones = np.array(cases, float).T
    mixes = np.tile(np.arange(4, dtype=np.int32)[:, None], (len(cases), 1, 2))
    with jax.enable_x64(True):
        polls = polls_of(p, 4, 8, third_part(p), unheard=True)
        wide = [np.repeat(each[:, None], 4, axis=1) for each in (ones, heard)]
        arguments = polls, np.full((len(cases), 1), float(p.byzantine)), wide[0], mixes, wide[1]
        ours = np.asarray(jax.jit(result_probabilities)(*arguments))
    for (i, mix), own, row in itertools.product(
        enumerate(adversary.mixes), range(2), range(len(cases))
    ):
        there = cases[row][1] if own else cases[row][0] - cases[row][1]
        if there:  # else there is no such querier
            exact = exact_heard(p, mix, own, *cases[row])
            assert_close(ours[row, i, own], np.array(exact))


# Whole trials


CASES = {  # of the network
    "halves, cut for 6 rounds": {"groups": [0.5, 0.5], "cut": 6},
    "halves of two minds": {"groups": [0.5, 0.5], "start": [1.0, 0.0], "cut": 12},
    "throttled": {"groups": [0.6, 0.4], "active": [1.0, 0.4]},
    "all at once": {"groups": [0.5, 0.3, 0.2], "active": [0.9, 0.7, 0.0], "cut": 5},
}
ATTACKS = {  # ours, the oracle's, the Byzantine fraction
    "none": (AlwaysReject(), {"name": "always_reject"}, 0.0),
    "random_voting": (RandomVoting(), {"name": "random_voting"}, 0.2),
    "stall": (Stall(), {"name": "stall"}, 0.2),
    "safety_split": (SafetySplit(), {"name": "safety_split"}, 0.2),
    "balance_pooled": (BalancePooled(), {"name": "balance_pooled"}, 0.2),
}
RULES = {  # ours, the oracle's
    "slush": (Slush(5, 3, 12), {"name": "slush", "k": 5, "alpha": 3, "m": 12}),
    "snowflake": (
        Snowflake(5, 3, 4, 3, 30),
        {"name": "snowflake", "alpha_preference": 3, "alpha_confidence": 4},
    ),
    "snowball": (
        Snowball(5, 3, 3, 3, 12),
        {"name": "snowball", "alpha_preference": 3, "alpha_confidence": 3},
    ),
}
SAMPLING = {"none": "without_replacement", "stall": "with_replacement"}
FIELDS = ("decided_0", "decided_1", "undecided", "rounds", "first_decision", "last_decision")
FIELDS += ("unanimity", "final_ones", "flips")


# Every network, attack and rule; the pairs beside these go through the same code.
PAIRS = {
    ("halves, cut for 6 rounds", "none"),
    ("halves, cut for 6 rounds", "balance_pooled"),
    ("halves of two minds", "stall"),
    ("halves of two minds", "safety_split"),
    ("throttled", "random_voting"),
    ("all at once", "stall"),
}
COMPARED = [
    pytest.param(*pair, marks=() if pair in PAIRS else pytest.mark.slow)
    for pair in itertools.product(CASES, ATTACKS)
]


@pytest.mark.parametrize(("case", "attack"), COMPARED)
def test_trials_agree_with_peers_drawn_one_by_one(case, attack):
    adversary, described, fraction = ATTACKS[attack]
    name = list(RULES)[(list(CASES).index(case) + list(ATTACKS).index(attack)) % len(RULES)]
    rule, spoken = RULES[name]
    if name != "slush":
        spoken = spoken | {"k": 5, "beta": 3, "max_rounds": rule.max_rounds}
    network = {"sampling": SAMPLING.get(attack, "without_replacement"), **CASES[case]}
    if attack == "random_voting":
        network["loss"] = 0.1
    p = point(rule, adversary, n=20, byzantine_fraction=fraction, initial_accept=0.6, **network)
    (ours,) = outcomes([p], 4000, seed=3)
    rng = random.Random(4)
    theirs = [
        oracle.simulate(
            spoken,
            described,
            n=20,
            byzantine_fraction=fraction,
            initial_accept=0.6,
            sampling=network["sampling"],
            loss=network.get("loss", 0.0),
            rng=rng,
            stop_at_unanimity=name == "slush" and not fraction,
            groups=[tuple(group) for group in p.groups],
            cut=p.network.cut,
        )
        for _ in range(1000)
    ]
    for field in FIELDS:
        other = np.array([out[field] for out in theirs], float)
        assert_same_distribution(ours[field], other)
    assert np.ptp(ours["flips"]) > 0


def test_groups_that_are_alike_are_one_group():
    fields = {"n": 1000, "byzantine_fraction": 0.1, "initial_accept": 0.5}
    rule = Snowflake(6, 4, 4, 4, 40)
    (ours,) = outcomes([point(rule, Echo(), **fields, groups=[0.3, 0.7])], 4000, seed=1)
    (theirs,) = run([point(rule, Echo(), **fields)], 4000, seed=2)
    for field in (*FIELDS, "median_decision", "polls"):
        assert_same_distribution(ours[field], theirs[field])


def test_silent_honest_nodes_are_like_silent_byzantine_ones():
    rule = Snowflake(6, 4, 4, 4, 60)
    groups = {"groups": [0.8, 0.2], "active": [1.0, 0.0]}
    (ours,) = outcomes([point(rule, Echo(), n=1000, **groups)], 4000, seed=1)
    (theirs,) = run([point(rule, Silent(), n=1000, byzantine_fraction=0.2)], 4000, seed=2)
    for field in ("decided_0", "decided_1", "first_decision", "flips"):
        assert_same_distribution(ours[field], theirs[field])
    assert (ours["undecided"] == theirs["undecided"] + 200).all()


def test_a_throttled_node_takes_part_in_its_share_of_the_rounds():
    rule = Snowflake(6, 4, 4, 60, 40)  # nobody can decide
    groups = {"groups": [0.5, 0.5], "active": [1.0, 0.25]}
    (ours,) = outcomes([point(rule, Echo(), n=1000, initial_accept=1.0, **groups)], 500)
    assert (ours["polls"] >= 500 * 40).all()
    assert_mean(ours["polls"] / 40, 500 + 500 * 0.25)


def test_sides_that_start_apart_decide_apart_unless_they_hear_each_other_in_time():
    rule = Snowflake(20, 11, 11, 20, 1000)
    groups = {"groups": [0.5, 0.5], "start": [1.0, 0.0], "sampling": "with_replacement"}
    points = [point(rule, Echo(), n=10**7, **groups, cut=cut) for cut in (0, 1000)]
    together, apart = outcomes(points, 40)
    assert ((together["decided_0"] == 0) | (together["decided_1"] == 0)).all()
    assert (together["undecided"] == 0).all()
    # Half of the answers do not come: 11 of 20 do with probability 0.41, twenty times in a row for
    # one node in 1e5 within a thousand rounds.
    assert (apart["decided_0"] > 0).all()
    assert (apart["decided_1"] > 0).all()
    assert (apart["flips"] == 0).all()


@pytest.mark.parametrize("n", [1000, 10**12])
def test_no_node_is_lost(n):
    network = Network(groups=[0.2, 0.5, 0.3], active=[1.0, 0.5, 0.0], cut=4)
    p = Point(n, 0.1, 0.5, "lockstep", Snowflake(6, 4, 4, 4, 40), SafetySplit(), network)
    shape = population_shape(p)
    trials = np.arange(shape.block)
    ((blocks, _),) = blocks_of(shape, [(p, trials, trials)], 0, 1, 1)
    sizes = np.array([[group.fed, group.nodes - group.fed] for group in p.groups]).ravel()
    assert sizes.sum() == p.honest

    @jax.jit
    def advanced(block, state):
        tally = stepping.count_by_cell(block.moves, state.nodes)
        awake = stepping.taking_part(shape, block, state)
        return stepping.advance_counts(shape, block, state, tally, awake), awake

    with jax.enable_x64(True):
        block = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), blocks)
        state = stepping.begin(shape, block)
        for _ in range(12):
            before = np.asarray(state.nodes)
            state, awake = advanced(block, state)
            nodes, awake = np.asarray(state.nodes), np.asarray(awake)
            assert (nodes >= 0).all()
            assert (nodes.sum(axis=-1) == sizes).all()
            assert (awake <= before).all()
            assert (awake[:, :2] == before[:, :2]).all()
            assert (awake[:, 4:] == 0).all()
            assert (nodes[:, 4:] == before[:, 4:]).all()  # they stay as they are


def test_draws_of_all_groups_are_their_own():
    """Of 16 groups that an adversary cuts in two, in who takes part and in where polls lead."""
    network = Network(groups=(1 / 16,) * 16, active=(0.5,) * 16)
    p = Point(32_000, 0.0, 0.5, "lockstep", Slush(3, 2, 4), SafetySplit(fed=0.5), network)
    shape = population_shape(p)
    trials = np.arange(shape.block)
    ((blocks, _),) = blocks_of(shape, [(p, trials, trials)], 0, 1, 1)
    states = []
    with jax.enable_x64(True):
        block = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), blocks)
        state = stepping.begin(shape, block)
        for _ in range(3):
            awake = stepping.taking_part(shape, block, state)
            states.append(np.asarray(awake.sum(axis=-1)).T)
            tally = stepping.count_by_cell(block.moves, state.nodes)
            state = stepping.advance_counts(shape, block, state, tally, awake)
        states.append(np.asarray(state.nodes[..., 0]).T)
    for groups in states:
        assert groups.shape == (32, shape.block)
        related = np.corrcoef(groups)[~np.eye(32, dtype=bool)]
        assert np.abs(related).max() < 5 / np.sqrt(shape.block)


@given(
    honest=st.integers(1, 10**12) | st.integers(16, 60),
    shares=st.lists(st.floats(0.01, 1.0), min_size=1, max_size=16),
    accept=st.floats(0.0, 1.0),
    fed=st.floats(0.0, 1.0),
)
def test_every_node_is_in_a_group(honest, shares, accept, fed):
    groups = [share / sum(shares) for share in shares]
    p = Point(honest, 0.0, accept, "lockstep", Slush(), SafetySplit(1, fed), Network(groups=groups))
    assert sum(group.nodes for group in p.groups) == honest
    assert sum(group.ones for group in p.groups) == p.start_ones == round(accept * honest)
    assert sum(group.fed for group in p.groups) == p.first_group
    rounding = 32 * np.finfo(float).eps * honest  # of sums of at most 16 shares
    for group, share in zip(p.groups, groups, strict=True):
        assert abs(group.nodes - share * honest) <= 1 + rounding
        assert 0 <= group.ones <= group.nodes
        assert 0 <= group.fed <= group.nodes
        assert abs(group.ones - Fraction(p.start_ones * group.nodes, honest)) <= 1
        assert abs(group.fed - Fraction(p.first_group * group.nodes, honest)) <= 1


def test_shares_of_groups():
    network = Network(groups=[0.25, 0.25, 0.5], start=[1.0, 0.5, 0.0])
    p = Point(110, 0.1, 0.9, "lockstep", Slush(), SafetySplit(1, 0.5), network)
    assert [group.nodes for group in p.groups] == [25, 25, 49]
    assert [group.ones for group in p.groups] == [25, 12, 0]
    assert p.start_ones == 37
    assert sum(group.fed for group in p.groups) == p.first_group == 55
    even = p._replace(network=Network(groups=[0.25, 0.25, 0.5]))
    assert even.start_ones == sum(group.ones for group in even.groups) == 89
    assert max(group.ones / group.nodes for group in even.groups) < 0.93
    assert even.hash() != p.hash()


def test_who_runs_groups():
    p = point(Snowflake(5, 3, 3, 3, 30), Echo(), n=30, groups=[0.5, 0.5])
    assert engine_of(p, "auto") == engine_of(p, "population") == "population"
    with pytest.raises(ConfigError, match=r"engine.name is 'agents'; allowed: auto or population"):
        engine_of(p, "agents")
    for other in (QrAvalanche(5, 3, 3), Snowball(5, 3, 3, 500, 1000)):
        with pytest.raises(ConfigError, match=r"counts|cells"):
            engine_of(p._replace(protocol=other), "auto")
    with pytest.raises(ConfigError, match="schedule is 'async'; allowed: lockstep with groups"):
        p._replace(schedule="async").check()
