"""A point: everything that decides the distribution of one trial."""

import hashlib
import json
from itertools import pairwise
from typing import Any, NamedTuple

import equinox as eqx
import numpy as np

from vecsim.errors import require
from vecsim.model import random
from vecsim.model.poll_law import Pool
from vecsim.network import Network
from vecsim.types import Adversary, Protocol, identity_of

MOST_NODES = 10**12  # of any engine: counts and draws are exact up to there
MOST_ROUNDS = 2**24  # with groups of honest nodes


Nodes = tuple[int, ...]  # Byzantine ones in the network, of each kind
Way = tuple[tuple[float, float], ...]  # a mix of each kind of Byzantine nodes


class Group(NamedTuple):
    """Honest nodes that are alike but for their colour and what they are told.

    nodes: how many. ones: of them start at 1. fed: are in the first of the groups that the
    adversary tells apart. active: P(one takes part in a round).
    """

    nodes: int
    ones: int
    fed: int
    active: float


class Point(NamedTuple):
    """One combination of parameters.

    n: nodes; byzantine_fraction: share of them that is Byzantine; initial_accept: share of the
    honest nodes that start at 1 (both rounded to a count); schedule: lockstep or async.
    """

    n: int
    byzantine_fraction: float
    initial_accept: float
    schedule: str
    protocol: Protocol
    adversary: Adversary
    network: Network

    def check(self) -> None:
        """Raise ConfigError where the parts do not fit together."""
        rule, network, n = self.protocol, self.network, self.n
        require(1 <= n <= MOST_NODES, "n", n, f"1 to {MOST_NODES}")
        for name in ("byzantine_fraction", "initial_accept"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "0 to 1")
        require(
            self.schedule in ("lockstep", "async"), "schedule", self.schedule, "lockstep or async"
        )
        require(
            self.honest >= 1, "byzantine_fraction", self.byzantine_fraction, "an honest node left"
        )
        if network.topology == "complete":
            peers = n - network.exclude_self
            distinct = not network.replacement
            who = "n - 1" if network.exclude_self else "n"
            allowed = f"at most {who} = {peers} peers"
            require(rule.k <= peers or not distinct, "protocol.k", rule.k, allowed)
            # Sybil identities may all be refused, which leaves the honest nodes.
            least = self.honest - network.exclude_self
            allowed = f"at most {least} peers, as many as there are when no Sybil is admitted"
            everybody = float(self.adversary.admission) == 1
            require(rule.k <= least or everybody or not distinct, "protocol.k", rule.k, allowed)
            require(peers >= 1, "n", n, "2 or more nodes, for there must be somebody to poll")
        else:
            self._check_graph()
        if network.groups:
            self._check_groups()
        if self.adversary.pools and self.byzantine:
            allowed = f"at most {self.honest}, for the adversary pools k answers of honest nodes"
            require(rule.k <= self.honest or network.replacement, "protocol.k", rule.k, allowed)
            once = self.adversary.every != "poll" or self.schedule == "async"
            require(once, "adversary.every", "poll", f"round with schedule={self.schedule}")
        if self.schedule == "async":
            require(n < 2**16, "n", n, "at most 65535 under schedule=async")
        allowed = f"less than {random.MAX_ROUNDS}: every round has random words of its own"
        require(
            rule.max_rounds < random.MAX_ROUNDS, "protocol.max_rounds", rule.max_rounds, allowed
        )
        allowed = "fewer rounds or a smaller beta: the state of a node must fit 32 bits"
        require(
            self.stepped().cell_limit() <= 2**32, "protocol.max_rounds", rule.max_rounds, allowed
        )

    def _check_groups(self) -> None:
        groups, rule = self.network.groups, self.protocol
        require(self.schedule == "lockstep", "schedule", self.schedule, "lockstep with groups")
        allowed = f"shares of at least one of {self.honest} honest nodes each"
        require(all(group.nodes for group in self.groups), "network.groups", groups, allowed)
        few = rule.max_rounds < MOST_ROUNDS
        allowed = f"less than {MOST_ROUNDS} with groups"
        require(few, "protocol.max_rounds", rule.max_rounds, allowed)

    def _check_graph(self) -> None:
        rule, network, n = self.protocol, self.network, self.n
        name = f"network.topology={network.topology}"
        require(not network.groups, "network.groups", network.groups, f"none with {name}")
        require(self.schedule == "lockstep", "schedule", self.schedule, f"lockstep with {name}")
        require(network.exclude_self, "network.exclude_self", False, f"true with {name}")
        admission = float(self.adversary.admission)
        require(admission == 1, "adversary", self.adversary.title, f"no sybil with {name}")
        require(network.degree < n, "network.degree", network.degree, f"less than n = {n}")
        regular = network.topology == "random_regular"
        ends, allowed = network.degree, "an even number"
        if regular:
            ends, allowed = n * network.degree, f"such that n x degree is even, n = {n}"
        require(ends % 2 == 0, "network.degree", network.degree, allowed)
        # Rewiring can take from a node of the small world all but the edges it started.
        least = network.degree if regular else network.degree // 2
        allowed = f"at most {least} peers with {name} and degree {network.degree}"
        require(rule.k <= least or network.replacement, "protocol.k", rule.k, allowed)

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
    def nodes(self) -> int:
        return self.n

    @property
    def byzantine_share(self) -> float:
        return self.byzantine_fraction

    @property
    def byzantine(self) -> int:
        return round(self.byzantine_fraction * self.n)

    @property
    def kinds(self) -> Nodes:
        """Byzantine nodes of each of the adversary's kinds."""
        return self.adversary.divided(self.byzantine)

    @property
    def honest(self) -> int:
        return self.n - self.byzantine

    @property
    def start_ones(self) -> int:
        if self.network.groups:
            return sum(group.ones for group in self.groups)
        return round(self.initial_accept * self.honest)

    def pool(self, way: Way, kinds: Nodes) -> Pool:
        """Whom a node may poll when so many Byzantine nodes of each kind are in the network, and
        those of each answer by its mix in `way`.
        """
        network = self.network
        alike: dict[tuple[float, float], int] = {}
        for mix, nodes in zip(way, kinds, strict=True):
            alike[mix] = alike.get(mix, 0) + nodes
        there = [(nodes, *mix) for mix, nodes in sorted(alike.items()) if nodes]
        pool = Pool(
            honest=self.honest - network.exclude_self,
            byzantine=0,
            k=self.protocol.k,
            loss=network.loss,
            replacement=network.replacement,
        )
        return pool.of_kinds(there or [(0, *way[0])])

    @property
    def first_group(self) -> int:
        """Honest nodes, the first ones, in the first of the groups that the adversary has."""
        if self.adversary.groups == 1:
            return self.honest
        return int(self.adversary.first_group(self.honest, self.n) + 0.5)

    @property
    def groups(self) -> list[Group]:
        """The network's groups of honest nodes, at least one.

        What is not said of a group by itself is shared out evenly over all.
        """
        network, honest = self.network, self.honest
        ends = np.minimum(np.cumsum(network.groups or (1.0,)), 1.0)
        ends[-1] = 1.0
        last = [int(end * honest + 0.5) for end in ends]  # number of the last node of each
        sizes = [end - start for start, end in pairwise((0, *last))]

        def shared(total: int) -> list[int]:
            """In proportion to the sizes, to the last node, and never more than there are."""
            until = [(2 * end * total + honest) // (2 * honest) for end in (0, *last)]
            return [end - start for start, end in pairwise(until)]

        ones = shared(round(self.initial_accept * honest))
        if network.start:
            ones = [round(share * size) for share, size in zip(network.start, sizes, strict=True)]
        active = network.active or (1.0,) * len(sizes)
        return list(map(Group, sizes, ones, shared(self.first_group), active))

    def parameters(self) -> dict[str, Any]:
        """The resolved parameters, nested, as plain values."""

        def plain(value):
            known = isinstance(value, Network | Adversary)
            fields = value.parameters() if known else vars(value)
            return {"class": identity_of(value), **fields}

        return {
            name: plain(value) if hasattr(value, "__dict__") else value
            for name, value in self._asdict().items()
        }

    def hash(self) -> int:
        """64 bits that stand for the parameters (SHA-256 of their canonical JSON)."""
        text = json.dumps(self.parameters(), sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")

    def lasting(self) -> int:
        """What stays the same whatever the number of trials: `hash`."""
        return self.hash()
