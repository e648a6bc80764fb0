"""What every law of stake has: whole units, and who of their holders is Byzantine."""

from abc import abstractmethod
from functools import lru_cache
from typing import Any, ClassVar

import equinox as eqx
import numpy as np
from numpy.typing import NDArray

from vecsim.errors import require

MOST_UNITS = 2**22  # of stake in all: a table of polls has a row for each


class Stake(eqx.Module):
    """How the stake is divided among the nodes; `vecsim.stakes.equal.Equal` or `Weighted`."""

    weighted: ClassVar[bool] = False  # whether nodes may hold more or less than others

    def parameters(self) -> dict[str, Any]:
        """The fields as plain values, which are part of a point's identity."""
        return dict(vars(self))

    @property
    def nodes(self) -> int | None:
        """How many nodes there are, where the law itself says so."""
        return None


class Weighted(Stake):
    """Nodes hold whole units of stake; a poll draws its places among units, not among nodes.

    ConfigError where a parameter is out of its range.

    units: of stake in all, at least one for each node, up to MOST_UNITS.
    byzantine: which nodes are Byzantine, until their share of the stake is as near as possible to
      `byzantine_fraction`: in `random` order, the `largest` first, or the `smallest` first.
    initial_accept_of: what `initial_accept` is a share of: the `stake` of honest nodes, or honest
      `nodes`. In either case they are taken in random order.
    shared_fate: whether all places of one node in a poll give the same answer, and are lost
      together (true); or places are drawn, answered and lost each by itself (false), which is
      quicker where answers are coins or may be lost, and needs `network.sampling:
      with_replacement`.
    """

    weighted = True

    units: int = 2**20
    byzantine: str = "random"
    initial_accept_of: str = "stake"
    shared_fate: bool = True

    def __check_init__(self):
        units, order, share = self.units, self.byzantine, self.initial_accept_of
        require(1 <= units <= MOST_UNITS, "stake.units", units, f"1 to {MOST_UNITS}")
        orders = ("random", "largest", "smallest")
        require(order in orders, "stake.byzantine", order, ", ".join(orders))
        good = share in ("stake", "nodes")
        require(good, "stake.initial_accept_of", share, "stake or nodes")

    @abstractmethod
    def weights(self, n: int) -> NDArray[np.float64]:
        """What each of n nodes holds, on any scale, above 0, in any order."""

    def holdings(self, n: int) -> NDArray[np.int64]:
        """Units of each of n nodes, the largest first; they add up to `units`.

        ConfigError where there are fewer units than nodes.
        """
        require(n <= self.units, "stake.units", self.units, f"at least one for each of {n} nodes")
        return _holdings(self, n)


@lru_cache(maxsize=64)
def _holdings(stake: Weighted, n: int) -> NDArray[np.int64]:
    """One unit each, and the rest in proportion to the weights, by the largest remainder."""
    weights = -np.sort(-np.asarray(stake.weights(n), float))
    quotas = weights / weights.sum() * (stake.units - n)
    whole = np.floor(quotas).astype(np.int64)
    missing = stake.units - n - int(whole.sum())
    whole[np.argsort(whole - quotas, kind="stable")[:missing]] += 1
    held = -np.sort(-whole) + 1
    held.setflags(write=False)
    return held
