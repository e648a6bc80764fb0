"""eCash's votes: recorded ones, the law of one node, nodes that give up, voters told apart."""

import csv
import gzip
import random
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from helpers import assert_as_in_the_plain_loop, assert_mean, assert_rate, point, run

from vecsim.adversaries.always_accept import AlwaysAccept
from vecsim.adversaries.mixture import Mixture
from vecsim.adversaries.neutral import Neutral
from vecsim.adversaries.random_voting import RandomVoting
from vecsim.adversaries.silent import Silent
from vecsim.engines.exact.votes import law_of_votes
from vecsim.errors import ConfigError
from vecsim.protocols.ecash import Ecash
from vecsim.protocols.snowflake import Snowflake
from vecsim.types import Counts, preference

DATA = Path(__file__).parent / "data"
MANY = 400  # votes, more than a node needs


@jax.jit
def voted(rule, cell, answer, voter=0):
    """The cell after a vote; answer: 0 (no), 1 (yes), 2 (neutral), 3 (none came)."""
    answer = jnp.asarray(answer, jnp.uint32)
    came, neutral = (jnp.asarray(flag, jnp.uint32) for flag in (answer < 3, answer == 2))
    agrees = jnp.asarray(answer == preference(cell), jnp.uint32)
    return rule.step(cell, Counts(agrees, came, neutral, 0, jnp.asarray(voter, jnp.uint32)))


def begun(rule, colour):
    return rule.start(jnp.uint32(colour))


YES, NO, NEUTRAL, NONE = 1, 0, 2, 3


# What Bitcoin ABC did


