"""A cluster that is stepped by hand: its load, its timeline, and every key of its configuration."""

import json
from functools import lru_cache

import numpy as np
import pytest

from vecsim.cluster import ScaleTestCluster, simulate
from vecsim.cluster.config import DEFAULTS, KEYS
from vecsim.errors import ConfigError

HAND = {
    "trials": 2,
    "window_s": 1,
    "cluster": {"nodes": 20},
    "workload": {"kind": "constant", "rate_tps": 50},
}


def issued(cluster, last_s):
    """Vertices issued in the last seconds, of each trial."""
    data = cluster.results()
    return (
        data["issued"].where(data["time_s"] >= cluster.now_ms / 1000 - last_s).sum("window").values
    )


def test_load_goes_on_until_stop_or_another_workload():
    cluster = ScaleTestCluster(HAND)
    cluster.advance(2)
    assert issued(cluster, 2).tolist() == [0, 0]  # nothing was started
    assert not cluster.is_healthy().any()
    cluster.start()
    cluster.advance(90)
    assert issued(cluster, 90).tolist() == [4500, 4500]
    assert issued(cluster, 10).tolist() == [500, 500]
    assert cluster.is_healthy().all()
    cluster.set_workload(kind="ramp", start_tps=0, end_tps=20, ramp_s=10)
    cluster.advance(20)
    assert issued(cluster, 20).tolist() == [300, 300]
    cluster.stop()
    cluster.advance(30)
    assert issued(cluster, 30).tolist() == [0, 0]
    cluster.start()
    cluster.advance(15)
    assert issued(cluster, 10).tolist() == [200, 200]
    assert cluster.is_healthy().all()
    cluster.set_workload(kind="constant", rate_tps=0)
    cluster.advance(15)
    assert not cluster.is_healthy().any()  # of nothing
    data = cluster.results()
    assert data.attrs["duration_s"] == 172
    assert float(cluster.metrics()["avg_tps"][0]) == pytest.approx(
        float(data["finalised"][0].sum()) / 172
    )


def test_a_duration_is_kept_and_another_workload_has_no_end():
    cluster = ScaleTestCluster(HAND | {"duration_s": 5})
    cluster.start()
    cluster.advance(20)
    assert issued(cluster, 20).tolist() == [250, 250]
    cluster.set_workload(kind="constant", rate_tps=50)
    cluster.advance(20)
    assert issued(cluster, 20).tolist() == [1000, 1000]


TIMELINE = [
    {"at_s": 0, "do": "kill_random_nodes", "count": 2, "restart": False},
    {"at_s": 2.5, "do": "create_partition", "shares": [0.8, 0.2]},
    {"at_s": 6, "do": "inject_latency_spike", "extra_ms": 30, "duration_s": 1.5},
    {"at_s": 8, "do": "heal_partition"},
    {"at_s": 10, "do": "spawn_nodes", "count": 2},
]


def test_a_timeline_happens_as_time_passes():
    """In steps of any length, and as in a run by the clock, bit for bit."""
    config = HAND | {"timeline": TIMELINE}
    cluster = ScaleTestCluster(config | {"duration_s": 12})
    cluster.start()
    cluster.advance(1)
    assert (cluster.running == 18).all()
    assert (cluster.sides == 0).all()
    cluster.advance(1.5)
    assert (cluster.sides == 2).all()
    cluster.advance(3.5)
    assert (cluster.sides == 2).all()
    cluster.advance(2)
    assert (cluster.sides == 0).all()
    cluster.advance(4)
    by_hand, by_clock = cluster.results(), simulate(config | {"duration_s": 12, "drain_s": 0})
    for name in by_clock.variables:
        np.testing.assert_array_equal(by_hand[name].values, by_clock[name].values)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"drain_s": 5}, "drain_s is 5; allowed: with simulate only"),
        ({"name": "x"}, "name is no parameter; allowed: trials"),
        ({"category": "load"}, "category is no parameter"),
        ({"timeline": [{"at_s": 1.25, "do": "stop"}]}, "at_s is 1.25; allowed: .* whole tenths"),
        ({"timeline": [{"at_s": 1, "do": "explode"}]}, "timeline.do is 'explode'"),
        ({"timeline": [{"at_s": 1, "do": "set_packet_loss", "loss": 2}]}, "loss is 2; allowed"),
        ({"duration_s": 999_999, "workload": {"kind": "constant", "rate_tps": 1e4}}, "workload is"),
        ({"cluster": {"nodes": 20, "poll_interval_ms": 1e5}}, "poll_interval_ms is 100000.0; all"),
    ],
)
def test_what_cannot_be_done_by_hand_is_refused(change, told):
    with pytest.raises(ConfigError, match=told) as caught:
        ScaleTestCluster(HAND | change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("seconds", "told"), [(0, "above 0"), (0.05, "tenths"), (2e6, "0 to 1000")]
)
def test_steps_that_cannot_be_made(seconds, told):
    with pytest.raises(ConfigError, match=told):
        ScaleTestCluster(HAND).advance(seconds)


