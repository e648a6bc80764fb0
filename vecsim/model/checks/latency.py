"""The check of a law of round trips: shares of regions, a loss, and quantiles that ascend."""

import math
from typing import Any

import numpy as np

from vecsim.errors import name_of, raised_by, require
from vecsim.latencies.latency import Latency

MOST_REGIONS = 64  # each pair has a table of its own


def check_latency(latency: Latency) -> None:
    """Raise ConfigError unless a law keeps what its interface promises."""
    name = name_of(latency)
    with raised_by(latency, "shares"):
        shares: Any = tuple(latency.shares)
    good = 1 <= len(shares) <= MOST_REGIONS and all(0 < share <= 1 for share in shares)
    allowed = f"1 to {MOST_REGIONS} shares above 0 that add up to 1"
    require(good and abs(sum(shares) - 1) < 1e-9, f"{name}.shares", shares, allowed)
    loss: Any = latency.loss
    good = isinstance(loss, (int, float)) and 0 <= loss <= 1
    require(good, f"{name}.loss", loss, "0 to 1")
    with raised_by(latency, "shortest_ms"):
        shortest: Any = latency.shortest_ms
    good = isinstance(shortest, (int, float)) and math.isfinite(shortest) and shortest >= 0
    require(good, f"{name}.shortest_ms", shortest, "a finite number of 0 or more")
    grid = np.array([0.1, 0.5, 0.9])
    first, again = latency.quantiles(grid), latency.quantiles(grid)
    same, told = np.array_equal(first, again), "other numbers when it is called again"
    require(same, f"{name}.round_trips", told, "always the same ones")
