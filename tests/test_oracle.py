"""The plain-Python oracle against published numbers, closed forms and trials done by hand.

Tolerances are five standard errors, computed, with fixed seeds.
"""

import csv
import gzip
import itertools
import math
import random
import statistics
from collections import Counter
from pathlib import Path

import numpy as np
import oracle
import pytest

DATA = Path(__file__).parent / "data"
NOBODY = {"name": "none"}
MAINNET = {"k": 20, "alpha_preference": 15, "alpha_confidence": 15, "beta": 20}


def rows_of(name):
    with open(DATA / name, newline="") as file:
        return list(csv.DictReader(file))


def standard_error(values):
    return statistics.stdev(values) / math.sqrt(len(values))


def assert_mean(values, expected, expected_error=0.0):
    error = math.hypot(standard_error(values), expected_error)
    assert abs(statistics.fmean(values) - expected) <= 5 * error


def assert_rate(events, trials, expected):
    error = math.sqrt(expected * (1 - expected) / trials)
    assert abs(events / trials - expected) <= 5 * error


# The rules of one node


def snow_traces():
    with gzip.open(DATA / "snow_traces.csv.gz", "rt", newline="") as file:
        rows = list(csv.DictReader(file))

    def trace(row):
        return row["proto"], int(row["set"]), int(row["trace"])

    rows.sort(key=lambda row: (*trace(row), int(row["step"])))
    return [list(polls) for _, polls in itertools.groupby(rows, trace)]


def test_every_recorded_poll_of_avalanchego():
    checked = 0
    for polls in snow_traces():
        first = polls[0]
        k = int(first["k"])
        protocol = {
            "name": first["proto"],
            "k": k,
            "alpha_preference": int(first["alphaPreference"]),
            "alpha_confidence": int(first["alphaConfidence"]),
            "beta": int(first["beta"]),
        }
        node = oracle.make_node(protocol, int(first["init"]))
        for step, row in enumerate(polls):
            assert int(row["step"]) == step
            ones = int(row["ones"])
            node.poll(ones, k - ones)
            assert node.preference == int(row["preference"])
            assert node.counter == int(row["confidence"])
            assert (node.decision != -1) == bool(int(row["finalized"]))
            if first["proto"] == "snowball":
                assert node.last == int(row["snowflake_pref"])
                assert node.strength == [int(row["strength0"]), int(row["strength1"])]
            else:
                assert node.preference == int(row["snowflake_pref"])
            checked += 1
    assert checked == 19200


def counters(polls, **switches):
    node = oracle.Snowflake(
        1, **{"alpha_preference": 6, "alpha_confidence": 8, "beta": 3, **switches}
    )
    seen = []
    for ones, zeros in polls:
        node.poll(ones, zeros)
        seen.append((node.preference, node.counter, node.decision))
    return seen


def test_switches_of_snowflake():
    polls = [(8, 2), (5, 5), (8, 2), (7, 3), (8, 2), (2, 8), (3, 7), (6, 0)]
    preferences = [1, 1, 1, 1, 1, 0, 0, 1]
    default = counters(polls)
    assert [p for p, _, _ in default] == preferences
    assert [c for _, c, _ in default] == [1, 0, 1, 0, 1, 1, 0, 0]
    keeping = counters(polls, reset_on_failure=False, beta=9)
    assert [p for p, _, _ in keeping] == preferences
    assert [c for _, c, _ in keeping] == [1, 1, 2, 2, 3, 1, 1, 0]
    assert [c for _, c, _ in counters(polls, count_after_flip=0)] == [1, 0, 1, 0, 1, 0, 0, 0]
    wins = [(10, 0)] * 5
    assert [d for _, _, d in counters(wins)] == [-1, -1, 1, 1, 1]
    assert [d for _, _, d in counters(wins, decide_when="gt")] == [-1, -1, -1, 1, 1]
    assert [c for _, c, _ in counters(wins)] == [1, 2, 3, 3, 3]
    losses = [(0, 10)] * 4
    assert [d for _, _, d in counters(losses, count_after_flip=0)] == [-1, -1, -1, 0]


