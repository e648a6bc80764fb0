"""ScaleTestCluster: a simulated cluster to start, disturb and read, step by step."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from vecsim import random
from vecsim.cluster import actions, record, timeline
from vecsim.cluster.actions import Actions
from vecsim.cluster.config import Run, constants, parse
from vecsim.cluster.program import SEGMENT, advance, devices
from vecsim.cluster.record import Record
from vecsim.cluster.roster import OneOf
from vecsim.cluster.state import Conditions, State
from vecsim.cluster.window import Shape
from vecsim.errors import require
from vecsim.types import Adversary

MS = 1000


class ScaleTestCluster(Actions):
    """Trials of one cluster, stepped together in simulated time.

    config: as under `scenario:` of a scenario's configuration, or a parsed Run. Nothing runs until
    `start`; actions (see `vecsim.cluster.actions`) act at once, on every trial. roster: one
    adversary of each class that other clusters of the same size have, to share one program.
    """

    def __init__(self, config: Mapping[str, Any] | Run, roster: tuple[Adversary, ...] = ()):
        self.run = config if isinstance(config, Run) else parse(config)
        cluster, trials = self.run.cluster, self.run.trials
        text = json.dumps(record.described(self.run), sort_keys=True)
        digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        point = random.point_key(self.run.seed, digest)
        self.key = random.trial_key(point, self.run.first_trial + np.arange(trials))
        self.draws = actions.Draws(self.key)
        refused = self.draws.refused(cluster)
        spread = 2 * self.draws.uniform(cluster.nodes) - 1
        self.refused = refused.sum(axis=1)
        self.now = Conditions.start(cluster)
        if len(roster) > 1:
            self.now = self.now._replace(adversary=OneOf.of(cluster.adversary, roster))
        self.state: State = State.start(cluster, self.key, refused, spread)
        self.workload = self.run.workload
        self.since_ms = 0  # when the workload in force began
        self.settled_ms = 0  # until when windows last one second
        self.mesh = devices(trials)
        self.records: list[Record] = []
        self.starts: list[int] = []
        self.lengths: list[int] = []
        self.spikes: list[tuple[int, float]] = []  # when each ends, and what it adds

    # What the cluster is

    @property
    def shape(self) -> Shape:
        cluster, rule = self.run.cluster, self.now.rule
        rules = [cluster.protocol, rule, *timeline.rules(self.run.timeline, cluster.protocol)]
        return Shape(
            nodes=cluster.nodes,
            samples=self.run.sampled_vertices,
            most_k=min(max(rule.k for rule in rules), cluster.nodes),
            spare=max(rule.k - rule.alpha for rule in rules) + 1,
            parents=cluster.parents,
            disputed=cluster.double_spend_share > 0,
        )

    @property
    def now_ms(self) -> int:
        return int(self.state.now_ms[0])

    @property
    def running(self) -> np.ndarray:
        """Nodes that run, of each trial."""
        return (self.state.nodes.up & self.state.nodes.member).sum(axis=1)

    @property
    def byzantine(self) -> int:
        return self.run.cluster.byzantine

    @property
    def sides(self) -> np.ndarray:
        """Sides of the partition in force, 0 where there is none, of each trial."""
        state = self.state
        cut = (state.cut_since_ms >= 0) & (state.healed_ms < 0)
        count = np.array([len(np.unique(side)) for side in state.nodes.side])
        return np.where(cut, count, 0)

    # Time

    def advance(self, seconds: float) -> None:
        """Let so much simulated time pass, in windows of at most `window_s`."""
        require(seconds > 0, "seconds", seconds, "above 0")
        end = self.now_ms + round(seconds * MS)
        while self.now_ms < end:
            self.step(end)

    def step(self, end_ms: int) -> None:
        """Run the next windows, at most one segment of them, up to a time."""
        self._step(self._windows(end_ms))

    def _windows(self, end_ms: int) -> list[int]:
        """Lengths (ms) of the next windows: one second until things have settled."""
        now, lengths = self.now_ms, []
        stop = min([end_ms, *(at for at, _ in self.spikes)])
        while now < stop and len(lengths) < SEGMENT:
            whole = MS if now < self.settled_ms else self.run.window_s * MS
            length = min(whole, stop - now)
            lengths.append(length)
            now += length
        return lengths

    def _step(self, lengths: list[int]) -> None:
        starts = self.now_ms + np.cumsum([0, *lengths])
        since = (starts - self.since_ms) / MS
        arrived = self.workload.issued(since[:-1], since[1:], self.key)
        padding = SEGMENT - len(lengths)
        arrived = np.pad(arrived.astype(np.int32), ((0, padding), (0, 0)))
        length = np.pad(np.asarray(lengths, np.int32), (0, padding))
        count = np.int32(len(lengths))
        found = advance(self.shape, self.mesh, self.now, self.state, arrived, length, count)
        self.state, told = jax.device_get(found)
        self.records.append(jax.tree.map(lambda leaf: leaf[: len(lengths)], told))
        self.starts += starts[:-1].tolist()
        self.lengths += lengths
        for at, extra in [spike for spike in self.spikes if spike[0] <= self.now_ms]:
            self.spikes.remove((at, extra))
            self.now = self.now._replace(extra_ms=self.now.extra_ms - np.float32(extra))
            self.disturbed()

    def disturbed(self) -> None:
        """Something has happened: windows of one second for a while."""
        settled = self.now_ms + math.ceil(constants().settle_s * MS)
        self.settled_ms = max(self.settled_ms, settled)

    # What is read

    def results(self):
        """Everything recorded so far, an xarray.Dataset over trial, window and sample."""
        require(bool(self.records), "results", "empty", "after advance(seconds)")
        return record.dataset(self)

    def metrics(self) -> dict[str, np.ndarray]:
        """The metrics record so far: one value per trial for each figure."""
        from vecsim.scenario.record import metrics

        return metrics(self.results())

    def is_healthy(self) -> np.ndarray:
        """Whether the guard holds and 10 s finalised 90 % of what was offered, per trial."""
        if not self.records:
            return np.zeros(self.run.trials, bool)
        last = np.array(self.lengths)[::-1].cumsum() <= 10 * MS
        count = max(int(last.sum()), 1)
        tail = jax.tree.map(lambda *parts: np.concatenate(parts)[-count:], *self.records)
        return (tail.guard[-1] > 0) & (tail.finalised.sum(0) >= 0.9 * tail.issued.sum(0))

    def sample_round_trips(self, count: int) -> np.ndarray:
        """Round trips between `count` random pairs of nodes now, ms [trials, count].

        NaN where the query or the reply is lost, where the peer is down, or across a cut.
        """
        nodes, n = self.state.nodes, self.run.cluster.nodes
        times, lost, first, second = (self.draws.uniform(count) for _ in range(4))
        asker = (first * n).astype(int)
        peer = (asker + 1 + (second * (n - 1)).astype(int)) % n
        low, high = self.now.round_trip_ms
        took = low + (high - low) * times + self.now.extra_ms

        def of(values, which):
            return np.take_along_axis(np.asarray(values), which, axis=1)

        met = of(nodes.up, asker) & of(nodes.up, peer)
        met &= (self.sides == 0)[:, None] | (of(nodes.side, asker) == of(nodes.side, peer))
        met &= lost < (1 - self.now.loss) ** 2
        return np.where(met, took, np.nan)

    def sample_byzantine_answers(self, count: int) -> np.ndarray:
        """Answers of Byzantine nodes to polls on undisputed vertices, int [trials, count]."""
        return actions.byzantine_answers(self.now, self.shape.nodes, self.draws, count)
