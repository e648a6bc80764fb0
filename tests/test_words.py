"""Protocols of one's own whose polls say more than counts, whose cells have several words, or whose
nodes give up: how they are checked, what they do in trials, and which engines refuse them."""

import re
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pytest
from fuzz import composing, planned
from helpers import assert_rate, assert_same_distribution, point, run
from test_checks import Fair, Sound, refusal

import vecsim
from vecsim.adversaries.always_accept import AlwaysAccept
from vecsim.adversaries.always_reject import AlwaysReject
from vecsim.adversaries.mixture import Mixture
from vecsim.adversaries.neutral import Neutral
from vecsim.adversaries.random_voting import RandomVoting
from vecsim.adversaries.safety_split import SafetySplit
from vecsim.adversaries.silent import Silent
from vecsim.engines import exact, limit, population
from vecsim.engines.choose import engine_of
from vecsim.errors import ConfigError
from vecsim.protocols.ecash import Ecash
from vecsim.protocols.fpc import Fpc
from vecsim.protocols.qr_avalanche import QrAvalanche
from vecsim.protocols.snowflake import Snowflake
from vecsim.studies import theory
from vecsim.studies.rare.supported import supports_splitting
from vecsim.types import Counts, Protocol, Quorum

ONE = jnp.uint32(1)


class Tallies(Protocol):
    """Decides once 30 answers have agreed; gives up once 20 have been neutral."""

    counts = True
    neutral = True
    stops = True
    k: int = 4
    max_rounds: int = 60

    @property
    def quorums(self):
        return 3, 3

    def fields(self):
        return {"agreed": 64}

    def further(self):
        return {"polls": 2**12, "neutral": 2**10}, {"missing": 2**32 - 1}

    def start(self, colour):
        none = colour & 0
        return self.pack(preference=colour, agreed=none, polls=none, neutral=none, missing=none)

    def step(self, cell, poll: Counts):
        now = self.unpack(cell)
        agreed = jnp.minimum(now.agreed + poll.positive, jnp.uint32(63))
        return self.pack(
            preference=now.preference,
            decided=agreed >= 30,
            agreed=agreed,
            polls=now.polls + ONE,
            neutral=jnp.minimum(now.neutral + poll.neutral, jnp.uint32(1000)),
            missing=now.missing + jnp.uint32(self.k) - poll.answered,
        )

    def gives_up(self, cell):
        return self.unpack(cell).neutral >= 20


class Lottery(Protocol):
    """Takes the colour of a common coin, whatever the answers; decides in the third round."""

    counts = True
    common = True
    k: int = 3
    max_rounds: int = 10

    @property
    def quorums(self):
        return 2, 2

    def fields(self):
        return {"rounds": 4}

    def start(self, colour):
        return self.pack(preference=colour, rounds=0)

    def step(self, cell, poll: Counts):
        rounds = jnp.minimum(self.unpack(cell).rounds + ONE, jnp.uint32(3))
        return self.pack(preference=poll.common & ONE, decided=rounds == 3, rounds=rounds)


class Impatient(Protocol):
    """Looks at quorums alone; two in a row decide, and three polls without any are the last."""

    stops = True
    k: int = 5
    max_rounds: int = 40

    @property
    def quorums(self):
        return 4, 4

    def fields(self):
        return {"row": 3, "failed": 4}

    def start(self, colour):
        return self.pack(preference=colour, row=0, failed=0)

    def step(self, cell, poll: Quorum):
        now = self.unpack(cell)
        some = poll.agree | poll.against
        row = jnp.where(poll.agree, now.row + ONE, jnp.where(poll.against, ONE, now.row & 0))
        failed = jnp.where(some, now.failed, jnp.minimum(now.failed + ONE, jnp.uint32(3)))
        colour = jnp.where(poll.against, now.preference ^ ONE, now.preference)
        decided = row >= 2
        return self.pack(preference=colour, decided=decided, row=row, failed=failed)

    def gives_up(self, cell):
        return self.unpack(cell).failed >= 3


