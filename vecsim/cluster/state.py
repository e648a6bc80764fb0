"""The state of a simulated cluster: arrays per node, counts per trial.

In a program every array is of one trial; outside it has an axis of trials in front. Ten nodes, two
of them Byzantine, while the network is cut:

    node        0 1 2 3 4 5 6 7 8 9      [nodes]
    byzantine   . . . . . . . . B B      from `honest` (8) on
    side        0 0 1 0 1 1 0 0 1 0      index of the node's side in arrays [SIDES]
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from vecsim.cluster.config import TICK_MS, Cluster
from vecsim.cluster.constants import constants
from vecsim.errors import require
from vecsim.protocols.qr_avalanche import QrAvalanche
from vecsim.types import Adversary

SIDES = 4  # sides of a partition, at most: the length of all arrays by side
# Ticks ahead in which a vertex may end: at least 128 (12.8 s), so that most settings share one
# program, and at most 2^14 (27 minutes), whose arrays take 0.6 MB in every trial.
LEAST_TICKS, MOST_TICKS = 128, 2**14
RETAIN_BUCKETS = 19  # buckets of 10 s: the longest retention (180 s), and the one that fills
Key = tuple[Any, Any]  # uint32, of a trial or of a window of it

NEVER_MS = np.int32(2**31 - 1)  # a time that no run reaches: LONGEST_S is less
ANSWERS = np.int32(-1)  # in place of the time since when a node is silent, which is never negative


class Conditions(NamedTuple):
    """What actions change and all trials share (scalars, traced; float32 unless said otherwise)."""

    honest: Any  # int32: nodes that are not Byzantine
    rule: QrAvalanche
    adversary: Adversary
    interval_ms: Any  # between the polls of a vertex
    round_trip_ms: Any  # [2]: least and largest
    extra_ms: Any  # latency spike, on top of every round trip
    loss: Any  # probability that a message is lost
    misbehaving: Any  # share of vertices on which Byzantine nodes misbehave
    double_votes: Any  # share of vertices on which they sign two contradicting votes
    benching: Any  # bool
    reputation: Any  # bool
    guard: Any  # bool
    pruning: Any  # bool
    payload_bytes: Any  # of a vertex
    link_mbps: Any
    memory_limit_mb: Any
    disputed_share: Any  # share of vertices that have a rival

    @classmethod
    def start(cls, cluster: Cluster) -> "Conditions":
        """As the cluster's configuration says; NumPy scalars."""
        profile = constants().profiles[cluster.profile]
        switches = ("benching", "reputation", "guard", "pruning")
        numbers = ("double_votes", "payload_bytes", "link_mbps", "memory_limit_mb")
        return cls(
            honest=np.int32(cluster.honest),
            rule=cluster.protocol,
            adversary=cluster.adversary,
            interval_ms=np.float32(cluster.poll_interval_ms),
            round_trip_ms=np.asarray(profile["round_trip_ms"], np.float32),
            extra_ms=np.float32(0),
            loss=np.float32(profile["loss"]),
            misbehaving=np.float32(cluster.misbehaving_share),
            disputed_share=np.float32(cluster.double_spend_share),
            **{name: np.bool_(getattr(cluster, name)) for name in switches},
            **{name: np.float32(getattr(cluster, name)) for name in numbers},
        )

    def byzantine(self, nodes: "NodeState"):
        """Which nodes are Byzantine, bool [nodes]."""
        return jnp.arange(nodes.member.size) >= self.honest

    @property
    def timeout_ms(self):
        """Time after which an answer to a query no longer counts, ms."""
        fixed = constants()
        largest = self.round_trip_ms[1] + self.extra_ms
        return jnp.maximum(fixed.least_timeout_ms, fixed.timeout_round_trips * largest)

    @property
    def answered(self):
        """Probability that neither the query nor its reply is lost."""
        return (1 - self.loss) ** 2


