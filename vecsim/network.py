"""The network: whom a node may poll, and which answers are lost."""

from typing import Literal

import equinox as eqx


class Network(eqx.Module):
    """A complete graph (every node may poll every other), or a graph of neighbours.

    sampling: whether the k peers of a poll are distinct.
    exclude_self: whether a node never polls itself (complete graph only; always so on others).
    loss: probability that an answer is lost, each by itself, 0 to 1.
    topology: `complete`; `random_regular` (every node has `degree` neighbours, uniform among such
      graphs); `small_world` (Watts and Strogatz 1998: a ring of `degree` neighbours, each edge
      rewired with probability `rewiring`).
    graphs: how many graphs of a point's kind are drawn; trial i uses number i % graphs.
    """

    sampling: Literal["without_replacement", "with_replacement"] = "without_replacement"
    exclude_self: bool = True
    loss: float = 0.0
    topology: Literal["complete", "random_regular", "small_world"] = "complete"
    degree: int = 100
    rewiring: float = 0.1
    graphs: int = 16

    @property
    def replacement(self) -> bool:
        return self.sampling == "with_replacement"
