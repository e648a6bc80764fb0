"""The population engine: its cells, its draws, its probabilities, and whole trials."""

import csv
import itertools
import math
from fractions import Fraction
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    assert_distribution,
    assert_mean,
    assert_rate,
    assert_same_distribution,
    mesh_of,
    point,
    probabilities,
    run,
)
from scipy import stats

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
from vecsim.engines.cells import enumerate_cells
from vecsim.engines.drawn import admitted
from vecsim.engines.population import stepping
from vecsim.engines.population.binomial import Names, binomial
from vecsim.engines.population.moves import moves_of
from vecsim.engines.population.prepare import (
    blocks_of,
    population_program_key,
    population_shape,
    supports,
)
from vecsim.errors import ConfigError
from vecsim.model import poll_law as pools
from vecsim.model import random as words
from vecsim.model.point import Point
from vecsim.network import Network
from vecsim.polls import poll_record, results_of
from vecsim.protocols.qr_avalanche import QrAvalanche
from vecsim.protocols.slush import Slush
from vecsim.protocols.snowball import Snowball
from vecsim.protocols.snowflake import Snowflake
from vecsim.types import Adversary, Outcome

DATA = Path(__file__).parents[1] / "data"
PAPER = {"reset_on_failure": False, "decide_when": "gt", "count_after_flip": 0}


def outcomes(points, trials, seed=0):
    """Outcomes of each point's first trials."""
    out = stepping.run([(p, np.arange(trials)) for p in points], seed)
    return [
        {name: values[i * trials : (i + 1) * trials] for name, values in out.items()}
        for i in range(len(points))
    ]


# Cells and moves

SMALL_RULES = {
    "slush": Slush(5, 3, 6),
    "snowflake": Snowflake(5, 3, 3, 3, 6),
    "snowflake, paper": Snowflake(5, 3, 4, 2, 6, **PAPER),
    "snowflake, conditions": Snowflake(6, 4, max_rounds=6, conditions=((4, 4), (5, 3), (6, 2))),
    "snowflake, late": Snowflake(7, 4, max_rounds=6, conditions=((5, 4), (6, 3), (7, 2))),
    "snowball": Snowball(5, 3, 4, 3, 6),
    "snowball, paper": Snowball(5, 3, 4, 2, 6, **PAPER),
}


def one_poll(rule, cell, result):
    agree, against, level = (jnp.asarray(part) for part in result)
    poll = poll_record(len(rule.quorums), agree, against, level.astype(jnp.uint32))
    return int(rule.step(jnp.uint32(cell), poll))


@pytest.mark.parametrize("name", SMALL_RULES)
def test_cells_are_those_that_polls_lead_to(name):
    rule, rounds = SMALL_RULES[name], 4
    cells, results = enumerate_cells(rule, rounds), results_of(len(rule.quorums))
    seen = {int(rule.start(jnp.uint32(colour))) for colour in range(2)}
    assert cells.cells[:2].tolist() == [int(rule.start(jnp.uint32(c))) for c in (0, 1)]
    after, newest = {}, set(seen)
    for _ in range(rounds):
        steps = {
            (cell, i): one_poll(rule, cell, result)
            for cell in newest
            for i, result in enumerate(results)
            if not cell & 2
        }
        after |= steps
        newest = set(steps.values()) - seen
        seen |= newest
    assert sorted(cells.cells.tolist()) == sorted(seen)
    assert len(cells.cells) == len(seen)
    for i, cell in enumerate(cells.cells.tolist()):
        assert cells.preference[i] == cell & 1
        assert cells.decided[i] == bool(cell & 2)
        for result in range(len(results)):
            assert int(cells.cells[cells.after[i, result]]) == after.get((cell, result), cell)


def test_cells_stay_few():
    assert len(enumerate_cells(Slush(), 200).cells) == 2
    assert len(enumerate_cells(Snowflake(beta=20), 200).cells) == 42
    with pytest.raises(ConfigError, match="quorums only"):
        enumerate_cells(QrAvalanche(), 10)
    with pytest.raises(ConfigError, match="fewer rounds"):
        enumerate_cells(Snowball(beta=500, max_rounds=1000), 1000)