class Wide(Protocol):
    """Quorums alone, in two words: the second one counts polls."""

    k: int = 5
    max_rounds: int = 40

    @property
    def quorums(self):
        return 4, 4

    def further(self):
        return ({"polls": 2**20},)

    def start(self, colour):
        return self.pack(preference=colour, polls=colour & 0)

    def step(self, cell, poll: Quorum):
        now = self.unpack(cell)
        polls = jnp.where(poll.agree, now.polls + ONE, now.polls & 0)
        colour = jnp.where(poll.against, now.preference ^ ONE, now.preference)
        polls = jnp.minimum(polls, jnp.uint32(3))
        return self.pack(preference=colour, decided=polls == 3, polls=polls)

    def remaining(self, cell, colour):
        now = self.unpack(cell)
        polls = jnp.where(now.preference == colour, now.polls, 0).astype(jnp.int32)
        return jnp.maximum(3 - polls, 1)


class Polite(Protocol):
    """Takes the colour of the node asked, unless its number is odd."""

    counts = True
    voters = True
    decides = False
    k: int = 1
    max_rounds: int = 5

    @property
    def quorums(self):
        return 1, 1

    def start(self, colour):
        return self.pack(preference=colour)

    def step(self, cell, poll: Counts):
        own = self.unpack(cell).preference
        other = (poll.answered > poll.positive) & (poll.voter % jnp.uint32(2) == 0)
        return self.pack(preference=jnp.where(other, own ^ ONE, own))


SOUND = (Tallies(), Lottery(), Impatient(), Wide(), Polite(), Ecash(distinct_voters=True), Fpc())


@pytest.mark.parametrize("rule", SOUND, ids=lambda rule: type(rule).__name__)
def test_sound_ones_are_accepted(rule):
    vecsim.check(rule)


# Each with one fault


class NeutralOfQuorums(Sound):
    neutral = True


class NeutralUndeclared(Tallies):
    neutral = False


class CommonUndeclared(Lottery):
    common = False


class CommonIsANumber(Lottery):
    common = 1  # pyright: ignore[reportAssignmentType]


class StopsIsAField(Tallies):
    stops: bool = True  # pyright: ignore


class NeverAsked(Tallies):
    stops = False


class NoWayToStop(Wide):
    stops = True


class StopsAtOnce(Impatient):
    def gives_up(self, cell):
        return self.unpack(cell).failed < 3


class StopsByNumber(Impatient):
    def gives_up(self, cell):
        return self.unpack(cell).failed


class StopsTogether(Impatient):
    def gives_up(self, cell):
        failed = self.unpack(cell).failed
        return (failed >= 3) | ((failed > 0) & (failed == 2).any())


class VotersOfMany(Polite):
    k: int = 3

    @property
    def quorums(self):
        return 2, 2


class NamedTwice(Tallies):
    def further(self):
        return {"polls": 2**12, "agreed": 64}, {"missing": 4}


class WideWord(Tallies):
    def further(self):
        return {"polls": 2**20, "neutral": 2**20}, {"missing": 4}


class WordOfAList(Wide):
    def further(self):
        return [{"polls": 2**20}]


class OneWord(Wide):
    def step(self, cell, poll):
        return cell[0]


class ShortWord(Wide):
    def step(self, cell, poll):
        return super().step(cell, poll)[:1]


class SignedWord(Wide):
    def step(self, cell, poll):
        first, second = super().step(cell, poll)
        return first, second.astype(jnp.int32)


class OverflowingWord(Wide):
    def further(self):
        return ({"polls": 3},)


class LooksAtOthers(Wide):
    def step(self, cell, poll):
        first, second = super().step(cell, poll)
        return first, second + (second.max() & ONE)


