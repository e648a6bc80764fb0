"""Weighted stake against units and nodes drawn one by one, and against enumerations."""

import itertools
import math
import random
from collections import Counter
from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
import stake_oracle
from helpers import (
    assert_distribution,
    assert_rate,
    assert_same_distribution,
    mesh_of,
    point,
    run,
)
from scipy import stats

import vecsim
from vecsim.adversaries.always_accept import AlwaysAccept
from vecsim.adversaries.always_reject import AlwaysReject
from vecsim.adversaries.balance_informed import BalanceInformed
from vecsim.adversaries.balance_pooled import BalancePooled
from vecsim.adversaries.coordinated_collusion import CoordinatedCollusion
from vecsim.adversaries.echo import Echo
from vecsim.adversaries.mixture import Mixture
from vecsim.adversaries.non_answer import NonAnswer
from vecsim.adversaries.random_voting import RandomVoting
from vecsim.adversaries.safety_split import SafetySplit
from vecsim.adversaries.silent import Silent
from vecsim.adversaries.stall import Stall
from vecsim.adversaries.sybil import Sybil
from vecsim.engines.agents.holdings import holdings_of
from vecsim.engines.agents.prepare import agents_program_key
from vecsim.engines.agents.stake_polls import one_by_one, unit_thresholds
from vecsim.engines.choose import engine_of
from vecsim.errors import ConfigError
from vecsim.model import random as words
from vecsim.model.point import Point
from vecsim.model.poll_draw import PollKind
from vecsim.network import Network
from vecsim.protocols.qr_avalanche import QrAvalanche
from vecsim.protocols.slush import Slush
from vecsim.protocols.snowball import Snowball
from vecsim.protocols.snowflake import Snowflake
from vecsim.stakes.equal import Equal
from vecsim.stakes.stake import Weighted
from vecsim.stakes.zipf import Zipf
from vecsim.types import Adversary

THEIRS, OURS = 250, 800  # trials of a case: of the oracle, of the engine


class Given(Weighted):
    """Every node holds so many units."""

    held: tuple[int, ...] = ()

    def weights(self, n):
        return np.array(self.held[:n]) - 1 + 1e-9


def given(*held, **fields):
    """The stake of nodes that hold so many units each."""
    return Given(held=held, units=sum(held), **fields)


def staked(rule, adversary, stake, **fields):
    """A checked point of this stake."""
    network = {key: fields.pop(key) for key in ("sampling", "loss") if key in fields}
    fields = {"byzantine_fraction": 0.0, "initial_accept": 0.5, "schedule": "lockstep"} | fields
    network = Network(exclude_self=False, **network)
    p = Point(protocol=rule, adversary=adversary, network=network, stake=stake, **fields)
    p.check()
    return p


# Whole trials

N = 21
LAWS = {
    "0.9": partial(Zipf, exponent=0.9, units=600),
    "1.6": partial(Zipf, exponent=1.6, units=2000),
    "hand-made": partial(given, 70, 41, 40, 9, 6, 6, 5, 5, 5, 4, 3, 2, 2, 2, *[1] * 7),
}
SNOW = {"k": 6, "alpha_preference": 4, "max_rounds": 25}
RULES = {
    "snowflake": (Snowflake, SNOW | {"alpha_confidence": 5, "beta": 3}),
    "snowball": (Snowball, SNOW | {"alpha_confidence": 4, "beta": 5}),
    "slush": (Slush, {"k": 5, "alpha": 3, "m": 6}),
    "qr_avalanche": (
        QrAvalanche,
        {"k": 5, "alpha": 4, "beta": 3, "confidence_threshold": 0.7, "max_rounds": 25},
    ),
}
ADVERSARIES = {
    "always_reject": AlwaysReject(),
    "random_voting": RandomVoting(),
    "balance_informed": BalanceInformed(),
    "silent": Silent(),
    "safety_split": SafetySplit(1, 0.4),
}
OTHERS = {
    "always_accept": AlwaysAccept(),
    "echo": Echo(),
    "stall": Stall(),
    "non_answer": NonAnswer(),
    "coordinated_collusion": CoordinatedCollusion(0.4),
    "sybil": Sybil(0.5, 0.3),
    "balance_pooled": BalancePooled(0),
    "balance_pooled, late": BalancePooled(1),
    "balance_pooled, each poll": BalancePooled(every="poll"),
    "safety_split, random": SafetySplit(0, 0.3, "random"),
    "safety_split, largest": SafetySplit(1, 0.3, "largest"),
    "safety_split, smallest": SafetySplit(1, 0.3, "smallest"),
    "mixture": Mixture.of(
        {"x": (RandomVoting(), 0.3), "y": (Echo(), 0.45), "z": (BalancePooled(), 0.25)}
    ),
    "sybils and others": Mixture.of({"x": (Sybil(0.6), 0.5), "y": (SafetySplit(), 0.5)}),
}