@pytest.mark.parametrize("name", SMALL_RULES)
def test_moves_take_every_cell_where_its_polls_lead(name):
    rule, rounds = SMALL_RULES[name], 6
    cells, moves = enumerate_cells(rule, rounds), moves_of(rule, rounds)
    undecided = np.flatnonzero(~cells.decided).tolist()
    number = {cell: i for i, cell in enumerate(undecided)}
    number |= {
        int(cell): len(undecided) + int(cells.preference[cell])
        for cell in np.flatnonzero(cells.decided)
    }
    for cell, (column, results) in itertools.product(undecided, enumerate(moves.columns)):
        row = number[cell]
        for stage in moves.stages[: column + 1]:
            row = stage.row[row]
            assert stage.colour[row] == cells.preference[cell]
        for result in results:
            target = cells.after[cell, result]
            assert moves.stages[column].to[row] == number[target]
            turns = cells.preference[target] != cells.preference[cell]
            assert moves.stages[column].turns[row] == turns
    drawn = [stage.cell.tolist() for stage in moves.stages]
    assert all(len(set(names)) == len(names) for names in drawn)
    low, high, *_ = rule.quorums
    every = list(range(2 * len(rule.quorums) + 1))
    never = () if low < high else (1, len(rule.quorums) + 1)
    assert sorted(sum(moves.columns, ())) == [each for each in every if each not in never]


# Binomial draws

DRAWS = 2**17


@jax.jit
def drawn(n, p, q):
    number = jnp.arange(n.size, dtype=jnp.uint32)
    names = Names((number, jnp.uint32(7)), jnp.uint32(3), (jnp.uint32(0), jnp.uint32(1)))
    return binomial(names, n, p, q)


def draws_of(n, p, q=None, count=DRAWS):
    with jax.enable_x64(True):
        p, q = (np.full(DRAWS, float(v)) for v in (p, 1 - p if q is None else q))
        values = np.asarray(drawn(np.full(DRAWS, float(n)), p, q))
    assert (values == np.floor(values)).all()
    assert values.min() >= 0
    assert values.max() <= n
    return values


@pytest.mark.parametrize(
    ("n", "p"),
    [
        (1, 0.3),
        (19, 0.5),
        (20, 0.5),
        (21, 0.49),
        (99, 0.1),
        (101, 0.1),
        (60, 0.8),
        (1000, 0.5),
        (1000, 0.996),
        (10**4, 0.3),
        (10**9, 9.9e-9),
        (10**9, 1.01e-8),
        (10**12, 1e-11),
        (10**12, 3e-10),
    ],
)
def test_binomial_draws_have_binomial_probabilities(n, p):
    values = draws_of(n, p)
    first, last = (int(v) for v in stats.binom.ppf([1e-12, 1 - 1e-12], n, p))
    observed = np.bincount((np.clip(values, first, last) - first).astype(int))
    mass = stats.binom.pmf(np.arange(first, last + 1), n, p)
    observed = np.pad(observed, (0, len(mass) - len(observed)))
    assert_distribution(observed, mass / mass.sum())


@pytest.mark.parametrize("n", [10**9, 10**12])
@pytest.mark.parametrize("p", [0.5, 1e-6, 0.999])
def test_binomial_draws_of_large_numbers(n, p):
    values = draws_of(n, p)
    deviation = math.sqrt(n * p * (1 - p))
    assert_mean((values - n * p) / deviation, 0.0)
    assert_mean(((values - n * p) / deviation) ** 2, 1.0)
    few = values[: 2**14]
    blur = np.random.default_rng(1).random(len(few))
    spread = stats.binom.cdf(few, n, p) - blur * stats.binom.pmf(few, n, p)
    assert stats.kstest(spread, "uniform").pvalue > 1e-6


def test_binomial_draws_of_tiny_probabilities():
    for n, p in ((10**12, 1e-15), (10**9, 1e-12), (1000, 1e-6)):
        none = math.exp(n * math.log1p(-p))
        assert_rate(draws_of(n, p) == 0, none)
        assert_rate(draws_of(n, 1.0, p) == n, none)  # 1 - p is not representable here
    assert (draws_of(0, 0.3) == 0).all()
    assert (draws_of(50, 0.0, 1.0) == 0).all()
    assert (draws_of(50, 1.0, 0.0) == 50).all()


def test_a_draw_depends_on_its_names_alone():
    with jax.enable_x64(True):
        n = np.where(np.arange(DRAWS) % 3 == 0, 1e9, 12.0)
        p = np.linspace(1e-9, 1 - 1e-9, DRAWS)
        together = np.asarray(drawn(n, p, 1 - p))
        assert np.array_equal(together[:64], np.asarray(drawn(n[:64], p[:64], 1 - p[:64])))


# Probabilities of results


class Mixed(Adversary):
    """Coins, silence and fixed colours."""

    mixes = ((0.25, 0.5), (1.0, 0.0), (0.0, 0.0), (0.0, 1.0))

    def answer(self, view, memory):
        raise NotImplementedError


