"""Whatever stands in a scenario or a campaign: it is taken, or refused in one line."""

import copy

import pytest
from fuzz_scenarios import fuzz

from vecsim.scenario import simulate
from vecsim.studies import sweep
from vecsim.studies.campaigns import Campaigns
from vecsim.studies.planned import planned as campaign_of

TIMELINE = [
    {"at_s": 1, "every_s": 2, "times": 2, "do": "kill_random_nodes", "count": 1, "restart": False},
    {"at_s": 2, "do": "create_partition", "shares": [0.5, 0.5]},
    {"at_s": 3, "do": "heal_partition"},
    {"at_s": 3, "do": "set_packet_loss", "loss": 0.1},
    {"at_s": 4, "do": "inject_latency_spike", "extra_ms": 5, "duration_s": 2},
    {"at_s": 4, "do": "throttle_cpu", "count": 1, "capacity": 0.5},
    {"at_s": 5, "do": "inject_disk_failure", "count": 1},
    {"at_s": 5, "do": "inject_memory_pressure", "count": 1, "share": 0.5},
    {"at_s": 5, "do": "set_clock_skew", "count": 1, "max_s": 1},
    {"at_s": 5, "do": "set_workload", "workload": {"kind": "constant", "rate_tps": 5}},
    {"at_s": 6, "do": "set_protocol", "k": 5, "alpha": 4, "beta": 3},
    {"at_s": 6, "do": "spawn_nodes", "count": 1},
]
CLUSTER = {
    "nodes": 10,
    "byzantine_fraction": 0.2,
    "adversary": {"name": "release", "release_round": 20},
    "misbehaving_share": 0.5,
    "double_votes": 0.1,
    "profile": "lan",
    "protocol": {"k": 5, "alpha": 4, "beta": 3, "max_rounds": 9, "confidence_threshold": 0.9},
    "poll_interval_ms": 3,
    "benching": True,
    "reputation": False,
    "guard": True,
    "payload_bytes": 10,
    "parents": "few",
    "pruning": True,
    "memory_limit_mb": 100,
    "link_mbps": 10,
    "double_spend_share": 0.1,
}
DAILY = {"kind": "sine", "low_tps": 1, "high_tps": 4, "period_s": 8}
BURSTS = {"kind": "burst", "rate_tps": 2, "burst_tps": 4, "at_s": 3, "burst_s": 2}
RAMP = {"kind": "ramp", "start_tps": 1, "end_tps": 9, "ramp_s": 5, "then_tps": 2}
RELATIVE = {"metric": "tps", "statistic": "max", "variant": "a", "times": 2, "plus": 1}
SCENARIO = {
    "name": "fuzzed",
    "category": "load",
    "trials": 2,
    "seed": 1,
    "duration_s": 10,
    "drain_s": 1,
    "window_s": 1,
    "sampled_vertices": 8,
    "simulate": True,
    "expect": "passed",
    "cluster": CLUSTER,
    "workload": RAMP,
    "timeline": TIMELINE,
    "variants": {
        "a": {"cluster.nodes": 9},
        "b": {"workload": {"kind": "at_once", "count": 3}},
        "c": {"workload": DAILY},
        "d": {"workload": BURSTS},
    },
    "probes": ["network_round_trips"],
    "criteria": [
        {"metric": "tps", "op": ">=", "threshold": 1, "statistic": "mean", "period": [1, 5]},
        {
            "metric": "running",
            "statistic": "longest_below_s",
            "level": 3,
            "op": "<",
            "threshold": 9,
        },
        {"metric": "tps", "op": "<", "threshold": RELATIVE, "variant": "b", "every_s": 2},
        {"metric": "latency_ms", "statistic": "p95", "op": "not_rising", "over": ["a", "b"]},
        {"metric": "bottleneck", "op": "==", "threshold": "none", "expect": "holds"},
        {"metric": "round_trip_lost", "statistic": "rate", "op": "covers", "threshold": 0.0},
        {"metric": "divergent", "op": "reported", "interval": 0.99},
    ],
}
CAMPAIGN = {
    **{key: SCENARIO[key] for key in ("trials", "duration_s", "drain_s", "window_s")},
    **{key: SCENARIO[key] for key in ("sampled_vertices", "cluster", "workload", "timeline")},
    "outcomes": {
        "tps": {"metric": "tps", "statistic": "mean", "period": [1, None], "long_name": "rate"},
        "good": {"metric": "finalised_share", "op": ">=", "threshold": 0.9, "units": "1"},
        "low": {"metric": "running", "statistic": "longest_below_s", "level": 3},
        "most": {"metric": "cpu_percent", "statistic": "max", "every_s": 2},
    },
    "series": {"every_s": 2, "of": {"tps": {"metric": "tps", "statistic": "mean"}}},
}


def planned(section, folder="nowhere"):
    """All that is checked of a campaign before its store is made."""
    point = campaign_of(section, 0)
    trials = point.run.trials
    study = sweep.Study("campaign", [], [point], trials, trials, None, 0, {}, ["cluster"])
    return Campaigns(study, folder)


def test_the_fuzzed_configurations_are_good_themselves():
    assert simulate.prepare(copy.deepcopy(SCENARIO)) == SCENARIO
    assert len(planned(copy.deepcopy(CAMPAIGN)).outcomes[0]) == 4


@pytest.mark.parametrize("seed", range(4))
def test_scenarios(seed):
    assert fuzz(simulate.prepare, SCENARIO, 150, seed) > 100


@pytest.mark.parametrize("seed", range(2))
def test_campaigns(seed):
    assert fuzz(planned, CAMPAIGN, 150, seed) > 100
