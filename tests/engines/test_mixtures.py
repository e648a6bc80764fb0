"""Byzantine nodes of several kinds, on every engine, against peers asked one by one."""

import itertools
import math
import random

import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from helpers import (
    assert_distribution,
    assert_rate,
    assert_same_distribution,
    probabilities,
    run,
    standard_error,
)
from helpers import point as made
from scipy import stats

import vecsim
from vecsim.adversaries.always_accept import AlwaysAccept
from vecsim.adversaries.always_reject import AlwaysReject
from vecsim.adversaries.balance_pooled import BalancePooled
from vecsim.adversaries.echo import Echo
from vecsim.adversaries.flip import Flip
from vecsim.adversaries.mixture import Mixture
from vecsim.adversaries.non_answer import NonAnswer
from vecsim.adversaries.random_voting import RandomVoting
from vecsim.adversaries.safety_split import SafetySplit
from vecsim.adversaries.silent import Silent
from vecsim.adversaries.stall import Stall
from vecsim.adversaries.sybil import Sybil
from vecsim.cluster.config import parse_run
from vecsim.engines import limit, population
from vecsim.engines.agents.prepare import agents_program_key, items
from vecsim.engines.drawn import hypergeometric
from vecsim.engines.exact import solve, supports
from vecsim.errors import ConfigError
from vecsim.model import build
from vecsim.protocols.qr_avalanche import QrAvalanche
from vecsim.protocols.slush import Slush
from vecsim.protocols.snowflake import Snowflake
from vecsim.studies.rare.splitting import plain_events
from vecsim.studies.rare.walkers import Climbers
from vecsim.studies.theory import finalised_undisputed
from vecsim.types import Adversary

RULE = Snowflake(5, 3, 4, 3, 30)
SPOKEN = {"name": "snowflake", "alpha_preference": 3, "alpha_confidence": 4}
SPOKEN |= {"k": 5, "beta": 3, "max_rounds": 30}
FIELDS = ("decided_0", "decided_1", "undecided", "rounds", "first_decision", "last_decision")
FIELDS += ("unanimity", "final_ones", "flips", "admitted")
# Everything at once: coins, silence, groups, memory, pools. Of nodes as many as the oracle is told.
KINDS = {
    "balance": (BalancePooled(1), 0.25),
    "coins": (RandomVoting(), 0.25),
    "split": (SafetySplit(1, 0.4), 0.25),
    "quiet": (NonAnswer(), 0.25),
}
DESCRIBED = [
    (2, {"name": "balance_pooled", "lag": 1}),
    (2, {"name": "non_answer"}),
    (2, {"name": "random_voting"}),
    (2, {"name": "safety_split", "fed": 0.4}),
]
EVERYTHING = Mixture.of(KINDS)
CASES = {  # ours, the oracle's, the Byzantine fraction of 20 nodes
    "everything": (EVERYTHING, DESCRIBED, 0.4),
    "sybils": (
        Mixture.of({"a": (Sybil(0.4), 0.5), "b": (Silent(), 0.3), "c": (Stall(), 0.2)}),
        [(4, {"name": "sybil", "admission": 0.4}), (2, {"name": "silent"}), (2, {"name": "stall"})],
        0.4,
    ),
}


def theirs(described, fraction, number, seed=4, **fields):
    rng = random.Random(seed)
    given = {"n": 20, "byzantine_fraction": fraction, "initial_accept": 0.5} | fields
    adversary = {"name": "mixture", "of": described}
    outs = [oracle.simulate(SPOKEN, adversary, rng=rng, **given) for _ in range(number)]
    return {field: np.array([out[field] for out in outs], float) for field in FIELDS}


def assert_same(ours, other):
    for field in FIELDS:
        assert_same_distribution(ours[field], other[field])


def counted(p, trials, seed=0):
    return population.run([(p, np.arange(trials))], seed)


# Whole trials


@pytest.mark.parametrize("case", CASES)
def test_lockstep_engines_agree_with_peers_asked_one_by_one(case):
    adversary, described, fraction = CASES[case]
    p = made(RULE, adversary, byzantine_fraction=fraction)
    other = theirs(described, fraction, 1000)
    ours = counted(p, 2500, seed=2)
    assert_same(ours, other)
    assert np.ptp(ours["flips"]) > 0
    if case == "everything":  # Sybils that are refused are not on the graph
        assert_same(run([p], 2500, seed=1)[0], other)
        assert_same(run([p], 2500, seed=3, explicit=True)[0], other)


