"""What every law of stake has: whole units, and who of their holders is Byzantine."""

from abc import abstractmethod
from functools import lru_cache
from typing import Any, ClassVar

import equinox as eqx
import numpy as np
from numpy.typing import NDArray

from vecsim.errors import is_number, name_of, raised_by, require

MOST_UNITS = 2**22  # of stake in all: a table of polls has a row for each


class Stake(eqx.Module):
    """How the stake is divided among the nodes; `vecsim.stakes.equal.Equal` or `Weighted`."""

    weighted: ClassVar[bool] = False  # whether nodes may hold more or less than others
    # Whether making one reads a file, so that the same parameters may make another one later.
    reads: ClassVar[bool] = False

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
      `nodes`. In either case they are taken in random order; shares 0 and 1 are the same of both.
    shared_fate: whether all places of one node in a poll give the same answer, and are lost
      together (true); or every place has its own answer and loss (false). It matters where answers
      are coins or may be lost. False is quicker with `network.sampling: with_replacement`, for all
      places of a poll are then alike.
    """

    weighted = True

    units: int = 2**20
    byzantine: str = "random"
    initial_accept_of: str = "stake"
    shared_fate: bool = True

    def __check_init__(self):
        units, order, share = self.units, self.byzantine, self.initial_accept_of
        good = is_number(units, whole=True) and 1 <= units <= MOST_UNITS
        require(good, "stake.units", units, f"1 to {MOST_UNITS}")
        orders = ("random", "largest", "smallest")
        require(order in orders, "stake.byzantine", order, ", ".join(orders))
        good = share in ("stake", "nodes")
        require(good, "stake.initial_accept_of", share, "stake or nodes")
        good = self.shared_fate in (True, False)
        require(good, "stake.shared_fate", self.shared_fate, "true or false")

    @abstractmethod
    def weights(self, n: int) -> NDArray[np.float64]:
        """What each of n nodes holds, on any scale, above 0, in any order."""

    def checked_weights(self, n: int) -> NDArray[np.float64]:
        """The weights of n nodes; ConfigError unless they are n finite numbers above 0."""
        with raised_by(self, "weights"):
            weights = np.asarray(self.weights(n))
        call = f"{name_of(self)}.weights({n})"
        allowed = f"numbers of shape ({n},), one for each node"
        good = weights.dtype.kind in "iuf" and weights.shape == (n,)
        require(good, call, f"{weights.dtype} of shape {weights.shape}", allowed)
        values = weights.astype(float)
        bad = ~(np.isfinite(values) & (values > 0))
        at = int(bad.argmax())
        require(not bad.any(), f"{call}[{at}]", float(values[at]), "a finite number above 0")
        return values

    def holdings(self, n: int) -> NDArray[np.int64]:
        """Units of each of n nodes, the largest first; they add up to `units`.

        ConfigError where there are fewer units than nodes, where the law is of another number of
        nodes, or where its weights are wrong.
        """
        fixed = self.nodes
        require(fixed in (None, n), "n", n, f"{fixed}, the number of nodes that the stake is of")
        require(n <= self.units, "stake.units", self.units, f"at least one for each of {n} nodes")
        return _holdings(self, n)

    def effective(self, n: int) -> float:
        """How many nodes with equal holdings would be as concentrated: 1 / sum(share**2)."""
        return self.units**2 / int(np.square(self.holdings(n)).sum())


@lru_cache(maxsize=64)
def _holdings(stake: Weighted, n: int) -> NDArray[np.int64]:
    """One unit each, and the rest in proportion to the weights, by the largest remainder; of equal
    remainders that of the larger weight takes precedence.

    In whole numbers, for rounding would decide between equal remainders.
    """
    ratios = [each.as_integer_ratio() for each in sorted(stake.checked_weights(n).tolist())[::-1]]
    scale = max(below for _, below in ratios)  # all of them are powers of two
    weights = [above * (scale // below) for above, below in ratios]
    left, total = stake.units - n, sum(weights)
    quotas = [divmod(weight * left, total) for weight in weights]
    order = sorted(range(n), key=lambda i: -quotas[i][1])
    held = 1 + np.array([whole for whole, _ in quotas], np.int64)
    held[order[: stake.units - int(held.sum())]] += 1
    held.setflags(write=False)
    return held
