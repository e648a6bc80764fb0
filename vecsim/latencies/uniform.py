"""Uniform round trips."""

import numpy as np

from vecsim.errors import require
from vecsim.latencies.latency import Latency


class Uniform(Latency):
    """A round trip takes any time from `low_ms` to `high_ms`, all alike."""

    identity = "latencies.uniform.Uniform"

    low_ms: float = 50.0  # 0 or more
    high_ms: float = 200.0  # low_ms or more
    loss: float = 0.001  # of each message, 0 to 1

    def __check_init__(self):
        low, high, loss = self.low_ms, self.high_ms, self.loss
        require(low >= 0, "latency.low_ms", low, "0 or more milliseconds")
        require(low <= high < 1e9, "latency.high_ms", high, f"at least low_ms, {low:g}")
        require(0 <= loss <= 1, "latency.loss", loss, "0 to 1")

    def round_trips(self, shares):
        """Linear in the share."""
        return (self.low_ms + (self.high_ms - self.low_ms) * np.asarray(shares))[None, None]

    @property
    def shortest_ms(self):
        """`low_ms`."""
        return self.low_ms
