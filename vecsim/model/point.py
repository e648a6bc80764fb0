"""A point: everything that decides the distribution of one trial."""

from itertools import pairwise
from operator import attrgetter
from typing import Any, NamedTuple

import equinox as eqx
import numpy as np

from vecsim.errors import require
from vecsim.latencies.latency import Latency
from vecsim.latencies.uniform import Uniform
from vecsim.model import random
from vecsim.model.poll_law import Pool, by_mix
from vecsim.network import Network
from vecsim.polling import Polling
from vecsim.results.files import hash64
from vecsim.stakes.equal import Equal
from vecsim.stakes.stake import Stake, Weighted
from vecsim.types import Adversary, Protocol, identity_of

MOST_NODES = 10**12  # nodes of any engine: counts and draws are exact up to there
MOST_HOLDERS = 100_000  # nodes with weighted stake: every trial orders all of them
# Rounds with groups of honest nodes: of the 28 bits that name a round the upper 4 name the group.
MOST_ROUNDS = 2**24
SCHEDULES = ("lockstep", "async", "timed")

Nodes = tuple[int, ...]  # Byzantine ones in the network, of each kind
Way = tuple[tuple[float, float], ...]  # a mix of each kind of Byzantine nodes


class Group(NamedTuple):
    """Honest nodes that differ only in their colour and in what the adversary tells them.

    nodes: how many there are. ones: how many of them start at 1. fed: how many are in the first of
    the groups that the adversary distinguishes. active: P(one takes part in a round), 0 to 1.
    """

    nodes: int
    ones: int
    fed: int
    active: float