def test_async_agrees_with_peers_asked_one_by_one():
    p = made(RULE, EVERYTHING, byzantine_fraction=0.4, schedule="async")
    (ours,) = run([p], 2500, seed=1)
    assert_same(ours, theirs(DESCRIBED, 0.4, 1000, schedule="async"))


def test_a_rule_that_looks_at_counts():
    kinds = {"a": (RandomVoting(), 0.4), "b": (Silent(), 0.2), "c": (AlwaysReject(), 0.4)}
    p = made(QrAvalanche(6, 4, 4, max_rounds=40), Mixture.of(kinds), byzantine_fraction=0.25)
    assert p.kinds == (2, 2, 1)
    described = [(2, {"name": "always_reject"}), (2, {"name": "random_voting"})]
    adversary = {"name": "mixture", "of": [*described, (1, {"name": "silent"})]}
    spoken = {"name": "qr_avalanche", "k": 6, "alpha": 4, "beta": 4, "max_rounds": 40}
    rng, fields = random.Random(8), {"n": 20, "byzantine_fraction": 0.25, "initial_accept": 0.5}
    outs = [oracle.simulate(spoken, adversary, rng=rng, **fields) for _ in range(800)]
    (ours,) = run([p], 3000, seed=1)
    assert_same(ours, {field: np.array([out[field] for out in outs], float) for field in FIELDS})
    # Whatever kinds have a node, one program serves all fractions but 0.
    keys = {agents_program_key(p._replace(byzantine_fraction=f / 20)) for f in range(1, 14)}
    assert len(keys) == 1


def test_lost_answers_and_repeated_peers():
    network = {"sampling": "with_replacement", "loss": 0.1}
    p = made(RULE, EVERYTHING, byzantine_fraction=0.4, **network)
    other = theirs(DESCRIBED, 0.4, 1000, **network)
    (ours,) = run([p], 2500, seed=1)
    assert_same(ours, other)
    assert_same(counted(p, 4000), other)


def test_exact_chains_agree_with_trials():
    """Shared coins, memories of two kinds, sybils: averaged over or followed."""
    several = {
        "a": (Mixture.of({"x": (BalancePooled(1), 0.5), "y": (RandomVoting(), 0.5)}), 0.5),
        "b": (Mixture.of({"x": (Sybil(0.5), 0.5), "y": (SafetySplit(), 0.5)}), 0.34),
    }
    rule = Snowflake(3, 2, 2, 2, 8)
    points = [made(rule, kind, n=6, byzantine_fraction=share) for kind, share in several.values()]
    for p, out in zip(points, run(points, 20_000), strict=True):
        solution = solve(p)
        assert_distribution(
            np.bincount(out["final_ones"], minlength=p.honest + 1), solution.final_ones
        )
        assert_rate((out["decided_0"] > 0) & (out["decided_1"] > 0), solution.disagreement)


def test_a_poll_of_rejecting_and_accepting_nodes_by_enumeration():
    """Slush for one round, whose result every subset of peers decides."""
    half = Mixture.of({"no": (AlwaysReject(), 0.5), "yes": (AlwaysAccept(), 0.5)})
    p = made(Slush(3, 2, 1), half, n=9, byzantine_fraction=0.45)
    assert p.kinds == (2, 2)
    colours = [1] * p.start_ones + [0] * (p.honest - p.start_ones) + [1, 1, 0, 0]
    turns = []
    for node in range(p.honest):
        peers = itertools.combinations([c for i, c in enumerate(colours) if i != node], 3)
        turned = [sum(answers) >= 2 for answers in peers]
        turns.append(np.mean(turned))
    law = np.ones(1)
    for chance in turns:
        law = np.convolve(law, [1 - chance, chance])
    assert np.allclose(solve(p).final_ones, law, rtol=1e-12)
    (ours,) = run([p], 20_000)
    assert_distribution(np.bincount(ours["final_ones"], minlength=p.honest + 1), law)