class NodeState(NamedTuple):
    """One array per property, [nodes]; node i is Byzantine where i >= honest."""

    member: Any  # bool: registered
    up: Any  # bool: running and in sync
    up_at_ms: Any  # int32: when a node that is down comes back; NEVER_MS
    silent_since_ms: Any  # int32: since when it answers nobody; ANSWERS while it answers
    side: Any  # int32: of the partition
    excluded: Any  # bool: by the reputation test
    score: Any  # float32: logarithm of the likelihood ratio
    capacity: Any  # float32: share of a CPU core
    limit_mb: Any  # float32: of memory
    external_mb: Any  # float32: memory that others on the machine take
    retained: Any  # float32: vertices kept in memory
    skew_s: Any  # float32: how far its clock is off
    held: Any  # bool: the guard of its side held in the last window

    @property
    def running(self):
        """Members that run, bool [nodes]."""
        return self.up & self.member

    @property
    def trusted(self):
        """Members that were not excluded, bool [nodes]."""
        return self.member & ~self.excluded

    @property
    def answers(self):
        """Nodes that answer queries, bool [nodes]."""
        return self.silent_since_ms == ANSWERS


class Queue(NamedTuple):
    """Vertices that wait for admission, per side: arrived evenly from `oldest` to `newest`."""

    waiting: Any  # int32 [SIDES]
    oldest_ms: Any  # float32 [SIDES]: before now, so positive
    newest_ms: Any  # float32 [SIDES]: before now


class Flight(NamedTuple):
    """Vertices that will end, by tick ahead (index 0 is the first tick of the next window).

    Windows last whole ticks of 100 ms, so that a vertex is counted in the window in which it ends,
    whatever the windows' lengths. The vertices that end in one window are such a record without the
    axis of ticks.
    """

    finalised: Any  # int32 [ticks]
    rejected: Any  # int32 [ticks]
    given_up: Any  # int32 [ticks]
    again: Any  # int32 [ticks, attempts - 1]: issued again, by how often they timed out
    age_ms: Any  # float32 [ticks, attempts - 1]: sum of their ages when issued again


class _Totals(NamedTuple):
    """Since the start (int32)."""

    issued: Any
    finalised: Any
    rejected: Any
    given_up: Any
    dropped: Any
    disputed: Any  # issued with a rival
    divergent: Any
    depth: Any

    def plus(self, **counts) -> "_Totals":
        """With what a window adds to these totals."""
        return self._replace(**{name: getattr(self, name) + n for name, n in counts.items()})


class Gossip(NamedTuple):
    """Evidence of the last window, which is judged in the next one."""

    key: Key  # of the window
    vertices: Any  # int32 [nodes]: on which each node's answers were gathered
    wrong: Any  # float32: how often an honest answer disagreed with the outcome


