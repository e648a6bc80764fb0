"""How nodes poll in time: how many polls are open, when they end, how often they begin."""

from typing import Any

import equinox as eqx

from vecsim.errors import require

MOST_OPEN = 4096  # polls that a node may have open: each takes memory
INTERVALS = ("fixed", "exponential")


class Polling(eqx.Module):
    """How nodes poll under `schedule=timed`.

    ConfigError where a parameter is out of its range.

    concurrent: polls that a node has open at most; it begins another for every result that it has
      applied.
    early_end: whether a poll ends as soon as no answer can change its result.
    timeout_ms: after this time an answer counts as missing.
    interval_ms: least time between the beginnings of two polls of a node; 0: none.
    interval: whether that time is `fixed`, or `exponential` with this mean. Exponential ones also
      come before the first poll.
    cooldown_ms: time in which a node does not ask the same peer again; needs interval_ms, and
      protocols that ask one peer a poll.
    round_ms: a round of what all nodes share: FPC's threshold, what adversaries call a round. 0:
      the median round trip.
    max_ms: time at which a trial ends.
    tick_ms: step of simulated time. 0: a tenth of the shortest round trip, or less, so that
      interval_ms is whole ticks.
    """

    identity = "polling.Polling"

    concurrent: int = 4
    early_end: bool = True
    timeout_ms: float = 2000.0
    interval_ms: float = 0.0
    interval: str = "fixed"
    cooldown_ms: float = 0.0
    round_ms: float = 0.0
    max_ms: float = 600_000.0
    tick_ms: float = 0.0

    def __check_init__(self):
        allowed = f"1 to {MOST_OPEN} polls"
        require(1 <= self.concurrent <= MOST_OPEN, "polling.concurrent", self.concurrent, allowed)
        good = self.interval in INTERVALS
        require(good, "polling.interval", self.interval, " or ".join(INTERVALS))
        for name in ("timeout_ms", "max_ms"):
            value = getattr(self, name)
            require(0 < value < 1e9, f"polling.{name}", value, "above 0 milliseconds, below 1e9")
        for name in ("interval_ms", "cooldown_ms", "round_ms", "tick_ms"):
            value = getattr(self, name)
            require(0 <= value < 1e9, f"polling.{name}", value, "0 to 1e9 milliseconds")
        apart = self.interval_ms > 0
        require(
            apart or self.interval == "fixed",
            "polling.interval",
            self.interval,
            "fixed with interval_ms=0",
        )
        allowed = "0 with interval_ms=0"
        require(apart or self.cooldown_ms == 0, "polling.cooldown_ms", self.cooldown_ms, allowed)

    def parameters(self) -> dict[str, Any]:
        """The fields as plain values, which are part of a point's identity."""
        return dict(vars(self))
