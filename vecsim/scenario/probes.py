"""Probes: what a scenario measures beside the run of its cluster.

A probe is a function of one variant's configuration; it gives values by the name of their metric:
one that holds for all trials, or [trial], or [trial, draw]. The simulator is imported only when a
probe runs.
"""

import copy
import json
import resource
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vecsim.results.layout import Array
from vecsim.results.measures.probed import METRICS, PROBED
from vecsim.scenario.config import criteria, simulated
from vecsim.scenario.judging import judge_all

Values = Mapping[str, ArrayLike]  # by metric: one for all trials, or [trial], or [trial, draw]
Config = Mapping[str, Any]  # of one variant

DRAWS = 20_000  # answers drawn in each trial: the standard error of a share is below 0.4 %
# Votes in each trial: so many that the Kolmogorov-Smirnov test, at 95 %, rejects distances above
# 0.03.
VOTES = 2_000
# Seconds of a cut, and as many afterwards. Each has one vote, so that the standard error of the
# share answered in a trial is 5 % at most.
CUT_S = 100
# Runs before and while the simulator's own memory is watched: what is compiled and cached once is
# there after the first two, and a leak of each of the six shows sixfold.
WARM_UP_RUNS, RUNS = 2, 6


def cluster_lifecycle(config: Config) -> Values:
    """Nodes that run, and vertices finalised, as a cluster is started, stopped and started again;
    each [trial]."""
    cluster = _stepped(config)
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
    cluster = _stepped(config)
    cluster.start()
    answers = cluster.sample_byzantine_answers(DRAWS)
    return {"byzantine_nodes": cluster.byzantine, "byzantine_answer": answers}


def messages_across_cut(config: Config) -> Values:
    """Votes of one random peer each while the cluster is cut in two, and afterwards: those across
    the cut are not answered. Without the defence, which would stop asking peers across it."""
    off = {"cluster": config["cluster"] | {"benching": False, "guard": False}}
    cluster = _stepped(_one_vote(dict(config) | off) | {"window_s": 1})
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
        found[f"answered_{name}"] = _attempts(data.isel(window=slice(start, start + CUT_S)))
    return found


def result_export(config: Config) -> Values:
    """Whether the JSON of a run keeps to its schema and is the same when it is written and read
    (bool), and how many sections it has."""
    from jsonschema import Draft202012Validator

    from vecsim.scenario import export

    data = _simulate(config)
    about = [c for c in criteria(config) if c.metric not in METRICS]
    exported = export.result_json(config, data, judge_all(about, data))
    read = json.loads(json.dumps(exported, allow_nan=False))
    valid = Draft202012Validator(export.schema()).is_valid(read)
    sections = set(exported["results"]) | {"anomalies", "test_status"} & set(exported)
    same = read == exported
    return {"export_valid": valid, "export_unchanged": same, "export_sections": len(sections)}


def performance_report(config: Config) -> Values:
    """The figures in a written performance report, and how many stand beside their baseline and
    are called a regression, an improvement or unchanged."""
    from vecsim.scenario import report
    from vecsim.scenario.verdict import ScenarioOutcome

    text = report.markdown(ScenarioOutcome(config, []), _simulate(config))
    lines = text.partition(f"## {report.BESIDE}\n\n")[2].partition("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    words = "regression", "improvement", "unchanged"
    judged = [row for row in rows if len(row) == 4 and all(row) and row[-1] in words]
    return {"report_figures": len(rows), "report_figures_judged": len(judged)}


def own_memory_while_stepping(config: Config) -> Values:
    """Growth of the simulator's own memory, per cent, over one long run, from the end of its first
    third to its end."""
    cluster = _stepped(config)
    cluster.start()
    third = config["duration_s"] / 3
    cluster.advance(third)
    before = own_memory_mb()
    cluster.advance(2 * third)
    return _growth(before)


def own_memory_over_runs(config: Config) -> Values:
    """Growth of the simulator's own memory, per cent, over repeated runs, after the first ones."""
    for _ in range(WARM_UP_RUNS):
        _simulate(config)
    before = own_memory_mb()
    for _ in range(RUNS):
        _simulate(config)
    return _growth(before)


def _growth(before: float) -> Values:
    """Growth of the simulator's own memory, per cent, since it was `before` MB."""
    return {"own_memory_growth_percent": 100 * (own_memory_mb() / before - 1)}


def own_memory_mb() -> float:
    """Resident memory of this process, MB (10^6 bytes): now, where the system tells it; otherwise
    its peak, taken to be in units of 1,000 bytes."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def _stepped(config: Config) -> Any:
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


def _simulate(config: Config) -> Any:
    from vecsim.cluster import simulate

    return simulate(copy.deepcopy(simulated(config)))


def _speed(name: str, config: Config) -> Values:
    """Measured times, in nanoseconds, of one part of vecsim: the best of as many passes as there
    are trials, the same for all of them. name: "speed_of_" and a function of `speed`."""
    from vecsim.scenario import speed

    times = speed.repeated(getattr(speed, name.removeprefix("speed_of_")), config["trials"])
    return {f"{each}_ns": value for each, value in times.items()}


# The probes by name, as scenarios name them.
PROBES: dict[str, Callable[[Config], Values]] = {
    probe.__name__: probe
    for probe in (
        *(cluster_lifecycle, network_round_trips, byzantine_answers, messages_across_cut),
        *(result_export, performance_report, own_memory_while_stepping, own_memory_over_runs),
    )
} | {name: partial(_speed, name) for name in PROBED if name.startswith("speed_of_")}
