"""A whole run: the timeline's actions at their times, the load, and a drain."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vecsim.cluster import timeline
from vecsim.cluster.checkpoint import Checkpoint
from vecsim.cluster.config import Run, parse
from vecsim.cluster.front import ScaleTestCluster
from vecsim.errors import ConfigError
from vecsim.types import Adversary

SAVE_EVERY_S = 5.0  # wall time
SETTLING_MS = 60_000  # windows of one second at the start: benches and exclusions


def simulate(
    config: Mapping[str, Any] | Run,
    folder: Path | None = None,
    roster: tuple[Adversary, ...] = (),
):
    """Run what a configuration describes; returns its xarray.Dataset.

    config: the mapping under `scenario:`, or a parsed Run; see `vecsim.cluster.config`. folder:
    where the run is saved as it goes; a run that was interrupted goes on from there, with the same
    results. The files are removed at the end. roster: see ScaleTestCluster.
    """
    run = config if isinstance(config, Run) else parse(config)
    planned = timeline.schedule(run.timeline, run.duration_s)
    rehearse(run)
    cluster = ScaleTestCluster(run, roster)
    checkpoint = Checkpoint(folder, cluster) if folder else None
    done = checkpoint.load() if checkpoint else 0
    if not cluster.records:
        cluster.start()
        cluster.settled_ms = SETTLING_MS
    saved = time.monotonic()
    for number, (at_ms, entry) in enumerate(
        [*planned, (1000 * (run.duration_s + run.drain_s), {})]
    ):
        while cluster.now_ms < at_ms:
            cluster.step(at_ms)
            if checkpoint and time.monotonic() - saved > SAVE_EVERY_S:
                checkpoint.save(number)
                saved = time.monotonic()
        if entry and number >= done:
            arguments = {key: value for key, value in entry.items() if key != "do"}
            getattr(cluster, entry["do"])(**arguments)
    if checkpoint:
        checkpoint.remove()
    return cluster.results()


def rehearse(run: Run) -> None:
    """ConfigError where an action of the timeline is told something without meaning: each acts
    once on a cluster that is thrown away, before anything is compiled."""
    cluster = ScaleTestCluster(run._replace(trials=1))
    for entry in run.timeline:
        name = entry["do"]
        skipped = ("at_s", "every_s", "times", "do")
        arguments = {key: value for key, value in entry.items() if key not in skipped}
        try:
            getattr(cluster, name)(**arguments)
        except ConfigError:
            raise
        except (TypeError, ValueError) as error:
            raise ConfigError(f"timeline.{name}: {error}") from None