def test_snowball_decides_its_last_colour_even_against_the_stronger():
    rule = {"alpha_preference": 6, "alpha_confidence": 6, "beta": 3}
    node = oracle.Snowball(1, **rule)
    for ones in (10, 10, 0, 0):
        node.poll(ones, 10 - ones)
    assert (node.preference, node.last, node.strength, node.counter) == (1, 0, [2, 2], 2)
    node.poll(5, 5)
    assert (node.preference, node.last, node.strength, node.counter) == (1, 0, [2, 2], 0)
    node = oracle.Snowball(1, **rule)
    for ones in (10, 10, 5, 10, 10, 0, 0, 0):
        assert node.preference == 1
        node.poll(ones, 10 - ones)
    assert (node.decision, node.preference, node.strength) == (0, 0, [3, 4])


def test_qr_avalanche_flips_and_ignores_unanswered_polls():
    node = oracle.QrAvalanche(1, alpha=3, beta=2)
    node.poll(3, 1)
    assert (node.streak, node.confidence) == (1, pytest.approx(0.45 + 0.075))
    node.poll(0, 0)
    assert (node.streak, node.confidence) == (0, pytest.approx(0.525))
    node.poll(1, 3)
    assert (node.preference, node.streak, node.confidence) == (0, 0, 0.5)
    for _ in range(22):
        assert node.decision == -1
        node.poll(0, 4)
    assert (node.decision, node.streak) == (0, 22)


# Exact expectations from Markov chains


TRIALS = {
    ("slush", 20): 3000,
    ("slush", 100): 500,
    ("slush", 500): 80,
    ("snowflake", 4): 30000,
    ("snowflake", 5): 15000,
    ("snowflake", 6): 12000,
}
EXACT = {}
for row in rows_of("exact.csv"):
    case = tuple(row[field] for field in list(row)[1:-1])
    EXACT.setdefault(case, {})[row["quantity"]] = float(row["value"])


@pytest.mark.parametrize("case", EXACT, ids=lambda case: "-".join(filter(None, case)))
def test_exact_expectations(case):
    name, schedule, honest, byzantine, adversary, k, alpha, beta, initial_ones = case
    honest, byzantine = int(honest), int(byzantine)
    if name == "slush":
        protocol = {"name": name, "k": int(k), "alpha": int(alpha), "m": 1000}
    else:
        protocol = {
            "name": name,
            "k": int(k),
            "alpha_preference": int(alpha),
            "alpha_confidence": int(alpha),
            "beta": int(beta),
            "max_rounds": 100_000,
        }
    rng = random.Random(20180516)
    outcomes = [
        oracle.simulate(
            protocol,
            {"name": adversary},
            n=honest + byzantine,
            byzantine_fraction=byzantine / (honest + byzantine),
            initial_accept=int(initial_ones) / honest,
            sampling="with_replacement",
            exclude_self=False,
            schedule=schedule,
            rng=rng,
            stop_at_unanimity=name == "slush",
        )
        for _ in range(TRIALS[name, honest])
    ]
    for quantity, value in EXACT[case].items():
        if quantity == "p_disagreement":
            both = sum(out["decided_0"] > 0 and out["decided_1"] > 0 for out in outcomes)
            assert_rate(both, len(outcomes), value)
        else:
            field = {
                "rounds_to_unanimity": "unanimity",
                "rounds_to_all_decided": "last_decision",
            }[quantity]
            assert_mean([out[field] for out in outcomes], value)


def slush_async_rounds(n, k, alpha, start_ones, sampling, exclude_self):
    """Mean rounds to unanimity, from the chain on the number of nodes that prefer 1."""
    nodes = n - 1 if exclude_self else n

    def quorum(holders):
        if sampling == "with_replacement":
            p = holders / nodes
            return sum(math.comb(k, i) * p**i * (1 - p) ** (k - i) for i in range(alpha, k + 1))
        ways = sum(
            math.comb(holders, i) * math.comb(nodes - holders, k - i) for i in range(alpha, k + 1)
        )
        return ways / math.comb(nodes, k)

    equations = np.zeros((n + 1, n + 1))
    equations[0, 0] = equations[n, n] = 1
    for ones in range(1, n):
        up = (n - ones) / n * quorum(ones)
        down = ones / n * quorum(n - ones)
        equations[ones, ones - 1 : ones + 2] = -down, up + down, -up
    steps = np.linalg.solve(equations, np.array([0.0] + [1.0] * (n - 1) + [0.0]))
    return steps[start_ones] / n


