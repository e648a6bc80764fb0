"""Probes: what a scenario measures beside the run of its cluster.

A probe is a function of one variant's configuration; it gives values by the name of their metric:
one that holds for all trials, or [trial], or [trial, draw]. The simulator is imported only when a
probe runs.
"""

import copy
import json
import resource
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from vecsim.results.measures.probed import METRICS, PROBED
from vecsim.scenario import cluster_probes
from vecsim.scenario.cluster_probes import Config, Values, stepped
from vecsim.scenario.config import criteria, simulated
from vecsim.scenario.judging import judge_all

# Runs before and while the simulator's own memory is watched: what is compiled and cached once is
# there after the first two, and a leak of each of the six shows sixfold.
WARM_UP_RUNS, RUNS = 2, 6


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
    cluster = stepped(config)
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
        *(cluster_probes.cluster_lifecycle, cluster_probes.network_round_trips),
        *(cluster_probes.byzantine_answers, cluster_probes.messages_across_cut),
        *(result_export, performance_report, own_memory_while_stepping, own_memory_over_runs),
    )
} | {name: partial(_speed, name) for name in PROBED if name.startswith("speed_of_")}
