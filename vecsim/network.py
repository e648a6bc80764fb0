"""The network: whom a node may poll, and which answers are lost."""

from math import fsum
from typing import Any

import equinox as eqx

from vecsim.errors import require

MOST_GROUPS = 16  # groups of honest nodes: each makes a compiled trial longer


class Network(eqx.Module):
    """A complete graph (every node may poll every other), or a graph of neighbours.

    ConfigError where a parameter is out of its range.

    sampling: whether the k peers of a poll are distinct: `without_replacement`, or
      `with_replacement`.
    exclude_self: whether a node never polls itself (complete graph; on others it never does).
    loss: probability that an answer is lost, independently of the others, 0 to 1.
    degree: neighbours of a node, 1 or more; see `topology`.
    topology: `complete`; `random_regular` (every node has `degree` neighbours, uniform among such
      graphs, connected or not); `small_world` (Watts and Strogatz 1998, as NetworkX draws it: a
      ring in which every node knows the `degree` nearest, half on each side; going round, each edge
      is moved at its far end with probability `rewiring`, to a node drawn uniformly among those
      that are not neighbours. Degrees then differ, but are at least half of `degree`, and the graph
      may be disconnected).
    graphs: number of graphs that are drawn for a point, 1 to 1000; trial i uses graph i % graphs.
    groups: shares of the honest nodes in each of several groups (complete graph under lockstep
      only); empty: no groups. The next two have one value for each group.
    active: probability that a node takes part in a round, drawn anew each round; otherwise it
      neither polls nor answers. Throttled nodes have less than 1, silent ones 0; silent nodes never
      decide, and leave every trial undecided. Empty: 1 in every group.
    start: share of the group's nodes that start at 1, whatever `initial_accept` is. Empty:
      `initial_accept` in every group.
    cut: number of rounds, from the start, in which the groups do not hear each other. Byzantine
      nodes hear and answer everybody; they know what all honest nodes together prefer, but not
      which side a node is on or whether it takes part.
    """

    identity = "network.Network"

    sampling: str = "without_replacement"
    exclude_self: bool = True
    loss: float = 0.0
    topology: str = "complete"
    degree: int = 100
    rewiring: float = 0.1
    graphs: int = 16
    groups: tuple[float, ...] = eqx.field(default=(), converter=tuple)
    active: tuple[float, ...] = eqx.field(default=(), converter=tuple)
    start: tuple[float, ...] = eqx.field(default=(), converter=tuple)
    cut: int = 0

    def __check_init__(self):
        allowed = ("without_replacement", "with_replacement")
        require(self.sampling in allowed, "network.sampling", self.sampling, " or ".join(allowed))
        require(0 <= self.loss <= 1, "network.loss", self.loss, "0 to 1")
        allowed = ("complete", "random_regular", "small_world")
        require(self.topology in allowed, "network.topology", self.topology, ", ".join(allowed))
        require(self.degree >= 1, "network.degree", self.degree, "1 or more neighbours")
        require(0 <= self.rewiring <= 1, "network.rewiring", self.rewiring, "0 to 1")
        require(1 <= self.graphs <= 1000, "network.graphs", self.graphs, "1 to 1000")
        groups, number = self.groups, len(self.groups)
        good = all(share > 0 for share in groups) and abs(fsum(groups) - 1) < 1e-9
        allowed = f"at most {MOST_GROUPS} shares above 0 that add up to 1, or none"
        require(not groups or (good and number <= MOST_GROUPS), "network.groups", groups, allowed)
        for name in ("active", "start"):
            given = getattr(self, name)
            good = len(given) in (0, number) and all(0 <= each <= 1 for each in given)
            require(good, f"network.{name}", given, f"none, or {number} values of 0 to 1")
        most = 2**31 - 1 if groups else 0
        allowed = f"0 to {most} rounds" if groups else "0 without network.groups"
        require(0 <= self.cut <= most, "network.cut", self.cut, allowed)

    def parameters(self) -> dict[str, Any]:
        """The fields, without those about groups where there are no groups."""
        left_out = () if self.groups else ("groups", "active", "start", "cut")
        return {name: value for name, value in vars(self).items() if name not in left_out}

    @property
    def uniform(self) -> bool:
        """Whether any node may poll any other at any time."""
        return self.topology == "complete" and not self.groups

    @property
    def replacement(self) -> bool:
        """Whether one peer may be drawn several times in a poll."""
        return self.sampling == "with_replacement"