@pytest.mark.parametrize(
    ("sampling", "exclude_self", "rounds", "trials"),
    [
        ("without_replacement", False, 14.98, 300),
        ("with_replacement", False, 11.75, 300),
        ("without_replacement", True, 13.80, 200),
        ("with_replacement", True, 11.03, 200),
    ],
)
def test_async_slush_takes_longer_without_replacement(sampling, exclude_self, rounds, trials):
    exact = slush_async_rounds(100, 20, 15, 50, sampling, exclude_self)
    assert round(exact, 2) == rounds
    rng = random.Random(4)
    outcomes = [
        oracle.simulate(
            {"name": "slush", "k": 20, "alpha": 15, "m": 1000},
            NOBODY,
            n=100,
            byzantine_fraction=0.0,
            initial_accept=0.5,
            sampling=sampling,
            exclude_self=exclude_self,
            schedule="async",
            rng=rng,
            stop_at_unanimity=True,
        )
        for _ in range(trials)
    ]
    assert_mean([out["unanimity"] for out in outcomes], exact)


@pytest.mark.parametrize(
    "row",
    rows_of("polls_to_decision.csv"),
    ids=lambda row: f"{row['protocol']}-{row['alpha_preference']}",
)
def test_polls_to_decision_of_avalanchego(row):
    protocol = {
        "name": row["protocol"],
        "k": int(row["k"]),
        "alpha_preference": int(row["alpha_preference"]),
        "alpha_confidence": int(row["alpha_confidence"]),
        "beta": int(row["beta"]),
    }
    rng = random.Random(9)
    outcomes = [
        oracle.simulate(
            protocol,
            NOBODY,
            n=int(row["n"]),
            byzantine_fraction=0.0,
            initial_accept=0.5,
            exclude_self=False,
            schedule="async",
            rng=rng,
        )
        for _ in range(120)
    ]
    assert all(out["decided_0"] == 0 or out["decided_1"] == 0 for out in outcomes)
    assert_mean(
        [out["last_decision"] for out in outcomes],
        float(row["mean_polls_per_node"]),
        float(row["sd_over_seeds"]) / math.sqrt(int(row["seeds"])),
    )


# QR-Avalanche without a defence


def qr_trial(adversary, *, n, byzantine_fraction, seed, **fields):
    return oracle.simulate(
        {"name": "qr_avalanche", **fields.pop("protocol", {})},
        {"name": adversary},
        n=n,
        byzantine_fraction=byzantine_fraction,
        initial_accept=1.0,
        rng=random.Random(seed),
        **fields,
    )


@pytest.mark.parametrize("initial_accept", [0.0, 1.0])
@pytest.mark.parametrize(("initial_confidence", "rounds"), [(0.5, 22), (0.0, 29)])
def test_undisputed_vertex_takes_22_rounds(initial_accept, initial_confidence, rounds):
    out = oracle.simulate(
        {"name": "qr_avalanche", "initial_confidence": initial_confidence},
        NOBODY,
        n=40,
        byzantine_fraction=0.0,
        initial_accept=initial_accept,
        rng=random.Random(1),
    )
    assert out["rounds"] == out["first_decision"] == out["last_decision"] == rounds
    assert out["decided_1"] == 40 * initial_accept
    assert out["undecided"] == out["flips"] == out["unanimity"] == 0


@pytest.mark.parametrize(
    ("sampling", "exclude_self", "rounds", "rounds_error"),
    [
        # Means over 3 x 10^6 and 4 x 10^5 independent nodes, standard errors 0.007 and 0.02.
        ("without_replacement", True, 46.63, 0.007),
        ("with_replacement", False, 46.49, 0.02),
    ],
)
def test_ten_percent_random_voters_double_the_rounds(sampling, exclude_self, rounds, rounds_error):
    outcomes = [
        qr_trial(
            "random_voting",
            n=1000,
            byzantine_fraction=0.1,
            seed=seed,
            sampling=sampling,
            exclude_self=exclude_self,
            protocol={"max_rounds": 300},
        )
        for seed in range(4)
    ]
    assert all(out["decided_1"] == 900 for out in outcomes)
    assert_mean([time for out in outcomes for time in out["decided_at"]], rounds, rounds_error)


def test_twenty_percent_random_voters_time_nearly_everything_out():
    outcomes = [
        qr_trial("random_voting", n=1000, byzantine_fraction=0.2, seed=seed) for seed in range(2)
    ]
    nodes = 800 * len(outcomes)
    assert all(out["rounds"] == 100 and out["decided_0"] == 0 for out in outcomes)
    assert_rate(sum(out["undecided"] for out in outcomes), nodes, 0.9998)


