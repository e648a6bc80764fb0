"""What may happen to a cluster: each action changes the state on the host, in every trial.

The entries of a timeline are the same methods, by name. Fields of nodes are NumPy arrays [trials,
nodes]; a choice of nodes is bool of that shape, drawn anew in each trial:

    kill_random_nodes(2), n = 10      trial 0   . . X . . . . X . .
                                      trial 1   X . . . . X . . . .
"""

import functools
import inspect
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from vecsim.cluster import resources
from vecsim.cluster.config import LONGEST_S, MOST_MEMBERS, Cluster, Run, parse_run, protocol, tenths
from vecsim.cluster.constants import constants
from vecsim.cluster.state import ANSWERS, NEVER_MS, SIDES, Conditions, Key, State
from vecsim.cluster.workload import Workload
from vecsim.errors import ConfigError, number, require, whole
from vecsim.model import random

ACTIONS: dict[str, Any] = {}  # the methods by name, in the order in which they are defined


def action(act):
    """A method of ScaleTestCluster and a word of timelines.

    It raises ConfigError where arguments do not fit, or `count`, of nodes, is out of range.
    """
    signature = inspect.signature(act)
    known = ", ".join(list(signature.parameters)[1:]) or "no arguments"

    @functools.wraps(act)
    def method(self, *positional, **named) -> None:
        try:
            given = signature.bind(self, *positional, **named).arguments
        except TypeError as error:
            raise ConfigError(f"{act.__name__}: {error}; allowed: {known}") from None
        if "count" in given:
            whole("count", given["count"], 0, MOST_MEMBERS)
        act(self, *positional, **named)
        self.disturbed()

    ACTIONS[act.__name__] = method
    return method


class Draws:
    """Random numbers of actions, one block after another, from each trial's own key.

    Each call of `uniform` takes the next block of its trial's stream, so the order of calls decides
    the numbers. key: two uint32 arrays [trials]. used: blocks taken so far; checkpoints keep it.
    """

    def __init__(self, key):
        self.key: Key = (key[0][:, None], key[1][:, None])
        self.used = 0

    def uniform(self, count: int) -> np.ndarray:
        """float64 [trials, count] in [0, 1)."""
        number = np.arange(count, dtype=np.uint32)[None]
        block = random.counter(np.uint32(self.used), random.ACTION)
        high, low = random.threefry(*self.key, number, block)
        self.used += 1
        return random.uniform53(high, low)

    def refused(self, cluster: Cluster) -> np.ndarray:
        """Byzantine identities that are not admitted, each with probability 1 - `admission` of the
        adversary; bool [trials, nodes]."""
        chance = 1.0 - float(cluster.adversary.admission)
        return (self.uniform(cluster.nodes) < chance) & (np.arange(cluster.nodes) >= cluster.honest)

    def choose(self, able: np.ndarray, count: int) -> np.ndarray:
        """`count` of the nodes that are able, at random, or all where there are fewer; bool
        [trials, nodes]."""
        order = np.where(able, self.uniform(able.shape[1]), 2.0)
        rank = order.argsort(axis=1).argsort(axis=1)
        return able & (rank < count)


