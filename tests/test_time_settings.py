"""What may be set of simulated time, and what is refused in one line."""

import json

import numpy as np
import pytest

import vecsim
from vecsim.engines.choose import engine_of
from vecsim.engines.timed.results import times_of
from vecsim.engines.timed.shape import timed_shape
from vecsim.errors import ConfigError
from vecsim.latencies.latency import Latency
from vecsim.latencies.regions import Regions
from vecsim.latencies.uniform import Uniform
from vecsim.polling import Polling


def planned(*words):
    """Refused or not: the engine of a point with schedule=timed."""
    return engine_of(vecsim.point("schedule=timed", *words), "auto")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["polling.concurrent=0"], "polling.concurrent is 0; allowed: 1 to"),
        (["polling.interval=poisson"], "polling.interval is 'poisson'; allowed: fixed or"),
        (["polling.interval=exponential"], "polling.interval is 'exponential'; allowed: fixed"),
        (["polling.timeout_ms=0"], "polling.timeout_ms is 0.0; allowed: above 0"),
        (["polling.timeout_ms=2"], "polling.timeout_ms is 2.0; allowed: a tick or more"),
        (["polling.cooldown_ms=50"], "polling.cooldown_ms is 50.0; allowed: 0 with interval_ms=0"),
        (
            ["polling.cooldown_ms=50", "polling.interval_ms=10"],
            "polling.cooldown_ms is 50.0; allowed: 0 unless k is 1",
        ),
        (["latency.low_ms=300"], "latency.high_ms is 200.0; allowed: at least low_ms, 300"),
        (["latency.loss=1.5"], "latency.loss is 1.5; allowed: 0 to 1"),
        (["latency.low_ms=0"], "polling.tick_ms is 0; allowed: above 0 where"),
        (["polling.tick_ms=0.01"], "polling.tick_ms is 0.01; allowed: such that the longest"),
        (["polling.max_ms=9e8", "latency=local"], "polling.max_ms is 900000000.0; allowed: less"),
        (["network.loss=0.1"], "network.loss is 0.1; allowed: 0 with schedule=timed"),
        (["network=random_regular"], "schedule is 'timed'; allowed: lockstep with"),
        (["n=200000"], "n is 200000; allowed: less than 131072"),
        (["latency=regions", "latency.sigma=2"], "latency.sigma is 2.0; allowed: 0 to 1"),
        (["latency=regions", "latency.shares=[1.0]"], "latency.names is"),
        (["latency=moon"], "latency"),
        (["latency=local", "polling.tick_ms=3"], "polling.tick_ms is 3.0; allowed: such that the"),
        (["polling.tick_ms=1e-305"], "polling.tick_ms is 1e-305; allowed: 1e-06 ms"),
        (["latency.low_ms=1e-320"], "polling.tick_ms is"),
        (["latency=local", "polling.timeout_ms=3e7"], "polling.timeout_ms is 30000000.0; allowed"),
        (["latency=local", "polling.round_ms=3e7"], "polling.round_ms is 30000000.0; allowed"),
        (["latency=local", "polling.interval_ms=1e8"], "polling.interval_ms is 100000000.0"),
        (["polling.interval_ms=4", "polling.tick_ms=10"], "polling.interval_ms is 4.0; allowed: a"),
        (
            ["polling.interval_ms=4", "polling.interval=exponential", "polling.tick_ms=1"],
            "polling.interval_ms is 4.0; allowed: 5 ticks",
        ),
        (
            ["protocol=ecash", "polling=ecash", "polling.interval=exponential"],
            "polling.cooldown_ms is 100.0; allowed: 0 with exponential",
        ),
        (
            ["protocol=ecash", "polling=ecash", "stake=zipf", "stake.exponent=3", "n=100"],
            "polling.cooldown_ms is 100.0; allowed: so short that those asked",
        ),
        (["protocol.max_rounds=1000000", "n=100000"], "protocol.max_rounds is 1000000; allowed"),
        (
            [
                "latency.low_ms=16382.6",
                "latency.high_ms=16382.6",
                "polling.tick_ms=1",
                "polling.timeout_ms=3e4",
            ],
            "polling.tick_ms is 1.0; allowed: such that the longest",
        ),
    ],
)
def test_what_has_no_sense_is_refused_by_its_key(words, told):
    with pytest.raises(ConfigError) as error:
        planned(*words)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_time_outs_below_all_round_trips_leave_nothing_to_look_up():
    made = vecsim.point("schedule=timed", "polling.timeout_ms=40")
    assert timed_shape([made]).words == 1


