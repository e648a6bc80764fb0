"""A whole run: the timeline's actions at their times, the load, and a drain."""

import time
from collections.abc import Callable, Mapping
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
    keep: bool = False,
    tell: Callable[[float, float], None] = lambda now_s, end_s: None,
):
    """Run what a configuration describes; returns its xarray.Dataset.

    config: the mapping under `scenario:`, or a parsed Run; see `vecsim.cluster.config`. folder:
    where the run is saved as it goes; a run that was interrupted goes on from there, with the same
    results. At the end the files are removed, unless `keep` leaves that (`checkpoint.remove`) to
    the caller, who has yet to save the results. roster: see ScaleTestCluster. tell: hears of the
    simulated time that has passed, and of its end.
    """
    run = config if isinstance(config, Run) else parse(config)
    planned = check(run)
    cluster = ScaleTestCluster(run, roster)
    checkpoint = Checkpoint(folder, cluster) if folder else None
    done = checkpoint.load() if checkpoint else 0
    if not cluster.records:
        cluster.start()
        cluster.settled_ms = SETTLING_MS
    saved, end_s = time.monotonic(), run.duration_s + run.drain_s
    tell(cluster.now_ms / 1000, end_s)
    for number, (at_ms, entry) in enumerate([*planned, (1000 * end_s, {})]):
        while cluster.now_ms < at_ms:
            cluster.step(at_ms)
            tell(cluster.now_ms / 1000, end_s)
            if checkpoint and time.monotonic() - saved > SAVE_EVERY_S:
                checkpoint.save(number)
                saved = time.monotonic()
        if entry and number >= done:
            arguments = {key: value for key, value in entry.items() if key != "do"}
            getattr(cluster, entry["do"])(**arguments)
    if checkpoint and keep:
        checkpoint.save(len(planned))
    elif checkpoint:
        checkpoint.remove()
    return cluster.results()


def check(run: Run) -> list[tuple[int, dict]]:
    """What happens when; ConfigError where an action of the timeline has no meaning.

    Each acts once on a cluster that is thrown away, before anything is compiled.
    """
    planned = timeline.schedule(run.timeline, run.duration_s)
    if planned:
        _rehearse(run)
    return planned


def _rehearse(run: Run) -> None:
    cluster = ScaleTestCluster(run._replace(trials=1))
    for entry in run.timeline:
        name = entry["do"]
        skipped = ("at_s", "every_s", "times", "do")
        arguments = {key: value for key, value in entry.items() if key not in skipped}
        try:
            getattr(cluster, name)(**arguments)
        except ConfigError as error:
            raise ConfigError(f"timeline, {name} at {entry['at_s']:g} s: {error}") from None
        except (TypeError, ValueError) as error:
            raise ConfigError(f"timeline.{name}: {error}") from None