class Colours(Mixed):
    """Fixed colours only."""

    mixes = ((1.0, 0.0), (0.0, 1.0))


def assert_close(ours, theirs):
    assert ((ours == 0) == (theirs == 0)).all()
    assert np.all(np.abs(ours - theirs) <= 1e-12 * theirs)


@pytest.mark.parametrize("sampling", ["with_replacement", "without_replacement"])
@pytest.mark.parametrize("exclude_self", [True, False])
@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_results_have_the_probabilities_of_the_tables(sampling, exclude_self, loss):
    fields = {"sampling": sampling, "exclude_self": exclude_self, "loss": loss}
    for (k, low, high), adversary, share in itertools.product(
        ((1, 1, 1), (5, 3, 4), (20, 13, 18)), (Mixed(), Colours()), (0.0, 0.3)
    ):
        p = point(Snowflake(k, low, high, 3), adversary, n=31, byzantine_fraction=share, **fields)
        ours = probabilities(p, np.arange(p.honest + 1))
        for (i, mix), own in itertools.product(enumerate(adversary.mixes), range(2)):
            pool = p.pool((mix,), p.kinds)
            one = pools.ones(pool)
            zero = pools.ones(pool.swapped())[::-1]
            mine, theirs = (one, zero) if own else (zero, one)
            answered, ones = np.indices((k + 1, k + 1))
            neither = (ones < low) & (answered - ones < low)
            expected = [
                (pools.ones_and_answered(pool) * neither).sum(axis=(1, 2)),
                mine[:, low:high].sum(axis=1),
                mine[:, high:].sum(axis=1),
                theirs[:, low:high].sum(axis=1),
                theirs[:, high:].sum(axis=1),
            ]
            rows = np.arange(pool.honest + 1) + own * exclude_self
            assert_close(ours[rows, i, own], np.stack(expected, axis=-1))


def exact_results(p, mix, own, ones):
    """Sums of exact fractions over how many peers of each kind are drawn, and what arrives."""
    k, (low, high) = p.protocol.k, p.protocol.quorums
    loss, exclude = Fraction(p.network.loss), int(p.network.exclude_self)
    same = (ones if own else p.honest - ones) - exclude
    parts = same, p.honest - same - exclude, p.byzantine
    peers = sum(parts)
    accept, reject = (Fraction(v) for v in mix)
    mine, theirs = (accept, reject) if own else (reject, accept)

    def thinned(count, probability):
        ways = [math.comb(count, i) for i in range(count + 1)]
        return [w * probability**i * (1 - probability) ** (count - i) for i, w in enumerate(ways)]

    total = [Fraction(0)] * 5
    for x, y in itertools.product(range(k + 1), repeat=2):
        z = k - x - y
        if z < 0:
            continue
        if p.network.replacement:
            ways = math.comb(k, x) * math.comb(k - x, y)
            chance = ways * math.prod(
                Fraction(part, peers) ** drawn for part, drawn in zip(parts, (x, z, y), strict=True)
            )
        else:
            ways = math.prod(math.comb(part, d) for part, d in zip(parts, (x, z, y), strict=True))
            chance = Fraction(ways, math.comb(peers, k))
        # What the Byzantine peers answer, then what arrives of all answers.
        for said in range(y + 1):
            both = mine + theirs
            for a, pa in enumerate(thinned(said, mine / both if both else Fraction(0))):
                weight = chance * thinned(y, both)[said] * pa
                if not weight:
                    continue
                agreeing = thinned(x + a, 1 - loss)
                others = thinned(z + said - a, 1 - loss)
                for count, sign in ((agreeing, 1), (others, 3)):
                    total[sign] += weight * sum(count[low:high])
                    total[sign + 1] += weight * sum(count[high:])
                total[0] += weight * sum(agreeing[:low]) * sum(others[:low])
    return total