def test_twenty_percent_rejecting_stop_everything():
    out = qr_trial("always_reject", n=200, byzantine_fraction=0.2, seed=3)
    assert (out["undecided"], out["rounds"], out["final_ones"]) == (160, 100, 160)
    assert math.isnan(out["first_decision"])
    tail = sum(math.comb(30, i) * 0.8**i * 0.2 ** (30 - i) for i in range(24, 31))
    assert tail == pytest.approx(0.607, abs=5e-4)
    polls_to_streak_of_20 = (1 - tail**20) / (tail**20 * (1 - tail))
    assert polls_to_streak_of_20 == pytest.approx(55_000, rel=0.01)


# One poll: what comes back, against closed forms


POLLS = 20_000
POLL_PROTOCOL = {
    "name": "snowflake",
    "k": 10,
    "alpha_preference": 6,
    "alpha_confidence": 8,
    "beta": 20,
}
SAMPLINGS = ["without_replacement", "with_replacement"]


def assert_distribution(observed, probabilities):
    """Each cell within five standard errors; cells too rare for that are pooled first."""
    assert math.isclose(sum(probabilities.values()), 1)
    assert all(probabilities.get(cell, 0) > 0 for cell in observed)
    draws = sum(observed.values())
    rare = [cell for cell, p in probabilities.items() if p * draws < 25]
    for cell, p in probabilities.items():
        if cell not in rare:
            assert_rate(observed[cell], draws, min(p, 1.0))
    rare_probability = sum(probabilities[cell] for cell in rare)
    if rare_probability * draws >= 25:
        assert_rate(sum(observed[cell] for cell in rare), draws, rare_probability)


def drawn(k, kinds, sampling):
    """Probability of each number of peers of every kind, given how many there are of each."""
    total = sum(kinds)
    law = {}
    for counts in itertools.product(range(k + 1), repeat=len(kinds)):
        if sum(counts) != k:
            continue
        if sampling == "without_replacement":
            p = math.prod(map(math.comb, kinds, counts)) / math.comb(total, k)
        else:
            p = math.factorial(k)
            for kind, count in zip(kinds, counts, strict=True):
                p *= (kind / total) ** count / math.factorial(count)
        if p > 0:
            law[counts] = p
    return law


def binomial(n, p):
    return [math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(n + 1)]


def answers(k, ones, zeros, mute, coins, sampling, loss=0.0):
    """Probability of (ones, zeros) from so many peers that answer 1, 0, nothing, or by coin."""
    law = Counter()
    for (a, b, _, c), p in drawn(k, (ones, zeros, mute, coins), sampling).items():
        for heads, p_heads in enumerate(binomial(c, 0.5)):
            sent_ones, sent_zeros = a + heads, b + c - heads
            for got_ones, p_ones in enumerate(binomial(sent_ones, 1 - loss)):
                for got_zeros, p_zeros in enumerate(binomial(sent_zeros, 1 - loss)):
                    law[got_ones, got_zeros] += p * p_heads * p_ones * p_zeros
    return {cell: p for cell, p in law.items() if p > 0}


def mixture(*parts):
    law = Counter()
    for weight, part in parts:
        for cell, p in part.items():
            law[cell] += weight * p
    return law


def observe(adversary, rng=None, **fields):
    rng = rng or random.Random(11)
    return Counter(
        oracle.poll_counts(POLL_PROTOCOL, adversary, rng=rng, **fields) for _ in range(POLLS)
    )


