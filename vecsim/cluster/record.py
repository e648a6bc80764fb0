"""What a cluster's windows record, and the dataset that they make."""

import json
from typing import Any, NamedTuple

import jax
import numpy as np

from vecsim.cluster.config import Run
from vecsim.cluster.constants import cost_usd

SAMPLED = ("latency_ms", "rounds", "confidence", "disputed", "weight", "outcome")
# name -> (meaning, unit, modelled or simulated)
VARIABLES: dict[str, tuple[str, str]] = {
    "issued": ("vertices issued by clients in the window", "vertices"),
    "admitted": ("vertices whose first polls began in the window", "vertices"),
    "finalised": ("vertices finalised in the window", "vertices"),
    "rejected": ("vertices rejected in favour of a rival in the window", "vertices"),
    "given_up": ("vertices given up for good in the window", "vertices"),
    "dropped": ("vertices that found the admission queue full in the window", "vertices"),
    "timed_out": ("attempts that ended without a decision, booked in the window", "attempts"),
    "oom_kills": ("nodes killed for memory in the window", "nodes"),
    "waiting": ("vertices that wait for admission at the end of the window", "vertices"),
    "in_flight": ("vertices without an end at the end of the window, waiting included", "vertices"),
    "running": ("members that run at the end of the window", "nodes"),
    "guard": ("whether the quorum guard holds on some side: 1 or 0", ""),
    "sides": ("sides of the network: 1 while it is whole", "sides"),
    "progressing": ("honest nodes on sides whose guard holds", "nodes"),
    "excluded_byzantine": ("Byzantine nodes excluded so far", "nodes"),
    "excluded_honest": ("honest nodes excluded so far", "nodes"),
    "refused": ("identities refused at admission", "nodes"),
    "skewed": ("members whose clock is off", "nodes"),
    "refused_clocks": ("honest members whose clock is too far off for their peers", "nodes"),
    "divergent": ("vertices on which honest nodes decided differently, so far", "vertices"),
    "lost": ("vertices without a trace at the end of the window; must be 0", "vertices"),
    "doubled": ("vertices that ended twice by the end of the window; must be 0", "vertices"),
    "depth": ("longest chain of the DAG at the end of the window", "vertices"),
    "benched": ("share of the members that a node leaves out of its samples", ""),
    "cpu_percent": ("CPU of a node, mean over running nodes, modelled", "%"),
    "peak_cpu_percent": ("CPU of the busiest node, modelled", "%"),
    "memory_mb": ("memory of a node, mean over running nodes, modelled", "MB"),
    "peak_memory_mb": ("memory of the node that uses most, modelled", "MB"),
    "network_mbps": ("transport payload that a node sends, modelled", "Mbit/s"),
    "header_mbps": ("IP and UDP headers that a node sends, modelled", "Mbit/s"),
    "read_iops": ("disk reads of a node, modelled", "1/s"),
    "write_iops": ("disk writes of a node, modelled", "1/s"),
    "read_latency_ms": ("time of a disk read, modelled up to 99 % use, 50 ms", "ms"),
    "write_latency_ms": ("time of a disk write, modelled up to 99 % use, 50 ms", "ms"),
    "utilisation_cpu": ("CPU demanded by the offered load, share of a core, modelled", ""),
    "utilisation_network": (
        "traffic demanded by the offered load, share of the link, modelled",
        "",
    ),
    "utilisation_disk": (
        "disk demanded by the offered load, share of its bandwidth or operations, modelled",
        "",
    ),
    "utilisation_memory": ("largest share of a node's memory limit in use, modelled", ""),
    "compaction_mb": ("bytes that wait for compaction on a node, modelled", "MB"),
    "storage_mb": ("stored on a node's disk, modelled", "MB"),
    "reputation_byzantine": ("mean reputation of Byzantine members, 0 to 1", ""),
    "reputation_honest": ("mean reputation of honest members, 0 to 1", ""),
    "latency_ms": ("from issue to finalisation at the issuer; missing unless finalised", "ms"),
    "rounds": ("polls of the attempt", "polls"),
    "confidence": ("confidence at finalisation; missing unless finalised", ""),
    "disputed": ("whether the sampled vertex has a rival: 1 or 0", ""),
    "weight": ("vertices for which the sampled one stands", "vertices"),
    "outcome": ("0 timed out, 1 finalised, 2 rejected, -1 no vertex", ""),
}


class Record(NamedTuple):
    """What is known of a window; see VARIABLES for meanings and units."""

    issued: Any
    admitted: Any
    finalised: Any
    rejected: Any
    given_up: Any
    dropped: Any
    timed_out: Any
    oom_kills: Any
    waiting: Any
    in_flight: Any
    running: Any
    guard: Any
    sides: Any
    progressing: Any
    excluded_byzantine: Any
    excluded_honest: Any
    skewed: Any
    refused_clocks: Any
    divergent: Any
    lost: Any
    doubled: Any
    depth: Any
    benched: Any
    cpu_percent: Any
    peak_cpu_percent: Any
    memory_mb: Any
    peak_memory_mb: Any
    network_mbps: Any
    header_mbps: Any
    read_iops: Any
    write_iops: Any
    read_latency_ms: Any
    write_latency_ms: Any
    utilisation_cpu: Any
    utilisation_network: Any
    utilisation_disk: Any
    utilisation_memory: Any
    compaction_mb: Any
    storage_mb: Any
    reputation_byzantine: Any
    reputation_honest: Any
    latency_ms: Any  # [samples]
    rounds: Any
    confidence: Any
    disputed: Any
    weight: Any
    outcome: Any


def described(run: Run) -> dict[str, Any]:
    """Everything that decides the run's results, but for its length, as plain values."""
    cluster = run.cluster._asdict()
    if not run.cluster.double_votes:  # the keys of random numbers depend on what stands here
        del cluster["double_votes"]
    for name in ("adversary", "protocol"):
        value = cluster[name]
        cluster[name] = {"class": type(value).__name__, **vars(value)}
    return {
        "cluster": cluster,
        "workload": {"kind": run.workload.kind, **run.workload.values},
        "timeline": list(run.timeline),
        "window_s": run.window_s,
    }


def dataset(cluster):
    """The cluster's records so far as an xarray.Dataset over trial, window and sample."""
    import xarray as xr

    run = cluster.run
    whole = jax.tree.map(lambda *parts: np.concatenate(parts), *cluster.records)
    columns = whole._asdict() | {"refused": np.broadcast_to(cluster.refused, whole.issued.shape)}
    variables = {}
    for name, (meaning, unit) in VARIABLES.items():
        values = np.moveaxis(columns[name], 1, 0)  # trials first
        dims = ("trial", "window", "sample")[: values.ndim]
        variables[name] = (dims, values, {"long_name": meaning, "units": unit})
    cost = cost_usd(run.cluster.nodes, sum(cluster.lengths) / 1000)
    return xr.Dataset(
        variables,
        coords={
            "time_s": ("window", np.array(cluster.starts) / 1000, {"units": "s"}),
            "length_s": ("window", np.array(cluster.lengths) / 1000, {"units": "s"}),
        },
        attrs={
            "config": json.dumps(described(run), sort_keys=True),
            "duration_s": min(cluster.load_ends_s, sum(cluster.lengths) / 1000),
            "drain_s": run.drain_s,
            "nodes": run.cluster.nodes,
            "byzantine": run.cluster.byzantine,
            "max_rounds": run.cluster.protocol.max_rounds,
            "cost_usd": round(cost, 2),
            "seed": run.seed,
        },
    )
