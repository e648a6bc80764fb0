"""What may happen to a cluster: each action changes the state on the host, in every trial.

The entries of a timeline are the same methods, by name.
"""

import functools
import inspect
import math
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vecsim.cluster import resources, votes
from vecsim.cluster.config import LONGEST_S, MOST_NODES, Run, protocol, tenths
from vecsim.cluster.constants import constants
from vecsim.cluster.draws import Draws
from vecsim.cluster.state import ANSWERS, NEVER_MS, SIDES, Conditions, State
from vecsim.cluster.workload import Workload
from vecsim.errors import ConfigError, number, require, whole

ACTIONS: dict[str, Any] = {}


def action(act):
    """A method of ScaleTestCluster and a word of timelines; arguments that do not fit are told."""
    signature = inspect.signature(act)
    known = ", ".join(list(signature.parameters)[1:]) or "no arguments"

    @functools.wraps(act)
    def method(self, *positional, **named) -> None:
        try:
            signature.bind(self, *positional, **named)
        except TypeError as error:
            raise ConfigError(f"{act.__name__}: {error}; allowed: {known}") from None
        act(self, *positional, **named)
        self.disturbed()

    ACTIONS[act.__name__] = method
    return method


class Actions:
    """What may be done to a cluster (the base class of ScaleTestCluster)."""

    run: Run
    now: Conditions
    state: State
    draws: Draws
    workload: Workload
    since_ms: int  # when the workload in force began
    load_ends_s: float  # infinity: never
    by_hand: bool
    idle_since_ms: int | None  # by hand there is no load while nothing was started
    spikes: list[tuple[int, float]]  # when each ends, and what it adds
    now_ms: Any

    @action
    def start(self) -> None:
        """All nodes that are down start, with what they had on disk. By hand, the workload begins
        or goes on."""
        nodes = self.state.nodes
        if self.idle_since_ms is not None:
            self.since_ms += self.now_ms - self.idle_since_ms
            self.idle_since_ms = None
        _wake(self, ~nodes.up & nodes.member)

    @action
    def stop(self) -> None:
        """All nodes stop, and stay down. By hand, so does the workload."""
        if self.by_hand and self.idle_since_ms is None:
            self.idle_since_ms = self.now_ms
        _kill(self, self.state.nodes.up, NEVER_MS)
        _nodes(self, up_at_ms=np.full_like(self.state.nodes.up_at_ms, NEVER_MS))

    @action
    def kill_random_nodes(self, count: int, restart: bool = True) -> None:
        """Kill running nodes, at random, all where there are fewer; with `restart` each comes back
        by itself."""
        _whole("count", count)
        require(isinstance(restart, bool), "restart", restart, "true or false")
        nodes = self.state.nodes
        chosen = self.draws.choose(nodes.up & nodes.member, count)
        _kill(self, chosen, _back(self, False) if restart else NEVER_MS)

    @action
    def spawn_nodes(self, count: int) -> None:
        """Start nodes in the places of dead ones, of all where there are fewer; they fetch what is
        retained from their peers."""
        _whole("count", count)
        nodes = self.state.nodes
        down = nodes.member & ~nodes.up & (nodes.up_at_ms == NEVER_MS)
        chosen = self.draws.choose(down, count)
        sync = _sync_ms(self, True)
        when = np.where(chosen, self.now_ms + sync[:, None], nodes.up_at_ms)
        _nodes(self, up_at_ms=when.astype(np.int32))

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
        require(
            np.diff(ends, prepend=0).min() > 0, "shares", shares, f"one or more of {n} nodes each"
        )
        side = (rank[:, :, None] >= ends).sum(axis=2)
        _nodes(self, side=np.minimum(side, len(shares) - 1).astype(np.int32))
        trials = self.run.trials
        self.state = self.state._replace(
            cut_since_ms=np.full(trials, self.now_ms, np.int32),
            healed_ms=np.full(trials, -1, np.int32),
        )

    @action
    def heal_partition(self) -> None:
        """The cut ends; sides join when they poll one another again."""
        state = self.state
        cut = (state.cut_since_ms >= 0) & (state.healed_ms < 0)
        now = np.where(cut, self.now_ms, state.healed_ms)
        self.state = state._replace(healed_ms=now.astype(np.int32))

    @action
    def set_packet_loss(self, loss: float) -> None:
        """From now on each message is lost with this probability."""
        number("loss", loss, "0 or more, below 1", lambda v: 0 <= v < 1)
        self.now = self.now._replace(loss=np.float32(loss))

    @action
    def inject_latency_spike(self, extra_ms: float, duration_s: float) -> None:
        """Every round trip takes so much longer for a while."""
        most = 1000 * LONGEST_S
        number("extra_ms", extra_ms, f"0 to {most}", lambda v: 0 <= v <= most)
        lasts_ms = tenths("duration_s", duration_s)
        require(lasts_ms > 0, "duration_s", duration_s, "above 0")
        end = self.now_ms + lasts_ms
        self.spikes.append((end, float(extra_ms)))
        self.now = self.now._replace(extra_ms=self.now.extra_ms + np.float32(extra_ms))

    @action
    def throttle_cpu(self, count: int, capacity: float) -> None:
        """So many nodes, at random, have this share of a core."""
        _whole("count", count)
        number("capacity", capacity, "above 0, at most 1", lambda v: 0 < v <= 1)
        nodes = self.state.nodes
        chosen = self.draws.choose(nodes.member, count)
        _nodes(self, capacity=np.where(chosen, capacity, nodes.capacity).astype(np.float32))

    @action
    def inject_disk_failure(self, count: int) -> None:
        """So many running nodes lose their disk: they restart empty and fetch from their peers."""
        _whole("count", count)
        nodes = self.state.nodes
        _kill(self, self.draws.choose(nodes.up & nodes.member, count), _back(self, True))

    @action
    def inject_memory_pressure(self, count: int, share: float) -> None:
        """Others take so much memory of running nodes that this share of their limit is in use."""
        _whole("count", count)
        number("share", share, "between 0 and 1", lambda v: 0 < v < 1)
        nodes, fixed = self.state.nodes, constants()
        chosen = self.draws.choose(nodes.up & nodes.member, count)
        recent = _recent(self, fixed.retain_s)[:, None]
        used = np.asarray(resources.memory_mb(self.now, recent, nodes.retained, 0.0))
        taken = np.maximum(share * nodes.limit_mb - used, 0.0)
        _nodes(self, external_mb=np.where(chosen, taken, nodes.external_mb).astype(np.float32))

    @action
    def set_clock_skew(self, count: int, max_s: float) -> None:
        """Clocks of so many nodes are off, by up to max_s seconds either way. Nodes off by more
        than `most_skew_s` refuse the vertices of the others, and theirs are refused."""
        _whole("count", count)
        number("max_s", max_s, f"0 to {LONGEST_S}", lambda v: 0 <= v <= LONGEST_S)
        nodes = self.state.nodes
        chosen = self.draws.choose(nodes.member, count)
        skew = max_s * (2 * self.draws.uniform(nodes.member.shape[1]) - 1)
        _nodes(self, skew_s=np.where(chosen, skew, nodes.skew_s).astype(np.float32))

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
        nodes = self.state.nodes
        honest = np.arange(nodes.member.shape[1]) < self.run.cluster.honest
        _nodes(self, member=nodes.member & honest)

    @action
    def set_protocol(self, **parameters) -> None:
        """Other parameters of the protocol, for vertices issued from now on."""
        rule = protocol("set_protocol.", self.now.rule, parameters)
        self.now = self.now._replace(rule=rule)


