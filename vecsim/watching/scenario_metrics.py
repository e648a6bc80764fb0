"""The metrics of a scenario: what each reads of its cluster, and whether that is modelled."""

from collections.abc import Mapping
from typing import NamedTuple

from vecsim.results.measures.per_window import SPAN_S
from vecsim.results.measures.variables import MODELLED
from vecsim.watching.metric import Metric

_OWN = ("scenario", "variant", "output", "source")  # labels of every metric of a cluster
_RECENT = f"over the last {SPAN_S:g} s"  # of simulated time


class Series(NamedTuple):
    """What a metric reads: a statistic of a series of the run, times a factor."""

    name: str
    statistic: str
    factor: float = 1.0


class Shown(NamedTuple):
    """A metric and, by the value of its last label ("" where it has none), what it reads."""

    metric: Metric
    series: Mapping[str, Series]


def _shown(name: str, help: str, label: str = "", **series: tuple) -> Shown:
    """label: the name of the last label. series: by its value, or one alone; a leading underscore
    is dropped."""
    found = {key.lstrip("_"): Series(*each) for key, each in series.items()}
    modelled = {each.name in MODELLED for each in found.values()}
    assert len(modelled) == 1, name  # or it would have two sources
    labels = (*_OWN, label) if label else _OWN
    source = "modelled" if modelled.pop() else "measured"
    return Shown(Metric(f"vecsim_scenario_{name}", help, labels, source), found)


def _standing(name: str, help: str, series: str) -> Shown:
    return _shown(name, help, _=(series, "last"))


_MILLI, _MEGA, _PERCENT, _MEGABITS = 1e-3, 1e6, 1e-2, 1e6 / 8
SHOWN = (
    _shown(
        "finalised_vertices_per_second",
        f"Throughput (TPS): vertices finalised per simulated second, {_RECENT}.",
        _=("tps", "last"),
    ),
    _shown(
        "offered_vertices_per_second",
        f"Load: vertices that clients issued per simulated second, {_RECENT}.",
        _=("load_tps", "last"),
    ),
    _shown(
        "latency_seconds",
        f"From issue to finalisation at the issuer, percentiles {_RECENT}.",
        "percentile",
        _50=("latency_ms", "p50", _MILLI),
        _95=("latency_ms", "p95", _MILLI),
        _99=("latency_ms", "p99", _MILLI),
    ),
    _shown(
        "rounds",
        f"Polls until a vertex was finalised, mean {_RECENT}.",
        _=("rounds_to_finalise", "mean"),
    ),
    _shown(
        "confidence",
        f"Confidence at finalisation, as the rule defines it, mean {_RECENT}.",
        _=("confidence", "mean"),
    ),
    _standing("detected_nodes", "Byzantine nodes excluded or refused so far.", "detected"),
    _standing("false_positive_nodes", "Honest nodes excluded so far.", "excluded_honest"),
    _standing("guard", "Share of the trials in which the quorum guard holds, 0 to 1.", "guard"),
    _standing("waiting_vertices", "Vertices that wait for admission: the queue.", "waiting"),
    _standing("in_flight_vertices", "Vertices without an end, waiting ones included.", "in_flight"),
    _standing("running_nodes", "Members that run.", "running"),
    _standing("progressing_nodes", "Honest nodes on sides whose guard holds.", "progressing"),
    _standing("sides", "Sides of the network: 1 while it is whole.", "sides"),
    _shown(
        "node_cpu_ratio",
        f"CPU of a node, 1 is all that it has: mean over nodes, and the busiest, {_RECENT}.",
        "node",
        mean=("cpu_percent", "mean", _PERCENT),
        busiest=("peak_cpu_percent", "max", _PERCENT),
    ),
    _shown(
        "node_memory_bytes",
        f"Memory of a node: mean over nodes, and the one that uses most, {_RECENT}.",
        "node",
        mean=("memory_mb", "mean", _MEGA),
        busiest=("peak_memory_mb", "max", _MEGA),
    ),
    _shown(
        "node_network_bytes_per_second",
        f"What a node sends: payload of its transport, and headers of IP and UDP, {_RECENT}.",
        "part",
        payload=("network_mbps", "mean", _MEGABITS),
        headers=("header_mbps", "mean", _MEGABITS),
    ),
    _shown(
        "node_disk_operations_per_second",
        f"Reads and writes of a node's disk, {_RECENT}.",
        "operation",
        read=("read_iops", "mean"),
        write=("write_iops", "mean"),
    ),
    _shown(
        "node_disk_latency_seconds",
        f"Time of a read and of a write, {_RECENT}.",
        "operation",
        read=("read_latency_ms", "mean", _MILLI),
        write=("write_latency_ms", "mean", _MILLI),
    ),
    _shown(
        "node_demand_ratio",
        f"What the load demands of a resource, 1 is all that there is, the most {_RECENT}.",
        "resource",
        cpu=("utilisation_cpu", "max"),
        network=("utilisation_network", "max"),
        disk=("utilisation_disk", "max"),
        memory=("utilisation_memory", "max"),
    ),
    _shown("node_storage_bytes", "Stored on a node's disk.", _=("storage_mb", "last", _MEGA)),
    _shown(
        "node_compaction_bytes",
        "What waits for compaction on a node's disk.",
        _=("compaction_mb", "last", _MEGA),
    ),
    _shown(
        "reputation",
        "Mean reputation of members, 0 to 1.",
        "members",
        byzantine=("reputation_byzantine", "last"),
        honest=("reputation_honest", "last"),
    ),
)


def _metric(name: str, help: str, labels: tuple[str, ...] = _OWN) -> Metric:
    return Metric(f"vecsim_scenario_{name}", help, labels, "measured" if labels == _OWN else "")


# Of the run, by name.
OF_RUN = {
    "simulated_seconds": "Simulated time that has passed.",
    "simulated_end_seconds": "Simulated time at which the run ends.",
    "last_window_timestamp_seconds": "When the last windows were simulated, seconds since 1970. "
    "Probes, which come after them, simulate none.",
    "nodes": "Nodes of the cluster, Byzantine ones included.",
    "byzantine_nodes": "Byzantine nodes of the cluster.",
    "trials": "Trials that run side by side; other metrics are means over them.",
}
# Counted since its beginning, by variable.
COUNTED = {
    "issued": ("issued_vertices_total", "Vertices that clients issued."),
    "finalised": ("finalised_vertices_total", "Vertices finalised."),
    "rejected": ("rejected_vertices_total", "Vertices rejected in favour of a rival."),
    "given_up": ("given_up_vertices_total", "Vertices given up for good."),
    "dropped": ("dropped_vertices_total", "Vertices that found the admission queue full."),
    "timed_out": ("timed_out_attempts_total", "Attempts that ended without a decision."),
    "oom_kills": ("killed_nodes_total", "Nodes killed for memory, of which there is a model."),
}
# Of the command, by name.
OF_COMMAND = {
    "suite_scenarios": "Scenarios of the command.",
    "suite_done": "Scenarios that are done.",
    "suite_failed": "Those of them that do not show what they should.",
    "resident_memory_bytes": "Physical memory that vecsim itself takes.",
    "memory_limit_bytes": "Memory of the machine, or the limit of the container or control group.",
}
SCENARIO_METRICS = {
    each.name.removeprefix("vecsim_scenario_"): each
    for each in (
        *(_metric(name, help) for name, help in OF_RUN.items()),
        *(each.metric for each in SHOWN),
        *(_metric(name, help) for name, help in COUNTED.values()),
        *(_metric(name, help, ("output",)) for name, help in OF_COMMAND.items()),
    )
}