def enumerated(p, way, own, ones):
    """P(each result) of one poll: every set of peers, and whatever each may answer."""
    k, (low, high) = p.protocol.k, p.protocol.quorums
    honest = [float(i < ones) for i in range(p.honest)]
    answers = [(each, 1 - each) for each in honest]
    if p.network.exclude_self:
        answers.remove((float(own), 1.0 - own))
    answers += [mix for mix, nodes in zip(way, p.kinds, strict=True) for _ in range(nodes)]
    results = np.zeros(5)
    sets = list(itertools.combinations(answers, k))
    for peers in sets:
        law = {(0, 0): 1.0}  # of answers 0, answers 1
        for one, zero in peers:
            after: dict = {}
            for (zeros, ones_), chance in law.items():
                heard = 1 - p.network.loss
                for more, part in (((1, 0), zero), ((0, 1), one)):
                    met = zeros + more[0], ones_ + more[1]
                    after[met] = after.get(met, 0.0) + chance * part * heard
                silent = chance * (1 - (zero + one) * heard)
                after[zeros, ones_] = after.get((zeros, ones_), 0.0) + silent
            law = after
        for counts, chance in law.items():
            mine, theirs = counts[own], counts[1 - own]
            agrees, against = (mine >= low) + (mine >= high), (theirs >= low) + (theirs >= high)
            results[agrees or (against and 2 + against)] += chance / len(sets)
    return results


POLLED = {
    "everything": KINDS,
    "a colour and coins": {"a": (AlwaysReject(), 0.5), "b": (RandomVoting(), 0.5)},
    "a colour and silence": {"a": (AlwaysAccept(), 0.25), "b": (Silent(), 0.75)},
    "colours and coins": dict(a=(AlwaysReject(), 0.25), b=(RandomVoting(), 0.5), c=(Flip(), 0.25)),
    "an identity that may be refused": {"a": (Sybil(0.4), 0.5), "b": (RandomVoting(), 0.5)},
    "coins and silence": {"a": (RandomVoting(), 0.5), "b": (NonAnswer(), 0.5)},
}


@pytest.mark.parametrize("name", POLLED)
@pytest.mark.parametrize("exclude_self", [True, False])
@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_polls_of_the_population_engine_by_enumeration(name, exclude_self, loss):
    fields = {"n": 9, "byzantine_fraction": 4 / 9, "exclude_self": exclude_self, "loss": loss}
    p = made(Snowflake(4, 3, 4, 3, 30), Mixture.of(POLLED[name]), **fields)
    every = np.arange(p.honest + 1)
    ours = probabilities(p, every)
    np.testing.assert_allclose(ours[:, : len(p.adversary.ways)].sum(-1), 1.0, rtol=1e-12)
    for (i, way), own in itertools.product(enumerate(p.adversary.ways), range(2)):
        for ones in every[1:] if own else every[:-1]:
            expected = enumerated(p, way, own, ones)
            np.testing.assert_allclose(ours[ones, i, own], expected, rtol=1e-11, atol=1e-16)


def test_the_limit_of_many_nodes():
    n, rounds = 10**9, 12
    kinds = {"a": (RandomVoting(), 0.5), "b": (AlwaysReject(), 0.3), "c": (Sybil(0.5), 0.2)}
    p = made(
        Snowflake(5, 3, 4, 3, rounds),
        Mixture.of(kinds),
        n=n,
        byzantine_fraction=0.2,
        initial_accept=0.7,
    )
    path = limit.trajectory(p)
    out = counted(p, 64)
    for name, share in (("final_ones", path.ones), ("decided_1", path.decided_1)):
        found = out[name] / p.honest
        assert abs(found.mean() - share[-1]) < 5 * standard_error(found)


def test_splitting_climbs_as_trials_do():
    p = made(RULE, EVERYTHING, byzantine_fraction=0.4)
    (ours,) = run([p], 4000)
    happened = plain_events(Climbers(p, "disagreement", "agents", 2**26), 1500, 2, 0)
    expected = ((ours["decided_0"] > 0) & (ours["decided_1"] > 0)).mean()
    error = math.sqrt(expected * (1 - expected) * (1 / 4000 + 1 / 3000))
    assert abs(happened.sum() / 3000 - expected) < 5 * error


