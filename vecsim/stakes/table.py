"""Measured stake: what the largest nodes of a network hold together."""

from collections.abc import Iterable
from itertools import pairwise

import equinox as eqx
import numpy as np

from vecsim.errors import is_number, require
from vecsim.stakes.stake import MOST_UNITS, Weighted


def _tuple(given) -> tuple:
    """Several values as a tuple; one as one of one value, which is then told as it is."""
    return tuple(given) if isinstance(given, Iterable) else (given,)


class StakeTable(Weighted):
    """The stake of a network that is known by the cumulative shares of its largest nodes.

    Between the given ranks the cumulative share is linear in log(1 + rank), from 0 at rank 0. A
    node holds the difference of two of its values; these need not fall with the rank.

    ranks: of the nodes whose cumulative share is known, rising from 1 or more, 1 being the largest
      node; the last is the number of nodes.
    cumulative: for each rank the share of all stake that the nodes up to it hold together, rising
      from above 0 to 1.
    """

    identity = "stakes.table.StakeTable"

    ranks: tuple[int, ...] = eqx.field(default=(), converter=_tuple)
    cumulative: tuple[float, ...] = eqx.field(default=(), converter=_tuple)

    def __check_init__(self):
        ranks, shares = self.ranks, self.cumulative
        good = bool(ranks) and all(is_number(rank, whole=True) for rank in ranks)
        good = good and _rises((0, *ranks)) and ranks[-1] <= MOST_UNITS
        require(good, "stake.ranks", ranks, f"whole numbers that rise, from 1 to {MOST_UNITS}")
        good = len(shares) == len(ranks) and all(map(is_number, shares))
        good = good and _rises((0.0, *shares)) and abs(shares[-1] - 1) < 1e-9
        allowed = f"{len(ranks)} shares that rise, from above 0 to 1"
        require(good, "stake.cumulative", shares, allowed)

    @property
    def nodes(self):
        """The last rank."""
        return self.ranks[-1]

    def weights(self, n):
        """Differences of the cumulative share, by rank."""
        known = np.log1p([0, *self.ranks])
        return np.diff(np.interp(np.log1p(np.arange(n + 1)), known, [0, *self.cumulative]))


def _rises(values) -> bool:
    return all(low < high for low, high in pairwise(values))
