"""The network: whom a node may poll, and which answers are lost."""

import equinox as eqx

from vecsim.errors import require


class Network(eqx.Module):
    """A complete graph (every node may poll every other), or a graph of neighbours.

    sampling: whether the k peers of a poll are distinct: `without_replacement`, or
      `with_replacement`.
    exclude_self: whether a node never polls itself (complete graph only; always so on others).
    loss: probability that an answer is lost, each by itself, 0 to 1.
    topology: `complete`; `random_regular` (every node has `degree` neighbours, uniform among such
      graphs); `small_world` (Watts and Strogatz 1998: a ring of `degree` neighbours, each edge
      rewired with probability `rewiring`).
    graphs: how many graphs of a point's kind are drawn; trial i uses number i % graphs.
    """

    sampling: str = "without_replacement"
    exclude_self: bool = True
    loss: float = 0.0
    topology: str = "complete"
    degree: int = 100
    rewiring: float = 0.1
    graphs: int = 16

    def __check_init__(self):
        allowed = ("without_replacement", "with_replacement")
        require(self.sampling in allowed, "network.sampling", self.sampling, " or ".join(allowed))
        require(0 <= self.loss <= 1, "network.loss", self.loss, "0 to 1")
        allowed = ("complete", "random_regular", "small_world")
        require(self.topology in allowed, "network.topology", self.topology, ", ".join(allowed))
        require(self.degree >= 1, "network.degree", self.degree, "1 or more neighbours")
        require(0 <= self.rewiring <= 1, "network.rewiring", self.rewiring, "0 to 1")
        require(1 <= self.graphs <= 1000, "network.graphs", self.graphs, "1 to 1000")

    @property
    def replacement(self) -> bool:
        return self.sampling == "with_replacement"