@pytest.mark.parametrize("distinct", [False, True])
def test_every_recorded_vote_of_bitcoin_abc(distinct):
    with gzip.open(DATA / "ecash_votes.csv.gz", "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    traces = {}
    for row in rows:
        traces.setdefault(row["trace"], []).append(row)
    rule, codes = Ecash(distinct_voters=distinct), {"no": NO, "yes": YES, "neutral": NEUTRAL}
    longest = max(map(len, traces.values()))
    votes = np.full((longest, len(traces)), NONE, np.uint32)
    for i, trace in enumerate(traces.values()):
        assert [int(row["step"]) for row in trace] == list(range(len(trace)))
        votes[: len(trace), i] = [codes[row["vote"]] for row in trace]
    starts = jnp.array([int(trace[0]["start"]) for trace in traces.values()], jnp.uint32)

    numbers = np.arange(longest, dtype=np.uint32)
    found = [np.asarray(part) for part in followed(rule, rule.start(starts), numbers, votes)]
    checked = 0
    for i, trace in enumerate(traces.values()):
        for step, row in enumerate(trace):
            state = [int(row[name]) for name in ("accepted", "confidence", "finalized")]
            assert [int(part[step, i]) for part in found] == state
            checked += 1
    assert checked == len(rows) == 15_358


# One node


@jax.jit
def followed(rule, cells, numbers, answers):
    """Preference, confidence and whether it has decided, after each vote, [votes, cells]."""

    def one(cells, vote):
        after = voted(rule, cells, vote[1], vote[0])
        now = rule.unpack(after)
        return after, (now.preference, now.confidence, now.decided)

    return jax.lax.scan(one, cells, (numbers, answers))[1]


def confidences(rule, colour, answers):
    """After each of the votes, and the number and colour of the vote that decides."""
    votes = np.resize(np.array(answers, np.uint32), MANY)[:, None]
    cells = rule.start(jnp.full(1, colour, jnp.uint32))
    colours, found, over = followed(rule, cells, np.arange(MANY, dtype=np.uint32), votes)
    last = int(np.argmax(over))
    return np.asarray(found).ravel(), (last + 1, int(colours[last, 0]))


def until_final(rule, colour, answers):
    return confidences(rule, colour, answers)[1]


def test_votes_of_one_node():
    rule = Ecash()
    assert until_final(rule, 0, [YES]) == (135, 1)
    assert until_final(rule, 1, [YES]) == (134, 1)
    assert until_final(rule, 0, [NO]) == (134, 0)
    assert until_final(rule, 1, [NO]) == (135, 0)


@pytest.mark.parametrize("other", [NO, NEUTRAL])
@pytest.mark.parametrize("colour", [0, 1])
def test_one_other_vote_costs_nothing_and_two_pause_six_votes(other, colour):
    rule, plain = Ecash(), 135 - colour
    for at in range(8, 120, 7):
        one = [YES] * at + [other] + [YES] * 200
        assert until_final(rule, colour, one) == (plain, 1)
        two = [YES] * at + [other] * 2 + [YES] * 200
        found, final = confidences(rule, colour, two)
        paused = np.flatnonzero(found[8 : at + 40] == found[7 : at + 39]) + 8 - at
        # The second of the two, and six further ones.
        assert paused.tolist() == list(range(1, 8))
        assert final == (plain + 7, 1)


def test_no_answer_is_no_vote():
    rule, cell = Ecash(), begun(Ecash(), 0)
    for answer in (YES, YES, NO, NEUTRAL):
        cell = voted(rule, cell, answer)
        assert all(map(np.array_equal, voted(rule, cell, NONE), cell))
    assert int(rule.unpack(cell).votes) == 4


def test_the_exact_law_of_one_node():
    """As published for votes that are independent, to all digits given."""
    rule = Ecash()
    for yes, mean in {0.95: "143.2", 0.9: "165.7", 0.8: "267.4", 0.7: "618.9"}.items():
        law = law_of_votes(rule, yes)
        assert f"{law.mean:.1f}" == mean
        assert law.decided_1[-1] > 1 - 1e-6
    for yes, final in {0.65: "0.9655", 0.6: "0.1758", 0.55: "0.000209"}.items():
        law = law_of_votes(rule, yes, votes=4096)
        assert len(law.decided_1) == 4097
        assert f"{law.decided_1[-1]:.3g}" == final or f"{law.decided_1[-1]:.4f}" == final
        assert not law.given_up.any()
    for colour, votes in ((0, 135), (1, 134)):
        law = law_of_votes(rule, 1.0, colour=colour)
        assert law.mean == votes
        assert law.decided_1.tolist() == [0.0] * votes + [1.0]


def test_the_law_is_symmetric_and_adds_up():
    rule = Ecash(finalization_score=20, stale_votes=60, stale_factor=3, max_rounds=300)
    one, other = law_of_votes(rule, 0.6, 0.1, 0), law_of_votes(rule, 0.3, 0.1, 1)
    assert np.allclose(one.decided_0, other.decided_1, atol=1e-14)
    assert np.allclose(one.given_up, other.given_up, atol=1e-14)
    assert not one.given_up[:61].any()
    assert one.given_up[61] > 0.01
    for law in (one, other):
        assert np.diff(np.stack(law), axis=1).min() >= 0
        assert law.voting.min() > -1e-12
    assert law_of_votes(rule, 0.0, 1.0).given_up.tolist() == [0.0] * 61 + [1.0]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"yes": 1.5}, "yes is 1.5; allowed: a number, 0 to 1"),
        ({"yes": 0.7, "neutral": 0.4}, "neutral is 0.4; allowed: a number, 0 to 1 - yes = 0.3"),
        ({"yes": 0.7, "colour": 2}, "colour is 2; allowed: 0 or 1"),
        ({"yes": 0.7, "votes": 0}, "votes is 0; allowed: a whole number, 1 to 1048576"),
    ],
)
def test_what_the_law_takes(words, told):
    with pytest.raises(ConfigError, match=told):
        law_of_votes(Ecash(), **words)


# Engines, where votes are independent: one honest node, which polls Byzantine ones alone


def alone(rule, shares, colour, **network):
    """A node that starts at `colour` among a hundred Byzantine ones."""
    kinds = {"yes": AlwaysAccept(), "random": RandomVoting(), "neutral": Neutral()}
    kinds |= {"silent": Silent()}
    mixed = Mixture.of({name: (kinds[name], share) for name, share in shares.items()})
    network = {"sampling": "with_replacement"} | network
    share = {"n": 101, "byzantine_fraction": 100 / 101, "initial_accept": float(colour)}
    return point(rule, mixed, **share, **network)


