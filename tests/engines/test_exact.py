"""The exact engine against reference data, rational arithmetic and the Monte Carlo engines."""

import copy
import csv
import itertools
import math
from fractions import Fraction
from functools import cache
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from helpers import assert_distribution, assert_rate, binomial_fraction, point, run
from scipy import sparse, stats

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
from vecsim.engines.agents.prepare import agents_program_key
from vecsim.engines.exact import solve, supports
from vecsim.engines.exact.absorbing import Chain, passage
from vecsim.engines.exact.counts import Census
from vecsim.engines.exact.ones_chain import binomial_law
from vecsim.errors import ConfigError
from vecsim.protocols.qr_avalanche import QrAvalanche
from vecsim.protocols.slush import Slush
from vecsim.protocols.snowball import Snowball
from vecsim.protocols.snowflake import Snowflake
from vecsim.results import outcomes
from vecsim.types import Adversary

DATA = Path(__file__).parents[1] / "data"
NOBODY = RandomVoting()  # any adversary will do where there are no Byzantine nodes
NAMED = {"none": NOBODY, "always_reject": AlwaysReject(), "balance_informed": BalanceInformed()}
WITH = {"sampling": "with_replacement", "exclude_self": False}
ASYNC = {"schedule": "async"}


# Reference data


def reference():
    with open(DATA / "exact.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("row", reference(), ids=lambda row: "-".join(filter(None, row.values())))
def test_reference_data(row):
    honest, byzantine = int(row["honest"]), int(row["byzantine"])
    k, alpha = int(row["k"]), int(row["alpha"])
    if row["protocol"] == "slush":
        rule = Slush(k, alpha, 1000)
    else:
        rule = Snowflake(k, alpha, alpha, int(row["beta"]), 100_000)
    solution = solve(
        point(
            rule,
            NAMED[row["adversary"]],
            n=honest + byzantine,
            byzantine_fraction=byzantine / (honest + byzantine),
            initial_accept=int(row["initial_ones"]) / honest,
            schedule=row["schedule"],
            **WITH,
        )
    )
    rounds = row["quantity"] in ("rounds_to_unanimity", "rounds_to_all_decided")
    value = solution.mean_rounds if rounds else solution.disagreement
    assert rounds or row["quantity"] == "p_disagreement"
    assert value == pytest.approx(float(row["value"]), abs=1e-8)


def test_published_rounds_of_asynchronous_slush():
    cases = {"without_replacement": 14.98, "with_replacement": 11.75}
    for sampling, rounds in cases.items():
        p = point(Slush(20, 15, 1000), NOBODY, n=100, sampling=sampling, exclude_self=False)
        assert solve(p._replace(schedule="async")).mean_rounds == pytest.approx(rounds, abs=0.005)


# Rational arithmetic: every node and every peer by itself, by the rule of the plain oracle


def one_poll(own, others, byzantine, k, loss):
    """{(ones, zeros): probability} for distinct peers, Byzantine ones tossing fair coins."""
    peers, law = [*others, *[None] * byzantine], {}
    assert len(others) == len(own)
    for sample in itertools.combinations(range(len(peers)), k):
        options = [
            [(None, loss), (peers[i], 1 - loss)]
            if peers[i] is not None
            else [(None, loss), (0, (1 - loss) / 2), (1, (1 - loss) / 2)]
            for i in sample
        ]
        for answers in itertools.product(*options):
            said = [answer for answer, _ in answers]
            p = math.prod((q for _, q in answers), start=Fraction(1, math.comb(len(peers), k)))
            law[said.count(1), said.count(0)] = law.get((said.count(1), said.count(0)), 0) + p
    return law


def state_of(node):
    """All that changes in a node."""
    last = vars(node).get("snowflake", node).preference
    strength = vars(node).get("strength", ())
    return node.preference, node.counter, node.decision, last, *strength


def by_fractions(rule, honest, ones, byzantine, rounds, loss):
    """[P(all decided first after each round)], P(both colours decided), P(undecided at the end)."""
    nodes = [oracle.make_node(rule, int(i < ones)) for i in range(honest)]
    law = {tuple(map(state_of, nodes)): (nodes, Fraction(1))}
    finish = [Fraction(0)] * (rounds + 1)
    split = Fraction(0)
    for now in range(rounds + 1):
        going = {}
        for key, (nodes, p) in law.items():
            decisions = [node.decision for node in nodes]
            if -1 not in decisions:
                finish[now] += p
                split += p * (len(set(decisions)) > 1)
            else:
                going[key] = nodes, p
        if now == rounds:
            break
        law = {}
        for nodes, p in going.values():
            for after, q in lockstep(nodes, byzantine, rule["k"], loss):
                # Honest nodes are alike, so their order is forgotten.
                after = sorted(after, key=state_of)
                key = tuple(map(state_of, after))
                law[key] = after, law.get(key, (after, Fraction(0)))[1] + p * q
    for nodes, p in going.values():
        split += p * ({0, 1} <= {node.decision for node in nodes})
    return finish, split, sum(p for _, p in going.values())


def lockstep(nodes, byzantine, k, loss):
    colours = [node.preference for node in nodes]
    options = []
    for i, node in enumerate(nodes):
        if node.decision != -1:
            options.append([(node, Fraction(1))])
            continue
        others = colours[:i] + colours[i + 1 :]
        moves = {}
        for (ones, zeros), p in one_poll(others, others, byzantine, k, loss).items():
            after = copy.deepcopy(node)
            after.poll(ones, zeros)
            key = state_of(after)
            moves[key] = after, moves.get(key, (after, Fraction(0)))[1] + p
        options.append(list(moves.values()))
    for chosen in itertools.product(*options):
        yield [node for node, _ in chosen], math.prod(p for _, p in chosen)


RATIONAL = [
    ({"name": "snowflake", "alpha_preference": 2, "alpha_confidence": 2, "beta": 2}, 0, 0),
    ({"name": "snowflake", "alpha_preference": 2, "alpha_confidence": 3, "beta": 2}, 1, 0),
    ({"name": "snowball", "alpha_preference": 2, "alpha_confidence": 2, "beta": 3}, 1, 0),
    ({"name": "snowball", "alpha_preference": 2, "alpha_confidence": 3, "beta": 2}, 0, 0.25),
    (
        {
            "name": "snowflake",
            "alpha_preference": 2,
            "alpha_confidence": 2,
            "beta": 2,
            "reset_on_failure": False,
            "decide_when": "gt",
            "count_after_flip": 0,
        },
        1,
        0.125,
    ),
    (
        {
            "name": "snowball",
            "alpha_preference": 2,
            "alpha_confidence": 2,
            "beta": 1,
            "reset_on_failure": False,
            "decide_when": "gt",
            "count_after_flip": 0,
        },
        1,
        0,
    ),
]


@pytest.mark.parametrize("case", range(len(RATIONAL)))
def test_rational_arithmetic(case):
    rule, byzantine, loss = RATIONAL[case]
    rule, rounds, honest = rule | {"k": 3}, 3 + byzantine, 4 - byzantine
    built = {"snowflake": Snowflake, "snowball": Snowball}[rule["name"]]
    fields = {name: value for name, value in rule.items() if name != "name"}
    n = honest + byzantine
    solution = solve(
        point(
            built(**fields, max_rounds=rounds),
            RandomVoting(),
            n=n,
            byzantine_fraction=byzantine / n,
            loss=loss,
        )
    )
    finish, split, unfinished = by_fractions(rule, honest, 2, byzantine, rounds, Fraction(loss))
    assert sum(finish) + unfinished == 1
    ours = np.pad(solution.finish, (0, rounds + 1 - len(solution.finish)))
    assert ours == pytest.approx(np.array(finish, float), rel=1e-12, abs=1e-24)
    assert solution.disagreement == pytest.approx(float(split), rel=1e-12)
    assert solution.unfinished == pytest.approx(float(unfinished), rel=1e-12, abs=1e-24)


# The Monte Carlo engines

FLAKE = Snowflake(3, 2, 2, 2, 40)
SPLIT = Snowflake(4, 3, 4, 2, 30)
OLD = Snowflake(3, 2, 2, 2, 40, reset_on_failure=False, decide_when="gt", count_after_flip=0)
BALL = Snowball(3, 2, 2, 2, 8)
SLUSH = Slush(4, 3, 30)
SMALL = {"n": 6, "byzantine_fraction": 1 / 6, "initial_accept": 0.6}
LARGE = {"n": 60, "byzantine_fraction": 0.05, "initial_accept": 0.5}
CASES = [
    (SLUSH, NOBODY, {"n": 60, "initial_accept": 0.45}),
    (SLUSH, NOBODY, {"n": 60} | ASYNC),
    (SLUSH, RandomVoting(), LARGE | {"loss": 0.1}),
    (SLUSH, BalanceInformed(), LARGE),
    (SLUSH, BalanceInformed(), LARGE | ASYNC),
    (SLUSH, BalancePooled(0), LARGE),
    (SLUSH, BalancePooled(1), LARGE | WITH),
    (SLUSH, Stall(), LARGE | {"exclude_self": False}),
    (SLUSH, NonAnswer(), LARGE | ASYNC),
    (SLUSH, Release(6), LARGE),
    (SLUSH, Release(3), LARGE | ASYNC),
    (SLUSH, SafetySplit(1), LARGE),
    (SLUSH, Sybil(0.4, 0.3), LARGE | {"byzantine_fraction": 0.1}),
    (SLUSH, CoordinatedCollusion(0.25), LARGE | {"initial_accept": 1.0}),
    (FLAKE, NOBODY, {"n": 6}),
    (FLAKE, RandomVoting(), SMALL),
    (FLAKE, RandomVoting(), SMALL | {"loss": 0.1}),
    (FLAKE, BalanceInformed(), SMALL),
    (FLAKE, BalanceInformed(), SMALL | WITH | ASYNC),
    (FLAKE, SafetySplit(1), SMALL),
    (FLAKE, SafetySplit(0), SMALL | ASYNC),
    (FLAKE, BalancePooled(0), SMALL),
    (FLAKE, BalancePooled(1), SMALL),
    (FLAKE, Release(3), SMALL),
    (FLAKE, Release(2), SMALL | ASYNC),
    (FLAKE, Sybil(0.5, 0.25), SMALL | {"byzantine_fraction": 0.5, "initial_accept": 1.0} | WITH),
    (FLAKE, Silent(), SMALL | {"loss": 0.05}),
    (FLAKE, CoordinatedCollusion(0.3), SMALL | {"initial_accept": 1.0}),
    (SPLIT, Stall(), SMALL),
    (SPLIT, NonAnswer(), SMALL | {"loss": 0.05}),
    (OLD, Flip(), SMALL),
    (OLD, Echo(), SMALL | ASYNC),
    (BALL, AlwaysAccept(), SMALL),
    (BALL, BalanceInformed(), SMALL | {"exclude_self": False}),
    (BALL, SafetySplit(1), SMALL),
    (FLAKE, SafetySplit(1, 0.6), SMALL),
    (Snowball(2, 2, 2, 2, 3), NOBODY, {"n": 3, "initial_accept": 2 / 3} | ASYNC),
]
TRIALS = 10_000


@cache
def simulated(key):
    """Outcomes of all cases that share a program."""
    points = [p for p in map(case_point, range(len(CASES))) if agents_program_key(p) == key]
    return dict(zip([p.hash() for p in points], run(points, TRIALS), strict=True))


def case_point(case):
    rule, adversary, fields = CASES[case]
    return point(rule, adversary, **fields)


@cache
def counted(protocol):
    """Outcomes of a protocol's cases that the population engine supports."""
    points = [p for p in map(case_point, range(len(CASES))) if population.supports(p) is None]
    points = [p for p in points if p.protocol == protocol]
    out = population.run([(p, np.arange(TRIALS)) for p in points], 8)
    parts = {name: values.reshape(len(points), TRIALS) for name, values in out.items()}
    return {p.hash(): {name: parts[name][i] for name in parts} for i, p in enumerate(points)}


@pytest.mark.parametrize("case", range(len(CASES)))
def test_simulation_agrees(case):
    p = case_point(case)
    assert_solved(p, simulated(agents_program_key(p))[p.hash()])


LOCKSTEP = [case for case in range(len(CASES)) if "schedule" not in CASES[case][2]]


@pytest.mark.parametrize("case", LOCKSTEP)
def test_counts_of_nodes_agree(case):
    p = case_point(case)
    assert_solved(p, counted(p.protocol)[p.hash()])


def assert_solved(p, out):
    """Outcomes of TRIALS trials are distributed as the point's solution says."""
    solution = solve(p)
    time = out["last_decision" if p.protocol.decides else "unanimity"] * p.steps
    never = np.isnan(time)
    steps = np.rint(time[~never]).astype(int)
    seen = np.append(np.bincount(steps, minlength=len(solution.finish)), never.sum())
    assert_distribution(seen, np.append(solution.finish, solution.unfinished))
    finals = np.bincount(out["final_ones"], minlength=p.honest + 1)
    assert_distribution(finals, solution.final_ones)
    values = out | {"decides": np.array(p.protocol.decides)}
    for name in ("stalled", "majority_kept"):
        if outcomes.defined(values, name).all():
            assert_rate(outcomes.event(values, name), getattr(solution, name))
        else:
            assert math.isnan(getattr(solution, name))
    if p.protocol.decides:
        both = (out["decided_0"] > 0) & (out["decided_1"] > 0)
        assert_rate(both, solution.disagreement)
        assert_rate(out["decided_1"] == p.honest, solution.agreed_1)
        assert_rate(out["decided_0"] == p.honest, solution.agreed_0)
    if solution.unfinished < 1e-12:
        error = solution.sd_rounds / math.sqrt(TRIALS)
        assert abs(np.mean(time) / p.steps - solution.mean_rounds) <= 5 * error


class Reluctant(Slush):
    """Turns at the second quorum in a row for the other colour."""

    identity = "tests.Reluctant"

    def fields(self):
        return {"doubt": 2}

    def start(self, colour):
        return self.pack(preference=colour, doubt=0)

    def step(self, cell, poll):
        now = self.unpack(cell)
        turns = poll.against & (now.doubt == 1)
        doubt = (poll.against & ~turns).astype(jnp.uint32)
        return self.pack(preference=now.preference ^ turns.astype(jnp.uint32), doubt=doubt)


def test_a_protocol_that_does_not_decide_may_remember():
    p = point(Reluctant(k=3, alpha=2, m=9), BalanceInformed(), n=7, byzantine_fraction=1 / 7)
    assert supports(p) is None
    [out] = run([p], TRIALS, seed=5)
    assert_solved(p, out)
    never = solve(p._replace(protocol=Slush(k=3, alpha=2, m=9))).unfinished
    error = math.sqrt(never * (1 - never) / TRIALS)
    assert abs(np.isnan(out["unanimity"]).mean() - never) > 5 * error  # it is told from Slush


# Shape of the answers


def test_the_distribution_has_the_moments():
    for p in (
        point(Slush(4, 3, 2000), BalanceInformed(), n=40, byzantine_fraction=0.05),
        point(FLAKE, Release(3), **SMALL)._replace(protocol=Snowflake(3, 2, 2, 2, 2000)),
        point(Slush(4, 3, 500), NOBODY, n=30, **ASYNC),
    ):
        solution = solve(p)
        rounds = np.arange(len(solution.finish)) / solution.round_steps
        mean = solution.finish @ rounds
        assert solution.unfinished < 1e-20
        assert solution.mean_rounds == pytest.approx(mean, rel=1e-11)
        spread = math.sqrt(solution.finish @ (rounds - mean) ** 2)
        assert solution.sd_rounds == pytest.approx(spread, rel=1e-9)
        assert solution.final_ones.sum() == pytest.approx(1, abs=1e-12)


def test_colours_are_alike():
    one = solve(point(FLAKE, BalanceInformed(), n=5, initial_accept=0.6))
    zero = solve(point(FLAKE, BalanceInformed(), n=5, initial_accept=0.4))
    assert one.finish == pytest.approx(zero.finish, rel=1e-12)
    assert (one.agreed_0, one.agreed_1) == pytest.approx((zero.agreed_1, zero.agreed_0), rel=1e-12)


def test_what_can_never_come():
    stuck = solve(point(Slush(4, 3, 50), Silent(), n=20, byzantine_fraction=0.9))
    assert (stuck.mean_rounds, stuck.sd_rounds, stuck.unfinished) == (math.inf, math.inf, 1.0)
    unanimous = solve(point(Snowflake(3, 2, 2, 4, 40), NOBODY, n=5, initial_accept=1.0))
    assert (unanimous.mean_rounds, unanimous.sd_rounds) == (4.0, 0.0)
    assert unanimous.finish.tolist() == [0, 0, 0, 0, 1]
    assert (unanimous.agreed_1, unanimous.agreed_0, unanimous.disagreement) == (1.0, 0.0, 0.0)
    late = solve(point(Snowflake(3, 2, 2, 4, 3), NOBODY, n=5, initial_accept=1.0))
    assert (late.unfinished, late.mean_rounds) == (1.0, 4.0)


class Moody(Adversary):
    """Accepts or rejects, by one coin a round, with memory of how often it accepted."""

    mixes = ((0.0, 1.0), (1.0, 0.0))
    share: float = 0.3

    def answer(self, view, memory):
        accepts = (view.round_coin < jnp.float32(self.share)) & (memory < 2)
        mix = jnp.broadcast_to(accepts.astype(jnp.int32), (1, 2))
        return mix, memory + accepts.astype(jnp.int32)


def test_an_adversary_with_a_coin_a_round_and_a_memory():
    for rule, fields in ((FLAKE, SMALL), (SLUSH, LARGE)):
        p = point(rule, Moody(), **fields)
        solution = solve(p)
        (out,) = run([p], TRIALS, seed=7)
        finals = np.bincount(out["final_ones"], minlength=p.honest + 1)
        assert_distribution(finals, solution.final_ones)


@pytest.mark.parametrize("adversary", [NOBODY, SafetySplit(fed=0.4)])
@pytest.mark.parametrize("rule", [FLAKE, Slush(4, 3)])
def test_situations_are_counted_without_listing_them(rule, adversary):
    census = Census(point(rule, adversary, n=7, byzantine_fraction=0.2))
    assert census.number_of_situations == len(census.situations().ones)


def test_points_that_cannot_be_solved():
    solvable = point(FLAKE, NOBODY, n=6)
    assert supports(solvable) is None
    for p in (
        point(QrAvalanche(), NOBODY, n=40),
        point(Snowflake(), NOBODY, n=40),
        point(Slush(), NOBODY, n=6000),
        point(Slush(), BalancePooled(), n=100, byzantine_fraction=0.1, **ASYNC),
        point(Slush(4, 3), NOBODY, n=60, topology="random_regular", degree=8),
        point(Snowflake(), SafetySplit(), n=5000, byzantine_fraction=0.2),  # and takes no memory
        point(Snowflake(), NOBODY, n=10**6),
    ):
        assert supports(p)
        with pytest.raises(ConfigError, match="engine is exact: "):
            solve(p)


# The numerics


def test_times_beyond_what_subtraction_can_tell():
    # A walk that steps up with probability e and otherwise falls back to 0: the mean time to the
    # top of L steps is the sum of e^-i for i = 1 ... L, here beyond 10^40.
    rise, top = 1e-6, 7
    matrix = np.zeros((top + 1, top + 1))
    matrix[:-1, 0] = 1 - rise
    for level in range(top):
        matrix[level, level + 1] += rise
    matrix[top, top] = 1
    chain = Chain((sparse.csr_array(matrix),), (0,), 0, np.arange(top + 1) == top)
    expected = sum(Fraction(1, 10**6) ** -i for i in range(1, top + 1))
    got = passage(chain, 10)
    assert got.mean == pytest.approx(float(expected), rel=1e-9)
    assert got.square == pytest.approx(2 * float(expected) ** 2, rel=1e-4)


def test_binomial_probabilities_in_both_tails():
    for trials, p in ((40, Fraction(1, 1000)), (40, Fraction(999, 1000)), (25, Fraction(1, 3))):
        first, row = binomial_law(trials, float(p), float(1 - p))
        exact = np.array([float(q) for q in binomial_fraction(trials, p)])
        full = np.pad(row, (first, trials + 1 - first - len(row)))
        assert full == pytest.approx(exact, rel=1e-12, abs=1e-99)
    first, row = binomial_law(5000, 0.3, 0.7)
    assert row == pytest.approx(stats.binom.pmf(first + np.arange(len(row)), 5000, 0.3), rel=1e-9)