@pytest.mark.parametrize("n", [10**9, 10**12])
@pytest.mark.parametrize("sampling", ["with_replacement", "without_replacement"])
@pytest.mark.parametrize("loss", [0.0, 0.125])
def test_results_of_large_networks(n, sampling, loss):
    network = Network(sampling=sampling, loss=loss)
    p = Point(n, 0.25, 0.5, "lockstep", Snowflake(7, 4, 6, 3), Mixed(), network)
    ones = [1, 1000, p.honest // 3, p.honest // 2, p.honest - 5]
    ours = probabilities(p, ones)
    for i, own in itertools.product(range(len(p.adversary.mixes)), range(2)):
        exact = [exact_results(p, p.adversary.mixes[i], own, c) for c in ones]
        assert all(sum(results) == 1 for results in exact)
        assert_close(ours[:, i, own], np.array([[float(v) for v in row] for row in exact]))


# Whole trials against the agents engine

FIXED = (
    AlwaysReject(),
    AlwaysAccept(),
    Echo(),
    Flip(),
    CoordinatedCollusion(),
    BalanceInformed(),
    BalancePooled(),
    BalancePooled(1),
    SafetySplit(),
    SafetySplit(1, 0.55),
    Release(4),
    Sybil(0.4, 0.3),
)
UNSURE = (RandomVoting(), Silent(), NonAnswer(), Stall())  # coins or silence
PLAIN = {"sampling": "without_replacement", "exclude_self": True}
REPEATED = {"sampling": "with_replacement", "exclude_self": False}
COMPARED = {
    "slush": Slush(6, 4, 15),
    "snowflake": Snowflake(6, 4, 4, 4, 40),
    "snowflake, paper": Snowflake(6, 4, 5, 4, 30, **PAPER),
    "snowball": Snowball(6, 4, 4, 3, 12),
}
CROWDS = {  # nodes: the network under FIXED, under UNSURE, the initial share of 1, trials
    10: (PLAIN, PLAIN, 0.5, 448),
    50: (REPEATED, REPEATED | {"loss": 0.1}, 0.6, 448),
    1000: (PLAIN | {"loss": 0.05}, PLAIN | {"loss": 0.05}, 0.52, 448),
    10_000: (PLAIN, PLAIN, 0.51, 256),
}


def assert_same_outcomes(ours, theirs):
    for name in (*Outcome._fields, "admitted"):
        assert_same_distribution(ours[name], theirs[name])
    violations = [(out["decided_0"] > 0) & (out["decided_1"] > 0) for out in (ours, theirs)]
    assert_same_distribution(*violations)


# Ten nodes take a program of their own; that few agree with exact chains (test_exact.py).
SIZES = [pytest.param(n, marks=pytest.mark.slow if n == 10 else ()) for n in CROWDS]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", COMPARED)
def test_trials_agree_with_agents(name, n):
    *networks, share, trials = CROWDS[n]
    fields = {"n": n, "byzantine_fraction": 0.2, "initial_accept": share}
    points = [
        point(COMPARED[name], adversary, **fields, **network)
        for network, adversaries in zip(networks, (FIXED, UNSURE), strict=True)
        for adversary in adversaries
    ]
    ours, theirs = outcomes(points, trials, seed=1), run(points, trials, seed=2)
    for p, mine, other in zip(points, ours, theirs, strict=True):
        assert (mine["decided_0"] + mine["decided_1"] + mine["undecided"] == p.honest).all()
        assert_same_outcomes(mine, other)
    assert len({round(mine["flips"].mean(), 2) for mine in ours}) > len(points) // 2


# Whole trials against figures that are not ours


def test_large_networks():
    """At 10,000 nodes the agents engine's outcomes; lumped means at many more."""
    known = {10**4: (38.12, 3.54), 10**6: (45.41, 3.82), 10**9: (55.76, 3.05)}
    attacked = point(Snowflake(), BalanceInformed(), n=10_000, byzantine_fraction=0.01)
    network = Network(sampling="with_replacement")
    points = [Point(n, 0.0, 0.5, "lockstep", Snowflake(), RandomVoting(), network) for n in known]
    compared, *outs = outcomes([attacked, *points], 448, seed=1)
    assert_same_outcomes(compared, *run([attacked], 384, seed=2))
    for out, (mean, deviation) in zip(outs, known.values(), strict=True):
        assert_mean(out["last_decision"], mean, deviation / math.sqrt(200))
        assert not ((out["decided_0"] > 0) & (out["decided_1"] > 0)).any()


def test_exact_expectations():
    with open(DATA / "exact.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    adversaries = {"none": RandomVoting(), "always_reject": AlwaysReject()}
    adversaries["balance_informed"] = BalanceInformed()
    points = []
    for row in rows:
        k, alpha = int(row["k"]), int(row["alpha"])
        honest, byzantine = int(row["honest"]), int(row["byzantine"])
        slush = row["protocol"] == "slush"
        rule = (
            Slush(k, alpha, 1000) if slush else Snowflake(k, alpha, alpha, int(row["beta"]), 5000)
        )
        points.append(
            point(
                rule,
                adversaries[row["adversary"]],
                n=honest + byzantine,
                byzantine_fraction=byzantine / (honest + byzantine),
                initial_accept=int(row["initial_ones"]) / honest,
                sampling="with_replacement",
                exclude_self=False,
            )
        )
    assert len(rows) == 11
    for row, out in zip(rows, outcomes(points, 5000), strict=True):
        value, quantity = float(row["value"]), row["quantity"]
        if quantity == "p_disagreement":
            assert_rate((out["decided_0"] > 0) & (out["decided_1"] > 0), value)
        else:
            assert not out["undecided"].any() or row["protocol"] == "slush"
            names = {"rounds_to_unanimity": "unanimity", "rounds_to_all_decided": "last_decision"}
            assert_mean(out[names[quantity]], value)


# Exactness of bits, of counts, of what is run where


def test_bits_depend_on_the_trial_alone(monkeypatch):
    first = point(Snowflake(6, 4, 4, 4, 40), BalanceInformed(), n=1000, byzantine_fraction=0.1)
    second = point(Snowflake(5, 4, 4, 4, 30), Flip(), n=50, byzantine_fraction=0.1)
    together = stepping.run([(p, np.arange(300)) for p in (second, first)], 5)
    monkeypatch.setattr(stepping, "all_devices", lambda: mesh_of(1))
    few = np.array([250, 3, 17, 299])
    alone = stepping.run([(first, few)], 5, memory=1)
    for name, values in alone.items():
        assert np.array_equal(values, together[name][300 + few], equal_nan=True)
    assert len(np.unique(together["flips"][300:])) > 100
    other = stepping.run([(first, few)], 6, memory=1)
    assert not np.array_equal(other["flips"], alone["flips"])


@partial(jax.jit, static_argnums=0)
def advanced(shape, block, state):
    tally = stepping.count_by_cell(block.moves, state.nodes)
    return stepping.advance_counts(shape, block, state, tally, state.nodes)


@pytest.mark.parametrize("n", [999, 10**12])
def test_no_node_is_lost(n):
    p = Point(n, 0.1, 0.5, "lockstep", Snowflake(6, 4, 4, 4, 40), SafetySplit(), Network())
    shape = population_shape(p)
    trials = np.arange(shape.block)
    ((blocks, _),) = blocks_of(shape, [(p, trials, trials)], 0, 1, 1)
    with jax.enable_x64(True):
        block = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), blocks)
        state = stepping.begin(shape, block)
        half = -(-p.honest // 2)
        for _ in range(30):
            nodes = np.asarray(state.nodes)
            assert (nodes >= 0).all()
            assert (nodes == np.floor(nodes)).all()
            assert (nodes.sum(axis=-1) == [half, p.honest - half]).all()
            state = advanced(shape, block, state)
        assert (np.asarray(state.round) == 30).all()
        assert (nodes[..., -2:].sum(axis=(1, 2)) > 0).all()  # some have gone all the way


def test_admission_at_every_size():
    key = (np.zeros(1, np.uint32), np.ones(1, np.uint32))
    for n, rate in ((1000, 0.1), (10**12, 0.1)):
        p = Point(n, 0.25, 0.5, "lockstep", Snowflake(), Sybil(rate), Network())
        number = admitted(p, words.trial_key(key, np.arange(20_000)))[:, 0]
        deviation = math.sqrt(p.byzantine * rate * (1 - rate))
        assert_mean((number - p.byzantine * rate) / deviation, 0.0)
        assert_mean(((number - p.byzantine * rate) / deviation) ** 2, 1.0)


def test_what_is_supported():
    rule, network = Snowflake(), Network()
    good = Point(10**12, 0.1, 0.5, "lockstep", rule, Stall(), network)
    assert supports(good) is None
    assert "async" in supports(good._replace(schedule="async"))
    assert "graph" in supports(good._replace(network=Network(topology="small_world")))
    assert "nodes" in supports(good._replace(n=10**12 + 1))
    assert "confidence" in supports(good._replace(protocol=QrAvalanche()))
    assert "cells" in supports(good._replace(protocol=Snowball(beta=500, max_rounds=1000)))


def test_a_sweep_is_one_program():
    points = [
        Point(n, f, 0.5, "lockstep", Snowflake(k, alpha, alpha, 20, m), adversary, Network())
        for n, f, k, alpha, m, adversary in itertools.product(
            (50, 10**9), (0.0, 0.1), (13, 16), (9, 10), (50, 200), (Echo(), Release())
        )
    ]
    assert len({population_program_key(p) for p in points}) == 1
