"""Snowflake with several termination conditions, and protocols with several quorums."""

import csv
import gzip
import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from helpers import assert_mean, assert_rate, assert_same_distribution, point, run
from test_protocols import poll, random_polls, start
from test_sweep import study

import vecsim
from vecsim.adversaries.always_reject import AlwaysReject
from vecsim.adversaries.balance_informed import BalanceInformed
from vecsim.adversaries.echo import Echo
from vecsim.adversaries.random_voting import RandomVoting
from vecsim.adversaries.safety_split import SafetySplit
from vecsim.adversaries.stall import Stall
from vecsim.engines import exact, limit, population
from vecsim.engines.agents.prepare import poll_kind
from vecsim.engines.population.moves import LEAST_STAGES
from vecsim.engines.population.prepare import population_shape
from vecsim.errors import ConfigError
from vecsim.polls import by_side, counted, possible, results_of
from vecsim.protocols.snowflake import Snowflake
from vecsim.studies import theory
from vecsim.studies.rare.supported import supports_splitting
from vecsim.types import Counts, Levels, Outcome, Protocol, Quorum, decided, preference

DATA = Path(__file__).parent / "data"
THREE = ((4, 6), (5, 4), (6, 2))
SMALL = Snowflake(6, 4, max_rounds=40, conditions=THREE)
LATE = Snowflake(7, 4, max_rounds=40, conditions=((5, 4), (6, 3), (7, 2)))
PAPER = {"reset_on_failure": False, "decide_when": "gt", "count_after_flip": 0}


# What avalanchego did


