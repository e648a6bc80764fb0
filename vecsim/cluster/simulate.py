"""A whole run: the timeline's actions at their times, the load, and a drain."""

from collections.abc import Mapping
from typing import Any

from vecsim.cluster import actions
from vecsim.cluster.config import parse
from vecsim.cluster.front import ScaleTestCluster


def simulate(config: Mapping[str, Any]):
    """Run what a configuration describes; returns its xarray.Dataset.

    config: the mapping under `scenario:`; see `vecsim.cluster.config`.
    """
    run = parse(config)
    cluster = ScaleTestCluster(run)
    planned = actions.schedule(run.timeline, run.duration_s)
    end = run.duration_s + run.drain_s
    cluster.start()
    cluster.settled_ms = 60_000  # the first minute: benches and exclusions
    for at_ms, entry in planned:
        if at_ms > cluster.now_ms:
            cluster.advance((at_ms - cluster.now_ms) / 1000)
        arguments = {key: value for key, value in entry.items() if key != "do"}
        getattr(cluster, entry["do"])(**arguments)
    if cluster.now_ms < end * 1000:
        cluster.advance(end - cluster.now_ms / 1000)
    return cluster.results()