HONEST = {"honest_ones": 30, "honest_zeros": 18, "byzantine": 12}
# What the twelve Byzantine nodes answer, out of (ones, zeros, nothing, coins), to a querier of
# each colour when 30 of 48 honest nodes prefer 1.
PUSH_1, PUSH_0, MUTE, COINS = (12, 0, 0, 0), (0, 12, 0, 0), (0, 0, 12, 0), (0, 0, 0, 12)
BEHAVIOUR = [
    ({"name": "random_voting"}, {}, COINS, COINS),
    ({"name": "always_reject"}, {}, PUSH_0, PUSH_0),
    ({"name": "always_accept"}, {}, PUSH_1, PUSH_1),
    ({"name": "silent"}, {}, MUTE, MUTE),
    ({"name": "echo"}, {}, PUSH_0, PUSH_1),
    ({"name": "flip"}, {}, PUSH_1, PUSH_0),
    ({"name": "coordinated_collusion"}, {}, PUSH_0, PUSH_0),
    ({"name": "coordinated_collusion"}, {"start_ones": 20}, PUSH_1, PUSH_1),
    ({"name": "coordinated_collusion"}, {"start_ones": 24}, PUSH_0, PUSH_0),
    ({"name": "sybil", "admission": 1.0}, {"start_ones": 20}, PUSH_1, PUSH_1),
    ({"name": "balance_informed"}, {}, PUSH_0, PUSH_0),
    ({"name": "balance_informed"}, {"start_ones": 20}, PUSH_0, PUSH_0),
    ({"name": "balance_pooled", "lag": 1}, {}, PUSH_0, PUSH_0),
    ({"name": "balance_pooled", "lag": 1}, {"previous_ones": 2}, PUSH_1, PUSH_1),
    ({"name": "non_answer"}, {}, PUSH_0, MUTE),
    ({"name": "stall"}, {}, PUSH_1, PUSH_0),
    ({"name": "safety_split"}, {"group": 0}, PUSH_1, PUSH_1),
    ({"name": "safety_split"}, {"group": 1}, PUSH_0, PUSH_0),
    ({"name": "safety_split"}, {"group": 0, "target_decided": True}, PUSH_0, PUSH_0),
    ({"name": "safety_split", "target": 0}, {"group": 0}, PUSH_0, PUSH_0),
    ({"name": "safety_split", "target": 0}, {"group": 1}, PUSH_1, PUSH_1),
    ({"name": "release"}, {"rounds_completed": 49}, PUSH_0, PUSH_0),
    ({"name": "release"}, {"rounds_completed": 50}, PUSH_0, PUSH_1),
]