def cases():
    """Every law, adversary, loss and schedule; everything else by lot, but always the same."""
    lot = random.Random(8)
    chief = itertools.product(LAWS, ADVERSARIES, (0.0, 0.15), ("lockstep", "async"))
    more = [
        (law, name, loss, schedule)
        for name in OTHERS
        for schedule in ("lockstep", "async")
        for law, loss in [(lot.choice(list(LAWS)), lot.choice((0.0, 0.15)))]
        if schedule == "async" or OTHERS[name].every == "round"
    ]
    for law, name, loss, schedule in [*chief, *more]:
        order, fraction = lot.choice(
            (("random", 0.2), ("random", 0.3), ("largest", 0.3), ("smallest", 0.1))
        )
        stake = {"byzantine": order}
        stake |= {"initial_accept_of": lot.choice(("stake", "nodes"))}
        stake |= {"shared_fate": lot.choice((True, False))}
        sampling = lot.choice(("with_replacement", "without_replacement"))
        fields = {"loss": loss, "schedule": schedule, "sampling": sampling}
        fields |= {"byzantine_fraction": fraction, "initial_accept": lot.choice((0.5, 0.6))}
        another = {"lockstep": "snowball", "async": "slush"}[schedule]
        rule = lot.choice(("snowflake", "snowflake", "qr_avalanche", another))
        rule = "snowflake" if name in OTHERS else rule
        if name in ("coordinated_collusion", "sybil") and schedule == "async":
            fields |= {"initial_accept": 1.0}
        yield rule, name, law, stake, fields


CASES = list(cases())


def built(case):
    rule, name, law, stake, fields = case
    made, parameters = RULES[rule]
    adversary = (ADVERSARIES | OTHERS)[name]
    return staked(made(**parameters), adversary, LAWS[law](**stake), n=N, **fields)


def spoken(adversary):
    """The adversary as the oracle's dicts name it."""
    if isinstance(adversary, Mixture):
        listed = zip(adversary.shares, map(spoken, adversary.members), strict=True)
        return {"name": "mixture", "of": list(listed)}
    known = {"admission_rate": "admission"}
    fields = {known.get(key, key): value for key, value in vars(adversary).items()}
    return {"name": type(adversary).__module__.rpartition(".")[2], **fields}


def held_by(stake, n):
    """Units of each node, by the oracle."""
    return stake_oracle.holdings(stake.weights(n).tolist(), stake.units)


@pytest.fixture(scope="module")
def outcomes():
    """What the engine gives for every case; points of one program in batches together."""
    return run([built(case) for case in CASES], OURS, seed=3, size=2 * OURS)


@pytest.mark.parametrize("number", range(len(CASES)))
def test_trials_agree_with_units_drawn_one_by_one(number, outcomes):
    rule, name, _, stake, fields = CASES[number]
    _, parameters = RULES[rule]
    adversary = spoken((ADVERSARIES | OTHERS)[name])
    held = held_by(built(CASES[number]).stake, N)
    outs = [
        stake_oracle.simulate(
            {"name": rule, **parameters},
            adversary,
            held=held,
            rng=random.Random(f"{number} {i}"),
            **stake,
            **fields,
        )
        for i in range(THEIRS)
    ]
    assert outs[0].keys() == outcomes[number].keys()
    for column in outs[0]:
        theirs = np.array([out[column] for out in outs], float)
        assert_same_distribution(np.round(outcomes[number][column], 12), np.round(theirs, 12))