class State(NamedTuple):
    """Everything that goes from window to window; leaves have a leading axis of trials."""

    key: Key
    window: Any  # int32: windows run
    now_ms: Any  # int32
    nodes: NodeState
    cut_since_ms: Any  # int32: start of the partition in force, or -1
    healed_ms: Any  # int32: when it healed, until the sides have joined; or -1
    queue: Queue
    flight: Flight
    gossip: Gossip
    totals: _Totals
    buckets: Any  # float32 [RETAIN_BUCKETS]: vertices stored in each 10 s, the latest first
    filling_ms: Any  # int32: how long the latest bucket has been filling
    compaction_mb: Any  # float32: written and still to be compacted
    stored_mb: Any  # float32: on a node's disk

    @classmethod
    def start(cls, cluster: Cluster, key, refused: Any, spread: Any, ticks: int) -> "State":
        """All nodes down, nothing issued (NumPy arrays with an axis of trials).

        key: of the trials, uint32 [trials] each. refused: bool [trials, nodes], identities that
        were not admitted. spread: float [trials, nodes] in [-1, 1), where a node's memory limit
        lies in its range. ticks: see `ticks_ahead`.
        """
        trials, n = refused.shape
        fixed = constants()
        headroom = (cluster.memory_limit_mb - fixed.base_mb) * (1 + fixed.headroom_spread * spread)

        def zeros(*shape):
            return np.zeros((trials, *shape), np.int32)

        def reals(*shape):
            return np.zeros((trials, *shape), np.float32)

        ring, again = zeros(ticks), fixed.attempts - 1
        nodes = NodeState(
            member=~refused,
            up_at_ms=zeros(n) + NEVER_MS,
            capacity=reals(n) + 1,
            limit_mb=(fixed.base_mb + headroom).astype(np.float32),
            **dict.fromkeys(("up", "excluded", "held"), np.zeros((trials, n), bool)),
            **dict.fromkeys(("silent_since_ms", "side"), zeros(n)),
            **dict.fromkeys(("score", "external_mb", "retained", "skew_s"), reals(n)),
        )
        return cls(
            key=key,
            nodes=nodes,
            queue=Queue(zeros(SIDES), reals(SIDES), reals(SIDES)),
            flight=Flight(ring, ring, ring, zeros(ticks, again), reals(ticks, again)),
            gossip=Gossip(key, zeros(n), reals()),
            totals=_Totals(*[zeros()] * len(_Totals._fields)),
            buckets=reals(RETAIN_BUCKETS),
            **dict.fromkeys(("window", "now_ms", "filling_ms"), zeros()),
            **dict.fromkeys(("cut_since_ms", "healed_ms"), zeros() - 1),
            **dict.fromkeys(("compaction_mb", "stored_mb"), reals()),
        )

    @property
    def cut(self):
        """Whether a partition is in force that has not healed, bool [trials]."""
        return (self.cut_since_ms >= 0) & (self.healed_ms < 0)

    def with_nodes(self, **changed) -> "State":
        """The state with other values of these fields of the nodes."""
        return self._replace(nodes=self.nodes._replace(**changed))


def ticks_ahead(cluster: Cluster, rules: Iterable[QrAvalanche], extra_ms: float) -> int:
    """How many ticks after the end of its window a vertex may end or be issued again, at most.

    The longest case: all its polls are asked, one in each interval, and the last times out; parents
    end no later, since they begin earlier. Rounded up to a power of two, so that few programs are
    compiled. extra_ms: of latency spikes. ConfigError where it is more than `MOST_TICKS`.
    """
    fixed, interval_ms = constants(), cluster.poll_interval_ms
    longest = fixed.profiles[cluster.profile]["round_trip_ms"][1] + extra_ms
    timeout_ms = max(fixed.least_timeout_ms, fixed.timeout_round_trips * longest)
    most = max(rule.max_rounds for rule in rules)
    span_ms = (most - 1) * interval_ms + timeout_ms + fixed.reissue_after_ms
    ticks = math.floor(span_ms / TICK_MS) + 2  # one for rounding
    limit_s = MOST_TICKS * TICK_MS / 1000
    allowed = f"less: with {most} polls and a time-out of {timeout_ms:g} ms a vertex must end"
    allowed += f" in {limit_s:g} s"
    require(ticks <= MOST_TICKS, "cluster.poll_interval_ms", interval_ms, allowed)
    return max(LEAST_TICKS, 2 ** math.ceil(math.log2(ticks)))


def widened(state: State, ticks: int) -> State:
    """The state (of all trials) with room for so many ticks ahead, or for more if it has it."""
    more = ticks - state.flight.finalised.shape[1]
    if more <= 0:
        return state
    around = ((0, 0), (0, more), (0, 0))
    padded = (np.pad(part, around[: np.ndim(part)]) for part in state.flight)
    return state._replace(flight=Flight(*padded))


def real(count):
    """A whole number as float32, to be multiplied with shares and times."""
    return jnp.asarray(count).astype(jnp.float32)


def whole_number(number):
    """A float32 cut to int32."""
    return jnp.asarray(number).astype(jnp.int32)


def per(part, count):
    """part / count as float32, where count is a whole number; part where that is 0."""
    return real(part) / real(jnp.maximum(count, 1))