class Actions:
    """What may be done to a cluster, and what that changes (the base class of ScaleTestCluster).

    config: a mapping for a cluster that is stepped by hand, or a parsed Run; ConfigError where a
    mapping has no meaning. Every action raises ConfigError where its arguments do not fit.
    """

    state: State
    draws: Draws

    def __init__(self, config: Mapping[str, Any] | Run):
        self.by_hand = not isinstance(config, Run)
        self.run = config if isinstance(config, Run) else parse_run(config, by_hand=True)
        self.now = Conditions.start(self.run.cluster)
        self.workload = self.run.workload
        self.since_ms = 0  # when the workload in force began
        self.load_ends_s = self.run.duration_s
        self.idle_since_ms = 0 if self.by_hand else None  # no load since then: nothing was started
        self.spikes: list[tuple[int, float]] = []  # when each ends, and what it adds
        self.settled_ms = 0  # until when windows last one second

    @property
    def now_ms(self) -> int:
        """Simulated time since the beginning, ms; the same in all trials."""
        return int(self.state.now_ms[0])

    def disturbed(self) -> None:
        """Something has happened: windows last one second for the next `settle_s` seconds."""
        settled = self.now_ms + math.ceil(constants().settle_s * 1000)
        self.settled_ms = max(self.settled_ms, settled)

    @action
    def start(self) -> None:
        """All nodes that are down start, with what they had on disk. By hand, the workload begins
        or goes on."""
        if self.idle_since_ms is not None:
            self.since_ms += self.now_ms - self.idle_since_ms
            self.idle_since_ms = None
        nodes = self.state.nodes
        _set(self, ~nodes.up & nodes.member, up=True, up_at_ms=NEVER_MS, silent_since_ms=ANSWERS)

    @action
    def stop(self) -> None:
        """All nodes stop, and stay down. By hand, so does the workload."""
        if self.by_hand and self.idle_since_ms is None:
            self.idle_since_ms = self.now_ms
        _kill(self, self.state.nodes.up, NEVER_MS)
        _set(self, True, up_at_ms=NEVER_MS)

    @action
    def kill_random_nodes(self, count: int, restart: bool = True) -> None:
        """Kill `count` running nodes, at random, or all where fewer run; with `restart` each comes
        back by itself."""
        require(isinstance(restart, bool), "restart", restart, "true or false")
        chosen = self.draws.choose(self.state.nodes.running, count)
        back_ms = _in_sync_ms(self, False, constants().restart_s) if restart else NEVER_MS
        _kill(self, chosen, back_ms)

    @action
    def spawn_nodes(self, count: int) -> None:
        """Start `count` nodes in the places of dead ones, at random, or of all where fewer are
        dead; they fetch what is retained from their peers."""
        nodes = self.state.nodes
        down = nodes.member & ~nodes.up & (nodes.up_at_ms == NEVER_MS)
        _set(self, self.draws.choose(down, count), up_at_ms=_in_sync_ms(self, True))

    @action
    def create_partition(self, shares: Iterable[float]) -> None:
        """Cut the network into sides of these shares of the nodes, drawn at random."""
        allowed = f"2 to {SIDES} shares above 0 that add up to 1"
        good = isinstance(shares, Iterable) and not isinstance(shares, (str, Mapping))
        require(good, "shares", shares, allowed)
        shares = [number("shares", share, allowed, lambda v: v > 0) for share in shares]
        good = 2 <= len(shares) <= SIDES and abs(sum(shares) - 1) < 1e-6
        require(good, "shares", shares, allowed)
        n = self.run.cluster.nodes
        rank = self.draws.uniform(n).argsort(axis=1).argsort(axis=1)
        ends = np.round(np.cumsum(shares) * n).astype(int)
        good = np.diff(ends, prepend=0).min() > 0
        require(good, "shares", shares, f"one or more of {n} nodes each")
        _set(self, True, side=np.searchsorted(ends[:-1], rank, "right"))
        since = np.full(self.run.trials, self.now_ms, np.int32)
        self.state = self.state._replace(cut_since_ms=since, healed_ms=np.full_like(since, -1))

    @action
    def heal_partition(self) -> None:
        """The cut ends; sides join when they poll one another again."""
        healed_ms = np.where(self.state.cut, self.now_ms, self.state.healed_ms)
        self.state = self.state._replace(healed_ms=healed_ms.astype(np.int32))

    @action
    def set_packet_loss(self, loss: float) -> None:
        """From now on each message is lost with this probability: 0 or more, below 1."""
        number("loss", loss, "0 or more, below 1", lambda v: 0 <= v < 1)
        self.now = self.now._replace(loss=np.float32(loss))

    @action
    def inject_latency_spike(self, extra_ms: float, duration_s: float) -> None:
        """Every round trip takes extra_ms longer for duration_s; spikes that overlap add up."""
        most = 1000 * LONGEST_S
        number("extra_ms", extra_ms, f"0 to {most}", lambda v: 0 <= v <= most)
        lasts_ms = tenths("duration_s", duration_s)
        require(lasts_ms > 0, "duration_s", duration_s, "above 0")
        self.spikes.append((self.now_ms + lasts_ms, float(extra_ms)))
        self.now = self.now._replace(extra_ms=self.now.extra_ms + np.float32(extra_ms))

    @action
    def throttle_cpu(self, count: int, capacity: float) -> None:
        """`count` nodes, at random, have this share of a core: above 0, at most 1."""
        number("capacity", capacity, "above 0, at most 1", lambda v: 0 < v <= 1)
        _set(self, self.draws.choose(self.state.nodes.member, count), capacity=capacity)

    @action
    def inject_disk_failure(self, count: int) -> None:
        """`count` running nodes, at random, lose their disk: they restart empty and fetch from
        their peers."""
        chosen = self.draws.choose(self.state.nodes.running, count)
        _kill(self, chosen, _in_sync_ms(self, True, constants().restart_s))

    @action
    def inject_memory_pressure(self, count: int, share: float) -> None:
        """Other processes use so much memory of `count` running nodes, at random, that this share
        (between 0 and 1) of their limit is in use."""
        number("share", share, "between 0 and 1", lambda v: 0 < v < 1)
        chosen = self.draws.choose(self.state.nodes.running, count)
        nodes = self.state.nodes
        used = np.asarray(resources.memory_mb(self.now, _recent(self), nodes.retained, 0.0))
        _set(self, chosen, external_mb=np.maximum(share * nodes.limit_mb - used, 0.0))

    @action
    def set_clock_skew(self, count: int, max_s: float) -> None:
        """Clocks of `count` nodes, at random, are off: uniformly by up to max_s seconds either way.
        Nodes off by more than `most_skew_s` refuse the vertices of the others, and theirs are
        refused."""
        number("max_s", max_s, f"0 to {LONGEST_S}", lambda v: 0 <= v <= LONGEST_S)
        chosen = self.draws.choose(self.state.nodes.member, count)
        _set(self, chosen, skew_s=max_s * (2 * self.draws.uniform(chosen.shape[1]) - 1))

    @action
    def set_workload(self, **workload) -> None:
        """Another pattern of load, from now until the end of the run (by hand, without end): kind
        and its parameters, or `workload`, a mapping of them (in a timeline, whose entries have at_s
        themselves)."""
        if self.by_hand:
            self.load_ends_s = math.inf
        left = max(self.load_ends_s - self.now_ms / 1000, 0.0)
        whole_section = set(workload) == {"workload"}
        self.workload = Workload.parse(workload["workload"] if whole_section else workload, left)
        self.since_ms = self.now_ms
        if self.idle_since_ms is not None:
            self.idle_since_ms = self.now_ms

    @action
    def remove_byzantine_nodes(self) -> None:
        """An operator takes the Byzantine nodes out of the register."""
        cluster = self.run.cluster
        _set(self, np.arange(cluster.nodes) >= cluster.honest, member=False)

    @action
    def set_protocol(self, **parameters) -> None:
        """Other parameters of the protocol, for vertices issued from now on."""
        self.now = self.now._replace(rule=protocol("set_protocol", self.now.rule, parameters))