def test_every_way_to_draw_is_among_the_cases():
    """Tables with and without coins, and places with a fate of their own or their node's."""
    found = Counter()
    for case in CASES:
        p = built(case)
        coins = case[1] in ("random_voting", "mixture") or case[4]["loss"] > 0
        found[engine_of(p, "auto"), one_by_one(p), p.stake.shared_fate, coins] += 1
    wanted = {("agents", False, shared, False) for shared in (True, False)}
    wanted |= {("asynchronous", False, shared, False) for shared in (True, False)}
    wanted |= {("agents", False, False, True), ("asynchronous", False, False, True)}
    wanted |= {("places", True, shared, coins) for shared in (True, False) for coins in (0, 1)}
    assert wanted <= found.keys()


# Who is what


def keys_of(p, trials):
    return words.trial_key(words.point_key(0, p.hash()), np.arange(trials))


def roles_found(p, trials):
    """How often which nodes, named by their units, are what: fed ones, fed zeros, other ones,
    other zeros, and Byzantine nodes of each kind."""
    held = holdings_of(p, keys_of(p, trials))
    ends = [held.first_ones, held.first_group]
    ends += [held.first_group + held.start_ones - held.first_ones, held.honest]
    ends += [held.honest + kinds for kinds in np.cumsum(held.kinds, axis=1).T]
    rows = zip(held.units.tolist(), np.stack(ends, axis=1).tolist(), strict=True)
    return Counter(
        tuple(tuple(sorted(row[a:b])) for a, b in itertools.pairwise([0, *cuts]))
        for row, cuts in rows
    )


def roles_law(p, orders):
    """The same by all orders of the nodes, so many of them at once: probabilities."""
    stake, adversary = p.stake, spoken(p.adversary)
    held = held_by(stake, p.n)
    fields = {"byzantine_fraction": p.byzantine_fraction, "initial_accept": p.initial_accept}
    fields |= {"byzantine": stake.byzantine, "initial_accept_of": stake.initial_accept_of}
    law = Counter()
    every = list(itertools.permutations(range(p.n)))
    weight = len(every) ** -orders
    for drawn in itertools.product(every, repeat=orders):
        roles = stake_oracle.roles_of(held, adversary, [*drawn, drawn[-1]], **fields)
        ones, fed = set(roles.ones), set(roles.fed) if p.adversary.groups > 1 else set(roles.honest)
        honest = (
            tuple(sorted(held[i] for i in roles.honest if (i in fed, i in ones) == which))
            for which in itertools.product((True, False), repeat=2)
        )
        key, chances = tuple(honest), [((), 1.0)]
        for kind, nodes in zip(p.adversary.kinds, roles.byzantine, strict=True):
            admission, sizes = float(kind.admission), sorted(held[i] for i in nodes)
            there = [
                (chosen, admission ** len(chosen) * (1 - admission) ** (len(sizes) - len(chosen)))
                for count in range(len(sizes) + 1)
                for chosen in itertools.combinations(sizes, count)
            ]
            chances = [((*k, more), a * b) for k, a in chances for more, b in there if b > 0]
        for kinds, chance in chances:
            law[key + kinds] += weight * chance
    return law


FIVE, FOUR = (9, 6, 4, 3, 2), (6, 4, 3, 2)
HALVES = Mixture.of({"x": (Echo(), 0.5), "y": (Silent(), 0.5)})
WITH_SYBILS = Mixture.of({"x": (Sybil(0.3), 0.5), "y": (SafetySplit(1, 0.45), 0.5)})
ROLES = {
    "random": (FIVE, AlwaysReject(), 0.4, 0.5, {}, 2),
    "of nodes": (FIVE, AlwaysReject(), 0.3, 0.5, {"initial_accept_of": "nodes"}, 2),
    "largest": (FIVE, AlwaysReject(), 0.5, 0.6, {"byzantine": "largest"}, 2),
    "smallest": (FIVE, AlwaysReject(), 0.3, 0.6, {"byzantine": "smallest"}, 2),
    "sybils": (FOUR, Sybil(0.5), 0.7, 0.5, {}, 2),
    "largest sybils": (FIVE, Sybil(0.5), 0.7, 0.5, {"byzantine": "largest"}, 2),
    "mixture": (FOUR, HALVES, 0.6, 0.5, {}, 2),
    "split by colour": (FOUR, SafetySplit(1, 0.45), 0.2, 0.5, {}, 2),
    "split at random": (FOUR, SafetySplit(1, 0.4, "random"), 0.2, 0.5, {}, 3),
    "sybils and split": (FOUR, WITH_SYBILS, 0.6, 0.5, {}, 2),
}