class Point(NamedTuple):
    """One combination of parameters.

    n: nodes, 1 to MOST_NODES. byzantine_fraction: share of them that is Byzantine, 0 to 1.
    initial_accept: share of the honest nodes that start at 1, 0 to 1. Both are rounded to a count.
    schedule: lockstep, async or timed; latency and polling only matter to the last.

    With a weighted stake polls draw units of it, and everything here that counts nodes counts units
    (all but n): both shares are of stake. Nodes are whole, so that a trial comes only near to them.
    """

    n: int
    byzantine_fraction: float
    initial_accept: float
    schedule: str
    protocol: Protocol
    adversary: Adversary
    network: Network
    stake: Stake = Equal()
    latency: Latency = Uniform()
    polling: Polling = Polling()

    def check(self) -> None:
        """Raise ConfigError where the parts do not fit together."""
        rule, network, n = self.protocol, self.network, self.n
        self._require(1 <= n <= MOST_NODES, "n", f"1 to {MOST_NODES}")
        if isinstance(self.stake, Weighted):
            self._check_stake(self.stake)
        elif self.byzantine and self.adversary.groups > 1:
            good = self.adversary.grouping in ("by_colour", "random")
            self._require(good, "adversary.grouping", "by_colour or random with equal stake")
        for share in ("byzantine_fraction", "initial_accept"):
            self._require(0 <= getattr(self, share) <= 1, share, "0 to 1")
        self._require(self.schedule in SCHEDULES, "schedule", ", ".join(SCHEDULES))
        self._require(self.honest >= 1, "byzantine_fraction", "an honest node left")
        if network.topology == "complete":
            self._check_complete()
        else:
            self._check_graph()
        if network.groups:
            self._require(self.schedule == "lockstep", "schedule", "lockstep with groups")
            allowed = f"shares of at least one of {self.honest} honest nodes each"
            self._require(all(group.nodes for group in self.groups), "network.groups", allowed)
            allowed = f"less than {MOST_ROUNDS} with groups"
            self._require(rule.max_rounds < MOST_ROUNDS, "protocol.max_rounds", allowed)
        if self.adversary.pools and self.byzantine:
            allowed = f"at most {self.honest}, for the adversary pools k answers of honest nodes"
            self._require_k(self.honest, allowed)
            once = self.adversary.every != "poll" or self.schedule == "async"
            self._require(once, "adversary.every", f"round with schedule={self.schedule}")
        if self.schedule == "async":
            self._require(n < 2**16, "n", "at most 65535 under schedule=async")
        allowed = f"less than {random.MAX_ROUNDS}: every round has random words of its own"
        self._require(rule.max_rounds < random.MAX_ROUNDS, "protocol.max_rounds", allowed)
        fits = self.stepped().cell_limit() <= 2**32
        allowed = "fewer rounds or a smaller beta: the state of a node must fit 32 bits"
        self._require(fits, "protocol.max_rounds", allowed)

    def _require(self, good: bool, key: str, allowed: str) -> None:
        """ConfigError about the parameter of that dotted key, unless `good`."""
        require(good, key, attrgetter(key)(self), allowed)

    def _require_k(self, most: int, allowed: str) -> None:
        """ConfigError where a poll asks for more distinct peers than there are."""
        self._require(self.protocol.k <= most or self.network.replacement, "protocol.k", allowed)

    def _check_complete(self) -> None:
        """ConfigError unless there are enough peers on a complete graph."""
        without = self.network.exclude_self
        peers, least = self.size - without, self.honest - without
        if isinstance(self.stake, Weighted):  # half a node more than wanted may be Byzantine
            least = max(1, least - (int(self.stake.holdings(self.n)[0]) + 1) // 2)
        name = "stake.units" if self.stake.weighted else "n"
        self._require_k(peers, f"at most {f'{name} - 1' if without else name} = {peers} peers")
        if float(self.adversary.admission) != 1:  # all may be refused, which leaves honest nodes
            allowed = f"at most {least} peers, as many as there are when no Sybil is admitted"
            self._require_k(least, allowed)
        self._require(peers >= 1, "n", "2 or more nodes, for there must be somebody to poll")

    def _check_stake(self, stake: Weighted) -> None:
        """ConfigError unless the point can be run with this stake, and the stake exists."""
        fixed = stake.nodes
        self._require(fixed in (None, self.n), "n", f"{fixed}, as many nodes as the stake has")
        self._require(self.n <= MOST_HOLDERS, "n", f"at most {MOST_HOLDERS} with weighted stake")
        stake.holdings(self.n)
        name, network = "with weighted stake", self.network
        self._require(not network.exclude_self, "network.exclude_self", f"false {name}")
        self._require(not network.groups, "network.groups", f"none {name}")
        complete = network.topology == "complete"
        self._require(complete, "network.topology", f"complete {name}")

    def _check_graph(self) -> None:
        """ConfigError unless the point can be run on a graph, and the graph exists."""
        network, n, degree = self.network, self.n, self.network.degree
        name = f"network.topology={network.topology}"
        self._require(not network.groups, "network.groups", f"none with {name}")
        self._require(self.schedule == "lockstep", "schedule", f"lockstep with {name}")
        self._require(network.exclude_self, "network.exclude_self", f"true with {name}")
        admitted = float(self.adversary.admission) == 1
        require(admitted, "adversary", self.adversary.title, f"no sybil with {name}")
        self._require(degree < n, "network.degree", f"less than n = {n}")
        # Rewiring can take from a node of the small world all but the edges it started.
        ends, allowed, least = degree, "an even number", degree // 2
        if network.topology == "random_regular":
            ends, allowed, least = n * degree, f"such that n x degree is even, n = {n}", degree
        self._require(ends % 2 == 0, "network.degree", allowed)
        self._require_k(least, f"at most {least} peers with {name} and degree {degree}")

    @property
    def steps(self) -> int:
        """Steps of the engine in one round: polls under async, else the round itself."""
        return self.n if self.schedule == "async" else 1

    def stepped(self) -> Protocol:
        """The protocol with max_rounds counted in steps."""
        rule = self.protocol
        if self.steps == 1:
            return rule
        return eqx.tree_at(lambda rule: rule.max_rounds, rule, rule.max_rounds * self.steps)

    @property
    def components(self) -> tuple[Any, ...]:
        """The protocol, adversary, network and stake, and in simulated time what takes how long."""
        more = (self.latency, self.polling) if self.timed else ()
        return self.protocol, self.adversary, self.network, self.stake, *more

    @property
    def timed(self) -> bool:
        """Whether nodes poll in simulated time."""
        return self.schedule == "timed"

    @property
    def size(self) -> int:
        """What polls draw from: nodes, or units of a weighted stake."""
        return self.stake.units if isinstance(self.stake, Weighted) else self.n

    @property
    def nodes(self) -> int:
        """n, under the name that studies of clusters use, too."""
        return self.n

    @property
    def byzantine_share(self) -> float:
        """byzantine_fraction, under the name that studies of clusters use, too."""
        return self.byzantine_fraction

    @property
    def byzantine(self) -> int:
        """Byzantine identities, admitted or not; of two counts equally near the even one."""
        return round(self.byzantine_fraction * self.size)

    @property
    def some_byzantine(self) -> bool:
        """Whether a node is Byzantine in some trial.

        Of a weighted stake none is where the first one is no nearer to the share than nobody.
        """
        if not isinstance(self.stake, Weighted):
            return self.byzantine > 0
        return self.n > 1 and self._first < 2 * self.byzantine_fraction * self.stake.units

    @property
    def most_without(self) -> float:
        """The byzantine_fraction up to which a weighted stake has no Byzantine node."""
        return self._first / (2 * self.size) if self.n > 1 else 1.0

    @property
    def _first(self) -> int:
        """Units of the first Byzantine node; in random order the smallest may be it."""
        assert isinstance(self.stake, Weighted)
        held = self.stake.holdings(self.n)
        return int(held[0 if self.stake.byzantine == "largest" else -1])

    @property
    def by_chance(self) -> bool:
        """Whether what a node answers may be left to a coin, or an answer may be lost."""
        ways = self.adversary.ways if self.byzantine else ()
        coins = any(0 < chance < 1 for way in ways for mix in way for chance in mix)
        return coins or self.network.loss > 0

    @property
    def kinds(self) -> Nodes:
        """Byzantine nodes of each of the adversary's kinds."""
        return self.adversary.divided(self.byzantine)

    @property
    def honest(self) -> int:
        """Honest nodes; `check` wants at least one."""
        return self.size - self.byzantine

    @property
    def start_ones(self) -> int:
        """Honest nodes that start at 1, in all groups of the network together."""
        if self.network.groups:
            return sum(group.ones for group in self.groups)
        return round(self.initial_accept * self.honest)

    def pool(self, way: Way, kinds: Nodes) -> Pool:
        """Whom an honest node may poll.

        kinds: Byzantine nodes of each kind in the network. way: the mix by which each kind answers.
        """
        network = self.network
        there = tuple(kind for kind in by_mix(way, kinds) if kind[0]) or ((0, *way[0]),)
        honest = self.honest - network.exclude_self
        return Pool(honest, self.protocol.k, there, network.loss, network.replacement)

    @property
    def first_group(self) -> int:
        """Honest nodes in the first of the groups that the adversary distinguishes."""
        if self.adversary.groups == 1:
            return self.honest
        return int(self.adversary.first_group(self.honest, self.size) + 0.5)

    @property
    def groups(self) -> list[Group]:
        """The network's groups of honest nodes, at least one.

        What is not given for each group by itself is divided in proportion to their sizes.
        """
        network, honest = self.network, self.honest
        ends = np.minimum(np.cumsum(network.groups or (1.0,)), 1.0)
        ends[-1] = 1.0
        last = [int(end * honest + 0.5) for end in ends]  # number of the last node of each

        def shared(total: int) -> list[int]:
            """In proportion to the sizes: the sum is exact, and no group gets more than it has."""
            until = [(2 * end * total + honest) // (2 * honest) for end in (0, *last)]
            return [end - start for start, end in pairwise(until)]

        sizes = shared(honest)
        ones = shared(round(self.initial_accept * honest))
        if network.start:
            ones = [round(share * size) for share, size in zip(network.start, sizes, strict=True)]
        active = network.active or (1.0,) * len(sizes)
        return list(map(Group, sizes, ones, shared(self.first_group), active))

    def parameters(self) -> dict[str, Any]:
        """The resolved parameters, nested, as plain values; components also say their class.

        Equal stake, and in rounds what takes how long, are left out, so that the identity of points
        is as it always was.
        """
        rounds = not self.timed
        left_out = dict(stake=not self.stake.weighted, latency=rounds, polling=rounds)
        found = {k: v for k, v in self._asdict().items() if not left_out.get(k)}
        parts = {k: v for k, v in found.items() if isinstance(v, eqx.Module)}
        named = {k: {"class": identity_of(v), **v.parameters()} for k, v in parts.items()}  # type: ignore
        return found | named

    def hash(self) -> int:
        """64 bits that stand for the parameters (SHA-256 of their canonical JSON)."""
        return hash64(self.parameters())

    lasting = hash  # the identity that stays the same whatever the number of trials