def _set(cluster, chosen: np.ndarray | bool, **values) -> None:
    """Chosen nodes, bool [trials, nodes], take these values in these fields of NodeState."""
    before = {name: getattr(cluster.state.nodes, name) for name in values}
    changed = {k: np.where(chosen, values[k], old).astype(old.dtype) for k, old in before.items()}
    cluster.state = cluster.state.with_nodes(**changed)


def _kill(cluster, chosen: np.ndarray, back_ms) -> None:
    """Nodes go down; `back_ms` is when they are up again, int [trials, 1], or NEVER_MS."""
    _set(cluster, chosen & cluster.state.nodes.answers, silent_since_ms=cluster.now_ms)
    _set(cluster, chosen, up=False, up_at_ms=back_ms, retained=_recent(cluster))


def _recent(cluster) -> np.ndarray:
    """Vertices stored in the last `retain_s`, float32 [trials, 1]."""
    state, seconds = cluster.state, constants().retain_s
    pairs = zip(state.buckets, state.filling_ms, strict=True)
    return np.asarray([resources.retained(*pair, seconds) for pair in pairs], np.float32)[:, None]


def _in_sync_ms(cluster, empty_disk: bool, after_s: float = 0.0) -> np.ndarray:
    """When nodes that start in so many seconds are in sync, int64 [trials, 1]."""
    took_ms = np.asarray(resources.sync_ms(cluster.now, _recent(cluster), empty_disk))
    return cluster.now_ms + round(after_s * 1000) + took_ms.astype(np.int64)