def test_an_undisputed_vertex_in_theory():
    kinds = {"a": (AlwaysReject(), 0.5), "b": (Silent(), 0.5)}
    rule = Snowflake(10, 8, 8, 4, 30)
    p = made(rule, Mixture.of(kinds), n=60, byzantine_fraction=0.1, initial_accept=1.0)
    (ours,) = run([p], 4000)
    assert_rate(ours["undecided"] == 0, finalised_undisputed(p))


# Who is of which kind


def test_shares_become_whole_nodes():
    three = Mixture.of({"a": (Echo(), 0.5), "b": (Silent(), 0.3), "c": (Stall(), 0.2)})
    assert [three.divided(f) for f in (0, 1, 2, 10)] == [(0,) * 3, (1, 0, 0), (1, 1, 0), (5, 3, 2)]
    kinds = {"a": (AlwaysAccept(), 0.35), "b": (AlwaysReject(), 0.65)}
    assert Mixture.of(kinds).divided(10) == (4, 6)  # equal remainders: the first class in order
    thirds = {name: (kind, 1 / 3) for name, kind in zip("abc", three.kinds, strict=True)}
    assert Mixture.of(thirds).divided(10**12) == (333333333334, 333333333333, 333333333333)


def test_the_order_says_nothing_and_one_kind_is_itself():
    reversed_ = Mixture.of(dict(reversed(KINDS.items())))
    one, other = (made(RULE, kind, byzantine_fraction=0.4) for kind in (EVERYTHING, reversed_))
    assert one.hash() == other.hash()
    assert made(RULE, CASES["sybils"][0], byzantine_fraction=0.4).hash() != one.hash()
    assert Mixture.of({"a": (Silent(), 1.0), "b": (Echo(), 0.0)}) == Silent()


def test_identities_are_admitted_by_kind():
    kinds = {"a": (Sybil(0.3), 0.5), "b": (Silent(), 0.5)}
    p = made(Snowflake(5, 3, 3, 3), Mixture.of(kinds), n=40, byzantine_fraction=0.5)
    counts, trials = np.zeros(11), np.arange(20_000)
    for item in items(p, 3, trials, trials):
        quiet, sybils = item.kinds
        assert (quiet, item.admitted) == (10, 10 + sybils)
        counts[sybils] += len(item.trials)
    assert_distribution(counts, stats.binom.pmf(np.arange(11), 10, 0.3))


def test_names_and_parameters_of_the_configuration():
    of = {"balance_pooled": {"share": 0.25, "lag": 1}, "silent": 0.75}
    section = {"_target_": build.MIXTURE, "of": of}
    kind = build.component("adversary", section)
    assert kind == Mixture.of(
        {"balance_pooled": (BalancePooled(1), 0.25), "silent": (Silent(), 0.75)}
    )
    assert kind.title == "mixture of balance_pooled, silent"
    alone = build.component("adversary", section | {"of": {"silent": 1}})
    assert alone == Silent()


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ({}, r"adversary.of is {}; allowed: {NAME: share, ...}, shares of 0 to 1 that add up to 1"),
        ({"silent": 0.5, "echo": 0.4}, "add up to 1"),
        ({"silent": 1.5, "echo": -0.5}, "add up to 1"),
        ({"silent": True}, "add up to 1"),
        ({"silent": "half", "echo": 0.5}, "add up to 1"),
        (["silent"], r"allowed: {NAME: share, ...}, or"),
        ({"silent": {"lag": 1}, "echo": 0.5}, r"adversary.of.silent is {'lag': 1}; allowed: {NAME"),
        ({"silent": {"share": 0.5, "lag": 1}, "echo": 0.5}, "lag is no parameter of Silent"),
        (
            {"nobody": 0.5, "echo": 0.5},
            r"adversary.of.nobody: adversary is 'nobody'; allowed: always",
        ),
        ({"mixture": 0.5, "echo": 0.5}, "allowed: kinds that are no mixtures"),
        (
            dict.fromkeys(["non_answer", "stall", "echo", "flip", "release", "sybil"], 1 / 6),
            "allowed: kinds that together may answer in 64 ways at most, not 144",
        ),
    ],
)
def test_mixtures_that_are_none(of, message):
    with pytest.raises(ConfigError) as raised:
        build.component("adversary", {"_target_": build.MIXTURE, "of": of})
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


class Partial(Adversary):
    """Sybils that toss coins."""

    mixes = ((0.25, 0.25),)
    admission = 0.5

    def answer(self, view, memory):
        return np.zeros((1, 2), np.int32), memory


