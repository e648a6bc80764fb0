"""Probes of a cluster that is stepped, or that sends single votes (see `probes`)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vecsim.results.layout import Array
from vecsim.scenario.config import simulated

Values = Mapping[str, ArrayLike]  # by metric: one for all trials, or [trial], or [trial, draw]
Config = Mapping[str, Any]  # of one variant

DRAWS = 20_000  # answers drawn in each trial: the standard error of a share is below 0.4 %
# Votes in each trial: so many that the Kolmogorov-Smirnov test, at 95 %, rejects distances above
# 0.03.
VOTES = 2_000
# Seconds of a cut, and as many afterwards. Each has one vote, so that the standard error of the
# share answered in a trial is 5 % at most.
CUT_S = 100


def cluster_lifecycle(config: Config) -> Values:
    """Nodes that run, and vertices finalised, as a cluster is started, stopped and started again;
    each [trial]."""
    cluster = stepped(config)
    found = {"running_before_start": cluster.running}
    cluster.start()
    cluster.advance(10)
    found["running_started"] = cluster.running
    found["finalised_before_stop"] = _finalised(cluster)
    cluster.stop()
    cluster.advance(5)
    found["running_stopped"] = cluster.running
    after_stop = _finalised(cluster)
    cluster.start()
    cluster.advance(30)
    found["running_restarted"] = cluster.running
    results = cluster.results()
    gone = np.maximum(found["finalised_before_stop"] - after_stop, 0)
    found["finalised_missing_after_restart"] = results["lost"].max("window").values + gone
    return found


def network_round_trips(config: Config) -> Values:
    """Round trips (ms) of the votes that vertices use, against the uniform distribution of the
    profile, by the Kolmogorov-Smirnov test.

    Each vertex asks one peer, once: its latency is the round trip of that vote, and it times out
    where the vote is lost. There is one vertex in each window, so that none waits for another.
    """
    from scipy import stats

    from vecsim.cluster import simulate
    from vecsim.cluster.config import constants

    described = _one_vote(config) | {"duration_s": VOTES, "drain_s": 0, "sampled_vertices": 4}
    data = simulate(described | {"window_s": 1, "workload": {"kind": "constant", "rate_tps": 1}})
    outcome = _attempts(data)
    latency = data["latency_ms"].values.reshape(outcome.shape)
    first = latency < constants().reissue_after_ms
    trips = np.where(first, latency, np.nan)
    low, high = constants().profiles[config["cluster"]["profile"]]["round_trip_ms"]
    uniform = stats.uniform(low, high - low)
    fits = [stats.kstest(row[np.isfinite(row)], uniform.cdf).pvalue for row in trips]
    close = 1e-3  # ms, of times in float32
    inside = np.where(first, (trips >= low - close) & (trips <= high + close), np.nan)
    return {
        "round_trip_ms": trips,
        "round_trip_within_profile": inside,
        "round_trip_ks_p_value": fits,
        "round_trip_lost": 1 - outcome,
    }


def byzantine_answers(config: Config) -> Values:
    """How many nodes are Byzantine, and what they answer, [trial, draw]: 1, 0, or -1 for
    silence."""
    cluster = stepped(config)
    cluster.start()
    answers = cluster.sample_byzantine_answers(DRAWS)
    return {"byzantine_nodes": cluster.byzantine, "byzantine_answer": answers}


def messages_across_cut(config: Config) -> Values:
    """Votes of one random peer each while the cluster is cut in two, and afterwards: those across
    the cut are not answered. Without the defence, which would stop asking peers across it."""
    off = {"cluster": config["cluster"] | {"benching": False, "guard": False}}
    cluster = stepped(_one_vote(dict(config) | off) | {"window_s": 1})
    cluster.start()
    cluster.advance(5)
    cluster.create_partition([0.5, 0.5])
    cluster.advance(CUT_S)
    found = {"parts_while_cut": cluster.sides}
    cluster.heal_partition()
    cluster.advance(CUT_S)
    sides, data = np.asarray(cluster.sides), cluster.results()
    found["parts_after_healing"] = np.where(sides > 1, sides, 0)
    # What was issued before the cut or its end has run in the windows before.
    for name, start in (("while_cut", 5), ("after_healing", 5 + CUT_S)):
        windows = data.isel(window=slice(start, start + CUT_S))
        found[f"answered_{name}"] = _attempts(windows)
    return found


def stepped(config: Config) -> Any:
    """A cluster to be stepped by hand, whose load has no end."""
    from vecsim.cluster import ScaleTestCluster

    timed = ("duration_s", "drain_s")
    return ScaleTestCluster({k: v for k, v in simulated(config).items() if k not in timed})


def _one_vote(config: Config) -> dict[str, Any]:
    """The same cluster where a vertex asks one peer, once, and is final if it answers."""
    rule = {"k": 1, "alpha": 1, "beta": 1, "max_rounds": 1, "confidence_threshold": 0.0}
    cluster = dict(config["cluster"]) | {"protocol": rule}
    return simulated(config) | {"cluster": cluster, "timeline": []}


def _attempts(data: Any) -> Array:
    """Outcomes of attempts, [trial, attempt]: 1 finalised, 0 timed out, NaN where there is none."""
    outcome = data["outcome"].where(data["weight"] > 0)
    outcome = outcome.where(outcome >= 0).transpose("trial", "window", "sample").values
    return outcome.reshape(len(outcome), -1)


def _finalised(cluster: Any) -> Array:
    return cluster.results()["finalised"].sum("window").values
