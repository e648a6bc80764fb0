"""Nodes in regions of the world: a median round trip for each pair, and one spread."""

from statistics import NormalDist
from typing import Any

import equinox as eqx
import numpy as np

from vecsim.errors import require
from vecsim.latencies.latency import Latency

_MOST = 64  # regions: each pair has a table of its own


def _rows(rows: Any) -> Any:
    """Lists of lists as tuples: components are hashable."""
    return tuple(tuple(float(each) for each in row) for row in rows)


class Regions(Latency):
    """Round trips between regions: lognormal, about a median for each pair of them.

    In every trial each region has its share of the nodes, drawn anew.
    """

    identity = "latencies.regions.Regions"

    names: tuple[str, ...] = eqx.field(default=(), converter=tuple)
    shares: tuple[float, ...] = eqx.field(default=(1.0,), converter=tuple)  # of nodes, sum 1
    # Median round trips, ms: a row for each region, a column for each.
    medians_ms: tuple[list[float], ...] = eqx.field(default=((100.0,),), converter=_rows)
    sigma: float = 0.1  # standard deviation of the logarithm of a round trip, 0 to 1
    loss: float = 0.0  # of each message, 0 to 1

    def __check_init__(self):
        shares, medians, number = self.shares, self.medians_ms, len(self.shares)
        good = 1 <= number <= _MOST and all(each > 0 for each in shares)
        good = good and abs(sum(shares) - 1) < 1e-9
        allowed = f"1 to {_MOST} shares above 0 that add up to 1"
        require(good, "latency.shares", list(shares), allowed)
        named = self.names
        allowed = f"{number} names, as many as shares, or none"
        require(len(named) in (0, number), "latency.names", list(named), allowed)
        good = len(medians) == number and all(len(row) == number for row in medians)
        good = good and all(0 < each < 1e6 for row in medians for each in row)
        allowed = f"{number} rows of {number} milliseconds above 0"
        require(good, "latency.medians_ms", [list(row) for row in medians], allowed)
        require(0 <= self.sigma <= 1, "latency.sigma", self.sigma, "0 to 1")
        require(0 <= self.loss <= 1, "latency.loss", self.loss, "0 to 1")

    def round_trips(self, shares):
        """The median times exp(sigma z), with z the normal quantile of the share."""
        normal = NormalDist()
        spread = [np.exp(self.sigma * normal.inv_cdf(share)) for share in np.asarray(shares)]
        return np.asarray(self.medians_ms)[..., None] * np.array(spread)

    @property
    def shortest_ms(self):
        """The smallest median between two regions, or within the only one."""
        rows = enumerate(self.medians_ms)
        apart = [each for i, row in rows for j, each in enumerate(row) if i != j]
        return min(apart, default=self.medians_ms[0][0])