@pytest.mark.parametrize(
    ("adversary", "state", "to_zero", "to_one"),
    BEHAVIOUR,
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_answers_of_each_adversary(adversary, state, to_zero, to_one):
    """A poll of every other node gives the composition itself."""
    everybody = {**POLL_PROTOCOL, "k": 59}
    if adversary["name"] == "stall":
        everybody = {**everybody, "alpha_preference": 48, "alpha_confidence": 48}
    if adversary["name"] == "balance_pooled":
        everybody = {**everybody, "k": 48}
    rng = random.Random(2)
    for colour, behaviour in ((0, to_zero), (1, to_one)):
        ones, zeros, _, coins = behaviour
        ones += 30 - colour
        zeros += 18 - (1 - colour)
        for _ in range(20):
            got = oracle.poll_counts(
                everybody, adversary, colour=colour, rng=rng, **HONEST, **state
            )
            if everybody["k"] == 59 and not coins:
                assert got == (ones, zeros)
            elif coins:
                assert sum(got) == 59
                assert ones <= got[0] <= ones + coins
            else:
                assert sum(got) == 48
                assert 48 - zeros <= got[0] <= ones


@pytest.mark.parametrize("loss", [0.0, 0.2])
@pytest.mark.parametrize("exclude_self", [True, False])
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("adversary", ["random_voting", "always_accept", "silent", "flip"])
def test_votes_follow_the_exact_distribution(adversary, sampling, exclude_self, loss):
    behaviour = next(case[3] for case in BEHAVIOUR if case[0]["name"] == adversary)
    ones, zeros, mute, coins = behaviour
    ones += 30 - exclude_self
    zeros += 18
    observed = observe(
        {"name": adversary},
        colour=1,
        sampling=sampling,
        exclude_self=exclude_self,
        loss=loss,
        **HONEST,
    )
    assert_distribution(observed, answers(10, ones, zeros, mute, coins, sampling, loss))


def test_numpy_generator_serves_as_well():
    observed = observe({"name": "echo"}, rng=np.random.default_rng(6), colour=1, **HONEST)
    assert_distribution(observed, answers(10, 41, 18, 0, 0, "without_replacement"))


@pytest.mark.parametrize(
    ("start_ones", "common", "rare"), [(48, PUSH_1, PUSH_0), (0, PUSH_0, PUSH_1)]
)
def test_colluders_reject_a_share_of_the_undisputed(start_ones, common, rare):
    colour = 1 if start_ones else 0
    observed = observe(
        {"name": "coordinated_collusion", "reject_share": 0.3},
        honest_ones=start_ones,
        honest_zeros=48 - start_ones,
        byzantine=12,
        colour=colour,
    )

    def law(behaviour):
        ones, zeros, _, _ = behaviour
        ones += 47 * colour
        zeros += 47 * (1 - colour)
        return answers(10, ones, zeros, 0, 0, "without_replacement")

    assert_distribution(observed, mixture((0.7, law(common)), (0.3, law(rare))))


def test_sybils_are_admitted_one_by_one():
    observed = observe({"name": "sybil", "admission": 0.25}, colour=1, **HONEST)
    laws = [
        (p, answers(10, 29, 18 + admitted, 0, 0, "without_replacement"))
        for admitted, p in enumerate(binomial(12, 0.25))
    ]
    assert_distribution(observed, mixture(*laws))


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_pooled_estimate_errs_as_often_as_it_should(sampling, lag):
    # Three nodes pool ten answers each; a tie counts as a minority of 0.
    honest_ones = 22
    one_pool = Counter()
    for (ones, _), p in drawn(10, (honest_ones, 48 - honest_ones), sampling).items():
        one_pool[ones] += p
    pooled = {0: 1.0}
    for _ in range(3):
        total = Counter()
        for (a, p), (b, q) in itertools.product(pooled.items(), one_pool.items()):
            total[a + b] += p * q
        pooled = total
    minority_1 = sum(p for ones, p in pooled.items() if 2 * ones < 30)
    # At lag 1 the pool is of the round before, and this round's state is another.
    now = honest_ones if lag == 0 else 30
    observed = observe(
        {"name": "balance_pooled", "lag": lag},
        honest_ones=now,
        honest_zeros=48 - now,
        byzantine=3,
        colour=0,
        previous_ones=honest_ones if lag else None,
        sampling=sampling,
    )
    law = mixture(
        (minority_1, answers(10, now + 3, 47 - now, 0, 0, sampling)),
        (1 - minority_1, answers(10, now, 50 - now, 0, 0, sampling)),
    )
    assert 0.5 < minority_1 < 0.9
    assert_distribution(observed, law)


@pytest.mark.parametrize(
    ("honest_ones", "exclude_self", "votes"),
    # 10 x (holders - 1) / 21 or 10 x holders / 22 expected votes against a quorum of 6.
    [(13, True, True), (14, True, False), (13, False, True), (14, False, False)],
)
def test_stall_votes_only_where_it_spoils_a_quorum(honest_ones, exclude_self, votes):
    observed = observe(
        {"name": "stall"},
        honest_ones=honest_ones,
        honest_zeros=18 - honest_ones,
        byzantine=4,
        colour=1,
        exclude_self=exclude_self,
    )
    zeros = 18 - honest_ones + (4 if votes else 0)
    mute = 0 if votes else 4
    ones = honest_ones - exclude_self
    assert_distribution(observed, answers(10, ones, zeros, mute, 0, "without_replacement"))


# Trials that can be followed by hand: everybody polls everybody else


def follow(adversary=NOBODY, *, honest, byzantine=0, start_ones, protocol=None, **fields):
    n = honest + byzantine
    rule = {"alpha_preference": 4, "alpha_confidence": 4, "beta": 3, **(protocol or {})}
    return oracle.simulate(
        {"name": "snowflake", "k": n - 1, "max_rounds": 30, **rule},
        adversary,
        n=n,
        byzantine_fraction=byzantine / n,
        initial_accept=start_ones / honest,
        rng=random.Random(0),
        **fields,
    )


def without_times(out):
    return {field: value for field, value in out.items() if field != "decided_at"}


def test_minority_flips_and_all_decide():
    out = follow(honest=6, start_ones=5)
    # The five get 4 ones each and count 1, 2, 3; the sixth gets 5, flips and counts 1, 2, 3.
    assert without_times(out) == {
        "decided_0": 0,
        "decided_1": 6,
        "undecided": 0,
        "rounds": 3,
        "first_decision": 3,
        "median_decision": 3,
        "last_decision": 3,
        "unanimity": 1,
        "start_ones": 5,
        "final_ones": 6,
        "flips": 1,
        "polls": 18,
        "admitted": 0,
    }
    assert out["decided_at"] == [3] * 6


def test_first_median_and_last_differ_when_a_flip_counts_nothing():
    out = follow(honest=6, start_ones=5, protocol={"count_after_flip": 0})
    assert (out["first_decision"], out["median_decision"], out["last_decision"]) == (3, 3, 4)
    assert out["rounds"] == 4


def test_a_tie_counts_as_a_minority_of_0():
    out = follow({"name": "balance_informed"}, honest=6, byzantine=2, start_ones=3)
    # A node at 1 gets 2 ones and 3 + 2 zeros and flips; a node at 0 gets 3 ones and 2 + 2 zeros.
    assert (out["decided_0"], out["unanimity"], out["flips"]) == (6, 1, 3)
    assert (out["rounds"], out["last_decision"], out["final_ones"]) == (3, 3, 0)


def test_undecided_is_not_a_number_of_rounds():
    out = follow({"name": "silent"}, honest=6, byzantine=2, start_ones=3)
    assert (out["undecided"], out["rounds"], out["flips"], out["final_ones"]) == (6, 30, 0, 3)
    assert math.isnan(out["first_decision"])
    assert math.isnan(out["median_decision"])
    assert math.isnan(out["last_decision"])
    assert math.isnan(out["unanimity"])


def test_release_lets_the_network_go():
    adversary = {"name": "release", "release_round": 7}
    # A node at 1 gets 5 honest ones and 4 zeros in the first seven rounds, then 9 ones.
    for alpha, rounds in ((5, 3), (6, 7 + 3)):
        out = follow(
            adversary,
            honest=6,
            byzantine=4,
            start_ones=6,
            protocol={"alpha_preference": alpha, "alpha_confidence": alpha},
        )
        assert (out["rounds"], out["decided_1"], out["unanimity"]) == (rounds, 6, 0)


def test_safety_split_feeds_both_groups_their_colour():
    # Nodes 0, 1, 2 start at 1 and are group 0. Each node gets 2 + 3 votes for its own colour.
    protocol = {"alpha_preference": 5, "alpha_confidence": 5}
    out = follow(
        {"name": "safety_split", "fed": 1 / 3},
        honest=6,
        byzantine=3,
        start_ones=3,
        protocol=protocol,
    )
    assert (out["decided_0"], out["decided_1"], out["rounds"]) == (3, 3, 3)
    assert (out["flips"], out["final_ones"]) == (0, 3)
    assert math.isnan(out["unanimity"])
    # Half a node more belongs to group 0.
    assert [oracle.group_of(node, 3.5) for node in range(7)] == [0, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("target", "decided_at", "decided_1", "flips"),
    [(1, [3, 7, 3, 3], 1, 2), (0, [7, 3, 4, 4], 3, 4)],
)
def test_safety_split_turns_once_its_target_is_decided(target, decided_at, decided_1, flips):
    # Node 0 alone starts at 1. Nodes 0 and 1 are pushed to the target, 2 and 3 away from it. The
    # node of group 0 that has to flip for that (which counts 0) is a round behind the other one,
    # so it is turned in round 4 and decides the other colour three rounds later.
    out = follow(
        {"name": "safety_split", "target": target, "fed": 2 / 9},
        honest=4,
        byzantine=5,
        start_ones=1,
        protocol={"alpha_preference": 5, "alpha_confidence": 5, "count_after_flip": 0},
    )
    assert out["decided_at"] == decided_at
    assert (out["decided_0"], out["decided_1"]) == (4 - decided_1, decided_1)
    assert (out["flips"], out["rounds"]) == (flips, 7)


def test_everything_lost_is_everything_undecided():
    out = follow(honest=6, start_ones=6, loss=1.0)
    assert (out["undecided"], out["rounds"], out["unanimity"]) == (6, 30, 0)


def test_async_time_is_a_fraction_of_a_round():
    out = follow({"name": "echo"}, honest=7, byzantine=2, start_ones=7, schedule="async")
    # Seven undisputed nodes need three polls each: 21 steps of 1/9 round.
    assert (out["rounds"], out["last_decision"], out["decided_1"]) == (21 / 9, 21 / 9, 7)
    times = sorted(out["decided_at"])
    assert len(set(times)) == 7
    assert (out["first_decision"], out["median_decision"]) == (times[0], times[3])


def test_async_pools_are_made_at_the_start_of_each_round():
    # Six honest nodes at 0 and one Byzantine node, which sees all of them and so pushes 1. That
    # spoils every quorum of 6 of 6, but with lag 1 not in the first round.
    def trial(lag, beta, schedule):
        return follow(
            {"name": "balance_pooled", "lag": lag},
            honest=6,
            byzantine=1,
            start_ones=0,
            schedule=schedule,
            protocol={"alpha_preference": 6, "alpha_confidence": 6, "beta": beta},
        )

    for schedule in ("lockstep", "async"):
        assert trial(0, 1, schedule)["undecided"] == 6
    assert trial(1, 1, "lockstep")["last_decision"] == 1
    assert trial(1, 2, "lockstep")["undecided"] == 6
    # One node at 0 against one: answers 0, 0, then 1 in the two steps of each later round.
    for beta, decided_at, colour in ((2, 2 / 2, 0), (3, 5 / 2, 1)):
        out = follow(
            {"name": "balance_pooled", "lag": 1},
            honest=1,
            byzantine=1,
            start_ones=0,
            schedule="async",
            protocol={"alpha_preference": 1, "alpha_confidence": 1, "beta": beta},
        )
        assert (out["decided_at"], out["flips"]) == ([decided_at], colour)
        assert (out["decided_0"], out["decided_1"]) == (1 - colour, colour)


@pytest.mark.parametrize("name", ["snowflake", "snowball"])
def test_undisputed_start_takes_beta_rounds(name):
    for initial_accept in (0.0, 1.0):
        out = oracle.simulate(
            {"name": name, **MAINNET},
            NOBODY,
            n=30,
            byzantine_fraction=0.0,
            initial_accept=initial_accept,
            rng=random.Random(0),
        )
        assert out["rounds"] == out["first_decision"] == out["last_decision"] == 20


def test_slush_runs_m_rounds_and_never_decides():
    out = oracle.simulate(
        {"name": "slush", "k": 20, "alpha": 15, "m": 40},
        NOBODY,
        n=50,
        byzantine_fraction=0.0,
        initial_accept=0.8,
        rng=random.Random(0),
    )
    assert (out["rounds"], out["undecided"], out["final_ones"], out["flips"]) == (40, 50, 50, 10)
    assert 1 <= out["unanimity"] < 40


def test_counts_of_nodes_are_rounded():
    out = oracle.simulate(
        {"name": "slush", "k": 3, "alpha": 3, "m": 0},
        {"name": "sybil", "admission": 0.5},
        n=25,
        byzantine_fraction=0.18,  # 4.5 nodes, to the even 4
        initial_accept=0.36,  # of 21: 7.56, to 8
        rng=random.Random(0),
    )
    assert (out["final_ones"], out["undecided"], out["rounds"]) == (8, 21, 0)
    assert 0 <= out["admitted"] <= 4


def test_same_seed_gives_the_same_trial():
    def trial():
        return oracle.simulate(
            {"name": "snowball", **MAINNET},
            {"name": "balance_pooled"},
            n=50,
            byzantine_fraction=0.2,
            initial_accept=0.5,
            loss=0.1,
            rng=random.Random(77),
        )

    assert repr(trial()) == repr(trial())


@pytest.mark.parametrize(
    ("protocol", "adversary", "fields"),
    [
        ({"name": "slush", "k": 10, "alpha": 8, "m": 5}, {"name": "silent"}, {}),
        ({"name": "slush", "k": 5, "alpha": 8, "m": 5, "beta": 2}, {"name": "silent"}, {}),
        ({"name": "slush", "k": 5, "alpha": 4}, {"name": "silent"}, {}),
        ({"name": "slush", "k": 5, "alpha": 4, "m": 5}, {"name": "silent", "lag": 1}, {}),
        ({"name": "slush", "k": 5, "alpha": 4, "m": 5}, NOBODY, {}),
        (
            {"name": "slush", "k": 5, "alpha": 4, "m": 5},
            {"name": "silent"},
            {"schedule": "lock-step"},
        ),
        (
            {"name": "slush", "k": 5, "alpha": 4, "m": 5},
            {"name": "silent"},
            {"sampling": "without"},
        ),
    ],
)
def test_nonsense_is_refused(protocol, adversary, fields):
    with pytest.raises(ValueError, match=r".+"):
        oracle.simulate(
            protocol,
            adversary,
            n=10,
            byzantine_fraction=0.2,
            initial_accept=0.5,
            rng=random.Random(0),
            **fields,
        )