BAD = {
    NeutralOfQuorums: "neutral is True; allowed: False, as counts is False",
    NeutralUndeclared: "has no attribute 'neutral' .*; allowed: positive, answered, what the class",
    CommonUndeclared: "has no attribute 'common' .*; allowed: positive, answered, what the class",
    CommonIsANumber: "common is 1; allowed: True or False",
    StopsIsAField: "stops is 'a field'; allowed: a constant of the class",
    NeverAsked: "stops is False; allowed: True, as it has a gives_up",
    NoWayToStop: "stops is True; allowed: False, as it has no gives_up",
    StopsAtOnce: "gives_up of start is True; allowed: False, as a node polls once",
    StopsByNumber: "gives_up of bools is 'uint32'; allowed: bool",
    StopsTogether: r"gives_up\(\d+\) is True; allowed: False, as for the cell by itself",
    VotersOfMany: "k is 3; allowed: 1, as voters is True",
    NamedTwice: r"further\(\)\[0\] is .*; allowed: names .*, and no name twice",
    WideWord: r"further\(\)\[0\] is '40 bits'; allowed: 32 bits at most",
    WordOfAList: r"further\(\) is \[.*\]; allowed: a tuple",
    OneWord: "step of words is '.*'; allowed: a tuple of 2 arrays",
    ShortWord: "step of words is 1; allowed: a tuple of 2 arrays",
    SignedWord: "step of uint32 is 'int32'; allowed: uint32",
    OverflowingWord: r"step\(\(\d+, 2\), agree, confident\): polls is 3; allowed: 0 to 2, as fu",
    LooksAtOthers: r"step\(\(\d+, \d+\), .*\) is \(\d+, \d+\); allowed: \(\d+, \d+\), as for the",
}


@pytest.mark.parametrize("class_", BAD)
def test_a_bad_one_is_refused_in_one_line(class_):
    line = refusal(class_())
    assert line.startswith(f"test_words.{class_.__name__}")
    assert re.search(BAD[class_], line), line


class Undecided(Fair):
    """Says neither in its second way to answer, or at times."""

    mixes: ClassVar = ((0.7, 0.2), (0.0, 0.0))
    neutral: ClassVar = (0.1, 0.5)


class TooFew(Undecided):
    neutral: ClassVar = (0.1,)


class TooMuch(Undecided):
    neutral: ClassVar = (0.2, 0.5)


class Negative(Undecided):
    neutral: ClassVar = (0.1, -0.5)


class AField(Fair):
    neutral: tuple = (0.0, 0.0)  # pyright: ignore


BAD_ADVERSARIES = {
    TooFew: r"neutral is \(0.1,\); allowed: a list with a probability for each of the 2 mixes",
    TooMuch: r"neutral\[0\] is 0.2; allowed: 0 to 0.1, what P\(answers 1\) and P\(",
    Negative: r"neutral\[1\] is -0.5; allowed: 0 to 1,",
    AField: "neutral is 'a field'; allowed: a constant of the class",
}


@pytest.mark.parametrize("class_", BAD_ADVERSARIES)
def test_a_bad_adversary_is_refused_in_one_line(class_):
    line = refusal(class_())
    assert line.startswith(f"test_words.{class_.__name__}.")
    assert re.search(BAD_ADVERSARIES[class_], line), line


def test_neutral_answers_of_a_share():
    vecsim.check(Undecided())
    vecsim.check(Neutral())


# Trials


def tallies(law, trials, seed):
    """Rounds and whether it decided, of single nodes whose answers have this law: P(agrees),
    P(neutral), P(lost)."""
    rng = np.random.default_rng(seed)
    rounds, decided = np.zeros(trials), np.zeros(trials)
    for i in range(trials):
        agreed = neutral = 0
        while agreed < 30 and neutral < 20 and rounds[i] < 60:
            drawn = rng.multinomial(4, [*law, 1 - sum(law)])
            agreed, neutral = agreed + drawn[0], neutral + drawn[1]
            rounds[i] += 1
        decided[i] = agreed >= 30
    return rounds, decided