def byzantine_answers(now, nodes: int, draws: Draws, count: int) -> np.ndarray:
    """What misbehaving nodes answer to pollers of undisputed vertices, 1 or 0; -1 is silence."""
    kinds = (now.honest, 0, nodes - now.honest, 0)
    met = votes.Peers(*(jnp.int32(number) for number in kinds))

    def answer(coin, own_coin):
        seen = votes.view_of_votes(now, met, 0, met.ones, (coin, coin))
        mix, _ = now.adversary.answer(seen, jnp.int32(0))
        accept, told = votes.poll_chance(now, mix[0, 1])
        return jnp.where(own_coin < accept, 1, jnp.where(own_coin < told, 0, -1))

    coins, own = (draws.uniform(count).astype(np.float32) for _ in range(2))
    return np.asarray(jax.vmap(jax.vmap(answer))(coins, own))


def _nodes(cluster, **changed) -> None:
    cluster.state = cluster.state._replace(nodes=cluster.state.nodes._replace(**changed))


def _kill(cluster, chosen: np.ndarray, back) -> None:
    """Nodes go down; `back` is when they are up again, int32 [trials], or NEVER."""
    nodes, now = cluster.state.nodes, cluster.now_ms
    back = np.broadcast_to(np.asarray(back, np.int32).reshape(-1, 1), chosen.shape)
    _nodes(
        cluster,
        up=nodes.up & ~chosen,
        up_at_ms=np.where(chosen, back, nodes.up_at_ms).astype(np.int32),
        silent_since_ms=np.where(
            chosen & (nodes.silent_since_ms == ANSWERS), now, nodes.silent_since_ms
        ).astype(np.int32),
        retained=np.where(
            chosen, _recent(cluster, constants().retain_s)[:, None], nodes.retained
        ).astype(np.float32),
    )


def _wake(cluster, chosen: np.ndarray) -> None:
    nodes = cluster.state.nodes
    _nodes(
        cluster,
        up=nodes.up | chosen,
        up_at_ms=np.where(chosen, NEVER_MS, nodes.up_at_ms).astype(np.int32),
        silent_since_ms=np.where(chosen, ANSWERS, nodes.silent_since_ms).astype(np.int32),
    )


def _recent(cluster, seconds: float) -> np.ndarray:
    """Vertices stored in the last seconds, per trial."""
    state = cluster.state
    found = [
        resources.retained(*pair, seconds)
        for pair in zip(state.buckets, state.filling_ms, strict=True)
    ]
    return np.asarray(found, np.float32)


def _sync_ms(cluster, empty_disk: bool) -> np.ndarray:
    recent = _recent(cluster, constants().retain_s)
    return np.asarray(resources.sync_ms(cluster.now, recent, empty_disk)).astype(np.int64)


def _back(cluster, empty_disk: bool) -> np.ndarray:
    restart = round(constants().restart_s * 1000)
    return (cluster.now_ms + restart + _sync_ms(cluster, empty_disk)).astype(np.int32)


def _whole(name: str, value: Any) -> None:
    whole(name, value, 0, MOST_NODES)