def test_sides_without_a_node_are_refused():
    with pytest.raises(ConfigError, match=r"shares is .*; allowed: one or more of 20 nodes each"):
        ScaleTestCluster(HAND).create_partition([0.99, 0.01])


# Every key, and what it shows in: (key, another value, what is read, further settings of both)

RUN = {
    "trials": 2,
    "duration_s": 200,
    "drain_s": 2,
    "cluster": {"nodes": 20, "byzantine_fraction": 0.2},
    "workload": {"kind": "constant", "rate_tps": 5},
}
SILENT = {"cluster.adversary": "silent", "cluster.reputation": False}
HONEST = {"cluster.misbehaving_share": 0.0}


def last(name):
    return lambda data: float(data[name][:, -1].max())


def most(name):
    return lambda data: round(float(data[name].max()), 6)


SHOWN = [
    ("seed", 1, lambda data: float(data["latency_ms"].sum()), {}),
    ("duration_s", 210, lambda data: int(data["issued"][0].sum()), {}),
    ("drain_s", 5, lambda data: float(data["length_s"].sum()), {}),
    ("window_s", 5, lambda data: float(data["length_s"].max()), {}),
    ("timeline", [{"at_s": 9, "do": "stop"}], last("running"), {}),
    ("workload", {"kind": "constant", "rate_tps": 6}, most("issued"), {}),
    ("cluster.byzantine_fraction", 0.1, last("excluded_byzantine"), {}),
    ("cluster.adversary", "silent", last("excluded_byzantine"), {}),
    ("cluster.misbehaving_share", 0.0, last("excluded_byzantine"), {}),
    ("cluster.double_votes", 0.5, last("excluded_byzantine"), HONEST),
    ("cluster.profile", "wan", lambda data: float(data["latency_ms"].max() > 100), HONEST),
    ("cluster.protocol", {"beta": 25}, most("rounds"), HONEST),
    ("cluster.poll_interval_ms", 4, last("cpu_percent"), {}),
    ("cluster.benching", False, last("benched"), SILENT),
    ("cluster.reputation", False, last("excluded_byzantine"), {}),
    ("cluster.guard", False, last("guard"), {"cluster.byzantine_fraction": 0.4}),
    ("cluster.payload_bytes", 2000, most("network_mbps"), {}),
    ("cluster.pruning", False, last("memory_mb"), {}),
    ("cluster.memory_limit_mb", 256, lambda data: most("utilisation_memory")(data) > 0.4, {}),
    ("cluster.link_mbps", 100, most("utilisation_network"), {}),
]
# The same of what decides the shape of a program, which is not run.
SHAPES = [
    ("trials", 3, lambda cluster: cluster.running.size),
    ("sampled_vertices", 32, lambda cluster: cluster.shape.samples),
    ("cluster.nodes", 21, lambda cluster: cluster.shape.nodes),
    ("cluster.parents", "random", lambda cluster: cluster.shape.parents),
    ("cluster.double_spend_share", 0.5, lambda cluster: cluster.shape.disputed),
]


def test_every_key_is_walked():
    keys = {*KEYS, *(f"cluster.{key}" for key in DEFAULTS)} - {"cluster"}
    assert {key for key, *_ in (*SHOWN, *SHAPES)} == keys


def changed(*changes):
    config = json.loads(json.dumps(RUN))
    for key, value in (pair for change in changes for pair in change.items()):
        section, _, name = key.rpartition(".")
        (config["cluster"] if section else config)[name] = value
    return config


@lru_cache
def simulated(text):
    return simulate(json.loads(text))


@pytest.mark.parametrize(("key", "value", "read", "settings"), SHOWN, ids=[s[0] for s in SHOWN])
def test_every_key_of_the_configuration_is_used(key, value, read, settings):
    """Another value shows in what it is about, which other random numbers leave as it is."""

    def found(*changes):
        return read(simulated(json.dumps(changed(settings, *changes))))

    if key != "seed":
        assert found({"seed": 7}) == found()
    assert found({key: value}) != found()


@pytest.mark.parametrize(("key", "value", "read"), SHAPES, ids=[s[0] for s in SHAPES])
def test_every_key_of_a_programs_shape_is_used(key, value, read):
    one, other = changed(), changed({key: value})
    for config in (one, other):
        del config["drain_s"]
    assert read(ScaleTestCluster(other)) != read(ScaleTestCluster(one))