@pytest.mark.parametrize("name", ROLES)
def test_roles_are_those_of_random_orders(name):
    law, adversary, fraction, share, stake, orders = ROLES[name]
    fields = {"n": len(law), "byzantine_fraction": fraction, "initial_accept": share}
    p = staked(Slush(1, 1, 1), adversary, given(*law, **stake), **fields)
    due, seen = roles_law(p, orders), roles_found(p, 60_000 if len(p.kinds) == 1 else 15_000)
    assert seen.keys() <= due.keys()
    assert_distribution([seen[key] for key in due], list(due.values()))


def test_one_node_is_honest_and_one_may_be_all():
    for order in ("random", "largest", "smallest"):
        stake = given(*FIVE, byzantine=order)
        p = staked(Slush(1, 1, 1), Echo(), stake, n=5, byzantine_fraction=0.95)
        held = holdings_of(p, keys_of(p, 500))
        assert (held.honest == 1).all()
        assert (held.start_ones <= 1).all()
    p = staked(Slush(1, 1, 1), Echo(), given(9), n=1)
    assert (holdings_of(p, keys_of(p, 5)).units == 9).all()


@pytest.mark.parametrize("law", LAWS)
def test_units_are_one_each_and_the_rest_by_the_largest_remainder(law):
    stake = LAWS[law]()
    for n in (1, 2, N):
        assert stake.holdings(n).tolist() == held_by(stake, n)


def test_a_poll_never_asks_for_more_units_than_sybils_leave():
    """Of 30 units in nodes of 26 and four of 1, honest ones may hold 4 or 30 where half is
    Byzantine."""
    stake, fields = given(26, 1, 1, 1, 1), {"n": 5, "byzantine_fraction": 0.5}
    assert stake.holdings(5).tolist() == [26, 1, 1, 1, 1]
    assert staked(Slush(2, 2, 1), Sybil(0.5), stake, **fields)
    with pytest.raises(ConfigError, match="at most 2 peers, as many as there are when no Sybil"):
        staked(Slush(3, 2, 1), Sybil(0.5), stake, **fields)
    assert staked(Slush(3, 2, 1), Sybil(0.5), stake, sampling="with_replacement", **fields)


# Tables


@pytest.mark.parametrize(("scale", "loss", "replacement"), [(1, 0.0, False), (2, 0.3, True)])
@pytest.mark.parametrize("wide", [False, True])
def test_rows_of_the_table(scale, loss, replacement, wide):
    units, k, alphas = 57, 6, (4, 5)
    kind = PollKind(False, False, 2, wide, k)
    table = unit_thresholds(units, scale, kind, alphas, loss, replacement)
    whole = 2 ** (32 * kind.words)
    assert table.shape == (scale * units + 1, 2, 2, kind.words)
    for row in range(scale * units + 1):
        for i, alpha in enumerate(alphas):
            law = stats.hypergeom(units, row, k)
            if replacement:
                law = stats.binom(k, row / (scale * units) * (1 - loss))
            reached, missed = law.sf(alpha - 1), law.cdf(alpha - 1)
            # Agreement has the low end of the words, a quorum against the high end.
            for colour, below, above in ((0, reached, missed), (1, missed, reached)):
                value = int("".join(f"{int(word):08x}" for word in table[row, colour, i]), 16)
                if below < above:
                    assert math.isclose(value, below * whole, rel_tol=1e-9, abs_tol=1)
                else:
                    assert math.isclose(whole - value, above * whole, rel_tol=1e-9, abs_tol=1.5)