@pytest.mark.parametrize(
    "network",
    [{}, {"schedule": "async"}, {"topology": "random_regular", "degree": 100, "graphs": 1}],
)
def test_neutral_answers_in_two_words(network):
    """One node that asks a hundred Byzantine ones; half of the answers of `Undecided` are none."""
    kinds = {"yes": (AlwaysAccept(), 0.5), "neutral": (Neutral(), 0.3), "no": (AlwaysReject(), 0.2)}
    p = point(
        Tallies(),
        Mixture.of(kinds),
        n=101,
        byzantine_fraction=100 / 101,
        initial_accept=1.0,
        loss=0.1,
        sampling="with_replacement",
        **network,
    )
    (out,) = run([p], 300 if "topology" in network else 3000, seed=5)
    rounds, decided = tallies((0.45, 0.27, 0.1), 3000, 1)
    assert_same_distribution(out["polls"], rounds)
    assert_same_distribution(out["decided_1"], decided)
    assert 0.1 < decided.mean() < 0.9


def test_an_adversary_that_is_neutral_by_chance():
    p = point(
        Tallies(),
        Undecided(),
        n=101,
        byzantine_fraction=100 / 101,
        initial_accept=1.0,
        sampling="with_replacement",
    )
    (out,) = run([p], 3000, seed=6)
    rounds, _ = tallies((0.7, 0.1, 0.0), 3000, 2)
    assert_same_distribution(out["polls"], rounds)
    # To a protocol that does not tell it apart a neutral answer is none.
    fields = {"n": 40, "byzantine_fraction": 0.25, "initial_accept": 0.6}
    one, other = (
        run([point(Snowflake(6, 4, 5, 6), each, **fields)], 400, seed=seed)[0]
        for seed, each in enumerate((Neutral(), Silent()))
    )
    for name in ("rounds", "decided_1", "flips"):
        assert_same_distribution(one[name], other[name])


@pytest.mark.parametrize(
    "network",
    [{}, {"schedule": "async"}, {"topology": "random_regular", "degree": 6, "graphs": 2}],
)
def test_a_common_word(network):
    p = point(Lottery(max_rounds=1), Silent(), n=20, **network)
    (out,) = run([p], 2000)
    if "schedule" in network:  # a round of polls by nodes drawn one by one leaves some out
        whole = out["unanimity"] == 1
        assert out["final_ones"].std() > 6
        assert not whole.all()
    else:
        assert set(out["final_ones"]) == {0, 20}
        assert_rate(out["final_ones"] == 20, 0.5)
    (out,) = run([p._replace(protocol=Lottery())], 500)
    assert not out["undecided"].any()
    if "schedule" not in network:
        assert set(out["decided_1"]) == {0, 20}
        assert (out["rounds"] == 3).all()


def test_nodes_that_look_at_quorums_give_up():
    """One among Byzantine nodes, by the chance of a quorum: three failures come first, or two in a
    row."""
    p = point(
        Impatient(),
        RandomVoting(),
        n=101,
        byzantine_fraction=100 / 101,
        initial_accept=1.0,
        sampling="with_replacement",
    )
    good = 6 / 32  # four or five of five for one colour
    states = {(0, 0): 1.0}  # polls in a row for the present colour, failures
    ended = 0.0
    for _ in range(40):
        after = {}
        for (row, failed), chance in states.items():
            ways = [((row + 1, failed), good), ((1, failed), good), ((0, failed + 1), 1 - 2 * good)]
            for (new, fails), share in ways:
                if new >= 2 or fails >= 3:
                    ended += chance * share * (fails >= 3)
                else:
                    after[new, fails] = after.get((new, fails), 0.0) + chance * share
        states = after
    (out,) = run([p], 4000)
    assert_rate(out["undecided"] == 1, ended)
    assert (out["rounds"] < 40).all()