class TooMany(Partial):
    mixes = ((0.75, 0.75),)


def test_what_engines_refuse_of_mixtures():
    def mixed(*kinds):
        return Mixture.of({name: (kind, 0.5) for name, kind in zip("ab", kinds, strict=True)})

    with pytest.raises(ConfigError, match="at most one kind that tells groups"):
        mixed(SafetySplit(1, 0.2), SafetySplit(1, 0.3))
    with pytest.raises(ConfigError, match="kinds that pool equally often"):
        mixed(BalancePooled(), BalancePooled(0, "poll"))
    p = made(RULE, mixed(Partial(), RandomVoting()), n=30, byzantine_fraction=0.4)
    assert "mixture of a, b: numbers of nodes that toss coins vary" in population.supports(p)
    with pytest.raises(ConfigError, match=r"TooMany.mixes\[0\] is \(0.75, 0.75\)"):
        vecsim.check(mixed(TooMany(), Silent()))
    with pytest.raises(ConfigError, match=r"one kind of Byzantine nodes in a cluster"):
        parse_run(
            {"cluster": {"adversary": {"name": "mixture", "of": {"silent": 0.5, "echo": 0.5}}}}
        )


# Groups that have nothing to do with colours


class Halves(Adversary):
    """Says one colour to the first half of the honest nodes, the other one to the rest."""

    mixes = ((0.0, 1.0), (1.0, 0.0))
    groups = 2
    grouping = "random"
    first: int = 1

    def answer(self, view, memory):
        told = jnp.asarray([self.first, 1 - self.first], jnp.int32)
        return jnp.broadcast_to(told[:, None], (2, 2)), memory


class SortedHalves(Halves):
    grouping = "by_colour"


def test_halves_drawn_by_chance_may_be_swapped():
    rule = Slush(10, 7, 1)
    points = [
        made(rule, kind(first), n=1250, byzantine_fraction=0.2)
        for kind in (Halves, SortedHalves)
        for first in (0, 1)
    ]
    for outs in (run(points, 400, seed=2), [counted(p, 400) for p in points]):
        flips = [out["flips"] for out in outs]
        error = math.hypot(*(standard_error(each) for each in flips[:2]))
        assert abs(flips[0].mean() - flips[1].mean()) < 5 * error
        # With groups by colour everybody is told the other colour, or everybody their own.
        assert flips[2].mean() > 5 * flips[3].mean()


@pytest.mark.parametrize("schedule", ["lockstep", "async"])
def test_random_groups_agree_with_peers_asked_one_by_one(schedule):
    attack = SafetySplit(1, 0.3, "random")
    p = made(RULE, attack, byzantine_fraction=0.2, initial_accept=0.3, schedule=schedule)
    rng = random.Random(3)
    fields = {"n": 20, "byzantine_fraction": 0.2, "initial_accept": 0.3, "schedule": schedule}
    described = {"name": "safety_split", "fed": 0.3, "grouping": "random"}
    outs = [oracle.simulate(SPOKEN, described, rng=rng, **fields) for _ in range(1000)]
    other = {field: np.array([out[field] for out in outs], float) for field in FIELDS}
    assert_same(run([p], 3000, seed=1)[0], other)
    if schedule == "lockstep":
        assert_same(counted(p, 3000), other)
        assert_same(run([p], 3000, seed=2, explicit=True)[0], other)


def test_exact_chains_and_splitting_with_random_groups():
    p = made(Snowflake(3, 2, 2, 2, 8), SafetySplit(1, 0.3, "random"), n=8, byzantine_fraction=0.25)
    (ours,) = run([p], 20_000)
    solution, event = solve(p), (ours["decided_0"] > 0) & (ours["decided_1"] > 0)
    assert_distribution(
        np.bincount(ours["final_ones"], minlength=p.honest + 1), solution.final_ones
    )
    assert_rate(event, solution.disagreement)
    sorted_ = solve(p._replace(adversary=SafetySplit(1, 0.3)))
    assert abs(sorted_.disagreement - solution.disagreement) > 0.02
    for engine in ("agents", "population"):
        happened = plain_events(Climbers(p, "disagreement", engine, 2**26), 4000, 2, 0)
        assert stats.binomtest(int(happened.sum()), 8000, solution.disagreement).pvalue > 1e-6