def test_known_chances_of_a_byzantine_quorum():
    """At least 15 of 20 places are Byzantine, whose share of 2**20 units is 10, 20 or 30 %."""
    units, kind = 2**20, PollKind(False, False, 1, True, 20)
    known = {False: (9.4739e-12, 1.80213e-7, 4.2933e-5), True: (9.4813e-12, 1.80276e-7, 4.2940e-5)}
    for replacement, chances in known.items():
        table = unit_thresholds.__wrapped__(units, 1, kind, (15, 15), 0.0, replacement)
        for share, chance in zip((0.1, 0.2, 0.3), chances, strict=True):
            high, low = table[round(share * units), 0, 0].tolist()
            # The share is met to half a unit.
            assert math.isclose((high * 2**32 + low) / 2**64, chance, rel_tol=7e-5)


# One round, by enumeration of units and fates


def poll_law(held, voters, k, sampling, shared_fate, loss):
    """P(ones, zeros) of a poll where the nodes in `voters` toss coins and all others say 1."""
    owners = [node for node, units in enumerate(held) for _ in range(units)]
    asked = Counter()
    if sampling == "with_replacement":
        for nodes in itertools.product(range(len(held)), repeat=k):
            asked[nodes] += math.prod(held[node] / len(owners) for node in nodes)
    else:
        for units in itertools.combinations(range(len(owners)), k):
            asked[tuple(owners[unit] for unit in units)] += 1 / math.comb(len(owners), k)
    law = Counter()
    for nodes, weight in asked.items():
        fates = sorted(set(nodes)) if shared_fate else list(range(k))
        which = [fates.index(node) if shared_fate else i for i, node in enumerate(nodes)]
        said = []
        for fate in fates:
            coin = (fate if shared_fate else nodes[fate]) in voters
            heard = {1: 0.5, 0: 0.5} if coin else {1: 1.0}
            said.append([(None, loss), *((one, p * (1 - loss)) for one, p in heard.items())])
        for drawn in itertools.product(*said):
            chance = weight * math.prod(p for _, p in drawn)
            answers = [drawn[i][0] for i in which]
            law[answers.count(1), answers.count(0)] += chance
    return law


def ended(rule, ones, zeros):
    """(decided 0, decided 1, prefers 1) of a node at 1 after its only poll."""
    if isinstance(rule, QrAvalanche):  # finalises where all that answered agree
        return 0, int(ones >= 3 and not zeros), int(zeros < 3)
    return int(zeros == 4), int(ones == 4), int(zeros < 3)


ONE_ROUND = (
    Snowflake(4, 3, 4, 1, 1),
    QrAvalanche(4, 3, 1, confidence_threshold=0.54, initial_confidence=0.5, max_rounds=1),
)


def test_one_round_of_shared_and_separate_fates():
    """Nodes of 5, 3 and 2 units, of which the largest or the two others toss coins."""
    held, points = [5, 3, 2], []
    samplings = ("with_replacement", "without_replacement")
    ways = itertools.product(ONE_ROUND, ("largest", "smallest"), samplings, (1, 0), (0.0, 0.3))
    ways = list(ways)
    for rule, order, sampling, shared, loss in ways:
        stake = given(*held, byzantine=order, shared_fate=bool(shared))
        fields = {"n": 3, "byzantine_fraction": 0.5, "initial_accept": 1.0}
        fields |= {"sampling": sampling, "loss": loss}
        points.append(staked(rule, RandomVoting(), stake, **fields))
    shown = set()
    for (rule, order, sampling, shared, loss), out in zip(ways, run(points, 30_000), strict=True):
        voters, honest = ({0}, 2) if order == "largest" else ({1, 2}, 1)
        alone = Counter()
        for (ones, zeros), chance in poll_law(held, voters, 4, sampling, shared, loss).items():
            alone[ended(rule, ones, zeros)] += chance
        law = {(0, 0, 0): 1.0}
        for _ in range(honest):  # nodes poll independently
            sums = Counter()
            for (a, p), (b, q) in itertools.product(law.items(), alone.items()):
                sums[tuple(map(sum, zip(a, b, strict=True)))] += p * q
            law = sums
        columns = (out[name].tolist() for name in ("decided_0", "decided_1", "final_ones"))
        seen = Counter(zip(*columns, strict=True))
        assert seen.keys() <= law.keys()
        assert_distribution([seen[key] for key in law], list(law.values()))
        shown.add(tuple(round(chance, 6) for _, chance in sorted(law.items())))
    assert len(shown) >= len(points) - 2  # the chances tell nearly all of them apart