CASES = {
    "yes": (Ecash(), {"yes": 0.8, "random": 0.2}, 0, {}),
    "async": (Ecash(max_rounds=400), {"yes": 0.8, "random": 0.2}, 0, {"schedule": "async"}),
    "neutral": (Ecash(), {"yes": 0.88, "neutral": 0.12}, 1, {}),
    "stale": (
        Ecash(finalization_score=20, stale_votes=60, stale_factor=3),
        {"yes": 0.4, "random": 0.5, "neutral": 0.1},
        0,
        {},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_trials_agree_with_the_law(case):
    rule, shares, colour, network = CASES[case]
    p = alone(rule, shares, colour, **network)
    yes = shares.get("yes", 0) + shares.get("random", 0) / 2
    law = law_of_votes(rule, yes, shares.get("neutral", 0), colour)
    (out,) = run([p], 800, seed=3)
    assert_mean(out["polls"], law.mean)
    assert_rate(out["decided_1"] == 1, law.decided_1[-1])
    assert_rate(out["undecided"] == 1, min(law.given_up[-1], 1.0) if case == "stale" else 0)
    assert (out["rounds"] < rule.max_rounds).all()


def test_lost_answers_are_no_votes():
    """They only take time: rounds are votes with a pause of a geometric length before each."""
    rule = Ecash(finalization_score=20)
    for shares, loss in (({"yes": 1.0}, 0.5), ({"yes": 0.5, "silent": 0.5}, 0.0)):
        (out,) = run([alone(rule, shares, 1, loss=loss)], 4000)
        votes = law_of_votes(rule, 1.0, colour=1).mean
        assert_mean(out["polls"], votes / 0.5)
        variance = out["rounds"].var(ddof=1)
        assert abs(variance / (votes * 0.5 / 0.5**2) - 1) < 5 * np.sqrt(2.5 / 4000)


def test_many_nodes_of_one_mind_are_independent():
    p = point(
        Ecash(),
        RandomVoting(),
        n=500,
        byzantine_fraction=0.1,
        initial_accept=1.0,
        sampling="with_replacement",
        exclude_self=False,
    )
    (out,) = run([p], 20)
    assert (out["decided_1"] == 450).all()
    assert not out["flips"].any()
    assert_mean(out["polls"] / 450, law_of_votes(Ecash(), 0.95, colour=1).mean)


# Giving up


def test_a_stale_node_polls_no_more_but_answers():
    """Nodes of both colours that hear nothing but neutral votes give up after stale_votes + 1."""
    rule = Ecash(stale_votes=40, stale_factor=8, max_rounds=500)
    network = {"sampling": "with_replacement"}
    for schedule in ("lockstep", "async"):
        p = point(
            rule, Neutral(), n=101, byzantine_fraction=100 / 101, schedule=schedule, **network
        )
        (out,) = run([p], 30)
        assert (out["polls"] == 41).all()
        assert (out["undecided"] == 1).all()
        assert np.isnan(out["last_decision"]).all()
        assert (out["rounds"] == (41 if schedule == "lockstep" else 41 / 101)).all()
    # Of 40 nodes 38 are honest and agree: some decide, with stale ones among their peers, whose
    # answers are as good as before; a trial ends when all have done one or the other.
    rule = Ecash(stale_votes=150, stale_factor=1, max_rounds=5000)
    for schedule in ("lockstep", "async"):
        fields = {"n": 40, "byzantine_fraction": 0.05, "initial_accept": 1.0}
        p = point(rule, Neutral(), schedule=schedule, **fields)
        (out,) = run([p], 100)
        assert (out["rounds"] < 5000).all()
        assert (out["undecided"] > 0).any()
        assert (out["decided_1"] > 0).any()
        assert (out["decided_1"] + out["undecided"] == 38).all()
        assert (out["final_ones"] == 38).all()


def test_what_makes_a_node_stale():
    rule = Ecash(stale_votes=10, stale_factor=4)

    def stale(votes, confidence):
        words = dict(preference=0, yes=0, given=0, confidence=confidence, votes=votes)
        return bool(rule.gives_up(rule.pack(**{k: jnp.uint32(v) for k, v in words.items()})))

    assert not stale(10, 0)
    assert stale(11, 0)
    assert stale(11, 2)
    assert not stale(11, 3)
    assert not stale(12, 3)
    assert stale(13, 3)


# Voters told apart


def test_votes_of_recent_voters_are_ignored():
    rule = Ecash(distinct_voters=True)
    cell = begun(rule, 0)
    for voter in range(7):
        cell = voted(rule, cell, YES, voter)
    assert int(rule.unpack(cell).votes) == 7
    assert int(preference(cell)) == 1
    for voter in range(7):
        assert all(map(np.array_equal, voted(rule, cell, NO, voter), cell))
    assert all(map(np.array_equal, voted(rule, cell, NONE, 8), cell))
    later = voted(rule, cell, NEUTRAL, 2_000_000)  # as many nodes as there may be
    assert all(map(np.array_equal, voted(rule, later, NO, 2_000_000), later))
    assert int(rule.unpack(later).votes) == 8
    assert int(rule.unpack(voted(rule, later, YES, 0)).votes) == 9  # now the eighth last
    assert int(rule.unpack(voted(rule, later, YES, 1)).votes) == 8


def test_nodes_and_the_plain_loop_ignore_the_same_votes():
    rng = random.Random(5)
    rule = Ecash(finalization_score=30, distinct_voters=True)
    config = {"name": "ecash", "finalization_score": 30, "distinct_voters": True}
    for colour in (0, 1):
        node, cell = oracle.make_node(config, colour), begun(rule, colour)
        for _ in range(600):
            answer, voter = (
                rng.choices((NO, YES, NEUTRAL, NONE), (1, 12, 1, 1))[0],
                rng.randrange(12),
            )
            if node.decision != -1:
                break
            given = {NO: 0, YES: 1, NEUTRAL: oracle.NEUTRAL, NONE: None}[answer]
            node.vote(given, voter)
            cell = voted(rule, cell, answer, voter)
            now = rule.unpack(cell)
            ours = [int(now.preference), int(now.confidence), int(now.votes), bool(now.decided)]
            assert ours == [node.preference, node.confidence, node.votes, node.decision != -1]
        assert node.decision == 1


# Trials against the plain loop


SHORT = {"finalization_score": 12, "stale_votes": 60, "stale_factor": 3, "max_rounds": 150}
WITH = {"sampling": "with_replacement", "exclude_self": False}
TRIALS = {
    "split": ({}, "silent", {"byzantine_fraction": 0.0}),
    "neutral": ({}, "neutral", {"initial_accept": 0.75}),
    "loss": ({}, "random_voting", {"loss": 0.3, **WITH}),
    "async": ({"conclusive": 6}, "neutral", {"schedule": "async", "loss": 0.1}),
    "push": ({}, "balance_informed", {"schedule": "async"}),
    "voters": ({"distinct_voters": True}, "silent", {"n": 11}),
    "voters, async": ({"distinct_voters": True}, "neutral", {"n": 11, "schedule": "async"}),
    "zipf": ({"distinct_voters": True}, "neutral", {"zipf": 1.0, "initial_accept": 0.75}),
    "zipf, async": ({}, "random_voting", {"zipf": 1.0, "schedule": "async", "loss": 0.1}),
}


@pytest.mark.parametrize("case", TRIALS)
def test_trials_agree_with_the_plain_loop(case):
    rule, adversary, fields = TRIALS[case]
    numbers = SHORT | rule
    config = {"name": "ecash"} | numbers
    assert_as_in_the_plain_loop(Ecash(**numbers), config, adversary, seed=len(case), **fields)


def test_the_law_is_of_ecash_alone():
    with pytest.raises(ConfigError, match="rule is 'Snowflake'; allowed: Ecash"):
        law_of_votes(Snowflake(), 0.9)  # pyright: ignore[reportArgumentType]