def test_voters_are_known_by_their_numbers():
    """Of ten nodes the five even ones are listened to."""
    p = point(
        Polite(max_rounds=1), AlwaysAccept(), n=11, initial_accept=0.0, byzantine_fraction=0.5
    )
    (out,) = run([p], 4000)
    # Honest nodes are 0 to 4 or 5, Byzantine ones the rest of 11: those with even numbers turn.
    even = sum(number % 2 == 0 for number in range(p.honest, 11))
    expected, polls = even / 10, p.honest * len(out["final_ones"])
    error = np.sqrt(expected * (1 - expected) / polls)
    assert abs(out["final_ones"].mean() / p.honest - expected) < 5 * error
    assert_rate(np.repeat(out["final_ones"] > 0, 1), 1 - (1 - even / 10) ** p.honest)


# Engines that do not serve them

REASONS = {
    Ecash(): "protocol=Ecash: it tells neutral answers from none",
    Fpc(): "protocol=Fpc: its nodes share a random word",
    Tallies(): "protocol=Tallies: it tells neutral answers from none",
    Impatient(): "protocol=Impatient: its nodes may give up",
    Wide(): "protocol=Wide: its cells have several words",
    Polite(): "protocol=Polite: it looks at who answers",
}


@pytest.mark.parametrize("rule", REASONS, ids=lambda rule: type(rule).__name__)
def test_other_engines_refuse_them_by_name(rule):
    told, name = REASONS[rule], type(rule).__name__
    p = point(rule, SafetySplit(), n=30, byzantine_fraction=0.2)
    for reason in (
        population.supports(p),
        exact.supports(p),
        *(supports_splitting(p, engine) for engine in ("agents", "population", "places")),
    ):
        assert reason == told
    with pytest.raises(ConfigError, match=re.escape(f"auto or agents ({told})")):
        engine_of(p, "population")
    for function in (limit.trajectory, limit.fixed_points, limit.critical_fraction):
        line = rf"^protocol is '{name}'; allowed: .* \({re.escape(told)}\)$"
        with pytest.raises(ConfigError, match=line):
            function(p._replace(adversary=RandomVoting()))
    plain = point(rule, RandomVoting(), n=30, initial_accept=1.0)
    assert theory.finalised_undisputed(plain) is None
    assert limit.rounds_until_decided(point(rule, RandomVoting(), n=30)) is None


def test_an_extended_protocol_of_vecsim_is_no_exception():
    """QR-Avalanche has programs of its own, which know nothing of nodes that give up."""

    class Tired(QrAvalanche):
        stops = True

        def gives_up(self, cell):
            return self.unpack(cell).streak > 100

    p = point(Tired(), RandomVoting(), n=60, initial_accept=1.0)
    told = "protocol=Tired: its nodes may give up"
    assert population.supports(p) == exact.supports(p) == told
    with pytest.raises(ConfigError, match=told):
        limit.trajectory(p)


REFUSED = {
    "estimator=splitting": r"estimator is 'splitting'; allowed: plain \(protocol=Ecash: it tells",
    "estimator=design": "protocol is 'Ecash'; allowed: snowflake or snowball",
    "engine.name=population": r"engine.name is 'population'; allowed: auto or agents \(protocol=Ec",
    "n=3000000": r"n is 3000000; allowed: 1 to 2000000 \(protocol=Ecash: it tells neutral",
    "network=groups network.groups=[0.5,0.5]": r"network.groups is .*; allowed: none \(protocol=",
    "protocol.conclusive=4": "protocol.conclusive is 4; allowed: 5 to 8",
    "protocol.finalization_score=256": "protocol.finalization_score is 256; allowed: 1 to 255",
}


@pytest.mark.parametrize("words", REFUSED)
def test_words_of_a_study_of_ecash(words):
    given = ("protocol=ecash", "adversary=safety_split", "byzantine_fraction=0.1", *words.split())
    with composing():
        line = planned(given)
    assert re.search(REFUSED[words], line), line
    assert "\n" not in line
