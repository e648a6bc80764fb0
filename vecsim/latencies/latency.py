"""What every law of round trips has."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import numpy as np
from numpy.typing import NDArray

from vecsim.errors import name_of, raised_by, require


class Latency(eqx.Module):
    """How long a query and its answer take together, and how often either is lost.

    loss: probability that a message is lost, 0 to 1; a query and its answer are two.
    """

    loss: eqx.AbstractVar[float]

    @property
    def shares(self) -> Sequence[float]:
        """Shares of the nodes in each region; they add up to 1."""
        return (1.0,)

    @abstractmethod
    def round_trips(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Quantiles of round trips, ms: [region of the poller, region of the peer, shares].

        shares: ascending, between 0 and 1.
        """

    @property
    @abstractmethod
    def shortest_ms(self) -> float:
        """What short round trips take, 0 or more: ticks of simulated time are a share of it."""

    def quantiles(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """`round_trips`; ConfigError unless they are finite numbers of 0 or more that ascend."""
        with raised_by(self, "round_trips"):
            found = np.asarray(self.round_trips(shares), float)
        regions = len(self.shares)
        shape = (regions, regions, len(shares))
        good = found.shape == shape and bool(np.isfinite(found).all())
        good = good and bool((found >= 0).all() and (np.diff(found) >= 0).all())
        allowed = f"ascending milliseconds of 0 or more, of shape {shape}"
        require(good, f"{name_of(self)}.round_trips", f"shape {found.shape}", allowed)
        return found

    @property
    def median_ms(self) -> float:
        """The median round trip between two nodes drawn at random, ms."""
        shares = np.asarray(self.shares, float)
        grid = (np.arange(255) + 0.5) / 255
        found = self.quantiles(grid)
        weight = np.broadcast_to(np.outer(shares, shares)[..., None], found.shape)
        order = np.argsort(found, axis=None)
        total = np.cumsum(weight.ravel()[order])
        return float(found.ravel()[order][np.searchsorted(total, total[-1] / 2)])

    def parameters(self) -> dict[str, Any]:
        """The fields as plain values, which are part of a point's identity."""
        return dict(vars(self))