# Equal weights

FEW = ("stall", "sybil", "coordinated_collusion", "sybils and others")
EQUALS = [*ADVERSARIES.values(), *(OTHERS[name] for name in FEW)]
COMPARED = ("rounds", "last_decision", "decided_0", "decided_1", "undecided", "final_ones", "flips")


@pytest.mark.parametrize("schedule", ["lockstep", "async"])
def test_equal_weights_give_the_distribution_of_equal_stake(schedule):
    """One unit each: who holds a place, and what becomes of it, is as without stake."""
    rule, fields = Snowflake(5, 3, 4, 3, 25), {"n": 16, "byzantine_fraction": 0.25}
    weighted, equal = [], []
    for i, adversary in enumerate(EQUALS):
        sampling = ("without_replacement", "with_replacement")[i % 2]
        more = {"sampling": sampling, "schedule": schedule, "loss": (0.0, 0.1)[i % 3 == 1]}
        p = point(rule, adversary, exclude_self=False, **fields, **more)
        stake = Zipf(exponent=0.0, units=16, shared_fate=sampling == "without_replacement")
        equal.append(p)
        weighted.append(staked(rule, adversary, stake, **fields, **more))
    for ours, theirs in zip(run(weighted, 1500, seed=1), run(equal, 1500, seed=2), strict=True):
        for name in COMPARED:
            assert_same_distribution(ours[name], theirs[name])
        assert np.array_equal(ours["start_ones"], theirs["start_ones"])
        assert np.allclose(ours["final_ones"], 12 * ours["final_ones_stake"])


def test_equal_weights_give_the_counts_of_equal_stake():
    """Refused identities count among those of whom a share is fed; halves go to the even count."""
    split = Mixture.of({"x": (Sybil(0.1), 0.5), "y": (SafetySplit(1, 0.45), 0.5)})
    for n, fraction, share in itertools.product((9, 15, 16), (0.2, 0.4), (0.3, 0.5, 0.9)):
        fields = {"n": n, "byzantine_fraction": fraction, "initial_accept": share}
        stake = Zipf(exponent=0.0, units=n, initial_accept_of="nodes")
        equal = point(Slush(2, 2, 1), split, exclude_self=False, **fields)
        p = staked(Slush(2, 2, 1), split, stake, **fields)
        held = holdings_of(p, keys_of(p, 50))
        assert (held.honest == equal.honest).all()
        assert (held.start_ones == equal.start_ones).all()
        assert (held.first_group == equal.first_group).all()


# Bits

ALONE = [
    ("snowflake", "safety_split", "0.9", {}, {}),
    ("snowflake", "mixture", "1.6", {}, {"loss": 0.1}),
    ("snowflake", "stall", "0.9", {"byzantine": "largest"}, {"schedule": "async"}),
]


def test_a_mixture_runs_beside_one_kind():
    adversaries = (OTHERS["sybils and others"], Sybil(0.5), OTHERS["mixture"], RandomVoting())
    fields = {"n": 9, "byzantine_fraction": 0.4}
    points = [staked(QrAvalanche(3, 2, 2), each, Zipf(units=90), **fields) for each in adversaries]
    assert len({agents_program_key(p) for p in points}) == 1
    for together, alone in zip(run(points, 8), (run([p], 8)[0] for p in points), strict=True):
        assert np.array_equal(together["final_ones_stake"], alone["final_ones_stake"])