def traces():
    """{(k, alpha_preference, conditions): rows of each trace}"""
    with gzip.open(DATA / "snowflake_conditions.csv.gz", "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {}
    for row in rows:
        alphas, betas = (map(int, row[name].split()) for name in ("alphas", "betas"))
        rule = int(row["k"]), int(row["alpha_preference"]), tuple(zip(alphas, betas, strict=True))
        found.setdefault(rule, {}).setdefault(row["trace"], []).append(row)
    return found


def counters(rule, cell):
    now = rule.unpack(cell)
    return [int(getattr(now, name)) for name in rule.fields()]


def test_every_recorded_poll_of_avalanchego():
    checked = 0
    for (k, low, conditions), many in traces().items():
        rule = Snowflake(k, low, conditions=conditions)
        for rows in many.values():
            cell = start(rule, jnp.uint32(int(rows[0]["init"])))
            for step, row in enumerate(sorted(rows, key=lambda row: int(row["step"]))):
                assert int(row["step"]) == step
                ones = np.uint32(row["ones"])
                cell = poll(rule, cell, ones, np.uint32(k) - ones)
                assert int(preference(cell)) == int(row["preference"])
                assert counters(rule, cell) == list(map(int, row["confidence"].split()))
                assert bool(decided(cell)) == (row["finalized"] == "1")
                checked += 1
    assert checked == 3146


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("when", ["ge", "gt"])
@pytest.mark.parametrize("flip", [0, 1])
def test_the_published_variants_as_in_the_plain_loop(reset, when, flip):
    settings = {"reset_on_failure": reset, "decide_when": when, "count_after_flip": flip}
    conditions, nodes, steps = ((11, 5), (13, 3), (16, 2)), 60, 60
    rule = Snowflake(18, 10, conditions=conditions, **settings)
    config = {"name": "snowflake", "k": 18, "alpha_preference": 10, "conditions": conditions}
    config |= {"alpha_confidence": 10, "beta": 1, **settings}
    rng = np.random.default_rng(3)
    colours = rng.integers(0, 2, nodes).astype(np.uint32)
    ones, zeros = random_polls(rng, nodes, steps, 18, 0.1)
    cells = start(rule, colours)
    theirs = [oracle.make_node(config, int(colour)) for colour in colours]
    for step in range(steps):
        cells = poll(rule, cells, ones[:, step], zeros[:, step])
        now = rule.unpack(cells)
        ours = np.stack([now.preference, decided(cells), *(now.__dict__[f] for f in rule.fields())])
        for node, each, one, zero in zip(
            theirs, ours.T.tolist(), ones[:, step], zeros[:, step], strict=True
        ):
            if node.decision == -1:
                node.poll(int(one), int(zero))
            assert each == [node.preference, node.decision != -1, *node.counters]
    assert {node.decision for node in theirs} >= {0, 1}


# One condition is the Snowflake without any


@pytest.mark.parametrize(("alpha", "beta", "variant"), [(12, 6, {}), (15, 4, PAPER)])
def test_one_condition_is_the_plain_rule(alpha, beta, variant):
    plain = Snowflake(20, 12, alpha, beta, 60, **variant)
    one = Snowflake(20, 12, 15, 20, 60, conditions=[[alpha, beta]], **variant)
    networks = ({}, {"schedule": "async"}, {"topology": "random_regular", "degree": 30})
    pairs = [
        [point(rule, Stall(), n=60, byzantine_fraction=0.1, **network) for rule in (plain, one)]
        for network in networks
    ]
    for both in pairs:
        assert both[0].hash() == both[1].hash()
        assert poll_kind(both[0]) == poll_kind(both[1])
        ours, theirs = (run([p], 64)[0] for p in both)
        for name in Outcome._fields:
            assert np.array_equal(ours[name], theirs[name], equal_nan=True)
    ours, theirs = (population.run([(p, np.arange(64))], 0) for p in pairs[0])
    for name in Outcome._fields:
        assert np.array_equal(ours[name], theirs[name], equal_nan=True)
    for colour in (0, 1):
        cells = start(plain, jnp.full(3, colour, jnp.uint32))
        assert np.array_equal(plain.remaining(cells, 1), one.remaining(cells, 1))


def test_identities():
    """Conditions are a part of them, parameters without effect are none."""
    assert "conditions" not in Snowflake().parameters()
    points = [point(Snowflake(20, 12, conditions=c), Echo(), n=30) for c in ((), [], [[12, 6]])]
    assert points[0].hash() == points[1].hash() != points[2].hash()
    several = [[12, 6], [15, 4]]
    one, other = (
        point(Snowflake(20, 12, beta=b, conditions=several), Echo(), n=30) for b in (20, 9)
    )
    assert one.hash() == other.hash() != points[0].hash()
    assert one.parameters()["protocol"]["conditions"] == ((12, 6), (15, 4))
    assert not {"alpha_confidence", "beta"} & one.parameters()["protocol"].keys()


# Engines


def test_counts_of_nodes_agree_with_nodes():
    loss = {"sampling": "with_replacement", "exclude_self": False, "loss": 0.1}
    fields = {"n": 60, "byzantine_fraction": 0.2, "initial_accept": 0.55}
    points = [
        point(SMALL, BalanceInformed(), **fields),
        point(SMALL, SafetySplit(), **fields),
        point(SMALL, RandomVoting(), **fields, **loss),
    ]
    theirs = run(points, 320, seed=2)
    for p, other in zip(points, theirs, strict=True):
        ours = population.run([(p, np.arange(320))], 1)
        for name in Outcome._fields:
            assert_same_distribution(ours[name], other[name])


def test_groups_that_are_cut_agree_with_none_where_they_hear_each_other():
    fields = {"n": 400, "byzantine_fraction": 0.1, "initial_accept": 0.55}
    p, groups = (
        point(SMALL, Stall(), **fields, **network) for network in ({}, {"groups": (0.5, 0.5)})
    )
    ours, theirs = (population.run([(each, np.arange(400))], 3) for each in (p, groups))
    for name in Outcome._fields:
        if name != "start_ones":
            assert_same_distribution(ours[name], theirs[name])


EXACT = [
    (Snowflake(4, 3, max_rounds=60, conditions=((3, 3), (4, 2))), Stall(), {}),
    (Snowflake(4, 3, max_rounds=60, conditions=((3, 3), (4, 2))), AlwaysReject(), {"loss": 0.1}),
    (Snowflake(3, 2, max_rounds=60, conditions=((2, 3), (3, 1))), Echo(), {"schedule": "async"}),
    (Snowflake(5, 3, max_rounds=60, conditions=((4, 2), (5, 1))), RandomVoting(), {}),
]


@pytest.mark.parametrize("case", range(len(EXACT)))
def test_trials_agree_with_the_exact_chain(case):
    rule, adversary, network = EXACT[case]
    p = point(rule, adversary, n=8, byzantine_fraction=0.25, **network)
    solved = exact.solve(p)
    (out,) = run([p], 40_000, seed=case)
    both = (out["decided_0"] > 0) & (out["decided_1"] > 0)
    assert_rate(both, solved.disagreement)
    assert_rate(out["undecided"] > 0, solved.stalled)
    ended = out["undecided"] == 0
    finish = solved.finish / solved.finish.sum()
    rounds = np.arange(len(finish)) / solved.round_steps
    within = rounds <= rule.max_rounds
    mean = (finish[within] @ rounds[within]) / finish[within].sum()
    assert_mean(out["last_decision"][ended], mean)


def test_many_nodes_follow_the_limit():
    rule = LATE
    p = point(rule, AlwaysReject(), n=10**8, byzantine_fraction=0.1, initial_accept=0.7)
    path = limit.trajectory(p)
    for rounds in (2, 5):
        # The rule after so many rounds: a trial that ends there.
        settings = {"max_rounds": rounds, "conditions": rule.conditions}
        short = Snowflake(rule.k, rule.alpha_preference, **settings)
        out = population.run([(p._replace(protocol=short), np.arange(16))], 0)
        for name, share in (("final_ones", path.ones), ("undecided", path.undecided)):
            assert np.abs(out[name] / p.honest - share[rounds]).max() < 2e-3


def test_theory_of_undisputed_vertices():
    rule = Snowflake(20, 15, max_rounds=9, conditions=((15, 8), (19, 5)))
    p = point(rule, RandomVoting(), n=200, byzantine_fraction=0.1, initial_accept=1.0)
    (out,) = run([p], 4000)
    expected = theory.finalised_undisputed(p)
    assert expected is not None
    assert 0.1 < expected < 0.9
    assert_rate(out["undecided"] == 0, expected)


def test_mean_rounds_from_an_even_split():
    rounds = [
        limit.rounds_until_decided(point(Snowflake(20, 15, conditions=c), RandomVoting(), n=10**6))
        for c in ([[15, 20]], [[15, 20], [18, 8]], [[15, 8]])
    ]
    assert rounds[0] > rounds[1] > rounds[2]


def test_splitting_refuses_several_conditions():
    p = point(SMALL, SafetySplit(), n=50, byzantine_fraction=0.1)
    told = "protocol=Snowflake with 4 quorums: walkers know two"
    assert supports_splitting(p, "agents") == supports_splitting(p, "population") == told
    one = p._replace(protocol=Snowflake(6, 4, conditions=[[5, 4]]))
    assert supports_splitting(one, "agents") is None


# What may be set

ALLOWED = r"; allowed: \[\[alpha, beta\], ...\], alphas ascending from alpha_preference to k, 12 to"
REFUSED = {
    "[[11,6]]": ALLOWED,
    "[[12,6],[21,4]]": ALLOWED,
    "[[12,6],[12,4]]": ALLOWED,
    "[[15,4],[12,6]]": ALLOWED,
    "[[12,4],[15,6]]": ".*, betas not ascending, 1 to 1048575$",
    "[[12,0]]": ALLOWED,
    "[[12,1048576]]": ALLOWED,
    "[[12]]": ALLOWED,
    "[[12,6,3]]": ALLOWED,
    "[[12,1000000],[15,1000]]": "; allowed: fewer, or smaller betas: the state of a node must fit",
    "[12,6]": "; allowed: a list of lists of whole numbers",
    "[[12,few]]": "; allowed: a list of lists of whole numbers",
    "7": "; allowed: a list of lists of whole numbers",
}


@pytest.mark.parametrize("given", REFUSED)
def test_what_conditions_may_be(given):
    with pytest.raises(ConfigError, match=f"protocol.conditions is .*{REFUSED[given]}") as raised:
        study("protocol.alpha_preference=12", f"protocol.conditions={given}")
    assert "\n" not in str(raised.value)


def test_a_sweep_of_conditions():
    words = (
        "protocol.alpha_preference=12",
        "sweep.protocol.conditions=[[],[[15,20]],[[12,6],[15,4]]]",
    )
    made = study(*words)
    assert made.dimensions[0].values == [[], [[15, 20]], [[12, 6], [15, 4]]]
    rules = [p.protocol for p in made.points]
    assert [rule.conditions for rule in rules] == [(), ((15, 20),), ((12, 6), (15, 4))]
    assert [p.hash() for p in made.points].count(made.points[0].hash()) == 2


# Protocols of one's own


class Sums(Protocol):
    """Decides a colour once the levels of polls for it add up to ten."""

    k: int = 20
    max_rounds: int = 60

    @property
    def quorums(self):
        return 12, 14, 16, 18, 20

    def fields(self):
        return {"sum": 16}

    def start(self, colour):
        return self.pack(preference=colour, sum=0)

    def step(self, cell, poll: Levels):
        now = self.unpack(cell)
        total = jnp.where(poll.against, 0, now.sum) + poll.level
        colour = jnp.where(poll.against, now.preference ^ 1, now.preference)
        return self.pack(preference=colour, decided=total >= 10, sum=total)


class Unordered(Sums):
    @property
    def quorums(self):
        return 12, 16, 14


class Forgetful(Sums):
    def step(self, cell, poll: Levels):
        return jnp.where(poll.level == 4, cell | 4, cell)


class Missing(Sums):
    def step(self, cell, poll: Levels):
        return jnp.where(poll.sure, cell, cell)  # pyright: ignore


def test_protocols_with_many_quorums():
    rule = Sums()
    vecsim.check(rule)
    vecsim.check(SMALL)
    p = point(rule, Stall(), n=100, byzantine_fraction=0.1, initial_accept=0.6)
    (nodes,), counts = run([p], 400), population.run([(p, np.arange(400))], 5)
    drawn = run([p], 200, seed=9, explicit=True)[0]
    for name in Outcome._fields:
        assert_same_distribution(nodes[name], counts[name])
        assert_same_distribution(nodes[name], drawn[name])
    assert len(population_shape(p).columns) > LEAST_STAGES  # draws whose names take more room


@pytest.mark.parametrize(
    ("class_", "told"),
    [
        (
            Unordered,
            r"quorums is \(12, 16, 14\); allowed: two whole numbers or more, k/2 < .* = 20",
        ),
        (Forgetful, r"step\(\d+, agree, level 4\) is \d+; allowed: a cell without bit 2"),
        (Missing, r"'Levels' object has no attribute 'sure' .*; allowed: agree, against, level,"),
    ],
)
def test_a_bad_one_is_refused(class_, told):
    with pytest.raises(ConfigError, match=told):
        vecsim.check(class_())


def test_records():
    assert results_of(2)[3:] == ((False, True, 1), (False, True, 2))
    assert by_side(5) == (slice(1, 3), slice(3, None))
    assert possible((12, 12, 15, 15)) == [2, 4]
    for positive, answered in itertools.product(range(21), repeat=2):
        if positive > answered:
            continue
        given = Counts(*(jnp.uint32(each) for each in (positive, answered)))
        most = max(positive, answered - positive)
        pair, more = counted((12, 15), given), counted((12, 15, 18), given)
        assert isinstance(pair, Quorum)
        assert isinstance(more, Levels)
        assert int(more.level) == sum(most >= each for each in (12, 15, 18))
        assert int(pair.level) == min(int(more.level), 2)
        assert bool(more.confident) == bool(pair.confident)
        assert jax.tree.leaves(pair)[:2] == jax.tree.leaves(more)[:2]
