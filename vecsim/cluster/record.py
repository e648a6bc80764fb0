"""What a cluster's windows record, and the dataset that they make.

    a segment's record, by variable     [windows, trials], or [windows, trials, samples]
    the dataset, by variable            (trial, window), or (trial, window, sample)

Segments are put end to end along the windows.
"""

import json
from collections import namedtuple
from typing import Any

import jax
import numpy as np

from vecsim.cluster.config import Run
from vecsim.cluster.constants import cost_usd
from vecsim.results.measures.variables import VARIABLES

# One window of all trials: a value [trials], or [trials, samples], of every variable but the
# identities refused at admission, of which the run is told once.
WindowRecord = namedtuple("Record", [name for name in VARIABLES if name != "refused"])


def described(run: Run) -> dict[str, Any]:
    """Everything that decides the run's results, as plain values: all but its length, its seed and
    the numbers of its trials and of its sampled vertices."""
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


def dataset(cluster, since_ms: int = 0):
    """The cluster's records so far as an xarray.Dataset over trial, window and sample.

    Each variable has its meaning and unit in its attributes; coordinates of a window are its start
    and its length in seconds. since_ms: segments that end before it are left out, except the last.
    """
    import xarray as xr

    run = cluster.run
    segment, first = len(cluster.records) - 1, len(cluster.starts)
    first -= len(cluster.records[segment].issued)
    while first > 0 and cluster.starts[first] > since_ms:
        segment -= 1
        first -= len(cluster.records[segment].issued)
    starts, lengths = cluster.starts[first:], cluster.lengths[first:]
    whole = jax.tree.map(lambda *parts: np.concatenate(parts), *cluster.records[segment:])
    columns = whole._asdict() | {"refused": np.broadcast_to(cluster.refused, whole.issued.shape)}
    variables = {}
    for name, (meaning, unit) in VARIABLES.items():
        values = np.moveaxis(columns[name], 1, 0)  # trials first
        dims = ("trial", "window", "sample")[: values.ndim]
        variables[name] = (dims, values, {"long_name": meaning, "units": unit})
    length_s = sum(cluster.lengths) / 1000
    return xr.Dataset(
        variables,
        coords={
            "time_s": ("window", np.array(starts) / 1000, {"units": "s"}),
            "length_s": ("window", np.array(lengths) / 1000, {"units": "s"}),
        },
        attrs={
            "config": json.dumps(described(run), sort_keys=True),
            "duration_s": min(cluster.load_ends_s, length_s),
            "drain_s": run.drain_s,
            "nodes": run.cluster.nodes,
            "byzantine": run.cluster.byzantine,
            "max_rounds": run.cluster.protocol.max_rounds,
            "cost_usd": round(cost_usd(run.cluster.nodes, length_s), 2),
            "seed": run.seed,
        },
    )