@pytest.mark.parametrize("case", range(len(ALONE)))
def test_bits_do_not_depend_on_batches_devices_or_company(case):
    *named, fields = ALONE[case]
    p = built((*named, {"byzantine_fraction": 0.3, "initial_accept": 0.5, **fields}))
    # Others of the same program, with more units, another stake and another adversary.
    company = [
        p._replace(stake=Zipf(exponent=0.3, units=900), adversary=BalanceInformed()),
        p._replace(adversary=RandomVoting()),
    ]
    company = [q for q in company if agents_program_key(q) == agents_program_key(p)]
    assert company
    (whole,) = run([p], 40, size=40, mesh=mesh_of(1))
    other = run([*company, p], 40, size=26, mesh=mesh_of(2))[-1]
    later = run([p], 7, first=11, size=40, mesh=mesh_of(1))[0]
    for name, values in whole.items():
        assert np.array_equal(values, other[name], equal_nan=True), name
        assert np.array_equal(values[11:18], later[name], equal_nan=True), name


def test_equal_stake_has_no_units():
    (out,) = run([point(Slush(2, 2, 1), Echo(), n=5)], 2)
    assert not any(name.endswith("_stake") for name in out)
    assert point(Slush(2, 2, 1), Echo(), n=5).stake == Equal()
    assert_rate(out["start_ones"] == 2, 1)


class ToTheLargest(Adversary):
    """Says 1 to the largest honest holders if it sees these units of stake; 0 to the others."""

    mixes = ((0.0, 1.0), (1.0, 0.0))
    groups = 2
    grouping = "largest"
    honest: int = 40
    byzantine: int = 60

    def answer(self, view, memory):
        seen = (view.honest == self.honest) & (view.byzantine == self.byzantine)
        seen = seen & (view.ones == 0) & (view.start_ones == 0) & (view.peers == 100)
        one, zero = jnp.full(2, seen, jnp.int32), jnp.zeros(2, jnp.int32)
        return jnp.stack([one, zero]), memory


def test_an_adversary_of_ones_own_counts_units_and_knows_the_largest():
    """Every poll asks all units, so the largest honest node takes 1, and half of the stake."""
    vecsim.check(ToTheLargest())
    stake = given(60, 20, 15, 5, byzantine="largest")
    fields = {"n": 4, "byzantine_fraction": 0.6, "initial_accept": 0.0}
    for adversary, ones in ((ToTheLargest(), 1), (ToTheLargest(honest=3, byzantine=1), 0)):
        (out,) = run([staked(Slush(100, 51, 1), adversary, stake, **fields)], 10)
        assert (out["final_ones"] == ones).all()
        assert (out["final_ones_stake"] == ones / 2).all()


@pytest.mark.parametrize("share", [0, 1])
def test_no_node_and_every_node_are_shares_of_stake_and_of_nodes(share):
    """So that `initial_accept_of` may be set where initial_accept is, or is swept over, 0 and 1."""
    keys = keys_of(point(Slush(2, 2, 5), Echo(), n=5), 50)
    made = []
    for of in ("stake", "nodes"):
        stake = given(9, 5, 3, 2, 1, initial_accept_of=of)
        fields = {"n": 5, "byzantine_fraction": 0.2, "initial_accept": share}
        made.append(holdings_of(staked(Slush(2, 2, 5), AlwaysReject(), stake, **fields), keys))
    for one, other in zip(*made, strict=True):
        assert (one == other).all()


@pytest.mark.parametrize("order", ["random", "largest", "smallest"])
def test_whether_a_node_is_byzantine_in_some_trial(order):
    stake, found = given(9, 5, 3, 2, 1, byzantine=order), set()
    for fraction in (0.0, 0.02, 0.024, 0.025, 0.026, 0.1, 0.2, 0.225, 0.226, 0.5):
        p = staked(
            Slush(2, 2, 5),
            AlwaysReject(),
            stake,
            n=5,
            byzantine_fraction=fraction,
            initial_accept=1,
        )
        held = holdings_of(p, keys_of(p, 500))
        assert p.some_byzantine == bool(held.kinds.any()) == (fraction > p.most_without)
        found.add(p.some_byzantine)
    assert found == {False, True}
    alone = staked(Slush(1, 1, 5), AlwaysReject(), given(20), n=1, byzantine_fraction=0.9)
    assert not alone.some_byzantine