def test_random_groups_within_groups_of_the_network():
    groups = {"groups": [0.5, 0.5], "start": [1.0, 0.25], "cut": 4}
    p = made(RULE, SafetySplit(1, 0.3, "random"), byzantine_fraction=0.2, **groups)
    rng = random.Random(5)
    fields = {"n": 20, "byzantine_fraction": 0.2, "initial_accept": 0.5, "cut": 4}
    described = {"name": "safety_split", "fed": 0.3, "grouping": "random"}
    listed = [tuple(group) for group in p.groups]
    outs = [
        oracle.simulate(SPOKEN, described, rng=rng, groups=listed, **fields) for _ in range(1000)
    ]
    other = {field: np.array([out[field] for out in outs], float) for field in FIELDS}
    assert_same(counted(p, 3000), other)


@pytest.mark.parametrize(
    "numbers", [(10, 4, 3), (10, 10, 5), (7, 0, 3), (10**12, 10**11, 4 * 10**11)]
)
def test_hypergeometric_laws(numbers):
    total, good, draws = numbers
    least, law = hypergeometric(total, good, draws)
    values = least + np.arange(len(law))
    assert abs(law.sum() - 1) < 1e-12
    if total < 100:
        expected = [
            math.comb(good, int(x)) * math.comb(total - good, draws - int(x)) for x in values
        ]
        assert np.allclose(law, np.array(expected) / math.comb(total, draws), rtol=1e-13)
        assert (values[0], values[-1]) == (max(0, draws + good - total), min(good, draws))
    mean = draws * good / total
    variance = mean * (1 - good / total) * (total - draws) / max(total - 1, 1)
    assert abs(law @ (values - mean)) < 1e-6 * math.sqrt(variance) + 1e-12
    assert law @ (values - mean) ** 2 == pytest.approx(variance, rel=1e-6)


# Pools at each poll


def test_pooling_at_each_poll_is_far_stronger():
    fields = {"byzantine_fraction": 0.2, "schedule": "async"}
    by_round, by_poll = (
        made(Slush(5, 3, 60), BalancePooled(0, every), n=20, **fields)
        for every in ("round", "poll")
    )
    outs = run([by_round, by_poll], 3000, seed=1)
    rng = random.Random(6)
    slush = {"name": "slush", "k": 5, "alpha": 3, "m": 60}
    for every, ours in zip(("round", "poll"), outs, strict=True):
        described = {"name": "balance_pooled", "every": every}
        other = [
            oracle.simulate(slush, described, n=20, initial_accept=0.5, rng=rng, **fields)
            for _ in range(250)
        ]
        assert_same_distribution(ours["unanimity"], np.array([out["unanimity"] for out in other]))
    solution = solve(by_poll)
    assert supports(by_round) is not None
    never = np.isnan(outs[1]["unanimity"])
    assert_rate(~never, 1 - solution.unfinished)
    assert np.nanmean(outs[1]["unanimity"]) > 1.2 * np.nanmean(outs[0]["unanimity"])


def test_when_pools_may_be_made():
    with pytest.raises(
        ConfigError, match=r"adversary.every is 'poll'; allowed: round with schedule"
    ):
        made(RULE, BalancePooled(0, "poll"), byzantine_fraction=0.2)
    with pytest.raises(ConfigError, match=r"adversary.lag is 1; allowed: 0 with every=poll"):
        BalancePooled(1, "poll")
    with pytest.raises(ConfigError, match=r"adversary.every is 'year'; allowed: round or poll"):
        BalancePooled(0, "year")
    with pytest.raises(
        ConfigError, match=r"adversary.grouping is 'none'; allowed: by_colour, random"
    ):
        SafetySplit(1, 0.3, "none")


def test_points_of_before_keep_their_identity():
    for kind, fields in (
        (BalancePooled(1), {"lag": 1}),
        (SafetySplit(1, 0.3), {"target": 1, "fed": 0.3}),
    ):
        assert (
            made(RULE, kind, n=20).parameters()["adversary"]
            == {"class": f"{type(kind).__module__}.{type(kind).__qualname__}"} | fields
        )
    other = made(RULE, SafetySplit(1, 0.3, "random"), n=20)
    assert other.parameters()["adversary"]["grouping"] == "random"
