"""The oracle in continuous time against reference figures, closed forms and the one in rounds.

Tolerances are five standard errors, computed, with fixed seeds.
"""

import csv
import math
import random
import statistics
from pathlib import Path

import oracle
import pytest
import stake_oracle
from timed_oracle import Latency, Polling, simulate

DATA = Path(__file__).parent / "data"
MAINNET = {
    "name": "snowflake",
    "k": 20,
    "alpha_preference": 15,
    "alpha_confidence": 15,
    "beta": 20,
}
SMALL = {"name": "snowflake", "k": 5, "alpha_preference": 4, "alpha_confidence": 4, "beta": 5}
SMALL_QR = {"name": "qr_avalanche", "k": 10, "alpha": 8, "beta": 5}
CONSTANT = Latency(100, 100)
ADVERSARIES = {"minority_at_arrival": "balance_informed"}  # what the reference calls otherwise


def assert_same_mean(ours, theirs):
    both = [statistics.variance(values) / len(values) for values in (ours, theirs)]
    difference = statistics.fmean(ours) - statistics.fmean(theirs)
    assert abs(difference) <= 5 * math.sqrt(sum(both))


def reference():
    with open(DATA / "time_to_finality.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("row", "trials"), [(0, 10), (1, 6), (4, 3), (9, 6)])
def test_the_last_decision_is_when_the_reference_says(row, trials):
    told = reference()[row]
    rule = {name: int(told[name]) for name in MAINNET if name != "name"}
    ends = [float(told[f"round_trip_{end}_ms"]) for end in ("low", "high")]
    adversary = ADVERSARIES.get(told["adversary"], told["adversary"])
    rng, last = random.Random(row), []
    for _ in range(trials):
        result = simulate(
            rng,
            n=int(told["nodes"]),
            byzantine=int(told["byzantine"]),
            start_ones=int(told["honest_start_at_1"]),
            rule={"name": "snowflake", "max_rounds": 10**6, **rule},
            adversary={"name": adversary},
            latency=Latency(*ends, float(told["loss_per_message"])),
            polling=Polling(int(told["concurrent"]), float(told["timeout_ms"])),
        )
        last.append(max(result.decided_ms))
    error = float(told["last_sd_ms"]) * math.sqrt(1 / trials + 1 / int(told["trials"]))
    assert abs(statistics.fmean(last) - float(told["last_mean_ms"])) <= 5 * error


@pytest.mark.parametrize(("early_end", "last"), [("prefix", 15), ("none", 20)])
def test_a_poll_lasts_until_the_answer_that_settles_it(early_end, last):
    rng, times = random.Random(1), []
    for _ in range(10):
        polling = Polling(concurrent=1, early_end=early_end)
        all_ones = {"n": 21, "start_ones": 21, "rule": MAINNET}
        times += simulate(rng, **all_ones, latency=Latency(50, 200), polling=polling).decided_ms
    share = last / 21  # of the way to the longest round trip, a beta variable
    error = 150 * math.sqrt(20 * share * (1 - share) / 22 / len(times))
    assert abs(statistics.fmean(times) - 20 * (50 + 150 * share)) <= 5 * error


@pytest.mark.parametrize(
    ("rule", "polling", "time", "polls"),
    [
        (MAINNET, Polling(concurrent=1), 20 * 100, 20),
        (MAINNET, Polling(concurrent=4), 5 * 100, 23),
        (MAINNET, Polling(concurrent=math.inf, interval_ms=9), 19 * 9 + 100, 31),
        ({"name": "qr_avalanche", "k": 20, "alpha": 16}, Polling(1), 22 * 100, 22),
        ({"name": "slush", "k": 20, "alpha": 15, "m": 7}, Polling(1), 7 * 100, 7),
        ({"name": "fpc"}, Polling(1, sampling="with_replacement"), 10 * 100, 10),
        ({"name": "ecash"}, Polling(10), 14 * 100, 143),
        ({"name": "ecash"}, Polling(20, interval_ms=9), 133 * 9 + 100, 145),
        ({"name": "ecash"}, Polling(134, cooldown_ms=5000), 4 * 5000 + 100, 5 * 29),
    ],
)
def test_undisputed_with_constant_round_trips(rule, polling, time, polls):
    everybody = {"n": 30, "start_ones": 30, "latency": CONSTANT, "polling": polling}
    result = simulate(random.Random(2), rule=rule, **everybody)
    decides = rule["name"] != "slush"
    assert result.decided_ms == [time if decides else None] * 30
    assert result.decisions == [1 if decides else -1] * 30
    assert result.polls == [polls] * 30
    assert result.end_ms == time
    assert result.unanimous_ms == 0


def test_what_takes_too_long_is_missing():
    polling = Polling(concurrent=1, timeout_ms=99)
    stopped = {"n": 30, "start_ones": 30, "rule": MAINNET | {"max_rounds": 5}}
    result = simulate(random.Random(3), **stopped, latency=CONSTANT, polling=polling)
    assert (result.decisions, result.results, result.end_ms) == ([-1] * 30, [5] * 30, 5 * 99)
    polling = Polling(concurrent=1, max_ms=450)
    result = simulate(random.Random(3), **stopped, latency=CONSTANT, polling=polling)
    assert (result.decisions, result.results, result.end_ms) == ([-1] * 30, [4] * 30, 450)


def test_a_silent_peer_holds_up_results_only_where_they_are_in_order():
    silent = {"n": 4, "byzantine": 1, "start_ones": 3, "adversary": {"name": "silent"}}
    polling = Polling(concurrent=100, timeout_ms=10_000)
    one_peer = SMALL | {
        "k": 1,
        "max_rounds": 10**6,
        "alpha_preference": 1,
        "alpha_confidence": 1,
        "beta": 10,
    }
    for rule in ({"name": "ecash"}, one_peer):
        model = {**silent, "rule": rule, "latency": CONSTANT, "polling": polling}
        times = simulate(random.Random(4), **model).decided_ms
        assert all((time < 10_000) == (rule["name"] == "ecash") for time in times)


def test_regions_have_round_trips_of_their_own():
    medians = [[10, 60], [60, 30]]
    network = {"latency": Latency(medians_ms=medians), "regions": [0, 0, 0, 0, 1, 1, 1]}
    polling = Polling(concurrent=1, early_end="none")
    rule = SMALL | {"k": 3, "alpha_preference": 2, "alpha_confidence": 2}
    everybody = {"n": 7, "start_ones": 7, "rule": rule, "polling": polling}
    times = simulate(random.Random(5), **everybody, **network).decided_ms
    assert all(time % 10 == 0 and 50 <= time <= 300 for time in times)
    assert max(times[4:]) == 300  # three peers of another region among two of its own
    network["latency"] = Latency(medians_ms=medians, sigma=0.5)
    assert len(set(simulate(random.Random(5), **everybody, **network).decided_ms)) == 7


@pytest.mark.parametrize("exponential", [False, True])
def test_polls_at_intervals(exponential):
    rng, times = random.Random(6), []
    for _ in range(20):
        polling = Polling(concurrent=math.inf, interval_ms=300, exponential=exponential)
        everybody = {"n": 30, "start_ones": 30, "rule": SMALL, "latency": CONSTANT}
        times += simulate(rng, **everybody, polling=polling).decided_ms
    if exponential:  # five intervals, and results wait for one another by less than one of them
        waiting = statistics.fmean(times) - 5 * 300 - 100
        assert abs(waiting) <= 5 * 300 * math.sqrt(5 / len(times))
    else:
        assert set(times) == {4 * 300 + 100}


@pytest.mark.parametrize(
    ("rule", "adversary"),
    [
        (SMALL, "balance_informed"),
        (SMALL | {"name": "snowball"}, "random_voting"),
        (SMALL_QR, "random_voting"),
        (SMALL_QR, "silent"),
        ({"name": "fpc", "k": 9}, "balance_informed"),
    ],
)
def test_equal_round_trips_are_rounds(rule, adversary):
    adversary = {"name": adversary}
    model = {"n": 20, "rule": rule, "adversary": adversary, "latency": CONSTANT}
    polling = Polling(concurrent=1, timeout_ms=100, round_ms=100)
    rng, ours, theirs = random.Random(7), [], []
    for _ in range(60):
        result = simulate(rng, byzantine=2, start_ones=13, **model, polling=polling)
        ours.append(sum(result.results))
        initial = {"byzantine_fraction": 0.1, "initial_accept": 13 / 18}
        theirs.append(oracle.simulate(rule, adversary, n=20, **initial, rng=rng)["polls"])
    assert_same_mean(ours, theirs)


def test_confidence_counts_answers_that_are_still_on_the_way():
    rng, ours, theirs = random.Random(9), [], []
    rule, adversary = SMALL_QR, {"name": "random_voting"}
    for _ in range(60):
        model = {"n": 20, "byzantine": 2, "start_ones": 18, "rule": rule, "adversary": adversary}
        ours.append(simulate(rng, **model, latency=Latency(50, 200), polling=Polling()))
        undisputed = {"n": 20, "byzantine_fraction": 0.1, "initial_accept": 1}
        theirs.append(oracle.simulate(rule, adversary, **undisputed, rng=rng)["polls"])
    assert_same_mean([sum(result.results) for result in ours], theirs)


def test_places_of_one_node_share_one_fate():
    held, nobody = [40, 5, 5, 2, 1, 1, 1], {"name": "none"}
    polling = Polling(concurrent=1, timeout_ms=100)
    rng, ours, theirs = random.Random(8), [], []
    for _ in range(100):
        everybody = {"n": 7, "start_ones": 7, "rule": SMALL, "units": held}
        result = simulate(rng, **everybody, latency=Latency(100, 100, 0.1), polling=polling)
        ours.append(result.end_ms / 100)
        undisputed = {"held": held, "byzantine_fraction": 0, "initial_accept": 1, "rng": rng}
        theirs.append(stake_oracle.simulate(SMALL, nobody, **undisputed, loss=0.19)["rounds"])
    assert_same_mean(ours, theirs)
