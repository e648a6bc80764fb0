"""ScaleTestCluster: a simulated cluster to start, disturb and read, step by step."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vecsim.cluster import record, timeline, votes
from vecsim.cluster.actions import Actions, Draws
from vecsim.cluster.config import LONGEST_S, MOST_VERTICES, Run, tenths
from vecsim.cluster.roster import OneOf
from vecsim.cluster.state import State, ticks_ahead, widened
from vecsim.cluster.window import SEGMENT, ClusterShape, advance_windows, devices
from vecsim.errors import ConfigError, require
from vecsim.model import random
from vecsim.results.files import hash64
from vecsim.results.measures.variables import HEALTHY_SHARE
from vecsim.types import Adversary

MS = 1000  # ms of a second


class ScaleTestCluster(Actions):
    """Trials of one cluster, stepped together in simulated time.

    config: the keys of `vecsim.cluster.config`, as under `scenario:` of a scenario's configuration,
    or a parsed Run. Nothing runs until `start`; actions (see `vecsim.cluster.actions`) act at once,
    on every trial, and those of the timeline as their time comes. By hand, from a mapping, load is
    offered from `start` to `stop` without end, or for duration_s where that is given; another
    workload has no end again. From a Run, it is offered for its duration_s, whether nodes run or
    not. roster: one adversary of each class that other clusters of the same size have, to share one
    program. ConfigError where the configuration or an action of the timeline has no meaning.
    """

    def __init__(self, config: Mapping[str, Any] | Run, roster: tuple[Adversary, ...] = ()):
        super().__init__(config)
        self.planned = check_run(self.run)
        self.acted = 0  # how many of these actions have been done
        cluster, trials = self.run.cluster, self.run.trials
        point = random.point_key(self.run.seed, hash64(record.described(self.run)))
        self.key = random.trial_key(point, self.run.first_trial + np.arange(trials))
        self.draws = Draws(self.key)
        refused = self.draws.refused(cluster)
        spread = 2 * self.draws.uniform(cluster.nodes) - 1
        self.refused = refused.sum(axis=1)
        if len(roster) > 1:
            self.now = self.now._replace(adversary=OneOf.of(cluster.adversary, roster))
        self.mesh = devices(trials)
        self.records: list[record.WindowRecord] = []
        self.starts: list[int] = []
        self.lengths: list[int] = []
        self.state = State.start(cluster, self.key, refused, spread, self.shape.ahead)

    # What the cluster is

    @property
    def shape(self) -> ClusterShape:
        """What the program of the next windows is compiled for: it has room for all protocols and
        latency spikes of the timeline, and for those in force."""
        cluster, rule = self.run.cluster, self.now.rule
        rules = [cluster.protocol, rule, *timeline.rules(self.run.timeline, cluster.protocol)]
        extra_ms = max(timeline.spikes_ms(self.run.timeline), float(self.now.extra_ms))
        return ClusterShape(
            nodes=cluster.nodes,
            samples=self.run.sampled_vertices,
            most_k=min(max(rule.k for rule in rules), cluster.nodes),
            spare=max(rule.k - rule.alpha for rule in rules) + 1,
            parents=cluster.parents,
            disputed=cluster.double_spend_share > 0,
            ahead=ticks_ahead(cluster, rules, extra_ms),
        )

    @property
    def running(self) -> np.ndarray:
        """Nodes that run, int [trials]."""
        return self.state.nodes.running.sum(axis=1)

    @property
    def byzantine(self) -> int:
        """Byzantine nodes of the configuration, refused and excluded ones included."""
        return self.run.cluster.byzantine

    @property
    def sides(self) -> np.ndarray:
        """Sides of the partition in force, 0 where there is none, int [trials]."""
        count = np.array([len(np.unique(side)) for side in self.state.nodes.side])
        return np.where(self.state.cut, count, 0)

    # Time

    def advance(self, seconds: float) -> None:
        """Let so much simulated time pass, in windows of at most `window_s`.

        seconds: above 0, in whole tenths; ConfigError otherwise, and where the run would be longer
        than a run may be or issue more vertices than can be counted.
        """
        passed = tenths("seconds", seconds)
        require(passed > 0, "seconds", seconds, "above 0")
        end, most = self.now_ms + passed, LONGEST_S * MS
        require(end <= most, "seconds", seconds, f"{(most - self.now_ms) / MS:g} that are left")
        while self.now_ms < end:
            self.step(end)

    def step(self, end_ms: int) -> None:
        """Run the next windows, at most one segment of them, up to a time (ms since the beginning)
        or the next action of the timeline, which is done when it is due."""
        self._act()
        planned = self.planned[self.acted :]
        self._step(self._windows(min(end_ms, planned[0][0]) if planned else end_ms))
        self._act()

    def _act(self) -> None:
        """Do what the timeline says for now."""
        while self.acted < len(self.planned) and self.planned[self.acted][0] <= self.now_ms:
            _, name, arguments = self.planned[self.acted]
            self.acted += 1
            getattr(self, name)(**arguments)

    def _windows(self, end_ms: int) -> list[int]:
        """Lengths (ms) of the next windows: one second until things have settled. None crosses the
        end of a latency spike."""
        now, lengths = self.now_ms, []
        stop = min([end_ms, *(at for at, _ in self.spikes)])
        while now < stop and len(lengths) < SEGMENT:
            whole = MS if now < self.settled_ms else self.run.window_s * MS
            lengths.append(min(whole, stop - now))
            now += lengths[-1]
        return lengths

    def _step(self, lengths: list[int]) -> None:
        """Run windows of these lengths (ms) in one call of the compiled segment; record them."""
        starts = self.now_ms + np.cumsum([0, *lengths])
        since = (starts - self.since_ms) / MS
        arrived = self.workload.issued(since[:-1], since[1:], self.key)
        arrived *= self.idle_since_ms is None
        issued = int((self.state.totals.issued + arrived.sum(axis=0)).max())
        require(issued <= MOST_VERTICES, "workload", issued, f"{MOST_VERTICES} vertices or fewer")
        self.state = widened(self.state, self.shape.ahead)
        padding = SEGMENT - len(lengths)
        arrived = np.pad(arrived.astype(np.int32), ((0, padding), (0, 0)))
        length = np.pad(np.asarray(lengths, np.int32), (0, padding))
        count = np.int32(len(lengths))
        found = advance_windows(self.shape, self.mesh, self.now, self.state, arrived, length, count)
        self.state, told = jax.device_get(found)
        self.records.append(jax.tree.map(lambda leaf: leaf[: len(lengths)], told))
        self.starts += starts[:-1].tolist()
        self.lengths += lengths
        for spike in [spike for spike in self.spikes if spike[0] <= self.now_ms]:
            self.spikes.remove(spike)
            self.now = self.now._replace(extra_ms=self.now.extra_ms - np.float32(spike[1]))
            self.disturbed()

    # What is read

    def results(self):
        """Everything recorded so far, an xarray.Dataset over trial, window and sample; ConfigError
        before the first window."""
        require(bool(self.records), "results", "empty", "after advance(seconds)")
        return record.dataset(self)

    def metrics(self) -> dict[str, np.ndarray]:
        """The metrics record so far: fifteen figures by name, each [trials]."""
        from vecsim.results.measures.measure import metrics

        return metrics(self.results())

    def is_healthy(self) -> np.ndarray:
        """Whether the guard holds and 90 % of what was offered in the last 10 s was finalised in
        them, bool [trials]. Where nothing was offered nothing is shown: not healthy."""
        if not self.records:
            return np.zeros(self.run.trials, bool)
        last = np.array(self.lengths)[::-1].cumsum() <= 10 * MS
        count = max(int(last.sum()), 1)
        tail = jax.tree.map(lambda *parts: np.concatenate(parts)[-count:], *self.records)
        offered, done = tail.issued.sum(0), tail.finalised.sum(0)
        return (tail.guard[-1] > 0) & (offered > 0) & (done >= HEALTHY_SHARE * offered)

    def sample_byzantine_answers(self, count: int) -> np.ndarray:
        """What misbehaving nodes answer to pollers of undisputed vertices, int [trials, count]: 1,
        0, or -1 for silence."""
        met = votes.Peers(*map(jnp.int32, (self.now.honest, 0, self.byzantine, 0)))

        def answer(shared, own):
            mix = votes.first_mix(self.now, met, (shared, shared))
            accept, told = votes.poll_chance(self.now, mix)
            return jnp.where(own < accept, 1, jnp.where(own < told, 0, -1))

        coins, own = (self.draws.uniform(count).astype(np.float32) for _ in range(2))
        return np.asarray(jax.vmap(jax.vmap(answer))(coins, own))


def check_run(run: Run) -> list[tuple[int, str, dict]]:
    """The timeline as [(ms, action, its arguments)], in order of time; ConfigError where one of its
    actions has no meaning.

    Each acts once on a cluster that is thrown away, before anything is compiled.
    """
    planned = timeline.schedule(run.timeline, run.duration_s)
    cluster = ScaleTestCluster(run._replace(trials=1, timeline=())) if planned else None
    for entry in run.timeline:
        name = entry["do"]
        try:
            getattr(cluster, name)(**timeline.arguments_of(entry))
        except ConfigError as error:
            raise ConfigError(f"timeline, {name} at {entry['at_s']:g} s: {error}") from None
        except (TypeError, ValueError) as error:
            raise ConfigError(f"timeline.{name}: {error}") from None
    return planned