def test_a_sweep_may_mix_rounds_and_time():
    study = vecsim.study(
        sweep={"s": {"schedule": ["lockstep", "timed"], "latency": ["wan", "regions"]}}, n=50
    )
    assert study.points[1].latency.medians_ms
    study = vecsim.study("latency=lan", sweep={"schedule": ["lockstep", "timed"]}, n=50)
    assert [each.schedule for each in study.points] == ["lockstep", "timed"]


def test_places_may_have_a_fate_each():
    made = vecsim.point("schedule=timed", "stake=zipf", "stake.shared_fate=false", "n=50")
    assert made.stake.shared_fate is False
    vecsim.study("schedule=timed", "stake=zipf", "stake.shared_fate=false", n=50, trials=1)


def test_early_ends_are_refused_where_all_answers_count():
    with pytest.raises(ConfigError, match=r"polling\.early_end has no effect; allowed: none with"):
        vecsim.study("schedule=timed", "protocol=ecash", "polling.early_end=false", n=50, trials=1)


@pytest.mark.parametrize("word", ["latency=lan", "polling.concurrent=2", "polling=ecash"])
def test_times_are_refused_where_there_are_only_rounds(word):
    key = word.partition("=")[0]
    with pytest.raises(ConfigError, match=f"{key} has no effect; allowed: {key} with schedule"):
        vecsim.study(word, n=50, trials=1)


def test_times_are_no_part_of_points_in_rounds():
    usual = vecsim.point("n=50")
    assert not {"latency", "polling"} & usual.parameters().keys()
    assert usual._replace(latency=Uniform(1, 2), polling=Polling(1)).hash() == usual.hash()
    timed = usual._replace(schedule="timed")
    assert timed._replace(polling=Polling(1)).hash() != timed.hash()
    json.dumps(timed.parameters())


def test_the_median_of_round_trips():
    assert Uniform(50, 200).median_ms == pytest.approx(125)
    two = Regions(shares=(0.5, 0.5), medians_ms=[[10, 100], [100, 10]], sigma=0)
    assert two.median_ms == pytest.approx(10)
    assert two.shortest_ms == 100
    assert Regions(shares=(1.0,), medians_ms=[[7]], sigma=0.1).shortest_ms == 7


class Falling(Latency):
    """Round trips that get shorter."""

    loss: float = 0.0

    def round_trips(self, shares):
        return -np.asarray(shares)[None, None]

    @property
    def shortest_ms(self):
        return 1.0


class Constant(Latency):
    """Round trips of 10 ms."""

    loss: float = 0.0

    def round_trips(self, shares):
        return np.full((1, 1, len(shares)), 10.0)

    @property
    def shortest_ms(self):
        return 10.0


def test_round_trips_of_ones_own_are_checked():
    with pytest.raises(ConfigError, match="ascending milliseconds of 0 or more"):
        vecsim.point("n=50", "schedule=timed", latency=Falling())
    made = vecsim.point("n=50", "schedule=timed", latency=Constant())
    assert engine_of(made, "auto") == "timed"
    assert made.latency.median_ms == 10
    vecsim.check(Constant())
    with pytest.raises(ConfigError, match=r"Constant\.loss is 2"):
        vecsim.check(Constant(loss=2))


def test_times_of_trials():
    decided = np.array([[3, 1, 2, -1], [4, -1, -1, -1]])
    found = times_of(np.array([10.0, 5.0]), np.array([3, 2]), decided, np.array([3, 9]), [7, 8])
    np.testing.assert_array_equal(found["first_decision_ms"], [10, 20])
    np.testing.assert_array_equal(found["node_p50_ms"], [20, 20])
    np.testing.assert_array_equal(found["node_p95_ms"], [30, np.nan])
    np.testing.assert_array_equal(found["last_decision_ms"], [30, np.nan])
    np.testing.assert_array_equal(found["node_mean_ms"], [20, np.nan])
    np.testing.assert_array_equal(found["ended_ms"], [30, 45])
    np.testing.assert_array_equal(found["queries"], [7, 8])
