"""Whole trials against exact expectations, recorded measurements and peers drawn one by one."""

import csv
import math
import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import oracle
import pytest
from helpers import (
    assert_mean,
    assert_rate,
    assert_same_distribution,
    point,
    run,
    standard_error,
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
from vecsim.protocols.qr_avalanche import QrAvalanche
from vecsim.protocols.slush import Slush
from vecsim.protocols.snowball import Snowball
from vecsim.protocols.snowflake import Snowflake

DATA = Path(__file__).parent.parent / "data"
ADVERSARIES = {"none": RandomVoting(), "always_reject": AlwaysReject()}
ADVERSARIES["balance_informed"] = BalanceInformed()


def rows_of(name):
    with open(DATA / name, newline="") as file:
        return list(csv.DictReader(file))


def disagree(out):
    return (out["decided_0"] > 0) & (out["decided_1"] > 0)


# Exact expectations from Markov chains


def case_of(row):
    return tuple(value for name, value in row.items() if name not in ("quantity", "value"))


EXACT = {}
for row in rows_of("exact.csv"):
    EXACT.setdefault(case_of(row), {})[row["quantity"]] = float(row["value"])


@pytest.mark.parametrize("case", EXACT, ids=lambda case: "-".join(filter(None, case)))
def test_exact_expectations(case):
    name, schedule, honest, byzantine, adversary, k, alpha, beta, ones = case
    honest, byzantine, k, alpha = int(honest), int(byzantine), int(k), int(alpha)
    if name == "slush":
        rule, trials = Slush(k, alpha, 1000), 20_000 if honest < 500 else 8000
    else:
        rule, trials = Snowflake(k, alpha, alpha, int(beta), 100_000), 200_000
    n = honest + byzantine
    p = point(
        rule,
        ADVERSARIES[adversary],
        n=n,
        byzantine_fraction=byzantine / n,
        initial_accept=int(ones) / honest,
        schedule=schedule,
        sampling="with_replacement",
        exclude_self=False,
    )
    assert (p.honest, p.start_ones) == (honest, int(ones))
    (out,) = run([p], trials, size=8192 if honest < 500 else 2048)
    checked = 0
    for quantity, value in EXACT[case].items():
        if quantity == "p_disagreement":
            assert_rate(disagree(out), value)
        else:
            field = {
                "rounds_to_unanimity": "unanimity",
                "rounds_to_all_decided": "last_decision",
            }[quantity]
            assert_mean(out[field], value)
        checked += 1
    assert checked == (1 if name == "slush" else 2)


def slush_async_rounds(n, k, alpha, start_ones, sampling, exclude_self):
    """Mean rounds to unanimity: a walk on the number of nodes that prefer 1."""
    peers = n - exclude_self

    def quorum(holders):
        if sampling == "with_replacement":
            return stats.binom.sf(alpha - 1, k, holders / peers)
        return stats.hypergeom.sf(alpha - 1, peers, holders, k)

    matrix, right = np.zeros((n + 1, n + 1)), np.ones(n + 1)
    right[[0, n]] = 0
    matrix[0, 0] = matrix[n, n] = 1
    for ones in range(1, n):
        up, down = (n - ones) / n * quorum(ones), ones / n * quorum(n - ones)
        matrix[ones, ones - 1 : ones + 2] = -down, up + down, -up
    return np.linalg.solve(matrix, right)[start_ones] / n


def test_asynchronous_slush():
    cases = {
        ("without_replacement", False): 14.9836,
        ("with_replacement", False): 11.7513,
        ("without_replacement", True): 13.8025,
        ("with_replacement", True): 11.0266,
    }
    points = [
        point(
            Slush(20, 15, 1000),
            RandomVoting(),
            n=100,
            schedule="async",
            sampling=sampling,
            exclude_self=exclude_self,
        )
        for sampling, exclude_self in cases
    ]
    outs = run(points, 2500, size=10_000)
    for (case, known), out in zip(cases.items(), outs, strict=True):
        exact = slush_async_rounds(100, 20, 15, 50, *case)
        assert round(exact, 4) == known
        assert_mean(out["unanimity"], exact)
        assert_rate(out["final_ones"] == 100, Fraction(1, 2))


def test_polls_to_decision_of_avalanchego():
    for row in rows_of("polls_to_decision.csv"):
        class_ = {"snowflake": Snowflake, "snowball": Snowball}[row["protocol"]]
        k, low, high = (int(row[c]) for c in ("k", "alpha_preference", "alpha_confidence"))
        p = point(
            class_(k, low, high, int(row["beta"])),
            RandomVoting(),
            n=int(row["n"]),
            schedule="async",
            exclude_self=False,
        )
        (out,) = run([p], 2000)
        assert not disagree(out).any()
        error = float(row["sd_over_seeds"]) / math.sqrt(int(row["seeds"]))
        assert_mean(out["last_decision"], float(row["mean_polls_per_node"]), error)
        assert np.array_equal(out["polls"], np.round(out["last_decision"] * 100))


# QR-Avalanche without a defence


def single_node(trials, *, byzantine, n, max_rounds, seed):
    """Rounds to finalise of single honest nodes among peers that agree or toss coins, in floats."""
    rng = np.random.default_rng(seed)
    rounds = np.full(trials, np.nan)
    going, streak, confidence = np.arange(trials), np.zeros(trials, int), np.full(trials, 0.5)
    for now in range(1, max_rounds + 1):
        liars = rng.hypergeometric(byzantine, n - 1 - byzantine, 30, len(going))
        positive = 30 - rng.binomial(liars, 0.5)
        streak = np.where(positive >= 24, streak + 1, 0)
        confidence = 0.9 * confidence + 0.1 * positive / 30
        over = (streak >= 20) & (confidence >= 0.95)
        rounds[going[over]] = now
        going, streak, confidence = going[~over], streak[~over], confidence[~over]
    return rounds


def test_qr_avalanche_without_a_defence():
    n = 1000
    undisputed = {"n": n, "initial_accept": 1.0}
    points = [
        point(QrAvalanche(), RandomVoting(), **undisputed),
        point(QrAvalanche(initial_confidence=0.0), RandomVoting(), **undisputed),
        point(QrAvalanche(), RandomVoting(), byzantine_fraction=0.2, **undisputed),
        point(QrAvalanche(), AlwaysReject(), byzantine_fraction=0.2, **undisputed),
        point(QrAvalanche(max_rounds=300), RandomVoting(), byzantine_fraction=0.1, **undisputed),
        point(
            QrAvalanche(),
            RandomVoting(),
            byzantine_fraction=0.1,
            sampling="with_replacement",
            **undisputed,
        ),
    ]
    outs = run(points, 256, size=640)
    for out, rounds in zip(outs, (22, 29), strict=False):
        for name in ("rounds", "first_decision", "median_decision", "last_decision"):
            assert (out[name] == rounds).all()
        assert (out["decided_1"] == n).all()
        assert (out["polls"] == rounds * n).all()
    random_voters, rejecting, few, replaced = outs[2:]

    assert (rejecting["undecided"] == 800).all()
    assert (rejecting["rounds"] == 100).all()
    assert (rejecting["polls"] == 80_000).all()

    # Nodes of one trial poll independently: nobody's preference ever changes.
    assert not random_voters["flips"].any()
    assert not few["flips"].any()
    reference = single_node(100_000, byzantine=200, n=n, max_rounds=100, seed=1)
    late, of = int(random_voters["undecided"].sum()), 256 * 800
    stuck = np.isnan(reference).sum()
    table = [[late, of - late], [stuck, len(reference) - stuck]]
    assert stats.fisher_exact(table).pvalue > 1e-6
    assert abs(late / of - 0.9998) < 1e-4
    reference = single_node(200_000, byzantine=100, n=n, max_rounds=300, seed=2)
    assert not np.isnan(reference).any()
    assert (few["decided_1"] == 900).all()
    assert_mean(few["polls"] / 900, reference.mean(), standard_error(reference))
    assert abs(reference.mean() - 46.7) < 0.1
    assert abs((replaced["polls"] / 900).mean() - 46.5) < 0.1
    assert abs(few["median_decision"].mean() - np.median(reference)) <= 1


# Exact draws against peers drawn one by one, and both against the plain-Python oracle

RULES = {
    "slush": Slush(6, 4, 15),
    "snowflake, two": Snowflake(6, 4, 5, 5, 20, reset_on_failure=False),
    "snowflake, conditions": Snowflake(6, 4, max_rounds=20, conditions=((4, 6), (5, 4), (6, 2))),
    "snowflake, short": Snowflake(5, 3, 3, 2, 20),
    "snowball, two": Snowball(6, 4, 5, 3, 20, decide_when="gt", count_after_flip=0),
    "qr_avalanche": QrAvalanche(6, 4, 5, confidence_threshold=0.75, max_rounds=20),
}
TOLD_APART = (
    RandomVoting(),
    AlwaysReject(),
    AlwaysAccept(),
    Silent(),
    Echo(),
    Flip(),
    CoordinatedCollusion(),
    BalanceInformed(),
    BalancePooled(),
    BalancePooled(1),
    NonAnswer(),
    Stall(),
    SafetySplit(),
    Release(4),
)
COMPARED = ("rounds", "first_decision", "last_decision", "decided_1", "undecided", "flips", "polls")


@pytest.mark.parametrize("name", RULES)
def test_exact_draws_agree_with_peers_drawn_one_by_one(name):
    networks = (
        {"sampling": "without_replacement", "exclude_self": True, "loss": 0.0},
        {"sampling": "with_replacement", "exclude_self": False, "loss": 0.1},
    )
    points = [
        point(
            RULES[name],
            adversary,
            n=16,
            byzantine_fraction=0.25,
            initial_accept=share,
            **network,
        )
        for network, share in zip(networks, (0.5, 0.66), strict=True)
        for adversary in TOLD_APART
    ]
    exact = run(points, 1500, seed=1)
    drawn = run(points, 250, seed=2, explicit=True)
    different = set()
    for one, other in zip(exact, drawn, strict=True):
        for column in COMPARED:
            assert_same_distribution(one[column], other[column])
        different.add(round(one["flips"].mean(), 2))
    assert len(different) > len(points) // 2


def by_oracle(rule, adversary, trials, seed, **fields):
    outs = [
        oracle.simulate(rule, adversary, rng=random.Random(f"{seed} {i}"), **fields)
        for i in range(trials)
    ]
    return {
        name: np.array([out[name] for out in outs], float)
        for name in outs[0]
        if name != "decided_at"
    }


FLAKE = {"name": "snowflake", "k": 6, "alpha_preference": 4, "alpha_confidence": 5, "beta": 4}
SEVERAL = FLAKE | {"conditions": ((4, 6), (5, 4), (6, 2))}
BALL = {"name": "snowball", "k": 6, "alpha_preference": 4, "alpha_confidence": 4, "beta": 5}
QR = {"name": "qr_avalanche", "k": 6, "alpha": 4, "beta": 4, "confidence_threshold": 0.75}
BUILT = {"snowflake": Snowflake, "snowball": Snowball, "qr_avalanche": QrAvalanche}
HALF = {"n": 16, "byzantine_fraction": 0.25, "initial_accept": 0.5}
WITH = {"sampling": "with_replacement", "exclude_self": False}
ASYNC = {"schedule": "async"}
TRIALS = [
    (FLAKE, Sybil(0.4, 0.3), HALF | {"byzantine_fraction": 0.5}),
    (FLAKE, Sybil(0.4, 0.3), HALF | {"byzantine_fraction": 0.5, "initial_accept": 1.0} | ASYNC),
    (FLAKE, SafetySplit(1), HALF),
    (FLAKE, SafetySplit(1, 0.55), HALF),
    (BALL, SafetySplit(0), HALF | ASYNC),
    (BALL, SafetySplit(1, 0.2), HALF | ASYNC),
    (FLAKE, Release(5), HALF),
    (BALL, Release(3), HALF | ASYNC),
    (FLAKE, BalancePooled(1), HALF),
    (FLAKE, BalancePooled(1), HALF | ASYNC | WITH),
    (BALL, BalancePooled(0), HALF | ASYNC),
    (BALL, BalanceInformed(), HALF | WITH),
    (BALL, RandomVoting(), HALF | {"loss": 0.1}),
    (FLAKE, Stall(), HALF | {"exclude_self": False}),
    (FLAKE, NonAnswer(), HALF | ASYNC | {"loss": 0.05}),
    (QR, Silent(), HALF | {"loss": 0.05}),
    (QR, Stall(), HALF | ASYNC),
    (QR, CoordinatedCollusion(0.5), HALF | {"initial_accept": 1.0} | ASYNC),
    (SEVERAL, SafetySplit(1), HALF),
    (SEVERAL, Stall(), HALF | ASYNC),
    (SEVERAL | {"reset_on_failure": False, "decide_when": "gt"}, Echo(), HALF | {"loss": 0.1}),
    (SEVERAL | {"conditions": ((5, 4),)}, BalanceInformed(), HALF | WITH),
]


@pytest.mark.parametrize("case", range(len(TRIALS)))
def test_trials_agree_with_the_oracle(case):
    rule, adversary, fields = TRIALS[case]
    rule = {"max_rounds": 40} | rule
    built = BUILT[rule["name"]](**{k: v for k, v in rule.items() if k != "name"})
    known = {"admission_rate": "admission"}
    config = {known.get(k, k): v for k, v in vars(adversary).items()}
    module = type(adversary).__module__.rpartition(".")[2]
    trials = 500
    theirs = by_oracle(rule, {"name": module, **config}, trials, case, **fields)
    (ours,) = run([point(built, adversary, **fields)], 8 * trials, seed=case)
    for name in theirs:
        assert_same_distribution(ours[name], theirs[name])


# Graphs


def test_a_graph_of_everybody_is_the_complete_graph():
    rule = Snowflake(6, 4, 4, 5, 40)
    fields = {"n": 15, "byzantine_fraction": 0.2}
    exact = run([point(rule, BalanceInformed(), **fields)], 4000, seed=3)[0]
    for topology in ("random_regular", "small_world"):
        p = point(rule, BalanceInformed(), topology=topology, degree=14, graphs=2, **fields)
        drawn = run([p], 700, seed=4)[0]
        for name in COMPARED:
            assert_same_distribution(exact[name], drawn[name])


def test_sparse_graphs_run_and_are_slower_to_agree():
    rule = Snowflake(4, 3, 3, 5, 60)
    outs = {
        topology: run([point(rule, Echo(), n=60, topology=topology, degree=8, graphs=4)], 150)[0]
        for topology in ("complete", "random_regular", "small_world")
    }
    for out in outs.values():
        assert (out["decided_0"] + out["decided_1"] + out["undecided"] == 60).all()
        assert (out["final_ones"] >= out["decided_1"]).all()
    # In a ring with few shortcuts both colours hold their own regions.
    assert disagree(outs["small_world"]).mean() > disagree(outs["complete"]).mean() + 0.1


def test_one_round_on_a_graph():
    p = point(
        Slush(4, 3, 1),
        AlwaysAccept(),
        n=9,
        initial_accept=4 / 9,
        topology="random_regular",
        degree=8,
        graphs=1,
    )
    (out,) = run([p], 20_000)
    # A node at 1 has five of its eight peers at 0, a node at 0 has four of them at 1.
    to_0, to_1 = (stats.hypergeom.sf(2, 8, others, 4) for others in (5, 4))
    assert_mean(out["flips"], 4 * to_0 + 5 * to_1)
    assert_mean(out["final_ones"], 4 - 4 * to_0 + 5 * to_1)
