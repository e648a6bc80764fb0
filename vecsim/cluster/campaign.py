"""A whole run: the timeline's actions at their times, the load, and a drain."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vecsim.cluster.checkpoint import Checkpoint
from vecsim.cluster.config import Run, parse_run
from vecsim.cluster.scale_test_cluster import ScaleTestCluster, check_run
from vecsim.types import Adversary

__all__ = ["check_run", "simulate"]

# s of wall time between saves: about as much work is lost when a run is killed.
SAVE_EVERY_S = 5.0
# ms of windows of one second at the start, while nodes bench and exclude one another.
SETTLING_MS = 60_000


def simulate(
    config: Mapping[str, Any] | Run,
    folder: Path | None = None,
    roster: tuple[Adversary, ...] = (),
    short: bool = True,
    tell: Callable[[float, float], None] = lambda now_s, end_s: None,
    show: Callable[[ScaleTestCluster], None] = lambda cluster: None,
):
    """Run what a configuration describes; returns its xarray.Dataset.

    config: the mapping under `scenario:`, or a parsed Run; see `vecsim.cluster.config`. folder:
    where the run is saved as it goes; a run that was interrupted goes on from there, with the same
    results. The caller removes the files (`checkpoint.remove_checkpoint`) once it has saved the
    results. short: whether a run that ends before it was first saved is saved too. roster: see
    ScaleTestCluster. tell: is called with the simulated time that has passed, and its end, in
    seconds; show, beside it, with the cluster, which is only to be read. ConfigError where the
    configuration has no meaning; StoreError where what was saved is damaged or of another run.
    """
    run = config if isinstance(config, Run) else parse_run(config)
    cluster = ScaleTestCluster(run, roster)
    checkpoint = Checkpoint(folder, cluster) if folder else None
    cluster.acted = checkpoint.load() if checkpoint else 0
    if not cluster.records:
        cluster.start()
        cluster.settled_ms = SETTLING_MS
    saved, end_s = time.monotonic(), run.duration_s + run.drain_s
    tell(cluster.now_ms / 1000, end_s)
    show(cluster)
    while cluster.now_ms < 1000 * end_s:
        cluster.step(round(1000 * end_s))
        tell(cluster.now_ms / 1000, end_s)
        show(cluster)
        if checkpoint and time.monotonic() - saved > SAVE_EVERY_S:
            checkpoint.save(cluster.acted)
            saved = time.monotonic()
    if checkpoint and (short or checkpoint.saved):
        checkpoint.save(cluster.acted)
    return cluster.results()
